//! The half of the Python package `faretra_datafusion` that is written in Rust: schemas and tables of an arena for the sessions of
//! PyPI's `datafusion`, which was compiled by others. The two meet in the structures of `datafusion-ffi`, which Python hands over in
//! capsules; batches cross by the Arrow C data interface, where they lie.
//!
//! This library is another copy of Faretra than that of the package `faretra`: it opens the arena for itself and has a seat of its
//! own.

#![allow(missing_docs, reason = "what Python sees is documented in the package")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::DataFusionError;
use datafusion_ffi::proto::logical_extension_codec::FFI_LogicalExtensionCodec;
use datafusion_ffi::schema_provider::FFI_SchemaProvider;
use datafusion_ffi::table_provider::FFI_TableProvider;
use faretra::{Arena, Error};
use faretra_datafusion::ArenaSchema;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};
use tokio::runtime::{Builder, Handle, Runtime};

#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use super::{Schema, Table};
}

/// An arena as a schema.
#[pyclass(frozen, module = "faretra_datafusion")]
struct Schema {
    inner: ArenaSchema,
}

#[pymethods]
impl Schema {
    /// Opens the arena whose file is `path`.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, name: &str, untrusted: bool) -> PyResult<Schema> {
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let opened = py.detach(|| Arena::options().dir(folder).untrusted(untrusted).open(name));
        opened.map(|arena| Schema { inner: ArenaSchema::new(&arena) }).map_err(|error| raised(py, &error))
    }

    fn table(&self, py: Python<'_>, name: &str) -> PyResult<Table> {
        let found = py.detach(|| self.inner.table_now(name));
        found.map(|inner| Table { inner }).map_err(|error| refused(py, &error))
    }

    fn pin(&self, py: Python<'_>, name: &str) -> PyResult<u64> {
        py.detach(|| self.inner.pin(name)).map_err(|error| raised(py, &error))
    }

    fn unpin(&self, py: Python<'_>, name: &str, version: u64) -> bool {
        py.detach(|| self.inner.unpin(name, version))
    }

    fn analyze(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        py.detach(|| self.inner.analyze(name)).map_err(|error| refused(py, &error))
    }

    fn __datafusion_schema_provider__<'py>(
        &self,
        py: Python<'py>,
        session: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let provider: Arc<dyn SchemaProvider> = Arc::new(Names(self.inner.clone()));
        let told = FFI_SchemaProvider::new_with_ffi_codec(provider, Some(runtime()?), codec(session)?);
        PyCapsule::new_with_value(py, told, c"datafusion_schema_provider")
    }
}

/// The schema as a session of another library sees it: what such a session makes has rows that are not here.
#[derive(Debug)]
struct Names(ArenaSchema);

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        self.0.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        self.0.table(name).await
    }

    fn register_table(
        &self,
        name: String,
        _: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        plan_err!(
            "a statement cannot make `{name}` in an arena here: `arena[{name:?}] = session.sql(\"SELECT ..\")` does"
        )
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        self.0.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.table_exist(name)
    }
}

/// What a name of an arena stood for when it was asked for.
#[pyclass(frozen, module = "faretra_datafusion")]
struct Table {
    inner: Arc<dyn TableProvider>,
}

#[pymethods]
impl Table {
    fn __datafusion_table_provider__<'py>(
        &self,
        py: Python<'py>,
        session: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let provider = Arc::clone(&self.inner);
        let told = FFI_TableProvider::new_with_ffi_codec(provider, true, Some(runtime()?), codec(session)?);
        PyCapsule::new_with_value(py, told, c"datafusion_table_provider")
    }
}

/// How the session that asks writes down what of a plan it does not know itself. A catalog gives that itself, for the session.
fn codec(session: &Bound<'_, PyAny>) -> PyResult<FFI_LogicalExtensionCodec> {
    let name = "__datafusion_logical_extension_codec__";
    let capsule = if session.hasattr(name)? { session.call_method0(name)? } else { session.clone() };
    let capsule = capsule.cast::<PyCapsule>()?;
    let codec =
        capsule.pointer_checked(Some(c"datafusion_logical_extension_codec"))?.cast::<FFI_LogicalExtensionCodec>();
    // SAFETY: by the capsule's name it has one of these, which lives as long as the capsule.
    #[allow(unsafe_code, reason = "a capsule has an address")]
    let codec = unsafe { codec.as_ref() };
    Ok(codec.clone())
}

/// What futures of this library run on while the engine, whose executor is that of another library, waits for them.
fn runtime() -> PyResult<Handle> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(1).thread_name("faretra-fusion").enable_time().build()
    });
    match made {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(PyRuntimeError::new_err(format!("cannot start a thread: {error}"))),
    }
}

/// An error of the library, as the package `faretra` raises it.
fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let made = py
        .import("faretra._errors")
        .and_then(|errors| errors.call_method1("build", (error.code(), error.fact(), error.advice(), PyDict::new(py))));
    made.map_or_else(|failed| failed, PyErr::from_value)
}

/// An error of the engine; the library's own, if that is what it is about.
fn refused(py: Python<'_>, error: &DataFusionError) -> PyErr {
    let root = error.find_root();
    let of_arena = match root {
        DataFusionError::External(inner) => inner.downcast_ref(),
        _ => None,
    };
    of_arena.map_or_else(|| PyRuntimeError::new_err(root.strip_backtrace()), |inner| raised(py, inner))
}
