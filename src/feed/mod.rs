//! Feeds: rings of objects. Every subscriber sees every item.
//!
//! A feed keeps the last items that were appended, as many as its capacity. Each subscriber reads all of them in order and
//! takes nothing away. A subscriber that is too slow is told how many items it missed ([`SubscriberError::Lagged`]), unless
//! producers wait for it ([`WhenFull::Block`]). A subscriber that died holds up nobody. A feed of batches of one schema is a
//! growing table: [`Arena::subscribe`](crate::Arena::subscribe) follows it, and
//! [`Arena::snapshot`](crate::Arena::snapshot) returns all that it holds as one table, without a copy.
//!
//! ```
//! # use faretra::{Arena, MIB};
//! use faretra::feed::{Start, WhenFull};
//! # let name = format!("doc-feed-{}", std::process::id());
//! # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
//! let ticks = arena.writer()?.feed("ticks", 100, WhenFull::DropOldest)?;
//! ticks.append("one")?;
//!
//! let mut subscriber = arena.subscribe("ticks", Start::Oldest)?;   // in any process
//! assert_eq!(subscriber.recv()?.bytes()?, b"one");
//! assert_eq!(arena.latest("ticks")?.unwrap().bytes()?, b"one");
//! ticks.close()?;
//! assert!(subscriber.recv().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod producer;
mod subscriber;

pub use error::{AppendError, SubscriberError};
pub use producer::{Feed, WhenFull};
pub use subscriber::{BatchReader, Iter, Start, Subscriber};

pub use crate::port::{Contents, WhenDeserted};

/// The most items that a feed can keep.
pub const MAX_CAPACITY: usize = crate::core::cell::MAX_CELLS as usize;
/// The most subscribers that a feed can have at a time.
pub const MAX_SUBSCRIBERS: usize = 64;
