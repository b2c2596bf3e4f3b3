//! Arrow's PyCapsule interface: tables that come in without pyarrow, and go out.
//!
//! <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>
#![allow(unsafe_code, reason = "structures of Arrow's C data interface, in capsules")]

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{
    Array, RecordBatch, RecordBatchIterator, RecordBatchOptions, RecordBatchReader, StructArray, make_array,
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
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
    inner: FFI_ArrowArrayStream,
    values: DataType,
    schema: SchemaRef,
}

// SAFETY: the stream moves as a whole, and the interface lets it be called from any thread, one at a time.
unsafe impl Send for Stream {}

impl Stream {
    fn new(mut inner: FFI_ArrowArrayStream, name: &str) -> Result<Stream, ArrowError> {
        let get = inner.get_schema.ok_or_else(|| ArrowError::CDataInterface("the stream was read already".into()))?;
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: a stream that was not released, and a schema to be filled in.
        let failed = unsafe { get(&mut inner, &mut schema) };
        if failed != 0 {
            return Err(ArrowError::CDataInterface(last_error(&mut inner, failed)));
        }
        let field = Field::try_from(&schema)?;
        let values = field.data_type().clone();
        let schema = match &values {
            DataType::Struct(columns) => Schema::new_with_metadata(columns.clone(), field.metadata().clone()),
            _ => Schema::new(vec![named(field, name)]),
        };
        Ok(Stream { inner, values, schema: Arc::new(schema) })
    }

    /// Values of the stream as a batch.
    fn batch(&self, array: FFI_ArrowArray) -> Result<RecordBatch, ArrowError> {
        // SAFETY: the array is of the type that the stream's schema says.
        let data = unsafe { from_ffi_and_data_type(array, self.values.clone()) }?;
        if !matches!(self.values, DataType::Struct(_)) {
            return RecordBatch::try_new(self.schema.clone(), vec![make_array(data)]);
        }
        let rows = StructArray::from(data);
        match rows.null_count() {
            0 => columns(rows, self.schema.clone()),
            nulls => Err(ArrowError::InvalidArgumentError(format!(
                "{nulls} of {} rows are null as a whole, which the rows of a table cannot be: put the values as a column of a \
                 table",
                rows.len()
            ))),
        }
    }
}

/// The fields of a struct as columns of this schema.
fn columns(rows: StructArray, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let (_, columns, _) = rows.into_parts();
    RecordBatch::try_new_with_options(schema, columns, &options)
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
        let get = self.inner.get_next?;
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: a stream that was not released, and an array to be filled in.
        let failed = unsafe { get(&mut self.inner, &mut array) };
        if failed != 0 {
            return Some(Err(ArrowError::CDataInterface(last_error(&mut self.inner, failed))));
        }
        if array.is_released() { None } else { Some(self.batch(array)) }
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
            columns(rows.clone(), Arc::new(schema))
        }
        _ => RecordBatch::try_new(Arc::new(Schema::new(vec![named(field, name)])), vec![array]),
    };
    batch.map_err(|error| wrong(&error))
}

/// What `value.__arrow_c_schema__()` gives, of a schema.
pub fn schema(value: &Bound<'_, PyAny>) -> PyResult<SchemaRef> {
    described(value, |schema| Schema::try_from(schema)).map(Arc::new)
}

/// What `value.__arrow_c_schema__()` gives, of a type.
pub fn data_type(value: &Bound<'_, PyAny>) -> PyResult<DataType> {
    described(value, |schema| DataType::try_from(schema))
}

fn described<T>(value: &Bound<'_, PyAny>, read: impl FnOnce(&FFI_ArrowSchema) -> Result<T, ArrowError>) -> PyResult<T> {
    let capsule = value.call_method0("__arrow_c_schema__")?;
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| no_capsule(value, "__arrow_c_schema__"))?;
    let schema = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name has a schema, which the capsule keeps.
    read(unsafe { schema.as_ref() }).map_err(|error| wrong(&error))
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

/// Some columns of a schema, by number and in this order.
pub fn projected(schema: &SchemaRef, columns: &[usize]) -> PyResult<SchemaRef> {
    schema.project(columns).map(Arc::new).map_err(|error| wrong(&error))
}

/// The first rows of a reader's batches.
pub fn first(reader: Reader, rows: usize) -> Reader {
    let schema = reader.schema();
    if rows == 0 {
        // Not even the first batch is built.
        return Box::new(RecordBatchIterator::new(std::iter::empty(), schema));
    }
    let mut left = rows;
    let batches = reader.map_while(move |batch| {
        let none_asked = left == 0;
        let batch = batch.map(|batch| batch.slice(0, batch.num_rows().min(left)));
        left -= batch.as_ref().map_or(left, RecordBatch::num_rows);
        (!none_asked).then_some(batch)
    });
    Box::new(RecordBatchIterator::new(batches, schema))
}

/// What numpy calls the elements of a column that is plain memory, and how many lie in a row; `None` if it is not.
pub fn plain(data_type: &DataType) -> Option<(String, usize, Option<usize>)> {
    use DataType as T;
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    let (name, size) = match data_type {
        T::Int8 => ("|i1".into(), 1),
        T::Int16 => ("<i2".into(), 2),
        T::Int32 => ("<i4".into(), 4),
        T::Int64 => ("<i8".into(), 8),
        T::UInt8 => ("|u1".into(), 1),
        T::UInt16 => ("<u2".into(), 2),
        T::UInt32 => ("<u4".into(), 4),
        T::UInt64 => ("<u8".into(), 8),
        T::Float16 => ("<f2".into(), 2),
        T::Float32 => ("<f4".into(), 4),
        T::Float64 => ("<f8".into(), 8),
        T::Timestamp(step, _) => (format!("<M8[{}]", unit(step)), 8),
        T::Date64 => ("<M8[ms]".into(), 8),
        T::Duration(step) => (format!("<m8[{}]", unit(step)), 8),
        T::FixedSizeBinary(size) if *size > 0 => (format!("|V{size}"), *size as usize),
        T::FixedSizeList(item, len) => {
            let (name, size, None) = plain(item.data_type())? else { return None };
            return Some((name, size, Some(*len as usize)));
        }
        _ => return None,
    };
    Some((name, size, None))
}

/// The fields of a schema, as name and type.
pub fn describe(fields: &Fields) -> Vec<(String, String, bool)> {
    fields.iter().map(|f| (f.name().clone(), f.data_type().to_string(), f.is_nullable())).collect()
}
