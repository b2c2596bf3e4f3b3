//! The first storey: one segment, the processes that take part in it, and the objects in it.
//!
//! **What it promises upward.** Whatever process dies or stops at whatever instruction: an object that was published is
//! whole and unchanged for as long as somebody keeps it; what the dead held comes back by recovery, exactly; nobody waits
//! for a process, except for what that process was granted. Damaged words are errors.
//!
//! **What it needs from below.** Words by offset ([`mem`]: load, store, compare-and-swap, add) and the kernel ([`sys`]:
//! commit and punch pages, locks that end with their process, sleep and wake). In production both are [`segment`]; the
//! proof puts a memory of its own under the same protocols, with a step before every access.
//!
//! **What never passes.** Nothing here knows Arrow or ndarray, or what the bytes of an object mean. No pointer goes up but
//! the two mappings that [`segment`] lends to the storey above. No protocol has a `#[cfg]`.
//!
//! From the ground:
//!
//! | row | files | what they are |
//! |---|---|---|
//! | 1 | [`word`], [`mem`], [`geometry`] | bits and their allowed steps; access by offset; where everything lies |
//! | 2 | [`sys`], [`segment`], [`tables`] | the kernel; the file and its mappings; the words by name |
//! | 3 | [`seat`], [`zone`] | participants; memory |
//! | 4 | [`object`], [`hold`], [`name`], [`wait`], [`lock`], [`ring`], [`broadcast`], [`recover`] | the protocols |

pub mod account;
pub mod broadcast;
pub mod cell;
pub mod end;
pub mod geometry;
pub mod hold;
pub mod lease;
pub mod list;
pub mod lock;
pub mod mem;
pub mod name;
pub mod object;
pub mod part;
pub mod recover;
pub mod ring;
pub mod seat;
pub mod segment;
pub mod sys;
pub mod tables;
pub mod verify;
pub mod wait;
pub mod word;
pub mod zone;
