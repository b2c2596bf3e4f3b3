//! send: the batches of files into a channel.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{Array, RecordBatch, RecordBatchIterator, RecordBatchOptions};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use faretra::channel::{Contents, WhenDeserted};
use faretra::{Arena, Error, Kind, SendError, Sender, Value, Writer};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;

use crate::args::{Cli, Send};
use crate::channels::{self, Named, PATIENCE};
use crate::failure::{Context, Failure, Result, library_text, note};
use crate::format::csv::Csv;
use crate::format::pipe::{self, Input, Patience};
use crate::format::tables::{Options, Tables};
use crate::format::{Format, read};
use crate::out::{Counted, Out, progress};
use crate::signal::{self, SLICE};
use crate::{open, size};

/// Items of a channel, if nobody says.
const CAPACITY: u64 = 16;

/// Bytes of a batch that is made of CSV rows, about: wide rows come in fewer than were asked for.
const BATCH_BYTES: u64 = 64 << 20;

/// A file that is open, with the schema that it is sent with.
struct Source<'a> {
    path: &'a Path,
    tables: Tables,
    bar: ProgressBar,
    /// Whether its batches depend on when its rows come, so that nobody can say which to skip.
    live: bool,
    /// How long a pipe is waited for; none for files.
    patience: Option<Patience>,
}

/// `faretra send`
pub fn send(cli: &Cli, args: &Send) -> Result<()> {
    let formats = formats(args)?;
    let arena = open::open(cli, &args.arena)?;
    if let Some(known) = channels::find(&arena, &args.channel)? {
        if known.closed {
            return Err(closed(&args.arena, &args.channel));
        }
        if let Some(asked) = args.capacity
            && Some(asked) != known.capacity
        {
            let has = known.capacity.map_or_else(
                || "without a bound".to_owned(),
                |capacity| format!("with room for {}", size::plural(capacity, "batch")),
            );
            note(format_args!("channel `{}` is there, {has}: --capacity {asked} changes nothing", known.name));
        }
        if let (true, Some(capacity)) = (args.unbounded, known.capacity) {
            let has = size::plural(capacity, "batch");
            note(format_args!("channel `{}` is there, with room for {has}: --unbounded changes nothing", known.name));
        }
    }
    // All of them, before anything is sent of the first.
    let sources = sources(cli, args, &formats)?;
    let Some(first) = sources.first() else {
        return Err(Failure::usage("give at least one file"));
    };
    let schema = first.tables.reader.schema();
    let first = first.path;
    let writer = open::writer(&arena)?;
    let (sender, made) = join(&arena, &writer, args)?;
    let mut sending = Sending {
        args,
        arena: &arena,
        named: Named::new(&arena, &args.channel, Kind::Channel)?,
        sender: sender.clone(),
        told_deserted: false,
        told_memory: false,
        skip: args.skip,
        live: false,
        batches: 0,
        rows: 0,
        bytes: 0,
    };
    sending.agree(&schema, first)?;
    // A producer may be silent for long, while nobody needs what it has yet.
    for patience in sources.iter().filter_map(|source| source.patience.as_ref()) {
        let (arena, channel) = (arena.clone(), args.channel.clone());
        let mut named = Named::new(&arena, &channel, Kind::Channel)?;
        patience.watch(move || if named.due() { there(&named, &arena, &channel) } else { Ok(()) });
    }
    for source in sources {
        sending.file(source, &schema).map_err(|failure| sending.explain(failure))?;
    }
    if sending.skip > 0 {
        return Err(Failure::new(format!(
            "--skip {} leaves out more than the files have, which is {}: channel `{}` stays open",
            args.skip,
            size::plural(args.skip - sending.skip, "batch"),
            args.channel
        )));
    }
    if !args.keep_open {
        sender.close()?;
    }
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({
            "arena": args.arena,
            "channel": args.channel,
            "made": made,
            "capacity": sender.capacity(),
            "files": args.files.len(),
            "batches": sending.batches,
            "rows": sending.rows,
            "bytes": sending.bytes,
            "closed": !args.keep_open,
        }))?;
    } else {
        out.line(format!(
            "{}: sent {} of {}, {}; the channel is {}",
            args.channel,
            size::plural(sending.batches, "batch"),
            size::plural(sending.rows, "row"),
            size::bytes(sending.bytes),
            if args.keep_open { "open still" } else { "closed" }
        ))?;
    }
    out.finish()
}

fn formats(args: &Send) -> Result<Vec<Format>> {
    if args.files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return Err(Failure::usage("`-` is standard input, which can be sent once"));
    }
    let format = |file: &PathBuf| match Format::of_input(args.format, file)? {
        format @ (Format::Npy | Format::Bytes) => Err(Failure::usage(format!(
            "{}: {} has no record batches; send Parquet, CSV or Arrow IPC, or `faretra put` it",
            file.display(),
            format.noun()
        ))),
        format => Ok(format),
    };
    let formats = args.files.iter().map(format).collect::<Result<Vec<_>>>()?;
    let files: Vec<_> = args.files.iter().map(PathBuf::as_path).zip(formats.iter().copied()).collect();
    args.reading.expect_csv(&files)?;
    Ok(formats)
}

fn closed(arena: &str, channel: &str) -> Failure {
    Failure::new(format!(
        "channel `{channel}` is closed, nothing more can be sent: use another name, or remove it and what it holds \
         with `faretra rm {arena} {channel}`"
    ))
}

/// Fails if the channel was removed or closed.
fn there(named: &Named, arena: &Arena, channel: &str) -> Result<()> {
    named.look()?;
    match channels::find(arena, channel)? {
        Some(known) if known.closed => Err(closed(arena.name(), channel)),
        _ => Ok(()),
    }
}

/// A file that is open, of which a CSV's types may change by other files yet.
enum Opened {
    Tables(Tables),
    Csv(Box<Csv>),
}

/// Opens the files. What comes through a pipe is sent while it comes, but for formats that begin at their end.
fn sources<'a>(cli: &Cli, args: &'a Send, formats: &[Format]) -> Result<Vec<Source<'a>>> {
    let mut opened = Vec::with_capacity(args.files.len());
    for (path, format) in args.files.iter().zip(formats) {
        signal::check()?;
        let input = pipe::open(path)?;
        let patience = match &input {
            Input::File(_) => None,
            Input::Pipe(pipe) => Some(pipe.patience()),
        };
        let live = patience.is_some() && *format == Format::Csv;
        if live && args.skip > 0 {
            return Err(Failure::usage(format!(
                "--skip counts batches, and those of {} depend on when its rows come: send the rows that are left, as \
                 with `tail`",
                path.display()
            )));
        }
        let bar = match input {
            Input::File(_) if *format == Format::Parquet => progress(&name(path), Counted::Rows),
            Input::File(_) => progress(&name(path), Counted::Bytes),
            Input::Pipe(_) => ProgressBar::hidden(),
        };
        let options = Options { batch_bytes: Some(BATCH_BYTES), ..args.reading.options(path, Some(args.batch_rows)) };
        let file = match (input, format) {
            (input, Format::Csv) => Csv::open(input, &options, &bar).map(|csv| Opened::Csv(Box::new(csv))),
            (Input::File(file), format) => read::tables(file, *format, &options, &bar).map(Opened::Tables),
            (Input::Pipe(pipe), Format::Arrow | Format::ArrowStream) => {
                read::piped(pipe, &options, &bar).map(Opened::Tables)
            }
            (Input::Pipe(pipe), format) => {
                pipe.spool().and_then(|file| read::tables(file, *format, &options, &bar)).map(Opened::Tables)
            }
        };
        bar.finish_and_clear();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        opened.push((path.as_path(), bar, live, patience, file.doing("read", path)?));
    }
    let csvs = opened.iter_mut().filter_map(|(.., file)| match file {
        Opened::Csv(csv) => Some(&mut **csv),
        Opened::Tables(_) => None,
    });
    Csv::unite(&mut csvs.collect::<Vec<_>>());
    let mut sources: Vec<Source<'a>> = Vec::with_capacity(opened.len());
    for (path, bar, live, patience, file) in opened {
        let csv = matches!(file, Opened::Csv(_));
        let tables = match file {
            Opened::Tables(tables) => tables,
            Opened::Csv(csv) => csv.tables().doing("read", path)?,
        };
        if let Some(assumed) = &tables.note
            && !cli.json
        {
            note(format_args!("{}: {assumed}", path.display()));
        }
        if let Some(first) = sources.first()
            && let Some(how) = difference(&first.tables.reader.schema(), &tables.reader.schema())
        {
            let remedy = if csv { "; --type COLUMN=TYPE says what a column of it is" } else { "" };
            return Err(Failure::new(format!(
                "cannot send {}: {how}, and a channel has the columns of its first file, {}: nothing was sent{remedy}",
                path.display(),
                first.path.display()
            )));
        }
        sources.push(Source { path, tables, bar, live, patience });
    }
    Ok(sources)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Returns how the columns differ from those of the first file, if they do.
fn difference(first: &Schema, other: &Schema) -> Option<String> {
    if first.fields() == other.fields() {
        return None;
    }
    let text = |field: &Field| {
        let nullable = if field.is_nullable() { ", with nulls" } else { "" };
        format!("`{}` ({}{nullable})", field.name(), field.data_type())
    };
    let mut both = first.fields().iter().zip(other.fields()).enumerate();
    if let Some((i, (expected, found))) = both.find(|(_, (a, b))| a != b) {
        let (expected, found) = (text(expected), text(found));
        return Some(match expected == found {
            true => format!("its column {} {found} has other metadata", i + 1),
            false => format!("its column {} is {found}, not {expected}", i + 1),
        });
    }
    Some(format!(
        "it has {}, not {}",
        size::plural(other.fields().len() as u64, "column"),
        size::count(first.fields().len() as u64)
    ))
}

/// The sending end: of the channel that is there, or of a new one.
fn join(arena: &Arena, writer: &Writer, args: &Send) -> Result<(Sender, bool)> {
    let asked = (!args.unbounded).then(|| args.capacity.unwrap_or(CAPACITY));
    loop {
        signal::check()?;
        let known = channels::find(arena, &args.channel)?;
        let (capacity, mixed) = known.as_ref().map_or((asked, false), |known| (known.capacity, known.mixed));
        let contents = if mixed { Contents::Mixed } else { Contents::OneSchema };
        match channels::sending_end(writer, &args.channel, capacity, contents) {
            Ok(sender) => return Ok((sender, known.is_none())),
            // Made, or removed and made, since we looked.
            Err(Error::Mismatch { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Sending<'a> {
    args: &'a Send,
    arena: &'a Arena,
    named: Named,
    sender: Sender,
    /// Whether it was said that there are no receivers.
    told_deserted: bool,
    /// Whether it was said that memory is waited for.
    told_memory: bool,
    /// Batches to be left out still.
    skip: u64,
    /// Whether what is sent now is [`Source::live`].
    live: bool,
    batches: u64,
    rows: u64,
    bytes: u64,
}

impl Sending<'_> {
    /// The channel has these columns from here on, also if no batch comes.
    fn agree(&self, schema: &SchemaRef, first: &Path) -> Result<()> {
        let nothing = RecordBatchIterator::new(std::iter::empty::<Result<_, ArrowError>>(), Arc::clone(schema));
        match self.sender.send_all(nothing) {
            Ok(_) => Ok(()),
            Err(SendError::Failed(Error::Mismatch { expected, found, .. })) => {
                let how = match expected == found {
                    true => "has these columns with other metadata: send the files with one command".to_owned(),
                    false => format!(
                        "takes batches {expected}, and these are {found}: give --type COLUMN=TYPE if it is a CSV file"
                    ),
                };
                Err(Failure::new(format!(
                    "cannot send {}: channel `{}` {how}, or use another channel",
                    first.display(),
                    self.args.channel
                )))
            }
            Err(SendError::Failed(error)) => Err(error.into()),
            Err(error) => Err(Failure::new(error)),
        }
    }

    fn file(&mut self, source: Source<'_>, schema: &SchemaRef) -> Result<()> {
        let Source { path, tables, bar, live, patience } = source;
        self.live = live;
        signal::last_words(self.rest());
        bar.reset();
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let sent = tables.reader.into_iter().try_for_each(|batch| {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    // Of a pipe, it may be that it is not waited for any more.
                    if patience.is_some() && signal::received().is_none() {
                        there(&self.named, self.arena, &self.args.channel)?;
                    }
                    return Err(error).doing("read", path);
                }
            };
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            // The file's own metadata may be another.
            let batch = RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &rows)?;
            let most = usize::try_from(self.args.batch_rows).unwrap_or(usize::MAX);
            for at in (0..batch.num_rows()).step_by(most) {
                self.batch(&batch.slice(at, most.min(batch.num_rows() - at)), &bar)?;
            }
            Ok(())
        });
        bar.finish_and_clear();
        sent
    }

    fn batch(&mut self, batch: &RecordBatch, bar: &ProgressBar) -> Result<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        let bytes = bytes(batch);
        if bytes > self.arena.limit() {
            return Err(Failure::new(format!(
                "a batch of {} is {}, more than the {} that arena `{}` may use: give a smaller --batch-rows",
                size::plural(batch.num_rows() as u64, "row"),
                size::bytes(bytes),
                size::bytes(self.arena.limit()),
                self.args.arena
            )));
        }
        let begun = Instant::now();
        let mut value = Value::from(batch);
        loop {
            value = match self.sender.send_timeout(value, SLICE) {
                Ok(()) => break,
                Err(SendError::Closed { clean: true, .. }) => return Err(closed(&self.args.arena, &self.args.channel)),
                Err(SendError::Closed { value, .. }) => {
                    if !std::mem::replace(&mut self.told_deserted, true) {
                        let text = format!(
                            "waiting: channel `{1}` is full, and its receivers left or died; \
                             `faretra recv {0} {1}` is another one, and Ctrl-C ends this",
                            self.args.arena, self.args.channel
                        );
                        bar.suspend(|| note(text));
                    }
                    self.sender.set_when_deserted(WhenDeserted::Block);
                    value
                }
                Err(SendError::TimedOut(value) | SendError::Full(value) | SendError::Interrupted(value)) => value,
                Err(SendError::NoSpace { value, error }) => {
                    if matches!(*error, Error::NoSpace { asked, .. } if asked > self.arena.limit()) {
                        return Err((*error).into());
                    }
                    if begun.elapsed() >= PATIENCE && !std::mem::replace(&mut self.told_memory, true) {
                        let why = library_text(&error);
                        bar.suspend(|| note(format_args!("waiting for memory, Ctrl-C ends this: {why}")));
                    }
                    value
                }
                Err(SendError::Failed(error)) => return Err(error.into()),
                Err(error) => return Err(Failure::new(error)),
            };
            signal::check()?;
            self.named.check()?;
            if begun.elapsed() >= PATIENCE {
                bar.set_message("waiting");
            }
        }
        bar.set_message("");
        self.batches += 1;
        self.rows += batch.num_rows() as u64;
        self.bytes += bytes;
        signal::last_words(self.rest());
        Ok(())
    }

    /// What was sent so far, and how to send the rest.
    fn rest(&self) -> String {
        let done = self.args.skip - self.skip + self.batches;
        let sent = match self.batches {
            0 => "nothing was sent".to_owned(),
            _ => format!(
                "{} of {} were sent and stay in channel `{}`",
                size::plural(self.batches, "batch"),
                size::plural(self.rows, "row"),
                self.args.channel
            ),
        };
        match self.live {
            true => format!("{sent}; it is not closed, and another `faretra send` of the rows that are left goes on"),
            false => format!("{sent}; it is not closed, and the same command with --skip {done} sends the rest"),
        }
    }

    /// What was sent before it failed, and how to go on.
    fn explain(&self, failure: Failure) -> Failure {
        let rest = self.rest();
        match failure {
            _ if signal::received().is_some() => Failure::Interrupted(rest),
            Failure::Failed(text) if self.batches > 0 => Failure::Failed(format!("{text}; {rest}")),
            other => other,
        }
    }
}

/// Bytes of the rows that the batch shows.
fn bytes(batch: &RecordBatch) -> u64 {
    let column = |column: &Arc<dyn Array>| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| data.get_buffer_memory_size()) as u64
    };
    batch.columns().iter().map(column).sum()
}
