//! The proof: what the guarantees of the README rest on.
//!
//! * [`sim`]: a segment and a kernel in memory, with a step before every access, at which a process may
//!   be killed, stopped, scheduled or counted.
//! * [`world`], [`locks`], [`items`]: participants, and what they put into an arena; [`check`]: what is asked of it afterwards.
//! * [`stage`], [`script`], [`granted`], [`queue`], [`waiters`]: where scripts and acts begin, and what they do.
//! * [`sweep`]: a death at every step, a death of the recoverer at every step, a stop at every step.
//! * [`race`], [`hb`], [`weak`], [`pairs`], [`ring_pairs`], [`waiter_pairs`]: every schedule, the order of memory, weak memory.
//! * [`ends`]: all of that for the arena's own end.
//! * [`oracle`], [`flips`], [`planted`]: histories against a map, damage, and bugs that must be noticed.
//!
//! ARCHITECTURE.md says what each finds and misses, HISTORY.md beside this folder what they found.

pub mod chains;
pub mod check;
pub mod ends;
pub mod flips;
pub mod granted;
pub mod hb;
pub mod items;
pub mod locks;
pub mod makers;
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
pub mod told;
pub mod waiter_pairs;
pub mod waiters;
pub mod weak;
pub mod world;
