//! Comma-separated values.

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::take::take;

use super::sink::{Guarded, Sink, contains};
use super::text;
use crate::failure::{Failure, Result, note_once};

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
    let writer = arrow_csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter).build(to);
    let fields = schema.fields().iter().map(|field| match is_text(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => Arc::clone(field),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(Guarded::boxed("CSV", CsvSink { writer, schema, empty: true }))
}

struct CsvSink<W: Write> {
    writer: arrow_csv::Writer<W>,
    /// With text where there is something else that we print.
    schema: SchemaRef,
    empty: bool,
}

impl<W: Write> Sink for CsvSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() == 0 && batch.num_rows() > 0 {
            return Err(Failure::new(
                "CSV cannot hold rows without columns: use .arrow, or `faretra cat --format json`".to_owned(),
            ));
        }
        self.empty = false;
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            if has_empty_text(column.as_ref()) {
                note_once(format_args!(
                    "column `{}` has empty texts, which CSV readers take for no value; .parquet and .arrow tell them apart",
                    field.name()
                ));
            }
        }
        let columns = batch.columns().iter().map(|column| match is_text(column.data_type()) {
            true => texts(column),
            false => Ok(Arc::clone(column)),
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_>>()?);
        match batch {
            Ok(batch) => Ok(self.writer.write(&batch)?),
            // Without columns and rows.
            Err(_) if self.schema.fields().is_empty() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.empty {
            // The row of names comes with the first batch.
            let none = RecordBatch::new_empty(Arc::clone(&self.schema));
            self.writer.write(&none)?;
        }
        Ok(())
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
