"""Pipes: the kernel's, with large messages in the program's arena.

A pipe is a pipe or socket pair of the kernel, and everything but the bytes of large messages goes as the standard's
`Connection` has it: end of file, inheritance, pickling, `poll`, `fileno`, `wait`. A message of `LARGE` bytes or more,
or one with buffers of that size, is put into the program's arena under a name of its own, and only this name goes
through the pipe, in a frame that the standard does not use:

```text
length (4 bytes, as the standard's)  bytes            a message
-1      length (8 bytes)             bytes            a very large one (the arena had no room)
-2      length of what follows       name of the arena, its directory, name of the message
```

* P1: who receives a message takes it and removes the name; the memory stays for as long as what was received.
* P2: a message that nobody can receive any more is removed by who finds that out. The sender does so when it sends,
  or closes its end, and the other end is gone. The receiver does so at the end of file, which comes after all that
  was announced: what is there still was put into the arena by one that was killed before it could announce it. What
  neither of them finds goes with the program's arena. The names of messages say the pipe and the side that they come
  from.
* P3: without room in the arena a message goes through the pipe.

Connections that `Listener` and `Client` make are the standard's: the other side may be any program.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import struct
import sys
from multiprocessing import AuthenticationError, BufferTooShort, reduction
from multiprocessing import connection as standard
from multiprocessing.connection import (
    Client,
    Listener,
    answer_challenge,
    deliver_challenge,
    wait,
)
from typing import Any

from faretra import _native
from faretra._errors import ArenaNotFoundError, Error, NoSpaceError, NotFoundError, TooLargeError
from faretra.multiprocessing._home import Home, Key, home, join
from faretra.multiprocessing._payload import SMALL, Buffers, Pieces, dumps, loads, plain

__all__ = [
    "AuthenticationError",
    "BufferTooShort",
    "Client",
    "Connection",
    "Listener",
    "Pipe",
    "answer_challenge",
    "deliver_challenge",
    "wait",
]

# From so many bytes on, a message does not go through the pipe: below, the kernel's pipe is faster (measured).
LARGE = SMALL

# Which arena a pipe has, which pipe it is, and which side of it an end is.
Place = tuple[Key, str, str]

_IN_ARENA = -2
_HEADER = struct.Struct("!i")
_LENGTH = struct.Struct("!Q")
# Between the names of an arena, a directory and a message: none of them has it.
_BETWEEN = "\0"
# No name of a message is longer.
_LONGEST = 8192


def __getattr__(name: str) -> Any:
    # What else the standard's module has.
    return getattr(standard, name)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return the two ends of a pipe. With `duplex=False`, the first only receives and the second only sends.

    >>> from faretra import multiprocessing as mp
    >>> receiver, sender = mp.Pipe(duplex=False)
    >>> sender.send(np.arange(3))
    >>> receiver.recv()
    array([0, 1, 2])
    """
    # Both ends say which arena it is, before any process of either end ends.
    key, pipe = home().key, os.urandom(6).hex()
    if duplex:
        one, other = socket.socketpair()
        one.setblocking(True)
        other.setblocking(True)
        return (
            Connection(one.detach(), place=(key, pipe, "a")),
            Connection(other.detach(), place=(key, pipe, "b")),
        )
    reading, writing = os.pipe()
    return (
        Connection(reading, writable=False, place=(key, pipe, "a")),
        Connection(writing, readable=False, place=(key, pipe, "b")),
    )


class Connection(standard.Connection):
    """One end of a pipe, as `multiprocessing.connection.Connection` is."""

    def __init__(
        self, handle: int, readable: bool = True, writable: bool = True, *, place: Place | None = None
    ) -> None:
        super().__init__(handle, readable, writable)
        # Which arena, which pipe, which side of it.
        self._place: Place = place or (home().key, os.urandom(6).hex(), "a")
        # Whether this process sent something through the arena.
        self._used = False

    def __reduce__(self) -> Any:
        duplicate = reduction.DupFd(self.fileno())
        return _rebuild, (duplicate, self.readable, self.writable, self._place)

    def send(self, obj: Any) -> None:
        """Send an object that can be pickled."""
        self._check_closed()  # type: ignore[attr-defined]
        self._check_writable()  # type: ignore[attr-defined]
        pieces, buffers = dumps(obj)
        self._send_parcel(pieces, buffers)

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send bytes: those of any object with a buffer."""
        self._check_closed()  # type: ignore[attr-defined]
        self._check_writable()  # type: ignore[attr-defined]
        view = memoryview(buf)
        if view.ndim != 1 or view.itemsize > 1:
            view = view.cast("B")
        length = view.nbytes
        if offset < 0:
            raise ValueError("offset is negative")
        if length < offset:
            raise ValueError("buffer length < offset")
        if size is None:
            size = length - offset
        elif size < 0:
            raise ValueError("size is negative")
        elif offset + size > length:
            raise ValueError("buffer length < offset + size")
        self._send_parcel([view[offset : offset + size]], [])

    def recv(self) -> Any:
        """Receive an object: wait until there is one. Raises `EOFError` if there is none, and the other end was closed."""
        self._check_closed()  # type: ignore[attr-defined]
        self._check_readable()  # type: ignore[attr-defined]
        return loads(self._recv_parcel(None))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive bytes: wait until there are some. Raises `EOFError`, and `OSError` if there are more than `maxlength`."""
        self._check_closed()  # type: ignore[attr-defined]
        self._check_readable()  # type: ignore[attr-defined]
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        received = self._recv_parcel(maxlength)
        if received is not None:
            received = plain(received)
            if maxlength is None or len(received) <= maxlength:
                return received
        self._bad_message_length()  # type: ignore[attr-defined]
        raise AssertionError("unreachable")

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive bytes into an object with a buffer, from byte `offset` of it on. Returns how many there were.

        Raises `BufferTooShort`, which has the bytes, if there is no room for them.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._check_readable()  # type: ignore[attr-defined]
        with memoryview(buf) as view:
            length = view.itemsize * len(view)
            if offset < 0:
                raise ValueError("negative offset")
            if offset > length:
                raise ValueError("offset too large")
            parcel = self._recv_parcel(None)
            simple = type(parcel) is tuple and not parcel[1] and len(parcel[0]) == 1
            received = parcel[0][0] if simple else plain(parcel)
            if length < offset + len(received):
                raise BufferTooShort(bytes(received))
            with view.cast("B") as into:
                into[offset : offset + len(received)] = received
            return len(received)

    def _send_parcel(self, pieces: Pieces, buffers: Buffers) -> None:
        bytes_ = sum(map(len, pieces))
        if (buffers or bytes_ >= LARGE) and self._send_in_arena(pieces, buffers):
            return
        if buffers:
            whole = plain((pieces, [buffer for buffer, _ in buffers]))
        else:
            whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._write(super()._send_bytes, whole)  # type: ignore[misc]

    def _write(self, write: Any, what: Any) -> None:
        try:
            write(what)
        except (BrokenPipeError, ConnectionResetError):
            self._clear(self._place[2])
            raise

    def _send_in_arena(self, pieces: Pieces, buffers: Buffers) -> bool:
        """Send a message through the arena. Returns false if there is no room."""
        key, pipe, side = self._place
        where = join(key)
        name = where.name(f"message-{pipe}{side}")
        try:
            _native._post(where.arena, name, pieces, buffers or None)
        except (NoSpaceError, TooLargeError):
            return False
        self._used = True
        told = _BETWEEN.join((*key, name)).encode()
        try:
            self._write(self._send, _HEADER.pack(_IN_ARENA) + _HEADER.pack(len(told)) + told)  # type: ignore[attr-defined]
        except BaseException:
            # Nobody was told of it, or half told.
            _remove(where, name)
            raise
        return True

    def _clear(self, sides: str) -> None:
        """Remove the messages from these sides, which nobody can receive any more (P2)."""
        key, pipe, _ = self._place
        where = join(key)
        gone = tuple(f"message-{pipe}{side}-" for side in sides)
        for name in list(where.arena):
            if name.startswith(gone):
                _remove(where, name)

    def _recv_parcel(self, most: int | None) -> Any:
        """Receive a message, as `_payload.loads` takes it; `None` if it has more than `most` bytes."""
        try:
            return self._recv_frame(most)
        except (EOFError, ConnectionResetError):
            with contextlib.suppress(Error):
                self._clear("ab")
            raise

    def _recv_frame(self, most: int | None) -> Any:
        (length,) = _HEADER.unpack(self._recv(_HEADER.size).getvalue())  # type: ignore[attr-defined]
        if length == _IN_ARENA:
            (length,) = _HEADER.unpack(self._recv(_HEADER.size).getvalue())  # type: ignore[attr-defined]
            if not 0 < length <= _LONGEST:
                raise OSError("got a message that is none of a pipe of faretra.multiprocessing")
            return _collect(self._recv(length).getvalue().decode())  # type: ignore[attr-defined]
        if length == -1:
            (length,) = _LENGTH.unpack(self._recv(_LENGTH.size).getvalue())  # type: ignore[attr-defined]
        if most is not None and length > most:
            return None
        return self._recv(length).getvalue()  # type: ignore[attr-defined]

    def _send_bytes(self, buf: Any) -> None:
        self._send_parcel([buf], [])

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO | None:
        parcel = self._recv_parcel(maxsize)
        if parcel is None:
            return None
        received = plain(parcel)
        if maxsize is not None and len(received) > maxsize:
            return None
        buf = io.BytesIO()
        buf.write(received)
        return buf

    def _close(self, _close: Any = os.close, _finalizing: Any = sys.is_finalizing) -> None:
        # When the interpreter goes down, the modules may be gone.
        if self._used and not _finalizing() and _is_gone(self._handle):  # type: ignore[attr-defined]
            with contextlib.suppress(Error):
                self._clear(self._place[2])
        _close(self._handle)  # type: ignore[attr-defined]


def _rebuild(duplicate: Any, readable: bool, writable: bool, place: Place) -> Connection:
    # Before the process that made it ends, and with it the arena.
    join(place[0])
    return Connection(duplicate.detach(), readable, writable, place=place)


def _collect(told: str) -> Any:
    arena, directory, name = told.split(_BETWEEN)
    try:
        where = join((arena, directory))
        return _native._collect(where.arena, name)
    except ArenaNotFoundError:
        raise
    except NotFoundError as error:
        raise NotFoundError(
            f"the message `{name}` is gone from the arena `{arena}`: its sender found this end closed, or another process "
            "received it",
            name=name,
        ) from error


def _is_gone(handle: int) -> bool:
    """Whether nobody is at the other end."""
    poll = select.poll()
    poll.register(handle, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _remove(where: Home, name: str) -> None:
    # It may have been received.
    with contextlib.suppress(Error):
        where.arena.remove(name)
