//! What the command for SQL (`faretra-sql`, a crate of its own) shares with this one: how arenas are opened, how rows are
//! written, how failures end a process. No promise is made for it.

use std::path::Path;

use arrow_array::RecordBatchReader;
use faretra::Arena;
use indicatif::ProgressBar;

use crate::failure::Context;
pub use crate::failure::{Failure, Result, library_text, note, note_once, one_line};
pub use crate::format::Format;
use crate::format::tables::Options;
pub use crate::format::write::{Sink, delimiter, has_dictionary, json, sink};
use crate::format::{self, read as reading};
pub use crate::out::{Out, Shared, path_json, reader_gone, stdout_closed};
pub use crate::program::run;
pub use crate::rows::Grids;
pub use crate::signal::{SLICE, check as check_signals, last_words};
pub use crate::size::{parse as parse_size, plural};
pub use crate::target::Target;
use crate::{open, signal};

/// Opens an arena in this directory, if one is named, to take part in it.
pub fn open(dir: Option<&Path>, trust_others: bool, name: &str) -> Result<Arena> {
    Ok(open::options_of(dir, trust_others).open(name)?)
}

/// From now on signals end the process as they end the command's verbs.
pub fn obey_signals() -> Result<()> {
    signal::install().map_err(|error| Failure::new(format!("cannot handle signals: {error}")))
}

/// Opens a file of rows in the format that its name tells, as `faretra put` does. Types of CSV columns are found in all of the file.
pub fn read(file: &Path) -> Result<Box<dyn RecordBatchReader + Send>> {
    let format = Format::of_input(None, file)?;
    let tables = reading::tables(format::open(file)?, format, &Options::of_name(file), &ProgressBar::hidden());
    Ok(tables.doing("read", file)?.reader)
}
