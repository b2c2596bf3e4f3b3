//! Arrow's PyCapsule interface: tables that come in without pyarrow, and go out.
//!
//! <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>
#![allow(unsafe_code, reason = "structures of Arrow's C data interface, in capsules")]

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{Array, RecordBatch, RecordBatchIterator, RecordBatchReader, StructArray, make_array};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyTuple};

/// A table on its way in.
pub type Reader = Box<dyn RecordBatchReader + Send>;

fn wrong(error: &dyn std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("arrow: {error}"))
}

/// What `value.__arrow_c_stream__()` gives. A stream of plain values (a polars Series, a pyarrow ChunkedArray) becomes a
/// table of one column, which has its name or is called `value`.
pub fn stream(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Reader> {
    let capsule = value.call_method0("__arrow_c_stream__")?;
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| no_capsule(value, "__arrow_c_stream__"))?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name has a stream, which moves out of it: what is left there is marked as released.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr().cast()) };
    let stream = Stream::new(stream, name).map_err(|error| wrong(&error))?;
    Ok(Box::new(stream))
}

fn no_capsule(value: &Bound<'_, PyAny>, method: &str) -> PyErr {
    let class = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{class}.{method}() does not return a PyCapsule"))
}

/// A stream as a reader of batches, whatever its values are.
struct Stream {
    inner: Inner,
    schema: SchemaRef,
}

enum Inner {
    Batches(ArrowArrayStreamReader),
    Values(FFI_ArrowArrayStream, DataType),
}

// SAFETY: the stream moves as a whole, and the interface lets it be called from any thread, one at a time.
unsafe impl Send for Stream {}

impl Stream {
    fn new(mut stream: FFI_ArrowArrayStream, name: &str) -> Result<Stream, ArrowError> {
        let get = stream.get_schema.ok_or_else(|| ArrowError::CDataInterface("the stream was released".into()))?;
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: a stream that was not released, and a schema to be filled in.
        let failed = unsafe { get(&mut stream, &mut schema) };
        if failed != 0 {
            return Err(ArrowError::CDataInterface(last_error(&mut stream, failed)));
        }
        let field = Field::try_from(&schema)?;
        if matches!(field.data_type(), DataType::Struct(_)) {
            let inner = ArrowArrayStreamReader::try_new(stream)?;
            let schema = inner.schema();
            return Ok(Stream { inner: Inner::Batches(inner), schema });
        }
        let data_type = field.data_type().clone();
        let column = named(field, name);
        let schema = Arc::new(Schema::new(vec![column]));
        Ok(Stream { inner: Inner::Values(stream, data_type), schema })
    }
}

/// The field of a column that may have had no name.
fn named(field: Field, name: &str) -> Field {
    if !field.name().is_empty() {
        return field;
    }
    field.with_name(if name.is_empty() { "value" } else { name })
}

fn last_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> String {
    let Some(last) = stream.get_last_error else { return format!("the stream failed with {code}") };
    // SAFETY: a stream that was not released.
    let text = unsafe { last(stream) };
    if text.is_null() {
        return format!("the stream failed with {code}");
    }
    // SAFETY: a C string, good until the next call.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl Iterator for Stream {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (stream, data_type) = match &mut self.inner {
            Inner::Batches(reader) => return reader.next(),
            Inner::Values(stream, data_type) => (stream, data_type),
        };
        let get = stream.get_next?;
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: a stream that was not released, and an array to be filled in.
        let failed = unsafe { get(stream, &mut array) };
        if failed != 0 {
            return Some(Err(ArrowError::CDataInterface(last_error(stream, failed))));
        }
        if array.is_released() {
            return None;
        }
        // SAFETY: the array is of the type that the stream's schema says.
        let data = unsafe { from_ffi_and_data_type(array, data_type.clone()) };
        let schema = self.schema.clone();
        Some(data.and_then(|data| RecordBatch::try_new(schema, vec![make_array(data)])))
    }
}

impl RecordBatchReader for Stream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// What `value.__arrow_c_array__()` gives: a batch; of a plain array, a batch of one column.
pub fn batch(value: &Bound<'_, PyAny>, name: &str) -> PyResult<RecordBatch> {
    let pair = value.call_method0("__arrow_c_array__")?;
    let pair = pair.cast::<PyTuple>().map_err(|_| no_capsule(value, "__arrow_c_array__"))?;
    if pair.len() != 2 {
        return Err(no_capsule(value, "__arrow_c_array__"));
    }
    let (schema, array) = (pair.get_item(0)?, pair.get_item(1)?);
    let schema = schema.cast::<PyCapsule>().map_err(|_| no_capsule(value, "__arrow_c_array__"))?;
    let array = array.cast::<PyCapsule>().map_err(|_| no_capsule(value, "__arrow_c_array__"))?;
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: a capsule of this name has a schema, which the capsule keeps.
    let field = Field::try_from(unsafe { schema.as_ref() }).map_err(|error| wrong(&error))?;
    // SAFETY: a capsule of this name has an array, which moves out of it: what is left there is marked as released.
    let array = unsafe { FFI_ArrowArray::from_raw(array.as_ptr()) };
    // SAFETY: the two capsules belong together.
    let data = unsafe { from_ffi_and_data_type(array, field.data_type().clone()) }.map_err(|error| wrong(&error))?;
    let array = make_array(data);
    let batch = match array.as_any().downcast_ref::<StructArray>() {
        Some(rows) if rows.null_count() == 0 => {
            let schema = Schema::new_with_metadata(rows.fields().clone(), field.metadata().clone());
            let (_, columns, _) = rows.clone().into_parts();
            let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
            RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
        }
        _ => RecordBatch::try_new(Arc::new(Schema::new(vec![named(field, name)])), vec![array]),
    };
    batch.map_err(|error| wrong(&error))
}

/// What `value.__arrow_c_schema__()` gives.
pub fn schema(value: &Bound<'_, PyAny>) -> PyResult<SchemaRef> {
    let capsule = value.call_method0("__arrow_c_schema__")?;
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| no_capsule(value, "__arrow_c_schema__"))?;
    let schema = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name has a schema, which the capsule keeps.
    let schema = Schema::try_from(unsafe { schema.as_ref() }).map_err(|error| wrong(&error))?;
    Ok(Arc::new(schema))
}

/// A schema as a capsule.
pub fn schema_capsule<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = FFI_ArrowSchema::try_from(schema).map_err(|error| wrong(&error))?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}

/// Batches as a capsule. It keeps them until it is read or dropped.
pub fn stream_capsule<'py>(py: Python<'py>, reader: Reader) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

/// A batch as two capsules: schema and array.
pub fn batch_capsules<'py>(py: Python<'py>, batch: &RecordBatch) -> PyResult<Bound<'py, PyTuple>> {
    let array = FFI_ArrowArray::new(&StructArray::from(batch.clone()).to_data());
    let array = PyCapsule::new_with_value(py, array, c"arrow_array")?;
    PyTuple::new(py, [schema_capsule(py, &batch.schema())?, array])
}

/// Some columns of a reader's batches, in this order. `columns` are numbers of columns.
pub fn project(reader: Reader, columns: &[usize]) -> PyResult<Reader> {
    let schema = reader.schema().project(columns).map_err(|error| wrong(&error))?;
    let schema = Arc::new(schema);
    let columns = columns.to_vec();
    let batches = reader.map(move |batch| batch.and_then(|batch| batch.project(&columns)));
    Ok(Box::new(RecordBatchIterator::new(batches, schema)))
}

/// The fields of a schema, as name and type.
pub fn describe(fields: &Fields) -> Vec<(String, String, bool)> {
    fields.iter().map(|f| (f.name().clone(), f.data_type().to_string(), f.is_nullable())).collect()
}
