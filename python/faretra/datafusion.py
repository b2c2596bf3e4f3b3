"""Arenas in a session of Apache DataFusion: names are tables, which the engine reads where they lie.

    import datafusion, faretra.datafusion

    session = datafusion.SessionContext()
    session.catalog().register_schema("air", faretra.datafusion.schema(air))
    session.catalog().register_schema("sea", faretra.datafusion.schema(sea))
    session.sql("SELECT * FROM air.flights JOIN sea.ports USING (port)")

For one arena, `Arena.sql` does that.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import datafusion
import pyarrow
from datafusion.catalog import SchemaProvider

from faretra._arena import Arena
from faretra._errors import Error, InvalidError, MismatchError, NotFoundError, TooLargeError
from faretra._native import Bundle, Table

__all__ = ["schema"]


def schema(arena: Arena) -> ArenaSchema:
    """Return an arena as a schema of DataFusion, for `Catalog.register_schema`: `Arena.sql` says which names there are.

    A name is looked up, and pinned, when a statement is planned. Nothing is copied. The schema is read only.

    >>> import datafusion as df, pyarrow as pa
    >>> with faretra.Arena.create("doc-df-schema", keep=False) as arena:
    ...     arena["flights"] = pa.table({"delay": [5, 20]})
    ...     session = df.SessionContext()
    ...     session.catalog().register_schema("air", faretra.datafusion.schema(arena))
    ...     session.sql("SELECT sum(delay) AS late FROM air.flights").to_pydict()
    {'late': [25]}
    """
    return ArenaSchema(arena)


class _Names(list[str]):
    """A list of names. The engine asks for it as an attribute, and people call it as a method."""

    def __call__(self) -> _Names:
        return self


class ArenaSchema(SchemaProvider):
    """The names of an arena as tables of DataFusion, which asks for each that a statement names."""

    def __init__(self, arena: Arena) -> None:
        """Show the names of `arena`, also those that come."""
        self._arena = arena
        # It makes plans of batches, and has no names itself.
        self._session = datafusion.SessionContext()
        # What went wrong, and names that were asked for in vain.
        self.failed: Error | None = None
        self.missing: list[str] = []

    @property
    def table_names(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The names of tables and batches, and `BUNDLE/MEMBER` of members that are tables."""
        return _Names(sorted(self._all()))

    def table_exist(self, name: str) -> bool:
        """Return whether a name stands for a table."""
        try:
            return bool(self._find(name))
        except Error:
            return False

    def table(self, name: str) -> Any:
        """Return the table that a name stands for now, pinned; `None` if there is none."""
        try:
            found = self._find(name)
            if found:
                return self._view(name, found)
        except Error as error:
            self.failed = self.failed or error
            raise
        self.missing.append(name)
        return None

    def not_found(self, name: str) -> NotFoundError:
        """Return the error for a name that there is not."""
        near = get_close_matches(name, self._all(), 3, 0.5)
        hint = f"did you mean {' or '.join(repr(one) for one in near)}? " if near else ""
        text = f"no table `{name}` in arena `{self._arena.name}`; {hint}SQL folds names without quotes to lower case, and "
        error = NotFoundError(text + "`arena.entries()` tells which there are", name=name)
        error.code = "not_found"
        return error

    def register_table(self, name: str, table: Any) -> None:
        """Refuse: nothing is published by a statement."""
        raise _read_only()

    def deregister_table(self, name: str, cascade: bool = False) -> None:
        """Refuse: nothing is removed by a statement."""
        raise _read_only()

    def _all(self) -> Iterator[str]:
        for entry in self._arena.entries():
            if entry.kind in ("table", "batch"):
                yield entry.name
            elif entry.kind == "bundle":
                yield from (f"{entry.name}/{member}" for member, _ in self._members(entry.name))

    def _bundle(self, name: str) -> Bundle | None:
        try:
            if self._arena.info(name).kind != "bundle":
                return None
            found = self._arena[name]
        except (NotFoundError, InvalidError, TooLargeError):
            return None
        return found if isinstance(found, Bundle) else None

    def _members(self, name: str) -> Iterator[tuple[str, Bundle]]:
        bundle = self._bundle(name)
        for member in () if bundle is None else bundle:
            if bundle is not None and bundle._kind(member) in ("table", "batch"):
                yield member, bundle

    def _find(self, name: str) -> list[Table]:
        found = self._named(name)
        if found is None:
            found = self._suffixed(name)
        if found is None:
            found = self._member(name)
        if found is not None:
            return [found]
        return list(self._pattern(name)) if set(name) & set("*?") else []

    def _named(self, name: str) -> Table | None:
        """Return the table or batch that has this very name."""
        try:
            kind = self._arena.info(name).kind
            if kind in ("table", "batch"):
                found = self._arena[name]
                if isinstance(found, Table):
                    return found
        except (NotFoundError, InvalidError, TooLargeError):
            # What cannot be a name may be a pattern.
            return None
        if kind == "bundle":
            members = ", ".join(f'"{name}/{member}"' for member, _ in self._members(name))
            raise _mismatch(
                name,
                f"`{name}` is a bundle: name one of its members, {members or 'of which none is a table'}",
            )
        if kind == "feed":
            raise _mismatch(
                name, f'`{name}` is a feed, which has no end: "{name}@snapshot" is what it keeps now'
            )
        raise _mismatch(
            name,
            f"`{name}` is of kind {kind}: tables are batches, tables, members of bundles and snapshots of feeds",
        )

    def _suffixed(self, name: str) -> Table | None:
        base, at, suffix = name.rpartition("@")
        if not at or not base:
            return None
        if suffix == "snapshot":
            return self._arena.snapshot(base)
        if not re.fullmatch(r"[0-9]+", suffix):
            return None
        found = self._named(base) or self._member(base)
        if found is None or found.version == int(suffix):
            return found
        error = NotFoundError(
            f"`{base}` is at version {found.version}, and version {int(suffix)} is not there any more: who reads a version "
            "keeps it, and nobody else can",
            name=name,
        )
        error.code = "not_found"
        raise error

    def _member(self, name: str) -> Table | None:
        """Return the member of a bundle that a name with a `/` stands for."""
        for at in (match.start() for match in re.finditer("/", name)):
            bundle, member = self._bundle(name[:at]), name[at + 1 :]
            if bundle is not None and member in bundle:
                kind = bundle._kind(member)
                found = bundle[member] if kind in ("table", "batch") else None
                if isinstance(found, Table):
                    return found
                raise _mismatch(name, f"`{name}` is of kind {kind}, no batch or table")
        return None

    def _pattern(self, pattern: str) -> Iterator[Table]:
        """Give what a pattern names, in the order of the names: `*` is any text, `?` any one character."""
        # A bracket is itself.
        fits = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
        for name in sorted(set(self._all())):
            if fits(name):
                try:
                    found = self._named(name) or self._member(name)
                except MismatchError:
                    continue
                # It may have been removed since.
                if found is not None:
                    yield found

    def _view(self, name: str, tables: list[Table]) -> Any:
        """Return tables of the same columns as one that the engine scans: their batches, in memory as they are."""
        first = pyarrow.schema(tables[0])
        for table in tables[1:]:
            other = pyarrow.schema(table)
            if not first.equals(other):
                raise _mismatch(
                    name,
                    f"the tables that {name!r} names differ in their columns: `{tables[0].name}` has {_columns(first)}, "
                    f"`{table.name}` {_columns(other)}",
                )
        batches = []
        for table in tables:
            for index in range(table.num_batches):
                batch = pyarrow.record_batch(table.batch(index))
                # What is said of the columns beside their types may differ.
                batches.append(batch if len(tables) == 1 else batch.from_arrays(batch.columns, schema=first))
        return self._session.read_batches(batches or [pyarrow.RecordBatch.from_pylist([], schema=first)])


def _columns(of: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in of)


def _mismatch(name: str, text: str) -> MismatchError:
    error = MismatchError(text, name=name)
    error.code = "mismatch"
    return error


def _read_only() -> InvalidError:
    return _invalid(
        "statements only read an arena here; what one gives is published by `arena[name] = arena.sql(..)`"
    )


def _invalid(text: str) -> InvalidError:
    error = InvalidError(text)
    error.code = "invalid"
    return error


def _query(arena: Arena, query: str, values: dict[str, Any]) -> Any:
    """Plan a statement over an arena: what `Arena.sql` does."""
    tables = ArenaSchema(arena)
    session = datafusion.SessionContext(datafusion.SessionConfig().with_information_schema(True))
    catalog = session.catalog()
    catalog.register_schema("public", tables)
    reading = datafusion.SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
    try:
        frame = session.sql(query, reading, param_values=values or None)
    except Exception as error:
        text = str(error).strip()
        if re.search(r"\b(DDL|DML|Statement) not supported", text):
            raise _read_only() from error
        if tables.failed is not None:
            raise tables.failed from None
        for name in tables.missing:
            if f"{name}' not found" in text:
                raise tables.not_found(name) from None
        raise _invalid(text) from error
    # What is made of a session needs it, and does not keep it.
    frame.__dict__["_faretra_session"] = session
    return frame
