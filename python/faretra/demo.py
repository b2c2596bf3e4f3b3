"""The main job, with real processes: `python -m faretra.demo`.

An array and a table go to worker processes, none of which copies them; one worker is killed with SIGKILL while it reads.
The demo prints how much memory all of its processes have before and after, counted so that shared memory counts once
(PSS), beside what copies would have taken, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import faretra
from faretra import _plot
from faretra._out import say
from faretra._sizes import free, shown, size

__all__ = ["main"]

# How long a worker may take for an answer, in seconds.
_PATIENCE = 120.0
# Bytes of a row of the table: two columns of 8 bytes.
_ROW = 16
_BATCHES = 8


class Trouble(Exception):
    """What ends the demo in words."""


@dataclass
class Story:
    """What the demo measured. Bytes, and seconds."""

    workers: int
    array: int
    table: int
    put: float = 0.0
    get: float = 0.0
    before: int = 0
    after: int = 0
    machine_before: int = 0
    machine_after: int = 0
    processes: int = 0
    killed: int = 0
    recovery: float = 0.0
    survivors: int = 0
    violations: list[str] = field(default_factory=list)
    left: int = 0
    plot: str | None = None

    @property
    def copies(self) -> int:
        """Bytes that one copy for each worker takes."""
        return self.workers * (self.array + self.table)


def pss(pid: int) -> int:
    """Return the memory of a process in bytes, where what n processes share counts as one n-th for each of them."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def machine_pss() -> tuple[int, int]:
    """Return the memory of all processes of the machine that may be looked at, in bytes, and how many these are."""
    total, processes = 0, 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                total, processes = total + pss(int(entry.name)), processes + 1
            except (OSError, StopIteration):
                # It ended, is the kernel's own, or somebody else's.
                continue
    return total, processes


def checksum(arena: faretra.Arena) -> float:
    """Read every element of the array and of the table."""
    return float(arena["array"].sum()) + sum(float(column.sum()) for column in _columns(arena["table"]))


def _columns(table: Any) -> Iterator[Any]:
    if isinstance(table, faretra.Bundle):
        yield from table.values()
        return
    pa: Any = import_module("pyarrow")
    for index in range(table.num_batches):
        yield from (column.to_numpy() for column in pa.record_batch(table.batch(index)).columns)


def _warm_up() -> None:
    """Load what takes memory by itself, before memory is measured."""
    try:
        pa: Any = import_module("pyarrow")
    except ImportError:
        return
    pa.array([0.0]).to_numpy()


def worker(name: str, pipe: Connection) -> None:
    """Answer each order with a number, in a worker process. `go on` reads until the process is killed."""
    _warm_up()
    arena = faretra.Arena.open(name)
    pipe.send(0.0)
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        if order == "read":
            pipe.send(checksum(arena))
        elif order == "time":
            pipe.send(_time_of_get(arena))
        elif order == "go on":
            pipe.send(0.0)
            while True:
                checksum(arena)


def _time_of_get(arena: faretra.Arena) -> float:
    times = []
    for _ in range(1000):
        begin = time.perf_counter()
        arena["array"]
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@contextmanager
def deaf() -> Iterator[None]:
    """Let processes that start in the block never see Ctrl-C, and this one see it when the block has ended."""
    # Its start would let this thread have the signal again (CPython's ResourceTracker.ensure_running): it comes before.
    resource_tracker.ensure_running()
    pressed: list[int] = []
    # Another thread may get the signal although this one blocks it; what starts here inherits what is blocked.
    handler = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if pressed:
        raise KeyboardInterrupt


class _Worker:
    """A worker process, and the pipe to it."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker, args=(name, theirs), daemon=True)
        self._theirs = theirs

    def start(self) -> None:
        """Start the process."""
        with deaf():
            self.process.start()
        self._theirs.close()

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def order(self, what: str) -> None:
        self.pipe.send(what)

    def answer(self) -> float:
        if not self.pipe.poll(_PATIENCE):
            raise Trouble(f"worker {self.pid} did not answer within {_PATIENCE:.0f} seconds")
        try:
            return float(self.pipe.recv())
        except EOFError:
            self.process.join(1)
            raise Trouble(f"worker {self.pid} ended with exit code {self.process.exitcode}") from None

    def end(self) -> None:
        """Let it end; kill it if it does not."""
        self.pipe.close()
        if self.process.pid is None:
            return
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _workers(name: str, count: int) -> Iterator[list[_Worker]]:
    """Start workers, and end them whatever happens."""
    started: list[_Worker] = []
    try:
        for _ in range(count):
            started.append(_Worker(name))
            started[-1].start()
        for one in started:
            one.answer()
        yield started
    except BaseException:
        for one in started:
            if one.process.pid is not None:
                one.process.kill()
        raise
    finally:
        for one in started:
            one.end()


def fill(arena: faretra.Arena, array: int, table: int) -> None:
    """Put an array and a table of about so many bytes into the arena, and copy neither."""
    side = max(int((array / 8) ** 0.5), 1)
    with arena.draft_array("array", (side, side), "float64") as drafted:
        for row in drafted:
            row[:] = np.arange(side)
    rows = max(table // _ROW // _BATCHES, 1)
    try:
        pa: Any = import_module("pyarrow")
    except ImportError:
        # Without an Arrow library: the columns, as one value.
        columns = {"id": np.arange(rows * _BATCHES), "price": np.linspace(0.0, 1.0, rows * _BATCHES)}
        arena.put_many("table", columns)
        return
    schema = pa.schema({"id": pa.int64(), "price": pa.float64()})
    batches = (
        pa.record_batch([np.arange(first, first + rows), np.linspace(0.0, 1.0, rows)], schema=schema)
        for first in range(0, rows * _BATCHES, rows)
    )
    arena["table"] = pa.RecordBatchReader.from_batches(schema, batches)


def play(nbytes: int, workers: int) -> Story:
    """Play the demo with an array and a table of `nbytes` together, and return what was measured."""
    story = Story(workers, 0, 0)
    name = f"demo-{os.getpid()}"
    limit = nbytes + nbytes // 4 + (32 << 20)
    _check_room(limit)
    _warm_up()
    with faretra.Arena.create(name, limit=limit, keep=False) as arena, _workers(name, workers) as all_:
        story.before = sum(pss(one.pid) for one in all_) + pss(os.getpid())
        story.machine_before, story.processes = machine_pss()
        begin = time.perf_counter()
        fill(arena, nbytes // 2, nbytes // 2)
        story.put = time.perf_counter() - begin
        story.array, story.table = arena.info("array").nbytes, arena.info("table").nbytes
        right = checksum(arena)
        _read(all_, right)
        story.after = sum(pss(one.pid) for one in all_) + pss(os.getpid())
        story.machine_after, _ = machine_pss()
        all_[0].order("time")
        story.get = all_[0].answer()
        _kill_one(arena, all_, story)
        _read(all_, right)
        story.survivors = len(all_)
        del arena["array"], arena["table"]
        story.violations = arena.verify()
        story.left = len(arena.entries())
    if story.violations:
        raise Trouble(f"verify found broken rules: {'; '.join(story.violations)}; please report this")
    return story


def _check_room(needed: int) -> None:
    folder = os.environ.get("FARETRA_DIR", "/dev/shm")
    room = free(folder)
    if needed > room:
        raise Trouble(
            f"the demo needs {shown(needed)}, and {folder} has no room for it: {shown(room)} are free; choose a smaller "
            "--size, or a larger tmpfs (FARETRA_DIR=...; in Docker --shm-size)"
        )


def _read(workers: Sequence[_Worker], right: float) -> None:
    for one in workers:
        one.order("read")
    for one in workers:
        if one.answer() != right:
            raise Trouble(f"worker {one.pid} read another checksum: please report this")


def _kill_one(arena: faretra.Arena, workers: list[_Worker], story: Story) -> None:
    """Kill a worker while it reads, and wait until the arena has taken back what it held."""
    victim = workers[-1]
    victim.order("go on")
    victim.answer()
    time.sleep(0.05)
    os.kill(victim.pid, signal.SIGKILL)
    begin = time.perf_counter()
    victim.process.join()
    while any(holder.pid == victim.pid for holder in arena.who()):
        arena.recover()
        if time.perf_counter() - begin > _PATIENCE:
            raise Trouble(f"worker {victim.pid} is dead, and the arena still lists it: please report this")
        time.sleep(0.001)
    story.killed, story.recovery = victim.pid, time.perf_counter() - begin
    workers.remove(victim)
    victim.end()


def _bars(story: Story) -> list[tuple[str, float]]:
    return [
        ("before", float(story.before)),
        (f"shared with {story.workers} workers", float(story.after)),
        (f"{story.workers} copies instead", float(story.before + story.copies)),
    ]


def _shown(nbytes: float) -> str:
    return shown(int(nbytes))


def tell(story: Story) -> str:
    """Return the story as text."""
    payload = story.array + story.table
    grown = story.after - story.before
    machine = f"{shown(story.machine_before)} -> {shown(story.machine_after)}"
    lines = [
        f"An array of {shown(story.array)} and a table of {shown(story.table)} were written in {story.put:.2f} s.",
        f'{story.workers} worker processes read all of both; arena["array"] took {story.get * 1e6:.1f} us in a worker.',
        "",
        f"Memory of the demo's {story.workers + 1} processes (PSS: what is shared counts once):",
        _plot.text_bars(_bars(story), _shown),
        f"They grew by {shown(grown)} for {shown(payload)} of data; {story.workers} copies take {shown(story.copies)}.",
        f"All {story.processes} processes of this machine that may be looked at: {machine}.",
        "",
        f"Worker {story.killed} was killed with SIGKILL while it read; what it held was back {story.recovery * 1e3:.0f} ms",
        f"later. The other {story.survivors} read everything once more: the checksums are right.",
        f"verify() found nothing wrong, and {story.left} names are left.",
    ]
    return "\n".join(lines)


def draw(story: Story, path: Path) -> None:
    """Write the bars to `path`."""
    kinds = ("floor", "ours", "other")
    rows = [(label, value, kind) for (label, value), kind in zip(_bars(story), kinds, strict=True)]
    title = f"{shown(story.array + story.table)} read by {story.workers} processes"
    note = "PSS of all processes of the demo: shared memory counts once. The last bar is computed."
    _plot.picture(path, title, [("", rows)], _shown, note=note)


def _try_to_draw(story: Story, asked: str | None) -> None:
    if not _plot.have_matplotlib():
        if asked:
            print("No plot: matplotlib is not installed (pip install matplotlib).", file=sys.stderr)
        return
    path = Path(asked or "faretra-demo.png")
    if not asked and not os.access(".", os.W_OK):
        path = Path(tempfile.gettempdir()) / path
    try:
        draw(story, path)
    except (OSError, ValueError) as error:
        raise Trouble(f"the plot cannot be written to {path}: {error}") from error
    story.plot = str(path)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faretra.demo", description="Share an array and a table with processes."
    )
    parser.add_argument("--size", default="256MiB", help="bytes of array and table together (256MiB)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes, 2 to 64 (4)")
    parser.add_argument("--plot", metavar="FILE", help="where the plot goes: .png or .svg (faretra-demo.png)")
    parser.add_argument("--no-plot", action="store_true", help="no plot")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    given = parser.parse_args(argv)
    try:
        given.size = size(given.size)
    except ValueError as error:
        parser.error(str(error))
    if not 64 << 10 <= given.size <= 512 << 30:
        parser.error("--size is between 64KiB and 512GiB")
    if not 2 <= given.workers <= 64:
        parser.error("--workers is between 2 and 64")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo from a command line, and return its exit code: 0, 1 for trouble, 130 for Ctrl-C.

    >>> from faretra import demo
    >>> demo.main(["--size", "64KiB", "--workers", "2", "--no-plot"])  # doctest: +SKIP
    """
    given = _arguments(argv)
    try:
        story = play(given.size, given.workers)
        if not given.no_plot:
            _try_to_draw(story, given.plot)
    except KeyboardInterrupt:
        print("interrupted: the workers are ended and the arena is removed", file=sys.stderr)
        return 130
    except faretra.NoSpaceError as error:
        print(f"demo: {error}\ndemo: a smaller --size may do", file=sys.stderr)
        return 1
    except (faretra.Error, Trouble, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if given.json:
        say(json.dumps(asdict(story)))
        return 0
    say(tell(story))
    if story.plot:
        say(f"The bars as a picture: {story.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
