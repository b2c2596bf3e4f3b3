//! Shows what a client that knows nothing of Faretra can do: list, ask, stream, publish, append, feed.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray,
};
use arrow_schema::{Schema, SchemaRef};
use faretra::Value;
use faretra::feed::WhenFull;
use faretra_flight::arrow_flight::encode::FlightDataEncoderBuilder;
use faretra_flight::arrow_flight::{Action, FlightClient, FlightDescriptor, Ticket};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::support::{Lab, fetch, path, rows, said, table, whole};

async fn put(
    client: &mut FlightClient,
    to: FlightDescriptor,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<String, String> {
    let data = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_flight_descriptor(Some(to))
        .build(stream::iter(batches.into_iter().map(Ok)));
    let results = client.do_put(data).await.map_err(|e| said(&e))?;
    let results: Vec<_> = results.try_collect().await.map_err(|e| said(&e))?;
    Ok(String::from_utf8(results[0].app_metadata.to_vec()).unwrap())
}

fn command(json: &str) -> FlightDescriptor {
    FlightDescriptor::new_cmd(json.to_owned())
}

/// Shows that names with anything in them are listed, told of, put and streamed, of one arena and of several.
#[tokio::test(flavor = "multi_thread")]
async fn names() {
    let lab = Lab::new();
    let (air, sea) = (lab.arena("air"), lab.arena("sea"));
    for name in ["plain", "with space", "quo\"te's", "ünïcode 航空", "a/b@c", "{\"name\": 1}"] {
        air.writer().unwrap().publish(name, rows(0, 10)).unwrap();
    }
    sea.writer().unwrap().publish("bytes", "not listed").unwrap();
    let bundle = faretra::Bundle::new().with("member", rows(0, 3)).with("text", "bytes");
    sea.writer().unwrap().publish("day", bundle).unwrap();
    let server = lab.serve(&["air", "sea"]);
    let mut client = server.client().await;
    let all: Vec<_> = client.list_flights("").await.unwrap().try_collect().await.unwrap();
    assert_eq!(all.len(), 7);
    for info in all {
        let told = info.flight_descriptor.clone().unwrap();
        let [arena, name] = told.path.as_slice() else { panic!("{told:?}") };
        assert!(arena == "air" || name == "day/member", "{told:?}");
        let asked = client.get_flight_info(told.clone()).await.unwrap();
        assert_eq!(asked.total_records, if arena == "air" { 10 } else { 3 });
        assert_eq!(whole(&fetch(&mut client, &asked).await), rows(0, asked.total_records), "{name}");
        assert_eq!(whole(&fetch(&mut client, &info).await), rows(0, asked.total_records), "{name}");
        assert_eq!(client.get_schema(told).await.unwrap().fields(), rows(0, 0).schema().fields());
    }
    let some: Vec<_> = client.list_flights("wi").await.unwrap().try_collect().await.unwrap();
    assert_eq!(some.len(), 1);
    let name = "put under \"ü\" / é@7";
    let done = put(&mut client, path(&["sea", name]), rows(0, 0).schema(), vec![rows(0, 5), rows(5, 9)]).await.unwrap();
    assert!(done.contains("\"rows\":9"), "{done}");
    let got = sea.table(name).unwrap();
    assert_eq!((got.num_rows(), got.num_batches()), (9, 2));
    for (wrong, why) in [
        (path(&["plain"]), "InvalidArgument: name an arena too: here are `air`, `sea`"),
        (path(&["lake", "plain"]), "NotFound: arena `lake` is not served here"),
        (path(&["air", "nope"]), "NotFound: no object named `nope` in arena `air`"),
        (path(&["sea", "bytes"]), "InvalidArgument: `bytes` is of kind bytes"),
        (path(&["sea", "day"]), "is a bundle: name one of its members, `day/member`"),
        (path(&[]), "InvalidArgument: a path has an arena and a name"),
        (command("nonsense"), "InvalidArgument: the command is neither"),
    ] {
        let error = said(&client.get_flight_info(wrong).await.unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}

/// Shows that a table comes as it is, in messages that clients take without being told to, whatever its batches' sizes are: of every
/// layout, sliced, without rows, without columns.
#[tokio::test(flavor = "multi_thread")]
async fn every_layout() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let large = rows(0, 400_000);
    let words: DictionaryArray<Int32Type> = (0..300_000).map(|i| ["one", "two", "three"][i % 3]).collect();
    let views =
        StringViewArray::from_iter_values((0..300_000).map(|i| format!("a text that is too long to be inline, {i}")));
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>((0..300_000).map(|i| Some(vec![Some(i); (i % 4) as usize])));
    let columns: [(&str, ArrayRef); 3] =
        [("words", Arc::new(words)), ("views", Arc::new(views)), ("lists", Arc::new(lists))];
    let mixed = RecordBatch::try_from_iter(columns).unwrap();
    let wide: ArrayRef = Arc::new(StringArray::from_iter_values((0..40).map(|i| "x".repeat(i * 10_000))));
    let wide = RecordBatch::try_from_iter([("wide", wide)]).unwrap();
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let nothing = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let nulls = DictionaryArray::<Int32Type>::from_iter([None::<&str>, None]);
    let nulls = RecordBatch::try_from_iter([("nulls", Arc::new(nulls) as ArrayRef)]).unwrap();
    let writer = arena.writer().unwrap();
    let all = [
        ("large", large.clone()),
        ("sliced", large.slice(100_003, 200_001)),
        ("mixed", mixed),
        ("wide", wide),
        ("nothing", nothing),
        ("nulls", nulls),
    ];
    for (name, batch) in &all {
        writer.publish(name, batch).unwrap();
    }
    writer.publish("empty", Value::batches(rows(0, 0).schema(), vec![])).unwrap();
    let server = lab.serve(&["air"]);
    // Its limit is that of tonic: 4 MiB.
    let mut client = server.client().await;
    for (name, batch) in &all {
        let info = client.get_flight_info(path(&[name])).await.unwrap();
        let got = fetch(&mut client, &info).await;
        assert_eq!(&whole(&got), batch, "{name}");
        assert_eq!(got[0].schema(), batch.schema(), "{name}");
    }
    let info = client.get_flight_info(path(&["large"])).await.unwrap();
    assert!(fetch(&mut client, &info).await.len() >= 6, "400,000 rows are more than 10 MB");
    let info = client.get_flight_info(path(&["empty"])).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert!(stream.next().await.is_none());
    assert_eq!(stream.schema().unwrap().fields(), rows(0, 0).schema().fields());
}

/// Shows what each mode of a put does, and that one that does not fit is refused and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn modes() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let server = lab.serve(&["air"]);
    let mut client = server.client().await;
    let schema = rows(0, 0).schema();
    for (json, batches, total) in [
        (r#"{"name": "t", "mode": "create"}"#, vec![rows(0, 5)], 5),
        (r#"{"name": "t", "mode": "append"}"#, vec![rows(5, 9), rows(9, 10)], 10),
        (r#"{"name": "t", "mode": "append", "if_version": 2}"#, vec![rows(10, 12)], 12),
        (r#"{"arena": "air", "name": "t", "mode": "replace", "if_version": 3}"#, vec![rows(0, 2)], 2),
        (r#"{"name": "t"}"#, vec![], 0),
    ] {
        put(&mut client, command(json), schema.clone(), batches).await.unwrap();
        assert_eq!(arena.table("t").unwrap().num_rows(), total, "{json}");
    }
    arena.writer().unwrap().publish("bytes", "bytes").unwrap();
    let version = arena.get("t").unwrap().version();
    let other = rows(0, 5).project(&[0]).unwrap();
    for (json, batch, why) in [
        (r#"{"name": "t", "mode": "create"}"#, rows(0, 1), "Aborted"),
        (r#"{"name": "t", "if_version": 2}"#, rows(0, 1), "Aborted"),
        (r#"{"name": "t", "mode": "append", "if_version": 2}"#, rows(0, 1), "Aborted"),
        (r#"{"name": "t", "mode": "append"}"#, other, "what was sent has (id Int64 not null): nothing was appended"),
        (r#"{"name": "n", "mode": "append"}"#, rows(0, 1), "NotFound: no object named `n`"),
        (r#"{"name": "bytes"}"#, rows(0, 1), "`bytes` is of kind bytes: say `\"mode\": \"replace\"`"),
        (r#"{"name": "t", "mode": "feed"}"#, rows(0, 1), "`t` is of kind table"),
        (r#"{"name": "t", "mood": "feed"}"#, rows(0, 1), "unknown field `mood`"),
        (r#"{"name": ""}"#, rows(0, 1), "InvalidArgument"),
    ] {
        let why_not = put(&mut client, command(json), batch.schema(), vec![batch]).await.unwrap_err();
        assert!(why_not.contains(why), "{json}: {why_not}");
    }
    assert_eq!(arena.get("t").unwrap().version(), version);
    let reading = lab.serve(&["air", "--read-only"]);
    let why_not = put(&mut reading.client().await, path(&["t"]), schema, vec![]).await.unwrap_err();
    assert!(why_not.contains("--read-only"), "{why_not}");
}

/// Shows that a feed is streamed as it grows, until it is closed, and that what is put under its name is appended to it.
#[tokio::test(flavor = "multi_thread")]
async fn feeds() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let feed = arena.writer().unwrap().feed("ticks", 16, WhenFull::Block).unwrap();
    let server = lab.serve(&["air"]);
    let mut client = server.client().await;
    let error = said(&client.get_flight_info(path(&["ticks"])).await.unwrap_err());
    assert!(error.contains("has no schema"), "{error}");
    feed.append(rows(0, 5)).unwrap();
    let info = client.get_flight_info(path(&["ticks"])).await.unwrap();
    assert_eq!(info.total_records, -1);
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), rows(0, 5));
    put(&mut server.client().await, path(&["ticks"]), rows(0, 0).schema(), vec![rows(5, 6), rows(6, 7)]).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), rows(5, 6));
    let snapshot = client.get_flight_info(path(&["ticks@snapshot"])).await.unwrap();
    feed.append(rows(7, 8)).unwrap();
    assert_eq!(whole(&fetch(&mut client, &snapshot).await), rows(0, 7));
    feed.close().unwrap();
    let rest: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(whole(&rest), rows(6, 8));
}

/// Shows that actions are there if the server says so, tell what the arena does, and refuse what they do not know.
#[tokio::test(flavor = "multi_thread")]
async fn actions() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("t", rows(0, 10)).unwrap();
    let server = lab.serve(&["air", "--actions"]);
    let mut client = server.client().await;
    let types: Vec<_> = client.list_actions().await.unwrap().try_collect().await.unwrap();
    assert_eq!(types.len(), 5);
    let act = async |client: &mut FlightClient, name: &str, body: &'static str| {
        let results = client.do_action(Action::new(name, body)).await.map_err(|e| said(&e))?;
        let results: Vec<_> = results.try_collect().await.map_err(|e| said(&e))?;
        Ok::<_, String>(serde_json::from_slice::<serde_json::Value>(&results[0]).unwrap())
    };
    assert_eq!(act(&mut client, "stat", "").await.unwrap()["names"], 1);
    let who = act(&mut client, "who", r#"{"arena": "air"}"#).await.unwrap();
    assert!(who.as_array().unwrap().iter().any(|holder| holder["pid"] == server.child.id()), "{who}");
    assert_eq!(act(&mut client, "rm", r#"{"name": "t"}"#).await.unwrap()["removed"], true);
    assert_eq!(act(&mut client, "rm", r#"{"name": "t"}"#).await.unwrap()["removed"], false);
    assert!(arena.get("t").is_err());
    for (name, body, why) in [
        ("rm", "", "`rm` needs a name"),
        ("stat", "nonsense", "is no JSON"),
        ("dance", "", "there is no action `dance`"),
        ("BeginTransaction", "", "Unimplemented"),
    ] {
        let error = act(&mut client, name, body).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let plain = lab.serve(&["air"]);
    let mut client = plain.client().await;
    let error = act(&mut client, "stat", "").await.unwrap_err();
    assert!(
        error.contains("PermissionDenied: action `stat` is not served: start the server with --actions"),
        "{error}"
    );
    let types: Vec<_> = client.list_actions().await.unwrap().try_collect().await.unwrap();
    assert!(types.iter().all(|action| action.r#type != "stat"), "{types:?}");
}

/// Shows that rows that clients of one server append to a table at the same time are all in it, and that none of them is refused.
#[tokio::test(flavor = "multi_thread")]
async fn appends_at_once() {
    const CLIENTS: i64 = 8;
    const EACH: i64 = 12;
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("t", rows(0, 0)).unwrap();
    let server = lab.serve(&["air"]);
    let mut appending = vec![];
    for number in 0..CLIENTS {
        let mut client = server.client().await;
        appending.push(tokio::spawn(async move {
            for id in number * EACH..(number + 1) * EACH {
                let append = command(r#"{"name": "t", "mode": "append"}"#);
                put(&mut client, append, rows(0, 0).schema(), vec![rows(id, id + 1)]).await.unwrap();
            }
        }));
    }
    for client in appending {
        client.await.unwrap();
    }
    let all = whole(&arena.table("t").unwrap().reader().collect::<Result<Vec<_>, _>>().unwrap());
    let mut ids: Vec<i64> = all.column(0).as_primitive::<Int64Type>().values().to_vec();
    ids.sort_unstable();
    assert_eq!(ids, (0..CLIENTS * EACH).collect::<Vec<_>>());
}

/// Shows that a ticket's version is what comes: also when the name was published anew, with other columns, or removed; and that it is
/// an error when nobody keeps it any more.
#[tokio::test(flavor = "multi_thread")]
async fn versions() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(3, 1000)).unwrap();
    let server = lab.serve(&["air", "--keep", "2"]);
    let mut client = server.client().await;
    let info = client.get_flight_info(path(&["t"])).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    writer.publish("t", RecordBatch::try_from_iter([("other", ids)]).unwrap()).unwrap();
    assert_eq!(whole(&fetch(&mut client, &info).await), rows(0, 3000));
    writer.remove("t").unwrap();
    assert_eq!(whole(&fetch(&mut client, &info).await), rows(0, 3000));
    crate::support::until("the server keeps it for ever", || server.keeps(&arena).0 == 0).await;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let gone = client.do_get(ticket.clone()).await.err().map(|e| said(&e)).unwrap();
    assert!(gone.contains("`t` was removed, and version 1 is not kept any more"), "{gone}");
    writer.publish("t", rows(0, 1)).unwrap();
    let gone = client.do_get(ticket).await.err().map(|e| said(&e)).unwrap();
    assert!(gone.contains("is at version") && gone.contains("version 1 is not kept"), "{gone}");
    let got = client.do_get(Ticket::new(r#"{"name": "t"}"#)).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(whole(&got), rows(0, 1));
    for (ticket, why) in [("", "no JSON"), ("t", "no JSON"), (r#"{"name": "t", "version": -1}"#, "no JSON")] {
        let error = client.do_get(Ticket::new(ticket)).await.err().map(|e| said(&e)).unwrap();
        assert!(error.contains(why), "{error}");
    }
}
