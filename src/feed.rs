//! Feeds: rings of objects that every subscriber sees whole.
//!
//! A feed keeps the last so many items that were appended. Each subscriber reads all of them, in order, without
//! taking anything away; one that is too slow is told how many it missed ([`RecvError::Lagged`]), unless producers wait
//! for it ([`WhenFull::Block`]). A subscriber that died holds nothing. A feed of batches of one schema is a growing
//! table: [`Arena::subscribe`] follows it, [`Arena::snapshot`] is all that it holds as one table, without a copy.
//!
//! ```
//! # use faretra::{Arena, MIB};
//! use faretra::feed::{Start, WhenFull};
//! # let name = format!("doc-feed-{}", std::process::id());
//! # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
//! let ticks = arena.writer()?.feed("ticks", 100, WhenFull::DropOldest)?;
//! ticks.append(b"one".as_slice())?;
//!
//! let mut reader = arena.subscribe("ticks", Start::Oldest)?;       // in any process
//! assert_eq!(reader.next()?.bytes()?, b"one");
//! assert_eq!(arena.latest("ticks")?.unwrap().bytes()?, b"one");
//! ticks.close()?;
//! assert!(reader.next().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::arena::Arena;
pub use crate::channel::{RecvError, SendError};
use crate::core::broadcast::Found;
use crate::core::geometry::meta;
use crate::core::lock::Lease;
use crate::core::ring::{End, MAX_CELLS, Outcome};
use crate::core::sys::Sys;
use crate::core::tables::Kind;
use crate::error::{Counted, Error, Missing, Result};
pub use crate::port::Contents;
use crate::port::{Port, time_left};
use crate::reader::{Batch, Object, Table};
use crate::value::view::Pin;
use crate::writer::{Value, Writer};

/// Most items of a feed.
pub const MAX_CAPACITY: usize = MAX_CELLS as usize;
/// Most subscribers of a feed at a time.
pub const MAX_SUBSCRIBERS: usize = 64;

/// What a producer does when a subscriber has not read yet what the next item would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Waits for the slowest subscriber that lives.
    Block,
    /// Replaces the oldest item; subscribers that had not read it are told.
    DropOldest,
    /// Gives the value back: [`SendError::Full`]. Waits for nothing, nor for memory.
    Fail,
}

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest item that is there.
    Oldest,
    /// At the next item that comes.
    Newest,
    /// At a position, the first item's being 0; if that is gone, the subscriber is told how many it missed.
    Position(u64),
}

impl Writer {
    /// The producing end of the feed of this name, made for the last `capacity` items if there is none. Its batches have
    /// one schema.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or a feed of another capacity or contents;
    /// [`Error::Invalid`] for a capacity of 0 or more than [`MAX_CAPACITY`].
    pub fn feed(&self, name: &str, capacity: usize, when_full: WhenFull) -> Result<Feed> {
        self.feed_of(name, capacity, when_full, Contents::OneSchema)
    }

    /// Returns a producing end of the feed `name`, as [`Writer::feed`] does, for batches of one schema or for any values.
    /// Fails with [`Error::Mismatch`] if the feed exists with other contents or another capacity.
    pub fn feed_of(&self, name: &str, capacity: usize, when_full: WhenFull, contents: Contents) -> Result<Feed> {
        crate::core::name::check(name)?;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(Error::invalid(format!("a feed has 1 to {MAX_CAPACITY} items, not {capacity}")));
        }
        let at = self.attachment();
        let form = (capacity as u64, contents == Contents::Mixed);
        let subscribers = MAX_SUBSCRIBERS as u64;
        let make = |core: &crate::core::seat::Core<_>| core.draft_feed(form.0, subscribers, form.1);
        let port = Port::open_or_make(at, name, Kind::Feed, End::Send, form, make)?;
        Ok(Feed { port: Arc::new(port), writer: self.clone(), when_full })
    }
}

impl Arena {
    /// Subscribes to the feed of this name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Mismatch`] if the name is something else's; [`Error::Limit`] if there are
    /// [`MAX_SUBSCRIBERS`] already; [`Error::Invalid`] for a position that is not reached yet.
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
            core.recover(false)?;
            taken = core.try_subscribe(port.ring, from)?;
        }
        let full = Error::Limit { what: Counted::Subscribers, limit: MAX_SUBSCRIBERS as u64 };
        let (lease, position) = taken.ok_or(full)?;
        let subscriber = Subscriber { port, lease, position };
        let newest = subscriber.port.core()?.items_end(subscriber.port.ring);
        if position > newest {
            return Err(Error::invalid(format!("the feed `{name}` is at position {newest}, before {position}")));
        }
        Ok(subscriber)
    }

    /// Waits until the feed `name` exists, and subscribes to it. Fails with [`Error::TimedOut`] if no such feed exists
    /// after `timeout`.
    pub fn subscribe_timeout(&self, name: &str, start: Start, timeout: Duration) -> Result<Subscriber> {
        self.when_named(name, timeout, || self.subscribe(name, start))
    }

    /// The newest item of a feed, without subscribing. `None`: there is none yet.
    pub fn latest(&self, name: &str) -> Result<Option<Object>> {
        let port = self.feed_port(name)?;
        let core = port.core()?;
        let mut position = core.next_position(port.ring);
        while let Some(before) = position.checked_sub(1) {
            match core.pin_position(port.ring, before)? {
                Found::Item(id) => return port.item(id).map(Some),
                // Before the end there is the last item.
                Found::End | Found::Nothing => position = before,
                Found::Gone(_) => position = core.next_position(port.ring),
            }
        }
        Ok(None)
    }

    /// All batches that a feed holds at this moment, as one table. Nothing is copied; published, it shares them.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if there is an item that is no batch, or batches of different schemas;
    /// [`Error::NotFound`] for a feed that had no batch yet, and so has no schema.
    pub fn snapshot(&self, name: &str) -> Result<Table> {
        let port = self.feed_port(name)?;
        let core = port.core()?;
        let mut held = core.held(port.ring);
        let mut batches: Vec<Batch> = vec![];
        while let Some(position) = held.next() {
            match core.pin_position(port.ring, position)? {
                Found::Item(id) => batches.push(port.item(id)?.try_into()?),
                Found::Gone(_) => {
                    // What was read is older than what is missing: begin anew, with what is there by now.
                    batches.clear();
                    let now = core.held(port.ring);
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
        let pin = Pin::named(self.attachment(), name)?.ok_or_else(|| self.missing(name))?;
        Port::new(pin, Kind::Feed, End::Receive, name)
    }
}

impl Port {
    /// An item that was pinned.
    fn item(&self, id: crate::core::word::Id) -> Result<Object> {
        Object::pinned(Pin::taken(self.at(), id), self.name.clone())
    }
}

/// The producing end of a feed. Clones are the same end; it is left with the last of them.
#[derive(Clone, Debug)]
pub struct Feed {
    port: Arc<Port>,
    writer: Writer,
    when_full: WhenFull,
}

impl Feed {
    /// Appends a value, as [`WhenFull`] says if that would replace what somebody has not read. Waits for memory too, unless
    /// it is the feed itself that fills the arena: what is replaced goes only after the new item is there.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] for [`WhenFull::Fail`]; [`SendError::Closed`]; [`SendError::NoSpace`] and
    /// [`SendError::Failed`], as [`crate::Sender::send`].
    pub fn append<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), SendError<'a>> {
        self.append_by(value.into(), None)
    }

    /// Appends a value, as [`Feed::append`] does. Gives the value back in [`SendError::TimedOut`] if there is no room for
    /// it after `timeout`.
    pub fn append_timeout<'a>(&self, value: impl Into<Value<'a>>, timeout: Duration) -> Result<(), SendError<'a>> {
        self.append_by(value.into(), Some(timeout))
    }

    fn append_by<'a>(&self, value: Value<'a>, timeout: Option<Duration>) -> Result<(), SendError<'a>> {
        let (core, ring) = (self.port.core()?, self.port.ring);
        let timeout = if self.when_full == WhenFull::Fail { Some(Duration::ZERO) } else { timeout };
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let schema = value.schema()?;
        let not_built = |error, value| match SendError::not_built(error, value) {
            SendError::NoSpace { value, .. } if core.has_ended(ring) => SendError::Closed { value, clean: true },
            error => error,
        };
        if let Some(schema) = &schema
            && let Err(e) = self.port.check_schema(&self.writer, schema, until)
        {
            return Err(not_built(e, Some(value)));
        }
        let mut sheet = match self.port.build(&self.writer, value, until) {
            (Ok(sheet), _) => sheet,
            (Err(e), value) => return Err(not_built(e, value)),
        };
        let appended = self.port.wait(time_left(until), || {
            let outcome = sheet.offer(|core, draft| {
                core.set_meta(draft.id, meta::TIME, core.env.now());
                let outcome = core.try_append(ring, draft, self.when_full != WhenFull::DropOldest)?;
                Ok((outcome == Outcome::Done(()), outcome))
            })?;
            Ok(match outcome {
                Outcome::Done(()) => Some(true),
                Outcome::Closed => Some(false),
                Outcome::NotNow => None,
            })
        })?;
        match appended {
            Some(true) => Ok(()),
            Some(false) => Err(SendError::Closed { value: Value::copied(sheet, schema), clean: true }),
            None if self.when_full == WhenFull::Fail => Err(SendError::Full(Value::copied(sheet, schema))),
            None => Err(SendError::TimedOut(Value::copied(sheet, schema))),
        }
    }

    /// Nothing more is appended, by anybody. Subscribers read what there is, then [`RecvError::Closed`]. Needs memory
    /// for the mark of the end, and waits for nobody. A feed that is closed stays so.
    pub fn close(&self) -> Result<()> {
        let core = self.port.core()?;
        core.env.map_for_writing()?;
        self.port.at().with_room(|| {
            let end = core.draft_end()?;
            match core.try_append(self.port.ring, end, false) {
                Ok(Outcome::Done(())) => Ok(()),
                other => {
                    core.drop_draft(end);
                    other.map(|_| ())
                }
            }
        })
    }

    /// The position that the next item gets: how many were appended so far.
    pub fn position(&self) -> u64 {
        self.port.core().map_or(0, |core| core.items_end(self.port.ring))
    }

    /// How many items it keeps.
    pub fn capacity(&self) -> usize {
        self.port.ring.capacity() as usize
    }
}

/// A reader of a feed, which sees every item from where it began.
#[derive(Debug)]
pub struct Subscriber {
    port: Port,
    lease: Lease,
    position: u64,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Ok(core) = self.port.core() {
            core.give_back(self.lease, true);
        }
    }
}

impl Subscriber {
    /// The next item, as soon as there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`] if items were replaced before this came to them; it goes on with the oldest that is
    /// there. [`RecvError::Closed`] at the end, and when no producer is there any more.
    #[allow(clippy::should_implement_trait, reason = "waits, and has errors that an iterator would not end with")]
    pub fn next(&mut self) -> Result<Object, RecvError> {
        self.next_by(None)
    }

    /// The next item, if there is one now; [`RecvError::Empty`] if not.
    pub fn try_next(&mut self) -> Result<Object, RecvError> {
        match self.next_by(Some(Duration::ZERO)) {
            Err(RecvError::TimedOut) => Err(RecvError::Empty),
            other => other,
        }
    }

    /// The next item, if it comes in time; [`RecvError::TimedOut`] if not.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Object, RecvError> {
        self.next_by(Some(timeout))
    }

    fn next_by(&mut self, timeout: Option<Duration>) -> Result<Object, RecvError> {
        let (ring, position) = (self.port.ring, self.position);
        let core = self.port.core()?;
        let found = self.port.wait(timeout, || {
            Ok(match core.pin_position(ring, position)? {
                Found::Nothing if core.is_deserted(ring, End::Send) => match core.pin_position(ring, position)? {
                    // The last producer may have appended something just before it left.
                    Found::Nothing => Some(None),
                    found => Some(Some(found)),
                },
                Found::Nothing => None,
                found => Some(Some(found)),
            })
        })?;
        match found {
            None => Err(RecvError::TimedOut),
            Some(None | Some(Found::Nothing)) => Err(RecvError::Closed { clean: false }),
            Some(Some(Found::End)) => Err(RecvError::Closed { clean: true }),
            Some(Some(Found::Gone(oldest))) => {
                self.go_to(oldest)?;
                Err(RecvError::Lagged(oldest - position))
            }
            Some(Some(Found::Item(id))) => {
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

    /// The position of the next item.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The feed's batches from here on as one stream, which ends when the feed is closed; waits for the schema. Items that
    /// are missed, and items that are no batches, are errors, after which it goes on. Any other error ends the stream: the
    /// last producer's leaving without closing, say.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the feed ended without a batch; [`RecvError::Failed`] with [`Error::Mismatch`] for a feed
    /// of mixed contents, which has no schema.
    pub fn reader(self) -> Result<impl RecordBatchReader, RecvError> {
        let (core, ring) = (self.port.core()?, self.port.ring);
        self.port.expect_one_schema()?;
        let known = self.port.wait(None, || {
            let ended = core.is_deserted(ring, End::Send) || core.has_ended(ring);
            // Looked at after that: the first batch may have come in between.
            Ok(match self.port.schema()? {
                Some(schema) => Some(Ok(schema)),
                None => ended.then(|| Err(core.has_ended(ring))),
            })
        })?;
        match known {
            Some(Ok(schema)) => Ok(Stream { subscriber: self, schema, ended: false }),
            Some(Err(clean)) => Err(RecvError::Closed { clean }),
            None => Err(RecvError::TimedOut),
        }
    }
}

struct Stream {
    subscriber: Subscriber,
    schema: SchemaRef,
    /// The feed was closed, or there was an error that is not behind the subscriber now.
    ended: bool,
}

impl Iterator for Stream {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let before = self.subscriber.position;
        let item = self.subscriber.next();
        self.ended = self.subscriber.position == before;
        let batch = match item {
            Err(RecvError::Closed { clean: true }) => return None,
            Err(e) => Err(ArrowError::ExternalError(Box::new(e))),
            Ok(object) => Batch::try_from(object).map_err(|e| ArrowError::ExternalError(Box::new(e))),
        };
        Some(batch.map(|batch| batch.record_batch().clone()))
    }
}

impl RecordBatchReader for Stream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
