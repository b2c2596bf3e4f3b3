//! Shows that an arena with checksums tells which object and which column has changed since it was published, however the
//! object came to be, and that it reads and holds the same as any other arena.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, Bundle, Error, Kind, MIB, Order, Value};
use ndarray::{Array1, Ix1};

use crate::arrow_types::samples::{batch_of, every_type};
use crate::support::Dir;
use crate::value_damage::{file_of, find};

/// A number that stands nowhere else, so that its bytes are found in the file.
fn mark(i: u64) -> f64 {
    f64::from_bits(0x4171_7273_7400_0000 | i)
}

fn batch(rows: usize, seed: u64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows as u64).map(|i| mark(seed << 16 | i))));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("row {i} of {seed}"))));
    RecordBatch::try_from_iter([("ids", ids), ("numbers", numbers), ("text", text)]).expect("columns of one length")
}

/// Adds to the last byte of `bytes`, where they stand in the arena's file.
fn change(arena: &Arena, bytes: &[u8], by: i8) {
    let file = file_of(arena);
    let last = bytes.len() - 1;
    let at = find(&file, bytes) + last as u64;
    file.write_all_at(&[bytes[last].wrapping_add_signed(by)], at).expect("written");
}

/// What a change of `bytes` is called, by the object and by `verify_deep`; then the bytes are as they were.
fn told(arena: &Arena, name: &str, bytes: &[u8]) -> String {
    let object = arena.get(name).expect("there");
    assert!(object.verify_checksums().expect("unchanged") > 0);
    change(arena, bytes, 1);
    let text = match object.verify_checksums() {
        Err(Error::Damaged(text)) => text,
        other => panic!("a change of `{name}` was not seen: {other:?}"),
    };
    let found = arena.verify_deep().expect("a report");
    assert!(found.iter().any(|v| v.rule == "checksum"), "{found:?}");
    let mut changed = bytes.to_vec();
    *changed.last_mut().expect("bytes") += 1;
    change(arena, &changed, -1);
    assert_eq!(arena.verify_deep().expect("a report"), []);
    text
}

/// Every way in: copied small and large, in place, as a table, a bundle, an array, bytes, through a channel; then a byte
/// changes, and the report names the object and the column.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes into the arena's file")]
fn a_changed_byte_is_told_by_object_and_column() {
    let dir = Dir::new();
    let arena = Arena::options().dir(&dir.0).limit(256 * MIB).checksums(true).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");

    writer.publish("small", batch(100, 1)).expect("room");
    let text = told(&arena, "small", &mark(1 << 16 | 77).to_le_bytes());
    assert!(text.contains("column `numbers` of `small`") && !text.contains("more"), "{text}");
    let text = told(&arena, "small", b"row 41 of 1");
    assert!(text.contains("column `text` of `small`"), "{text}");

    // Columns that are objects of their own, larger than what is copied past the cache.
    writer.publish("large", batch(1_200_000, 2)).expect("room");
    for row in [0, 40_000, 65_535] {
        let text = told(&arena, "large", &mark(2 << 16 | row).to_le_bytes());
        assert!(text.contains("column `numbers` of `large`"), "{text}");
    }

    let fields = vec![Field::new("ids", DataType::Int64, false), Field::new("numbers", DataType::Float64, true)];
    for rows in [10, 50_000] {
        let mut draft = writer.draft(&Arc::new(Schema::new(fields.clone())), rows).expect("room");
        draft.column_mut::<i64>("ids").expect("ids").fill(7);
        draft.column_mut::<f64>("numbers").expect("numbers").fill(mark(0x33_0000 | rows as u64));
        writer.publish("drafted", draft).expect("published");
        let text = told(&arena, "drafted", &mark(0x33_0000 | rows as u64).to_le_bytes());
        assert!(text.contains("column `numbers` of `drafted`"), "{text}");
    }

    let batches = vec![batch(10, 4), batch(20_000, 5)];
    writer.publish("table", Value::batches(batches[0].schema(), batches)).expect("room");
    let text = told(&arena, "table", &mark(5 << 16 | 9_999).to_le_bytes());
    assert!(text.contains("column `numbers` of batch 1 of `table`"), "{text}");

    let values = Array1::from_iter((0..300_000).map(|i| mark(6 << 24 | i)));
    let bundle = Bundle::new().with("weights", values.view()).with("note", "a rather rare sentence");
    writer.publish("bundle", bundle).expect("room");
    let text = told(&arena, "bundle", &mark(6 << 24 | 123_456).to_le_bytes());
    assert!(text.contains("member `weights` of `bundle`"), "{text}");
    let text = told(&arena, "bundle", b"a rather rare sentence");
    assert!(text.contains("member `note` of `bundle`"), "{text}");

    let mut draft =
        writer.draft_dyn_array("<f8".parse::<faretra::DType>().expect("a type"), &[3], Order::C).expect("room");
    draft.bytes_mut().expect("bytes")[8..16].copy_from_slice(&mark(0x77_0001).to_le_bytes());
    let mut map = draft.into_map().expect("a map");
    writer.publish("mapped", map.finish().expect("finished")).expect("published");
    assert!(told(&arena, "mapped", &mark(0x77_0001).to_le_bytes()).contains("`mapped`"));

    // Shared columns are checked with each batch that has them.
    let large = arena.batch("large").expect("a batch");
    writer.publish("slice", large.slice(100, 900_000).project(&[1]).expect("a column")).expect("room");
    let text = told(&arena, "slice", &mark(2 << 16 | 40_000).to_le_bytes());
    assert!(text.contains("column `numbers` of `slice`"), "{text}");
    writer.publish("alias", arena.get("large").expect("an object")).expect("room");
    assert!(told(&arena, "alias", &mark(2 << 16).to_le_bytes()).contains("column `numbers` of `alias`"));

    let sender = writer.sender("jobs", 4).expect("a sender");
    sender.send(batch(10, 8)).expect("sent");
    let lease = arena.receiver("jobs").expect("a receiver").recv_timeout(Duration::from_secs(10)).expect("an item");
    assert!(lease.verify_checksums().expect("unchanged") > 0);
    change(&arena, &mark(8 << 16 | 3).to_le_bytes(), 1);
    let text = lease.verify_checksums().expect_err("changed").to_string();
    assert!(text.contains("column `numbers` of `jobs`"), "{text}");
}

/// An array that several processes write has no checksum, before and after it is frozen; its neighbours have.
#[test]
fn what_changes_in_place_has_no_checksum() {
    let dir = Dir::new();
    let arena = Arena::options().dir(&dir.0).limit(64 * MIB).checksums(true).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    let array = writer.mutable_array::<f64, Ix1>("grid", 1000, 4).expect("an array");
    array.write(0).expect("rows").view_mut().expect("a view").fill(1.5);
    array.freeze().expect("frozen");
    assert_eq!(arena.get("grid").expect("there").verify_checksums().expect("none"), 0);
    assert_eq!(arena.verify_deep().expect("a report"), []);
}

/// Values of every type come back equal, and all memory does: as without checksums.
#[test]
fn an_arena_with_checksums_reads_and_frees_as_any_other() {
    let dir = Dir::new();
    let options = Arena::options().dir(&dir.0).limit(64 * MIB);
    let arena = options.clone().checksums(true).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    for (name, column) in every_type(500) {
        let sent = batch_of(vec![(name, column)]);
        writer.publish("one", &sent).expect("room");
        assert_eq!(*arena.batch("one").expect("a batch"), sent, "{name}");
        assert!(arena.get("one").expect("there").verify_checksums().expect("unchanged") > 0);
    }
    // Lengths around the powers of two, where an object's checksum makes it one of the next size.
    for len in [0, 1, 7, 8, 247, 248, 249, 255, 256, 4087, 4088, 4089, 4096, 65_536, 1 << 20] {
        let bytes = vec![0xa5; len];
        writer.publish("bytes", bytes.as_slice()).expect("room");
        let object = arena.get("bytes").expect("there");
        assert_eq!((object.bytes().expect("bytes"), object.nbytes()), (bytes.as_slice(), len as u64));
        assert_eq!(object.verify_checksums().expect("unchanged"), len as u64);
    }
    // Seen by whoever opens it; not chosen by them.
    let again = options.open("a").expect("opened");
    again.writer().expect("a permit").publish("again", "text").expect("room");
    assert_eq!(arena.get("again").expect("there").verify_checksums().expect("unchanged"), 4);
    for entry in arena.names().expect("names") {
        writer.remove(&entry.name).expect("removed");
    }
    drop((again, writer));
    assert_eq!(arena.verify().expect("a report"), []);
    arena.trim().expect("trimmed");
    assert_eq!(arena.stats().expect("numbers").live, 0);

    let plain = options.create("b").expect("an arena");
    plain.writer().expect("a permit").publish("text", "text").expect("room");
    let object = plain.get("text").expect("there");
    assert_eq!((object.kind(), object.verify_checksums().expect("none")), (Kind::Bytes, 0));
}
