//! doctor: what this machine offers to arenas, and what it costs.
//!
//! - `place`, `machine`, `calls`: what is looked at; `proc`: the files of /proc and /sys that say it.
//! - `trial`: an arena that is made and used. `speed`: what is measured in it.
//! - `finding`: how one thing is told.

mod calls;
mod finding;
mod machine;
mod place;
mod proc;
mod speed;
mod trial;

use faretra::{GIB, MIB};
use serde_json::json;

use crate::args::{Cli, Doctor};
use crate::failure::{Failure, Result};
use crate::open::options;
use crate::out::{Grid, Out, Side, bold, path_json};
use crate::size;
use finding::{Finding, Verdict};
use speed::Figure;

/// What measuring uses of memory at most: copies and an arena.
const MEASURED: u64 = 512 * MIB;

/// `faretra doctor`
pub fn doctor(cli: &Cli, args: &Doctor) -> Result<()> {
    let dir = place::directory(cli.dir.as_deref().filter(|dir| !dir.as_os_str().is_empty()));
    let cgroup = machine::cgroup();
    let place = place::look(&dir);
    let (trial, arena) = trial::look(&options(cli).dir(&dir));
    let mut findings = vec![trial];
    findings.extend(place.findings);
    findings.push(machine::proc_mounted());
    let calls = calls::look(&dir);
    findings.extend(machine::look(cgroup));
    let works = arena.is_some();
    let mut figures = Vec::new();
    if let Some(arena) = arena.filter(|_| !args.quick) {
        // What is in the way of all of that at once is not in the way of a part.
        let free = place.free.unwrap_or(0).min(cgroup.map_or(u64::MAX, |group| group.left)).min(GIB);
        figures = speed::measure(&arena, &dir, free.min(MEASURED))?;
    }
    let mut out = Out::new();
    if cli.json {
        let (kernel, architecture) = machine::system();
        out.json(&json!({
            "works": works,
            "dir": path_json(&dir),
            "faretra": env!("CARGO_PKG_VERSION"),
            "kernel": kernel,
            "architecture": architecture,
            "findings": findings.iter().chain(&calls).map(Finding::json).collect::<Vec<_>>(),
            "measured": figures.iter().map(Figure::json).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&findings, &calls, args.all, &mut out)?;
        print_figures(&figures, &mut out)?;
    }
    out.finish()?;
    if works {
        return Ok(());
    }
    let failing = findings.iter().chain(&calls).filter(|found| found.verdict == Verdict::Fails);
    let failing: Vec<&str> = failing.map(|found| found.what).filter(|what| *what != "arenas").collect();
    let named = match failing.as_slice() {
        [] => "the line `arenas` says why".to_owned(),
        failing => format!("see {}", failing.join(", ")),
    };
    Err(Failure::new(format!("arenas do not work in {}: {named}", dir.display())))
}

fn print(findings: &[Finding], calls: &[Finding], all: bool, out: &mut Out) -> Result<()> {
    let (kernel, architecture) = machine::system();
    out.line(bold(&format!("faretra {} on Linux {kernel} {architecture}", env!("CARGO_PKG_VERSION"))))?;
    let mut grid = Grid::new(&[("", Side::Left), ("CHECK", Side::Left), ("HERE", Side::Left)]);
    let mut row = |found: &Finding| grid.row([found.verdict.word().into(), found.what.into(), found.here.clone()]);
    findings.iter().for_each(&mut row);
    let fine = |found: &&Finding| found.verdict == Verdict::Fine && found.here == "works";
    calls.iter().filter(|found| all || !fine(found)).for_each(&mut row);
    if !all {
        let work = calls.iter().filter(fine).count();
        let here = format!("{work} of {} work", calls.len());
        let verdict = if work == calls.len() { Verdict::Fine } else { Verdict::Note };
        row(&Finding::fine("system calls", here, json!(null), "").or(true, verdict));
    }
    grid.print(out, 0)?;
    for found in findings.iter().chain(calls).filter(|found| all || found.verdict != Verdict::Fine) {
        out.line("")?;
        out.line(format!("{}: {}", bold(found.what), found.why))?;
        for line in &found.change {
            out.line(format!("    {line}"))?;
        }
    }
    Ok(())
}

fn print_figures(figures: &[Figure], out: &mut Out) -> Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut grid = Grid::new(&[
        ("MEASURED", Side::Left),
        ("HERE", Side::Right),
        ("", Side::Right),
        ("RATIO", Side::Left),
        ("README", Side::Left),
    ]);
    for figure in figures {
        grid.row([
            figure.what.clone(),
            size::duration(figure.time),
            figure.rate.clone(),
            figure.ratio.map_or_else(String::new, |(ratio, beside)| format!("{ratio:.2} {beside}")),
            figure.readme.to_owned(),
        ]);
    }
    grid.print(out, 0)?;
    out.line("one quick run beside what else runs now; the README's figures are of a release build on another machine")
}
