//! What a process does that is about to end and cannot let go of everything: it takes the names of ephemeral arenas away
//! itself, because nobody drops its last handles.

use std::sync::{Arc, Weak};

use crate::arena::Arena;
use crate::error::Result;
use crate::value::view::Attachment;

impl Arena {
    /// Takes the name of an ephemeral arena away, if no other process takes part in it, as the last handle does when it is
    /// dropped. Returns whether it did.
    ///
    /// It is for a process that is about to end and cannot drop everything that it has: an interpreter that exits while its
    /// programs have views. What it holds stays, but it keeps the name from going no longer: of several processes that call
    /// this at the same time, the last to look takes the name away. Other participations of the same process do not count as
    /// another process.
    ///
    /// ```
    /// # let name = format!("doc-end-{}", std::process::id());
    /// # use faretra::{Arena, Error};
    /// let arena = Arena::options().keep(false).create(&name)?;
    /// assert!(arena.end_if_alone()?);
    /// assert!(matches!(Arena::open(&name), Err(Error::NotFound { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Os`] if the file cannot be removed; [`Error::Damaged`].
    ///
    /// [`Error::Forked`]: crate::Error::Forked
    /// [`Error::Os`]: crate::Error::Os
    /// [`Error::Damaged`]: crate::Error::Damaged
    pub fn end_if_alone(&self) -> Result<bool> {
        self.attachment().core()?.end_alone()
    }

    /// Returns a handle that does not keep this process in the arena.
    pub fn downgrade(&self) -> WeakArena {
        WeakArena { at: Arc::downgrade(self.attachment()) }
    }
}

/// A handle that does not keep the process in its arena: what [`Arena::downgrade`] returns.
///
/// ```
/// # let name = format!("doc-weak-{}", std::process::id());
/// let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let weak = arena.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(arena);
/// assert!(weak.upgrade().is_none());
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeakArena {
    at: Weak<Attachment>,
}

impl WeakArena {
    /// Returns a handle to the participation that this was made from, or `None` if nothing of it is left: no handle and
    /// nothing that was read, made or opened through one.
    pub fn upgrade(&self) -> Option<Arena> {
        self.at.upgrade().map(|at| Arena::of(&at))
    }
}
