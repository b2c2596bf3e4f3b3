"""Medians, and the floors: what memory itself takes for as many bytes."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Row:
    """One number: what was measured, of how many bytes, in seconds. `kind` is "ours", "other" or "floor"."""

    group: str
    what: str
    kind: str
    nbytes: int
    seconds: float


def median(call: Callable[[], Any], *, budget: float, least: int = 5, most: int = 2000) -> float:
    """Return the median time of a call, in seconds: of as many calls as go into `budget` seconds, but at least `least`."""
    call()
    gc.collect()
    gc.disable()
    try:
        times: list[float] = []
        end = time.perf_counter() + budget
        while len(times) < least or (len(times) < most and time.perf_counter() < end):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
    finally:
        gc.enable()
    return statistics.median(times)


def short(call: Callable[[], Any], *, budget: float) -> float:
    """Return the time of a call that takes about a microsecond, in seconds: the median of means over 100 calls."""

    def hundred() -> None:
        for _ in range(100):
            call()

    return median(hundred, budget=budget) / 100


def pattern(nbytes: int) -> np.ndarray[Any, Any]:
    """Return an array of doubles that takes `nbytes`."""
    return np.arange(nbytes // 8, dtype="float64")


def _address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def memcpy_warm(array: np.ndarray[Any, Any], budget: float) -> float:
    """Return how long a memcpy of the array into memory that was touched before takes."""
    target = np.empty_like(array)
    target.fill(0)
    to, of, nbytes = _address(target), _address(array), array.nbytes
    return median(lambda: ctypes.memmove(to, of, nbytes), budget=budget)


def memcpy_cold(array: np.ndarray[Any, Any], folder: str, rounds: int) -> float:
    """Return how long a memcpy of the array into fresh pages of a file on `folder`'s tmpfs takes."""
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryFile(dir=folder) as file:
            os.ftruncate(file.fileno(), array.nbytes)
            with mmap.mmap(file.fileno(), array.nbytes) as memory:
                held = (ctypes.c_char * array.nbytes).from_buffer(memory)
                begin = time.perf_counter()
                ctypes.memmove(held, _address(array), array.nbytes)
                times.append(time.perf_counter() - begin)
                del held
    return statistics.median(times)


def import_time(statement: str, rounds: int) -> float:
    """Return how long `statement` takes in a new interpreter, in seconds."""
    code = f"import time; begin = time.perf_counter(); {statement}; print(time.perf_counter() - begin)"
    run = [sys.executable, "-c", code]
    return statistics.median(float(subprocess.check_output(run, timeout=60)) for _ in range(rounds))
