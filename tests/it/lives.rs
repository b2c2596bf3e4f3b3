//! Shows that an arena outlives what happens to its participants and its file: more lives than a seat has numbers, everybody
//! stopped at once, a file that is cut off, replaced, or removed under those who use it.

use std::time::Duration;

use faretra::{Arena, Error, KIB, MIB, RecvError};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::damage::end_of;
use crate::obey::forked;
use crate::support::{DEADLINE, Dir, TestArena, assert_sound};
use crate::values::Random;

/// 70,000 processes' worth of participants, some of them killed, take one of two seats in turn: more than a seat has
/// incarnations (65,536). Nothing of the dead is taken for the living, and nothing is left.
#[test]
fn more_lives_than_a_seat_has_numbers() {
    let test = TestArena::with(|o| o.limit(16 * MIB).participants(2));
    let writer = test.arena.writer().expect("a permit");
    writer.publish("x", "something").expect("room");
    let options = test.options();
    for life in 0..70_000 {
        if life % 700 == 0 {
            let child = forked(|| {
                let arena = options.open("t").expect("opened");
                let writer = arena.writer().expect("a permit");
                let _kept = (arena.get("x").expect("there"), writer.draft_bytes(1000).expect("room"));
                kill(Pid::this(), Signal::SIGKILL).expect("ourselves");
                1
            });
            assert!(matches!(end_of(child, DEADLINE), Some(WaitStatus::Signaled(..))));
            continue;
        }
        let arena = options.open("t").unwrap_or_else(|e| panic!("life {life}: {e}"));
        assert_eq!(arena.get("x").expect("there").bytes().expect("bytes"), b"something");
        if life % 10_000 == 1 {
            assert_eq!(arena.verify().expect("a report"), []);
        }
    }
    writer.remove("x").expect("removed");
    drop(writer);
    test.arena.recover().expect("recovered");
    test.assert_sound(0);
    let stats = test.arena.stats().expect("numbers");
    assert_eq!((stats.objects, stats.participants, stats.writers_busy), (0, 1, 0));
}

/// All processes of an arena are stopped, wherever they are, and go on: as when a machine sleeps. Every item arrives.
#[test]
fn everybody_is_stopped_and_goes_on() {
    const ITEMS: u64 = 3000;
    let test = TestArena::new(64 * MIB);
    drop(test.arena.writer().expect("a permit").sender("jobs", 16).expect("a channel"));
    let options = test.options();
    let open = || (options.open("t").expect("opened"), Duration::from_secs(60));
    let produce = |first: u64| {
        let (arena, patience) = open();
        let sender = arena.writer().expect("a permit").sender("jobs", 16).expect("a sender");
        for i in 0..ITEMS {
            sender.send_timeout((first + i).to_le_bytes().as_slice(), patience).expect("somebody receives");
        }
        0
    };
    let consume = || {
        let (arena, patience) = open();
        let (writer, receiver) = (arena.writer().expect("a permit"), arena.receiver("jobs").expect("a receiver"));
        loop {
            match receiver.recv_timeout(patience) {
                Ok(lease) => {
                    let number = u64::from_le_bytes(lease.bytes().expect("bytes").try_into().expect("a number"));
                    writer.publish(&format!("got {number}"), "").expect("room");
                    lease.ack();
                }
                Err(RecvError::Closed { .. }) => return 0,
                Err(_) => return 1,
            }
        }
    };
    // They leave the channel to the other ones; this one keeps it from looking deserted until all is sent.
    let sender = test.arena.writer().expect("a permit").sender("jobs", 16).expect("a sender");
    let consumers = [forked(consume), forked(consume)];
    let producers = [forked(|| produce(0)), forked(|| produce(ITEMS))];
    let all: Vec<Pid> = consumers.into_iter().chain(producers).collect();
    let mut random = Random(7);
    let (mut left, mut sent) = (all.clone(), false);
    while !left.is_empty() {
        // Those that have ended are not ours to signal any more once they were waited for.
        let still = |pid: &Pid| {
            let end = waitpid(*pid, Some(WaitPidFlag::WNOHANG)).expect("our child");
            match end {
                WaitStatus::StillAlive => true,
                WaitStatus::Exited(_, 0) => false,
                other => panic!("{other:?}"),
            }
        };
        left.retain(still);
        if !sent && producers.iter().all(|pid| !left.contains(pid)) {
            sender.close().expect("ours");
            sent = true;
        }
        let first = random.below(left.len().max(1) as u64) as usize;
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            for i in 0..left.len() {
                kill(left[(first + i) % left.len()], signal).expect("our child");
            }
            std::thread::sleep(Duration::from_millis(if signal == Signal::SIGSTOP { 4 } else { random.below(12) }));
        }
    }
    drop(sender);
    let got = test.arena.names().expect("names").iter().filter(|e| e.name.starts_with("got ")).count() as u64;
    assert_eq!(got, 2 * ITEMS);
    test.assert_nothing_left(vec![]);
}

/// Another program cuts the file off, anywhere, while it is open: what asks the system says so in words, and memory that is
/// gone is refused before it is touched.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "cuts the arena's file")]
fn a_file_that_was_cut_is_told_in_words() {
    let dir = Dir::new();
    let options = Arena::options().dir(&dir.0).limit(64 * MIB);
    let said = |result: Result<(), Error>| match result {
        Err(Error::Damaged(text)) => assert!(text.contains("has cut its file to"), "{text}"),
        other => panic!("{other:?}"),
    };
    let control = {
        drop(options.create("sizes").expect("an arena"));
        // What a creator has mapped has no name in its list of mappings.
        let arena = options.open("sizes").expect("opened");
        crate::value_damage::data_region(arena.path())
    };
    for size in [control + 64 * KIB, control, control / 2, 4096, 0] {
        let made = options.create("t").expect("an arena");
        made.writer().expect("a permit").publish("x", vec![1; 100_000].as_slice()).expect("room");
        let path = made.path().to_owned();
        drop(made);
        let child = forked(|| {
            let (arena, seen) = (options.open("t").expect("opened"), options.observe("t").expect("seen"));
            let writer = arena.writer().expect("a permit");
            std::fs::File::options().write(true).open(&path).expect("the file").set_len(size).expect("cut");
            said(arena.names().map(drop));
            said(arena.stats().map(drop));
            said(arena.verify().map(drop));
            said(arena.verify_deep().map(drop));
            said(arena.recover().map(drop));
            said(arena.trim().map(drop));
            said(arena.who().map(drop));
            said(arena.channels().map(drop));
            said(seen.names().map(drop));
            said(seen.stats().map(drop));
            said(seen.verify().map(drop));
            if size >= control {
                said(writer.publish("y", vec![2; 8 << 20].as_slice()).map(drop));
            }
            assert!(matches!(options.open("t"), Err(Error::NotAnArena { .. })));
            assert!(options.list().expect("a list").iter().any(|info| info.name == "t" && info.problem.is_some()));
            // To leave would be to touch what is gone.
            std::mem::forget((writer, arena, seen));
            0
        });
        let end = end_of(child, DEADLINE);
        assert!(matches!(end, Some(WaitStatus::Exited(_, 0))), "cut to {size}: {end:?}");
        std::fs::remove_file(&path).expect("removed");
    }
}

/// Two arenas of one name in turn: who has the first goes on with it, and neither disturbs the other.
#[test]
fn an_arena_that_was_replaced_goes_on() {
    let dir = Dir::new();
    let options = Arena::options().dir(&dir.0).limit(16 * MIB);
    let old = options.create("t").expect("an arena");
    let writer = old.writer().expect("a permit");
    writer.publish("x", "old").expect("room");
    for round in 0..20 {
        options.remove("t").expect("removed");
        let new = options.create("t").expect("another arena");
        new.writer().expect("a permit").publish("x", format!("new {round}").as_str()).expect("room");
        writer.publish("y", vec![2; 200_000].as_slice()).expect("room");
        assert_eq!(old.get("x").expect("there").bytes().expect("bytes"), b"old");
        assert_eq!(
            options.open("t").expect("opened").get("x").expect("there").bytes().expect("bytes"),
            format!("new {round}").as_bytes()
        );
        assert!(matches!(new.get("y"), Err(Error::NotFound { .. })));
        assert_eq!(old.reopen().expect("the old one").get("x").expect("there").bytes().expect("bytes"), b"old");
        assert_eq!((old.verify().expect("a report"), new.verify().expect("a report")), (vec![], vec![]));
    }
    // Moved away, and another put in its place by somebody's `mv`.
    let other = options.create("other").expect("an arena");
    std::fs::rename(dir.0.join("faretra.other"), dir.0.join("faretra.t")).expect("moved");
    assert_eq!(other.verify().expect("a report"), []);
    assert!(options.open("t").expect("opened").names().expect("names").is_empty());
    writer.remove("x").expect("removed");
    writer.remove("y").expect("removed");
    drop(writer);
    assert_sound(&old, 0);
}
