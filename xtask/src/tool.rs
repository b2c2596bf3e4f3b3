//! Programs of others: cargo and its subcommands, pip, ours as they were built; run with our terminal.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a stage ended.
pub enum Outcome {
    /// It ran, and all is well.
    Passed,
    /// It ran, and all is well, but for a part of it this machine lacks something.
    Partly(String),
    /// This machine lacks what it needs.
    Skipped(String),
    /// What went wrong; the details are in the output above.
    Failed(String),
}

/// How stages are run.
#[derive(Clone, Copy)]
pub struct How {
    /// What is independent of a failure is run too.
    pub keep_going: bool,
    /// The tests of the Python package are run with each CPython, not with the first alone.
    pub every_python: bool,
}

/// The cargo that runs us, at the workspace's root, whatever directory the user is in.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command with our terminal, and says it before.
pub fn run(command: &mut Command) -> Outcome {
    println!("  $ {}", said(command));
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("`{}`: {status}", name(command))),
        Err(error) => Outcome::Failed(format!("`{}` does not start: {error}", name(command))),
    }
}

/// Runs commands, in their order but so many at the same time, and gives why those failed that did. Each is said when it starts, and what
/// it prints when it ends. After a failure no other is started, unless they are to `keep_going`.
pub fn together(at_once: usize, commands: Vec<Command>, keep_going: bool) -> Vec<String> {
    let waiting = Mutex::new(commands.into_iter());
    let failed = Mutex::new(Vec::new());
    let next = || {
        let over = !keep_going && !lock(&failed).is_empty();
        lock(&waiting).next().filter(|_| !over)
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(mut command) = next() {
                    println!("  $ {}", said(&command));
                    let why = match command.stdin(Stdio::null()).output() {
                        Ok(done) => {
                            let text = [done.stdout, done.stderr].concat();
                            println!("  $ {}: {}\n{}", said(&command), done.status, String::from_utf8_lossy(&text));
                            (!done.status.success()).then(|| done.status.to_string())
                        }
                        Err(error) => Some(format!("does not start: {error}")),
                    };
                    lock(&failed).extend(why.map(|why| format!("`{}`: {why}", said(&command))));
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program, without the folder that it is in.
fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A command as it would be typed.
fn said(command: &Command) -> String {
    let words = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name(command)).chain(words).collect::<Vec<_>>().join(" ")
}

/// Standard output of a program that succeeds.
pub fn output(command: &mut Command) -> Result<String, String> {
    let program = name(command);
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("`{program}` does not start: {error}"))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(format!("`{program}`: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr).trim())),
    }
}

/// The exit code of a chore that is one step; why it failed goes to standard error.
pub fn ended(outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::Passed | Outcome::Partly(_) => ExitCode::SUCCESS,
        Outcome::Skipped(why) | Outcome::Failed(why) => {
            eprintln!("cargo xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command with our streams, for an exit code like its own.
pub fn end_as(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo xtask: {} does not start: {error}", command.get_program().to_string_lossy());
            ExitCode::FAILURE
        }
    }
}

/// Whether `cargo COMPONENT` exists here.
pub fn has(root: &Path, component: &str) -> bool {
    let mut command = cargo(root);
    command.args([component, "--version"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// The minor version of the compiler, `88` of 1.88, if it says one.
pub fn rust_minor() -> Option<u32> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().ok()?;
    String::from_utf8_lossy(&said.stdout).strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// The members that need a newer compiler than the others, as their DataFusion does, and which.
pub const NEWER: ([&str; 5], u32) =
    (["faretra-datafusion", "faretra-datafusion-python", "faretra-sql", "faretra-flight", "faretra-distributed"], 94);

/// Programs beside the command, each of the member of its name.
pub const PROGRAMS: [&str; 3] = ["faretra-sql", SERVER, "faretra-distributed"];

/// The one that serves arenas.
pub const SERVER: &str = "faretra-flight";

/// The whole workspace.
pub const ALL: &[&str] = &["--workspace", "--all-features"];

/// What every stage selects: the workspace, without members that this compiler is too old for.
pub fn selection() -> &'static [&'static str] {
    match rust_minor() {
        Some(minor) if minor < NEWER.1 => {
            const OLD: &[&str] = &[
                "--workspace",
                "--exclude",
                NEWER.0[0],
                "--exclude",
                NEWER.0[1],
                "--exclude",
                NEWER.0[2],
                "--exclude",
                NEWER.0[3],
                "--exclude",
                NEWER.0[4],
                "--all-features",
            ];
            OLD
        }
        _ => ALL,
    }
}

/// The build of the libraries, the commands and the examples.
pub fn built(root: &Path) -> Command {
    let mut command = cargo(root);
    // Not of this very program, whose next run would link it back; but with its features and those of all tests, as the other stages
    // have them: cargo would compile arrow and DataFusion once more for another set.
    let selected = selection();
    command.arg("build").args(selected).args(["--lib", "--examples", "--bin=faretra", "--bin=axum_service"]);
    if selected == ALL {
        command.args(PROGRAMS.map(|program| format!("--bin={program}")));
    }
    command
}

/// The directory of what this profile builds: where this very program lies.
pub fn target(root: &Path) -> PathBuf {
    let here = std::env::current_exe().ok();
    let parent = here.as_deref().and_then(Path::parent);
    parent.map_or_else(|| root.join("target/debug"), Path::to_owned)
}

/// The machine that the compiler compiles for, unless told otherwise.
pub fn host() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("-vV").output().ok()?;
    String::from_utf8_lossy(&said.stdout).lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that every failure is told, and that after one no other command is started unless that is wanted.
    #[test]
    fn a_failure_ends_what_has_not_begun() {
        let failed = |at_once, keep_going| {
            let commands = ["true", "false", "/nowhere/program", "false"].map(Command::new);
            let mut failed = together(at_once, commands.into(), keep_going);
            failed.iter_mut().for_each(|why| why.truncate(24));
            failed.sort();
            failed
        };
        let (one, absent) = ("`false`: exit status: 1", "`program`: does not star");
        assert_eq!(failed(1, false), [one]);
        for at_once in [1, 3, 9] {
            assert_eq!(failed(at_once, true), [one, one, absent]);
        }
    }
}
