//! One row of a bench, what it is to reach, and whether it does, in one run or two.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a bench says of one case (`benches/ratios/measure.rs`, `python/faretra/bench/_report.py`). Times are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Row {
    pub section: String,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999: Option<f64>,
    /// Processor time of all processes for one item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Page faults of all processes for one item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor_faults: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// How far apart the middle eight of ten of the floor's times are, as a part of the one in the middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Bytes a second, where all bytes of an item were moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How many processes did it at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// What the value is: `memory` for bytes reserved for each byte that lives, `version` for the version of a peer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// What a bench says that judges by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

impl Row {
    /// The kind of rows that say what a peer's version is.
    pub const VERSION: &'static str = "version";
    /// The kind of rows that say how many bytes are reserved for each byte that lives.
    pub const MEMORY: &'static str = "memory";
}

/// A row and its verdict; two runs' rows, if there were two.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Judged {
    pub bench: String,
    pub verdict: Verdict,
    pub runs: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// In all runs, of which there were two or more.
    Met,
    /// In the only run that there was.
    MetOnce,
    Lost,
    /// Met in one run and lost in another.
    RunsDisagree,
    NoTarget,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::MetOnce => "met (one run)",
            Verdict::Lost => "missed",
            Verdict::RunsDisagree => "noisy: runs disagree",
            Verdict::NoTarget => "no target",
        }
    }
}

/// The rows that a bench wrote.
pub fn read(path: &Path) -> Result<Vec<Row>, String> {
    // A bench that was skipped wrote none.
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(vec![]) };
    let row = |line| serde_json::from_str(line).map_err(|error| format!("{}: {error}: {line}", path.display()));
    text.lines().map(row).collect()
}

/// Puts together the rows of a bench's runs: by section and name, the first with the first, the second with the second.
pub fn judge(bench: &str, runs: Vec<Vec<Row>>) -> Vec<Judged> {
    let of_how_many = runs.len();
    let mut order: Vec<(String, String, usize)> = vec![];
    let mut found: HashMap<(String, String, usize), Vec<Row>> = HashMap::new();
    for rows in runs {
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for row in rows {
            let times = seen.entry((row.section.clone(), row.what.clone())).or_default();
            let key = (row.section.clone(), row.what.clone(), *times);
            *times += 1;
            let rows = found.entry(key.clone()).or_default();
            if rows.is_empty() {
                order.push(key);
            }
            rows.push(row);
        }
    }
    let judged = order.into_iter().filter_map(|key| found.remove(&key)).map(|runs| Judged {
        bench: bench.to_owned(),
        verdict: verdict(&runs, of_how_many),
        runs,
    });
    judged.collect()
}

/// How much the machine was disturbed: how far the floors' own times are spread, and whether two runs' ratios are as near to
/// each other as that.
pub fn noise(rows: &[Judged]) -> String {
    let mut spreads: Vec<f64> = rows.iter().flat_map(|judged| &judged.runs).filter_map(|row| row.spread).collect();
    if spreads.is_empty() {
        return "unknown: no row has a floor".into();
    }
    spreads.sort_by(f64::total_cmp);
    let at = |part: f64| spreads[((spreads.len() - 1) as f64 * part) as usize] * 100.0;
    let (middle, high) = (at(0.5), at(0.9));
    let mut told = format!("the floors' times are spread by {middle:.0} % (a tenth of the rows: {high:.0} % or more)");
    let pairs: Vec<bool> = rows.iter().filter_map(within_spread).collect();
    if !pairs.is_empty() {
        let near = pairs.iter().filter(|near| **near).count();
        told += &format!("; ratios of two runs are no further apart than that in {near} of {} rows", pairs.len());
    }
    told
}

/// Whether the ratios of two runs differ by no more than their floors' spread.
fn within_spread(judged: &Judged) -> Option<bool> {
    let [first, second] = &judged.runs[..] else { return None };
    let (a, b) = (first.ratio?, second.ratio?);
    Some((a - b).abs() / a.min(b) <= first.spread?.max(second.spread?))
}

fn verdict(rows: &[Row], of_how_many: usize) -> Verdict {
    let met: Option<Vec<bool>> = rows.iter().map(reached).collect();
    match met.as_deref() {
        None | Some([]) => Verdict::NoTarget,
        Some(met) if met.iter().all(|met| !met) => Verdict::Lost,
        // A run that does not have the row does not agree with one that has.
        Some(met) if met.iter().any(|met| !met) || met.len() < of_how_many => Verdict::RunsDisagree,
        Some([_]) => Verdict::MetOnce,
        Some(_) => Verdict::Met,
    }
}

/// Whether a row reaches its target: `<= 1.1 x` of its floor, `<= 1.1 x + 2 us`, `<= 300 ns`, `<= 128 B`. Without one that is
/// understood, it has none.
fn reached(row: &Row) -> Option<bool> {
    if row.met.is_some() {
        return row.met;
    }
    let (_, target) = row.target.split_once("<= ")?;
    let words: Vec<&str> = target.split(' ').collect();
    let number = |word: &str| word.parse::<f64>().ok();
    Some(match words[..] {
        [most, "x"] => row.ratio? <= number(most)? + 0.005, // as it is printed
        [most, "x", "+", more, unit] => row.p50? <= number(most)? * row.floor? + number(more)? * nanoseconds(unit)?,
        [most, unit] => match (nanoseconds(unit), row.value) {
            (Some(unit), _) => row.p50? <= number(most)? * unit,
            (None, Some(value)) if row.unit == unit => value <= number(most)?,
            _ => return None,
        },
        [most] => row.value? <= number(most)?,
        _ => return None,
    })
}

fn nanoseconds(unit: &str) -> Option<f64> {
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)].iter().find(|(name, _)| *name == unit).map(|(_, ns)| *ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: &str) -> Row {
        Row {
            section: "s".into(),
            what: "w".into(),
            p50: Some(3000.0),
            floor: Some(1000.0),
            ratio: Some(3.0),
            target: target.into(),
            ..Row::default()
        }
    }

    /// Shows how each form of a target is read, and that one that is not understood is none.
    #[test]
    fn targets_are_read() {
        for (target, met) in [
            ("<= 3 x", Some(true)),
            ("<= 2.9 x", Some(false)),
            ("p50 <= 3 us", Some(true)),
            ("<= 2999 ns", Some(false)),
            ("<= 1 x + 2 us", Some(true)),
            ("<= 1 x + 1.9 us", Some(false)),
            ("<= 128 B", None),
            ("1 % of the copy's", None),
            ("", None),
        ] {
            assert_eq!(reached(&row(target)), met, "{target}");
        }
        let fact = Row { value: Some(500.0), unit: "B".into(), target: "<= 128 B".into(), ..Row::default() };
        assert_eq!(reached(&fact), Some(false));
    }

    /// Shows that the noise is that of the floors, and that ratios are compared with it.
    #[test]
    fn noise_is_what_floors_are_spread_by() {
        let with = |ratio, spread| Row { ratio: Some(ratio), spread: Some(spread), ..row("") };
        let rows = judge("b", vec![vec![with(1.0, 0.1), with(1.0, 0.5)], vec![with(1.2, 0.1), with(1.2, 0.1)]]);
        let told = noise(&rows);
        assert!(told.contains("spread by 10 %"), "{told}");
        assert!(told.contains("in 1 of 2 rows"), "{told}");
        assert!(noise(&[]).contains("unknown"));
    }

    /// Shows that a row is met only if all runs say so, and that rows of one name are put together in their order.
    #[test]
    fn runs_must_agree() {
        let (met, lost) = (row("<= 3 x"), row("<= 2 x"));
        let of = |runs: &[&[&Row]]| {
            let runs = runs.iter().map(|rows| rows.iter().map(|row| (*row).clone()).collect()).collect();
            judge("b", runs).into_iter().map(|judged| judged.verdict).collect::<Vec<_>>()
        };
        assert_eq!(of(&[&[&met]]), [Verdict::MetOnce]);
        assert_eq!(of(&[&[&met], &[&met]]), [Verdict::Met]);
        assert_eq!(of(&[&[&met], &[&lost]]), [Verdict::RunsDisagree]);
        assert_eq!(of(&[&[&met], &[]]), [Verdict::RunsDisagree]);
        assert_eq!(of(&[&[&met, &lost], &[&met, &lost]]), [Verdict::Met, Verdict::Lost]);
        assert_eq!(of(&[&[&row("")]]), [Verdict::NoTarget]);
    }
}
