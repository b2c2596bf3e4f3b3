//! Fuzzing: by the project's own driver, which needs no tool, or by libFuzzer, which learns from what the code does.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::tool::{Outcome, cargo, ended, host, run};

/// What makes the compiler note which way the code went, as libFuzzer reads it, beside AddressSanitizer.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cforce-frame-pointers",
];

/// A directory of its own, so that these builds and others need not wait for each other.
const COVERAGE: &str = "target/coverage";

/// Gives mutated bytes to the targets, or to those named, in child processes, with the checks of a debug build.
pub fn driven(root: &Path, seconds: u64, seed: u64, targets: &[String]) -> ExitCode {
    let mut command = cargo(root);
    command.args(["run", "--package", "faretra-fuzz", "--bin", "faretra-fuzz", "--"]);
    command.args([format!("--seconds={seconds}"), format!("--seed={seed}")]).args(targets);
    ended(&run(&mut command))
}

/// Builds the targets with libFuzzer and AddressSanitizer, and runs each of them, or those named. Inputs that went new ways are kept in
/// `target/fuzz/corpus`, those that are findings in `target/fuzz/findings`.
pub fn with_coverage(root: &Path, seconds: u64, seed: u64, targets: &[String]) -> ExitCode {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let there = Command::new(&compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("cargo xtask: skipped: libFuzzer is C++, and there is no compiler of it: install g++ or clang++");
        return ExitCode::SUCCESS;
    }
    let Some(host) = host() else {
        eprintln!("cargo xtask: `rustc -vV` does not say for which machine it compiles");
        return ExitCode::FAILURE;
    };
    let mut build = cargo(root);
    // With a target, build scripts and macros are built without the flags.
    build.args(["build", "--package", "faretra-fuzz", "--bins", "--target", &host, "--target-dir", COVERAGE]);
    // These flags are not stable; a stable compiler takes them when it is told so.
    build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    if let outcome @ Outcome::Failed(_) = run(&mut build) {
        return ended(&outcome);
    }
    let built = root.join(COVERAGE).join(&host).join("debug");
    let names = match targets {
        [] => match listed(&built) {
            Ok(names) => names,
            Err(why) => return ended(&Outcome::Failed(why)),
        },
        named => named.to_vec(),
    };
    let each = (seconds / names.len().max(1) as u64).max(1);
    let mut failed = vec![];
    for name in &names {
        match cover(root, &built, name, each, seed) {
            Ok(Outcome::Failed(why)) => failed.push(format!("{name}: {why}")),
            Ok(_) => {}
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ended(&Outcome::Failed(failed.join("; "))),
    }
}

fn cover(root: &Path, built: &Path, name: &str, seconds: u64, seed: u64) -> std::io::Result<Outcome> {
    let (corpus, findings) = (root.join("target/fuzz/corpus").join(name), root.join("target/fuzz/findings"));
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&findings)?;
    let arenas = format!("/dev/shm/faretra-fuzz-{}-{name}", std::process::id());
    let mut command = Command::new(built.join("coverage"));
    command.arg(&corpus).arg(root.join("fuzz/seeds").join(name));
    command.args([format!("-max_total_time={seconds}"), format!("-seed={seed}")]);
    command.arg(format!("-artifact_prefix={}/{name}-", findings.display()));
    // One input may take 20 s, allocate 1 GiB at once, and leave 4 GiB in memory.
    command.args([
        "-timeout=20",
        "-malloc_limit_mb=1024",
        "-rss_limit_mb=4096",
        "-max_len=65536",
        "-print_final_stats=1",
    ]);
    command.args(["-close_fd_mask=1", "-verbosity=1"]);
    command.env("FARETRA_FUZZ_TARGET", name).env("FARETRA_FUZZ_DIR", &arenas).env("ASAN_OPTIONS", "detect_leaks=0");
    let outcome = run(&mut command);
    // It ends without leaving its arenas.
    let _ = std::fs::remove_dir_all(&arenas);
    Ok(outcome)
}

/// The names of the targets that are to find something.
fn listed(built: &Path) -> Result<Vec<String>, String> {
    let said = Command::new(built.join("faretra-fuzz")).arg("--list").output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let names = said.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    Ok(names.filter(|name| !name.is_empty() && !name.starts_with("planted")).collect())
}
