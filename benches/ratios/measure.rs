//! Clocks, medians, and the table.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Names the file to which rows go, one JSON object a line: `cargo xtask bench` sets it, and makes a report of them.
const ROWS: &str = "FARETRA_BENCH_ROWS";

/// Where a row is on its line of a plot, if the line does not go over sizes of values.
#[derive(Clone, Copy, Debug)]
pub enum Along {
    /// Processes at work.
    Processes(u64),
    /// Names, batches, channels, pins, ...
    Objects(u64),
    /// Of the time that the bench simulates.
    Seconds(u64),
}

/// One row for the report. Times are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The table that it is in.
    pub section: String,
    pub what: String,
    /// Of how many bytes, and how they go: rows that differ only in these are the points of one line in a plot.
    pub sized: Option<(u64, String)>,
    /// Of what else, and how they go: rows that differ only in these are the points of one line, too.
    pub along: Option<(Along, String)>,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    /// Processor time of all processes for one item.
    pub cpu: Option<f64>,
    /// Page faults of all processes for one item: those that the kernel served from memory, and those for which it read.
    pub faults: Option<(f64, f64)>,
    pub floor: Option<f64>,
    /// How far apart the middle eight of ten of the floor's times are, as a part of the one in the middle.
    pub spread: Option<f64>,
    pub ratio: Option<f64>,
    /// Bytes of memory that are in use.
    pub memory: Option<u64>,
    /// What is no time.
    pub value: Option<f64>,
    pub unit: String,
    /// What is said instead of a number: why there is none.
    pub shown: Option<String>,
    /// Bytes a second, if all bytes of an item were moved in that time.
    pub rate: Option<f64>,
    /// What the value is, for plots: `memory` for bytes reserved for each byte that lives. Otherwise empty.
    pub kind: &'static str,
    /// `<= 1.1 x` is for the ratio, `<= 1 us` for the p50, `<= 128` for the value.
    pub target: String,
}

impl Row {
    /// Adds the row to the file, if somebody wants one.
    pub fn tell(self) {
        let Some(path) = std::env::var_os(ROWS) else { return };
        let finite = |number: Option<f64>| number.filter(|n| n.is_finite()).map_or(Value::Null, Value::from);
        let (bytes, way) = self.sized.unzip();
        let (minor, major) = self.faults.unzip();
        let (along, way_along) = self.along.unzip();
        let mut row = json!({
            "section": self.section, "what": self.what, "bytes": bytes, "way": way.or(way_along), "target": self.target,
            "p50": finite(self.p50), "p99": finite(self.p99), "p999": finite(self.p999), "cpu": finite(self.cpu),
            "minor_faults": finite(minor), "major_faults": finite(major), "floor": finite(self.floor),
            "spread": finite(self.spread), "ratio": finite(self.ratio), "value": finite(self.value), "unit": self.unit,
            "memory": self.memory, "shown": self.shown, "rate": finite(self.rate), "kind": self.kind,
        });
        match along {
            Some(Along::Processes(n)) => row["processes"] = n.into(),
            Some(Along::Objects(n)) => row["objects"] = n.into(),
            Some(Along::Seconds(n)) => row["seconds"] = n.into(),
            None => {}
        }
        if let Some(fields) = row.as_object_mut() {
            fields.retain(|_, field| !field.is_null() && field != "");
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{row}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: {error}", path.to_string_lossy());
        }
    }
}

/// Times of one case, in nanoseconds for one operation.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<f64>);

/// Of fewer times the one that 0.1 % are above is the largest.
const ENOUGH: usize = 1000;

impl Times {
    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    /// If there are enough of them to tell.
    pub fn p999(&self) -> Option<f64> {
        (self.0.len() >= ENOUGH).then(|| self.at(0.999))
    }

    /// The median of the ratios of what was measured in turn: what slows both in one round does not matter then.
    pub fn over(&self, floor: &Times) -> f64 {
        if self.0.len() != floor.0.len() {
            return self.p50() / floor.p50();
        }
        Times(self.0.iter().zip(&floor.0).map(|(ours, floor)| ours / floor).collect()).p50()
    }

    pub fn p50(&self) -> f64 {
        self.at(0.5)
    }

    pub fn p99(&self) -> f64 {
        self.at(0.99)
    }

    /// How far apart the middle eight of ten are, as a part of the one in the middle.
    pub fn spread(&self) -> f64 {
        (self.at(0.9) - self.at(0.1)) / self.p50()
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

/// Bytes a second.
fn rate(bytes: u64, times: &Times) -> Option<f64> {
    Some(bytes as f64 * 1e9 / times.p50())
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
    rows: Vec<[String; COLUMNS]>,
}

const COLUMNS: usize = 7;

impl Table {
    pub fn new(name: &'static str) -> Table {
        println!("measuring {name} ...");
        let heads = ["what", "p50", "p99", "p99.9", "floor", "ratio", "target"];
        Table { name, rows: vec![heads.map(String::from)] }
    }

    /// A case with its floor beside it.
    pub fn ratio(&mut self, what: impl Into<String>, ours: &Times, floor: &Times, target: &str) {
        self.tell_ratio(self.row(&what.into(), Some(ours), target), ours, floor);
    }

    /// The same of so many bytes, for a plot: how ours goes, and how the floor.
    pub fn sized(&mut self, bytes: u64, ways: [&str; 2], ours: &Times, floor: &Times, target: &str) {
        let [sized, floor_sized] = ways.map(|way| Some((bytes, way.to_owned())));
        let what = format!("{} {}; floor: {}", ways[0], size(bytes), ways[1]);
        let name = format!("{} {}", ways[1], size(bytes));
        Row { sized: floor_sized, rate: rate(bytes, floor), ..self.row(&name, Some(floor), "") }.tell();
        self.tell_ratio(Row { sized, rate: rate(bytes, ours), ..self.row(&what, Some(ours), target) }, ours, floor);
    }

    /// A case with its floor beside it, as a point of a line: how ours goes, and how the floor, if that is a line of its own.
    pub fn along(
        &mut self,
        what: impl Into<String>,
        along: Along,
        ways: [&str; 2],
        ours: &Times,
        floor: &Times,
        target: &str,
    ) {
        let what = what.into();
        let [ours_along, floor_along] = ways.map(|way| (!way.is_empty()).then(|| (along, way.to_owned())));
        if floor_along.is_some() {
            Row { along: floor_along, ..self.row(&format!("{what}: {}", ways[1]), Some(floor), "") }.tell();
        }
        self.tell_ratio(Row { along: ours_along, ..self.row(&what, Some(ours), target) }, ours, floor);
    }

    fn tell_ratio(&mut self, row: Row, ours: &Times, floor: &Times) {
        let ratio = ours.over(floor);
        let line = [time(floor.p50()), format!("{ratio:.2}"), row.target.clone()];
        self.line(row.what.clone(), ours, line);
        Row { floor: Some(floor.p50()), spread: Some(floor.spread()), ratio: Some(ratio), ..row }.tell();
    }

    /// A case by itself.
    pub fn plain(&mut self, what: impl Into<String>, ours: &Times, target: &str) {
        let what = what.into();
        self.row(&what, Some(ours), target).tell();
        self.line(what, ours, ["".into(), "".into(), target.into()]);
    }

    /// Bytes of memory, as a point of a line, and how many times the bytes that are needed that is, if some are.
    pub fn memory(
        &mut self,
        what: impl Into<String>,
        along: Along,
        way: &str,
        bytes: u64,
        needed: impl Into<Option<u64>>,
    ) {
        let (what, ratio) = (what.into(), needed.into().map(|needed| bytes as f64 / needed as f64));
        let along = (!way.is_empty()).then(|| (along, way.to_owned()));
        let unit = ratio.map(|_| "x".into()).unwrap_or_default();
        let kind = if ratio.is_some() { "memory" } else { "" };
        Row { along, memory: Some(bytes), value: ratio, unit, kind, ..self.row(&what, None, "") }.tell();
        let shown = format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        self.rows.push([what, shown, "".into(), "".into(), "".into(), ratio, "".into()]);
    }

    fn line(&mut self, what: String, times: &Times, [floor, ratio, target]: [String; 3]) {
        let tail = times.p999().map(time).unwrap_or_default();
        self.rows.push([what, time(times.p50()), time(times.p99()), tail, floor, ratio, target]);
    }

    fn row(&self, what: &str, times: Option<&Times>, target: &str) -> Row {
        Row {
            section: self.name.into(),
            what: what.into(),
            p50: times.map(Times::p50),
            p99: times.map(Times::p99),
            p999: times.and_then(Times::p999),
            target: target.into(),
            ..Row::default()
        }
    }

    /// Something that is no time.
    pub fn fact(&mut self, what: impl Into<String>, value: String, target: &str) {
        let what = what.into();
        let (number, unit) = value.split_once(' ').unwrap_or((&value, ""));
        Row { value: number.parse().ok(), unit: unit.into(), ..self.row(&what, None, target) }.tell();
        self.rows.push([what, value, "".into(), "".into(), "".into(), "".into(), target.into()]);
    }

    pub fn print(&self) {
        let width = |c: usize| self.rows.iter().map(|r| r[c].len()).max().unwrap_or(0);
        // Not those that say nothing.
        let columns: Vec<usize> =
            (0..COLUMNS).filter(|c| self.rows.iter().skip(1).any(|row| !row[*c].is_empty())).collect();
        println!("\n### {}\n", self.name);
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = columns.iter().map(|c| format!(" {:w$} ", row[*c], w = width(*c))).collect();
            println!("|{}|", cells.join("|"));
            if i == 0 {
                let rule: Vec<String> = columns.iter().map(|c| "-".repeat(width(*c) + 2)).collect();
                println!("|{}|", rule.join("|"));
            }
        }
    }
}
