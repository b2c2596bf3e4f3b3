//! What programs do with an arena, each beside a floor or a rival that is measured in turn with it.
//!
//! ```text
//! cargo bench -p scenarios                     everything: some ten minutes, up to 4 GiB of shared memory
//! cargo bench -p scenarios -- churn seats      only these
//! cargo bench -p scenarios -- --quick          fewer rounds, smaller numbers: two minutes
//! ```
//!
//! `ratios` tells what one operation costs by itself; here it is how costs grow with names, readers, participants, columns, batches
//! and time. Participants that do something are processes: this program once more.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]

mod attach;
mod churn;
mod columns;
mod crew;
mod fan;
mod heap;
#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "../ratios/measure.rs"]
mod measure;
mod mix;
mod named;
#[allow(dead_code, unsafe_code, reason = "shared with `channel`; a futex and a plain mapping have no safe form")]
#[path = "../ratios/pair.rs"]
mod pair;
mod recovery;
mod seats;
mod select;
mod setting;
mod tables;
mod text;
mod traffic;

use measure::Table;
use pair::Outcome;
use setting::Scale;

type Section = (&'static str, fn(Scale, &mut Table) -> Outcome);

const SECTIONS: &[Section] = &[
    ("named", named::run),
    ("fan-out", fan::run),
    ("mix", mix::run),
    ("traffic", traffic::run),
    ("seats", seats::run),
    ("recovery", recovery::run),
    ("attach", attach::run),
    ("columns", columns::run),
    ("tables", tables::run),
    ("text", text::run),
    ("select", select::run),
    ("churn", churn::run),
];

/// What this program does as another process of a section.
type Role = (&'static str, fn(&crew::Told) -> Outcome);

const ROLES: &[Role] = &[
    (fan::READER, fan::reader),
    (traffic::WORKER, traffic::worker),
    (traffic::HEAP, traffic::heap),
    (seats::MEMBER, seats::member),
    (recovery::VICTIM, recovery::victim),
    (attach::VISITOR, attach::visitor),
    (select::PARTNER, select::partner),
    (churn::WORKER, churn::worker),
    (churn::HEAP, churn::heap),
];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(told) = crew::Told::read(&arguments)? {
        let (_, role) = ROLES.iter().find(|(name, _)| *name == told.role).ok_or("there is no such role")?;
        return role(&told);
    }
    let quick = arguments.iter().any(|a| a == "--quick");
    let scale = Scale { quick, hurry: if quick { 5 } else { 1 } };
    // Cargo adds `--bench`.
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|one| SECTIONS.iter().all(|(name, _)| name != **one)) {
        let all: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no section `{unknown}`: {}", all.join(", ")).into());
    }
    println!("load average before: {}", measure::load());
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|w| w.as_str() == *name) {
            let mut table = Table::new(name);
            section(scale, &mut table)?;
            table.print();
        }
    }
    println!("\nload average after: {}", measure::load());
    Ok(())
}
