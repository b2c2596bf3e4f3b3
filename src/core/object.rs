//! The life of an object: put, pin, unpin, reclaim, parts.
//!
//! ```text
//!                      settle                    replaced, removed
//!  FREE --alloc--> DRAFT --------> HOME(place) ---------------------> LOOSE --reclaim--> DYING --> FREE
//!                    |                                                 ^  ^ \______________/
//!        writer dead |                                                 |  |   pinned: back, look again
//!                    `---> LOOSE         PART(parent) -- parent dies --'  |
//!                                             DRAFT of a part -- adopted by its parent
//!
//!  dropped, acknowledged: DRAFT(me,t) or LEASED(me,t) --end--> DYING(me,t), as after reclaim
//! ```
//!
//! # Put: a draft becomes what a place names
//!
//! ```text
//! u1 o.target = P                           the draft's owner alone writes it
//! u2 CAS P: c -> (o, c.turn + 1)            <- this is the publication
//! u3 CAS o: DRAFT(me,t) -> HOME(P, turn)
//! u4 P still (o, turn)?  else CAS o: HOME -> LOOSE, reclaim(o)       look again: instead of helping
//! u5 old = c.object: CAS HOME(P, c.turn) -> LOOSE, reclaim(old)      DRAFT: its author will look again
//! ```
//!
//! # Pin: keep what a place names
//!
//! `c = P; row[me][c.object] += 1; P == c? else undo and retry.` A retry means that somebody published.
//!
//! # Reclaim: free what nobody keeps
//!
//! ```text
//! t1 CAS LOOSE -> DYING(me)    or from a draft or lease of ours, which nobody else turns while we live
//! t2 n = hold_turn   t3 scan pins   t4 scan holds: any -> t9   t5 hold_turn == n, else t2
//! t6 each entry: own part: CAS PART(o) -> LOOSE and reclaim it later; held part: erase our holds, look
//! t7 the knots of our own holds (see `hold.rs`) -> LOOSE
//! t8 DYING -> FREE, after all entries are dropped
//! t9 DYING -> LOOSE, scan again: none now -> t1; some -> done, the last to let go looks
//! ```
//!
//! # Invariants
//!
//! * O1: an object is freed only when its word was LOOSE, a draft or a lease after every place that named it moved on,
//!   and a scan *after* DYING found no pin and no hold. (Dekker pairs: row/place, word/place, row/word.) A draft that no
//!   place named needs a look at our own pins only.
//! * O2: whoever lets go - of a pin, a hold, a part, a place - looks afterwards: LOOSE -> reclaim.
//! * O3: intent before effect: an entry is written before the part's word names the parent.
//! * O4: teardown before FREE: a freed object owns and holds nothing.
//!
//! # Death
//!
//! At u1-u2: DRAFT(dead), no place names it: LOOSE. After u2: the place names it: HOME. After u3, at
//! u4-u5: a HOME whose place moved on, which anyone may turn LOOSE at any time. In t1-t8: DYING(dead),
//! adopted by exact CAS and done again from t2; every step of it can be repeated. At t9: a LOOSE object
//! that nobody looks at: the sweep of recovery does. A pin of the dead is void once its seat is DEAD.
//!
//! Checked as models before this code: `one_name` (3.6 M states) and `hold` (9 M states), with these
//! names for the steps.

use std::sync::atomic::Ordering::SeqCst;

use crate::core::geometry::meta;
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, PartEntry, Tables};
use crate::core::word::{Id, Life, Place, State, Ticket, Turn};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

impl<E: Load> Tables<E> {
    /// Whether the place names the object at that turn.
    fn is_at(&self, id: Id, at: Turn) -> bool {
        if let Some(there) = self.is_in_cell(id, at) {
            return there;
        }
        let place = self.place_offset(at.container).map(|off| self.place(off));
        place.is_some_and(|p| p.object() == Some(id) && p.turn() == at.turn)
    }

    /// Whether a place (or, for a name, its bucket's list) names the object that its word says is at home there.
    pub fn is_home(&self, id: Id, at: Turn) -> Result<bool> {
        if self.kind(id).is_ok_and(|k| k == Kind::Name) {
            return self.lists(at.container, id);
        }
        Ok(self.is_at(id, at))
    }
}

impl<E: Env> Core<E> {
    /// u1-u5: puts a draft where `from` was read. `false`: the place changed, the draft still is ours.
    pub fn put(&self, draft: Draft, container: Id, from: Place) -> Result<bool> {
        self.putting(|| self.put_within(draft, container, from))
    }

    /// Does what [`Core::put`] does, as a part of something that is [`Core::putting`].
    pub(crate) fn put_within(&self, draft: Draft, container: Id, from: Place) -> Result<bool> {
        let off = self.place_offset(container).ok_or_else(|| Error::damaged(format!("{container} is no container")))?;
        let Some(to) = from.put(Some(draft.id)) else {
            return Ok(false);
        };
        self.set_meta(draft.id, meta::TARGET, u64::from(container.0) + 1);
        if self.env.cas(off, from.0, to.0, SeqCst).is_err() {
            return Ok(false);
        }
        self.settle(draft, Turn { container, turn: to.turn() });
        if let Some(old) = from.object() {
            self.evict(self.object(old)?, Turn { container, turn: from.turn() });
        }
        Ok(true)
    }

    /// u3, u4.
    pub fn settle(&self, draft: Draft, at: Turn) {
        let home = Life::home(at);
        if self.turn_life(draft.id, draft.life(), home)
            && !self.is_at(draft.id, at)
            && self.turn_life(draft.id, home, Life::LOOSE)
        {
            self.reclaim(draft.id);
        }
    }

    /// u5: lets go of what a place named at an earlier turn.
    pub fn evict(&self, old: Id, at: Turn) {
        if self.turn_life(old, Life::home(at), Life::LOOSE) {
            self.reclaim(old);
        }
    }

    /// Empties a place and lets go of what it named, as a part of something that is [`Core::putting`]. `false`: it
    /// changed meanwhile.
    pub fn empty(&self, container: Id, from: Place, to: Place) -> Result<bool> {
        let off = self.place_offset(container).ok_or_else(|| Error::damaged(format!("{container} is no container")))?;
        if self.env.cas(off, from.0, to.0, SeqCst).is_err() {
            return Ok(false);
        }
        if let Some(old) = from.object() {
            self.evict(self.object(old)?, Turn { container, turn: from.turn() });
        }
        Ok(true)
    }

    /// Lets go of a draft: it was not published, and its parts go with it.
    pub fn drop_draft(&self, draft: Draft) {
        // No place named it, so nobody but us can have it for good. (Who pins what a place named before looks again.)
        let row = self.has_own_row_page(self.geo.row_page(draft.id));
        let is_pinned = row && self.env.load(self.geo.pin(self.me().seat.into(), draft.id), SeqCst) != 0;
        self.end(draft.id, draft.life(), draft.ticket, is_pinned);
    }

    /// Frees what was ours by `word`, a draft or a lease with this ticket, and is in no place or cell: t1-t9, or t1 and t6-t8
    /// for what nobody `may_keep`. `false`: it was not ours.
    #[inline]
    pub(super) fn end(&self, id: Id, word: Life, ticket: Ticket, may_keep: bool) -> bool {
        let dying = Life::dying(ticket);
        if !self.turn_life(id, word, dying) {
            return false;
        }
        let mut todo = vec![];
        if !may_keep {
            self.tear_down(id, dying, &mut todo);
        } else if !self.finish(id, dying, &mut todo) && !self.is_held_or_pinned(id) {
            todo.push(id);
        }
        todo.into_iter().for_each(|id| self.reclaim(id));
        true
    }

    /// O3: makes one draft a part of another. Both are ours; `index` counts up from 0.
    pub fn adopt_part(&self, parent: Draft, index: u64, part: Draft) -> Result<()> {
        self.list_part(parent, index, PartEntry::own(part.id))?;
        self.turn_life(part.id, part.life(), Life::part(parent.id));
        Ok(())
    }

    /// Pins what the place at `off` names. `None`: it names nothing.
    #[inline]
    pub fn pin(&self, off: u64) -> Result<Option<(Id, Place)>> {
        loop {
            let place = self.place(off);
            let Some(id) = place.object() else {
                return Ok(None);
            };
            self.raise_pin(self.object(id)?)?;
            if self.place(off) == place {
                return Ok(Some((id, place)));
            }
            self.unpin(id);
            self.env.spin();
        }
    }

    /// Counts a pin without looking whether the object still is what it was: the caller does.
    #[inline]
    pub fn raise_pin(&self, id: Id) -> Result<()> {
        self.ensure_row_page(self.geo.row_page(id))?;
        self.count_pin(id);
        Ok(())
    }

    /// Counts a pin as [`Core::raise_pin`] does, where [`Core::ensure_row_page`] was asked for this object before: it cannot fail.
    #[inline]
    pub fn count_pin(&self, id: Id) {
        self.env.fetch_add(self.geo.pin(u64::from(self.me().seat), id), 1, SeqCst);
    }

    /// Pins an object that was met by its id, if its word says that somebody keeps it. Returns whether it is pinned.
    pub fn pin_kept(&self, id: Id) -> Result<bool> {
        let kept = |word: Life| {
            matches!(word.state(), Some(State::Home(_) | State::Leased(_) | State::Back(_) | State::Loose))
        };
        if !kept(self.life(id, SeqCst)) {
            return Ok(false);
        }
        self.raise_pin(id)?;
        // O1: who makes it DYING from here on finds the pin.
        if kept(self.life(id, SeqCst)) {
            return Ok(true);
        }
        self.unpin(id);
        Ok(false)
    }

    /// Counts one more pin of everything that we have pinned or leased, and returns what that is.
    pub fn pin_again(&self) -> Vec<Id> {
        let mut pinned = vec![];
        for id in self.pages_of_row().flat_map(|page| self.geo.ids_of_row_page(page)) {
            let off = self.geo.pin(u64::from(self.me().seat), id);
            if self.env.load(off, SeqCst) == 0 {
                // A lease of ours keeps what it is of, and counts no pin; its row page is there.
                let word = self.life(id, SeqCst);
                if matches!(word.state(), Some(State::Leased(t)) if t.owner() == self.me()) {
                    self.count_pin(id);
                    match self.life(id, SeqCst) == word {
                        true => pinned.push(id),
                        false => self.unpin(id),
                    }
                }
                continue;
            }
            // A count that is not 0 keeps the object, so that it needs no look; what was let go of just now is let go of again.
            match self.env.fetch_add(off, 1, SeqCst) {
                0 => self.unpin(id),
                _ => pinned.push(id),
            }
        }
        pinned
    }

    /// O2: lets go of a pin, and looks.
    #[inline]
    pub fn unpin(&self, id: Id) {
        let pin = self.geo.pin(u64::from(self.me().seat), id);
        if self.env.fetch_add(pin, u64::MAX, SeqCst) == 0 {
            self.below_zero(pin);
        }
        if self.life(id, SeqCst) == Life::LOOSE {
            self.reclaim(id);
        }
    }

    /// Counts back what was taken from a count of 0: somebody else had written the count.
    #[cold]
    pub(super) fn below_zero(&self, count: u64) {
        self.env.met_damage("a count was 0 of what this process has");
        self.env.fetch_add(count, 1, SeqCst);
    }

    /// t1-t9, for an object that may be LOOSE, and for the parts that go with it.
    #[cold]
    pub fn reclaim(&self, id: Id) {
        let (mut todo, mut next) = (vec![], Some(id));
        while let Some(id) = next {
            while self.life(id, SeqCst) == Life::LOOSE {
                let dying = Life::dying(self.ticket());
                if self.turn_life(id, Life::LOOSE, dying) && self.finish(id, dying, &mut todo) {
                    break;
                }
                // t9: put back because somebody held it; if nobody does by now, it is ours to try again.
                if self.is_held_or_pinned(id) {
                    break;
                }
            }
            next = todo.pop();
        }
    }

    fn is_held_or_pinned(&self, id: Id) -> bool {
        self.is_pinned(id) || self.is_held(id)
    }

    /// t2-t9 as the owner of DYING. `false`: it is kept and LOOSE again.
    pub(super) fn finish(&self, id: Id, dying: Life, todo: &mut Vec<Id>) -> bool {
        loop {
            let turn = self.hold_turn(id);
            if self.is_held_or_pinned(id) {
                self.turn_life(id, dying, Life::LOOSE);
                return false;
            }
            if self.hold_turn(id) == turn {
                break;
            }
        }
        self.tear_down(id, dying, todo);
        true
    }

    /// t6-t8.
    fn tear_down(&self, id: Id, dying: Life, todo: &mut Vec<Id>) {
        for index in 0..self.part_count(id) {
            let entry = self.part_entry(id, index);
            let Ok(part) = self.object(entry.part()) else {
                continue;
            };
            if entry.is_held() {
                self.erase_holds(part, id);
            } else {
                self.turn_life(part, Life::part(id), Life::LOOSE);
            }
            todo.push(part);
        }
        self.drop_knots(id, todo);
        if self.kind(id).is_ok_and(Kind::is_ring) {
            self.drop_items(id, todo);
        }
        // Most have neither entries nor a channel to go back to, and the next tenant's process has the record in its cache.
        let kind = self.meta(id, meta::KIND);
        if kind >> 32 != 0 {
            self.set_meta(id, meta::KIND, kind & 0xffff_ffff);
        }
        if self.meta(id, meta::FROM) != 0 {
            self.set_meta(id, meta::FROM, 0);
        }
        self.free(id, dying);
    }
}
