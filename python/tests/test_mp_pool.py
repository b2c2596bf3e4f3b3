"""Pools of `faretra.multiprocessing`: what they do, what a death does, and what is left."""

from __future__ import annotations

import os
import pathlib
import pickle
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from mp_programs import METHODS, Program, alive, wait_until

from faretra import multiprocessing as mp
from faretra.multiprocessing import _home, pool

PATIENCE = 20
# Within what time, in seconds, a death shows: a second, and what this machine needs for it when it is busy.
SOON = 3.0
KILLS = {"fork": int(os.environ.get("FARETRA_KILLS", "30")), "forkserver": 8, "spawn": 4}


def square(x: int) -> int:
    return x * x


def double(a: Any) -> Any:
    return a * 2


def pid_of(_: object = None) -> int:
    return os.getpid()


def sleep_and_tell(path: str) -> str:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(PATIENCE)
    return "slept"


def told(path: Any) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_the_standards_methods(ctx: Any) -> None:
    """Each method of the standard's pool returns what it returns there."""
    with ctx.Pool(2) as workers:
        assert workers.apply(pow, (2, 5)) == 32
        assert workers.map(square, range(50)) == [n * n for n in range(50)]
        assert workers.map(square, range(50), chunksize=7) == [n * n for n in range(50)]
        assert workers.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert list(workers.imap(square, range(30))) == [n * n for n in range(30)]
        assert list(workers.imap(square, range(30), chunksize=4)) == [n * n for n in range(30)]
        assert sorted(workers.imap_unordered(square, range(30))) == [n * n for n in range(30)]
        heard: list[Any] = []
        workers.map_async(square, [1, 2], callback=heard.append).wait(PATIENCE)
        result = workers.apply_async(int, ("x",), error_callback=heard.append)
        with pytest.raises(ValueError, match="invalid literal"):
            result.get(PATIENCE)
        assert heard[0] == [1, 4]
        assert isinstance(heard[1], ValueError)
        with pytest.raises(mp.TimeoutError):
            workers.apply_async(time.sleep, (PATIENCE,)).get(0.05)
    workers.join()
    with pytest.raises(ValueError, match="not running"):
        workers.map(square, [1])


def test_arrays_go_by_handle_and_can_be_written() -> None:
    """Large arguments and results arrive equal, over memory of the arena, and belong to who got them."""
    # A process of its own: one that has as many maps or files as it may have gets copies.
    text = """
        import numpy as np
        from mp_programs import is_mapped

        from faretra import multiprocessing as mp


        def double(array):
            array *= 2
            return array


        if __name__ == "__main__":
            arrays = [np.full((300, 300), float(n)) for n in range(20)]
            with mp.get_context("fork").Pool(2) as workers:
                results = workers.map(double, arrays, chunksize=1)
            for n, result in enumerate(results):
                assert (result == 2 * n).all()
                assert is_mapped(result)
                result[0, 0] = -1
                assert result[0, 0] == -1
            workers.join()
            print("mapped")
    """
    with Program(text) as program:
        assert program.line() == "mapped"


_kept = ""


def keep_name(name: str) -> None:
    global _kept
    _kept = name


def kept_name(_: object) -> str:
    return _kept


def test_initializer_and_lifetimes(ctx: Any) -> None:
    """Each worker runs the initializer, and is replaced after its number of tasks."""
    with ctx.Pool(1, keep_name, ("here",), maxtasksperchild=2) as workers:
        assert workers.map(kept_name, range(3), chunksize=1) == ["here"] * 3
        pids = workers.map(pid_of, range(6), chunksize=1)
        assert len(set(pids)) >= 3
    workers.join()


class Unreadable:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def make_unreadable() -> Unreadable:
    return Unreadable()


def make_local() -> Any:
    return lambda: 0


def test_what_cannot_be_pickled_is_an_error_of_its_task() -> None:
    """An argument or result that cannot be pickled or unpickled fails its task, and the pool goes on."""
    with mp.get_context("fork").Pool(1) as workers:
        for task in [
            workers.apply_async(square, (Unreadable(),)),
            workers.apply_async(make_unreadable),
            workers.apply_async(make_local),
            workers.apply_async(square, (lambda: 0,)),
        ]:
            with pytest.raises((ValueError, pool.MaybeEncodingError, pickle.PicklingError, AttributeError)):
                task.get(PATIENCE)
        assert workers.apply(square, (3,)) == 9
    workers.join()


def test_an_idle_worker_is_replaced(ctx: Any) -> None:
    """A worker that is killed while it waits for a task costs nothing."""
    with ctx.Pool(2) as workers:
        assert workers.map(square, range(4)) == [0, 1, 4, 9]
        for _ in range(3):
            victim = workers._pool[0].pid
            os.kill(victim, signal.SIGKILL)
            assert workers.map_async(square, range(10)).get(PATIENCE) == [n * n for n in range(10)]
            assert wait_until(lambda gone=victim: gone not in [w.pid for w in workers._pool])
    workers.join()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_task_whose_worker_is_killed_raises(ctx: Any, tmp_path: Any, stopped: bool) -> None:
    """WorkerLost within a second of the kill, for that task only; the others are done."""
    path = tmp_path / "pids"
    with ctx.Pool(2) as workers:
        lost = workers.apply_async(sleep_and_tell, (str(path),))
        assert wait_until(lambda: told(path))
        others = workers.map_async(square, range(20), chunksize=1)
        (victim,) = told(path)
        if stopped:
            os.kill(victim, signal.SIGSTOP)
            assert others.get(PATIENCE) == [n * n for n in range(20)]
            assert not lost.ready()
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(mp.WorkerLost, match="died") as caught:
            lost.get(PATIENCE)
        assert time.monotonic() - began < SOON
        assert caught.value.attempts == 1
        assert others.get(PATIENCE) == [n * n for n in range(20)]
        assert workers.map_async(square, [5]).get(PATIENCE) == [25]
        workers.close()
        workers.join()
    assert told(path) == [victim], "the task was run again"


def test_the_only_worker_is_killed(ctx: Any, tmp_path: Any) -> None:
    """In a pool of one, the worker that takes the dead one's place answers for it."""
    path = tmp_path / "pids"
    with ctx.Pool(1) as workers:
        lost = workers.apply_async(sleep_and_tell, (str(path),))
        after = workers.apply_async(square, (4,))
        assert wait_until(lambda: told(path))
        os.kill(told(path)[0], signal.SIGKILL)
        with pytest.raises(mp.WorkerLost):
            lost.get(PATIENCE)
        assert after.get(PATIENCE) == 16
    workers.join()


def die_at_first(path: str) -> str:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(pathlib.Path(path).read_text().split()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die_always(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    os._exit(7)


def test_a_lost_task_can_be_run_again(tmp_path: Any) -> None:
    """With when_lost="retry" a task survives its worker; one that kills each worker ends with WorkerLost."""
    once, always = tmp_path / "once", tmp_path / "always"
    with mp.get_context("fork").Pool(2, when_lost="retry") as workers:
        assert workers.apply_async(die_at_first, (str(once),)).get(PATIENCE) == "done"
        assert len(told(once)) == 2
        with pytest.raises(mp.WorkerLost) as caught:
            workers.apply_async(die_always, (str(always),)).get(PATIENCE)
        assert caught.value.attempts == pool.ATTEMPTS == len(told(always))
        assert workers.map(square, range(5)) == [0, 1, 4, 9, 16]
    workers.join()


def leave(how: str) -> None:
    if how == "exit":
        raise SystemExit(0)
    if how == "interrupt":
        raise KeyboardInterrupt
    os._exit(0)


@pytest.mark.parametrize("how", ["exit", "interrupt", "_exit"])
def test_a_task_that_ends_its_worker_raises(how: str) -> None:
    """A task that ends its process is lost as one that was killed in it; the standard's pool waits for ever."""
    with mp.get_context("fork").Pool(1) as workers:
        with pytest.raises(mp.WorkerLost):
            workers.apply_async(leave, (how,)).get(PATIENCE)
        assert workers.apply(square, (2,)) == 4
    workers.join()


def large(n: int) -> Any:
    return np.full(500_000, n)


@pytest.mark.parametrize("method", METHODS)
def test_workers_killed_while_they_send_answers(method: str) -> None:
    """Each answer arrives whole, or its task is lost; each task is answered once, and all are."""
    pick = random.Random(5)
    with mp.get_context(method).Pool(2) as workers:
        workers.map(square, range(4))
        lost = 0
        for _ in range(KILLS[method]):
            results = [workers.apply_async(large, (n,)) for n in range(6)]
            time.sleep(pick.random() * 0.02)
            assert wait_until(lambda: workers._pool)
            process = pick.choice(list(workers._pool))
            process.kill()
            for n, result in enumerate(results):
                try:
                    value = result.get(PATIENCE)
                    assert value.shape == (500_000,)
                    assert (value == n).all()
                except mp.WorkerLost:
                    lost += 1
            del results, result
            value = None
        assert lost <= KILLS[method]
        assert not workers._cache
        workers.close()
        workers.join()
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == []


def die_before_acknowledging() -> None:
    def die(tasks: Any) -> None:
        if tasks._lease is not None and tasks._lease.attempts == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        done(tasks)

    done = pool.Tasks.done
    pool.Tasks.done = die  # type: ignore[method-assign, assignment]


def test_an_answer_that_comes_twice_counts_once() -> None:
    """A worker that dies after its answer was sent has answered: what others say of the task is dropped (T3)."""
    with mp.get_context("fork").Pool(2, die_before_acknowledging) as workers:
        # Each second chunk of the map would be missing, or lost, if the answers for the first counted twice.
        assert workers.map_async(square, range(12), chunksize=2).get(PATIENCE) == [n * n for n in range(12)]
        assert list(workers.imap_unordered(square, [7])) == [49]
    workers.join()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise RuntimeError("no licence")


@pytest.mark.parametrize(("initializer", "says"), [(die, "SIGKILL"), (fail, "no licence")])
def test_an_initializer_that_never_succeeds_breaks_the_pool(initializer: Any, says: str) -> None:
    """Workers are not started for ever: each task says why, and close and join return."""
    workers = mp.get_context("fork").Pool(2, initializer)
    result = workers.map_async(square, range(10), chunksize=1)
    with pytest.raises(mp.WorkerLost, match=says):
        result.get(PATIENCE)
    with pytest.raises(mp.WorkerLost, match=says):
        workers.apply_async(square, (1,)).get(PATIENCE)
    with pytest.raises(mp.WorkerLost, match=says):
        next(workers.imap(square, [1, 2]))
    workers.close()
    began = time.monotonic()
    workers.join()
    assert time.monotonic() - began < SOON


def raise_in_get(self: Any) -> Any:
    raise RuntimeError("no get")


def spoil(get: Any) -> None:
    pool.Tasks.get = get  # type: ignore[method-assign]


def processes_made() -> int:
    return int(mp.Process().name.rpartition("-")[2])


def die_in_get(self: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("get", "says"), [(die_in_get, "SIGKILL"), (raise_in_get, "status 1")])
@pytest.mark.parametrize("when_lost", ["raise", "retry"])
def test_workers_that_die_while_they_get_a_task_break_the_pool(get: Any, says: str, when_lost: Any) -> None:
    """What ends every worker before it has a task is not tried for ever."""
    before = processes_made()
    workers = mp.get_context("fork").Pool(2, spoil, (get,), when_lost=when_lost)
    result = workers.map_async(square, range(10), chunksize=1)
    with pytest.raises(mp.WorkerLost, match=says):
        result.get(PATIENCE)
    assert processes_made() - before <= 3 * workers._traffic._more_patience
    with pytest.raises(mp.WorkerLost, match=says):
        workers.apply_async(square, (1,)).get(PATIENCE)
    workers.close()
    workers.join()


def test_workers_that_are_killed_while_nothing_is_to_be_done_are_replaced() -> None:
    """An idle pool whose workers are killed one after the other goes on."""
    with mp.get_context("fork").Pool(1) as workers:
        for _ in range(12):
            assert workers.apply(square, (3,)) == 9
            victim = workers._pool[0]
            victim.kill()
            assert wait_until(lambda gone=victim: workers._pool and workers._pool[0] is not gone)
        assert workers.apply(square, (3,)) == 9
    workers.join()


def test_tasks_that_kill_their_workers_do_not_break_the_pool() -> None:
    """However many tasks in a row end their workers: each is answered, and so is the next one."""
    with mp.get_context("fork").Pool(2, when_lost="retry") as workers:
        results = [workers.apply_async(os._exit, (1,)) for _ in range(20)]
        for result in results:
            with pytest.raises(mp.WorkerLost):
                result.get(PATIENCE)
        assert workers.apply(square, (3,)) == 9
    workers.join()


def die_sometimes(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(pathlib.Path(path).read_text().split()) <= 2:
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_initializer_that_is_killed_at_times_is_run_again(tmp_path: Any) -> None:
    """A worker that dies in its initializer is replaced."""
    with mp.get_context("fork").Pool(1, die_sometimes, (str(tmp_path / "pids"),)) as workers:
        assert workers.map_async(square, range(3)).get(PATIENCE) == [0, 1, 4]
    workers.join()


def die_unless_first(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if told_first(path) == os.getpid():
        time.sleep(1)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def told_first(path: str) -> int:
    with open(path) as file:
        return int(file.readline())


def test_one_worker_that_starts_is_enough(tmp_path: Any) -> None:
    """While others die in their initializer again and again, a worker that gets through it does the tasks, and ends."""
    workers = mp.get_context("fork").Pool(2, die_unless_first, (str(tmp_path / "pids"),))
    assert workers.map_async(square, range(3)).get(PATIENCE) == [0, 1, 4]
    assert len(told(tmp_path / "pids")) < 10
    workers.close()
    workers.join()


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_pools_end_while_their_workers_die(ctx: Any, how: str) -> None:
    """Close, terminate and join return, whatever is killed meanwhile."""
    workers = ctx.Pool(3)
    result = workers.map_async(square, range(200), chunksize=1)
    for process in workers._pool[:2]:
        process.kill()
    getattr(workers, how)()
    if how == "close":
        workers._pool[0].kill()
    began = time.monotonic()
    workers.join()
    assert time.monotonic() - began < PATIENCE
    if how == "close":
        assert result.ready()


def test_terminate_ends_stopped_workers(ctx: Any, tmp_path: Any) -> None:
    """A worker that is stopped does not hold terminate up."""
    path = tmp_path / "pids"
    workers = ctx.Pool(2)
    workers.apply_async(sleep_and_tell, (str(path),))
    assert wait_until(lambda: told(path))
    (victim,) = told(path)
    os.kill(victim, signal.SIGSTOP)
    pids = [w.pid for w in workers._pool]
    began = time.monotonic()
    workers.terminate()
    workers.join()
    assert time.monotonic() - began < pool.GRACE
    assert not any(alive(pid) for pid in pids)


def endless() -> Iterator[Any]:
    n = 0
    while True:
        yield np.full(pool.AHEAD_BYTES // 16, n)
        n += 1


def test_large_tasks_are_not_made_far_ahead() -> None:
    """Of an endless sequence of large tasks only a few are made before workers take them; terminate ends it."""
    made = []

    def noted() -> Iterator[Any]:
        for a in endless():
            made.append(len(a))
            yield a

    with mp.get_context("fork").Pool(2) as workers:
        results = workers.imap(double, noted())
        for n in range(5):
            assert (next(results) == 2 * n).all()
        first = workers._pool[0].pid
        for process in workers._pool:
            os.kill(process.pid, signal.SIGSTOP)
        # Nobody takes any: no more are made, after the one that was under way.
        counts = [len(made)]
        while len(counts) < 3 or len(set(counts[-3:])) > 1:
            time.sleep(0.2)
            counts.append(len(made))
            assert counts[-1] <= counts[0] + 8, counts
        assert first in [process.pid for process in workers._pool]
    workers.join()


ARRAYS = """
    import os, sys, numpy as np
    from faretra import multiprocessing as mp

    def make(n):
        return np.full(500_000, n)

    if __name__ == "__main__":
        with mp.get_context("fork").Pool(2) as workers:
            results = workers.map(make, range(40), chunksize=1)
        assert all((a == n).all() for n, a in enumerate(results))
        print(sum(a.nbytes for a in results))
"""


def test_results_can_be_more_than_the_arena_has() -> None:
    """Answers that the parent holds make room for those to come: 160 MB through an arena of 48 MiB."""
    with Program(ARRAYS, FARETRA_MP_LIMIT="48MiB") as program:
        assert program.line(60) == "160000000"
        assert program.end() == 0
        assert program.left() == []


MAPS = """
    import os, sys, time, numpy as np
    from faretra import multiprocessing as mp

    def work(n):
        time.sleep(0.01)
        return np.full(50_000, n)

    def begin(n):
        time.sleep(0.3)
        return os.getpid()

    if __name__ == "__main__":
        with mp.get_context(sys.argv[1]).Pool(2) as workers:
            with mp.get_context(sys.argv[1]).Pool(1) as second:
                # Its successor knows of the other pool.
                workers._pool[0].kill()
                time.sleep(0.5)
                pids = set(workers.map(begin, range(4), chunksize=1)) | set(second.map(begin, [0]))
                print(*pids)
                while True:
                    workers.map(work, range(100))
"""


@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_the_program(method: str) -> None:
    """Nothing is left of a program whose first process is killed: no worker, and no file."""
    with Program(MAPS, method) as program:
        pids = [int(pid) for pid in program.line().split()]
        assert len(pids) >= 2
        program.kill()
        assert wait_until(lambda: not any(alive(pid) for pid in pids), 10)
        assert wait_until(lambda: not program.members(), 10)
        # The kernel freed the memory; the name goes when the next process looks.
        program.sweep()
        assert program.left() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_ctrl_c_ends_the_program(method: str, delay: float) -> None:
    """Ctrl-C ends all processes of a program in the middle of a map, and leaves no file."""
    with Program(MAPS, method) as program:
        program.line()
        time.sleep(delay)
        program.signal_group(signal.SIGINT)
        assert program.end(15) != 0
        assert wait_until(lambda: not program.members(), 5)
        assert "KeyboardInterrupt" in program.errors
        assert program.left() == []


ORPHANS = """
    import os, time
    from faretra import multiprocessing as mp

    def work(n):
        time.sleep(0.3)
        os.write(1, f"done {n}\\n".encode())

    if __name__ == "__main__":
        import sys
        pool = mp.get_context(sys.argv[1]).Pool(2)
        print([process.pid for process in pool._pool], flush=True)
        results = pool.map_async(work, range(200), chunksize=1)
        time.sleep(0.5)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("method", METHODS)
def test_workers_without_a_parent_end(method: str) -> None:
    """When the program is killed, its workers end after the tasks that they have: nobody waits for the others."""
    with Program(ORPHANS, method) as program:
        pids = [int(pid) for pid in program.line().strip("[]").split(",")]
        assert wait_until(lambda: not any(alive(pid) for pid in pids), 10)
