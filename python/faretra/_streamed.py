"""A table that came over a network: read as one of an arena is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faretra import _native
from faretra._tables import need

__all__ = ["StreamedTable"]


class StreamedTable:
    """A table that was streamed by a server: it is read as a `faretra.Table` is, and lies in this process alone.

    `RemoteArena` gives one where the server's arena is on another host. Its batches are the messages that came.

    >>> import pyarrow as pa
    >>> table = faretra.StreamedTable(pa.table({"a": [1, 2], "b": ["x", "y"]}), "t", 7)
    >>> table.shape, table.column_names, table["a"]
    ((2, 2), ['a', 'b'], array([1, 2]))
    """

    __slots__ = ("_name", "_table", "_version")

    def __init__(self, table: Any, name: str, version: int = 0) -> None:
        """Take a `pyarrow.Table`, and what the server called it."""
        self._table, self._name, self._version = table, name, version

    @property
    def name(self) -> str:
        """The name that the table was read by."""
        return self._name

    @property
    def version(self) -> int:
        """The version of the name that it is; 0 if the server did not say."""
        return self._version

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self._table.num_rows)

    @property
    def num_columns(self) -> int:
        """How many columns there are."""
        return int(self._table.num_columns)

    @property
    def num_batches(self) -> int:
        """In how many batches the rows lie."""
        return len(self._table.to_batches())

    @property
    def nbytes(self) -> int:
        """How many bytes the table takes in this process."""
        return int(self._table.nbytes)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.num_rows, self.num_columns

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self._table.column_names)

    @property
    def fields(self) -> list[tuple[str, str, bool]]:
        """Name, type and whether there may be nulls, of each column."""
        return _native._fields(self._table.schema)

    def __arrow_c_schema__(self) -> Any:
        return self._table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)

    def select(self, columns: Sequence[str]) -> Any:
        """Return some columns, in the order asked for, as a `pyarrow.Table`. Nothing is copied.

        Raises:
            KeyError: There is no such column.

        >>> import pyarrow as pa
        >>> table = faretra.StreamedTable(pa.table({"a": [1, 2], "b": ["x", "y"]}), "t")
        >>> pa.table(table.select(["b"])).to_pydict()
        {'b': ['x', 'y']}
        """
        return self._table.select([self._index(name) for name in columns])

    def head(self, n: int = 5) -> Any:
        """Return the first `n` rows, or all if there are fewer, as a `pyarrow.Table`. Nothing is copied.

        Raises:
            ValueError: `n` is negative.

        >>> import pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2, 3]}), "t").head(2).to_pydict()
        {'a': [1, 2]}
        """
        if n < 0:
            raise ValueError(f"a number of rows cannot be negative: {n}")
        return self._table.slice(0, n)

    def batch(self, index: int) -> Any:
        """Return batch number `index`, as a `pyarrow.RecordBatch`.

        Raises:
            IndexError: There are not so many.

        >>> import pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2]}), "t").batch(0).num_rows
        2
        """
        batches = self._table.to_batches()
        if not -len(batches) <= index < len(batches):
            raise IndexError(f"no batch {index}: there are {len(batches)}")
        return batches[index]

    def column(self, name: str) -> Any:
        """Return one column of numbers, without nulls, as a read-only numpy array: the types are those of `Table.column`.

        Raises `KeyError` if there is no such column, and `ValueError` if it has nulls, or is no plain number. It is copied
        if it came in several messages.

        >>> import pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2]}), "t").column("a")
        array([1, 2])
        """
        chunks = self._table.column(self._index(name))
        dtype, length = _native._plain_type(chunks.type)
        if dtype is None:
            raise ValueError(
                f"the column `{name}` is no numpy array without a copy: its type is {chunks.type}; "
                f"`pyarrow.table(t)[{name!r}].to_numpy()` copies it"
            )
        array = chunks.combine_chunks()
        # Of one chunk, pyarrow gives a chunked array back.
        array = array.chunk(0) if hasattr(array, "chunk") and array.num_chunks == 1 else array
        nulls, rows = array.null_count, len(array)
        if length is not None and rows:
            array = array.flatten()
            nulls += array.null_count
        if nulls:
            raise ValueError(
                f"the column `{name}` is no numpy array without a copy: {nulls} of its values are null; "
                f"`pyarrow.table(t)[{name!r}].to_numpy()` copies it"
            )
        import numpy as np

        shape = (rows,) if length is None else (rows, length)
        element = np.dtype(dtype)
        if not rows:
            found = np.zeros(shape, element)
        else:
            found = np.frombuffer(array.buffers()[-1], element, len(array), array.offset * element.itemsize)
        found = found.reshape(shape)
        found.flags.writeable = False
        return found

    def _index(self, name: str) -> int:
        index = self._table.schema.get_field_index(name)
        if index < 0:
            names = self.column_names
            if name in names:
                return names.index(name)
            raise KeyError(f"no column named `{name}`; there are {names}")
        return int(index)

    def __getitem__(self, name: str) -> Any:
        return self.column(name)

    def __len__(self) -> int:
        return self.num_rows

    def to_pyarrow(self) -> Any:
        """Return the table as a `pyarrow.Table`.

        >>> import pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2]}), "t").to_pyarrow().num_rows
        2
        """
        return self._table

    def to_polars(self) -> Any:
        """Return the table as a `polars.DataFrame`. Needs polars.

        >>> import polars as pl, pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2]}), "t").to_polars()["a"].sum()
        3
        """
        return need("polars", "to_polars()").DataFrame(self._table)

    def lazy(self) -> Any:
        """Return the table as a `polars.LazyFrame`. Needs polars.

        >>> import polars as pl, pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2]}), "t").lazy().select(pl.col("a").sum()).collect().item()
        3
        """
        return need("polars", "lazy()").DataFrame(self._table).lazy()

    def to_pandas(self, **options: Any) -> Any:
        """Return the table as a `pandas.DataFrame`, with the index that it had. Needs pandas.

        >>> import pandas as pd, pyarrow as pa
        >>> faretra.StreamedTable(pa.table({"a": [1, 2]}), "t").to_pandas()["a"].to_dict()
        {0: 1, 1: 2}
        """
        need("pandas", "to_pandas()")
        return self._table.to_pandas(**options)

    def __repr__(self) -> str:
        from faretra._show import table_text

        return table_text(self)

    def _repr_html_(self) -> str:
        from faretra._show import table_html

        return table_html(self)
