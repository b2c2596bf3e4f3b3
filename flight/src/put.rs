//! What clients send: published, appended, put into feeds and channels.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_schema::SchemaRef;
use faretra::channel::Contents;
use faretra::feed::WhenFull;
use faretra::{Arena, Drafted, Error, Feed, Kind, Sender, Value, Writer};
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::error::{of_arena, of_sent, told};
use crate::served::Named;

/// How long a client may be silent in the middle of what it sends.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client waits for one of the arena's permits to write.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of Faretra's own, as the `cmd` of a descriptor: JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Put {
    pub(crate) arena: Option<String>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) mode: Mode,
    /// The version that the name has to be at.
    pub(crate) if_version: Option<u64>,
    /// Items of a feed or channel that is made.
    pub(crate) capacity: Option<usize>,
}

/// What becomes of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// What suits what is there: items of a feed or channel, else a table that replaces what has the name.
    #[default]
    Auto,
    /// A table, instead of whatever has the name.
    Replace,
    /// A table, if nothing has the name.
    Create,
    /// More rows of a table that is there.
    Append,
    /// Items of a feed, which is made if it is not there.
    Feed,
    /// Items of a channel, which is made if it is not there.
    Channel,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Done {
    arena: String,
    name: String,
    pub(crate) rows: u64,
    /// The version that was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

/// What a client sends, decoded as it comes.
pub(crate) struct Sent {
    batches: FlightRecordBatchStream,
}

impl Sent {
    /// Decodes what comes.
    pub(crate) fn new(data: BoxStream<'static, Result<FlightData, Status>>) -> Sent {
        // A message that has a descriptor or metadata alone holds nothing to decode.
        let data =
            data.try_filter(|data| std::future::ready(!data.data_header.is_empty() || !data.data_body.is_empty()));
        Sent { batches: FlightRecordBatchStream::new_from_flight_data(data.map_err(FlightError::from)) }
    }

    /// The next batch. Bytes that make arrow's decoder panic are an error, as others are.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, Status> {
        match timeout(SILENCE, AssertUnwindSafe(self.batches.next()).catch_unwind()).await {
            Ok(Ok(next)) => next.transpose().map_err(of_sent),
            Ok(Err(_)) => {
                Err(Status::invalid_argument("what was sent is no stream of Arrow batches: its decoder gave up"))
            }
            Err(_) => {
                let text = format!("nothing was sent for {} s: what came before was not published", SILENCE.as_secs());
                Err(Status::deadline_exceeded(text))
            }
        }
    }

    /// The columns, once something was decoded.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        self.batches.schema().cloned()
    }
}

/// A permit to write. Waiting for one blocks, so that it is done by a thread that may be blocked.
pub(crate) async fn writer(arena: &Arena) -> Result<Writer, Status> {
    if let Some(writer) = arena.try_writer().map_err(|e| of_arena(&e))? {
        return Ok(writer);
    }
    let arena = arena.clone();
    blocking(move || arena.writer_timeout(PATIENCE)).await
}

/// Does what may take a while where it keeps nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> faretra::Result<T> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| of_arena(&e)),
        Err(e) => Err(told(Code::Internal, format_args!("the work was given up: {e}"))),
    }
}

/// Whose turn it is to append to one name.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Publishes what clients send.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// Who appends to a name: one at a time, so that none of this server's clients gets ahead of another.
    appending: Mutex<HashMap<(String, String), Turn>>,
}

impl Publisher {
    /// Puts all that is sent where the command says.
    pub(crate) async fn put(&self, named: Named<'_>, put: &Put, mut sent: Sent) -> Result<Done, Status> {
        let (arena, name) = (&named.served.arena, named.name);
        let there = match arena.get(name) {
            Ok(object) => Some(object.kind()),
            Err(Error::NotFound { .. }) => None,
            Err(e) => return Err(of_arena(&e)),
        };
        let done = |rows, version| Done { arena: arena.name().to_owned(), name: name.to_owned(), rows, version };
        let refuse = |kind: Kind, text: &str| {
            Err(told(Code::FailedPrecondition, format_args!("`{name}` is of kind {kind}: {text}")))
        };
        match (put.mode, there) {
            (Mode::Auto | Mode::Feed | Mode::Channel, Some(Kind::Feed | Kind::Channel))
            | (Mode::Feed | Mode::Channel, None) => {
                let rows = self.feed(arena, name, put, there, &mut sent).await?;
                return Ok(done(rows, None));
            }
            (Mode::Feed | Mode::Channel, Some(kind)) => {
                return refuse(kind, "choose another name for the feed or channel");
            }
            (Mode::Auto, None | Some(Kind::Batch | Kind::Table)) | (Mode::Replace | Mode::Create, _) => {}
            (Mode::Auto, Some(kind)) => return refuse(kind, "say `\"mode\": \"replace\"` to replace it all the same"),
            (Mode::Append, Some(Kind::Batch | Kind::Table)) => {}
            (Mode::Append, Some(kind)) => return refuse(kind, "rows are appended to batches and tables"),
            (Mode::Append, None) => {
                return Err(told(Code::NotFound, format_args!("no object named `{name}` in arena `{}`", arena.name())));
            }
        }
        let writer = writer(arena).await?;
        let (mut drafts, mut rows) = (vec![], 0);
        while let Some(batch) = sent.next().await? {
            rows += batch.num_rows() as u64;
            let writer = writer.clone();
            drafts.push(blocking(move || writer.prepare(&batch)).await?);
        }
        let schema = sent.schema().ok_or_else(|| Status::invalid_argument("no schema was sent, and no batch"))?;
        let version = match put.mode {
            Mode::Append => self.append(&writer, arena, name, put.if_version, schema, drafts).await?,
            mode => {
                let expected = if mode == Mode::Create { Some(0) } else { put.if_version };
                let name = name.to_owned();
                let publish = move || match expected {
                    Some(version) => writer.publish_if(&name, version, Value::drafts(schema, drafts)),
                    None => writer.publish(&name, Value::drafts(schema, drafts)),
                };
                blocking(publish).await?
            }
        };
        Ok(done(rows, Some(version)))
    }

    /// Publishes the batches of a table and more as one: what was there is shared.
    async fn append(
        &self,
        writer: &Writer,
        arena: &Arena,
        name: &str,
        expected: Option<u64>,
        schema: SchemaRef,
        drafts: Vec<Drafted>,
    ) -> Result<u64, Status> {
        let lock = {
            let mut all = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(all.entry((arena.name().to_owned(), name.to_owned())).or_default())
        };
        let _turn = lock.lock().await;
        let object = arena.get(name).map_err(|e| of_arena(&e))?;
        let version = expected.unwrap_or(object.version());
        let table = object.table().map_err(|e| of_arena(&e))?;
        if table.schema().fields() != schema.fields() {
            return Err(told(
                Code::FailedPrecondition,
                format_args!(
                    "`{name}` has the columns {}, and what was sent has {}: nothing was appended",
                    columns(&table.schema()),
                    columns(&schema)
                ),
            ));
        }
        if drafts.is_empty() {
            return Ok(version);
        }
        let (writer, name) = (writer.clone(), name.to_owned());
        blocking(move || writer.publish_if(&name, version, Value::appended(table, drafts))).await
    }

    /// Each batch as an item of its own. What was put in stays there if the client fails on the way.
    async fn feed(
        &self,
        arena: &Arena,
        name: &str,
        put: &Put,
        there: Option<Kind>,
        sent: &mut Sent,
    ) -> Result<u64, Status> {
        let end = End::open(arena, &writer(arena).await?, name, put, there)?;
        let mut rows = 0;
        while let Some(batch) = sent.next().await? {
            let more = batch.num_rows() as u64;
            let put = match &end {
                End::Channel(sender) => sender.send_async(batch).await.map_err(Error::from),
                End::Feed(feed) => feed.append_async(batch).await.map_err(Error::from),
            };
            put.map_err(|e| {
                let status = of_arena(&e);
                told(status.code(), format_args!("{e}; {rows} rows were put into `{name}` before, and stay there"))
            })?;
            rows += more;
        }
        Ok(rows)
    }
}

/// An end of a channel or feed.
enum End {
    Channel(Sender),
    Feed(Feed),
}

impl End {
    fn open(arena: &Arena, writer: &Writer, name: &str, put: &Put, there: Option<Kind>) -> Result<End, Status> {
        let all = arena.channels().map_err(|e| of_arena(&e))?;
        let info = all.into_iter().find(|info| info.name == name);
        let contents = match &info {
            Some(info) if info.mixed => Contents::Mixed,
            _ => Contents::OneSchema,
        };
        let kind = there.unwrap_or(if put.mode == Mode::Feed { Kind::Feed } else { Kind::Channel });
        if matches!((put.mode, kind), (Mode::Feed, Kind::Channel) | (Mode::Channel, Kind::Feed)) {
            return Err(told(Code::FailedPrecondition, format_args!("`{name}` is a {kind}")));
        }
        let capacity = match &info {
            Some(info) => info.capacity,
            None => Some(put.capacity.unwrap_or(64) as u64),
        };
        let end = match (kind, capacity) {
            (Kind::Feed, Some(capacity)) => {
                writer.feed_with(name, capacity as usize, WhenFull::Block, contents).map(End::Feed)
            }
            (_, Some(capacity)) => writer.sender_with(name, capacity as usize, contents).map(End::Channel),
            (_, None) => writer.unbounded_with(name, contents).map(End::Channel),
        };
        end.map_err(|e| of_arena(&e))
    }
}

/// A schema in one line.
fn columns(schema: &SchemaRef) -> String {
    let column = |field: &Arc<arrow_schema::Field>| {
        format!("{} {}{}", field.name(), field.data_type(), if field.is_nullable() { "" } else { " not null" })
    };
    format!("({})", schema.fields().iter().map(column).collect::<Vec<_>>().join(", "))
}
