//! Where everything lies in the segment: a pure function of a few recorded numbers.
//!
//! ```text
//! control region: read-write in every participant                          data region: read-only,
//! +--------+-------+---------+---------+--------+-------+------+------+------+-----------+---------+
//! | header | seats | permits | buckets | row    | zone  | lives| metas| pins | shared    | payload |
//! | 2 pages|       |         |         | maps   | heads |      |      |      | zones     | zones   |
//! +--------+-------+---------+---------+--------+-------+------+------+------+-----------+---------+
//!                                                  and hints                    2^6..2^23   2^8..2^k
//! ```
//!
//! The file is sparse: its size is address space, not memory. Regions begin on page boundaries
//! with a guard page between them, so that a stray write past one is caught.
//!
//! Objects of one power of two form a **zone**. An id is a zone's first id plus the index in it; a
//! slot's offset is arithmetic. *Shared* zones hold what changes in place (names' texts, directory
//! lists, locks, values, rings, knots); *payload* zones hold what never changes once published.

use crate::core::word::{Id, SEATS, Stay};
use crate::error::{Error, Result};

pub const PAGE: u64 = 4096;

/// What a segment was made with, recorded in the header: the numbers that its layout follows from, and how long it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Bytes that the arena may ever use: a power of two.
    pub capacity: u64,
    pub seats: u64,
    pub permits: u64,
    /// Directory buckets: a power of two, at most [`Id::FIRST`].
    pub buckets: u64,
    /// Most slots that a zone has: a power of two.
    pub max_slots: u64,
    /// Bytes of address space for each shared zone of objects of `1 << BOTTOM` bytes and more: a power of two. Those of smaller
    /// objects have an eighth of it, so that the largest arena has ids enough.
    pub shared: u64,
    /// The largest shared zone holds objects of `1 << shared_top` bytes.
    pub shared_top: u64,
    pub stay: Stay,
    pub sums: Sums,
}

/// Whether objects have checksums. In the header, it is a feature that every participant must know ([`SUMS_FEATURE`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sums {
    #[default]
    None,
    /// Each payload object has a word behind its bytes ([`Geometry::sum_at`]): their checksum, or 0 for none.
    Kept,
}

/// Bit of [`header::INCOMPATIBLE`] that says [`Sums::Kept`].
pub const SUMS_FEATURE: u64 = 1;

/// The smallest payload object: `1 << BOTTOM` bytes.
pub const BOTTOM: u64 = 8;
/// The smallest shared object: `1 << SHARED_BOTTOM` bytes, a cache line. Most names and lists are no larger.
const SHARED_BOTTOM: u64 = 6;
/// Largest capacity: 1 TiB, so that two mappings of it fit the address space.
pub const MAX_CAPACITY: u64 = 1 << 40;
const MIN_CAPACITY: u64 = 1 << 16;

impl Params {
    /// The layout of arenas for use; tests make smaller ones.
    pub fn standard(capacity: u64, seats: u64, permits: u64) -> Params {
        Params {
            capacity: capacity.next_power_of_two().max(MIN_CAPACITY),
            seats,
            permits,
            buckets: 1 << 14,
            max_slots: 1 << 22,
            shared: 1 << 30,
            shared_top: 23,
            stay: Stay::Kept,
            sums: Sums::None,
        }
    }
}

/// Words of one seat's record behind its [`crate::core::word::Seat`] word; see [`crate::core::seat`].
pub const SEAT_WORDS: u64 = 24;
/// Words of one object's record; see [`meta`].
pub const META_WORDS: u64 = 12;
/// Words of one zone's head: `used`, and room.
pub const HEAD_WORDS: u64 = 8;

/// The words of an object's record.
pub mod meta {
    /// `kind:8 | format:8 | 0:16 | entries:32`, see [`crate::core::object`].
    pub const KIND: u64 = 0;
    /// Bytes of payload.
    pub const LEN: u64 = 1;
    /// The container that a put is aimed at, plus one; 0: none.
    pub const TARGET: u64 = 2;
    /// The version under its name; of a name: the version its first object gets.
    pub const VERSION: u64 = 3;
    /// The place that this object is the container of: a name's current version, a payload object's or a
    /// knot's next knot (see [`crate::core::hold`]). Never reset.
    pub const PLACE: u64 = 4;
    /// Two words of two holders each: objects that share this one as a part. Scanned like pins.
    pub const HOLDS: u64 = 5;
    /// Raised after each hold taken, before its source is let go. Never reset.
    pub const HOLD_TURN: u64 = 7;
    /// Bytes at the slot's start that are known to be in memory, and [`super::DIRTY`].
    pub const COMMITTED: u64 = 8;
    /// Where a forwarded item came from, plus one. Cleared before the object is free.
    pub const FROM: u64 = 9;
    /// Rows of a batch or table, elements of an array, bytes of bytes.
    pub const ROWS: u64 = 10;
    /// When it was published, in milliseconds since the Unix epoch.
    pub const TIME: u64 = 11;
}

/// Words of an object that locks; see [`crate::core::lock`].
pub mod lock {
    // Word 0 is the entry of a mutable array's one part.
    pub const BELL: u64 = 1;
    pub const COUNT: u64 = 2;
    pub const STATE: u64 = 3;
    pub const SIZE: u64 = 4;
    /// Of a value: the code of its element type, 0 if it has none. Never changes.
    pub const TYPE: u64 = 5;
    /// Of a condition: how many of its first places were used at some time. It never falls.
    pub const USED: u64 = 6;
    /// The first lease: a cache line of its own.
    pub const LEASES: u64 = 8;
}

/// Words of a channel or feed; see [`crate::core::ring`].
pub mod ring {
    pub const RECEIVERS_BELL: u64 = 1;
    pub const SENDERS_BELL: u64 = 2;
    pub const CELLS: u64 = 3;
    /// 1: nothing more is sent.
    pub const CLOSED: u64 = 4;
    /// How often something came back, and at which of those a look found nothing more.
    pub const RETURNED: u64 = 5;
    pub const LOOKED: u64 = 6;
    /// Bit 0: there was a sender at some time; bit 1: a receiver.
    pub const EVER: u64 = 7;
    /// The next position to send to, and to take from: hints that are never too high. Cache lines of their own.
    pub const TAIL: u64 = 8;
    /// 1: its batches may have different schemas. Never changes.
    pub const MIXED: u64 = 24;
    /// How many subscribers a feed has room for. Never changes.
    pub const SUBSCRIBERS: u64 = 25;
    /// How many cells a segment of a chain has; 0: the cells are in the ring. Never changes. See [`crate::core::chain`].
    pub const SEGMENT: u64 = 26;
    pub const HEAD: u64 = 16;
    /// A word for each seat and end; a lease and a position for each subscriber; then the cells, or a chain's entries.
    pub const PRESENCE: u64 = 32;
}

/// Flag in [`meta::COMMITTED`]: the slot may have pages that the number does not tell of.
pub const DIRTY: u64 = 1;

/// Words of the header; the first page never changes after creation, but for its state words in
/// the second page, which every participant changes.
pub mod header {
    /// The first page: what the file is.
    pub const MAGIC: u64 = 0;
    pub const VERSION: u64 = 8;
    /// Features that a reader may ignore.
    pub const COMPATIBLE: u64 = 16;
    /// Features that a reader must know.
    pub const INCOMPATIBLE: u64 = 24;
    /// The seven numbers of [`super::Params`], in their order.
    pub const PARAMS: u64 = 32;
    /// Bytes of address space of the whole file.
    pub const TOTAL: u64 = 88;
    /// How long the arena stays: see [`crate::core::word::Stay`] and A6 in [`crate::core::end`].
    pub const STAY: u64 = 96;
    /// Of everything above.
    pub const CHECKSUM: u64 = 104;

    /// The second page: what changes.
    pub const LIFE: u64 = 4096;
    pub const LIMIT: u64 = 4104;
    pub const WARM_LIMIT: u64 = 4112;
    /// What [`STAY`] says, once more.
    pub const STAY_AGAIN: u64 = 4120;
    /// When it was made, in milliseconds since the Unix epoch.
    pub const CREATED: u64 = 4128;
    /// The highest version of any name that was removed.
    pub const FLOOR: u64 = 4160;
    /// Bytes of free slots that keep their pages: a hint.
    pub const WARM: u64 = 4224;
    /// Rung when a permit comes back.
    pub const PERMIT_BELL: u64 = 4288;
    /// Rung when a name appears.
    pub const NAME_BELL: u64 = 4352;
    /// Seats below this index were claimed at some time. Raised before the claim.
    pub const SEATS_USED: u64 = 4416;
}

/// Which mapping an object's bytes are reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Shared,
    Payload,
}

/// All equal-sized objects of one power of two.
#[derive(Clone, Copy, Debug)]
pub struct Zone {
    pub index: usize,
    pub set: Set,
    /// log2 of the slot size.
    pub shift: u64,
    /// How many slots.
    pub slots: u64,
    /// Index (id - [`Id::FIRST`]) of the first slot.
    pub first: u64,
    /// Offset of the first slot.
    pub base: u64,
    /// Offset of the zone's head words.
    pub head: u64,
    /// Offsets of the hints: for warm and cold free slots, each a bitmap and a bitmap of its words.
    pub hints: [Hints; 2],
}

/// A two-level bitmap of slots that may be free.
#[derive(Clone, Copy, Debug)]
pub struct Hints {
    pub bits: u64,
    pub summary: u64,
}

impl Zone {
    #[inline]
    pub fn size(&self) -> u64 {
        1 << self.shift
    }

    #[inline]
    pub fn id(&self, slot: u64) -> Id {
        Id(Id::FIRST + (self.first + slot) as u32)
    }

    #[inline]
    pub fn offset(&self, slot: u64) -> u64 {
        self.base + (slot << self.shift)
    }

    /// Offset of the word that says, plus one, from which slot on the zone is being extended. An extension
    /// is under way, or was cut short, while that equals the zone's `used` mark.
    pub fn extending(&self) -> u64 {
        self.head + 8
    }

    /// How many slots an extension adds.
    pub fn step(&self) -> u64 {
        if self.size() < 1 << 16 { 32 } else { 4 }
    }

    /// Whether several slots share a page.
    pub fn sub_page(&self) -> bool {
        self.size() < PAGE
    }
}

/// The layout of a segment.
#[derive(Clone, Debug)]
pub struct Geometry {
    pub params: Params,
    /// Objects of all zones.
    pub ids: u64,
    pub seat_words: u64,
    pub seats: u64,
    pub permits: u64,
    pub buckets: u64,
    pub row_maps: u64,
    pub heads: u64,
    pub lives: u64,
    pub metas: u64,
    pub pins: u64,
    /// Where the control region ends and the data region begins.
    pub data: u64,
    pub total: u64,
    pub zones: Vec<Zone>,
    /// Guard pages of the control region, where a system can guard pages.
    #[allow(dead_code, reason = "the portable back-end cannot")]
    pub guards: Vec<u64>,
    /// The last zone that has ids in each block of `1 << BLOCK` ids: where [`Geometry::slot`] looks first.
    blocks: Vec<u8>,
    /// The zone of the first id that is less than `2 << k` ids from the end: where it looks next.
    from_end: [u8; 32],
}

/// log2 of the ids in a block of [`Geometry::blocks`].
const BLOCK: u64 = 12;

impl Geometry {
    /// Checks the numbers and lays the segment out. The same numbers give the same layout in every
    /// build with the same [`crate::core::front::VERSION`].
    pub fn new(params: Params) -> Result<Geometry> {
        let p = params;
        let power = |what: &str, n: u64, low: u64, high: u64| {
            if n.is_power_of_two() && (low..=high).contains(&n) {
                return Ok(());
            }
            let range = format!("a power of two from {low} to {high}");
            Err(Error::invalid(format!("{what} must be {range}, not {n}")))
        };
        let count = |what: &str, n: u64, high: u64| {
            if (1..=high).contains(&n) {
                return Ok(());
            }
            Err(Error::invalid(format!("{what} must be from 1 to {high}, not {n}")))
        };
        power("capacity", p.capacity, MIN_CAPACITY, MAX_CAPACITY)?;
        power("buckets", p.buckets, 1, u64::from(Id::FIRST))?;
        power("slots of a zone", p.max_slots, 2, 1 << 22)?;
        power("address space of a shared zone", p.shared, PAGE, 1 << 34)?;
        count("seats", p.seats, SEATS)?;
        count("writers", p.permits, 1024)?;
        if !(BOTTOM..=26).contains(&p.shared_top) {
            return Err(Error::invalid(format!("shared zones end at 2^8 to 2^26, not 2^{}", p.shared_top)));
        }

        let mut zones = vec![];
        let mut ids = 0;
        let top = u64::from(p.capacity.ilog2());
        let of_shared = |shift| if shift < BOTTOM { p.shared / 8 } else { p.shared };
        let shared = (SHARED_BOTTOM..=p.shared_top).map(|shift| (Set::Shared, shift, of_shared(shift)));
        let payload = (BOTTOM..=top).map(|shift| (Set::Payload, shift, 2 * p.capacity));
        for (set, shift, bytes) in shared.chain(payload) {
            let slots = (bytes >> shift).clamp(1, p.max_slots);
            let hints = [Hints { bits: 0, summary: 0 }; 2];
            zones.push(Zone { index: zones.len(), set, shift, slots, first: ids, base: 0, head: 0, hints });
            ids += slots;
        }
        if ids > u64::from(Id::MAX - Id::FIRST) {
            return Err(Error::invalid(format!("capacity {} needs {ids} ids, more than there are", p.capacity)));
        }

        let mut guards = vec![];
        let mut at = 2 * PAGE;
        let mut region = |words: u64| {
            guards.push(at);
            let start = at + PAGE;
            at = start + (words * 8).next_multiple_of(PAGE);
            start
        };
        let seat_words = region(p.seats);
        let seats = region(p.seats * SEAT_WORDS);
        let permits = region(p.permits);
        let buckets = region(p.buckets);
        let row_maps = region(p.seats * row_map_words(ids));
        let hint_words: u64 = zones.iter().map(|z| 2 * (words(z.slots) + words(words(z.slots)))).sum();
        let heads = region(zones.len() as u64 * HEAD_WORDS + hint_words);
        let lives = region(ids);
        let metas = region(ids * META_WORDS);
        let pins = region(p.seats * row_bytes(ids) / 8);
        let shared = region(0);

        let mut hint = heads + zones.len() as u64 * HEAD_WORDS * 8;
        let mut at = shared;
        let mut data = shared;
        for z in &mut zones {
            if z.set == Set::Payload && data == shared {
                // The data region begins at a huge page, so that slots of 2 MiB are aligned to one.
                at = at.next_multiple_of(1 << 21);
                data = at;
            }
            // Large slots begin at huge pages.
            at = at.next_multiple_of(z.size().clamp(PAGE, 1 << 21));
            z.base = at;
            z.head = heads + z.index as u64 * HEAD_WORDS * 8;
            for h in &mut z.hints {
                h.summary = hint;
                h.bits = hint + words(words(z.slots)) * 8;
                hint = h.bits + words(z.slots) * 8;
            }
            at += (z.slots << z.shift).next_multiple_of(PAGE);
        }
        let total = at;
        let mut blocks = vec![0; ids.div_ceil(1 << BLOCK) as usize];
        for z in &zones {
            // Where a zone ends inside a block, the block is the next one's: its first slots are used most.
            blocks[(z.first >> BLOCK) as usize..].fill(z.index as u8);
        }
        let first_from_end = |k: usize| {
            let first = (ids + 1).saturating_sub(2 << k);
            zones.iter().rposition(|z| z.first <= first).unwrap_or_default() as u8
        };
        let from_end = std::array::from_fn(first_from_end);
        let g = Geometry {
            params,
            ids,
            seat_words,
            seats,
            permits,
            buckets,
            row_maps,
            heads,
            lives,
            metas,
            pins,
            data,
            total,
            zones,
            guards,
            blocks,
            from_end,
        };
        Ok(g)
    }

    /// The zone and slot of an id that came out of the segment. `None`: no such object.
    #[inline]
    pub fn slot(&self, id: Id) -> Option<(&Zone, u64)> {
        let index = u64::from(id.0.checked_sub(Id::FIRST)?);
        let zone = &self.zones[usize::from(*self.blocks.get((index >> BLOCK) as usize)?)];
        let slot = index.wrapping_sub(zone.first);
        if slot < zone.slots { Some((zone, slot)) } else { self.slot_of_few(index) }
    }

    /// In blocks where a zone ends: those of a few large slots, and all of a small arena's.
    #[inline(never)]
    fn slot_of_few(&self, index: u64) -> Option<(&Zone, u64)> {
        if index >= self.ids {
            return None;
        }
        let mut zone = usize::from(self.from_end[(self.ids - index).ilog2() as usize]);
        // Payload zones halve towards the end, so that this is a step away at most.
        while self.zones.get(zone + 1).is_some_and(|next| next.first <= index) {
            zone += 1;
        }
        let zone = &self.zones[zone];
        Some((zone, index - zone.first))
    }

    /// The object whose slot has the byte at `off`.
    #[inline]
    pub fn locate(&self, off: u64) -> Option<Id> {
        let zone = &self.zones[self.zones.partition_point(|z| z.base <= off).checked_sub(1)?];
        let slot = (off - zone.base) >> zone.shift;
        (slot < zone.slots).then(|| zone.id(slot))
    }

    /// The zone for objects of `bytes`. `None`: larger than any.
    pub fn zone(&self, set: Set, bytes: u64) -> Option<&Zone> {
        let shift = u64::from(bytes.max(1).checked_next_power_of_two()?.ilog2());
        let index = match set {
            Set::Shared if shift <= self.params.shared_top => shift.max(SHARED_BOTTOM) - SHARED_BOTTOM,
            Set::Shared => return None,
            Set::Payload => self.params.shared_top + 1 - SHARED_BOTTOM + shift.max(BOTTOM) - BOTTOM,
        };
        self.zones.get(index as usize)
    }

    /// The shared zone of the next larger objects, for those that a shared zone has no room for.
    pub fn next_shared(&self, zone: &Zone) -> Option<&Zone> {
        self.zones.get(zone.index + 1).filter(|next| next.set == Set::Shared)
    }

    /// Bytes that an object of `len` bytes takes in its slot: with its checksum, if it has one.
    pub fn footprint(&self, set: Set, len: u64) -> u64 {
        match self.params.sums {
            Sums::Kept if set == Set::Payload => len.next_multiple_of(8).saturating_add(8),
            _ => len,
        }
    }

    /// Offset of the checksum of an object of `len` bytes, which lies behind them. `None`: it has none, or no object of
    /// its zone is as long.
    #[inline]
    pub fn sum_at(&self, id: Id, len: u64) -> Option<u64> {
        if self.params.sums != Sums::Kept {
            return None;
        }
        let (zone, slot) = self.slot(id)?;
        let whole = self.footprint(zone.set, len.min(zone.size()));
        (whole != len && len <= zone.size() && whole <= zone.size()).then(|| zone.offset(slot) + whole - 8)
    }

    /// Ranges of the control region, offset and length, that `n` slots of a zone need from `slot` on.
    pub fn control_of(&self, zone: &Zone, slot: u64, n: u64) -> Vec<(u64, u64)> {
        let first = zone.id(slot);
        let mut ranges = vec![(self.life(first), n * 8), (self.meta(first, 0), n * META_WORDS * 8)];
        let (w, last) = (slot / 64, (slot + n - 1) / 64);
        for h in zone.hints {
            ranges.push((h.bits + w * 8, (last - w + 1) * 8));
            ranges.push((h.summary + w / 64 * 8, (last / 64 - w / 64 + 1) * 8));
        }
        ranges
    }

    /// Offset of an object's word.
    #[inline]
    pub fn life(&self, id: Id) -> u64 {
        self.lives + u64::from(id.0 - Id::FIRST) * 8
    }

    /// Offset of a word of an object's record.
    #[inline]
    pub fn meta(&self, id: Id, word: u64) -> u64 {
        self.metas + (u64::from(id.0 - Id::FIRST) * META_WORDS + word) * 8
    }

    /// Offset of the pin count that `seat` has for an object.
    #[inline]
    pub fn pin(&self, seat: u64, id: Id) -> u64 {
        self.pins + seat * row_bytes(self.ids) + u64::from(id.0 - Id::FIRST) * 8
    }

    /// The page of a seat's row that an object's pin lies in.
    #[inline]
    pub fn row_page(&self, id: Id) -> u64 {
        u64::from(id.0 - Id::FIRST) * 8 / PAGE
    }

    /// The objects whose counts are in a page of a row.
    pub fn ids_of_row_page(&self, page: u64) -> impl Iterator<Item = Id> + use<> {
        let first = page * (PAGE / 8);
        (first..(first + PAGE / 8).min(self.ids)).map(|index| Id(Id::FIRST + index as u32))
    }

    /// Offset of a page of a seat's row.
    pub fn row_page_offset(&self, seat: u64, page: u64) -> u64 {
        self.pins + seat * row_bytes(self.ids) + page * PAGE
    }

    /// Pages of one seat's row.
    pub fn row_pages(&self) -> u64 {
        row_bytes(self.ids) / PAGE
    }

    pub fn row_map_words(&self) -> u64 {
        row_map_words(self.ids)
    }

    /// Offset of the word of `seat`'s row map that has the bit of `page`.
    pub fn row_map(&self, seat: u64, page: u64) -> u64 {
        self.row_maps + (seat * self.row_map_words() + page / 64) * 8
    }

    pub fn seat_word(&self, seat: u64) -> u64 {
        self.seat_words + seat * 8
    }

    pub fn seat_info(&self, seat: u64, word: u64) -> u64 {
        self.seats + (seat * SEAT_WORDS + word) * 8
    }

    pub fn permit(&self, index: u64) -> u64 {
        self.permits + index * 8
    }

    #[inline]
    pub fn bucket(&self, index: u32) -> u64 {
        self.buckets + u64::from(index) * 8
    }
}

/// 64-bit words for `bits` bits.
pub fn words(bits: u64) -> u64 {
    bits.div_ceil(64)
}

/// A seat's row of pin counts, in whole pages: no two seats share one.
fn row_bytes(ids: u64) -> u64 {
    (ids * 8).next_multiple_of(PAGE)
}

/// One bit for each page of a row.
fn row_map_words(ids: u64) -> u64 {
    words(row_bytes(ids) / PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Params {
        Params {
            capacity: 1 << 16,
            seats: 3,
            permits: 2,
            buckets: 4,
            max_slots: 64,
            shared: PAGE,
            shared_top: 9,
            stay: Stay::Kept,
            sums: Sums::None,
        }
    }

    /// No two things overlap, ids and offsets go back and forth, for tiny and huge arenas.
    #[test]
    fn the_layout_has_no_overlaps() {
        for p in [
            small(),
            Params::standard(1, 2, 1),
            Params::standard(1 << 36, 256, 64),
            Params::standard(MAX_CAPACITY, SEATS, 1024),
        ] {
            let g = Geometry::new(p).expect("valid");
            let regions = [
                g.seat_words,
                g.seats,
                g.permits,
                g.buckets,
                g.row_maps,
                g.heads,
                g.lives,
                g.metas,
                g.pins,
                g.zones[0].base,
            ];
            assert!(regions.is_sorted() && g.zones[0].base < g.data && g.data < g.total);
            for (guard, start) in g.guards.iter().zip(regions) {
                assert_eq!(guard + PAGE, start, "a guard page lies before each region");
            }
            let last = g.zones.last().expect("zones");
            assert_eq!(last.size(), p.capacity);
            assert!(last.hints[1].bits + words(last.slots) * 8 <= g.lives - PAGE, "hints end before the lives");
            let mut end = g.zones[0].base;
            for z in &g.zones {
                assert!(z.base >= end && z.base.is_multiple_of(z.size().clamp(PAGE, 1 << 21)), "{z:?}");
                end = z.offset(z.slots);
                for slot in [0, z.slots - 1] {
                    let (back, s) = g.slot(z.id(slot)).expect("an id");
                    assert_eq!((back.index, s), (z.index, slot));
                    for off in [z.offset(slot), z.offset(slot) + z.size() - 1] {
                        assert_eq!(g.locate(off), Some(z.id(slot)));
                    }
                }
                let fits = g.zone(z.set, z.size()).expect("a zone");
                assert_eq!(fits.index, z.index);
            }
            assert_eq!(g.locate(g.zones[0].base - 1), None);
            assert!(g.slot(Id(Id::FIRST - 1)).is_none());
            assert!(g.slot(Id(Id::FIRST + g.ids as u32)).is_none());
            let top = Id(Id::FIRST + g.ids as u32 - 1);
            for seat in [0, p.seats - 1] {
                let page = g.row_page(top);
                assert!(page / 64 < g.row_map_words());
                let off = g.row_page_offset(seat, page);
                assert!((off..off + PAGE).contains(&g.pin(seat, top)));
            }
            assert!(g.pin(p.seats - 1, top) < g.zones[0].base);
        }
    }

    /// Numbers that no arena can have are refused in words.
    #[test]
    fn impossible_numbers_are_refused() {
        let bad = [
            Params { capacity: 3 << 20, ..small() },
            Params { capacity: MAX_CAPACITY * 2, ..small() },
            Params { seats: 0, ..small() },
            Params { seats: SEATS + 1, ..small() },
            Params { permits: 1025, ..small() },
            Params { buckets: 1 << 17, ..small() },
            Params { shared_top: 64, ..small() },
        ];
        for p in bad {
            assert!(matches!(Geometry::new(p), Err(Error::Invalid(_))), "{p:?}");
        }
    }
}
