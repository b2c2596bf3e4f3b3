//! The allocator: one compare-and-swap on an object's word. Everything else is a hint.
//!
//! A zone is an array of equal slots in a sparse file; nothing is split, merged or moved, so there is no
//! external fragmentation, and the tail of a slot that nobody touches costs nothing.
//!
//! ```text
//! alloc   find a slot that may be free (private stash, warm bits, cold bits, fresh slots, a full look)
//!         CAS life FREE -> DRAFT(me, t)            a draft: ours alone
//!         commit its pages up to the length         before they are touched, or NoSpace
//! free    (by the DYING owner) keep the pages or punch them; CAS DYING -> FREE; set its bit
//! ```
//!
//! The word is the truth. Bits, stash and the count of warm bytes are placement hints (after LLFree's
//! "lower is truth, upper is placement", ATC'23): they may lie, and recovery rebuilds them.
//!
//! # Invariants
//!
//! * Z1: slots at and above the zone's `used` mark are FREE and were never touched; their words and
//!   records may not be in memory. `used` rises after those pages were committed and touched, and never falls. A mark that tells of
//!   slots whose words are not in memory is damage: it is not believed, and the next extension makes it good.
//! * Z2: the clean part of `committed` tells of pages that are in memory; it is raised after the
//!   commit and set to 0 before a punch, both by the slot's owner. So it can only be too low.
//! * Z3: while it may be too low, DIRTY is set, and whoever frees or trims the slot punches all of it,
//!   never a remembered length.
//! * Z4: a page of a sub-page zone is punched only by one who owns every slot in it. So a neighbour's
//!   clean `committed`, read by the owner of a slot in the page, proves that the page is there.
//! * Z5: pages of shared zones are never given back: lists and names are read without a pin, and a
//!   late reader that touched a hole would put a page there that nobody counts, or fault on a full
//!   file system.
//!
//! # Death
//!
//! Killed after the claim: DRAFT(dead), settled by recovery like any draft, DIRTY if a commit was under
//! way. Killed between raising `used` and setting bits: the slots are found by the full look. Killed
//! while trimming: as a draft.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::core::geometry::{DIRTY, Hints, PAGE, Set, Zone, header, meta, words};
use crate::core::mem::Load;
use crate::core::seat::{Core, Env};
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Life, Ticket};
use crate::error::{Counted, Error, Result};

/// An object that is ours alone: its word is DRAFT with this ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    pub id: Id,
    pub ticket: Ticket,
}

impl Draft {
    pub fn life(self) -> Life {
        Life::draft(self.ticket)
    }
}

/// Zones of smaller slots keep a private stash; larger ones share all hints, because what one
/// process frees warm, another should find.
const STASH_BELOW: u64 = 1 << 16;
/// A shorter tail than this is not worth a system call.
const TAIL: u64 = 1 << 16;
/// From so many bytes on, the kernel is asked for room before it is asked for memory.
const ASK_FROM: u64 = 1 << 20;
const WARM: usize = 0;
const COLD: usize = 1;

impl<E: Load> Tables<E> {
    /// Bytes of a zone that its slots say are in memory. With `dirty` slots the kernel may count more.
    pub fn committed(&self, zone: &Zone) -> Committed {
        let mut sum = Committed::default();
        let used = self.used(zone);
        let mut page_counted = None;
        for slot in 0..used {
            let id = zone.id(slot);
            let word = self.meta(id, meta::COMMITTED);
            sum.dirty += word & DIRTY;
            let bytes = (word & !DIRTY).min(zone.size().max(PAGE));
            if bytes == 0 {
                continue;
            }
            let page = (zone.offset(slot) - zone.base) / PAGE;
            let bytes = match zone.sub_page() {
                true if page_counted == Some(page) => 0,
                true => PAGE,
                false => bytes.next_multiple_of(PAGE),
            };
            page_counted = Some(page);
            sum.bytes += bytes;
            if self.life(id, Relaxed) == Life::FREE {
                sum.warm += bytes;
            }
        }
        sum
    }
}

/// Bytes that a slot's word says are in memory: no more than there are in the slot, and whole pages where it has some.
fn bytes_told(zone: &Zone, word: u64) -> u64 {
    let bytes = (word & !DIRTY).min(zone.size());
    if zone.sub_page() { bytes } else { bytes & !(PAGE - 1) }
}

/// What a zone has in memory by its own words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Committed {
    pub bytes: u64,
    /// Of those, in slots that are free.
    pub warm: u64,
    /// Slots that may have more than they say.
    pub dirty: u64,
}

impl<E: Env> Core<E> {
    /// A draft of `len` bytes, its pages in memory. Contents are arbitrary. On error nothing is kept.
    pub fn alloc(&self, kind: Kind, len: u64) -> Result<Draft> {
        let too_large = || Error::TooLarge {
            what: "bytes of one object",
            asked: len,
            most: self.geo.params.capacity,
            hint: "publish it in pieces, or create the arena with a larger capacity",
        };
        let footprint = self.geo.footprint(kind.set(), len);
        let zone = self.geo.zone(kind.set(), footprint).ok_or_else(too_large)?;
        let (zone, draft) = self.claim_any(zone)?;
        if let Err(e) = self.commit(zone, draft.id, footprint) {
            self.give_up(draft);
            return Err(e);
        }
        // First: what was aimed at for another kind means something else for this one.
        self.set_meta(draft.id, meta::TARGET, 0);
        self.set_kind(draft.id, kind);
        self.set_meta(draft.id, meta::LEN, len);
        self.set_meta(draft.id, meta::ROWS, 0);
        self.set_sum(draft, 0);
        Ok(draft)
    }

    /// Says what the checksum of our draft's bytes is, 0: that there is none. Where objects have none, nothing is done.
    pub fn set_sum(&self, draft: Draft, sum: u64) {
        if let Some(at) = self.geo.sum_at(draft.id, self.meta(draft.id, meta::LEN)) {
            self.env.store(at, sum, Relaxed);
        }
    }

    /// A draft that never was anything goes straight back: no pins, parts or places know it.
    fn give_up(&self, draft: Draft) {
        let dying = Life::dying(draft.ticket);
        if self.turn_life(draft.id, draft.life(), dying) {
            self.free(draft.id, dying);
        }
    }

    fn claim(&self, zone: &Zone, slot: u64) -> Option<Draft> {
        if slot >= self.used(zone) {
            return None;
        }
        let id = zone.id(slot);
        if self.life(id, Relaxed) != Life::FREE {
            return None;
        }
        let draft = Draft { id, ticket: self.ticket() };
        self.turn_life(id, Life::FREE, draft.life()).then_some(draft)
    }

    /// A slot of the zone; of a shared one that is full, of the next larger ones.
    fn claim_any<'g>(&'g self, zone: &'g Zone) -> Result<(&'g Zone, Draft)> {
        let zones = std::iter::successors(Some(zone), |zone| self.geo.next_shared(zone));
        for zone in zones.clone() {
            if let Some(draft) = self.claim_hinted(zone)? {
                return Ok((zone, draft));
            }
        }
        // Hints found nothing and every slot is in use at some time: look at each word.
        let look = |zone: &'g Zone| (0..self.used(zone)).find_map(|slot| Some((zone, self.claim(zone, slot)?)));
        zones.into_iter().find_map(look).ok_or(Error::Limit { what: Counted::Objects, limit: zone.slots })
    }

    /// A slot that the hints tell of, or a fresh one. `None`: there seems to be none.
    fn claim_hinted(&self, zone: &Zone) -> Result<Option<Draft>> {
        loop {
            while let Some(slot) = self.candidate(zone) {
                if let Some(draft) = self.claim(zone, slot) {
                    return Ok(Some(draft));
                }
            }
            if !self.extend(zone)? {
                return Ok(None);
            }
        }
    }

    /// A slot that may be free.
    fn candidate(&self, zone: &Zone) -> Option<u64> {
        if zone.size() < STASH_BELOW
            && let Some(slot) = self.stash[zone.index].pop()
        {
            return Some(slot);
        }
        let [warm, cold] = zone.hints;
        self.take_hint(zone, warm).or_else(|| self.take_hint(zone, cold))
    }

    fn take_hint(&self, zone: &Zone, hints: Hints) -> Option<u64> {
        let in_use = words(self.used(zone));
        for s in 0..words(in_use) {
            let summary = hints.summary + s * 8;
            loop {
                let sum = self.env.load(summary, Acquire);
                if sum == 0 {
                    break;
                }
                let w = s * 64 + u64::from(sum.trailing_zeros());
                if w >= in_use {
                    break;
                }
                let off = hints.bits + w * 8;
                let bits = self.env.load(off, Acquire);
                if bits == 0 {
                    let _ = self.env.cas(summary, sum, sum & (sum - 1), SeqCst);
                    // A bit set meanwhile would be hidden: show it again.
                    if self.env.load(off, SeqCst) != 0 {
                        self.set_bit(summary, w % 64);
                    }
                } else if self.env.cas(off, bits, bits & (bits - 1), SeqCst).is_ok() {
                    return Some(w * 64 + u64::from(bits.trailing_zeros()));
                }
            }
        }
        None
    }

    fn set_bit(&self, off: u64, bit: u64) {
        let mut word = self.env.load(off, Acquire);
        while word >> bit & 1 == 0 {
            match self.env.cas(off, word, word | 1 << bit, SeqCst) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    fn give_hint(&self, zone: &Zone, slot: u64, which: usize) {
        let hints = zone.hints[which];
        let w = slot / 64;
        self.set_bit(hints.bits + w * 8, slot % 64);
        self.set_bit(hints.summary + w / 64 * 8, w % 64);
    }

    /// Sets the bits of a free slot that no hint tells of.
    pub fn mend_hint(&self, zone: &Zone, slot: u64) {
        let w = slot / 64;
        let shown = |h: &Hints| self.env.load(h.bits + w * 8, Relaxed) >> (slot % 64) & 1 != 0;
        if let Some(hints) = zone.hints.iter().find(|h| shown(h)) {
            // Who died between the two bits.
            self.set_bit(hints.summary + w / 64 * 8, w % 64);
        } else {
            let warm = self.meta(zone.id(slot), meta::COMMITTED) != 0;
            self.give_hint(zone, slot, if warm { WARM } else { COLD });
        }
    }

    /// Z1: makes more slots usable. `false`: all are.
    fn extend(&self, zone: &Zone) -> Result<bool> {
        let (told, used) = (self.told(zone), self.used(zone));
        if used == zone.slots {
            return Ok(false);
        }
        let n = zone.step().min(zone.slots - used);
        // Says that pages beyond `used` may be in memory, until `used` passes them.
        self.raise(zone.extending(), used + 1);
        for (off, len) in self.geo.control_of(zone, used, n) {
            self.env.commit(off, len).map_err(|_| self.no_space(len))?;
            // Before they are touched, the kernel takes committed pages for holes: see `Tables::used`.
            for page in (off / PAGE..(off + len).div_ceil(PAGE)).map(|page| page * PAGE) {
                self.env.load(page.max(off), Relaxed);
            }
        }
        // A mark that told of more than there is, is made good.
        if told >= used && self.env.cas(zone.head, told, used + n, SeqCst).is_ok() {
            for slot in used..used + n {
                self.give_hint(zone, slot, COLD);
            }
        }
        Ok(true)
    }

    /// Z2: puts the first `len` bytes of our slot in memory.
    fn commit(&self, zone: &Zone, id: Id, len: u64) -> Result<()> {
        let (_, slot) = self.slot(id);
        let at = self.meta(id, meta::COMMITTED);
        let have = bytes_told(zone, at);
        let want = if zone.sub_page() { zone.size() } else { len.max(1).next_multiple_of(PAGE) };
        if !zone.sub_page() && self.warm_counts(zone) && at != 0 {
            self.count_warm(have.wrapping_neg());
        }
        if have >= want {
            if at == have && self.warm_counts(zone) && have - want >= TAIL {
                self.trim_tail(zone.offset(slot), id, want, have);
            }
            return Ok(());
        }
        if zone.sub_page() && self.neighbour_committed(zone, slot) {
            self.set_meta(id, meta::COMMITTED, want);
            return Ok(());
        }
        let start = zone.offset(slot);
        let (from, to) = if zone.sub_page() {
            (start & !(PAGE - 1), (start & !(PAGE - 1)) + PAGE)
        } else {
            (start + have, start + want)
        };
        self.admit(to - from)?;
        self.set_meta(id, meta::COMMITTED, have | DIRTY);
        if self.env.commit(from, to - from).is_err() {
            return Err(self.no_space(to - from));
        }
        // Others may have committed at the same time; the limit holds all the same.
        if self.env.in_memory() > self.limit() {
            return Err(self.no_space(to - from));
        }
        self.set_meta(id, meta::COMMITTED, want);
        Ok(())
    }

    /// Pages beyond a shorter tenant are kept while there is plenty of room for warm memory only:
    /// punching them each time costs more than it saves (measured; see ARCHITECTURE.md).
    fn trim_tail(&self, start: u64, id: Id, want: u64, have: u64) {
        let budget = self.env.load(header::WARM_LIMIT, Relaxed);
        if self.env.load(header::WARM, Relaxed) > budget / 4 * 3 {
            self.set_meta(id, meta::COMMITTED, want | DIRTY);
            if self.env.punch(start + want, have - want) {
                self.set_meta(id, meta::COMMITTED, want);
            }
        }
    }

    /// Z4: whether a slot in the same page proves that the page is in memory.
    fn neighbour_committed(&self, zone: &Zone, slot: u64) -> bool {
        let per_page = PAGE / zone.size();
        let first = slot / per_page * per_page;
        let last = (first + per_page).min(self.used(zone));
        (first..last).filter(|s| *s != slot).any(|s| {
            let word = self.meta(zone.id(s), meta::COMMITTED);
            word != 0 && word & DIRTY == 0
        })
    }

    fn admit(&self, more: u64) -> Result<()> {
        if self.env.in_memory().saturating_add(more) > self.limit() {
            return Err(self.no_space(more));
        }
        // The kernel would fill the file system before it says so, and everybody else would be refused meanwhile.
        if more >= ASK_FROM && self.env.room().0 < more {
            return Err(self.no_space(more));
        }
        Ok(())
    }

    /// Bytes that allocations may find, by the hint of what freed slots keep.
    pub fn free_bytes(&self) -> u64 {
        let (room, _) = self.env.room();
        let warm = self.env.load(header::WARM, Relaxed) as i64;
        self.limit().saturating_sub(self.env.in_memory()).min(room).saturating_add(warm.max(0) as u64)
    }

    fn warm_counts(&self, zone: &Zone) -> bool {
        zone.set == Set::Payload && !zone.sub_page()
    }

    fn count_warm(&self, change: u64) -> u64 {
        self.env.fetch_add(header::WARM, change, Relaxed).wrapping_add(change)
    }

    /// The DYING owner's last step: pages kept or given back, DYING -> FREE, the slot is offered again.
    pub fn free(&self, id: Id, dying: Life) {
        let (zone, slot) = self.slot(id);
        let word = self.meta(id, meta::COMMITTED);
        let mut have = bytes_told(zone, word);
        if word & DIRTY != 0 && !zone.sub_page() && zone.set == Set::Payload {
            self.punch(zone, id, slot);
            have = 0;
        } else if self.warm_counts(zone) && have != 0 {
            let warm = self.count_warm(have) as i64;
            let budget = self.env.load(header::WARM_LIMIT, Relaxed).min(i64::MAX as u64) as i64;
            if warm > budget {
                self.count_warm(have.wrapping_neg());
                self.punch(zone, id, slot);
                have = 0;
            }
        }
        if !self.turn_life(id, dying, Life::FREE) {
            return;
        }
        if zone.size() < STASH_BELOW && self.stash[zone.index].push(slot) {
            return;
        }
        self.give_hint(zone, slot, if have == 0 { COLD } else { WARM });
    }

    /// Z2, Z3: gives all pages of our slot back.
    fn punch(&self, zone: &Zone, id: Id, slot: u64) {
        self.set_meta(id, meta::COMMITTED, DIRTY);
        if self.env.punch(zone.offset(slot), zone.size()) {
            self.set_meta(id, meta::COMMITTED, 0);
        }
    }

    /// The private stash becomes everybody's hint again.
    pub(crate) fn return_stash(&self) {
        for (zone, stash) in self.geo.zones.iter().zip(&self.stash) {
            stash.take_all().for_each(|slot| self.give_hint(zone, slot, WARM));
        }
    }

    /// Gives back the pages of free slots, until `enough` bytes are. Returns how many were.
    pub fn trim(&self, enough: u64) -> u64 {
        let before = self.env.in_memory();
        let mut given = 0;
        // The largest first: few calls for many bytes.
        for zone in self.geo.zones.iter().rev() {
            // Z5: lists and names are read without a pin: a reader that is late must find memory there.
            if zone.set == Set::Shared {
                continue;
            }
            let used = self.used(zone);
            let step = if zone.sub_page() { PAGE / zone.size() } else { 1 };
            let mut slot = 0;
            while slot < used && given < enough {
                given += self.trim_slots(zone, slot, (slot + step).min(used), step);
                slot += step;
            }
        }
        before.saturating_sub(self.env.in_memory())
    }

    /// Z4: claims all slots of `from..to`, and punches them if that worked and there is something to.
    fn trim_slots(&self, zone: &Zone, from: u64, to: u64, whole: u64) -> u64 {
        let has_pages = |slot| self.meta(zone.id(slot), meta::COMMITTED) != 0;
        let is_free = |slot| self.life(zone.id(slot), Relaxed) == Life::FREE;
        if !(from..to).any(has_pages) || !(from..to).all(is_free) {
            return 0;
        }
        let claimed: Vec<Draft> = (from..to).map_while(|slot| self.claim(zone, slot)).collect();
        let mut given = 0;
        // Slots beyond `used` were never touched, but may be claimed at any moment once they are below it.
        let owns_all = claimed.len() as u64 == to - from && (to - from == whole || to == zone.slots);
        if owns_all {
            let had = bytes_told(zone, self.meta(zone.id(from), meta::COMMITTED));
            for d in &claimed {
                self.set_meta(d.id, meta::COMMITTED, DIRTY);
            }
            let len = (zone.size() * (to - from)).next_multiple_of(PAGE);
            if self.env.punch(zone.offset(from), len) {
                for d in &claimed {
                    self.set_meta(d.id, meta::COMMITTED, 0);
                }
                given = if zone.sub_page() { PAGE } else { had };
                if self.warm_counts(zone) {
                    self.count_warm(had.wrapping_neg());
                }
            }
        }
        for d in claimed {
            if self.turn_life(d.id, d.life(), Life::FREE) {
                let (_, slot) = self.slot(d.id);
                self.give_hint(zone, slot, if owns_all { COLD } else { WARM });
            }
        }
        given
    }

    /// Counts again what the hint of warm bytes should be.
    pub fn recount_warm(&self) {
        let warm: u64 = self.geo.zones.iter().filter(|z| self.warm_counts(z)).map(|z| self.committed(z).warm).sum();
        self.env.store(header::WARM, warm, Release);
    }
}
