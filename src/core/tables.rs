//! The segment's words by name: typed loads and exact-value swaps, checked where they leave it.
//!
//! Whatever is read here is input: an id is range-checked before it becomes an offset, a word that
//! no operation writes is [`Error::Damaged`].

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, SeqCst};

use crate::core::geometry::{Geometry, META_WORDS, PAGE, Set, Zone, header, lock, meta};
use crate::core::mem::{Load, Mem};
use crate::core::sys::Sys;
use crate::core::word::{ArenaLife, Id, Life, Owner, Place, Seat, Stay};
use crate::error::{Bound, Error, Result};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A directory entry: the text of a name, and the place of its current object.
    Name,
    /// A directory bucket's list of names.
    List,
    /// An Arrow record batch.
    Batch,
    /// Record batches of one schema, as one value.
    Table,
    /// An n-dimensional array.
    Array,
    /// Plain bytes.
    Bytes,
    /// Several named values, published at once.
    Bundle,
    /// A column of a batch that is large enough to be an object of its own.
    Column,
    /// Another name for an object that is published, or was.
    Alias,
    /// Room for more holds of a shared object.
    Knot,
    /// A lock that one holds at a time; see [`crate::sync::Mutex`].
    Mutex,
    /// A counting semaphore; see [`crate::sync::Semaphore`].
    Semaphore,
    /// A flag that is waited for; see [`crate::sync::Event`].
    Event,
    /// A small value that changes in place; see [`crate::sync::SharedValue`].
    Value,
    /// An array that is written in partitions; see [`crate::MutableArray`].
    MutableArray,
    /// A bounded queue of objects; see [`crate::channel`].
    Channel,
    /// A ring of objects that every subscriber sees whole; see [`crate::feed`].
    Feed,
    /// The last item of a feed.
    End,
    /// Cells of a channel without a bound.
    Segment,
    /// Those who wait at a condition; see [`crate::core::waiters`].
    Condition,
}

impl Kind {
    const ALL: [Kind; 20] = [
        Kind::Name,
        Kind::List,
        Kind::Batch,
        Kind::Table,
        Kind::Array,
        Kind::Bytes,
        Kind::Bundle,
        Kind::Column,
        Kind::Alias,
        Kind::Knot,
        Kind::Mutex,
        Kind::Semaphore,
        Kind::Event,
        Kind::Value,
        Kind::MutableArray,
        Kind::Channel,
        Kind::Feed,
        Kind::End,
        Kind::Segment,
        Kind::Condition,
    ];

    pub(crate) fn code(self) -> u64 {
        self as u64 + 1
    }

    fn parse(code: u64) -> Option<Kind> {
        Kind::ALL.get((code as usize).checked_sub(1)?).copied()
    }

    /// Which zones its objects come from.
    pub fn set(self) -> Set {
        match self {
            Kind::Name | Kind::List | Kind::Knot | Kind::Segment => Set::Shared,
            kind if kind.locks() || kind.is_ring() => Set::Shared,
            _ => Set::Payload,
        }
    }

    /// Whether its objects have cells.
    pub fn is_ring(self) -> bool {
        matches!(self, Kind::Channel | Kind::Feed)
    }

    /// Whether its objects have leases, and change in place.
    pub fn locks(self) -> bool {
        matches!(self, Kind::Mutex | Kind::Semaphore | Kind::Event | Kind::Value | Kind::MutableArray | Kind::Condition)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Kind::Name => "name",
            Kind::List => "list",
            Kind::Batch => "batch",
            Kind::Table => "table",
            Kind::Array => "array",
            Kind::Bytes => "bytes",
            Kind::Bundle => "bundle",
            Kind::Column => "column",
            Kind::Alias => "alias",
            Kind::Knot => "knot",
            Kind::Mutex => "mutex",
            Kind::Semaphore => "semaphore",
            Kind::Event => "event",
            Kind::Value => "value",
            Kind::MutableArray => "mutable array",
            Kind::Channel => "channel",
            Kind::Feed => "feed",
            Kind::End => "end of a feed",
            Kind::Segment => "cells of a channel",
            Kind::Condition => "condition",
        })
    }
}

/// An entry of an object's payload: a part that it owns or holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartEntry(pub u64);

const HELD: u64 = 1 << 32;

impl PartEntry {
    /// A part whose word names this object.
    pub fn own(part: Id) -> PartEntry {
        PartEntry(u64::from(part.0))
    }

    /// A part that is shared: one of its hold words names this object.
    pub fn held(part: Id) -> PartEntry {
        PartEntry(HELD | u64::from(part.0))
    }

    pub fn part(self) -> Id {
        Id(self.0 as u32)
    }

    /// Whether the part is shared: its hold words, not its word, name this object.
    #[inline]
    pub fn is_held(self) -> bool {
        self.0 & HELD != 0
    }
}

/// A segment's words: the door to them, and where they lie.
#[derive(Debug)]
pub struct Tables<E> {
    pub env: E,
    pub geo: Geometry,
    /// So many slots of each zone were seen to have their words and records in memory.
    seen: Box<[AtomicU64]>,
}

impl<E> Tables<E> {
    pub fn new(env: E, geo: Geometry) -> Tables<E> {
        let seen = geo.zones.iter().map(|_| AtomicU64::new(0)).collect();
        Tables { env, geo, seen }
    }
}

impl<E: Load> Tables<E> {
    /// Checks an id that came out of the segment.
    #[inline]
    pub fn object(&self, id: Id) -> Result<Id> {
        if id.0 >= Id::FIRST && u64::from(id.0 - Id::FIRST) < self.geo.ids {
            return Ok(id);
        }
        Err(Error::damaged(format!("{id} is no object")))
    }

    /// The zone and slot of a checked id.
    #[inline]
    pub fn slot(&self, id: Id) -> (&Zone, u64) {
        self.geo.slot(id).expect("ids are checked when they are read")
    }

    /// Offset of an object's first byte.
    #[inline]
    pub fn payload(&self, id: Id) -> u64 {
        let (zone, slot) = self.slot(id);
        zone.offset(slot)
    }

    /// The checksum of a payload object's bytes. `None`: it has none.
    pub fn sum(&self, id: Id) -> Option<u64> {
        let at = self.geo.sum_at(id, self.meta(id, meta::LEN))?;
        Some(self.env.load(at, Acquire)).filter(|sum| *sum != 0)
    }

    #[inline]
    pub fn life(&self, id: Id, order: Ordering) -> Life {
        Life(self.env.load(self.geo.life(id), order))
    }

    #[inline]
    pub fn meta(&self, id: Id, word: u64) -> u64 {
        self.env.load(self.geo.meta(id, word), Acquire)
    }

    #[inline]
    pub fn kind(&self, id: Id) -> Result<Kind> {
        let word = self.meta(id, meta::KIND);
        Kind::parse(word & 0xff).ok_or_else(|| Error::damaged(format!("{id} is of no known kind ({word:#x})")))
    }

    /// What an object is to its readers: of an alias, what its target is; of a mutable array that is
    /// frozen, an array.
    #[inline]
    pub fn seen_kind(&self, id: Id) -> Result<Kind> {
        match self.kind(id)? {
            Kind::Alias => self.alias_kind(id),
            Kind::MutableArray if self.is_frozen(id) => Ok(Kind::Array),
            kind => Ok(kind),
        }
    }

    /// Whether a mutable array is frozen.
    pub fn is_frozen(&self, id: Id) -> bool {
        self.slot(id).0.set == Set::Shared && self.env.load(self.payload(id) + lock::STATE * 8, SeqCst) == 1
    }

    fn alias_kind(&self, id: Id) -> Result<Kind> {
        let word = self.meta(id, meta::KIND);
        let target = Kind::parse(word >> 8 & 0xff).filter(|k| *k != Kind::Alias);
        target.ok_or_else(|| Error::damaged(format!("{id} is an alias of no known kind ({word:#x})")))
    }

    /// How many entries (parts) an object has: never more than its slot has room for.
    #[inline]
    pub fn part_count(&self, id: Id) -> u64 {
        let (zone, _) = self.slot(id);
        (self.meta(id, meta::KIND) >> 32).min(zone.size() / 8)
    }

    /// An entry; the index is below [`Tables::part_count`].
    #[inline]
    pub fn part_entry(&self, id: Id, index: u64) -> PartEntry {
        PartEntry(self.env.load(self.payload(id) + index * 8, Acquire))
    }

    /// Where the place of a container lies. `None`: the id is no container.
    pub fn place_offset(&self, container: Id) -> Option<u64> {
        if container.0 < Id::FIRST {
            let known = u64::from(container.0) < self.geo.params.buckets;
            return known.then(|| self.geo.bucket(container.0));
        }
        let known = u64::from(container.0 - Id::FIRST) < self.geo.ids;
        known.then(|| self.geo.meta(container, meta::PLACE))
    }

    #[inline]
    pub fn place(&self, offset: u64) -> Place {
        Place(self.env.load(offset, SeqCst))
    }

    pub fn seat(&self, seat: u64) -> Seat {
        Seat(self.env.load(self.geo.seat_word(seat), SeqCst))
    }

    /// Whether a participant takes part still, as far as anybody has found out.
    pub fn takes_part(&self, owner: Owner) -> bool {
        let seat = u64::from(owner.seat);
        let word = if seat < self.geo.params.seats { self.seat(seat) } else { return false };
        word.may_pin() && word.incarnation() == owner.incarnation
    }

    /// Seats that were ever claimed.
    pub fn seats_used(&self) -> u64 {
        self.env.load(header::SEATS_USED, SeqCst).min(self.geo.params.seats)
    }

    /// Slots of a zone that may be in use: their words and records are in memory. (Z1: a mark that tells of more is not
    /// believed, as a walk over what it tells of would fill gigabytes.)
    pub fn used(&self, zone: &Zone) -> u64 {
        let told = self.told(zone).min(zone.slots);
        if told <= self.seen[zone.index].load(Relaxed) { told } else { self.used_by_the_kernel(zone, told) }
    }

    /// What a zone's mark says.
    pub fn told(&self, zone: &Zone) -> u64 {
        self.env.load(zone.head, Acquire)
    }

    /// The kernel walks over all pages that it is asked for. So what was seen before is not asked for again; and of the
    /// records only those of the last words are, because an extension has words before it has records, and fewer of them than
    /// a page has.
    #[cold]
    fn used_by_the_kernel(&self, zone: &Zone, told: u64) -> u64 {
        let slots_in_memory = |from: u64, to: u64, first: u64, bytes: u64| {
            from + (self.env.in_memory_until(first, first + (to - from) * bytes) - first) / bytes
        };
        let seen = self.seen[zone.index].load(Relaxed).min(told);
        let words = slots_in_memory(seen, told, self.geo.life(zone.id(seen)), 8);
        let last = words.saturating_sub(2 * PAGE / 8).max(seen);
        let used = slots_in_memory(last, words, self.geo.meta(zone.id(last), 0), META_WORDS * 8);
        self.seen[zone.index].fetch_max(used, Relaxed);
        used
    }

    pub fn limit(&self) -> u64 {
        self.env.load(header::LIMIT, Relaxed)
    }

    /// Whether the arena goes on, ends, or is over.
    pub fn arena_life(&self) -> ArenaLife {
        ArenaLife(self.env.load(header::LIFE, SeqCst))
    }

    /// A6: whether the arena stays when nobody uses it. The first page was checked when the file was opened.
    pub fn is_kept(&self) -> bool {
        self.geo.params.stay != Stay::Ephemeral || self.stay_again() != Stay::Ephemeral.word()
    }

    fn stay_again(&self) -> u64 {
        self.env.load(header::STAY_AGAIN, Acquire)
    }

    /// What is wrong with the words of the arena's end.
    pub fn impossible_end(&self) -> Vec<String> {
        let (said, again, life) = (self.geo.params.stay.word(), self.stay_again(), self.arena_life());
        let mut all = vec![];
        if again != said {
            all.push(format!(
                "how long the arena stays is said twice, as {said:#x} and {again:#x}; it stays until it is removed"
            ));
        }
        if ![ArenaLife::OPEN, ArenaLife::GONE].contains(&life) && life.closer().is_none() {
            all.push(format!("the arena's own life is {:#x}; who opens it next makes that good", life.0));
        }
        all
    }

    /// Whether anybody pins the object. Rows are read only where their pages are in memory.
    #[inline]
    pub fn is_pinned(&self, id: Id) -> bool {
        let page = self.geo.row_page(id);
        (0..self.seats_used()).any(|seat| self.pins_of(seat, page, id) != 0)
    }

    /// How many pins a seat's occupant has on an object.
    #[inline]
    pub fn pins_of(&self, seat: u64, page: u64, id: Id) -> u64 {
        if !self.seat(seat).may_pin() || !self.has_row_page(seat, page) {
            return 0;
        }
        self.env.load(self.geo.pin(seat, id), SeqCst)
    }

    #[inline]
    pub fn has_row_page(&self, seat: u64, page: u64) -> bool {
        self.env.load(self.geo.row_map(seat, page), SeqCst) >> (page % 64) & 1 != 0
    }
}

impl<E: Load + Sys> Tables<E> {
    /// The parts of an object that may be freed meanwhile: a look, to be believed only if it fits.
    pub fn glimpse_parts(&self, id: Id) -> Vec<PartEntry> {
        let entry = |i| PartEntry(self.env.peek(self.payload(id) + i * 8));
        (0..self.part_count(id)).map(entry).filter(|entry| self.object(entry.part()).is_ok()).collect()
    }

    /// Fails if another program has cut the file off. Pages that are gone cannot be touched (SIGBUS), so operations that take
    /// a system call anyway ask first.
    pub fn check_size(&self) -> Result<()> {
        match self.env.size() {
            Some(size) if size < self.geo.total => Err(Error::damaged(format!(
                "another program has cut its file to {size} of {} bytes: what was there is lost, and who touches it ends by \
                 SIGBUS; end the processes that have it open, remove it and make it anew",
                self.geo.total
            ))),
            _ => Ok(()),
        }
    }

    /// What to say when `asked` more bytes cannot be had. The arena adds who holds how much.
    pub fn no_space(&self, asked: u64) -> Error {
        if let Err(cut) = self.check_size() {
            return cut;
        }
        let (room, of) = self.env.room();
        let limit = self.limit();
        let left = limit.saturating_sub(self.env.in_memory());
        let (bound, of, free) = if left.min(room) >= asked {
            (Bound::Kernel, limit, left.min(room))
        } else if left <= room {
            (Bound::Limit, limit, left)
        } else {
            (Bound::FileSystem, of, room)
        };
        Error::NoSpace { asked, free, bound, of, largest_holders: vec![] }
    }
}

impl<E: Mem> Tables<E> {
    /// One step of an object's life, if its word still is `old`.
    #[inline]
    #[track_caller]
    pub fn turn_life(&self, id: Id, old: Life, new: Life) -> bool {
        self.env.cas(self.geo.life(id), old.0, new.0, SeqCst).is_ok()
    }

    /// A word of an object's record; only by whoever owns the object, unless said otherwise.
    #[inline]
    #[track_caller]
    pub fn set_meta(&self, id: Id, word: u64, value: u64) {
        self.env.store(self.geo.meta(id, word), value, Ordering::Release);
    }

    pub fn set_kind(&self, id: Id, kind: Kind) {
        self.set_meta(id, meta::KIND, kind.code());
    }

    /// Says what the target of an alias is. Before it has entries.
    pub fn set_alias_kind(&self, id: Id, target: Kind) {
        self.set_meta(id, meta::KIND, Kind::Alias.code() | target.code() << 8);
    }

    /// Raises a word to at least `value`.
    pub fn raise(&self, off: u64, value: u64) {
        let mut now = self.env.load(off, SeqCst);
        while now < value {
            match self.env.cas(off, now, value, SeqCst) {
                Ok(_) => return,
                Err(found) => now = found,
            }
        }
    }
}
