"""Tables as numpy and pandas see them: what needs Python's libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faretra._native import Table


def to_pandas(table: Table, **options: Any) -> Any:
    """Return `table` as a `pandas.DataFrame`, whose numbers are not copied where pandas can take them as they are."""
    options.setdefault("split_blocks", True)
    return table.to_pyarrow().to_pandas(**options)


def column(table: Table, name: str) -> Any:
    """Return one column as a read-only numpy array over the arena."""
    return table._column(name)
