//! Feeds as Python holds them: producers, subscribers, and looks at a feed without subscribing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faretra::channel::WhenDeserted;
use faretra::feed::{Start, WhenFull};
use faretra::{SubscriberError, Writer};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arena::{Arena, text, timeout};
use crate::channel::contents;
use crate::error::{Failure, run, run_plain, wait, wait_plain};
use crate::ready::{Descriptor, End, Pollable, Prepared, left, put, take};
use crate::table::Table;
use crate::value::{Input, Pickling, output};

fn when_full(given: &str) -> PyResult<WhenFull> {
    match given {
        "block" => Ok(WhenFull::Block),
        "drop_oldest" => Ok(WhenFull::DropOldest),
        "fail" => Ok(WhenFull::Fail),
        _ => Err(PyValueError::new_err(format!("when_full is 'block', 'drop_oldest' or 'fail', not {given:?}"))),
    }
}

fn start(given: &Bound<'_, PyAny>) -> PyResult<Start> {
    if given.is_instance_of::<PyString>() {
        return match given.extract::<String>()?.as_str() {
            "oldest" => Ok(Start::Oldest),
            "newest" => Ok(Start::Newest),
            other => Err(PyValueError::new_err(format!("start is 'oldest', 'newest' or a position, not {other:?}"))),
        };
    }
    match given.extract::<i128>() {
        Ok(position) => u64::try_from(position)
            .map(Start::Position)
            .map_err(|_| PyValueError::new_err(format!("a position is a number from 0 to 2^64 - 1, not {position}"))),
        Err(_) => Err(PyTypeError::new_err(format!(
            "start is 'oldest', 'newest' or a position, not {}",
            given.get_type().name()?
        ))),
    }
}

/// The producing end of a feed; `faretra.Feed` is a subclass.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Feed {
    pub end: End<faretra::Feed>,
    when_full: WhenFull,
    /// Kept for the ends that come after this one.
    _writer: Arc<Writer>,
}

#[pymethods]
impl Feed {
    #[new]
    #[pyo3(signature = (arena, name, capacity, when_full="block", mixed=true))]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        capacity: i64,
        when_full: &str,
        mixed: bool,
    ) -> PyResult<Feed> {
        let full = self::when_full(when_full)?;
        let name = text(name)?;
        let writer = arena.get().writer_of_ends(py)?;
        let feed = run(py, || writer.feed_with(name, capacity.max(0) as usize, full, contents(mixed)))?;
        Ok(Feed { end: End::new("the feed", name, feed), when_full: full, _writer: writer })
    }

    /// Appends a value: anything that can be put into an arena. It is copied once, or not at all if it was read from this arena.
    ///
    /// A feed that was opened with `when_full="block"` waits while a subscriber has not read the item that would go, up to
    /// `timeout` (seconds or a timedelta; 0: not at all). Each waits while the arena is full.
    ///
    /// Raises:
    ///     FullError: A subscriber has not read the item that would go, and the timeout is 0 or the feed is to fail then.
    ///     TimeoutError: A subscriber did not read it in time.
    ///     ClosedError: The feed was closed.
    ///     NoSpaceError: There is no room for the value in the arena.
    ///     MismatchError: It is a table of another schema, and the feed is not mixed.
    ///
    /// >>> arena = faretra.Arena.create("doc-append", keep=False)
    /// >>> feed = arena.feed("ticks", capacity=100)
    /// >>> feed.append({"price": 1.5})
    /// >>> feed.position
    /// 1
    /// >>> arena.close()
    #[pyo3(signature = (value, timeout=None))]
    fn append(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let (feed, limit) = (self.end.get(py)?, self::timeout(timeout)?);
        let mut input = Input::of(value, self.end.name())?;
        let appended = put(
            py,
            &mut input,
            limit,
            || self.end.what(),
            |value: faretra::Value<'_>, limit: Option<Duration>| {
                Ok(match limit {
                    None => feed.append(value),
                    Some(limit) if limit.is_zero() => feed.try_append(value),
                    Some(limit) => feed.append_timeout(value, limit),
                }?)
            },
        );
        self.end.descriptor.follow(py);
        appended
    }

    fn _prepare(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Prepared> {
        Prepared::new(py, value, self.end.name())
    }

    fn _try_append(&self, py: Python<'_>, prepared: &Bound<'_, Prepared>) -> PyResult<()> {
        let feed = self.end.get(py)?;
        let appended = prepared.get().attempt(py, |value| {
            feed.try_append(value).map_err(|error| Failure::from(error).about(|| self.end.what()))
        });
        self.end.descriptor.follow(py);
        appended
    }

    /// Closes the feed, for every producer: nothing can be appended any more. Subscribers get what is there, and then a
    /// `ClosedError` whose `clean` is true, which ends a `for` loop.
    ///
    /// >>> arena = faretra.Arena.create("doc-feed-close", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> feed.append(1.5)
    /// >>> feed.close()
    /// >>> list(sub)
    /// [1.5]
    /// >>> arena.close()
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let feed = self.end.get(py)?;
        run(py, || feed.close())
    }

    /// Gives this end up, and closes nothing: other producers go on. When the last producer left, subscribers are told with a
    /// `ClosedError` whose `clean` is false.
    ///
    /// >>> arena = faretra.Arena.create("doc-feed-leave", keep=False)
    /// >>> arena.feed("ticks", capacity=10).leave()
    /// >>> arena.subscribe("ticks").recv()
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.ClosedError: the feed 'ticks': nobody is at the other end: the last one left or died
    /// >>> arena.close()
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.end.leave(py)
    }

    /// Whether this end was left.
    #[getter]
    fn left(&self) -> bool {
        self.end.is_left()
    }

    /// The feed's name.
    #[getter]
    fn name(&self) -> &str {
        self.end.name()
    }

    /// How many items the feed keeps.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<usize> {
        let end = self.end.get(py)?;
        run_plain(py, || end.capacity())
    }

    /// What an append does when a subscriber has not read the item that would go: 'block', 'drop_oldest' or 'fail'.
    #[getter]
    fn when_full(&self) -> &str {
        match self.when_full {
            WhenFull::Block => "block",
            WhenFull::DropOldest => "drop_oldest",
            WhenFull::Fail => "fail",
        }
    }

    /// The position that the next item gets: how many there were.
    #[getter]
    fn position(&self, py: Python<'_>) -> PyResult<u64> {
        let end = self.end.get(py)?;
        run_plain(py, || end.position())
    }

    /// The number of a file descriptor that is *readable* while an append would not have to wait for a subscriber. It follows
    /// what this producer does, and stays the same until the feed is left.
    ///
    /// >>> import select
    /// >>> arena = faretra.Arena.create("doc-feed-fileno", keep=False)
    /// >>> feed = arena.feed("ticks", capacity=10)
    /// >>> select.select([feed], [], [], 5)[0] == [feed]
    /// True
    /// >>> arena.close()
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let feed = self.end.get(py)?;
        self.end.descriptor.number(py, || feed.pollable())
    }

    /// Returns a descriptor of its own, which is readable while an append would not have to wait for a subscriber.
    ///
    /// >>> arena = faretra.Arena.create("doc-feed-pollable", keep=False)
    /// >>> arena.feed("ticks", capacity=10).pollable().is_ready()
    /// True
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        let feed = self.end.get(py)?;
        Pollable::new(py, || feed.pollable())
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Feed '{}'{}>", self.end.name(), if self.end.is_left() { ", left" } else { "" })
    }
}

/// Where a subscriber is.
#[derive(Debug)]
enum Place {
    Here(faretra::Subscriber),
    /// A thread waits with it.
    Lent,
    Left,
}

/// The reading end of a feed; `faretra.Subscriber` is a subclass.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Subscriber {
    place: Mutex<Place>,
    position: AtomicU64,
    descriptor: Descriptor,
    arena: faretra::Arena,
    name: String,
    deserted: WhenDeserted,
    pickling: Pickling,
}

impl Subscriber {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn what(&self) -> String {
        format!("the feed '{}'", self.name)
    }

    fn busy(&self, py: Python<'_>) -> PyErr {
        let what = self.what();
        Failure::invalid(format!("another thread waits with this subscriber of {what}: make one for each thread"))
            .raise(py)
    }

    /// Calls `f` with the subscriber.
    pub fn with<T>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut faretra::Subscriber) -> Result<T, Failure>,
    ) -> PyResult<T> {
        match &mut *self.place() {
            Place::Here(subscriber) => run(py, || f(subscriber)),
            Place::Lent => Err(self.busy(py)),
            Place::Left => Err(left(py, &self.what())),
        }
    }

    /// Takes the subscriber for a call that waits.
    fn lend(&self, py: Python<'_>) -> PyResult<Lent<'_>> {
        let mut place = self.place();
        match std::mem::replace(&mut *place, Place::Lent) {
            Place::Here(subscriber) => Ok(Lent { of: self, subscriber: Some(subscriber) }),
            Place::Lent => Err(self.busy(py)),
            Place::Left => {
                *place = Place::Left;
                Err(left(py, &self.what()))
            }
        }
    }
}

/// A subscriber for one call; it goes back afterwards, unless the end was left meanwhile.
struct Lent<'a> {
    of: &'a Subscriber,
    subscriber: Option<faretra::Subscriber>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(subscriber) = self.subscriber.take() else { return };
        self.of.position.store(subscriber.position(), Relaxed);
        let mut place = self.of.place();
        if matches!(*place, Place::Lent) {
            *place = Place::Here(subscriber);
        }
    }
}

#[pymethods]
impl Subscriber {
    #[new]
    #[pyo3(signature = (arena, name, start, wait=false, timeout=None, when_deserted="fail"))]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        start: &Bound<'_, PyAny>,
        wait: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        when_deserted: &str,
    ) -> PyResult<Subscriber> {
        let deserted = crate::ready::when_deserted(when_deserted)?;
        let (start, limit, name) = (self::start(start)?, self::timeout(timeout)?, text(name)?);
        let pickling = arena.get().pickling();
        let arena = arena.get().get(py)?;
        let mut subscriber = match limit {
            None if !wait => run(py, || arena.subscribe(name, start))?,
            None => crate::error::wait(py, || arena.subscribe_wait(name, start))?,
            Some(limit) => crate::error::wait(py, || arena.subscribe_timeout(name, start, limit))?,
        };
        subscriber.set_when_deserted(deserted);
        Ok(Subscriber {
            position: AtomicU64::new(subscriber.position()),
            place: Mutex::new(Place::Here(subscriber)),
            descriptor: Descriptor::default(),
            arena,
            name: name.to_owned(),
            deserted,
            pickling,
        })
    }

    /// Returns the next item. Waits for one, up to `timeout` (seconds or a timedelta; 0: not at all). One thread at a time waits
    /// with a subscriber.
    ///
    /// Raises:
    ///     EmptyError: There is no item, and the timeout is 0.
    ///     TimeoutError: None came in time.
    ///     LaggedError: Items were dropped before they were read: `items` says how many. The next call goes on behind them.
    ///     ClosedError: The feed was closed and everything was read (`clean`), or its last producer left or died.
    ///
    /// >>> arena = faretra.Arena.create("doc-read", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> feed.append(np.arange(3))
    /// >>> sub.recv(timeout=5)
    /// array([0, 1, 2])
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn recv<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        self.recv_or(py, timeout, self.deserted)
    }

    /// The next item; waits for a producer, too, when there is none.
    #[pyo3(signature = (timeout=None))]
    fn _recv_patiently<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.recv_or(py, timeout, WhenDeserted::Block)
    }

    /// Returns the next item if there is one now. The same as `recv(timeout=0)`.
    ///
    /// Raises:
    ///     EmptyError: There is none.
    ///
    /// >>> arena = faretra.Arena.create("doc-try-read", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> sub.try_recv()
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.EmptyError: the feed 'ticks': there is no item now
    /// >>> arena.close()
    fn try_recv<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.recv(py, Some(0_u8.into_pyobject(py)?.as_any()))
    }

    /// Returns the newest item of the feed, or `default` if there is none. Nothing is read by that: `recv` goes on where it was.
    ///
    /// >>> arena = faretra.Arena.create("doc-sub-latest", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> feed.append(1.5)
    /// >>> feed.append(1.6)
    /// >>> sub.latest(), sub.position
    /// (1.6, 0)
    /// >>> arena.close()
    #[pyo3(signature = (default=None))]
    fn latest<'py>(&self, py: Python<'py>, default: Option<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyAny>>> {
        latest(py, &self.arena, &self.name, self.pickling).map(|item| item.or(default))
    }

    /// Returns every batch that the feed keeps now, as one table. See `faretra.Arena.snapshot`.
    ///
    /// >>> import pyarrow as pa
    /// >>> arena = faretra.Arena.create("doc-sub-snapshot", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> feed.append(pa.table({"price": [1.5, 1.6]}))
    /// >>> sub.snapshot().num_rows
    /// 2
    /// >>> arena.close()
    fn snapshot(&self, py: Python<'_>) -> PyResult<Table> {
        snapshot(py, &self.arena, &self.name)
    }

    /// The position of the next item to be read: how many there were before it.
    #[getter]
    fn position(&self) -> u64 {
        self.position.load(Relaxed)
    }

    /// The feed's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Gives this end up. Producers wait for it no more.
    ///
    /// >>> arena = faretra.Arena.create("doc-sub-leave", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> sub.leave()
    /// >>> sub.left
    /// True
    /// >>> arena.close()
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let place = std::mem::replace(&mut *self.place(), Place::Left);
        wait_plain(py, || {
            self.descriptor.close();
            drop(place);
        })
    }

    /// Whether this end was left.
    #[getter]
    fn left(&self) -> bool {
        matches!(*self.place(), Place::Left)
    }

    /// The number of a file descriptor that is readable while there is an item to be read, or when none comes any more: for
    /// `select`, `selectors` and event loops. It follows what this subscriber does, and stays the same until it is left.
    ///
    /// >>> import select
    /// >>> arena = faretra.Arena.create("doc-sub-fileno", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> feed.append(1.5)
    /// >>> select.select([sub], [], [], 5)[0] == [sub]
    /// True
    /// >>> arena.close()
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.with(py, |_| Ok(()))?;
        self.descriptor.number(py, || match &*self.place() {
            Place::Here(subscriber) => subscriber.pollable(),
            _ => Err(faretra::Error::Invalid(format!("another thread waits with this subscriber of {}", self.what()))),
        })
    }

    /// Returns a descriptor of its own, which is readable when there is an item to be read, or when none comes any more.
    ///
    /// >>> arena = faretra.Arena.create("doc-sub-pollable", keep=False)
    /// >>> feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
    /// >>> sub.pollable().is_ready()
    /// False
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        let pollable = self.with(py, |subscriber| Ok(subscriber.pollable()?))?;
        Pollable::new(py, || Ok(pollable))
    }

    /// A descriptor that is readable when there is an item to be read, whether or not there is a producer.
    fn _pollable_patiently(&self, py: Python<'_>) -> PyResult<Pollable> {
        let pollable = self.with(py, |subscriber| {
            subscriber.set_when_deserted(WhenDeserted::Block);
            let pollable = subscriber.pollable();
            subscriber.set_when_deserted(self.deserted);
            Ok(pollable?)
        })?;
        Pollable::new(py, || Ok(pollable))
    }

    fn __repr__(&self) -> String {
        let left = if self.left() { ", left" } else { "" };
        format!("<faretra.Subscriber of '{}' at position {}{left}>", self.name, self.position())
    }
}

impl Subscriber {
    fn recv_or<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
        deserted: WhenDeserted,
    ) -> PyResult<Bound<'py, PyAny>> {
        let limit = self::timeout(timeout)?;
        let mut lent = self.lend(py)?;
        let got = {
            let subscriber = lent.subscriber.as_mut().expect("it was lent");
            subscriber.set_when_deserted(deserted);
            let got = take(
                py,
                limit,
                || self.what(),
                |limit: Option<Duration>| -> Result<faretra::Object, SubscriberError> {
                    match limit {
                        None => subscriber.recv(),
                        Some(limit) if limit.is_zero() => subscriber.try_recv(),
                        Some(limit) => subscriber.recv_timeout(limit),
                    }
                },
            );
            subscriber.set_when_deserted(self.deserted);
            got
        };
        drop(lent);
        self.descriptor.follow(py);
        output(py, got?, self.pickling)
    }
}

/// The newest item of a feed.
pub fn latest<'py>(
    py: Python<'py>,
    arena: &faretra::Arena,
    name: &str,
    pickling: Pickling,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let object = run(py, || arena.latest(name))?;
    object.map(|object| output(py, object, pickling)).transpose()
}

/// Everything that a feed keeps.
pub fn snapshot(py: Python<'_>, arena: &faretra::Arena, name: &str) -> PyResult<Table> {
    Ok(Table::gathered(wait(py, || arena.snapshot(name))?, name))
}

/// The newest item of a feed, or `default`.
#[pyfunction]
pub fn _latest<'py>(
    py: Python<'py>,
    arena: &Bound<'py, Arena>,
    name: &Bound<'py, PyAny>,
    default: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (library, name) = (arena.get().get(py)?, text(name)?);
    Ok(latest(py, &library, name, arena.get().pickling())?.unwrap_or(default))
}

/// Everything that a feed keeps, as a table.
#[pyfunction]
pub fn _snapshot(py: Python<'_>, arena: &Bound<'_, Arena>, name: &Bound<'_, PyAny>) -> PyResult<Table> {
    let (library, name) = (arena.get().get(py)?, text(name)?);
    snapshot(py, &library, name)
}
