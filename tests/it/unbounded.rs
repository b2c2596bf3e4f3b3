//! Shows that a channel without a bound is a channel like any other, whoever is killed; that the arena's memory is what bounds
//! it; and that the memory comes back.

use std::time::Duration;

use faretra::channel::Contents;
use faretra::{Error, MIB, RecvError, SendError};

use crate::course::{self, kill_often};
use crate::flow::{Flow, UNBOUNDED};
use crate::history::{self, Did};
use crate::support::{DEADLINE, TestArena, until};

type Course = course::Course<Flow>;

fn close(course: &Course, channel: u8) {
    let mut here = course.flow();
    here.sender(channel).expect("sound").expect("room").close().expect("open");
    here.leave().expect("in order");
}

/// Waits until so much was sent that it took several segments.
fn until_several_segments(course: &Course) {
    let history = || history::read::<Did>(&course.history).expect("a history");
    until("several segments", || (history().iter().filter(|r| r.did == Did::Sent).count() > 2500).then_some(()));
}

/// Receivers that are killed in the middle of their work lose nothing, with thousands of items behind them and a full arena.
#[test]
fn busy_receivers_lose_nothing() {
    let course = Course::new(8 * MIB);
    let mut sends = course.puppet();
    sends.ask(&format!("c-produce {UNBOUNDED} 4"));
    let mut survivor = course.puppet();
    survivor.ask(&format!("c-consume {UNBOUNDED}"));
    let mut victim = kill_often(&course, &format!("c-consume {UNBOUNDED}"), 30, 15_000);
    until_several_segments(&course);
    close(&course, UNBOUNDED);
    for child in [&mut sends, &mut survivor, &mut victim] {
        child.answer().expect("closed for good");
    }
    let told = course.end(vec![sends, survivor, victim]);
    assert!(told.dead >= 15 && told.perhaps_acked <= told.dead && told.sent > 2500, "{told:?}");
    eprintln!("{told:?}");
}

/// Senders that are killed in the middle of sending leave no hole, and no cells.
#[test]
fn busy_senders_leave_no_hole() {
    let course = Course::new(8 * MIB);
    let mut receives = course.puppet();
    receives.ask(&format!("c-consume {UNBOUNDED}"));
    let mut sends = course.puppet();
    sends.ask(&format!("c-produce {UNBOUNDED} 4"));
    let mut victim = kill_often(&course, &format!("c-produce {UNBOUNDED} 4"), 30, 15_000);
    until_several_segments(&course);
    close(&course, UNBOUNDED);
    for child in [&mut sends, &mut receives, &mut victim] {
        child.answer().expect("closed for good");
    }
    let told = course.end(vec![sends, receives, victim]);
    assert!(told.dead >= 15 && told.sent > 2500, "{told:?}");
    eprintln!("{told:?}");
}

/// Items go from a channel with a bound to one without by those who are killed again and again: each is in one place.
#[test]
fn forwarding_survives_those_who_forward() {
    let course = Course::new(16 * MIB);
    let mut sends = course.puppet();
    sends.ask("c-produce 0 4");
    let mut receives = course.puppet();
    receives.ask(&format!("c-consume {UNBOUNDED}"));
    let mut relay = course.puppet();
    relay.ask(&format!("c-relay 0 {UNBOUNDED}"));
    let mut victim = kill_often(&course, &format!("c-relay 0 {UNBOUNDED}"), 30, 10_000);
    close(&course, 0);
    for child in [&mut sends, &mut relay, &mut victim] {
        child.answer().expect("closed for good");
    }
    close(&course, UNBOUNDED);
    receives.answer().expect("closed for good");
    let told = course.end(vec![sends, receives, relay, victim]);
    assert!(told.perhaps_acked == 0 && told.forwarded > 0, "{told:?}");
    eprintln!("{told:?}");
}

/// Order holds across segments; an item that comes back is received before newer ones; the end comes last.
#[test]
fn in_order_across_segments() {
    const ITEMS: u64 = 10_000;
    let t = TestArena::new(64 * MIB);
    let jobs = t.arena.writer().expect("a permit").unbounded("jobs").expect("room");
    let receiver = t.arena.receiver("jobs").expect("made");
    for n in 0..ITEMS {
        jobs.send(&n.to_le_bytes()[..]).expect("room");
    }
    assert_eq!((jobs.len(), jobs.capacity(), receiver.capacity()), (ITEMS as usize, None, None));
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let first = receiver.recv().expect("sent");
    let second = receiver.recv().expect("sent");
    drop(first);
    let again = receiver.recv().expect("it came back");
    assert_eq!((number(again.bytes().expect("whole")), again.attempts()), (0, 1));
    again.ack();
    second.ack();
    for n in 2..ITEMS {
        let lease = receiver.recv().expect("sent");
        assert_eq!(number(lease.bytes().expect("whole")), n);
        lease.ack();
    }
    jobs.close().expect("open");
    assert!(matches!(receiver.recv(), Err(RecvError::Closed { clean: true })));
    assert!(matches!(jobs.send("late"), Err(SendError::Closed { clean: true, .. })));
    drop((jobs, receiver));
    t.assert_nothing_left(vec![]);
}

/// A channel that has a bound is not one that has none, and the other way round.
#[test]
fn a_bound_is_not_none() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (_with, _without) = (w.sender("with", 3).expect("room"), w.unbounded("without").expect("room"));
    let says = |e: Result<_, Error>| e.map(|_: faretra::Sender| ()).expect_err("another kind").to_string();
    let with = says(w.unbounded("with"));
    assert!(with.contains("without a bound") && with.contains("for 3 items"), "{with}");
    let without = says(w.sender("without", 3));
    assert!(without.contains("without a bound") && without.contains("for 3 items"), "{without}");
    assert!(says(w.unbounded_with("without", Contents::Mixed)).contains("any kind"));
    let told = t.arena.channels().expect("sound");
    assert_eq!(told.iter().map(|c| c.capacity).collect::<Vec<_>>(), [Some(3), None]);
}

/// The arena's memory is the bound: a send waits for it, and goes on when items were taken.
#[test]
fn a_full_arena_makes_senders_wait() {
    let t = TestArena::new(2 * MIB);
    let jobs = t.arena.writer().expect("a permit").unbounded("jobs").expect("room");
    let receiver = t.arena.receiver("jobs").expect("made");
    let item = [7_u8; 10_000];
    let mut sent = 0;
    while jobs.send_timeout(&item[..], Duration::from_millis(50)).is_ok() {
        sent += 1;
        assert!(sent < 1000, "no bound at all");
    }
    assert!(sent > 50, "only {sent}");
    let refused = jobs.try_send(&item[..]).expect_err("the arena is full");
    assert!(matches!(refused, SendError::NoSpace { .. }), "{refused:?}");
    std::thread::scope(|s| {
        let waits = s.spawn(|| jobs.send_timeout(&item[..], DEADLINE).is_ok());
        for _ in 0..3 {
            receiver.recv().expect("sent").ack();
        }
        assert!(waits.join().expect("it ends"), "there is room");
    });
    for _ in 0..sent - 2 {
        receiver.recv_timeout(DEADLINE).expect("sent").ack();
    }
    drop((jobs, receiver));
    t.assert_nothing_left(vec![]);
}

/// A million items go through, a hundred thousand of them waiting at a time: what they took is free afterwards.
#[test]
fn the_memory_comes_back() {
    const ITEMS: u64 = 1_000_000;
    const AHEAD: u64 = 100_000;
    let t = TestArena::new(256 * MIB);
    let jobs = t.arena.writer().expect("a permit").unbounded("jobs").expect("room");
    let receiver = t.arena.receiver("jobs").expect("made");
    let before = t.arena.stats().expect("stats");
    let mut most = 0;
    for n in 0..ITEMS + AHEAD {
        if n < ITEMS {
            jobs.send(&n.to_le_bytes()[..]).expect("room");
        }
        if n >= AHEAD {
            receiver.recv().expect("sent").ack();
        }
        if n == AHEAD {
            most = t.arena.stats().expect("stats").objects;
        }
    }
    let after = t.arena.stats().expect("stats");
    eprintln!("before {before:?}\nafter {after:?}");
    assert!(most > AHEAD, "{most} objects");
    assert_eq!(after.live, before.live);
    assert!(after.objects <= before.objects + 1, "more than one segment");
    drop((jobs, receiver));
    t.assert_nothing_left(vec![]);
}
