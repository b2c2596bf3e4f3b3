"""Torch tensors over an arena's memory. Torch itself is imported by the first call that needs it.

What torch reads from an arena is not copied, and what a `DataLoader`'s workers collate goes to the main process without
being pickled or copied:

    loader = DataLoader(samples, batch_size=32, num_workers=4, collate_fn=faretra.torch.collate(arena, "batch"))
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import faretra

__all__ = ["collate", "tensor"]

# An arena's name and directory.
_Place = tuple[str, Path]


def tensor(arena: faretra.Arena, name: str, *, writable: bool = True) -> Any:
    """Return the array (or the bytes) of `name` as a torch tensor on the CPU, without copying it.

    By default the tensor is a private view: it can be written, pages that are written become this process's own, and
    nobody else sees the changes. With `writable=False` it shares the arena's memory, which cannot be written: torch has no
    read-only tensors, so an operation in place (`t += 1`) ends the process with SIGSEGV. Use that form for what is only
    read; it is quicker to make. The memory stays for as long as the tensor lives, also when the name is put anew or
    removed.

    Raises:
        NotFoundError: There is nothing of that name.
        TypeError: The value is no array or bytes, or its dtype is one that torch has not (text, dates, big-endian numbers).
        ImportError: Torch is not installed.

    >>> with faretra.Arena.create("doc-torch", keep=False) as arena:
    ...     arena["x"] = np.arange(3.0)
    ...     faretra.torch.tensor(arena, "x").sum()  # doctest: +SKIP
    tensor(3., dtype=torch.float64)
    """
    torch = _torch()
    kind = arena.info(name).kind
    if kind not in ("array", "bytes"):
        article = "an" if kind[0] in "aeiou" else "a"
        raise TypeError(f"{name!r} is {article} {kind}: a tensor is made of an array or of bytes")
    array = np.asarray(arena.private(name) if writable else arena[name])
    if not writable:
        array = np.asarray(_Unguarded(array))
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise TypeError(
            f"torch has no dtype for {array.dtype}, which {name!r} is made of: {error}"
        ) from error


class _Unguarded:
    """An array's memory without its read-only flag, which torch would warn of. It keeps the array."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def collate(
    arena: faretra.Arena | str, name: str = "batch", *, writable: bool = True
) -> Callable[[Sequence[Any]], Any]:
    """Return a `collate_fn` for `torch.utils.data.DataLoader` that writes the samples straight into the arena.

    Arrays, tensors and numbers are stacked along a new first axis, as torch's own `default_collate` does; dicts, lists,
    tuples and named tuples keep their structure; text, bytes and everything else become lists. A worker process writes
    each stack into a draft and sends only its name, so that a batch is copied once, not three times. The main process gets
    tensors over that memory (as those of `tensor`, with its `writable`), which is free again when the last is dropped.

    The arena needs room for the batches under way: `num_workers * prefetch_factor`, and those that the program keeps.
    Batches that were sent and never received stay until the arena is removed, so `keep=False` is a good choice.

    Args:
        arena: An open arena, or the name of one.
        name: What the names of the batches begin with. They are removed when a batch is received.
        writable: Whether the tensors may be written, in which case their pages are copied when they are.

    Raises:
        ValueError: (when it is called) There are no samples, or their shapes differ.
        TypeError: (when it is called) An array cannot be one of torch's.
        NoSpaceError: (when it is called) The arena has no room for the batch.

    >>> with faretra.Arena.create("doc-collate", keep=False) as arena:
    ...     stack = faretra.torch.collate(arena)
    ...     stack([(np.zeros(2), 1), (np.ones(2), 0)])  # doctest: +SKIP
    (tensor([[0., 0.],
            [1., 1.]], dtype=torch.float64), tensor([1, 0]))
    """
    if isinstance(arena, str):
        arena = faretra.Arena.open(arena)
    return _Collate(arena, name, writable)


_count = itertools.count()


class _Collate:
    """The function that `collate` returns. It goes to worker processes by the arena's name."""

    def __init__(self, arena: faretra.Arena, name: str, writable: bool) -> None:
        self._place, self._name, self._writable = (arena.name, arena.path.parent), name, writable
        self._arena = arena
        _arenas[os.getpid(), *self._place] = arena

    def __reduce__(self) -> Any:
        return (_collate_there, (self._place, self._name, self._writable))

    def __call__(self, samples: Sequence[Any]) -> Any:
        if not samples:
            raise ValueError("there are no samples to collate")
        # A forked child finds no arena of its own at first.
        arena = self._arena = _opened(self._place)
        made: list[str] = []
        try:
            shape = self._collate(arena, samples, f"{self._name}/{os.getpid()}-{next(_count)}", made)
        except BaseException:
            for name in made:
                arena.remove(name)
            raise
        batch = _Sent(self._place, shape, self._writable)
        return batch if _in_worker() else batch.take()

    def _collate(self, arena: faretra.Arena, samples: Sequence[Any], name: str, made: list[str]) -> Any:
        """Return the samples as one value whose stacks are the `_Stack`s of names."""
        first = samples[0]
        if isinstance(first, Mapping):
            return {
                key: self._collate(arena, [sample[key] for sample in samples], f"{name}.{key}", made)
                for key in first
            }
        if isinstance(first, list | tuple):
            if any(len(sample) != len(first) for sample in samples):
                raise ValueError("the samples are sequences of different lengths")
            columns = [
                self._collate(arena, list(column), f"{name}.{index}", made)
                for index, column in enumerate(zip(*samples, strict=True))
            ]
            return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)
        arrays = [_as_array(sample) for sample in samples]
        stack = [array for array in arrays if array is not None]
        if len(stack) != len(arrays):
            return list(samples)
        return self._stack(arena, stack, name, made)

    def _stack(
        self, arena: faretra.Arena, arrays: list[np.ndarray[Any, Any]], name: str, made: list[str]
    ) -> _Stack:
        shape, dtype = arrays[0].shape, np.result_type(*{array.dtype for array in arrays})
        if any(array.shape != shape for array in arrays):
            raise ValueError(
                f"the samples have different shapes: {sorted({array.shape for array in arrays})}"
            )
        with arena.draft_array(name, (len(arrays), *shape), dtype) as draft:
            for row, array in enumerate(arrays):
                draft[row] = array
        made.append(name)
        return _Stack(name)


class _Stack:
    """The name of an array that was stacked."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Sent:
    """A batch on its way to another process: unpickled there, it is the batch itself."""

    def __init__(self, place: _Place, value: Any, writable: bool) -> None:
        self._parts = (place, value, writable)

    def __reduce__(self) -> Any:
        return (_received, self._parts)

    def take(self) -> Any:
        """Return the batch in this process."""
        return _received(*self._parts)


def _received(place: _Place, value: Any, writable: bool) -> Any:
    return _tensors(_opened(place), value, writable)


def _collate_there(place: _Place, name: str, writable: bool) -> _Collate:
    return _Collate(_opened(place), name, writable)


def _tensors(arena: faretra.Arena, value: Any, writable: bool) -> Any:
    if isinstance(value, _Stack):
        found = tensor(arena, value.name, writable=writable)
        arena.remove(value.name)
        return found
    if isinstance(value, dict):
        return {key: _tensors(arena, part, writable) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_tensors(arena, part, writable) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _as_array(sample: Any) -> np.ndarray[Any, Any] | None:
    """Return a sample as an array, or `None` if it is of a kind that is not stacked."""
    if isinstance(sample, bool | int | float | complex):
        return np.asarray(sample)
    if hasattr(sample, "detach") and hasattr(sample, "cpu"):
        sample = sample.detach().cpu().numpy()
    if isinstance(sample, np.ndarray | np.generic):
        array = np.asarray(sample)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"an array of {array.dtype} cannot be a tensor: torch has no such dtype")
        return array
    return None


# The open arenas by process, name and directory, for as long as a function of `collate` keeps them: so that not each batch
# opens one. A forked child opens its own.
_arenas: weakref.WeakValueDictionary[tuple[int, str, Path], faretra.Arena] = weakref.WeakValueDictionary()


def _opened(place: _Place) -> faretra.Arena:
    arena = _arenas.get((os.getpid(), *place))
    if arena is None or arena.closed:
        name, folder = place
        arena = _arenas[os.getpid(), *place] = faretra.Arena.open(name, dir=folder)
    return arena


def _in_worker() -> bool:
    """Return whether this is a worker process of a `DataLoader`."""
    worker: Any = _torch().utils.data.get_worker_info()
    return worker is not None


def _torch() -> Any:
    try:
        torch = import_module("torch")
        import_module("torch.utils.data")
    except ImportError as error:
        raise ImportError(f"faretra.torch needs torch: pip install torch ({error})") from error
    return torch
