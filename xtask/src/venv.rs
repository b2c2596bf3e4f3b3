//! Virtual environments with pinned packages. One is made anew when its Python or its requirements change.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tool::Outcome;

/// What pip prints when there is no way to an index. Any other failure of pip is ours.
const UNREACHABLE: &[&str] =
    &["NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError", "ProxyError", "SSLError"];

/// What pip prints when nobody has built one of the packages for this Python.
const UNBUILT: &[&str] = &["No matching distribution found", "Could not find a version that satisfies"];

/// Brings the environment `venv` to what these files, below `root`, require, and gives its Python.
///
/// The outcome, when there is none, is `Skipped` if this machine lacks something: `interpreter`, its module `venv`, an index,
/// or a wheel of one of the packages.
pub fn prepare(root: &Path, interpreter: &Path, venv: &Path, requirements: &[&str]) -> Result<PathBuf, Outcome> {
    let python = venv.join("bin/python");
    let mut wanted = format!("# {}\n", interpreter.display());
    for file in requirements {
        match std::fs::read_to_string(root.join(file)) {
            Ok(text) => wanted += &text,
            Err(error) => return Err(Outcome::Failed(format!("{file}: {error}"))),
        }
    }
    // Written last, so that an installation that was interrupted is done again.
    let installed = venv.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    match Command::new(interpreter).args(["-m", "venv", "--clear"]).arg(venv).output() {
        Err(error) => return Err(Outcome::Skipped(format!("no {}: {error}", interpreter.display()))),
        Ok(made) if !made.status.success() => {
            let why = last_line(&made);
            return Err(Outcome::Skipped(format!("{} -m venv: {why}", interpreter.display())));
        }
        Ok(_) => {}
    }
    let mut arguments =
        vec!["install", "--quiet", "--retries=1", "--timeout=20", "--only-binary=:all:", "--no-compile"];
    requirements.iter().for_each(|file| arguments.extend(["--requirement", file]));
    pip(root, &python, &arguments)?;
    match std::fs::write(&installed, wanted) {
        Ok(()) => Ok(python),
        Err(error) => Err(Outcome::Failed(format!("{}: {error}", installed.display()))),
    }
}

/// Has Python keep what it compiles, in a folder of its own: pip compiles nothing, and every process that a test starts would compile numpy
/// anew where the machine's environment forbids to write.
pub fn keeping<'c>(command: &'c mut Command, target: &Path) -> &'c mut Command {
    command.env_remove("PYTHONDONTWRITEBYTECODE").env("PYTHONPYCACHEPREFIX", target.with_file_name("pycache"))
}

/// Runs pip of an environment.
pub fn pip(root: &Path, python: &Path, arguments: &[&str]) -> Result<(), Outcome> {
    println!("  $ pip {}", arguments.join(" "));
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--disable-pip-version-check"]).args(arguments);
    match pip.current_dir(root).output() {
        Err(error) => Err(Outcome::Failed(format!("pip does not start: {error}"))),
        Ok(pip) if !pip.status.success() => {
            let text = String::from_utf8_lossy(&pip.stderr);
            if UNREACHABLE.iter().any(|sign| text.contains(sign)) {
                return Err(Outcome::Skipped("pip cannot reach a package index".into()));
            }
            if UNBUILT.iter().any(|sign| text.contains(sign)) {
                return Err(Outcome::Skipped(last_line(&pip)));
            }
            eprint!("{text}");
            Err(Outcome::Failed(format!("pip: {}", last_line(&pip))))
        }
        Ok(_) => Ok(()),
    }
}

/// A tool's reason is usually the last thing that it says, on either stream.
pub fn last_line(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given").trim().to_owned()
}
