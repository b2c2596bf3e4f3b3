//! Promise: a process killed at any instruction leaves nothing corrupted, hanging or leaking, and so does
//! one killed while it recovers; one that is stopped is waited for by nobody.

use proof::script::{acting_stage, scripts, troupes};
use proof::sweep::{
    STEP_BUDGET, a_stopped_holder_keeps_its_permit, kill_sweep, pile_up_sweep, second_order_sweep, stop_sweep,
};

/// Every script, its victim killed before each shared write and system call.
#[test]
fn kill_at_every_step() {
    let mut total = 0;
    for script in scripts() {
        let points = kill_sweep(&script);
        eprintln!("{points:6} points: {}", script.name);
        assert!(points > 3, "`{}` has no steps to kill at", script.name);
        total += points;
    }
    eprintln!("{total:6} points, no violation, no leaked byte");
}

/// Every script, its victim killed before each step, and the recoverer killed before each of its own.
#[test]
fn kill_the_recoverer_at_every_step() {
    let (mut points, mut pairs) = (0, 0);
    for script in scripts() {
        let (a, b) = second_order_sweep(&script, 7);
        eprintln!("{a:6} points, {b:8} pairs: {}", script.name);
        points += a;
        pairs += b;
    }
    eprintln!("{points:6} points, {pairs} pairs, no violation, no leaked byte");
}

/// A death in one act while another act is half done and not recovered.
#[test]
fn kill_while_another_death_is_unsettled() {
    let pairs = pile_up_sweep(&troupes(), 9);
    eprintln!("{pairs} pairs, no violation, no leaked byte");
}

/// Stopped at any step of anything; two others do everything; then it goes on, or is killed there.
#[test]
fn stop_at_every_step() {
    let (mut points, mut worst) = (0, 0);
    for troupe in &troupes() {
        for act in &troupe.acts {
            let seen = stop_sweep(troupe, act, 5);
            eprintln!("{:6} points, worst {:5} steps: {}", seen.points, seen.worst, act.name);
            assert!(seen.points > 0);
            points += seen.points;
            worst = worst.max(seen.worst);
        }
    }
    eprintln!("{points:6} points, worst operation of the others {worst} of {STEP_BUDGET} steps");
}

/// What was granted explicitly stays granted while its holder is stopped, and is not taken from the living.
#[test]
fn a_stopped_holder_keeps_its_permits() {
    a_stopped_holder_keeps_its_permit(&acting_stage());
}
