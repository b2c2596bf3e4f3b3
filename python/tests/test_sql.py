"""`Arena.sql` and `faretra.datafusion`: names of an arena as tables of DataFusion, read where they lie."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from places import arrow_lies_in, pins

import faretra

pa = pytest.importorskip("pyarrow")
datafusion = pytest.importorskip("datafusion")

import faretra.datafusion  # noqa: E402 - only where datafusion is


def numbers(*values: int) -> Any:
    return pa.table({"x": list(values)})


def rows(arena: faretra.Arena, query: str, **values: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in arena.sql(query, **values).to_pylist()]


def test_scans_copy_nothing(arena: faretra.Arena) -> None:
    """What a scan gives lies in the arena, and the plan has only the columns that are asked for."""
    count = 100_000
    with arena.draft_table("t") as draft:
        for start in range(3):
            ids = np.arange(start * count, (start + 1) * count)
            draft.append(pa.table({"id": ids, "x": ids / 2, "text": [f"a text {i}" for i in ids]}))
    frame = arena.sql("SELECT x, text FROM t")
    got = pa.table(frame)
    assert got.num_rows == 3 * count
    assert arrow_lies_in(arena, got["x"]) and arrow_lies_in(arena, got["text"])
    assert sorted(got["x"].to_pylist()) == [i / 2 for i in range(3 * count)]
    plan = frame.optimized_logical_plan().display_indent()
    assert "projection=[x, text]" in plan, plan
    assert arena.sql("SELECT count(*) AS n FROM t WHERE id >= 150000").to_pydict() == {"n": [150_000]}
    assert arena.sql("SELECT sum(id) AS s FROM t").to_polars()["s"].to_list() == [sum(range(3 * count))]


def test_only_what_is_named_is_pinned(arena: faretra.Arena) -> None:
    """A statement keeps the tables that it names, and no others, until nobody has what was made of it."""
    arena["a"], arena["b"], arena["c"] = numbers(1), numbers(2), numbers(3)
    before = pins(arena)
    frame = arena.sql("SELECT a.x AS l, b.x AS r FROM a JOIN b ON a.x < b.x")
    # What was replaced is not what the plan reads.
    arena["a"] = numbers(7)
    assert pins(arena) - before == 2
    assert frame.to_pydict() == {"l": [1], "r": [2]}
    assert rows(arena, "SELECT x FROM a") == [(7,)]
    del frame
    gc.collect()
    assert pins(arena) == before


@pytest.mark.parametrize(
    "name",
    [
        "flights",
        "a name",
        'a "quoted" name',
        "Großes Ü / 山",
        "a.b.c",
        "x@y",
        "day/x/y",
        "weird [1]*?",
        "it's;--",
    ],
)
def test_names(arena: faretra.Arena, name: str) -> None:
    """A name that exists is taken as it is, whatever characters it has."""
    arena[name] = numbers(1, 2)
    quoted = '"' + name.replace('"', '""') + '"'
    assert rows(arena, f"SELECT sum(x) FROM {quoted}") == [(3,)]


def test_versions_bundles_patterns_and_snapshots(arena: faretra.Arena) -> None:
    """Names with a version, members of bundles, patterns and snapshots are spelled as in `faretra sql`."""
    arena["flights"] = numbers(1)
    arena["flights"] = numbers(2)
    assert rows(arena, 'SELECT x FROM "flights@2"') == [(2,)]
    with pytest.raises(faretra.NotFoundError, match="is at version 2, and version 1"):
        arena.sql('SELECT x FROM "flights@1"')
    for wrong in ("flights@", "@2", "flights@-1", "flights@x", "nothing@1"):
        with pytest.raises(faretra.NotFoundError, match="no table"):
            arena.sql(f'SELECT x FROM "{wrong}"')
    arena.put_many("day", {"a": numbers(3), "b": numbers(4), "note": b"text", "c/d": numbers(5)})
    assert rows(arena, 'SELECT x FROM "day/a" UNION ALL SELECT x FROM "day/c/d" ORDER BY x') == [(3,), (5,)]
    assert rows(arena, 'SELECT x FROM "day/*" ORDER BY x') == [(3,), (4,), (5,)]
    assert rows(arena, 'SELECT x FROM "day/?" ORDER BY x') == [(3,), (4,)]
    with pytest.raises(faretra.MismatchError, match='"day/a", "day/b", "day/c/d"'):
        arena.sql("SELECT * FROM day")
    with pytest.raises(faretra.MismatchError, match="of kind bytes"):
        arena.sql('SELECT * FROM "day/note"')
    arena["days 1"], arena["days 2"], arena["days"] = numbers(6), numbers(7), np.arange(3)
    assert rows(arena, 'SELECT x FROM "days*" ORDER BY x') == [(6,), (7,)]
    with pytest.raises(faretra.NotFoundError, match="no table"):
        arena.sql('SELECT x FROM "none*"')
    arena["days 3"] = pa.table({"y": [1.5]})
    with pytest.raises(faretra.MismatchError, match=r"x: int64.*y: double"):
        arena.sql('SELECT x FROM "days*"')
    feed = arena.feed("ticks", capacity=10)
    feed.append(numbers(8))
    feed.append(numbers(9))
    assert rows(arena, 'SELECT x FROM "ticks@snapshot" ORDER BY x') == [(8,), (9,)]
    with pytest.raises(faretra.MismatchError, match="ticks@snapshot"):
        arena.sql("SELECT * FROM ticks")


def test_what_is_no_table(arena: faretra.Arena) -> None:
    """Other kinds, names that are not there and wrong statements are errors of the package, in words."""
    arena["array"], arena["object"], arena["flights"] = np.arange(3), {"a": 1}, numbers(1)
    _ = arena.mutex("m")
    for name, kind in (("array", "array"), ("object", "object"), ("m", "mutex")):
        with pytest.raises(faretra.MismatchError, match=f"of kind {kind}"):
            arena.sql(f"SELECT * FROM {name}")
    with pytest.raises(faretra.NotFoundError, match="did you mean 'flights'") as caught:
        arena.sql("SELECT * FROM flight")
    assert isinstance(caught.value, KeyError) and caught.value.name == "flight"
    for wrong, why in (("SELEKT", "SELEKT"), ("SELECT y FROM flights", "y"), ("SELECT 1 + ", "SQL|Expected")):
        with pytest.raises(faretra.InvalidError, match=why):
            arena.sql(wrong)
    for writes in (
        "CREATE TABLE u AS SELECT * FROM flights",
        "CREATE VIEW v AS SELECT * FROM flights",
        "DROP TABLE flights",
        "INSERT INTO flights VALUES (2)",
        "COPY flights TO '/tmp/faretra-test-never.parquet'",
        "CREATE EXTERNAL TABLE p STORED AS PARQUET LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 7",
    ):
        with pytest.raises(faretra.InvalidError, match=r"arena\.sql"):
            arena.sql(writes)
    assert rows(arena, "SELECT * FROM flights") == [(1,)] and "u" not in arena
    # Files are no tables.
    with pytest.raises(faretra.NotFoundError):
        arena.sql("SELECT * FROM '/etc/passwd'")


def test_values_and_results(arena: faretra.Arena) -> None:
    """Values stand for names in the statement, and what a statement gives goes into an arena."""
    arena["t"] = pa.table({"x": [1, 2, 3], "text": ["a", "b'; --", None]})
    assert rows(arena, "SELECT x FROM t WHERE text = $text", text="b'; --") == [(2,)]
    assert rows(arena, "SELECT x FROM t WHERE x >= $least ORDER BY x", least=2) == [(2,), (3,)]
    arena["u"] = arena.sql("SELECT x + 1 AS y FROM t WHERE text IS NOT NULL")
    assert arena["u"].to_pyarrow().to_pydict() == {"y": [2, 3]}
    names = [row["table_name"] for row in arena.sql("SHOW TABLES").to_pylist()]
    assert {"t", "u"} <= set(names)
    # An empty table has columns all the same.
    arena["empty"] = pa.table({"x": pa.array([], pa.int64())})
    assert rows(arena, "SELECT count(*), max(x) FROM empty") == [(0, None)]


def test_numbers_that_are_none(arena: faretra.Arena) -> None:
    """NaN is greater than all numbers in a filter, as in `faretra sql`."""
    arena["t"] = pa.table({"x": [1.0, float("nan"), 3.0]})
    assert rows(arena, "SELECT count(*) FROM t WHERE x > 2") == [(2,)]


def test_several_arenas_in_one_session(arena: faretra.Arena, fresh_name: Callable[[], str]) -> None:
    """Arenas are schemas of a session of the user's, which asks them for what a statement names."""
    with faretra.Arena.create(fresh_name(), limit="16MiB", keep=False) as other:
        arena["t"], other["u"] = numbers(1, 2), numbers(2, 3)
        session = datafusion.SessionContext()
        session.catalog().register_schema("air", faretra.datafusion.schema(arena))
        session.catalog().register_schema("sea", faretra.datafusion.schema(other))
        found = session.sql("SELECT x FROM air.t JOIN sea.u USING (x)")
        assert found.to_pydict() == {"x": [2]}
        assert "t" in session.catalog().schema("air").table_names()
        other["u"] = numbers(1)
        assert session.sql("SELECT x FROM air.t JOIN sea.u USING (x)").to_pydict() == {"x": [1]}
        with pytest.raises(Exception, match="none' not found"):
            session.sql("SELECT * FROM air.none")
        for writes in ("CREATE TABLE air.v AS SELECT 1 AS x", "DROP TABLE air.t"):
            with pytest.raises(Exception, match=r"only read|doesn't exist"):
                session.sql(writes).collect()
        assert arena.keys() == ["t"]


def test_what_is_read_outlives_the_arena(fresh_name: Callable[[], str]) -> None:
    """A plan reads what it pinned after the arena was closed and removed."""
    arena = faretra.Arena.create(fresh_name(), limit="16MiB", keep=False)
    arena["t"] = numbers(1, 2, 3)
    frame = arena.sql("SELECT sum(x) AS s FROM t")
    arena.close()
    gc.collect()
    assert frame.to_pydict() == {"s": [6]}
    with pytest.raises(faretra.InvalidError, match="closed"):
        arena.sql("SELECT * FROM t")


def test_without_datafusion() -> None:
    """Without datafusion, `sql` says what to install."""
    code = """
import sys
sys.modules["datafusion"] = None
import faretra
with faretra.Arena.create(f"no-datafusion-{__import__('os').getpid()}", limit="16MiB", keep=False) as arena:
    try:
        arena.sql("SELECT 1")
    except ModuleNotFoundError as error:
        print(error)
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert "pip install datafusion" in done.stdout, done.stdout + done.stderr
