//! Shows that a wait of several steps has one deadline: what one step took is gone for the next.
//!
//! Each waiter has [`LIMIT`] for two steps. The first becomes possible after three quarters of it, the second after half as
//! much again. So a waiter that shares its time among them gives up in between, and one that begins anew does not.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use arrow_array::{Int64Array, RecordBatch};
use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::{AppendError, ArrayDraft, Error, MIB, MutableArray, SendError, Writer};
use ndarray::Ix1;

use crate::support::{TestArena, until};

const LIMIT: Duration = Duration::from_secs(1);

/// Runs a waiter, makes its steps possible one after the other, and returns what came of it.
fn in_two_steps<T: Send>(wait: impl FnOnce() -> T + Send, first: impl FnOnce(), second: impl FnOnce()) -> T {
    std::thread::scope(|scope| {
        let (tell, begun) = channel();
        let waiter = scope.spawn(move || {
            tell.send(Instant::now()).expect("somebody listens");
            wait()
        });
        let begun = begun.recv().expect("it begins");
        let sleep_until =
            |after: Duration| std::thread::sleep((begun + after).saturating_duration_since(Instant::now()));
        sleep_until(LIMIT * 3 / 4);
        first();
        sleep_until(LIMIT * 3 / 2);
        second();
        waiter.join().expect("no panic")
    })
}

fn batch(rows: usize) -> RecordBatch {
    let values: Int64Array = (0..rows as i64).collect();
    RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).expect("a batch")
}

#[derive(Clone, Copy, Debug)]
enum How {
    WriteAll,
    ReadAll,
    Freeze,
}

/// Two partitions that are given back one after the other. Whoever gave up keeps neither.
#[test]
fn of_partitions() {
    std::thread::scope(|scope| {
        for how in [How::WriteAll, How::ReadAll, How::Freeze] {
            scope.spawn(move || {
                let t = TestArena::new(16 * MIB);
                let w = t.arena.writer().expect("a permit");
                let grid: MutableArray<u8, Ix1> = w.mutable_array("grid", 8, 2).expect("room");
                let (one, two) = (grid.write(0).expect("free"), grid.write(1).expect("free"));
                let wait = || match how {
                    How::WriteAll => grid.write_all_timeout(LIMIT).map(drop),
                    How::ReadAll => grid.read_all_timeout(LIMIT).map(drop),
                    How::Freeze => grid.freeze_timeout(LIMIT).map(drop),
                };
                let waited = in_two_steps(wait, || drop(one), || drop(two));
                assert!(matches!(waited, Err(Error::TimedOut(LIMIT))), "{how:?}: {waited:?}");
                assert!(!grid.is_frozen().expect("sound"));
                drop(grid.try_write(0).expect("sound").expect("nobody has it"));
                drop(grid.try_write(1).expect("sound").expect("nobody has it"));
            });
        }
    });
}

/// A partition whose writer, who waits for readers, gives up; then its reader goes.
#[test]
fn of_a_partitions_writer_and_readers() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let grid: MutableArray<u8, Ix1> = w.mutable_array("grid", 8, 1).expect("room");
    let reader = grid.read(0).expect("free");
    std::thread::scope(|scope| {
        // It has the writer's lease, and waits for the reader as long as the test says.
        let (stop, stopped) = channel::<()>();
        let before = scope.spawn(|| {
            let stopped = stopped;
            while stopped.try_recv().is_err() {
                let waited = grid.write_timeout(0, LIMIT * 3 / 4).map(drop);
                assert!(matches!(waited, Err(Error::TimedOut(_))), "{waited:?}");
            }
        });
        until("it waits", || grid.try_read(0).expect("sound").is_none().then_some(()));
        stop.send(()).expect("it listens");
        let waited = in_two_steps(|| grid.write_timeout(0, LIMIT).map(drop), || {}, || drop(reader));
        assert!(matches!(waited, Err(Error::TimedOut(LIMIT))), "{waited:?}");
        before.join().expect("no panic");
    });
    drop(grid.try_write(0).expect("sound").expect("nobody has it"));
}

/// Memory that comes free, then room in the channel or feed.
#[test]
fn of_memory_and_room() {
    std::thread::scope(|scope| {
        for feeds in [false, true] {
            scope.spawn(move || {
                let t = TestArena::new(16 * MIB);
                let w = t.arena.writer().expect("a permit");
                let large = batch(3 << 17);
                let hog = || w.publish("hog", vec![0_u8; 14 << 20].as_slice()).expect("room");
                let free = || assert!(w.remove("hog").expect("removed"));
                let sent = if feeds {
                    let feed = w.feed("q", 1, WhenFull::Block).expect("made");
                    let mut subscriber = t.arena.subscribe("q", Start::Oldest).expect("there");
                    feed.append(batch(1)).expect("room");
                    hog();
                    let read = || drop(subscriber.recv().expect("appended"));
                    in_two_steps(
                        || match feed.append_timeout(&large, LIMIT) {
                            Err(AppendError::TimedOut(_)) => Ok(()),
                            other => Err(format!("{other:?}")),
                        },
                        free,
                        read,
                    )
                } else {
                    let sender = w.sender("q", 1).expect("made");
                    let receiver = t.arena.receiver("q").expect("there");
                    sender.send(batch(1)).expect("room");
                    hog();
                    let read = || receiver.recv().expect("sent").ack();
                    in_two_steps(|| is_timed_out(sender.send_timeout(&large, LIMIT)), free, read)
                };
                assert_eq!(sent, Ok(()), "to a feed: {feeds}");
            });
        }
    });
}

fn is_timed_out(sent: Result<(), SendError<'_>>) -> Result<(), String> {
    match sent {
        Err(SendError::TimedOut(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Fills the arena to the last byte, for as long as what is returned is kept.
fn fill(w: &Writer) -> Vec<ArrayDraft<u8, Ix1>> {
    // Objects of each size lie apart, so that there is room for none only when there is for none of any.
    let sizes = [1 << 20, 64 << 10, 4 << 10, 3000, 2000, 1500, 1000, 700, 500, 350, 250, 120, 64, 1];
    let all = sizes.into_iter().flat_map(|size| std::iter::from_fn(move || w.draft_array::<u8, Ix1>(size).ok()));
    all.collect()
}

/// An item that is sent on to a channel that is full and has no schema yet: memory for the schema, then room.
#[test]
fn of_a_forward() {
    let t = TestArena::new(8 * MIB);
    let w = t.arena.writer().expect("a permit");
    let from = w.sender_with("from", 1, Contents::Mixed).expect("made");
    let to = w.sender("to", 1).expect("made");
    let receiver = t.arena.receiver("to").expect("there");
    to.send(b"no batch".as_slice()).expect("room");
    from.send(batch(3)).expect("room");
    let lease = t.arena.receiver("from").expect("there").recv().expect("sent");
    let filled = fill(&w);
    let free = || drop(filled);
    let read = || receiver.recv().expect("sent").ack();
    let failed = in_two_steps(|| lease.send_timeout(&to, LIMIT), free, read).expect_err("too late");
    assert!(failed.to_string().contains("stayed full"), "{failed}");
    assert_eq!(failed.into_lease().expect("given back").rows(), 3);
    assert!(receiver.try_schema().is_ok(), "the first step was done");
}
