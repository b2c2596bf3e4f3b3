//! Bytes of a segment that a process writes in a copy of its own, which goes to the segment in one moment.
//!
//! The owner of the bytes alone may write and read those of the segment meanwhile, so that nobody can tell this from a second
//! mapping: but for a forked child, which writes to a copy of its own, and for what the copy costs.
#![allow(unsafe_code, reason = "writes to a segment by address")]

use std::ptr::NonNull;

use memmap2::MmapMut;

pub use crate::core::answers::Afterwards;

/// A copy of bytes of a segment. Its bytes never move while it lives.
#[derive(Debug)]
pub struct Twin {
    map: MmapMut,
    /// The bytes of the segment, while this stands for them, and whose copy it is.
    origin: Option<NonNull<u8>>,
    process: u32,
}

// SAFETY: nobody but this has the bytes behind `origin` (contract of `new`), and it writes them in `&mut self` only.
unsafe impl Send for Twin {}
// SAFETY: as above: nothing is reached through `&self`.
unsafe impl Sync for Twin {}

impl Twin {
    /// Copies the `len` bytes at `origin`; at least one.
    ///
    /// # Safety
    ///
    /// * They are mapped, readable and writable, and this process alone may write and read them, until [`Twin::detach`] has
    ///   worked, or this is dropped.
    pub unsafe fn new(origin: NonNull<u8>, len: usize) -> std::io::Result<Twin> {
        let mut map = MmapMut::map_anon(len)?;
        // SAFETY: mapped and nobody writes them (contract); the copy is a map of its own.
        unsafe { std::ptr::copy_nonoverlapping(origin.as_ptr(), map.as_mut_ptr(), len) };
        Ok(Twin { map, origin: Some(origin), process: std::process::id() })
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    fn give(&mut self) {
        // A forked child has a copy of a copy: the bytes are its parent's.
        if let Some(origin) = self.origin.take()
            && self.process == std::process::id()
        {
            // SAFETY: mapped, and ours alone (contract of `new`); the copy is a map of its own.
            unsafe { std::ptr::copy_nonoverlapping(self.map.as_ptr(), origin.as_ptr(), self.map.len()) };
        }
    }

    /// Writes the bytes to the segment. From now on what is written here stays in this process.
    ///
    /// # Safety
    ///
    /// * What [`Twin::new`] asks for; nothing more, as no page of the segment is shown.
    pub unsafe fn detach(&mut self, afterwards: Afterwards) -> std::io::Result<()> {
        self.give();
        if afterwards == Afterwards::Zero {
            self.map.fill(0);
        }
        Ok(())
    }

    /// Whether what is written is seen by others, or will be.
    pub fn is_shared(&self) -> bool {
        self.origin.is_some()
    }
}

impl Drop for Twin {
    /// What was written is there, as if it had been written to the segment.
    fn drop(&mut self) {
        self.give();
    }
}
