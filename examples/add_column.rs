//! A table gains a column. What both versions have in common lies in memory once: the new version costs the
//! new column, and a page or two for each of its batches.
//!
//! ```text
//! cargo run --release --example add_column [BYTES OF THE TABLE]
//! ```
//!
//! The table is of 1 GiB where the arenas' directory has 3 GiB free, of 64 MiB where not.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::sync::Arc;

use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch, RecordBatchIterator};
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, GIB, KIB, MIB, Value};

const BATCHES: usize = 8;
const COLUMNS: usize = 8;
const PAGE: u64 = 4 * KIB;

/// Numbers that tell which column they are of.
fn column(seed: usize, rows: usize) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values((0..rows).map(|row| (row + seed) as f64)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let default = if Arena::options().room()?.free >= 3 * GIB { GIB } else { 64 * MIB };
    let bytes: u64 = std::env::args().nth(1).map_or(Ok(default), |arg| arg.parse())?;
    let rows = (bytes as usize / 8 / BATCHES / COLUMNS).max(1);

    let name = format!("add-column-{}", std::process::id());
    let arena = Arena::options().limit(2 * bytes + 64 * MIB).keep(false).create(&name)?;
    let writer = arena.writer()?;
    // What is in use, by the arena's own counter.
    let live = || arena.stats().map(|stats| stats.live);

    let mut fields: Vec<Field> = (0..COLUMNS).map(|c| Field::new(format!("c{c}"), DataType::Float64, false)).collect();
    let schema = Arc::new(Schema::new(fields.clone()));
    let batches = (0..BATCHES).map(|b| {
        let columns = (0..COLUMNS).map(|c| column(b * COLUMNS + c, rows));
        RecordBatch::try_new(schema.clone(), columns.collect())
    });
    writer.publish("table", Value::table(RecordBatchIterator::new(batches, schema.clone())))?;
    let before = live()?;
    println!("{BATCHES} batches of {rows} rows of {COLUMNS} columns: {before} bytes in use");

    // Read it, add a column to each batch, publish that: what is in the arena already is found by its address.
    fields.push(Field::new("new", DataType::Float64, false));
    let wider = Arc::new(Schema::new(fields));
    let old = arena.table("table")?;
    let extended = old.reader().map(|batch| {
        let mut columns = batch?.columns().to_vec();
        columns.push(column(1000, rows));
        RecordBatch::try_new(wider.clone(), columns)
    });
    writer.publish("table", Value::table(RecordBatchIterator::new(extended, wider.clone())))?;
    let after = live()?;

    let added = (BATCHES * rows * 8) as u64;
    let rounding = BATCHES as u64 * PAGE; // Of the column's pieces, each of which is an object.
    let overhead = after - before - added;
    println!("with a column of {added} bytes more: {after} bytes in use, {} KiB beside the column", overhead / KIB);
    assert!(overhead <= 64 * KIB + rounding, "{overhead} bytes");

    // Both versions are whole, and lie at the same place.
    let new = arena.table("table")?;
    for b in 0..BATCHES as u64 {
        let (was, is) = (old.batch(b)?, new.batch(b)?);
        for c in 0..COLUMNS {
            let name = format!("c{c}");
            let (was, is) = (was.column::<f64>(&name)?, is.column::<f64>(&name)?);
            assert_eq!((was.as_ptr(), was.len()), (is.as_ptr(), is.len()));
        }
    }

    // With its last reader the old version goes: its roots, and nothing of what the new one shares.
    drop(old);
    let left = live()?;
    println!("without the old version: {left} bytes in use, {} KiB less", (after - left) / KIB);
    assert!(after - left <= 64 * KIB);
    for b in 0..BATCHES {
        let last = new.batch(b as u64)?.column::<f64>("c7")?;
        assert_eq!(last[rows - 1], (rows - 1 + b * COLUMNS + 7) as f64);
    }
    Ok(())
}
