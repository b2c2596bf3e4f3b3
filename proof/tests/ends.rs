//! Promise: an ephemeral arena goes with its last participant, however that ends; a kept one stays until it is removed;
//! nobody joins what is over, and nobody takes a new arena's name away.

use std::sync::Arc;

use proof::ends::{
    ENDS, beginnings, damaged_beginnings, kill_sweep, names_that_stay, race, second_order_sweep, stop_sweep,
};
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

/// A6 and A7: damage deletes nothing. Where a word of the arena's end is damaged, every end is killed at each step, and the
/// next one at each of its steps, and stopped at each step; and all race with each other.
#[test]
fn damaged_words_delete_nothing() {
    let (mut points, mut stops) = (0, 0);
    let mut raced = Searched { complete: true, ..Searched::default() };
    for begin in damaged_beginnings().into_iter().map(Arc::new) {
        for (i, one) in ENDS.iter().enumerate() {
            points += kill_sweep(&begin, one) + second_order_sweep(&begin, one, 5);
            stops += stop_sweep(&begin, one).points;
            for other in &ENDS[i..] {
                raced = raced.and(explore(race(&begin, &[*one, *other], None), 1, 500));
            }
        }
    }
    eprintln!("{points} deaths, {stops} stops; {raced:?}");
}

/// A name that cannot be taken away (by a sticky directory, or for want of memory) leaves the arena as it was.
#[test]
fn a_name_that_cannot_go_keeps_nobody_waiting() {
    eprintln!("{} tried", names_that_stay());
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
