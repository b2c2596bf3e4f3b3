//! Shows what is left when a client is killed, the arena is removed, the server is killed, values are damaged.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use arrow_array::Array;
use faretra::Arena;
use faretra::feed::{Start, WhenFull};
use faretra_flight::arrow_flight::encode::FlightDataEncoderBuilder;
use faretra_flight::arrow_flight::{FlightClient, FlightData};
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::support::{Lab, encoded, fetch, path, rows, said, table, until};

const ADDRESS: &str = "FARETRA_FLIGHT_TEST_ADDRESS";
const WHAT: &str = "FARETRA_FLIGHT_TEST_WHAT";

/// No test by itself: a client that begins with something and never goes on, until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn as_a_client() {
    let (Ok(address), Ok(what)) = (std::env::var(ADDRESS), std::env::var(WHAT)) else { return };
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = FlightClient::new(channel);
    if what == "put" {
        let (done, never) = tokio::sync::oneshot::channel::<()>();
        let endless = stream::once(async move {
            never.await.unwrap();
            Ok(rows(0, 1))
        });
        let batches = stream::iter([Ok(rows(0, 100_000))]).chain(endless);
        let data = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(path(&["new"]))).build(batches);
        client.do_put(data).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
        drop(done);
        return;
    }
    let info = client.get_flight_info(path(&[&what])).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    std::future::pending::<()>().await;
}

/// Shows that a client that is killed while it reads a table, follows a feed or sends a table leaves nothing pinned, subscribed or
/// drafted, and that what it had half sent is not published.
#[tokio::test(flavor = "multi_thread")]
async fn killed_clients() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let writer = arena.writer().unwrap();
    writer.publish("t", table(40, 50_000)).unwrap();
    let feed = writer.feed("ticks", 4, WhenFull::DropOldest).unwrap();
    feed.append(rows(0, 1)).unwrap();
    let server = lab.serve(&["air", "--keep", "0"]);
    let idle = (server.keeps(&arena), server.holds(&arena));
    for what in ["t", "ticks", "put"] {
        let mut client = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::as_a_client"])
            .env(ADDRESS, server.http())
            .env(WHAT, what)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the client does nothing", || server.keeps(&arena) > idle.0 || server.holds(&arena) > idle.1).await;
        client.kill().unwrap();
        client.wait().unwrap();
        until("something of the client is left", || (server.keeps(&arena), server.holds(&arena)) == idle).await;
    }
    assert!(arena.get("new").is_err());
    // The feed has room for all its subscribers again.
    assert!(arena.subscribe("ticks", Start::Oldest).is_ok());
    assert!(arena.verify().unwrap().is_empty());
}

/// Shows that a table is streamed to its end though the arena was removed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_arena_is_removed() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("t", table(20, 50_000)).unwrap();
    let server = lab.serve(&["air"]);
    let mut client = server.client().await;
    let info = client.get_flight_info(path(&["t"])).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let mut seen = stream.next().await.unwrap().unwrap().num_rows();
    Arena::options().dir(lab.path()).remove("air").unwrap();
    drop(arena);
    while let Some(batch) = stream.next().await {
        seen += batch.unwrap().num_rows();
    }
    assert_eq!(seen, 1_000_000);
    // The server has it still.
    assert_eq!(fetch(&mut client, &info).await.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_000_000);
}

/// Shows that a server that is killed in the middle leaves the arena whole and nothing in it, and that its successor serves the
/// tickets of versions that are there.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("t", table(20, 50_000)).unwrap();
    let mut server = lab.serve(&["air"]);
    let mut client = server.client().await;
    let info = client.get_flight_info(path(&["t"])).await.unwrap();
    let snapshot = client.get_flight_info(path(&["t"])).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let address = server.host().to_owned();
    server.kill();
    let rest: Result<Vec<_>, _> = stream.try_collect().await;
    assert!(rest.is_err(), "the stream ended as if it was whole");
    assert!(client.get_flight_info(path(&["t"])).await.is_err());
    arena.recover().unwrap();
    assert_eq!(arena.who().unwrap().len(), 1);
    assert!(arena.verify().unwrap().is_empty());
    let again = lab.serve_at(&address, &["air"]);
    let mut client = again.client().await;
    assert_eq!(fetch(&mut client, &snapshot).await.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_000_000);
}

/// Shows that Ctrl-C ends a server with 0, also while somebody follows a feed.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let feed = arena.writer().unwrap().feed("ticks", 4, WhenFull::Block).unwrap();
    feed.append(rows(0, 1)).unwrap();
    let mut server = lab.serve(&["air"]);
    let mut client = server.client().await;
    let info = client.get_flight_info(path(&["ticks"])).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let pid = nix::unistd::Pid::from_raw(server.child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut status = None;
    until("it goes on", || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert_eq!(status.unwrap().code(), Some(0));
    assert_eq!(arena.who().unwrap().len(), 1, "it left the arena");
}

/// Shows that values that lie are an error and not sent, and that other tables are served all the same.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_values() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let writer = arena.writer().unwrap();
    writer.publish("t", rows(0, 100)).unwrap();
    writer.publish("whole", rows(0, 100)).unwrap();
    damage(&arena);
    for args in [vec!["air"], vec!["air", "--untrusted"]] {
        let server = lab.serve(&args);
        let mut client = server.client().await;
        let info = client.get_flight_info(path(&["t"])).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let got = match client.do_get(ticket).await {
            Ok(stream) => stream.try_collect::<Vec<_>>().await,
            Err(e) => Err(e),
        };
        let error = said(&got.unwrap_err());
        assert!(error.starts_with("DataLoss") && error.contains("the arena is damaged"), "{error}");
        let info = client.get_flight_info(path(&["whole"])).await.unwrap();
        assert_eq!(fetch(&mut client, &info).await[0], rows(0, 100));
    }
}

/// Shows that messages whose bodies are cut off are refused in words, publish nothing, and keep nobody else from being served.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_cut_off() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let server = lab.serve(&["air"]);
    let whole: Vec<FlightData> = encoded(path(&["t"]), vec![rows(0, 100)]).try_collect().await.unwrap();
    for len in [0, 8, 64, 800, whole[1].data_body.len() - 64] {
        let mut cut = whole.clone();
        cut[1].data_body.truncate(len);
        let mut client = server.client().await;
        let answer = match client.inner_mut().do_put(stream::iter(cut)).await {
            Ok(results) => results.into_inner().try_collect::<Vec<_>>().await,
            Err(status) => Err(status),
        };
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{len} bytes: {status}");
        assert!(arena.get("t").is_err());
    }
    server.client().await.do_put(stream::iter(whole).map(Ok)).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(arena.table("t").unwrap().num_rows(), 100);
}

/// Makes an offset of the texts of `t` lie, in the arena's file.
fn damage(arena: &Arena) {
    let batch = arena.batch("t").unwrap();
    let offsets = batch.column_by_name("text").unwrap().to_data().buffers()[0].as_ptr().addr();
    let inode = std::fs::metadata(arena.path()).unwrap().ino().to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let (from, begins) = maps
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (from, to) = words[0].split_once('-')?;
            let ours = words[4] == inode && (hex(from)..hex(to)).contains(&offsets);
            ours.then(|| (hex(from), hex(words[2])))
        })
        .next()
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(arena.path()).unwrap();
    file.write_all_at(&i32::MAX.to_le_bytes(), (offsets - from + begins + 4 * 20) as u64).unwrap();
}
