//! Arenas, sessions and rows to test with.

use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::{Arena, MIB, Value};
use faretra_datafusion::ArenaSchema;

/// An arena of a test, which goes with the test.
pub(crate) fn arena(test: &str) -> Arena {
    let name = format!("fusion-{test}-{}", std::process::id());
    Arena::options().limit(256 * MIB).keep(false).create(&name).expect("an arena")
}

/// A session with four partitions to which the arena is the schema `air`.
pub(crate) fn session(arena: &Arena) -> (SessionContext, ArenaSchema) {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
    let schema = faretra_datafusion::register(&context, "air", arena).expect("registered");
    (context, schema)
}

/// Where the arena's file is mapped for reading alone, and where in the file each map begins.
pub(crate) fn maps(arena: &Arena) -> Vec<(Range<usize>, usize)> {
    let inode = std::fs::metadata(arena.path()).expect("the arena's file").ino().to_string();
    let all = std::fs::read_to_string("/proc/self/maps").expect("readable");
    let hex = |text: &str| usize::from_str_radix(text, 16).ok();
    let map = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (from, to) = words.first()?.split_once('-')?;
        let ours = words.get(1) == Some(&"r--s") && words.get(4) == Some(&inode.as_str());
        ours.then_some((hex(from)?..hex(to)?, hex(words.get(2)?)?))
    };
    all.lines().filter_map(map).collect()
}

/// Makes an offset of the column `text` of a batch lie, in the arena's file.
pub(crate) fn damage_text(arena: &Arena, name: &str) {
    let batch = arena.batch(name).expect("a batch");
    let offsets = batch.column_by_name("text").expect("a text").to_data().buffers()[0].as_ptr().addr();
    let (map, begins) = maps(arena).into_iter().find(|(map, _)| map.contains(&offsets)).expect("it is mapped");
    let file = std::fs::OpenOptions::new().write(true).open(arena.path()).expect("the arena's file");
    let at = (offsets - map.start + begins + 4 * 20) as u64;
    file.write_all_at(&i32::MAX.to_le_bytes(), at).expect("written");
}

/// Rows `from..to`: an id, a text, and a number that every third row lacks.
pub(crate) fn rows(from: i64, to: i64) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(|i| format!("text {i}"))));
    let number: ArrayRef =
        Arc::new(Float64Array::from_iter((from..to).map(|i| (i % 3 != 0).then_some(i as f64 / 2.0))));
    RecordBatch::try_from_iter_with_nullable([("id", id, false), ("text", text, true), ("number", number, true)])
        .expect("valid")
}

/// A table of so many batches of so many rows.
pub(crate) fn table(batches: i64, each: i64) -> Value<'static> {
    let all = (0..batches).map(|i| rows(i * each, (i + 1) * each)).collect();
    Value::batches(rows(0, 0).schema(), all)
}

/// What a statement prints.
pub(crate) async fn text(context: &SessionContext, sql: &str) -> String {
    let batches = context.sql(sql).await.expect(sql).collect().await.expect(sql);
    pretty_format_batches(&batches).expect("printed").to_string()
}

/// The one number that a query gives.
pub(crate) async fn number(context: &SessionContext, sql: &str) -> i64 {
    let batches = context.sql(sql).await.expect(sql).collect().await.expect(sql);
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).expect("one row");
    let column = batch.column(0);
    if let Some(column) = column.as_any().downcast_ref::<Int64Array>() {
        return column.value(0);
    }
    let column = column.as_any().downcast_ref::<arrow_array::UInt64Array>().expect("a number");
    column.value(0) as i64
}

/// The error of a statement that fails, when it is planned or when it is run.
pub(crate) async fn refused(context: &SessionContext, sql: &str) -> String {
    let failed = match context.sql(sql).await {
        Ok(frame) => frame.collect().await.expect_err(sql),
        Err(e) => e,
    };
    failed.to_string()
}

/// The scans of a plan.
pub(crate) fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<DataSourceExec> {
    let own = plan.downcast_ref::<DataSourceExec>().cloned();
    own.into_iter().chain(plan.children().into_iter().flat_map(scans)).collect()
}

/// What a query gives, and what the plan was.
pub(crate) async fn run(context: &SessionContext, sql: &str) -> (Vec<RecordBatch>, Arc<dyn ExecutionPlan>) {
    let plan = context.sql(sql).await.expect(sql).create_physical_plan().await.expect(sql);
    let batches = collect(plan.clone(), context.task_ctx()).await.expect(sql);
    (batches, plan)
}

/// A count of the one scan of a plan.
pub(crate) fn counted(plan: &Arc<dyn ExecutionPlan>, what: &str) -> usize {
    let scans = scans(plan);
    assert_eq!(scans.len(), 1, "one scan");
    scans[0].metrics().and_then(|metrics| metrics.sum_by_name(what)).map_or(0, |sum| sum.as_usize())
}

/// How a plan is shown.
pub(crate) fn shown(plan: &Arc<dyn ExecutionPlan>) -> String {
    datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string()
}
