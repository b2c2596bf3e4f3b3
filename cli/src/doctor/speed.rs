//! What this machine takes for what arenas are made of: copies, fresh pages, sleeps; and for a few of the library's calls
//! beside them. All of it ends within two seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::{Float64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use faretra::sync::Reset;
use faretra::{Arena, KIB, MIB};
use memmap2::{Advice, MmapOptions};
use nix::fcntl::{FallocateFlags, fallocate};
use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;
use serde_json::{Value, json};

use crate::failure::Result;
use crate::{signal, size};

/// What is copied.
const COPIED: u64 = 64 * MIB;
/// With less there is nothing to be learned.
const LEAST: u64 = MIB;
/// One measurement takes no longer, but for the step that it is in.
const EACH: Duration = Duration::from_millis(200);
const PAGE: u64 = 4 * KIB;

/// One line of the table.
#[derive(Debug)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// As JSON calls it.
    pub key: &'static str,
    /// How long it took.
    pub time: Duration,
    /// That in other units.
    pub rate: String,
    /// How many times what it is compared with, and what that is.
    pub ratio: Option<(f64, &'static str)>,
    /// What the README says of the same.
    pub readme: &'static str,
}

impl Figure {
    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "figure": self.key,
            "what": self.what,
            "nanoseconds": self.time.as_nanos() as u64,
            "rate": self.rate,
            "ratio": self.ratio.map(|(ratio, _)| (ratio * 100.0).round() / 100.0),
            "beside": self.ratio.map(|(_, beside)| beside),
            "readme": self.readme,
        })
    }
}

/// Measures in an arena that is there for it. `room`: bytes that may be used, all told.
pub fn measure(arena: &Arena, dir: &Path, room: u64) -> Result<Vec<Figure>> {
    let bytes = COPIED.min(room / 8) / PAGE * PAGE;
    if bytes < LEAST {
        return Ok(vec![]);
    }
    let shown = size::bytes(bytes);
    let told = |readme: &'static str| if bytes == COPIED { readme } else { "" };
    let mut figures = Vec::new();
    let batch = batch(bytes / 8);
    let copy = {
        let from = vec![1_u8; bytes as usize];
        let mut to = vec![2_u8; bytes as usize];
        best(8, || {
            to.copy_from_slice(&from);
            std::hint::black_box(&to);
            Ok(())
        })?
    };
    figures.push(Figure {
        what: format!("copy of {shown} in touched memory"),
        key: "memcpy",
        time: copy,
        rate: per_second(bytes, copy),
        ratio: None,
        readme: told("3.2 ms"),
    });
    signal::check()?;
    if let Some(fresh) = fresh_pages(dir, bytes) {
        figures.push(Figure {
            what: format!("{shown} of fresh pages of the tmpfs"),
            key: "fresh_pages",
            time: fresh,
            rate: format!("{:.2} µs a page", fresh.as_secs_f64() * 1e6 / (bytes / PAGE) as f64),
            ratio: Some((over(fresh, copy), "copies")),
            readme: "",
        });
    }
    signal::check()?;
    let writer = arena.writer()?;
    let first = best(1, || {
        writer.publish("fresh", &batch)?;
        Ok(())
    })?;
    figures.push(Figure {
        what: format!("publish {shown}, fresh memory"),
        key: "publish_fresh",
        time: first,
        rate: per_second(bytes, first),
        ratio: Some((over(first, copy), "copies")),
        readme: "",
    });
    let warm = best(6, || {
        writer.remove("fresh")?;
        writer.remove("warm")?;
        writer.publish("warm", &batch)?;
        Ok(())
    })?;
    figures.push(Figure {
        what: format!("publish {shown}, memory used before"),
        key: "publish_warm",
        time: warm,
        rate: per_second(bytes, warm),
        ratio: Some((over(warm, copy), "copies")),
        readme: told("0.81 to 0.87 copies"),
    });
    writer.remove("warm")?;
    signal::check()?;
    writer.publish("small", self::batch(KIB))?;
    const GETS: u32 = 1000;
    let gets = best(8, || {
        for _ in 0..GETS {
            let batch = arena.batch("small")?;
            std::hint::black_box(batch.column::<f64>("x")?[0]);
        }
        Ok(())
    })?;
    figures.push(Figure {
        what: "get, one column, drop".to_owned(),
        key: "get",
        time: gets / GETS,
        rate: String::new(),
        ratio: None,
        readme: "230 ns",
    });
    writer.remove("small")?;
    signal::check()?;
    let bare = futex_there_and_back();
    if let Some(bare) = bare {
        figures.push(Figure {
            what: "bare futex, there and back".to_owned(),
            key: "futex",
            time: bare,
            rate: String::new(),
            ratio: None,
            readme: "4.1 µs",
        });
    }
    if let Some(event) = event_there_and_back(arena)? {
        figures.push(Figure {
            what: "event, there and back".to_owned(),
            key: "event",
            time: event,
            rate: String::new(),
            ratio: bare.map(|bare| (over(event, bare), "bare futexes")),
            readme: "5.3 µs, 1.3 bare futexes",
        });
    }
    Ok(figures)
}

fn over(time: Duration, unit: Duration) -> f64 {
    time.as_secs_f64() / unit.as_secs_f64().max(1e-9)
}

fn per_second(bytes: u64, time: Duration) -> String {
    format!("{:.1} GB/s", bytes as f64 / time.as_secs_f64().max(1e-9) / 1e9)
}

/// The shortest of up to so many times.
fn best(times: u32, mut step: impl FnMut() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    let mut shortest = Duration::MAX;
    for _ in 0..times {
        let start = Instant::now();
        step()?;
        shortest = shortest.min(start.elapsed());
        if began.elapsed() > EACH {
            break;
        }
    }
    Ok(shortest)
}

/// How long a round takes: the median of averages of a hundred in a row; `None`: they do not work, or take too long.
fn rounds(round: impl Fn() -> bool) -> Option<Duration> {
    const TOGETHER: u32 = 100;
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < EACH {
        let start = Instant::now();
        let mut all = (0..TOGETHER).map(|_| began.elapsed() < 5 * EACH && round());
        if !all.all(|done| done) {
            break;
        }
        times.push(start.elapsed() / TOGETHER);
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn batch(rows: u64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("x", DataType::Float64, false)]);
    let column = Float64Array::from_iter_values((0..rows).map(|row| row as f64));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).expect("one column of this type")
}

/// How long so many bytes of new pages take, as arenas take them, by one thread.
fn fresh_pages(dir: &Path, bytes: u64) -> Option<Duration> {
    let once = || {
        let file = tempfile::tempfile_in(dir).ok()?;
        file.set_len(bytes).ok()?;
        let map = MmapOptions::new().len(bytes as usize).map_raw(&file).ok()?;
        let start = Instant::now();
        let done = map.advise(Advice::PopulateWrite).is_ok()
            || fallocate(&file, FallocateFlags::empty(), 0, bytes as i64).is_ok();
        done.then(|| start.elapsed())
    };
    let (one, other) = (once()?, once()?);
    Some(one.min(other))
}

/// How long it takes two threads to wake each other once each.
fn futex_there_and_back() -> Option<Duration> {
    let word = AtomicU32::new(0);
    let stop = AtomicBool::new(false);
    // A wake-up that was lost is made good by the end of the sleep.
    let slice = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let turn = |mine: u32| {
        while word.load(Ordering::SeqCst) != mine {
            if stop.load(Ordering::SeqCst) {
                return false;
            }
            let _ = futex::wait(&word, Flags::empty(), 1 - mine, Some(&slice));
        }
        word.store(1 - mine, Ordering::SeqCst);
        let _ = futex::wake(&word, Flags::empty(), 1);
        true
    };
    thread::scope(|scope| {
        let other = thread::Builder::new().spawn_scoped(scope, || while turn(1) {});
        let time = rounds(|| other.is_ok() && turn(0));
        stop.store(true, Ordering::SeqCst);
        time
    })
}

/// How long it takes two threads to set events for each other, each with a handle of its own.
fn event_there_and_back(arena: &Arena) -> Result<Option<Duration>> {
    const PATIENCE: Duration = Duration::from_millis(100);
    let other = arena.reopen()?;
    let pair = |arena: &Arena| {
        Ok::<_, faretra::Error>((arena.event("there", Reset::Auto)?, arena.event("back", Reset::Auto)?))
    };
    let ((there, back), (heard, answer)) = (pair(arena)?, pair(&other)?);
    let stop = AtomicBool::new(false);
    let measured = thread::scope(|scope| {
        let echo = thread::Builder::new().spawn_scoped(scope, || {
            while !stop.load(Ordering::SeqCst) {
                if heard.wait_timeout(PATIENCE).is_ok() && answer.set().is_err() {
                    break;
                }
            }
        });
        let time = rounds(|| echo.is_ok() && there.set().is_ok() && back.wait_timeout(PATIENCE).is_ok());
        stop.store(true, Ordering::SeqCst);
        let _ = there.set();
        time
    });
    Ok(measured)
}
