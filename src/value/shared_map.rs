//! A map of its own for bytes that this process may write now: for views that nobody can take back.
//!
//! The views of some languages (numpy's, say) outlive the block in which they may be written through. They look through a
//! map of their own, which changes under them:
//!
//! * M7: the map is shared with the arena while its owner may write those bytes, and no longer. Before a draft is published,
//!   or rows are given back, one kernel call (`mmap` with `MAP_FIXED`) puts another map in its place: a private one of the
//!   same bytes, with the pin that M6 asks for, or one of zeros. Whoever writes through an old view then writes to pages of
//!   this process alone.
//! * If the kernel refuses that call, the map stays shared: the draft must not be published, nor its memory given back.
//!
//! A death leaves nothing: maps are the process's own, and the draft or the lease is settled as every other one.
#![allow(unsafe_code, reason = "replaces a map in place")]

use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use crate::value::unchecked::Keeper;

/// Bytes that are mapped once more. They never move while it lives.
pub struct SharedMap {
    /// `None`: there are no bytes. Declared first: unmapped before the pin is dropped.
    map: Option<MmapMut>,
    /// Where the bytes lie in the file, while they are shared.
    file: Option<(OwnedFd, u64)>,
    /// Keeps the pages of a private map. Only kept.
    keeper: Option<Arc<dyn Keeper>>,
}

impl SharedMap {
    /// Maps `len` bytes of the arena's file from `offset` on.
    ///
    /// # Safety
    ///
    /// * These bytes lie in the file for ever, their pages are in memory, and this process alone may write and read them until
    ///   the map is made private or cleared, or is dropped.
    pub unsafe fn new(file: OwnedFd, offset: u64, len: usize) -> std::io::Result<SharedMap> {
        if len == 0 {
            return Ok(SharedMap { map: None, file: None, keeper: None });
        }
        let mut options = MmapOptions::new();
        // The pages are there: their entries are made at once, instead of by a fault each.
        options.offset(offset).len(len).populate();
        // SAFETY: the caller's promise is what memmap2 asks for: nobody else changes or cuts these bytes.
        let map = unsafe { options.map_mut(&file) }?;
        Ok(SharedMap { map: Some(map), file: Some((file, offset)), keeper: None })
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// From now on what is written stays in this process, and the bytes are otherwise those that `keeper` pins. Without a
    /// keeper all bytes are 0 from now on.
    ///
    /// On error nothing changed: the map is shared still.
    pub fn detach(&mut self, keeper: Option<Arc<dyn Keeper>>) -> std::io::Result<()> {
        let (Some(map), Some((file, offset))) = (&mut self.map, &self.file) else { return Ok(()) };
        const PAGE: usize = 4096;
        let first = map.as_mut_ptr();
        let before = first.addr() % PAGE;
        let start = NonZeroUsize::new(first.addr() - before);
        let len = NonZeroUsize::new(before + map.len()).expect("there are bytes");
        let (protection, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        let flags = flags | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        match &keeper {
            Some(_) => {
                let at = (*offset - before as u64) as i64;
                // SAFETY: exactly the pages of `map`, which we own and have borrowed mutably; the new map has their length and
                // may be read and written, so that `map` stays true of it. M6, M7: the keeper pins the bytes.
                unsafe { mmap(start, len, protection, flags, file, at) }?;
            }
            None => {
                // SAFETY: as above; nothing else keeps pages of a map without a file.
                unsafe { mmap_anonymous(start, len, protection, flags) }?;
            }
        }
        self.file = None;
        self.keeper = keeper;
        Ok(())
    }

    /// Whether what is written is seen by others, or will be.
    pub fn is_shared(&self) -> bool {
        self.file.is_some()
    }
}

impl fmt::Debug for SharedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.map.as_ref().map_or(0, |map| map.len());
        let pinned = if self.keeper.is_some() { ", pinned" } else { "" };
        write!(f, "SharedMap({bytes} bytes, {}{pinned})", if self.is_shared() { "shared" } else { "private" })
    }
}
