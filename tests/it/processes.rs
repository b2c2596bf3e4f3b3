//! Shows that processes share what is published, zero-copy and read-only, and read without system calls.

use std::time::Duration;

use faretra::{Error, MIB};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::WaitStatus;

use crate::damage::end_of;
use crate::obey::forked;
use crate::support::{Child, DEADLINE, TestArena, skip};
use crate::values::{self, KINDS};

/// What one process publishes another reads whole, both ways, for every kind and small and large sizes.
#[test]
fn two_processes_share_every_kind() {
    let t = TestArena::new(256 * MIB);
    let mut other = t.puppet();
    let mut seed = 0;
    for kind in KINDS {
        for words in [12, 300, 9_000, 200_000] {
            seed += 1;
            let w = t.arena.writer().expect("a permit");
            let version = values::publish(&w, "ours", kind, seed, words).expect("room");
            let answer = other.ask("get ours");
            assert!(answer.ends_with(&format!(" {seed} {version}")), "{kind}: {answer}");
            let version = other.ask(&format!("publish {kind} theirs {} {words}", seed + 1000));
            let theirs = t.arena.get("theirs").expect("published");
            assert_eq!(theirs.version().to_string(), version);
            assert_eq!(values::check(&theirs), Ok(seed + 1000), "{kind}");
        }
    }
    assert_eq!(other.ask("check"), (KINDS.len() * 4).to_string());
    other.ask("remove ours");
    other.ask("remove theirs");
    assert!(other.refuse("get ours").starts_with("NotFound"));
    other.ask("unpin");
    other.ask("close");
    t.assert_sound(0);
}

/// Whoever writes through a view dies of it, alone.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "readers' pages can be written")]
fn writing_through_a_view_faults() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    values::publish(&w, "n", "bytes", 5, 1000).expect("room");
    let mut vandal = t.puppet();
    // Its own permit and writers' mapping do not help.
    vandal.ask("publish bytes m 6 1000");
    vandal.tell("write_into n");
    assert_eq!(vandal.killed_by(), Some(libc::SIGSEGV));
    assert_eq!(values::check(&t.arena.get("n").expect("still there")), Ok(5));
    w.remove("n").expect("remove");
    w.remove("m").expect("remove");
    t.assert_sound(0);
}

/// A waiter in another process gets the name when it appears, then each newer version; a deadline ends it.
#[test]
fn waiters_in_other_processes_are_woken() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let mut waiters: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
    assert!(waiters[0].refuse("wait_for n 0 50").starts_with("TimedOut"));
    let mut last = 0;
    for round in 1..=20 {
        for waiter in &mut waiters {
            waiter.tell(&format!("wait_for n {last} 30000"));
        }
        last = values::publish(&w, "n", KINDS[round % 7], round as u64, 100).expect("room");
        for waiter in &mut waiters {
            assert_eq!(waiter.answer(), Ok(format!("{round} {last}")));
        }
    }
    waiters[0].tell(&format!("wait_for n {last} 30000"));
    w.remove("n").expect("remove");
    last = values::publish(&w, "n", "batch", 99, 100).expect("room");
    assert_eq!(waiters[0].answer(), Ok(format!("99 {last}")), "versions go on after a removal");
}

/// Readers in other processes see versions that only rise, and never half an object.
#[test]
fn versions_rise_for_readers_elsewhere() {
    let t = TestArena::new(64 * MIB);
    let mut readers: Vec<Child> = (0..2).map(|_| t.puppet()).collect();
    for reader in &mut readers {
        reader.tell("read n 0");
    }
    let w = t.arena.writer().expect("a permit");
    for seed in 0..600 {
        let version = values::publish(&w, "n", KINDS[seed as usize % 7], seed, 2000).expect("room");
        assert_eq!(version, seed + 1);
        if seed % 100 == 50 {
            w.remove("n").expect("remove");
        }
        if seed % 100 == 50 {
            assert!(matches!(t.arena.get("n"), Err(Error::NotFound { .. })));
        }
    }
    w.publish("stop", &b"now"[..]).expect("room");
    for reader in &mut readers {
        reader.answer().expect("versions rise");
        reader.ask("close");
    }
    w.remove("n").expect("remove");
    w.remove("stop").expect("remove");
    t.assert_sound(0);
}

/// A million gets make no system call.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a forked child is told by its pid, which is a system call on Linux"
)]
fn reads_make_no_system_calls() {
    const READS: u64 = 1_000_000;
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    values::publish(&w, "n", "batch", 5, 1000).expect("room");
    let calls = |reads: u64| -> Option<u64> {
        let file = t.dir().join(format!("calls-{reads}"));
        let wrapper = ["strace", "-f", "-c", "-o", file.to_str().expect("a path")];
        if std::process::Command::new("strace").arg("-V").output().is_err() {
            skip("reads_make_no_system_calls", "there is no strace");
            return None;
        }
        let mut child = Child::start("puppet", t.dir(), &wrapper);
        child.ask("open t");
        if reads != 0 {
            assert_eq!(child.ask(&format!("read n {reads}")), reads.to_string());
        }
        child.finish();
        let text = std::fs::read_to_string(file).expect("what strace counted");
        // % time, seconds, usecs/call, calls, [errors], total
        let total = text.lines().rev().find(|l| l.ends_with("total")).unwrap_or_else(|| panic!("{text}"));
        Some(total.split_ascii_whitespace().nth(3).expect("calls").parse().expect("a number"))
    };
    let (Some(without), Some(with)) = (calls(0), calls(READS)) else { return };
    eprintln!("{READS} gets: {with} system calls in the whole process, {without} without them");
    assert!(with < without + 1000, "{with} system calls with {READS} reads, {without} without");
}

/// A wait in another process neither keeps the writer from its work nor from ending.
#[test]
fn a_waiter_holds_up_nobody() {
    let t = TestArena::new(16 * MIB);
    let mut waiter = t.puppet();
    waiter.tell("wait_for never 0 30000");
    let w = t.arena.writer().expect("a permit");
    for seed in 0..50 {
        values::publish(&w, "n", "bytes", seed, 100).expect("room");
        w.remove("n").expect("remove");
    }
    assert!(waiter.try_answer(Duration::from_millis(10)).is_none(), "it waits for another name");
    waiter.kill();
    t.assert_sound(0);
}

/// The first publish of a process, into memory that another one has written, takes few page faults: the pages are entered many at
/// a time, in small copies and in large ones.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "its commit touches each page")]
fn memory_of_others_is_entered_many_pages_at_a_time() {
    let faults = || getrusage(UsageWho::RUSAGE_SELF).expect("numbers").minor_page_faults();
    let page = 4096;
    for bytes in [2 * MIB as usize, 32 * MIB as usize] {
        let t = TestArena::with(|o| o.limit(256 * MIB).warm(256 * MIB));
        let writer = t.arena.writer().expect("a permit");
        let value = vec![7_u8; bytes];
        for _ in 0..2 {
            writer.publish("x", &value[..]).expect("room");
        }
        let options = t.options();
        let child = forked(|| {
            let arena = options.open("t").expect("opened");
            // Whether the kernel does that at all: through another mapping, that of readers.
            let (object, before) = (arena.get("x").expect("there"), faults());
            std::hint::black_box(object.bytes().expect("bytes").iter().step_by(page).fold(0, |sum, byte| sum ^ byte));
            if (faults() - before) as usize > bytes / page / 2 {
                return 2;
            }
            drop(object);
            let writer = arena.writer().expect("a permit");
            // Its own mapping, and what the library needs once.
            writer.publish("y", "small").expect("room");
            let before = faults();
            writer.publish("x", &value[..]).expect("room");
            let taken = faults() - before;
            eprintln!("{taken} faults for {} pages", bytes / page);
            i32::from(taken as usize > bytes / page / 2)
        });
        match end_of(child, DEADLINE) {
            Some(WaitStatus::Exited(_, 0)) => {}
            Some(WaitStatus::Exited(_, 2)) => {
                return skip(
                    "memory_of_others_is_entered_many_pages_at_a_time",
                    "the kernel enters pages one by one here",
                );
            }
            other => panic!("{bytes} bytes: {other:?}"),
        }
        assert_eq!(t.arena.get("x").expect("there").bytes().expect("bytes"), &value[..]);
    }
}
