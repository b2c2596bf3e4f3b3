//! Shows calls of services of the arena through DoExchange.

use std::time::Duration;

use faretra::{Error, RecvError};
use faretra_flight::arrow_flight::encode::FlightDataEncoderBuilder;
use futures_util::{TryStreamExt, stream};

use crate::support::{Lab, path, rows, said, whole};

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
    let call = |batches: Vec<_>| {
        FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(path(&["ids"])))
            .build(stream::iter(batches.into_iter().map(Ok)))
    };
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
