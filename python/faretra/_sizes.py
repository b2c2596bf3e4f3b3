"""Sizes as people write them: ints, or `"2GiB"`."""

from __future__ import annotations

import os
import re

_UNITS = {"": 1, "B": 1}
for _power, _prefix in enumerate("KMGT", 1):
    _UNITS[f"{_prefix}IB"] = 1024**_power
    _UNITS[f"{_prefix}B"] = 1000**_power
    _UNITS[_prefix] = 1024**_power

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def size(given: int | str) -> int:
    """Return a number of bytes.

    >>> size("2GiB"), size("64 MB"), size(4096)
    (2147483648, 64000000, 4096)
    """
    if isinstance(given, bool) or not isinstance(given, int | str):
        if hasattr(given, "__index__") and not isinstance(given, bool):
            return size(given.__index__())
        raise TypeError(f"a size is a number of bytes or text like '2GiB', not {type(given).__name__}")
    if isinstance(given, int):
        if given < 0:
            raise ValueError(f"a size cannot be negative: {given}")
        return given
    match = _SIZE.fullmatch(given)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{given!r} is not a size: write it like '2GiB', '64MB' or '4096'")
    return int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def free(folder: str) -> int:
    """Return how many bytes are free on the file system of a directory."""
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize


def shown(nbytes: int) -> str:
    """Return a number of bytes as people read it.

    >>> shown(8_000_000), shown(12)
    ('7.6 MiB', '12 B')
    """
    amount = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
