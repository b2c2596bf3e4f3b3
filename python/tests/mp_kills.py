"""The programs of `test_mp_kills.py`: `python -c "import mp_kills; mp_kills.main()" ROLE SIGKILL|SIGSTOP METHOD`.

Each role is a process that is killed or stopped in the middle of something. The program checks what becomes of the others,
verifies the arena, and prints how long the slowest of them had to wait, in seconds.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import numpy as np
from mp_programs import alive, stop, wait_until

import faretra
from faretra import multiprocessing as mp
from faretra.multiprocessing import _home

KILL, STOP = signal.SIGKILL, signal.SIGSTOP
PATIENCE = 20.0
# Within this, in seconds, the others go on, not counted what the kernel takes to let go, and a process to start in the
# place of another: `_start`.
SOON = 1.0
# How often processes are killed or stopped at any moment.
ROUNDS = {"fork": 12, "forkserver": 6, "spawn": 2}
LARGE = 100_000

_slowest = _start = 0.0


@contextmanager
def soon() -> Iterator[None]:
    """Check that the block takes no longer than it may."""
    global _slowest
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    _slowest = max(_slowest, took)
    assert took < SOON + 2 * _start, f"{took:.2f} s"


def hit(pid: int, number: int) -> None:
    """Send a signal, and wait until it had its effect: for SIGKILL until the kernel let go of everything."""
    if number == STOP:
        return stop(pid)
    os.kill(pid, number)
    assert wait_until(lambda: not alive(pid))


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


@contextmanager
def running(ctx: Any, target: Any, *args: Any) -> Iterator[Any]:
    process = ctx.Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(PATIENCE)


@contextmanager
def interrupted(after: float) -> Iterator[None]:
    """Check that Ctrl-C ends the wait in the block."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    try:
        yield
    except KeyboardInterrupt:
        assert time.monotonic() - began < after + SOON + 2 * _start
    else:
        raise AssertionError("Ctrl-C did not end the wait")
    finally:
        timer.join()


# Pools and executors.

_said: Any = None
_go: Any = None


def begin(said: Any, go: Any) -> None:
    global _said, _go
    _said, _go = said, go


def square(n: int) -> int:
    time.sleep(0.001)
    return n * n


def stay(n: int) -> int:
    _said.put(os.getpid())
    assert _go.wait(PATIENCE)
    return n


class Slow:
    """What takes its time to be pickled."""

    def __reduce__(self) -> Any:
        return (int, (stay(7),))


def make_slow(n: int) -> Any:
    return Slow()


def make_large(n: int) -> Any:
    return np.full(LARGE, n)


SQUARES = [n * n for n in range(40)]


def pool_idle(ctx: Any, number: int) -> None:
    with ctx.Pool(2) as pool:
        assert pool.map(square, range(40), chunksize=1) == SQUARES
        for _ in range(3):
            pid = pool._pool[0].pid
            hit(pid, number)
            with soon():
                assert pool.map_async(square, range(40), chunksize=1).get(PATIENCE) == SQUARES
            if number == STOP:
                go_on(pid)
            assert wait_until(lambda: len(pool._pool) == 2)
        pool.close()
        pool.join()


def _in_a_task(ctx: Any, number: int, task: Any, answer: int) -> None:
    said, go = ctx.Queue(), ctx.Event()
    with ctx.Pool(2, begin, (said, go)) as pool:
        lost = pool.apply_async(task, (7,))
        pid = said.get(timeout=PATIENCE)
        others = pool.map_async(square, range(40), chunksize=1)
        hit(pid, number)
        with soon():
            assert others.get(PATIENCE) == SQUARES
            if number == KILL:
                try:
                    raise AssertionError(lost.get(PATIENCE))
                except mp.WorkerLost as error:
                    assert error.attempts == 1
        if number == STOP:
            assert not lost.ready()
            go.set()
            go_on(pid)
            with soon():
                assert lost.get(PATIENCE) == answer
        with soon():
            assert pool.map_async(square, range(40)).get(PATIENCE) == SQUARES
        pool.close()
        pool.join()


def pool_task(ctx: Any, number: int) -> None:
    _in_a_task(ctx, number, stay, 7)


def pool_answer(ctx: Any, number: int) -> None:
    """While the answer is pickled, and at any moment of sending large ones."""
    _in_a_task(ctx, number, make_slow, 7)
    pick = random.Random(21)
    with ctx.Pool(2) as pool:
        pool.map(square, range(4))
        for _ in range(ROUNDS[ctx.get_start_method()]):
            results = [pool.apply_async(make_large, (n,)) for n in range(30)]
            time.sleep(pick.random() * 0.01)
            # The last one's victim has been replaced.
            assert wait_until(lambda: len(pool._pool) == 2 and all(alive(one.pid) for one in pool._pool))
            pid = pool._pool[0].pid
            hit(pid, number)
            with soon():
                # A stopped process has one task at most.
                assert wait_until(lambda r=results: sum(each.ready() for each in r) >= 29)
            if number == STOP:
                go_on(pid)
            lost = 0
            with soon():
                for n, result in enumerate(results):
                    try:
                        assert (result.get(PATIENCE) == n).all()
                    except mp.WorkerLost:
                        lost += 1
            assert lost <= (number == KILL)
            del results, result
        pool.close()
        pool.join()


def executor_worker(ctx: Any, number: int) -> None:
    said, go = ctx.Queue(), ctx.Event()
    with faretra.ProcessPoolExecutor(2, ctx, begin, (said, go)) as executor:
        lost = executor.submit(stay, 7)
        pid = said.get(timeout=PATIENCE)
        others = [executor.submit(square, n) for n in range(40)]
        hit(pid, number)
        with soon():
            assert [other.result(PATIENCE) for other in others] == SQUARES
            if number == KILL:
                assert isinstance(lost.exception(PATIENCE), BrokenProcessPool)
        if number == STOP:
            assert not lost.done()
            go.set()
            go_on(pid)
            with soon():
                assert lost.result(PATIENCE) == 7
        with soon():
            assert executor.submit(square, 5).result(PATIENCE) == 25


# Queues.


def write(jobs: Any, seed: int) -> None:
    pick, n = random.Random(seed), 0
    while True:
        jobs.put((seed, n, np.full(pick.choice([1, LARGE]), n)))
        n += 1


def queue_writer(ctx: Any, number: int) -> None:
    pick, jobs = random.Random(22), ctx.Queue(8)
    next_: dict[int, int] = {}

    def take() -> int:
        seed, n, payload = jobs.get(timeout=PATIENCE)
        assert (payload == n).all() and next_.get(seed, 0) == n
        next_[seed] = n + 1
        return int(seed)

    with running(ctx, write, jobs, 0):
        for seed in range(1, ROUNDS[ctx.get_start_method()] + 1):
            with running(ctx, write, jobs, seed) as writer:
                while take() != seed:
                    pass
                time.sleep(pick.random() * 0.01)
                hit(writer.pid, number)
                with soon():
                    # What it had put, and then what the other puts.
                    others = 0
                    while others < 20:
                        others = others + 1 if take() == 0 else 0
                if number == STOP:
                    go_on(writer.pid)
                    with soon():
                        while take() != seed:
                            pass


def read(jobs: Any, back: Any) -> None:
    while True:
        n, payload = jobs.get()
        assert (payload == n).all()
        back.put((os.getpid(), n))


def queue_reader(ctx: Any, number: int) -> None:
    pick, jobs, back, n = random.Random(23), ctx.Queue(), ctx.Queue(), 0
    missing: set[int] = set()

    def give(times: int) -> None:
        nonlocal n
        for _ in range(times):
            jobs.put((n, np.full(pick.choice([1, LARGE]), n)))
            missing.add(n)
            n += 1

    with running(ctx, read, jobs, back):
        for _ in range(ROUNDS[ctx.get_start_method()]):
            with running(ctx, read, jobs, back) as reader:
                pid = 0
                while pid != reader.pid:
                    give(1)
                    pid, got = back.get(timeout=PATIENCE)
                    missing.remove(got)
                give(30)
                time.sleep(pick.random() * 0.005)
                hit(reader.pid, number)
                with soon():
                    # It may have one that it had got: that one is lost if it was killed.
                    while len(missing) > 1:
                        missing.remove(back.get(timeout=PATIENCE)[1])
                if number == STOP:
                    go_on(reader.pid)
                    with soon():
                        while missing:
                            missing.remove(back.get(timeout=PATIENCE)[1])
                while missing:
                    try:
                        missing.remove(back.get(timeout=0.3)[1])
                    except queue.Empty:
                        missing.clear()


# Locks.


def hold(lock: Any, held: Any, go: Any) -> None:
    with lock:
        held.put(os.getpid())
        assert go.wait(PATIENCE)


def lock_holder(ctx: Any, number: int) -> None:
    for make in (ctx.Lock, ctx.RLock, lambda: ctx.Semaphore(1)):
        lock, held, go = make(), ctx.Queue(), ctx.Event()
        with running(ctx, hold, lock, held, go) as holder:
            held.get(timeout=PATIENCE)
            hit(holder.pid, number)
            if number == STOP:
                assert not lock.acquire(timeout=0.2)
                with interrupted(0.2):
                    lock.acquire()
                go.set()
                go_on(holder.pid)
            with soon():
                assert lock.acquire(timeout=PATIENCE)
                lock.release()


def wait_at(condition: Any, here: Any, told: Any) -> None:
    with condition:
        here.put(os.getpid())
        assert condition.wait(PATIENCE)
    told.put(os.getpid())


def condition_waiter(ctx: Any, number: int) -> None:
    condition, here, told = ctx.Condition(), ctx.Queue(), ctx.Queue()
    with (
        running(ctx, wait_at, condition, here, told) as first,
        running(ctx, wait_at, condition, here, told) as second,
    ):
        assert {here.get(timeout=PATIENCE), here.get(timeout=PATIENCE)} == {first.pid, second.pid}
        with condition:
            # Both wait, now.
            pass
        hit(first.pid, number)
        with soon():
            with condition:
                condition.notify_all()
            assert told.get(timeout=PATIENCE) == second.pid
        if number == STOP:
            go_on(first.pid)
            with soon():
                assert told.get(timeout=PATIENCE) == first.pid


def pass_barrier(barrier: Any, ended: Any) -> None:
    try:
        barrier.wait(PATIENCE)
        ended.put("passed")
    except threading.BrokenBarrierError:
        ended.put("broken")


def barrier_party(ctx: Any, number: int) -> None:
    barrier, ended = ctx.Barrier(3), ctx.Queue()
    with running(ctx, pass_barrier, barrier, ended) as first, running(ctx, pass_barrier, barrier, ended):
        assert wait_until(lambda: barrier.n_waiting == 2)
        hit(first.pid, number)
        with soon():
            if number == KILL:
                assert ended.get(timeout=PATIENCE) == "broken"
                assert barrier.broken
            else:
                barrier.wait(PATIENCE)
                assert ended.get(timeout=PATIENCE) == "passed"
        if number == STOP:
            go_on(first.pid)
            with soon():
                assert ended.get(timeout=PATIENCE) == "passed"
    barrier.reset()
    with running(ctx, pass_barrier, barrier, ended), running(ctx, pass_barrier, barrier, ended):
        barrier.wait(PATIENCE)
        assert [ended.get(timeout=PATIENCE) for _ in range(2)] == ["passed"] * 2


# Managers.


def use(shared: Any, lock: Any, ready: Any, go: Any) -> None:
    with lock:
        shared["client"] = np.zeros(LARGE)
        ready.put(os.getpid())
        assert go.wait(PATIENCE)
    shared["done"] = True


def manager_client(ctx: Any, number: int) -> None:
    ready, go = ctx.Queue(), ctx.Event()
    with ctx.Manager() as manager:
        shared, lock = manager.dict(), manager.Lock()
        with running(ctx, use, shared, lock, ready, go) as client:
            ready.get(timeout=PATIENCE)
            hit(client.pid, number)
            with soon():
                shared["others"] = 1
                assert len(shared) == 2
            if number == STOP:
                assert not lock.acquire(True, 0.2)
                go.set()
                go_on(client.pid)
                with soon():
                    assert wait_until(lambda: "done" in shared)
            with soon():
                assert lock.acquire(True, PATIENCE)
            lock.release()


def manager_server(ctx: Any, number: int) -> None:
    manager = ctx.Manager()
    shared, values = manager.dict(a=1), manager.list()
    pid = manager._process.pid
    hit(pid, number)
    if number == STOP:
        with interrupted(0.3):
            shared["a"] = 2
        go_on(pid)
        with soon():
            values.append(3)
            assert values[:] == [3]
        hit(pid, number)
    else:
        with soon():
            for call in (lambda: shared["a"], lambda: values.append(1), manager.dict):
                try:
                    raise AssertionError(call())
                except (EOFError, ConnectionError):
                    pass
    with soon():
        manager.shutdown()


ROLES: dict[str, Callable[[Any, int], None]] = {
    "pool worker, idle": pool_idle,
    "pool worker, in a task": pool_task,
    "pool worker, while it sends its answer": pool_answer,
    "executor worker": executor_worker,
    "queue writer": queue_writer,
    "queue reader": queue_reader,
    "lock holder": lock_holder,
    "condition waiter": condition_waiter,
    "barrier party": barrier_party,
    "manager client": manager_client,
    "manager server": manager_server,
}


def main() -> None:
    """Run one of the programs."""
    global _start
    role, name, method = sys.argv[1:4]
    ctx = mp.get_context(method)
    began = time.monotonic()
    with running(ctx, begin, None, None) as process:
        process.join(PATIENCE)
    _start = time.monotonic() - began
    ROLES[role](ctx, signal.Signals[name])
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == [], arena.verify()
    print(f"{_slowest:.3f}")
