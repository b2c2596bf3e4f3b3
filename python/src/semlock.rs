//! `SemLock`: what the locks and semaphores of `faretra.multiprocessing` are made of.
//!
//! It has the interface of `_multiprocessing.SemLock`. Behind it is a semaphore of the arena, in one of two ways:
//!
//! * *held*: a permit belongs to the process that acquired it, and comes back when that process dies.
//! * *signalled*: the permits are only counted, and a death returns nothing. A semaphore goes over to that when a process
//!   releases it that has acquired none of its permits: whoever does so uses it as a signal between processes, and then each
//!   acquire has to count. It is so from the beginning if its first value is 0 or more than [`MOST_HELD`]. The processes that
//!   have permits give them up, to nobody, at their next call.
//!
//! A semaphore can be raised above its first value, up to [`MOST`]: permits are added to it then
//! ([`faretra::sync::Semaphore::post`]).
//!
//! The objects of one process that stand for the same semaphore share what this process has of it ([`Shared`]).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use faretra::Error;
use faretra::sync::{Permit, Semaphore};
use pyo3::exceptions::{PyAssertionError, PyOverflowError, PyValueError};
use pyo3::prelude::*;

use crate::arena::{Arena, text, timeout};
use crate::error::{run, wait};

/// The kinds, as `multiprocessing.synchronize` numbers them: a lock that its thread can acquire again, and all others.
const RECURSIVE: u8 = 0;
/// The most permits that are held by processes; more are counted only.
const MOST_HELD: u32 = 1024;
/// The highest value: `SEM_VALUE_MAX` of the C library.
const MOST: u32 = i32::MAX as u32;

/// Which semaphores this process has, by arena and name.
static KNOWN: Mutex<Option<HashMap<(PathBuf, String), Weak<Shared>>>> = Mutex::new(None);

/// What this process has of a semaphore.
#[derive(Debug)]
struct Shared(Mutex<Mine>);

#[derive(Debug)]
struct Mine {
    semaphore: Semaphore,
    /// Those that this process acquired and did not release, while the semaphore is not signalled.
    held: Vec<Permit<'static>>,
    /// How often it was acquired here, less how often it was released.
    count: i64,
    /// The thread that acquired it last.
    thread: usize,
    /// Whether the last acquire got a permit that a dead process had.
    recovered: bool,
}

impl Shared {
    /// Locked while the interpreter is, and never while something waits: so a fork never meets it locked.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Mine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mine {
    #[inline]
    fn is_mine(&self) -> bool {
        self.count > 0 && self.thread == this_thread()
    }

    /// Notes a permit that was acquired.
    #[inline]
    fn acquired(&mut self, permit: Permit<'static>, recursive: bool) -> Result<(), Error> {
        self.recovered = permit.recovered();
        self.count += 1;
        self.thread = this_thread();
        if !recursive && self.semaphore.is_posted()? {
            permit.forget();
            self.give_up();
        } else {
            self.held.push(permit);
        }
        Ok(())
    }

    /// The semaphore is signalled: the permits are nobody's.
    fn give_up(&mut self) {
        self.held.drain(..).for_each(Permit::forget);
    }
}

/// A number that no other thread of this process has while this one lives.
#[inline]
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// What `multiprocessing`'s locks and semaphores are. `faretra.multiprocessing.synchronize` makes them.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
pub struct SemLock {
    shared: Arc<Shared>,
    kind: u8,
    most: u32,
    name: String,
}

impl SemLock {
    fn too_often() -> PyErr {
        PyValueError::new_err("semaphore or lock released too many times")
    }

    fn post(&self, py: Python<'_>, mine: &Mine) -> PyResult<()> {
        if run(py, || mine.semaphore.available())? >= self.most {
            return Err(if self.most == MOST {
                PyOverflowError::new_err(format!("the semaphore has the highest value, {MOST}"))
            } else {
                SemLock::too_often()
            });
        }
        run(py, || mine.semaphore.post(1))
    }
}

#[pymethods]
impl SemLock {
    /// The highest value that a semaphore can have.
    #[classattr]
    const SEM_VALUE_MAX: u32 = MOST;

    /// `value`: the number of free permits of a new semaphore; `None` for one that there is.
    #[new]
    #[pyo3(signature = (arena, name, kind, value, maxvalue))]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        kind: u8,
        value: Option<u32>,
        maxvalue: u32,
    ) -> PyResult<SemLock> {
        let (arena, name) = (arena.get().get(py)?, text(name)?.to_owned());
        let key = (arena.path().to_owned(), name.clone());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        let shared = match (known.get(&key).and_then(Weak::upgrade), value) {
            (Some(shared), None) => shared,
            _ => {
                let semaphore = run(py, || match value {
                    None => arena.open_semaphore(&name),
                    Some(value @ 1..=MOST_HELD) => arena.semaphore(&name, value),
                    Some(value) => {
                        // One permit that is used up, and `value` that are counted.
                        let semaphore = arena.semaphore_with(&name, 0, 1)?;
                        semaphore.post(value).map(|()| semaphore)
                    }
                })?;
                let mine = Mine { semaphore, held: Vec::new(), count: 0, thread: 0, recovered: false };
                let shared = Arc::new(Shared(Mutex::new(mine)));
                known.retain(|_, other| other.strong_count() != 0);
                known.insert(key, Arc::downgrade(&shared));
                shared
            }
        };
        Ok(SemLock { shared, kind, most: maxvalue, name })
    }

    /// Takes a permit. Returns false if there is none at once (`block=False`) or within `timeout` seconds.
    #[pyo3(signature = (block=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let recursive = self.kind == RECURSIVE;
        let mut mine = self.shared.lock();
        if recursive && mine.is_mine() {
            mine.count += 1;
            return Ok(true);
        }
        let now = run(py, || {
            let permit = mine.semaphore.try_acquire()?.map(Permit::into_owned);
            permit.map(|permit| mine.acquired(permit, recursive)).transpose()
        })?;
        if now.is_some() {
            return Ok(true);
        }
        let limit = if block { self::timeout(timeout)? } else { Some(Duration::ZERO) };
        if limit == Some(Duration::ZERO) {
            return Ok(false);
        }
        let semaphore = mine.semaphore.clone();
        drop(mine);
        let permit = wait(py, || match limit {
            None => semaphore.acquire().map(|permit| Some(permit.into_owned())),
            Some(limit) => match semaphore.acquire_timeout(limit) {
                Err(Error::TimedOut(_)) => Ok(None),
                permit => permit.map(|permit| Some(permit.into_owned())),
            },
        })?;
        let Some(permit) = permit else { return Ok(false) };
        run(py, || self.shared.lock().acquired(permit, recursive))?;
        Ok(true)
    }

    /// Gives a permit back, or adds one if this process has none.
    ///
    /// Raises:
    ///     AssertionError: It is a recursive lock that this thread does not have.
    ///     ValueError: It has its highest value.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let mut mine = self.shared.lock();
        if self.kind == RECURSIVE {
            if !mine.is_mine() {
                return Err(PyAssertionError::new_err("attempt to release recursive lock not owned by thread"));
            }
            if mine.count == 1 {
                let permit = mine.held.pop();
                run(py, || Ok::<_, Error>(drop(permit)))?;
            }
        } else if run(py, || mine.semaphore.is_posted())? {
            run(py, || Ok::<_, Error>(mine.give_up()))?;
            self.post(py, &mine)?;
        } else if let Some(permit) = mine.held.pop() {
            run(py, || Ok::<_, Error>(drop(permit)))?;
        } else {
            self.post(py, &mine)?;
        }
        mine.count -= 1;
        Ok(())
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = (kind, value, traceback);
        self.release(py)
    }

    /// Whether the last acquire in this process got what a process had that died.
    #[getter]
    fn recovered(&self) -> bool {
        self.shared.lock().recovered
    }

    /// How often it was acquired in this process, less how often it was released here.
    fn _count(&self) -> i64 {
        self.shared.lock().count
    }

    /// Whether this thread acquired it last.
    fn _is_mine(&self) -> bool {
        self.shared.lock().is_mine()
    }

    /// How many permits are free.
    fn _get_value(&self, py: Python<'_>) -> PyResult<u32> {
        run(py, || self.shared.lock().semaphore.available())
    }

    fn _is_zero(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self._get_value(py)? == 0)
    }

    /// What a forked child has of it: nothing.
    fn _after_fork(&self, py: Python<'_>, arena: &Bound<'_, Arena>) -> PyResult<()> {
        let arena = arena.get().get(py)?;
        let mut mine = self.shared.lock();
        mine.semaphore = run(py, || arena.open_semaphore(&self.name))?;
        mine.held.clear();
        (mine.count, mine.thread, mine.recovered) = (0, 0, false);
        Ok(())
    }

    /// Its name in the arena.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// 0: its thread can acquire it again; 1: any other.
    #[getter]
    fn kind(&self) -> u8 {
        self.kind
    }

    /// The highest value that it can be released to.
    #[getter]
    fn maxvalue(&self) -> u32 {
        self.most
    }
}
