//! One array of every type of the format, as the tests store and read them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BinaryViewBuilder, FixedSizeBinaryBuilder, Int32Builder, LargeBinaryBuilder, ListBuilder,
    MapBuilder, StringBuilder, StringDictionaryBuilder, StringViewBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowNativeTypeOp, BooleanArray, DictionaryArray, FixedSizeListArray, Float64Array,
    GenericListViewArray, Int16Array, Int64Array, LargeListArray, LargeStringArray, ListArray, NullArray,
    OffsetSizeTrait, PrimitiveArray, RecordBatch, RecordBatchOptions, RunArray, StringArray, StructArray, UInt8Array,
    UnionArray,
};
use arrow_buffer::{Buffer, IntervalDayTime, IntervalMonthDayNano, NullBuffer, OffsetBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields, Schema, UnionFields};

pub fn nullable<T: ArrowPrimitiveType>(n: usize, value: impl Fn(usize) -> T::Native) -> PrimitiveArray<T> {
    (0..n).map(|i| (i % 3 != 1).then(|| value(i))).collect()
}

pub fn texts(n: usize) -> Vec<Option<String>> {
    (0..n).map(|i| (i % 4 != 2).then(|| "héllo ".repeat(i % 5) + &i.to_string())).collect()
}

fn offsets(n: usize) -> (Vec<i32>, usize) {
    let mut all = vec![0];
    for i in 0..n {
        all.push(all[i] + (i % 4) as i32);
    }
    let last = all[n] as usize;
    (all, last)
}

fn nulls(n: usize) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter((0..n).map(|i| i % 5 != 3)))
}

fn list_view<O: OffsetSizeTrait>(n: usize) -> ArrayRef {
    let values: ArrayRef = Arc::new(nullable::<Int32Type>(2 * n + 3, |i| i as i32));
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    // Out of order and overlapping, with empty lists that point anywhere.
    let sizes: Vec<O> = (0..n).map(|i| O::usize_as(i % 4)).collect();
    let offsets: Vec<O> = (0..n).map(|i| O::usize_as(2 * (n - 1 - i))).collect();
    Arc::new(GenericListViewArray::<O>::try_new(field, offsets.into(), sizes.into(), values, nulls(n)).expect("valid"))
}

pub fn strings_dictionary(n: usize) -> DictionaryArray<Int32Type> {
    let mut b = StringDictionaryBuilder::<Int32Type>::new();
    for i in 0..n {
        match i % 7 {
            3 => b.append_null(),
            k => b.append_value(format!("value {k}")),
        }
    }
    b.finish()
}

fn union(n: usize, dense: bool) -> ArrayRef {
    let fields = UnionFields::try_new(
        [2, 5],
        [Field::new("number", DataType::Int64, true), Field::new("text", DataType::Utf8, true)],
    )
    .expect("valid");
    let ids: Vec<i8> = (0..n).map(|i| if i % 3 == 0 { 5 } else { 2 }).collect();
    let mut count = [0, 0];
    let offsets: Vec<i32> = ids
        .iter()
        .map(|&id| {
            let k = usize::from(id == 5);
            count[k] += 1;
            count[k] - 1
        })
        .collect();
    let children: Vec<ArrayRef> =
        vec![Arc::new(nullable::<Int64Type>(n, |i| i as i64)), Arc::new(texts(n).into_iter().collect::<StringArray>())];
    let children = if dense {
        vec![children[0].slice(0, count[0] as usize), children[1].slice(0, count[1] as usize)]
    } else {
        children
    };
    Arc::new(UnionArray::try_new(fields, ids.into(), dense.then(|| offsets.into()), children).expect("valid"))
}

fn views(n: usize, block: u32) -> ArrayRef {
    let mut b = StringViewBuilder::new().with_fixed_block_size(block);
    for i in 0..n {
        match i % 4 {
            0 => b.append_null(),
            1 => b.append_value("short"),
            _ => b.append_value(format!("a string of more than twelve bytes, number {i}")),
        }
    }
    Arc::new(b.finish())
}

/// All the types of the format that arrow-rs has, `n` rows each.
pub fn every_type(n: usize) -> Vec<(&'static str, ArrayRef)> {
    let (list_offsets, values) = offsets(n);
    let list_offsets = OffsetBuffer::new(list_offsets.into());
    let item = |t: &DataType| Arc::new(Field::new("item", t.clone(), true));
    let wide: ArrayRef = Arc::new(nullable::<Int64Type>(values, |i| i as i64 * 3));
    let dict = strings_dictionary(values);
    let large_offsets = OffsetBuffer::new(list_offsets.iter().map(|&o| i64::from(o)).collect::<Vec<_>>().into());
    let mut binary = BinaryBuilder::new();
    let mut large_binary = LargeBinaryBuilder::new();
    let mut fixed = FixedSizeBinaryBuilder::new(5);
    let mut binary_view = BinaryViewBuilder::new();
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    let mut nested = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for i in 0..n {
        if i % 5 == 1 {
            binary.append_null();
            large_binary.append_null();
            fixed.append_null();
            binary_view.append_null();
            map.append(false).expect("valid");
            nested.append_null();
            continue;
        }
        binary.append_value(vec![i as u8; i % 9]);
        large_binary.append_value(vec![i as u8; i % 9]);
        fixed.append_value([i as u8; 5]).expect("valid");
        binary_view.append_value(vec![i as u8; i % 30]);
        for k in 0..i % 3 {
            map.keys().append_value(format!("key {k}"));
            map.values().append_option((k % 2 == 0).then_some(i as i32));
            nested.values().values().append_value("x".repeat(k));
            nested.values().append(k % 2 == 0);
        }
        map.append(true).expect("valid");
        nested.append(true);
    }
    let inner = StructArray::new(
        Fields::from(vec![Field::new("d", dict.data_type().clone(), true)]),
        vec![Arc::new(dict.clone())],
        None,
    );
    let keys = nullable::<Int16Type>(n, |i| (i % values.max(1)) as i16);
    let keys = if values == 0 { Int16Array::new_null(n) } else { keys };
    let ends = |step: usize| (1..=n.div_ceil(step)).map(|i| (i * step).min(n)).collect::<Vec<_>>();
    let pair = Fields::from(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Boolean, true)]);
    let bools: BooleanArray = (0..n).map(|i| (i % 6 != 2).then_some(i % 2 == 0)).collect();
    vec![
        ("i8", Arc::new(nullable::<Int8Type>(n, |i| i as i8))),
        ("i16", Arc::new(nullable::<Int16Type>(n, |i| i as i16))),
        ("i32", Arc::new(nullable::<Int32Type>(n, |i| i as i32))),
        ("i64", Arc::new(nullable::<Int64Type>(n, |i| i as i64))),
        ("u8", Arc::new(nullable::<UInt8Type>(n, |i| i as u8))),
        ("u16", Arc::new(nullable::<UInt16Type>(n, |i| i as u16))),
        ("u32", Arc::new(nullable::<UInt32Type>(n, |i| i as u32))),
        ("u64", Arc::new(nullable::<UInt64Type>(n, |i| i as u64))),
        (
            "f16",
            Arc::new(nullable::<Float16Type>(n, |i| {
                if i % 2 == 0 { ArrowNativeTypeOp::ONE } else { ArrowNativeTypeOp::ZERO }
            })),
        ),
        ("f32", Arc::new(nullable::<Float32Type>(n, |i| i as f32 / 2.0))),
        ("f64", Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64 / 2.0)))),
        ("date32", Arc::new(nullable::<Date32Type>(n, |i| i as i32))),
        ("date64", Arc::new(nullable::<Date64Type>(n, |i| i as i64 * 86_400_000))),
        ("time32 s", Arc::new(nullable::<Time32SecondType>(n, |i| i as i32))),
        ("time32 ms", Arc::new(nullable::<Time32MillisecondType>(n, |i| i as i32))),
        ("time64 us", Arc::new(nullable::<Time64MicrosecondType>(n, |i| i as i64))),
        ("time64 ns", Arc::new(nullable::<Time64NanosecondType>(n, |i| i as i64))),
        ("timestamp s", Arc::new(nullable::<TimestampSecondType>(n, |i| i as i64))),
        ("timestamp ms", Arc::new(nullable::<TimestampMillisecondType>(n, |i| i as i64))),
        ("timestamp us", Arc::new(nullable::<TimestampMicrosecondType>(n, |i| i as i64))),
        ("timestamp tz", Arc::new(nullable::<TimestampNanosecondType>(n, |i| i as i64).with_timezone("Europe/Berlin"))),
        ("duration s", Arc::new(nullable::<DurationSecondType>(n, |i| i as i64))),
        ("duration ms", Arc::new(nullable::<DurationMillisecondType>(n, |i| i as i64))),
        ("duration us", Arc::new(nullable::<DurationMicrosecondType>(n, |i| i as i64))),
        ("duration ns", Arc::new(nullable::<DurationNanosecondType>(n, |i| i as i64))),
        ("interval ym", Arc::new(nullable::<IntervalYearMonthType>(n, |i| i as i32))),
        ("interval dt", Arc::new(nullable::<IntervalDayTimeType>(n, |i| IntervalDayTime::new(i as i32, 7)))),
        (
            "interval mdn",
            Arc::new(nullable::<IntervalMonthDayNanoType>(n, |i| IntervalMonthDayNano::new(1, i as i32, 9))),
        ),
        (
            "decimal32",
            Arc::new(nullable::<Decimal32Type>(n, |i| i as i32).with_precision_and_scale(7, 2).expect("valid")),
        ),
        (
            "decimal64",
            Arc::new(nullable::<Decimal64Type>(n, |i| i as i64).with_precision_and_scale(12, 3).expect("valid")),
        ),
        (
            "decimal128",
            Arc::new(nullable::<Decimal128Type>(n, |i| i as i128).with_precision_and_scale(30, 4).expect("valid")),
        ),
        (
            "decimal256",
            Arc::new(
                nullable::<Decimal256Type>(n, |i| i256::from_i128(i as i128))
                    .with_precision_and_scale(60, -2)
                    .expect("valid"),
            ),
        ),
        ("null", Arc::new(NullArray::new(n))),
        ("bool", Arc::new(bools.clone())),
        ("utf8", Arc::new(texts(n).into_iter().collect::<StringArray>())),
        ("large utf8", Arc::new(texts(n).into_iter().collect::<LargeStringArray>())),
        ("binary", Arc::new(binary.finish())),
        ("large binary", Arc::new(large_binary.finish())),
        ("fixed size binary", Arc::new(fixed.finish())),
        ("utf8 view", views(n, 1 << 20)),
        ("utf8 view, many buffers", views(n, 128)),
        ("binary view", Arc::new(binary_view.finish())),
        ("list", Arc::new(ListArray::new(item(wide.data_type()), list_offsets.clone(), wide.clone(), nulls(n)))),
        ("large list", Arc::new(LargeListArray::new(item(wide.data_type()), large_offsets, wide.clone(), nulls(n)))),
        ("list of list of utf8", Arc::new(nested.finish())),
        ("list view", list_view::<i32>(n)),
        ("large list view", list_view::<i64>(n)),
        (
            "fixed size list",
            Arc::new(FixedSizeListArray::new(
                Arc::new(Field::new("item", DataType::Boolean, true)),
                3,
                Arc::new((0..3 * n).map(|i| (i % 4 != 0).then_some(i % 3 == 0)).collect::<BooleanArray>()),
                nulls(n),
            )),
        ),
        (
            "struct",
            Arc::new(StructArray::new(
                pair,
                vec![Arc::new(nullable::<Int64Type>(n, |i| i as i64)), Arc::new(bools)],
                nulls(n),
            )),
        ),
        ("map", Arc::new(map.finish())),
        ("dictionary", Arc::new(strings_dictionary(n))),
        (
            "dictionary<u8, i64>",
            Arc::new(DictionaryArray::new(
                UInt8Array::from_iter_values((0..n).map(|i| (i % 3) as u8)),
                Arc::new(Int64Array::from(vec![10, 20, 30])),
            )),
        ),
        (
            "list of dictionary",
            Arc::new(ListArray::new(item(dict.data_type()), list_offsets, Arc::new(dict), nulls(n))),
        ),
        ("dictionary of struct of dictionary", Arc::new(DictionaryArray::new(keys, Arc::new(inner)))),
        ("union, sparse", union(n, false)),
        ("union, dense", union(n, true)),
        (
            "run ends i32, utf8",
            Arc::new(
                RunArray::<Int32Type>::try_new(
                    &ends(3).into_iter().map(|e| e as i32).collect::<Vec<_>>().into(),
                    &texts(ends(3).len()).into_iter().collect::<StringArray>(),
                )
                .expect("valid"),
            ),
        ),
        (
            "run ends i16, i64",
            Arc::new(
                RunArray::<Int16Type>::try_new(
                    &ends(2).into_iter().map(|e| e as i16).collect::<Vec<_>>().into(),
                    &nullable::<Int64Type>(ends(2).len(), |i| i as i64),
                )
                .expect("valid"),
            ),
        ),
        (
            "run ends i64, f64",
            Arc::new(
                RunArray::<Int64Type>::try_new(
                    &ends(4).into_iter().map(|e| e as i64).collect::<Vec<_>>().into(),
                    &nullable::<Float64Type>(ends(4).len(), |i| i as f64),
                )
                .expect("valid"),
            ),
        ),
    ]
}

/// A batch and columns with metadata.
pub fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, a)| {
            let metadata = HashMap::from([("ARROW:extension:name".to_owned(), format!("test.{name}"))]);
            Field::new(*name, a.data_type().clone(), true).with_metadata(metadata)
        })
        .collect();
    let schema = Schema::new_with_metadata(fields, HashMap::from([("who".to_owned(), "tests".to_owned())]));
    let rows = columns.first().map_or(0, |c| c.1.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), columns.into_iter().map(|c| c.1).collect(), &options)
        .expect("valid")
}

/// Each buffer of an array, and of those inside it.
pub fn every_buffer(data: &ArrayData, visit: &mut dyn FnMut(&Buffer)) {
    data.buffers().iter().for_each(&mut *visit);
    if let Some(nulls) = data.nulls() {
        visit(nulls.buffer());
    }
    data.child_data().iter().for_each(|child| every_buffer(child, visit));
}
