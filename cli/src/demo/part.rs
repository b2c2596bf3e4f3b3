//! The processes of the demo. Each is this same program, started again with a hidden verb; it
//! gets its orders on standard input and reports on standard output, a JSON object on a line.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use arrow_array::{Array, RecordBatch, RecordBatchReader};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use faretra::{Arena, Batch, Table};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getppid};
use serde_json::{Value, json};

use super::data::{self, BATCH, Checksum, PATIENCE, TABLE};
use crate::args::{Cli, DemoPart, Role};
use crate::failure::{Failure, Result};
use crate::open;

/// `faretra demo-part`
pub fn part(cli: &Cli, args: &DemoPart) -> Result<()> {
    // When the demo dies, however it does, its processes die.
    set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
    if getppid() != Pid::from_raw(args.parent) {
        return Err(Failure::new("the demo that started this process is gone"));
    }
    let work = || match args.role {
        Role::Produce => produce(&open::open(cli, &args.arena)?, args),
        Role::Read => read(&open::open(cli, &args.arena)?),
        Role::Victim => victim(&open::open(cli, &args.arena)?),
        Role::Consume => consume(&open::open(cli, &args.arena)?, args),
        Role::PipeOut => pipe_out(args),
        Role::PipeIn => pipe_in(args),
    };
    work()
}

/// Nanoseconds of the clock that all processes share.
fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(io::Error::from)?;
    Ok(Duration::from(time).as_nanos() as u64)
}

fn report(value: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()?;
    Ok(())
}

/// The order after this one: its word, and the row that the batch begins with.
fn order(lines: &mut impl BufRead) -> Result<Option<(String, u64)>> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let (word, first) = line.trim().split_once(' ').unwrap_or((line.trim(), "0"));
    let first = first.parse().map_err(|_| Failure::new(format!("what is `{line}`?")))?;
    Ok(Some((word.to_owned(), first)))
}

/// Makes the table batch by batch while it is published, so that it is never whole on the heap.
struct Making {
    schema: SchemaRef,
    rows: usize,
    at: usize,
    batches: usize,
    sum: Checksum,
    making: u64,
}

impl Iterator for &mut Making {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.batches {
            return None;
        }
        let mut make = || -> Result<RecordBatch> {
            let begin = now()?;
            let batch = data::batch((self.at * self.rows) as u64, self.rows)?;
            self.sum.add_batch(&batch)?;
            self.at += 1;
            self.making += now()? - begin;
            Ok(batch)
        };
        Some(make().map_err(|failure| ArrowError::ExternalError(format!("{failure:?}").into())))
    }
}

impl RecordBatchReader for &mut Making {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

fn produce(arena: &Arena, args: &DemoPart) -> Result<()> {
    let writer = arena.writer_timeout(PATIENCE)?;
    let mut making = Making {
        schema: data::schema(),
        rows: args.rows,
        at: 0,
        batches: args.batches,
        sum: Checksum::new(),
        making: 0,
    };
    let begin = now()?;
    let reader: Box<dyn RecordBatchReader + Send + '_> = Box::new(&mut making);
    writer.publish(TABLE, reader)?;
    let whole = now()? - begin;
    report(&json!({ "sum": making.sum.text(), "ns": whole.saturating_sub(making.making) }))?;

    let mut target: Vec<Vec<u8>> = Vec::new();
    let mut orders = io::stdin().lock();
    while let Some((word, first)) = order(&mut orders)? {
        match word.as_str() {
            "draft" => {
                let mut draft = writer.draft(&data::schema(), args.rows)?;
                let mut sum = Checksum::new();
                // In the order of the columns, as the checksum is.
                let time = draft.column_mut::<i64>("time")?;
                data::fill_time(time, first);
                sum.add(bytemuck::cast_slice(time));
                let sensor = draft.column_mut::<i32>("sensor")?;
                data::fill_sensor(sensor, first);
                sum.add(bytemuck::cast_slice(sensor));
                let value = draft.column_mut::<f64>("value")?;
                data::fill_value(value, first);
                sum.add(bytemuck::cast_slice(value));
                let level = draft.column_mut::<f32>("level")?;
                data::fill_level(level, first);
                sum.add(bytemuck::cast_slice(level));
                let begin = now()?;
                writer.publish(BATCH, draft)?;
                report(&json!({ "begin": begin, "sum": sum.text() }))?;
            }
            "publish" => {
                let (batch, sum) = made(first, args.rows)?;
                let begin = now()?;
                writer.publish(BATCH, &batch)?;
                report(&json!({ "begin": begin, "sum": sum }))?;
            }
            "memcpy" => {
                let (batch, _) = made(first, args.rows)?;
                let sources: Vec<_> = batch.columns().iter().map(Array::to_data).collect();
                if target.is_empty() {
                    // Written once before, so that the copy meets no fresh pages.
                    target = sources.iter().map(|s| s.buffers()[0].to_vec()).collect();
                }
                let begin = now()?;
                for (target, source) in target.iter_mut().zip(&sources) {
                    target.copy_from_slice(&source.buffers()[0]);
                }
                let end = now()?;
                std::hint::black_box(&target);
                report(&json!({ "ns": end - begin }))?;
            }
            "remove" => {
                writer.remove(TABLE)?;
                writer.remove(BATCH)?;
                report(&json!({}))?;
            }
            other => return Err(Failure::new(format!("no such order: {other}"))),
        }
    }
    Ok(())
}

fn made(first: u64, rows: usize) -> Result<(RecordBatch, String)> {
    let batch = data::batch(first, rows)?;
    let mut sum = Checksum::new();
    sum.add_batch(&batch)?;
    Ok((batch, sum.text()))
}

/// The parts of this process's memory that are the arena, mapped without the right to write.
fn read_only(arena: &Arena) -> Result<Vec<(usize, usize)>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let path = arena.path().to_string_lossy().into_owned();
    let mut ranges = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        // "(deleted)" may follow: the arena's file can be unlinked while it is used.
        if !line.contains(&path) || rights.as_bytes().get(1) == Some(&b'w') {
            continue;
        }
        if let Some((begin, end)) = range.split_once('-')
            && let (Ok(begin), Ok(end)) = (usize::from_str_radix(begin, 16), usize::from_str_radix(end, 16))
        {
            ranges.push((begin, end));
        }
    }
    Ok(ranges)
}

fn read(arena: &Arena) -> Result<()> {
    let begin = now()?;
    let table: Table = arena.table(TABLE)?;
    let got = now()? - begin;
    let ranges = read_only(arena)?;
    let mut sum = Checksum::new();
    let (mut buffers, mut inside) = (0, 0);
    for i in 0..table.num_batches() {
        let batch = table.batch(i)?;
        for (at, length) in data::extents(&batch) {
            buffers += 1;
            let within = |(begin, end): &(usize, usize)| *begin <= at && at + length <= *end;
            inside += u32::from(ranges.iter().any(within));
        }
        sum.add_batch(&batch)?;
    }
    report(&json!({
        "sum": sum.text(),
        "rows": table.num_rows(),
        "get": got,
        "ns": now()? - begin,
        "buffers": buffers,
        "inside": inside,
    }))
}

fn victim(arena: &Arena) -> Result<()> {
    let table: Table = arena.table(TABLE)?;
    let mut sum = Checksum::new();
    for i in 0..table.num_batches().div_ceil(2) {
        sum.add_batch(&*table.batch(i)?)?;
    }
    report(&json!({ "half": sum.text() }))?;
    // And on, until it is killed in the middle of it; the demo kills its processes at the end.
    loop {
        for i in 0..table.num_batches() {
            sum.add_batch(&*table.batch(i)?)?;
        }
        std::hint::black_box(sum);
    }
}

fn consume(arena: &Arena, args: &DemoPart) -> Result<()> {
    let mut version = 0;
    report(&json!({ "ready": true }))?;
    for _ in 0..2 * args.batches {
        let object = arena.wait_for_timeout(BATCH, version, PATIENCE)?;
        version = object.version();
        let batch: Batch = object.try_into()?;
        // With every column built, so that it compares with what comes out of a pipe.
        let columns = RecordBatch::clone(&batch);
        let seen = now()?;
        let mut sum = Checksum::new();
        sum.add_batch(&columns)?;
        report(&json!({ "seen": seen, "sum": sum.text() }))?;
    }
    Ok(())
}

/// What goes before a batch in the pipe: when its sending began.
const STAMP: usize = 8;

fn pipe_out(args: &DemoPart) -> Result<()> {
    let mut pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // As large as an ordinary user may make it, to give the pipe its best. Not needed.
    let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
    let mut orders = io::stdin().lock();
    while let Some((_, first)) = order(&mut orders)? {
        let (batch, sum) = made(first, args.rows)?;
        pipe.write_all(sum.as_bytes())?;
        pipe.write_all(&now()?.to_le_bytes())?;
        let mut stream = StreamWriter::try_new(&mut pipe, &batch.schema())?;
        stream.write(&batch)?;
        stream.finish()?;
    }
    Ok(())
}

fn pipe_in(args: &DemoPart) -> Result<()> {
    let mut pipe = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    for _ in 0..args.batches {
        let (mut sent, mut stamp) = ([0; 16], [0; STAMP]);
        pipe.read_exact(&mut sent)?;
        pipe.read_exact(&mut stamp)?;
        let mut stream = StreamReader::try_new(&mut pipe, None)?;
        let batch = stream.next().ok_or_else(|| Failure::new("the pipe ended before the batch"))??;
        let seen = now()?;
        // The end of the stream.
        if stream.next().is_some() {
            return Err(Failure::new("the pipe holds more than one batch"));
        }
        let mut sum = Checksum::new();
        sum.add_batch(&batch)?;
        let equal = sum.text().as_bytes() == sent;
        let begin = u64::from_le_bytes(stamp);
        report(&json!({ "begin": begin, "seen": seen, "equal": equal }))?;
    }
    Ok(())
}
