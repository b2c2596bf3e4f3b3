//! Waits as futures and streams, for any executor.
//!
//! A future tries when it is polled. If that finds nothing, the thread that watches ([`super::watcher`]) wakes the task
//! when there may be something. What a poll has not returned has not happened: a future that is dropped has taken nothing,
//! and what it watched is let go.

use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow_schema::SchemaRef;
use bytemuck::Pod;
use futures_core::Stream;

use crate::arena::Arena;
use crate::channel::{Lease, Receiver, RecvError, SendError, Sender};
use crate::core::cell::{End, Ring};
use crate::core::ring::Outcome;
use crate::core::wait::Until;
use crate::error::{Error, Result};
use crate::feed::{AppendError, Feed, Subscriber, SubscriberError, WhenFull};
use crate::input::Value;
use crate::port::{Ended, NotBuilt, Port, WhenDeserted};
use crate::reader::Object;
use crate::ready::source::{Got, Source, What};
use crate::ready::watcher::{Tell, Watch, watch};
use crate::sync::{Event, Mutex, MutexGuard, Permit, Semaphore};
use crate::value::view::Sheet;
use crate::writer::Writer;

/// What a try came to.
enum Step<T> {
    Done(T),
    /// Not yet: this is to be ready first.
    Wait(Source),
}

/// Tries again and again, and is woken in between.
struct Trying<'a, T> {
    attempt: Box<dyn FnMut() -> Step<T> + Send + 'a>,
    watch: Option<Watch>,
}

impl<'a, T> Trying<'a, T> {
    fn new(attempt: impl FnMut() -> Step<T> + Send + 'a) -> Trying<'a, T> {
        Trying { attempt: Box::new(attempt), watch: None }
    }

    /// `Err`: it cannot be woken.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<T>> {
        self.watch = None;
        match (self.attempt)() {
            Step::Done(done) => Poll::Ready(Ok(done)),
            Step::Wait(source) => match watch(source, Tell::Waker(cx.waker().clone())) {
                Ok(watch) => {
                    self.watch = Some(watch);
                    Poll::Pending
                }
                Err(e) => Poll::Ready(Err(e)),
            },
        }
    }
}

/// A wait as a future; its output is a `Result<T, E>`. Any executor runs it.
///
/// The future can be dropped at any time: nothing was received, sent, locked or acquired unless it returned that.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-pending-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let sender = arena.writer()?.sender("jobs", 8)?;
/// let receiver = arena.receiver("jobs")?;
/// futures_lite::future::block_on(async {
///     sender.send_async("a job").await?;
///     receiver.recv_async().await?.ack();
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Pending<'a, T, E = Error> {
    trying: Trying<'a, Result<T, E>>,
}

impl<T, E> Debug for Pending<'_, T, E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("watch", &self.trying.watch).finish_non_exhaustive()
    }
}

impl<'a, T, E> Pending<'a, T, E> {
    fn new(attempt: impl FnMut() -> Step<Result<T, E>> + Send + 'a) -> Pending<'a, T, E> {
        Pending { trying: Trying::new(attempt) }
    }
}

impl<T, E: From<Error>> Future for Pending<'_, T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        self.trying.poll(cx).map(|done| done.unwrap_or_else(|e| Err(e.into())))
    }
}

/// The items of a channel or feed as a stream, made by [`Receiver::stream`] and [`Subscriber::stream`].
///
/// The stream ends when the channel or feed is closed and drained. An error is yielded before it ends the stream; a
/// subscriber that missed items goes on.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # use futures_lite::StreamExt;
/// # let name = format!("doc-items-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let sender = arena.writer()?.sender("jobs", 8)?;
/// sender.send("one")?;
/// sender.send("three")?;
/// sender.close()?;
/// let receiver = arena.receiver("jobs")?;
/// let bytes = futures_lite::future::block_on(async {
///     let (mut items, mut bytes) = (receiver.stream(), 0);
///     while let Some(item) = items.next().await {
///         let item = item?;
///         bytes += item.bytes()?.len();
///         item.ack();
///     }
///     Ok::<_, Box<dyn std::error::Error>>(bytes)
/// })?;
/// assert_eq!(bytes, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Items<'a, T, E> {
    trying: Trying<'a, Option<Result<T, E>>>,
}

impl<T, E> Debug for Items<'_, T, E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("watch", &self.trying.watch).finish_non_exhaustive()
    }
}

impl<T, E: From<Error>> Stream for Items<'_, T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T, E>>> {
        self.trying.poll(cx).map(|done| done.unwrap_or_else(|e| Some(Err(e.into()))))
    }
}

/// A future of what a source gives.
fn of_source<'a, T>(source: Result<Source>, got: impl Fn(Got) -> Result<T> + Send + 'a) -> Pending<'a, T> {
    let mut source = source.map_err(Some);
    Pending::new(move || match &mut source {
        Ok(source) => match source.attempt() {
            Ok(None) => Step::Wait(source.clone()),
            Ok(Some(done)) => Step::Done(got(done)),
            Err(e) => Step::Done(Err(e)),
        },
        Err(e) => Step::Done(Err(e.take().unwrap_or_else(polled_again))),
    })
}

#[cold]
fn polled_again() -> Error {
    Error::invalid("a future that was ready is polled again")
}

fn unexpected<T>(_: Got) -> Result<T> {
    Err(polled_again())
}

impl Receiver {
    /// Receives the next item, as [`Receiver::recv`] does.
    pub fn recv_async(&self) -> Pending<'static, Lease, RecvError> {
        let receiver = self.clone();
        Pending::new(move || match receiver.try_recv() {
            Err(RecvError::Empty) => Step::Wait(Source::receive(&receiver)),
            item => Step::Done(item),
        })
    }

    /// Returns the items that come until the channel is closed. Each is a [`Lease`], to be acknowledged.
    pub fn stream(&self) -> Items<'static, Lease, RecvError> {
        let (receiver, mut ended) = (self.clone(), false);
        let attempt = move || {
            if ended {
                return Step::Done(None);
            }
            match receiver.try_recv() {
                Err(RecvError::Empty) => Step::Wait(Source::receive(&receiver)),
                item => {
                    ended = item.is_err();
                    Step::Done(Some(item).filter(|item| !matches!(item, Err(RecvError::Closed { clean: true }))))
                }
            }
        };
        Items { trying: Trying::new(attempt) }
    }
}

impl Subscriber {
    /// Returns the next item, as [`Subscriber::recv`] does.
    pub fn recv_async(&mut self) -> Pending<'_, Object, SubscriberError> {
        Pending::new(move || match self.try_recv() {
            Err(SubscriberError::Empty) => Step::Wait(Source::read(self)),
            item => Step::Done(item),
        })
    }

    /// Returns the items that come until the feed is closed. Items that the subscriber missed are an error,
    /// [`SubscriberError::Lagged`], after which the stream goes on.
    pub fn stream(&mut self) -> Items<'_, Object, SubscriberError> {
        let mut ended = false;
        let attempt = move || {
            if ended {
                return Step::Done(None);
            }
            let before = self.position();
            match self.try_recv() {
                Err(SubscriberError::Empty) => Step::Wait(Source::read(self)),
                item => {
                    // What was missed or is damaged is behind the subscriber now; any other error would come again.
                    ended = self.position() == before;
                    Step::Done(Some(item).filter(|item| !matches!(item, Err(SubscriberError::Closed { clean: true }))))
                }
            }
        };
        Items { trying: Trying::new(attempt) }
    }
}

impl Sender {
    /// Sends a value, as [`Sender::send`] does. If the future is dropped before it is ready, the value was not sent.
    pub fn send_async<'a>(&self, value: impl Into<Value<'a>>) -> Pending<'a, (), SendError<'a>> {
        let put = |sheet: &mut Sheet, ring| sheet.send(ring);
        put_async(
            self.port.clone(),
            self.writer.clone(),
            value.into(),
            put,
            What::Send(self.port.clone(), self.deserted),
            self.deserted,
        )
    }
}

impl Feed {
    /// Appends a value, as [`Feed::append`] does. If the future is dropped before it is ready, the value was not appended.
    pub fn append_async<'a>(&self, value: impl Into<Value<'a>>) -> Pending<'a, (), AppendError<'a>> {
        let when_full = self.when_full;
        let put = move |sheet: &mut Sheet, ring| sheet.append(ring, when_full);
        let what = What::Append(self.port.clone(), when_full);
        put_async(self.port.clone(), self.writer.clone(), value.into(), put, what, WhenDeserted::Fail)
    }
}

impl Event {
    /// Waits until the event is set, as [`Event::wait`] does.
    pub fn wait_async(&self) -> Pending<'static, ()> {
        of_source(Ok(Source::new(What::Event(self.clone()))), |_| Ok(()))
    }
}

impl<T: Pod + Send> Mutex<T> {
    /// Locks the mutex, as [`Mutex::lock`] does.
    pub fn lock_async(&self) -> Pending<'_, MutexGuard<'static, T>>
    where
        T: Sync,
    {
        let source = Source::new(What::Lock(self.handle.clone(), self.slots.leases));
        of_source(Ok(source), |got| match got {
            Got::Held(held) => self.guarded(held),
            got => unexpected(got),
        })
    }
}

impl Semaphore {
    /// Acquires a permit, as [`Semaphore::acquire`] does.
    pub fn acquire_async(&self) -> Pending<'static, Permit<'static>> {
        of_source(Ok(Source::new(What::Acquire(self.handle.clone(), self.leases))), |got| match got {
            Got::Held(held) => Ok(Permit { held }),
            got => unexpected(got),
        })
    }
}

impl Arena {
    /// Returns the object of this name as soon as its version is above `newer_than`, as [`Arena::wait_for`] does.
    pub fn wait_for_async(&self, name: &str, newer_than: u64) -> Pending<'static, Object> {
        of_source(Source::name(self, name, newer_than), |got| match got {
            Got::Object(object) => Ok(object),
            got => unexpected(got),
        })
    }
}

/// A value on its way into a channel or feed.
enum Putting<'a> {
    Value(Value<'a>),
    /// It is built, and has no room yet.
    Built(Sheet, Option<SchemaRef>),
    Done,
}

/// What a put fails with.
trait NotPut<'a>: From<Error> {
    fn not_built(not_built: NotBuilt<'a>) -> Self;
    fn ended(value: Value<'a>, ended: Ended) -> Self;
    fn full(value: Value<'a>) -> Self;
}

impl<'a> NotPut<'a> for SendError<'a> {
    fn not_built(not_built: NotBuilt<'a>) -> Self {
        SendError::not_built(not_built)
    }

    fn ended(value: Value<'a>, ended: Ended) -> Self {
        SendError::closed(value, ended)
    }

    fn full(value: Value<'a>) -> Self {
        SendError::Full(value)
    }
}

impl<'a> NotPut<'a> for AppendError<'a> {
    fn not_built(not_built: NotBuilt<'a>) -> Self {
        AppendError::not_built(not_built)
    }

    fn ended(value: Value<'a>, _: Ended) -> Self {
        AppendError::Closed(value)
    }

    fn full(value: Value<'a>) -> Self {
        AppendError::Full(value)
    }
}

fn put_async<'a, E: NotPut<'a>>(
    port: Arc<Port>,
    writer: Writer,
    value: Value<'a>,
    put: impl Fn(&mut Sheet, Ring) -> Result<Outcome<()>> + Send + 'a,
    what: What,
    deserted: WhenDeserted,
) -> Pending<'a, (), E> {
    let mut putting = Putting::Value(value);
    let waits = !matches!(what, What::Append(_, WhenFull::Fail));
    let room = Source::new(what);
    let mut step = move || -> Result<Step<Result<(), E>>, E> {
        let core = port.core()?;
        let (mut sheet, schema) = match std::mem::replace(&mut putting, Putting::Done) {
            Putting::Done => return Err(polled_again().into()),
            Putting::Built(sheet, schema) => (sheet, schema),
            Putting::Value(value) => {
                // What has no room now need not be copied first.
                if waits && !port.ring.is_feed() && core.is_full(port.ring) {
                    if let Some(ended) = port.ended(deserted)? {
                        return Err(E::ended(value, ended));
                    }
                    putting = Putting::Value(value);
                    return Ok(Step::Wait(room.clone()));
                }
                let rung = core.times_rung(port.ring.bell(End::Send));
                match port.build(&writer, value, Until::Now, deserted) {
                    Ok(built) => built,
                    Err(NotBuilt::NoSpace { value, ended: None, error }) => {
                        let may_come = !value.is_used_up() && port.may_fit(writer.bytes_of(&value)?).is_ok();
                        if !waits || !may_come {
                            return Err(E::not_built(NotBuilt::NoSpace { value, ended: None, error }));
                        }
                        putting = Putting::Value(value);
                        let memory = What::Memory { port: port.clone(), rung, since: Instant::now() };
                        return Ok(Step::Wait(Source::new(memory)));
                    }
                    Err(not_built) => return Err(E::not_built(not_built)),
                }
            }
        };
        match put(&mut sheet, port.ring)? {
            Outcome::Done(()) => return Ok(Step::Done(Ok(()))),
            Outcome::Closed => return Err(E::ended(Value::copied(sheet, schema), Ended::Closed)),
            Outcome::NotNow => {}
        }
        // A feed needs nobody who reads it.
        if deserted == WhenDeserted::Fail && !port.ring.is_feed() && core.is_deserted(port.ring, End::Receive) {
            return Err(E::ended(Value::copied(sheet, schema), Ended::Deserted));
        }
        if !waits {
            return Err(E::full(Value::copied(sheet, schema)));
        }
        putting = Putting::Built(sheet, schema);
        Ok(Step::Wait(room.clone()))
    };
    Pending::new(move || step().unwrap_or_else(|e| Step::Done(Err(e))))
}
