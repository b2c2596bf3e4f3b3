"""Which measurements there are, and the command line."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import faretra
from faretra import _plot
from faretra._out import say
from faretra.bench import _conversions, _multiprocessing, _report, _rivals
from faretra.bench._measure import (
    GB,
    KB,
    MB,
    NoRoom,
    Row,
    check_room,
    import_times,
    median,
    medians,
    memcpy_cold,
    memcpy_warm,
    pattern,
    short,
)

PUT, FRESH, GET, START = "put of an array", "put into fresh memory", "get of an array", "import"


def _rounds(nbytes: int) -> int:
    """How often arrays of this size are put into fresh memory."""
    return 5 if nbytes >= 64 * MB else 25


def _together(nbytes: int) -> int:
    """How many of them lie in one arena at the same time."""
    return 1 if nbytes >= 64 * MB else _rounds(nbytes)


class Run:
    """One run: its rows, and what it left out."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.sizes = [8 * KB, 4 * MB] if quick else [8 * KB, MB, 64 * MB, GB]
        self.budget = 0.05 if quick else 1.0
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}
        # The group and the way of what could not be measured, and why.
        self.absent: dict[tuple[str, str], str] = {}
        self.folder = os.environ.get("FARETRA_DIR", "/dev/shm")

    def check_room(self) -> None:
        """Raise `NoRoom` unless the file system has room for everything that is measured."""
        # The values that lie there at the same time: those of `_fresh` and one that is copied beside them, or versions.
        most = max(max(3, _together(nbytes) + 2) * nbytes for nbytes in self.sizes)
        check_room(most + (16 << 20), self.folder)
        # What the standard library shares lies there, whatever the directory is.
        check_room(2 * max(self.sizes), "/dev/shm")

    def note(self, text: str) -> None:
        """Say on standard error what is measured now."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def add(self, group: str, what: str, kind: str, nbytes: int, seconds: float) -> None:
        """Take a number."""
        self.rows.append(Row(group, what, kind, nbytes, seconds))

    def handed(self, group: str, name: str, nbytes: int, times: _rivals.HandedOver) -> None:
        """Take what was measured of one way: until a value can be used, and until all of it was read."""
        kind = "ours" if name == "faretra" else "other"
        self.add(group, name, kind, nbytes, times.usable)
        self.rows.append(Row(f"{group}, every byte read", name, kind, nbytes, times.read, times.use))

    def skip(self, group: str, name: str, why: str) -> None:
        """Take why a way could not be measured."""
        self.skipped[name] = why
        self.absent.setdefault((group, name), why)

    def alone(self) -> None:
        """Measure put and get in one process, beside memcpy."""
        for nbytes in self.sizes:
            self.note(f"put and get, {_report.size_text(nbytes)}")
            self._warm(pattern(nbytes))
            self._fresh(pattern(nbytes))

    def _warm(self, array: np.ndarray[Any, Any]) -> None:
        nbytes = array.nbytes
        name, limit = f"bench-{os.getpid()}", 4 * nbytes + (64 << 20)
        with faretra.Arena.create(name, limit=limit, keep=False) as arena:
            for _ in range(3):
                arena.put("x", array)
            calls = [lambda: arena.put("x", array), memcpy_warm(array)]
            put, floor = medians(calls, budget=self.budget, least=7)
            self.add(PUT, "put, warm", "ours", nbytes, put)
            self.add(PUT, "memcpy into touched memory", "floor", nbytes, floor)
            self.add(GET, 'arena["x"]', "ours", nbytes, short(lambda: arena["x"], budget=self.budget / 2))
            private = median(lambda: arena.private("x"), budget=self.budget / 2)
            self.add(GET, 'arena.private("x")', "ours", nbytes, private)
        self.add(GET, "copy of it", "floor", nbytes, median(array.copy, budget=self.budget / 2, least=3))

    def _fresh(self, array: np.ndarray[Any, Any]) -> None:
        """Put under new names, so that no memory is used again, in an arena that is in use already."""
        rounds = _rounds(array.nbytes)
        together = _together(array.nbytes)
        put: list[float] = []
        floor: list[float] = []
        for _ in range(rounds // together):
            name, limit = f"bench-{os.getpid()}", (together + 1) * array.nbytes + (64 << 20)
            with faretra.Arena.create(name, limit=limit, keep=False) as arena:
                arena["first"] = b"1"
                for index in range(together):
                    begin = time.perf_counter()
                    arena.put(f"x{index}", array)
                    put.append(time.perf_counter() - begin)
                    floor.append(memcpy_cold(array, self.folder))
        self.add(FRESH, "put, fresh memory", "ours", array.nbytes, statistics.median(put))
        self.add(FRESH, "memcpy into fresh tmpfs pages", "floor", array.nbytes, statistics.median(floor))

    def handed_over(self) -> None:
        """Measure values that go to another process."""
        for nbytes in self.sizes:
            self._values("array", "hand-over of an array", nbytes, partial(pattern, nbytes))
        length = 5_000 if self.quick else 50_000
        twenty = 20 * length * 8
        make = {f"layer{i}": np.arange(length, dtype="float64") for i in range(20)}
        self._values("dict", "hand-over of a dict of 20 arrays", twenty, lambda: make)
        rows = 50_000 if self.quick else 1_000_000
        try:
            pa: Any = import_module("pyarrow")
        except ImportError:
            self.skipped["hand-over of a table"] = "pyarrow is not installed"
            return
        columns = {
            "id": np.arange(rows),
            "price": np.linspace(0, 1, rows),
            "city": pa.array(["Faro", "Tavira"] * (rows // 2)),
        }
        frame = pa.table(columns)
        self._values("table", f"hand-over of a table of {rows:,} rows", frame.nbytes, lambda: frame)

    def _values(self, kind: str, group: str, nbytes: int, make: Callable[[], Any]) -> None:
        self.note(f"{group}, {_report.size_text(nbytes)}")
        least = 3 if nbytes < 512 * MB else 2
        for way in (make_way() for make_way in _rivals.WAYS):
            if kind not in way.carries:
                continue
            try:
                way.check()
                times = _rivals.hand_over(way, make, nbytes, budget=self.budget, least=least)
            except _rivals.Unsuited as why:
                self.skip(group, way.name, str(why))
                continue
            except (OSError, MemoryError, ValueError) as error:
                self.skipped[f"{way.name}, {group}, {_report.size_text(nbytes)}"] = (
                    f"{type(error).__name__}: {error}"
                )
                continue
            self.handed(group, way.name, nbytes, times)
        self._ray(group, nbytes, make)

    def _ray(self, group: str, nbytes: int, make: Callable[[], Any]) -> None:
        ray = _rivals.Ray()
        if self.quick:
            self.skip(group, ray.name, "it takes seconds to start, so --quick leaves it out")
            return
        try:
            ray.check()
            with ray.open(nbytes):
                self.handed(group, ray.name, nbytes, ray.hand_over(make(), budget=self.budget))
        except _rivals.Unsuited as why:
            self.skip(group, ray.name, str(why))

    def started(self) -> None:
        """Measure what the import takes over numpy's."""
        statements = ["import numpy", "import numpy, faretra"]
        for statement, taken in zip(
            statements, import_times(statements, 3 if self.quick else 15), strict=True
        ):
            self.add(START, statement, "ours" if "faretra" in statement else "floor", 0, taken)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurements from a command line, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m faretra.bench", description="Measure Faretra beside other ways."
    )
    parser.add_argument(
        "--section",
        choices=["arena", "command", "multiprocessing", "all"],
        default="arena",
        help="what is measured: arenas and the command (the default), the command beside pyarrow only, "
        "faretra.multiprocessing beside multiprocessing, or everything",
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, seconds instead of minutes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--plot", metavar="FILE", help="write a plot: .png or .svg; needs matplotlib")
    given = parser.parse_args(argv)
    if given.plot and not _plot.have_matplotlib():
        parser.error("--plot needs matplotlib: pip install matplotlib")
    run = Run(given.quick)
    try:
        if given.section in ("arena", "all"):
            run.check_room()
            run.started()
            run.alone()
            run.handed_over()
        if given.section != "multiprocessing":
            _conversions.measure(run)
        if given.section in ("multiprocessing", "all"):
            _multiprocessing.measure(run)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (faretra.Error, NoRoom) as error:
        less = "" if given.quick else "\nbench: --quick needs less memory"
        print(f"bench: {error}{less}", file=sys.stderr)
        return 1
    if given.plot:
        _report.draw(run.rows, Path(given.plot))
    if told := os.environ.get("FARETRA_BENCH_ROWS"):
        _report.tell(run.rows, run.absent, Path(told))
    if given.json:
        say(json.dumps(_report.as_json(run.rows, run.skipped), indent=1))
        return 0
    where = ", ".join(f"{key} {value}" for key, value in _report.machine().items())
    say(f"\n{_report.table(run.rows)}\n\n{_report.targets_table(_report.targets(run.rows))}\n\n{where}")
    if given.section != "multiprocessing":
        say("Medians. A ratio compares with the first line of its block.")
    else:
        say('Medians of calls that took turns. "As fast" is how many times as fast as multiprocessing.')
    for what, why in run.skipped.items():
        say(f"left out: {what}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
