//! Shows that arrays inside arrays, each child a slice of a longer one, come back with the values that they had.

use faretra::arrow::arrow_array::{Array, RecordBatch};
use faretra::{Arena, MIB};

use crate::support::TestArena;

#[path = "../../src/value/batch/tests/random_arrays.rs"]
pub mod random_arrays;
use random_arrays::{Arrays, seed, shown};

#[track_caller]
fn assert_same(name: &str, arena: &Arena, source: &RecordBatch) {
    let read = arena.batch(name).expect("published");
    assert_eq!(read.schema(), source.schema(), "{name}");
    for (column, source) in read.columns().iter().zip(source.columns()) {
        column.to_data().validate_full().unwrap_or_else(|e| panic!("{name}: {}: {e}", source.data_type()));
        assert_eq!(column.logical_null_count(), source.logical_null_count(), "{name}: {}", source.data_type());
    }
    for (i, (values, expected)) in shown(&read).into_iter().zip(shown(source)).enumerate() {
        assert_eq!(values, expected, "{name}: column {i}, {}", source.column(i).data_type());
    }
}

/// Six thousand random arrays, through an attachment that trusts writers and one that trusts nobody; then slices of what
/// was read, published again.
#[test]
fn random_arrays_are_read_as_they_were() {
    const COLUMNS: usize = 6;
    let t = TestArena::new(256 * MIB);
    let wary = t.options().untrusted(true).open(&t.name).expect("the arena");
    let w = t.arena.writer().expect("a permit");
    let mut arrays = Arrays(seed(0x0a88_a125));
    for round in 0..6000 / COLUMNS {
        let rows = if round % 100 == 99 { 3000 } else { arrays.below(20) };
        let source = arrays.batch(COLUMNS, rows);
        w.publish("n", &source).expect("room");
        assert_same("n", &t.arena, &source);
        assert_same("n", &wary, &source);
        let (from, len) = (arrays.below(rows + 1), arrays.below(rows + 1));
        let len = len.min(rows - from);
        let slice = t.arena.batch("n").expect("published").slice(from, len);
        w.publish("slice", &slice).expect("room");
        assert_same("slice", if round % 2 == 0 { &t.arena } else { &wary }, &source.slice(from, len));
    }
    w.remove("n").expect("removed");
    w.remove("slice").expect("removed");
    t.assert_sound(0);
}
