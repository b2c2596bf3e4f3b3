"""Objects that are neither array nor table: pickled, with their large buffers beside the pickle."""

from __future__ import annotations

import pickle
from typing import Any

# Smaller buffers cost less inside the pickle than beside it.
_SMALL = 512


def dumps(value: Any) -> tuple[bytes, list[memoryview]]:
    """Pickle `value` (protocol 5); the buffers that stay out of the pickle are returned beside it, and not copied."""
    buffers: list[memoryview] = []

    def out_of_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _SMALL:
            return True
        buffers.append(view)
        return False

    try:
        return pickle.dumps(value, 5, buffer_callback=out_of_band), buffers
    except (AttributeError, pickle.PicklingError, TypeError) as error:
        kind = type(value)
        raise TypeError(
            f"a {kind.__module__}.{kind.__qualname__} cannot be put: it is no array, table or bytes, and cannot be "
            f"pickled ({error})"
        ) from error


def loads(data: Any, buffers: list[Any]) -> Any:
    """Undo `dumps`. Arrays are built over `buffers`, which are not copied."""
    try:
        return pickle.loads(data, buffers=buffers)
    except (AttributeError, ImportError) as error:
        raise type(error)(
            f"{error}; the pickle names something that this process cannot import: what was put refers to a class or "
            "function of the program that put it, which has to be in a module that both can import"
        ) from error
