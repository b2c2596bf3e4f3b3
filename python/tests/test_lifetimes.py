"""How long memory stays: as long as any view of it, whatever is dropped first, and no longer."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import places
import pytest

import faretra

ORDERS = 1000


def views_of_array(arena: faretra.Arena) -> list[Any]:
    """Return a chain of views, each made of the one before or of one further up."""
    array: Any = arena["a"]
    view = memoryview(array)
    return [
        array,
        array.base,
        view,
        view[10:],
        np.asarray(view),
        np.frombuffer(memoryview(array.base), "f8"),
        array[3:][::2],
        array.reshape(10, -1).T,
        array.view("u1")[5:],
        np.from_dlpack(array),
        np.from_dlpack(np.from_dlpack(array)[1:])[2:],
        array.__dlpack__(max_version=(1, 0)),
        np.broadcast_to(array[:5], (3, 5)),
        np.lib.stride_tricks.as_strided(array, (3,), (16,)),
        iter(array),
        array.flat,
        memoryview(memoryview(view)).cast("B").cast("d"),
    ]


def views_of_table(arena: faretra.Arena) -> list[Any]:
    """Return what Arrow's libraries make of a table, and parts of that."""
    made: list[Any] = [
        arena["t"],
        arena["t"].batch(0),
        arena["t"]["x"],
        arena["t"].head(3),
        arena["t"].select(["s"]),
    ]
    made += [arena["t"].__arrow_c_stream__(), arena["t"]["x"][5:].reshape(-1, 5)]
    if pa := MODULES["pyarrow"]:
        table = pa.table(arena["t"])
        column = table["x"].chunk(0)
        made += [
            table,
            column,
            column[7:],
            column.buffers()[1],
            column.to_numpy(),
            memoryview(column.buffers()[1]),
        ]
        made += [table.slice(3, 5), table.select(["s"]), pa.RecordBatchReader.from_stream(arena["t"])]
    if pl := MODULES["polars"]:
        frame = pl.DataFrame(arena["t"])
        made += [frame, frame["x"].to_numpy(), frame["s"], frame.head(3), frame.lazy(), frame["x"][2:9]]
    if MODULES["pandas"] and MODULES["pyarrow"]:
        frame = arena["t"].to_pandas()
        made += [frame, frame["x"].to_numpy(), frame["x"].iloc[3:]]
    return made


def views_of_pickle(arena: faretra.Arena) -> list[Any]:
    """Return a nest of arrays, and parts of it."""
    nest = arena["p"]
    return [nest, nest["a"], nest["a"][2:], memoryview(nest["l"][0]), nest["l"], nest["l"][1].base]


def views_of_others(arena: faretra.Arena) -> list[Any]:
    """Return views of bytes, of bundles and private ones."""
    text, private, words = arena["b"], arena.private("a"), arena.private("b")
    bundle = arena["m"]
    made = [
        text,
        text[3:],
        np.frombuffer(text, "u1"),
        private,
        private[5:],
        memoryview(private)[2:],
        words,
        words[1:],
    ]
    return [
        *made,
        np.from_dlpack(private),
        private.base,
        bundle,
        bundle["a"],
        bundle["a"][1:],
        bundle["b"],
        text.obj,
    ]


MODULES: dict[str, Any] = {}
for _name in ["pyarrow", "polars", "pandas"]:
    try:
        MODULES[_name] = __import__(_name)
    except ImportError:
        MODULES[_name] = None

CHAINS: list[Callable[[faretra.Arena], list[Any]]] = [
    views_of_array,
    views_of_table,
    views_of_pickle,
    views_of_others,
]


def fill(arena: faretra.Arena) -> None:
    """Put one value of each kind."""
    arena["a"] = np.arange(1000.0)
    arena["b"] = b"some bytes" * 100
    arena["p"] = {"a": np.arange(10_000), "l": [np.ones(20_000), np.zeros(100_000)]}
    arena.put_many("m", {"a": np.arange(100), "b": b"bytes"})
    if pa := MODULES["pyarrow"]:
        arena["t"] = pa.table({"x": np.arange(1000.0), "s": [f"text that is long {i}" for i in range(1000)]})


@pytest.mark.skipif(not MODULES["pyarrow"], reason="needs pyarrow to make a table")
def test_views_dropped_in_every_order(arena: faretra.Arena) -> None:
    """A thousand random orders of dropping a chain of views: the last one ends the pin, and none before it does."""
    fill(arena)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    assert places.pins(arena) == 0
    for order in range(ORDERS):
        made = rng.choice(CHAINS)(arena)
        rng.shuffle(made)
        keep = rng.randrange(len(made))
        made, last = made[:keep] + made[keep + 1 :], made[keep]
        while made:
            made.pop()
        here = [holder for holder in arena.who() if holder.this_process]
        assert here[0].pins >= 1, (seed, order, type(last))
        del last
        if here[0].pins and any(holder.pins for holder in arena.who()):
            gc.collect()
        assert sum(holder.pins for holder in arena.who()) == 0, (seed, order)


def test_pins_hold_what_is_replaced(arena: faretra.Arena) -> None:
    """A view shows what it was made of, however many versions come after it, and its memory is free once it is dropped."""
    arena["a"] = np.full(100_000, 1.0)
    first = arena["a"][10:20]
    live = arena.stats().live
    for number in range(20):
        arena["a"] = np.full(100_000, float(number))
    assert first.tolist() == [1.0] * 10
    assert arena.stats().live - live < 1_000_000
    del first
    arena["a"] = np.full(100_000, 2.0)
    assert arena.stats().live <= live
    del arena["a"]
    assert arena.stats().live < 100_000


def test_close_with_live_views_defers(fresh_name: Callable[[], str]) -> None:
    """After `close`, views stay readable and calls are refused; the arena is gone when the last view is."""
    name = fresh_name()
    arena = faretra.Arena.create(name, limit="64MiB", keep=False)
    arena["a"], arena["b"] = np.arange(1000), b"bytes"
    array, text = arena["a"][5:], arena["b"]
    arena.close()
    arena.close()
    assert arena.closed
    assert array[0] == 5
    assert bytes(text) == b"bytes"
    with pytest.raises(ValueError, match=r"was closed: open it again with `faretra.Arena.open`"):
        arena["a"]
    with faretra.Arena.open(name) as again:
        assert again["a"][5] == 5
    del array
    assert name in [info.name for info in faretra.arenas()]
    del text
    gc.collect()
    assert name not in [info.name for info in faretra.arenas()]


def test_cycles_are_collected(fresh_name: Callable[[], str]) -> None:
    """An arena and an array of it in a cycle: the collector takes both, and the process leaves the arena."""

    class Node:
        pass

    name = fresh_name()
    node = Node()
    node.arena = faretra.Arena.create(name, limit="64MiB", keep=False)  # type: ignore[attr-defined]
    node.arena["a"] = np.arange(1000)  # type: ignore[attr-defined]
    node.array, node.me = node.arena["a"], node  # type: ignore[attr-defined]
    gone = weakref.ref(node.arena)  # type: ignore[attr-defined]
    del node
    gc.collect()
    assert gone() is None
    assert name not in [info.name for info in faretra.arenas()]


def test_views_are_dropped_by_any_thread(arena: faretra.Arena) -> None:
    """Views that one thread made and others drop, at the same time, are all let go."""
    fill(arena)
    stop = threading.Event()
    heap: list[Any] = []
    errors: list[BaseException] = []

    def drop() -> None:
        try:
            while not stop.is_set() or heap:
                try:
                    heap.pop()
                except IndexError:
                    stop.wait(0.0005)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        heap += [arena["a"], arena["a"][5:], arena["p"]["l"], memoryview(arena["b"]), arena.private("a")]
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not errors
    assert places.pins(arena) == 0


def test_drafts_that_outlive_their_block(arena: faretra.Arena) -> None:
    """What is left of a draft's array after its block is private: writing to it changes nothing for anybody."""
    with arena.draft_array("d", 1000, "f8") as draft:
        draft[:] = 1
        part = draft[10:20]
    draft[:] = 7
    part[:] = 8
    assert arena["d"].tolist() == [1.0] * 1000
    arena["d"] = np.zeros(3)
    assert part.tolist() == [8.0] * 10
    del draft, part
    assert places.pins(arena) == 0
    with pytest.raises(KeyboardInterrupt), arena.draft_array("e", 1000) as dropped:
        dropped[:] = 5
        raise KeyboardInterrupt
    dropped[:] = 6
    assert "e" not in arena
    del dropped
    gc.collect()
    holder = next(holder for holder in arena.who() if holder.this_process)
    assert (holder.pins, holder.drafts, holder.writers) == (0, 0, 0)


def test_a_draft_that_is_forgotten(arena: faretra.Arena) -> None:
    """A draft that nobody publishes gives its memory and its permit back when it is collected."""
    before = arena.stats().live
    draft = arena.draft_array("d", 1_000_000, "f8")
    array = draft.value
    assert arena.stats().live - before >= 8_000_000
    del draft
    array[:] = 1
    del array
    gc.collect()
    assert arena.stats().live - before < 100_000
    assert arena.stats().writers_busy == 0
