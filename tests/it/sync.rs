//! Shows that locks, semaphores, events, values and mutable arrays do what they say, in one process and across them.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use faretra::sync::Reset;
use faretra::{Arena, Error, MIB, MutableArray};
use ndarray::{Ix1, Ix2};

use crate::support::{DEADLINE, PORTABLE, TestArena, until};

/// One holder at a time; the value is stored as a whole when it is unlocked.
#[test]
fn a_mutex_guards_its_value() {
    let t = TestArena::new(16 * MIB);
    let m = t.arena.mutex_with("m", [1_u64, 2, 3]).expect("made");
    let other =
        Arena::options().dir(t.dir()).open(&t.name).expect("there").mutex_with("m", [0_u64; 3]).expect("opened");
    {
        let mut guard = m.lock().expect("free");
        assert!(!guard.recovered());
        guard[1] = 20;
        assert!(other.try_lock().expect("sound").is_none());
        assert!(other.is_locked().expect("sound"));
        let waited = other.lock_timeout(Duration::from_millis(20));
        assert!(matches!(waited, Err(Error::TimedOut(_))), "{waited:?}");
    }
    assert_eq!(*other.lock().expect("free"), [1, 20, 3]);
    let wrong = t.arena.mutex("m");
    assert!(matches!(wrong, Err(Error::Mismatch { .. })), "{wrong:?}");
    t.assert_sound(0);
}

/// A panic is like a death: the value is as it was, and the next is told until it is marked consistent.
#[test]
fn a_panic_is_told() {
    let t = TestArena::new(16 * MIB);
    let m = t.arena.mutex_with("m", 1_u32).expect("made");
    let inner = m.clone();
    let panicked = std::thread::spawn(move || {
        let mut guard = inner.lock().expect("free");
        *guard = 99;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    for _ in 0..2 {
        let guard = m.lock().expect("free");
        assert!(guard.recovered());
        assert_eq!(*guard, 1);
    }
    m.lock().expect("free").mark_consistent();
    assert!(!m.lock().expect("free").recovered());
}

/// A holder can say itself that it left things half done: what a panic says in Rust, other languages say of their exceptions.
#[test]
fn what_was_left_half_done_is_told() {
    let t = TestArena::new(16 * MIB);
    let m = t.arena.mutex("m").expect("made");
    m.lock().expect("free").mark_inconsistent();
    let mut guard = m.lock().expect("free");
    assert!(guard.recovered());
    guard.mark_consistent();
    drop(guard);
    assert!(!m.lock().expect("free").recovered());

    let grid: MutableArray<u8, Ix1> = t.arena.writer().expect("a permit").mutable_array("g", 4, 2).expect("made");
    grid.write(0).expect("free").mark_inconsistent();
    let mut map = grid.write(1).expect("free").into_map().expect("mapped");
    map.mark_inconsistent();
    map.finish().expect("mapped anew");
    assert!(grid.read(0).expect("free").recovered() && grid.read(1).expect("free").recovered());
    assert!(matches!(grid.freeze(), Err(Error::Invalid(_))));
    grid.write_all().expect("free").mark_consistent();
    drop(grid.freeze().expect("consistent"));
}

/// A permit stands for nothing that could be left half done: who panics with it gives it back, and nobody is told of a death.
#[test]
fn a_permit_survives_a_panic() {
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore("s", 1).expect("made");
    let other = s.clone();
    let panicked = std::thread::spawn(move || {
        let _permit = other.acquire().expect("free");
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!s.acquire_timeout(DEADLINE).expect("free").recovered());
}

/// Permits are bounded, come back, can be used up and released.
#[test]
fn a_semaphore_counts() {
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore_with("s", 2, 3).expect("made");
    let (a, b) = (s.acquire().expect("one"), s.acquire().expect("two"));
    assert!(s.try_acquire().expect("sound").is_none());
    s.release().expect("the third was used up");
    let c = s.acquire_timeout(Duration::from_secs(5)).expect("three");
    assert!(matches!(s.release(), Err(Error::Invalid(_))));
    a.forget();
    assert_eq!(s.available().expect("sound"), 0);
    drop((b, c));
    assert_eq!((s.available().expect("sound"), s.capacity()), (2, 3));
    let wrong = t.arena.semaphore("s", 2).map(|_| ());
    assert!(wrong.is_err_and(|e| e.to_string().contains("a semaphore of 3 permits, not a semaphore of 2")));
    assert!(t.arena.semaphore("none", 0).is_err());
}

/// A manual event lets all go on, an automatic one one at a time.
#[test]
fn events() {
    let t = TestArena::new(16 * MIB);
    let manual = t.arena.event("manual", Reset::Manual).expect("made");
    let auto = t.arena.event("auto", Reset::Auto).expect("made");
    for event in [&manual, &auto] {
        assert!(matches!(event.wait_timeout(Duration::from_millis(10)), Err(Error::TimedOut(_))));
        event.set().expect("sound");
        assert!(event.is_set().expect("sound"));
    }
    assert!(manual.try_wait().expect("sound") && manual.try_wait().expect("sound"));
    assert!(auto.try_wait().expect("sound") && !auto.try_wait().expect("sound"));
    manual.reset().expect("sound");
    assert!(!manual.try_wait().expect("sound"));
    assert!(t.arena.event("auto", Reset::Manual).is_err());
    let waiter = {
        let auto = auto.clone();
        std::thread::spawn(move || auto.wait())
    };
    auto.set().expect("sound");
    waiter.join().expect("no panic").expect("set");
}

/// Words and larger values are loaded, stored, updated and exchanged.
#[test]
fn values_change_as_a_whole() {
    let t = TestArena::new(16 * MIB);
    let n = t.arena.shared_value("n", 5_u32).expect("made");
    assert_eq!(n.update(|n| n + 1).expect("sound"), 5);
    assert_eq!(n.compare_exchange(6, 7).expect("sound"), Ok(6));
    assert_eq!(n.compare_exchange(6, 8).expect("sound"), Err(7));
    assert_eq!(n.load().expect("sound"), 7);
    let big = t.arena.shared_value("big", [7_u16; 33]).expect("made");
    big.store([8; 33]).expect("sound");
    big.update(|v| v.map(|x| x + 1)).expect("sound");
    assert_eq!(big.compare_exchange([9; 33], [1; 33]).expect("sound"), Ok([9; 33]));
    assert_eq!(big.compare_exchange([9; 33], [2; 33]).expect("sound"), Err([1; 33]));
    assert_eq!(big.load().expect("sound"), [1; 33]);
    assert!(t.arena.shared_value("big", 0_u8).is_err());
    assert!(t.arena.shared_value("n", [0_u8; 4]).is_ok(), "size is what is compared");
    // Numbers of one size and two types would read each other's bits.
    let wrong = t.arena.shared_value("n", 1.0_f32).expect_err("it is a u32");
    assert!(matches!(&wrong, Error::Mismatch { found, .. } if found == "a value of type u32"), "{wrong}");
    t.assert_sound(0);
}

/// Partitions are written and read apart; frozen, it is an array like any other.
#[test]
fn a_mutable_array_is_divided() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let grid: MutableArray<f32, Ix2> = w.mutable_array("grid", (10, 3), 4).expect("room");
    let rows: Vec<_> = (0..4).map(|i| grid.rows_of(i)).collect();
    assert_eq!(rows, [0..2, 2..5, 5..7, 7..10]);
    {
        let mut one = grid.write(1).expect("free");
        one.view_mut().expect("ours").fill(1.0);
        assert!(grid.try_write(1).expect("sound").is_none() && grid.try_read(1).expect("sound").is_none());
        assert!(grid.write_all_timeout(Duration::from_millis(20)).is_err());
        let zero = grid.read(0).expect("free");
        assert!(zero.view().expect("ours").iter().all(|x| *x == 0.0));
        assert!(grid.try_read(0).expect("sound").is_some(), "readers share");
        assert!(grid.try_write(0).expect("sound").is_none());
    }
    assert!(t.arena.mutable_array::<f64, Ix2>("grid").is_err());
    assert!(t.arena.mutable_array::<f32, Ix1>("grid").is_err());
    assert!(t.arena.array::<f32, Ix2>("grid").is_err(), "not frozen yet");
    assert!(grid.write(4).is_err() && w.mutable_array::<u8, Ix1>("grid", 5, 1).is_err());
    let frozen = grid.freeze().expect("free");
    assert_eq!(frozen.sum(), 9.0);
    assert!(grid.write(0).is_err_and(|e| e.to_string().contains("frozen")));
    assert_eq!(grid.freeze().expect("again").sum(), 9.0);
    let live = t.arena.stats().expect("stats").live;
    drop((frozen, grid));
    w.remove("grid").expect("removed");
    assert!(t.arena.stats().expect("stats").live < live);
    drop(w);
    t.assert_sound(0);
}

/// `who` names what everybody holds and waits for.
#[test]
fn who_shows_holders_and_waiters() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let m = t.arena.mutex("m").expect("made");
    let s = t.arena.semaphore("s", 3).expect("made");
    let e = t.arena.event("e", Reset::Manual).expect("made");
    let g: MutableArray<u8, Ix1> = w.mutable_array("g", 8, 2).expect("room");
    let tx = w.sender("c", 1).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    tx.send(RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]).expect("a batch"))
        .expect("room");
    let lease = rx.recv().expect("sent");
    let held = (m.lock().expect("free"), s.acquire().expect("free"), s.acquire().expect("free"));
    let rows = (g.write(1).expect("free"), g.read(0).expect("free"));
    let me = || {
        let all = t.arena.who().expect("who");
        all.into_iter().find(|h| h.this_process).expect("this process")
    };
    let mut holds = me().holds;
    holds.sort();
    let expected = [
        "a lease of channel `c`",
        "mutex `m`",
        "reads partition 0 of mutable array `g`",
        "semaphore `s` x 2",
        "the receiving end of channel `c`",
        "the sending end of channel `c`",
        "writes partition 1 of mutable array `g`",
    ];
    assert_eq!(holds, expected);
    assert!(me().waits_for.is_empty());
    std::thread::scope(|scope| {
        scope.spawn(|| m.lock().map(drop));
        scope.spawn(|| e.wait());
        scope.spawn(|| rx.recv().map(|lease| lease.ack()));
        scope.spawn(|| t.arena.wait_for_timeout("later", 0, DEADLINE).map(drop));
        let mut expected = ["a name that is not there yet", "channel `c`", "event `e`", "mutex `m`"];
        expected.sort_unstable();
        until("four wait", || {
            let mut waits = me().waits_for;
            waits.sort();
            (waits == expected).then_some(())
        });
        drop(held);
        drop(lease);
        e.set().expect("sound");
        w.publish("later", b"x".as_slice()).expect("room");
    });
    drop(rows);
    assert!(me().waits_for.is_empty());
    assert!(t.arena.verify().expect("verify").is_empty());
    let info = &t.arena.channels().expect("channels")[0];
    assert_eq!((info.capacity, info.depth, info.sent, info.leased, info.returned), (Some(1), 0, 1, 0, 0));
}

/// Permits can be added above those that a semaphore was made with. They are counted: taken, given back, used up.
#[test]
fn permits_are_added_to_a_semaphore() {
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore("s", 2).expect("made");
    let same = t.arena.open_semaphore("s").expect("there");
    let (first, second) = (s.acquire().expect("free"), s.acquire().expect("free"));
    assert!(!s.is_posted().expect("sound") && s.try_acquire().expect("sound").is_none());
    same.post(3).expect("room");
    assert!(s.is_posted().expect("sound"));
    assert_eq!(s.available().expect("sound"), 3);
    let third = s.acquire_timeout(DEADLINE).expect("one was added");
    assert!(!third.recovered());
    s.acquire().expect("free").forget();
    assert_eq!(s.available().expect("sound"), 1);
    drop(third);
    assert_eq!(s.available().expect("sound"), 2);
    drop((first, second));
    assert_eq!(s.available().expect("sound"), 4);
    assert!(s.post(u32::MAX).is_err_and(|e| e.to_string().contains("are too many")));
    let none = t.arena.open_semaphore("none").map(|_| ());
    assert!(matches!(none, Err(Error::NotFound { .. })), "{none:?}");
    t.assert_sound(0);
}

/// Who waits for a permit goes on when one is added.
#[test]
fn an_added_permit_wakes_a_waiter() {
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore_with("s", 0, 1).expect("made");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| s.acquire_timeout(DEADLINE).map(|permit| permit.forget()));
        std::thread::sleep(Duration::from_millis(20));
        s.post(1).expect("room");
        waiter.join().expect("no panic").expect("in time");
    });
    assert_eq!(s.available().expect("sound"), 0);
}

/// A wait that was under way when an event was set ends, though the event is reset at once.
#[test]
fn an_event_that_is_reset_at_once_lets_its_waiters_go() {
    let t = TestArena::new(16 * MIB);
    let e = t.arena.event("e", Reset::Manual).expect("made");
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let waiter = scope.spawn(|| e.wait_timeout(DEADLINE));
            until("it sleeps", || (!t.arena.who().expect("who")[0].waits_for.is_empty()).then_some(()));
            e.set().expect("sound");
            e.reset().expect("sound");
            waiter.join().expect("no panic").expect("in time");
        }
    });
    assert!(!e.is_set().expect("sound") && !e.try_wait().expect("sound"));
    assert_eq!(t.arena.open_event("e").expect("there").how_reset(), Reset::Manual);
}

/// Waiters are told in the order that they came, each once; one that leaves untold takes nothing, and one that is dropped when it
/// was told tells another.
#[test]
fn a_condition_tells_its_waiters_one_by_one() {
    let t = TestArena::new(16 * MIB);
    let c = t.arena.condition("c").expect("made");
    let same = t.arena.open_condition("c").expect("there");
    let waiters: Vec<_> = (0..4).map(|_| c.enlist().expect("room")).collect();
    assert_eq!(same.waiting().expect("sound"), 4);
    assert_eq!(same.notify(2).expect("sound"), 2);
    let told = |waiters: &[faretra::sync::Waiter]| -> Vec<bool> {
        waiters.iter().map(|waiter| waiter.try_wait().expect("sound")).collect()
    };
    assert_eq!(told(&waiters), [true, true, false, false]);
    let mut waiters = waiters.into_iter();
    drop(waiters.next());
    let mut waiters: Vec<_> = waiters.collect();
    assert_eq!(told(&waiters), [true, true, false], "what the first was told went to the third");
    assert!(matches!(waiters[2].wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut(_))));
    assert!(!waiters.pop().expect("one").leave());
    assert_eq!(c.notify_all().expect("sound"), 0);
    assert!(waiters.into_iter().all(faretra::sync::Waiter::leave));
    let all: Vec<_> = (0..faretra::sync::MAX_WAITERS).map(|_| c.enlist().expect("room")).collect();
    let more = c.enlist().map(|_| ());
    assert!(matches!(more, Err(Error::TooLarge { asked: 1025, most: 1024, .. })), "{more:?}");
    drop(all);
    assert_eq!((c.waiting().expect("sound"), c.lost().expect("sound")), (0, 0));
    let wrong = t.arena.event("c", Reset::Auto).map(|_| ());
    assert!(matches!(wrong, Err(Error::Mismatch { .. })), "{wrong:?}");
    t.assert_sound(0);
}

/// A waiter that sleeps is woken, and no other is.
#[test]
fn a_told_waiter_is_woken() {
    let t = TestArena::new(16 * MIB);
    let c = t.arena.condition("c").expect("made");
    let (first, second) = (c.enlist().expect("room"), c.enlist().expect("room"));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| first.wait_timeout(DEADLINE));
        std::thread::sleep(Duration::from_millis(20));
        c.notify(1).expect("sound");
        waits.join().expect("no panic").expect("in time");
        assert!(!second.try_wait().expect("sound"));
    });
}

/// Bytes that everybody may write: the same through each map, apart from mutable arrays, and never frozen.
#[test]
fn shared_bytes_are_shared() {
    let t = TestArena::new(16 * MIB);
    let made = t.arena.writer().expect("one").shared_bytes("b", 100_000).expect("room");
    let same = t.arena.shared_bytes("b").expect("there");
    assert_eq!((made.len(), same.len(), made.is_empty()), (100_000, 100_000, false));
    assert_eq!(made.as_ptr() == same.as_ptr(), PORTABLE, "each is a map of its own, where there are several");
    assert_eq!(made.as_ptr().addr() % 64, 0);
    let array = t.arena.mutable_array::<u8, Ix1>("b").map(|_| ());
    assert!(matches!(array, Err(Error::Mismatch { ref found, .. }) if found == "shared bytes"), "{array:?}");
    t.arena.writer().expect("one").mutable_array::<u8, Ix1>("a", 8, 2).expect("room");
    let bytes = t.arena.shared_bytes("a").map(|_| ());
    assert!(matches!(bytes, Err(Error::Mismatch { .. })), "{bytes:?}");
    let none = t.arena.writer().expect("one").shared_bytes("none", 0).expect("room");
    assert!(none.is_empty() && none.as_ptr().is_null());
    // They stay while somebody has them mapped.
    t.arena.writer().expect("one").remove("b").expect("there");
    drop(made);
    assert!(t.arena.shared_bytes("b").is_err());
    assert_eq!(same.len(), 100_000);
}
