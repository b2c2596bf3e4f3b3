//! Feeds: a ring that every subscriber sees whole.
//!
//! The cells are as [`crate::core::cell`] draws them: an item stays until the next lap replaces it.
//!
//! # Append: an ordinary put into the cell of the next position
//!
//! ```text
//! e1 t = tail;  w = cell(t), of the lap before;  the item at t-1 is the end? closed
//! e2 who must see all of it has seen what would go?  else full
//! e3 o.target = (feed, t);  CAS w -> (o, lap + 1)       <- appended
//! e4 u3, u4 of a put (see `object.rs`);  CAS tail: t -> t+1;  evict what was replaced;  ring
//! ```
//!
//! A subscriber reads a cell, pins its item and looks again, as with a name. It has a lease, and beside it the position
//! that it reads next, for producers that wait for it. The end of a feed is an item of its own kind, for which
//! there is one cell more than the capacity: it never waits.
//!
//! # Invariants
//!
//! * F1: positions are filled in order: `t` is not tried before the cell of `t-1` has its item.
//! * F2: a subscriber gets every item once, in order, or is told how many it missed.
//! * F3: nothing is appended behind the end.
//! * F4: with producers that wait, no living subscriber misses anything from where it began; but for its very first item,
//!   if a producer that had looked before it came, and then the end, take both cells behind the last.
//!
//! # Death
//!
//! A producer's: as in a put. What it had replaced and not evicted is a stale home, which recovery settles. A
//! subscriber's: its lease comes back, and nobody waits for its position any more.

use std::sync::atomic::Ordering::SeqCst;

use crate::core::cell::{End, Ring};
use crate::core::geometry::ring as ring_words;
use crate::core::lease::Lease;
use crate::core::mem::Load;
use crate::core::ring::Outcome;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Place};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// What a subscriber finds at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An item, pinned.
    Item(Id),
    /// Nothing yet.
    Nothing,
    /// The item is gone; the oldest that is there is at this position.
    Gone(u64),
    /// Nothing comes any more.
    End,
}

/// Whether an item may take the place of the oldest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// Also when a subscriber has not come to it yet.
    MayGo,
    /// Not before every subscriber has come to it.
    MustBeSeen,
}

impl<E: Load> Tables<E> {
    fn position_word(&self, ring: Ring, lease: u64) -> u64 {
        lease + ring.subscriber_count() * 8
    }

    /// The position that the slowest subscriber reads next. `None`: there is none.
    fn slowest(&self, ring: Ring) -> Option<u64> {
        let held = self.lessees(self.subscribers(ring)).into_iter();
        held.map(|(index, _)| self.env.load(self.position_word(ring, ring.subscribers() + index * 8), SeqCst)).min()
    }
}

impl<E: Load> Tables<E> {
    /// What a subscriber reads next, as it has shown.
    pub fn shown_position(&self, ring: Ring, lease: Lease) -> u64 {
        self.env.load(self.position_word(ring, lease.off), SeqCst)
    }

    /// Whether the next item would take the place of one that a subscriber has not come to yet.
    pub fn would_hide_an_item(&self, ring: Ring) -> bool {
        let oldest = self.sent(ring).checked_sub(ring.capacity());
        oldest.is_some_and(|oldest| self.slowest(ring).is_some_and(|at| at <= oldest))
    }
}

impl<E: Env> Core<E> {
    /// e1-e4.
    pub fn try_append(&self, ring: Ring, item: Draft, oldest: Oldest) -> Result<Outcome<()>> {
        loop {
            let tail = self.tail(ring);
            let off = ring.cell(tail);
            let cell = self.place(off);
            self.check_position(ring, ring_words::TAIL, tail, ring.ahead(cell, tail))?;
            if ring.ahead(cell, tail) >= 1 {
                self.advance_tail(ring, tail);
                continue;
            }
            // F3. The item before this one stays at least until this one is there.
            if let Some(before) = tail.checked_sub(1) {
                let last = self.place(ring.cell(before));
                let ended = self.is_end(last);
                if self.place(ring.cell(before)) != last || self.place(off) != cell {
                    continue;
                }
                if ended {
                    return Ok(Outcome::Closed);
                }
            }
            let must_stay = tail.checked_sub(ring.capacity()).filter(|_| oldest == Oldest::MustBeSeen);
            if must_stay.is_some_and(|oldest| self.slowest(ring).is_some_and(|at| at <= oldest)) {
                return Ok(Outcome::NotNow);
            }
            let at = ring.at(tail);
            self.set_target(item.id, at);
            let full = Place::at(Some(item.id), cell.turn() + 1);
            let appended = self.putting(|| {
                if self.env.cas(off, cell.0, full.0, SeqCst).is_err() {
                    return false;
                }
                self.settle(item, at);
                self.advance_tail(ring, tail);
                if let Some(old) = cell.object().and_then(|old| self.object(old).ok()) {
                    self.evict(old, ring.at(tail.wrapping_sub(ring.cells)));
                }
                true
            });
            if appended {
                self.ring_bell(ring.bell(End::Receive));
                return Ok(Outcome::Done(()));
            }
        }
    }

    /// The item at a position, pinned.
    pub fn pin_position(&self, ring: Ring, position: u64) -> Result<Found> {
        loop {
            let off = ring.cell(position);
            let cell = self.place(off);
            match ring.ahead(cell, position) {
                1 => {}
                2.. => return Ok(Found::Gone(self.positions_kept(ring).start.max(position.saturating_add(1)))),
                _ => return Ok(Found::Nothing),
            }
            let Some(id) = cell.object() else {
                return Err(Error::damaged(format!("a cell of the feed {} has no item", ring.id)));
            };
            let id = self.object(id)?;
            self.raise_pin(id)?;
            if self.place(off) == cell {
                let kind = self.kind(id);
                if kind.as_ref().is_ok_and(|kind| *kind != Kind::End) {
                    return Ok(Found::Item(id));
                }
                self.unpin(id);
                return kind.map(|_| Found::End);
            }
            self.unpin(id);
        }
    }

    /// A subscriber's lease, and where it begins: at `from`, or at the oldest item if that is gone.
    pub fn try_subscribe(&self, ring: Ring, from: impl Fn(u64, u64) -> u64) -> Result<Option<(Lease, u64)>> {
        let Some(lease) = self.try_lease(self.subscribers(ring))? else { return Ok(None) };
        // Shown first, so that producers who wait see it; what they did before that is not waited for.
        self.show_position(ring, lease, 0);
        let held = self.positions_kept(ring);
        let position = from(held.start, held.end);
        self.show_position(ring, lease, position);
        Ok(Some((lease, position)))
    }

    /// Says what a subscriber reads next.
    pub fn show_position(&self, ring: Ring, lease: Lease, position: u64) {
        self.env.store(self.position_word(ring, lease.off), position, SeqCst);
        self.ring_bell(ring.bell(End::Send));
    }

    /// A draft of the end of a feed.
    pub fn draft_end(&self) -> Result<Draft> {
        self.alloc(Kind::End, 8)
    }
}
