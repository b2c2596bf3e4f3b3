//! Conditions: waiters that are told one by one.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::core::lock::Form;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::core::waiters::{CONDITION, Enlisted, Waiters};
use crate::error::{Error, Result, in_time};
use crate::held::Keeper;
use crate::sync::{Handle, MAX_WAITERS};

impl Arena {
    /// Returns the condition `name`. Makes one if there is no object of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if `name` stands for an object of another kind.
    pub fn condition(&self, name: &str) -> Result<Condition> {
        let says = |f: &Form| format!("a condition with up to {} waiters", f.leases);
        Condition::of(Handle::open_or_make(self, name, CONDITION, says, |_, _| {})?)
    }

    /// Returns the condition `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name; [`Error::Mismatch`] if it is of another kind.
    pub fn open_condition(&self, name: &str) -> Result<Condition> {
        let handle = Handle::open(self, name, Kind::Condition)?;
        handle.core()?.check_form(handle.id(), name, &CONDITION, |f| format!("a condition of {} waiters", f.leases))?;
        Condition::of(handle)
    }
}

/// Waiters that are told to go on, one by one or all: a condition variable without its lock, which is the caller's.
///
/// What is waited for is guarded by a lock. A process that holds the lock and finds that it must wait enlists, unlocks, and
/// waits; a process that holds the lock and changes something notifies. A waiter that has died is passed over. If a waiter dies
/// after it was told to go on, and before it left the list, another one is told.
///
/// ```
/// # let name = format!("doc-condition-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let (items, more) = (arena.mutex_with("items", 0_u64)?, arena.condition("more")?);
/// // In a consumer:
/// let mut guard = items.lock()?;
/// while *guard == 0 {
///     let waiter = more.enlist()?;
///     drop(guard);
/// #   *items.lock()? += 1;
/// #   more.notify(1)?;
///     waiter.wait()?;
///     guard = items.lock()?;
///     waiter.leave();
/// }
/// *guard -= 1;
/// drop(guard);
/// // In a producer:
/// *items.lock()? += 1;
/// more.notify(1)?;
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Condition {
    handle: Handle,
    waiters: Waiters,
}

impl Condition {
    fn of(handle: Handle) -> Result<Condition> {
        let waiters = handle.core()?.waiters_of(handle.id(), &CONDITION);
        Ok(Condition { handle, waiters })
    }

    /// Puts a waiter on the list, behind all others. It can be told to go on from here on.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if there are [`MAX_WAITERS`] already.
    pub fn enlist(&self) -> Result<Waiter> {
        let core = self.handle.core()?;
        match core.enlist(self.waiters)? {
            Some(enlisted) => Ok(Waiter { condition: self.clone(), enlisted, left: false }),
            None => Err(Error::TooLarge {
                what: "waiters of a condition",
                asked: u64::from(MAX_WAITERS) + 1,
                most: MAX_WAITERS.into(),
                hint: "divide them among several conditions",
            }),
        }
    }

    /// Tells the waiters that have waited longest to go on, `most` of them. Returns how many were told: fewer if fewer wait.
    pub fn notify(&self, most: u32) -> Result<u32> {
        let core = self.handle.core()?;
        Ok(core.notify(self.waiters, most.into()) as u32)
    }

    /// Tells all waiters to go on. Returns how many were told.
    pub fn notify_all(&self) -> Result<u32> {
        self.notify(MAX_WAITERS)
    }

    /// Returns how many waiters are on the list that were not told to go on.
    pub fn waiting(&self) -> Result<u32> {
        Ok(self.handle.core()?.count_waiting(self.waiters) as u32)
    }

    /// Returns how many processes' waiters died on the list since this was asked last, by whomever. One whose place another
    /// waiter was given meanwhile, because no other place was left, is not counted.
    pub fn lost(&self) -> Result<u32> {
        Ok(self.handle.core()?.lost_waiters(self.waiters) as u32)
    }
}

/// A place on the list of a [`Condition`]. Dropping the waiter takes it off the list; if it was told to go on by then and did
/// not leave by [`Waiter::leave`], another is told.
///
/// ```
/// # let name = format!("doc-waiter-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let condition = arena.condition("c")?;
/// let (first, second) = (condition.enlist()?, condition.enlist()?);
/// condition.notify(1)?;
/// assert!(first.try_wait()? && !second.try_wait()?);
/// assert!(first.leave() && !second.leave());
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it takes the waiter off the list"]
pub struct Waiter {
    condition: Condition,
    enlisted: Enlisted,
    left: bool,
}

impl Waiter {
    /// Waits until the waiter is told to go on.
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Until::Forever)
    }

    /// Returns whether the waiter was told to go on.
    pub fn try_wait(&self) -> Result<bool> {
        Ok(in_time(self.wait_until(Until::Now))?.is_some())
    }

    /// Waits until the waiter is told to go on. Fails with [`Error::TimedOut`] if it is not told within `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(Until::Within(timeout))
    }

    /// Waits until the waiter is told to go on. Fails with [`Error::TimedOut`] if it is not told before `deadline`.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<()> {
        self.wait_until(Until::deadline(deadline))
    }

    fn wait_until(&self, until: Until) -> Result<()> {
        let core = self.condition.handle.core()?;
        core.wait_enlisted(self.condition.waiters, self.enlisted, until)
    }

    /// Takes the waiter off the list. Returns whether it was told to go on, which it may have been after its wait ended.
    pub fn leave(mut self) -> bool {
        self.left = true;
        let Condition { handle, waiters } = &self.condition;
        // A forked child is not on the list.
        handle.core().is_ok_and(|core| core.leave_waiters(*waiters, self.enlisted))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Condition { handle, waiters } = &self.condition;
        if !self.left
            && let Ok(core) = handle.core()
        {
            core.abandon_wait(*waiters, self.enlisted);
        }
    }
}
