//! The sending end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatchReader;

use crate::arena::Arena;
use crate::channel::SendError;
use crate::core::cell::{End, Ring, RingForm};
use crate::core::geometry::meta;
use crate::core::ring::Outcome;
use crate::core::sys::Sys;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::error::{Error, Result};
use crate::input::Value;
use crate::port::{Contents, Port, PortForm, Waited, WhenDeserted};
use crate::value::view::Sheet;
use crate::writer::Writer;

impl Writer {
    /// Returns a sending end of the channel `name`. If there is no object of that name, makes a channel with room for
    /// `capacity` items, whose batches have one schema.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if `name` stands for an object of another kind, or for a channel of another capacity or of
    /// [`Contents::Mixed`]; [`Error::Invalid`] for a capacity of 0 or above [`MAX_CAPACITY`](crate::channel::MAX_CAPACITY);
    /// [`Error::NoSpace`].
    pub fn sender(&self, name: &str, capacity: usize) -> Result<Sender> {
        self.sender_with(name, capacity, Contents::OneSchema)
    }

    /// Returns a sending end of the channel `name`, as [`Writer::sender`] does, for batches of one schema or for any
    /// values. Fails with [`Error::Mismatch`] if the channel exists with other contents or another capacity.
    pub fn sender_with(&self, name: &str, capacity: usize, contents: Contents) -> Result<Sender> {
        self.open_or_make(name, Some(capacity as u64), contents)
    }

    /// Returns a sending end of the channel `name`. If there is no object of that name, makes a channel without a bound,
    /// whose batches have one schema: it takes as many items as the arena has memory for (up to about 8 million that wait at
    /// a time), and a send waits for memory alone.
    ///
    /// Everything else is as for a channel with a bound. A channel without one takes about 60 KiB and 8 bytes for each item
    /// that waits.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if `name` stands for an object of another kind, or for a channel with a bound or of
    /// [`Contents::Mixed`]; [`Error::NoSpace`].
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// # let name = format!("doc-unbounded-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let jobs = arena.writer()?.unbounded("jobs")?;
    /// for job in 0..10_000 {
    ///     jobs.try_send(format!("job {job}"))?;      // never full
    /// }
    /// assert_eq!((jobs.len(), jobs.capacity()), (10_000, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unbounded(&self, name: &str) -> Result<Sender> {
        self.unbounded_with(name, Contents::OneSchema)
    }

    /// Returns a sending end of the channel `name`, as [`Writer::unbounded`] does, for batches of one schema or for any
    /// values. Fails with [`Error::Mismatch`] if the channel exists with other contents or with a bound.
    pub fn unbounded_with(&self, name: &str, contents: Contents) -> Result<Sender> {
        self.open_or_make(name, None, contents)
    }

    fn open_or_make(&self, name: &str, capacity: Option<u64>, contents: Contents) -> Result<Sender> {
        self.make_channel(name, capacity.map_or_else(RingForm::unbounded, RingForm::channel), contents)
    }

    /// A channel of this form, or one that is there and has the same bound or none.
    pub(crate) fn make_channel(&self, name: &str, ring: RingForm, contents: Contents) -> Result<Sender> {
        let form = PortForm { capacity: (ring.segment == 0).then_some(ring.cells), contents };
        let port = Port::open_or_make(self.attachment(), name, Kind::Channel, form, |core| {
            core.draft_ring(ring.mixed(contents == Contents::Mixed))
        })?;
        Ok(Sender { port: Arc::new(port), writer: self.clone(), deserted: WhenDeserted::Fail })
    }

    /// The sending end of a channel that is there.
    pub(crate) fn existing_channel(&self, name: &str) -> Result<Sender> {
        let port = Port::named(&Arena::of(self.attachment()), name, Kind::Channel, End::Send)?;
        Ok(Sender { port: Arc::new(port), writer: self.clone(), deserted: WhenDeserted::Fail })
    }
}

/// A sending end of a channel. A clone is another handle to the same end. The end leaves the channel when its last clone
/// is dropped.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-sender-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let jobs = arena.writer()?.sender("jobs", 2)?;
/// jobs.send("first")?;
/// jobs.send("second")?;
/// assert_eq!((jobs.len(), jobs.capacity()), (2, Some(2)));
/// assert!(jobs.try_send("third").is_err());     // the channel is full
/// jobs.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sender {
    pub(crate) port: Arc<Port>,
    pub(crate) writer: Writer,
    pub(crate) deserted: WhenDeserted,
}

impl Sender {
    /// Sets what this handle does when there is no room and the last receiver, who could make some, left or died: fail with
    /// [`SendError::Closed`], as it does unless something else is set, or wait until another receiver comes. Other handles to
    /// the same end do as before.
    pub fn set_when_deserted(&mut self, deserted: WhenDeserted) {
        self.deserted = deserted;
    }

    /// Sends a value. Waits until there is room in the channel and in the arena.
    ///
    /// A `RecordBatchReader` is read to its end before its table is built. A bundle that contains a draft does not wait for
    /// memory, because the draft already occupies some: the send fails with [`Error::NoSpace`] then.
    ///
    /// # Errors
    ///
    /// * [`SendError::Closed`] if the channel is closed, or if it is full and its last receiver left or died
    ///   ([`Sender::set_when_deserted`] can change that);
    /// * [`SendError::Interrupted`];
    /// * [`SendError::NoSpace`] if the arena could never hold the value with its limit;
    /// * [`SendError::Failed`] with [`Error::Mismatch`] for a batch of another schema than the channel's.
    pub fn send<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), SendError<'a>> {
        self.send_by(value.into(), Until::Forever)
    }

    /// Sends a value if there is room for it now, and fails with [`SendError::Full`] if the channel is full. The other
    /// errors are those of [`Sender::send`].
    pub fn try_send<'a>(&self, value: impl Into<Value<'a>>) -> Result<(), SendError<'a>> {
        full(self.send_by(value.into(), Until::Now))
    }

    /// Sends a value. Waits for room, and fails with [`SendError::TimedOut`] if the channel is full after `timeout`. The
    /// other errors are those of [`Sender::send`].
    pub fn send_timeout<'a>(&self, value: impl Into<Value<'a>>, timeout: Duration) -> Result<(), SendError<'a>> {
        self.send_by(value.into(), Until::Within(timeout))
    }

    /// Sends a value. Waits for room, and fails with [`SendError::TimedOut`] if the channel is full at `deadline`. The other
    /// errors are those of [`Sender::send`].
    pub fn send_deadline<'a>(&self, value: impl Into<Value<'a>>, deadline: Instant) -> Result<(), SendError<'a>> {
        self.send_by(value.into(), Until::deadline(deadline))
    }

    /// Sends each batch of a reader as an item of its own, waiting for room as [`Sender::send`] does. Returns how many
    /// rows were sent. The channel has the reader's schema afterwards, even if the reader yields no batch.
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send`], for the first batch that could not be sent, which the error gives back. The batches before
    /// it were sent.
    pub fn send_all(&self, reader: impl RecordBatchReader) -> Result<u64, SendError<'static>> {
        self.send_all_by(reader, Until::Forever)
    }

    /// Sends each batch of a reader as an item of its own, as [`Sender::send_all`] does. Fails with [`SendError::Full`], which
    /// gives that batch back, at the first batch for which the channel has no room.
    pub fn try_send_all(&self, reader: impl RecordBatchReader) -> Result<u64, SendError<'static>> {
        full(self.send_all_by(reader, Until::Now))
    }

    /// Sends each batch of a reader as an item of its own, as [`Sender::send_all`] does. Fails with [`SendError::TimedOut`]
    /// if the channel has no room for one of them after `timeout`, which is for all of them together.
    pub fn send_all_timeout(
        &self,
        reader: impl RecordBatchReader,
        timeout: Duration,
    ) -> Result<u64, SendError<'static>> {
        self.send_all_by(reader, Until::Within(timeout))
    }

    /// Sends each batch of a reader as an item of its own, as [`Sender::send_all`] does. Fails with [`SendError::TimedOut`]
    /// if the channel has no room for one of them at `deadline`.
    pub fn send_all_deadline(
        &self,
        reader: impl RecordBatchReader,
        deadline: Instant,
    ) -> Result<u64, SendError<'static>> {
        self.send_all_by(reader, Until::deadline(deadline))
    }

    fn send_all_by(&self, reader: impl RecordBatchReader, until: Until) -> Result<u64, SendError<'static>> {
        let until = until.started();
        let schema = reader.schema();
        if let Err(e) = self.port.check_schema(&self.writer, &schema, until, self.deserted) {
            let not_built = self.port.not_built(Value::batches(schema, vec![]), e, self.deserted);
            return Err(SendError::not_built(not_built));
        }
        let mut rows = 0;
        for batch in reader {
            let batch = batch.map_err(Error::from)?;
            rows += batch.num_rows() as u64;
            self.send_by(batch.into(), until)?;
        }
        Ok(rows)
    }

    pub(crate) fn send_by<'a>(&self, value: Value<'a>, until: Until) -> Result<(), SendError<'a>> {
        let until = until.started();
        // What does not fit now need not be copied first.
        if until.is_now() && !self.has_room_now()? {
            return Err(match self.port.ended(self.deserted)? {
                Some(ended) => SendError::closed(value, ended),
                None => SendError::TimedOut(value),
            });
        }
        let built = self.port.build(&self.writer, value, until, self.deserted);
        let (mut sheet, schema) = built.map_err(SendError::not_built)?;
        match self.port.wait_to_put(until, self.deserted, || sheet.send(self.port.ring))? {
            Waited::Came(()) => Ok(()),
            Waited::Ended(ended) => Err(SendError::closed(Value::copied(sheet, schema), ended)),
            Waited::NotYet => Err(SendError::TimedOut(Value::copied(sheet, schema))),
            Waited::Interrupted => Err(SendError::Interrupted(Value::copied(sheet, schema))),
        }
    }

    /// Whether somebody receives, as far as is known; deaths are looked for now and then.
    pub(crate) fn is_received(&self) -> Result<bool> {
        let (core, ring) = (self.port.core()?, self.port.ring);
        let nobody = || Ok(core.present(ring, End::Receive).is_empty().then_some(()).into());
        Ok(!matches!(self.port.wait(Until::Now, nobody)?, Waited::Came(())))
    }

    /// Asks now whether receivers died, as who sleeps here does after each slice.
    pub(crate) fn look_for_deaths(&self) -> Result<()> {
        self.port.look_for_deaths(self.port.core()?);
        Ok(())
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> Result<bool> {
        Ok(self.port.core()?.is_closed(self.port.ring))
    }

    /// Whether nobody has a lease of an item, and nothing came back.
    pub(crate) fn none_out(&self) -> Result<bool> {
        Ok(self.port.core()?.outstanding(self.port.ring).is_empty())
    }

    fn has_room_now(&self) -> Result<bool> {
        let (core, ring) = (self.port.core()?, self.port.ring);
        let room = || Ok((!core.is_full(ring)).then_some(()).into());
        Ok(matches!(self.port.wait(Until::Now, room)?, Waited::Came(())))
    }

    /// Closes the channel: nothing more can be sent, by anybody. Receivers get the items that are there, and then
    /// [`RecvError::Closed`](crate::RecvError::Closed) with `clean: true`.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child, whose parent's end it is.
    pub fn close(&self) -> Result<()> {
        self.port.core()?.close_ring(self.port.ring);
        Ok(())
    }

    /// Returns how many items wait to be received. Items that came back from a receiver are not counted.
    pub fn len(&self) -> usize {
        self.port.len()
    }

    /// Returns whether no item waits to be received.
    pub fn is_empty(&self) -> bool {
        self.port.len() == 0
    }

    /// Returns how many items the channel has room for, or `None` if it has no bound.
    pub fn capacity(&self) -> Option<usize> {
        self.port.capacity().map(|items| items as usize)
    }
}

/// The error of what does not wait.
fn full<T>(polled: Result<T, SendError<'_>>) -> Result<T, SendError<'_>> {
    polled.map_err(|e| match e {
        SendError::TimedOut(value) => SendError::Full(value),
        other => other,
    })
}

impl Sheet {
    /// Sends it; unless that is done it still is a draft.
    pub(crate) fn send(&mut self, ring: Ring) -> Result<Outcome<()>> {
        self.offer(|core, draft| {
            core.set_meta(draft.id, meta::TIME, Sys::now(&core.env));
            core.try_send(ring, draft)
        })
    }
}
