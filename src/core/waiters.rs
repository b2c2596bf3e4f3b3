//! Waiters: those who wait at a condition, and who of them were told to go on.
//!
//! A condition is an object that locks ([`crate::core::lock`]). Each waiter has a lease of it, and a bell and a mark of its
//! own, so that one is woken and the others sleep on:
//!
//! ```text
//! state    the number that the next waiter gets                 used: how many of the first places were used
//! leases   who waits                                            data: bell, mark of each
//!
//! mark     0                      nobody waits
//!          number:51 | 0    | 1   waits
//!          number:51 | from | 2   was told to go on: by a notifier (0), or in place of the waiter at `from` - 1
//!          number:51 | 0    | 3   what this place was told goes to the waiter of that number
//!
//! enlist   take a lease;  raise `used` above it;  hand on, and mark = next number | 1
//! wait     sleep on the own bell until the mark says 2
//! notify   the lowest number that waits and whose waiter lives:  CAS number|1 -> number|2;  ring its bell
//! leave    told from elsewhere? that mark 3 -> 0;   swap the mark for 0: was it 2?;  give the lease back
//! abandon  hand on, and mark = 0;  give the lease back
//! ```
//!
//! Whoever has the lease of a place hands on what was told there: its own, or that of a dead waiter whose lease it took.
//!
//! ```text
//! hand on  h1  told from elsewhere? that mark 3 -> 0
//!          h2  the lowest number m that waits and whose waiter lives:  own mark 2 -> m|3      nobody? it is over
//!          h3  CAS mark of m:  m|1 -> m|own place|2;  ring its bell                           it was faster? h2 again
//!          h4  own mark m|3 -> what comes next
//! ```
//!
//! # Invariants
//!
//! * W1: a number is given once, and a mark names it; so a notification reaches the waiter that was chosen, or nobody.
//! * W2: what a waiter was told and did not take is told to one other that waits: not to none, and not to two, wherever
//!   those die who are about it. Whoever enlists at its place or has slept for a slice sees to that.
//! * W3: a mark is changed by who has the place's lease, but for the steps 1 -> 2, and 3 -> 0 by the one that it names.
//!
//! # Death
//!
//! LEASED(dead) becomes BACK, and the mark stays: what it says is handed on by the next to take the lease. A dead waiter that
//! was not told yet is passed over. Who finds m|3 looks at the mark of m: told from here is h4, everything else is h2 again.
//! A waiter that was told from elsewhere says so there before its own mark goes, so a number that is not found was not
//! told from here, or the swap of m|3 fails. A notifier that dies between mark and bell delays the waiter by a slice.
//!
//! Waiters have no model: the sweeps, races and loom run this code (`proof/src/waiters.rs`, `waiter_pairs.rs`).

use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::core::geometry::lock;
use crate::core::lease::{A_FEW, Lease, Leases};
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
    pub lease: Lease,
    pub index: u64,
}

/// What a mark says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    const NOBODY: Mark = Mark(0);

    fn waits(number: u64) -> Mark {
        Mark(number << 13 | 1)
    }

    /// `from`: 0, or the place whose notification it was and one.
    fn told(number: u64, from: u64) -> Mark {
        Mark(number << 13 | from << 2 | 2)
    }

    fn passes(number: u64) -> Mark {
        Mark(number << 13 | 3)
    }

    fn number(self) -> u64 {
        self.0 >> 13
    }

    /// The place that a notification came from.
    fn from(self) -> Option<u64> {
        (self.0 >> 2 & 0x7ff).checked_sub(1).filter(|_| self.is_told())
    }

    fn is_waiting(self) -> bool {
        self.0 & 3 == 1
    }

    fn is_told(self) -> bool {
        self.0 & 3 == 2
    }

    fn is_passing(self) -> bool {
        self.0 & 3 == 3
    }
}

impl<E: Load> Tables<E> {
    /// The words of a pinned condition, which was checked to be one.
    pub fn waiters_of(&self, id: Id, form: &Form) -> Waiters {
        let slots = self.slots_of(id, form);
        let word = |word| self.lock_word(id, word);
        Waiters { leases: slots.leases, next: word(lock::STATE), used: word(lock::USED), data: slots.first() }
    }

    /// How many wait and were not told to go on, dead ones included that nobody has noticed.
    pub fn count_waiting(&self, waiters: Waiters) -> u64 {
        self.places(waiters).filter(|i| self.mark(waiters, *i).is_waiting()).count() as u64
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

    /// Whether a place's waiter died, and its lease was taken back.
    fn is_back(&self, waiters: Waiters, index: u64) -> bool {
        matches!(Life(self.env.load(waiters.leases.word(index), Acquire)).state(), Some(State::Back(_)))
    }
}

impl<E: Env> Core<E> {
    /// Puts a waiter on the list, behind all others. `None`: it is full.
    pub fn enlist(&self, waiters: Waiters) -> Result<Option<Enlisted>> {
        let Some(lease) = self.take_place(waiters.leases)? else { return Ok(None) };
        let index = (lease.off - waiters.leases.first) / 8;
        let mut used = self.load_word(waiters.used);
        while used <= index {
            match self.swap_word(waiters.used, used, index + 1) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        let mut number = self.load_word(waiters.next);
        while let Err(now) = self.swap_word(waiters.next, number, number.wrapping_add(1)) {
            number = now;
        }
        self.hand_on(waiters, index, Mark::waits(number));
        Ok(Some(Enlisted { lease, index }))
    }

    /// A place that nobody has. Those of dead waiters are the last to be taken, so that [`Core::lost_waiters`] counts them.
    fn take_place(&self, leases: Leases) -> Result<Option<Lease>> {
        if let Some(free) = (0..leases.count).find_map(|i| self.lease_free(leases.part(i, 1))) {
            return Ok(Some(free));
        }
        if let Some(back) = self.try_lease(leases)? {
            return Ok(Some(back));
        }
        self.look_for_all_dead_lessees(leases);
        self.try_lease(leases)
    }

    fn look_for_all_dead_lessees(&self, leases: Leases) {
        for look in 0..self.lessees(leases).len().div_ceil(A_FEW) {
            self.look_for_dead_lessees(leases, look);
        }
    }

    /// Waits until the waiter is told to go on.
    pub fn wait_enlisted(&self, waiters: Waiters, who: Enlisted, until: Until) -> Result<()> {
        let mut looks = 0;
        let look = || {
            looks += 1;
            self.hand_on_for_the_dead(waiters, looks);
        };
        let told = || Ok(self.mark(waiters, who.index).is_told().then_some(()));
        self.wait(waiters.bell(who.index), until, look, told)
    }

    /// Tells the first of those who wait and live to go on; says how many were told.
    pub fn notify(&self, waiters: Waiters, most: u64) -> u64 {
        let mut told = 0;
        for (number, index) in self.queue(waiters) {
            if told == most {
                break;
            }
            told += u64::from(self.tell(waiters, index, number, 0));
        }
        told
    }

    /// Those who wait: their numbers and places, the first first.
    fn queue(&self, waiters: Waiters) -> Vec<(u64, u64)> {
        let marks = self.places(waiters).map(|i| (self.mark(waiters, i), i));
        let mut queue: Vec<_> =
            marks.filter(|(mark, _)| mark.is_waiting()).map(|(mark, i)| (mark.number(), i)).collect();
        queue.sort_unstable();
        queue
    }

    /// Tells a waiter to go on, if it waits and lives.
    fn tell(&self, waiters: Waiters, index: u64, number: u64, from: u64) -> bool {
        let told = self.is_waiter_alive(waiters, index)
            && self.swap_word(waiters.mark(index), Mark::waits(number).0, Mark::told(number, from).0).is_ok();
        if told {
            self.ring_bell(waiters.bell(index));
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
        let mut now = self.mark(waiters, who.index);
        loop {
            self.say_it_came(waiters, now);
            match self.swap_word(waiters.mark(who.index), now.0, Mark::NOBODY.0) {
                Ok(_) => break,
                Err(found) => now = Mark(found),
            }
        }
        self.give_back(who.lease);
        now.is_told()
    }

    /// Takes the waiter off the list; if it was told to go on, another is told in its place.
    pub fn abandon_wait(&self, waiters: Waiters, who: Enlisted) {
        self.hand_on(waiters, who.index, Mark::NOBODY);
        self.give_back(who.lease);
    }

    /// h1: what was told in place of another is not that one's to hand on any more.
    fn say_it_came(&self, waiters: Waiters, mark: Mark) {
        if let Some(from) = mark.from().filter(|from| *from < waiters.leases.count) {
            let _ = self.swap_word(waiters.mark(from), Mark::passes(mark.number()).0, Mark::NOBODY.0);
        }
    }

    /// W2: hands on what was told at a place whose lease is ours, and makes its mark `next`.
    fn hand_on(&self, waiters: Waiters, index: u64, next: Mark) {
        loop {
            let now = self.mark(waiters, index);
            self.say_it_came(waiters, now);
            let is_over = match now.is_passing() {
                true => self.deliver(waiters, index, now.number()),
                false => !now.is_told(),
            };
            let mut queue = if is_over { vec![] } else { self.queue(waiters) }.into_iter();
            let first = queue.find(|(_, i)| self.is_waiter_alive(waiters, *i));
            let then = first.map_or(next, |(number, _)| Mark::passes(number));
            if self.swap_word(waiters.mark(index), now.0, then.0).is_ok() && then == next {
                return;
            }
        }
    }

    /// h3: whether what was told at a place has come to the waiter of that number.
    fn deliver(&self, waiters: Waiters, index: u64, number: u64) -> bool {
        let told = Mark::told(number, index + 1);
        let named = |i: &u64| [Mark::waits(number), told].contains(&self.mark(waiters, *i));
        let Some(to) = self.places(waiters).find(named) else { return false };
        self.tell(waiters, to, number, index + 1) || self.mark(waiters, to) == told
    }

    /// W2: takes back what dead waiters had, and hands on what they were told.
    pub fn hand_on_for_the_dead(&self, waiters: Waiters, look: usize) {
        self.look_for_dead_lessees(self.leased(waiters), look);
        for index in self.places(waiters).filter(|i| self.is_back(waiters, *i)) {
            let mark = self.mark(waiters, index);
            if !mark.is_told() && !mark.is_passing() {
                continue;
            }
            // The mark is another's, unless the lease is ours.
            if let Ok(Some(lease)) = self.try_lease(waiters.leases.part(index, 1)) {
                self.hand_on(waiters, index, Mark::NOBODY);
                if lease.recovered {
                    self.give_back_unmended(lease)
                } else {
                    self.give_back(lease)
                };
            }
        }
    }

    /// How many died on the list since this was asked last. One whose place was given away since, as the last, is not counted.
    pub fn lost_waiters(&self, waiters: Waiters) -> u64 {
        self.look_for_all_dead_lessees(self.leased(waiters));
        let mut lost = 0;
        for index in self.places(waiters).filter(|i| self.is_back(waiters, *i)) {
            if let Ok(Some(lease)) = self.try_lease(waiters.leases.part(index, 1)) {
                self.hand_on(waiters, index, Mark::NOBODY);
                lost += u64::from(lease.recovered);
                self.give_back(lease);
            }
        }
        lost
    }
}
