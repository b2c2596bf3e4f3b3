"""Mutable arrays: processes write their rows at once, and readers and writers keep apart."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", "?"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(arena: faretra.Arena, dtype: str) -> None:
    """Arrays of each type are written, read, opened by others without saying the type, and frozen."""
    made = arena.mutable_array("grid", (5, 2), dtype, partitions=2)
    assert (made.shape, made.dtype, made.partitions, made.name) == ((5, 2), np.dtype(dtype), 2, "grid")
    with made.write(1) as rows:
        assert rows.shape == (3, 2) and rows.dtype == dtype and not rows.any()
        rows[:] = 1
    with arena.mutable_array("grid").read_all() as rows:
        assert rows.tolist() == [[0, 0]] * 2 + [[1, 1]] * 3
        with pytest.raises(ValueError, match="read-only"):
            rows[0] = 1
    frozen = made.freeze()
    assert frozen.dtype == dtype and frozen.sum() == 6 and made.frozen
    assert np.shares_memory(frozen, arena["grid"]) or frozen.tolist() == arena["grid"].tolist()
    with pytest.raises(faretra.InvalidError, match="frozen"):
        made.write(0)


def test_partitions_are_written_at_once(arena: faretra.Arena) -> None:
    """Each process writes its partition while the others write theirs, into one array without a copy."""
    grid = arena.mutable_array("grid", (1000, 64), "f4", partitions=4)
    program = """
        part = int(sys.argv[2])
        grid = arena.mutable_array("grid")
        with grid.write(part, timeout=20) as rows:
            print("writes")
            arena.event("go").wait(20)
            rows[:] = part + 1
        print("done")
    """
    children = [Child(arena, program, part) for part in range(4)]
    try:
        assert [child.line() for child in children] == ["writes"] * 4
        with pytest.raises(TimeoutError):
            grid.read_all(timeout=0.05)
        arena.event("go").set()
        assert [child.line() for child in children] == ["done"] * 4
    finally:
        for child in children:
            child.__exit__()
    with grid.read_all(timeout=5) as rows:
        assert [set(rows[part * 250 : part * 250 + 250].ravel()) for part in range(4)] == [{1}, {2}, {3}, {4}]


def test_readers_and_writers_keep_apart(arena: faretra.Arena) -> None:
    """A partition has one writer or up to 7 readers; other partitions are free meanwhile."""
    grid = arena.mutable_array("grid", 8, partitions=2)
    assert [grid.rows_of(i) for i in (0, 1, -1, 2)] == [range(4), range(4, 8), range(4, 8), range(8, 8)]
    with grid.write(0):
        for take in (grid.write, grid.read):
            with pytest.raises(TimeoutError):
                take(0, timeout=0)
        with grid.write(1), pytest.raises(TimeoutError):
            grid.freeze(timeout=0.01)
    readers = [grid.read(-1) for _ in range(7)]
    with pytest.raises(TimeoutError):
        grid.read(1, timeout=0)
    with pytest.raises(TimeoutError):
        grid.write_all(timeout=0.01)
    readers[3].release()
    with grid.read(1, timeout=0) as rows:
        assert rows.shape == (4,)
    del readers
    gc.collect()
    with grid.write_all(timeout=5) as rows:
        rows += 1
    for partition in (2, -3):
        with pytest.raises(faretra.InvalidError, match="2 partitions"):
            grid.write(partition)


def test_a_killed_writer_is_told_of(arena: faretra.Arena) -> None:
    """Rows that a killed process was writing are told of until they are marked, and are not frozen before."""
    grid = arena.mutable_array("grid", 8, "i8", partitions=2)
    program = """
        with arena.mutable_array("grid").write(1) as rows:
            rows[0] = 7
            print("writes")
            time.sleep(60)
    """
    with Child(arena, program) as child:
        assert child.line() == "writes"
        child.kill()
        with grid.read(1, timeout=5) as rows:
            assert rows.tolist() == [7, 0, 0, 0]
    assert grid.read(1).recovered and not grid.read(0).recovered
    with pytest.raises(faretra.InvalidError, match="half written"):
        grid.freeze(timeout=5)
    right = grid.write(1)
    assert right.recovered
    with right as rows:
        rows[:] = 1
        right.mark_consistent()
    assert not grid.read(1).recovered
    assert grid.freeze(timeout=5).tolist() == [0] * 4 + [1] * 4


def test_an_exception_leaves_rows_half_written(arena: faretra.Arena) -> None:
    """A block that raises gives its rows back, and the next is told; a block that reads leaves nothing."""
    grid = arena.mutable_array("grid", 4, "i8")
    with pytest.raises(ZeroDivisionError), grid.read(0):
        raise ZeroDivisionError
    assert not grid.read(0).recovered
    with pytest.raises(ZeroDivisionError), grid.write(0):
        raise ZeroDivisionError
    right = grid.write(0, timeout=0)
    assert right.recovered
    right.mark_consistent()
    right.release()
    assert not grid.write(0).recovered
    with pytest.raises(faretra.InvalidError, match="cannot be marked"):
        grid.read(0).mark_consistent()


def test_views_outlive_their_block(arena: faretra.Arena) -> None:
    """Writing through what is left of a writer's array changes nothing for anybody, and keeps nobody out."""
    grid = arena.mutable_array("grid", (2, 600), "f8", partitions=2)
    with grid.write(1) as rows:
        rows[:] = 1
        row = rows[0, 10:]
    row[:] = 9
    assert row[0] == 9
    with grid.write(1, timeout=0) as rows:
        assert (rows == 1).all()
    forgotten = grid.write(1).array
    gc.collect()
    with grid.write(1, timeout=0) as rows:
        assert (rows == 1).all()
    forgotten[:] = 5
    with grid.read(1) as rows:
        assert (rows == 1).all()
    right = grid.write(0)
    right.release()
    right.release()
    with pytest.raises(faretra.InvalidError, match="given back"):
        _ = right.array


def test_memory_goes_with_the_last_view(arena: faretra.Arena) -> None:
    """Views keep the array's memory after its name and handles are gone, and nothing keeps it after them."""
    grid = arena.mutable_array("grid", 100_000, "u1", partitions=4)
    with grid.read(2) as rows:
        view = rows[5:]
    with grid.write(1) as rows:
        written = rows[:10]
    live = arena.stats().live
    del arena["grid"]
    del grid, rows
    gc.collect()
    assert view.sum() == 0 and written.sum() == 0 and arena.stats().live == live
    del view, written
    gc.collect()
    assert arena.stats().live < live - 100_000 + 1


def test_a_forked_child_gives_nothing_back(arena: faretra.Arena) -> None:
    """A right that came through `fork` is refused in the child, and the parent keeps it."""
    grid = arena.mutable_array("grid", 4, partitions=2)
    write, read = grid.write(0), grid.read(1)
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (write.release, read.release, lambda: grid.write(1)):
            try:
                call()
            except faretra.ForkedError:
                refused += 1
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    for take in (grid.write, grid.read):
        with pytest.raises(TimeoutError):
            take(0, timeout=0)
    write.release()
    read.release()
    grid.write_all(timeout=0).release()


def test_what_does_not_fit_is_refused(arena: faretra.Arena) -> None:
    """Shapes, types and numbers of partitions that cannot be, or differ from what is there, are refused in words."""
    grid = arena.mutable_array("grid", (6, 2), "f4", partitions=3)
    assert arena.mutable_array("grid", (6, 2), "f4").partitions == 3
    assert grid.shape == arena.mutable_array("grid", partitions=3).shape
    wrong: list[Any] = [
        ((6, 3), "f4", 3),
        ((12,), "f4", 3),
        ((6, 2), "f8", 3),
        ((6, 2), "f4", 2),
        (None, "f8", None),
    ]
    for shape, dtype, partitions in wrong:
        with pytest.raises(faretra.MismatchError):
            arena.mutable_array("grid", shape, dtype, partitions)
    with pytest.raises(KeyError):
        arena.mutable_array("none")
    impossible: list[Any] = [((), 1), (4, 0), (4, -1), (4, 5), ((4, -1), 1), (1 << 62, 1)]
    for shape, partitions in impossible:
        with pytest.raises((ValueError, MemoryError)):
            arena.mutable_array("wrong", shape, "u1", partitions)
    dtypes: list[Any] = ["M8[s]", ">f4", "O", "S3", [("a", "i4")]]
    for dtype in dtypes:
        with pytest.raises(TypeError):
            arena.mutable_array("wrong", 4, dtype)
    assert "wrong" not in arena
    empty = arena.mutable_array("empty", (0, 3))
    with empty.write(0) as rows, pytest.raises(TimeoutError):
        empty.read(0, timeout=0)
    assert rows.shape == (0, 3) and empty.freeze().shape == (0, 3)


def test_who_waits_for_rows_gets_them(arena: faretra.Arena) -> None:
    """Who waits for rows goes on when they are given back, in another process."""
    grid = arena.mutable_array("grid", 4, "i8")
    program = """
        grid = arena.mutable_array("grid")
        print("waits")
        with grid.write(0, timeout=20) as rows:
            rows += 1
        print("done")
    """
    right = grid.write(0)
    with Child(arena, program) as child:
        assert child.line() == "waits"
        time.sleep(0.1)
        right.release()
        assert child.line(5) == "done"
    with grid.read(0) as rows:
        assert rows.tolist() == [1] * 4
