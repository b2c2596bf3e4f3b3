//! What things cost, beside the floor that they stand on, measured in the same run.
//!
//! ```text
//! cargo bench --bench ratios                     everything: about two minutes, up to 5 GiB
//! cargo bench --bench ratios -- get publish      only these
//! cargo bench --bench ratios -- --quick          nothing larger than 64 MiB, fewer rounds
//! ```
//!
//! Absolute times are the machine's; ratios are ours. So every case is measured in turn with its floor
//! (plain memcpy of the same bytes, a `HashMap` behind a `Mutex`), round after round, and the table shows
//! medians. Short operations are timed in blocks, so that the clock is not what is measured: their "p99"
//! is that of the blocks' means.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]

mod alloc;
mod get;
mod measure;
mod names;
mod publish;
mod recovery;

use std::error::Error;
use std::sync::Arc;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch};
use faretra::{Arena, Options};

use measure::Table;

type Outcome = Result<(), Box<dyn Error>>;

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// The largest value, in bytes.
    largest: u64,
    /// The most names.
    names: u64,
    /// Divides the number of rounds.
    hurry: usize,
}

type Section = (&'static str, fn(Scale, &mut Table) -> Outcome);

const SECTIONS: &[Section] = &[
    ("get", get::run),
    ("publish", publish::run),
    ("newcomer", publish::newcomer),
    ("alloc", alloc::run),
    ("names", names::run),
    ("recovery", recovery::run),
];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A participant to be killed: this program once more.
    if let [role, arena] = arguments.as_slice()
        && role == recovery::VICTIM
    {
        return recovery::victim(arena);
    }
    let scale = match arguments.iter().any(|a| a == "--quick") {
        true => Scale { largest: 64 << 20, names: 10_000, hurry: 4 },
        false => Scale { largest: 1 << 30, names: 1_000_000, hurry: 1 },
    };
    // Cargo adds `--bench`.
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    println!("load average before: {}", measure::load());
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|w| w.as_str() == *name) {
            let mut table = Table::new(name);
            section(scale, &mut table)?;
            table.print();
        }
    }
    println!("\nload average after: {}", measure::load());
    Ok(())
}

/// An arena of this run, which goes with it.
fn arena(purpose: &str, limit: u64, more: impl FnOnce(Options) -> Options) -> faretra::Result<Arena> {
    let name = format!("bench-{}-{purpose}", std::process::id());
    more(Arena::options().limit(limit).keep(false)).create(&name)
}

/// A batch of `bytes` in `columns` columns `c0`, `c1`, ... of f64.
fn batch(bytes: u64, columns: u64) -> Result<RecordBatch, Box<dyn Error>> {
    let rows = bytes / columns / 8;
    let column = |c: u64| -> (String, ArrayRef) {
        let values = (0..rows).map(|i| (i + c) as f64);
        (format!("c{c}"), Arc::new(Float64Array::from_iter_values(values)))
    };
    Ok(RecordBatch::try_from_iter((0..columns).map(column))?)
}
