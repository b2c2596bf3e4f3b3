//! Applies each planted bug to a copy of the sources, and requires its test to fail. `cargo xtask planted`.
//!
//! The copy lies in `target/planted`. Arguments choose bugs: those whose description has one of them, or that break it.

#![allow(clippy::print_stdout, reason = "a command talks to its user")]

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use proof::planted::{Bug, bugs};

fn main() -> ExitCode {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    match run(&chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("planted: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(chosen: &[String]) -> std::io::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("planted");
    copy_workspace(&root, &copy)?;
    let is_chosen = |b: &&Bug| chosen.is_empty() || chosen.iter().any(|c| b.what.contains(&**c) || b.breaks == c);
    let bugs: Vec<&Bug> = bugs().filter(is_chosen).collect();
    let (mut caught, mut missed) = (0, vec![]);
    let mut tests: Vec<_> = bugs.iter().map(|b| b.test).collect();
    tests.sort_unstable();
    tests.dedup();
    // How long each takes on this machine now.
    let mut sound_times = HashMap::new();
    for test in tests {
        build(&copy, &target, test)?;
        let began = Instant::now();
        if verdict(&copy, &target, test, SLOWEST * 10)? != Verdict::Passed {
            return Err(std::io::Error::other(format!("{test:?} does not pass without a bug")));
        }
        println!("{:5.1} s without a bug  {test:?}", began.elapsed().as_secs_f64());
        sound_times.insert(test, began.elapsed());
    }
    for bug in bugs {
        let began = Instant::now();
        let path = copy.join("src").join(bug.file);
        let sound = std::fs::read_to_string(&path)?;
        let text = bug.plant(&sound).map_err(std::io::Error::other)?;
        std::fs::write(&path, text)?;
        let limit = SLOWEST.max(sound_times[&bug.test] * 10);
        let verdict = verdict(&copy, &target, bug.test, limit);
        std::fs::write(&path, sound)?;
        let verdict = verdict?;
        let (file, test) = bug.test;
        let time = began.elapsed().as_secs_f64();
        println!("{verdict:?} {time:5.1} s  {:3}  {}  ({file}::{test})", bug.breaks, bug.what);
        if matches!(verdict, Verdict::Failed | Verdict::Endless) {
            caught += 1;
        } else {
            missed.push(bug.what);
        }
    }
    println!("{caught} planted bugs caught, {} not: {missed:?}", missed.len());
    Ok(missed.is_empty())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The test noticed nothing.
    Passed,
    /// The test failed, as it must.
    Failed,
    /// The test did not end in time, which is a failure, too: some bugs make loops endless.
    Endless,
    /// The edit does not compile: it is the list that is wrong.
    Unbuilt,
}

/// A test has at least so long, and ten times as long as it takes without a bug.
const SLOWEST: Duration = Duration::from_secs(180);

fn test(copy: &Path, target: &Path, (file, _): (&str, &str)) -> Command {
    // The tests with real processes are the library's own.
    let package = if file == "it" { "faretra" } else { "proof" };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(copy).env("CARGO_TARGET_DIR", target).env("RUST_BACKTRACE", "0");
    command.args(["test", "--quiet", "--all-features", "--package", package, "--test", file]);
    command
}

/// Whether it could be built.
fn build(copy: &Path, target: &Path, of: (&str, &str)) -> std::io::Result<bool> {
    let built = test(copy, target, of).arg("--no-run").output()?;
    if !built.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&built.stderr));
    }
    Ok(built.status.success())
}

fn verdict(copy: &Path, target: &Path, of: (&str, &str), limit: Duration) -> std::io::Result<Verdict> {
    if !build(copy, target, of)? {
        return Ok(Verdict::Unbuilt);
    }
    let mut command = test(copy, target, of);
    command.args(["--", "--exact", of.1]).process_group(0);
    let mut running = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = running.try_wait()? {
            return Ok(if status.success() { Verdict::Passed } else { Verdict::Failed });
        }
        if began.elapsed() > limit {
            // Cargo, and the test that it runs.
            Command::new("kill").args(["-KILL", "--", &format!("-{}", running.id())]).status()?;
            running.wait()?;
            return Ok(Verdict::Endless);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The workspace with nothing but the library and the proof in it.
fn copy_workspace(root: &Path, copy: &Path) -> std::io::Result<()> {
    for dir in ["src", "tests", "proof/src", "proof/tests"] {
        let _ = std::fs::remove_dir_all(copy.join(dir));
        copy_dir(&root.join(dir), &copy.join(dir))?;
    }
    for file in ["Cargo.lock", "README.md", "proof/Cargo.toml"] {
        let _ = std::fs::copy(root.join(file), copy.join(file));
    }
    let _ = std::fs::remove_dir_all(copy.join("proof/src/bin"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let mut kept = vec![];
    let mut skipping = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            // Benches and examples are not copied.
            skipping = line.starts_with("[[");
        }
        match line.split('=').next().unwrap_or_default().trim() {
            _ if skipping => {}
            "members" => kept.push(r#"members = ["proof"]"#),
            "default-members" => {}
            _ => kept.push(line),
        }
    }
    std::fs::write(copy.join("Cargo.toml"), kept.join("\n"))
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
