//! Shows that every subscriber of a feed sees all of it, or is told what it missed; and that feeds end.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, Field, Schema};
use faretra::feed::{Contents, Start, WhenFull};
use faretra::{AppendError, Error, MIB, Object, SubscriberError};

use crate::support::{DEADLINE, TestArena, until};

const SOON: Duration = Duration::from_millis(20);

fn batch(from: i64, rows: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let values = Int64Array::from_iter_values(from..from + rows);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).expect("a batch")
}

fn first(object: &Object) -> i64 {
    object.column::<i64>("n").expect("a column")[0]
}

/// Two subscribers see all of it, each at its own pace; the end comes after the last item.
#[test]
fn every_subscriber_sees_everything() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 4, WhenFull::DropOldest).expect("made");
    let other = t.open();
    let mut a = other.subscribe("f", Start::Oldest).expect("there");
    feed.append(batch(0, 1)).expect("room");
    let mut b = other.subscribe("f", Start::Newest).expect("there");
    let mut c = other.subscribe("f", Start::Position(0)).expect("there");
    for i in 1..4 {
        feed.append(batch(i, 1)).expect("room");
    }
    for i in 0..4 {
        assert_eq!(first(&a.recv().expect("appended")), i);
        assert_eq!(first(&c.recv_timeout(SOON).expect("appended")), i);
    }
    for i in 1..4 {
        assert_eq!(first(&b.try_recv().expect("appended")), i);
    }
    assert!(matches!(b.try_recv(), Err(SubscriberError::Empty)));
    assert!(matches!(a.recv_timeout(SOON), Err(SubscriberError::TimedOut)));
    assert_eq!(first(&t.arena.latest("f").expect("sound").expect("appended")), 3);
    feed.close().expect("room");
    assert!(matches!(a.recv(), Err(SubscriberError::Closed { clean: true })));
    assert!(matches!(a.recv(), Err(SubscriberError::Closed { clean: true })), "it stays closed");
    // The end is no item: neither counted nor passed over.
    assert_eq!(feed.position(), 4);
    let info = &other.channels().expect("sound")[0];
    assert_eq!((info.depth, info.sent, info.closed), (4, 4, true));
    let mut d = other.subscribe("f", Start::Newest).expect("there");
    assert!(matches!(d.try_recv(), Err(SubscriberError::Closed { clean: true })));
    assert!(matches!(other.subscribe("f", Start::Position(5)), Err(Error::Invalid(_))));
    let late = batch(9, 1);
    let refused = feed.append(&late);
    assert!(matches!(refused, Err(AppendError::Closed(_))), "{refused:?}");
    drop(refused);
    assert_eq!(first(&t.arena.latest("f").expect("sound").expect("before the end")), 3);
    drop((a, b, c, d, feed));
    w.remove("f").expect("removed");
    drop((w, other));
    t.assert_sound(0);
}

/// A slow subscriber is told how many it missed, and what it read before stays as it was.
#[test]
fn the_slow_are_told() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 3, WhenFull::DropOldest).expect("made");
    let mut slow = t.arena.subscribe("f", Start::Oldest).expect("there");
    feed.append(batch(0, 1000)).expect("room");
    let kept = slow.recv().expect("appended");
    for i in 1..10 {
        feed.append(batch(i, 1)).expect("room");
    }
    let lagged = slow.recv();
    assert!(matches!(lagged, Err(SubscriberError::Lagged(6))), "{lagged:?}");
    for i in 7..10 {
        assert_eq!(first(&slow.recv().expect("there")), i);
    }
    assert_eq!(kept.rows(), 1000);
    assert_eq!(first(&kept), 0);
    assert_eq!((feed.position(), feed.capacity(), slow.position()), (10, 3, 10));
    drop(feed);
    assert!(matches!(slow.recv(), Err(SubscriberError::Closed { clean: false })), "its producer left");
}

/// Producers that wait are held up by the slowest subscriber, and only as long as it is there.
#[test]
fn producers_wait_or_fail() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let wait = w.feed("f", 2, WhenFull::Block).expect("made");
    let fail = w.feed("f", 2, WhenFull::Fail).expect("the same");
    let mut reader = t.arena.subscribe("f", Start::Oldest).expect("there");
    wait.append(batch(0, 1)).expect("room");
    wait.append(batch(1, 1)).expect("room");
    let two = batch(2, 1);
    assert!(matches!(fail.append(&two), Err(AppendError::Full(_))));
    let late = wait.append_timeout(&two, SOON).expect_err("full");
    assert!(matches!(late, AppendError::TimedOut(_)), "{late:?}");
    std::thread::scope(|s| {
        assert!(late.into_value().is_some());
        let waiting = s.spawn(|| wait.append(&two).expect("as soon as there is room"));
        assert_eq!(first(&reader.recv().expect("there")), 0);
        waiting.join().expect("no panic");
    });
    drop(reader);
    for i in 3..6 {
        fail.append(batch(i, 1)).expect("nobody is waited for");
    }
    assert!(w.feed("f", 3, WhenFull::Block).is_err_and(|e| matches!(e, Error::Mismatch { .. })));
    assert!(w.feed_with("f", 2, WhenFull::Block, Contents::Mixed).is_err());
}

/// A feed whose own items fill the arena has nobody to wait for: that is told at once, and what it has stays.
#[test]
fn a_feed_that_fills_the_arena_is_told() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 8, WhenFull::DropOldest).expect("made");
    let mut reader = t.arena.subscribe("f", Start::Oldest).expect("there");
    let large = batch(0, 3 << 17);
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let appended = (0..8).map(|_| feed.append(&large)).take_while(Result::is_ok).count();
        let refused = feed.append(&large).map_err(|e| e.into_value().is_some());
        done.send((appended, refused))
    });
    let (appended, refused) = end.recv_timeout(DEADLINE).expect("in time");
    assert!((3..=5).contains(&appended), "{appended} of 3 MiB in 16");
    assert_eq!(refused, Err(true), "it gives the value back");
    (0..appended).for_each(|_| drop(reader.recv().expect("kept")));
}

/// What a feed holds is a table, without a copy; followed, it is a stream.
#[test]
fn a_feed_is_a_growing_table() {
    let t = TestArena::new(256 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 8, WhenFull::Block).expect("made");
    assert!(t.arena.snapshot("f").is_err(), "no schema yet");
    for i in 0..3 {
        feed.append(batch(i * 100_000, 100_000)).expect("room");
    }
    let table = t.arena.snapshot("f").expect("batches");
    assert_eq!((table.num_batches(), table.num_rows()), (3, 300_000));
    let live = t.arena.stats().expect("stats").live;
    w.publish("all", &table).expect("room");
    let more = t.arena.stats().expect("stats").live - live;
    assert!(more <= 4096, "{more} bytes for a table of 2.4 MB that is shared");
    let follower = t.arena.subscribe("f", Start::Oldest).expect("there");
    feed.append(batch(300_000, 1)).expect("room");
    feed.close().expect("room");
    let reader = follower.reader().expect("a schema");
    assert_eq!(reader.schema(), table.schema());
    let rows: usize = reader.map(|b| b.expect("a batch").num_rows()).sum();
    assert_eq!(rows, 300_001);
    drop((table, feed));
    w.remove("f").expect("removed");
    assert_eq!(t.arena.table("all").expect("published").num_rows(), 300_000);
    w.remove("all").expect("removed");
    drop(w);
    t.assert_sound(0);
}

/// While items come all the time, a snapshot has as many as the feed holds, one behind the other.
#[test]
fn a_snapshot_is_of_one_moment() {
    const ROUNDS: i64 = 100_000;
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    for capacity in [1, 3] {
        let feed = w.feed("f", capacity, WhenFull::DropOldest).expect("made");
        (0..capacity as i64).for_each(|i| feed.append(batch(i, 1)).expect("room"));
        std::thread::scope(|s| {
            let appends = s.spawn(|| (3..ROUNDS).for_each(|i| feed.append(batch(i, 1)).expect("room")));
            while !appends.is_finished() {
                let table = t.arena.snapshot("f").expect("batches");
                assert_eq!(table.num_batches(), capacity as u64, "of a feed of {capacity}");
                let all = (0..table.num_batches()).map(|i| first(table.batch(i).expect("a batch").object()));
                let all: Vec<i64> = all.collect();
                assert!(all.windows(2).all(|two| two[0] < two[1]), "{all:?}");
            }
        });
        drop(feed);
        w.remove("f").expect("removed");
    }
    drop(w);
    t.assert_sound(0);
}

/// Producers and subscribers that are killed or stopped: what was appended is whole and in order, nobody is waited for who
/// is dead, and nothing is left.
#[test]
fn feeds_outlive_their_ends() {
    let t = TestArena::new(64 * MIB);
    let mut producer = t.puppet();
    producer.ask("feed f 4 block");
    let (mut dies, mut stays) = (t.puppet(), t.puppet());
    dies.ask("subscribe f");
    stays.ask("subscribe f");
    producer.ask("append 0 4");
    for i in 0..4 {
        assert_eq!(stays.ask("next 30000"), i.to_string());
    }
    // The one that read nothing holds it up, until it is killed.
    producer.tell("append 4 4");
    until("it waits", || {
        let all = t.arena.channels().expect("channels");
        all[0].blocked.contains(&(producer.pid as u32)).then_some(())
    });
    dies.kill();
    assert_eq!(producer.answer().as_deref(), Ok(""));
    for i in 4..8 {
        assert_eq!(stays.ask("next 30000"), i.to_string());
    }
    // A producer that is killed in the middle of appending: whole items in order, then it is told.
    for round in 1..6 {
        producer.tell(&format!("append {} 0", round * 1_000_000));
        let first: u64 = stays.ask("next 30000").parse().expect("an item");
        assert_eq!(first, round * 1_000_000);
        producer.kill();
        let mut last = first;
        while let Ok(next) = stays.ask("next 30000").parse::<u64>() {
            assert_eq!(next, last + 1, "in order, none missing");
            last = next;
        }
        producer = t.puppet();
        producer.ask("feed f 4 block");
    }
    // A producer that is stopped holds up nobody else.
    producer.tell("append 9000000 0");
    assert_eq!(stays.ask("next 30000"), "9000000");
    producer.stop();
    let mut other = t.puppet();
    other.ask("feed f 4 drop");
    other.ask("append 50 20");
    producer.kill();
    drop((other, stays));
    t.arena.recover().expect("recovered");
    t.arena.writer().expect("a permit").remove("f").expect("removed");
    t.assert_sound(0);
}

/// The places of subscribers that died are given to others when all are taken, and those of the living are not.
#[test]
fn places_of_dead_subscribers_come_back() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 4, WhenFull::Block).expect("made");
    let mut dies = t.puppet();
    let mut stays = t.puppet();
    dies.ask("subscribe-often f 40");
    stays.ask("subscribe-often f 23");
    let mut own = t.arena.subscribe("f", Start::Oldest).expect("the last place");
    for _ in 0..2 {
        let refused = t.arena.subscribe("f", Start::Oldest).map(drop);
        assert!(matches!(refused, Err(Error::Limit { limit: 64, .. })), "{refused:?}");
    }
    let refused = stays.refuse("subscribe f");
    assert!(refused.starts_with("Limit"), "{refused}");
    dies.kill_unreaped();
    let places: Vec<_> =
        (0..40).map(|i| t.arena.subscribe("f", Start::Newest).unwrap_or_else(|e| panic!("{i}: {e}"))).collect();
    let refused = t.arena.subscribe("f", Start::Newest).map(drop);
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    // Those who have a place are waited for, as if nothing had been.
    (0..4).for_each(|i| feed.append(batch(i, 1)).expect("room"));
    assert!(matches!(feed.append_timeout(batch(4, 1), SOON), Err(AppendError::TimedOut(_))));
    assert_eq!(first(&own.recv().expect("appended")), 0);
    drop((places, own, feed));
    dies.kill();
    stays.ask("close");
    w.remove("f").expect("removed");
    drop(w);
    t.assert_sound(0);
}

/// A feed that was closed without an item ends as it should; one whose producers left without closing says so.
#[test]
fn a_feed_without_items_ends() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 4, WhenFull::DropOldest).expect("made");
    let waiting = t.arena.subscribe("f", Start::Oldest).expect("there");
    let left = std::thread::spawn(move || waiting.reader().map(drop));
    feed.close().expect("room");
    let ended = left.join().expect("no panic");
    assert!(matches!(ended, Err(SubscriberError::Closed { clean: true })), "{ended:?}");
    drop(feed);
    let ended = t.arena.subscribe("f", Start::Newest).expect("there").reader().map(drop);
    assert!(matches!(ended, Err(SubscriberError::Closed { clean: true })), "closed, and deserted too: {ended:?}");
    // Neither is there a schema where nothing but bytes was appended, whatever the subscriber missed of them.
    for (name, appended) in [("one", 1), ("two", 2), ("lap", 5)] {
        let feed = w.feed(name, 1, WhenFull::DropOldest).expect("made");
        let from_the_start = t.arena.subscribe(name, Start::Oldest).expect("there");
        (0..appended).for_each(|_| feed.append(b"no batch".as_slice()).expect("room"));
        let in_the_middle = t.arena.subscribe(name, Start::Newest).expect("there");
        feed.close().expect("room");
        drop(feed);
        w.remove(name).expect("removed");
        for subscriber in [from_the_start, in_the_middle] {
            let ended = subscriber.reader().map(drop);
            assert!(matches!(ended, Err(SubscriberError::Closed { clean: true })), "{name}: {ended:?}");
        }
    }
    drop(w.feed("g", 4, WhenFull::DropOldest).expect("made"));
    let ended = t.arena.subscribe("g", Start::Oldest).expect("there").reader().map(drop);
    assert!(matches!(ended, Err(SubscriberError::Closed { clean: false })), "{ended:?}");
}

/// The items of a feed by an iterator: what was missed is told and passed, what ended is told once.
#[test]
fn a_feed_is_iterated() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 4, WhenFull::DropOldest).expect("made");
    let mut closed = t.arena.subscribe("f", Start::Oldest).expect("there");
    let mut deserted = t.arena.subscribe("f", Start::Oldest).expect("there");
    (0..6).for_each(|i| feed.append(batch(i, 1)).expect("room"));
    let other = feed.clone();
    drop(feed);
    let mut items = deserted.iter();
    assert!(matches!(items.next(), Some(Err(SubscriberError::Lagged(2)))));
    let kept: Vec<i64> = items.by_ref().take(4).map(|item| first(&item.expect("kept"))).collect();
    assert_eq!(kept, [2, 3, 4, 5]);
    assert_eq!(first(&closed.iter().nth(1).expect("there").expect("kept")), 2, "behind what it missed");
    other.close().expect("room");
    assert_eq!(closed.iter().map(|item| first(&item.expect("kept"))).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(items.next().is_none(), "closed, before its producer left");
    drop(other);
    drop(w.feed("g", 4, WhenFull::DropOldest).expect("made"));
    let mut nothing = t.arena.subscribe("g", Start::Oldest).expect("there");
    let mut items = nothing.iter();
    assert!(matches!(items.next(), Some(Err(SubscriberError::Closed { clean: false }))));
    assert!(items.next().is_none(), "told once");
}

/// The stream of a feed whose producers left tells that once and ends; what it missed, and what is no batch, it passes.
#[test]
fn a_stream_of_a_deserted_feed_ends() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let feed = w.feed("f", 4, WhenFull::DropOldest).expect("made");
    let (a, b) =
        (t.arena.subscribe("f", Start::Oldest).expect("there"), t.arena.subscribe("f", Start::Oldest).expect("there"));
    for i in 0..5 {
        feed.append(batch(i, 1)).expect("room");
    }
    feed.append(b"no batch".as_slice()).expect("room");
    feed.append(batch(6, 1)).expect("room");
    let other = feed.clone();
    drop(feed);
    let mut stream = a.reader().expect("a schema");
    let told = |item: Option<Result<RecordBatch, _>>| -> String {
        item.map_or("end".into(), |b: Result<RecordBatch, arrow_schema::ArrowError>| match b {
            Ok(batch) => batch.num_rows().to_string(),
            Err(e) => e.to_string(),
        })
    };
    let mut said: Vec<String> = (0..5).map(|_| told(stream.next())).collect();
    drop(other);
    said.extend((0..3).map(|_| told(stream.next())));
    let missed = "External error: 3 items are gone: the feed went on without this subscriber";
    assert!(said[0] == missed && said[3].contains("bytes, not batch"), "{said:?}");
    assert_eq!([&said[1], &said[2], &said[4]], ["1", "1", "1"], "{said:?}");
    assert_eq!(said[5..], ["External error: the last producer left or died", "end", "end"]);
    // What takes the good and leaves the rest comes to an end.
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(b.reader().expect("a schema").filter_map(Result::ok).count()));
    assert_eq!(end.recv_timeout(DEADLINE), Ok(3));
}
