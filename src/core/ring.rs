//! Rings: the cells of a channel or feed, the positions in it, who is at its ends; and what channels do with them.
//!
//! A channel is an object of a shared zone. Its cells are places; the item at position `p` lies in cell
//! `p % capacity`, and the cell's turn says of which lap it is and whether it is there:
//!
//! ```text
//! cell turn 2*lap        empty, waits for the item of that lap
//!           2*lap + 1    has it
//!           dead         nothing comes here any more: the channel is closed
//! an item's word HOME(channel, RING | position)
//! ```
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
//! An acknowledged lease is LOOSE, and reclaimed. One that is refused, or whose holder died, is BACK, and taken
//! again before newer items. To forward it, LEASED(me) -> DRAFT(me) and send: `from` says where it goes back to
//! if that fails.
//!
//! # Ends
//!
//! Who sends and who receives is written in a word for each participant and end, by that participant: `incarnation
//! | handles`. A dead participant's words are void. `close` sets a flag; a receiver that finds the head's cell
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
//!
//! # Death
//!
//! At e1-e3: DRAFT(dead), in no cell: LOOSE, or BACK where it came from. After e3: the cell names it: HOME. At d3-d4:
//! LEASED(dead) and its cell names it still: recovery cleans the cell, then BACK. Between a BACK and its count: the
//! next recovery counts it. Positions and cells that were left behind are helped on by whoever comes next.
//!
//! Models: `one_chan_fix` (2.6 M states), `fwd` (9.4 M), which found that recovery must read the word again after
//! target and cell, and that forwarding must go through DRAFT.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::core::geometry::{Set, meta, ring};
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Life, Owner, Place, SeatState, State, TURNS, Ticket, Turn};
use crate::core::zone::Draft;
use crate::error::{Error, Result};

/// Most cells of a ring.
pub const MAX_CELLS: u64 = 1 << 16;
/// In the turn of a [`Life`] word: it is a position of a ring, modulo this.
const RING: u64 = TURNS / 2;

/// The two ends of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Send,
    Receive,
}

/// A ring whose object is pinned and was checked.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    pub id: Id,
    at: u64,
    seats: u64,
    pub cells: u64,
    /// A feed has subscribers, each with a lease and a position; a channel has none.
    subscribers: u64,
    is_feed: bool,
}

impl Ring {
    fn word(&self, word: u64) -> u64 {
        self.at + word * 8
    }

    /// The bell that is rung for those who wait at an end.
    pub fn bell(&self, end: End) -> u64 {
        self.word(match end {
            End::Send => ring::SENDERS_BELL,
            End::Receive => ring::RECEIVERS_BELL,
        })
    }

    fn presence(&self, end: End, seat: u64) -> u64 {
        self.word(ring::PRESENCE + end as u64 * self.seats + seat)
    }

    pub fn is_feed(&self) -> bool {
        self.is_feed
    }

    /// How many items it has room for. In a feed, one cell is left for the end.
    pub fn capacity(&self) -> u64 {
        self.cells - u64::from(self.is_feed)
    }

    pub fn subscriber_count(&self) -> u64 {
        self.subscribers
    }

    /// The first of the leases of a feed's subscribers; behind them lie their positions.
    pub fn subscribers(&self) -> u64 {
        self.word(ring::PRESENCE + 2 * self.seats)
    }

    pub fn cell(&self, position: u64) -> u64 {
        self.word(ring::PRESENCE + 2 * (self.seats + self.subscribers) + position % self.cells)
    }

    fn lap(&self, position: u64) -> u64 {
        position / self.cells
    }

    /// How far a cell's turn is from that of the empty cell of a position's lap: negative before it.
    pub fn ahead(&self, cell: Place, position: u64) -> i64 {
        // In a feed nothing is taken: a cell changes once a lap.
        let first = if self.is_feed { self.lap(position) } else { 2 * self.lap(position) };
        let distance = cell.turn().wrapping_sub(first) % TURNS;
        if distance < RING { distance as i64 } else { distance as i64 - TURNS as i64 }
    }

    pub fn at(&self, position: u64) -> Turn {
        Turn { container: self.id, turn: RING | (position % RING) }
    }

    /// Bytes of a ring of so many cells and subscribers in an arena of so many seats.
    fn bytes(cells: u64, subscribers: u64, seats: u64) -> u64 {
        (ring::PRESENCE + 2 * (seats + subscribers) + cells) * 8
    }
}

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

/// Why a word that names the dead was not settled.
#[derive(Debug)]
pub enum Unsettled {
    Failed(Error),
    /// It depends on what somebody else is in the middle of.
    Later,
}

impl From<Error> for Unsettled {
    fn from(e: Error) -> Unsettled {
        Unsettled::Failed(e)
    }
}

impl<E: Load> Tables<E> {
    /// The ring of an object, checked against its slot.
    pub fn ring_of(&self, id: Id) -> Result<Ring> {
        let at = self.payload(id);
        let cells = self.env.load(at + ring::CELLS * 8, Acquire);
        let subscribers = self.env.load(at + ring::SUBSCRIBERS * 8, Acquire);
        let seats = self.geo.params.seats;
        let (zone, _) = self.slot(id);
        let kind = self.kind(id)?;
        let fits = (1..=MAX_CELLS + 1).contains(&cells)
            && subscribers <= MAX_CELLS
            && Ring::bytes(cells, subscribers, seats) <= zone.size();
        if !kind.is_ring() || zone.set != Set::Shared || !fits {
            return Err(Error::damaged(format!("{id} is no channel or feed, or says it has {cells} cells")));
        }
        Ok(Ring { id, at, seats, cells, subscribers, is_feed: kind == Kind::Feed })
    }

    fn ring_word(&self, ring: Ring, word: u64) -> u64 {
        self.env.load(ring.word(word), SeqCst)
    }

    /// The position that an item's word or target speaks of: the last one that looks like that.
    fn position(&self, ring: Ring, turn: u64) -> u64 {
        // The tail may be behind by as many as are sending.
        let last = self.ring_word(ring, ring::TAIL).wrapping_add(self.geo.params.seats * 64);
        last.wrapping_sub(last.wrapping_sub(turn) % RING)
    }

    /// The position that a turn speaks of, if its container is a ring.
    fn ring_position(&self, at: Turn) -> Option<(Ring, u64)> {
        if at.turn & RING == 0 || at.container.0 < Id::FIRST {
            return None;
        }
        let ring = self.ring_of(self.object(at.container).ok()?).ok()?;
        Some((ring, self.position(ring, at.turn % RING)))
    }

    /// Whether the cell of that position has the object. `None`: `at` is no position of a ring.
    pub fn is_in_cell(&self, id: Id, at: Turn) -> Option<bool> {
        let (ring, position) = self.ring_position(at)?;
        let cell = self.place(ring.cell(position));
        Some(cell.object() == Some(id) && ring.ahead(cell, position) == 1)
    }

    /// Items that are in cells, or were a moment ago.
    pub fn depth(&self, ring: Ring) -> u64 {
        if ring.is_feed {
            return self.items_end(ring).min(ring.capacity());
        }
        let head = self.ring_word(ring, ring::HEAD);
        self.ring_word(ring, ring::TAIL).saturating_sub(head).min(ring.cells)
    }

    /// Items that were sent so far.
    pub fn sent(&self, ring: Ring) -> u64 {
        self.ring_word(ring, ring::TAIL)
    }

    /// Whether its batches may have different schemas.
    pub fn is_mixed(&self, ring: Ring) -> bool {
        self.ring_word(ring, ring::MIXED) != 0
    }

    pub fn is_closed(&self, ring: Ring) -> bool {
        self.ring_word(ring, ring::CLOSED) != 0
    }

    /// Who is at an end: participants that are not known to be dead.
    pub fn present(&self, ring: Ring, end: End) -> Vec<Owner> {
        let seats = 0..self.seats_used();
        seats.filter_map(|seat| self.is_present(ring, end, seat)).collect()
    }

    fn is_present(&self, ring: Ring, end: End, seat: u64) -> Option<Owner> {
        let word = self.env.load(ring.presence(end, seat), SeqCst);
        let state = self.seat(seat);
        let owner = Owner { seat: seat as u8, incarnation: (word >> 32) as u32 };
        let is = word as u32 != 0 && state.may_pin() && state.incarnation() == owner.incarnation;
        is.then_some(owner)
    }

    /// Whether there was anybody at an end, ever, and nobody is now.
    pub fn is_deserted(&self, ring: Ring, end: End) -> bool {
        let ever = self.ring_word(ring, ring::EVER) >> end as u64 & 1 != 0;
        ever && !(0..self.seats_used()).any(|seat| self.is_present(ring, end, seat).is_some())
    }

    /// Whether somebody at an end was found dead, and what it had is not settled yet.
    pub fn is_somebody_buried(&self, ring: Ring, end: End) -> bool {
        (0..self.seats_used()).any(|seat| {
            let word = self.env.load(ring.presence(end, seat), SeqCst);
            let state = self.seat(seat);
            let same = state.incarnation() == (word >> 32) as u32;
            word as u32 != 0 && same && state.state() == Some(SeatState::Dead)
        })
    }

    /// Whether the next item has no room: that of the lap before is in its cell, and was not taken.
    pub fn is_full(&self, ring: Ring) -> bool {
        let tail = self.ring_word(ring, ring::TAIL);
        let cell = self.place(ring.cell(tail));
        let waits = |id| self.is_waiting(id, ring.at(tail.wrapping_sub(ring.cells)));
        let item = cell.object().and_then(|id| self.object(id).ok());
        !cell.is_dead() && ring.ahead(cell, tail) < 0 && item.is_some_and(waits)
    }

    /// Whether an item that a cell names was not taken: at home there, or a draft whose sender has not settled.
    fn is_waiting(&self, id: Id, at: Turn) -> bool {
        let word = self.life(id, SeqCst);
        word == Life::home(at) || matches!(word.state(), Some(State::Draft(_)))
    }

    /// What is wrong with a ring's cells, for `verify`.
    pub fn verify_ring(&self, id: Id) -> Result<(), (&'static str, String)> {
        if !self.kind(id).is_ok_and(Kind::is_ring) {
            return Ok(());
        }
        let ring = self.ring_of(id).map_err(|e| ("word", e.to_string()))?;
        for index in 0..ring.cells {
            let cell = self.place(ring.cell(index));
            let Some(item) = cell.object() else { continue };
            let item = self.object(item).map_err(|e| ("word", e.to_string()))?;
            let fits = match self.life(item, SeqCst).state() {
                Some(State::Home(at)) => at.container == id && at.turn & RING != 0,
                Some(State::Draft(_)) => true,
                // Taken, and its cell not cleaned yet.
                Some(State::Leased(_)) => !ring.is_feed,
                _ => false,
            };
            if !fits && self.place(ring.cell(index)) == cell {
                return Err((
                    "V1",
                    format!("cell {index} of {id} names {item}, which is {:?}", self.life(item, SeqCst)),
                ));
            }
        }
        Ok(())
    }

    /// Whether an item that is leased or BACK has a channel to go back to.
    pub fn has_a_channel(&self, id: Id, ticket: Ticket) -> bool {
        let channel = self.return_of(id, ticket).map(|(channel, _)| channel);
        channel.is_some_and(|c| self.ring_of(c).is_ok() && self.life(c, SeqCst) != Life::FREE)
    }

    /// The channel that an item goes back to, and its position there or 0.
    fn return_of(&self, id: Id, ticket: Ticket) -> Option<(Id, u64)> {
        let target = self.env.load(self.geo.meta(id, meta::TARGET), Acquire);
        let (channel, at) = match ticket.is_forwarded() {
            true => (self.env.load(self.geo.meta(id, meta::FROM), Acquire), 0),
            false => (target & TARGET, target >> TARGET_BITS),
        };
        let channel = u32::try_from(channel.checked_sub(1)?).ok().map(Id)?;
        Some((self.object(channel).ok()?, at))
    }

    /// Items that came out of a ring and may come back: leased, BACK, or on their way elsewhere. With the words
    /// that say so, whose tickets make a swap against them exact.
    pub fn outstanding(&self, ring: Ring) -> Vec<(Id, Life)> {
        let zones = self.geo.zones.iter().filter(|z| z.set == Set::Payload);
        let ids = zones.flat_map(|z| (0..self.used(z)).map(|slot| z.id(slot)));
        let of_ring = |id: Id| {
            let word = self.life(id, SeqCst);
            let is = match word.state() {
                Some(State::Leased(t) | State::Back(t)) => self.return_of(id, t).is_some_and(|(c, _)| c == ring.id),
                Some(State::Draft(t)) => {
                    self.return_of(id, t.forwarded(true)).is_some_and(|(c, _)| c == ring.id)
                        && self.target_of(id).is_none_or(|at| self.is_in_cell(id, at) != Some(true))
                }
                _ => false,
            };
            is.then_some((id, word))
        };
        ids.filter_map(of_ring).collect()
    }

    /// The position that an object is aimed at.
    fn target_of(&self, id: Id) -> Option<Turn> {
        let target = self.env.load(self.geo.meta(id, meta::TARGET), Acquire);
        let container = u32::try_from((target & TARGET).checked_sub(1)?).ok().map(Id)?;
        Some(Turn { container, turn: target >> TARGET_BITS })
    }
}

/// The low bits of an object's target: its container, plus one. Above them, the turn of a position.
const TARGET_BITS: u32 = Id::BITS + 1;
const TARGET: u64 = (1 << TARGET_BITS) - 1;

impl<E: Env> Core<E> {
    /// A draft of a ring with nothing in it.
    pub fn draft_ring(&self, cells: u64, mixed: bool) -> Result<Draft> {
        self.draft_ring_of(Kind::Channel, cells, 0, mixed)
    }

    pub(crate) fn draft_ring_of(&self, kind: Kind, cells: u64, subscribers: u64, mixed: bool) -> Result<Draft> {
        let bytes = Ring::bytes(cells, subscribers, self.geo.params.seats);
        let draft = self.alloc(kind, bytes)?;
        let at = self.payload(draft.id);
        for off in (0..bytes).step_by(8) {
            self.env.store(at + off, 0, Relaxed);
        }
        self.env.store(at + ring::CELLS * 8, cells, Relaxed);
        self.env.store(at + ring::SUBSCRIBERS * 8, subscribers, Relaxed);
        self.env.store(at + ring::MIXED * 8, mixed.into(), Relaxed);
        // The slot may have been a name, whose place ended dead.
        let off = self.geo.meta(draft.id, meta::PLACE);
        self.env.store(off, self.place(off).revived().0, SeqCst);
        Ok(draft)
    }

    /// e1-e5. `Done`: the item is sent; else it still is ours.
    pub fn try_send(&self, ring: Ring, item: Draft) -> Result<Outcome<()>> {
        loop {
            if self.is_closed(ring) {
                return Ok(Outcome::Closed);
            }
            let tail = self.ring_word(ring, ring::TAIL);
            let off = ring.cell(tail);
            let cell = self.place(off);
            if cell.is_dead() {
                return Ok(Outcome::Closed);
            }
            self.check_position(ring, ring::TAIL, tail, ring.ahead(cell, tail))?;
            match ring.ahead(cell, tail) {
                0 => {
                    let at = ring.at(tail);
                    self.set_target(item.id, at);
                    // How often it was taken there.
                    self.set_meta(item.id, meta::VERSION, 0);
                    let full = Place::at(Some(item.id), cell.turn() + 1);
                    if self.env.cas(off, cell.0, full.0, SeqCst).is_err() {
                        continue;
                    }
                    self.turn_life(item.id, item.life(), Life::home(at));
                    self.advance(ring, ring::TAIL, tail);
                    self.ring(ring.bell(End::Receive));
                    return Ok(Outcome::Done(()));
                }
                1.. => self.advance(ring, ring::TAIL, tail),
                // The lap before: its item is there, or was taken by one who has not cleaned yet.
                _ => {
                    let there = match cell.object() {
                        Some(id) => self.is_waiting(self.object(id)?, ring.at(tail.wrapping_sub(ring.cells))),
                        None => false,
                    };
                    if self.place(off) != cell {
                        continue;
                    }
                    if there {
                        return Ok(Outcome::NotNow);
                    }
                    self.clean(off, cell);
                }
            }
        }
    }

    fn clean(&self, off: u64, cell: Place) {
        let empty = Place::at(None, cell.turn() + 1);
        let _ = self.env.cas(off, cell.0, empty.0, SeqCst);
    }

    /// Says where a draft of ours is aimed at.
    pub(crate) fn set_target(&self, item: Id, at: Turn) {
        self.set_meta(item, meta::TARGET, u64::from(at.container.0 + 1) | at.turn << TARGET_BITS);
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
            let head = self.ring_word(ring, ring::HEAD);
            let off = ring.cell(head);
            let cell = self.place(off);
            if !cell.is_dead() {
                self.check_position(ring, ring::HEAD, head, ring.ahead(cell, head))?;
            }
            match ring.ahead(cell, head) {
                _ if cell.is_dead() => return Ok(Outcome::Closed),
                1 => {}
                2.. => {
                    self.advance(ring, ring::HEAD, head);
                    continue;
                }
                _ if self.is_closed(ring) => {
                    // Q4: the same word that a send would have to change.
                    let dead = cell.kill().unwrap_or(cell);
                    if self.env.cas(off, cell.0, dead.0, SeqCst).is_ok() {
                        return Ok(Outcome::Closed);
                    }
                    continue;
                }
                _ => return Ok(Outcome::NotNow),
            }
            let Some(id) = cell.object() else {
                return Err(Error::damaged(format!("a full cell of {} has no item", ring.id)));
            };
            let id = self.object(id)?;
            let word = self.life(id, SeqCst);
            let waiting = word == Life::home(ring.at(head)) || matches!(word.state(), Some(State::Draft(_)));
            // A word that was read after the cell moved on may be of another life.
            if self.place(off) != cell {
                continue;
            }
            let ticket = self.ticket();
            let taken = waiting && self.turn_life(id, word, Life::leased(ticket));
            if waiting && !taken {
                continue;
            }
            self.clean(off, cell);
            self.advance(ring, ring::HEAD, head);
            if taken {
                self.ring(ring.bell(End::Send));
                return Ok(Outcome::Done(Taken { id, ticket, attempts: 0 }));
            }
        }
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
            let ticket = self.ticket().forwarded(before.is_forwarded());
            if self.turn_life(id, word, Life::leased(ticket)) {
                let attempts = self.meta(id, meta::VERSION).saturating_add(1);
                self.set_meta(id, meta::VERSION, attempts);
                return Ok(Some(Taken { id, ticket, attempts }));
            }
        }
    }

    /// The lease ends well: the item is nobody's, and goes when nobody looks at it any more.
    pub fn acknowledge(&self, ring: Ring, taken: Taken) {
        if self.turn_life(taken.id, Life::leased(taken.ticket), Life::LOOSE) {
            self.reclaim(taken.id);
            self.tell_of_end(ring);
        }
    }

    /// A lease is over. A sender may wait for its memory; receivers at a channel that ends, for the last one.
    pub fn tell_of_end(&self, ring: Ring) {
        self.ring(ring.bell(End::Send));
        let receivers = ring.bell(End::Receive);
        if self.is_awaited(receivers) && (self.is_closed(ring) || self.is_deserted(ring, End::Send)) {
            self.ring(receivers);
        }
    }

    /// The lease ends without that: the next receiver gets it.
    pub fn refuse(&self, ring: Ring, taken: Taken) {
        if self.turn_life(taken.id, Life::leased(taken.ticket), Life::back(taken.ticket)) {
            self.count_return(ring);
        }
    }

    fn count_return(&self, ring: Ring) {
        self.env.fetch_add(ring.word(ring::RETURNED), 1, SeqCst);
        self.ring(ring.bell(End::Receive));
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
        let ticket = self.ticket().forwarded(true);
        let turned = self.turn_life(draft.id, draft.life(), Life::leased(ticket));
        turned.then_some(Taken { id: draft.id, ticket, attempts })
    }

    /// Nothing more is sent. `false`: it was closed already.
    pub fn close_ring(&self, ring: Ring) -> bool {
        let closed = self.env.cas(ring.word(ring::CLOSED), 0, 1, SeqCst).is_ok();
        self.ring(ring.bell(End::Receive));
        self.ring(ring.bell(End::Send));
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
        let before = self.env.fetch_add(off, u64::MAX, SeqCst);
        debug_assert!(before as u32 != 0, "left more often than joined");
        let other = if end == End::Send { End::Receive } else { End::Send };
        self.ring(ring.bell(other));
    }

    /// What recovery makes of a lease whose holder is dead: BACK, after its cell is clean (Q2).
    pub fn return_for_the_dead(&self, id: Id, word: Life) -> Result<bool, Unsettled> {
        let Some(State::Leased(ticket)) = word.state() else { return Ok(false) };
        let at = self.target_of(id);
        let back = self.return_of(id, ticket);
        let cell = at
            .and_then(|at| self.ring_position(at))
            .map(|(ring, position)| (ring.cell(position), self.place(ring.cell(position)), ring, position));
        // It may have been settled, freed and used again since: then target and cell were another's.
        if self.life(id, SeqCst) != word {
            return Ok(false);
        }
        if let Some((off, place, ring, position)) = cell
            && place.object() == Some(id)
            && ring.ahead(place, position) == 1
        {
            self.clean(off, place);
            self.advance(ring, ring::HEAD, position);
        }
        self.give_to_channel(id, word, back.map(|(channel, _)| channel), ticket)
    }

    /// What `f` says of a channel that is still there, pinned meanwhile: it is there until `f` is done. `None`: it was torn
    /// down before. Who is about to tear it down may yet find that it is pinned: then nobody knows.
    fn with_channel<T>(&self, channel: Id, f: impl FnOnce(Ring) -> T) -> Result<Option<T>, Unsettled> {
        self.raise_pin(channel)?;
        let told = match self.life(channel, SeqCst).state() {
            Some(State::Free) | None => Ok(None),
            Some(State::Dying(_)) => Err(Unsettled::Later),
            // A draft whose place names it is there too; one that does not has no items.
            Some(_) => Ok(self.ring_of(channel).ok().map(f)),
        };
        self.unpin(channel);
        told
    }

    /// Makes an item of a dead process BACK in its channel, or LOOSE if that is gone.
    fn give_to_channel(&self, id: Id, word: Life, channel: Option<Id>, ticket: Ticket) -> Result<bool, Unsettled> {
        if let Some(channel) = channel {
            let turned = self.with_channel(channel, |ring| {
                let turned = self.turn_life(id, word, Life::back(ticket));
                if turned {
                    self.count_return(ring);
                }
                turned
            })?;
            if let Some(turned) = turned {
                return Ok(turned);
            }
        }
        if self.turn_life(id, word, Life::LOOSE) {
            self.reclaim(id);
            return Ok(true);
        }
        Ok(false)
    }

    /// What recovery makes of a draft whose writer is dead, if it was on its way into or out of a ring.
    /// `None`: it was not.
    pub fn settle_item_for_the_dead(&self, id: Id, word: Life) -> Result<Option<()>, Unsettled> {
        let Some(State::Draft(ticket)) = word.state() else { return Ok(None) };
        let at = self.target_of(id);
        let from = self.env.load(self.geo.meta(id, meta::FROM), Acquire);
        if let Some(at) = at.filter(|at| self.is_in_cell(id, *at) == Some(true)) {
            if self.turn_life(id, word, Life::home(at)) {
                // It may have been replaced, or its channel torn down, by those who saw the draft of the dead.
                if self.is_in_cell(id, at) != Some(true) {
                    self.evict(id, at);
                }
                // The sender may have died before the receivers were told.
                if let Ok(ring) = self.ring_of(at.container) {
                    self.ring(ring.bell(End::Receive));
                }
            }
            return Ok(Some(()));
        }
        let from = from.checked_sub(1).and_then(|id| u32::try_from(id).ok()).map(Id);
        let Some(from) = from.and_then(|id| self.object(id).ok()) else { return Ok(None) };
        self.give_to_channel(id, word, Some(from), ticket.forwarded(true))?;
        Ok(Some(()))
    }

    /// Q5: what is BACK is counted once more, in case its owner died before it did so.
    pub fn announce(&self, id: Id, word: Life) -> Result<(), Unsettled> {
        let Some(State::Back(ticket)) = word.state() else { return Ok(()) };
        let Some((channel, _)) = self.return_of(id, ticket) else { return Ok(()) };
        self.with_channel(channel, |ring| {
            if self.life(id, SeqCst) == word {
                self.count_return(ring);
            }
        })?;
        Ok(())
    }

    /// Q6: what is in the cells of a channel that we free, and what came from it and is nobody's.
    pub(crate) fn drop_items(&self, dying: Id, todo: &mut Vec<Id>) {
        let Ok(ring) = self.ring_of(dying) else { return };
        self.putting(|| {
            for index in 0..ring.cells {
                let off = ring.cell(index);
                let cell = self.place(off);
                let Some(id) = cell.object().and_then(|id| self.object(id).ok()) else { continue };
                if !cell.is_dead() && self.env.cas(off, cell.0, Place::at(None, cell.turn() + 1).0, SeqCst).is_ok() {
                    let word = self.life(id, SeqCst);
                    if matches!(word.state(), Some(State::Home(at)) if at.container == dying && at.turn & RING != 0) {
                        self.turn_life(id, word, Life::LOOSE);
                    }
                    todo.push(id);
                }
            }
        });
        // Who lives and has a lease of it pins it: these are of the dead.
        for (id, word) in self.outstanding(ring) {
            if self.turn_life(id, word, Life::LOOSE) {
                todo.push(id);
            }
        }
        self.drop_place(dying, todo);
    }
}
