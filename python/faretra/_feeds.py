"""Feeds: histories of values that every subscriber reads in order, each at its own pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from faretra import _native
from faretra._aio import Turns, when_ready
from faretra._errors import ClosedError, EmptyError, FullError, LaggedError, NoSpaceError

if TYPE_CHECKING:
    from faretra._native import Arena

__all__ = ["AsyncFeed", "AsyncSubscriber", "Feed", "Subscriber"]

Timeout = float | timedelta | None
OnLag = Literal["raise", "skip"]


class Feed(_native.Feed):
    """The producing end of a feed, made by `Arena.feed`. Any number of processes and threads may append.

    A `with` block closes the feed when it ends, for every producer; if it raises, the producer leaves and closes nothing.

    >>> with faretra.Arena.create("doc-feed", keep=False) as arena:
    ...     with arena.feed("ticks", capacity=100) as feed:
    ...         for price in (1.5, 1.6):
    ...             feed.append({"price": price})
    ...     list(arena.subscribe("ticks"))
    [{'price': 1.5}, {'price': 1.6}]
    """

    @property
    def aio(self) -> AsyncFeed:
        """The producer on an event loop: `await feed.aio.append(value)`."""
        return AsyncFeed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if kind is None and not self.left:
            self.close()
        self.leave()


class Subscriber(_native.Subscriber):
    """The reading end of a feed, made by `Arena.subscribe`: it gets every item from where it starts.

    `for item in sub:` reads until the feed is closed. It raises `LaggedError` when items were dropped before they were
    read; the next `for` goes on behind them. A subscriber that was made with `on_lag="skip"` goes on without a word.

    `async for item in sub:` does the same on an event loop. One thread or task at a time reads with a subscriber.

    >>> with faretra.Arena.create("doc-subscriber", keep=False) as arena:
    ...     feed = arena.feed("ticks", capacity=10)
    ...     for number in range(3):
    ...         feed.append(number)
    ...     feed.close()
    ...     list(arena.subscribe("ticks", start=1))
    [1, 2]
    """

    _on_lag: OnLag

    def __new__(
        cls,
        arena: Arena,
        name: str,
        start: Literal["oldest", "newest"] | int = "oldest",
        *,
        wait: bool = False,
        timeout: Timeout = None,
        on_lag: OnLag = "raise",
        when_deserted: Literal["fail", "block"] = "fail",
    ) -> Self:
        """Subscribe: see `Arena.subscribe`."""
        if on_lag not in ("raise", "skip"):
            raise ValueError(f"on_lag is 'raise' or 'skip', not {on_lag!r}")
        self = super().__new__(cls, arena, name, start, wait, timeout, when_deserted)
        self._on_lag = on_lag
        return self

    def __iter__(self) -> Iterator[Any]:
        return self._items(self.recv)

    def follow(self, timeout: Timeout = None) -> Iterator[Any]:
        """Iterate over the items as they come, and wait for producers that left or died to come back.

        The iteration ends when the feed is closed. `for item in sub:` also ends, with a `ClosedError`, when the last
        producer left.

        Args:
            timeout: How long each item may take, in seconds or as a timedelta.

        Raises:
            TimeoutError: No item came in time.
            LaggedError: Items were dropped before they were read, and the subscriber does not skip.

        >>> with faretra.Arena.create("doc-follow", keep=False) as arena:
        ...     feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
        ...     feed.append(1)
        ...     feed.leave()
        ...     next(sub.follow(timeout=5))
        1
        """
        return self._items(lambda: self._recv_patiently(timeout))

    def _items(self, recv: Callable[[], Any]) -> Iterator[Any]:
        while True:
            try:
                item = recv()
            except LaggedError:
                if self._on_lag == "skip":
                    continue
                raise
            except ClosedError as error:
                if error.clean:
                    return
                raise
            yield item
            # What was read is not kept while the next one is waited for.
            del item

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Items(self, self.aio.recv)

    @property
    def aio(self) -> AsyncSubscriber:
        """The subscriber on an event loop: `await sub.aio.recv()`."""
        return AsyncSubscriber(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()


class AsyncFeed:
    """A producer on an event loop."""

    __slots__ = ("_feed",)

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def append(self, value: Any, timeout: Timeout = None) -> None:
        """Append a value, as `Feed.append` does, while the loop's other tasks go on. No thread waits.

        A task that is cancelled while it waits has appended nothing.

        Raises:
            Error: Those of `Feed.append`.

        >>> import asyncio
        >>> with faretra.Arena.create("doc-aio-append", keep=False) as arena:
        ...     feed = arena.feed("ticks", capacity=10)
        ...     asyncio.run(feed.aio.append(1.5))
        ...     feed.position
        1
        """
        feed = self._feed
        prepared = feed._prepare(value)
        not_yet = NoSpaceError if feed.when_full == "fail" else (FullError, NoSpaceError)
        await when_ready(lambda: feed._try_append(prepared), feed.pollable, not_yet, timeout)


class AsyncSubscriber:
    """A subscriber on an event loop."""

    __slots__ = ("_subscriber",)

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    async def recv(self, timeout: Timeout = None) -> Any:
        """Return the next item, as `Subscriber.recv` does, while the loop's other tasks go on. No thread waits.

        A task that is cancelled while it waits has read nothing.

        Raises:
            Error: Those of `Subscriber.recv`.

        >>> import asyncio
        >>> with faretra.Arena.create("doc-aio-read", keep=False) as arena:
        ...     feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
        ...     feed.append(1.5)
        ...     asyncio.run(sub.aio.recv(timeout=5))
        1.5
        """
        subscriber = self._subscriber
        return await when_ready(subscriber.try_recv, subscriber.pollable, EmptyError, timeout)

    def follow(self, timeout: Timeout = None) -> AsyncIterator[Any]:
        """Iterate over the items as they come, as `Subscriber.follow` does, while the loop's other tasks go on.

        Raises:
            Error: Those of `Subscriber.follow`.

        >>> import asyncio
        >>> async def main(sub):
        ...     return [item async for item in sub.aio.follow()]
        >>> with faretra.Arena.create("doc-aio-follow", keep=False) as arena:
        ...     feed, sub = arena.feed("ticks", capacity=10), arena.subscribe("ticks")
        ...     feed.append(1.5)
        ...     feed.close()
        ...     asyncio.run(main(sub))
        [1.5]
        """
        subscriber = self._subscriber

        def attempt() -> Any:
            return subscriber._recv_patiently(0)

        return _Items(
            subscriber,
            lambda: when_ready(attempt, subscriber._pollable_patiently, EmptyError, timeout),
        )

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Items(self._subscriber, self.recv)


class _Items:
    """The items of a feed on an event loop."""

    __slots__ = ("_recv", "_subscriber", "_turns")

    def __init__(self, subscriber: Subscriber, recv: Callable[[], Any]) -> None:
        self._subscriber = subscriber
        self._recv = recv
        self._turns = Turns()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            await self._turns.give()
            try:
                return await self._recv()
            except LaggedError:
                if self._subscriber._on_lag == "raise":
                    raise
            except ClosedError as error:
                if error.clean:
                    raise StopAsyncIteration from None
                raise
