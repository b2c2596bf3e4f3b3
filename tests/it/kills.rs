//! Shows that SIGKILL and SIGSTOP at any moment lose nothing, leak nothing, and hold up nobody.

use std::process::Command;
use std::time::{Duration, Instant};

use faretra::MIB;
use nix::sys::signal::Signal;

use crate::support::{Child, DEADLINE, Dir, PORTABLE, TestArena, skip, until};
use crate::values::{self, KINDS, Random};

/// The permit of a killed holder comes back in time, and the next holder is told.
#[test]
fn the_permit_of_a_killed_holder_comes_back() {
    let t = TestArena::with(|o| o.limit(16 * MIB).writers(1));
    for round in 0..5 {
        let mut holder = t.puppet();
        assert_eq!(holder.ask("writer"), "recovered=false", "round {round}");
        assert!(t.arena.try_writer().expect("sound").is_none());
        // One waits while it happens, in another process.
        let mut waiter = t.puppet();
        waiter.tell("writer 30000");
        holder.kill();
        assert_eq!(waiter.answer().as_deref(), Ok("recovered=true"), "round {round}");
        waiter.ask("close");
        let w = t.arena.writer_timeout(DEADLINE).expect("given back");
        assert!(!w.recovered(), "told once");
        waiter.finish();
    }
    t.assert_sound(0);
}

/// All permits held by processes that are killed at once come back.
#[test]
fn all_permits_come_back() {
    let t = TestArena::with(|o| o.limit(16 * MIB).writers(4));
    let mut holders: Vec<Child> = (0..4).map(|_| t.puppet()).collect();
    for h in &mut holders {
        h.ask("writer");
    }
    assert_eq!(t.arena.stats().expect("stats").writers_busy, 4);
    holders.iter_mut().for_each(Child::kill);
    let all: Vec<_> = (0..4).map(|_| t.arena.writer_timeout(DEADLINE).expect("a permit")).collect();
    assert!(all.iter().all(faretra::Writer::recovered));
    drop(all);
    t.assert_sound(0);
}

/// Drafts and pins of a killed process come back, to the byte.
#[test]
fn drafts_and_pins_of_the_dead_come_back() {
    let t = TestArena::new(256 * MIB);
    let w = t.arena.writer().expect("a permit");
    let publish = |name: &str, kind, seed| values::publish(&w, name, kind, seed, 60_000).expect("room");
    publish("stays", "table", 1);
    let live = t.arena.stats().expect("stats").live;
    let mut used = None;
    for round in 0..4 {
        for (i, kind) in KINDS.iter().enumerate() {
            publish(&format!("n{i}"), kind, i as u64);
        }
        let mut victim = t.puppet();
        for i in 0..KINDS.len() {
            victim.ask(&format!("get n{i}"));
        }
        for words in [10, 1000, 70_000, 2_000_000] {
            victim.ask(&format!("draft {words}"));
        }
        for i in 0..KINDS.len() {
            // Replaced, then removed: the victim's pins are all that keeps the first version.
            publish(&format!("n{i}"), "bytes", 77);
            w.remove(&format!("n{i}")).expect("remove");
        }
        let held = t.arena.who().expect("who");
        let held = held.iter().find(|h| h.pid == victim.pid as u32).expect("it is there");
        assert_eq!((held.pins, held.drafts, held.permits), (KINDS.len() as u64, 4, 1), "{held:?}");
        assert!(t.arena.stats().expect("stats").live > live + 16_000_000);
        assert_eq!(victim.ask("check"), KINDS.len().to_string());
        victim.kill();
        let r = t.arena.recover().expect("recover");
        assert_eq!((r.participants, r.permits), (1, 1), "{r:?}");
        t.assert_sound(live);
        let now = t.arena.stats().expect("stats").used;
        assert_eq!(*used.get_or_insert(now), now, "round {round}: the kernel counts as before");
    }
    assert_eq!(values::check(&t.arena.get("stays").expect("untouched")), Ok(1));
}

/// A writer that is killed while it publishes 64 MiB, sixty times at random moments: readers elsewhere see
/// whole objects only, and not a byte is lost.
#[test]
fn killed_while_publishing() {
    const KILLS: u64 = 60;
    const WORDS: usize = (8 << 20) - 1000;
    let t = TestArena::new(1024 * MIB);
    let w = t.arena.writer().expect("a permit");
    values::publish(&w, "n", "bytes", 0, WORDS).expect("room");
    // The records for as many objects of that size as there can be at a time.
    let draft = |words| w.draft_array::<u64, ndarray::Ix1>(words).expect("room");
    drop((0..10).map(|_| draft(WORDS / 2 + 1000)).collect::<Vec<_>>());
    let mut readers: Vec<Child> = (0..2).map(|_| t.puppet()).collect();
    for reader in &mut readers {
        reader.ask("read n 1");
    }
    let mut writer = t.puppet();
    writer.ask(&format!("publish array n 1 {WORDS}"));
    writer.ask(&format!("publish drafted-batch n 1 {WORDS}"));
    writer.kill();
    values::publish(&w, "n", "bytes", 0, WORDS).expect("room");
    let live = t.arena.stats().expect("stats").live;
    t.assert_sound(live);
    let used = t.arena.stats().expect("stats").used;
    // Warm memory for the writers, so that they are killed at other work than in having it made.
    drop((0..6).map(|_| draft(WORDS)).collect::<Vec<_>>());

    for reader in &mut readers {
        reader.tell("read n 0");
    }
    let mut random = Random(20);
    let mut published = 0;
    for kill in 0..KILLS {
        let mut writer = t.puppet();
        let kind = ["bytes", "array", "drafted-array", "drafted-batch"][kill as usize % 4];
        let before = t.arena.get("n").expect("never gone").version();
        writer.ask(&format!("storm {kind} n {kill} {WORDS}"));
        if kill % 2 == 1 {
            // Half of them in the middle of steady work, the others wherever they begin.
            t.arena.wait_for_timeout("n", before, DEADLINE).expect("it publishes");
        }
        std::thread::sleep(Duration::from_millis(random.below(120)));
        if let Some(ended) = writer.try_answer(Duration::ZERO) {
            panic!("it may not end by itself: {ended:?}");
        }
        writer.kill();
        t.arena.recover().expect("recover");
        published += t.arena.get("n").expect("never gone").version() - before;
    }
    eprintln!("{KILLS} writers killed; they had published {published} objects of 64 MiB");
    values::publish(&w, "n", "bytes", 0, WORDS).expect("room");
    w.publish("stop", &b"now"[..]).expect("room");
    for reader in &mut readers {
        let reads: u64 = reader.answer().expect("only whole objects").parse().expect("a number");
        assert!(reads > 0);
    }
    w.remove("stop").expect("remove");
    t.assert_sound(live);
    let after = t.arena.stats().expect("stats").used;
    // The word `stop` was the first name beside `n`: its records are new.
    let control = t.arena.stats().expect("stats").metadata;
    assert_eq!(after, live + control, "the kernel counts nothing but objects and records");
    assert!(after - used <= 64 << 10, "{used} bytes before, {after} after");
    drop(w);
}

/// Killed at each system call of each operation: no half-made arena is visible, nothing is lost or leaked.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a creator that is killed leaves files until the next one sweeps"
)]
fn killed_at_each_system_call() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("killed_at_each_system_call", "there is no strace");
    }
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    values::publish(&w, "stays", "bundle", 3, 50_000).expect("room");
    let live = t.arena.stats().expect("stats").live;
    let mut points = vec![];
    for (prepare, step) in [
        (&[][..], "create other limit=1000000 ephemeral"),
        (&[], "open t"),
        (&["open t"], "publish table new 8 60000"),
        (&["open t"], "publish drafted-batch new 8 600000"),
        (&["open t", "publish bundle new 8 60000"], "remove new"),
        (&["open t", "publish bundle new 8 60000", "remove new"], "trim"),
        (&["open t", "draft 1000", "get stays"], "close"),
        (&["create other limit=1000000 ephemeral"], "close"),
    ] {
        let Some(calls) = calls_of(&t, prepare, step, live) else {
            return skip("killed_at_each_system_call", "strace may not attach here");
        };
        let mut killed = 0;
        for (call, times) in &calls {
            for k in 1..=*times {
                let inject = format!("inject={call}:signal=KILL:when={k}");
                let (answer, _) = traced(&t, prepare, step, &["-e", &inject]).expect("it may attach");
                killed += u64::from(answer.is_none());
                check_after_kill(&t, &format!("`{step}` killed at {call} number {k}"), live);
            }
        }
        points.push((step, killed));
    }
    eprintln!("killed at each system call: {points:?}");
    assert!(points.iter().map(|p| p.1).sum::<u64>() > 50, "{points:?}");
    drop(w);
}

/// The system calls that an operation makes, and how often; without those that only look.
fn calls_of(t: &TestArena, prepare: &[&str], step: &str, live: u64) -> Option<Vec<(String, u64)>> {
    const LOOK: [&str; 9] =
        ["newfstatat", "fstat", "statx", "statfs", "fstatfs", "getpid", "read", "restart_syscall", "sched_yield"];
    let (answer, log) = traced(t, prepare, step, &[])?;
    answer.expect("nothing killed it").unwrap_or_else(|e| panic!("`{step}` with strace: {e}"));
    check_after_kill(t, step, live);
    let mut calls = std::collections::BTreeMap::<String, u64>::new();
    for line in log.lines() {
        // PID name(arguments) = result
        let name = line.split_once(' ').and_then(|(_, rest)| rest.trim_start().split_once('('));
        if let Some((name, _)) = name
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !LOOK.contains(&name)
        {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    Some(calls.into_iter().collect())
}

/// Its answer, if it lived to give one, and what strace wrote.
type Traced = (Option<Result<String, String>>, String);

/// A new process does `prepare`, then `step` with strace attached. `None`: strace may not attach.
fn traced(t: &TestArena, prepare: &[&str], step: &str, how: &[&str]) -> Option<Traced> {
    use std::io::{BufRead, BufReader};
    let log = Dir::new();
    let mut victim = Child::puppet(t.dir());
    for line in prepare {
        victim.ask(line);
    }
    let file = log.0.join("log");
    let mut strace = Command::new("strace")
        .args(["-f", "-p", &victim.outer_pid().to_string(), "-o"])
        .arg(&file)
        .args(how)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it is there");
    let mut err = BufReader::new(strace.stderr.take().expect("piped")).lines();
    // "Process N attached with M threads": it has all of them.
    if !err.any(|line| line.is_ok_and(|l| l.contains("attached"))) {
        let _ = strace.wait();
        return None;
    }
    victim.tell(step);
    let answer = victim.try_answer(DEADLINE);
    victim.signal(Signal::SIGKILL);
    // strace ends with what it traces. Where it misses the end, it must not keep the dead from being dead.
    let start = Instant::now();
    while strace.try_wait().expect("our child").is_none() {
        if start.elapsed() > Duration::from_millis(500) {
            let _ = strace.kill();
            let _ = strace.wait();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    victim.wait();
    Some((answer, std::fs::read_to_string(file).unwrap_or_default()))
}

fn check_after_kill(t: &TestArena, when: &str, live: u64) {
    // The arena that was being made is whole or not there.
    let other = t.options().open("other");
    match other {
        Err(faretra::Error::NotFound { .. }) => {}
        Err(e) => panic!("{when}: {e}"),
        Ok(other) => {
            assert_eq!(other.verify().expect("verify"), [], "{when}");
            drop(other);
            t.options().remove("other").expect("remove");
        }
    }
    let files = std::fs::read_dir(t.dir()).expect("the directory").count();
    assert_eq!(files, 1, "{when}: left a file");
    // The value that was being published is whole or not there.
    t.arena.recover().expect("recover");
    if let Ok(new) = t.arena.get("new") {
        assert_eq!(values::check(&new), Ok(8), "{when}");
    }
    t.arena.writer().expect("a permit").remove("new").expect("remove");
    t.arena.trim().expect("trim");
    assert_eq!(t.arena.verify().expect("verify"), [], "{when}");
    let s = t.arena.stats().expect("stats");
    assert_eq!((s.live, s.warm, s.participants), (live, 0, 1), "{when}: {s:?}");
}

/// A stopped process holds up nobody, and what it pinned is unchanged when it goes on.
#[test]
fn the_stopped_hold_up_nobody() {
    let t = TestArena::with(|o| o.limit(256 * MIB).writers(3));
    let w = t.arena.writer().expect("a permit");
    values::publish(&w, "old", "table", 4, 50_000).expect("room");
    let mut holder = t.puppet();
    holder.ask("get old");
    holder.ask("draft 1000");
    holder.stop();
    let who = t.arena.who().expect("who");
    let seen = who.iter().find(|h| h.pid == holder.pid as u32).expect("it takes part");
    assert!(
        seen.alive && seen.stopped != PORTABLE && seen.pins == 1 && seen.drafts == 1 && seen.permits == 1,
        "{seen:?}"
    );
    let mut other = t.puppet();
    for seed in 0..200 {
        values::publish(&w, "old", KINDS[seed as usize % 7], seed, 50_000).expect("room");
        if seed % 50 == 0 {
            other.ask(&format!("publish batch other {seed} 30000"));
            other.ask("get old");
            other.ask("unpin");
            other.ask("recover");
            other.ask("remove other");
            assert_eq!(t.arena.recover().expect("recover").participants, 0, "stopped is not dead");
            t.arena.trim().expect("trim");
        }
    }
    other.ask("release");
    // Full, because of what it keeps: the error names it.
    let full = values::publish(&w, "huge", "bytes", 1, 40 << 20).expect_err("too large");
    let faretra::Error::NoSpace { largest_holders, .. } = &full else { panic!("{full}") };
    assert!(largest_holders.iter().any(|h| h.pid == holder.pid as u32 && h.stopped != PORTABLE), "{full}");
    w.remove("old").expect("remove");
    holder.resume();
    assert_eq!(holder.ask("check"), "1", "as it was");
    let who = t.arena.who().expect("who");
    assert!(who.iter().any(|h| h.pid == holder.pid as u32 && !h.stopped));
    holder.ask("close");
    drop(w);
    t.assert_sound(0);
}

/// Processes stopped at random moments of their work: everybody else goes on, they go on later, and the end
/// is clean. Some are killed while they are stopped.
#[test]
fn stopped_at_random_moments() {
    let t = TestArena::new(256 * MIB);
    let mut random = Random(7);
    let mut workers: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
    for (i, worker) in workers.iter_mut().enumerate() {
        worker.tell(&format!("work {i}"));
    }
    let w = t.arena.writer().expect("a permit");
    let mut slowest = Duration::ZERO;
    for round in 0..40 {
        let i = random.below(3) as usize;
        std::thread::sleep(Duration::from_micros(random.below(5000)));
        workers[i].stop();
        for (k, kind) in KINDS.iter().enumerate() {
            let start = Instant::now();
            let name = format!("w{}", k % 3);
            values::publish(&w, &name, kind, round, 5000).expect("nobody is in the way");
            if let Ok(object) = t.arena.get(&name) {
                values::check(&object).expect("whole");
            }
            if k == 3 {
                t.arena.recover().expect("recover");
            }
            slowest = slowest.max(start.elapsed());
        }
        if round % 8 == 7 {
            workers[i].kill();
            workers[i] = t.puppet();
            workers[i].tell(&format!("work {}", 100 + round));
        } else {
            workers[i].resume();
        }
    }
    eprintln!("slowest publish, get and recover beside a stopped process: {slowest:?}");
    assert!(slowest < DEADLINE / 2, "{slowest:?}");
    w.publish("stop", &b"now"[..]).expect("room");
    for worker in &mut workers {
        worker.answer().expect("worked on");
        worker.ask("close");
    }
    for name in t.arena.names().expect("names") {
        w.remove(&name.name).expect("remove");
    }
    t.assert_sound(0);
}

/// A recovery that is stopped halfway does not keep others from recovering; nor does one that is killed.
#[test]
fn recovery_is_stopped_and_killed() {
    let t = TestArena::new(256 * MIB);
    let mut random = Random(11);
    for round in 0..20 {
        let mut dead = t.puppet();
        for _ in 0..20 {
            dead.ask("draft 5000");
        }
        for i in 0..5 {
            dead.ask(&format!("publish table n{i} {round} 60000"));
            dead.ask(&format!("get n{i}"));
        }
        let mut recoverer = t.puppet();
        dead.kill();
        recoverer.tell("recover");
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        recoverer.stop();
        t.arena.recover().expect("recover");
        let w = t.arena.writer_timeout(DEADLINE).expect("a permit");
        for i in 0..5 {
            w.remove(&format!("n{i}")).expect("remove");
        }
        drop(w);
        if round % 2 == 0 {
            recoverer.resume();
            recoverer.answer().expect("it goes on");
            recoverer.ask("close");
        } else {
            recoverer.kill();
        }
        until("everything to be settled", || {
            t.arena.recover().expect("recover");
            (t.arena.stats().expect("stats").participants == 1).then_some(())
        });
        t.assert_sound(0);
    }
}

/// A process that is killed by another signal, or ends without cleaning up, leaves nothing either.
#[test]
fn other_ways_to_end() {
    let t = TestArena::new(64 * MIB);
    for signal in [Signal::SIGTERM, Signal::SIGABRT, Signal::SIGXCPU] {
        let mut child = t.puppet();
        child.ask("draft 100000");
        child.ask("publish batch n 5 20000");
        child.ask("get n");
        child.signal(signal);
        assert_eq!(child.killed_by(), Some(signal as i32));
        let w = t.arena.writer_timeout(DEADLINE).expect("a permit");
        assert!(w.remove("n").expect("remove"));
        drop(w);
        t.assert_sound(0);
    }
    let mut child = t.puppet();
    child.ask("draft 100000");
    assert!(child.finish().success());
    t.assert_sound(0);
}
