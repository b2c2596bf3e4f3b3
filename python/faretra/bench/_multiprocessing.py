"""`faretra.multiprocessing` beside `multiprocessing`: the same call of each, in turn.

Who sends an array looks at the first and the last element of what comes back, and so does the process in between; the rows
"written to" have that process change all of it.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np

from faretra import multiprocessing as ours
from faretra.bench._measure import GB, KB, MB, medians
from faretra.bench._rivals import touch
from faretra.demo import deaf

MODULES: dict[str, Any] = {"faretra": ours, "multiprocessing": multiprocessing}
QUEUE, PIPE = "Queue: an array there and back", "Pipe: an array there and back"
WRITTEN = "Queue: there and back, written to"
ARGUMENTS, RESULTS = "Pool.map: arrays as arguments", "Pool.map: arrays as results"
LOCK = "Lock: acquire, release"

_METHOD = "spawn"
# How long another process may take, in seconds.
_PATIENCE = 300.0
_WORKERS = 2
# How many arrays go through Pool.map.
MANY = 1000


class Notes(Protocol):
    """What takes the numbers."""

    quick: bool
    budget: float

    def note(self, text: str) -> None:
        """Say what is measured now."""

    def add(self, group: str, what: str, kind: str, nbytes: int, seconds: float) -> None:
        """Take a number."""


def measure(run: Notes) -> None:
    """Measure everything of this section."""
    _round_trips(run)
    _pools(run)
    _operations(run)
    _between(run)
    _managers(run)
    _starts(run)


def _take(run: Notes, group: str, calls: Sequence[Callable[[], Any]], nbytes: int = 0, **how: Any) -> None:
    """Measure the same call of each module, in turn."""
    times = how.pop("times", 1)
    how.setdefault("budget", run.budget)
    for name, taken in zip(MODULES, medians(calls, **how), strict=True):
        run.add(group, name, "ours" if name == "faretra" else "other", nbytes, taken / times)


def _contexts(method: str = _METHOD) -> list[Any]:
    return [module.get_context(method) for module in MODULES.values()]


@contextmanager
def _child(ctx: Any, target: Callable[..., object], *args: Any) -> Iterator[Any]:
    process = ctx.Process(target=target, args=args, daemon=True)
    with deaf():
        process.start()
    try:
        yield process
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


# Queues and pipes.


def _echo_queue(here: Any, there: Any, write: bool) -> None:
    while (array := here.get()) is not None:
        _look(array, write)
        there.put(array)


def _echo_pipe(end: Any) -> None:
    while (array := end.recv()) is not None:
        _look(array, False)
        end.send(array)


def _look(array: np.ndarray[Any, Any], write: bool) -> None:
    if write:
        array += 1
    else:
        touch(array)


@contextmanager
def _queue(ctx: Any, write: bool) -> Iterator[Callable[[Any], Any]]:
    here, there = ctx.Queue(), ctx.Queue()

    def trip(array: Any) -> Any:
        here.put(array)
        return there.get(timeout=_PATIENCE)

    with _child(ctx, _echo_queue, here, there, write):
        yield trip
        here.put(None)


@contextmanager
def _pipe(ctx: Any) -> Iterator[Callable[[Any], Any]]:
    mine, other = ctx.Pipe()

    def trip(array: Any) -> Any:
        # The other process takes all of it before it answers.
        mine.send(array)
        return mine.recv()

    with _child(ctx, _echo_pipe, other):
        other.close()
        yield trip
        mine.send(None)


def _round_trips(run: Notes) -> None:
    sizes = [KB, 64 * KB, MB] if run.quick else [KB, 64 * KB, MB, 64 * MB, GB]
    written = [MB] if run.quick else [MB, 64 * MB]
    ways: list[tuple[str, Callable[[Any], Any], list[int]]] = [
        (QUEUE, lambda ctx: _queue(ctx, False), sizes),
        (PIPE, _pipe, sizes),
        (WRITTEN, lambda ctx: _queue(ctx, True), written),
    ]
    for group, way, of in ways:
        with ExitStack() as stack:
            trips = [stack.enter_context(way(ctx)) for ctx in _contexts()]
            for nbytes in of:
                run.note(f"{group}, {nbytes >> 10:,} KB")
                array = np.ones(nbytes, dtype="uint8")
                calls = [_trip(trip, array) for trip in trips]
                _take(run, group, calls, nbytes, least=3 if nbytes >= GB else 5)


def _trip(trip: Callable[[Any], Any], array: Any) -> Callable[[], None]:
    def call() -> None:
        touch(trip(array))

    return call


# Pools.


def _last(array: np.ndarray[Any, Any]) -> int:
    return int(array[-1])


def _make(nbytes: int) -> np.ndarray[Any, Any]:
    return np.ones(nbytes, dtype="uint8")


def _pools(run: Notes) -> None:
    count = 20 if run.quick else MANY
    arrays = [np.full(MB, number % 250, dtype="uint8") for number in range(count)]
    with ExitStack() as stack:
        pools = [stack.enter_context(ctx.Pool(_WORKERS)) for ctx in _contexts()]
        run.note(f"{ARGUMENTS}, {count:,} of 1 MB")
        calls = [_mapped(pool, _last, arrays) for pool in pools]
        _take(run, ARGUMENTS, calls, count * MB, least=3, most=20)
        del arrays
        run.note(f"{RESULTS}, {count:,} of 1 MB")
        calls = [_mapped(pool, _make, [MB] * count) for pool in pools]
        _take(run, RESULTS, calls, count * MB, least=3, most=20)


def _mapped(pool: Any, func: Callable[[Any], Any], items: list[Any]) -> Callable[[], None]:
    def call() -> None:
        for result in pool.map(func, items):
            if isinstance(result, np.ndarray):
                touch(result)

    return call


def _starts(run: Notes) -> None:
    for method in ("fork", "spawn"):
        # What a spawned worker has to import, it imports for both modules; ours imports numpy in any case.
        for with_, func in (("", abs), (", of numpy", np.abs)):
            group = f"Pool({_WORKERS}): start, first answers{with_}, end ({method})"
            run.note(group)
            calls = [_started(ctx, func) for ctx in _contexts(method)]
            _take(run, group, calls, least=1 if run.quick else 5, most=20)


def _started(ctx: Any, func: Callable[[Any], Any]) -> Callable[[], None]:
    def call() -> None:
        with ctx.Pool(_WORKERS) as pool:
            pool.map(func, range(_WORKERS))
        pool.join()

    return call


# What one process does without another.


def _operations(run: Notes) -> None:
    def entered(x: Any) -> None:
        with x:
            pass

    def both(x: Any) -> None:
        x.acquire()
        x.release()

    def signalled(x: Any) -> None:
        x.release()
        x.acquire()

    def blinked(x: Any) -> None:
        x.set()
        x.clear()

    def told(x: Any) -> None:
        with x:
            x.notify()

    def added(x: Any) -> None:
        with x.get_lock():
            x.value += 1

    operations: dict[str, tuple[Callable[[Any], None], Callable[[Any], Any]]] = {
        LOCK: (both, lambda ctx: ctx.Lock()),
        "Lock: with": (entered, lambda ctx: ctx.Lock()),
        "RLock: with": (entered, lambda ctx: ctx.RLock()),
        "Semaphore(4): acquire, release": (both, lambda ctx: ctx.Semaphore(4)),
        "Semaphore(0): release, acquire": (signalled, lambda ctx: ctx.Semaphore(0)),
        "Event: is_set": (lambda x: x.is_set(), lambda ctx: ctx.Event()),
        "Event: set, clear": (blinked, lambda ctx: ctx.Event()),
        "Condition: enter, notify, leave": (told, lambda ctx: ctx.Condition()),
        "Value: += 1, with its lock": (added, lambda ctx: ctx.Value("i", 0)),
    }
    run.note("locks, events and values, in one process")
    for group, (operation, make) in operations.items():
        calls = [_repeated(operation, make(ctx), 200) for ctx in _contexts()]
        _take(run, group, calls, times=200, least=20, budget=run.budget / 4)


def _repeated(operation: Callable[[Any], Any], x: Any, times: int) -> Callable[[], None]:
    def call() -> None:
        for _ in range(times):
            operation(x)

    return call


# What two processes do with each other.


def _contend(lock: Any, begin: Any, end: Any, counts: Any, seconds: float) -> None:
    begin.wait()
    times, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(100):
            lock.acquire()
            lock.release()
        times += 100
    counts.put(times)
    end.wait()


def _answer_event(ask: Any, reply: Any) -> None:
    while ask.wait(_PATIENCE):
        ask.clear()
        reply.set()


def _answer_semaphore(ask: Any, reply: Any) -> None:
    while ask.acquire(timeout=_PATIENCE):
        reply.release()


def _between(run: Notes) -> None:
    run.note("locks, semaphores and events, between two processes")
    seconds, rounds = (0.05, 1) if run.quick else (0.3, 5)
    taken: list[list[float]] = [[] for _ in MODULES]
    for _ in range(rounds):
        for ctx, times in zip(_contexts(), taken, strict=True):
            times.append(_contended(ctx, seconds))
    for name, times in zip(MODULES, taken, strict=True):
        kind = "ours" if name == "faretra" else "other"
        run.add("Lock: acquire, release, by two processes", name, kind, 0, statistics.median(times))

    def events(ask: Any, reply: Any) -> None:
        ask.set()
        reply.wait(_PATIENCE)
        reply.clear()

    def semaphores(ask: Any, reply: Any) -> None:
        ask.release()
        reply.acquire(timeout=_PATIENCE)

    ways: list[tuple[str, Callable[[Any], Any], Callable[..., None], Callable[..., None]]] = [
        ("Event: there and back", lambda ctx: ctx.Event(), _answer_event, events),
        ("Semaphore: there and back", lambda ctx: ctx.Semaphore(0), _answer_semaphore, semaphores),
    ]
    for group, make, answer, trip in ways:
        with ExitStack() as stack:
            calls = []
            for ctx in _contexts():
                ask, reply = make(ctx), make(ctx)
                process = stack.enter_context(_child(ctx, answer, ask, reply))
                stack.callback(process.kill)
                calls.append(_asked(trip, ask, reply))
            _take(run, group, calls, times=50, least=5)


def _asked(trip: Callable[..., None], ask: Any, reply: Any) -> Callable[[], None]:
    def call() -> None:
        for _ in range(50):
            trip(ask, reply)

    return call


def _contended(ctx: Any, seconds: float) -> float:
    lock, begin, end, counts = ctx.Lock(), ctx.Barrier(2), ctx.Barrier(2), ctx.Queue()
    args = (lock, begin, end, counts, seconds)
    with _child(ctx, _contend, *args), _child(ctx, _contend, *args):
        times: int = sum(counts.get(timeout=_PATIENCE) for _ in range(2))
        return seconds / times


# Managers.


def _managers(run: Notes) -> None:
    run.note("Manager().dict()")
    with ExitStack() as stack:
        with deaf():
            managers = [stack.enter_context(ctx.Manager()) for ctx in _contexts()]
        dicts = [manager.dict(x=1) for manager in managers]
        for group, operation in (
            ("Manager().dict(): d[key] = 1", lambda d: d.__setitem__("x", 1)),
            ("Manager().dict(): d[key]", lambda d: d["x"]),
        ):
            calls = [_repeated(operation, d, 20) for d in dicts]
            _take(run, group, calls, times=20, least=5, budget=run.budget / 2)
        nbytes = MB if run.quick else 64 * MB
        value = np.ones(nbytes, dtype="uint8")
        for group, operation in (
            ("Manager().dict(): d[key] = an array", lambda d: d.__setitem__("array", value)),
            ("Manager().dict(): d[key], an array", lambda d: touch(d["array"])),
        ):
            _take(run, group, [_repeated(operation, d, 1) for d in dicts], nbytes, least=3)
