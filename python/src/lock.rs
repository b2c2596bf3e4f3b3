//! Mutexes, semaphores and events.
//!
//! What a process holds belongs to the process, not to a thread. A guard that Python forgets gives back what it holds when it
//! is collected. `with mutex:`, `acquire` and `release` keep their guards in the object that they are called on ([`Stack`]).

use std::sync::{Mutex as Cell, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use faretra::{Error, sync};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arena::{Arena, text, timeout};
use crate::error::{Failure, run, wait};
use crate::ready::Pollable;

/// Takes something: at once, or within a time, or whenever it comes. The inner error is that it did not come in time.
fn take<T: Send>(
    py: Python<'_>,
    limit: Option<Duration>,
    now: impl FnOnce() -> faretra::Result<Option<T>>,
    later: impl FnOnce(Option<Duration>) -> faretra::Result<T> + Send,
) -> PyResult<Result<T, Error>> {
    let later = |limit| match later(limit) {
        Ok(taken) => Ok(Ok(taken)),
        Err(late @ Error::TimedOut(_)) => Ok(Err(late)),
        Err(error) => Err(error),
    };
    match run(py, now)? {
        Some(taken) => Ok(Ok(taken)),
        None if limit.is_some_and(|limit| limit.is_zero()) => run(py, || later(limit)),
        None => wait(py, || later(limit)),
    }
}

/// What was taken, or the exception that it did not come in time.
fn in_time<T>(py: Python<'_>, taken: Result<T, Error>) -> PyResult<T> {
    taken.map_err(|late| Failure::from(late).raise(py))
}

/// `blocking` and `timeout` as `threading` has them: a timeout of -1 is none.
fn as_threading(blocking: bool, given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let endless = given.and_then(|given| given.extract::<f64>().ok()).is_some_and(|seconds| seconds == -1.0);
    match (blocking, endless) {
        (true, true) => Ok(None),
        (true, false) => timeout(given),
        (false, _) => Ok(Some(Duration::ZERO)),
    }
}

/// Guards that an object keeps for those who called `acquire` or entered a block, with the thread that did.
struct Stack<G>(Cell<Vec<(ThreadId, Py<G>)>>);

impl<G> Stack<G> {
    fn push(&self, guard: &Bound<'_, G>) {
        let guard = (std::thread::current().id(), guard.clone().unbind());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(guard);
    }

    /// The last one of this thread; or, for a `release` in another thread than the `acquire`, the last of all.
    fn pop(&self) -> Option<Py<G>> {
        let mut guards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = std::thread::current().id();
        let own = guards.iter().rposition(|(thread, _)| *thread == here);
        own.or_else(|| guards.len().checked_sub(1)).map(|which| guards.remove(which).1)
    }
}

/// Whether a block ends by an exception.
pub fn failed(exc: &Bound<'_, PyTuple>) -> PyResult<bool> {
    Ok(!exc.get_item(0)?.is_none())
}

/// What makes the waits of an event loop: a class of `faretra._locks`.
fn aio<'py>(slf: &Bound<'py, PyAny>, class: &str) -> PyResult<Bound<'py, PyAny>> {
    slf.py().import("faretra._locks")?.call_method1(class, (slf,))
}

/// A lock that one process holds at a time. `faretra.Arena.mutex` makes one.
///
/// The lock belongs to the process, not to the thread: a thread that locks it twice waits for itself. If its holder dies, the
/// next one gets it, and its guard says `recovered`.
///
/// >>> arena = faretra.Arena.create("doc-mutex-class", keep=False)
/// >>> mutex = arena.mutex("m")
/// >>> with mutex as guard:
/// ...     mutex.locked(), guard.recovered
/// (True, False)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
pub struct Mutex {
    mutex: sync::Mutex,
    name: String,
    entered: Stack<MutexGuard>,
}

impl std::fmt::Debug for Mutex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.mutex.fmt(f)
    }
}

impl Mutex {
    fn take<'py>(&self, py: Python<'py>, limit: Option<Duration>) -> PyResult<Result<Bound<'py, MutexGuard>, Error>> {
        let mutex = &self.mutex;
        let now = || Ok(mutex.try_lock()?.map(sync::MutexGuard::into_owned));
        let later = |limit| match limit {
            None => mutex.lock().map(sync::MutexGuard::into_owned),
            Some(limit) => mutex.lock_timeout(limit).map(sync::MutexGuard::into_owned),
        };
        let held = match take(py, limit, now, later)? {
            Ok(held) => held,
            Err(late) => return Ok(Err(late)),
        };
        let recovered = held.recovered();
        Ok(Ok(Bound::new(py, MutexGuard { held: Cell::new(Some(held)), mutex: mutex.clone(), recovered })?))
    }

    /// What the library has of it.
    pub fn inner(&self) -> &sync::Mutex {
        &self.mutex
    }
}

#[pymethods]
impl Mutex {
    #[new]
    fn new(py: Python<'_>, arena: &Bound<'_, Arena>, name: &Bound<'_, PyAny>) -> PyResult<Mutex> {
        let (arena, name) = (arena.get().get(py)?, text(name)?);
        let mutex = run(py, || arena.mutex(name))?;
        Ok(Mutex { mutex, name: name.to_owned(), entered: Stack(Cell::default()) })
    }

    /// The mutex's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the mutex is free, and locks it. Returns a guard, which unlocks it when its block ends, when it is released,
    /// and when it is collected.
    ///
    /// `timeout` is in seconds, or a timedelta; 0 does not wait.
    ///
    /// Raises:
    ///     TimeoutError: The mutex is not free after `timeout`.
    ///     ForkedError: The arena was opened before this process was forked.
    ///
    /// >>> arena = faretra.Arena.create("doc-mutex-lock", keep=False)
    /// >>> mutex = arena.mutex("m")
    /// >>> with mutex.lock(timeout=5) as guard:
    /// ...     if guard.recovered:  # mend what the last holder left, and then
    /// ...         guard.mark_consistent()
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn lock<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, MutexGuard>> {
        in_time(py, self.take(py, crate::arena::timeout(timeout)?)?)
    }

    /// Locks the mutex if it is free now, and returns the guard; otherwise returns `None`.
    ///
    /// >>> arena = faretra.Arena.create("doc-mutex-try", keep=False)
    /// >>> guard = arena.mutex("m").try_lock()
    /// >>> arena.mutex("m").try_lock() is None
    /// True
    /// >>> guard.release()
    /// >>> arena.close()
    fn try_lock<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MutexGuard>>> {
        Ok(self.take(py, Some(Duration::ZERO))?.ok())
    }

    /// Locks the mutex as `threading.Lock.acquire` does, and returns whether it is locked now. The object keeps the guard, until
    /// `release` is called.
    ///
    /// >>> arena = faretra.Arena.create("doc-mutex-acquire", keep=False)
    /// >>> mutex = arena.mutex("m")
    /// >>> mutex.acquire(timeout=5), mutex.acquire(blocking=False)
    /// (True, False)
    /// >>> mutex.release()
    /// >>> arena.close()
    #[pyo3(signature = (blocking=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let guard = self.take(py, as_threading(blocking, timeout)?)?.ok();
        Ok(guard.inspect(|guard| self.entered.push(guard)).is_some())
    }

    /// Unlocks the mutex that `acquire` of this object locked, in this process.
    ///
    /// Raises:
    ///     InvalidError: This object's `acquire` did not lock it.
    ///
    /// >>> arena = faretra.Arena.create("doc-mutex-release", keep=False)
    /// >>> mutex = arena.mutex("m")
    /// >>> mutex.acquire()
    /// True
    /// >>> mutex.release()
    /// >>> mutex.locked()
    /// False
    /// >>> arena.close()
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        match self.entered.pop() {
            Some(guard) => guard.get().release(py),
            None => {
                let text =
                    format!("`acquire` of this object did not lock the mutex '{}': nothing to release", self.name);
                Err(Failure::invalid(text).raise(py))
            }
        }
    }

    /// Returns whether somebody holds the mutex at this moment, in whatever process.
    ///
    /// >>> arena = faretra.Arena.create("doc-mutex-locked", keep=False)
    /// >>> with arena.mutex("m"):
    /// ...     arena.mutex("m").locked()
    /// True
    /// >>> arena.close()
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.mutex.is_locked())
    }

    /// Returns a descriptor that is readable when the mutex is free.
    ///
    /// >>> arena = faretra.Arena.create("doc-mutex-pollable", keep=False)
    /// >>> arena.mutex("m").pollable().is_ready()
    /// True
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        Pollable::new(py, || self.mutex.pollable())
    }

    /// The waits of the mutex for an event loop: `async with mutex.aio as guard:`, `await mutex.aio.lock(timeout=None)`.
    #[getter]
    fn aio<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf.as_any(), "MutexAio")
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MutexGuard>> {
        let guard = in_time(py, self.take(py, None)?)?;
        self.entered.push(&guard);
        Ok(guard)
    }

    #[pyo3(signature = (*exc))]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.entered.pop().map_or(Ok(()), |guard| guard.get().end(py, failed(exc)?))
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Mutex '{}'>", self.name)
    }
}

/// A locked mutex. It is unlocked when the guard's block ends, when `release` is called, and when the guard is collected.
///
/// A block that ends by an exception leaves what the mutex guards half done: the next holders are told so, as after a death.
///
/// >>> arena = faretra.Arena.create("doc-guard-class", keep=False)
/// >>> with arena.mutex("m").lock() as guard:
/// ...     guard.recovered, guard.released
/// (False, False)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct MutexGuard {
    held: Cell<Option<sync::MutexGuard<'static>>>,
    mutex: sync::Mutex,
    recovered: bool,
}

impl MutexGuard {
    fn with<T>(&self, f: impl FnOnce(&mut Option<sync::MutexGuard<'static>>) -> T) -> T {
        f(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self, py: Python<'_>, failed: bool) -> PyResult<()> {
        run(py, || {
            // A forked child does not have it.
            self.mutex.is_locked()?;
            let held = self.with(Option::take);
            if let Some(mut held) = held
                && failed
            {
                held.mark_inconsistent();
            }
            Ok::<(), Error>(())
        })
    }
}

#[pymethods]
impl MutexGuard {
    /// Whether an earlier holder died, or left its block by an exception, and nobody called `mark_consistent` since.
    #[getter]
    fn recovered(&self) -> bool {
        self.recovered
    }

    /// Whether the mutex was unlocked.
    #[getter]
    fn released(&self) -> bool {
        self.with(|held| held.is_none())
    }

    /// Unlocks the mutex. The second time nothing happens.
    ///
    /// Raises:
    ///     ForkedError: This process was forked from the one that locked it.
    ///
    /// >>> arena = faretra.Arena.create("doc-guard-release", keep=False)
    /// >>> guard = arena.mutex("m").lock()
    /// >>> guard.release()
    /// >>> guard.released, arena.mutex("m").locked()
    /// (True, False)
    /// >>> arena.close()
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, false)
    }

    /// Says that what the mutex guards is consistent again: later holders are not told of a death any more.
    ///
    /// >>> arena = faretra.Arena.create("doc-guard-consistent", keep=False)
    /// >>> with arena.mutex("m").lock() as guard:
    /// ...     guard.mark_consistent()
    /// >>> arena.close()
    fn mark_consistent(&self) {
        self.with(|held| {
            if let Some(held) = held {
                held.mark_consistent();
            }
        });
    }

    /// Says that what the mutex guards was left half done: later holders are told, until one calls `mark_consistent`.
    ///
    /// >>> arena = faretra.Arena.create("doc-guard-inconsistent", keep=False)
    /// >>> with arena.mutex("m") as guard:
    /// ...     guard.mark_inconsistent()
    /// >>> with arena.mutex("m") as guard:
    /// ...     guard.recovered
    /// True
    /// >>> arena.close()
    fn mark_inconsistent(&self) {
        self.with(|held| {
            if let Some(held) = held {
                held.mark_inconsistent();
            }
        });
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exc))]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.end(py, failed(exc)?)
    }

    fn __repr__(&self) -> String {
        let state = if self.released() { "released" } else { "locked" };
        let recovered = if self.recovered { ", recovered" } else { "" };
        format!("<faretra.MutexGuard, {state}{recovered}>")
    }
}

/// A number of permits that processes share. `faretra.Arena.semaphore` makes one.
///
/// A permit belongs to the process that took it, and comes back when that process dies.
///
/// >>> arena = faretra.Arena.create("doc-semaphore-class", keep=False)
/// >>> gpus = arena.semaphore("gpus", 2)
/// >>> with gpus:
/// ...     gpus.available(), gpus.capacity
/// (1, 2)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
pub struct Semaphore {
    semaphore: sync::Semaphore,
    name: String,
    entered: Stack<Permit>,
}

impl std::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.semaphore.fmt(f)
    }
}

impl Semaphore {
    fn take<'py>(&self, py: Python<'py>, limit: Option<Duration>) -> PyResult<Result<Bound<'py, Permit>, Error>> {
        let semaphore = &self.semaphore;
        let now = || Ok(semaphore.try_acquire()?.map(sync::Permit::into_owned));
        let later = |limit| match limit {
            None => semaphore.acquire().map(sync::Permit::into_owned),
            Some(limit) => semaphore.acquire_timeout(limit).map(sync::Permit::into_owned),
        };
        let held = match take(py, limit, now, later)? {
            Ok(held) => held,
            Err(late) => return Ok(Err(late)),
        };
        let recovered = held.recovered();
        Ok(Ok(Bound::new(py, Permit { held: Cell::new(Some(held)), semaphore: semaphore.clone(), recovered })?))
    }

    /// What the library has of it.
    pub fn inner(&self) -> &sync::Semaphore {
        &self.semaphore
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (arena, name, permits, initial=None))]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        permits: i64,
        initial: Option<i64>,
    ) -> PyResult<Semaphore> {
        let (arena, name) = (arena.get().get(py)?, text(name)?);
        let (Ok(capacity), Ok(free)) = (u32::try_from(permits), u32::try_from(initial.unwrap_or(permits))) else {
            let initial = initial.map_or(String::new(), |initial| format!(" with {initial} free at first"));
            let text = format!("a semaphore has 1 to {} permits, not {permits}{initial}", sync::MAX_PERMITS);
            return Err(Failure::invalid(text).raise(py));
        };
        let semaphore = run(py, || arena.semaphore_with(name, free, capacity))?;
        Ok(Semaphore { semaphore, name: name.to_owned(), entered: Stack(Cell::default()) })
    }

    /// The semaphore's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// How many permits there are.
    #[getter]
    fn capacity(&self) -> u32 {
        self.semaphore.capacity()
    }

    /// Returns how many permits are free at this moment.
    ///
    /// >>> arena = faretra.Arena.create("doc-semaphore-available", keep=False)
    /// >>> arena.semaphore("gpus", 2).available()
    /// 2
    /// >>> arena.close()
    fn available(&self, py: Python<'_>) -> PyResult<u32> {
        run(py, || self.semaphore.available())
    }

    /// Waits until a permit is free, and takes it. The permit comes back when its block ends, when it is released, and when it
    /// is collected.
    ///
    /// `timeout` is in seconds, or a timedelta; 0 does not wait.
    ///
    /// Raises:
    ///     TimeoutError: No permit is free after `timeout`.
    ///
    /// >>> arena = faretra.Arena.create("doc-semaphore-permit", keep=False)
    /// >>> gpus = arena.semaphore("gpus", 2)
    /// >>> with gpus.permit(timeout=5):
    /// ...     gpus.available()
    /// 1
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn permit<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, Permit>> {
        in_time(py, self.take(py, crate::arena::timeout(timeout)?)?)
    }

    /// Takes a permit if one is free now, and returns it; otherwise returns `None`.
    ///
    /// >>> arena = faretra.Arena.create("doc-semaphore-try", keep=False)
    /// >>> gpus = arena.semaphore("gpus", 1)
    /// >>> permit = gpus.try_permit()
    /// >>> gpus.try_permit() is None
    /// True
    /// >>> permit.release()
    /// >>> arena.close()
    fn try_permit<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Permit>>> {
        Ok(self.take(py, Some(Duration::ZERO))?.ok())
    }

    /// Takes a permit as `threading.Semaphore.acquire` does, and returns whether there was one. The object keeps the permit,
    /// until `release` is called.
    ///
    /// >>> arena = faretra.Arena.create("doc-semaphore-acquire", keep=False)
    /// >>> gpus = arena.semaphore("gpus", 1)
    /// >>> gpus.acquire(), gpus.acquire(timeout=0.01)
    /// (True, False)
    /// >>> gpus.release()
    /// >>> arena.close()
    #[pyo3(signature = (blocking=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let permit = self.take(py, as_threading(blocking, timeout)?)?.ok();
        Ok(permit.inspect(|permit| self.entered.push(permit)).is_some())
    }

    /// Gives back what `acquire` of this object took; if it took nothing, makes a permit free that was used up (`forget`, or
    /// `initial`), in whatever process.
    ///
    /// Raises:
    ///     InvalidError: There are no such permits: there are never more than `capacity`.
    ///
    /// >>> arena = faretra.Arena.create("doc-semaphore-release", keep=False)
    /// >>> ready = arena.semaphore("ready", 8, initial=0)
    /// >>> ready.release(3)
    /// >>> ready.available()
    /// 3
    /// >>> arena.close()
    #[pyo3(signature = (n=1))]
    fn release(&self, py: Python<'_>, n: i64) -> PyResult<()> {
        if n < 1 {
            return Err(Failure::invalid(format!("1 permit or more is released, not {n}")).raise(py));
        }
        for _ in 0..n {
            match self.entered.pop() {
                Some(permit) => permit.get().release(py)?,
                None => run(py, || self.semaphore.release())?,
            }
        }
        Ok(())
    }

    /// Returns a descriptor that is readable when a permit is free.
    ///
    /// >>> arena = faretra.Arena.create("doc-semaphore-pollable", keep=False)
    /// >>> arena.semaphore("gpus", 2, initial=0).pollable().is_ready()
    /// False
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        Pollable::new(py, || self.semaphore.pollable())
    }

    /// The waits of the semaphore for an event loop: `async with gpus.aio:`, `await gpus.aio.permit(timeout=None)`.
    #[getter]
    fn aio<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf.as_any(), "SemaphoreAio")
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Permit>> {
        let permit = in_time(py, self.take(py, None)?)?;
        self.entered.push(&permit);
        Ok(permit)
    }

    #[pyo3(signature = (*exc))]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        let _ = exc;
        self.entered.pop().map_or(Ok(()), |permit| permit.get().release(py))
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Semaphore '{}', {} permits>", self.name, self.semaphore.capacity())
    }
}

/// A permit of a semaphore. It comes back when its block ends, when `release` is called, and when it is collected.
///
/// >>> arena = faretra.Arena.create("doc-permit-class", keep=False)
/// >>> with arena.semaphore("gpus", 2).permit() as permit:
/// ...     permit.released
/// False
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Permit {
    held: Cell<Option<sync::Permit<'static>>>,
    semaphore: sync::Semaphore,
    recovered: bool,
}

impl Permit {
    fn take(&self) -> Option<sync::Permit<'static>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Permit {
    /// Whether the process that had this permit before died with it.
    #[getter]
    fn recovered(&self) -> bool {
        self.recovered
    }

    /// Whether the permit was given back or used up.
    #[getter]
    fn released(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Gives the permit back. The second time nothing happens.
    ///
    /// Raises:
    ///     ForkedError: This process was forked from the one that took it.
    ///
    /// >>> arena = faretra.Arena.create("doc-permit-release", keep=False)
    /// >>> gpus = arena.semaphore("gpus", 2)
    /// >>> permit = gpus.permit()
    /// >>> permit.release()
    /// >>> gpus.available()
    /// 2
    /// >>> arena.close()
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        run(py, || {
            self.semaphore.available()?;
            drop(self.take());
            Ok::<(), Error>(())
        })
    }

    /// Uses the permit up: it is nobody's, and stays so when this process ends, until somebody calls `Semaphore.release`.
    ///
    /// >>> arena = faretra.Arena.create("doc-permit-forget", keep=False)
    /// >>> tickets = arena.semaphore("tickets", 2)
    /// >>> tickets.permit().forget()
    /// >>> tickets.available()
    /// 1
    /// >>> tickets.release()
    /// >>> arena.close()
    fn forget(&self, py: Python<'_>) -> PyResult<()> {
        run(py, || {
            self.semaphore.available()?;
            if let Some(held) = self.take() {
                held.forget();
            }
            Ok::<(), Error>(())
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exc))]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        let _ = exc;
        self.release(py)
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Permit, {}>", if self.released() { "released" } else { "held" })
    }
}

/// A flag that processes wait for. `faretra.Arena.event` makes one. It has the methods of `threading.Event`.
///
/// >>> arena = faretra.Arena.create("doc-event-class", keep=False)
/// >>> started = arena.event("started")
/// >>> started.wait(timeout=0)
/// False
/// >>> started.set()
/// >>> started.wait(), started.is_set()
/// (True, True)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Event {
    event: sync::Event,
    name: String,
    auto_reset: bool,
}

impl Event {
    /// What the library has of it.
    pub fn inner(&self) -> &sync::Event {
        &self.event
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (arena, name, auto_reset=Some(false)), text_signature = "(arena, name, auto_reset=False)")]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        auto_reset: Option<bool>,
    ) -> PyResult<Event> {
        let (arena, name) = (arena.get().get(py)?, text(name)?);
        let event = run(py, || match auto_reset {
            Some(true) => arena.event(name, sync::Reset::Auto),
            Some(false) => arena.event(name, sync::Reset::Manual),
            // Whatever it is, it must be there.
            None => arena.open_event(name),
        })?;
        let auto_reset = event.how_reset() == sync::Reset::Auto;
        Ok(Event { event, name: name.to_owned(), auto_reset })
    }

    /// The event's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Whether one waiter goes on and resets the event. Otherwise it stays set until `clear`, and all go on.
    #[getter]
    fn auto_reset(&self) -> bool {
        self.auto_reset
    }

    /// Sets the event, and wakes those who wait for it.
    ///
    /// >>> arena = faretra.Arena.create("doc-event-set", keep=False)
    /// >>> arena.event("go").set()
    /// >>> arena.event("go").is_set()
    /// True
    /// >>> arena.close()
    fn set(&self, py: Python<'_>) -> PyResult<()> {
        run(py, || self.event.set())
    }

    /// Resets the event: those who wait from now on wait for the next `set`.
    ///
    /// >>> arena = faretra.Arena.create("doc-event-clear", keep=False)
    /// >>> go = arena.event("go")
    /// >>> go.set()
    /// >>> go.clear()
    /// >>> go.is_set()
    /// False
    /// >>> arena.close()
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        run(py, || self.event.reset())
    }

    /// Returns whether the event is set at this moment. Does not reset it.
    ///
    /// >>> arena = faretra.Arena.create("doc-event-is-set", keep=False)
    /// >>> arena.event("go").is_set()
    /// False
    /// >>> arena.close()
    fn is_set(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.event.is_set())
    }

    /// Waits until the event is set, and returns `True`; or `False` after `timeout` seconds. Resets an event of `auto_reset`.
    ///
    /// >>> arena = faretra.Arena.create("doc-event-wait", keep=False)
    /// >>> ticket = arena.event("ticket", auto_reset=True)
    /// >>> ticket.set()
    /// >>> ticket.wait(timeout=5), ticket.wait(timeout=0.01)
    /// (True, False)
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let limit = crate::arena::timeout(timeout)?;
        let event = &self.event;
        if run(py, || event.try_wait())? {
            return Ok(true);
        }
        match limit {
            None => wait(py, || event.wait().map(|()| true)),
            Some(Duration::ZERO) => Ok(false),
            Some(limit) => wait(py, || match event.wait_timeout(limit) {
                Err(Error::TimedOut(_)) => Ok(false),
                done => done.map(|()| true),
            }),
        }
    }

    /// Returns a descriptor that is readable when the event is set.
    ///
    /// >>> arena = faretra.Arena.create("doc-event-pollable", keep=False)
    /// >>> arena.event("go").pollable().is_ready()
    /// False
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        Pollable::new(py, || self.event.pollable())
    }

    /// The wait of the event for an event loop: `await event.aio.wait(timeout=None)`.
    #[getter]
    fn aio<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        aio(slf.as_any(), "EventAio")
    }

    fn __repr__(&self) -> String {
        let how = if self.auto_reset { ", resets itself" } else { "" };
        format!("<faretra.Event '{}'{how}>", self.name)
    }
}
