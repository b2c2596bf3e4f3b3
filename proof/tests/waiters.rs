//! Promise: what a waiter was told is told to one other when it dies, whoever dies or stops on the way, and the count of
//! posted permits is exact.

use proof::script::troupes;
use proof::stage::Troupe;
use proof::sweep::{STEP_BUDGET, pile_up_sweep, second_order_sweep, stop_sweep};
use proof::waiters::{acts, narrow_stage, scripts};

/// With room at the condition, and with one place that is left there.
fn both() -> [Troupe; 2] {
    let [.., wide] = troupes();
    [wide, Troupe { stage: narrow_stage(), acts: acts() }]
}

/// Every script of waiters and posted permits, its victim killed before each step, and the recoverer before each of its own.
#[test]
fn kill_the_recoverer_at_every_step() {
    let (mut points, mut pairs) = (0, 0);
    for script in scripts() {
        let (a, b) = second_order_sweep(&script, 1);
        eprintln!("{a:6} points, {b:8} pairs: {}", script.name);
        points += a;
        pairs += b;
    }
    eprintln!("{points:6} points, {pairs} pairs, no violation, no leaked byte");
}

/// A death at every step of an act, while another act is half done, at every step of it, and not recovered.
#[test]
fn kill_while_another_death_is_unsettled() {
    let pairs = pile_up_sweep(&both(), 1);
    eprintln!("{pairs} pairs, no violation, no leaked byte");
    assert!(pairs > 50_000);
}

/// Stopped at any step; two others do everything; then it goes on, or is killed there.
#[test]
fn stop_at_every_step() {
    let (mut points, mut worst) = (0, 0);
    for troupe in &both() {
        for act in &troupe.acts {
            let seen = stop_sweep(troupe, act, 1);
            eprintln!("{:6} points, worst {:5} steps: {}", seen.points, seen.worst, act.name);
            points += seen.points;
            worst = worst.max(seen.worst);
        }
    }
    eprintln!("{points:6} points, worst operation of the others {worst} of {STEP_BUDGET} steps");
}
