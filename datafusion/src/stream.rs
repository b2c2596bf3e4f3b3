//! Feeds and channels as tables without an end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DFSchema, Result, exec_datafusion_err, plan_datafusion_err, plan_err, project_schema};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use faretra::channel::WhenDeserted;
use faretra::feed::Start;
use faretra::{Arena, Kind, Lease, Object, Receiver, RecvError, Subscriber, SubscriberError, Table};
use futures_util::stream::{self, StreamExt};

use crate::error::failed;
use crate::sink::{ArenaSink, How, Target, columns};

/// Where the batches of a stream come from.
#[derive(Clone, Copy, Debug)]
enum From {
    /// A subscription of its own for each query.
    Feed(Start),
    /// One of the channel's receivers.
    Channel,
}

/// A feed or channel as a table without an end, for queries that give rows as they come.
///
/// The table ends when the feed or channel is closed and all of it was read. A last producer that leaves or dies without
/// closing it is an error, unless [`StreamTable::when_deserted`] says to wait for the next one.
///
/// * Each query of a **feed** sees every item from where it starts. A query that is too slow, so that items are replaced before
///   it reads them, fails and says how many it missed.
/// * A query of a **channel** takes its items. An item is acknowledged when the engine asks for what comes behind it; the item
///   in hand goes back to the channel if the query ends, fails or is dropped there, also by its LIMIT. So each item is read at
///   least once.
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use faretra::feed::{Start, WhenFull};
/// use faretra::{Arena, MIB};
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use faretra_datafusion::StreamTable;
///
/// # let name = format!("doc-fusion-stream-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ticks = arena.writer()?.feed("ticks", 16, WhenFull::Block)?;
/// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// ticks.append(RecordBatch::try_from_iter([("id", ids)])?)?;
/// ticks.close()?;
///
/// let context = SessionContext::new();
/// context.register_table("ticks", Arc::new(StreamTable::feed(&arena, "ticks", Start::Oldest)?))?;
/// assert_eq!(context.sql("SELECT id FROM ticks WHERE id > 1").await?.collect().await?[0].num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamTable {
    arena: Arena,
    name: String,
    schema: SchemaRef,
    from: From,
    deserted: WhenDeserted,
}

impl StreamTable {
    /// Returns a feed, which each query reads from `start` on.
    ///
    /// # Errors
    ///
    /// A plan error if there is no feed of that name, or if nothing was appended to it yet, so that it has no schema.
    pub fn feed(arena: &Arena, name: &str, start: Start) -> Result<StreamTable> {
        StreamTable::open(arena, name, Kind::Feed, From::Feed(start))
    }

    /// Returns a channel, of which each query is a receiver.
    ///
    /// # Errors
    ///
    /// A plan error if there is no channel of that name, or if nothing was sent yet, so that it has no schema.
    pub fn channel(arena: &Arena, name: &str) -> Result<StreamTable> {
        StreamTable::open(arena, name, Kind::Channel, From::Channel)
    }

    fn open(arena: &Arena, name: &str, kind: Kind, from: From) -> Result<StreamTable> {
        let object = arena.get(name).map_err(failed)?;
        if object.kind() != kind {
            return plan_err!("`{name}` is of kind {}, not {kind}", object.kind());
        }
        let schema = object.schema().map_err(failed)?.ok_or_else(|| {
            plan_datafusion_err!(
                "the {kind} `{name}` has no schema: either nothing was put in yet, or its contents are mixed; \
                 query it when a batch was put in, or put batches of one schema in one that is made for that"
            )
        })?;
        Ok(StreamTable { arena: arena.clone(), name: name.to_owned(), schema, from, deserted: WhenDeserted::Fail })
    }

    /// Sets what a query does when nothing is left and the last producer went without closing: it fails, unless told to wait
    /// until another one comes.
    #[must_use]
    pub fn when_deserted(self, deserted: WhenDeserted) -> StreamTable {
        StreamTable { deserted, ..self }
    }
}

impl StreamTable {
    /// The plan of a scan.
    fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = project_schema(&self.schema, projection)?;
        let filter = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                for column in filter.column_refs() {
                    let column = self.schema.index_of(&column.name)?;
                    if !columns.contains(&column) {
                        columns.push(column);
                    }
                }
                let read = DFSchema::try_from(self.schema.project(&columns)?)?;
                Some(state.create_physical_expr(filter, &read)?)
            }
            None => None,
        };
        let partition = Partition { table: self.clone(), columns: columns.into(), filter, schema: schema.clone() };
        let stream = StreamingTableExec::try_new(schema, vec![Arc::new(partition)], None, None, true, limit)?;
        Ok(Arc::new(stream))
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_plan!();

    /// Rows are filtered as they come: the engine's own filter would keep them back until it has a batch full.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn insert_into(
        &self,
        _: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if op != InsertOp::Append {
            return plan_err!(
                "`{}` is a feed or channel: what was put in cannot be replaced; use INSERT INTO",
                self.name
            );
        }
        let target = Target { arena: self.arena.clone(), name: self.name.clone() };
        ArenaSink::plan(input, target, self.schema(), How::Append)
    }
}

/// The stream of a query.
#[derive(Debug)]
struct Partition {
    table: StreamTable,
    /// The columns that are read: those of `schema`, then what else the filter needs.
    columns: Arc<[usize]>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let StreamTable { arena, name, schema, from, deserted } = self.table.clone();
        let (columns, filter, projected) = (self.columns.clone(), self.filter.clone(), self.schema.clone());
        let reader = Reader { name, schema, columns, filter, projected, item: None };
        let opened = match from {
            From::Feed(start) => arena.subscribe(&reader.name, start).map(|mut subscriber| {
                subscriber.set_when_deserted(deserted);
                End::Feed(subscriber)
            }),
            From::Channel => arena.receiver(&reader.name).map(|mut receiver| {
                receiver.set_when_deserted(deserted);
                End::Channel(receiver, None)
            }),
        };
        let batches = match opened {
            Ok(end) => stream::try_unfold((reader, end), Reader::step).left_stream(),
            Err(e) => stream::iter([Err(failed(e))]).right_stream(),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

/// The end that a query has open; of a channel, with the item in hand.
enum End {
    Feed(Subscriber),
    Channel(Receiver, Option<Lease>),
}

impl End {
    /// The next item; `None`: the end. The item before is acknowledged.
    async fn next(&mut self) -> Result<Option<Object>> {
        match self {
            End::Feed(subscriber) => match subscriber.recv_async().await {
                Ok(object) => Ok(Some(object)),
                Err(SubscriberError::Closed { clean: true }) => Ok(None),
                Err(e) => Err(DataFusionError::External(Box::new(e))),
            },
            End::Channel(receiver, lease) => {
                if let Some(lease) = lease.take() {
                    lease.ack();
                }
                match receiver.recv_async().await {
                    Ok(next) => Ok(Some(Object::clone(lease.insert(next)))),
                    Err(RecvError::Closed { clean: true }) => Ok(None),
                    Err(e) => Err(DataFusionError::External(Box::new(e))),
                }
            }
        }
    }
}

/// Lets the executor's other tasks go on: no item that is there is waited for, however many of them a filter drops.
async fn give_way() {
    let mut gave = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut gave, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Items in, batches out.
struct Reader {
    name: String,
    /// The schema that the plan was made for.
    schema: SchemaRef,
    columns: Arc<[usize]>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    projected: SchemaRef,
    /// The item that batches come from, and which of them is next.
    item: Option<(Table, u64)>,
}

impl Reader {
    async fn step((mut reader, mut end): (Reader, End)) -> Result<Option<(RecordBatch, (Reader, End))>> {
        loop {
            if let Some((table, next)) = &mut reader.item
                && *next < table.num_batches()
            {
                let object = table.batch_object(*next).map_err(failed)?;
                *next += 1;
                let batch = reader.rows(object.project(&reader.columns).map_err(failed)?)?;
                if batch.num_rows() > 0 {
                    return Ok(Some((batch, (reader, end))));
                }
                give_way().await;
                continue;
            }
            reader.item = None;
            let Some(object) = end.next().await? else { return Ok(None) };
            reader.item = Some((reader.table(object)?, 0));
        }
    }

    /// The rows and columns of a batch that the query asks for.
    fn rows(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let batch = match &self.filter {
            Some(filter) => {
                let keep = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
                filter_record_batch(&batch, as_boolean_array(&keep)?)?
            }
            None => batch,
        };
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns()[..self.projected.fields().len()].to_vec();
        Ok(RecordBatch::try_new_with_options(self.projected.clone(), columns, &rows)?)
    }

    fn table(&self, object: Object) -> Result<Table> {
        let kind = object.kind();
        let table = object.table().map_err(|_| {
            exec_datafusion_err!(
                "an item of `{}` is of kind {kind}, no batch or table: read it with `recv`, or keep such values in another channel",
                self.name
            )
        })?;
        if table.schema().fields() != self.schema.fields() {
            return Err(exec_datafusion_err!(
                "an item of `{}` has the columns {}, the plan was made for {}: plan the query anew",
                self.name,
                columns(&table.schema()),
                columns(&self.schema)
            ));
        }
        Ok(table)
    }
}
