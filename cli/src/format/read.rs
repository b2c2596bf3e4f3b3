//! Files of record batches, read batch by batch.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use indicatif::ProgressBar;

use super::Format;
use super::csv::Csv;
use super::ipc::{self, Batches};
use super::parquet::{self, Parquet};
use super::pipe::{Input, Pipe};
use super::recut::{Cut, Recut};
use super::tables::{Options, Tables, guarded};
use crate::failure::{Failure, Result, arrow_text};
use crate::several::InOrder;
use crate::signal;

/// Opens a file of record batches. The bar counts bytes of the file, or rows for Parquet.
pub fn tables(file: File, format: Format, options: &Options, bar: &ProgressBar) -> Result<Tables> {
    match format {
        Format::Parquet => parquet(file, options, bar),
        Format::Csv => Csv::open(Input::File(file), options, bar)?.tables(),
        Format::Arrow | Format::ArrowStream => {
            let Batches { schema, batches } = ipc::open(file, bar)?;
            Ok(careful(Batches { schema, batches: Box::new(Ahead::Waits(Some(batches))) }))
        }
        Format::Npy | Format::Bytes => Err(Failure::new(format!("{} does not hold record batches", format.noun()))),
    }
}

fn parquet(mut file: File, options: &Options, bar: &ProgressBar) -> Result<Tables> {
    expect_magic(&mut file, b"PAR1", Format::Parquet)?;
    let Parquet { schema, rows, steps } = parquet::open(file, options.batch_rows)?;
    bar.set_length(rows);
    let inner = Recut::new(Ahead::Waits(Some(steps)), Arc::clone(&schema), Cut::new(options.batch_rows));
    Ok(Tables { reader: Box::new(Careful { inner, schema, bar: Some(bar.clone()), done: false }), note: None })
}

/// Batches of which the next is decoded while one is used. Nothing is decoded before the first is asked for.
enum Ahead<I: Iterator> {
    Waits(Option<I>),
    Runs(InOrder<I::Item>),
}

impl<I: Iterator<Item: Send> + Send + 'static> Iterator for Ahead<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if let Ahead::Waits(inner) = self {
            *self = Ahead::Runs(InOrder::new(inner.take()?, 1, 1, |batch| batch));
        }
        match self {
            Ahead::Waits(_) => None,
            Ahead::Runs(made) => made.next(),
        }
    }
}

/// Opens what a pipe brings as Arrow IPC: of a stream, each batch is there when its last byte is. A file begins at its
/// end, and is read when all of it came.
pub fn piped(mut pipe: Pipe, options: &Options, bar: &ProgressBar) -> Result<Tables> {
    match pipe.peek(6)? {
        [] => Err(Failure::new("nothing came: there is no stream of record batches")),
        b"ARROW1" => tables(pipe.spool()?, Format::Arrow, options, bar),
        _ => Ok(careful(ipc::stream(pipe)?)),
    }
}

fn careful(Batches { schema, batches }: Batches) -> Tables {
    let inner = batches.map(|batch| batch.map_err(|failure| ArrowError::ExternalError(failure.into_text().into())));
    Tables { reader: Box::new(Careful { inner, schema, bar: None, done: false }), note: None }
}

fn expect_magic(file: &mut File, expected: &[u8; 4], format: Format) -> Result<()> {
    let mut start = Vec::with_capacity(4);
    file.by_ref().take(4).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    match start.as_slice() {
        [] => Err(Failure::new("the file is empty")),
        start if start == expected => Ok(()),
        _ => Err(Failure::new(format!(
            "it is not a {} file (it does not begin with {})",
            format.noun(),
            String::from_utf8_lossy(expected)
        ))),
    }
}

/// What an error of a decoder says, as a sentence: some are the name of a state alone.
fn sentence(error: &ArrowError) -> String {
    let text = arrow_text(error);
    match text.trim_start_matches("Parquet error: ").trim_start_matches("External: ").contains(' ') {
        true => text,
        false => format!("the file is damaged: it cannot be decoded ({text})"),
    }
}

/// A reader that stops at signals, moves the bar, turns panics into errors, and gives every
/// batch the schema that it promised.
struct Careful<R> {
    inner: R,
    schema: SchemaRef,
    bar: Option<ProgressBar>,
    done: bool,
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for Careful<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if signal::check().is_err() {
            self.done = true;
            return Some(Err(ArrowError::ExternalError("interrupted".into())));
        }
        let inner = &mut self.inner;
        let next = match guarded(|| inner.next().transpose()) {
            Ok(next) => next?,
            Err(error) => {
                self.done = true;
                return Some(Err(ArrowError::ExternalError(sentence(&error).into())));
            }
        };
        if let Some(bar) = &self.bar {
            bar.inc(next.num_rows() as u64);
        }
        match next.schema() == self.schema {
            true => Some(Ok(next)),
            false => Some(next.with_schema(Arc::clone(&self.schema))),
        }
    }
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> RecordBatchReader for Careful<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
