//! Reporting what contradicts itself: the loop of recovery over all words, which here changes nothing.
//!
//! * V1: what a place names is at home there, or a draft on its way.
//! * V2: what is at home somewhere is named there. (A stale home is settled by the next sweep.)
//! * V3: a part's parent lists it; an entry's part names its parent.
//! * V4: what is LOOSE is pinned or held.
//! * V5: no word names a participant that is dead, and every participant's lock is held.
//! * V6: what the kernel has in memory is what the words say.
//! * V7: a shared part has a hold of each object that lists it as such, and every hold is listed.
//!
//! `verify` on an arena in use may meet an operation half done: it looks twice before it reports.

use std::collections::HashSet;
use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::core::cell::RING;
use crate::core::geometry::{META_WORDS, PAGE, Set, meta};
use crate::core::mem::Load;
use crate::core::sys::Sys;
use crate::core::tables::{Kind, PartEntry, Tables};
use crate::core::word::{Id, Life, Owner, SeatState, State};
use crate::error::{Error, Result};

/// A rule of the arena that does not hold, and where.
///
/// ```
/// # let name = format!("doc-violation-{}", std::process::id());
/// let arena = faretra::Arena::options().keep(false).create(&name)?;
/// for violation in arena.verify()? {
///     eprintln!("{}: {}", violation.rule, violation.what);
/// }
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule's name:
    ///
    /// * `V1`: what a place (a name, a cell of a channel or feed) names is at home there, or on its way to it.
    /// * `V2`: what is at home somewhere is named there.
    /// * `V3`: a part's parent lists it, and names it as the part's word says.
    /// * `V4`: what nothing names is pinned, or held by another object.
    /// * `V5`: nothing is kept for a process that is dead.
    /// * `V6`: the bytes in memory are those that the arena's words tell of; on a tmpfs of huge pages, they are not fewer.
    /// * `V7`: who lists a shared part holds it, and the other way round.
    /// * `word`: a word has a value that no operation writes.
    /// * `value`: an object cannot be read ([`Arena::verify_deep`](crate::Arena::verify_deep)).
    pub rule: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    fn new(rule: &'static str, what: String) -> Violation {
        Violation { rule, what }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

impl<E: Load + Sys> Tables<E> {
    /// Every rule that does not hold. An empty list means a sound arena.
    pub fn verify(&self) -> Result<Vec<Violation>> {
        let mut found = self.look_for_violations();
        // A step under way looks like a violation until it is done: only what stays is one.
        for _ in 0..3 {
            if found.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            let again = self.look_for_violations();
            found.retain(|v| again.contains(v) || v.rule == "V6" && again.iter().any(|a| a.rule == "V6"));
        }
        Ok(found)
    }

    /// What is wrong with the zones' `used` marks, if they tell of more words and records than the kernel
    /// has in memory (Z1). Asked once, at opening: a damaged mark would send every sweep through gigabytes
    /// of address space that was never touched.
    pub fn impossible_marks(&self) -> Option<String> {
        let told: u64 = self.geo.zones.iter().map(|z| self.told(z).min(z.slots) * (1 + META_WORDS) * 8).sum();
        let has = self.env.in_memory();
        (told > has).then(|| {
            format!(
                "it is damaged: its zones tell of {told} bytes of records, and {has} bytes are in memory; remove it"
            )
        })
    }

    /// What breaks a rule at this moment, an operation under way included.
    pub fn look_for_violations(&self) -> Vec<Violation> {
        let mut all = vec![];
        let mut report = |rule, what: String| all.push(Violation { rule, what });
        let mut alive = vec![];
        let mut silent = vec![];
        match self.occupants() {
            Ok(occupants) => {
                for o in occupants {
                    if o.state == SeatState::Dead || self.env.is_gone(o.owner, o.process) {
                        silent.push(o.owner);
                    } else {
                        alive.push(o.owner);
                    }
                }
            }
            Err(e) => report("word", e.to_string()),
        }
        for what in self.impossible_end() {
            report("word", what);
        }
        for zone in &self.geo.zones {
            let (told, used) = (self.told(zone), self.used(zone));
            if told > used && told == self.told(zone) {
                let bytes = zone.size();
                report(
                    "word",
                    format!("the mark of {bytes} byte objects says {told}, and records of {used} are in memory"),
                );
            }
        }
        for owner in &silent {
            report("V5", format!("seat {} is taken by a process that is dead (recovery takes it back)", owner.seat));
        }
        let nobody = |word: Life| word.owner().is_some_and(|o| !alive.contains(&o));
        for index in 0..self.geo.params.permits {
            let word = Life(self.env.load(self.geo.permit(index), Acquire));
            match word.state() {
                Some(State::Leased(_)) if nobody(word) => {
                    report("V5", format!("permit {index} is held by nobody alive"))
                }
                Some(State::Leased(_) | State::Back(_) | State::Free) => {}
                _ => report("word", format!("permit {index} is {word:?}")),
            }
        }
        for bucket in 0..self.geo.params.buckets as u32 {
            if self.place(self.geo.bucket(bucket)).object().is_some() {
                self.verify_bucket(Id(bucket), &mut report);
            }
        }
        let objects = || self.geo.zones.iter().flat_map(|z| (0..self.used(z)).map(|slot| z.id(slot)));
        let parents = objects().filter(|id| self.life(*id, Acquire) != Life::FREE);
        let listed: HashSet<(Id, PartEntry)> =
            parents.flat_map(|id| self.glimpse_parts(id).into_iter().map(move |entry| (id, entry))).collect();
        let mut unsure = 0;
        let mut bytes = 0;
        for zone in &self.geo.zones {
            for slot in 0..self.used(zone) {
                let id = zone.id(slot);
                let word = self.life(id, SeqCst);
                if nobody(word) {
                    report("V5", format!("{id} is {word:?}, who is not alive"));
                }
                let sound = self.verify_object(id, word, &listed);
                let sound = sound.and_then(|()| match word.state() {
                    // A draft may not have its words yet.
                    Some(State::Home(_) | State::Loose) if zone.set == Set::Shared => {
                        self.verify_leases(id, &alive).and_then(|()| self.verify_ring(id))
                    }
                    _ => Ok(()),
                });
                if let Err(broken) = sound {
                    report(broken.rule, broken.what);
                }
            }
            let committed = self.committed(zone);
            bytes += committed.bytes;
            unsure += committed.dirty;
        }
        let control = self.control_bytes();
        let least = bytes + control.start();
        let most = bytes + control.end() + unsure * PAGE;
        let kernel = self.env.in_memory();
        // A slot that is unsure may have all its pages or none.
        if kernel < least || kernel > most && unsure == 0 && self.env.counts_pages() {
            report("V6", format!("the kernel counts {kernel} bytes, the arena's words {least} to {most}"));
        }
        all
    }

    fn verify_bucket(&self, bucket: Id, report: &mut impl FnMut(&'static str, String)) {
        let (place, list) = match self.list_of(bucket) {
            Ok(found) => found,
            Err(e) => return report("word", e.to_string()),
        };
        let names: Vec<Id> = match list.into_iter().map(|l| self.name_object(l.id())).collect() {
            Ok(names) => names,
            Err(e) => return report("word", Error::to_string(&e)),
        };
        let mut damage = vec![];
        let mut named = |id: Id, home_of: Id, turn: Option<u64>| match self.life(id, SeqCst).state() {
            Some(State::Draft(_)) => {}
            Some(State::Home(at)) if at.container == home_of && turn.is_none_or(|t| t == at.turn) => {}
            other => report("V1", format!("{home_of} names {id}, which is {other:?}")),
        };
        if let Some(id) = place.object() {
            named(id, bucket, Some(place.turn()));
        }
        for name in names {
            named(name, bucket, None);
            let place = self.place(self.geo.meta(name, meta::PLACE));
            match place.object().map(|id| self.object(id)) {
                Some(Ok(id)) => named(id, name, Some(place.turn())),
                Some(Err(e)) => damage.push(e),
                None => {}
            }
        }
        for e in damage {
            report("word", e.to_string());
        }
    }

    fn verify_object(&self, id: Id, word: Life, listed: &HashSet<(Id, PartEntry)>) -> Result<(), Violation> {
        let damaged = |e: Error| Violation::new("word", e.to_string());
        let Some(state) = word.state() else {
            return Err(Violation::new("word", format!("{id} has the impossible word {:#x}", word.0)));
        };
        match state {
            State::Home(at) if !self.is_home(id, at).map_err(damaged)? => {
                let what = format!("{id} is at home in {} at turn {}, which does not name it", at.container, at.turn);
                return Err(Violation::new("V2", what));
            }
            State::Part(parent) => {
                let parent = self.object(parent).map_err(damaged)?;
                if self.life(parent, SeqCst) == Life::FREE {
                    return Err(Violation::new("V3", format!("{id} is a part of {parent}, which is free")));
                }
                if !listed.contains(&(parent, PartEntry::own(id))) {
                    return Err(Violation::new("V3", format!("{id} is a part of {parent}, which does not list it")));
                }
            }
            State::Loose if !self.is_pinned(id) && !self.is_held(id) => {
                return Err(Violation::new("V4", format!("{id} is loose, and nobody keeps it")));
            }
            State::Leased(_) | State::Back(_) if self.slot(id).0.set == Set::Shared => {
                return Err(Violation::new("word", format!("{id} is {word:?}, which no object of its kind is")));
            }
            State::Leased(t) | State::Back(t) if !self.has_a_channel(id, t) => {
                return Err(Violation::new("V1", format!("{id} is {word:?}, and came from no channel")));
            }
            _ => {}
        }
        if matches!(state, State::Home(_) | State::Part(_)) {
            self.kind(id).map_err(damaged)?;
            let parts = self.glimpse_parts(id);
            if parts.len() as u64 != self.part_count(id) {
                return Err(Violation::new(
                    "word",
                    format!("{id} lists {} parts, not all of which are objects", self.part_count(id)),
                ));
            }
            for entry in parts {
                let part = entry.part();
                if entry.is_held() && !self.holds(id, part) {
                    return Err(Violation::new(
                        "V7",
                        format!("{id} lists the shared part {part}, and does not hold it"),
                    ));
                }
                if !entry.is_held() && self.life(part, SeqCst) != Life::part(id) {
                    return Err(Violation::new(
                        "V3",
                        format!("{id} lists the part {part}, which is {:?}", self.life(part, SeqCst)),
                    ));
                }
            }
        }
        if state != State::Free && self.slot(id).0.set == Set::Payload {
            for holder in self.holders(id) {
                if !listed.contains(&(holder, PartEntry::held(id))) {
                    return Err(Violation::new("V7", format!("{id} is held by {holder}, which does not list it")));
                }
            }
        }
        Ok(())
    }
}

impl<E: Load> Tables<E> {
    /// What leases an object's kind says it has, for `verify`: a broken rule in words.
    pub fn verify_leases(&self, id: Id, alive: &[Owner]) -> Result<(), Violation> {
        let leases = self.leases_of(id).map_err(|e| Violation::new("word", e.to_string()))?;
        let Some(leases) = leases else { return Ok(()) };
        for index in 0..leases.count {
            let word = Life(self.env.load(leases.word(index), SeqCst));
            match word.state() {
                Some(State::Leased(t)) if !alive.contains(&t.owner()) => {
                    return Err(Violation::new("V5", format!("lease {index} of {id} is held by nobody alive")));
                }
                Some(State::Leased(_) | State::Back(_) | State::Free) => {}
                Some(State::Loose) if self.kind(id).is_ok_and(|k| matches!(k, Kind::Semaphore | Kind::Name)) => {}
                _ => return Err(Violation::new("word", format!("lease {index} of {id} is {word:?}"))),
            }
        }
        Ok(())
    }

    /// What is wrong with a ring's cells, for `verify`.
    pub fn verify_ring(&self, id: Id) -> Result<(), Violation> {
        if !self.kind(id).is_ok_and(Kind::is_ring) {
            return Ok(());
        }
        let ring = self.ring_of(id).map_err(|e| Violation::new("word", e.to_string()))?;
        for off in self.places_of(ring) {
            let cell = self.place(off);
            let Some(item) = cell.object() else { continue };
            let item = self.object(item).map_err(|e| Violation::new("word", e.to_string()))?;
            let fits = match self.life(item, SeqCst).state() {
                Some(State::Home(at)) => at.container == id && at.turn & RING != 0,
                Some(State::Draft(_)) => true,
                // Taken, and its cell not cleaned yet.
                Some(State::Leased(_)) => !ring.is_feed(),
                _ => false,
            };
            if !fits && self.place(off) == cell {
                let found = self.life(item, SeqCst);
                return Err(Violation::new(
                    "V1",
                    format!("the cell at {off:#x} of {id} names {item}, which is {found:?}"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wraps;
