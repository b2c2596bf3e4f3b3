//! Channels without a bound: a ring whose cells come and go.
//!
//! A **chain** is a channel ([`crate::core::ring`]) with so many cells that it is never full, and memory for those alone that
//! are in use. Its cells lie in **segments**, objects of their own, of so many cells each. Instead of cells the ring has
//! *entries*, which are the cells of a ring of segments: an entry's turn says of which lap its segment is, and whether it is
//! there. Positions, laps, targets and turns are those of one ring of all cells; so items, leases, returns and what recovery
//! makes of them are as in any channel.
//!
//! ```text
//! ring  | .. | entry | entry | entry |      entry turn 2*lap        its segment is not there yet
//!               |                                      2*lap + 1    has it
//!               v                                      2*lap + 2    it is used up: that of the next lap is awaited
//!            SEGMENT | cell | cell | .. |   cells, as a ring's
//! ```
//!
//! # Reach: the cell of a position
//!
//! ```text
//! s1 e = entry(p);  not of p's lap, or without a segment? then the cell is as the entry is: it waits, or was used
//! s2 pin e's segment;  entry(p) == e? else unpin, s1           from here on its cell may be changed
//! ```
//!
//! # Send, where the segment is not there
//!
//! ```text
//! s3 g = a new segment, its cells empty, of that lap;  g.target = (channel, first position)
//! s4 CAS entry -> (g, 2*lap+1);  CAS g: DRAFT(me) -> HOME(channel, first position);  s1
//! ```
//!
//! # Take, from the last cell of a segment
//!
//! ```text
//! s5 after d4, before d5:  CAS entry: e -> (none, 2*lap+2);  let go of the segment (as u5)
//! ```
//!
//! # Invariants
//!
//! * C1: a segment's cells are changed by those only who have it pinned and saw its entry afterwards. So a late swap meets
//!   the segment's own cell, whose turn has moved on, and no other object's word.
//! * C2: an entry lets go of a segment only after all its cells were emptied for good: all positions before the head were
//!   taken and cleaned, and so was the head's, which is the segment's last.
//! * C3: a channel that is closed and drained kills what a send would have to change: the head's cell, or its entry
//!   if that has no segment (Q4).
//!
//! # Death
//!
//! At s3-s4: DRAFT(dead), in no entry: LOOSE. In its entry: HOME. At s5: before the swap, the next to take finds the head's
//! cell used, and does it; after it, a HOME whose place moved on, which recovery looks for, as the dead one was putting.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::cell::Ring;
use crate::core::geometry::ring;
use crate::core::seat::{Core, Env};
use crate::core::tables::Kind;
use crate::core::word::{Id, Place};
use crate::error::{Error, Result};

/// A position's cell, to be looked at and changed until it is let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// Of the cell; where there is none, of the entry.
    pub(super) off: u64,
    pub(super) cell: Place,
    /// In a chain: the segment, pinned, and its entry.
    segment: Option<(Id, Place)>,
}

impl Reached {
    /// Whether there is a cell: in a chain its segment may not be there.
    pub(super) fn is_there(&self, ring: Ring) -> bool {
        !ring.is_chain() || self.segment.is_some()
    }
}

impl<E: Env> Core<E> {
    /// Does something with the cell of a position. That of a ring is reached without a word of memory being written for it.
    #[inline]
    pub(super) fn with_cell<T>(&self, ring: Ring, position: u64, step: impl FnOnce(Reached) -> Result<T>) -> Result<T> {
        if !ring.is_chain() {
            let off = ring.cell(position);
            return step(Reached { off, cell: self.place(off), segment: None });
        }
        let reached = self.reach_in_segment(ring, position)?;
        let done = step(reached);
        self.let_go(reached);
        done
    }

    /// The cell of a position. The caller lets it go.
    pub(super) fn reach(&self, ring: Ring, position: u64) -> Result<Reached> {
        if ring.is_chain() {
            return self.reach_in_segment(ring, position);
        }
        let off = ring.cell(position);
        Ok(Reached { off, cell: self.place(off), segment: None })
    }

    #[inline]
    pub(super) fn let_go(&self, reached: Reached) {
        if let Some((segment, _)) = reached.segment {
            self.unpin(segment);
        }
    }

    /// s1, s2.
    #[inline(never)]
    fn reach_in_segment(&self, ring: Ring, position: u64) -> Result<Reached> {
        let at = ring.entry(position);
        loop {
            let entry = self.place(at);
            // No operation leaves such an entry, and none would change it.
            let whole = Place::at(entry.object(), entry.turn()) == entry;
            let fits = whole && entry.object().is_some() == (entry.turn() % 2 == 1);
            if !entry.is_dead() && !fits {
                return Err(Error::damaged(format!("{} has the impossible entry {:#x}", ring.id, entry.0)));
            }
            let Some(segment) = self.segment_at(ring, position, entry)? else {
                if self.place(at) == entry {
                    return Ok(Reached { off: at, cell: ring.cell_without(entry), segment: None });
                }
                continue;
            };
            self.raise_pin(segment)?;
            if self.place(at) == entry {
                if !self.kind(segment).is_ok_and(|kind| kind == Kind::Segment) {
                    self.unpin(segment);
                    return Err(Error::damaged(format!("{} names {segment} as its cells, which is none", ring.id)));
                }
                let off = self.segment_cell(ring, segment, position);
                return Ok(Reached { off, cell: self.place(off), segment: Some((segment, entry)) });
            }
            self.unpin(segment);
            self.env.spin();
        }
    }

    /// s3, s4: puts a segment where a position has none, if nobody else did.
    pub(super) fn add_segment(&self, ring: Ring, position: u64, entry: Place) -> Result<()> {
        let cells = ring.segment_cells();
        let draft = self.alloc(Kind::Segment, cells * 8)?;
        for cell in 0..cells {
            self.env.store(self.payload(draft.id) + cell * 8, Place::at(None, entry.turn()).0, Relaxed);
        }
        let at = ring.at(ring.first_of_segment(position));
        self.putting(|| {
            self.set_target(draft.id, at);
            let full = Place::at(Some(draft.id), entry.turn() + 1);
            if self.env.cas(ring.entry(position), entry.0, full.0, SeqCst).is_ok() {
                self.settle(draft, at);
            } else {
                self.drop_draft(draft);
            }
        });
        Ok(())
    }

    /// d5: the head leaves a position whose cell is used; s5 before that, if it is the last of its segment.
    #[inline]
    pub(super) fn pass(&self, ring: Ring, position: u64, reached: Reached) {
        if let Some((segment, entry)) = reached.segment
            && ring.is_last_of_segment(position)
        {
            self.putting(|| {
                let used = Place::at(None, entry.turn() + 1);
                if self.env.cas(ring.entry(position), entry.0, used.0, SeqCst).is_ok() {
                    self.evict(segment, ring.at(ring.first_of_segment(position)));
                }
            });
        }
        self.advance_head(ring, position);
    }

    fn advance_head(&self, ring: Ring, from: u64) {
        let _ = self.env.cas(ring.word(ring::HEAD), from, from.wrapping_add(1), SeqCst);
    }

    /// Makes the segment that the next item needs, if there is none: for who is about to build that item, and has nothing
    /// yet that others might wait for.
    pub fn make_room(&self, ring: Ring) -> Result<()> {
        if !ring.is_chain() || self.is_closed(ring) {
            return Ok(());
        }
        let tail = self.tail(ring);
        let reached = self.reach(ring, tail)?;
        self.let_go(reached);
        if !reached.is_there(ring) && !reached.cell.is_dead() && ring.ahead(reached.cell, tail) == 0 {
            self.add_segment(ring, tail, reached.cell)?;
        }
        Ok(())
    }
}
