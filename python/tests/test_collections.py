"""Lists and dicts of Python objects: stored as one object, decoded item by item."""

from __future__ import annotations

import gc
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra

OBJECTS = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, 1.5, float("inf"), "", "text", "é😀", "\ud800", "x" * 300,
    b"", b"bytes", b"x" * 20_000, {"a": 1, "b": [1, 2]}, [1, "two", None], (1, 2), {1, 2}, 1j, range(3), "x" * 3_000_000,
]  # fmt: skip


def test_every_object_comes_back(arena: faretra.Arena) -> None:
    """What was put in is what comes out, with its type, by number from either end and by iteration."""
    arena["objects"] = faretra.List(OBJECTS)
    stored = arena["objects"]
    assert isinstance(stored, faretra.StoredList) and isinstance(stored, Sequence)
    assert (stored.name, stored.version, len(stored)) == ("objects", 1, len(OBJECTS))
    assert list(stored) == OBJECTS and [type(item) for item in stored] == [type(item) for item in OBJECTS]
    assert list(reversed(stored)) == OBJECTS[::-1]
    for i in range(-len(OBJECTS), len(OBJECTS)):
        assert stored[i] == OBJECTS[i]
    for i in (len(OBJECTS), -len(OBJECTS) - 1, 1 << 62):
        with pytest.raises(IndexError, match=f"there are {len(OBJECTS)}"):
            stored[i]
    with pytest.raises(TypeError):
        stored["a"]  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        stored[0] = 1  # type: ignore[index]


def test_subclasses_keep_their_class(arena: faretra.Arena) -> None:
    """An item of a subclass of str, int or dict is pickled, and not taken for its base."""
    from collections import Counter, OrderedDict

    items = [np.str_("a"), np.float64(1.5), Counter("aab"), OrderedDict(a=1), np.int64(3)]
    arena["l"] = faretra.List(items)
    assert [type(item) for item in arena["l"]] == [type(item) for item in items] and list(arena["l"]) == items


def test_arrays_are_not_copied(arena: faretra.Arena) -> None:
    """Arrays in items lie in the arena: read-only, aligned, and kept by whoever has them."""
    arena["l"] = faretra.List(
        {"id": i, "x": np.full(1000, i, "f8"), "f": np.asfortranarray(np.eye(3))} for i in range(50)
    )
    item = arena["l"][7]
    again = arena["l"][7]
    address = item["x"].__array_interface__["data"][0]
    assert address == again["x"].__array_interface__["data"][0] and address % 64 == 0
    assert (
        (item["x"] == 7).all() and not item["x"].flags.writeable and item["f"].tolist() == np.eye(3).tolist()
    )
    arena["holes"] = faretra.List([np.arange(10)[::2], np.zeros((3, 0)), np.array(5)])
    assert [x.tolist() for x in arena["holes"]] == [[0, 2, 4, 6, 8], [[], [], []], 5]
    x = item["x"]
    live = arena.stats().live
    del arena["l"], item, again
    gc.collect()
    assert (x == 7).all() and arena.stats().live == live
    del x
    gc.collect()
    assert arena.stats().live < live - 50 * 8000


def test_slices_read_nothing(arena: faretra.Arena) -> None:
    """Slices are views, of slices too, and are what the same slices of a list are; seeded random ones."""
    numbers = list(range(100))
    arena["n"] = faretra.List(numbers)
    seeded = random.Random(4)
    edges = [None, *range(-130, 130)]
    for _ in range(500):
        ours, theirs = arena["n"], numbers
        for _ in range(seeded.randint(1, 3)):
            cut = slice(seeded.choice(edges), seeded.choice(edges), seeded.choice([None, 1, 2, 7, -1, -3]))
            ours, theirs = ours[cut], theirs[cut]
            assert len(ours) == len(theirs) and list(ours) == theirs and list(reversed(ours)) == theirs[::-1]
    part = arena["n"][10:20]
    assert 15 in part and 5 not in part and part.index(15) == 5 and part.count(12) == 1
    with pytest.raises(ValueError):
        part.index(15, 6)
    assert arena["n"].index(50, -60, -40) == 50
    arena["part"] = part
    assert list(arena["part"]) == numbers[10:20], "a slice is put as a list of its own"


def test_a_dict_finds_its_keys(arena: faretra.Arena) -> None:
    """Keys are str, bytes or int, each found by its type and value; order and last values are those of a dict."""
    pairs: list[Any] = [
        ("a", 1),
        (b"a", 2),
        (1, 3),
        ("1", 4),
        ("", 5),
        (b"", 6),
        (-1, 7),
        ("é", 8),
        (2**63 - 1, 9),
        ("a", 10),
        (1, None),
    ]
    arena["d"] = faretra.Dict(pairs)
    stored, plain = arena["d"], dict(pairs)
    assert (
        isinstance(stored, faretra.StoredDict) and isinstance(stored, Mapping) and len(stored) == len(plain)
    )
    assert (
        list(stored) == list(plain)
        and dict(stored.items()) == plain
        and list(stored.values()) == list(plain.values())
    )
    assert dict(stored) == plain and len(stored.keys()) == len(plain) and stored.keys()[1] == b"a"
    for key, value in plain.items():
        assert key in stored and stored[key] == value and stored.get(key, 99) == value
    for key in ("b", b"b", 2, 2**70, 1.5, None, (1,), "\ud800", "a\0"):
        assert key not in stored and stored.get(key) is None and stored.get(key, 5) == 5
        with pytest.raises(KeyError) as raised:
            stored[key]
        assert raised.value.args == (key,)
    assert stored[np.int64(-1)] == 7 and stored[True] is None and stored[np.str_("é")] == 8
    with pytest.raises(TypeError, match="unhashable"):
        _ = [] in stored


def test_a_dict_against_a_dict(arena: faretra.Arena) -> None:
    """A stored dict answers as a Python one does, for 30,000 seeded keys of every kind, put several times."""
    seeded = random.Random(7)

    def key() -> Any:
        number = seeded.randint(-9000, 9000)
        return seeded.choice([number, f"key {number}", b"%d" % number, number << 40])

    pairs = [(key(), i) for i in range(30_000)]
    arena["d"] = faretra.Dict(pairs)
    stored, plain = arena["d"], dict(pairs)
    assert len(stored) == len(plain) and list(stored) == list(plain)
    for _ in range(20_000):
        asked = key()
        assert stored.get(asked, "none") == plain.get(asked, "none")
    for one in ({}, {"one": 1}, {i: None for i in range(7)}):
        arena["small"] = faretra.Dict(one)
        assert dict(arena["small"]) == one and "no" not in arena["small"]


def test_what_is_made_is_what_it_is_made_of(arena: faretra.Arena) -> None:
    """Any iterable makes a list, any mapping or pairs a dict; an iterator is used once, other sources again."""
    arena["l"] = faretra.List(range(5))
    source = faretra.List(iter("abc"))
    arena["l"] = source
    assert list(arena["l"]) == ["a", "b", "c"]
    with pytest.raises(faretra.InvalidError, match="used up"):
        arena["l"] = source
    again = faretra.Dict({"a": 1})
    arena["d"], arena["e"] = again, again
    assert dict(arena["e"]) == {"a": 1}
    arena["f"] = arena["d"]
    arena["g"] = arena["l"]
    assert dict(arena["f"]) == {"a": 1} and list(arena["g"]) == ["a", "b", "c"]
    arena["keys"] = arena["d"].keys()
    assert list(arena["keys"]) == ["a"]
    assert arena.get_or_put("made", lambda: faretra.List("xy"))[1] == "y"
    assert arena.publish_if("made", 1, faretra.List("z")) == 2
    arena.put_many("bundle", {"l": faretra.List([1, "two"]), "d": faretra.Dict({"k": b"v"}), "x": np.ones(2)})
    assert list(arena["bundle"]["l"]) == [1, "two"] and arena["bundle"]["d"]["k"] == b"v"
    for name in ("__list__", "__dict__"):
        with pytest.raises(ValueError, match=name):
            arena.put_many("bundle", {name: b""})
    nothing: list[Any] = [5, None]
    for wrong in nothing:
        with pytest.raises(TypeError):
            faretra.List(wrong)
    no_pairs: list[Any] = [[1], ["ab", 5], [(1, 2, 3)]]
    for pairs in no_pairs:
        with pytest.raises(TypeError, match="pairs"):
            arena["wrong"] = faretra.Dict(pairs)
    no_keys: list[tuple[Any, type[Exception]]] = [
        (1.5, TypeError),
        (None, TypeError),
        (2**63, OverflowError),
        ("\ud800", ValueError),
    ]
    for key, error in no_keys:
        with pytest.raises(error):
            arena["wrong"] = faretra.Dict([(key, 1)])
    assert "wrong" not in arena


def test_what_fails_leaves_nothing(arena: faretra.Arena) -> None:
    """A source that raises, an item that cannot be pickled and a full arena leave what was there, and no memory."""
    arena["l"] = b"before"
    live = arena.stats().live

    def source() -> Iterator[str]:
        for _ in range(50):
            yield "x" * 100_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        arena["l"] = faretra.List(source())
    with pytest.raises(ZeroDivisionError):
        arena["l"] = faretra.Dict((i, x) for i, x in enumerate(source()))
    with pytest.raises(TypeError, match="cannot be pickled"):
        arena["l"] = faretra.List([1, lambda: 1])
    with pytest.raises(MemoryError):
        arena["l"] = faretra.List(b"x" * 1_000_000 for _ in range(400))
    assert bytes(arena["l"]) == b"before" and arena.stats().live == live


def test_many_items_take_little_memory(fresh_name: Callable[[], str]) -> None:
    """A list of 400,000 records from a generator takes memory of the process for few of them; readers take none."""
    with faretra.Arena.create(fresh_name(), limit="1GiB", keep=False) as arena:
        program = """
            def private():
                lines = open("/proc/self/smaps_rollup")
                return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous"))
            before, most = private(), 0
            def records():
                global most
                for i in range(400_000):
                    if i % 50_000 == 0:
                        most = max(most, private())
                    yield {"id": i, "name": f"record {i}", "tags": ["a"] * (i % 5), "pad": "p" * 400}
            arena["records"] = faretra.List(records())
            print(most - before)
        """
        with Child(arena, program) as child:
            grown = int(child.line(60))
        records = arena["records"]
        assert len(records) == 400_000 and records.nbytes > 180 << 20
        assert records[399_999]["id"] == 399_999 and records[123_456]["name"] == "record 123456"
        assert grown < 60 << 10, f"{grown} KiB for {records.nbytes >> 10}"
        reader = """
            def private():
                lines = open("/proc/self/smaps_rollup")
                return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous"))
            records = arena["records"]
            first, before = records[0], private()
            assert all(records[i]["id"] == i for i in range(0, len(records), 7))
            print(private() - before)
        """
        with Child(arena, reader) as child:
            assert int(child.line(60)) < 8 << 10


def test_other_processes_read_it(arena: faretra.Arena) -> None:
    """A list and a dict are read by processes that did not make them, with another hash seed."""
    arena["l"] = faretra.List([{"n": 1}, "two", np.arange(200)])
    arena["d"] = faretra.Dict({f"key {i}": i for i in range(1000)})
    program = """
        d = arena["d"]
        print(arena["l"][0]["n"], arena["l"][1], arena["l"][2].sum(), all(d[f"key {i}"] == i for i in range(1000)))
    """
    with Child(arena, program) as child:
        assert child.line() == "1 two 19900 True"


def test_untrusted_arenas_refuse_pickles(arena: faretra.Arena) -> None:
    """Items that are pickles are refused in an arena that was opened as untrusted; strings and numbers are read."""
    arena["l"] = faretra.List(["text", 5, 1.5, b"b", None, {"a": 1}, [np.zeros(100)]])
    arena["d"] = faretra.Dict({"a": 1, "b": (1,)})
    with faretra.Arena.open(arena.name, untrusted=True) as other:
        assert list(other["l"][:5]) == ["text", 5, 1.5, b"b", None] and other["d"]["a"] == 1
        for read in (
            lambda: other["l"][5],
            lambda: other["l"][6],
            lambda: other["d"]["b"],
            lambda: list(other["l"]),
        ):
            with pytest.raises(ValueError, match="untrusted"):
                read()
    with faretra.Arena.open(arena.name, untrusted=True, allow_pickle=True) as other:
        assert other["l"][5] == {"a": 1}


def rename(arena: faretra.Arena, old: bytes, new: bytes) -> int:
    """Replace names of members behind the arena's back, which refuses names like `__list__`."""
    renamed = 0
    with open(arena.path, "r+b", buffering=0) as file:
        at, end = 0, file.seek(0, os.SEEK_END)
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            data = os.pread(file.fileno(), hole - at, at)
            found = data.find(old)
            while found >= 0:
                os.pwrite(file.fileno(), new, at + found)
                renamed += 1
                found = data.find(old, found + 1)
            at = hole
    return renamed


def hashed(seed: int, record: bytes) -> int:
    """Hash as the format says, so that it cannot change unseen."""
    whole, odd = (1 << 64) - 1, 0x9E37_79B9_7F4A_7C15

    def mix(state: int, word: int) -> int:
        wide = (state ^ word) * odd
        return (wide & whole) ^ (wide >> 64)

    state = seed ^ (len(record) * odd & whole)
    full = len(record) // 8 * 8
    for at in range(0, full, 8):
        state = mix(state, int.from_bytes(record[at : at + 8], "little"))
        state = (state << 23 | state >> 41) & whole
    state = (mix(state, int.from_bytes(record[full:], "little")) + seed) & whole
    state = (state ^ state >> 30) * 0xBF58_476D_1CE4_E5B9 & whole
    state = (state ^ state >> 27) * 0x94D0_49BB_1331_11EB & whole
    return state ^ state >> 31


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def test_the_format_is_as_written_down(arena: faretra.Arena) -> None:
    """A dict that was made by hand is read, and keys are compared even when their hashes look alike."""
    keys = [b"\x02\x05a key", b"\x03\x0bseveral key", b"\x04" + (-5).to_bytes(8, "little", signed=True)]
    values = [b"\x04" + words(7), b"\x05" + b"\0" * 6 + b"\xf8\x3f", b"\x02\xac\x02" + b"x" * 300]
    chunk, entries, slots, seed, low = b"", [], [0] * 8, 99, (1 << 40) - 1
    for item, (key, value) in enumerate(zip(keys, values, strict=True)):
        entries.append(len(chunk))
        chunk += key + value
        at = hashed(seed, key) % 8
        while slots[at]:
            at = (at + 1) % 8
        slots[at] = hashed(seed, key) & ~low | item + 1
    head = {
        "__fict__": words(1, 3, 1, seed, 8),
        "entries": words(*entries),
        "slots": words(*slots),
        "0": chunk,
    }
    arena.put_many("by hand", head)
    # Slots that say of "alike" what they say of the first key.
    alike = hashed(seed, b"\x02\x05alike") & ~low | 1
    head["slots"] = words(*[alike] * 7, 0)
    arena.put_many("alike", head)
    assert rename(arena, b"__fict__", b"__dict__") >= 2
    stored = arena["by hand"]
    assert dict(stored.items()) == {"a key": 7, b"several key": 1.5, -5: "x" * 300}
    assert [stored["a key"], stored[b"several key"], stored[-5]] == [7, 1.5, "x" * 300]
    assert "alike" not in arena["alike"] and len(arena["alike"]) == 3


def test_threads_run_while_a_list_is_made(arena: faretra.Arena) -> None:
    """Making a large list of numbers, which runs no Python code, lets other threads run."""
    ticks, end = [0.0], threading.Event()

    def tick() -> None:
        while not end.is_set():
            ticks.append(time.perf_counter())

    def last() -> Iterator[int]:
        ended.append(time.perf_counter())
        yield 0

    ended: list[float] = []
    thread = threading.Thread(target=tick)
    thread.start()
    began = time.perf_counter()
    arena.put_many("bundle", {"l": faretra.List(itertools.chain(range(4_000_000), last()))})
    end.set()
    thread.join(20)
    within = [at for at in ticks if began < at < ended[0]]
    assert within, f"no other thread ran in the {ended[0] - began:.3f} s that it took to make the list"


def test_damage_is_told(arena: faretra.Arena) -> None:
    """A bundle that says it is a collection and is none is refused in words, whatever its bytes are; seeded."""
    seeded = random.Random(11)

    records = b"\x02\x01a" + b"\x04" + b"\1" * 8 + b"\x00\xff\xff\xff\x7f" + b"\x01\x05\x02\x05\x05" + b"\x63"
    offsets = [0, 3, 12, 17, 22, 5, 1 << 40, 99, (1 << 64) - 1]
    for i in range(1500):
        is_dict = i % 2 == 1
        count, slots = seeded.choice([0, 1, 3]), seeded.choice([0, 4, 8, 3])
        entries = seeded.choices(offsets, k=seeded.choice([count, count, count, 2]))
        members = {
            "__fict__" if is_dict else "__fist__": words(
                seeded.choice([1] * 5 + [2]), count, seeded.choice([1, 1, 0, 9]), 5, slots
            ),
            "entries": words(*entries),
            "slots": words(*(seeded.choice([0, 1, 2, seeded.getrandbits(64)]) for _ in range(slots))),
            "0": seeded.choice([records, records[: seeded.randint(0, len(records))], seeded.randbytes(40)]),
        }
        arena.put_many(f"damaged {i}", members)
    assert rename(arena, b"__fist__", b"__list__") >= 750 and rename(arena, b"__fict__", b"__dict__") >= 750
    told, read = set(), 0
    with faretra.Arena.open(arena.name, untrusted=True) as other:
        for i in range(1500):
            try:
                stored = other[f"damaged {i}"]
            except (faretra.DamagedError, faretra.InvalidError) as error:
                told.add(str(error).partition("` ")[2][:12])
                continue
            assert not isinstance(stored, faretra.Bundle)
            items = stored.items() if isinstance(stored, faretra.StoredDict) else stored
            keys: list[Any] = ["a", b"a", 1] if items is not stored else []
            looks = [(stored, key) for key in keys] + [(items, number) for number in range(len(items))]
            for where, key in looks:
                try:
                    where[key]
                    read += 1
                except (faretra.DamagedError, KeyError, ValueError) as error:
                    told.add(str(error).partition("` ")[2][:12])
    assert read > 30 and len(told) > 6, told
