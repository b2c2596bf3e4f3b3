//! What each section is given: how much is to be measured, arenas, batches.

use std::error::Error;
use std::sync::Arc;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch};
use faretra::{Arena, Options};

pub type Outcome = Result<(), Box<dyn Error>>;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    /// The largest value, in bytes.
    pub largest: u64,
    /// The most names.
    pub names: u64,
    /// Divides the number of rounds.
    pub hurry: usize,
}

/// An arena of this run, which goes with it.
pub fn arena(purpose: &str, limit: u64, more: impl FnOnce(Options) -> Options) -> faretra::Result<Arena> {
    let name = format!("bench-{}-{purpose}", std::process::id());
    more(Arena::options().limit(limit).keep(false)).create(&name)
}

/// A batch of `bytes` in `columns` columns `c0`, `c1`, ... of f64.
pub fn batch(bytes: u64, columns: u64) -> Result<RecordBatch, Box<dyn Error>> {
    let rows = bytes / columns / 8;
    let column = |c: u64| -> (String, ArrayRef) {
        let values = (0..rows).map(|i| (i + c) as f64);
        (format!("c{c}"), Arc::new(Float64Array::from_iter_values(values)))
    };
    Ok(RecordBatch::try_from_iter((0..columns).map(column))?)
}
