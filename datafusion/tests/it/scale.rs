//! TPC-H at scale 1, by hand: times and memory of the queries over an arena, beside the engine's own tables, Parquet and Arrow
//! files on a tmpfs.
//!
//! ```text
//! cargo test --release -p faretra-datafusion --test it -- --ignored --nocapture scale
//! ```
//!
//! takes some minutes, 8 GB of memory and as much of `/dev/shm`, and prints it all. Every answer is compared with that of the
//! engine over its own tables. With `FARETRA_TPCH_DIR=DIR`, tables (Parquet) and answers (Arrow) stay in that directory, and
//! `python3 datafusion/tests/tpch_duckdb.py DIR` compares the answers with DuckDB's.
#![allow(clippy::print_stdout, reason = "processes tell their parent")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use datafusion::arrow::ipc::reader::FileReader;
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::execution::options::ArrowReadOptions;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use faretra::{Arena, GIB, Value};

use crate::tpch::{answer, in_memory, in_schema, queries, tables};

const ROUNDS: usize = 5;
const PARTITIONS: usize = 2;
const BATCH_ROWS: usize = 131_072;
const NAMES: [&str; 8] = ["nation", "region", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

/// What a child is told: the directory of the tables, the arena in it, and what it is to measure.
const DIR: &str = "FARETRA_TEST_TPCH";
const ROLE: &str = "FARETRA_TEST_TPCH_ROLE";
const MARK: &str = "@@";

fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(PARTITIONS))
}

async fn over_arena(arena: &Arena) -> SessionContext {
    let context = context();
    faretra_datafusion::register(&context, "tpch", arena).unwrap();
    in_schema(&context).await;
    context
}

/// The tables of the Arrow files, read into memory of this process.
fn over_memory(dir: &Path) -> SessionContext {
    let context = context();
    for name in NAMES {
        let file = FileReader::try_new(BufReader::new(File::open(file(dir, name, "arrow")).unwrap()), None).unwrap();
        let table = in_memory(file.map(Result::unwrap).collect(), PARTITIONS);
        context.register_table(name, Arc::new(table)).unwrap();
    }
    context
}

fn file(dir: &Path, name: &str, extension: &str) -> PathBuf {
    dir.join(format!("{name}.{extension}"))
}

fn write(path: &Path, batches: &[RecordBatch]) {
    let mut writer = FileWriter::try_new(File::create(path).unwrap(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}

/// Makes the tables in the arena, as Arrow files and as Parquet.
async fn make(dir: &Path, arena: &Arena) {
    let writer = arena.writer().unwrap();
    for (name, batches) in tables(1.0, BATCH_ROWS) {
        write(&file(dir, name, "arrow"), &batches);
        writer.publish(name, Value::batches(batches[0].schema(), batches)).unwrap();
    }
    let context = over_arena(arena).await;
    for name in NAMES {
        let to = file(dir, name, "parquet");
        let sql = format!("COPY (SELECT * FROM {name}) TO '{}' STORED AS PARQUET", to.display());
        context.sql(&sql).await.unwrap().collect().await.unwrap();
    }
}

async fn took(context: &SessionContext, sql: &str) -> f64 {
    let begun = Instant::now();
    context.sql(sql).await.expect(sql).collect().await.expect(sql);
    begun.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The queries over each of the sessions, which take turns.
async fn times(ways: &[(&str, SessionContext)], kept: Option<&Path>) {
    let titles: Vec<String> = ways.iter().map(|(way, _)| format!("{way:>10}")).collect();
    eprintln!("\nmilliseconds, medians of {ROUNDS}\nquery  {}  arena / memory", titles.join("  "));
    let mut sums = vec![0.0; ways.len()];
    for (number, sql) in queries().iter().enumerate() {
        let expected = answer(&ways[1].1, sql).await;
        for (way, context) in ways {
            assert_eq!(answer(context, sql).await, expected, "query {} over {way}", number + 1);
        }
        if let Some(dir) = kept {
            let batches = ways[0].1.sql(sql).await.unwrap().collect().await.unwrap();
            write(&dir.join(format!("answer-{:02}.arrow", number + 1)), &batches);
        }
        let mut all = vec![vec![]; ways.len()];
        for _ in 0..ROUNDS {
            for (times, (_, context)) in all.iter_mut().zip(ways) {
                times.push(took(context, sql).await);
            }
        }
        let all: Vec<f64> = all.into_iter().map(median).collect();
        let shown: Vec<String> = all.iter().map(|time| format!("{time:10.1}")).collect();
        eprintln!("{:5}  {}  {:5.2}", number + 1, shown.join("  "), all[0] / all[1]);
        sums.iter_mut().zip(&all).for_each(|(sum, time)| *sum += time);
    }
    let shown: Vec<String> = sums.iter().map(|time| format!("{time:10.1}")).collect();
    eprintln!("  sum  {}  {:5.3}", shown.join("  "), sums[0] / sums[1]);
}

/// A number of `/proc/self/status`, in bytes.
fn status(what: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Bytes of the arena's maps in this process: in memory, and this process's share of them.
fn mapped(arena: &Arena) -> (u64, u64) {
    let inode = std::fs::metadata(arena.path()).unwrap().ino().to_string();
    let (mut ours, mut rss, mut pss) = (false, 0, 0);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = || words.get(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) << 10;
        match words.first() {
            Some(first) if first.contains('-') && words.len() >= 5 => ours = words[4] == inode,
            Some(&"Rss:") if ours => rss += number(),
            Some(&"Pss:") if ours => pss += number(),
            _ => {}
        }
    }
    (rss, pss)
}

/// The most memory of its own that this process had while it did something.
async fn most_anonymous(work: impl Future<Output = ()>) -> u64 {
    let (most, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watcher = std::thread::spawn({
        let (most, ended) = (most.clone(), ended.clone());
        move || {
            while !ended.load(Ordering::Relaxed) {
                most.fetch_max(status("RssAnon"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    work.await;
    ended.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    most.load(Ordering::Relaxed)
}

/// Measures what it is told, if it is told to: the children of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_child() {
    let (Ok(dir), Ok(role)) = (std::env::var(DIR), std::env::var(ROLE)) else { return };
    let dir = Path::new(&dir);
    let arena = Arena::options().dir(dir).open("tpch").unwrap();
    let told = || std::io::stdin().lines().next();
    if role == "share" {
        let context = over_arena(&arena).await;
        let fields = arena.table("lineitem").unwrap().schema();
        let all: Vec<String> = fields.fields().iter().map(|field| format!("max({})", field.name())).collect();
        let sql = format!("SELECT {} FROM lineitem", all.join(", "));
        context.sql(&sql).await.unwrap().collect().await.unwrap();
        println!("\n{MARK}ready");
        told();
        let (rss, pss) = mapped(&arena);
        println!("\n{MARK}{rss} {pss} {}", status("RssAnon"));
        told();
        return;
    }
    let context = if role == "memory" { over_memory(dir) } else { over_arena(&arena).await };
    let before = status("RssAnon");
    let most = most_anonymous(async {
        for sql in queries() {
            context.sql(sql).await.unwrap().collect().await.unwrap();
        }
    });
    println!("\n{MARK}{before} {}", most.await);
}

/// A child, and what it says.
struct Measured {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Measured {
    fn start(dir: &Path, role: &str) -> Measured {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "scale::as_a_child", "--nocapture"])
            .env(DIR, dir)
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Measured { process, stdin, stdout: BufReader::new(stdout) }
    }

    fn says(&mut self) -> String {
        let mut lines = self.stdout.by_ref().lines().map(Result::unwrap);
        let line = lines.find(|line| line.starts_with(MARK)).expect("it says something");
        line[MARK.len()..].to_owned()
    }

    fn numbers(&mut self) -> Vec<u64> {
        self.says().split_whitespace().map(|n| n.parse().unwrap()).collect()
    }

    fn tell(&mut self) {
        self.stdin.write_all(b"go on\n").unwrap();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A directory that goes with the value, unless it is to be kept.
struct Place(PathBuf, bool);

impl Drop for Place {
    fn drop(&mut self) {
        if !self.1 {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and 16 GB: scale 1, prints times and memory"]
async fn times_and_memory_at_scale_1() {
    let kept = std::env::var("FARETRA_TPCH_DIR").ok().map(PathBuf::from);
    let here = kept.clone().unwrap_or_else(|| format!("/dev/shm/faretra-tpch-{}", std::process::id()).into());
    std::fs::create_dir_all(&here).unwrap();
    let place = Place(here, kept.is_some());
    let dir = place.0.as_path();
    let arena = Arena::options().dir(dir).limit(8 * GIB).keep(false).create("tpch").unwrap();
    make(dir, &arena).await;
    let bytes = |extension: &str| {
        NAMES.iter().map(|name| std::fs::metadata(file(dir, name, extension)).unwrap().len()).sum::<u64>()
    };
    eprintln!(
        "\nthe tables have {:.0} MiB in the arena, {:.0} MiB as Arrow, {:.0} MiB as Parquet",
        mib(arena.stats().unwrap().live),
        mib(bytes("arrow")),
        mib(bytes("parquet"))
    );

    // Memory first: children must not share it with what this process has.
    eprintln!("\nmemory of a process of its own, MiB    before the queries    at most in all 22");
    for role in ["arena", "memory"] {
        let numbers = Measured::start(dir, role).numbers();
        eprintln!("  tables in {role:8} {:38.0} {:20.0}", mib(numbers[0]), mib(numbers[1]));
    }
    let mut four: Vec<Measured> = (0..4).map(|_| Measured::start(dir, "share")).collect();
    four.iter_mut().for_each(|child| assert_eq!(child.says(), "ready"));
    four.iter_mut().for_each(Measured::tell);
    let numbers: Vec<Vec<u64>> = four.iter_mut().map(Measured::numbers).collect();
    drop(four);
    let sum = |at: usize| mib(numbers.iter().map(|n| n[at]).sum());
    let nbytes = mib(arena.get("lineitem").unwrap().nbytes());
    eprintln!(
        "\nfour processes have read lineitem, {nbytes:.0} MiB: of the arena they have {:.0} MiB mapped together, \
         their shares (PSS) are {:.0} MiB together; memory of their own: {:.0} MiB together",
        sum(0),
        sum(1),
        sum(2)
    );

    let (parquet, arrow) = (context(), context());
    for name in NAMES {
        let path = |extension| file(dir, name, extension).display().to_string();
        parquet.register_parquet(name, path("parquet"), ParquetReadOptions::default()).await.unwrap();
        arrow.register_arrow(name, path("arrow"), ArrowReadOptions::default()).await.unwrap();
    }
    let ways = [
        ("arena", over_arena(&arena).await),
        ("memory", over_memory(dir)),
        ("parquet", parquet),
        ("arrow file", arrow),
    ];
    times(&ways, kept.as_deref()).await;
}
