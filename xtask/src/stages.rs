//! The stages of `cargo xtask test`, in order, and the summary.
//!
//! All of them but `portable` and `counts` build the same selection (`--workspace --all-features`) in the dev profile, because cargo
//! unifies features over what is selected: another selection would compile arrow twice.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::tool::{ALL, How, NEWER, Outcome, built, cargo, ended, has, run, selection, target};
use crate::{api, counts, examples, header, install, lints, package, python, supply, venv};

type Stage = (&'static str, fn(&Path, How) -> Outcome);

const STAGES: &[Stage] = &[
    ("format", format),
    ("lints", |root, _| lints::check(root)),
    ("build", build),
    ("tests", tests),
    ("portable", portable),
    ("docs", docs),
    ("supply", |root, _| supply::check(root)),
    ("counts", |root, _| counts::check(root)),
    ("examples", |root, how| examples::check(root, &target(root), how.keep_going, selection() == ALL)),
    ("python", |root, _| python::check(root, &target(root))),
    (PACKAGE, |root, how| package::check(root, &target(root), how)),
];

const PACKAGE: &str = "package";

/// Runs the stages, or those in `only`; stops after the first failure unless told to go on.
pub fn test(root: &Path, how: How, only: &[String]) -> ExitCode {
    if let Some(unknown) = only.iter().find(|name| STAGES.iter().all(|(stage, _)| stage != name)) {
        eprintln!("cargo xtask: there is no stage `{unknown}`");
        return ExitCode::from(2);
    }
    let asked = |&&(name, _): &&Stage| only.is_empty() || only.iter().any(|one| one == name);
    let stages: Vec<&Stage> = STAGES.iter().filter(asked).collect();
    let begun = Instant::now();
    let disk = free(root);
    let mut done: Vec<(&str, Outcome, Duration)> = Vec::new();
    // An index makes wait; what comes before has enough to do.
    let mut prepared = stages.iter().any(|(name, _)| *name == PACKAGE).then(|| {
        let (root, target) = (root.to_owned(), target(root));
        std::thread::spawn(move || package::prepare(&root, &target, how))
    });
    for &&(name, stage) in &stages {
        println!("\n==> {name}");
        let start = Instant::now();
        if let Some(prepared) = prepared.take_if(|_| name == PACKAGE) {
            prepared.join().expect("it does not panic");
        }
        let outcome = stage(root, how);
        println!("{}", line(name, &outcome, start.elapsed()));
        let stop = matches!(outcome, Outcome::Failed(_)) && !how.keep_going;
        done.push((name, outcome, start.elapsed()));
        if stop {
            break;
        }
    }

    println!("\n==> summary, {:.1} s; {disk} of disk free at first, {} now", begun.elapsed().as_secs_f64(), free(root));
    for (name, outcome, time) in &done {
        println!("{}", line(name, outcome, *time));
    }
    for (name, _) in &stages[done.len()..] {
        println!("not run  {name:10}");
    }
    if done.iter().any(|(_, o, _)| matches!(o, Outcome::Failed(_))) {
        println!("FAILED");
        return ExitCode::FAILURE;
    }
    match done.iter().filter(|(_, o, _)| matches!(o, Outcome::Skipped(_))).count() {
        0 => println!("all {} stages passed", done.len()),
        skipped => println!("{} stages passed, {skipped} skipped", done.len() - skipped),
    }
    ExitCode::SUCCESS
}

/// What is left of the disk that `target` lies on, in words: a full one fails stages in many ways.
fn free(root: &Path) -> String {
    match fs4::available_space(root) {
        Ok(bytes) => format!("{:.1} GB", bytes as f64 / 1e9),
        Err(error) => format!("an unknown part ({error})"),
    }
}

fn line(name: &str, outcome: &Outcome, time: Duration) -> String {
    let (verdict, why) = match outcome {
        Outcome::Passed => ("ok", String::new()),
        Outcome::Partly(why) => ("ok", format!("  without: {why}")),
        Outcome::Skipped(why) => ("skipped", format!("  {why}")),
        Outcome::Failed(why) => ("FAILED", format!("  {why}")),
    };
    format!("{verdict:8} {name:10} {:7.1} s{why}", time.as_secs_f64())
}

fn format(root: &Path, _: How) -> Outcome {
    if !has(root, "fmt") {
        return Outcome::Skipped("rustfmt is not installed: rustup component add rustfmt".into());
    }
    run(cargo(root).args(["fmt", "--all", "--check"]))
}

/// Runs the field suite on the command, optimised.
pub fn field(root: &Path, options: &[String]) -> ExitCode {
    let built = run(cargo(root).args(["build", "--release", "--package", "faretra-cli"]));
    let outcome = match built {
        Outcome::Passed => {
            let here = target(root);
            python::field(root, &here, &here.with_file_name("release").join("faretra"), options)
        }
        other => other,
    };
    ended(&outcome)
}

/// Runs the test of that name for as long as told: with the checks of a debug build, which find more.
pub fn chaos(root: &Path, seconds: u64, seed: u64) -> ExitCode {
    let mut command = cargo(root);
    command.args(["test", "--package", "faretra", "--all-features", "--test", "it", "--"]);
    command.args(["--exact", "chaos::a_scribbler_at_work_costs_errors_and_nothing_else", "--nocapture"]);
    command.env("FARETRA_CHAOS_SECONDS", seconds.to_string()).env("FARETRA_CHAOS_SEED", seed.to_string());
    ended(&run(&mut command))
}

/// Builds the C library as people install it, and puts it where it is told.
pub fn install_c(root: &Path, prefix: &Path, destdir: Option<&Path>) -> ExitCode {
    match run(cargo(root).args(["build", "--release", "--package", "faretra-capi"])) {
        Outcome::Passed => {}
        other => return ended(&other),
    }
    let built = target(root).with_file_name("release");
    match install::install(&built, &root.join("capi/include"), prefix, destdir) {
        Ok(files) => {
            files.iter().for_each(|file| println!("{}", file.display()));
            ExitCode::SUCCESS
        }
        Err(error) => ended(&Outcome::Failed(format!("cannot install: {error}"))),
    }
}

/// Builds the wheel that people install.
pub fn wheel(root: &Path) -> ExitCode {
    ended(&package::wheel(root, &target(root)))
}

/// Library, command and examples, one of which is a package, so that the time of compiling is not counted as testing.
fn build(root: &Path, _: How) -> Outcome {
    run(&mut built(root))
}

/// Unit and integration tests of every member; the proof crate's bounded sweeps are among them.
fn tests(root: &Path, how: How) -> Outcome {
    let mut command = cargo(root);
    let mut lacks = vec![];
    if selection() == ALL {
        // For tests of what serves, with clients that others wrote.
        match python::prepare(root, &target(root)) {
            Ok(python) => drop(venv::keeping(&mut command, &target(root)).env("PYTHON", python)),
            Err(Outcome::Skipped(why)) => lacks.push(format!("pyarrow and ADBC ({why})")),
            Err(outcome) => return outcome,
        }
    } else {
        let (members, minor) = NEWER;
        lacks.push(format!("{}, which need Rust 1.{minor}", members.join(" and ")));
    }
    if has(root, "nextest") {
        command.args(["nextest", "run"]).args(selection());
    } else {
        println!("  cargo-nextest is not installed: plain `cargo test` runs the same tests");
        // Benches would run for minutes, and doc tests have a stage of their own.
        command.arg("test").args(selection());
        command.args(["--lib", "--bins", "--tests", "--examples"]);
    }
    if how.keep_going {
        command.arg("--no-fail-fast");
    }
    match run(&mut command) {
        Outcome::Passed if !lacks.is_empty() => Outcome::Partly(lacks.join("; ")),
        outcome => outcome,
    }
}

/// The library's tests with the back-end of other systems than Linux. Tests that need Linux's say so, and are ignored. Unit tests are the
/// same with any; those of the back-end itself run with all others.
fn portable(root: &Path, how: How) -> Outcome {
    let mut command = cargo(root);
    match has(root, "nextest") {
        true => command.args(["nextest", "run"]),
        false => command.arg("test"),
    };
    // Not with `proof`, which turns the feature off.
    command.args(["--package", "faretra", "--features", "async,portable", "--test", "it"]);
    if how.keep_going {
        command.arg("--no-fail-fast");
    }
    run(&mut command)
}

/// The lists of what they describe, and their tests.
fn docs(root: &Path, _: How) -> Outcome {
    println!("  $ cargo xtask api");
    if let Err(why) = api::check(root) {
        return Outcome::Failed(why);
    }
    println!("  $ cargo xtask header");
    if let Err(why) = header::check(root) {
        return Outcome::Failed(why);
    }
    run(cargo(root).args(["test", "--doc"]).args(selection()))
}
