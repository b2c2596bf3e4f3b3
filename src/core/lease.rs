//! What is granted: leased words, in the arena's semaphore and in the objects of [`crate::sync`].
//!
//! A **lease** is a [`Life`] word that says LEASED(me,t). There is one protocol for the writers' permits, a
//! mutex, a semaphore's permits, a partition's writer and readers, the slots of a value, the subscribers of a feed, and the
//! maker of what a name will stand for:
//!
//! ```text
//! take       FREE or BACK -> LEASED(me,t)      BACK: the holder before died, or left its data inconsistent: told
//! give back  LEASED(me,t) -> FREE, or BACK if told and not made consistent;   ring
//! recover    LEASED(dead) -> BACK;   ring
//! semaphore  LEASED(me,t) -> LOOSE: used up, nobody holds it;    LOOSE -> FREE: one more;   ring
//! ```
//!
//! # Invariants
//!
//! * K1: a lease is never taken from the living and never handed over: nobody writes another's ticket.
//! * K2: what a dead holder left is taken by one who is told, until somebody says that it is consistent.
//!
//! What locks are made of such words, and how they are waited for, is in [`crate::core::lock`].
//!
//! Model: `permit` (1 M states).

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::core::cell::{End, Ring};
use crate::core::geometry::{Set, header, lock};
use crate::core::list::MAKER;
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::sys::Process;
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Life, Owner, State, Ticket};
use crate::error::{Error, Result};

/// Participants that are asked about in one look.
pub(super) const A_FEW: usize = 64;

/// Leases that belong together, and the bell that is rung when one comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    pub bell: u64,
    pub first: u64,
    pub count: u64,
}

impl Leases {
    pub(super) fn word(&self, index: u64) -> u64 {
        self.first + index * 8
    }

    /// Some of them.
    pub fn part(&self, from: u64, count: u64) -> Leases {
        debug_assert!(from + count <= self.count);
        Leases { first: self.word(from), count, ..*self }
    }
}

/// A lease that this process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub off: u64,
    pub bell: u64,
    pub ticket: Ticket,
    /// The holder before died with it, or said that it left things inconsistent.
    pub recovered: bool,
}

impl<E: Load> Tables<E> {
    /// The writers' permits.
    pub fn permits(&self) -> Leases {
        Leases { bell: header::PERMIT_BELL, first: self.geo.permit(0), count: self.geo.params.permits }
    }

    /// Permits that are held now.
    pub fn permits_held(&self) -> u32 {
        self.count_leases(self.permits(), |state| matches!(state, State::Leased(_))) as u32
    }

    /// How many of these words are in a state.
    pub fn count_leases(&self, leases: Leases, is: impl Fn(State) -> bool) -> u64 {
        let word = |i| Life(self.env.load(leases.word(i), SeqCst)).state();
        (0..leases.count).filter_map(word).filter(|state| is(*state)).count() as u64
    }

    /// Where a word of an object that locks lies.
    #[inline]
    pub fn lock_word(&self, id: Id, word: u64) -> u64 {
        self.payload(id) + word * 8
    }

    /// The leases of an object, checked against its slot. `None`: its kind has none.
    pub fn leases_of(&self, id: Id) -> Result<Option<Leases>> {
        let kind = self.kind(id)?;
        if kind == Kind::Feed {
            return Ok(Some(self.subscribers(self.ring_of(id)?)));
        }
        if kind == Kind::Name {
            return Ok(Some(self.maker(self.name_object(id)?)));
        }
        if !kind.locks() {
            return Ok(None);
        }
        let (zone, _) = self.slot(id);
        let count = self.env.load(self.lock_word(id, lock::COUNT), Acquire);
        if zone.set != Set::Shared || count.saturating_add(lock::LEASES) > zone.size() / 8 {
            return Err(Error::damaged(format!("{id} says it has {count} leases, its slot {} bytes", zone.size())));
        }
        let leases = Leases { bell: self.lock_word(id, lock::BELL), first: self.lock_word(id, lock::LEASES), count };
        Ok(Some(leases))
    }

    /// The lease of a name's maker, which is a lease of its own.
    pub fn maker(&self, name: Id) -> Leases {
        Leases { bell: self.name_bell(name), first: self.payload(name) + MAKER, count: 1 }
    }

    /// The leases of a feed's subscribers.
    pub fn subscribers(&self, ring: Ring) -> Leases {
        Leases { bell: ring.bell(End::Send), first: ring.subscribers(), count: ring.subscriber_count() }
    }

    /// Objects that lock and that anybody may hold: their ids and leases.
    pub fn locks(&self) -> impl Iterator<Item = (Id, Leases)> {
        let zones = self.geo.zones.iter().filter(|z| z.set == Set::Shared);
        let ids = zones.flat_map(|z| (0..self.used(z)).map(|slot| z.id(slot)));
        let in_use = ids.filter(|id| self.life(*id, SeqCst) != Life::FREE);
        in_use.filter_map(|id| Some((id, self.leases_of(id).ok()??)))
    }

    /// Who has which of these.
    pub fn lessees(&self, leases: Leases) -> Vec<(u64, Owner)> {
        let owner = |i| match Life(self.env.load(leases.word(i), Acquire)).state() {
            Some(State::Leased(t)) => Some((i, t.owner())),
            _ => None,
        };
        (0..leases.count).filter_map(owner).collect()
    }
}

impl<E: Env> Core<E> {
    /// Takes one of these if one is free.
    #[inline]
    pub fn try_lease(&self, leases: Leases) -> Result<Option<Lease>> {
        self.show_leases_of(leases);
        for index in 0..leases.count {
            let off = leases.word(index);
            // B2: this may be the second look of one who is about to sleep.
            let word = Life(self.env.load(off, SeqCst));
            if matches!(word.state(), Some(State::Leased(_) | State::Loose)) {
                continue;
            }
            let ticket = self.lease_ticket();
            let Some((leased, recovered)) = word.lease(ticket) else {
                return Err(Error::damaged(format!("the lease at {off:#x} has the impossible word {:#x}", word.0)));
            };
            if self.env.cas(off, word.0, leased.0, SeqCst).is_ok() {
                return Ok(Some(Lease { off, bell: leases.bell, ticket, recovered }));
            }
        }
        Ok(None)
    }

    /// Recovery looks at the permits in any case.
    #[inline]
    fn show_leases_of(&self, leases: Leases) {
        if leases.first != self.geo.permit(0) {
            self.show_leases();
        }
    }

    /// Takes one of the first few of these if nobody has it and nobody need be told anything: the fast way.
    #[inline]
    pub fn lease_free(&self, leases: Leases) -> Option<Lease> {
        self.show_leases_of(leases);
        for index in 0..leases.count.min(4) {
            let off = leases.word(index);
            if self.env.load(off, Relaxed) == Life::FREE.0 {
                let ticket = self.lease_ticket();
                if self.env.cas(off, Life::FREE.0, Life::leased(ticket).0, SeqCst).is_ok() {
                    return Some(Lease { off, bell: leases.bell, ticket, recovered: false });
                }
            }
        }
        None
    }

    /// Those of some participants that are proved dead. A waiter asks in each of its looks, about others in each if
    /// they are many; the dearer proof, which is for large processes that take long to go, is asked for now and then.
    pub fn gone_among(&self, mut owners: Vec<Owner>, look: usize) -> Vec<Owner> {
        // A process is asked about once, whatever it has.
        owners.retain(|owner| *owner != self.me());
        owners.sort_unstable_by_key(|owner| (owner.seat, owner.incarnation));
        owners.dedup();
        let first = (look * A_FEW) % owners.len().max(1);
        let facts = |owner| if look.is_multiple_of(8) { self.process(owner) } else { Process::default() };
        let asked = owners.iter().cycle().skip(first).take(A_FEW.min(owners.len()));
        asked.copied().filter(|owner| self.env.is_gone(*owner, facts(*owner))).collect()
    }

    /// Gives a lease back, and says whether somebody was waiting.
    #[inline]
    pub fn give_back(&self, lease: Lease) -> bool {
        self.end_lease(lease, Life::FREE)
    }

    /// K2: gives a lease back whose next holder is told that things are not consistent, and says whether somebody was
    /// waiting.
    #[inline]
    pub fn give_back_unmended(&self, lease: Lease) -> bool {
        self.end_lease(lease, Life::back(lease.ticket))
    }

    #[inline]
    fn end_lease(&self, lease: Lease, next: Life) -> bool {
        let ended = self.env.cas(lease.off, Life::leased(lease.ticket).0, next.0, SeqCst);
        ended.is_ok() && self.ring_bell(lease.bell)
    }

    /// Uses a permit up: it is nobody's, until [`Core::add_permit`].
    pub fn use_up(&self, lease: Lease) {
        let _ = self.env.cas(lease.off, Life::leased(lease.ticket).0, Life::LOOSE.0, SeqCst);
    }

    /// Makes a permit that was used up free again. `false`: none was.
    pub fn add_permit(&self, leases: Leases) -> bool {
        for index in 0..leases.count {
            let off = leases.word(index);
            if self.env.load(off, Acquire) == Life::LOOSE.0
                && self.env.cas(off, Life::LOOSE.0, Life::FREE.0, SeqCst).is_ok()
            {
                self.ring_bell(leases.bell);
                return true;
            }
        }
        false
    }

    /// Takes back what the dead had of these; the next to take them are told.
    pub fn take_back(&self, leases: Leases, dead: &[Owner]) -> u32 {
        let mut back = 0;
        if dead.is_empty() {
            return back;
        }
        for index in 0..leases.count {
            let off = leases.word(index);
            let word = Life(self.env.load(off, Acquire));
            let next = dead.iter().find_map(|d| word.take_back(*d));
            if next.is_some_and(|next| self.env.cas(off, word.0, next.0, SeqCst).is_ok()) {
                back += 1;
            }
        }
        if back != 0 {
            self.ring_bell(leases.bell);
        }
        back
    }
}
