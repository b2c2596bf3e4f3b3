"""The arena behind `faretra.multiprocessing`: made at first use, gone with the last process.

A *program* is the process that first makes a queue, lock or other shared object, and the processes that come
of it. Its arena is ephemeral (`keep=False`): the kernel tells when the last process is gone, however each of
them ends, and no other process tracks it.

States of this process:

* *none*: nothing shared was made yet.
* *joined*: an arena is open. The process made it, was forked by one that had it open, or was handed
  something that lives in it.
* *forked*: this is a forked child, whose copy of the parent's handle answers with `ForkedError`. A child
  joins at once, before `os.fork` returns in it, since the parent may end at any time, or remove what the
  child inherited.

What a process hands over, and what it removes:

* H1: what is pickled for a process that starts is kept by its `Popen` until that ends
  ([`keep_while_starting`]).
* H2: a forked child attaches to what it inherited ([`attach_after_fork`]) before `os.fork` returns in it. A
  pipe tells the parent: the child has its only writing end, and closes it when it is done, or dies.
* H3: a name is removed from the arena when its maker's object is collected, or its maker ends
  ([`remove_with`]), but not before each child that was forked by then has attached (`settle`). Removing a
  name takes nothing from who has the object.
* H4: what no maker removed, since it was killed, goes with the arena.

A process can be joined to several arenas (it was handed objects of two programs): what it makes itself goes
into the first.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing import util
from multiprocessing.context import get_spawning_popen
from typing import Any, TypeVar

from faretra._arena import Arena, arenas, remove
from faretra._errors import ArenaNotFoundError, Error, InvalidError
from faretra._sizes import size

# How many processes of one program can live at the same time.
PARTICIPANTS = 1024
# What a program's arena may use, unless `set_limit` is called: bytes or "2GiB".
LIMIT_VARIABLE = "FARETRA_MP_LIMIT"

# What says which arena something lives in: its name, and its directory.
Key = tuple[str, str]
# How long a process waits, in seconds, for children that it forked to attach, before it leaves a name to the
# arena's end.
PATIENCE = 2.0

T = TypeVar("T")

_lock = threading.RLock()
_joined: dict[Key, Home] = {}
_limit: int | None = None

# What forked children attach to, in the order that it was made in.
_inherited: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}
_numbers = itertools.count()
# The pipes of forks that are under way, by thread, and the reading ends of those whose children may not have
# attached yet.
_forking: dict[int, tuple[int, int]] = {}
_unsettled: list[int] = []
# Those of them that were waited for in vain: nobody waits for a child that is stopped twice.
_given_up: set[int] = set()


class Home:
    """An arena that this process is joined to, and the names that it gives there."""

    def __init__(self, arena: Arena) -> None:
        path = arena.path
        self.key: Key = (arena.name, str(path.parent))
        self._arena = arena
        self._pid = os.getpid()
        self._count = 0
        self._token = os.urandom(4).hex()
        self._close_at_exit()
        # `multiprocessing` forgets the parent's finalizers in a child.
        util.register_after_fork(self, Home._close_at_exit)

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
            self._pid, self._token, self._count = os.getpid(), os.urandom(4).hex(), 0

    def _close_at_exit(self) -> None:
        # After the children were joined and other finalizers have run: they still use the arena.
        util.Finalize(None, self._close, exitpriority=-1000)

    def _close(self) -> None:
        if self._pid != os.getpid():
            return
        last = not any(holder.alive and not holder.this_process for holder in self._arena.who())
        self._arena.close()
        if last:
            # What still refers to the arena, a received array say, would keep its name beyond this process.
            with contextlib.suppress(Error):
                remove(*self.key)


def home() -> Home:
    """Return the arena that new objects of this process live in; the first call of a program makes it."""
    with _lock:
        for found in _joined.values():
            return found
        # What killed programs left behind.
        from faretra.multiprocessing import shared_memory

        shared_memory.sweep()
        arenas()
        name = f"mp-{os.getpid()}-{os.urandom(6).hex()}"
        # All that a process forked off this one holds must be free when the last of them ends: it is not
        # kept.
        arena = Arena.create(
            name,
            limit=_wanted_limit(),
            participants=PARTICIPANTS,
            writers=PARTICIPANTS,
            keep=False,
            allow_pickle=True,
        )
        return _add(Home(arena))


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
                f"the arena `{name}` of the program that made this object is gone from {directory}: every "
                "process of that program has ended; keep one of them alive until the object was handed over",
                name=name,
            ) from error
        return _add(Home(arena))


def _add(made: Home) -> Home:
    _joined[made.key] = made
    return made


def keep_while_starting(handed: object) -> None:
    """Keep what is being pickled for a process that starts, for as long as that process runs (H1)."""
    popen = get_spawning_popen()
    if popen is not None:
        vars(popen).setdefault("_faretra_kept", []).append(handed)


def attach_after_fork(thing: T, attach: Callable[[T], object]) -> None:
    """Have `attach(thing)` called in each forked child that inherits `thing`, in the arena (H2)."""
    number = next(_numbers)
    _inherited[number] = (weakref.ref(thing, lambda _: _inherited.pop(number, None)), attach)


def remove_with(maker: object, where: Home, name: str) -> util.Finalize:
    """Remove `name` from the arena when its maker is collected, or this process ends normally (H3)."""
    # At the end, after the children were joined.
    return util.Finalize(maker, _remove, args=(where, name), exitpriority=-10)


def _remove(where: Home, name: str) -> None:
    if not settle():
        return
    try:
        where.arena.remove(name)
    except Error as error:
        # It goes with the arena.
        util.info("the name %s stays in the arena %s: %s", name, where.key[0], error)


def set_limit(limit: int | str) -> None:
    """Say how many bytes a program's shared objects and the data in transit may use, as an int or as "2GiB".

    Without it, the limit is what the environment variable `FARETRA_MP_LIMIT` says, or half of what is free
    in the directory of arenas (`/dev/shm`). The memory is taken as it is used. The limit of a program that
    already has shared objects is changed at once.

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
    directory = os.environ.get("FARETRA_DIR", "/dev/shm")
    return max(shutil.disk_usage(directory).free // 2, 16 << 20)


def settle(patience: float = PATIENCE) -> bool:
    """Wait until each child that was forked by now has attached to what it inherited, or has died (H2, H3).

    Takes no time if none was forked since the last call, and otherwise milliseconds. Returns false if one
    has not after `patience` seconds, since it is stopped for example.
    """
    until = time.monotonic() + patience
    with _lock:
        while _unsettled:
            poll = select.poll()
            for end in _unsettled:
                poll.register(end, select.POLLIN)
            waits = not _given_up.issuperset(_unsettled)
            closed = [end for end, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000 if waits else 0)]
            if not closed:
                if patience > 0:
                    _given_up.update(_unsettled)
                return False
            for end in closed:
                _unsettled.remove(end)
                _given_up.discard(end)
                os.close(end)
    return True


def _before_fork() -> None:
    # Nobody is in the middle of a change then: the child has no other thread to finish it.
    _lock.acquire()
    if not _joined:
        return
    settle(0)
    try:
        _forking[threading.get_ident()] = os.pipe()
    except OSError as error:
        # Out of descriptors. The child attaches all the same, and the parent does not wait for it.
        util.info("no pipe for a forked child: %s", error)


def _after_fork_in_parent() -> None:
    ends = _forking.pop(threading.get_ident(), None)
    if ends is not None:
        os.close(ends[1])
        _unsettled.append(ends[0])
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    # The parent's reading ends.
    for end in _unsettled:
        os.close(end)
    _unsettled.clear()
    _given_up.clear()
    ends = _forking.pop(threading.get_ident(), None)
    try:
        if ends is not None:
            os.close(ends[0])
        if _joined:
            _attach()
    finally:
        if ends is not None:
            os.close(ends[1])


def _attach() -> None:
    # What fails here is said when it is used: a use joins, too.
    for found in list(_joined.values()):
        try:
            found._after_fork()
        except Error as error:
            util.info("a forked child could not join the arena %s: %s", found.key[0], error)
    for thing, attach in list(_inherited.values()):
        inherited = thing()
        if inherited is None:
            continue
        try:
            attach(inherited)
        except Error as error:
            util.info("a forked child could not attach to %r: %s", inherited, error)


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
