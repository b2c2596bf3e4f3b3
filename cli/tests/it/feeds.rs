//! Feeds from the shell: followed to their end, looked at as they are, and every end of a wait is told.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use faretra::feed::{Contents, Feed, WhenFull};
use faretra::{Arena, Writer};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Lab, ears, finish, hear, signal, until, wait};

fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
    let fields = vec![Field::new("n", DataType::Int64, false), Field::new("t", DataType::Utf8, false)];
    let numbers = Int64Array::from_iter_values(rows.clone());
    let texts = StringArray::from_iter_values(rows.map(|i| format!("row {i}")));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
}

/// As `cat` prints it.
fn csv(rows: std::ops::Range<i64>) -> String {
    rows.fold("n,t\n".to_owned(), |text, i| text + &format!("{i},row {i}\n"))
}

fn opened(lab: &Lab) -> (Arena, Writer) {
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let writer = arena.writer().unwrap();
    (arena, writer)
}

/// An arena `a`, and in it a feed `f` of the last `capacity` items.
fn with_feed(capacity: usize) -> (Lab, Writer, Feed) {
    let lab = Lab::with_arena();
    let (_, writer) = opened(&lab);
    let feed = writer.feed("f", capacity, WhenFull::DropOldest).unwrap();
    (lab, writer, feed)
}

fn start(lab: &Lab, args: &[&str]) -> Child {
    lab.command(args).spawn().unwrap()
}

fn follow(lab: &Lab, more: &[&str]) -> Child {
    let child = start(lab, &[&["cat", "a", "f", "--follow", "--format", "csv"], more].concat());
    let pid = Value::from(child.id());
    until("it subscribed", || info(lab)["receivers"].as_array().unwrap().contains(&pid).then_some(()));
    child
}

/// The only feed, as `stat` tells it.
fn info(lab: &Lab) -> Value {
    lab.json(["stat", "a"])["channels"][0].clone()
}

/// Reads what it prints until this many lines came.
fn lines(stdout: &mut impl BufRead, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        assert!(stdout.read_line(&mut text).unwrap() > 0, "it ended after {text}");
    }
    text
}

#[test]
fn a_feed_is_followed_to_its_end() {
    let lab = Lab::with_arena();
    // Before there is one.
    let mut early = start(&lab, &["cat", "a", "f", "--follow", "--format", "csv"]);
    let mut stderr = ears(&mut early);
    hear(&mut stderr, "no feed `f` yet");
    let (_, writer) = opened(&lab);
    let feed = writer.feed("f", 8, WhenFull::Block).unwrap();
    for i in 0..3 {
        feed.append(batch(i * 10..i * 10 + 10)).unwrap();
    }
    let newest = follow(&lab, &["--from", "newest"]);
    let second = follow(&lab, &["--from", "1"]);
    let columns = start(&lab, &["cat", "a", "f", "--follow", "--format", "csv", "--columns", "t", "--head", "12"]);
    let mut all = follow(&lab, &["--from", "oldest"]);
    // What was appended is there before the next comes.
    let mut stdout = BufReader::new(all.stdout.take().unwrap());
    assert_eq!(lines(&mut stdout, 31), csv(0..30));
    feed.append(batch(30..40)).unwrap();
    assert_eq!(lines(&mut stdout, 10), csv(30..40)["n,t\n".len()..]);
    feed.close().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((wait(&mut all).code(), rest.as_str()), (Some(0), ""));
    for (child, text) in [(newest, csv(30..40)), (second, csv(10..40)), (early, csv(0..40))] {
        let outcome = finish(child);
        assert_eq!((outcome.status.code(), outcome.stdout, outcome.stderr), (Some(0), text, String::new()));
    }
    let outcome = finish(columns);
    let text: String = (0..12).map(|i| format!("row {i}\n")).collect();
    assert_eq!((outcome.status.code(), outcome.stdout), (Some(0), "t\n".to_owned() + &text));
    assert_eq!(lab.ok(["cat", "a", "f", "--follow", "--format", "csv", "--from", "newest"]), "n,t\n");
    // Closed, it holds what it held.
    assert_eq!(lab.ok(["cat", "a", "f", "--follow", "--format", "csv"]), csv(0..40));
    for format in ["json", "jsonl"] {
        let printed = lab.ok(["cat", "a", "f", "--follow", "--format", format]);
        assert_eq!(printed, lab.ok(["cat", "a", "f", "--format", format]), "{format}");
    }
    let table = lab.ok(["cat", "a", "f", "--follow"]);
    assert!(table.ends_with("(40 rows in 4 batches)\n"), "{table}");
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
}

#[test]
fn producers_come_and_go() {
    let (lab, writer, feed) = with_feed(8);
    feed.append(batch(0..5)).unwrap();
    let mut child = follow(&lab, &[]);
    let mut stderr = ears(&mut child);
    for i in 1..3 {
        // Whoever has the writer is no producer.
        let feed = writer.feed("f", 8, WhenFull::DropOldest).unwrap();
        feed.append(batch(i * 5..i * 5 + 5)).unwrap();
    }
    drop(feed);
    hear(&mut stderr, "the last producer of feed `f` left or died");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let feed = writer.feed("f", 8, WhenFull::DropOldest).unwrap();
    feed.append(batch(15..20)).unwrap();
    feed.close().unwrap();
    let outcome = finish(child);
    assert_eq!((outcome.status.code(), outcome.stdout), (Some(0), csv(0..20)));
    let mut more = String::new();
    stderr.read_to_string(&mut more).unwrap();
    assert_eq!(more, "", "said once");
}

#[test]
fn what_was_missed_is_said() {
    let (lab, _writer, feed) = with_feed(4);
    feed.append(batch(0..2)).unwrap();
    let mut child = follow(&lab, &[]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(lines(&mut stdout, 3), csv(0..2));
    signal(&child, Signal::SIGSTOP);
    until("it stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.contains(") T ").then_some(())
    });
    for i in 1..11 {
        feed.append(batch(i * 2..i * 2 + 2)).unwrap();
    }
    signal(&child, Signal::SIGCONT);
    let mut stderr = ears(&mut child);
    let line = hear(&mut stderr, "missed");
    assert!(line.contains("missed 6 items"), "{line}");
    feed.close().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((wait(&mut child).code(), rest.as_str()), (Some(0), &csv(14..22)["n,t\n".len()..]));
    // Of those that are gone from the beginning too.
    let outcome = lab.run(["cat", "a", "f", "--follow", "--format", "csv", "--from", "2"]);
    assert!(outcome.stderr.contains("missed "), "{outcome:?}");
    let line = lab.fails(1, ["cat", "a", "f", "--follow", "--from", "1000"]);
    assert!(line.contains("1000"), "{line}");
}

#[test]
fn ctrl_c_ends_it_and_says_how_to_go_on() {
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let (lab, _writer, feed) = with_feed(4);
        feed.append(batch(0..3)).unwrap();
        let mut child = follow(&lab, &[]);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(lines(&mut stdout, 4), csv(0..3));
        signal(&child, stop);
        let outcome = finish(child);
        assert_eq!(outcome.signal(), Some(stop as i32), "{outcome:?}");
        assert!(outcome.stderr.contains("`faretra cat a f --follow --from 1`"), "{outcome:?}");
        assert_eq!(info(&lab)["receivers"], Value::Array(vec![]));
        // Nor does it wait for ever for a feed that is not there.
        let mut child = start(&lab, &["cat", "a", "none", "--follow"]);
        let mut stderr = ears(&mut child);
        hear(&mut stderr, "no feed `none` yet");
        signal(&child, stop);
        assert_eq!(finish(child).signal(), Some(stop as i32));
    }
}

#[test]
fn a_reader_of_a_feed_that_had_enough_is_no_error() {
    let (lab, _writer, feed) = with_feed(4);
    // More than a pipe holds, and then nothing comes.
    for rows in [20_000, 2] {
        feed.append(batch(0..rows)).unwrap();
        for format in ["csv", "jsonl", "json", "table"] {
            let mut child = start(&lab, &["cat", "a", "f", "--follow", "--format", format]);
            let mut some = [0; 4];
            child.stdout.take().unwrap().read_exact(&mut some).unwrap();
            let outcome = finish(child);
            assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{format}");
        }
    }
}

#[test]
fn a_feed_is_seen_by_the_other_verbs() {
    let (lab, _writer, feed) = with_feed(3);
    for verb in [&["cat", "a", "f"][..], &["export", "a", "f", &lab.file("none.csv")]] {
        let line = lab.fails(1, verb);
        assert!(line.contains("nothing was appended to the feed `f` yet"), "{line}");
    }
    assert!(!lab.path("none.csv").exists());
    for i in 0..5 {
        feed.append(batch(i * 2..i * 2 + 2)).unwrap();
    }
    assert_eq!(lab.ok(["cat", "a", "f", "--format", "csv"]), csv(4..10));
    assert_eq!(lab.ok(["cat", "a", "f", "--columns", "n", "--format", "csv", "--head", "1"]), "n\n4\n");
    assert!(lab.ok(["cat", "a", "f"]).ends_with("(6 rows)\n"));
    for name in ["out.parquet", "out.arrow", "out.csv"] {
        let file = lab.file(name);
        assert_eq!(lab.json(["export", "a", "f", &file])["rows"], 6);
        lab.ok(["put", "a", "t", &file]);
        assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), csv(4..10), "{name}");
    }
    assert_eq!(lab.ok(["export", "a", "f", "-", "--format", "csv"]), csv(4..10));
    let line = lab.fails(1, ["export", "a", "f", &lab.file("out.npy")]);
    assert!(line.contains(".parquet"), "{line}");

    let child = follow(&lab, &[]);
    let pid = Value::from(child.id());
    let now = info(&lab);
    assert_eq!((&now["kind"], &now["capacity"], &now["depth"]), (&"feed".into(), &3.into(), &3.into()), "{now}");
    assert_eq!((&now["sent"], &now["receivers"][0], &now["closed"]), (&5.into(), &pid, &false.into()), "{now}");
    let text = lab.ok(["stat", "a"]);
    for word in ["FEED", "ITEMS", "3/3", "APPENDED", "PRODUCERS", "SUBSCRIBERS", "open"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("CHANNEL") && !text.contains("LEASED"), "{text}");
    let entry = lab.json(["ls", "a"])[0].clone();
    assert_eq!((&entry["kind"], &entry["rows"]), (&"feed".into(), &3.into()));
    assert!(lab.ok(["ls", "a"]).contains("3 items"));
    feed.close().unwrap();
    assert_eq!(finish(child).status.code(), Some(0));
    let now = info(&lab);
    assert_eq!((&now["depth"], &now["sent"], &now["closed"]), (&3.into(), &5.into(), &true.into()), "{now}");
    // Channels are another table, and other verbs'.
    let file = lab.write("rows.csv", "a\n1\n");
    for line in [lab.fails(1, ["send", "a", "f", &file]), lab.fails(1, ["recv", "a", "f"])] {
        assert!(line.contains("is a feed, not a channel") && line.contains("faretra cat a f --follow"), "{line}");
    }
    lab.ok(["send", "a", "c", &file, "--keep-open"]);
    let text = lab.ok(["stat", "a"]);
    assert!(text.contains("CHANNEL") && text.contains("FEED"), "{text}");
    let line = lab.fails(1, ["cat", "a", "c", "--follow"]);
    assert!(line.contains("`c` is a channel") && line.contains("faretra recv a c"), "{line}");
    let line = lab.fails(1, ["cat", "a", "t", "--follow"]);
    assert!(line.contains("`t` is a table") && line.contains("use `faretra cat a t`"), "{line}");
    assert!(lab.run(["cat", "a", "f", "--from", "1"]).status.code() == Some(2), "--from is for --follow");
    assert_eq!(lab.run(["cat", "a", "f", "--follow", "--from", "x"]).status.code(), Some(2));
}

#[test]
fn what_is_no_batch_is_said_and_passed_over_by_position() {
    let lab = Lab::with_arena();
    let (arena, writer) = opened(&lab);
    let feed = writer.feed_with("f", 8, WhenFull::DropOldest, Contents::Mixed).unwrap();
    feed.append(batch(0..2)).unwrap();
    feed.append(&b"bytes"[..]).unwrap();
    feed.append(batch(2..4)).unwrap();
    feed.append(batch(4..6).project(&[0]).unwrap()).unwrap();
    feed.close().unwrap();
    for verb in [&["cat", "a", "f"][..], &["export", "a", "f", &lab.file("out.csv")]] {
        let line = lab.fails(1, verb);
        assert!(line.contains("bytes") && line.contains("--follow"), "{line}");
    }
    let args = ["cat", "a", "f", "--follow", "--format"];
    let outcome = lab.run([&args[..], &["csv"]].concat());
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), csv(0..2).as_str()), "{outcome:?}");
    assert!(outcome.stderr.contains("item 1 of the feed is bytes"), "{outcome:?}");
    let outcome = lab.run([&args[..], &["csv", "--from", "2"]].concat());
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), csv(2..4).as_str()), "{outcome:?}");
    assert!(outcome.stderr.contains("other columns"), "{outcome:?}");
    let text = lab.ok([&args[..], &["jsonl", "--from", "3"]].concat());
    assert_eq!(text, "{\"n\":4}\n{\"n\":5}\n");
    assert!(lab.ok(["stat", "a"]).contains("closed"));
    drop((feed, writer, arena));
}

#[test]
fn who_follows_a_feed_that_is_removed_is_told() {
    let (lab, _writer, feed) = with_feed(4);
    feed.append(batch(0..2)).unwrap();
    let child = follow(&lab, &[]);
    lab.ok(["rm", "a", "f"]);
    let outcome = finish(child);
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), csv(0..2).as_str()), "{outcome:?}");
    assert!(outcome.stderr.contains("feed `f` was removed"), "{outcome:?}");
}
