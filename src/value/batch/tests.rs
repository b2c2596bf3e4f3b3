//! Every Arrow type in and out, sliced and whole; what damage does; speed, informally.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampSecondType};
use arrow_array::{
    Array, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatchOptions, RunArray, StringArray,
    StringViewArray, UInt8Array,
};
use arrow_buffer::{MutableBuffer, OffsetBuffer};
use arrow_schema::{Field, Schema};

use self::random_arrays::{Arrays, seed};
use self::samples::{batch_of, every_buffer, every_type, nullable, strings_dictionary, texts};
use super::*;
use crate::core::word::Id;
use crate::value::layout::{FORMAT, MAGIC};
use crate::value::plan::{Locate, Plan};
use crate::value::schema::{decode_schema, fingerprint};

mod random_arrays;
mod samples;

/// A small generator with a seed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33 ^ self.0 << 20
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 8) % n
    }
}

/// A data region of ordinary memory with one batch in it.
struct Stored {
    region: Buffer,
    extents: Vec<(u64, u64)>,
}

impl Stored {
    fn region(&self) -> Region<'_> {
        Region { bytes: &self.region, extents: &self.extents }
    }

    fn root(&self) -> &[u8] {
        let (at, len) = self.extents[0];
        &self.region[at as usize..][..len as usize]
    }

    fn layout(&self) -> Layout<'_> {
        Layout::parse(self.root()).unwrap()
    }

    fn values(&self, i: usize, element: ElementType) -> Result<(u64, u64)> {
        let extent = |k: u32| self.extents.get(k as usize).copied().ok_or_else(|| damaged("has no such extent"));
        Layout::parse(self.root())?.values(i, element, &self.region, extent)
    }

    fn read(&self, trust: Trust) -> Result<RecordBatch> {
        Layout::parse(self.root())?.batch(&self.region(), trust)
    }

    /// A copy with other bytes in the root.
    fn with(&self, change: impl FnOnce(&mut [u8])) -> Stored {
        let mut region = MutableBuffer::from(self.region.to_vec());
        let mut aligned = MutableBuffer::from_len_zeroed(region.len());
        let (at, len) = self.extents[0];
        change(&mut region[at as usize..][..len as usize]);
        aligned.copy_from_slice(&region);
        Stored { region: aligned.into(), extents: self.extents.clone() }
    }
}

/// Objects lie apart, in reverse order, in memory full of 0xaa.
fn store(batch: &RecordBatch) -> Stored {
    store_behind(&[0xaa; 4096], &[], &Plan::new(batch, Locate::NOWHERE).unwrap())
}

/// A batch some of whose buffers may lie in the objects of `stored`: those are held, the rest is copied
/// behind them, into a copy of the memory. Also the bytes of the new parts.
fn store_again(stored: &Stored, batch: &RecordBatch) -> (Stored, u64) {
    let locate = |bytes: &[u8]| {
        let at = bytes.as_ptr().addr().checked_sub(stored.region.as_ptr().addr())? as u64;
        let inside = |&(from, len): &(u64, u64)| at >= from && at + bytes.len() as u64 <= from + len;
        let found = stored.extents[1..].iter().position(inside).filter(|_| !bytes.is_empty());
        found.map(|i| (Id(i as u32), at))
    };
    let region = (stored.region.as_ptr().addr(), stored.region.len());
    let plan = Plan::new(batch, Locate { region, find: &locate }).unwrap();
    let held: Vec<_> = plan.held().iter().map(|id| stored.extents[1 + id.0 as usize]).collect();
    let again = store_behind(&stored.region, &held, &plan);
    // In front of what it holds it says the same, if there is room.
    let size = plan.total_bytes() + 256 * (1 + plan.part_bytes().len() as u64);
    if !held.is_empty() && size < stored.extents.iter().map(|e| e.0).min().unwrap_or(0) {
        assert_eq!(read_ipc(&store_at(&stored.region, 64, &held, &plan, Order::RootFirst)), *batch);
    }
    assert_eq!(again.layout().num_parts(), again.extents.len() - 1);
    (again, plan.part_bytes().iter().sum())
}

fn store_behind(before: &[u8], held: &[(u64, u64)], plan: &Plan<'_>) -> Stored {
    store_at(before, before.len().next_multiple_of(64) as u64, held, plan, Order::RootLast)
}

/// Where the root lies among its parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    RootFirst,
    RootLast,
}

/// Writes into a copy of the memory, from `at` on.
fn store_at(before: &[u8], mut at: u64, held: &[(u64, u64)], plan: &Plan<'_>, order: Order) -> Stored {
    let copy = |to: &mut [u8], from: &[u8]| to.copy_from_slice(from);
    let mut extents: Vec<_> = [plan.root_bytes()].iter().chain(plan.part_bytes()).map(|&size| (0, size)).collect();
    let mut place = |extent: &mut (u64, u64)| {
        extent.0 = at;
        at += extent.1.next_multiple_of(64) + 192;
    };
    match order {
        Order::RootFirst => extents.iter_mut().for_each(&mut place),
        Order::RootLast => extents.iter_mut().rev().for_each(&mut place),
    }
    let mut memory = MutableBuffer::from_len_zeroed(before.len().max(at as usize));
    memory.fill(0xaa);
    memory[..before.len()].copy_from_slice(before);
    let parts: Vec<u64> = extents[1..].iter().map(|e| e.0).collect();
    for (i, &(at, len)) in extents[1..].iter().enumerate() {
        plan.write_part(i, &mut memory[at as usize..][..len as usize], &copy);
    }
    let (at, len) = extents[0];
    plan.write_root(at, &parts, &mut memory[at as usize..][..len as usize], &copy);
    extents.extend(held);
    Stored { region: memory.into(), extents }
}

fn assert_inside(stored: &Stored, batch: &RecordBatch) {
    for (i, column) in batch.columns().iter().enumerate() {
        assert_eq!(column.to_data().offset(), 0);
        let mut outside = 0;
        every_buffer(&column.to_data(), &mut |b| {
            let at = (b.as_ptr() as usize).wrapping_sub(stored.region.as_ptr() as usize) as u64;
            let inside = stored.extents.iter().any(|&(from, len)| at >= from && at + b.len() as u64 <= from + len);
            outside += usize::from(!b.is_empty() && !inside);
        });
        assert_eq!(outside, 0, "buffers of column {i} ({}) outside the region", column.data_type());
    }
}

fn assert_round_trip(batch: &RecordBatch) {
    assert_reads(&store(batch), batch);
}

fn assert_reads(stored: &Stored, batch: &RecordBatch) {
    for trust in [Trust::Writers, Trust::Nobody] {
        let back = stored.read(trust).unwrap();
        assert_eq!(back.schema(), batch.schema());
        assert_eq!(back.num_rows(), batch.num_rows());
        for (i, (back, source)) in back.columns().iter().zip(batch.columns()).enumerate() {
            back.to_data().validate_full().unwrap();
            assert_eq!(back, source, "column {i}: {}", source.data_type());
            assert_eq!(back.null_count(), source.null_count());
        }
        assert_inside(stored, &back);
    }
    assert_eq!(read_ipc(stored), *batch);
}

/// The batch as any other Arrow sees it: from the messages alone.
fn read_ipc(stored: &Stored) -> RecordBatch {
    let layout = stored.layout();
    let (schema, dictionaries, batch) = layout.ipc().unwrap();
    let schema = decode_schema(schema).unwrap();
    let mut known = HashMap::new();
    let version = arrow_ipc::MetadataVersion::V5;
    // The body reaches to the end of the last object that has bytes of the batch, and nothing beyond that is needed.
    let end = stored.extents.iter().map(|(at, len)| at + len).max().unwrap();
    let body = |message: &arrow_ipc::Message<'_>| {
        assert_eq!(message.version(), version);
        let len = message.bodyLength() as u64;
        assert!(len <= end, "a body of {len} bytes; the last object ends at {end}");
        stored.region.slice_with_length(0, len as usize)
    };
    for bytes in dictionaries {
        let message = arrow_ipc::root_as_message(bytes).unwrap();
        let dictionary = message.header_as_dictionary_batch().unwrap();
        arrow_ipc::reader::read_dictionary(&body(&message), dictionary, &schema, &mut known, &version).unwrap();
    }
    let message = arrow_ipc::root_as_message(batch).unwrap();
    let body = body(&message);
    let batch = message.header_as_record_batch().unwrap();
    arrow_ipc::reader::read_record_batch(&body, batch, Arc::new(schema), &known, None, &version).unwrap()
}

#[test]
fn every_type_round_trips_whole() {
    for rows in [0, 1, 13, 100] {
        for (name, array) in every_type(rows) {
            assert_eq!(array.len(), rows, "{name}");
            assert_round_trip(&batch_of(vec![(name, array)]));
        }
        assert_round_trip(&batch_of(every_type(rows)));
    }
}

#[test]
fn every_type_round_trips_sliced_at_odd_offsets() {
    for (name, array) in every_type(100) {
        for (from, len) in [(0, 50), (1, 99), (3, 7), (8, 16), (13, 0), (5, 71), (99, 1), (100, 0)] {
            assert_round_trip(&batch_of(vec![(name, array.slice(from, len))]));
            if len > 4 {
                assert_round_trip(&batch_of(vec![(name, array.slice(from, len).slice(3, len - 4))]));
            }
        }
    }
}

/// Arrays inside arrays, each child a slice of a longer one: read with and without trust, and from the messages alone.
#[test]
fn nested_slices_round_trip() {
    let mut arrays = Arrays(seed(0x6e65_7374));
    for round in 0..1500 {
        let rows = if round % 100 == 99 { 3000 } else { arrays.below(24) };
        let batch = arrays.batch(1, rows);
        let stored = store(&batch);
        for trust in [Trust::Writers, Trust::Nobody] {
            let back = stored.read(trust).unwrap();
            back.column(0).to_data().validate_full().unwrap();
            assert_eq!(random_arrays::shown(&back), random_arrays::shown(&batch), "{}", batch.schema());
            assert_inside(&stored, &back);
        }
        assert_eq!(random_arrays::shown(&read_ipc(&stored)), random_arrays::shown(&batch), "{}", batch.schema());
    }
}

/// Up to twelve bytes a view has in itself, whatever they are: zeros are no buffer 0. From thirteen on it names one.
#[test]
fn views_of_twelve_bytes_and_one_more_or_less() {
    let long = "a value that lies in a buffer, first of all".as_bytes();
    let values: Vec<Vec<u8>> =
        (0..80).map(|i| if i % 9 == 0 { long.to_vec() } else { vec![i as u8 % 2; 11 + i % 3] }).collect();
    for block in [16, 64, 1 << 20] {
        let mut binary = arrow_array::builder::BinaryViewBuilder::new().with_fixed_block_size(block);
        let mut text = arrow_array::builder::StringViewBuilder::new().with_fixed_block_size(block);
        for value in &values {
            binary.append_value(value);
            text.append_value(std::str::from_utf8(value).unwrap());
        }
        let batch = batch_of(vec![("b", Arc::new(binary.finish())), ("t", Arc::new(text.finish()))]);
        for (from, len) in [(0, 80), (1, 70), (5, 9), (10, 3), (79, 1)] {
            assert_round_trip(&batch.slice(from, len));
        }
        // Only the values of thirteen bytes lie in buffers.
        let stored = store(&batch_of(vec![("b", batch.column(0).slice(10, 8))]));
        let of_thirteen = (10..18).filter(|i| values[*i].len() == 13).count() as u64;
        assert!(of_thirteen >= 2 && (10..18).all(|i| values[i].len() <= 13));
        assert!(stored.layout().nbytes() >= 8 * 16 + 13 * of_thirteen);
        assert!(block != 1 << 20 || stored.layout().nbytes() == 8 * 16 + 13 * of_thirteen);
    }
}

#[test]
fn a_slice_stores_no_more_than_it_shows() {
    for (name, array) in every_type(3000) {
        if matches!(array.data_type(), DataType::Dictionary(..)) || name.contains("of dictionary") {
            continue;
        }
        let stored = store(&batch_of(vec![(name, array.slice(1501, 10))]));
        assert!(stored.layout().nbytes() < 4000, "{name}: {} bytes", stored.layout().nbytes());
    }
}

#[test]
fn large_columns_are_parts_and_small_ones_lie_in_the_root() {
    let n = 20_000;
    let batch = batch_of(vec![
        ("large", Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64)))),
        ("small", Arc::new(UInt8Array::from_iter_values((0..n).map(|i| i as u8)))),
        ("text", Arc::new(texts(n).into_iter().collect::<StringArray>())),
        ("dictionary", Arc::new(strings_dictionary(n))),
    ]);
    let plan = Plan::new(&batch, Locate::NOWHERE).unwrap();
    assert_eq!(plan.part_bytes().len(), 3);
    assert_eq!(plan.part_bytes()[0], 160_000);
    assert!(plan.root_bytes() < 25_000);
    assert_eq!(plan.rows(), n as u64);
    assert_round_trip(&batch);
    assert_round_trip(&batch.slice(777, 12_345));
    let stored = store(&batch);
    assert_eq!(stored.layout().num_parts(), 3);
    // Wherever the parts lie, the messages' body has them.
    let root_first = store_at(&[], 0, &[], &plan, Order::RootFirst);
    assert!(root_first.extents.is_sorted());
    assert_reads(&root_first, &batch);
}

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
        let root = again.extents[0].1;
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

#[test]
fn no_columns_but_rows() {
    let batch = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(7)),
    )
    .unwrap();
    let stored = store(&batch);
    assert_eq!(stored.read(Trust::Writers).unwrap(), batch);
    assert_eq!(stored.layout().rows(), 7);
}

#[test]
fn padding_is_zero() {
    let stored = store(&batch_of(every_type(13)));
    // Every byte of the objects was written: the 0xaa of the memory before is left in none of the
    // paddings. The data themselves have no run of six such bytes.
    for &(at, len) in &stored.extents {
        let object = &stored.region[at as usize..][..len as usize];
        assert!(!object.windows(6).any(|w| w == [0xaa; 6]));
    }
}

#[test]
fn bits_behind_the_last_row_are_zero() {
    let bits: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true); 200]));
    let nulls: ArrayRef = Arc::new((0..200).map(|i| (i != 60).then_some(i)).collect::<Int64Array>());
    for (from, len) in [(0, 61), (3, 61), (8, 61), (5, 130)] {
        let stored = store(&batch_of(vec![("b", bits.slice(from, len)), ("n", nulls.slice(from, len))]));
        let batch = stored.read(Trust::Writers).unwrap();
        let values = batch.column(0).as_boolean().values().values();
        let validity = batch.column(1).nulls().unwrap().validity();
        assert_eq!(values[len / 8] >> (len % 8), 0);
        assert_eq!(validity[len / 8] >> (len % 8), 0);
    }
}

#[test]
fn runs_of_a_slice_end_where_it_ends() {
    let ends = Int32Array::from(vec![10, 20, 30, 40]);
    let runs: ArrayRef = Arc::new(RunArray::try_new(&ends, &Int64Array::from(vec![1, 2, 3, 4])).unwrap());
    let batch = store(&batch_of(vec![("r", runs.slice(15, 12))])).read(Trust::Nobody).unwrap();
    let runs = batch.column(0).as_any().downcast_ref::<RunArray<Int32Type>>().unwrap();
    assert_eq!(runs.run_ends().values(), [5, 12]);
    assert_eq!(runs.values().as_primitive::<Int64Type>().values()[..], [2, 3]);
}

#[test]
fn children_of_the_wrong_length_are_refused() {
    for (name, wrong) in [
        ("list", 3),
        ("fixed size list", 30_u64),
        ("struct", 8),
        ("fixed size list", 26),
        ("map", 1),
        ("union, sparse", 8),
    ] {
        let (_, array) = every_type(9).into_iter().find(|t| t.0 == name).unwrap();
        let stored = store(&batch_of(vec![(name, array)]));
        let child = stored.layout().sections.nodes as usize + NODE_BYTES as usize;
        let forged = stored.with(|root| {
            root[child..child + 8].copy_from_slice(&wrong.to_le_bytes());
            root[child + 8..child + 16].fill(0);
        });
        let error = forged.read(Trust::Writers).unwrap_err().to_string();
        assert!(error.contains("where") && error.contains("are needed"), "{name}: {error}");
    }
}

#[test]
fn values_finds_plain_numbers_and_names_what_is_not() {
    let n = 1000;
    let batch = batch_of(vec![
        ("f", Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64)))),
        ("when", Arc::new(nullable::<TimestampSecondType>(n, |i| i as i64))),
        ("text", Arc::new(texts(n).into_iter().collect::<StringArray>())),
    ]);
    let stored = store(&batch);
    let layout = stored.layout();
    let (at, len) = stored.values(0, ElementType::F64).unwrap();
    let bytes = &stored.region[at as usize..][..8 * len as usize];
    assert_eq!(bytemuck::cast_slice::<u8, f64>(bytes), &batch.column(0).as_primitive::<Float64Type>().values()[..]);
    assert!(stored.values(1, ElementType::I64).is_ok());
    assert_eq!(layout.null_count(1).unwrap(), 333);
    let error = stored.values(2, ElementType::F64).unwrap_err();
    assert_eq!(error.to_string(), "`text` is a column of Utf8, not a column of f64");
    assert!(stored.values(0, ElementType::F32).is_err());
    assert!(stored.values(3, ElementType::F32).is_err());
}

#[test]
fn a_schema_is_decoded_once() {
    let stored = store(&batch_of(every_type(5)));
    let first = stored.layout().schema().unwrap();
    assert!(Arc::ptr_eq(&first, &stored.layout().schema().unwrap()));
}

#[test]
fn a_column_is_found_by_its_name() {
    let one = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let stored = store(&batch_of(vec![("a", one()), ("b", one())]));
    assert_eq!(stored.layout().index_of("b").unwrap(), Some(1));
    assert_eq!(stored.layout().index_of("c").unwrap(), None);
}

/// arrow refuses such batches when they are made, and nothing that is read may be one.
#[test]
fn nulls_where_there_can_be_none_are_refused() {
    let stored = store(&batch_of(vec![("n", Arc::new(Int64Array::from(vec![Some(1), None])))]));
    let schema = stored.layout().schema().unwrap();
    let mut refused = 0;
    // Somewhere in the schema message is the byte that makes the field nullable.
    for at in 0..stored.layout().schema_bytes().len() {
        let forged = stored.with(|root| {
            let mut header = Header::read(root).unwrap();
            let s = Sections::of(&header);
            let message = &mut root[s.schema as usize..s.batch as usize];
            message[at] ^= 1;
            header.schema_print = fingerprint(message);
            header.write(root);
        });
        let Ok(Ok(found)) = Layout::parse(forged.root()).map(|layout| layout.schema()) else { continue };
        if found.field(0) == &schema.field(0).clone().with_nullable(false) {
            let error = forged.read(Trust::Writers).unwrap_err().to_string();
            assert!(error.contains("1 nulls in column 0 (`n`)"), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1);
}

#[test]
fn what_cannot_be_stored_says_why() {
    let inner = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0]), Arc::new(strings_dictionary(1)));
    let batch = RecordBatch::try_from_iter([("d", Arc::new(inner) as ArrayRef)]).unwrap();
    let error = Plan::new(&batch, Locate::NOWHERE).err().unwrap().to_string();
    assert!(error.contains("column `d`") && error.contains("dictionary"), "{error}");
}

/// Damage is an error or another batch, never a panic. The values are read only where they were
/// validated.
fn try_everything(stored: &Stored) {
    if let Ok(layout) = Layout::parse(stored.root()) {
        let _ = layout.ipc();
        let _ = layout.nbytes();
        for i in 0..layout.num_columns().min(100) {
            let _ = layout.null_count(i);
            let _ = stored.values(i, ElementType::I64);
            let _ = layout.column(i, &stored.region(), Trust::Writers);
            if let Ok(column) = layout.column(i, &stored.region(), Trust::Nobody) {
                let _ = format!("{column:?}");
            }
        }
        let _ = layout.batch(&stored.region(), Trust::Writers);
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut random = Random(7);
    let types = every_type(9);
    for (name, array) in types {
        let stored = store(&batch_of(vec![(name, array)]));
        for _ in 0..400 {
            try_everything(&stored.with(|root| {
                for _ in 0..=random.below(3) {
                    let bit = random.below(8 * root.len() as u64) as usize;
                    root[bit / 8] ^= 1 << (bit % 8);
                }
            }));
        }
        // Words of the tables set to what is just wrong.
        for _ in 0..400 {
            try_everything(&stored.with(|root| {
                let tables = Sections::of(&Header::read(root).unwrap()).schema;
                let at = 8 + 4 * random.below((tables - 8) / 4) as usize;
                let word = [0, 1, 2, 63, 64, 65, 1 << 31, u32::MAX][random.below(8) as usize];
                root[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }));
        }
    }
}

/// Held buffers start anywhere, so damage may put any buffer anywhere.
#[test]
fn buffers_that_start_askew_never_panic() {
    let types = every_type(9).into_iter().chain(every_type(12_000));
    for (name, array) in types {
        let rows = array.len();
        let stored = store(&batch_of(vec![(name, array)]));
        let stored = store_again(&stored, &stored.read(Trust::Writers).unwrap()).0;
        let (first, last) = (stored.layout().sections.buffers, stored.layout().sections.lengths);
        for row in (first..last).step_by(BUFFER_BYTES as usize) {
            // One step says enough about the large ones, which take time to read.
            let steps: &[u8] = if rows == 9 { &[1, 2, 4, 8, 16, 32] } else { &[4] };
            for &by in steps {
                try_everything(&stored.with(|root| root[row as usize] = root[row as usize].wrapping_add(by)));
            }
            let extent = row as usize + 14;
            for k in [0, 2] {
                try_everything(&stored.with(|root| root[extent] = k));
            }
        }
        assert!(rows > 0 && stored.read(Trust::Nobody).is_ok());
    }
}

#[test]
fn forged_schemas_never_panic() {
    let mut random = Random(11);
    let plan = store(&batch_of(every_type(2)));
    let whole = plan.layout().schema_bytes().to_vec();
    for (name, array) in every_type(2) {
        let stored = store(&batch_of(vec![(name, array)]));
        let one = stored.layout().schema_bytes().to_vec();
        for (bytes, rounds) in [(&one, 600), (&whole, 20)] {
            for _ in 0..rounds {
                let mut bytes = bytes.clone();
                for _ in 0..=random.below(4) {
                    let bit = random.below(8 * bytes.len() as u64) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                let _ = decode_schema(&bytes);
            }
        }
        // Forged and signed: the schema of one column over the tables of another.
        for _ in 0..100 {
            try_everything(&stored.with(|root| {
                let mut header = Header::read(root).unwrap();
                let s = Sections::of(&header);
                let schema = &mut root[s.schema as usize..s.batch as usize];
                let bit = random.below(8 * schema.len() as u64) as usize;
                schema[bit / 8] ^= 1 << (bit % 8);
                header.schema_print = fingerprint(schema);
                header.write(root);
            }));
        }
    }
}

#[test]
fn random_bytes_are_no_batch() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let len = random.below(400) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        if len > 64 && random.below(2) == 0 {
            bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[4..8].copy_from_slice(&FORMAT.to_le_bytes());
            // Small counts, so that sections may fit.
            for count in bytes[16..].chunks_mut(4).take(10) {
                count[1..].fill(0);
            }
        }
        let stored = Stored { region: Buffer::from(bytes), extents: vec![(0, len as u64)] };
        try_everything(&stored);
    }
}

#[test]
fn buffers_outside_the_extents_are_refused() {
    let stored = store(&batch_of(vec![("x", Arc::new(Int64Array::from_iter_values(0..100)))]));
    let buffers = Sections::of(&stored.layout().header).buffers as usize + BUFFER_BYTES as usize;
    for at in [
        0_u64,
        stored.extents[0].0 - 64,
        stored.extents[0].0 + stored.extents[0].1,
        u64::MAX - 63,
        stored.extents[0].0 + 4,
    ] {
        let forged = stored.with(|root| root[buffers..buffers + 8].copy_from_slice(&at.to_le_bytes()));
        assert!(matches!(forged.read(Trust::Writers), Err(Error::Damaged(_))), "{at}");
        assert!(forged.values(0, ElementType::I64).is_err());
    }
}

/// Not an assertion: `cargo test --release -- --ignored --nocapture speed`.
#[test]
#[ignore = "prints times"]
fn speed() {
    let time = |what: &str, f: &mut dyn FnMut()| {
        let mut best = f64::MAX;
        for _ in 0..30 {
            let start = std::time::Instant::now();
            for _ in 0..1000 {
                f();
            }
            best = best.min(start.elapsed().as_nanos() as f64 / 1000.0);
        }
        eprintln!("{what}: {best:.0} ns");
    };
    let columns: Vec<(String, ArrayRef)> = (0..10)
        .map(|i| (format!("c{i}"), Arc::new(Float64Array::from_iter_values((0..1000).map(|k| k as f64))) as ArrayRef))
        .collect();
    let batch = batch_of(columns.iter().map(|(n, a)| (n.as_str(), a.clone())).collect());
    let stored = store(&batch);
    let region = stored.region();
    time("parse", &mut || drop(std::hint::black_box(Layout::parse(stored.root()))));
    time("parse + values", &mut || {
        drop(std::hint::black_box(stored.values(5, ElementType::F64)));
    });
    time("parse + name + values", &mut || {
        let layout = Layout::parse(stored.root()).unwrap();
        let i = layout.index_of(std::hint::black_box("c5")).unwrap().unwrap();
        drop(std::hint::black_box(layout.values(i, ElementType::F64, &stored.region, |_| Ok(stored.extents[0]))));
    });
    time("parse + schema", &mut || drop(std::hint::black_box(Layout::parse(stored.root()).unwrap().schema())));
    time("batch of 10 f64 columns", &mut || drop(std::hint::black_box(stored.read(Trust::Writers))));
    time("the columns alone", &mut || {
        let layout = Layout::parse(stored.root()).unwrap();
        let schema = layout.schema().unwrap();
        for (i, field) in schema.fields().iter().enumerate() {
            drop(std::hint::black_box(layout.column_as(i, field.data_type(), &region, Trust::Writers)));
        }
    });
    time("ten arrays by hand, unchecked slices", &mut || {
        for i in 0..10 {
            let values = region.bytes.slice_with_length(8192 + 64 * i, 8000);
            let array: ArrayRef = Arc::new(Float64Array::new(ScalarBuffer::from(values), None));
            drop(std::hint::black_box(array));
        }
    });
    let layout = stored.layout();
    time("ten cursors, nodes, buffers", &mut || {
        for i in 0..10 {
            let mut cursor = layout.cursor(i, &region, Trust::Writers).unwrap();
            let node = cursor.node().unwrap();
            let _ = std::hint::black_box(cursor.validity(&node));
            let _ = std::hint::black_box(cursor.buffer(8));
        }
    });
    let columns = stored.read(Trust::Writers).unwrap();
    time("RecordBatch::try_new of them", &mut || {
        drop(std::hint::black_box(RecordBatch::try_new(columns.schema(), columns.columns().to_vec())));
    });
    time("plan of 10 f64 columns", &mut || drop(std::hint::black_box(Plan::new(&batch, Locate::NOWHERE))));
    let plan = Plan::new(&batch, Locate::NOWHERE).unwrap();
    let mut out = vec![0_u8; plan.root_bytes() as usize];
    let parts: Vec<u64> = plan.part_bytes().iter().map(|_| 0).collect();
    time("write_root of 10 f64 columns x 1000", &mut || {
        plan.write_root(64, &parts, &mut out, &|to, from| to.copy_from_slice(from))
    });
    for rows in [13, 100] {
        let small = batch.slice(0, rows);
        let size = Plan::new(&small, Locate::NOWHERE).unwrap().root_bytes() as usize;
        let mut out = vec![0_u8; size];
        time(&format!("plan and root of 10 f64 columns x {rows}, {size} bytes with descriptor"), &mut || {
            let plan = Plan::new(&small, Locate::NOWHERE).unwrap();
            plan.write_root(64, &[], &mut out, &|to, from| to.copy_from_slice(from));
        });
    }
    let source: Vec<u8> = vec![1; 80_000];
    let mut plain = vec![0_u8; 80_000];
    time("memcpy of 80 000 bytes", &mut || {
        plain.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&plain);
    });
}
