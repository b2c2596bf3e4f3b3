//! Clocks, medians, and the table.

use std::time::{Duration, Instant};

/// Times of one case, in nanoseconds for one operation.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    pub fn p50(&self) -> f64 {
        self.at(0.5)
    }

    pub fn p99(&self) -> f64 {
        self.at(0.99)
    }

    pub fn push(&mut self, time: Duration, operations: u64) {
        self.0.push(time.as_nanos() as f64 / operations as f64);
    }
}

/// What takes this long: one measured step, which may do other things before and after.
pub type Case<'a> = &'a mut dyn FnMut() -> Duration;

/// Runs the cases in turn, `rounds` times after one round that is not counted.
pub fn in_turn<const N: usize>(rounds: usize, operations: u64, mut cases: [Case<'_>; N]) -> [Times; N] {
    let mut times: [Times; N] = std::array::from_fn(|_| Times::default());
    for round in 0..rounds.max(3) + 1 {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            let time = case();
            if round > 0 {
                times.push(time, operations);
            }
        }
    }
    times
}

/// The time of `n` runs of `f`.
pub fn block<T>(n: u64, mut f: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..n {
        std::hint::black_box(f());
    }
    start.elapsed()
}

/// The kernel's load average: what else went on.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Nanoseconds for people.
pub fn time(ns: f64) -> String {
    match ns {
        _ if ns.is_nan() => "-".into(),
        ..1e3 => format!("{ns:.0} ns"),
        ..1e6 => format!("{:.2} us", ns / 1e3),
        ..1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// What one section has to say.
pub struct Table {
    name: &'static str,
    rows: Vec<[String; 6]>,
}

impl Table {
    pub fn new(name: &'static str) -> Table {
        println!("measuring {name} ...");
        Table { name, rows: vec![["what", "p50", "p99", "floor", "ratio", "target"].map(String::from)] }
    }

    /// A case with its floor beside it.
    pub fn ratio(&mut self, what: impl Into<String>, ours: &Times, floor: &Times, target: &str) {
        let ratio = format!("{:.2}", ours.p50() / floor.p50());
        self.rows.push([what.into(), time(ours.p50()), time(ours.p99()), time(floor.p50()), ratio, target.into()]);
    }

    /// A case by itself.
    pub fn plain(&mut self, what: impl Into<String>, ours: &Times, target: &str) {
        self.rows.push([what.into(), time(ours.p50()), time(ours.p99()), "".into(), "".into(), target.into()]);
    }

    /// Something that is no time.
    pub fn fact(&mut self, what: impl Into<String>, value: String, target: &str) {
        self.rows.push([what.into(), value, "".into(), "".into(), "".into(), target.into()]);
    }

    pub fn print(&self) {
        let width = |c: usize| self.rows.iter().map(|r| r[c].len()).max().unwrap_or(0);
        println!("\n### {}\n", self.name);
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().enumerate().map(|(c, t)| format!(" {t:w$} ", w = width(c))).collect();
            println!("|{}|", cells.join("|"));
            if i == 0 {
                let rule: Vec<String> = (0..6).map(|c| "-".repeat(width(c) + 2)).collect();
                println!("|{}|", rule.join("|"));
            }
        }
    }
}
