"""Contexts: the standard's, with their queues, locks, pools and managers replaced by ours.

Processes are the standard's own. So is the start method: `set_start_method` here and in `multiprocessing` is one setting,
since a spawned child restores the standard's.
"""

from __future__ import annotations

import multiprocessing.context as standard
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from faretra.multiprocessing import connection, pool, queues, sharedctypes, synchronize

if TYPE_CHECKING:
    from faretra.multiprocessing import managers

Method = Literal["fork", "spawn", "forkserver"]


class _Factories(standard.BaseContext):
    """What a context makes. The signatures and meanings are those of `multiprocessing`."""

    def get_context(self, method: str | None = None) -> Any:
        if method is None:
            return self
        found = _concrete.get(method)
        if found is None:
            raise ValueError(
                f"cannot find context for {method!r}: the start methods are {', '.join(_concrete)}"
            )
        return found

    def Manager(self) -> managers.SyncManager:
        """Return a manager, with its server process started."""
        # Few programs need it, and each process that is spawned imports what its program imports.
        from faretra.multiprocessing import managers

        manager = managers.SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, duplex: bool = True
    ) -> tuple[connection.Connection, connection.Connection]:
        """Return the two ends of a pipe. With `duplex=False`, the first only receives and the second only sends."""
        return connection.Pipe(duplex)

    def Lock(self) -> synchronize.Lock:  # type: ignore[override]
        """Return a lock. It is free again when a process that has it dies."""
        return synchronize.Lock(ctx=self.get_context())

    def RLock(self) -> synchronize.RLock:  # type: ignore[override]
        """Return a lock that the thread that has it can acquire again."""
        return synchronize.RLock(ctx=self.get_context())

    def Condition(  # type: ignore[override]
        self, lock: synchronize.Lock | synchronize.RLock | None = None
    ) -> synchronize.Condition:
        """Return a condition variable, over `lock` or an `RLock` of its own."""
        return synchronize.Condition(lock, ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> synchronize.Semaphore:  # type: ignore[override]
        """Return a semaphore with `value` free permits."""
        return synchronize.Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> synchronize.BoundedSemaphore:  # type: ignore[override]
        """Return a semaphore that never has more than `value` free permits."""
        return synchronize.BoundedSemaphore(value, ctx=self.get_context())

    def Event(self) -> synchronize.Event:  # type: ignore[override]
        """Return an event that is not set."""
        return synchronize.Event(ctx=self.get_context())

    def Barrier(  # type: ignore[override]
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> synchronize.Barrier:
        """Return a barrier for `parties` processes and threads."""
        return synchronize.Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize: int = 0) -> queues.Queue[Any]:  # type: ignore[override]
        """Return a queue for `maxsize` items, or for any number of them if that is 0 or less."""
        return queues.Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> queues.JoinableQueue[Any]:  # type: ignore[override]
        """Return a queue with `task_done` and `join`."""
        return queues.JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> queues.SimpleQueue[Any]:  # type: ignore[override]
        """Return a queue with `get`, `put`, `empty` and `close` only."""
        return queues.SimpleQueue(ctx=self.get_context())

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        when_lost: pool.WhenLost = "raise",
    ) -> pool.Pool:
        """Return a pool of worker processes.

        `when_lost` says what becomes of a task whose worker died: it raises `WorkerLost`, or is run again ("retry").
        """
        return pool.Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            context=self.get_context(),
            when_lost=when_lost,
        )

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Return a ctypes object in shared memory."""
        return sharedctypes.RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Return a ctypes array in shared memory."""
        return sharedctypes.RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return a ctypes object in shared memory, with a lock unless `lock=False`."""
        return sharedctypes.Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return a ctypes array in shared memory, with a lock unless `lock=False`."""
        return sharedctypes.Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())


class ForkContext(_Factories, standard.ForkContext):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Processes are forked."""


class SpawnContext(_Factories, standard.SpawnContext):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Processes are started anew, and import what they need."""


class ForkServerContext(_Factories, standard.ForkServerContext):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Processes are forked by a server that has no threads."""


_concrete: dict[str, _Factories] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}


class DefaultContext(_Factories, standard.DefaultContext):  # pyright: ignore[reportIncompatibleMethodOverride]
    """The context of the module's functions: that of the start method, as `multiprocessing` has it."""

    def __init__(self) -> None:
        super().__init__(standard._default_context)

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of a start method, or that of the current one: a `BaseContext` as the standard's."""
        if method is None:
            method = standard._default_context.get_start_method()
        return _Factories.get_context(self, method)

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Set how processes are started, in `multiprocessing` too."""
        standard._default_context.set_start_method(method, force)

    def get_start_method(self, allow_none: bool = False) -> str | None:  # type: ignore[override]
        """Return how processes are started."""
        return standard._default_context.get_start_method(allow_none)


default = DefaultContext()
