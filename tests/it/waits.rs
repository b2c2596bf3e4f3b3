//! Shows that whatever waits has every form of a wait: without an end, not at all, for a time, and until a time.

use std::collections::BTreeSet;

/// What waits under a name that is not the bare one, because the bare one does not wait.
const UNBOUNDED: [(&str, &str); 2] = [("receiver", "receiver_wait"), ("subscribe", "subscribe_wait")];

/// What cannot be had without waiting: a reply takes another process some time.
const NEVER_AT_ONCE: &str = "faretra::call::Client::call";

/// The public methods, as `Type::method`.
fn methods() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/api.txt")).expect("api.txt");
    text.lines()
        .filter(|line| line.contains(" fn "))
        .filter_map(|line| Some(line.split(": ").next()?.to_owned()))
        .collect()
}

#[test]
fn every_wait_has_all_forms() {
    let all = methods();
    let stems: Vec<&str> = all
        .iter()
        .filter_map(|method| method.strip_suffix("_timeout").or_else(|| method.strip_suffix("_deadline")))
        .collect();
    assert!(stems.len() >= 2 * 25, "{stems:?}");
    for stem in stems {
        let (of, name) = stem.rsplit_once("::").unwrap_or_else(|| panic!("`{stem}` is no method"));
        for form in ["timeout", "deadline"] {
            assert!(all.contains(&format!("{of}::{name}_{form}")), "`{stem}` has no form `_{form}`");
        }
        match UNBOUNDED.iter().find(|(waits, _)| *waits == name) {
            // Here the bare name is what tries.
            Some((bare, waits)) => {
                assert!(all.contains(&format!("{of}::{bare}")) && all.contains(&format!("{of}::{waits}")), "`{stem}`");
            }
            None => {
                assert!(all.contains(&format!("{of}::{name}")), "`{stem}` has no form without an end");
                let tries = all.contains(&format!("{of}::try_{name}"));
                assert!(tries || stem == NEVER_AT_ONCE, "`{stem}` has no form that does not wait");
            }
        }
    }
}

/// In each file, as many calls wait without an end as for a time and until a time: no wait is without its forms.
#[test]
fn no_wait_is_hidden() {
    let mut files = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut waits = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("source");
        if path.components().any(|part| part.as_os_str() == "core") {
            continue;
        }
        assert!(!text.contains("Option<Duration>"), "{}: say `Until`", path.display());
        let forms = ["Until::Forever", "Until::Within(timeout)", "Until::deadline(deadline)"];
        let counts = forms.map(|form| text.matches(form).count());
        assert!(counts.iter().all(|count| *count == counts[0]), "{}: {forms:?} {counts:?}", path.display());
        waits += counts[0];
    }
    assert!(waits >= 25, "{waits}");
}
