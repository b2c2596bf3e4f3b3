//! Shows Flight SQL: statements, prepared ones, changes, rows that are ingested, and what drivers ask before.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use faretra_flight::arrow_flight::FlightInfo;
use faretra_flight::arrow_flight::sql::client::FlightSqlServiceClient;
use faretra_flight::arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetTables, CommandStatementIngest, SqlInfo, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use futures_util::{TryStreamExt, stream};
use tonic::transport::Channel;

use crate::support::{Lab, Running, rows, table, whole};

type Sql = FlightSqlServiceClient<Channel>;

async fn connect(server: &Running) -> Sql {
    FlightSqlServiceClient::new(server.channel().await)
}

async fn fetch(client: &mut Sql, info: FlightInfo) -> Result<Vec<RecordBatch>, String> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.do_get(ticket).await.map_err(|e| e.to_string())?;
    stream.try_collect().await.map_err(|e| e.to_string())
}

async fn query(client: &mut Sql, text: &str) -> Result<Vec<RecordBatch>, String> {
    let info = client.execute(text.to_owned(), None).await.map_err(|e| e.to_string())?;
    fetch(client, info).await
}

fn number(batches: &[RecordBatch]) -> i64 {
    whole(batches).column(0).as_primitive::<Int64Type>().value(0)
}

/// Shows that statements give rows, of one arena and of several, of the versions that were there when they were planned.
#[tokio::test(flavor = "multi_thread")]
async fn statements() {
    let lab = Lab::new();
    let (air, sea) = (lab.arena("air"), lab.arena("sea"));
    air.writer().unwrap().publish("my t", table(4, 1000)).unwrap();
    sea.writer().unwrap().publish("t", rows(0, 10)).unwrap();
    let server = lab.serve(&["air", "sea"]);
    let mut client = connect(&server).await;
    let all = query(&mut client, "SELECT * FROM \"my t\" ORDER BY id").await.unwrap();
    assert_eq!(whole(&all), rows(0, 4000));
    let joined = "SELECT count(*) FROM \"my t\" JOIN sea.t USING (id)";
    assert_eq!(number(&query(&mut client, joined).await.unwrap()), 10);
    let info = client.execute("SELECT count(*) FROM sea.t".to_owned(), None).await.unwrap();
    sea.writer().unwrap().publish("t", rows(0, 20)).unwrap();
    assert_eq!(number(&fetch(&mut client, info.clone()).await.unwrap()), 10);
    assert_eq!(number(&fetch(&mut client, info.clone()).await.unwrap()), 10);
    assert_eq!(number(&query(&mut client, "SELECT count(*) FROM sea.t").await.unwrap()), 20);
    assert_eq!(client.execute_update("INSERT INTO sea.t VALUES (1, 'one', 1.0)".to_owned(), None).await.unwrap(), 1);
    assert_eq!(sea.table("t").unwrap().num_rows(), 21);
    // A change that is asked for as a query is done once.
    let insert = client.execute("INSERT INTO sea.t VALUES (2, 'two', 1.0)".to_owned(), None).await.unwrap();
    assert_eq!(sea.table("t").unwrap().num_rows(), 21);
    fetch(&mut client, insert.clone()).await.unwrap();
    assert!(fetch(&mut client, insert).await.unwrap_err().contains("send the statement again"));
    assert_eq!(sea.table("t").unwrap().num_rows(), 22);
    client
        .execute_update("CREATE TABLE sea.late AS SELECT * FROM \"my t\" WHERE id >= 3990".to_owned(), None)
        .await
        .unwrap();
    assert_eq!(sea.table("late").unwrap().num_rows(), 10);
    std::fs::write(lab.path().join("x.csv"), "a\n1\n").unwrap();
    for (text, why) in [
        ("SELEC 1", "no SQL"),
        ("SELECT nope FROM sea.t", "nope"),
        ("SELECT * FROM nope", "nope"),
        ("COPY sea.t TO 'y.csv'", "COPY writes files of the server"),
        ("COPY sea.t TO 'y' STORED AS CSV", "COPY writes files of the server"),
        ("EXPLAIN ANALYZE COPY sea.t TO 'y.csv'", "COPY"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x.csv'", "what is made by statements"),
        ("SELECT * FROM 'x.csv'", "x.csv"),
        ("SET datafusion.execution.batch_size = 1", "each statement stands for itself"),
        ("SELECT 1; SELECT 2", ""),
    ] {
        let error = query(&mut client, text).await.unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(!lab.path().join("y.csv").exists());
    let reading = lab.serve(&["sea", "--read-only"]);
    let mut client = connect(&reading).await;
    for text in ["INSERT INTO t VALUES (1, 'one', 1.0)", "DROP TABLE t", "CREATE TABLE u AS SELECT 1"] {
        assert!(query(&mut client, text).await.unwrap_err().contains("--read-only"), "{text}");
        assert!(client.execute_update(text.to_owned(), None).await.is_err());
    }
    assert_eq!(number(&query(&mut client, "SELECT count(*) FROM t").await.unwrap()), 22);
}

/// Shows that prepared statements tell what they take and give, take rows of parameters, and read what is there when they are done.
#[tokio::test(flavor = "multi_thread")]
async fn prepared() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("t", rows(0, 100)).unwrap();
    let mut server = lab.serve(&["air"]);
    let mut client = connect(&server).await;
    let mut statement =
        client.prepare("SELECT count(*) FROM t WHERE id >= $1 AND id < $2".to_owned(), None).await.unwrap();
    assert_eq!(statement.parameter_schema().unwrap().fields().len(), 2);
    assert_eq!(statement.dataset_schema().unwrap().fields().len(), 1);
    let pair = |a: Vec<i64>, b: Vec<i64>| {
        let (a, b): (ArrayRef, ArrayRef) = (Arc::new(Int64Array::from(a)), Arc::new(Int64Array::from(b)));
        RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap()
    };
    // As drivers write them: in their order, wherever they are.
    let text = "SELECT (SELECT max(id) FROM t WHERE id < ?) FROM t WHERE id >= ?";
    let unnumbered = client.prepare(text.to_owned(), None).await.unwrap();
    assert_eq!(unnumbered.parameter_schema().unwrap().fields().len(), 2);
    for (from, to, count) in [(0, 10, 10), (90, 200, 10)] {
        statement.set_parameters(pair(vec![from], vec![to])).unwrap();
        let info = statement.execute().await.unwrap();
        assert_eq!(number(&fetch(&mut client, info).await.unwrap()), count);
    }
    arena.writer().unwrap().publish("t", rows(0, 300)).unwrap();
    let info = statement.execute().await.unwrap();
    assert_eq!(number(&fetch(&mut client, info).await.unwrap()), 110);
    statement.set_parameters(pair(vec![1, 2], vec![3, 4])).unwrap();
    assert!(statement.execute().await.unwrap_err().to_string().contains("2 rows of parameters"));
    let mut insert =
        client.prepare("INSERT INTO t VALUES ($1, 'x', CAST($2 AS DOUBLE))".to_owned(), None).await.unwrap();
    insert.set_parameters(pair(vec![1, 2, 3], vec![1, 2, 3])).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 3);
    assert_eq!(arena.table("t").unwrap().num_rows(), 303);
    insert.close().await.unwrap();
    // Another server knows nothing of it, and says so.
    let address = server.host().to_owned();
    server.kill();
    let _again = lab.serve_at(&address, &["air"]);
    let error = statement.execute().await.unwrap_err().to_string();
    assert!(error.contains("send the statement again") || error.contains("transport"), "{error}");
}

/// Shows that rows are ingested in each mode that drivers have.
#[tokio::test(flavor = "multi_thread")]
async fn ingest() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    lab.arena("sea");
    let server = lab.serve(&["air", "sea"]);
    let mut client = connect(&server).await;
    let mut ingest = async |missing: TableNotExistOption, exists: TableExistsOption, schema: Option<&str>| {
        let command = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: missing.into(),
                if_exists: exists.into(),
            }),
            table: "a table".to_owned(),
            schema: schema.map(str::to_owned),
            catalog: None,
            temporary: false,
            transaction_id: None,
            options: HashMap::new(),
        };
        client
            .execute_ingest(command, stream::iter([Ok(rows(0, 10)), Ok(rows(10, 15))]))
            .await
            .map_err(|e| e.to_string())
    };
    assert!(
        ingest(TableNotExistOption::Fail, TableExistsOption::Append, None).await.unwrap_err().contains("no object")
    );
    assert_eq!(ingest(TableNotExistOption::Create, TableExistsOption::Fail, None).await.unwrap(), 15);
    assert!(
        ingest(TableNotExistOption::Create, TableExistsOption::Fail, None)
            .await
            .unwrap_err()
            .contains("exists already")
    );
    assert_eq!(ingest(TableNotExistOption::Create, TableExistsOption::Append, Some("air")).await.unwrap(), 15);
    assert_eq!(arena.table("a table").unwrap().num_rows(), 30);
    assert_eq!(ingest(TableNotExistOption::Create, TableExistsOption::Replace, None).await.unwrap(), 15);
    assert_eq!(arena.table("a table").unwrap().num_rows(), 15);
    assert!(
        ingest(TableNotExistOption::Create, TableExistsOption::Fail, Some("lake"))
            .await
            .unwrap_err()
            .contains("not served")
    );
}

/// Shows what drivers ask before they ask for rows.
#[tokio::test(flavor = "multi_thread")]
async fn metadata() {
    let lab = Lab::new();
    let (air, sea) = (lab.arena("air"), lab.arena("sea"));
    air.writer().unwrap().publish("t", rows(0, 10)).unwrap();
    air.writer().unwrap().publish("bytes", "bytes").unwrap();
    sea.writer().unwrap().publish("with space", rows(0, 10)).unwrap();
    let server = lab.serve(&["air", "sea"]);
    let mut client = connect(&server).await;
    let text = |batches: &[RecordBatch], column: usize| {
        let all = whole(batches);
        all.column(column).as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
    };
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(text(&fetch(&mut client, info).await.unwrap(), 0), ["arenas"]);
    let all = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(all).await.unwrap();
    assert_eq!(text(&fetch(&mut client, info).await.unwrap(), 1), ["air", "sea"]);
    let mut tables = CommandGetTables {
        catalog: Some("arenas".to_owned()),
        db_schema_filter_pattern: None,
        table_name_filter_pattern: None,
        table_types: vec![],
        include_schema: true,
    };
    let info = client.get_tables(tables.clone()).await.unwrap();
    let found = fetch(&mut client, info).await.unwrap();
    assert_eq!((text(&found, 2), found[0].num_columns()), (vec!["t".to_owned(), "with space".to_owned()], 5));
    tables.db_schema_filter_pattern = Some("s%".to_owned());
    tables.include_schema = false;
    let info = client.get_tables(tables).await.unwrap();
    assert_eq!(text(&fetch(&mut client, info).await.unwrap(), 2), ["with space"]);
    let info = client.get_table_types().await.unwrap();
    assert_eq!(text(&fetch(&mut client, info).await.unwrap(), 0), ["TABLE"]);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
    assert_eq!(whole(&fetch(&mut client, info).await.unwrap()).num_rows(), 2);
}
