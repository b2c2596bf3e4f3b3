//! What things cost, beside the floor that they stand on, measured in the same run.
//!
//! ```text
//! cargo bench --bench ratios                     everything: about two minutes, up to 5 GiB
//! cargo bench --bench ratios -- get publish      only these
//! cargo bench --bench ratios -- --quick          nothing larger than 64 MiB, fewer rounds
//! ```
//!
//! Absolute times are the machine's; ratios are ours. So every case is measured in turn with its floor
//! (plain memcpy of the same bytes, a `HashMap` behind a `Mutex`), round after round, and the table shows
//! medians. Short operations are timed in blocks, so that the clock is not what is measured: their "p99"
//! is that of the blocks' means.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]

mod alloc;
mod get;
mod load;
#[allow(dead_code, reason = "shared with `scenarios`")]
mod measure;
mod names;
mod private;
mod publish;
mod recovery;
mod seats;
mod setting;

use measure::Table;
use setting::{Outcome, Scale};

type Section = (&'static str, fn(Scale, &mut Table) -> Outcome);

const SECTIONS: &[Section] = &[
    ("get", get::run),
    ("publish", publish::run),
    ("newcomer", publish::newcomer),
    ("checksums", publish::checksums),
    ("private", private::run),
    ("alloc", alloc::run),
    ("names", names::run),
    ("recovery", recovery::run),
    ("load", load::run),
    ("seats", seats::run),
];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A participant that is told what to do, and may be killed: this program once more.
    if let [role, arena] = arguments.as_slice() {
        match role.as_str() {
            recovery::VICTIM => return recovery::victim(arena),
            load::ASKER => return load::asker(arena),
            publish::NEWCOMER => return publish::come_new(arena),
            _ => {}
        }
    }
    let scale = match arguments.iter().any(|a| a == "--quick") {
        true => Scale { largest: 64 << 20, names: 10_000, hurry: 4 },
        false => Scale { largest: 1 << 30, names: 1_000_000, hurry: 1 },
    };
    // Cargo adds `--bench`.
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
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
