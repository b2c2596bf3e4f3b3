//! Values that are written in place, in the arena's memory, before they get a name.

use std::sync::{Arc, Mutex, PoisonError};

use faretra::{DraftMap, Error, Order, Writer};
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::error::wait;
use crate::memory::Writable;
use crate::value::array_over;

/// A value that is written in place: `with draft as array: ...` publishes it when the block ends, and drops it when the block
/// raises. Whatever is left of `array` afterwards is a private copy: writing to it changes nothing for anybody.
///
/// >>> with faretra.Arena.create("doc-draft-class", keep=False) as arena:
/// ...     draft = arena.draft_array("x", 3)
/// ...     draft.value[:] = 1
/// ...     draft.publish(), draft
/// (1, <faretra.Draft of 'x', published as version 1>)
#[pyclass(frozen, module = "faretra")]
#[derive(Debug)]
pub struct Draft {
    name: String,
    writer: Mutex<Option<Arc<Writer>>>,
    memory: Py<Writable>,
    array: Option<(faretra::DType, Vec<usize>, Order)>,
    version: Mutex<Option<u64>>,
}

impl Draft {
    /// A draft of bytes.
    pub fn bytes(py: Python<'_>, name: String, writer: Arc<Writer>, map: DraftMap) -> PyResult<Draft> {
        Draft::new(py, name, writer, map, None)
    }

    /// A draft of an array, of this shape.
    pub fn array(
        py: Python<'_>,
        name: String,
        writer: Arc<Writer>,
        map: DraftMap,
        (dtype, shape, order): (faretra::DType, Vec<usize>, Order),
    ) -> PyResult<Draft> {
        Draft::new(py, name, writer, map, Some((dtype, shape, order)))
    }

    fn new(
        py: Python<'_>,
        name: String,
        writer: Arc<Writer>,
        map: DraftMap,
        array: Option<(faretra::DType, Vec<usize>, Order)>,
    ) -> PyResult<Draft> {
        let memory = Py::new(py, Writable::draft(map))?;
        Ok(Draft { name, writer: Mutex::new(Some(writer)), memory, array, version: Mutex::default() })
    }

    fn take_writer(&self) -> Result<Arc<Writer>, Error> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        writer.ok_or_else(|| Error::Invalid(format!("the draft of `{}` was published or dropped already", self.name)))
    }
}

#[pymethods]
impl Draft {
    /// The name that it is published under.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The version that it was published as; `None` before.
    #[getter]
    fn version(&self) -> Option<u64> {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory to be written: a numpy array, or a memoryview of bytes.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let memory = self.memory.bind(py);
        match &self.array {
            Some((dtype, shape, order)) => array_over(memory.clone(), shape, dtype, *order),
            None => Ok(PyMemoryView::from(memory.as_any())?.into_any()),
        }
    }

    /// Publishes the draft now, and returns its version.
    ///
    /// If that fails, for want of room for its name for example, the draft is dropped, and its array keeps what was written, as a
    /// private copy: `arena[name] = array` copies it in again.
    ///
    /// >>> with faretra.Arena.create("doc-draft-publish", keep=False) as arena:
    /// ...     draft = arena.draft_bytes("x", 2)
    /// ...     draft.value[:] = b"hi"
    /// ...     draft.publish()
    /// 1
    fn publish(&self, py: Python<'_>) -> PyResult<u64> {
        let memory = self.memory.get();
        let version = wait(py, || {
            let writer = self.take_writer()?;
            let drafted = memory.with_draft(DraftMap::finish)?;
            writer.publish(&self.name, drafted)
        })?;
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
        Ok(version)
    }

    /// Drops the draft now, and gives its memory back.
    ///
    /// >>> with faretra.Arena.create("doc-draft-discard", keep=False) as arena:
    /// ...     draft = arena.draft_array("x", 1000)
    /// ...     draft.discard()
    /// ...     "x" in arena
    /// False
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let memory = self.memory.get();
        wait(py, || {
            let writer = self.take_writer();
            let dropped = memory.with_draft(DraftMap::discard);
            drop(writer);
            dropped
        })
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.value(py)
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _ = (value, traceback);
        let open = self.writer.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        match (kind, open) {
            (_, false) => {}
            (None, true) => drop(self.publish(py)?),
            (Some(_), true) => self.discard(py)?,
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        match self.version() {
            Some(version) => format!("<faretra.Draft of '{}', published as version {version}>", self.name),
            None => format!("<faretra.Draft of '{}'>", self.name),
        }
    }
}
