"""How what was read from an arena is pickled: as what it is, for a container or an argument of another process."""

from __future__ import annotations

import copyreg
import pickle
from typing import Any, SupportsIndex

from faretra import _native
from faretra._tables import need


def _same(value: Any) -> Any:
    return value


def _table(table: _native.Table | _native.Selection) -> Any:
    return _same, (need("pyarrow", "pickling a table").table(table),)


def _batch(batch: _native.Batch) -> Any:
    return _same, (need("pyarrow", "pickling a batch").record_batch(batch),)


def reduced_view(view: memoryview, protocol: int) -> Any:
    """Return how a memoryview is rebuilt, read-only: over the same bytes, if they lie beside the pickle."""
    if len(view.format) != 1:
        return NotImplemented
    memory: Any = view if view.c_contiguous and protocol >= 5 else view.tobytes()
    if protocol >= 5:
        memory = pickle.PickleBuffer(memory)
    return _view, (memory, view.format, view.shape if view.nbytes else None)


def _view(memory: Any, format: str, shape: tuple[int, ...] | None) -> memoryview:
    view = memoryview(memory).toreadonly()
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    if shape is None or (format == "B" and len(shape) == 1):
        return view
    return view.cast(format, shape)  # type: ignore[call-overload, no-any-return]


class _Bytes:
    """A memoryview in something that is pickled: the standard library's picklers have no way for it."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return reduced_view(self._view, int(protocol))


def _bundle(bundle: _native.Bundle) -> Any:
    items = ((name, _Bytes(value) if type(value) is memoryview else value) for name, value in bundle.items())
    return dict, (), None, None, items


def _list(stored: _native.StoredList) -> Any:
    return list, (), None, iter(stored)


def _dict(stored: _native.StoredDict) -> Any:
    return dict, (), None, None, iter(stored.items())


def install() -> None:
    """Tell the standard library's picklers. Called once, when the package is imported."""
    copyreg.pickle(_native.Table, _table)
    copyreg.pickle(_native.Selection, _table)
    copyreg.pickle(_native.Batch, _batch)
    copyreg.pickle(_native.Bundle, _bundle)
    copyreg.pickle(_native.StoredList, _list)
    copyreg.pickle(_native.StoredDict, _dict)
