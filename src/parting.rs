//! What a process does that is about to end, or to fork, and cannot let go of everything: it takes the names of ephemeral
//! arenas away itself, because nobody drops its last handles; and it keeps what a forked child can see.

use std::sync::{Arc, Weak};

use crate::arena::Arena;
use crate::error::Result;
use crate::value::view::{Attachment, Pin};

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

    /// Pins everything once more that this process has pinned through this handle, its clones and what was read with them.
    ///
    /// A binding does this before it forks, for a child that inherits views: views lie in the same memory, but the pins are
    /// the parent's. As long as the parent keeps what this returns, the child's views stay as they were at the fork, whatever
    /// the parent drops. A clone of the writing end of a pipe in the child tells the parent when the child has ended.
    ///
    /// Takes about a nanosecond for each object that the process may have had pinned at any time, and no system call.
    ///
    /// ```
    /// # let name = format!("doc-pin-again-{}", std::process::id());
    /// # let arena = faretra::Arena::options().keep(false).create(&name)?;
    /// arena.writer()?.publish("model", "of Monday")?;
    /// let model = arena.get("model")?;
    /// let pins = arena.pin_again()?;                        // before the fork
    /// assert_eq!(pins.len(), 1);
    /// drop(model);                                          // the child's is as it was
    /// drop(pins);                                           // when the child has ended
    /// # Ok::<(), faretra::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Forked`](crate::Error::Forked) in a forked child.
    pub fn pin_again(&self) -> Result<Pins> {
        let at = self.attachment();
        let pins = at.core()?.pin_again().into_iter().map(|id| Pin::taken(at, id));
        Ok(Pins { pins: pins.collect() })
    }

    /// Returns a handle that does not keep this process in the arena.
    pub fn downgrade(&self) -> WeakArena {
        WeakArena { at: Arc::downgrade(self.attachment()) }
    }
}

/// What a process had pinned at one moment, kept until this is dropped: what [`Arena::pin_again`] returns.
///
/// ```
/// # let name = format!("doc-pins-{}", std::process::id());
/// let arena = faretra::Arena::options().keep(false).create(&name)?;
/// assert!(arena.pin_again()?.is_empty());
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct Pins {
    pins: Vec<Pin>,
}

impl Pins {
    /// Returns how many objects are kept.
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Returns whether nothing was pinned.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
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
