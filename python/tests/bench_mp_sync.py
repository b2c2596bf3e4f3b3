"""Measures locks, semaphores, events and values beside the standard's, in one run.

    python python/tests/bench_mp_sync.py

Uncontended operations: the fastest of many short rounds, so that other processes of the machine do not count.
Between two processes: the median of several rounds, in turn with the standard's.
"""

from __future__ import annotations

import multiprocessing as standard
import statistics
import sys
import time
import timeit
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faretra import multiprocessing as ours

ROUNDS, TIMES = 50, 3000
BETWEEN, SECONDS, TRIPS = 5, 0.3, 2000


def taken(lock: Any) -> Any:
    """Return a lock that is held."""
    lock.acquire()
    return lock


def alone(ctx: Any) -> dict[str, float]:
    """Measure what one process does without another, in nanoseconds."""
    both = "x.acquire(); x.release()"
    statements = {
        "Lock: acquire, release": (both, ctx.Lock()),
        "with Lock": ("with x: pass", ctx.Lock()),
        "with RLock": ("with x: pass", ctx.RLock()),
        "Lock that is taken: acquire(False)": ("x.acquire(False)", taken(ctx.Lock())),
        "Semaphore(4): acquire, release": (both, ctx.Semaphore(4)),
        "Semaphore(0): release, acquire": ("x.release(); x.acquire()", ctx.Semaphore(0)),
        "Event: is_set": ("x.is_set()", ctx.Event()),
        "Event: set, clear": ("x.set(); x.clear()", ctx.Event()),
        "Condition: enter, notify, leave": ("with x: x.notify()", ctx.Condition()),
        "Value: += 1": ("x.value += 1", ctx.Value("i", 0)),
    }
    return {
        name: min(timeit.repeat(statement, globals={"x": x}, number=TIMES, repeat=ROUNDS)) / TIMES * 1e9
        for name, (statement, x) in statements.items()
    }


def contend(lock: Any, out: Any, which: int) -> None:
    """Count how often a lock can be taken."""
    times, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for _ in range(100):
            lock.acquire()
            lock.release()
        times += 100
    out[which] = times


def answer_event(ask: Any, reply: Any) -> None:
    """Answer each event with another."""
    for _ in range(TRIPS):
        ask.wait()
        ask.clear()
        reply.set()


def answer_semaphore(ask: Any, reply: Any) -> None:
    """Answer each release with another."""
    for _ in range(TRIPS):
        ask.acquire()
        reply.release()


def between(ctx: Any) -> dict[str, float]:
    """Measure what two processes do with each other, in nanoseconds."""
    found = {}
    lock, out = ctx.Lock(), ctx.RawArray("d", 2)
    processes = [ctx.Process(target=contend, args=(lock, out, which)) for which in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found["Lock, two processes: acquire, release"] = SECONDS / sum(out) * 1e9
    for name, make, answer in (
        ("Event: there and back", ctx.Event, answer_event),
        ("Semaphore: there and back", lambda: ctx.Semaphore(0), answer_semaphore),
    ):
        ask, reply = make(), make()
        process = ctx.Process(target=answer, args=(ask, reply))
        process.start()
        began = time.perf_counter()
        for _ in range(TRIPS):
            if answer is answer_event:
                ask.set()
                reply.wait()
                reply.clear()
            else:
                ask.release()
                reply.acquire()
        found[name] = (time.perf_counter() - began) / TRIPS * 1e9
        process.join()
    return found


def main() -> None:
    """Print nanoseconds and ratios."""
    contexts = standard.get_context("fork"), ours.get_context("fork")
    first, second = (alone(ctx) for ctx in contexts)
    rounds = [[between(ctx) for ctx in contexts] for _ in range(BETWEEN)]
    for name in rounds[0][0]:
        first[name], second[name] = (
            statistics.median(both[which][name] for both in rounds) for which in range(2)
        )
    print(f"{'':40} {'standard':>10} {'faretra':>10}  times as fast")
    for name, theirs in first.items():
        print(f"{name:40} {theirs:7.0f} ns {second[name]:7.0f} ns  {theirs / second[name]:.2f}")


if __name__ == "__main__":
    main()
