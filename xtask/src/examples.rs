//! The examples: programs that a reader runs without arguments, alone. What each prints is compared with what its head says that it
//! prints, if that has a block of the language `prints`; `..` there is anything, and other lines may be printed too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tool::Outcome;

/// Where examples of which member are, and whether the member needs a newer compiler than the others.
const FOLDERS: [(&str, bool); 3] = [("examples", false), ("datafusion/examples", true), ("flight/examples", true)];

/// An example, and its source.
struct Example {
    program: PathBuf,
    source: PathBuf,
}

/// Runs the examples that the stage `build` made; those of the newer members if all were built.
pub fn check(root: &Path, target: &Path, keep_going: bool, all: bool) -> Outcome {
    let mut found = vec![];
    for (folder, newer) in FOLDERS {
        if all || !newer {
            found.extend(examples(&root.join(folder), target));
        }
    }
    if found.is_empty() {
        return Outcome::Skipped("there are no examples".into());
    }
    found.sort_by(|a, b| a.source.cmp(&b.source));
    let mut failed = Vec::new();
    for example in &found {
        if let Err(why) = run(example, root, target) {
            failed.push(why);
            if !keep_going {
                break;
            }
        }
    }
    match failed.len() {
        0 => Outcome::Passed,
        _ => Outcome::Failed(failed.join(", ")),
    }
}

/// Programs of one file, and those that are a package with a program of the folder's name.
fn examples(folder: &Path, target: &Path) -> Vec<Example> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(name) = path.file_stem() else { continue };
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(Example { program: target.join("examples").join(name), source: path });
        } else if path.join("Cargo.toml").exists() {
            found.push(Example { program: target.join(name), source: path.join("src/main.rs") });
        }
    }
    found
}

/// Runs one, with its output on the terminal and compared.
fn run(example: &Example, root: &Path, target: &Path) -> Result<(), String> {
    let name = example.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!("  $ {name}");
    let source = std::fs::read_to_string(&example.source).map_err(|e| format!("{}: {e}", example.source.display()))?;
    // The build stage made it. `cargo run` would select one package, and so build anew.
    let mut command = Command::new(&example.program);
    command.current_dir(root).env("FARETRA_TARGET", target).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let child = command.spawn().map_err(|e| format!("`{name}` does not start: {e}"))?;
    let done = child.wait_with_output().map_err(|e| format!("`{name}`: {e}"))?;
    let printed = String::from_utf8_lossy(&done.stdout);
    print!("{printed}");
    if !done.status.success() {
        return Err(format!("`{name}`: {}", done.status));
    }
    match missing(&promised(&source), &printed) {
        None => Ok(()),
        Some(line) => {
            Err(format!("`{name}` does not print, in this order, what {} says: {line}", example.source.display()))
        }
    }
}

/// The lines of the blocks `prints` in the head of a source.
fn promised(source: &str) -> Vec<&str> {
    let head = source.lines().take_while(|line| line.starts_with("//!"));
    let (mut inside, mut lines) = (false, vec![]);
    for line in head.map(|line| line.trim_start_matches("//!").trim()) {
        match line {
            "```prints" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line),
            _ => {}
        }
    }
    lines
}

/// The first line of what was promised that was not printed, in that order.
fn missing<'a>(promised: &[&'a str], printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines();
    promised.iter().find(|line| !printed.any(|found| is(line, found))).copied()
}

/// Whether a line is what was promised, in which `..` is anything, also at its end.
fn is(promised: &str, found: &str) -> bool {
    let mut parts = promised.split("..");
    let Some(mut rest) = parts.next().and_then(|first| found.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    // The last part may stand more than once.
    rest.is_empty() || last.is_some_and(|part| rest.ends_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_compared_line_by_line() {
        let source = "//! Shows.\n//!\n//! ```text\n//! cargo\n//! ```\n//! ```prints\n//! a 1 of ..\n//! b .. c\n//! ```\nfn main() {}\n";
        let promised = promised(source);
        assert_eq!(promised, ["a 1 of ..", "b .. c"]);
        assert_eq!(missing(&promised, "x\na 1 of 7\ny\nb  c c\n"), None);
        assert_eq!(missing(&promised, "b 1 c\na 1 of 7\n"), Some("b .. c"));
        assert_eq!(missing(&promised, "a 2 of 7\nb 1 c\n"), Some("a 1 of .."));
        assert_eq!(missing(&promised, "a 1 of 7\nb 1 c and more\n"), Some("b .. c"));
        assert_eq!(missing(&["whole"], "whole line"), Some("whole"));
    }
}
