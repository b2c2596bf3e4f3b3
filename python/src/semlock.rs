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
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
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

/// What this process has of semaphores, by arena and name.
type Known = HashMap<(PathBuf, String), Weak<Shared>>;

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// What this process has of a semaphore.
///
/// Threads use it one at a time, with the interpreter, so the numbers need no order among themselves: they are atomic for the
/// compiler's sake.
#[derive(Debug)]
struct Shared {
    handle: Generation,
    /// The permits that this process acquired and did not release, while the semaphore is not signalled, as numbers
    /// ([`Permit::into_words`]): one, or none if the first number is 0; and the others.
    one: [AtomicU64; 2],
    others: AtomicU64,
    more: Mutex<Vec<[u64; 2]>>,
    /// How often it was acquired here, less how often it was released.
    count: AtomicI64,
    /// The thread that acquired it last.
    thread: AtomicU64,
    /// Whether the last acquire got a permit that a dead process had.
    recovered: AtomicBool,
}

/// The semaphore's handle: the process's own, made when it was forked, or the one that its parent had.
#[derive(Debug)]
struct Generation {
    semaphore: Semaphore,
    forked: OnceLock<Box<Generation>>,
}

impl Shared {
    fn new(semaphore: Semaphore) -> Shared {
        Shared {
            handle: Generation { semaphore, forked: OnceLock::new() },
            one: [AtomicU64::new(0), AtomicU64::new(0)],
            others: AtomicU64::new(0),
            more: Mutex::default(),
            count: AtomicI64::new(0),
            thread: AtomicU64::new(0),
            recovered: AtomicBool::new(false),
        }
    }

    #[inline]
    fn last(&self) -> &Generation {
        let mut last = &self.handle;
        while let Some(forked) = last.forked.get() {
            last = forked;
        }
        last
    }

    #[inline]
    fn semaphore(&self) -> &Semaphore {
        &self.last().semaphore
    }

    #[inline]
    fn is_mine(&self) -> bool {
        self.count.load(Relaxed) > 0 && self.thread.load(Relaxed) == this_thread()
    }

    #[inline]
    fn add(&self, more: i64) {
        self.count.store(self.count.load(Relaxed) + more, Relaxed);
    }

    /// Notes a permit that was acquired.
    #[inline]
    fn acquired(&self, permit: Permit<'_>, recursive: bool) -> Result<(), Error> {
        self.recovered.store(permit.recovered(), Relaxed);
        self.add(1);
        self.thread.store(this_thread(), Relaxed);
        if !recursive && self.semaphore().is_posted()? {
            permit.forget();
            return self.give_up();
        }
        let words = permit.into_words();
        if self.one[0].load(Relaxed) == 0 {
            self.one[1].store(words[1], Relaxed);
            self.one[0].store(words[0], Relaxed);
        } else {
            let mut more = self.more();
            more.push(words);
            self.others.store(more.len() as u64, Relaxed);
        }
        Ok(())
    }

    /// A permit that this process has.
    #[inline]
    fn take(&self) -> Result<Option<Permit<'_>>, Error> {
        let words = if self.others.load(Relaxed) != 0 {
            let mut more = self.more();
            let words = more.pop();
            self.others.store(more.len() as u64, Relaxed);
            words
        } else {
            let [off, ticket] = [&self.one[0], &self.one[1]].map(|word| word.load(Relaxed));
            self.one[0].store(0, Relaxed);
            (off != 0).then_some([off, ticket])
        };
        words.map(|words| self.semaphore().permit(words)).transpose()
    }

    /// Locked for a moment, by who has the interpreter: so a fork never meets it locked.
    fn more(&self) -> MutexGuard<'_, Vec<[u64; 2]>> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The semaphore is signalled: the permits are nobody's.
    fn give_up(&self) -> Result<(), Error> {
        while let Some(permit) = self.take()? {
            permit.forget();
        }
        Ok(())
    }

    /// This is a forked child, which has nothing.
    fn forked(&self, semaphore: Semaphore) {
        // Twice if two objects stand for the semaphore: the handles are the same.
        let _ = self.last().forked.set(Box::new(Generation { semaphore, forked: OnceLock::new() }));
        self.one[0].store(0, Relaxed);
        self.more().clear();
        self.others.store(0, Relaxed);
        self.count.store(0, Relaxed);
        self.recovered.store(false, Relaxed);
    }
}

/// A number that no other thread of this process has while this one lives.
#[inline]
fn this_thread() -> u64 {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr() as u64)
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

    fn post(&self, py: Python<'_>) -> PyResult<()> {
        let semaphore = self.shared.semaphore();
        if run(py, || semaphore.available())? >= self.most {
            return Err(if self.most == MOST {
                PyOverflowError::new_err(format!("the semaphore has the highest value, {MOST}"))
            } else {
                SemLock::too_often()
            });
        }
        run(py, || semaphore.post(1))
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
                let shared = Arc::new(Shared::new(semaphore));
                if known.len().is_power_of_two() {
                    known.retain(|_, other| other.strong_count() != 0);
                }
                known.insert(key, Arc::downgrade(&shared));
                shared
            }
        };
        Ok(SemLock { shared, kind, most: maxvalue, name })
    }

    /// Takes a permit. Returns false if there is none at once (`block=False`) or within `timeout` seconds.
    #[pyo3(signature = (block=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let (shared, recursive) = (&*self.shared, self.kind == RECURSIVE);
        if recursive && shared.is_mine() {
            shared.add(1);
            return Ok(true);
        }
        let now = run(py, || match shared.semaphore().try_acquire()? {
            Some(permit) => shared.acquired(permit, recursive).map(|()| true),
            None => Ok(false),
        })?;
        if now {
            return Ok(true);
        }
        let limit = if block { self::timeout(timeout)? } else { Some(Duration::ZERO) };
        if limit == Some(Duration::ZERO) {
            return Ok(false);
        }
        let semaphore = shared.semaphore();
        let permit = wait(py, || match limit {
            None => semaphore.acquire().map(Some),
            Some(limit) => match semaphore.acquire_timeout(limit) {
                Err(Error::TimedOut(_)) => Ok(None),
                permit => permit.map(Some),
            },
        })?;
        let Some(permit) = permit else { return Ok(false) };
        run(py, || shared.acquired(permit, recursive))?;
        Ok(true)
    }

    /// Gives a permit back, or adds one if this process has none.
    ///
    /// Raises:
    ///     AssertionError: It is a recursive lock that this thread does not have.
    ///     ValueError: It has its highest value.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let shared = &*self.shared;
        if self.kind == RECURSIVE {
            if !shared.is_mine() {
                return Err(PyAssertionError::new_err("attempt to release recursive lock not owned by thread"));
            }
            if shared.count.load(Relaxed) == 1 {
                run(py, || shared.take().map(drop))?;
            }
        } else {
            let released = run(py, || {
                if shared.semaphore().is_posted()? {
                    return shared.give_up().map(|()| false);
                }
                // Dropping the permit gives it back.
                shared.take().map(|permit| permit.is_some())
            })?;
            if !released {
                self.post(py)?;
            }
        }
        shared.add(-1);
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
        self.shared.recovered.load(Relaxed)
    }

    /// How often it was acquired in this process, less how often it was released here.
    fn _count(&self) -> i64 {
        self.shared.count.load(Relaxed)
    }

    /// Whether this thread acquired it last.
    fn _is_mine(&self) -> bool {
        self.shared.is_mine()
    }

    /// How many permits are free.
    fn _get_value(&self, py: Python<'_>) -> PyResult<u32> {
        run(py, || self.shared.semaphore().available())
    }

    fn _is_zero(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self._get_value(py)? == 0)
    }

    /// What a forked child has of it: nothing.
    fn _after_fork(&self, py: Python<'_>, arena: &Bound<'_, Arena>) -> PyResult<()> {
        let arena = arena.get().get(py)?;
        self.shared.forked(run(py, || arena.open_semaphore(&self.name))?);
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
