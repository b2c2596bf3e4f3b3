//! Record batches written to files, batch by batch.

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_json::writer::{JsonFormat, LineDelimited};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Format;
use crate::failure::{Failure, Result};

/// Somewhere that record batches go.
pub trait Sink {
    /// One more batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// What the format has at its end.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A sink in a file format.
pub fn sink<'a, W: Write + Send + 'a>(
    to: W,
    format: Format,
    schema: &SchemaRef,
    delimiter: u8,
) -> Result<Box<dyn Sink + 'a>> {
    match format {
        Format::Parquet => {
            let properties =
                WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).build();
            let writer = ArrowWriter::try_new(to, Arc::clone(schema), Some(properties));
            let writer = writer.map_err(|error| {
                Failure::new(format!("Parquet cannot hold these columns ({error}): export to .arrow"))
            })?;
            Ok(Box::new(ParquetSink(writer)))
        }
        Format::Csv => csv(to, schema, delimiter),
        Format::Arrow => Ok(Box::new(FileSink(FileWriter::try_new(to, schema)?))),
        Format::ArrowStream => Ok(Box::new(StreamSink(StreamWriter::try_new(to, schema)?))),
        Format::Npy | Format::Bytes => Err(Failure::new(format!(
            "a table cannot be written as {}: it has columns of different types; \
             export to .parquet, .arrow or .csv",
            format.noun()
        ))),
    }
}

/// A sink of comma-separated values.
pub fn csv<'a, W: Write + 'a>(to: W, schema: &SchemaRef, delimiter: u8) -> Result<Box<dyn Sink + 'a>> {
    for field in schema.fields() {
        let mut data_type = field.data_type();
        if let DataType::Dictionary(_, values) = data_type {
            data_type = values.as_ref();
        }
        if data_type.is_nested() {
            return Err(Failure::new(format!(
                "CSV cannot hold column `{}`, which is {data_type}: \
                 use .parquet, .arrow or --format json",
                field.name()
            )));
        }
    }
    let writer = arrow_csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter).build(to);
    Ok(Box::new(CsvSink { writer, schema: Arc::clone(schema), empty: true }))
}

/// A sink of JSON: an array with one row on each line, or only the rows.
pub fn json<'a, W: Write + 'a>(to: W, lines: bool) -> Box<dyn Sink + 'a> {
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    match lines {
        true => Box::new(JsonSink(builder.build::<_, LineDelimited>(to))),
        false => Box::new(JsonSink(builder.build::<_, RowPerLine>(to))),
    }
}

struct ParquetSink<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> Sink for ParquetSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.close()?;
        Ok(())
    }
}

struct FileSink<W: Write>(FileWriter<W>);

impl<W: Write> Sink for FileSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.0.finish()?)
    }
}

struct StreamSink<W: Write>(StreamWriter<W>);

impl<W: Write> Sink for StreamSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.0.finish()?)
    }
}

struct CsvSink<W: Write> {
    writer: arrow_csv::Writer<W>,
    schema: SchemaRef,
    empty: bool,
}

impl<W: Write> Sink for CsvSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.empty = false;
        Ok(self.writer.write(batch)?)
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

struct JsonSink<W: Write, F: JsonFormat>(arrow_json::Writer<W, F>);

impl<W: Write, F: JsonFormat> Sink for JsonSink<W, F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.0.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.0.finish()?)
    }
}

/// `[`, a row on each line, `]`: one document, and still fit for `head` and `grep`.
#[derive(Debug, Default)]
struct RowPerLine;

impl JsonFormat for RowPerLine {
    fn start_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"[")?)
    }

    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        Ok(writer.write_all(if is_first_row { b"\n" } else { b",\n" })?)
    }

    fn end_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"\n]\n")?)
    }
}

/// Batches whose dictionaries are the same for each column. The IPC file format wants that, but
/// Parquet files give each batch a dictionary of its own.
pub fn with_one_dictionary(schema: &Schema, mut batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    for (i, field) in schema.fields().iter().enumerate() {
        if batches.len() < 2 || !has_dictionary(field.data_type()) {
            continue;
        }
        let columns: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
        if same_dictionary(&columns) {
            continue;
        }
        let whole = arrow_select::concat::concat(&columns)?;
        let mut at = 0;
        for batch in &mut batches {
            let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
            columns[i] = whole.slice(at, batch.num_rows());
            at += batch.num_rows();
            *batch = RecordBatch::try_new(batch.schema(), columns)?;
        }
    }
    Ok(batches)
}

/// Whether values of this type have dictionaries.
pub fn has_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_dictionary(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_dictionary(f.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, f)| has_dictionary(f.data_type())),
        DataType::RunEndEncoded(_, values) => has_dictionary(values.data_type()),
        _ => false,
    }
}

fn same_dictionary(columns: &[&dyn Array]) -> bool {
    let values = |column: &&dyn Array| {
        let dictionary = column.as_any_dictionary_opt()?;
        // Dictionaries in dictionaries, or in nested values, are not looked into.
        (!has_dictionary(dictionary.values().data_type())).then(|| dictionary.values().to_data())
    };
    let Some(first) = values(&columns[0]) else {
        return false;
    };
    columns[1..].iter().all(|column| values(column).is_some_and(|other| first.ptr_eq(&other) || first == other))
}
