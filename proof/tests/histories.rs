//! Promise: an arena is a map from names to values with rising versions, whatever dies; and damaged bytes
//! are errors, never a panic or an endless loop.

use std::sync::Arc;

use faretra::proof::{Core, Geometry, Kind, Params, Process, Tables, header};
use proof::sim::{Quiet, Sim, ok};
use proof::{flips, oracle};

/// Thousands of operations by three processes with deaths, against a map.
#[test]
fn histories_follow_the_oracle() {
    for seed in 0..8 {
        let seen = oracle::play(seed, 3000);
        eprintln!("seed {seed}: {seen:?}");
        assert!(seen.deaths > 50);
    }
}

/// Bits of every word in use flip, one at a time: everything still answers.
#[test]
fn flipped_bits_are_errors() {
    let seen = flips::sweep(1, 64);
    eprintln!("{} flips, {} errors, {} noticed", seen.flips, seen.errors, seen.noticed);
    for broken in seen.broken.iter().take(40) {
        eprintln!("{broken}");
    }
    assert!(seen.broken.is_empty(), "{} flips broke something", seen.broken.len());
    assert!(seen.noticed > 100);
}

/// As an arena grows, and when somebody joins, the kernel walks over each page a few times, not once for each extension.
#[test]
fn growth_walks_over_each_page_a_few_times() {
    let geo = Geometry::new(Params::standard(64 << 20, 4, 2)).expect("valid numbers");
    let sim = Sim::new(&geo, 1 << 20);
    sim.state().set(header::LIMIT, 1 << 30);
    let join = |process: usize| {
        let tables = Tables::new(sim.process(process, Arc::new(Quiet)), geo.clone());
        ok(Core::attach(tables, 4, Process::default(), "sim", |_| Ok(true))).expect("nobody is refused")
    };
    let writer = join(0);
    for i in 0..6000 {
        let draft = ok(writer.alloc(Kind::Bytes, 100));
        ok(writer.publish(&format!("object-{i}"), draft, None));
    }
    let published = sim.state().walked;
    ok(join(1).sweep());
    let joined = sim.state().walked - published;
    let records = 2 * 6000 * 13 * 8 / 4096;
    eprintln!(
        "{published} pages walked over by the writer, {joined} by another; words and records have some {records}"
    );
    assert!(published < 8 * records && joined < records / 2);
}
