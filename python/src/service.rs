//! Request and reply as Python holds them: clients, servers, requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faretra::call::WithoutServer;
use faretra::{RecvError, Writer};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::arena::{Arena, give, text, timeout};
use crate::error::{Failure, run, run_plain, wait, wait_plain};
use crate::leased::{Held, Leased};
use crate::ready::{End, Pollable, left, take};
use crate::value::{Input, Pickling, output};

/// Who calls a service; `faretra.Client` is a subclass. A client of the library makes one call at a time: so there is one for
/// each call that is under way, and those that are idle are kept.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Client {
    /// `None`: this client was left.
    idle: Mutex<Option<Vec<faretra::call::Client>>>,
    writer: Arc<Writer>,
    without: WithoutServer,
    name: String,
    pickling: Pickling,
}

impl Client {
    fn idle(&self) -> MutexGuard<'_, Option<Vec<faretra::call::Client>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn what(&self) -> String {
        format!("the service '{}'", self.name)
    }

    /// A client for one call.
    fn take(&self, py: Python<'_>) -> PyResult<faretra::call::Client> {
        let idle = self.idle().as_mut().map(Vec::pop);
        match idle {
            None => Err(left(py, &self.what())),
            Some(Some(client)) => Ok(client),
            Some(None) => run(py, || self.writer.client(&self.name, self.without)),
        }
    }

    /// The client after its call.
    fn give_back(&self, client: faretra::call::Client) {
        if let Some(idle) = &mut *self.idle() {
            idle.push(client);
        }
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (arena, name, wait=true))]
    fn new(py: Python<'_>, arena: &Bound<'_, Arena>, name: &Bound<'_, PyAny>, wait: bool) -> PyResult<Client> {
        let name = text(name)?.to_owned();
        let pickling = arena.get().pickling();
        let writer = arena.get().writer(py)?;
        let without = if wait { WithoutServer::Waits } else { WithoutServer::Fails };
        let first = run(py, || writer.client(&name, without))?;
        Ok(Client { idle: Mutex::new(Some(vec![first])), writer, without, name, pickling })
    }

    /// Sends a request and waits for its reply: what `Client.call` does, but for what a function raised that serves.
    #[pyo3(signature = (value, timeout=None))]
    fn _call<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let limit = self::timeout(timeout)?;
        let mut input = Input::of(value, &self.name)?;
        let mut client = self.take(py)?;
        let reply = wait(py, || {
            let value = input.value()?;
            let reply = match limit {
                None => client.call(value),
                Some(limit) => client.call_timeout(value, limit),
            };
            reply.map_err(|failure| Failure::from(failure).about(|| self.what()))
        });
        self.give_back(client);
        output(py, reply?, self.pickling)
    }

    /// Sends a request, and waits for nothing. The reply is asked of what is returned.
    fn _start(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Call> {
        let mut input = Input::of(value, &self.name)?;
        let mut client = self.take(py)?;
        let sent = give(py, &mut input, |value| {
            client.request(value).map_err(|failure| Failure::from(failure).about(|| self.what()))
        });
        match sent {
            Ok(()) => Ok(Call { client: Mutex::new(Some(client)), what: self.what(), pickling: self.pickling }),
            Err(error) => {
                self.give_back(client);
                Err(error)
            }
        }
    }

    /// Takes back what a call was made with.
    fn _finish(&self, call: &Bound<'_, Call>) {
        if let Some(client) = call.get().slot().take() {
            self.give_back(client);
        }
    }

    /// Closes the service, for every client and server: no more requests are accepted. Servers get those that are there, and then
    /// a `ClosedError` whose `clean` is true, which ends `serve` and `for` loops.
    ///
    /// >>> arena = faretra.Arena.create("doc-client-close", keep=False)
    /// >>> server, client = arena.server("double"), arena.client("double")
    /// >>> client.close()
    /// >>> list(server)
    /// []
    /// >>> arena.close()
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let client = self.take(py)?;
        let closed = run(py, || client.close());
        self.give_back(client);
        closed
    }

    /// Gives this client up, and closes nothing. Calls that other threads make go on.
    ///
    /// >>> arena = faretra.Arena.create("doc-client-leave", keep=False)
    /// >>> client = arena.client("double")
    /// >>> client.leave()
    /// >>> client.left
    /// True
    /// >>> arena.close()
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let idle = self.idle().take();
        wait_plain(py, || drop(idle))
    }

    /// Whether this client was left.
    #[getter]
    fn left(&self) -> bool {
        self.idle().is_none()
    }

    /// The service's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Client of '{}'{}>", self.name, if self.left() { ", left" } else { "" })
    }
}

/// A call that is under way, for an event loop.
#[pyclass(frozen, module = "faretra._native")]
#[derive(Debug)]
pub struct Call {
    client: Mutex<Option<faretra::call::Client>>,
    what: String,
    pickling: Pickling,
}

impl Call {
    fn slot(&self) -> MutexGuard<'_, Option<faretra::call::Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, py: Python<'_>, f: impl FnOnce(&mut faretra::call::Client) -> Result<T, Failure>) -> PyResult<T> {
        run(py, || match &mut *self.slot() {
            Some(client) => f(client),
            None => Err(Failure::invalid("this call is over")),
        })
    }
}

#[pymethods]
impl Call {
    /// The reply, if it is there; `EmptyError` if not.
    fn reply<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let about = |failure: Failure| failure.about(|| self.what.clone());
        let reply = self.with(py, |client| match client.try_reply() {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(about(Failure::Empty)),
            Err(error) => Err(about(error.into())),
        })?;
        output(py, reply, self.pickling)
    }

    /// A descriptor that is readable when the reply is there.
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        let pollable = self.with(py, |client| Ok(client.pollable()?))?;
        Pollable::new(py, || Ok(pollable))
    }
}

/// Who serves a service; `faretra.Server` is a subclass.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Server {
    end: End<Arc<faretra::call::Server>>,
    /// Kept for the ends that come after this one.
    _writer: Arc<Writer>,
    pickling: Pickling,
}

#[pymethods]
impl Server {
    #[new]
    fn new(py: Python<'_>, arena: &Bound<'_, Arena>, name: &Bound<'_, PyAny>) -> PyResult<Server> {
        let name = text(name)?;
        let pickling = arena.get().pickling();
        let writer = arena.get().writer(py)?;
        let server = run(py, || writer.server(name))?;
        Ok(Server { end: End::new("the service", name, Arc::new(server)), _writer: writer, pickling })
    }

    /// Receives the next request. Waits for one, up to `timeout` (seconds or a timedelta; 0: not at all).
    ///
    /// The request is leased to this process: if the process dies, or gives the request back, another server gets it.
    ///
    /// Raises:
    ///     EmptyError: There is no request, and the timeout is 0.
    ///     TimeoutError: None came in time.
    ///     ClosedError: The service was closed, and every request was served.
    ///
    /// >>> arena = faretra.Arena.create("doc-serve", keep=False)
    /// >>> arena.server("nobody calls").recv(timeout=0)
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.EmptyError: the service 'nobody calls': there is no item now
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn recv(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
        let (server, limit) = (self.end.get(py)?, self::timeout(timeout)?);
        let got = take(
            py,
            limit,
            || self.end.what(),
            |limit: Option<Duration>| -> Result<faretra::call::Request, RecvError> {
                match limit {
                    None => server.recv(),
                    Some(limit) if limit.is_zero() => server.try_recv(),
                    Some(limit) => server.recv_timeout(limit),
                }
            },
        );
        self.end.descriptor.follow(py);
        Ok(Request::new(got?, self.end.name(), self.pickling))
    }

    /// Receives the next request if there is one now. The same as `recv(timeout=0)`.
    ///
    /// Raises:
    ///     EmptyError: There is none.
    ///
    /// >>> arena = faretra.Arena.create("doc-server-poll", keep=False)
    /// >>> arena.server("double").try_recv()
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.EmptyError: the service 'double': there is no item now
    /// >>> arena.close()
    fn try_recv(&self, py: Python<'_>) -> PyResult<Request> {
        self.recv(py, Some(0_u8.into_pyobject(py)?.as_any()))
    }

    /// Closes the service, for every client and server: no more requests are accepted. Servers get those that are there, and then
    /// a `ClosedError` whose `clean` is true.
    ///
    /// >>> arena = faretra.Arena.create("doc-server-close", keep=False)
    /// >>> server, client = arena.server("double"), arena.client("double")
    /// >>> server.close()
    /// >>> client.call(1)
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.ClosedError: the service 'double': it was closed
    /// >>> arena.close()
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let server = self.end.get(py)?;
        run(py, || server.close())
    }

    /// Gives this server up, and closes nothing: other servers go on.
    ///
    /// >>> arena = faretra.Arena.create("doc-server-leave", keep=False)
    /// >>> server, client = arena.server("double"), arena.client("double", wait=False)
    /// >>> server.leave()
    /// >>> client.call(1)
    /// Traceback (most recent call last):
    ///     ...
    /// faretra.ClosedError: the service 'double': nobody is at the other end: the last one left or died
    /// >>> arena.close()
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.end.leave(py)
    }

    /// Whether this server was left.
    #[getter]
    fn left(&self) -> bool {
        self.end.is_left()
    }

    /// The service's name.
    #[getter]
    fn name(&self) -> &str {
        self.end.name()
    }

    /// The number of a file descriptor that is readable while there is a request, or when none comes any more: for `select`,
    /// `selectors` and event loops. It follows what this server does, and stays the same until it is left.
    ///
    /// >>> import select
    /// >>> arena = faretra.Arena.create("doc-server-fileno", keep=False)
    /// >>> select.select([arena.server("double")], [], [], 0)[0]
    /// []
    /// >>> arena.close()
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let server = self.end.get(py)?;
        self.end.descriptor.number(py, || server.pollable())
    }

    /// Returns a descriptor of its own, which is readable when there is a request, or when none comes any more.
    ///
    /// >>> arena = faretra.Arena.create("doc-server-pollable", keep=False)
    /// >>> server = arena.server("double")
    /// >>> server.pollable().is_ready()
    /// False
    /// >>> arena.close()
    fn pollable(&self, py: Python<'_>) -> PyResult<Pollable> {
        let server = self.end.get(py)?;
        Pollable::new(py, || server.pollable())
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Server of '{}'{}>", self.end.name(), if self.end.is_left() { ", left" } else { "" })
    }
}

/// A request that is leased to this server, until it is replied to or given back.
///
/// `with server.recv() as request:` gives the request back when the block raises, or ends without a reply: another server gets
/// it then, or the next `recv`.
///
/// >>> import threading
/// >>> arena = faretra.Arena.create("doc-request", keep=False)
/// >>> server, client = arena.server("upper"), arena.client("upper")
/// >>> replies = []
/// >>> thread = threading.Thread(target=lambda: replies.append(client.call("hello", timeout=5)))
/// >>> thread.start()
/// >>> with server.recv(timeout=5) as request:
/// ...     request.reply(request.value.upper())
/// >>> thread.join()
/// >>> replies
/// ['HELLO']
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Request {
    leased: Leased<faretra::call::Request>,
}

impl Request {
    fn new(request: faretra::call::Request, name: &str, pickling: Pickling) -> Request {
        let attempts = request.attempts();
        Request { leased: Leased::new(request, attempts, name.to_owned(), pickling) }
    }

    /// The request, which ends here.
    fn take(&self, py: Python<'_>) -> PyResult<Held<faretra::call::Request>> {
        self.leased.take().ok_or_else(|| self.over().raise(py))
    }

    fn over(&self) -> Failure {
        let name = self.leased.name();
        Failure::invalid(format!("this request to the service '{name}' was replied to or given back already"))
    }
}

#[pymethods]
impl Request {
    /// What was sent, zero-copy and read-only where it is an array, a table or bytes. Whoever took it keeps it after the reply.
    ///
    /// Raises:
    ///     InvalidError: The request ended before anybody took the value.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.leased.value(py, || self.over())
    }

    /// How often the request was received before: above 0 if a server died with it or gave it back.
    #[getter]
    fn attempts(&self) -> u64 {
        self.leased.attempts()
    }

    /// How many bytes the request takes in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.leased.nbytes()
    }

    /// The service's name.
    #[getter]
    fn name(&self) -> &str {
        self.leased.name()
    }

    /// Whether the request ended: it was replied to or given back.
    #[getter]
    fn ended(&self) -> bool {
        !self.leased.is_held()
    }

    /// Sends the reply, and ends the request. Waits for memory while the arena is full; if there is none, the request is given
    /// back. A reply to a client that left or died is dropped.
    ///
    /// Raises:
    ///     NoSpaceError: There is no room for the reply in the arena.
    ///     InvalidError: The request ended already.
    ///
    /// >>> import threading
    /// >>> arena = faretra.Arena.create("doc-reply", keep=False)
    /// >>> server, client = arena.server("double"), arena.client("double")
    /// >>> replies = []
    /// >>> thread = threading.Thread(target=lambda: replies.append(client.call(21, timeout=5)))
    /// >>> thread.start()
    /// >>> request = server.recv(timeout=5)
    /// >>> request.reply(2 * request.value)
    /// >>> thread.join()
    /// >>> replies
    /// [42]
    /// >>> arena.close()
    fn reply(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut input = Input::of(value, self.leased.name())?;
        let Held { lease: request, value: kept } = self.take(py)?;
        drop(kept);
        wait(py, || -> faretra::Result<()> { request.reply(input.value()?) })
    }

    /// Gives the request back: another server gets it, or the next `recv`.
    ///
    /// Raises:
    ///     InvalidError: The request ended already.
    ///
    /// >>> import threading
    /// >>> arena = faretra.Arena.create("doc-request-nack", keep=False)
    /// >>> server, client = arena.server("double"), arena.client("double")
    /// >>> thread = threading.Thread(target=client.call, args=(21,))
    /// >>> thread.start()
    /// >>> server.recv(timeout=5).nack()
    /// >>> request = server.recv(timeout=5)
    /// >>> request.attempts
    /// 1
    /// >>> request.reply(42)
    /// >>> thread.join()
    /// >>> arena.close()
    fn nack(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.take(py)?;
        run_plain(py, || drop(held))
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
        let _ = (kind, value, traceback);
        if !self.ended() {
            self.nack(py)?;
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        let (name, nbytes, attempts) = (self.leased.name(), self.leased.nbytes(), self.leased.attempts());
        let ended = if self.ended() { ", ended" } else { "" };
        format!("<faretra.Request to '{name}', {nbytes} bytes, attempts {attempts}{ended}>")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.leased.traverse(&visit)
    }

    fn __clear__(&self) {
        self.leased.clear();
    }
}
