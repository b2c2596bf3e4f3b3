//! Shows that statements publish: tables grow or are replaced, channels and feeds are fed, whole or not at all.

use faretra::feed::{Start, WhenFull};
use faretra::{Kind, Value};

use crate::support::{arena, number, refused, rows, session, table};

async fn run(context: &datafusion::prelude::SessionContext, sql: &str) -> i64 {
    number(context, sql).await
}

#[tokio::test]
async fn an_insert_grows_a_table_and_copies_none_of_it() {
    let arena = arena("grow");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(2, 50_000)).unwrap();
    let (context, _) = session(&arena);
    let before = arena.stats().unwrap().live;
    assert_eq!(run(&context, "INSERT INTO air.t VALUES (-1, 'one', 0.5), (-2, NULL, NULL)").await, 2);
    let grown = arena.stats().unwrap().live - before;
    assert!(grown < 64 << 10, "{grown} bytes for two rows");
    let object = arena.get("t").unwrap();
    assert_eq!((object.kind(), object.version(), object.rows()), (Kind::Table, 2, 100_002));
    assert_eq!(arena.table("t").unwrap().num_batches(), 3);
    assert_eq!(run(&context, "SELECT min(id) FROM air.t").await, -2);
    // A batch becomes a table.
    writer.publish("one", rows(0, 10)).unwrap();
    assert_eq!(run(&context, "INSERT INTO air.one (id) SELECT id FROM air.t WHERE id < 5").await, 7);
    assert_eq!(run(&context, "SELECT count(*) FROM air.one WHERE text IS NULL").await, 7);
    // Rows that go into the table that they come from.
    assert_eq!(run(&context, "INSERT INTO air.one SELECT * FROM air.one").await, 17);
    assert_eq!(arena.table("one").unwrap().num_rows(), 34);
}

#[tokio::test]
async fn an_insert_of_many_rows_makes_large_batches() {
    let arena = arena("large");
    let (context, _) = session(&arena);
    arena.writer().unwrap().publish("t", rows(0, 0).project(&[0]).unwrap()).unwrap();
    assert_eq!(run(&context, "INSERT INTO air.t SELECT value FROM generate_series(1, 300000)").await, 300_000);
    // The empty batch that was there, two of 131,072 rows and the rest.
    assert_eq!(arena.table("t").unwrap().num_batches(), 4);
    assert_eq!(run(&context, "SELECT count(DISTINCT id) FROM air.t").await, 300_000);
}

#[tokio::test]
async fn a_table_is_replaced_made_and_dropped() {
    let arena = arena("replace");
    arena.writer().unwrap().publish("t", table(2, 10)).unwrap();
    let (context, _) = session(&arena);
    let old = arena.table("t").unwrap();
    assert_eq!(run(&context, "INSERT OVERWRITE air.t SELECT * FROM air.t WHERE id < 5").await, 5);
    assert_eq!((arena.table("t").unwrap().num_rows(), old.num_rows()), (5, 20));
    context.sql("CREATE TABLE air.\"new one\" AS SELECT id, count(*) AS n FROM air.t GROUP BY id").await.unwrap();
    assert_eq!(arena.table("new one").unwrap().num_rows(), 5);
    let error = refused(&context, "CREATE TABLE air.t AS SELECT 1 AS one").await;
    assert!(error.contains("already exists"), "{error}");
    let error = refused(&context, "CREATE VIEW air.v AS SELECT 1 AS one").await;
    assert!(error.contains("`v` cannot be made in arena"), "{error}");
    let error = refused(&context, "REPLACE INTO air.t VALUES (1, 'one', 1.0)").await;
    assert!(error.contains("INSERT OVERWRITE") || error.contains("not"), "{error}");
    context.sql("DROP TABLE air.\"new one\"").await.unwrap();
    assert!(arena.get("new one").is_err());
    refused(&context, "DROP TABLE air.\"new one\"").await;
    context.sql("DROP TABLE IF EXISTS air.\"new one\"").await.unwrap();
}

#[tokio::test]
async fn copy_publishes_under_any_name() {
    let arena = arena("copy");
    arena.writer().unwrap().publish("t", table(2, 10)).unwrap();
    let (context, _) = session(&arena);
    let copy = |to: &str| format!("COPY (SELECT id, text FROM air.t WHERE id > 3) TO '{to}' STORED AS FARETRA");
    assert_eq!(run(&context, &copy("faretra://air/late ones/é \"x\" ?*")).await, 16);
    let name = "late ones/é \"x\" ?*";
    assert_eq!(arena.table(name).unwrap().num_rows(), 16);
    assert_eq!(run(&context, "COPY air.t TO 'faretra://air/all' STORED AS FARETRA").await, 20);
    assert_eq!(run(&context, &copy("faretra://air/all")).await, 16);
    assert_eq!((arena.get("all").unwrap().version(), arena.table("all").unwrap().schema().fields().len()), (2, 2));
    for (to, part) in [
        ("faretra://other/x", "no arena is registered as `other`: there is air"),
        ("faretra://air/", "is no name in an arena"),
    ] {
        let error = refused(&context, &copy(to)).await;
        assert!(error.contains(part), "{to}: {error}");
    }
    let error = refused(&context, &copy(&format!("faretra://air/{}", "x".repeat(300)))).await;
    assert!(error.contains("300"), "{error}");
    let error = refused(&context, "COPY air.t TO 'faretra://air/x' STORED AS FARETRA OPTIONS (level '3')").await;
    assert!(error.contains("has no option"), "{error}");
    arena.writer().unwrap().publish("note", "text").unwrap();
    let error = refused(&context, &copy("faretra://air/note")).await;
    assert!(error.contains("`note` is of kind bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_and_feeds_are_fed() {
    let arena = arena("fed");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(2, 10)).unwrap();
    let (jobs, many) = (writer.sender("jobs", 4).unwrap(), writer.unbounded("many").unwrap());
    let ticks = writer.feed("ticks", 8, WhenFull::Block).unwrap();
    let first = rows(0, 1);
    jobs.send(&first).unwrap();
    many.send(&first).unwrap();
    ticks.append(&first).unwrap();
    let (context, _) = session(&arena);
    let receiver = arena.receiver("jobs").unwrap();
    for name in ["jobs", "many", "ticks"] {
        assert_eq!(run(&context, &format!("INSERT INTO air.{name} SELECT * FROM air.t WHERE id > 4")).await, 15);
        let error = refused(&context, &format!("INSERT OVERWRITE air.{name} SELECT * FROM air.t")).await;
        assert!(error.contains("cannot be replaced"), "{error}");
        let error = refused(&context, &format!("DROP TABLE air.{name}")).await;
        assert!(!error.is_empty());
    }
    assert_eq!(arena.get("ticks").unwrap().kind(), Kind::Feed, "it is not dropped");
    let mut got = 0;
    while let Ok(lease) = receiver.try_recv() {
        got += lease.table().unwrap().num_rows();
        lease.ack();
    }
    assert_eq!(got, 16);
    let mut reader = arena.subscribe("ticks", Start::Oldest).unwrap();
    let mut got = 0;
    while let Ok(item) = reader.try_recv() {
        got += item.table().unwrap().num_rows();
    }
    assert_eq!(got, 16);
    jobs.close().expect("open");
    let error = refused(&context, "INSERT INTO air.jobs SELECT * FROM air.t").await;
    assert!(error.contains("closed") && error.contains("0 rows were put into `jobs` before"), "{error}");
    // COPY sends, too.
    assert_eq!(run(&context, "COPY air.t TO 'faretra://air/many' STORED AS FARETRA").await, 20);
}

/// From a feed into a channel: what comes goes on at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_forwards_a_feed_as_it_grows() {
    let arena = arena("forward");
    let writer = arena.writer().unwrap();
    let ticks = writer.feed("ticks", 8, WhenFull::Block).unwrap();
    ticks.append(rows(0, 10)).unwrap();
    let jobs = writer.unbounded("jobs").unwrap();
    jobs.send(rows(0, 0)).unwrap();
    let receiver = arena.receiver("jobs").unwrap();
    receiver.recv().unwrap().ack();
    let (context, _) = session(&arena);
    let statement = tokio::spawn(async move {
        context
            .sql("INSERT INTO air.jobs SELECT * FROM air.ticks WHERE id % 2 = 0")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
    });
    let next = || {
        let lease = receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("it comes");
        let rows = lease.table().unwrap().num_rows();
        lease.ack();
        rows
    };
    assert_eq!(tokio::task::block_in_place(next), 5);
    ticks.append(rows(10, 30)).unwrap();
    assert_eq!(tokio::task::block_in_place(next), 10);
    ticks.close().unwrap();
    statement.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn inserts_at_once_lose_nothing() {
    let arena = arena("at-once");
    arena.writer().unwrap().publish("t", rows(0, 0)).unwrap();
    let inserts: Vec<_> = (0..8)
        .map(|who| {
            let (context, _) = session(&arena);
            tokio::spawn(async move {
                for i in 0..10 {
                    let sql = format!("INSERT INTO air.t VALUES ({}, 'x', 1.0)", who * 10 + i);
                    context.sql(&sql).await.unwrap().collect().await.unwrap();
                }
            })
        })
        .collect();
    for insert in inserts {
        insert.await.unwrap();
    }
    let (context, _) = session(&arena);
    assert_eq!(run(&context, "SELECT count(DISTINCT id) FROM air.t").await, 80);
    assert_eq!(arena.table("t").unwrap().num_rows(), 80);
    assert!(arena.verify_deep().unwrap().is_empty());
}

/// A statement that fails on the way has published nothing, and keeps no memory.
#[tokio::test]
async fn a_statement_that_fails_publishes_nothing() {
    let arena = arena("fails");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(1, 10)).unwrap();
    let one = rows(0, 1).project(&[0]).unwrap();
    writer.publish("n", Value::batches(one.schema(), vec![one])).unwrap();
    let (context, _) = session(&arena);
    let before = arena.stats().unwrap().objects;
    let fails = "SELECT CASE WHEN value = 250000 THEN CAST('x' || value AS BIGINT) ELSE value END AS id \
                 FROM generate_series(1, 300000)";
    for sql in [
        format!("INSERT INTO air.n {fails}"),
        format!("INSERT OVERWRITE air.n {fails}"),
        format!("COPY ({fails}) TO 'faretra://air/other' STORED AS FARETRA"),
        format!("CREATE TABLE air.other AS {fails}"),
        "INSERT INTO air.t (text) VALUES ('no id')".to_owned(),
        "INSERT INTO air.t SELECT NULL, text, number FROM air.t".to_owned(),
        "INSERT INTO air.t SELECT text FROM air.t".to_owned(),
    ] {
        let error = refused(&context, &sql).await;
        assert!(!error.is_empty(), "{sql}");
    }
    assert_eq!(arena.stats().unwrap().objects, before);
    assert!(arena.get("other").is_err());
    assert_eq!((arena.table("t").unwrap().num_rows(), arena.get("n").unwrap().version()), (10, 1));
}
