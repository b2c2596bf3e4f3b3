//! Every benchmark that the project has, one after the other: each prints its table, with floors and rivals of the same run, and what
//! they all measured becomes one report.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::linked;
use crate::package;
use crate::report::{self, Judged, ROWS, Report, Row};
use crate::tool::{Outcome, cargo, run, target};

/// The name of a bench, and the arguments of `cargo bench` for it.
const BENCHES: &[(&str, &[&str])] = &[
    ("ratios", &["--bench=ratios"]),
    ("sync", &["--bench=sync"]),
    ("channel", &["--bench=channel"]),
    ("ready", &["--bench=ready", "--features=async"]),
    ("peers", &["--package=peers"]),
    ("scenarios", &["--package=scenarios"]),
];

const PYTHON: &str = "python";

/// What is run.
pub struct Wanted {
    pub quick: bool,
    /// Each bench two times: a row that is met in one of them only is not met.
    pub twice: bool,
    /// All of them, unless there are some.
    pub only: Vec<String>,
}

/// Says what the machine is, runs the benches, also after one failed, and reports.
pub fn all(root: &Path, wanted: &Wanted) -> ExitCode {
    let known = || BENCHES.iter().map(|(name, _)| *name).chain([PYTHON]);
    if let Some(unknown) = wanted.only.iter().find(|name| known().all(|known| known != **name)) {
        eprintln!("cargo xtask: there is no bench `{unknown}`: {}", known().collect::<Vec<_>>().join(", "));
        return ExitCode::from(2);
    }
    let folder = target(root).with_file_name("bench-report");
    let mut machine = machine(root);
    machine.iter().for_each(|(what, value)| println!("{what:10} {value}"));
    let mut failed = vec![];
    let mut rows: Vec<Judged> = vec![];
    for name in known().filter(|name| wanted.only.is_empty() || wanted.only.iter().any(|one| one == name)) {
        let mut runs = vec![];
        for round in 0..if wanted.twice { 2 } else { 1 } {
            println!("\n==> {name}{}", if round == 0 { "" } else { ", once more" });
            match one(root, &folder.join(format!("{name}.jsonl")), name, wanted.quick) {
                Ok(rows) => runs.push(rows),
                Err(why) => {
                    failed.push(why);
                    // It agrees with nothing.
                    runs.push(vec![]);
                }
            }
        }
        rows.extend(report::judge(name, runs));
    }
    machine.push(("load after".into(), load()));
    if rows.is_empty() {
        failed.push("there is nothing to report".into());
    }
    match Report::new(machine, rows).write(&folder) {
        Ok(page) => println!("\n{}", page.display()),
        Err(error) => failed.push(format!("the report: {error}")),
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("cargo xtask: failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// One run of one bench, and its rows.
fn one(root: &Path, told: &Path, name: &str, quick: bool) -> Result<Vec<Row>, String> {
    let folder = told.parent().unwrap_or(root);
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if let Err(error) = std::fs::remove_file(told)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(format!("{}: {error}", told.display()));
    }
    let outcome = match BENCHES.iter().find(|(bench, _)| *bench == name) {
        Some((_, arguments)) => {
            let mut command = cargo(root);
            command.arg("bench").args(*arguments).env(ROWS, told);
            if quick {
                command.args(["--", "--quick"]);
            }
            run(&mut command)
        }
        None => package::bench(root, &target(root), quick, told),
    };
    match outcome {
        Outcome::Passed | Outcome::Partly(_) => report::read(told),
        Outcome::Skipped(why) => {
            println!("skipped: {why}");
            Ok(vec![])
        }
        Outcome::Failed(why) => Err(why),
    }
}

/// What figures depend on besides the code, and which code it is.
fn machine(root: &Path) -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let said = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).current_dir(root).output();
        let text = done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default();
        if text.is_empty() { "unknown".to_owned() } else { text }
    };
    let facts = [
        ("processor", model.trim_start_matches([':', ' ', '\t']).to_owned()),
        ("how many", std::thread::available_parallelism().map_or(1, usize::from).to_string()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("huge pages", format!("{} (on tmpfs)", read("/sys/kernel/mm/transparent_hugepage/shmem_enabled").trim())),
        ("compiler", said("rustc", &["--version"])),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
        ("peers", peers(root)),
        ("load", load()),
    ];
    facts.map(|(what, value)| (what.to_owned(), value)).into()
}

/// The crates that are measured beside ours, and Arrow's.
const PEERS: &[&str] = &["iceoryx2", "ipc-channel", "mmap-sync", "shared_memory", "arrow-ipc"];

/// Their versions, as they are locked.
fn peers(root: &Path) -> String {
    let metadata = match linked::metadata(root, None) {
        Ok(metadata) => metadata,
        Err(error) => return format!("unknown: {error}"),
    };
    let version = |name: &&str| -> String {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == *name);
        format!("{name} {}", package.map_or("not installed".into(), |package| package.version.to_string()))
    };
    PEERS.iter().map(version).collect::<Vec<_>>().join(", ")
}

/// Of 1, 5, 15 minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}
