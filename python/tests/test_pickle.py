"""Objects that are pickled: their arrays stay in the arena, and what cannot be pickled is said in words."""

from __future__ import annotations

import array as arrays
import dataclasses
import functools
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import places
import pytest

import faretra

Pair = namedtuple("Pair", ["left", "right"])


@dataclasses.dataclass
class Model:
    """What people share: arrays with something around them."""

    weights: Any
    bias: Any
    name: str
    layers: list[Any]


def big(number: float) -> Any:
    """Return an array that is large enough to lie beside the pickle."""
    return np.full(20_000, number)


def arrays_of(value: Any) -> list[Any]:
    """Return every array in a nest of containers."""
    if isinstance(value, np.ndarray):
        return [value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return arrays_of([getattr(value, field.name) for field in dataclasses.fields(value)])
    if isinstance(value, dict):
        return arrays_of(list(value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return [array for item in value for array in arrays_of(item)]
    return []


NESTS: dict[str, Callable[[], Any]] = {
    "dict": lambda: {"a": big(1), "b": big(2), "n": 5},
    "list": lambda: [big(1), "x", big(2), None],
    "tuple": lambda: (big(1), (big(2), (big(3),))),
    "namedtuple": lambda: Pair(big(1), big(2)),
    "ordered": lambda: OrderedDict(z=big(1), a=big(2)),
    "dataclass": lambda: Model(big(1), big(2), "m", [{"w": big(3)}, Pair(big(4), 5)]),
    "orders": lambda: {"f": np.asfortranarray(big(1).reshape(100, 200)), "t": big(2).reshape(100, 200).T},
    "strided": lambda: {"s": big(1)[::2], "r": big(2)[::-1], "b": np.broadcast_to(big(3)[:100], (50, 100))},
    "small": lambda: {
        "few": np.arange(100.0),
        "more": np.arange(1000.0),
        "big-endian": np.arange(200, dtype=">i8"),
    },
    "dates": lambda: {
        "d": np.arange(10_000).astype("M8[s]"),
        "f": np.asfortranarray(np.zeros((30, 40), "m8[D]")),
    },
    "texts": lambda: {"u": np.array(["text"] * 1000), "r": np.zeros(500, "i4,f8")},
    "2,000 arrays": lambda: [np.arange(200) + i for i in range(2000)],
}


@pytest.mark.parametrize("nest", NESTS)
def test_nests_keep_their_structure_and_their_arrays_are_not_copied(arena: faretra.Arena, nest: str) -> None:
    """Arrays inside dicts, lists, tuples and dataclasses come back in the same structure, read-only, in the arena."""
    put = NESTS[nest]()
    arena["x"] = put
    found = arena["x"]
    assert type(found) is type(put)
    expected, got = arrays_of(put), arrays_of(found)
    assert len(got) == len(expected)
    regions = places.maps(arena)
    for array, original in zip(got, expected, strict=True):
        assert array.dtype == original.dtype
        assert array.shape == original.shape
        assert (array == original).all()
        low, high = np.lib.array_utils.byte_bounds(array)
        assert any(low in region and high <= region.stop for region in regions)
        assert not array.flags.writeable
    if nest == "dataclass":
        assert found.name == "m"
        assert found.layers[1].right == 5
    del found, got
    array = original = None
    assert places.pins(arena) == 0


def test_one_array_twice_stays_one(arena: faretra.Arena) -> None:
    """An object that is in a container twice is one object after it was read, too."""
    shared = big(1)
    arena["x"] = {"a": shared, "b": shared, "c": [shared]}
    found = arena["x"]
    assert found["a"] is found["b"] is found["c"][0]
    assert arena.stats().live < 2 * shared.nbytes


def test_arrow_and_pandas_in_containers(arena: faretra.Arena) -> None:
    """Arrow tables and pandas frames inside a dict come back as they were, and their large buffers are the arena's."""
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    table = pa.table({"x": np.arange(10_000), "s": [f"number {i}" for i in range(10_000)]})
    frame = pd.DataFrame({"a": np.arange(10_000.0), "b": np.arange(10_000)}, index=np.arange(10_000) + 5)
    arena["x"] = {"table": table, "frame": frame, "list": [table.column("x").chunk(0)]}
    found = arena["x"]
    assert found["table"] == table
    for name in ["x", "s"]:
        assert places.arrow_lies_in(arena, found["table"][name])
    assert places.arrow_lies_in(arena, found["list"][0])
    pd.testing.assert_frame_equal(found["frame"], frame)
    for name in ["a", "b"]:
        assert places.array_lies_in(arena, found["frame"][name].to_numpy())


def test_parts_keep_the_whole(arena: faretra.Arena) -> None:
    """A part of what was read keeps its memory when the rest, the name and the arena's handle are gone."""
    arena["x"] = {"a": big(1), "b": big(2)}
    part = arena["x"]["a"][5:10]
    arena["x"] = {"a": big(7)}
    arena["y"] = big(9)
    assert part.tolist() == [1.0] * 5
    arena.close()
    assert part.tolist() == [1.0] * 5


def test_what_cannot_be_pickled(arena: faretra.Arena) -> None:
    """Functions without a name, open files, generators: a TypeError that says what is wrong; nothing is put."""

    def local() -> None: ...

    class Local: ...

    for put, why in [
        (lambda: 1, "define them at the top of a module"),
        (local, "define them at the top of a module"),
        (Local(), "define them at the top of a module"),
        ({"f": lambda: 1}, "define them at the top of a module"),
        (functools.partial(local), "define them at the top of a module"),
        (open(__file__), "cannot be put"),  # noqa: SIM115
        ((i for i in range(3)), "generator"),
        (arena, "Arena"),
    ]:
        with pytest.raises(TypeError, match=why):
            arena["x"] = put
    assert "x" not in arena
    assert arena.stats().writers_busy == 0


def test_an_exception_while_pickling_is_the_callers(arena: faretra.Arena) -> None:
    """What an object's own `__reduce__` raises arrives as it is."""

    class Raises:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        arena["x"] = Raises()


def test_endless_recursion_is_an_error(arena: faretra.Arena) -> None:
    """A list in a list, ten thousand deep, is a RecursionError and not a crash."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        arena["x"] = deep
    while deep:
        deep = deep[0]
    assert "x" not in arena


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )


def test_classes_of_main_are_named(arena: faretra.Arena) -> None:
    """An object of a class that only the putting program has: who reads it is told that, and what to do."""
    put = run(
        f"""
        import faretra
        class Mine:
            pass
        faretra.Arena.open({arena.name!r})["x"] = Mine()
        """
    )
    assert put.returncode == 0, put.stderr
    with pytest.raises(AttributeError, match=r"Mine.*has to be in a module that both can import"):
        arena["x"]
    assert places.pins(arena) == 0


def test_untrusted_arenas_refuse_pickles(arena: faretra.Arena) -> None:
    """A pickle of an untrusted arena is a ValueError unless `allow_pickle`; arrays and tables are read."""
    arena["p"], arena["a"] = {"a": big(1)}, big(2)
    arena.put_many("bundle", {"p": [1], "a": big(3)})
    with faretra.Arena.open(arena.name, untrusted=True) as guarded:
        assert guarded["a"][0] == 2
        reads: list[Callable[[], Any]]
        reads = [lambda: guarded["p"], lambda: guarded.get("p"), lambda: guarded["bundle"]["p"]]
        for read in reads:
            with pytest.raises(ValueError, match="allow_pickle=True"):
                read()
        with pytest.raises(ValueError, match="allow_pickle=True"):
            guarded.wait_for("p", timeout=1)
        assert guarded["bundle"]["a"][0] == 3
    with faretra.Arena.open(arena.name, untrusted=True, allow_pickle=True) as trusting:
        assert trusting["p"]["a"][0] == 1
    with (
        faretra.Arena.open(arena.name, allow_pickle=False) as careful,
        pytest.raises(ValueError, match="opened with untrusted=True or allow_pickle=False"),
    ):
        careful["p"]


def test_a_pickle_of_nonsense(arena: faretra.Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no pickle are pickle's own error, and keep nothing."""
    from faretra import _pickle

    for nonsense in [b"", b"nonsense", b"\x80\x05", b"\x80\x05K"]:
        monkeypatch.setattr(_pickle, "dumps", lambda value, text=nonsense: (text, []))
        arena["x"] = object()
        with pytest.raises((pickle.UnpicklingError, EOFError)):
            arena["x"]
    with pytest.raises(ValueError, match="cannot have a member named `__pickle__`"):
        arena.put_many("x", {"__pickle__": b"x"})
    assert places.pins(arena) == 0


def test_small_arrays_are_read_only_too(arena: faretra.Arena) -> None:
    """Arrays that are small enough to lie in the pickle come back as large ones do: equal, and read-only."""
    put: dict[str, Any] = {
        "one": np.arange(3),
        "scalar": np.array(5.0),
        "nothing": np.zeros((0, 3)),
        "fortran": np.asfortranarray(np.ones((2, 3))),
        "strided": np.arange(6)[::2],
        "date": np.array(["2020-01-01"], "M8[s]"),
        "text": np.array(["a", "b"]),
        "record": np.zeros(2, "i4,f8"),
        "masked": np.ma.masked_array([1, 2], mask=[False, True]),
    }
    arena["x"], arena["l"] = put, faretra.List([put])
    for found in (arena["x"], arena["l"][0]):
        for name, array in found.items():
            assert not array.flags.writeable, name
            assert array.dtype == put[name].dtype and array.shape == put[name].shape
            assert array.flags.f_contiguous == put[name].flags.f_contiguous or name == "strided"
            assert (array == put[name]).all()
        with pytest.raises(ValueError, match="read-only"):
            found["one"][0] = 1
    assert put["one"].flags.writeable, "what was put is as it was"


def reads(arena: faretra.Arena) -> dict[str, Any]:
    """Put one of everything whose class is the package's own, and read it."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"n": range(10_000), "s": [f"number {i}" for i in range(10_000)]})
    arena["table"], arena["bytes"] = table, b"bytes" * 1000
    arena.put_many("bundle", {"table": table, "bytes": b"few", "array": np.arange(3)})
    arena["list"], arena["dict"] = faretra.List([1, {"a": 2}, "x"]), faretra.Dict({"a": 1, 5: [2]})
    found = {name: arena[name] for name in ("table", "bytes", "bundle", "list", "dict")}
    return found | {"some": found["table"].select(["s"]), "batch": found["table"].batch(0)}


def test_what_was_read_is_put_into_containers(arena: faretra.Arena) -> None:
    """Tables, batches, bundles, stored collections and bytes can be in an object that is put; large data is not copied."""
    read = reads(arena)
    arena["o"], arena["l"] = read, faretra.List([read])
    for found in (arena["o"], arena["l"][0]):
        assert found["table"].to_pydict() == read["table"].to_pyarrow().to_pydict()
        assert found["some"].column_names == ["s"] and found["batch"].num_rows == 10_000
        for column in found["table"].columns:
            assert places.arrow_lies_in(arena, column)
        assert isinstance(found["bytes"], memoryview) and found["bytes"].readonly
        assert found["bytes"] == b"bytes" * 1000
        assert places.array_lies_in(arena, np.asarray(found["bytes"]))
        assert found["bundle"]["bytes"] == b"few" and found["bundle"]["array"].tolist() == [0, 1, 2]
        assert found["bundle"]["table"].num_rows == 10_000
        assert found["list"] == [1, {"a": 2}, "x"] and found["dict"] == {"a": 1, 5: [2]}
    numbers = memoryview(arrays.array("d", range(6))).cast("B").cast("d", (2, 3))
    views: list[Any] = [numbers, memoryview(b""), memoryview(b"abcdef")[::2]]
    arena["views"] = views
    assert [view.tolist() for view in arena["views"]] == [view.tolist() for view in views]
    assert all(view.readonly for view in arena["views"])


def rows_of(table: Any, bundle: Any, numbers: Any) -> int:
    """Count in another process."""
    return int(table.num_rows + bundle["table"].num_rows + len(numbers))


def test_what_was_read_goes_to_another_process(arena: faretra.Arena) -> None:
    """Tables, bundles and stored lists can be arguments of multiprocessing."""
    read = reads(arena)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(rows_of, (read["table"], read["bundle"], read["list"])) == 20_003
