//! Locks.
//!
//! Locks are objects with names: the first process that asks for one makes it. They belong to processes, not to threads: any thread
//! may unlock, and a thread that locks a mutex twice waits for itself. What a process holds when it dies comes back within 100 ms of
//! the kernel's letting go of it, and `recovered` tells the next holder.

use std::ffi::c_int;
use std::sync::{Mutex as Std, PoisonError};

use faretra::sync::{Event, Mutex, MutexGuard, Permit, Reset, Semaphore};

use crate::arena::faretra_arena;
use crate::border::{Handle, New, Out, Text, fill, free, handles, make, of, out, run, timeout};
use crate::error::{Failure, faretra_code};

/// A lock that one holder has at a time. Many threads can use it.
pub struct faretra_mutex(Handle);

/// A semaphore. Many threads can use it.
pub struct faretra_semaphore(Handle);

/// A flag that processes wait for. Many threads can use it.
pub struct faretra_event(Handle);

handles! {
    faretra_mutex holds Locks, "faretra_mutex";
    faretra_semaphore holds Permits, "faretra_semaphore";
    faretra_event holds Event, "faretra_event";
}

/// A mutex, and its guard while it is locked through this handle. Declared in this order: the guard goes first.
pub struct Locks {
    guard: Std<Option<MutexGuard<'static>>>,
    mutex: Mutex,
}

/// A semaphore, and the permits that were acquired through this handle.
pub struct Permits {
    held: Std<Vec<Permit<'static>>>,
    semaphore: Semaphore,
}

/// Opens the mutex of this name, and makes it if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_mutex_new(
    arena: Option<&faretra_arena>,
    name: Text,
    mutex: New<'_, faretra_mutex>,
) -> faretra_code {
    make(mutex, || Ok(Locks { guard: Std::new(None), mutex: of(arena)?.mutex(name.read("name")?)? }))
}

/// Waits until the mutex is free, and locks it. `recovered` may be null; otherwise it tells whether an earlier holder died with it, and
/// nobody has called `faretra_mutex_mark_consistent` since.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_mutex_lock(
    mutex: Option<&faretra_mutex>,
    timeout_ms: i64,
    recovered: Out<'_, c_int>,
) -> faretra_code {
    run(|| {
        let Locks { mutex, guard } = of(mutex)?;
        let locked = match timeout(timeout_ms)? {
            None => mutex.lock()?,
            Some(timeout) => mutex.lock_timeout(timeout)?,
        };
        fill(recovered, locked.recovered().into());
        *guard.lock().unwrap_or_else(PoisonError::into_inner) = Some(locked.into_owned());
        Ok(())
    })
}

/// Says that what the mutex guards is consistent again: later holders are not told any more. Fails with `FARETRA_INVALID` if it was
/// not locked through this handle.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_mutex_mark_consistent(mutex: Option<&faretra_mutex>) -> faretra_code {
    run(|| match of(mutex)?.guard.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(guard) => {
            guard.mark_consistent();
            Ok(())
        }
        None => Err(not_locked()),
    })
}

fn not_locked() -> Failure {
    Failure::invalid("the mutex is not locked through this handle")
}

/// Unlocks the mutex. Fails with `FARETRA_INVALID` if it was not locked through this handle.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_mutex_unlock(mutex: Option<&faretra_mutex>) -> faretra_code {
    run(|| {
        let guard = of(mutex)?.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
        match guard {
            Some(guard) => {
                drop(guard);
                Ok(())
            }
            None => Err(not_locked()),
        }
    })
}

/// Frees the handle, and unlocks the mutex if it was locked through it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_mutex_free(mutex: Option<Box<faretra_mutex>>) {
    free(mutex);
}

/// Opens the semaphore of this name, and makes it with so many permits if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_semaphore_new(
    arena: Option<&faretra_arena>,
    name: Text,
    permits: u32,
    semaphore: New<'_, faretra_semaphore>,
) -> faretra_code {
    make(semaphore, || {
        let semaphore = of(arena)?.semaphore(name.read("name")?, permits)?;
        Ok(Permits { held: Std::new(vec![]), semaphore })
    })
}

/// Waits until a permit is free, and takes it. `recovered` may be null; otherwise it tells whether the holder before died with it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_semaphore_acquire(
    semaphore: Option<&faretra_semaphore>,
    timeout_ms: i64,
    recovered: Out<'_, c_int>,
) -> faretra_code {
    run(|| {
        let Permits { semaphore, held } = of(semaphore)?;
        let permit = match timeout(timeout_ms)? {
            None => semaphore.acquire()?,
            Some(timeout) => semaphore.acquire_timeout(timeout)?,
        };
        fill(recovered, permit.recovered().into());
        held.lock().unwrap_or_else(PoisonError::into_inner).push(permit.into_owned());
        Ok(())
    })
}

/// Gives back a permit that was taken through this handle. Fails with `FARETRA_INVALID` if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_semaphore_release(semaphore: Option<&faretra_semaphore>) -> faretra_code {
    run(|| {
        let permit = of(semaphore)?.held.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match permit {
            Some(permit) => {
                drop(permit);
                Ok(())
            }
            None => Err(Failure::invalid("no permit of the semaphore was taken through this handle")),
        }
    })
}

/// Tells how many permits are free at this moment.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_semaphore_available(
    semaphore: Option<&faretra_semaphore>,
    permits: Out<'_, u32>,
) -> faretra_code {
    run(|| {
        let (Permits { semaphore, .. }, place) = (of(semaphore)?, out(permits, "a number")?);
        place.write(semaphore.available()?);
        Ok(())
    })
}

/// Frees the handle, and gives back the permits that were taken through it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_semaphore_free(semaphore: Option<Box<faretra_semaphore>>) {
    free(semaphore);
}

/// Opens the event of this name, and makes it if there is none. If `auto_reset` is not 0, each set lets one waiter pass, who resets it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_event_new(
    arena: Option<&faretra_arena>,
    name: Text,
    auto_reset: c_int,
    event: New<'_, faretra_event>,
) -> faretra_code {
    make(event, || {
        let reset = if auto_reset == 0 { Reset::Manual } else { Reset::Auto };
        Ok(of(arena)?.event(name.read("name")?, reset)?)
    })
}

/// Sets the event.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_event_set(event: Option<&faretra_event>) -> faretra_code {
    run(|| Ok(of(event)?.set()?))
}

/// Resets the event.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_event_reset(event: Option<&faretra_event>) -> faretra_code {
    run(|| Ok(of(event)?.reset()?))
}

/// Waits until the event is set. With a timeout of 0, `FARETRA_TIMED_OUT` says that it is not.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_event_wait(event: Option<&faretra_event>, timeout_ms: i64) -> faretra_code {
    run(|| {
        let event = of(event)?;
        match timeout(timeout_ms)? {
            None => Ok(event.wait()?),
            Some(timeout) => Ok(event.wait_timeout(timeout)?),
        }
    })
}

/// Frees the handle. The event is as it was.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_event_free(event: Option<Box<faretra_event>>) {
    free(event);
}
