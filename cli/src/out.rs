//! Standard output: buffered, aware of a reader that went away, and of people. What people see meanwhile on standard
//! error: progress.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::Result;
use crate::signal;

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether somebody stopped reading our standard output (`| head`), which is no error.
pub fn stdout_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Whether the reader of standard output has gone away, noticed without writing.
pub fn reader_gone() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = poll(&mut watched, PollTimeout::ZERO).is_ok()
        && watched[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
    if gone {
        CLOSED.store(true, Ordering::Relaxed);
    }
    gone
}

/// Standard output. Flush it: what is left in the buffer at the end of `main` is lost.
pub struct Out {
    inner: BufWriter<Watched<Stdout>>,
}

impl Out {
    /// Buffers standard output.
    pub fn new() -> Out {
        Out { inner: BufWriter::with_capacity(64 * 1024, Watched(io::stdout())) }
    }

    /// One line.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        self.inner.write_all(text.as_ref().as_bytes())?;
        self.inner.write_all(b"\n")?;
        Ok(())
    }

    /// A JSON document on a line of its own.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<()> {
        self.line(value.to_string())
    }

    /// Sends everything on its way.
    pub fn finish(mut self) -> Result<()> {
        self.inner.flush()?;
        Ok(())
    }
}

impl Default for Out {
    fn default() -> Out {
        Out::new()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A writer that a sink has, and its owner too.
pub struct Shared<W>(Arc<Mutex<W>>);

impl<W> Shared<W> {
    /// Shares it.
    pub fn new(inner: W) -> Shared<W> {
        Shared(Arc::new(Mutex::new(inner)))
    }

    /// Returns another handle to the writer.
    pub fn again(&self) -> Shared<W> {
        Shared(Arc::clone(&self.0))
    }

    /// The writer itself, for as long as nothing else is done with it.
    pub fn inner(&self) -> MutexGuard<'_, W> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner().flush()
    }
}

/// Notes a broken pipe, and stops at a signal: arrow's writers wrap errors in ways that lose
/// their kind.
pub struct Watched<W>(W);

impl<W: Write> Watched<W> {
    /// Watches what is written.
    pub fn new(inner: W) -> Watched<W> {
        Watched(inner)
    }

    fn note<T>(result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            CLOSED.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if signal::received().is_some() {
            return Err(io::Error::other("interrupted"));
        }
        Self::note(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::note(self.0.flush())
    }
}

/// A path in JSON: its text, or if it is no UTF-8, a `file://` URI that has its bytes.
pub fn path_json(path: &Path) -> serde_json::Value {
    if let Some(text) = path.to_str() {
        return text.into();
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = "file://".to_owned();
    for &byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.into()
}

/// Whether to colour standard output: a terminal, and nobody asked for none.
pub fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stdout().is_terminal() && !refused && !dumb
}

/// The text in bold where that is wanted.
pub fn bold(text: &str) -> String {
    paint(text, "1")
}

/// The text in the colour of an ANSI code where that is wanted.
pub fn paint(text: &str, code: &str) -> String {
    match coloured() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// The width of the terminal that standard output is, if it is one.
pub fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let columns = Table::new().width()?;
    Some(usize::from(columns).max(20))
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Bytes of a file.
    Bytes,
    /// Rows of a table.
    Rows,
}

/// A progress bar on standard error, if that is a terminal.
pub fn progress(name: &str, counted: Counted) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let figures = match counted {
        Counted::Rows => "{human_pos} of {human_len} rows",
        Counted::Bytes => "{binary_bytes} of {binary_total_bytes}",
    };
    let template = format!("{{prefix}} {{wide_bar}} {{percent:>3}} %  {figures}  {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar.set_prefix(name.to_owned());
    bar
}

/// On which side a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// Aligned columns without lines.
pub struct Grid {
    table: Table,
    sides: Vec<Side>,
}

impl Grid {
    /// Columns with their captions.
    pub fn new(columns: &[(&str, Side)]) -> Grid {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        match coloured() {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        let sides: Vec<Side> = columns.iter().map(|(_, side)| *side).collect();
        if columns.iter().any(|(caption, _)| !caption.is_empty()) {
            let captions =
                columns.iter().map(|(caption, side)| aligned(Cell::new(caption), *side).add_attribute(Attribute::Bold));
            table.set_header(captions);
        }
        Grid { table, sides }
    }

    /// One more row.
    pub fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        let cells = cells.into_iter().zip(&self.sides);
        let cells: Vec<Cell> = cells.map(|(text, side)| aligned(Cell::new(text), *side)).collect();
        self.table.add_row(cells);
    }

    /// One more row, less important than the others.
    pub fn faint<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        let cells = cells.into_iter().zip(&self.sides);
        let faint = |(text, side): (String, &Side)| aligned(Cell::new(text), *side).add_attribute(Attribute::Dim);
        let cells: Vec<Cell> = cells.map(faint).collect();
        self.table.add_row(cells);
    }

    /// Prints it, each line moved to the right by `indent`.
    pub fn print(mut self, out: &mut Out, indent: usize) -> Result<()> {
        for (i, column) in self.table.column_iter_mut().enumerate() {
            column.set_padding((if i == 0 { 0 } else { 2 }, 0));
        }
        for line in self.table.lines() {
            out.line(format!("{:indent$}{}", "", line.trim_end()))?;
        }
        Ok(())
    }
}

fn aligned(cell: Cell, side: Side) -> Cell {
    cell.set_alignment(match side {
        Side::Left => CellAlignment::Left,
        Side::Right => CellAlignment::Right,
    })
}
