//! Private writable views: the pages of a pinned object, mapped once more as copy-on-write.
//!
//! * M6: a private map covers whole pages and lends the bytes of one pinned object only. Of a page that was not written, it
//!   shows the arena's memory, so it keeps the pin until it is unmapped; a page that was written is this process's own.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use memmap2::MmapMut;
use ndarray::{ArrayRef, ArrayViewMut, Dimension, StrideShape};

use crate::error::{Error, Result};
use crate::value::dtype::{ArrayElement, DType};
use crate::value::unchecked::{Keeper, KeptViewMut, Lent};

/// Bytes of an object that this process can write to and nobody else sees: a copy-on-write (`MAP_PRIVATE`) map.
///
/// [`Object::private`](crate::Object::private) and [`DynArray::private`](crate::DynArray::private) make one.
///
/// * Nothing is copied when it is made. The kernel copies a page (4 KiB) when this process first writes to it, so writing
///   to 1 % of the pages costs 1 % of the memory and of the time. That memory is the process's own; it is not the arena's,
///   and does not count against its limit.
/// * **Without memory for a copied page there is no error to return**: the write that needs the page fails as any write to
///   fresh memory does. The kernel ends this process (out of memory, or the limit of its cgroup). Other processes, and the
///   arena, are not touched.
/// * The object stays pinned until the map is dropped, also when the arena's handles are dropped before.
/// * A forked child has the map too: what its parent had written, and from then on each its own. Pages that nobody wrote
///   are the arena's, so the child must not use the map for longer than its parent keeps it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&format!("doc-private-{}", std::process::id()))?;
/// arena.writer()?.publish("text", "some text")?;
/// let mut mine = arena.get("text")?.private()?;
/// mine[..4].copy_from_slice(b"same");
/// assert_eq!(&mine[..], b"same text");
/// assert_eq!(arena.get("text")?.bytes()?, b"some text");
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct PrivateBytes {
    /// `None`: there are no bytes. Declared first: unmapped before the pin is dropped.
    map: Option<MmapMut>,
    /// Only kept.
    keeper: Arc<dyn Keeper>,
}

impl PrivateBytes {
    /// Maps `bytes`, which are some of those that were lent.
    pub(crate) fn map(lent: &Lent, bytes: &[u8]) -> Result<PrivateBytes> {
        let keeper = lent.keeper().clone();
        let map = if bytes.is_empty() { None } else { Some(keeper.map_private(bytes)?) };
        Ok(PrivateBytes { map, keeper })
    }
}

impl Deref for PrivateBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl DerefMut for PrivateBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}

impl fmt::Debug for PrivateBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateBytes({} bytes)", self.len())
    }
}

/// An array that this process can write to and nobody else sees: a copy-on-write map of an [`Array`](crate::Array) or
/// [`Column`](crate::Column), used like any `ndarray` array, to which it derefs.
///
/// [`Array::private`](crate::Array::private) makes one. Costs and dangers are those of [`PrivateBytes`]: a page is copied
/// when it is first written, and without memory for it the kernel ends the process.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use ndarray::{Ix2, array};
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&format!("doc-privarr-{}", std::process::id()))?;
/// arena.writer()?.publish("weights", array![[1.0, 2.0], [3.0, 4.0]].view())?;
/// let weights = arena.array::<f64, Ix2>("weights")?;
/// let mut mine = weights.private()?;
/// mine.mapv_inplace(|weight| weight * 10.0);
/// assert_eq!((mine.sum(), weights.sum()), (100.0, 10.0));
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct PrivateArray<T: ArrayElement, D: Dimension> {
    view: KeptViewMut<T, D>,
}

impl<T: ArrayElement, D: Dimension> PrivateArray<T, D> {
    /// Maps `elements`, which are bytes of those that were lent, as an array of this shape.
    pub(crate) fn map(lent: &Lent, elements: &[u8], shape: StrideShape<D>) -> Result<PrivateArray<T, D>> {
        let mismatch =
            |why: String| Error::damaged(format!("a private map is no array of {}: {why}", DType::of::<T>()));
        let PrivateBytes { map, keeper } = PrivateBytes::map(lent, elements)?;
        let view = KeptViewMut::new(map, keeper, |bytes| {
            // No bytes lie anywhere, also where no `T` may lie.
            let values: &mut [T] = match bytes.is_empty() {
                true => &mut [],
                false => bytemuck::checked::try_cast_slice_mut(bytes).map_err(|e| mismatch(e.to_string()))?,
            };
            ArrayViewMut::from_shape(shape, values).map_err(|e| mismatch(e.to_string()))
        })?;
        Ok(PrivateArray { view })
    }
}

impl<T: ArrayElement, D: Dimension> Deref for PrivateArray<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: ArrayElement, D: Dimension> DerefMut for PrivateArray<T, D> {
    fn deref_mut(&mut self) -> &mut ArrayRef<T, D> {
        &mut self.view
    }
}

impl<T: ArrayElement, D: Dimension> fmt::Debug for PrivateArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
