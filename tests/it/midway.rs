//! Shows that what is held is held once, whatever becomes of the guard, lease or stream that holds it on the way.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator, RecordBatchReader};
use faretra::channel::Contents;
use faretra::{Arena, Kind, Lease, MIB, Receiver, RecvError, Value};

use crate::support::TestArena;

fn batch(n: i64) -> RecordBatch {
    let values: Int64Array = [n].into_iter().collect();
    RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).expect("a batch")
}

fn number(lease: &Lease) -> i64 {
    lease.column::<i64>("n").expect("a column")[0]
}

/// A guard that becomes its own keeps what was written through it before, stores what is written after, and unlocks once.
#[test]
fn a_guard_that_becomes_its_own() {
    let t = TestArena::new(16 * MIB);
    let m = t.arena.mutex_with("m", [1_u64, 2, 3]).expect("made");
    let mut before = m.lock().expect("free");
    before[0] = 10;
    let owned = before.into_owned();
    assert_eq!(*owned, [10, 2, 3]);
    assert!(m.is_locked().expect("sound"), "it is one guard still");
    drop(owned);
    assert_eq!(*m.lock().expect("free"), [10, 2, 3], "written before");
    let mut owned = m.lock().expect("free").into_owned();
    owned[1] = 20;
    drop(owned);
    assert_eq!(*m.lock().expect("free"), [10, 20, 3], "written after");
    let mut owned = t.arena.mutex_with("m", [0_u64; 3]).expect("there").lock().expect("free").into_owned();
    owned[2] = 30;
    // In another thread, when the handle is gone.
    std::thread::spawn(move || drop(owned)).join().expect("no panic");
    assert_eq!(*m.lock().expect("free"), [10, 20, 30]);
    assert!(!m.is_locked().expect("sound"));
}

/// That a holder died is told to who has the guard, its own or borrowed; said to be consistent, it stays so.
#[test]
fn a_guard_that_becomes_its_own_is_told() {
    let t = TestArena::new(16 * MIB);
    let m = t.arena.mutex_with("m", 1_u64).expect("made");
    for own_first in [true, false] {
        let inner = m.clone();
        let panicked = std::thread::spawn(move || {
            let mut guard = inner.lock().expect("free").into_owned();
            *guard = 99;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        let told = m.lock().expect("free").into_owned();
        assert!(told.recovered() && *told == 1, "nothing was stored");
        drop(told);
        let mut guard = m.lock().expect("free");
        assert!(guard.recovered(), "nobody has said that it is consistent");
        if own_first {
            let mut guard = guard.into_owned();
            guard.mark_consistent();
        } else {
            guard.mark_consistent();
            drop(guard.into_owned());
        }
        assert!(!m.lock().expect("free").recovered());
    }
}

/// A permit that becomes its own comes back once, and can be used up.
#[test]
fn a_permit_that_becomes_its_own() {
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore("s", 2).expect("made");
    let owned = s.acquire().expect("free").into_owned();
    assert_eq!(s.available().expect("sound"), 1);
    let other = s.acquire().expect("free");
    drop(owned);
    assert_eq!(s.available().expect("sound"), 1, "its own, not the other one's");
    drop(other);
    assert_eq!(s.available().expect("sound"), 2);
    s.acquire().expect("free").into_owned().forget();
    assert_eq!(s.available().expect("sound"), 1);
    s.release().expect("one was used up");
    assert!(s.release().is_err());
    let held = [s.acquire().expect("free").into_owned(), s.acquire().expect("free").into_owned()];
    drop(s);
    assert_eq!(t.arena.semaphore("s", 2).expect("there").available().expect("sound"), 0);
    drop(held);
    assert_eq!(t.arena.semaphore("s", 2).expect("there").available().expect("sound"), 2);
}

/// An item of channel `a` that was given back so many times.
fn given_back(receiver: &Receiver, times: u64) -> Lease {
    for n in 0..times {
        assert_eq!(receiver.recv().expect("there").attempts(), n);
    }
    receiver.recv().expect("there")
}

/// A lease that could not be sent on says as before how often the item was received, whatever was in the way; dropped with
/// the error, the item goes back and is received once more.
#[test]
fn a_failed_forward_counts_no_attempt() {
    let t = TestArena::new(64 * MIB);
    let elsewhere = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let there = elsewhere.arena.writer().expect("a permit");
    let a = w.sender_with("a", 1, Contents::Mixed).expect("made");
    let receiver = t.arena.receiver("a").expect("there");
    let full = w.sender("full", 1).expect("made");
    let closed = w.sender("closed", 1).expect("made");
    let deserted = w.sender("deserted", 1).expect("made");
    drop(t.arena.receiver("deserted").expect("there"));
    let typed = w.sender("typed", 2).expect("made");
    let far = there.sender("far", 1).expect("made");
    let kept = (t.arena.receiver("full").expect("there"), elsewhere.arena.receiver("far").expect("there"));
    full.send(batch(0)).expect("room");
    deserted.send(batch(0)).expect("room");
    far.send(batch(0)).expect("room");
    let other: Int64Array = [1].into_iter().collect();
    typed.send(RecordBatch::try_from_iter([("other", Arc::new(other) as _)]).expect("a batch")).expect("room");
    closed.close().expect("open");
    let ways = [(&full, "full"), (&closed, "closed"), (&deserted, "left or died"), (&typed, "schema"), (&far, "full")];
    for (to, why) in ways {
        for attempts in [0, 2] {
            a.send(batch(7)).expect("room");
            let lease = given_back(&receiver, attempts);
            let failed = lease.send_timeout(to, Duration::from_millis(5)).expect_err(why);
            assert!(failed.to_string().contains(why), "{failed}, not {why}");
            let lease = failed.into_lease().expect("given back");
            assert_eq!((lease.attempts(), number(&lease)), (attempts, 7), "{why}");
            let failed = lease.send_timeout(to, Duration::ZERO).expect_err(why);
            drop(failed);
            let lease = receiver.try_recv().expect("it is back");
            assert_eq!((lease.attempts(), number(&lease)), (attempts + 1, 7), "{why}");
            lease.ack();
            assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)), "{why}");
        }
    }
    drop(kept);
}

fn received(arena: &Arena, name: &str) -> (u64, u64) {
    let info = arena.channels().expect("channels").into_iter().find(|c| c.name == name).expect("made");
    (info.depth, info.leased + info.returned)
}

/// A stream of batches that is dropped after it handed out some gives the item back that they are of, and only that.
#[test]
fn a_stream_that_is_dropped() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let a = w.sender("a", 8).expect("made");
    let receiver = t.arena.receiver("a").expect("there");
    let table = || Value::table(RecordBatchIterator::new([10, 11].map(|n| Ok(batch(n))), batch(0).schema()));
    let send_all = || {
        a.send(batch(1)).expect("room");
        a.send(table()).expect("room");
        a.send(batch(3)).expect("room");
    };
    send_all();
    let numbers = |stream: &mut dyn RecordBatchReader, n: usize| -> Vec<i64> {
        stream.take(n).map(|b| b.expect("a batch").column(0).as_primitive::<Int64Type>().value(0)).collect()
    };
    // Nothing was asked for: nothing was taken.
    drop(receiver.reader().expect("a schema"));
    assert_eq!(received(&t.arena, "a"), (3, 0));
    // One batch was handed out, which nobody may have looked at yet.
    let mut stream = receiver.reader().expect("a schema");
    assert_eq!(numbers(&mut stream, 1), [1]);
    drop(stream);
    assert_eq!(receiver.recv().expect("it came back").attempts(), 1);
    // Half of a table, and all of it, is the table: it is acknowledged when what follows it is asked for.
    for taken in [2, 3] {
        let mut stream = receiver.reader().expect("a schema");
        assert_eq!(numbers(&mut stream, taken), [1, 10, 11][..taken]);
        drop(stream);
        let left: Vec<Lease> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        let left: Vec<_> = left.into_iter().map(|lease| (lease.kind(), lease.attempts(), lease.ack())).collect();
        assert_eq!(left, [(Kind::Table, 1, ()), (Kind::Batch, 0, ())], "after {taken} batches");
        send_all();
    }
    a.close().expect("open");
    let all = numbers(&mut receiver.reader().expect("a schema"), 9);
    assert_eq!(all, [1, 10, 11, 3], "each once");
    assert!(matches!(receiver.recv(), Err(RecvError::Closed { clean: true })), "the last was acknowledged at the end");
}

/// An iterator that is dropped gives back the item that it handed out last.
#[test]
fn an_iterator_that_is_dropped() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let a = w.sender("a", 8).expect("made");
    let receiver = t.arena.receiver("a").expect("there");
    (0..4).for_each(|n| a.send(batch(n)).expect("room"));
    for n in 0..3 {
        let mut items = receiver.iter();
        let object = items.next().expect("there").expect("sent");
        assert_eq!(object.column::<i64>("n").expect("a column")[0], n);
        let next = items.next().expect("there").expect("sent");
        drop(items);
        assert_eq!(next.column::<i64>("n").expect("a column")[0], n + 1, "what was read stays");
    }
    let lease = receiver.recv().expect("there");
    assert_eq!((number(&lease), lease.attempts()), (3, 1));
    lease.ack();
    a.close().expect("open");
    assert_eq!(receiver.iter().count(), 0);
}
