//! The pairs under loom's weak memory, with more preemptions than the tests take. `cargo xtask loom`.
//!
//! `loom [PREEMPTIONS] [WORD]`: pairs whose name has the word. `loom survey [WORD]`: what each pair needs, by
//! weakening each class of its accesses.

#![allow(clippy::print_stdout, reason = "a command talks to its user")]

use std::sync::Arc;
use std::time::Instant;

use proof::pairs::pairs;
use proof::weak::{Model, Pair, Reached, survey};

fn main() {
    let mut args = std::env::args().skip(1);
    let first = args.next().unwrap_or_default();
    let word = args.next().unwrap_or_default();
    let chosen: Vec<Pair> = pairs().into_iter().filter(|p| p.name.contains(&word)).collect();
    if first == "survey" {
        std::panic::set_hook(Box::new(|_| {}));
        for pair in chosen {
            let began = Instant::now();
            println!("{}", pair.name);
            for (what, caught) in survey(&pair, 3) {
                println!("    {} {what:?}", if caught { "needed" } else { "  not " });
            }
            println!("    {:.1} s", began.elapsed().as_secs_f64());
        }
        return;
    }
    let most = first.parse().unwrap_or(5);
    let mut total = 0;
    for pair in chosen {
        let reached = Arc::new(Reached::default());
        for model in Model::all(&pair) {
            let began = Instant::now();
            let n = pair.run(model, most, &reached);
            total += n;
            let (fences, updates) = (model.fences, model.loads_update);
            let time = began.elapsed().as_secs_f64();
            println!("{n:8} executions {time:6.1} s: {}; fences {fences:?}, loads update: {updates}", pair.name);
        }
        println!("         reached {:?}", reached.counts());
    }
    println!("{total} executions with at most {most} preemptions, no violation");
}
