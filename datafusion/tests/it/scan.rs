//! Shows that a scan reads where the rows lie: no copy, no column that nobody asked for, on all partitions, with exact numbers.

use std::ops::Range;

use arrow_array::{Array, RecordBatch};
use datafusion::common::stats::Precision;
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream_partitioned};
use futures_util::TryStreamExt;

use crate::support::{
    arena, counted, damage_text, maps, number, refused, rows, run, scans, session, shown, table, text,
};

fn assert_in_place(batch: &RecordBatch, maps: &[(Range<usize>, usize)]) {
    for column in batch.columns() {
        let data = column.to_data();
        let nulls = data.nulls().map(|nulls| nulls.buffer().clone());
        for buffer in data.buffers().iter().cloned().chain(nulls).filter(|buffer| !buffer.is_empty()) {
            let at = buffer.as_ptr().addr();
            assert!(maps.iter().any(|(map, _)| map.contains(&at)), "a buffer at {at:x} is not in the arena");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_scan_gives_lies_in_the_arena() {
    let arena = arena("in-place");
    arena.writer().unwrap().publish("t", table(5, 20_000)).unwrap();
    arena.writer().unwrap().publish("one", rows(0, 100_000)).unwrap();
    let (context, _) = session(&arena);
    let maps = maps(&arena);
    for name in ["t", "one"] {
        let plan =
            context.sql(&format!("SELECT * FROM air.{name}")).await.unwrap().create_physical_plan().await.unwrap();
        let partitions = plan.output_partitioning().partition_count();
        assert_eq!(partitions, 4, "all cores work: {}", shown(&plan));
        let mut seen = 0;
        for stream in execute_stream_partitioned(plan, context.task_ctx()).unwrap() {
            let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
            assert!(!batches.is_empty(), "no partition is idle");
            for batch in batches {
                assert_in_place(&batch, &maps);
                seen += batch.num_rows();
            }
        }
        assert_eq!(seen, 100_000);
    }
}

#[tokio::test]
async fn queries_give_what_was_published() {
    let arena = arena("values");
    arena.writer().unwrap().publish("t", table(3, 4)).unwrap();
    let (context, _) = session(&arena);
    let got = text(&context, "SELECT number, text, id FROM air.t WHERE id BETWEEN 3 AND 5 ORDER BY id").await;
    let expected = "\
+--------+--------+----+
| number | text   | id |
+--------+--------+----+
|        | text 3 | 3  |
| 2.0    | text 4 | 4  |
| 2.5    | text 5 | 5  |
+--------+--------+----+";
    assert_eq!(got, expected);
    assert_eq!(number(&context, "SELECT count(*) FROM air.t a JOIN air.t b ON a.id = b.id + 1").await, 11);
    assert_eq!(number(&context, "SELECT count(number) FROM air.t").await, 8);
}

/// A column that cannot be read is in nobody's way who does not ask for it.
#[tokio::test]
async fn a_query_touches_the_columns_that_it_names() {
    let arena = arena("touches");
    arena.writer().unwrap().publish("t", rows(0, 50_000)).unwrap();
    damage_text(&arena, "t");
    // A process that has not checked the values yet.
    let arena = arena.reopen().unwrap();
    let (context, _) = session(&arena);
    assert_eq!(number(&context, "SELECT sum(id) FROM air.t").await, (0..50_000).sum::<i64>());
    let refused = refused(&context, "SELECT max(text) FROM air.t").await;
    assert!(refused.contains("the arena is damaged"), "{refused}");
}

#[tokio::test]
async fn numbers_of_rows_bytes_and_nulls_are_exact() {
    let arena = arena("numbers");
    arena.writer().unwrap().publish("t", table(4, 1200)).unwrap();
    let (context, _) = session(&arena);
    let plan = context.sql("SELECT id, number FROM air.t").await.unwrap().create_physical_plan().await.unwrap();
    let scan = &scans(&plan)[0];
    let statistics = scan.data_source().partition_statistics(None).unwrap();
    assert_eq!(statistics.num_rows, Precision::Exact(4800));
    assert_eq!(statistics.column_statistics[0].null_count, Precision::Exact(0));
    assert_eq!(statistics.column_statistics[1].null_count, Precision::Exact(1600));
    // 8 bytes each, and a bit for each row that may be null.
    assert_eq!(statistics.column_statistics[0].byte_size, Precision::Exact(8 * 4800));
    assert_eq!(statistics.column_statistics[1].byte_size, Precision::Exact(8 * 4800 + 4 * 150));
    assert_eq!(statistics.total_byte_size, Precision::Exact(2 * 8 * 4800 + 4 * 150));

    // So that a count reads nothing.
    let (batches, plan) = run(&context, "SELECT count(*) FROM air.t").await;
    assert_eq!(batches[0].num_rows(), 1);
    assert!(scans(&plan).is_empty(), "{}", shown(&plan));
}

#[tokio::test]
async fn a_limit_reads_as_many_batches_as_it_needs() {
    let arena = arena("limit");
    arena.writer().unwrap().publish("t", table(50, 100)).unwrap();
    let (context, _) = session(&arena);
    let (batches, plan) = run(&context, "SELECT id FROM air.t LIMIT 250").await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 250);
    assert_eq!(counted(&plan, "batches_read"), 3, "{}", shown(&plan));
    let (batches, plan) = run(&context, "SELECT id FROM air.t OFFSET 4990 LIMIT 20").await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10, "{}", shown(&plan));
    let (batches, _) = run(&context, "SELECT id FROM air.t WHERE id % 2 = 1 LIMIT 7").await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
    let (batches, _) = run(&context, "SELECT id FROM air.t LIMIT 0").await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn tables_without_rows_or_batches_are_tables() {
    let arena = arena("empty");
    let writer = arena.writer().unwrap();
    writer.publish("batch", rows(0, 0)).unwrap();
    writer.publish("table", table(0, 0)).unwrap();
    let (context, _) = session(&arena);
    for name in ["batch", "table"] {
        assert_eq!(number(&context, &format!("SELECT count(*) FROM air.{name}")).await, 0);
        let (batches, _) = run(&context, &format!("SELECT id, text FROM air.{name} WHERE id > 3 ORDER BY id")).await;
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
        context.sql(&format!("INSERT INTO air.{name} VALUES (1, 'one', NULL)")).await.unwrap().collect().await.unwrap();
        assert_eq!(number(&context, &format!("SELECT sum(id) FROM air.{name}")).await, 1);
    }
}

#[tokio::test]
async fn the_plan_says_what_is_read() {
    let arena = arena("shown");
    arena.writer().unwrap().publish("t", table(3, 10)).unwrap();
    let (context, _) = session(&arena);
    let plan = context.sql("SELECT text FROM air.t WHERE id > 15").await.unwrap().create_physical_plan().await.unwrap();
    let plan = shown(&plan);
    for part in ["ArenaScan: t@1", "projection=[id, text]", "batches=3 of 3", "pruned by"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
}
