"""Faults that other libraries had, each as its users met it, and what must happen instead."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import places
import pytest

import faretra


def program(code: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a Python program and wait for its end."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def pss_of(pid: int, arena_file: int) -> int:
    """Return how many KiB of a process are its share of an arena's pages."""
    total, ours = 0, False
    with open(f"/proc/{pid}/smaps") as lines:
        for line in lines:
            fields = line.split()
            if "-" in fields[0] and not fields[0].endswith(":"):
                ours = fields[4] == str(arena_file)
            elif ours and fields[0] == "Pss:":
                total += int(fields[1])
    return total


def test_numpy_18294_a_function_returns_an_array(arena: faretra.Arena) -> None:
    """numpy#18294: a function opened shared memory and returned an array over it; using that array crashed, because the
    handle had been collected. Here the array keeps its memory, whatever becomes of the handle that it was read by."""
    arena["x"] = np.arange(1_000_000)

    def read() -> Any:
        return faretra.Arena.open(arena.name)["x"]

    found = read()
    gc.collect()
    assert found.sum() == 499_999_500_000
    assert [holder.this_process for holder in arena.who()] == [True, True]
    del found
    gc.collect()
    assert [holder.this_process for holder in arena.who()] == [True]


def test_numpy_22190_the_handles_variable_is_reused(fresh_name: Callable[[], str]) -> None:
    """numpy#22190: `shm = np.ndarray(..., buffer=shm.buf)` put the array into the variable of its own handle, and printing
    it crashed. Here the array prints, and when it goes the process leaves the arena."""
    done = program(
        """
        import sys, faretra, numpy as np
        shm = faretra.Arena.create(sys.argv[1], limit="16MiB", keep=False)
        shm["x"] = np.array([42])
        shm = shm["x"]
        print(shm)
        shm = None
        print([info.name for info in faretra.arenas() if info.name == sys.argv[1]])
        """,
        fresh_name(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[42]\n[]\n", "")


def test_numpy_23305_an_objects_array_outlives_it(fresh_name: Callable[[], str]) -> None:
    """numpy#23305: a class returned arrays over shared memory that it opened; with `np.ndarray` they crashed, and with
    `np.frombuffer` a BufferError that nobody can catch was printed when the handle was destroyed. Here neither happens,
    and nothing is printed when the program ends."""
    done = program(
        """
        import sys, faretra, numpy as np
        class Block:
            def __init__(self, name): self.name = name
            def get(self): return np.frombuffer(faretra.Arena.open(self.name)["bytes"], "f8").reshape(2, -1)
            def set(self, array):
                self.kept = faretra.Arena.create(self.name, limit="16MiB", keep=False)
                self.kept["bytes"] = array.tobytes()
        block = Block(sys.argv[1])
        block.set(np.arange(6.0))
        array = block.get()
        del block
        print(array.sum())
        """,
        fresh_name(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "15.0\n", "")


def test_cpython_82300_a_reader_exits(arena: faretra.Arena) -> None:
    """cpython#82300: every process that opened shared memory registered it with its own resource tracker, which removed it
    when that process ended, although others used it, and warned of a leak. Here a reader that ends, however it ends,
    removes nothing, starts no tracker, and prints nothing."""
    arena["x"] = np.arange(10)
    for end in ["", "; os._exit(0)", "; os.kill(os.getpid(), 9)"]:
        done = program(
            "import os, sys, faretra; from multiprocessing import resource_tracker as t; "
            f"x = faretra.Arena.open(sys.argv[1])['x']; assert x.sum() == 45; assert t._resource_tracker._fd is None{end}",
            arena.name,
        )
        assert done.stderr == ""
        assert os.path.exists(arena.path)
        assert faretra.Arena.open(arena.name)["x"].sum() == 45
    arena.recover()


def test_cpython_114390_shared_memory_is_full(fresh_name: Callable[[], str], tmp_path: Any) -> None:
    """cpython#114390: creating shared memory that is larger than /dev/shm succeeded, and the first write to it killed the
    process (SIGBUS). Here `put` and drafts are a MemoryError with the numbers, the process goes on, and so does a
    peer. Needs the right to mount a small tmpfs, or is shown with the arena's own limit only."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", os.fspath(small)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        where: dict[str, Any] = {"dir": small} if mounted else {"limit": "16MiB"}
        with faretra.Arena.create(fresh_name(), keep=False, **where) as arena:
            arena["small"] = np.ones(1000)
            big = np.ones(50_000_000 // 8)
            attempts: list[Callable[[], Any]] = [
                lambda: arena.put("big", big),
                lambda: arena.draft_array("big", len(big)),
                lambda: arena.put("big", {"a": big, "b": 1}),
            ]
            for attempt in attempts:
                with pytest.raises(MemoryError, match=r"5\d{7}|no room"):
                    attempt()
            assert arena["small"].sum() == 1000
            held = []
            with pytest.raises(MemoryError):
                for number in range(1000):
                    arena[f"n{number}"] = np.ones(100_000)
                    held.append(number)
            assert held
            for number in held:
                assert arena[f"n{number}"].sum() == 100_000
                del arena[f"n{number}"]
            arena["again"] = np.ones(100_000)
            assert arena.verify() == []
    finally:
        if mounted:
            gc.collect()
            subprocess.run(["umount", os.fspath(small)], check=True)


def test_arrow_36101_close_with_exported_pointers(fresh_name: Callable[[], str]) -> None:
    """apache/arrow#36101: a pyarrow table over shared memory made `close()` raise "cannot close exported pointers exist",
    also where the program had no table any more. Here `close` always works, and the memory goes with the last view."""
    pa = pytest.importorskip("pyarrow")
    name = fresh_name()
    arena = faretra.Arena.create(name, limit="64MiB", keep=False)
    arena["t"] = pa.table({"x": np.arange(1000), "s": ["text"] * 1000})
    table = pa.table(arena["t"])
    part = table.slice(10, 5)
    arena.close()
    assert part["x"].to_pylist() == [10, 11, 12, 13, 14]
    del table
    assert part["s"].to_pylist() == ["text"] * 5
    assert name in [info.name for info in faretra.arenas()]
    del part
    gc.collect()
    assert name not in [info.name for info in faretra.arenas()]


def test_iceoryx2_a_stale_view(arena: faretra.Arena) -> None:
    """iceoryx2#1548: a numpy array over a sample's memoryview showed the contents of later messages once the sample was
    dropped; it also said that it was writeable, and writing to it killed the process. Here a view shows what it was
    made of for as long as it lives, and says that it is read-only."""
    arena["sample"] = np.full(10_000, 1)
    view = np.asarray(memoryview(arena["sample"]))
    raw = np.frombuffer(arena["sample"].base, "i8")
    gc.collect()
    for number in range(2, 200):
        arena["sample"] = np.full(10_000, number)
        if number % 50 == 0:
            arena.trim()
    assert (view == 1).all()
    assert (raw == 1).all()
    for array in [view, raw]:
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_dora_1833_a_view_of_a_view(arena: faretra.Arena) -> None:
    """dora#1833: a buffer that was to be sent counted its views and refused to be sent while there were some; but numpy over
    a memoryview over it was invisible to that count, and wrote to memory that was sent already. Here a draft may be
    published with any chain of views alive: what they write afterwards, nobody sees."""
    with arena.draft_array("frame", 10_000, "u1") as array:
        array[:] = 7
        chain = np.frombuffer(memoryview(memoryview(array)), "u1")[10:].reshape(-1, 10).T
        taken = np.from_dlpack(array)
    del array
    gc.collect()
    chain[:] = 9
    taken[:] = 11
    assert (arena["frame"] == 7).all()
    del chain
    for number in range(50):
        arena["frame"] = np.full(10_000, number, "u1")
    assert (taken == 11).all()
    del taken
    assert places.pins(arena) == 0


def test_cpython_87357_many_objects_are_not_copied_by_each_worker(arena: faretra.Arena) -> None:
    """cpython#87357: workers that only index a large list of records get a copy of it each, since reference counts lie in
    the objects. Here records that lie in one array, or one pickle's buffers, are pages that all workers have in
    common: four workers that read everything have a quarter of them each."""
    records = np.zeros(400_000, [("id", "i8"), ("name", "S16"), ("score", "f8")])
    records["id"] = np.arange(len(records))
    arena["records"] = {"rows": records, "names": [f"column {i}" for i in range(100)]}
    code = """
        import sys, faretra
        found = faretra.Arena.open(sys.argv[1])["records"]
        rows = found["rows"]
        assert sum(int(rows[i]["id"]) for i in range(0, len(rows), 50)) > 0 and rows["score"].sum() == 0
        print("ready", flush=True)
        sys.stdin.readline()
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), arena.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        inode = os.stat(arena.path).st_ino
        shares = [pss_of(worker.pid, inode) * 1024 for worker in workers]
        print(f"{records.nbytes} bytes of records; shares of four workers: {shares}")
        assert sum(shares) < 1.3 * records.nbytes
        assert max(shares) < 0.5 * records.nbytes
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate(timeout=20)
        arena.recover()


def test_signals_run_while_a_wait_lasts(arena: faretra.Arena) -> None:
    """A wait in native code that never looked at signals made programs deaf for SIGALRM and Ctrl-C until it ended. Here a
    handler runs while the wait lasts, and what it raises ends the wait at once."""

    class Alarm(Exception):
        pass

    calls = []

    def handler(number: int, frame: Any) -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(Alarm):
            arena.wait_for("never", timeout=20)
        assert time.monotonic() - calls[-1] < 0.5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
