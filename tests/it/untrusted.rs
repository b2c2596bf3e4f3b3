//! Shows that an untrusted arena's values cannot be changed between the check and the use: while another writes over offsets,
//! text, keys and views, whoever reads gets whole values or an error, and never dies.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::Int32Type;
use faretra::arrow::arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringArray, StringViewArray};
use faretra::{Arena, Error, MIB};
use ndarray::{Ix1, arr1};
use nix::sys::wait::WaitStatus;

use crate::damage::end_of;
use crate::obey::forked;
use crate::support::Dir;
use crate::value_damage::{file_of, find};

const ROWS: usize = 2000;
const READS: usize = 1500;

fn texts() -> Vec<String> {
    (0..ROWS).map(|i| format!("a value of some length {i:05}")).collect()
}

/// All text of three columns, cell by cell, as safe code would follow it; whether each is whole.
fn follow(batch: &RecordBatch) -> bool {
    let (plain, keyed) = (batch.column(0).as_string::<i32>(), batch.column(1).as_dictionary::<Int32Type>());
    let (values, views) = (keyed.values().as_string::<i32>(), batch.column(2).as_string_view());
    let of_key = |row: usize| values.value(keyed.keys().value(row) as usize);
    let sound = |text: &str| std::str::from_utf8(std::hint::black_box(text.as_bytes())).is_ok();
    (0..ROWS).all(|row| sound(plain.value(row)) && sound(of_key(row)) && sound(views.value(row)))
}

/// Bytes that are written over, and by what: a write makes them wrong, the next one right again.
struct Spot {
    at: u64,
    right: Vec<u8>,
    wrong: Vec<u8>,
}

/// One process reads as fast as it can, this one writes: no read breaks. Without the copies the reader dies, or has text that
/// is none.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes into the arena's file")]
fn what_is_checked_cannot_be_changed_meanwhile() {
    let dir = Dir::new();
    let options = Arena::options().dir(&dir.0);
    let arena = options.clone().limit(16 * MIB).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    let plain: ArrayRef = Arc::new(StringArray::from(texts()));
    let keyed: ArrayRef = Arc::new(texts().iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>());
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts().iter().map(|t| format!("view: {t}"))));
    let columns = [("plain", plain), ("keyed", keyed), ("views", views)];
    writer.publish("text", RecordBatch::try_from_iter(columns).expect("columns of one length")).expect("room");
    writer.publish("flags", arr1(&[true; 4096])).expect("room");

    let file = file_of(&arena);
    let len = texts()[0].len() as i32;
    let words = |all: &[i32]| all.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let spot =
        |from: Vec<u8>, wrong: Vec<u8>| Spot { at: find(&file, &from), right: from[..wrong.len()].to_vec(), wrong };
    let spots = [
        // An offset of a row; a byte of text; a key; the buffer and offset of a view; a flag.
        spot(words(&[500 * len, 501 * len]), words(&[i32::MAX])),
        spot(texts()[700].clone().into_bytes(), vec![0xff]),
        spot(words(&[900, 901, 902]), words(&[i32::MAX])),
        spot([words(&[len + 6]), b"view".to_vec()].concat(), words(&[i32::MAX])),
        spot(vec![1; 4096], vec![7]),
    ];
    // What was read before holds whatever is written now: it is a copy.
    let untrusted = options.untrusted(true);
    let reader = untrusted.open("a").expect("opened");
    let before = reader.batch("text").expect("a batch");
    for spot in &spots {
        file.write_all_at(&spot.wrong, spot.at).expect("written");
    }
    assert!(follow(&before));
    assert!(matches!(reader.batch("text"), Err(Error::Damaged(_))));
    for spot in &spots {
        file.write_all_at(&spot.right, spot.at).expect("written");
    }
    drop((before, reader));

    let child = forked(|| {
        let reader = untrusted.open("a").expect("opened");
        let (mut read, mut refused) = (0, 0);
        for _ in 0..READS {
            match reader.batch("text") {
                Ok(batch) if follow(&batch) => read += 1,
                Ok(_) => return 2,
                Err(Error::Damaged(_)) => refused += 1,
                Err(_) => return 3,
            }
            match reader.array::<bool, Ix1>("flags") {
                Ok(flags) if flags.iter().all(|flag| matches!(std::hint::black_box(u8::from(*flag)), 0 | 1)) => {}
                Ok(_) => return 4,
                Err(Error::Damaged(_)) => {}
                Err(_) => return 5,
            }
        }
        // Both came to pass, so that there was a race.
        i32::from(read == 0 || refused == 0)
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for spot in &spots {
                    file.write_all_at(&spot.wrong, spot.at).expect("written");
                    file.write_all_at(&spot.right, spot.at).expect("written");
                }
            }
        });
        let end = end_of(child, Duration::from_secs(60));
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(end, Some(WaitStatus::Exited(_, 0))), "{end:?}");
    });
}
