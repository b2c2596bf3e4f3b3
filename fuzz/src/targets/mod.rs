//! The targets, by name.

mod arena;
mod command;
mod dtype;
mod image;
mod planted;

/// What is done with bytes from strangers.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it reads, in a few words.
    pub what: &'static str,
    /// Returns, whatever the bytes are.
    pub run: fn(&[u8]),
    /// The folder of `fuzz/seeds` whose files are its seeds.
    pub seeds: &'static str,
    /// Words that such bytes have in them.
    pub words: &'static [&'static [u8]],
}

const fn target(name: &'static str, seeds: &'static str, run: fn(&[u8]), what: &'static str) -> Target {
    Target { name, what, run, seeds, words: &[] }
}

/// The targets that are to find something.
pub const TARGETS: &[Target] = &[
    target("arena", "arena", arena::run, "an arena whose words are damaged, and everything that it can be asked"),
    target("parquet", "parquet", command::parquet, "`put` of a Parquet file, and what is printed and exported of it"),
    target("arrow", "arrow", command::arrow, "`put` of an Arrow IPC file or a Feather file"),
    target("arrow-stream", "arrow-stream", command::arrow_stream, "`put` and `send` of an Arrow IPC stream"),
    Target { words: command::CSV, ..target("csv", "csv", command::csv, "`put` and `send` of CSV, packed or not") },
    Target { words: dtype::WORDS, ..target("npy", "npy", command::npy, "`put` of a .npy file") },
    Target { words: dtype::WORDS, ..target("dtype", "dtype", dtype::run, "the type of an array's elements, as text") },
    Target { words: command::WORDS, ..target("words", "words", command::words, "a command line: sizes, times, types") },
    target("names", "names", command::names, "names of values, bundles' items, channels and arenas"),
];

/// Targets with a fault that was planted: who drives them must notice.
pub const PLANTED: &[Target] = &[
    target("planted-panic", "planted", planted::panics, "panics"),
    target("planted-abort", "planted", planted::aborts, "aborts"),
    target("planted-hang", "planted", planted::hangs, "hangs"),
    target("planted-memory", "planted", planted::allocates, "asks for much memory"),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().chain(PLANTED).find(|target| target.name == name)
}
