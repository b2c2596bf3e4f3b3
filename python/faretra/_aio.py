"""Waits on an event loop: without a thread, and so that a task can be cancelled at any time.

Everything here tries first, and waits only for a descriptor to become readable (`faretra.Pollable`). What an attempt came to
is returned at once, with no `await` in between: a task that is cancelled while it waits has received, sent or locked
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from faretra._errors import InvalidError, NoSpaceError, TimeoutError

if TYPE_CHECKING:
    import asyncio

    from faretra import _native

T = TypeVar("T")
Timeout = float | timedelta | None
Exceptions = type[Exception] | tuple[type[Exception], ...]

# After so many seconds, what nothing tells of is looked at again: memory that came back, a server that died.
AGAIN = 0.09
# For so many seconds at most, an iterator that never has to wait keeps the loop from its other tasks.
_SHARE = 0.005


def seconds(timeout: Timeout) -> float | None:
    """Return a timeout in seconds; what is over already is 0."""
    if timeout is None:
        return None
    number = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if number != number:
        raise InvalidError("a timeout cannot be NaN")
    return max(number, 0.0)


def timed_out(waited: float) -> TimeoutError:
    """Return the error of a wait that took too long."""
    error = TimeoutError(f"what was waited for did not come within {waited:g} s")
    error.code = "timed_out"
    return error


async def readable(pollable: _native.Pollable, timeout: float | None = None) -> bool:
    """Wait until a descriptor is readable. Returns `False` if it was not, after `timeout` seconds.

    One task at a time waits for a `Pollable`: each wait makes its own.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    woken: asyncio.Future[bool] = loop.create_future()
    descriptor = pollable.fileno()
    loop.add_reader(descriptor, _wake, woken, True)
    timer = None if timeout is None else loop.call_later(timeout, _wake, woken, False)
    try:
        return await woken
    finally:
        if timer is not None:
            timer.cancel()
        if not loop.is_closed():
            loop.remove_reader(descriptor)
        # The traceback of an exception would keep it.
        del pollable


async def _sleep(seconds: float) -> None:
    # Imported by the first task that waits: of the package's import it would be more than half.
    import asyncio

    await asyncio.sleep(seconds)


def _wake(woken: asyncio.Future[bool], ready: bool) -> None:
    if not woken.done():
        woken.set_result(ready)


async def when_ready(
    attempt: Callable[[], T],
    pollable: Callable[[], _native.Pollable],
    not_yet: Exceptions,
    timeout: Timeout = None,
    look_again: float | None = None,
) -> T:
    """Call `attempt` until it does not raise `not_yet`, and wait in between until the descriptor is readable.

    Args:
        attempt: What is tried. It must not wait.
        pollable: Makes the descriptor, if the first attempt came to nothing.
        not_yet: What `attempt` raises if it may come to something later. Of a `NoSpaceError` that is named here, the
            wait is a sleep, as no descriptor tells of memory; if more was asked for than there can be, it is raised at once.
        timeout: How long this may take, in seconds. With 0, there is one attempt, whose exception is raised.
        look_again: After how many seconds there is another attempt, even if the descriptor is not readable.

    Raises:
        TimeoutError: It took longer than `timeout`.
    """
    allowed = seconds(timeout)
    ends = None if allowed is None else time.monotonic() + allowed
    ready: _native.Pollable | None = None
    try:
        while True:
            of_memory = False
            try:
                return attempt()
            except not_yet as error:
                if allowed == 0:
                    raise
                if isinstance(error, NoSpaceError):
                    of_memory = True
                    if getattr(error, "asked", 0) > getattr(error, "of", 0):
                        raise
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise timed_out(allowed or 0.0)
            if of_memory:
                await _sleep(AGAIN if left is None else min(AGAIN, left))
                continue
            if ready is None:
                ready = pollable()
            elif ready.rearm():
                # Somebody else was faster. The loop's other tasks have their turn.
                await _sleep(0)
                continue
            await readable(
                ready, look_again if left is None else left if look_again is None else min(look_again, left)
            )
    finally:
        # The traceback of an exception would keep the descriptor, and that its end.
        del ready


class Turns:
    """Lets the loop's other tasks have their turn, now and then, while an iterator never has to wait."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def give(self) -> None:
        """Let the others have their turn if it is time for that."""
        if time.monotonic() - self._since > _SHARE:
            await _sleep(0)
            self._since = time.monotonic()
