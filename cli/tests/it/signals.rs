//! Ctrl-C and TERM end every verb, also where it is stuck in something that asks for no signal.

use std::io::Read;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use faretra::Arena;
use faretra::feed::WhenFull;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::{Lab, ears, finish, hear, signal, until, wait};

/// Far more than the 100 ms that are promised: a test does not fail because a machine is busy.
const SOON: Duration = Duration::from_secs(20);

/// Waits until the child's main thread sleeps, look after look.
fn until_stuck(child: &Child) {
    let stat = format!("/proc/{0}/task/{0}/stat", child.id());
    let mut asleep = 0;
    until("it is stuck", || {
        thread::sleep(Duration::from_millis(5));
        let stat = std::fs::read_to_string(&stat).unwrap();
        // The state is behind the command's name, which is in parentheses.
        asleep = if stat.rsplit(") ").next().unwrap().starts_with('S') { asleep + 1 } else { 0 };
        (asleep > 20).then_some(())
    });
}

/// Sends a signal to a child that is stuck, and expects that it dies of it soon. Nothing of what it
/// is stuck in is touched meanwhile.
fn assert_dies(child: &mut Child, stop: Signal, what: &str) {
    signal(child, stop);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > SOON {
            child.kill().unwrap();
            wait(child);
            panic!("{what}: it goes on after {stop}");
        }
        thread::sleep(Duration::from_millis(1));
    };
    eprintln!("{what}: {stop} took {:?}", begun.elapsed());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(stop as i32), "{what}: {status:?}");
}

fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

fn many_rows() -> String {
    let mut text = "x,y\n".to_owned();
    text.extend((0..100_000).map(|i| format!("{i},number {i}\n")));
    text
}

/// A pipe that nobody empties holds a writer in the kernel, where it asks for no signal.
#[test]
fn a_full_pipe_is_left() {
    let lab = Lab::with_arena();
    let file = lab.write("t.csv", many_rows());
    lab.ok(["put", "a", "t", &file]);
    lab.ok(["send", "a", "c", &file, "--keep-open"]);
    for args in [
        &["cat", "a", "t", "--format", "csv"][..],
        &["cat", "a", "t", "--format", "json"],
        &["cat", "a", "t", "--head", "100000"],
        &["export", "a", "t", "-", "--format", "arrow-stream"],
        &["recv", "a", "c", "--format", "csv"],
    ] {
        for stop in [Signal::SIGINT, Signal::SIGTERM] {
            let mut child = lab.command(args).spawn().unwrap();
            until_stuck(&child);
            let full = [PollFd::new(std::os::fd::AsFd::as_fd(child.stdout.as_ref().unwrap()), PollFlags::POLLIN)];
            assert_eq!(poll(&mut full.clone(), PollTimeout::ZERO), Ok(1), "{args:?}");
            assert_dies(&mut child, stop, &args.join(" "));
            let said = said(&mut child);
            assert_eq!(said.matches("faretra: interrupted; ").count(), 1, "{said}");
            if args[0] == "recv" {
                // It was stuck in its first batch, and left ahead what is to be said.
                assert!(said.contains("0 batches of 0 rows were printed"), "{said}");
            }
        }
    }
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
    let stat = lab.json(["stat", "a"]);
    let there = ["depth", "leased", "returned"].map(|key| stat["channels"][0][key].as_u64().unwrap());
    assert_eq!(there.iter().sum::<u64>(), 2, "no batch was lost: {stat}");
}

/// Standard error is the same full pipe: nothing can be said, and it ends all the same.
#[test]
fn nobody_who_listens_is_no_reason_to_stay() {
    let lab = Lab::with_arena();
    lab.ok(["put", "a", "t", &lab.write("t.csv", many_rows())]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = lab.command(["cat", "a", "t", "--format", "csv"]);
    let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    drop(command);
    until_stuck(&child);
    assert_dies(&mut child, Signal::SIGINT, "a full pipe for both");
    drop(reader);
}

/// To open a file may wait for ever: a FIFO without a writer, a disk that does not answer.
#[test]
fn a_file_that_does_not_open_is_left() {
    let lab = Lab::with_arena();
    mkfifo(&lab.path("fifo.csv"), Mode::S_IRWXU).unwrap();
    for verb in ["put", "send"] {
        let mut child = lab.command([verb, "a", "t", &lab.file("fifo.csv")]).spawn().unwrap();
        until_stuck(&child);
        assert_dies(&mut child, Signal::SIGTERM, verb);
        assert!(said(&mut child).contains("faretra: interrupted; nothing was left half done"));
    }
    assert_eq!(lab.json(["ls", "a"]), serde_json::json!([]));
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
}

/// A pipe that stays silent, with and without something in it.
#[test]
fn a_silent_pipe_is_left() {
    let lab = Lab::with_arena();
    for (verb, format) in [("put", "csv"), ("put", "arrow-stream"), ("put", "bytes"), ("send", "csv")] {
        let mut command = lab.command([verb, "a", "t", "-", "--format", format]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        until_stuck(&child);
        assert_dies(&mut child, Signal::SIGINT, &format!("{verb} --format {format}"));
        assert_eq!(said(&mut child).matches("faretra: interrupted; ").count(), 1);
    }
    assert_eq!(lab.files(), ["faretra.a"]);
}

/// What a verb left to be said is said also when it is stuck: how to go on from here.
#[test]
fn last_words_are_said_of_a_follower_that_is_stuck() {
    let lab = Lab::with_arena();
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let writer = arena.writer().unwrap();
    let feed = writer.feed("f", 4, WhenFull::DropOldest).unwrap();
    let batch = |rows: i64| {
        let column: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("x", column)]).unwrap()
    };
    feed.append(batch(3)).unwrap();
    feed.append(batch(300_000)).unwrap();
    let mut child = lab.command(["cat", "a", "f", "--follow", "--format", "csv"]).spawn().unwrap();
    // The first item is read, and the second fills the pipe.
    let mut some = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    until_stuck(&child);
    assert_dies(&mut child, Signal::SIGINT, "a follower");
    assert!(said(&mut child).contains("--follow --from 1`"));
}

/// Waits for something in an arena ask for signals themselves, and end in their own words.
#[test]
fn waits_end_in_their_own_words() {
    let lab = Lab::with_arena();
    for (args, hint) in [(&["recv", "a", "none"][..], "no channel"), (&["cat", "a", "none", "--follow"], "no feed")] {
        let mut child = lab.command(args).spawn().unwrap();
        let mut stderr = ears(&mut child);
        hear(&mut stderr, hint);
        assert_dies(&mut child, Signal::SIGINT, &args.join(" "));
        hear(&mut stderr, "interrupted");
    }
    let mut child = lab.command(["stat", "a", "--watch"]).spawn().unwrap();
    let mut some = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    signal(&child, Signal::SIGINT);
    assert_eq!(finish(child).status.code(), Some(0), "that is how a watch ends");
}

/// The second signal ends what the first one did not, at once.
#[test]
fn a_second_signal_ends_it_too() {
    let lab = Lab::with_arena();
    mkfifo(&lab.path("fifo.csv"), Mode::S_IRWXU).unwrap();
    let mut child = lab.command(["put", "a", "t", &lab.file("fifo.csv")]).spawn().unwrap();
    until_stuck(&child);
    signal(&child, Signal::SIGINT);
    assert_dies(&mut child, Signal::SIGINT, "the second");
}

/// Another program cuts off the arena's file under a verb that uses it: one line says so, and the verb ends.
#[test]
fn a_file_that_was_cut_is_told() {
    let lab = Lab::with_arena();
    let mut child = lab.command(["recv", "a", "none"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = ears(&mut child);
    hear(&mut stderr, "no channel");
    std::fs::File::options().write(true).open(lab.path("faretra.a")).unwrap().set_len(8192).unwrap();
    assert_eq!(wait(&mut child).code(), Some(1));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("has cut off a file that is in use here (SIGBUS)") && said.lines().count() == 1, "{said}");
    assert!(lab.fails(1, ["stat", "a"]).contains("it was cut"));
    lab.ok(["rm", "a"]);
}
