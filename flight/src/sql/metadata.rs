//! What drivers ask before they ask for rows: catalogs, schemas, tables, and what this server is.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Command, SqlInfo, SqlSupportedTransaction};
use arrow_schema::{DataType, Field, Schema};
use datafusion::catalog::SchemaProvider;
use faretra_datafusion::ArenaSchema;
use tonic::{Code, Status};

use crate::error::{never, of_arrow, told};
use crate::sql::plan::CATALOG;

/// What a table is called; feeds and channels are tables that go on.
const TABLE: &str = "TABLE";

/// What this server tells of itself.
pub(crate) fn info(read_only: bool) -> Result<SqlInfoData, Status> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Faretra");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "59");
    info.append(SqlInfo::FlightSqlServerReadOnly, read_only);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, !read_only);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, !read_only);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.build().map_err(|e| of_flight(&e))
}

fn of_flight(error: &FlightError) -> Status {
    told(Code::Internal, error)
}

fn texts<'a>(names: &'a [(&'a str, bool)]) -> impl Iterator<Item = Field> + 'a {
    names.iter().map(|(name, nullable)| Field::new(*name, DataType::Utf8, *nullable))
}

/// Keys, of which tables have none.
fn no_keys(fields: impl Iterator<Item = Field>) -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn no_foreign_keys() -> RecordBatch {
    let side = |side: &str| {
        ["catalog_name", "db_schema_name", "table_name", "column_name"].map(|part| {
            let optional = matches!(part, "catalog_name" | "db_schema_name");
            Field::new(format!("{side}_{part}"), DataType::Utf8, optional)
        })
    };
    let sequence = Field::new("key_sequence", DataType::Int32, false);
    let names = texts(&[("fk_key_name", true), ("pk_key_name", true)]).collect::<Vec<_>>();
    let rules = ["update_rule", "delete_rule"].map(|rule| Field::new(rule, DataType::UInt8, false));
    no_keys(side("pk").into_iter().chain(side("fk")).chain([sequence]).chain(names).chain(rules))
}

/// The rows that a command for metadata gives.
pub(crate) fn rows(
    command: &Command,
    schemas: &[(String, ArenaSchema)],
    info: &SqlInfoData,
) -> Result<RecordBatch, Status> {
    let batch = match command.clone() {
        Command::CommandGetCatalogs(get) => {
            let mut builder = get.into_builder();
            builder.append(CATALOG);
            builder.build()
        }
        Command::CommandGetDbSchemas(get) => {
            let mut builder = get.into_builder();
            schemas.iter().for_each(|(name, _)| builder.append(CATALOG, name));
            builder.build()
        }
        Command::CommandGetTables(get) => {
            let whole = get.include_schema;
            let mut builder = get.into_builder();
            for (arena, schema) in schemas {
                for name in schema.table_names() {
                    // Of one that went meanwhile, nothing is told.
                    let columns = match whole.then(|| schema.table_now(&name)) {
                        Some(Ok(table)) => table.schema(),
                        Some(Err(_)) => continue,
                        None => Arc::new(Schema::empty()),
                    };
                    builder.append(CATALOG, arena, &name, TABLE, &columns).map_err(|e| of_flight(&e))?;
                }
            }
            builder.build()
        }
        Command::CommandGetTableTypes(get) => {
            let mut builder = get.into_builder();
            builder.append(TABLE);
            builder.build()
        }
        Command::CommandGetSqlInfo(get) => get.into_builder(info).build(),
        Command::CommandGetXdbcTypeInfo(get) => {
            let none = XdbcTypeInfoDataBuilder::new().build().map_err(|e| of_flight(&e))?;
            get.into_builder(&none).build()
        }
        Command::CommandGetPrimaryKeys(_) => {
            let names =
                [("catalog_name", true), ("db_schema_name", true), ("table_name", false), ("column_name", false)];
            let rest =
                [Field::new("key_name", DataType::Utf8, true), Field::new("key_sequence", DataType::Int32, false)];
            Ok(no_keys(texts(&names).chain(rest)))
        }
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(no_foreign_keys()),
        other => return Err(never(other.type_url())),
    };
    batch.map_err(|e| match e {
        FlightError::Arrow(e) => of_arrow(&e),
        e => of_flight(&e),
    })
}
