//! Drafts: batches and arrays that are written where they will be read. Publishing copies nothing.
//!
//! ```text
//! cargo run --example in_place
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::sync::Arc;

use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, MIB};
use ndarray::{Axis, Ix2};

fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("in-place-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let writer = arena.writer()?;

    // A draft is memory of the arena that nobody else sees. Its columns are typed slices of it.
    let rows = 100_000;
    let schema = Arc::new(Schema::new(vec![
        Field::new("time", DataType::Int64, false),
        Field::new("value", DataType::Float64, true),
        Field::new("unit", DataType::Utf8, false),
    ]));
    let mut draft = writer.draft_with(&schema, rows, |_column| 2 * rows)?;
    for (i, time) in draft.column_mut::<i64>("time")?.iter_mut().enumerate() {
        *time = 1_000 * i as i64;
    }
    for (i, value) in draft.column_mut::<f64>("value")?.iter_mut().enumerate() {
        *value = (i as f64 / 1_000.0).sin();
    }
    // Every hundredth value is missing.
    let mut validity = draft.validity_mut("value")?;
    for row in (0..rows).step_by(100) {
        validity.set_null(row)?;
    }
    let mut unit = draft.text_mut("unit")?;
    for _ in 0..rows {
        unit.push("mV")?;
    }
    // One word changes, whatever the size. A draft that is dropped instead is gone without a trace.
    writer.publish("signal", draft)?;

    let signal = arena.batch("signal")?;
    println!(
        "signal: {} rows, {} of them without a value",
        signal.num_rows(),
        signal.record_batch().column(1).null_count()
    );

    // The same for arrays, in C or Fortran order.
    let mut image = writer.draft_array::<u16, Ix2>((480, 640))?;
    for (y, mut row) in image.view_mut()?.axis_iter_mut(Axis(0)).enumerate() {
        row.fill(y as u16);
    }
    writer.publish("image", image)?;
    let image = arena.array::<u16, Ix2>("image")?;
    println!("image: {:?}, the last row is all {}", image.shape(), image[[479, 0]]);
    Ok(())
}
