//! Flags that processes wait for.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::core::geometry::lock;
use crate::core::lock::Form;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::error::{Result, in_time};
use crate::held::Keeper;
use crate::sync::Handle;

/// How an [`Event`] is reset.
///
/// ```
/// use faretra::sync::Reset;
/// # let name = format!("doc-reset-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let (started, ticket) = (arena.event("started", Reset::Manual)?, arena.event("ticket", Reset::Auto)?);
/// started.set()?;
/// assert!(started.try_wait()? && started.try_wait()?);
/// ticket.set()?;
/// assert!(ticket.try_wait()? && !ticket.try_wait()?);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The event stays set until [`Event::reset`]: everybody who waits goes on.
    Manual,
    /// One waiter goes on, and resets the event.
    Auto,
}

impl Arena {
    /// Returns the event `name`. Makes one that is not set if there is no object of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`](crate::Error::Mismatch) if `name` stands for an object of another kind, or for an event with
    /// another [`Reset`].
    pub fn event(&self, name: &str, reset: Reset) -> Result<Event> {
        let form = Form { kind: Kind::Event, leases: 0, size: (reset == Reset::Auto).into(), slots: 0 };
        let says = |f: &Form| format!("an event that {}", if f.size == 1 { "resets itself" } else { "stays set" });
        let handle = Handle::open_or_make(self, name, form, says, |_, _| {})?;
        Ok(Event { handle, reset })
    }

    /// Returns the event `name`, whatever its [`Reset`] is.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if there is no object of that name;
    /// [`Error::Mismatch`](crate::Error::Mismatch) if it is of another kind.
    pub fn open_event(&self, name: &str) -> Result<Event> {
        let handle = Handle::open(self, name, Kind::Event)?;
        let core = handle.core()?;
        let size = core.load_word(core.lock_word(handle.id(), lock::SIZE));
        let reset = if size == 1 { Reset::Auto } else { Reset::Manual };
        Ok(Event { handle, reset })
    }
}

/// A flag that processes wait for.
///
/// ```
/// use faretra::sync::Reset;
/// # let name = format!("doc-event-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let ready = arena.event("ready", Reset::Manual)?;        // the same in every process
/// assert!(!ready.try_wait()?);
/// ready.set()?;
/// ready.wait()?;
/// ready.reset()?;
/// assert!(!ready.is_set()?);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) handle: Handle,
    reset: Reset,
}

impl Event {
    /// Returns how the event is reset.
    pub fn how_reset(&self) -> Reset {
        self.reset
    }

    /// Sets the event, and wakes those who wait for it.
    #[inline]
    pub fn set(&self) -> Result<()> {
        let core = self.handle.core()?;
        core.set_event(self.handle.id());
        Ok(())
    }

    /// Resets the event: those who wait after this wait for the next [`Event::set`].
    pub fn reset(&self) -> Result<()> {
        let core = self.handle.core()?;
        core.reset_event(self.handle.id());
        Ok(())
    }

    /// Returns whether the event is set at this moment, and does not reset it.
    #[inline]
    pub fn is_set(&self) -> Result<bool> {
        let core = self.handle.core()?;
        Ok(core.is_event_set(self.handle.id()))
    }

    /// Waits until the event is set. Resets an event of [`Reset::Auto`].
    ///
    /// A wait at an event of [`Reset::Manual`] ends too if the event was set and reset meanwhile.
    pub fn wait(&self) -> Result<()> {
        self.pass(Until::Forever)
    }

    /// Returns whether the event is set now. Resets an event of [`Reset::Auto`] that is set.
    pub fn try_wait(&self) -> Result<bool> {
        Ok(in_time(self.pass(Until::Now))?.is_some())
    }

    /// Waits until the event is set, as [`Event::wait`] does. Fails with
    /// [`Error::TimedOut`](crate::Error::TimedOut) if the event is not set after `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.pass(Until::Within(timeout))
    }

    /// Waits until the event is set, as [`Event::wait`] does. Fails with
    /// [`Error::TimedOut`](crate::Error::TimedOut) if the event is not set at `deadline`.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<()> {
        self.pass(Until::deadline(deadline))
    }

    /// Sets an event again that was reset for nothing.
    pub(crate) fn undo(&self) -> Result<()> {
        if self.reset == Reset::Auto { self.set() } else { Ok(()) }
    }

    fn pass(&self, until: Until) -> Result<()> {
        let core = self.handle.core()?;
        let id = self.handle.id();
        let before = core.times_set(id);
        let passes = || match self.reset {
            Reset::Auto => core.take_event(id),
            Reset::Manual => core.is_event_set(id) || core.times_set(id) != before,
        };
        core.wait(core.lock_word(id, lock::BELL), until, || {}, || Ok(passes().then_some(())))
    }
}
