//! Shows that batches that a filter rules out are not read, and that what rules them out is found once.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use faretra::Value;
use faretra_datafusion::ArenaSchema;

use crate::support::{arena, counted, number, rows, run, session, shown, table};

#[tokio::test]
async fn the_first_query_finds_bounds_and_the_next_ones_have_them() {
    let arena = arena("prune");
    arena.writer().unwrap().publish("t", table(10, 100)).unwrap();
    let (context, _) = session(&arena);
    let sql = "SELECT id FROM air.t WHERE id >= 940 AND number IS NOT NULL";
    let (first, plan) = run(&context, sql).await;
    assert_eq!((counted(&plan, "batches_pruned"), counted(&plan, "batches_read")), (9, 1), "{}", shown(&plan));
    let (second, plan) = run(&context, sql).await;
    assert!(shown(&plan).contains("batches=1 of 10"), "{}", shown(&plan));
    assert_eq!((counted(&plan, "batches_pruned"), counted(&plan, "batches_read")), (9, 1));
    assert_eq!(first, second);
    assert_eq!(first.iter().map(RecordBatch::num_rows).sum::<usize>(), 40);
    // Another filter of the same column is ruled by the same bounds.
    let (_, plan) = run(&context, "SELECT id FROM air.t WHERE id IN (150, 151, 450)").await;
    assert!(shown(&plan).contains("batches=2 of 10"), "{}", shown(&plan));
    // Nothing passes: nothing is read.
    let (none, plan) = run(&context, "SELECT id FROM air.t WHERE id > 5000").await;
    assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert_eq!(counted(&plan, "batches_read"), 0, "{}", shown(&plan));
    // Another version has other bounds.
    arena.writer().unwrap().publish("t", table(20, 100)).unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM air.t WHERE id >= 940").await, 1060);
}

#[tokio::test]
async fn published_statistics_serve_other_processes() {
    let arena = arena("analyze");
    arena.writer().unwrap().publish("t", table(10, 100)).unwrap();
    ArenaSchema::new(&arena).analyze("t").unwrap();
    // A schema that has not seen the table, as in another process.
    let (context, _) = session(&arena);
    let (_, plan) = run(&context, "SELECT number FROM air.t WHERE text = 'text 512'").await;
    // As texts, "text 512" is between "text 0" and "text 99" as well.
    assert!(shown(&plan).contains("batches=2 of 10"), "{}", shown(&plan));
    // They are no table, and what they say of an older version is not used.
    assert_eq!(context.catalog("datafusion").unwrap().schema("air").unwrap().table_names(), ["t"]);
    arena.writer().unwrap().publish("t", table(10, 50)).unwrap();
    let (context, _) = session(&arena);
    let (batches, plan) = run(&context, "SELECT number FROM air.t WHERE text = 'text 312'").await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{}", shown(&plan));
    // They go with the table.
    context.sql("DROP TABLE air.t").await.unwrap();
    assert!(arena.names().unwrap().is_empty());
}

#[tokio::test]
async fn what_others_say_of_values_rules_nothing_out_where_they_are_not_trusted() {
    let trusted = arena("untrusted-statistics");
    let writer = trusted.writer().unwrap();
    writer.publish("t", table(4, 10)).unwrap();
    // Statistics of other values.
    writer.publish("u", table(4, 10)).unwrap();
    let schema = ArenaSchema::new(&trusted);
    writer.publish("u", Value::batches(rows(0, 0).schema(), (0..4).map(|_| rows(500, 510)).collect())).unwrap();
    schema.analyze("u").unwrap();
    let lies = trusted.batch("u#statistics").unwrap();
    let metadata = [("faretra.statistics.version".to_owned(), "1".to_owned())].into();
    let lying = lies.schema().as_ref().clone().with_metadata(metadata);
    writer.publish("t#statistics", RecordBatch::try_new(lying.into(), lies.columns().to_vec()).unwrap()).unwrap();

    let (context, _) = session(&trusted);
    assert_eq!(number(&context, "SELECT count(*) FROM air.t WHERE id < 5").await, 0, "believed");
    let untrusted = faretra::Arena::options().untrusted(true).open(trusted.name()).unwrap();
    let (context, _) = session(&untrusted);
    assert_eq!(number(&context, "SELECT count(*) FROM air.t WHERE id < 5").await, 5, "not believed");
}

/// Values that have an order of their own: nulls, NaN, signed zero, empty texts.
#[tokio::test]
async fn pruning_changes_no_answer() {
    let arena = arena("prune-values");
    let numbers = [
        vec![None, None],
        vec![Some(f64::NAN), None],
        vec![Some(-0.0), Some(0.0)],
        vec![Some(f64::NEG_INFINITY), Some(-1.5)],
        vec![Some(f64::INFINITY), Some(f64::NAN)],
        vec![Some(2.0), Some(2.0)],
        vec![],
    ];
    let texts = [vec![None, Some("")], vec![Some("a"), Some("ä")], vec![Some("zz"), None], vec![None, None]];
    let batches: Vec<RecordBatch> = (0..28)
        .map(|i| {
            let numbers = &numbers[i % 7];
            let mut texts = texts[i % 4].clone();
            texts.truncate(numbers.len());
            let number: ArrayRef = Arc::new(Float64Array::from(numbers.clone()));
            let text: ArrayRef = Arc::new(StringArray::from(texts));
            RecordBatch::try_from_iter_with_nullable([("n", number, true), ("t", text, true)]).unwrap()
        })
        .collect();
    arena.writer().unwrap().publish("t", Value::batches(batches[0].schema(), batches.clone())).unwrap();
    let (context, _) = session(&arena);
    let table = datafusion::datasource::MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
    context.register_table("mem", Arc::new(table)).unwrap();
    for filter in [
        "n > 1",
        "n < 0",
        "n = 0",
        "n <= -0.0",
        "n IS NULL",
        "n IS NOT NULL",
        "n = 'NaN'::double",
        "n <> 2",
        "n > 1e300",
        "t = ''",
        "t > 'a'",
        "t LIKE 'z%'",
        "t IS NULL",
        "t IN ('a', 'q')",
        "n > 1 AND t > 'b'",
        "n > 1 OR t = ''",
        "NOT (n > 1)",
        "n BETWEEN -2 AND 1",
        "t LIKE '%z'",
        "n + 1 > 2",
        "t <> 'a'",
    ] {
        let count = |table: &str| format!("SELECT count(*) FROM {table} WHERE {filter}");
        let expected = number(&context, &count("mem")).await;
        assert_eq!(number(&context, &count("air.t")).await, expected, "{filter}, first");
        assert_eq!(number(&context, &count("air.t")).await, expected, "{filter}, second");
    }
    for (query, what) in [("min(n)", "n"), ("max(n)", "n"), ("min(t)", "t"), ("max(t)", "t")] {
        let of = |table: &str| format!("SELECT {query} AS m FROM {table} WHERE {what} IS NOT NULL OR true");
        let expected = crate::support::text(&context, &of("mem")).await;
        assert_eq!(crate::support::text(&context, &of("air.t")).await, expected, "{query}");
    }
}
