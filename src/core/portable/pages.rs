//! Which pages of a segment count as memory, where no kernel says so: a bit for each, behind the segment.
//!
//! * P1: a bit is set before its page is used, and cleared after the page was zeroed, both by who owns what lies in the page.
//!   So a page without a bit is zero.
//! * P2: the summary has a bit for each word of the map that was not 0 at some time. It is set before the word, and never
//!   cleared, so that counting takes a look at what was used only.
//!
//! # Death
//!
//! There is no count that could be wrong: it is made of the bits each time. Killed while pages are given back: some are zero,
//! all have their bits, and the slot's own word is DIRTY (Z3 in `zone.rs`).

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::core::geometry::PAGE;
use crate::core::mem::Mem;

/// Where the bits lie.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    summary: u64,
    map: u64,
    words: u64,
}

impl Pages {
    /// The bits of a segment of `total` bytes, at `at` and behind.
    pub fn new(total: u64, at: u64) -> Pages {
        let words = total.div_ceil(PAGE).div_ceil(64);
        Pages { summary: at, map: at + words.div_ceil(64) * 8, words }
    }

    /// Where they end.
    pub fn end(self) -> u64 {
        self.map + self.words * 8
    }

    /// The words that have bits of the pages `first..end`: each with a mask of those.
    fn masks(first: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        (first / 64..end.div_ceil(64)).map(move |word| {
            let low = first.saturating_sub(word * 64).min(63);
            let high = (end - word * 64).min(64);
            (word, (u64::MAX << low) & (u64::MAX >> (64 - high)))
        })
    }

    fn raise(mem: &impl Mem, off: u64, mask: u64) {
        let mut word = mem.load(off, Relaxed);
        while word & mask != mask {
            match mem.cas(off, word, word | mask, SeqCst) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    /// Counts the pages of a range in.
    pub fn set(self, mem: &impl Mem, off: u64, len: u64) {
        for (word, mask) in Pages::masks(off / PAGE, (off + len).div_ceil(PAGE)) {
            Pages::raise(mem, self.summary + word / 64 * 8, 1 << (word % 64));
            Pages::raise(mem, self.map + word * 8, mask);
        }
    }

    /// Zeroes the whole pages of a range that count, and counts them no more. Nobody else uses them meanwhile.
    pub fn clear(self, mem: &impl Mem, off: u64, len: u64) {
        for (word, mask) in Pages::masks(off.div_ceil(PAGE), (off + len) / PAGE) {
            let at = self.map + word * 8;
            let mut now = mem.load(at, SeqCst);
            let mut rest = now & mask;
            while rest != 0 {
                let page = (word * 64 + u64::from(rest.trailing_zeros())) * PAGE;
                rest &= rest - 1;
                (page..page + PAGE).step_by(8).for_each(|off| mem.store(off, 0, Relaxed));
            }
            while let Err(found) = mem.cas(at, now, now & !mask, SeqCst) {
                now = found;
            }
        }
    }

    /// Bytes of all pages that count.
    pub fn bytes(self, mem: &impl Mem) -> u64 {
        let mut pages = 0;
        for s in 0..self.words.div_ceil(64) {
            let mut rest = mem.load(self.summary + s * 8, Relaxed);
            while rest != 0 {
                let word = s * 64 + u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                if word < self.words {
                    pages += u64::from(mem.load(self.map + word * 8, Relaxed).count_ones());
                }
            }
        }
        pages * PAGE
    }

    /// Where the pages from that of `off` on that count end: `off` if it does not, `end` at the latest.
    pub fn end_of_run(self, mem: &impl Mem, off: u64, end: u64) -> u64 {
        let (mut page, last) = (off / PAGE, end.div_ceil(PAGE));
        while page < last {
            let rest = mem.load(self.map + page / 64 * 8, Relaxed) >> (page % 64);
            let run = u64::from(rest.trailing_ones());
            page += run;
            if run == 0 || page % 64 != 0 {
                break;
            }
        }
        (page * PAGE).clamp(off, end)
    }

    /// Whether the page of `off` counts.
    pub fn has(self, mem: &impl Mem, off: u64) -> bool {
        let page = off / PAGE;
        mem.load(self.map + page / 64 * 8, Relaxed) >> (page % 64) & 1 != 0
    }
}

/// Words of this process, in the place of a segment's.
#[cfg(test)]
pub(super) mod words {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::core::mem::Load;

    pub struct Words(Box<[AtomicU64]>);

    impl Words {
        /// So many bytes, all 0.
        pub fn new(bytes: u64) -> Words {
            Words((0..bytes / 8).map(|_| AtomicU64::new(0)).collect())
        }

        pub fn start(&self) -> *mut u8 {
            self.0.as_ptr().cast_mut().cast()
        }
    }

    impl Load for Words {
        fn load(&self, off: u64, order: Ordering) -> u64 {
            self.0[off as usize / 8].load(order)
        }
    }

    impl Mem for Words {
        fn store(&self, off: u64, value: u64, order: Ordering) {
            self.0[off as usize / 8].store(value, order);
        }

        fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Result<u64, u64> {
            self.0[off as usize / 8].compare_exchange(old, new, order, SeqCst)
        }

        fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> u64 {
            self.0[off as usize / 8].fetch_add(value, order)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::words::Words;
    use super::*;
    use crate::core::mem::Load;

    /// Ranges that are set and cleared count as a set of pages does; what is cleared is zero.
    #[test]
    fn pages_count_as_a_set_does() {
        const PAGES: u64 = 300;
        let pages = Pages::new(PAGES * PAGE, PAGES * PAGE);
        let mem = Words::new(pages.end());
        let mut set = std::collections::BTreeSet::new();
        let mut seed = 7_u64;
        for _ in 0..500 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (first, len) = (seed >> 33, (seed >> 20) % 140 + 1);
            let first = first % PAGES;
            let end = (first + len).min(PAGES);
            if seed & 1 == 0 {
                pages.set(&mem, first * PAGE, (end - first) * PAGE);
                set.extend(first..end);
                (first..end).for_each(|page| mem.store(page * PAGE + 8, page, Relaxed));
            } else {
                pages.clear(&mem, first * PAGE, (end - first) * PAGE);
                set.retain(|page| !(first..end).contains(page));
            }
            assert_eq!(pages.bytes(&mem), set.len() as u64 * PAGE);
            let run = (first..PAGES).find(|page| !set.contains(page)).unwrap_or(PAGES);
            assert_eq!(pages.end_of_run(&mem, first * PAGE, PAGES * PAGE), run * PAGE);
            for page in 0..PAGES {
                assert_eq!(pages.has(&mem, page * PAGE), set.contains(&page));
                let word = mem.load(page * PAGE + 8, Relaxed);
                assert!(word == 0 || set.contains(&page) && word == page);
            }
        }
    }
}
