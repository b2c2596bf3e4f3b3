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
//!
//! While it sleeps, a waiter shows the bell in its seat's record, for people to read: nothing depends on it.
//! What a dead process shows goes when its seat is taken again.
//!
//! Model: `fut` (21 M states).

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use crate::core::mem::{Load, Mem};
use crate::core::seat::{Core, Env, info};
use crate::core::sys::Sys;
use crate::core::tables::Tables;
use crate::core::word::Bell;
use crate::error::{Error, Result};

/// Longest sleep before a waiter looks by itself, and asks whether somebody died.
pub const SLICE: Duration = Duration::from_millis(90);

/// When a wait ends.
struct End {
    at: Instant,
    /// How long that was from its beginning.
    after: Duration,
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
    /// Tries `attempt` until it yields something, sleeping on `bell` in between; [`Error::TimedOut`] after
    /// `timeout`. `slice_over` runs after each slice, and after a sleep that something else than the bell ended.
    pub fn wait<T>(
        &self,
        bell: u64,
        timeout: Option<Duration>,
        mut slice_over: impl FnMut(),
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if timeout.is_some_and(|t| t.is_zero()) {
            // Who polls looks for the dead now and then, as who sleeps does.
            if self.is_time_to_look() {
                slice_over();
                if let Some(done) = attempt()? {
                    return Ok(done);
                }
            }
            return Err(Error::TimedOut(Duration::ZERO));
        }
        // What is beyond the clock's end never comes.
        let end = timeout.and_then(|after| Some(End { at: Instant::now().checked_add(after)?, after }));
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
        let done = self.sleep_until(bell, end, &mut slice_over, &mut attempt);
        if let Some(off) = shown {
            self.env.store(off, 0, Relaxed);
        }
        done
    }

    fn sleep_until<T>(
        &self,
        bell: u64,
        end: Option<End>,
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
            let slice = match &end {
                Some(end) => match end.at.saturating_duration_since(Instant::now()) {
                    Duration::ZERO => return Err(Error::TimedOut(end.after)),
                    left => left.min(SLICE),
                },
                None => SLICE,
            };
            self.env.sleep(bell, now.futex(), slice);
            // A bell is shared: what others do may ring it all the time, while he who is waited for is dead.
            if Bell(self.env.load(bell, SeqCst)) == now || looked.elapsed() >= SLICE {
                slice_over();
                looked = Instant::now();
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
