"""What the processes of `test_mp_sync.py` and `test_mp_shared.py` do."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

FOREVER = 60.0


def hold(lock: Any, held: Any) -> None:
    """Acquire, say so, and keep it."""
    lock.acquire()
    held.set()
    time.sleep(FOREVER)


def take(semaphore: Any, times: int, taken: Any) -> None:
    """Acquire so often, say so, and stay."""
    for _ in range(times):
        semaphore.acquire()
    taken.set()
    time.sleep(FOREVER)


def release(lock: Any) -> None:
    """Release what another process has."""
    lock.release()


def wait_at(condition: Any, told: Any, enter: Any = None) -> None:
    """Wait until notified, and count."""
    with condition:
        if enter is not None:
            enter.release()
        if condition.wait(FOREVER):
            told.release()


def hold_condition(condition: Any, held: Any) -> None:
    """Enter, and stay in."""
    with condition:
        held.set()
        time.sleep(FOREVER)


def pass_barrier(barrier: Any, passed: Any, broken: Any) -> None:
    """Wait at a barrier, and count how that ends."""
    try:
        barrier.wait(FOREVER)
        passed.release()
    except threading.BrokenBarrierError:
        broken.release()


def die() -> None:
    """End as the kernel's OOM killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_event(event: Any, here: Any, passed: Any) -> None:
    """Wait for an event, and count."""
    here.release()
    if event.wait(FOREVER):
        passed.release()


def wait_for_interrupt(lock: Any, here: Any, ended: Any) -> None:
    """Wait for a lock that nobody releases, and say when Ctrl-C ended that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    here.set()
    try:
        lock.acquire()
    except KeyboardInterrupt:
        ended.set()


def work(lock: Any, value: Any, times: int) -> None:
    """Add one so often."""
    for _ in range(times):
        with lock:
            value.value += 1


def late(lock: Any, event: Any, value: Any) -> None:
    """Use what was handed over, after its maker dropped it."""
    time.sleep(0.2)
    with lock:
        value.value += 1
    event.set()


def locked_in_thread(lock: Any, got: Any) -> None:
    """Try a lock that the parent had at the fork."""
    got.value = int(lock.acquire(timeout=0.2))


def add_to_each(array: Any) -> None:
    """Change an array in place."""
    for index in range(len(array)):
        array[index] *= 2


def fill_rows(array: Any) -> None:
    """Write each row's number into it."""
    for number, row in enumerate(array):
        row[:] = [float(number)] * len(row)


def set_fields(point: Any) -> None:
    """Change a structure in place."""
    point.x, point.y = 3, 4.5


def hold_value(value: Any, held: Any) -> None:
    """Have a value's lock, and keep it."""
    with value.get_lock():
        value.value = 7
        held.set()
        time.sleep(FOREVER)


def make_block(name: str, made: Any, stay: bool) -> None:
    """Make a block of shared memory."""
    from faretra.multiprocessing.shared_memory import SharedMemory

    block = SharedMemory(name, create=True, size=100)
    block.buf[:4] = b"here"  # type: ignore[index]
    made.set()
    if stay:
        time.sleep(FOREVER)
    block.close()


def hold_block_when_there(name: str, held: Any) -> None:
    """Have a block open, as soon as somebody has made it."""
    from faretra.multiprocessing.shared_memory import SharedMemory

    while True:
        try:
            block = SharedMemory(name)
            break
        except FileNotFoundError:
            time.sleep(0.01)
    held.set()
    time.sleep(FOREVER)
    block.close()


def use_all(lock: Any, condition: Any, semaphore: Any, done: Any, which: int) -> None:
    """Use a lock, a condition and a semaphore as fast as it goes, and count."""
    while True:
        with lock:
            done[which] += 1
        with condition:
            condition.notify()
            condition.wait(0.005)
        with semaphore:
            pass
