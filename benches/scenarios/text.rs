//! Text, long and short: published, read for the first time by a participant, which checks it, and read again. Beside memcpy.

use std::sync::Arc;

use faretra::arrow::arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use faretra::{Arena, GIB, MIB};

use crate::crew::run_name;
use crate::measure::{Table, block, in_turn, size};
use crate::pair::Outcome;
use crate::setting::Scale;

/// Text of so many bytes, some of which are no ASCII if that is asked for.
fn words(row: usize, bytes: usize, accents: bool) -> String {
    let mut text = format!("{row:08} ");
    while text.len() < bytes {
        text += if accents { "größer als zuvor, " } else { "larger than before, " };
    }
    while !text.is_char_boundary(bytes) {
        text.insert(0, ' ');
    }
    text.truncate(bytes);
    text
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let all = scale.of(16 * MIB, 64 * MIB) as usize;
    for (what, bytes, accents) in [
        ("short", 8, false),
        ("medium", 64, true),
        ("long", MIB as usize, false),
        ("long, not ASCII", MIB as usize, true),
    ] {
        let rows = all / bytes;
        let texts = || (0..rows).map(|row| words(row, bytes, accents));
        let strings: Vec<(&str, ArrayRef)> = vec![
            ("Utf8", Arc::new(StringArray::from_iter_values(texts()))),
            ("LargeUtf8", Arc::new(LargeStringArray::from_iter_values(texts()))),
            ("Utf8View", Arc::new(StringViewArray::from_iter_values(texts()))),
        ];
        let here = Arena::options().limit(2 * GIB).warm(GIB).keep(false).create(&run_name("text"))?;
        let (writer, reader) = (here.writer()?, Arena::open(here.name())?);
        for (kind, column) in strings {
            let stored: usize = column.to_data().buffers().iter().map(|buffer| buffer.len()).sum();
            let (source, mut touched) = (vec![1_u8; stored], vec![2_u8; stored]);
            let batch = RecordBatch::try_from_iter([("text", column)])?;
            writer.publish("text", &batch)?;
            let [memcpy, publish, first, later] = in_turn(
                scale.of(10, 30),
                1,
                [
                    &mut || block(1, || touched.copy_from_slice(std::hint::black_box(&source))),
                    &mut || block(1, || writer.publish("text", &batch).expect("room")),
                    &mut || {
                        let fresh = Arena::open(here.name()).expect("the arena");
                        let time = block(1, || fresh.batch("text").expect("a batch"));
                        drop(reader.batch("text").expect("a batch"));
                        time
                    },
                    &mut || block(100, || reader.batch("text").expect("a batch")).div_f64(100.0),
                ],
            );
            if *reader.batch("text")?.record_batch() != batch {
                return Err("not what was published".into());
            }
            let of = format!("{rows} x {} of {kind} ({what})", size(bytes as u64));
            table.ratio(format!("{of}: publish, warm; floor: memcpy"), &publish, &memcpy, "");
            table.ratio(format!("{of}: first read; floor: memcpy"), &first, &memcpy, "");
            table.ratio(format!("{of}: each later read; floor: memcpy"), &later, &memcpy, "");
        }
    }
    Ok(())
}
