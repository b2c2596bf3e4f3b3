//! recv: the batches of a channel, printed or written to a file. A batch is acknowledged after that.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use faretra::channel::WhenDeserted;
use faretra::{Arena, ChannelInfo, Error, Kind, Lease, Receiver, RecvError};
use serde_json::json;

use crate::args::{CatFormat, Cli, Recv, RecvFormat};
use crate::channels::{self, Named, PATIENCE};
use crate::failure::{Context, Failure, Result, note, note_once};
use crate::format::Format;
use crate::format::write::{self, Sink};
use crate::out::{self, Counted, Out, Shared, progress};
use crate::rows::{Printer, check_schema};
use crate::signal::{self, SLICE};
use crate::target::Target;
use crate::values::{batches, pieces};
use crate::{open, size};

/// Where an item is that could not be written.
const STAYS: &str = ": it stays in the channel";

/// `faretra recv`
pub fn recv(cli: &Cli, args: &Recv) -> Result<()> {
    let file = match &args.export {
        Some(path) => Some((path.as_path(), file_format(path, args.format)?)),
        None => {
            print_format(cli, args)?;
            None
        }
    };
    if let Some((path, _)) = file {
        Target::check(path, args.force)?;
    }
    let arena = open::open(cli, &args.arena)?;
    // Before anything is received: a directory that is not there should not cost a wait.
    let target = match file {
        Some((path, format)) => Some((Target::open(path, args.force)?, path, format)),
        None => None,
    };
    let receiver = join(&arena, args)?;
    let before = channels::find(&arena, &args.channel)?;
    if before.is_some_and(|channel| channel.closed && channel.depth + channel.leased + channel.returned == 0) {
        note(format_args!(
            "channel `{1}` was closed before, and holds nothing; `faretra rm {0} {1}` makes the name free",
            args.arena, args.channel
        ));
    }
    let from = From {
        args,
        arena: &arena,
        receiver,
        named: Named::new(&arena, &args.channel, Kind::Channel)?,
        to_stdout: target.as_ref().is_none_or(|(target, _, _)| target.is_stdout()),
        stalled: None,
    };
    match target {
        None => to_stdout(cli, args, from),
        Some((target, path, format)) => to_file(cli, args, from, target, (path, format)),
    }
}

fn file_format(path: &Path, asked: Option<RecvFormat>) -> Result<Format> {
    match (asked, Format::of_name(path)) {
        (Some(RecvFormat::Csv), _) => Ok(Format::Csv),
        (Some(RecvFormat::Parquet), _) => Ok(Format::Parquet),
        (Some(RecvFormat::Arrow), _) => Ok(Format::Arrow),
        (Some(RecvFormat::ArrowStream), _) => Ok(Format::ArrowStream),
        (Some(RecvFormat::Table | RecvFormat::Json | RecvFormat::Jsonl), _) => Err(Failure::usage(
            "--export writes parquet, csv, arrow or arrow-stream; leave it out to print the other formats",
        )),
        (None, Some(format @ (Format::Parquet | Format::Csv | Format::Arrow | Format::ArrowStream))) => Ok(format),
        (None, _) => Err(Failure::usage(format!(
            "the name `{}` does not tell a format for batches: name it .parquet, .csv, .tsv, .arrow or .arrows, or \
             give --format",
            path.display()
        ))),
    }
}

fn print_format(cli: &Cli, args: &Recv) -> Result<CatFormat> {
    match args.format {
        None if cli.json => Ok(CatFormat::Json),
        None | Some(RecvFormat::Table) => Ok(CatFormat::Table),
        Some(RecvFormat::Csv) => Ok(CatFormat::Csv),
        Some(RecvFormat::Json) => Ok(CatFormat::Json),
        Some(RecvFormat::Jsonl) => Ok(CatFormat::Jsonl),
        Some(RecvFormat::Parquet | RecvFormat::Arrow | RecvFormat::ArrowStream) => Err(Failure::usage(
            "parquet, arrow and arrow-stream are written with --export FILE; --export /dev/stdout is standard output",
        )),
    }
}

/// The receiving end, as soon as there is such a channel.
fn join(arena: &Arena, args: &Recv) -> Result<Receiver> {
    let mut found = arena.receiver_timeout(&args.channel, SLICE);
    loop {
        match found {
            Ok(receiver) => return Ok(receiver),
            Err(Error::TimedOut(_)) => note_once(format_args!(
                "waiting: arena `{0}` has no channel `{1}` yet; `faretra send {0} {1} FILE` makes it",
                args.arena, args.channel
            )),
            Err(Error::Mismatch { .. }) => match arena.get(&args.channel) {
                Ok(object) if object.kind() != Kind::Channel => {
                    return Err(channels::other_kind(arena, &args.channel, object.kind()));
                }
                // Changed since.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        signal::check()?;
        found = arena.receiver_wait(&args.channel);
    }
}

/// What a receiver keeps until its file is finished.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    batches: u64,
    bytes: u64,
}

/// Where batches come from.
struct From<'a> {
    args: &'a Recv,
    arena: &'a Arena,
    receiver: Receiver,
    named: Named,
    to_stdout: bool,
    /// Since when nothing comes because a sender waits for memory, and what was sent until then.
    stalled: Option<(Instant, u64)>,
}

impl From<'_> {
    /// The next item; `None` when the channel is closed, and nothing is in it.
    fn next(&mut self, kept: Kept) -> Result<Option<Lease>> {
        loop {
            match self.receiver.recv_timeout(SLICE) {
                Ok(lease) => {
                    self.stalled = None;
                    return Ok(Some(lease));
                }
                Err(RecvError::Closed { clean: true }) => return Ok(None),
                Err(RecvError::Closed { .. }) => {
                    self.tell_deserted();
                    self.receiver.set_when_deserted(WhenDeserted::Block);
                }
                Err(RecvError::TimedOut | RecvError::Empty | RecvError::Interrupted) => {}
                Err(RecvError::Failed(error)) => return Err(error.into()),
                Err(error) => return Err(Failure::new(error)),
            }
            signal::check()?;
            if self.to_stdout && out::reader_gone() {
                return Err(Failure::new("nobody reads what is received"));
            }
            self.named.check()?;
            if kept.batches > 0 {
                // What we keep ourselves may come back, as far as the channel knows: it does not tell its end.
                let Some(now) = self.look()? else { continue };
                if now.closed && now.depth == 0 && now.returned == 0 {
                    // Closed when we looked: what is not there now never will be, but from those who died.
                    self.arena.recover()?;
                    match self.receiver.try_recv() {
                        Ok(lease) => return Ok(Some(lease)),
                        Err(RecvError::Failed(error)) => return Err(error.into()),
                        Err(_) => return Ok(None),
                    }
                }
                if now.senders.is_empty() && !now.closed {
                    self.tell_deserted();
                }
                self.look_for_a_stall(&now, kept)?;
            }
        }
    }

    fn look(&self) -> Result<Option<ChannelInfo>> {
        Ok(self.arena.channels()?.into_iter().find(|channel| channel.name == self.args.channel))
    }

    fn tell_deserted(&self) {
        note_once(format_args!(
            "waiting: the last sender of channel `{1}` left or died without closing it; `faretra send {0} {1} FILE` \
             goes on, and Ctrl-C ends this",
            self.args.arena, self.args.channel
        ));
    }

    /// A sender that waits for the memory of what we keep would wait for ever.
    fn look_for_a_stall(&mut self, now: &ChannelInfo, kept: Kept) -> Result<()> {
        let waiting = now.senders.iter().find(|pid| now.blocked.contains(pid));
        let Some(pid) = waiting.filter(|_| now.capacity.is_none_or(|capacity| now.depth < capacity)) else {
            self.stalled = None;
            return Ok(());
        };
        match self.stalled {
            Some((since, sent)) if sent == now.sent => {
                if since.elapsed() < 2 * PATIENCE {
                    return Ok(());
                }
            }
            _ => {
                self.stalled = Some((Instant::now(), now.sent));
                return Ok(());
            }
        }
        Err(Failure::new(format!(
            "arena `{0}` is full: {1} of {2} stay in it until the file is finished, and process {pid} waits for memory \
             to send more than fits in {3}; all of them are in the channel again: use an arena with a larger --limit, \
             or `faretra recv {0} {4} --format csv`, which keeps one batch at a time",
            self.args.arena,
            size::plural(kept.batches, "batch"),
            size::bytes(kept.bytes),
            size::bytes(self.arena.limit()),
            self.args.channel
        )))
    }

    /// The schema, if the channel ended without a batch.
    fn schema(&self) -> Option<SchemaRef> {
        self.receiver.try_schema().ok()
    }
}

/// What was received so far.
struct Count {
    /// Rows that are wanted still.
    left: u64,
    batches: u64,
    rows: u64,
    /// Items that somebody had received before.
    again: u64,
}

impl Count {
    fn new(args: &Recv) -> Count {
        Count { left: args.head.unwrap_or(u64::MAX), batches: 0, rows: 0, again: 0 }
    }

    /// The item's rows, as many as are wanted, and whether that is all of them.
    fn take(&mut self, lease: &Lease) -> Result<(SchemaRef, Vec<RecordBatch>, bool)> {
        if !matches!(lease.kind(), Kind::Batch | Kind::Table) {
            return Err(Failure::new(format!(
                "the channel's next item is {}, which has no rows to print: it stays there for a program that \
                 receives it with the library",
                lease.kind()
            )));
        }
        let (schema, all) = batches((**lease).clone())?;
        let rows: u64 = all.iter().map(|batch| batch.num_rows() as u64).sum();
        let wanted = self.left.min(rows);
        self.left -= wanted;
        self.rows += wanted;
        self.batches += 1;
        self.again += u64::from(lease.attempts() > 0);
        let whole = wanted == rows;
        let all = match whole {
            true => all,
            false => pieces(&all, wanted as usize, usize::MAX).collect(),
        };
        Ok((schema, all, whole))
    }

    fn tell(&self) {
        if self.again > 0 {
            note(format_args!(
                "{} had been received before, and not acknowledged: its rows may have been written twice",
                size::plural(self.again, "batch")
            ));
        }
    }
}

fn to_stdout(cli: &Cli, args: &Recv, mut from: From<'_>) -> Result<()> {
    let mut printer = Printer::new(print_format(cli, args)?, STAYS);
    let mut count = Count::new(args);
    while count.left > 0 {
        signal::last_words(format!(
            "{} of {} were printed; `faretra recv {} {}` goes on with the rest, which stays in the channel",
            size::plural(count.batches, "batch"),
            size::plural(count.rows, "row"),
            args.arena,
            args.channel
        ));
        let Some(lease) = from.next(Kept::default())? else { break };
        let (schema, batches, whole) = count.take(&lease)?;
        printer.print(&schema, &batches)?;
        if whole {
            lease.ack();
        }
    }
    printer.finish(|| from.schema())?;
    count.tell();
    Ok(())
}

/// A file being written, and the leases of what is in it.
struct Exported<'a> {
    path: &'a Path,
    format: Format,
    file: Shared<Box<dyn Write + Send>>,
    schema: Option<SchemaRef>,
    sink: Option<Box<dyn Sink>>,
    /// What can be written at the end only: all batches of an Arrow file have one dictionary.
    later: Vec<RecordBatch>,
    /// Acknowledged when the file is finished.
    leases: Vec<Lease>,
    kept: Kept,
}

impl Exported<'_> {
    fn begin(&mut self, schema: &SchemaRef) -> Result<()> {
        check_schema(self.schema.as_ref(), schema, STAYS)?;
        if self.schema.is_none() {
            if !self.is_late(schema) {
                self.open(schema)?;
            }
            self.schema = Some(Arc::clone(schema));
        }
        Ok(())
    }

    fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        self.sink = Some(write::sink(self.file.again(), self.format, schema, write::delimiter(self.path))?);
        Ok(())
    }

    /// Whether the batches are written at the end only.
    fn is_late(&self, schema: &SchemaRef) -> bool {
        self.format == Format::Arrow && schema.fields().iter().any(|f| write::has_dictionary(f.data_type()))
    }

    fn write(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        if self.schema.as_ref().is_some_and(|schema| self.is_late(schema)) {
            self.later.extend(batches);
            return Ok(());
        }
        self.write_now(batches)
    }

    fn write_now(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        for batch in batches {
            signal::check()?;
            sink.write(&batch)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(schema) = self.schema.clone().filter(|schema| self.is_late(schema)) {
            let (schema, later) = write::with_one_dictionary(&schema, std::mem::take(&mut self.later))?;
            self.open(&schema)?;
            self.write_now(later)?;
        }
        if let Some(sink) = self.sink.take() {
            sink.finish()?;
        }
        Ok(self.file.inner().flush()?)
    }
}

fn to_file(cli: &Cli, args: &Recv, mut from: From<'_>, target: Target, (path, format): (&Path, Format)) -> Result<()> {
    let mut to = Exported {
        path,
        format,
        file: Shared::new(target.writer()?),
        schema: None,
        sink: None,
        later: vec![],
        leases: vec![],
        kept: Kept::default(),
    };
    let bar = progress(&args.channel, Counted::Rows);
    let mut count = Count::new(args);
    signal::last_words(format!(
        "{} is not finished, and everything is in channel `{}` again: the same command receives it",
        path.display(),
        args.channel
    ));
    while count.left > 0 {
        let Some(lease) = from.next(to.kept)? else { break };
        let (schema, batches, all) = count.take(&lease)?;
        to.begin(&schema).and_then(|()| to.write(batches)).doing("write", path)?;
        bar.set_position(count.rows);
        if all {
            to.kept = Kept { batches: to.kept.batches + 1, bytes: to.kept.bytes + lease.nbytes() };
            to.leases.push(lease);
        }
    }
    if to.schema.is_none() {
        let Some(schema) = from.schema() else {
            return Err(Failure::new(format!(
                "channel `{}` was closed before anything was sent, its columns are unknown: {} was not written",
                args.channel,
                path.display()
            )));
        };
        to.begin(&schema).doing("write", path)?;
    }
    to.finish().doing("write", path)?;
    target.sync()?;
    let stdout = target.is_stdout();
    let bytes = target.finish()?;
    for lease in to.leases.drain(..) {
        lease.ack();
    }
    bar.finish_and_clear();
    count.tell();
    if stdout {
        return Ok(());
    }
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({
            "arena": args.arena,
            "channel": args.channel,
            "file": out::path_json(path),
            "batches": count.batches,
            "rows": count.rows,
            "received_before": count.again,
            "file_bytes": bytes,
        }))?;
    } else {
        out.line(format!(
            "{}: {} in {}, {}",
            path.display(),
            size::plural(count.rows, "row"),
            size::plural(count.batches, "batch"),
            size::bytes(bytes)
        ))?;
    }
    out.finish()
}
