"""Queues of `faretra.multiprocessing`: what arrives, who dies, what is left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import pickle
import queue
import selectors
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing import pool as standard_pool
from typing import Any

import numpy as np
import pytest

from faretra import multiprocessing as mp
from faretra._native import Pinned
from faretra.multiprocessing import _home, queues
from faretra.multiprocessing._payload import SMALL

# Enough for an array to go out of band.
MANY = 100_000
PATIENCE = 15


def base(array: np.ndarray[Any, Any]) -> Any:
    """What the memory of an array belongs to."""
    owner: Any = array
    while not isinstance(owner, Pinned) and owner is not None:
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner


def names(kind: str = "queue-") -> list[str]:
    return [name for name in _home.home().arena if name.startswith(kind)]


def run(program: str, *args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, and check that it leaves no arena."""
    text = "from faretra import multiprocessing as mp\nimport numpy as np, os, signal, sys, threading, time\n"
    done = subprocess.run(
        [sys.executable, "-c", text + textwrap.dedent(program), *args],
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )
    return done


# What arrives.


def strided() -> np.ndarray[Any, Any]:
    return np.arange(MANY * 2.0).reshape(2, MANY)[:, ::2]


ARRAYS = {
    "c": np.arange(MANY, dtype="f8").reshape(100, -1),
    "fortran": np.asfortranarray(np.arange(MANY, dtype="i4").reshape(100, -1)),
    "big-endian": np.arange(MANY, dtype=">u8"),
    "in-the-pickle": np.arange(20_000, dtype="f8").reshape(100, -1),
    "fortran-in-the-pickle": np.asfortranarray(np.arange(20_000, dtype="f8").reshape(100, -1)),
    "structured": np.zeros(MANY, dtype=[("a", "i2"), ("b", "f8")]),
    "datetime": np.arange(MANY).astype("M8[s]"),
    "strings": np.array(["abc", "de"] * MANY),
    "small": np.arange(10),
    "scalar": np.array(5.0),
    "empty": np.zeros((0, 3)),
    "objects": np.array([1, "a", None], dtype=object),
    "masked": np.ma.masked_array(np.arange(MANY), np.arange(MANY) % 2 == 1),
    "bool": np.ones(MANY * 10, dtype=bool),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_arrives_as_it_was(kind: str) -> None:
    """Type, dtype, shape, order, writability and elements are those of what was put."""
    sent, jobs = ARRAYS[kind], mp.Queue()
    jobs.put(sent)
    got = jobs.get(timeout=PATIENCE)
    assert type(got) is type(sent) and got.dtype == sent.dtype and got.shape == sent.shape
    assert (
        got.flags.f_contiguous == sent.flags.f_contiguous
        and got.flags.c_contiguous == sent.flags.c_contiguous
    )
    assert got.flags.writeable
    assert (got == sent).all()
    got[...] = sent
    if sent.nbytes >= SMALL and type(sent) is np.ndarray:
        assert isinstance(base(got), Pinned)
        jobs.put(np.broadcast_to(sent, sent.shape))
        assert not jobs.get(timeout=PATIENCE).flags.writeable


def test_an_array_with_gaps_arrives_without() -> None:
    """What numpy would copy into the pickle goes beside it, too."""
    jobs = mp.Queue()
    jobs.put(strided())
    got = jobs.get(timeout=PATIENCE)
    assert (got == strided()).all() and got.flags.c_contiguous and isinstance(base(got), Pinned)


BYTES = [
    bytearray(100_000),
    b"v" * 100_000,
    b"x" * (3 << 20),
    bytearray(b"y" * (3 << 20)),
    "z\u00e9" * (1 << 20),
    b"",
    bytearray(),
]


@pytest.mark.parametrize("sent", BYTES, ids=lambda sent: f"{type(sent).__name__}-{len(sent)}")
def test_bytes_arrive_as_they_were(sent: Any) -> None:
    """Bytes, bytearrays and text keep their type, alone and in the middle of something else."""
    jobs = mp.Queue()
    whole = [1, sent, {"a": sent, "b": [np.arange(MANY), sent]}, "end"]
    jobs.put(sent)
    jobs.put(whole)
    got = jobs.get(timeout=PATIENCE)
    assert type(got) is type(sent) and got == sent
    again = jobs.get(timeout=PATIENCE)
    assert (
        again[1] == sent
        and again[2]["a"] == sent
        and type(again[2]["b"][1]) is type(sent)
        and again[3] == "end"
    )
    assert (again[2]["b"][0] == np.arange(MANY)).all()


def test_tables_arrive_as_they_were() -> None:
    """Arrow tables are not copied; frames of polars and pandas arrive equal."""
    pa, pl, pd = (pytest.importorskip(name) for name in ("pyarrow", "polars", "pandas"))
    jobs = mp.Queue()
    table = pa.table({"n": np.arange(MANY), "s": [str(n) for n in range(MANY)]})
    jobs.put(table)
    got = jobs.get(timeout=PATIENCE)
    assert got.equals(table)
    shared = got["n"].chunk(0).buffers()[1].address
    arena = _home.home().arena
    assert any(holder.this_process and holder.pinned_bytes >= MANY * 8 for holder in arena.who()) and shared
    frame = pl.DataFrame(
        {"n": np.arange(MANY), "c": pl.Series(["a", "b"] * (MANY // 2), dtype=pl.Categorical)}
    )
    jobs.put(frame)
    got = jobs.get(timeout=PATIENCE)
    assert got.equals(frame) and got.schema == frame.schema
    frame = pd.DataFrame({"n": np.arange(MANY), "s": "x"}, index=np.arange(MANY) * 2)
    jobs.put(frame)
    got = jobs.get(timeout=PATIENCE)
    assert got.equals(frame)
    got.loc[0, "n"] = 7


def test_tensors_arrive_as_they_were() -> None:
    """Tensors of the CPU go beside the pickle: each dtype, order and gradient flag."""
    torch = pytest.importorskip("torch")
    jobs = mp.Queue()
    for sent in (
        torch.arange(MANY, dtype=torch.float64),
        torch.ones(3, MANY, dtype=torch.bfloat16).T,
        torch.rand(2, 3, 200, 200).to(memory_format=torch.channels_last),
        torch.ones(4, MANY)[:, ::2],
        torch.ones(MANY * 2, requires_grad=True),
        torch.tensor(5),
    ):
        jobs.put(sent)
        got = jobs.get(timeout=PATIENCE)
        assert torch.equal(got, sent) and got.dtype == sent.dtype and got.requires_grad == sent.requires_grad
        if sent.is_contiguous() or sent.T.is_contiguous():
            assert got.stride() == sent.stride()


def mirror(here: Any, there: Any) -> None:
    while (array := here.get()) is not None:
        array[0] += 1
        there.put(array)


def test_what_arrives_can_be_written_and_is_the_receivers(ctx: Any) -> None:
    """A received array can be written, and nobody else sees that."""
    here, there = ctx.Queue(), ctx.Queue()
    process = ctx.Process(target=mirror, args=(here, there), daemon=True)
    process.start()
    sent = np.arange(MANY)
    here.put(sent)
    got = there.get(timeout=PATIENCE)
    assert got[0] == 1 and sent[0] == 0
    got[1] = 77
    here.put(got)
    again = there.get(timeout=PATIENCE)
    assert (again[0], again[1], got[0]) == (2, 77, 1)
    assert (again[2:] == sent[2:]).all()
    here.put(None)
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_what_nobody_wrote_to_is_sent_on_without_a_copy() -> None:
    """A received array is sent on by reference; one that was written to, by one byte, is copied as it is then."""
    jobs = mp.Queue()
    jobs.put(np.arange(1 << 20))
    first = jobs.get(timeout=PATIENCE)
    arena = _home.home().arena
    before = arena.stats().live
    jobs.put(first)
    assert arena.stats().live - before < 1 << 20
    second = jobs.get(timeout=PATIENCE)
    assert (second == first).all()
    # Reading does not count as writing.
    jobs.put(second)
    third = jobs.get(timeout=PATIENCE)
    third[1 << 19] = -5
    jobs.put(third)
    fourth = jobs.get(timeout=PATIENCE)
    assert fourth[1 << 19] == -5 and second[1 << 19] == 1 << 19
    fourth[:10] = 0
    del first, second, third
    jobs.put(fourth[5:])
    assert jobs.get(timeout=PATIENCE)[4:7].tolist() == [0, 10, 11]


def test_a_forked_child_keeps_what_its_parent_drops() -> None:
    """What was received before a fork stays in the child as it was, also when the parent drops it and uses the memory."""
    ctx = mp.get_context("fork")
    jobs, go, results = ctx.Queue(), ctx.Queue(), ctx.Queue()
    arena = _home.home().arena
    before = arena.stats().live
    for kept in (np.arange(MANY), np.broadcast_to(np.arange(MANY), MANY)):
        jobs.put(kept)
        got = jobs.get(timeout=PATIENCE)

        def child(got: Any = got) -> None:
            go.get()
            results.put(bool((got == np.arange(MANY)).all()))

        process = ctx.Process(target=child)
        process.start()
        del got, child
        process._target = None
        gc.collect()
        for _ in range(20):
            jobs.put(np.full(MANY, -1))
            jobs.get(timeout=PATIENCE)
        go.put(1)
        assert results.get(timeout=PATIENCE)
        process.join(PATIENCE)
    # Who receives lets go of what was kept for children that have ended.
    jobs.put(np.arange(MANY))
    jobs.get(timeout=PATIENCE)
    gc.collect()
    assert arena.stats().live - before < MANY


def test_an_item_is_pickled_at_put() -> None:
    """What is changed after put does not arrive, and what cannot be pickled raises there."""
    jobs = mp.Queue()
    many = [np.zeros(MANY)]
    jobs.put(many)
    many[0][:] = 1
    assert jobs.get(timeout=PATIENCE)[0].sum() == 0
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        jobs.put(lambda: 0)
    assert jobs.empty()


def test_queues_are_handed_over_to_processes_only() -> None:
    """A queue is pickled while a process starts, and never else, as the standard's."""
    for made in (mp.Queue(), mp.JoinableQueue(), mp.SimpleQueue()):
        with pytest.raises(RuntimeError, match="inheritance"):
            pickle.dumps(made)
    assert queues.Queue[int] is not None


# Room.


def test_a_bound_is_kept() -> None:
    """put raises Full when maxsize objects are in the queue, at once or after its timeout."""
    jobs = mp.Queue(2)
    jobs.put(1)
    jobs.put(2)
    assert jobs.full() and jobs.qsize() == 2
    began = time.monotonic()
    with pytest.raises(queue.Full):
        jobs.put(3, timeout=0.2)
    assert 0.15 < time.monotonic() - began < 5
    with pytest.raises(queue.Full):
        jobs.put_nowait(3)
    assert [jobs.get(timeout=PATIENCE), jobs.get_nowait()] == [1, 2]
    with pytest.raises(queue.Empty):
        jobs.get_nowait()


def test_a_very_large_bound_is_kept() -> None:
    """A bound above what a channel can have is kept, too."""
    jobs = mp.Queue(70_000)
    for n in range(70_000):
        jobs.put(n)
    assert jobs.full()
    with pytest.raises(queue.Full):
        jobs.put(0, timeout=0.01)
    assert jobs.get(timeout=PATIENCE) == 0
    jobs.put(0, timeout=PATIENCE)


FULL = """
if __name__ == "__main__":
    mp.set_limit("16MiB")
    jobs = getattr(mp, sys.argv[1])()
    began = time.monotonic()
    for n in range(12):
        jobs.put(np.full(500_000, n))
    assert time.monotonic() - began < 10
    assert jobs.qsize() == 12
    print("put", flush=True)
    if sys.argv[2] == "cancel":
        jobs.cancel_join_thread()
    else:
        def read():
            for n in range(12):
                got = jobs.get(timeout=30)
                assert (got == n).all() and len(got) == 500_000
                time.sleep(0.02)
                if sys.argv[1] == "JoinableQueue":
                    jobs.task_done()
            print("got", flush=True)
        process = mp.get_context("fork").Process(target=read)
        process.start()
        if sys.argv[1] == "JoinableQueue":
            jobs.join()
        if sys.argv[2] == "join":
            jobs.close()
            jobs.join_thread()
"""


@pytest.mark.parametrize(
    ("cls", "how"), [("Queue", "exit"), ("Queue", "join"), ("Queue", "cancel"), ("JoinableQueue", "exit")]
)
def test_put_does_not_wait_for_memory(cls: str, how: str) -> None:
    """Without a bound, put does not block on a full arena: items wait in the process, which sends them before it ends."""
    done = run(FULL, cls, how)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["put"] if how == "cancel" else ["put", "got"]), done.stderr


def test_an_object_larger_than_the_arena_is_an_error() -> None:
    """What can never fit raises NoSpaceError, and does not wait for ever."""
    done = run("""
        mp.set_limit("16MiB")
        for jobs in mp.Queue(), mp.Queue(5):
            try:
                jobs.put(np.zeros(8 << 20))
            except MemoryError as error:
                print(type(error).__name__)
    """)
    assert done.stdout.split() == ["NoSpaceError"] * 2, done.stderr


# Waits.


INTERRUPTED = """
jobs = mp.Queue(1)
a, b = mp.Pipe()
small = b"x" * 10_000
def fill():
    while True:
        jobs.put(1)
def send():
    while True:
        a.send(small)
waits = {"get": jobs.get, "put": fill, "recv": b.recv, "send": send, "join": None, "simple": mp.SimpleQueue().get}
done = mp.JoinableQueue()
done.put(1)
waits["join"] = done.join
if sys.argv[1] == "timeout":
    waits["timeout"] = lambda: jobs.get(timeout=50)
print("ready", flush=True)
try:
    waits[sys.argv[1]]()
except KeyboardInterrupt:
    print("interrupted", flush=True)
jobs.cancel_join_thread()
"""


@pytest.mark.parametrize("what", ["get", "put", "recv", "send", "join", "simple", "timeout"])
def test_ctrl_c_ends_a_wait(what: str) -> None:
    """Ctrl-C ends each wait soon, and the process goes on."""
    text = "from faretra import multiprocessing as mp\nimport sys\n" + INTERRUPTED
    program = subprocess.Popen([sys.executable, "-c", text, what], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
        time.sleep(0.3)
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        assert program.stdout.readline() == "interrupted\n"
        assert time.monotonic() - began < 2
        assert program.wait(PATIENCE) == 0
    finally:
        program.kill()
        program.wait()


# What is left.


@pytest.mark.parametrize("cls", ["Queue", "JoinableQueue", "SimpleQueue"])
@pytest.mark.parametrize("what", ["unread", "array", "thread", "descriptor"])
def test_a_program_ends_and_leaves_nothing(cls: str, what: str) -> None:
    """A program with unread items, received arrays, waiting threads or descriptors ends by itself, and its arena is gone."""
    done = run(
        """
        jobs = getattr(mp, sys.argv[1])()
        if sys.argv[2] == "unread":
            jobs.put(np.zeros(1_000_000))
        elif sys.argv[2] == "array":
            jobs.put(np.zeros(1_000_000))
            kept = jobs.get()
        elif sys.argv[2] == "thread":
            threading.Thread(target=jobs.get, daemon=True).start()
        else:
            jobs.fileno()
        from faretra.multiprocessing import _home
        print(_home.home().arena.path, flush=True)
        """,
        cls,
        what,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert not os.path.exists(done.stdout.strip())


def test_a_name_goes_with_the_last_that_has_the_queue(ctx: Any) -> None:
    """A collected queue leaves no name, and a child that still has the queue can hand it on meanwhile."""
    before = names()
    jobs, results = ctx.Queue(), ctx.Queue()
    child = ctx.Process(target=nested, args=(jobs, results))
    child.start()
    place = jobs._channel._place[1]
    jobs.put(np.arange(MANY))
    del jobs
    gc.collect()
    assert results.get(timeout=PATIENCE)[-1] == MANY - 1
    child.join(PATIENCE)
    del child, results
    gc.collect()
    assert place not in names() and names() == before


def nested(jobs: Any, results: Any) -> None:
    grandchild = mp.get_context("fork").Process(target=nested_more, args=(jobs, results))
    grandchild.start()
    grandchild.join()


def nested_more(jobs: Any, results: Any) -> None:
    results.put(jobs.get())


def test_items_outlive_their_writer(ctx: Any) -> None:
    """What a process put before it ended arrives after its end."""
    jobs = ctx.Queue()
    child = ctx.Process(target=put_some, args=(jobs,))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert [jobs.get(timeout=PATIENCE).shape for _ in range(3)] == [(MANY,)] * 3


def put_some(jobs: Any) -> None:
    for _ in range(3):
        jobs.put(np.zeros(MANY))


# How others use queues.


def test_a_queue_has_a_descriptor() -> None:
    """connection.wait, selectors and asyncio learn from a queue's descriptor that something is there."""
    jobs, other = mp.Queue(), mp.SimpleQueue()
    # Its types know connections only.
    wait: Any = mp.connection.wait
    assert wait([jobs, other._reader], 0.05) == []
    other.put(1)
    assert wait([jobs._reader, other], PATIENCE) == [other]
    assert other.get() == 1
    assert wait([jobs, other], 0.05) == []
    with selectors.DefaultSelector() as selector:
        selector.register(jobs, selectors.EVENT_READ)
        threading.Timer(0.1, jobs.put, ["late"]).start()
        assert selector.select(PATIENCE)
        assert jobs.get_nowait() == "late"
        assert selector.select(0.05) == []

    async def take() -> list[int]:
        loop, got, done = asyncio.get_running_loop(), list[int](), asyncio.Event()

        def ready() -> None:
            try:
                got.append(jobs.get_nowait())
            except queue.Empty:
                return
            if len(got) == 3:
                done.set()

        loop.add_reader(jobs.fileno(), ready)
        for n in range(3):
            loop.call_later(0.02 * n, jobs.put, n)
        await asyncio.wait_for(done.wait(), PATIENCE)
        loop.remove_reader(jobs.fileno())
        return got

    assert asyncio.run(take()) == [0, 1, 2]


def double(array: Any) -> Any:
    return array * 2


def test_the_standards_pool_runs_over_our_queues(ctx: Any) -> None:
    """The pool of the standard gets its queues from our context, and its arrays go through the arena."""
    with standard_pool.Pool(2, context=ctx) as workers:
        got = workers.map(double, [np.arange(MANY), np.arange(MANY)], chunksize=1)
        assert all(isinstance(base(array), Pinned) and array[-1] == 2 * (MANY - 1) for array in got)
        assert workers.apply(os.getpid) != os.getpid()


def test_the_standards_executor_runs_over_our_queues(ctx: Any) -> None:
    """The executor's results come through our queue; a killed worker breaks it and hangs nobody."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=ctx) as workers:
        array = workers.submit(double, np.arange(MANY)).result(PATIENCE)
        assert isinstance(base(array), Pinned) and array[1] == 2
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            workers.submit(os._exit, 3).result(PATIENCE)


def test_a_pool_s_workers_end_with_their_program() -> None:
    """Workers that wait for a task end when the program that has the pool is killed."""
    done = run("""
        if __name__ == "__main__":
            pool = mp.get_context("fork").Pool(2)
            print(*pool.map(abs, [1]), *[worker.pid for worker in pool._pool], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    pids = [int(pid) for pid in done.stdout.split()[1:]]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_joinable_queue_counts() -> None:
    """join waits for each task_done, and one too many is an error."""
    jobs = mp.JoinableQueue()
    for n in range(3):
        jobs.put(n)
    done = threading.Event()

    def join() -> None:
        jobs.join()
        done.set()

    threading.Thread(target=join, daemon=True).start()
    for _ in range(3):
        assert not done.is_set()
        jobs.get(timeout=PATIENCE)
        jobs.task_done()
    assert done.wait(PATIENCE)
    with pytest.raises(ValueError, match="too many"):
        jobs.task_done()
    jobs.join()


def test_who_was_late_in_saying_that_all_is_done_ends_no_join() -> None:
    """One who saw that all was done, and says so after more was put, ends no join that waits for that."""
    jobs = mp.JoinableQueue()
    jobs.put("a job")
    waits = threading.Thread(target=jobs.join, daemon=True)
    waits.start()
    for _ in range(3):
        jobs._counted().idle.set()
        waits.join(0.1)
        assert waits.is_alive()
    jobs.get(timeout=PATIENCE)
    jobs.task_done()
    waits.join(PATIENCE)
    assert not waits.is_alive()


def do_jobs(jobs: Any, todo: int) -> None:
    for _ in range(todo):
        jobs.get(timeout=PATIENCE)
        jobs.task_done()


def test_nobody_does_too_much_where_many_do_it() -> None:
    """Processes that put and do at the same time are never told that there was nothing to do."""
    ctx = mp.get_context("fork")
    jobs = ctx.JoinableQueue()
    doers = [ctx.Process(target=do_jobs, args=(jobs, 1000), daemon=True) for _ in range(3)]
    for doer in doers:
        doer.start()
    for n in range(3000):
        jobs.put(n)
        if n % 1000 == 0:
            jobs.join()
            assert jobs.empty()
    jobs.join()
    for doer in doers:
        doer.join(PATIENCE)
    assert [doer.exitcode for doer in doers] == [0, 0, 0]


def test_the_hook_of_a_subclass_gets_errors_of_pickling() -> None:
    """A subclass that overrides _on_queue_feeder_error gets what could not be pickled."""
    seen = []

    class Safe(queues.Queue[Any]):
        @staticmethod
        def _on_queue_feeder_error(e: BaseException, obj: Any) -> None:
            seen.append(obj)

    jobs: Any = Safe(ctx=mp.get_context())
    unpicklable = threading.Lock()
    jobs.put(unpicklable)
    jobs.put(2)
    assert seen == [unpicklable] and jobs.get(timeout=PATIENCE) == 2


def test_a_closed_queue_is_closed_in_this_process_only() -> None:
    """put and get raise ValueError after close; another process goes on."""
    ctx = mp.get_context("fork")
    jobs = ctx.Queue()
    go = ctx.Queue()
    child = ctx.Process(target=lambda: (go.get(), jobs.put("more")))
    child.start()
    jobs.close()
    go.put(1)
    child.join(PATIENCE)
    assert child.exitcode == 0
    for call in (jobs.get, lambda: jobs.put(1)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_many_processes_and_threads_share_a_queue() -> None:
    """Every item of several writers is got once by one of several readers, in each writer's order."""
    ctx = mp.get_context("fork")
    jobs, results = ctx.Queue(), ctx.Queue()

    def writer(who: int) -> None:
        for n in range(300):
            jobs.put((who, n))

    def reader() -> None:
        got = []
        for item in iter(jobs.get, None):
            got.append(item)
        results.put(got)

    processes = [ctx.Process(target=writer, args=(who,)) for who in range(3)]
    readers = [ctx.Process(target=reader) for _ in range(3)]
    threads = [threading.Thread(target=writer, args=(who,)) for who in (3, 4)]
    for one in [*readers, *processes, *threads]:
        one.start()
    for one in [*processes, *threads]:
        one.join(PATIENCE)
    for _ in readers:
        jobs.put(None)
    all_got = [results.get(timeout=PATIENCE) for _ in readers]
    assert sorted(item for got in all_got for item in got) == [
        (who, n) for who in range(5) for n in range(300)
    ]
    for got in all_got:
        for who in range(5):
            mine = [n for writer_, n in got if writer_ == who]
            assert mine == sorted(mine)
    for one in readers:
        one.join(PATIENCE)
