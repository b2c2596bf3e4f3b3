//! The few steps that the compiler cannot check: arrays built from a descriptor without reading
//! every value again, and a view that outlives the borrow it was made from.
//!
//! What makes the first kind sound: objects never change once published, and what decides where arrow reads
//! (lengths, extents, alignment, offsets, indices, UTF-8, counts of nulls) was checked by this process, by the
//! callers in `batch.rs`, when it first read the object; or the user vouched for all of it, which is an `unsafe`
//! option ([`crate::Options::vouch_for_values`]). Between the check and the use, whoever can write the segment is
//! trusted not to ([`crate::Options::trust_others`] is `unsafe` for that reason); of an arena that is
//! [`untrusted`](crate::Options::untrusted), what was checked are copies (C3 in `check.rs`).
#![allow(unsafe_code, reason = "arrow's constructors without validation; a view kept alive by its owner")]
#![allow(
    clippy::disallowed_methods,
    reason = "`KeptView` lengthens the life of a slice whose owner it keeps; bounds are the buffer's own"
)]

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::{Array, GenericByteArray, RecordBatch, types::ByteArrayType};
use arrow_buffer::alloc::Allocation;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::SchemaRef;
use memmap2::MmapMut;
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension};

use crate::error::{Error, Result};

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

/// What keeps bytes of the arena where they are and as they are, for as long as it lives: a pin.
pub(crate) trait Keeper: fmt::Debug + Allocation {
    /// Maps `bytes`, which it keeps and of which there is one or more, once more: copy-on-write (M6 in `private.rs`).
    fn map_private(&self, bytes: &[u8]) -> Result<MmapMut>;
}

/// Bytes together with what keeps them.
#[derive(Clone, Debug)]
pub(crate) struct Lent {
    bytes: NonNull<[u8]>,
    keeper: Arc<dyn Keeper>,
}

// SAFETY: shared bytes that nobody writes while the keeper lives, which may be used and dropped by any thread.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    /// # Safety
    ///
    /// * The bytes are there, neither move nor change while any clone of `keeper` lives.
    pub(crate) unsafe fn new(bytes: NonNull<[u8]>, keeper: Arc<dyn Keeper>) -> Lent {
        Lent { bytes, keeper }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `new`'s caller says that the bytes are there and unchanged while `keeper` lives, which `self` has.
        unsafe { self.bytes.as_ref() }
    }

    pub(crate) fn keeper(&self) -> &Arc<dyn Keeper> {
        &self.keeper
    }
}

/// Memory in which values lie among other things, and what keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    bytes: NonNull<[u8]>,
    keeper: Arc<dyn Keeper>,
}

impl Ground {
    /// # Safety
    ///
    /// * The memory is there while any clone of `keeper` lives.
    /// * [`Ground::buffer`] and [`Ground::lend`] are asked only for bytes that do not change while any clone of `keeper` lives.
    pub(crate) unsafe fn new(bytes: NonNull<[u8]>, keeper: Arc<dyn Keeper>) -> Ground {
        Ground { bytes, keeper }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it begins at a multiple of `align`, so that offsets say how addresses are aligned.
    pub(crate) fn is_aligned(&self, align: usize) -> bool {
        self.bytes.cast::<u8>().addr().get().is_multiple_of(align)
    }

    /// Some of the bytes as a buffer that keeps them. It is no slice of a larger buffer: arrow counts a buffer's memory as
    /// that of all that it was cut from, which would be the whole arena.
    #[inline]
    pub(crate) fn buffer(&self, range: Range<usize>) -> Buffer {
        let start = self.start_of(&range);
        let keeper: Arc<dyn Allocation> = self.keeper.clone();
        // SAFETY: inside of the memory (above), which is there while the buffer has the keeper; unchanged (`new`).
        unsafe { Buffer::from_custom_allocation(start, range.len(), keeper) }
    }

    /// Some of the bytes, with what keeps them.
    #[inline]
    pub(crate) fn lend(self, range: Range<usize>) -> Lent {
        let bytes = NonNull::slice_from_raw_parts(self.start_of(&range), range.len());
        // SAFETY: inside of the memory, which is there while the keeper lives; unchanged (`new`).
        unsafe { Lent::new(bytes, self.keeper) }
    }

    #[inline]
    fn start_of(&self, range: &Range<usize>) -> NonNull<u8> {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        // SAFETY: inside of the memory (above).
        unsafe { self.bytes.cast::<u8>().add(range.start) }
    }
}

/// A view together with the owner of the memory it looks at.
///
/// The view says `'static` but is lent only for as long as `self` lives.
#[derive(Debug)]
pub(crate) struct KeptView<T: 'static, D: Dimension> {
    // Declared first: dropped before the memory's owner.
    view: ArrayView<'static, T, D>,
    owner: Lent,
}

impl<T: 'static, D: Dimension> KeptView<T, D> {
    /// Keeps `owner` for as long as the view that `make` makes of its bytes.
    pub(crate) fn new<E>(
        owner: Lent,
        make: impl for<'a> FnOnce(&'a [u8]) -> Result<ArrayView<'a, T, D>, E>,
    ) -> Result<Self, E> {
        // SAFETY: the bytes neither move nor change while the keeper of `owner` lives, and `self` keeps that. `make` is
        // good for every lifetime, so its result borrows from the slice or from nothing, and no copy of it leaves
        // `self` with this lifetime: `deref` shortens it to the borrow of `self`.
        let bytes: &'static [u8] = unsafe { owner.bytes.as_ref() };
        Ok(KeptView { view: make(bytes)?, owner })
    }

    pub(crate) fn owner(&self) -> &Lent {
        &self.owner
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

/// A view that can be written through, together with the map that it looks at, which nobody else has.
///
/// The view says `'static` but is lent only for as long as `self` lives.
pub(crate) struct KeptViewMut<T: 'static, D: Dimension> {
    // Declared first: dropped before the map.
    view: ArrayViewMut<'static, T, D>,
    /// Only kept: its bytes are reached through the view.
    _map: Option<MmapMut>,
    _keeper: Arc<dyn Keeper>,
}

impl<T: 'static, D: Dimension> KeptViewMut<T, D> {
    /// Keeps the map, if there are any bytes, and the pin of its pages for as long as the view that `make` makes of it.
    pub(crate) fn new<E>(
        mut map: Option<MmapMut>,
        keeper: Arc<dyn Keeper>,
        make: impl for<'a> FnOnce(&'a mut [u8]) -> Result<ArrayViewMut<'a, T, D>, E>,
    ) -> Result<Self, E> {
        let bytes = map.as_deref_mut().unwrap_or_default();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the map stays where it is until it is dropped, and `self` keeps it and never touches it again, so the
        // view is the only way to these bytes. `make` is good for every lifetime, so its result borrows from the slice or
        // from nothing, and never leaves `self` with this lifetime: `deref` and `deref_mut` shorten it to the borrow of
        // `self`.
        let bytes: &'static mut [u8] = unsafe { std::slice::from_raw_parts_mut(start, len) };
        Ok(KeptViewMut { view: make(bytes)?, _map: map, _keeper: keeper })
    }
}

impl<T: 'static, D: Dimension> Deref for KeptViewMut<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: 'static, D: Dimension> DerefMut for KeptViewMut<T, D> {
    fn deref_mut(&mut self) -> &mut ArrayRef<T, D> {
        &mut self.view
    }
}

/// Memory of this process, in the place of a pin: what was copied before it was checked.
impl Keeper for Buffer {
    fn map_private(&self, bytes: &[u8]) -> Result<MmapMut> {
        let fail = |source| Error::Os { action: "map", path: "memory for a private copy".into(), source };
        let mut map = MmapMut::map_anon(bytes.len()).map_err(fail)?;
        map.copy_from_slice(bytes);
        Ok(map)
    }
}

#[cfg(test)]
impl From<&Buffer> for Ground {
    fn from(buffer: &Buffer) -> Ground {
        // SAFETY: the bytes of a buffer neither move nor change while a share of it lives.
        unsafe { Ground::new(NonNull::from(buffer.as_slice()), Arc::new(buffer.clone())) }
    }
}

impl From<Buffer> for Lent {
    fn from(buffer: Buffer) -> Lent {
        // SAFETY: the bytes of a buffer neither move nor change while a share of it lives.
        unsafe { Lent::new(NonNull::from(buffer.as_slice()), Arc::new(buffer)) }
    }
}
