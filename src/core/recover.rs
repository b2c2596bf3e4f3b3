//! Settling what the dead left: one loop over all words. And what is done when memory runs out.
//!
//! Anybody runs it, in any number at once, at any time; it may be killed at every step. Each step is
//! an exact-value compare-and-swap, so a late one fails.
//!
//! ```text
//! r0  prove deaths, seat -> DEAD            first prove, then load the words that you decide on
//! r1  LEASED(dead) -> BACK, ring: permits, then the leases of every object that locks, if a dead one took any
//! r2  every word of every zone:
//!       DRAFT(dead)               -> HOME if its target names it, else LOOSE
//!       DYING(dead)               -> DYING(me), finish
//!       LEASED(dead)              -> BACK, after its cell is clean (see `ring.rs`)
//!       BACK                      counted once more
//!       HOME(P,t), P moved on     -> LOOSE       no proof needed: anyone, any time; only if somebody died
//!                                                while putting (see `Core::putting`), and in a sweep
//!       LOOSE                     -> reclaim     (pins of the dead are void now)
//!       FREE that no hint offers  -> offered
//!     again, until a pass meets no word that names the dead
//! r3  names left without an object, and dead names, are dropped: as with homes
//! r4  seat DEAD -> FREE
//! ```
//!
//! What it makes true again, rule by rule, is in [`crate::core::verify`] (V1 to V7).

use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::core::cell::{End, Ring};
use crate::core::chain::Reached;
use crate::core::geometry::{Set, Zone, meta};
use crate::core::lease::Leases;
use crate::core::name::Removes;
use crate::core::seat::{Core, Env};
use crate::core::tables::Kind;
use crate::core::word::{Id, Life, Owner, State, Ticket, Turn};
use crate::error::{Error, Result};

/// What a recovery settled.
///
/// ```
/// # let name = format!("doc-recovered-{}", std::process::id());
/// let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let recovered = arena.recover()?;
/// assert_eq!(recovered.participants, 0, "nobody died");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Participants that were found dead.
    pub participants: u32,
    /// Objects that they left half written or half freed.
    pub objects: u64,
    /// Bytes that the arena has fewer in use than before. Counted by sweeps only.
    pub bytes: u64,
    /// Permits that they held.
    pub permits: u32,
    /// Locks, permits of semaphores and partitions that they held.
    pub locks: u64,
}

/// What a pass over all words is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Words that name the dead.
    Dead,
    /// And what is loose, came back, or is free and not offered.
    Loose,
    /// And what is at home in a place that moved on, which takes a look at two records for each object.
    Everything,
}

/// What a pass could not settle.
#[derive(Debug, Default)]
struct Left {
    failed: Option<Error>,
    later: bool,
}

/// Why a word that names the dead was not settled.
#[derive(Debug)]
pub enum Unsettled {
    Failed(Error),
    /// It depends on what somebody else is in the middle of.
    Later,
}

impl From<Error> for Unsettled {
    fn from(e: Error) -> Unsettled {
        Unsettled::Failed(e)
    }
}

impl<E: Env> Core<E> {
    /// Settles what the dead left, if somebody died. That takes a load of each object's word, twice; of each record too
    /// when somebody died in the middle of a put.
    pub fn recover(&self) -> Result<Recovered> {
        let dead = self.bury_the_dead();
        if dead.is_empty() {
            return Ok(Recovered::default());
        }
        self.settle_deaths(dead, Look::Loose)
    }

    /// Settles what the dead left, and looks for loose ends also when nobody died. That takes a load of each object's word
    /// and record, twice.
    pub fn sweep(&self) -> Result<Recovered> {
        let before = self.bytes_in_use();
        let done = self.settle_deaths(self.bury_the_dead(), Look::Everything)?;
        Ok(Recovered { bytes: before.saturating_sub(self.bytes_in_use()), ..done })
    }

    /// r1-r4. `look`: how far the first pass looks at least.
    fn settle_deaths(&self, dead: Vec<Owner>, look: Look) -> Result<Recovered> {
        let mut done = Recovered { participants: dead.len() as u32, ..Recovered::default() };
        let thorough = look == Look::Everything || dead.iter().any(|owner| self.was_putting(*owner));
        let locked = dead.iter().any(|owner| self.had_leases(*owner));
        // Names that the dead made something for go, which is done again by whoever recovers from our death.
        let take_back_locks = || if locked { self.putting(|| self.take_back_locks(&dead)) } else { Ok(0) };
        done.permits = self.take_back(self.permits(), &dead);
        // Some of it needs memory for a pin. What fails for that is tried again when the rest is settled, which
        // frees some; if it fails then too, the seats stay for the next recovery. So they do for what must wait.
        let mut locks = take_back_locks();
        let mut look = if thorough { Look::Everything } else { Look::Loose };
        // Who dies in the middle of this leaves what those do whom it is about.
        let settled_all = self.putting(|| {
            let mut later = false;
            loop {
                let mut left = Left::default();
                let settled = self.settle_words(&dead, look, &mut left);
                done.objects += settled;
                // Of what a later pass does not look at, too.
                later |= left.later;
                if settled == 0 {
                    return left.failed.map_or(Ok(!later), Err);
                }
                // Again all that failed; else what the dead had while this was under way.
                if left.failed.is_none() {
                    look = Look::Dead;
                }
            }
        })?;
        if locks.is_err() {
            locks = take_back_locks();
        }
        done.locks = locks?;
        if thorough {
            self.drop_dead_names()?;
        }
        if thorough || done.objects > 0 {
            self.recount_warm();
        }
        for owner in dead.into_iter().filter(|_| settled_all) {
            self.free_seat(owner);
        }
        Ok(done)
    }

    fn bytes_in_use(&self) -> u64 {
        let zones = self.geo.zones.iter().filter(|z| z.set == Set::Payload);
        zones.map(|z| self.committed(z)).map(|c| c.bytes - c.warm).sum()
    }

    /// r2: one pass. Returns how many words named the dead and do not any more; goes on when one fails.
    fn settle_words(&self, dead: &[Owner], look: Look, left: &mut Left) -> u64 {
        let mut settled = 0;
        let mut note = |done: Result<bool, Unsettled>| {
            match done {
                Ok(done) => return u64::from(done),
                Err(Unsettled::Failed(e)) => left.failed = Some(e),
                Err(Unsettled::Later) => left.later = true,
            }
            0
        };
        for zone in &self.geo.zones {
            let used = self.used(zone);
            // Nearly all words are placed; among a million, what is done for each counts.
            let looked_at = |slot: u64| match look {
                Look::Everything => Some(slot).filter(|slot| *slot < used),
                Look::Dead | Look::Loose => self.next_unplaced(zone, slot, used),
            };
            let mut next = 0;
            while let Some(slot) = looked_at(next) {
                next = slot + 1;
                let id = zone.id(slot);
                let word = self.life(id, SeqCst);
                let Some(state) = word.state() else { continue };
                let of_dead = |t: Ticket| dead.contains(&t.owner());
                match state {
                    State::Free if look != Look::Dead => self.mend_hint(zone, slot),
                    State::Draft(t) if of_dead(t) => {
                        settled += note(self.settle_for_the_dead(id, word).map(|()| true));
                    }
                    State::Leased(t) if of_dead(t) => settled += note(self.return_for_the_dead(id, word)),
                    State::Back(_) if look != Look::Dead => {
                        note(self.announce(id, word).map(|()| false));
                    }
                    State::Dying(t) if of_dead(t) => {
                        self.adopt_dying(id, word);
                        settled += 1;
                    }
                    State::Home(at) if look == Look::Everything => {
                        let stale = note(self.is_home(id, at).map(|home| !home).map_err(Unsettled::from)) != 0;
                        if stale && self.turn_life(id, word, Life::LOOSE) {
                            self.reclaim(id);
                        }
                    }
                    State::Loose if look != Look::Dead => self.reclaim(id),
                    _ => {}
                }
            }
        }
        settled
    }

    /// The next slot, from `from` on and before `used`, whose object is neither at home nor a part.
    fn next_unplaced(&self, zone: &Zone, from: u64, used: u64) -> Option<u64> {
        let first = self.geo.life(zone.id(0));
        (from..used).find(|slot| !Life(self.env.load(first + slot * 8, SeqCst)).is_placed())
    }

    /// What recovery makes of a draft whose writer is dead: home if a place names it, loose if not.
    pub fn settle_for_the_dead(&self, id: Id, word: Life) -> Result<(), Unsettled> {
        if self.settle_item_for_the_dead(id, word)?.is_some() {
            return Ok(());
        }
        let target = self.env.load(self.geo.meta(id, meta::TARGET), Acquire);
        let mut next = Life::LOOSE;
        if let Some(container) = target.checked_sub(1)
            && let Ok(container) = u32::try_from(container).map(Id)
            && let Some(off) = self.place_offset(container)
        {
            let place = self.place(off);
            let at = Turn { container, turn: place.turn() };
            let home = match self.kind(id) {
                Ok(Kind::Name) => self.is_home(id, at)?,
                _ => place.object() == Some(id),
            };
            if home {
                next = Life::home(at);
            }
        }
        if self.turn_life(id, word, next) {
            match next.state() {
                // u4 for him: the place may have moved on between the look and the step.
                Some(State::Home(at)) if !self.is_home(id, at)? => self.evict(id, at),
                Some(State::Loose) => self.reclaim(id),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes over what a dead process was freeing.
    pub fn adopt_dying(&self, id: Id, word: Life) {
        let dying = Life::dying(self.ticket());
        if self.turn_life(id, word, dying) {
            let mut todo = vec![];
            self.finish(id, dying, &mut todo);
            // If it was put back (t9), or had parts, somebody has to look.
            self.reclaim(id);
            for part in todo {
                self.reclaim(part);
            }
        }
    }

    /// What recovery makes of a lease whose holder is dead: BACK, after its cell is clean (Q2).
    pub fn return_for_the_dead(&self, id: Id, word: Life) -> Result<bool, Unsettled> {
        let Some(State::Leased(ticket)) = word.state() else { return Ok(false) };
        let at = self.target_of(id);
        let back = self.return_of(id, ticket);
        let cell = at
            .and_then(|at| self.ring_position(at))
            .map(|(ring, position)| (ring, position, self.reach(ring, position)));
        // It may have been settled, freed and used again since: then target and cell were another's.
        let settled = self.life(id, SeqCst) != word;
        if let Some((ring, position, reached)) = cell {
            match reached {
                Ok(reached) => {
                    let Reached { off, cell, .. } = reached;
                    if !settled && cell.object() == Some(id) && ring.ahead(cell, position) == 1 {
                        self.clean(off, cell);
                        self.pass(ring, position, reached);
                    }
                    self.let_go(reached);
                }
                Err(e) if !settled => return Err(e.into()),
                Err(_) => {}
            }
        }
        if settled {
            return Ok(false);
        }
        self.give_to_channel(id, word, back.map(|(channel, _)| channel), ticket)
    }

    /// What `f` says of a channel that is still there, pinned meanwhile: it is there until `f` is done. `None`: it was torn
    /// down before. Who is about to tear it down may yet find that it is pinned: then nobody knows.
    fn with_channel<T>(&self, channel: Id, f: impl FnOnce(Ring) -> T) -> Result<Option<T>, Unsettled> {
        self.raise_pin(channel)?;
        let told = match self.life(channel, SeqCst).state() {
            Some(State::Free) | None => Ok(None),
            Some(State::Dying(_)) => Err(Unsettled::Later),
            // A draft whose place names it is there too; one that does not has no items.
            Some(_) => Ok(self.ring_of(channel).ok().map(f)),
        };
        self.unpin(channel);
        told
    }

    /// Makes an item of a dead process BACK in its channel, or LOOSE if that is gone.
    fn give_to_channel(&self, id: Id, word: Life, channel: Option<Id>, ticket: Ticket) -> Result<bool, Unsettled> {
        if let Some(channel) = channel {
            let turned = self.with_channel(channel, |ring| {
                let turned = self.turn_life(id, word, Life::back(ticket));
                if turned {
                    self.count_return(ring);
                }
                turned
            })?;
            if let Some(turned) = turned {
                return Ok(turned);
            }
        }
        if self.turn_life(id, word, Life::LOOSE) {
            self.reclaim(id);
            return Ok(true);
        }
        Ok(false)
    }

    /// What recovery makes of a draft whose writer is dead, if it was on its way into or out of a ring.
    /// `None`: it was not.
    pub fn settle_item_for_the_dead(&self, id: Id, word: Life) -> Result<Option<()>, Unsettled> {
        let Some(State::Draft(ticket)) = word.state() else { return Ok(None) };
        let at = self.target_of(id);
        let from = self.env.load(self.geo.meta(id, meta::FROM), Acquire);
        if let Some(at) = at.filter(|at| self.is_in_cell(id, *at) == Some(true)) {
            if self.turn_life(id, word, Life::home(at)) {
                // It may have been replaced, or its channel torn down, by those who saw the draft of the dead.
                if self.is_in_cell(id, at) != Some(true) {
                    self.evict(id, at);
                }
                // The sender may have died before the receivers were told.
                if let Ok(ring) = self.ring_of(at.container) {
                    self.ring_bell(ring.bell(End::Receive));
                }
            }
            return Ok(Some(()));
        }
        let from = from.checked_sub(1).and_then(|id| u32::try_from(id).ok()).map(Id);
        let Some(from) = from.and_then(|id| self.object(id).ok()) else { return Ok(None) };
        self.give_to_channel(id, word, Some(from), ticket.forwarded())?;
        Ok(Some(()))
    }

    /// Q5: what is BACK is counted once more, in case its owner died before it did so.
    pub fn announce(&self, id: Id, word: Life) -> Result<(), Unsettled> {
        let Some(State::Back(ticket)) = word.state() else { return Ok(()) };
        let Some((channel, _)) = self.return_of(id, ticket) else { return Ok(()) };
        self.with_channel(channel, |ring| {
            if self.life(id, SeqCst) == word {
                self.count_return(ring);
            }
        })?;
        Ok(())
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
                if self.kind(id)? == Kind::Name {
                    self.leave_name(self.bucket_of(&self.text(id)), id);
                }
            }
            self.unpin(id);
        }
        Ok(back)
    }

    /// Removes names that are dead, or were left without an object by one who died.
    pub fn drop_dead_names(&self) -> Result<()> {
        for bucket in 0..self.geo.params.buckets as u32 {
            if self.place(self.geo.bucket(bucket)).object().is_none() {
                continue;
            }
            for listed in self.list_of(Id(bucket))?.1 {
                let name = self.name_object(listed.id())?;
                if self.place(self.geo.meta(name, meta::PLACE)).object().is_some() {
                    continue;
                }
                self.raise_pin(name)?;
                let current = self.list_of(Id(bucket))?.1.contains(&listed);
                if current {
                    self.putting(|| {
                        self.remove_at(name, Removes::NamesOfNothing).and_then(|_| self.drop_name(Id(bucket), name))
                    })
                    .ok();
                }
                self.unpin(name);
            }
        }
        Ok(())
    }

    /// Runs `f`; when memory runs out, makes room and tries again: first freed memory, then what the
    /// dead left. The error that remains names who keeps the most.
    pub fn with_room<T>(&self, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        let mut asked = match f() {
            Err(Error::NoSpace { asked, .. }) => asked,
            other => return other,
        };
        for thorough in [false, true] {
            if thorough {
                // It may need memory itself for some of it; what it freed counts.
                let _ = self.sweep();
                self.return_stash();
                asked = u64::MAX;
            }
            self.trim(asked);
            match f() {
                Err(Error::NoSpace { .. }) => {}
                other => return other,
            }
        }
        match f() {
            Err(Error::NoSpace { asked, free, bound, of, .. }) => {
                Err(Error::NoSpace { asked, free, bound, of, largest_holders: self.largest_holders() })
            }
            other => other,
        }
    }
}
