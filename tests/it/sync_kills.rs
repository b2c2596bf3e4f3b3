//! Shows that locks, values and mutable arrays outlive whoever holds, waits for, or changes them: killed, stopped,
//! interrupted or forked.

use std::time::{Duration, Instant};

use faretra::sync::Reset;
use faretra::{Error, MIB, MutableArray};
use ndarray::Ix1;

use crate::support::{Child, DEADLINE, TestArena, until};
use crate::sync_puppet::{COUNTERS, Counts, WORDS, expected, stop, whole};
use crate::values::Random;

fn array(t: &TestArena, len: usize, partitions: usize) -> MutableArray<u64, Ix1> {
    t.arena.writer().expect("a permit").mutable_array("a", len, partitions).expect("room")
}

/// The mutex of a killed holder goes to a waiter, who is told, like all after it until one says that things are
/// consistent. The value is what it was before the dead one locked.
#[test]
fn the_mutex_of_a_killed_holder_comes_back() {
    let t = TestArena::new(16 * MIB);
    let mut waiter = t.puppet();
    for round in 0..6_u64 {
        let mut holder = t.puppet();
        assert_eq!(holder.ask("lock m"), format!("recovered=false {round}"));
        holder.ask("set 777");
        if round % 2 == 1 {
            holder.ask("consistent");
        }
        waiter.tell("lock m");
        waiter.until_waiting();
        holder.kill();
        for _ in 0..3 {
            assert_eq!(waiter.answer(), Ok(format!("recovered=true {round}")), "round {round}");
            waiter.ask("unlock");
            waiter.tell("lock m 30000");
        }
        assert_eq!(waiter.answer(), Ok(format!("recovered=true {round}")));
        waiter.ask(&format!("set {}", round + 1));
        waiter.ask("consistent");
        waiter.ask("unlock");
    }
    assert_eq!(waiter.ask("lock m 0"), "recovered=false 6");
    t.assert_nothing_left(vec![waiter]);
}

/// All permits come back when all their holders are killed at once, and none is lost with waiters that are killed.
#[test]
fn permits_of_the_killed_come_back() {
    const PERMITS: usize = 12;
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore("s", PERMITS as u32).expect("made");
    for round in 0..3 {
        let mut holders: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
        for h in &mut holders {
            for _ in 0..PERMITS / 3 {
                assert_eq!(h.ask(&format!("acquire s {PERMITS}")), "recovered=false", "round {round}");
            }
        }
        assert!(s.try_acquire().expect("sound").is_none());
        let mut waiters: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
        for w in &mut waiters {
            w.tell(&format!("acquire s {PERMITS}"));
            w.until_waiting();
        }
        waiters[0].kill();
        holders.iter_mut().for_each(Child::kill);
        for w in &mut waiters[1..] {
            assert_eq!(w.answer().as_deref(), Ok("recovered=true"), "round {round}");
        }
        let all: Vec<_> = (2..PERMITS).map(|_| s.acquire_timeout(DEADLINE).expect("a permit")).collect();
        assert!(s.try_acquire().expect("sound").is_none(), "not one too many");
        assert!(all.iter().all(faretra::sync::Permit::recovered));
        drop(all);
        for w in &mut waiters[1..] {
            w.finish();
        }
        assert_eq!(s.available().expect("sound"), PERMITS as u32);
    }
    drop(s);
    t.assert_nothing_left(vec![]);
}

/// Waiters that are killed take nothing with them: whoever waits still gets it, in turn.
#[test]
fn killed_waiters_lose_nothing() {
    let t = TestArena::new(16 * MIB);
    drop(array(&t, 100, 2));
    let mut holder = t.puppet();
    for (take, give) in [
        ("lock m", "unlock"),
        ("acquire one 1", "give"),
        ("write a 0", "rows-drop"),
        ("rows-read a 1", "rows-unread"),
        ("event-set e manual", "event-set e auto"),
    ] {
        let (take, give, wait) = match take {
            "event-set e manual" => ("nothing", give, "event-wait e auto"),
            "rows-read a 1" => ("write a 1", "rows-drop", take),
            _ => (take, give, take),
        };
        holder.ask(take);
        let mut waiters: Vec<Child> = (0..4).map(|_| t.puppet()).collect();
        for w in &mut waiters {
            w.tell(wait);
            w.until_waiting();
        }
        let mut alive = waiters.split_off(2);
        waiters.iter_mut().for_each(Child::kill);
        holder.ask(give);
        // One of them first, then (it gives back, or the event is set again) the other.
        let mut went_on = 0;
        until("both to go on", || {
            for w in &mut alive {
                if let Some(answer) = w.try_answer(Duration::from_millis(1)) {
                    answer.expect("no error");
                    went_on += 1;
                    if wait == "event-wait e auto" && went_on == 1 {
                        holder.ask(give);
                    }
                    w.finish();
                }
            }
            (went_on == 2).then_some(())
        });
    }
    t.assert_nothing_left(vec![holder]);
}

/// A killed writer's partition is told to the next writers and readers, until it is consistent; a killed
/// reader's is simply free.
#[test]
fn partitions_of_the_killed_come_back() {
    let t = TestArena::new(16 * MIB);
    let a = array(&t, 100, 4);
    let live = t.arena.stats().expect("stats").live;
    let mut other = t.puppet();
    for round in 0..3 {
        let mut victim = t.puppet();
        assert_eq!(victim.ask("write a 1"), "recovered=false", "round {round}");
        victim.ask("rows-fill 666");
        assert_eq!(other.ask("write a 2 0"), "recovered=false", "others are not concerned");
        other.ask("rows-drop");
        other.tell("rows-read a 1");
        other.until_waiting();
        victim.kill();
        assert_eq!(other.answer().as_deref(), Ok("recovered=true"), "a reader is told");
        other.ask("rows-unread");
        for _ in 0..2 {
            assert_eq!(other.ask("write a 1 30000"), "recovered=true", "a writer is told, until it is mended");
            other.ask("rows-drop");
        }
        let broken = a.freeze_timeout(DEADLINE);
        assert!(broken.is_err_and(|e| e.to_string().contains("partition 1 of `a` was left half written")));
        let mut rows = a.write_timeout(1, DEADLINE).expect("free");
        assert!(rows.recovered());
        rows.view_mut().expect("ours").fill(1);
        rows.mark_consistent();
        drop(rows);
        assert_eq!(other.ask("rows-read a 1"), "recovered=false");
        other.ask("rows-unread");

        let mut reader = t.puppet();
        for _ in 0..3 {
            reader.ask("rows-read a 1");
        }
        assert!(a.try_write(1).expect("sound").is_none());
        other.tell("write a 1");
        other.until_waiting();
        assert_eq!(other.try_answer(Duration::from_millis(20)), None);
        reader.kill();
        assert_eq!(other.answer().as_deref(), Ok("recovered=false"), "a reader breaks nothing");
        other.ask("rows-drop");
    }
    assert_eq!(a.freeze_timeout(DEADLINE).expect("all are consistent").sum(), 25);
    drop(a);
    other.ask("close");
    t.assert_sound(live);
    t.assert_nothing_left(vec![other]);
}

/// The stopped keep what they have, and only that: stopped waiters, readers of values and writers hold up nobody.
#[test]
fn the_stopped_keep_what_they_have() {
    let t = TestArena::new(16 * MIB);
    let a = array(&t, 100, 2);
    let m = t.arena.mutex_with("m", 0_u64).expect("made");
    let mut holder = t.puppet();
    holder.ask("lock m");
    holder.ask("acquire s 1");
    holder.ask("write a 0");
    holder.stop();
    assert!(m.try_lock().expect("sound").is_none());
    // Longer than it takes to find out that somebody is dead.
    let soon = Duration::from_millis(400);
    assert!(matches!(m.lock_timeout(soon), Err(Error::TimedOut(_))));
    let s = t.arena.semaphore("s", 1).expect("made");
    assert!(matches!(s.acquire_timeout(soon), Err(Error::TimedOut(_))));
    assert!(matches!(a.write_timeout(0, soon), Err(Error::TimedOut(_))));
    drop(a.write_timeout(1, DEADLINE).expect("another partition"));
    assert_eq!(t.arena.recover().expect("recover").participants, 0);
    holder.resume();
    holder.ask("set 5");
    holder.ask("unlock");
    assert_eq!(*m.lock_timeout(DEADLINE).expect("free"), 5);
    assert!(s.try_acquire().expect("sound").is_none(), "still the other's");
    holder.ask("lock m");

    let mut waiters: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
    for w in &mut waiters {
        w.tell("lock m");
        w.until_waiting();
    }
    waiters[..2].iter().for_each(Child::stop);
    holder.ask("unlock");
    assert_eq!(waiters[2].answer().as_deref(), Ok("recovered=false 5"), "past those that are stopped");
    waiters[2].ask("unlock");
    drop(m.lock_timeout(DEADLINE).expect("past them too"));
    for w in &mut waiters[..2] {
        w.resume();
        assert_eq!(w.answer().as_deref(), Ok("recovered=false 5"));
        w.ask("unlock");
    }
    drop((a, m, s));
    waiters.push(holder);
    t.assert_nothing_left(waiters);
}

/// Writers of values that are stopped in the middle of storing block nobody, several of them at once.
#[test]
fn stopped_writers_of_values_block_nobody() {
    let t = TestArena::new(16 * MIB);
    let large = t.arena.shared_value("large", [0_u64; WORDS]).expect("made");
    let mut writers: Vec<Child> = (0..5).map(|_| t.puppet()).collect();
    for w in &mut writers {
        w.ask("store large");
    }
    let mut random = Random(4);
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(random.below(10)));
        for w in &writers {
            w.stop();
        }
        for n in 0..50 {
            whole(&large).expect("a load never waits");
            large.store([n; WORDS]).expect("five stopped ones leave two slots");
            assert_eq!(whole(&large).expect("sound"), n, "nobody else runs");
            large.update(|all| all.map(|n| n + 1)).expect("sound");
        }
        writers.iter().for_each(Child::resume);
    }
    writers.iter_mut().for_each(Child::kill);
    whole(&large).expect("sound");
    drop(large);
    t.assert_nothing_left(vec![]);
}

/// Eight workers in one of their loops, some of which are killed at random and replaced. Returns what each did:
/// `Ok` for those that ended themselves, `Err` for the acknowledged of the killed.
fn work_with_kills(t: &TestArena, verb: &str, kills: u64) -> Vec<Result<u64, u64>> {
    let mut next = 1;
    let mut start = || {
        let mut child = t.puppet();
        let worker = next;
        next += 1;
        child.ask(&format!("{verb} {worker}"));
        (child, worker)
    };
    let done = |worker| Counts::acknowledged(&t.arena, worker).and_then(|v| v.load()).expect("sound");
    let mut workers: Vec<(Child, u64)> = (0..8).map(|_| start()).collect();
    let mut random = Random(kills + 9);
    let mut ended = vec![];
    for _ in 0..kills {
        let i = random.below(8) as usize;
        // In the middle of its work: it goes round at least once.
        until("a worker to get on", || (done(workers[i].1) > 0).then_some(()));
        std::thread::sleep(Duration::from_millis(random.below(30)));
        workers[i].0.kill();
        ended.push(Err(done(workers[i].1)));
        workers[i] = start();
    }
    for (_, worker) in &workers {
        until("everybody to get on", || (done(*worker) > 500).then_some(()));
    }
    stop(&t.arena).expect("made").set().expect("sound");
    let all: Vec<(u64, Result<u64, u64>)> = workers
        .into_iter()
        .map(|(mut child, worker)| {
            let rounds = child.answer().expect("nothing torn").parse().expect("a number");
            assert_eq!(done(worker), rounds);
            child.finish();
            (worker, Ok(rounds))
        })
        .collect();
    let mut by_worker: Vec<(u64, Result<u64, u64>)> = all;
    by_worker.sort_by_key(|(worker, _)| *worker);
    ended.extend(by_worker.into_iter().map(|(_, rounds)| rounds));
    ended
}

fn sums(ended: &[Result<u64, u64>]) -> (u64, u64) {
    let acknowledged = ended.iter().map(|e| e.unwrap_or_else(|n| n)).sum();
    (acknowledged, ended.iter().filter(|e| e.is_err()).count() as u64)
}

/// Eight processes count in two steps under one mutex: no count is lost or doubled, those of the killed included
/// but for the one that each may have had in its hands.
#[test]
fn a_mutex_excludes() {
    for kills in [0, 30] {
        let t = TestArena::new(16 * MIB);
        let counts = Counts::of(&t.arena).expect("made");
        let ended = work_with_kills(&t, "count", kills);
        let (acknowledged, killed) = sums(&ended);
        let all = counts.all.lock_timeout(DEADLINE).expect("free").into_owned();
        let each: u64 = all[1..].iter().sum();
        assert!((kills as usize) + 9 <= COUNTERS);
        assert_eq!(all[0], each, "the value changes as a whole");
        assert!((acknowledged..=acknowledged + killed).contains(&each), "{each} counted, {acknowledged} told");
        for rounds in ended.iter().filter_map(|e| e.ok()) {
            assert!(all[1..].contains(&rounds), "a survivor's {rounds} rounds are counted exactly");
        }
        let split = counts.split.load().expect("sound");
        assert!((each..=each + killed).contains(&split), "{split} in two steps, {each} in one");
        eprintln!("{each} rounds under one mutex, {kills} killed");
        drop((all, counts));
        t.assert_nothing_left(vec![]);
    }
}

/// Eight processes update a word and 256 bytes: no load is torn, no acknowledged update lost, whoever is killed.
#[test]
fn values_are_whole_whoever_dies() {
    for kills in [0, 30] {
        let t = TestArena::new(16 * MIB);
        let word = t.arena.shared_value("word", 0_u64).expect("made");
        let large = t.arena.shared_value("large", [0_u64; WORDS]).expect("made");
        let (acknowledged, killed) = sums(&work_with_kills(&t, "values", kills));
        let (word_now, large_now) = (word.load().expect("sound"), whole(&large).expect("sound"));
        for now in [word_now, large_now] {
            assert!((acknowledged..=acknowledged + killed).contains(&now), "{now} after {acknowledged} updates");
        }
        assert_eq!(t.arena.recover().expect("recover").participants, 0, "or the kills above found them");
        eprintln!("{acknowledged} updates by 8 processes, {kills} killed");
        drop((word, large));
        t.assert_nothing_left(vec![]);
    }
}

/// Workers fill a mutable array while some are killed and replaced; frozen, it is what it should be.
#[test]
fn an_array_is_filled_whoever_dies() {
    const LEN: usize = 40_000;
    let t = TestArena::new(16 * MIB);
    let a = array(&t, LEN, 16);
    t.arena.trim().expect("trim");
    let live = t.arena.stats().expect("stats").live;
    let busy = |worker| t.arena.shared_value(&format!("busy-{worker}"), 0_u64).and_then(|v| v.load()).expect("sound");
    let mut next = 0;
    let mut start = || {
        let (mut child, worker) = (t.puppet(), next);
        next += 1;
        child.tell(&format!("rows-fill-all a {worker}"));
        (child, worker)
    };
    let mut workers: Vec<(Child, u64)> = (0..4).map(|_| start()).collect();
    let mut random = Random(11);
    let mut killed = 0;
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(random.below(10)));
        let i = random.below(4) as usize;
        let (child, worker) = &mut workers[i];
        // What it is at cannot change while it stands.
        child.stop();
        match busy(*worker) {
            1 => {
                child.kill();
                killed += 1;
                workers[i] = start();
            }
            _ => child.resume(),
        }
    }
    let mut filled = 0;
    for (child, _) in &mut workers {
        filled += child.answer().expect("all is filled").parse::<u64>().expect("a number");
        child.finish();
    }
    let told = t.arena.shared_value("told", 0_u64).and_then(|v| v.load()).expect("sound");
    assert_eq!(told, killed, "each was killed in the middle, and one was told");
    eprintln!("{killed} killed in the middle; the last four filled {filled} of 16 partitions");
    let frozen = a.freeze_timeout(DEADLINE).expect("consistent");
    let wrong = frozen.iter().enumerate().position(|(i, element)| *element != expected(i));
    assert_eq!(wrong, None);
    assert!(a.try_write(0).is_err_and(|e| e.to_string().contains("frozen")));
    let again = t.arena.array::<u64, Ix1>("a").expect("an array like any other");
    assert_eq!(again.len(), LEN);
    drop((frozen, again, a));
    t.assert_sound(live);
    t.assert_nothing_left(vec![]);
}

/// Signals at 1 kHz in both end no wait and lose no wake-up: a lost one costs a slice, so one in a hundred lost would
/// cost the deadline.
#[test]
fn signals_lose_no_wake_up() {
    const ROUNDS: u64 = 60_000;
    let t = TestArena::new(16 * MIB);
    let mut two = [t.puppet(), t.puppet()];
    two.iter_mut().for_each(Child::interrupt);
    // Interrupted for long in a wait that is in vain.
    two[0].ask("lock m");
    assert!(two[1].refuse("lock m 300").starts_with("TimedOut"));
    assert!(two[1].refuse("event-wait e auto 300").starts_with("TimedOut"));
    two[0].ask("unlock");

    let start = Instant::now();
    for c in &mut two {
        c.tell(&format!("mutex-rounds m {ROUNDS}"));
    }
    let counted: Vec<u64> = two.iter_mut().map(|c| c.answer().expect("in time").parse().expect("a number")).collect();
    assert_eq!(counted.iter().sum::<u64>(), ROUNDS);
    eprintln!("{ROUNDS} rounds of a mutex with alarms: {:?}, {counted:?}", start.elapsed());

    let start = Instant::now();
    for (side, c) in two.iter_mut().enumerate() {
        c.tell(&format!("event-rounds {ROUNDS} {side}"));
    }
    t.arena.event("turn-0", Reset::Auto).expect("made").set().expect("sound");
    for c in &mut two {
        c.answer().expect("in time");
    }
    eprintln!("{ROUNDS} rounds of an event with alarms: {:?}", start.elapsed());
    two.iter_mut().for_each(|c| c.assert_interrupted(100));
    t.assert_nothing_left(two.into());
}

/// Waiting costs next to nothing.
#[test]
fn waiters_are_idle() {
    let t = TestArena::new(16 * MIB);
    let a = array(&t, 10, 1);
    let m = t.arena.mutex_with("m", 0_u64).expect("made");
    let s = t.arena.semaphore("s", 1).expect("made");
    let owned = (m.lock().expect("free").into_owned(), s.acquire().expect("free").into_owned());
    let held = (owned, a.write(0).expect("free"));
    let mut idle = t.puppet();
    idle.assert_idle("idle 3000", "a mutex, semaphore, event, partition");
    drop((held, a, m, s));
    t.assert_nothing_left(vec![idle]);
}

/// A forked child is told so by every call, and what it inherited it cannot give back.
#[test]
fn forked_children_hold_nothing() {
    let t = TestArena::new(16 * MIB);
    let a = array(&t, 10, 2);
    let mut parent = t.puppet();
    for line in ["lock m", "set 3", "acquire s 2", "write a 0", "rows-fill 4", "rows-read a 1"] {
        parent.ask(line);
    }
    t.fork(&mut parent, "sync-fork");
    let m = t.arena.mutex_with("m", 0_u64).expect("made");
    let s = t.arena.semaphore("s", 2).expect("made");
    assert!(m.try_lock().expect("sound").is_none());
    assert_eq!(s.available().expect("sound"), 1);
    assert!(a.try_write(0).expect("sound").is_none() && a.try_write(1).expect("sound").is_none());
    for line in ["unlock", "give", "rows-drop", "rows-unread"] {
        parent.ask(line);
    }
    assert_eq!(*m.try_lock().expect("sound").expect("free"), 3, "the parent's value, not the child's");
    assert_eq!(s.available().expect("sound"), 2);
    let all = a.write_all_timeout(DEADLINE).expect("free");
    assert!(!all.recovered());
    assert_eq!(all.view().expect("ours").sum(), 20);
    drop((all, a, m, s));
    t.assert_nothing_left(vec![parent]);
}

/// Whoever has an object open goes on when its name is removed, or given to another; its memory comes back with
/// the last handle.
#[test]
fn removed_names_take_nothing_away() {
    let t = TestArena::new(16 * MIB);
    let a = array(&t, 1000, 2);
    let m = t.arena.mutex_with("m", 0_u64).expect("made");
    let s = t.arena.semaphore("s", 1).expect("made");
    let e = t.arena.event("e", Reset::Auto).expect("made");
    let v = t.arena.shared_value("v", [1_u64; WORDS]).expect("made");
    let mut holder = t.puppet();
    for line in ["lock m", "acquire s 1", "write a 0"] {
        holder.ask(line);
    }
    let mut waiters: Vec<Child> = (0..4).map(|_| t.puppet()).collect();
    for (w, line) in waiters.iter_mut().zip(["lock m", "acquire s 1", "write a 0", "event-wait e auto"]) {
        w.tell(line);
        w.until_waiting();
    }
    let objects = t.arena.stats().expect("stats").objects;
    let w = t.arena.writer().expect("a permit");
    for name in ["a", "m", "s", "e", "v"] {
        assert!(w.remove(name).expect("remove"));
    }
    assert!(t.arena.stats().expect("stats").live > 0, "held in place");
    v.store([2; WORDS]).expect("still ours");
    // Another object of that name, which has nothing to do with it.
    let other = t.arena.mutex_with("m", 100_u64).expect("made");
    assert_eq!(*other.try_lock().expect("sound").expect("free"), 100);
    assert!(m.try_lock().expect("sound").is_none());
    // The first holder dies, the next gives back.
    holder.kill();
    for w in &mut waiters[..3] {
        assert!(w.answer().expect("it goes on").starts_with("recovered=true"));
    }
    e.set().expect("sound");
    waiters[3].answer().expect("it goes on");
    waiters.iter_mut().for_each(|w| drop(w.ask("close")));
    assert!(m.lock_timeout(DEADLINE).expect("free").recovered());
    assert_eq!(whole(&v).expect("sound"), 2);
    drop((a, m, s, e, v));
    t.arena.recover().expect("recover");
    drop(other);
    assert!(w.remove("m").expect("remove"));
    drop(w);
    let left = t.arena.stats().expect("stats").objects;
    assert!(left < objects, "{left} objects of {objects}");
    t.assert_nothing_left(waiters);
    assert_eq!(t.arena.stats().expect("stats").objects, 0, "memory and names are back");
}

/// A dead holder is found also while others hand over beside it all the time.
#[test]
fn the_dead_are_found_in_the_busiest_place() {
    let t = TestArena::new(16 * MIB);
    drop(array(&t, 100, 2));
    // Three want what two may have, and a third has died with one of the two: the bell is never silent for long.
    let mut holder = t.puppet();
    holder.ask("acquire s 2");
    let mut busy: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
    for b in &mut busy {
        b.ask("churn s 2");
    }
    holder.kill();
    until("one who waits to find the dead", || (t.arena.stats().expect("stats").participants == 4).then_some(()));
    busy.iter_mut().for_each(Child::kill);

    // The partitions of an array share a bell.
    let mut busy: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
    for b in &mut busy {
        b.ask("rows-churn a 0");
    }
    let (mut holder, mut waiter) = (t.puppet(), t.puppet());
    holder.ask("write a 1");
    waiter.tell("write a 1");
    waiter.until_waiting();
    holder.kill();
    assert_eq!(waiter.answer().as_deref(), Ok("recovered=true"));
    busy.iter_mut().for_each(Child::kill);
    t.assert_nothing_left(vec![waiter]);
}

/// One of two holders is found dead however many permits the other has: each is asked about once.
#[test]
fn the_dead_are_found_among_many_permits() {
    const PERMITS: u32 = 8192;
    let t = TestArena::new(16 * MIB);
    let s = t.arena.semaphore("s", PERMITS).expect("made");
    let (mut other, mut victim) = (t.puppet(), t.puppet());
    other.ask(&format!("acquire-many s {PERMITS} {}", PERMITS - 1));
    assert_eq!(victim.ask(&format!("acquire s {PERMITS}")), "recovered=false");
    let mut waiter = t.puppet();
    waiter.tell(&format!("acquire s {PERMITS}"));
    waiter.until_waiting();
    victim.kill();
    assert_eq!(waiter.answer().as_deref(), Ok("recovered=true"));
    assert_eq!(s.available().expect("sound"), 0);
    drop(s);
    t.assert_nothing_left(vec![other, waiter]);
}

/// An update that panics gives its slot back, as often as it does.
#[test]
fn panicking_updates_keep_no_slot() {
    let t = TestArena::new(16 * MIB);
    let v = t.arena.shared_value("v", [1_u64; WORDS]).expect("made");
    let (send, stored) = std::sync::mpsc::channel();
    let other = v.clone();
    // In a thread of its own, which the deadline leaves behind.
    std::thread::spawn(move || {
        for _ in 0..20 {
            let panicking = || other.update(|_| panic!("on purpose"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        }
        let done = other.store([2; WORDS]).is_ok();
        drop(other);
        send.send(done)
    });
    assert_eq!(stored.recv_timeout(DEADLINE), Ok(true), "as many panics as slots, and none is free");
    assert_eq!(whole(&v).expect("sound"), 2);
    drop(v);
    t.assert_nothing_left(vec![]);
}
