//! Calls through `DoExchange`: each batch that comes is a request to a service of the arena, whose reply goes back.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use faretra::call::{CallError, Client, WithoutServer};
use faretra::{Object, Pollable};
use futures_util::stream::{self, BoxStream, StreamExt};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::encode::Encoder;
use crate::error::{of_arena, told};
use crate::put::{Sent, writer};
use crate::served::Named;

/// How long a request waits for its reply.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a caller looks whether anybody serves, and whether anybody waits: neither rings.
const LOOK: u8 = 100;

/// A client of a service for one stream, on a thread of its own.
struct Caller {
    client: Client,
    replies: Pollable,
    name: String,
}

impl Caller {
    fn failed(&self, e: CallError) -> Status {
        match e {
            CallError::Failed(e) => of_arena(&e),
            e => told(Code::Unavailable, format_args!("service `{}`: {e}", self.name)),
        }
    }

    fn call(&mut self, batch: RecordBatch, wanted: &dyn Fn() -> bool) -> Result<Object, Status> {
        self.client.request(batch).map_err(|e| self.failed(e))?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(reply) = self.client.try_reply().map_err(|e| self.failed(e))? {
                return Ok(reply);
            }
            if !wanted() {
                return Err(Status::cancelled("nobody waits for the reply"));
            }
            if Instant::now() > until {
                let text = format!("service `{}` gave no reply within {} s", self.name, PATIENCE.as_secs());
                return Err(Status::deadline_exceeded(text));
            }
            if !self.replies.rearm().map_err(|e| of_arena(&e))? {
                let mut ready = [PollFd::new(self.replies.as_fd(), PollFlags::POLLIN)];
                // Whatever ends the wait, the next look tells.
                let _ = poll(&mut ready, PollTimeout::from(LOOK));
            }
        }
    }

    fn run(mut self, mut requests: mpsc::Receiver<RecordBatch>, replies: &mpsc::Sender<Result<Object, Status>>) {
        while let Some(batch) = requests.blocking_recv() {
            let reply = self.call(batch, &|| !replies.is_closed());
            let failed = reply.is_err();
            if replies.blocking_send(reply).is_err() || failed {
                return;
            }
        }
    }
}

/// Both ends of a caller.
struct Line {
    requests: mpsc::Sender<RecordBatch>,
    replies: mpsc::Receiver<Result<Object, Status>>,
    name: String,
}

impl Line {
    async fn open(named: Named<'_>) -> Result<Line, Status> {
        let writer = writer(&named.served.arena).await?;
        let client = writer.client(named.name, WithoutServer::Fails).map_err(|e| of_arena(&e))?;
        let pollable = client.pollable().map_err(|e| of_arena(&e))?;
        let name = named.name.to_owned();
        let caller = Caller { client, replies: pollable, name: name.clone() };
        let (requests, asked) = mpsc::channel(1);
        let (answered, replies) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || caller.run(asked, &answered));
        Ok(Line { requests, replies, name })
    }

    async fn call(&mut self, batch: RecordBatch) -> Result<RecordBatch, Status> {
        let gone = || told(Code::Internal, format_args!("the caller of service `{}` gave up", self.name));
        self.requests.send(batch).await.map_err(|_| gone())?;
        let reply = self.replies.recv().await.ok_or_else(gone)??;
        let kind = reply.kind();
        let batch = reply.batch().map_err(|_| {
            told(
                Code::FailedPrecondition,
                format_args!("service `{}` replied with an object of kind {kind}, no batch", self.name),
            )
        })?;
        Ok(batch.record_batch().clone())
    }
}

/// Replies to what comes, one after the other.
pub(crate) async fn exchange(
    named: Named<'_>,
    sent: Sent,
    limit: usize,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let line = Line::open(named).await?;
    let state = (line, sent, None::<Encoder>);
    let replies = stream::try_unfold(state, move |(mut line, mut sent, encoder)| async move {
        let Some(request) = sent.next().await? else { return Ok(None) };
        let reply = line.call(request).await?;
        let mut messages = vec![];
        let mut encoder = match encoder {
            Some(encoder) => encoder,
            None => {
                let (encoder, first) = Encoder::new(&reply.schema(), limit)?;
                messages.push(Ok(first.into_flight_data()));
                encoder
            }
        };
        if encoder.schema().fields() != reply.schema().fields() {
            let text = format!("service `{}` replied with other columns than before", line.name);
            return Err(Status::failed_precondition(text));
        }
        let mut pieces = encoder.start(reply)?;
        while let Some(message) = encoder.next(&mut pieces)? {
            messages.push(Ok(message.into_flight_data()));
        }
        Ok(Some((stream::iter(messages), (line, sent, Some(encoder)))))
    });
    Ok(replies.map(|item| item.unwrap_or_else(|e: Status| stream::iter(vec![Err(e)]))).flatten().boxed())
}
