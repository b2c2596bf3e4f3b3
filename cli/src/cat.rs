//! cat: what a name holds, on standard output.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use faretra::Kind;

use crate::args::{Cat, CatFormat, Cli};
use crate::failure::{Failure, Result};
use crate::format::elements::{self, Style};
use crate::format::write::{self, Sink};
use crate::out::Out;
use crate::rows::Grids;
use crate::values::{batches, chosen, object, pieces, snapshot};
use crate::{open, signal, size};

/// Rows of a table for people, if `--head` does not say.
const TABLE_ROWS: usize = 20;

/// `faretra cat`
pub fn cat(cli: &Cli, args: &Cat) -> Result<()> {
    let default = if cli.json { CatFormat::Json } else { CatFormat::Table };
    let format = args.format.unwrap_or(default);
    let arena = open::open(cli, &args.arena)?;
    let object = object(&arena, &args.name, args.item.as_deref())?;
    let mut out = Out::new();
    match object.kind() {
        Kind::Bytes if format == CatFormat::Table => {
            let bytes = object.bytes()?;
            let head = args.head.unwrap_or(usize::MAX).min(bytes.len());
            out.write_all(&bytes[..head])?;
        }
        Kind::Array => {
            no_columns(args)?;
            let style = match format {
                CatFormat::Table => Style::Text,
                CatFormat::Csv => Style::Csv,
                CatFormat::Json | CatFormat::Jsonl => Style::Json,
            };
            elements::print(&object.dyn_array()?, style, args.head, &mut out)?;
        }
        Kind::Batch | Kind::Table => {
            let (schema, batches) = batches(object)?;
            let (schema, batches) = chosen(schema, batches, &args.columns)?;
            print(&schema, &batches, format, args.head, &mut out)?;
        }
        Kind::Feed => {
            let (schema, batches) = snapshot(&arena, &args.name)?;
            let (schema, batches) = chosen(schema, batches, &args.columns)?;
            print(&schema, &batches, format, args.head, &mut out)?;
        }
        Kind::Channel => {
            return Err(Failure::new(format!(
                "`{0}` is a channel, whose items go to one receiver each: `faretra recv {1} {0}` receives them, \
                 with --head N it looks at the first rows and gives them back",
                args.name, args.arena
            )));
        }
        kind @ (Kind::Mutex | Kind::Semaphore | Kind::Event | Kind::Value | Kind::MutableArray | Kind::Condition) => {
            return Err(Failure::new(format!(
                "`{}` is a {kind}, which changes while it is looked at: `faretra who {}` shows who holds it",
                args.name, args.arena
            )));
        }
        kind => {
            return Err(Failure::new(format!(
                "`{}` is {kind}, which {format:?} cannot print: leave out --format, or use export",
                args.name
            )));
        }
    }
    out.finish()
}

fn no_columns(args: &Cat) -> Result<()> {
    match args.columns.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("`{}` is an array and has no columns: leave out --columns", args.name))),
    }
}

fn print(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    format: CatFormat,
    head: Option<usize>,
    out: &mut Out,
) -> Result<()> {
    if format == CatFormat::Table {
        return print_table(schema, batches, head.unwrap_or(TABLE_ROWS), out);
    }
    let mut sink: Box<dyn Sink + '_> = match format {
        CatFormat::Csv => write::csv(&mut *out, schema, b',')?,
        _ => write::json(&mut *out, format == CatFormat::Jsonl),
    };
    for piece in pieces(batches, head.unwrap_or(usize::MAX), 4096) {
        signal::check()?;
        sink.write(&piece)?;
    }
    sink.finish()
}

fn print_table(schema: &Schema, batches: &[RecordBatch], head: usize, out: &mut Out) -> Result<()> {
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if schema.fields().is_empty() {
        return out.line(format!("{} without columns", size::plural(total as u64, "row")));
    }
    let mut grids = Grids::default();
    for piece in pieces(batches, head, 1024) {
        grids.write(&piece, out)?;
    }
    grids.lay_out(schema, out)?;
    let mut notes = Vec::new();
    if grids.rows < total {
        notes.push(format!(
            "{} of {}; --head N prints more, --format csv all",
            size::count(grids.rows as u64),
            size::plural(total as u64, "row")
        ));
    }
    if grids.hidden > 0 {
        let columns = schema.fields().len();
        notes.push(format!("{} of {columns} columns fit; --columns A,B chooses", columns - grids.hidden));
    }
    if notes.is_empty() {
        notes.push(size::plural(total as u64, "row"));
    }
    for note in notes {
        out.line(format!("({note})"))?;
    }
    Ok(())
}
