//! Blocks of mimalloc's, which threads of one process pass to each other: the most that an allocator can do without processes.
#![allow(unsafe_code, reason = "an allocator that is not the program's own is called by hand")]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use mimalloc::MiMalloc;

/// A block. Any thread may free it.
pub struct Block {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is the only way to its bytes, and mimalloc frees blocks of any thread in any thread.
unsafe impl Send for Block {}

// SAFETY: a shared block tells how long it is, and nothing else.
unsafe impl Sync for Block {}

impl Block {
    /// One of so many bytes, not written.
    pub fn new(bytes: usize) -> Block {
        let layout = Layout::from_size_align(bytes.max(1), 64).expect("small");
        // SAFETY: the layout has a size.
        let at = NonNull::new(unsafe { MiMalloc.alloc(layout) }).expect("room");
        Block { at, layout }
    }

    /// Writes its bytes.
    pub fn copy_from(&mut self, from: &[u8]) {
        assert_eq!(from.len(), self.layout.size());
        // SAFETY: the block has as many bytes, and this is the only way to them.
        unsafe { self.at.as_ptr().copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    }

    pub fn len(&self) -> u64 {
        self.layout.size() as u64
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { MiMalloc.dealloc(self.at.as_ptr(), self.layout) };
    }
}
