"""The arena behind `faretra.multiprocessing`: made at first use, shared by a program's processes, gone when the last ends.

A *program* is the process that first makes a queue, lock or other shared object, and the processes that come of it. Its arena
is ephemeral (`keep=False`): the kernel tells when the last process is gone, however each of them ends, and no other process
tracks it.

States of this process:

* *none*: nothing shared was made yet.
* *joined*: an arena is open. The process made it, was forked by one that had it open, or was handed something that lives in
  it.
* *forked*: this is a forked child, whose copy of the parent's handle answers with `ForkedError`. A child that
  `multiprocessing` started joins at once, before the target runs, since the parent may end at any time; one of a bare
  `os.fork` joins when it first uses something.

A process can be joined to several arenas (it was handed objects of two programs): what it makes itself goes into the first.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from multiprocessing import util
from typing import Any

from faretra._arena import Arena
from faretra._errors import ArenaNotFoundError, InvalidError
from faretra._sizes import size

# How many processes of one program can live at the same time.
PARTICIPANTS = 1024
# What a program's arena may use, unless `set_limit` is called: bytes or "2GiB".
LIMIT_VARIABLE = "FARETRA_MP_LIMIT"

# What says which arena something lives in: its name, and its directory.
Key = tuple[str, str]

_lock = threading.RLock()
_joined: dict[Key, Home] = {}
_limit: int | None = None


class Home:
    """An arena that this process is joined to, and the names that it gives there."""

    def __init__(self, arena: Arena) -> None:
        path = arena.path
        self.key: Key = (arena.name, str(path.parent))
        self._arena = arena
        self._pid = os.getpid()
        self._count = 0
        self._token = secrets.token_hex(4)
        util.register_after_fork(self, Home._after_fork)

    @property
    def arena(self) -> Arena:
        """The arena's handle, one that works in this process."""
        if self._pid != os.getpid():
            self._after_fork()
        return self._arena

    def name(self, kind: str) -> str:
        """Return a name that nothing in the arena has: for a new object of a kind."""
        with _lock:
            if self._pid != os.getpid():
                self._after_fork()
            self._count += 1
            return f"{kind}-{os.getpid()}-{self._token}-{self._count}"

    def _after_fork(self) -> None:
        with _lock:
            if self._pid == os.getpid():
                return
            self._arena.reopen()
            self._pid, self._token, self._count = os.getpid(), secrets.token_hex(4), 0

    def _close(self) -> None:
        if self._pid == os.getpid():
            self._arena.close()


def home() -> Home:
    """Return the arena that new objects of this process live in; the first call of a program makes it."""
    with _lock:
        for found in _joined.values():
            return found
        name = f"mp-{os.getpid()}-{secrets.token_hex(6)}"
        # All that a process forked off this one holds must be free when the last of them ends: it is not kept.
        arena = Arena.create(
            name, limit=_wanted_limit(), participants=PARTICIPANTS, writers=PARTICIPANTS, keep=False, allow_pickle=True
        )
        return _join(Home(arena))


def join(key: Key) -> Home:
    """Return the arena that something which was handed over lives in; opens it if this process has not."""
    with _lock:
        if key in _joined:
            return _joined[key]
        name, directory = key
        try:
            arena = Arena.open(name, dir=directory, allow_pickle=True)
        except ArenaNotFoundError as error:
            raise ArenaNotFoundError(
                f"the arena `{name}` of the program that made this object is gone from {directory}: every process of that "
                "program has ended; keep one of them alive until the object was handed over",
                name=name,
            ) from error
        return _join(Home(arena))


def _join(made: Home) -> Home:
    _joined[made.key] = made
    # After the children were joined and other finalizers have run: they still use the arena.
    util.Finalize(None, made._close, exitpriority=-1000)
    return made


def set_limit(limit: int | str) -> None:
    """Say how many bytes a program's shared objects and the data in transit may use, as an int or as "2GiB".

    Without it, the limit is what the environment variable `FARETRA_MP_LIMIT` says, or half of what is free in the directory
    of arenas (`/dev/shm`). The memory is taken as it is used. The limit of a program that already has shared objects is
    changed at once.

    Raises `ValueError` for what is no size.

    >>> from faretra import multiprocessing as mp
    >>> mp.set_limit("256MiB")
    """
    global _limit
    with _lock:
        _limit = size(limit)
        for found in _joined.values():
            found.arena.set_limit(_limit)


def _wanted_limit() -> int:
    if _limit is not None:
        return _limit
    said = os.environ.get(LIMIT_VARIABLE)
    if said:
        try:
            return size(said)
        except ValueError as error:
            raise InvalidError(f"the environment variable {LIMIT_VARIABLE} is no size: {error}") from error
    directory = os.environ.get("FARETRA_DIR", "/dev/shm")  # noqa: S108
    return max(shutil.disk_usage(directory).free // 2, 16 << 20)


def _forget_in_child() -> None:
    # A thread of the parent may have held it.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_in_child)
