//! What a batch shares with one that lies in the arena already.

use super::*;

/// Whole, nothing is copied again; sliced, only what has to change; and what was shared can be shared again. The messages
/// of the second batch reach to the end of what it holds, in front of that or behind it.
#[test]
fn every_type_is_shared_with_itself() {
    let rows = 30_000;
    for (name, array) in every_type(rows) {
        let batch = batch_of(vec![(name, array)]);
        let stored = store_behind(&[0xaa; 1 << 16], &[], &Plan::new(&batch, Locate::NOWHERE).unwrap());
        let back = stored.read(Trust::Writers).unwrap();
        let (whole, copied) = store_again(&stored, &back);
        assert_reads(&whole, &batch);
        assert_eq!(copied, 0, "{name}");
        for (from, len) in [(0, 29_000), (64, 28_000), (1, 29_999), (777, 25_003), (29_990, 10)] {
            let slice = batch.slice(from, len);
            let (first, _) = store_again(&stored, &back.slice(from, len));
            assert_reads(&first, &slice);
            let (second, copied) = store_again(&first, &first.read(Trust::Writers).unwrap());
            assert_reads(&second, &slice);
            assert_eq!(copied, 0, "{name} from {from}");
            let third = second.read(Trust::Writers).unwrap().slice(3, len - 4);
            assert_reads(&store_again(&second, &third).0, &slice.slice(3, len - 4));
        }
    }
}

#[test]
fn slices_share_what_they_do_not_change() {
    let n = 80_000;
    let text: Vec<Option<String>> = texts(n);
    let long = |i: usize| format!("a value that does not fit a view, number {i}");
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let offsets = OffsetBuffer::new((0..=n as i32).map(|i| 2 * i).collect());
    let numbers = Arc::new(nullable::<Int32Type>(2 * n, |i| i as i32));
    let columns: Vec<(&str, ArrayRef, u64)> = vec![
        ("numbers", Arc::new(Int64Array::from_iter_values(0..n as i64)), 0),
        ("with nulls", Arc::new(nullable::<Int64Type>(n, |i| i as i64)), 9_000),
        ("text", Arc::new(text.iter().map(|t| Some(t.as_deref().unwrap_or(""))).collect::<StringArray>()), 0),
        ("text with nulls", Arc::new(text.into_iter().collect::<StringArray>()), 9_000),
        ("views", Arc::new((0..n).map(|i| Some(long(i))).collect::<StringViewArray>()), 0),
        ("dictionary", Arc::new(strings_dictionary(n)), 9_000),
        // Their offsets are rewritten, and the children's bitmap is shifted.
        ("list", Arc::new(ListArray::new(item, offsets, numbers, None)), 4 * n as u64 + 20_000),
    ];
    for (name, array, most) in columns {
        let stored = store(&batch_of(vec![(name, array.clone())]));
        let back = stored.read(Trust::Writers).unwrap();
        let (again, copied) = store_again(&stored, &back.slice(4_321, 70_001));
        assert_reads(&again, &batch_of(vec![(name, array.slice(4_321, 70_001))]));
        let root = again.extents[0].len;
        assert!(copied + root <= most + 2_000, "{name}: {copied} bytes in parts, {root} in the root");
        // A few rows are not worth keeping the whole for.
        let (small, copied) = store_again(&stored, &back.slice(70_000, 100));
        assert_eq!((small.layout().num_parts(), copied), (0, 0), "{name}");
    }
}

#[test]
fn an_object_is_held_once_and_only_for_much() {
    let n = 20_000;
    let large = || Arc::new(Float64Array::from_iter_values((0..n).map(f64::from))) as ArrayRef;
    let small = || Arc::new(UInt8Array::from_iter_values((0..n).map(|i| i as u8))) as ArrayRef;
    let stored = store(&batch_of(vec![("a", large()), ("b", small()), ("c", large())]));
    let back = stored.read(Trust::Writers).unwrap();
    let (a, b, c) = (back.column(0), back.column(1), back.column(2));
    let twice = batch_of(vec![("x", a.clone()), ("y", b.clone()), ("z", a.slice(0, n as usize))]);
    let (again, copied) = store_again(&stored, &twice);
    assert_reads(&again, &batch_of(vec![("x", large()), ("y", small()), ("z", large())]));
    assert_eq!((again.layout().num_parts(), copied), (1, 0));
    let added = batch_of(vec![("c", c.clone()), ("new", large()), ("a", a.clone())]);
    let (again, copied) = store_again(&stored, &added);
    assert_reads(&again, &added);
    assert_eq!((again.layout().num_parts(), copied), (3, 160_000));
}
