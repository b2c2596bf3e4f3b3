//! Arenas and files as the engine sees them, and why a statement cannot be planned.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::catalog::{MemoryCatalogProvider, SchemaProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{LogicalPlan, Statement as Told};
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::parser::ParserError;
use faretra::{Arena, Error, Kind};
use faretra_cli::sql::{Failure, Result, library_text, open};
use faretra_datafusion::{ArenaSchema, register};

use crate::args::Args;
use crate::files;

/// The catalog whose schemas are the arenas.
const CATALOG: &str = "arenas";

/// Names that a message lists.
const LISTED: usize = 20;

/// The arenas of the command line, open, as schemas of one engine.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    schemas: Vec<(String, ArenaSchema)>,
}

/// A statement that was planned.
pub enum Planned {
    /// It gives no rows, and is done.
    Done,
    /// Its rows, and whether they may never end.
    Rows(SendableRecordBatchStream, bool),
}

impl Session {
    /// Opens the arenas.
    pub fn open(args: &Args) -> Result<Session> {
        let first = args.arenas.0.first().map_or("", String::as_str);
        let mut config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, first)
            .with_information_schema(true);
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(limit) = args.memory_limit {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            // Each sort sets so much aside for merging what it wrote. By itself the engine would take more than a small limit.
            let aside = limit / 8 / config.target_partitions().max(1);
            let aside = aside.min(config.options().execution.sort_spill_reservation_bytes);
            config = config.with_sort_spill_reservation_bytes(aside);
            // Who can write to files leaves the others enough.
            let pool = TrackConsumersPool::new(FairSpillPool::new(limit), const { NonZeroUsize::new(5).unwrap() });
            runtime = runtime.with_memory_pool(Arc::new(pool));
        }
        let context = SessionContext::new_with_config_rt(config, runtime.build_arc().map_err(in_words)?);
        context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        // Files by their names, and none of another machine: no other store is registered.
        let context = files::named(context);
        let mut schemas = Vec::with_capacity(args.arenas.0.len());
        for name in &args.arenas.0 {
            let arena = open(args.dir.as_deref(), args.trust_others, name)?;
            schemas.push((name.clone(), register(&context, name, &arena).map_err(in_words)?));
        }
        Ok(Session { context, schemas })
    }

    /// The first arena, and its name.
    pub fn first(&self) -> Result<(&str, &Arena)> {
        let first = self.schemas.first().map(|(name, schema)| (name.as_str(), schema.arena()));
        first.ok_or_else(|| Failure::usage("name an arena"))
    }

    /// The statements of a text.
    pub fn parse(&self, text: &str) -> Result<VecDeque<Statement>> {
        DFParser::parse_sql(text).map_err(in_words)
    }

    /// The tables of all arenas.
    pub fn tables(&self) -> Result<RecordBatch> {
        let (mut arenas, mut names, mut kinds) = (vec![], vec![], vec![]);
        for (arena, schema) in &self.schemas {
            let entries = schema.arena().names()?;
            for name in schema.table_names() {
                let kind = entries.iter().find(|entry| entry.name == name).map(|entry| entry.kind);
                kinds.push(kind.map_or_else(|| "member of a bundle".to_owned(), |kind| kind.to_string()));
                arenas.push(arena.clone());
                names.push(name);
            }
        }
        let field = |name| Field::new(name, DataType::Utf8, false);
        let schema = Schema::new(vec![field("arena"), field("name"), field("kind")]);
        let column = |texts: Vec<String>| Arc::new(StringArray::from(texts)) as _;
        Ok(RecordBatch::try_new(Arc::new(schema), vec![column(arenas), column(names), column(kinds)])?)
    }

    /// Plans a statement, and does it if it gives no rows. With a name, the rows are published under it in the first arena, and
    /// what comes is their number.
    pub async fn plan(self, statement: Statement, into: Option<String>) -> Result<Planned> {
        let state = self.context.state();
        let plan = match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => plan,
            Err(error) => return Err(self.unknown(&statement, &error).await.unwrap_or_else(|| in_words(error))),
        };
        let done = match &plan {
            LogicalPlan::Ddl(_) => true,
            LogicalPlan::Statement(told) => !matches!(told, Told::Execute(_)),
            _ => false,
        };
        let frame = self.context.execute_logical_plan(plan).await.map_err(in_words)?;
        if done {
            return Ok(Planned::Done);
        }
        let mut plan = frame.create_physical_plan().await.map_err(in_words)?;
        if let Some(name) = into {
            let Some((arena, schema)) = self.schemas.first() else { return Ok(Planned::Done) };
            fits(arena, schema.arena(), &name)?;
            plan = schema.publish(&name, plan).map_err(in_words)?;
        }
        let unbounded = plan.boundedness().is_unbounded();
        let rows = execute_stream(plan, self.context.task_ctx()).map_err(in_words)?;
        Ok(Planned::Rows(rows, unbounded))
    }

    /// What to say of a statement that names a table which is not there, if that is what is wrong.
    async fn unknown(&self, statement: &Statement, error: &DataFusionError) -> Option<Failure> {
        let said = error.find_root().message().into_owned();
        if !said.contains("not found") {
            return None;
        }
        let state = self.context.state();
        for reference in state.resolve_table_references(statement).ok()? {
            let default = &state.config_options().catalog;
            let reference = reference.resolve(&default.default_catalog, &default.default_schema);
            let (schema, name) = (reference.schema.as_ref(), reference.table.as_ref());
            if !said.contains(name) {
                continue;
            }
            let Some(catalog) = self.context.catalog(&reference.catalog) else {
                return Some(Failure::new(format!(
                    "there is no catalog `{}`: tables are written NAME or ARENA.NAME, and names with dots in double quotes",
                    reference.catalog
                )));
            };
            let Some(known) = catalog.schema(schema) else {
                let open: Vec<&str> = self.schemas.iter().map(|(name, _)| name.as_str()).collect();
                return Some(Failure::new(format!(
                    "no arena `{schema}` is open here, there is {}: name it too, as in `faretra sql {},{schema}`",
                    open.join(", "),
                    open.join(",")
                )));
            };
            if matches!(known.table(name).await, Ok(None)) {
                return Some(Failure::new(no_table(schema, name, known.table_names())));
            }
        }
        None
    }
}

/// Fails if rows cannot be published under a name because of what is there.
fn fits(arena_name: &str, arena: &Arena, name: &str) -> Result<()> {
    match arena.get(name) {
        Ok(object) => match object.kind() {
            Kind::Batch | Kind::Table | Kind::Channel | Kind::Feed => Ok(()),
            kind => Err(Failure::new(format!(
                "`{name}` is of kind {kind}, which rows do not replace: choose another name, or remove it first with \
                 `faretra rm {arena_name} {name}`"
            ))),
        },
        Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn no_table(schema: &str, name: &str, mut known: Vec<String>) -> String {
    let quoted = known.iter().find(|known| known.as_str() != name && known.to_lowercase() == name.to_lowercase());
    if let Some(quoted) = quoted {
        return format!(
            "there is no table `{name}` in arena `{schema}`, but `{quoted}`: write it \"{quoted}\", because names without \
             double quotes are taken in lower case"
        );
    }
    let path = Path::new(name);
    if path.extension().is_some() && !path.exists() {
        return format!("there is no table and no file `{name}`");
    }
    if path.extension().is_some() {
        return format!(
            "`{name}` is a file that cannot be read in SQL: .parquet, .csv, .tsv, .csv.gz, .arrow and .json files can"
        );
    }
    known.sort();
    let more = known.len().saturating_sub(LISTED);
    known.truncate(LISTED);
    let mut there = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more > 0 {
        there = format!("{there} and {more} more");
    }
    match known.is_empty() {
        true => {
            format!("there is no table `{name}` in arena `{schema}`, which has none: `faretra put` publishes files")
        }
        false => format!("there is no table `{name}` in arena `{schema}`; there is {there}"),
    }
}

/// An error of the engine, as the command says it.
pub fn in_words(error: DataFusionError) -> Failure {
    match error.find_root() {
        DataFusionError::External(cause) => match cause.downcast_ref::<Error>() {
            Some(error) => Failure::new(library_text(error)),
            None => Failure::new(cause),
        },
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                Failure::new(format!("no SQL: {text}"))
            }
            ParserError::RecursionLimitExceeded => Failure::new("the statement is nested too deeply"),
        },
        DataFusionError::Plan(_) | DataFusionError::Execution(_) | DataFusionError::NotImplemented(_) => {
            let text = error.find_root().strip_backtrace();
            let text = text.strip_prefix("Error during planning: ").unwrap_or(&text);
            Failure::new(text.strip_prefix("Execution error: ").unwrap_or(text))
        }
        DataFusionError::ResourcesExhausted(_) => {
            let text = error.find_root().strip_backtrace();
            // Before that it lists who has how much.
            let last = text.lines().last().unwrap_or_default();
            let last = last.trim_start_matches("Resources exhausted: ").trim_start_matches("Error: ");
            Failure::new(format!("the statement needs more memory than it may have (raise --memory-limit): {last}"))
        }
        other => Failure::new(other.strip_backtrace()),
    }
}
