//! Files of record batches, read batch by batch.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use indicatif::ProgressBar;

use super::Format;
use super::csv::Csv;
use super::ipc::{self, Batches};
use super::parquet::{self, Parquet};
use super::pipe::{Input, Pipe};
use super::recut::{Cut, Recut};
use crate::failure::{Failure, Result, arrow_text};
use crate::{panics, signal};

/// Rows of a batch at most, where the file does not say.
pub const BATCH_ROWS: u64 = 1 << 20;

/// Bytes of a batch that are aimed at, so that wide rows do not need gigabytes at once.
pub const BATCH_BYTES: u64 = 128 << 20;

/// What a user may say about a file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Rows in a batch, where we choose.
    pub batch_rows: Option<u64>,
    /// CSV: bytes in a batch, about, also where its rows are given.
    pub batch_bytes: Option<u64>,
    /// CSV: between fields.
    pub delimiter: Option<u8>,
    /// CSV: there is no row of names.
    pub no_header: bool,
    /// CSV: rows that decide the types.
    pub infer_rows: Option<u64>,
    /// CSV: columns that stay text.
    pub text: Vec<String>,
    /// CSV: columns and their types.
    pub types: Vec<(String, DataType)>,
    /// CSV: what stands for no value, beside nothing.
    pub nulls: Vec<String>,
}

/// A file opened as record batches.
pub struct Tables {
    /// The batches. Errors carry text that stands alone.
    pub reader: Box<dyn RecordBatchReader + Send>,
    /// What was assumed, to be told.
    pub note: Option<String>,
}

/// Opens a file of record batches. The bar counts bytes of the file, or rows for Parquet.
pub fn tables(file: File, format: Format, options: &Options, bar: &ProgressBar) -> Result<Tables> {
    match format {
        Format::Parquet => parquet(file, options, bar),
        Format::Csv => Csv::open(Input::File(file), options, bar)?.tables(),
        Format::Arrow | Format::ArrowStream => Ok(careful(ipc::open(file, bar)?)),
        Format::Npy | Format::Bytes => Err(Failure::new(format!("{} does not hold record batches", format.noun()))),
    }
}

fn parquet(mut file: File, options: &Options, bar: &ProgressBar) -> Result<Tables> {
    expect_magic(&mut file, b"PAR1", Format::Parquet)?;
    let Parquet { schema, rows, steps } = parquet::open(file, options.batch_rows)?;
    bar.set_length(rows);
    let inner = Recut::new(steps, Arc::clone(&schema), Cut::new(options.batch_rows));
    Ok(Tables { reader: Box::new(Careful { inner, schema, bar: Some(bar.clone()), done: false }), note: None })
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

/// Runs a decoder. Damaged files make some of them panic; that becomes an error in words. What the panic said is for
/// the decoder's programmers.
pub fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    panics::caught(decode).unwrap_or_else(|_| {
        let text = "the file is damaged, or has something in it that is not known here: it cannot be decoded";
        Err(ArrowError::InvalidArgumentError(text.to_owned()))
    })
}

/// What an error of a decoder says, as a sentence: some are the name of a state alone.
pub fn sentence(error: &ArrowError) -> String {
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

/// A file whose reading moves the bar and stops at signals.
pub struct Counted {
    file: File,
    at: u64,
    bar: ProgressBar,
}

impl Counted {
    /// Counts from the beginning of the file.
    pub fn new(file: File, bar: &ProgressBar) -> Counted {
        Counted { file, at: 0, bar: bar.clone() }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if signal::received().is_some() {
            return Err(std::io::Error::other("interrupted"));
        }
        let count = self.file.read(buffer)?;
        self.at += count as u64;
        self.bar.set_position(self.at);
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}
