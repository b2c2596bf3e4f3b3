"""Objects that are neither array nor table: pickled, with their large buffers beside the pickle."""

from __future__ import annotations

import io
import os
import pickle
import sys
import warnings
from typing import Any

# Smaller buffers cost less inside the pickle than beside it.
_SMALL = 512

_HERE = os.path.dirname(__file__) + os.sep


class _Pickler(pickle.Pickler):
    """A pickler whose arrays go beside the pickle also where numpy would put them inside."""

    def reducer_override(self, value: Any) -> Any:
        """Return how an array is rebuilt without a copy; everything else is pickled as usual."""
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray) or value.dtype.hasobject:
            return NotImplemented
        if isinstance(value, numpy.ma.MaskedArray):
            if type(value) is not numpy.ma.MaskedArray:
                return NotImplemented
            hard = bool(value._hardmask)
            return _masked, (numpy.asarray(value.data), value.mask, value.fill_value, hard)
        kind = type(value)
        own = [
            getattr(kind, name) is getattr(numpy.ndarray, name) for name in ("__reduce__", "__reduce_ex__")
        ]
        if not all(own):
            return NotImplemented
        if kind is numpy.memmap:
            # Its file means nothing elsewhere.
            return _same, (value.view(numpy.ndarray),)
        if kind is not numpy.ndarray:
            # What numpy pickles of a subclass, too: no attributes.
            return _as_class, (value.view(numpy.ndarray), kind)
        if not _exports(value):
            # Dates, and element types that other libraries registered.
            order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
            plain = numpy.ascontiguousarray(value.reshape(-1, order=order)).view("u1")
            return _of_type, (plain, value.dtype, value.shape, order)
        if value.flags.c_contiguous or value.flags.f_contiguous:
            return NotImplemented
        return _same, (value.copy(),)


def _exports(array: Any) -> bool:
    try:
        memoryview(array).release()
    except (ValueError, TypeError, BufferError):
        return False
    return True


def _same(array: Any) -> Any:
    return array


def _as_class(array: Any, kind: type) -> Any:
    return array.view(kind)


def _of_type(array: Any, dtype: Any, shape: tuple[int, ...], order: str) -> Any:
    return array.view(dtype).reshape(shape, order=order)


def _masked(data: Any, mask: Any, fill_value: Any, hard: bool) -> Any:
    import numpy

    return numpy.ma.MaskedArray(data, mask=mask, fill_value=fill_value, hard_mask=hard, copy=False)


def dumps(value: Any) -> tuple[bytes, list[memoryview]]:
    """Pickle `value` (protocol 5); the buffers that stay out of the pickle are returned beside it, and not copied."""
    buffers: list[memoryview] = []

    def out_of_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _SMALL:
            return True
        buffers.append(view)
        return False

    file = io.BytesIO()
    try:
        _Pickler(file, 5, buffer_callback=out_of_band).dump(value)
    except (AttributeError, pickle.PicklingError, TypeError) as error:
        kind = type(value)
        raise TypeError(
            f"a {kind.__module__}.{kind.__qualname__} cannot be put: it is no array, table or bytes, and cannot be "
            f"pickled ({error}){_what_instead(str(error))}"
        ) from error
    return file.getvalue(), buffers


def _what_instead(text: str) -> str:
    if "lambda" in text or "<locals>" in text or "local object" in text:
        return "; functions and classes are pickled by name: define them at the top of a module that readers can import"
    return ""


def loads(data: Any, buffers: list[Any]) -> Any:
    """Undo `dumps`. Arrays are built over `buffers`, which are not copied."""
    try:
        return pickle.loads(data, buffers=buffers)
    except (AttributeError, ImportError) as error:
        raise type(error)(
            f"{error}; the pickle names something that this process cannot import: what was put refers to a class or "
            "function of the program that put it, which has to be in a module that both can import"
        ) from error


def is_scalar(value: Any) -> bool:
    """Return whether `value` is a number of numpy's: it exports a buffer, and is no array all the same."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def warn_of_objects() -> None:
    """Warn whoever puts an array of objects, at the line that does it: once for each, as Python's filters say."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        "an array of Python objects, or of strings of any length, is pickled: it is copied when it is put and when it is "
        "read. Arrays of one plain element type are not copied when they are read",
        UserWarning,
        stacklevel=level + 1,
    )
