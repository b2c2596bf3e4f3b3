//! Settling what the dead left, and reporting what contradicts itself: one loop over all words.
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
//! * V1: what a place names is at home there, or a draft on its way.
//! * V2: what is at home somewhere is named there. (A stale home is settled by the next sweep.)
//! * V3: a part's parent lists it; an entry's part names its parent.
//! * V4: what is LOOSE is pinned or held.
//! * V5: no word names a participant that is dead, and every participant's lock is held.
//! * V6: what the kernel has in memory is what the words say.
//! * V7: a shared part has a hold of each object that lists it as such, and every hold is listed.
//!
//! `verify` on an arena in use may meet an operation half done: it looks twice before it reports.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::core::geometry::{DIRTY, HEAD_WORDS, META_WORDS, PAGE, SEAT_WORDS, Set, Zone, meta};
use crate::core::mem::Load;
use crate::core::ring::Unsettled;
use crate::core::seat::{Core, Env};
use crate::core::sys::Sys;
use crate::core::tables::{Entry, Tables};
use crate::core::word::{Id, Life, Owner, SeatState, State};
use crate::error::{Error, Result};

/// What a recovery settled.
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

/// A rule of the arena that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule's name in ARCHITECTURE.md: `V1` to `V7`, `word`, or `value` for what cannot be read.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What one participant keeps.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub pins: u64,
    /// Bytes in memory of objects it pins.
    pub pinned_bytes: u64,
    /// Of those, bytes of objects that nothing else keeps.
    pub only_pinned_bytes: u64,
    pub drafts: u64,
    pub draft_bytes: u64,
    pub permits: u32,
    /// Its leases: of which object, and which of that one's.
    pub leases: Vec<(Id, u64)>,
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

impl<E: Env> Core<E> {
    /// Settles what the dead left. `sweep`: also looks for loose ends when nobody died.
    ///
    /// What it costs: a load of each object's word, twice; of each record too in a sweep, or when somebody died in the
    /// middle of a put.
    pub fn recover(&self, sweep: bool) -> Result<Recovered> {
        let dead = self.bury_the_dead();
        let mut done = Recovered { participants: dead.len() as u32, ..Recovered::default() };
        if dead.is_empty() && !sweep {
            return Ok(done);
        }
        let thorough = sweep || dead.iter().any(|owner| self.was_putting(*owner));
        let locked = dead.iter().any(|owner| self.had_leases(*owner));
        let take_back_locks = || if locked { self.take_back_locks(&dead) } else { Ok(0) };
        let before = if sweep { self.bytes_in_use() } else { 0 };
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
        if sweep {
            done.bytes = before.saturating_sub(self.bytes_in_use());
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
            for slot in 0..self.used(zone) {
                let id = zone.id(slot);
                let word = self.life(id, SeqCst);
                let Some(state) = word.state() else { continue };
                let of_dead = |t: crate::core::word::Ticket| dead.contains(&t.owner());
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
        let told: u64 = self.geo.zones.iter().map(|z| self.used(z) * (1 + META_WORDS) * 8).sum();
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
        let listed: HashSet<(Id, Entry)> =
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
                if let Err(what) = sound {
                    report(what.0, what.1);
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
        if kernel < least || kernel > most && unsure == 0 {
            report("V6", format!("the kernel counts {kernel} bytes, the arena's words {least} to {most}"));
        }
        all
    }

    fn verify_bucket(&self, bucket: Id, report: &mut impl FnMut(&'static str, String)) {
        let (place, list) = match self.list_of(bucket) {
            Ok(found) => found,
            Err(e) => return report("word", e.to_string()),
        };
        let names: Vec<Id> = match list.into_iter().map(|l| self.name_object(l)).collect() {
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

    fn verify_object(&self, id: Id, word: Life, listed: &HashSet<(Id, Entry)>) -> Result<(), (&'static str, String)> {
        let damaged = |e: Error| ("word", e.to_string());
        let Some(state) = word.state() else {
            return Err(("word", format!("{id} has the impossible word {:#x}", word.0)));
        };
        match state {
            State::Home(at) if !self.is_home(id, at).map_err(damaged)? => {
                let what = format!("{id} is at home in {} at turn {}, which does not name it", at.container, at.turn);
                return Err(("V2", what));
            }
            State::Part(parent) => {
                let parent = self.object(parent).map_err(damaged)?;
                if self.life(parent, SeqCst) == Life::FREE {
                    return Err(("V3", format!("{id} is a part of {parent}, which is free")));
                }
                if !listed.contains(&(parent, Entry::own(id))) {
                    return Err(("V3", format!("{id} is a part of {parent}, which does not list it")));
                }
            }
            State::Loose if !self.is_pinned(id) && !self.is_held(id) => {
                return Err(("V4", format!("{id} is loose, and nobody keeps it")));
            }
            State::Leased(_) | State::Back(_) if self.slot(id).0.set == Set::Shared => {
                return Err(("word", format!("{id} is {word:?}, which no object of its kind is")));
            }
            State::Leased(t) | State::Back(t) if !self.has_a_channel(id, t) => {
                return Err(("V1", format!("{id} is {word:?}, and came from no channel")));
            }
            _ => {}
        }
        if matches!(state, State::Home(_) | State::Part(_)) {
            self.kind(id).map_err(damaged)?;
            let parts = self.glimpse_parts(id);
            if parts.len() as u64 != self.entries(id) {
                return Err(("word", format!("{id} lists {} parts, not all of which are objects", self.entries(id))));
            }
            for entry in parts {
                let part = entry.part();
                if entry.is_held() && !self.holds(id, part) {
                    return Err(("V7", format!("{id} lists the shared part {part}, and does not hold it")));
                }
                if !entry.is_held() && self.life(part, SeqCst) != Life::part(id) {
                    return Err(("V3", format!("{id} lists the part {part}, which is {:?}", self.life(part, SeqCst))));
                }
            }
        }
        if state != State::Free && self.slot(id).0.set == Set::Payload {
            for holder in self.holders(id) {
                if !listed.contains(&(holder, Entry::held(id))) {
                    return Err(("V7", format!("{id} is held by {holder}, which does not list it")));
                }
            }
        }
        Ok(())
    }

    /// Bytes in memory that are nobody's values: names, lists, words, records, pins.
    pub fn records_bytes(&self) -> u64 {
        let shared = self.geo.zones.iter().filter(|zone| zone.set == Set::Shared);
        shared.map(|zone| self.committed(zone).bytes).sum::<u64>() + self.control_bytes().start()
    }

    /// Bytes of the control region that are in memory, by what its own words say. The two ends
    /// differ by what was being put in memory when somebody died: it is used by the next who needs it.
    pub fn control_bytes(&self) -> std::ops::RangeInclusive<u64> {
        let mut sure = std::collections::BTreeSet::new();
        let mut maybe = std::collections::BTreeSet::new();
        let g = &self.geo;
        let pages = |off: u64, len: u64| off / PAGE..(off + len).div_ceil(PAGE);
        sure.extend(pages(0, 2 * PAGE));
        sure.extend(pages(g.seat_words, g.params.seats * 8));
        sure.extend(pages(g.seats, g.params.seats * SEAT_WORDS * 8));
        sure.extend(pages(g.permits, g.params.permits * 8));
        sure.extend(pages(g.buckets, g.params.buckets * 8));
        sure.extend(pages(g.heads, g.zones.len() as u64 * HEAD_WORDS * 8));
        for zone in &g.zones {
            let used = self.used(zone);
            if used != 0 {
                sure.extend(g.control_of(zone, 0, used).into_iter().flat_map(|(off, len)| pages(off, len)));
            }
            if self.env.load(zone.extending(), Relaxed) == used + 1 && used < zone.slots {
                let n = zone.step().min(zone.slots - used);
                maybe.extend(g.control_of(zone, used, n).into_iter().flat_map(|(off, len)| pages(off, len)));
            }
        }
        // A seat's map is in memory once the seat was taken; its row where the map says so.
        let mut rows = 0;
        for seat in 0..self.seats_used() {
            let map = pages(g.row_map(seat, 0), g.row_map_words() * 8);
            if !self.seat_was_taken(seat) {
                maybe.extend(map);
                continue;
            }
            sure.extend(map);
            rows += (0..g.row_map_words())
                .map(|w| u64::from(self.env.load(g.row_map(seat, w * 64), Relaxed).count_ones()))
                .sum::<u64>();
            maybe.extend(self.row_is_unsure(seat).then(|| g.total / PAGE + seat));
        }
        let most = sure.union(&maybe).count() as u64 + rows;
        (sure.len() as u64 + rows) * PAGE..=most * PAGE
    }

    /// What each participant keeps.
    pub fn kept(&self) -> HashMap<Owner, Kept> {
        let mut all: HashMap<Owner, Kept> = HashMap::new();
        for index in 0..self.geo.params.permits {
            let word = Life(self.env.load(self.geo.permit(index), Acquire));
            if let Some(owner) = word.owner() {
                all.entry(owner).or_default().permits += 1;
            }
        }
        for (id, leases) in self.locks() {
            for (index, owner) in self.lessees(leases) {
                all.entry(owner).or_default().leases.push((id, index));
            }
        }
        let seats: Vec<_> = (0..self.seats_used()).map(|s| (s, self.seat(s))).filter(|(_, w)| w.may_pin()).collect();
        for zone in &self.geo.zones {
            for slot in 0..self.used(zone) {
                let id = zone.id(slot);
                let word = self.life(id, Acquire);
                if word == Life::FREE {
                    continue;
                }
                let bytes = |shared| self.bytes_with_parts(zone, id, word, shared);
                if let Some(State::Draft(t)) = word.state() {
                    let kept = all.entry(t.owner()).or_default();
                    kept.drafts += 1;
                    kept.draft_bytes += bytes(false);
                }
                let page = self.geo.row_page(id);
                for (seat, state) in &seats {
                    let pins = self.pins_of(*seat, page, id);
                    if pins != 0 && zone.set == Set::Payload {
                        let owner = Owner { seat: *seat as u8, incarnation: state.incarnation() };
                        let kept = all.entry(owner).or_default();
                        kept.pins += pins;
                        kept.pinned_bytes += bytes(true);
                        if word == Life::LOOSE {
                            kept.only_pinned_bytes += bytes(false);
                        }
                    }
                }
            }
        }
        all
    }

    /// Bytes in memory of an object and of its parts: `shared` ones too, or only those that go with it.
    fn bytes_with_parts(&self, zone: &Zone, id: Id, word: Life, shared: bool) -> u64 {
        let own = |z: &Zone, id| (self.meta(id, meta::COMMITTED) & !DIRTY).min(z.size());
        let mut bytes = own(zone, id);
        let whole = matches!(word.state(), Some(State::Home(_) | State::Loose | State::Draft(_)));
        if whole && zone.set == Set::Payload {
            bytes += self.sum_parts(id, 4, shared, &|part| own(self.slot(part).0, part));
        }
        bytes
    }

    /// Payload bytes of the parts of an object, shared ones included, `depth` levels down.
    pub fn bytes_of_parts(&self, id: Id, depth: u32) -> u64 {
        self.sum_parts(id, depth, true, &|part| self.meta(part, meta::LEN))
    }

    fn sum_parts(&self, id: Id, depth: u32, shared: bool, of: &dyn Fn(Id) -> u64) -> u64 {
        // Only what says itself that it is a part: damage must not send us round in circles.
        let is_part = |entry: &Entry| match entry.is_held() {
            true => shared && self.holds(id, entry.part()),
            false => self.life(entry.part(), Acquire) == Life::part(id),
        };
        let parts = self.glimpse_parts(id).into_iter().filter(is_part).map(Entry::part);
        let with_own = |part| of(part) + if depth > 1 { self.sum_parts(part, depth - 1, shared, of) } else { 0 };
        parts.map(with_own).sum()
    }

    /// How many slots of a zone are not free.
    pub fn in_use(&self, zone: &Zone) -> u64 {
        let free = |slot: &u64| self.life(zone.id(*slot), Relaxed) == Life::FREE;
        (0..self.used(zone)).filter(|slot| !free(slot)).count() as u64
    }
}
