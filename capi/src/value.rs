//! Publishing.
//!
//! A value is a `faretra_value`: plain data that says where something lies, made by one of the `faretra_value_...` functions and
//! passed on at once. `faretra_publish`, `faretra_send` and `faretra_append` copy it into the arena, once, before they return:
//! memory and structures stay the caller's, to be freed or released by the caller, whatever becomes of the call. What lies in the
//! same arena already (an object; the columns of a batch that was read there) is shared instead of copied.

use std::ffi::{c_char, c_void};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use faretra::{Bundle, DType, DynArrayView, Value};

use crate::arena::faretra_writer;
use crate::arrow;
use crate::border::{Done, Out, Text, alone, bytes, fill, memory, of, run, size};
use crate::draft::{Drafting, faretra_draft};
use crate::error::{Failure, faretra_code};
use crate::object::faretra_object;

/// A value to publish, send or append: made by `faretra_value_...`, and good for as long as what it was made of. Its fields are
/// nobody's business.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct faretra_value {
    kind: u32,
    reserved: u32,
    data: *const c_void,
    detail: *const c_void,
    len: usize,
    shape: *const i64,
    strides: *const i64,
}

const BATCH: u32 = 1;
const STREAM: u32 = 2;
const BYTES: u32 = 3;
const ARRAY: u32 = 4;
const OBJECT: u32 = 5;
const DRAFT: u32 = 6;
const BUNDLE: u32 = 7;

impl faretra_value {
    fn new<T>(kind: u32, data: *const T) -> faretra_value {
        let null = std::ptr::null();
        faretra_value {
            kind,
            reserved: 0,
            data: data.cast(),
            detail: std::ptr::null(),
            len: 0,
            shape: null,
            strides: null,
        }
    }
}

/// Returns a record batch as a value: a struct array whose children are the columns. Neither structure is released.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_batch(array: *const FFI_ArrowArray, schema: *const FFI_ArrowSchema) -> faretra_value {
    faretra_value { detail: schema.cast(), ..faretra_value::new(BATCH, array) }
}

/// Returns all batches of a stream as a value: a table. The call that takes the value reads the stream, also if it fails, and
/// does not release it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_stream(stream: *mut FFI_ArrowArrayStream) -> faretra_value {
    faretra_value::new(STREAM, stream)
}

/// Returns bytes as a value.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_bytes(data: *const c_void, len: usize) -> faretra_value {
    faretra_value { len, ..faretra_value::new(BYTES, data) }
}

/// Returns an n-dimensional array as a value. `dtype` is its element type as numpy writes it: `<f8`, `|u1`, `<i4`. `shape` has
/// `rank` lengths. `strides` has as many steps in bytes, which may be 0 or negative, and `data` is the element of which all
/// indices are 0; with `strides` null the elements lie one behind the other in C order. All of these, `dtype` too, have to stay until
/// the value is published: a language that makes text for C for one call only has to keep it longer.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_array(
    dtype: Text,
    rank: usize,
    shape: *const i64,
    strides: *const i64,
    data: *const c_void,
) -> faretra_value {
    faretra_value { detail: dtype.pointer().cast(), len: rank, shape, strides, ..faretra_value::new(ARRAY, data) }
}

/// Returns an object that was read as a value: nothing is copied if it is of the same arena.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_object(object: *const faretra_object) -> faretra_value {
    faretra_value::new(OBJECT, object)
}

/// Returns a draft as a value: nothing is copied. The call that takes it uses the draft up, and its memory must not be written
/// any more; the handle is still to be freed. A `faretra_send` or `faretra_append` that found no room in time leaves it to be
/// sent again.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_draft(draft: *const faretra_draft) -> faretra_value {
    faretra_value::new(DRAFT, draft)
}

/// Returns several named values as one, which are published at once or not at all: `count` names and as many values.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_value_bundle(
    count: usize,
    names: *const *const c_char,
    values: *const faretra_value,
) -> faretra_value {
    faretra_value { len: count, detail: values.cast(), ..faretra_value::new(BUNDLE, names) }
}

/// Why a value was not taken, and the value if it is as it was.
pub struct Refused<'a> {
    failure: Box<Failure>,
    value: Option<Box<Value<'a>>>,
}

impl<'a> Refused<'a> {
    /// One that may leave the value as it was.
    pub fn new(failure: impl Into<Failure>, value: Option<Value<'a>>) -> Refused<'a> {
        Refused { failure: Box::new(failure.into()), value: value.map(Box::new) }
    }
}

impl From<Failure> for Refused<'_> {
    fn from(failure: Failure) -> Self {
        Refused::new(failure, None)
    }
}

/// Calls `take` with a value of C's.
pub fn with<T>(value: faretra_value, take: impl for<'v> FnOnce(Value<'v>) -> Result<T, Refused<'v>>) -> Done<T> {
    if value.kind != DRAFT {
        return take(import(&value, 0)?).map_err(|refused| *refused.failure);
    }
    let mut draft = alone(drafting(&value)?, "draft")?;
    take(draft.take()?).map_err(|Refused { failure, value }| {
        if let Some(value) = value {
            *draft = Drafting::Finished(value);
        }
        *failure
    })
}

/// The draft that a value is.
fn drafting(value: &faretra_value) -> Done<&std::sync::Mutex<Drafting>> {
    // SAFETY: the value was made of a handle, which C keeps until the call that takes the value is over.
    of(unsafe { value.data.cast::<faretra_draft>().as_ref() })
}

/// How deep bundles may lie in each other.
const DEEPEST: usize = 32;

fn import<'v>(value: &faretra_value, depth: usize) -> Done<Value<'v>> {
    match value.kind {
        BATCH => Ok(arrow::batch(value.data, value.detail)?.into()),
        STREAM => Ok(arrow::stream(value.data.cast_mut())?.into()),
        // SAFETY: C says that so many bytes are there until the call that takes the value is over.
        BYTES => Ok(unsafe { bytes(value.data, value.len, "bytes") }?.into()),
        ARRAY => Ok(array(value)?.into()),
        OBJECT => {
            // SAFETY: the value was made of a handle, which C keeps until the call that takes the value is over.
            let object = unsafe { value.data.cast::<faretra_object>().as_ref() };
            Ok(of(object)?.object.clone().into())
        }
        DRAFT => alone(drafting(value)?, "draft")?.take_fresh(),
        BUNDLE if depth < DEEPEST => {
            // SAFETY: C says that so many names are there.
            let names = unsafe { memory(value.data.cast::<*const c_char>(), value.len, "names") }?;
            // SAFETY: C says that so many values are there; their kinds are looked at before anything else.
            let values = unsafe { memory(value.detail.cast::<faretra_value>(), value.len, "values") }?;
            let mut bundle = Bundle::new();
            for (name, value) in names.iter().zip(values) {
                bundle = bundle.with(Text::at(*name).read("name of a member")?, import(value, depth + 1)?);
            }
            Ok(bundle.into())
        }
        BUNDLE => Err(Failure::invalid(format!("bundles lie more than {DEEPEST} deep in each other"))),
        kind => Err(Failure::invalid(format!("a faretra_value of kind {kind} is none that faretra_value_... made"))),
    }
}

/// An array that lies in memory of C's.
fn array<'v>(value: &faretra_value) -> Done<DynArrayView<'v>> {
    let dtype: DType = Text::at(value.detail.cast()).read("dtype")?.parse()?;
    // SAFETY: C says that there are as many lengths as axes.
    let shape = unsafe { memory(value.shape, value.len, "lengths of axes") }?;
    let shape: Vec<usize> = shape.iter().map(|len| size(*len, "elements of an axis")).collect::<Done<_>>()?;
    let dense = || shape.iter().try_fold(dtype.itemsize(), |bytes, len| bytes.checked_mul(*len));
    let too_large = || Failure::invalid(format!("an array of shape {shape:?} is larger than memory can be"));
    if value.strides.is_null() {
        // SAFETY: C says that all elements are there, one behind the other.
        let bytes = unsafe { bytes(value.data, dense().ok_or_else(too_large)?, "bytes of elements") }?;
        return Ok(DynArrayView::from_bytes(dtype, &shape, faretra::Order::C, bytes)?);
    }
    // SAFETY: C says that there are as many strides as axes.
    let strides = unsafe { memory(value.strides, value.len, "strides") }?;
    let strides: Vec<isize> = strides.iter().map(|stride| *stride as isize).collect();
    if shape.contains(&0) {
        return Ok(DynArrayView::from_strides(dtype, &shape, &strides, 0, &[])?);
    }
    let (mut low, mut high) = (0_i128, dtype.itemsize() as i128);
    for (len, stride) in shape.iter().zip(&strides) {
        let reach = (*len as i128 - 1) * *stride as i128;
        (low, high) = (low + reach.min(0), high + reach.max(0));
    }
    let first = usize::try_from(-low).map_err(|_| too_large())?;
    let len = usize::try_from(high - low).map_err(|_| too_large())?;
    if value.data.is_null() {
        return Err(Failure::invalid("the pointer to the elements of an array is null"));
    }
    // SAFETY: C says that its elements lie so far apart, from the first one on, to both sides of it.
    let bytes = unsafe { bytes(value.data.wrapping_byte_sub(first), len, "bytes of elements") }?;
    Ok(DynArrayView::from_strides(dtype, &shape, &strides, first, bytes)?)
}

/// Publishes a value under a name, in place of what the name stood for. `version` may be null; otherwise it tells the version.
/// Waits for nobody. Readers have the old value or the new one, and never less than a whole one.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_publish(
    writer: Option<&faretra_writer>,
    name: Text,
    value: faretra_value,
    version: Out<'_, u64>,
) -> faretra_code {
    publish(writer, name, value, None, version)
}

/// Publishes a value under a name if the current version is `expected` (0: if there is no such name). Fails with
/// `FARETRA_CONFLICT` otherwise, and changes nothing then.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_publish_if(
    writer: Option<&faretra_writer>,
    name: Text,
    expected: u64,
    value: faretra_value,
    version: Out<'_, u64>,
) -> faretra_code {
    publish(writer, name, value, Some(expected), version)
}

fn publish(
    writer: Option<&faretra_writer>,
    name: Text,
    value: faretra_value,
    expected: Option<u64>,
    version: Out<'_, u64>,
) -> faretra_code {
    run(|| {
        let (writer, name) = (of(writer)?, name.read("name")?);
        let published = with(value, |value| {
            let published = match expected {
                None => writer.publish(name, value),
                Some(expected) => writer.publish_if(name, expected, value),
            };
            Ok(published.map_err(Failure::from)?)
        })?;
        fill(version, published);
        Ok(())
    })
}

/// Removes a name: of an object, channel, feed or lock. Processes that have it keep it. Fails with `FARETRA_NOT_FOUND` if there
/// is none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_remove(writer: Option<&faretra_writer>, name: Text) -> faretra_code {
    run(|| {
        let (writer, name) = (of(writer)?, name.read("name")?);
        match writer.remove(name)? {
            true => Ok(()),
            false => {
                let text = format!("no object named `{name}`; faretra_names tells which there are");
                Err(Failure::Other(faretra_code::FARETRA_NOT_FOUND, 0, text))
            }
        }
    })
}
