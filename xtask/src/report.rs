//! What all benches measured, in `target/bench-report`: `report.json`, and `index.html` with plots.

mod page;
mod plot;
mod row;
mod text;

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use row::{Judged, Row, Verdict, judge, noise, read};
pub use text::{number, size, time};

/// Names the file to which a bench adds its rows.
pub const ROWS: &str = "FARETRA_BENCH_ROWS";

/// Where it was measured, in an order; and every row.
#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    pub machine: Vec<(String, String)>,
    pub rows: Vec<Judged>,
}

/// The fact that says how much the machine was disturbed.
pub const NOISE: &str = "noise";

impl Report {
    /// The file that `write` makes of it.
    pub const FILE: &'static str = "report.json";

    /// Rows that only say which version a peer has become facts about the machine.
    pub fn new(mut machine: Vec<(String, String)>, rows: Vec<Judged>) -> Report {
        let (versions, rows): (Vec<Judged>, Vec<Judged>) =
            rows.into_iter().partition(|judged| judged.runs.iter().all(|row| row.kind == Row::VERSION));
        let mut told: Vec<String> = versions
            .iter()
            .filter_map(|judged| judged.runs.first())
            .map(|row| format!("{} {}", row.what, row.shown.as_deref().unwrap_or("unknown")))
            .collect();
        told.dedup();
        if !told.is_empty() {
            machine.push(("Python's peers".into(), told.join(", ")));
        }
        machine.push((NOISE.into(), noise(&rows)));
        Report { machine, rows }
    }

    /// What it says about where it was measured.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.machine.iter().find(|(what, _)| what == name).map(|(_, value)| value.as_str())
    }

    /// Writes it for programs and for people, prints the rows that have a target, and returns the page's path.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
        std::fs::write(folder.join(Report::FILE), serde_json::to_string_pretty(self)? + "\n")?;
        let page = folder.join("index.html");
        std::fs::write(&page, page::page(&self.machine, &self.rows, &plot::all(&self.rows)?))?;
        println!("\n{}\n\n{}", page::table(&self.rows, page::width()), page::tally(&self.rows));
        println!("noise: {}", noise(&self.rows));
        Ok(page)
    }
}
