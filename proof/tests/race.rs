//! Promise: no interleaving of participants loses an object, tears one, frees one under a reader, gives a
//! version twice or leaks a byte, also when one of them dies on the way.

use proof::race::{Race, Searched, explore, random};
use proof::script::{acting_stage, acts};

/// Every pair of acts, every schedule with at most one preemption on either side.
#[test]
fn every_pair_with_two_preemptions() {
    let (stage, acts) = (acting_stage(), acts());
    let mut all = Searched { complete: true, ..Searched::default() };
    for (i, a) in acts.iter().enumerate() {
        for b in &acts[i..] {
            let began = std::time::Instant::now();
            let found = explore(Race::new(&stage, &[a, b]), std::env::var("B").map_or(1,|b|b.parse().unwrap()), 200_000);
            println!("{:8} schedules, {:4} ends, complete {}, {:.1} s: {} || {}", found.schedules, found.ends, found.complete, began.elapsed().as_secs_f64(), a.name, b.name);
            all = all.and(found);
        }
    }
    println!("{all:?}");
}

/// Three at once, in any order, one of them killed at a random step.
#[test]
fn random_triples() {
    let found = random(vec![acting_stage()], acts, 1, 3000);
    println!("{found:?}");
    assert!(found.deaths > 100);
}
