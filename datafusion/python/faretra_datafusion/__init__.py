"""Arenas in a session of Apache DataFusion, by the engine's own interface for tables of others.

    import datafusion, faretra, faretra_datafusion

    arena = faretra.Arena.open("air")
    session = datafusion.SessionContext()
    session.catalog().register_schema("air", faretra_datafusion.schema(arena))
    session.sql("SELECT carrier, avg(delay) FROM air.flights WHERE day > 300 GROUP BY carrier").show()
    session.sql("INSERT INTO air.flights SELECT * FROM air.late").collect()

`faretra.datafusion.schema`, which the package `faretra` has without this one, shows the engine batches in memory. Here
the engine meets the tables themselves: batches that a filter rules out are not read, feeds and channels are tables without
an end, and `INSERT INTO` publishes. Rows are read where they lie in both.

This package is a library of its own, with an attachment of its own to the arena, which lasts as long as the schema, its
tables and what a session keeps of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faretra_datafusion._native import Schema, Table

if TYPE_CHECKING:
    from faretra import Arena

__all__ = ["Schema", "Table", "schema", "table"]


def schema(arena: Arena) -> Schema:
    """Return an arena as a schema, for `Catalog.register_schema`: a name is what it is when a statement is planned.

    | a name in SQL | is |
    |---|---|
    | `flights` | the current batch or table of that name |
    | `"flights@7"` | its version 7: the current one, or one that `Schema.pin` keeps |
    | `"day/delays"` | the member `delays` of the bundle `day` |
    | `"days/*"` | all batches and tables whose names match, of one schema, as one |
    | `ticks` | a feed, without an end, from the oldest item that it keeps; `"ticks@new"` from the next one on |
    | `"ticks@snapshot"` | what the feed keeps now, with an end |
    | `jobs` | a channel, without an end; the query is one of its receivers |

    Feeds and channels are tables if they were made with `mixed=False`. `INSERT INTO` appends to a table, sends to a channel,
    or appends to a feed; `INSERT OVERWRITE` replaces a table, and `DROP TABLE` removes a name. In place of `CREATE TABLE ..
    AS`, `arena["new"] = session.sql("SELECT ..")` publishes. An arena that was opened with `untrusted=True` is not trusted
    here either.

    Raises:
        ArenaNotFoundError: The arena was removed.
        Error: Of the arena, as `Arena.open` raises it.
    """
    return Schema(arena.path, arena.name, arena.untrusted)


def table(arena: Arena, name: str) -> Table:
    """Return what a name (see `schema`) stands for now, for `SessionContext.register_table` and `read_table`.

    A batch or table is pinned: the session goes on reading that version.

    Raises:
        NotFoundError: There is nothing of this name.
        Error: Of the arena, as `Arena.open` raises it.
    """
    return schema(arena).table(name)
