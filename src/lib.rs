//! Share Arrow batches and n-dimensional arrays between processes without copying them.
//!
//! An **arena** is one named shared-memory segment, mapped by every process that takes part. It holds
//! a lock-free allocator, immutable **objects** (record batches, tables, arrays, bytes, bundles) and a
//! directory of names. There is no daemon and no side file, and no background thread unless
//! a [`Pollable`] or a future needs one (see [`ready`]).
//!
//! ```
//! use faretra::{Arena, KIB, MIB};
//! use ndarray::{Ix2, array};
//!
//! # let name = format!("doc-{}", std::process::id());
//! # let name = name.as_str();
//! let arena = Arena::options().limit(64 * MIB).keep(false).create(name)?;
//! let writer = arena.writer()?;
//! writer.publish("weights", array![[1.0_f32, 2.0], [3.0, 4.0]].view())?;
//!
//! // In any other process: no copy, no system call, and nobody can change it under you.
//! let arena = Arena::open(name)?;
//! let weights = arena.array::<f32, Ix2>("weights")?;
//! assert_eq!(weights.sum(), 10.0);
//! # Ok::<(), faretra::Error>(())
//! ```
//!
//! # What is promised
//!
//! Kill any process at any instruction, and nothing is corrupted, nothing hangs, nothing leaks: a
//! published object is whole or not there, waiters go on, and what the dead process held comes back
//! with the next recovery, which anybody runs. The README lists the promises with the tests that show
//! them; ARCHITECTURE.md says how they are kept.
//!
//! # What can go wrong
//!
//! * Memory runs out: [`Error::NoSpace`] says how much was asked, how much is free, and who keeps the
//!   most. Nothing is lost, and never SIGBUS from our own writes.
//! * A reader that does not let go keeps what it reads in memory. [`Arena::who`] names it.
//! * After `fork`, the child has to reopen the arena; see below.
//! * Processes that can write the segment are trusted to run this code. They are not trusted to stay
//!   alive, or to be fast. See [`Options::trust_others`].
//!
//! # Other systems than Linux
//!
//! What this documentation says is said of Linux. On every other system, and on Linux with the feature `portable`, another
//! back-end does what can be done without Linux's locks and futexes. Nothing that was published is lost or changed by a kill
//! there either, and waiters go on; but readers' pages can be written, a death may be noticed later, memory that is freed stays
//! with its arena, memory can run out in the middle of a write, and an arena is for one user. The README has the whole table.
//! Nobody has run that back-end on macOS or Windows yet.
//!
//! # Waiting
//!
//! What can wait has four forms: `x` waits without an end, `try_x` does not wait, `x_timeout` waits for a time and
//! `x_deadline` until a time. A call that waits for several things one after another has one timeout for all of them.
//!
//! | on | what waits | what `try_x` returns where `x` would wait |
//! |---|---|---|
//! | [`Arena`] | `wait_for` (a name, or its next version), `writer` | `None` |
//! | [`Arena`] | `receiver_wait`, `subscribe_wait` (a channel or feed that is not there yet), `receiver_timeout` ... | `receiver` and `subscribe` fail with `NotFound` |
//! | [`Sender`], [`Lease`] | `send`, `send_all` | `Full`; for a lease `TimedOut` |
//! | [`Receiver`], [`Subscriber`] | `recv`, `schema`, `reader` | `Empty` |
//! | [`Feed`] | `append` | `Full`, `NoSpace` |
//! | [`sync::Mutex`], [`sync::Semaphore`] | `lock`; `acquire` | `None` |
//! | [`sync::Event`], [`sync::Waiter`] | `wait` | `false` |
//! | [`sync::SharedValue`] | `store`, `update`, `compare_exchange` | `TimedOut` |
//! | [`MutableArray`] | `write`, `write_all`, `read`, `read_all`, `freeze` | `None` |
//!
//! Iterators wait as `recv` does. [`Options::open`] and [`Options::remove`] wait for another process that is about to end the
//! arena, half a second at most. [`set_interrupt_hook`] sets a function that can end each of these waits, after a signal for
//! example. Ends of channels and subscribers can be told to wait on when nobody is at the other end any more:
//! [`Receiver::set_when_deserted`], [`Sender::set_when_deserted`], [`Subscriber::set_when_deserted`].
//!
//! # In a forked child
//!
//! A child of `fork` does not take part in the arenas that its parent has open. One rule says what every handle, guard and
//! value does there that came through `fork`:
//!
//! * A call that can fail returns [`Error::Forked`].
//! * A call that returns a number which lies in the arena returns 0. A table knows its own rows and batches, and says of each
//!   batch that it cannot be read.
//! * Dropping a handle, a guard, a lease or a draft does nothing: what it held is the parent's.
//! * Batches, columns, arrays and bytes that the parent had read stay readable, for as long as the parent keeps them:
//!   [`Arena::pin_again`] keeps all of them.
//!
//! [`Arena::reopen`] gives the child a handle of its own to an arena that its parent has open; [`Arena::open`] works there
//! too.
#![warn(missing_debug_implementations, unreachable_pub)]
#![cfg_attr(feature = "proof", allow(missing_docs))]

#[allow(unreachable_pub, reason = "`pub` in a lower storey says what a file offers to the files above it")]
mod core;
mod error;
#[allow(unreachable_pub, reason = "`pub` in a lower storey says what a file offers to the files above it")]
mod value;

mod arena;
mod audit;
pub mod call;
pub mod channel;
mod drafted;
pub mod feed;
mod held;
mod input;
mod kind;
mod load_once;
mod mutable;
mod options;
mod parting;
mod port;
mod reader;
pub mod ready;
mod report;
mod shared_bytes;
pub mod sync;
mod writer;

#[doc = include_str!("binding.md")]
pub mod building_a_binding {}

pub use crate::core::recover::Recovered;
pub use crate::core::sys::set_interrupt_hook;
pub use crate::core::verify::Violation;
pub use crate::value::array::Array;
pub use crate::value::dtype::{
    ArrayElement, ByteOrder, DType, DTypeField, DTypeKind, MAX_DTYPE_DEPTH, MAX_DTYPE_TEXT, MAX_ITEMSIZE,
};
pub use crate::value::dynamic::{DynArray, DynArrayView};
pub use crate::value::element::{Element, ElementType};
pub use crate::value::info::{ArrayInfo, Order};
pub use crate::value::lent::{Bits, Text};
pub use crate::value::private::{PrivateArray, PrivateBytes};
pub use crate::value::schema::MAX_DEPTH;
pub use crate::value::timestep::{DatetimeUnit, TimeStep};
pub use arena::Arena;
pub use channel::{ForwardError, Lease, Receiver, RecvError, SendError, Sender};
pub use drafted::{ArrayDraft, BytesDraft, Draft, DraftMap, Drafted, DynArrayDraft};
pub use error::{Bound, Counted, Error, HolderBytes, Missing, Result};
pub use feed::{AppendError, Feed, Subscriber, SubscriberError};
pub use input::{Bundle, Value};
pub use kind::Kind;
pub use mutable::{MAX_PARTITIONS, MutableArray, Rows, RowsMap, RowsMut};
pub use options::{GIB, KIB, MIB, Options};
pub use parting::{Pins, WeakArena};
pub use reader::{Batch, Bundled, Column, IpcMessages, Object, Table};
pub use ready::{Pollable, Select};
pub use report::{ArenaInfo, ChannelInfo, Entry, Holder, Observer, Room, Stats};
pub use shared_bytes::SharedBytes;
pub use writer::Writer;

/// Whose `Pod` says which values can be shared: derive it with this version.
pub use bytemuck;

/// The crate whose arrays the API speaks, in the version that it speaks.
pub use ndarray;

/// The parts of arrow that the API speaks, in the version that it speaks.
pub mod arrow {
    pub use {arrow_array, arrow_buffer, arrow_data, arrow_ipc, arrow_schema};
}

/// The protocols, generic over memory and kernel, for the workspace member `proof`.
#[cfg(feature = "proof")]
#[doc(hidden)]
pub mod proof {
    pub use crate::core::bells::{Armed, Awaited, arm_all, first_ready, sleep_on_all, wait_for_any};
    pub use crate::core::broadcast::{Found, Oldest};
    pub use crate::core::cell::{End, Ring, RingForm};
    pub use crate::core::geometry::{DIRTY, Geometry, PAGE, Params, Set, Sums, Zone, header, lock, meta, ring};
    pub use crate::core::lease::{Lease, Leases};
    pub use crate::core::list::Named;
    pub use crate::core::lock::{Form, PARTITION, SLOTS, Slots};
    pub use crate::core::maker::{Loaded, Making};
    pub use crate::core::mem::{Load, Mem};
    pub use crate::core::ring::{Outcome, Taken};
    pub use crate::core::seat::{Core, Env, info};
    pub use crate::core::sys::{Doorbell, Full, Process, Slept, Sys};
    pub use crate::core::tables::{Kind, PartEntry, Tables};
    pub use crate::core::wait::Until;
    pub use crate::core::waiters::{Enlisted, Waiters};
    pub use crate::core::word::{ArenaLife, Bell, Id, Life, Owner, Place, Seat, SeatState, State, Stay, Ticket, Turn};
    pub use crate::core::zone::Draft;
}
