//! How many instructions operations take, counted by valgrind: the same on a busy machine as on an idle one.
//!
//! ```text
//! cargo xtask counts              counts them and compares with `benches/counts/baseline.json`
//! cargo xtask counts --write      accepts what it counted
//! cargo xtask counts --locked     says where the locked instructions of each are
//! cargo run --release -p counts   lists the operations
//! ```
//!
//! `counts OPERATION TIMES` does one operation that many times in [`counted`], the function in which callgrind counts, after as many
//! rounds that are not counted. One thread does it all, and nothing waits: so the counts are the same each time. They are the
//! machine's (its C library copies in its own ways) and the compiler's too, and both are written down beside them.
#![allow(clippy::print_stdout, reason = "a program is there to print")]

use std::error::Error;

use faretra::arrow::arrow_array::{Float64Array, RecordBatch};
use faretra::feed::{Start, WhenFull};
use faretra::{Arena, Array, MIB, Select, Writer};
use ndarray::Ix1;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What operations work on: an arena small enough for valgrind, and a participant that only reads.
struct Here {
    arena: Arena,
    writer: Writer,
    reader: Arena,
}

impl Here {
    fn new() -> Outcome<Here> {
        // The same length whatever the number of the process: names are hashed, and compared.
        let name = format!("counts-{:010}", std::process::id());
        let arena = Arena::options().capacity(256 * MIB).limit(64 * MIB).keep(false).create(&name)?;
        let here = Here { writer: arena.writer()?, reader: Arena::open(&name)?, arena };
        here.writer.publish("bytes", &[7_u8; 200][..])?;
        here.writer.publish("batch", &batch(10)?)?;
        here.writer.publish("array", ndarray::Array1::<f64>::ones(64).view())?;
        Ok(here)
    }
}

/// 8 KiB in that many columns of f64, `c0` and on.
fn batch(columns: usize) -> Outcome<RecordBatch> {
    let column = |c: usize| -> (String, faretra::arrow::arrow_array::ArrayRef) {
        let values = (0..1024 / columns).map(|i| (i + c) as f64);
        (format!("c{c}"), std::sync::Arc::new(Float64Array::from_iter_values(values)))
    };
    Ok(RecordBatch::try_from_iter((0..columns).map(column))?)
}

/// Runs a round as often as it is told.
type Run<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

/// Makes ready, and then runs rounds.
type Operation = fn(&Here, Run<'_>) -> Outcome;

/// Sends to one of so many channels after the other, and selects among all.
fn select(here: &Here, channels: usize, run: Run<'_>) -> Outcome {
    let name = |i: usize| format!("channel-{i:02}");
    let senders = (0..channels).map(|i| here.writer.sender(&name(i), 4)).collect::<Result<Vec<_>, _>>()?;
    let receivers = (0..channels).map(|i| here.reader.receiver(&name(i))).collect::<Result<Vec<_>, _>>()?;
    let mut select = Select::new();
    for receiver in &receivers {
        select.recv(receiver);
    }
    let mut which = 0;
    run(&mut || {
        // Never the one behind the one that was selected last, which is looked at first.
        which = (which + channels - 1) % channels;
        senders[which].send(&b"8 bytes!"[..]).map_err(|e| e.to_string()).expect("room");
        let done = select.try_select().expect("sound").expect("sent");
        done.recv(&receivers[which]).expect("an item").ack();
    });
    Ok(())
}

const OPERATIONS: &[(&str, Operation)] = &[
    ("get-drop", |here, run| {
        run(&mut || drop(black(here.reader.get("bytes").expect("published"))));
        Ok(())
    }),
    // Another handle to what is pinned.
    ("clone-drop", |here, run| {
        let object = here.reader.get("bytes")?;
        run(&mut || drop(black(object.clone())));
        Ok(())
    }),
    ("get-column-drop", |here, run| {
        run(&mut || {
            let object = here.reader.get("batch").expect("published");
            black(object.column::<f64>("c3").expect("a column")[1]);
        });
        Ok(())
    }),
    ("get-batch-of-10-drop", |here, run| {
        run(&mut || drop(black(here.reader.batch("batch").expect("a batch"))));
        Ok(())
    }),
    ("get-array-drop", |here, run| {
        run(&mut || {
            black(here.reader.array::<f64, Ix1>("array").expect("an array")[1]);
        });
        Ok(())
    }),
    ("draft-drop", |here, run| {
        run(&mut || drop(black(here.writer.draft_array::<u8, Ix1>(100).expect("room"))));
        Ok(())
    }),
    ("publish-1-KiB", |here, run| {
        let bytes = [7_u8; 1024];
        run(&mut || {
            black(here.writer.publish("published", &bytes[..]).expect("room"));
        });
        Ok(())
    }),
    ("publish-batch-8-KiB", |here, run| {
        let batch = batch(10)?;
        run(&mut || {
            black(here.writer.publish("published", &batch).expect("room"));
        });
        Ok(())
    }),
    // Of a producer and a consumer, each with an arena of its own, in place: what a hand-over costs the two together.
    ("draft-send-recv-read-ack-1-KiB", |here, run| {
        let sender = here.writer.sender("channel", 4)?;
        let receiver = here.reader.receiver("channel")?;
        run(&mut || {
            let mut draft = here.writer.draft_array::<u64, Ix1>(128).expect("room");
            draft.view_mut().expect("ours").fill(7);
            sender.send(draft).map_err(|e| e.to_string()).expect("room");
            let lease = receiver.try_recv().expect("sent");
            let array: Array<u64, Ix1> = (*lease).clone().try_into().expect("an array");
            black(array.as_slice().expect("contiguous").iter().sum::<u64>());
            drop(array);
            lease.ack();
        });
        Ok(())
    }),
    ("send-recv-ack-8-B", |here, run| {
        let sender = here.writer.sender("channel", 4)?;
        let receiver = here.reader.receiver("channel")?;
        run(&mut || {
            sender.send(&b"8 bytes!"[..]).map_err(|e| e.to_string()).expect("room");
            receiver.try_recv().expect("sent").ack();
        });
        Ok(())
    }),
    // Received, sent on as it is, received there and acknowledged; and sent in the first place.
    ("send-recv-forward-recv-ack-8-B", |here, run| {
        let sender = here.writer.sender("channel", 4)?;
        let (between, onward) = (here.reader.receiver("channel")?, here.writer.sender("onward", 4)?);
        let receiver = here.reader.receiver("onward")?;
        run(&mut || {
            sender.send(&b"8 bytes!"[..]).map_err(|e| e.to_string()).expect("room");
            between.try_recv().expect("sent").try_send(&onward).map_err(|e| e.to_string()).expect("room");
            receiver.try_recv().expect("forwarded").ack();
        });
        Ok(())
    }),
    ("send-select-of-2-ack-8-B", |here, run| select(here, 2, run)),
    ("send-select-of-64-ack-8-B", |here, run| select(here, 64, run)),
    ("append-next-8-B", |here, run| {
        let feed = here.writer.feed("feed", 16, WhenFull::DropOldest)?;
        let mut subscriber = here.reader.subscribe("feed", Start::Newest)?;
        run(&mut || {
            feed.append(&b"8 bytes!"[..]).map_err(|e| e.to_string()).expect("room");
            drop(black(subscriber.try_recv().expect("appended")));
        });
        Ok(())
    }),
    ("lock-unlock", |here, run| {
        let mutex = here.arena.mutex("mutex")?;
        run(&mut || drop(black(mutex.lock().expect("free"))));
        Ok(())
    }),
    ("acquire-release", |here, run| {
        let semaphore = here.arena.semaphore("semaphore", 1)?;
        run(&mut || drop(black(semaphore.acquire().expect("free"))));
        Ok(())
    }),
    ("value-update", |here, run| {
        let value = here.arena.shared_value("value", 0_u64)?;
        run(&mut || {
            black(value.update(|n| n + 1).expect("sound"));
        });
        Ok(())
    }),
];

fn black<T>(value: T) -> T {
    std::hint::black_box(value)
}

/// What callgrind counts: it is told this function's name.
#[inline(never)]
fn counted(times: u64, round: &mut dyn FnMut()) {
    for _ in 0..times {
        round();
    }
}

/// The same, not counted: memory becomes warm, names are found.
#[inline(never)]
fn before(times: u64, round: &mut dyn FnMut()) {
    // Another order of the two, or the two are one function to the linker.
    for _ in (0..times).rev() {
        round();
        black(times);
    }
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wanted, times] = arguments.as_slice() else {
        OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let times = times.parse()?;
    let (_, operation) = OPERATIONS.iter().find(|(name, _)| name == wanted).ok_or("there is no such operation")?;
    operation(&Here::new()?, &mut |round| {
        before(times, round);
        counted(times, round);
    })
}
