//! N-dimensional arrays: how they lie in an object, how they get in, and how they are seen.
//!
//! ```text
//!  0        4        8        12       16            24           32            D
//!  | "FaNd" | format | element| order  | rank (u64)  | data bytes | shape, u64s | 0.. | data ...
//!  |        |  u32   |  u32   |  u32   |             |   (u64)    | rank of them|     |
//! ```
//!
//! `D` is the end of the shape rounded up to 64, so that the data is aligned for every element and
//! every vector unit when the object is. Integers are little-endian. Order 0 is C (the last axis is
//! contiguous), 1 is Fortran (the first is); nothing else is stored, other strides are gathered
//! into C order while they are copied.

use std::fmt;
use std::mem::size_of;
use std::ops::Deref;

use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension, IxDyn, ShapeBuilder, StrideShape};

use crate::error::{Error, Result};
use crate::value::dtype::{ArrayElement, DType, DTypeKind, MAX_DTYPE_TEXT};
use crate::value::element::ElementType;
use crate::value::private::PrivateArray;
use crate::value::unchecked::{KeptView, Lent};

const MAGIC: u32 = u32::from_le_bytes(*b"FaNd");
const FORMAT: u32 = 1;
const FIXED: usize = 32;
/// Arrays of more axes are refused; numpy's limit is 64, nobody was seen to need more than 8.
pub(crate) const MAX_RANK: usize = 32;

/// Element type, shape and order of an array, for programs that learn them at run time.
///
/// ```
/// use faretra::{Arena, ElementType, MIB, Order};
/// use ndarray::Array2;
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-info-{}", std::process::id()))?;
/// arena.writer()?.publish("weights", Array2::<f32>::zeros((3, 4)).t())?;
///
/// let info = arena.get("weights")?.array_info()?;
/// assert_eq!((info.dtype, info.order), (ElementType::F32.into(), Order::Fortran));
/// assert_eq!(info.shape, [4, 3]);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayInfo {
    /// The type of the elements.
    pub dtype: DType,
    /// The length of each axis, in elements. An array of one element and no axes has none.
    pub shape: Vec<usize>,
    /// The order in which the elements lie in the arena.
    pub order: Order,
}

/// The order in which the elements of an array lie in memory. Arrays in the arena have no other strides.
///
/// ```
/// use faretra::{Arena, MIB, Order};
/// use ndarray::{Ix2, ShapeBuilder};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-order-{}", std::process::id()))?;
/// let writer = arena.writer()?;
/// let mut draft = writer.draft_array::<f64, Ix2>((2, 3).f())?;
/// draft.view_mut()?.fill(1.0);
/// writer.publish("columns first", draft)?;
/// assert_eq!(arena.array::<f64, Ix2>("columns first")?.info().order, Order::Fortran);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The last axis is contiguous: an array of two axes lies row by row. `ndarray` and numpy make such arrays
    /// unless they are asked for others.
    C,
    /// The first axis is contiguous: an array of two axes lies column by column.
    Fortran,
}

impl ArrayInfo {
    pub(crate) fn new(dtype: impl Into<DType>, shape: &[usize], order: Order) -> ArrayInfo {
        ArrayInfo { dtype: dtype.into(), shape: shape.to_vec(), order }
    }

    /// How many elements the array has.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    /// Bytes of the elements alone, or why there can be no such array.
    pub(crate) fn data_bytes(&self) -> Result<u64> {
        data_bytes(&self.dtype, &self.shape)
    }

    /// How many bytes a step along each axis is.
    pub(crate) fn strides(&self) -> Vec<isize> {
        let mut strides = vec![0; self.shape.len()];
        let mut step = self.dtype.itemsize() as isize;
        let mut set = |(stride, &n): (&mut isize, &usize)| {
            *stride = step;
            // Of an array without elements the product of the other axes fits, as checked (`data_bytes`).
            step *= n.max(1) as isize;
        };
        match self.order {
            Order::C => strides.iter_mut().zip(&self.shape).rev().for_each(&mut set),
            Order::Fortran => strides.iter_mut().zip(&self.shape).for_each(&mut set),
        }
        strides
    }

    /// Where the elements start.
    pub(crate) fn data_at(&self) -> usize {
        data_at(&self.dtype, self.shape.len())
    }

    /// Bytes of the whole object.
    pub(crate) fn object_bytes(&self) -> Result<u64> {
        Ok(self.data_at() as u64 + self.data_bytes()?)
    }

    /// Writes everything in front of the elements; `out` is the whole object.
    pub(crate) fn write_header(&self, out: &mut [u8]) -> Result<()> {
        write_header(out, &self.dtype, &self.shape, self.order, self.data_bytes()?);
        Ok(())
    }

    /// Every header has at least so many bytes.
    pub(crate) const LEAST_HEAD: u64 = 64;

    /// How long the header is that begins like this.
    pub(crate) fn head_bytes(bytes: &[u8]) -> u64 {
        let word = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
        let (rank, text) = (word(16).min(MAX_RANK as u32), word(20).min(MAX_DTYPE_TEXT as u32));
        (FIXED as u64 + 8 * u64::from(rank) + u64::from(text)).next_multiple_of(64)
    }

    /// Reads and checks what [`ArrayInfo::write_header`] wrote; `bytes` is the whole object, or
    /// more. Afterwards `data_at() + data_bytes()` lies inside `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<ArrayInfo> {
        ArrayInfo::parse_head(bytes, bytes.len() as u64)
    }

    /// Reads and checks the header of an object of `total` bytes, of which only the first are given.
    pub(crate) fn parse_head(bytes: &[u8], total: u64) -> Result<ArrayInfo> {
        let damaged = |what: String| Error::damaged(format!("an array's header {what}"));
        let Some(head) = bytes.first_chunk::<FIXED>() else {
            return Err(damaged(format!("has {} bytes, less than {FIXED}", bytes.len())));
        };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(0) != MAGIC || word(4) != FORMAT {
            return Err(damaged(format!(
                "starts with {:#x} and format {}, not {MAGIC:#x} and {FORMAT}",
                word(0),
                word(4)
            )));
        }
        let order = match word(12) {
            0 => Order::C,
            1 => Order::Fortran,
            other => {
                return Err(damaged(format!("names the order {other}, which does not exist")));
            }
        };
        let rank = word(16) as usize;
        if rank > MAX_RANK {
            return Err(damaged(format!("says {rank} axes; {MAX_RANK} are the most")));
        }
        let Some(axes) = bytes.get(FIXED..FIXED + 8 * rank) else {
            return Err(damaged(format!("is cut: {} bytes for {rank} axes", bytes.len())));
        };
        let mut shape = Vec::with_capacity(rank);
        for n in axes.chunks_exact(8) {
            let n = n.iter().rev().fold(0, |sum, &b| sum << 8 | u64::from(b));
            shape.push(usize::try_from(n).map_err(|_| damaged(format!("has an axis of length {n}")))?);
        }
        let text = bytes.get(FIXED + 8 * rank..).unwrap_or_default();
        let dtype = dtype(u64::from(word(8)), word(20) as usize, text).map_err(damaged)?;
        let info = ArrayInfo { dtype, shape, order };
        let data = info.data_bytes().map_err(|e| damaged(e.to_string()))?;
        if data != long(24) {
            return Err(damaged(format!("says {} bytes of data, its shape {:?} says {data}", long(24), info.shape)));
        }
        let end = info.data_at() as u64 + data;
        if end > total {
            return Err(damaged(format!("says {end} bytes, the object has {total}")));
        }
        Ok(info)
    }

    /// The bytes of the elements; `self` came from [`ArrayInfo::parse`] of the same bytes.
    pub(crate) fn data<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let (at, len) = (self.data_at(), self.data_bytes()? as usize);
        bytes.get(at..).and_then(|b| b.get(..len)).ok_or_else(|| {
            Error::damaged(format!("an array of {len} bytes at {at} lies in an object of {}", bytes.len()))
        })
    }

    /// A borrowed view, after checking element type and rank. `name` is for the message alone.
    pub(crate) fn view<'a, T: ArrayElement, D: Dimension>(
        &self,
        name: &str,
        bytes: &'a [u8],
    ) -> Result<ArrayView<'a, T, D>> {
        let dim = self.dimension::<T, D>(name)?;
        let values: &[T] = bytemuck::checked::try_cast_slice(self.data(bytes)?).map_err(|e| {
            Error::damaged(format!("the elements of array `{name}` are no {}: {e}", name_of(&DType::of::<T>())))
        })?;
        ArrayView::from_shape(dim.set_f(self.order == Order::Fortran), values)
            .map_err(|e| Error::damaged(format!("array `{name}` of shape {:?}: {e}", self.shape)))
    }

    /// Checks the elements, of a type that not all bytes are values of; `bytes` is the whole object.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<()> {
        let data = self.data(bytes)?;
        match data.iter().position(|byte| *byte > 1) {
            Some(at) if self.dtype == ElementType::Bool => {
                Err(Error::damaged(format!("element {at} of an array of bool is {}", data[at])))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn dimension<T: ArrayElement, D: Dimension>(&self, name: &str) -> Result<D> {
        let wanted = DType::of::<T>();
        let fits = self.dtype.is_read_as(&wanted) && D::NDIM.is_none_or(|n| n == self.shape.len());
        let dim = if fits { D::from_dimension(&IxDyn(&self.shape)) } else { None };
        dim.ok_or_else(|| Error::Mismatch {
            name: name.to_owned(),
            expected: match D::NDIM {
                Some(n) => format!("an array of {}, {}", name_of(&wanted), axes(n)),
                None => format!("an array of {}", name_of(&wanted)),
            },
            found: format!("an array of {}, {} (shape {:?})", name_of(&self.dtype), axes(self.shape.len()), self.shape),
        })
    }
}

/// The element type of an array whose header says this number and so long a text, which `bytes` begin with.
fn dtype(code: u64, len: usize, bytes: &[u8]) -> Result<DType, String> {
    if code != 0 {
        let known = ElementType::from_code(code).filter(|_| len == 0);
        return known
            .map(DType::from)
            .ok_or_else(|| format!("names the element type {code} with a text of {len} bytes, which does not exist"));
    }
    if len > MAX_DTYPE_TEXT {
        return Err(format!("says an element type of {len} bytes; {MAX_DTYPE_TEXT} are the most"));
    }
    let text = bytes.get(..len).ok_or_else(|| format!("is cut: {} bytes for an element type of {len}", bytes.len()))?;
    let text = std::str::from_utf8(text).map_err(|e| format!("has an element type that is no text: {e}"))?;
    let dtype: DType = text.parse().map_err(|e| format!("has an element type that cannot be: {e}"))?;
    // There is one spelling for each type, and a number for the types of Rust.
    if dtype.element().is_some() || dtype.to_string() != text {
        return Err(format!("has the element type {dtype} in a spelling of its own: {text}"));
    }
    Ok(dtype)
}

/// Bytes of the text that stands for an element type in a header.
fn text_len(dtype: &DType) -> usize {
    if dtype.element().is_some() { 0 } else { dtype.text_len() }
}

/// As Rust names the type, or else as numpy does.
pub(crate) fn name_of(dtype: &DType) -> String {
    dtype.element().map_or_else(|| dtype.to_string(), |element| element.to_string())
}

/// Bytes of the elements of an array, or why there can be no such array.
fn data_bytes(dtype: &DType, shape: &[usize]) -> Result<u64> {
    if shape.len() > MAX_RANK {
        return Err(Error::TooLarge {
            what: "axes of an array",
            asked: shape.len() as u64,
            most: MAX_RANK as u64,
            hint: "merge some with `into_shape_with_order`",
        });
    }
    if matches!(dtype.kind(), DTypeKind::Array(..)) || dtype.itemsize() == 0 {
        return Err(Error::invalid(format!(
            "an array cannot have elements of type {dtype}, {} bytes each: make their axes the array's last axes",
            dtype.itemsize()
        )));
    }
    let text = text_len(dtype);
    if text > MAX_DTYPE_TEXT {
        let (asked, most) = (text as u64, MAX_DTYPE_TEXT as u64);
        let hint = "have fewer fields, or shorter names";
        return Err(Error::TooLarge { what: "bytes of an element type's text", asked, most, hint });
    }
    // An axis of length 0 empties the array, but ndarray and numpy still refuse shapes whose
    // other axes overflow: so the product leaves zeros out.
    let mut product = dtype.itemsize() as u64;
    for &n in shape.iter().filter(|&&n| n != 0) {
        product = product.checked_mul(n as u64).filter(|&b| b <= isize::MAX as u64).ok_or_else(|| {
            Error::invalid(format!(
                "an array of shape {shape:?} and type {} is larger than memory can be",
                name_of(dtype)
            ))
        })?;
    }
    Ok(if shape.contains(&0) { 0 } else { product })
}

/// Where the elements of an array of this type and so many axes start.
fn data_at(dtype: &DType, rank: usize) -> usize {
    (FIXED + 8 * rank + text_len(dtype)).next_multiple_of(64)
}

fn write_header(out: &mut [u8], dtype: &DType, shape: &[usize], order: Order, data_bytes: u64) {
    let head = &mut out[..data_at(dtype, shape.len())];
    head.fill(0);
    let text = if dtype.element().is_some() { String::new() } else { dtype.to_string() };
    head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&FORMAT.to_le_bytes());
    head[8..12].copy_from_slice(&dtype.element().map_or(0, |element| element as u32).to_le_bytes());
    head[12..16].copy_from_slice(&u32::from(order == Order::Fortran).to_le_bytes());
    head[16..20].copy_from_slice(&(shape.len() as u32).to_le_bytes());
    head[20..24].copy_from_slice(&(text.len() as u32).to_le_bytes());
    head[24..32].copy_from_slice(&data_bytes.to_le_bytes());
    let (axes, behind) = head[FIXED..].split_at_mut(8 * shape.len());
    for (to, &n) in axes.chunks_exact_mut(8).zip(shape) {
        to.copy_from_slice(&(n as u64).to_le_bytes());
    }
    behind[..text.len()].copy_from_slice(text.as_bytes());
}

fn axes(n: usize) -> String {
    if n == 1 { "1 axis".into() } else { format!("{n} axes") }
}

/// An array whose elements lie in the arena: owned, read-only, and used like any `ndarray` array, to which it derefs.
///
/// An array keeps the object that it was read from: the elements stay as they are until the last clone is dropped,
/// whatever happens to the name. A clone copies no elements. Arrays can be sent to other threads.
///
/// ```
/// use faretra::{Arena, MIB};
/// use ndarray::{Axis, Ix2, array};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-array-{}", std::process::id()))?;
/// let writer = arena.writer()?;
/// writer.publish("weights", array![[1.0_f32, 2.0], [3.0, 4.0]].view())?;
///
/// let weights = arena.array::<f32, Ix2>("weights")?;
/// writer.publish("weights", array![[0.0_f32]].view())?;
/// assert_eq!(weights.sum_axis(Axis(0)), array![4.0, 6.0]);
/// assert_eq!(weights.nbytes(), 16);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct Array<T: ArrayElement, D: Dimension> {
    view: KeptView<T, D>,
    order: Order,
}

impl<T: ArrayElement, D: Dimension> Array<T, D> {
    /// The array whose object was lent.
    pub(crate) fn from_lent(name: &str, object: Lent) -> Result<Array<T, D>> {
        let info = ArrayInfo::parse(object.bytes())?;
        Array::with_info(name, object, &info)
    }

    /// The array whose object was lent, and whose header was read.
    pub(crate) fn with_info(name: &str, object: Lent, info: &ArrayInfo) -> Result<Array<T, D>> {
        let view = KeptView::new(object, |bytes| info.view(name, bytes))?;
        Ok(Array { view, order: info.order })
    }

    /// Bare elements without a header: a column of a batch.
    pub(crate) fn from_values(name: &str, values: Lent, shape: D) -> Result<Array<T, D>> {
        let mismatch = |why: String| Error::damaged(format!("`{name}` is no array of {}: {why}", DType::of::<T>()));
        let view = KeptView::new(values, |bytes| {
            let values: &[T] = bytemuck::checked::try_cast_slice(bytes).map_err(|e| mismatch(e.to_string()))?;
            ArrayView::from_shape(shape, values).map_err(|e| mismatch(e.to_string()))
        })?;
        Ok(Array { view, order: Order::C })
    }

    /// Maps the elements once more, copy-on-write: they can be written, and nobody else sees what is written.
    ///
    /// Nothing is copied now. The kernel copies a page when it is first written to; [`PrivateArray`] says what that costs
    /// and what happens without memory.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Os`] if the address space is full.
    pub fn private(&self) -> Result<PrivateArray<T, D>> {
        let elements = self.view.as_slice_memory_order().unwrap_or_default();
        let shape = self.view.raw_dim().set_f(self.order == Order::Fortran);
        PrivateArray::map(self.view.owner(), bytemuck::cast_slice(elements), shape.into())
    }

    /// Returns element type, shape and order.
    pub fn info(&self) -> ArrayInfo {
        ArrayInfo::new(DType::of::<T>(), self.view.shape(), self.order)
    }

    /// Returns how many bytes the elements take, without the header that they have in the arena.
    pub fn nbytes(&self) -> u64 {
        (self.view.len() * size_of::<T>()) as u64
    }
}

impl<T: ArrayElement, D: Dimension> Deref for Array<T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T: ArrayElement, D: Dimension> Clone for Array<T, D> {
    fn clone(&self) -> Self {
        Array { view: self.view.clone(), order: self.order }
    }
}

impl<T: ArrayElement, D: Dimension> fmt::Debug for Array<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// An array that is written where it will be read, without its memory.
#[derive(Debug)]
pub(crate) struct ArrayDraftLayout<T, D: Dimension> {
    shape: StrideShape<D>,
    /// Of the elements alone.
    bytes: u64,
    element: std::marker::PhantomData<T>,
}

impl<T: ArrayElement, D: Dimension> ArrayDraftLayout<T, D> {
    pub(crate) fn new(shape: impl Into<StrideShape<D>>) -> Result<Self> {
        let shape = shape.into();
        // The size is the same for both orders; the order shows once there is memory.
        let bytes = data_bytes(&DType::of::<T>(), shape.raw_dim().slice())?;
        Ok(ArrayDraftLayout { shape, bytes, element: std::marker::PhantomData })
    }

    /// Bytes of the object.
    pub(crate) fn bytes(&self) -> u64 {
        self.data_at() as u64 + self.bytes
    }

    fn data_at(&self) -> usize {
        data_at(&DType::of::<T>(), self.shape.raw_dim().ndim())
    }

    /// Writes the header and makes the memory fit for [`ArrayDraftLayout::view_mut`]; call it once,
    /// first. Numbers start as whatever the memory held, other elements as zeros. Returns how many elements there are.
    pub(crate) fn prepare(&self, out: &mut [u8]) -> Result<u64> {
        let (data, tail) = out[self.data_at()..].split_at_mut(self.bytes as usize);
        tail.fill(0);
        // What not all bytes are values of; zeros are one of each type that `ArrayElement` is implemented for in practice.
        if DType::of::<T>().element().is_none_or(|element| element == ElementType::Bool) {
            data.fill(0);
        }
        let view = self.view_mut(out)?;
        let elements = view.len() as u64;
        let order = if view.is_standard_layout() {
            Order::C
        } else if view.t().is_standard_layout() {
            Order::Fortran
        } else {
            return Err(Error::invalid(
                "an array draft with custom strides cannot be stored: ask for C order (the shape alone) or Fortran order (shape.f())",
            ));
        };
        write_header(out, &DType::of::<T>(), self.shape.raw_dim().slice(), order, self.bytes);
        Ok(elements)
    }

    /// The elements, to be written.
    pub(crate) fn view_mut<'a>(&self, out: &'a mut [u8]) -> Result<ArrayViewMut<'a, T, D>> {
        let (at, len) = (self.data_at(), self.bytes as usize);
        let have = out.len();
        let data = out.get_mut(at..).and_then(|b| b.get_mut(..len)).ok_or_else(|| {
            Error::damaged(format!("an array draft of {len} bytes at {at} lies in an object of {have}"))
        })?;
        let values: &mut [T] = bytemuck::checked::try_cast_slice_mut(data)
            .map_err(|e| Error::damaged(format!("the memory of an array draft is no {}: {e}", DType::of::<T>())))?;
        ArrayViewMut::from_shape(self.shape.clone(), values)
            .map_err(|e| Error::invalid(format!("an array draft of shape {:?}: {e}", self.shape.raw_dim())))
    }
}

#[cfg(test)]
mod tests {
    use arrow_buffer::{Buffer, MutableBuffer};
    use ndarray::{Array as Owned, Array1, Array2, Array3, Ix0, Ix1, Ix2, Ix3, arr0, s};

    use super::*;
    use crate::value::dynamic::DynArrayView;

    impl<T: ArrayElement, D: Dimension> Array<T, D> {
        fn from_buffer(name: &str, bytes: Buffer) -> Result<Array<T, D>> {
            Array::from_lent(name, bytes.into())
        }
    }

    /// The object that a view becomes, in aligned memory that held something else.
    fn store<'a>(view: impl Into<DynArrayView<'a>>) -> Buffer {
        let view = view.into();
        let mut memory = MutableBuffer::from_len_zeroed(view.bytes().unwrap() as usize + 70);
        memory.fill(0xaa);
        view.write(&mut memory, &|to, from| to.copy_from_slice(from)).unwrap();
        memory.into()
    }

    fn assert_round_trip<T: ArrayElement + PartialEq, D: Dimension>(view: ArrayView<'_, T, D>) -> Array<T, D> {
        let object = store(view.clone());
        let back = Array::<T, D>::from_buffer("x", object.clone()).unwrap();
        assert_eq!(back.view(), view);
        assert_eq!(back.nbytes(), (view.len() * size_of::<T>()) as u64);
        let (start, end) = (object.as_ptr() as usize, object.as_ptr() as usize + object.len());
        assert!(back.is_empty() || (start..end).contains(&(back.as_ptr() as usize)));
        assert!(object[back.info().object_bytes().unwrap() as usize..].iter().all(|&b| b == 0));
        let any = Array::<T, IxDyn>::from_buffer("x", object).unwrap();
        assert_eq!(any.view(), view.into_dyn());
        back
    }

    fn cube() -> Array3<i32> {
        Owned::from_shape_fn((4, 5, 6), |(i, j, k)| (100 * i + 10 * j + k) as i32)
    }

    #[test]
    fn every_element_type_round_trips() {
        assert_round_trip(Array1::<u8>::from_iter(0..9).view());
        assert_round_trip(Array1::<u16>::from_iter(0..9).view());
        assert_round_trip(Array1::<u32>::from_iter(0..9).view());
        assert_round_trip(Array1::<u64>::from_iter(0..9).view());
        assert_round_trip(Array1::<u128>::from_iter(0..9).view());
        assert_round_trip(Array1::<i8>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i16>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i32>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i64>::from_iter(-4..9).view());
        assert_round_trip(Array1::<i128>::from_iter(-4..9).view());
        assert_round_trip(Array1::<f32>::linspace(0., 1., 7).view());
        assert_round_trip(Array1::<f64>::linspace(0., 1., 7).view());
        assert_round_trip(Array1::from(vec![true, false, true]).view());
        #[cfg(feature = "f16")]
        assert_round_trip(Array1::from(vec![half::f16::ONE, half::f16::PI]).view());
        #[cfg(feature = "complex")]
        {
            use num_complex::Complex;
            assert_round_trip(Array1::from(vec![Complex::new(1_f32, 2.), Complex::new(3., 4.)]).view());
            assert_round_trip(Array1::from(vec![Complex::new(1_f64, 2.), Complex::new(3., 4.)]).view());
        }
    }

    #[test]
    fn every_order_and_stride_round_trips() {
        let a = cube();
        assert_eq!(assert_round_trip(a.view()).info().order, Order::C);
        assert_eq!(assert_round_trip(a.t()).info().order, Order::Fortran);
        assert_eq!(assert_round_trip(a.slice(s![..;2, 1..;2, ..])).info().order, Order::C);
        assert_round_trip(a.slice(s![..;-1, .., ..;-1]));
        assert_round_trip(a.slice(s![.., .., ..;-3]));
        assert_round_trip(a.slice(s![1.., 2.., 3..]));
        assert_round_trip(a.view().permuted_axes([1, 0, 2]));
        assert_round_trip(a.slice(s![2, .., 3]));
        assert_round_trip(a.slice(s![.., 5.., ..]));
        assert_round_trip(arr0(7.5_f64).view());
        let row = Array1::<f32>::from(vec![1., 2., 3.]);
        assert_round_trip(row.broadcast((4, 3)).unwrap());
        assert_round_trip(arr0(3_u8).broadcast((9, 1, 5)).unwrap());
        assert_round_trip(Array2::<f64>::zeros((0, 5)).view());
        assert_round_trip(Array2::<f64>::zeros((3, 4).f()).view());
        assert_round_trip(a.into_dyn().view());
    }

    #[test]
    fn a_strided_view_is_gathered_in_one_pass() {
        let a = cube();
        let copied = std::cell::Cell::new(0);
        let view = DynArrayView::from(a.slice(s![.., 1..3, ..]));
        let mut out = vec![0; view.bytes().unwrap() as usize];
        view.write(&mut out, &|to, from| {
            copied.set(copied.get() + from.len());
            to.copy_from_slice(from);
        })
        .unwrap();
        assert_eq!(copied.get(), 4 * 2 * 6 * 4);
    }

    #[test]
    fn a_view_larger_than_memory_is_refused() {
        let one = arr0(1_u64);
        let view = DynArrayView::from(one.broadcast((1 << 31, 1 << 31)).unwrap());
        assert!(matches!(view.bytes(), Err(Error::Invalid(_))));
        let many = vec![1; 33];
        let view = DynArrayView::from(one.broadcast(IxDyn(&many)).unwrap());
        let message = view.bytes().unwrap_err().to_string();
        assert!(message.contains("33 axes"), "{message}");
    }

    #[test]
    fn a_mismatch_names_both_sides() {
        let object = store(Array2::<f32>::zeros((3, 4)).view());
        let message = Array::<f64, Ix2>::from_buffer("weights", object.clone()).unwrap_err().to_string();
        assert_eq!(message, "`weights` is an array of f32, 2 axes (shape [3, 4]), not an array of f64, 2 axes");
        let message = Array::<f32, Ix1>::from_buffer("weights", object.clone()).unwrap_err().to_string();
        assert!(message.ends_with("not an array of f32, 1 axis"), "{message}");
        assert!(Array::<f32, Ix0>::from_buffer("weights", object).is_err());
    }

    #[test]
    fn an_array_keeps_its_memory() {
        let object = store(cube().view());
        let array = Array::<i32, Ix3>::from_buffer("x", object.clone()).unwrap();
        let clone = array.clone();
        assert_eq!(object.strong_count(), 2);
        drop(array);
        let sum = std::thread::spawn(move || clone.sum()).join().unwrap();
        assert_eq!(sum, cube().sum());
        assert_eq!(object.strong_count(), 1);
    }

    #[test]
    fn damaged_headers_never_panic() {
        let object = store(cube().view()).to_vec();
        let mut seed = 5_u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let mut refused = 0;
        for round in 0..50_000 {
            let mut bytes = object[..random(object.len() as u64 + 1) as usize].to_vec();
            if round % 2 == 0 {
                bytes = object.clone();
            }
            if !bytes.is_empty() {
                for _ in 0..=random(3) {
                    let bit = random(8 * bytes.len().min(64) as u64) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            match ArrayInfo::parse(&bytes) {
                Err(_) => refused += 1,
                Ok(info) => assert!(info.object_bytes().unwrap() <= bytes.len() as u64),
            }
            let mut memory = MutableBuffer::from_len_zeroed(bytes.len());
            memory.copy_from_slice(&bytes);
            let buffer = Buffer::from(memory);
            let _ = Array::<i32, Ix3>::from_buffer("x", buffer.clone());
            let _ = Array::<bool, IxDyn>::from_buffer("x", buffer);
        }
        assert!(refused > 40_000, "{refused}");
    }

    #[test]
    fn a_header_that_contradicts_itself_is_refused() {
        let object = store(cube().view()).to_vec();
        assert!(ArrayInfo::parse(&object).is_ok());
        // Magic, format, element, order, rank, bytes, an axis.
        for at in [0, 4, 8, 12, 16, 24, 32] {
            let mut bytes = object.clone();
            bytes[at] ^= 64;
            assert!(matches!(ArrayInfo::parse(&bytes), Err(Error::Damaged(_))), "{at}");
        }
        let end = cube().len() * 4 + 64;
        assert!(ArrayInfo::parse(&object[..end]).is_ok());
        assert!(ArrayInfo::parse(&object[..end - 1]).is_err());
    }

    #[test]
    fn bools_that_are_none_are_refused() {
        let object = store(Array1::from(vec![true, false]).view());
        let mut memory = MutableBuffer::from_len_zeroed(object.len());
        memory.copy_from_slice(&object);
        memory[64] = 2;
        assert!(matches!(Array::<bool, Ix1>::from_buffer("x", memory.into()), Err(Error::Damaged(_))));
    }

    fn draft<T: ArrayElement + PartialEq, D: Dimension>(
        shape: impl Into<StrideShape<D>>,
    ) -> Result<(ArrayDraftLayout<T, D>, MutableBuffer)> {
        let draft = ArrayDraftLayout::<T, D>::new(shape)?;
        let mut memory = MutableBuffer::from_len_zeroed(draft.bytes() as usize);
        memory.fill(0xaa);
        draft.prepare(&mut memory)?;
        Ok((draft, memory))
    }

    #[test]
    fn a_draft_is_written_in_place_in_both_orders() {
        let (layout, mut memory) = draft::<f64, Ix2>((3, 4)).unwrap();
        layout.view_mut(&mut memory).unwrap()[[2, 1]] = 7.;
        let array = Array::<f64, Ix2>::from_buffer("x", memory.into()).unwrap();
        assert_eq!(array[[2, 1]], 7.);
        assert!(array.is_standard_layout());

        let (layout, mut memory) = draft::<f64, Ix2>((3, 4).f()).unwrap();
        layout.view_mut(&mut memory).unwrap().assign(&Array2::from_shape_fn((3, 4), |(i, j)| (10 * i + j) as f64));
        let array = Array::<f64, Ix2>::from_buffer("x", memory.into()).unwrap();
        assert!(array.t().is_standard_layout() && array.info().order == Order::Fortran);
        assert_eq!(array[[2, 1]], 21.);

        let (_, memory) = draft::<bool, Ix1>(5).unwrap();
        assert_eq!(Array::<bool, Ix1>::from_buffer("x", memory.into()).unwrap().to_vec(), [false; 5]);
    }

    #[test]
    fn a_draft_with_strides_of_its_own_is_refused() {
        let message = draft::<f32, Ix2>((2, 3).strides((1, 7))).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("draft"), "{message}");
    }
}
