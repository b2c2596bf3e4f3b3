//! Channels: items are sent, leased, acknowledged, given back and forwarded. Their words are in [`crate::core::cell`]; the
//! cells of a channel without a bound come and go ([`crate::core::chain`]).
//!
//! # Send: a draft becomes an item
//!
//! ```text
//! e1 t = tail;  w = cell(t)
//! e2 w full of the lap before: taken already, and not cleaned? clean it.  Else: full
//! e3 o.target = (channel, t);  CAS w -> (o, 2*lap+1)      <- sent
//! e4 CAS o: DRAFT(me) -> HOME(channel, t)                  fails only if it is taken already
//! e5 CAS tail: t -> t+1;  ring the receivers
//! ```
//!
//! # Take: an item becomes a lease
//!
//! ```text
//! d0 something came back since the last look that found nothing? the oldest of that first
//! d1 h = head;  w = cell(h), full;  o = its item
//! d2 x = o's word: HOME(channel, h), or DRAFT and the cell is the same still (its sender has not settled)
//! d3 CAS o: x -> LEASED(me)                                <- taken
//! d4 clean the cell: w -> (none, 2*lap+2)                  before the lease is used (Q2)
//! d5 CAS head: h -> h+1;  ring the senders
//! ```
//!
//! An acknowledged lease is DYING, and freed, unless a pin keeps it. One that is refused, or whose holder died, is BACK, and taken
//! again before newer items. To forward it, LEASED(me) -> DRAFT(me) and send: `from` says where it goes back to
//! if that fails.
//!
//! # Ends
//!
//! `close` sets a flag; a receiver that finds the head's cell
//! empty then kills that cell, so that a late send fails on the same word (Q4).
//!
//! # Invariants
//!
//! * Q1: an item that was sent and not acknowledged is in a cell, leased, or BACK.
//! * Q2: a leased item is in no cell by the time its holder can let go of it.
//! * Q3: an item is leased to one at a time, and acknowledged once.
//! * Q4: nothing is accepted after somebody was told that the channel is closed for good and drained.
//! * Q5: what is BACK is found: `returned` rises after the word, and a look counts for what it began with.
//! * Q6: a channel's items go with it: teardown frees those in cells, and those leased by the dead or BACK.
//! * Q7: an item that can be taken is counted among those sent, whoever has died.
//!
//! # Death
//!
//! At e1-e3: DRAFT(dead), in no cell: LOOSE, or BACK where it came from. After e3: the cell names it: HOME. At d3-d4:
//! LEASED(dead) and its cell names it still: recovery cleans the cell, then BACK. Between a BACK and its count: the
//! next recovery counts it. Positions and cells that were left behind are helped on by whoever comes next.
//!
//! Models: `one_chan_fix` (2.6 M states), `fwd` (9.4 M), which found that recovery must read the word again after
//! target and cell, and that forwarding must go through DRAFT.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::cell::{End, RING, Ring, RingForm};
use crate::core::chain::Reached;
use crate::core::geometry::{meta, ring};
use crate::core::seat::{Core, Env};
use crate::core::word::{Id, Life, Place, State, Ticket};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// An item that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub id: Id,
    pub ticket: Ticket,
    /// How often it was taken before.
    pub attempts: u64,
}

/// What an attempt to send or to take came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Done(T),
    /// Full, or empty.
    NotNow,
    /// Closed for good.
    Closed,
}

impl<E: Env> Core<E> {
    /// A draft of a channel or feed with nothing in it.
    pub fn draft_ring(&self, form: RingForm) -> Result<Draft> {
        let RingForm { kind, cells, subscribers, mixed, segment } = form;
        let bytes = Ring::bytes(cells / segment.max(1), subscribers, self.geo.params.seats);
        let draft = self.alloc(kind, bytes)?;
        let at = self.payload(draft.id);
        for off in (0..bytes).step_by(8) {
            self.env.store(at + off, 0, Relaxed);
        }
        self.env.store(at + ring::CELLS * 8, cells, Relaxed);
        self.env.store(at + ring::SUBSCRIBERS * 8, subscribers, Relaxed);
        self.env.store(at + ring::MIXED * 8, mixed.into(), Relaxed);
        self.env.store(at + ring::SEGMENT * 8, segment, Relaxed);
        // The slot may have been a name, whose place ended dead.
        let off = self.geo.meta(draft.id, meta::PLACE);
        self.env.store(off, self.place(off).revived().0, SeqCst);
        Ok(draft)
    }

    /// e1-e5. `Done`: the item is sent; else it still is ours. In a chain it may take memory for cells.
    pub fn try_send(&self, ring: Ring, item: Draft) -> Result<Outcome<()>> {
        loop {
            if self.is_closed(ring) {
                return Ok(Outcome::Closed);
            }
            let tail = self.tail(ring);
            if let Some(outcome) = self.with_cell(ring, tail, |reached| self.send_at(ring, tail, reached, item))? {
                return Ok(outcome);
            }
        }
    }

    /// `None`: again.
    #[inline]
    fn send_at(&self, ring: Ring, tail: u64, reached: Reached, item: Draft) -> Result<Option<Outcome<()>>> {
        let Reached { off, cell, .. } = reached;
        if cell.is_dead() {
            return Ok(Some(Outcome::Closed));
        }
        self.check_position(ring, ring::TAIL, tail, ring.ahead(cell, tail))?;
        match ring.ahead(cell, tail) {
            0 if !reached.is_there(ring) => self.add_segment(ring, tail, cell)?,
            0 => {
                let at = ring.at(tail);
                self.set_target(item.id, at);
                // How often it was taken there.
                self.set_meta(item.id, meta::VERSION, 0);
                let full = Place::at(Some(item.id), cell.turn() + 1);
                if self.env.cas(off, cell.0, full.0, SeqCst).is_err() {
                    return Ok(None);
                }
                self.turn_life(item.id, item.life(), Life::home(at));
                self.advance(ring, ring::TAIL, tail);
                self.ring_bell(ring.bell(End::Receive));
                return Ok(Some(Outcome::Done(())));
            }
            1.. => self.advance(ring, ring::TAIL, tail),
            // The lap before: its segment is there.
            _ if ring.is_chain() => return Ok(Some(Outcome::NotNow)),
            // The lap before: its item is there, or was taken by one who has not cleaned yet.
            _ => {
                let there = match cell.object() {
                    Some(id) => self.is_waiting(self.object(id)?, ring.at(tail.wrapping_sub(ring.cells))),
                    None => false,
                };
                if self.place(off) != cell {
                    return Ok(None);
                }
                if there {
                    return Ok(Some(Outcome::NotNow));
                }
                self.clean(off, cell);
            }
        }
        Ok(None)
    }

    pub(super) fn clean(&self, off: u64, cell: Place) {
        let empty = Place::at(None, cell.turn() + 1);
        let _ = self.env.cas(off, cell.0, empty.0, SeqCst);
    }

    pub(crate) fn advance_tail(&self, ring: Ring, from: u64) {
        self.advance(ring, ring::TAIL, from);
    }

    fn advance(&self, ring: Ring, word: u64, from: u64) {
        let _ = self.env.cas(ring.word(word), from, from.wrapping_add(1), SeqCst);
    }

    /// A position is behind by one item at most, unless it moved since it was read: else it is damaged, and following it
    /// would take for ever. The head's cell may have been filled, taken from and cleaned, and filled for the next lap by
    /// then (3 steps), which nobody can take before the head has moved.
    pub(crate) fn check_position(&self, ring: Ring, word: u64, position: u64, ahead: i64) -> Result<()> {
        if (-1..=3).contains(&ahead) || self.ring_word(ring, word) != position {
            return Ok(());
        }
        Err(Error::damaged(format!("{} is at position {position}, its cell {ahead} steps ahead", ring.id)))
    }

    /// d0-d5.
    pub fn try_take(&self, ring: Ring) -> Result<Outcome<Taken>> {
        loop {
            if let Some(taken) = self.take_returned(ring)? {
                return Ok(Outcome::Done(taken));
            }
            let head = self.taken(ring);
            if let Some(outcome) = self.with_cell(ring, head, |reached| self.take_at(ring, head, reached))? {
                return Ok(outcome);
            }
        }
    }

    /// d1-d5. `None`: again.
    #[inline]
    fn take_at(&self, ring: Ring, head: u64, reached: Reached) -> Result<Option<Outcome<Taken>>> {
        let Reached { off, cell, .. } = reached;
        if !cell.is_dead() {
            self.check_position(ring, ring::HEAD, head, ring.ahead(cell, head))?;
        }
        match ring.ahead(cell, head) {
            _ if cell.is_dead() => return Ok(Some(Outcome::Closed)),
            1 => {}
            2.. => {
                self.pass(ring, head, reached);
                return Ok(None);
            }
            _ if self.is_closed(ring) => {
                // Q4, C3: the same word that a send would have to change.
                let dead = cell.kill().unwrap_or(cell);
                let drained = self.env.cas(off, cell.0, dead.0, SeqCst).is_ok();
                return Ok(drained.then_some(Outcome::Closed));
            }
            _ => return Ok(Some(Outcome::NotNow)),
        }
        let Some(id) = cell.object() else {
            return Err(Error::damaged(format!("a full cell of {} has no item", ring.id)));
        };
        let id = self.object(id)?;
        let word = self.life(id, SeqCst);
        let waiting = word == Life::home(ring.at(head)) || matches!(word.state(), Some(State::Draft(_)));
        // A word that was read after the cell moved on may be of another life.
        if self.place(off) != cell {
            return Ok(None);
        }
        let ticket = self.ticket();
        let taken = waiting && self.turn_life(id, word, Life::leased(ticket));
        if waiting && !taken {
            return Ok(None);
        }
        self.clean(off, cell);
        self.pass(ring, head, reached);
        if taken {
            self.ring_bell(ring.bell(End::Send));
            return Ok(Some(Outcome::Done(Taken { id, ticket, attempts: 0 })));
        }
        Ok(None)
    }

    /// Q5: the oldest item that came back.
    fn take_returned(&self, ring: Ring) -> Result<Option<Taken>> {
        loop {
            let returned = self.ring_word(ring, ring::RETURNED);
            if returned == self.ring_word(ring, ring::LOOKED) {
                return Ok(None);
            }
            let back = self.outstanding(ring).into_iter().filter_map(|(id, word)| match word.state() {
                Some(State::Back(t)) => {
                    let (channel, at) = self.return_of(id, t)?;
                    (channel == ring.id).then_some((self.position(ring, at % RING), id, word, t))
                }
                _ => None,
            });
            let Some((_, id, word, before)) = back.min_by_key(|(position, ..)| *position) else {
                self.raise(ring.word(ring::LOOKED), returned);
                return Ok(None);
            };
            let ticket = self.ticket().forwarded_as(before);
            if self.turn_life(id, word, Life::leased(ticket)) {
                let attempts = self.meta(id, meta::VERSION).saturating_add(1);
                self.set_meta(id, meta::VERSION, attempts);
                return Ok(Some(Taken { id, ticket, attempts }));
            }
        }
    }

    /// The lease ends well: the item is nobody's, and goes when nobody looks at it any more.
    pub fn acknowledge(&self, ring: Ring, taken: Taken) {
        if self.end(taken.id, Life::leased(taken.ticket), taken.ticket, true) {
            self.tell_of_end(ring);
        }
    }

    /// A lease is over. A sender may wait for its memory; receivers at a channel that ends, for the last one.
    pub fn tell_of_end(&self, ring: Ring) {
        self.ring_bell(ring.bell(End::Send));
        let receivers = ring.bell(End::Receive);
        if self.is_awaited(receivers) && (self.is_closed(ring) || self.is_deserted(ring, End::Send)) {
            self.ring_bell(receivers);
        }
    }

    /// The lease ends without that: the next receiver gets it.
    pub fn refuse(&self, ring: Ring, taken: Taken) {
        if self.turn_life(taken.id, Life::leased(taken.ticket), Life::back(taken.ticket)) {
            self.count_return(ring);
        }
    }

    pub(super) fn count_return(&self, ring: Ring) {
        self.env.fetch_add(ring.word(ring::RETURNED), 1, SeqCst);
        self.ring_bell(ring.bell(End::Receive));
    }

    /// A lease becomes a draft, to be sent elsewhere; if its owner dies before it is, it goes back to `ring`.
    pub fn lease_to_draft(&self, ring: Ring, taken: Taken) -> Option<Draft> {
        if !taken.ticket.is_forwarded() {
            self.set_meta(taken.id, meta::FROM, u64::from(ring.id.0) + 1);
        }
        let draft = Draft { id: taken.id, ticket: self.ticket() };
        self.turn_life(taken.id, Life::leased(taken.ticket), draft.life()).then_some(draft)
    }

    /// It could not be sent: the lease again.
    pub fn draft_to_lease(&self, draft: Draft, attempts: u64) -> Option<Taken> {
        self.set_meta(draft.id, meta::VERSION, attempts);
        let ticket = self.ticket().forwarded();
        let turned = self.turn_life(draft.id, draft.life(), Life::leased(ticket));
        turned.then_some(Taken { id: draft.id, ticket, attempts })
    }

    /// Nothing more is sent. `false`: it was closed already.
    pub fn close_ring(&self, ring: Ring) -> bool {
        let closed = self.env.cas(ring.word(ring::CLOSED), 0, 1, SeqCst).is_ok();
        self.ring_bell(ring.bell(End::Receive));
        self.ring_bell(ring.bell(End::Send));
        closed
    }

    /// One more handle of ours at an end.
    pub fn join(&self, ring: Ring, end: End) {
        let off = ring.presence(end, self.me().seat.into());
        let first = u64::from(self.me().incarnation) << 32;
        let mut now = self.env.load(off, SeqCst);
        loop {
            let mine = if now >> 32 == first >> 32 { now } else { first };
            match self.env.cas(off, now, mine + 1, SeqCst) {
                Ok(_) => break,
                Err(found) => now = found,
            }
        }
        let ever = ring.word(ring::EVER);
        let mut now = self.env.load(ever, SeqCst);
        while now >> end as u64 & 1 == 0 {
            match self.env.cas(ever, now, now | 1 << end as u64, SeqCst) {
                Ok(_) => break,
                Err(found) => now = found,
            }
        }
    }

    /// One handle less; the other end is told when that was the last.
    pub fn leave_end(&self, ring: Ring, end: End) {
        let off = ring.presence(end, self.me().seat.into());
        if self.env.fetch_add(off, u64::MAX, SeqCst) as u32 == 0 {
            self.below_zero(off);
        }
        let other = if end == End::Send { End::Receive } else { End::Send };
        self.ring_bell(ring.bell(other));
    }
}
