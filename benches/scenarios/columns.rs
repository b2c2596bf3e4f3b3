//! A batch of 10, 100 and 1,000 columns: published, got, one column read, all read, beside Arrow's stream format in a buffer.

use std::sync::Arc;

use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::Float64Type;
use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch};
use faretra::arrow::arrow_ipc::reader::StreamReader;
use faretra::arrow::arrow_ipc::writer::StreamWriter;
use faretra::{Arena, GIB};

use crate::crew::run_name;
use crate::measure::{Along, Table, block, in_turn};
use crate::pair::Outcome;
use crate::setting::Scale;

const ROWS: usize = 128;

fn batch(columns: usize) -> Outcome<RecordBatch> {
    let column = |c: usize| -> (String, ArrayRef) {
        let values = (0..ROWS).map(|i| (i + c) as f64);
        (format!("c{c}"), Arc::new(Float64Array::from_iter_values(values)))
    };
    Ok(RecordBatch::try_from_iter((0..columns).map(column))?)
}

/// The sum of one column, or of all.
fn sum(batch: &RecordBatch, columns: std::ops::Range<usize>) -> f64 {
    columns.map(|c| batch.column(c).as_primitive::<Float64Type>().values().iter().sum::<f64>()).sum()
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    for columns in [10, 100, 1000] {
        let here = Arena::options().limit(GIB).keep(false).create(&run_name("columns"))?;
        let (writer, reader) = (here.writer()?, Arena::open(here.name())?);
        let source = batch(columns)?;
        writer.publish("wide", &source)?;
        let middle = columns / 2;
        let name = format!("c{middle}");
        let write = |stream: &mut Vec<u8>| {
            stream.clear();
            let mut to = StreamWriter::try_new(stream, &source.schema()).expect("a schema");
            to.write(&source).expect("room");
            to.finish().expect("room");
        };
        let (mut stream, mut written) = (Vec::new(), Vec::new());
        write(&mut stream);
        write(&mut written);
        let read = || StreamReader::try_new(&written[..], None).expect("a stream").next().expect("one").expect("sound");
        let wide = || reader.get("wide").expect("published");
        let rounds = 60 / scale.hurry;
        let times = (2000 / columns as u64).max(2);
        let [written_ipc, publish, read_ipc, all_ipc, whole, all] = in_turn(
            rounds,
            times,
            [
                &mut || block(times, || write(&mut stream)),
                &mut || block(times, || writer.publish("wide", &source).expect("room")),
                &mut || block(times, || sum(&read(), middle..middle + 1)),
                &mut || block(times, || sum(&read(), 0..columns)),
                &mut || block(times, || reader.batch("wide").expect("a batch")),
                &mut || block(times, || sum(&reader.batch("wide").expect("a batch"), 0..columns)),
            ],
        );
        // Short ones apart, so that they are not those that find nothing in the caches.
        const N: u64 = 1000;
        let [get, one, projected] = in_turn(
            rounds,
            N,
            [
                &mut || block(N, wide),
                &mut || {
                    block(N, || {
                        let column = wide().column::<f64>(&name).expect("a column");
                        column.iter().sum::<f64>()
                    })
                },
                &mut || block(N, || sum(&wide().project(&[middle]).expect("a column"), 0..1)),
            ],
        );
        if sum(reader.batch("wide")?.record_batch(), 0..columns) != sum(&source, 0..columns) {
            return Err("not what was published".into());
        }
        let of = Along::Objects(columns as u64);
        let mut add = |what: &str, ours, floor, floor_line: &str| {
            let row = format!("{columns} columns of {ROWS} f64: {what}; floor: Arrow's stream format");
            table.along(row, of, [what, floor_line], ours, floor, "");
        };
        add("publish", &publish, &written_ipc, "stream written into a touched buffer");
        add("get + drop", &get, &read_ipc, "");
        add("get, one column by name, summed", &one, &read_ipc, "stream read, one column summed");
        add("get, one column projected, summed", &projected, &read_ipc, "");
        add("get, whole batch", &whole, &all_ipc, "");
        add("get, whole batch, every column summed", &all, &all_ipc, "stream read, every column summed");
    }
    Ok(())
}
