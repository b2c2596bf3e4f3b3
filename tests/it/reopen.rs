//! Shows that a forked child gets a handle of its own to the very arena that its parent has: with the parent alive, killed, or
//! gone, and with the arena's name there, removed, or another arena's.

use std::path::Path;

use faretra::{Arena, Error, KIB, MIB, Missing, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::obey::{close_from, forked};
use crate::support::{DEADLINE, Dir, until};

fn options(dir: &Dir) -> Options {
    Arena::options().dir(&dir.0).limit(16 * MIB).capacity(64 * MIB)
}

fn end(child: Pid) -> WaitStatus {
    waitpid(child, None).expect("our child")
}

#[track_caller]
fn succeeds(child: Pid) {
    assert_eq!(end(child), WaitStatus::Exited(child, 0));
}

fn appears(file: &Path) {
    until("a file", || file.exists().then_some(()));
}

/// A second handle of the parent's is a participant of its own, with the same options.
#[test]
fn in_the_process_itself() {
    let dir = Dir::new();
    let arena = options(&dir).untrusted(true).create("a").expect("an arena");
    let again = arena.reopen().expect("a seat");
    assert_eq!((again.name(), again.path()), (arena.name(), arena.path()));
    assert_eq!(arena.stats().expect("stats").participants, 2);
    again.writer().expect("a permit").publish("x", [1_u8].as_slice()).expect("room");
    assert_eq!(arena.get("x").expect("published").bytes().expect("whole"), [1]);
    drop(arena);
    assert_eq!(again.stats().expect("stats").participants, 1);
    assert_eq!(again.verify().expect("looked at"), []);
}

/// What is pinned again stays as it was for a forked child, whatever its parent drops and writes meanwhile, and is free after.
#[test]
fn what_a_child_inherits() {
    let dir = Dir::new();
    let arena = options(&dir).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    let bytes = |n: u8| vec![n; 300_000];
    writer.publish("x", bytes(1).as_slice()).expect("room");
    writer.publish("y", bytes(2).as_slice()).expect("room");
    let live = || arena.stats().expect("stats").live;
    let alone = live();
    let (object, private) = (arena.get("x").expect("there"), arena.get("x").expect("there").private().expect("a map"));
    let pins = arena.pin_again().expect("pinned");
    assert_eq!((pins.len(), pins.is_empty()), (1, false), "`y` is pinned by nobody");
    let (go, told) = (dir.0.join("go"), dir.0.join("told"));
    let child = forked(|| {
        assert!(matches!(arena.pin_again(), Err(Error::Forked(_))));
        // The slice was lent before the fork.
        std::fs::write(&told, "").expect("a file");
        appears(&go);
        assert!(private.iter().all(|byte| *byte == 1));
        0
    });
    appears(&told);
    drop((object, private));
    for n in 3..40 {
        writer.publish("x", bytes(n).as_slice()).expect("room");
    }
    assert!(live() >= alone + 300_000, "kept for the child");
    std::fs::write(&go, "").expect("a file");
    succeeds(child);
    drop(pins);
    assert_eq!(live(), alone);
    assert!(arena.pin_again().expect("looked at").is_empty());
    assert_eq!(arena.verify().expect("looked at"), []);
}

/// A process that is about to end takes the name away, with all its handles open; not while another process takes part, and
/// not of an arena that is kept.
#[test]
fn the_last_process_ends_it() {
    let dir = Dir::new();
    let kept = options(&dir).create("kept").expect("an arena");
    assert!(!kept.end_if_alone().expect("looked at"));
    let arena = options(&dir).keep(false).create("a").expect("an arena");
    let again = arena.reopen().expect("a seat");
    let weak = arena.downgrade();
    let (go, gone) = (dir.0.join("go"), dir.0.join("there"));
    let child = forked(|| {
        assert!(matches!(arena.end_if_alone(), Err(Error::Forked(_))));
        let mine = arena.reopen().expect("a seat");
        std::fs::write(&gone, "").expect("a file");
        appears(&go);
        drop(mine);
        0
    });
    appears(&gone);
    assert!(!arena.end_if_alone().expect("looked at"), "the child is there");
    assert!(arena.path().exists());
    std::fs::write(&go, "").expect("a file");
    succeeds(child);
    assert!(arena.end_if_alone().expect("looked at"));
    assert!(!arena.path().exists());
    assert!(matches!(options(&dir).open("a"), Err(Error::NotFound { .. })));
    again.writer().expect("a permit").publish("x", [1_u8].as_slice()).expect("room");
    let kept = arena.get("x").expect("published");
    assert!(!arena.end_if_alone().expect("it has ended already"));
    drop((arena, again));
    assert!(weak.upgrade().is_some(), "an object keeps us there");
    drop(kept);
    assert!(weak.upgrade().is_none());
}

/// A child writes, reads and waits by its own handle; what it held when it is killed comes back to the parent.
#[test]
fn in_a_child() {
    let dir = Dir::new();
    let arena = options(&dir).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    writer.publish("x", [1_u8].as_slice()).expect("room");
    let kept = arena.get("x").expect("published");
    let child = forked(|| {
        assert!(matches!(arena.get("x"), Err(Error::Forked(_))));
        let mine = arena.reopen().expect("a seat");
        assert_eq!(mine.get("x").expect("published").bytes().expect("whole"), [1]);
        let again = mine.reopen().expect("another seat");
        let writer = again.writer().expect("a permit");
        writer.publish("y", [2_u8].as_slice()).expect("room");
        let _draft = writer.draft_array::<u8, ndarray::Ix1>(1000).expect("room");
        mine.wait_for_timeout("z", 0, DEADLINE).expect("the parent publishes");
        kill(nix::unistd::getpid(), Signal::SIGKILL).expect("ourselves");
        1
    });
    assert_eq!(arena.wait_for_timeout("y", 0, DEADLINE).expect("published").bytes().expect("whole"), [2]);
    assert_eq!(arena.stats().expect("stats").participants, 3);
    writer.publish("z", [3_u8].as_slice()).expect("room");
    assert_eq!(end(child), WaitStatus::Signaled(child, Signal::SIGKILL, false));
    let settled = arena.recover().expect("sound");
    assert_eq!((settled.participants, settled.permits), (2, 1), "{settled:?}");
    assert_eq!(kept.bytes().expect("pinned"), [1]);
    assert_eq!(arena.verify().expect("looked at"), []);
}

/// The parent is killed before its child reopens an ephemeral arena, which goes with the child then.
#[test]
fn when_the_parent_was_killed() {
    let dir = Dir::new();
    let ready = dir.0.join("ready");
    let go = dir.0.join("go");
    let done = dir.0.join("done");
    let parent = forked(|| {
        let arena = options(&dir).keep(false).create("a").expect("an arena");
        arena.writer().expect("a permit").publish("x", [1_u8].as_slice()).expect("room");
        forked(|| {
            appears(&go);
            let mine = arena.reopen().expect("a seat");
            assert_eq!(mine.get("x").expect("published").bytes().expect("whole"), [1]);
            assert_eq!(mine.stats().expect("stats").participants, 1, "the parent's death was settled");
            mine.writer().expect("a permit").publish("y", [2_u8].as_slice()).expect("room");
            assert_eq!(mine.verify().expect("looked at"), []);
            drop(mine);
            std::fs::write(&done, "").expect("a file");
            0
        });
        std::fs::write(&ready, "").expect("a file");
        loop {
            std::thread::park();
        }
    });
    appears(&ready);
    kill(parent, Signal::SIGKILL).expect("it lives");
    assert_eq!(end(parent), WaitStatus::Signaled(parent, Signal::SIGKILL, false));
    std::fs::write(&go, "").expect("a file");
    appears(&done);
    assert!(matches!(options(&dir).open("a"), Err(Error::NotFound { .. })), "it went with its last participant");
}

/// The name is removed, or another arena's, before a child reopens: it gets the one that its parent has.
#[test]
fn when_the_name_is_another_arenas() {
    let dir = Dir::new();
    let arena = options(&dir).create("a").expect("an arena");
    arena.writer().expect("a permit").publish("x", [1_u8].as_slice()).expect("room");
    options(&dir).remove("a").expect("removed");
    let check = || {
        let mine = arena.reopen().expect("a seat");
        assert_eq!(mine.get("x").expect("published").bytes().expect("whole"), [1]);
        assert_eq!(mine.stats().expect("stats").participants, 2);
        mine.writer().expect("a permit").publish("x", [1_u8].as_slice()).expect("room");
        0
    };
    succeeds(forked(check));
    let other = options(&dir).create("a").expect("the name is free");
    succeeds(forked(check));
    assert!(matches!(other.get("x"), Err(Error::NotFound { .. })), "nobody wrote to the other one");
    assert_eq!(other.stats().expect("stats").participants, 1);
    assert_eq!(arena.get("x").expect("published").version(), 3);
    assert_eq!(arena.verify().expect("looked at"), []);
}

/// A child that closed all descriptors, as some daemons do, finds the arena by its name, or says that it has none.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a participant has no descriptor of the segment to lose"
)]
fn without_the_descriptor() {
    let dir = Dir::new();
    let arena = options(&dir).create("a").expect("an arena");
    let found = || {
        close_from(3);
        i32::from(arena.reopen().expect("by its name").stats().expect("stats").participants != 2)
    };
    let lost = || {
        close_from(3);
        match arena.reopen() {
            Err(Error::NotFound { what: Missing::Arena, detail, .. }) if detail.contains("descriptor") => 0,
            other => panic!("{other:?}"),
        }
    };
    succeeds(forked(found));
    options(&dir).remove("a").expect("removed");
    succeeds(forked(lost));
    let _other = options(&dir).create("a").expect("the name is free");
    succeeds(forked(lost));
}

/// All seats are taken: the child is told, and gets one when others were killed.
#[test]
fn when_all_seats_are_taken() {
    let dir = Dir::new();
    let arena = options(&dir).limit(64 * KIB).capacity(MIB).participants(1).create("a").expect("an arena");
    assert!(matches!(arena.reopen(), Err(Error::Limit { limit: 1, .. })));
    succeeds(forked(|| match arena.reopen() {
        Err(Error::Limit { limit: 1, .. }) => 0,
        other => panic!("{other:?}"),
    }));
}
