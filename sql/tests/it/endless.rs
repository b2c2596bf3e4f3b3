//! Shows that queries without an end print rows as they come, and end when nobody wants them any more.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::mpsc::channel;
use std::thread;

use faretra::feed::WhenFull;
use faretra::{Arena, Feed};

use crate::support::{DEADLINE, Lab, finish, flights, interrupt, wait};

fn feed(arena: &Arena) -> Feed {
    let feed = arena.writer().unwrap().feed("ticks", 64, WhenFull::Block).unwrap();
    feed.append(flights()).unwrap();
    feed
}

fn follow(lab: &Lab) -> (Child, Vec<String>) {
    let mut child = lab.command(["air", "SELECT id FROM ticks", "--format", "csv"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, read) = channel();
    thread::spawn(move || {
        let lines = (0..4).map(|_| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        });
        let lines: Vec<String> = lines.collect();
        let _ = sender.send((lines, stdout.into_inner()));
    });
    let Ok((lines, stdout)) = read.recv_timeout(DEADLINE) else {
        child.kill().unwrap();
        panic!("no four lines in {DEADLINE:?}");
    };
    child.stdout = Some(stdout);
    (child, lines)
}

/// Shows that the rows of a feed are printed while it is open, and that Ctrl-C then ends the process as a signal does.
#[test]
fn interrupted() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let _feed = feed(&arena);
    let (child, lines) = follow(&lab);
    assert_eq!(lines, ["id", "1", "2", "3"]);
    interrupt(&child);
    let outcome = finish(child);
    assert_eq!((outcome.status.signal(), outcome.stderr.lines().count()), (Some(2), 1), "{outcome:?}");
    assert!(outcome.stderr.contains("what was written is not all of it"), "{outcome:?}");
}

/// Shows that a reader that goes away ends a query that prints nothing at the moment, and is no error.
#[test]
fn unread() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let _feed = feed(&arena);
    let (mut child, _) = follow(&lab);
    drop(child.stdout.take());
    assert_eq!(wait(&mut child).code(), Some(0));
}

/// Shows that a query goes on to its end when its arena is removed meanwhile.
#[test]
fn removed() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let feed = feed(&arena);
    let (child, _) = follow(&lab);
    lab.remove("air");
    feed.append(flights()).unwrap();
    feed.close().unwrap();
    let outcome = finish(child);
    assert_eq!((outcome.status.code(), outcome.text()), (Some(0), "1\n2\n3\n"), "{outcome:?}");
}
