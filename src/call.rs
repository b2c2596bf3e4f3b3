//! Calls: requests that processes send to a service, and its replies.
//!
//! A **service** is a name. Any number of processes serve it ([`Writer::server`](crate::Writer::server)), and any number call it
//! ([`Writer::client`](crate::Writer::client)). Requests wait in a channel without a bound, which has the service's name;
//! replies come back through one that belongs to the client. Values lie in the arena, so nothing is copied on the way but
//! into it.
//!
//! * **At least once**: a request is leased to its server, as an item of a channel is. If the server dies, or drops the
//!   request without a reply, another server gets it, and [`Request::attempts`] says so. A client gets one reply to a call.
//! * **Ends**: a client that calls a service which nobody serves, or whose last server leaves or dies, is told with
//!   [`CallError::Closed`], or waits for a server, as it chose ([`WithoutServer`]).
//! * A reply to a client that left or died is dropped. What a dead client leaves goes when a server notices, or when the
//!   next client or server comes.
//!
//! ```
//! # use faretra::{Arena, MIB};
//! use faretra::call::WithoutServer;
//! # let name = format!("doc-call-{}", std::process::id());
//! # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
//! let server = arena.writer()?.server("length")?;
//! let serving = std::thread::spawn(move || {
//!     server.serve(|request| Ok::<_, faretra::Error>(request.bytes()?.len().to_string().into_bytes()))
//! });
//!
//! let mut client = arena.writer()?.client("length", WithoutServer::Waits)?;      // in any process
//! assert_eq!(client.call("hello")?.bytes()?, b"5");
//! client.close()?;                                                                // the service ends
//! serving.join().expect("it ended")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::channel::{Contents, Lease, Receiver, RecvError, SendError, Sender};
use crate::core::cell::RingForm;
use crate::core::wait::{SLICE, Until};
use crate::core::word::Owner;
use crate::error::{Error, Result};
use crate::input::{Bundle, Value};
use crate::reader::Object;
use crate::ready::Pollable;
use crate::writer::Writer;

/// The members of a request's bundle and of a reply's: what is said, and which call it belongs to. A request also says the
/// name of the channel that the reply goes to.
const VALUE: &str = "value";
const CALL: &str = "call";

/// What a call does while nobody serves.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::call::{CallError, WithoutServer};
/// # let name = format!("doc-without-server-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let mut client = arena.writer()?.client("length", WithoutServer::Fails)?;
/// assert!(matches!(client.call("hello"), Err(CallError::Closed { clean: false })));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutServer {
    /// Fails with [`CallError::Closed`].
    Fails,
    /// Waits until a server comes, as long as the call waits at all.
    Waits,
}

/// Why a call has no reply.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::call::{CallError, WithoutServer};
/// # let name = format!("doc-call-error-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let mut client = arena.writer()?.client("nobody", WithoutServer::Fails)?;
/// assert!(matches!(client.call("hello"), Err(CallError::Closed { clean: false })));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service was closed (`clean`), or nobody serves it.
    #[error("{}", if *.clean { "the service is closed" } else { "nobody serves, or the last server left or died" })]
    Closed {
        /// `true`: somebody closed the service. `false`: nobody serves, and calls go on when a server comes. A request that
        /// was sent already waits for that server, whose reply is dropped.
        clean: bool,
    },
    /// No reply came until the timeout. The request may be served all the same; the reply is dropped then.
    #[error("no reply came in time")]
    TimedOut,
    /// Anything else that can go wrong.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<SendError<'_>> for CallError {
    fn from(e: SendError<'_>) -> CallError {
        match e {
            SendError::Closed { clean, .. } => CallError::Closed { clean },
            SendError::TimedOut(_) | SendError::Full(_) => CallError::TimedOut,
            e => CallError::Failed(e.into()),
        }
    }
}

impl Writer {
    /// Returns a client of the service `service`, whether or not somebody serves it yet.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if `service` stands for something else than a service; [`Error::NoSpace`];
    /// [`Error::TooLarge`] for a name of more than 150 bytes.
    pub fn client(&self, service: &str, without: WithoutServer) -> Result<Client> {
        let requests = self.requests(service)?;
        // Unique while this process takes part: and who finds the name knows whose it is.
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let me = self.attachment().core()?.me();
        let number = CLIENTS.fetch_add(1, Relaxed);
        let name = format!("{}{}.{}.{number}", prefix(service), me.seat, me.incarnation);
        let own = self.make_channel(&name, RingForm::chain(256, 64), Contents::Mixed)?;
        let replies = Arena::of(self.attachment()).receiver(&name)?;
        Ok(Client { requests, replies, _own: own, name, calls: 0, without, writer: self.clone() })
    }

    /// Returns a server of the service `service`. A server is there for clients from now on until it is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Writer::client`].
    pub fn server(&self, service: &str) -> Result<Server> {
        let requests = self.requests(service)?;
        let receiver = Arena::of(self.attachment()).receiver(service)?;
        let (clients, looked) = (Mutex::default(), Mutex::new(Instant::now()));
        Ok(Server { shared: Arc::new(Serving { requests, receiver, clients, looked, writer: self.clone() }) })
    }

    /// The sending end of a service's requests. What dead clients left goes first.
    fn requests(&self, service: &str) -> Result<Sender> {
        const LONGEST: u64 = 150;
        if service.len() as u64 > LONGEST {
            let (what, asked) = ("bytes of a service's name", service.len() as u64);
            return Err(Error::TooLarge { what, asked, most: LONGEST, hint: "choose a shorter name" });
        }
        let requests = self.unbounded_with(service, Contents::Mixed)?;
        let core = self.attachment().core()?;
        core.recover()?;
        for named in core.names()? {
            if let Some(owner) = named.name.strip_prefix(&prefix(service)).and_then(owner_in)
                && !core.takes_part(owner)
            {
                self.remove(&named.name)?;
            }
        }
        Ok(requests)
    }
}

/// How the names of the channels begin that a service's replies go to.
fn prefix(service: &str) -> String {
    format!("{service}: replies to ")
}

/// Whose channel that is.
fn owner_in(rest: &str) -> Option<Owner> {
    let mut numbers = rest.split('.');
    let owner = Owner { seat: numbers.next()?.parse().ok()?, incarnation: numbers.next()?.parse().ok()? };
    numbers.next()?.parse::<u64>().ok().map(|_| owner)
}

/// Whose channel a full name says it is.
fn owner_of(name: &str) -> Option<Owner> {
    owner_in(&name[name.rfind(' ')? + 1..])
}

/// Who calls a service, made by [`Writer::client`]. A client makes one call at a time; several make several.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::call::WithoutServer;
/// # let name = format!("doc-client-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let server = arena.writer()?.server("echo")?;
/// # let serving = std::thread::spawn(move || server.serve(|request| Ok::<_, faretra::Error>(faretra::Object::clone(request))));
/// let mut client = arena.writer()?.client("echo", WithoutServer::Fails)?;
/// let reply = client.call("hello")?;
/// assert_eq!(reply.bytes()?, b"hello");
/// # client.close()?;
/// # serving.join().expect("it ended")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    requests: Sender,
    replies: Receiver,
    /// The other end of it: servers come and go, and nobody is told of that.
    _own: Sender,
    /// Of the channel that replies come through.
    name: String,
    calls: u64,
    without: WithoutServer,
    writer: Writer,
}

impl Drop for Client {
    fn drop(&mut self) {
        // A forked child's is the parent's; what cannot be removed now goes as that of a dead client does.
        let _ = self.writer.remove(&self.name);
    }
}

impl Client {
    /// Sends a request, and waits for the reply.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if the service is closed, or, for a client that asked for that, if nobody serves it.
    pub fn call<'a>(&mut self, value: impl Into<Value<'a>>) -> Result<Object, CallError> {
        self.call_by(value.into(), Until::Forever)
    }

    /// Sends a request, and waits for the reply. Fails with [`CallError::TimedOut`] if none came after `timeout`. The other
    /// errors are those of [`Client::call`].
    pub fn call_timeout<'a>(&mut self, value: impl Into<Value<'a>>, timeout: Duration) -> Result<Object, CallError> {
        self.call_by(value.into(), Until::Within(timeout))
    }

    /// Sends a request, and waits for the reply. Fails with [`CallError::TimedOut`] if none came until `deadline`. The other
    /// errors are those of [`Client::call`].
    pub fn call_deadline<'a>(&mut self, value: impl Into<Value<'a>>, deadline: Instant) -> Result<Object, CallError> {
        self.call_by(value.into(), Until::deadline(deadline))
    }

    fn call_by(&mut self, value: Value<'_>, until: Until) -> Result<Object, CallError> {
        let until = until.started();
        self.request_by(value, until)?;
        loop {
            // As often as deaths are looked for anyway.
            match self.replies.recv_by(until.slice()) {
                Ok(lease) => {
                    if let Some(reply) = self.reply(lease)? {
                        return Ok(reply);
                    }
                }
                Err(RecvError::TimedOut | RecvError::Empty | RecvError::Closed { .. }) => {
                    if until.is_over() {
                        return Err(CallError::TimedOut);
                    }
                    // This sleep was for a reply; who dies at the other channel is looked for here.
                    self.requests.look_for_deaths()?;
                    if let Some(closed) = self.closed()? {
                        return self.last_reply()?.ok_or(closed);
                    }
                }
                Err(RecvError::Interrupted) => return Err(Error::Interrupted.into()),
                Err(RecvError::Failed(e)) => return Err(e.into()),
            }
        }
    }

    fn request_by(&mut self, value: Value<'_>, until: Until) -> Result<(), CallError> {
        if let Some(closed) = self.closed()? {
            return Err(closed);
        }
        self.calls += 1;
        let mut call = self.calls.to_le_bytes().to_vec();
        call.extend_from_slice(self.name.as_bytes());
        let request = Bundle::new().with(VALUE, value).with(CALL, call);
        Ok(self.requests.send_by(request.into(), until)?)
    }

    /// Sends a request, and waits for nothing: the first half of a call in an event loop. [`Client::try_reply`] is the second.
    /// The reply to an earlier request is dropped when it comes.
    ///
    /// # Errors
    ///
    /// Those of [`Client::call`], and [`Error::NoSpace`] if the arena has no room for the request now.
    pub fn request<'a>(&mut self, value: impl Into<Value<'a>>) -> Result<(), CallError> {
        self.request_by(value.into(), Until::Now)
    }

    /// Returns the reply to the last request if it is there, and `None` if it is not there yet. [`Client::pollable`] tells of
    /// replies, but not of servers that leave or die: call this method every 100 ms or so, too.
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// use faretra::call::WithoutServer;
    /// # let name = format!("doc-try-reply-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let server = arena.writer()?.server("echo")?;
    /// let mut client = arena.writer()?.client("echo", WithoutServer::Fails)?;
    /// client.request("hello")?;
    /// assert!(client.try_reply()?.is_none());
    /// server.recv()?.reply("good day")?;
    /// assert_eq!(client.try_reply()?.expect("it is there").bytes()?, b"good day");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Client::call`].
    pub fn try_reply(&mut self) -> Result<Option<Object>, CallError> {
        if let Some(reply) = self.last_reply()? {
            return Ok(Some(reply));
        }
        self.requests.look_for_deaths()?;
        match self.closed()? {
            Some(closed) => self.last_reply()?.map(Some).ok_or(closed),
            None => Ok(None),
        }
    }

    /// Returns a descriptor that is readable when a reply is there.
    pub fn pollable(&self) -> Result<Pollable> {
        self.replies.pollable()
    }

    /// What a reply says, if it belongs to this call and not to an earlier one.
    fn reply(&self, lease: Lease) -> Result<Option<Object>> {
        let bundle = lease.bundle()?;
        let belongs = bundle.get(CALL)?.bytes()? == self.calls.to_le_bytes();
        let reply = if belongs { Some(bundle.get(VALUE)?) } else { None };
        lease.ack();
        Ok(reply)
    }

    /// A server may have replied just before it left.
    fn last_reply(&self) -> Result<Option<Object>> {
        while let Ok(lease) = self.replies.try_recv() {
            if let Some(reply) = self.reply(lease)? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// Why nobody will reply.
    fn closed(&self) -> Result<Option<CallError>> {
        let served = self.requests.is_received()?;
        Ok(match served {
            _ if self.requests.is_closed()? && (!served || self.requests.is_empty()) && self.requests.none_out()? => {
                Some(CallError::Closed { clean: true })
            }
            false if self.without == WithoutServer::Fails => Some(CallError::Closed { clean: false }),
            _ => None,
        })
    }

    /// Closes the service: no more requests are accepted, from anybody. Servers get those that are there, and then
    /// [`RecvError::Closed`] with `clean: true`. Fails with [`Error::Forked`] in a forked child.
    pub fn close(&self) -> Result<()> {
        self.requests.close()
    }
}

/// Who serves a service, made by [`Writer::server`].
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::call::WithoutServer;
/// # let name = format!("doc-server-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let server = arena.writer()?.server("echo")?;
/// # let mut client = arena.writer()?.client("echo", WithoutServer::Fails)?;
/// # let calling = std::thread::spawn(move || client.call("hello").map(|reply| reply.bytes().map(<[u8]>::to_vec)));
/// let request = server.recv()?;
/// let reply = faretra::Object::clone(&request);  // any value: here, the request's own, which is not copied
/// request.reply(reply)?;
/// # assert_eq!(calling.join().expect("it ended")??, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    shared: Arc<Serving>,
}

/// What a server and its requests have in common.
#[derive(Debug)]
struct Serving {
    /// An end of one's own, so that a service without a client is not one that ended.
    requests: Sender,
    receiver: Receiver,
    /// The channels that replies went to.
    clients: Mutex<HashMap<String, Sender>>,
    /// When somebody who polls last looked for dead clients.
    looked: Mutex<Instant>,
    writer: Writer,
}

impl Server {
    /// Receives the next request. Waits until there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] with `clean: true` if the service is closed and every request was served.
    pub fn recv(&self) -> Result<Request, RecvError> {
        self.recv_by(Until::Forever)
    }

    /// Receives the next request if there is one now, and fails with [`RecvError::Empty`] if not. The other errors are those
    /// of [`Server::recv`].
    pub fn try_recv(&self) -> Result<Request, RecvError> {
        match self.recv_by(Until::Now) {
            Err(RecvError::TimedOut) => Err(RecvError::Empty),
            other => other,
        }
    }

    /// Receives the next request. Waits for one, and fails with [`RecvError::TimedOut`] if none came after `timeout`. The
    /// other errors are those of [`Server::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Request, RecvError> {
        self.recv_by(Until::Within(timeout))
    }

    /// Receives the next request. Waits for one, and fails with [`RecvError::TimedOut`] if none came until `deadline`. The
    /// other errors are those of [`Server::recv`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Request, RecvError> {
        self.recv_by(Until::deadline(deadline))
    }

    fn recv_by(&self, until: Until) -> Result<Request, RecvError> {
        let until = until.started();
        loop {
            match self.shared.receiver.recv_by(until.slice()) {
                Ok(lease) => match Request::new(&self.shared, lease)? {
                    Some(request) => return Ok(request),
                    None => continue,
                },
                Err(RecvError::TimedOut) if !until.is_over() => self.shared.forget_the_dead()?,
                Err(RecvError::TimedOut) if self.shared.is_time_to_look() => {
                    self.shared.forget_the_dead()?;
                    return Err(RecvError::TimedOut);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Receives requests and replies with what `answer` makes of each, until the service is closed. If `answer` fails or
    /// panics, the request goes to another server, or to the next call of this method, and the error is returned.
    pub fn serve<'a, V, E>(&self, mut answer: impl FnMut(&Request) -> Result<V, E>) -> Result<(), E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        loop {
            match self.recv() {
                Ok(request) => {
                    let reply = answer(&request)?;
                    request.reply(reply)?;
                }
                Err(RecvError::Failed(e)) => return Err(e.into()),
                Err(RecvError::Interrupted) => return Err(Error::Interrupted.into()),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Closes the service: no more requests are accepted, from anybody. Fails with [`Error::Forked`] in a forked child.
    pub fn close(&self) -> Result<()> {
        self.shared.requests.close()
    }

    /// Returns a descriptor that is readable when there is a request, or when none comes any more.
    pub fn pollable(&self) -> Result<Pollable> {
        self.shared.receiver.pollable()
    }
}

impl Serving {
    /// Whether who polls should look for dead clients now, as who waits does.
    fn is_time_to_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let over = looked.elapsed() >= SLICE;
        if over {
            *looked = Instant::now();
        }
        over
    }

    /// The channel of a client, unless that is gone.
    fn client(&self, name: &str) -> Result<Option<Sender>> {
        let core = self.writer.attachment().core()?;
        if !owner_of(name).is_some_and(|owner| core.takes_part(owner)) {
            // A request says any name; only those of this service's clients go with their owners.
            if name.starts_with(&prefix(&self.requests.port.name)) {
                self.writer.remove(name)?;
            }
            return Ok(None);
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(name) {
            return Ok(Some(known.clone()));
        }
        match self.writer.existing_channel(name) {
            Ok(sender) => {
                clients.insert(name.to_owned(), sender.clone());
                Ok(Some(sender))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Lets go of the channels of clients that left, and removes those of the dead.
    fn forget_the_dead(&self) -> Result<()> {
        let core = self.writer.attachment().core()?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = vec![];
        clients.retain(|name, sender| {
            let alive = owner_of(name).is_some_and(|owner| core.takes_part(owner));
            if !alive {
                gone.push(name.clone());
            }
            alive && sender.is_received().unwrap_or(false)
        });
        for name in gone {
            self.writer.remove(&name)?;
        }
        Ok(())
    }
}

/// A request that is leased to this server. It derefs to the [`Object`] that was sent.
///
/// [`Request::reply`] ends it. If it is dropped, or this process dies, another server gets it. A server stays until its last
/// request has ended.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::call::WithoutServer;
/// # let name = format!("doc-request-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let server = arena.writer()?.server("echo")?;
/// # let mut client = arena.writer()?.client("echo", WithoutServer::Fails)?;
/// # let calling = std::thread::spawn(move || client.call("hello").map(|reply| reply.bytes().map(<[u8]>::to_vec)));
/// drop(server.recv()?);                      // back to the service
/// let request = server.recv()?;
/// assert_eq!((request.bytes()?, request.attempts()), (&b"hello"[..], 1));
/// request.reply("good day")?;
/// # assert_eq!(calling.join().expect("it ended")??, b"good day");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the request gives it to another server: call `reply`"]
pub struct Request {
    server: Arc<Serving>,
    lease: Lease,
    value: Object,
    call: Object,
}

impl Deref for Request {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.value
    }
}

impl Request {
    /// `None`: somebody sent something else to the service, which nobody waits for.
    fn new(server: &Arc<Serving>, lease: Lease) -> Result<Option<Request>> {
        let parts = lease.bundle().and_then(|bundle| Ok((bundle.get(VALUE)?, bundle.get(CALL)?)));
        match parts {
            Ok((value, call)) => Ok(Some(Request { server: server.clone(), lease, value, call })),
            Err(Error::Mismatch { .. } | Error::NotFound { .. }) => {
                lease.ack();
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Returns how often the request was received before. The number is above 0 if a server died with it or gave it back.
    pub fn attempts(&self) -> u64 {
        self.lease.attempts()
    }

    /// Sends the reply, and acknowledges the request. A reply to a client that left or died is dropped. Waits for memory; if
    /// that fails, another server gets the request.
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send`], but for the client's end.
    pub fn reply<'v>(self, value: impl Into<Value<'v>>) -> Result<()> {
        let Request { server, lease, value: request, call } = self;
        let said = call.bytes()?;
        if let Some((number, name)) = said.split_at_checked(8)
            && let Ok(name) = std::str::from_utf8(name)
            && let Some(client) = server.client(name)?
        {
            match client.send(Bundle::new().with(VALUE, value).with(CALL, number.to_vec())) {
                Ok(()) | Err(SendError::Closed { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        drop((request, call));
        lease.ack();
        Ok(())
    }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Client>();
    shared::<Server>();
    shared::<Request>();
    shared::<CallError>();
};
