//! Lines over sizes: how long an item takes, and how many bytes go through in a second.

use std::collections::BTreeMap;
use std::error::Error;

use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea, IntoLogRange, LineSeries, Palette, Palette99, PathElement, SVGBackend,
    SeriesLabelPosition,
};
use plotters::style::{BLACK, Color, WHITE};

use super::row::Judged;

/// The points of each way.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

/// What is drawn of one section: its name, and pictures as SVG.
pub struct Plots {
    pub section: String,
    pub pictures: Vec<String>,
}

/// Two pictures of each section that has a way at two sizes or more.
pub fn all(rows: &[Judged]) -> Result<Vec<Plots>, Box<dyn Error>> {
    let mut sections: BTreeMap<(&str, &str), Lines> = BTreeMap::new();
    for judged in rows {
        let Some(row) = judged.runs.first() else { continue };
        if let (Some(bytes), Some(way), Some(p50)) = (row.bytes, &row.way, row.p50) {
            let section = sections.entry((&judged.bench, &row.section)).or_default();
            section.entry(way.clone()).or_default().push((bytes as f64, p50));
        }
    }
    let mut plots = vec![];
    for ((bench, section), mut lines) in sections {
        lines.retain(|_, points| points.len() > 1);
        if lines.is_empty() {
            continue;
        }
        let latency =
            lines.iter().map(|(way, points)| (way.clone(), points.iter().map(|(b, ns)| (*b, ns / 1e3)).collect()));
        let throughput =
            lines.iter().map(|(way, points)| (way.clone(), points.iter().map(|(b, ns)| (*b, b / ns)).collect()));
        let pictures = vec![
            draw("p50, microseconds", SeriesLabelPosition::UpperLeft, &latency.collect())?,
            draw("GB a second", SeriesLabelPosition::LowerRight, &throughput.collect())?,
        ];
        plots.push(Plots { section: format!("{bench}: {section}"), pictures });
    }
    Ok(plots)
}

fn draw(axis: &str, labels: SeriesLabelPosition, lines: &Lines) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let all = || lines.values().flatten();
        let range = |of: fn(&(f64, f64)) -> f64, room: f64| {
            let (low, high) = all().map(of).fold((f64::MAX, f64::MIN), |(low, high), n| (low.min(n), high.max(n)));
            low / room..high * room
        };
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(range(|p| p.0, 1.2).log_scale().base(4.0), range(|p| p.1, 1.5).log_scale())?;
        chart.configure_mesh().x_desc("size").y_desc(axis).x_label_formatter(&|b| size(*b)).draw()?;
        for (i, (way, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let mut points = points.clone();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                .label(way)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(labels)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(text)
}

/// Bytes for people.
fn size(bytes: f64) -> String {
    let units = [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bytes >= *unit).unwrap_or((1.0, "B"));
    format!("{:.0} {name}", bytes / unit)
}
