//! Shows what happens to queries whose arena goes, whose table changes under them, whose values are damaged or do not fit.

use faretra::{Arena, MIB};
use futures_util::StreamExt;

use crate::support::{arena, damage_text, number, refused, rows, session, table};

#[tokio::test]
async fn an_arena_may_be_removed_while_a_query_runs() {
    let arena = arena("removed");
    arena.writer().unwrap().publish("t", table(20, 1000)).unwrap();
    let (context, _) = session(&arena);
    let frame = context.sql("SELECT id, text FROM air.t").await.unwrap();
    let mut stream = frame.clone().execute_stream().await.unwrap();
    let mut seen = stream.next().await.unwrap().unwrap().num_rows();
    Arena::options().remove(arena.name()).unwrap();
    while let Some(batch) = stream.next().await {
        seen += batch.unwrap().num_rows();
    }
    assert_eq!(seen, 20_000);
    // The plan has what it needs; so has the arena's handle, whose file has no name any more.
    assert_eq!(frame.count().await.unwrap(), 20_000);
    assert_eq!(number(&context, "SELECT count(*) FROM air.t WHERE id >= 0").await, 20_000);
}

#[tokio::test]
async fn a_table_may_be_removed_or_replaced_before_its_rows_are_inserted() {
    let arena = arena("insert-race");
    let writer = arena.writer().unwrap();
    writer.publish("t", rows(0, 10)).unwrap();
    let (context, _) = session(&arena);
    let plan = |sql: &'static str| {
        let context = context.clone();
        async move { context.sql(sql).await.unwrap() }
    };
    let insert = plan("INSERT INTO air.t VALUES (1, 'one', 1.0)").await;
    writer.publish("t", rows(0, 3).project(&[0, 1]).unwrap()).unwrap();
    let error = insert.clone().collect().await.unwrap_err().to_string();
    for part in ["`t` has the columns (id Int64 not null, text Utf8)", "nothing was inserted"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    writer.remove("t").unwrap();
    let error = insert.clone().collect().await.unwrap_err().to_string();
    assert!(error.contains("no object named `t`"), "{error}");
    writer.publish("t", "bytes").unwrap();
    let error = insert.clone().collect().await.unwrap_err().to_string();
    assert!(error.contains("`t` is of kind bytes by now"), "{error}");
    // Another version of the same schema takes the rows.
    writer.publish("t", rows(0, 20)).unwrap();
    insert.collect().await.unwrap();
    assert_eq!(arena.table("t").unwrap().num_rows(), 21);
}

#[tokio::test]
async fn damaged_values_are_errors_before_the_engine_sees_them() {
    let arena = arena("damaged");
    let writer = arena.writer().unwrap();
    writer.publish("t", rows(0, 100)).unwrap();
    damage_text(&arena, "t");
    for options in [Arena::options(), Arena::options().untrusted(true)] {
        let arena = options.open(arena.name()).unwrap();
        let (context, _) = session(&arena);
        for sql in ["SELECT text FROM air.t", "SELECT max(text) FROM air.t", "SELECT id FROM air.t WHERE text = 'x'"] {
            let error = refused(&context, sql).await;
            assert!(error.contains("the arena is damaged"), "{sql}: {error}");
        }
        assert_eq!(number(&context, "SELECT sum(id) FROM air.t").await, 4950);
    }
}

#[tokio::test]
async fn an_arena_without_room_refuses_an_insert_and_goes_on() {
    let name = format!("fusion-full-{}", std::process::id());
    let arena = Arena::options().limit(4 * MIB).keep(false).create(&name).unwrap();
    arena.writer().unwrap().publish("t", rows(0, 10)).unwrap();
    let (context, _) = session(&arena);
    let sql = "INSERT INTO air.t SELECT value, repeat('x', 100), 1.0 FROM generate_series(1, 1000000)";
    let error = refused(&context, sql).await;
    assert!(error.contains("no room for"), "{error}");
    assert_eq!(number(&context, "SELECT count(*) FROM air.t").await, 10);
    context.sql("INSERT INTO air.t VALUES (1, 'one', 1.0)").await.unwrap().collect().await.unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM air.t").await, 11);
}

/// A query that is given up lets go of what it pinned.
#[tokio::test]
async fn a_query_that_is_dropped_keeps_nothing() {
    let arena = arena("dropped");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(20, 10_000)).unwrap();
    let (context, _) = session(&arena);
    let mut stream = context.sql("SELECT * FROM air.t").await.unwrap().execute_stream().await.unwrap();
    stream.next().await.unwrap().unwrap();
    writer.remove("t").unwrap();
    let live = arena.stats().unwrap().live;
    assert!(live > 4 << 20, "the query keeps it: {live}");
    drop(stream);
    for _ in 0..100 {
        if arena.stats().unwrap().live < 1 << 20 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} bytes are kept", arena.stats().unwrap().live);
}
