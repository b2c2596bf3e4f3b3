//! cat: what a name holds, on standard output.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};
use faretra::Kind;

use crate::args::{Cat, CatFormat, Cli};
use crate::export::{batches, object, snapshot};
use crate::failure::{Failure, Result};
use crate::follow::follow;
use crate::format::npy::{self, Style};
use crate::format::write::{self, Sink, text};
use crate::out::{Grid, Out, Side, terminal_width};
use crate::{arenas, signal, size};

/// Rows of a table for people, if `--head` does not say.
const TABLE_ROWS: usize = 20;

/// Rows that are laid out together: the column widths are theirs.
const GRID_ROWS: usize = 10_000;

/// The widest cell that is printed whole.
const CELL: usize = 48;

/// `faretra cat`
pub fn cat(cli: &Cli, args: &Cat) -> Result<()> {
    if args.follow {
        return follow(cli, args);
    }
    let default = if cli.json { CatFormat::Json } else { CatFormat::Table };
    let format = args.format.unwrap_or(default);
    let arena = arenas::open(cli, &args.arena)?;
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
            npy::print(object, style, args.head, &mut out)?;
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
        kind @ (Kind::Mutex | Kind::Semaphore | Kind::Event | Kind::Value | Kind::MutableArray) => {
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

/// The same with these columns only; with all of them, if none are named.
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

/// Rows in aligned columns, laid out at most [`GRID_ROWS`] at a time.
#[derive(Debug, Default)]
pub struct Grids {
    waiting: Vec<Vec<String>>,
    /// Rows so far.
    pub rows: usize,
    /// Columns that the terminal had no room for.
    pub hidden: usize,
}

impl Grids {
    /// More rows, some thousand at most.
    pub fn write(&mut self, batch: &RecordBatch, out: &mut Out) -> Result<()> {
        signal::check()?;
        cells(batch, &mut self.waiting)?;
        self.rows += batch.num_rows();
        if self.waiting.len() >= GRID_ROWS {
            self.hidden = grid(batch.schema_ref(), std::mem::take(&mut self.waiting), out)?;
        }
        Ok(())
    }

    /// Prints what was not printed yet; of no rows at all, the names of the columns.
    pub fn lay_out(&mut self, schema: &Schema, out: &mut Out) -> Result<()> {
        if !self.waiting.is_empty() || self.rows == 0 {
            self.hidden = grid(schema, std::mem::take(&mut self.waiting), out)?;
        }
        Ok(())
    }
}

fn cells(batch: &RecordBatch, rows: &mut Vec<Vec<String>>) -> Result<()> {
    write::check_depth(batch.schema_ref())?;
    let printers = batch.columns().iter().map(|column| text::Column::new(column.as_ref(), "-"));
    let printers = printers.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let cells = printers.iter().map(|printer| Ok(cell(&printer.text(row)?)));
        rows.push(cells.collect::<Result<_>>()?);
    }
    Ok(())
}

/// A cell on one line, not wider than [`CELL`].
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == CELL - 1 && text.chars().nth(CELL).is_some() {
            cell.push('…');
            return cell;
        }
        match character.is_control() {
            true => cell.extend(character.escape_default()),
            false => cell.push(character),
        }
    }
    cell
}

/// Prints rows below the names and types of their columns, as many columns as the terminal has
/// room for. Gives the number of those that it has none for.
fn grid(schema: &Schema, rows: Vec<Vec<String>>, out: &mut Out) -> Result<usize> {
    let types: Vec<String> = schema.fields().iter().map(|f| type_name(f.data_type())).collect();
    let mut shown = schema.fields().len();
    if let Some(room) = terminal_width() {
        let mut width = 0;
        for (i, field) in schema.fields().iter().enumerate() {
            let cells = rows.iter().map(|row| row[i].chars().count());
            let captions = [field.name().chars().count(), types[i].chars().count()];
            width += cells.chain(captions).max().unwrap_or(0) + if i > 0 { 2 } else { 0 };
            // One column always.
            if width > room && i > 0 {
                shown = i;
                break;
            }
        }
    }
    let captions: Vec<String> = schema.fields().iter().map(|f| cell(f.name())).collect();
    let columns: Vec<(&str, Side)> = schema
        .fields()
        .iter()
        .zip(&captions)
        .take(shown)
        .map(|(field, caption)| (caption.as_str(), side(field.data_type())))
        .collect();
    let mut grid = Grid::new(&columns);
    grid.faint(types);
    for row in rows {
        grid.row(row);
    }
    grid.print(out, 0)?;
    Ok(schema.fields().len() - shown)
}

fn side(data_type: &DataType) -> Side {
    match data_type.is_numeric() {
        true => Side::Right,
        false => Side::Left,
    }
}

/// A short name of a type, as a caption.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Timestamp(unit, None) => format!("timestamp[{}]", unit_name(unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp[{}, {zone}]", unit_name(unit)),
        DataType::Dictionary(_, values) => format!("dictionary[{}]", type_name(values)),
        DataType::List(field) | DataType::LargeList(field) => {
            format!("list[{}]", type_name(field.data_type()))
        }
        DataType::Struct(_) => "struct".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        other => cell(&other.to_string().to_lowercase()),
    }
}

fn unit_name(unit: &arrow_schema::TimeUnit) -> &'static str {
    match unit {
        arrow_schema::TimeUnit::Second => "s",
        arrow_schema::TimeUnit::Millisecond => "ms",
        arrow_schema::TimeUnit::Microsecond => "us",
        arrow_schema::TimeUnit::Nanosecond => "ns",
    }
}

#[cfg(test)]
mod tests {
    use super::{CELL, cell};

    #[test]
    fn a_cell_stays_on_its_line_and_in_its_width() {
        assert_eq!(cell("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(cell(&"x".repeat(CELL)), "x".repeat(CELL));
        let long = cell(&"ä".repeat(CELL + 1));
        assert_eq!(long.chars().count(), CELL);
        assert!(long.ends_with('…'));
    }
}
