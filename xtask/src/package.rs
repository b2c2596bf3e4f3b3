//! The Python package as people get it: a wheel, installed into an environment that knows nothing of the sources.
//!
//! The stage packs the wheel of what the stage `build` made, and runs on it whatever lies in `python/tests`: with the first CPython of
//! the machine everything, with the others what leans on the inside of theirs (`multiprocessing`, how classes are pickled), or, if that
//! is asked for, everything but what is marked `slow`. The package `faretra_datafusion`, whose library is large, is not packed: its folder
//! is put together from what cargo built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::interpreters::{self, Interpreter};
use crate::report::ROWS;
use crate::tool::{ALL, How, NEWER, Outcome, SERVER, built, cargo, end_as, run, selection, together};
use crate::venv;

/// What the tests need, what some of them need, and the tools that build the wheel and look at its sources.
const TESTS: &str = "python/requirements-test.txt";
const PEERS: &str = "python/requirements-peers.txt";
const TOOLS: &str = "python/requirements-check.txt";

/// How many seconds a test may take before the run is ended, with the stacks of all threads.
const PATIENCE: &str = "--timeout=180";

/// Tests that one process runs: arguments of pytest.
type Part = &'static [&'static str];

/// What is run with the CPythons that are not the first, and what if all is to be run with each.
const INSIDE: &[Part] =
    &[&["-m", "not slow", "-k", "(test_mp_ and not kill) or test_values or test_pickle or test_package"]];
const QUICK: &[Part] = &[&["-m", "not slow", "-k", "test_mp_"], &["-m", "not slow", "-k", "not test_mp_"]];

/// All tests, in parts that take about as long.
const WHOLE: &[Part] = &[&["-k", "not test_mp_"], &["-k", "test_mp_"]];

/// What the library of a package is called.
const LIBRARY: &str = "_native.abi3.so";

/// The most that the wheel may weigh.
const HEAVIEST: u64 = 10_000_000;

/// Builds the wheel, installs it beside each CPython from 3.11, and runs the checks and the tests.
pub fn check(root: &Path, target: &Path, how: How) -> Outcome {
    checked(root, target, how).unwrap_or_else(|outcome| outcome)
}

fn checked(root: &Path, target: &Path, how: How) -> Result<Outcome, Outcome> {
    let (found, mut lacks) = interpreters::find();
    let Some((first, others)) = found.split_first() else {
        return Err(Outcome::Skipped("no CPython 3.11 or later".into()));
    };
    let place = target.with_file_name("package");
    let (python, prepared) = environments(root, &place, first, others, how);
    let python = python?;
    let (wheel, mut failed) = std::thread::scope(|scope| {
        let wheel = scope.spawn(|| build(root, target, &python, &place));
        let failed = together(1, sources(root, &python), how.keep_going);
        (wheel.join().expect("it does not panic"), failed)
    });
    let wheel = wheel?;
    let engine = Engine::beside(root, target, &place)?;
    if engine.is_none() {
        lacks.push(format!("a server of arenas and faretra_datafusion, which need Rust 1.{}", NEWER.1));
    }
    let of = |python: &Path, parts: &[Part]| -> Vec<Command> {
        parts.iter().map(|part| tests(root, target, &place, python, engine.as_ref(), part)).collect()
    };
    install(root, &python, &wheel)?;
    let mut commands = of(&python, WHOLE);
    for (other, Prepared { python, parts, lacking }) in others.iter().zip(prepared) {
        lacks.extend(lacking);
        match python.and_then(|python| install(root, &python, &wheel).map(|()| python)) {
            Ok(python) => commands.extend(of(&python, parts)),
            Err(Outcome::Skipped(why)) => lacks.push(format!("{} ({why})", other.version)),
            Err(Outcome::Failed(why)) => failed.push(format!("{}: {why}", other.version)),
            Err(Outcome::Passed | Outcome::Partly(_)) => {}
        }
    }
    commands.push(stubs(root, &place, &python));
    if failed.is_empty() || how.keep_going {
        failed.extend(together(at_once(), commands, how.keep_going));
    }
    if others.is_empty() {
        lacks.push("a second CPython".into());
    }
    match (failed.is_empty(), lacks.is_empty()) {
        (false, _) => Err(Outcome::Failed(failed.join(", "))),
        (true, true) => Ok(Outcome::Passed),
        (true, false) => Ok(Outcome::Partly(lacks.join("; "))),
    }
}

/// Brings the environments that [`check`] needs up to date; it tells what fails.
pub fn prepare(root: &Path, target: &Path, how: How) {
    let (found, _) = interpreters::find();
    if let Some((first, others)) = found.split_first() {
        let _ = environments(root, &target.with_file_name("package"), first, others, how);
    }
}

/// The environment of an interpreter that is not the first.
struct Prepared {
    python: Result<PathBuf, Outcome>,
    /// Which tests it runs.
    parts: &'static [Part],
    lacking: Option<String>,
}

/// Brings the environments of all interpreters up to date, at the same time: pip keeps one processor busy.
fn environments(
    root: &Path,
    place: &Path,
    first: &Interpreter,
    others: &[Interpreter],
    how: How,
) -> (Result<PathBuf, Outcome>, Vec<Prepared>) {
    let every = how.every_python;
    let one = |other: &Interpreter| {
        let (parts, libraries) = if every { (QUICK, &[TESTS, PEERS][..]) } else { (INSIDE, &[TESTS][..]) };
        let with = |libraries| venv::prepare(root, &other.program, &environment(place, other), libraries);
        match with(libraries) {
            Err(Outcome::Skipped(why)) if every => {
                let lacking = Some(format!("all libraries but numpy for {} ({why})", other.version));
                Prepared { python: with(&[TESTS]), parts, lacking }
            }
            python => Prepared { python, parts, lacking: None },
        }
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = others.iter().map(|other| scope.spawn(move || one(other))).collect();
        let python = tools(root, place, first);
        (python, started.into_iter().map(|thread| thread.join().expect("it does not panic")).collect())
    })
}

/// How many programs run at once that wait for others as often as they work.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get() + 1)
}

/// Installs the wheel that people install beside the libraries that it is compared with, and runs the package's benchmarks.
/// They add their rows to the file `told`.
pub fn bench(root: &Path, target: &Path, quick: bool, told: &Path) -> Outcome {
    benched(root, target, quick, told).unwrap_or_else(|outcome| outcome)
}

fn benched(root: &Path, target: &Path, quick: bool, told: &Path) -> Result<Outcome, Outcome> {
    let (python, wheel) = released(root, target)?;
    install(root, &python, &wheel)?;
    let mut bench = Command::new(&python);
    bench.args(["-m", "faretra.bench"]).args(quick.then_some("--quick")).current_dir(target.with_file_name("package"));
    // As for users, whose Python keeps what it has compiled.
    Ok(run(venv::keeping(&mut bench, target).env_remove("PYTHONPATH").env(ROWS, told)))
}

/// Builds the wheel that people install and the source distribution, and says how large the wheel is.
pub fn wheel(root: &Path, target: &Path) -> Outcome {
    released(root, target).map_or_else(|outcome| outcome, |_| Outcome::Passed)
}

/// The environment that it was built with, and the wheel.
fn released(root: &Path, target: &Path) -> Result<(PathBuf, PathBuf), Outcome> {
    let (found, _) = interpreters::find();
    let Some(first) = found.first() else {
        return Err(Outcome::Skipped("no CPython 3.11 or later".into()));
    };
    let python = tools(root, &target.with_file_name("package"), first)?;
    let wheel = build_released(root, target, &python, &target.with_file_name("wheels"), |_| {})?;
    Ok((python, wheel))
}

/// Builds the wheel and the source distribution that people install into `wheels`, and returns the wheel. `prepare` has the say about
/// the environment in which they are built.
pub fn released_into(
    root: &Path,
    target: &Path,
    wheels: &Path,
    prepare: impl Fn(&mut Command),
) -> Result<PathBuf, Outcome> {
    let (found, _) = interpreters::find();
    let Some(first) = found.first() else {
        return Err(Outcome::Skipped("no CPython 3.11 or later".into()));
    };
    let place = target.with_file_name("package").join(format!("venv-build-{}", first.version));
    let python = venv::prepare(root, &first.program, &place, &[TOOLS])?;
    build_released(root, target, &python, wheels, prepare)
}

fn build_released(
    root: &Path,
    target: &Path,
    python: &Path,
    wheels: &Path,
    prepare: impl Fn(&mut Command),
) -> Result<PathBuf, Outcome> {
    // Its own audit fails when the library needs symbols that the tag does not promise.
    let mut whole = maturin(root, python, "build", wheels);
    whole.args(["--profile=wheel", "--auditwheel=check"]).arg("--interpreter").arg(python);
    let mut sources = maturin(root, python, "sdist", wheels);
    for command in [&mut sources, whole.args(into(target))] {
        prepare(command);
        match run(command) {
            Outcome::Passed => {}
            outcome => return Err(outcome),
        }
    }
    let failed = |error| Outcome::Failed(format!("{}: {error}", wheels.display()));
    let wheel = newest(wheels).map_err(failed)?;
    let size = std::fs::metadata(&wheel).map_err(failed)?.len();
    println!("{}: {:.1} MB", wheel.display(), size as f64 / 1e6);
    // Without a tag no index takes it.
    if !wheel.to_string_lossy().contains("manylinux") {
        return Err(Outcome::Failed("the wheel needs more of the system than any manylinux tag promises".into()));
    }
    match size <= HEAVIEST {
        true => Ok(wheel),
        false => Err(Outcome::Failed(format!("the wheel has {size} bytes, and may have {HEAVIEST}"))),
    }
}

/// Brings the environment of the first interpreter, which has the tools, up to date.
fn tools(root: &Path, place: &Path, first: &Interpreter) -> Result<PathBuf, Outcome> {
    venv::prepare(root, &first.program, &environment(place, first), &[TESTS, PEERS, TOOLS])
}

fn environment(place: &Path, interpreter: &Interpreter) -> PathBuf {
    place.join(format!("venv-{}", interpreter.version))
}

fn maturin(root: &Path, python: &Path, verb: &str, wheels: &Path) -> Command {
    let mut maturin = Command::new(python.with_file_name("maturin"));
    maturin.args([verb, "--manifest-path=python/Cargo.toml", "--out"]).arg(wheels).current_dir(root);
    maturin
}

/// Makes maturin build where cargo does. `target` is the directory of one profile there.
fn into(target: &Path) -> Vec<OsString> {
    target.parent().map_or_else(Vec::new, |all| vec!["--target-dir".into(), all.into()])
}

/// Set, to the cargo that there is, where this program stands for it.
const INSTEAD: &str = "FARETRA_XTASK_CARGO";

/// Packs the library that the stage `build` made into a wheel. Maturin would have the package built alone, so with other features of its
/// dependencies than the workspace has: arrow, parquet and what they need once more, for minutes. So it is given this program for a cargo.
fn build(root: &Path, target: &Path, python: &Path, place: &Path) -> Result<PathBuf, Outcome> {
    let wheels = place.join("wheels");
    // One of an older version would be found, too.
    let _ = std::fs::remove_dir_all(&wheels);
    let this = std::env::current_exe().map_err(|error| Outcome::Failed(format!("this program: {error}")))?;
    let mut maturin = maturin(root, python, "build", &wheels);
    maturin.args(["--quiet", "--profile=dev", "--compatibility=linux", "--interpreter"]).arg(python);
    maturin.env(INSTEAD, cargo(root).get_program()).env("CARGO", this);
    match run(maturin.args(into(target))) {
        Outcome::Passed => newest(&wheels).map_err(|error| Outcome::Failed(format!("{}: {error}", wheels.display()))),
        outcome => Err(outcome),
    }
}

/// If maturin runs this program in place of cargo: what it wants compiled is built as the stage `build` does it. Anything else is cargo's.
pub fn instead_of_cargo(root: &Path) -> Option<ExitCode> {
    let cargo = std::env::var_os(INSTEAD)?;
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut real = Command::new(&cargo);
    real.env_remove(INSTEAD).env("CARGO", &cargo);
    match given.first() {
        Some(verb) if verb == "rustc" => {
            real.current_dir(root).args(built(root).get_args()).arg("--message-format=json-render-diagnostics")
        }
        _ => real.args(given),
    };
    Some(end_as(&mut real))
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

/// The package beside ours, seen from ours.
const BESIDE: &str = "../datafusion/python/faretra_datafusion";

/// Style and types of the sources.
fn sources(root: &Path, python: &Path) -> Vec<Command> {
    let tool = |name: &str, arguments: &[&str]| {
        let mut tool = Command::new(python.with_file_name(name));
        tool.args(arguments).current_dir(root.join("python"));
        tool
    };
    let python = python.to_string_lossy();
    vec![
        tool("ruff", &["check", "--no-cache", ".", BESIDE]),
        tool("ruff", &["format", "--no-cache", "--check", ".", BESIDE]),
        tool("mypy", &["--no-error-summary"]),
        tool("basedpyright", &["--level=error", "--pythonpath", &python]),
    ]
}

/// Installs the wheel.
fn install(root: &Path, python: &Path, wheel: &Path) -> Result<(), Outcome> {
    let file = wheel.to_string_lossy();
    venv::pip(root, python, &["install", "--quiet", "--no-deps", "--force-reinstall", &file])
}

/// Compares what the library has with what its stub says.
fn stubs(root: &Path, place: &Path, python: &Path) -> Command {
    let mut stubs = Command::new(python);
    stubs.args(["-m", "mypy.stubtest", "faretra._native", "--concise", "--ignore-unused-allowlist", "--allowlist"]);
    stubs.arg(root.join("python/stubtest.txt")).current_dir(place);
    stubs
}

/// Puts a package together below `place`: links to its sources, and to its library beside them.
pub fn assemble(sources: &Path, library: &Path, place: &Path) -> Result<PathBuf, String> {
    let name = sources.file_name().unwrap_or_default();
    let inside = place.join(name);
    let failed = |error: std::io::Error| format!("{}: {error}", inside.display());
    // What an earlier run left there may be gone from the sources.
    let _ = std::fs::remove_dir_all(place);
    std::fs::create_dir_all(&inside).map_err(failed)?;
    for entry in std::fs::read_dir(sources).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Whoever works on the package may have a build of the library there.
        if entry.file_name() != LIBRARY {
            std::os::unix::fs::symlink(entry.path(), inside.join(entry.file_name())).map_err(failed)?;
        }
    }
    std::os::unix::fs::symlink(library, inside.join(LIBRARY)).map_err(failed)?;
    Ok(place.to_owned())
}

/// What some tests need besides the package, and has an engine for SQL inside.
struct Engine {
    /// The server that clients talk to.
    server: PathBuf,
    /// The folder in which `faretra_datafusion` is found.
    beside: PathBuf,
}

impl Engine {
    /// Of what was built with the library of the wheel; `None` if this compiler is too old for it.
    fn beside(root: &Path, target: &Path, place: &Path) -> Result<Option<Engine>, Outcome> {
        if selection() != ALL {
            return Ok(None);
        }
        let sources = root.join("datafusion/python/faretra_datafusion");
        let library = target.join("libfaretra_datafusion_native.so");
        let beside = assemble(&sources, &library, &place.join("beside")).map_err(Outcome::Failed)?;
        Ok(Some(Engine { server: target.join(SERVER), beside }))
    }
}

/// Runs the tests on what is installed, in a directory where no sources of the package are found.
fn tests(root: &Path, target: &Path, place: &Path, python: &Path, engine: Option<&Engine>, part: Part) -> Command {
    let mut tests = Command::new(python);
    // The program, because `python -m pytest` would look for modules in the current directory.
    tests.arg(python.with_file_name("pytest"));
    tests.args(["-q", "-p", "no:cacheprovider", "--strict-markers", PATIENCE, "--timeout-method=thread"]);
    tests.args(part).arg(root.join("python/tests")).current_dir(place).env_remove("PYTHONPATH");
    if let Some(engine) = engine {
        tests.env("PYTHONPATH", &engine.beside);
    }
    // One of an earlier build is none of this one's.
    tests.env("FARETRA_FLIGHT", engine.map_or(Path::new("none"), |engine| &engine.server));
    // Some speak with programs in Rust.
    venv::keeping(&mut tests, target).env("FARETRA_TARGET", target);
    tests
}
