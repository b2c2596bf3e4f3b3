//! The receiving end: items one by one, as an iterator, or as one stream of batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::arena::Arena;
use crate::channel::lease::Lease;
use crate::channel::{RecvError, Sender};
use crate::core::cell::End;
use crate::core::ring::Outcome;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::error::{Error, Result};
use crate::port::{Ended, Port, Waited, WhenDeserted};
use crate::reader::{Object, Table};
use crate::writer::Writer;

impl Arena {
    /// Returns a receiving end of the channel `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name;
    /// [`Error::Mismatch`] if the object is no channel.
    pub fn receiver(&self, name: &str) -> Result<Receiver> {
        let port = Arc::new(Port::named(self, name, Kind::Channel, End::Receive)?);
        Ok(Receiver { port, deserted: WhenDeserted::Fail })
    }

    /// Waits until the channel `name` exists, for ever if need be, and returns a receiving end of it.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if an object of that name is no channel;
    /// [`Error::Interrupted`].
    pub fn receiver_wait(&self, name: &str) -> Result<Receiver> {
        self.when_named(name, Until::Forever, || self.receiver(name))
    }

    /// Waits until the channel `name` exists, and returns a receiving end of it. Fails with
    /// [`Error::TimedOut`] if no such channel exists after `timeout`.
    pub fn receiver_timeout(&self, name: &str, timeout: Duration) -> Result<Receiver> {
        self.when_named(name, Until::Within(timeout), || self.receiver(name))
    }

    /// Waits until the channel `name` exists, and returns a receiving end of it. Fails with
    /// [`Error::TimedOut`] if no such channel exists at `deadline`.
    pub fn receiver_deadline(&self, name: &str, deadline: Instant) -> Result<Receiver> {
        self.when_named(name, Until::deadline(deadline), || self.receiver(name))
    }
}

/// A receiving end of a channel. A clone is another handle to the same end. The end leaves the channel when its last clone
/// and the last [`Lease`] that it received are dropped.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-receiver-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let jobs = arena.writer()?.sender("jobs", 2)?;
/// # jobs.send("job")?;
/// let receiver = arena.receiver("jobs")?;
/// let lease = receiver.recv()?;
/// assert_eq!(lease.bytes()?, b"job");
/// lease.ack();
/// assert!(receiver.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Receiver {
    pub(crate) port: Arc<Port>,
    deserted: WhenDeserted,
}

impl Receiver {
    /// Sets what this handle does when the channel is empty and its last sender left or died without closing it: fail with
    /// [`RecvError::Closed`], as it does unless something else is set, or wait until another sender comes. Other handles to
    /// the same end do as before.
    pub fn set_when_deserted(&mut self, deserted: WhenDeserted) {
        self.deserted = deserted;
    }

    /// Receives the next item. Waits until there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel is closed and every item was acknowledged, or if it is empty and its last sender
    /// left or died ([`Receiver::set_when_deserted`] can change that); [`RecvError::Interrupted`].
    pub fn recv(&self) -> Result<Lease, RecvError> {
        self.recv_by(Until::Forever)
    }

    /// Receives the next item if there is one now, and fails with [`RecvError::Empty`] if not. The other errors are those
    /// of [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Lease, RecvError> {
        empty(self.recv_by(Until::Now))
    }

    /// Receives the next item. Waits for one, and fails with [`RecvError::TimedOut`] if none came after `timeout`. The
    /// other errors are those of [`Receiver::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Lease, RecvError> {
        self.recv_by(Until::Within(timeout))
    }

    /// Receives the next item. Waits for one, and fails with [`RecvError::TimedOut`] if none came until `deadline`. The
    /// other errors are those of [`Receiver::recv`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Lease, RecvError> {
        self.recv_by(Until::deadline(deadline))
    }

    pub(crate) fn fails_when_deserted(&self) -> bool {
        self.deserted == WhenDeserted::Fail
    }

    pub(crate) fn recv_by(&self, until: Until) -> Result<Lease, RecvError> {
        let (core, ring) = (self.port.core()?, self.port.ring);
        let mut looks = Looks::default();
        // In a chain a take may need memory for a pin of the cell's segment.
        let try_take = || if ring.is_chain() { core.with_room(|| core.try_take(ring)) } else { core.try_take(ring) };
        let taken = self.port.wait(until, || {
            let mut none_out = || looks.look(|| core.outstanding(ring).is_empty());
            let deserted = || self.deserted == WhenDeserted::Fail && core.is_deserted(ring, End::Send);
            Ok(match try_take()? {
                Outcome::Done(taken) => Waited::Came(taken),
                // What others have leased may come back.
                Outcome::Closed if none_out() => Waited::Ended(Ended::Closed),
                Outcome::NotNow if deserted() && none_out() => match try_take()? {
                    // The last sender may have sent something just before it left.
                    Outcome::Done(taken) => Waited::Came(taken),
                    Outcome::Closed => Waited::Ended(Ended::Closed),
                    Outcome::NotNow => Waited::Ended(Ended::Deserted),
                },
                Outcome::Closed | Outcome::NotNow => Waited::NotYet,
            })
        })?;
        match taken {
            Waited::Came(taken) => Ok(Lease::new(&self.port, taken)?),
            Waited::Ended(ended) => Err(ended.into()),
            Waited::NotYet => Err(RecvError::TimedOut),
            Waited::Interrupted => Err(RecvError::Interrupted),
        }
    }

    /// Returns an iterator over the items that come until the channel is closed. Asking for the next item acknowledges the
    /// one before. Dropping the iterator returns the last item that it yielded to the channel.
    pub fn iter(&self) -> Iter<'_> {
        Iter { receiver: self, before: None, ended: false }
    }

    /// Returns the schema of the channel's batches. Waits until the schema is known.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel ended without a batch; [`RecvError::Interrupted`].
    pub fn schema(&self) -> Result<SchemaRef, RecvError> {
        self.schema_by(Until::Forever)
    }

    /// Returns the schema of the channel's batches if it is known now, and fails with [`RecvError::Empty`] if not. The other
    /// errors are those of [`Receiver::schema`].
    pub fn try_schema(&self) -> Result<SchemaRef, RecvError> {
        empty(self.schema_by(Until::Now))
    }

    /// Returns the schema of the channel's batches. Fails with [`RecvError::TimedOut`] if the schema is not known after
    /// `timeout`. The other errors are those of [`Receiver::schema`].
    pub fn schema_timeout(&self, timeout: Duration) -> Result<SchemaRef, RecvError> {
        self.schema_by(Until::Within(timeout))
    }

    /// Returns the schema of the channel's batches. Fails with [`RecvError::TimedOut`] if the schema is not known at
    /// `deadline`. The other errors are those of [`Receiver::schema`].
    pub fn schema_deadline(&self, deadline: Instant) -> Result<SchemaRef, RecvError> {
        self.schema_by(Until::deadline(deadline))
    }

    fn schema_by(&self, until: Until) -> Result<SchemaRef, RecvError> {
        match self.port.wait_for_schema(until, self.deserted)? {
            Waited::Came(schema) => Ok(schema),
            Waited::Ended(ended) => Err(ended.into()),
            Waited::NotYet => Err(RecvError::TimedOut),
            Waited::Interrupted => Err(RecvError::Interrupted),
        }
    }

    /// Returns the channel's batches as one stream. Waits until their schema is known. Each batch of the stream is waited
    /// for as by [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel ended without a batch; [`RecvError::Interrupted`]; [`RecvError::Failed`] with
    /// [`Error::Mismatch`] for a channel of mixed contents, which has no schema.
    pub fn reader(&self) -> Result<BatchReader, RecvError> {
        self.reader_by(Until::Forever)
    }

    /// Returns the channel's batches as one stream if their schema is known now, and fails with [`RecvError::Empty`] if not.
    /// The other errors are those of [`Receiver::reader`].
    pub fn try_reader(&self) -> Result<BatchReader, RecvError> {
        empty(self.reader_by(Until::Now))
    }

    /// Returns the channel's batches as one stream. Fails with [`RecvError::TimedOut`] if their schema is not known after
    /// `timeout`. The other errors are those of [`Receiver::reader`].
    pub fn reader_timeout(&self, timeout: Duration) -> Result<BatchReader, RecvError> {
        self.reader_by(Until::Within(timeout))
    }

    /// Returns the channel's batches as one stream. Fails with [`RecvError::TimedOut`] if their schema is not known at
    /// `deadline`. The other errors are those of [`Receiver::reader`].
    pub fn reader_deadline(&self, deadline: Instant) -> Result<BatchReader, RecvError> {
        self.reader_by(Until::deadline(deadline))
    }

    fn reader_by(&self, until: Until) -> Result<BatchReader, RecvError> {
        self.port.expect_one_schema()?;
        let schema = self.schema_by(until)?;
        Ok(BatchReader { receiver: self.clone(), schema, item: None, ended: false })
    }

    /// Returns a sending end of the same channel. The channel is found without its name, which may have been removed.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a writer of another arena; [`Error::Forked`] in a forked child.
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// # let name = format!("doc-receiver-sender-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let writer = arena.writer()?;
    /// drop(writer.sender("jobs", 2)?);
    /// let receiver = arena.receiver("jobs")?;
    /// writer.remove("jobs")?;                     // who has the channel keeps it
    /// receiver.sender(&writer)?.send("job")?;
    /// assert_eq!(receiver.recv()?.bytes()?, b"job");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sender(&self, writer: &Writer) -> Result<Sender> {
        if !self.port.at().is_same_arena(writer.attachment()) {
            return Err(Error::invalid("the writer is of another arena than the channel"));
        }
        Ok(Sender { port: Arc::new(self.port.other_end()?), writer: writer.clone(), deserted: self.deserted })
    }

    /// Returns how many items were sent so far, by all senders together.
    pub fn sent(&self) -> u64 {
        self.port.core().map_or(0, |core| core.sent(self.port.ring))
    }

    /// Returns how many processes have a sending end of the channel open, and how many a receiving end; this process is one
    /// of the latter. A process that died is counted until somebody notices.
    pub fn peers(&self) -> Result<Peers> {
        let core = self.port.core()?;
        let at = |end| core.present(self.port.ring, end).len();
        Ok(Peers { senders: at(End::Send), receivers: at(End::Receive) })
    }

    /// Returns how many items wait to be received. Items that came back from a receiver are not counted.
    pub fn len(&self) -> usize {
        self.port.len()
    }

    /// Returns whether no item waits to be received. Items that came back from a receiver are not counted.
    pub fn is_empty(&self) -> bool {
        self.port.len() == 0
    }

    /// Returns how many items the channel has room for, or `None` if it has no bound.
    pub fn capacity(&self) -> Option<usize> {
        self.port.capacity().map(|items| items as usize)
    }
}

/// How many processes are at the ends of a channel, as [`Receiver::peers`] returns it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-peers-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let jobs = arena.writer()?.sender("jobs", 2)?;
/// let peers = arena.receiver("jobs")?.peers()?;
/// assert_eq!((peers.senders, peers.receivers), (1, 1));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peers {
    /// The number of processes that can send.
    pub senders: usize,
    /// The number of processes that can receive.
    pub receivers: usize,
}

/// The error of what does not wait.
fn empty<T>(polled: Result<T, RecvError>) -> Result<T, RecvError> {
    polled.map_err(|e| if matches!(e, RecvError::TimedOut) { RecvError::Empty } else { e })
}

/// Keeps a waiter from looking at every object all the time.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// When the last look ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl Looks {
    /// What `look` says, or `false` while a look would be a large part of what is done.
    pub(crate) fn look(&mut self, look: impl FnOnce() -> bool) -> bool {
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

/// An iterator over the items of a channel, made by [`Receiver::iter`].
///
/// Asking for the next item waits for it, and acknowledges the one before. The iterator ends when the channel is closed and
/// drained. An error ends it too, after the error was yielded: [`RecvError::Closed`] with `clean: false`, for example, if
/// the last sender left without closing the channel. After [`RecvError::Interrupted`] the iterator goes on.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-channel-iter-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let jobs = arena.writer()?.sender("jobs", 2)?;
/// # jobs.send("one")?;
/// # jobs.send("three")?;
/// # jobs.close()?;
/// let mut bytes = 0;
/// for item in arena.receiver("jobs")?.iter() {
///     bytes += item?.bytes()?.len();
/// }
/// assert_eq!(bytes, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Iter<'a> {
    receiver: &'a Receiver,
    before: Option<Lease>,
    ended: bool,
}

impl Iterator for Iter<'_> {
    type Item = Result<Object, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if let Some(before) = self.before.take() {
            before.ack();
        }
        match self.receiver.recv() {
            Ok(lease) => {
                let object = Object::clone(&lease);
                self.before = Some(lease);
                Some(Ok(object))
            }
            Err(e) => {
                self.ended = !matches!(e, RecvError::Interrupted);
                Some(Err(e)).filter(|e| !matches!(e, Err(RecvError::Closed { clean: true })))
            }
        }
    }
}

/// The batches of a channel as one stream, made by [`Receiver::reader`].
///
/// Asking for a batch waits for it. When the batches of the next item are asked for, the item before is acknowledged. The
/// stream ends when the channel is closed and drained. An error ends it too: that the last sender left without closing the
/// channel, or an item that is no batch or table, which stays in the channel. After an `ExternalError` that contains
/// [`RecvError::Interrupted`] the stream goes on.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # use std::sync::Arc;
/// # let name = format!("doc-channel-reader-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let jobs = arena.writer()?.sender("jobs", 2)?;
/// # let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// # let batch = RecordBatch::try_from_iter([("n", column)])?;
/// jobs.send(batch.clone())?;
/// jobs.send(batch.clone())?;
/// jobs.close()?;
///
/// let mut rows = 0;
/// for batch in arena.receiver("jobs")?.reader()? {
///     rows += batch?.num_rows();
/// }
/// assert_eq!(rows, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BatchReader {
    receiver: Receiver,
    schema: SchemaRef,
    /// The item that batches come from, and which of them is next.
    item: Option<(Lease, Table, u64)>,
    /// An error ends the stream.
    ended: bool,
}

impl BatchReader {
    fn step(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            if let Some((_, table, next)) = &mut self.item
                && *next < table.num_batches()
            {
                let batch = table.batch(*next)?;
                *next += 1;
                return Ok(Some(batch.record_batch().clone()));
            }
            if let Some((lease, table, _)) = self.item.take() {
                drop(table);
                lease.ack();
            }
            match self.receiver.recv() {
                Ok(lease) => {
                    let table = Table::try_from(Object::clone(&lease))?;
                    self.item = Some((lease, table, 0));
                }
                Err(RecvError::Closed { clean: true }) => return Ok(None),
                Err(e) => return Err(ArrowError::ExternalError(Box::new(e))),
            }
        }
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = match &step {
            Some(Ok(_)) => false,
            Some(Err(ArrowError::ExternalError(e))) => {
                !matches!(e.downcast_ref::<RecvError>(), Some(RecvError::Interrupted))
            }
            _ => true,
        };
        step
    }
}

impl RecordBatchReader for BatchReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
