//! The few steps that the compiler cannot check: arrays built from a descriptor without reading
//! every value again, and a view that outlives the borrow it was made from.
//!
//! What makes the first kind sound is the rule of trust of the whole project: whoever can write the
//! segment is trusted not to forge objects ([`crate::Options::trust_others`] is `unsafe` for that
//! reason), values were checked when they were arrow arrays in the writer, and objects never change
//! once published. What a crash or a stray write could damage and a constant number of loads can
//! find (lengths, extents, alignment, the ends of offsets) is checked by the callers in
//! `batch.rs` before they come here. Reading with [`crate::batch::Trust::Nobody`] validates every
//! value and uses only [`array_data`], whose result it validates before anybody sees it.
#![allow(unsafe_code, reason = "arrow's constructors without validation; a view kept alive by its owner")]
#![allow(
    clippy::disallowed_methods,
    reason = "`Held` lengthens the life of a slice whose owner it keeps; bounds are the buffer's own"
)]

use std::ops::Deref;
use std::sync::Arc;

use arrow_array::{Array, GenericByteArray, RecordBatch, types::ByteArrayType};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::SchemaRef;
use ndarray::{ArrayRef, ArrayView, Dimension};

/// A validity bitmap with the number of nulls that the writer counted.
pub(crate) fn nulls(bits: BooleanBuffer, count: usize) -> NullBuffer {
    // SAFETY: the count was taken from these very bits when the object was written.
    unsafe { NullBuffer::new_unchecked(bits, count) }
}

/// A string or binary array. The caller has checked that there are at least as many offsets as
/// values and one more, that the first is not negative and that the last lies in `values`.
pub(crate) fn byte_array<T: ByteArrayType>(
    offsets: ScalarBuffer<T::Offset>,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> GenericByteArray<T> {
    // SAFETY: not empty (checked by the caller); monotone because the writer copied them from an
    // offset buffer less a constant, or pushed them one by one.
    let offsets = unsafe { OffsetBuffer::new_unchecked(offsets) };
    // SAFETY: the ends of the offsets lie in `values` (checked by the caller); the bytes between
    // them were valid for `T` in the array they were copied from, or pushed as `&str`.
    unsafe { GenericByteArray::new_unchecked(offsets, values, nulls) }
}

/// Array data as the descriptor says. The caller has checked the number, length and alignment of
/// the buffers and the number and lengths of the children.
pub(crate) fn array_data(parts: ArrayDataBuilder) -> ArrayData {
    // SAFETY: sizes are checked by the caller; values are the writer's, who had them in a valid
    // array. Reading for somebody untrusted calls `validate_full` on the result before use.
    unsafe { parts.build_unchecked() }
}

/// A record batch. The caller has checked that every column has `rows` rows and the type of its
/// field, and that no column has nulls whose field cannot.
pub(crate) fn record_batch(schema: SchemaRef, columns: Vec<Arc<dyn Array>>, rows: usize) -> RecordBatch {
    // SAFETY: what `RecordBatch::try_new` asks for is what the caller has checked.
    unsafe { RecordBatch::new_unchecked(schema, columns, rows) }
}

/// A view together with the owner of the memory it looks at.
///
/// The view says `'static` but is lent only for as long as `self` lives.
#[derive(Debug)]
pub(crate) struct Held<T: 'static, D: Dimension> {
    // Declared first: dropped before the memory's owner.
    view: ArrayView<'static, T, D>,
    owner: Buffer,
}

impl<T: 'static, D: Dimension> Held<T, D> {
    /// Keeps `owner` for as long as the view that `make` makes of its bytes.
    pub(crate) fn new<E>(
        owner: Buffer,
        make: impl for<'a> FnOnce(&'a [u8]) -> Result<ArrayView<'a, T, D>, E>,
    ) -> Result<Self, E> {
        let (start, len) = (owner.as_ptr(), owner.len());
        // SAFETY: a `Buffer` is one allocation whose bytes neither move nor change while any share
        // of it lives, and `self` keeps one. `make` is good for every lifetime, so its result
        // borrows from the slice or from nothing, and no copy of it leaves `self` with this
        // lifetime: `deref` shortens it to the borrow of `self`.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(start, len) };
        Ok(Held { view: make(bytes)?, owner })
    }
}

impl<T: 'static, D: Dimension> Clone for Held<T, D> {
    fn clone(&self) -> Self {
        Held { view: self.view.clone(), owner: self.owner.clone() }
    }
}

impl<T: 'static, D: Dimension> Deref for Held<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}
