"""Locks, semaphores, conditions, events and barriers, as `multiprocessing.synchronize` has them.

What differs is what a death does. What a process holds belongs to it, and the kernel tells the others when
it is gone:

| | when a process is killed |
|---|---|
| `Lock`, `RLock` that it holds | the next `acquire` gets it, and then `lock.recovered` is true |
| permits of a `Semaphore` | come back, as long as the semaphore is not used as a signal (below) |
| a wait at a `Condition` | is passed over; a notification that it got and did not use goes to the next |
| a wait at a `Barrier` | breaks it: the others raise `BrokenBarrierError` |

A semaphore is *used as a signal* when a process releases it that has none of its permits: a producer that
releases what consumers acquire. From then on it only counts, exactly, and deaths return nothing. A semaphore
that begins at 0, or above 1,024, counts from the beginning. A `Lock` that one process acquires and another
releases does the same.

A condition is not the standard's algorithm, whose `notify` waits for the waiters that it woke, dead ones
too. Here each waiter has a place on a list in shared memory and a bell of its own (`src/core/waiters.rs`),
and `notify` tells those that have waited longest. A process that is stopped keeps what it holds, and keeps
nobody else from anything else.
"""

from __future__ import annotations

import multiprocessing.context as standard_context
import threading
import time
from collections.abc import Callable
from multiprocessing import process
from typing import Any, Self, TypeVar

from faretra import _native
from faretra.multiprocessing._home import (
    Home,
    Key,
    attach_after_fork,
    home,
    join,
    keep_while_starting,
    remove_with,
)

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

RECURSIVE_MUTEX, SEMAPHORE = 0, 1
SEM_VALUE_MAX = _native.SemLock.SEM_VALUE_MAX
# How long a party of a barrier waits, in seconds, before it asks whether others died.
LOOK = 0.1

T = TypeVar("T")


class SemLock(_native.SemLock):
    """What locks and semaphores have in common. `acquire`, `release` and the blocks of `with` are native."""

    _where: Home

    def __new__(cls, kind: int, value: int, maxvalue: int, *, ctx: object = None) -> Self:
        """Make one: `kind` is `RECURSIVE_MUTEX` or `SEMAPHORE`."""
        return cls._make(kind, value, maxvalue)

    @classmethod
    def _make(cls, kind: int, value: int, maxvalue: int) -> Self:
        if not 0 <= value <= maxvalue <= SEM_VALUE_MAX:
            raise ValueError(f"the value of a semaphore is 0 to {SEM_VALUE_MAX}, not {value}")
        where = home()
        made = cls._open(where, where.name(cls.__name__.lower()), kind, value, maxvalue)
        remove_with(made, where, made.name)
        return made

    @classmethod
    def _open(cls, where: Home, name: str, kind: int, value: int | None, maxvalue: int) -> Self:
        opened = _native.SemLock.__new__(cls, where.arena, name, kind, value, maxvalue)
        opened._where = where
        attach_after_fork(opened, SemLock._attach)
        return opened

    def _attach(self) -> None:
        self._after_fork(self._where.arena)

    def __reduce__(self) -> tuple[Any, ...]:
        standard_context.assert_spawning(self)
        keep_while_starting(self)
        return _open_semlock, (type(self), self._where.key, self.name, self.kind, self.maxvalue)

    @property
    def _semlock(self) -> SemLock:
        """The object itself: programs look here for what `_multiprocessing.SemLock` has."""
        return self

    def _value(self) -> int | str:
        try:
            return self._get_value()
        except Exception:
            return "unknown"

    def _owner(self) -> str:
        """Who has it, as `repr` says it."""
        try:
            if self._is_mine():
                name = process.current_process().name
                thread = threading.current_thread().name
                return name if thread == "MainThread" else f"{name}|{thread}"
            if self._get_value() == 1:
                return "None"
            return "SomeOtherThread" if self._count() > 0 else "SomeOtherProcess"
        except Exception:
            return "unknown"


def _open_semlock(cls: type[SemLock], key: Key, name: str, kind: int, maxvalue: int) -> Any:
    return cls._open(join(key), name, kind, None, maxvalue)


class Semaphore(SemLock):
    """A number of permits. `release` may raise it above its first value, up to 2,147,483,647.

    `acquire(block=True, timeout=None)` takes one, and returns whether it did; `release()` gives one back. A
    first value below 0 raises `ValueError`.

    >>> from faretra import multiprocessing as mp
    >>> semaphore = mp.Semaphore(2)
    >>> with semaphore:
    ...     semaphore.get_value()
    1
    """

    def __new__(cls, value: int = 1, *, ctx: object = None) -> Self:
        """Make one with `value` free permits."""
        return cls._make(SEMAPHORE, value, SEM_VALUE_MAX)

    def get_value(self) -> int:
        """Return how many permits are free."""
        return self._get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._value()})>"


class BoundedSemaphore(Semaphore):
    """A number of permits. `release` raises `ValueError` above its first value.

    >>> from faretra import multiprocessing as mp
    >>> semaphore = mp.BoundedSemaphore(1)
    >>> semaphore.acquire(), semaphore.acquire(block=False)
    (True, False)
    >>> semaphore.release()
    """

    def __new__(cls, value: int = 1, *, ctx: object = None) -> Self:
        """Make one with `value` free permits."""
        return cls._make(SEMAPHORE, value, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._value()}, maxvalue={self.maxvalue})>"


class Lock(SemLock):
    """A lock that one thread of one process has at a time. Any thread of any process may release it.

    `acquire(block=True, timeout=None)` waits for it, `timeout` seconds at most, and returns whether it has it
    now. `release()` raises `ValueError` if nobody has it. `recovered` says whether the last `acquire` in this
    process got the lock of a process that died with it.

    >>> from faretra import multiprocessing as mp
    >>> lock = mp.Lock()
    >>> with lock:
    ...     lock.acquire(timeout=0.01), lock.recovered
    (False, False)
    """

    def __new__(cls, *, ctx: object = None) -> Self:
        """Make one that nobody has."""
        return cls._make(SEMAPHORE, 1, 1)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={self._owner()})>"


class RLock(SemLock):
    """A lock that the thread that has it may acquire again, and releases as often.

    `release()` raises `AssertionError` in any other thread.

    >>> from faretra import multiprocessing as mp
    >>> lock = mp.RLock()
    >>> with lock, lock:
    ...     lock
    <RLock(MainProcess, 2)>
    """

    def __new__(cls, *, ctx: object = None) -> Self:
        """Make one that nobody has."""
        return cls._make(RECURSIVE_MUTEX, 1, 1)

    def __repr__(self) -> str:
        owner = self._owner()
        try:
            count = {"None": 0, "unknown": "unknown"}.get(
                owner, self._count() if self._is_mine() else "nonzero"
            )
        except Exception:
            owner, count = "unknown", "unknown"
        return f"<{type(self).__name__}({owner}, {count})>"


class Condition:
    """A condition variable, over a lock: waiters are told by `notify`, those first that have waited longest.

    At most 1,024 threads of all processes wait at a condition at the same time; one more raises
    `TooLargeError`. Waiting and notifying without the lock raises `AssertionError`.

    >>> from faretra import multiprocessing as mp
    >>> condition = mp.Condition()
    >>> with condition:
    ...     condition.notify_all()
    ...     condition.wait_for(lambda: True), condition.wait(timeout=0.01)
    (True, False)
    """

    def __init__(self, lock: Any = None, *, ctx: object = None) -> None:
        where = home()
        self._set(lock or RLock(), where, _native.Waiters(where.arena, where.name("condition"), True))
        remove_with(self, where, self._waiters.name)

    def _set(self, lock: Any, where: Home, waiters: _native.Waiters) -> None:
        self._lock, self._where, self._waiters = lock, where, waiters
        self.acquire: Callable[..., bool] = lock.acquire
        self.release: Callable[[], None] = lock.release
        attach_after_fork(self, Condition._attach)

    def _attach(self) -> None:
        self._waiters._after_fork(self._where.arena)

    def __getstate__(self) -> tuple[Any, Key, str]:
        standard_context.assert_spawning(self)
        keep_while_starting(self)
        return (self._lock, self._where.key, self._waiters.name)

    def __setstate__(self, state: tuple[Any, Key, str]) -> None:
        lock, key, name = state
        where = join(key)
        self._set(lock, where, _native.Waiters(where.arena, name, False))

    def __enter__(self) -> bool:
        return bool(self._lock.__enter__())

    def __exit__(self, *args: object) -> None:
        self._lock.__exit__(*args)

    def __repr__(self) -> str:
        try:
            waiting: int | str = self._waiters.waiting()
        except Exception:
            waiting = "unknown"
        return f"<{type(self).__name__}({self._lock}, {waiting})>"

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, acquire it again. Return false after `timeout` seconds."""
        assert self._lock._semlock._is_mine(), "must acquire() condition before using wait()"
        waiter = self._waiters.enlist()
        count = self._lock._semlock._count()
        for _ in range(count):
            self._lock.release()
        try:
            waiter.wait(timeout)
        except BaseException:
            self._return(count)
            # It may have been told to go on, and it goes with an exception: another is told.
            waiter.abandon()
            raise
        self._return(count)
        return waiter.leave()

    def _return(self, count: int) -> None:
        for _ in range(count):
            self._lock.acquire()

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate()` is true, `timeout` seconds at most, and return what it returned last."""
        result = predicate()
        end = None if timeout is None else time.monotonic() + timeout
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Tell up to `n` waiters to go on."""
        assert self._lock._semlock._is_mine(), "lock is not owned"
        self._waiters.notify(min(n, SEM_VALUE_MAX))

    def notify_all(self) -> None:
        """Tell all waiters to go on."""
        self.notify(SEM_VALUE_MAX)


class Event:
    """A flag that processes wait for. Who waits when it is set goes on, even if it is cleared at once.

    >>> from faretra import multiprocessing as mp
    >>> event = mp.Event()
    >>> event.wait(timeout=0.01)
    False
    >>> event.set()
    >>> event.wait()
    True
    """

    def __init__(self, *, ctx: object = None) -> None:
        where = home()
        self._set(where, _native.Event(where.arena, where.name("event")))
        remove_with(self, where, self._event.name)

    def _set(self, where: Home, event: _native.Event) -> None:
        self._where, self._event = where, event
        attach_after_fork(self, Event._attach)

    def _attach(self) -> None:
        self._event = _native.Event(self._where.arena, self._event.name, None)

    def __getstate__(self) -> tuple[Key, str]:
        standard_context.assert_spawning(self)
        keep_while_starting(self)
        return (self._where.key, self._event.name)

    def __setstate__(self, state: tuple[Key, str]) -> None:
        key, name = state
        where = join(key)
        self._set(where, _native.Event(where.arena, name, None))

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._event.is_set()

    def set(self) -> None:
        """Set the flag: all that wait go on."""
        self._event.set()

    def clear(self) -> None:
        """Clear the flag."""
        self._event.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set. Return false if it is not within `timeout` seconds."""
        return self._event.wait(timeout)

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"


class Barrier(threading.Barrier):
    """A point that `parties` threads and processes pass together. It breaks when one that waits there dies.

    The states are those of `threading.Barrier`. The parties that are there have a place on a list that
    deaths leave too; so how many there are is what the list says.

    >>> from faretra import multiprocessing as mp
    >>> mp.Barrier(1).wait()
    0
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,
    ) -> None:
        from faretra.multiprocessing.heap import BufferWrapper

        if parties < 1:
            raise ValueError("parties must be > 0")
        where = home()
        here = _native.Waiters(where.arena, where.name("barrier"), True)
        self._set((parties, action, timeout, Condition(), BufferWrapper(4)), where, here)
        self._state = 0
        remove_with(self, where, here.name)

    def _set(self, state: tuple[Any, ...], where: Home, here: _native.Waiters) -> None:
        self._parties, self._action, self._timeout, self._cond, self._wrapper = state
        self._array = self._wrapper.create_memoryview().cast("i")
        self._where, self._here = where, here
        attach_after_fork(self, Barrier._attach)

    def _attach(self) -> None:
        self._here._after_fork(self._where.arena)

    def __getstate__(self) -> tuple[Any, ...]:
        standard_context.assert_spawning(self)
        keep_while_starting(self)
        state = (self._parties, self._action, self._timeout, self._cond, self._wrapper)
        return (state, self._where.key, self._here.name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        parts, key, name = state
        where = join(key)
        self._set(parts, where, _native.Waiters(where.arena, name, False))

    @property
    def _state(self) -> int:
        return int(self._array[0])

    @_state.setter
    def _state(self, value: int) -> None:
        self._array[0] = value

    @property
    def _count(self) -> int:
        return self._here.waiting()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties are here, and return which of them this is: 0 to `parties - 1`.

        Raises `threading.BrokenBarrierError` if the barrier is broken or reset, if a party dies here, or
        after `timeout` seconds, which breaks it.
        """
        if timeout is None:
            timeout = self._timeout
        with self._cond:
            self._enter()
            index = self._count
            place = self._here.enlist()
            try:
                if index + 1 == self._parties:
                    self._release()
                else:
                    self._wait(timeout)
                return index
            finally:
                place.leave()
                self._exit()

    def _enter(self) -> None:
        self._wait_while(lambda: self._state in (-1, 1), None)
        if self._state < 0:
            raise threading.BrokenBarrierError

    def _wait(self, timeout: float | None) -> None:
        if not self._wait_while(lambda: self._state == 0, timeout):
            self._break()
            raise threading.BrokenBarrierError
        if self._state < 0:
            raise threading.BrokenBarrierError

    def _wait_while(self, waits: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until it is no more so. Looks for deaths meanwhile."""
        end = None if timeout is None else time.monotonic() + timeout
        self._look()
        while waits():
            left = LOOK if end is None else min(LOOK, end - time.monotonic())
            if left <= 0:
                return False
            self._cond.wait(left)
            self._look()
        return True

    def _release(self) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._break()
            raise
        self._state = 1
        self._cond.notify_all()

    def _break(self) -> None:
        self._state = -2
        self._cond.notify_all()

    def _exit(self) -> None:
        # The last one out makes it ready for the next round.
        if self._count == 0 and self._state in (-1, 1):
            self._state = 0
            self._cond.notify_all()

    def _look(self) -> None:
        """Break the barrier if a party has died that waited here."""
        if self._here.lost():
            if self._state == 0:
                self._break()
            else:
                # It was on its way out.
                self._exit()
