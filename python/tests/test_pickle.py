"""Objects that are pickled: their arrays stay in the arena, and what cannot be pickled is said in words."""

from __future__ import annotations

import dataclasses
import functools
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
        pytest.raises(ValueError, match="allow_pickle"),
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
