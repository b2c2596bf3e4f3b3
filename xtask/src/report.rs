//! What all benches measured, in `target/bench-report`: `report.json`, and `index.html` with plots.

mod page;
mod plot;
mod row;

use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::json;

pub use row::{Judged, Row, judge, read};

/// Names the file to which a bench adds its rows.
pub const ROWS: &str = "FARETRA_BENCH_ROWS";

/// Writes the report and prints the rows that have a target.
pub fn write(folder: &Path, machine: &[(String, String)], rows: &[Judged]) -> Result<PathBuf, Box<dyn Error>> {
    let machine_json: serde_json::Map<_, _> =
        machine.iter().map(|(what, value)| (what.clone(), value.clone().into())).collect();
    let report = json!({ "machine": machine_json, "rows": rows });
    std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    let page = folder.join("index.html");
    std::fs::write(&page, page::page(machine, rows, &plot::all(rows)?))?;
    println!("\n{}\n\n{}", page::table(rows), page::tally(rows));
    Ok(page)
}
