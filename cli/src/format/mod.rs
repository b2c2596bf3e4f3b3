//! File formats: which one a file is in, and the same few for reading and writing.
//!
//! - `pipe`: files, and what comes only once.
//! - `read`: Parquet, CSV, Arrow IPC file and stream as a `RecordBatchReader`. `tables`: what their readers share.
//! - `parquet`: Parquet files. `thrift`: how deep their schemas nest. `ipc`: Arrow IPC, message by message.
//! - `recut`: batches put together and cut.
//! - `csv`: CSV files. `blocks`, `parts`: on several threads; `records`: their rows and fields; `columns`: what becomes of
//!   these; `infer`: the types that hold the values of
//!   a column; `types`: text into values of them.
//! - `write`: record batches to the same formats.
//! - `npy`: n-dimensional arrays.

mod blocks;
mod columns;
pub mod csv;
pub mod elements;
mod infer;
mod ipc;
pub mod npy;
mod parquet;
mod parts;
pub mod pipe;
pub mod read;
mod records;
pub mod recut;
pub mod tables;
mod thrift;
pub mod types;
pub mod write;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::ValueEnum;

use crate::failure::{Context, Failure, Result};
use pipe::Input;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Apache Parquet (.parquet, .pq)
    Parquet,
    /// Comma-separated values (.csv; .tsv with tabs; .csv.gz is read)
    Csv,
    /// Arrow IPC file (.arrow, .feather, .ipc)
    Arrow,
    /// Arrow IPC stream (.arrows)
    ArrowStream,
    /// A numpy array (.npy)
    Npy,
    /// The bytes as they are (only with --format)
    Bytes,
}

impl Format {
    /// The format that a file name stands for.
    pub fn of_name(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "parquet" | "pq" | "parq" => Some(Format::Parquet),
            "csv" | "tsv" => Some(Format::Csv),
            "arrow" | "feather" | "ipc" => Some(Format::Arrow),
            "arrows" => Some(Format::ArrowStream),
            "npy" => Some(Format::Npy),
            _ => None,
        }
    }

    /// The format asked for, or else the one that the name stands for.
    pub fn choose(asked: Option<Format>, path: &Path) -> Result<Format> {
        if let Some(format) = asked.or_else(|| Format::of_name(path)) {
            return Ok(format);
        }
        let remedy = match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("gz") => {
                "what is written is not compressed: name it .csv and run gzip, or name it .parquet"
            }
            _ => "name it .parquet, .csv, .tsv, .arrow, .arrows or .npy, or give --format",
        };
        if path == Path::new("-") {
            return Err(Failure::usage("`-` has no name that tells its format: give --format"));
        }
        Err(Failure::usage(format!("the name `{}` does not tell its format: {remedy}", path.display())))
    }

    /// The format of a file that is read: asked for, told by its name, or else by how it begins.
    pub fn of_input(asked: Option<Format>, path: &Path) -> Result<Format> {
        // Of what is compressed as a whole, only CSV is read.
        let packed = path.extension().filter(|extension| extension.eq_ignore_ascii_case("gz"));
        let packed = packed.and_then(|_| Format::of_name(Path::new(path.file_stem()?)));
        let told = asked.or_else(|| Format::of_name(path)).or(packed.filter(|format| *format == Format::Csv));
        Format::choose(told.or_else(|| Format::of_content(path)), path)
    }

    /// The format that a file begins as. What is no file can be read once only, and is not looked at.
    fn of_content(path: &Path) -> Option<Format> {
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut start = Vec::with_capacity(6);
        File::open(path).ok()?.take(6).read_to_end(&mut start).ok()?;
        match start.as_slice() {
            [b'P', b'A', b'R', b'1', ..] => Some(Format::Parquet),
            b"ARROW1" | [b'F', b'E', b'A', b'1', ..] => Some(Format::Arrow),
            [0xff, 0xff, 0xff, 0xff, ..] => Some(Format::ArrowStream),
            b"\x93NUMPY" => Some(Format::Npy),
            _ => None,
        }
    }

    /// Its name in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Format::Parquet => "Parquet",
            Format::Csv => "CSV",
            Format::Arrow => "Arrow IPC file",
            Format::ArrowStream => "Arrow IPC stream",
            Format::Npy => ".npy",
            Format::Bytes => "bytes",
        }
    }
}

/// Opens a file for reading with random access. What is no file is first copied to a temporary one,
/// because Parquet and the IPC file format begin at the end.
pub fn open(path: &Path) -> Result<File> {
    match pipe::open(path)? {
        Input::File(file) => Ok(file),
        Input::Pipe(pipe) => pipe.spool().doing("read", path),
    }
}

#[cfg(test)]
mod tests {
    use super::Format;
    use std::path::Path;

    #[test]
    fn the_extension_tells_the_format() {
        let of = |name: &str| Format::of_name(Path::new(name));
        assert_eq!(of("a.parquet"), Some(Format::Parquet));
        assert_eq!(of("dir.csv/a.PQ"), Some(Format::Parquet));
        assert_eq!(of("a.tsv"), Some(Format::Csv));
        assert_eq!(of("a.feather"), Some(Format::Arrow));
        assert_eq!(of("a.arrows"), Some(Format::ArrowStream));
        assert_eq!(of("a.npy"), Some(Format::Npy));
        assert_eq!(of("a.csv.gz"), None, "it would be written without compression");
        let read = |name: &str| Format::of_input(None, Path::new(name)).ok();
        assert_eq!(read("a.csv.gz"), Some(Format::Csv));
        assert_eq!(read("a.parquet.gz"), None);
        assert_eq!(of("a.parquet.gz"), None);
        assert_eq!(of("a.gz"), None);
        assert_eq!(of("parquet"), None);
        assert!(Format::choose(None, Path::new("-")).is_err());
        assert!(Format::choose(Some(Format::Csv), Path::new("-")).is_ok());
    }
}
