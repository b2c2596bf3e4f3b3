//! Holds: how objects share a part.
//!
//! An object that another one owns has one parent, and its word says so. To share it, a second parent
//! **holds** it: the parent's entry says HELD, and one of the part's own *hold words* names the parent. A
//! hold is a pin that lives in the part instead of in a process, and reclaim scans it like one.
//!
//! ```text
//! part's record: HOLDS  | holder | holder | holder | holder |   four halves of 32 bits, 0: free
//!                PLACE --> KNOT of 64 more --> KNOT ...          once they are full; a place like any other
//! ```
//!
//! # Taking a hold
//!
//! `o` is our draft, `x` the part; a *source* keeps `x` meanwhile: a pin on it, or on a root through whose
//! entries it is reached.
//!
//! ```text
//! h1 o.entry[i] = {x, HELD}            intent before effect: only the draft's owner writes it
//! h2 CAS a free half of x's holds: 0 -> o; none free: put a new knot at the end of the chain
//! h3 x.hold_turn += 1                  after h2 and before h4, both needed (reclaim t2-t5)
//! h4 the source may go
//! ```
//!
//! A hold goes with its holder: teardown (reclaim t6) erases every half that names the holder, then looks.
//!
//! # Invariants
//!
//! * H1: a published object's HELD entry names a part that has a hold of it. (`verify` V7.)
//! * H2: a hold names an object that is not FREE and lists the part. It is written by that object's draft
//!   owner and erased by its one DYING owner, so adding and erasing can be done again by whoever adopts either.
//! * H3: a knot stays until its part is torn down, so whoever has a source, or a hold, may walk the chain.
//! * H4: a part that moves from one holder to another is seen by one scan or the other: `hold_turn`
//!   rises between them.
//!
//! # Death
//!
//! At h1-h2: an entry without a hold; teardown of the dead draft erases nothing and looks at `x`. After h2:
//! teardown erases the hold. In the put of a knot: as in any put; a knot whose part went is LOOSE.
//!
//! Model: `hold` (9 M states) for four halves without knots; the knots are covered by the sweeps and races here.

use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use crate::core::geometry::{Set, meta};
use crate::core::mem::Load;
use crate::core::object::MAX_PARTS;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Entry, Kind, Tables};
use crate::core::word::{Id, Life, Place, Turn};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// Words of two halves each in the record.
const INLINE: u64 = 2;
/// Words of a knot.
const KNOT: u64 = 32;
/// Knots of one part: as many as it needs for every object there can be to hold it. Bounds walks over damage.
const KNOTS: usize = Id::MAX as usize / (2 * KNOT as usize);

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// The word with `old` replaced by `new` in every half that has it, or in the first that does.
fn swap(word: u64, old: u32, new: u32, every: bool) -> Option<u64> {
    let mut changed = false;
    let next = halves(word).map(|half| {
        let swapped = half == old && (every || !changed);
        changed |= swapped;
        if swapped { new } else { half }
    });
    changed.then_some(u64::from(next[0]) | u64::from(next[1]) << 32)
}

impl<E: Load> Tables<E> {
    /// Offsets of a part's hold words, the record's first, until `look` says that it has seen enough.
    fn walk_holds(&self, part: Id, mut look: impl FnMut(u64) -> bool) -> bool {
        if (0..INLINE).any(|w| look(self.geo.meta(part, meta::HOLDS + w))) {
            return true;
        }
        // In shared zones the place is a name's, or a knot's way to the next.
        if self.slot(part).0.set == Set::Shared {
            return false;
        }
        let mut at = part;
        for _ in 0..KNOTS {
            let Some(knot) = self.next_knot(at) else { return false };
            let words = self.payload(knot);
            if (0..KNOT).any(|w| look(words + w * 8)) {
                return true;
            }
            at = knot;
        }
        false
    }

    /// The knot behind a part or knot.
    fn next_knot(&self, at: Id) -> Option<Id> {
        self.knot_at(self.place(self.geo.meta(at, meta::PLACE)))
    }

    /// The knot that a place names. One that names something else is damage, and names none.
    fn knot_at(&self, place: Place) -> Option<Id> {
        let knot = self.object(place.object()?).ok()?;
        let (zone, _) = self.slot(knot);
        (zone.set == Set::Shared && zone.size() >= KNOT * 8).then_some(knot)
    }

    /// Whether some object holds this one as a shared part.
    #[inline]
    pub fn is_held(&self, part: Id) -> bool {
        self.walk_holds(part, |off| self.env.load(off, SeqCst) != 0)
    }

    /// Whether `holder` holds the part.
    pub fn holds(&self, holder: Id, part: Id) -> bool {
        self.walk_holds(part, |off| halves(self.env.load(off, SeqCst)).contains(&holder.0))
    }

    /// Everyone who holds the part.
    pub fn holders(&self, part: Id) -> Vec<Id> {
        let mut all = vec![];
        self.walk_holds(part, |off| {
            all.extend(halves(self.env.load(off, SeqCst)).into_iter().filter(|half| *half != 0).map(Id));
            false
        });
        all
    }

    pub fn hold_turn(&self, id: Id) -> u64 {
        self.env.load(self.geo.meta(id, meta::HOLD_TURN), SeqCst)
    }
}

impl<E: Env> Core<E> {
    /// h1-h3: makes an object that a source of ours keeps a part of our draft. `index` counts up from 0,
    /// over own and held parts.
    pub fn hold(&self, parent: Draft, index: u64, part: Id) -> Result<()> {
        let part = self.object(part)?;
        // Kept by a source, it may be anything but free: a draft whose place was read before its author
        // settled, or dying until the pin is seen.
        let word = self.life(part, SeqCst);
        if word == Life::FREE || self.slot(part).0.set == Set::Shared {
            return Err(Error::damaged(format!("{part}, which is {word:?}, cannot be shared")));
        }
        self.list_part(parent, index, Entry::held(part))?;
        self.take_hold(parent.id, part)?;
        self.env.fetch_add(self.geo.meta(part, meta::HOLD_TURN), 1, SeqCst);
        Ok(())
    }

    /// O3: writes an entry of our draft.
    pub(crate) fn list_part(&self, parent: Draft, index: u64, entry: Entry) -> Result<()> {
        if index >= MAX_PARTS {
            return Err(Error::TooLarge {
                what: "parts of one object",
                asked: index + 1,
                most: MAX_PARTS,
                hint: "use fewer, larger batches or columns",
            });
        }
        self.env.store(self.payload(parent.id) + index * 8, entry.0, Release);
        let kind = self.meta(parent.id, meta::KIND) & 0xffff_ffff;
        self.set_meta(parent.id, meta::KIND, kind | (index + 1) << 32);
        Ok(())
    }

    /// h2.
    fn take_hold(&self, holder: Id, part: Id) -> Result<()> {
        loop {
            let taken = self.walk_holds(part, |off| {
                let mut now = self.env.load(off, SeqCst);
                while let Some(next) = swap(now, 0, holder.0, false) {
                    match self.env.cas(off, now, next, SeqCst) {
                        Ok(_) => return true,
                        Err(found) => now = found,
                    }
                }
                false
            });
            if taken {
                return Ok(());
            }
            self.add_knot(part)?;
        }
    }

    /// Puts a knot at the end of a part's chain. If somebody else was faster, theirs serves as well.
    fn add_knot(&self, part: Id) -> Result<()> {
        let mut last = part;
        for _ in 0..KNOTS {
            let Some(knot) = self.next_knot(last) else { break };
            last = knot;
        }
        let place = self.place(self.geo.meta(last, meta::PLACE));
        if place.object().is_some() {
            return Ok(());
        }
        let knot = self.alloc(Kind::Knot, KNOT * 8)?;
        for w in 0..KNOT {
            self.env.store(self.payload(knot.id) + w * 8, 0, Relaxed);
        }
        // The slot may have been a name, whose place ended dead.
        let off = self.geo.meta(knot.id, meta::PLACE);
        self.env.store(off, self.place(off).revived().0, SeqCst);
        match self.put(knot, last, place) {
            Ok(true) => Ok(()),
            other => {
                self.drop_draft(knot);
                other.map(|_| ())
            }
        }
    }

    /// Erases every hold of `holder`, which is ours to free, on `part`.
    ///
    /// When a teardown is done again, the part may be long free, and its knots may be somebody else's
    /// memory. So a half is believed to be a hold only if the way to its knot is the same after it was read
    /// (turns tell); and then the hold itself keeps the part, and with it the chain (H3).
    pub(crate) fn erase_holds(&self, part: Id, holder: Id) {
        let erase = |off, still: &dyn Fn() -> bool| {
            let mut now = self.env.load(off, SeqCst);
            while let Some(next) = swap(now, holder.0, 0, true) {
                if !still() {
                    return false;
                }
                match self.env.cas(off, now, next, SeqCst) {
                    Ok(_) => break,
                    Err(found) => now = found,
                }
            }
            true
        };
        for w in 0..INLINE {
            erase(self.geo.meta(part, meta::HOLDS + w), &|| true);
        }
        if self.slot(part).0.set == Set::Shared {
            return;
        }
        let mut way: Vec<(Id, Place)> = vec![];
        let mut at = part;
        while way.len() < KNOTS {
            let place = self.place(self.geo.meta(at, meta::PLACE));
            let Some(knot) = self.knot_at(place) else { return };
            way.push((at, place));
            let still = || way.iter().all(|(at, place)| self.place(self.geo.meta(*at, meta::PLACE)) == *place);
            for w in 0..KNOT {
                if !erase(self.payload(knot) + w * 8, &still) {
                    return;
                }
            }
            at = knot;
        }
    }

    /// Teardown: empties the place of what we are freeing.
    pub(crate) fn drop_place(&self, dying: Id, todo: &mut Vec<Id>) {
        let off = self.geo.meta(dying, meta::PLACE);
        let place = self.place(off);
        if let Some(id) = place.object().and_then(|id| self.object(id).ok())
            && let Some(empty) = place.put(None)
        {
            self.putting(|| {
                if self.env.cas(off, place.0, empty.0, SeqCst).is_ok() {
                    let at = Turn { container: dying, turn: place.turn() };
                    self.turn_life(id, Life::home(at), Life::LOOSE);
                    todo.push(id);
                }
            });
        }
    }

    /// Teardown: takes the chain of knots off what we are freeing. Its first knot is `todo`.
    pub(crate) fn drop_knots(&self, dying: Id, todo: &mut Vec<Id>) {
        let is_knot = self.meta(dying, meta::KIND) & 0xff == Kind::Knot.code();
        if self.slot(dying).0.set == Set::Shared && !is_knot {
            return;
        }
        self.drop_place(dying, todo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H2: one half is taken at a time, and all halves of one holder are erased together.
    #[test]
    fn halves_are_swapped() {
        assert_eq!(swap(0, 0, 7, false), Some(7));
        assert_eq!(swap(7, 0, 8, false), Some(8 << 32 | 7));
        assert_eq!(swap(8 << 32 | 7, 0, 9, false), None);
        assert_eq!(swap(7 << 32 | 7, 7, 0, true), Some(0));
        assert_eq!(swap(8 << 32 | 7, 7, 0, true), Some(8 << 32));
        assert_eq!(swap(8, 7, 0, true), None);
    }
}
