"""Objects on their way to another process: pickled, with their large buffers beside the pickle.

`dumps` returns the *pieces* of a pickle (protocol 5) and its *buffers*. The pieces are what the pickler writes: it
writes `bytes`, `bytearray` and text from 64 KiB on in one go, so that each of these is a piece of its own, which
nobody copies before it is copied into the arena. A buffer is what an object hands out of band: the memory of a numpy
array, of an Arrow buffer, of a tensor. Buffers of less than `SMALL` bytes stay in the pickle.

`loads` takes what `faretra._native` makes of a parcel (`python/src/parcel.rs`). Buffers that could be written where
they came from are private maps there, which the receiver can write (copy-on-write); the others are read-only. What
arrives has the type, dtype, shape, order and writability of what was sent.

Nothing is registered with `ForkingPickler`; what others registered there is used.
"""

from __future__ import annotations

import copyreg
import importlib
import pickle
import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

from faretra._native import Pinned

# Buffers of fewer bytes cost less in the pickle than beside it: to copy them is faster than to map them, above all if the
# receiver writes to them (measured).
SMALL = 256 << 10

Pieces = list[Any]
# Each with whether it can be written.
Buffers = list[tuple[Any, bool]]
Reducer = Callable[[Any], Any]

# How objects of other packages are pickled here, once those are imported.
_reducers: dict[type, Reducer] = {}
_known: set[str] = set()


class _File:
    """What a pickler writes to."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[Any], object]) -> None:
        self.write = write


class _Pickler(ForkingPickler):
    def __init__(self, file: _File, aside: Callable[[pickle.PickleBuffer], bool]) -> None:
        # Not that of `ForkingPickler`, whose table looks in each of two dicts for each object.
        pickle.Pickler.__init__(self, file, 5, True, aside)  # pyright: ignore[reportArgumentType]
        for package in _PACKAGES:
            if package not in _known and package in sys.modules:
                _meet(package)
        registered: dict[type, Reducer] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
        self.dispatch_table = {**copyreg.dispatch_table, **registered, **_reducers}


def dumps(obj: object) -> tuple[Pieces, Buffers]:
    """Pickle `obj`: return the pieces of the pickle, and the buffers beside it, none of which is copied."""
    pieces: Pieces = []
    buffers: Buffers = []

    def aside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < SMALL:
            return True
        buffers.append((_received(view) or view, not view.readonly))
        return False

    def write(piece: Any) -> None:
        # What is large and stays in the pickle comes as the object that it is the memory of.
        pieces.append(piece if type(piece) is bytes else pickle.PickleBuffer(piece).raw())

    _Pickler(_File(write), aside).dump(obj)
    return pieces, buffers


def size(pieces: Pieces, buffers: Buffers) -> int:
    """Return how many bytes that is."""
    return sum(map(len, pieces)) + sum(memoryview(buffer).nbytes for buffer, _ in buffers)


def own(pieces: Pieces, buffers: Buffers) -> tuple[Pieces, Buffers]:
    """Copy what others could change meanwhile."""
    return [bytes(piece) for piece in pieces], [(bytes(buffer), writable) for buffer, writable in buffers]


def loads(parcel: Any) -> Any:
    """Undo `dumps`: of the pickle as bytes, or of its pieces and buffers."""
    if type(parcel) is bytes:
        return pickle.loads(parcel)
    pieces, buffers = parcel
    if len(pieces) == 1:
        return pickle.loads(pieces[0], buffers=buffers)
    return pickle.Unpickler(_Stream(pieces), buffers=buffers).load()


def plain(parcel: Any) -> bytes:
    """Return what was sent as one pickle, or as bytes."""
    if type(parcel) is bytes:
        return parcel
    pieces, buffers = parcel
    if not buffers:
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
    return bytes(ForkingPickler.dumps(loads(parcel), 5))


class _Stream:
    """The pieces of a pickle, for an unpickler to read: what is large goes straight to where it belongs."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = [memoryview(piece) for piece in reversed(pieces)]

    def readinto(self, into: Any) -> int:
        into = memoryview(into)
        done = 0
        while self._pieces and done < len(into):
            piece = self._pieces.pop()
            some = min(len(piece), len(into) - done)
            into[done : done + some] = piece[:some]
            done += some
            if some < len(piece):
                self._pieces.append(piece[some:])
        return done

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            count = sum(map(len, self._pieces))
        if self._pieces and count <= len(self._pieces[-1]):
            piece = self._pieces.pop()
            if count < len(piece):
                self._pieces.append(piece[count:])
            return bytes(piece[:count])
        into = bytearray(count)
        return bytes(into[: self.readinto(into)])

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return bytes(line)


def _received(view: memoryview) -> Pinned | None:
    """Return the map that was received from another process, if this is the whole of it."""
    owner: Any = view.obj
    # An array may be a view of another.
    while type(owner) is not Pinned:
        owner = owner.obj if type(owner) is memoryview else getattr(owner, "base", None)
        if owner is None:
            return None
    return owner if owner.nbytes == view.nbytes else None


def _reduce_array(array: Any) -> Any:
    if array.nbytes < SMALL or array.dtype.hasobject:
        return array.__reduce_ex__(5)
    # Without this, what is not contiguous, and dates, would be copied into the pickle.
    flags = array.flags
    if not (flags.c_contiguous or flags.f_contiguous):
        array = sys.modules["numpy"].ascontiguousarray(array)
    if array.dtype.kind in "mM":
        return _dates, (array.view("i8"), array.dtype)
    return array.__reduce_ex__(5)


def _dates(numbers: Any, dtype: Any) -> Any:
    return numbers.view(dtype)


def _reduce_tensor(tensor: Any) -> Any:
    torch = sys.modules["torch"]
    plain = tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_quantized
    if not plain or (tensor.requires_grad and not tensor.is_leaf):
        registered = ForkingPickler._extra_reducers.get(torch.Tensor)  # type: ignore[attr-defined]
        return registered(tensor) if registered else tensor.__reduce_ex__(5)
    data = tensor.detach().resolve_conj().resolve_neg()
    strides = None
    if not data.is_contiguous():
        dense = sorted(zip(data.stride(), data.shape, strict=True))
        step = 1
        for stride, length in dense:
            if length != 1 and stride != step:
                data = data.contiguous()
                break
            step *= length
        else:
            strides = data.stride()
            data = torch.as_strided(data, (data.numel(),), (1,))
    flat = data.reshape(-1).view(torch.uint8).numpy()
    return _tensor, (flat, tensor.dtype, tuple(tensor.shape), strides, tensor.requires_grad)


def _tensor(flat: Any, dtype: Any, shape: tuple[int, ...], strides: Any, requires_grad: bool) -> Any:
    torch = importlib.import_module("torch")
    data = torch.from_numpy(flat).view(dtype)
    data = data.reshape(shape) if strides is None else torch.as_strided(data, shape, strides)
    return data.requires_grad_() if requires_grad else data


_PACKAGES: dict[str, tuple[str, Reducer]] = {
    "numpy": ("ndarray", _reduce_array),
    "torch": ("Tensor", _reduce_tensor),
}


def _meet(package: str) -> None:
    name, reducer = _PACKAGES[package]
    cls = getattr(sys.modules[package], name, None)
    # Otherwise it is being imported just now.
    if cls is not None:
        _reducers[cls] = reducer
        _known.add(package)
