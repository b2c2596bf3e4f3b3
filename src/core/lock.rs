//! Locks, values and partitions: objects made of leases, and how leases are waited for.
//!
//! A [`crate::core::lease`] is taken and given back there. Who waits for one waits for a process that may be dead; so it
//! looks for deaths, and settles what the dead had: that is why this file stands above recovery.
//!
//! Objects that lock lie in shared zones:
//!
//! ```text
//! word 0      1      2       3       4      5      8 ...            then, at a multiple of 64
//! | entry | bell | count | state | size | type |  | leases ...     | data: slots of a value
//! ```
//!
//! `count` leases; `state` changes, `size` and `type` never do. What they mean is the kind's affair; `type` is that of a
//! value that is a number, and 0 everywhere else:
//!
//! | kind | leases | state | size | data |
//! |---|---|---|---|---|
//! | mutex | 1 | current slot and its turn | bytes of the value | 2 slots |
//! | semaphore | its capacity | how many permits were added to those, and in bit 63 whether any was | - | - |
//! | event | - | how often it was set, and in bit 0 whether it is set | 1: resets itself | - |
//! | condition | 1,024, one for each waiter | the next waiter's number | 16 | bell and mark of each waiter |
//! | value up to 8 bytes | - | the value | its bytes | - |
//! | larger value | 8, one for each slot | current slot and its turn | its bytes | 8 slots |
//! | mutable array | 8 for each partition: the writer, 7 readers | 1: frozen | partitions | (its part has the elements) |
//!
//! # Values
//!
//! A larger value is several slots and a word that says which one is current. Nobody writes to the current
//! slot, so a reader never waits, and a writer that dies or stops in the middle has touched nothing that anybody reads.
//!
//! ```text
//! load   c = state;  copy slot c;  state == c? else again                  (turns make c unique)
//! store  take the lease of a slot s;  state's slot == s? give back, another
//!        write slot s;  CAS state: c -> (s, turn + 1);  give back           <- the swap publishes
//! ```
//!
//! # Partitions
//!
//! ```text
//! write  take the writer's lease;  wait until no reader has one
//! read   writer there? wait.  take a reader's lease;  writer there now? give back, wait
//! ```
//!
//! # Invariants
//!
//! * K3: the slot that `state` names is written by nobody. A lease of it may be held, but is given back unused.
//! * K4: of a writer and a reader who take at the same time one sees the other; the reader gives way.
//! * K5: a frozen array is never written again: `state` is set by one who has all its partitions, and looked at
//!   by whoever gets one afterwards.
//! * K6: the permits that were added to a semaphore are one number, which each step changes by a swap: none is lost or there
//!   twice but those that a dead process had. Who adds some rings afterwards (B2).
//!
//! # Death
//!
//! LEASED(dead) becomes BACK. A slot half written is not current, so nothing is repaired: it is written
//! over. In a mutex the value changes as a whole when it is unlocked, or not at all.
//!
//! Values, partitions, freezing and added permits have no model: the sweeps and races show them.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::core::geometry::{Set, lock};
use crate::core::lease::{Lease, Leases};
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, Tables};
use crate::core::wait::Until;
use crate::core::word::{Id, Life, State};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// Leases of one partition: its writer's, then its readers'.
pub const PARTITION: u64 = 8;
/// Slots of a value that does not fit a word: so many stores less one may be under way at a time.
pub const SLOTS: u64 = 8;
/// In a semaphore's state: permits were added.
const ADDED: u64 = 1 << 63;

/// A value in slots: the word that says which is current, and where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    pub leases: Leases,
    state: u64,
    data: u64,
    /// Words of one slot.
    words: u64,
    count: u64,
}

impl Slots {
    /// Where the first slot lies.
    pub fn first(&self) -> u64 {
        self.data
    }
}

/// `turn:56 | slot:8`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Current(u64);

impl Current {
    fn slot(self) -> u64 {
        self.0 & 0xff
    }

    fn next(self, slot: u64) -> Current {
        Current((self.0 >> 8).wrapping_add(1) << 8 | slot)
    }
}

/// What an object that locks is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub kind: Kind,
    pub leases: u64,
    pub size: u64,
    /// Slots of `size` bytes each behind the leases.
    pub slots: u64,
}

impl Form {
    fn data(&self) -> u64 {
        lock::LEASES * 8 + (self.leases * 8).next_multiple_of(64)
    }

    fn slot_words(&self) -> u64 {
        self.size.div_ceil(8)
    }

    fn bytes(&self) -> u64 {
        self.data() + self.slots * self.slot_words() * 8
    }
}

impl<E: Load> Tables<E> {
    /// The slots of a value of `form`, whose object is pinned and was checked by [`Tables::check_form`].
    pub fn slots_of(&self, id: Id, form: &Form) -> Slots {
        let leases = Leases {
            bell: self.lock_word(id, lock::BELL),
            first: self.lock_word(id, lock::LEASES),
            count: form.leases,
        };
        let data = self.payload(id) + form.data();
        Slots { leases, state: self.lock_word(id, lock::STATE), data, words: form.slot_words(), count: form.slots }
    }

    /// Whether a pinned object is of a form. Errors say what it is instead.
    pub fn check_form(&self, id: Id, name: &str, form: &Form, says: impl Fn(&Form) -> String) -> Result<()> {
        let kind = self.kind(id)?;
        let word = |w| self.env.load(self.lock_word(id, w), Acquire);
        let found = Form { kind, leases: word(lock::COUNT), size: word(lock::SIZE), ..*form };
        if kind != form.kind {
            return Err(Error::Mismatch { name: name.into(), expected: says(form), found: kind.to_string() });
        }
        if found != *form {
            return Err(Error::Mismatch { name: name.into(), expected: says(form), found: says(&found) });
        }
        if self.slot(id).0.size() < form.bytes() || self.slot(id).0.set != Set::Shared {
            return Err(Error::damaged(format!("{id} is smaller than what it says it is")));
        }
        Ok(())
    }

    /// The current value. Never waits for anybody; tries again while others store.
    pub fn load_slots(&self, slots: Slots, out: &mut [u64]) -> Result<u64> {
        loop {
            let current = Current(self.env.load(slots.state, SeqCst));
            if current.slot() >= slots.count {
                return Err(Error::damaged(format!("a value of {} slots is in slot {}", slots.count, current.slot())));
            }
            let at = slots.data + current.slot() * slots.words * 8;
            for (i, word) in out.iter_mut().enumerate() {
                *word = self.env.load(at + i as u64 * 8, Acquire);
            }
            if self.env.load(slots.state, SeqCst) == current.0 {
                return Ok(current.0);
            }
        }
    }
}

impl<E: Env> Core<E> {
    /// A draft of an object that locks: nothing held, `state` and all slots zero.
    pub fn draft_lock(&self, form: Form) -> Result<Draft> {
        let draft = self.alloc(form.kind, form.bytes())?;
        let at = self.payload(draft.id);
        for off in (0..form.bytes()).step_by(8) {
            self.env.store(at + off, 0, Relaxed);
        }
        self.env.store(at + lock::COUNT * 8, form.leases, Relaxed);
        self.env.store(at + lock::SIZE * 8, form.size, Relaxed);
        Ok(draft)
    }

    /// Takes one of these, as soon as one is free.
    pub fn lease(&self, leases: Leases, until: Until) -> Result<Lease> {
        self.wait_for_lessees(leases, until, || self.try_lease(leases))
    }

    /// Takes a permit of a semaphore if one is free: a lease, or one of those that were added, whose lease names the
    /// semaphore's state.
    pub fn try_permit(&self, id: Id, leases: Leases) -> Result<Option<Lease>> {
        if let Some(lease) = self.try_lease(leases)? {
            return Ok(Some(lease));
        }
        let off = self.lock_word(id, lock::STATE);
        let added = self.take_added_permit(id);
        Ok(added.then(|| Lease { off, bell: leases.bell, ticket: self.lease_ticket(), recovered: false }))
    }

    /// Takes a permit of a semaphore, as soon as one is free.
    pub fn permit(&self, id: Id, leases: Leases, until: Until) -> Result<Lease> {
        self.wait_for_lessees(leases, until, || self.try_permit(id, leases))
    }

    /// Waits for something that those who have leases of these can bring about: dead ones lose them.
    pub fn wait_for_lessees<T>(
        &self,
        leases: Leases,
        until: Until,
        attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let mut looks = 0;
        let look = || {
            looks += 1;
            self.look_for_dead_lessees(leases, looks);
        };
        self.wait(leases.bell, until, look, attempt)
    }

    /// Asks whether those died who have leases of these, and takes back what the dead had.
    pub fn look_for_dead_lessees(&self, leases: Leases, look: usize) {
        if self.take_back_some(leases, look) {
            // A failure here only means that this waiter did not help with the rest.
            let _ = self.recover();
        }
    }

    /// Takes back what those had who have leases and are dead.
    fn take_back_some(&self, leases: Leases, look: usize) -> bool {
        let dead = self.gone_among(self.lessees(leases).into_iter().map(|(_, owner)| owner).collect(), look);
        // The waiter pins what it waits for, so this needs no memory: recovery may.
        self.take_back(leases, &dead);
        !dead.is_empty()
    }

    /// Changes a value in slots: `change` makes the next from the current one, again if others were faster, and
    /// may refuse. `None`: it refused. Waits only while as many stores are under way as there are slots.
    pub fn update_slots(
        &self,
        slots: Slots,
        value: &mut [u64],
        until: Until,
        mut change: impl FnMut(&mut [u64]) -> bool,
    ) -> Result<Option<()>> {
        let (lease, slot) = self.wait_for_lessees(slots.leases, until, || self.spare_slot(slots))?;
        let stored = loop {
            let current = match self.load_slots(slots, value) {
                Ok(current) => Current(current),
                Err(e) => break Err(e),
            };
            if !change(value) {
                break Ok(None);
            }
            self.write_slot(slots, slot, value);
            if self.env.cas(slots.state, current.0, current.next(slot).0, SeqCst).is_ok() {
                break Ok(Some(()));
            }
        };
        self.give_back(lease);
        stored
    }

    /// Replaces a value in slots, whatever it is. Waits as [`Core::update_slots`] does.
    pub fn store_slots(&self, slots: Slots, value: &[u64], until: Until) -> Result<()> {
        let (lease, slot) = self.wait_for_lessees(slots.leases, until, || self.spare_slot(slots))?;
        self.write_slot(slots, slot, value);
        let mut current = Current(self.env.load(slots.state, SeqCst));
        while let Err(found) = self.env.cas(slots.state, current.0, current.next(slot).0, SeqCst) {
            current = Current(found);
        }
        self.give_back(lease);
        Ok(())
    }

    /// K3: a slot that is ours to write and is not current.
    fn spare_slot(&self, slots: Slots) -> Result<Option<(Lease, u64)>> {
        let current = Current(self.env.load(slots.state, SeqCst)).slot();
        for slot in (0..slots.count).filter(|slot| *slot != current) {
            let Some(lease) = self.try_lease(slots.leases.part(slot, 1))? else { continue };
            if Current(self.env.load(slots.state, SeqCst)).slot() != slot {
                return Ok(Some((lease, slot)));
            }
            self.give_back(lease);
        }
        Ok(None)
    }

    fn write_slot(&self, slots: Slots, slot: u64, value: &[u64]) {
        let at = slots.data + slot * slots.words * 8;
        for (i, word) in value.iter().enumerate() {
            self.env.store(at + i as u64 * 8, *word, Release);
        }
    }

    /// Replaces the value of a mutex, whose holder we are: it has two slots, and one is not current.
    pub fn store_locked(&self, slots: Slots, value: &[u64]) {
        let current = Current(self.env.load(slots.state, SeqCst));
        let spare = (current.slot() + 1) % slots.count;
        self.write_slot(slots, spare, value);
        self.env.store(slots.state, current.next(spare).0, SeqCst);
    }

    /// Leaves so many permits of a new semaphore free; the others are used up.
    pub fn fill_permits(&self, leases: Leases, free: u64) {
        for index in free..leases.count {
            self.env.store(leases.word(index), Life::LOOSE.0, Relaxed);
        }
    }

    /// The permits that were added to a semaphore's leases: how many of them are free, and whether any was added.
    #[inline]
    pub fn added_permits(&self, id: Id) -> (u64, bool) {
        let word = self.load_word(self.lock_word(id, lock::STATE));
        (word & !ADDED, word & ADDED != 0)
    }

    /// Adds permits to a semaphore's leases, and lets those go on who wait. `false`: there would be more than `most`.
    pub fn post_permits(&self, id: Id, permits: u64, most: u64) -> bool {
        let posted = self.post_at(self.lock_word(id, lock::STATE), permits, most);
        if posted {
            self.ring_bell(self.lock_word(id, lock::BELL));
        }
        posted
    }

    /// Gives a permit back that was added, and says whether somebody was waiting.
    pub fn give_back_added(&self, lease: Lease) -> bool {
        self.post_at(lease.off, 1, !ADDED) && self.ring_bell(lease.bell)
    }

    fn post_at(&self, word: u64, permits: u64, most: u64) -> bool {
        let mut now = self.load_word(word);
        loop {
            let free = (now & !ADDED) + permits;
            if free > most {
                return false;
            }
            match self.swap_word(word, now, ADDED | free) {
                Ok(_) => return true,
                Err(found) => now = found,
            }
        }
    }

    /// Takes a permit that was added, if one is free.
    #[inline]
    pub fn take_added_permit(&self, id: Id) -> bool {
        let word = self.lock_word(id, lock::STATE);
        let mut now = self.load_word(word);
        while now & !ADDED != 0 {
            match self.swap_word(word, now, now - 1) {
                Ok(_) => return true,
                Err(found) => now = found,
            }
        }
        false
    }

    /// The word of an event or a small value.
    #[inline]
    pub fn load_word(&self, off: u64) -> u64 {
        self.env.load(off, SeqCst)
    }

    /// Replaces it.
    #[inline]
    pub fn store_word(&self, off: u64, value: u64) {
        self.env.store(off, value, SeqCst);
    }

    /// Replaces it if it is `old`; else says what it is.
    #[inline]
    pub fn swap_word(&self, off: u64, old: u64, new: u64) -> Result<u64, u64> {
        self.env.cas(off, old, new, SeqCst)
    }

    /// Gives a value its first content; only in a draft of ours.
    pub fn fill_slots(&self, slots: Slots, value: &[u64]) {
        self.write_slot(slots, 0, value);
    }

    /// K4: the right to write to a partition.
    pub fn write_partition(&self, partition: Leases, until: Until) -> Result<Lease> {
        let until = until.started();
        let lease = self.lease(partition.part(0, 1), until)?;
        let readers = partition.part(1, PARTITION - 1);
        let none = || {
            let busy = self.count_leases(readers, |state| matches!(state, State::Leased(_)));
            Ok((busy == 0).then_some(()))
        };
        match self.wait_for_lessees(readers, until, none) {
            Ok(()) => Ok(lease),
            Err(e) => {
                if lease.recovered {
                    self.give_back_unmended(lease)
                } else {
                    self.give_back(lease)
                };
                Err(e)
            }
        }
    }

    /// K4: the right to read a partition, together with other readers. The lease is `recovered` if the last writer died.
    pub fn read_partition(&self, partition: Leases, until: Until) -> Result<Lease> {
        let writer = || Life(self.env.load(partition.word(0), SeqCst)).state();
        let writing = || matches!(writer(), Some(State::Leased(_)));
        self.wait_for_lessees(partition, until, || {
            if writing() {
                return Ok(None);
            }
            let Some(lease) = self.try_lease(partition.part(1, PARTITION - 1))? else {
                return Ok(None);
            };
            if writing() {
                self.give_back(lease);
                return Ok(None);
            }
            Ok(Some(Lease { recovered: matches!(writer(), Some(State::Back(_))), ..lease }))
        })
    }

    /// Sets an event, and lets those go on who wait for it.
    pub fn set_event(&self, id: Id) {
        let word = self.lock_word(id, lock::STATE);
        let mut now = self.load_word(word);
        while now & 1 == 0 {
            match self.swap_word(word, now, (now | 1).wrapping_add(2)) {
                Ok(_) => break,
                Err(found) => now = found,
            }
        }
        self.ring_bell(self.lock_word(id, lock::BELL));
    }

    /// Resets an event.
    pub fn reset_event(&self, id: Id) {
        self.take_event(id);
    }

    /// How often an event was set.
    #[inline]
    pub fn times_set(&self, id: Id) -> u64 {
        self.env.load(self.lock_word(id, lock::STATE), SeqCst) >> 1
    }

    /// Whether an event is set.
    pub fn is_event_set(&self, id: Id) -> bool {
        self.env.load(self.lock_word(id, lock::STATE), SeqCst) & 1 == 1
    }

    /// Resets an event, and says whether it was set, and reset by us.
    pub fn take_event(&self, id: Id) -> bool {
        let word = self.lock_word(id, lock::STATE);
        let mut now = self.load_word(word);
        while now & 1 == 1 {
            match self.swap_word(word, now, now & !1) {
                Ok(_) => return true,
                Err(found) => now = found,
            }
        }
        false
    }

    /// K5: no partition of an array is written to from here on. The caller has all of them.
    pub fn set_frozen(&self, id: Id) {
        self.env.store(self.lock_word(id, lock::STATE), 1, SeqCst);
    }
}
