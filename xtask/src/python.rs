//! The Python checks, in a virtual environment of their own: pyarrow reads what we wrote, and the
//! field suite puts files through the command and compares what comes out with pyarrow and DuckDB.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tool::{Outcome, run};
use crate::venv;

const SCRIPT: &str = "tests/pyarrow_read.py";
const FIELD: &str = "tests/field/run.py";
const REQUIREMENTS: &str = "python-check/requirements.txt";

/// How long the field suite runs as a stage: until either. A fast machine makes no trials that others never saw.
const BOUNDS: &[&str] = &["--seconds", "60", "--trials", "2000"];

/// Makes `target/venv`, installs the pinned packages, and runs the scripts. `target` is the
/// directory that holds the built `faretra` command and examples.
pub fn check(root: &Path, target: &Path) -> Outcome {
    if !root.join(SCRIPT).exists() {
        return Outcome::Skipped(format!("{SCRIPT} is not there"));
    }
    let python = match prepare(root, target) {
        Ok(python) => python,
        Err(outcome) => return outcome,
    };
    let mut script = Command::new(&python);
    script.arg(SCRIPT).current_dir(root);
    match run(venv::keeping(&mut script, target).env("FARETRA_TARGET", target)) {
        Outcome::Passed => run(suite(root, target, &python, &target.join("faretra")).args(BOUNDS)),
        other => other,
    }
}

/// Runs the field suite alone on the command `binary`, with these options.
pub fn field(root: &Path, target: &Path, binary: &Path, options: &[String]) -> Outcome {
    match prepare(root, target) {
        Ok(python) => run(suite(root, target, &python, binary).args(options)),
        Err(outcome) => outcome,
    }
}

fn suite(root: &Path, target: &Path, python: &Path, binary: &Path) -> Command {
    let mut suite = Command::new(python);
    venv::keeping(&mut suite, target).args([FIELD, "--binary"]).arg(binary).current_dir(root);
    suite
}

/// Brings the environment beside `target` to what the requirements say; gives its Python.
pub fn prepare(root: &Path, target: &Path) -> Result<PathBuf, Outcome> {
    venv::prepare(root, Path::new("python3"), &target.with_file_name("venv"), &[REQUIREMENTS])
}
