//! One call that waits for several things.

use std::time::{Duration, Instant};

use bytemuck::Pod;

use crate::arena::Arena;
use crate::channel::{Lease, Receiver, RecvError, SendError, Sender};
use crate::core::bells::{Awaited, first_ready, wait_for_any};
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::error::{Error, Result, in_time};
use crate::feed::{AppendError, Feed, Subscriber, SubscriberError};
use crate::input::Value;
use crate::reader::Object;
use crate::ready::source::{Got, Source, What, end_of};
use crate::sync::{Event, Mutex, MutexGuard, Permit, Semaphore};

/// Waits for one of several operations, of any arenas that this process has open.
///
/// Each method that registers an operation returns its index. [`Select::select`] waits until one of the operations can be
/// done, does it, and returns a [`Selected`], which has the index and the result. When several can be done, those behind
/// the one that was selected last come first, so that none is left out for ever. A `Select` can be used any number of times.
///
/// A `Select` has handles of its own: an end of a channel that is registered is not left before the `Select` is dropped
/// or the operation is [removed](Select::remove). It may have any number of operations. The kernel lets a thread sleep on 128
/// things at once (before Linux 5.16, on one): with more, the wait looks at the others every 2 ms.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::{ready::Select, sync::Reset};
/// # let name = format!("doc-select-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let sender = arena.writer()?.sender("jobs", 8)?;
/// let (receiver, stop) = (arena.receiver("jobs")?, arena.event("stop", Reset::Manual)?);
///
/// let mut select = Select::new();
/// let job = select.recv(&receiver);
/// let stopped = select.wait(&stop);
///
/// sender.send("a job")?;
/// let done = select.select()?;
/// assert_eq!(done.index(), job);
/// done.recv(&receiver)?.ack();
///
/// stop.set()?;
/// assert_eq!(select.select()?.index(), stopped);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Select {
    operations: Vec<Option<Source>>,
    /// Where the next look begins.
    next: usize,
}

impl Awaited<Posix> for Option<Source> {
    fn bell(&self) -> Option<(&Core<Posix>, u64)> {
        self.as_ref()?.bell()
    }

    fn is_ready(&self) -> bool {
        self.as_ref().is_some_and(Source::is_ready)
    }
}

impl Select {
    /// Returns a `Select` without operations.
    pub fn new() -> Select {
        Select::default()
    }

    fn add(&mut self, source: Source) -> usize {
        self.operations.push(Some(source));
        self.operations.len() - 1
    }

    /// Registers receiving from a channel: an item, or the channel's end. The result is [`Selected::recv`].
    pub fn recv(&mut self, receiver: &Receiver) -> usize {
        self.add(Source::receive(receiver))
    }

    /// Registers sending to a channel, which is ready when the channel has room, is closed or has lost its last receiver.
    /// [`Selected::send`] sends.
    pub fn send(&mut self, sender: &Sender) -> usize {
        self.add(Source::new(What::Send(sender.port.clone(), sender.deserted)))
    }

    /// Registers reading from a feed: an item, the number of items that were missed, or the feed's end. The result is
    /// [`Selected::read`].
    pub fn read(&mut self, subscriber: &Subscriber) -> usize {
        self.add(Source::read(subscriber))
    }

    /// Registers appending to a feed, which is ready when no subscriber has to be waited for. [`Selected::append`] appends.
    pub fn append(&mut self, feed: &Feed) -> usize {
        self.add(Source::append(feed))
    }

    /// Registers waiting for an event. Selecting the operation resets an event of [`Reset::Auto`](crate::sync::Reset::Auto).
    pub fn wait(&mut self, event: &Event) -> usize {
        self.add(Source::new(What::Event(event.clone())))
    }

    /// Registers locking a mutex. The guard is [`Selected::lock`].
    pub fn lock<T: Pod>(&mut self, mutex: &Mutex<T>) -> usize {
        self.add(Source::new(What::Lock(mutex.handle.clone(), mutex.slots.leases)))
    }

    /// Registers acquiring a permit of a semaphore. The permit is [`Selected::acquire`].
    pub fn acquire(&mut self, semaphore: &Semaphore) -> usize {
        self.add(Source::new(What::Acquire(semaphore.handle.clone(), semaphore.leases)))
    }

    /// Registers waiting for an object of this name whose version is above `newer_than`, as [`Arena::wait_for`] does. The
    /// object is [`Selected::object`]. Register the operation anew to wait for the version after that.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] and [`Error::TooLarge`] for what is no name.
    pub fn wait_for(&mut self, arena: &Arena, name: &str, newer_than: u64) -> Result<usize> {
        Ok(self.add(Source::name(arena, name, newer_than)?))
    }

    /// Takes an operation out. The indices of the others stay as they are.
    pub fn remove(&mut self, index: usize) {
        if let Some(operation) = self.operations.get_mut(index) {
            *operation = None;
        }
    }

    /// Waits until one of the operations can be done, and does it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no operation; [`Error::Forked`]; [`Error::Damaged`].
    pub fn select(&mut self) -> Result<Selected> {
        self.select_by(None, Duration::ZERO)
    }

    /// Does one of the operations if one can be done now, and returns `None` if none can. The errors are those of
    /// [`Select::select`].
    pub fn try_select(&mut self) -> Result<Option<Selected>> {
        in_time(self.select_timeout(Duration::ZERO))
    }

    /// Waits until one of the operations can be done, and does it. Fails with [`Error::TimedOut`] if none can be done after
    /// `timeout`. The other errors are those of [`Select::select`].
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<Selected> {
        self.select_by(end_of(timeout), timeout)
    }

    /// Waits until one of the operations can be done, and does it. Fails with [`Error::TimedOut`] if none can be done at
    /// `deadline`. The other errors are those of [`Select::select`].
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<Selected> {
        self.select_by(Some(deadline), deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until one of the operations can be done, and returns its index without doing it. Another process may do it
    /// first: so what follows is a `try_` form. The errors are those of [`Select::select`].
    pub fn ready(&mut self) -> Result<usize> {
        self.ready_by(None, Duration::ZERO)
    }

    /// Returns the index of an operation that can be done now, and `None` if none can. The errors are those of
    /// [`Select::select`].
    pub fn try_ready(&mut self) -> Result<Option<usize>> {
        in_time(self.ready_timeout(Duration::ZERO))
    }

    /// Waits until one of the operations can be done, and returns its index without doing it. Fails with
    /// [`Error::TimedOut`] if none can be done after `timeout`. The other errors are those of [`Select::select`].
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize> {
        self.ready_by(end_of(timeout), timeout)
    }

    /// Waits until one of the operations can be done, and returns its index without doing it. Fails with
    /// [`Error::TimedOut`] if none can be done at `deadline`. The other errors are those of [`Select::select`].
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize> {
        self.ready_by(Some(deadline), deadline.saturating_duration_since(Instant::now()))
    }

    fn select_by(&mut self, end: Option<Instant>, timeout: Duration) -> Result<Selected> {
        loop {
            let index = self.ready_by(end, timeout)?;
            let operation = self.operations[index].as_ref().expect("what was removed is never ready");
            if let Some(got) = operation.attempt()? {
                return Ok(Selected { index, got: Some(got) });
            }
            // Others were faster.
            if end.is_some_and(|end| end <= Instant::now()) {
                return Err(Error::TimedOut(timeout));
            }
        }
    }

    fn ready_by(&mut self, end: Option<Instant>, timeout: Duration) -> Result<usize> {
        let mut there = self.operations.iter().flatten();
        let Some(first) = there.next() else {
            return Err(Error::invalid("a Select without operations would wait for ever: register one"));
        };
        first.core()?;
        there.try_for_each(|operation| operation.core().map(|_| ()))?;
        let look = || self.operations.iter().flatten().for_each(Source::look_for_deaths);
        let mut found = wait_for_any(&self.operations, self.next, end, look)?;
        // Who polls looks for the dead now and then, as who sleeps does.
        if found.is_none() && timeout.is_zero() && first.is_time_to_look() {
            look();
            found = first_ready(&self.operations, self.next);
        }
        let index = found.ok_or(Error::TimedOut(timeout))?;
        self.next = (index + 1) % self.operations.len();
        Ok(index)
    }
}

/// An operation that a [`Select`] has done, or (sending, appending and reading) that can be done now.
///
/// Dropping a `Selected` undoes what was done: an item goes back to its channel, a lock is unlocked, a permit is given back,
/// and an event that was reset is set again.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::ready::Select;
/// # let name = format!("doc-selected-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let total = arena.mutex_with("total", 1_u64)?;
/// let mut select = Select::new();
/// select.lock(&total);
/// *select.select()?.lock(&total)? += 1;
/// assert_eq!(*total.lock()?, 2);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it undoes what was done"]
pub struct Selected {
    index: usize,
    got: Option<Got>,
}

impl Drop for Selected {
    fn drop(&mut self) {
        if let Some(Got::Passed(event)) = self.got.take() {
            let _ = event.undo();
        }
    }
}

#[cold]
fn another() -> Error {
    Error::invalid("the operation that was selected is another one: compare its index first")
}

impl Selected {
    /// Returns the index of the operation, as it was registered.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the item that was received, or why none comes any more. The errors are those of [`Receiver::recv`], and
    /// [`RecvError::Failed`] with [`Error::Invalid`] if another operation was selected.
    pub fn recv(mut self, receiver: &Receiver) -> Result<Lease, RecvError> {
        let _ = receiver;
        match self.got.take() {
            Some(Got::Item(item)) => item,
            got => {
                self.got = got;
                Err(another().into())
            }
        }
    }

    /// Sends a value, as [`Sender::try_send`] does: with [`SendError::Full`], which gives the value back, another sender was
    /// faster.
    pub fn send<'a>(self, sender: &Sender, value: impl Into<Value<'a>>) -> Result<(), SendError<'a>> {
        sender.try_send(value)
    }

    /// Returns the next item of a feed, as [`Subscriber::try_recv`] does.
    pub fn read(self, subscriber: &mut Subscriber) -> Result<Object, SubscriberError> {
        subscriber.try_recv()
    }

    /// Appends a value, as [`Feed::append_timeout`] does without a wait: with [`AppendError::TimedOut`], which gives the value back, another producer was
    /// faster.
    pub fn append<'a>(self, feed: &Feed, value: impl Into<Value<'a>>) -> Result<(), AppendError<'a>> {
        feed.append_timeout(value, Duration::ZERO)
    }

    /// Confirms that the event was waited for. Fails with [`Error::Invalid`] if another operation was selected.
    pub fn wait(mut self, event: &Event) -> Result<()> {
        match self.got.take() {
            Some(Got::Passed(passed)) if passed.handle.is(&event.handle) => Ok(()),
            got => {
                self.got = got;
                Err(another())
            }
        }
    }

    /// Returns the guard of the mutex that was locked. Fails with [`Error::Invalid`] if another operation was selected.
    pub fn lock<T: Pod>(mut self, mutex: &Mutex<T>) -> Result<MutexGuard<'static, T>> {
        match self.got.take() {
            Some(Got::Held(held)) if held.keeper.is(&mutex.handle) => mutex.guarded(held),
            got => {
                self.got = got;
                Err(another())
            }
        }
    }

    /// Returns the permit that was acquired. Fails with [`Error::Invalid`] if another operation was selected.
    pub fn acquire(mut self, semaphore: &Semaphore) -> Result<Permit<'static>> {
        match self.got.take() {
            Some(Got::Held(held)) if held.keeper.is(&semaphore.handle) => Ok(Permit { held }),
            got => {
                self.got = got;
                Err(another())
            }
        }
    }

    /// Returns the object that a name was waited for. Fails with [`Error::Invalid`] if another operation was selected.
    pub fn object(mut self) -> Result<Object> {
        match self.got.take() {
            Some(Got::Object(object)) => Ok(object),
            got => {
                self.got = got;
                Err(another())
            }
        }
    }
}
