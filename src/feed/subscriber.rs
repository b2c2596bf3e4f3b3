//! The reading end: subscribers, and looks at a feed without subscribing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::arena::Arena;
use crate::core::broadcast::Found;
use crate::core::cell::End;
use crate::core::lease::Lease;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::core::word::Id;
use crate::error::{Counted, Error, Missing, Result};
use crate::feed::{MAX_SUBSCRIBERS, SubscriberError};
use crate::port::{Ended, Port, Waited, WhenDeserted};
use crate::reader::{Batch, Object, Table};
use crate::value::view::Pin;

/// Where a subscriber begins to read.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::feed::{Start, WhenFull};
/// # let name = format!("doc-start-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ticks = arena.writer()?.feed("ticks", 2, WhenFull::DropOldest)?;
/// for tick in ["1", "2", "3"] {
///     ticks.append(tick)?;
/// }
/// assert_eq!(arena.subscribe("ticks", Start::Oldest)?.position(), 1);
/// assert_eq!(arena.subscribe("ticks", Start::Newest)?.position(), 3);
/// assert_eq!(arena.subscribe("ticks", Start::Position(2))?.recv()?.bytes()?, b"3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest item that the feed keeps.
    Oldest,
    /// At the next item that comes.
    Newest,
    /// At a position; that of the feed's first item is 0. If the item there is gone already, the subscriber is told how many
    /// it missed.
    Position(u64),
}

impl Arena {
    /// Subscribes to the feed `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name; [`Error::Mismatch`] if the object is no feed;
    /// [`Error::Limit`] if the feed has [`MAX_SUBSCRIBERS`] already; [`Error::Invalid`] for a position that the feed has not
    /// reached yet.
    pub fn subscribe(&self, name: &str, start: Start) -> Result<Subscriber> {
        let port = self.feed_port(name)?;
        let core = port.core()?;
        let from = |oldest, newest| match start {
            Start::Oldest => oldest,
            Start::Newest => newest,
            Start::Position(position) => position,
        };
        // The leases of the dead come back first.
        let mut taken = core.try_subscribe(port.ring, from)?;
        if taken.is_none() {
            core.recover()?;
            taken = core.try_subscribe(port.ring, from)?;
        }
        let full = Error::Limit { what: Counted::Subscribers, limit: MAX_SUBSCRIBERS as u64 };
        let (lease, position) = taken.ok_or(full)?;
        let newest = core.items_end(port.ring);
        let subscriber = Subscriber { port: Arc::new(port), lease, position, deserted: WhenDeserted::Fail };
        if position > newest {
            return Err(Error::invalid(format!("the feed `{name}` is at position {newest}, before {position}")));
        }
        Ok(subscriber)
    }

    /// Waits until the feed `name` exists, for ever if need be, and subscribes to it. Errors are [`Error::Interrupted`] and
    /// those of [`Arena::subscribe`].
    pub fn subscribe_wait(&self, name: &str, start: Start) -> Result<Subscriber> {
        self.when_named(name, Until::Forever, || self.subscribe(name, start))
    }

    /// Waits until the feed `name` exists, and subscribes to it. Fails with [`Error::TimedOut`] if no such feed exists
    /// after `timeout`.
    pub fn subscribe_timeout(&self, name: &str, start: Start, timeout: Duration) -> Result<Subscriber> {
        self.when_named(name, Until::Within(timeout), || self.subscribe(name, start))
    }

    /// Waits until the feed `name` exists, and subscribes to it. Fails with [`Error::TimedOut`] if no such feed exists at
    /// `deadline`.
    pub fn subscribe_deadline(&self, name: &str, start: Start, deadline: Instant) -> Result<Subscriber> {
        self.when_named(name, Until::deadline(deadline), || self.subscribe(name, start))
    }

    /// Returns the newest item of the feed `name` without subscribing, or `None` if nothing was appended yet.
    pub fn latest(&self, name: &str) -> Result<Option<Object>> {
        let port = self.feed_port(name)?;
        let core = port.core()?;
        let mut next = core.sent(port.ring);
        let mut position = next;
        while let Some(before) = position.checked_sub(1) {
            match core.pin_position(port.ring, before)? {
                Found::Item(id) => return port.item(id).map(Some),
                // Before the end there is the last item.
                Found::End | Found::Nothing if next - before <= port.ring.cells => position = before,
                // More was appended meanwhile, as the next position shows.
                Found::Gone(_) if core.sent(port.ring) != next => {
                    next = core.sent(port.ring);
                    position = next;
                }
                _ => return Err(Error::damaged(format!("the feed `{name}` has {next} items, and none at {before}"))),
            }
        }
        Ok(None)
    }

    /// Returns all batches that the feed `name` holds at this moment, as one table. Nothing is copied. A table that is
    /// published afterwards shares the batches with the feed.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the feed holds an item that is no batch, or batches of different schemas;
    /// [`Error::NotFound`] if no batch was appended yet, so that the feed has no schema.
    pub fn snapshot(&self, name: &str) -> Result<Table> {
        let port = self.feed_port(name)?;
        let core = port.core()?;
        let mut held = core.positions_kept(port.ring);
        let mut batches: Vec<Batch> = vec![];
        while let Some(position) = held.next() {
            match core.pin_position(port.ring, position)? {
                Found::Item(id) => {
                    let table = Table::try_from(port.item(id)?)?;
                    for number in 0..table.num_batches() {
                        batches.push(table.batch(number)?);
                    }
                }
                Found::Gone(_) => {
                    // What was read is older than what is missing: begin anew, with what is there by now.
                    batches.clear();
                    let now = core.positions_kept(port.ring);
                    held = now.start.max(position + 1)..now.end;
                }
                Found::End | Found::Nothing => break,
            }
        }
        let schema = match (port.schema()?, batches.first()) {
            (Some(schema), _) => schema,
            (None, Some(batch)) => batch.schema(),
            (None, None) => {
                let (within, detail) = (self.name().to_owned(), String::new());
                return Err(Error::NotFound { what: Missing::Schema, name: name.into(), within, detail });
            }
        };
        for batch in &batches {
            if batch.schema() != schema {
                return Err(Error::Mismatch {
                    name: format!("a batch of the feed `{name}`"),
                    expected: format!("of schema {schema}"),
                    found: format!("of schema {}", batch.schema()),
                });
            }
        }
        Ok(Table::gathered(schema, batches))
    }

    fn feed_port(&self, name: &str) -> Result<Port> {
        Port::named(self, name, Kind::Feed, End::Receive)
    }
}

impl Port {
    /// An item that was pinned.
    fn item(&self, id: Id) -> Result<Object> {
        Object::pinned(Pin::taken(self.at(), id), self.name.clone())
    }
}

/// A reader of a feed. From the position where it began, it gets every item, or is told how many it missed.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::feed::{Start, WhenFull};
/// # let name = format!("doc-subscriber-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let ticks = arena.writer()?.feed("ticks", 2, WhenFull::Block)?;
/// let mut subscriber = arena.subscribe("ticks", Start::Newest)?;
/// ticks.append("tick")?;
/// let tick = subscriber.recv()?;
/// assert_eq!(tick.bytes()?, b"tick");
/// assert!(subscriber.try_recv().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Subscriber {
    pub(crate) port: Arc<Port>,
    pub(crate) lease: Lease,
    position: u64,
    pub(crate) deserted: WhenDeserted,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Ok(core) = self.port.core() {
            core.give_back(self.lease);
        }
    }
}

impl Subscriber {
    /// Sets what this subscriber does when the feed has nothing new and its last producer left or died without closing it:
    /// fail with [`SubscriberError::Closed`], as it does unless something else is set, or wait until another producer comes.
    pub fn set_when_deserted(&mut self, deserted: WhenDeserted) {
        self.deserted = deserted;
    }

    /// Returns the next item. Waits until there is one.
    ///
    /// # Errors
    ///
    /// * [`SubscriberError::Lagged`] if items were replaced before the subscriber read them. The next call goes on with the
    ///   oldest item that the feed keeps.
    /// * [`SubscriberError::Closed`] if the feed was closed and all of it was read, or if it has nothing new and its last
    ///   producer left or died ([`Subscriber::set_when_deserted`] can change that).
    /// * [`SubscriberError::Interrupted`].
    pub fn recv(&mut self) -> Result<Object, SubscriberError> {
        self.recv_by(Until::Forever)
    }

    /// Returns the next item if there is one now, and fails with [`SubscriberError::Empty`] if not. The other errors are
    /// those of [`Subscriber::recv`].
    pub fn try_recv(&mut self) -> Result<Object, SubscriberError> {
        empty(self.recv_by(Until::Now))
    }

    /// Returns the next item. Waits for one, and fails with [`SubscriberError::TimedOut`] if none came after `timeout`. The
    /// other errors are those of [`Subscriber::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Object, SubscriberError> {
        self.recv_by(Until::Within(timeout))
    }

    /// Returns the next item. Waits for one, and fails with [`SubscriberError::TimedOut`] if none came until `deadline`. The
    /// other errors are those of [`Subscriber::recv`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Object, SubscriberError> {
        self.recv_by(Until::deadline(deadline))
    }

    fn recv_by(&mut self, until: Until) -> Result<Object, SubscriberError> {
        let (core, ring, position) = (self.port.core()?, self.port.ring, self.position);
        let can_desert = self.deserted == WhenDeserted::Fail;
        let found = self.port.wait(until, || {
            let mut found = core.pin_position(ring, position)?;
            let deserted = can_desert && found == Found::Nothing && core.is_deserted(ring, End::Send);
            if deserted {
                // The last producer may have appended something just before it left.
                found = core.pin_position(ring, position)?;
            }
            Ok(match found {
                Found::Nothing if deserted => Waited::Ended(Ended::Deserted),
                Found::Nothing => Waited::NotYet,
                Found::End => Waited::Ended(Ended::Closed),
                Found::Gone(oldest) => Waited::Came(Err(oldest)),
                Found::Item(id) => Waited::Came(Ok(id)),
            })
        })?;
        match found {
            Waited::NotYet => Err(SubscriberError::TimedOut),
            Waited::Interrupted => Err(SubscriberError::Interrupted),
            Waited::Ended(ended) => Err(ended.into()),
            Waited::Came(Err(oldest)) => {
                self.go_to(oldest)?;
                Err(SubscriberError::Lagged(oldest - position))
            }
            Waited::Came(Ok(id)) => {
                let item = self.port.item(id);
                self.go_to(position + 1)?;
                Ok(item?)
            }
        }
    }

    fn go_to(&mut self, position: u64) -> Result<()> {
        self.position = position;
        self.port.core()?.show_position(self.port.ring, self.lease, position);
        Ok(())
    }

    /// Returns the position of the item that the next call reads. The position of the feed's first item is 0.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns an iterator over the items that come until the feed is closed.
    pub fn iter(&mut self) -> Iter<'_> {
        Iter { subscriber: self, ended: false }
    }

    /// The next item of an iterator or stream, which is over once `ended` is set.
    fn step(&mut self, ended: &mut bool) -> Option<Result<Object, SubscriberError>> {
        if *ended {
            return None;
        }
        let before = self.position;
        let item = self.recv();
        // An item that was missed or is damaged is behind the subscriber now; any other error would come again.
        *ended = self.position == before && !matches!(item, Err(SubscriberError::Interrupted));
        Some(item).filter(|item| !matches!(item, Err(SubscriberError::Closed { clean: true })))
    }

    /// Returns the schema of the feed's batches. Waits until the schema is known.
    ///
    /// # Errors
    ///
    /// [`SubscriberError::Closed`] if the feed ended without a batch; [`SubscriberError::Interrupted`].
    pub fn schema(&self) -> Result<SchemaRef, SubscriberError> {
        self.schema_by(Until::Forever)
    }

    /// Returns the schema of the feed's batches if it is known now, and fails with [`SubscriberError::Empty`] if not. The
    /// other errors are those of [`Subscriber::schema`].
    pub fn try_schema(&self) -> Result<SchemaRef, SubscriberError> {
        empty(self.schema_by(Until::Now))
    }

    /// Returns the schema of the feed's batches. Fails with [`SubscriberError::TimedOut`] if the schema is not known after
    /// `timeout`. The other errors are those of [`Subscriber::schema`].
    pub fn schema_timeout(&self, timeout: Duration) -> Result<SchemaRef, SubscriberError> {
        self.schema_by(Until::Within(timeout))
    }

    /// Returns the schema of the feed's batches. Fails with [`SubscriberError::TimedOut`] if the schema is not known at
    /// `deadline`. The other errors are those of [`Subscriber::schema`].
    pub fn schema_deadline(&self, deadline: Instant) -> Result<SchemaRef, SubscriberError> {
        self.schema_by(Until::deadline(deadline))
    }

    fn schema_by(&self, until: Until) -> Result<SchemaRef, SubscriberError> {
        match self.port.wait_for_schema(until, self.deserted)? {
            Waited::Came(schema) => Ok(schema),
            Waited::Ended(ended) => Err(ended.into()),
            Waited::NotYet => Err(SubscriberError::TimedOut),
            Waited::Interrupted => Err(SubscriberError::Interrupted),
        }
    }

    /// Returns the feed's batches from the subscriber's position on, as one stream. Waits until their schema is known. Each
    /// batch of the stream is waited for as by [`Subscriber::recv`].
    ///
    /// # Errors
    ///
    /// An error drops the subscriber; one that is to be kept waits with [`Subscriber::schema_timeout`] first.
    ///
    /// [`SubscriberError::Closed`] if the feed ended without a batch; [`SubscriberError::Interrupted`];
    /// [`SubscriberError::Failed`] with [`Error::Mismatch`] for a feed of mixed contents, which has no schema.
    pub fn reader(self) -> Result<BatchReader, SubscriberError> {
        self.reader_by(Until::Forever)
    }

    /// Returns the feed's batches as one stream, as [`Subscriber::reader`] does, if their schema is known now. Fails with
    /// [`SubscriberError::Empty`] if not, and drops the subscriber.
    pub fn try_reader(self) -> Result<BatchReader, SubscriberError> {
        empty(self.reader_by(Until::Now))
    }

    /// Returns the feed's batches as one stream, as [`Subscriber::reader`] does. Fails with [`SubscriberError::TimedOut`] if
    /// their schema is not known after `timeout`, and drops the subscriber.
    pub fn reader_timeout(self, timeout: Duration) -> Result<BatchReader, SubscriberError> {
        self.reader_by(Until::Within(timeout))
    }

    /// Returns the feed's batches as one stream, as [`Subscriber::reader`] does. Fails with [`SubscriberError::TimedOut`] if
    /// their schema is not known at `deadline`, and drops the subscriber.
    pub fn reader_deadline(self, deadline: Instant) -> Result<BatchReader, SubscriberError> {
        self.reader_by(Until::deadline(deadline))
    }

    fn reader_by(self, until: Until) -> Result<BatchReader, SubscriberError> {
        self.port.expect_one_schema()?;
        let schema = self.schema_by(until)?;
        Ok(BatchReader { subscriber: self, schema, ended: false })
    }
}

/// The error of what does not wait.
fn empty<T>(polled: Result<T, SubscriberError>) -> Result<T, SubscriberError> {
    polled.map_err(|e| if matches!(e, SubscriberError::TimedOut) { SubscriberError::Empty } else { e })
}

/// An iterator over the items of a feed, made by [`Subscriber::iter`].
///
/// Asking for the next item waits for it. Items that the subscriber missed are an error, [`SubscriberError::Lagged`], after
/// which the iterator goes on. The iterator ends when the feed is closed and all of it was read. Any other error ends the
/// iterator too, after the error was yielded: [`SubscriberError::Closed`] with `clean: false`, for example, if the last
/// producer left without closing the feed. After [`SubscriberError::Interrupted`] the iterator goes on.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # use faretra::feed::{Start, WhenFull};
/// # let name = format!("doc-feed-iter-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let ticks = arena.writer()?.feed("ticks", 2, WhenFull::DropOldest)?;
/// # ticks.append("one")?;
/// # ticks.append("three")?;
/// # ticks.close()?;
/// let mut bytes = 0;
/// for tick in arena.subscribe("ticks", Start::Oldest)?.iter() {
///     bytes += tick?.bytes()?.len();
/// }
/// assert_eq!(bytes, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Iter<'a> {
    subscriber: &'a mut Subscriber,
    ended: bool,
}

impl Iterator for Iter<'_> {
    type Item = Result<Object, SubscriberError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.subscriber.step(&mut self.ended)
    }
}

/// The batches of a feed as one stream, made by [`Subscriber::reader`].
///
/// Asking for a batch waits for it. Batches that the subscriber missed, and items that are no batches, are errors, after
/// which the stream goes on. The stream ends when the feed is closed and all of it was read. Any other error ends the stream
/// too: that the last producer left without closing the feed, for example.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # use faretra::feed::{Start, WhenFull};
/// # use std::sync::Arc;
/// # let name = format!("doc-feed-reader-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let ticks = arena.writer()?.feed("ticks", 2, WhenFull::DropOldest)?;
/// # let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// # let batch = RecordBatch::try_from_iter([("n", column)])?;
/// ticks.append(batch.clone())?;
/// ticks.append(batch.clone())?;
/// ticks.close()?;
///
/// let mut rows = 0;
/// for batch in arena.subscribe("ticks", Start::Oldest)?.reader()? {
///     rows += batch?.num_rows();
/// }
/// assert_eq!(rows, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BatchReader {
    subscriber: Subscriber,
    schema: SchemaRef,
    ended: bool,
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.subscriber.step(&mut self.ended)?;
        let batch = item.map_err(|e| ArrowError::ExternalError(e.into()));
        Some(batch.and_then(|item| Ok(Batch::try_from(item)?.record_batch().clone())))
    }
}

impl RecordBatchReader for BatchReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::core::geometry::ring;
    use crate::core::mem::Mem;
    use crate::feed::WhenFull;

    /// A feed whose next position was damaged says so: nobody walks through all positions that there may be.
    #[test]
    fn a_damaged_position_ends_the_look_for_the_latest() {
        let name = format!("test-latest-{}", std::process::id());
        let arena = Arena::options().limit(4 << 20).capacity(4 << 20).keep(false).create(&name).expect("an arena");
        let feed = arena.writer().and_then(|w| w.feed("f", 4, WhenFull::DropOldest)).expect("made");
        let port = arena.feed_port("f").expect("there");
        let tail = port.ring.word(ring::TAIL);
        let set = |position: u64| port.core().expect("ours").env.store(tail, position, Relaxed);
        assert!(arena.latest("f").expect("readable").is_none());
        for position in [1 << 20, 1 << 33, 1 << 60, u64::MAX] {
            set(position);
            assert!(matches!(arena.latest("f"), Ok(None) | Err(Error::Damaged(_))), "{position}");
        }
        set(0);
        for n in 0..9_u64 {
            feed.append(n.to_string().as_str()).expect("room");
            assert_eq!(
                arena.latest("f").expect("readable").expect("an item").bytes().expect("text"),
                n.to_string().as_bytes()
            );
        }
    }
}
