//! Shows that what a join or a sort finds out while it runs keeps batches from being read, and changes no answer.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::{Arena, Value};

use crate::support::{arena, rows, scans, shown, table};

/// A session of one partition, whose scans take what operators find out, or do not.
fn session(arena: &Arena, dynamic: bool) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1);
    let config = config.set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", dynamic);
    let context = SessionContext::new_with_config(config);
    faretra_datafusion::register(&context, "air", arena).unwrap();
    context
}

/// A count of the scan of one table of a plan.
fn counted(plan: &Arc<dyn ExecutionPlan>, table: &str, what: &str) -> usize {
    let of = |scan: Arc<dyn ExecutionPlan>| shown(&scan).contains(&format!("ArenaScan: {table}@")).then_some(scan);
    let scan = scans(plan).into_iter().find_map(|scan| of(Arc::new(scan))).expect("it is scanned");
    scan.metrics().and_then(|metrics| metrics.sum_by_name(what)).map_or(0, |sum| sum.as_usize())
}

async fn run(context: &SessionContext, sql: &str) -> (String, Arc<dyn ExecutionPlan>) {
    let plan = context.sql(sql).await.expect(sql).create_physical_plan().await.expect(sql);
    let batches = datafusion::physical_plan::collect(plan.clone(), context.task_ctx()).await.expect(sql);
    (pretty_format_batches(&batches).expect("printed").to_string(), plan)
}

/// Ids in batches of 1000 rows: rising, with every hundredth a null if asked.
fn ids(from: i64, to: i64, nulls: bool) -> RecordBatch {
    let id: ArrayRef = Arc::new((from..to).map(|i| (!nulls || i % 100 != 0).then_some(i)).collect::<Int64Array>());
    RecordBatch::try_from_iter_with_nullable([("id", id, true)]).expect("valid")
}

#[tokio::test]
async fn batches_that_a_join_or_a_sort_rules_out_are_not_read() {
    let arena = arena("dynamic");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(20, 1000)).unwrap();
    writer.publish("few", rows(7200, 7300)).unwrap();
    let nulls: Vec<RecordBatch> = (0..20).map(|i| ids(i * 1000, (i + 1) * 1000, true)).collect();
    writer.publish("nulls", Value::batches(nulls[0].schema(), nulls)).unwrap();
    let (with, without) = (session(&arena, true), session(&arena, false));
    for (sql, table, read) in [
        ("SELECT count(*), sum(t.id) FROM air.t JOIN air.few USING (id)", "t", 1),
        ("SELECT count(*) FROM air.t WHERE id IN (SELECT id + 1000 FROM air.few WHERE number IS NULL)", "t", 1),
        ("SELECT t.id, t.text FROM air.t ORDER BY id LIMIT 5", "t", 1),
        ("SELECT id FROM air.nulls ORDER BY id NULLS LAST LIMIT 3", "nulls", 1),
        // The nulls of every batch are among the best.
        ("SELECT id FROM air.nulls ORDER BY id NULLS FIRST LIMIT 250", "nulls", 20),
        // The worst batch comes first: each one is better.
        ("SELECT id FROM air.t ORDER BY id DESC LIMIT 5", "t", 20),
        // A text's bounds are not looked for.
        ("SELECT count(*) FROM air.t JOIN air.few USING (text)", "t", 20),
        // What is limited is read.
        ("SELECT count(*) FROM (SELECT id FROM air.t LIMIT 1500) JOIN air.few USING (id)", "t", 2),
    ] {
        let (expected, plain) = run(&without, sql).await;
        let (got, plan) = run(&with, sql).await;
        assert_eq!(got, expected, "{sql}");
        assert_eq!(counted(&plan, table, "batches_read"), read, "{sql}\n{}", shown(&plan));
        assert!(!shown(&plain).contains("as it runs"), "{}", shown(&plain));
        assert!(read >= 2 || shown(&plan).contains("pruned as it runs by DynamicFilter"), "{}", shown(&plan));
        assert!(read >= 2 || counted(&plan, table, "batches_pruned") == 19, "{sql}\n{}", shown(&plan));
    }
    // Keys that no row has.
    let (_, plan) = run(&with, "SELECT t.id FROM air.t JOIN air.few ON t.id = few.id + 100000").await;
    assert_eq!(counted(&plan, "t", "batches_read"), 0, "{}", shown(&plan));
}
