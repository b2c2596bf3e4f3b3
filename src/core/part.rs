//! The parts of an object: who holds a shared one, and what teardown does with its own.
//!
//! An object's entries name its parts; the words of their holders are in the parts (see [`crate::core::hold`], which takes
//! holds, and states H1 to H4). Here are the walk over those words, and the steps of teardown that erase them: they need
//! no place, and nothing that is above them.

use std::sync::atomic::Ordering::{Release, SeqCst};

use crate::core::geometry::{Set, meta};
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, PartEntry, Tables};
use crate::core::word::{Id, Life, Place, Turn};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// Words of two halves each in the record.
const INLINE: u64 = 2;
/// Words of a knot.
pub(super) const KNOT: u64 = 32;
/// Knots of one part: as many as it needs for every object there can be to hold it. Bounds walks over damage.
pub(super) const KNOTS: usize = Id::MAX as usize / (2 * KNOT as usize);

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// Which halves of a word are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halves {
    First,
    All,
}

/// The word with `old` replaced by `new` in the halves that have it. `None`: none has.
pub(super) fn swap(word: u64, old: u32, new: u32, which: Halves) -> Option<u64> {
    let mut changed = false;
    let next = halves(word).map(|half| {
        let swapped = half == old && (which == Halves::All || !changed);
        changed |= swapped;
        if swapped { new } else { half }
    });
    changed.then_some(u64::from(next[0]) | u64::from(next[1]) << 32)
}

/// Most parts that an object has.
pub const MAX_PARTS: u64 = 65_535;

impl<E: Load> Tables<E> {
    /// Offsets of a part's hold words, the record's first, until `look` says that it has seen enough.
    pub(super) fn walk_holds(&self, part: Id, mut look: impl FnMut(u64) -> bool) -> bool {
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
    pub(super) fn next_knot(&self, at: Id) -> Option<Id> {
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
    /// O3: writes an entry of our draft.
    pub(crate) fn list_part(&self, parent: Draft, index: u64, entry: PartEntry) -> Result<()> {
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

    /// Erases every hold of `holder`, which is ours to free, on `part`.
    ///
    /// When a teardown is done again, the part may be long free, and its knots may be somebody else's
    /// memory. So a half is believed to be a hold only if the way to its knot is the same after it was read
    /// (turns tell); and then the hold itself keeps the part, and with it the chain (H3).
    pub(crate) fn erase_holds(&self, part: Id, holder: Id) {
        let erase = |off, still: &dyn Fn() -> bool| {
            let mut now = self.env.load(off, SeqCst);
            while let Some(next) = swap(now, holder.0, 0, Halves::All) {
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
        assert_eq!(swap(0, 0, 7, Halves::First), Some(7));
        assert_eq!(swap(7, 0, 8, Halves::First), Some(8 << 32 | 7));
        assert_eq!(swap(8 << 32 | 7, 0, 9, Halves::First), None);
        assert_eq!(swap(7 << 32 | 7, 7, 0, Halves::All), Some(0));
        assert_eq!(swap(8 << 32 | 7, 7, 0, Halves::All), Some(8 << 32));
        assert_eq!(swap(8, 7, 0, Halves::All), None);
    }
}
