//! The directory: names, versions, publishing and removing. Its words are in [`crate::core::list`].
//!
//! To insert or drop a name, copy the bucket's list and put it in the bucket; that is an ordinary `put` with an ordinary
//! recovery.
//!
//! ```text
//! lookup   read bucket, list; pin the name, or what its place names; bucket unchanged? else again
//! publish  name found: put(object, its place)        name missing: insert it, then put
//! remove   CAS maker: FREE or BACK -> LOOSE: the name goes with its object
//!            CAS place -> dead   <- here it is gone   then drop the name from its list
//!          maker LEASED: the name stays for him, who makes what it will stand for
//!            CAS place -> empty  <- here it is gone   then: maker not LEASED any more? the name goes
//! ```
//!
//! What makers do is in [`crate::core::maker`].
//!
//! # Invariants
//!
//! * N1: a published object that was not removed is found under its name, in every state.
//! * N2: `dead` is terminal: whoever meets it drops the name from the list and looks up again.
//! * N3: the turn of a name's place goes on when its record is used for another name.
//! * N4: versions under one name only rise, also across remove and publish: `floor` is raised to the
//!   removed version before the removal, and a new name starts above it, as a name that stays does.
//! * N5: a dead name has no maker and never gets one: its place is killed only when its maker's word is LOOSE, from where
//!   nothing leads on. So who inserts that name anew finds no maker at work.
//! * N6: a name without an object has a maker, or goes: who lets go of the maker's lease looks at the place afterwards, who
//!   empties the place looks at the maker. (Dekker pair: maker/place.)
//!
//! # Death
//!
//! Between inserting a name and its first put: a name without an object, invisible to readers;
//! recovery removes it (a living author meets `dead` and inserts anew). Between `dead` and the drop:
//! a dead name in a list, dropped by whoever meets it and by recovery. Elsewhere: drafts and stale
//! homes. Model: `dir` (22 M states).

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::core::geometry::{header, meta};
use crate::core::list::{BELL, LENGTH, Listed, MAKER, MAX_NAME, TEXT, hash, name_bytes};
use crate::core::seat::{Core, Env};
use crate::core::tables::Kind;
use crate::core::word::{Id, Life, Place, State, TURNS, Turn};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// Which names go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removes {
    Anything,
    /// Names that were left without an object.
    NamesOfNothing,
}

/// Checks a name of an object.
pub fn check(name: &str) -> Result<()> {
    let len = name.len();
    if len > MAX_NAME {
        let (asked, most) = (len as u64, MAX_NAME as u64);
        return Err(Error::TooLarge { what: "bytes of a name", asked, most, hint: "choose a shorter name" });
    }
    if name.is_empty() {
        return Err(Error::invalid(format!("a name has 1 to {MAX_NAME} bytes, and this one has none")));
    }
    // Most names are ASCII, and bytes are looked at faster than characters.
    if name.bytes().any(|b| b.is_ascii_control()) || !name.is_ascii() && name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("a name has no control characters: {name:?}")));
    }
    Ok(())
}

impl<E: Env> Core<E> {
    /// Finds a name and pins its record: the caller unpins.
    #[inline]
    pub fn lookup(&self, name: &str) -> Result<Option<Id>> {
        let pin = |id| self.raise_pin(id).map(|()| id);
        self.find(name, pin, |id| self.unpin(id))
    }

    /// Pins the current object under a name.
    #[inline]
    pub fn pin_named(&self, name: &str) -> Result<Option<Id>> {
        let pin = |id| Ok(self.pin(self.geo.meta(id, meta::PLACE))?.map(|(id, _)| id));
        let undo = |pinned: Option<Id>| pinned.into_iter().for_each(|id| self.unpin(id));
        Ok(self.find(name, pin, undo)?.flatten())
    }

    /// What `take` makes of a name's record. If the bucket's list was another by then, it is undone and made again: so the
    /// name was listed all the while, and its record need not be pinned. `None`: there is no such name.
    #[inline]
    fn find<T>(&self, name: &str, take: impl Fn(Id) -> Result<T>, undo: impl Fn(T)) -> Result<Option<T>> {
        let hash = hash(name);
        let off = self.geo.bucket(self.bucket_of_hash(hash).0);
        'again: loop {
            let place = self.place(off);
            if let Some((at, n)) = self.list_at(place)? {
                for i in 0..n {
                    let listed = Listed(self.env.load(at + i * 8, Acquire));
                    if !listed.has(hash) {
                        continue;
                    }
                    // The entry is the list's only if the list still is the bucket's.
                    if self.place(off) != place {
                        continue 'again;
                    }
                    let id = self.name_object(listed.id())?;
                    if !self.is_named(id, name) {
                        continue;
                    }
                    let taken = take(id);
                    if self.place(off) == place {
                        return taken.map(Some);
                    }
                    taken.into_iter().for_each(&undo);
                    continue 'again;
                }
            }
            if self.place(off) == place {
                return Ok(None);
            }
            self.env.spin();
        }
    }

    /// Makes a draft the current object under a name, and returns its version. On error the draft
    /// still is the caller's. `expected`: only if this version is current (0: none).
    pub fn publish(&self, name: &str, draft: Draft, expected: Option<u64>) -> Result<u64> {
        check(name)?;
        self.set_meta(draft.id, meta::TIME, self.env.now());
        self.putting(|| self.publish_within(name, draft, expected))
    }

    fn publish_within(&self, name: &str, draft: Draft, expected: Option<u64>) -> Result<u64> {
        loop {
            let found = match self.lookup(name)? {
                Some(found) => found,
                None if expected.is_some_and(|v| v != 0) => {
                    return Err(conflict(name, expected, 0));
                }
                None => match self.insert(name)? {
                    Some(new) => new,
                    None => continue,
                },
            };
            let put = self.publish_at(name, found, draft, expected);
            let dropped = match put {
                Ok(None) => self.drop_name(self.bucket_of(name), found),
                _ => Ok(()),
            };
            if matches!(put, Ok(Some(_))) {
                self.ring_bell(self.name_bell(found));
            }
            self.unpin(found);
            // Without memory for the new list the dead name would be met for ever.
            dropped?;
            match put? {
                Some(version) => return Ok(version),
                None => self.env.spin(),
            }
        }
    }

    /// Puts the draft at a pinned name. `None`: the name is dead.
    fn publish_at(&self, name: &str, found: Id, draft: Draft, expected: Option<u64>) -> Result<Option<u64>> {
        let off = self.geo.meta(found, meta::PLACE);
        loop {
            let place = self.place(off);
            if place.is_dead() {
                return Ok(None);
            }
            // Read before the swap: if the swap succeeds, the place did not change, and this was its version.
            let current = match place.object() {
                Some(old) => {
                    self.check_replaced(name, self.object(old)?, draft)?;
                    self.meta(old, meta::VERSION)
                }
                None => 0,
            };
            if expected.is_some_and(|v| v != current) && self.place(off) == place {
                return Err(conflict(name, expected, current));
            }
            let base = self.meta(found, meta::VERSION);
            let version = base.max(current.saturating_add(1));
            self.set_meta(draft.id, meta::VERSION, version);
            if self.put_within(draft, found, place)? {
                return Ok(Some(version));
            }
            self.env.spin();
        }
    }

    /// What is used in place is replaced by nothing else: those who have it would go on with what nobody finds any more.
    fn check_replaced(&self, name: &str, old: Id, draft: Draft) -> Result<()> {
        let found = self.seen_kind(old)?;
        if !found.locks() && !found.is_ring() {
            return Ok(());
        }
        let new = self.kind(draft.id)?;
        if found != new {
            let expected = format!("what a {new} replaces; remove it first, or choose another name");
            return Err(Error::Mismatch { name: name.into(), expected, found: found.to_string() });
        }
        Ok(())
    }

    /// Adds a name to its bucket and returns it pinned. `None`: the bucket changed, look up again.
    pub(super) fn insert(&self, name: &str) -> Result<Option<Id>> {
        let bucket = self.bucket_of(name);
        let (place, mut list) = self.list_of(bucket)?;
        let floor = self.env.load(header::FLOOR, SeqCst);
        // Somebody may have added it since it was looked up. (If a record was freed meanwhile, the swap fails.)
        for listed in list.iter().filter(|l| l.has(hash(name))) {
            if self.is_named(self.name_object(listed.id())?, name) {
                return Ok(None);
            }
        }
        let new = self.alloc(Kind::Name, name_bytes(name))?;
        let at = self.payload(new.id);
        self.env.store(at + BELL, 0, Relaxed);
        self.env.store(at + MAKER, Life::FREE.0, Relaxed);
        self.env.store(at + LENGTH, name.len() as u64, Relaxed);
        for (i, chunk) in name.as_bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.env.store(at + TEXT + i as u64 * 8, u64::from_le_bytes(word), Relaxed);
        }
        // N3, N4.
        let off = self.geo.meta(new.id, meta::PLACE);
        self.env.store(off, self.place(off).revived().0, SeqCst);
        self.set_meta(new.id, meta::VERSION, floor.saturating_add(1));
        self.set_meta(new.id, meta::LEN, name.len() as u64);
        self.set_meta(new.id, meta::TARGET, u64::from(bucket.0) + 1);
        if let Err(e) = self.raise_pin(new.id) {
            self.drop_draft(new);
            return Err(e);
        }
        list.push(Listed::new(hash(name), new.id));
        match self.put_list(bucket, place, &list) {
            Ok(Some(turn)) => {
                // The name's own home; if it was removed meanwhile, its place is dead and the put meets that.
                self.turn_life(new.id, new.life(), Life::home(Turn { container: bucket, turn }));
                self.ring_bell(header::NAME_BELL);
                Ok(Some(new.id))
            }
            other => {
                self.turn_life(new.id, new.life(), Life::LOOSE);
                self.unpin(new.id);
                other.map(|_| None)
            }
        }
    }

    /// Puts a list in a bucket (an empty one: nothing) and returns the new turn. `None`: it changed.
    fn put_list(&self, bucket: Id, from: Place, list: &[Listed]) -> Result<Option<u64>> {
        if from.is_dead() {
            return Err(Error::damaged(format!("bucket {bucket} is dead")));
        }
        let turn = (from.turn() + 1) % TURNS;
        if list.is_empty() {
            let to = from.put(None).ok_or_else(|| Error::damaged(format!("bucket {bucket} is dead")))?;
            return Ok(self.empty(bucket, from, to)?.then_some(turn));
        }
        let draft = self.alloc(Kind::List, 8 + list.len() as u64 * 8)?;
        let at = self.payload(draft.id);
        self.env.store(at, list.len() as u64, Relaxed);
        for (i, listed) in list.iter().enumerate() {
            self.env.store(at + 8 + i as u64 * 8, listed.0, Relaxed);
        }
        match self.put_within(draft, bucket, from) {
            Ok(true) => Ok(Some(turn)),
            other => {
                self.drop_draft(draft);
                other.map(|_| None)
            }
        }
    }

    /// Removes what is published under a name. `false`: nothing is.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let Some(found) = self.lookup(name)? else {
            return Ok(false);
        };
        let removed = self.putting(|| {
            let removed = self.remove_at(found, Removes::Anything);
            self.ring_bell(self.name_bell(found));
            self.leave_name(self.bucket_of(name), found);
            removed
        });
        self.unpin(found);
        removed
    }

    /// N5: whether a pinned name has no maker and never gets one from here on.
    fn retire(&self, name: Id) -> bool {
        loop {
            let word = self.maker_word(name);
            match word.state() {
                Some(State::Loose) => return true,
                Some(State::Leased(_)) => return false,
                // Whatever else it is, nobody holds it.
                _ => {
                    let off = self.maker(name).word(0);
                    if self.env.cas(off, word.0, Life::LOOSE.0, SeqCst).is_ok() {
                        return true;
                    }
                }
            }
        }
    }

    /// N6: lets a pinned name go if it has neither an object nor a maker, and those know who wait for either. Without memory
    /// for the list it stays, dead, to be dropped by whoever meets it, or by a later recovery.
    pub(super) fn leave_name(&self, bucket: Id, name: Id) {
        let off = self.geo.meta(name, meta::PLACE);
        if self.place(off).object().is_some() {
            return;
        }
        let _ = self.remove_at(name, Removes::NamesOfNothing);
        if self.place(off).is_dead() {
            self.ring_bell(self.name_bell(name));
            let _ = self.drop_name(bucket, name);
        }
    }

    /// Lets go of what a pinned name stands for, if that may be, and makes the name dead if nobody makes something for it.
    /// Returns whether an object was published under it.
    pub(super) fn remove_at(&self, found: Id, removes: Removes) -> Result<bool> {
        let off = self.geo.meta(found, meta::PLACE);
        loop {
            let place = self.place(off);
            let current = place.object();
            if place.is_dead() || current.is_some() && removes == Removes::NamesOfNothing {
                return Ok(false);
            }
            let retired = self.retire(found);
            let next = if retired { place.kill() } else { place.put(None) };
            let Some(next) = next.filter(|_| retired || current.is_some()) else {
                return Ok(false);
            };
            if let Some(id) = current {
                // N4: before the removal. If the place changed, the swap fails and this was only a gap.
                let version = self.meta(self.object(id)?, meta::VERSION);
                self.raise(header::FLOOR, version);
                if !retired {
                    self.raise(self.geo.meta(found, meta::VERSION), version.saturating_add(1));
                }
            }
            if self.empty(found, place, next)? {
                return Ok(current.is_some());
            }
            self.env.spin();
        }
    }

    /// N2: takes a dead name out of its list. Without memory for the new list it stays, to be met again, or found by the
    /// recovery that follows our end.
    pub fn drop_name(&self, bucket: Id, name: Id) -> Result<()> {
        if !self.place(self.geo.meta(name, meta::PLACE)).is_dead() {
            return Ok(());
        }
        loop {
            let word = self.life(name, SeqCst);
            let (place, mut list) = self.list_of(bucket)?;
            let before = list.len();
            list.retain(|l| l.id() != name);
            if list.len() < before {
                self.put_list(bucket, place, &list).inspect_err(|_| self.leave_unfinished())?;
                continue;
            }
            // A draft: its author meets the dead place.
            if matches!(word.state(), Some(State::Home(_))) && self.turn_life(name, word, Life::LOOSE) {
                self.reclaim(name);
            }
            return Ok(());
        }
    }
}

fn conflict(name: &str, expected: Option<u64>, found: u64) -> Error {
    Error::Conflict { name: name.to_owned(), expected: expected.unwrap_or(0), found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_control_characters_in_ascii_or_beyond() {
        for good in ["a", "Größe / 🦀", "\u{a0}\u{ad}", &"n".repeat(MAX_NAME)] {
            check(good).unwrap();
        }
        for bad in ["", "a\n", "\0", "\u{7f}", "ß\t", "\u{80}", "ß\u{9f}", &"n".repeat(MAX_NAME + 1)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
