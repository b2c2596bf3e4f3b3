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
//! **Two systems.** The modules [`kernel`], [`segment`] and [`twin`] have two files each: one for Linux, and one in `portable/`
//! for every other system, which promises less. The attributes below choose; nobody above can tell which it is.
//!
//! **What never passes.** Nothing here knows Arrow or ndarray, or what the bytes of an object mean. No pointer goes up but
//! the two mappings that [`segment`] lends to the storey above. No protocol has a `#[cfg]`.
//!
//! From the ground; a file imports, and calls methods of [`tables::Tables`] and [`seat::Core`], from the rows below its own only:
//!
//! | row | files | what they are |
//! |---|---|---|
//! | 1 | [`word`], [`mem`], [`geometry`], [`front`] | bits and their allowed steps; access by offset; where everything lies; the first page |
//! | 1 | [`answers`], [`kernel`], [`forked`], [`twin`], [`spin`], [`crew`] | the system, and how it answers; what a forked child must not use; bytes mapped once more; spinning; work by several threads |
//! | 2 | [`sys`], [`segment`], [`tables`] | what protocols ask; the file and its mappings; the words by name |
//! | 3 | [`seat`] | participants |
//! | 4 | [`zone`], [`wait`], [`bells`] | memory; bells; several of them |
//! | 5 | [`part`], [`cell`], [`list`] | words of parts, rings and the directory: read, and erased by teardown |
//! | 6 | [`object`] | put, pin, reclaim |
//! | 7 | [`hold`], [`name`], [`lease`], [`chain`], [`ring`] | what stands on objects |
//! | 8 | [`broadcast`], [`account`] | feeds; who keeps what |
//! | 9 | [`verify`], [`recover`] | every word, looked at: reported, settled |
//! | 10 | [`lock`], [`waiters`], [`maker`], [`end`] | what waits for those who may be dead; the arena's own end |

pub mod account;
pub mod answers;
pub mod bells;
pub mod broadcast;
pub mod cell;
pub mod chain;
pub mod crew;
pub mod end;
pub mod forked;
pub mod front;
pub mod geometry;
pub mod hold;
#[cfg_attr(
    any(not(target_os = "linux"), all(feature = "portable", not(feature = "proof"))),
    path = "portable/kernel.rs"
)]
pub mod kernel;
pub mod lease;
pub mod list;
pub mod lock;
pub mod maker;
pub mod mem;
pub mod name;
pub mod object;
pub mod part;
pub mod recover;
pub mod ring;
pub mod seat;
#[cfg_attr(
    any(not(target_os = "linux"), all(feature = "portable", not(feature = "proof"))),
    path = "portable/segment.rs"
)]
pub mod segment;
pub mod spin;
mod stash;
/// What the other back-end is made of, for the tests that it has of its own: here they run where Linux's is at work.
#[cfg(all(test, target_os = "linux", feature = "portable", feature = "proof"))]
#[allow(dead_code, reason = "only the tests use it")]
#[path = "portable"]
mod portable {
    mod lanes;
    mod pages;
}
pub mod sys;
pub mod tables;
#[cfg_attr(any(not(target_os = "linux"), all(feature = "portable", not(feature = "proof"))), path = "portable/twin.rs")]
pub mod twin;
pub mod verify;
pub mod wait;
pub mod waiters;
pub mod word;
pub mod zone;
