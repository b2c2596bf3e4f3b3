"""Arenas: named shared memory that holds arrays, tables and objects of every process on the machine."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from faretra import _native
from faretra._calls import Client, Server
from faretra._channels import Receiver, Sender
from faretra._feeds import Feed, OnLag, Subscriber
from faretra._mapping import Values
from faretra._native import (
    Batch,
    Bundle,
    Draft,
    Event,
    MutableArray,
    Mutex,
    Pinned,
    Ref,
    Selection,
    Semaphore,
    SharedValue,
    Table,
    TableDraft,
    Writable,
)
from faretra._sizes import shown, size
from faretra._tables import need

if TYPE_CHECKING:
    from faretra._handle import Handle
    from faretra._info import ArenaInfo, Entry, Holder, Recovered, Stats
    from faretra._waits import ArenaAio

__all__ = [
    "Arena",
    "Batch",
    "Bundle",
    "Draft",
    "Pinned",
    "Selection",
    "Table",
    "Writable",
    "arenas",
    "remove",
]

Size = int | str
Timeout = float | timedelta | None


def arenas(dir: str | os.PathLike[str] | None = None) -> list[ArenaInfo]:
    """Return the arenas of a directory (`/dev/shm`, or what the environment variable `FARETRA_DIR` says).

    >>> with faretra.Arena.create("doc-arenas", keep=False):
    ...     [info.participants for info in faretra.arenas() if info.name == "doc-arenas"]
    [1]
    """
    from faretra._info import ArenaInfo

    return [ArenaInfo(**fields) for fields in _native._list_arenas(dir)]


def remove(name: str, dir: str | os.PathLike[str] | None = None, *, trust_others: bool = False) -> None:
    """Remove an arena. Processes that have it open keep what they have, and its memory is free when the last leaves.

    Raises `ArenaNotFoundError`; `UntrustedError` if it belongs to another user, or others may write it, and `trust_others`
    was not said (see `Arena.open`).

    >>> _ = faretra.Arena.create("doc-remove")
    >>> faretra.remove("doc-remove")
    """
    _native._remove_arena(name, dir, trust_others)


class Arena(Values):
    """Named shared memory, with values under names: a mapping that every process on the machine can open.

    The mapping is that of the values: channels and locks have names too, which `entries` lists as well.

    Make one with `Arena.create`, `Arena.open` or `Arena.open_or_create`. What is read is not copied: arrays are numpy arrays
    over the arena's memory, read-only; tables support Arrow's PyCapsule interface. What is put is copied once. A value never
    changes once it is put: putting another value under the name makes a new version, and who has the old one keeps it.

    A process that is killed, at any moment, leaves nothing broken, nothing locked and nothing leaked.

    What becomes of what, when `arena[name] = value` puts it and `arena[name]` reads it:

    ============================================================ ====================================================
    put                                                          read
    ============================================================ ====================================================
    `numpy.ndarray` of plain memory: numbers, bool, complex,     `numpy.ndarray`, read-only, of the same dtype, shape
    datetime64, timedelta64, `S`, `U`, `V` and records of them,  and order (C where it was neither C nor Fortran);
    of any byte order, shape and strides                         not copied
    `numpy.memmap`, `numpy.recarray`                             the same: a plain `numpy.ndarray`; use
                                                                 `.view(numpy.recarray)` for attributes
    `numpy.matrix`, `numpy.ma.MaskedArray`, other subclasses     what it was (pickled without its attributes, its
                                                                 elements and mask not copied)
    arrays of bfloat16 and other types that a library registered what it was (pickled, its elements not copied)
    arrays of objects, or of numpy's `StringDType`               what it was (pickled and copied; a warning says so)
    what has `__dlpack__` and lies in the memory of the CPU      `numpy.ndarray`, read-only; not copied
    tables, batches and columns of Arrow (`__arrow_c_stream__`,  `faretra.Table`; not copied
    `__arrow_c_array__`): pyarrow, polars, duckdb, arro3
    `pandas.DataFrame`                                           `faretra.Table`, whose `to_pandas()` has the index;
                                                                 what Arrow cannot have is pickled
    `bytes`, `bytearray`, and buffers of bytes                   `memoryview`, read-only; not copied
    other buffers: `array.array`, ctypes arrays                  `numpy.ndarray`, read-only; not copied
    what was read from an arena                                  what it was; of the same arena without a second copy
    the same inside a dict, list, dataclass, ...                 `pyarrow.Table` (tables; needs pyarrow), dict, list,
                                                                 `memoryview`: read-only; large data is not copied
    everything else: dict, list, dataclass, `pandas.Series`, ... what it was (pickled); the arrays and Arrow tables
                                                                 in it are read-only and not copied
    ============================================================ ====================================================

    What is read goes on by DLPack as numpy does it: consumers that know the read-only flag (`max_version=(1, 0)` or later)
    get the memory itself, and others get a `BufferError`. torch takes the memory and ignores the flag: writing to a tensor
    of `torch.from_dlpack(arena[name])` is a segmentation fault, and `faretra.torch.tensor` is the way. For the others, and
    for whoever wants to write, `Arena.private` is a writable view of one's own, of which a page is copied when it is first
    written.

    After `fork`, arrays and bytes that the parent had read, also those in objects, stay in the child as they were:
    whatever the parent drops or puts, it keeps their memory until the child has ended, or until it ends itself. All the
    rest raises `ForkedError` there: the handle, locks, channels, references, stored lists and dicts, bundles, and a
    table's batches. Call `reopen` in the child, and read again. Open drafts of its parent are zeros there.

    >>> with faretra.Arena.create("doc-arena", limit="64MiB", keep=False) as arena:
    ...     arena["weights"] = np.arange(6.0).reshape(2, 3)
    ...     arena["weights"].sum()
    np.float64(15.0)
    """

    @classmethod
    def create(
        cls,
        name: str,
        *,
        limit: Size | None = None,
        capacity: Size | None = None,
        writers: int | None = None,
        participants: int | None = None,
        keep: bool = True,
        dir: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        warm: Size | None = None,
        checksums: bool = False,
        allow_pickle: bool | None = None,
    ) -> Self:
        """Make an arena and open it.

        Args:
            name: What other processes open it by: 1 to 200 bytes of UTF-8 without `/`.
            limit: How many bytes it may use; can be changed later. Without it, half of what the file system has.
            capacity: How many bytes it may ever use: no memory is taken for it.
            writers: How many may write at the same time.
            participants: How many processes may have it open at the same time.
            keep: Whether it stays when nobody has it open. Otherwise it is removed then; if the last process that has it
                open is killed, by the next that opens or lists arenas.
            dir: A directory on a tmpfs, instead of `/dev/shm`.
            mode: Permissions of its file, 0o600 by default. Who may write it must say `trust_others` to open it.
            warm: How many bytes of freed memory it keeps ready.
            checksums: Whether each value keeps a checksum of its bytes, so that `verify_checksums` and `verify(deep=True)`
                tell which value, and which column, has changed since it was put.
            allow_pickle: Whether what is read may be unpickled.

        Raises:
            ArenaExistsError: There is one of this name.
            NoSpaceError: The file system is full.

        >>> arena = faretra.Arena.create("doc-create", limit="64MiB", keep=False)
        >>> arena.close()
        """
        return cls(
            name,
            "create",
            limit=None if limit is None else size(limit),
            capacity=None if capacity is None else size(capacity),
            writers=writers,
            participants=participants,
            keep=keep,
            dir=dir,
            mode=mode,
            warm=None if warm is None else size(warm),
            checksums=checksums,
            allow_pickle=allow_pickle,
        )

    @classmethod
    def open(
        cls,
        name: str,
        *,
        dir: str | os.PathLike[str] | None = None,
        untrusted: bool = False,
        trust_others: bool = False,
        allow_pickle: bool | None = None,
    ) -> Self:
        """Open an arena that another process made.

        Args:
            name: Its name.
            dir: The directory that it was made in.
            untrusted: Whether everything that is read is checked each time, in a copy that nobody else can change, and
                pickles are refused: for arenas that others write whom you do not trust. Numbers are not copied.
            trust_others: Whether it may be another user's, or one that other users may write. They can then end this
                process: say so only if all of them run programs that you trust.
            allow_pickle: Whether what is read may be unpickled; not in an untrusted arena, unless you say so.

        Raises:
            ArenaNotFoundError: There is none of this name.
            UntrustedError: It belongs to another user, or others may write it, and `trust_others` was not said.
            LimitError: As many processes as can be have it open.

        >>> made = faretra.Arena.create("doc-open", keep=False)
        >>> with faretra.Arena.open("doc-open") as arena:
        ...     len(arena)
        0
        >>> made.close()
        """
        return cls(
            name, "open", dir=dir, untrusted=untrusted, trust_others=trust_others, allow_pickle=allow_pickle
        )

    @classmethod
    def open_or_create(
        cls,
        name: str,
        *,
        limit: Size | None = None,
        capacity: Size | None = None,
        writers: int | None = None,
        participants: int | None = None,
        keep: bool = True,
        dir: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        warm: Size | None = None,
        checksums: bool = False,
        trust_others: bool = False,
        allow_pickle: bool | None = None,
    ) -> Self:
        """Open an arena, or make it if there is none of this name. The options are those of `Arena.create` and `Arena.open`.

        Of several processes that do so at the same time, one makes it.

        >>> with faretra.Arena.open_or_create("doc-either", keep=False) as arena:
        ...     arena.name
        'doc-either'
        """
        return cls(
            name,
            "open_or_create",
            limit=None if limit is None else size(limit),
            capacity=None if capacity is None else size(capacity),
            writers=writers,
            participants=participants,
            keep=keep,
            dir=dir,
            mode=mode,
            warm=None if warm is None else size(warm),
            checksums=checksums,
            trust_others=trust_others,
            allow_pickle=allow_pickle,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<faretra.Arena, closed>"
        try:
            return f"<faretra.Arena '{self.name}', {len(self)} values, limit {shown(self.limit)}>"
        except RuntimeError:
            return f"<faretra.Arena '{self.name}' of the parent process: reopen() makes it this process's>"

    def sql(self, query: str, /, **values: Any) -> Any:
        """Plan a statement whose tables are names of the arena, and return a `datafusion.DataFrame`.

        It runs when it is read. It has `__arrow_c_stream__`, `to_polars()`, `to_pandas()`, `show()`, and goes into an arena
        again. Nothing is copied by the scan, which looks at the columns that the statement asks for. What the statement
        names is pinned when it is planned, and stays as it was. Nothing else is read. Needs datafusion.

        ================================= ==============================================================================
        a name in SQL                     is
        ================================= ==============================================================================
        `flights`                         the table of that name. SQL folds names without quotes to lower case
        `"flights@7"`                     its version 7, if that is the current one
        `"day/delays"`                    the member `delays` of the bundle `day`, or the table that has this very name
        `"days/*"`, `"202?"`              all tables whose names match, of the same columns, as one
        `"ticks@snapshot"`                what the feed `ticks` keeps now
        ================================= ==============================================================================

        Args:
            query: The statement. It only reads; what it gives is published by `arena[name] = arena.sql(..)`.
            values: What stands for `$name` in it.

        Raises:
            NotFoundError: The arena has no table of a name.
            MismatchError: A name stands for something else, or for tables of different columns.
            InvalidError: The statement is wrong, or would write.

        >>> import datafusion as df, pyarrow as pa
        >>> with faretra.Arena.create("doc-sql", keep=False) as arena:
        ...     arena["flights"] = pa.table({"dest": ["Faro", "Porto", "Faro"], "delay": [5, 20, 30]})
        ...     query = "SELECT dest, sum(delay) AS delay FROM flights WHERE delay > $least GROUP BY dest"
        ...     late = arena.sql(query, least=10)
        ...     arena["late"] = late.sort("dest")
        ...     arena["late"].to_pyarrow().to_pydict()
        {'dest': ['Faro', 'Porto'], 'delay': [30, 20]}
        """
        need("datafusion", "Arena.sql")
        from faretra.datafusion import _query

        return _query(self, query, values)

    def handle(self, name: str) -> Handle:
        """Return what `name` has now as a `faretra.Handle`: a few hundred bytes, by which other processes read it in place.

        Raises:
            NotFoundError: There is nothing of that name.

        >>> with faretra.Arena.create("doc-make-handle", keep=False) as arena:
        ...     arena["x"] = np.arange(3)
        ...     arena.handle("x").get()
        array([0, 1, 2])
        """
        from faretra._handle import handle_of

        return handle_of(self, name)

    def put_many(self, name: str, values: Mapping[str, Any]) -> int:
        """Put several values as one, under one name: readers see all of them or none. Returns the version.

        What is read is a `faretra.Bundle`, a mapping from names to values, none of which is copied.

        >>> with faretra.Arena.create("doc-many", keep=False) as arena:
        ...     _ = arena.put_many("day", {"x": np.ones(2), "y": b"bytes"})
        ...     list(arena["day"]), arena["day"]["x"]
        (['x', 'y'], array([1., 1.]))
        """
        return self._put_many(name, dict(values))

    def draft_array(
        self, name: str, shape: int | tuple[int, ...], dtype: Any = "float64", order: Literal["C", "F"] = "C"
    ) -> Draft:
        """Return a draft: an array in the arena's memory, to be written in place and published without a copy.

        Its elements are arbitrary at first. When the `with` block ends, the array is published under `name`; when the block
        raises, it is dropped. What is left of the array afterwards is private: writing to it changes nothing for anybody.
        Until then the draft has one of the arena's `writers` permits: when all are taken, whoever writes waits for one.

        Raises:
            NoSpaceError: There is no memory for it.
            TypeError: The dtype holds Python objects.

        >>> with faretra.Arena.create("doc-draft", keep=False) as arena:
        ...     with arena.draft_array("frame", (2, 3), "uint8") as frame:
        ...         frame[:] = 7
        ...     arena["frame"].sum()
        np.uint64(42)
        """
        lengths, element = _elements(_shape(shape), dtype)
        return self._draft_array(name, lengths, element, order)

    def draft_bytes(self, name: str, nbytes: Size) -> Draft:
        """Return a draft of bytes: a memoryview of the arena's memory, to be written in place.

        It is published and dropped as that of `draft_array`.

        >>> with faretra.Arena.create("doc-bytes", keep=False) as arena:
        ...     with arena.draft_bytes("greeting", 5) as view:
        ...         view[:] = b"hello"
        ...     bytes(arena["greeting"])
        b'hello'
        """
        return self._draft_bytes(name, size(nbytes))

    def stats(self) -> Stats:
        """Return what the arena holds, in bytes and numbers.

        >>> with faretra.Arena.create("doc-stats", limit="64MiB", keep=False) as arena:
        ...     arena.stats().limit
        67108864
        """
        from faretra._info import Stats

        return Stats(**self._stats())

    def who(self) -> list[Holder]:
        """Return the processes that take part, and what each keeps there.

        >>> with faretra.Arena.create("doc-who", keep=False) as arena:
        ...     [holder.this_process for holder in arena.who()]
        [True]
        """
        from faretra._info import Holder

        return [Holder(**fields) for fields in self._who()]

    def recover(self) -> Recovered:
        """Take back now what dead processes left. That also happens by itself, when somebody opens the arena or waits.

        >>> with faretra.Arena.create("doc-recover", keep=False) as arena:
        ...     arena.recover().participants
        0
        """
        from faretra._info import Recovered

        return Recovered(**self._recover())

    def set_limit(self, limit: Size) -> None:
        """Change how many bytes the arena may use.

        >>> with faretra.Arena.create("doc-limit", limit="64MiB", keep=False) as arena:
        ...     arena.set_limit("128MiB")
        ...     arena.limit
        134217728
        """
        self._set_limit(size(limit))

    def reopen(self) -> Self:
        """Open the arena anew in a forked child, in place: this handle works again there. Returns the handle itself.

        Arrays and bytes that the parent had read stay in the child as they were until the parent ends. Locks,
        channels, lists, bundles and tables come from the parent's handle: get them again from this one.

        >>> with faretra.Arena.create("doc-reopen", keep=False) as arena:
        ...     arena["x"] = b"one"
        ...     "x" in arena.reopen()
        True
        """
        self._reopen()
        return self

    @property
    def aio(self) -> ArenaAio:
        """The waits of the arena for an event loop: `await arena.aio.wait_for(name, newer_than=0, timeout=None)`."""
        # Imported by the first that waits so: most programs do not.
        from faretra._waits import ArenaAio

        return ArenaAio(self)

    # What is shown.

    def info(self, name: str) -> Entry:
        """Return what `name` stands for, without reading the value: `ArrayInfo`, `TableInfo`, or an `Entry` for the rest.

        The kind of what was pickled is "object" here; in `entries`, which looks into no value, it is "bundle".

        Raises:
            NotFoundError: There is nothing of that name.

        >>> with faretra.Arena.create("doc-info", keep=False) as arena:
        ...     arena["x"] = np.zeros((3, 4), "float32")
        ...     arena.info("x")
        <faretra.ArrayInfo 'x' version 1: float32 (3, 4), order C, 112 B in the arena, 0 bytes copied when it is read>
        """
        from faretra._info import info_of

        return info_of(self._info(name))

    def _repr_html_(self) -> str:
        # Imported by the first that is shown: most programs show none.
        from faretra import _show

        return _show.arena_html(self)

    # Channels, feeds and calls.

    def sender(
        self,
        name: str,
        capacity: int | None = 64,
        *,
        mixed: bool = True,
        when_deserted: Literal["fail", "block"] = "fail",
    ) -> Sender:
        """Return a sender of the channel `name`, which is made if there is none.

        Args:
            name: The channel's name.
            capacity: How many items the channel has room for; `None`: as many as the arena has memory for.
            mixed: Whether it takes tables of different schemas. Otherwise the first one's schema is that of all.
            when_deserted: What a sender of a full channel does when the last receiver left or died: it fails with a
                `ClosedError`, or waits for another one.

        Raises:
            MismatchError: There is such a channel with another capacity or other contents, or the name is of another kind.

        >>> with faretra.Arena.create("doc-make-sender", keep=False) as arena:
        ...     arena.sender("jobs", capacity=8)
        <faretra.Sender of 'jobs'>
        """
        return Sender(self, name, capacity, mixed, when_deserted)

    def receiver(
        self,
        name: str,
        *,
        wait: bool = False,
        timeout: Timeout = None,
        when_deserted: Literal["fail", "block"] = "fail",
    ) -> Receiver:
        """Return a receiver of the channel `name`.

        Args:
            name: The channel's name.
            wait: Whether to wait until somebody makes the channel.
            timeout: How long to wait for that, in seconds or as a timedelta.
            when_deserted: What a receiver of an empty channel does when the last sender left or died: it fails with a
                `ClosedError`, or waits for another one.

        Raises:
            NotFoundError: There is no such channel, and nobody waits for it.
            TimeoutError: Nobody made it in time.

        >>> with faretra.Arena.create("doc-make-receiver", keep=False) as arena:
        ...     _ = arena.sender("jobs")
        ...     arena.receiver("jobs", timeout=5)
        <faretra.Receiver of 'jobs'>
        """
        return Receiver(self, name, wait, timeout, when_deserted)

    def feed(
        self,
        name: str,
        capacity: int,
        *,
        when_full: Literal["block", "drop_oldest", "fail"] = "block",
        mixed: bool = True,
    ) -> Feed:
        """Return a producer of the feed `name`, which is made if there is none.

        Args:
            name: The feed's name.
            capacity: How many items it keeps.
            when_full: What an append does when a subscriber has not read the item that would go: it waits for the
                subscriber, drops the item, or fails with a `FullError`.
            mixed: Whether it takes tables of different schemas. Otherwise the first one's schema is that of all.

        Raises:
            MismatchError: There is such a feed with another capacity or other contents, or the name is of another kind.

        >>> with faretra.Arena.create("doc-make-feed", keep=False) as arena:
        ...     arena.feed("ticks", capacity=1000, when_full="drop_oldest")
        <faretra.Feed 'ticks'>
        """
        return Feed(self, name, capacity, when_full, mixed)

    def subscribe(
        self,
        name: str,
        start: Literal["oldest", "newest"] | int = "oldest",
        *,
        wait: bool = False,
        timeout: Timeout = None,
        on_lag: OnLag = "raise",
        when_deserted: Literal["fail", "block"] = "fail",
    ) -> Subscriber:
        """Subscribe to the feed `name`.

        Args:
            name: The feed's name.
            start: The first item: the oldest that the feed keeps, the next one that is appended, or a position.
            wait: Whether to wait until somebody makes the feed.
            timeout: How long to wait for that, in seconds or as a timedelta.
            on_lag: What `for` loops do when items were dropped before they were read: raise `LaggedError`, or skip them.
            when_deserted: What a subscriber that has read everything does when the last producer left or died: it fails
                with a `ClosedError`, or waits for another one.

        Raises:
            NotFoundError: There is no such feed, and nobody waits for it.
            TimeoutError: Nobody made it in time.
            LimitError: The feed has as many subscribers as there can be.
            InvalidError: The position is one that no item has yet.

        >>> with faretra.Arena.create("doc-subscribe", keep=False) as arena:
        ...     feed = arena.feed("ticks", capacity=10)
        ...     feed.append(1)
        ...     arena.subscribe("ticks", start="newest").position
        1
        """
        return Subscriber(
            self, name, start, wait=wait, timeout=timeout, on_lag=on_lag, when_deserted=when_deserted
        )

    def latest(self, name: str, default: Any = None) -> Any:
        """Return the newest item of the feed `name`, or `default` if there is none.

        Raises:
            NotFoundError: There is no such feed.

        >>> with faretra.Arena.create("doc-latest", keep=False) as arena:
        ...     feed = arena.feed("ticks", capacity=10)
        ...     feed.append(1.5)
        ...     arena.latest("ticks")
        1.5
        """
        return _native._latest(self, name, default)

    def snapshot(self, name: str) -> Table:
        """Return every batch that the feed `name` keeps now, as one table. Nothing is copied.

        Raises:
            NotFoundError: There is no such feed, or it has no items yet.
            MismatchError: An item is no table, or has another schema than the first.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-snapshot", keep=False) as arena:
        ...     feed = arena.feed("ticks", capacity=10)
        ...     feed.append(pa.record_batch({"price": [1.5, 1.6]}))
        ...     feed.append(pa.record_batch({"price": [1.7]}))
        ...     arena.snapshot("ticks").shape
        (3, 1)
        """
        return _native._snapshot(self, name)

    def client(self, name: str, *, wait: bool = True) -> Client:
        """Return a client of the service `name`, whether or not somebody serves it yet.

        Args:
            name: The service's name.
            wait: What a call does while nobody serves: it waits for a server, or fails with a `ClosedError`.

        Raises:
            MismatchError: The name is of another kind.

        >>> with faretra.Arena.create("doc-make-client", keep=False) as arena:
        ...     arena.client("double")
        <faretra.Client of 'double'>
        """
        return Client(self, name, wait)

    def server(self, name: str) -> Server:
        """Return a server of the service `name`. It is there for clients until it is left or dropped.

        Raises:
            MismatchError: The name is of another kind.

        >>> with faretra.Arena.create("doc-make-server", keep=False) as arena:
        ...     arena.server("double")
        <faretra.Server of 'double'>
        """
        return Server(self, name)

    # Locks, shared numbers, mutable arrays, references, tables that grow

    def mutex(self, name: str) -> Mutex:
        """Return the mutex of this name: a lock that one process holds at a time. Makes it if there is none.

        If its holder dies, the next one gets it, and its guard says `recovered`.

        Raises:
            MismatchError: The name stands for something else.

        >>> with faretra.Arena.create("doc-mutex", keep=False) as arena:
        ...     with arena.mutex("m") as guard:
        ...         guard.recovered
        False
        """
        return Mutex(self, name)

    def semaphore(self, name: str, permits: int, *, initial: int | None = None) -> Semaphore:
        """Return the semaphore of this name: so many permits, which processes take and give back.

        Makes it if there is none.

        Args:
            name: Its name.
            permits: How many permits there ever are: 1 to 65,536.
            initial: How many of them are free at first: all, unless you say so. `Semaphore.release` makes more free.

        Raises:
            MismatchError: The name stands for something else, or for a semaphore of other `permits`.

        >>> with faretra.Arena.create("doc-semaphore", keep=False) as arena:
        ...     gpus = arena.semaphore("gpus", 2)
        ...     with gpus.permit(timeout=5):
        ...         gpus.available()
        1
        """
        return Semaphore(self, name, permits, initial)

    def event(self, name: str, auto_reset: bool = False) -> Event:
        """Return the event of this name: a flag that processes wait for. Makes it if there is none.

        With `auto_reset`, one waiter goes on for each `set`, and resets the event. Otherwise it stays set until `clear`.

        Raises:
            MismatchError: The name stands for something else, or for an event of the other kind.

        >>> with faretra.Arena.create("doc-event", keep=False) as arena:
        ...     ready = arena.event("ready")
        ...     ready.set()
        ...     ready.wait(timeout=5)
        True
        """
        return Event(self, name, auto_reset)

    def value(self, name: str, initial: complex) -> SharedValue:
        """Return the shared number of this name: an int of 64 bits, a float, a bool or a complex, as `initial` is.

        Makes it, with that number, if there is none.

        Raises:
            MismatchError: The name stands for something else, or for a number of another type.

        >>> with faretra.Arena.create("doc-value", keep=False) as arena:
        ...     arena.value("done", 0).add(3)
        ...     arena.value("done", 0).get()
        3
        3
        """
        return SharedValue(self, name, initial)

    def mutable_array(
        self,
        name: str,
        shape: int | tuple[int, ...] | None = None,
        dtype: Any = None,
        partitions: int | None = None,
    ) -> MutableArray:
        """Return the mutable array of this name, which several processes write at once, each its rows.

        With a `shape`, it is made of zeros if there is none. Without, it is there already.

        Args:
            name: Its name.
            shape: The length of each axis. The first is divided.
            dtype: Integers, floats, complex numbers or bools; float64, if the array is made.
            partitions: In how many partitions of nearly equal numbers of rows it is divided, each with a lock of its own: 1
                to 4,096, and 1 if the array is made.

        Raises:
            NotFoundError: There is none, and no `shape`.
            MismatchError: The name stands for something else, or for an array of another shape, dtype or partitions.
            NoSpaceError: There is no memory for it.

        >>> with faretra.Arena.create("doc-grid", keep=False) as arena:
        ...     grid = arena.mutable_array("grid", (4, 3), "int64", partitions=2)
        ...     with grid.write(1) as rows:
        ...         rows[:] = 5
        ...     grid.freeze()[1:3]
        array([[0, 0, 0],
               [5, 5, 5]])
        """
        return MutableArray(self, name, None if shape is None else _shape(shape), dtype, partitions)

    def ref(self, name: str) -> Ref:
        """Return a reference to the newest value of a name, which is read once for each version.

        >>> with faretra.Arena.create("doc-ref", keep=False) as arena:
        ...     arena["weights"] = np.zeros(3)
        ...     weights = arena.ref("weights")
        ...     weights.get() is weights.get()
        True
        """
        return Ref(self, name)

    def draft_table(self, name: str, schema: Any = None) -> TableDraft:
        """Return a draft of a table, to which batches are appended: each is copied into the arena at once.

        When the `with` block ends, the table is published under `name`; when the block raises, it is dropped. `schema` is an
        Arrow schema (anything with `__arrow_c_schema__`), for tables to which perhaps nothing is appended.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-draft-table", keep=False) as arena:
        ...     with arena.draft_table("ids") as table:
        ...         for start in (0, 100):
        ...             table.append(pa.table({"id": range(start, start + 100)}))
        ...     arena["ids"].shape
        (200, 1)
        """
        return TableDraft(self, name, schema)


def _elements(shape: list[int], given: Any) -> tuple[list[int], Any]:
    """Return shape and element type as numpy has them: an element that is an array itself adds its axes to the shape."""
    # It is imported by whoever makes the first array.
    import numpy as np

    dtype = np.dtype(given)
    while dtype.subdtype is not None:
        shape, dtype = shape + list(dtype.shape), dtype.base
    return shape, dtype


def _shape(given: int | tuple[int, ...]) -> list[int]:
    lengths = list(given) if isinstance(given, Iterable) else [given]
    shape = [operator.index(length) for length in lengths]
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape cannot have negative lengths: {tuple(shape)}")
    return shape
