//! Plots of whatever rows carry: lines over sizes, over processes and over the parts of all times. No bench is named here.

use std::collections::BTreeMap;
use std::error::Error;

use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea, IntoFont, IntoLogRange, LineSeries, Palette, Palette99, PathElement,
    SVGBackend, Text,
};
use plotters::style::{Color, WHITE};

use super::row::{Judged, Row};
use super::text::size;

/// The points of each way.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

/// What is drawn of a section: of each picture the unit, and lines.
type Drawn = BTreeMap<Shows, (String, Lines)>;

/// What is drawn of one section: its name, and pictures as SVG.
pub struct Plots {
    pub section: String,
    pub pictures: Vec<String>,
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shows {
    Latency,
    Throughput,
    Memory,
    Processes,
    /// p50, p99 and p99.9 at one size.
    Tails(u64),
}

impl Shows {
    /// What stands below, and where there are lines in the picture.
    fn below(self) -> (&'static str, f64, fn(f64) -> String) {
        match self {
            Shows::Processes => ("processes on each side", 2.0, |count| format!("{count:.0}")),
            // A part is drawn at ten to the power of how many nines it has.
            Shows::Tails(_) => ("part of all times", 10.0, |nines| match nines {
                ..2.0 => "p50".into(),
                ..20.0 => String::new(),
                ..200.0 => "p99".into(),
                _ => "p99.9".into(),
            }),
            _ => ("size of an item", 4.0, size),
        }
    }

    /// What stands on the left.
    fn beside(self, unit: &str) -> String {
        match self {
            Shows::Latency => "p50, microseconds".into(),
            Shows::Throughput => "GB a second, one item at a time".into(),
            Shows::Memory => "bytes reserved for a byte that lives".into(),
            Shows::Processes if unit.is_empty() => "p50, microseconds".into(),
            Shows::Processes => unit.into(),
            Shows::Tails(0) => "microseconds".into(),
            Shows::Tails(bytes) => format!("{}: microseconds", size(bytes as f64)),
        }
    }
}

/// The points that a row is.
fn points(row: &Row) -> Vec<(Shows, f64, f64)> {
    let bytes = row.bytes.map(|bytes| bytes as f64);
    if let Some(processes) = row.processes {
        let y = row.value.or(row.p50.map(|ns| ns / 1e3));
        return y.map(|y| (Shows::Processes, processes as f64, y)).into_iter().collect();
    }
    if row.kind == Row::MEMORY {
        return bytes.zip(row.value).map(|(x, y)| (Shows::Memory, x, y)).into_iter().collect();
    }
    let latency = bytes.zip(row.p50).map(|(x, ns)| (Shows::Latency, x, ns / 1e3));
    let throughput = bytes.zip(row.rate).map(|(x, rate)| (Shows::Throughput, x, rate / 1e9));
    let tails = row.p999.map(|_| [(1.0, row.p50), (100.0, row.p99), (1000.0, row.p999)]).into_iter().flatten();
    let tails = tails.filter_map(|(x, ns)| Some((Shows::Tails(row.bytes.unwrap_or(0)), x, ns? / 1e3)));
    latency.into_iter().chain(throughput).chain(tails).collect()
}

/// The pictures of each section: whatever has two points or more.
pub fn all(rows: &[Judged]) -> Result<Vec<Plots>, Box<dyn Error>> {
    let mut order: Vec<(&str, &str)> = vec![];
    let mut sections: BTreeMap<(&str, &str), Drawn> = BTreeMap::new();
    for judged in rows {
        let Some(row) = judged.runs.first() else { continue };
        let Some(way) = &row.way else { continue };
        let section = (judged.bench.as_str(), row.section.as_str());
        for (shows, x, y) in points(row).into_iter().filter(|(_, x, y)| *x > 0.0 && *y > 0.0) {
            if !order.contains(&section) {
                order.push(section);
            }
            let (unit, lines) = sections.entry(section).or_default().entry(shows).or_default();
            unit.clone_from(&row.unit);
            lines.entry(way.clone()).or_default().push((x, y));
        }
    }
    let mut plots = vec![];
    for (bench, section) in order {
        let Some(mut drawn) = sections.remove(&(bench, section)) else { continue };
        // Tails of the smallest size and of the largest say enough.
        let tails: Vec<Shows> = drawn.keys().copied().filter(|shows| matches!(shows, Shows::Tails(_))).collect();
        drawn.retain(|shows, _| !tails.contains(shows) || Some(shows) == tails.first() || Some(shows) == tails.last());
        let mut pictures = vec![];
        for (shows, (unit, mut lines)) in drawn {
            lines.retain(|_, points| points.len() > 1);
            if !lines.is_empty() {
                pictures.push(draw(shows, &unit, &lines)?);
            }
        }
        if !pictures.is_empty() {
            plots.push(Plots { section: format!("{bench}: {section}"), pictures });
        }
    }
    Ok(plots)
}

/// A picture's width without the names of its lines, and its height.
const PICTURE: (u32, u32) = (600, 420);
const NAMES: u32 = 290;

fn draw(shows: Shows, unit: &str, lines: &Lines) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (PICTURE.0 + NAMES, PICTURE.1)).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(PICTURE.0);
        let all = || lines.values().flatten();
        let range = |of: fn(&(f64, f64)) -> f64, room: f64| {
            let (low, high) = all().map(of).fold((f64::MAX, f64::MIN), |(low, high), n| (low.min(n), high.max(n)));
            low / room..high * room
        };
        let (below, base, label) = shows.below();
        let mut chart = ChartBuilder::on(&left)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(range(|p| p.0, 1.2).log_scale().base(base), range(|p| p.1, 1.5).log_scale())?;
        chart.configure_mesh().x_desc(below).y_desc(shows.beside(unit)).x_label_formatter(&|x| label(*x)).draw()?;
        for (i, (way, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            // Ours are to be found at once.
            let width = if way.contains("faretra") { 4 } else { 1 };
            let mut points = points.clone();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(width)))?;
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
            let y = 30 + 22 * i32::try_from(i)?;
            right.draw(&PathElement::new([(4, y), (26, y)], color.stroke_width(width)))?;
            right.draw(&Text::new(way.clone(), (32, y - 6), ("sans-serif", 13).into_font()))?;
        }
        area.present()?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::row::judge;
    use super::*;

    /// Shows that what is drawn of a row is decided by what it carries, not by who wrote it.
    #[test]
    fn rows_are_drawn_by_what_they_carry() {
        let row = |bytes: u64| Row {
            section: "s".into(),
            way: Some("w".into()),
            bytes: Some(bytes),
            what: bytes.to_string(),
            ..Row::default()
        };
        let of = |rows: Vec<Row>| {
            let plots = all(&judge("any", vec![rows])).unwrap();
            plots.into_iter().flat_map(|plots| plots.pictures).collect::<Vec<_>>()
        };
        let timed = |bytes| Row { p50: Some(2e3), ..row(bytes) };
        assert_eq!(of(vec![timed(1)]).len(), 0, "one point is no line");
        let latency = of(vec![timed(1024), timed(4096)]);
        assert_eq!(latency.len(), 1);
        assert!(latency[0].contains("p50, microseconds") && latency[0].contains("KiB"));
        let moved = |bytes| Row { rate: Some(1e9), ..timed(bytes) };
        assert_eq!(of(vec![moved(1024), moved(4096)]).len(), 2, "throughput too");
        let memory = |bytes| Row { value: Some(1.5), kind: Row::MEMORY.into(), ..row(bytes) };
        assert!(of(vec![memory(1024), memory(4096)])[0].contains("bytes reserved"));
        let scaled = |processes| Row { value: Some(5.0), unit: "items/s".into(), processes: Some(processes), ..row(8) };
        let drawn = of(vec![scaled(1), scaled(8)]);
        assert!(drawn[0].contains("items/s") && drawn[0].contains("processes on each side"));
        let tailed = Row { p99: Some(3e3), p999: Some(9e3), ..timed(1024) };
        assert!(of(vec![tailed])[0].contains("p99.9"));
    }
}
