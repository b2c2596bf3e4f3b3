"""The channel behind a queue: its two ends in this process, and the name that it has in the arena.

* C1: a process that has a queue has both ends of its channel open, so that a channel ends for nobody (`EOFError`)
  unless each process that could send has closed `queue._writer` or died, as with the pipe of the standard's queues.
* C2: a process opens both ends before it uses the queue: when it makes the queue, when it is handed over, and, in a
  forked child, at the fork. From then on the channel is there for as long as the process has it.
* C3: the name is only there for others to find the channel. Who lets go of the channel as the last process that has
  it removes the name. If two let go at the same moment, or the last is killed, the name stays until the program's
  arena goes.
"""

from __future__ import annotations

import os
import select
import time
import weakref
from multiprocessing import util
from multiprocessing.context import get_spawning_popen
from typing import Any, TypeVar

from faretra import _native
from faretra._errors import ClosedError, EmptyError, Error, NotFoundError, TimeoutError
from faretra.multiprocessing._home import (
    PATIENCE,
    Home,
    Key,
    attach_after_fork,
    home,
    join,
    keep_while_starting,
    settle,
)
from faretra.multiprocessing._payload import Buffers, Pieces, dumps, loads, plain

# As many items as a channel with a bound can have room for.
MOST_ITEMS = 65_536

_getpid = os.getpid


class Ends:
    """The ends of a channel that are open in one process."""

    def __init__(self, where: Home, name: str, capacity: int | None, make: bool) -> None:
        self.pid = _getpid()
        self.where = where
        self.name = name
        # The names that go with it.
        self.names = [name]
        self.receiver, self.sender = _native._attach_ends(where.arena, name, capacity, make)
        self.writing = True
        self.left = False

    def leave(self) -> None:
        """Let go of the channel, and of its name if nobody else has it (C3)."""
        if self.pid != _getpid():
            return
        settled = settle()
        try:
            senders, receivers = _native._peers(self.receiver)
            alone = settled and senders <= self.writing and receivers <= 1
            self.left = True
            self.sender.leave()
            self.receiver.leave()
            if alone:
                for name in self.names:
                    self.where.arena.remove(name)
        except Error as error:
            util.info("the name %s stays in the arena %s: %s", self.name, self.where.key[0], error)

    def park(self) -> None:
        """Keep a thread that waited here when this process let go of the channel: it is one that the process ends with."""
        while self.left:
            time.sleep(60)


class Channel:
    """A channel of the program's arena, as it is handed from process to process."""

    kind = "queue"
    ends_class: type[Ends] = Ends

    def __init__(self, capacity: int | None) -> None:
        where = home()
        self._begin((where.key, where.name(self.kind), capacity), True)

    def __getstate__(self) -> tuple[Key, str, int | None]:
        keep_while_starting(self)
        popen = get_spawning_popen()
        if popen is not None:
            self._handed.append(weakref.ref(popen))
        return self._place

    def __setstate__(self, place: tuple[Key, str, int | None]) -> None:
        self._begin(place, False)

    def _begin(self, place: tuple[Key, str, int | None], make: bool) -> None:
        self._place = place
        # The processes that were started with it.
        self._handed: list[weakref.ref[Any]] = []
        self._ends = self._open(make)
        self._leave_at_exit()
        attach_after_fork(self, Channel._attach)
        # `multiprocessing` forgets the parent's finalizers in a child.
        util.register_after_fork(self, Channel._leave_at_exit)

    def _open(self, make: bool) -> Ends:
        key, name, capacity = self._place
        try:
            return self.ends_class(join(key), name, capacity, make)
        except NotFoundError as error:
            raise NotFoundError(
                f"the queue `{name}` is gone: each process that had it has ended or dropped it; keep it in one of "
                "them until the others have it",
                name=name,
            ) from error

    def _attach(self) -> None:
        inherited = self._ends
        if inherited.pid == _getpid():
            return
        ends = self._open(False)
        if not inherited.writing:
            ends.writing = False
            ends.sender.leave()
        self._ends = ends

    def _leave_at_exit(self) -> None:
        self._attach()
        # After the children were joined, and what waits to be sent was.
        util.Finalize(self, Ends.leave, args=(self._ends,), exitpriority=-10)

    def close_writer(self) -> None:
        """Let go of the sending end, once each process that was started with the queue has its own (C2), or ended."""
        ends = self.ends()
        settle()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            popens = [popen for handed in self._handed if (popen := handed()) is not None]
            alive = sum(popen.poll() is None for popen in popens)
            if _native._peers(ends.receiver)[0] > alive:
                break
            time.sleep(0.005)
        ends.writing = False
        ends.sender.leave()

    def ends(self) -> Ends:
        """Return the ends that work in this process."""
        if self._ends.pid != _getpid():
            self._attach()
        return self._ends

    def send(self, pieces: Pieces, buffers: Buffers | None, timeout: float | None) -> None:
        """Send a parcel: within `timeout` seconds, or whenever there is room."""
        ends = self.ends()
        if not ends.writing:
            raise OSError("handle is closed")
        try:
            _native._send_parcel(ends.sender, pieces, buffers or None, timeout)
        except ClosedError as error:
            ends.park()
            raise BrokenPipeError(str(error)) from error

    def recv(self, timeout: float | None) -> Any:
        """Receive a parcel. Raises `EmptyError` or `TimeoutError` if none comes, `EOFError` if none can come any more."""
        ends = self.ends()
        try:
            return _native._recv_parcel(ends.receiver, timeout)
        except ClosedError:
            ends.park()
            raise

    def is_ready(self) -> bool:
        """Whether an item is there."""
        return _native._is_ready(self.ends().receiver)

    def poll(self, timeout: float | None) -> bool:
        """Wait until an item is there, for at most `timeout` seconds."""
        if self.is_ready():
            return True
        if timeout is not None and timeout <= 0:
            return False
        until = None if timeout is None else time.monotonic() + timeout
        receiver = self.ends().receiver
        while True:
            poll = select.poll()
            poll.register(receiver.fileno(), select.POLLIN)
            poll.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000)
            # Another process may have been faster.
            if self.is_ready():
                return True
            if until is not None and time.monotonic() >= until:
                return False


class _Half:
    """One end of a queue, with the names that the ends of a pipe have."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.closed = False

    def _check(self) -> None:
        if self.closed:
            raise OSError("handle is closed")

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the end, in this process."""
        self.closed = True


H = TypeVar("H", bound=_Half)


class Reader(_Half):
    """The receiving end of a queue, as `queue._reader`: what a `Connection` has for reading."""

    readable, writable = True, False

    def recv(self) -> Any:
        """Receive an object."""
        self._check()
        return loads(self._channel.recv(None))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive what `send_bytes` sent, or the pickle of an object."""
        self._check()
        received = plain(self._channel.recv(None))
        if maxlength is not None and len(received) > maxlength:
            raise OSError("bad message length")
        return received

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether an item is there, or comes within `timeout` seconds."""
        self._check()
        return self._channel.poll(timeout)

    def fileno(self) -> int:
        """Return a descriptor that is readable while an item may be there. It stays the same, and is only for polling."""
        self._check()
        return int(self._channel.ends().receiver.fileno())


class Writer(_Half):
    """The sending end of a queue, as `queue._writer`: what a `Connection` has for writing."""

    readable, writable = False, True

    def send(self, obj: object) -> None:
        """Send an object."""
        self._check()
        self._channel.send(*dumps(obj), None)

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the pickle of an object."""
        self._check()
        view = memoryview(buf).cast("B")
        self._channel.send([view[offset:] if size is None else view[offset : offset + size]], None, None)

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is room."""
        self._check()
        return int(self._channel.ends().sender.fileno())

    def close(self) -> None:
        """Close the end in this process: who reads gets `EOFError` when it is closed in all."""
        if not self.closed:
            super().close()
            self._channel.close_writer()


def received(channel: Channel, timeout: float | None) -> Any:
    """Return the parcel that comes within `timeout` seconds, or `None`."""
    try:
        return channel.recv(timeout)
    except (EmptyError, TimeoutError):
        return None
