"""Tables as numpy and pandas see them: what needs Python's libraries."""

from __future__ import annotations

from collections.abc import Iterator
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


def lazy(table: Table) -> Any:
    """Return `table` as a `polars.LazyFrame`, which asks for columns of one batch after the other."""
    polars = need("polars", "lazy()")
    plugins = need("polars.io.plugins", "lazy()")
    places = {name: index for index, name in enumerate(table.column_names)}

    def source(
        columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[Any]:
        asked = list(places) if columns is None else list(columns)
        # What is looked at to choose rows is read, too.
        more = (
            [] if predicate is None else [name for name in predicate.meta.root_names() if name not in asked]
        )
        numbers = [places[name] for name in asked + more]
        left = table.num_rows if n_rows is None else n_rows
        for index in range(table.num_batches):
            if left <= 0:
                return
            frame = polars.DataFrame(table._part(index, numbers)).head(left)
            left -= frame.height
            for part in frame.iter_slices(batch_size or max(frame.height, 1)):
                yield part if predicate is None else part.filter(predicate).select(asked)

    return plugins.register_io_source(source, schema=polars.DataFrame(table.head(0)).schema)


def to_pandas(table: Table, **options: Any) -> Any:
    """Return `table` as a `pandas.DataFrame`, whose numbers are not copied where pandas can take them as they are."""
    need("pandas", "to_pandas()")
    pyarrow = need("pyarrow", "to_pandas()")
    options.setdefault("split_blocks", True)
    return pyarrow.table(table).to_pandas(**options)


def column(table: Table, name: str) -> Any:
    """Return one column as a read-only numpy array over the arena."""
    return table._column(name)
