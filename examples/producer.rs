//! Publishes a new version of a batch again and again; `consumer` reads along. In two terminals:
//!
//! ```text
//! cargo run --example producer -- prices [VERSIONS]
//! cargo run --example consumer -- prices
//! ```
//!
//! `python/examples/with_rust` has both in Python: any of the four pairs works.
//!
//! Start them in either order, start more consumers, kill any of them with `kill -9`: the others
//! go on. Without an argument this program starts a consumer itself, and both hurry.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch, UInt64Array};
use faretra::{Arena, MIB};

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(arena) => {
            let versions = std::env::args().nth(2).map_or(Ok(100), |versions| versions.parse())?;
            produce(&arena, versions, Duration::from_millis(100), None)
        }
        None => {
            let arena = format!("producer-{}", std::process::id());
            let consumer = start_consumer(&arena)?;
            if consumer.is_none() {
                println!("no `consumer` beside this program: build it with `cargo build --examples`");
            }
            produce(&arena, 50, Duration::from_millis(5), consumer)
        }
    }
}

fn produce(name: &str, versions: u64, pause: Duration, consumer: Option<Child>) -> Result<(), Box<dyn Error>> {
    let arena = Arena::options().limit(64 * MIB).keep(false).open_or_create(name)?;
    let writer = arena.writer()?;
    for i in 0..versions {
        let version = writer.publish("prices", &prices(i, 1000)?)?;
        if i == 0 {
            println!("producer: publishing {versions} versions into arena `{name}`, the first is {version}");
        }
        std::thread::sleep(pause);
    }
    // By agreement of these two programs, no rows means: that was all.
    let last = writer.publish("prices", &prices(versions, 0)?)?;
    println!("producer: done, the last version is {last}");

    if let Some(mut consumer) = consumer {
        let status = consumer.wait()?;
        if !status.success() {
            return Err(format!("the consumer ended with {status}").into());
        }
    }
    Ok(())
}

/// Row `k` of batch `i` has the price `i + k / 1000`.
fn prices(i: u64, rows: u64) -> Result<RecordBatch, Box<dyn Error>> {
    let item: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..rows));
    let price: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows).map(|k| i as f64 + k as f64 / 1000.0)));
    Ok(RecordBatch::try_from_iter([("item", item), ("price", price)])?)
}

/// The other example, which cargo puts into the same directory.
fn start_consumer(arena: &str) -> Result<Option<Child>, Box<dyn Error>> {
    let consumer = std::env::current_exe()?.with_file_name("consumer");
    match consumer.exists() {
        true => Ok(Some(Command::new(consumer).arg(arena).spawn()?)),
        false => Ok(None),
    }
}
