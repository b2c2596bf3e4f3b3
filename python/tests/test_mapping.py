"""An arena as a mapping of its values: what every mutable mapping can, and what it is to a type checker."""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
import pytest

import faretra


def total(numbers: Mapping[str, Any]) -> int:
    """Add up; to be called with what is a mapping to type checkers, too."""
    return sum(int(number) for number in numbers.values())


def fill(numbers: MutableMapping[str, Any]) -> None:
    """Use everything that a mutable mapping has."""
    numbers.clear()
    numbers.update({"a": 1}, b=2)
    numbers.update([("c", 3)], d=4)
    numbers.update(e=5)
    assert numbers.setdefault("a", 7) == 1 and numbers.setdefault("f", 6) == 6
    assert numbers.pop("a") == 1 and numbers.pop("a", None) is None and numbers.pop("a", 5) == 5
    with pytest.raises(KeyError):
        numbers.pop("a")
    assert numbers.popitem()[0] not in numbers


def test_a_mutable_mapping(arena: faretra.Arena) -> None:
    """An arena does what a dict does, with the same arguments."""
    assert isinstance(arena, MutableMapping)
    fill(arena)
    fill({})
    assert sorted(arena) == ["c", "d", "e", "f"] and total(arena) == 18
    arena.clear()
    with pytest.raises(KeyError):
        arena.popitem()
    with pytest.raises(TypeError):
        arena.update(5)  # type: ignore[arg-type]
    assert arena != {} and len({arena: 1}) == 1, "it is itself only, and a key"


def test_what_was_stored_is_a_mapping(arena: faretra.Arena) -> None:
    """Bundles and stored dicts are mappings, to type checkers as well."""
    arena.put_many("bundle", {"a": 1, "b": 2})
    arena["dict"] = faretra.Dict({"a": 1, "b": 3})
    bundle, stored = arena["bundle"], arena["dict"]
    assert isinstance(bundle, faretra.Bundle) and isinstance(stored, faretra.StoredDict)
    assert total(bundle) == 3 and total(stored) == 4


def test_locks_and_channels_are_no_values(arena: faretra.Arena) -> None:
    """What has no value is not in the mapping: every way of going through it gives the same names, and none fails."""
    arena["array"], arena["object"], arena["bytes"] = np.arange(3), {"rate": 1}, b"bytes"
    kept: list[Any] = [arena.mutex("m"), arena.event("e"), arena.semaphore("s", 2), arena.value("v", 1)]
    kept += [arena.mutable_array("g", 3), arena.sender("c"), arena.feed("f", 4), arena.server("calls")]
    names = ["array", "bytes", "object"]
    assert list(arena) == list(dict(arena)) == list({**arena}) == arena.keys() == names
    assert len(arena) == len(arena.values()) == len([arena[name] for name in arena]) == 3
    assert [name for name, _ in arena.items()] == names
    assert "m" not in arena and "c" not in arena and "array" in arena
    assert len(arena.entries()) == 11
    with pytest.raises(faretra.MismatchError):
        arena.pop("m")
    with pytest.raises(faretra.MismatchError):
        arena.setdefault("m", 1)
    arena.clear()
    assert list(arena) == [] and len(arena.entries()) == 8
    with pytest.raises(KeyError):
        arena.popitem()


def test_one_of_many_pops_a_value(arena: faretra.Arena) -> None:
    """Each value goes to one of several that pop at the same time."""
    arena.update({str(number): number for number in range(400)})
    got: list[list[int]] = [[], [], []]

    def work(mine: list[int]) -> None:
        with faretra.Arena.open(arena.name) as own:
            while True:
                try:
                    mine.append(own.popitem()[1])
                except KeyError:
                    return

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got[0] + got[1] + got[2]) == list(range(400))
