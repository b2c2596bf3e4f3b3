//! Shows that damaged and foreign files end in errors in words: no panic, no hang, no crash.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faretra::{Arena, Error, MIB, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::obey::{forked, hear, say};
use crate::support::{Child, Dir};
use crate::values::{self, KINDS, Random};

fn options(dir: &Dir) -> Options {
    Arena::options().dir(&dir.0)
}

/// A kept arena with something in it, closed again. The same words are at the same places each time.
fn some_arena(dir: &Path) -> PathBuf {
    let options = Arena::options().dir(dir);
    let arena = options.limit(4 * MIB).capacity(4 * MIB).writers(4).create("a").expect("an arena");
    let w = arena.writer().expect("a permit");
    for (i, kind) in KINDS.iter().enumerate() {
        values::publish(&w, &format!("n{i}"), kind, i as u64, 30 + 4000 * (i % 3)).expect("room");
    }
    values::publish(&w, "replaced", "table", 1, 5000).expect("room");
    values::publish(&w, "replaced", "bundle", 2, 5000).expect("room");
    values::publish(&w, "removed", "batch", 3, 5000).expect("room");
    w.remove("removed").expect("remove");
    values::publish(&w, "large", "batch", 4, 20_000).expect("room");
    let large = arena.batch("large").expect("published");
    w.publish("alias", &large).expect("room");
    w.publish("shared", large.record_batch()).expect("room");
    w.remove("large").expect("remove");
    arena.path().to_owned()
}

fn reason(result: faretra::Result<Arena>) -> String {
    match result {
        Err(Error::NotAnArena { reason, .. }) => reason,
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// The header's words that this test changes, by their offsets.
const VERSION: u64 = 8;
const INCOMPATIBLE: u64 = 24;
const CAPACITY: u64 = 32;

/// Every way in which a file is no arena is told apart, and nothing is changed by trying.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn files_that_are_no_arenas_are_refused_in_words() {
    let dir = Dir::new();
    let path = some_arena(&dir.0);
    let open = || reason(options(&dir).open("a"));
    let file = || std::fs::File::options().read(true).write(true).open(&path).expect("the file");
    let word = |off: u64, value: u64| file().write_all_at(&value.to_le_bytes(), off).expect("written");
    let read = |off: u64| {
        let mut word = [0; 8];
        file().read_exact_at(&mut word, off).expect("read");
        u64::from_le_bytes(word)
    };
    let mut reasons = vec![];
    let mut with = |off: u64, value: u64, says: &str| {
        let before = read(off);
        word(off, value);
        let why = open();
        assert!(why.contains(says), "{why}");
        let listed = options(&dir).list().expect("list");
        let problem = listed[0].problem.as_deref().expect("it cannot be used");
        assert!(problem.contains(says), "{problem}");
        assert!(matches!(options(&dir).observe("a"), Err(Error::NotAnArena { .. })));
        reasons.push(why);
        word(off, before);
        drop(options(&dir).open("a").expect("as it was"));
    };
    with(0, 0x1234, "does not begin like an arena");
    with(VERSION, 7, "version 7");
    with(INCOMPATIBLE, 1 << 40, "features");
    with(CAPACITY, 3, "checksum");
    let size = std::fs::metadata(&path).expect("the file").len();
    file().set_len(size - 4096).expect("cut");
    reasons.push(open());
    assert!(reasons[4].contains("cut"), "{}", reasons[4]);
    file().set_len(5000).expect("cut");
    reasons.push(open());
    file().set_len(0).expect("cut");
    reasons.push(open());
    assert!(reasons[6].contains("0 bytes"), "{}", reasons[6]);
    file().write_all_at(&[b'x'; 20_000], 0).expect("written");
    let foreign = open();
    assert!(foreign.contains("somebody else's"), "{foreign}");
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), 7, "each has words of its own: {reasons:#?}");

    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory");
    assert!(matches!(options(&dir).open("a"), Err(Error::NotAnArena { .. } | Error::Os { .. })));
    std::fs::remove_dir(&path).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link");
    assert!(matches!(options(&dir).open("a"), Err(Error::Os { .. })));
    std::fs::remove_file(&path).expect("removed");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a pipe");
    assert!(matches!(options(&dir).open("a"), Err(Error::NotAnArena { .. } | Error::Os { .. })));
    assert_eq!(options(&dir).list().expect("list").len(), 1);
}

/// A file that is cut while an arena is open elsewhere is refused to those who come; removing it works.
#[test]
fn a_damaged_arena_can_be_removed() {
    let dir = Dir::new();
    let path = some_arena(&dir.0);
    let file = std::fs::File::options().write(true).open(&path).expect("the file");
    file.write_all_at(&99_u64.to_le_bytes(), VERSION).expect("written");
    options(&dir).remove("a").expect("an unusable arena has no users to race with");
    assert!(!path.exists());
    std::fs::write(&path, "my diary").expect("written");
    assert!(matches!(options(&dir).remove("a"), Err(Error::NotAnArena { .. })), "somebody else's file stays");
    assert!(path.exists());
}

/// How many bits are flipped, by how many processes.
const FLIPS: u64 = 1600;
const WORKERS: u64 = 8;

/// A flipped bit anywhere in the control region: errors are allowed, panics, hangs and crashes are not.
#[test]
fn flipped_bits_end_in_errors() {
    let dir = Dir::new();
    let mut workers: Vec<Child> = (0..WORKERS).map(|_| Child::start("damage", &dir.0, &[])).collect();
    for (i, worker) in workers.iter_mut().enumerate() {
        worker.tell(&format!("{i} {}", FLIPS / WORKERS));
    }
    let mut failures = vec![];
    let mut totals = [0_u64; 3];
    for worker in &mut workers {
        loop {
            let Some(Ok(line)) = worker.try_answer(Duration::from_secs(120)) else {
                panic!("a worker says nothing any more");
            };
            match line.strip_prefix("done ") {
                Some(counts) => {
                    let counts = counts.split(' ').map(|n| n.parse::<u64>().expect("a number"));
                    totals.iter_mut().zip(counts).for_each(|(t, n)| *t += n);
                    break;
                }
                None => failures.push(line),
            }
        }
    }
    let [flips, noticed, silent] = totals;
    eprintln!("{flips} bits flipped: {noticed} ended in errors or reports, {silent} made no difference");
    assert_eq!(flips, FLIPS);
    assert!(failures.is_empty(), "{} of {FLIPS}:\n{}", failures.len(), failures.join("\n"));
}

/// A worker's half: each flip in a forked process of its own.
pub fn flip_bits() {
    let Some(line) = hear() else { return };
    let (worker, flips) = line.split_once(' ').expect("two numbers");
    let (worker, flips): (u64, u64) = (worker.parse().expect("a number"), flips.parse().expect("a number"));
    let dir = PathBuf::from(std::env::var_os("FARETRA_DIR").expect("told"));
    // A directory of its own, so that `list` meets nothing else.
    let dir = dir.join(worker.to_string());
    std::fs::create_dir(&dir).expect("a directory");
    let words = interesting_words(&some_arena(&dir));
    if let Some(what) = use_everything(&dir, "a") {
        say(&format!("without damage: {what}"));
    }
    let mut random = Random(worker * 1_000_003 + 17);
    let (mut noticed, mut silent) = (0, 0);
    for _ in 0..flips {
        let off = words[random.below(words.len() as u64) as usize];
        let bit = random.below(64);
        let path = some_arena(&dir);
        let file = std::fs::File::options().read(true).write(true).open(&path).expect("the arena");
        let mut word = [0; 8];
        file.read_exact_at(&mut word, off).expect("read");
        let before = u64::from_le_bytes(word);
        file.write_all_at(&(before ^ 1 << bit).to_le_bytes(), off).expect("written");
        drop(file);
        let child = forked(|| i32::from(use_everything(&dir, "a").is_some()));
        let what = || format!("bit {bit} of the word {before:#x} at {off:#x}");
        match end_of(child, Duration::from_secs(10)) {
            Some(WaitStatus::Exited(_, 0)) => silent += 1,
            Some(WaitStatus::Exited(_, 1)) => noticed += 1,
            Some(end) => say(&format!("{}: {end:?}", what())),
            None => say(&format!("{}: it hangs", what())),
        }
        let _ = std::fs::remove_file(&path);
    }
    say(&format!("done {flips} {noticed} {silent}"));
}

/// How a child ends, if it does in time. It is killed if not.
pub fn end_of(child: Pid, limit: Duration) -> Option<WaitStatus> {
    let start = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).expect("our child") {
            WaitStatus::StillAlive if start.elapsed() > limit => {
                kill(child, Signal::SIGKILL).expect("our child");
                let _ = waitpid(child, None);
                return None;
            }
            WaitStatus::StillAlive => std::thread::sleep(Duration::from_micros(300)),
            end => return Some(end),
        }
    }
}

/// Everything that an arena is asked; returns what first was an error, or a report of `verify`.
fn use_everything(dir: &Path, name: &str) -> Option<String> {
    let o = || Arena::options().dir(dir).untrusted(true);
    let mut first = None;
    let mut note = |ok: bool, what: &str| {
        if !ok && first.is_none() {
            first = Some(what.to_owned());
        }
    };
    match o().observe(name) {
        Ok(seen) => {
            note(seen.names().is_ok(), "observed names");
            note(seen.stats().is_ok(), "observed stats");
            note(seen.who().is_ok(), "observed who");
            let found = seen.verify();
            note(matches!(found.as_deref(), Ok([])), &format!("observed verify: {found:?}"));
        }
        Err(e) => note(false, &format!("observe: {e}")),
    }
    note(o().list().is_ok(), "list");
    let arena = match o().open(name) {
        Ok(arena) => arena,
        Err(e) => return Some(format!("open: {e}")),
    };
    note(arena.names().is_ok(), "names");
    let is = |name: &str, seed| arena.get(name).is_ok_and(|object| values::check(&object) == Ok(seed));
    for (i, kind) in KINDS.iter().enumerate() {
        note(is(&format!("n{i}"), i as u64), kind);
    }
    note(is("replaced", 2), "replaced");
    note(is("alias", 4) && is("shared", 4), "shared");
    note(arena.stats().is_ok(), "stats");
    note(arena.who().is_ok(), "who");
    note(arena.verify().is_ok_and(|v| v.is_empty()), "verify");
    note(arena.recover().is_ok(), "recover");
    let newer = arena.wait_for_timeout("n1", 1, Duration::from_millis(1));
    note(matches!(newer, Err(Error::TimedOut(_))), "wait_for");
    match arena.writer_timeout(Duration::from_millis(200)) {
        Ok(w) => {
            for (i, kind) in KINDS.iter().enumerate() {
                let done = values::publish(&w, &format!("n{}", i % 4), kind, 9, 50 + 3000 * (i % 3));
                note(done.is_ok(), &format!("publish: {done:?}"));
                let done = values::publish(&w, &format!("new{i}"), kind, 9, 50);
                note(done.is_ok(), &format!("publish: {done:?}"));
            }
            for name in ["alias", "shared", "n3"] {
                let done = arena.get(name).and_then(|object| w.publish("again", &object));
                note(done.is_ok(), &format!("publish {name} again: {done:?}"));
                let done = arena.batch(name).and_then(|batch| w.publish("again", batch.record_batch()));
                note(done.is_ok() || name == "n3", &format!("publish {name} again: {done:?}"));
            }
            note(w.remove("alias").is_ok(), "remove");
            note(w.remove("n5").is_ok(), "remove");
            note(w.remove("replaced").is_ok(), "remove");
        }
        Err(_) => note(false, "writer"),
    }
    note(arena.trim().is_ok(), "trim");
    note(arena.verify().is_ok_and(|v| v.is_empty()), "verify at the end");
    drop(arena);
    note(o().remove(name).is_ok(), "remove the arena");
    first
}

/// Words of the control region that are in memory: all that are not zero, and as many zeros picked evenly.
fn interesting_words(path: &Path) -> Vec<u64> {
    let file = std::fs::File::open(path).expect("the arena");
    let (mut full, mut empty) = (vec![], vec![]);
    for (from, to) in extents(&file) {
        let mut bytes = vec![0; (to - from) as usize];
        file.read_exact_at(&mut bytes, from).expect("read");
        for (i, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let off = from + i as u64 * 8;
            if *word == [0; 8] { empty.push(off) } else { full.push(off) }
        }
    }
    // The payload comes last, and is more than all the rest; its damage shows in `basics` of arrow.
    let payload = full.len().saturating_sub(6000);
    full.truncate(full.len() - payload);
    let step = (empty.len() / (full.len() / 3 + 1)).max(1);
    full.extend(empty.into_iter().step_by(step));
    full
}

/// The ranges of a sparse file that are in memory.
pub fn extents(file: &std::fs::File) -> Vec<(u64, u64)> {
    use nix::unistd::{Whence, lseek};
    let mut all = vec![];
    let mut at = 0;
    while let Ok(from) = lseek(file, at, Whence::SeekData) {
        let to = lseek(file, from, Whence::SeekHole).expect("a hole at the end");
        all.push((from as u64, to as u64));
        at = to;
    }
    all
}
