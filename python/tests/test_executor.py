"""`faretra.ProcessPoolExecutor`: the futures of the standard's, and what a death does to them."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest
from mp_programs import METHODS, Program, alive, is_mapped, wait_until

import faretra
from faretra import multiprocessing as mp

PATIENCE = 20
SOON = 3.0


@pytest.fixture
def executor() -> Any:
    with faretra.ProcessPoolExecutor(2, mp.get_context("fork")) as made:
        yield made


def square(x: int) -> int:
    return x * x


def pid_of(_: object = None) -> int:
    return os.getpid()


def sleep_and_tell(path: str, seconds: float = PATIENCE) -> int:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def told(path: Any) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def fail(x: object) -> None:
    raise KeyError(x)


def test_futures_as_the_standards(ctx: Any) -> None:
    """Results, errors with the worker's traceback, map with and without chunks, keyword arguments."""
    with faretra.ProcessPoolExecutor(2, ctx) as executor:
        assert executor.submit(pow, 2, 5).result(PATIENCE) == 32
        assert executor.submit(int, "11", base=2).result(PATIENCE) == 3
        error = executor.submit(fail, "x").exception(PATIENCE)
        assert isinstance(error, KeyError)
        assert "in fail" in str(error.__cause__)
        assert list(executor.map(square, range(20))) == [n * n for n in range(20)]
        assert list(executor.map(pow, [2, 3, 4], [3, 2], chunksize=5)) == [8, 9]
        assert isinstance(executor, futures.Executor)
        pids = {executor.submit(pid_of).result(PATIENCE) for _ in range(8)}
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)


def test_bad_arguments_are_refused() -> None:
    """Numbers that make no sense raise at once, as with the standard's."""
    with pytest.raises(ValueError, match="greater than 0"):
        faretra.ProcessPoolExecutor(0)
    with pytest.raises(TypeError, match="callable"):
        faretra.ProcessPoolExecutor(1, initializer=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=">= 1"):
        faretra.ProcessPoolExecutor(1, max_tasks_per_child=0)
    with pytest.raises(ValueError, match="chunksize"):
        faretra.ProcessPoolExecutor(1).map(square, [1], chunksize=0)


def test_arrays_go_by_handle(executor: Any) -> None:
    """A large result is over memory of the arena, and can be written."""
    result = executor.submit(np.full, 500_000, 7.0).result(PATIENCE)
    assert (result == 7).all()
    assert is_mapped(result)
    result[0] = 1


def test_what_waits_can_be_cancelled(executor: Any) -> None:
    """Calls that no worker has are cancelled; shutdown with cancel_futures returns after those that run."""
    running = [executor.submit(time.sleep, 0.3) for _ in range(3)]
    waiting = [executor.submit(square, n) for n in range(10)]
    assert waiting[5].cancel()
    executor.shutdown(cancel_futures=True)
    assert all(future.done() and not future.cancelled() for future in running)
    assert all(future.cancelled() for future in waiting)


def test_a_call_back_may_submit(executor: Any) -> None:
    """Callbacks run, and can use the executor."""
    followed: list[Any] = []
    done = threading.Event()

    def follow(future: futures.Future[int]) -> None:
        followed.append(executor.submit(square, future.result()))
        done.set()

    executor.submit(square, 3).add_done_callback(follow)
    assert done.wait(PATIENCE)
    assert followed[0].result(PATIENCE) == 81


class Unreadable:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def test_what_cannot_be_pickled_fails_its_future(executor: Any) -> None:
    """Neither an argument nor a result that cannot be pickled harms others."""
    for future in [
        executor.submit(lambda: 0),
        executor.submit(Unreadable),
        executor.submit(square, Unreadable()),
    ]:
        assert future.exception(PATIENCE) is not None
    assert executor.submit(square, 2).result(PATIENCE) == 4


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_worker_fails_its_future_only(ctx: Any, tmp_path: Any, stopped: bool) -> None:
    """BrokenProcessPool within a second for the call that it had; the others are done, and more are taken."""
    path = tmp_path / "pids"
    with faretra.ProcessPoolExecutor(2, ctx) as executor:
        lost = executor.submit(sleep_and_tell, str(path))
        assert wait_until(lambda: told(path))
        (victim,) = told(path)
        others = [executor.submit(square, n) for n in range(20)]
        if stopped:
            os.kill(victim, signal.SIGSTOP)
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        assert isinstance(lost.exception(PATIENCE), BrokenProcessPool)
        assert time.monotonic() - began < SOON
        assert [future.result(PATIENCE) for future in others] == [n * n for n in range(20)]
        assert executor.submit(square, 5).result(PATIENCE) == 25


def test_workers_are_replaced_after_their_calls(ctx: Any) -> None:
    """With max_tasks_per_child, no worker has more calls than that."""
    with faretra.ProcessPoolExecutor(1, ctx, max_tasks_per_child=2) as executor:
        pids = [executor.submit(pid_of).result(PATIENCE) for _ in range(6)]
    assert all(pids.count(pid) <= 2 for pid in pids)


def set_up(fails: bool) -> None:
    if fails:
        raise RuntimeError("no licence")


def test_an_initializer_that_raises_breaks_the_executor() -> None:
    """All futures get BrokenProcessPool with the reason, and submit raises it."""
    with faretra.ProcessPoolExecutor(2, mp.get_context("fork"), set_up, (True,)) as executor:
        with pytest.raises(BrokenProcessPool, match="no licence"):
            executor.submit(square, 1).result(PATIENCE)
        with pytest.raises(BrokenProcessPool, match="no licence"):
            executor.submit(square, 1)


def nested(n: int) -> int:
    with faretra.ProcessPoolExecutor(1, mp.get_context("fork")) as inner:
        return inner.submit(square, n).result(PATIENCE)


def test_workers_can_have_workers(executor: Any) -> None:
    """A worker is no daemon: it can start processes of its own."""
    assert list(executor.map(nested, [2, 3])) == [4, 9]


def test_workers_end_when_the_executor_is_collected() -> None:
    """An executor that nobody has any more does what was submitted, and its workers end."""
    executor = faretra.ProcessPoolExecutor(2, mp.get_context("fork"))
    pids = list(executor.map(pid_of, range(4)))
    last = executor.submit(square, 9)
    del executor
    gc.collect()
    assert last.result(PATIENCE) == 81
    assert wait_until(lambda: not any(alive(pid) for pid in pids), PATIENCE)


def test_a_forked_child_does_not_have_its_parents_executor() -> None:
    """Whatever a thread of the parent had locked: submit raises, shutdown returns, and the child ends."""
    with faretra.ProcessPoolExecutor(1, mp.get_context("fork")) as executor:
        assert executor.submit(square, 3).result(PATIENCE) == 9
        says, tells = mp.Pipe(duplex=False)

        def use() -> None:
            try:
                executor.submit(square, 4)
            except RuntimeError as error:
                tells.send(str(error))
            executor.shutdown()

        # As the threads of the pool have it now and then.
        with executor._flow._lock:
            child = mp.get_context("fork").Process(target=use)
            starts = threading.Thread(target=child.start)
            starts.start()
            starts.join()
        assert says.poll(PATIENCE)
        assert "belongs to the process that this one was forked from" in says.recv()
        child.join(PATIENCE)
        assert child.exitcode == 0
        assert executor.submit(square, 5).result(PATIENCE) == 25


ENDS = """
    import sys, time, faretra
    from faretra import multiprocessing as mp

    def work(n):
        time.sleep(0.1)
        # In one write: two workers print at the same time.
        sys.stdout.write(f"done {n}\\n")
        sys.stdout.flush()

    if __name__ == "__main__":
        executor = faretra.ProcessPoolExecutor(2, mp.get_context(sys.argv[1]))
        for n in range(6):
            executor.submit(work, n)
"""


@pytest.mark.parametrize("method", METHODS)
def test_the_program_ends_after_its_calls(method: str) -> None:
    """A program that does not shut its executor down ends when what it submitted is done."""
    with Program(ENDS, method) as program:
        assert sorted(program.line() for _ in range(6)) == [f"done {n}" for n in range(6)]
        assert program.end() == 0
        assert wait_until(lambda: not program.members(), 5)
        assert program.left() == []


SLEEPS = """
    import os, sys, time, faretra
    from faretra import multiprocessing as mp

    def work(n):
        time.sleep(n)
        return os.getpid()

    if __name__ == "__main__":
        with faretra.ProcessPoolExecutor(2, mp.get_context(sys.argv[1])) as executor:
            print(*set(executor.map(work, [0.2] * 4)))
            calls = [executor.submit(work, 3) for _ in range(20)]
            time.sleep(60)
"""


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_the_program(method: str) -> None:
    """Ctrl-C ends a program in the middle of calls, without doing those that wait, and leaves nothing."""
    with Program(SLEEPS, method) as program:
        program.line()
        time.sleep(0.1)
        program.signal_group(signal.SIGINT)
        assert program.end(15) != 0
        assert wait_until(lambda: not program.members(), 5)
        assert program.left() == []


@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_the_program(method: str) -> None:
    """When the program is killed, its workers end after the calls that they have."""
    with Program(SLEEPS, method) as program:
        pids = [int(pid) for pid in program.line().split()]
        program.kill()
        assert wait_until(lambda: not any(alive(pid) for pid in pids), PATIENCE + 10)
        assert wait_until(lambda: not program.members(), 5)
        program.sweep()
        assert program.left() == []
