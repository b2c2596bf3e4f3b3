//! The Python checks, in a virtual environment of their own: pyarrow reads what we wrote, and the
//! field suite puts files through the command and compares what comes out with pyarrow and DuckDB.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tool::{Outcome, run};

const SCRIPT: &str = "tests/pyarrow_read.py";
const FIELD: &str = "tests/field/run.py";
const REQUIREMENTS: &str = "python-check/requirements.txt";

/// What pip prints when there is no way to an index. Any other failure of pip is ours.
const UNREACHABLE: &[&str] =
    &["NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError", "ProxyError", "SSLError"];

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
    match run(script.env("FARETRA_TARGET", target)) {
        Outcome::Passed => run(suite(root, &python, &target.join("faretra")).args(BOUNDS)),
        other => other,
    }
}

/// Runs the field suite alone on the command `binary`, with these options.
pub fn field(root: &Path, target: &Path, binary: &Path, options: &[String]) -> Outcome {
    match prepare(root, target) {
        Ok(python) => run(suite(root, &python, binary).args(options)),
        Err(outcome) => outcome,
    }
}

fn suite(root: &Path, python: &Path, binary: &Path) -> Command {
    let mut suite = Command::new(python);
    suite.args([FIELD, "--binary"]).arg(binary).current_dir(root);
    suite
}

/// Brings the environment beside `target` to what the requirements say; gives its Python.
fn prepare(root: &Path, target: &Path) -> Result<PathBuf, Outcome> {
    let venv = target.with_file_name("venv");
    let python = venv.join("bin/python");
    let wanted = match std::fs::read_to_string(root.join(REQUIREMENTS)) {
        Ok(text) => text,
        Err(error) => return Err(Outcome::Failed(format!("{REQUIREMENTS}: {error}"))),
    };
    // Written last, so that an installation that was interrupted is done again.
    let installed = venv.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    let made = output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    match made {
        Err(error) => return Err(Outcome::Skipped(format!("no python3: {error}"))),
        Ok(made) if !made.status.success() => {
            let why = last_line(&made);
            return Err(Outcome::Skipped(format!("python3 -m venv: {why}")));
        }
        Ok(_) => {}
    }
    println!("  $ pip install --requirement {REQUIREMENTS}");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--retries=1"]);
    pip.args(["--timeout=20", "--requirement", REQUIREMENTS]);
    match output(pip.current_dir(root)) {
        Err(error) => return Err(Outcome::Failed(format!("pip does not start: {error}"))),
        Ok(pip) if !pip.status.success() => {
            let text = String::from_utf8_lossy(&pip.stderr);
            if UNREACHABLE.iter().any(|sign| text.contains(sign)) {
                return Err(Outcome::Skipped("pip cannot reach a package index".into()));
            }
            eprint!("{text}");
            return Err(Outcome::Failed(format!("pip: {}", last_line(&pip))));
        }
        Ok(_) => {}
    }
    match std::fs::write(&installed, wanted) {
        Ok(()) => Ok(python),
        Err(error) => Err(Outcome::Failed(format!("{}: {error}", installed.display()))),
    }
}

fn output(command: &mut Command) -> std::io::Result<Output> {
    command.output()
}

/// A tool's reason is usually the last thing that it says, on either stream.
fn last_line(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given").trim().to_owned()
}
