//! What a name in an arena holds, as record batches and as people count it.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use faretra::{Arena, Batch, Bundled, Error, Kind, Missing, Object, Table};

use crate::failure::{Failure, Result};

/// What an object of this kind has so many of, beside its bytes.
pub fn unit(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Bytes => None,
        Kind::Array | Kind::MutableArray => Some("element"),
        _ => Some("row"),
    }
}

/// The object of a name, or the item of the bundle there.
pub fn object(arena: &Arena, name: &str, item: Option<&str>) -> Result<Object> {
    let object = arena.get(name)?;
    match (object.kind(), item) {
        (Kind::Bundle, Some(item)) => Ok(Bundled::try_from(object)?.get(item)?),
        (Kind::Bundle, None) => {
            let bundle = Bundled::try_from(object)?;
            let names: Vec<&str> = bundle.names().collect();
            Err(Failure::new(format!("`{name}` is a bundle of {}: choose one with --item", names.join(", "))))
        }
        (_, None) => Ok(object),
        (kind, Some(_)) => Err(Failure::new(format!("`{name}` is a {kind}, not a bundle: leave out --item"))),
    }
}

/// The schema and batches of a table or batch; no bytes are copied.
pub fn batches(object: Object) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    if object.kind() == Kind::Batch {
        let batch = Batch::try_from(object)?;
        let batch = RecordBatch::clone(&batch);
        return Ok((batch.schema(), vec![batch]));
    }
    batches_of(&Table::try_from(object)?)
}

/// The schema and batches that a feed holds now; no bytes are copied.
pub fn snapshot(arena: &Arena, name: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    match arena.snapshot(name) {
        Ok(table) => batches_of(&table),
        Err(Error::NotFound { what: Missing::Schema, .. }) => Err(Failure::new(format!(
            "nothing was appended to the feed `{name}` yet, its columns are unknown: `faretra cat {} {name} --follow` \
             waits for what comes",
            arena.name()
        ))),
        Err(Error::Mismatch { found, expected, .. }) => Err(Failure::new(format!(
            "the feed `{name}` holds an item that is {found}, not {expected}: its items are no one table; \
             `faretra cat {} {name} --follow --format jsonl` prints its batches one by one",
            arena.name()
        ))),
        Err(error) => Err(error.into()),
    }
}

fn batches_of(table: &Table) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let batches = (0..table.num_batches()).map(|i| {
        let batch = table.batch(i)?;
        Ok(RecordBatch::clone(&batch))
    });
    Ok((table.schema(), batches.collect::<Result<_>>()?))
}

/// These columns of the batches; all of them, if none are named.
pub fn chosen(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    columns: &[String],
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    if columns.is_empty() {
        return Ok((schema, batches));
    }
    let mut indices = Vec::with_capacity(columns.len());
    for column in columns {
        match schema.index_of(column) {
            Ok(index) => indices.push(index),
            Err(_) => {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                return Err(Failure::new(format!(
                    "there is no column `{column}`; the columns are {}",
                    names.join(", ")
                )));
            }
        }
    }
    let batches = batches.iter().map(|batch| batch.project(&indices));
    let batches = batches.collect::<Result<_, _>>()?;
    Ok((schema.project(&indices)?.into(), batches))
}

/// The first `head` rows in pieces of at most `rows`: the first lines come at once, and a reader
/// that goes away is noticed.
pub fn pieces(batches: &[RecordBatch], head: usize, rows: usize) -> impl Iterator<Item = RecordBatch> {
    let mut left = head;
    batches.iter().flat_map(move |batch| {
        let wanted = left.min(batch.num_rows());
        left -= wanted;
        (0..wanted).step_by(rows).map(move |at| batch.slice(at, rows.min(wanted - at)))
    })
}
