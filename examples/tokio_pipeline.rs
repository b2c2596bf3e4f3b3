//! A pipeline of three processes on tokio: a file is read, parsed, and summed up into a Parquet file. The channels between them are
//! bounded, so that a slow stage stops the ones before it. The middle stage is killed, and replaced.
//!
//! ```text
//! cargo run --features async --example tokio_pipeline
//! ```
//!
//! ```prints
//! nothing is summed up yet, and so 9 of 60 pieces were sent: `parsed` holds 4 of 4, `text` holds 4 of 4, and 1 is being parsed
//! the parser is killed with 1 piece in its hands
//! the channel tells of it after 4 pieces: another parser is started
//! 60 pieces of text, 60 batches, of which 0 came twice
//! 9 pieces fit between the first stage and the last one, and there were never more than ..
//! weather.parquet has .. rows, and all of them are right
//! ```
//!
//! * `text` has pieces of the file as bytes, `parsed` has batches. An item that was received is acknowledged when what was made of
//!   it was sent on: if its receiver dies before that, the next one gets it.
//! * Who waits for room, or for an item, is a future: it keeps no thread.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_csv::ReaderBuilder;
use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::{Float64Type, UInt64Type};
use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use faretra::arrow::arrow_schema::{DataType, Field, Schema, SchemaRef};
use faretra::channel::WhenDeserted;
use faretra::{Arena, ChannelInfo, MIB, RecvError};
use nix::sys::signal::Signal;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::io::AsyncReadExt;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const LINES: u64 = 300_000;
const PIECES: usize = 60;
/// What a channel holds at most.
const ITEMS: usize = 4;
/// What fits between the first stage and the last one: two channels, and the parser's hands.
const ROOM: u64 = 2 * ITEMS as u64 + 1;
/// Nothing takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", arena, file] => run(read(arena, file)),
        ["parse", arena] => run(parse(arena)),
        [] => pipeline(),
        _ => Err("run it without arguments".into()),
    }
}

/// One thread is enough for a process that waits most of its time.
fn run<T>(stage: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(stage)
}

/// The first stage: sends the file in pieces that end with a line.
async fn read(arena: &str, file: &str) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut sender = Arena::open(arena)?.writer()?.sender("text", ITEMS)?;
    // While there is no parser, it waits for the next one.
    sender.set_when_deserted(WhenDeserted::Block);
    let mut file = tokio::fs::File::open(file).await?;
    let most = file.metadata().await?.len().div_ceil(PIECES as u64);
    let mut left = Vec::new();
    loop {
        let mut piece = std::mem::take(&mut left);
        (&mut file).take(most).read_to_end(&mut piece).await?;
        if piece.is_empty() {
            break;
        }
        if let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') {
            left = piece.split_off(end + 1);
        }
        // Here it waits while the channel is full.
        sender.send_async(piece).await?;
    }
    Ok(sender.close()?)
}

/// The middle stage: makes batches of text.
async fn parse(arena: &str) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let arena = Arena::open(arena)?;
    let receiver = arena.receiver_timeout("text", DEADLINE)?;
    let sender = arena.writer()?.sender("parsed", ITEMS)?;
    loop {
        let lease = match receiver.recv_async().await {
            Ok(lease) => lease,
            // Closed, and nobody has anything of it any more.
            Err(RecvError::Closed { clean: true }) => return Ok(sender.close()?),
            Err(other) => return Err(other.into()),
        };
        // The bytes are read where they lie.
        let lines = ReaderBuilder::new(schema()).with_batch_size(LINES as usize).build(lease.bytes()?)?;
        for batch in lines {
            sender.send_async(batch?).await?;
        }
        lease.ack();
    }
}

fn schema() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, false);
    let columns = [field("line", DataType::UInt64), field("city", DataType::Utf8), field("degrees", DataType::Float64)];
    Arc::new(Schema::new(columns.to_vec()))
}

/// The last stage, which starts the others.
fn pipeline() -> Result<()> {
    let name = format!("tokio-pipeline-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let files = tempfile::tempdir()?;
    let (text, table) = (files.path().join("weather.csv"), files.path().join("weather.parquet"));
    write_text(&text)?;
    let mut reader = Stage::start(&["read", &name, &text.to_string_lossy()])?;
    let parser = Stage::start(&["parse", &name])?;
    let sums = run(sum_up(&arena, &name, parser))?;
    sums.write(&table)?;
    check(&table)?;
    reader.ended()?;
    arena.recover()?;
    match arena.verify()?.first() {
        Some(broken) => Err(broken.to_string().into()),
        None => Ok(()),
    }
}

async fn sum_up(arena: &Arena, name: &str, mut parser: Stage) -> Result<Sums> {
    let receiver = arena.receiver_timeout("parsed", DEADLINE)?;
    // This stage is slow, so the others get as far as there is room, and then wait: they are not told to, they just do. A piece more
    // than there is room for is in the parser's hands.
    let begun = Instant::now();
    let (text, parsed) = loop {
        if let (Ok(text), Ok(parsed)) = (channel(arena, "text"), channel(arena, "parsed"))
            && (text.sent, text.depth, text.leased, parsed.depth) == (ROOM, ROOM / 2, 1, ROOM / 2)
        {
            break (text, parsed);
        }
        if begun.elapsed() > DEADLINE {
            return Err(format!("the others do not get so far: {:?}", arena.channels()?).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!(
        "nothing is summed up yet, and so {} of {PIECES} pieces were sent: `parsed` holds {} of {ITEMS}, `text` holds {} of {ITEMS}, \
         and {} is being parsed",
        text.sent, parsed.depth, text.depth, text.leased
    );
    parser.kill()?;
    println!("the parser is killed with {} piece in its hands", text.leased);

    let mut sums = Sums::default();
    let (mut seen, mut twice, mut most) = (HashSet::new(), 0, 0);
    loop {
        let lease = match receiver.recv_async().await {
            Ok(lease) => lease,
            Err(RecvError::Closed { clean: true }) => break,
            // What it had sent was received; the piece that it had goes to the next one.
            Err(RecvError::Closed { clean: false }) => {
                println!("the channel tells of it after {} pieces: another parser is started", seen.len());
                parser = Stage::start(&["parse", name])?;
                // There has to be a sender again before one can be waited for.
                while channel(arena, "parsed")?.senders.is_empty() {
                    parser.is_running()?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        let batch = lease.batch()?;
        // A stage that dies between sending and acknowledging leaves its piece to be done twice: lines have numbers.
        match seen.insert(batch.column::<u64>("line")?[0]) {
            true => sums.add(&batch)?,
            false => twice += 1,
        }
        lease.ack();
        most = most.max(channel(arena, "text")?.sent - seen.len() as u64);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    parser.ended()?;
    let pieces = channel(arena, "text")?.sent;
    println!("{pieces} pieces of text, {} batches, of which {twice} came twice", seen.len());
    println!("{ROOM} pieces fit between the first stage and the last one, and there were never more than {most}");
    if most > ROOM {
        return Err("the first stage ran away".into());
    }
    Ok(sums)
}

/// What the arena tells of a channel.
fn channel(arena: &Arena, name: &str) -> Result<ChannelInfo> {
    Ok(arena.channels()?.into_iter().find(|info| info.name == name).ok_or("there is no such channel")?)
}

/// For each city: number of lines, sum of degrees.
#[derive(Debug, Default, PartialEq)]
struct Sums(BTreeMap<String, (u64, f64)>);

impl Sums {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (city, degrees) = (batch.column(1).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
        for (city, degrees) in city.iter().zip(degrees.values()) {
            let city = city.unwrap_or_default();
            if !self.0.contains_key(city) {
                self.0.insert(city.to_owned(), (0, 0.0));
            }
            let (lines, sum) = self.0.get_mut(city).ok_or("it is there")?;
            (*lines, *sum) = (*lines + 1, *sum + degrees);
        }
        Ok(())
    }

    fn write(&self, file: &Path) -> Result<()> {
        let city: ArrayRef = Arc::new(StringArray::from_iter_values(self.0.keys()));
        let lines: ArrayRef = Arc::new(UInt64Array::from_iter_values(self.0.values().map(|(lines, _)| *lines)));
        let sum: ArrayRef = Arc::new(Float64Array::from_iter_values(self.0.values().map(|(_, sum)| *sum)));
        let batch = RecordBatch::try_from_iter([("city", city), ("lines", lines), ("sum", sum)])?;
        let mut writer = ArrowWriter::try_new(File::create(file)?, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        Ok(())
    }
}

/// The city and degrees of a line. Sums of quarters are exact.
fn line(number: u64) -> (String, f64) {
    (format!("city {}", number * 7 % 41), (number % 160) as f64 / 4.0)
}

fn write_text(file: &Path) -> Result<()> {
    let mut text = BufWriter::new(File::create(file)?);
    for number in 0..LINES {
        let (city, degrees) = line(number);
        writeln!(text, "{number},{city},{degrees}")?;
    }
    Ok(text.flush()?)
}

/// Compares the Parquet file with what was in the text.
fn check(file: &Path) -> Result<()> {
    let mut expected = Sums::default();
    for number in 0..LINES {
        let (city, degrees) = line(number);
        let (lines, sum) = expected.0.entry(city).or_default();
        (*lines, *sum) = (*lines + 1, *sum + degrees);
    }
    let mut found = Sums::default();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
        let batch = batch?;
        let (lines, sum) =
            (batch.column(1).as_primitive::<UInt64Type>(), batch.column(2).as_primitive::<Float64Type>());
        for (at, city) in batch.column(0).as_string::<i32>().iter().enumerate() {
            found.0.insert(city.unwrap_or_default().to_owned(), (lines.value(at), sum.value(at)));
        }
    }
    if found != expected {
        return Err(format!("{found:?} is not {expected:?}").into());
    }
    println!("weather.parquet has {} rows, and all of them are right", found.0.len());
    Ok(())
}

/// A process of this program, which ends with this one.
struct Stage(Child);

impl Stage {
    fn start(words: &[&str]) -> Result<Stage> {
        Ok(Stage(Command::new(std::env::current_exe()?).args(words).spawn()?))
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    fn is_running(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => Err(format!("a stage ended with {status}").into()),
            None => Ok(()),
        }
    }

    fn ended(&mut self) -> Result<()> {
        match self.0.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("a stage ended with {status}").into()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It has ended, or is not wanted any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
