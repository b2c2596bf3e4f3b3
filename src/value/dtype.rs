//! The type of an array's elements as a value: all of numpy's types that are plain memory.
//!
//! * D1: every [`DType`] has an itemsize of 1 to [`MAX_ITEMSIZE`] bytes, at most [`MAX_DTYPE_DEPTH`] records and sub-arrays
//!   within each other, and fields that have different names and lie inside their record. The constructors see to it,
//!   so nothing that holds a `DType` checks it again.
//! * D2: two types are equal exactly if their texts are. The text is what an array that needs one stores; the parser in
//!   `descr.rs` reads it back.
//! * D4: what is stored is seen as a Rust type only if each of that type's fields is there, at its offset, in its order of
//!   bytes ([`DType::is_read_as`]).

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::value::element::{Element, ElementType};
use crate::value::timestep::TimeStep;

/// The largest element of an array, in bytes: numpy's own limit.
pub const MAX_ITEMSIZE: usize = i32::MAX as usize;

/// How many records and sub-arrays may lie within each other in a [`DType`].
pub const MAX_DTYPE_DEPTH: usize = 16;

/// The longest text of a [`DType`], in bytes, that is read or stored.
pub const MAX_DTYPE_TEXT: usize = 64 * 1024;

/// The type of an array's elements, known at run time: any numpy `dtype` whose values are plain memory.
///
/// That is `bool`, integers, floats (`f16` too), complex numbers, `datetime64` and `timedelta64` with their unit, bytes
/// (`S`) and text (`U`) of a fixed width, raw bytes (`V`), records of named fields at any offset, and fields that are
/// arrays themselves; each in either byte order. A `DType` is read from numpy's text ([`str::parse`]) and written as it
/// (`Display`): `<f8`, `>i2`, `<M8[ns]`, `|S10`, `[('x', '<f4'), ('y', '<f4')]`. A record whose fields overlap or lie out
/// of order is written as a Python `dict` of `names`, `formats`, `offsets` and `itemsize`, which numpy takes too.
/// The 128-bit integers of Rust, which numpy does not have, are `<i16` and `<u16`.
///
/// ```
/// use faretra::{DType, DTypeKind, ElementType};
///
/// let price: DType = "[('time', '<M8[ns]'), ('price', '<f8'), ('side', '|S1'), ('', '|V7')]".parse()?;
/// assert_eq!((price.itemsize(), price.alignment()), (24, 8));
/// let DTypeKind::Record(fields) = price.kind() else { panic!("{price}") };
/// assert_eq!((fields[1].name.as_str(), fields[1].offset), ("price", 8));
/// assert_eq!(fields[1].dtype, ElementType::F64);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DType(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Scalar(Scalar),
    Record(Arc<Record>),
    Array(Arc<SubArray>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Scalar {
    kind: ScalarKind,
    order: ByteOrder,
    /// Bytes.
    size: u32,
}

/// What a type that has no parts is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ScalarKind {
    Bool,
    Int,
    UInt,
    Float,
    Complex,
    Datetime(TimeStep),
    Timedelta(TimeStep),
    Bytes,
    Unicode,
    Void,
}

#[derive(PartialEq, Eq, Hash)]
struct Record {
    size: usize,
    fields: Vec<DTypeField>,
    depth: usize,
    /// As `Display` writes it.
    text: String,
}

#[derive(PartialEq, Eq, Hash)]
struct SubArray {
    base: DType,
    shape: Vec<usize>,
    size: usize,
}

/// A field of a record; see [`DTypeKind::Record`].
///
/// ```
/// use faretra::{DType, DTypeField, ElementType};
///
/// let field = |name: &str, offset| DTypeField { name: name.into(), offset, dtype: ElementType::F32.into() };
/// let point = DType::record(12, vec![field("x", 0), field("y", 8)])?;
/// assert_eq!(point.to_string(), "[('x', '<f4'), ('', '|V4'), ('y', '<f4')]");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DTypeField {
    /// The field's name, which no other field of the record has.
    pub name: String,
    /// Where the field begins, in bytes from the start of the record.
    pub offset: usize,
    /// The type of the field.
    pub dtype: DType,
}

/// What a [`DType`] is, to be matched. Sizes are [`DType::itemsize`]'s to tell, the order of bytes [`DType::byte_order`]'s.
///
/// ```
/// use faretra::{DType, DTypeKind, DatetimeUnit};
///
/// let five_days: DType = "<m8[5D]".parse()?;
/// let DTypeKind::Timedelta(step) = five_days.kind() else { panic!("{five_days}") };
/// assert_eq!((step.count, step.unit), (5, DatetimeUnit::Day));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DTypeKind<'a> {
    /// One byte that is 0 or 1.
    Bool,
    /// A signed integer of 1, 2, 4, 8 or 16 bytes.
    Int,
    /// An integer without a sign, of 1, 2, 4, 8 or 16 bytes.
    UInt,
    /// A number of 2, 4, 8 or 16 bytes. What the 16 bytes mean, numpy's `longdouble`, depends on the machine.
    Float,
    /// Two floats of half the size: the real part, then the imaginary part.
    Complex,
    /// A point in time: a signed integer of 8 bytes that counts steps from 1970 on. The smallest integer means none.
    Datetime(TimeStep),
    /// A span of time: a signed integer of 8 bytes that counts steps. The smallest integer means none.
    Timedelta(TimeStep),
    /// Bytes of a fixed width; a shorter value has zeros behind it.
    Bytes,
    /// Text of a fixed width, 4 bytes for each character (UTF-32); a shorter value has zeros behind it.
    Unicode,
    /// Bytes that nothing is known of.
    Void,
    /// Named fields.
    Record(&'a [DTypeField]),
    /// An array, in C order, of a type that is no array itself: only a field of a record has such a type.
    Array(&'a DType, &'a [usize]),
}

/// The order in which the bytes of a number lie in memory.
///
/// ```
/// use faretra::{ByteOrder, DType};
///
/// let orders = ["<f8", ">f8", "|S8"].map(|text| text.parse::<DType>().map(|dtype| dtype.byte_order()));
/// assert!(matches!(orders, [Ok(ByteOrder::Little), Ok(ByteOrder::Big), Ok(ByteOrder::NotApplicable)]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The least significant byte first, which is what the machines that faretra runs on have.
    Little,
    /// The most significant byte first.
    Big,
    /// The type has no numbers of several bytes, or has parts with orders of their own.
    NotApplicable,
}

/// A type that the elements of an [`Array`](crate::Array) may have: an [`Element`], or a struct of them that
/// [`array_element!`](crate::array_element) describes.
///
/// The trait is safe to implement: an array is seen as its elements only if [`ArrayElement::dtype`] has the size of the
/// type, the type that is stored agrees with it, and `bytemuck` finds every value valid.
///
/// ```
/// use faretra::{Arena, DType, MIB, bytemuck};
/// use ndarray::{Ix1, arr1};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// #[repr(C)]
/// struct Point { x: f32, y: f32, id: u64 }
/// // SAFETY: a `repr(C)` struct of numbers, without padding.
/// unsafe impl bytemuck::Zeroable for Point {}
/// // SAFETY: as above; `#[derive(bytemuck::Pod)]` with the feature `derive` says the same.
/// unsafe impl bytemuck::Pod for Point {}
/// faretra::array_element!(Point { x, y, id });
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-record-{}", std::process::id()))?;
/// arena.writer()?.publish("points", &arr1(&[Point { x: 1.0, y: 2.0, id: 7 }]))?;
/// assert_eq!(arena.array::<Point, Ix1>("points")?[0].y, 2.0);
/// let stored = arena.dyn_array("points")?;
/// assert_eq!(stored.dtype().to_string(), "[('x', '<f4'), ('y', '<f4'), ('id', '<u8')]");
/// # Ok::<(), faretra::Error>(())
/// ```
pub trait ArrayElement: bytemuck::NoUninit + bytemuck::CheckedBitPattern + fmt::Debug + Send + Sync + 'static {
    /// Returns the type as a value.
    fn dtype() -> DType;
}

impl<T: Element> ArrayElement for T {
    fn dtype() -> DType {
        DType::from(T::TYPE)
    }
}

/// An array that is a field of a record. An array of such elements is published as one with more axes.
impl<T: ArrayElement, const N: usize> ArrayElement for [T; N]
where
    [T; N]: bytemuck::NoUninit + bytemuck::CheckedBitPattern,
{
    fn dtype() -> DType {
        DType::array(DType::of::<T>(), &[N]).unwrap_or_else(|_| DType::opaque(size_of::<[T; N]>()))
    }
}

/// Describes a struct as the type of an array's elements: implements [`ArrayElement`] for it.
///
/// The struct must be `repr(C)`, `Copy`, `Debug` and plain for `bytemuck` (`Pod`; or `NoUninit` and `CheckedBitPattern`).
/// The fields that are listed become fields of the record, under their own name or the one that is given. A field that is
/// not listed is padding. A reader may leave out fields that it does not need.
///
/// ```
/// use faretra::{ArrayElement, bytemuck};
///
/// #[derive(Clone, Copy, Debug)]
/// #[repr(C)]
/// struct Tick { price: f64, size: u32, _padding: [u8; 4], at: [i16; 2], code: [u8; 4] }
/// // SAFETY: a `repr(C)` struct of numbers, without padding.
/// unsafe impl bytemuck::Zeroable for Tick {}
/// // SAFETY: as above; `#[derive(bytemuck::Pod)]` with the feature `derive` says the same.
/// unsafe impl bytemuck::Pod for Tick {}
/// faretra::array_element!(Tick { price, size as "the size", at });
///
/// let expected = "[('price', '<f8'), ('the size', '<u4'), ('', '|V4'), ('at', '<i2', (2,)), ('', '|V4')]";
/// assert_eq!(Tick::dtype().to_string(), expected);
/// ```
#[macro_export]
macro_rules! array_element {
    ($type:ty { $($field:ident $(as $name:literal)?),* $(,)? }) => {
        const _: () = ::core::assert!(::core::mem::size_of::<$type>() > 0, "an element of no bytes");
        impl $crate::ArrayElement for $type {
            fn dtype() -> $crate::DType {
                $crate::DType::of_struct::<$type>(&[$((
                    [$($name,)? ::core::stringify!($field)][0],
                    ::core::mem::offset_of!($type, $field),
                    $crate::DType::of_field(|whole: $type| whole.$field),
                )),*])
            }
        }
    };
}

impl DType {
    /// Returns the type of a Rust type's values.
    pub fn of<T: ArrayElement>() -> DType {
        let dtype = T::dtype();
        if dtype.itemsize() == size_of::<T>() { dtype } else { DType::opaque(size_of::<T>()) }
    }

    #[doc(hidden)]
    pub fn of_field<S, T: ArrayElement>(_: impl Fn(S) -> T) -> DType {
        DType::of::<T>()
    }

    #[doc(hidden)]
    pub fn of_struct<S>(fields: &[(&str, usize, DType)]) -> DType {
        let field = |(name, offset, dtype): &(&str, usize, DType)| DTypeField {
            name: (*name).to_owned(),
            offset: *offset,
            dtype: dtype.clone(),
        };
        let record = DType::record(size_of::<S>(), fields.iter().map(field).collect());
        record.unwrap_or_else(|_| DType::opaque(size_of::<S>()))
    }

    /// Bytes that nothing is known of, also where there are none: an array of those is refused for its size.
    fn opaque(size: usize) -> DType {
        let size = u32::try_from(size).unwrap_or(0);
        DType(Repr::Scalar(Scalar { kind: ScalarKind::Void, order: ByteOrder::NotApplicable, size }))
    }

    /// Returns the type of records of `itemsize` bytes with these fields, which may lie anywhere inside, in any order, and
    /// over each other.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for two fields of one name, one without a name, one that reaches out of the record, or no field
    /// at all; [`Error::TooLarge`] beyond [`MAX_ITEMSIZE`] and [`MAX_DTYPE_DEPTH`].
    pub fn record(itemsize: usize, fields: Vec<DTypeField>) -> Result<DType> {
        check_size(itemsize as u128, || "a record".into())?;
        if fields.is_empty() {
            return Err(Error::invalid(format!(
                "a record of {itemsize} bytes has no fields: give it some, or use raw bytes (`|V{itemsize}`)"
            )));
        }
        let mut names = HashSet::with_capacity(fields.len());
        for field in &fields {
            let (name, offset, size) = (&field.name, field.offset, field.dtype.itemsize());
            if name.is_empty() {
                return Err(Error::invalid(format!("the field at byte {offset} of a record has no name")));
            }
            if !names.insert(name.as_str()) {
                return Err(Error::invalid(format!("two fields of a record have the name `{name}`")));
            }
            if offset.checked_add(size).is_none_or(|end| end > itemsize) {
                return Err(Error::invalid(format!(
                    "the field `{name}` takes {size} bytes from byte {offset} on, the record has {itemsize}"
                )));
            }
        }
        let depth = 1 + fields.iter().map(|field| field.dtype.depth()).max().unwrap_or(0);
        check_depth(depth)?;
        let text = record_text(itemsize, &fields);
        Ok(DType(Repr::Record(Arc::new(Record { size: itemsize, fields, depth, text }))))
    }

    /// Returns the type of a field that is an array itself, in C order. An array of arrays is one array of more axes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a shape without axes or elements; [`Error::TooLarge`] beyond [`MAX_ITEMSIZE`],
    /// [`MAX_DTYPE_DEPTH`], and 32 axes.
    pub fn array(base: DType, shape: &[usize]) -> Result<DType> {
        let mut shape = shape.to_vec();
        if shape.is_empty() {
            return Err(Error::invalid(format!("a sub-array of {base} has no axes: use the type itself")));
        }
        let base = match base.0 {
            Repr::Array(inner) => {
                shape.extend(&inner.shape);
                inner.base.clone()
            }
            _ => base,
        };
        if shape.len() > 32 {
            let (asked, hint) = (shape.len() as u64, "merge some of its axes");
            return Err(Error::TooLarge { what: "axes of a sub-array", asked, most: 32, hint });
        }
        let size = shape.iter().fold(base.itemsize() as u128, |size, &n| size.saturating_mul(n as u128));
        check_size(size, || format!("a sub-array of {base} of shape {shape:?}"))?;
        check_depth(1 + base.depth())?;
        Ok(DType(Repr::Array(Arc::new(SubArray { base, shape, size: size as usize }))))
    }

    /// A type without parts, of `size` bytes.
    pub(crate) fn scalar(kind: ScalarKind, size: u64, order: ByteOrder) -> Result<DType> {
        use ScalarKind::{Bool, Bytes, Complex, Datetime, Float, Int, Timedelta, UInt, Unicode, Void};
        let fits = match kind {
            Bool => size == 1,
            Int | UInt => matches!(size, 1 | 2 | 4 | 8 | 16),
            Float => matches!(size, 2 | 4 | 8 | 16),
            Complex => matches!(size, 8 | 16 | 32),
            Datetime(_) | Timedelta(_) => size == 8,
            Unicode => size.is_multiple_of(4),
            Bytes | Void => true,
        };
        if !fits {
            return Err(Error::invalid(format!("there is no {} of {size} bytes", kind.name())));
        }
        check_size(size.into(), || kind.name().into())?;
        let order = match kind {
            _ if size == 1 => ByteOrder::NotApplicable,
            Bytes | Void => ByteOrder::NotApplicable,
            _ if order == ByteOrder::NotApplicable => {
                return Err(Error::invalid(format!(
                    "a {} of {size} bytes has an order of bytes: write `<` or `>` before it, not `|`",
                    kind.name()
                )));
            }
            _ => order,
        };
        Ok(DType(Repr::Scalar(Scalar { kind, order, size: size as u32 })))
    }

    /// Returns what the type is.
    pub fn kind(&self) -> DTypeKind<'_> {
        match &self.0 {
            Repr::Scalar(scalar) => match scalar.kind {
                ScalarKind::Bool => DTypeKind::Bool,
                ScalarKind::Int => DTypeKind::Int,
                ScalarKind::UInt => DTypeKind::UInt,
                ScalarKind::Float => DTypeKind::Float,
                ScalarKind::Complex => DTypeKind::Complex,
                ScalarKind::Datetime(step) => DTypeKind::Datetime(step),
                ScalarKind::Timedelta(step) => DTypeKind::Timedelta(step),
                ScalarKind::Bytes => DTypeKind::Bytes,
                ScalarKind::Unicode => DTypeKind::Unicode,
                ScalarKind::Void => DTypeKind::Void,
            },
            Repr::Record(record) => DTypeKind::Record(&record.fields),
            Repr::Array(array) => DTypeKind::Array(&array.base, &array.shape),
        }
    }

    /// Returns the size of one element, in bytes.
    pub fn itemsize(&self) -> usize {
        match &self.0 {
            Repr::Scalar(scalar) => scalar.size as usize,
            Repr::Record(record) => record.size,
            Repr::Array(array) => array.size,
        }
    }

    /// Returns what an element's address is a multiple of in an array: what C gives the type, if every part of it lies as
    /// C would have it, and otherwise 1.
    pub fn alignment(&self) -> usize {
        match &self.0 {
            Repr::Scalar(Scalar { kind, size, .. }) => match kind {
                ScalarKind::Bytes | ScalarKind::Void => 1,
                ScalarKind::Unicode => 4,
                ScalarKind::Complex => *size as usize / 2,
                _ => *size as usize,
            },
            Repr::Array(array) => array.base.alignment(),
            Repr::Record(record) => {
                let aligned = |field: &DTypeField| field.offset.is_multiple_of(field.dtype.alignment());
                let most = record.fields.iter().map(|field| field.dtype.alignment()).max().unwrap_or(1);
                if record.fields.iter().all(aligned) && record.size.is_multiple_of(most) { most } else { 1 }
            }
        }
    }

    /// Returns the order of bytes; of a sub-array, that of its elements.
    pub fn byte_order(&self) -> ByteOrder {
        match &self.0 {
            Repr::Scalar(scalar) => scalar.order,
            Repr::Record(_) => ByteOrder::NotApplicable,
            Repr::Array(array) => array.base.byte_order(),
        }
    }

    /// Returns the fields of a record, and of every other type none.
    pub fn fields(&self) -> &[DTypeField] {
        match &self.0 {
            Repr::Record(record) => &record.fields,
            _ => &[],
        }
    }

    /// Returns the Rust type that the elements are of, or `None` if they are of none: text, records, numbers in the other
    /// order.
    pub fn element(&self) -> Option<ElementType> {
        let Repr::Scalar(Scalar { kind, order, size }) = self.0 else { return None };
        if order == ByteOrder::Big {
            return None;
        }
        Some(match (kind, size) {
            (ScalarKind::Bool, _) => ElementType::Bool,
            (ScalarKind::UInt, 1) => ElementType::U8,
            (ScalarKind::UInt, 2) => ElementType::U16,
            (ScalarKind::UInt, 4) => ElementType::U32,
            (ScalarKind::UInt, 8) => ElementType::U64,
            (ScalarKind::UInt, 16) => ElementType::U128,
            (ScalarKind::Int, 1) => ElementType::I8,
            (ScalarKind::Int, 2) => ElementType::I16,
            (ScalarKind::Int, 4) => ElementType::I32,
            (ScalarKind::Int, 8) => ElementType::I64,
            (ScalarKind::Int, 16) => ElementType::I128,
            (ScalarKind::Float, 2) => ElementType::F16,
            (ScalarKind::Float, 4) => ElementType::F32,
            (ScalarKind::Float, 8) => ElementType::F64,
            (ScalarKind::Complex, 8) => ElementType::Complex64,
            (ScalarKind::Complex, 16) => ElementType::Complex128,
            _ => return None,
        })
    }

    /// Returns the text of the type as a Python literal, which is `Display`'s, in quotes if it is a word: `'<f8'`. That is
    /// what stands for it in the header of an `.npy` file.
    pub fn descr(&self) -> String {
        match &self.0 {
            Repr::Record(record) => record.text.clone(),
            Repr::Scalar(_) => format!("'{self}'"),
            Repr::Array(_) => self.to_string(),
        }
    }

    /// Returns whether numpy knows the type. It does not know the 128-bit integers of Rust.
    pub fn is_known_to_numpy(&self) -> bool {
        match self.kind() {
            DTypeKind::Int | DTypeKind::UInt => self.itemsize() <= 8,
            DTypeKind::Record(fields) => fields.iter().all(|field| field.dtype.is_known_to_numpy()),
            DTypeKind::Array(base, _) => base.is_known_to_numpy(),
            _ => true,
        }
    }

    /// Returns whether the fields of every record lie one behind the other, so that the type is written without a `dict`:
    /// an `.npy` file has no other types.
    pub fn is_sequential(&self) -> bool {
        match &self.0 {
            Repr::Scalar(_) => true,
            Repr::Record(record) => {
                record.text.starts_with('[') && record.fields.iter().all(|field| field.dtype.is_sequential())
            }
            Repr::Array(array) => array.base.is_sequential(),
        }
    }

    /// Whether elements of this type, which is stored, can be read as those of a Rust type: it is that type, but for the
    /// fields that the Rust type leaves out, times read as the integers that they are, and text and bytes as arrays.
    pub(crate) fn is_read_as(&self, wanted: &DType) -> bool {
        if self == wanted {
            return true;
        }
        match (self.kind(), wanted.kind()) {
            (DTypeKind::Record(have), DTypeKind::Record(want)) => {
                let found = |want: &DTypeField| {
                    let same = have.iter().find(|have| have.name == want.name);
                    same.is_some_and(|have| have.offset == want.offset && have.dtype.is_read_as(&want.dtype))
                };
                self.itemsize() == wanted.itemsize() && want.iter().all(found)
            }
            (DTypeKind::Datetime(_) | DTypeKind::Timedelta(_), DTypeKind::Int) => {
                wanted.itemsize() == 8 && self.byte_order() == wanted.byte_order()
            }
            (DTypeKind::Bytes | DTypeKind::Void, DTypeKind::Array(base, _)) => {
                *base == ElementType::U8 && self.itemsize() == wanted.itemsize()
            }
            (DTypeKind::Bytes | DTypeKind::Void, DTypeKind::UInt) => self.itemsize() == 1 && wanted.itemsize() == 1,
            (DTypeKind::Unicode, DTypeKind::Array(base, _)) => {
                *base == ElementType::U32
                    && self.byte_order() == ByteOrder::Little
                    && self.itemsize() == wanted.itemsize()
            }
            (DTypeKind::Unicode, DTypeKind::UInt) => {
                *wanted == ElementType::U32 && self.byte_order() == ByteOrder::Little && self.itemsize() == 4
            }
            (DTypeKind::Array(have, _), DTypeKind::Array(want, _)) if have == want => false,
            // Text and bytes bring an axis of their own.
            (DTypeKind::Array(have, a), DTypeKind::Array(want, b)) => match b.strip_prefix(a) {
                Some([]) => have.is_read_as(want),
                Some(rest) => DType::array(want.clone(), rest).is_ok_and(|want| have.is_read_as(&want)),
                None => false,
            },
            _ => false,
        }
    }

    /// Bytes of the text.
    pub(crate) fn text_len(&self) -> usize {
        match &self.0 {
            Repr::Record(record) => record.text.len(),
            _ => self.to_string().len(),
        }
    }

    fn depth(&self) -> usize {
        match &self.0 {
            Repr::Scalar(_) => 0,
            Repr::Record(record) => record.depth,
            Repr::Array(array) => 1 + array.base.depth(),
        }
    }
}

fn check_size(size: u128, what: impl Fn() -> String) -> Result<()> {
    if size == 0 {
        return Err(Error::invalid(format!(
            "{} of 0 bytes cannot be the element of an array: it has 1 or more",
            what()
        )));
    }
    if size > MAX_ITEMSIZE as u128 {
        return Err(Error::TooLarge {
            what: "bytes of an array's element",
            asked: u64::try_from(size).unwrap_or(u64::MAX),
            most: MAX_ITEMSIZE as u64,
            hint: "make its largest part an axis of the array",
        });
    }
    Ok(())
}

pub(crate) fn check_depth(depth: usize) -> Result<()> {
    if depth > MAX_DTYPE_DEPTH {
        return Err(Error::TooLarge {
            what: "records and sub-arrays within each other in an array's element",
            asked: depth as u64,
            most: MAX_DTYPE_DEPTH as u64,
            hint: "flatten the inner ones",
        });
    }
    Ok(())
}

impl From<ElementType> for DType {
    #[inline]
    fn from(element: ElementType) -> DType {
        let kind = match element {
            ElementType::Bool => ScalarKind::Bool,
            ElementType::U8 | ElementType::U16 | ElementType::U32 | ElementType::U64 | ElementType::U128 => {
                ScalarKind::UInt
            }
            ElementType::I8 | ElementType::I16 | ElementType::I32 | ElementType::I64 | ElementType::I128 => {
                ScalarKind::Int
            }
            ElementType::F16 | ElementType::F32 | ElementType::F64 => ScalarKind::Float,
            ElementType::Complex64 | ElementType::Complex128 => ScalarKind::Complex,
        };
        let order = if element.size() == 1 { ByteOrder::NotApplicable } else { ByteOrder::Little };
        DType(Repr::Scalar(Scalar { kind, order, size: element.size() as u32 }))
    }
}

impl PartialEq<ElementType> for DType {
    fn eq(&self, element: &ElementType) -> bool {
        self.element() == Some(*element)
    }
}

impl PartialEq<DType> for ElementType {
    fn eq(&self, dtype: &DType) -> bool {
        dtype == self
    }
}

impl ScalarKind {
    fn name(self) -> &'static str {
        match self {
            ScalarKind::Bool => "bool",
            ScalarKind::Int | ScalarKind::UInt => "integer",
            ScalarKind::Float => "float",
            ScalarKind::Complex => "complex number",
            ScalarKind::Datetime(_) => "datetime64",
            ScalarKind::Timedelta(_) => "timedelta64",
            ScalarKind::Bytes => "bytes",
            ScalarKind::Unicode => "text",
            ScalarKind::Void => "raw bytes",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scalar { kind, order, size } = match &self.0 {
            Repr::Scalar(scalar) => *scalar,
            Repr::Record(record) => return f.write_str(&record.text),
            Repr::Array(array) => return write!(f, "({}, {})", array.base.descr(), tuple(&array.shape)),
        };
        f.write_char(match order {
            ByteOrder::Little => '<',
            ByteOrder::Big => '>',
            ByteOrder::NotApplicable => '|',
        })?;
        let letter = match kind {
            ScalarKind::Bool => 'b',
            ScalarKind::Int => 'i',
            ScalarKind::UInt => 'u',
            ScalarKind::Float => 'f',
            ScalarKind::Complex => 'c',
            ScalarKind::Bytes => 'S',
            ScalarKind::Void => 'V',
            ScalarKind::Unicode => return write!(f, "U{}", size / 4),
            ScalarKind::Datetime(step) => return write!(f, "M8{step}"),
            ScalarKind::Timedelta(step) => return write!(f, "m8{step}"),
        };
        write!(f, "{letter}{size}")
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DType({})", self.descr())
    }
}

/// A shape as Python writes it.
pub(crate) fn tuple(shape: &[usize]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => format!("({})", joined(shape.iter(), |n| n.to_string())),
    }
}

fn joined<T>(items: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> String {
    items.map(text).collect::<Vec<_>>().join(", ")
}

fn record_text(size: usize, fields: &[DTypeField]) -> String {
    let mut end = 0;
    let in_order = fields.iter().all(|field| {
        let fits = field.offset >= end;
        end = field.offset + field.dtype.itemsize();
        fits
    });
    if !in_order {
        return format!(
            "{{'names': [{}], 'formats': [{}], 'offsets': [{}], 'itemsize': {size}}}",
            joined(fields.iter(), |field| quoted(&field.name)),
            joined(fields.iter(), |field| field.dtype.descr()),
            joined(fields.iter(), |field| field.offset.to_string()),
        );
    }
    let mut items = vec![];
    let mut end = 0;
    let padding = |from: usize, to: usize| (to > from).then(|| format!("('', '|V{}')", to - from));
    for field in fields {
        items.extend(padding(end, field.offset));
        let name = quoted(&field.name);
        items.push(match &field.dtype.0 {
            Repr::Array(array) => format!("({name}, {}, {})", array.base.descr(), tuple(&array.shape)),
            _ => format!("({name}, {})", field.dtype.descr()),
        });
        end = field.offset + field.dtype.itemsize();
    }
    items.extend(padding(end, size));
    format!("[{}]", items.join(", "))
}

/// Text as a Python literal.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\x{:02x}", c as u32).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
