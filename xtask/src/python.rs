//! The Python check: pyarrow, in a virtual environment of its own, reads what we wrote.

use std::path::Path;
use std::process::{Command, Output};

use crate::stages::{Outcome, run};

const SCRIPT: &str = "tests/pyarrow_read.py";
const REQUIREMENTS: &str = "python-check/requirements.txt";

/// What pip prints when there is no way to an index. Any other failure of pip is ours.
const UNREACHABLE: &[&str] =
    &["NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError", "ProxyError", "SSLError"];

/// Makes `target/venv`, installs the pinned packages, and runs the script with
/// `FARETRA_TARGET` naming the directory that holds the built `faretra` command and examples.
pub fn check(root: &Path, target: &Path) -> Outcome {
    if !root.join(SCRIPT).exists() {
        return Outcome::Skipped(format!("{SCRIPT} is not there"));
    }
    let venv = target.with_file_name("venv");
    let python = venv.join("bin/python");
    if let Some(outcome) = prepare(root, &venv, &python) {
        return outcome;
    }
    let mut script = Command::new(&python);
    script.arg(SCRIPT).current_dir(root);
    run(script.env("FARETRA_TARGET", target))
}

/// Brings the environment to what the requirements say; `None` when it is ready.
fn prepare(root: &Path, venv: &Path, python: &Path) -> Option<Outcome> {
    let wanted = match std::fs::read_to_string(root.join(REQUIREMENTS)) {
        Ok(text) => text,
        Err(error) => return Some(Outcome::Failed(format!("{REQUIREMENTS}: {error}"))),
    };
    // Written last, so that an installation that was interrupted is done again.
    let installed = venv.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return None;
    }
    let made = output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv));
    match made {
        Err(error) => return Some(Outcome::Skipped(format!("no python3: {error}"))),
        Ok(made) if !made.status.success() => {
            let why = last_line(&made);
            return Some(Outcome::Skipped(format!("python3 -m venv: {why}")));
        }
        Ok(_) => {}
    }
    println!("  $ pip install --requirement {REQUIREMENTS}");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--retries=1"]);
    pip.args(["--timeout=20", "--requirement", REQUIREMENTS]);
    match output(pip.current_dir(root)) {
        Err(error) => return Some(Outcome::Failed(format!("pip does not start: {error}"))),
        Ok(pip) if !pip.status.success() => {
            let text = String::from_utf8_lossy(&pip.stderr);
            if UNREACHABLE.iter().any(|sign| text.contains(sign)) {
                return Some(Outcome::Skipped("pip cannot reach a package index".into()));
            }
            eprint!("{text}");
            return Some(Outcome::Failed(format!("pip: {}", last_line(&pip))));
        }
        Ok(_) => {}
    }
    match std::fs::write(&installed, wanted) {
        Ok(()) => None,
        Err(error) => Some(Outcome::Failed(format!("{}: {error}", installed.display()))),
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
