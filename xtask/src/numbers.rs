//! The table of numbers in the README: made from one report of all benches, `benches/report.json`, which is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::report::{Judged, NOISE, Report, Row, Verdict, number, size, time};

/// The report that the table is made from: what `cargo xtask bench` wrote, without what the table does not show.
pub const SOURCE: &str = "benches/report.json";
const README: &str = "README.md";

const BEGIN: &str = "<!-- numbers: made from benches/report.json by `cargo xtask numbers --write`; do not edit -->";
const END: &str = "<!-- end of numbers -->";

/// The fact that says at which commit a report was made; for rows that were kept from an older one, with `of` and their bench.
const COMMIT: &str = "commit";

/// Takes the last report of the benches as the one that the README shows. Rows of benches that are not in it stay.
pub fn take(root: &Path, latest: &Path) -> Result<(), String> {
    let shown = root.join(SOURCE);
    let mut report = read(latest)?;
    if shown.exists() {
        report = keep_others(report, read(&shown)?);
    }
    report.rows.retain(|judged| judged.verdict != Verdict::NoTarget || is_matrix(judged) || has_ratio(judged));
    report.rows.iter_mut().flat_map(|judged| &mut judged.runs).for_each(shorten);
    let mut text = String::from("{\n\"machine\": [\n");
    text += &lines(&report.machine)?;
    text += "\n],\n\"rows\": [\n";
    text += &lines(&report.rows)?;
    text += "\n]\n}\n";
    write_file(&shown, &text)
}

/// A report, with what an older one says of benches that it does not have.
fn keep_others(new: Report, old: Report) -> Report {
    let of = |rows: &[Judged]| rows.iter().map(|judged| judged.bench.clone()).collect::<Vec<_>>();
    let (measured, mut benches) = (of(&new.rows), of(&old.rows));
    benches.extend(of(&new.rows));
    let mut machine = new.machine.clone();
    // What only the old one knows, such as versions of peers.
    machine
        .extend(old.machine.iter().filter(|(what, _)| new.fact(what).is_none() && !what.starts_with(COMMIT)).cloned());
    machine.retain(|(what, _)| what != NOISE);
    let mut rows = vec![];
    let mut done = BTreeSet::new();
    for bench in benches.into_iter().filter(|bench| done.insert(bench.clone())) {
        let from = if measured.contains(&bench) { &new } else { &old };
        rows.extend(from.rows.iter().filter(|judged| judged.bench == bench).cloned());
        let fact = format!("{COMMIT} of {bench}");
        if let Some(at) = from.fact(&fact).or_else(|| from.fact(COMMIT))
            && new.fact(COMMIT) != Some(at)
        {
            machine.push((fact, at.to_owned()));
        }
    }
    Report::new(machine, rows)
}

/// One a line, so that a change of one is a line.
fn lines<T: serde::Serialize>(all: &[T]) -> Result<String, String> {
    let lines: Result<Vec<String>, _> = all.iter().map(serde_json::to_string).collect();
    Ok(lines.map_err(|error| error.to_string())?.join(",\n"))
}

/// Leaves out what no table shows, and digits that nobody reads.
fn shorten(row: &mut Row) {
    let round = |number: f64| {
        let digits = 10_f64.powi(3 - number.abs().max(f64::MIN_POSITIVE).log10().floor() as i32);
        (number * digits).round() / digits
    };
    for number in [&mut row.p50, &mut row.floor, &mut row.ratio, &mut row.value, &mut row.spread] {
        *number = number.map(round);
    }
    *row = Row {
        p99: None,
        p999: None,
        cpu: None,
        minor_faults: None,
        major_faults: None,
        rate: None,
        ..std::mem::take(row)
    };
}

/// Writes the table into the README.
pub fn write(root: &Path) -> Result<(), String> {
    let text = made(root)?;
    write_file(&root.join(README), &text)
}

/// Whether the README shows what the committed report makes.
pub fn check(root: &Path) -> Result<(), String> {
    if made(root)? == read_file(&root.join(README))? {
        return Ok(());
    }
    Err(format!("{README} does not show what {SOURCE} makes: run `cargo xtask numbers --write`"))
}

/// The README with the table that the committed report makes.
fn made(root: &Path) -> Result<String, String> {
    let readme = read_file(&root.join(README))?;
    let marks = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = marks.ok_or_else(|| format!("{README} has no line `{BEGIN}` with `{END}` after it"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", section(&read(&root.join(SOURCE))?)))
}

fn read(path: &Path) -> Result<Report, String> {
    serde_json::from_str(&read_file(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

// ------------------------------------------------------------------------------------------------------ the tables

/// Everything between the two marks.
fn section(report: &Report) -> String {
    let fact = |name: &str| report.fact(name).unwrap_or("unknown");
    let mut older: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (what, at) in &report.machine {
        if let Some(bench) = what.strip_prefix(COMMIT).and_then(|of| of.strip_prefix(" of ")) {
            older.entry(at).or_default().push(bench);
        }
    }
    let older: Vec<String> = older.iter().map(|(at, benches)| format!("{} at {at}", benches.join(", "))).collect();
    let commit = match older.is_empty() {
        true => fact(COMMIT).to_owned(),
        false => format!("{} ({})", fact(COMMIT), older.join("; ")),
    };
    let mut text = format!(
        "Measured at commit {commit} on {} processors ({}), Linux {}, load {} before and {} after. {}. Peers: {}.\n",
        fact("how many"),
        fact("processor"),
        fact("kernel"),
        fact("load"),
        fact("load after"),
        capital(&format!("noise: {}", fact(NOISE))),
        fact("peers"),
    );
    text += "Of two runs the worse number is shown; **missed** is a row that we lose, *noisy* one of which the two runs disagree.\n\n";
    text += &targets(&report.rows);
    for (bench, section, rows) in matrices(&report.rows) {
        text += &format!("\n{}: {section}; the fastest of each size is bold, floors aside:\n\n", capital(bench));
        text += &matrix(&rows);
    }
    let others = others(&report.rows);
    if !others.is_empty() {
        text += "\n<details><summary>What has a floor but no target</summary>\n\n";
        text += &others;
        text += "\n</details>\n";
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Text that does not end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The worse of two runs: the one with the higher ratio, or if there is none, with the higher time or value. All numbers that
/// are shown of a row are of this run.
fn worse(judged: &Judged, of: fn(&Row) -> Option<f64>) -> Option<f64> {
    let bad = |row: &&Row| row.ratio.or(row.p50).or(row.value).unwrap_or(0.0);
    of(judged.runs.iter().max_by(|a, b| bad(a).total_cmp(&bad(b)))?)
}

fn measured(judged: &Judged) -> String {
    let first = judged.runs.first();
    let unit = first.map_or("", |row| row.unit.as_str());
    let value =
        || worse(judged, |row| row.value).map(|value| format!("{} {unit}", number(value)).trim_end().to_owned());
    let shown = || first.and_then(|row| row.shown.clone()).unwrap_or_default();
    worse(judged, |row| row.p50).map(time).or_else(value).unwrap_or_else(shown)
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::MetOnce => "met (one run)",
        Verdict::Lost => "**missed**",
        Verdict::RunsDisagree => "*noisy*",
        Verdict::NoTarget => "",
    }
}

/// The sections of a row, and what it is called there.
fn names(judged: &Judged) -> (&str, &str, &str) {
    let first = judged.runs.first();
    (&judged.bench, first.map_or("", |row| row.section.as_str()), first.map_or("", |row| row.what.as_str()))
}

fn is_size(what: &str) -> bool {
    what.split_once(' ')
        .is_some_and(|(number, unit)| number.parse::<u64>().is_ok() && ["B", "KiB", "MiB", "GiB"].contains(&unit))
}

/// What rows of different sizes have in common: None for a row that stands alone.
fn common(judged: &Judged) -> Option<(String, String)> {
    let row = judged.runs.first()?;
    let (_, section, what) = names(judged);
    let target = row.target.clone();
    if is_size(what) {
        return Some((section.to_owned(), target));
    }
    let way = row.way.clone().filter(|_| row.bytes.is_some() && row.processes.is_none())?;
    let floor = what.split_once("; ").map_or(String::new(), |(_, floor)| format!("; {floor}"));
    Some((format!("{section}: {way}{floor}"), target))
}

/// The rows that have a target: those that differ in size only are one line.
fn targets(rows: &[Judged]) -> String {
    let mut text =
        String::from("| what | measured | floor in the same run | ratio | target | |\n|---|---|---|---|---|---|\n");
    let rows: Vec<&Judged> = rows.iter().filter(|judged| judged.verdict != Verdict::NoTarget).collect();
    let mut groups: Vec<Vec<&Judged>> = vec![];
    for judged in rows {
        let alike = |group: &&mut Vec<&Judged>| {
            let common = |other: &Judged| common(other).filter(|_| other.bench == judged.bench);
            group.first().is_some_and(|first| common(first).is_some() && common(first) == common(judged))
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(judged),
            None => groups.push(vec![judged]),
        }
    }
    for same in &groups {
        let [first, ..] = &same[..] else { continue };
        let (bench, section, what) = names(first);
        let sizes: Vec<String> = same
            .iter()
            .map(|judged| {
                let bytes = judged.runs.first().and_then(|row| row.bytes).map(|bytes| size(bytes as f64));
                bytes.unwrap_or_else(|| names(judged).2.to_owned())
            })
            .collect();
        let what = match common(first) {
            Some((name, _)) => format!("{bench}, {name}: {}", sizes.join(", ")),
            None => format!("{bench}, {section}: {what}"),
        };
        let each = |of: &dyn Fn(&Judged) -> String| {
            let cells: Vec<String> = same.iter().map(|judged| of(judged)).collect();
            if cells.iter().all(String::is_empty) { String::new() } else { cells.join(", ") }
        };
        let alike = same.iter().all(|judged| judged.verdict == first.verdict);
        let apart = || {
            let each = sizes.iter().zip(same).map(|(size, judged)| format!("{size} {}", verdict(judged.verdict)));
            each.collect::<Vec<_>>().join(", ")
        };
        let told = if alike { verdict(first.verdict).to_owned() } else { apart() };
        text += &format!(
            "| {} | {} | {} | {} | {} | {told} |\n",
            cell(&what),
            cell(&each(&measured)),
            each(&|judged| worse(judged, |row| row.floor).map(time).unwrap_or_default()),
            each(&|judged| worse(judged, |row| row.ratio).map(|ratio| format!("{ratio:.2} x")).unwrap_or_default()),
            cell(&first.runs.first().map(|row| row.target.clone()).unwrap_or_default()),
        );
    }
    text
}

// -------------------------------------------------------------------------------------- ways beside each other

/// Sections of which the README shows all ways beside each other, size by size: how they begin.
const SIDE_BY_SIDE: [&str; 2] = ["first byte written to last byte read", "hand-over of an array"];

fn is_matrix(judged: &Judged) -> bool {
    let (bench, section, _) = names(judged);
    let shown = ["peers", "python"].contains(&bench) && SIDE_BY_SIDE.iter().any(|begins| section.starts_with(begins));
    shown && judged.verdict == Verdict::NoTarget
}

fn matrices(rows: &[Judged]) -> Vec<(&str, &str, Vec<&Judged>)> {
    let mut found: Vec<(&str, &str, Vec<&Judged>)> = vec![];
    for judged in rows.iter().filter(|judged| is_matrix(judged)) {
        let (bench, section, _) = names(judged);
        match found.iter_mut().find(|one| (one.0, one.1) == (bench, section)) {
            Some((.., rows)) => rows.push(judged),
            None => found.push((bench, section, vec![judged])),
        }
    }
    found
}

/// A line for each way, a column for each size: medians.
fn matrix(rows: &[&Judged]) -> String {
    let mut ways: Vec<&str> = vec![];
    let mut cells: BTreeMap<(&str, u64), &Judged> = BTreeMap::new();
    let mut sizes: Vec<u64> = vec![];
    for judged in rows {
        let Some(row) = judged.runs.first() else { continue };
        let way = row.way.as_deref().unwrap_or(&row.what);
        if !ways.contains(&way) {
            ways.push(way);
        }
        if let Some(bytes) = row.bytes {
            cells.insert((way, bytes), judged);
            sizes.push(bytes);
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    let is_floor = |way: &str| way.starts_with("shared buffer") || way.starts_with("memcpy");
    let p50 = |judged: &&Judged| worse(judged, |row| row.p50);
    let fastest = |bytes: u64| {
        let others = ways.iter().filter(|way| !is_floor(way));
        others.filter_map(|way| p50(cells.get(&(*way, bytes))?)).min_by(f64::total_cmp)
    };
    let heads: Vec<String> = sizes.iter().map(|bytes| size(*bytes as f64)).collect();
    let mut text = format!("| way | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(sizes.len()));
    for way in &ways {
        let missing = rows.iter().find_map(|judged| {
            let row = judged.runs.first()?;
            row.shown.clone().filter(|_| row.way.is_none() && row.what == *way)
        });
        let of = |bytes: &u64| match (cells.get(&(*way, *bytes)).and_then(p50), &missing) {
            (Some(p50), _) if Some(p50) == fastest(*bytes) => format!("**{}**", time(p50)),
            (Some(p50), _) => time(p50),
            (None, Some(why)) => cell(why),
            (None, None) => "-".into(),
        };
        text += &format!("| {} | {} |\n", cell(way), sizes.iter().map(of).collect::<Vec<_>>().join(" | "));
    }
    text
}

// ------------------------------------------------------------------------------------------------------- the rest

/// A row that is a ratio of one thing to another, which no target speaks of.
fn has_ratio(judged: &Judged) -> bool {
    judged.verdict == Verdict::NoTarget && judged.bench != "peers" && judged.runs.iter().any(|row| row.ratio.is_some())
}

fn others(rows: &[Judged]) -> String {
    let mut text = String::new();
    for judged in rows.iter().filter(|judged| has_ratio(judged) && !is_matrix(judged)) {
        let (bench, section, what) = names(judged);
        text += &format!(
            "| {} | {} | {} | {} |\n",
            cell(&format!("{bench}, {section}: {what}")),
            cell(&measured(judged)),
            worse(judged, |row| row.floor).map(time).unwrap_or_default(),
            worse(judged, |row| row.ratio).map(|ratio| format!("{ratio:.2} x")).unwrap_or_default(),
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("| what | measured | floor in the same run | ratio |\n|---|---|---|---|\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judge;

    /// Shows that the numbers in the README are those that the committed report makes, so that nobody writes them by hand.
    #[test]
    fn the_readme_shows_the_committed_report() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        check(root).unwrap();
    }

    /// Shows that a report of some benches leaves the rows of the others as they were, and says at which commit those were made.
    #[test]
    fn rows_of_other_benches_stay() {
        let of = |bench: &str, ratio: f64| judge(bench, vec![vec![Row { ratio: Some(ratio), ..Row::default() }]]);
        let at = |commit: &str, rows: Vec<Vec<Judged>>| {
            let machine = vec![(COMMIT.to_owned(), commit.to_owned()), (format!("peers {commit}"), "1.0".to_owned())];
            Report::new(machine, rows.into_iter().flatten().collect())
        };
        let first = at("one", vec![of("ratios", 1.0), of("sync", 1.1), of("peers", 1.2)]);
        let second = keep_others(at("two", vec![of("sync", 2.0)]), first);
        let third = keep_others(at("three", vec![of("ratios", 3.0), of("python", 3.1)]), second);
        let rows: Vec<_> = third.rows.iter().map(|judged| (judged.bench.as_str(), judged.runs[0].ratio)).collect();
        assert_eq!(rows, [("ratios", Some(3.0)), ("sync", Some(2.0)), ("peers", Some(1.2)), ("python", Some(3.1))]);
        let facts = [COMMIT, "commit of ratios", "commit of sync", "commit of peers", "peers one"];
        assert_eq!(facts.map(|fact| third.fact(fact)), [Some("three"), None, Some("two"), Some("one"), Some("1.0")]);
        let text = section(&third);
        assert!(text.starts_with("Measured at commit three (peers at one; sync at two) on "), "{text}");
        assert_eq!(text.matches("oise: ").count(), 1, "{text}");
    }

    /// Shows that rows that differ in size are one line, with what each of them is judged to be; that lost ones are marked;
    /// and that of two runs the worse is shown.
    #[test]
    fn lost_rows_are_there_and_marked() {
        let row = |bytes: u64, ratio: f64| Row {
            section: "publish".into(),
            what: format!("publish, warm {}; floor: memcpy", size(bytes as f64)),
            way: Some("publish, warm".into()),
            bytes: Some(bytes),
            p50: Some(ratio * 1e6),
            floor: Some(1e6),
            ratio: Some(ratio),
            target: "<= 0.75 x".into(),
            ..Row::default()
        };
        let runs = vec![vec![row(1 << 26, 0.8), row(1 << 30, 0.6)], vec![row(1 << 26, 0.9), row(1 << 30, 0.7)]];
        let text = targets(&judge("ratios", runs));
        let line = "| ratios, publish: publish, warm; floor: memcpy: 64 MiB, 1 GiB | 900.00 us, 700.00 us | 1.00 ms, 1.00 ms \
                    | 0.90 x, 0.70 x | <= 0.75 x | 64 MiB **missed**, 1 GiB met |\n";
        assert!(text.ends_with(line), "{text}");
        let disagreeing = vec![vec![row(1 << 26, 0.7)], vec![row(1 << 26, 0.8)]];
        assert!(targets(&judge("ratios", disagreeing)).contains("*noisy*"));
    }

    /// Shows that of ways beside each other the fastest is marked, unless it is a floor, and that one that was not there says so.
    #[test]
    fn the_fastest_is_marked() {
        let row = |way: &str, p50: f64| Row {
            section: "first byte written to last byte read, warm".into(),
            what: format!("{way}, 1 KiB"),
            way: Some(way.into()),
            bytes: Some(1024),
            p50: Some(p50),
            ..Row::default()
        };
        let missing =
            Row { shown: Some("not installed".into()), what: "ray".into(), way: None, bytes: None, ..row("", 1.0) };
        let missing = Row { p50: None, ..missing };
        let rows = vec![row("shared buffer, bare futex", 10.0), row("faretra", 30.0), row("pipe", 20.0), missing];
        let judged = judge("peers", vec![rows]);
        let (.., rows) = &matrices(&judged)[0];
        let text = matrix(rows);
        assert!(text.contains("| pipe | **20 ns** |\n") && text.contains("| faretra | 30 ns |\n"), "{text}");
        assert!(text.contains("| shared buffer, bare futex | 10 ns |\n"), "{text}");
        assert!(text.contains("| ray | not installed |\n"), "{text}");
    }
}
