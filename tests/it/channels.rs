//! Shows that channels hand over every item once, keep their order, give back what was not acknowledged, and end.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator, RecordBatchReader, StringArray};
use arrow_schema::{DataType, Field, Schema};
use faretra::channel::Contents;
use faretra::{Arena, Batch, Bundle, Bundled, Error, ForwardError, MIB, Object, RecvError, SendError, Table, Value};
use ndarray::{Ix1, array};

use crate::support::{DEADLINE, TestArena, until};

const SOON: Duration = Duration::from_millis(20);

fn batch(from: i64, rows: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let values = Int64Array::from_iter_values(from..from + rows);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).expect("a batch")
}

/// First in, first out; full and empty are told; values of every kind go through.
#[test]
fn items_come_in_their_order() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender_with("c", 3, Contents::Mixed).expect("made");
    let rx = t.open().receiver("c").expect("there");
    assert!(matches!(rx.try_recv(), Err(RecvError::Empty)));
    tx.send(batch(0, 10)).expect("room");
    tx.send(array![1.0_f64, 2.0].view()).expect("room");
    tx.send(b"bytes".as_slice()).expect("room");
    assert_eq!((tx.len(), rx.len(), rx.capacity()), (3, 3, Some(3)));
    let full = tx.try_send(b"more".as_slice());
    assert!(matches!(full, Err(SendError::Full(_))), "{full:?}");
    let late = tx.send_timeout(b"more".as_slice(), SOON).expect_err("full");
    assert!(matches!(late, SendError::TimedOut(_)), "{late:?}");
    let one = rx.recv().expect("sent");
    assert_eq!(one.batch().expect("a batch").record_batch(), &batch(0, 10));
    // What was given back is sent without another copy.
    tx.send(late.into_value().expect("given back")).expect("room");
    one.ack();
    let two = rx.recv_timeout(SOON).expect("sent");
    let values: faretra::Array<f64, Ix1> = (*two).clone().try_into().expect("an array");
    assert_eq!(values.sum(), 3.0);
    two.ack();
    for expected in [b"bytes".as_slice(), b"more"] {
        let lease = rx.recv().expect("sent");
        assert_eq!(lease.bytes().expect("bytes"), expected);
        lease.ack();
    }
    assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::TimedOut)));
    assert_eq!(values.sum(), 3.0, "what was read outlives the lease");
    drop(values);
    drop((tx, rx, w));
    t.arena.writer().expect("a permit").remove("c").expect("removed");
    t.assert_sound(0);
}

/// What is dropped comes back before newer items, and says so; the iterator acknowledges what it went past.
#[test]
fn what_is_not_acknowledged_comes_back() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender("c", 8).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    for i in 0..4 {
        tx.send(batch(i, 1)).expect("room");
    }
    let first = |lease: &faretra::Lease| lease.column::<i64>("n").expect("a column")[0];
    drop(rx.recv().expect("sent"));
    let again = rx.recv().expect("it came back");
    assert_eq!((first(&again), again.attempts()), (0, 1));
    again.ack();
    {
        let mut items = rx.iter();
        for i in 1..3 {
            let item = items.next().expect("open").expect("sent");
            assert_eq!(item.column::<i64>("n").expect("a column")[0], i);
        }
    }
    // The last one that the iterator gave was not acknowledged.
    let two = rx.recv().expect("it came back");
    assert_eq!((first(&two), two.attempts()), (2, 1));
    two.ack();
    tx.close().expect("open");
    let late = batch(9, 1);
    let refused = tx.send(&late);
    assert!(matches!(refused, Err(SendError::Closed { clean: true, .. })), "{refused:?}");
    let three = rx.recv().expect("sent before");
    let end = rx.recv_timeout(SOON);
    assert!(matches!(end, Err(RecvError::TimedOut)), "a lease is out: {end:?}");
    three.ack();
    assert!(matches!(rx.recv(), Err(RecvError::Closed { clean: true })));
    assert!(rx.iter().next().is_none());
}

/// Nothing is copied for what lies in the arena: objects sent to several channels, and forwarded.
#[test]
fn what_lies_in_the_arena_is_not_copied() {
    let t = TestArena::new(256 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("x", batch(0, 1 << 20)).expect("room");
    let txs: Vec<_> = (0..6).map(|i| w.sender(&format!("c{i}"), 2).expect("made")).collect();
    let object = t.arena.batch("x").expect("published");
    let live = t.arena.stats().expect("stats").live;
    for tx in &txs {
        tx.send(&object).expect("room");
    }
    // Schemas and aliases.
    let more = t.arena.stats().expect("stats").live - live;
    assert!(more <= 12 * 4096, "{more} bytes for six times 8 MiB");
    assert!(w.remove("x").expect("sound"));
    drop(object);
    let before = t.arena.stats().expect("stats").live;
    let mut lease = t.arena.receiver("c0").expect("there").recv().expect("sent");
    for (i, tx) in txs.iter().enumerate().skip(1) {
        lease.send(tx).expect("room");
        let rx = t.arena.receiver(&format!("c{i}")).expect("there");
        // The one that was sent there first.
        rx.recv().expect("sent").ack();
        lease = rx.recv().expect("forwarded");
    }
    let batch: Batch = lease.batch().expect("a batch");
    assert_eq!(batch.num_rows(), 1 << 20);
    assert!(t.arena.stats().expect("stats").live <= before);
    lease.ack();
    drop(batch);
    drop((txs, w));
    let w = t.arena.writer().expect("a permit");
    for i in 0..6 {
        w.remove(&format!("c{i}")).expect("sound");
    }
    drop(w);
    t.assert_sound(0);
}

/// A forward that finds no room gives the lease back; one to a closed channel too.
#[test]
fn a_forward_that_fails_gives_the_lease_back() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (a, b) = (w.sender("a", 2).expect("made"), w.sender("b", 1).expect("made"));
    a.send(batch(1, 1)).expect("room");
    b.send(batch(2, 1)).expect("room");
    let rx = t.arena.receiver("a").expect("there");
    let lease = rx.recv().expect("sent");
    let failed = lease.send_timeout(&b, SOON).expect_err("full");
    assert!(matches!(failed, ForwardError::TimedOut(_)), "{failed}");
    let lease = failed.into_lease().expect("given back");
    assert_eq!(lease.column::<i64>("n").expect("a column")[0], 1);
    drop(lease);
    let lease = rx.recv().expect("back where it came from");
    assert_eq!(lease.attempts(), 1);
    drop(t.arena.receiver("b").expect("there"));
    let failed = lease.send(&b).expect_err("nobody receives");
    assert!(matches!(failed, ForwardError::Closed { clean: false, .. }), "{failed}");
    b.close().expect("open");
    let failed = failed.into_lease().expect("given back").send(&b).expect_err("closed");
    assert!(matches!(failed, ForwardError::Closed { clean: true, .. }), "{failed}");
    assert!(failed.to_string().contains("closed"), "{failed}");
    failed.into_lease().expect("given back").ack();
    assert!(matches!(rx.try_recv(), Err(RecvError::Empty)));
}

/// The schema is known before the first batch, and another one is refused unless the channel is mixed.
#[test]
fn a_channel_has_one_schema() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender("c", 8).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    let schema = batch(0, 0).schema();
    let none = RecordBatchIterator::new(std::iter::empty(), schema.clone());
    assert_eq!(tx.send_all(none).expect("nothing to send"), 0);
    assert_eq!(rx.schema_timeout(SOON).expect("known"), schema);
    let text: Arc<StringArray> = Arc::new(StringArray::from(vec!["a"]));
    let other = RecordBatch::try_from_iter([("n", text as _)]).expect("a batch");
    let refused = tx.send(&other);
    assert!(matches!(refused, Err(SendError::Failed(Error::Mismatch { .. }))), "{refused:?}");
    let all = [batch(0, 5), batch(5, 7)].map(Ok);
    assert_eq!(tx.send_all(RecordBatchIterator::new(all, schema.clone())).expect("room"), 12);
    tx.close().expect("open");
    let reader = rx.reader().expect("known");
    assert_eq!(reader.schema(), schema);
    let rows: usize = reader.map(|b| b.expect("a batch").num_rows()).sum();
    assert_eq!(rows, 12);
    assert!(w.sender("c", 9).is_err_and(|e| e.to_string().contains("8 items")));
    assert!(w.sender("c", 0).is_err() && t.arena.receiver("none").is_err());
    assert!(t.arena.receiver_timeout("none", SOON).is_err_and(|e| matches!(e, Error::TimedOut(_))));
}

/// When the last sender or receiver leaves, the other side is told, and goes on when another one comes.
#[test]
fn ends_that_leave_are_told() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender("c", 1).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    tx.send(batch(1, 1)).expect("room");
    drop(tx);
    rx.recv().expect("sent before").ack();
    assert!(matches!(rx.recv(), Err(RecvError::Closed { clean: false })));
    let tx = w.sender("c", 1).expect("another one");
    tx.send(batch(2, 1)).expect("room");
    rx.recv().expect("goes on").ack();
    tx.send(batch(3, 1)).expect("room");
    drop(rx);
    let last = batch(4, 1);
    let alone = tx.send(&last);
    assert!(matches!(alone, Err(SendError::Closed { clean: false, .. })), "{alone:?}");
}

/// Many threads at both ends, channels of any size: everything arrives once.
#[test]
fn many_to_many() {
    for capacity in [1, 2, 7] {
        let t = TestArena::new(64 * MIB);
        let w = t.arena.writer().expect("a permit");
        const EACH: i64 = 3000;
        let tx = w.sender("c", capacity).expect("made");
        let sum = std::thread::scope(|s| {
            for p in 0..4 {
                let tx = tx.clone();
                s.spawn(move || (0..EACH).for_each(|i| tx.send(batch(p * EACH + i, 1)).expect("sent")));
            }
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let rx = t.arena.receiver("c").expect("there");
                    let one = |o: Result<Object, RecvError>| o.expect("sent").column::<i64>("n").expect("n")[0];
                    s.spawn(move || rx.iter().map(one).sum::<i64>())
                })
                .collect();
            until("everything is sent", || (sent(&t.arena) == 4 * EACH as u64).then_some(()));
            tx.close().expect("open");
            receivers.into_iter().map(|r| r.join().expect("no panic")).sum::<i64>()
        });
        assert_eq!(sum, (0..4 * EACH).sum::<i64>());
        drop((tx, w));
        t.arena.writer().expect("a permit").remove("c").expect("removed");
        t.assert_sound(0);
    }
}

/// Items that the only channel of an arena was sent so far.
fn sent(arena: &Arena) -> u64 {
    arena.channels().expect("sound")[0].sent
}

/// A batch that is larger than the arena, though each of its columns is not, is an error at once.
#[test]
fn what_could_never_fit_is_not_waited_for() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender("c", 3).expect("made");
    let column = || Arc::new(Int64Array::from_iter_values(0..1 << 20)) as arrow_array::ArrayRef;
    let wide = RecordBatch::try_from_iter(["a", "b", "c", "d"].map(|n| (n, column()))).expect("a batch");
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(matches!(tx.send(&wide), Err(SendError::NoSpace { .. }))));
    assert_eq!(end.recv_timeout(DEADLINE), Ok(true));
}

/// A table or bundle that is larger than the arena, though each of its parts is not, is an error at once.
#[test]
fn tables_and_bundles_that_could_never_fit_are_not_waited_for() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender_with("c", 3, Contents::Mixed).expect("made");
    let large = batch(0, 1 << 20);
    let table = || RecordBatchIterator::new([(); 3].map(|()| Ok(large.clone())), large.schema());
    let (done, end) = std::sync::mpsc::channel();
    std::thread::scope(|s| {
        s.spawn(|| {
            let bundle = Bundle::new().with("a", &large).with("b", Value::table(table()));
            done.send([tx.send(Value::table(table())), tx.send(bundle)].map(|r| match r {
                Err(e @ SendError::NoSpace { .. }) => e.into_value().is_some(),
                other => panic!("{other:?}"),
            }))
        });
        assert_eq!(end.recv_timeout(DEADLINE), Ok([true, true]));
    });
    drop(tx);
    assert_eq!(t.arena.channels().expect("sound")[0].depth, 0);
}

/// A sender that waits for memory goes on as soon as an item is acknowledged.
#[test]
fn a_full_arena_is_waited_for() {
    let t = TestArena::with(|o| o.limit(24 * MIB).warm(0));
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender("c", 8).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    let large = batch(0, 1 << 20);
    tx.send(&large).expect("room");
    tx.send(&large).expect("room");
    assert!(matches!(tx.send_timeout(&large, SOON), Err(SendError::NoSpace { .. })));
    std::thread::scope(|s| {
        let waiting = s.spawn(|| tx.send(&large).expect("room later"));
        rx.recv().expect("sent").ack();
        waiting.join().expect("no panic");
    });
    assert_eq!(rx.len(), 2);
}

/// Tables and bundles wait for memory too, keep nothing of it meanwhile, and come back whole from who waited in vain.
#[test]
fn tables_and_bundles_wait_for_memory() {
    let t = TestArena::with(|o| o.limit(24 * MIB).warm(0));
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender_with("c", 8, Contents::Mixed).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    let part = batch(0, 3 << 18);
    let table = || Value::table(RecordBatchIterator::new([(); 2].map(|()| Ok(part.clone())), part.schema()));
    let bundle = || Bundle::new().with("table", table()).with("bytes", b"x".as_slice());
    for bundled in [false, true] {
        let value = || if bundled { bundle().into() } else { table() };
        tx.send(value()).expect("room");
        let before = t.arena.stats().expect("sound").used;
        let Err(late @ SendError::NoSpace { .. }) = tx.send_timeout(value(), SOON) else { panic!("no room") };
        // Half of it would have found room.
        assert_eq!(t.arena.stats().expect("sound").used, before);
        let value = late.into_value().expect("given back");
        std::thread::scope(|s| {
            let waiting = s.spawn(|| tx.send(value).expect("room later"));
            rx.recv().expect("sent").ack();
            waiting.join().expect("no panic");
        });
        let lease = rx.recv().expect("sent");
        let rows = match Bundled::try_from((*lease).clone()) {
            Ok(bundle) => Table::try_from(bundle.get("table").expect("there")).expect("a table").num_rows(),
            Err(_) => Table::try_from((*lease).clone()).expect("a table").num_rows(),
        };
        assert_eq!(rows, 2 * (3 << 18));
        lease.ack();
    }
}

/// What was drafted in one arena is not taken for something in another.
#[test]
fn drafts_stay_in_their_arena() {
    let (here, there) = (TestArena::new(16 * MIB), TestArena::new(16 * MIB));
    let (w, v) = (here.arena.writer().expect("a permit"), there.arena.writer().expect("a permit"));
    let tx = v.sender_with("c", 2, Contents::Mixed).expect("made");
    let feed = v.feed_with("f", 2, faretra::feed::WhenFull::Fail, Contents::Mixed).expect("made");
    let draft = || w.draft_array::<u8, Ix1>(5).expect("room");
    let refused = [
        tx.send(draft()).expect_err("another arena's").to_string(),
        feed.append(draft()).expect_err("another arena's").to_string(),
        v.publish("x", draft()).expect_err("another arena's").to_string(),
        v.publish("x", Bundle::new().with("a", draft())).expect_err("another arena's").to_string(),
    ];
    assert!(refused.iter().all(|text| text.contains("cannot be used in arena")), "{refused:?}");
    drop((tx, feed));
    for name in ["c", "f"] {
        v.remove(name).expect("sound");
    }
    drop((w, v));
    here.assert_sound(0);
    there.assert_sound(0);
}

/// A lease that is being forwarded may come back: a closed channel is not drained before that is settled.
#[test]
fn a_forward_under_way_is_outstanding() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (a, b) = (w.sender("a", 2).expect("made"), w.sender("b", 1).expect("made"));
    a.send(batch(1, 1)).expect("room");
    b.send(batch(2, 1)).expect("room");
    a.close().expect("open");
    let rx = t.arena.receiver("a").expect("there");
    let lease = rx.recv().expect("sent");
    std::thread::scope(|s| {
        let forward = s.spawn(|| lease.send_timeout(&b, Duration::from_millis(300)).map_err(drop));
        until("it is on its way", || {
            t.arena.channels().expect("sound").iter().any(|c| c.name == "b" && !c.blocked.is_empty()).then_some(())
        });
        let end = rx.recv_timeout(SOON);
        assert!(matches!(end, Err(RecvError::TimedOut)), "{end:?}");
        assert!(forward.join().expect("no panic").is_err());
    });
    let again = rx.recv_timeout(DEADLINE).expect("it came back");
    assert_eq!(again.attempts(), 1);
    again.ack();
    assert!(matches!(rx.recv(), Err(RecvError::Closed { clean: true })));
}

/// A stream ends with its first error; tables are read as their batches; what has no schema is no stream.
#[test]
fn streams_end() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let tx = w.sender("c", 8).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    let parts = [batch(0, 2), batch(2, 3)].map(Ok);
    tx.send(Value::table(RecordBatchIterator::new(parts, batch(0, 0).schema()))).expect("room");
    tx.send(b"no batch".as_slice()).expect("room");
    let seen: Vec<_> = rx.reader().expect("a schema").map(|b| b.map(|b| b.num_rows()).ok()).collect();
    assert_eq!(seen, [Some(2), Some(3), None]);
    let left = rx.recv().expect("it is still there");
    assert_eq!((left.bytes().expect("bytes"), left.attempts()), (b"no batch".as_slice(), 1));
    left.ack();
    w.sender_with("mixed", 1, Contents::Mixed).expect("made").close().expect("open");
    let none = t.arena.receiver("mixed").expect("there").reader().map(drop);
    assert!(none.is_err_and(|e| e.to_string().contains("mixed contents")));
}

/// `?` takes errors of owned values out of a function that returns any error, and those of borrowed ones as the crate's own.
#[test]
fn refused_values_go_through_question_marks() {
    type Anything = Box<dyn std::error::Error + Send + Sync>;
    fn owned(t: &TestArena) -> Result<(), Anything> {
        let w = t.arena.writer()?;
        let sender = w.sender("c", 1)?;
        sender.send(batch(1, 1))?;
        t.arena.receiver("c")?.recv()?.send(&w.sender("d", 1)?)?;
        sender.close().expect("open");
        Ok(sender.send(String::from("late"))?)
    }
    fn borrowed(t: &TestArena) -> faretra::Result<()> {
        let batch = batch(1, 1);
        Ok(t.arena.writer()?.sender("c", 1)?.send(&batch)?)
    }
    let t = TestArena::new(64 * MIB);
    let late = owned(&t).expect_err("closed");
    assert!(matches!(late.downcast_ref::<SendError<'static>>(), Some(SendError::Closed { clean: true, .. })), "{late}");
    assert!(matches!(borrowed(&t), Err(Error::NotSent("the channel is closed"))));
}

/// The other end of a channel is found without its name, and each end knows how many processes are at both.
#[test]
fn the_other_end_needs_no_name() {
    let t = TestArena::new(16 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let sender = writer.sender("jobs", 2).expect("made");
    let receiver = t.arena.receiver("jobs").expect("made");
    assert!(writer.remove("jobs").expect("ours"));
    drop(sender);
    assert_eq!(receiver.peers().map(|p| (p.senders, p.receivers)).expect("ours"), (0, 1));
    let again = receiver.sender(&writer).expect("the same arena");
    assert_eq!(receiver.peers().map(|p| (p.senders, p.receivers)).expect("ours"), (1, 1));
    again.send("a").expect("room");
    assert_eq!(receiver.try_recv().expect("an item").bytes().expect("bytes"), b"a");
    let other = TestArena::new(16 * MIB);
    let stranger = other.arena.writer().expect("a permit");
    assert!(matches!(receiver.sender(&stranger), Err(Error::Invalid(_))));
}
