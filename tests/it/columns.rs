//! Shows that a column of each element type is read as it lies, small or large, whole or of a slice; and as no other type.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use faretra::{ArrayElement, Element, ElementType, Error, MIB, Object, Writer};
use ndarray::{ArrayView1, Ix1};

use crate::arrow_types::samples::every_type;
use crate::support::TestArena;

/// Calls a function for every element type.
macro_rules! for_every_element {
    ($f:ident $args:tt) => {{
        for_every_element!(@ $f $args u8);
        for_every_element!(@ $f $args u16);
        for_every_element!(@ $f $args u32);
        for_every_element!(@ $f $args u64);
        for_every_element!(@ $f $args u128);
        for_every_element!(@ $f $args i8);
        for_every_element!(@ $f $args i16);
        for_every_element!(@ $f $args i32);
        for_every_element!(@ $f $args i64);
        for_every_element!(@ $f $args i128);
        for_every_element!(@ $f $args f32);
        for_every_element!(@ $f $args f64);
        for_every_element!(@ $f $args bool);
        #[cfg(feature = "f16")]
        for_every_element!(@ $f $args half::f16);
        #[cfg(feature = "complex")]
        for_every_element!(@ $f $args num_complex::Complex<f32>);
        #[cfg(feature = "complex")]
        for_every_element!(@ $f $args num_complex::Complex<f64>);
    }};
    (@ $f:ident $args:tt $t:ty) => { $f::<$t> $args };
}

/// What the samples are read as.
const READ_AS: &[(&str, ElementType)] = &[
    ("i8", ElementType::I8),
    ("i16", ElementType::I16),
    ("i32", ElementType::I32),
    ("i64", ElementType::I64),
    ("u8", ElementType::U8),
    ("u16", ElementType::U16),
    ("u32", ElementType::U32),
    ("u64", ElementType::U64),
    ("f32", ElementType::F32),
    ("f64", ElementType::F64),
    ("date32", ElementType::I32),
    ("date64", ElementType::I64),
    ("time32 s", ElementType::I32),
    ("time32 ms", ElementType::I32),
    ("time64 us", ElementType::I64),
    ("time64 ns", ElementType::I64),
    ("timestamp s", ElementType::I64),
    ("timestamp ms", ElementType::I64),
    ("timestamp us", ElementType::I64),
    ("timestamp tz", ElementType::I64),
    ("duration s", ElementType::I64),
    ("duration ms", ElementType::I64),
    ("duration us", ElementType::I64),
    ("duration ns", ElementType::I64),
    ("interval ym", ElementType::I32),
    ("decimal32", ElementType::I32),
    ("decimal64", ElementType::I64),
    ("decimal128", ElementType::I128),
    #[cfg(feature = "f16")]
    ("f16", ElementType::F16),
];

fn check<T: Element>(name: &str, object: &Object, source: &ArrayRef) {
    let read = object.column::<T>("c");
    if !READ_AS.contains(&(name, T::TYPE)) {
        let refused = read.map(|column| column.len());
        assert!(matches!(refused, Err(Error::Mismatch { .. })), "{name} as {}: {refused:?}", T::TYPE);
        return;
    }
    let column = read.unwrap_or_else(|e| panic!("{name} as {}: {e}", T::TYPE));
    let data = source.to_data();
    let expected = &data.buffers()[0].as_slice()[data.offset() * size_of::<T>()..][..source.len() * size_of::<T>()];
    let values = column.as_slice().expect("contiguous");
    assert_eq!(bytemuck::cast_slice::<T, u8>(values), expected, "{name} as {}, {} rows", T::TYPE, source.len());
}

/// Every Arrow type as every element type: columns that lie in the root, among them ones of 8 KiB, columns that are objects
/// of their own from 64 KiB on, and slices of both that begin at odd rows.
#[test]
fn a_column_of_every_element_type() {
    let t = TestArena::new(256 * MIB);
    let w = t.arena.writer().expect("a permit");
    for (rows, front, back) in
        [(0, 0, 0), (1, 0, 0), (1024, 0, 0), (1031, 5, 2), (8192, 0, 0), (30_011, 0, 0), (30_011, 77, 3)]
    {
        for (name, array) in every_type(rows) {
            let array = array.slice(front, rows - front - back);
            // Columns in front and behind, so that it is neither the first nor the last.
            let others: ArrayRef =
                Arc::new(arrow_array::Int8Array::from_iter_values((0..array.len()).map(|i| i as i8)));
            let all = [("a", others.clone()), ("c", array.clone()), ("z", others)];
            let batch =
                RecordBatch::try_from_iter_with_nullable(all.map(|(name, a)| (name, a, true))).expect("a batch");
            w.publish("n", &batch).expect("room");
            let object = t.arena.get("n").expect("published");
            for_every_element!(check(name, &object, &array));
            let none = object.column::<u8>("none").map(drop);
            assert!(matches!(none, Err(Error::NotFound { .. })), "{none:?}");
        }
    }
}

/// Which Arrow type a drafted column of these elements has.
fn arrow_type(t: ElementType) -> Option<DataType> {
    Some(match t {
        ElementType::U8 => DataType::UInt8,
        ElementType::U16 => DataType::UInt16,
        ElementType::U32 => DataType::UInt32,
        ElementType::U64 => DataType::UInt64,
        ElementType::I8 => DataType::Int8,
        ElementType::I16 => DataType::Int16,
        ElementType::I32 => DataType::Int32,
        ElementType::I64 => DataType::Int64,
        ElementType::I128 => DataType::Decimal128(38, 0),
        #[cfg(feature = "f16")]
        ElementType::F16 => DataType::Float16,
        ElementType::F32 => DataType::Float32,
        ElementType::F64 => DataType::Float64,
        _ => return None,
    })
}

/// Bytes that are values of any element type: of `bool` too.
fn values<T: Element>(rows: usize) -> Vec<T> {
    let bytes: Vec<u8> = (0..rows * size_of::<T>()).map(|i| (i.is_multiple_of(3) || i % 7 == 2).into()).collect();
    bytes.chunks_exact(size_of::<T>()).map(|b| bytemuck::checked::pod_read_unaligned(b)).collect()
}

fn draft_and_publish<T: Element>(t: &TestArena, w: &Writer, rows: usize) {
    let bytes = |values: &[T]| bytemuck::cast_slice::<T, u8>(values).to_vec();
    let values = values::<T>(rows);
    if let Some(arrow) = arrow_type(T::TYPE) {
        let fields = [("a", DataType::Int8), ("c", arrow), ("z", DataType::Int8)].map(|(n, t)| Field::new(n, t, false));
        let mut draft = w.draft(&Arc::new(Schema::new(fields.to_vec())), rows).expect("room");
        for other in ["a", "z"] {
            draft.column_mut::<i8>(other).expect("a column").fill(-1);
        }
        draft.column_mut::<T>("c").expect("a column").copy_from_slice(&values);
        w.publish("n", draft).expect("room");
        let object = t.arena.get("n").expect("published");
        let column = object.column::<T>("c").expect("a column");
        assert_eq!(bytes(column.as_slice().expect("contiguous")), bytes(&values), "{} drafted, {rows} rows", T::TYPE);
        for other in ["a", "z"] {
            assert!(object.column::<i8>(other).expect("a column").iter().all(|n| *n == -1));
        }
    }
    // As an array there is every type.
    w.publish("n", ArrayView1::from(&values)).expect("room");
    let array = t.arena.array::<T, Ix1>("n").expect("an array");
    assert_eq!(bytes(array.as_slice().expect("contiguous")), bytes(&values), "{} as an array", T::TYPE);
    let info = t.arena.get("n").expect("published").array_info().expect("an array");
    assert_eq!((info.dtype, info.shape), (T::dtype(), vec![rows]));
}

/// Columns that are written in place, and arrays, of every element type, small and large.
#[test]
fn drafts_and_arrays_of_every_element_type() {
    let t = TestArena::new(256 * MIB);
    let w = t.arena.writer().expect("a permit");
    for rows in [0, 1, 1024, 1031, 8192, 70_003] {
        for_every_element!(draft_and_publish(&t, &w, rows));
    }
}

/// A column that was found before is another one when the name, the object's memory or the arena's name have another tenant,
/// also of another shape, whichever threads read it.
#[test]
fn a_column_that_was_found_is_that_of_this_object() {
    let batch = |round: i64, before: usize, rows: usize| {
        let zeros = |i: usize| (format!("z{i}"), Arc::new(Int64Array::from(vec![0; rows])) as ArrayRef);
        let column = ("x".to_owned(), Arc::new(Int64Array::from(vec![round; rows])) as ArrayRef);
        RecordBatch::try_from_iter((0..before).map(zeros).chain([column])).unwrap()
    };
    for arena in 0..3 {
        let t = TestArena::new(64 * MIB);
        let w = t.arena.writer().unwrap();
        let read = |object: &Object, round: i64, rows: usize| {
            for _ in 0..2 {
                let column = object.column::<i64>("x").unwrap();
                assert!(column.len() == rows && column.iter().all(|x| *x == round), "{round}: {column:?}");
                assert!(matches!(object.column::<f64>("x"), Err(Error::Mismatch { .. })));
                assert!(matches!(object.column::<i64>("y"), Err(Error::NotFound { .. })));
            }
        };
        let mut kept = vec![];
        for round in 0..200 {
            let number = arena * 1000 + round;
            // Twice the same shape, so that a slot has the same place for another value.
            let (before, rows) = (number as usize / 2 % 5, 1 + number as usize / 4 % 40);
            w.publish("t", batch(number, before, rows)).unwrap();
            let object = t.arena.get("t").unwrap();
            read(&object, number, rows);
            std::thread::scope(|s| s.spawn(|| read(&object, number, rows)).join().unwrap());
            kept.push((object, number, rows));
            if round % 3 == 2 {
                kept.drain(..).for_each(|(object, number, rows)| read(&object, number, rows));
            }
        }
    }
}
