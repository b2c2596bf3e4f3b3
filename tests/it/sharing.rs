//! Shows that what lies in the arena already is published again without being copied, and what that keeps.

use std::collections::HashMap;
use std::sync::Arc;

use faretra::arrow::arrow_array::builder::StringViewBuilder;
use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::{Float64Type, Int32Type, Int64Type};
use faretra::arrow::arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, RecordBatchIterator, StringArray, StructArray,
};
use faretra::arrow::arrow_buffer::{NullBuffer, OffsetBuffer};
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Array as NdArray, Batch, Bundle, Bundled, Error, Kind, MIB, Object, Table, Value, Writer};
use ndarray::{Ix1, Ix2};

use crate::support::TestArena;
use crate::values;

const PAGE: u64 = 4096;
/// Rows of a column of 1 MiB of 64-bit numbers.
const ROWS: usize = 1 << 17;

fn live(t: &TestArena) -> u64 {
    t.arena.stats().expect("stats").live
}

fn get(t: &TestArena, name: &str) -> Object {
    t.arena.get(name).expect("published")
}

fn batch(t: &TestArena, name: &str) -> Batch {
    t.arena.batch(name).expect("published")
}

/// A column of 1 MiB that tells which it is.
fn numbers(column: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| (row * 1000 + column) as i64)))
}

fn of_numbers(columns: impl IntoIterator<Item = usize>) -> RecordBatch {
    let columns = columns.into_iter().map(|c| (format!("c{c}"), numbers(c), false));
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

/// A batch of such columns, with so much metadata that its root has pages of its own.
fn of_numbers_and_pages(columns: &[usize], array: impl Fn(usize) -> ArrayRef) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|c| Field::new(format!("c{c}"), DataType::Int64, false)).collect();
    let schema = Schema::new_with_metadata(fields, HashMap::from([("much".to_owned(), "x".repeat(5000))]));
    RecordBatch::try_new(Arc::new(schema), columns.iter().map(|c| array(*c)).collect()).expect("types fit")
}

/// Addresses of all buffers, the validity last.
fn addresses(array: &ArrayRef) -> Vec<usize> {
    let data = array.to_data();
    let nulls = data.nulls().map(|n| n.buffer().as_ptr().addr());
    let own = data.buffers().iter().map(|b| b.as_ptr().addr());
    let children = data.child_data().iter().flat_map(|child| child.buffers().iter().map(|b| b.as_ptr().addr()));
    own.chain(children).chain(nulls).collect()
}

#[track_caller]
fn publish<'a>(w: &Writer, name: &str, value: impl Into<Value<'a>>) -> u64 {
    w.publish(name, value).expect("room")
}

#[test]
fn a_received_object_has_a_second_name_for_no_payload() {
    for kind in values::KINDS {
        let t = TestArena::new(64 * MIB);
        let w = t.arena.writer().expect("a permit");
        for version in 1..=3 {
            values::publish(&w, "a", kind, version, 100_000).expect("room");
        }
        let a = get(&t, "a");
        let before = live(&t);
        // The first alias of all needs a page, which has room for more of them.
        assert_eq!(publish(&w, "b", &a), 1, "{kind}");
        let cost = live(&t) - before;
        assert!(cost <= PAGE, "{kind}: {cost} bytes");
        let b = get(&t, "b");
        assert_eq!((b.kind(), b.rows(), b.nbytes()), (a.kind(), a.rows(), a.nbytes()));
        assert_eq!((a.version(), b.version(), b.name()), (3, 1, "b"));
        assert!(b.published() >= a.published());
        assert_eq!(values::check(&b), Ok(3), "{kind}");
        // An alias of an alias is one of the object itself.
        publish(&w, "c", &b);
        drop((a, b));
        assert!(w.remove("a").expect("remove") && w.remove("b").expect("remove"));
        assert!(live(&t) >= before);
        assert_eq!(values::check(&get(&t, "c")), Ok(3), "{kind}");
        assert_eq!(t.arena.verify().expect("verify"), []);
        // It can be replaced like anything else, and by itself.
        let c = get(&t, "c");
        assert_eq!(publish(&w, "c", &c), 2);
        drop(c);
        // A reader keeps what it has, whatever name it has it by.
        let c = get(&t, "c");
        assert!(w.remove("c").expect("remove"));
        assert_eq!(values::check(&c), Ok(3), "{kind}");
        drop(c);
        t.assert_sound(0);
    }
}

#[test]
fn second_names_show_the_same_bytes() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    publish(&w, "bytes", &[7_u8; 5000][..]);
    publish(&w, "array", ndarray::Array1::from_iter(0..50_000_u64).view());
    publish(&w, "batch", of_numbers(0..2));
    let (bytes, array) = (get(&t, "bytes"), get(&t, "array"));
    publish(&w, "bytes2", &bytes);
    publish(&w, "array2", &array);
    publish(&w, "batch2", batch(&t, "batch"));
    assert_eq!(get(&t, "bytes2").bytes().expect("bytes").as_ptr(), bytes.bytes().expect("bytes").as_ptr());
    let one: NdArray<u64, Ix1> = array.try_into().expect("an array");
    let two: NdArray<u64, Ix1> = get(&t, "array2").try_into().expect("an array");
    assert_eq!(one.as_ptr(), two.as_ptr());
    let (one, two) = (batch(&t, "batch"), batch(&t, "batch2"));
    assert_eq!(one.record_batch(), two.record_batch());
    assert_eq!(one.column::<i64>("c1").expect("a column").as_ptr(), two.column::<i64>("c1").expect("it").as_ptr());
    assert_eq!(one.ipc().expect("ipc").batch, two.ipc().expect("ipc").batch);
    let table = Table::try_from(get(&t, "batch2")).expect("a batch is a table of one batch");
    assert_eq!((table.num_batches(), table.num_rows()), (1, ROWS as u64));
    // The list of names says what each is, not how.
    let kinds: HashMap<_, _> = t.arena.names().expect("names").into_iter().map(|e| (e.name, e.kind)).collect();
    assert_eq!((kinds["bytes2"], kinds["array2"], kinds["batch2"]), (Kind::Bytes, Kind::Array, Kind::Batch));
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Rows of every layout that arrow has, 64 KiB and more in each, with and without nulls.
fn of_many_types(rows: usize) -> RecordBatch {
    let nulls = || Some(NullBuffer::from_iter((0..rows).map(|i| i % 5 != 3)));
    let text = |i: usize| format!("text of row {i}");
    let mut views = StringViewBuilder::new();
    (0..rows).for_each(|i| views.append_value(format!("longer than a view itself can have: {i}")));
    let keys = Int32Array::from_iter_values((0..rows).map(|i| (i * 7 % 100) as i32));
    let words = StringArray::from_iter_values((0..100).map(|i| format!("word {i}")));
    let item = Arc::new(Field::new("item", DataType::Int32, false));
    let offsets: OffsetBuffer<i32> = OffsetBuffer::from_lengths((0..rows).map(|i| i % 4));
    let items = Arc::new(Int32Array::from_iter_values(0..*offsets.last().expect("one more than rows")));
    let pairs = Arc::new(Int32Array::from_iter_values(0..2 * rows as i32));
    let pair = vec![Field::new("x", DataType::Float64, true), Field::new("s", DataType::Utf8, true)];
    let x: Float64Array = (0..rows).map(|i| (i % 3 != 1).then_some(i as f64)).collect();
    let s = StringArray::from_iter_values((0..rows).map(text));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("numbers", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ("numbers with nulls", Arc::new((0..rows).map(|i| (i % 3 != 1).then_some(i as f64)).collect::<Float64Array>())),
        ("text", Arc::new(s.clone())),
        ("text with nulls", Arc::new((0..rows).map(|i| (i % 4 != 2).then(|| text(i))).collect::<StringArray>())),
        ("booleans", Arc::new((0..rows).map(|i| Some(i % 3 == 0)).collect::<BooleanArray>())),
        ("dictionary", Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(words)))),
        ("list", Arc::new(ListArray::new(item.clone(), offsets, items, nulls()))),
        ("pairs", Arc::new(FixedSizeListArray::new(item, 2, pairs, nulls()))),
        ("struct", Arc::new(StructArray::new(pair.into(), vec![Arc::new(x), Arc::new(s)], nulls()))),
        ("views", Arc::new(views.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).expect("a batch")
}

#[test]
fn slices_of_every_layout_are_equal_and_cost_what_must_change() {
    let t = TestArena::new(512 * MIB);
    let w = t.arena.writer().expect("a permit");
    // So many that a column of bits is 64 KiB, too.
    let rows = 600_000;
    let all = of_many_types(rows);
    publish(&w, "all", &all);
    let read = batch(&t, "all");
    let root = |name: &str, record: &RecordBatch| {
        let before = live(&t);
        publish(&w, name, record);
        assert_eq!(batch(&t, name).record_batch(), record, "{name}");
        live(&t) - before
    };
    // Whole: the root alone.
    let whole = root("whole", read.record_batch());
    assert!(whole <= 2 * PAGE, "{whole} bytes");
    for (one, two) in read.columns().iter().zip(batch(&t, "whole").columns()) {
        assert_eq!(addresses(one), addresses(two));
    }
    // From a multiple of 8: bits need no shift. What is left are offsets: of lists, and of text in structs.
    let (from, len) = (8 * 1000, rows - 8 * 2000);
    let sliced = root("sliced", &read.slice(from, len));
    let offsets = 2 * 4 * (len as u64 + 1);
    assert!(sliced <= offsets + 4 * PAGE, "{sliced} bytes");
    assert_eq!(batch(&t, "sliced").record_batch(), &all.slice(from, len));
    // From anywhere: the bits as well; an eighth of a byte a row for each.
    let (from, len) = (8 * 1000 + 3, rows - 20_001);
    let askew = root("askew", &read.slice(from, len));
    let bits = 7 * (len as u64).div_ceil(8);
    assert!(askew <= offsets + bits + 10 * PAGE, "{askew} bytes");
    assert_eq!(batch(&t, "askew").record_batch(), &all.slice(from, len));
    for (name, i) in [("numbers", 0), ("text", 2), ("text with nulls", 3), ("dictionary", 5), ("views", 9)] {
        let (old, new) = (read.record_batch().column(i), &batch(&t, "askew").columns()[i].clone());
        let first_row = |array: &ArrayRef| array.slice(0, 1).to_data().buffers()[0].as_ptr().addr();
        assert_eq!(first_row(&old.slice(from, len)), first_row(new), "{name}");
    }
    // A slice of a slice of a slice, with its parents gone.
    drop(read);
    assert!(w.remove("all").expect("remove") && w.remove("whole").expect("remove"));
    let again = batch(&t, "askew").slice(101, 500_000);
    publish(&w, "askew", &again);
    drop(again);
    assert_eq!(batch(&t, "askew").record_batch(), &all.slice(from + 101, 500_000));
    assert_eq!(t.arena.verify().expect("verify"), []);
    assert!(w.remove("askew").expect("remove") && w.remove("sliced").expect("remove"));
    t.assert_sound(0);
}

#[test]
fn few_rows_keep_nothing_else() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    publish(&w, "all", of_numbers(0..4));
    let few = batch(&t, "all").slice(1000, 100);
    publish(&w, "few", &few);
    drop(few);
    w.remove("all").expect("remove");
    assert!(live(&t) <= 2 * PAGE);
    assert_eq!(batch(&t, "few").record_batch(), &of_numbers(0..4).slice(1000, 100));
    w.remove("few").expect("remove");
    t.assert_sound(0);
}

#[test]
fn a_table_gains_a_column_for_the_column() {
    let t = TestArena::new(256 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (batches, columns) = (8, 8);
    let parts: Vec<RecordBatch> = (0..batches).map(|b| of_numbers(b * 10..b * 10 + columns)).collect();
    let schema = parts[0].schema();
    let renamed =
        |batch: &RecordBatch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).expect("types fit");
    let parts: Vec<RecordBatch> = parts.iter().map(renamed).collect();
    publish(&w, "t", Value::table(RecordBatchIterator::new(parts.clone().into_iter().map(Ok), schema.clone())));
    let before = live(&t);
    assert!(before >= 64 * MIB);

    let old = t.arena.table("t").expect("published");
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new("new", DataType::Float64, false)));
    let wider = Arc::new(Schema::new(fields));
    let added = |b: usize| Arc::new(Float64Array::from_iter_values((0..ROWS).map(|i| (i + b) as f64))) as ArrayRef;
    let with_new = |(b, batch): (usize, RecordBatch)| {
        let columns = batch.columns().iter().cloned().chain([added(b)]).collect();
        RecordBatch::try_new(wider.clone(), columns)
    };
    let extended = old.reader().enumerate().map(|(b, batch)| with_new((b, batch?)));
    publish(&w, "t", Value::table(RecordBatchIterator::new(extended, wider.clone())));
    let overhead = live(&t) - before - batches as u64 * MIB;
    // A root for each batch and one for the table, each of a page.
    assert!(overhead <= 9 * PAGE, "{overhead} bytes");
    let new = t.arena.table("t").expect("published");
    assert_eq!((new.schema(), new.num_rows()), (wider.clone(), (batches * ROWS) as u64));
    for (b, part) in parts.iter().enumerate() {
        let (was, is) = (old.batch(b as u64).expect("old"), new.batch(b as u64).expect("new"));
        assert_eq!(is.record_batch(), &with_new((b, part.clone())).expect("types fit"));
        assert_eq!(
            is.column::<f64>("new").expect("it").as_slice(),
            Some(&added(b).as_primitive::<Float64Type>().values()[..])
        );
        for c in 0..columns {
            assert_eq!(addresses(was.record_batch().column(c)), addresses(is.record_batch().column(c)));
        }
    }
    // The old version takes its roots with it, and nothing else.
    let both = live(&t);
    drop(old);
    let roots = both - live(&t);
    assert!((1..=9 * PAGE).contains(&roots), "{roots} bytes");
    assert_eq!(new.batch(3).expect("it").record_batch(), &with_new((3, parts[3].clone())).expect("types fit"));
    assert_eq!(t.arena.verify().expect("verify"), []);
    drop(new);
    w.remove("t").expect("remove");
    t.assert_sound(0);
}

#[test]
fn tables_are_put_together_of_received_batches() {
    let t = TestArena::new(128 * MIB);
    let w = t.arena.writer().expect("a permit");
    let names: Vec<String> = (0..8).map(|b| format!("b{b}")).collect();
    for (b, name) in names.iter().enumerate() {
        publish(&w, name, of_numbers([b % 3]).slice(0, ROWS - b));
    }
    // The names of the columns differ, so that these are made to fit: that costs a root each.
    let batches: Vec<Batch> = names.iter().map(|name| batch(&t, name)).collect();
    let wrong = w.publish("t", &batches[..]).expect_err("the columns have other names");
    assert!(matches!(&wrong, Error::Mismatch { name, .. } if name == "batch 1 of the table"), "{wrong}");
    let none: &[Batch] = &[];
    let wrong = w.publish("t", none).expect_err("there is no schema");
    assert!(wrong.to_string().contains("no batches"), "{wrong}");

    let same = Arc::new(Schema::new(vec![Field::new("c", DataType::Int64, false)]));
    let before = live(&t);
    for (name, batch) in names.iter().zip(&batches) {
        let renamed = RecordBatch::try_new(same.clone(), batch.columns().to_vec()).expect("types fit");
        publish(&w, name, &renamed);
    }
    // The readers keep the old roots, of a page each; the new have a page each too.
    assert!(live(&t) - before <= 8 * PAGE);
    drop(batches);
    let batches: Vec<Batch> = names.iter().map(|name| batch(&t, name)).collect();
    let before = live(&t);
    publish(&w, "t", &batches[..]);
    let cost = live(&t) - before;
    assert!(cost <= PAGE, "{cost} bytes");
    let table = t.arena.table("t").expect("published");
    assert_eq!((table.num_batches(), table.num_rows()), (8, (8 * ROWS - 28) as u64));
    for (b, one) in batches.iter().enumerate() {
        let two = table.batch(b as u64).expect("it");
        assert_eq!(one.record_batch(), two.record_batch());
        assert_eq!(addresses(one.record_batch().column(0)), addresses(two.record_batch().column(0)));
    }
    // Other metadata: the table's counts, and the columns are shared all the same.
    let told = Arc::new(Schema::new_with_metadata(same.fields().clone(), HashMap::from([("a".into(), "b".into())])));
    let other = RecordBatch::try_new(told.clone(), batches[0].columns().to_vec()).expect("types fit");
    publish(&w, "told", &other);
    let before = live(&t);
    publish(&w, "u", &[batch(&t, "told"), batches[1].clone()][..]);
    let cost = live(&t) - before;
    assert!(cost <= 2 * PAGE, "{cost} bytes");
    let mixed = t.arena.table("u").expect("published");
    assert_eq!(mixed.schema(), told);
    assert_eq!(mixed.batch(1).expect("it").schema(), told);
    assert_eq!(t.arena.verify().expect("verify"), []);
    drop((table, mixed, batches, other));
    for name in names.iter().map(String::as_str).chain(["t", "u", "told"]) {
        assert!(w.remove(name).expect("remove"));
    }
    t.assert_sound(0);
}

/// Columns of each version; 9 is one of its own.
const VERSIONS: [(&str, &[usize]); 4] =
    [("all", &[0, 1, 2, 3]), ("some", &[3, 1]), ("wider", &[0, 9, 2]), ("last", &[3])];

fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for i in 0..n {
        let more = |p: Vec<usize>| (0..=i).map(move |at| [&p[..at], &[i], &p[at..]].concat());
        all = all.into_iter().flat_map(more).collect();
    }
    all
}

/// To the byte: after each removal the live memory is the roots that are left, and each of their columns once.
#[test]
fn removal_frees_what_nobody_else_holds_in_every_order() {
    for order in permutations(VERSIONS.len()) {
        let t = TestArena::new(64 * MIB);
        let w = t.arena.writer().expect("a permit");
        publish(&w, "all", of_numbers_and_pages(VERSIONS[0].1, numbers));
        let all = batch(&t, "all");
        let mut roots = vec![live(&t) - 4 * MIB];
        for (name, columns) in &VERSIONS[1..] {
            let before = live(&t);
            let array = |c: usize| all.columns().get(c).cloned().unwrap_or_else(|| numbers(c));
            publish(&w, name, of_numbers_and_pages(columns, array));
            roots.push(live(&t) - before - if *name == "wider" { MIB } else { 0 });
        }
        assert_eq!(roots, [2 * PAGE; 4]);
        drop(all);
        let mut left: Vec<usize> = (0..VERSIONS.len()).collect();
        let (first, rest) = order.split_first().expect("some");
        // A reader of the first to go keeps all of it.
        let reader = batch(&t, VERSIONS[*first].0);
        let before = live(&t);
        w.remove(VERSIONS[*first].0).expect("remove");
        assert_eq!(live(&t), before);
        assert_eq!(reader.record_batch(), &of_numbers_and_pages(VERSIONS[*first].1, numbers));
        drop(reader);
        left.retain(|v| v != first);
        for next in rest.iter().map(Some).chain([None]) {
            let mut columns: Vec<usize> = left.iter().flat_map(|v| VERSIONS[*v].1.to_vec()).collect();
            columns.sort_unstable();
            columns.dedup();
            let expected = columns.len() as u64 * MIB + left.iter().map(|v| roots[*v]).sum::<u64>();
            assert_eq!(live(&t), expected, "{order:?}: with {left:?} left");
            assert_eq!(t.arena.verify().expect("verify"), []);
            for v in &left {
                let (name, columns) = VERSIONS[*v];
                assert_eq!(batch(&t, name).record_batch(), &of_numbers_and_pages(columns, numbers), "{order:?}");
            }
            if let Some(next) = next {
                w.remove(VERSIONS[*next].0).expect("remove");
                left.retain(|v| v != next);
            }
        }
        t.assert_sound(0);
    }
}

#[test]
fn bundles_hold_their_members() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    for kind in values::KINDS {
        values::publish(&w, kind, kind, 5, 50_000).expect("room");
    }
    let objects: Vec<Object> = values::KINDS.iter().map(|kind| get(&t, kind)).collect();
    let before = live(&t);
    let all = values::KINDS.iter().zip(&objects).fold(Bundle::new(), |all, (kind, object)| all.with(kind, object));
    // Twice the same, and something of its own.
    publish(&w, "all", all.with("again", &objects[0]).with("own", &b"own"[..]));
    let cost = live(&t) - before;
    assert!(cost <= 2 * PAGE, "{cost} bytes");
    for kind in values::KINDS {
        assert!(w.remove(kind).expect("remove"));
    }
    drop(objects);
    let bundle = Bundled::try_from(get(&t, "all")).expect("a bundle");
    assert_eq!(bundle.names().count(), values::KINDS.len() + 2);
    for name in values::KINDS.into_iter().chain(["again"]) {
        assert_eq!(values::check(&bundle.get(name).expect("a member")), Ok(5), "{name}");
    }
    assert_eq!(bundle.get("own").expect("a member").bytes().expect("bytes"), b"own");
    // A member is an object like any other: it gets a name, and outlives the bundle; and so does a bundle.
    publish(&w, "member", bundle.get("table").expect("a member"));
    publish(&w, "second", &bundle);
    publish(&w, "nested", Bundle::new().with("inner", &bundle).with("x", &b"x"[..]));
    drop(bundle);
    assert!(w.remove("all").expect("remove") && w.remove("second").expect("remove"));
    let nested = Bundled::try_from(get(&t, "nested")).expect("a bundle");
    let inner = Bundled::try_from(nested.get("inner").expect("a member")).expect("a bundle");
    assert_eq!(values::check(&inner.get("batch").expect("a member")), Ok(5));
    drop((nested, inner));
    assert!(w.remove("nested").expect("remove"));
    assert_eq!(values::check(&get(&t, "member")), Ok(5));
    assert_eq!(t.arena.verify().expect("verify"), []);
    assert!(w.remove("member").expect("remove"));
    t.assert_sound(0);
}

#[test]
fn objects_of_another_arena_are_copied_whole() {
    let (here, there) = (TestArena::new(64 * MIB), TestArena::new(64 * MIB));
    let (w, from) = (here.arena.writer().expect("a permit"), there.arena.writer().expect("a permit"));
    for (i, kind) in values::KINDS.into_iter().enumerate() {
        values::publish(&from, kind, kind, i as u64, 50_000).expect("room");
        publish(&w, kind, get(&there, kind));
        publish(&w, &format!("{kind} in a bundle"), Bundle::new().with("m", get(&there, kind)));
    }
    let batches = [batch(&there, "batch"), batch(&there, "batch")];
    publish(&w, "of batches", &batches[..]);
    publish(&w, "record", batches[0].record_batch());
    drop(batches);
    let dir = there.close();
    drop((from, dir));
    for (i, kind) in values::KINDS.into_iter().enumerate() {
        assert_eq!(values::check(&get(&here, kind)), Ok(i as u64), "{kind}");
        let bundle = Bundled::try_from(get(&here, &format!("{kind} in a bundle"))).expect("a bundle");
        assert_eq!(values::check(&bundle.get("m").expect("a member")), Ok(i as u64), "{kind}");
    }
    assert_eq!(values::check(&get(&here, "record")), Ok(2));
    assert_eq!(here.arena.table("of batches").expect("it").num_batches(), 2);
    assert_eq!(here.arena.verify().expect("verify"), []);
}

/// What changes in place is published once; frozen, it is an array like any other.
#[test]
fn only_what_does_not_change_has_second_names() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let grid = w.mutable_array::<u64, Ix2>("grid", (100, 500), 4).expect("room");
    let refused = w.publish("second", get(&t, "grid")).expect_err("it may change");
    assert!(matches!(&refused, Error::Mismatch { found, .. } if found == "mutable array"), "{refused}");
    let refused = w.publish("bundle", Bundle::new().with("m", get(&t, "grid"))).expect_err("it may change");
    assert!(matches!(&refused, Error::Mismatch { .. }), "{refused}");
    grid.write(1).expect("free").view_mut().expect("rows").fill(7);
    let frozen = grid.freeze().expect("free");
    let (first, before) = (get(&t, "grid"), live(&t));
    assert_eq!((first.kind(), first.rows(), first.version()), (Kind::Array, 50_000, 1));
    publish(&w, "second", &first);
    let cost = live(&t) - before;
    assert!(cost <= PAGE, "{cost} bytes");
    drop((first, grid));
    w.remove("grid").expect("remove");
    let second = t.arena.array::<u64, Ix2>("second").expect("an array");
    assert_eq!((second.sum(), second.as_ptr()), (7 * 25 * 500, frozen.as_ptr()));
    drop(frozen);
    assert_eq!(t.arena.verify().expect("verify"), []);
    drop(second);
    w.remove("second").expect("remove");
    t.assert_sound(0);
}

/// A process that attaches an arena twice shares names between the two.
#[test]
fn a_second_attachment_shares_too() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    publish(&w, "a", of_numbers(0..4));
    let second = t.open();
    let before = live(&t);
    publish(&w, "b", second.batch("a").expect("published"));
    let cost = live(&t) - before;
    assert!(cost <= PAGE, "{cost} bytes");
    drop(second);
    w.remove("a").expect("remove");
    assert_eq!(batch(&t, "b").record_batch(), &of_numbers(0..4));
    w.remove("b").expect("remove");
    t.assert_sound(0);
}

/// More holders than there is room for in a record, and more than one knot of them has.
#[test]
fn hundreds_of_names_share_one_object() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    publish(&w, "a", of_numbers(0..2));
    let a = batch(&t, "a");
    let names: Vec<String> = (0..300).map(|i| format!("n{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        match i % 3 {
            0 => publish(&w, name, &a),
            1 => publish(&w, name, a.record_batch()),
            _ => publish(&w, name, a.slice(i, ROWS - 2 * i)),
        };
    }
    drop(a);
    w.remove("a").expect("remove");
    for (i, name) in names.iter().enumerate() {
        let (from, len) = if i % 3 == 2 { (i, ROWS - 2 * i) } else { (0, ROWS) };
        let read = batch(&t, name);
        let values = read.record_batch().column(1).as_primitive::<Int64Type>().clone();
        assert_eq!((values.len(), values.value(7)), (len, ((from + 7) * 1000 + 1) as i64), "{name}");
    }
    assert_eq!(t.arena.verify().expect("verify"), []);
    // In an order that is neither first nor last come, first served.
    for i in 0..names.len() {
        assert!(live(&t) >= 2 * MIB);
        assert!(w.remove(&names[i * 7 % names.len()]).expect("remove"), "{i}");
    }
    t.assert_sound(0);
}

/// A table is put together of batches that were copied before, one by one: nothing is copied again, what does not fit is refused,
/// and drafts that become nothing leave nothing.
#[test]
fn tables_are_put_together_of_drafts() {
    let t = TestArena::new(128 * MIB);
    let w = t.arena.writer().expect("a permit");
    let schema = of_numbers([0]).schema();
    let prepared = |rows: usize| w.prepare(of_numbers([0]).slice(0, rows)).expect("room");
    let drafts = vec![prepared(ROWS), prepared(0), prepared(7)];
    let before = live(&t);
    publish(&w, "t", Value::drafts(schema.clone(), drafts));
    let cost = live(&t) - before;
    assert!(cost <= PAGE, "{cost} bytes");
    let table = t.arena.table("t").expect("published");
    assert_eq!((table.num_batches(), table.num_rows(), table.schema()), (3, ROWS as u64 + 7, schema.clone()));
    assert_eq!(table.batch(2).expect("it").record_batch(), &of_numbers([0]).slice(0, 7));

    publish(&w, "none", Value::drafts(schema.clone(), vec![]));
    assert_eq!((t.arena.table("none").expect("published").num_rows(), live(&t) > 0), (0, true));
    let inner = Bundle::new().with("inner", Value::drafts(schema.clone(), vec![prepared(3)]));
    publish(&w, "bundle", inner);
    let inner = t.arena.bundle("bundle").and_then(|bundle| bundle.get("inner")).expect("published");
    assert_eq!(inner.table().expect("a table").num_rows(), 3);

    let before = live(&t);
    let other = w.prepare(of_numbers([0, 1])).expect("room");
    let wrong = w.publish("wrong", Value::drafts(schema.clone(), vec![prepared(1), other])).expect_err("two columns");
    assert!(matches!(&wrong, Error::Mismatch { name, .. } if name == "draft 1 of the table"), "{wrong}");
    let bytes = w.prepare("bytes").expect("room");
    let wrong = w.publish("wrong", Value::drafts(schema, vec![bytes])).expect_err("no batch");
    assert!(wrong.to_string().contains("a draft of kind bytes"), "{wrong}");
    assert_eq!(live(&t), before, "refused drafts are dropped");
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// A table grows by drafts: what was there is shared, whatever the size of its columns.
#[test]
fn a_table_grows_without_being_copied() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let small = of_numbers([0]).slice(0, 10);
    let mut version = publish(&w, "t", of_numbers([0]));
    for round in 1..=20 {
        let before = live(&t);
        let draft = w.prepare(&small).expect("room");
        let table = t.arena.table("t").expect("published");
        version = w.publish_if("t", version, Value::appended(table, vec![draft])).expect("room");
        let table = t.arena.table("t").expect("published");
        assert_eq!((table.num_batches(), table.num_rows()), (1 + round, ROWS as u64 + 10 * round));
        assert_eq!(table.batch(0).expect("the first").record_batch(), &of_numbers([0]));
        assert_eq!(table.batch(round).expect("the last").record_batch(), &small);
        drop(table);
        let grown = live(&t) as i64 - before as i64;
        assert!(grown <= 3 * PAGE as i64, "round {round}: {grown} bytes for 10 rows");
    }
    // A conflict changes nothing, and leaves nothing of the draft.
    let objects = t.arena.stats().expect("stats").objects;
    let draft = w.prepare(&small).expect("room");
    let late = Value::appended(t.arena.table("t").expect("published"), vec![draft]);
    assert!(matches!(w.publish_if("t", version - 1, late), Err(Error::Conflict { .. })));
    assert_eq!(t.arena.stats().expect("stats").objects, objects);
    // A draft of another schema is refused.
    let draft = w.prepare(of_numbers([1]).slice(0, 1)).expect("room");
    let other = Value::appended(t.arena.table("t").expect("published"), vec![draft]);
    assert!(matches!(w.publish("t", other), Err(Error::Mismatch { .. })));
    assert!(w.remove("t").expect("remove"));
    t.assert_sound(0);
}
