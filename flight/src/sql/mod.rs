//! Flight SQL: statements over the arenas, in the engine.
//!
//! A statement is planned when its info is asked for, and its plan is kept for who comes with the ticket: what the columns are,
//! and which versions are read, is decided once. A prepared statement is text and parameters; it is planned each time.

mod ingest;
mod metadata;
mod plan;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use arrow_flight::sql::metadata::SqlInfoData;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, Command, DoPutPreparedStatementResult, DoPutUpdateResult, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{Action, ActionType, IpcMessage, SchemaAsIpc};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use faretra::Arena;
use faretra_datafusion::ArenaSchema;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use prost::Message as _;
use tonic::{Code, Status};

use crate::error::{never, of_arrow, of_engine, told};
use crate::kept::Kept;
use crate::put::{Publisher, Sent};
use crate::served::{Batches, Shelf};

/// Plans that are kept for who asked for their infos.
const MOST_PLANS: usize = 4096;
/// Statements that are prepared, and for how long nobody may ask for one.
const MOST_PREPARED: usize = 16_384;
const PREPARED: Duration = Duration::from_secs(3600);
/// Rows of parameters that are bound to a statement at most.
const MOST_ROWS: usize = 65_536;

const CREATE: &str = "CreatePreparedStatement";
const CLOSE: &str = "ClosePreparedStatement";
/// Actions of Flight SQL for what an arena has not.
const NEVER: [&str; 7] = [
    "CreatePreparedSubstraitPlan",
    "BeginTransaction",
    "EndTransaction",
    "BeginSavepoint",
    "EndSavepoint",
    "CancelQuery",
    "CancelFlightInfo",
];

/// What a command gives: its columns, and the ticket for its rows.
pub(crate) struct Wanted {
    pub(crate) ticket: Any,
    pub(crate) schema: SchemaRef,
    /// When the ticket is not good any more.
    pub(crate) until: Option<SystemTime>,
}

/// A statement that is prepared.
#[derive(Clone)]
struct Prepared {
    text: Arc<str>,
    parameters: Option<RecordBatch>,
}

/// The engine.
pub(crate) struct Sql {
    context: SessionContext,
    schemas: Vec<(String, ArenaSchema)>,
    read_only: bool,
    plans: Kept<Bytes, LogicalPlan>,
    prepared: Kept<Bytes, Prepared>,
    handles: plan::Handles,
    info: SqlInfoData,
}

impl Sql {
    /// An engine over arenas, which keeps plans for a time.
    pub(crate) fn new(arenas: &[Arena], read_only: bool, time: Duration) -> Result<Sql, Status> {
        let (context, schemas) = plan::session(arenas).map_err(|e| of_engine(&e))?;
        Ok(Sql {
            context,
            schemas,
            read_only,
            plans: Kept::new(time, MOST_PLANS),
            prepared: Kept::new(PREPARED, MOST_PREPARED),
            handles: plan::Handles::new(),
            info: metadata::info(read_only)?,
        })
    }

    /// Lets go of what nobody asked for in time.
    pub(crate) fn sweep(&self) {
        self.plans.sweep();
        self.prepared.sweep();
    }

    /// The actions of Flight SQL that there are.
    pub(crate) fn actions() -> impl Iterator<Item = ActionType> {
        let all = [
            (CREATE, "Prepares a statement. Body: ActionCreatePreparedStatementRequest"),
            (CLOSE, "Forgets a prepared statement. Body: ActionClosePreparedStatementRequest"),
        ];
        all.into_iter().map(|(name, what)| ActionType { r#type: name.to_owned(), description: what.to_owned() })
    }

    /// What a command gives.
    pub(crate) async fn info(&self, command: Command) -> Result<Wanted, Status> {
        let plan = match &command {
            Command::CommandStatementQuery(query) => self.plan(&query.query).await?,
            Command::CommandPreparedStatementQuery(query) => self.planned(&query.prepared_statement_handle).await?,
            _ => {
                let schema = metadata::rows(&command, &self.schemas, &self.info)?.schema();
                return Ok(Wanted { ticket: command.into_any(), schema, until: None });
            }
        };
        let schema = plan::schema(&plan);
        let statement_handle = self.handles.next();
        self.plans.insert(statement_handle.clone(), plan);
        let until = Some(SystemTime::now() + self.plans.time());
        Ok(Wanted { ticket: TicketStatementQuery { statement_handle }.as_any(), schema, until })
    }

    /// The columns that a command gives.
    pub(crate) async fn schema(&self, command: Command) -> Result<SchemaRef, Status> {
        match &command {
            Command::CommandStatementQuery(query) => Ok(plan::schema(&self.plan(&query.query).await?)),
            Command::CommandPreparedStatementQuery(query) => {
                Ok(plan::schema(&self.planned(&query.prepared_statement_handle).await?))
            }
            _ => Ok(metadata::rows(&command, &self.schemas, &self.info)?.schema()),
        }
    }

    /// The rows that a ticket is for.
    pub(crate) async fn get(&self, command: Command) -> Result<(SchemaRef, Batches), Status> {
        let plan = match &command {
            Command::TicketStatementQuery(ticket) => {
                let handle = &ticket.statement_handle;
                let kept = self.plans.get(handle).ok_or_else(|| self.unknown("statement", self.plans.time()))?;
                // What changes something is done once.
                if plan::changes(&kept) {
                    self.plans.remove(handle).ok_or_else(|| self.unknown("statement", self.plans.time()))?;
                }
                kept
            }
            Command::CommandStatementQuery(query) => self.plan(&query.query).await?,
            Command::CommandPreparedStatementQuery(query) => self.planned(&query.prepared_statement_handle).await?,
            _ => {
                let batch = metadata::rows(&command, &self.schemas, &self.info)?;
                return Ok((batch.schema(), stream::iter([Ok(batch)]).boxed()));
            }
        };
        let rows = plan::run(&self.context, plan).await.map_err(|e| of_engine(&e))?;
        Ok((rows.schema(), rows.map_err(|e| of_engine(&e)).boxed()))
    }

    /// Does what a command says with what is sent: changes, parameters, rows of a table.
    pub(crate) async fn put(
        &self,
        command: Command,
        mut sent: Sent,
        publisher: &Publisher,
        shelf: &Shelf,
    ) -> Result<Vec<u8>, Status> {
        let record_count = match command {
            Command::CommandStatementUpdate(update) => {
                let plan = self.plan(&update.query).await?;
                plan::count(&self.context, plan).await.map_err(|e| of_engine(&e))?
            }
            Command::CommandPreparedStatementQuery(query) => {
                let handle = query.prepared_statement_handle;
                let prepared = self.known(&handle)?;
                let parameters = parameters(&mut sent).await?;
                self.prepared.insert(handle.clone(), Prepared { parameters, ..prepared });
                let done = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) };
                return Ok(done.encode_to_vec());
            }
            Command::CommandPreparedStatementUpdate(update) => {
                let prepared = self.known(&update.prepared_statement_handle)?;
                let plan = self.plan(&prepared.text).await?;
                let parameters = parameters(&mut sent).await?.or(prepared.parameters);
                let rows = parameters.as_ref().map_or(1, RecordBatch::num_rows);
                let mut all = 0;
                for row in 0..rows {
                    let plan = plan::bound(plan.clone(), parameters.as_ref(), row).map_err(|e| of_engine(&e))?;
                    all += plan::count(&self.context, plan).await.map_err(|e| {
                        let status = of_engine(&e);
                        told(
                            status.code(),
                            format_args!("{}; the {row} rows of parameters before this one are done", status.message()),
                        )
                    })?;
                }
                all
            }
            Command::CommandStatementIngest(ingest) => {
                if self.read_only {
                    return Err(Status::permission_denied("this server was started with --read-only"));
                }
                ingest::ingest(ingest, sent, publisher, shelf).await?
            }
            other => return Err(never(other.type_url())),
        };
        Ok(DoPutUpdateResult { record_count }.encode_to_vec())
    }

    /// Does an action, if it is one of Flight SQL's, and returns the bodies of its results.
    pub(crate) async fn act(&self, action: &Action) -> Result<Option<Vec<Vec<u8>>>, Status> {
        let wrong = |e: &dyn std::fmt::Display| {
            told(Code::InvalidArgument, format_args!("the body of `{}`: {e}", action.r#type))
        };
        let any = || Any::decode(&*action.body).map_err(|e| wrong(&e));
        match action.r#type.as_str() {
            CREATE => {
                let request: Option<ActionCreatePreparedStatementRequest> = any()?.unpack().map_err(|e| wrong(&e))?;
                let request = request.ok_or_else(|| wrong(&"it is of another type"))?;
                let result = self.prepare(&request.query).await?;
                Ok(Some(vec![result.as_any().encode_to_vec()]))
            }
            CLOSE => {
                let request: Option<ActionClosePreparedStatementRequest> = any()?.unpack().map_err(|e| wrong(&e))?;
                let request = request.ok_or_else(|| wrong(&"it is of another type"))?;
                self.prepared.remove(&request.prepared_statement_handle);
                Ok(Some(vec![]))
            }
            other if NEVER.contains(&other) => Err(never(other)),
            _ => Ok(None),
        }
    }

    async fn prepare(&self, text: &str) -> Result<ActionCreatePreparedStatementResult, Status> {
        let plan = self.plan(text).await?;
        let gives = if plan::changes(&plan) { Bytes::new() } else { bytes_of(&plan::schema(&plan))? };
        let takes = plan::parameters(&plan).map_err(|e| of_engine(&e))?;
        let handle = self.handles.next();
        self.prepared.insert(handle.clone(), Prepared { text: text.into(), parameters: None });
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle,
            dataset_schema: gives,
            parameter_schema: bytes_of(&takes)?,
        })
    }

    /// The plan of one statement that this server does.
    async fn plan(&self, text: &str) -> Result<LogicalPlan, Status> {
        let plan = plan::of_text(&self.context.state(), text).await.map_err(|e| of_engine(&e))?;
        plan::verify(&plan, self.read_only)?;
        Ok(plan)
    }

    /// The plan of a statement that is prepared, with its parameters.
    async fn planned(&self, handle: &Bytes) -> Result<LogicalPlan, Status> {
        let Prepared { text, parameters } = self.known(handle)?;
        let plan = self.plan(&text).await?;
        match parameters.as_ref().map(RecordBatch::num_rows) {
            None => Ok(plan),
            Some(1) => plan::bound(plan, parameters.as_ref(), 0).map_err(|e| of_engine(&e)),
            Some(rows) => {
                Err(Status::invalid_argument(format!("{rows} rows of parameters are bound, and a query takes one")))
            }
        }
    }

    fn known(&self, handle: &Bytes) -> Result<Prepared, Status> {
        self.prepared.get(handle).ok_or_else(|| self.unknown("prepared statement", PREPARED))
    }

    fn unknown(&self, what: &str, time: Duration) -> Status {
        Status::not_found(format!(
            "the {what} is not kept any more: this server started after it, or nobody asked for it for {} s, or it was done; \
             send the statement again",
            time.as_secs()
        ))
    }
}

fn bytes_of(schema: &Schema) -> Result<Bytes, Status> {
    let message: IpcMessage =
        SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into().map_err(|e| of_arrow(&e))?;
    Ok(message.0)
}

/// All rows of parameters that are sent, if any.
async fn parameters(sent: &mut Sent) -> Result<Option<RecordBatch>, Status> {
    let (mut all, mut rows) = (vec![], 0);
    while let Some(batch) = sent.next().await? {
        rows += batch.num_rows();
        if rows > MOST_ROWS {
            let text = format!("more than {MOST_ROWS} rows of parameters: ingest them as a table, and join that");
            return Err(Status::invalid_argument(text));
        }
        all.push(batch);
    }
    let Some(schema) = sent.schema().filter(|schema| !schema.fields().is_empty()) else { return Ok(None) };
    datafusion::arrow::compute::concat_batches(&schema, &all).map(Some).map_err(|e| of_arrow(&e))
}
