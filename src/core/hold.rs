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

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::geometry::{Set, meta};
use crate::core::part::{Halves, KNOT, KNOTS, swap};
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, PartEntry};
use crate::core::word::{Id, Life};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

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
        self.list_part(parent, index, PartEntry::held(part))?;
        self.take_hold(parent.id, part)?;
        self.env.fetch_add(self.geo.meta(part, meta::HOLD_TURN), 1, SeqCst);
        Ok(())
    }

    /// h2.
    fn take_hold(&self, holder: Id, part: Id) -> Result<()> {
        loop {
            let taken = self.walk_holds(part, |off| {
                let mut now = self.env.load(off, SeqCst);
                while let Some(next) = swap(now, 0, holder.0, Halves::First) {
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
}
