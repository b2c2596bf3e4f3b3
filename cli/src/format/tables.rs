//! What all readers of record batches share: how large batches are, what users may say, and the care with decoders.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow_array::RecordBatchReader;
use arrow_schema::{ArrowError, DataType};
use indicatif::ProgressBar;

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

impl Options {
    /// What a file's name says of it: there are tabs between the fields of a .tsv.
    pub fn of_name(file: &Path) -> Options {
        let name = file.to_string_lossy().to_ascii_lowercase();
        let tabs = name.ends_with(".tsv") || name.ends_with(".tsv.gz");
        Options { delimiter: tabs.then_some(b'\t'), ..Options::default() }
    }
}

/// A file opened as record batches.
pub struct Tables {
    /// The batches. Errors carry text that stands alone.
    pub reader: Box<dyn RecordBatchReader + Send>,
    /// What was assumed, to be told.
    pub note: Option<String>,
}

/// Runs a decoder. Damaged files make some of them panic; that becomes an error in words. What the panic said is for
/// the decoder's programmers.
pub fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    panics::caught(decode).unwrap_or_else(|_| {
        let text = "the file is damaged, or has something in it that is not known here: it cannot be decoded";
        Err(ArrowError::InvalidArgumentError(text.to_owned()))
    })
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
