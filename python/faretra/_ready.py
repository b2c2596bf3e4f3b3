"""Waits for several things at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar

from faretra import _native
from faretra._native import Pollable

__all__ = ["Pollable", "select"]

Handle = TypeVar("Handle")


def select(handles: Iterable[Handle], timeout: float | timedelta | None = None) -> list[Handle]:
    """Wait until something can be done with at least one of `handles`, and return those with which something can.

    A receiver is ready when there is an item, a sender when there is room, a subscriber when there is an item to be
    read, a feed when an append would not wait for a subscriber; and each of them when its other end closed or left. It
    is a hint: another process may be faster, so call `recv(timeout=0)` and its likes then. No descriptor is needed for it.

    Args:
        handles: Receivers, senders, subscribers and feeds, also of several arenas.
        timeout: How long to wait, in seconds or as a timedelta; 0: not at all. Without it, as long as it takes.

    Returns:
        Those that are ready, in the order given; none of them if the timeout is over.

    Raises:
        InvalidError: There are no handles.
        TypeError: One of them cannot be waited for.

    >>> with faretra.Arena.create("doc-select", keep=False) as arena:
    ...     jobs, urgent = arena.sender("jobs"), arena.sender("urgent")
    ...     receivers = [arena.receiver("jobs"), arena.receiver("urgent")]
    ...     urgent.send("now")
    ...     [rx.name for rx in faretra.select(receivers, timeout=5)]
    ['urgent']
    """
    given = list(handles)
    return [given[number] for number in _native._select(given, timeout)]
