//! The Python package as people get it: a wheel, installed into an environment that knows nothing of the sources.
//!
//! The stage builds the wheel in the dev profile, into the workspace's own target directory, and runs on it whatever lies in
//! `python/tests`: with the first CPython everything, with every other one of the machine all but what is marked `slow`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::interpreters::{self, Interpreter};
use crate::tool::{Outcome, run};
use crate::venv;

/// What the tests need, what some of them need, and the tools that build the wheel and look at its sources.
const TESTS: &str = "python/requirements-test.txt";
const PEERS: &str = "python/requirements-peers.txt";
const TOOLS: &str = "python/requirements-check.txt";

/// How many seconds a test may take before the run is ended, with the stacks of all threads.
const PATIENCE: &str = "--timeout=180";

/// The most that the wheel may weigh.
const HEAVIEST: u64 = 10_000_000;

/// Builds the wheel, installs it beside each CPython from 3.11, and runs the checks and the tests.
pub fn check(root: &Path, target: &Path, keep_going: bool) -> Outcome {
    let (found, mut lacks) = interpreters::find();
    let Some((first, others)) = found.split_first() else {
        return Outcome::Skipped("no CPython 3.11 or later".into());
    };
    let place = target.with_file_name("package");
    let python = match venv::prepare(root, &first.program, &environment(&place, first), &[TESTS, PEERS, TOOLS]) {
        Ok(python) => python,
        Err(outcome) => return outcome,
    };
    let wheel = match build(root, target, &python, &place) {
        Ok(wheel) => wheel,
        Err(outcome) => return outcome,
    };
    let mut failed = Vec::new();
    let steps = sources(root, &python).into_iter().map(Ok).chain([tests(root, &place, &python, &wheel, true)]);
    for step in steps {
        if let Some(why) = failure(step) {
            failed.push(why);
            if !keep_going {
                return Outcome::Failed(failed.join(", "));
            }
        }
    }
    for other in others {
        let venv = environment(&place, other);
        let python = match venv::prepare(root, &other.program, &venv, &[TESTS, PEERS]) {
            Err(Outcome::Skipped(why)) => {
                lacks.push(format!("{}: only with numpy ({why})", other.version));
                venv::prepare(root, &other.program, &venv, &[TESTS])
            }
            prepared => prepared,
        };
        let step = match python {
            Ok(python) => tests(root, &place, &python, &wheel, false),
            Err(Outcome::Skipped(why)) => {
                lacks.push(format!("{}: {why}", other.version));
                continue;
            }
            Err(outcome) => Err(outcome),
        };
        if let Some(why) = failure(step) {
            failed.push(format!("{}: {why}", other.version));
            if !keep_going {
                break;
            }
        }
    }
    if others.is_empty() {
        lacks.push("no other CPython from 3.11 is here".into());
    }
    match (failed.is_empty(), lacks.is_empty()) {
        (false, _) => Outcome::Failed(failed.join(", ")),
        (true, true) => Outcome::Passed,
        (true, false) => Outcome::Partly(lacks.join("; ")),
    }
}

/// Builds the wheel that people install, and says how large it is.
pub fn wheel(root: &Path, target: &Path) -> Outcome {
    let (found, _) = interpreters::find();
    let Some(first) = found.first() else {
        return Outcome::Skipped("no CPython 3.11 or later".into());
    };
    let place = target.with_file_name("package");
    let python = match venv::prepare(root, &first.program, &environment(&place, first), &[TESTS, PEERS, TOOLS]) {
        Ok(python) => python,
        Err(outcome) => return outcome,
    };
    let wheels = target.with_file_name("wheels");
    let mut maturin = maturin(&python, target, &wheels);
    // Its own audit fails when the library needs symbols that the tag does not promise.
    maturin.args(["--profile=wheel", "--auditwheel=check", "--sdist"]);
    let built = match run(maturin.current_dir(root)) {
        Outcome::Passed => newest(&wheels),
        outcome => return outcome,
    };
    let sized = built.and_then(|wheel| Ok((std::fs::metadata(&wheel)?.len(), wheel)));
    match sized {
        Ok((size, wheel)) => {
            println!("{}: {:.1} MB", wheel.display(), size as f64 / 1e6);
            if size <= HEAVIEST {
                return Outcome::Passed;
            }
            Outcome::Failed(format!("the wheel has {size} bytes, and may have {HEAVIEST}"))
        }
        Err(error) => Outcome::Failed(format!("{}: {error}", wheels.display())),
    }
}

fn environment(place: &Path, interpreter: &Interpreter) -> PathBuf {
    place.join(format!("venv-{}", interpreter.version))
}

fn maturin(python: &Path, target: &Path, wheels: &Path) -> Command {
    let mut maturin = Command::new(python.with_file_name("maturin"));
    maturin.args(["build", "--quiet", "--manifest-path=python/Cargo.toml", "--interpreter"]).arg(python);
    maturin.arg("--out").arg(wheels);
    // `target` is the directory of one profile in it.
    if let Some(all) = target.parent() {
        maturin.arg("--target-dir").arg(all);
    }
    maturin
}

/// Builds the wheel in the dev profile.
fn build(root: &Path, target: &Path, python: &Path, place: &Path) -> Result<PathBuf, Outcome> {
    let wheels = place.join("wheels");
    // One of an older version would be found, too.
    let _ = std::fs::remove_dir_all(&wheels);
    let mut maturin = maturin(python, target, &wheels);
    match run(maturin.args(["--profile=dev", "--compatibility=linux"]).current_dir(root)) {
        Outcome::Passed => newest(&wheels).map_err(|error| Outcome::Failed(format!("{}: {error}", wheels.display()))),
        outcome => Err(outcome),
    }
}

/// The wheel that was written last into a folder.
fn newest(wheels: &Path) -> std::io::Result<PathBuf> {
    let mut best = None;
    for entry in std::fs::read_dir(wheels)? {
        let entry = entry?;
        let time = entry.metadata()?.modified()?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "whl") && best.as_ref().is_none_or(|(t, _)| *t < time)
        {
            best = Some((time, path));
        }
    }
    best.map(|(_, path)| path).ok_or_else(|| std::io::Error::other("there is no wheel"))
}

/// Style and types of the sources.
fn sources(root: &Path, python: &Path) -> Vec<Outcome> {
    let here = root.join("python");
    let tool = |name: &str, arguments: &[&str]| {
        let mut tool = Command::new(python.with_file_name(name));
        run(tool.args(arguments).current_dir(&here))
    };
    let python = python.to_string_lossy();
    vec![
        tool("ruff", &["check", "--no-cache", "."]),
        tool("ruff", &["format", "--no-cache", "--check", "."]),
        tool("mypy", &["--no-error-summary"]),
        tool("basedpyright", &["--level=error", "--pythonpath", &python]),
    ]
}

/// Installs the wheel and runs the tests on it, where no sources of the package are found.
fn tests(root: &Path, place: &Path, python: &Path, wheel: &Path, all: bool) -> Result<Outcome, Outcome> {
    let file = wheel.to_string_lossy();
    venv::pip(root, python, &["install", "--quiet", "--no-deps", "--force-reinstall", &file])?;
    let nowhere = place.join("run");
    if let Err(error) = std::fs::create_dir_all(&nowhere) {
        return Err(Outcome::Failed(format!("{}: {error}", nowhere.display())));
    }
    if all {
        // What the library really has, beside what its stub says.
        let mut stubs = Command::new(python);
        stubs.args(["-m", "mypy.stubtest", "faretra._native", "--concise", "--ignore-unused-allowlist", "--allowlist"]);
        stubs.arg(root.join("python/stubtest.txt")).current_dir(&nowhere);
        match run(&mut stubs) {
            Outcome::Passed => {}
            outcome => return Ok(outcome),
        }
    }
    let mut tests = Command::new(python.with_file_name("pytest"));
    tests.args(["-q", "-p", "no:cacheprovider", "--strict-markers", PATIENCE, "--timeout-method=thread"]);
    if !all {
        tests.args(["-m", "not slow"]);
    }
    tests.arg(root.join("python/tests")).current_dir(&nowhere).env_remove("PYTHONPATH");
    Ok(run(&mut tests))
}

fn failure(step: Result<Outcome, Outcome>) -> Option<String> {
    match step {
        Ok(Outcome::Failed(why) | Outcome::Skipped(why)) | Err(Outcome::Failed(why) | Outcome::Skipped(why)) => {
            Some(why)
        }
        _ => None,
    }
}
