//! Waits for several things.

use std::time::Duration;

use faretra::{Error, Select};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arena::timeout;
use crate::channel::{Receiver, Sender};
use crate::error::{Failure, run, wait};
use crate::feed::{Feed, Subscriber};
use crate::lock::{Event, Mutex, Semaphore};

/// Waits until at least one of `handles` is ready, and returns the numbers of those that are.
#[pyfunction]
#[pyo3(signature = (handles, limit=None))]
pub fn _select(
    py: Python<'_>,
    handles: Vec<Bound<'_, PyAny>>,
    limit: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<usize>> {
    let limit = timeout(limit)?;
    let mut select = Select::new();
    for handle in &handles {
        add(py, &mut select, handle)?;
    }
    if handles.is_empty() {
        return Err(Failure::invalid("there is nothing to wait for: give at least one handle").raise(py));
    }
    let first = match run(py, || select.try_ready())? {
        Some(first) => Some(first),
        None if limit == Some(Duration::ZERO) => None,
        None => wait(py, || {
            let ready = match limit {
                None => select.ready(),
                Some(limit) => select.ready_timeout(limit),
            };
            match ready {
                Err(Error::TimedOut(_)) => Ok(None),
                ready => ready.map(Some),
            }
        })?,
    };
    let mut ready: Vec<usize> = first.into_iter().collect();
    while let Some(&last) = ready.last() {
        select.remove(last);
        if ready.len() == handles.len() {
            break;
        }
        match run(py, || select.try_ready())? {
            Some(next) => ready.push(next),
            None => break,
        }
    }
    ready.sort_unstable();
    Ok(ready)
}

fn add(py: Python<'_>, select: &mut Select, handle: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(receiver) = handle.cast::<Receiver>() {
        let receiver = receiver.get().end.get(py)?;
        select.recv(&receiver);
    } else if let Ok(sender) = handle.cast::<Sender>() {
        let sender = sender.get().end.get(py)?;
        select.send(&sender);
    } else if let Ok(subscriber) = handle.cast::<Subscriber>() {
        subscriber.get().with(py, |subscriber| Ok(select.read(subscriber)))?;
    } else if let Ok(feed) = handle.cast::<Feed>() {
        let feed = feed.get().end.get(py)?;
        select.append(&feed);
    } else if let Ok(mutex) = handle.cast::<Mutex>() {
        select.lock(mutex.get().inner());
    } else if let Ok(semaphore) = handle.cast::<Semaphore>() {
        select.acquire(semaphore.get().inner());
    } else if let Ok(event) = handle.cast::<Event>() {
        select.wait(event.get().inner());
    } else {
        let kind = handle.get_type();
        return Err(PyTypeError::new_err(format!("a {} cannot be waited for with `select`", kind.name()?)));
    }
    Ok(())
}
