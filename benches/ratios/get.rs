//! Reading: by name, one column, the whole batch, an array. The same whatever the size.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use faretra::arrow::arrow_buffer::{Buffer, ScalarBuffer};
use faretra::arrow::arrow_schema::{DataType, Field, Schema, SchemaRef};
use faretra::{Arena, MIB, Writer};
use ndarray::{Array2, Ix2};

use crate::measure::{Table, Times, block, in_turn, size};
use crate::setting::{Outcome, Scale, arena, batch};

/// Publishes `bytes` in `columns` columns without having them elsewhere first.
fn put(writer: &Writer, name: &str, bytes: u64, columns: u64) -> Outcome {
    let rows = (bytes / columns / 8) as usize;
    let fields: Vec<Field> = (0..columns).map(|c| Field::new(format!("c{c}"), DataType::Float64, false)).collect();
    let mut draft = writer.draft(&Arc::new(Schema::new(fields)), rows)?;
    for c in 0..columns {
        draft.column_mut::<f64>(&format!("c{c}"))?[..8].fill(c as f64);
    }
    writer.publish(name, draft)?;
    Ok(())
}

/// Arrow's part of a batch: arrays over memory that is there, each a slice of one buffer.
fn of_arrow(schema: &SchemaRef, memory: &Buffer) -> RecordBatch {
    let columns = schema.fields().len();
    let rows = memory.len() / columns / 8;
    let column = |c| Arc::new(Float64Array::new(ScalarBuffer::new(memory.clone(), c * rows, rows), None)) as ArrayRef;
    RecordBatch::try_new(schema.clone(), (0..columns).map(column).collect()).expect("columns of one length")
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let large = 2 * scale.largest;
    let here = arena("get", 3 * large + 256 * MIB, |o| o)?;
    let writer = here.writer()?;
    put(&writer, "small", 8 << 10, 10)?;
    put(&writer, "large", large, 10)?;
    writer.publish("bytes", &[7_u8; 200][..])?;
    writer.publish("array", Array2::<f32>::ones((64, 64)).view())?;
    writer.publish("fewer", &batch(8 << 10, 1)?)?;
    // A participant of its own: readers are not writers.
    let reader = Arena::open(here.name())?;

    let shelf: Mutex<HashMap<String, Arc<Vec<f64>>>> = Mutex::default();
    for name in ["small", "large", "bytes", "array", "fewer"] {
        shelf.lock().expect("no panic").insert(name.into(), Arc::new(vec![1.0; 8]));
    }
    let column = |name: &str| {
        let object = reader.get(name).expect("published");
        object.column::<f64>("c3").expect("a column")[1]
    };
    let array = || reader.array::<f32, Ix2>("array").expect("an array")[[1, 1]];
    let (schema, memory) = (reader.batch("small")?.schema(), Buffer::from_vec(vec![1.0; 10 * 100]));
    const N: u64 = 1000;
    let [floor, got, small, big, ten, ten_big, arrows, one_array] = in_turn(
        400 / scale.hurry,
        N,
        [
            &mut || block(N, || shelf.lock().expect("no panic").get("small").expect("there").clone()[1]),
            &mut || block(N, || reader.get("bytes").expect("published")),
            &mut || block(N, || column("small")),
            &mut || block(N, || column("large")),
            &mut || block(N, || reader.batch("small").expect("a batch")),
            &mut || block(N, || reader.batch("large").expect("a batch")),
            &mut || block(N, || of_arrow(&schema, &memory)),
            &mut || block(N, array),
        ],
    );
    let big_name = size(large);
    table.plain("Mutex<HashMap<String, Arc<_>>>: get + clone + drop (one process's floor)", &floor, "");
    table.ratio("get + drop, 200 bytes", &got, &floor, "");
    table.ratio("get + one column's view + drop, 8 KiB", &small, &floor, "p50 <= 150 ns");
    table.ratio(format!("get + one column's view + drop, {big_name}"), &big, &floor, "p50 <= 150 ns");
    same("get + one column's view + drop, large to small", &big, &small, table);
    table.ratio("batch of 10 columns + drop, 8 KiB; floor: arrow's part", &ten, &arrows, "<= 600 ns");
    table.ratio(format!("batch of 10 columns + drop, {big_name}; floor: arrow's part"), &ten_big, &arrows, "<= 600 ns");
    same("batch of 10 columns + drop, large to small", &ten_big, &ten, table);
    table.ratio("array + drop", &one_array, &floor, "");

    text(scale, &here, table)?;

    // Two readers of one name: pins are counted in rows of their own.
    let other = Arena::open(here.name())?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let [beside] = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::hint::black_box(other.get("bytes"));
            }
        });
        let times = in_turn(200 / scale.hurry, N, [&mut || block(N, || reader.get("bytes").expect("published"))]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        times
    });
    table.ratio("get + drop, 200 bytes, while another participant gets it too; floor: alone", &beside, &got, "");
    Ok(())
}

/// Text is checked when a process first reads it: what that costs, and what it costs after that.
fn text(scale: Scale, here: &Arena, table: &mut Table) -> Outcome {
    const BYTES: usize = 64 << 20;
    let rows = BYTES / 32;
    let words = |row: usize| format!("{row:08} is a row of plain text");
    let plain: StringArray = (0..rows).map(|row| Some(words(row))).collect();
    let accents: StringArray = (0..rows).map(|row| Some(words(row).replace('a', "ä"))).collect();
    let writer = here.writer()?;
    for (name, column) in [("text", plain), ("accents", accents)] {
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, false)]));
        writer.publish(name, &RecordBatch::try_new(schema, vec![Arc::new(column)])?)?;
    }
    let source = vec![1_u8; BYTES];
    let mut to = vec![0_u8; BYTES];
    let (name, read) = (here.name(), Arena::open(here.name())?);
    let once = |text: &str| {
        let fresh = Arena::open(name).expect("open");
        block(1, || fresh.batch(text).expect("a batch"))
    };
    let [floor, plain, accents] = in_turn(
        20 / scale.hurry.min(4),
        1,
        [&mut || block(1, || to.copy_from_slice(std::hint::black_box(&source))), &mut || once("text"), &mut || {
            once("accents")
        }],
    );
    const N: u64 = 1000;
    let [again] = in_turn(100 / scale.hurry, N, [&mut || block(N, || read.batch("text").expect("a batch"))]);
    table.ratio("first read of 64 MiB of ASCII text; floor: memcpy", &plain, &floor, "");
    table.ratio("first read of 64 MiB of other text; floor: memcpy", &accents, &floor, "");
    table.plain("each later read of it", &again, "");
    Ok(())
}

fn same(what: &str, large: &Times, small: &Times, table: &mut Table) {
    table.fact(what, format!("{:.3}", large.p50() / small.p50()), "<= 1.1");
}
