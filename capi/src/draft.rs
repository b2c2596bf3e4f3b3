//! Drafts.
//!
//! A draft is memory of the arena that nobody else sees yet. The program writes into it, and publishes or sends it with
//! `faretra_value_draft`: nothing is copied. A draft that is freed instead, or whose process dies, leaves nothing behind.
//!
//! The pointers that a draft gives out are good until the draft is published, sent or freed. Do not write through them later:
//! readers would see it. A child of `fork` must not write through them either.

use std::ffi::c_void;
use std::sync::Mutex;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_schema::DataType;
use faretra::{BytesDraft, DType, Draft, DynArrayDraft, Order, Value};

use crate::arena::faretra_writer;
use crate::border::{Done, Handle, New, Out, Text, alone, bytes, free, handles, make, memory, of, out, run, size};
use crate::error::{Failure, faretra_code};

/// A value that is being written in place. One thread at a time can use it.
pub struct faretra_draft(Handle);

handles! {
    faretra_draft holds Mutex<Drafting>, "faretra_draft";
}

/// How far a draft is.
pub enum Drafting {
    /// A batch, which is being written.
    Batch(Box<Draft>),
    /// An array, which is being written.
    Array(DynArrayDraft),
    /// Bytes, which are being written.
    Bytes(BytesDraft),
    /// A value that was to be sent and found no room.
    Finished(Box<Value<'static>>),
    /// Published, sent or lost.
    Gone,
}

impl Drafting {
    /// Takes the value out of the draft.
    pub fn take(&mut self) -> Done<Value<'static>> {
        match std::mem::replace(self, Drafting::Gone) {
            Drafting::Finished(value) => Ok(*value),
            fresh => fresh.into_value(),
        }
    }

    /// Takes the value out of a draft that nobody tried to send before.
    pub fn take_fresh<'v>(&mut self) -> Done<Value<'v>> {
        match self {
            Drafting::Finished(_) => Err(Failure::invalid("the draft was sent before: it cannot be part of a bundle")),
            _ => std::mem::replace(self, Drafting::Gone).into_value(),
        }
    }

    fn into_value<'v>(self) -> Done<Value<'v>> {
        match self {
            Drafting::Batch(draft) => Ok((*draft).into()),
            Drafting::Array(draft) => Ok(draft.into()),
            Drafting::Bytes(draft) => Ok(draft.into()),
            Drafting::Finished(_) | Drafting::Gone => Err(Failure::invalid("the draft was published or sent before")),
        }
    }

    fn batch(&mut self) -> Done<&mut Draft> {
        match self {
            Drafting::Batch(draft) => Ok(draft),
            Drafting::Array(_) | Drafting::Bytes(_) => Err(Failure::invalid("the draft is not one of a batch")),
            Drafting::Finished(_) | Drafting::Gone => Err(Failure::invalid("the draft was published or sent before")),
        }
    }
}

/// Drafts bytes. `data` tells where; they are arbitrary at first.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_bytes(
    writer: Option<&faretra_writer>,
    len: usize,
    draft: New<'_, faretra_draft>,
    data: Out<'_, *mut c_void>,
) -> faretra_code {
    make(draft, || {
        let data = out(data, "bytes")?;
        let mut draft = of(writer)?.draft_bytes(len)?;
        data.write(draft.bytes_mut()?.as_mut_ptr().cast());
        Ok(Mutex::new(Drafting::Bytes(draft)))
    })
}

/// Drafts an array of this element type, as numpy writes it, and this shape. `data` tells where its elements are, one behind the
/// other: in C order, or in Fortran order if `fortran` is not 0. Numbers are arbitrary at first.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_array(
    writer: Option<&faretra_writer>,
    dtype: Text,
    rank: usize,
    shape: *const i64,
    fortran: i32,
    draft: New<'_, faretra_draft>,
    data: Out<'_, *mut c_void>,
) -> faretra_code {
    make(draft, || {
        let data = out(data, "elements")?;
        let dtype: DType = dtype.read("dtype")?.parse()?;
        // SAFETY: C says that there are as many lengths as axes.
        let shape = unsafe { memory(shape, rank, "lengths of axes") }?;
        let shape: Vec<usize> = shape.iter().map(|len| size(*len, "elements of an axis")).collect::<Done<_>>()?;
        let order = if fortran == 0 { Order::C } else { Order::Fortran };
        let mut draft = of(writer)?.draft_dyn_array(dtype, &shape, order)?;
        data.write(draft.bytes_mut()?.as_mut_ptr().cast());
        Ok(Mutex::new(Drafting::Array(draft)))
    })
}

/// Drafts a batch of `rows` rows. The schema is not released. `text_bytes` has, for each column, how many bytes of text or binary
/// values there may be in it; null: 32 for each row.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_batch(
    writer: Option<&faretra_writer>,
    schema: *const FFI_ArrowSchema,
    rows: i64,
    text_bytes: *const usize,
    draft: New<'_, faretra_draft>,
) -> faretra_code {
    make(draft, || {
        let (writer, schema, rows) = (of(writer)?, crate::arrow::schema(schema.cast())?, size(rows, "rows")?);
        if text_bytes.is_null() {
            return Ok(Mutex::new(Drafting::Batch(Box::new(writer.draft(&schema, rows)?))));
        }
        // SAFETY: C says that there is one number for each column.
        let room = unsafe { memory(text_bytes, schema.fields().len(), "numbers of bytes of text") }?;
        let draft = writer.draft_with(&schema, rows, |column| room.get(column).copied().unwrap_or(0))?;
        Ok(Mutex::new(Drafting::Batch(Box::new(draft))))
    })
}

/// Tells where the values of a column of any fixed width lie, row after row, to be written. Numbers are arbitrary at first: write
/// all. Dates, times and decimals are the integers that Arrow stores. `nbytes` may be null.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_column(
    draft: Option<&faretra_draft>,
    column: Text,
    data: Out<'_, *mut c_void>,
    nbytes: Out<'_, usize>,
) -> faretra_code {
    run(|| {
        let data = out(data, "values")?;
        let mut draft = alone(of(draft)?, "draft")?;
        let values = draft.batch()?.bytes_mut(column.read("name of a column")?)?;
        data.write(values.as_mut_ptr().cast());
        crate::border::fill(nbytes, values.len());
        Ok(())
    })
}

/// Writes the next row of a column of text or binary values: `len` bytes, or null if `data` is a null pointer. Every row has to be
/// written.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_push(
    draft: Option<&faretra_draft>,
    column: Text,
    data: *const c_void,
    len: usize,
) -> faretra_code {
    run(|| {
        let mut draft = alone(of(draft)?, "draft")?;
        let (draft, column) = (draft.batch()?, column.read("name of a column")?);
        let is_text = draft
            .schema()
            .field_with_name(column)
            .is_ok_and(|field| matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8));
        if data.is_null() {
            return Ok(draft.text_mut(column)?.push_null()?);
        }
        // SAFETY: C says that so many bytes are there.
        let value = unsafe { bytes(data, len, "bytes of text") }?;
        if !is_text {
            return Ok(draft.text_mut(column)?.push_bytes(value)?);
        }
        let text =
            str::from_utf8(value).map_err(|error| Failure::invalid(format!("the text is not UTF-8: {error}")))?;
        Ok(draft.text_mut(column)?.push(text)?)
    })
}

/// Sets a row of a column of booleans, which are false at first.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_set_bool(
    draft: Option<&faretra_draft>,
    column: Text,
    row: i64,
    value: i32,
) -> faretra_code {
    run(|| {
        let mut draft = alone(of(draft)?, "draft")?;
        Ok(draft.batch()?.bits_mut(column.read("name of a column")?)?.set(size(row, "as a row")?, value != 0)?)
    })
}

/// Makes a row of a nullable column null. (Rows of text are made null by `faretra_draft_push`.)
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_set_null(draft: Option<&faretra_draft>, column: Text, row: i64) -> faretra_code {
    run(|| {
        let mut draft = alone(of(draft)?, "draft")?;
        Ok(draft.batch()?.validity_mut(column.read("name of a column")?)?.set_null(size(row, "as a row")?)?)
    })
}

/// Frees a draft, and gives its memory back unless it was published or sent.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_draft_free(draft: Option<Box<faretra_draft>>) {
    free(draft);
}
