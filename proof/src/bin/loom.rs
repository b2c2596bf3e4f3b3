//! The Dekker pairs under loom, with more preemptions than the tests take. `cargo xtask loom`.

#![allow(clippy::print_stdout, reason = "a command talks to its user")]

use std::sync::Arc;
use std::time::Instant;

use proof::weak::{Model, Reached, pairs};

fn main() {
    let most = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(5);
    let mut total = 0;
    for pair in pairs() {
        let reached = Arc::new(Reached::default());
        for model in Model::all() {
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
