"""Locks and events on an event loop: without a thread, and so that a task can be cancelled at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from faretra._aio import seconds, when_ready
from faretra._errors import TimeoutError

if TYPE_CHECKING:
    from faretra._native import Event, Mutex, MutexGuard, Permit, Semaphore

__all__ = ["EventAio", "MutexAio", "SemaphoreAio"]

Timeout = float | timedelta | None

# How often a waiter looks whether the holder died, in seconds.
_LOOK_AGAIN = 0.1


class _NotSet(Exception):
    """An event is not set yet."""


class MutexAio:
    """The waits of a mutex, for an event loop: `mutex.aio`.

    A task that is cancelled while it waits has locked nothing.

    >>> import asyncio
    >>> async def main():
    ...     with faretra.Arena.create("doc-mutex-aio", keep=False) as arena:
    ...         mutex = arena.mutex("m")
    ...         async with mutex.aio as guard:
    ...             return mutex.locked(), guard.recovered
    >>> asyncio.run(main())
    (True, False)
    """

    def __init__(self, mutex: Mutex) -> None:
        self._mutex = mutex
        self._entered: list[MutexGuard] = []

    async def lock(self, timeout: Timeout = None) -> MutexGuard:
        """Wait until the mutex is free, and lock it; the guard is that of `Mutex.lock`.

        Raises:
            TimeoutError: The mutex is not free after `timeout` seconds.
        """
        mutex = self._mutex
        return await when_ready(
            lambda: mutex.lock(timeout=0), mutex.pollable, TimeoutError, timeout, look_again=_LOOK_AGAIN
        )

    async def __aenter__(self) -> MutexGuard:
        guard = await self.lock()
        self._entered.append(guard)
        return guard

    async def __aexit__(self, *exc: object) -> None:
        guard = self._entered.pop()
        if exc[0] is not None:
            guard.mark_inconsistent()
        guard.release()


class SemaphoreAio:
    """The waits of a semaphore, for an event loop: `semaphore.aio`.

    A task that is cancelled while it waits has taken nothing.

    >>> import asyncio
    >>> async def main():
    ...     with faretra.Arena.create("doc-semaphore-aio", keep=False) as arena:
    ...         gpus = arena.semaphore("gpus", 2)
    ...         async with gpus.aio:
    ...             return gpus.available()
    >>> asyncio.run(main())
    1
    """

    def __init__(self, semaphore: Semaphore) -> None:
        self._semaphore = semaphore
        self._entered: list[Permit] = []

    async def permit(self, timeout: Timeout = None) -> Permit:
        """Wait until a permit is free, and take it; the permit is that of `Semaphore.permit`.

        Raises:
            TimeoutError: No permit is free after `timeout` seconds.
        """
        semaphore = self._semaphore
        return await when_ready(
            lambda: semaphore.permit(timeout=0),
            semaphore.pollable,
            TimeoutError,
            timeout,
            look_again=_LOOK_AGAIN,
        )

    async def __aenter__(self) -> Permit:
        permit = await self.permit()
        self._entered.append(permit)
        return permit

    async def __aexit__(self, *exc: object) -> None:
        self._entered.pop().release()


class EventAio:
    """The wait of an event, for an event loop: `event.aio`.

    A task that is cancelled while it waits has reset nothing.

    >>> import asyncio
    >>> async def main():
    ...     with faretra.Arena.create("doc-event-aio", keep=False) as arena:
    ...         event = arena.event("go")
    ...         event.set()
    ...         return await event.aio.wait(timeout=5)
    >>> asyncio.run(main())
    True
    """

    def __init__(self, event: Event) -> None:
        self._event = event

    async def wait(self, timeout: Timeout = None) -> bool:
        """Wait until the event is set, and return `True`; or `False` after `timeout` seconds.

        Resets an event of `auto_reset`.
        """
        event = self._event

        def attempt() -> bool:
            if not event.wait(timeout=0):
                raise _NotSet
            return True

        allowed = seconds(timeout)
        try:
            return await when_ready(attempt, event.pollable, _NotSet, allowed)
        except (_NotSet, TimeoutError):
            return False
