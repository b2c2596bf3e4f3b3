"""Tables: what Arrow's libraries put in, and what they get out, without a copy and without pyarrow."""

from __future__ import annotations

import decimal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import places
import pytest

import faretra

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

ROWS = 5000


def wide() -> Any:
    """Return a table with a column of each kind of layout."""
    numbers = np.arange(ROWS)
    texts = [f"text number {i} that is longer than a view" for i in range(ROWS)]
    return pa.table(
        {
            "int": numbers,
            "float": numbers / 3,
            "nulls": pa.array([None if i % 7 == 0 else i for i in range(ROWS)], pa.int32()),
            "bool": pa.array([i % 3 == 0 for i in range(ROWS)]),
            "text": texts,
            "large": pa.array(texts, pa.large_string()),
            "view": pa.array(texts, pa.string_view()),
            "binary": pa.array([t.encode() for t in texts], pa.binary()),
            "dictionary": pa.array([f"k{i % 5}" for i in range(ROWS)]).dictionary_encode(),
            "list": pa.array([[i, i + 1] for i in range(ROWS)]),
            "fixed": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3.0 * ROWS)), 3),
            "struct": pa.array([{"a": i, "b": str(i)} for i in range(ROWS)]),
            "time": pa.array(numbers, pa.timestamp("us", "UTC")),
            "day": pa.array(numbers.astype("i4"), pa.date32()),
            "decimal": pa.array([decimal.Decimal("1.25")] * ROWS),
        }
    )


def test_pyarrow_in_and_out(arena: faretra.Arena) -> None:
    """A pyarrow table of every layout comes back equal, and each of its buffers is the arena's."""
    table = wide()
    arena["t"] = table
    before = pa.total_allocated_bytes()
    found = arena["t"]
    again = pa.table(found)
    assert pa.total_allocated_bytes() - before < 10_000
    assert again.schema == table.schema
    assert again == table
    for name in table.column_names:
        assert places.arrow_lies_in(arena, again[name]), name
    assert found.shape == (ROWS, len(table.column_names))
    assert found.to_pyarrow() == table
    assert pa.RecordBatchReader.from_stream(found).read_all() == table


def put_forms() -> dict[str, Callable[[Any], Any]]:
    """Return the ways in which pyarrow holds the rows of a table."""
    return {
        "table": lambda table: table,
        "chunks": lambda table: pa.concat_tables([table.slice(0, 100), table.slice(100)]),
        "slice": lambda table: table.slice(17, 1234),
        "batch": lambda table: table.combine_chunks().to_batches()[0],
        "sliced batch": lambda table: table.combine_chunks().to_batches()[0].slice(5, 100),
        "reader": lambda table: pa.RecordBatchReader.from_batches(
            table.schema, table.to_batches(max_chunksize=700)
        ),
        "empty": lambda table: table.slice(0, 0),
        "no batch": lambda table: pa.Table.from_batches([], table.schema),
        "no columns": lambda table: table.select([]),
    }


@pytest.mark.parametrize("form", put_forms())
def test_forms_of_pyarrow(arena: faretra.Arena, form: str) -> None:
    """Tables, batches, readers, slices and empty ones come back with equal rows."""
    make, table = put_forms()[form], wide()
    rows = make(table)
    expected = make(table).read_all() if form == "reader" else rows
    if isinstance(expected, pa.RecordBatch):
        expected = pa.Table.from_batches([expected])
    arena["t"] = rows
    assert pa.table(arena["t"]).equals(expected)


def test_a_reader_is_read_once(arena: faretra.Arena) -> None:
    """A reader that was read already is an error in words, and so is one that fails in the middle; nothing is put."""
    schema = pa.schema([("a", pa.int64())])
    reader = pa.RecordBatchReader.from_batches(schema, [pa.record_batch([pa.array([1])], schema)])
    arena["t"] = reader
    arena["again"] = reader
    assert len(arena["again"]) == 0

    def failing() -> Any:
        yield pa.record_batch([pa.array([1])], schema)
        raise RuntimeError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        arena["broken"] = pa.RecordBatchReader.from_batches(schema, failing())
    assert "broken" not in arena
    assert arena.stats().writers_busy == 0


def test_arrays_become_a_column(arena: faretra.Arena) -> None:
    """A plain Arrow array becomes a table of one column, named as the array is, or as what is put is."""
    arena["a"] = pa.array([1, 2, 3])
    arena["c"] = pa.chunked_array([[1, 2], [3]])
    arena["p"] = pl.Series("name", ["x", "y", None])
    assert (arena["a"].column_names, arena["c"].column_names) == (["a"], ["c"])
    assert pa.table(arena["a"]).columns[0].to_pylist() == [1, 2, 3]
    assert pa.table(arena["c"]).columns[0].to_pylist() == [1, 2, 3]
    assert arena["p"].column_names == ["name"]
    assert pl.DataFrame(arena["p"])["name"].to_list() == ["x", "y", None]


def test_rows_that_are_null_as_a_whole(arena: faretra.Arena) -> None:
    """An array of structs, one of which is null: no row loses its null in silence."""
    structs = pa.array([{"a": 1}, None, {"a": 3}])
    arena["array"] = structs
    assert pa.table(arena["array"]).columns[0].to_pylist() == structs.to_pylist()
    with pytest.raises(ValueError, match="1 of 3 rows are null as a whole"):
        arena["stream"] = pa.chunked_array([structs])
    assert "stream" not in arena
    arena["whole"] = pa.chunked_array([pa.array([{"a": 1}, {"a": 3}])])
    assert pa.table(arena["whole"])["a"].to_pylist() == [1, 3]


def test_polars_in_and_out(arena: faretra.Arena) -> None:
    """A polars frame comes back equal; numbers and strings (which polars keeps as views) are not copied."""
    frame = pl.DataFrame(
        {
            "x": np.arange(float(ROWS)),
            "s": [f"text number {i} that is long enough" for i in range(ROWS)],
            "c": pl.Series([f"k{i % 4}" for i in range(ROWS)], dtype=pl.Categorical),
            "l": [[i] for i in range(ROWS)],
            "d": pl.Series(np.arange(ROWS)).cast(pl.Duration("ms")),
        }
    )
    arena["t"] = frame
    found = pl.DataFrame(arena["t"])
    assert found.equals(frame)
    assert arena["t"].to_polars().equals(frame)
    assert places.array_lies_in(arena, found["x"].to_numpy())
    assert places.arrow_lies_in(arena, pa.table(arena["t"])["s"])
    strings = found["s"].to_arrow(compat_level=pl.CompatLevel.newest())
    assert places.arrow_lies_in(arena, strings)
    arena["lazy"] = frame.lazy().filter(pl.col("x") < 3)
    assert arena["lazy"].collect().height == 3


def test_duckdb_in_and_out(arena: faretra.Arena) -> None:
    """duckdb queries a table where it lies, and a relation of duckdb's goes in."""
    duckdb = pytest.importorskip("duckdb")
    arena["t"] = pa.table({"k": np.arange(ROWS) % 3, "x": np.ones(ROWS)})

    def query() -> None:
        connection = duckdb.connect()
        shared = arena["t"]  # duckdb finds it by this name
        rows = connection.sql("select k, sum(x) as total from shared group by k order by k").fetchall()
        assert rows == [(0, 1667.0), (1, 1667.0), (2, 1666.0)]
        arena["result"] = connection.sql("select k, sum(x) as total from shared group by k order by k")
        assert connection.sql("select x from shared").fetchnumpy()["x"].sum() == len(shared)
        connection.close()

    query()
    assert pa.table(arena["result"])["total"].to_pylist() == [1667.0, 1667.0, 1666.0]
    # Who looks at a frame's variables, as duckdb does, makes a copy of them that CPython 3.11 keeps as long as the frame.
    assert places.pins(arena) == 0


FRAMES = {
    "range": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "steps": lambda: pd.DataFrame({"a": [1, 2, 3]}, index=pd.RangeIndex(10, 16, 2, name="steps")),
    "named": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.Index(["u", "v"], name="key")),
    "unnamed": lambda: pd.DataFrame({"a": [1, 2]}, index=[7, 3]),
    "times": lambda: pd.DataFrame(
        {"a": [1.0, 2.0]}, index=pd.date_range("2020", periods=2, tz="UTC", name="t")
    ),
    "multi": lambda: pd.DataFrame(
        {"a": range(4)}, index=pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=["k", None])
    ),
    "category": lambda: pd.DataFrame({"c": pd.Categorical(["x", "y", "x"])}),
    "arrow": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]")}),
    "numbered columns": lambda: pd.DataFrame(np.arange(6).reshape(2, 3)),
    "two levels of columns": lambda: pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    ),
    "mixed objects": lambda: pd.DataFrame({"o": [1, "a", {2}]}),
    "empty": lambda: pd.DataFrame(),
}


@pytest.mark.parametrize("form", FRAMES)
def test_pandas_frames_keep_their_index(arena: faretra.Arena, form: str) -> None:
    """A pandas frame comes back with its index and types, through Arrow, or pickled where Arrow cannot have it."""
    frame = FRAMES[form]()
    arena["f"] = frame
    found = arena["f"]
    if isinstance(found, faretra.Table):
        found = found.to_pandas(types_mapper=pd.ArrowDtype) if form == "arrow" else found.to_pandas()
    assert form == "mixed objects" or type(arena["f"]) is faretra.Table
    pd.testing.assert_frame_equal(found, frame, check_freq=False)


def test_pandas_series_keep_index_and_name(arena: faretra.Arena) -> None:
    """A pandas series comes back as one, with its index, and its numbers are the arena's."""
    series = pd.Series(np.arange(1000.0), index=np.arange(1000) * 2, name="speed")
    arena["s"] = series
    pd.testing.assert_series_equal(arena["s"], series)
    assert places.array_lies_in(arena, arena["s"].to_numpy())


def test_pandas_out_is_zero_copy(arena: faretra.Arena) -> None:
    """Numbers in one batch are not copied by `to_pandas`; with `types_mapper=pandas.ArrowDtype` nothing is."""
    arena["t"] = pa.table({"x": np.arange(float(ROWS)), "n": np.arange(ROWS), "s": ["text"] * ROWS})
    frame = arena["t"].to_pandas()
    assert places.array_lies_in(arena, frame["x"].to_numpy())
    assert places.array_lies_in(arena, frame["n"].to_numpy())
    arrow = arena["t"].to_pandas(types_mapper=pd.ArrowDtype)
    for name in arrow.columns:
        assert places.arrow_lies_in(arena, arrow[name].array.__arrow_array__())


def test_arro3_in_and_out(arena: faretra.Arena) -> None:
    """A library that knows Arrow's capsules only puts and gets tables."""
    arro3 = pytest.importorskip("arro3.core")
    arena["t"] = arro3.Table.from_pydict({"a": arro3.Array([1, 2, 3], type=arro3.DataType.int64())})
    assert pa.table(arena["t"])["a"].to_pylist() == [1, 2, 3]
    assert arro3.Table(arena["t"]).num_rows == 3


def test_without_pyarrow(fresh_name: Any) -> None:
    """polars, duckdb and arro3 put and get tables, and numpy reads columns, in a process that cannot import pyarrow."""
    code = f"""
        import sys
        sys.modules["pyarrow"] = None
        import faretra, numpy as np, polars as pl
        with faretra.Arena.create({fresh_name()!r}, limit="64MiB", keep=False) as arena:
            frame = pl.DataFrame({{"x": np.arange(100.0), "s": ["text"] * 100}})
            arena["t"] = frame
            assert pl.DataFrame(arena["t"]).equals(frame)
            assert arena["t"]["x"].sum() == 4950
            assert arena["t"].column_names == ["x", "s"]
            try:
                arena["t"].to_pyarrow()
            except ImportError:
                pass
            else:
                raise AssertionError("pyarrow is blocked")
            try:
                import duckdb
            except ImportError:
                pass
            else:
                t = arena["t"]
                assert duckdb.sql("select sum(x) from t").fetchall() == [(4950.0,)]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


COLUMNS = {
    **{str(t): pa.array(np.arange(9).astype(t)) for t in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]},
    **{t: pa.array(np.arange(9).astype(t)) for t in ["f2", "f4", "f8"]},
    "M8[s]": pa.array(np.arange(9), pa.timestamp("s")),
    "M8[ns]": pa.array(np.arange(9), pa.timestamp("ns", "Europe/Paris")),
    "M8[ms]": pa.array(np.arange(9) * 86_400_000, pa.date64()),
    "m8[us]": pa.array(np.arange(9), pa.duration("us")),
    "V4": pa.array([b"abcd"] * 9, pa.binary(4)),
}


@pytest.mark.parametrize("dtype", COLUMNS)
def test_columns_as_numpy(arena: faretra.Arena, dtype: str) -> None:
    """A column of plain numbers is a read-only numpy array of the right type over the arena, of slices and batches too."""
    column = COLUMNS[dtype]
    arena["t"] = pa.table({"other": ["x"] * 9, "c": column})
    arena["sliced"] = pa.table({"c": column}).slice(2, 5)
    arena["batch"] = pa.record_batch({"c": column})
    for found, start, stop in [
        (arena["t"]["c"], 0, 9),
        (arena["sliced"]["c"], 2, 7),
        (arena["batch"].column("c"), 0, 9),
    ]:
        assert found.dtype == np.dtype(dtype)
        plain = [b"abcd"] * 9 if dtype == "V4" else column.to_numpy(zero_copy_only=False)
        assert found.tobytes() == np.array(plain).astype(dtype)[start:stop].tobytes()
        assert found.shape == (stop - start,)
        assert not found.flags.writeable
        assert places.array_lies_in(arena, found)


def test_lists_of_a_fixed_size_as_numpy(arena: faretra.Arena) -> None:
    """A column of vectors is an array of two axes, also where the table is a slice."""
    vectors = np.arange(30.0, dtype="f4").reshape(10, 3)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3)
    arena["t"], arena["s"] = pa.table({"v": column}), pa.table({"v": column}).slice(4, 3)
    assert (arena["t"]["v"] == vectors).all()
    assert (arena["s"]["v"] == vectors[4:7]).all()
    assert places.array_lies_in(arena, arena["t"]["v"])


def test_columns_that_are_no_numpy_array(arena: faretra.Arena) -> None:
    """Batches, nulls, strings and missing columns: an error that says which it is, and how to copy."""
    number = pa.array([1, 2, 3])
    arena["t"] = pa.table(
        {"nulls": pa.array([1, None, 3]), "text": ["a", "b", "c"], "bool": [True, False, True]}
    )
    arena["batches"] = pa.concat_tables([pa.table({"n": number}), pa.table({"n": number})])
    arena["empty"] = pa.Table.from_batches(
        [], pa.schema([("n", pa.int16()), ("v", pa.list_(pa.float32(), 2))])
    )
    holes = pa.FixedSizeListArray.from_arrays(pa.array([1, None, 3, 4]), 2)
    arena["holes"] = pa.table({"v": holes})
    for name, column, why in [
        ("t", "nulls", "1 of its values are null"),
        ("t", "text", "its type is Utf8"),
        ("t", "bool", "its type is Boolean"),
        ("batches", "n", "it lies in 2 batches"),
        ("holes", "v", "null"),
    ]:
        with pytest.raises(ValueError, match=rf"`{column}`.*{why}.*to_numpy\(\)"):
            arena[name][column]
    with pytest.raises(KeyError, match="no column named `none`"):
        arena["t"]["none"]
    assert arena["empty"]["n"].dtype == np.int16
    assert arena["empty"]["v"].shape == (0, 2)
    assert places.pins(arena) == 0


def test_columns_keep_their_batch(arena: faretra.Arena) -> None:
    """A column keeps the table's memory, after the table, its name and the arena are gone; then nothing does."""
    arena["t"] = pa.table({"x": np.arange(1000.0)})
    column = arena["t"]["x"][10:]
    del arena["t"]
    arena["t"] = pa.table({"x": np.zeros(1000)})
    assert column[0] == 10
    assert places.pins(arena) > 0
    del column
    assert places.pins(arena) == 0


def test_heads_and_selections(arena: faretra.Arena) -> None:
    """The first rows, and some of the columns, are read by Arrow libraries without a copy."""
    table = pa.table({"x": np.arange(100), "y": np.arange(100.0), "s": ["t"] * 100})
    arena["t"] = pa.concat_tables([table.slice(0, 30), table.slice(30)])
    for rows in [0, 1, 30, 31, 100, 1000]:
        head = pa.table(arena["t"].head(rows))
        assert head.equals(table.slice(0, rows))
    assert len(pa.table(arena["t"].head())) == 5
    some = pa.table(arena["t"].select(["s", "x"]))
    assert some.equals(table.select(["s", "x"]))
    assert places.arrow_lies_in(arena, some["x"])
    with pytest.raises(ValueError, match="-1 is not a number from 0"):
        arena["t"].head(-1)
    with pytest.raises(KeyError, match="no column named `q`"):
        arena["t"].select(["q"])


def test_unconsumed_capsules_let_go(arena: faretra.Arena) -> None:
    """A capsule that nobody reads keeps nothing once it is dropped."""
    arena["t"] = pa.table({"x": np.arange(1000)})
    capsules = [
        arena["t"].__arrow_c_stream__(),
        arena["t"].batch(0).__arrow_c_array__(),
        arena["t"].__arrow_c_schema__(),
    ]
    assert places.pins(arena) > 0
    del capsules
    assert places.pins(arena) == 0


class Broken:
    """Something that says it speaks Arrow."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_broken_arrow_exporters(arena: faretra.Arena) -> None:
    """What is no capsule, the wrong one, or a used one is an error of words, and never a crash."""
    used = pa.table({"a": [1]}).__arrow_c_stream__()
    arena["t"] = Broken(used)
    for answer, error in [
        (None, TypeError),
        (5, TypeError),
        (pa.schema([]).__arrow_c_schema__(), ValueError),
        (used, ValueError),
        (RuntimeError("not now"), RuntimeError),
    ]:
        with pytest.raises(error):
            arena["x"] = Broken(answer)
    assert "x" not in arena
