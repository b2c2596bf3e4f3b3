//! Stretches of memory: of the data region by offset, which mean the same in every process, and of this process by
//! address.

use crate::core::word::Id;

/// `len` bytes of the data region from `offset` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Counts from the start of the data region.
    pub offset: u64,
    pub len: u64,
}

impl Extent {
    /// The extent as a range of indices into a slice or buffer of the whole data region, in which it lies.
    #[inline]
    pub fn range(self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }

    /// What is behind the first `front` bytes, or `None` if there are fewer.
    #[inline]
    pub fn behind(self, front: u64) -> Option<Extent> {
        Some(Extent { offset: self.offset + front, len: self.len.checked_sub(front)? })
    }
}

/// Where the data region lies in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub start: usize,
    pub len: usize,
}

impl Addresses {
    /// Nothing lies here.
    pub const NOWHERE: Addresses = Addresses { start: 0, len: 0 };

    /// How far behind the start bytes begin, or `None` if they begin elsewhere. For most bytes, which lie elsewhere,
    /// this is one comparison.
    #[inline]
    pub fn offset_of(self, bytes: &[u8]) -> Option<u64> {
        let at = bytes.as_ptr().addr().wrapping_sub(self.start);
        (at < self.len).then_some(at as u64)
    }
}

/// Bytes that lie in an object of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub object: Id,
    /// Where they begin in the data region.
    pub offset: u64,
}
