//! The proof: what the guarantees of the README rest on.
//!
//! * [`sim`]: a segment and a kernel in memory, with a step before every access, at which a process may
//!   be killed, stopped, scheduled or counted.
//! * [`world`], [`script`]: participants, what they do, and what is asked of the arena afterwards.
//! * [`sweep`]: a death at every step, a death of the recoverer at every step, a stop at every step.

pub mod check;
pub mod ends;
pub mod flips;
pub mod granted;
pub mod hb;
pub mod items;
pub mod locks;
pub mod oracle;
pub mod pairs;
pub mod planted;
pub mod queue;
pub mod race;
pub mod ring_pairs;
pub mod script;
pub mod sim;
pub mod stage;
pub mod sweep;
pub mod weak;
pub mod world;
