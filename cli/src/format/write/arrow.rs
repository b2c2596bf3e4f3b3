//! Arrow IPC files and streams.

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};

use super::sink::{Guarded, Sink, contains};
use crate::failure::{Result, note_once};
use crate::panics;

/// A sink in the Arrow IPC file format. Its batches have one dictionary for each column.
pub fn file<'a, W: Write + 'a>(to: W, schema: &SchemaRef) -> Result<Box<dyn Sink + 'a>> {
    Ok(Guarded::whole("Arrow IPC file", FileSink(FileWriter::try_new(to, schema)?)))
}

/// A sink in the Arrow IPC stream format.
pub fn stream<'a, W: Write + 'a>(to: W, schema: &SchemaRef) -> Result<Box<dyn Sink + 'a>> {
    Ok(Guarded::whole("Arrow IPC stream", StreamSink(StreamWriter::try_new(to, schema)?)))
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

/// Batches whose dictionaries are the same for each column, and their schema. The IPC file format
/// wants that, but Parquet files and streams give each batch a dictionary of its own. Where the keys
/// cannot number all values together, they become wider.
pub fn with_one_dictionary(schema: &SchemaRef, mut batches: Vec<RecordBatch>) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut fields: Vec<FieldRef> = schema.fields().to_vec();
    for i in 0..fields.len() {
        if batches.len() < 2 || !has_dictionary(fields[i].data_type()) {
            continue;
        }
        let columns: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
        if same_dictionary(&columns) {
            continue;
        }
        let whole = together(&columns)?;
        if whole.data_type() != fields[i].data_type() {
            note_once(format_args!(
                "column `{}`: its batches have more values together than its dictionary's keys can number: it is \
                 written as {}",
                fields[i].name(),
                whole.data_type()
            ));
            fields[i] = Arc::new(fields[i].as_ref().clone().with_data_type(whole.data_type().clone()));
        }
        let mut at = 0;
        for batch in &mut batches {
            let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
            columns[i] = whole.slice(at, batch.num_rows());
            at += batch.num_rows();
            let known = batch.schema();
            let mut own = known.fields().to_vec();
            own[i] = Arc::clone(&fields[i]);
            let own = Schema::new_with_metadata(own, known.metadata().clone());
            *batch = RecordBatch::try_new(Arc::new(own), columns)?;
        }
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    Ok((schema, batches))
}

/// All columns as one. Keys that are too narrow are an error, also where arrow panics: in nested columns.
fn joined(columns: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
    panics::caught(|| arrow_select::concat::concat(columns)).unwrap_or(Err(ArrowError::DictionaryKeyOverflowError))
}

/// All columns as one, with wider keys if they do not fit otherwise.
fn together(columns: &[&dyn Array]) -> Result<ArrayRef> {
    let mut failed = match joined(columns) {
        Ok(whole) => return Ok(whole),
        Err(error) => error,
    };
    for keys in [DataType::Int16, DataType::Int32, DataType::Int64] {
        let wide = with_keys(columns[0].data_type(), &keys);
        let columns = columns.iter().map(|column| arrow_cast::cast(*column, &wide));
        let columns = match columns.collect::<Result<Vec<ArrayRef>, _>>() {
            Ok(columns) => columns,
            Err(error) => {
                failed = error;
                continue;
            }
        };
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        match joined(&columns) {
            Ok(whole) => return Ok(whole),
            Err(error) => failed = error,
        }
    }
    Err(failed.into())
}

/// The type with these keys in all its dictionaries.
fn with_keys(data_type: &DataType, keys: &DataType) -> DataType {
    let field = |field: &Field| Arc::new(field.clone().with_data_type(with_keys(field.data_type(), keys)));
    match data_type {
        DataType::Dictionary(_, values) => {
            DataType::Dictionary(Box::new(keys.clone()), Box::new(with_keys(values, keys)))
        }
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::ListView(item) => DataType::ListView(field(item)),
        DataType::LargeListView(item) => DataType::LargeListView(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| field(f)).collect()),
        DataType::RunEndEncoded(ends, values) => DataType::RunEndEncoded(Arc::clone(ends), field(values)),
        other => other.clone(),
    }
}

/// Whether values of this type have dictionaries.
pub fn has_dictionary(data_type: &DataType) -> bool {
    contains(data_type, &|t| matches!(t, DataType::Dictionary(..)))
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
