"""Compares the answers that the test `scale` left in a directory with DuckDB's, over the Parquet files beside them.

    FARETRA_TPCH_DIR=DIR cargo test --release -p faretra-datafusion --test it -- --ignored --nocapture scale
    python3 datafusion/tests/tpch_duckdb.py DIR                  # needs duckdb and pyarrow
"""

import math
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa


def alike(a: object, b: object) -> bool:
    """Whether two values are the same number, or the same otherwise: averages of decimals have other types in the two engines."""
    if isinstance(a, (int, float, Decimal)) and isinstance(b, (int, float, Decimal)):
        return math.isclose(float(a), float(b), rel_tol=1e-6, abs_tol=1e-6)
    return a == b


def main() -> None:
    """Prints a line for each query, and fails if an answer is another one."""
    place = Path(sys.argv[1])
    text = Path(__file__).with_name("it").joinpath("tpch.sql").read_text().split("\n", 1)[1]
    queries = [query.strip() for query in text.split(";") if query.strip()]
    connection = duckdb.connect()
    for path in place.glob("*.parquet"):
        connection.execute(f"CREATE VIEW {path.stem} AS SELECT * FROM '{path}'")
    wrong = 0
    for number, query in enumerate(queries, 1):
        theirs = connection.execute(query).fetchall()
        table = pa.ipc.open_file(place / f"answer-{number:02}.arrow").read_all()
        ours = [tuple(row.values()) for row in table.to_pylist()]
        same = len(ours) == len(theirs) and all(
            len(a) == len(b) and all(map(alike, a, b)) for a, b in zip(ours, theirs, strict=True)
        )
        wrong += not same
        print(f"query {number:2}: {len(theirs):5} rows, {'equal' if same else 'OTHERS'}")
    print(f"{len(queries) - wrong} of {len(queries)} answers are DuckDB's")
    sys.exit(wrong != 0)


main()
