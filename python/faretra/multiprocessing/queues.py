"""Queues: channels of the program's arena.

What differs from the standard's:

* An item is pickled by `put`, not later in a thread: what is changed after `put` does not arrive, and what cannot be pickled
  raises there. (A subclass that overrides `_on_queue_feeder_error` gets that error instead.)
* No thread feeds the queue. Only when the arena's memory is full, items of a queue without a bound wait in the process that
  put them, and a thread sends them when there is room; the process waits for that when it ends, unless
  `cancel_join_thread` was called. A `put` to a queue with a bound waits for memory as for room.
* Who is killed in `put` or `get` locks nobody out. An item is put whole or not at all, and one that a killed process had not
  got yet goes to another.
* A bound above 65,536 is held to within the number of processes that put at the same time.
"""

from __future__ import annotations

import collections
import multiprocessing.context as standard_context
import queue
import threading
import time
from multiprocessing import util
from typing import Any, Generic, TypeVar

from faretra import _native
from faretra._errors import Error, FullError, NoSpaceError
from faretra._errors import TimeoutError as LateError
from faretra.multiprocessing._channel import MOST_ITEMS, Channel, Ends, Reader, Writer, received
from faretra.multiprocessing._home import Home
from faretra.multiprocessing._payload import Buffers, Pieces, dumps, loads, own, size

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "SimpleQueue"]

Empty = queue.Empty
Full = queue.Full

T = TypeVar("T")

# How often a put looks whether a queue with a very large bound has room.
_PAUSE = 0.002
# How long `join` sleeps at most before it counts again.
_LOOK = 0.2


class _NoLock:
    """Stands for the locks of the standard's queues: a channel needs none."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *exc: object) -> None:
        pass


class Queue(Generic[T]):
    """A queue of any objects between processes, first in, first out.

    `maxsize` items have room; if it is 0 or less, any number of them. Large arrays, tables and buffers are copied once, into
    shared memory; what `get` returns can be written, and belongs to whoever got it.

    >>> from faretra import multiprocessing as mp
    >>> jobs = mp.Queue()
    >>> jobs.put(np.arange(3))
    >>> jobs.get(timeout=5)
    array([0, 1, 2])
    """

    _channel: Channel

    def __init__(self, maxsize: int = 0, *, ctx: Any) -> None:
        self._start(self._make_channel(maxsize if 0 < maxsize <= MOST_ITEMS else None), maxsize)

    def _make_channel(self, capacity: int | None) -> Channel:
        return Channel(capacity)

    def _start(self, channel: Channel, maxsize: int) -> None:
        self._channel = channel
        self._maxsize = maxsize
        self._bounded = 0 < maxsize <= MOST_ITEMS
        self._reader, self._writer = Reader(channel), Writer(channel)
        self._rlock = self._wlock = _NoLock()
        self._closed = self._used = self._joincancelled = False
        self._forget()
        util.register_after_fork(self, Queue._forget)

    def _forget(self) -> None:
        # What a parent has not sent yet, the parent sends.
        self._late: collections.deque[tuple[Pieces, Buffers]] = collections.deque()
        self._changing = threading.Lock()
        self._feeder: threading.Thread | None = None
        self._jointhread: util.Finalize | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        standard_context.assert_spawning(self)
        return (self._channel, self._maxsize)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._start(*state[:2])

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Put an object in. Waits until there is room, for at most `timeout` seconds, if `block`.

        Raises:
            Full: There is no room, or none came in time.
            ValueError: The queue is closed.
            NoSpaceError: The object is larger than the program's arena may be; see `set_limit`.

        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        try:
            pieces, buffers = dumps(obj)
        except Exception as error:
            hook = type(self)._on_queue_feeder_error
            if hook is Queue._on_queue_feeder_error:
                raise
            hook(error, obj)
            return
        self._used = True
        limit = (None if timeout is None else max(timeout, 0)) if block else 0
        if self._bounded:
            try:
                self._channel.send(pieces, buffers, limit)
            except LateError:
                raise Full from None
            except NoSpaceError as error:
                self._fits(pieces, buffers, error)
                raise Full from error
            return
        if self._maxsize > 0:
            self._wait_for_room(limit)
        if not self._late:
            try:
                self._channel.send(pieces, buffers, 0)
                return
            except FullError:
                pass
            except NoSpaceError as error:
                self._fits(pieces, buffers, error)
        self._later(*own(pieces, buffers))

    def _fits(self, pieces: Pieces, buffers: Buffers, error: NoSpaceError) -> None:
        """Raise `error` unless it can be otherwise once others have let go of what they have."""
        if size(pieces, buffers) >= self._channel.ends().where.arena.limit:
            raise error

    def _wait_for_room(self, limit: float | None) -> None:
        until = None if limit is None else time.monotonic() + limit
        while self.qsize() >= self._maxsize:
            if until is not None and time.monotonic() >= until:
                raise Full
            time.sleep(_PAUSE)

    def _later(self, pieces: Pieces, buffers: Buffers) -> None:
        """Send a parcel when there is room: in a thread, after those that wait already."""
        with self._changing:
            self._late.append((pieces, buffers))
            if self._feeder is None:
                self._hold(True)
                self._start_thread()

    def _start_thread(self) -> None:
        self._feeder = threading.Thread(target=self._feed, name="QueueFeederThread", daemon=True)
        self._feeder.start()
        if not self._joincancelled:
            # Before the queue is let go of.
            self._jointhread = util.Finalize(None, self._feeder.join, exitpriority=-5)

    def _feed(self) -> None:
        while True:
            pieces, buffers = self._late[0]
            try:
                self._channel.send(pieces, buffers, None)
            except (Error, OSError) as error:
                type(self)._on_queue_feeder_error(error, None)
            with self._changing:
                # Not before it was sent: what is put meanwhile has to come after it.
                self._late.popleft()
                if self._late:
                    continue
                self._hold(False)
                if self._jointhread is not None:
                    self._jointhread.cancel()
                self._feeder = self._jointhread = None
                return

    def _hold(self, late: bool) -> None:
        """Say that items of this process wait to be sent, or do so no more."""

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the next object out. Waits until there is one, for at most `timeout` seconds, if `block`.

        Raises:
            Empty: There is none, or none came in time.
            ValueError: The queue is closed.

        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        limit = (None if timeout is None else max(timeout, 0)) if block else 0
        parcel = received(self._channel, limit)
        if parcel is None:
            raise Empty
        return loads(parcel)  # type: ignore[no-any-return]

    def put_nowait(self, obj: T) -> None:
        """Put an object in if there is room now, as `put(obj, False)` does."""
        self.put(obj, False)

    def get_nowait(self) -> T:
        """Take the next object out if there is one now, as `get(False)` does."""
        return self.get(False)

    def qsize(self) -> int:
        """Return how many objects are in the queue at this moment."""
        return len(self._channel.ends().receiver) + len(self._late)

    def empty(self) -> bool:
        """Return whether there is nothing to get at this moment."""
        if self._closed and self._used:
            raise OSError("handle is closed")
        return not self._channel.is_ready()

    def full(self) -> bool:
        """Return whether there is no room at this moment."""
        return 0 < self._maxsize <= self.qsize()

    def fileno(self) -> int:
        """Return a descriptor that is readable while an object may be there: for selectors, event loops, `connection.wait`.

        Another process may take the object first, so call `get_nowait` then.

        >>> from faretra import multiprocessing as mp
        >>> jobs = mp.Queue()
        >>> jobs.put(1)
        >>> mp.connection.wait([jobs.fileno()], timeout=5) == [jobs.fileno()]
        True
        """
        return self._reader.fileno()

    def close(self) -> None:
        """Say that this process uses the queue no more: `put` and `get` raise `ValueError` from now on."""
        self._closed = True

    def join_thread(self) -> None:
        """Wait until everything that this process put is in the queue. `close` has to be called before."""
        assert self._closed, f"Queue {self!r} not closed"
        feeder = self._feeder
        if feeder is not None:
            feeder.join()

    def cancel_join_thread(self) -> None:
        """Do not wait, when this process ends, for what it put and the arena has no memory for: that is lost then."""
        self._joincancelled = True
        if self._jointhread is not None:
            self._jointhread.cancel()

    def _terminate_broken(self) -> None:
        self._reader.close()
        self.close()
        self.cancel_join_thread()

    @staticmethod
    def _on_queue_feeder_error(e: BaseException, obj: Any) -> None:
        """Tell of what could not be sent. Subclasses override it, and get the errors of pickling then, too."""
        import traceback

        traceback.print_exception(e)


# How many processes can have items that wait to be sent.
_PROCESSES = 1024


class _Counted(Ends):
    """The ends of a channel, and what `join` waits for.

    The channel itself counts the items that were sent. `done` counts those that are done. Whoever sees that there are
    no others writes into `settled` how many there were, and sets `idle`. A process has a permit of `late` while items of
    its own wait for memory to be sent: its death gives that back.
    """

    def __init__(self, where: Home, name: str, capacity: int | None, make: bool) -> None:
        super().__init__(where, name, capacity, make)
        self.done = where.arena.value(f"{name}.done", 0)
        self.settled = where.arena.value(f"{name}.settled", 0)
        self.idle = where.arena.event(f"{name}.idle")
        self.late = where.arena.semaphore(f"{name}.late", _PROCESSES)
        self.names += [f"{name}.done", f"{name}.settled", f"{name}.idle", f"{name}.late"]

    def sent(self) -> int:
        """How many items were sent."""
        return _native._sent(self.receiver)

    def settle(self) -> int:
        """Return how many items were sent and are not done, and tell those who wait if there are none."""
        # In this order: what is sent and done meanwhile must not be taken for what was there before.
        done = int(self.done.get())
        left = self.sent() - done
        if left == 0:
            while (known := int(self.settled.get())) < done and not self.settled.compare_exchange(
                known, done
            ):
                pass
            self.idle.set()
        return left

    def nobody_late(self) -> bool:
        """Whether all that was put was sent."""
        return self.late.available() == _PROCESSES


class _Joinable(Channel):
    """A channel with a count of the items that are done."""

    kind = "joinable"
    ends_class = _Counted


class JoinableQueue(Queue[T]):
    """A queue that counts what is done with its objects: `task_done` after each, and `join` to wait for all.

    >>> from faretra import multiprocessing as mp
    >>> jobs = mp.JoinableQueue()
    >>> jobs.put("a job")
    >>> jobs.get(timeout=5)
    'a job'
    >>> jobs.task_done()
    >>> jobs.join()
    """

    def _make_channel(self, capacity: int | None) -> Channel:
        return _Joinable(capacity)

    def _counted(self) -> _Counted:
        ends = self._channel.ends()
        assert isinstance(ends, _Counted)
        return ends

    def _forget(self) -> None:
        super()._forget()
        self._permit: Any = None

    def _hold(self, late: bool) -> None:
        if late:
            self._permit = self._counted().late.try_permit()
        elif self._permit is not None:
            self._permit.release()
            self._permit = None

    def task_done(self) -> None:
        """Say that one object that was got is done.

        Raises:
            ValueError: It was called more often than objects were put.

        """
        ends = self._counted()
        ends.done.add(1)
        if ends.settle() < 0:
            ends.done.add(-1)
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until every object that was put is done."""
        ends, sent = self._counted(), None
        while True:
            ends.idle.clear()
            if sent is None and ends.nobody_late():
                sent = ends.sent()
            # Also if more was put since, and is not done.
            if sent is not None and (ends.settle() == 0 or int(ends.settled.get()) >= sent):
                return
            ends.idle.wait(timeout=_LOOK)


class SimpleQueue(Generic[T]):
    """A queue with `get`, `put`, `empty` and `close` only.

    >>> from faretra import multiprocessing as mp
    >>> jobs = mp.SimpleQueue()
    >>> jobs.put("a job")
    >>> jobs.get()
    'a job'
    """

    def __init__(self, *, ctx: Any) -> None:
        self._start(Channel(None))

    def _start(self, channel: Channel) -> None:
        self._channel = channel
        self._reader, self._writer = Reader(channel), Writer(channel)
        self._rlock = self._wlock = _NoLock()

    def __getstate__(self) -> tuple[Any, ...]:
        standard_context.assert_spawning(self)
        return (self._channel,)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._start(*state[:1])

    def close(self) -> None:
        """Close both ends of the queue, in this process."""
        self._reader.close()
        self._writer.close()

    def empty(self) -> bool:
        """Return whether there is nothing to get at this moment."""
        return not self._reader.poll()

    def fileno(self) -> int:
        """Return a descriptor that is readable while an object may be there, as `Queue.fileno` does.

        >>> from faretra import multiprocessing as mp
        >>> answers = mp.SimpleQueue()
        >>> mp.connection.wait([answers.fileno()], timeout=0)
        []
        """
        return self._reader.fileno()

    def get(self) -> T:
        """Take the next object out. Waits until there is one."""
        return self._reader.recv()  # type: ignore[no-any-return]

    def put(self, obj: T) -> None:
        """Put an object in. Waits while the program's arena is full."""
        self._writer.send(obj)
