//! Pipes into `send`: what a producer writes is received while it writes, and every end of it is told.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, mpsc};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::{DEADLINE, Lab, Outcome, finish, signal, until};

/// A producer's end of the pipe into `send`, and a receiver that prints what comes.
struct Line {
    lab: Lab,
    to_send: Option<ChildStdin>,
    send: Option<Child>,
    recv: Child,
    printed: mpsc::Receiver<String>,
}

impl Line {
    /// Nothing may be kept in a temporary directory: there is none.
    fn new(format: &str, more: &[&str]) -> Line {
        let lab = Lab::with_arena();
        let mut recv = lab.command(["recv", "a", "c", "--format", "csv"]).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(recv.stdout.take().unwrap());
        let (lines, printed) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut command = lab.command([&["send", "a", "c", "-", "--format", format], more].concat());
        let mut send = command.env("TMPDIR", "/no/such/directory").stdin(Stdio::piped()).spawn().unwrap();
        let to_send = send.stdin.take();
        Line { lab, to_send, send: Some(send), recv, printed }
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let pipe = self.to_send.as_mut().unwrap();
        pipe.write_all(bytes.as_ref()).unwrap();
        pipe.flush().unwrap();
    }

    /// The receiver prints this now, while the producer's end is open.
    fn receives(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.printed.recv_timeout(DEADLINE).as_deref(), Ok(*line));
        }
    }

    /// The producer's end is dropped; gives how `send` ended.
    fn end(mut self) -> Outcome {
        drop(self.to_send.take());
        let outcome = finish(self.send.take().unwrap());
        assert_eq!(self.lab.json(["verify", "a"])["clean"], true);
        outcome
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for child in self.send.iter_mut().chain([&mut self.recv]) {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn batch(numbers: &[i64]) -> RecordBatch {
    let texts: StringArray = numbers.iter().map(|n| Some(format!("row {n}"))).collect();
    let numbers = Int64Array::from(numbers.to_vec());
    RecordBatch::try_from_iter([("n", Arc::new(numbers) as _), ("t", Arc::new(texts) as _)]).unwrap()
}

/// The bytes of a stream: of its schema, of each batch, of its end.
fn stream(batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch(&[]).schema()).unwrap();
    let mut parts = vec![std::mem::take(writer.get_mut())];
    for batch in batches {
        writer.write(batch).unwrap();
        parts.push(std::mem::take(writer.get_mut()));
    }
    writer.finish().unwrap();
    parts.push(std::mem::take(writer.get_mut()));
    parts
}

#[test]
fn batches_of_a_stream_are_received_as_they_are_written() {
    let mut line = Line::new("arrow-stream", &[]);
    let parts = stream(&[batch(&[1, 2]), batch(&[]), batch(&[3])]);
    line.write(&parts[0]);
    line.write(&parts[1]);
    line.receives(&["n,t", "1,row 1", "2,row 2"]);
    line.write(&parts[2]);
    // In two pieces, in the middle of the metadata.
    line.write(&parts[3][..40]);
    line.write(&parts[3][40..]);
    line.receives(&["3,row 3"]);
    line.write(&parts[4]);
    // Another stream with the same columns goes on with it.
    line.write(&parts[0]);
    line.write(&parts[1]);
    line.receives(&["1,row 1", "2,row 2"]);
    let outcome = line.end();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("sent 3 batches of 5 rows"), "{outcome:?}");
}

#[test]
fn rows_of_a_csv_are_received_as_they_are_written() {
    let mut line = Line::new("csv", &[]);
    line.write("n,t\n1,");
    line.write("\"row\n");
    line.write("1\"\n");
    line.receives(&["n,t", "1,\"row", "1\""]);
    line.write("2,row 2\n3,row 3\n4,ro");
    line.receives(&["2,row 2", "3,row 3"]);
    line.write("w 4");
    let outcome = line.end();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("of 4 rows") && outcome.stdout.contains("closed"), "{outcome:?}");
}

#[test]
fn a_producer_that_never_pauses_holds_no_row_back_for_long() {
    // Rows come closer together than a pause is long, and a batch has room for more than ever come.
    let mut line = Line::new("csv", &["--type", "n=int"]);
    line.write("n\n");
    let mut pipe = line.to_send.take().unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let writing = std::thread::spawn(move || {
        let mut row = 0;
        while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) && row < 60_000 {
            row += 1;
            pipe.write_all(format!("{row}\n").as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        row
    });
    line.receives(&["n", "1", "2", "3"]);
    stop.send(()).unwrap();
    let rows = writing.join().unwrap();
    assert!(rows < 60_000, "nothing was received before the producer ended");
    let outcome = line.end();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("types of all columns are given"), "{outcome:?}");
}

#[test]
fn a_value_that_does_not_fit_later_is_told_with_its_line_and_what_was_sent() {
    let mut line = Line::new("csv", &[]);
    line.write("n,v\n1,2\n");
    line.receives(&["n,v", "1,2"]);
    line.write("2,3\n3,2.5\n4,5\n");
    line.receives(&["2,3"]);
    let outcome = line.end();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let told = &outcome.stderr;
    assert!(told.contains("line 4, column `v`: `2.5` is no int64") && told.contains("--type v=float64"), "{told}");
    assert!(told.contains("of 2 rows were sent") && told.contains("not closed"), "{told}");

    // Said beforehand, or seen in more rows, it fits.
    for more in [["--type", "v=float64"], ["--infer-rows", "3"]] {
        let mut line = Line::new("csv", &more);
        line.write("n,v\n1,2\n");
        line.write("2,3\n3,2.5\n");
        line.receives(&["n,v", "1,2.0", "2,3.0", "3,2.5"]);
        let outcome = line.end();
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    }
}

#[test]
fn a_producer_that_dies_in_the_middle_is_told_and_what_was_complete_was_sent() {
    let parts = stream(&[batch(&[1, 2]), batch(&[3])]);
    let cut = parts[2].len();
    for kept in [3, 7, 50, cut - 1] {
        let mut line = Line::new("arrow-stream", &[]);
        line.write(parts[..2].concat());
        line.write(&parts[2][..kept]);
        line.receives(&["n,t", "1,row 1", "2,row 2"]);
        let outcome = line.end();
        assert_eq!(outcome.status.code(), Some(1), "{kept}: {outcome:?}");
        let told = &outcome.stderr;
        assert!(told.contains("in the middle of message 3") && told.contains("1 batch of 2 rows"), "{kept}: {told}");
    }
    for (rest, why) in [("3", "line 3 has 1 field"), ("3,\"ro", "row of line 3 is never closed")] {
        let mut line = Line::new("csv", &[]);
        line.write("n,t\n1,x\n");
        line.receives(&["n,t", "1,x"]);
        line.write(rest);
        let outcome = line.end();
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(why) && outcome.stderr.contains("1 batch of 1 row"), "{outcome:?}");
    }
    // Nothing, and what is no stream, is told at once and not waited for.
    for (bytes, why) in [(&b""[..], "nothing came"), (b"n,t\n1,2\n", "not Arrow IPC"), (&[0xff; 12], "not Arrow IPC")] {
        let mut line = Line::new("arrow-stream", &[]);
        line.write(bytes);
        let outcome = line.end();
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    }
    // A message that promises more than anybody has is waited for, not made room for.
    let mut line = Line::new("arrow-stream", &[]);
    line.write(parts[..2].concat());
    line.write([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0, 0, 0, 0]);
    line.receives(&["n,t", "1,row 1", "2,row 2"]);
    let outcome = line.end();
    assert!(outcome.stderr.contains("in the middle of message 3, after 4 of"), "{outcome:?}");
}

#[test]
fn a_silent_pipe_is_left_at_a_signal() {
    let parts = stream(&[batch(&[1])]);
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        for (format, begun, printed) in
            [("csv", b"n\n1\n".to_vec(), ["n", "1"]), ("arrow-stream", parts[..2].concat(), ["n,t", "1,row 1"])]
        {
            let mut line = Line::new(format, &[]);
            line.write(begun);
            line.receives(&printed);
            signal(line.send.as_ref().unwrap(), stop);
            // The producer's end is open all the while.
            let pipe = line.to_send.take();
            let outcome = line.end();
            drop(pipe);
            assert_eq!(outcome.signal(), Some(stop as i32), "{outcome:?}");
            assert!(outcome.stderr.contains("1 batch of 1 row were sent"), "{outcome:?}");
        }
    }
}

#[test]
fn fifos_are_read_as_they_are_written_and_left_at_a_signal_before_anybody_writes() {
    let lab = Lab::with_arena();
    mkfifo(&lab.path("rows.csv"), Mode::from_bits_truncate(0o600)).unwrap();
    let file = lab.file("rows.csv");
    for verb in [["send", "a", "c"], ["put", "a", "t"]] {
        let child = lab.command(verb.into_iter().chain([file.as_str()])).spawn().unwrap();
        until("it has the arena open", || (!lab.json(["who", "a"]).as_array().unwrap().is_empty()).then_some(()));
        signal(&child, Signal::SIGTERM);
        assert_eq!(finish(child).signal(), Some(Signal::SIGTERM as i32), "{verb:?}");
    }
    let child = lab.command(["send", "a", "c", &file]).spawn().unwrap();
    let mut fifo = std::fs::File::options().write(true).open(&file).unwrap();
    fifo.write_all(b"n\n1\n").unwrap();
    until("a row is received", || {
        let text = lab.run(["recv", "a", "c", "--head", "1", "--format", "csv"]).stdout;
        (text == "n\n1\n").then_some(())
    });
    drop(fifo);
    let outcome = finish(child);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    // Another name of a pipe, as /dev/fd/63 is one.
    let outcome = lab.run_with(["send", "a", "d", "/dev/stdin", "--format", "csv"], b"n\n1\n");
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("first 1 rows") || outcome.stderr.contains("all 1 rows"), "{outcome:?}");
}

#[test]
fn files_in_a_pipe_are_sent_when_all_of_them_came() {
    let lab = Lab::with_arena();
    let csv = lab.write("t.csv", "n,t\n1,x\n2,y\n");
    lab.ok(["put", "a", "t", &csv]);
    for (name, format) in
        [("t.parquet", "parquet"), ("t.arrow", "arrow"), ("t.arrow", "arrow-stream"), ("t.arrows", "arrow")]
    {
        lab.ok(["export", "a", "t", &lab.file(name), "--force"]);
        let bytes = std::fs::read(lab.path(name)).unwrap();
        let outcome = lab.run_with(["send", "a", "c", "-", "--format", format], &bytes);
        assert_eq!(outcome.status.code(), Some(0), "{name} {format}: {outcome:?}");
        assert_eq!(lab.ok(["recv", "a", "c", "--format", "csv"]), "n,t\n1,x\n2,y\n");
        lab.ok(["rm", "a", "c"]);
    }
    // Types that hold the pipe's first rows and the file.
    let outcome = lab.run_with(["send", "a", "c", "-", &csv, "--format", "csv"], b"n,t\n2.5,x\n");
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert_eq!(lab.ok(["recv", "a", "c", "--format", "csv"]), "n,t\n2.5,x\n1.0,x\n2.0,y\n");
    // Batches that depend on when their rows came are not counted.
    let outcome = lab.run_with(["send", "a", "d", "-", "--format", "csv", "--skip", "1"], b"n\n1\n");
    assert_eq!(outcome.status.code(), Some(2), "{outcome:?}");
}

#[test]
fn a_silent_producer_is_not_waited_for_when_the_channel_is_gone_or_closed() {
    for (format, first) in [("csv", b"n\n1\n".to_vec()), ("arrow-stream", stream_of_one())] {
        for (verb, word) in [(&["rm", "a", "c"], "was removed"), (&["close", "a", "c"], "is closed")] {
            let mut line = Line::new(format, &[]);
            line.write(&first);
            line.receives(&["n", "1"]);
            line.lab.ok(verb);
            // Its pipe stays open, and nothing comes.
            let send = line.send.as_mut().unwrap();
            until("it ends", || send.try_wait().unwrap());
            let outcome = line.end();
            assert_eq!(outcome.status.code(), Some(1), "{format} {word}: {outcome:?}");
            assert!(outcome.stderr.lines().last().unwrap().contains(word), "{format}: {outcome:?}");
        }
    }
}

/// A stream of one batch that is not at its end.
fn stream_of_one() -> Vec<u8> {
    let column: arrow_array::ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.flush().unwrap();
    writer.get_ref().clone()
}
