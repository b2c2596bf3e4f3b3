"""Mutexes, semaphores, events and shared numbers: between threads, processes and tasks, and after deaths."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra


def test_a_mutex_keeps_processes_apart(arena: faretra.Arena) -> None:
    """What is read and written under the mutex is never lost, whoever else does so."""
    count = arena.value("count", 0)
    program = """
        mutex, count = arena.mutex("m"), arena.value("count", 0)
        for _ in range(3000):
            with mutex:
                count.set(count.get() + 1)
        print("done")
    """
    with Child(arena, program) as one, Child(arena, program) as two:
        assert (one.line(), two.line()) == ("done", "done")
    assert count.get() == 6000


def test_threads_are_kept_apart_and_go_on(arena: faretra.Arena) -> None:
    """A thread that waits for a mutex lets other threads run Python, and `with` gives back the right guard."""
    mutex = arena.mutex("m")
    seen: list[int] = []

    def work() -> None:
        for _ in range(200):
            with mutex as guard:
                seen.append(len(seen))
                assert not guard.released

    threads = [threading.Thread(target=work) for _ in range(4)]
    with mutex:
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        assert seen == []
    for thread in threads:
        thread.join(20)
    assert seen == list(range(800)) and not mutex.locked()


def test_the_next_holder_is_told_of_a_death(arena: faretra.Arena) -> None:
    """After the holder was killed, the next gets the mutex and is told, until somebody says that all is well."""
    mutex = arena.mutex("m")
    with Child(arena, "guard = arena.mutex('m').lock(); print('locked'); time.sleep(60)") as holder:
        assert holder.line() == "locked"
        with pytest.raises(TimeoutError):
            mutex.lock(timeout=0.05)
        assert mutex.try_lock() is None and not mutex.acquire(blocking=False)
        holder.kill()
        with mutex.lock(timeout=5) as guard:
            assert guard.recovered and "recovered" in repr(guard)
    with mutex as guard:
        assert guard.recovered
        guard.mark_consistent()
    with mutex as guard:
        assert not guard.recovered


def test_an_exception_leaves_things_half_done(arena: faretra.Arena) -> None:
    """A block that ends by an exception unlocks the mutex, and the next holder is told as after a death."""
    mutex = arena.mutex("m")
    with pytest.raises(ZeroDivisionError), mutex:
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), mutex.lock() as guard:
        assert guard.recovered
        guard.mark_consistent()
        raise ZeroDivisionError
    with mutex as guard:
        assert guard.recovered
        guard.mark_consistent()
    assert not mutex.lock().recovered


def test_a_forgotten_guard_unlocks(arena: faretra.Arena) -> None:
    """A guard that is collected gives back what it has, and one that was released gives nothing back twice."""
    mutex, semaphore = arena.mutex("m"), arena.semaphore("s", 2)
    guard, permit = mutex.lock(), semaphore.permit()
    assert mutex.locked() and semaphore.available() == 1
    del guard, permit
    gc.collect()
    assert not mutex.locked() and semaphore.available() == 2
    guard = mutex.lock()
    guard.release()
    again = mutex.lock()
    guard.release()
    assert mutex.locked() and guard.released and not again.released


def test_a_lock_released_in_its_block_is_not_released_again(arena: faretra.Arena) -> None:
    """Ending a block whose guard was released leaves alone what another thread has locked since."""
    mutex = arena.mutex("m")
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with mutex:
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    with mutex as guard:
        guard.release()
        thread.start()
        assert entered.wait(20)
    assert mutex.locked()
    leave.set()
    thread.join(20)
    assert not mutex.locked()


def test_locks_are_used_as_those_of_threading(arena: faretra.Arena) -> None:
    """`acquire` and `release` do what `threading.Lock` and `threading.Semaphore` do, in any thread of the process."""
    mutex = arena.mutex("m")
    assert mutex.acquire() and not mutex.acquire(False) and not mutex.acquire(timeout=0.01)
    thread = threading.Thread(target=mutex.release)
    thread.start()
    thread.join(20)
    assert not mutex.locked()
    assert mutex.acquire(True, -1)
    mutex.release()
    with pytest.raises(faretra.InvalidError, match="nothing to release"):
        mutex.release()
    semaphore = arena.semaphore("s", 2)
    assert (
        semaphore.acquire() and semaphore.acquire() and not semaphore.acquire(timeout=timedelta(seconds=0.01))
    )
    semaphore.release(2)
    assert semaphore.available() == 2


def test_timeouts(arena: faretra.Arena) -> None:
    """Timeouts are seconds or timedeltas, 0 does not wait, and nonsense is refused."""
    mutex = arena.mutex("m")
    guard = mutex.lock()
    began = time.monotonic()
    for timeout in (0, 0.05, timedelta(milliseconds=50), -1):
        with pytest.raises(faretra.TimeoutError):
            mutex.lock(timeout)
    assert 0.09 < time.monotonic() - began < 2
    with pytest.raises(TypeError, match="seconds"):
        mutex.lock("soon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NaN"):
        mutex.lock(float("nan"))
    guard.release()


@pytest.mark.parametrize(
    "wait", ["arena.mutex('m').acquire(timeout=50)", "arena.event('e').wait(50)", "arena.mutex('m').lock()"]
)
def test_an_alarm_ends_a_wait(arena: faretra.Arena, wait: str) -> None:
    """A handler that raises `TimeoutError` ends the wait with its own exception, which is not taken for the lock's."""
    program = f"""
        def ring(*args):
            raise TimeoutError("alarm")
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            print({wait})
        except TimeoutError as error:
            print(error)
    """
    with arena.mutex("m"), Child(arena, program) as child:
        assert child.line(10) == "alarm"


@pytest.mark.parametrize(
    "wait",
    ["arena.mutex('m').lock()", "arena.semaphore('s', 1, initial=0).acquire()", "arena.event('e').wait()"],
)
def test_control_c_ends_a_wait(arena: faretra.Arena, wait: str) -> None:
    """Ctrl-C ends each wait within 100 ms (here: a second, for a busy machine)."""
    program = f"""
        print("waits")
        try:
            {wait}
        except KeyboardInterrupt:
            print("interrupted")
    """
    with arena.mutex("m"), Child(arena, program) as child:
        assert child.line() == "waits"
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert child.line(5) == "interrupted"
        assert time.monotonic() - began < 1


def test_a_forked_child_holds_nothing(arena: faretra.Arena) -> None:
    """Guards that came through `fork` are refused in the child, and the parent keeps what it has."""
    mutex, semaphore = arena.mutex("m"), arena.semaphore("s", 2)
    guard, permit = mutex.lock(), semaphore.permit()
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (
            guard.release,
            permit.release,
            permit.forget,
            mutex.locked,
            mutex.lock,
            semaphore.available,
        ):
            try:
                call()
            except faretra.ForkedError:
                refused += 1
        del guard, permit
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 6
    assert mutex.locked() and semaphore.available() == 1
    guard.release()
    permit.release()
    assert not mutex.locked() and semaphore.available() == 2


def test_permits_come_back(arena: faretra.Arena) -> None:
    """A permit of a process that was killed is free again, and its next holder is told."""
    semaphore = arena.semaphore("s", 2)
    assert semaphore.capacity == 2
    program = (
        "permits = [arena.semaphore('s', 2).permit() for _ in range(2)]; print('has them'); time.sleep(60)"
    )
    with Child(arena, program) as holder:
        assert holder.line() == "has them"
        assert semaphore.available() == 0 and semaphore.try_permit() is None
        holder.kill()
        with semaphore.permit(timeout=5) as one, semaphore.permit(timeout=5) as two:
            assert one.recovered and two.recovered
    assert semaphore.available() == 2


def test_a_semaphore_counts(arena: faretra.Arena) -> None:
    """Permits can be used up and made free by anybody, and there are never more than were made."""
    ready = arena.semaphore("ready", 3, initial=0)
    with pytest.raises(TimeoutError):
        ready.permit(timeout=0)
    with Child(arena, "arena.semaphore('ready', 3, initial=0).release(2); print('released')") as child:
        assert child.line() == "released"
        assert child.end() == 0
    assert ready.available() == 2
    ready.permit().forget()
    gc.collect()
    assert ready.available() == 1
    ready.release(2)
    with pytest.raises(faretra.InvalidError, match="none was used up"):
        ready.release()
    for n in (0, -1):
        with pytest.raises(ValueError, match="1 permit or more"):
            ready.release(n)
    with pytest.raises(faretra.MismatchError, match="3 permits"):
        arena.semaphore("ready", 4)
    for permits, initial in ((0, None), (1, 2), (1 << 17, None), (-1, None), (2, -1), (1 << 40, None)):
        with pytest.raises(ValueError):
            arena.semaphore("wrong", permits, initial=initial)


def test_an_event_wakes_processes(arena: faretra.Arena) -> None:
    """All who wait for an event go on when it is set; of one that resets itself, one for each time."""
    go, ticket = arena.event("go"), arena.event("ticket", auto_reset=True)
    program = """
        print("waits")
        print(arena.event("go").wait(timeout=20))
        print(arena.event("ticket", auto_reset=True).wait(timeout=float(sys.argv[2])))
    """
    with Child(arena, program, 20) as one, Child(arena, program, 0.5) as two:
        assert (one.line(), two.line()) == ("waits", "waits")
        assert not go.is_set() and not go.wait(0.05)
        go.set()
        assert (one.line(), two.line()) == ("True", "True")
        assert two.line() == "False"
        ticket.set()
        assert one.line() == "True"
    assert go.is_set() and not ticket.is_set() and not ticket.wait(0)
    go.clear()
    assert not go.is_set()
    ticket.set()
    assert ticket.wait(0) and not ticket.wait(0)
    with pytest.raises(faretra.MismatchError):
        arena.event("go", auto_reset=True)


def test_numbers_are_added_at_once(arena: faretra.Arena) -> None:
    """No sum is lost when several processes add to ints, floats and complex numbers."""
    program = """
        i, f, c = arena.value("i", 0), arena.value("f", 0.0), arena.value("c", 0j)
        for _ in range(5000):
            i.add(1); f.add(0.5); c.add(1 - 1j)
        print("done")
    """
    with Child(arena, program) as one, Child(arena, program) as two:
        assert (one.line(), two.line()) == ("done", "done")
    assert (arena.value("i", 0).get(), arena.value("f", 0.0).get()) == (10000, 5000.0)
    assert arena.value("c", 0j).get() == 10000 - 10000j


def test_numbers_have_a_type(arena: faretra.Arena) -> None:
    """A shared number keeps the type that it was made with, and what does not fit changes nothing."""
    count, loss, flag, point = (arena.value(str(i), x) for i, x in enumerate((5, 0.5, True, 1 + 2j)))
    assert (count.get(), loss.get(), flag.get(), point.get()) == (5, 0.5, True, 1 + 2j)
    assert type(flag.get()) is bool and type(loss.get()) is float
    seven: Any = np.int64(7)
    count.set(seven)
    loss.set(3)
    flag.set(False)
    point.set(4)
    assert (count.get(), loss.get(), flag.get(), point.get()) == (7, 3.0, False, 4 + 0j)
    misfits: list[tuple[faretra.SharedValue, Any]] = [
        (count, 1.5),
        (count, "1"),
        (flag, 2),
        (loss, "x"),
        (point, None),
    ]
    for value, wrong in misfits:
        with pytest.raises(TypeError):
            value.set(wrong)
    with pytest.raises(OverflowError):
        count.set(1 << 63)
    count.set((1 << 63) - 1)
    with pytest.raises(OverflowError, match="as it was"):
        count.add(1)
    assert count.get() == (1 << 63) - 1
    with pytest.raises(TypeError, match="nothing to add"):
        flag.add(1)
    others: list[tuple[str, Any]] = [("0", 0.0), ("1", 0), ("2", 0), ("3", 0.0), ("0", "text")]
    for name, wrong in others:
        with pytest.raises(TypeError):
            arena.value(name, wrong)
    int_of_numpy: Any = np.int32(0)
    float_of_numpy: Any = np.float32(0.5)
    assert arena.value("0", int_of_numpy).get() == (1 << 63) - 1
    assert arena.value("5", float_of_numpy).get() == 0.5


def test_numbers_are_exchanged(arena: faretra.Arena) -> None:
    """A number is replaced only if it is the expected one, and `update` repeats until nobody was faster."""
    state = arena.value("state", 1)
    assert state.compare_exchange(1, 2) and not state.compare_exchange(1, 3) and state.get() == 2
    nan = arena.value("nan", float("nan"))
    assert nan.compare_exchange(float("nan"), 1.0) and nan.get() == 1.0
    calls: list[int] = []

    def change(now: int) -> int:
        if not calls:
            state.set(10)
        calls.append(now)
        return now + 1

    assert state.update(change) == 11 and calls == [2, 10]
    with pytest.raises(ZeroDivisionError):
        state.update(lambda now: now // 0)
    assert state.get() == 11


def test_names_of_other_kinds(arena: faretra.Arena) -> None:
    """A name that stands for something else is refused in words, and a lock has no value."""
    arena["data"] = np.zeros(3)
    arena.mutex("m")
    for call in (
        lambda: arena.mutex("data"),
        lambda: arena.event("m"),
        lambda: arena.value("m", 0),
        lambda: arena.mutable_array("data"),
        lambda: arena["m"],
    ):
        with pytest.raises(faretra.MismatchError):
            call()
    names: list[Any] = ["", "a" * 300, "a\ud800", "a\n", 5]
    for name in names:
        with pytest.raises((ValueError, TypeError)):
            arena.mutex(name)


def test_tasks_wait_without_a_thread(arena: faretra.Arena) -> None:
    """Tasks take turns at locks while the loop goes on, and waits that end too early say so."""
    mutex, gpus, go = arena.mutex("m"), arena.semaphore("gpus", 2), arena.event("go")
    most = now = 0

    async def work() -> None:
        nonlocal most, now
        async with gpus.aio:
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
        async with mutex.aio as guard:
            assert mutex.locked() and not guard.recovered
            await asyncio.sleep(0.001)

    async def main() -> None:
        waiter = asyncio.create_task(go.aio.wait())
        await asyncio.gather(*(work() for _ in range(10)))
        assert most == 2 and gpus.available() == 2 and not mutex.locked()
        assert not waiter.done()
        assert not await go.aio.wait(timeout=0) and not await go.aio.wait(timeout=0.05)
        go.set()
        assert await asyncio.wait_for(waiter, 5)
        with mutex:
            for timeout in (0, 0.05):
                with pytest.raises(faretra.TimeoutError):
                    await mutex.aio.lock(timeout)
        with pytest.raises(ZeroDivisionError):
            async with mutex.aio:
                raise ZeroDivisionError
        async with mutex.aio as guard:
            assert guard.recovered

    asyncio.run(main())


def test_a_cancelled_task_has_locked_nothing(arena: faretra.Arena) -> None:
    """However a task is cancelled, the mutex is free afterwards."""
    mutex = arena.mutex("m")

    async def hold() -> None:
        async with mutex.aio:
            await asyncio.sleep(0.0005)

    async def main() -> None:
        for round_ in range(60):
            tasks = [asyncio.create_task(hold()) for _ in range(4)]
            await asyncio.sleep(round_ * 0.00005)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not mutex.locked()
        with mutex, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await mutex.aio.lock()

    asyncio.run(main())


def test_a_task_gets_the_lock_of_a_dead_process(arena: faretra.Arena) -> None:
    """A task that waits for a mutex gets it when its holder is killed."""
    mutex = arena.mutex("m")

    async def main() -> None:
        with Child(arena, "guard = arena.mutex('m').lock(); print('locked'); time.sleep(60)") as holder:
            assert holder.line() == "locked"
            waiter = asyncio.create_task(mutex.aio.lock())
            await asyncio.sleep(0.05)
            holder.kill()
            guard = await asyncio.wait_for(waiter, 5)
            assert guard.recovered

    asyncio.run(main())
