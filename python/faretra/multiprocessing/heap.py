"""Memory for shared ctypes: the standard's allocator, over bytes of the program's arena.

A process that dies leaves what it allocated to the arena's end, as in the standard module: nobody knows who
else uses it. The bytes are removed when the process that made them has dropped all that lies in them
(`_home.remove_with`), and stay where they are for each process that has them mapped.
"""

from __future__ import annotations

import multiprocessing.context as standard_context
import threading
import weakref
from multiprocessing import heap, util
from typing import Any

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
from faretra.multiprocessing._rebound import rebound

__all__ = ["BufferWrapper"]

_lock = threading.Lock()
# What this process was handed, by arena and name: mapped once.
_opened: weakref.WeakValueDictionary[tuple[Key, str], Arena] = weakref.WeakValueDictionary()


class Arena:
    """Bytes that every process of the program can write, mapped in this one."""

    def __init__(self, size: int) -> None:
        where = home()
        name = where.name("heap")
        self._set(where, name, _native._shared_bytes(where.arena, name, size))
        remove_with(self, where, name)

    def _set(self, where: Home, name: str, mapped: _native.SharedBytes) -> None:
        self.size = mapped.nbytes
        self.buffer = memoryview(mapped)
        self._where, self._name = where, name
        self._kept = mapped
        attach_after_fork(self, Arena._attach)

    def _attach(self) -> None:
        # The map that came through the fork stays in use. The second one keeps the bytes for this process.
        self._kept = _native._shared_bytes(self._where.arena, self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        standard_context.assert_spawning(self)
        keep_while_starting(self)
        return _open, (self._where.key, self._name)


def _open(key: Key, name: str) -> Arena:
    with _lock:
        found = _opened.get((key, name))
        if found is None:
            where = join(key)
            found = Arena.__new__(Arena)
            found._set(where, name, _native._shared_bytes(where.arena, name))
            _opened[key, name] = found
        return found


class Heap(heap.Heap):
    """The standard's allocator, over our `Arena`."""

    _new_arena = rebound(vars(heap.Heap)["_new_arena"], Arena=Arena)


class BufferWrapper(heap.BufferWrapper):
    """A block of bytes of the heap, for as long as this object lives."""

    _heap = Heap()

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size:n} out of range")
        block = BufferWrapper._heap.malloc(size)
        self._state = (block, size)
        util.Finalize(self, BufferWrapper._heap.free, args=(block,))

    def __getstate__(self) -> dict[str, Any]:
        # Otherwise the block could be given to somebody else before the process that starts is done with it.
        keep_while_starting(self)
        return vars(self)


def _forget_in_child() -> None:
    # A thread of the parent may have held it.
    global _lock
    _lock = threading.Lock()


util.register_after_fork(Heap, lambda _: _forget_in_child())
