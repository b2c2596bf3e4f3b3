//! JSON, so that every value can be read back from its text: numbers have all their digits, what is
//! no JSON number (`NaN`, `Infinity`, `-Infinity`) is a text, binary is hexadecimal, and a map whose
//! keys are no text is a list of `{"key":..,"value":..}`.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, MapArray, PrimitiveArray, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonFormat, LineDelimited, NullableEncoder, make_encoder,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::sink::{Guarded, Sink, contains};
use super::text::{Column, Printed, Temporal, is_scaled_up};
use crate::failure::{Failure, Result, note_once};

/// A sink of JSON: an array with one row on each line, or only the rows.
pub fn json<'a, W: Write + 'a>(to: W, lines: bool) -> Box<dyn Sink + 'a> {
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Faithful));
    match lines {
        true => Guarded::boxed("JSON", JsonSink { writer: builder.build::<_, LineDelimited>(to), names: None }),
        false => Guarded::boxed("JSON", JsonSink { writer: builder.build::<_, RowPerLine>(to), names: None }),
    }
}

struct JsonSink<W: Write, F: JsonFormat> {
    writer: arrow_json::Writer<W, F>,
    /// The schema of the last batch, and how it is written.
    names: Option<(SchemaRef, SchemaRef)>,
}

impl<W: Write, F: JsonFormat> Sink for JsonSink<W, F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = match &self.names {
            Some((known, written)) if *known == batch.schema() => written,
            _ => {
                let written = written_schema(batch.schema_ref())?;
                &self.names.insert((batch.schema(), written)).1
            }
        };
        // Metadata and types are those of the batch: only names differ.
        let columns = batch.columns().to_vec();
        let rows = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?;
        Ok(self.writer.write(&batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.writer.finish()?)
    }
}

/// The schema with each column's name once, because readers of JSON keep one value of a name.
fn written_schema(schema: &Schema) -> Result<SchemaRef> {
    for field in schema.fields() {
        if contains(field.data_type(), &|t| matches!(t, DataType::Union(..))) {
            return Err(Failure::new(format!(
                "JSON cannot hold column `{}`, which has a union: print it as a table, or export to .arrow",
                field.name()
            )));
        }
        let twice = |t: &DataType| matches!(t, DataType::Struct(fields) if first_twice(fields).is_some());
        if contains(field.data_type(), &twice) {
            return Err(Failure::new(format!(
                "JSON cannot hold column `{}`, in which a struct has two fields of one name: export to .arrow or \
                 .parquet",
                field.name()
            )));
        }
    }
    let mut taken: HashSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut seen = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        if seen.insert(field.name().as_str()) {
            return Arc::clone(field);
        }
        let numbered = (2..).map(|number: u64| format!("{}_{number}", field.name()));
        // There are more numbers than columns.
        let name = numbered.into_iter().find(|name| taken.insert(name.clone())).unwrap_or_default();
        note_once(format_args!("JSON: another column `{}` is written as `{name}`", field.name()));
        Arc::new(field.as_ref().clone().with_name(name))
    });
    let fields: Fields = fields.collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

fn first_twice(fields: &Fields) -> Option<&str> {
    let mut seen = HashSet::new();
    fields.iter().map(|field| field.name().as_str()).find(|name| !seen.insert(*name))
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

/// The encoders of what arrow's own would write as another value.
#[derive(Debug)]
struct Faithful;

impl EncoderFactory for Faithful {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if let Some(dictionary) = array.as_any_dictionary_opt().filter(|dictionary| !dictionary.values().is_empty()) {
            let values = make_encoder(field, dictionary.values().as_ref(), options)?;
            let encoder = Box::new(Chosen { keys: dictionary.normalized_keys(), values });
            return Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())));
        }
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float16 => Box::new(Floats(array.as_primitive::<Float16Type>())),
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            scaled if scaled.is_decimal() && is_scaled_up(scaled) => Box::new(Decimals(Column::new(array, "")?)),
            DataType::Map(entries, _) => Box::new(Maps::new(entries, array.as_map(), options)?),
            _ => match Temporal::of(array)? {
                Some(temporal) => Box::new(Dates { temporal, text: String::new() }),
                None => return Ok(None),
            },
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Values of a dictionary, of which one may be null as a key may: arrow's encoder looks at keys only.
struct Chosen<'a> {
    keys: Vec<usize>,
    values: NullableEncoder<'a>,
}

impl Encoder for Chosen<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        self.values.encode(self.keys[index], out);
    }
}

struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

/// A float of any width.
trait Float: Copy {
    /// What it is, if it is no number: infinite, or none at all.
    fn no_number(self) -> Option<&'static str>;
    /// Appends its digits: as many as tell it from its neighbours.
    fn write(self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl Float for f64 {
    fn no_number(self) -> Option<&'static str> {
        match self {
            _ if self.is_finite() => None,
            _ if self.is_nan() => Some("\"NaN\""),
            _ if self > 0.0 => Some("\"Infinity\""),
            _ => Some("\"-Infinity\""),
        }
    }

    fn write(self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self)
    }
}

impl Float for f32 {
    fn no_number(self) -> Option<&'static str> {
        f64::from(self).no_number()
    }

    fn write(self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self)
    }
}

impl Float for half::f16 {
    fn no_number(self) -> Option<&'static str> {
        self.to_f64().no_number()
    }

    fn write(self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.to_f32().write(out)
    }
}

impl<T: ArrowPrimitiveType<Native: Float>> Encoder for Floats<'_, T> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let value = self.0.value(index);
        match value.no_number() {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            // A finite number can be written, and memory takes it.
            None => value.write(out).unwrap_or_default(),
        }
    }
}

/// Decimals that have zeros behind their digits.
struct Decimals<'a>(Column<'a>);

impl Encoder for Decimals<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        match self.0.text(index) {
            Ok(text) => out.extend_from_slice(text.as_bytes()),
            // Digits can always be written; if they could not, that is no null.
            Err(_) => panic!("a decimal cannot be written"),
        }
    }
}

struct Dates<'a> {
    temporal: Temporal<'a>,
    text: String,
}

impl Encoder for Dates<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        self.text.clear();
        let printed = self.temporal.write(index, &mut self.text);
        let quote: &[u8] = if printed == Printed::Text { b"\"" } else { b"" };
        // Nothing in a date needs an escape.
        out.extend_from_slice(quote);
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(quote);
    }
}

/// Maps: objects if their keys are text, and lists of pairs if not.
struct Maps<'a> {
    offsets: OffsetBuffer<i32>,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
    object: bool,
}

impl<'a> Maps<'a> {
    fn new(entries: &'a Field, array: &'a MapArray, options: &'a EncoderOptions) -> Result<Maps<'a>, ArrowError> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(ArrowError::SchemaError("a map has entries that are no structs".to_owned()));
        };
        let object = is_text(array.keys().data_type());
        if object {
            check_keys(array)?;
        }
        Ok(Maps {
            offsets: array.offsets().clone(),
            keys: make_encoder(&fields[0], array.keys().as_ref(), options)?,
            values: make_encoder(&fields[1], array.values().as_ref(), options)?,
            object,
        })
    }
}

impl Encoder for Maps<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let put = |encoder: &mut NullableEncoder<'_>, entry: usize, out: &mut Vec<u8>| match encoder.is_null(entry) {
            true => out.extend_from_slice(b"null"),
            false => encoder.encode(entry, out),
        };
        let (start, end) = (self.offsets[index] as usize, self.offsets[index + 1] as usize);
        out.push(if self.object { b'{' } else { b'[' });
        for entry in start..end {
            if entry > start {
                out.push(b',');
            }
            if !self.object {
                out.extend_from_slice(b"{\"key\":");
            }
            put(&mut self.keys, entry, out);
            out.extend_from_slice(if self.object { b":" } else { b",\"value\":" });
            put(&mut self.values, entry, out);
            if !self.object {
                out.push(b'}');
            }
        }
        out.push(if self.object { b'}' } else { b']' });
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        DataType::RunEndEncoded(_, values) => is_text(values.data_type()),
        _ => false,
    }
}

/// Fails if a map has a key twice, or none: an object would lose a value.
fn check_keys(array: &MapArray) -> Result<(), ArrowError> {
    let keys = arrow_cast::cast(array.keys(), &DataType::LargeUtf8)?;
    let keys = keys.as_string::<i64>();
    let mut seen = HashSet::new();
    for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
        seen.clear();
        for entry in array.offsets()[row] as usize..array.offsets()[row + 1] as usize {
            let wrong = match keys.is_valid(entry) {
                false => "a key that is null".to_owned(),
                true if !seen.insert(keys.value(entry)) => format!("the key `{}` twice", keys.value(entry)),
                true => continue,
            };
            return Err(ArrowError::InvalidArgumentError(format!(
                "a map has {wrong}, and a JSON object cannot: export to .arrow or .parquet"
            )));
        }
    }
    Ok(())
}
