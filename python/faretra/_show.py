"""What a table, an arena and their parts look like at a prompt and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faretra._sizes import shown

if TYPE_CHECKING:
    from faretra._native import Table


def table_text(table: Table) -> str:
    """Return the table's schema, as text."""
    rows, columns = table.shape
    size = f"{rows} rows x {columns} columns, {shown(table.nbytes)}"
    lines = [f"<faretra.Table '{table.name}' version {table.version}: {size}>"]
    lines += [f"  {name}: {kind}" for name, kind, _ in table.fields[:20]]
    if columns > 20:
        lines.append(f"  ... and {columns - 20} more columns")
    return "\n".join(lines)


def table_html(table: Any) -> str:
    """Return the table's schema and first rows, as HTML."""
    return f"<pre>{table_text(table)}</pre>"
