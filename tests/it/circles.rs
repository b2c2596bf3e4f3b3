//! Shows that no two modules of the command, of the chores, of the proof, of the tests and of a bench need each other: what both need
//! stands below both.
//!
//! A module is a file. It needs the files of the modules that its code names by `crate::`, `super::`, `self::` or the
//! name of a child, in `use` or elsewhere; `mod child;` alone needs nothing. A folder is looked at as a whole, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::tidy::{blank, is_word, read, root, rust_files, without_tests, words};

/// Where the modules of a crate are, whose root is `main.rs` or `lib.rs`.
const CRATES: &[&str] = &[
    "cli/src",
    "capi/src",
    "datafusion/src",
    "distributed/src",
    "distributed/tests/it",
    "flight/src",
    "flight/tests/it",
    "sql/src",
    "sql/tests/it",
    "cli/tests/it",
    "fuzz/src",
    "capi/tests/it",
    "xtask/src",
    "proof/src",
    "tests/it",
    "benches/ratios",
];

/// A module by the names of those that it is in and its own.
type Module = Vec<String>;

#[test]
fn modules_need_each_other_one_way() {
    let mut wrong = String::new();
    for folder in CRATES {
        let files = rust_files(folder);
        let sources = files.iter().map(|file| (place(&root().join(folder), file), blank(&read(file)))).collect();
        for circle in circles(&needs(&sources)) {
            writeln!(wrong, "{folder}: {circle}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "modules in a circle; put what both need into a file below them:\n{wrong}");
}

#[test]
fn circles_are_found() {
    let told = |files: &[(&str, &str)]| {
        let sources = files.iter().map(|(file, code)| (place(Path::new(""), Path::new(file)), (*code).to_owned()));
        circles(&needs(&sources.collect())).join("\n")
    };
    let straight = [
        ("main.rs", "mod a; mod b; mod c; use a::x; fn main() { c::run() }"),
        ("a.rs", "use crate::b::{self, Y}; #[cfg(test)] mod tests { use crate::c; }"),
        ("b.rs", ""),
        ("c/mod.rs", "pub mod d; pub mod e; fn run() { d::go(crate::a::x) } mod inner { use super::Own; }"),
        ("c/d.rs", "use super::e::Z; use std::super_::mem;"),
        ("c/e.rs", "fn f() { crate::b::f() }"),
    ];
    assert_eq!(told(&straight), "");
    let with = |file: &'static str, code: &'static str| {
        let replaced = straight.map(|(name, old)| if name == file { (name, code) } else { (name, old) });
        told(&replaced)
    };
    assert_eq!(with("b.rs", "use crate::a::{z, y};"), "a needs b needs a");
    assert_eq!(with("c/e.rs", "use super::run;"), "c needs c::d needs c::e needs c");
    assert_eq!(with("c/e.rs", "use super::{d::Z};"), "c::d needs c::e needs c::d");
    assert_eq!(with("b.rs", "fn f() -> crate::Error {}"), "main needs a needs b needs main");
    assert_eq!(with("b.rs", "use crate::c::d::go;"), "b needs c::d needs c::e needs b");
    // No file needs itself through others, but the folder does.
    assert_eq!(with("a.rs", "use crate::c::e::Z;"), "a needs c needs a");
}

/// Which modules each module needs.
fn needs(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut needs = BTreeMap::new();
    for (module, code) in sources {
        let code = without_tests(code);
        let mut found = BTreeSet::new();
        let mut note = |path: Vec<&str>| {
            // The file that defines what the path names: the longest part of it that is a module.
            let file = (0..=path.len()).rev().map(|length| path[..length].to_vec());
            let mut files = file.map(|path| path.into_iter().map(str::to_owned).collect::<Module>());
            found.extend(files.find(|file| sources.contains_key(file)));
        };
        let mine: Vec<&str> = module.iter().map(String::as_str).collect();
        for (at, word) in words(code) {
            let end = at + word.len();
            let is_first = !code[..at].ends_with("::") && code[end..].starts_with("::");
            let declared = || sources.contains_key(&[module.as_slice(), &[word.to_owned()]].concat());
            let base = match word {
                "crate" => vec![],
                "super" if depth(&code[..at]) == 0 => mine[..mine.len().saturating_sub(1)].to_vec(),
                "self" if depth(&code[..at]) == 0 => mine.clone(),
                child if is_first && declared() => [mine.as_slice(), &[child]].concat(),
                _ => continue,
            };
            if is_first {
                for rest in paths(&code[end + 2..]) {
                    note([base.as_slice(), &rest].concat());
                }
            }
        }
        found.remove(module);
        needs.insert(module.clone(), found);
    }
    needs
}

/// How many inline modules the end of the code is in.
fn depth(code: &str) -> usize {
    let mut opened: Vec<bool> = Vec::new();
    let mut since = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                let head: Vec<&str> = words(&code[since..at]).map(|(_, word)| word).collect();
                opened.push(matches!(head.as_slice(), [.., "mod", _]));
                since = at + 1;
            }
            '}' => {
                opened.pop();
                since = at + 1;
            }
            ';' => since = at + 1,
            _ => {}
        }
    }
    opened.into_iter().filter(|is_module| *is_module).count()
}

/// The paths that a path's rest spells: `a::b` one, `{a::{b, c}, d}` three.
fn paths(rest: &str) -> Vec<Vec<&str>> {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut from, mut found) = (0, 0, Vec::new());
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.extend(paths(&group[from..at]));
                    from = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
        return found;
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (first, behind) = rest.split_at(end);
    let first = if ["", "self"].contains(&first) { vec![] } else { vec![first] };
    match behind.strip_prefix("::").map(paths) {
        Some(more) if !more.is_empty() => more.into_iter().map(|rest| [first.as_slice(), &rest].concat()).collect(),
        _ => vec![first],
    }
}

/// One line for each circle among files, or else among the folders and files at the crate's root.
fn circles(needs: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let found = circles_among(needs);
    if !found.is_empty() {
        return found;
    }
    let mut whole = BTreeMap::<Module, BTreeSet<Module>>::new();
    let top = |module: &Module| module.iter().take(1).cloned().collect::<Module>();
    for (module, needed) in needs {
        let needed = needed.iter().map(top).filter(|to| *to != top(module));
        whole.entry(top(module)).or_default().extend(needed);
    }
    circles_among(&whole)
}

/// The shortest circles, as many as have no step in common.
fn circles_among(needs: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let mut found: Vec<Vec<&Module>> = needs.keys().filter_map(|start| shortest(needs, start)).collect();
    found.sort_by_key(Vec::len);
    let (mut told, mut steps) = (Vec::new(), BTreeSet::new());
    for circle in found {
        let again = circle.iter().copied().skip(1).chain([circle[0]]);
        let mine: Vec<_> = circle.iter().copied().zip(again).collect();
        if mine.iter().all(|step| !steps.contains(step)) {
            steps.extend(mine);
            let names = circle.iter().chain([&circle[0]]).map(|module| shown(module));
            told.push(names.collect::<Vec<_>>().join(" needs "));
        }
    }
    told
}

/// The shortest way from `start` back to it, without its end.
fn shortest<'a>(needs: &'a BTreeMap<Module, BTreeSet<Module>>, start: &'a Module) -> Option<Vec<&'a Module>> {
    let (mut ways, mut seen) = (vec![vec![start]], BTreeSet::new());
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &needs[*way.last().unwrap()] {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next) {
                    longer.push([way.as_slice(), &[next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

fn shown(module: &Module) -> String {
    if module.is_empty() { "main".to_owned() } else { module.join("::") }
}

/// The module that a file is: `a/b.rs` and `a/b/mod.rs` are `a::b`, the crate's root is the one without a name.
fn place(crate_root: &Path, file: &Path) -> Module {
    let below: PathBuf = file.strip_prefix(crate_root).unwrap_or(file).with_extension("");
    let mut names: Module = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let is_folder = names.last().is_some_and(|name| name == "mod");
    let is_root = names.len() == 1 && ["main", "lib"].contains(&names[0].as_str());
    if is_folder || is_root {
        names.pop();
    }
    names
}
