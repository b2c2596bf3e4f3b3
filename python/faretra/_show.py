"""What arenas, tables and their parts look like at a prompt and in a notebook.

All text that comes from an arena (names, columns, values) is somebody else's: it is escaped before it becomes HTML, and cut
when it is long.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from faretra._sizes import shown

if TYPE_CHECKING:
    from faretra._arena import Arena
    from faretra._info import Entry
    from faretra._native import Bundle, Table
    from faretra._streamed import StreamedTable

# Rows of names, columns, rows of a table, and characters of a value that are shown at most.
NAMES, COLUMNS, HEAD, CELL = 50, 20, 10, 48

_STYLE = "text-align:{};padding:2px 10px;vertical-align:top"
_CAPTION = "white-space:nowrap;caption-side:top;text-align:left;padding:2px 10px;font-weight:bold"
_NOTE = "opacity:0.65;font-weight:normal"


def cut(text: str, most: int = CELL) -> str:
    """Return `text` on one line without control characters, and not longer than `most`."""
    text = "".join(" " if unicodedata.category(char)[0] == "C" else char for char in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    """Return a table as text, its columns two spaces apart."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            _pad(cell, width, to_right) for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1
        for char in text
    )


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def html_grid(
    caption: str,
    note: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[bool],
    more: str = "",
    second: Sequence[str] = (),
) -> str:
    """Return a table as HTML. Every text is escaped here. `second` is a second line of the head."""
    sides = [_STYLE.format("right" if to_right else "left") for to_right in right]
    parts = ['<table style="border-collapse:collapse">']
    parts.append(
        f'<caption style="{_CAPTION}">{escape(caption)} <span style="{_NOTE}">{escape(note)}</span></caption>'
    )
    if head:
        cells = "".join(
            f'<th style="{side}">{escape(cell)}</th>' for cell, side in zip(head, sides, strict=True)
        )
        under = _html_row(second, sides, _NOTE) if second else ""
        parts.append(f"<thead><tr>{cells}</tr>{under}</thead>")
    parts.append("<tbody>")
    parts += [_html_row(row, sides) for row in rows]
    if more:
        parts.append(
            f'<tr><td colspan="{max(len(sides), 1)}" style="{_STYLE.format("left")};{_NOTE}">{escape(more)}</td></tr>'
        )
    parts.append("</tbody></table>")
    return "".join(parts)


def _html_row(cells: Sequence[str], sides: Sequence[str], note: str = "") -> str:
    inside = "".join(
        f'<td style="{side};{note}">{escape(cell)}</td>' for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{inside}</tr>"


# Names.

_ENTRY_HEAD = ("name", "kind", "rows", "size", "version")
_ENTRY_RIGHT = (False, False, True, True, True)


def _entry(entry: Entry) -> tuple[str, ...]:
    return (cut(entry.name), entry.kind, str(entry.rows), shown(entry.nbytes), str(entry.version))


def _more(all_: int, most: int, what: str) -> str:
    return f"... and {all_ - most} more {what}" if all_ > most else ""


def entries_text(entries: Sequence[Entry]) -> str:
    """Return entries as a table of text."""
    if not entries:
        return "(no names)"
    text = grid(_ENTRY_HEAD, map(_entry, entries[:NAMES]), _ENTRY_RIGHT)
    more = _more(len(entries), NAMES, "names")
    return f"{text}\n{more}" if more else text


def entries_html(entries: Sequence[Entry]) -> str:
    """Return entries as a table of HTML."""
    rows = map(_entry, entries[:NAMES])
    return html_grid(
        f"{len(entries)} names", "", _ENTRY_HEAD, rows, _ENTRY_RIGHT, _more(len(entries), NAMES, "names")
    )


def arena_html(arena: Arena) -> str:
    """Return the arena's names, what each is, and its memory, as HTML."""
    if arena.closed:
        return html_grid("Arena", "closed", (), (), ())
    entries, stats = arena.entries(), arena.stats()
    rows = []
    for entry in entries[:NAMES]:
        name, kind, _, nbytes, version = _entry(entry)
        kind, what = _what(arena, entry)
        rows.append((name, kind, what, nbytes, version))
    note = f"{len(entries)} names, {shown(stats.live)} in use of {shown(stats.limit)}, {stats.participants} "
    note += "process" if stats.participants == 1 else "processes"
    head = ("name", "kind", "what", "size", "version")
    right = (False, False, False, True, True)
    return html_grid(f"Arena {cut(arena.name)}", note, head, rows, right, _more(len(entries), NAMES, "names"))


def _what(arena: Arena, entry: Entry) -> tuple[str, str]:
    from faretra._errors import Error

    try:
        info = arena.info(entry.name)
    except (Error, KeyError):
        # Channels and locks have no value, and a name may go meanwhile.
        return entry.kind, ""
    return info.kind, summary(info)


def summary(info: Entry) -> str:
    """Return what a value is, in a few words."""
    from faretra._info import ArrayInfo, TableInfo

    if isinstance(info, ArrayInfo):
        return cut(f"{info.dtype} {info.shape}")
    if isinstance(info, TableInfo):
        return f"{info.rows:,} rows x {len(info.fields)} columns"
    if info.kind == "object":
        return "Python's: pickled"
    return f"{info.rows:,} {'bytes' if info.kind == 'bytes' else 'members'}"


# Values.


def info_text(info: Any) -> str:
    """Return what an `ArrayInfo` or a `TableInfo` tells, as text."""
    head = f"<faretra.{type(info).__name__} '{cut(info.name)}' version {info.version}: "
    tail = f"{shown(info.nbytes)} in the arena, {info.copied} bytes copied when it is read>"
    if hasattr(info, "order"):
        return f"{head}{info.dtype} {info.shape}, order {info.order}, {tail}"
    return "\n".join([f"{head}{summary(info)}, {tail}", *_columns_text(info.fields)])


def info_html(info: Any) -> str:
    """Return what an `ArrayInfo` or a `TableInfo` tells, as HTML."""
    note = f"version {info.version}, {shown(info.nbytes)} in the arena, {info.copied} bytes copied when it is read"
    if hasattr(info, "order"):
        rows = [("dtype", cut(str(info.dtype))), ("shape", str(info.shape)), ("order", info.order)]
        return html_grid(f"Array {cut(info.name)}", note, (), rows, (False, False))
    note = f"{summary(info)}, {note}"
    return html_grid(f"Table {cut(info.name)}", note, *_columns_html(info.fields))


def _columns_text(fields: Sequence[tuple[str, str, bool]]) -> list[str]:
    lines = [f"  {cut(name)}: {cut(kind)}" for name, kind, _ in fields[:COLUMNS]]
    return lines + ([f"  {more}"] if (more := _more(len(fields), COLUMNS, "columns")) else [])


def _columns_html(fields: Sequence[tuple[str, str, bool]]) -> tuple[Any, ...]:
    rows = [(cut(name), cut(kind), "yes" if nulls else "no") for name, kind, nulls in fields[:COLUMNS]]
    return ("column", "type", "nulls"), rows, (False, False, False), _more(len(fields), COLUMNS, "columns")


def table_text(table: Table | StreamedTable) -> str:
    """Return the table's schema, as text."""
    rows, columns = table.shape
    size = f"{rows} rows x {columns} columns, {shown(table.nbytes)}"
    first = f"<faretra.{type(table).__name__} '{cut(table.name)}' version {table.version}: {size}>"
    return "\n".join([first, *_columns_text(table.fields)])


def table_html(table: Table | StreamedTable) -> str:
    """Return the table's schema and first rows, as HTML. The rows need pyarrow; without it only the schema is shown."""
    rows, columns = table.shape
    where = "in the arena, 0 bytes copied" if type(table).__name__ == "Table" else "in this process"
    note = f"version {table.version}, {rows:,} rows x {columns} columns, {shown(table.nbytes)} {where}"
    caption = f"Table {cut(table.name)}"
    fields = table.fields
    values = _head(table)
    if values is None:
        return html_grid(caption, note, *_columns_html(fields))
    shown_fields = fields[:COLUMNS]
    right = [
        not kind.startswith(("Utf8", "LargeUtf8", "Bin", "List", "Struct")) for _, kind, _ in shown_fields
    ]
    head = [cut(name) for name, _, _ in shown_fields]
    kinds = [cut(kind, 24) for _, kind, _ in shown_fields]
    more = [_more(rows, len(values), "rows"), _more(columns, COLUMNS, "columns")]
    return html_grid(caption, note, head, values, right, " ".join(filter(None, more)), kinds)


def _head(table: Table | StreamedTable) -> list[list[str]] | None:
    """Return the first rows as text, or `None` if nobody is there to read them."""
    try:
        pa: Any = import_module("pyarrow")
    except ImportError:
        return None
    rows: list[list[str]] = []
    for index in range(table.num_batches):
        batch = pa.record_batch(table.batch(index)).slice(0, HEAD - len(rows))
        columns = batch.columns[:COLUMNS]
        rows += [[_cell(column[row]) for column in columns] for row in range(batch.num_rows)]
        if len(rows) == HEAD:
            break
    return rows


def _cell(scalar: Any) -> str:
    """One value as text. Of a long text, only the first part is read."""
    if not scalar.is_valid:
        return "null"
    if hasattr(scalar, "as_buffer"):
        part = bytes(memoryview(scalar.as_buffer())[: 4 * CELL])
        text = "string" in str(scalar.type)
        return cut(part.decode("utf-8", "ignore") if text else repr(part))
    values = getattr(scalar, "values", None)
    if values is not None and not callable(values) and len(values) > HEAD:
        return cut(f"[{', '.join(_cell(value) for value in values.slice(0, HEAD))}, ...]")
    return cut(str(scalar.as_py()))


def bundle_text(bundle: Bundle) -> str:
    """Return the bundle's members, as text."""
    names = bundle.keys()
    listed = ", ".join(repr(cut(name)) for name in names[:COLUMNS])
    more = _more(len(names), COLUMNS, "members")
    return f"<faretra.Bundle '{cut(bundle.name)}' version {bundle.version}: {listed}{' ' * bool(more)}{more}>"


def bundle_html(bundle: Bundle) -> str:
    """Return the bundle's members and what each is, as HTML."""
    names = bundle.keys()
    rows = [(cut(name), _member(bundle, name)) for name in names[:COLUMNS]]
    note = (
        f"version {bundle.version}, {len(names)} members, {shown(bundle.nbytes)} in the arena, 0 bytes copied"
    )
    more = _more(len(names), COLUMNS, "members")
    return html_grid(f"Bundle {cut(bundle.name)}", note, ("member", "what"), rows, (False, False), more)


def _member(bundle: Bundle, name: str) -> str:
    from faretra._errors import Error

    try:
        value = bundle[name]
    except (Error, ValueError, AttributeError, ImportError) as error:
        return cut(str(error))
    if hasattr(value, "dtype"):
        return cut(f"array: {value.dtype} {value.shape}")
    if hasattr(value, "column_names"):
        return f"table: {value.shape[0]:,} rows x {value.shape[1]} columns"
    if isinstance(value, memoryview):
        return f"bytes: {value.nbytes:,}"
    return cut(f"{type(value).__name__}")
