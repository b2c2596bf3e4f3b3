"""Channels: queues of values between processes. Each item goes to one receiver, and to another one if that dies with it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from typing import Any, Self

from faretra import _native
from faretra._aio import Turns, seconds, when_ready
from faretra._errors import ClosedError, EmptyError, Error, FullError, NoSpaceError
from faretra._native import Lease

__all__ = ["AsyncReceiver", "AsyncSender", "Lease", "Receiver", "Sender"]

Timeout = float | timedelta | None


class Sender(_native.Sender):
    """The sending end of a channel, made by `Arena.sender`. Any number of processes and threads may send.

    A `with` block closes the channel when it ends, for every sender; if it raises, the sender leaves and closes
    nothing. Where several processes send, let each `leave()`, and close the channel once.

    >>> with faretra.Arena.create("doc-sender", keep=False) as arena:
    ...     with arena.sender("jobs") as tx:
    ...         rx = arena.receiver("jobs")
    ...         tx.send({"job": 1})
    ...     list(rx)
    [{'job': 1}]
    """

    def send_all(self, values: Any, timeout: Timeout = None) -> int:
        """Send each batch of a table, or each value of an iterable, one by one. Returns how many items that were.

        Args:
            values: Anything with `__arrow_c_stream__` (its batches are sent), or an iterable.
            timeout: How long all of it may take, in seconds or as a timedelta.

        Raises:
            Error: Those of `send`. The error's attribute `sent` says how many items were sent before.

        >>> with faretra.Arena.create("doc-send-all", keep=False) as arena:
        ...     arena.sender("jobs").send_all(range(10))
        10
        """
        if hasattr(values, "__arrow_c_stream__"):
            sent, failed = self._send_batches(values, timeout)
            if failed is not None:
                raise _with_count(failed, sent)
            return sent
        return self._send_each(values, timeout)

    def _send_each(self, values: Iterable[Any], timeout: Timeout) -> int:
        allowed = seconds(timeout)
        ends = None if allowed is None else time.monotonic() + allowed
        sent = 0
        for value in values:
            try:
                self.send(value, None if ends is None else max(ends - time.monotonic(), 0.0))
            except Error as error:
                raise _with_count(error, sent) from None
            sent += 1
        return sent

    @property
    def aio(self) -> AsyncSender:
        """The sender on an event loop: `await tx.aio.send(value)`."""
        return AsyncSender(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if kind is None and not self.left:
            self.close()
        self.leave()


def _with_count(error: BaseException, sent: int) -> BaseException:
    if isinstance(error, Error):
        error.sent = sent
    return error


class Receiver(_native.Receiver):
    """The receiving end of a channel, made by `Arena.receiver`. Any number of processes and threads may receive.

    `for item in rx:` receives until the channel is closed. It acknowledges an item when the next one is asked for. If
    the body raises, or `break` leaves the loop, the item is given back, and the next receiver gets it: `break` before
    you begin with an item, or use `with rx.recv() as lease:`, which says what is done.

    `async for item in rx:` does the same on an event loop.

    >>> with faretra.Arena.create("doc-receiver", keep=False) as arena:
    ...     tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    ...     _ = tx.send_all([1, 2, 3])
    ...     tx.close()
    ...     sum(rx)
    6
    """

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                lease = self.recv()
            except ClosedError as error:
                if error.clean:
                    return
                raise
            try:
                yield lease.value
            except BaseException:
                lease.nack()
                raise
            lease.ack()
            # What was acknowledged is not kept while the next one is waited for.
            del lease

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Items(self)

    @property
    def aio(self) -> AsyncReceiver:
        """The receiver on an event loop: `await rx.aio.recv()`."""
        return AsyncReceiver(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()


class AsyncSender:
    """A sender on an event loop."""

    __slots__ = ("_sender",)

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def send(self, value: Any, timeout: Timeout = None) -> None:
        """Send a value, as `Sender.send` does, while the loop's other tasks go on. No thread waits.

        A task that is cancelled while it waits has sent nothing. Copying into the arena keeps the loop from its other tasks.

        Raises:
            Error: Those of `Sender.send`.

        >>> import asyncio
        >>> with faretra.Arena.create("doc-aio-send", keep=False) as arena:
        ...     tx = arena.sender("jobs")
        ...     asyncio.run(tx.aio.send("a job"))
        ...     len(tx)
        1
        """
        sender = self._sender
        prepared = sender._prepare(value)
        await when_ready(
            lambda: sender._try_send(prepared), sender.pollable, (FullError, NoSpaceError), timeout
        )


class AsyncReceiver:
    """A receiver on an event loop."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def recv(self, timeout: Timeout = None) -> Lease:
        """Receive the next item, as `Receiver.recv` does, while the loop's other tasks go on. No thread waits.

        A task that is cancelled while it waits has received nothing.

        Raises:
            Error: Those of `Receiver.recv`.

        >>> import asyncio
        >>> async def main(rx):
        ...     with await rx.aio.recv(timeout=5) as lease:
        ...         return lease.value
        >>> with faretra.Arena.create("doc-aio-recv", keep=False) as arena:
        ...     tx, rx = arena.sender("jobs"), arena.receiver("jobs")
        ...     tx.send("a job")
        ...     asyncio.run(main(rx))
        'a job'
        """
        receiver = self._receiver
        return await when_ready(receiver.try_recv, receiver.pollable, EmptyError, timeout)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Items(self._receiver)


class _Items:
    """The items of a channel on an event loop."""

    __slots__ = ("_lease", "_receiver", "_turns")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._lease: Lease | None = None
        self._turns = Turns()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._lease is not None:
            self._lease.ack()
            self._lease = None
        await self._turns.give()
        try:
            lease = await self._receiver.aio.recv()
        except ClosedError as error:
            if error.clean:
                raise StopAsyncIteration from None
            raise
        try:
            value = lease.value
        except BaseException:
            lease.nack()
            raise
        self._lease = lease
        return value
