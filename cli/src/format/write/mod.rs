//! Record batches written to files, batch by batch.
//!
//! - `parquet`, `csv`, `json`, `arrow`: the formats. What a format cannot say is converted without
//!   loss, or refused in words; no value changes on its way.
//! - `text`: dates and times in the formats that are text.

mod arrow;
mod csv;
mod json;
mod parquet;
pub mod text;

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};

pub use arrow::{has_dictionary, with_one_dictionary};
pub use csv::csv;
pub use json::json;

use super::Format;
use crate::failure::{Failure, Result};
use crate::panics;

/// How deep types may be nested: writers and printers call themselves for each level.
const DEPTH: usize = 128;

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
    check_depth(schema)?;
    let made = panics::caught(|| match format {
        Format::Parquet => parquet::parquet(to, schema),
        Format::Csv => csv(to, schema, delimiter),
        Format::Arrow => arrow::file(to, schema),
        Format::ArrowStream => arrow::stream(to, schema),
        Format::Npy | Format::Bytes => Err(Failure::new(format!(
            "a table cannot be written as {}: it has columns of different types; \
             export to .parquet, .arrow or .csv",
            format.noun()
        ))),
    });
    made.unwrap_or_else(|text| Err(gave_up(format.noun(), &text)))
}

/// Fails if types are nested deeper than writers and printers can follow.
pub fn check_depth(schema: &Schema) -> Result<()> {
    match schema.fields().iter().find(|field| is_deeper(field.data_type(), DEPTH)) {
        None => Ok(()),
        Some(field) => Err(Failure::new(format!(
            "column `{}` is nested deeper than {DEPTH} levels, which this command cannot write: use the library",
            field.name()
        ))),
    }
}

fn is_deeper(data_type: &DataType, levels: usize) -> bool {
    levels == 0 || children(data_type).into_iter().any(|child| is_deeper(child, levels - 1))
}

/// Whether the type, or one in it, is such a type.
fn contains(data_type: &DataType, such: &dyn Fn(&DataType) -> bool) -> bool {
    such(data_type) || children(data_type).into_iter().any(|child| contains(child, such))
}

fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => vec![field.data_type()],
        DataType::Dictionary(_, values) => vec![values],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        _ => vec![],
    }
}

/// A sink whose panics are errors in words.
struct Guarded<'a> {
    noun: &'static str,
    sink: Option<Box<dyn Sink + 'a>>,
}

impl<'a> Guarded<'a> {
    fn boxed(noun: &'static str, sink: impl Sink + 'a) -> Box<dyn Sink + 'a> {
        Box::new(Guarded { noun, sink: Some(Box::new(sink)) })
    }
}

impl Sink for Guarded<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(sink) = &mut self.sink else {
            return Err(gave_up(self.noun, "it did before"));
        };
        match panics::caught(|| sink.write(batch)) {
            Ok(result) => result,
            Err(text) => {
                self.sink = None;
                Err(gave_up(self.noun, &text))
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        match self.sink.take() {
            Some(sink) => panics::caught(|| sink.finish()).unwrap_or_else(|text| Err(gave_up(self.noun, &text))),
            None => Err(gave_up(self.noun, "it did before")),
        }
    }
}

fn gave_up(noun: &str, text: &str) -> Failure {
    Failure::new(format!("the writer of {noun} gave up ({text}): use another format"))
}
