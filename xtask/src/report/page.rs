//! The report for people: a table on the terminal, and a page.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use maud::{DOCTYPE, PreEscaped, html};

use super::plot::Plots;
use super::row::{Judged, Row, Verdict};
use super::text::{number, time};

const HEAD: [&str; 11] =
    ["what", "p50 or value", "p99", "p99.9", "CPU", "faults", "major", "floor", "spread of floor", "ratio", "target"];

/// The cells of a row: numbers of two runs stand beside each other.
fn cells(judged: &Judged) -> [String; 11] {
    let each = |of: &dyn Fn(&Row) -> Option<String>| {
        let told: Vec<String> = judged.runs.iter().filter_map(of).collect();
        told.join(" / ")
    };
    let first = judged.runs.first();
    [
        first.map(|row| row.what.clone()).unwrap_or_default(),
        each(&|row| {
            let value = || row.value.map(|value| format!("{} {}", number(value), row.unit).trim_end().to_owned());
            row.p50.map(time).or_else(value).or_else(|| row.shown.clone())
        }),
        each(&|row| row.p99.map(time)),
        each(&|row| row.p999.map(time)),
        each(&|row| row.cpu.map(time)),
        each(&|row| row.minor_faults.map(|faults| format!("{faults:.2}"))),
        each(&|row| row.major_faults.map(|faults| format!("{faults:.2}"))),
        each(&|row| row.floor.map(time)),
        each(&|row| row.spread.map(|spread| format!("{:.0} %", spread * 100.0))),
        each(&|row| row.ratio.map(|ratio| format!("{ratio:.2}"))),
        first.map(|row| row.target.clone()).unwrap_or_default(),
    ]
}

/// Characters of a line: the terminal's, or COLUMNS, or 120.
pub fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.or_else(|| Table::new().width()).unwrap_or(120)
}

/// The rows that have a target, in lines of so many characters.
pub fn table(rows: &[Judged], width: u16) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(["verdict", "what", "measured", "floor", "ratio", "target"]);
    for judged in rows.iter().filter(|judged| judged.verdict != Verdict::NoTarget) {
        let section = judged.runs.first().map(|row| row.section.clone()).unwrap_or_default();
        let [what, measured, .., floor, _, ratio, target] = cells(judged);
        let what = if section.is_empty() { what } else { format!("{section}: {what}") };
        table.add_row([judged.verdict.words().to_owned(), what, measured, floor, ratio, target]);
    }
    table.to_string()
}

/// How many rows have each verdict.
pub fn tally(rows: &[Judged]) -> String {
    let all = [Verdict::Met, Verdict::MetOnce, Verdict::Lost, Verdict::RunsDisagree, Verdict::NoTarget];
    let of = |verdict| rows.iter().filter(|judged| judged.verdict == verdict).count();
    let told = all.map(|verdict| (of(verdict), verdict.words())).into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, words)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
}

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1850px;padding:0 1em}\
table{border-collapse:collapse;margin:.5em 0 2em}td,th{border-bottom:1px solid #ddd;padding:.2em .7em;text-align:left}\
.met,.met-once{color:#17692d}.lost{color:#a31515;font-weight:600}.runs-disagree{color:#8a5a00;font-weight:600}\
.no-target{color:#777}th{white-space:nowrap}.plots{display:flex;flex-wrap:wrap}";

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::MetOnce => "met-once",
        Verdict::Lost => "lost",
        Verdict::RunsDisagree => "runs-disagree",
        Verdict::NoTarget => "no-target",
    }
}

/// The page: where it was measured, plots, and every row.
pub fn page(machine: &[(String, String)], rows: &[Judged], plots: &[Plots]) -> String {
    let name = |judged: &Judged| {
        let section = judged.runs.first().map(|row| row.section.clone()).unwrap_or_default();
        (judged.bench.clone(), section)
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Faretra: bench report" } style { (PreEscaped(STYLE)) } }
            body {
                h1 { "Bench report" }
                p { (tally(rows)) ". Two numbers in a cell are those of two runs; a row is met if it is met in both." }
                table { @for (what, value) in machine { tr { th { (what) } td { (value) } } } }
                @for plots in plots {
                    h2 { (plots.section) }
                    div class="plots" { @for picture in &plots.pictures { (PreEscaped(picture)) } }
                }
                @for rows in rows.chunk_by(|a, b| name(a) == name(b)) {
                    @let (bench, section) = rows.first().map(name).unwrap_or_default();
                    h2 { (bench) ": " (section) }
                    table {
                        tr { @for head in HEAD { th { (head) } } th { "verdict" } }
                        @for judged in rows {
                            tr {
                                @for cell in cells(judged) { td { (cell) } }
                                td class=(class(judged.verdict)) { (judged.verdict.words()) }
                            }
                        }
                    }
                }
            }
        }
    }
    .into_string()
}
