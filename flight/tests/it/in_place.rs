//! Shows that a client of the same host that knows Faretra reads the arena itself, and everybody else streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faretra::Arena;
use faretra_flight::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Lab, path, rows, table, whole};

/// Passes connections on to a server, and counts what that sends.
async fn counting(server: &str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (server, counted) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
                    counter.fetch_add(n as u64, Ordering::Relaxed);
                    if to_client.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, counted)
}

/// Shows that nothing of a table comes through the socket if it can be mapped, that it is pinned by this process's own seat, and that
/// it all comes through the socket if that is not wanted, or not offered.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_comes_through_the_socket() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("a \"name\"/ü", table(4, 100_000)).unwrap();
    let bytes = arena.table("a \"name\"/ü").unwrap().nbytes();
    assert!(bytes > 8 << 20);
    let server = lab.serve(&["air"]);
    let (address, counted) = counting(server.host()).await;
    let mut client = Client::connect(&address).await.unwrap();
    let fetched = client.get(&["a \"name\"/ü"]).await.unwrap();
    assert!(fetched.is_in_place());
    // Its seat, and its pin.
    let ours = |arena: &Arena| arena.who().unwrap().iter().filter(|holder| holder.this_process).count();
    assert_eq!(ours(&arena), 2);
    assert_eq!(whole(&fetched.collect().await.unwrap()), rows(0, 400_000));
    let through = counted.load(Ordering::Relaxed);
    assert!(through < 16 << 10, "{through} bytes came through the socket");
    // Again, through the same seat.
    assert!(client.get(&["a \"name\"/ü"]).await.unwrap().is_in_place());
    assert_eq!(ours(&arena), 2);
    drop(client);
    assert_eq!(ours(&arena), 1);

    let mut client = Client::connect(&address).await.unwrap().in_place(false);
    let fetched = client.get(&["a \"name\"/ü"]).await.unwrap();
    assert!(!fetched.is_in_place());
    assert_eq!(whole(&fetched.collect().await.unwrap()), rows(0, 400_000));
    assert!(counted.load(Ordering::Relaxed) > bytes);

    let silent = lab.serve(&["air", "--no-shm"]);
    let mut client = Client::connect(&silent.http()).await.unwrap();
    assert!(!client.get(&["a \"name\"/ü"]).await.unwrap().is_in_place());
}

/// Shows that what an info tells of is what is read: a version that was replaced meanwhile is not mistaken for the new one, but
/// streamed; and an arena that has the name of the served one by now is not taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_very_object_is_read_in_place() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let writer = arena.writer().unwrap();
    writer.publish("t", rows(0, 100)).unwrap();
    let server = lab.serve(&["air"]);
    let mut client = Client::connect(&server.http()).await.unwrap();
    let info = client.flight().get_flight_info(path(&["t"])).await.unwrap();
    let places: Vec<&str> = info.endpoint[0].location.iter().map(|location| location.uri.as_str()).collect();
    assert!(places[0].starts_with("faretra-shm://") && places[1] == "arrow-flight-reuse-connection://?", "{places:?}");
    writer.publish("t", rows(100, 200)).unwrap();
    let old = client.fetch(info.clone()).await.unwrap();
    assert!(!old.is_in_place());
    assert_eq!(whole(&old.collect().await.unwrap()), rows(0, 100));
    let new = client.get(&["t"]).await.unwrap();
    assert!(new.is_in_place());
    assert_eq!(whole(&new.collect().await.unwrap()), rows(100, 200));
    drop((client, writer));
    // Another arena takes the name, and has the same name at the same version, with other rows.
    Arena::options().dir(lab.path()).remove("air").unwrap();
    drop(arena);
    let other = lab.arena("air");
    other.writer().unwrap().publish("t", rows(7, 8)).unwrap();
    other.writer().unwrap().publish("t", rows(8, 9)).unwrap();
    let mut client = Client::connect(&server.http()).await.unwrap();
    let fetched = client.get(&["t"]).await.unwrap();
    assert!(!fetched.is_in_place());
    assert_eq!(whole(&fetched.collect().await.unwrap()), rows(100, 200));
}

/// Shows that what a client puts is published, and what the server says of it.
#[tokio::test(flavor = "multi_thread")]
async fn put() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let server = lab.serve(&["air"]);
    let mut client = Client::connect(&server.http()).await.unwrap();
    let said = client.put(&["t"], rows(0, 0).schema(), vec![rows(0, 10)]).await.unwrap();
    assert_eq!(said, r#"{"arena":"air","name":"t","rows":10,"version":1}"#);
    assert_eq!(arena.table("t").unwrap().num_rows(), 10);
    assert_eq!(client.list("").await.unwrap().len(), 1);
}
