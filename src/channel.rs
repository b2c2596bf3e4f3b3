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
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::arena::Arena;
use crate::core::geometry::meta;
use crate::core::ring::{End, MAX_CELLS, Outcome, Ring, Taken};
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::tables::Kind;
use crate::error::{Error, Result};
pub use crate::port::Contents;
use crate::port::{Port, time_left};
use crate::reader::{Batch, Object, Table};
use crate::value::view::{Pin, Sheet};
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
    /// The arena has no room for a copy, or had none for as long as the caller would wait.
    #[error("{error}")]
    NoSpace {
        /// What was to be sent.
        value: Value<'a>,
        /// An [`Error::NoSpace`].
        error: Box<Error>,
    },
    /// Everything else. The value is gone.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// For `?`, where nobody wants the value back.
impl From<SendError<'_>> for Error {
    fn from(e: SendError<'_>) -> Error {
        Error::NotSent(match e {
            SendError::Failed(e) => return e,
            SendError::NoSpace { error, .. } => return *error,
            SendError::Full(_) => "the channel or feed is full",
            SendError::TimedOut(_) => "the channel or feed stayed full",
            SendError::Closed { clean: true, .. } => "the channel or feed is closed",
            SendError::Closed { clean: false, .. } => "the last receiver left or died",
        })
    }
}

impl<'a> SendError<'a> {
    /// What became of a value that was not built, if it still is there.
    pub(crate) fn not_built(error: Error, value: Option<Value<'a>>) -> SendError<'a> {
        match (error, value) {
            (error @ Error::NoSpace { .. }, Some(value)) => SendError::NoSpace { value, error: error.into() },
            (error, _) => SendError::Failed(error),
        }
    }

    /// What was to be sent, unless it is gone.
    pub fn into_value(self) -> Option<Value<'a>> {
        match self {
            SendError::Full(value) | SendError::TimedOut(value) => Some(value),
            SendError::Closed { value, .. } | SendError::NoSpace { value, .. } => Some(value),
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
    /// So many items of a feed were replaced before this subscriber came to them. It goes on with the oldest that
    /// is there.
    #[error("{0} items are gone: the feed went on without this subscriber")]
    Lagged(u64),
    /// Everything else.
    #[error(transparent)]
    Failed(#[from] Error),
}

pub(crate) fn closed_text(clean: bool, end: &str) -> String {
    if clean { "the channel is closed".into() } else { format!("the last {end} left or died") }
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

    /// Returns a sending end of the channel `name`, as [`Writer::sender`] does, for batches of one schema or for any
    /// values. Fails with [`Error::Mismatch`] if the channel exists with other contents or another capacity.
    pub fn sender_of(&self, name: &str, capacity: usize, contents: Contents) -> Result<Sender> {
        crate::core::name::check(name)?;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(Error::invalid(format!("a channel has room for 1 to {MAX_CAPACITY} items, not {capacity}")));
        }
        let at = self.attachment();
        let form = (capacity as u64, contents == Contents::Mixed);
        let port =
            Port::open_or_make(at, name, Kind::Channel, End::Send, form, |core| core.draft_ring(form.0, form.1))?;
        Ok(Sender { port: Arc::new(port), writer: self.clone() })
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
        Ok(Receiver { port: Arc::new(Port::new(pin, Kind::Channel, End::Receive, name)?) })
    }

    /// Waits until the channel `name` exists, and returns a receiving end of it. Fails with [`Error::TimedOut`] if no
    /// such channel exists after `timeout`.
    pub fn receiver_timeout(&self, name: &str, timeout: Duration) -> Result<Receiver> {
        self.when_named(name, timeout, || self.receiver(name))
    }
}

/// The sending end of a channel. A clone is another handle to the same end. The end leaves the channel when its last
/// clone is dropped.
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
    /// the channel's; [`SendError::NoSpace`] for what the arena could never hold.
    ///
    /// A reader is read to its end before its table is built. What has drafts in it, and its memory already, does
    /// not wait for more: [`SendError::Failed`] with [`Error::NoSpace`] then.
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
        let reader_schema = reader.schema();
        let of_none = |e| self.not_built(e, Some(Value::RecordBatches(reader_schema.clone(), vec![])));
        self.port.check_schema(&self.writer, &reader_schema, None).map_err(of_none)?;
        let mut rows = 0;
        for batch in reader {
            let batch = batch.map_err(Error::from)?;
            let of_it = |e| self.not_built(e, Some(Value::RecordBatches(batch.schema(), vec![batch.clone()])));
            self.port.check_schema(&self.writer, batch.schema_ref(), None).map_err(of_it)?;
            let sheet = self.port.build(&self.writer, Value::Batch(&batch), None).0.map_err(of_it)?;
            self.send_by(Value::copied(sheet, Some(batch.schema())), None)?;
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }

    fn send_by<'a>(&self, value: Value<'a>, timeout: Option<Duration>) -> Result<(), SendError<'a>> {
        let core = self.port.core()?;
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        // What does not fit now need not be copied first.
        let has_room = || Ok((!core.is_full(self.port.ring)).then_some(()));
        if timeout.is_some_and(|t| t.is_zero()) && self.port.wait(timeout, has_room)?.is_none() {
            return Err(match self.port.ended() {
                Some(clean) => SendError::Closed { value, clean },
                None => SendError::Full(value),
            });
        }
        let schema = value.schema()?;
        if let Some(schema) = &schema
            && let Err(e) = self.port.check_schema(&self.writer, schema, until)
        {
            return Err(self.not_built(e, Some(value)));
        }
        let mut sheet = match self.port.build(&self.writer, value, until) {
            (Ok(sheet), _) => sheet,
            (Err(e), value) => return Err(self.not_built(e, value)),
        };
        let sent = self.wait_to_send(time_left(until), || sheet.send(self.port.ring))?;
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(clean)) => Err(SendError::Closed { value: Value::copied(sheet, schema), clean }),
            None => Err(SendError::TimedOut(Value::copied(sheet, schema))),
        }
    }

    /// Why a value was not built: memory is waited for as long as somebody may give some back.
    fn not_built<'a>(&self, error: Error, value: Option<Value<'a>>) -> SendError<'a> {
        match (SendError::not_built(error, value), self.port.ended()) {
            (SendError::NoSpace { value, .. }, Some(clean)) => SendError::Closed { value, clean },
            (error, _) => error,
        }
    }

    /// Waits until `send` has sent, or never will: `Err`, and whether that is because somebody closed it.
    fn wait_to_send(
        &self,
        timeout: Option<Duration>,
        mut send: impl FnMut() -> Result<Outcome<()>>,
    ) -> Result<Option<Result<(), bool>>> {
        let core = self.port.core()?;
        self.port.wait(timeout, || {
            Ok(match send()? {
                Outcome::Done(()) => Some(Ok(())),
                Outcome::Closed => Some(Err(true)),
                Outcome::NotNow if core.is_deserted(self.port.ring, End::Receive) => Some(Err(false)),
                Outcome::NotNow => None,
            })
        })
    }

    /// Nothing more is sent, by anybody. Receivers get what there is, then [`RecvError::Closed`].
    pub fn close(&self) {
        if let Ok(core) = self.port.core() {
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

fn len(port: &Port) -> usize {
    port.core().map_or(0, |core| core.depth(port.ring) as usize)
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
        let (core, ring) = (self.port.core()?, self.port.ring);
        let mut looks = Looks::default();
        let taken = self.port.wait(timeout, || {
            let mut none_out = || looks.look(|| core.outstanding(ring).is_empty());
            let deserted = || core.is_deserted(ring, End::Send);
            Ok(match core.try_take(ring)? {
                Outcome::Done(taken) => Some(Ok(taken)),
                // What others have leased may come back.
                Outcome::Closed => none_out().then_some(Err(true)),
                Outcome::NotNow if deserted() && none_out() => match core.try_take(ring)? {
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
        Iter { receiver: self, before: None, ended: false }
    }

    /// The schema of its batches, as soon as it is known.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel ended without one; [`RecvError::TimedOut`].
    pub fn schema(&self, timeout: Option<Duration>) -> Result<SchemaRef, RecvError> {
        let (core, ring) = (self.port.core()?, self.port.ring);
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
    /// next item's batches acknowledges the one before. An item that is no batch or table is an error, which ends the
    /// stream and leaves the item in the channel; so is the last sender's leaving without closing.
    ///
    /// # Errors
    ///
    /// [`RecvError::Failed`] with [`Error::Mismatch`] for a channel of mixed contents, which has no schema.
    pub fn reader(&self) -> Result<impl RecordBatchReader + use<>, RecvError> {
        self.port.expect_one_schema()?;
        let schema = self.schema(None)?;
        Ok(Stream { receiver: self.clone(), schema, item: None, ended: false })
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

/// Keeps a waiter from looking at every object all the time.
#[derive(Debug, Default)]
struct Looks {
    /// When the last look ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl Looks {
    /// What `look` says, or `false` while a look would be a large part of what is done.
    fn look(&mut self, look: impl FnOnce() -> bool) -> bool {
        let begun = Instant::now();
        if self.last.is_some_and(|(ended, took)| begun.duration_since(ended) < took * 20) {
            return false;
        }
        let found = look();
        let ended = Instant::now();
        self.last = Some((ended, ended.duration_since(begun)));
        found
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a> {
    receiver: &'a Receiver,
    before: Option<Leased>,
    ended: bool,
}

impl Iterator for Iter<'_> {
    type Item = Result<Object, RecvError>;

    /// `None` when the channel is closed, and after an error: when the last sender left without closing it, say.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if let Some(before) = self.before.take() {
            before.acknowledge();
        }
        match self.receiver.recv() {
            Ok(lease) => {
                let Lease { object, leased } = lease;
                self.before = Some(leased);
                Some(Ok(object))
            }
            Err(e) => {
                self.ended = true;
                Some(Err(e)).filter(|e| !matches!(e, Err(RecvError::Closed { clean: true })))
            }
        }
    }
}

struct Stream {
    receiver: Receiver,
    schema: SchemaRef,
    /// The item that batches come from, and which of them is next.
    item: Option<(Lease, Table, u64)>,
    /// An error ends the stream.
    ended: bool,
}

impl Stream {
    fn step(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let external = |e: Error| ArrowError::ExternalError(Box::new(e));
        loop {
            if let Some((_, table, next)) = &mut self.item
                && *next < table.num_batches()
            {
                let batch = table.batch(*next).map_err(external)?;
                *next += 1;
                return Ok(Some(batch.record_batch().clone()));
            }
            if let Some((lease, table, _)) = self.item.take() {
                drop(table);
                lease.ack();
            }
            match self.receiver.recv() {
                Ok(lease) => {
                    let table = Table::try_from(lease.object.clone()).map_err(external)?;
                    self.item = Some((lease, table, 0));
                }
                Err(RecvError::Closed { clean: true }) => return Ok(None),
                Err(e) => return Err(ArrowError::ExternalError(Box::new(e))),
            }
        }
    }
}

impl Iterator for Stream {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
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
    ended: bool,
}

impl Leased {
    /// Ends the lease by `how`, unless it was ended before.
    fn end(&mut self, how: impl FnOnce(&Core<Posix>, Ring, Taken)) {
        if !std::mem::replace(&mut self.ended, true)
            && let Ok(core) = self.port.core()
        {
            how(core, self.port.ring, self.taken);
        }
    }

    fn acknowledge(mut self) {
        self.end(Core::acknowledge);
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.end(Core::refuse);
    }
}

/// An item that was received: derefs to its [`Object`]. It is this process's until it is acknowledged, or comes
/// back to the channel: by dropping the lease, or by the death of this process.
#[derive(Debug)]
#[must_use = "dropping the lease gives the item back: call `ack`"]
pub struct Lease {
    object: Object,
    leased: Leased,
}

impl Deref for Lease {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.object
    }
}

impl Lease {
    fn new(port: &Arc<Port>, taken: Taken) -> Result<Lease> {
        let leased = Leased { port: port.clone(), taken, ended: false };
        let object = Object::pinned(Pin::leased(port.at(), taken.id)?, port.name.clone())?;
        Ok(Lease { object, leased })
    }

    /// Done with it: nobody gets it again. What was read from it stays as long as it is kept.
    pub fn ack(self) {
        let Lease { object, leased } = self;
        // The pin first, so that the memory is free when a sender is told.
        drop(object);
        leased.acknowledge();
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

    /// Sends the item on to another channel and acknowledges it in one step, as [`Lease::send`] does. If the other channel
    /// has no room after `timeout`, the [`ForwardError`] gives the lease back.
    pub fn send_timeout(self, to: &Sender, timeout: Duration) -> Result<(), ForwardError> {
        self.send_by(to, Some(timeout))
    }

    fn send_by(mut self, to: &Sender, timeout: Option<Duration>) -> Result<(), ForwardError> {
        let Leased { port, taken, .. } = &self.leased;
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
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let checked = self
            .object
            .value_schema()
            .and_then(|schema| schema.map_or(Ok(()), |s| to.port.check_schema(&to.writer, &s, until)));
        if let Err(e) = checked {
            return Err(self.not_sent(e.to_string()));
        }
        let core = match port.core() {
            Ok(core) => core,
            Err(e) => return Err(self.not_sent(e.to_string())),
        };
        let Some(draft) = core.lease_to_draft(port.ring, *taken) else {
            return Err(self.not_sent("the lease was not ours any more".into()));
        };
        core.set_meta(draft.id, meta::TIME, crate::core::sys::Sys::now(&core.env));
        let sent = to.wait_to_send(time_left(until), || core.try_send(to.port.ring, draft));
        if matches!(sent, Ok(Some(Ok(())))) {
            core.tell_of_end(port.ring);
            self.leased.ended = true;
            return Ok(());
        }
        // It still is ours, as a draft; a lease again.
        let again = core.draft_to_lease(draft, taken.attempts);
        let why = match sent {
            Err(e) => e.to_string(),
            Ok(Some(_)) => closed_text(core.is_closed(to.port.ring), "receiver"),
            Ok(None) => "the channel stayed full".into(),
        };
        match again {
            Some(taken) => self.leased.taken = taken,
            None => self.leased.ended = true,
        }
        let lease = Some(self).filter(|lease| !lease.leased.ended);
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
            core.set_meta(draft.id, meta::TIME, crate::core::sys::Sys::now(&core.env));
            let outcome = core.try_send(ring, draft)?;
            Ok((outcome == Outcome::Done(()), outcome))
        })
    }
}
