//! Shows calls of services of the arena through DoExchange.

use std::time::{Duration, Instant};

use faretra::{Error, RecvError};
use futures_util::{StreamExt, TryStreamExt};

use crate::support::{DEADLINE, Lab, encoded, path, rows, said, until, whole};

/// Shows that each batch is a request whose reply comes back, in order, and that a service that nobody serves is an error.
#[tokio::test(flavor = "multi_thread")]
async fn requests_and_replies() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let service = arena.writer().unwrap().server("ids").unwrap();
    let serving = std::thread::spawn(move || {
        for _ in 0..3 {
            let request = match service.recv_timeout(Duration::from_secs(60)) {
                Ok(request) => request,
                Err(RecvError::Failed(e)) => return Err(e),
                Err(_) => return Ok(()),
            };
            let ids = request.batch()?.project(&[0]).map_err(Error::Arrow)?;
            request.reply(ids)?;
        }
        Ok::<(), Error>(())
    });
    let server = lab.serve(&["air"]);
    let mut client = server.client().await;
    let call = |batches| encoded(path(&["ids"]), batches);
    let sent = vec![rows(0, 10), rows(10, 1000), rows(7, 8)];
    let replies = client.do_exchange(call(sent.clone())).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(whole(&replies), whole(&sent).project(&[0]).unwrap());
    serving.join().unwrap().unwrap();
    let answer = match client.do_exchange(call(vec![rows(0, 1)])).await {
        Ok(replies) => replies.try_collect::<Vec<_>>().await.map(|_| ()),
        Err(e) => Err(e),
    };
    let error = said(&answer.unwrap_err());
    assert!(error.contains("service `ids`: nobody serves"), "{error}");
}

/// Shows that a reply of other columns than the first one had is an error: a stream has one schema.
#[tokio::test(flavor = "multi_thread")]
async fn replies_of_other_columns() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let service = arena.writer().unwrap().server("columns").unwrap();
    let serving = std::thread::spawn(move || {
        for columns in [&[0][..], &[0, 1]] {
            let request = service.recv_timeout(DEADLINE).unwrap();
            let some = request.batch().unwrap().project(columns).unwrap();
            request.reply(some).unwrap();
        }
    });
    let server = lab.serve(&["air"]);
    let data = encoded(path(&["columns"]), vec![rows(0, 10), rows(0, 10)]);
    let mut replies = server.client().await.do_exchange(data).await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap(), rows(0, 10).project(&[0]).unwrap());
    let error = said(&replies.next().await.unwrap().unwrap_err());
    assert!(error.contains("service `columns` replied with other columns than before"), "{error}");
    serving.join().unwrap();
}

/// Shows that a request is given up soon after its client has gone, also while the service has no reply to it.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_is_not_waited_for() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let service = arena.writer().unwrap().server("slow").unwrap();
    let server = lab.serve(&["air"]);
    let idle = server.holds(&arena);
    let data = encoded(path(&["slow"]), vec![rows(0, 10)]);
    let mut client = server.client().await;
    let waiting = tokio::spawn(async move { client.do_exchange(data).await?.try_collect::<Vec<_>>().await });
    let request = tokio::task::spawn_blocking(move || service.recv_timeout(DEADLINE).unwrap()).await.unwrap();
    assert!(server.holds(&arena) > idle, "the server is a client of the service");
    waiting.abort();
    // A server that waited for the reply would do so for a minute.
    let gone = Instant::now();
    until("the server waits for the reply", || server.holds(&arena) == idle).await;
    assert!(gone.elapsed() < Duration::from_secs(30), "{:?}", gone.elapsed());
    drop(request);
}
