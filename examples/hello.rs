//! One process publishes a record batch, another one reads it. Nothing is copied on the way out.
//!
//! ```text
//! cargo run --example hello
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::process::Command;
use std::sync::Arc;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use faretra::{Arena, MIB};

fn main() -> Result<(), Box<dyn Error>> {
    // This program plays both parts: it starts itself again, with the arena's name as argument.
    match std::env::args().nth(1) {
        None => write(),
        Some(arena) => read(&arena),
    }
}

fn write() -> Result<(), Box<dyn Error>> {
    // `keep(false)`: the arena goes with its last participant, even if that one is killed.
    let name = format!("hello-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;

    let city: ArrayRef = Arc::new(StringArray::from(vec!["Oslo", "Lima", "Pune"]));
    let degrees: ArrayRef = Arc::new(Float64Array::from(vec![-3.5, 19.0, 31.5]));
    let batch = RecordBatch::try_from_iter([("city", city), ("degrees", degrees)])?;

    // Everything that is written is written by a writer. This is the only copy that is made.
    let version = arena.writer()?.publish("weather", &batch)?;
    println!("process {}: published `weather`, version {version}", std::process::id());

    let status = Command::new(std::env::current_exe()?).arg(&name).status()?;
    if !status.success() {
        return Err(format!("the reading process ended with {status}").into());
    }
    Ok(())
}

fn read(arena: &str) -> Result<(), Box<dyn Error>> {
    let arena = Arena::open(arena)?;

    // An ordinary arrow RecordBatch whose buffers are the arena's memory, mapped read-only. It stays
    // as it is for as long as we hold it, whatever is published meanwhile.
    let weather = arena.batch("weather")?;
    println!("process {}: {} rows of {}", std::process::id(), weather.num_rows(), weather.schema());

    // The same bytes once more, as an ndarray.
    let degrees = weather.column::<f64>("degrees")?;
    println!("process {}: the mean is {:.2} degrees", std::process::id(), degrees.mean().unwrap_or_default());
    Ok(())
}
