"""ctypes objects in shared memory, as `multiprocessing.sharedctypes` has them.

They lie in the program's arena (`faretra.multiprocessing.heap`), so nothing is left in `/dev/shm`, and the
locks around them survive the death of who holds them: a killed process leaves the value that it had written
by then.

What the functions return are instances of a subclass of the ctypes type, named as that is, which knows how
it is handed over to a process that starts. The standard module tells `ForkingPickler` instead, for the whole
interpreter.
"""

from __future__ import annotations

import ctypes
import multiprocessing.context as standard_context
import weakref
from multiprocessing import sharedctypes
from typing import Any

from faretra.multiprocessing.heap import BufferWrapper

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

# The standard's wrappers: locks of ours work in them.
Synchronized = sharedctypes.Synchronized
SynchronizedArray = sharedctypes.SynchronizedArray
SynchronizedBase = sharedctypes.SynchronizedBase
SynchronizedString = sharedctypes.SynchronizedString
make_property: Any = vars(sharedctypes)["make_property"]
typecode_to_type: dict[str, Any] = vars(sharedctypes)["typecode_to_type"]

# The subclass of each type.
_shared: weakref.WeakKeyDictionary[type, type] = weakref.WeakKeyDictionary()


class _Shared:
    """What the subclasses add to the ctypes type."""

    _wrapper: BufferWrapper
    _ctype: type

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        standard_context.assert_spawning(self)
        return _rebuild, (*_named(self._ctype), self._wrapper)


def _named(type_: Any) -> tuple[Any, list[int]]:
    """Return a type with a name of its own, and the lengths of arrays of it."""
    # Array types cannot be pickled.
    lengths = []
    while issubclass(type_, ctypes.Array):
        lengths.append(type_._length_)
        type_ = type_._type_
    return type_, lengths


def _repr_of_simple(value: Any) -> str:
    return f"{type(value).__name__}({value.value!r})"


def _shared_type(type_: Any) -> Any:
    if issubclass(type_, _Shared):
        return type_
    found = _shared.get(type_)
    if found is None:
        attributes: dict[str, Any] = {"__module__": type_.__module__, "_ctype": type_}
        if issubclass(type_, ctypes._SimpleCData) and type_.__repr__ is ctypes._SimpleCData.__repr__:
            attributes["__repr__"] = _repr_of_simple
        metaclass: Any = type(type_)
        _shared[type_] = found = metaclass(type_.__name__, (_Shared, type_), attributes)
    return found


def _rebuild(type_: Any, lengths: list[int], wrapper: BufferWrapper) -> Any:
    for length in reversed(lengths):
        type_ = type_ * length
    made = _shared_type(type_).from_buffer(wrapper.create_memoryview())
    made._wrapper = wrapper
    return made


def _new(type_: Any) -> Any:
    return _rebuild(type_, [], BufferWrapper(ctypes.sizeof(type_)))


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Return a ctypes object in shared memory, made with `args`. Nothing locks it.

    >>> from faretra import multiprocessing as mp
    >>> mp.RawValue("d", 2.5).value
    2.5
    """
    made = _new(typecode_to_type.get(typecode_or_type, typecode_or_type))
    ctypes.memset(ctypes.addressof(made), 0, ctypes.sizeof(made))
    made.__init__(*args)
    return made


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """Return a ctypes array in shared memory: of so many zeros, or of elements. Nothing locks it.

    >>> from faretra import multiprocessing as mp
    >>> list(mp.RawArray("i", 3)), list(mp.RawArray("i", [1, 2]))
    ([0, 0, 0], [1, 2])
    >>> grid = np.frombuffer(mp.RawArray("d", 6)).reshape(2, 3)
    """
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if isinstance(size_or_initializer, int):
        made = _new(type_ * size_or_initializer)
        ctypes.memset(ctypes.addressof(made), 0, ctypes.sizeof(made))
        return made
    made = _new(type_ * len(size_or_initializer))
    made.__init__(*size_or_initializer)
    return made


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """Return a ctypes object in shared memory with a lock: a new `RLock`, `lock`, or none if it is false.

    Raises `AttributeError` for a `lock` that is none.

    >>> from faretra import multiprocessing as mp
    >>> counter = mp.Value("i", 1)
    >>> with counter.get_lock():
    ...     counter.value += 1
    >>> counter.value
    2
    """
    return _locked(RawValue(typecode_or_type, *args), lock, ctx)


def Array(typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None) -> Any:
    """Return a ctypes array in shared memory with a lock: a new `RLock`, `lock`, or none if it is false.

    Raises `AttributeError` for a `lock` that is none.

    >>> from faretra import multiprocessing as mp
    >>> mp.Array("i", range(4))[1:3]
    [1, 2]
    """
    return _locked(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def _locked(raw: Any, lock: Any, ctx: Any) -> Any:
    if lock is False:
        return raw
    if lock in (True, None):
        return synchronized(raw, None, ctx)
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(raw, lock, ctx)


def copy(obj: Any) -> Any:
    """Return a copy of a ctypes object, in shared memory."""
    made = _new(type(obj))
    ctypes.memmove(ctypes.addressof(made), ctypes.addressof(obj), ctypes.sizeof(obj))
    return made


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Return a wrapper that locks each access to a ctypes object: with `lock`, or a new `RLock`."""
    if lock is None:
        from faretra.multiprocessing.synchronize import RLock

        lock = RLock()
    return sharedctypes.synchronized(obj, lock, ctx)
