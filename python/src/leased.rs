//! What is leased to this process until it is done or given back: items of channels, and requests.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use faretra::Object;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::error::Failure;
use crate::value::{Pickling, output};

/// What there is until the lease ends: the library's lease, and the value once somebody took it.
#[derive(Debug)]
pub struct Held<T> {
    pub lease: T,
    pub value: Option<Py<PyAny>>,
}

/// A lease as Python holds it.
#[derive(Debug)]
pub struct Leased<T> {
    held: Mutex<Option<Held<T>>>,
    attempts: u64,
    nbytes: u64,
    name: String,
    pickling: Pickling,
}

impl<T> Leased<T> {
    fn slot(&self) -> MutexGuard<'_, Option<Held<T>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the lease goes on.
    pub fn is_held(&self) -> bool {
        self.slot().is_some()
    }

    /// The lease, which ends here; `None`: it ended before.
    pub fn take(&self) -> Option<Held<T>> {
        self.slot().take()
    }

    /// The lease goes on.
    pub fn put_back(&self, held: Held<T>) {
        *self.slot() = Some(held);
    }

    /// How often it was received before.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// How many bytes it takes in the arena.
    pub fn nbytes(&self) -> u64 {
        self.nbytes
    }

    /// The name of what it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `__traverse__` visits.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.held.try_lock().as_deref() {
            Ok(Some(Held { value: Some(value), .. })) => visit.call(value),
            _ => Ok(()),
        }
    }

    /// What `__clear__` drops.
    pub fn clear(&self) {
        let value = self.slot().as_mut().and_then(|held| held.value.take());
        drop(value);
    }
}

impl<T: Deref<Target = Object>> Leased<T> {
    /// A lease that begins.
    pub fn new(lease: T, attempts: u64, name: String, pickling: Pickling) -> Leased<T> {
        let nbytes = lease.nbytes();
        Leased { held: Mutex::new(Some(Held { lease, value: None })), attempts, nbytes, name, pickling }
    }

    /// What is leased, while the lease goes on.
    pub fn object(&self) -> Option<Object> {
        self.slot().as_ref().map(|held| Object::clone(&held.lease))
    }

    /// The value, which is made once. `over` is the error after the lease ended.
    pub fn value<'py>(&self, py: Python<'py>, over: impl FnOnce() -> Failure) -> PyResult<Bound<'py, PyAny>> {
        if let Some(known) = self.slot().as_ref().and_then(|held| held.value.as_ref()) {
            return Ok(known.bind(py).clone());
        }
        let object = self.object().ok_or_else(|| over().raise(py))?;
        let value = output(py, object, self.pickling)?;
        if let Some(held) = &mut *self.slot()
            && held.value.is_none()
        {
            held.value = Some(value.clone().unbind());
        }
        Ok(value)
    }
}
