//! Promise: an arena is a map from names to values with rising versions, whatever dies; and damaged bytes
//! are errors, never a panic or an endless loop.

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
