//! A map of its own for bytes that this process may write now: for views that nobody can take back.
//!
//! The views of some languages (numpy's, say) outlive the block in which they may be written through. They look through a
//! map of their own, which changes under them:
//!
//! * M7: the map is shared with the arena while its owner may write those bytes, and no longer. Before a draft is published,
//!   or rows are given back, one kernel call (`mmap` with `MAP_FIXED`) puts another map in its place: a private one of the
//!   same bytes, with the pin that M6 asks for, or one of zeros. Whoever writes through an old view then writes to pages of
//!   this process alone. ([`Twin`] does that; where a system cannot, it is a copy that goes to the arena in that moment.)
//! * If the kernel refuses that call, the map stays shared: the draft must not be published, nor its memory given back.
//!
//! A death leaves nothing: maps are the process's own, and the draft or the lease is settled as every other one.
#![allow(unsafe_code, reason = "says that bytes are pinned")]

use std::fmt;
use std::sync::Arc;

use crate::core::twin::{Afterwards, Twin};
use crate::value::unchecked::Keeper;

/// Bytes that are mapped once more. They never move while it lives.
pub struct SharedMap {
    /// `None`: there are no bytes. Declared first: unmapped before the pin is dropped.
    twin: Option<Twin>,
    /// Keeps the pages of a private map. Only kept.
    keeper: Option<Arc<dyn Keeper>>,
}

impl SharedMap {
    /// Takes bytes that were mapped once more; `None`: there are none.
    pub fn new(twin: Option<Twin>) -> SharedMap {
        SharedMap { twin, keeper: None }
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.twin.as_mut().map(Twin::bytes_mut).unwrap_or_default()
    }

    /// From now on what is written stays in this process, and the bytes are otherwise those that `keeper` pins. Without a
    /// keeper all bytes are 0 from now on.
    ///
    /// On error nothing changed: the map is shared still.
    pub fn detach(&mut self, keeper: Option<Arc<dyn Keeper>>) -> std::io::Result<()> {
        let Some(twin) = self.twin.as_mut().filter(|twin| twin.is_shared()) else { return Ok(()) };
        let afterwards = if keeper.is_some() { Afterwards::AsTheyAre } else { Afterwards::Zero };
        // SAFETY: M6, M7: the keeper pins the bytes, and is kept for longer than the map.
        unsafe { twin.detach(afterwards) }?;
        self.keeper = keeper;
        Ok(())
    }

    /// Whether what is written is seen by others, or will be.
    pub fn is_shared(&self) -> bool {
        self.twin.as_ref().is_some_and(Twin::is_shared)
    }
}

impl fmt::Debug for SharedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.twin.as_ref().map_or(0, Twin::len);
        let pinned = if self.keeper.is_some() { ", pinned" } else { "" };
        write!(f, "SharedMap({bytes} bytes, {}{pinned})", if self.is_shared() { "shared" } else { "private" })
    }
}
