//! Comma-separated values.

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::take::take;

use super::cells::{self, Cells};
use super::sink::{Guarded, Sink, contains, gave_up};
use super::text;
use crate::failure::{Failure, Result, note_once};
use crate::panics;
use crate::several::all;

/// A sink of comma-separated values.
pub fn csv<'a, W: Write + 'a>(to: W, schema: &SchemaRef, delimiter: u8) -> Result<Box<dyn Sink + 'a>> {
    for field in schema.fields() {
        if field.data_type().is_nested() {
            return Err(Failure::new(format!(
                "CSV cannot hold column `{}`, which is {}: use .parquet or .arrow, or `faretra cat --format json`",
                field.name(),
                field.data_type()
            )));
        }
    }
    let fields = schema.fields().iter().map(|field| match is_text(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => Arc::clone(field),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(Guarded::boxed("CSV", CsvSink { to, delimiter, schema, empty: true }))
}

/// Rows that one thread makes text of at a time.
const ROWS: usize = 8192;

struct CsvSink<W: Write> {
    to: W,
    delimiter: u8,
    /// With text where there is something else that we print.
    schema: SchemaRef,
    empty: bool,
}

impl<W: Write> Sink for CsvSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() == 0 {
            self.empty = false;
            return match batch.num_rows() {
                0 => Ok(()),
                _ => Err(Failure::new(
                    "CSV cannot hold rows without columns: use .arrow, or `faretra cat --format json`",
                )),
            };
        }
        let rows = batch.num_rows();
        let starts = if rows == 0 { vec![0] } else { (0..rows).step_by(ROWS).collect() };
        // The row of names comes with the first batch.
        let first = std::mem::take(&mut self.empty);
        let text = |at: usize| {
            let piece = batch.slice(at, ROWS.min(rows - at));
            panics::caught(|| text_of(&piece, &self.schema, self.delimiter, first && at == 0))
        };
        for text in all(starts, text) {
            let Piece { text, empty } = text.map_err(|text| gave_up("CSV", &text))??;
            for (field, _) in self.schema.fields().iter().zip(empty).filter(|(_, empty)| *empty) {
                note_once(format_args!(
                    "column `{}` has empty texts, which CSV readers take for no value; .parquet and .arrow tell them apart",
                    field.name()
                ));
            }
            self.to.write_all(&text)?;
        }
        // Who follows what comes sees each batch.
        self.to.flush()?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.empty {
            let none = RecordBatch::new_empty(Arc::clone(&self.schema));
            self.to.write_all(&text_of(&none, &self.schema, self.delimiter, true)?.text)?;
        }
        self.to.flush()?;
        Ok(())
    }
}

/// Some rows as text.
struct Piece {
    text: Vec<u8>,
    /// Which columns have empty texts.
    empty: Vec<bool>,
}

fn text_of(batch: &RecordBatch, schema: &SchemaRef, delimiter: u8, names: bool) -> Result<Piece> {
    let empty = batch.columns().iter().map(|column| has_empty_text(column.as_ref())).collect();
    let mut text = Vec::with_capacity(batch.num_rows() * 16 * batch.num_columns());
    let writer = |names| arrow_csv::WriterBuilder::new().with_header(names).with_delimiter(delimiter);
    let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect::<Result<_>>()?;
    if let Some(cells) = columns.iter().map(|column| Cells::of(column, delimiter)).collect::<Option<Vec<_>>>() {
        if names {
            writer(true).build(&mut text).write(&RecordBatch::new_empty(Arc::clone(schema)))?;
        }
        cells::rows(&cells, batch.num_rows(), delimiter, &mut text);
        return Ok(Piece { text, empty });
    }
    let columns = batch.columns().iter().map(|column| match is_text(column.data_type()) {
        true => texts(column),
        false => Ok(Arc::clone(column)),
    });
    let batch = RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_>>()?)?;
    writer(names).build(&mut text).write(&batch)?;
    Ok(Piece { text, empty })
}

/// The column with the values of its dictionary, and with text where there is something that we print and [`Cells`] does not.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    if let Some(dictionary) = column.as_any_dictionary_opt()
        && matches!(dictionary.values().data_type(), DataType::Utf8 | DataType::LargeUtf8)
    {
        return Ok(take(dictionary.values().as_ref(), dictionary.keys(), None)?);
    }
    match is_text(column.data_type()) && Cells::of(column, b',').is_none() {
        true => texts(column),
        false => Ok(Arc::clone(column)),
    }
}

/// Whether a value of the column is an empty text, or no bytes.
fn has_empty_text(column: &dyn Array) -> bool {
    fn any<'a>(mut values: impl Iterator<Item = Option<&'a [u8]>>) -> bool {
        values.any(|value| value.is_some_and(<[u8]>::is_empty))
    }
    match column.data_type() {
        DataType::Utf8 => any(column.as_string::<i32>().iter().map(|text| text.map(str::as_bytes))),
        DataType::LargeUtf8 => any(column.as_string::<i64>().iter().map(|text| text.map(str::as_bytes))),
        DataType::Utf8View => any(column.as_string_view().iter().map(|text| text.map(str::as_bytes))),
        DataType::Binary => any(column.as_binary::<i32>().iter()),
        DataType::LargeBinary => any(column.as_binary::<i64>().iter()),
        DataType::BinaryView => any(column.as_binary_view().iter()),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let plain = take(dictionary.values().as_ref(), dictionary.keys(), None);
            plain.is_ok_and(|plain| has_empty_text(plain.as_ref()))
        }
        _ => false,
    }
}

/// Whether the values are printed here, and not by arrow.
fn is_text(data_type: &DataType) -> bool {
    text::is_scaled_up(data_type) || contains(data_type, &|t| t.is_temporal() && !matches!(t, DataType::Interval(_)))
}

/// The column's values as they are printed.
fn texts(column: &ArrayRef) -> Result<ArrayRef> {
    let printed = text::Column::new(column.as_ref(), "")?;
    let nulls = column.logical_nulls();
    let texts = (0..column.len()).map(|row| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
        true => Ok(None),
        false => Ok(Some(printed.text(row)?)),
    });
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}
