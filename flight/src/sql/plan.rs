//! Statements: which ones are done, with which parameters, and what they give.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::catalog::MemoryCatalogProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, Result, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Value, visit_expressions_mut};
use faretra::Arena;
use faretra_datafusion::{ArenaSchema, register};
use futures_util::StreamExt;
use tonic::{Code, Status};

use crate::error::told;

/// The catalog whose schemas are the arenas.
pub(crate) const CATALOG: &str = "arenas";

/// Names for what is kept, none of which an earlier server gave out.
pub(crate) struct Handles {
    started: u64,
    given: AtomicU64,
}

impl Handles {
    pub(crate) fn new() -> Handles {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        Handles { started, given: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> Bytes {
        format!("{:x}.{:x}", self.started, self.given.fetch_add(1, Ordering::Relaxed)).into()
    }
}

/// A session whose schemas are the arenas. It has no files.
pub(crate) fn session(arenas: &[Arena]) -> Result<(SessionContext, Vec<(String, ArenaSchema)>)> {
    let first = arenas.first().map_or("", Arena::name);
    let config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, first)
        .with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
    let mut schemas = Vec::with_capacity(arenas.len());
    for arena in arenas {
        schemas.push((arena.name().to_owned(), register(&context, arena.name(), arena)?));
    }
    Ok((context, schemas))
}

/// The plan of one statement. Parameters that have no number, as drivers write them, are numbered in their order.
pub(crate) async fn of_text(state: &SessionState, text: &str) -> Result<LogicalPlan> {
    let dialect = state.config().options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(text, &dialect)?;
    number(&mut statement);
    state.statement_to_plan(statement).await
}

/// Makes `$1`, `$2` .. of each `?`.
fn number(statement: &mut Statement) {
    let inner = match statement {
        Statement::Statement(inner) => inner,
        Statement::Explain(explain) => return number(&mut explain.statement),
        // They take none.
        _ => return,
    };
    let mut seen = 0;
    let _ = visit_expressions_mut(inner.as_mut(), |expr| {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &mut value.value
            && name == "?"
        {
            seen += 1;
            *name = format!("${seen}");
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Whether a statement changes something.
pub(crate) fn changes(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let looked = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_));
        Ok(TreeNodeRecursion::Continue)
    });
    // What cannot be looked through is done once, too.
    found || looked.is_err()
}

/// Fails for what is not done for clients: files of the server, settings that others share, and changes if there are to be none.
pub(crate) fn verify(plan: &LogicalPlan, read_only: bool) -> std::result::Result<(), Status> {
    if read_only && changes(plan) {
        return Err(Status::permission_denied(
            "the statement changes something, and this server was started with --read-only",
        ));
    }
    let mut refused = None;
    let looked = plan.apply(|node| {
        refused = match node {
            LogicalPlan::Copy(_) => {
                Some("COPY writes files of the server: use INSERT or CREATE TABLE .. AS, or fetch the rows")
            }
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(_) | DdlStatement::DropTable(_)) => None,
            LogicalPlan::Ddl(_) => Some("what is made by statements is tables of rows: CREATE TABLE .. AS, DROP TABLE"),
            LogicalPlan::Statement(_) => {
                Some("settings and transactions are nothing that a connection has: each statement stands for itself")
            }
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if let Some(why) = refused {
        return Err(Status::permission_denied(why));
    }
    looked.map_err(|e| told(Code::InvalidArgument, e))?;
    let options = SQLOptions::new().with_allow_statements(false);
    options.verify_plan(plan).map_err(|e| told(Code::PermissionDenied, e.strip_backtrace()))
}

/// The columns that a statement gives.
pub(crate) fn schema(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// The parameters that a statement takes, in their order.
pub(crate) fn parameters(plan: &LogicalPlan) -> Result<Schema> {
    let mut all: Vec<(String, Option<DataType>)> = plan.get_parameter_types()?.into_iter().collect();
    let number = |name: &str| name.trim_start_matches('$').parse::<u64>().unwrap_or(u64::MAX);
    all.sort_by(|(a, _), (b, _)| (number(a), a).cmp(&(number(b), b)));
    let field =
        |(name, data_type): (String, Option<DataType>)| Field::new(name, data_type.unwrap_or(DataType::Null), true);
    Ok(Schema::new(all.into_iter().map(field).collect::<Vec<_>>()))
}

/// The statement with one row of parameters in it.
pub(crate) fn bound(plan: LogicalPlan, parameters: Option<&RecordBatch>, row: usize) -> Result<LogicalPlan> {
    let Some(parameters) = parameters else { return Ok(plan) };
    let values = parameters.columns().iter().map(|column| ScalarValue::try_from_array(column, row));
    plan.with_param_values(ParamValues::from(values.collect::<Result<Vec<_>>>()?))
}

/// Runs a statement.
pub(crate) async fn run(context: &SessionContext, plan: LogicalPlan) -> Result<SendableRecordBatchStream> {
    context.execute_logical_plan(plan).await?.execute_stream().await
}

/// Runs a statement that changes something, and returns of how many rows it tells.
pub(crate) async fn count(context: &SessionContext, plan: LogicalPlan) -> Result<i64> {
    let counts = matches!(plan, LogicalPlan::Dml(_));
    let mut rows = run(context, plan).await?;
    let mut all = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let column = batch.columns().first().filter(|_| counts);
        let column = column.and_then(|column| column.as_primitive_opt::<UInt64Type>());
        all += column.map_or(0, |counts| counts.values().iter().sum::<u64>() as i64);
    }
    Ok(all)
}
