//! How any other Arrow implementation reads a batch in an arena: the IPC messages, and where their
//! body lies in the file. Prints them as one line of JSON, and keeps the arena until its input ends.
//!
//! `tests/pyarrow_read.py` reads the batch with pyarrow from this.

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
    arena.writer()?.publish("batch", &batch)?;

    let ipc = arena.batch("batch")?.ipc()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        r#"{{"path": "{}", "body_offset": {}, "rows": {rows}, "schema": "{}", "batch": "{}"}}"#,
        arena.path().display(),
        ipc.body_offset,
        hex(&ipc.schema),
        hex(&ipc.batch),
    )?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}
