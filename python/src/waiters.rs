//! `Waiters`: those who wait at a `Condition` of `faretra.multiprocessing`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use faretra::{Error, sync};
use pyo3::prelude::*;

use crate::arena::{Arena, text, timeout};
use crate::error::{run, wait};

/// The waiters of a condition, who are told one by one. `faretra.multiprocessing.synchronize.Condition` has one.
#[pyclass(frozen, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Waiters {
    condition: Mutex<sync::Condition>,
    name: String,
}

impl Waiters {
    fn condition(&self) -> sync::Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[pymethods]
impl Waiters {
    /// `new`: makes it. Otherwise it is there.
    #[new]
    fn new(py: Python<'_>, arena: &Bound<'_, Arena>, name: &Bound<'_, PyAny>, new: bool) -> PyResult<Waiters> {
        let (arena, name) = (arena.get().get(py)?, text(name)?);
        let condition = run(py, || if new { arena.condition(name) } else { arena.open_condition(name) })?;
        Ok(Waiters { condition: Mutex::new(condition), name: name.to_owned() })
    }

    /// The name in the arena.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Puts this thread on the list, behind all others.
    fn enlist(&self, py: Python<'_>) -> PyResult<Waiter> {
        let condition = self.condition();
        Ok(Waiter { waiter: Mutex::new(Some(Arc::new(run(py, || condition.enlist())?))) })
    }

    /// Tells the `n` waiters to go on that have waited longest and live. Returns how many were told.
    fn notify(&self, py: Python<'_>, n: u32) -> PyResult<u32> {
        let condition = self.condition();
        run(py, || condition.notify(n))
    }

    /// Tells all of them to go on.
    fn notify_all(&self, py: Python<'_>) -> PyResult<u32> {
        let condition = self.condition();
        run(py, || condition.notify_all())
    }

    /// How many wait and were not told to go on.
    fn waiting(&self, py: Python<'_>) -> PyResult<u32> {
        let condition = self.condition();
        run(py, || condition.waiting())
    }

    /// How many died on the list since this was asked last.
    fn lost(&self, py: Python<'_>) -> PyResult<u32> {
        let condition = self.condition();
        run(py, || condition.lost())
    }

    /// Opens it in a forked child.
    fn _after_fork(&self, py: Python<'_>, arena: &Bound<'_, Arena>) -> PyResult<()> {
        let arena = arena.get().get(py)?;
        let condition = run(py, || arena.open_condition(&self.name))?;
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
        Ok(())
    }
}

/// A place on the list.
#[pyclass(frozen, module = "faretra._native")]
#[derive(Debug)]
pub struct Waiter {
    waiter: Mutex<Option<Arc<sync::Waiter>>>,
}

#[pymethods]
impl Waiter {
    /// Waits until it is told to go on; `False` if it is not within `timeout` seconds.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let limit = self::timeout(timeout)?;
        let waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(waiter) = waiter else { return Ok(false) };
        match limit {
            Some(Duration::ZERO) => run(py, || waiter.try_wait()),
            None => wait(py, || waiter.wait().map(|()| true)),
            Some(limit) => wait(py, || match waiter.wait_timeout(limit) {
                Err(Error::TimedOut(_)) => Ok(false),
                told => told.map(|()| true),
            }),
        }
    }

    /// Takes it off the list. Returns whether it was told to go on.
    fn leave(&self) -> bool {
        let waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner).take();
        waiter.and_then(Arc::into_inner).is_some_and(sync::Waiter::leave)
    }

    /// Takes it off the list; if it was told to go on, another is told in its place.
    fn abandon(&self) {
        drop(self.waiter.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
