"""Tables as numpy and pandas see them: what needs Python's libraries."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faretra._native import Table


def need(module: str, what: str) -> Any:
    """Import a library that the package does without; if it is not there, say what needs it and how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        text = f"{what} needs {module}, which is not installed: pip install {module}"
        raise ModuleNotFoundError(text, name=module) from None


def to_pyarrow(table: Table) -> Any:
    """Return `table` as a `pyarrow.Table`."""
    return need("pyarrow", "to_pyarrow()").table(table)


def to_polars(table: Table) -> Any:
    """Return `table` as a `polars.DataFrame`."""
    return need("polars", "to_polars()").DataFrame(table)


def to_pandas(table: Table, **options: Any) -> Any:
    """Return `table` as a `pandas.DataFrame`, whose numbers are not copied where pandas can take them as they are."""
    need("pandas", "to_pandas()")
    pyarrow = need("pyarrow", "to_pandas()")
    options.setdefault("split_blocks", True)
    return pyarrow.table(table).to_pandas(**options)


def column(table: Table, name: str) -> Any:
    """Return one column as a read-only numpy array over the arena."""
    return table._column(name)
