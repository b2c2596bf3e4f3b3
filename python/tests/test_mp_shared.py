"""Shared ctypes and named blocks of memory: as the standard's, and nothing left by whoever dies."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing.shared_memory as standard
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mp_sync_children as children
import numpy as np
import pytest
from test_mp_sync import PATIENCE, SOON, kill, path_of_tests, running, script

from faretra import multiprocessing as mp
from faretra.multiprocessing import shared_memory, sharedctypes


@pytest.fixture
def name() -> Iterator[str]:
    """Give the name of a block that there is not."""
    made = f"faretra-test-{os.getpid()}-{time.monotonic_ns()}"
    yield made
    shared_memory.sweep()
    assert not block(made).exists()


def block(name: str) -> Path:
    return Path("/dev/shm", name)


class Point(ctypes.Structure):
    """A structure."""

    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def test_values_and_arrays_are_shared(ctx: Any) -> None:
    """What a child writes, the parent reads: raw and locked, arrays and structures."""
    raw, locked = ctx.RawArray("d", [1.0, 2.0]), ctx.Array("i", range(3))
    point = ctx.Value(Point, 1, 2.5)
    for target, argument in (
        (children.add_to_each, raw),
        (children.add_to_each, locked),
        (children.set_fields, point),
    ):
        process = ctx.Process(target=target, args=(argument,))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert list(raw) == [2.0, 4.0]
    assert locked[:] == [0, 2, 4]
    assert (point.x, point.y) == (3, 4.5)


def test_what_the_functions_return() -> None:
    """They are ctypes objects, zeroed, with the standard's wrappers and texts; numpy sees their memory."""
    value, array = mp.RawValue("i", 5), mp.RawArray(ctypes.c_short, 4)
    assert isinstance(value, ctypes.c_int) and repr(value) == "c_int(5)"
    assert isinstance(array, ctypes.Array) and list(array) == [0] * 4
    seen = np.frombuffer(array, np.int16)  # type: ignore[call-overload]
    seen[2] = 7
    assert array[2] == 7
    text = mp.Array("c", b"hello")
    text.value = b"hi"
    assert text.value == b"hi" and text.raw == b"hi\0lo"
    synchronized = mp.Value("d", 2.5)
    assert repr(synchronized) == "<Synchronized wrapper for c_double(2.5)>"
    assert isinstance(synchronized, sharedctypes.Synchronized)
    assert mp.Value("i", 3, lock=False).value == 3
    lock = mp.Lock()
    assert mp.Value("i", 3, lock=lock).get_lock() is lock
    with pytest.raises(AttributeError, match="no method 'acquire'"):
        mp.Array("i", 3, lock="a lock")
    point = sharedctypes.copy(Point(1, 2.0))
    copied = sharedctypes.copy(point)
    copied.x = 9
    assert (point.x, copied.x, copied.y) == (1, 9, 2.0)
    ctypes.memset(ctypes.byref(value), 0, 4)
    assert value.value == 0


def test_nothing_is_registered_globally() -> None:
    """A ctypes object of the standard's is still handed over by the standard."""
    from multiprocessing import reduction

    before = dict(reduction.ForkingPickler._extra_reducers)  # type: ignore[attr-defined]
    mp.RawValue(ctypes.c_ulonglong, 3)
    mp.RawArray(ctypes.c_ulonglong, 3)
    assert reduction.ForkingPickler._extra_reducers == before  # type: ignore[attr-defined]


def test_a_killed_holder_of_a_value(ctx: Any) -> None:
    """A value can be used again after a process was killed that had its lock."""
    value, held = ctx.Value("i", 1), ctx.Event()
    with running(ctx, children.hold_value, value, held) as process:
        assert held.wait(PATIENCE)
        kill(process)
        began = time.monotonic()
        value.value += 1
        assert value.value == 8 and time.monotonic() - began < SOON


def test_memory_of_values_is_given_back() -> None:
    """Large arrays that are dropped leave the arena, and the next takes their place."""
    from faretra.multiprocessing._home import home

    arena = home().arena
    made = mp.RawArray("B", 8 << 20)
    used = arena.stats().live
    assert used >= 8 << 20
    del made
    gc.collect()
    assert arena.stats().live <= used - (8 << 20)


def test_large_arrays(ctx: Any) -> None:
    """An array of 5 MB, more than the allocator takes at a time, is whole in a child too."""
    array = ctx.RawArray(ctypes.c_double * 128_000, 5)
    process = ctx.Process(target=children.fill_rows, args=(array,))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert np.frombuffer(array).sum() == 128_000 * sum(range(5))


def test_a_standard_program_attaches(name: str) -> None:
    """A program that uses the standard module sees the bytes of a block of ours, and changes them."""
    made = shared_memory.SharedMemory(name, create=True, size=100)
    made.buf[:5] = b"hello"  # type: ignore[index]
    text = (
        "from multiprocessing import resource_tracker, shared_memory as s; "
        "resource_tracker.register = lambda *a: None; "
        f"b = s.SharedMemory({name!r}); print(bytes(b.buf[:5])); b.buf[0] = 74; b.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == "b'hello'\n"
    assert bytes(made.buf[:5]) == b"Jello"  # type: ignore[index]
    assert made.size == 100 and made.name == name and block(name).stat().st_mode & 0o777 == 0o600
    again = pickle.loads(pickle.dumps(made))
    assert bytes(again.buf[:5]) == b"Jello"
    again.close()
    made.close()
    with pytest.raises(FileExistsError):
        shared_memory.SharedMemory(name, create=True, size=1)
    made.unlink()
    with pytest.raises(FileNotFoundError):
        made.unlink()
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name)
    assert isinstance(made, standard.SharedMemory)


def test_a_new_block_has_a_new_name() -> None:
    """Without a name, a block gets one as the standard's have, and two differ."""
    first, second = (shared_memory.SharedMemory(create=True, size=1) for _ in range(2))
    assert first.name.startswith("psm_") and first.name != second.name
    for made in (first, second):
        made.close()
        made.unlink()
    wrong: list[dict[str, Any]] = [{"create": True}, {"create": True, "size": -1}, {"size": 3}]
    for arguments in wrong:
        with pytest.raises(ValueError):
            shared_memory.SharedMemory(**arguments)
    with pytest.raises(ValueError, match="embedded null character"):
        shared_memory.SharedMemory("a\0b", create=True, size=1)


def test_a_killed_maker_leaves_nothing(name: str) -> None:
    """The block of a killed program is removed by the next that makes or opens one; its name is free."""
    text = f"""
        import os, signal
        from faretra.multiprocessing.shared_memory import SharedMemory
        made = SharedMemory({name!r}, create=True, size=1 << 20)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert script(text).returncode == -9
    assert block(name).exists()
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name)
    assert script(text).returncode == -9
    made = shared_memory.SharedMemory(name, create=True, size=1)
    made.close()
    made.unlink()
    assert not shared_memory._entry_path(name).exists()


def test_a_block_lives_with_who_has_it_open(ctx: Any, name: str) -> None:
    """After its maker was killed, a block stays while another has it open, and goes with that one."""
    held = ctx.Event()
    # Its parent is not this process, so the block lives for it alone.
    maker = subprocess.Popen([sys.executable, "-c", MAKER, name], stdout=subprocess.PIPE, env=path_of_tests())
    with maker, running(ctx, children.hold_block_when_there, name, held) as process:
        try:
            assert maker.stdout is not None and maker.stdout.readline() == b"made\n"
            assert held.wait(PATIENCE)
        finally:
            maker.kill()
            maker.wait(PATIENCE)
        shared_memory.sweep()
        assert block(name).exists()
        kill(process)
        shared_memory.sweep()
        assert not block(name).exists()


MAKER = """
import sys, time
from faretra.multiprocessing.shared_memory import SharedMemory
made = SharedMemory(sys.argv[1], create=True, size=100)
print("made", flush=True)
time.sleep(60)
"""


def test_a_child_leaves_a_block_to_its_parent(ctx: Any, name: str) -> None:
    """A block that a child made and closed is there for the parent, as in the standard module."""
    made = ctx.Event()
    process = ctx.Process(target=children.make_block, args=(name, made, False))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    found = shared_memory.SharedMemory(name)
    assert bytes(found.buf[:4]) == b"here"  # type: ignore[index]
    found.close()
    found.unlink()


def test_a_program_that_forgets_to_unlink_leaves_nothing(name: str) -> None:
    """At a normal end the blocks of a program are removed, and those made with `track=False` are not."""
    done = script(f"""
        from faretra.multiprocessing.shared_memory import SharedMemory, ShareableList
        open_still = SharedMemory({name!r}, create=True, size=100)
        closed = SharedMemory(create=True, size=100)
        closed.close()
        kept = SharedMemory("{name}-kept", create=True, size=100, track=False)
        print(closed.name)
    """)
    assert done.returncode == 0 and done.stderr == ""
    assert not block(name).exists() and not block(done.stdout.strip()).exists()
    kept = shared_memory.SharedMemory(f"{name}-kept", track=False)
    kept.close()
    kept.unlink()


def test_lists() -> None:
    """A ShareableList is the standard's, over a block of ours."""
    made = shared_memory.ShareableList(["a", 1, 2.5, None, True, b"x"])
    other = shared_memory.ShareableList(name=made.shm.name)
    other[1] = 7
    assert list(made) == ["a", 7, 2.5, None, True, b"x"]  # pyright: ignore[reportArgumentType]
    assert type(made.shm) is shared_memory.SharedMemory
    copied = pickle.loads(pickle.dumps(made))
    assert copied[1] == 7
    for one in (copied, other, made):
        one.shm.close()
    made.shm.unlink()
