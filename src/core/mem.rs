//! The one door to shared words, addressed by offset.
//!
//! All control state is 64-bit words at 8-aligned offsets from the segment's base. The protocols
//! are generic over these traits and never see a pointer, so that the same code runs on the mapping, on a step-counting copy that kills, stops or races it,
//! and under model checkers. [`Mapped`] is the production implementation.
//!
//! The segment is three mappings of one file: the control region (read-write in every
//! participant), the data region read-only, and, in writers, the data region once more read-write.
//! A word of the data region is loaded through the read-only mapping and stored through the alias.
#![allow(unsafe_code, reason = "turns offsets into atomics of the mapping")]

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

/// Loads shared words.
pub trait Load {
    /// The word at `off` bytes. Panics if `off` is not 8-aligned or lies outside the segment.
    #[track_caller]
    fn load(&self, off: u64, order: Ordering) -> u64;
    /// Where the part of the segment that is in memory, and has `off` in it, ends: at `end` at the latest. A load beyond that
    /// would put a page there.
    fn in_memory_until(&self, _off: u64, end: u64) -> u64 {
        end
    }
}

/// Changes shared words. `cas` fails with the value found, loaded with [`Ordering::SeqCst`] if that was asked for,
/// else with [`Ordering::Acquire`].
pub trait Mem: Load {
    /// Stores a word.
    #[track_caller]
    fn store(&self, off: u64, value: u64, order: Ordering);
    /// Exact-value compare-and-swap.
    #[track_caller]
    fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Result<u64, u64>;
    /// Adds with wrapping and returns what was there before.
    #[track_caller]
    fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> u64;
    /// Backs off inside a retry loop.
    fn spin(&self) {
        std::hint::spin_loop();
    }
}

/// The mappings of a segment. Unmapping is their owner's business ([`crate::core::segment`]).
#[derive(Debug)]
pub struct Mapped {
    control: *mut u8,
    control_len: u64,
    control_words: u64,
    /// The address that offset 0 would have if the data region's mapping reached down to it.
    data: *const u8,
    total: u64,
    alias: AtomicPtr<u8>,
}

// SAFETY: the mapped bytes are shared between processes anyway; all access below is atomic.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// # Safety
    ///
    /// * `control` is page-aligned and mapped for `control_len` bytes, writable unless nothing but
    ///   [`Load`] is used;
    /// * `data` is page-aligned and mapped readable for `total - control_len` bytes;
    /// * both stay mapped for as long as this value is used, and nobody makes references to the
    ///   words of the control region.
    pub unsafe fn new(control: *mut u8, control_len: u64, data: *const u8, total: u64) -> Mapped {
        assert!(control_len.is_multiple_of(8) && control_len <= total, "whole words");
        let data = data.wrapping_sub(control_len as usize);
        let control_words = control_len / 8;
        Mapped { control, control_len, control_words, data, total, alias: AtomicPtr::default() }
    }

    /// Makes stores to the data region possible.
    ///
    /// # Safety
    ///
    /// `alias` maps the same bytes as `data`, readable and writable, for as long as `self` is used.
    pub unsafe fn set_alias(&self, alias: *mut u8) {
        self.alias.store(alias, Ordering::Release);
    }

    /// Whether [`Mapped::set_alias`] was called.
    pub fn is_writable(&self) -> bool {
        !self.alias.load(Ordering::Acquire).is_null()
    }

    /// The word at `off` if that is one of the control region: one comparison for what nearly all are. An offset that is not
    /// 8-aligned has a bit set at the top when it is rotated.
    #[inline(always)]
    fn control(&self, off: u64) -> Option<&AtomicU64> {
        (off.rotate_right(3) < self.control_words).then(|| {
            let word = self.control.wrapping_add(off as usize).cast::<u64>();
            // SAFETY: `off` is 8-aligned and in the control region (checked), and the mapping is page-aligned; it stays
            // mapped while `self` is used, and all access to the word is atomic (contract of `new`).
            unsafe { AtomicU64::from_ptr(word) }
        })
    }

    #[inline(always)]
    #[track_caller]
    fn check_data(&self, off: u64) {
        let is_word = off.rotate_right(3) < self.total / 8 && off >= self.control_len;
        assert!(is_word, "offset {off:#x} is no word of this segment");
    }

    #[inline(always)]
    #[track_caller]
    fn writable(&self, off: u64) -> &AtomicU64 {
        if let Some(word) = self.control(off) {
            return word;
        }
        self.check_data(off);
        let alias = self.alias.load(Ordering::Acquire);
        assert!(!alias.is_null(), "a store to the data region needs a writer's mapping");
        let word = alias.wrapping_add((off - self.control_len) as usize).cast::<u64>();
        // SAFETY: `off` is 8-aligned and inside the data region (checked), and the mapping is page-aligned; it stays mapped
        // while `self` is used, and all access to the word is atomic (contract of `set_alias`).
        unsafe { AtomicU64::from_ptr(word) }
    }
}

impl Load for Mapped {
    #[inline(always)]
    #[track_caller]
    fn load(&self, off: u64, order: Ordering) -> u64 {
        if let Some(word) = self.control(off) {
            return word.load(order);
        }
        self.check_data(off);
        let word = self.data.wrapping_add(off as usize).cast::<u64>().cast_mut();
        // SAFETY: as in `writable`; only loads are made through it.
        let word = unsafe { AtomicU64::from_ptr(word) };
        // On read-only pages std defines relaxed loads only; fences make up for the rest.
        if order == Ordering::SeqCst {
            fence(Ordering::SeqCst);
        }
        let value = word.load(Ordering::Relaxed);
        if order != Ordering::Relaxed {
            fence(Ordering::Acquire);
        }
        value
    }
}

impl Mem for Mapped {
    #[inline(always)]
    fn store(&self, off: u64, value: u64, order: Ordering) {
        self.writable(off).store(value, order);
    }

    #[inline(always)]
    fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        let refused = if order == Ordering::SeqCst { order } else { Ordering::Acquire };
        self.writable(off).compare_exchange(old, new, order, refused)
    }

    #[inline(always)]
    fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> u64 {
        self.writable(off).fetch_add(value, order)
    }
}
