//! The list of planted bugs keeps up with the sources: each text that an edit replaces is there, once, and each bug breaks
//! a rule that the sources state.

use std::path::Path;

use proof::planted::bugs;

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

#[test]
fn each_edit_has_its_place() {
    let sources = |file| std::fs::read_to_string(src().join(file)).unwrap_or_default();
    let wrong: Vec<_> = bugs().filter_map(|bug| bug.plant(&sources(bug.file)).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `* O1: ...`, or a step of a protocol, at the top of a file of the core.
#[test]
fn each_bug_breaks_a_rule() {
    let folders = ["core", "value"].map(|folder| std::fs::read_dir(src().join(folder)).expect("a storey"));
    let files = folders.into_iter().flatten().flatten().map(|entry| entry.path());
    let texts: Vec<String> = files.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let mut lines = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))
    });
    let stated: Vec<&str> = lines.by_ref().collect();
    let is_stated = |rule: &str| {
        stated.iter().any(|line| {
            line.trim_start().starts_with(&format!("* {rule}:")) || line.split_whitespace().any(|word| word == rule)
        })
    };
    let wrong: Vec<_> = bugs().filter(|bug| !is_stated(bug.breaks)).map(|bug| (bug.breaks, bug.what)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
