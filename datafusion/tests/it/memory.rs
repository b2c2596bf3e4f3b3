//! Shows that the engine counts what is read of an arena as its bytes, so that a session can have a limit of memory.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::{Arena, MIB};

use crate::support::{arena, number, refused, rows, run, session, shown, table, text};

/// A session with so much memory, which may write the rest to the disk if told so.
fn limited(arena: &Arena, bytes: u64, spills: bool) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(bytes as usize, 1.0);
    let runtime = match spills {
        true => runtime,
        false => runtime.with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled)),
    };
    let runtime: Arc<RuntimeEnv> = runtime.build_arc().unwrap();
    // One partition spills; several would share the memory by who asks first.
    let config = SessionConfig::new().with_target_partitions(if spills { 1 } else { 4 });
    let config = config.with_sort_spill_reservation_bytes(256 << 10);
    let context = SessionContext::new_with_config_rt(config, runtime);
    faretra_datafusion::register(&context, "air", arena).unwrap();
    context
}

/// How often operators of a plan wrote rows to the disk.
fn spilled(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
    own + plan.children().into_iter().map(spilled).sum::<usize>()
}

/// Statements that keep rows: a sort, an aggregate, joins and windows.
const KEEPING: &[&str] = &[
    "SELECT text, id FROM air.t ORDER BY text",
    "SELECT text, count(*), max(number) FROM air.t GROUP BY text ORDER BY text LIMIT 3",
    "SELECT count(DISTINCT text) FROM air.t",
    "SELECT count(*), sum(a.number) FROM air.t a JOIN air.t b ON a.id = b.id AND a.text = b.text",
    "SELECT count(*) FROM air.t a, air.few b WHERE a.id < b.id",
    "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY id % 7 ORDER BY text) AS n FROM air.t)",
    "SELECT array_agg(text ORDER BY id) FROM air.few",
];

#[tokio::test(flavor = "multi_thread")]
async fn statements_over_a_small_table_need_little_memory() {
    let arena = arena("limited");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(4, 10_000)).unwrap();
    writer.publish("few", rows(0, 10)).unwrap();
    let (context, _) = session(&arena);
    let limited = limited(&arena, 64 * MIB, false);
    for sql in KEEPING {
        assert_eq!(text(&limited, sql).await, text(&context, sql).await, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_too_small_is_told_or_spilled() {
    let arena = arena("too-small");
    arena.writer().unwrap().publish("t", table(8, 50_000)).unwrap();
    let sql = "SELECT text, id FROM air.t ORDER BY text, id";
    let error = refused(&limited(&arena, 2 * MIB, false), sql).await;
    assert!(error.contains("Resources exhausted") && !error.contains("TB"), "{error}");
    // 8 MiB for some 13 MiB of rows: a part of them goes to the disk.
    let spilling = limited(&arena, 8 * MIB, true);
    let (batches, plan) = run(&spilling, sql).await;
    let ids = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(ids, 400_000);
    assert!(spilled(&plan) > 0, "{}", shown(&plan));
    assert_eq!(number(&spilling, "SELECT count(DISTINCT text) FROM air.t").await, 400_000);
}

/// What arrow says of the memory of a batch is what the batch has, whoever asks.
#[tokio::test]
async fn batches_say_how_much_memory_they_have() {
    let arena = arena("sizes");
    arena.writer().unwrap().publish("t", table(3, 8000)).unwrap();
    let (context, _) = session(&arena);
    let (batches, _) = run(&context, "SELECT * FROM air.t").await;
    let slice = |column: &Arc<dyn Array>| column.to_data().get_slice_memory_size().unwrap();
    let bytes = batches.iter().flat_map(RecordBatch::columns).map(slice).sum::<usize>();
    let said = batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
    assert!(bytes > 3 * 8000 * 20 && said >= bytes && said < 2 * bytes, "{said} bytes are said of {bytes}");
}
