//! What an array is, and the header that says so in front of its elements.
//!
//! ```text
//!  0        4        8        12       16            24           32            D
//!  | "FaNd" | format | element| order  | rank (u64)  | data bytes | shape, u64s | 0.. | data ...
//!  |        |  u32   |  u32   |  u32   |             |   (u64)    | rank of them|     |
//! ```
//!
//! `D` is the end of the shape rounded up to 64, so that the data is aligned for every element and
//! every vector unit when the object is. Integers are little-endian. Order 0 is C (the last axis is
//! contiguous), 1 is Fortran (the first is); nothing else is stored.

use ndarray::{ArrayView, Dimension, IxDyn, ShapeBuilder};

use crate::error::{Error, Result};
use crate::value::dtype::{ArrayElement, DType, DTypeKind, MAX_DTYPE_TEXT};
use crate::value::element::ElementType;

const MAGIC: u32 = u32::from_le_bytes(*b"FaNd");
const FORMAT: u32 = 1;
const FIXED: usize = 32;
/// Arrays of more axes are refused; numpy's limit is 64, nobody was seen to need more than 8.
const MAX_RANK: usize = 32;

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
        // That fits was checked.
        let (at, len) = (self.data_at(), self.elements() as usize * self.dtype.itemsize());
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
pub(crate) fn data_bytes(dtype: &DType, shape: &[usize]) -> Result<u64> {
    if shape.len() > MAX_RANK {
        return Err(Error::TooLarge {
            what: "axes of an array",
            asked: shape.len() as u64,
            most: MAX_RANK as u64,
            hint: "merge some",
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
pub(crate) fn data_at(dtype: &DType, rank: usize) -> usize {
    (FIXED + 8 * rank + text_len(dtype)).next_multiple_of(64)
}

/// Writes everything in front of the elements, which take `data_bytes`; `out` is the whole object.
pub(crate) fn write_header(out: &mut [u8], dtype: &DType, shape: &[usize], order: Order, data_bytes: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_contradicts_itself_is_refused() {
        let info = ArrayInfo::new(ElementType::I32, &[4, 5, 6], Order::C);
        let mut object = vec![0; info.object_bytes().unwrap() as usize + 70];
        info.write_header(&mut object).unwrap();
        assert_eq!(ArrayInfo::parse(&object).unwrap(), info);
        // Magic, format, element, order, rank, bytes, an axis.
        for at in [0, 4, 8, 12, 16, 24, 32] {
            let mut bytes = object.clone();
            bytes[at] ^= 64;
            assert!(matches!(ArrayInfo::parse(&bytes), Err(Error::Damaged(_))), "{at}");
        }
        let end = 4 * 5 * 6 * 4 + 64;
        assert!(ArrayInfo::parse(&object[..end]).is_ok());
        assert!(ArrayInfo::parse(&object[..end - 1]).is_err());
    }
}
