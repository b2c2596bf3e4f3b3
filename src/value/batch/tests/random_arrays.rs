//! Random arrays of every type and nesting, made of a seed, whose children are slices themselves.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BinaryViewBuilder, FixedSizeBinaryBuilder, LargeBinaryBuilder, LargeStringBuilder, StringBuilder,
    StringViewBuilder,
};
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, RunEndIndexType, UInt16Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, GenericListArray, GenericListViewArray,
    MapArray, NullArray, OffsetSizeTrait, PrimitiveArray, RecordBatch, RecordBatchOptions, RunArray, StructArray,
    UnionArray, downcast_primitive,
};
use arrow_buffer::{ArrowNativeType, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode};

/// A seed: the one of the variable `FARETRA_SEED`, to repeat a failure, or `usual`. Printed, so that a failure shows it.
pub fn seed(usual: u64) -> u64 {
    let seed = std::env::var("FARETRA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual);
    eprintln!("FARETRA_SEED={seed}");
    seed
}

/// The values of a batch as text, row by row: arrow's own comparison of arrays is no judge of what it shares with us.
pub fn shown(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let column = |array: &ArrayRef| {
        let texts = ArrayFormatter::try_new(array.as_ref(), &options).expect("a type that can be shown");
        (0..array.len()).map(|row| texts.value(row).to_string()).collect()
    };
    batch.columns().iter().map(column).collect()
}

/// Makes arrays.
pub struct Arrays(pub u64);

/// Whether an array may have nulls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Some,
    None,
}

impl Arrays {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// A batch of so many columns of random types.
    pub fn batch(&mut self, columns: usize, rows: usize) -> RecordBatch {
        let types: Vec<DataType> = (0..columns).map(|_| self.data_type(3)).collect();
        self.batch_of(&types, rows)
    }

    /// A batch of columns of these types.
    pub fn batch_of(&mut self, types: &[DataType], rows: usize) -> RecordBatch {
        let arrays: Vec<ArrayRef> = types.iter().map(|t| self.array(t, rows)).collect();
        let field = |(i, t): (usize, &DataType)| Field::new(format!("c{i}"), t.clone(), true);
        let schema = Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options).expect("valid")
    }

    /// A type with at most so many types inside each other below it.
    pub fn data_type(&mut self, depth: u32) -> DataType {
        if depth == 0 || self.below(5) == 0 {
            return self.leaf();
        }
        match self.below(11) {
            0 => DataType::List(self.item(depth)),
            1 => DataType::LargeList(self.item(depth)),
            2 => DataType::ListView(self.item(depth)),
            3 => DataType::LargeListView(self.item(depth)),
            4 => DataType::FixedSizeList(self.item(depth), 1 + self.below(4) as i32),
            5 | 6 => DataType::Struct((0..=self.below(3)).map(|i| self.field(&format!("f{i}"), depth)).collect()),
            7 => {
                let key = self.one_of(&[DataType::Boolean, DataType::Utf8, DataType::Int16]);
                let entries = vec![Arc::new(Field::new("keys", key, false)), self.field("values", depth)];
                let entries = Field::new("entries", DataType::Struct(entries.into()), false);
                DataType::Map(Arc::new(entries), false)
            }
            8 => {
                let fields = vec![self.field("a", depth), self.field("b", depth)];
                let mode = self.one_of(&[UnionMode::Sparse, UnionMode::Dense]);
                DataType::Union(UnionFields::try_new([3, 1], fields).expect("valid"), mode)
            }
            9 => {
                let keys = self.one_of(&[DataType::Int8, DataType::UInt16, DataType::Int64]);
                DataType::Dictionary(Box::new(keys), Box::new(self.values(depth)))
            }
            _ => {
                let ends = self.one_of(&[DataType::Int16, DataType::Int32, DataType::Int64]);
                let values = Field::new("values", self.values(depth), true);
                DataType::RunEndEncoded(Arc::new(Field::new("run_ends", ends, false)), Arc::new(values))
            }
        }
    }

    fn item(&mut self, depth: u32) -> FieldRef {
        self.field("item", depth)
    }

    fn field(&mut self, name: &str, depth: u32) -> FieldRef {
        Arc::new(Field::new(name, self.data_type(depth - 1), true))
    }

    /// A type that a dictionary or runs can be of: the format has no dictionaries of dictionaries.
    fn values(&mut self, depth: u32) -> DataType {
        loop {
            let t = self.data_type(depth - 1);
            if !matches!(t, DataType::Dictionary(..) | DataType::RunEndEncoded(..) | DataType::Union(..)) {
                return t;
            }
        }
    }

    fn leaf(&mut self) -> DataType {
        // Bits are what a slice moves within bytes.
        if self.below(4) == 0 {
            return DataType::Boolean;
        }
        self.one_of(&[
            DataType::Null,
            DataType::Int8,
            DataType::UInt16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+02:00".into())),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Decimal128(30, 4),
            DataType::Decimal256(60, 2),
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Binary,
            DataType::LargeBinary,
            DataType::Utf8View,
            DataType::Utf8View,
            DataType::BinaryView,
            DataType::FixedSizeBinary(3),
        ])
    }

    /// An array of a type: a slice of a longer one, most times.
    pub fn array(&mut self, t: &DataType, len: usize) -> ArrayRef {
        self.sliced(t, len, Nulls::Some)
    }

    fn sliced(&mut self, t: &DataType, len: usize, nulls: Nulls) -> ArrayRef {
        let (front, back) = if self.below(4) == 0 { (0, 0) } else { (self.below(12), self.below(12)) };
        self.whole(t, front + len + back, nulls).slice(front, len)
    }

    /// Validity that begins inside a byte.
    fn nulls(&mut self, len: usize, nulls: Nulls) -> Option<NullBuffer> {
        if nulls == Nulls::None || self.below(3) == 0 {
            return None;
        }
        let front = self.below(12);
        let bits: NullBuffer = (0..front + len).map(|_| self.below(4) != 0).collect();
        Some(bits.slice(front, len))
    }

    /// Bytes, as often as not about as many as a view can have in itself; zeros would name a buffer if they were none.
    fn text(&mut self) -> String {
        let len = self.one_of(&[0, 1, 5, 11, 12, 13, 12, 13, 20, 40]);
        if self.below(4) == 0 {
            return "\0".repeat(len);
        }
        (0..len).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }

    fn texts(&mut self, len: usize, nulls: Nulls) -> Vec<Option<String>> {
        let valid = self.nulls(len, nulls);
        (0..len).map(|i| valid.as_ref().is_none_or(|v| v.is_valid(i)).then(|| self.text())).collect()
    }

    fn primitive<T: ArrowPrimitiveType>(&mut self, t: &DataType, len: usize, nulls: Nulls) -> ArrayRef {
        let value = |_| T::Native::from_usize(self.below(100)).unwrap_or_default();
        let values: ScalarBuffer<T::Native> = (0..len).map(value).collect();
        Arc::new(PrimitiveArray::<T>::new(values, self.nulls(len, nulls)).with_data_type(t.clone()))
    }

    fn whole(&mut self, t: &DataType, len: usize, nulls: Nulls) -> ArrayRef {
        macro_rules! primitive {
            ($t:ty, $self:ident, $type:ident) => {
                $self.primitive::<$t>($type, len, nulls)
            };
        }
        macro_rules! text {
            ($builder:expr) => {{
                let mut builder = $builder;
                self.texts(len, nulls).iter().for_each(|text| builder.append_option(text.as_deref()));
                Arc::new(builder.finish())
            }};
        }
        let block = 64 << (2 * self.below(3));
        downcast_primitive! {
            t => (primitive, self, t),
            DataType::Null => Arc::new(NullArray::new(len)),
            DataType::Boolean => {
                let bits = (0..len).map(|_| self.below(2) == 0).collect();
                Arc::new(BooleanArray::new(bits, self.nulls(len, nulls)))
            },
            DataType::Utf8 => text!(StringBuilder::new()),
            DataType::LargeUtf8 => text!(LargeStringBuilder::new()),
            DataType::Binary => text!(BinaryBuilder::new()),
            DataType::LargeBinary => text!(LargeBinaryBuilder::new()),
            DataType::Utf8View => text!(StringViewBuilder::new().with_fixed_block_size(block)),
            DataType::BinaryView => text!(BinaryViewBuilder::new().with_fixed_block_size(block)),
            DataType::FixedSizeBinary(width) => {
                let mut builder = FixedSizeBinaryBuilder::new(*width);
                for text in self.texts(len, nulls) {
                    match text {
                        Some(_) => builder.append_value(vec![self.next() as u8; *width as usize]).expect("valid"),
                        None => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            },
            DataType::List(field) => self.list::<i32>(field, len, nulls),
            DataType::LargeList(field) => self.list::<i64>(field, len, nulls),
            DataType::ListView(field) => self.list_view::<i32>(field, len, nulls),
            DataType::LargeListView(field) => self.list_view::<i64>(field, len, nulls),
            DataType::FixedSizeList(field, size) => {
                let values = self.sliced(field.data_type(), len * *size as usize, Nulls::Some);
                Arc::new(FixedSizeListArray::new(field.clone(), *size, values, self.nulls(len, nulls)))
            },
            DataType::Struct(fields) => Arc::new(self.structs(fields, len, nulls)),
            DataType::Map(field, sorted) => {
                let DataType::Struct(fields) = field.data_type() else { unreachable!("a map has entries") };
                let (offsets, end) = self.offsets::<i32>(len);
                let front = self.below(9);
                let entries = self.structs(fields, front + end, Nulls::None).slice(front, end);
                Arc::new(MapArray::new(field.clone(), offsets, entries, self.nulls(len, nulls), *sorted))
            },
            DataType::Union(fields, mode) => self.union(fields, *mode, len),
            DataType::Dictionary(keys, values) => match **keys {
                DataType::Int8 => self.dictionary::<Int8Type>(values, len, nulls),
                DataType::UInt16 => self.dictionary::<UInt16Type>(values, len, nulls),
                _ => self.dictionary::<Int64Type>(values, len, nulls),
            },
            DataType::RunEndEncoded(ends, values) => match ends.data_type() {
                DataType::Int16 => self.runs::<Int16Type>(values, len),
                DataType::Int32 => self.runs::<Int32Type>(values, len),
                _ => self.runs::<Int64Type>(values, len),
            },
            other => unreachable!("{other} is not made")
        }
    }

    /// Offsets of so many lists, which need not begin at 0, and how many entries a child must have.
    fn offsets<O: OffsetSizeTrait>(&mut self, len: usize) -> (OffsetBuffer<O>, usize) {
        let mut end = self.below(4);
        let mut all = vec![O::usize_as(end)];
        for _ in 0..len {
            end += self.below(4);
            all.push(O::usize_as(end));
        }
        (OffsetBuffer::new(all.into()), end + self.below(3))
    }

    fn list<O: OffsetSizeTrait>(&mut self, field: &FieldRef, len: usize, nulls: Nulls) -> ArrayRef {
        let (offsets, end) = self.offsets::<O>(len);
        let values = self.sliced(field.data_type(), end, Nulls::Some);
        Arc::new(GenericListArray::<O>::new(field.clone(), offsets, values, self.nulls(len, nulls)))
    }

    /// Lists in any order, that overlap; empty ones begin anywhere.
    fn list_view<O: OffsetSizeTrait>(&mut self, field: &FieldRef, len: usize, nulls: Nulls) -> ArrayRef {
        let entries = self.below(2 * len + 3);
        let values = self.sliced(field.data_type(), entries, Nulls::Some);
        let offsets: Vec<usize> = (0..len).map(|_| self.below(entries + 1)).collect();
        let sizes: Vec<O> = offsets.iter().map(|at| O::usize_as(self.below((entries - at).min(3) + 1))).collect();
        let offsets: Vec<O> = offsets.into_iter().map(O::usize_as).collect();
        let nulls = self.nulls(len, nulls);
        Arc::new(GenericListViewArray::<O>::new(field.clone(), offsets.into(), sizes.into(), values, nulls))
    }

    fn structs(&mut self, fields: &Fields, len: usize, nulls: Nulls) -> StructArray {
        let may = |field: &FieldRef| if field.is_nullable() { Nulls::Some } else { Nulls::None };
        let children = fields.iter().map(|f| self.sliced(f.data_type(), len, may(f))).collect();
        StructArray::new(fields.clone(), children, self.nulls(len, nulls))
    }

    fn union(&mut self, fields: &UnionFields, mode: UnionMode, len: usize) -> ArrayRef {
        let codes: Vec<i8> = fields.iter().map(|(code, _)| code).collect();
        let entries = if mode == UnionMode::Sparse { len } else { 1 + self.below(2 * len + 1) };
        let children = fields.iter().map(|(_, f)| self.sliced(f.data_type(), entries, Nulls::Some)).collect();
        let ids: ScalarBuffer<i8> = (0..len).map(|_| self.one_of(&codes)).collect();
        let offsets = (mode == UnionMode::Dense).then(|| (0..len).map(|_| self.below(entries) as i32).collect());
        Arc::new(UnionArray::try_new(fields.clone(), ids, offsets, children).expect("valid"))
    }

    fn dictionary<K: ArrowDictionaryKeyType>(&mut self, values: &DataType, len: usize, nulls: Nulls) -> ArrayRef {
        let entries = 1 + self.below(9);
        let values = self.sliced(values, entries, Nulls::Some);
        let keys: ScalarBuffer<K::Native> = (0..len).map(|_| K::Native::usize_as(self.below(entries))).collect();
        Arc::new(DictionaryArray::<K>::new(PrimitiveArray::new(keys, self.nulls(len, nulls)), values))
    }

    fn runs<R: RunEndIndexType>(&mut self, values: &FieldRef, len: usize) -> ArrayRef {
        let mut ends = vec![];
        let mut end = 0;
        while end < len {
            end = (end + 1 + self.below(5)).min(len);
            ends.push(R::Native::usize_as(end));
        }
        // The last run may be longer than the array.
        let values = self.sliced(values.data_type(), ends.len(), Nulls::Some);
        let ends = PrimitiveArray::<R>::new(ends.into(), None);
        Arc::new(RunArray::try_new(&ends, values.as_ref()).expect("valid"))
    }
}
