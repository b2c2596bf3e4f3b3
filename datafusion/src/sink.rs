//! What a statement gives, published: a table that grows or is replaced, a channel or feed that is fed.

use std::fmt::{self, Formatter};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use faretra::channel::Contents;
use faretra::feed::WhenFull;
use faretra::{Arena, Drafted, Error, Feed, Kind, Sender, Value, Writer};
use futures_util::{Stream, StreamExt};

use crate::error::failed;

/// Where rows that are inserted go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) arena: Arena,
    pub(crate) name: String,
}

/// A schema in one line.
pub(crate) fn columns(schema: &SchemaRef) -> String {
    let column = |field: &Arc<arrow_schema::Field>| {
        format!("{} {}{}", field.name(), field.data_type(), if field.is_nullable() { "" } else { " not null" })
    };
    format!("({})", schema.fields().iter().map(column).collect::<Vec<_>>().join(", "))
}

/// What becomes of the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// They stay; the table, channel or feed is there.
    Append,
    /// A table's go; a channel or feed is fed.
    Replace,
}

/// A published batch has this many rows, except the last one.
const BATCH_ROWS: usize = 1 << 17;
/// Up to so many bytes of an insert are kept until it is done, so that it can be done again after a conflict.
const KEPT_BYTES: usize = 64 << 20;
/// How often an insert is tried that others get ahead of.
const TRIES: usize = 100;
/// How long an insert waits for one of the arena's writers' permits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The root of a plan that publishes.
#[derive(Debug)]
pub(crate) struct ArenaSink {
    target: Target,
    schema: SchemaRef,
    how: How,
}

impl ArenaSink {
    /// A plan that publishes what `input` gives.
    pub(crate) fn plan(
        input: Arc<dyn ExecutionPlan>,
        target: Target,
        schema: SchemaRef,
        how: How,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (given, wanted) = (input.schema(), &schema);
        let types = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        if types(&given) != types(wanted) {
            return Err(DataFusionError::Plan(format!(
                "the rows to insert into `{}` have the columns {}, it has {}",
                target.name,
                columns(&given),
                columns(wanted)
            )));
        }
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(ArenaSink { target, schema, how }), None)))
    }
}

impl DisplayAs for ArenaSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let how = if self.how == How::Append { "append to" } else { "publish" };
        write!(f, "ArenaSink({how} `{}` of arena `{}`)", self.target.name, self.target.arena.name())
    }
}

/// A permit to write. Waiting for one blocks, so that it is done by a thread that may be blocked.
async fn writer(arena: &Arena) -> Result<Writer> {
    if let Some(writer) = arena.try_writer().map_err(failed)? {
        return Ok(writer);
    }
    let arena = arena.clone();
    let waited = SpawnedTask::spawn_blocking(move || arena.writer_timeout(PATIENCE)).join().await;
    waited.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(failed)
}

#[async_trait]
impl DataSink for ArenaSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(&self, data: SendableRecordBatchStream, _: &Arc<TaskContext>) -> Result<u64> {
        let Target { arena, name } = &self.target;
        let kind = match arena.get(name) {
            Ok(object) => Some(object.kind()),
            Err(Error::NotFound { .. }) if self.how == How::Replace => None,
            Err(e) => return Err(failed(e)),
        };
        let writer = writer(arena).await?;
        match kind {
            None | Some(Kind::Batch | Kind::Table) => self.publish(&writer, data).await,
            Some(Kind::Channel | Kind::Feed) => self.feed(&writer, data).await,
            Some(kind) if self.how == How::Replace => exec_err!(
                "`{name}` is of kind {kind}, which a statement does not replace: remove it first with `Writer::remove`"
            ),
            Some(kind) => exec_err!("`{name}` is of kind {kind} by now: nothing was inserted; plan the statement anew"),
        }
    }
}

impl ArenaSink {
    /// The rows with the schema of what they go into.
    fn batches(&self, data: SendableRecordBatchStream) -> impl Stream<Item = Result<RecordBatch>> + Unpin {
        let schema = self.schema.clone();
        data.map(move |batch| {
            let batch = batch?;
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            // Fails for a null where the table has none.
            Ok(RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &rows)?)
        })
    }

    /// Publishes a table: the batches are copied into the arena as they come, and nobody sees any before all are there.
    async fn publish(&self, writer: &Writer, data: SendableRecordBatchStream) -> Result<u64> {
        let mut batches = self.batches(data);
        let mut coalescer = BatchCoalescer::new(self.schema.clone(), BATCH_ROWS);
        let mut drafts: Vec<Drafted> = vec![];
        let mut kept = Some((vec![], 0));
        let (mut rows, mut ended) = (0, false);
        while !ended {
            match batches.next().await {
                Some(batch) => coalescer.push_batch(batch?)?,
                None => {
                    coalescer.finish_buffered_batch()?;
                    ended = true;
                }
            }
            while let Some(batch) = coalescer.next_completed_batch() {
                rows += batch.num_rows() as u64;
                drafts.push(writer.prepare(&batch).map_err(failed)?);
                if let Some((all, bytes)) = &mut kept {
                    *bytes += batch.get_array_memory_size();
                    all.push(batch);
                    if *bytes > KEPT_BYTES {
                        kept = None;
                    }
                }
            }
        }
        let Target { arena, name } = &self.target;
        if self.how == How::Replace {
            writer.publish(name, Value::drafts(self.schema.clone(), drafts)).map_err(failed)?;
            return Ok(rows);
        }
        let mut tries = TRIES;
        loop {
            let object = arena.get(name).map_err(failed)?;
            let version = object.version();
            let table = object.table().map_err(failed)?;
            // Batches of a table have its metadata too.
            if table.schema() != self.schema {
                return exec_err!(
                    "`{name}` has the columns {} since version {version}, the statement was planned for {}: \
                     nothing was inserted; plan it anew",
                    columns(&table.schema()),
                    columns(&self.schema)
                );
            }
            if drafts.is_empty() {
                return Ok(0);
            }
            let drafted = std::mem::take(&mut drafts);
            match writer.publish_if(name, version, Value::appended(table, drafted)) {
                Ok(_) => return Ok(rows),
                Err(Error::Conflict { found, .. }) => {
                    tries -= 1;
                    let Some((all, _)) = kept.as_ref().filter(|_| tries > 0) else {
                        return exec_err!(
                            "`{name}` became version {found} while {rows} rows were appended to version {version}: \
                             nothing was inserted; run the statement again"
                        );
                    };
                    for batch in all {
                        drafts.push(writer.prepare(batch).map_err(failed)?);
                    }
                }
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Sends each batch as an item of its own. What was sent stays sent if the statement fails on the way.
    async fn feed(&self, writer: &Writer, data: SendableRecordBatchStream) -> Result<u64> {
        let Target { arena, name } = &self.target;
        let end = End::open(arena, writer, name)?;
        let mut batches = self.batches(data);
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let more = batch.num_rows() as u64;
            end.put(batch)
                .await
                .map_err(|e| exec_datafusion_err!("{e}; {rows} rows were put into `{name}` before, and stay there"))?;
            rows += more;
        }
        Ok(rows)
    }
}

/// An end of a channel or feed that is there.
enum End {
    Channel(Sender),
    Feed(Feed),
}

impl End {
    fn open(arena: &Arena, writer: &Writer, name: &str) -> Result<End> {
        let all = arena.channels().map_err(failed)?;
        let info = all.into_iter().find(|info| info.name == name);
        let info = info.ok_or_else(|| exec_datafusion_err!("`{name}` is no channel or feed any more"))?;
        let contents = if info.mixed { Contents::Mixed } else { Contents::OneSchema };
        let end = match (info.kind, info.capacity) {
            (Kind::Feed, Some(capacity)) => {
                writer.feed_with(name, capacity as usize, WhenFull::Block, contents).map(End::Feed)
            }
            (_, Some(capacity)) => writer.sender_with(name, capacity as usize, contents).map(End::Channel),
            (_, None) => writer.unbounded_with(name, contents).map(End::Channel),
        };
        end.map_err(failed)
    }

    async fn put(&self, batch: RecordBatch) -> faretra::Result<()> {
        match self {
            End::Channel(sender) => sender.send_async(batch).await.map_err(Error::from),
            End::Feed(feed) => feed.append_async(batch).await.map_err(Error::from),
        }
    }
}
