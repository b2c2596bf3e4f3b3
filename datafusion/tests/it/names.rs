//! Shows what names stand for: versions, members, patterns, names as people write them.

use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::{Bundle, Value};
use faretra_datafusion::ArenaCatalog;

use crate::support::{arena, number, refused, rows, session, table, text};

#[tokio::test]
async fn names_may_have_spaces_quotes_and_letters_of_any_script() {
    let arena = arena("odd-names");
    let (context, _) = session(&arena);
    let writer = arena.writer().unwrap();
    let odd = [
        "with space",
        "with \"quotes\"",
        "it's",
        "UPPER",
        "Übergrößenträger",
        "航班",
        "a.b.c",
        "semi;colon",
        "x@y",
        "50%",
        "[a]",
    ];
    for (i, name) in odd.iter().enumerate() {
        writer.publish(name, rows(0, i as i64 + 1)).unwrap();
    }
    for (i, name) in odd.iter().enumerate() {
        let quoted = name.replace('"', "\"\"");
        let sql = format!("SELECT count(*) FROM air.\"{quoted}\"");
        assert_eq!(number(&context, &sql).await, i as i64 + 1, "{sql}");
        context
            .sql(&format!("INSERT INTO air.\"{quoted}\" VALUES (1, 'one', 1.0)"))
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        assert_eq!(number(&context, &sql).await, i as i64 + 2, "{sql}");
    }
    let refused = refused(&context, "SELECT * FROM air.upper").await;
    assert!(refused.contains("upper"), "{refused}");
    let listed = context.catalog("datafusion").unwrap().schema("air").unwrap().table_names();
    assert_eq!(listed.len(), odd.len());
}

#[tokio::test]
async fn a_version_is_read_while_it_is_current_or_pinned() {
    let arena = arena("versions");
    let writer = arena.writer().unwrap();
    let (context, schema) = session(&arena);
    for n in 1..=3 {
        writer.publish("flights", rows(0, n * 10)).unwrap();
        if n == 2 {
            assert_eq!(schema.pin("flights").unwrap(), 2);
        }
    }
    let count = |version: u64| format!("SELECT count(*) FROM air.\"flights@{version}\"");
    assert_eq!(number(&context, &count(3)).await, 30);
    assert_eq!(number(&context, &count(2)).await, 20);
    let error = refused(&context, &count(1)).await;
    assert!(error.contains("`flights` is at version 3, and version 1 is not kept"), "{error}");
    let error = refused(&context, &count(4)).await;
    assert!(error.contains("`flights` is at version 3"), "{error}");
    let error = refused(&context, "INSERT INTO air.\"flights@3\" VALUES (1, 'one', 1.0)").await;
    assert!(error.contains("nothing can be inserted"), "{error}");
    // A name that has the form of a version is a name.
    writer.publish("flights@1", rows(0, 7)).unwrap();
    assert_eq!(number(&context, &count(1)).await, 7);
    assert!(schema.unpin("flights", 2));
    refused(&context, &count(2)).await;
}

#[tokio::test]
async fn members_of_bundles_are_tables() {
    let arena = arena("bundles");
    let (context, _) = session(&arena);
    let (a, b) = (rows(0, 5), rows(5, 12));
    let bundle = Bundle::new().with("a", &a).with("b", &b).with("note", "no table");
    arena.writer().unwrap().publish("day", bundle).unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM air.\"day/a\" JOIN air.\"day/b\" ON true").await, 35);
    assert_eq!(number(&context, "SELECT sum(id) FROM air.\"day/*\"").await, (0..12).sum::<i64>());
    assert_eq!(number(&context, "SELECT count(*) FROM air.\"day/a@1\"").await, 5);
    let error = refused(&context, "SELECT * FROM air.day").await;
    assert!(error.contains("is a bundle: name one of its members, \"day/a\", \"day/b\""), "{error}");
    let error = refused(&context, "SELECT * FROM air.\"day/note\"").await;
    assert!(error.contains("`day/note` is of kind bytes, no batch or table"), "{error}");
    refused(&context, "SELECT * FROM air.\"day/c\"").await;
    let listed = context.catalog("datafusion").unwrap().schema("air").unwrap().table_names();
    assert_eq!(listed, ["day/a", "day/b"]);
}

#[tokio::test]
async fn a_pattern_is_one_table_of_equal_schemas() {
    let arena = arena("patterns");
    let writer = arena.writer().unwrap();
    let (context, _) = session(&arena);
    for day in 0..10 {
        writer.publish(&format!("days/{day}"), table(2, 50)).unwrap();
    }
    writer.publish("days/note", "no table").unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM air.\"days/*\"").await, 1000);
    assert_eq!(number(&context, "SELECT count(*) FROM air.\"days/?\" WHERE id < 3").await, 30);
    assert_eq!(number(&context, "SELECT count(*) FROM air.\"*/7\"").await, 100);
    let error = refused(&context, "SELECT * FROM air.\"nights/*\"").await;
    assert!(error.contains("has a name like `nights/*`"), "{error}");
    // Other metadata is no other schema.
    let with_metadata = rows(0, 5);
    let metadata = [("made by".to_owned(), "a test".to_owned())].into();
    let schema = with_metadata.schema().as_ref().clone().with_metadata(metadata);
    writer.publish("days/a", with_metadata.with_schema(schema.into()).unwrap()).unwrap();
    assert_eq!(number(&context, "SELECT count(id) FROM air.\"days/*\" WHERE id >= 0").await, 1005);
    // Another schema is.
    writer.publish("days/b", rows(0, 5).project(&[0, 1]).unwrap()).unwrap();
    let error = refused(&context, "SELECT * FROM air.\"days/*\"").await;
    for part in ["have different schemas", "`days/0` has (id Int64 not null", "`days/b` has"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = refused(&context, "INSERT INTO air.\"days/?\" VALUES (1, 'one', 1.0)").await;
    assert!(error.contains("different schemas") || error.contains("nothing can be inserted"), "{error}");
}

#[tokio::test]
async fn other_kinds_are_no_tables() {
    let arena = arena("kinds");
    let (context, _) = session(&arena);
    let writer = arena.writer().unwrap();
    writer.publish("weights", ndarray(3)).unwrap();
    writer.publish("note", "text").unwrap();
    let error = refused(&context, "SELECT * FROM air.weights").await;
    assert!(error.contains("`weights` is of kind array: tables are batches"), "{error}");
    refused(&context, "SELECT * FROM air.note").await;
    refused(&context, "SELECT * FROM air.nothing").await;
    assert!(context.catalog("datafusion").unwrap().schema("air").unwrap().table_names().is_empty());
}

fn ndarray(n: usize) -> faretra::ndarray::Array1<f64> {
    faretra::ndarray::Array1::zeros(n)
}

/// What lists all tables asks each for its schema: those that have none yet are not in its way.
#[tokio::test]
async fn all_tables_are_listed_with_their_columns() {
    let arena = arena("listed");
    let writer = arena.writer().unwrap();
    writer.publish("t", rows(0, 5)).unwrap();
    writer.publish("day", Bundle::new().with("a", rows(0, 5)).with("note", "text")).unwrap();
    let _empty = writer.sender("empty", 4).unwrap();
    let full = writer.sender("full", 4).unwrap();
    full.send(rows(0, 5)).unwrap();
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    faretra_datafusion::register(&context, "air", &arena).unwrap();
    let count = "SELECT count(*) FROM information_schema";
    assert_eq!(number(&context, &format!("{count}.tables WHERE table_schema = 'air'")).await, 3);
    assert_eq!(number(&context, &format!("{count}.columns WHERE table_schema = 'air'")).await, 9);
}

#[tokio::test]
async fn arenas_are_schemas_of_a_catalog() {
    let (a, b) = (arena("catalog-a"), arena("catalog-b"));
    a.writer().unwrap().publish("t", rows(0, 5)).unwrap();
    b.writer().unwrap().publish("t", rows(3, 9)).unwrap();
    let (context, _) = session(&a);
    context.register_catalog("shm", Arc::new(ArenaCatalog::new().with("a", &a).with("b", &b)));
    assert_eq!(number(&context, "SELECT count(*) FROM shm.a.t JOIN shm.b.t AS u USING (id)").await, 2);
    let listed = text(&context, "SELECT id FROM shm.b.t WHERE id = 8").await;
    assert!(listed.contains('8'), "{listed}");
}

/// The plan has the object that was current when it was made, whatever its name means later.
#[tokio::test]
async fn a_plan_reads_the_version_that_it_was_made_of() {
    let arena = arena("old-plan");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(3, 10)).unwrap();
    let (context, _) = session(&arena);
    let old = context.sql("SELECT sum(id) AS s FROM air.t WHERE number IS NOT NULL").await.unwrap();
    let physical = old.clone().create_physical_plan().await.unwrap();
    let other = rows(0, 5).project(&[1]).unwrap();
    writer.publish("t", Value::batches(other.schema(), vec![other])).unwrap();
    writer.remove("t").unwrap();
    writer.publish("t", rows(100, 101).project(&[0]).unwrap()).unwrap();
    let expected: i64 = (0..30).filter(|i| i % 3 != 0).sum();
    for batches in
        [old.collect().await.unwrap(), datafusion::physical_plan::collect(physical, context.task_ctx()).await.unwrap()]
    {
        let sum = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(batches[0].column(0));
        assert_eq!(sum.value(0), expected);
    }
    assert_eq!(number(&context, "SELECT sum(id) FROM air.t").await, 100);
}

/// A version that is asked for is that one, pinned or current, or an error that says which there is: never another.
#[tokio::test]
async fn a_version_is_never_another() {
    let arena = arena("never-another");
    let writer = arena.writer().unwrap();
    let (context, schema) = session(&arena);
    let rows_at = async |version: u64| {
        let table = schema.table_at("t", version).map_err(|e| e.to_string())?;
        Ok::<_, String>(context.read_table(Arc::new(table)).unwrap().count().await.unwrap())
    };
    writer.publish("t", rows(0, 1)).unwrap();
    assert_eq!(rows_at(1).await, Ok(1));
    writer.publish("t", rows(0, 2)).unwrap();
    assert_eq!(schema.pin("t").unwrap(), 2);
    writer.publish("t", rows(0, 3)).unwrap();
    assert_eq!((rows_at(2).await, rows_at(3).await), (Ok(2), Ok(3)));
    for version in [0, 1, 4] {
        let why = rows_at(version).await.unwrap_err();
        assert!(why.contains(&format!("`t` is at version 3, and version {version} is not kept")), "{why}");
    }
    writer.remove("t").unwrap();
    assert_eq!(rows_at(2).await, Ok(2));
    let why = rows_at(3).await.unwrap_err();
    assert!(why.contains("`t` is gone") && why.contains("version 3 is not kept"), "{why}");
}
