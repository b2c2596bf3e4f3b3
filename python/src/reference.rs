//! References: what a name stands for, kept until the name has a newer version.

use std::sync::{Mutex, PoisonError};

use faretra::Object;
use pyo3::prelude::*;

use crate::arena::{Arena, text};
use crate::error::{run, wait};
use crate::value::{Pickling, output};

/// What a name stood for when it was looked at last.
struct Known {
    version: u64,
    value: Py<PyAny>,
}

/// The newest value of a name: read once for each version, and the same Python object from then on. `faretra.Arena.ref` makes one.
///
/// >>> arena = faretra.Arena.create("doc-ref-class", keep=False)
/// >>> arena["model"] = {"bias": 1}
/// >>> model = arena.ref("model")
/// >>> model.get() is model.get(), model.version
/// (True, 1)
/// >>> arena["model"] = {"bias": 2}
/// >>> model.get(), model.version
/// ({'bias': 2}, 2)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
pub struct Ref {
    arena: faretra::Arena,
    pickling: Pickling,
    name: String,
    known: Mutex<Option<Known>>,
}

impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ref({:?})", self.name)
    }
}

impl Ref {
    fn known(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an object, unless it is the one that is known.
    fn read<'py>(&self, py: Python<'py>, object: Object) -> PyResult<Bound<'py, PyAny>> {
        let version = object.version();
        if let Some(known) = &*self.known()
            && known.version == version
        {
            return Ok(known.value.bind(py).clone());
        }
        // Not while the lock is taken: what is read may be a pickle, which runs anything.
        let value = output(py, object, self.pickling)?;
        let old = match &mut *self.known() {
            // Another thread was faster, or saw a newer one.
            Some(known) if known.version == version => return Ok(known.value.bind(py).clone()),
            Some(known) if known.version > version => None,
            known => known.replace(Known { version, value: value.clone().unbind() }),
        };
        drop(old);
        Ok(value)
    }
}

#[pymethods]
impl Ref {
    #[new]
    fn new(py: Python<'_>, arena: &Bound<'_, Arena>, name: &Bound<'_, PyAny>) -> PyResult<Ref> {
        let (handle, name) = (arena.get().get(py)?, text(name)?);
        // What cannot be a name is told now.
        run(py, || handle.try_wait_for(name, 0))?;
        let pickling = arena.get().pickling();
        Ok(Ref { arena: handle, pickling, name: name.to_owned(), known: Mutex::default() })
    }

    /// The name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The version that `get` or `wait` returned last, or 0 if neither was called.
    #[getter]
    fn version(&self) -> u64 {
        self.known().as_ref().map_or(0, |known| known.version)
    }

    /// Returns the newest value: what `arena[name]` is. While the version has not changed, it is the same object each time.
    ///
    /// Raises:
    ///     NotFoundError: There is nothing of that name (any more).
    ///
    /// >>> arena = faretra.Arena.create("doc-ref-get", keep=False)
    /// >>> arena["x"] = np.ones(3)
    /// >>> arena.ref("x").get()
    /// array([1., 1., 1.])
    /// >>> arena.close()
    fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match run(py, || self.arena.try_wait_for(&self.name, 0))? {
            Some(object) => self.read(py, object),
            None => {
                let old = self.known().take();
                drop(old);
                // The error of who asks for it; or it is there by now.
                let object = run(py, || self.arena.get(&self.name))?;
                self.read(py, object)
            }
        }
    }

    /// Waits until there is a version that neither `get` nor `wait` of this object has returned, and returns that value.
    ///
    /// `timeout` is in seconds, or a timedelta; 0 does not wait.
    ///
    /// Raises:
    ///     TimeoutError: There is none after `timeout`.
    ///
    /// >>> arena = faretra.Arena.create("doc-ref-wait", keep=False)
    /// >>> model = arena.ref("model")
    /// >>> arena["model"] = {"bias": 1}
    /// >>> model.wait(timeout=5)
    /// {'bias': 1}
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn wait<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let (limit, known) = (crate::arena::timeout(timeout)?, self.version());
        let object = match run(py, || self.arena.try_wait_for(&self.name, known))? {
            Some(object) => object,
            None => wait(py, || match limit {
                None => self.arena.wait_for(&self.name, known),
                Some(limit) => self.arena.wait_for_timeout(&self.name, known, limit),
            })?,
        };
        self.read(py, object)
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Ref '{}', version {}>", self.name, self.version())
    }
}
