//! Shows nothing by itself: what a puppet does with locks, values and mutable arrays.
//!
//! Objects are made by whoever asks first, in a shape that all agree on: a mutex guards a word, a large value has
//! [`WORDS`] words, a mutable array is one of words along one axis.

use std::time::Duration;

use faretra::feed::{Contents, Start, WhenFull};
use faretra::sync::{Event, Mutex, MutexGuard, Permit, Reset, SharedValue};
use faretra::{Arena, Error, MutableArray, Result, Rows, RowsMut};
use ndarray::Ix1;

use crate::obey::{cost, end_of, forked, limit, number, say};
use crate::support::DEADLINE;

/// Words of a large value: 256 bytes.
pub const WORDS: usize = 32;
/// Workers that `count` keeps apart, dead ones included; the first word is the total.
pub const COUNTERS: usize = 64;

/// What a puppet holds.
#[derive(Default)]
pub struct SyncHands {
    guards: Vec<MutexGuard<'static, u64>>,
    permits: Vec<Permit<'static>>,
    written: Vec<RowsMut<u64, Ix1>>,
    read: Vec<Rows<u64, Ix1>>,
    feed: Option<faretra::Feed>,
    subscriber: Option<faretra::Subscriber>,
    more_subscribers: Vec<faretra::Subscriber>,
}

/// What `count` works on.
pub struct Counts {
    pub all: Mutex<[u64; COUNTERS]>,
    /// Counted in two steps, which only the mutex keeps together.
    pub split: SharedValue<u64>,
}

impl Counts {
    pub fn of(arena: &Arena) -> Result<Counts> {
        Ok(Counts { all: arena.mutex_with("all", [0; COUNTERS])?, split: arena.shared_value("split", 0)? })
    }

    /// What a worker says that it has done: never more than it did.
    pub fn acknowledged(arena: &Arena, worker: u64) -> Result<SharedValue<u64>> {
        arena.shared_value(&format!("done-{worker}"), 0)
    }
}

/// Workers go on until this is set.
pub fn stop(arena: &Arena) -> Result<Event> {
    arena.event("stop", Reset::Manual)
}

fn reset(word: &str) -> Reset {
    match word {
        "auto" => Reset::Auto,
        "manual" => Reset::Manual,
        _ => panic!("an event resets by `auto` or `manual`, not `{word}`"),
    }
}

/// Takes something at once (0), in time, or whenever. `None`: it was not free at once.
fn take<T>(
    limit: Option<Duration>,
    now: impl FnOnce() -> Result<Option<T>>,
    timed: impl FnOnce(Duration) -> Result<T>,
    ever: impl FnOnce() -> Result<T>,
) -> Result<Option<T>> {
    match limit {
        Some(Duration::ZERO) => now(),
        Some(limit) => timed(limit).map(Some),
        None => ever().map(Some),
    }
}

fn rows_of(arena: &Arena, name: &str) -> Result<MutableArray<u64, Ix1>> {
    arena.mutable_array(name)
}

impl SyncHands {
    pub fn obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String> {
        let busy = || Ok("busy".to_owned());
        let mut done = String::new();
        match verb {
            // NAME CAPACITY block|drop: the producing end
            "feed" => {
                let when = if args[2] == "block" { WhenFull::Block } else { WhenFull::DropOldest };
                self.feed =
                    Some(arena.writer()?.feed_with(args[0], number(args, 1) as usize, when, Contents::Mixed)?);
            }
            // FIRST HOW_MANY (0: for ever): appends arrays of 1,000 equal numbers, each one more than the last
            "append" => {
                let feed = self.feed.as_ref().expect("opened");
                let first = number(args, 0);
                let last = if number(args, 1) == 0 { u64::MAX } else { first + number(args, 1) };
                for n in first..last {
                    feed.append(ndarray::Array1::from_elem(1000, n).view())?;
                }
            }
            "subscribe" => self.subscriber = Some(arena.subscribe(args[0], Start::Oldest)?),
            // FEED COUNT
            "subscribe-often" => {
                for _ in 0..number(args, 1) {
                    self.more_subscribers.push(arena.subscribe(args[0], Start::Newest)?);
                }
            }
            // MILLISECONDS: the next item
            "next" => {
                let subscriber = self.subscriber.as_mut().expect("subscribed");
                done = match subscriber.recv_timeout(Duration::from_millis(number(args, 0))) {
                    Ok(object) => {
                        let all: faretra::Array<u64, Ix1> = object.try_into()?;
                        assert!(all.iter().all(|n| *n == all[0]), "a torn item");
                        all[0].to_string()
                    }
                    Err(e) => e.to_string(),
                };
            }
            // NAME [MILLISECONDS]
            "lock" => {
                let m = arena.mutex_with(args[0], 0_u64)?;
                let guard = take(limit(args, 1), || m.try_lock(), |t| m.lock_timeout(t), || m.lock())?;
                let Some(guard) = guard.map(MutexGuard::into_owned) else { return busy() };
                done = format!("recovered={} {}", guard.recovered(), *guard);
                self.guards.push(guard);
            }
            "set" => **self.guards.last_mut().expect("locked") = number(args, 0),
            "consistent" => self.guards.last_mut().expect("locked").mark_consistent(),
            "unlock" => drop(self.guards.pop()),
            // NAME CAPACITY [MILLISECONDS]
            "acquire" => {
                let s = arena.semaphore(args[0], number(args, 1) as u32)?;
                let permit = take(limit(args, 2), || s.try_acquire(), |t| s.acquire_timeout(t), || s.acquire())?;
                let Some(permit) = permit.map(Permit::into_owned) else { return busy() };
                done = format!("recovered={}", permit.recovered());
                self.permits.push(permit);
            }
            // NAME CAPACITY HOW_MANY
            "acquire-many" => {
                let s = arena.semaphore(args[0], number(args, 1) as u32)?;
                for _ in 0..number(args, 2) {
                    self.permits.push(s.acquire()?.into_owned());
                }
            }
            "give" => drop(self.permits.pop()),
            // Acquires and gives back for ever.
            "churn" => {
                let s = arena.semaphore(args[0], number(args, 1) as u32)?;
                say("ok");
                loop {
                    let permit = s.acquire()?;
                    std::thread::sleep(Duration::from_millis(1));
                    drop(permit);
                }
            }
            // NAME auto|manual [MILLISECONDS]
            "event-wait" => {
                let e = arena.event(args[0], reset(args[1]))?;
                let passed = || Ok(e.try_wait()?.then_some(()));
                if take(limit(args, 2), passed, |t| e.wait_timeout(t), || e.wait())?.is_none() {
                    return busy();
                }
            }
            "event-set" => arena.event(args[0], reset(args[1]))?.set()?,
            // NAME PARTITION [MILLISECONDS]
            "write" => {
                let (a, p) = (rows_of(arena, args[0])?, number(args, 1) as usize);
                let rows = take(limit(args, 2), || a.try_write(p), |t| a.write_timeout(p, t), || a.write(p))?;
                let Some(rows) = rows else { return busy() };
                done = format!("recovered={}", rows.recovered());
                self.written.push(rows);
            }
            "rows-fill" => self.written.last_mut().expect("written").view_mut()?.fill(number(args, 0)),
            "rows-consistent" => self.written.last_mut().expect("written").mark_consistent(),
            "rows-drop" => drop(self.written.pop()),
            "rows-read" => {
                let (a, p) = (rows_of(arena, args[0])?, number(args, 1) as usize);
                let rows = take(limit(args, 2), || a.try_read(p), |t| a.read_timeout(p, t), || a.read(p))?;
                let Some(rows) = rows else { return busy() };
                done = format!("recovered={}", rows.recovered());
                self.read.push(rows);
            }
            "rows-unread" => drop(self.read.pop()),
            // NAME WORKER
            "rows-fill-all" => return fill_all(arena, &rows_of(arena, args[0])?, number(args, 1)),
            // Takes the writer's lease of a partition and lets go of it, for ever.
            "rows-churn" => {
                let (a, p) = (rows_of(arena, args[0])?, number(args, 1) as usize);
                say("ok");
                loop {
                    let rows = a.write(p)?;
                    std::thread::sleep(Duration::from_millis(1));
                    drop(rows);
                }
            }
            "count" => return count(arena, number(args, 0)),
            "values" => return values(arena, number(args, 0)),
            // Stores a large value for ever.
            "store" => {
                let v = arena.shared_value(args[0], [0_u64; WORDS])?;
                say("ok");
                for n in 1.. {
                    v.store([n; WORDS])?;
                }
            }
            "mutex-rounds" => return mutex_rounds(&arena.mutex_with(args[0], 0)?, number(args, 1)),
            // ROUNDS 0|1: whose turn it is first.
            "event-rounds" => return event_rounds(arena, number(args, 0), number(args, 1)),
            "idle" => return idle(arena, Duration::from_millis(number(args, 0))),
            "sync-fork" => return self.fork(arena),
            _ => return crate::sync_built::obey(arena, verb, args),
        }
        Ok(done)
    }

    /// What a forked child may and may not do with what it inherited.
    fn fork(&mut self, arena: &Arena) -> Result<String> {
        let m = arena.mutex_with("m", 0_u64)?;
        let s = arena.semaphore("s", 2)?;
        let e = arena.event("e", Reset::Auto)?;
        let word = arena.shared_value("word", 7_u64)?;
        let large = arena.shared_value("large", [7_u64; WORDS])?;
        let a = rows_of(arena, "a")?;
        let mut held = std::mem::take(self);
        let child = forked(|| {
            let forked = |e: Option<Error>| assert!(matches!(e, Some(Error::Forked(_))), "{e:?}");
            let soon = Duration::from_secs(5);
            forked(m.lock().err());
            forked(m.try_lock().err());
            forked(m.lock_timeout(soon).err());
            forked(m.is_locked().err());
            forked(s.acquire().err());
            forked(s.try_acquire().err());
            forked(s.acquire_timeout(soon).err());
            forked(s.release().err());
            forked(s.available().err());
            forked(e.set().err());
            forked(e.reset().err());
            forked(e.is_set().err());
            forked(e.wait().err());
            forked(e.try_wait().err());
            forked(e.wait_timeout(soon).err());
            forked(word.load().err());
            forked(word.store(1).err());
            forked(word.update(|n| n + 1).err());
            forked(word.compare_exchange(7, 8).err());
            forked(large.load().err());
            forked(large.store([1; WORDS]).err());
            forked(large.update(|_| [1; WORDS]).err());
            forked(a.write(0).err());
            forked(a.try_write(1).err());
            forked(a.write_all_timeout(soon).err());
            forked(a.read(1).err());
            forked(a.read_all().err());
            forked(a.is_frozen().err());
            forked(a.freeze().err());
            forked(arena.mutex("new").err());
            forked(arena.semaphore("new", 1).err());
            forked(arena.event("new", Reset::Auto).err());
            forked(arena.shared_value("new", 1_u8).err());
            forked(arena.mutable_array::<u64, Ix1>("a").err());
            for guard in &mut held.guards {
                **guard = 99;
                guard.mark_consistent();
            }
            for rows in &mut held.written {
                forked(rows.view_mut().err());
                rows.mark_consistent();
            }
            for rows in &held.read {
                forked(rows.view().err());
            }
            // Nothing of this gives anything back.
            if let Some(permit) = held.permits.pop() {
                permit.forget();
            }
            drop(std::mem::take(&mut held));
            drop((m, s, e, word, large, a));
            0
        });
        *self = held;
        Ok(end_of(child))
    }
}

/// Counts under a mutex until told to stop, and says how often.
fn count(arena: &Arena, worker: u64) -> Result<String> {
    let (counts, done, stop) = (Counts::of(arena)?, Counts::acknowledged(arena, worker)?, stop(arena)?);
    say("ok");
    let mut rounds = 0_u64;
    while !stop.is_set()? {
        let mut all = counts.all.lock()?;
        all.mark_consistent();
        let (total, split) = (all[0], counts.split.load()?);
        std::thread::yield_now();
        all[0] = total + 1;
        all[worker as usize] += 1;
        counts.split.store(split + 1)?;
        drop(all);
        rounds += 1;
        done.store(rounds)?;
    }
    Ok(rounds.to_string())
}

/// Updates a word and a large value until told to stop, and says how often.
fn values(arena: &Arena, worker: u64) -> Result<String> {
    let word = arena.shared_value("word", 0_u64)?;
    let large = arena.shared_value("large", [0_u64; WORDS])?;
    let (done, stop) = (Counts::acknowledged(arena, worker)?, stop(arena)?);
    say("ok");
    let (mut rounds, mut last) = (0_u64, 0);
    while !stop.is_set()? {
        word.update(|n| n + 1)?;
        large.update(|all| all.map(|n| n + 1))?;
        rounds += 1;
        done.store(rounds)?;
        let now = whole(&large)?;
        assert!(now > last, "{now} after {last}");
        last = now;
    }
    Ok(rounds.to_string())
}

/// What all words of a large value are.
#[track_caller]
pub fn whole(large: &SharedValue<[u64; WORDS]>) -> Result<u64> {
    let words = large.load()?;
    assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
    Ok(words[0])
}

/// What a filled array has at an index.
pub fn expected(index: usize) -> u64 {
    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Fills every partition that is not filled, whoever began it, and says how many. `busy`: the worker is in the middle
/// of one; `told`: how often anybody took up what a dead one had begun.
fn fill_all(arena: &Arena, array: &MutableArray<u64, Ix1>, worker: u64) -> Result<String> {
    let busy = arena.shared_value(&format!("busy-{worker}"), 0_u64)?;
    let told = arena.shared_value("told", 0_u64)?;
    let mut filled = 0;
    loop {
        let mut left = 0;
        for partition in 0..array.partitions() {
            let Some(mut rows) = array.try_write(partition)? else {
                left += 1;
                continue;
            };
            let (first, recovered) = (rows.rows().start, rows.recovered());
            let mut view = rows.view_mut()?;
            // The last element is written last: it says that the others are there.
            if !recovered && view.last().is_some_and(|last| *last != 0) {
                continue;
            }
            if recovered {
                told.update(|n| n + 1)?;
            }
            busy.store(1)?;
            for (i, element) in view.iter_mut().enumerate() {
                *element = expected(first + i);
                if i % 64 == 0 {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
            busy.store(0)?;
            filled += 1;
            rows.mark_consistent();
        }
        if left == 0 {
            return Ok(filled.to_string());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Two processes count a mutex up together, each with the other waiting for it most of the time.
fn mutex_rounds(mutex: &Mutex<u64>, until: u64) -> Result<String> {
    let mut mine = 0_u64;
    loop {
        let mut guard = mutex.lock_timeout(DEADLINE)?;
        if *guard >= until {
            return Ok(mine.to_string());
        }
        *guard += 1;
        mine += 1;
        // The other runs into the lock meanwhile.
        std::thread::yield_now();
    }
}

fn event_rounds(arena: &Arena, rounds: u64, side: u64) -> Result<String> {
    let mine = arena.event(&format!("turn-{side}"), Reset::Auto)?;
    let other = arena.event(&format!("turn-{}", 1 - side), Reset::Auto)?;
    for _ in 0..rounds {
        mine.wait_timeout(DEADLINE)?;
        other.set()?;
    }
    Ok(rounds.to_string())
}

/// A thread in each kind of wait, all in vain: parts per million of a processor that each of them used.
fn idle(arena: &Arena, limit: Duration) -> Result<String> {
    let cost = |wait: &dyn Fn() -> Option<Error>| {
        cost(limit, || {
            let ended = wait();
            assert!(matches!(ended, Some(Error::TimedOut(_))), "{ended:?}");
        })
    };
    let m = arena.mutex_with("m", 0_u64)?;
    let s = arena.semaphore("s", 1)?;
    let e = arena.event("e", Reset::Auto)?;
    let a = rows_of(arena, "a")?;
    let waits: [&(dyn Fn() -> Option<Error> + Sync); 4] =
        [&|| m.lock_timeout(limit).err(), &|| s.acquire_timeout(limit).err(), &|| e.wait_timeout(limit).err(), &|| {
            a.write_timeout(0, limit).err()
        }];
    let costs = std::thread::scope(|scope| {
        let threads = waits.map(|wait| scope.spawn(move || cost(&wait)));
        threads.map(|thread| thread.join().expect("no panic").to_string())
    });
    Ok(costs.join(" "))
}
