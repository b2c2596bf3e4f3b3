//! Instructions that an operation of the Python package takes.
//!
//! CPython starts with thousands of millions of instructions, not always as many. So `benches/counts/get.py` makes two system calls,
//! before and after what is counted, at which callgrind begins anew and writes what it has; and what is left besides, which is the
//! same for N rounds and for 2 N, goes with the difference of the two.

use std::path::Path;
use std::process::Command;

use crate::interpreters::{self, Interpreter};
use crate::tool::{Outcome, output};
use crate::{package, venv};

/// What is counted, and what does it.
pub const OPERATION: &str = "python-get-array";
const SCRIPT: &str = "benches/counts/get.py";

/// What the package needs, pinned.
const NEEDS: &str = "python/requirements-test.txt";

/// The calls of the C library at which callgrind begins and ends.
const BEGIN: &str = "getppid";
const END: &str = "getpgrp";

/// Rounds of the shorter run.
const TIMES: u64 = 1000;

/// How many instructions a round takes of the library that lies in `release`, and with which interpreter; `Skipped` without one.
pub fn count(root: &Path, release: &Path, place: &Path) -> Result<(f64, String), Outcome> {
    let (found, _) = interpreters::find();
    let Some(Interpreter { program, version }) = found.first() else {
        return Err(Outcome::Skipped("no CPython 3.11 or later".into()));
    };
    let python = venv::prepare(root, program, &place.join(format!("venv-{version}")), &[NEEDS])?;
    let (sources, library) = (root.join("python/faretra"), release.join("libfaretra_native.so"));
    let package = package::assemble(&sources, &library, &place.join("package")).map_err(Outcome::Failed)?;
    let which = "import sys, numpy; print('Python', sys.version.split()[0], 'numpy', numpy.__version__)";
    let which = output(venv::keeping(Command::new(&python).args(["-c", which]), place)).map_err(Outcome::Failed)?;
    let counted = |times| counted(root, &python, &package, place, times).map_err(Outcome::Failed);
    let (once, twice) = (counted(TIMES)?, counted(2 * TIMES)?);
    let Some(more) = twice.checked_sub(once).filter(|more| *more > 0) else {
        return Err(Outcome::Failed(format!("{SCRIPT}: {once} instructions, and {twice} for twice as many rounds")));
    };
    Ok((more as f64 / TIMES as f64, which.trim().to_owned()))
}

/// All instructions between the two calls.
fn counted(root: &Path, python: &Path, package: &Path, place: &Path, times: u64) -> Result<u64, String> {
    let dump = place.join(format!("{OPERATION}.callgrind"));
    // Written at the second call; what is written at the end of the process is another file.
    let at_end = place.join(format!("{OPERATION}.callgrind.1"));
    let _ = std::fs::remove_file(&at_end);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", &format!("--zero-before={BEGIN}"), &format!("--dump-before={END}")]);
    valgrind.arg(format!("--callgrind-out-file={}", dump.display()));
    valgrind.arg(python).arg(root.join(SCRIPT)).arg(times.to_string());
    // The same dictionaries each time.
    valgrind.env("PYTHONHASHSEED", "0").env("PYTHONPATH", package);
    output(venv::keeping(&mut valgrind, place))?;
    let text = std::fs::read_to_string(&at_end).map_err(|error| format!("{}: {error}", at_end.display()))?;
    total(&text).ok_or_else(|| format!("{}: callgrind counted nothing", at_end.display()))
}

fn total(dump: &str) -> Option<u64> {
    let sum = dump.lines().find_map(|line| line.strip_prefix("totals: "))?;
    sum.trim().parse().ok().filter(|total| *total > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that the sum of a dump is read, and that an empty one is told.
    #[test]
    fn sums_are_read() {
        assert_eq!(total("events: Ir\nsummary: 999\n\nfn=a\n0x1 2\ntotals: 908\n"), Some(908));
        assert_eq!(total("events: Ir\ntotals: 0\n"), None);
        assert_eq!(total("events: Ir\n"), None);
    }
}
