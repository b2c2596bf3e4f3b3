//! How any other Arrow implementation reads batches in an arena: the IPC messages, and where their
//! body lies in the file. Prints them as one line of JSON each, and keeps the arena until its input ends.
//!
//! The second batch is a slice of the first and shares its buffers, so that its text begins at an offset that
//! is not 0. `tests/pyarrow_read.py` reads both with pyarrow from this.

use std::io::{Read, Write};
use std::sync::Arc;

use faretra::arrow::arrow_array::{Float64Array, Int32Array, RecordBatch, StringArray};
use faretra::{Arena, MIB};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = 100_000;
    let x: Float64Array = (0..rows).map(|i| i as f64 * 0.5).collect();
    let n: Int32Array = (0..rows).map(|i| (i % 3 != 0).then_some(i)).collect();
    let s: StringArray = (0..rows).map(|i| Some(format!("row {i}"))).collect();
    let batch =
        RecordBatch::try_from_iter([("x", Arc::new(x) as _), ("n", Arc::new(n) as _), ("s", Arc::new(s) as _)])?;

    let name = format!("ipc-messages-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let writer = arena.writer()?;
    writer.publish("batch", &batch)?;
    // At multiples of 64 rows the slices of all buffers, bits too, start at multiples of the 8 bytes that Arrow C++
    // asks for.
    let (from, len) = (64 * 100, 80_000);
    writer.publish("slice", arena.batch("batch")?.slice(from, len))?;

    let mut out = std::io::stdout().lock();
    for (name, from, len) in [("batch", 0, rows as usize), ("slice", from, len)] {
        let ipc = arena.batch(name)?.ipc()?;
        writeln!(
            out,
            r#"{{"path": "{}", "body_offset": {}, "from": {from}, "rows": {len}, "schema": "{}", "batch": "{}"}}"#,
            arena.path().display(),
            ipc.body_offset,
            hex(&ipc.schema),
            hex(&ipc.batch),
        )?;
    }
    out.flush()?;
    std::io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}
