//! Bytes of a segment that are mapped once more, and become this process's own in one step.
#![allow(unsafe_code, reason = "replaces a map in place")]

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;

use memmap2::{MmapMut, MmapOptions};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};

pub use crate::core::answers::Afterwards;

/// Bytes that are mapped once more. They never move while it lives.
#[derive(Debug)]
pub struct Twin {
    map: MmapMut,
    /// Where the bytes lie in the file, while they are shared.
    file: Option<(OwnedFd, u64)>,
}

impl Twin {
    /// Maps `len` bytes of the segment's file from `offset` on; at least one.
    ///
    /// # Safety
    ///
    /// * These bytes lie in the file for ever, their pages are in memory, and this process alone may write and read them until
    ///   [`Twin::detach`] has worked, or this is dropped.
    pub unsafe fn new(file: OwnedFd, offset: u64, len: usize) -> std::io::Result<Twin> {
        let mut options = MmapOptions::new();
        // The pages are there: their entries are made at once, instead of by a fault each.
        options.offset(offset).len(len).populate();
        // SAFETY: the caller's promise is what memmap2 asks for: nobody else changes or cuts these bytes.
        let map = unsafe { options.map_mut(&file) }?;
        Ok(Twin { map, file: Some((file, offset)) })
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// From now on what is written stays in this process. On error nothing changed: the bytes are shared still.
    ///
    /// # Safety
    ///
    /// * With [`Afterwards::AsTheyAre`]: nobody changes these bytes of the segment while this lives.
    pub unsafe fn detach(&mut self, afterwards: Afterwards) -> std::io::Result<()> {
        let Some((file, offset)) = &self.file else { return Ok(()) };
        const PAGE: usize = 4096;
        let first = self.map.as_mut_ptr();
        let before = first.addr() % PAGE;
        let start = NonZeroUsize::new(first.addr() - before);
        let len = NonZeroUsize::new(before + self.map.len()).expect("there are bytes");
        let (protection, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        let flags = flags | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        match afterwards {
            Afterwards::AsTheyAre => {
                let at = (*offset - before as u64) as i64;
                // SAFETY: exactly the pages of `map`, which we own and have borrowed mutably; the new map has their length and
                // may be read and written, so that `map` stays true of it. Nobody changes what it shows (contract).
                unsafe { mmap(start, len, protection, flags, file, at) }?;
            }
            Afterwards::Zero => {
                // SAFETY: as above; nothing else keeps pages of a map without a file.
                unsafe { mmap_anonymous(start, len, protection, flags) }?;
            }
        }
        self.file = None;
        Ok(())
    }

    /// Whether what is written is seen by others, or will be.
    pub fn is_shared(&self) -> bool {
        self.file.is_some()
    }
}
