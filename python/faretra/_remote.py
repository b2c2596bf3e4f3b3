"""Arenas of a server, over Arrow Flight: in place where they are on this host, streamed where they are not."""

from __future__ import annotations

import json
import os
import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from faretra._errors import (
    ConnectionError,
    DeniedError,
    Error,
    ForkedError,
    InvalidError,
    MismatchError,
    NotFoundError,
    TimeoutError,
)
from faretra._info import Entries, Entry, TableInfo
from faretra._native import Table, _fields
from faretra._streamed import StreamedTable
from faretra._tables import need

if TYPE_CHECKING:
    from faretra._arena import Arena
    from faretra._place import Place

__all__ = ["RemoteArena", "connect"]

_SCHEMES = ("grpc", "grpc+tcp", "grpc+tls", "grpc+unix")

_MISSING: Any = object()

# What gRPC keeps threads for.
_connected: weakref.WeakSet[Any] = weakref.WeakSet()


def _in_child() -> None:
    """Keep what the parent connected for ever: to let go of it waits for threads that a child of a fork does not have."""
    inherited = list(_connected)
    _connected.clear()
    if inherited:
        import ctypes

        for one in inherited:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


os.register_at_fork(after_in_child=_in_child)


def connect(
    location: str,
    *,
    arena: str | None = None,
    token: str | None = None,
    tls_root_certs: str | os.PathLike[str] | bytes | None = None,
    in_place: bool = True,
    timeout: float | timedelta | None = None,
    untrusted: bool = False,
    trust_others: bool = False,
) -> RemoteArena:
    """Connect to a server of arenas (`faretra serve`), and return one of them, to be read as an opened arena is.

    What lies in an arena of this host is read in place: this process opens the arena itself, and none of the data goes
    through the socket. It is that arena by the machine, by the file and by the version, never by its name alone. Everything
    else is streamed. Needs pyarrow.

    Args:
        location: Where the server listens: `grpc://HOST:PORT`, or `grpc+tls://HOST:PORT`.
        arena: Which arena, if the server has several.
        token: What the server's `--token-file` has.
        tls_root_certs: Certificates that the server's is signed by, in PEM: a file's path, or bytes. The system's otherwise.
        in_place: Whether arenas of this host are read in place.
        timeout: How many seconds a call may take: to read a table that is streamed is one call. Otherwise as long as it
            takes.
        untrusted: How arenas of this host are opened; see `Arena.open`.
        trust_others: The same.

    Raises:
        ConnectionError: No server answers there, or one that speaks with TLS where this does not, or the other way round.
        DeniedError: The token is missing, or another one than the server's.
        TimeoutError: There was no answer in time.
        InvalidError: The location is none.

    >>> faretra.connect("grpc://127.0.0.1:1")
    Traceback (most recent call last):
    ...
    faretra.ConnectionError: no server answers at grpc://127.0.0.1:1...
    """
    return RemoteArena(
        location,
        arena=arena,
        token=token,
        tls_root_certs=tls_root_certs,
        in_place=in_place,
        timeout=timeout,
        options={"untrusted": untrusted, "trust_others": trust_others},
    )


class RemoteArena(Mapping[str, Any]):
    """An arena of a server: a mapping from names to tables, which are read as those of an `Arena`. `connect` makes one.

    The mapping has the names of tables and batches, and `BUNDLE/MEMBER` for members of bundles that are tables. A name may
    have a version, too: `"flights@7"`. What is read is a `faretra.Table` in place, or a `faretra.StreamedTable`, and is
    good after the connection was closed. There are no methods that write.

    Threads can share it. In a child of a fork it raises `ForkedError`: connect there.

    >>> import pyarrow as pa
    >>> with faretra.Arena.create("doc-remote", keep=False) as arena, served(arena) as location:
    ...     arena["flights"] = pa.table({"delay": [5, 20]})
    ...     with faretra.connect(location) as remote:
    ...         list(remote), remote["flights"].column("delay").sum(), type(remote["flights"])
    (['flights'], np.int64(25), <class 'faretra.Table'>)
    """

    # As mappings they would be equal when all their values are, and could not be keys.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        location: str,
        *,
        arena: str | None,
        token: str | None,
        tls_root_certs: str | os.PathLike[str] | bytes | None,
        in_place: bool,
        timeout: float | timedelta | None,
        options: dict[str, bool],
    ) -> None:
        """Connect: `faretra.connect` says what the arguments are."""
        scheme = _scheme(location)
        need("pyarrow", "faretra.connect")
        flight = _flight()
        certificates = _certificates(tls_root_certs)
        if certificates is not None and scheme != "grpc+tls":
            raise _invalid(
                f"certificates are for TLS, and {location} is without: write it as grpc+tls://HOST:PORT"
            )
        self._location, self._arena, self._name = location, arena, arena
        self._pid = os.getpid()
        self._in_place, self._options = in_place, options
        self._open: dict[Place, Arena] = {}
        self._seconds = _seconds(timeout)
        self._headers = [] if token is None else [(b"authorization", b"Bearer " + _token(token))]
        self._flight = flight
        self._client: Any = None
        with self._told():
            more = {} if certificates is None else {"tls_root_certs": certificates}
            self._client = flight.connect(location, **more)
        _connected.add(self._client)
        try:
            self._ask()
        except BaseException:
            self.close()
            raise

    def _ask(self) -> None:
        """Call once, so that whoever connects learns at once whether that is possible."""
        # Some other server of Flight may have no actions: it answers.
        with self._told(), suppress(NotImplementedError):
            list(self._client.list_actions(self._call()))

    @property
    def location(self) -> str:
        """Where the server listens."""
        return self._location

    @property
    def name(self) -> str | None:
        """The name of the arena, if one was asked for."""
        return self._arena

    @property
    def closed(self) -> bool:
        """Whether the connection was closed here."""
        return self._client is None

    def close(self) -> None:
        """Close the connection, and arenas that were opened for it. What was read stays.

        >>> with faretra.Arena.create("doc-remote-close", keep=False) as arena, served(arena) as location:
        ...     remote = faretra.connect(location)
        ...     remote.close()
        ...     remote.closed
        True
        """
        client, self._client = self._client, None
        arenas, self._open = self._open, {}
        if os.getpid() != self._pid:
            return
        for arena in arenas.values():
            arena.close()
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        which = "" if self._arena is None else f"'{self._arena}' "
        return f"<faretra.RemoteArena {which}at {self._location}{', closed' if self.closed else ''}>"

    # What there is.

    def keys(self) -> list[str]:  # type: ignore[override]
        """Return the names of the tables, sorted, as they are now.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-keys", keep=False) as arena, served(arena) as location:
        ...     arena["b"] = arena["a"] = pa.table({"x": [1]})
        ...     _ = arena.put_many("day", {"x": pa.table({"x": [1]})})
        ...     with faretra.connect(location) as remote:
        ...         remote.keys()
        ['a', 'b', 'day/x']
        """
        return sorted(name for name, _ in self._list())

    def values(self) -> list[Any]:  # type: ignore[override]
        """Return every table, in the order of the names.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-values", keep=False) as arena, served(arena) as location:
        ...     arena["a"] = pa.table({"x": [1]})
        ...     with faretra.connect(location) as remote:
        ...         [table.num_rows for table in remote.values()]
        [1]
        """
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, Any]]:  # type: ignore[override]
        """Return each name and its table. Names that go meanwhile are left out.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-items", keep=False) as arena, served(arena) as location:
        ...     arena["a"] = pa.table({"x": [1]})
        ...     with faretra.connect(location) as remote:
        ...         [(name, table.num_rows) for name, table in remote.items()]
        [('a', 1)]
        """
        found = ((name, self.get(name, _MISSING)) for name in self.keys())
        return [(name, value) for name, value in found if value is not _MISSING]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._list())

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        client = self._alive()
        try:
            # This keeps nothing at the server, as an info does.
            with self._told(name):
                client.get_schema(self._descriptor(name), self._call())
        except (NotFoundError, InvalidError):
            return False
        return True

    def entries(self) -> Entries:
        """Return what each name stands for, without reading it: a list, sorted by name, that prints as a table.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-entries", keep=False) as arena, served(arena) as location:
        ...     arena["flights"] = pa.table({"delay": [5, 20]})
        ...     with faretra.connect(location) as remote:
        ...         [(entry.name, entry.version, entry.rows) for entry in remote.entries()]
        [('flights', 1, 2)]
        """
        facts = [self._facts(name, info) for name, info in self._list()]
        common = ("name", "version", "kind", "rows", "nbytes", "published")
        entries = [Entry(**{key: getattr(fact, key) for key in common}) for fact in facts]
        return Entries(sorted(entries, key=lambda entry: entry.name))

    def info(self, name: str) -> TableInfo:
        """Return what `name` stands for, without reading the table: rows, columns, version and size.

        `copied` says how many bytes a read would copy: 0 if the table is read in place. `published` and `batches` are 0
        where a server does not say them: one that is none of Faretra's, or of a feed.

        Raises:
            NotFoundError: There is nothing of that name.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-info", keep=False) as arena, served(arena) as location:
        ...     arena["flights"] = pa.table({"delay": [5, 20]})
        ...     with faretra.connect(location) as remote:
        ...         remote.info("flights").fields
        (('delay', 'Int64', True),)
        """
        return self._facts(name, self._info(name))

    def version(self, name: str) -> int:
        """Return the version of a name: 0 if there is nothing of that name, or if the server does not say.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-version", keep=False) as arena, served(arena) as location:
        ...     arena["flights"] = pa.table({"delay": [5, 20]})
        ...     with faretra.connect(location) as remote:
        ...         remote.version("flights"), remote.version("nothing")
        (1, 0)
        """
        try:
            return self.info(name).version
        except NotFoundError:
            return 0

    # Reading.

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str):
            raise TypeError(f"a name is text, not {type(name).__name__}")
        info = self._info(name)
        table = self._find(info)
        if table is not None:
            return table
        return self._streamed(name, info)

    def get_versioned(self, name: str) -> tuple[Any, int]:
        """Return a table and its version.

        Raises:
            NotFoundError: There is nothing of that name.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-versioned", keep=False) as arena, served(arena) as location:
        ...     arena["flights"] = pa.table({"delay": [5, 20]})
        ...     with faretra.connect(location) as remote:
        ...         remote.get_versioned("flights")[1]
        1
        """
        table = self[name]
        return table, table.version

    def snapshot(self, name: str) -> Any:
        """Return every batch that the feed `name` keeps now, as one table.

        Raises:
            NotFoundError: There is no such feed, or it has no items yet.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-snapshot", keep=False) as arena, served(arena) as location:
        ...     feed = arena.feed("ticks", capacity=10, mixed=False)
        ...     feed.append(pa.record_batch({"price": [1.5, 1.6]}))
        ...     with faretra.connect(location) as remote:
        ...         remote.snapshot("ticks")["price"]
        array([1.5, 1.6])
        """
        return self[f"{name}@snapshot"]

    def reader(self, name: str) -> Any:
        """Return a `pyarrow.RecordBatchReader` of a table: for what memory has no room for.

        Batches are read one at a time. Of a feed it gives the items that the feed keeps, and then new ones as they are
        appended.

        Raises:
            NotFoundError: There is nothing of that name.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-reader", keep=False) as arena, served(arena) as location:
        ...     arena["flights"] = pa.table({"delay": [5, 20]})
        ...     with faretra.connect(location) as remote:
        ...         sum(batch.num_rows for batch in remote.reader("flights"))
        2
        """
        pyarrow = need("pyarrow", "reader()")
        info = self._info(name, feeds=True)
        table = self._find(info)
        if table is not None:
            return pyarrow.RecordBatchReader.from_stream(table)
        with self._told(name):
            stream = self._alive().do_get(_endpoint(info).ticket, self._call())
            schema = stream.schema
        _connected.add(stream)

        def batches() -> Iterator[Any]:
            with self._told(name):
                for chunk in stream:
                    if chunk.data is not None:
                        yield chunk.data

        return pyarrow.RecordBatchReader.from_batches(schema, batches())

    def sql(self, query: str) -> Any:
        """Run a statement at the server, where names of the arena are tables, and return its rows: a `StreamedTable`.

        `Arena.sql` says which names there are. Here feeds and channels are tables, too, which have no end: give them a
        `LIMIT`. Of a server of several arenas, write `ARENA.NAME`.

        Raises:
            InvalidError: The statement is wrong; the message says where.

        >>> import pyarrow as pa
        >>> with faretra.Arena.create("doc-remote-sql", keep=False) as arena, served(arena) as location:
        ...     arena["flights"] = pa.table({"delay": [5, 20]})
        ...     with faretra.connect(location) as remote:
        ...         remote.sql("SELECT sum(delay) AS late FROM flights")["late"]
        array([25])
        """
        with self._told():
            descriptor = self._flight.FlightDescriptor.for_command(_statement(query))
            info = self._alive().get_flight_info(descriptor, self._call())
        return self._streamed("sql", info)

    def _find(self, info: Any) -> Table | None:
        """Return the table in the arena itself, if that is here and has this very version."""
        if not self._in_place or not info.endpoints:
            return None
        from faretra._place import Spot

        for location in _endpoint(info).locations:
            spot = Spot.parse(location.uri.decode("utf-8", "replace"))
            if spot is None:
                continue
            arena = self._open.get(spot.place)
            if arena is None:
                # What is put in it is its users': a server says where it is, and no more than that.
                arena = spot.place.open(**self._options, allow_pickle=False)
                if arena is None:
                    continue
                # One seat for all that is read; of two threads, the second leaves its own.
                known = self._open.setdefault(spot.place, arena)
                if known is not arena:
                    arena.close()
                    arena = known
            try:
                found = arena.get(spot.name)
            except Error:
                continue
            if isinstance(found, Table) and found.version == spot.version:
                return found
        return None

    def _streamed(self, name: str, info: Any) -> StreamedTable:
        with self._told(name):
            table = self._alive().do_get(_endpoint(info).ticket, self._call()).read_all()
        return StreamedTable(table, name, _version(info))

    # Calls, and what is wrong with them.

    def _alive(self) -> Any:
        if os.getpid() != self._pid:
            error = ForkedError(
                "the connection was inherited through `fork`; connect anew in the child: `faretra.connect`"
            )
            error.code = "forked"
            raise error
        if self._client is None:
            raise _invalid("this connection was closed: connect again with `faretra.connect`")
        return self._client

    def _call(self) -> Any:
        return self._flight.FlightCallOptions(timeout=self._seconds, headers=self._headers)

    def _descriptor(self, name: str) -> Any:
        try:
            path = [part.encode() for part in (self._arena, name) if part is not None]
        except UnicodeEncodeError:
            raise _invalid(f"{name!r} is no name: it cannot be written as UTF-8") from None
        return self._flight.FlightDescriptor.for_path(*path)

    def _info(self, name: str, feeds: bool = False) -> Any:
        with self._told(name):
            info = self._alive().get_flight_info(self._descriptor(name), self._call())
        if info.total_records < 0 and not feeds:
            error = MismatchError(
                f"`{name}` is a feed, which has no end; `snapshot({name!r})` reads what it keeps, and `reader({name!r})` "
                "follows it",
                name=name,
            )
            error.code = "mismatch"
            raise error
        return info

    def _list(self) -> list[tuple[str, Any]]:
        """Return names and infos of tables."""
        with self._told():
            infos = list(self._alive().list_flights(options=self._call()))
        found = []
        for info in infos:
            path = [part.decode("utf-8", "replace") for part in info.descriptor.path or []]
            if not path or info.total_records < 0:
                continue
            if len(path) > 1 and self._arena is None:
                arenas = sorted({info.descriptor.path[0].decode("utf-8", "replace") for info in infos})
                raise _invalid(
                    f"the server has several arenas, {', '.join(arenas)}: say which, with `connect(.., arena=..)`"
                )
            if len(path) == 1 or path[0] == self._arena:
                found.append((path[-1], info))
        return found

    def _facts(self, name: str, info: Any) -> TableInfo:
        table = self._find(info)
        said = _said(info)
        return TableInfo(
            name=name,
            version=_version(info),
            kind="table",
            rows=info.total_records,
            nbytes=info.total_bytes,
            published=float(said.get("published", 0)),
            fields=tuple(_fields(info.schema)),
            batches=int(said.get("batches", 0)),
            copied=info.total_bytes if table is None else 0,
        )

    @contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        """Make the package's errors of those of Flight."""
        try:
            yield
        except Error:
            raise
        except Exception as error:
            made = self._translated(error, name)
            if made is None:
                raise
            raise made from error

    def _translated(self, error: Exception, name: str) -> Error | None:
        pyarrow, flight = need("pyarrow", "faretra.connect"), self._flight
        text = _plain(str(error))
        made: Error
        if isinstance(error, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
            made = DeniedError(f"{self._location}: {text}; give the server's with `connect(.., token=..)`")
            made.code = "os"
        elif isinstance(error, flight.FlightTimedOutError):
            made = TimeoutError(f"{self._location} did not answer within {self._seconds} s")
            made.code = "timed_out"
        elif isinstance(error, flight.FlightUnavailableError) or "failed to connect" in text:
            hint = "whether the server has TLS (grpc+tls://) or not (grpc://), and whether its certificate is known here"
            made = ConnectionError(
                f"no server answers at {self._location} ({text}); see whether it runs, {hint}"
            )
            made.code = "connection"
        elif isinstance(error, pyarrow.ArrowKeyError):
            made = NotFoundError(text, name=name)
            made.code = "not_found"
        elif isinstance(error, pyarrow.ArrowInvalid):
            made = _invalid(text)
        elif isinstance(error, flight.FlightError | pyarrow.ArrowException | OSError):
            made = ConnectionError(f"{self._location}: {text}")
            made.code = "connection"
        else:
            return None
        return made


def _flight() -> Any:
    try:
        from pyarrow import flight
    except ImportError as error:
        text = (
            "faretra.connect needs pyarrow.flight, which this pyarrow was built without: pip install pyarrow"
        )
        raise ModuleNotFoundError(text, name="pyarrow.flight") from error
    return flight


def _scheme(location: str) -> str:
    scheme, mark, rest = location.partition("://")
    if scheme not in _SCHEMES or not mark or not rest:
        raise _invalid(
            f"{location!r} is no location of a server: write it as grpc://HOST:PORT, or grpc+tls://HOST:PORT"
        )
    if scheme != "grpc+unix" and not re.fullmatch(r".+:\d+/?", rest):
        raise _invalid(f"{location!r} says no port: write it as {scheme}://HOST:PORT")
    return scheme


def _certificates(given: str | os.PathLike[str] | bytes | None) -> bytes | None:
    if given is None or isinstance(given, bytes):
        pem = given
    else:
        with open(given, "rb") as file:
            pem = file.read()
    if pem is not None and b"-----BEGIN CERTIFICATE-----" not in pem:
        raise _invalid(
            "`tls_root_certs` has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"
        )
    return pem


def _token(token: str) -> bytes:
    # What a header may have; a line's end comes along from files.
    token = token.strip()
    if not token or not all(" " <= char <= "~" for char in token):
        raise _invalid("a token has printable characters of ASCII, and at least one")
    return token.encode("ascii")


def _seconds(timeout: float | timedelta | None) -> float | None:
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if not seconds > 0:
        raise _invalid(f"a timeout is a number of seconds above 0, not {seconds}")
    # Longer than a century is for ever.
    return seconds if seconds < 3.2e9 else None


def _endpoint(info: Any) -> Any:
    if len(info.endpoints) != 1:
        raise _invalid(
            f"what one endpoint has is read, and the server names {len(info.endpoints)}: it is none of Faretra's"
        )
    return info.endpoints[0]


def _version(info: Any) -> int:
    """Return the version that an info is of: a server of arenas has it in its tickets."""
    try:
        said = json.loads(info.endpoints[0].ticket.ticket)
        version, name = said["version"], said["name"]
    except (IndexError, KeyError, TypeError, ValueError):
        return 0
    # A snapshot has a number, and no version.
    return version if isinstance(version, int) and not str(name).endswith("@snapshot") else 0


def _said(info: Any) -> dict[str, float]:
    """Return the numbers that a server of arenas says of a table, and Flight has no place for."""
    try:
        said = json.loads(info.app_metadata)
        return {key: value for key, value in said.items() if isinstance(value, int | float)}
    except (AttributeError, TypeError, ValueError):
        return {}


def _statement(query: str) -> bytes:
    """Return a statement as Flight SQL has it: a message in an `Any`, both of protobuf."""
    message = _field(1, query.encode())
    name = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return _field(1, name) + _field(2, message)


def _field(number: int, content: bytes) -> bytes:
    length, rest = bytearray(), len(content)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    length.append(rest)
    return bytes([number << 3 | 2]) + bytes(length) + content


def _plain(text: str) -> str:
    """Return what the server said, without what Flight writes around it."""
    text = re.sub(r"^(Flight )?(returned|error).*?with message: ", "", text, flags=re.S | re.I)
    text = re.sub(r"^gRPC returned .*?with message: ", "", text, flags=re.S)
    text = re.split(r"\. (?:Client context|gRPC client debug context|Detail): |\. Detail: ", text)[0]
    return text.strip().rstrip(".")


def _invalid(text: str) -> InvalidError:
    error = InvalidError(text)
    error.code = "invalid"
    return error


# Where people find them is where they are, as in `faretra.__init__`.
RemoteArena.__module__ = connect.__module__ = "faretra"
