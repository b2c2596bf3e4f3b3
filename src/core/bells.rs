//! Waiting for several things at once: their bells are armed, all of them are looked at again, then one sleeps on all.
//!
//! ```text
//! wait   look at all: one is ready? done;   for each: set the flag of its bell;   look at all AGAIN: done
//!        sleep on the words of all bells, as they were set, a slice at most;      from the top
//! ```
//!
//! Bells and rings are those of [`crate::core::wait`], and a ringer cannot tell who waits for what.
//!
//! * B5: each thing is looked at after the flag of its own bell was set, so that B2 holds for each: what changed before
//!   that look is seen by it, and what changes after it rings a bell whose word is one of those that are slept on.
//! * B6: nothing is disarmed. A flag that is left where nobody sleeps any more is cleared by the next ring, which wakes
//!   nobody: it costs that ringer one system call. Clearing it would take another's flag away, who sleeps on the same bell.
//!
//! # Death
//!
//! A waiter who dies or stops, wherever that is, leaves flags: B6. One who is waited for and dies rings no bell: after each slice waiters
//! ask whether somebody died, as those do who wait for one thing.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use crate::core::mem::Mem;
use crate::core::seat::{Core, Env};
use crate::core::sys::{Doorbell, Slept};
use crate::core::tables::Tables;
use crate::core::wait::SLICE;
use crate::core::word::Bell;
use crate::error::{Error, Result};

/// Something that is waited for, in an arena.
pub trait Awaited<E> {
    /// Where its bell is now. The bell's object is kept until this is asked again. `None`: there is nothing to wait for.
    fn bell(&self) -> Option<(&Core<E>, u64)>;
    /// Whether there is something to do, as far as a look tells.
    fn is_ready(&self) -> bool;
}

/// A bell that was armed, and its word since.
#[derive(Debug)]
pub struct Armed<'a, E> {
    pub core: &'a Core<E>,
    pub bell: u64,
    word: Bell,
}

impl<E: Mem> Armed<'_, E> {
    /// Whether it was rung since.
    pub fn was_rung(&self) -> bool {
        Bell(self.core.env.load(self.bell, SeqCst)) != self.word
    }
}

impl<E: Mem> Tables<E> {
    /// Sets the flag of a bell, and returns its word with the flag.
    fn arm_bell(&self, bell: u64) -> Bell {
        let mut now = Bell(self.env.load(bell, SeqCst));
        while !now.armed() {
            match self.env.cas(bell, now.0, now.arm().0, SeqCst) {
                Ok(_) => return now.arm(),
                Err(found) => now = Bell(found),
            }
        }
        now
    }
}

/// Arms the bells of all.
pub fn arm_all<'a, E: Mem + 'a, A: Awaited<E> + 'a>(all: impl IntoIterator<Item = &'a A>) -> Vec<Armed<'a, E>> {
    let bells = all.into_iter().filter_map(A::bell);
    bells.map(|(core, bell)| Armed { core, bell, word: core.arm_bell(bell) }).collect()
}

/// The first that is ready, from `first` on and then from the beginning.
pub fn first_ready<E, A: Awaited<E>>(all: &[A], first: usize) -> Option<usize> {
    let is_ready = |index: &usize| all[*index].is_ready();
    (first..all.len()).find(is_ready).or_else(|| (0..first.min(all.len())).find(is_ready))
}

/// Sleeps until one of the bells is rung, or the door's, `limit` at most; or less.
pub fn sleep_on_all<E: Env>(armed: &[Armed<'_, E>], door: Option<(&Doorbell, u32)>, limit: Duration) -> Slept {
    let words: Vec<_> = armed.iter().map(|a| (&a.core.env, a.bell, a.word.futex())).collect();
    E::sleep_any(&words, door, limit)
}

/// Waits until one of `all` is ready, and returns which. `first` is preferred, then those behind it. `None`: none was by
/// `end`. [`Error::Interrupted`] if the interrupt hook says so. `slice_over` runs after each slice.
pub fn wait_for_any<E: Env, A: Awaited<E>>(
    all: &[A],
    first: usize,
    end: Option<Instant>,
    mut slice_over: impl FnMut(),
) -> Result<Option<usize>> {
    if let Some(ready) = first_ready(all, first) {
        return Ok(Some(ready));
    }
    let left = || end.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()).min(SLICE));
    if left().is_zero() {
        return Ok(None);
    }
    if let Some((core, _)) = all.iter().find_map(A::bell) {
        // A look at all takes as long as so many looks at one.
        let looks = core.env.spins() / all.len() as u32;
        for look in 0..looks {
            core.env.spin();
            if let Some(ready) = first_ready(all, first) {
                core.env.spun(Some(look));
                return Ok(Some(ready));
            }
        }
        if looks != 0 {
            core.env.spun(None);
        }
    }
    let shown: Vec<_> =
        all.iter().filter_map(A::bell).filter_map(|(core, bell)| Some((core, core.show_wait(bell)?))).collect();
    let mut looked = Instant::now();
    let found = loop {
        let armed = arm_all(all);
        if let Some(ready) = first_ready(all, first) {
            break Ok(Some(ready));
        }
        let left = left();
        if left.is_zero() {
            break Ok(None);
        }
        let slept = sleep_on_all(&armed, None, left);
        let over = looked.elapsed() >= SLICE || !armed.iter().any(Armed::was_rung);
        if over {
            slice_over();
            looked = Instant::now();
        }
        // B4, as in a wait for one thing.
        let interrupted = || armed.first().is_some_and(|a| a.core.env.is_interrupted());
        if (over || slept == Slept::Interrupted) && interrupted() {
            break Err(Error::Interrupted);
        }
    };
    for (core, off) in shown {
        core.env.store(off, 0, Relaxed);
    }
    found
}
