//! Tables and bundles as Python holds them.

use std::ops::Range;
use std::path::PathBuf;

use arrow_array::{Array, RecordBatchIterator};
use arrow_schema::SchemaRef;
use faretra::{DType, Object, Order};
use pyo3::exceptions::{PyIndexError, PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyString, PyTuple};

use crate::arrow;
use crate::error::run;
use crate::memory::Pinned;
use crate::value::{Input, Number, Pickling, array_over, dtype_out, numpy, output};

/// A table in an arena: zero-copy, read-only.
///
/// It supports Arrow's PyCapsule interface (`__arrow_c_stream__`), so pyarrow, polars, pandas, duckdb and other Arrow libraries
/// read it where it lies: `pyarrow.table(t)`, `polars.DataFrame(t)`, `duckdb.sql("select ... from t")`. Its memory stays for as
/// long as anything that was made of it.
///
/// >>> import pyarrow as pa
/// >>> with faretra.Arena.create("doc-table", keep=False) as arena:
/// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
/// ...     arena["t"].shape, arena["t"].column_names
/// ((2, 2), ['a', 'b'])
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
    ///
    /// Raises:
    ///     KeyError: There is no such column.
    ///
    /// >>> import pyarrow as pa
    /// >>> with faretra.Arena.create("doc-select", keep=False) as arena:
    /// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
    /// ...     pa.table(arena["t"].select(["b"])).to_pydict()
    /// {'b': ['x', 'y']}
    fn select<'py>(&self, py: Python<'py>, columns: Vec<String>) -> PyResult<Bound<'py, Selection>> {
        let schema = self.table.schema();
        let find = |name: &String| {
            schema.index_of(name).map_err(|_| {
                PyKeyError::new_err(format!("no column named `{name}`; there are {:?}", self.column_names()))
            })
        };
        let columns: PyResult<Vec<usize>> = columns.iter().map(find).collect();
        Bound::new(py, Selection { columns: Some(columns?), ..Selection::all(&self.table) })
    }

    /// The file of the arena that the table is in; `None` for one that was gathered.
    fn _path(&self) -> Option<PathBuf> {
        self.table.object().map(|object| object.path().to_owned())
    }

    /// Some columns, by number, of one batch. None of the others is touched.
    fn _part<'py>(&self, py: Python<'py>, batch: u64, columns: Vec<usize>) -> PyResult<Bound<'py, Selection>> {
        let width = self.num_columns();
        if let Some(wrong) = columns.iter().find(|column| **column >= width) {
            return Err(PyIndexError::new_err(format!("no column {wrong}: there are {width}")));
        }
        let batches = batch.min(self.num_batches())..(batch + 1).min(self.num_batches());
        Bound::new(py, Selection { columns: Some(columns), batches, ..Selection::all(&self.table) })
    }

    /// The first `n` rows, or all if there are fewer, as an object that Arrow libraries read. Nothing is copied.
    ///
    /// Raises:
    ///     ValueError: `n` is negative.
    ///
    /// >>> import pyarrow as pa
    /// >>> with faretra.Arena.create("doc-head", keep=False) as arena:
    /// ...     arena["t"] = pa.table({"a": [1, 2, 3]})
    /// ...     pa.table(arena["t"].head(2)).to_pydict()
    /// {'a': [1, 2]}
    #[pyo3(signature = (n=Number(5)), text_signature = "($self, n=5)")]
    fn head<'py>(&self, py: Python<'py>, n: Number<usize>) -> PyResult<Bound<'py, Selection>> {
        Bound::new(py, Selection { rows: Some(n.0), ..Selection::all(&self.table) })
    }

    /// Batch number `index`, as an object that Arrow libraries read.
    ///
    /// Raises:
    ///     IndexError: There are not so many.
    ///
    /// >>> import pyarrow as pa
    /// >>> with faretra.Arena.create("doc-batch", keep=False) as arena:
    /// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
    /// ...     pa.record_batch(arena["t"].batch(0)).to_pydict()
    /// {'a': [1, 2], 'b': ['x', 'y']}
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
    /// Timestamps and durations are `datetime64` and `timedelta64` (in UTC, if they have a time zone), binary of a fixed size
    /// is `V`, and lists of numbers of a fixed size are an array of two axes.
    ///
    /// Raises `KeyError` if there is no such column, and `ValueError` if a copy would be needed: because the column lies in
    /// several batches, has nulls, or is no plain number. `pyarrow.table(t)[name].to_numpy()` copies.
    ///
    /// >>> import pyarrow as pa
    /// >>> with faretra.Arena.create("doc-column", keep=False) as arena:
    /// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
    /// ...     arena["t"].column("a")
    /// array([1, 2])
    fn column<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        py.import("faretra._tables")?.call_method1("column", (slf, name))
    }

    fn _column<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let schema = self.table.schema();
        let Ok(index) = schema.index_of(name) else {
            let text = format!("no column named `{name}`; there are {:?}", self.column_names());
            return Err(PyKeyError::new_err(text));
        };
        let refused = |why: String| {
            let text = format!("the column `{name}` is no numpy array without a copy: {why}");
            PyValueError::new_err(format!("{text}; `pyarrow.table(t)[{name:?}].to_numpy()` copies it"))
        };
        let data_type = schema.field(index).data_type();
        let Some((dtype, size, list)) = arrow::plain(data_type) else {
            return Err(refused(format!("its type is {data_type}")));
        };
        let dtype: DType = run(py, || dtype.parse())?;
        let shape = |rows: usize| list.map_or(vec![rows], |len| vec![rows, len]);
        let batches = self.num_batches();
        if batches > 1 {
            return Err(refused(format!("it lies in {batches} batches")));
        }
        if batches == 0 {
            // Read-only, as bytes are.
            let made = (PyTuple::new(py, shape(0))?, dtype_out(py, &dtype)?, PyBytes::new(py, &[]));
            return numpy(py)?.getattr("ndarray")?.call1(made);
        }
        let batch = run(py, || self.table.batch(0))?;
        let mut data = batch.record_batch().column(index).to_data();
        let rows = data.len();
        let mut nulls = data.null_count();
        if let Some(len) = list {
            let items = data.child_data()[0].slice(data.offset() * len, rows * len);
            nulls += items.null_count();
            data = items;
        }
        if nulls != 0 {
            return Err(refused(format!("{nulls} of its values are null")));
        }
        let first = data.buffers()[0].as_ptr().wrapping_add(data.offset() * size);
        let pinned = Pinned::column(batch, first, data.len() * size, &self.name, self.version);
        array_over(Bound::new(py, pinned)?, &shape(rows), &dtype, Order::C)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        Table::column(slf, name)
    }

    fn __len__(&self) -> usize {
        self.table.num_rows() as usize
    }

    /// The table as a `pyarrow.Table`. Nothing is copied. Needs pyarrow.
    ///
    /// >>> import pyarrow as pa
    /// >>> with faretra.Arena.create("doc-to-pyarrow", keep=False) as arena:
    /// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
    /// ...     arena["t"].to_pyarrow().num_rows
    /// 2
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._tables")?.call_method1("to_pyarrow", (slf,))
    }

    /// The table as a `polars.DataFrame`. Numbers are not copied. Needs polars.
    ///
    /// >>> import polars as pl
    /// >>> with faretra.Arena.create("doc-to-polars", keep=False) as arena:
    /// ...     arena["t"] = pl.DataFrame({"a": [1, 2]})
    /// ...     arena["t"].to_polars()["a"].sum()
    /// 3
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._tables")?.call_method1("to_polars", (slf,))
    }

    /// The table as a `polars.LazyFrame`: a query reads the columns that it asks for, batch by batch, and touches no others.
    /// Needs polars.
    ///
    /// >>> import polars as pl
    /// >>> with faretra.Arena.create("doc-lazy", keep=False) as arena:
    /// ...     arena["t"] = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    /// ...     arena["t"].lazy().filter(pl.col("a") > 1).select("b").collect()["b"].to_list()
    /// ['y', 'z']
    fn lazy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("faretra._tables")?.call_method1("lazy", (slf,))
    }

    /// The table as a `pandas.DataFrame`, with the index that it had. Numbers without nulls in a single batch are not copied,
    /// and are read-only then. Needs pandas and pyarrow.
    ///
    /// >>> import pandas as pd, pyarrow as pa
    /// >>> with faretra.Arena.create("doc-to-pandas", keep=False) as arena:
    /// ...     arena["t"] = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    /// ...     arena["t"].to_pandas()["a"].to_dict()
    /// {'x': 1, 'y': 2}
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

/// Some columns of a table, or some rows. What was not selected is not touched.
///
/// >>> import pyarrow as pa
/// >>> with faretra.Arena.create("doc-selection", keep=False) as arena:
/// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
/// ...     type(arena["t"].select(["a"]))
/// <class 'faretra.Selection'>
#[pyclass(frozen, module = "faretra")]
#[derive(Debug)]
pub struct Selection {
    table: faretra::Table,
    /// `None`: all of them.
    columns: Option<Vec<usize>>,
    batches: Range<u64>,
    /// `None`: all of them.
    rows: Option<usize>,
}

impl Selection {
    fn all(table: &faretra::Table) -> Selection {
        Selection { table: table.clone(), columns: None, batches: 0..table.num_batches(), rows: None }
    }

    fn schema(&self) -> PyResult<SchemaRef> {
        match &self.columns {
            Some(columns) => arrow::projected(&self.table.schema(), columns),
            None => Ok(self.table.schema()),
        }
    }
}

#[pymethods]
impl Selection {
    /// The Arrow schema of what was selected, as a capsule: what other Arrow libraries call.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        arrow::schema_capsule(py, &*self.schema()?)
    }

    /// What was selected, as a capsule: what other Arrow libraries call. Nothing is copied.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let (table, columns) = (self.table.clone(), self.columns.clone());
        let batches = self.batches.clone().map(move |index| match &columns {
            Some(columns) => Ok(table.batch_object(index)?.project(columns)?),
            None => Ok(table.batch(index)?.record_batch().clone()),
        });
        let mut reader: arrow::Reader = Box::new(RecordBatchIterator::new(batches, self.schema()?));
        if let Some(rows) = self.rows {
            reader = arrow::first(reader, rows);
        }
        arrow::stream_capsule(py, reader)
    }
}

/// One batch of a table: rows of equal columns, one behind the other.
///
/// >>> import pyarrow as pa
/// >>> with faretra.Arena.create("doc-batch-class", keep=False) as arena:
/// ...     arena["t"] = pa.table({"a": [1, 2], "b": ["x", "y"]})
/// ...     arena["t"].batch(0)
/// <faretra.Batch, 2 rows of 2 columns>
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
///
/// >>> with faretra.Arena.create("doc-bundle", keep=False) as arena:
/// ...     _ = arena.put_many("day", {"x": np.arange(2), "y": {"rate": 0.1}})
/// ...     arena["day"]["x"], len(arena["day"])
/// (array([0, 1]), 2)
#[pyclass(frozen, name = "Bundle", module = "faretra", mapping)]
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
    ///
    /// >>> with faretra.Arena.create("doc-bundle-keys", keep=False) as arena:
    /// ...     _ = arena.put_many("day", {"x": np.arange(2), "y": {"rate": 0.1}})
    /// ...     arena["day"].keys()
    /// ['x', 'y']
    fn keys(&self) -> Vec<String> {
        self.bundle.names().map(str::to_owned).collect()
    }

    /// The values, in the order they were put.
    ///
    /// >>> with faretra.Arena.create("doc-bundle-values", keep=False) as arena:
    /// ...     _ = arena.put_many("day", {"x": np.arange(2), "y": {"rate": 0.1}})
    /// ...     arena["day"].values()
    /// [array([0, 1]), {'rate': 0.1}]
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.bundle.names().map(|name| self.__getitem__(py, name)).collect()
    }

    /// Names and values, in the order they were put.
    ///
    /// >>> with faretra.Arena.create("doc-bundle-items", keep=False) as arena:
    /// ...     _ = arena.put_many("day", {"x": np.arange(2), "y": {"rate": 0.1}})
    /// ...     arena["day"].items()
    /// [('x', array([0, 1])), ('y', {'rate': 0.1})]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        self.bundle.names().map(|name| Ok((name.to_owned(), self.__getitem__(py, name)?))).collect()
    }

    /// The value of this name, or `default` if there is none.
    ///
    /// >>> with faretra.Arena.create("doc-bundle-get", keep=False) as arena:
    /// ...     _ = arena.put_many("day", {"x": np.arange(2), "y": {"rate": 0.1}})
    /// ...     arena["day"].get("x"), arena["day"].get("z")
    /// (array([0, 1]), None)
    #[pyo3(signature = (name, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.__contains__(name) { self.__getitem__(py, name).map(Some) } else { Ok(default) }
    }

    /// What kind a member is, without reading it.
    fn _kind(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        run(py, || self.bundle.get(name)).map(|member| member.kind().to_string())
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

/// Name, type and whether there may be nulls, of each column of a schema: what `Table.fields` has.
#[pyfunction]
pub fn _fields(schema: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String, bool)>> {
    Ok(arrow::describe(arrow::schema(schema)?.fields()))
}

/// What numpy calls the elements of a column of this type, and how many lie in a row; twice `None` if it is no plain memory.
#[pyfunction]
pub fn _plain_type(data_type: &Bound<'_, PyAny>) -> PyResult<(Option<String>, Option<usize>)> {
    Ok(match arrow::plain(&arrow::data_type(data_type)?) {
        Some((dtype, _, list)) => (Some(dtype), list),
        None => (None, None),
    })
}
