//! The producing end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::broadcast::Oldest;
use crate::core::cell::{Ring, RingForm};
use crate::core::geometry::meta;
use crate::core::ring::Outcome;
use crate::core::sys::Sys;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::error::Result;
use crate::feed::{AppendError, MAX_SUBSCRIBERS};
use crate::input::Value;
use crate::port::{Contents, Port, PortForm, Waited, WhenDeserted};
use crate::value::view::Sheet;
use crate::writer::Writer;

/// What [`Feed::append`] does when a subscriber has not read yet what the new item would replace.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::feed::{Start, WhenFull};
/// # let name = format!("doc-when-full-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let writer = arena.writer()?;
/// let patient = writer.feed("ticks", 2, WhenFull::Block)?;
/// let hasty = writer.feed("ticks", 2, WhenFull::DropOldest)?;  // the same feed: producers may differ
/// let slow = arena.subscribe("ticks", Start::Oldest)?;
/// for tick in ["1", "2", "3"] {
///     hasty.append(tick)?;                          // `slow` misses the first tick
/// }
/// assert!(patient.append_timeout("4", std::time::Duration::from_millis(1)).is_err());
/// # drop(slow);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Waits for the slowest subscriber that lives.
    Block,
    /// Replaces the oldest item. Subscribers that had not read that item are told how many they missed.
    DropOldest,
    /// Gives the value back in [`AppendError::Full`]. An append never waits, neither for subscribers nor for memory.
    Fail,
}

impl Writer {
    /// Returns a producing end of the feed `name`. If there is no object of that name, makes a feed that keeps the last
    /// `capacity` items, and whose batches have one schema.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`](crate::Error::Mismatch) if `name` stands for an object of another kind, or for a feed of another
    /// capacity or of [`Contents::Mixed`]; [`Error::Invalid`](crate::Error::Invalid) for a capacity of 0 or above
    /// [`MAX_CAPACITY`](crate::feed::MAX_CAPACITY); [`Error::NoSpace`](crate::Error::NoSpace).
    pub fn feed(&self, name: &str, capacity: usize, when_full: WhenFull) -> Result<Feed> {
        self.feed_with(name, capacity, when_full, Contents::OneSchema)
    }

    /// Returns a producing end of the feed `name`, as [`Writer::feed`] does, for batches of one schema or for any values.
    /// Fails with [`Error::Mismatch`](crate::Error::Mismatch) if the feed exists with other contents or another capacity.
    pub fn feed_with(&self, name: &str, capacity: usize, when_full: WhenFull, contents: Contents) -> Result<Feed> {
        let form = PortForm { capacity: Some(capacity as u64), contents };
        let port = Port::open_or_make(self.attachment(), name, Kind::Feed, form, |core| {
            core.draft_ring(RingForm::feed(capacity as u64, MAX_SUBSCRIBERS as u64).mixed(contents == Contents::Mixed))
        })?;
        Ok(Feed { port: Arc::new(port), writer: self.clone(), when_full })
    }
}

/// A producing end of a feed. A clone is another handle to the same end. The end leaves the feed when its last clone is
/// dropped.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::feed::WhenFull;
/// # let name = format!("doc-feed-end-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ticks = arena.writer()?.feed("ticks", 2, WhenFull::DropOldest)?;
/// for tick in ["1", "2", "3"] {
///     ticks.append(tick)?;
/// }
/// assert_eq!((ticks.position(), ticks.capacity()), (3, 2));
/// ticks.close()?;
/// assert!(ticks.append("4").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Feed {
    pub(crate) port: Arc<Port>,
    pub(crate) writer: Writer,
    pub(crate) when_full: WhenFull,
}

impl Feed {
    /// Appends a value. If the value would replace an item that a subscriber has not read yet, does what the feed's
    /// [`WhenFull`] says.
    ///
    /// Also waits for memory while the arena is full, except with [`WhenFull::Fail`]. It fails with
    /// [`AppendError::NoSpace`] instead if the feed's own items fill the arena, because an item is replaced only after the
    /// new one is there.
    ///
    /// # Errors
    ///
    /// * [`AppendError::Full`], with [`WhenFull::Fail`] only;
    /// * [`AppendError::Closed`] if the feed is closed;
    /// * [`AppendError::Interrupted`];
    /// * [`AppendError::NoSpace`] if the arena could never hold the value beside the feed's items with its limit;
    /// * [`AppendError::Failed`] with [`Error::Mismatch`](crate::Error::Mismatch) for a batch of another schema than the
    ///   feed's.
    pub fn append<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), AppendError<'a>> {
        self.append_by(value.into(), Until::Forever)
    }

    /// Appends a value, as [`Feed::append`] does, if there is room for it now. Fails with [`AppendError::Full`] where the
    /// feed's [`WhenFull::Block`] says to wait, and with [`AppendError::NoSpace`] while the arena is full; both give the value
    /// back.
    pub fn try_append<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), AppendError<'a>> {
        self.append_by(value.into(), Until::Now).map_err(|e| match e {
            AppendError::TimedOut(value) => AppendError::Full(value),
            other => other,
        })
    }

    /// Appends a value, as [`Feed::append`] does. Fails with [`AppendError::TimedOut`], which gives the value back, if there
    /// is no room for the value after `timeout`.
    pub fn append_timeout<'a>(&self, value: impl Into<Value<'a>>, timeout: Duration) -> Result<(), AppendError<'a>> {
        self.append_by(value.into(), Until::Within(timeout))
    }

    /// Appends a value, as [`Feed::append`] does. Fails with [`AppendError::TimedOut`], which gives the value back, if there
    /// is no room for the value at `deadline`.
    pub fn append_deadline<'a>(&self, value: impl Into<Value<'a>>, deadline: Instant) -> Result<(), AppendError<'a>> {
        self.append_by(value.into(), Until::deadline(deadline))
    }

    fn append_by<'a>(&self, value: Value<'a>, until: Until) -> Result<(), AppendError<'a>> {
        let ring = self.port.ring;
        let until = if self.when_full == WhenFull::Fail { Until::Now } else { until.started() };
        let built = self.port.build(&self.writer, value, until, WhenDeserted::Fail);
        let (mut sheet, schema) = built.map_err(AppendError::not_built)?;
        let appended = self.port.wait_to_put(until, WhenDeserted::Fail, || sheet.append(ring, self.when_full))?;
        match appended {
            Waited::Came(()) => Ok(()),
            Waited::Ended(_) => Err(AppendError::Closed(Value::copied(sheet, schema))),
            Waited::NotYet if self.when_full == WhenFull::Fail => Err(AppendError::Full(Value::copied(sheet, schema))),
            Waited::NotYet => Err(AppendError::TimedOut(Value::copied(sheet, schema))),
            Waited::Interrupted => Err(AppendError::Interrupted(Value::copied(sheet, schema))),
        }
    }

    /// Closes the feed for good: nothing more can be appended, by anybody. Subscribers read the items that are there, and
    /// then get [`SubscriberError::Closed`](crate::SubscriberError::Closed) with `clean: true`. Waits for nobody.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) if the arena has no room for the mark of the end.
    pub fn close(&self) -> Result<()> {
        let at = self.port.at();
        let core = at.core()?;
        core.env.map_for_writing()?;
        at.with_room(|| {
            let end = core.draft_end()?;
            match core.try_append(self.port.ring, end, Oldest::MayGo) {
                Ok(Outcome::Done(())) => Ok(()),
                other => {
                    core.drop_draft(end);
                    other.map(|_| ())
                }
            }
        })
    }

    /// Returns the position that the next item gets, which is the number of items that were appended so far.
    pub fn position(&self) -> u64 {
        self.port.core().map_or(0, |core| core.items_end(self.port.ring))
    }

    /// Returns how many items the feed keeps.
    pub fn capacity(&self) -> usize {
        self.port.ring.capacity() as usize
    }
}

impl Sheet {
    /// Appends it; unless that is done it still is a draft.
    pub(crate) fn append(&mut self, ring: Ring, when_full: WhenFull) -> Result<Outcome<()>> {
        let oldest = match when_full {
            WhenFull::DropOldest => Oldest::MayGo,
            WhenFull::Block | WhenFull::Fail => Oldest::MustBeSeen,
        };
        self.offer(|core, draft| {
            core.set_meta(draft.id, meta::TIME, core.env.now());
            core.try_append(ring, draft, oldest)
        })
    }
}
