"""The package `faretra_datafusion`: arenas in a session of PyPI's datafusion, by the engine's own interface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from places import arrow_lies_in

import faretra

pa = pytest.importorskip("pyarrow")
datafusion = pytest.importorskip("datafusion")
tables = pytest.importorskip("faretra_datafusion")


@pytest.fixture
def session(arena: faretra.Arena) -> Iterator[Any]:
    """Give a session in which the arena is the schema `air`."""
    made = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(2))
    made.catalog().register_schema("air", tables.schema(arena))
    yield made


def rows(session: Any, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in session.sql(query).to_pylist()]


def numbers(*values: int) -> Any:
    return pa.table({"x": list(values)})


def test_scans_copy_nothing(arena: faretra.Arena, session: Any) -> None:
    """What a scan gives lies in the arena, and its number of rows is known without a scan."""
    count = 50_000
    with arena.draft_table("t") as draft:
        for start in range(3):
            ids = np.arange(start * count, (start + 1) * count)
            draft.append(pa.table({"id": ids, "x": ids / 2, "text": [f"a text {i}" for i in ids]}))
    got = pa.table(session.sql("SELECT x, text FROM air.t"))
    assert got.num_rows == 3 * count
    assert arrow_lies_in(arena, got["x"]) and arrow_lies_in(arena, got["text"])
    assert rows(session, "SELECT sum(id) FROM air.t") == [(sum(range(3 * count)),)]
    # From the descriptors: nothing is scanned.
    counted = session.sql("SELECT count(*) FROM air.t").execution_plan().display_indent()
    assert "PlaceholderRowExec" in counted, counted


def test_batches_that_a_filter_rules_out_are_not_read(arena: faretra.Arena, session: Any) -> None:
    """After `analyze`, the least and greatest values of a batch decide whether it is read."""
    with arena.draft_table("t") as draft:
        for start in (0, 1000, 2000):
            draft.append(pa.table({"id": np.arange(start, start + 10)}))
    tables.schema(arena).analyze("t")
    told = session.sql("EXPLAIN ANALYZE SELECT id FROM air.t WHERE id >= 2005").to_pydict()["plan"][0]
    assert "batches_read=1" in told, told
    assert rows(session, "SELECT id FROM air.t WHERE id >= 2005 ORDER BY id") == [
        (i,) for i in range(2005, 2010)
    ]


def test_statements_publish(arena: faretra.Arena, session: Any) -> None:
    """`INSERT INTO` and `INSERT OVERWRITE` are seen by everybody, as a whole."""
    arena["t"] = numbers(1, 2)
    assert rows(session, "INSERT INTO air.t VALUES (3), (4)") == [(2,)]
    assert sorted(pa.table(arena["t"])["x"].to_pylist()) == [1, 2, 3, 4]
    assert rows(session, "SELECT sum(x) FROM air.t") == [(10,)]
    session.sql("INSERT OVERWRITE air.t SELECT x * 10 FROM air.t WHERE x > 2").collect()
    assert sorted(pa.table(arena["t"])["x"].to_pylist()) == [30, 40]
    with arena.sender("jobs", mixed=False) as sender, arena.receiver("jobs") as receiver:
        sender.send(numbers(0))
        session.sql("INSERT INTO air.jobs SELECT x FROM air.t").collect()
        got = [receiver.recv(timeout=20) for _ in range(2)]
    assert [pa.table(lease.value)["x"].to_pylist() for lease in got] == [[0], [30, 40]]
    session.sql("DROP TABLE air.t").collect()
    assert "t" not in arena


def test_what_cannot_be_done_is_told(arena: faretra.Arena, session: Any) -> None:
    """Names that are not there, rows of other types and failed statements leave the arena as it was."""
    arena["t"] = numbers(1)
    with pytest.raises(Exception, match="nothing"):
        session.sql("SELECT * FROM air.nothing")
    with pytest.raises(faretra.NotFoundError, match="nothing"):
        tables.schema(arena).pin("nothing")
    with pytest.raises(Exception, match="no table `nothing`"):
        tables.table(arena, "nothing")
    with pytest.raises(Exception, match=r"(?i)cast|divide"):
        session.sql("INSERT INTO air.t SELECT 1 / (x - 1) FROM air.t").collect()
    assert arena.version("t") == 1
    with pytest.raises(Exception, match=r"session\.sql"):
        session.sql("CREATE TABLE air.u AS SELECT * FROM air.t").collect()
    arena["array"] = np.arange(3)
    with pytest.raises(Exception, match="array"):
        session.sql("SELECT * FROM air.array")
    closed = faretra.Arena.open(arena.name)
    closed.close()
    with pytest.raises(ValueError):
        tables.schema(closed)


def test_a_table_alone_is_pinned(arena: faretra.Arena, session: Any) -> None:
    """A table that is registered goes on as it was; a schema's names are looked up for each statement."""
    arena["t"] = numbers(1)
    session.register_table("then", tables.table(arena, "t"))
    kept = tables.schema(arena)
    session.catalog().register_schema("kept", kept)
    version = kept.pin("t")
    arena["t"] = numbers(2)
    assert rows(session, 'SELECT "then".x AS a, t.x AS b FROM "then", air.t') == [(1, 2)]
    assert rows(session, f'SELECT x FROM kept."t@{version}"') == [(1,)]
    assert kept.unpin("t", version) and not kept.unpin("t", version)
    with pytest.raises(Exception, match=r"is at version 2"):
        session.sql(f'SELECT x FROM kept."t@{version}"')


def test_feeds_go_on(arena: faretra.Arena, session: Any) -> None:
    """A feed is a table without an end, which gives rows as they come, and ends when it is closed."""
    feed = arena.feed("ticks", capacity=10, mixed=False)
    feed.append(numbers(1))
    stream = iter(session.sql("SELECT x FROM air.ticks WHERE x < 10").execute_stream())
    assert next(stream).to_pyarrow()["x"].to_pylist() == [1]
    feed.append(numbers(2, 30))
    assert next(stream).to_pyarrow()["x"].to_pylist() == [2]
    feed.close()
    assert [batch for batch in stream if batch.to_pyarrow().num_rows] == []


def test_the_arena_is_left_with_the_session(arena: faretra.Arena) -> None:
    """The library's own attachment ends when nobody has the schema, and a killed process leaves nothing."""
    arena["t"] = numbers(1)
    code = (
        "import sys, os, signal, datafusion, faretra, faretra_datafusion\n"
        "arena = faretra.Arena.open(sys.argv[1])\n"
        "session = datafusion.SessionContext()\n"
        "session.catalog().register_schema('air', faretra_datafusion.schema(arena))\n"
        "frame = session.sql('SELECT x FROM air.t')\n"
        "print(frame.to_pydict())\n"
        "sys.stdout.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == 'kill' else None\n"
    )
    for how, code_of_exit in (("end", 0), ("kill", -9)):
        ran = subprocess.run(
            [sys.executable, "-c", code, arena.name, how], capture_output=True, text=True, env=os.environ
        )
        assert (ran.returncode, ran.stdout) == (code_of_exit, "{'x': [1]}\n"), ran.stderr
        arena.recover()
        assert all(holder.this_process for holder in arena.who())
