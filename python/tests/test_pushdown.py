"""Queries of DuckDB and Polars over a table: they read the columns that they ask for, where these lie."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from places import arrow_lies_in, lies_in

import faretra
from faretra._place import offset

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def three_batches(arena: faretra.Arena) -> Any:
    """Give a table of three batches: numbers, texts with nulls, and columns that nobody asks for."""
    with arena.draft_table("t") as draft:
        for start in range(0, 3000, 1000):
            ids = np.arange(start, start + 1000)
            texts = [None if i % 7 == 0 else f"a text of some length, number {i}" for i in ids]
            draft.append(pa.table({"id": ids, "x": ids / 2, "text": texts, "unused": texts}))
    return arena["t"]


def damage(arena: faretra.Arena, column: Any) -> None:
    """Make texts of a column no UTF-8, in the arena's file: who looks at them will know."""
    for chunk in column.chunks:
        data = chunk.buffers()[2]
        assert lies_in(arena, data.address, data.size)
        there = offset(data.address)
        assert there is not None
        with open(arena.path, "r+b") as file:
            file.seek(there[1])
            file.write(b"\xff" * data.size)


@pytest.fixture
def damaged(arena: faretra.Arena) -> Any:
    """Give a table of an untrusted arena, one of whose columns nobody can look at."""
    good = [f"good {i:06}" for i in range(1000)]
    arena["t"] = pa.table(
        {"x": np.arange(1000), "good": good, "bad": [f"bad column {i:06}" for i in range(1000)]}
    )
    damage(arena, pa.table(arena["t"])["bad"])
    with faretra.Arena.open(arena.name, untrusted=True) as untrusted:
        table = untrusted["t"]
        with pytest.raises(Exception, match=r"UTF-8|utf8|bad"):
            pa.table(table)
        yield table
    # What was damaged on purpose is not verified at the end.
    del arena["t"]


def test_a_selection_touches_no_other_column(damaged: Any) -> None:
    """What is selected is read although another column is damaged."""
    got = pa.table(damaged.select(["good", "x"]))
    assert got.column_names == ["good", "x"] and got["x"].to_pylist() == list(range(1000))
    assert pa.schema(damaged.select(["good"])) == pa.schema([("good", pa.string())])
    assert pa.table(damaged.select([])).num_columns == 0
    assert pa.table(damaged.select(["x", "x"])).column_names == ["x", "x"]
    with pytest.raises(Exception, match=r"UTF-8|utf8|bad"):
        pa.table(damaged.select(["bad"]))
    assert pa.table(damaged.head(0)).num_rows == 0


def test_duckdb_over_selected_columns_touches_no_other(damaged: Any) -> None:
    """duckdb over some columns reads these alone."""
    duckdb = pytest.importorskip("duckdb")
    columns = damaged.select(["x", "good"])
    found = duckdb.connect().sql("SELECT max(x), max(good) FROM columns").fetchall()
    assert found == [(999, "good 000999")]
    del columns


def test_duckdb_pushes_columns_down(three_batches: Any) -> None:
    """duckdb asks the scan of a table for the columns that a query has, and for no others."""
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    flights = three_batches
    plan = connection.sql("EXPLAIN SELECT sum(x) FROM flights").fetchall()[0][1]
    assert "x" in plan and "unused" not in plan and "text" not in plan, plan
    assert connection.sql("SELECT sum(x), count(text) FROM flights WHERE id >= 1000").fetchall() == [
        (sum(i / 2 for i in range(1000, 3000)), sum(i % 7 != 0 for i in range(1000, 3000)))
    ]
    del flights


def test_polars_lazy_touches_no_other_column(damaged: Any) -> None:
    """A lazy frame reads what the query asks for, also for its filter, and nothing else."""
    pl = pytest.importorskip("polars")
    lazy = damaged.lazy()
    assert lazy.collect_schema() == {"x": pl.Int64, "good": pl.String, "bad": pl.String}
    assert lazy.select(pl.col("x").sum()).collect().item() == sum(range(1000))
    assert lazy.filter(pl.col("good") == "good 000007").select("x").collect()["x"].to_list() == [7]
    assert lazy.head(3).select("good").collect().height == 3
    with pytest.raises(Exception, match=r"UTF-8|utf8|bad"):
        lazy.select("bad").collect()


def test_polars_lazy_copies_no_numbers(arena: faretra.Arena, three_batches: Any) -> None:
    """Numbers that a lazy frame reads lie in the arena."""
    pytest.importorskip("polars")
    frame = three_batches.lazy().select("x").collect()
    assert frame["x"].to_list() == [i / 2 for i in range(3000)]
    assert arrow_lies_in(arena, frame["x"].rechunk().to_arrow()) or arrow_lies_in(
        arena, pa.chunked_array([chunk.to_arrow() for chunk in frame["x"].get_chunks()])
    )


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_polars_lazy_is_what_the_whole_frame_is(three_batches: Any, engine: Any) -> None:
    """Random queries over a lazy frame give what they give over the frame that is read whole."""
    pl = pytest.importorskip("polars")
    lazy, whole, rng = three_batches.lazy(), three_batches.to_polars(), random.Random(7)

    def steps(frame: Any, seed: int) -> Any:
        chosen = random.Random(seed)
        for _ in range(chosen.randint(1, 4)):
            bound = chosen.randint(0, 3000)
            match chosen.randrange(5):
                case 0:
                    frame = frame.filter(pl.col("id") < bound)
                case 1:
                    frame = frame.filter(pl.col("text").str.ends_with("3") & (pl.col("x") * 2 > bound / 3))
                case 2:
                    frame = frame.head(bound % 2500)
                case 3:
                    frame = frame.slice(bound % 1500, 700)
                case _:
                    frame = frame.with_columns(x=pl.col("x") + 1)
        return frame.select(["id", "x"]) if seed % 2 else frame

    for _ in range(60):
        seed = rng.randrange(1 << 30)
        got = steps(lazy, seed).collect(engine=engine)
        wanted = steps(whole.lazy(), seed).collect()
        assert got.sort("id").equals(wanted.sort("id")), seed
