"""The command `faretra` beside pyarrow: the same conversion of the same file, each in a process of its own, in turn.

What `faretra put` does is reading a file and writing what it holds to shared memory; pyarrow writes an Arrow IPC file on a
tmpfs. An export goes the other way. Both processes begin with Python's own start.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import faretra
from faretra._command import again
from faretra.bench._measure import check_room

GROUP = "command:"
OURS, THEIRS = "faretra", "pyarrow"
SKIPPED = "command beside pyarrow"

# How long one process may take, in seconds.
_PATIENCE = 600.0

# What pyarrow's process runs: the kind of conversion, where from, where to.
_PROGRAM = """
import sys
import pyarrow as pa

way, source, target = sys.argv[1:]

def store(table):
    with pa.OSFile(target, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)

def stored():
    return pa.ipc.open_file(pa.memory_map(source)).read_all()

if way == "put parquet":
    import pyarrow.parquet
    store(pyarrow.parquet.read_table(source))
elif way == "put csv":
    import pyarrow.csv
    store(pyarrow.csv.read_csv(source))
elif way == "export parquet":
    import pyarrow.parquet
    pyarrow.parquet.write_table(stored(), target, compression="zstd", compression_level=1)
elif way == "export csv":
    import pyarrow.csv
    pyarrow.csv.write_csv(stored(), target)
elif way in ("put arrow", "export arrow"):
    store(stored())
else:
    import numpy
    array = numpy.load(source, mmap_mode="r")
    numpy.save(target, array)
"""


class Notes(Protocol):
    """What takes the numbers."""

    quick: bool
    folder: str
    skipped: dict[str, str]

    def note(self, text: str) -> None:
        """Say on standard error what is measured now."""

    def add(self, group: str, what: str, kind: str, nbytes: int, seconds: float) -> None:
        """Take a number."""


def _table(pa: Any, rows: int) -> Any:
    """Return rows as an order book has them: keys, prices, dates, words that repeat and words that do not."""
    index = np.arange(rows)
    words = np.array(["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"])
    return pa.table(
        {
            "key": index // 4,
            "part": index * 7919 % 200_000,
            "price": (index * 104_729 % 9_000_000) / 100,
            "tax": (index % 9) / 100,
            "shipped": (8000 + index % 2500).astype("datetime64[D]"),
            "how": words[index % 4],
            "comment": np.char.add("carefully final deposit ", index.astype(str)),
        }
    )


def _files(pa: Any, folder: Path, rows: int) -> dict[str, Path]:
    """Write the same rows in every format."""
    table = _table(pa, rows)
    files = {suffix: folder / f"rows.{suffix}" for suffix in ("parquet", "csv", "arrow", "npy")}
    import_module("pyarrow.parquet").write_table(table, files["parquet"])
    import_module("pyarrow.csv").write_csv(table, files["csv"])
    with pa.OSFile(str(files["arrow"]), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=1 << 20)
    np.save(files["npy"], np.column_stack([table["price"], table["tax"]] * 4))
    return files


def _run(command: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE, env=environment)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Case:
    """A conversion: what it is, the file that it is of, our arguments, and where pyarrow reads and writes."""

    way: str
    file: Path
    ours: list[str]
    source: Path
    target: Path


def _cases(files: dict[str, Path], shared: Path, arena: str, folder: Path) -> Iterator[Case]:
    for suffix, file in files.items():
        yield Case(f"put {suffix}", file, ["put", arena, "new", str(file)], file, shared / "theirs")
    for suffix, file in files.items():
        name, source = ("array", "source.npy") if suffix == "npy" else ("table", "source.arrow")
        target = folder / f"out.{suffix}"
        yield Case(f"export {suffix}", file, ["export", arena, name, str(target)], shared / source, target)


def measure(run: Notes) -> None:
    """Measure each conversion, if pyarrow is there."""
    try:
        pa: Any = import_module("pyarrow")
    except ImportError:
        run.skipped[SKIPPED] = "pyarrow is not installed"
        return
    rows, rounds = (50_000, 3) if run.quick else (2_000_000, 7)
    check_room(rows * 1024, run.folder)
    environment = {**os.environ, "FARETRA_DIR": run.folder}
    environment.pop("FARETRA_BENCH_ROWS", None)
    name = f"bench-{os.getpid()}"
    with (
        tempfile.TemporaryDirectory() as there,
        tempfile.TemporaryDirectory(dir=run.folder) as here,
        faretra.Arena.create(name, limit=rows * 1024, keep=False) as arena,
    ):
        folder, shared = Path(there), Path(here)
        files = _files(pa, folder, rows)
        (shared / "source.arrow").write_bytes(files["arrow"].read_bytes())
        (shared / "source.npy").write_bytes(files["npy"].read_bytes())
        for what, file in (("table", files["arrow"]), ("array", files["npy"])):
            _run([*again(), "put", name, what, str(file)], environment)
        for case in _cases(files, shared, name, folder):
            run.note(f"{case.way} beside pyarrow")
            program = [sys.executable, "-c", _PROGRAM, case.way, str(case.source), str(case.target)]
            commands = {THEIRS: program, OURS: [*again(), *case.ours]}
            times: dict[str, list[float]] = {what: [] for what in commands}
            for _ in range(rounds):
                for what, command in commands.items():
                    times[what].append(_run(command, environment))
                    # The next one writes to memory that nobody has touched.
                    case.target.unlink(missing_ok=True)
                    arena.remove("new")
                    arena.trim()
            nbytes = case.file.stat().st_size
            for what, kind in ((THEIRS, "other"), (OURS, "ours")):
                run.add(f"{GROUP} {case.way}", what, kind, nbytes, statistics.median(times[what]))
