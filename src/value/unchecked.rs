//! The few steps that the compiler cannot check: arrays built from a descriptor without reading
//! every value again, and a view that outlives the borrow it was made from.
//!
//! What makes the first kind sound: objects never change once published, and what decides where arrow reads
//! (lengths, extents, alignment, offsets, indices, UTF-8, counts of nulls) was checked by this process, by the
//! callers in `batch.rs`, when it first read the object; or the user vouched for all of it, which is an `unsafe`
//! option ([`crate::Options::vouch_for_values`]). Between the check and the use, whoever can write the segment is
//! trusted not to ([`crate::Options::trust_others`] is `unsafe` for that reason).
#![allow(unsafe_code, reason = "arrow's constructors without validation; a view kept alive by its owner")]
#![allow(
    clippy::disallowed_methods,
    reason = "`KeptView` lengthens the life of a slice whose owner it keeps; bounds are the buffer's own"
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
    // SAFETY: the count was compared with these bits when this process first read the object, or vouched for.
    unsafe { NullBuffer::new_unchecked(bits, count) }
}

/// A string or binary array. The caller has checked that there are at least as many offsets as
/// values and one more, that the first is not negative and that the last lies in `values`.
pub(crate) fn byte_array<T: ByteArrayType>(
    offsets: ScalarBuffer<T::Offset>,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> GenericByteArray<T> {
    // SAFETY: not empty (checked by the caller); monotone, as this process saw when it first read the object.
    let offsets = unsafe { OffsetBuffer::new_unchecked(offsets) };
    // SAFETY: the ends of the offsets lie in `values` (checked by the caller); the bytes between
    // them are valid for `T`, as this process saw when it first read the object.
    unsafe { GenericByteArray::new_unchecked(offsets, values, nulls) }
}

/// Array data as the descriptor says. The caller has checked the number, length and alignment of
/// the buffers and the number and lengths of the children.
pub(crate) fn array_data(parts: ArrayDataBuilder) -> ArrayData {
    // SAFETY: sizes are checked by the caller; so are values, by `validate_full` on the result before anybody
    // sees it, when this process first reads the object.
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
pub(crate) struct KeptView<T: 'static, D: Dimension> {
    // Declared first: dropped before the memory's owner.
    view: ArrayView<'static, T, D>,
    owner: Buffer,
}

impl<T: 'static, D: Dimension> KeptView<T, D> {
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
        Ok(KeptView { view: make(bytes)?, owner })
    }
}

impl<T: 'static, D: Dimension> Clone for KeptView<T, D> {
    fn clone(&self) -> Self {
        KeptView { view: self.view.clone(), owner: self.owner.clone() }
    }
}

impl<T: 'static, D: Dimension> Deref for KeptView<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}
