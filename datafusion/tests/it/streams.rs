//! Shows feeds and channels as tables: what a query sees, what it acknowledges, how it ends.

use std::time::Duration;

use datafusion::prelude::SessionContext;
use faretra::Arena;
use faretra::channel::{Contents, WhenDeserted};
use faretra::feed::WhenFull;
use faretra_datafusion::ArenaSchema;
use futures_util::StreamExt;

use crate::support::{arena, number, refused, rows, session};

async fn count(context: &SessionContext, sql: &str) -> usize {
    let batches = context.sql(sql).await.expect(sql).collect().await.expect(sql);
    batches.iter().map(|batch| batch.num_rows()).sum()
}

fn ids(batch: &arrow_array::RecordBatch) -> Vec<i64> {
    let ids = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(batch.column(0));
    ids.values().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_followed_as_it_grows() {
    let arena = arena("feed");
    let ticks = arena.writer().unwrap().feed("ticks", 16, WhenFull::Block).unwrap();
    ticks.append(rows(0, 10)).unwrap();
    let (context, _) = session(&arena);
    let mut stream =
        context.sql("SELECT id, text FROM air.ticks WHERE id % 5 = 0").await.unwrap().execute_stream().await.unwrap();
    assert_eq!(ids(&stream.next().await.unwrap().unwrap()), [0, 5]);
    ticks.append(rows(10, 20)).unwrap();
    assert_eq!(ids(&stream.next().await.unwrap().unwrap()), [10, 15]);
    ticks.close().unwrap();
    assert!(stream.next().await.is_none(), "the feed's end is the query's");
    // Another query has a subscription of its own.
    assert_eq!(count(&context, "SELECT id FROM air.ticks").await, 20);
    assert_eq!(count(&context, "SELECT id FROM air.ticks LIMIT 3").await, 3);
    assert_eq!(number(&context, "SELECT sum(id) FROM air.\"ticks@snapshot\"").await, (0..20).sum::<i64>());
    assert_eq!(count(&context, "SELECT id FROM air.\"ticks@new\"").await, 0);
}

/// A feed has no end to wait for, so that what needs one is refused when it is planned.
#[tokio::test]
async fn a_sum_over_a_feed_is_refused_and_over_its_snapshot_is_not() {
    let arena = arena("feed-sum");
    let ticks = arena.writer().unwrap().feed("ticks", 16, WhenFull::Block).unwrap();
    ticks.append(rows(0, 10)).unwrap();
    let (context, _) = session(&arena);
    let refused =
        tokio::time::timeout(Duration::from_secs(20), refused(&context, "SELECT id FROM air.ticks ORDER BY text"));
    let refused = refused.await.expect("it is refused at once");
    assert!(refused.contains("nbounded") || refused.contains("infinite"), "{refused}");
    assert_eq!(number(&context, "SELECT count(*) FROM air.\"ticks@snapshot\"").await, 10);
}

#[tokio::test]
async fn a_query_that_is_too_slow_for_a_feed_is_told() {
    let arena = arena("feed-lag");
    let ticks = arena.writer().unwrap().feed("ticks", 4, WhenFull::DropOldest).unwrap();
    ticks.append(rows(0, 1)).unwrap();
    let (context, _) = session(&arena);
    let plan = context.sql("SELECT id FROM air.ticks").await.unwrap();
    let mut stream = plan.execute_stream().await.unwrap();
    assert_eq!(ids(&stream.next().await.unwrap().unwrap()), [0]);
    for i in 1..10 {
        ticks.append(rows(i, i + 1)).unwrap();
    }
    let missed = stream.next().await.unwrap().unwrap_err().to_string();
    assert!(missed.contains('5'), "items 1 to 5 are gone: {missed}");
}

#[tokio::test]
async fn a_feed_without_a_batch_has_no_schema() {
    let arena = arena("feed-empty");
    let _ticks = arena.writer().unwrap().feed("ticks", 4, WhenFull::Block).unwrap();
    let _jobs = arena.writer().unwrap().sender("jobs", 4).unwrap();
    let (context, _) = session(&arena);
    for name in ["ticks", "jobs"] {
        let error = refused(&context, &format!("SELECT * FROM air.{name}")).await;
        assert!(error.contains("has no schema: either nothing was put in yet"), "{error}");
    }
    let error = refused(&context, "SELECT * FROM air.\"ticks@snapshot\"").await;
    assert!(error.contains("has no schema yet"), "{error}");
}

fn depth(arena: &Arena) -> (u64, u64, u64) {
    let info = arena.channels().unwrap().remove(0);
    (info.depth, info.leased, info.returned)
}

#[tokio::test]
async fn a_channel_is_acknowledged_item_by_item() {
    let arena = arena("channel");
    let jobs = arena.writer().unwrap().sender("jobs", 16).unwrap();
    for i in 0..5 {
        jobs.send(rows(i * 10, i * 10 + 10)).unwrap();
    }
    let (context, _) = session(&arena);
    // Planning takes nothing, and is no receiver.
    let plan = context.sql("SELECT id FROM air.jobs").await.unwrap();
    assert_eq!((depth(&arena), arena.channels().unwrap()[0].receivers.len()), ((5, 0, 0), 0));
    let mut stream = plan.execute_stream().await.unwrap();
    assert_eq!(ids(&stream.next().await.unwrap().unwrap())[0], 0);
    assert_eq!(depth(&arena), (4, 1, 0), "in hand");
    assert_eq!(ids(&stream.next().await.unwrap().unwrap())[0], 10);
    assert_eq!(depth(&arena), (3, 1, 0), "the first was acknowledged");
    drop(stream);
    assert_eq!(depth(&arena), (3, 0, 1), "the second came back");
    jobs.close().expect("open");
    assert_eq!(count(&context, "SELECT id FROM air.jobs").await, 40);
    assert_eq!(depth(&arena), (0, 0, 0));
}

#[tokio::test]
async fn senders_that_leave_end_a_query_or_are_waited_for() {
    let arena = arena("deserted");
    let writer = arena.writer().unwrap();
    let jobs = writer.sender("jobs", 16).unwrap();
    jobs.send(rows(0, 10)).unwrap();
    drop(jobs);
    let (context, schema) = session(&arena);
    let error = refused(&context, "SELECT id FROM air.jobs").await;
    assert!(error.contains("clos") || error.contains("left"), "{error}");

    let patient = SessionContext::new();
    let schema: ArenaSchema = schema.when_deserted(WhenDeserted::Block);
    patient.catalog("datafusion").unwrap().register_schema("air", std::sync::Arc::new(schema)).unwrap();
    writer.sender("jobs", 16).unwrap().send(rows(0, 5)).unwrap();
    let mut stream = patient.sql("SELECT id FROM air.jobs").await.unwrap().execute_stream().await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let jobs = writer.sender("jobs", 16).unwrap();
    jobs.close().expect("open");
    while let Some(batch) = stream.next().await {
        batch.unwrap();
    }
}

#[tokio::test]
async fn items_that_do_not_fit_the_plan_are_errors_and_stay() {
    let arena = arena("mixed");
    let jobs = arena.writer().unwrap().sender_with("jobs", 16, Contents::Mixed).unwrap();
    let (context, _) = session(&arena);
    jobs.send(rows(0, 10)).unwrap();
    let error = refused(&context, "SELECT id FROM air.jobs").await;
    assert!(error.contains("has no schema"), "contents of any schema have none: {error}");
    drop(jobs);

    let values = arena.writer().unwrap().sender("values", 16).unwrap();
    values.send(rows(0, 10)).unwrap();
    values.send("text").unwrap();
    let error = refused(&context, "SELECT id FROM air.values").await;
    assert!(error.contains("is of kind bytes, no batch or table"), "{error}");
    let info = arena.channels().unwrap().into_iter().find(|info| info.name == "values").unwrap();
    assert_eq!((info.depth + info.returned, info.leased), (1, 0), "it is still there");
}
