//! Arrays whose element type is known at run time only: on their way in, and read.
//!
//! * D3: no stride leads out of the bytes that were given ([`DynArrayView::from_strides`]).

use std::borrow::Cow;
use std::fmt;
use std::mem::size_of;

use ndarray::{ArrayBase, ArrayView, Axis, Data, Dimension, IxDyn};
use smol_str::SmolStr;

use crate::error::{Error, Result};
use crate::value::array::Array;
use crate::value::dtype::{ArrayElement, DType};
use crate::value::info::{ArrayInfo, Order, name_of};
use crate::value::piece::CopyBytes;
use crate::value::private::PrivateBytes;
use crate::value::unchecked::Lent;

/// An array on its way into the arena, whose element type and rank are known at run time only. Nothing is copied before
/// the array is published.
///
/// It is made of bytes, or of an `ndarray` view of any type. What is contiguous in C or Fortran order is stored in that
/// order; anything else in C order.
///
/// ```
/// use faretra::{Arena, DType, DynArrayView, MIB, Order};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-dynview-{}", std::process::id()))?;
/// let writer = arena.writer()?;
/// // Two names of up to five characters each, as numpy has them.
/// let names: Vec<u8> = "Oslo\0Paris".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
/// let dtype: DType = "<U5".parse()?;
/// writer.publish("names", DynArrayView::from_bytes(dtype, &[2], Order::C, &names)?)?;
///
/// // Every second number of six, last first: strides are bytes.
/// let numbers = [0_u8, 1, 2, 3, 4, 5];
/// let view = DynArrayView::from_strides("|u1".parse::<DType>()?, &[3], &[-2], 5, &numbers)?;
/// writer.publish("numbers", view)?;
/// assert_eq!(arena.dyn_array("numbers")?.bytes(), [5, 3, 1]);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct DynArrayView<'a> {
    info: ArrayInfo,
    source: Source<'a>,
}

enum Source<'a> {
    /// One piece of memory in the order that will be stored: values of the type, or bytes that may be none.
    Contiguous(Cow<'a, [u8]>, Values),
    /// Anything else: gathered into the order that will be stored on the way.
    Gathered(Box<dyn Gather + 'a>),
}

/// Whether bytes are known to be values of the array's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Known,
    Unknown,
}

trait Gather: Send + Sync {
    fn gather(&self, out: &mut [u8], copy: CopyBytes<'_>);
}

impl<T: ArrayElement, S: Data<Elem = T> + Send + Sync> Gather for ArrayBase<S, IxDyn> {
    fn gather(&self, out: &mut [u8], copy: CopyBytes<'_>) {
        if let Some(values) = self.as_slice() {
            return copy(out, bytemuck::cast_slice(values));
        }
        let mut rest = out;
        // Rows that are contiguous are copied whole; views cut out of larger arrays have such rows.
        let last = Axis(self.ndim().saturating_sub(1));
        for row in self.lanes(last) {
            let (to, tail) = rest.split_at_mut(row.len() * size_of::<T>());
            match row.to_slice() {
                Some(values) => copy(to, bytemuck::cast_slice(values)),
                None => {
                    for (to, value) in to.chunks_exact_mut(size_of::<T>()).zip(&row) {
                        to.copy_from_slice(bytemuck::bytes_of(value));
                    }
                }
            }
            rest = tail;
        }
    }
}

impl<'a, T: ArrayElement, D: Dimension> From<ArrayView<'a, T, D>> for DynArrayView<'a> {
    fn from(view: ArrayView<'a, T, D>) -> DynArrayView<'a> {
        let info = |order| ArrayInfo::new(DType::of::<T>(), view.shape(), order);
        if let Some(values) = view.to_slice() {
            DynArrayView {
                info: info(Order::C),
                source: Source::Contiguous(bytemuck::cast_slice(values).into(), Values::Known),
            }
        } else if let Some(values) = view.clone().reversed_axes().to_slice() {
            DynArrayView {
                info: info(Order::Fortran),
                source: Source::Contiguous(bytemuck::cast_slice(values).into(), Values::Known),
            }
        } else {
            DynArrayView { info: info(Order::C), source: Source::Gathered(Box::new(view.into_dyn())) }
        }
    }
}

impl DynArrayView<'static> {
    /// An array that goes with the view.
    pub(crate) fn owned<T, S, D>(array: ArrayBase<S, D>) -> DynArrayView<'static>
    where
        T: ArrayElement,
        S: Data<Elem = T> + Send + Sync + 'static,
        D: Dimension,
    {
        let order =
            if !array.is_standard_layout() && array.t().is_standard_layout() { Order::Fortran } else { Order::C };
        let info = ArrayInfo::new(DType::of::<T>(), array.shape(), order);
        // Elements in Fortran order are those of the transposed array in C order.
        let array = if order == Order::Fortran { array.reversed_axes().into_dyn() } else { array.into_dyn() };
        DynArrayView { info, source: Source::Gathered(Box::new(array)) }
    }
}

/// Every byte of the array is a value of its type, which is so for all but `bool`.
pub(crate) fn check_values(info: &ArrayInfo, object: &[u8]) -> Result<()> {
    match info.check(object) {
        Err(Error::Damaged(what)) => Err(Error::invalid(format!("{what}, not 0 or 1"))),
        other => other,
    }
}

impl<'a> DynArrayView<'a> {
    /// Returns an array of `dtype` and this shape, whose elements lie one behind the other in this order in `bytes`. An
    /// array without axes has one element.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `bytes` is not as long as the elements are together, or the shape is larger than memory can
    /// be; [`Error::TooLarge`] for more than 32 axes. A `bool` that is not 0 or 1 is [`Error::Invalid`] when the array is
    /// published.
    pub fn from_bytes(
        dtype: impl Into<DType>,
        shape: &[usize],
        order: Order,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<DynArrayView<'a>> {
        let (info, bytes) = (ArrayInfo::new(dtype, shape, order), bytes.into());
        let needed = info.data_bytes()?;
        if bytes.len() as u64 != needed {
            return Err(Error::invalid(format!(
                "an array of shape {shape:?} and type {} has {needed} bytes, {} were given",
                name_of(&info.dtype),
                bytes.len()
            )));
        }
        Ok(DynArrayView { info, source: Source::Contiguous(bytes, Values::Unknown) })
    }

    /// Returns an array of `dtype` and this shape, whose first element (the one with all indices 0) begins at byte `first`
    /// of `bytes`. A step along axis `i` is `strides[i]` bytes, which may be 0 or negative.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there are not as many strides as axes, or an element reaches out of `bytes`; otherwise as
    /// [`DynArrayView::from_bytes`].
    pub fn from_strides(
        dtype: impl Into<DType>,
        shape: &[usize],
        strides: &[isize],
        first: usize,
        bytes: &'a [u8],
    ) -> Result<DynArrayView<'a>> {
        let mut info = ArrayInfo::new(dtype, shape, Order::C);
        let len = info.data_bytes()? as usize;
        if shape.len() != strides.len() {
            let (axes, given) = (shape.len(), strides.len());
            return Err(Error::invalid(format!("an array of {axes} axes has as many strides, {given} were given")));
        }
        if len == 0 {
            return Ok(DynArrayView { info, source: Source::Contiguous(Cow::Borrowed(&[]), Values::Known) });
        }
        let (mut lowest, mut highest) = (first as i128, first as i128 + info.dtype.itemsize() as i128);
        for (&n, &stride) in shape.iter().zip(strides) {
            // Neither factor has more than 64 bits, and there are 32 axes at most.
            let reach = (n as i128 - 1) * stride as i128;
            (lowest, highest) = (lowest + reach.min(0), highest + reach.max(0));
        }
        if lowest < 0 || highest > bytes.len() as i128 {
            return Err(Error::invalid(format!(
                "an array of shape {shape:?}, strides {strides:?} and type {} reaches from byte {lowest} to {highest} of {} \
                 bytes",
                name_of(&info.dtype),
                bytes.len()
            )));
        }
        for order in [Order::C, Order::Fortran] {
            info.order = order;
            let dense = info.strides();
            // The stride of an axis of one element does not matter.
            if shape.iter().zip(strides).zip(&dense).all(|((&n, stride), dense)| n == 1 || stride == dense) {
                let bytes = Cow::Borrowed(&bytes[first..first + len]);
                return Ok(DynArrayView { info, source: Source::Contiguous(bytes, Values::Unknown) });
            }
        }
        info.order = Order::C;
        let size = info.dtype.itemsize();
        let strided = Strided { bytes, first, size, shape: shape.to_vec(), strides: strides.to_vec() };
        Ok(DynArrayView { info, source: Source::Gathered(Box::new(strided)) })
    }
}

/// Elements of `size` bytes at strides that were checked: none reaches out of `bytes`.
struct Strided<'a> {
    bytes: &'a [u8],
    first: usize,
    size: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
}

impl Gather for Strided<'_> {
    fn gather(&self, out: &mut [u8], copy: CopyBytes<'_>) {
        let (inner, outer) = match (self.shape.split_last(), self.strides.split_last()) {
            (Some((&n, axes)), Some((&stride, strides))) => ((n, stride), (axes, strides)),
            _ => return copy(out, &self.bytes[self.first..self.first + self.size]),
        };
        let mut index = vec![0; outer.0.len()];
        for row in out.chunks_exact_mut(inner.0 * self.size) {
            let start =
                index.iter().zip(outer.1).fold(self.first as isize, |at, (&i, &stride)| at + i as isize * stride);
            self.gather_row(row, start as usize, inner.1, copy);
            // The next row: the last index that has room rises, those behind it begin again.
            for (i, &n) in index.iter_mut().zip(outer.0).rev() {
                *i += 1;
                if *i < n {
                    break;
                }
                *i = 0;
            }
        }
    }
}

impl Strided<'_> {
    fn gather_row(&self, row: &mut [u8], start: usize, stride: isize, copy: CopyBytes<'_>) {
        if stride == self.size as isize {
            return copy(row, &self.bytes[start..start + row.len()]);
        }
        // Of a size that is known, an element is moved at once.
        match self.size {
            1 => gather_items::<1>(row, self.bytes, start, stride),
            2 => gather_items::<2>(row, self.bytes, start, stride),
            4 => gather_items::<4>(row, self.bytes, start, stride),
            8 => gather_items::<8>(row, self.bytes, start, stride),
            16 => gather_items::<16>(row, self.bytes, start, stride),
            size => {
                for (i, to) in row.chunks_exact_mut(size).enumerate() {
                    let at = (start as isize + i as isize * stride) as usize;
                    to.copy_from_slice(&self.bytes[at..at + size]);
                }
            }
        }
    }
}

fn gather_items<const N: usize>(row: &mut [u8], bytes: &[u8], start: usize, stride: isize) {
    for (i, to) in row.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let at = (start as isize + i as isize * stride) as usize;
        to.copy_from_slice(&bytes[at..at + N]);
    }
}

impl fmt::Debug for DynArrayView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynArrayView").field(&self.info).finish()
    }
}

impl DynArrayView<'_> {
    pub(crate) fn info(&self) -> &ArrayInfo {
        &self.info
    }

    /// Bytes of the object that it will be.
    pub(crate) fn bytes(&self) -> Result<u64> {
        self.info.object_bytes()
    }

    /// Writes the object; `out` is [`DynArrayView::bytes`] long, or longer (the tail is zeroed).
    pub(crate) fn write(&self, out: &mut [u8], copy: CopyBytes<'_>) -> Result<()> {
        self.info.write_header(out)?;
        let len = self.info.data_bytes()? as usize;
        let (to, tail) = out[self.info.data_at()..].split_at_mut(len);
        match &self.source {
            Source::Contiguous(bytes, _) => copy(to, bytes),
            Source::Gathered(view) => view.gather(to, copy),
        }
        tail.fill(0);
        match &self.source {
            Source::Contiguous(_, Values::Known) => Ok(()),
            _ => check_values(&self.info, out),
        }
    }
}

/// An array whose elements lie in the arena and whose type is known at run time only: owned and read-only.
///
/// A `DynArray` keeps the object that it was read from: the elements stay as they are until the last clone is dropped. A
/// clone copies no elements. [`DynArray::view`] gives the typed array.
///
/// ```
/// use faretra::{Arena, MIB, Order};
/// use ndarray::{Ix2, array};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-dynarray-{}", std::process::id()))?;
/// arena.writer()?.publish("weights", array![[1_i16, 2, 3], [4, 5, 6]].view())?;
///
/// let weights = arena.dyn_array("weights")?;
/// assert_eq!(weights.dtype().to_string(), "<i2");
/// assert_eq!((weights.shape(), weights.order()), (&[2, 3][..], Order::C));
/// assert_eq!((weights.strides(), weights.bytes().len()), (vec![6, 2], 12));
/// assert_eq!(weights.view::<i16, Ix2>()?[[1, 0]], 4);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone)]
pub struct DynArray {
    name: SmolStr,
    info: ArrayInfo,
    object: Lent,
    /// Where the elements begin in the object, and how many bytes they are.
    at: usize,
    len: usize,
}

impl DynArray {
    pub(crate) fn from_lent(name: SmolStr, object: Lent) -> Result<DynArray> {
        let info = ArrayInfo::parse(object.bytes())?;
        let (at, len) = (info.data_at(), info.data(object.bytes())?.len());
        Ok(DynArray { name, info, object, at, len })
    }

    /// Returns element type, shape and order.
    pub fn info(&self) -> &ArrayInfo {
        &self.info
    }

    /// Returns the type of the elements.
    pub fn dtype(&self) -> &DType {
        &self.info.dtype
    }

    /// Returns the length of each axis, in elements. An array of one element and no axes has none.
    pub fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// Returns the order in which the elements lie.
    pub fn order(&self) -> Order {
        self.info.order
    }

    /// Returns how many bytes a step along each axis is.
    pub fn strides(&self) -> Vec<isize> {
        self.info.strides()
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.info.elements() as usize
    }

    /// Returns whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes the elements take, without the header that they have in the arena.
    pub fn nbytes(&self) -> u64 {
        self.len as u64
    }

    /// Returns the bytes of all elements, one behind the other in the array's order. The first is at a multiple of 64.
    pub fn bytes(&self) -> &[u8] {
        &self.object.bytes()[self.at..self.at + self.len]
    }

    /// Returns the array as one of Rust's type `T`. No element is copied.
    ///
    /// A record is seen as a struct that has its size and whose fields are among its own, at the same offsets. `datetime64`
    /// and `timedelta64` are seen as `i64`, bytes (`S`, `V`) as `[u8; N]`, text (`U`) as `[u32; N]`.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] for another type, order of bytes or rank; [`Error::Damaged`] for elements that are no values of
    /// the type, as a `bool` that is 2.
    pub fn view<T: ArrayElement, D: Dimension>(&self) -> Result<Array<T, D>> {
        Array::with_info(&self.name, self.object.clone(), &self.info)
    }

    /// Maps the bytes of the elements once more, copy-on-write, in the array's order: they can be written, and nobody else
    /// sees what is written. See [`PrivateBytes`].
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Os`] if the address space is full.
    pub fn private(&self) -> Result<PrivateBytes> {
        PrivateBytes::map(&self.object, self.bytes())
    }
}

impl<'a> From<&'a DynArray> for DynArrayView<'a> {
    fn from(array: &'a DynArray) -> DynArrayView<'a> {
        let bytes = Cow::Borrowed(array.bytes());
        DynArrayView { info: array.info.clone(), source: Source::Contiguous(bytes, Values::Unknown) }
    }
}

impl fmt::Debug for DynArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynArray").field("name", &self.name).field("info", &self.info).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrow_buffer::{Buffer, MutableBuffer};

    use super::*;
    use crate::value::element::ElementType;

    const RECORD: &str = "[('a', '<i4'), ('', '|V4'), ('p', [('x', '<f4')], (2,)), ('größe', '<U2')]";

    /// The object that a view becomes, with other bytes behind it.
    fn stored(dtype: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
        let view = DynArrayView::from_bytes(dtype.parse::<DType>().unwrap(), shape, Order::C, bytes).unwrap();
        let mut object = vec![0xaa; view.bytes().unwrap() as usize + 70];
        view.write(&mut object, &|to, from| to.copy_from_slice(from)).unwrap();
        object
    }

    fn read(object: &[u8]) -> Result<DynArray> {
        let mut memory = MutableBuffer::from_len_zeroed(object.len());
        memory.copy_from_slice(object);
        DynArray::from_lent("x".into(), Buffer::from(memory).into())
    }

    /// The text lies behind the shape, and is all that tells a stored record from a number.
    #[test]
    fn a_type_without_a_number_is_stored_as_text() {
        let bytes: Vec<u8> = (0..48).collect();
        let object = stored(RECORD, &[2], &bytes);
        assert_eq!(object[8..12], [0; 4]);
        assert_eq!(&object[40..40 + RECORD.len()], RECORD.as_bytes());
        let array = read(&object).unwrap();
        assert_eq!((array.dtype().to_string().as_str(), array.bytes(), array.at), (RECORD, &bytes[..], 128));
        assert_eq!(ArrayInfo::head_bytes(&object), 128);
        let number = stored("<f4", &[2], &[0; 8]);
        assert_eq!((number[8], &number[20..24]), (ElementType::F32 as u8, &[0; 4][..]));
    }

    /// Whatever is written over a header, a read is an error in words or an array inside its object.
    #[test]
    fn damaged_descriptors_are_errors() {
        let object = stored(RECORD, &[2], &[0; 48]);
        let with = |at: usize, bytes: &[u8]| {
            let mut object = object.clone();
            object[at..at + bytes.len()].copy_from_slice(bytes);
            read(&object)
        };
        for (at, bytes, why) in [
            (8, &[1_u8][..], "element type 1 with a text of 76 bytes"),
            (20, &u32::MAX.to_le_bytes(), "65536 are the most"),
            (20, &60_000_u32.to_le_bytes(), "is cut"),
            (20, &0_u32.to_le_bytes(), "``"),
            (20, &[75], "cannot be"),
            (40, b"{", "cannot be"),
            (48, b"|O8", "pointers"),
            (41, b" ", "cannot be"),
            (44, b"\xff", "no text"),
        ] {
            let error = with(at, bytes).expect_err(why);
            assert!(matches!(error, Error::Damaged(_)) && error.to_string().contains(why), "{why}: {error}");
        }
        // Another spelling of a type, and a text where a number belongs.
        for (text, why) in [("=f8", "a spelling of its own"), ("<f8", "a spelling of its own"), ("<M8[1s]", "spelling")]
        {
            let mut object = stored("<M8[10s]", &[2], &[0; 16]);
            object[40..48].fill(0);
            object[40..40 + text.len()].copy_from_slice(text.as_bytes());
            object[20] = text.len() as u8;
            let error = read(&object).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
        let mut read_well = 0;
        for bit in 0..128 * 8 {
            let mut object = object.clone();
            object[bit / 8] ^= 1 << (bit % 8);
            if let Ok(array) = read(&object) {
                assert!(array.at + array.len <= object.len());
                assert_eq!(array.bytes().len(), array.len() * array.dtype().itemsize());
                read_well += 1;
            }
        }
        // Bits of field names, of numbers that fit as well, and of what nobody reads.
        assert!((20..300).contains(&read_well), "{read_well}");
        for len in 0..object.len() - 70 {
            assert!(read(&object[..len]).is_err(), "{len}");
        }
    }
}
