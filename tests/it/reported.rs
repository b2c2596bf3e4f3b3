//! Shows that what an arena tells of itself is so: rows of each kind of object, orders, and who keeps how much.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator};
use arrow_schema::{DataType, Field, Schema};
use faretra::feed::WhenFull;
use faretra::sync::Reset;
use faretra::{Arena, Bundle, Error, Holder, Kind, MIB, Value};
use ndarray::{Array2, Ix2};

use crate::support::{Child, Dir, TestArena};

fn batch(rows: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(0..rows))]).expect("a batch")
}

fn rows(arena: &Arena) -> Vec<(String, Kind, u64)> {
    arena.names().expect("names").into_iter().map(|e| (e.name, e.kind, e.rows)).collect()
}

/// How many rows a list of names says that each kind of object has: the same to an observer, as the object says itself,
/// under a second name, and of a copy in another arena.
#[test]
fn rows_of_each_kind() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("bytes", b"hello".as_slice()).expect("room");
    w.publish("array", Array2::<f32>::zeros((2, 3)).view()).expect("room");
    w.publish("array-drafted", w.draft_array::<u64, Ix2>((4, 5)).expect("room")).expect("room");
    w.publish("batch", batch(7)).expect("room");
    w.publish("batch-drafted", w.draft(&batch(0).schema(), 11).expect("room")).expect("room");
    w.publish("batch-large", batch(20_000)).expect("room");
    let parts = [batch(2), batch(0), batch(9)].map(Ok);
    w.publish("table", Value::table(RecordBatchIterator::new(parts, batch(0).schema()))).expect("room");
    let (three, four) = (batch(3), batch(4));
    let members = Bundle::new().with("a", &three).with("b", b"b".as_slice()).with("c", &four);
    w.publish("bundle", members).expect("room");
    let shared = [t.arena.batch("batch").expect("there"), t.arena.batch("batch-large").expect("there")];
    w.publish("table-shared", shared.as_slice()).expect("room");
    let immutable = [
        ("array", Kind::Array, 6),
        ("array-drafted", Kind::Array, 20),
        ("batch", Kind::Batch, 7),
        ("batch-drafted", Kind::Batch, 11),
        ("batch-large", Kind::Batch, 20_000),
        ("bundle", Kind::Bundle, 3),
        ("bytes", Kind::Bytes, 5),
        ("table", Kind::Table, 11),
        ("table-shared", Kind::Table, 20_007),
    ];
    let expected: Vec<_> = immutable.into_iter().map(|(name, kind, rows)| (name.to_owned(), kind, rows)).collect();
    assert_eq!(rows(&t.arena), expected);
    for entry in t.arena.names().expect("names") {
        assert_eq!(entry.bytes, t.arena.get(&entry.name).expect("listed").nbytes(), "{}", entry.name);
        assert!(
            !entry.name.ends_with("large") || entry.bytes > 160_000,
            "its column is an object of its own: {entry:?}"
        );
    }
    let other = TestArena::new(64 * MIB);
    let there = other.arena.writer().expect("a permit");
    for (name, kind, rows) in immutable {
        let object = t.arena.get(name).expect("published");
        assert_eq!((object.kind(), object.rows()), (kind, rows), "{name}");
        there.publish(name, &object).expect("room");
        w.publish(name, &object).expect("room");
    }
    assert_eq!(rows(&t.arena), expected, "second names");
    assert_eq!(rows(&other.arena), expected, "copies");

    // What changes has the rows that it has now.
    for (name, _, _) in immutable {
        w.remove(name).expect("removed");
    }
    let channel = w.sender("channel", 4).expect("made");
    let receiver = t.arena.receiver("channel").expect("there");
    let feed = w.feed("feed", 2, WhenFull::DropOldest).expect("made");
    for n in 0..3 {
        channel.send(batch(n)).expect("room");
        feed.append(batch(n)).expect("room");
    }
    let lease = receiver.recv().expect("sent");
    let grid = w.mutable_array::<f32, Ix2>("grid", (4, 2), 2).expect("room");
    let _frozen = w.mutable_array::<f32, Ix2>("frozen", (3, 3), 1).expect("room").freeze().expect("free");
    let _locks = (
        t.arena.mutex_with("mutex", 1_u64).expect("made"),
        t.arena.semaphore("semaphore", 3).expect("made"),
        t.arena.event("event", Reset::Auto).expect("made"),
        t.arena.shared_value("value", [0_u64; 4]).expect("made"),
    );
    let expected = [
        ("channel", Kind::Channel, 2),
        ("event", Kind::Event, 0),
        ("feed", Kind::Feed, 2),
        ("frozen", Kind::Array, 9),
        ("grid", Kind::MutableArray, 8),
        ("mutex", Kind::Mutex, 0),
        ("semaphore", Kind::Semaphore, 0),
        ("value", Kind::Value, 0),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(name, kind, rows)| (name.to_owned(), kind, rows)).collect();
    assert_eq!(rows(&t.arena), expected);
    let seen = t.options().observe(&t.name).expect("the arena").names().expect("names");
    assert_eq!(seen, t.arena.names().expect("names"), "an observer sees the same");
    lease.ack();
    receiver.recv().expect("sent").ack();
    drop(grid);
    assert_eq!(rows(&t.arena)[0].2, 1, "of three items one is left");
}

/// Names, channels and arenas are listed in the order of their names, whatever the order in which they came.
#[test]
fn lists_are_in_the_order_of_names() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let mut made = vec![];
    for i in [5, 2, 9, 0, 7, 1, 8, 3, 6, 4] {
        w.publish(&format!("n{i}"), b"x".as_slice()).expect("room");
        made.push(w.sender(&format!("c{i}"), 1).expect("made"));
    }
    let names: Vec<String> = t.arena.names().expect("names").into_iter().map(|e| e.name).collect();
    assert!(names.is_sorted() && names.len() == 20, "{names:?}");
    let channels: Vec<String> = t.arena.channels().expect("channels").into_iter().map(|c| c.name).collect();
    assert!(channels.is_sorted() && channels.len() == 10, "{channels:?}");
    let dir = Dir::new();
    let options = || Arena::options().dir(&dir.0).limit(MIB);
    let arenas: Vec<Arena> = ["d", "a", "c", "e", "b"].map(|name| options().create(name).expect("an arena")).into();
    let names: Vec<String> = options().list().expect("list").into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    drop(arenas);
}

fn of(who: &[Holder], child: &Child) -> Holder {
    who.iter().find(|h| h.pid == child.pid as u32).expect("it takes part").clone()
}

/// What each process pins, and what of that nothing else keeps; who keeps the most is named first when memory runs out.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "nobody knows whether a process is stopped")]
fn holders_are_told_with_what_they_keep() {
    const WORDS: [u64; 5] = [40_000, 160_000, 10_000, 320_000, 80_000];
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let mut children: Vec<Child> = WORDS.iter().map(|_| t.puppet()).collect();
    let who = t.arena.who().expect("who");
    let mut pids: Vec<u32> = children.iter().map(|c| c.pid as u32).collect();
    pids.insert(0, std::process::id());
    assert_eq!(who.iter().map(|h| h.pid).collect::<Vec<_>>(), pids, "in the order in which they came");
    assert_eq!(who.iter().map(|h| h.this_process).collect::<Vec<_>>(), [true, false, false, false, false, false]);
    for (i, (child, words)) in children.iter_mut().zip(WORDS).enumerate() {
        crate::values::publish(&w, &format!("n{i}"), "bytes", i as u64, words as usize).expect("room");
        child.ask(&format!("get n{i}"));
        child.ask(&format!("get n{i}"));
    }
    // Pages, and a little in front.
    let near = |bytes: u64, words: u64| (words * 8..words * 8 + 16_384).contains(&bytes);
    for (child, words) in children.iter().zip(WORDS) {
        let h = of(&t.arena.who().expect("who"), child);
        assert_eq!((h.pins, h.only_pinned_bytes, h.drafts), (2, 0, 0), "{h:?}");
        assert!(near(h.pinned_bytes, words), "{h:?}");
    }
    // Another one pins the largest too: both keep it when its name is gone.
    children[0].ask("get n3");
    for i in 0..WORDS.len() {
        w.remove(&format!("n{i}")).expect("removed");
    }
    for (i, (child, words)) in children.iter().zip(WORDS).enumerate() {
        let h = of(&t.arena.who().expect("who"), child);
        let words = if i == 0 { words + WORDS[3] } else { words };
        assert_eq!(h.pins, if i == 0 { 3 } else { 2 });
        assert!(near(h.pinned_bytes, words) && h.only_pinned_bytes == h.pinned_bytes, "{i}: {h:?}");
    }
    children[0].ask("unpin");
    children[0].ask("draft 40000");
    let h = of(&t.arena.who().expect("who"), &children[0]);
    assert!(h.drafts == 1 && near(h.draft_bytes, 40_000) && h.pins == 0 && h.pinned_bytes == 0, "{h:?}");
    children[1].stop();
    let too_large = vec![0_u8; 80 << 20];
    let full = w.publish("n", too_large.as_slice()).expect_err("the limit");
    let Error::NoSpace { largest_holders, .. } = &full else { panic!("{full}") };
    let told: Vec<u32> = largest_holders.iter().map(|h| h.pid).collect();
    assert_eq!(told, [3, 1, 4].map(|i: usize| children[i].pid as u32), "the three who keep most, the largest first");
    for (holder, words) in largest_holders.iter().zip([320_000, 160_000, 80_000]) {
        assert!(near(holder.bytes, words), "{full}");
        assert_eq!(holder.stopped, holder.pid == children[1].pid as u32, "{full}");
    }
    children[1].resume();
}
