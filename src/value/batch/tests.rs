//! Every Arrow type in and out, sliced and whole.

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
use crate::value::extent::{Addresses, Located};
use crate::value::layout::{FORMAT, MAGIC};
use crate::value::plan::{Locate, Plan};
use crate::value::schema::{decode_schema, fingerprint};

mod damage;
mod random_arrays;
mod samples;
mod sharing;
mod speed;

/// A data region of ordinary memory with one batch in it.
struct Stored {
    region: Buffer,
    ground: Ground,
    root: OnceCell<Buffer>,
    extents: Vec<Extent>,
}

impl Stored {
    fn new(region: Buffer, extents: Vec<Extent>) -> Stored {
        Stored { ground: (&region).into(), root: OnceCell::new(), region, extents }
    }

    fn region(&self) -> Region<'_> {
        Region { ground: &self.ground, extents: &self.extents, cut: Cut::Root(&self.root) }
    }

    fn root(&self) -> &[u8] {
        &self.region[self.extents[0].range()]
    }

    fn layout(&self) -> Layout<'_> {
        Layout::parse(self.root()).unwrap()
    }

    fn values(&self, i: usize, element: ElementType) -> Result<Extent> {
        let extent = |k: u32| self.extents.get(k as usize).copied().ok_or_else(|| damaged("has no such extent"));
        Layout::parse(self.root())?.values(i, element, &self.ground, extent)
    }

    fn read(&self, trust: Trust) -> Result<RecordBatch> {
        Layout::parse(self.root())?.batch(&self.region(), trust)
    }

    /// A copy with other bytes in the root.
    fn with(&self, change: impl FnOnce(&mut [u8])) -> Stored {
        let mut region = MutableBuffer::from(self.region.to_vec());
        let mut aligned = MutableBuffer::from_len_zeroed(region.len());
        change(&mut region[self.extents[0].range()]);
        aligned.copy_from_slice(&region);
        Stored::new(aligned.into(), self.extents.clone())
    }
}

/// Objects lie apart, in reverse order, in memory full of 0xaa.
fn store(batch: &RecordBatch) -> Stored {
    store_behind(&[0xaa; 4096], &[], &Plan::new(batch, Locate::NOWHERE).unwrap())
}

/// A batch some of whose buffers may lie in the objects of `stored`: those are held, the rest is copied
/// behind them, into a copy of the memory. Also the bytes of the new parts.
fn store_again(stored: &Stored, batch: &RecordBatch) -> (Stored, u64) {
    let (region, extents) = (&stored.region, &stored.extents);
    let locate = |bytes: &[u8]| {
        let at = bytes.as_ptr().addr().checked_sub(region.as_ptr().addr())? as u64;
        let inside = |e: &Extent| at >= e.offset && at + bytes.len() as u64 <= e.offset + e.len;
        let found = extents[1..].iter().position(inside).filter(|_| !bytes.is_empty());
        found.map(|i| Located { object: Id(i as u32), offset: at })
    };
    let addresses = Addresses { start: stored.region.as_ptr().addr(), len: stored.region.len() };
    let plan = Plan::new(batch, Locate { addresses, find: &locate }).unwrap();
    let held: Vec<_> = plan.held().iter().map(|id| stored.extents[1 + id.0 as usize]).collect();
    let again = store_behind(&stored.region, &held, &plan);
    // In front of what it holds it says the same, if there is room.
    let size = plan.total_bytes() + 256 * (1 + plan.part_bytes().len() as u64);
    if !held.is_empty() && size < stored.extents.iter().map(|e| e.offset).min().unwrap_or(0) {
        assert_eq!(read_ipc(&store_at(&stored.region, 64, &held, &plan, Order::RootFirst)), *batch);
    }
    assert_eq!(again.layout().num_parts(), again.extents.len() - 1);
    (again, plan.part_bytes().iter().sum())
}

fn store_behind(before: &[u8], held: &[Extent], plan: &Plan<'_>) -> Stored {
    store_at(before, before.len().next_multiple_of(64) as u64, held, plan, Order::RootLast)
}

/// Where the root lies among its parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    RootFirst,
    RootLast,
}

/// Writes into a copy of the memory, from `at` on.
fn store_at(before: &[u8], mut at: u64, held: &[Extent], plan: &Plan<'_>, order: Order) -> Stored {
    let copy = |to: &mut [u8], from: &[u8]| to.copy_from_slice(from);
    let sizes = [plan.root_bytes()].into_iter().chain(plan.part_bytes().iter().copied());
    let mut extents: Vec<_> = sizes.map(|len| Extent { offset: 0, len }).collect();
    let mut place = |extent: &mut Extent| {
        extent.offset = at;
        at += extent.len.next_multiple_of(64) + 192;
    };
    match order {
        Order::RootFirst => extents.iter_mut().for_each(&mut place),
        Order::RootLast => extents.iter_mut().rev().for_each(&mut place),
    }
    let mut memory = MutableBuffer::from_len_zeroed(before.len().max(at as usize));
    memory.fill(0xaa);
    memory[..before.len()].copy_from_slice(before);
    let parts: Vec<u64> = extents[1..].iter().map(|e| e.offset).collect();
    for (i, extent) in extents[1..].iter().enumerate() {
        plan.write_part(i, &mut memory[extent.range()], &copy);
    }
    plan.write_root(extents[0].offset, &parts, &mut memory[extents[0].range()], &copy);
    extents.extend(held);
    Stored::new(memory.into(), extents)
}

/// Engines that count memory ask buffers for their capacity: it is what each has, or what it lies in, and never the arena.
#[test]
fn buffers_say_how_much_memory_they_have() {
    let stored = store(&batch_of(every_type(100)));
    let largest = stored.extents.iter().map(|extent| extent.len as usize).max().unwrap();
    let shared = stored.region();
    for (region, trust) in [
        (shared, Trust::Writers),
        (shared, Trust::Nobody),
        (Region { cut: Cut::Apart, ..shared }, Trust::Writers),
        (Region { cut: Cut::Apart, ..shared }, Trust::Nobody),
    ] {
        let batch = stored.layout().batch(&region, trust).unwrap();
        for column in batch.columns() {
            every_buffer(&column.to_data(), &mut |b| match region.cut {
                Cut::Apart => assert_eq!(b.capacity(), b.len(), "{}", column.data_type()),
                Cut::Root(_) => assert!(b.capacity() <= largest, "{}", column.data_type()),
            });
        }
    }
}

fn assert_inside(stored: &Stored, batch: &RecordBatch) {
    for (i, column) in batch.columns().iter().enumerate() {
        assert_eq!(column.to_data().offset(), 0);
        let mut outside = 0;
        every_buffer(&column.to_data(), &mut |b| {
            let at = (b.as_ptr() as usize).wrapping_sub(stored.region.as_ptr() as usize) as u64;
            let inside = stored.extents.iter().any(|e| at >= e.offset && at + b.len() as u64 <= e.offset + e.len);
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
    let Messages { schema, dictionaries, batch } = layout.ipc().unwrap();
    let schema = decode_schema(schema).unwrap();
    let mut known = HashMap::new();
    let version = arrow_ipc::MetadataVersion::V5;
    // The body reaches to the end of the last object that has bytes of the batch, and nothing beyond that is needed.
    let end = stored.extents.iter().map(|e| e.offset + e.len).max().unwrap();
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
    for extent in &stored.extents {
        let object = &stored.region[extent.range()];
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
fn values_finds_plain_numbers_and_names_what_is_not() {
    let n = 1000;
    let batch = batch_of(vec![
        ("f", Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64)))),
        ("when", Arc::new(nullable::<TimestampSecondType>(n, |i| i as i64))),
        ("text", Arc::new(texts(n).into_iter().collect::<StringArray>())),
    ]);
    let stored = store(&batch);
    let layout = stored.layout();
    let bytes = &stored.region[stored.values(0, ElementType::F64).unwrap().range()];
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

#[test]
fn what_cannot_be_stored_says_why() {
    let inner = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0]), Arc::new(strings_dictionary(1)));
    let batch = RecordBatch::try_from_iter([("d", Arc::new(inner) as ArrayRef)]).unwrap();
    let error = Plan::new(&batch, Locate::NOWHERE).err().unwrap().to_string();
    assert!(error.contains("column `d`") && error.contains("dictionary"), "{error}");
}
