//! Readiness: descriptors for `select` and event loops, and what the ends of channels and feeds have in common.

use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use faretra::channel::WhenDeserted;
use faretra::{Error, Value};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arena::give;
use crate::error::{Failure, run, wait, wait_plain};
use crate::value::Input;

/// A file descriptor that is readable when something is ready: for `select`, `selectors`, `poll` and event loops.
///
/// `receiver.pollable()` and its likes make one. Once the descriptor is readable, it stays readable until `rearm` is called, and
/// nothing is watched meanwhile. It is a hint: another process may be faster, so poll with `timeout=0` then, and call `rearm` when
/// that finds nothing. Nobody else needs to read from the descriptor. It is closed when the `Pollable` is dropped.
///
/// >>> import select
/// >>> arena = faretra.Arena.create("doc-pollable", keep=False)
/// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
/// >>> pollable = rx.pollable()
/// >>> select.select([pollable], [], [], 0)[0]
/// []
/// >>> tx.send("a job")
/// >>> select.select([pollable], [], [], 5)[0] == [pollable]
/// True
/// >>> rx.recv().ack()
/// >>> pollable.rearm()
/// False
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Pollable {
    pollable: faretra::Pollable,
}

impl Pollable {
    /// A descriptor of its own.
    pub fn new(py: Python<'_>, make: impl FnOnce() -> faretra::Result<faretra::Pollable>) -> PyResult<Pollable> {
        Ok(Pollable { pollable: run(py, make)? })
    }
}

#[pymethods]
impl Pollable {
    /// The descriptor's number.
    ///
    /// >>> arena = faretra.Arena.create("doc-pollable-fileno", keep=False)
    /// >>> arena.sender("jobs").pollable().fileno() > 2
    /// True
    /// >>> arena.close()
    fn fileno(&self) -> i32 {
        self.pollable.as_raw_fd()
    }

    /// Makes the descriptor unreadable until what it stands for is ready. Returns whether that is ready now: then the descriptor
    /// is readable already.
    ///
    /// Raises:
    ///     ForkedError: It was made before this process was forked.
    ///
    /// >>> arena = faretra.Arena.create("doc-rearm", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> pollable = rx.pollable()
    /// >>> tx.send("a job")
    /// >>> pollable.rearm()
    /// True
    /// >>> arena.close()
    fn rearm(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.pollable.rearm())
    }

    /// Returns whether what the descriptor stands for is ready now. Leaves the descriptor as it is.
    ///
    /// >>> arena = faretra.Arena.create("doc-is-ready", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> pollable = rx.pollable()
    /// >>> tx.send("a job")
    /// >>> pollable.is_ready()
    /// True
    /// >>> arena.close()
    fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.pollable.is_ready())
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Pollable, descriptor {}>", self.fileno())
    }
}

/// The descriptor of an end, which is made when somebody asks for it, and follows what the end does from then on.
#[derive(Debug, Default)]
pub struct Descriptor(Mutex<Option<faretra::Pollable>>);

impl Descriptor {
    fn slot(&self) -> MutexGuard<'_, Option<faretra::Pollable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number. The second time, no new one is made.
    pub fn number(&self, py: Python<'_>, make: impl FnOnce() -> faretra::Result<faretra::Pollable>) -> PyResult<i32> {
        let mut slot = self.slot();
        if slot.is_none() {
            *slot = Some(run(py, make)?);
        }
        Ok(slot.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    /// Makes it say what is ready now, after the end was used. A failure is one of what comes next, too.
    pub fn follow(&self, py: Python<'_>) {
        if let Some(pollable) = &*self.slot() {
            let _ = run(py, || pollable.rearm());
        }
    }

    /// Lets go of it.
    pub fn close(&self) {
        drop(self.slot().take());
    }
}

/// One end of a channel or feed as Python holds it, until it is left.
#[derive(Debug)]
pub struct End<T> {
    kind: &'static str,
    name: String,
    slot: RwLock<Option<T>>,
    /// What `select` is given.
    pub descriptor: Descriptor,
}

impl<T: Clone + Send + Sync> End<T> {
    /// An end of what is called so.
    pub fn new(kind: &'static str, name: &str, end: T) -> End<T> {
        End { kind, name: name.to_owned(), slot: RwLock::new(Some(end)), descriptor: Descriptor::default() }
    }

    /// What it is an end of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is an end of, in a message.
    pub fn what(&self) -> String {
        format!("{} '{}'", self.kind, self.name)
    }

    /// The library's handle, unless it was left.
    pub fn get(&self, py: Python<'_>) -> PyResult<T> {
        let end = self.slot.read().unwrap_or_else(PoisonError::into_inner).clone();
        end.ok_or_else(|| left(py, &self.what()))
    }

    /// Whether it was left.
    pub fn is_left(&self) -> bool {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Leaves it. A call that waits in another thread goes on, and keeps it until then.
    pub fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let end = self.slot.write().unwrap_or_else(PoisonError::into_inner).take();
        wait_plain(py, || {
            self.descriptor.close();
            drop(end);
        })
    }
}

/// A value on its way into a channel or feed, for waits on an event loop: it is made ready once, and tried until there is room.
#[pyclass(frozen, module = "faretra._native")]
#[allow(missing_debug_implementations, reason = "lives for one call")]
pub struct Prepared {
    input: Mutex<Input>,
}

impl Prepared {
    /// Makes a value ready.
    pub fn new(py: Python<'_>, value: &Bound<'_, PyAny>, name: &str) -> PyResult<Prepared> {
        let input = Input::of(value, name)?;
        let input = if input.takes_long() { wait(py, || input.repeatable())? } else { input };
        Ok(Prepared { input: Mutex::new(input) })
    }

    /// Tries to put it in.
    pub fn attempt(
        &self,
        py: Python<'_>,
        at_once: impl Fn(Value<'_>) -> Result<(), Failure> + Send + Sync,
    ) -> PyResult<()> {
        give(py, &mut self.input.lock().unwrap_or_else(PoisonError::into_inner), at_once)
    }
}

/// The error of who uses an end that was left.
pub fn left(py: Python<'_>, what: &str) -> PyErr {
    Failure::invalid(format!("this end of {what} was left: make another one")).raise(py)
}

/// What an end is to do when nobody is at the other one.
pub fn when_deserted(given: &str) -> PyResult<WhenDeserted> {
    match given {
        "fail" => Ok(WhenDeserted::Fail),
        "block" => Ok(WhenDeserted::Block),
        _ => Err(PyValueError::new_err(format!("when_deserted is 'fail' or 'block', not {given:?}"))),
    }
}

/// Puts a value in: with the interpreter as long as that is quick, without it where it copies much or waits.
pub fn put(
    py: Python<'_>,
    input: &mut Input,
    limit: Option<Duration>,
    about: impl Fn() -> String + Send + Sync,
    put: impl Fn(Value<'_>, Option<Duration>) -> Result<(), Failure> + Send + Sync,
) -> PyResult<()> {
    let told = |failure: Failure| failure.about(&about);
    if limit == Some(Duration::ZERO) {
        return give(py, input, |value| put(value, limit).map_err(told));
    }
    if !input.takes_long() && !matches!(input, Input::Draft(_)) {
        let there = run(py, || {
            match input.value().map_err(Failure::from).and_then(|value| put(value, Some(Duration::ZERO))) {
                Ok(()) => Ok(true),
                Err(Failure::Full | Failure::Library(Error::NoSpace { .. })) => Ok(false),
                Err(failure) => Err(told(failure)),
            }
        })?;
        if there {
            return Ok(());
        }
    }
    wait(py, || input.value().map_err(Failure::from).and_then(|value| put(value, limit).map_err(told)))
}

/// Gets something: with the interpreter if it is there, without it while it is waited for.
pub fn take<T: Send, E: Into<Failure>>(
    py: Python<'_>,
    limit: Option<Duration>,
    about: impl Fn() -> String + Send + Sync,
    mut get: impl FnMut(Option<Duration>) -> Result<T, E> + Send,
) -> PyResult<T> {
    let there = run(py, || match get(Some(Duration::ZERO)).map_err(Into::into) {
        Ok(there) => Ok(Some(there)),
        Err(Failure::Empty | Failure::TimedOut) if limit != Some(Duration::ZERO) => Ok(None),
        // Who does not wait is told so in other words.
        Err(Failure::TimedOut) => Err(Failure::Empty.about(&about)),
        Err(failure) => Err(failure.about(&about)),
    })?;
    match there {
        Some(there) => Ok(there),
        None => wait(py, || get(limit).map_err(|failure| failure.into().about(&about))),
    }
}
