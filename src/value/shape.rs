//! The shapes of Arrow's types: which buffers an array of a type has, of which widths, and which children.
//!
//! Arrow has more than forty types, and thirteen ways to store their values. Everything that walks arrays walks
//! the thirteen: the writer (`plan.rs`), the reader (`batch.rs`), drafts (`draft.rs`), and the checks of schemas
//! and values. Buffers are listed in the order in which they are stored, behind the validity.
//!
//! | shape | types | buffers | children |
//! |---|---|---|---|
//! | `Null` | null | none, and no validity | none |
//! | `Bits` | boolean | a bit for each entry | none |
//! | `Fixed` | numbers, dates, times, decimals, intervals, fixed-size binary | a value of one width for each entry | none |
//! | `Text` | strings, binary values | offsets, bytes | none |
//! | `Views` | string views, binary views | views of 16 bytes, then any number that they look into | none |
//! | `List` | lists, maps | offsets | one, of any length that the offsets allow |
//! | `ListView` | list views | offsets, sizes | one, of any length that they allow |
//! | `FixedList` | fixed-size lists | none | one, `size` times as long |
//! | `Struct` | structs | none | each as long |
//! | `Union`, sparse | sparse unions | type ids, and no validity | each as long |
//! | `Union`, dense | dense unions | type ids, offsets, and no validity | of any length that the offsets allow |
//! | `Runs` | run-end encoded | none, and no validity | run ends, and values as many as runs |
//! | `Dictionary` | dictionaries | keys | the values |

use arrow_schema::{DataType, Fields, IntervalUnit, UnionFields, UnionMode};

use crate::value::element::ElementType;

/// Values that have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// Bytes of one value.
    pub width: u64,
    /// What the address of a buffer of such values must be a multiple of, for arrow.
    pub align: u64,
    /// The numbers that the values are as an `ndarray` view: dates, times and decimals are shown as the integers
    /// that they are stored as.
    pub element: Option<ElementType>,
}

impl Fixed {
    const fn number(element: ElementType) -> Fixed {
        let width = element.size() as u64;
        Fixed { width, align: width, element: Some(element) }
    }

    /// Values that no Rust number stands for.
    const fn opaque(width: u64, align: u64) -> Fixed {
        Fixed { width, align, element: None }
    }

    /// `None`: values of this type have no size of their own, or one that makes no sense.
    #[inline]
    pub(crate) fn of(t: &DataType) -> Option<Fixed> {
        Some(match t {
            DataType::Int8 => Fixed::number(ElementType::I8),
            DataType::Int16 => Fixed::number(ElementType::I16),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => {
                Fixed::number(ElementType::I32)
            }
            DataType::Int64 | DataType::Date64 | DataType::Time64(_) | DataType::Decimal64(..) => {
                Fixed::number(ElementType::I64)
            }
            DataType::Timestamp(..) | DataType::Duration(_) => Fixed::number(ElementType::I64),
            DataType::UInt8 => Fixed::number(ElementType::U8),
            DataType::UInt16 => Fixed::number(ElementType::U16),
            DataType::UInt32 => Fixed::number(ElementType::U32),
            DataType::UInt64 => Fixed::number(ElementType::U64),
            DataType::Float16 => Fixed::number(ElementType::F16),
            DataType::Float32 => Fixed::number(ElementType::F32),
            DataType::Float64 => Fixed::number(ElementType::F64),
            DataType::Decimal128(..) => Fixed::number(ElementType::I128),
            DataType::Decimal256(..) => Fixed::opaque(32, 16),
            DataType::Interval(IntervalUnit::YearMonth) => Fixed::number(ElementType::I32),
            // Structs of narrower integers.
            DataType::Interval(IntervalUnit::DayTime) => Fixed::opaque(8, 4),
            DataType::Interval(IntervalUnit::MonthDayNano) => Fixed::opaque(16, 8),
            DataType::FixedSizeBinary(n) => Fixed::opaque(u64::try_from(*n).ok()?, 1),
            _ => return None,
        })
    }
}

/// The integers that offsets (and the sizes of list views) are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offsets {
    I32,
    I64,
}

impl Offsets {
    /// Bytes of one offset.
    pub(crate) const fn width(self) -> usize {
        match self {
            Offsets::I32 => 4,
            Offsets::I64 => 8,
        }
    }
}

/// What the bytes between offsets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Utf8,
    Binary,
}

/// How arrays of one type are stored: see the table above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape<'t> {
    Null,
    Bits,
    Fixed(Fixed),
    Text { offsets: Offsets, text: Text },
    Views,
    List { offsets: Offsets, child: &'t DataType },
    ListView { offsets: Offsets, child: &'t DataType },
    FixedList { size: u64, child: &'t DataType },
    Struct(&'t Fields),
    Union { fields: &'t UnionFields, mode: UnionMode },
    Runs { ends: &'t DataType, width: u64, values: &'t DataType },
    Dictionary { keys: Fixed, values: &'t DataType },
}

impl<'t> Shape<'t> {
    /// `None`: the type's parameters make no sense.
    pub(crate) fn of(t: &'t DataType) -> Option<Shape<'t>> {
        let text = |offsets, text| Shape::Text { offsets, text };
        Some(match t {
            DataType::Null => Shape::Null,
            DataType::Boolean => Shape::Bits,
            DataType::Utf8 => text(Offsets::I32, Text::Utf8),
            DataType::LargeUtf8 => text(Offsets::I64, Text::Utf8),
            DataType::Binary => text(Offsets::I32, Text::Binary),
            DataType::LargeBinary => text(Offsets::I64, Text::Binary),
            DataType::Utf8View | DataType::BinaryView => Shape::Views,
            DataType::List(field) | DataType::Map(field, _) => {
                Shape::List { offsets: Offsets::I32, child: field.data_type() }
            }
            DataType::LargeList(field) => Shape::List { offsets: Offsets::I64, child: field.data_type() },
            DataType::ListView(field) => Shape::ListView { offsets: Offsets::I32, child: field.data_type() },
            DataType::LargeListView(field) => Shape::ListView { offsets: Offsets::I64, child: field.data_type() },
            DataType::FixedSizeList(field, size) => {
                Shape::FixedList { size: u64::try_from(*size).ok()?, child: field.data_type() }
            }
            DataType::Struct(fields) => Shape::Struct(fields),
            DataType::Union(fields, mode) => Shape::Union { fields, mode: *mode },
            DataType::RunEndEncoded(ends, values) => {
                let ends = ends.data_type();
                let signed = matches!(ends, DataType::Int16 | DataType::Int32 | DataType::Int64);
                let width = Fixed::of(ends).filter(|_| signed)?.width;
                Shape::Runs { ends, width, values: values.data_type() }
            }
            DataType::Dictionary(keys, values) => {
                Shape::Dictionary { keys: Fixed::of(keys).filter(|_| keys.is_dictionary_key_type())?, values }
            }
            t => Shape::Fixed(Fixed::of(t)?),
        })
    }

    /// Whether an array has a validity among its buffers (possibly empty).
    #[inline]
    pub(crate) fn has_validity(&self) -> bool {
        !matches!(self, Shape::Null | Shape::Union { .. } | Shape::Runs { .. })
    }

    /// The types of the children, in the order in which they are stored.
    pub(crate) fn children(&self) -> impl Iterator<Item = &'t DataType> {
        let (first, second, fields, members) = match *self {
            Shape::Null | Shape::Bits | Shape::Fixed(_) | Shape::Text { .. } | Shape::Views => (None, None, None, None),
            Shape::List { child, .. } | Shape::ListView { child, .. } | Shape::FixedList { child, .. } => {
                (Some(child), None, None, None)
            }
            Shape::Struct(fields) => (None, None, Some(fields), None),
            Shape::Union { fields, .. } => (None, None, None, Some(fields)),
            Shape::Runs { ends, values, .. } => (Some(ends), Some(values), None, None),
            Shape::Dictionary { values, .. } => (Some(values), None, None, None),
        };
        let fields = fields.into_iter().flatten().map(|field| field.data_type());
        let members = members.into_iter().flat_map(|fields| fields.iter()).map(|(_, field)| field.data_type());
        first.into_iter().chain(second).chain(fields).chain(members)
    }

    /// Whether values say where others lie, or are text: what has to be checked before arrow follows them.
    pub(crate) fn is_variable(&self) -> bool {
        match self {
            Shape::Null | Shape::Bits | Shape::Fixed(_) => false,
            Shape::FixedList { .. } | Shape::Struct(_) => {
                self.children().any(|child| Shape::of(child).is_none_or(|shape| shape.is_variable()))
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_data::{BufferSpec, DataTypeLayout, layout};
    use arrow_schema::{Field, TimeUnit};

    use super::*;

    fn field(t: DataType) -> Arc<Field> {
        Arc::new(Field::new("f", t, true))
    }

    /// Every type of Arrow, those with parameters in more than one form.
    fn types() -> Vec<DataType> {
        use DataType::*;
        let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
        let mut types = vec![Null, Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64];
        types.extend([Float16, Float32, Float64, Date32, Date64, Time32(units[0]), Time64(units[3])]);
        types.extend(units.map(|unit| Timestamp(unit, Some("UTC".into()))));
        types.extend(units.map(Duration));
        types.extend([IntervalUnit::YearMonth, IntervalUnit::DayTime, IntervalUnit::MonthDayNano].map(Interval));
        types.extend([Decimal32(9, 2), Decimal64(18, 2), Decimal128(38, 2), Decimal256(76, 2)]);
        types.extend([FixedSizeBinary(0), FixedSizeBinary(7)]);
        types.extend([Binary, LargeBinary, BinaryView, Utf8, LargeUtf8, Utf8View]);
        let pair = Fields::from(vec![field(Utf8), field(Int32)]);
        types.extend([List(field(Int8)), LargeList(field(Int8)), ListView(field(Int8)), LargeListView(field(Utf8))]);
        types.extend([FixedSizeList(field(Utf8), 3), Struct(pair.clone()), Map(field(Struct(pair)), false)]);
        let members = UnionFields::from_fields([field(Int64), field(Utf8)]);
        types.extend([UnionMode::Sparse, UnionMode::Dense].map(|mode| Union(members.clone(), mode)));
        types.extend([Int16, Int32, Int64].map(|ends| RunEndEncoded(field(ends), field(Utf8))));
        types.extend([Int8, UInt64].map(|keys| Dictionary(Box::new(keys), Box::new(Utf8))));
        types
    }

    /// The buffers of a shape are those that arrow says of its types.
    #[test]
    fn shapes_are_what_arrow_says() {
        for t in types() {
            let shape = Shape::of(&t).unwrap_or_else(|| panic!("{t} has no shape"));
            let DataTypeLayout { buffers, can_contain_null_mask, variadic } = layout(&t);
            assert_eq!(shape.has_validity(), can_contain_null_mask, "{t}");
            assert_eq!(matches!(shape, Shape::Views), variadic, "{t}");
            let fixed = |width: usize, align: usize| BufferSpec::FixedWidth { byte_width: width, alignment: align };
            let offsets = |offsets: Offsets| fixed(offsets.width(), offsets.width());
            let expected = match shape {
                Shape::Bits => vec![BufferSpec::BitMap],
                Shape::Fixed(f) => vec![fixed(f.width as usize, f.align as usize)],
                Shape::Text { offsets: o, .. } => vec![offsets(o), BufferSpec::VariableWidth],
                Shape::Views => vec![fixed(16, 16)],
                Shape::List { offsets: o, .. } => vec![offsets(o)],
                Shape::ListView { offsets: o, .. } => vec![offsets(o), offsets(o)],
                Shape::Union { mode: UnionMode::Sparse, .. } => vec![fixed(1, 1)],
                Shape::Union { mode: UnionMode::Dense, .. } => vec![fixed(1, 1), fixed(4, 4)],
                Shape::Dictionary { keys, .. } => vec![fixed(keys.width as usize, keys.align as usize)],
                Shape::Null | Shape::FixedList { .. } | Shape::Struct(_) | Shape::Runs { .. } => vec![],
            };
            assert_eq!(buffers, expected, "{t}");
        }
    }

    #[test]
    fn children_are_those_of_the_type() {
        for t in types() {
            let children: Vec<&DataType> = Shape::of(&t).unwrap().children().collect();
            let expected: Vec<DataType> = match &t {
                DataType::Dictionary(_, values) => vec![(**values).clone()],
                t => arrow_data::ArrayData::new_empty(t).child_data().iter().map(|c| c.data_type().clone()).collect(),
            };
            assert!(children.into_iter().eq(&expected), "{t}");
        }
    }

    #[test]
    fn what_says_where_others_lie_is_variable() {
        let variable = |t: DataType| Shape::of(&t).unwrap().is_variable();
        let lists = |t: DataType| DataType::FixedSizeList(field(t), 2);
        assert!(!variable(DataType::Float64) && !variable(DataType::Boolean) && !variable(DataType::Null));
        assert!(!variable(lists(lists(DataType::FixedSizeBinary(3)))));
        assert!(variable(lists(DataType::Struct(vec![field(DataType::Int8), field(DataType::Utf8)].into()))));
        assert!(
            variable(DataType::Utf8View)
                && variable(DataType::Dictionary(DataType::Int8.into(), DataType::Int8.into()))
        );
    }

    #[test]
    fn parameters_that_make_no_sense_have_no_shape() {
        for t in [
            DataType::FixedSizeBinary(-1),
            DataType::FixedSizeList(field(DataType::Int8), -1),
            DataType::Dictionary(Box::new(DataType::Utf8), Box::new(DataType::Utf8)),
            DataType::Dictionary(Box::new(DataType::Decimal32(9, 2)), Box::new(DataType::Utf8)),
            DataType::RunEndEncoded(field(DataType::UInt32), field(DataType::Utf8)),
        ] {
            assert_eq!(Shape::of(&t), None, "{t}");
        }
    }
}
