//! Waiters: those who wait at a condition, and who of them were told to go on.
//!
//! A condition is an object that locks ([`crate::core::lock`]). Each waiter has a lease of it, and a bell and a mark of its
//! own, so that one is woken and the others sleep on:
//!
//! ```text
//! state    the number that the next waiter gets                 used: how many of the first places were used
//! leases   who waits                                            data: bell, mark of each
//!
//! mark     0  nobody waits                 number:62 | 1  waits                 number:62 | 2  was told to go on
//!
//! enlist   take a lease;  raise `used` above it;  mark = next number | 1
//! wait     sleep on the own bell until the mark says 2
//! notify   the lowest number that waits and whose waiter lives:  CAS number|1 -> number|2;  ring its bell
//! leave    swap the mark for 0: was it 2?;  give the lease back
//! ```
//!
//! # Invariants
//!
//! * W1: a number is given once, so a notification never reaches another waiter than the one that was chosen.
//! * W2: a notification is passed on when the waiter that has it dies: whoever enlists or has slept for a slice takes the
//!   dead's leases back, and one of them, by a swap of the mark, tells the next.
//!
//! # Death
//!
//! LEASED(dead) becomes BACK. A dead waiter that was not told yet is passed over; W2 says what becomes of one that was. A
//! notifier that dies between mark and bell delays the waiter by a slice.
//!
//! Waiters have no model: the races and kills in the tests show them.

use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::core::geometry::lock;
use crate::core::lease::{Lease, Leases};
use crate::core::lock::Form;
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, Tables};
use crate::core::wait::Until;
use crate::core::word::{Id, Life, State};
use crate::error::Result;

/// The most waiters of a condition.
pub const WAITERS: u64 = 1024;
/// What a condition is made with: a bell and a mark for each waiter.
pub const CONDITION: Form = Form { kind: Kind::Condition, leases: WAITERS, size: 16, slots: WAITERS };

/// A condition's words.
#[derive(Clone, Copy, Debug)]
pub struct Waiters {
    leases: Leases,
    /// The number that the next waiter gets.
    next: u64,
    /// Nobody looks at places beyond these: most conditions have few waiters.
    used: u64,
    data: u64,
}

impl Waiters {
    fn bell(self, index: u64) -> u64 {
        self.data + index * 16
    }

    fn mark(self, index: u64) -> u64 {
        self.data + index * 16 + 8
    }
}

/// A waiter that is on the list.
#[derive(Clone, Copy, Debug)]
pub struct Enlisted {
    lease: Lease,
    index: u64,
    number: u64,
}

/// What a mark says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    const NOBODY: Mark = Mark(0);

    fn waits(number: u64) -> Mark {
        Mark(number << 2 | 1)
    }

    fn told(number: u64) -> Mark {
        Mark(number << 2 | 2)
    }

    /// The number of one who waits and was not told.
    fn waiting(self) -> Option<u64> {
        (self.0 & 3 == 1).then_some(self.0 >> 2)
    }

    fn is_told(self) -> bool {
        self.0 & 3 == 2
    }
}

impl<E: Load> Tables<E> {
    /// The words of a pinned condition, which was checked to be one.
    pub fn waiters_of(&self, id: Id) -> Waiters {
        let slots = self.slots_of(id, &CONDITION);
        let word = |word| self.lock_word(id, word);
        Waiters { leases: slots.leases, next: word(lock::STATE), used: word(lock::USED), data: slots.first() }
    }

    /// How many wait and were not told to go on, dead ones included that nobody has noticed.
    pub fn count_waiting(&self, waiters: Waiters) -> u64 {
        self.places(waiters).filter(|i| self.mark(waiters, *i).waiting().is_some()).count() as u64
    }

    /// The places that may have a waiter.
    fn places(&self, waiters: Waiters) -> std::ops::Range<u64> {
        0..self.env.load(waiters.used, SeqCst).min(waiters.leases.count)
    }

    /// Their leases.
    fn leased(&self, waiters: Waiters) -> Leases {
        waiters.leases.part(0, self.places(waiters).end)
    }

    fn mark(&self, waiters: Waiters, index: u64) -> Mark {
        Mark(self.env.load(waiters.mark(index), SeqCst))
    }
}

impl<E: Env> Core<E> {
    /// Puts a waiter on the list, behind all others. `None`: it is full.
    pub fn enlist(&self, waiters: Waiters) -> Result<Option<Enlisted>> {
        let lease = match self.try_lease(waiters.leases)? {
            Some(lease) => lease,
            None => {
                self.look_for_dead_lessees(waiters.leases, 0);
                match self.try_lease(waiters.leases)? {
                    Some(lease) => lease,
                    None => return Ok(None),
                }
            }
        };
        let index = (lease.off - waiters.leases.first) / 8;
        let mut used = self.load_word(waiters.used);
        while used <= index {
            match self.swap_word(waiters.used, used, index + 1) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        let mut number = self.load_word(waiters.next);
        while let Err(now) = self.swap_word(waiters.next, number, number + 1) {
            number = now;
        }
        // W2: whose lease it was may have died with a notification.
        let before = self.swap_mark(waiters, index, Mark::waits(number));
        if before.is_told() {
            self.notify(waiters, 1);
        }
        Ok(Some(Enlisted { lease, index, number }))
    }

    fn swap_mark(&self, waiters: Waiters, index: u64, new: Mark) -> Mark {
        let mut now = self.load_word(waiters.mark(index));
        while let Err(found) = self.swap_word(waiters.mark(index), now, new.0) {
            now = found;
        }
        Mark(now)
    }

    /// Waits until the waiter is told to go on.
    pub fn wait_enlisted(&self, waiters: Waiters, who: Enlisted, until: Until) -> Result<()> {
        let mut looks = 0;
        let look = || {
            looks += 1;
            self.pass_on(waiters, looks);
        };
        let told = || Ok((self.mark(waiters, who.index) == Mark::told(who.number)).then_some(()));
        self.wait(waiters.bell(who.index), until, look, told)
    }

    /// Tells the first of those who wait and live to go on; says how many were told.
    pub fn notify(&self, waiters: Waiters, most: u64) -> u64 {
        let numbered = |i| self.mark(waiters, i).waiting().map(|number| (number, i));
        let mut waiting: Vec<(u64, u64)> = self.places(waiters).filter_map(numbered).collect();
        waiting.sort_unstable();
        let mut told = 0;
        for (number, index) in waiting {
            if told == most {
                break;
            }
            if !self.is_waiter_alive(waiters, index) {
                continue;
            }
            if self.swap_word(waiters.mark(index), Mark::waits(number).0, Mark::told(number).0).is_ok() {
                self.ring_bell(waiters.bell(index));
                told += 1;
            }
        }
        told
    }

    fn is_waiter_alive(&self, waiters: Waiters, index: u64) -> bool {
        match Life(self.env.load(waiters.leases.word(index), Acquire)).state() {
            Some(State::Leased(ticket)) => self.gone_among(vec![ticket.owner()], 0).is_empty(),
            _ => false,
        }
    }

    /// Takes the waiter off the list, and says whether it was told to go on.
    pub fn leave_waiters(&self, waiters: Waiters, who: Enlisted) -> bool {
        let told = self.swap_mark(waiters, who.index, Mark::NOBODY).is_told();
        self.give_back(who.lease);
        told
    }

    /// W2: takes back what dead waiters had, and tells others in place of those that were told.
    fn pass_on(&self, waiters: Waiters, look: usize) {
        self.look_for_dead_lessees(self.leased(waiters), look);
        for index in self.places(waiters) {
            let word = Life(self.env.load(waiters.leases.word(index), Acquire));
            let mark = self.mark(waiters, index);
            if matches!(word.state(), Some(State::Back(_)))
                && mark.is_told()
                && self.swap_word(waiters.mark(index), mark.0, Mark::NOBODY.0).is_ok()
            {
                self.notify(waiters, 1);
            }
        }
    }

    /// How many died on the list since this was asked last. What they were told is forgotten: for lists where nobody is told.
    pub fn lost_waiters(&self, waiters: Waiters) -> u64 {
        self.look_for_dead_lessees(self.leased(waiters), 0);
        let mut lost = 0;
        for index in self.places(waiters) {
            let off = waiters.leases.word(index);
            let word = Life(self.env.load(off, Acquire));
            if matches!(word.state(), Some(State::Back(_))) {
                // The mark first: whoever has the lease next writes its own.
                let mark = self.mark(waiters, index);
                let _ = self.swap_word(waiters.mark(index), mark.0, Mark::NOBODY.0);
                lost += u64::from(self.swap_word(off, word.0, Life::FREE.0).is_ok());
            }
        }
        lost
    }
}
