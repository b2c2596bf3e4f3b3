"""Checksums: a value that has changed since it was put is told, with the column that has."""

from __future__ import annotations

import mmap
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

import faretra

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def summed() -> Iterator[faretra.Arena]:
    """Give an arena whose values keep checksums."""
    with faretra.Arena.create(
        f"sums-{uuid.uuid4().hex[:8]}", limit="64MiB", keep=False, checksums=True
    ) as arena:
        yield arena


def change(arena: faretra.Arena, old: bytes, new: bytes) -> None:
    """Write over bytes of the arena's file, as a program with a bug does."""
    with open(arena.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        # A sparse file of terabytes: look at what is in memory.
        start = 0
        while True:
            start = file.seek(start, 3)  # SEEK_DATA
            end = file.seek(start, 4)  # SEEK_HOLE
            at = view.find(old, start, end)
            if at >= 0:
                view[at : at + len(new)] = new
                return
            start = end


def test_a_changed_column_is_named(summed: faretra.Arena) -> None:
    """`verify_checksums` and `verify(deep=True)` name the value and the column; reading goes on."""
    summed["t"] = pa.table({"a": [1, 2, 3], "text": ["some", "rather", "unlikely words"]})
    summed["x"] = np.arange(1000.0)
    assert summed.stats().checksums
    assert summed.verify_checksums("t") > 0
    assert summed.verify_checksums("x") >= 8000
    assert summed.verify(deep=True) == []
    change(summed, b"unlikely words", b"UNLIKELY")
    with pytest.raises(faretra.DamagedError, match="column `text` of batch 0 of `t`"):
        summed.verify_checksums("t")
    assert any("column `text`" in line for line in summed.verify(deep=True))
    assert pa.table(summed["t"])["text"].to_pylist()[2] == "UNLIKELY words"
    summed["t"] = b"anew"
    assert summed.verify(deep=True) == []


def test_without_checksums_nothing_is_compared(arena: faretra.Arena) -> None:
    """An arena has them only if it was created so."""
    arena["x"] = b"hello"
    assert not arena.stats().checksums
    assert arena.verify_checksums("x") == 0


def test_what_was_checked_stays_as_it_is(summed: faretra.Arena) -> None:
    """Text of an arena that is opened as untrusted is a copy: who writes over it later changes nothing that was read."""
    summed["t"] = pa.table({"text": ["some other unlikely words"]})
    with faretra.Arena.open(summed.name, untrusted=True) as guarded:
        text = pa.table(guarded["t"])["text"]
        change(summed, b"some other", b"\xff\xff\xff\xff")
        assert text.to_pylist() == ["some other unlikely words"]
        with pytest.raises(pa.ArrowInvalid, match="UTF-8"):
            pa.table(guarded["t"])
