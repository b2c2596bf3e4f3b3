//! Shows that every Arrow type is read elsewhere equal, and from the arena's own read-only memory.

use faretra::arrow::arrow_array::{Array, ArrayRef, RecordBatch};
use faretra::{Arena, Error, MIB};

use crate::support::TestArena;

#[allow(dead_code, reason = "the unit tests use more of it")]
#[path = "../../src/value/batch/tests/samples.rs"]
pub mod samples;
use samples::{batch_of, every_buffer, every_type};

/// Rows of each array, and what is cut off in front and behind: sliced arrays are stored as their slice.
const SIZES: [(usize, usize, usize); 5] = [(0, 0, 0), (1, 0, 0), (70, 3, 5), (1000, 0, 1), (30_000, 13, 0)];

fn arrays() -> Vec<(String, ArrayRef)> {
    let sizes = SIZES.into_iter().flat_map(|(rows, front, back)| {
        every_type(rows).into_iter().map(move |(t, a)| (format!("{t} x {rows}"), a.slice(front, rows - front - back)))
    });
    sizes.collect()
}

/// Every buffer of every type, read in another process, is equal and lies inside the read-only mapping of
/// the arena's file.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "looks for the arena's file among the maps of a reader"
)]
fn every_type_is_read_in_place_elsewhere() {
    let t = TestArena::new(512 * MIB);
    let w = t.arena.writer().expect("a permit");
    let all = arrays();
    assert!(every_type(1).len() >= 51);
    for (name, array) in &all {
        w.publish(name, batch_of(vec![(name, array.clone())])).expect("room");
    }
    // One batch with a column of every type.
    let columns = every_type(500);
    w.publish("all", batch_of(columns)).expect("room");
    let mut reader = t.puppet();
    eprintln!("types x sizes, buffers inside, bytes in them: {}", reader.ask("arrow_types"));
    reader.ask("close");
    for (name, _) in &all {
        w.remove(name).expect("remove");
    }
    w.remove("all").expect("remove");
    t.assert_sound(0);
}

/// What was read is published under other names, whole and as a slice, and stays when the first name goes.
#[test]
fn every_type_is_published_again_from_the_arena() {
    let t = TestArena::new(512 * MIB);
    let w = t.arena.writer().expect("a permit");
    let same = |name: &str, source: &RecordBatch| {
        let read = t.arena.batch(name).expect("published");
        read.columns().iter().for_each(|column| column.to_data().validate_full().expect("valid"));
        assert_eq!(read.record_batch(), source, "{name}");
    };
    let all = arrays().into_iter().map(|(name, array)| batch_of(vec![(&name, array)]));
    for source in all.chain([batch_of(every_type(500)), batch_of(every_type(20_000))]) {
        let rows = source.num_rows();
        let (from, len) = (rows.min(5), rows.saturating_sub(9));
        w.publish("first", &source).expect("room");
        let read = t.arena.batch("first").expect("published");
        w.publish("alias", &read).expect("room");
        w.publish("whole", read.record_batch()).expect("room");
        w.publish("slice", read.slice(from, len)).expect("room");
        drop(read);
        w.remove("first").expect("remove");
        let read = t.arena.batch("slice").expect("published");
        w.publish("slice of slice", read.slice(len / 3, len / 2)).expect("room");
        drop(read);
        w.remove("alias").expect("remove");
        same("whole", &source);
        same("slice", &source.slice(from, len));
        same("slice of slice", &source.slice(from, len).slice(len / 3, len / 2));
    }
    assert_eq!(t.arena.verify().expect("verify"), []);
    for name in ["whole", "slice", "slice of slice"] {
        w.remove(name).expect("remove");
    }
    t.assert_sound(0);
}

/// The reader's half, in a process of its own.
pub fn check_all(arena: &Arena) -> Result<String, Error> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let path = arena.path().to_str().expect("a path");
    // 7f..-7f.. r--s offset dev inode path
    let read_only = maps.lines().filter(|l| l.ends_with(path)).filter_map(|l| {
        let mut fields = l.split_ascii_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let address = |a| usize::from_str_radix(a, 16).expect("an address");
        (fields.next()? == "r--s").then(|| address(from)..address(to))
    });
    let read_only: Vec<_> = read_only.collect();
    assert!(!read_only.is_empty(), "{path} is not mapped read-only:\n{maps}");
    let (mut arrays_seen, mut buffers, mut bytes) = (0, 0, 0);
    let mut check = |name: &str, expected: RecordBatch| -> Result<(), Error> {
        let batch = arena.batch(name)?;
        assert_eq!(batch.schema(), expected.schema(), "{name}");
        for (column, source) in batch.columns().iter().zip(expected.columns()) {
            column.to_data().validate_full().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(column, source, "{name}");
            every_buffer(&column.to_data(), &mut |b| {
                let at = b.as_ptr() as usize;
                let inside = read_only.iter().any(|r| r.start <= at && at + b.len() <= r.end);
                assert!(b.is_empty() || inside, "a buffer of {name}, {} bytes at {at:#x}, is a copy", b.len());
                buffers += usize::from(!b.is_empty());
                bytes += b.len();
            });
            arrays_seen += 1;
        }
        Ok(())
    };
    for (name, array) in arrays() {
        check(&name, batch_of(vec![(&name, array)]))?;
    }
    check("all", batch_of(every_type(500)))?;
    Ok(format!("{arrays_seen} {buffers} {bytes}"))
}
