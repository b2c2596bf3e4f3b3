//! Shows the API's plain promises: what is published is what is read, errors say what is wrong.

use std::sync::Arc;
use std::time::Duration;

use faretra::arrow::arrow_array::{Float64Array, RecordBatch, RecordBatchIterator, RecordBatchReader, StringArray};
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, Bundle, Error, Kind, MIB, Missing, Order, Value};
use ndarray::{Array2, Ix2, IxDyn, ShapeBuilder, array};

use crate::support::{PORTABLE, TestArena};

fn batch(rows: usize) -> RecordBatch {
    let x: Float64Array = (0..rows).map(|i| i as f64 * 0.5).collect();
    let s: StringArray = (0..rows).map(|i| (i % 7 != 0).then(|| format!("row {i}"))).collect();
    RecordBatch::try_from_iter_with_nullable([("x", Arc::new(x) as _, false), ("s", Arc::new(s) as _, true)])
        .expect("a batch")
}

/// Batches of all sizes come back equal, by name, in a second attachment.
#[test]
fn batches_round_trip() {
    let t = TestArena::new(256 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let other = t.open();
    for rows in [0, 1, 100, 10_000, 1_000_000] {
        let b = batch(rows);
        let version = writer.publish("b", &b).expect("room");
        let read = other.batch("b").expect("published");
        assert_eq!(*read, b);
        assert_eq!(read.object().version(), version);
        assert_eq!(read.object().rows(), rows as u64);
        if rows > 0 {
            let x = read.column::<f64>("x").expect("a column");
            assert_eq!(x.sum(), (rows * (rows - 1)) as f64 / 4.0);
        }
    }
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Versions rise by one, `publish_if` compares them, and they go on rising after a removal.
#[test]
fn versions_only_rise() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let v1 = w.publish_if("n", 0, &b"one"[..]).expect("absent");
    assert_eq!(v1, 1);
    assert_eq!(w.publish("n", &b"two"[..]).expect("room"), 2);
    let conflict = w.publish_if("n", 1, &b"three"[..]).expect_err("version 2 is current");
    assert!(matches!(conflict, Error::Conflict { expected: 1, found: 2, .. }), "{conflict}");
    assert!(matches!(w.publish_if("n", 0, &b"x"[..]), Err(Error::Conflict { found: 2, .. })));
    assert!(matches!(w.publish_if("m", 4, &b"x"[..]), Err(Error::Conflict { found: 0, .. })));
    assert!(w.remove("n").expect("remove"));
    assert!(!w.remove("n").expect("remove"));
    assert!(matches!(t.arena.get("n"), Err(Error::NotFound { .. })));
    assert_eq!(w.publish("n", &b"four"[..]).expect("room"), 3);
}

/// A pinned object stays as it was, whatever happens to its name.
#[test]
fn what_is_pinned_stays() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("b", batch(50_000)).expect("room");
    let pinned = t.open().batch("b").expect("published");
    let column = pinned.record_batch().column(0).clone();
    let expected = batch(50_000);
    for i in 0..20 {
        w.publish("b", batch(40_000 + i)).expect("room");
    }
    w.remove("b").expect("remove");
    assert_eq!(*pinned, expected);
    drop(pinned);
    assert_eq!(&column, expected.column(0), "one column keeps the pin");
    drop(column);
    t.arena.trim().expect("trim");
    let stats = t.arena.stats().expect("stats");
    assert_eq!((stats.live, stats.warm), (0, 0), "{stats:?}");
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Arrays of any rank and order; another type, rank or kind is named in the error.
#[test]
fn arrays_round_trip() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let c = Array2::from_shape_fn((30, 40), |(i, j)| (i * 100 + j) as f32);
    w.publish("c", c.view()).expect("room");
    w.publish("f", c.t()).expect("room");
    w.publish("s", c.slice(ndarray::s![..;-2, 3..9;3])).expect("room");
    assert_eq!(*t.arena.array::<f32, Ix2>("c").expect("c"), *c);
    assert_eq!(*t.arena.array::<f32, Ix2>("f").expect("f"), *c.t());
    let s = t.arena.array::<f32, IxDyn>("s").expect("s");
    assert_eq!(*s, *c.slice(ndarray::s![..;-2, 3..9;3]).into_dyn());
    let wrong = t.arena.array::<f64, Ix2>("c").expect_err("f32").to_string();
    assert!(wrong.contains("f32") && wrong.contains("f64"), "{wrong}");
    assert!(matches!(t.arena.array::<f32, ndarray::Ix1>("c"), Err(Error::Mismatch { .. })));
    assert!(matches!(t.arena.batch("c"), Err(Error::Mismatch { .. })));
    let info = t.arena.get("f").expect("f").array_info().expect("an array");
    assert_eq!((info.shape, info.order), (vec![40, 30], Order::Fortran));
}

/// Drafts are written in place and published without a copy.
#[test]
fn drafts_are_written_in_place() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let schema =
        Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true), Field::new("name", DataType::Utf8, true)]));
    let rows = 20_000;
    let mut d = w.draft(&schema, rows).expect("room");
    let x = d.column_mut::<f64>("x").expect("a column");
    for (i, x) in x.iter_mut().enumerate() {
        *x = i as f64;
    }
    let place = x.as_ptr() as usize;
    d.validity_mut("x").expect("nullable").set_null(3).expect("a row");
    let mut text = d.text_mut("name").expect("text");
    for i in 0..rows {
        text.push(&format!("n{i}")).expect("room");
    }
    assert!(matches!(d.column_mut::<f32>("x"), Err(Error::Mismatch { .. })));
    w.publish("d", d).expect("publish");
    let b = t.arena.batch("d").expect("published");
    assert_eq!(b.num_rows(), rows);
    assert_eq!(b.record_batch().column(0).null_count(), 1);
    let read = b.column::<f64>("x").expect("x");
    assert_eq!(read[rows - 1], (rows - 1) as f64);
    assert_eq!(
        read.as_ptr() as usize == place,
        PORTABLE,
        "readers have a mapping of their own, where there are several"
    );

    let mut a = w.draft_array::<f32, Ix2>((100, 200).f()).expect("room");
    a.view_mut().expect("a view").fill(2.5);
    w.publish("a", a).expect("publish");
    assert_eq!(t.arena.array::<f32, Ix2>("a").expect("a").sum(), 50_000.0);

    drop(w.draft(&schema, rows).expect("room"));
    drop((b, read));
    w.remove("d").expect("remove");
    w.remove("a").expect("remove");
    t.arena.trim().expect("trim");
    assert_eq!(t.arena.stats().expect("stats").live, 0);
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Tables of many batches come back as one, in order, with the schema; also with none.
#[test]
fn tables_and_bundles_round_trip() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let batches: Vec<_> = (0..5).map(|i| batch(1000 * i)).collect();
    let schema = batches[0].schema();
    let reader = RecordBatchIterator::new(batches.clone().into_iter().map(Ok), schema.clone());
    w.publish("t", Value::table(reader)).expect("room");
    let table = t.arena.table("t").expect("published");
    assert_eq!((table.num_batches(), table.num_rows()), (5, 10_000));
    let back: Vec<_> = table.reader().map(|b| b.expect("a batch")).collect();
    assert_eq!(back, batches);
    let none = RecordBatchIterator::new([], schema.clone());
    w.publish("none", Value::table(none)).expect("room");
    let none = t.arena.table("none").expect("published");
    assert_eq!((none.num_batches(), none.schema()), (0, schema.clone()));
    assert_eq!(none.reader().schema(), schema);

    let a = array![1.0, 2.0];
    let bundle = Bundle::new().with("batch", &batches[2]).with("array", a.view()).with("text", &b"hi"[..]);
    w.publish("all", bundle).expect("room");
    let all = t.arena.bundle("all").expect("published");
    assert_eq!(all.names().collect::<Vec<_>>(), ["batch", "array", "text"]);
    assert_eq!(all.get("text").expect("a member").bytes().expect("bytes"), b"hi");
    let b: faretra::Batch = all.get("batch").expect("a member").try_into().expect("a batch");
    assert_eq!(*b, batches[2]);
    assert!(all.get("nothing").is_err());
    let twice = Bundle::new().with("a", &b"1"[..]).with("a", &b"2"[..]);
    assert!(matches!(w.publish("twice", twice), Err(Error::Invalid(_))));
    let names: Vec<_> = t.arena.names().expect("names").into_iter().map(|e| (e.name, e.kind)).collect();
    assert_eq!(names, [("all".into(), Kind::Bundle), ("none".into(), Kind::Table), ("t".into(), Kind::Table)]);
    drop((b, all, table, none, back));
    for name in ["all", "t", "none"] {
        assert!(w.remove(name).expect("remove"));
    }
    t.arena.trim().expect("trim");
    assert_eq!(t.arena.stats().expect("stats").live, 0);
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Distinct errors for create on an existing name, open on a missing one, wrong names and sizes.
#[test]
fn errors_say_what_is_wrong() {
    let t = TestArena::new(MIB);
    let o = || t.options();
    assert!(matches!(o().create(&t.name), Err(Error::AlreadyExists { .. })));
    assert!(matches!(o().open("no-such-arena"), Err(Error::NotFound { what: Missing::Arena, .. })));
    for bad in ["", "a/b", ".x", "a b", &"x".repeat(300)] {
        assert!(matches!(o().create(bad), Err(Error::Invalid(_))), "{bad:?}");
    }
    assert!(matches!(o().limit(0).create("zero"), Err(Error::Invalid(_))));
    assert!(matches!(o().writers(0).create("zero"), Err(Error::Invalid(_))));
    assert!(matches!(o().limit(2).capacity(1 << 50).create("huge"), Err(Error::TooLarge { .. })));
    let w = t.arena.writer().expect("a permit");
    for bad in ["", "a\nb"] {
        assert!(matches!(w.publish(bad, &b"x"[..]), Err(Error::Invalid(_))), "{bad:?}");
    }
    let refused = w.publish(&"x".repeat(201), &b"x"[..]);
    assert!(matches!(refused, Err(Error::TooLarge { asked: 201, most: 200, .. })), "{refused:?}");
    let long = "ü".repeat(100);
    w.publish(&long, &b"x"[..]).expect("200 bytes are a name");
    assert_eq!(t.arena.get(&long).expect("published").bytes().expect("bytes"), b"x");
}

/// Waiting for a name and for a newer version; a deadline ends it.
#[test]
fn waiting_for_names() {
    let t = TestArena::new(16 * MIB);
    let soon = t.arena.wait_for_timeout("n", 0, Duration::from_millis(30));
    assert!(matches!(soon, Err(Error::TimedOut(_))));
    let arena = t.open();
    let waiter = std::thread::spawn(move || {
        let first = arena.wait_for_timeout("n", 0, Duration::from_secs(20)).expect("published");
        let next = arena.wait_for_timeout("n", first.version(), Duration::from_secs(20)).expect("published");
        (first.version(), next.version())
    });
    let w = t.arena.writer().expect("a permit");
    std::thread::sleep(Duration::from_millis(20));
    let v1 = w.publish("n", &b"1"[..]).expect("room");
    std::thread::sleep(Duration::from_millis(100));
    let v2 = w.publish("n", &b"2"[..]).expect("room");
    assert_eq!(waiter.join().expect("no panic"), (v1, v2));
}

/// Permits: no more writers than there are, and they come back.
#[test]
fn writers_are_counted() {
    let t = TestArena::with(|o| o.limit(MIB).writers(2));
    let a = t.arena.try_writer().expect("sound").expect("free");
    let b = t.open().writer().expect("free");
    assert!(t.arena.try_writer().expect("sound").is_none());
    assert!(matches!(t.arena.writer_timeout(Duration::from_millis(20)), Err(Error::TimedOut(_))));
    drop(a);
    let c = t.arena.writer_timeout(Duration::from_secs(10)).expect("one came back");
    assert!(!c.recovered());
    assert_eq!(t.arena.stats().expect("stats").writers_busy, 2);
    drop((b, c));
    assert_eq!(t.arena.stats().expect("stats").writers_busy, 0);
}

/// An ephemeral arena goes with its last participant; a kept one stays until it is removed.
#[test]
fn arenas_end() {
    let t = TestArena::with(|o| o.limit(MIB).keep(false));
    let second = t.open();
    let (path, name) = (t.arena.path().to_owned(), t.name.clone());
    let options = t.options();
    let _dir = t.close();
    assert!(path.exists());
    drop(second);
    assert!(!path.exists(), "the last to leave took the name away");
    assert!(matches!(options.open(&name), Err(Error::NotFound { .. })));

    let t = TestArena::new(MIB);
    let path = t.arena.path().to_owned();
    t.arena.writer().expect("a permit").publish("x", &b"1"[..]).expect("room");
    t.options().remove(&t.name).expect("remove");
    assert!(!path.exists());
    assert_eq!(t.arena.get("x").expect("those who have it go on").bytes().expect("bytes"), b"1");
    let again = t.options().create(&t.name).expect("the name is free");
    assert!(again.get("x").is_err());
}

/// The limit is kept to the byte; freed memory is used again; raising it helps.
#[test]
fn memory_runs_out_with_a_typed_error() {
    let t = TestArena::with(|o| o.limit(8 * MIB));
    let w = t.arena.writer().expect("a permit");
    let big = vec![7u8; 5 * MIB as usize];
    w.publish("a", &big[..]).expect("room");
    let pinned = t.arena.get("a").expect("published");
    let full = w.publish("b", &big[..]).expect_err("8 MiB are not enough");
    let Error::NoSpace { asked, free, of, .. } = &full else { panic!("{full}") };
    assert!(*asked >= 5 * MIB && *free < 5 * MIB && *of == 8 * MIB, "{full}");
    w.remove("a").expect("remove");
    let held = w.publish("b", &big[..]).expect_err("a pin keeps it");
    let Error::NoSpace { largest_holders, .. } = &held else { panic!("{held}") };
    assert_eq!(largest_holders[0].pid, std::process::id(), "{held}");
    w.publish("small", &big[..MIB as usize]).expect("a smaller one fits");
    drop(pinned);
    w.publish("b", &big[..]).expect("room again");
    t.arena.set_limit(32 * MIB).expect("below capacity");
    w.publish("c", &big[..]).expect("more room");
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Observers read everything about an arena without a seat.
#[test]
fn observers_take_no_seat() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    w.publish("b", batch(1000)).expect("room");
    let seen = t.options().observe(&t.name).expect("an arena");
    assert_eq!(seen.names().expect("names"), t.arena.names().expect("names"));
    let stats = seen.stats().expect("stats");
    assert_eq!((stats.participants, stats.names, stats.writers_busy), (1, 1, 1));
    assert_eq!(seen.who().expect("who").len(), 1);
    assert_eq!(seen.verify().expect("verify"), []);
    let listed = t.options().list().expect("list");
    let me = listed.iter().find(|i| i.name == t.name).expect("listed");
    assert_eq!((me.participants, me.problem.as_deref()), (1, None));
}

/// An attachment may be shared by threads, which read and write at once.
#[test]
fn threads_share_an_attachment() {
    let t = TestArena::new(64 * MIB);
    std::thread::scope(|s| {
        for k in 0..4u64 {
            let arena: Arena = t.arena.clone();
            s.spawn(move || {
                let w = arena.writer().expect("a permit");
                for i in 0..200u64 {
                    let value = vec![i as u8; 1000 + (k * 37 + i) as usize];
                    w.publish(&format!("n{}", (i + k) % 5), &value[..]).expect("room");
                    if let Ok(o) = arena.get(&format!("n{}", i % 5)) {
                        let bytes = o.bytes().expect("bytes");
                        assert!(bytes.iter().all(|b| *b == bytes[0]), "torn");
                    }
                    if i % 50 == 49 {
                        let _ = w.remove(&format!("n{}", i % 5)).expect("remove");
                    }
                }
            });
        }
    });
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Permits go round: eight attachments contend for one, everybody gets it, and the waits are printed. An
/// idle waiter costs next to nothing.
#[test]
fn permits_go_round() {
    let t = TestArena::with(|o| o.limit(MIB).writers(1));
    let rounds = 60;
    let turn = || {
        let arena = t.open();
        let mut waits = vec![];
        for _ in 0..rounds {
            let asked = std::time::Instant::now();
            let writer = arena.writer_timeout(Duration::from_secs(60)).expect("a permit");
            waits.push(asked.elapsed());
            std::thread::sleep(Duration::from_micros(300));
            drop(writer);
        }
        waits
    };
    let mut waits: Vec<Duration> = std::thread::scope(|s| {
        let all: Vec<_> = (0..8).map(|_| s.spawn(turn)).collect();
        all.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
    });
    waits.sort_unstable();
    assert_eq!(waits.len(), 8 * rounds);
    let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    eprintln!("8 waiters, 1 permit held 0.3 ms: median wait {median:?}, longest {longest:?}");

    let held = t.arena.writer().expect("a permit");
    let cpu = || nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).expect("usage");
    let spent = |u: nix::sys::resource::Usage| {
        let time = u.user_time() + u.system_time();
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64)
    };
    let waiter = t.open();
    let before = spent(cpu());
    let idle = Duration::from_secs(2);
    assert!(waiter.writer_timeout(idle).is_err());
    eprintln!("an idle waiter used {:?} of {idle:?}", spent(cpu()) - before);
    drop(held);
}

/// Everything that is open has the attachment, whose geometry nobody wants to read.
#[test]
fn debug_output_is_short() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let sender = w.sender("c", 4).expect("made");
    sender.send(batch(3)).expect("room");
    let receiver = t.arena.receiver("c").expect("there");
    let lease = receiver.recv().expect("sent");
    let feed = w.feed("f", 4, faretra::feed::WhenFull::Fail).expect("made");
    let subscriber = t.arena.subscribe("f", faretra::feed::Start::Oldest).expect("there");
    let mutex = t.arena.mutex("m").expect("made");
    let texts = [
        format!("{:?}", t.arena),
        format!("{w:?}"),
        format!("{sender:?}"),
        format!("{receiver:?}"),
        format!("{lease:?}"),
        format!("{feed:?}"),
        format!("{subscriber:?}"),
        format!("{mutex:?}"),
    ];
    for text in texts {
        assert!(text.len() < 2000 && text.contains("Attachment(\""), "{text}");
    }
}
