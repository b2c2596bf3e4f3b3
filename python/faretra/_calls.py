"""Request and reply: processes that serve a name, and processes that call it."""

from __future__ import annotations

import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, NoReturn, Self

from faretra import _native
from faretra._aio import AGAIN, Turns, seconds, timed_out, when_ready
from faretra._errors import ClosedError, EmptyError, NoSpaceError, RemoteError
from faretra._native import Request

__all__ = ["AsyncClient", "AsyncServer", "Client", "Request", "Server"]

Timeout = float | timedelta | None


class _Raised:
    """A reply that says what the function raised that serves. The client raises it."""

    __slots__ = ("error", "trace")

    def __init__(self, error: Exception) -> None:
        import traceback

        self.trace = "".join(traceback.format_exception(error)).rstrip()
        self.error = error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            # What cannot be pickled, or not loaded again, is told in words.
            self.error = RemoteError(f"{type(error).__name__}: {error}")


def _outcome(reply: Any) -> Any:
    if isinstance(reply, _Raised):
        raise reply.error from RemoteError(f"in the process that serves:\n{reply.trace}")
    return reply


class Client(_native.Client):
    """Who calls a service, made by `Arena.client`. Several threads and tasks may call at the same time.

    A `with` block leaves the service when it ends, and closes nothing.

    >>> import threading
    >>> arena = faretra.Arena.create("doc-client", keep=False)
    >>> server = arena.server("sum")
    >>> thread = threading.Thread(target=server.serve, args=(np.sum,))
    >>> thread.start()
    >>> with arena.client("sum") as client:
    ...     client.call(np.ones(5), timeout=5)
    np.float64(5.0)
    >>> server.close()
    >>> thread.join()
    >>> arena.close()
    """

    @property
    def aio(self) -> AsyncClient:
        """The client on an event loop: `await client.aio.call(value)`."""
        return AsyncClient(self)

    def call(self, value: Any, timeout: Timeout = None) -> Any:
        """Send a request and wait for its reply, up to `timeout` (seconds or a timedelta). Return the reply.

        The reply is zero-copy and read-only where it is an array, a table or bytes. Several threads can call at the same
        time. A server that dies with the request leaves it to another one, so a request may be served more than once; there
        is one reply.

        Raises:
            TimeoutError: No reply came in time. The request may be served all the same; the reply is dropped then.
            ClosedError: The service was closed (`clean`), or nobody serves and the client does not wait for a server.
            NoSpaceError: There is no room for the request in the arena.
            Exception: What the function raised that `Server.serve` was given. Its cause, a `RemoteError`, has the traceback.

        >>> import threading
        >>> arena = faretra.Arena.create("doc-call", keep=False)
        >>> server, client = arena.server("inverse"), arena.client("inverse")
        >>> thread = threading.Thread(target=server.serve, args=(lambda x: 1 / x,))
        >>> thread.start()
        >>> client.call(np.array([1.0, 2.0]), timeout=5)
        array([1. , 0.5])
        >>> client.call(0, timeout=5)
        Traceback (most recent call last):
            ...
        ZeroDivisionError: division by zero
        >>> client.close()
        >>> thread.join()
        >>> arena.close()
        """
        return _outcome(self._call(value, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()


class Server(_native.Server):
    """Who serves a service, made by `Arena.server`. Any number of processes and threads may serve.

    `for request in server:` receives requests until the service is closed. A request that is not replied to when the
    next one is asked for is given back. `async for request in server:` does the same on an event loop. A `with` block
    leaves the service when it ends, and closes nothing.

    >>> with faretra.Arena.create("doc-server", keep=False) as arena:
    ...     with arena.server("double") as server:
    ...         server.close()
    ...         for request in server:
    ...             request.reply(2 * request.value)
    """

    def __iter__(self) -> Iterator[Request]:
        while True:
            try:
                request = self.recv()
            except ClosedError as error:
                if error.clean:
                    return
                raise
            with request:
                yield request
            # It is not kept while the next one is waited for.
            del request

    def serve(self, function: Callable[[Any], Any]) -> None:
        """Reply to each request with what `function` makes of its value, until the service is closed.

        If `function` raises an `Exception`, the client's `call` raises it, and the next request is served. Any other
        exception, as `KeyboardInterrupt`, gives the request back, to another server or to the next `recv`, and is raised
        here.

        Raises:
            Error: Those of `recv` and `Request.reply`.

        >>> import threading
        >>> arena = faretra.Arena.create("doc-serving", keep=False)
        >>> server, client = arena.server("double"), arena.client("double")
        >>> thread = threading.Thread(target=server.serve, args=(lambda number: 2 * number,))
        >>> thread.start()
        >>> client.call(21, timeout=5)
        42
        >>> server.close()
        >>> thread.join()
        >>> arena.close()
        """
        for request in self:
            try:
                reply = function(request.value)
            except Exception as error:
                reply = _Raised(error)
            request.reply(reply)
            # It is not kept while the next one is waited for.
            del request, reply

    @property
    def aio(self) -> AsyncServer:
        """The server on an event loop: `await server.aio.recv()`."""
        return AsyncServer(self)

    def __aiter__(self) -> AsyncIterator[Request]:
        return _Requests(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()


class AsyncClient:
    """A client on an event loop."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, value: Any, timeout: Timeout = None) -> Any:
        """Send a request and wait for its reply, as `Client.call` does, while the loop's other tasks go on. No thread waits.

        Several tasks may call at the same time. If a task is cancelled while it waits, its request may be served all
        the same; the reply is dropped then.

        Raises:
            Error: Those of `Client.call`.

        >>> import asyncio
        >>> async def main(client, server):
        ...     call = asyncio.create_task(client.aio.call("hello", timeout=5))
        ...     with await server.aio.recv(timeout=5) as request:
        ...         request.reply(request.value.upper())
        ...     return await call
        >>> with faretra.Arena.create("doc-aio-call", keep=False) as arena:
        ...     asyncio.run(main(arena.client("upper"), arena.server("upper")))
        'HELLO'
        """
        client = self._client
        allowed = seconds(timeout)
        ends = None if allowed is None else time.monotonic() + allowed
        call = await when_ready(lambda: client._start(value), _nothing, NoSpaceError, allowed)
        try:
            left = None if ends is None else max(ends - time.monotonic(), 0.0)
            return _outcome(await when_ready(call.reply, call.pollable, EmptyError, left, AGAIN))
        except EmptyError:
            raise timed_out(allowed or 0.0) from None
        finally:
            client._finish(call)


def _nothing() -> NoReturn:
    raise AssertionError("memory has no descriptor")


class AsyncServer:
    """A server on an event loop."""

    __slots__ = ("_server",)

    def __init__(self, server: Server) -> None:
        self._server = server

    async def recv(self, timeout: Timeout = None) -> Request:
        """Receive the next request, as `Server.recv` does, while the loop's other tasks go on. No thread waits.

        A task that is cancelled while it waits has received nothing.

        Raises:
            Error: Those of `Server.recv`.

        >>> import asyncio
        >>> with faretra.Arena.create("doc-aio-serve", keep=False) as arena:
        ...     asyncio.run(arena.server("double").aio.recv(timeout=0))
        Traceback (most recent call last):
            ...
        faretra.EmptyError: the service 'double': there is no item now
        """
        server = self._server
        # Now and then, as what dead clients left is taken back by who looks.
        return await when_ready(server.try_recv, server.pollable, EmptyError, timeout, 1.0)

    def __aiter__(self) -> AsyncIterator[Request]:
        return _Requests(self._server)


class _Requests:
    """The requests to a service on an event loop."""

    __slots__ = ("_request", "_server", "_turns")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._request: Request | None = None
        self._turns = Turns()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Request:
        before, self._request = self._request, None
        if before is not None and not before.ended:
            before.nack()
        del before
        await self._turns.give()
        try:
            request = await self._server.aio.recv()
        except ClosedError as error:
            if error.clean:
                raise StopAsyncIteration from None
            raise
        self._request = request
        return request
