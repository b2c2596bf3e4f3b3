//! What is granted: leased words, in the arena's semaphore and in the objects of [`crate::sync`].
//!
//! A **lease** is a [`Life`] word that says LEASED(me,t). There is one protocol for the writers' permits, a
//! mutex, a semaphore's permits, a partition's writer and readers, and the slots of a value:
//!
//! ```text
//! take       FREE or BACK -> LEASED(me,t)      BACK: the holder before died, or left its data inconsistent: told
//! give back  LEASED(me,t) -> FREE, or BACK if told and not made consistent;   ring
//! recover    LEASED(dead) -> BACK;   ring
//! semaphore  LEASED(me,t) -> LOOSE: used up, nobody holds it;    LOOSE -> FREE: one more;   ring
//! ```
//!
//! Objects that lock lie in shared zones:
//!
//! ```text
//! word 0      1      2       3       4      8 ...            then, at a multiple of 64
//! | entry | bell | count | state | size |  | leases ...     | data: slots of a value
//! ```
//!
//! `count` leases; `state` changes, `size` never does. What they mean is the kind's affair:
//!
//! | kind | leases | state | size | data |
//! |---|---|---|---|---|
//! | mutex | 1 | current slot and its turn | bytes of the value | 2 slots |
//! | semaphore | its capacity | - | - | - |
//! | event | - | 1: set | 1: resets itself | - |
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
//! * K1: a lease is never taken from the living and never handed over: nobody writes another's ticket.
//! * K2: what a dead holder left is taken by one who is told, until somebody says that it is consistent.
//! * K3: the slot that `state` names is written by nobody. A lease of it may be held, but is given back unused.
//! * K4: of a writer and a reader who take at the same time one sees the other; the reader gives way.
//! * K5: a frozen array is never written again: `state` is set by one who has all its partitions, and looked at
//!   by whoever gets one afterwards.
//!
//! # Death
//!
//! LEASED(dead) becomes BACK. A slot half written is not current, so nothing is repaired: it is written
//! over. In a mutex the value changes as a whole when it is unlocked, or not at all.
//!
//! Models: `permit` (1 M states); values, partitions and freezing by the sweeps and races here.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

use crate::core::geometry::{Set, header, lock};
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::sys::Process;
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Life, Owner, State, Ticket};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// Leases of one partition: its writer's, then its readers'.
pub const PARTITION: u64 = 8;
/// Slots of a value that does not fit a word: so many stores less one may be under way at a time.
pub const SLOTS: u64 = 8;

/// Leases that belong together, and the bell that is rung when one comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    pub bell: u64,
    pub first: u64,
    pub count: u64,
}

impl Leases {
    fn word(&self, index: u64) -> u64 {
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

    /// What leases an object's kind says it has, for `verify`: a broken rule in words.
    pub fn verify_leases(&self, id: Id, alive: &[Owner]) -> Result<(), (&'static str, String)> {
        let leases = self.leases_of(id).map_err(|e| ("word", e.to_string()))?;
        let Some(leases) = leases else { return Ok(()) };
        for index in 0..leases.count {
            let word = Life(self.env.load(leases.word(index), SeqCst));
            match word.state() {
                Some(State::Leased(t)) if !alive.contains(&t.owner()) => {
                    return Err(("V5", format!("lease {index} of {id} is held by nobody alive")));
                }
                Some(State::Leased(_) | State::Back(_) | State::Free) => {}
                Some(State::Loose) if self.kind(id).is_ok_and(|k| k == Kind::Semaphore) => {}
                _ => return Err(("word", format!("lease {index} of {id} is {word:?}"))),
            }
        }
        Ok(())
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

    /// Takes one of these, as soon as one is free; `None` after `timeout`.
    pub fn lease(&self, leases: Leases, timeout: Option<Duration>) -> Result<Option<Lease>> {
        self.wait_for_lessees(leases, timeout, || self.try_lease(leases))
    }

    /// Waits for something that those who have leases of these can bring about: dead ones lose them.
    pub fn wait_for_lessees<T>(
        &self,
        leases: Leases,
        timeout: Option<Duration>,
        attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut looks = 0;
        let look = || {
            looks += 1;
            if self.take_back_some(leases, looks) {
                // A failure here only means that this waiter did not help with the rest.
                let _ = self.recover(false);
            }
        };
        self.wait(leases.bell, timeout, look, attempt)
    }

    /// Takes back what those had who have leases and are dead.
    fn take_back_some(&self, leases: Leases, look: usize) -> bool {
        let dead = self.gone_among(self.lessees(leases).into_iter().map(|(_, owner)| owner).collect(), look);
        // The waiter pins what it waits for, so this needs no memory: recovery may.
        self.take_back(leases, &dead);
        !dead.is_empty()
    }

    /// Those of some participants that are proved dead. A waiter asks in each of its looks, about others in each if
    /// they are many; the dearer proof, which is for large processes that take long to go, is asked for now and then.
    pub fn gone_among(&self, mut owners: Vec<Owner>, look: usize) -> Vec<Owner> {
        const A_FEW: usize = 64;
        // A process is asked about once, whatever it has.
        owners.retain(|owner| *owner != self.me());
        owners.sort_unstable_by_key(|owner| (owner.seat, owner.incarnation));
        owners.dedup();
        let first = (look * A_FEW) % owners.len().max(1);
        let facts = |owner| if look.is_multiple_of(8) { self.process(owner) } else { Process::default() };
        let asked = owners.iter().cycle().skip(first).take(A_FEW.min(owners.len()));
        asked.copied().filter(|owner| self.env.is_gone(*owner, facts(*owner))).collect()
    }

    /// K2: gives a lease back, and says whether somebody was waiting. `consistent`: nobody need be told.
    #[inline]
    pub fn give_back(&self, lease: Lease, consistent: bool) -> bool {
        let next = if consistent { Life::FREE } else { Life::back(lease.ticket) };
        self.end_lease(lease, next)
    }

    #[inline]
    fn end_lease(&self, lease: Lease, next: Life) -> bool {
        let ended = self.env.cas(lease.off, Life::leased(lease.ticket).0, next.0, SeqCst);
        ended.is_ok() && self.ring(lease.bell)
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
                self.ring(leases.bell);
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
            self.ring(leases.bell);
        }
        back
    }

    /// Takes back what the dead held in every object that locks. Each is pinned meanwhile: a word of its memory must not be taken
    /// for a lease when it is another object's by then.
    pub fn take_back_locks(&self, dead: &[Owner]) -> Result<u64> {
        let mut back = 0;
        let named = |leases: &Leases| self.lessees(*leases).iter().any(|(_, owner)| dead.contains(owner));
        let found: Vec<Id> = self.locks().filter(|(_, leases)| named(leases)).map(|(id, _)| id).collect();
        for id in found {
            self.raise_pin(id)?;
            if self.life(id, SeqCst) != Life::FREE
                && let Ok(Some(leases)) = self.leases_of(id)
            {
                back += u64::from(self.take_back(leases, dead));
            }
            self.unpin(id);
        }
        Ok(back)
    }

    /// Changes a value in slots: `change` makes the next from the current one, again if others were faster, and
    /// may refuse. `None`: it refused. Waits only while as many stores are under way as there are slots.
    pub fn update_slots(
        &self,
        slots: Slots,
        value: &mut [u64],
        mut change: impl FnMut(&mut [u64]) -> bool,
    ) -> Result<Option<()>> {
        let spare = self.wait_for_lessees(slots.leases, None, || self.spare_slot(slots))?;
        let (lease, slot) = spare.ok_or(Error::TimedOut(Duration::MAX))?;
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
        self.give_back(lease, true);
        stored
    }

    /// Replaces a value in slots, whatever it is.
    pub fn store_slots(&self, slots: Slots, value: &[u64]) -> Result<()> {
        let spare = self.wait_for_lessees(slots.leases, None, || self.spare_slot(slots))?;
        let (lease, slot) = spare.ok_or(Error::TimedOut(Duration::MAX))?;
        self.write_slot(slots, slot, value);
        let mut current = Current(self.env.load(slots.state, SeqCst));
        while let Err(found) = self.env.cas(slots.state, current.0, current.next(slot).0, SeqCst) {
            current = Current(found);
        }
        self.give_back(lease, true);
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
            self.give_back(lease, true);
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

    /// K4: the right to write to a partition; `None` after `timeout`.
    pub fn write_partition(&self, partition: Leases, timeout: Option<Duration>) -> Result<Option<Lease>> {
        let started = std::time::Instant::now();
        let Some(lease) = self.lease(partition.part(0, 1), timeout)? else {
            return Ok(None);
        };
        let left = timeout.map(|t| t.saturating_sub(started.elapsed()));
        let readers = partition.part(1, PARTITION - 1);
        let none = || {
            let busy = self.count_leases(readers, |state| matches!(state, State::Leased(_)));
            Ok((busy == 0).then_some(()))
        };
        match self.wait_for_lessees(readers, left, none) {
            Ok(Some(())) => Ok(Some(lease)),
            other => {
                self.give_back(lease, !lease.recovered);
                other.map(|_| None)
            }
        }
    }

    /// K4: the right to read a partition, together with other readers; `None` after `timeout`. The lease is
    /// `recovered` if the last writer died.
    pub fn read_partition(&self, partition: Leases, timeout: Option<Duration>) -> Result<Option<Lease>> {
        let writer = || Life(self.env.load(partition.word(0), SeqCst)).state();
        let writing = || matches!(writer(), Some(State::Leased(_)));
        self.wait_for_lessees(partition, timeout, || {
            if writing() {
                return Ok(None);
            }
            let Some(lease) = self.try_lease(partition.part(1, PARTITION - 1))? else {
                return Ok(None);
            };
            if writing() {
                self.give_back(lease, true);
                return Ok(None);
            }
            Ok(Some(Lease { recovered: matches!(writer(), Some(State::Back(_))), ..lease }))
        })
    }

    /// Sets an event, and lets those go on who wait for it.
    pub fn set_event(&self, id: Id) {
        self.env.store(self.lock_word(id, lock::STATE), 1, SeqCst);
        self.ring(self.lock_word(id, lock::BELL));
    }

    /// Whether an event is set; one that resets itself is not any more then.
    pub fn pass_event(&self, id: Id, resets: bool) -> bool {
        let state = self.lock_word(id, lock::STATE);
        self.env.load(state, SeqCst) == 1 && (!resets || self.env.cas(state, 1, 0, SeqCst).is_ok())
    }

    /// K5: no partition of an array is written to from here on. The caller has all of them.
    pub fn set_frozen(&self, id: Id) {
        self.env.store(self.lock_word(id, lock::STATE), 1, SeqCst);
    }
}
