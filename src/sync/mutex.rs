//! Mutexes, with or without a value.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use bytemuck::Pod;

use crate::arena::Arena;
use crate::core::lock::{Form, Slots};
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::core::word::State;
use crate::error::{Result, in_time};
use crate::held::{Held, Keeper};
use crate::sync::words::{fill, from_words, to_words, value_fits, with_words};
use crate::sync::{Handle, Lent, keep};

fn form<T>() -> Form {
    Form { kind: Kind::Mutex, leases: 1, size: size_of::<T>() as u64, slots: 2 }
}

impl Arena {
    /// Returns the mutex `name`. Makes one if there is no object of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`](crate::Error::Mismatch) if `name` stands for an object of another kind, or for a mutex with a
    /// value.
    pub fn mutex(&self, name: &str) -> Result<Mutex> {
        self.mutex_with(name, ())
    }

    /// Returns the mutex `name`, which guards a value. Makes one with the value `initial` if there is no object of that
    /// name.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`](crate::Error::Mismatch) if `name` stands for an object of another kind, or for a mutex whose
    /// value has another size;
    /// [`Error::TooLarge`](crate::Error::TooLarge) for a value of more than [`MAX_VALUE`](crate::sync::MAX_VALUE) bytes.
    pub fn mutex_with<T: Pod>(&self, name: &str, initial: T) -> Result<Mutex<T>> {
        value_fits::<T>()?;
        let form = form::<T>();
        let says = |f: &Form| format!("a mutex with a value of {} bytes", f.size);
        let handle = Handle::open_or_make(self, name, form, says, |core, id| fill(core, id, &form, &initial))?;
        let slots = handle.core()?.slots_of(handle.id(), &form);
        Ok(Mutex { handle, slots, value: PhantomData })
    }
}

/// A lock that one process holds at a time, with or without a value.
///
/// While the mutex is locked, its [`MutexGuard`] has a copy of the value, which is stored as a whole when the mutex is
/// unlocked. A holder that dies or panics before that has changed nothing.
///
/// ```
/// # let name = format!("doc-mutex-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let account = arena.mutex_with("account", [100_i64, 0])?;     // the same in every process
/// {
///     let mut balances = account.lock()?;
///     balances[0] -= 30;
///     balances[1] += 30;
/// }                                                              // stored and unlocked
/// assert_eq!(*account.lock()?, [70, 30]);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mutex<T: Pod = ()> {
    pub(crate) handle: Handle,
    pub(crate) slots: Slots,
    value: PhantomData<T>,
}

impl<T: Pod> Mutex<T> {
    /// Waits until the mutex is free, and locks it.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.take(Until::Forever)
    }

    /// Locks the mutex if it is free now, and returns `None` if it is not.
    #[inline]
    pub fn try_lock(&self) -> Result<Option<MutexGuard<'_, T>>> {
        in_time(self.take(Until::Now))
    }

    /// Waits until the mutex is free, and locks it. Fails with [`Error::TimedOut`](crate::Error::TimedOut) if the mutex is not
    /// free after `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.take(Until::Within(timeout))
    }

    /// Waits until the mutex is free, and locks it. Fails with [`Error::TimedOut`](crate::Error::TimedOut) if the mutex is not free at `deadline`.
    pub fn lock_deadline(&self, deadline: Instant) -> Result<MutexGuard<'_, T>> {
        self.take(Until::deadline(deadline))
    }

    #[inline]
    fn take(&self, until: Until) -> Result<MutexGuard<'_, T>> {
        let core = self.handle.core()?;
        let lease = match core.lease_free(self.slots.leases) {
            Some(lease) => lease,
            None => core.lease(self.slots.leases, until)?,
        };
        // From here on it is given back whatever happens.
        self.guarded(Held::guard(Lent::Here(&self.handle), lease))
    }

    /// The guard of a lease of this mutex.
    #[inline]
    pub(crate) fn guarded<'a>(&self, held: Held<Lent<'a>>) -> Result<MutexGuard<'a, T>> {
        let core = self.handle.core()?;
        let value = match size_of::<T>() {
            0 => T::zeroed(),
            _ => with_words::<T, _>(|words| core.load_slots(self.slots, words).map(|_| from_words(words)))?,
        };
        Ok(MutexGuard { held: Some(held), value, changed: false })
    }

    /// Returns whether somebody holds the mutex at this moment.
    pub fn is_locked(&self) -> Result<bool> {
        let core = self.handle.core()?;
        Ok(core.count_leases(self.slots.leases, |state| matches!(state, State::Leased(_))) != 0)
    }
}

/// A locked [`Mutex`]; the guard derefs to the mutex's value. Dropping the guard stores the value and unlocks the mutex.
///
/// If the guard is dropped because its thread panics, the value is not stored, and the next holder is told as after a death.
///
/// ```
/// # let name = format!("doc-mutex-guard-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let total = arena.mutex_with("total", 1_u64)?;
/// let mut guard = total.lock()?;
/// if guard.recovered() {
///     // The holder before died. Check what the mutex guards, mend it, and then:
///     guard.mark_consistent();
/// }
/// *guard += 1;
/// assert!(total.try_lock()?.is_none());
/// drop(guard);
/// assert_eq!(*total.lock()?, 2);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the guard unlocks at once"]
pub struct MutexGuard<'a, T: Pod = ()> {
    held: Option<Held<Lent<'a>>>,
    value: T,
    changed: bool,
}

impl<T: Pod> MutexGuard<'_, T> {
    /// Returns whether an earlier holder died or panicked while it had the lock, and nobody has called
    /// [`MutexGuard::mark_consistent`] since.
    pub fn recovered(&self) -> bool {
        self.held.as_ref().is_some_and(Held::recovered)
    }

    /// Says that what the lock guards is consistent again: later holders are not told of the death any more.
    pub fn mark_consistent(&mut self) {
        if let Some(held) = &mut self.held {
            held.mark_consistent();
        }
    }

    /// Says that what the lock guards was left half done: later holders are told as after a death, until one of them calls
    /// [`MutexGuard::mark_consistent`]. A panic says so by itself; this is for errors that are no panics.
    ///
    /// ```
    /// # let name = format!("doc-mutex-inconsistent-{}", std::process::id());
    /// # let arena = faretra::Arena::options().keep(false).create(&name)?;
    /// let mutex = arena.mutex("m")?;
    /// mutex.lock()?.mark_inconsistent();
    /// assert!(mutex.lock()?.recovered());
    /// # Ok::<(), faretra::Error>(())
    /// ```
    pub fn mark_inconsistent(&mut self) {
        if let Some(held) = &mut self.held {
            held.mark_inconsistent();
        }
    }

    /// Turns the guard into one that owns its handle, so that it can be kept beside the mutex or sent to another thread.
    pub fn into_owned(mut self) -> MutexGuard<'static, T> {
        let held = self.held.take().map(keep);
        MutexGuard { held, value: self.value, changed: self.changed }
    }
}

impl<T: Pod> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Pod> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }
}

impl<T: Pod> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = &self.held
            && self.changed
            && size_of::<T>() != 0
            && !std::thread::panicking()
            && let Ok(core) = held.keeper.core()
        {
            let slots = core.slots_of(held.keeper.id(), &form::<T>());
            with_words::<T, _>(|words| {
                to_words(&self.value, words);
                core.store_locked(slots, words);
            });
        }
    }
}
