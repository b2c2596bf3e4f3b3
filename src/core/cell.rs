//! The words of channels and feeds: cells, positions, who is at the ends. Read here; teardown empties them.
//!
//! A channel or feed is an object of a shared zone. Its cells are places; the item at position `p` lies in cell
//! `p % cells`, and the cell's turn says of which lap it is and whether it is there:
//!
//! ```text
//! channel   cell turn 2*lap        empty, waits for the item of that lap
//!                     2*lap + 1    has it
//!                     dead         nothing comes here any more: the channel is closed
//! feed      cell turn lap          the item of the lap before (none in lap 0): the next may replace it
//!                     lap + 1      has the item of that lap
//! an item's word HOME(channel, RING | position)
//! ```
//!
//! The cells of a chain lie in segments, which its ring names instead; see [`crate::core::chain`].
//!
//! Who sends and who receives is written in a word for each participant and end, by that participant: `incarnation
//! | handles`. A dead participant's words are void.
//!
//! What is done with them is in [`crate::core::ring`] (channels, Q1 to Q7) and [`crate::core::broadcast`] (feeds, F1 to F4).

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::core::geometry::{Set, meta, ring};
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Life, Owner, Place, SeatState, State, TURNS, Ticket, Turn};
use crate::error::{Error, Result};

/// Most cells of a ring.
pub const MAX_CELLS: u64 = 1 << 16;
/// In the turn of a [`Life`] word: it is a position of a ring, modulo this.
pub(super) const RING: u64 = TURNS / 2;

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
    /// Cells of a segment, if the ring is a chain; else 0.
    segment: u64,
}

/// What a channel or feed is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingForm {
    pub kind: Kind,
    pub cells: u64,
    /// Of a channel: none.
    pub subscribers: u64,
    /// Its batches may have different schemas.
    pub mixed: bool,
    /// Cells of a segment, of which the ring has so many that there are `cells`; 0: the cells are in the ring.
    pub segment: u64,
}

impl RingForm {
    /// A channel with room for so many items of any schema.
    pub fn channel(capacity: u64) -> RingForm {
        RingForm { kind: Kind::Channel, cells: capacity, subscribers: 0, mixed: true, segment: 0 }
    }

    /// A channel without a bound, for items of any schema: a chain of more cells than an arena has objects of one size.
    pub fn unbounded() -> RingForm {
        RingForm::chain(1 << 12, 1 << 11)
    }

    /// A channel without a bound: a chain of so many segments of so many cells at most.
    pub fn chain(entries: u64, segment: u64) -> RingForm {
        RingForm { kind: Kind::Channel, cells: entries * segment, subscribers: 0, mixed: true, segment }
    }

    /// A feed with room for so many items of any schema, and one cell more for its end.
    pub fn feed(capacity: u64, subscribers: u64) -> RingForm {
        RingForm { kind: Kind::Feed, cells: capacity + 1, subscribers, mixed: true, segment: 0 }
    }

    /// Whether its batches may have different schemas.
    #[must_use]
    pub fn mixed(self, mixed: bool) -> RingForm {
        RingForm { mixed, ..self }
    }
}

impl Ring {
    pub fn word(&self, word: u64) -> u64 {
        self.at + word * 8
    }

    /// The bell that is rung for those who wait at an end.
    pub fn bell(&self, end: End) -> u64 {
        self.word(match end {
            End::Send => ring::SENDERS_BELL,
            End::Receive => ring::RECEIVERS_BELL,
        })
    }

    pub(super) fn presence(&self, end: End, seat: u64) -> u64 {
        self.word(ring::PRESENCE + end as u64 * self.seats + seat)
    }

    pub fn is_feed(&self) -> bool {
        self.is_feed
    }

    /// How many items it has room for. In a feed, one cell is left for the end; in a chain, those of the first segment that
    /// were used wait for the others.
    pub fn capacity(&self) -> u64 {
        self.cells - u64::from(self.is_feed) - self.segment.saturating_sub(1)
    }

    /// Whether its cells come and go in segments: it has no bound.
    pub fn is_chain(&self) -> bool {
        self.segment != 0
    }

    pub(super) fn segment_cells(&self) -> u64 {
        self.segment
    }

    /// Cells, or entries of segments, that lie in the ring itself.
    fn slots(&self) -> u64 {
        self.cells / self.segment.max(1)
    }

    /// Where the segment of a position is named.
    pub fn entry(&self, position: u64) -> u64 {
        self.slot(position % self.cells / self.segment.max(1))
    }

    fn slot(&self, index: u64) -> u64 {
        self.word(ring::PRESENCE + 2 * (self.seats + self.subscribers) + index)
    }

    pub(super) fn first_of_segment(&self, position: u64) -> u64 {
        position - position % self.cells % self.segment
    }

    pub(super) fn is_last_of_segment(&self, position: u64) -> bool {
        (position % self.cells + 1).is_multiple_of(self.segment)
    }

    /// What the cells of a segment look like that is not there.
    pub(super) fn cell_without(&self, entry: Place) -> Place {
        if entry.is_dead() { entry } else { Place::at(None, entry.turn()) }
    }

    pub fn subscriber_count(&self) -> u64 {
        self.subscribers
    }

    /// The first of the leases of a feed's subscribers; behind them lie their positions.
    pub fn subscribers(&self) -> u64 {
        self.word(ring::PRESENCE + 2 * self.seats)
    }

    /// Where the cell of a position is, but for those of a chain.
    pub fn cell(&self, position: u64) -> u64 {
        self.slot(position % self.cells)
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

    /// Bytes of a ring of so many cells, or entries, and subscribers in an arena of so many seats.
    pub(super) fn bytes(slots: u64, subscribers: u64, seats: u64) -> u64 {
        (ring::PRESENCE + 2 * (seats + subscribers) + slots) * 8
    }
}

/// The low bits of an object's target: its container, plus one. Above them, the turn of a position.
const TARGET_BITS: u32 = Id::BITS + 1;
const TARGET: u64 = (1 << TARGET_BITS) - 1;

impl<E: Load> Tables<E> {
    /// The ring of an object, checked against its slot.
    pub fn ring_of(&self, id: Id) -> Result<Ring> {
        let at = self.payload(id);
        let cells = self.env.load(at + ring::CELLS * 8, Acquire);
        let subscribers = self.env.load(at + ring::SUBSCRIBERS * 8, Acquire);
        let segment = self.env.load(at + ring::SEGMENT * 8, Acquire);
        let seats = self.geo.params.seats;
        let (zone, _) = self.slot(id);
        let kind = self.kind(id)?;
        let slots = cells / segment.max(1);
        let whole = segment <= MAX_CELLS && cells == slots * segment.max(1) && (segment == 0 || kind == Kind::Channel);
        let fits = (1..=MAX_CELLS + 1).contains(&slots)
            && subscribers <= MAX_CELLS
            && Ring::bytes(slots, subscribers, seats) <= zone.size();
        if !kind.is_ring() || zone.set != Set::Shared || !fits || !whole {
            return Err(Error::damaged(format!("{id} is no channel or feed, or says it has {cells} cells")));
        }
        Ok(Ring { id, at, seats, cells, subscribers, is_feed: kind == Kind::Feed, segment })
    }

    /// Offsets of a ring's cells; of a chain's entries, and of the cells of the segments that they name.
    pub(super) fn places_of(&self, ring: Ring) -> Vec<u64> {
        let slots = (0..ring.slots()).map(|index| ring.slot(index));
        if !ring.is_chain() {
            return slots.collect();
        }
        let cells = |segment: Id| (0..ring.segment).map(move |cell| self.payload(segment) + cell * 8);
        let all = slots.flat_map(|slot| {
            let segment = self.segment_in(ring, self.place(slot));
            [slot].into_iter().chain(segment.into_iter().flat_map(cells))
        });
        all.collect()
    }

    #[inline]
    pub(super) fn ring_word(&self, ring: Ring, word: u64) -> u64 {
        self.env.load(ring.word(word), SeqCst)
    }

    /// The position that an item's word or target speaks of: the last one that looks like that.
    pub(super) fn position(&self, ring: Ring, turn: u64) -> u64 {
        // The tail may be behind by as many as are sending.
        let last = self.tail(ring).wrapping_add(self.geo.params.seats * 64);
        last.wrapping_sub(last.wrapping_sub(turn) % RING)
    }

    /// The position that a turn speaks of, if its container is a ring.
    pub(super) fn ring_position(&self, at: Turn) -> Option<(Ring, u64)> {
        if at.turn & RING == 0 || at.container.0 < Id::FIRST {
            return None;
        }
        let ring = self.ring_of(self.object(at.container).ok()?).ok()?;
        Some((ring, self.position(ring, at.turn % RING)))
    }

    /// Whether the cell of that position has the object; or the entry, if the object is a segment. `None`: `at` is no
    /// position of a ring.
    pub fn is_in_cell(&self, id: Id, at: Turn) -> Option<bool> {
        let (ring, position) = self.ring_position(at)?;
        let has = |place: Place| place.object() == Some(id) && ring.ahead(place, position) == 1;
        Some(has(self.cell_of(ring, position)) || ring.is_chain() && has(self.place(ring.entry(position))))
    }

    /// The segment of a position, if its entry has that of the position's lap.
    pub(super) fn segment_at(&self, ring: Ring, position: u64, entry: Place) -> Result<Option<Id>> {
        if ring.ahead(entry, position) != 1 || entry.is_dead() {
            return Ok(None);
        }
        let segment = self.segment_in(ring, entry);
        segment.map(Some).ok_or_else(|| Error::damaged(format!("{} names no segment: {entry:?}", ring.id)))
    }

    /// The segment of an entry, of whichever lap.
    pub(super) fn segment_in(&self, ring: Ring, entry: Place) -> Option<Id> {
        let id = self.object(entry.object()?).ok()?;
        let (zone, _) = self.slot(id);
        (zone.set == Set::Shared && ring.segment * 8 <= zone.size()).then_some(id)
    }

    /// Where the cell of a position is in its segment.
    pub(super) fn segment_cell(&self, ring: Ring, segment: Id, position: u64) -> u64 {
        self.payload(segment) + position % ring.cells % ring.segment * 8
    }

    /// What the cell of a position says. Where its segment is not there, or is damaged, it has nothing.
    pub fn cell_of(&self, ring: Ring, position: u64) -> Place {
        if !ring.is_chain() {
            return self.place(ring.cell(position));
        }
        loop {
            let entry = self.place(ring.entry(position));
            let cell = match self.segment_at(ring, position, entry) {
                Ok(Some(segment)) => self.place(self.segment_cell(ring, segment, position)),
                _ => ring.cell_without(entry),
            };
            // The cell is the segment's only if the segment still is the entry's.
            if self.place(ring.entry(position)) == entry {
                return cell;
            }
        }
    }

    /// The position that an object is aimed at.
    pub(super) fn target_of(&self, id: Id) -> Option<Turn> {
        let target = self.env.load(self.geo.meta(id, meta::TARGET), Acquire);
        let container = u32::try_from((target & TARGET).checked_sub(1)?).ok().map(Id)?;
        Some(Turn { container, turn: target >> TARGET_BITS })
    }

    /// The channel that an item goes back to, and its position there or 0.
    pub(super) fn return_of(&self, id: Id, ticket: Ticket) -> Option<(Id, u64)> {
        let target = self.env.load(self.geo.meta(id, meta::TARGET), Acquire);
        let (channel, at) = match ticket.is_forwarded() {
            true => (self.env.load(self.geo.meta(id, meta::FROM), Acquire), 0),
            false => (target & TARGET, target >> TARGET_BITS),
        };
        let channel = u32::try_from(channel.checked_sub(1)?).ok().map(Id)?;
        Some((self.object(channel).ok()?, at))
    }

    /// Whether an item that is leased or BACK has a channel to go back to.
    pub fn has_a_channel(&self, id: Id, ticket: Ticket) -> bool {
        let channel = self.return_of(id, ticket).map(|(channel, _)| channel);
        channel.is_some_and(|c| self.ring_of(c).is_ok() && self.life(c, SeqCst) != Life::FREE)
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
                    self.return_of(id, t.forwarded()).is_some_and(|(c, _)| c == ring.id)
                        && self.target_of(id).is_none_or(|at| self.is_in_cell(id, at) != Some(true))
                }
                _ => false,
            };
            is.then_some((id, word))
        };
        ids.filter_map(of_ring).collect()
    }

    /// Items that are in cells, or were a moment ago.
    pub fn depth(&self, ring: Ring) -> u64 {
        if ring.is_feed {
            return self.items_end(ring).min(ring.capacity());
        }
        let head = self.taken(ring);
        self.sent(ring).saturating_sub(head).min(ring.cells)
    }

    /// Items that were taken so far, some of them more than once.
    pub fn taken(&self, ring: Ring) -> u64 {
        self.ring_word(ring, ring::HEAD)
    }

    /// Where the next item goes; one less, if whoever put the last one in died or has not moved it on yet.
    pub(super) fn tail(&self, ring: Ring) -> u64 {
        self.ring_word(ring, ring::TAIL)
    }

    /// Items that were sent or appended so far, the end of a feed among them: no fewer from the moment on that the last one is
    /// in its cell, and never too many. So it is the next position, too.
    pub fn sent(&self, ring: Ring) -> u64 {
        let tail = self.tail(ring);
        let cell = self.cell_of(ring, tail);
        match ring.ahead(cell, tail) {
            1.. if !cell.is_dead() => tail.wrapping_add(1),
            _ => tail,
        }
    }

    /// Whether its batches may have different schemas.
    pub fn is_mixed(&self, ring: Ring) -> bool {
        self.ring_word(ring, ring::MIXED) != 0
    }

    #[inline]
    pub fn is_closed(&self, ring: Ring) -> bool {
        self.ring_word(ring, ring::CLOSED) != 0
    }

    /// Who is at an end: participants that are not known to be dead.
    pub fn present(&self, ring: Ring, end: End) -> Vec<Owner> {
        let seats = 0..self.seats_used();
        seats.filter_map(|seat| self.is_present(ring, end, seat)).collect()
    }

    #[inline]
    fn is_present(&self, ring: Ring, end: End, seat: u64) -> Option<Owner> {
        let word = self.env.load(ring.presence(end, seat), SeqCst);
        let state = self.seat(seat);
        let owner = Owner { seat: seat as u16, incarnation: (word >> 32) as u32 };
        let is = word as u32 != 0 && state.may_pin() && state.incarnation() == owner.incarnation;
        is.then_some(owner)
    }

    /// Whether there was anybody at an end, ever, and nobody is now.
    #[inline]
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
        let tail = self.tail(ring);
        let cell = self.cell_of(ring, tail);
        if ring.is_chain() {
            return !cell.is_dead() && ring.ahead(cell, tail) < 0;
        }
        let waits = |id| self.is_waiting(id, ring.at(tail.wrapping_sub(ring.cells)));
        let item = cell.object().and_then(|id| self.object(id).ok());
        !cell.is_dead() && ring.ahead(cell, tail) < 0 && item.is_some_and(waits)
    }

    /// Whether an item that a cell names was not taken: at home there, or a draft whose sender has not settled.
    pub(super) fn is_waiting(&self, id: Id, at: Turn) -> bool {
        let word = self.life(id, SeqCst);
        word == Life::home(at) || matches!(word.state(), Some(State::Draft(_)))
    }

    /// Whether a receiver would find something to take, or to clean up.
    pub fn has_item(&self, ring: Ring) -> bool {
        if self.ring_word(ring, ring::RETURNED) != self.ring_word(ring, ring::LOOKED) {
            return true;
        }
        let head = self.taken(ring);
        for position in (0..ring.cells).map(|i| head.wrapping_add(i)) {
            let cell = self.cell_of(ring, position);
            match ring.ahead(cell, position) {
                _ if cell.is_dead() => return false,
                1 => return true,
                // The head is behind.
                2.. => {}
                _ => return false,
            }
        }
        // Damage, which a receiver is told of.
        true
    }

    /// Whether a position of a feed has its item, or had it.
    pub fn has_come(&self, ring: Ring, position: u64) -> bool {
        ring.ahead(self.place(ring.cell(position)), position) >= 1
    }

    /// The position behind the last item, which is how many were appended: the next one's, or the end's.
    pub fn items_end(&self, ring: Ring) -> u64 {
        let (next, ended) = self.next_and_ended(ring);
        next - u64::from(ended)
    }

    /// The positions of what a feed holds, of one moment. The first is the oldest that a subscriber may begin at.
    pub fn positions_kept(&self, ring: Ring) -> Range<u64> {
        // The end takes no item's place.
        let end = self.items_end(ring);
        end.saturating_sub(ring.capacity())..end
    }

    /// Whether a feed was closed.
    pub fn has_ended(&self, ring: Ring) -> bool {
        ring.is_feed() && self.next_and_ended(ring).1
    }

    /// The next position, and whether the last item is the end.
    fn next_and_ended(&self, ring: Ring) -> (u64, bool) {
        let next = self.sent(ring);
        let Some(last) = next.checked_sub(1) else { return (next, false) };
        let cell = self.place(ring.cell(last));
        let ended = self.is_end(cell);
        // What has been replaced since was not the end (F3), whatever its memory is by now.
        (next, ended && self.place(ring.cell(last)) == cell && ring.ahead(cell, last) == 1)
    }

    /// Whether a cell has the end of its feed: said of the item that it has, and only while it has that.
    pub(super) fn is_end(&self, cell: Place) -> bool {
        let id = cell.object().and_then(|id| self.object(id).ok());
        id.is_some_and(|id| self.kind(id).is_ok_and(|kind| kind == Kind::End))
    }
}

impl<E: Env> Core<E> {
    /// Says where a draft of ours is aimed at.
    #[inline]
    pub(crate) fn set_target(&self, item: Id, at: Turn) {
        self.set_meta(item, meta::TARGET, u64::from(at.container.0 + 1) | at.turn << TARGET_BITS);
    }

    /// Q6: what is in the cells of a channel that we free, and what came from it and is nobody's.
    pub(crate) fn drop_items(&self, dying: Id, todo: &mut Vec<Id>) {
        let Ok(ring) = self.ring_of(dying) else { return };
        self.putting(|| {
            for index in 0..ring.slots() {
                let slot = ring.slot(index);
                if ring.is_chain() {
                    let Some(segment) = self.segment_in(ring, self.place(slot)) else { continue };
                    for cell in 0..ring.segment {
                        self.empty_cell(dying, self.payload(segment) + cell * 8, todo);
                    }
                }
                self.empty_cell(dying, slot, todo);
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

    /// Lets go of what a cell of a ring that we free has, or an entry.
    fn empty_cell(&self, dying: Id, off: u64, todo: &mut Vec<Id>) {
        let cell = self.place(off);
        let Some(id) = cell.object().and_then(|id| self.object(id).ok()) else { return };
        if !cell.is_dead() && self.env.cas(off, cell.0, Place::at(None, cell.turn() + 1).0, SeqCst).is_ok() {
            let word = self.life(id, SeqCst);
            if matches!(word.state(), Some(State::Home(at)) if at.container == dying && at.turn & RING != 0) {
                self.turn_life(id, word, Life::LOOSE);
            }
            todo.push(id);
        }
    }
}
