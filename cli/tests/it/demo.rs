//! The demo tells what happened and leaves nothing, however it ends.

use nix::sys::signal::Signal;

use crate::support::{Lab, finish, signal, until};

#[test]
fn the_demo_moves_a_table_and_leaves_nothing() {
    let lab = Lab::new();
    let told = lab.json(["demo", "--size", "4MiB"]);
    assert_eq!(told["verify"]["clean"], true, "{told}");
    assert_eq!(told["files_left"], 0, "{told}");
    assert_eq!(told["names_left"], 0, "{told}");
    assert_eq!(told["read"]["checksum_equal"], true);
    // Not one buffer of the far side is a copy.
    let read = &told["read"];
    assert_eq!(read["buffers"], read["buffers_in_read_only_mapping"], "{told}");
    assert!(read["buffers"].as_u64().unwrap() >= 4 * 16, "{told}");
    assert_eq!(told["hand_over"]["rounds"], 16);
    assert_eq!(lab.files(), [""; 0]);
}

#[test]
fn the_demo_prints_within_80_columns() {
    let lab = Lab::new();
    let text = lab.ok(["demo", "--size", "1MiB"]);
    for line in text.lines().filter(|line| !line.contains("faretra.demo-")) {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }
    for said in ["checksum equal", "SIGKILL", "memcpy", "pipe", "verify: clean"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn an_interrupted_demo_leaves_no_arena_and_no_process() {
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let lab = Lab::new();
        let child = lab.command(["demo", "--size", "64MiB"]).spawn().unwrap();
        until("its arena is there", || (!lab.files().is_empty()).then_some(()));
        signal(&child, stop);
        let outcome = finish(child);
        assert_eq!(outcome.signal(), Some(stop as i32), "{outcome:?}");
        assert_eq!(lab.files(), [""; 0]);
        nobody_left(&lab);
    }
}

#[test]
fn the_processes_of_a_killed_demo_die_with_it() {
    let lab = Lab::new();
    let mut child = lab.command(["demo", "--size", "64MiB"]).spawn().unwrap();
    until("its processes run", || (!parts(&lab).is_empty()).then_some(()));
    signal(&child, Signal::SIGKILL);
    crate::support::wait(&mut child);
    nobody_left(&lab);
    // The arena was ephemeral: whoever looks next removes it.
    until("the arena is gone", || (lab.json(["ls"]) == serde_json::json!([])).then_some(()));
    assert_eq!(lab.files(), [""; 0]);
}

fn nobody_left(lab: &Lab) {
    until("its processes are gone", || parts(lab).is_empty().then_some(()));
}

/// Processes of a demo in this test's directory, known by their environment.
fn parts(lab: &Lab) -> Vec<String> {
    let mark = format!("FARETRA_DIR={}", lab.dir().display());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ours = entries.filter(|entry| {
        let text = |file| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let has = |bytes: Vec<u8>, word: &str| bytes.split(|byte| *byte == 0).any(|part| part == word.as_bytes());
        has(text("environ"), &mark) && has(text("cmdline"), "demo-part")
    });
    ours.map(|entry| entry.file_name().into_string().unwrap()).collect()
}
