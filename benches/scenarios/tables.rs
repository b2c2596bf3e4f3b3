//! Many small batches in one table: published at once, appended one by one, appended to a feed; read whole, and one batch of it. Beside
//! Arrow's stream format in a buffer.

use std::sync::Arc;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchIterator};
use faretra::arrow::arrow_ipc::reader::StreamReader;
use faretra::arrow::arrow_ipc::writer::StreamWriter;
use faretra::feed::WhenFull;
use faretra::{Arena, GIB, Value};

use crate::crew::run_name;
use crate::measure::{Along, Table, Times, block, in_turn};
use crate::pair::Outcome;
use crate::setting::Scale;

const ROWS: usize = 16;
/// So many are appended one by one to a table that has so many batches as are told.
const APPENDED: usize = 10;

fn batch(i: usize) -> Outcome<RecordBatch> {
    let ids = Int64Array::from_iter_values((0..ROWS).map(|row| (i * ROWS + row) as i64));
    let values = Float64Array::from_iter_values((0..ROWS).map(|row| (i + row) as f64));
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("value", Arc::new(values))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    for count in scale.of(vec![100, 1_000], vec![100, 1_000, 10_000]) {
        let here = Arena::options().limit(2 * GIB).keep(false).create(&run_name("tables"))?;
        let (writer, reader) = (here.writer()?, Arena::open(here.name())?);
        let batches = (0..count).map(batch).collect::<Outcome<Vec<_>>>()?;
        let schema = batches[0].schema();
        let value = || {
            let all = batches.iter().cloned().map(Ok);
            Value::table(RecordBatchIterator::new(all, schema.clone()))
        };
        let mut stream = Vec::new();
        let write = |stream: &mut Vec<u8>| {
            stream.clear();
            let mut to = StreamWriter::try_new(stream, &schema).expect("a schema");
            batches.iter().for_each(|batch| to.write(batch).expect("room"));
            to.finish().expect("room");
        };
        write(&mut stream);
        let written = stream.clone();
        let rows =
            |batches: &mut dyn Iterator<Item = RecordBatch>| batches.map(|batch| batch.num_rows()).sum::<usize>();
        writer.publish("table", value())?;
        let start = here.stats()?.live;
        writer.publish("measured", value())?;
        let taken = here.stats()?.live - start;
        let rounds = (40 / scale.hurry).min(40_000 / count).max(4);
        let [written_ipc, publish, read_ipc, read, feed] = in_turn(
            rounds,
            count as u64,
            [
                &mut || block(1, || write(&mut stream)),
                &mut || block(1, || writer.publish("table", value()).expect("room")),
                &mut || {
                    block(1, || {
                        let all = StreamReader::try_new(&written[..], None).expect("a stream");
                        assert_eq!(rows(&mut all.map(|batch| batch.expect("sound"))), count * ROWS);
                    })
                },
                &mut || {
                    block(1, || {
                        let all = reader.table("table").expect("published").reader();
                        assert_eq!(rows(&mut all.map(|batch| batch.expect("sound"))), count * ROWS);
                    })
                },
                &mut || {
                    let feed = writer.feed("feed", count, WhenFull::DropOldest).expect("room");
                    let time = block(1, || {
                        batches.iter().for_each(|batch| feed.append(batch).map_err(|e| e.to_string()).expect("room"));
                        assert_eq!(reader.snapshot("feed").expect("batches").num_batches(), count as u64);
                    });
                    writer.remove("feed").expect("there");
                    time
                },
            ],
        );
        const N: u64 = 100;
        let large = reader.table("table")?;
        let mut nth = 0;
        let [one, got] = in_turn(
            60 / scale.hurry,
            N,
            [
                &mut || {
                    block(N, || {
                        nth = (nth + 7) % large.num_batches();
                        large.batch(nth).expect("a batch").num_rows()
                    })
                },
                &mut || block(N, || reader.table("table").expect("published").num_rows()),
            ],
        );
        let mut appended = Times::default();
        for _ in 0..rounds {
            writer.publish("grown", value())?;
            let time = block(1, || {
                for batch in &batches[..APPENDED] {
                    let more = writer.prepare(batch).expect("room");
                    let table = here.table("grown").expect("a table");
                    writer.publish("grown", Value::appended(table, vec![more])).expect("room");
                }
            });
            appended.push(time, APPENDED as u64);
            let grown = here.table("grown")?;
            if grown.num_batches() != (count + APPENDED) as u64 {
                return Err("not what was appended".into());
            }
        }
        let of = Along::Objects(count as u64);
        let mut add = |what: &str, ours: &Times, floor: &Times, line: &str| {
            let row = format!("{count} batches of {ROWS} rows: {what}; floor: Arrow's stream format, a batch");
            table.along(row, of, [what, line], ours, floor, "");
        };
        add("published as one table, a batch", &publish, &written_ipc, "stream written, a batch");
        add("read one after the other, a batch", &read, &read_ipc, "stream read, a batch");
        add("appended to a feed, and seen as a table, a batch", &feed, &written_ipc, "");
        add("one more appended to the table", &appended, &written_ipc, "");
        add("one of them", &one, &read_ipc, "");
        add("the table itself", &got, &read_ipc, "");
        let what = format!("{count} batches of {ROWS} rows: memory of the table");
        table.memory(what, of, "memory of a table of small batches", taken, (count * ROWS * 16) as u64);
    }
    Ok(())
}
