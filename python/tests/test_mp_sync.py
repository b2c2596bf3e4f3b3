"""Locks, semaphores, conditions, events and barriers: deaths, stops, Ctrl-C, hand-over."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mp_sync_children as children
import pytest
from mp_programs import PACKAGE

import faretra
from faretra import multiprocessing as mp
from faretra.multiprocessing import _home

# Within this, in seconds, all goes on after a death. The kernel's letting go and a slow machine are in it.
SOON = 5.0
# For what comes by itself, on a slow machine.
PATIENCE = 30.0


@contextmanager
def running(ctx: Any, target: Any, *args: Any) -> Iterator[Any]:
    """Run a process, which is killed at the end."""
    process = ctx.Process(target=target, args=args)
    process.start()
    try:
        yield process
    finally:
        kill(process)


def kill(process: Any) -> None:
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode is not None


def count(semaphore: Any, times: int, within: float = PATIENCE) -> bool:
    """Whether it can be acquired so often within a time."""
    end = time.monotonic() + within
    return all(semaphore.acquire(timeout=max(0.0, end - time.monotonic())) for _ in range(times))


def path_of_tests() -> dict[str, str]:
    """An environment in which programs find the package and these tests."""
    path = os.pathsep.join([PACKAGE, os.path.dirname(__file__)])
    return {**os.environ, "PYTHONPATH": path}


def script(text: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env=path_of_tests(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_killed_holder_of_a_lock_is_succeeded(ctx: Any) -> None:
    """The next acquire gets the lock of a dead process, is told so, and the one after that is not."""
    for lock in (ctx.Lock(), ctx.RLock()):
        held = ctx.Event()
        with running(ctx, children.hold, lock, held) as process:
            assert held.wait(PATIENCE)
            assert not lock.acquire(timeout=0.05)
            kill(process)
            assert lock.acquire(timeout=SOON)
            assert lock.recovered
            lock.release()
            assert lock.acquire(timeout=SOON)
            assert not lock.recovered
            lock.release()


def test_permits_of_a_killed_process_come_back(ctx: Any) -> None:
    """A semaphore has all its permits again after a process died with two of them."""
    semaphore, taken = ctx.Semaphore(3), ctx.Event()
    with running(ctx, children.take, semaphore, 2, taken) as process:
        assert taken.wait(PATIENCE)
        assert semaphore.get_value() == 1
        kill(process)
        assert count(semaphore, 3, SOON)
        assert not semaphore.acquire(block=False)


def test_a_semaphore_that_signals_counts_exactly(ctx: Any) -> None:
    """Of what a producer released, a killed consumer has used up what it acquired, and no more."""
    semaphore, taken = ctx.Semaphore(0), ctx.Event()
    for _ in range(5):
        semaphore.release()
    with running(ctx, children.take, semaphore, 2, taken) as process:
        assert taken.wait(PATIENCE)
        kill(process)
        time.sleep(0.3)
        assert semaphore.get_value() == 3


def test_a_semaphore_becomes_a_signal() -> None:
    """Permits that were acquired before another process released are used up too, at the next call."""
    ctx = mp.get_context("fork")
    semaphore = ctx.Semaphore(2)
    assert semaphore.acquire()
    releaser = ctx.Process(target=children.release, args=(semaphore,))
    releaser.start()
    releaser.join(PATIENCE)
    assert semaphore.get_value() == 2
    assert count(semaphore, 2)
    assert semaphore.get_value() == 0
    semaphore.release()
    assert semaphore.get_value() == 1


def test_a_lock_may_be_released_by_another_process(ctx: Any) -> None:
    """As in the standard module; and a release too many raises in whatever process."""
    lock = ctx.Lock()
    lock.acquire()
    with running(ctx, children.release, lock) as process:
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert lock.acquire(timeout=SOON)
    lock.release()
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()


def test_values_of_semaphores() -> None:
    """A semaphore can be raised above its first value, a bounded one cannot, and neither begins below 0."""
    semaphore, bounded = mp.Semaphore(2), mp.BoundedSemaphore(2)
    for _ in range(3):
        semaphore.release()
    assert semaphore.get_value() == 5
    assert repr(semaphore) == "<Semaphore(value=5)>"
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()
    assert bounded.acquire()
    bounded.release()
    assert repr(bounded) == "<BoundedSemaphore(value=2, maxvalue=2)>"
    with pytest.raises(ValueError, match="0 to 2147483647, not -1"):
        mp.Semaphore(-1)
    large = mp.Semaphore(100_000)
    assert large.acquire() and large.get_value() == 99_999
    with pytest.raises(AssertionError, match="not owned by thread"):
        mp.RLock().release()


def test_processes_exclude_each_other(ctx: Any) -> None:
    """No increment under a lock is lost between four processes."""
    lock, value = ctx.Lock(), ctx.RawValue("i", 0)
    processes = [ctx.Process(target=children.work, args=(lock, value, 500)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert value.value == 2000


def test_a_forked_child_holds_nothing() -> None:
    """A lock that the parent has at the fork is the parent's, not the child's."""
    ctx = mp.get_context("fork")
    lock, got = ctx.Lock(), ctx.RawValue("i", 5)
    with lock:
        process = ctx.Process(target=children.locked_in_thread, args=(lock, got))
        process.start()
        process.join(PATIENCE)
        assert got.value == 0
    assert lock.acquire(block=False)


def test_a_killed_waiter_is_passed_over(ctx: Any) -> None:
    """A notification goes to a waiter that lives, though one that was killed had waited longer."""
    condition, told, here = ctx.Condition(), ctx.Semaphore(0), ctx.Semaphore(0)
    with running(ctx, children.wait_at, condition, told, here) as first:
        assert count(here, 1)
        with running(ctx, children.wait_at, condition, told, here):
            assert count(here, 1)
            with condition:
                pass
            kill(first)
            with condition:
                condition.notify()
            assert count(told, 1, SOON)


def test_what_a_killed_waiter_was_told_goes_to_another(ctx: Any) -> None:
    """A waiter that is notified while it is stopped, and killed then, takes nothing with it."""
    condition, told, here = ctx.Condition(), ctx.Semaphore(0), ctx.Semaphore(0)
    with running(ctx, children.wait_at, condition, told, here) as first:
        assert count(here, 1)
        with condition:
            os.kill(first.pid, signal.SIGSTOP)
        with running(ctx, children.wait_at, condition, told, here):
            assert count(here, 1)
            with condition:
                condition.notify()
            assert not told.acquire(timeout=0.3)
            kill(first)
            assert count(told, 1, SOON)


def test_a_killed_process_in_a_condition(ctx: Any) -> None:
    """Who waits to come into a condition comes in when the process in it is killed."""
    condition, held = ctx.Condition(), ctx.Event()
    with running(ctx, children.hold_condition, condition, held) as process:
        assert held.wait(PATIENCE)
        assert not condition.acquire(timeout=0.05)
        kill(process)
        assert condition.acquire(timeout=SOON)
        condition.notify_all()
        condition.release()


def test_a_condition_restores_its_lock() -> None:
    """A thread that has entered three times has so again after its wait, and others came in meanwhile."""
    condition = mp.Condition()
    came = []

    def other() -> None:
        with condition:
            came.append(1)
            condition.notify()

    with condition, condition, condition:
        thread = threading.Thread(target=other)
        thread.start()
        assert condition.wait(PATIENCE)
        assert came == [1] and condition._lock._count() == 3
        assert not condition.wait(0.01)
    thread.join(PATIENCE)
    with pytest.raises(AssertionError, match="lock is not owned"):
        condition.notify()
    with pytest.raises(AssertionError, match="must acquire"):
        condition.wait()


def test_notify_tells_those_that_waited_longest() -> None:
    """Waiters go on in the order that they came in, as many as were told."""
    condition = mp.Condition()
    went: list[int] = []

    def wait(number: int) -> None:
        with condition:
            here.release()
            condition.wait(PATIENCE)
            went.append(number)

    here = threading.Semaphore(0)
    threads = [threading.Thread(target=wait, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
        here.acquire()
        with condition:
            pass
    for number in range(4):
        with condition:
            condition.notify()
        end = time.monotonic() + PATIENCE
        while len(went) <= number and time.monotonic() < end:
            time.sleep(0.001)
    for thread in threads:
        thread.join(PATIENCE)
    assert went == [0, 1, 2, 3]
    assert condition._waiters.waiting() == 0


def test_a_killed_party_breaks_the_barrier(ctx: Any) -> None:
    """The others raise when one of them is killed at the barrier, which works again after `reset`."""
    barrier, passed, broken = ctx.Barrier(3), ctx.Semaphore(0), ctx.Semaphore(0)
    with (
        running(ctx, children.pass_barrier, barrier, passed, broken) as first,
        running(ctx, children.pass_barrier, barrier, passed, broken),
    ):
        end = time.monotonic() + PATIENCE
        while barrier.n_waiting < 2 and time.monotonic() < end:
            time.sleep(0.01)
        kill(first)
        assert count(broken, 1, SOON)
        assert barrier.broken
    barrier.reset()
    assert not barrier.broken
    with (
        running(ctx, children.pass_barrier, barrier, passed, broken),
        running(ctx, children.pass_barrier, barrier, passed, broken),
    ):
        assert barrier.wait(PATIENCE) in range(3)
        assert count(passed, 2)


def test_a_party_that_is_killed_in_the_action_breaks_the_barrier(ctx: Any) -> None:
    """The last one to come dies before the others are let go: they do not wait for ever."""
    barrier, passed, broken = ctx.Barrier(2, action=children.die), ctx.Semaphore(0), ctx.Semaphore(0)
    with running(ctx, children.pass_barrier, barrier, passed, broken):
        end = time.monotonic() + PATIENCE
        while barrier.n_waiting < 1 and time.monotonic() < end:
            time.sleep(0.01)
        with running(ctx, children.pass_barrier, barrier, passed, broken) as last:
            last.join(PATIENCE)
            assert last.exitcode == -signal.SIGKILL
            assert count(broken, 1, SOON)


def test_a_stopped_process_keeps_nobody_else(ctx: Any) -> None:
    """With a waiter, and a holder of one permit of two, stopped, the others go on."""
    condition, told, here = ctx.Condition(), ctx.Semaphore(0), ctx.Semaphore(0)
    semaphore, taken = ctx.Semaphore(2), ctx.Event()
    with (
        running(ctx, children.wait_at, condition, told, here) as waiter,
        running(ctx, children.take, semaphore, 1, taken) as holder,
        running(ctx, children.wait_at, condition, told, here),
    ):
        assert count(here, 2) and taken.wait(PATIENCE)
        with condition:
            os.kill(waiter.pid, signal.SIGSTOP)
            os.kill(holder.pid, signal.SIGSTOP)
        with condition:
            condition.notify_all()
        assert count(told, 1, SOON)
        assert semaphore.acquire(timeout=SOON)
        assert not semaphore.acquire(timeout=0.2)
        os.kill(waiter.pid, signal.SIGCONT)
        assert count(told, 1, SOON)


def test_events(ctx: Any) -> None:
    """Who waits goes on when the event is set, also if it is cleared at once."""
    event, here, passed = ctx.Event(), ctx.Semaphore(0), ctx.Semaphore(0)
    assert not event.wait(0.01) and not event.is_set()
    with (
        running(ctx, children.wait_event, event, here, passed) as first,
        running(ctx, children.wait_event, event, here, passed),
    ):
        assert count(here, 2)
        kill(first)
        time.sleep(0.2)
        event.set()
        event.clear()
        assert count(passed, 1, SOON)
    assert not event.is_set() and "unset" in repr(event)


def test_ctrl_c_ends_a_wait(ctx: Any) -> None:
    """A process that waits for a lock raises KeyboardInterrupt at once."""
    lock, here, ended = ctx.Lock(), ctx.Event(), ctx.Event()
    lock.acquire()
    with running(ctx, children.wait_for_interrupt, lock, here, ended) as process:
        assert here.wait(PATIENCE)
        time.sleep(0.2)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert ended.wait(SOON)
        assert time.monotonic() - began < 1.0


def test_what_is_dropped_after_start_is_still_handed_over(ctx: Any) -> None:
    """H1, H2, H3: a child has what it was given, though the parent dropped it as soon as `start` returned."""
    event, value = ctx.Event(), ctx.Value("i", 1)
    lock = ctx.Lock()
    process = ctx.Process(target=children.late, args=(lock, event, value))
    process.start()
    name, arena = lock.name, _home.home().arena
    del lock
    gc.collect()
    assert event.wait(PATIENCE)
    process.join(PATIENCE)
    assert process.exitcode == 0 and value.value == 2
    del process
    gc.collect()
    assert name not in arena


def test_locks_are_only_handed_over_to_processes_that_start() -> None:
    """Pickling at another time raises RuntimeError, as in the standard module."""
    import pickle

    for thing in (
        mp.Lock(),
        mp.Semaphore(3),
        mp.Condition(),
        mp.Event(),
        mp.Barrier(2),
        mp.Value("i", 1),
        mp.RawArray("d", 3),
    ):
        with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
            pickle.dumps(thing)


def test_a_parent_that_ends_at_once_leaves_its_children_what_they_have() -> None:
    """H2: a forked child goes on with locks of a parent that was killed at once; nothing is left."""
    done = script("""
        import os, signal, time
        from faretra import multiprocessing as mp
        from faretra.multiprocessing import _home
        lock, event, value = mp.Lock(), mp.Event(), mp.Value("i", 0)
        print(_home.home().arena.path, flush=True)
        child = os.fork()
        if child:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        with lock:
            value.value += 1
        event.set()
        print(event.wait(5), value.value, flush=True)
        os._exit(0)
    """)
    path, rest = done.stdout.split("\n", 1)
    assert rest == "True 1\n" and done.stderr == ""
    # It was killed, so the next one that looks for arenas removes it; the child printed before it ended.
    end = time.monotonic() + SOON
    while path in [str(info.path) for info in faretra.arenas()] and time.monotonic() < end:
        time.sleep(0.01)
    assert not os.path.exists(path)


def test_a_program_leaves_nothing() -> None:
    """Each way of ending: nothing of the program is in /dev/shm, and no resource tracker was started."""
    done = script("""
        from multiprocessing import resource_tracker
        from faretra import multiprocessing as mp
        from faretra.multiprocessing import _home
        import mp_sync_children as children
        if __name__ == "__main__":
            ctx = mp.get_context("fork")
            lock, value, barrier = ctx.Lock(), ctx.Value("i", 0), ctx.Barrier(2)
            process = ctx.Process(target=children.work, args=(lock, value, 10))
            process.start()
            process.join()
            assert resource_tracker._resource_tracker._fd is None
            print(value.value, _home.home().arena.path)
    """)
    value, path = done.stdout.split()
    assert value == "10" and done.stderr == ""
    assert not os.path.exists(path)


def test_an_exception_passes_a_notification_on() -> None:
    """A waiter that Ctrl-C ends after it was notified does not take the notification with it."""
    done = script("""
        import os, signal, threading, time
        from faretra import multiprocessing as mp
        condition, told, here = mp.Condition(), mp.Semaphore(0), mp.Semaphore(0)

        def other():
            with condition:
                here.release()
                if condition.wait(20):
                    told.release()

        def interrupt():
            # The main thread waits first. It is told, and interrupted before it has the lock again.
            here.acquire()
            with condition:
                condition.notify(1)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.3)

        threads = [threading.Thread(target=target) for target in (other, interrupt)]
        try:
            with condition:
                for thread in threads:
                    thread.start()
                condition.wait(20)
        except KeyboardInterrupt:
            print("interrupted")
        print(told.acquire(timeout=10))
    """)
    assert done.stdout.split() == ["interrupted", "True"] and done.stderr == ""


def test_a_stopped_child_is_waited_for_once() -> None:
    """H3: a child that is stopped before it attached delays its parent's removals by two seconds in all."""
    done = script("""
        import os, signal, time
        from faretra import multiprocessing as mp
        from faretra.multiprocessing import _home
        locks = [mp.Lock() for _ in range(3)]
        _home.attach_after_fork(locks[0], lambda lock: os.kill(os.getpid(), signal.SIGSTOP))
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        began = time.monotonic()
        locks.clear()
        print(time.monotonic() - began)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(_home.settle())
    """)
    took, settled = done.stdout.split()
    assert 1.9 < float(took) < 4.0 and settled == "True", done


def test_kills_at_any_moment() -> None:
    """Processes that use locks, conditions and semaphores are killed at random: the others go on."""
    ctx = mp.get_context("fork")
    lock, condition, semaphore = ctx.Lock(), ctx.Condition(), ctx.Semaphore(2)
    done, numbers = ctx.RawArray("l", 24), iter(range(24))

    def start() -> Any:
        worker = ctx.Process(target=children.use_all, args=(lock, condition, semaphore, done, next(numbers)))
        worker.start()
        return worker

    workers = [start() for _ in range(4)]
    pauses = random.Random(1)
    for _ in range(20):
        time.sleep(pauses.random() * 0.02)
        kill(workers.pop(0))
        workers.append(start())
    # The last four live: each of them goes on.
    before, end = list(done), time.monotonic() + PATIENCE
    while any(done[n] == before[n] for n in range(20, 24)) and time.monotonic() < end:
        time.sleep(0.01)
    after = list(done)
    for worker in workers:
        kill(worker)
    assert all(after[n] > before[n] for n in range(20, 24)), (before, after)
    assert lock.acquire(timeout=SOON)
    assert count(semaphore, 2, SOON)
    with condition:
        condition.notify_all()
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == []
