//! The structures of Arrow's C data interface: lent by C, and made for C.
//!
//! * X1: what comes in is looked at through a copy of its top structure that releases nothing: release stays the caller's. A
//!   structure that was released, or whose numbers cannot be, is refused before arrow sees it.
//! * X2: what goes out keeps the pin of its object in each array, child or not, so that each can be moved out and released alone.

use std::ffi::{CStr, c_void};
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{Array, RecordBatch, RecordBatchOptions, RecordBatchReader, StructArray};
use arrow_data::layout;
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};

use crate::border::{Done, Out};
use crate::error::Failure;

/// How deep types may lie in each other: more than any type that an arena takes.
const DEEPEST: usize = 64;

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Failure {
        Failure::Library(error.into())
    }
}

/// Schema and columns of a batch that C lends, for as long as the call lasts.
pub fn batch(array: *const c_void, schema: *const c_void) -> Done<RecordBatch> {
    let schema = lent_schema(schema.cast())?;
    // SAFETY: C promises a null pointer or an array of the interface, which nobody changes during the call.
    let Some(array) = (unsafe { array.cast::<FFI_ArrowArray>().as_ref() }) else {
        return Err(Failure::invalid("the pointer to an ArrowArray is null"));
    };
    check(array, schema, 0)?;
    // X1: the same array, as it is while it is lent.
    let lent = FFI_ArrowArray { release: None, ..*array };
    let fields = Schema::try_from(schema)?;
    // SAFETY: an array and its schema, by C's promise. What is made of it is gone before C goes on.
    let data = unsafe { from_ffi(lent, schema) }?;
    let rows = StructArray::from(data);
    if rows.null_count() != 0 {
        let nulls = rows.null_count();
        return Err(Failure::invalid(format!(
            "{nulls} of {} rows are null as a whole, which rows of a batch cannot be",
            rows.len()
        )));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let (_, columns, _) = rows.into_parts();
    Ok(RecordBatch::try_new_with_options(Arc::new(fields), columns, &options)?)
}

/// A schema that C lends.
pub fn schema(schema: *const c_void) -> Done<SchemaRef> {
    Ok(Arc::new(Schema::try_from(lent_schema(schema.cast())?)?))
}

fn lent_schema<'a>(schema: *const FFI_ArrowSchema) -> Done<&'a FFI_ArrowSchema> {
    // SAFETY: C promises a null pointer or a schema of the interface, which nobody changes during the call.
    let Some(schema) = (unsafe { schema.as_ref() }) else {
        return Err(Failure::invalid("the pointer to an ArrowSchema is null"));
    };
    check_schema(schema, 0)?;
    Ok(schema)
}

/// What arrow would panic at, or follow out of memory: X1.
fn check_schema(schema: &FFI_ArrowSchema, depth: usize) -> Done {
    if schema.release.is_none() && depth == 0 {
        return Err(Failure::invalid("the ArrowSchema was released"));
    }
    if schema.format.is_null() || depth > DEEPEST {
        return Err(Failure::invalid("the ArrowSchema has no format, or types more than 64 deep in each other"));
    }
    // SAFETY: text that ends in a null byte, by the interface.
    let format = unsafe { CStr::from_ptr(schema.format) };
    // SAFETY: null, or text that ends in a null byte, by the interface.
    let name = (!schema.name.is_null()).then(|| unsafe { CStr::from_ptr(schema.name) });
    if format.to_str().is_err() || name.is_some_and(|name| name.to_str().is_err()) {
        return Err(Failure::invalid("the format or the name of an ArrowSchema is not UTF-8"));
    }
    for child in children(schema.n_children, schema.children)? {
        check_schema(child, depth + 1)?;
    }
    // SAFETY: null, or a schema, by the interface.
    match unsafe { schema.dictionary.as_ref() } {
        Some(values) => check_schema(values, depth + 1),
        None => Ok(()),
    }
}

/// Whether an array can be one of that schema.
fn check(array: &FFI_ArrowArray, schema: &FFI_ArrowSchema, depth: usize) -> Done {
    if array.release.is_none() && depth == 0 {
        return Err(Failure::invalid("the ArrowArray was released"));
    }
    let FFI_ArrowArray { length, offset, null_count, n_buffers, n_children, .. } = *array;
    let end = length.checked_add(offset).is_some();
    if length < 0 || offset < 0 || null_count < -1 || n_buffers < 0 || !end {
        return Err(Failure::invalid(format!(
            "an ArrowArray of length {length}, offset {offset}, {null_count} nulls and {n_buffers} buffers cannot be"
        )));
    }
    let data_type = DataType::try_from(schema)?;
    let layout = layout(&data_type);
    // Validity; those of the type; and, if there are as many as somebody likes, their sizes.
    let has = i64::from(layout.can_contain_null_mask) + layout.buffers.len() as i64 + i64::from(layout.variadic);
    if n_buffers < has || n_buffers > 0 && array.buffers.is_null() {
        return Err(Failure::invalid(format!(
            "an ArrowArray of type {data_type} has {has} buffers, {n_buffers} were given"
        )));
    }
    if n_children != schema.n_children || array.dictionary.is_null() != schema.dictionary.is_null() {
        return Err(Failure::invalid(format!(
            "the ArrowArray has {n_children} children, and its ArrowSchema has {} (or one of them has a dictionary)",
            schema.n_children
        )));
    }
    let types = children(schema.n_children, schema.children)?;
    for (child, schema) in children(n_children, array.children)?.into_iter().zip(types) {
        if matches!(data_type, DataType::Struct(_)) && child.length < length + offset {
            let rows = length + offset;
            return Err(Failure::invalid(format!(
                "a column of {} values in a batch of {rows} rows cannot be",
                child.length
            )));
        }
        check(child, schema, depth + 1)?;
    }
    // SAFETY: null, or an array, by the interface.
    let values = unsafe { array.dictionary.as_ref() };
    // SAFETY: null, or a schema, by the interface.
    match values.zip(unsafe { schema.dictionary.as_ref() }) {
        Some((values, schema)) => check(values, schema, depth + 1),
        None => Ok(()),
    }
}

/// The children of an array or schema.
fn children<'a, T>(count: i64, all: *mut *mut T) -> Done<Vec<&'a T>> {
    let count = crate::border::size(count, "children of an Arrow structure")?;
    // SAFETY: the interface says that so many pointers are there.
    let all = unsafe { crate::border::memory(all.cast_const(), count, "children of an Arrow structure") }?;
    let missing = || Failure::invalid("a child of an Arrow structure is null");
    // SAFETY: each is null or a structure, by the interface.
    all.iter().map(|child| unsafe { child.as_ref() }.ok_or_else(missing)).collect()
}

/// A stream that C lends. It is read, and its release stays the caller's: X1.
pub fn stream(stream: *mut c_void) -> Done<Box<dyn RecordBatchReader + Send>> {
    // SAFETY: C promises a null pointer or a stream of the interface, which nobody else uses during the call.
    let Some(stream) = (unsafe { stream.cast::<FFI_ArrowArrayStream>().as_ref() }) else {
        return Err(Failure::invalid("the pointer to an ArrowArrayStream is null"));
    };
    if stream.release.is_none() || stream.get_schema.is_none() || stream.get_next.is_none() {
        return Err(Failure::invalid("the ArrowArrayStream was released, or lacks a function"));
    }
    let lent = FFI_ArrowArrayStream {
        get_schema: stream.get_schema,
        get_next: stream.get_next,
        get_last_error: stream.get_last_error,
        release: Some(release_nothing),
        private_data: stream.private_data,
    };
    Ok(Box::new(ArrowArrayStreamReader::try_new(lent)?))
}

extern "C" fn release_nothing(_: *mut FFI_ArrowArrayStream) {}

/// Writes a batch to two structures, which C releases: X2. Both are unchanged if it fails.
pub fn export(batch: &RecordBatch, array: Out<'_, FFI_ArrowArray>, schema: Out<'_, FFI_ArrowSchema>) -> Done {
    let array = crate::border::out(array, "an ArrowArray")?;
    let columns = FFI_ArrowArray::new(&StructArray::from(batch.clone()).to_data());
    if let Some(schema) = schema {
        schema.write(FFI_ArrowSchema::try_from(batch.schema_ref().as_ref())?);
    }
    array.write(columns);
    Ok(())
}

/// A stream of a reader's batches, which C releases.
pub fn export_stream(reader: impl RecordBatchReader + Send + 'static) -> FFI_ArrowArrayStream {
    FFI_ArrowArrayStream::new(Box::new(reader))
}
