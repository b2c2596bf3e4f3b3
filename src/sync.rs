//! Waiting, and the writers' semaphore.
//!
//! # Bells
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
//! # Permits
//!
//! The semaphore is an array of [`Life`] words. `FREE or BACK -> LEASED(me,t)` takes one, exact
//! `LEASED(me,t) -> FREE` gives it back, and recovery turns `LEASED(dead)` into BACK, so that the next
//! holder is told. A permit is never handed over, and never taken from a living holder. Waiters are
//! woken together and the kernel decides who runs first.
//!
//! Models: `fut` (21 M states), `permit` (1 M states).

use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::geometry::header;
use crate::mem::{Load, Mem};
use crate::seat::{Core, Env};
use crate::sys::Process;
use crate::tables::Tables;
use crate::word::{Bell, Life, State, Ticket};

/// Longest sleep before a waiter looks by itself, and asks whether somebody died.
pub const SLICE: Duration = Duration::from_millis(50);

/// A permit that this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub index: u64,
    pub ticket: Ticket,
    /// The holder before died with it.
    pub recovered: bool,
}

impl<E: Load> Tables<E> {
    /// Permits that are held now.
    pub fn permits_held(&self) -> u32 {
        let held = |i| Life(self.env.load(self.geo.permit(i), Acquire)).state();
        (0..self.geo.params.permits).filter(|i| matches!(held(*i), Some(State::Leased(_)))).count() as u32
    }
}

impl<E: Mem + crate::sys::Sys> Tables<E> {
    /// Wakes everyone who waits on a bell, and says whether there was anyone. Cheap when nobody does.
    #[inline]
    pub fn ring(&self, bell: u64) -> bool {
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

    /// Tries `attempt` until it yields something, sleeping on `bell` in between; `None` after
    /// `timeout`. `slice_over` runs after each slice in which the bell was silent.
    pub fn wait<T>(
        &self,
        bell: u64,
        timeout: Option<Duration>,
        mut slice_over: impl FnMut(),
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            if let Some(done) = attempt()? {
                return Ok(Some(done));
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|l| l.is_zero()) {
                return Ok(None);
            }
            let mut now = Bell(self.env.load(bell, Acquire));
            while !now.armed() {
                match self.env.cas(bell, now.0, now.arm().0, SeqCst) {
                    Ok(_) => now = now.arm(),
                    Err(found) => now = Bell(found),
                }
            }
            if let Some(done) = attempt()? {
                return Ok(Some(done));
            }
            self.env.sleep(bell, now.futex(), left.map_or(SLICE, |l| l.min(SLICE)));
            if Bell(self.env.load(bell, SeqCst)) == now {
                slice_over();
            }
        }
    }
}

impl<E: Env> Core<E> {
    /// Takes a permit if one is free.
    pub fn try_permit(&self) -> Result<Option<Permit>> {
        for index in 0..self.geo.params.permits {
            let off = self.geo.permit(index);
            let word = Life(self.env.load(off, Acquire));
            if word.state().is_none() {
                return Err(Error::damaged(format!("permit {index} has the impossible word {:#x}", word.0)));
            }
            let ticket = self.ticket();
            if let Some((leased, recovered)) = word.lease(ticket)
                && self.env.cas(off, word.0, leased.0, SeqCst).is_ok()
            {
                return Ok(Some(Permit { index, ticket, recovered }));
            }
        }
        Ok(None)
    }

    /// Waits for a permit. `recover` is run when a holder is found dead.
    pub fn permit(&self, timeout: Option<Duration>, recover: impl Fn()) -> Result<Option<Permit>> {
        let mut slices = 0;
        let look = || {
            slices += 1;
            // The lock every other slice, so that a waiter notices within 100 ms; the dearer proof, which is for
            // large processes that take long to go, now and then.
            if slices % 2 == 0 && self.a_holder_is_gone(slices / 2, slices % 8 == 0) {
                recover();
            }
        };
        self.wait(header::PERMIT_BELL, timeout, look, || self.try_permit())
    }

    /// Asks the kernel about a few of the holders, others in each slice: an idle waiter should not cost
    /// more the more writers there are.
    fn a_holder_is_gone(&self, slice: u64, thoroughly: bool) -> bool {
        const A_FEW: u64 = 8;
        let permits = self.geo.params.permits;
        let holder = |i| match Life(self.env.load(self.geo.permit(i % permits), Acquire)).state() {
            Some(State::Leased(t)) => Some(t.owner()),
            _ => None,
        };
        let first = slice * A_FEW % permits;
        let holders = (first..first + permits).filter_map(holder).filter(|o| *o != self.me());
        let facts = |owner| if thoroughly { self.process(owner) } else { Process::default() };
        holders.take(A_FEW as usize).any(|owner| self.env.is_gone(owner, facts(owner)))
    }

    /// Gives a permit back, and says whether somebody was waiting for it.
    pub fn return_permit(&self, permit: Permit) -> bool {
        let off = self.geo.permit(permit.index);
        let returned = self.env.cas(off, Life::leased(permit.ticket).0, Life::FREE.0, SeqCst);
        returned.is_ok() && self.ring(header::PERMIT_BELL)
    }

    /// Takes back what the dead held; the next holders are told.
    pub fn take_back_permits(&self, dead: &[crate::word::Owner]) -> u32 {
        let mut back = 0;
        for index in 0..self.geo.params.permits {
            let off = self.geo.permit(index);
            let word = Life(self.env.load(off, Acquire));
            let next = dead.iter().find_map(|d| word.take_back(*d));
            if next.is_some_and(|next| self.env.cas(off, word.0, next.0, SeqCst).is_ok()) {
                back += 1;
            }
        }
        if back != 0 {
            self.ring(header::PERMIT_BELL);
        }
        back
    }
}
