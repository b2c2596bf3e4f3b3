//! Who keeps what, and what the arena has in memory, by its own words. Read only.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::core::cell::Ring;
use crate::core::geometry::{DIRTY, HEAD_WORDS, PAGE, SEAT_WORDS, Set, Zone, meta};
use crate::core::mem::Load;
use crate::core::sys::Sys;
use crate::core::tables::{PartEntry, Tables};
use crate::core::word::{Id, Life, Owner, State};
use crate::error::HolderBytes;

/// What one participant keeps.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub pins: u64,
    /// Bytes in memory of objects it pins.
    pub pinned_bytes: u64,
    /// Of those, bytes of objects that nothing else keeps.
    pub only_pinned_bytes: u64,
    pub drafts: u64,
    pub draft_bytes: u64,
    pub permits: u32,
    /// Its leases: of which object, and which of that one's.
    pub leases: Vec<(Id, u64)>,
}

/// Which parts of an object are counted with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    /// Those that go with it.
    Own,
    SharedToo,
}

impl<E: Load + Sys> Tables<E> {
    /// Bytes in memory that are nobody's values: names, lists, words, records, pins.
    pub fn records_bytes(&self) -> u64 {
        let shared = self.geo.zones.iter().filter(|zone| zone.set == Set::Shared);
        shared.map(|zone| self.committed(zone).bytes).sum::<u64>() + self.control_bytes().start()
    }

    /// Bytes of the control region that are in memory, by what its own words say. The two ends
    /// differ by what was being put in memory when somebody died: it is used by the next who needs it.
    pub fn control_bytes(&self) -> std::ops::RangeInclusive<u64> {
        let mut sure = std::collections::BTreeSet::new();
        let mut maybe = std::collections::BTreeSet::new();
        let g = &self.geo;
        let pages = |off: u64, len: u64| off / PAGE..(off + len).div_ceil(PAGE);
        sure.extend(pages(0, 2 * PAGE));
        sure.extend(pages(g.seat_words, g.params.seats * 8));
        sure.extend(pages(g.seats, g.params.seats * SEAT_WORDS * 8));
        sure.extend(pages(g.permits, g.params.permits * 8));
        sure.extend(pages(g.buckets, g.params.buckets * 8));
        sure.extend(pages(g.heads, g.zones.len() as u64 * HEAD_WORDS * 8));
        for zone in &g.zones {
            let used = self.used(zone);
            if used != 0 {
                sure.extend(g.control_of(zone, 0, used).into_iter().flat_map(|(off, len)| pages(off, len)));
            }
            if self.env.load(zone.extending(), Relaxed) == used + 1 && used < zone.slots {
                let n = zone.step().min(zone.slots - used);
                maybe.extend(g.control_of(zone, used, n).into_iter().flat_map(|(off, len)| pages(off, len)));
            }
        }
        // A seat's map is in memory once the seat was taken; its row where the map says so.
        let mut rows = 0;
        for seat in 0..self.seats_used() {
            let map = pages(g.row_map(seat, 0), g.row_map_words() * 8);
            if !self.seat_was_taken(seat) {
                maybe.extend(map);
                continue;
            }
            sure.extend(map);
            rows += (0..g.row_map_words())
                .map(|w| u64::from(self.env.load(g.row_map(seat, w * 64), Relaxed).count_ones()))
                .sum::<u64>();
            maybe.extend(self.row_is_unsure(seat).then(|| g.total / PAGE + seat));
        }
        let most = sure.union(&maybe).count() as u64 + rows;
        (sure.len() as u64 + rows) * PAGE..=most * PAGE
    }

    /// What each participant keeps.
    pub fn kept(&self) -> HashMap<Owner, Kept> {
        let mut all: HashMap<Owner, Kept> = HashMap::new();
        for index in 0..self.geo.params.permits {
            let word = Life(self.env.load(self.geo.permit(index), Acquire));
            if let Some(owner) = word.owner() {
                all.entry(owner).or_default().permits += 1;
            }
        }
        for (id, leases) in self.locks() {
            for (index, owner) in self.lessees(leases) {
                all.entry(owner).or_default().leases.push((id, index));
            }
        }
        let seats: Vec<_> = (0..self.seats_used()).map(|s| (s, self.seat(s))).filter(|(_, w)| w.may_pin()).collect();
        for zone in &self.geo.zones {
            for slot in 0..self.used(zone) {
                let id = zone.id(slot);
                let word = self.life(id, Acquire);
                if word == Life::FREE {
                    continue;
                }
                let bytes = |which| self.bytes_with_parts(zone, id, word, which);
                if let Some(State::Draft(t)) = word.state() {
                    let kept = all.entry(t.owner()).or_default();
                    kept.drafts += 1;
                    kept.draft_bytes = kept.draft_bytes.saturating_add(bytes(Parts::Own));
                }
                let page = self.geo.row_page(id);
                for (seat, state) in &seats {
                    let pins = self.pins_of(*seat, page, id);
                    if pins != 0 && zone.set == Set::Payload {
                        let owner = Owner { seat: *seat as u16, incarnation: state.incarnation() };
                        let kept = all.entry(owner).or_default();
                        // A damaged count may be any.
                        kept.pins = kept.pins.saturating_add(pins);
                        kept.pinned_bytes = kept.pinned_bytes.saturating_add(bytes(Parts::SharedToo));
                        if word == Life::LOOSE {
                            kept.only_pinned_bytes = kept.only_pinned_bytes.saturating_add(bytes(Parts::Own));
                        }
                    }
                }
            }
        }
        all
    }

    /// The participants that keep the most memory that no name keeps, largest first.
    pub fn largest_holders(&self) -> Vec<HolderBytes> {
        let kept = self.kept();
        let occupants = self.occupants().unwrap_or_default().into_iter();
        let holder = |o: crate::core::seat::Occupant| {
            let kept = kept.get(&o.owner)?;
            let bytes = kept.only_pinned_bytes + kept.draft_bytes;
            let stopped = o.process.is_stopped();
            (bytes != 0).then_some(HolderBytes { pid: o.process.pid, bytes, stopped })
        };
        let mut all: Vec<HolderBytes> = occupants.filter_map(holder).collect();
        all.sort_by_key(|h| std::cmp::Reverse(h.bytes));
        all.truncate(3);
        all
    }

    /// Bytes in memory of an object and of its parts.
    fn bytes_with_parts(&self, zone: &Zone, id: Id, word: Life, which: Parts) -> u64 {
        let own = |z: &Zone, id| (self.meta(id, meta::COMMITTED) & !DIRTY).min(z.size());
        let mut bytes = own(zone, id);
        let whole = matches!(word.state(), Some(State::Home(_) | State::Loose | State::Draft(_)));
        if whole && zone.set == Set::Payload {
            bytes = bytes.saturating_add(self.sum_parts(id, 4, which, &|part| own(self.slot(part).0, part)));
        }
        bytes
    }

    /// Payload bytes of an object itself: at most what its slot has room for.
    pub fn len(&self, id: Id) -> u64 {
        self.meta(id, meta::LEN).min(self.slot(id).0.size())
    }

    /// Payload bytes of the parts of an object, shared ones included, `depth` levels down.
    pub fn bytes_of_parts(&self, id: Id, depth: u32) -> u64 {
        self.sum_parts(id, depth, Parts::SharedToo, &|part| self.len(part))
    }

    fn sum_parts(&self, id: Id, depth: u32, which: Parts, of: &dyn Fn(Id) -> u64) -> u64 {
        // Only what says itself that it is a part: damage must not send us round in circles.
        let is_part = |entry: &PartEntry| match entry.is_held() {
            true => which == Parts::SharedToo && self.holds(id, entry.part()),
            false => self.life(entry.part(), Acquire) == Life::part(id),
        };
        let parts = self.glimpse_parts(id).into_iter().filter(is_part).map(PartEntry::part);
        let below = |part| if depth > 1 { self.sum_parts(part, depth - 1, which, of) } else { 0 };
        // Damage may count a part any number of times.
        parts.fold(0, |sum, part| sum.saturating_add(of(part)).saturating_add(below(part)))
    }

    /// How many slots of a zone are not free.
    pub fn in_use(&self, zone: &Zone) -> u64 {
        let free = |slot: &u64| self.life(zone.id(*slot), Relaxed) == Life::FREE;
        (0..self.used(zone)).filter(|slot| !free(slot)).count() as u64
    }

    /// Bytes of what a feed keeps until something is appended, what items share counted once. What is replaced meanwhile
    /// is left out.
    pub fn bytes_kept(&self, ring: Ring) -> u64 {
        let mut kept = HashMap::new();
        for cell in (0..ring.cells).map(|cell| ring.cell(cell)) {
            let place = self.place(cell);
            let Some(id) = place.object().and_then(|id| self.object(id).ok()) else { continue };
            let parts = self.glimpse_parts(id).into_iter().map(PartEntry::part);
            let bytes = |id: Id| (id, self.len(id));
            let of_item: Vec<_> = parts.chain([id]).map(bytes).collect();
            if self.place(cell) == place {
                kept.extend(of_item);
            }
        }
        kept.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
    }
}
