//! Reads what `producer` publishes, each version as soon as it is there; see `producer.rs`.
//!
//! ```text
//! cargo run --example consumer -- prices
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::time::{Duration, Instant};

use faretra::Arena;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(arena) => consume(&arena),
        None => {
            println!("usage: consumer ARENA (and in another terminal: producer ARENA)");
            Ok(())
        }
    }
}

fn consume(name: &str) -> Result<(), Box<dyn Error>> {
    let arena = open(name, Duration::from_secs(30))?;
    let mut seen = 0;
    let mut newest = 0;
    loop {
        // Sleeps until there is a version that we have not seen. A name has one current version: who
        // is slower than the producer misses some, and never holds it up.
        let object = arena.wait_for_timeout("prices", newest, Duration::from_secs(10))?;
        newest = object.version();
        // What a producer in Rust publishes is a batch, and in Python a table, perhaps of several batches: either is read as a table.
        let table = object.table()?;
        if table.num_rows() == 0 {
            println!("consumer: saw {seen} versions, up to {newest}");
            return Ok(());
        }
        let batch = table.batch(0)?;
        // `price` is the arena's own memory; it stays unchanged while we look at it.
        let price = batch.column::<f64>("price")?;
        seen += 1;
        if seen % 10 == 1 {
            println!("consumer: version {newest}, mean price {:.3}", price.mean().unwrap_or_default());
        }
    }
}

/// Opens the arena; waits for it if the producer has not made it yet.
fn open(name: &str, patience: Duration) -> faretra::Result<Arena> {
    let start = Instant::now();
    loop {
        match Arena::open(name) {
            Err(faretra::Error::NotFound { .. }) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
