"""What an arena tells of itself: what its names stand for, what it holds, who takes part; what arenas there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _show() -> Any:
    # Imported by the first that is shown: most programs show none.
    from faretra import _show

    return _show


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name in an arena stands for.

    `rows` are the rows of a table, the elements of an array, the members of a bundle, or the bytes of bytes; `published` is
    in seconds since 1970.
    """

    name: str
    version: int
    kind: str
    rows: int
    nbytes: int
    published: float


class Entries(list[Entry]):
    """A list of `Entry` that prints as a table, at a prompt and in a notebook.

    >>> faretra.Entries([faretra.Entry("frame", 7, "array", 6, 48, 0.0)])
    name   kind   rows  size  version
    frame  array     6  48 B        7
    """

    def __repr__(self) -> str:
        return str(_show().entries_text(self))

    def _repr_html_(self) -> str:
        return str(_show().entries_html(self))


@dataclass(frozen=True, slots=True, repr=False)
class ArrayInfo(Entry):
    """What an array in an arena is: shape, dtype, order ("C" or "F"), and size in bytes.

    Reading the array (`arena[name]`) copies nothing, whatever its size: `copied` is always 0.
    """

    shape: tuple[int, ...]
    dtype: Any
    order: str
    copied: int = 0

    def __repr__(self) -> str:
        return str(_show().info_text(self))

    def _repr_html_(self) -> str:
        return str(_show().info_html(self))


@dataclass(frozen=True, slots=True, repr=False)
class TableInfo(Entry):
    """What a table in an arena is: its columns (name, type, whether there may be nulls), rows, batches, and size in bytes.

    Reading the table (`arena[name]`) copies nothing, whatever its size: `copied` is always 0.
    """

    fields: tuple[tuple[str, str, bool], ...]
    batches: int
    copied: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, len(self.fields)

    def __repr__(self) -> str:
        return str(_show().info_text(self))

    def _repr_html_(self) -> str:
        return str(_show().info_html(self))


def info_of(found: dict[str, Any]) -> Entry:
    """Make the `Entry` of what `_native.Arena._info` found."""
    common = {key: found[key] for key in ("name", "version", "kind", "rows", "nbytes", "published")}
    if "shape" in found:
        return ArrayInfo(**common, shape=tuple(found["shape"]), dtype=found["dtype"], order=found["order"])
    if "fields" in found:
        return TableInfo(**common, fields=tuple(found["fields"]), batches=found["batches"])
    return Entry(**common)


@dataclass(frozen=True, slots=True)
class Stats:
    """What an arena holds; all but the last seven are bytes.

    `used` is what it has in memory, of which `live` is kept by names and readers, and `warm` is free and ready for use.
    """

    limit: int
    capacity: int
    used: int
    live: int
    warm: int
    metadata: int
    page_tables: int
    file_system_free: int
    names: int
    objects: int
    participants: int
    seats: int
    writers: int
    writers_busy: int
    checksums: bool


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that takes part in an arena, and what it keeps there."""

    pid: int
    command: str
    alive: bool
    stopped: bool
    this_process: bool
    pins: int
    pinned_bytes: int
    only_pinned_bytes: int
    drafts: int
    draft_bytes: int
    writers: int
    holds: list[str]
    waits_for: list[str]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `Arena.recover` took back from dead processes."""

    participants: int
    writers: int
    locks: int
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ArenaInfo:
    """An arena of a directory. `problem` says why it cannot be used, if it cannot; the numbers are 0 then."""

    name: str
    path: Path
    nbytes: int
    limit: int
    capacity: int
    participants: int
    keep: bool
    problem: str | None


# Where people find them is where they are, as in `faretra.__init__`.
for _public in (ArenaInfo, ArrayInfo, Entries, Entry, Holder, Recovered, Stats, TableInfo):
    _public.__module__ = "faretra"
