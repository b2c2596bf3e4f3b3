//! Channels: queues of objects between processes, bounded or not. Each item goes to one receiver.
//!
//! Every value that can be published can be sent: batches, tables, arrays, bytes, bundles, drafts, and objects
//! that were read or received. An object that lies in the arena already is not copied. Receivers get items as they lie in
//! the arena.
//!
//! * **Order** is first in, first out among participants that live. Items that come back from a receiver are received
//!   before newer ones.
//! * **At least once**: an item that was received is *leased* to its receiver. [`Lease::ack`] ends the lease. If the lease
//!   is dropped, or the receiver dies with it, the next receiver gets the item, and [`Lease::attempts`] says so. No item is
//!   acknowledged twice.
//! * **Ends**: after [`Sender::close`], receivers get the items that are left, and then [`RecvError::Closed`] with `clean:
//!   true`. When the last sender (or receiver) leaves or dies without closing the channel, the other side is told with
//!   `clean: false`, and goes on when another one comes.
//! * A participant that is stopped keeps what is leased to it, and holds up nobody else.
//!
//! Waits sleep on a futex, after a short spin, and notice within 100 ms that somebody died. [`Sender::send`] and
//! [`Sender::send_timeout`] wait while the channel is full, and also while the arena is full. A channel that
//! [`Writer::unbounded`](crate::Writer::unbounded) made is never full.
//!
//! ```
//! # use faretra::{Arena, MIB};
//! # let name = format!("doc-channel-{}", std::process::id());
//! # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
//! let jobs = arena.writer()?.sender("jobs", 16)?;          // made with room for 16 items if there is none
//! jobs.send("hello")?;
//!
//! let receiver = arena.receiver("jobs")?;                  // in any process
//! let lease = receiver.recv()?;
//! assert_eq!(lease.bytes()?, b"hello");
//! lease.ack();                                             // dropped instead, it would be received again
//! jobs.close()?;
//! assert!(receiver.recv().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod lease;
mod receiver;
mod sender;

pub use error::{ForwardError, RecvError, SendError};
pub use lease::Lease;
pub(crate) use receiver::Looks;
pub use receiver::{BatchReader, Iter, Peers, Receiver};
pub use sender::Sender;

pub use crate::port::{Contents, WhenDeserted};

/// The most items that a channel can have room for.
pub const MAX_CAPACITY: usize = crate::core::cell::MAX_CELLS as usize;

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Sender>();
    shared::<Receiver>();
    shared::<Iter<'_>>();
    shared::<BatchReader>();
    shared::<Lease>();
    shared::<RecvError>();
    shared::<ForwardError>();
};
