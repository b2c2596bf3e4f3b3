"""Permits to write, and what a write may not replace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra


class Nested:
    """An object that writes to the arena while it is pickled."""

    def __init__(self, arena: faretra.Arena | None) -> None:
        self.arena = arena

    def __reduce__(self) -> Any:
        if self.arena is not None:
            self.arena["of the pickle"] = 1
        return (Nested, (None,))


def test_a_write_within_a_write(fresh_name: Callable[[], str]) -> None:
    """One permit is enough for what one process writes through a handle, however it is nested."""
    with faretra.Arena.create(fresh_name(), writers=1, keep=False) as arena:
        with arena.draft_array("outer", (3,)) as outer:
            arena["inner"] = 1
            outer[:] = arena["inner"]
        arena["object"] = Nested(arena)

        def items() -> Iterator[int]:
            for i in range(3):
                arena[f"item {i}"] = i
                yield i

        arena["list"] = faretra.List(items())
        drafts = [arena.draft_array(f"draft {i}", (3,)) for i in range(100)]
        for draft in drafts:
            draft.value[:] = 7
            draft.publish()
        assert list(arena["outer"]) == [1, 1, 1] and list(arena["list"]) == [0, 1, 2]
        assert arena["of the pickle"] == 1 and arena["draft 99"].sum() == 21
        assert arena.verify() == []


def test_a_permit_comes_back(fresh_name: Callable[[], str]) -> None:
    """The permit is free again when nothing writes: another handle, as another process, gets it."""
    name = fresh_name()
    with (
        faretra.Arena.create(name, writers=1, keep=False) as arena,
        faretra.Arena.open(name) as other,
    ):
        for i in range(5):
            arena["x"] = i
            other["y"] = i
        draft = arena.draft_array("d", (3,))
        del draft
        other["y"] = 6
        assert (arena["x"], arena["y"]) == (4, 6)


@pytest.mark.parametrize("value", [np.zeros(3), b"bytes", {"a": 1}], ids=["array", "bytes", "bundle"])
def test_what_is_used_in_place_is_not_replaced(arena: faretra.Arena, value: Any) -> None:
    """A put over a channel, a feed, a lock, a number or rows fails, and they go on; after a removal it succeeds."""
    channel = arena.sender("channel", 4)
    used: dict[str, object] = {
        "channel": channel,
        "feed": arena.feed("feed", 4),
        "mutex": arena.mutex("mutex"),
        "semaphore": arena.semaphore("semaphore", 2),
        "event": arena.event("event"),
        "number": arena.value("number", 1),
        "rows": arena.mutable_array("rows", (4,), "f8"),
    }
    for name in used:
        version = arena.version(name)
        with pytest.raises(faretra.MismatchError, match="remove it first"):
            arena[name] = value
        with pytest.raises(faretra.MismatchError, match=name), arena.draft_array(name, (2,)):
            pass
        assert arena.version(name) == version
    channel.send(1)
    assert arena.receiver("channel").recv().value == 1
    for name in used:
        del arena[name]
        arena[name] = value
        arena[name] = value
    assert arena.verify() == []


DTYPES = """
import os, sys, threading
import numpy as np
import faretra

sys.setswitchinterval(1e-6)
arena = faretra.Arena.open(sys.argv[1])
types = [np.dtype([(f"f{i}", "i4"), (f"g{i}", "f8")]) for i in range(150)]
for i, dtype in enumerate(types):
    arena[f"a{i}"] = np.zeros(2, dtype)

def read(first):
    for i in range(len(types)):
        assert arena[f"a{(i + first) % len(types)}"].dtype == types[(i + first) % len(types)]

threads = [threading.Thread(target=read, args=(first,)) for first in (0, 0, 75, 75)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("read")
"""


def test_threads_read_types_that_are_new(arena: faretra.Arena) -> None:
    """Several threads meet element types that nobody read before, and none waits for another that waits for it."""
    with Child(arena, DTYPES) as child:
        assert child.line(60) == "read"


def test_a_path_that_is_denied_or_missing(fresh_name: Callable[[], str], tmp_path: Path) -> None:
    """What the system denies is a `PermissionError`, and what it does not find a `FileNotFoundError`."""
    with pytest.raises(FileNotFoundError) as missing:
        faretra.Arena.create(fresh_name(), dir=tmp_path / "nowhere")
    assert isinstance(missing.value, faretra.MissingError) and missing.value.errno == errno.ENOENT
    program = f"""
        with faretra.Arena.create({fresh_name()!r}, keep=False) as mine:
            os.seteuid(65534)
            try:
                faretra.Arena.open(mine.name)
            except PermissionError as error:
                print(type(error).__name__, error.errno)
            os.seteuid(0)
    """
    if os.geteuid() != 0:
        pytest.skip("needs to be another user for a moment")
    with faretra.Arena.create(fresh_name(), keep=False) as arena, Child(arena, program) as child:
        assert child.line() == f"DeniedError {errno.EACCES}"
