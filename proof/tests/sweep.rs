//! Promise: a process killed at any instruction leaves nothing corrupted, hanging or leaking, and so does
//! one killed while it recovers.

use proof::world::{kill_sweep, scripts, second_order_sweep};

/// Every script, its victim killed before each shared write and system call.
#[test]
fn kill_at_every_step() {
    let mut total = 0;
    for script in scripts() {
        let points = kill_sweep(&script);
        println!("{points:6} points: {}", script.name);
        assert!(points > 3, "`{}` has no steps to kill at", script.name);
        total += points;
    }
    println!("{total:6} points, no violation, no leaked byte");
}

/// The same, and the recoverer killed before each of its own steps.
#[test]
fn kill_the_recoverer_at_every_step() {
    let (mut points, mut pairs) = (0, 0);
    for script in scripts() {
        let (a, b) = second_order_sweep(&script, 1);
        println!("{a:6} points, {b:8} pairs: {}", script.name);
        points += a;
        pairs += b;
    }
    println!("{points:6} points, {pairs} pairs, no violation, no leaked byte");
}
