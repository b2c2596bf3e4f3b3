//! Tables and bundles as Python holds them.

use faretra::Object;
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyString, PyTuple};

use crate::arrow;
use crate::error::run;
use crate::value::{Input, Pickling, output};

/// A table in an arena: zero-copy, read-only.
///
/// It supports Arrow's PyCapsule interface (`__arrow_c_stream__`), so pyarrow, polars, pandas, duckdb and other Arrow libraries
/// read it where it lies: `pyarrow.table(t)`, `polars.DataFrame(t)`, `duckdb.sql("select ... from t")`. Its memory stays for as
/// long as anything that was made of it.
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Table {
    table: faretra::Table,
    name: String,
    version: u64,
}

impl Table {
    /// A table or a batch that was read.
    pub fn of(object: Object) -> faretra::Result<Table> {
        let (name, version) = (object.name().to_owned(), object.version());
        Ok(Table { table: object.table()?, name, version })
    }

    /// A table that has no name of its own: a snapshot of a feed.
    pub fn gathered(table: faretra::Table, name: &str) -> Table {
        Table { table, name: name.to_owned(), version: 0 }
    }

    /// It as a value that goes in again.
    pub fn input(&self) -> Input {
        match self.table.object() {
            Some(object) => Input::Object(object.clone()),
            None => Input::Table(self.table.clone()),
        }
    }

    fn reader(&self) -> arrow::Reader {
        Box::new(self.table.reader())
    }
}

#[pymethods]
impl Table {
    /// The name that the table was read by.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The version of the name that it is.
    #[getter]
    fn version(&self) -> u64 {
        self.version
    }

    /// How many rows there are.
    #[getter]
    fn num_rows(&self) -> u64 {
        self.table.num_rows()
    }

    /// How many columns there are.
    #[getter]
    fn num_columns(&self) -> usize {
        self.table.schema().fields().len()
    }

    /// In how many batches the rows lie.
    #[getter]
    fn num_batches(&self) -> u64 {
        self.table.num_batches()
    }

    /// How many bytes the table takes in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.table.nbytes()
    }

    /// Rows and columns.
    #[getter]
    fn shape(&self) -> (u64, usize) {
        (self.num_rows(), self.num_columns())
    }

    /// The names of the columns, in order.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.table.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Name, type and whether there may be nulls, of each column.
    #[getter]
    fn fields(&self) -> Vec<(String, String, bool)> {
        arrow::describe(self.table.schema().fields())
    }

    /// The Arrow schema as a capsule: what other Arrow libraries call.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        arrow::schema_capsule(py, &self.table.schema())
    }

    /// The table as a capsule: what other Arrow libraries call. Nothing is copied; `requested_schema` is not looked at, as the
    /// interface allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        arrow::stream_capsule(py, self.reader())
    }

    /// Some columns of the table, in the order asked for, as an object that Arrow libraries read. Nothing is copied.
    fn select<'py>(&self, py: Python<'py>, columns: Vec<String>) -> PyResult<Bound<'py, Selection>> {
        let schema = self.table.schema();
        let find = |name: &String| {
            schema.index_of(name).map_err(|_| {
                PyKeyError::new_err(format!("no column named `{name}`; there are {:?}", self.column_names()))
            })
        };
        let columns: PyResult<Vec<usize>> = columns.iter().map(find).collect();
        Bound::new(py, Selection { table: self.table.clone(), columns: columns? })
    }

    /// Batch number `index`, as an object that Arrow libraries read.
    fn batch<'py>(&self, py: Python<'py>, index: i64) -> PyResult<Bound<'py, Batch>> {
        let all = self.num_batches() as i64;
        let at = if index < 0 { index + all } else { index };
        if !(0..all).contains(&at) {
            return Err(PyIndexError::new_err(format!("no batch {index}: there are {all}")));
        }
        let batch = run(py, || self.table.batch(at as u64))?;
        Bound::new(py, Batch { batch })
    }

    /// One column of numbers, without nulls and in one batch, as a read-only numpy array over the arena.
    ///
    /// Raises `KeyError` if there is no such column, and `ValueError` if a copy would be needed: because the column lies in
    /// several batches, has nulls, or is no plain number. `pyarrow.table(t)[name].to_numpy()` copies.
    fn column<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        py.import("faretra._tables")?.call_method1("column", (slf, name))
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        Table::column(slf, name)
    }

    fn __len__(&self) -> usize {
        self.table.num_rows() as usize
    }

    /// The table as a `pyarrow.Table`. Nothing is copied. Needs pyarrow.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("table", (slf,))
    }

    /// The table as a `polars.DataFrame`. Numbers are not copied. Needs polars.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("polars")?.call_method1("DataFrame", (slf,))
    }

    /// The table as a `pandas.DataFrame`, with the index that it had. Numbers without nulls in a single batch are not copied,
    /// and are read-only then. Needs pandas and pyarrow.
    #[pyo3(signature = (**options))]
    fn to_pandas<'py>(
        slf: &Bound<'py, Self>,
        options: Option<Bound<'py, pyo3::types::PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        py.import("faretra._tables")?.call_method("to_pandas", (slf,), options.as_ref())
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._show")?.call_method1("table_text", (slf,))
    }

    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._show")?.call_method1("table_html", (slf,))
    }
}

/// Some columns of a table.
#[pyclass(frozen, module = "faretra")]
#[derive(Debug)]
pub struct Selection {
    table: faretra::Table,
    columns: Vec<usize>,
}

#[pymethods]
impl Selection {
    /// The columns as a capsule: what other Arrow libraries call. Nothing is copied.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        arrow::stream_capsule(py, arrow::project(Box::new(self.table.reader()), &self.columns)?)
    }
}

/// One batch of a table: rows of equal columns, one behind the other.
#[pyclass(frozen, module = "faretra")]
#[derive(Debug)]
pub struct Batch {
    batch: faretra::Batch,
}

#[pymethods]
impl Batch {
    /// How many rows there are.
    #[getter]
    fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// How many bytes the batch takes in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.batch.nbytes()
    }

    /// The batch as two capsules, schema and array: what other Arrow libraries call. Nothing is copied.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        drop(requested_schema);
        arrow::batch_capsules(py, self.batch.record_batch())
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Batch, {} rows of {} columns>", self.batch.num_rows(), self.batch.num_columns())
    }
}

/// Several values that were put as one: a read-only mapping from names to values.
#[pyclass(frozen, module = "faretra", mapping)]
pub struct Bundled {
    bundle: faretra::Bundled,
    pickling: Pickling,
}

impl std::fmt::Debug for Bundled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bundle.fmt(f)
    }
}

impl Bundled {
    /// What was read.
    pub fn new(bundle: faretra::Bundled, pickling: Pickling) -> Bundled {
        Bundled { bundle, pickling }
    }

    /// It as one object.
    pub fn object(&self) -> &Object {
        self.bundle.object()
    }
}

#[pymethods]
impl Bundled {
    /// The name that the bundle was read by.
    #[getter]
    fn name(&self) -> &str {
        self.bundle.object().name()
    }

    /// The version of the name that it is.
    #[getter]
    fn version(&self) -> u64 {
        self.bundle.object().version()
    }

    /// How many bytes the values take in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.bundle.object().nbytes()
    }

    /// The names of the values, in the order they were put.
    fn keys(&self) -> Vec<String> {
        self.bundle.names().map(str::to_owned).collect()
    }

    /// The values, in the order they were put.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.bundle.names().map(|name| self.__getitem__(py, name)).collect()
    }

    /// Names and values, in the order they were put.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        self.bundle.names().map(|name| Ok((name.to_owned(), self.__getitem__(py, name)?))).collect()
    }

    /// The value of this name, or `default` if there is none.
    #[pyo3(signature = (name, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.__contains__(name) { self.__getitem__(py, name).map(Some) } else { Ok(default) }
    }

    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let member = run(py, || self.bundle.get(name))?;
        output(py, member, self.pickling)
    }

    fn __contains__(&self, name: &str) -> bool {
        self.bundle.names().any(|known| known == name)
    }

    fn __len__(&self) -> usize {
        self.bundle.names().count()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let keys: Vec<_> = self.bundle.names().map(|name| PyString::new(py, name)).collect();
        let keys = PyTuple::new(py, keys)?;
        keys.try_iter().map(Bound::into_any)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._show")?.call_method1("bundle_text", (slf,))
    }

    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._show")?.call_method1("bundle_html", (slf,))
    }
}
