//! Shows that the source keeps the rules that ARCHITECTURE.md tells its readers to rely on.
//!
//! The rules are the tables below; to change a rule is to edit its table. Source is read as text:
//! comments and literals are blanked first, so that prose may speak of `unsafe` and of `crate::x`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

/// The layers of `src/`, lowest first. A file imports from the rows below its own, and from its own
/// row as long as that makes no circle; in the first storey, whose files share the methods of two types, it also calls
/// those rows only. A file that no row names (arena.rs, lib.rs, ...) is on top
/// and may import anything; nothing in the rows may import it.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["word", "mem", "geometry", "answers", "kernel", "forked", "crew", "front", "spin", "stash", "twin"],
    &["sys", "segment", "portable", "tables"],
    &["seat"],
    &["zone", "wait", "bells"],
    &["part", "cell", "list"],
    &["object"],
    &["hold", "name", "lease", "chain", "ring"],
    &["broadcast", "account"],
    &["verify", "recover"],
    &["lock", "waiters", "maker", "end"],
    &["extent", "element", "timestep", "dtype", "descr", "shape", "layout", "piece", "check", "copying", "unchecked"],
    &["private", "shared_map", "schema", "message", "skeleton", "info", "array", "dynamic", "lent", "found"],
    &["plan", "batch", "draft", "parts", "view"],
    &["kind", "held", "reader", "drafted", "input", "writer", "report", "arena"],
];

/// The folders of `src/`, and the rows of [`LAYERS`] whose files are in each.
const STOREYS: &[(&str, RangeInclusive<usize>)] = &[("core", 1..=10), ("value", 11..=13)];

/// The types whose methods stand in several files of the first storey.
const SHARED: &[&str] = &["Core", "Tables"];

/// Crates that the first storey does not know.
const NOT_IN_CORE: &[&str] = &["arrow_array", "arrow_buffer", "arrow_data", "arrow_ipc", "arrow_schema", "ndarray"];

/// The only files of `src/` that may say `unsafe`.
const UNSAFE: &[&str] =
    &["mem", "kernel", "twin", "sys", "segment", "portable", "view", "unchecked", "shared_map", "copying"];

/// Above the core, the only file that may ask whether this process is a forked child: the core is reached through it.
const FORK_CHECK: &str = "view";

/// Contracts that users sign: a declaration like this one does nothing unsafe itself.
const UNSAFE_SIGNATURES: &[&str] = &["unsafe fn trust_others(", "unsafe fn vouch_for_values("];

/// What is longer holds more than one subject.
const LINES: usize = 800;

/// Left-overs of work in progress, in any Rust file of the workspace.
const LEFT_OVERS: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Where the workspace keeps Rust files.
const FOLDERS: &[&str] = &[
    "src",
    "tests",
    "examples",
    "benches",
    "capi",
    "cli",
    "datafusion",
    "distributed",
    "flight",
    "fuzz",
    "proof",
    "python",
    "sql",
    "xtask",
];

#[test]
fn unsafe_stays_in_its_files() {
    let mut wrong = String::new();
    for file in rust_files("src") {
        let mut code = blank(&read(&file));
        for signature in UNSAFE_SIGNATURES {
            code = code.replace(signature, "");
        }
        let uses = words(&code).filter(|(_, word)| *word == "unsafe");
        if !UNSAFE.contains(&module(&file).as_str()) {
            for (at, _) in uses {
                let line = line_of(&code, at);
                writeln!(wrong, "{}:{line}: `unsafe` outside {UNSAFE:?}", show(&file)).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Above the core one place asks whether this process is a forked child: `Attachment::core`, the only way to the core.
#[test]
fn one_accessor_checks_for_fork() {
    let mut found = BTreeMap::<String, usize>::new();
    for file in rust_files("src").iter().filter(|file| !file.starts_with(root().join("src/core"))) {
        let code = blank(&read(file));
        let checks = words(&code).filter(|(_, word)| *word == "check_fork").count();
        if checks > 0 {
            found.insert(module(file), checks);
        }
    }
    assert_eq!(found, BTreeMap::from([(FORK_CHECK.to_owned(), 1)]), "call `Attachment::core` instead");
}

#[test]
fn imports_point_downwards() {
    let reexports = reexports(&blank(&read(&root().join("src/lib.rs"))));
    let mut edges = BTreeMap::new();
    for file in rust_files("src") {
        let name = module(&file);
        // Unit tests that are files of their own may reach upwards, like those at a file's end.
        let of_tests = file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
        if !["lib", "mod"].contains(&name.as_str()) && !of_tests {
            let imports = imports(without_tests(&blank(&read(&file))), &reexports);
            edges.entry(name).or_insert_with(BTreeSet::new).extend(imports);
        }
    }
    let wrong = judge(&edges, "imports");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Methods of one type that stand in several files need no import: so their calls are read, too.
#[test]
fn calls_point_downwards() {
    let core: Vec<(String, String)> = rust_files("src/core")
        .iter()
        .map(|file| (module(file), without_tests(&blank(&read(file))).to_owned()))
        .collect();
    let homes = methods(&core).unwrap_or_else(|twice| panic!("{twice}"));
    assert!(homes.len() > 200, "only {} methods were found", homes.len());
    let wrong = judge(&calls(&core, &homes), "calls");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// In every other file with a row, the methods of a type stand where it is defined, so that whoever calls them has imported
/// that. (Files on top add to what users hold: `Writer::sender` stands in channel.rs.)
#[test]
fn methods_stand_with_their_type() {
    let mut wrong = String::new();
    for file in rust_files("src") {
        if !LAYERS.concat().contains(&module(&file).as_str()) {
            continue;
        }
        let code = blank(&read(&file));
        for (line, owner) in impls(without_tests(&code)) {
            let here = ["struct", "enum", "union", "trait"].iter().any(|kind| {
                code.match_indices(&format!("{kind} {owner}"))
                    .any(|(at, found)| !code[at + found.len()..].starts_with(is_word))
            });
            if !here && !SHARED.contains(&owner.as_str()) {
                writeln!(wrong, "{}:{line}: methods of {owner}, which another file defines", show(&file)).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Each file is in the folder of its row, and the core knows nothing of Arrow and ndarray.
#[test]
fn files_are_in_their_storeys() {
    let mut wrong = String::new();
    for file in rust_files("src") {
        let name = module(&file);
        let below = file.strip_prefix(root().join("src")).unwrap();
        let folder = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let row = LAYERS.iter().position(|row| row.contains(&name.as_str()));
        let storey =
            row.and_then(|row| STOREYS.iter().find(|(_, rows)| rows.contains(&row)).map(|(folder, _)| *folder));
        let is_in = STOREYS.iter().map(|(known, _)| *known).find(|known| *known == folder);
        if name != "mod" && storey != is_in {
            writeln!(wrong, "{}: {storey:?} by its row", show(&file)).unwrap();
        }
        if is_in == Some("core") {
            let code = blank(&read(&file));
            let known = words(&code).filter(|(_, word)| NOT_IN_CORE.contains(word));
            known.for_each(|(at, word)| {
                writeln!(wrong, "{}:{}: the core knows {word}", show(&file), line_of(&code, at)).unwrap()
            });
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn files_are_short_and_finished() {
    let mut wrong = String::new();
    for file in FOLDERS.iter().flat_map(|folder| rust_files(folder)) {
        let text = read(&file);
        let lines = text.lines().count();
        if lines > LINES {
            let file = show(&file);
            writeln!(wrong, "{file}: {lines} lines, at most {LINES}: split it by subject").unwrap();
        }
        let code = blank(&text);
        for left in LEFT_OVERS {
            for (at, _) in code.match_indices(left) {
                if !code[..at].ends_with(is_word) {
                    writeln!(wrong, "{}:{}: `{left}`", show(&file), line_of(&code, at)).unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The README names each test that the portable back-end is spared, and no other.
#[test]
fn tests_that_are_left_out_are_named() {
    let text = read(&root().join("README.md"));
    let section = text.split_once("## Other systems").expect("the section").1.split("\n## ").next().expect("its text");
    let in_ticks: BTreeSet<&str> = section.split('`').skip(1).step_by(2).collect();
    let (mut left_out, mut tests) = (BTreeMap::new(), BTreeSet::new());
    for file in rust_files("tests/it") {
        let text = read(&file).split_whitespace().collect::<Vec<_>>().join(" ");
        let name = |at: usize| text[at..].split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
        for (at, _) in text.match_indices("all(feature = \"portable\", not(feature = \"proof\")), ignore =") {
            left_out.insert(name(at).expect("a test").to_owned(), file.file_stem().expect("a name").to_owned());
        }
        tests.extend(text.match_indices("#[test]").filter_map(|(at, _)| name(at)).map(str::to_owned));
    }
    assert!(left_out.len() > 20, "only {} were read", left_out.len());
    for (name, module) in &left_out {
        let named = in_ticks.contains(name.as_str()) && in_ticks.contains(&*module.to_string_lossy());
        assert!(named, "README.md does not say that `{name}` of {module:?} is left out");
    }
    for name in in_ticks {
        assert!(left_out.contains_key(name) || !tests.contains(name), "README.md: `{name}` is not left out");
    }
}

#[test]
fn tests_say_what_they_show() {
    let mut wrong = String::new();
    for file in rust_files("tests") {
        let text = read(&file);
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! Shows") {
            let file = show(&file);
            writeln!(wrong, "{file}:1: start with `//! Shows ...`, the promise").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A doc comment is read alone, in a hover or a search result: none begins by pointing at the item above it.
#[test]
fn documentation_stands_alone() {
    let mut wrong = String::new();
    for file in ["src", "capi", "cli", "datafusion", "distributed", "flight", "fuzz", "proof", "sql", "tests"]
        .into_iter()
        .flat_map(rust_files)
    {
        let text = read(&file);
        let mut before = "";
        for (i, line) in text.lines().map(str::trim_start).enumerate() {
            let opens = line.starts_with("/// ") && !before.starts_with("///");
            if opens && ["/// The same", "/// As above"].iter().any(|start| line.starts_with(start)) {
                writeln!(wrong, "{}:{}: `{line}`: the same as what?", show(&file), i + 1).unwrap();
            }
            before = line;
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Each type that api.txt lists has an example in its documentation.
#[test]
fn public_types_have_examples() {
    let api = read(&root().join("api.txt"));
    let kinds = ["struct", "enum", "type", "trait"];
    let types: BTreeSet<&str> = api
        .lines()
        .filter(|line| line.starts_with("faretra::"))
        .filter_map(|line| {
            let mut words = words(line.split_once(": ")?.1).map(|(_, word)| word).skip_while(|word| *word != "pub");
            words.nth(1).filter(|kind| kinds.contains(kind))?;
            words.next()
        })
        .collect();
    assert!(types.len() > 50, "only {} types were read", types.len());
    let mut shown = BTreeSet::new();
    for file in rust_files("src") {
        let mut example = false;
        for line in read(&file).lines().map(str::to_owned) {
            if line.starts_with("///") {
                example |= line.contains("```");
            } else if !line.starts_with("#[") {
                let mut names =
                    line.strip_prefix("pub ").into_iter().flat_map(|rest| rest.split([' ', '<', '(', ';', ':']));
                let kind = names.next().unwrap_or_default();
                if example && kinds.contains(&kind) {
                    shown.extend(types.get(names.next().unwrap_or_default()));
                }
                example = false;
            }
        }
    }
    let bare: Vec<_> = types.difference(&shown).collect();
    assert!(bare.is_empty(), "public types without an example: {bare:?}");
}

/// The rules above would pass for ever if the reader of the source saw nothing.
#[test]
fn the_reader_sees_what_is_there() {
    let code =
        blank("a(\"unsafe\", r#\"\"dbg!\"#, '\"', b'\\'', 'x'); // unsafe\n/* /* */ todo! */ fn f<'a>() { unsafe {} }");
    assert_eq!(words(&code).filter(|(_, w)| *w == "unsafe").count(), 1);
    assert!(!code.contains("dbg!") && !code.contains("todo!"), "{code}");
    assert_eq!(line_of(&code, code.find("unsafe").unwrap()), 2);

    let lib = reexports(
        "pub use error::{Error, HolderBytes as H};\npub use crate::core::word::Id as I;\npub use arena::Arena;",
    );
    let seen = imports(
        "use crate::{mem::{self, Mem}, Error};\nuse crate::core::word::Id; fn f() -> crate::H {} fn g(_: super::Arena, _: super::seat::X) { crate::log!(); }",
        &lib,
    );
    let expected = ["arena", "error", "log", "mem", "seat", "word"];
    assert_eq!(seen, expected.map(String::from).into());

    let edges = |list: &[(&str, &str)]| {
        let mut edges = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in list {
            edges.entry(from.to_string()).or_default().insert(to.to_string());
        }
        edges
    };
    let judge_imports = |list| judge(&edges(list), "imports");
    assert_eq!(judge_imports(&[("zone", "word"), ("view", "segment"), ("arena", "zone"), ("channel", "arena")]), "");
    assert!(judge_imports(&[("word", "zone")]).contains("word.rs imports zone"));
    assert!(judge_imports(&[("zone", "arena")]).contains("zone.rs imports arena"));
    assert!(judge_imports(&[("hold", "name"), ("name", "lease"), ("lease", "hold")]).contains("circle"));

    // A call from below to above, by a method of a type that both know.
    let file = |name: &str, code: &str| (name.to_owned(), code.to_owned());
    let core = [
        file("object", "impl<E: Env> Core<E> {\n    pub fn put(&self) { self.recover(true); place.put(1) }\n}\n"),
        file("recover", "impl<E: Env> Core<E> {\n    pub fn recover(&self, sweep: bool) { self\n        .put() }\n}\n"),
    ];
    let found = calls(&core, &methods(&core).unwrap());
    assert_eq!(found["object"], BTreeSet::from(["recover".to_owned()]));
    assert_eq!(found["recover"], BTreeSet::from(["object".to_owned()]));
    assert!(judge(&found, "calls").starts_with("object.rs calls recover"));
    assert_eq!(impls("impl<T: X<Y>> Z<T> {\n}\nimpl Clone for W {\n}\n"), [(1, "Z".to_owned())]);
}

/// Inherent impls: their lines, and the types that they are of.
fn impls(code: &str) -> Vec<(usize, String)> {
    let mut found = vec![];
    for (i, line) in code.lines().enumerate() {
        let Some(rest) = line.strip_prefix("impl").filter(|rest| !rest.starts_with(is_word)) else { continue };
        // Behind the parameters, whose bounds may have some of their own.
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '<') - i32::from(c == '>');
            depth == 0 && c != '>'
        });
        let head = &rest[end.unwrap_or(0)..];
        if !head.contains(" for ") {
            found.extend(words(head).next().map(|(_, name)| (i + 1, name.to_owned())));
        }
    }
    found
}

/// The parts of a file that are methods of [`SHARED`] types.
fn shared_impls(code: &str) -> String {
    let mut inside = false;
    let mut all = String::new();
    let starts: BTreeSet<usize> =
        impls(code).into_iter().filter(|(_, owner)| SHARED.contains(&owner.as_str())).map(|(line, _)| line).collect();
    for (i, line) in code.lines().enumerate() {
        inside = starts.contains(&(i + 1)) || inside && line != "}";
        if inside {
            all.push_str(line);
            all.push('\n');
        }
    }
    all
}

/// Which file has each method of the [`SHARED`] types. No two have methods of one name, so that a name tells.
fn methods(files: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut homes = BTreeMap::new();
    for (file, code) in files {
        for line in shared_impls(code).lines().filter(|line| line.starts_with("    ") && !line.starts_with("     ")) {
            let mut names = words(line).map(|(_, word)| word).skip_while(|word| *word != "fn");
            let Some(name) = names.nth(1) else { continue };
            if let Some(other) = homes.insert(name.to_owned(), file.clone()) {
                return Err(format!("`{name}` is a method in {other}.rs and in {file}.rs"));
            }
        }
    }
    Ok(homes)
}

/// Which files each file of the first storey calls methods of.
fn calls(files: &[(String, String)], homes: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges = BTreeMap::new();
    for (file, code) in files {
        // Spaces out, so that a call that is broken over lines looks like one that is not.
        let code: String =
            shared_impls(code).split_whitespace().collect::<Vec<_>>().join("\u{0}").replace("\u{0}.", ".");
        let mut found = BTreeSet::new();
        for receiver in ["self.", "core.", "self.tables.", "Core::", "Tables::", "Self::"] {
            for (at, _) in code.match_indices(receiver) {
                let rest = &code[at + receiver.len()..];
                if code[..at].ends_with(is_word) || code[..at].ends_with('.') {
                    continue;
                }
                let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
                // What is behind a path may be given away instead of called.
                let called = rest[name.len()..].starts_with(['(', ':']) || receiver.ends_with(':');
                found.extend(homes.get(&name).filter(|_| called).cloned());
            }
        }
        edges.insert(file.clone(), found);
    }
    edges
}

/// One line per import, or call, that breaks the rule of [`LAYERS`].
fn judge(edges: &BTreeMap<String, BTreeSet<String>>, does: &str) -> String {
    let row = |name: &str| LAYERS.iter().position(|row| row.contains(&name));
    let mut wrong = String::new();
    for (from, imports) in edges {
        let Some(mine) = row(from) else { continue };
        for to in imports.iter().filter(|to| *to != from) {
            match row(to) {
                Some(theirs) if theirs <= mine => {}
                Some(theirs) => {
                    writeln!(wrong, "{from}.rs {does} {to}, row {mine} from row {theirs} above it").unwrap();
                }
                None => {
                    writeln!(wrong, "{from}.rs {does} {to}, which no row of LAYERS names: give it one if it is low")
                        .unwrap();
                }
            }
        }
    }
    // Inside a row: leave out whoever imports nobody that is left, until none is left or a circle is.
    for names in LAYERS {
        let mut left: BTreeSet<&str> = names.iter().copied().collect();
        let leans = |name: &str, left: &BTreeSet<&str>| {
            let imports = edges.get(name).into_iter().flatten();
            imports.into_iter().any(|to| to != name && left.contains(to.as_str()))
        };
        while let Some(free) = left.iter().copied().find(|name| !leans(name, &left)) {
            left.remove(free);
        }
        if !left.is_empty() {
            writeln!(wrong, "a circle of {does} among {left:?}").unwrap();
        }
    }
    wrong
}

/// The modules that code names by `crate::` or `super::`, directly, in a group, or by a name that
/// lib.rs re-exports.
fn imports(code: &str, reexports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let modules: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    let mut found = BTreeSet::new();
    let code = &without_storeys(code);
    for prefix in ["crate::", "super::"] {
        for (at, _) in code.match_indices(prefix) {
            if code[..at].ends_with(is_word) {
                continue; // `$crate` is fine to find, `my_crate` is not
            }
            for name in heads(&code[at + prefix.len()..]) {
                let module = reexports.get(name).map_or(name, String::as_str);
                // `super::x` in an inline module is its own file; only a known name counts.
                if prefix == "crate::" || modules.contains(module) || reexports.contains_key(name) {
                    found.insert(module.to_owned());
                }
            }
        }
    }
    found
}

/// Code with the paths of modules shortened by the folder that they are in.
fn without_storeys(code: &str) -> String {
    STOREYS.iter().fold(code.to_owned(), |code, (folder, _)| code.replace(&format!("crate::{folder}::"), "crate::"))
}

/// The first names of a path's rest: `a::b` gives a; `{a::{b, c}, d}` gives a and d.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).take(1).map(|(_, word)| word).collect();
    };
    let (mut depth, mut fresh, mut heads) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && is_word(c) => {
                heads.extend(words(&group[at..]).take(1).map(|(_, word)| word));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// What lib.rs lifts to the crate's root, and the module that each comes from.
fn reexports(lib: &str) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let lib = &without_storeys(lib);
    for statement in lib.split(';') {
        let Some(at) = statement.find("use ") else {
            continue;
        };
        let path = statement[at + 4..].trim().trim_start_matches("crate::");
        let mut names = words(path).map(|(_, word)| word);
        if let Some(module) = names.next() {
            map.extend(names.map(|name| (name.to_owned(), module.to_owned())));
        }
    }
    map
}

/// Code up to the unit tests, which may reach upwards for what they need.
pub(super) fn without_tests(code: &str) -> &str {
    let tests = code.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let rest = code[at + mark.len()..].trim_start();
        rest.starts_with("mod ") || rest.starts_with("pub(crate) mod ")
    });
    tests.map_or(code, |(at, _)| &code[..at])
}

/// Source with comments and literals turned to blanks; every line keeps its number.
pub(super) fn blank(source: &str) -> String {
    let s: Vec<char> = source.chars().collect();
    let at = |i: usize| s.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < s.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..s.len()).find(|&j| s[j] == '\n').unwrap_or(s.len()),
            ('/', '*') => {
                let (mut depth, mut j) = (1, i + 2);
                while depth > 0 && j < s.len() {
                    match (at(j), at(j + 1)) {
                        ('/', '*') => (depth, j) = (depth + 1, j + 2),
                        ('*', '/') => (depth, j) = (depth - 1, j + 2),
                        _ => j += 1,
                    }
                }
                j
            }
            ('r', '"' | '#') if i == 0 || !is_word(s[i - 1]) || s[i - 1] == 'b' => {
                let marks = (i + 1..s.len()).take_while(|&j| s[j] == '#').count();
                if at(i + 1 + marks) == '"' {
                    let closes = |j: &usize| s[*j] == '"' && (1..=marks).all(|k| at(j + k) == '#');
                    let close = (i + 2 + marks..s.len()).find(closes);
                    close.map_or(s.len(), |j| j + 1 + marks)
                } else {
                    i
                }
            }
            ('"', _) => quoted(&s, i, '"'),
            ('\'', '\\') => quoted(&s, i, '\''),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end > i {
            out.extend(s[i..end.min(s.len())].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        } else {
            out.push(s[i]);
            i += 1;
        }
    }
    out
}

/// Behind the closing quote of the literal that opens at `open`.
fn quoted(s: &[char], open: usize, quote: char) -> usize {
    let mut j = open + 1;
    while j < s.len() && s[j] != quote {
        j += if s[j] == '\\' { 2 } else { 1 };
    }
    j + 1
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Names and numbers with their places.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = code.as_ptr() as usize;
    let words = code.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    words.map(move |word| (word.as_ptr() as usize - start, word))
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The module of a file below `src/`: the first component of its path below its storey.
fn module(file: &Path) -> String {
    let below = file.strip_prefix(root().join("src")).unwrap();
    let is_storey = |part: &Component<'_>| STOREYS.iter().any(|(folder, _)| part.as_os_str() == *folder);
    let first = below.components().find(|part| !is_storey(part)).unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

pub(super) fn rust_files(folder: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn show(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

pub(super) fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
