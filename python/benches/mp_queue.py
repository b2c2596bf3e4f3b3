"""Queues and pipes there and back, beside the standard's: arrays of 1 KB to 1 GB.

    python python/benches/mp_queue.py               # all sizes
    python python/benches/mp_queue.py --most 64     # up to 64 MB
    python python/benches/mp_queue.py --touch       # the other process writes to all of each array

The other process takes each array, and puts it back. The two modules take turns, in one run, so that both meet the same
machine. Printed are the medians in microseconds, and how many times faster ours is. The first array of a size that the arena
has no warm memory for takes longer: the kernel clears the pages.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from faretra import multiprocessing as ours

SIZES = {"1 KB": 1 << 10, "64 KB": 64 << 10, "1 MB": 1 << 20, "64 MB": 64 << 20, "1 GB": 1 << 30}


def repeats(size: int) -> int:
    """How often one size is sent in one turn."""
    return max(1, min(200, (16 << 20) // size))


def back_by_queue(here: Any, there: Any, touch: bool) -> None:
    """Send each array back, with two queues."""
    while (array := here.get()) is not None:
        if touch:
            array += 1
        there.put(array)


def back_by_pipe(end: Any, touch: bool) -> None:
    """Send each array back, with a pipe."""
    while (array := end.recv()) is not None:
        if touch:
            array += 1
        end.send(array)


def queue_pair(ctx: Any, touch: bool) -> tuple[Callable[[Any], Any], Callable[[], None]]:
    """Start the other process; return what sends an array there and back, and what ends the process."""
    here, there = ctx.Queue(), ctx.Queue()
    process = ctx.Process(target=back_by_queue, args=(here, there, touch), daemon=True)
    process.start()

    def trip(array: Any) -> Any:
        here.put(array)
        return there.get()

    def end() -> None:
        here.put(None)
        process.join()

    return trip, end


def pipe_pair(ctx: Any, touch: bool) -> tuple[Callable[[Any], Any], Callable[[], None]]:
    """Start the other process, at the other end of a pipe."""
    mine, other = ctx.Pipe()
    process = ctx.Process(target=back_by_pipe, args=(other, touch), daemon=True)
    process.start()

    def trip(array: Any) -> Any:
        mine.send(array)
        return mine.recv()

    def end() -> None:
        mine.send(None)
        process.join()

    return trip, end


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=1024, help="the largest array, in MB")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--method", default="fork")
    parser.add_argument("--touch", action="store_true")
    args = parser.parse_args()
    contexts = {"standard": multiprocessing.get_context(args.method), "ours": ours.get_context(args.method)}
    print(f"{'':6} {'size':>6} {'standard us':>12} {'ours us':>12} {'ratio':>7}")
    for kind, pair in (("Queue", queue_pair), ("Pipe", pipe_pair)):
        pairs = {who: pair(ctx, args.touch) for who, ctx in contexts.items()}
        for label, size in SIZES.items():
            if size > args.most << 20:
                continue
            array = np.ones(size, dtype=np.uint8)
            took: dict[str, list[float]] = {who: [] for who in pairs}
            for _ in range(min(args.turns, 3) if size >= 1 << 30 else args.turns):
                for who, (trip, _) in pairs.items():
                    for _ in range(repeats(size)):
                        began = time.perf_counter()
                        got = trip(array)
                        took[who].append(time.perf_counter() - began)
                        assert got.nbytes == size and got[-1] == 1 + args.touch
                        del got
            standard, mine = (statistics.median(took[who]) * 1e6 for who in ("standard", "ours"))
            print(f"{kind:6} {label:>6} {standard:12.0f} {mine:12.0f} {standard / mine:7.1f}", flush=True)
        for _, end in pairs.values():
            end()


if __name__ == "__main__":
    main()
