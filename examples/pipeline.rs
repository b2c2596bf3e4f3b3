//! A pipeline of three stages in four processes: one reads a file, two work side by side, this one adds up.
//!
//! ```text
//! cargo run --example pipeline
//! ```
//!
//! On the way one of the workers is killed with `kill -9` while it has a batch, and another one takes its place.
//! The batch goes to whoever asks next, so that the totals are those of the file. Ctrl-C ends all of them.
//!
//! The flights are those of `../shared/data/flights-3m.parquet` if that is there, made up if not.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faretra::arrow::arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchIterator, RecordBatchReader, UInt64Array,
};
use faretra::arrow::arrow_schema::{ArrowError, DataType, Field, Schema};
use faretra::{Arena, MIB, RecvError};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A flight that leaves this many minutes late is late.
const LATE: i64 = 15;
/// Rows of a batch.
const ROWS: usize = 1 << 15;
/// What a channel holds at most: who is faster waits for who is slower.
const ITEMS: usize = 8;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", arena] => read(arena),
        ["work", arena] => work(arena),
        _ => pipeline(),
    }
}

/// The first stage: numbers the rows of the file, and sends them on, as it reads them.
fn read(arena: &str) -> Result<()> {
    die_with_parent()?;
    let sender = Arena::open(arena)?.writer()?.sender("flights", ITEMS)?;
    let mut row = 0;
    for batch in flights()? {
        let batch = batch?;
        let numbers = row..row + batch.num_rows() as u64;
        row = numbers.end;
        let batch = widened(&batch, "row", Arc::new(UInt64Array::from_iter_values(numbers)))?;
        sender.send(batch)?;
    }
    sender.close()?;
    Ok(())
}

/// The middle stage: says of each flight whether it was late. As many processes as one likes.
fn work(arena: &str) -> Result<()> {
    die_with_parent()?;
    let arena = Arena::open(arena)?;
    let receiver = arena.receiver_timeout("flights", Duration::from_secs(30))?;
    let sender = arena.writer()?.sender("judged", ITEMS)?;
    loop {
        let lease = match receiver.recv() {
            Ok(lease) => lease,
            // Closed, and nobody has anything of it any more.
            Err(RecvError::Closed { clean: true }) => return Ok(()),
            Err(other) => return Err(other.into()),
        };
        let judged = judge(lease.batch()?.record_batch())?;
        // Stands for an hour of hard work.
        std::thread::sleep(Duration::from_millis(10));
        // Columns that were received are shared, not copied: only the new one is.
        sender.send(judged)?;
        // Killed before this line, somebody does the batch again: that is why its rows have numbers. Who only
        // passes on what it received says `lease.send(&sender)`, which does both at once.
        lease.ack();
    }
}

fn judge(batch: &RecordBatch) -> Result<RecordBatch> {
    let late: BooleanArray = delays(batch)?.iter().map(|delay| Some(delay? >= LATE)).collect();
    widened(batch, "late", Arc::new(late))
}

/// The batch with one more column.
fn widened(batch: &RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch> {
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
    let columns = [batch.columns(), &[column]].concat();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// What is added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    rows: usize,
    late: usize,
    minutes: i64,
}

impl Totals {
    fn add(&mut self, delay: &Int64Array, late: usize) {
        self.rows += delay.len();
        self.late += late;
        self.minutes += delay.iter().flatten().sum::<i64>();
    }
}

/// The last stage, which also starts the others, and kills one.
fn pipeline() -> Result<()> {
    let begun = Instant::now();
    let name = format!("pipeline-{}", std::process::id());
    let processes = Processes::default();
    processes.end_at_signals(&name)?;
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    // Of the next channel nobody knows who sends last: this process closes it when the workers have ended.
    let judged = arena.writer()?.sender("judged", ITEMS)?;
    let receiver = arena.receiver("judged")?;
    let victim = processes.start("work", &name)?;
    let other = processes.start("work", &name)?;
    let reader = processes.start("read", &name)?;
    println!("process {reader} reads, {victim} and {other} work, {} adds up", std::process::id());

    let mut totals = Totals::default();
    let (mut seen, mut twice) = (HashSet::new(), 0);
    loop {
        let lease = match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok(lease) => lease,
            Err(RecvError::TimedOut) => {
                if processes.all_done()? {
                    judged.close()?;
                }
                continue;
            }
            Err(RecvError::Closed { clean: true }) => break,
            Err(other) => return Err(other.into()),
        };
        let batch = lease.batch()?;
        // A batch that somebody did again was added up already.
        if seen.insert(batch.column::<u64>("row")?[0]) {
            let late = batch.column_by_name("late").and_then(|c| c.as_any().downcast_ref::<BooleanArray>());
            totals.add(delays(&batch)?, late.ok_or("`late` is no boolean")?.true_count());
        } else {
            twice += 1;
        }
        lease.ack();
        if seen.len() == 10 && processes.kill_at_work(&arena, victim)? {
            let instead = processes.start("work", &name)?;
            println!("after 10 batches: kill -9 of {victim}, which had one more; {instead} takes its place");
        }
    }

    let mut expected = Totals::default();
    for batch in flights()? {
        let batch = batch?;
        let delay = delays(&batch)?;
        expected.add(delay, delay.iter().flatten().filter(|d| *d >= LATE).count());
    }
    println!("{} batches arrived, {twice} of them twice, in {:.1} s", seen.len(), begun.elapsed().as_secs_f64());
    println!("received: {totals:?}");
    println!("the file: {expected:?}");
    if totals != expected {
        return Err("what was received is not what is in the file".into());
    }
    match arena.verify()?.first() {
        Some(broken) => Err(broken.to_string().into()),
        None => Ok(()),
    }
}

fn delays(batch: &RecordBatch) -> Result<&Int64Array> {
    let delay = batch.column_by_name("delay").and_then(|c| c.as_any().downcast_ref::<Int64Array>());
    Ok(delay.ok_or("`delay` is no int64")?)
}

/// What is read, a batch at a time.
fn flights() -> Result<Box<dyn RecordBatchReader>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/flights-3m.parquet");
    if let Ok(file) = File::open(&path) {
        return Ok(Box::new(ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(ROWS).build()?));
    }
    let schema = Arc::new(Schema::new(vec![Field::new("delay", DataType::Int64, true)]));
    let made_up = {
        let schema = schema.clone();
        move |batch: i64| {
            let rows = batch * ROWS as i64..(batch + 1) * ROWS as i64;
            let delay = Int64Array::from_iter_values(rows.map(|i| i.wrapping_mul(2_654_435_761) % 240 - 60));
            RecordBatch::try_new(schema.clone(), vec![Arc::new(delay)])
        }
    };
    let batches: Vec<Result<RecordBatch, ArrowError>> = (0..92).map(made_up).collect();
    Ok(Box::new(RecordBatchIterator::new(batches, schema)))
}

/// The other processes, which do not outlive this one.
#[derive(Clone, Default)]
struct Processes(Arc<Mutex<Vec<Child>>>);

impl Processes {
    fn all(&self) -> MutexGuard<'_, Vec<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, stage: &str, arena: &str) -> Result<u32> {
        let mut all = self.all();
        let child = Command::new(std::env::current_exe()?).args([stage, arena]).spawn()?;
        let pid = child.id();
        all.push(child);
        Ok(pid)
    }

    /// Whether all have ended; an error if one failed.
    fn all_done(&self) -> Result<bool> {
        let mut done = true;
        for child in self.all().iter_mut() {
            match child.try_wait()? {
                Some(status) if !status.success() => return Err(format!("a process ended with {status}").into()),
                status => done &= status.is_some(),
            }
        }
        Ok(done)
    }

    /// Kills one while it has a batch. `false`: it was killed before.
    fn kill_at_work(&self, arena: &Arena, pid: u32) -> Result<bool> {
        let mut all = self.all();
        let Some(at) = all.iter().position(|child| child.id() == pid) else { return Ok(false) };
        let process = Pid::from_raw(i32::try_from(pid)?);
        for attempt in 0.. {
            // A process that is stopped does not let go of a batch while we look, and holds up nobody.
            kill(process, Signal::SIGSTOP)?;
            let who = arena.who()?;
            let it = who.iter().find(|holder| holder.pid == pid).ok_or("the worker ended too early")?;
            if it.stopped && it.holds.iter().any(|what| what.contains("a lease of channel `flights`")) {
                break;
            }
            kill(process, Signal::SIGCONT)?;
            if attempt == 10_000 {
                return Err("the worker never has a batch".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        all[at].kill()?;
        all.remove(at).wait()?;
        Ok(true)
    }

    /// At Ctrl-C everybody ends, and nothing is left of the arena.
    fn end_at_signals(&self, arena: &str) -> Result<()> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        // Here, and in every thread and process that is started from here on.
        signals.thread_block()?;
        let (processes, arena) = (self.clone(), arena.to_owned());
        std::thread::spawn(move || {
            let Ok(signal) = signals.wait() else { return };
            // Nobody is started any more.
            let mut all = processes.all();
            all.iter_mut().for_each(|child| drop(child.kill().and_then(|()| child.wait())));
            // It may not be there yet.
            let _ = Arena::options().remove(&arena);
            std::process::exit(128 + signal as i32);
        });
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // Only after an error is there anybody left.
        self.all().iter_mut().for_each(|child| drop(child.kill().and_then(|()| child.wait())));
    }
}

/// Also if the one that started us is killed.
fn die_with_parent() -> Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}
