//! The public API of the library as text, in `api.txt`: a change of it is seen, and is meant.

mod names;
mod surface;

use std::collections::BTreeMap;
use std::path::Path;

use names::Sources;

/// The committed text, below the workspace's root.
const FILE: &str = "api.txt";

const HEAD: &str = "\
# The public API of the crate `faretra`, one item a line, in the order of its paths.
# `cargo xtask test` compares it with the source; `cargo xtask api --write` writes it anew.
#
# Types are named as the source names them. Not here: documentation and bodies, what is `#[doc(hidden)]` or needs the
# feature `proof`, the traits that the compiler gives (Send, Sync, ...), and what macros write, but for the rows that a
# macro is given and the public functions in its text.
";

/// Compares the committed text with the source. The error shows the lines that differ, and how to accept them.
pub fn check(root: &Path) -> Result<(), String> {
    let now = now(root)?;
    let file = root.join(FILE);
    let then = std::fs::read_to_string(&file)
        .map_err(|error| format!("{}: {error}; `cargo xtask api --write` writes it", file.display()))?;
    compare(&then, &now)
}

/// Writes the text anew; returns how many items it lists.
pub fn write(root: &Path) -> Result<usize, String> {
    let now = now(root)?;
    let file = root.join(FILE);
    std::fs::write(&file, &now).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(now.lines().filter(|line| !line.starts_with('#')).count())
}

fn now(root: &Path) -> Result<String, String> {
    Ok(text(&Sources::read(&root.join("src/lib.rs"))?))
}

fn text(sources: &Sources) -> String {
    let mut text = HEAD.to_owned();
    for line in surface::surface(sources, "faretra") {
        text += &line;
        text.push('\n');
    }
    text
}

fn compare(then: &str, now: &str) -> Result<(), String> {
    if then == now {
        return Ok(());
    }
    let mut differing: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    then.lines().for_each(|line| differing.entry(line).or_default().0 += 1);
    now.lines().for_each(|line| differing.entry(line).or_default().1 += 1);
    let mut told = format!("the public API is not the one that {FILE} lists:\n");
    for (line, (then, now)) in differing {
        if then != now {
            told += if then > now { "  - " } else { "  + " };
            told += line;
            told.push('\n');
        }
    }
    told += "Is the change meant? Accept it with `cargo xtask api --write`, and commit the file with it.";
    Err(told)
}

#[cfg(test)]
mod tests;
