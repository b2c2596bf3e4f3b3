//! Rows that are sent as a table: what drivers call bulk ingestion.

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use faretra::Error;
use tonic::{Code, Status};

use crate::error::{of_arena, told};
use crate::put::{Mode, Publisher, Put, Sent};
use crate::served::{Named, Shelf};
use crate::sql::plan::CATALOG;

/// Publishes what is sent, and returns the number of rows.
pub(crate) async fn ingest(
    ingest: CommandStatementIngest,
    sent: Sent,
    publisher: &Publisher,
    shelf: &Shelf,
) -> Result<i64, Status> {
    if ingest.temporary {
        return Err(Status::unimplemented("tables of an arena are for everybody, not temporary"));
    }
    if let Some(catalog) = ingest.catalog.as_deref().filter(|catalog| !catalog.is_empty() && *catalog != CATALOG) {
        let text = format_args!("there is no catalog `{catalog}`: arenas are the schemas of `{}`", CATALOG).to_string();
        return Err(told(Code::NotFound, text));
    }
    // As in statements, the first arena is meant where none is named.
    let first = shelf.arenas().first().map(|served| served.arena.name());
    let served = shelf.arena(ingest.schema.as_deref().filter(|schema| !schema.is_empty()).or(first))?;
    let name = ingest.table;
    let there = match served.arena.get(&name) {
        Ok(_) => true,
        Err(Error::NotFound { .. }) => false,
        Err(e) => return Err(of_arena(&e)),
    };
    let options = ingest.table_definition_options.unwrap_or_default();
    let mode = match there {
        true => match TableExistsOption::try_from(options.if_exists) {
            Ok(TableExistsOption::Append) => Mode::Append,
            Ok(TableExistsOption::Replace) => Mode::Replace,
            _ => {
                return Err(told(
                    Code::AlreadyExists,
                    format_args!("`{name}` exists already: append to it, or replace it"),
                ));
            }
        },
        false => match TableNotExistOption::try_from(options.if_not_exist) {
            Ok(TableNotExistOption::Fail) => {
                let arena = served.arena.name();
                return Err(told(Code::NotFound, format_args!("no object named `{name}` in arena `{arena}`")));
            }
            _ => Mode::Create,
        },
    };
    let put = Put { arena: None, name: name.clone(), mode, if_version: None, capacity: None };
    let done = publisher.put(Named { served, name: &name }, &put, sent).await?;
    Ok(done.rows as i64)
}
