//! What a process has once: a forked child, which inherits its memory, must not use it.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::core::kernel::ForkGuard;
use crate::error::Result;

/// Locks what many threads use for a moment each. `None`: it is in use, or was when this process was forked, and then it will be
/// for ever.
pub fn patiently<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    (0..1000).find_map(|_| match mutex.try_lock() {
        Ok(locked) => Some(locked),
        Err(TryLockError::Poisoned(locked)) => Some(locked.into_inner()),
        Err(TryLockError::WouldBlock) => {
            std::thread::yield_now();
            None
        }
    })
}

/// What a process has once, and a forked child does not inherit.
#[derive(Debug)]
pub struct PerProcess<T>(Mutex<Option<(ForkGuard, Arc<T>)>>);

impl<T> PerProcess<T> {
    /// Nothing yet.
    pub const fn new() -> PerProcess<T> {
        PerProcess(Mutex::new(None))
    }

    /// What this process has, or what `make` makes.
    pub fn get(&self, make: impl FnOnce() -> T) -> Result<Arc<T>> {
        // Otherwise whoever asks has one of its own.
        let Some(mut slot) = patiently(&self.0) else { return Ok(Arc::new(make())) };
        if let Some((_, made)) = slot.as_ref().filter(|(guard, _)| guard.check().is_ok()) {
            return Ok(made.clone());
        }
        let made = Arc::new(make());
        // What came through fork may be in the middle of anything.
        std::mem::forget(slot.replace((ForkGuard::new()?, made.clone())));
        Ok(made)
    }
}
