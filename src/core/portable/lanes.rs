//! How threads sleep and are woken where there are no futexes: by events of `raw_sync`, one for each thread that sleeps.
//!
//! ```text
//! lane    { owner, bell, spoilt, event }            in the segment, behind the participants' holds
//! sleep   take a lane; bell := what we wait for; look at the word AGAIN; wait until we are told, a slice at most; bell := 0
//! wake    (after the word was changed)  each lane whose bell is that one: CAS bell -> 0, and its event is to be set
//!
//! the ringer's thread            the event           the listener's thread       the sleeper
//!     set ---------------------> in shared memory -----> wait, tell -----------> told, or its time is over
//! ```
//!
//! * E1: the word is looked at after the bell was shown, and the bells after the word was changed: one of them sees the other.
//! * E2: nothing depends on an event. Whoever sleeps looks at the word again after each wait, and every wait is bounded.
//! * E3: one thread waits for an event, which resets itself: what wakes it wakes nobody else in its stead.
//! * E4: no thread of the program touches an event: one of the library sets those of others ([`Ringers`]), one for each lane
//!   waits for ours (`Lanes::listen`). If one of them does not come back, that costs this process a thread, and nobody a wait.
//!
//! # What the crate's events lack on Unix
//!
//! An event is a pthread mutex and condition in shared memory.
//!
//! * *The mutex is not robust.* One that a killed process has is locked for ever: `set` waits for it without an end, and so
//!   does `wait` when its time is over, because a condition gives the mutex back. A condition whose waiter was killed may keep
//!   its ringer, too. So E4; an event that a ringer does not come back from is *spoilt*, and never used again.
//! * *A timeout whose nanoseconds add up to a second is refused* (`tv_nsec` overflows): a wait ends before the next second begins.
//! * *The time is that of the wall clock*: where that is set back, a listener waits until it is what it was. It still hears.
//! * *A signal does not end a wait*: the interrupt hook is asked after a slice.
//!
//! # Death
//!
//! A dead sleeper leaves a lane with its name, whose event is rung once more at most. Who finds no free lane takes that of one
//! who is proved dead, and makes its event anew. Without a lane a sleeper looks again every [`NAP`].
#![allow(unsafe_code, reason = "events lie in shared memory")]

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raw_sync::Timeout;
use raw_sync::events::{Event, EventInit, EventState};

use crate::core::forked::PerProcess;
use crate::core::mem::Mem;

/// How many threads of all processes can sleep on events.
const LANES: u64 = 1024;
/// Bytes of a lane: its words, and room for an event.
const LANE: u64 = 320;
const EVENT: u64 = 64;

/// After so long a sleeper looks by itself, and shows its bell again.
const SLICE: Duration = Duration::from_millis(90);
/// How long one without a lane sleeps.
const NAP: Duration = Duration::from_millis(2);
/// How long a listener waits at most before it looks whether it is still needed.
const LOOK: Duration = Duration::from_secs(1);
/// What a thread of ours needs.
const STACK: usize = 64 << 10;
/// After so long a thread that sets an event does not come back any more.
const STUCK: Duration = Duration::from_millis(300);

/// The bell of who sleeps on several.
pub const ANY: u64 = u64::MAX;

/// Words of a lane.
mod word {
    /// Whose it is, plus one. 0: nobody's.
    pub const OWNER: u64 = 0;
    /// The bell that is slept on, plus one; [`super::ANY`]; 0: none.
    pub const BELL: u64 = 8;
    /// 1: nobody may touch its event any more.
    pub const SPOILT: u64 = 16;
}

/// The lanes of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// Where the count of lanes that were used lies, and then they.
    at: u64,
    /// The segment's first byte.
    base: NonNull<u8>,
}

// SAFETY: an address; what lies there is reached by `Mem` and by events, which are made for several processes.
unsafe impl Send for Lanes {}
// SAFETY: as above.
unsafe impl Sync for Lanes {}

/// A lane that is ours, with its listener.
#[derive(Clone, Debug)]
pub struct Lane {
    off: u64,
    ear: Arc<Ear>,
}

/// What a listener tells a sleeper of its process.
#[derive(Debug, Default)]
pub struct Ear {
    rung: Mutex<bool>,
    told: Condvar,
    /// Nobody sleeps there any more.
    closed: AtomicBool,
}

impl Ear {
    fn tell(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_one();
    }

    /// Waits until it is told something, `limit` at most.
    fn wait(&self, limit: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(rung, limit, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.tell();
    }
}

impl Lane {
    /// Wakes who sleeps in it.
    pub fn waker(&self) -> Waker {
        self.ear.clone().into()
    }
}

impl Lanes {
    /// Bytes that they take.
    pub const BYTES: u64 = 64 + LANES * LANE;

    /// The lanes at `at`, a multiple of 64.
    ///
    /// # Safety
    ///
    /// * `base` maps the segment for reading and writing, these bytes too, for as long as this and its copies are used;
    /// * at first the bytes are 0, and nobody but lanes at the same place changes them.
    pub unsafe fn new(base: NonNull<u8>, at: u64) -> Lanes {
        Lanes { at, base }
    }

    fn lanes(self, used: u64) -> impl Iterator<Item = u64> {
        (0..used.min(LANES)).map(move |n| self.at + 64 + n * LANE)
    }

    fn event(self, lane: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add((lane + EVENT) as usize)
    }

    /// Takes a lane for `owner`: a free one, or that of one who `is_gone`.
    pub fn claim(
        self,
        mem: &impl Mem,
        owner: u64,
        keep: &Arc<dyn Kept>,
        is_gone: impl Fn(u64) -> bool,
    ) -> Option<Lane> {
        let off = self.take(mem, owner, is_gone)?;
        mem.store(off + word::BELL, 0, SeqCst);
        let memory = self.event(off);
        // SAFETY: mapped (contract of `Lanes::new`), large enough (checked), and nobody's but ours since we have the lane; a
        // ringer that is late, and sets the event of the one before, spoils a wake-up at most (E2).
        let made = (Event::size_of(Some(memory)) as u64 <= LANE - EVENT).then(|| unsafe { Event::new(memory, true) });
        let lane = Lane { off, ear: Arc::default() };
        if !matches!(made, Some(Ok(_))) || !self.listen(&lane, keep.clone()) {
            mem.store(off + word::OWNER, 0, SeqCst);
            return None;
        }
        let index = (off - self.at - 64) / LANE;
        let mut used = mem.load(self.at, SeqCst);
        while used <= index {
            match mem.cas(self.at, used, index + 1, SeqCst) {
                Ok(_) => break,
                Err(found) => used = found,
            }
        }
        Some(lane)
    }

    fn take(self, mem: &impl Mem, owner: u64, is_gone: impl Fn(u64) -> bool) -> Option<u64> {
        let taken = |off: &u64, from: u64| mem.cas(off + word::OWNER, from, owner + 1, SeqCst).is_ok();
        let sound = |off: &u64| mem.load(off + word::SPOILT, SeqCst) == 0;
        let is_free = |off: &u64| mem.load(off + word::OWNER, Relaxed) == 0;
        let free = self.lanes(LANES).find(|off| sound(off) && is_free(off) && taken(off, 0));
        free.or_else(|| {
            self.lanes(LANES).find(|off| {
                let theirs = mem.load(off + word::OWNER, SeqCst);
                sound(off) && theirs != 0 && is_gone(theirs - 1) && taken(off, theirs)
            })
        })
    }

    /// Starts the listener of a lane. `false`: no thread can be started.
    fn listen(self, lane: &Lane, keep: Arc<dyn Kept>) -> bool {
        let Lane { off, ear } = lane.clone();
        let run = move || {
            crate::core::kernel::block_signals();
            while !ear.closed.load(SeqCst) {
                if self.wait(off) {
                    ear.tell();
                }
            }
            // Only now, as nobody else may make the event anew while we wait for it.
            keep.store(off + word::OWNER, 0);
        };
        std::thread::Builder::new().name("faretra-ear".into()).stack_size(STACK).spawn(run).is_ok()
    }

    /// Waits for an event for a while. Whether it was set.
    fn wait(self, off: u64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
        let (limit, asked) = (before_the_next_second(LOOK, now), Instant::now());
        // SAFETY: mapped for as long as the listener keeps it; made by `claim`. What damage does to it, it does to a thread that
        // nobody waits for.
        let event = unsafe { Event::from_existing(self.event(off)) };
        let set = event.is_ok_and(|(event, _)| event.wait(Timeout::Val(limit)).is_ok());
        // It was refused: then this was no sleep.
        if !set && asked.elapsed() < limit / 2 {
            std::thread::sleep(NAP);
        }
        set
    }

    /// Gives a lane back, as soon as its listener is told.
    pub fn release(self, lane: Lane, keep: &Arc<dyn Kept>) {
        lane.ear.closed.store(true, SeqCst);
        self.ring(lane.off, keep);
    }

    /// Sleeps on a bell (or on [`ANY`]) while `unchanged`, `limit` at most. `false`: the lane is spoilt, and not to be used again.
    pub fn sleep(
        self,
        mem: &impl Mem,
        lane: &Lane,
        bell: u64,
        limit: Duration,
        mut unchanged: impl FnMut() -> bool,
    ) -> bool {
        let shown = if bell == ANY { ANY } else { bell + 1 };
        let is_sound = || mem.load(lane.off + word::SPOILT, SeqCst) == 0;
        let start = Instant::now();
        loop {
            mem.store(lane.off + word::BELL, shown, SeqCst);
            fence(SeqCst);
            let left = limit.saturating_sub(start.elapsed());
            // E1
            if !unchanged() || left.is_zero() || !is_sound() {
                break;
            }
            lane.ear.wait(left.min(SLICE));
        }
        mem.store(lane.off + word::BELL, 0, SeqCst);
        if is_sound() {
            return true;
        }
        lane.ear.closed.store(true, SeqCst);
        false
    }

    /// Has everyone woken who sleeps on a bell.
    pub fn wake(self, mem: &impl Mem, bell: u64, keep: &Arc<dyn Kept>) {
        fence(SeqCst);
        for off in self.lanes(mem.load(self.at, SeqCst)) {
            let shown = mem.load(off + word::BELL, SeqCst);
            if (shown == bell + 1 || shown == ANY) && mem.cas(off + word::BELL, shown, 0, SeqCst).is_ok() {
                self.ring(off, keep);
            }
        }
    }

    /// Has the event of a lane set.
    fn ring(self, off: u64, keep: &Arc<dyn Kept>) {
        if let Ok(ringers) = RINGERS.get(Ringers::default) {
            ringers.give(Job { lanes: self, off, keep: keep.clone() });
        }
    }
}

/// Keeps a segment mapped.
pub trait Kept: Send + Sync {
    /// Stores a word.
    fn store(&self, off: u64, value: u64);
}

const SECOND: u32 = 1_000_000_000;
/// What may pass between our look at the clock and the crate's.
const SLACK: u32 = 200_000;

/// So long that a wait that begins at so many nanoseconds of a second is over before the next. At least a millisecond, where
/// that may be refused.
fn before_the_next_second(left: Duration, now: u32) -> Duration {
    let rest = Duration::from_nanos(SECOND.saturating_sub(now).saturating_sub(SLACK).into());
    left.min(rest).max(Duration::from_millis(1))
}

/// Something to set.
struct Job {
    lanes: Lanes,
    off: u64,
    keep: Arc<dyn Kept>,
}

static RINGERS: PerProcess<Ringers> = PerProcess::new();

/// The thread of a process that sets events, and what it has to do.
struct Ringers {
    jobs: Sender<Job>,
    /// Locked by the ringer that waits for something to do.
    todo: Arc<Mutex<Receiver<Job>>>,
    ringer: Mutex<Option<Arc<At>>>,
}

impl Default for Ringers {
    fn default() -> Ringers {
        let (jobs, todo) = channel();
        Ringers { jobs, todo: Arc::new(Mutex::new(todo)), ringer: Mutex::default() }
    }
}

/// What a ringer is at.
#[derive(Default)]
struct At {
    /// Since when, in milliseconds of [`since_start`], plus one. 0: it waits for something to do.
    since: AtomicU64,
    job: Mutex<Option<(Arc<dyn Kept>, u64)>>,
}

fn since_start() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

impl Ringers {
    /// Has something set, by another ringer if the one before does not come back from an event.
    fn give(&self, job: Job) {
        let mut ringer = self.ringer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = ringer.as_ref().filter(|at| at.is_stuck()) {
            let job = at.job.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((keep, off)) = job {
                keep.store(off, 1);
            }
            *ringer = None;
        }
        if ringer.is_none() {
            *ringer = self.start();
        }
        // Without a thread sleepers look by themselves (E2).
        if ringer.is_some() {
            let _ = self.jobs.send(job);
        }
    }

    fn start(&self) -> Option<Arc<At>> {
        let (at, todo) = (Arc::<At>::default(), self.todo.clone());
        let mine = at.clone();
        let run = move || {
            crate::core::kernel::block_signals();
            let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            while let Some(job) = next() {
                mine.set(&job);
            }
        };
        let builder = std::thread::Builder::new().name("faretra-ring".into());
        builder.stack_size(STACK).spawn(run).ok()?;
        Some(at)
    }
}

impl At {
    fn is_stuck(&self) -> bool {
        let since = self.since.load(SeqCst);
        since != 0 && (since_start() + 1).saturating_sub(since) > STUCK.as_millis() as u64
    }

    fn set(&self, job: &Job) {
        let note = |at| *self.job.lock().unwrap_or_else(PoisonError::into_inner) = at;
        note(Some((job.keep.clone(), job.off + word::SPOILT)));
        self.since.store(since_start() + 1, SeqCst);
        // SAFETY: mapped for as long as `job.keep` is; made by who claimed the lane.
        if let Ok((event, _)) = unsafe { Event::from_existing(job.lanes.event(job.off)) } {
            let _ = event.set(EventState::Signaled);
        }
        self.since.store(0, SeqCst);
        note(None);
    }
}

/// Sleeps without an event while `unchanged`, `limit` at most.
pub fn nap(limit: Duration, mut unchanged: impl FnMut() -> bool) {
    let start = Instant::now();
    while unchanged() {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(NAP));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;

    use raw_sync::locks::{LockInit, Mutex as RawMutex};

    use super::super::pages::words::Words;
    use super::*;
    use crate::core::mem::Load;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A segment of lanes only, and a word in front.
    fn memory() -> (Arc<Words>, Lanes) {
        let memory = Arc::new(Words::new(64 + Lanes::BYTES));
        let base = NonNull::new(memory.start()).expect("a box");
        // SAFETY: the box is that long, and the tests keep it; it is 0.
        (memory, unsafe { Lanes::new(base, 64) })
    }

    impl Kept for Words {
        fn store(&self, off: u64, value: u64) {
            Mem::store(self, off, value, SeqCst);
        }
    }

    /// Runs `f` in a thread, until the deadline.
    #[track_caller]
    fn in_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, wait) = channel();
        std::thread::spawn(move || drop(done.send(f())));
        match wait.recv_timeout(DEADLINE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => panic!("not done after {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("it panicked"),
        }
    }

    /// A sleeper that is woken goes on at once, and does not merely look again by itself: a thousand wake-ups, each of which
    /// would take half a second otherwise, take less than the deadline.
    #[test]
    fn who_is_woken_goes_on() {
        const BELL: u64 = 0;
        const ROUNDS: u64 = 1000;
        let (memory, lanes) = memory();
        let keep: Arc<dyn Kept> = memory.clone();
        let (go, theirs) = (Arc::<AtomicBool>::default(), memory.clone());
        let stop = go.clone();
        let ringer = std::thread::spawn(move || {
            let mut rung = 0;
            while !stop.load(SeqCst) {
                // Odd: somebody sleeps or is about to.
                let now = theirs.load(BELL, SeqCst);
                if now % 2 == 1 && theirs.cas(BELL, now, now + 1, SeqCst).is_ok() {
                    lanes.wake(&*theirs, BELL, &keep);
                    rung += 1;
                }
                std::thread::yield_now();
            }
            rung
        });
        in_time(move || {
            let keep: Arc<dyn Kept> = memory.clone();
            let lane = lanes.claim(&*memory, 5, &keep, |_| false).expect("a lane");
            for round in 0..ROUNDS {
                Mem::store(&*memory, BELL, round * 2 + 1, SeqCst);
                let unchanged = || memory.load(BELL, SeqCst) == round * 2 + 1;
                assert!(lanes.sleep(&*memory, &lane, BELL, Duration::from_secs(3600), unchanged));
                assert_eq!(memory.load(BELL, SeqCst), round * 2 + 2);
            }
            lanes.release(lane, &keep);
        });
        go.store(true, SeqCst);
        assert_eq!(ringer.join().expect("no panic"), ROUNDS);
    }

    /// Whoever died with an event's mutex costs its listener and one ringer their threads, and nobody a wait: who rings never
    /// waits for it, other events are set, and the sleeper, whose time ends, is told to take another lane.
    #[test]
    fn an_event_that_the_dead_have_is_left_alone() {
        let (memory, lanes) = memory();
        let keep: Arc<dyn Kept> = memory.clone();
        let dead = lanes.claim(&*memory, 1, &keep, |_| false).expect("a lane");
        let sound = lanes.claim(&*memory, 2, &keep, |_| false).expect("a lane");
        // SAFETY: an event begins with its mutex.
        let (mutex, _) =
            unsafe { RawMutex::from_existing(lanes.event(dead.off), std::ptr::null_mut()) }.expect("a mutex");
        // Never given back, as by one who was killed.
        std::mem::forget(mutex.lock().expect("its listener waits, and has it not"));
        let (bell_of_dead, bell) = (8, 16);
        in_time(move || {
            let slice = Duration::from_millis(20);
            assert!(lanes.sleep(&*memory, &dead, bell_of_dead, slice, || true), "it ends, and nobody knows yet");
            Mem::store(&*memory, dead.off + word::BELL, bell_of_dead + 1, SeqCst);
            lanes.wake(&*memory, bell_of_dead, &keep);
            let mem = memory.clone();
            let sleeper = std::thread::spawn(move || {
                let unchanged = || mem.load(bell, SeqCst) == 0;
                lanes.sleep(&*mem, &sound, bell, Duration::from_secs(3600), unchanged)
            });
            // The ringer that is stuck is given up, and what others wait for is rung.
            while memory.load(dead.off + word::SPOILT, SeqCst) == 0 {
                lanes.wake(&*memory, bell, &keep);
                std::thread::sleep(NAP);
            }
            Mem::store(&*memory, bell, 1, SeqCst);
            lanes.wake(&*memory, bell, &keep);
            assert!(sleeper.join().expect("no panic"));
            assert!(!lanes.sleep(&*memory, &dead, bell_of_dead, DEADLINE, || true), "it is spoilt");
            assert_ne!(lanes.take(&*memory, 1, |_| true), Some(dead.off), "nobody gets it again");
        });
    }

    /// The lane of a dead sleeper is taken when there is no other, that of a living one never; one that is given back is free.
    #[test]
    fn lanes_of_the_dead_are_taken() {
        let (memory, lanes) = memory();
        let keep: Arc<dyn Kept> = memory.clone();
        let ours = lanes.claim(&*memory, 0, &keep, |_| false).expect("a lane");
        let all: Vec<u64> = (1..LANES).map(|n| lanes.take(&*memory, n, |_| false).expect("a lane")).collect();
        assert_eq!(lanes.take(&*memory, LANES, |_| false), None);
        assert_eq!(lanes.take(&*memory, LANES, |owner| owner == 7), Some(all[6]));
        assert_eq!(lanes.take(&*memory, LANES, |owner| owner == 7), None);
        let off = ours.off;
        lanes.release(ours, &keep);
        let given = in_time(move || {
            loop {
                match lanes.take(&*memory, LANES, |_| false) {
                    Some(given) => return given,
                    None => std::thread::sleep(NAP),
                }
            }
        });
        assert_eq!(given, off);
    }

    /// No wait ends in a second that it did not begin in, but those that begin too near to its end.
    #[test]
    fn nanoseconds_never_add_up_to_a_second() {
        for now in (0..SECOND).step_by(77_777) {
            for left in [Duration::ZERO, Duration::from_millis(90), Duration::from_secs(3), Duration::MAX] {
                let wait = before_the_next_second(left, now);
                assert!(wait < Duration::from_secs(1) && !wait.is_zero());
                let fits = now + SLACK + wait.subsec_nanos() <= SECOND;
                assert!(fits || wait == Duration::from_millis(1), "{now} {wait:?}");
            }
        }
    }
}
