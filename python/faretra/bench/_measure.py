"""Medians, and the floors: what memory itself takes for as many bytes."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faretra._sizes import free, shown

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30


class NoRoom(Exception):
    """A tmpfs is too small for what is to be measured. Who writes to a map of a full one is killed by SIGBUS."""


def check_room(needed: int, folder: str) -> None:
    """Raise `NoRoom` unless so many bytes are free on `folder`'s tmpfs."""
    room = free(folder)
    if needed > room:
        raise NoRoom(
            f"this needs {shown(needed)} of {folder}, and has no room there: {shown(room)} are free; use a larger tmpfs "
            "(FARETRA_DIR=...; in Docker --shm-size)"
        )


@dataclass(frozen=True)
class Row:
    """One number: what was measured, of how many bytes, in seconds. `kind` is "ours", "other" or "floor"."""

    group: str
    what: str
    kind: str
    nbytes: int
    seconds: float
    more: Use | None = None


@dataclass(frozen=True)
class Use:
    """What is known of a value that goes to another process besides its median: tails, and what both processes used."""

    p99: float
    p999: float
    cpu: float
    minor_faults: float
    major_faults: float


def used() -> tuple[float, int, int]:
    """Return what this process has used: processor time in seconds, page faults served from memory, and those that read."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_minflt, usage.ru_majflt


def part(times: Sequence[float], wanted: float) -> float:
    """Return the time that so large a part of all times does not exceed.

    >>> part([3.0, 1.0, 2.0], 0.5), part([3.0, 1.0, 2.0], 0.99)
    (2.0, 3.0)
    """
    return sorted(times)[round((len(times) - 1) * wanted)]


def median(call: Callable[[], Any], *, budget: float, least: int = 5) -> float:
    """Return the median time of a call, in seconds: of as many calls as go into `budget` seconds, but at least `least`."""
    return medians([call], budget=budget, least=least)[0]


def medians(
    calls: Sequence[Callable[[], Any]], *, budget: float, least: int = 5, most: int = 2000
) -> list[float]:
    """Return the median time of each call, in seconds. They take turns, so that what disturbs one disturbs the others."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget * len(calls)
        while len(times[0]) < least or (len(times[0]) < most and time.perf_counter() < end):
            for call, taken in zip(calls, times, strict=True):
                begin = time.perf_counter()
                call()
                taken.append(time.perf_counter() - begin)
    finally:
        gc.enable()
    return [statistics.median(taken) for taken in times]


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


def memcpy_warm(array: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """Return a call that copies the array into memory that was touched before."""
    target = np.empty_like(array)
    target.fill(0)
    to, of, nbytes = _address(target), _address(array), array.nbytes

    def copy(kept: np.ndarray[Any, Any] = target) -> None:
        # The default keeps the memory that is copied to.
        ctypes.memmove(to, of, nbytes)

    return copy


def memcpy_cold(array: np.ndarray[Any, Any], folder: str) -> float:
    """Copy the array into fresh pages of a file on `folder`'s tmpfs, and return how long that took, in seconds."""
    check_room(array.nbytes, folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        os.ftruncate(file.fileno(), array.nbytes)
        with mmap.mmap(file.fileno(), array.nbytes) as memory:
            held = (ctypes.c_char * array.nbytes).from_buffer(memory)
            address = _address(array)
            begin = time.perf_counter()
            ctypes.memmove(held, address, array.nbytes)
            taken = time.perf_counter() - begin
            del held
            return taken


def import_times(statements: Sequence[str], rounds: int) -> list[float]:
    """Return how long each statement takes in a new interpreter, in seconds. They take turns."""
    times: list[list[float]] = [[] for _ in statements]
    for _ in range(rounds):
        for statement, taken in zip(statements, times, strict=True):
            code = (
                f"import time; begin = time.perf_counter(); {statement}; print(time.perf_counter() - begin)"
            )
            taken.append(float(subprocess.check_output([sys.executable, "-c", code], timeout=60)))
    return [statistics.median(taken) for taken in times]
