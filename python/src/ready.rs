//! Readiness: descriptors for `select` and event loops.

use std::os::fd::AsRawFd;

use pyo3::prelude::*;

use crate::error::run;

/// A file descriptor that is readable when something is ready: for `select`, `selectors`, `poll` and event loops.
///
/// `mutex.pollable()` and its likes make one. Once the descriptor is readable, it stays readable until `rearm` is called, and
/// nothing is watched meanwhile. It is a hint: another process may be faster, so try without waiting then, and call `rearm` when
/// that finds nothing. Nobody else needs to read from the descriptor. It is closed when the `Pollable` is dropped.
///
/// >>> import select
/// >>> arena = faretra.Arena.create("doc-pollable", keep=False)
/// >>> event = arena.event("go")
/// >>> pollable = event.pollable()
/// >>> select.select([pollable], [], [], 0)[0]
/// []
/// >>> event.set()
/// >>> select.select([pollable], [], [], 5)[0] == [pollable]
/// True
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
    /// >>> pollable = arena.event("go").pollable()
    /// >>> pollable.fileno() > 0
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
    /// >>> arena = faretra.Arena.create("doc-pollable-rearm", keep=False)
    /// >>> pollable = arena.event("go").pollable()
    /// >>> pollable.rearm()
    /// False
    /// >>> arena.close()
    fn rearm(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.pollable.rearm())
    }

    /// Returns whether what the descriptor stands for is ready now. Leaves the descriptor as it is.
    ///
    /// >>> arena = faretra.Arena.create("doc-pollable-ready", keep=False)
    /// >>> pollable = arena.event("go").pollable()
    /// >>> pollable.is_ready()
    /// False
    /// >>> arena.close()
    fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.pollable.is_ready())
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Pollable, descriptor {}>", self.fileno())
    }
}
