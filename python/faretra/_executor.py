"""`ProcessPoolExecutor`: that of `concurrent.futures`, over a pool that goes on when a worker dies.

The pool has a few more calls than workers, so that workers do not wait for the next one; the others wait here, where they
can be cancelled. What goes on between the executor and the pool is in `_Flow`, which the pool's threads know, and which does
not keep the executor: when that is collected, the calls that were submitted are done, and the workers end.

What differs from the standard's:

* A worker that dies fails the future of its call only, with `BrokenProcessPool`, and is replaced; the executor goes on. It
  is broken as a whole if the initializer raises, or if workers die in it again and again.
* `max_tasks_per_child` works with each start method. `fork` is allowed at any time: workers do not use what other threads of
  the parent had locked.
* Leaving a `with` block, or the program, by Ctrl-C cancels the calls that no worker has begun.
* All workers are started with the first call.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from typing import Any, TypeVar

from faretra.multiprocessing.context import default
from faretra.multiprocessing.pool import Pool, WorkerLost

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]

# How many calls the pool has beyond one for each worker. They cannot be cancelled.
EXTRA = 1

T = TypeVar("T")

_executors: weakref.WeakSet[ProcessPoolExecutor] = weakref.WeakSet()


class _Pool(Pool):
    _daemon = False
    _strict = True


def _call(fn: Callable[..., Any], args: Any, kwargs: Any) -> tuple[bool, Any]:
    """Call `fn`, in a worker. Its errors come back as values: what the pool raises are errors of its own."""
    try:
        return (True, fn(*args, **kwargs))
    except BaseException as error:
        return (False, ExceptionWithTraceback(error, error.__traceback__))


def _call_each(fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    return [fn(*args) for args in chunk]


class _Flow:
    """The calls that wait, and those that the pool has."""

    def __init__(self, workers: int, make_pool: Callable[[], Pool]) -> None:
        self._most = workers + EXTRA
        self._make_pool = make_pool
        self._lock = threading.RLock()
        self._waiting: collections.deque[tuple[futures.Future[Any], Any]] = collections.deque()
        self._at_pool = 0
        self._closing = False
        self._inherited = False
        self.pool: Pool | None = None

    def fork(self) -> None:
        """In a forked child: the pool and its threads are the parent's, and one of them may have had the lock."""
        self._lock = threading.RLock()
        self._waiting.clear()
        self._inherited = self._inherited or self.pool is not None
        self.pool = None

    def add(self, future: futures.Future[Any], call: Any) -> None:
        with self._lock:
            if self._inherited:
                raise RuntimeError(
                    "this executor belongs to the process that this one was forked from: make one here"
                )
            if self.pool is not None and self.pool._traffic.broken is not None:
                raise BrokenProcessPool(str(self.pool._traffic.broken))
            if self._closing:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self.pool is None:
                self.pool = self._make_pool()
            self._waiting.append((future, call))
            self._feed()

    def _feed(self) -> None:
        """Hand calls to the pool, until it has enough; close it after the last one."""
        assert self.pool is not None
        while self._waiting and self._at_pool < self._most:
            future, call = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._at_pool += 1
            self.pool.apply_async(
                _call,
                call,
                callback=partial(self._done, future),
                error_callback=partial(self._failed, future),
            )
        if self._closing and not self._waiting and not self._at_pool:
            self.pool.close()

    def _next(self) -> None:
        with self._lock:
            self._at_pool -= 1
            self._feed()

    def _done(self, future: futures.Future[Any], outcome: tuple[bool, Any]) -> None:
        worked, value = outcome
        # The next call is on its way before this one's callbacks run.
        self._next()
        with contextlib.suppress(futures.InvalidStateError):
            if worked:
                future.set_result(value)
            else:
                future.set_exception(value)

    def _failed(self, future: futures.Future[Any], error: BaseException) -> None:
        if isinstance(error, WorkerLost):
            lost, error = error, BrokenProcessPool(str(error))
            error.__cause__ = lost
        self._next()
        with contextlib.suppress(futures.InvalidStateError):
            future.set_exception(error)

    def close(self, cancel: bool) -> None:
        """Take no more calls; cancel those that no worker can have begun."""
        with self._lock:
            self._closing = True
            if cancel:
                waiting, self._waiting = self._waiting, collections.deque()
                for future, _ in waiting:
                    if future.cancel():
                        future.set_running_or_notify_cancel()
            if self.pool is not None:
                self._feed()

    def join(self) -> None:
        pool = self.pool
        if pool is None:
            return
        # It is closed by then: by the thread that reads the answers, after the last of them.
        pool._result_handler.join()
        pool.join()


class ProcessPoolExecutor(futures.Executor):
    """Runs calls in worker processes, as `concurrent.futures.ProcessPoolExecutor` does.

    Large arrays, tables and buffers among arguments and results are copied once, into shared memory. A worker that dies
    fails only the future of the call that it had, with `BrokenProcessPool`; it is replaced, and the other calls are done.

    Args:
        max_workers: How many processes: as many as the machine has processors, unless you say so.
        mp_context: A context of `faretra.multiprocessing` or `multiprocessing`; it says how processes are started.
        initializer: What each worker calls when it starts, with `initargs`. If it raises, the executor is broken.
        initargs: The arguments of `initializer`.
        max_tasks_per_child: After how many calls a worker is replaced; without it, workers live as long as the executor.

    >>> from faretra import multiprocessing as mp
    >>> with faretra.ProcessPoolExecutor(2, mp.get_context("fork")) as executor:
    ...     executor.submit(pow, 2, 10).result()
    ...     list(executor.map(abs, [-1, 2, -3], chunksize=2))
    1024
    [1, 2, 3]

    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = int(getattr(os, "process_cpu_count", os.cpu_count)() or 1)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        method = mp_context.get_start_method(allow_none=False) if mp_context is not None else None
        context = default.get_context(method)
        self._max_workers = max_workers
        self._flow = _Flow(
            max_workers, partial(_Pool, max_workers, initializer, initargs, max_tasks_per_child, context)
        )
        _executors.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> futures.Future[T]:
        """Have `fn(*args, **kwargs)` called in a worker. Returns its future.

        Raises:
            BrokenProcessPool: The initializer raised, or workers died in it again and again.
            RuntimeError: The executor was shut down.

        """
        future: futures.Future[T] = futures.Future()
        self._flow.add(future, (fn, args, kwargs))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **named: Any,
    ) -> Iterator[T]:
        """Return the results of `fn` for each item of the iterables, in their order: an iterator.

        `chunksize` items at a time go to a worker. `timeout` seconds are allowed for all.

        Raises:
            TimeoutError: The next result was not there in time.

        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        results = super().map(partial(_call_each, fn), chunks, timeout=timeout, **named)
        return _each(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Waits until all are done and the workers have ended, if `wait`.

        With `cancel_futures`, calls are cancelled that no worker has begun.
        """
        self._flow.close(cancel_futures)
        if wait:
            self._flow.join()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> bool | None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.shutdown(cancel_futures=interrupted)
        return None

    def __del__(self) -> None:
        flow = getattr(self, "_flow", None)
        if flow is not None:
            flow.close(False)

    @property
    def _processes(self) -> dict[int, Any]:
        pool = self._flow.pool
        return {} if pool is None else {process.pid: process for process in list(pool._pool)}


# Where people find it.
ProcessPoolExecutor.__module__ = "faretra"


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _each(chunks: Iterator[list[T]]) -> Iterator[T]:
    # No reference is kept to what was handed out.
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def _at_exit() -> None:
    # What was submitted is done before the program ends, unless that is by Ctrl-C.
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for executor in list(_executors):
        executor.shutdown(cancel_futures=interrupted)


def _after_fork_in_child() -> None:
    for executor in list(_executors):
        executor._flow.fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
# As `concurrent.futures` does: before threads are joined, and while processes can still be started.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
