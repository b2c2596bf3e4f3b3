//! The proof: what the guarantees of the README rest on.
//!
//! * [`sim`]: a segment in a map, a kernel that can be asked to fail, and a step before every access,
//!   at which a process may be killed, stopped, scheduled or counted.
//! * [`world`]: scripts of operations, and what must hold after any of their steps was the last.
//! * `tests/`: kill, second-order and stop sweeps; shuttle with deaths and a happens-before detector;
//!   loom for the Dekker pairs; every one of them with planted bugs that it must catch.

pub mod sim;
pub mod world;
