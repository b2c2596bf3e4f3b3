//! Channels: bounded queues of objects between processes, each item to one receiver.
//!
//! What is sent is any value that can be published: batches, tables, arrays, bytes, bundles, drafts, and objects
//! that were read or received, which are not copied. Items are handed over as they lie in the arena.
//!
//! * **Order** is first in, first out among participants that live; what comes back goes first.
//! * **At least once**: an item that was received is *leased*. [`Lease::ack`] ends that; dropping the lease, or
//!   dying with it, gives the item to the next receiver, who sees it in [`Lease::attempts`]. Nothing is
//!   acknowledged twice.
//! * **Ends**: [`Sender::close`] lets receivers drain what there is and tells them [`RecvError::Closed`]. When the
//!   last sender (or receiver) is dropped or dies, the other side is told with `clean: false`, and goes
//!   on when another one comes.
//! * A participant that is stopped keeps what it has leased, and holds up nobody else.
//!
//! Waits sleep on a futex, after a short spin, and notice within 100 ms that somebody died. A full channel makes
//! senders wait; so does a full arena, for [`Sender::send`] and [`Sender::send_timeout`].
//!
//! ```
//! # use faretra::{Arena, MIB};
//! # let name = format!("doc-channel-{}", std::process::id());
//! # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
//! let jobs = arena.writer()?.sender("jobs", 16)?;          // made with room for 16 items if there is none
//! jobs.send(b"hello".as_slice())?;
//!
//! let receiver = arena.receiver("jobs")?;                  // in any process
//! let lease = receiver.recv()?;
//! assert_eq!(lease.bytes()?, b"hello");
//! lease.ack();                                             // dropped instead, it would be received again
//! jobs.close();
//! assert!(receiver.recv().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, Schema, SchemaRef};

use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::geometry::meta;
use crate::reader::{Batch, Object, Table};
use crate::ring::{End, MAX_CELLS, Outcome, Ring, Taken};
use crate::tables::Kind;
use crate::view::{Attachment, Pin, Sheet};
use crate::writer::{Value, Writer};

/// Most items of a channel at a time.
pub const MAX_CAPACITY: usize = MAX_CELLS as usize;

/// Why something was not sent. It gives the value back, as a draft if it was copied already.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<'a> {
    /// The channel is full.
    #[error("the channel is full")]
    Full(Value<'a>),
    /// Nothing can be sent any more (`clean`), or nobody receives and the channel or the arena is full.
    #[error("{}", closed_text(*.clean, "receiver"))]
    Closed {
        /// What was to be sent.
        value: Value<'a>,
        /// `true`: somebody closed it. `false`: the last receiver left or died.
        clean: bool,
    },
    /// It stayed full for as long as the caller would wait.
    #[error("the channel stayed full")]
    TimedOut(Value<'a>),
    /// Everything else. The value is gone.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl<'a> SendError<'a> {
    /// What was to be sent, unless it is gone.
    pub fn into_value(self) -> Option<Value<'a>> {
        match self {
            SendError::Full(value) | SendError::TimedOut(value) | SendError::Closed { value, .. } => Some(value),
            SendError::Failed(_) => None,
        }
    }
}

/// Why nothing was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// There is nothing now.
    #[error("the channel is empty")]
    Empty,
    /// Nothing will come (`clean`), or nobody is there who could send something.
    #[error("{}", closed_text(*.clean, "sender"))]
    Closed {
        /// `true`: somebody closed it, and all of it was acknowledged. `false`: the last sender left or died.
        clean: bool,
    },
    /// Nothing came for as long as the caller would wait.
    #[error("nothing came in time")]
    TimedOut,
    /// Everything else.
    #[error(transparent)]
    Failed(#[from] Error),
}

fn closed_text(clean: bool, end: &str) -> String {
    if clean { "the channel is closed".into() } else { format!("the last {end} left or died") }
}

/// Which batches a channel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Batches and tables have the schema of the first one that was sent; another is [`Error::Mismatch`].
    OneSchema,
    /// Whatever is sent.
    Mixed,
}

/// A channel, open in this process at one of its ends.
#[derive(Debug)]
struct Port {
    pin: Arc<Pin>,
    ring: Ring,
    end: End,
    name: Arc<str>,
    schema: OnceLock<SchemaRef>,
}

impl Drop for Port {
    fn drop(&mut self) {
        let core = &self.at().core;
        if core.env.check_fork().is_ok() {
            core.leave_end(self.ring, self.end);
        }
    }
}

impl Port {
    fn new(pin: Pin, end: End, name: &str) -> Result<Port> {
        let core = &pin.attachment().core;
        let kind = core.kind(pin.id())?;
        if kind != Kind::Channel {
            let (expected, found) = (Kind::Channel.to_string(), kind.to_string());
            return Err(Error::Mismatch { name: name.into(), expected, found });
        }
        let ring = core.ring_of(pin.id())?;
        core.join(ring, end);
        Ok(Port { ring, pin: Arc::new(pin), end, name: name.into(), schema: OnceLock::new() })
    }

    fn at(&self) -> &Arc<Attachment> {
        self.pin.attachment()
    }

    /// Waits at this end until `attempt` yields something, and looks for deaths meanwhile.
    fn wait<T>(&self, timeout: Option<Duration>, attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let core = &self.at().core;
        let mut slices = 0_u32;
        let look = || {
            slices += 1;
            let gone = |end| core.is_somebody_gone(self.ring, end);
            if slices.is_multiple_of(2) && (gone(End::Send) || gone(End::Receive)) {
                // A failure here only means that this waiter did not help.
                let _ = core.recover(false);
            }
        };
        core.wait(self.ring.bell(self.end), timeout, look, attempt)
    }

    /// The schema of its batches, if that is known.
    fn schema(&self) -> Result<Option<SchemaRef>> {
        if let Some(schema) = self.schema.get() {
            return Ok(Some(schema.clone()));
        }
        let Some(pin) = Pin::in_place(self.at(), self.ring.id)? else { return Ok(None) };
        let schema = Table::try_from(Object::pinned(pin, &self.name)?)?.schema();
        Ok(Some(self.schema.get_or_init(|| schema).clone()))
    }
}

impl Writer {
    /// The sending end of the channel of this name, made with room for `capacity` items if there is none. Its
    /// batches have one schema.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or a channel of another capacity or contents;
    /// [`Error::Invalid`] for a capacity of 0 or more than [`MAX_CAPACITY`].
    pub fn sender(&self, name: &str, capacity: usize) -> Result<Sender> {
        self.sender_of(name, capacity, Contents::OneSchema)
    }

    /// The same, of a channel with such contents.
    pub fn sender_of(&self, name: &str, capacity: usize, contents: Contents) -> Result<Sender> {
        crate::name::check(name)?;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(Error::invalid(format!("a channel has room for 1 to {MAX_CAPACITY} items, not {capacity}")));
        }
        let at = self.attachment();
        let mixed = contents == Contents::Mixed;
        loop {
            if let Some(pin) = Pin::named(at, name)? {
                let port = Port::new(pin, End::Send, name)?;
                let found = (port.ring.cells as usize, at.core.is_mixed(port.ring));
                if found != (capacity, mixed) {
                    let says = |(capacity, mixed)| {
                        format!("a channel for {capacity} items of {}", if mixed { "any kind" } else { "one schema" })
                    };
                    let (expected, found) = (says((capacity, mixed)), says(found));
                    return Err(Error::Mismatch { name: name.into(), expected, found });
                }
                return Ok(Sender { port: Arc::new(port), writer: self.clone() });
            }
            let made = at.with_room(|| {
                let draft = at.core.draft_ring(capacity as u64, mixed)?;
                at.core.publish(name, draft, Some(0)).inspect_err(|_| at.core.drop_draft(draft))
            });
            match made {
                // Somebody may have made it meanwhile.
                Ok(_) | Err(Error::Conflict { .. }) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Arena {
    /// The receiving end of the channel of this name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Mismatch`] if the name is something else's.
    pub fn receiver(&self, name: &str) -> Result<Receiver> {
        let pin = Pin::named(self.attachment(), name)?.ok_or_else(|| self.missing(name))?;
        Ok(Receiver { port: Arc::new(Port::new(pin, End::Receive, name)?) })
    }

    /// The same, as soon as there is such a channel; [`Error::TimedOut`] if none comes in time.
    pub fn receiver_timeout(&self, name: &str, timeout: Duration) -> Result<Receiver> {
        // Looks for the name again: what was found may have been removed since.
        let until = Instant::now().checked_add(timeout);
        loop {
            let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
            self.wait_for(name, 0, left)?;
            match self.receiver(name) {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
        }
    }
}

/// The sending end of a channel. Clones are the same end; it is left with the last of them.
#[derive(Clone, Debug)]
pub struct Sender {
    port: Arc<Port>,
    writer: Writer,
}

impl Sender {
    /// Sends, as soon as there is room in the channel and in the arena.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`]; [`SendError::Failed`] with [`Error::Mismatch`] for a batch of another schema than
    /// the channel's, with [`Error::NoSpace`] for what the arena could never hold.
    pub fn send<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), SendError<'a>> {
        self.send_by(value.into(), None)
    }

    /// Sends, if there is room now; [`SendError::Full`] if not.
    pub fn try_send<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), SendError<'a>> {
        match self.send_by(value.into(), Some(Duration::ZERO)) {
            Err(SendError::TimedOut(value)) => Err(SendError::Full(value)),
            other => other,
        }
    }

    /// Sends, if there is room in time; [`SendError::TimedOut`] if not.
    pub fn send_timeout<'a>(&self, value: impl Into<Value<'a>>, timeout: Duration) -> Result<(), SendError<'a>> {
        self.send_by(value.into(), Some(timeout))
    }

    /// Sends each batch of a reader, waiting for room as [`Sender::send`] does. Returns how many rows that
    /// were. The channel has the reader's schema from here on, also if there is no batch.
    pub fn send_all(&self, reader: impl RecordBatchReader) -> Result<u64, SendError<'static>> {
        self.check_schema(&reader.schema())?;
        let mut rows = 0;
        for batch in reader {
            let batch = batch.map_err(Error::from)?;
            self.check_schema(&batch.schema())?;
            let sheet = self.build((&batch).into(), None).0?;
            self.send_by(sheet.into(), None)?;
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }

    fn send_by<'a>(&self, value: Value<'a>, timeout: Option<Duration>) -> Result<(), SendError<'a>> {
        let core = &self.port.at().core;
        core.env.check_fork()?;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        // What does not fit now need not be copied first.
        if timeout.is_some_and(|t| t.is_zero()) && core.depth(self.port.ring) == self.port.ring.cells {
            return Err(match self.ended() {
                Some(clean) => SendError::Closed { value, clean },
                None => SendError::Full(value),
            });
        }
        if let Some(schema) = value.schema()? {
            self.check_schema(&schema)?;
        }
        let mut sheet = match self.build(value, until) {
            (Ok(sheet), _) => sheet,
            (Err(e), value) => {
                let ended = if matches!(e, Error::NoSpace { .. }) { self.ended() } else { None };
                return Err(match (value, ended) {
                    (Some(value), Some(clean)) => SendError::Closed { value, clean },
                    _ => e.into(),
                });
            }
        };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let sent = self.port.wait(timeout.and(left), || {
            Ok(match sheet.send(self.port.ring)? {
                Outcome::Done(()) => Some(Ok(())),
                Outcome::Closed => Some(Err(true)),
                Outcome::NotNow if core.is_deserted(self.port.ring, End::Receive) => Some(Err(false)),
                Outcome::NotNow => None,
            })
        })?;
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(clean)) => Err(SendError::Closed { value: sheet.into(), clean }),
            None => Err(SendError::TimedOut(sheet.into())),
        }
    }

    /// Makes an item, waiting for memory while somebody may give some back; and the value, unless that is used up.
    fn build<'a>(&self, value: Value<'a>, until: Option<Instant>) -> (Result<Sheet>, Option<Value<'a>>) {
        let patient = || self.writer.patient(self.port.ring, until);
        // Most find room at once.
        let built = match self.writer.build_borrowed(&value) {
            Some(Err(Error::NoSpace { .. })) => patient().build_borrowed(&value),
            done => done,
        };
        match built {
            Some(done) => (done, Some(value)),
            None => (patient().build(value), None),
        }
    }

    /// `Some(true)`: closed. `Some(false)`: nobody receives any more.
    fn ended(&self) -> Option<bool> {
        let core = &self.port.at().core;
        let closed = core.is_closed(self.port.ring);
        (closed || core.is_deserted(self.port.ring, End::Receive)).then_some(closed)
    }

    /// The channel's schema is this one, or becomes it; unless its contents are mixed.
    fn check_schema(&self, schema: &SchemaRef) -> Result<()> {
        let core = &self.port.at().core;
        core.env.check_fork()?;
        if core.is_mixed(self.port.ring) {
            return Ok(());
        }
        loop {
            if let Some(known) = self.port.schema()? {
                let same = Arc::ptr_eq(&known, schema) || same_schema(&known, schema);
                return if same { Ok(()) } else { Err(self.wrong_schema(&known, schema)) };
            }
            let empty = RecordBatch::new_empty(schema.clone());
            let mut sheet = self.writer.build(Value::Batch(&empty))?;
            sheet.put_in(self.port.ring.id)?;
        }
    }

    fn wrong_schema(&self, known: &Schema, found: &Schema) -> Error {
        let name = format!("a batch for channel `{}`", self.port.name);
        Error::Mismatch { name, expected: format!("of schema {known}"), found: format!("of schema {found}") }
    }

    /// Nothing more is sent, by anybody. Receivers get what there is, then [`RecvError::Closed`].
    pub fn close(&self) {
        let core = &self.port.at().core;
        if core.env.check_fork().is_ok() {
            core.close_ring(self.port.ring);
        }
    }

    /// Items that wait to be received.
    pub fn len(&self) -> usize {
        len(&self.port)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items it has room for.
    pub fn capacity(&self) -> usize {
        self.port.ring.cells as usize
    }
}

fn same_schema(a: &Schema, b: &Schema) -> bool {
    a.fields() == b.fields() && a.metadata() == b.metadata()
}

fn len(port: &Port) -> usize {
    // 0 in a forked child, which does not have the words.
    port.at().core.env.check_fork().map_or(0, |()| port.at().core.depth(port.ring) as usize)
}

/// The receiving end of a channel. Clones are the same end; it is left with the last of them and of the leases.
#[derive(Clone, Debug)]
pub struct Receiver {
    port: Arc<Port>,
}

impl Receiver {
    /// Receives, as soon as there is something.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`].
    pub fn recv(&self) -> Result<Lease, RecvError> {
        self.recv_by(None)
    }

    /// Receives, if there is something now; [`RecvError::Empty`] if not.
    pub fn try_recv(&self) -> Result<Lease, RecvError> {
        match self.recv_by(Some(Duration::ZERO)) {
            Err(RecvError::TimedOut) => Err(RecvError::Empty),
            other => other,
        }
    }

    /// Receives, if something comes in time; [`RecvError::TimedOut`] if not.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Lease, RecvError> {
        self.recv_by(Some(timeout))
    }

    fn recv_by(&self, timeout: Option<Duration>) -> Result<Lease, RecvError> {
        let (core, ring) = (&self.port.at().core, self.port.ring);
        core.env.check_fork()?;
        let taken = self.port.wait(timeout, || {
            let deserted = || core.is_deserted(ring, End::Send);
            Ok(match core.try_take(ring)? {
                Outcome::Done(taken) => Some(Ok(taken)),
                // What others have leased may come back.
                Outcome::Closed => core.outstanding(ring).is_empty().then_some(Err(true)),
                Outcome::NotNow if deserted() && core.outstanding(ring).is_empty() => match core.try_take(ring)? {
                    // The last sender may have sent something just before it left.
                    Outcome::Done(taken) => Some(Ok(taken)),
                    outcome => Some(Err(outcome == Outcome::Closed)),
                },
                Outcome::NotNow => None,
            })
        })?;
        match taken {
            Some(Ok(taken)) => Ok(Lease::new(&self.port, taken)?),
            Some(Err(clean)) => Err(RecvError::Closed { clean }),
            None => Err(RecvError::TimedOut),
        }
    }

    /// Everything that comes until the channel is closed. Asking for the next item acknowledges the one before;
    /// an item that is left when the iterator is dropped is not acknowledged.
    pub fn iter(&self) -> Iter<'_> {
        Iter { receiver: self, before: None }
    }

    /// The schema of its batches, as soon as it is known.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel ended without one; [`RecvError::TimedOut`].
    pub fn schema(&self, timeout: Option<Duration>) -> Result<SchemaRef, RecvError> {
        let (core, ring) = (&self.port.at().core, self.port.ring);
        core.env.check_fork()?;
        let known = self.port.wait(timeout, || {
            let ended = core.is_closed(ring) || core.is_deserted(ring, End::Send);
            // Looked at after that: the first batch may have come in between.
            Ok(match self.port.schema()? {
                Some(schema) => Some(Ok(schema)),
                None => ended.then_some(Err(core.is_closed(ring))),
            })
        })?;
        match known {
            Some(Ok(schema)) => Ok(schema),
            Some(Err(clean)) => Err(RecvError::Closed { clean }),
            None => Err(RecvError::TimedOut),
        }
    }

    /// Its batches as one stream, which ends when the channel is closed; waits for the schema. Asking for the
    /// next batch acknowledges the one before. Items that are no batches are errors, and are refused.
    pub fn reader(&self) -> Result<impl RecordBatchReader + use<>, RecvError> {
        let schema = self.schema(None)?;
        Ok(Stream { receiver: self.clone(), schema, before: None })
    }

    /// Items that wait to be received. Those that came back are not counted.
    pub fn len(&self) -> usize {
        len(&self.port)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items it has room for.
    pub fn capacity(&self) -> usize {
        self.port.ring.cells as usize
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a> {
    receiver: &'a Receiver,
    before: Option<Arc<Leased>>,
}

impl Iterator for Iter<'_> {
    type Item = Result<Object, RecvError>;

    /// `None` when the channel is closed; an error when its last sender left without that.
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(before) = self.before.take() {
            before.acknowledge();
        }
        match self.receiver.recv() {
            Ok(lease) => {
                let Lease { object, leased } = lease;
                self.before = Some(leased);
                Some(Ok(object))
            }
            Err(RecvError::Closed { clean: true }) => None,
            Err(e) => Some(Err(e)),
        }
    }
}

struct Stream {
    receiver: Receiver,
    schema: SchemaRef,
    before: Option<Lease>,
}

impl Iterator for Stream {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(before) = self.before.take() {
            before.ack();
        }
        let external = |e: Box<dyn std::error::Error + Send + Sync>| Some(Err(ArrowError::ExternalError(e)));
        match self.receiver.recv() {
            Ok(lease) => match lease.batch() {
                Ok(batch) => {
                    self.before = Some(lease);
                    Some(Ok(batch.record_batch().clone()))
                }
                Err(e) => external(Box::new(e)),
            },
            Err(RecvError::Closed { clean: true }) => None,
            Err(e) => external(Box::new(e)),
        }
    }
}

impl RecordBatchReader for Stream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// What a lease is made of; ended once.
#[derive(Debug)]
struct Leased {
    port: Arc<Port>,
    taken: Taken,
    ended: std::sync::atomic::AtomicBool,
}

impl Leased {
    /// Whether it was not ended before, and is ended by the caller now.
    fn end(&self) -> bool {
        !self.ended.swap(true, std::sync::atomic::Ordering::AcqRel) && self.port.at().core.env.check_fork().is_ok()
    }

    fn acknowledge(&self) {
        if self.end() {
            self.port.at().core.acknowledge(self.port.ring, self.taken);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if self.end() {
            self.port.at().core.refuse(self.port.ring, self.taken);
        }
    }
}

/// An item that was received: derefs to its [`Object`]. It is this process's until it is acknowledged, or comes
/// back to the channel: by dropping the lease, or by the death of this process.
#[derive(Debug)]
#[must_use = "dropping the lease gives the item back: call `ack`"]
pub struct Lease {
    object: Object,
    leased: Arc<Leased>,
}

impl Deref for Lease {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.object
    }
}

impl Lease {
    fn new(port: &Arc<Port>, taken: Taken) -> Result<Lease> {
        let leased = Arc::new(Leased { port: port.clone(), taken, ended: false.into() });
        let object = Object::pinned(Pin::leased(port.at(), taken.id)?, &port.name)?;
        Ok(Lease { object, leased })
    }

    /// Done with it: nobody gets it again. What was read from it stays as long as it is kept.
    pub fn ack(self) {
        self.leased.acknowledge();
    }

    /// How often it was received before: more than 0 if somebody gave it back, or died with it.
    pub fn attempts(&self) -> u64 {
        self.leased.taken.attempts
    }

    /// The item as a batch.
    pub fn batch(&self) -> Result<Batch> {
        self.object.clone().try_into()
    }

    /// Sends the item on, and acknowledges it, in one step: whoever dies meanwhile, it is in one of the two
    /// channels. Nothing is copied within an arena. Waits for room in the other channel.
    ///
    /// # Errors
    ///
    /// [`ForwardError`], which gives the lease back.
    pub fn send(self, to: &Sender) -> Result<(), ForwardError> {
        self.send_by(to, None)
    }

    /// The same, if there is room in time.
    pub fn send_timeout(self, to: &Sender, timeout: Duration) -> Result<(), ForwardError> {
        self.send_by(to, Some(timeout))
    }

    fn send_by(self, to: &Sender, timeout: Option<Duration>) -> Result<(), ForwardError> {
        let Leased { port, taken, .. } = &*self.leased;
        let same = port.at().is_same_arena(to.port.at());
        if !same {
            let copied = to.send_by((&self.object).into(), timeout).map_err(|e| e.to_string());
            return match copied {
                Ok(()) => {
                    self.ack();
                    Ok(())
                }
                Err(why) => Err(self.not_sent(why)),
            };
        }
        let checked = self.object.value_schema().and_then(|schema| schema.map_or(Ok(()), |s| to.check_schema(&s)));
        if let Err(e) = checked {
            return Err(self.not_sent(e.to_string()));
        }
        let core = &port.at().core;
        let Some(draft) = core.env.check_fork().ok().and_then(|()| core.lease_to_draft(port.ring, *taken)) else {
            return Err(self.not_sent("the lease was not ours any more".into()));
        };
        core.set_meta(draft.id, meta::TIME, crate::sys::Sys::now(&core.env));
        let sent = to.port.wait(timeout, || {
            Ok(match core.try_send(to.port.ring, draft)? {
                Outcome::Done(()) => Some(Ok(())),
                Outcome::Closed => Some(Err(true)),
                Outcome::NotNow if core.is_deserted(to.port.ring, End::Receive) => Some(Err(false)),
                Outcome::NotNow => None,
            })
        });
        if matches!(sent, Ok(Some(Ok(())))) {
            self.leased.ended.store(true, std::sync::atomic::Ordering::Release);
            return Ok(());
        }
        // It still is ours, as a draft; a lease again.
        let port = port.clone();
        let taken = core.draft_to_lease(draft, taken.attempts);
        self.leased.ended.store(true, std::sync::atomic::Ordering::Release);
        let lease = taken.map(|taken| Lease {
            object: self.object.clone(),
            leased: Arc::new(Leased { port, taken, ended: false.into() }),
        });
        let why = match sent {
            Err(e) => e.to_string(),
            Ok(Some(_)) => closed_text(core.is_closed(to.port.ring), "receiver"),
            Ok(None) => "the channel stayed full".into(),
        };
        Err(ForwardError { why, lease })
    }

    fn not_sent(self, why: String) -> ForwardError {
        ForwardError { why, lease: Some(self) }
    }
}

/// Why an item was not sent on, and its lease.
#[derive(Debug, thiserror::Error)]
#[error("not sent on: {why}")]
pub struct ForwardError {
    why: String,
    lease: Option<Lease>,
}

impl ForwardError {
    /// The lease, as before. Dropped with the error, the item goes back to its channel.
    pub fn into_lease(self) -> Option<Lease> {
        self.lease
    }
}

impl Sheet {
    /// Sends it; unless that is done it still is a draft.
    fn send(&mut self, ring: Ring) -> Result<Outcome<()>> {
        self.offer(|core, draft| {
            core.set_meta(draft.id, meta::TIME, crate::sys::Sys::now(&core.env));
            let outcome = core.try_send(ring, draft)?;
            Ok((outcome == Outcome::Done(()), outcome))
        })
    }

    /// Puts it in the place of an object that has none yet. If somebody was faster, it is dropped.
    fn put_in(&mut self, container: crate::word::Id) -> Result<()> {
        self.offer(|core, draft| {
            let place = core.place(core.geo.meta(container, meta::PLACE));
            let put = place.object().is_none() && core.put(draft, container, place)?;
            Ok((put, ()))
        })
    }
}
