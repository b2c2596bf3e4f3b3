"""Waits for the next version of a name on an event loop: without a thread, and a task can be cancelled at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from faretra._aio import when_ready
from faretra._errors import TimeoutError

if TYPE_CHECKING:
    from faretra import _native

__all__ = ["ArenaAio", "RefAio"]

Timeout = float | timedelta | None


class ArenaAio:
    """The waits of an arena, for an event loop: `arena.aio`.

    >>> import asyncio
    >>> async def main():
    ...     with faretra.Arena.create("doc-arena-aio", keep=False) as arena:
    ...         asyncio.get_running_loop().call_later(0.01, arena.put, "x", b"one")
    ...         return bytes(await arena.aio.wait_for("x", timeout=5))
    >>> asyncio.run(main())
    b'one'
    """

    def __init__(self, arena: _native.Arena) -> None:
        self._arena = arena

    async def wait_for(self, name: str, newer_than: int = 0, timeout: Timeout = None) -> Any:
        """Wait until `name` has a version newer than `newer_than`, and return that value, as `Arena.wait_for` does.

        Raises:
            TimeoutError: There was none in time.
        """
        arena = self._arena
        return await when_ready(
            lambda: arena.wait_for(name, newer_than, timeout=0),
            lambda: arena._pollable(name, newer_than),
            TimeoutError,
            timeout,
        )


class RefAio:
    """The wait of a reference, for an event loop: `ref.aio`.

    >>> import asyncio
    >>> async def main():
    ...     with faretra.Arena.create("doc-ref-aio", keep=False) as arena:
    ...         model = arena.ref("model")
    ...         asyncio.get_running_loop().call_later(0.01, arena.put, "model", {"bias": 1})
    ...         return await model.aio.wait(timeout=5), model.version
    >>> asyncio.run(main())
    ({'bias': 1}, 1)
    """

    def __init__(self, ref: _native.Ref) -> None:
        self._ref = ref

    async def wait(self, timeout: Timeout = None) -> Any:
        """Wait for a version that neither `get` nor `wait` had returned, and return that value, as `Ref.wait` does.

        Raises:
            TimeoutError: There was none in time.
        """
        ref = self._ref
        # Another task that gets a value meanwhile does not take it from this one.
        known = ref.version
        return await when_ready(
            lambda: ref._newer(known), lambda: ref._pollable(known), TimeoutError, timeout
        )
