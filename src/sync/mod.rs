//! Locks and values that processes share by name, safe against the death of whoever holds them.
//!
//! Each is an object of the arena: the first process that asks for it makes it, all others find it, `faretra ls` lists it,
//! and it is removed like any other name. A process that has a handle keeps the object: removing the name takes nothing
//! from that process.
//!
//! | | what | when its holder dies |
//! |---|---|---|
//! | [`Mutex`] | one holder at a time, perhaps with a value | the next holder is told ([`MutexGuard::recovered`]), the value is as it was before |
//! | [`Semaphore`] | so many permits | the permit is free again, and its next holder is told ([`Permit::recovered`]) |
//! | [`Event`] | a flag that processes wait for | nothing is held |
//! | [`Condition`] | waiters that are told one by one | a waiter that died is passed over, and what it was told goes to another |
//! | [`SharedValue`] | a value that is read and replaced as a whole | the value is the old or the new one |
//!
//! Every wait has the forms that the [documentation of the crate](crate#waiting) lists. A wait notices within 100 ms that the
//! kernel let go of a dead holder, is ended by a signal only if the process has an
//! [interrupt hook](crate::set_interrupt_hook) that says so, and costs next to nothing while it lasts. The kernel chooses among waiters: no waiter is guaranteed to be next.
//! A process that is stopped keeps what was granted to it.
//!
//! Locks belong to processes, not to threads: a guard may be sent to another thread, and a thread that locks a mutex twice
//! waits for itself. In a forked child all calls fail with [`Error::Forked`], and guards that came
//! through `fork` hold nothing: the parent has the lock.
//!
//! ```
//! use faretra::{Arena, sync::Reset};
//! # let name = format!("doc-sync-{}", std::process::id());
//! # let name = name.as_str();
//! # let arena = Arena::options().keep(false).create(name)?;
//! let total = arena.mutex_with("total", 0_u64)?;      // the same in every process
//! *total.lock()? += 5;
//!
//! let gpus = arena.semaphore("gpus", 2)?;
//! let gpu = gpus.acquire()?;                            // back when dropped, or when this process dies
//!
//! let ready = arena.event("ready", Reset::Manual)?;
//! ready.set()?;
//! ready.wait()?;
//!
//! let done = arena.shared_value("done", 0_u32)?;
//! done.update(|n| n + 1)?;
//! # Ok::<(), faretra::Error>(())
//! ```

mod condition;
mod event;
mod mutex;
mod semaphore;
mod value;
mod words;

use std::ops::Deref;
use std::sync::Arc;

use crate::arena::Arena;
use crate::core::lock::Form;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::tables::Kind;
use crate::core::word::Id;
use crate::error::{Error, Result};
use crate::held::{Held, Keeper};
use crate::value::view::Pin;

pub use condition::{Condition, Waiter};
pub use event::{Event, Reset};
pub use mutex::{Mutex, MutexGuard};
pub(crate) use semaphore::held;
pub use semaphore::{Permit, Semaphore};
pub use value::SharedValue;

/// The most permits that a [`Semaphore`] can have.
pub const MAX_PERMITS: u32 = 1 << 16;
/// The most waiters that a [`Condition`] can have.
pub const MAX_WAITERS: u32 = crate::core::waiters::WAITERS as u32;
/// The most bytes that the value of a [`Mutex`] or [`SharedValue`] can have.
pub const MAX_VALUE: usize = 64 << 10;

/// An object that locks, open in this process.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) pin: Arc<Pin>,
}

impl Handle {
    pub(crate) fn id(&self) -> Id {
        self.pin.id()
    }

    /// Whether both are of one object, in one attachment.
    pub(crate) fn is(&self, other: &Handle) -> bool {
        self.id() == other.id() && Arc::ptr_eq(self.pin.attachment(), other.pin.attachment())
    }

    /// Finds the object, or makes it. `fill` writes into a new one what it begins with.
    fn open_or_make(
        arena: &Arena,
        name: &str,
        form: Form,
        says: fn(&Form) -> String,
        fill: impl Fn(&Core<Posix>, Id),
    ) -> Result<Handle> {
        crate::core::name::check(name)?;
        let at = arena.attachment();
        let pin = Pin::named_or_made(at, name, |core| {
            let draft = core.draft_lock(form)?;
            fill(core, draft.id);
            Ok(draft)
        })?;
        at.core()?.check_form(pin.id(), name, &form, says)?;
        Ok(Handle { pin: Arc::new(pin) })
    }
}

impl Handle {
    /// Finds the object, of a kind.
    fn open(arena: &Arena, name: &str, kind: Kind) -> Result<Handle> {
        let at = arena.attachment();
        let pin = Pin::named(at, name)?.ok_or_else(|| arena.missing(name))?;
        let found = at.core()?.kind(pin.id())?;
        if found != kind {
            return Err(Error::Mismatch { name: name.into(), expected: kind.to_string(), found: found.to_string() });
        }
        Ok(Handle { pin: Arc::new(pin) })
    }
}

impl Keeper for Handle {
    #[inline]
    fn core(&self) -> Result<&Core<Posix>> {
        self.pin.attachment().core()
    }
}

/// A handle that a guard borrows, or has.
#[derive(Debug)]
pub(crate) enum Lent<'a> {
    Here(&'a Handle),
    Kept(Handle),
}

impl Deref for Lent<'_> {
    type Target = Handle;
    #[inline]
    fn deref(&self) -> &Handle {
        match self {
            Lent::Here(handle) => handle,
            Lent::Kept(handle) => handle,
        }
    }
}

impl Keeper for Lent<'_> {
    #[inline]
    fn core(&self) -> Result<&Core<Posix>> {
        Handle::core(self)
    }
}

/// Turns a lease into one that has its handle.
fn keep(held: Held<Lent<'_>>) -> Held<Lent<'static>> {
    held.kept_by(|handle| Lent::Kept(Handle::clone(handle)))
}
