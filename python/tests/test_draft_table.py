"""Tables that grow batch by batch in the arena."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra

pa = pytest.importorskip("pyarrow")


def part(number: int, rows: int = 1000) -> Any:
    return pa.record_batch(
        {"part": np.full(rows, number), "text": [f"{number}-{row}" for row in range(rows)]}
    )


def test_batches_become_a_table(arena: faretra.Arena) -> None:
    """What is appended is seen when the block ends, in the order of the calls, and was copied once."""
    with arena.draft_table("t") as table:
        table.append(part(0))
        table.append(pa.Table.from_batches([part(1), part(2, 10)]))
        assert (table.num_rows, table.num_batches, table.version) == (2010, 3, None) and "t" not in arena
        live = arena.stats().live
        assert table.nbytes <= live
    assert table.version == 1 and arena.stats().live - live <= 16384, "publishing copies nothing"
    read = arena["t"]
    assert read.num_batches == 3 and read.to_pyarrow().equals(
        pa.Table.from_batches([part(0), part(1), part(2, 10)])
    )


def test_every_library(arena: faretra.Arena) -> None:
    """Frames of polars and pandas, readers, and tables of an arena are appended alike."""
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    arena["there"] = pa.table({"a": [1, 2]})
    reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), [pa.record_batch({"a": [3]})])
    with arena.draft_table("t") as table:
        table.append(arena["there"])
        table.append(arena["there"].batch(0))
        table.append(reader)
        table.append(pl.DataFrame({"a": [4]}))
        table.append(pd.DataFrame({"a": [5]}))
    assert arena["t"].to_pyarrow()["a"].to_pylist() == [1, 2, 1, 2, 3, 4, 5]
    with arena.draft_table("frames") as table:
        table.append(pd.DataFrame({"a": [1, 2]}))
        table.append(pd.DataFrame({"a": [3]}))
    assert arena["frames"].to_pandas().equals(pd.DataFrame({"a": [1, 2, 3]}))


def test_a_block_that_raises_publishes_nothing(arena: faretra.Arena) -> None:
    """An exception, `discard` and forgetting give the memory back, and leave what was there."""
    arena["t"] = b"before"
    live = arena.stats().live
    with pytest.raises(ZeroDivisionError), arena.draft_table("t") as table:
        table.append(part(0, 100_000))
        assert arena.stats().live > live + 1_000_000
        raise ZeroDivisionError
    assert bytes(arena["t"]) == b"before" and arena.stats().live == live
    with arena.draft_table("t") as table:
        table.append(part(0))
        table.discard()
    forgotten = arena.draft_table("t")
    forgotten.append(part(0))
    del forgotten
    assert arena.version("t") == 1 and arena.stats().live == live
    with pytest.raises(faretra.InvalidError, match="published or dropped"):
        table.append(part(0))
    with pytest.raises(faretra.InvalidError, match="published or dropped"):
        table.publish()


def test_columns_must_fit(arena: faretra.Arena) -> None:
    """A batch of other columns is refused with both, and the table goes on without it."""
    with arena.draft_table("t") as table:
        table.append(pa.table({"a": [1]}))
        for wrong in ({"a": [1.5]}, {"b": [1]}, {"a": [1], "b": [2]}):
            with pytest.raises(faretra.MismatchError, match=r"batch 1 of the table `t`.*\(a Int64\)"):
                table.append(pa.table(wrong))
        table.append(pa.table({"a": [2]}).replace_schema_metadata({"other": "metadata"}))
        for nothing in (5, {"a": [1]}, [1], np.zeros(3), b"bytes", None):
            with pytest.raises(TypeError, match="table or batch"):
                table.append(nothing)
    assert arena["t"].to_pyarrow()["a"].to_pylist() == [1, 2]
    for schema in (5, "schema"):
        with pytest.raises(TypeError, match="__arrow_c_schema__"):
            arena.draft_table("t", schema=schema)
    with pytest.raises(ValueError):
        arena.draft_table("")


def test_an_empty_table_has_a_schema(arena: faretra.Arena) -> None:
    """Nothing appended is a table only if its columns are known: from `schema`, or from a table without rows."""
    schema = pa.schema({"a": pa.int64(), "b": pa.list_(pa.string())})
    with arena.draft_table("t", schema=schema):
        pass
    assert arena["t"].to_pyarrow().schema == schema and len(arena["t"]) == 0
    with arena.draft_table("u") as table:
        table.append(schema.empty_table())
    assert arena["u"].to_pyarrow().schema == schema
    with pytest.raises(faretra.InvalidError, match="schema="), arena.draft_table("v"):
        pass
    with arena.draft_table("w", schema=schema) as table, pytest.raises(faretra.MismatchError):
        table.append(pa.table({"a": [1]}))


def test_a_stream_that_fails(arena: faretra.Arena) -> None:
    """An error of the source is raised; what it gave before stays appended, and the block decides."""

    def batches() -> object:
        yield pa.record_batch({"a": [1]})
        raise ZeroDivisionError

    reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
    with arena.draft_table("t") as table:
        with pytest.raises(faretra.ArrowError, match=r"ZeroDivisionError|by zero"):
            table.append(reader)
        assert table.num_rows == 1
    assert arena["t"].shape == (1, 1)


def test_one_thread_appends_at_a_time(arena: faretra.Arena) -> None:
    """While a thread appends from a slow source, another is told so; nothing is lost."""
    inside, go_on = threading.Event(), threading.Event()

    def batches() -> object:
        inside.set()
        go_on.wait(20)
        yield pa.record_batch({"a": [1]})

    reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
    with arena.draft_table("t") as table:
        thread = threading.Thread(target=table.append, args=(reader,))
        thread.start()
        assert inside.wait(20)
        with pytest.raises(faretra.InvalidError, match="another thread"):
            table.append(pa.table({"a": [2]}))
        go_on.set()
        thread.join(20)
        table.append(pa.table({"a": [2]}))
    assert arena["t"].to_pyarrow()["a"].to_pylist() == [1, 2]


def test_no_memory_of_the_process_is_used(arena: faretra.Arena) -> None:
    """A table that is larger than the memory that the process may use is made batch by batch."""
    program = """
        import resource, pyarrow as pa
        batch = pa.record_batch({"a": np.zeros(1 << 17)})
        def private():
            return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous"))
        with arena.draft_table("t") as table:
            table.append(batch)
            before = private()
            for _ in range(150):
                table.append(batch)
            print(private() - before)
    """
    with Child(arena, program) as child:
        grown = int(child.line(60))
        assert child.end() == 0
    assert arena["t"].num_rows == 151 << 17
    assert grown < 16 << 10, f"{grown} KiB for 150 MiB"


def test_a_killed_writer_leaves_nothing(arena: faretra.Arena) -> None:
    """Batches of a table that was never published are given back when their process dies."""
    live = arena.stats().live
    program = """
        import pyarrow as pa
        table = arena.draft_table("t")
        while True:
            table.append(pa.record_batch({"a": np.zeros(10_000)}))
            if table.num_batches % 10 == 0:
                print(table.num_batches, flush=True)
    """
    for round_ in range(2):
        with Child(arena, program) as child:
            for _ in range(round_ + 1):
                child.line()
            child.kill()
        arena.recover()
        assert arena.stats().live == live and "t" not in arena and arena.verify(deep=True) == []


def test_an_arena_that_is_full(fresh_name: Callable[[], str]) -> None:
    """A batch for which there is no room is refused; what was appended before can be published."""
    with faretra.Arena.create(fresh_name(), limit="16MiB", keep=False) as arena:
        with arena.draft_table("t") as table:
            with pytest.raises(MemoryError):
                for _ in range(100):
                    table.append(pa.record_batch({"a": np.zeros(1 << 17)}))
            batches = table.num_batches
            assert 5 < batches < 20
        assert arena["t"].num_rows == batches << 17


def test_a_forked_child_appends_nothing(arena: faretra.Arena) -> None:
    """A draft that came through `fork` is refused in the child, and the parent goes on."""
    with arena.draft_table("t") as table:
        table.append(part(0))
        child = os.fork()
        if child == 0:
            try:
                table.append(part(1))
            except faretra.ForkedError:
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3
        table.append(part(2))
    assert arena["t"].num_rows == 2000
