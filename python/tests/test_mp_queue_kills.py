"""Queues of `faretra.multiprocessing`, and processes that are killed or stopped in the middle of using them."""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

from faretra import multiprocessing as mp
from faretra.multiprocessing import _home

PATIENCE = 15
# How often processes are killed in a loop.
KILLS = [("fork", int(os.environ.get("FARETRA_KILLS", "50"))), ("forkserver", 10), ("spawn", 3)]


def write(jobs: Any, seed: int) -> None:
    pick = random.Random(seed)
    n = 0
    while True:
        jobs.put((seed, n, np.full(pick.choice([1, 10, 40_000]), n)))
        n += 1


def drained(jobs: Any, patience: float) -> list[Any]:
    got = []
    try:
        while True:
            got.append(jobs.get(timeout=patience))
    except queue.Empty:
        return got


@pytest.mark.parametrize(("method", "times"), KILLS)
def test_a_killed_writer_loses_nothing(method: str, times: int) -> None:
    """What a killed process had put arrives whole and in order, and once; the queue goes on at once."""
    ctx, pick = mp.get_context(method), random.Random(11)
    jobs = ctx.Queue()
    numbers: dict[int, list[int]] = {seed: [] for seed in range(times)}

    def note(item: tuple[int, int, np.ndarray[Any, Any]]) -> None:
        seed, n, payload = item
        assert (payload == n).all()
        numbers[seed].append(n)

    for seed in range(times):
        writer = ctx.Process(target=write, args=(jobs, seed), daemon=True)
        writer.start()
        for _ in range(pick.randrange(3)):
            note(jobs.get(timeout=PATIENCE))
        time.sleep(pick.random() * 0.01)
        writer.kill()
        writer.join(PATIENCE)
        while not jobs.empty():
            note(jobs.get(timeout=PATIENCE))
    # What a process was killed in the middle of may come when others notice its death.
    for item in drained(jobs, 1.0):
        note(item)
    for seed, got in numbers.items():
        assert got == list(range(len(got))), seed
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == []


def read(jobs: Any, log: int) -> None:
    while True:
        n, payload = jobs.get()
        assert (payload == n).all()
        os.write(log, n.to_bytes(4, "little"))


@pytest.mark.parametrize(("method", "times"), KILLS)
def test_a_killed_reader_loses_what_it_had(method: str, times: int) -> None:
    """Each kill loses at most the one item that the process had got; nothing comes twice, and nobody is locked out."""
    ctx, pick = mp.get_context(method), random.Random(12)
    jobs = ctx.Queue()
    total, lost = 0, 0
    for _ in range(times):
        with open(os.memfd_create("log"), "w+b", buffering=0) as log:
            items = list(range(total, total + 40))
            total += len(items)
            if method == "fork":
                reader = ctx.Process(target=read, args=(jobs, log.fileno()), daemon=True)
            else:
                reader = ctx.Process(
                    target=read_to_pipe, args=(jobs, f"/proc/{os.getpid()}/fd/{log.fileno()}"), daemon=True
                )
            reader.start()
            for n in items:
                jobs.put((n, np.full(pick.choice([1, 40_000]), n)))
            time.sleep(pick.random() * (0.01 if method == "fork" else 0.4))
            reader.kill()
            reader.join(PATIENCE)
            log.seek(0)
            seen = log.read()
        got = [int.from_bytes(seen[at : at + 4], "little") for at in range(0, len(seen), 4)]
        rest: list[int] = []
        while len(got) + len(rest) < len(items):
            try:
                rest.append(jobs.get(timeout=0.4)[0])
            except queue.Empty:
                break
        lost += len(items) - len(got) - len(rest)
        assert len(set(got + rest)) == len(got + rest), "an item came twice"
        assert len(got) + len(rest) >= len(items) - 1
        assert set(got + rest) <= set(items)
    # How often one dies between getting an item and noting it depends on the machine.
    assert lost < times
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == []


def read_to_pipe(jobs: Any, path: str) -> None:
    read(jobs, os.open(path, os.O_WRONLY | os.O_APPEND))


def read_slowly(jobs: Any, started: Any) -> None:
    jobs.get()
    started.put(os.getpid())
    while True:
        jobs.get()


def test_a_stopped_reader_holds_up_nobody(ctx: Any) -> None:
    """While one reader is stopped, others get and put."""
    jobs, started = ctx.Queue(), ctx.Queue()
    reader = ctx.Process(target=read_slowly, args=(jobs, started), daemon=True)
    reader.start()
    jobs.put(0)
    pid = started.get(timeout=PATIENCE)
    os.kill(pid, signal.SIGSTOP)
    try:
        for n in range(100):
            jobs.put(n)
        # It may have taken one before it stopped.
        assert len(drained(jobs, 0.3)) >= 99
    finally:
        os.kill(pid, signal.SIGKILL)
        reader.join(PATIENCE)


def test_a_queue_ends_when_its_writers_did() -> None:
    """Who reads gets EOFError when each process that could send has closed its end or died, as with a pipe."""
    ctx = mp.get_context("fork")
    jobs = ctx.SimpleQueue()

    def child() -> None:
        jobs.put("last")
        time.sleep(PATIENCE)

    process = ctx.Process(target=child)
    process.start()
    jobs._writer.close()
    assert jobs.get() == "last"
    began = time.monotonic()
    threading.Timer(0.2, process.kill).start()
    with pytest.raises(EOFError):
        jobs.get()
    assert time.monotonic() - began < 5
    process.join(PATIENCE)
    with pytest.raises(OSError, match="closed"):
        jobs.put(1)


def put_and_die(jobs: Any) -> None:
    while True:
        jobs.put(np.zeros(40_000))


def test_join_does_not_count_what_a_killed_process_did_not_put() -> None:
    """A process that is killed in put does not leave join waiting for an item that is not there."""
    ctx, pick = mp.get_context("fork"), random.Random(3)
    jobs = ctx.JoinableQueue()

    def consume() -> None:
        while jobs.get() is not None:
            jobs.task_done()

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    for _ in range(40):
        writer = ctx.Process(target=put_and_die, args=(jobs,), daemon=True)
        writer.start()
        time.sleep(0.01 + pick.random() * 0.01)
        writer.kill()
        writer.join(PATIENCE)
        waited = threading.Thread(target=jobs.join, daemon=True)
        waited.start()
        waited.join(PATIENCE)
        assert not waited.is_alive()
        assert jobs.empty()
    jobs.put(None)
    consumer.join(PATIENCE)
