//! Record batches written to files, batch by batch.
//!
//! - `parquet`, `csv`, `json`, `arrow`: the formats. What a format cannot say is converted without
//!   loss, or refused in words; no value changes on its way.
//! - `cells`: fields of CSV. `text`: dates and times in the formats that are text. `sink`: what all of them are.

mod arrow;
mod cells;
mod csv;
mod json;
mod parquet;
mod sink;
pub mod text;

use std::io::Write;
use std::path::Path;

use arrow_schema::SchemaRef;

pub use arrow::{has_dictionary, with_one_dictionary};
pub use csv::csv;
pub use json::json;
pub use sink::Sink;

use super::Format;
use crate::failure::{Failure, Result};
use crate::panics;
use sink::gave_up;

/// A sink in a file format.
pub fn sink<'a, W: Write + Send + 'a>(
    to: W,
    format: Format,
    schema: &SchemaRef,
    delimiter: u8,
) -> Result<Box<dyn Sink + 'a>> {
    let made = panics::caught(|| match format {
        Format::Parquet => parquet::parquet(to, schema),
        Format::Csv => csv(to, schema, delimiter),
        Format::Arrow => arrow::file(to, schema),
        Format::ArrowStream => arrow::stream(to, schema),
        Format::Npy | Format::Bytes => Err(Failure::new(format!(
            "a table cannot be written as {}, which has no columns: export to .parquet, .arrow or .csv",
            format.noun()
        ))),
    });
    made.unwrap_or_else(|text| Err(gave_up(format.noun(), &text)))
}

/// What is between the fields of a file of comma-separated values: of this name, a tab.
pub fn delimiter(path: &Path) -> u8 {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv")) { b'\t' } else { b',' }
}
