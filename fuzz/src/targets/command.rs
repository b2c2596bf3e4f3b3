//! The command: files of every format that it reads, in and out again, and its own words.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;

use faretra::{Arena, Bundle, Error, MIB};
use faretra_cli::fuzzed;

use crate::place::dir;

/// What CSV files have in them.
pub const CSV: &[&[u8]] = &[
    b",",
    b";",
    b"\t",
    b"\"",
    b"\"\"",
    b"\r\n",
    b"\n",
    b"\r",
    b"NaN",
    b"inf",
    b"true",
    b"1e308",
    b"-0",
    b"2026-02-29",
    b"T24:00:00Z",
    b"+14:00",
    b"23:59:60",
    b"9223372036854775808",
    b"0x10",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"1970-01-01T00:00:00.123456789",
];

/// What command lines have in them.
pub const WORDS: &[&[u8]] = &[
    b"\n",
    b"--limit\n",
    b"--capacity\n",
    b"--mode\n",
    b"--older\n",
    b"--type\n",
    b"--delimiter\n",
    b"--from\n",
    b"--format\n",
    b"--json",
    b"=",
    b"GiB",
    b"KB",
    b"1e9",
    b"0600",
    b"0o",
    b"1h",
    b" 30m",
    b"year",
    b"ns",
    b"decimal(",
    b"timestamp[",
    b"list(",
    b"struct(",
    b"dictionary(",
    b"fixed",
    b"time64[ns]",
    b"duration",
    b"interval",
    b"map(",
    b"38",
    b",",
    b"(",
    b")",
    b"[",
    b"]",
    b"18446744073709551616",
];

/// The arena that files are put in.
fn arena() -> &'static Arena {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    ARENA.get_or_init(|| {
        let options = Arena::options().dir(dir()).limit(512 * MIB).warm(64 * MIB);
        options.create("t").expect("an arena")
    })
}

fn words_of(words: &[&str]) -> Vec<OsString> {
    let dir = dir().to_str().expect("a directory whose name is text");
    ["faretra", "--dir", dir].into_iter().chain(words.iter().copied()).map(OsString::from).collect()
}

fn command(words: &[&str]) -> Result<(), String> {
    fuzzed::run(words_of(words))
}

/// What must work.
fn demand(words: &[&str]) {
    command(words).unwrap_or_else(|why| panic!("{words:?}: {why}"));
}

/// What may fail, in words.
fn allow(words: &[&str]) -> bool {
    let done = command(words);
    assert!(!matches!(&done, Err(why) if why.trim().is_empty()), "{words:?}: no word why");
    done.is_ok()
}

/// Puts a file, looks at all of it, prints it, and exports it as everything.
fn put(bytes: &[u8], format: &str) {
    let arena = arena();
    let path = dir().join("in");
    std::fs::write(&path, bytes).expect("room for a small file");
    let path = path.to_str().expect("text");
    if allow(&["put", "t", "x", path, "--format", format]) {
        demand(&["verify", "t", "--deep"]);
        for printed in ["table", "csv", "jsonl"] {
            allow(&["cat", "t", "x", "--head", "50", "--format", printed]);
        }
        for exported in if format == "npy" { &["npy"][..] } else { &["arrow", "parquet", "csv", "arrow-stream"] } {
            let out = dir().join("out");
            let out = out.to_str().expect("text");
            if allow(&["export", "t", "x", out, "--force", "--format", exported]) && *exported != "csv" {
                // What the command wrote, it reads.
                demand(&["put", "t", "again", out, "--format", exported]);
                compare(arena, exported);
            }
        }
        demand(&["ls", "t"]);
    }
    clear(arena);
}

/// What came back has as many rows. (Whether its values are the same is shown by the field tests; types may differ in Parquet.)
fn compare(arena: &Arena, format: &str) {
    let (first, again) = (arena.get("x").expect("published"), arena.get("again").expect("published"));
    assert_eq!(first.rows(), again.rows(), "through {format}");
    if format == "npy" {
        let bytes = |object: &faretra::Object| object.dyn_array().expect("an array").bytes().to_vec();
        assert!(bytes(&first) == bytes(&again), "other elements through .npy");
    }
}

fn clear(arena: &Arena) {
    let writer = arena.writer().expect("a permit");
    for entry in arena.names().expect("names") {
        writer.remove(&entry.name).expect("removed");
    }
    drop(writer);
    assert_eq!(arena.verify().expect("looked at"), []);
    assert_eq!(arena.stats().expect("stats").live, 0);
}

/// Sends what a pipe brings, and prints what arrives.
fn send(bytes: &[u8], format: &str) {
    let arena = arena();
    // A pipe holds so much, so that nobody needs to write while another reads.
    let bytes = &bytes[..bytes.len().min(60_000)];
    let (read, write) = nix::unistd::pipe().expect("a pipe");
    std::fs::File::from(write).write_all(bytes).expect("room");
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    allow(&["send", "t", "c", &path, "--format", format, "--unbounded", "--batch-rows", "5"]);
    let there = arena.names().expect("names").iter().any(|entry| entry.name == "c");
    if there {
        // After a failure it is open still, and `recv` would wait.
        demand(&["close", "t", "c"]);
        allow(&["recv", "t", "c", "--format", "jsonl"]);
    }
    clear(arena);
}

pub fn parquet(bytes: &[u8]) {
    put(bytes, "parquet");
}

pub fn arrow(bytes: &[u8]) {
    put(bytes, "arrow");
}

pub fn arrow_stream(bytes: &[u8]) {
    put(bytes, "arrow-stream");
    send(bytes, "arrow-stream");
}

pub fn csv(bytes: &[u8]) {
    put(bytes, "csv");
    send(bytes, "csv");
}

pub fn npy(bytes: &[u8]) {
    put(bytes, "npy");
}

/// A command line, a word a line: it is understood or refused, and nothing is done.
pub fn words(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    let line = [OsString::from("faretra")].into_iter().chain(words);
    if let Err(told) = fuzzed::parse(line) {
        assert!(!told.trim().is_empty());
    }
}

/// Lines as names: of values, of items of a bundle, of channels, of arenas. What is taken is found again.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let arena = arena();
    let writer = arena.writer().expect("a permit");
    let mut taken = std::collections::BTreeSet::new();
    for name in text.split('\n').take(20) {
        match writer.publish(name, name.as_bytes()) {
            Ok(_) => drop(taken.insert(name.to_owned())),
            Err(Error::Invalid(why)) => assert!(!why.is_empty()),
            Err(Error::TooLarge { .. }) => assert!(name.len() > 200, "{name:?}"),
            Err(error) => panic!("{name:?}: {error}"),
        }
        assert_eq!(
            taken.contains(name),
            arena.get(name).is_ok_and(|object| object.bytes().ok() == Some(name.as_bytes()))
        );
    }
    let listed: std::collections::BTreeSet<String> =
        arena.names().expect("names").into_iter().map(|entry| entry.name).collect();
    assert_eq!(listed, taken);
    let items: Vec<&str> = text.split('\n').take(5).collect();
    let bundle = items.iter().fold(Bundle::new(), |bundle, name| bundle.with(name, &b"item"[..]));
    if let Ok(_version) = writer.publish("bundle", bundle) {
        let bundled = arena.bundle("bundle").expect("published");
        assert!(items.iter().all(|name| bundled.get(name).is_ok()), "{items:?}");
        taken.insert("bundle".to_owned());
    }
    drop(writer);
    demand(&["ls", "t"]);
    clear(arena);
    let name = text.split('\n').next().unwrap_or_default();
    // An arena's name is a file's: whatever it is, the file lies in the directory.
    let options = Arena::options().dir(dir()).limit(MIB).capacity(MIB);
    if name != "t"
        && let Ok(other) = options.create(name)
    {
        assert_eq!(other.path().parent(), Some(Path::new(dir())), "{name:?}");
        assert_eq!(other.name(), name);
        drop(other);
        options.remove(name).expect("removed");
    }
}
