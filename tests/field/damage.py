"""Files with bytes changed or cut: refused in one line or read, quickly, in little memory, without a panic.

What is read is what pyarrow, numpy or Python's own reader of CSV find in the damaged file, where they read it.
"""

import csv
import dataclasses
import io
import json
import os
import pathlib
import resource
import signal
import tempfile
import traceback

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

import arrays
import layouts
import tables
from tool import MIB, Wrong, within
from values import plain

NAME = "damage"
DEADLINE = 30  # seconds; for a busy machine, not for the command
SOURCES = {"npy": arrays, "csv": layouts, "table": tables}


@dataclasses.dataclass
class Input:
    bytes: bytes
    suffix: str
    changes: list  # (position, bytes removed, bytes put there)

    def damaged(self):
        whole = bytearray(self.bytes)
        for at, removed, put in self.changes:
            whole[at : at + removed] = put
        return bytes(whole)

    def __str__(self):
        return f".{self.suffix} of {len(self.bytes)} bytes, changed {self.changes}"


def make_input(r):
    while True:
        source = SOURCES[r.choice(["npy", "csv", "table", "table", "table"])]
        given = source.make_input(r)
        with tempfile.TemporaryDirectory() as directory:
            path = source.save(given, pathlib.Path(directory))
            whole = path.read_bytes() if path.exists() else b""
        if whole and len(whole) < 100_000:
            return Input(whole, path.suffix[1:], changes(r, whole))


def changes(r, whole):
    size = len(whole)
    # What describes the data lies at the ends.
    place = lambda: r.choice([r.randrange(size), min(size - 1, r.randrange(200)), max(0, size - 1 - r.randrange(400))])
    if r.random() < 0.15:
        return [(r.randrange(size), size, b"")]
    made = []
    for _ in range(r.choice([1, 1, 1, 2, 4])):
        at = place()
        made.append(r.choice([
            lambda: (at, 1, bytes([whole[at] ^ 1 << r.randrange(8)])),
            lambda: (at, 1, bytes([r.choice([0, 1, 0x7F, 0x80, 0xFF])])),
            lambda: (at, 4, r.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0"])),
            lambda: (at, r.randrange(1, 9), b""),
            lambda: (at, 0, r.randbytes(r.randrange(1, 9))),
        ])())  # fmt: skip
    return made


def check(tool, given):
    how = None
    path = tool.path(f"in.{given.suffix}")
    path.write_bytes(given.damaged())
    ran = tool.put("d", path, deadline=DEADLINE, under=within(300))
    if ran.code:
        tool.refused(f"damaged .{given.suffix}", "put", ran)
        return "refused"
    held = tool.path("held.npy" if given.suffix == "npy" else "held.csv" if given.suffix == "csv" else "held.arrow")
    with tool.noting():
        ran = tool.export("d", held, deadline=DEADLINE, under=within(300))
        how = apart(tool, lambda: READERS[given.suffix](tool, path, held)) if ran.code == 0 else "read, not written"
    # What is prose in a text of a damaged file is the file's; so `run`, not `cat`.
    for style in ("csv", "json", "table"):
        with tool.noting():
            tool.run("cat", tool.arena, "d", "--format", style, deadline=DEADLINE, under=within(300))
    for target in ("out.parquet", "out.csv", "out.npy"):
        with tool.noting():
            tool.export("d", tool.path(target), deadline=DEADLINE, under=within(300))
    with tool.noting():
        tool.run("verify", tool.arena, deadline=DEADLINE, codes=(0,))
    return how


# --- what others read ---


def apart(tool, compare):
    """Compares in a process of its own: the other readers may crash at damage, or need all memory.

    Gives what that process returned, and takes over the faults that it found.
    """
    tool_sees, tells = os.pipe()
    child = os.fork()
    if not child:
        os.close(tool_sees)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(20)
        resource.setrlimit(resource.RLIMIT_DATA, (2048 * MIB, 2048 * MIB))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        tool.found, how = [], None
        try:
            with tool.noting():
                try:
                    how = compare()
                except (AssertionError, LookupError, TypeError, ValueError, OSError) as error:
                    raise Wrong(f"the suite: {type(error).__name__}", traceback.format_exc()) from error
            found = [(wrong.sign, wrong.detail) for wrong in tool.found]
            os.write(tells, json.dumps([how, found])[:60_000].encode())
        finally:
            os._exit(0)
    os.close(tells)
    with open(tool_sees) as file:
        said = file.read()
    os.waitpid(child, 0)
    how, found = json.loads(said) if said else ("read, not by the other reader", [])
    tool.found += [Wrong(sign, detail) for sign, detail in found]
    return how


def of_table(start):
    def compare(tool, path, held):
        try:
            table = start(path)
            table.validate(full=True)
            columns = [plain(column) for column in table.columns]
        except Exception:
            return "read, not by pyarrow"
        found = ipc.open_file(pa.memory_map(str(held))).read_all()
        if found.column_names != table.column_names or found.num_rows != table.num_rows:
            raise Wrong(f"damaged {path.suffix}: other columns or rows", f"{table.schema}, {table.num_rows} became {found.schema}, {found.num_rows}")
        for i, (field, now, values) in enumerate(zip(table.schema, found.schema, columns)):
            seen = plain(found.column(i))
            if seen != values:
                raise Wrong(f"damaged {path.suffix}: {tables.kind_name(field.type)} changes", tables.first_difference(values, seen))
            # Parquet files say types twice, in their own way and in Arrow's: of damaged ones, each reader believes another.
            if path.suffix != ".parquet" and tables.loose(field.type) != tables.loose(now.type):
                raise Wrong(f"damaged {path.suffix}: a type changes", f"{field} became {now}")
        return "read alike"

    return compare


def of_array(tool, path, held):
    try:
        expected = np.load(path, allow_pickle=False)
    except Exception:
        return "read, not by numpy"
    given = arrays.Input(expected, (1, 0), False, True)
    arrays.same_array(given, np.load(held, allow_pickle=False), "damaged npy")
    return "read alike"


def of_csv(tool, path, held):
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeError):
        return "read, not by Python"
    if any(len(row) != len(rows[0]) for row in rows):
        return "read, not by Python"
    with open(held, newline="", encoding="utf-8") as file:
        found = tables.cells(file, "damaged csv")
    if len(found) != len(rows) or found[:1] != rows[:1]:
        raise Wrong("damaged csv: other names or rows", f"{len(rows)} of {rows[:1]} became {len(found)} of {found[:1]}")
    for before, after in zip(rows[1:], found[1:]):
        if not all(map(layouts.same_cell, before, after)):
            raise Wrong("damaged csv: cells change", f"{before} became {after}")
    return "read alike"


READERS = {
    "npy": of_array,
    "csv": of_csv,
    "parquet": of_table(lambda path: pq.ParquetFile(path).read(use_threads=False)),
    "arrow": of_table(lambda path: ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()),
    "arrows": of_table(lambda path: ipc.open_stream(pa.BufferReader(path.read_bytes())).read_all()),
}


def smaller(given):
    if len(given.changes) > 1:
        for i in range(len(given.changes)):
            yield dataclasses.replace(given, changes=given.changes[:i] + given.changes[i + 1 :])


def save(given, directory):
    path = directory / f"in.{given.suffix}"
    path.write_bytes(given.damaged())
    (directory / f"whole.{given.suffix}").write_bytes(given.bytes)
    (directory / "input.txt").write_text(str(given))
    return path
