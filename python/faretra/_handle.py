"""A value of an arena as something small that goes to other processes of the host, which read the value where it lies."""

from __future__ import annotations

import os
import threading
from typing import Any

from faretra._arena import Arena
from faretra._errors import ArenaNotFoundError, Error, NotFoundError
from faretra._native import Table
from faretra._place import File, Place, host, offset
from faretra._streamed import StreamedTable
from faretra._tables import need

__all__ = ["Handle", "again", "arrived", "content", "handle_of", "handle_of_table"]

# The arenas that handles named last: so many stay open, so that a handle costs no seat each time. A child of a fork begins
# anew.
_MOST = 4
_open: dict[Place, Arena] = {}
_lock = threading.Lock()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _open.clear()


os.register_at_fork(after_in_child=_in_child)


class Handle:
    """A version of a value, as a few hundred bytes: `get` reads it where it lies, in any process of the host.

    `Arena.handle` makes one. It can be pickled, so that it goes through queues, and to tasks of Dask, Ray and joblib. It
    keeps nothing: the value is there as long as nobody puts another one under the name, or removes it. A process has the
    last four arenas open whose handles it read.

    >>> import pickle
    >>> with faretra.Arena.create("doc-handle", keep=False) as arena:
    ...     arena["x"] = np.arange(3)
    ...     handle = pickle.loads(pickle.dumps(arena.handle("x")))
    ...     handle, handle.get()
    (<faretra.Handle of 'x', version 1, in arena 'doc-handle'>, array([0, 1, 2]))
    """

    __slots__ = ("_place", "name", "version")

    def __init__(self, place: Place, name: str, version: int) -> None:
        """Name a version of what lies at `place`."""
        self._place, self.name, self.version = place, name, version

    @property
    def arena(self) -> str:
        """The name of the arena."""
        return self._place.name

    def get(self) -> Any:
        """Read the value. Nothing is copied.

        Raises:
            ArenaNotFoundError: The arena is on another host, or was removed; another arena of its name is not taken for it.
            NotFoundError: The version that is meant is not there any more.

        >>> with faretra.Arena.create("doc-handle-get", keep=False) as arena:
        ...     arena["x"] = np.arange(3)
        ...     arena.handle("x").get()
        array([0, 1, 2])
        """
        arena = self._arena()
        try:
            value, version = arena.get_versioned(self.name)
        except NotFoundError:
            value, version = None, 0
        if version == self.version:
            return value
        now = f"is at version {version} by now" if version else "was removed"
        error = NotFoundError(
            f"`{self.name}` of arena `{self.arena}` {now}, and a handle is of version {self.version}: leave the name as "
            "it is while handles of it are used",
            name=self.name,
        )
        error.code = "not_found"
        raise error

    def _arena(self) -> Arena:
        with _lock:
            arena = _open.pop(self._place, None) or self._place.open()
            if arena is None:
                raise self._elsewhere()
            _open[self._place] = arena
            if len(_open) > _MOST:
                # Who reads in it has it still; it is left when nobody has it any more.
                del _open[next(iter(_open))]
            return arena

    def _elsewhere(self) -> ArenaNotFoundError:
        why = (
            "is not on this host"
            if host() != self._place.host
            else "is not at its place, or cannot be opened here"
        )
        error = ArenaNotFoundError(
            f"arena `{self.arena}` {why} (it was {os.path.join(self._place.dir, 'faretra.' + self.arena)}, inode "
            f"{self._place.file.inode}): handles are for processes of the host that see the arena's directory",
            name=self.arena,
        )
        error.code = "not_found"
        return error

    def __reduce__(self) -> Any:
        place = self._place
        return again, (place.host, place.dir, place.name, *place.file, self.name, self.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.__reduce__()[1] == other.__reduce__()[1]

    def __hash__(self) -> int:
        return hash(self.__reduce__()[1])

    def __repr__(self) -> str:
        return f"<faretra.Handle of '{self.name}', version {self.version}, in arena '{self.arena}'>"


def again(host: str, dir: str, arena: str, device: str, inode: int, name: str, version: int) -> Handle:
    """Return a handle as it was pickled."""
    return Handle(Place(host, dir, arena, File(device, inode)), name, version)


def handle_of(arena: Arena, name: str) -> Handle:
    """Return a handle of what `name` has now."""
    place = Place.of(arena)
    while place is not None:
        info = arena.info(name)
        handle = Handle(place, name, info.version)
        # An arena that was removed, and made anew under its name, is another one.
        if handle._arena().info(name) == info:
            return handle
        if arena.version(name) == info.version:
            break
    error = ArenaNotFoundError(
        f"arena `{arena.name}` has no place where others find it: it was removed, or this process sees no boot id, or has "
        "another arena of this name open",
        name=arena.name,
    )
    error.code = "not_found"
    raise error


def handle_of_table(table: Table) -> Handle | None:
    """Return a handle of a table, if it is what a name of its arena has now."""
    path, first = table._path(), _first(table)
    place = None if path is None else Place.at(os.fspath(path))
    if place is None or first is None:
        return None
    handle = Handle(place, table.name, table.version)
    try:
        named = handle.get()
    except Error:
        return None
    # A member of a bundle may be called as another table is: what counts is where it lies.
    there = _first(named) if isinstance(named, Table) else None
    return handle if there is not None and offset(there) == offset(first) else None


def _first(table: Table) -> int | None:
    """Return the address of the first byte of a table that has any."""
    pyarrow = need("pyarrow", "a handle of a table")
    if table.num_batches == 0:
        return None
    for column in pyarrow.record_batch(table.batch(0)).columns:
        for buffer in column.buffers():
            if buffer is not None and buffer.size:
                return int(buffer.address)
    return None


def content(table: Table) -> tuple[str, int, Any]:
    """Return a table as who cannot map it reads it: its name, its version, and bytes of Arrow's IPC format."""
    pyarrow = need("pyarrow", "a table for another host")
    sink = pyarrow.BufferOutputStream()
    reader = pyarrow.RecordBatchReader.from_stream(table)
    with pyarrow.ipc.new_stream(sink, reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)
    return table.name, table.version, sink.getvalue()


def arrived(handle: Handle | None, payload: tuple[str, int, Any] | None) -> Any:
    """Return a table that came as a handle, as bytes of Arrow's IPC format, or as both: in place where that is possible."""
    if handle is not None:
        try:
            return handle.get()
        except Error:
            if payload is None:
                raise
    if payload is None:
        raise ValueError("neither a handle nor the content of a table came")
    name, version, bytes_ = payload
    pyarrow = need("pyarrow", "a table from another host")
    return StreamedTable(pyarrow.ipc.open_stream(bytes_).read_all(), name, version)


# Where people find it is where it is, as in `faretra.__init__`.
Handle.__module__ = "faretra"
