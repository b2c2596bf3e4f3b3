//! Waiting: bells, and who waits for what.
//!
//! A bell is one word `{sequence, flag}`, its low half a futex shared between processes.
//!
//! ```text
//! wait   try -> done;  set the flag;  try AGAIN -> done;  FUTEX_WAIT(word as set, slice);  from the top
//! ring   (after the step that changed something)  flag clear? done.  CAS {seq,1} -> {seq+1,0};  wake ALL
//! ```
//!
//! * B2: the second try comes after the flag, and the ring after the change: one of them sees the other.
//! * B3: no death of a waiter loses a wake-up, as all are woken. One who dies or stops between its change
//!   and its ring delays sleepers by a slice at most: they look again by themselves.
//! * B4: what an attempt has taken is returned, whatever the clock or the interrupt hook say; who was told to end the
//!   wait makes no further attempt. So a wait that ends without success has taken nothing, and leaves a set flag at
//!   most, which costs whoever rings next one wake-up call.
//!
//! The interrupt hook ([`crate::core::sys::set_interrupt_hook`]) is asked after each slice, and after a sleep that a signal
//! ended. Nothing is taken, and no lock of this process is held, while it runs.
//!
//! While it sleeps, a waiter shows the bell in its seat's record, for people to read: nothing depends on it.
//! What a dead process shows goes when its seat is taken again.
//!
//! Model: `fut` (21 M states).

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use crate::core::mem::{Load, Mem};
use crate::core::seat::{Core, Env, info};
use crate::core::sys::{Slept, Sys};
use crate::core::tables::Tables;
use crate::core::word::Bell;
use crate::error::{Error, Result};

/// Longest sleep before a waiter looks by itself, and asks whether somebody died.
pub const SLICE: Duration = Duration::from_millis(90);

/// When a wait ends without success.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// Never.
    Forever,
    /// Before it begins: an attempt is made, and no more.
    Now,
    /// After so long, from its beginning.
    Within(Duration),
    /// At a time, which was so long after the beginning: of this wait, or of the first of several.
    At { end: Instant, after: Duration },
}

impl Until {
    /// At a time.
    pub fn deadline(end: Instant) -> Until {
        Until::At { end, after: end.saturating_duration_since(Instant::now()) }
    }

    /// Starts the clock: waits one after another that are given this share the time, and each says how long all of it was.
    #[must_use]
    pub fn started(self) -> Until {
        match self {
            // What is beyond the clock's end never comes.
            Until::Within(after) if !after.is_zero() => {
                Instant::now().checked_add(after).map_or(Until::Forever, |end| Until::At { end, after })
            }
            other => other,
        }
    }

    /// Whether nothing is waited for: a poll.
    pub fn is_now(self) -> bool {
        matches!(self, Until::Now | Until::Within(Duration::ZERO) | Until::At { after: Duration::ZERO, .. })
    }

    /// Whether it has come.
    pub fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// How long it is until then. `None`: for ever.
    fn left(self) -> Option<Duration> {
        match self {
            Until::Forever => None,
            Until::Now => Some(Duration::ZERO),
            Until::Within(after) => Some(after),
            Until::At { end, .. } => Some(end.saturating_duration_since(Instant::now())),
        }
    }

    /// A part of this wait, of a slice at most, for those who look at other things in between.
    #[must_use]
    pub fn slice(self) -> Until {
        Until::Within(self.left().map_or(SLICE, |left| left.min(SLICE)))
    }

    /// The error of a wait that came to its end.
    pub fn timed_out(self) -> Error {
        Error::TimedOut(match self {
            Until::Within(after) | Until::At { after, .. } => after,
            Until::Now | Until::Forever => Duration::ZERO,
        })
    }
}

impl<E: Load> Tables<E> {
    /// The bells that a seat's occupant sleeps on, as far as there was room to show them.
    pub fn waits_of(&self, seat: u64) -> Vec<u64> {
        let shown = |w| self.env.load(self.geo.seat_info(seat, info::WAITS + w), Relaxed);
        (0..info::WAITS_SHOWN).map(shown).filter(|bell| *bell != 0).collect()
    }

    /// Whether anybody sleeps on a bell, or is about to.
    pub fn is_awaited(&self, bell: u64) -> bool {
        Bell(self.env.load(bell, SeqCst)).armed()
    }

    /// How often a bell was rung while somebody slept on it, modulo 2^31.
    pub fn times_rung(&self, bell: u64) -> u64 {
        self.env.load(bell, SeqCst) >> 1
    }
}

impl<E: Mem + Sys> Tables<E> {
    /// Wakes everyone who waits on a bell, and says whether there was anyone. Cheap when nobody does.
    #[inline]
    pub fn ring_bell(&self, bell: u64) -> bool {
        let mut now = Bell(self.env.load(bell, SeqCst));
        while let Some(rung) = now.ring() {
            match self.env.cas(bell, now.0, rung.0, SeqCst) {
                Ok(_) => {
                    self.env.wake(bell);
                    return true;
                }
                Err(found) => now = Bell(found),
            }
        }
        false
    }
}

impl<E: Env> Core<E> {
    /// Tries `attempt` until it yields something, sleeping on `bell` in between; [`Error::TimedOut`] at the end of `until`,
    /// [`Error::Interrupted`] if the interrupt hook says so. `slice_over` runs after each slice, and after a sleep that
    /// something else than the bell ended.
    pub fn wait<T>(
        &self,
        bell: u64,
        until: Until,
        mut slice_over: impl FnMut(),
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if until.is_over() {
            // Who polls looks for the dead now and then, as who sleeps does.
            if self.is_time_to_look() {
                slice_over();
                if let Some(done) = attempt()? {
                    return Ok(done);
                }
            }
            return Err(until.timed_out());
        }
        let until = until.started();
        let looks = self.env.spins();
        for look in 0..looks {
            self.env.spin();
            if let Some(done) = attempt()? {
                self.env.spun(Some(look));
                return Ok(done);
            }
        }
        if looks != 0 {
            self.env.spun(None);
        }
        let shown = self.show_wait(bell);
        let done = self.sleep_until(bell, until, &mut slice_over, &mut attempt);
        if let Some(off) = shown {
            self.env.store(off, 0, Relaxed);
        }
        done
    }

    fn sleep_until<T>(
        &self,
        bell: u64,
        until: Until,
        slice_over: &mut dyn FnMut(),
        attempt: &mut dyn FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let mut looked = Instant::now();
        loop {
            // Where another sleeper set the flag, this load is all that comes before the second try (B2).
            let mut now = Bell(self.env.load(bell, SeqCst));
            while !now.armed() {
                match self.env.cas(bell, now.0, now.arm().0, SeqCst) {
                    Ok(_) => now = now.arm(),
                    Err(found) => now = Bell(found),
                }
            }
            if let Some(done) = attempt()? {
                return Ok(done);
            }
            let slice = match until.left() {
                Some(Duration::ZERO) => return Err(until.timed_out()),
                Some(left) => left.min(SLICE),
                None => SLICE,
            };
            let slept = self.env.sleep(bell, now.futex(), slice);
            // A bell is shared: what others do may ring it all the time, while he who is waited for is dead.
            let over = Bell(self.env.load(bell, SeqCst)) == now || looked.elapsed() >= SLICE;
            if over {
                slice_over();
                looked = Instant::now();
            }
            // B4: no attempt after this one's word, as nobody would take what it yields.
            if (over || slept == Slept::Interrupted) && self.env.is_interrupted() {
                return Err(Error::Interrupted);
            }
        }
    }

    /// Shows what a thread of ours sleeps on. `None`: more do than there is room for.
    pub fn show_wait(&self, bell: u64) -> Option<u64> {
        let seat = u64::from(self.me().seat);
        let mut words = (0..info::WAITS_SHOWN).map(|w| self.geo.seat_info(seat, info::WAITS + w));
        words.find(|off| self.env.load(*off, Relaxed) == 0 && self.env.cas(*off, 0, bell, Relaxed).is_ok())
    }
}
