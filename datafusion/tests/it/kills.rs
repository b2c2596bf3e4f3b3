//! Shows that a process that is killed while a statement publishes leaves the old table or the new one, whole, and nothing else.
#![allow(clippy::print_stdout, reason = "the child tells its parent")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, Error};

use crate::support::{arena, session};

/// What the child is told: the arena, and which statement it runs.
const ARENA: &str = "FARETRA_TEST_ARENA";
const WHAT: &str = "FARETRA_TEST_STATEMENT";
/// What the child writes before each run of the statement.
const MARK: &str = "@@run ";

/// The statements, and the table that each publishes.
const STATEMENTS: [(&str, &str); 4] =
    [("insert", "grown"), ("overwrite", "replaced"), ("copy", "copied"), ("create", "made")];

/// How many children are killed. Together they take less than ten seconds.
const ROUNDS: usize = 40;
/// A child whose parent is gone ends by itself.
const LONGEST: Duration = Duration::from_secs(60);

/// Rows that the `n`th run publishes: more than one batch has, so that several drafts become one table.
fn rows_of(n: i64) -> i64 {
    140_000 + n % 5 * 30_000
}

/// The `n`th run of a statement. All of its rows have the number `n`.
fn run(what: &str, n: i64) -> Vec<String> {
    let rows = format!("SELECT {n} AS n, value FROM generate_series(1, {})", rows_of(n));
    match what {
        "insert" => vec![format!("INSERT INTO air.grown {rows}")],
        "overwrite" => vec![format!("INSERT OVERWRITE air.replaced {rows}")],
        "copy" => vec![format!("COPY ({rows}) TO 'faretra://air/copied' STORED AS FARETRA")],
        _ => vec![format!("CREATE TABLE air.made AS {rows}"), "DROP TABLE air.made".to_owned()],
    }
}

/// Runs a statement again and again, if it is told to: the child of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_writer() {
    let (Ok(name), Ok(what)) = (std::env::var(ARENA), std::env::var(WHAT)) else { return };
    let (context, _) = session(&Arena::open(&name).expect("the parent's"));
    let begun = Instant::now();
    for n in 1.. {
        println!("\n{MARK}{n}");
        for sql in run(&what, n) {
            context.sql(&sql).await.expect(&sql).collect().await.expect(&sql);
        }
        assert!(begun.elapsed() < LONGEST, "the parent is gone");
    }
}

/// The child, and the lines that it writes.
fn writer(arena: &Arena, what: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "kills::as_a_writer", "--nocapture"])
        .env(ARENA, arena.name())
        .env(WHAT, what)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    (child, lines.map_while(Result::ok).filter(|line| line.starts_with(MARK)))
}

/// How many runs a table has, each of them whole; `None`: there is no such table.
fn whole_runs(arena: &Arena, name: &str) -> Option<usize> {
    let table = match arena.table(name) {
        Ok(table) => table,
        Err(Error::NotFound { .. }) => return None,
        Err(e) => panic!("{name}: {e}"),
    };
    let mut runs: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for batch in table.reader() {
        let batch = batch.expect("readable");
        let (n, value) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
        assert_eq!((n.null_count(), value.null_count()), (0, 0));
        for (n, value) in n.values().iter().zip(value.values()) {
            let (rows, sum) = runs.entry(*n).or_default();
            (*rows, *sum) = (*rows + 1, *sum + value);
        }
    }
    for (n, (rows, sum)) in &runs {
        assert_eq!((*rows, *sum), (rows_of(*n), rows_of(*n) * (rows_of(*n) + 1) / 2), "run {n} of `{name}`");
    }
    Some(runs.len())
}

/// Publishes tables without rows where a statement needs one.
fn begin(arena: &Arena) {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("value", DataType::Int64, true)]);
    let empty = RecordBatch::new_empty(schema.into());
    let writer = arena.writer().expect("a permit");
    for name in ["grown", "replaced"] {
        writer.publish(name, &empty).expect("room");
    }
}

/// Removes all tables, and returns how many objects and bytes are left.
fn clear(arena: &Arena) -> (u64, u64) {
    let writer = arena.writer().expect("a permit");
    for (_, name) in STATEMENTS {
        writer.remove(name).expect("removed");
    }
    let stats = arena.stats().expect("stats");
    (stats.objects, stats.live)
}

#[test]
fn a_killed_statement_leaves_the_old_table_or_the_new_one() {
    let arena = arena("killed");
    // Every name was there once, so that what is left of names is the same each time.
    begin(&arena);
    for name in ["copied", "made"] {
        arena.writer().unwrap().publish(name, "once").unwrap();
    }
    let nothing = clear(&arena);
    let mut random = u64::from(std::process::id());
    let mut below = move |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    for round in 0..ROUNDS {
        let (what, name) = STATEMENTS[round % STATEMENTS.len()];
        begin(&arena);
        let (mut child, mut lines) = writer(&arena, what);
        lines.next().expect("it begins");
        // In the first run or a later one; at any moment of it, as far as that can be known from the one before.
        let (mut begun, mut took) = (Instant::now(), 50_000);
        for _ in 0..below(3) {
            lines.next().expect("it goes on");
            took = begun.elapsed().as_micros() as u64;
            begun = Instant::now();
        }
        std::thread::sleep(Duration::from_micros(below(took + took / 4 + 1)));
        child.kill().unwrap();
        child.wait().unwrap();
        arena.recover().unwrap();
        assert!(arena.verify_deep().unwrap().is_empty(), "{what}");
        let runs = whole_runs(&arena, name);
        let fits = match what {
            "insert" => runs.is_some(),
            "overwrite" => runs.is_some_and(|runs| runs <= 1),
            "copy" => runs.is_none_or(|runs| runs == 1),
            _ => runs.is_none_or(|runs| runs == 1),
        };
        assert!(fits, "{what}: {runs:?} runs in `{name}`");
        let stats = arena.stats().unwrap();
        assert_eq!((stats.participants, stats.writers_busy), (1, 0), "{what}");
        assert_eq!(clear(&arena), nothing, "{what}, objects and bytes that no name keeps");
    }
}
