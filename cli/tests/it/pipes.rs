//! Readers that go away, and signals: no error for the first, nothing left by the second.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::{Lab, finish, signal, until, wait};

fn with_many_rows() -> Lab {
    let lab = Lab::with_arena();
    let mut text = "x,y\n".to_owned();
    text.extend((0..300_000).map(|i| format!("{i},number {i}\n")));
    let file = lab.write("many.csv", text);
    lab.ok(["put", "a", "t", &file]);
    lab
}

#[test]
fn a_reader_that_had_enough_is_no_error() {
    let lab = with_many_rows();
    for args in [
        &["cat", "a", "t", "--format", "csv"][..],
        &["cat", "a", "t", "--format", "json"],
        &["cat", "a", "t", "--format", "jsonl"],
        &["cat", "a", "t", "--head", "100000"],
        &["export", "a", "t", "-", "--format", "csv"],
        &["export", "a", "t", "-", "--format", "arrow-stream"],
        &["export", "a", "t", "-", "--format", "parquet"],
    ] {
        let mut child = lab.command(args).spawn().unwrap();
        // As head does: some lines, then the pipe is closed.
        let mut some = [0; 16];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let outcome = finish(child);
        assert_eq!(outcome.status.code(), Some(0), "{args:?}: {outcome:?}");
        assert_eq!(outcome.stderr, "", "{args:?}");
    }
    assert_eq!(lab.json(["who", "a"]), serde_json::json!([]));
}

#[test]
fn a_pipe_that_stays_silent_can_be_interrupted() {
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let lab = Lab::with_arena();
        let mut command = lab.command(["put", "a", "t", "-", "--format", "csv"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"x,y\n1,2\n").unwrap();
        // It takes part as soon as it has handled signals.
        until("it has the arena open", || {
            let who = lab.json(["who", "a"]);
            (!who.as_array().unwrap().is_empty()).then_some(())
        });
        signal(&child, stop);
        let outcome = finish(child);
        drop(stdin);
        assert_eq!(outcome.signal(), Some(stop as i32), "{outcome:?}");
        assert!(outcome.stderr.contains("interrupted"), "{outcome:?}");
        assert_eq!(lab.json(["ls", "a"]), serde_json::json!([]));
        assert_eq!(lab.json(["verify", "a"])["clean"], true);
        assert_eq!(lab.files(), ["faretra.a"]);
    }
}

#[test]
fn an_interrupted_export_leaves_the_whole_file_or_none() {
    let lab = with_many_rows();
    let out = lab.file("out.parquet");
    let mut interrupted = 0;
    for delay in [0, 5, 20, 40, 80, 160] {
        let mut child = lab.command(["export", "a", "t", &out]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        signal(&child, Signal::SIGINT);
        let status = wait(&mut child);
        match (status.code(), status.signal()) {
            (Some(0), None) => assert!(std::fs::exists(&out).unwrap()),
            (None, Some(2)) => interrupted += 1,
            other => panic!("{other:?}"),
        }
        // The signal may come when the file is whole and the process not gone yet.
        if std::fs::exists(&out).unwrap() {
            lab.ok(["put", "a", "again", &out]);
            std::fs::remove_file(&out).unwrap();
        }
        assert_eq!(lab.files(), ["faretra.a", "many.csv"]);
    }
    eprintln!("{interrupted} of 6 were interrupted");
    lab.ok(["verify", "a"]);
}
