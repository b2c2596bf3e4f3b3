//! Every benchmark that the project has, one after the other: each prints its table, with floors and rivals of the same run.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::package;
use crate::tool::{Outcome, cargo, run, target};

/// The library's benches, and those beside other libraries, as arguments of `cargo bench`.
const BENCHES: &[&[&str]] = &[
    &["--bench=ratios"],
    &["--bench=sync"],
    &["--bench=channel"],
    &["--bench=ready", "--features=async"],
    &["--package=peers"],
];

/// Says what the machine is, and runs them all, also after one failed.
pub fn all(root: &Path, quick: bool) -> ExitCode {
    machine();
    let mut failed = vec![];
    for bench in BENCHES {
        println!("\n==> {}", bench[0]);
        let mut command = cargo(root);
        command.arg("bench").args(*bench);
        // `ratios` has no shorter form: it is the one whose figures the README shows.
        if quick && bench[0] != "--bench=ratios" {
            command.args(["--", "--quick"]);
        }
        if let Outcome::Failed(why) = run(&mut command) {
            failed.push(why);
        }
    }
    println!("\n==> python -m faretra.bench");
    match package::bench(root, &target(root), quick) {
        Outcome::Passed | Outcome::Partly(_) => {}
        Outcome::Skipped(why) => println!("skipped: {why}"),
        Outcome::Failed(why) => failed.push(why),
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("cargo xtask: failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// What figures depend on besides the code.
fn machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    println!("processor  {}", model.trim_start_matches([':', ' ', '\t']));
    println!("how many   {}", std::thread::available_parallelism().map_or(1, usize::from));
    println!("kernel     {}", read("/proc/sys/kernel/osrelease").trim());
    println!(
        "load       {} (1, 5, 15 minutes)",
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(", ")
    );
    println!("huge pages {} (on tmpfs)", read("/sys/kernel/mm/transparent_hugepage/shmem_enabled").trim());
    let compiler = Command::new("rustc").arg("--version").output().map(|done| done.stdout).unwrap_or_default();
    println!("compiler   {}", String::from_utf8_lossy(&compiler).trim());
}
