//! The stage `lints`: what clippy says of every target, and rustdoc of what every library documents, what is private included.
//!
//! `cargo clippy` and `cargo doc` have every dependency compiled once more, for what it declares: minutes, with DataFusion among them. So
//! cargo *builds* here, dependencies as all other stages have them, and runs this program in place of the compiler
//! (`RUSTC_WORKSPACE_WRAPPER`) for each target of the workspace. It has clippy look and rustdoc read, and compiles nothing: what the
//! target declares is written, as by `cargo check`, for those that depend on it. Cargo keeps these apart from what it builds otherwise.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::tool::{Outcome, cargo, end_as, has, run, selection};

/// Set where this program stands for the compiler.
const INSTEAD: &str = "FARETRA_XTASK_LINTS";

/// Lints everything.
pub fn check(root: &Path) -> Outcome {
    if !has(root, "clippy") {
        return Outcome::Skipped("clippy is not installed: rustup component add clippy".into());
    }
    let this = match std::env::current_exe() {
        Ok(this) => this,
        Err(error) => return Outcome::Failed(format!("this program cannot be found: {error}")),
    };
    let mut build = cargo(root);
    build.arg("build").args(selection()).arg("--all-targets");
    run(build.env("RUSTC_WORKSPACE_WRAPPER", this).env(INSTEAD, "1"))
}

/// What `cargo clippy` runs.
const CLIPPY: &str = "clippy-driver";

/// If cargo runs this program in place of the compiler: does what [`check`] has it do.
pub fn instead_of_the_compiler() -> Option<ExitCode> {
    std::env::var_os(INSTEAD)?;
    let mut given = std::env::args().skip(1);
    let compiler = given.next().unwrap_or_default();
    let given: Vec<String> = given.collect();
    let value = |name| given.iter().skip_while(|a| *a != name).nth(1).map(String::as_str);
    // Questions about the compiler, and programs that a build runs.
    if !given.iter().any(|a| a.starts_with("--emit=")) || value("--crate-name") == Some("build_script_build") {
        return Some(end_as(Command::new(&compiler).args(&given)));
    }
    let looked = end_as(Command::new(CLIPPY).arg(&compiler).args(declared(&given)).arg("-Dwarnings"));
    let library = !given.iter().any(|a| a == "--test") && value("--crate-type").is_some_and(|t| t.contains("lib"));
    match value("--out-dir").and_then(|deps| Path::new(deps).ancestors().nth(2)) {
        Some(target) if library && looked == ExitCode::SUCCESS => {
            let mut read = Command::new(std::env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into()));
            read.args(documented(&given)).arg("--out-dir").arg(target.join("doc"));
            read.args(["--document-private-items", "-Dwarnings", "-Arustdoc::private_intra_doc_links"]);
            Some(end_as(&mut read))
        }
        _ => Some(looked),
    }
}

/// The compiler's arguments, for what is declared only: of libraries of the workspace there is no more.
fn declared(given: &[String]) -> Vec<OsString> {
    let one = |argument: &String| match argument.strip_suffix(".rlib") {
        _ if argument.starts_with("--emit=") => "--emit=dep-info,metadata".into(),
        Some(path) if !Path::new(file(argument)).exists() => format!("{path}.rmeta").into(),
        _ => argument.into(),
    };
    given.iter().map(one).collect()
}

/// The file of an `--extern NAME=FILE`.
fn file(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(_, file)| file)
}

/// The compiler's arguments, without those that rustdoc has not and where the results go.
fn documented(given: &[String]) -> Vec<OsString> {
    let mut left = declared(given).into_iter();
    let mut kept = Vec::new();
    while let Some(argument) = left.next() {
        match argument.to_str() {
            Some("-C" | "--out-dir") => drop(left.next()),
            Some(emit) if emit.starts_with("--emit=") => {}
            _ => kept.push(argument),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that nothing is compiled, and that libraries of the workspace are read as what they declare.
    #[test]
    fn what_is_declared_is_asked_for() {
        let there = std::env::current_exe().unwrap().with_extension("rlib");
        std::fs::write(&there, "").unwrap();
        let (there, none) = (format!("a={}", there.display()), "b=/none/libb-1.rlib");
        let given = ["--emit=dep-info,metadata,link", "-C", "opt-level=1", "--extern", &there, "--extern", none];
        let given: Vec<String> = given.into_iter().chain(["--out-dir", "/target/debug/deps"]).map(Into::into).collect();
        let asked = declared(&given);
        std::fs::remove_file(&there[2..]).unwrap();
        let none = "b=/none/libb-1.rmeta";
        let expected = ["--emit=dep-info,metadata", "-C", "opt-level=1", "--extern", &there, "--extern", none];
        assert_eq!(asked[..7], expected);
        // The first is gone by now.
        let there = there.replace(".rlib", ".rmeta");
        assert_eq!(documented(&given), ["--extern", &there, "--extern", none]);
    }
}
