//! Channels as Python holds them: senders, receivers, leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use faretra::channel::{Contents, ForwardError};
use faretra::{RecvError, SendError, Writer};
use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::arena::{Arena, text, timeout};
use crate::arrow;
use crate::error::{Failure, run, run_plain, wait};
use crate::leased::{Held, Leased};
use crate::ready::{End, Pollable, Prepared, put, take, when_deserted};
use crate::value::{Input, Pickling, private};

/// Whether values of different kinds and schemas may come.
pub fn contents(mixed: bool) -> Contents {
    if mixed { Contents::Mixed } else { Contents::OneSchema }
}

/// The sending end of a channel; `faretra.Sender` is a subclass.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Sender {
    pub end: End<faretra::Sender>,
    /// Kept for the ends that come after this one.
    _writer: Arc<Writer>,
}

impl Sender {
    /// An end that is open already.
    pub fn of(name: &str, sender: faretra::Sender, writer: Arc<Writer>) -> Sender {
        Sender { end: End::new("the channel", name, sender), _writer: writer }
    }
}

#[pymethods]
impl Sender {
    #[new]
    #[pyo3(
        signature = (arena, name, capacity=Some(64), mixed=true, when_deserted="fail"),
        text_signature = "(arena, name, capacity=64, mixed=True, when_deserted='fail')"
    )]
    pub fn open(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        capacity: Option<i64>,
        mixed: bool,
        when_deserted: &str,
    ) -> PyResult<Sender> {
        let deserted = self::when_deserted(when_deserted)?;
        let name = text(name)?;
        let writer = arena.get().writer(py)?;
        let mut sender = run(py, || match capacity {
            // What is negative has no room either.
            Some(capacity) => writer.sender_with(name, capacity.max(0) as usize, contents(mixed)),
            None => writer.unbounded_with(name, contents(mixed)),
        })?;
        sender.set_when_deserted(deserted);
        Ok(Sender { end: End::new("the channel", name, sender), _writer: writer })
    }

    /// Sends a value: anything that can be put into an arena. It is copied once, or not at all if it was read from this arena.
    ///
    /// Waits while the channel or the arena is full, up to `timeout` (seconds or a timedelta; 0: not at all).
    ///
    /// Raises:
    ///     FullError: The channel is full, and the timeout is 0.
    ///     TimeoutError: The channel stayed full.
    ///     ClosedError: The channel is closed (`clean`), or it is full and its last receiver left or died.
    ///     NoSpaceError: There is no room for the value in the arena.
    ///     MismatchError: It is a table of another schema, and the channel is not mixed.
    ///
    /// >>> arena = faretra.Arena.create("doc-send", keep=False)
    /// >>> tx = arena.sender("jobs", capacity=1)
    /// >>> tx.send({"job": 1, "frame": np.zeros(3)})
    /// >>> tx.send("another", timeout=0)
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.FullError: the channel 'jobs': there is no room now; ...
    /// >>> arena.close()
    #[pyo3(signature = (value, timeout=None))]
    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let (sender, limit) = (self.end.get(py)?, self::timeout(timeout)?);
        let mut input = Input::of(value, self.end.name())?;
        let sent = put(
            py,
            &mut input,
            limit,
            || self.end.what(),
            |value: faretra::Value<'_>, limit: Option<Duration>| {
                Ok(match limit {
                    None => sender.send(value),
                    Some(limit) if limit.is_zero() => sender.try_send(value),
                    Some(limit) => sender.send_timeout(value, limit),
                }?)
            },
        );
        self.end.descriptor.follow(py);
        sent
    }

    /// Sends a value if there is room for it now. The same as `send(value, timeout=0)`.
    ///
    /// Raises:
    ///     FullError: The channel is full.
    ///
    /// >>> arena = faretra.Arena.create("doc-try-send", keep=False)
    /// >>> tx = arena.sender("jobs", capacity=1)
    /// >>> tx.try_send("a job")
    /// >>> tx.try_send("another")
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.FullError: the channel 'jobs': there is no room now; ...
    /// >>> arena.close()
    fn try_send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.send(py, value, Some(0_u8.into_pyobject(py)?.as_any()))
    }

    fn _prepare(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Prepared> {
        Prepared::new(py, value, self.end.name())
    }

    fn _try_send(&self, py: Python<'_>, prepared: &Bound<'_, Prepared>) -> PyResult<()> {
        let sender = self.end.get(py)?;
        let sent = prepared.get().attempt(py, |value| {
            sender.try_send(value).map_err(|error| Failure::from(error).about(|| self.end.what()))
        });
        self.end.descriptor.follow(py);
        sent
    }

    /// Sends each batch of a table. Returns how many there were, and says so in an error.
    fn _send_batches(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(u64, Option<PyErr>)> {
        let (sender, limit) = (self.end.get(py)?, self::timeout(timeout)?);
        let reader: arrow::Reader = match Input::of(table, self.end.name())? {
            Input::Stream(Some(reader)) => reader,
            Input::Table(table) => Box::new(table.reader()),
            Input::Object(object) => Box::new(run(py, || object.table())?.reader()),
            _ => {
                return Err(PyTypeError::new_err(
                    "this is no table that Arrow can have: give a table of plain columns, or a list",
                ));
            }
        };
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader, taken: sent.clone() };
        let done = wait(py, || -> Result<u64, Failure> {
            let done = match limit {
                None => sender.send_all(counted),
                Some(limit) if limit.is_zero() => sender.try_send_all(counted),
                Some(limit) => sender.send_all_timeout(counted, limit),
            };
            done.map_err(|error: SendError<'_>| Failure::from(error).about(|| self.end.what()))
        });
        self.end.descriptor.follow(py);
        let taken = sent.load(Relaxed);
        Ok(match done {
            Ok(_) => (taken, None),
            // The last one was not sent.
            Err(error) => (taken.saturating_sub(1), Some(error)),
        })
    }

    /// Closes the channel, for every sender: nothing can be sent any more. Receivers get what is there, and then a
    /// `ClosedError` whose `clean` is true, which ends a `for` loop.
    ///
    /// >>> arena = faretra.Arena.create("doc-close", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> tx.send("the last job")
    /// >>> tx.close()
    /// >>> list(rx)
    /// ['the last job']
    /// >>> arena.close()
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.end.get(py)?;
        run(py, || sender.close())
    }

    /// Gives this end up, and closes nothing: other senders go on. When the last sender left, receivers are told with a
    /// `ClosedError` whose `clean` is false.
    ///
    /// >>> arena = faretra.Arena.create("doc-leave", keep=False)
    /// >>> arena.sender("jobs").leave()
    /// >>> arena.receiver("jobs").recv()
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.ClosedError: the channel 'jobs': nobody is at the other end: the last one left or died
    /// >>> arena.close()
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.end.leave(py)
    }

    /// Whether this end was left.
    #[getter]
    fn left(&self) -> bool {
        self.end.is_left()
    }

    /// The channel's name.
    #[getter]
    fn name(&self) -> &str {
        self.end.name()
    }

    /// How many items the channel has room for; `None`: as many as the arena has memory for.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        let end = self.end.get(py)?;
        run_plain(py, || end.capacity())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let end = self.end.get(py)?;
        run_plain(py, || end.len())
    }

    /// A sender is true even when no item is in its channel.
    fn __bool__(&self) -> bool {
        true
    }

    /// The number of a file descriptor that is *readable* while the channel has room, is closed, or has lost its last receiver:
    /// put the sender into the first list of `select.select`, or register it for `EVENT_READ`. The descriptor follows what this
    /// sender does, and stays the same until the sender is left.
    ///
    /// >>> import select
    /// >>> arena = faretra.Arena.create("doc-sender-fileno", keep=False)
    /// >>> tx = arena.sender("jobs", capacity=1)
    /// >>> select.select([tx], [], [], 5)[0] == [tx]
    /// True
    /// >>> arena.close()
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let sender = self.end.get(py)?;
        self.end.descriptor.follow(py);
        self.end.descriptor.number(py, || sender.pollable())
    }

    /// Returns a descriptor of its own, which is readable while the channel has room, is closed, or has lost its last receiver.
    ///
    /// >>> arena = faretra.Arena.create("doc-sender-pollable", keep=False)
    /// >>> arena.sender("jobs").pollable().is_ready()
    /// True
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        let sender = self.end.get(py)?;
        Pollable::new(py, || sender.pollable())
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Sender of '{}'{}>", self.end.name(), if self.end.is_left() { ", left" } else { "" })
    }
}

/// Counts the batches that were taken from a reader.
struct Counted {
    reader: arrow::Reader,
    taken: Arc<AtomicU64>,
}

impl Iterator for Counted {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.next()?;
        self.taken.fetch_add(1, Relaxed);
        Some(next)
    }
}

impl RecordBatchReader for Counted {
    fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }
}

/// The receiving end of a channel; `faretra.Receiver` is a subclass.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Receiver {
    pub end: End<faretra::Receiver>,
    pickling: Pickling,
}

#[pymethods]
impl Receiver {
    #[new]
    #[pyo3(signature = (arena, name, wait=false, timeout=None, when_deserted="fail"))]
    pub fn open(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        wait: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        when_deserted: &str,
    ) -> PyResult<Receiver> {
        let deserted = self::when_deserted(when_deserted)?;
        let limit = self::timeout(timeout)?;
        let name = text(name)?;
        let pickling = arena.get().pickling();
        let arena = arena.get().get(py)?;
        let mut receiver = match limit {
            None if !wait => run(py, || arena.receiver(name))?,
            None => crate::error::wait(py, || arena.receiver_wait(name))?,
            Some(limit) => crate::error::wait(py, || arena.receiver_timeout(name, limit))?,
        };
        receiver.set_when_deserted(deserted);
        Ok(Receiver { end: End::new("the channel", name, receiver), pickling })
    }

    /// Receives the next item, leased to this receiver until it is acknowledged. Waits for one, up to `timeout` (seconds or a
    /// timedelta; 0: not at all).
    ///
    /// `with rx.recv() as lease:` acknowledges the item when the block ends, and gives it back when the block raises. If this
    /// process dies with the lease, another receiver gets the item.
    ///
    /// Raises:
    ///     EmptyError: There is no item, and the timeout is 0.
    ///     TimeoutError: None came in time.
    ///     ClosedError: The channel is closed and empty (`clean`), or it is empty and its last sender left or died.
    ///
    /// >>> arena = faretra.Arena.create("doc-recv", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> tx.send(np.arange(3))
    /// >>> with rx.recv(timeout=5) as lease:
    /// ...     lease.value
    /// array([0, 1, 2])
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn recv(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Lease> {
        let (receiver, limit) = (self.end.get(py)?, self::timeout(timeout)?);
        let got = take(
            py,
            limit,
            || self.end.what(),
            |limit| -> Result<faretra::Lease, RecvError> {
                match limit {
                    None => receiver.recv(),
                    Some(limit) if limit.is_zero() => receiver.try_recv(),
                    Some(limit) => receiver.recv_timeout(limit),
                }
            },
        );
        self.end.descriptor.follow(py);
        Ok(Lease::new(got?, self.pickling))
    }

    /// Receives the next item if there is one now. The same as `recv(timeout=0)`.
    ///
    /// Raises:
    ///     EmptyError: There is none.
    ///
    /// >>> arena = faretra.Arena.create("doc-try-recv", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> rx.try_recv()
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.EmptyError: the channel 'jobs': there is no item now
    /// >>> arena.close()
    fn try_recv(&self, py: Python<'_>) -> PyResult<Lease> {
        self.recv(py, Some(0_u8.into_pyobject(py)?.as_any()))
    }

    /// Gives this end up. When the last receiver left, senders that meet a full channel are told with a `ClosedError`.
    ///
    /// >>> arena = faretra.Arena.create("doc-receiver-leave", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> rx.leave()
    /// >>> rx.left
    /// True
    /// >>> arena.close()
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.end.leave(py)
    }

    /// Whether this end was left.
    #[getter]
    fn left(&self) -> bool {
        self.end.is_left()
    }

    /// The channel's name.
    #[getter]
    fn name(&self) -> &str {
        self.end.name()
    }

    /// How many items the channel has room for; `None`: as many as the arena has memory for.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        let end = self.end.get(py)?;
        run_plain(py, || end.capacity())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let end = self.end.get(py)?;
        run_plain(py, || end.len())
    }

    /// A receiver is true even when no item is in its channel.
    fn __bool__(&self) -> bool {
        true
    }

    /// The number of a file descriptor that is readable while there is an item, or when none comes any more: for `select`,
    /// `selectors` and event loops. The descriptor follows what this receiver does, and stays the same until the receiver is
    /// left. Another receiver may be faster, so call `recv(timeout=0)` when it is readable.
    ///
    /// >>> import select
    /// >>> arena = faretra.Arena.create("doc-fileno", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> tx.send("a job")
    /// >>> select.select([rx], [], [], 5)[0] == [rx]
    /// True
    /// >>> rx.recv(timeout=0).ack()
    /// >>> select.select([rx], [], [], 0)[0]
    /// []
    /// >>> arena.close()
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let receiver = self.end.get(py)?;
        self.end.descriptor.follow(py);
        self.end.descriptor.number(py, || receiver.pollable())
    }

    /// Returns a descriptor of its own, which is readable when there is an item, or when none comes any more.
    ///
    /// >>> arena = faretra.Arena.create("doc-receiver-pollable", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> rx.pollable().is_ready()
    /// False
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        let receiver = self.end.get(py)?;
        Pollable::new(py, || receiver.pollable())
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Receiver of '{}'{}>", self.end.name(), if self.end.is_left() { ", left" } else { "" })
    }
}

/// An item of a channel, leased to this process: until it is acknowledged or given back, no other receiver gets it.
///
/// `with rx.recv() as lease:` acknowledges the item when the block ends, and gives it back when the block raises. A lease that is
/// dropped before gives its item back, too; so does the death of the process.
///
/// >>> arena = faretra.Arena.create("doc-lease", keep=False)
/// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
/// >>> tx.send("a job")
/// >>> rx.recv().nack()
/// >>> lease = rx.recv()
/// >>> lease.value, lease.attempts
/// ('a job', 1)
/// >>> lease.ack()
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Lease {
    leased: Leased<faretra::Lease>,
}

impl Lease {
    fn new(lease: faretra::Lease, pickling: Pickling) -> Lease {
        let (attempts, name) = (lease.attempts(), lease.name().to_owned());
        Lease { leased: Leased::new(lease, attempts, name, pickling) }
    }

    /// The lease, which ends here.
    fn take(&self, py: Python<'_>) -> PyResult<Held<faretra::Lease>> {
        self.leased.take().ok_or_else(|| {
            let name = self.leased.name();
            let text = format!("this item of the channel '{name}' was acknowledged, forwarded or given back already");
            Failure::invalid(text).raise(py)
        })
    }

    /// What the lease is of.
    pub fn object(&self, py: Python<'_>) -> PyResult<faretra::Object> {
        self.leased.object().ok_or_else(|| self.no_more().raise(py))
    }

    fn no_more(&self) -> Failure {
        let name = self.leased.name();
        let text = format!("this item of the channel '{name}' is leased no more: take its value before the lease ends");
        Failure::invalid(text)
    }
}

#[pymethods]
impl Lease {
    /// The item, zero-copy and read-only where it is an array, a table or bytes. Whoever took it keeps it after the lease ended,
    /// and its memory with it.
    ///
    /// Raises:
    ///     InvalidError: The lease ended before anybody took the value.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.leased.value(py, || self.no_more())
    }

    /// Returns a private writable copy-on-write view of the item, which has to be an array or bytes.
    ///
    /// >>> arena = faretra.Arena.create("doc-lease-private", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> tx.send(np.zeros(3))
    /// >>> with rx.recv() as lease:
    /// ...     mine = lease.private()
    /// >>> mine[0] = 1
    /// >>> mine
    /// array([1., 0., 0.])
    /// >>> arena.close()
    fn private<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        private(py, &self.object(py)?)
    }

    /// How often the item was received before: above 0 if a receiver died with it or gave it back.
    #[getter]
    fn attempts(&self) -> u64 {
        self.leased.attempts()
    }

    /// How many bytes the item takes in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.leased.nbytes()
    }

    /// The name of the channel that the item came from.
    #[getter]
    fn name(&self) -> &str {
        self.leased.name()
    }

    /// Whether the lease ended: the item was acknowledged, forwarded or given back.
    #[getter]
    fn ended(&self) -> bool {
        !self.leased.is_held()
    }

    /// Acknowledges the item: it is done, and nobody gets it again.
    ///
    /// Raises:
    ///     InvalidError: The lease ended already.
    ///
    /// >>> arena = faretra.Arena.create("doc-ack", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> tx.send("a job")
    /// >>> rx.recv().ack()
    /// >>> len(rx)
    /// 0
    /// >>> arena.close()
    fn ack(&self, py: Python<'_>) -> PyResult<()> {
        let Held { lease, value } = self.take(py)?;
        // The pin first, so that the memory is free when a sender is told.
        drop(value);
        run_plain(py, || lease.ack())
    }

    /// Gives the item back: the next receiver gets it, before newer ones.
    ///
    /// Raises:
    ///     InvalidError: The lease ended already.
    ///
    /// >>> arena = faretra.Arena.create("doc-nack", keep=False)
    /// >>> tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    /// >>> tx.send("a job")
    /// >>> rx.recv().nack()
    /// >>> rx.recv().attempts
    /// 1
    /// >>> arena.close()
    fn nack(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.take(py)?;
        run_plain(py, || drop(held))
    }

    /// Forwards the item to another channel, without a copy if that is in the same arena, and acknowledges it here, in one step:
    /// if the process dies meanwhile, the item is in one of the two. Waits while the other channel is full, up to `timeout`
    /// (seconds or a timedelta; 0: not at all). If that fails, the lease goes on.
    ///
    /// Raises:
    ///     FullError: The other channel is full, and the timeout is 0.
    ///     TimeoutError: The other channel stayed full.
    ///     ClosedError: The other channel is closed (`clean`), or it is full and its last receiver left or died.
    ///     InvalidError: The lease ended already.
    ///
    /// >>> arena = faretra.Arena.create("doc-forward", keep=False)
    /// >>> tx, rx, done = arena.sender("jobs"), arena.receiver("jobs"), arena.sender("done")
    /// >>> tx.send(np.zeros(1000))
    /// >>> rx.recv().send(done)
    /// >>> len(rx), len(done)
    /// (0, 1)
    /// >>> arena.close()
    #[pyo3(signature = (to, timeout=None))]
    fn send(&self, py: Python<'_>, to: &Bound<'_, Sender>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = self::timeout(timeout)?;
        let polls = limit == Some(Duration::ZERO);
        let sender = to.get().end.get(py)?;
        let Held { lease, value } = self.take(py)?;
        let sent = wait(py, || -> Result<Option<(Option<faretra::Lease>, Failure)>, Failure> {
            let sent = match limit {
                None => lease.send(&sender),
                Some(_) if polls => lease.try_send(&sender),
                Some(limit) => lease.send_timeout(&sender, limit),
            };
            Ok(match sent {
                Ok(()) => None,
                Err(ForwardError::TimedOut(lease)) if polls => Some((Some(lease), Failure::Full)),
                Err(ForwardError::Closed { lease, clean }) => Some((Some(lease), Failure::Closed { clean })),
                Err(ForwardError::TimedOut(lease)) => Some((Some(lease), Failure::TimedOut)),
                Err(ForwardError::Interrupted(lease)) => Some((Some(lease), faretra::Error::Interrupted.into())),
                Err(ForwardError::Failed { lease, error }) => Some((lease, (*error).into())),
                Err(other) => Some((None, Failure::unknown(other))),
            })
        })?;
        to.get().end.descriptor.follow(py);
        let Some((lease, failure)) = sent else { return Ok(()) };
        if let Some(lease) = lease {
            self.leased.put_back(Held { lease, value });
        }
        Err(failure.about(|| to.get().end.what()).raise(py))
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (kind=None, value=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _ = (value, traceback);
        match kind {
            _ if self.ended() => {}
            None => self.ack(py)?,
            Some(_) => self.nack(py)?,
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        let (name, nbytes, attempts) = (self.leased.name(), self.leased.nbytes(), self.leased.attempts());
        let ended = if self.ended() { ", ended" } else { "" };
        format!("<faretra.Lease of an item of '{name}', {nbytes} bytes, attempts {attempts}{ended}>")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.leased.traverse(&visit)
    }

    fn __clear__(&self) {
        self.leased.clear();
    }
}
