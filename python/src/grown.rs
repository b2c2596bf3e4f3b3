//! Tables that grow batch by batch in the arena, until they are published.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_array::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::SchemaRef;
use faretra::{Drafted, Error, Value, Writer};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arena::{Arena, text};
use crate::arrow;
use crate::error::{Failure, wait};
use crate::lock::failed;
use crate::value::Input;

/// What was appended so far.
struct Grown {
    writer: Writer,
    schema: Option<SchemaRef>,
    batches: Vec<Drafted>,
    rows: u64,
    bytes: u64,
}

impl Grown {
    /// Copies a batch into the arena.
    fn push(&mut self, batch: RecordBatch, name: &str) -> Result<(), Failure> {
        let schema = self.schema.get_or_insert_with(|| batch.schema()).clone();
        if batch.schema_ref().fields() != schema.fields() {
            let name = format!("batch {} of the table `{name}`", self.batches.len());
            let describe = |schema: &SchemaRef| {
                let fields = schema.fields().iter().map(|field| {
                    let nulls = if field.is_nullable() { "" } else { " not null" };
                    format!("{} {}{nulls}", field.name(), field.data_type())
                });
                format!("columns ({})", fields.collect::<Vec<_>>().join(", "))
            };
            let (expected, found) = (describe(&schema), describe(batch.schema_ref()));
            return Err(Error::Mismatch { name, expected, found }.into());
        }
        let rows = batch.num_rows() as u64;
        // The table's metadata are those of its first batch.
        let batch = if batch.schema_ref() == &schema {
            batch
        } else {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options).map_err(Error::from)?
        };
        let drafted = self.writer.prepare(&batch)?;
        self.rows += rows;
        self.bytes += drafted.nbytes();
        self.batches.push(drafted);
        Ok(())
    }
}

/// What becomes of a table.
enum State {
    Open(Box<Grown>),
    /// A thread appends.
    Busy,
    Published {
        version: u64,
        rows: u64,
        bytes: u64,
    },
    Dropped,
}

/// A table that grows in the arena: `with arena.draft_table(name) as table: table.append(...)`. `faretra.Arena.draft_table`
/// makes one.
///
/// Each batch is copied into the arena when it is appended, so that this process needs memory for one batch at a time. The table
/// is published when the block ends, and dropped when the block raises; a process that is killed leaves nothing.
///
/// >>> import pyarrow as pa
/// >>> arena = faretra.Arena.create("doc-grown-class", keep=False)
/// >>> with arena.draft_table("t") as table:
/// ...     for part in range(3):
/// ...         table.append(pa.table({"part": [part] * 10}))
/// ...     table.num_rows, table.num_batches
/// (30, 3)
/// >>> table.version, arena["t"].shape
/// (1, (30, 1))
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
pub struct TableDraft {
    name: String,
    state: Mutex<State>,
}

impl std::fmt::Debug for TableDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableDraft({:?})", self.name)
    }
}

impl TableDraft {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> Failure {
        let what = match &*self.state() {
            State::Busy => "is in use: another thread appends to it",
            _ => "was published or dropped already",
        };
        Failure::invalid(format!("the draft of the table `{}` {what}", self.name))
    }

    fn take(&self, instead: State) -> Option<Box<Grown>> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, instead) {
            State::Open(grown) => Some(grown),
            ended => {
                *state = ended;
                None
            }
        }
    }

    fn counts(&self) -> (u64, usize, u64) {
        match &*self.state() {
            State::Open(grown) => (grown.rows, grown.batches.len(), grown.bytes),
            State::Published { rows, bytes, .. } => (*rows, 0, *bytes),
            State::Busy | State::Dropped => (0, 0, 0),
        }
    }
}

/// What is appended, as batches.
fn reader(value: &Bound<'_, PyAny>) -> PyResult<arrow::Reader> {
    let wrong = || {
        let class = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "a table or batch is appended (pyarrow, polars, pandas, or anything with __arrow_c_stream__ or __arrow_c_array__), not \
             {class}"
        ))
    };
    if !value.hasattr("__arrow_c_stream__")? && !value.hasattr("__arrow_c_array__")? {
        return Err(wrong());
    }
    match Input::of(value, "value")? {
        Input::Stream(Some(reader)) => Ok(reader),
        Input::Batch(batch) => {
            let schema = batch.schema();
            Ok(Box::new(arrow_array::RecordBatchIterator::new([Ok(batch)], schema)))
        }
        // A table of an arena is read as a stream, too.
        Input::Object(_) | Input::Table(_) => arrow::stream(value, "value"),
        _ => Err(wrong()),
    }
}

#[pymethods]
impl TableDraft {
    #[new]
    #[pyo3(signature = (arena, name, schema=None))]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        schema: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<TableDraft> {
        let name = text(name)?;
        let schema = match schema {
            Some(given) if given.hasattr("__arrow_c_schema__")? => Some(arrow::schema(given)?),
            Some(given) => {
                let class = given.get_type().name()?;
                return Err(PyTypeError::new_err(format!("a schema has __arrow_c_schema__; {class} has not")));
            }
            None => None,
        };
        let handle = arena.get().get(py)?;
        // What cannot be a name is told now, not when everything was appended.
        crate::error::run(py, || handle.try_wait_for(name, 0))?;
        let writer = arena.get().writer(py)?;
        let grown = Grown { writer, schema, batches: vec![], rows: 0, bytes: 0 };
        Ok(TableDraft { name: name.to_owned(), state: Mutex::new(State::Open(Box::new(grown))) })
    }

    /// The name that the table is published under.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The version that the table was published as; `None` before.
    #[getter]
    fn version(&self) -> Option<u64> {
        match &*self.state() {
            State::Published { version, .. } => Some(*version),
            _ => None,
        }
    }

    /// How many rows were appended.
    #[getter]
    fn num_rows(&self) -> u64 {
        self.counts().0
    }

    /// How many batches were appended and are not published yet.
    #[getter]
    fn num_batches(&self) -> usize {
        self.counts().1
    }

    /// How many bytes of the arena they take.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.counts().2
    }

    /// Copies a batch, or every batch of a table, into the arena, behind what was appended before. All have the columns of the
    /// first one (or of `schema`): the same names, types and nullability. On error, batches of `value` that came before the one that
    /// failed stay appended.
    ///
    /// Raises:
    ///     TypeError: `value` is no table or batch.
    ///     MismatchError: It has other columns.
    ///     NoSpaceError: There is no memory for it.
    ///     InvalidError: The draft was published or dropped.
    ///
    /// >>> import pyarrow as pa
    /// >>> arena = faretra.Arena.create("doc-grown-append", keep=False)
    /// >>> with arena.draft_table("t") as table:
    /// ...     table.append(pa.record_batch({"id": [1, 2]}))
    /// ...     table.append(pa.table({"id": [3]}))
    /// >>> arena["t"].to_pyarrow()["id"].to_pylist()
    /// [1, 2, 3]
    /// >>> arena.close()
    fn append(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let reader = reader(value)?;
        let mut grown = self.take(State::Busy).ok_or_else(|| self.ended().raise(py))?;
        let (name, appending) = (&self.name, &mut grown);
        let done = wait(py, move || {
            let schema = reader.schema();
            let mut read = false;
            for batch in reader {
                read = true;
                appending.push(batch.map_err(Error::from)?, name)?;
            }
            // A table without batches says its columns, too.
            if !read {
                appending.push(RecordBatch::new_empty(schema), name)?;
            }
            Ok::<(), Failure>(())
        });
        *self.state() = State::Open(grown);
        done
    }

    /// Publishes the table now, and returns its version.
    ///
    /// Raises:
    ///     InvalidError: Nothing was appended, and no `schema` was given; or the draft was published or dropped.
    ///
    /// >>> import pyarrow as pa
    /// >>> arena = faretra.Arena.create("doc-grown-publish", keep=False)
    /// >>> table = arena.draft_table("t")
    /// >>> table.append(pa.table({"id": [1]}))
    /// >>> table.publish()
    /// 1
    /// >>> arena.close()
    fn publish(&self, py: Python<'_>) -> PyResult<u64> {
        let grown = self.take(State::Dropped).ok_or_else(|| self.ended().raise(py))?;
        let Some(schema) = grown.schema else {
            let text = format!(
                "nothing was appended to the table `{}`, so that its columns are not known: give a schema (`draft_table(name, \
                 schema=...)`)",
                self.name
            );
            return Err(Failure::invalid(text).raise(py));
        };
        let (writer, batches, rows, bytes) = (grown.writer, grown.batches, grown.rows, grown.bytes);
        let version = wait(py, || writer.publish(&self.name, Value::drafts(schema, batches)))?;
        *self.state() = State::Published { version, rows, bytes };
        Ok(version)
    }

    /// Drops what was appended, and gives its memory back.
    ///
    /// >>> import pyarrow as pa
    /// >>> arena = faretra.Arena.create("doc-grown-discard", keep=False)
    /// >>> table = arena.draft_table("t")
    /// >>> table.append(pa.table({"id": [1]}))
    /// >>> table.discard()
    /// >>> "t" in arena
    /// False
    /// >>> arena.close()
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let grown = self.take(State::Dropped);
        wait(py, || {
            drop(grown);
            Ok::<(), Failure>(())
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exc))]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        let open = matches!(&*self.state(), State::Open(_) | State::Busy);
        match (failed(exc)?, open) {
            (true, _) => self.discard(py),
            (false, true) => self.publish(py).map(drop),
            (false, false) => Ok(()),
        }
    }

    fn __repr__(&self) -> String {
        match self.version() {
            Some(version) => format!("<faretra.TableDraft of '{}', published as version {version}>", self.name),
            None => format!("<faretra.TableDraft of '{}', {} rows>", self.name, self.num_rows()),
        }
    }
}
