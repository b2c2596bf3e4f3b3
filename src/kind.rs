//! Kinds of objects, as users meet them.

use std::fmt;

use crate::core::tables::Kind as Stored;

/// What an object of an arena is.
///
/// ```
/// use faretra::Kind;
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-kind-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// arena.writer()?.publish("greeting", "hello")?;
/// assert_eq!(arena.get("greeting")?.kind(), Kind::Bytes);
/// assert_eq!(Kind::MutableArray.to_string(), "mutable array");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// An Arrow record batch; see [`crate::Batch`].
    Batch,
    /// Record batches of one schema, as one value; see [`crate::Table`].
    Table,
    /// An n-dimensional array; see [`crate::Array`].
    Array,
    /// Plain bytes; see [`crate::Object::bytes`].
    Bytes,
    /// Several named values that were published at once; see [`crate::Bundled`].
    Bundle,
    /// A lock that one process holds at a time; see [`crate::sync::Mutex`].
    Mutex,
    /// A counting semaphore; see [`crate::sync::Semaphore`].
    Semaphore,
    /// A flag that is waited for; see [`crate::sync::Event`].
    Event,
    /// A small value that changes in place; see [`crate::sync::SharedValue`].
    Value,
    /// An array that is written in partitions, or [`crate::SharedBytes`]; see [`crate::MutableArray`].
    MutableArray,
    /// Those who wait at a condition; see [`crate::sync::Condition`].
    Condition,
    /// A queue of objects; see [`crate::channel`].
    Channel,
    /// A ring of objects that every subscriber sees whole; see [`crate::feed`].
    Feed,
    /// None of the kinds that can have a name: the object's record is damaged.
    Damaged,
}

impl Kind {
    /// The kind that the object's record says.
    pub(crate) fn of(stored: Stored) -> Kind {
        match stored {
            Stored::Batch => Kind::Batch,
            Stored::Table => Kind::Table,
            Stored::Array => Kind::Array,
            Stored::Bytes => Kind::Bytes,
            Stored::Bundle => Kind::Bundle,
            Stored::Mutex => Kind::Mutex,
            Stored::Semaphore => Kind::Semaphore,
            Stored::Event => Kind::Event,
            Stored::Value => Kind::Value,
            Stored::MutableArray => Kind::MutableArray,
            Stored::Condition => Kind::Condition,
            Stored::Channel => Kind::Channel,
            Stored::Feed => Kind::Feed,
            Stored::Name
            | Stored::List
            | Stored::Column
            | Stored::Alias
            | Stored::Knot
            | Stored::End
            | Stored::Segment => Kind::Damaged,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Batch => "batch",
            Kind::Table => "table",
            Kind::Array => "array",
            Kind::Bytes => "bytes",
            Kind::Bundle => "bundle",
            Kind::Mutex => "mutex",
            Kind::Semaphore => "semaphore",
            Kind::Event => "event",
            Kind::Value => "value",
            Kind::MutableArray => "mutable array",
            Kind::Condition => "condition",
            Kind::Channel => "channel",
            Kind::Feed => "feed",
            Kind::Damaged => "damaged",
        })
    }
}
