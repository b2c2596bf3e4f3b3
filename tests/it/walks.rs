//! Shows that the walks in ARCHITECTURE.md are true: each function that a chain names is there, and calls the next one.

use std::path::Path;

use crate::tidy::{blank, read, root, rust_files};

const HEADING: &str = "## Four walks through the house";

#[test]
fn each_step_of_a_walk_is_a_call() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let section = text.split_once(HEADING).expect("the walks").1;
    let block = section.split("```").nth(1).expect("a block");
    let sources: Vec<(String, String)> =
        rust_files("src").iter().map(|file| (name(file), blank(&read(file)))).collect();
    let (mut steps, mut wrong) = (0, String::new());
    for line in block.lines() {
        for pair in chain(line).windows(2) {
            let [from, to] = pair else { unreachable!("windows of two") };
            // Several after a comma are called by the one before the first.
            for to in to.split(',') {
                steps += 1;
                if let Err(why) = calls(&sources, from.split(',').next().unwrap_or(from), to) {
                    wrong += &format!("{from} > {to}: {why}\n");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(steps > 40, "only {steps} steps were read");
}

/// A chain that skips a room, and one whose function is gone, are told.
#[test]
fn a_wrong_step_is_told() {
    let sources = [
        ("a".to_owned(), "fn one() {\n    two();\n}\nfn two() {\n}\n".to_owned()),
        ("b".to_owned(), "impl B {\n    fn three(&self) {\n    }\n}\n".to_owned()),
    ];
    assert_eq!(calls(&sources, "a::one", "a::two"), Ok(()));
    assert!(calls(&sources, "a::two", "b::three").is_err());
    assert!(calls(&sources, "a::one", "b::four").is_err());
    assert_eq!(chain("publish  a::one > a::two, b::three    what for > ever"), ["a::one", "a::two,b::three"]);
}

/// `a::b > c::d, e::f` out of a line, without what is before and behind it.
fn chain(line: &str) -> Vec<String> {
    let mut links: Vec<String> = vec![];
    let mut joined = true;
    for word in line.split_whitespace() {
        match word {
            ">" => joined = true,
            word if word.contains("::") && joined => {
                match links.last_mut() {
                    Some(last) if last.ends_with(',') => last.push_str(word),
                    _ => links.push(word.to_owned()),
                }
                joined = word.ends_with(',');
            }
            _ if !links.is_empty() => break,
            _ => {}
        }
    }
    links
}

/// Files in folders by their own names: `channel/sender.rs` is sender.
fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a function of a file calls a function of another.
fn calls(sources: &[(String, String)], from: &str, to: &str) -> Result<(), String> {
    let bodies = |path: &str| -> Result<Vec<String>, String> {
        let (file, function) = path.split_once("::").ok_or("not `file::function`")?;
        let of_file = sources.iter().filter(|(name, _)| name == file);
        let found: Vec<String> = of_file.flat_map(|(_, code)| functions(code, function)).collect();
        if found.is_empty() { Err(format!("{file}.rs has no function {function}")) } else { Ok(found) }
    };
    bodies(to)?;
    let callee = to.rsplit("::").next().unwrap_or(to);
    let is_call = |body: &String| {
        body.match_indices(callee).any(|(at, found)| {
            let before = body[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
            let rest = body[at + found.len()..].trim_start();
            // A function may be given to one that calls it.
            !before && (rest.starts_with('(') || rest.starts_with("::<") || body[..at].ends_with("::"))
        })
    };
    if bodies(from)?.iter().any(is_call) { Ok(()) } else { Err(format!("{from} does not call {callee}")) }
}

/// The texts of all functions of that name, from `fn` to the brace that closes them.
fn functions(code: &str, name: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, head) in code.match_indices(&format!("fn {name}")) {
        let rest = &code[at + head.len()..];
        if !rest.starts_with(['(', '<']) {
            continue;
        }
        let mut depth = 0;
        let mut end = rest.len();
        for (i, c) in rest.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == '}' && depth == 0 {
                end = i;
                break;
            }
        }
        found.push(rest[..end].to_owned());
    }
    found
}
