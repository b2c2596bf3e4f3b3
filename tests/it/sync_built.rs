//! Shows that a condition, a barrier and a re-entrant lock can be built on the public API, as a language binding
//! would, and that they survive the death of whoever waits in them.

use std::sync::PoisonError;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use faretra::sync::{Mutex, MutexGuard, Semaphore, SharedValue};
use faretra::{Arena, Error, MIB, Result};

use crate::obey::number;
use crate::support::{Child, DEADLINE, TestArena, until};

/// Most who wait for one condition.
const SLEEPERS: u32 = 32;

/// Who waits holds a permit of `asleep`, which comes back when it dies: so the sleepers that are counted live. Who
/// notifies keeps the mutex until those that it woke have taken their permits of `wake`, so nobody who comes
/// later takes one of these.
struct Condition {
    arena: Arena,
    mutex: Mutex<u64>,
    asleep: Semaphore,
    wake: Semaphore,
    woken: Semaphore,
}

impl Condition {
    fn of(arena: &Arena, name: &str) -> Result<Condition> {
        Ok(Condition {
            mutex: arena.mutex_with(name, 0)?,
            asleep: arena.semaphore(&format!("{name}-asleep"), SLEEPERS)?,
            wake: arena.semaphore_with(&format!("{name}-wake"), 0, SLEEPERS)?,
            woken: arena.semaphore_with(&format!("{name}-woken"), 0, SLEEPERS)?,
            arena: arena.clone(),
        })
    }

    /// Lets go of the mutex while it waits. `false`: nobody notified it in time.
    fn wait<'a>(&'a self, guard: MutexGuard<'a, u64>, timeout: Duration) -> Result<(MutexGuard<'a, u64>, bool)> {
        let here = self.asleep.acquire()?;
        drop(guard);
        let told = match self.wake.acquire_timeout(timeout) {
            Ok(permit) => {
                permit.forget();
                // Only hurries the notifier. Full: it has seen enough of us.
                let _ = self.woken.release();
                true
            }
            Err(Error::TimedOut(_)) => false,
            Err(e) => return Err(e),
        };
        drop(here);
        Ok((self.mutex.lock()?, told))
    }

    fn sleepers(&self) -> Result<u32> {
        Ok(SLEEPERS - self.asleep.available()?)
    }

    /// Wakes as many, `_guard` being locked; says how many went on.
    fn notify(&self, _guard: &MutexGuard<'_, u64>, most: u32) -> Result<u32> {
        let chosen = most.min(self.sleepers()?);
        for _ in 0..chosen {
            self.wake.release()?;
        }
        while self.wake.available()? > 0 && self.sleepers()? > 0 {
            match self.woken.acquire_timeout(Duration::from_millis(50)) {
                Ok(permit) => permit.forget(),
                // A sleeper may have died: recovery takes its permits back.
                Err(Error::TimedOut(_)) => drop(self.arena.recover()?),
                Err(e) => return Err(e),
            }
        }
        let mut left = 0;
        while let Some(permit) = self.wake.try_acquire()? {
            permit.forget();
            left += 1;
        }
        while let Some(permit) = self.woken.try_acquire()? {
            permit.forget();
        }
        Ok(chosen - left)
    }
}

/// `[who has arrived, how often all have]`, changed under the condition's mutex.
struct Barrier {
    condition: Condition,
    state: SharedValue<[u64; 2]>,
    parties: u64,
}

impl Barrier {
    fn of(arena: &Arena, name: &str, parties: u64) -> Result<Barrier> {
        let state = arena.shared_value(&format!("{name}-state"), [0; 2])?;
        Ok(Barrier { condition: Condition::of(arena, name)?, state, parties })
    }

    fn wait(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut guard = self.condition.mutex.lock_timeout(timeout)?;
        let [arrived, turn] = self.state.load()?;
        if arrived + 1 == self.parties {
            self.state.store([0, turn + 1])?;
            self.condition.notify(&guard, u32::MAX)?;
            return Ok(());
        }
        self.state.store([arrived + 1, turn])?;
        while self.state.load()?[1] == turn {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut(timeout));
            }
            (guard, _) = self.condition.wait(guard, left)?;
        }
        Ok(())
    }
}

/// Who has it, how often, and the guard.
type Owner = Option<(ThreadId, u32, MutexGuard<'static, u64>)>;

/// A lock that its thread may take again. Which thread has it is this process's affair.
struct RLock {
    mutex: Mutex<u64>,
    owner: std::sync::Mutex<Owner>,
}

impl RLock {
    fn of(arena: &Arena, name: &str) -> Result<RLock> {
        Ok(RLock { mutex: arena.mutex_with(name, 0)?, owner: std::sync::Mutex::default() })
    }

    /// `false`: somebody else, or another thread of ours, has it still.
    fn lock(&self, timeout: Duration) -> Result<bool> {
        let me = std::thread::current().id();
        if let Some((_, depth, _)) = self.owner().as_mut().filter(|(owner, ..)| *owner == me) {
            *depth += 1;
            return Ok(true);
        }
        match self.mutex.lock_timeout(timeout) {
            Ok(guard) => *self.owner() = Some((me, 1, guard.into_owned())),
            Err(Error::TimedOut(_)) => return Ok(false),
            Err(e) => return Err(e),
        }
        Ok(true)
    }

    fn unlock(&self) {
        let mut owner = self.owner();
        let (who, depth, _) = owner.as_mut().expect("locked");
        assert_eq!(*who, std::thread::current().id(), "only its owner unlocks it");
        *depth -= 1;
        if *depth == 0 {
            *owner = None;
        }
    }

    fn owner(&self) -> std::sync::MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What puppets do with these.
pub fn obey(arena: &Arena, verb: &str, args: &[&str]) -> Result<String> {
    Ok(match verb {
        // NAME MILLISECONDS: one wait.
        "condition-wait" => {
            let c = Condition::of(arena, args[0])?;
            let (guard, told) = c.wait(c.mutex.lock()?, Duration::from_millis(number(args, 1)))?;
            format!("told={told} {}", *guard)
        }
        "condition-notify" => {
            let c = Condition::of(arena, args[0])?;
            let mut guard = c.mutex.lock()?;
            *guard += 1;
            c.notify(&guard, number(args, 1) as u32)?.to_string()
        }
        // NAME PARTIES ROUNDS
        "barrier" => {
            let (parties, rounds) = (number(args, 1), number(args, 2));
            let b = Barrier::of(arena, args[0], parties)?;
            let arrived = arena.shared_value("arrived", 0_u64)?;
            for round in 1..=rounds {
                arrived.update(|n| n + 1)?;
                b.wait(DEADLINE)?;
                // All of this round have arrived, and of the next at most the others.
                let now = arrived.load()?;
                assert!((parties * round..parties * (round + 1)).contains(&now), "round {round}: {now}");
            }
            String::new()
        }
        "barrier-once" => {
            let b = Barrier::of(arena, args[0], number(args, 1))?;
            b.wait(Duration::from_millis(number(args, 2)))?;
            String::new()
        }
        // NAME ROUNDS: counts in two steps, three deep.
        "reenter" => {
            let lock = RLock::of(arena, args[0])?;
            let count = arena.shared_value("count", 0_u64)?;
            for _ in 0..number(args, 1) {
                (0..3).try_for_each(|_| lock.lock(DEADLINE).map(|locked| assert!(locked)))?;
                let now = count.load()?;
                lock.unlock();
                std::thread::yield_now();
                lock.unlock();
                count.store(now + 1)?;
                lock.unlock();
            }
            String::new()
        }
        _ => panic!("a puppet does not know `{verb}`"),
    })
}

/// Waits until so many sleep on a condition.
fn until_asleep(t: &TestArena, name: &str, sleepers: u32) {
    let c = Condition::of(&t.arena, name).expect("made");
    until("sleepers", || (c.sleepers().expect("sound") == sleepers).then_some(()));
}

/// Waits time out, one is notified, all are notified; a killed sleeper takes no notification with it.
#[test]
fn a_condition() {
    let t = TestArena::new(16 * MIB);
    let mut all: Vec<Child> = (0..5).map(|_| t.puppet()).collect();
    assert_eq!(all[0].ask("condition-wait c 30"), "told=false 0");
    assert_eq!(all[0].ask("condition-notify c 1"), "0", "nobody sleeps");
    for round in 0..10_u64 {
        for sleeper in &mut all[1..] {
            sleeper.tell("condition-wait c 60000");
        }
        until_asleep(&t, "c", 4);
        assert_eq!(all[0].ask("condition-notify c 1"), "1");
        until_asleep(&t, "c", 3);
        assert_eq!(all[0].ask("condition-notify c 9"), "3");
        let told: Vec<String> = all[1..].iter_mut().map(|c| c.answer().expect("told")).collect();
        let (first, last) = (format!("told=true {}", 2 + round * 2), format!("told=true {}", 3 + round * 2));
        assert!(told.iter().all(|told| *told == first || *told == last), "{told:?}, not {first} or {last}");
    }
    for _ in 0..3 {
        for sleeper in &mut all[1..] {
            sleeper.tell("condition-wait c 60000");
        }
        until_asleep(&t, "c", 4);
        all.swap_remove(1).kill();
        assert_eq!(all[0].ask("condition-notify c 4"), "3", "the dead are not counted");
        for sleeper in &mut all[1..] {
            sleeper.answer().expect("told");
        }
        all.push(t.puppet());
    }
    for c in &mut all {
        c.finish();
    }
    t.assert_sound(0);
}

/// Four processes over fifty rounds: nobody is ever ahead by more than one.
#[test]
fn a_barrier() {
    let t = TestArena::new(16 * MIB);
    let mut all: Vec<Child> = (0..4).map(|_| t.puppet()).collect();
    for c in &mut all {
        c.tell("barrier b 4 50");
    }
    for c in &mut all {
        c.answer().expect("all rounds");
    }
    assert_eq!(t.arena.shared_value("arrived", 0_u64).expect("there").load().expect("sound"), 200);
    assert!(all[0].refuse("barrier-once alone 2 50").starts_with("TimedOut"));
    for c in &mut all {
        c.finish();
    }
    t.assert_sound(0);
}

/// One thread takes it again and again, others and other processes wait, until the last unlock.
#[test]
fn a_reentrant_lock() {
    let t = TestArena::new(16 * MIB);
    let mut all: Vec<Child> = (0..3).map(|_| t.puppet()).collect();
    for c in &mut all {
        c.tell("reenter r 300");
    }
    for c in &mut all {
        c.answer().expect("done");
    }
    assert_eq!(t.arena.shared_value("count", 0_u64).expect("there").load().expect("sound"), 900);
    let lock = RLock::of(&t.arena, "r").expect("made");
    for _ in 0..2 {
        assert!(lock.lock(DEADLINE).expect("sound"));
    }
    let elsewhere = || {
        let locked = lock.lock(Duration::from_millis(5)).expect("sound");
        if locked {
            lock.unlock();
        }
        locked
    };
    for free in [false, false, true] {
        let found = std::thread::scope(|s| s.spawn(elsewhere).join().expect("no panic"));
        assert_eq!(found, free);
        assert_eq!(all[0].ask("lock r 0") != "busy", free);
        all[0].ask("unlock");
        if lock.owner().is_some() {
            lock.unlock();
        }
    }
    for c in &mut all {
        c.finish();
    }
    drop(lock);
    t.assert_sound(0);
}
