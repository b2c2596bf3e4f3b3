//! Rows printed for people, in aligned columns, and those of a channel or feed as they come.

use std::io::Write;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::args::CatFormat;
use crate::failure::{Failure, Result};
use crate::format::write::{self, Sink, text};
use crate::out::{Grid, Out, Shared, Side, terminal_width};
use crate::values::pieces;
use crate::{signal, size};

/// Rows that are laid out together: the column widths are theirs.
const GRID_ROWS: usize = 10_000;

/// The widest cell that is printed whole.
const CELL: usize = 48;

/// Where printed rows go.
enum To {
    Grids,
    /// With the schema of its first rows, where the format has one.
    Sink(Option<SchemaRef>, Box<dyn Sink>),
}

/// Prints items on standard output, each whole before the next one.
pub struct Printer {
    out: Shared<Out>,
    /// Not known before the first schema, in a format that begins with one.
    to: Option<To>,
    stays: &'static str,
    hidden: bool,
    items: u64,
    rows: u64,
}

impl Printer {
    /// In this format; `stays` is where an item is that could not be printed, in words.
    pub fn new(format: CatFormat, stays: &'static str) -> Printer {
        let out = Shared::new(Out::new());
        let to = match format {
            CatFormat::Json => Some(To::Sink(None, write::json(out.again(), false))),
            CatFormat::Jsonl => Some(To::Sink(None, write::json(out.again(), true))),
            CatFormat::Table => Some(To::Grids),
            CatFormat::Csv => None,
        };
        Printer { out, to, stays, hidden: false, items: 0, rows: 0 }
    }

    fn open(&self, schema: &SchemaRef) -> Result<To> {
        Ok(To::Sink(Some(Arc::clone(schema)), write::csv(self.out.again(), schema, b',')?))
    }

    /// Prints an item. Standard output has taken all of it after that.
    pub fn print(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
        if self.to.is_none() {
            self.to = Some(self.open(schema)?);
        }
        match &mut self.to {
            Some(To::Sink(known, sink)) => {
                check_schema(known.as_ref(), schema, self.stays)?;
                for piece in pieces(batches, usize::MAX, 4096) {
                    signal::check()?;
                    sink.write(&piece)?;
                }
            }
            Some(To::Grids) | None => self.hidden |= print_grid(schema, batches, &mut self.out.inner())?,
        }
        self.out.inner().flush()?;
        self.items += 1;
        self.rows += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        Ok(())
    }

    /// Prints what comes after the last item; of no items at all, the columns, if they are known.
    pub fn finish(mut self, schema: impl FnOnce() -> Option<SchemaRef>) -> Result<()> {
        if self.items == 0
            && let Some(schema) = schema()
        {
            match &self.to {
                Some(To::Grids) => self.hidden |= print_grid(&schema, &[], &mut self.out.inner())?,
                Some(To::Sink(..)) => {}
                None => self.to = Some(self.open(&schema)?),
            }
        }
        match self.to {
            Some(To::Grids) => {
                let columns = if self.hidden { "; not all columns fit, --format csv has them" } else { "" };
                let (rows, items) = (size::plural(self.rows, "row"), size::plural(self.items, "batch"));
                self.out.inner().line(format!("({rows} in {items}{columns})"))?;
            }
            Some(To::Sink(_, sink)) => sink.finish()?,
            None => {}
        }
        Ok(self.out.inner().flush()?)
    }
}

/// Prints an item under its own captions; whether columns did not fit.
fn print_grid(schema: &Schema, batches: &[RecordBatch], out: &mut Out) -> Result<bool> {
    if schema.fields().is_empty() {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        out.line(format!("{} without columns", size::plural(rows as u64, "row")))?;
        return Ok(false);
    }
    let mut grids = Grids::default();
    for piece in pieces(batches, usize::MAX, 1024) {
        grids.write(&piece, out)?;
    }
    grids.lay_out(schema, out)?;
    Ok(grids.hidden > 0)
}

/// Fails if these are other columns than those that were written before.
pub fn check_schema(known: Option<&SchemaRef>, schema: &SchemaRef, stays: &str) -> Result<()> {
    match known {
        Some(known) if known.fields() != schema.fields() => Err(Failure::new(format!(
            "the next batch has other columns than the first{stays}; --format table and jsonl print batches of any \
             columns"
        ))),
        _ => Ok(()),
    }
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
