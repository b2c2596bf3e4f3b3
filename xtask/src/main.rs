//! The project's chores: `cargo xtask test` shows that everything the README promises holds.
//!
//! A stage is one command of somebody else's (cargo, nextest, pip); its output goes to the terminal
//! as it is, and its exit code decides. What a machine lacks is skipped and said, never passed over
//! in silence: the summary lists it again.

#![allow(clippy::print_stdout, reason = "a command line tool talks to its user")]

mod api;
mod bench;
mod counts;
mod dist;
mod examples;
mod fuzz;
mod header;
mod install;
mod interpreters;
mod linked;
mod lints;
mod numbers;
mod package;
mod python;
mod report;
mod stages;
mod supply;
mod tool;
mod venv;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use tool::cargo;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run everything the README promises; stops at the first stage that fails
    Test {
        /// Run the other stages too after one failed
        #[arg(long)]
        keep_going: bool,
        /// Run the tests of the Python package with each CPython of this machine, not all of them with the first alone
        #[arg(long)]
        every_python: bool,
        /// Run these stages only: format, lints, build, tests, portable, docs, supply, counts, examples, python, package
        #[arg(long, value_name = "STAGE", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Compare the library's public API with the committed list, `api.txt`
    Api {
        /// Write the list anew instead
        #[arg(long)]
        write: bool,
    },
    /// Compare the header of the C library with the one that its sources make
    Header {
        /// Write the header anew instead
        #[arg(long)]
        write: bool,
    },
    /// Build the C library and install it with its header and its pkg-config file
    InstallC {
        /// Where: DIR/lib, DIR/include, DIR/lib/pkgconfig
        #[arg(long, value_name = "DIR", default_value = "/usr/local")]
        prefix: PathBuf,
        /// A directory to write into instead of the root, for packages
        #[arg(long, value_name = "DIR")]
        destdir: Option<PathBuf>,
    },
    /// Run every benchmark there is, beside floors and rivals, and report in target/bench-report
    Bench {
        /// Fewer rounds and smaller values, and each bench once
        #[arg(long)]
        quick: bool,
        /// Each bench two times, also with --quick: a row is met only if it is met in both
        #[arg(long)]
        twice: bool,
        /// Run these only: ratios, sync, channel, ready, peers, scenarios, python
        #[arg(long, value_name = "BENCH", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Compare the numbers in the README with those that the committed report, `benches/report.json`, makes
    Numbers {
        /// Write them anew instead
        #[arg(long)]
        write: bool,
        /// First take the last report of `cargo xtask bench` as the one to commit, and write
        #[arg(long)]
        take: bool,
    },
    /// Count the instructions that operations take, in Python too, and compare with the committed counts; needs valgrind
    Counts {
        /// Accept what is counted
        #[arg(long, conflicts_with = "locked")]
        write: bool,
        /// Say where the locked instructions of each operation are
        #[arg(long)]
        locked: bool,
    },
    /// Build the wheel of the Python package that people install, in `target/wheels`
    Wheel,
    /// Make everything that is released, in `target/dist`
    Dist,
    /// Kill and stop random processes that share an arena, and check it, for some time
    Torture {
        /// How long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// The same seed makes the same choices
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Scribble over an arena while processes read, publish, send, receive and wait in it
    Chaos {
        /// How long
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// The same seed makes the same choices
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Kill a process at every step of every operation, and its recoverer at every step
    Sweep {
        /// Every step of every scenario; without it, what the tests run
        #[arg(long)]
        full: bool,
    },
    /// Give mutated bytes to everything that reads bytes of others: arenas, files, command lines
    Fuzz {
        /// How long, divided among the targets
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// The same seed makes the same inputs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Build with libFuzzer and AddressSanitizer instead, which needs a C++ compiler
        #[arg(long)]
        coverage: bool,
        /// Targets; all of them, unless said
        targets: Vec<String>,
    },
    /// Put files as people have them through the command, and compare with pyarrow and DuckDB
    Field {
        /// How long
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// The same seed makes the same files
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Also the cases that need gigabytes
        #[arg(long)]
        long: bool,
    },
    /// Break the sources in each of the ways listed, and see the test that must fail fail (minutes)
    Planted,
    /// Explore the interleavings of the lock-free core under weak memory (bounded)
    Loom,
}

fn main() -> ExitCode {
    let root = root();
    if let Some(ended) = lints::instead_of_the_compiler().or_else(|| package::instead_of_cargo(&root)) {
        return ended;
    }
    match Arguments::parse().chore {
        Chore::Test { keep_going, every_python, only } => {
            stages::test(&root, tool::How { keep_going, every_python }, &only)
        }
        Chore::Api { write } => {
            let listed = |items| println!("api.txt lists {items} items");
            done(match write {
                true => api::write(&root).map(listed),
                false => api::check(&root).map(|()| println!("the public API is the one that api.txt lists")),
            })
        }
        Chore::Header { write } => done(match write {
            true => header::write(&root),
            false => header::check(&root).map(|()| println!("{} is what the sources make", header::FILE)),
        }),
        Chore::InstallC { prefix, destdir } => stages::install_c(&root, &prefix, destdir.as_deref()),
        Chore::Bench { quick, twice, only } => {
            bench::all(&root, &bench::Wanted { quick, twice: twice || !quick, only })
        }
        Chore::Numbers { take: true, .. } => {
            let latest = tool::target(&root).with_file_name("bench-report").join(report::Report::FILE);
            done(numbers::take(&root, &latest).and_then(|()| numbers::write(&root)))
        }
        Chore::Numbers { write: true, .. } => done(numbers::write(&root)),
        Chore::Numbers { .. } => {
            done(numbers::check(&root).map(|()| println!("the README shows what {} makes", numbers::SOURCE)))
        }
        Chore::Counts { write: true, .. } => tool::ended(&counts::write(&root)),
        Chore::Counts { locked: true, .. } => tool::ended(&counts::locked(&root)),
        Chore::Counts { .. } => tool::ended(&counts::check(&root)),
        Chore::Wheel => stages::wheel(&root),
        Chore::Dist => dist::dist(&root),
        Chore::Torture { seconds, seed } => {
            proof(&root, "torture", &["--seconds", &seconds.to_string(), "--seed", &seed.to_string()])
        }
        Chore::Chaos { seconds, seed } => stages::chaos(&root, seconds, seed),
        Chore::Sweep { full } => proof(&root, "sweep", if full { &["--full"] } else { &[] }),
        Chore::Fuzz { seconds, seed, coverage: false, targets } => fuzz::driven(&root, seconds, seed, &targets),
        Chore::Fuzz { seconds, seed, coverage: true, targets } => fuzz::with_coverage(&root, seconds, seed, &targets),
        Chore::Field { seconds, seed, long } => {
            let mut options = vec![format!("--seconds={seconds}"), format!("--seed={seed}")];
            options.extend(long.then(|| "--long".to_owned()));
            stages::field(&root, &options)
        }
        Chore::Planted => proof(&root, "planted", &[]),
        Chore::Loom => proof(&root, "loom", &[]),
    }
}

fn done(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cargo xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a binary of the proof crate, optimised: these run for minutes, the tests for seconds.
fn proof(root: &Path, binary: &str, arguments: &[&str]) -> ExitCode {
    let mut command = cargo(root);
    command.args(["run", "--release", "--package", "proof", "--bin", binary]);
    tool::end_as(command.arg("--").args(arguments))
}

/// The workspace's root. Cargo tells where this package lies each time it runs it; a binary that
/// was copied elsewhere takes the current directory.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    match package.as_deref().and_then(Path::parent) {
        Some(root) => root.to_owned(),
        None => PathBuf::from("."),
    }
}
