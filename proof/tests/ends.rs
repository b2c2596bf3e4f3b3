//! Promise: an ephemeral arena goes with its last participant, however that ends; a kept one stays until it is removed;
//! nobody joins what is over, and nobody takes a new arena's name away.

use std::sync::Arc;

use proof::ends::{ENDS, beginnings, kill_sweep, race, second_order_sweep, stop_sweep};
use proof::race::{Searched, explore};
use proof::sweep::STEP_BUDGET;

/// A1 to A5, with a death before each step, and then another one before each step of whoever comes next.
#[test]
fn kill_at_every_step() {
    let (mut points, mut pairs) = (0, 0);
    for begin in &beginnings() {
        for end in &ENDS {
            points += kill_sweep(begin, end);
            pairs += second_order_sweep(begin, end, 1);
        }
    }
    eprintln!("{points} points, {pairs} pairs, each with one owner of the name");
}

/// A1 to A5, with one stopped before each step while all others come and go.
#[test]
fn stop_at_every_step() {
    let (mut points, mut worst) = (0, 0);
    for begin in &beginnings() {
        for end in &ENDS {
            let seen = stop_sweep(begin, end);
            points += seen.points;
            worst = worst.max(seen.worst);
        }
    }
    eprintln!("{points} points, worst operation of the others {worst} of {STEP_BUDGET} steps");
}

/// A1 to A5, in every schedule of two with two preemptions, and of two one of whom dies with one.
#[test]
fn ends_race() {
    let mut all = Searched { complete: true, ..Searched::default() };
    for begin in beginnings().into_iter().map(Arc::new) {
        for (i, one) in ENDS.into_iter().enumerate() {
            for other in ENDS.into_iter().skip(i) {
                all = all.and(explore(race(&begin, &[one, other], None), 2, 2_000));
            }
            for other in ENDS {
                for step in (0..40).step_by(7) {
                    all = all.and(explore(race(&begin, &[one, other], Some((0, step))), 1, 5_000));
                }
            }
        }
    }
    eprintln!("{all:?}");
    assert!(all.deaths > 500);
}

/// A2, where the only one who takes part leaves while another one joins: every schedule with two preemptions. Nobody but one who
/// came by the file takes part in an ephemeral arena of the dead, and who opens it sees him.
#[test]
fn the_last_leaves_while_another_joins() {
    let begin = Arc::new(beginnings().into_iter().find(|begin| begin.name == "of the dead").expect("listed"));
    let end = |name: &str| ENDS.into_iter().find(|end| end.name == name).expect("listed");
    let seen = explore(race(&begin, &[end("join by the file, leave"), end("open, leave")], None), 2, 100_000);
    eprintln!("{seen:?}");
    assert!(seen.complete, "{seen:?}");
}
