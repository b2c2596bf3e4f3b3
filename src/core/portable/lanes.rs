//! How threads sleep and are woken where there are no futexes: by events of `raw_sync`, one for each thread that sleeps.
//!
//! ```text
//! lane    { owner, bell, spoilt, event }            in the segment, behind its pages' bits
//! sleep   take a lane; bell := what we wait for; look at the word AGAIN; wait for the event, a little at most; bell := 0
//! wake    (after the word was changed)  each lane whose bell is that one: CAS bell -> 0, and its event is to be set
//! ```
//!
//! * E1: the word is looked at after the bell was shown, and the bells after the word was changed: one of them sees the other.
//! * E2: nothing depends on an event. Whoever sleeps looks at the word again after each wait, and every wait is bounded.
//! * E3: one thread waits for an event, which resets itself: what wakes it wakes nobody else in its stead.
//!
//! # What the crate's events lack on Unix, and what is done about that
//!
//! An event is a pthread mutex and condition in shared memory.
//!
//! * *The mutex is not robust*, and a condition whose waiter was killed may keep its ringer for ever. Whoever waits for the
//!   mutex waits for a time only; but `set` waits for ever. So no thread of the program sets an event: one of the library does
//!   ([`Ringers`]), and is left alone with the event if it does not come back; the event is *spoilt* then and never used again.
//! * *A timeout whose nanoseconds add up to a second is refused* (`tv_nsec` overflows): a wait ends before the next second begins.
//! * *The time is that of the wall clock*: where that is set back, a wait may last until it is what it was. Nothing helps but
//!   being woken.
//! * *A signal does not end a wait*: the interrupt hook is asked after a slice.
//!
//! # Death
//!
//! A dead sleeper leaves a lane with its name, whose event is rung once more at most. Who finds no free lane takes that of one
//! who is proved dead, and makes its event anew. Without a lane a sleeper looks again every [`NAP`].
#![allow(unsafe_code, reason = "events lie in shared memory")]

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raw_sync::Timeout;
use raw_sync::events::{Event, EventInit, EventState};

use crate::core::mem::Mem;
use crate::core::segment::PerProcess;

/// How many threads of all processes can sleep on events.
const LANES: u64 = 1024;
/// Bytes of a lane: its words, and room for an event.
const LANE: u64 = 320;
const EVENT: u64 = 64;

/// How long one without a lane sleeps.
const NAP: Duration = Duration::from_millis(2);
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

/// A lane that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(u64);

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

    fn lanes(self, used: u64) -> impl Iterator<Item = Lane> {
        (0..used.min(LANES)).map(move |n| Lane(self.at + 64 + n * LANE))
    }

    fn event(self, lane: Lane) -> *mut u8 {
        self.base.as_ptr().wrapping_add((lane.0 + EVENT) as usize)
    }

    /// Takes a lane for `owner`: a free one, or that of one who `is_gone`.
    pub fn claim(self, mem: &impl Mem, owner: u64, is_gone: impl Fn(u64) -> bool) -> Option<Lane> {
        let taken = |lane: &Lane, from: u64| mem.cas(lane.0 + word::OWNER, from, owner + 1, SeqCst).is_ok();
        let sound = |lane: &Lane| mem.load(lane.0 + word::SPOILT, SeqCst) == 0;
        let free = self
            .lanes(LANES)
            .find(|lane| sound(lane) && mem.load(lane.0 + word::OWNER, Relaxed) == 0 && taken(lane, 0));
        let lane = free.or_else(|| {
            self.lanes(LANES).find(|lane| {
                let theirs = mem.load(lane.0 + word::OWNER, SeqCst);
                sound(lane) && theirs != 0 && is_gone(theirs - 1) && taken(lane, theirs)
            })
        })?;
        mem.store(lane.0 + word::BELL, 0, SeqCst);
        let memory = self.event(lane);
        // SAFETY: mapped (contract of `Lanes::new`), large enough (checked), and nobody's but ours since we have the lane; a
        // ringer that is late, and sets the event of the one before, spoils a wake-up at most (E2).
        let made = (Event::size_of(Some(memory)) as u64 <= LANE - EVENT).then(|| unsafe { Event::new(memory, true) });
        if !matches!(made, Some(Ok(_))) {
            mem.store(lane.0 + word::SPOILT, 1, SeqCst);
            return None;
        }
        let index = (lane.0 - self.at - 64) / LANE;
        let mut used = mem.load(self.at, SeqCst);
        while used <= index {
            match mem.cas(self.at, used, index + 1, SeqCst) {
                Ok(_) => break,
                Err(found) => used = found,
            }
        }
        Some(lane)
    }

    /// Gives a lane back.
    pub fn release(self, mem: &impl Mem, lane: Lane) {
        mem.store(lane.0 + word::OWNER, 0, SeqCst);
    }

    /// Sleeps on a bell (or on [`ANY`]) while `unchanged`, `limit` at most. `false`: the lane is spoilt, and not ours any more.
    pub fn sleep(
        self,
        mem: &impl Mem,
        lane: Lane,
        bell: u64,
        limit: Duration,
        mut unchanged: impl FnMut() -> bool,
    ) -> bool {
        let shown = if bell == ANY { ANY } else { bell + 1 };
        let start = Instant::now();
        let mut sound = true;
        loop {
            mem.store(lane.0 + word::BELL, shown, SeqCst);
            fence(SeqCst);
            let left = limit.saturating_sub(start.elapsed());
            // E1
            if !unchanged() || left.is_zero() {
                break;
            }
            sound = mem.load(lane.0 + word::SPOILT, SeqCst) == 0 && self.wait(lane, left);
            if !sound {
                mem.store(lane.0 + word::SPOILT, 1, SeqCst);
                break;
            }
        }
        mem.store(lane.0 + word::BELL, 0, SeqCst);
        sound
    }

    /// Waits for the event, `left` at most. `false`: it cannot be waited for.
    fn wait(self, lane: Lane, left: Duration) -> bool {
        // SAFETY: mapped, and made by `claim`; that it may be damaged is checked as far as the crate does.
        let Ok((event, _)) = (unsafe { Event::from_existing(self.event(lane)) }) else { return false };
        let (left, asked) = (before_the_next_second(left), Instant::now());
        if event.wait(Timeout::Val(left)).is_ok() {
            return true;
        }
        // It was refused, or the mutex is a dead ringer's: then this was no sleep.
        if asked.elapsed() < left / 2 {
            std::thread::sleep(NAP.min(left));
        }
        true
    }

    /// Has everyone woken who sleeps on a bell.
    pub fn wake(self, mem: &impl Mem, bell: u64, keep: &Arc<dyn Kept>) {
        fence(SeqCst);
        for lane in self.lanes(mem.load(self.at, SeqCst)) {
            let shown = mem.load(lane.0 + word::BELL, SeqCst);
            if (shown == bell + 1 || shown == ANY) && mem.cas(lane.0 + word::BELL, shown, 0, SeqCst).is_ok() {
                self.ring(lane, keep);
            }
        }
    }

    /// Has the event of a lane set.
    fn ring(self, lane: Lane, keep: &Arc<dyn Kept>) {
        if let Ok(ringers) = RINGERS.get(Ringers::default) {
            ringers.give(Job { lanes: self, lane, keep: keep.clone() });
        }
    }
}

/// Keeps a segment mapped.
pub trait Kept: Send + Sync {
    /// Says that nobody may touch the event of a lane any more: the word at this offset is 1 from now on.
    fn spoil(&self, off: u64);
}

/// So long that a wait that begins now is over before the wall clock's second is. At least a millisecond, where that may
/// be refused.
fn before_the_next_second(left: Duration) -> Duration {
    const SECOND: u32 = 1_000_000_000;
    /// What may pass between this look at the clock and the crate's.
    const SLACK: u32 = 200_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let rest = Duration::from_nanos(SECOND.saturating_sub(now).saturating_sub(SLACK).into());
    left.min(rest).max(Duration::from_millis(1))
}

/// Something to set.
struct Job {
    lanes: Lanes,
    lane: Lane,
    keep: Arc<dyn Kept>,
}

/// Wakes a sleeper of this process in a lane.
pub struct Sleeper {
    pub lanes: Lanes,
    pub lane: Lane,
    pub keep: Arc<dyn Kept>,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.lanes.ring(self.lane, &self.keep);
    }
}

static RINGERS: PerProcess<Ringers> = PerProcess::new();

/// The thread of a process that sets events, and those that were left alone with one.
#[derive(Default)]
struct Ringers(Mutex<Option<Ringer>>);

struct Ringer {
    jobs: Sender<Job>,
    at: Arc<At>,
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
    fn give(&self, job: Job) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ringer) = slot.as_ref() {
            let since = ringer.at.since.load(SeqCst);
            if since != 0 && since_start() + 1 - since > STUCK.as_millis() as u64 {
                // What it had to do else is lost: sleepers look by themselves (E2).
                let stuck = ringer.at.job.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some((keep, off)) = stuck {
                    keep.spoil(off);
                }
                *slot = None;
            }
        }
        if slot.is_none() {
            *slot = Ringer::start();
        }
        if let Some(ringer) = slot.as_ref() {
            let _ = ringer.jobs.send(job);
        }
    }
}

impl Ringer {
    /// `None`: no thread can be started. Sleepers look by themselves.
    fn start() -> Option<Ringer> {
        let (jobs, todo) = channel::<Job>();
        let at = Arc::<At>::default();
        let mine = at.clone();
        let run = move || {
            crate::core::kernel::block_signals();
            for job in todo {
                let off = job.lane.0 + word::SPOILT;
                *mine.job.lock().unwrap_or_else(PoisonError::into_inner) = Some((job.keep.clone(), off));
                mine.since.store(since_start() + 1, SeqCst);
                // SAFETY: mapped for as long as `job.keep` is; made by who claimed the lane.
                if let Ok((event, _)) = unsafe { Event::from_existing(job.lanes.event(job.lane)) } {
                    let _ = event.set(EventState::Signaled);
                }
                mine.since.store(0, SeqCst);
                *mine.job.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        };
        std::thread::Builder::new().name("faretra-ring".into()).spawn(run).ok()?;
        Some(Ringer { jobs, at })
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
