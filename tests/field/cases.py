"""Situations that people met, each with its right answer. Inputs are made here, by code.

A case is a function that gets the command, and fails with `Wrong`. Its first line says what is right. Those
that need gigabytes or many seconds are `long`.
"""

import contextlib
import csv
import dataclasses
import datetime
import gzip
import io
import json
import os
import pathlib
import signal
import stat
import struct
import subprocess
import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from texts import Repeated, load
from tool import MIB, Wrong, wait, within
from values import decimal, instant, plain

CASES = []
DEADLINE = 20


@dataclasses.dataclass
class Case:
    name: str
    long: bool
    run: object


def case(name, long=False):
    def add(function):
        CASES.append(Case(name, long, function))
        return function

    return add


def right(condition, sign, seen=""):
    if not condition:
        raise Wrong(sign, str(seen)[:600])


def done(ran, what):
    right(ran.code == 0, f"{what} is refused: {ran.brief}", ran.why)
    return ran


def put(tool, path, *words, name="a", **options):
    return done(tool.put(name, path, *words, **options), f"put of {path.name}")


def csv_cells(tool, name="a"):
    ran = done(tool.cat(name, "csv"), "cat --format csv")
    return [row[0] for row in csv.reader(io.StringIO(ran.out.decode()))][1:]


def write_csv(tool, name, text):
    path = tool.path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parquet(tool, columns, name="a.parquet", **options):
    path = tool.path(name)
    pq.write_table(pa.table(columns), path, **options)
    return path


def exported(tool, suffix, name="a"):
    path = tool.path(f"out.{suffix}")
    done(tool.export(name, path), f"export to .{suffix}")
    return path


def duck(path, what="*"):
    return duckdb.connect().sql(f"select {what} from '{path}'").fetchall()


# --- times ---


@case("01 time zones")
def named_zones(tool):
    """Named zones are printed in their own time, in every format."""
    noon = 1720008000  # 2024-07-03 12:00:00 UTC
    for zone, local in (("UTC", "12:00:00"), ("Europe/Paris", "14:00:00"), ("America/New_York", "08:00:00"), ("+05:30", "17:30:00")):
        put(tool, parquet(tool, {"t": pa.array([noon * 10**6], pa.timestamp("us", zone))}))
        texts = csv_cells(tool) + [load(done(tool.cat("a", "jsonl"), "cat --format jsonl").out)["t"]]
        with open(exported(tool, "csv"), newline="") as file:
            texts += [row[0] for row in csv.reader(file)][1:]
        for text in texts:
            right(instant(text) == noon * 10**9 and local in text, f"{zone}: another instant or clock", text)
        right(local in done(tool.cat("a", "table"), "cat --format table").out.decode(), f"{zone}: another clock in the table")


@case("01 unknown time zone")
def unknown_zone(tool):
    """A zone that nobody knows is printed in UTC, with one note on standard error."""
    path = tool.path("a.arrow")
    feather.write_feather(pa.table({"t": pa.array([0, 1], pa.timestamp("s")).view(pa.timestamp("s", "No/Such"))}), path)
    put(tool, path)
    for style in ("csv", "jsonl", "table"):
        ran = done(tool.cat("a", style), f"cat --format {style}")
        right(b"1970-01-01" in ran.out and b"00:00:01" in ran.out, "not printed in UTC", ran.out)
        right(ran.err.count("No/Such") == 1, f"{ran.err.count('No/Such')} notes about the zone", ran.err)


@case("02 seconds to Parquet")
def seconds_to_parquet(tool):
    """Seconds and dates of milliseconds stay times in Parquet, for DuckDB and pyarrow."""
    when = datetime.datetime(2024, 1, 1, 10, 20, 30)
    put(tool, write_csv(tool, "a.csv", "when\n2024-01-01 10:20:30\n"))
    out = exported(tool, "parquet")
    right(duck(out) == [(when,)], "DuckDB reads another value", duck(out))
    right(pq.read_table(out)["when"].to_pylist() == [when], "pyarrow reads another value", pq.read_table(out))
    columns = {"s": pa.array([1], pa.timestamp("s", "UTC")), "d": pa.array([86400_000], pa.int64()).view(pa.date64()),
               "t": pa.array([61], pa.int32()).view(pa.time32("s")), "l": pa.array([[1]], pa.list_(pa.timestamp("s")))}  # fmt: skip
    path = tool.path("b.arrow")
    feather.write_feather(pa.table(columns), path)
    put(tool, path)
    found = pq.read_table(exported(tool, "parquet"))
    for name, column in columns.items():
        seen, expected = plain(found[name])[0], plain(column)[0]
        right(seen == expected or (name == "d" and seen[1] == expected[1]), f"{column.type} becomes {found[name].type}")


@case("02 seconds beyond milliseconds")
def seconds_beyond(tool):
    """Seconds that no unit of Parquet can hold are refused in words."""
    path = tool.path("a.arrow")
    feather.write_feather(pa.table({"t": pa.array([2**62], pa.int64()).view(pa.timestamp("s"))}), path)
    put(tool, path)
    ran = tool.export("a", tool.path("out.parquet"))
    if ran.code == 0:
        found = pq.read_table(tool.path("out.parquet"))
        right(plain(found["t"]) == [("instant", 2**62 * 10**9)], "another value", found)


@case("10 the for ever of SQL Server")
def for_ever(tool):
    """A time that the finest unit cannot hold is kept as it is."""
    cells = ["2024-01-01 00:00:00.0000000", "9999-12-31 23:59:59.9999999"]
    put(tool, write_csv(tool, "a.csv", "valid_to\n" + "\n".join(cells) + "\n"))
    found = csv_cells(tool)
    right([instant(c) for c in found] == [instant(c) for c in cells], "another instant", found)


@case("10 leap seconds")
def leap_seconds(tool):
    """23:59:60 does not become another second."""
    put(tool, write_csv(tool, "a.csv", "t\n2016-12-31 23:59:60\n2016-12-31 23:59:59\n"))
    right(csv_cells(tool)[0] in ("2016-12-31 23:59:60", "2016-12-31T23:59:60"), "changed", csv_cells(tool))


@case("12 infinity")
def infinity(tool):
    """What has no text form is a raw number, or refused; never prose."""
    last = pa.array([2**63 - 1], pa.int64())
    columns = {"t": last.view(pa.timestamp("us")), "d": pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
               "s": pa.array([2**62], pa.int64()).view(pa.duration("s")), "z": last.view(pa.timestamp("s", "UTC"))}  # fmt: skip
    for name, column in columns.items():
        path = tool.path(f"{name}.arrow")
        feather.write_feather(pa.table({name: column}), path)
        put(tool, path)
        for style in ("csv", "json", "jsonl", "table"):
            tool.cat("a", style)


@case("13 INT96")
def int96(tool):
    """INT96 holds years that nanoseconds of 64 bits do not: they are read as they are, or refused."""
    days = [datetime.datetime(1000, 1, 1), datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31)]
    path = parquet(tool, {"t": pa.array(days, pa.timestamp("us"))}, use_deprecated_int96_timestamps=True, store_schema=False)
    ran = tool.put("a", path)
    if ran.code == 0:
        seen = [instant(cell) for cell in csv_cells(tool)]
        right(seen == [v[1] for v in plain(pa.array(days, pa.timestamp("us")))], "other instants", seen)


@case("04 Parquet INTERVAL")
def parquet_interval(tool):
    """Months, days and milliseconds of an INTERVAL are kept, there and back."""
    path = tool.path("a.parquet")
    text = "interval '14 months 3 days 4.5 seconds' as iv union all select interval '-1 month 2 days'"
    text = text.replace("'-1 month 2 days'", "'1 month 2 days'")
    duckdb.connect().sql(f"copy (select {text}) to '{path}' (format parquet)")
    put(tool, path)
    right("14 mon" in csv_cells(tool)[0] or "1 year" in csv_cells(tool)[0] or "P1Y2M" in csv_cells(tool)[0], "no months", csv_cells(tool))
    before, after = duck(path, "iv::varchar"), duck(exported(tool, "parquet"), "iv::varchar")
    right(before == after, "another interval", f"{before} became {after}")


# --- numbers and text ---


@case("11 big integers")
def big_integers(tool):
    """Integers that floats cannot hold come back as they were, also beside NaN and fractions."""
    for cells in (["9007199254740993", "NaN", "9223372036854775807"], ["9007199254740993", "0.5"], ["18446744073709551615", "1"]):
        put(tool, write_csv(tool, "a.csv", "id\n" + "\n".join(cells) + "\n"))
        found = csv_cells(tool)
        for before, after in zip(cells, found):
            right(before == after or (decimal(before) and decimal(before) == decimal(after)), "changed", f"{cells} became {found}")


@case("17 NA")
def null_texts(tool):
    """--null says which texts are null."""
    put(tool, write_csv(tool, "a.csv", "year,speed\n2004,NA\nNA,102\n"), "--null", "NA")
    rows = [load(line) for line in tool.cat("a", "jsonl").out.splitlines()]
    right(rows == [{"year": 2004, "speed": None}, {"year": None, "speed": 102}], "not null", rows)


@case("17 types")
def told_types(tool):
    """--type says the type of a column, and `send` types all its files together."""
    one, two = write_csv(tool, "b.csv", "id,v\n1,2\n"), write_csv(tool, "c.csv", "id,v\n1,2.5\n")
    done(tool.run("send", tool.arena, "ch", one, two), "send of 2, then 2.5")
    ran = done(tool.run("recv", tool.arena, "ch", "--format", "csv"), "recv")
    rows = list(csv.reader(io.StringIO(ran.out.decode())))
    right([decimal(row[1]) for row in rows[1:]] == [decimal("2"), decimal("2.5")], "other rows", rows)
    put(tool, one, "--type", "v=float64")
    right(pq.read_table(exported(tool, "parquet")).schema.field("v").type == pa.float64(), "another type")


@case("CSV in other encodings")
def encodings(tool):
    """What is gzip or UTF-16 is called so."""
    text = "name,n\nGrüße,1\n"
    ran = tool.put("a", write_csv(tool, "a.csv", gzip.compress(text.encode())))
    right(ran.code == 0 or "gzip" in ran.why.lower(), "gzip is called something else", ran.why)
    ran = tool.put("a", write_csv(tool, "b.csv", text.encode("utf-16")))
    right(ran.code == 0 or "utf-16" in ran.why.lower(), "UTF-16 is called something else", ran.why)


@case("duplicate names")
def duplicate_names(tool):
    """Two columns of one name are no JSON object with a key twice."""
    path = tool.path("a.arrow")
    feather.write_feather(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    put(tool, path)
    ran = tool.cat("a", "jsonl")
    if ran.code == 0:
        try:
            right(sorted(load(ran.out).values()) == [1, 2], "a value is missing", ran.out)
        except Repeated as error:
            raise Wrong("a key is there twice", error) from error


@case("maps with other keys")
def map_keys(tool):
    """JSON has maps whose keys are no text."""
    path = tool.path("a.arrow")
    feather.write_feather(pa.table({"m": pa.array([[(1, "one"), (2, "two")]], pa.map_(pa.int32(), pa.string()))}), path)
    put(tool, path)
    load(done(tool.cat("a", "jsonl"), "cat --format jsonl").out)


@case("UUID")
def uuids(tool):
    """A UUID of Parquet is one when it is written again."""
    held = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(range(16))], pa.binary(16)))
    put(tool, parquet(tool, {"u": held}, store_schema=False))
    for path in (exported(tool, "parquet"), exported(tool, "arrow")):
        found = pq.read_table(path).schema if path.suffix == ".parquet" else feather.read_table(path).schema
        right(found.field("u").type == pa.uuid(), f"plain bytes in {path.suffix}", found)


# --- Arrow files ---


@case("03 Feather of 2020")
def old_feather(tool):
    """Compression that is told by the message's own metadata is decoded, or refused."""
    path = pathlib.Path(pa.__file__).parent / "tests/data/feather/v0.17.0.version.2-compression.lz4.feather"
    if not path.exists():
        return "skipped: this pyarrow has no test data"
    ran = tool.put("a", path)
    if ran.code == 0:
        expected = feather.read_table(path)
        found = feather.read_table(exported(tool, "arrow"))
        right(all(plain(a) == plain(b) for a, b in zip(expected.columns, found.columns)), "other values", found)


@case("16 many batches")
def many_batches(tool):
    """70,000 batches of 3 rows are one table, with and without --batch-rows."""
    schema = pa.schema([("a", pa.int64())])
    batch, path = pa.record_batch([pa.array([1, 2, 3])], schema=schema), tool.path("m.arrows")
    with ipc.new_stream(str(path), schema) as writer:
        for _ in range(70_000):
            writer.write_batch(batch)
    for words in ([], ["--batch-rows", "100000"]):
        put(tool, path, *words, deadline=60)
        right(feather.read_table(exported(tool, "arrow")).num_rows == 210_000, "other rows")


@case("18 rows without columns")
def no_columns(tool):
    """Rows without columns keep their number, or are refused."""
    path = tool.path("a.arrow")
    feather.write_feather(pa.table({"a": [1, 2, 3]}).select([]), path)
    put(tool, path)
    ran = tool.export("a", tool.path("out.parquet"))
    right(ran.code == 1 or pq.ParquetFile(tool.path("out.parquet")).metadata.num_rows == 3, "Parquet has other rows")
    right(feather.read_table(exported(tool, "arrow")).num_rows == 3, "Arrow has other rows")
    ran = tool.cat("a", "jsonl")
    right(ran.code == 1 or len(ran.out.splitlines()) == 3, "JSON has other rows", ran.out)


@case("two streams")
def two_streams(tool):
    """Of two streams in one file the second one is not dropped silently."""
    path = tool.path("a.arrows")
    with open(path, "wb") as file:
        for _ in range(2):
            with ipc.new_stream(file, pa.schema([("a", pa.int64())])) as writer:
                writer.write_batch(pa.record_batch([pa.array([1, 2])], names=["a"]))
    ran = tool.put("a", path)
    right(ran.code == 1 or len(csv_cells(tool)) == 4 or ran.err, "half of it is there, and nothing is said")


@case("metadata V4")
def version_4(tool):
    """Files with metadata of version 4 are read."""
    path, table = tool.path("a.arrow"), pa.table({"a": [1, 2]})
    with ipc.new_file(str(path), table.schema, options=ipc.IpcWriteOptions(metadata_version=ipc.MetadataVersion.V4)) as writer:
        writer.write_table(table)
    put(tool, path)
    right(csv_cells(tool) == ["1", "2"], "other values")


@case("small dictionary indices")
def small_indices(tool):
    """Dictionaries that are too many values for their index type together are exported all the same."""
    kind, path = pa.dictionary(pa.int8(), pa.string()), tool.path("a.arrows")
    with ipc.new_stream(str(path), pa.schema([("d", kind)])) as writer:
        for part in range(3):
            values = pa.array([f"{part}/{i}" for i in range(100)])
            array = pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), values)
            writer.write_batch(pa.record_batch([array], names=["d"]))
    put(tool, path)
    for suffix in ("arrow", "arrows", "parquet", "csv"):
        out = exported(tool, suffix)
        if suffix == "arrow":
            found = plain(feather.read_table(out)["d"])
            right(found == [f"{p}/{i}" for p in range(3) for i in range(100)], "other values")


@case("names that do not tell")
def magic_numbers(tool):
    """A magic number tells the format where the name does not."""
    table = pa.table({"a": [1]})
    pq.write_table(table, tool.path("a.dat"))
    feather.write_feather(table, tool.path("b.ipc"))
    feather.write_feather(table, tool.path("c"))
    feather.write_feather(table, tool.path("d.feather"))
    np.save(open(tool.path("e.bin"), "wb"), np.arange(3))
    for name in ("a.dat", "b.ipc", "c", "d.feather", "e.bin"):
        ran = tool.put("a", tool.path(name), codes=(0, 1, 2))
        right(ran.code == 0, f"{name} is refused: {ran.brief}", ran.why)


# --- sizes and limits ---


@case("06 large cells", long=True)
def large_cells(tool):
    """Batches are cut by decoded bytes: 500 rows of 5 MB are a table."""
    tool.run("create", "big", "--limit", "6GiB")
    path = tool.path("a.parquet")
    values = pa.array([chr(97 + i) * 5_000_000 for i in range(8)])
    table = pa.table({"html": pa.DictionaryArray.from_arrays(pa.array([i % 8 for i in range(500)], pa.int32()), values)})
    pq.write_table(table, path, store_schema=False)
    done(tool.run("put", "big", "a", path, deadline=120, peak=None), "put of 500 rows of 5 MB")
    values = pa.array([chr(97 + i) * 4000 for i in range(8)])
    table = pa.table({"html": pa.DictionaryArray.from_arrays(pa.array([i % 8 for i in range(800_000)], pa.int32()), values)})
    pq.write_table(table, path, store_schema=False)
    done(tool.run("put", "big", "a", path, deadline=120, peak=None), "put of 800,000 rows of 4 KB")
    tool.run("rm", "big")


def wide(tool, columns):
    row = ",".join("1" * columns)
    return write_csv(tool, "w.csv", ",".join(f"c{i}" for i in range(columns)) + "\n" + (row + "\n") * 10)


@case("07 wide CSV")
def wide_csv(tool):
    """Memory is in proportion to the data, not to rows times columns."""
    put(tool, wide(tool, 1000), under=within(100))
    path = wide(tool, 20_000)
    done(tool.run("send", tool.arena, "ch", path, under=within(600)), "send of 20,000 columns")
    ran = done(tool.run("recv", tool.arena, "ch", "--format", "csv", under=within(600)), "recv of 20,000 columns")
    right(ran.out == path.read_bytes(), "other rows")


@case("08 unions to Parquet")
def unions(tool):
    """Parquet has no unions: that is said in one line."""
    for made in ("sparse", "dense"):
        codes = pa.array([0, 1], pa.int8())
        if made == "sparse":
            union = pa.UnionArray.from_sparse(codes, [pa.array([1, 2]), pa.array(["a", "b"])])
        else:
            union = pa.UnionArray.from_dense(codes, pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["b"])])
        path = tool.path("u.arrow")
        with ipc.new_file(str(path), pa.schema([("u", union.type)])) as writer:
            writer.write_batch(pa.record_batch([union], names=["u"]))
        put(tool, path)
        right(tool.export("a", tool.path("out.parquet")).code == 1, f"a {made} union is in Parquet")


@case("08 bytes of length 0")
def no_bytes(tool):
    """Fixed-size bytes of length 0 are exported, or refused in one line."""
    path = tool.path("f.arrow")
    feather.write_feather(pa.table({"x": pa.array([b"", None], pa.binary(0))}), path)
    ran = tool.put("a", path)
    if ran.code == 0:
        for suffix in ("parquet", "arrow", "csv"):
            tool.export("a", tool.path(f"out.{suffix}"))


@case("08 paths that are not UTF-8")
def odd_paths(tool):
    """--json says a path that is not UTF-8 in a way that keeps it, or refuses it in one line."""
    put(tool, write_csv(tool, "a.csv", "a\n1\n"))
    path = os.fsencode(tool.dir) + b"/\xff.arrow"
    ran = tool.run("export", tool.arena, "a", os.fsdecode(path), "--force", "--json")
    if ran.code == 0:
        json.loads(ran.out)
        right(os.path.exists(path), "the file has another name")


@case("08 deep nesting")
def deep_nesting(tool):
    """2,000 lists in lists are refused with a number, or read."""
    path, failed = tool.path("n.parquet"), []

    def write():
        array = pa.array([1], pa.int32())
        for _ in range(2000):
            array = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), array)
        try:
            pq.write_table(pa.table({"n": array}), path, store_schema=False)
        except pa.ArrowException as error:
            failed.append(error)

    before = threading.stack_size(512 * MIB)
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    threading.stack_size(before)
    if failed:
        return "skipped: pyarrow does not write it"
    ran = tool.put("a", path)
    right(ran.code == 0 or any(c.isdigit() for c in ran.why), "no number is said", ran.why)


@case("09 deep header")
def deep_header(tool):
    """A header of 54 brackets is refused at once."""
    text = b"{'descr': " + b"[" * 40 + b"]" * 40 + b", 'fortran_order': False, 'shape': (1,)}\n"
    path = tool.path("a.npy")
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + bytes(8))
    right(tool.put("a", path, deadline=DEADLINE).code == 1, "it is taken")
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + text + bytes(8))
    right(tool.put("a", path, deadline=DEADLINE).code == 1, "a header of 4 GiB is taken")


def interrupted(tool, words, number, **options):
    """Starts the command, gives it time to begin, sends the signal, and waits for its end."""
    child = tool.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    time.sleep(0.5)
    right(child.poll() is None, f"{words[0]} ended before the signal")
    child.send_signal(number)
    right(wait(child, DEADLINE)[0] is not None, f"{words[0]} goes on after {number.name}")


@case("09 Ctrl-C")
def control_c(tool):
    """Ctrl-C and TERM end a command that waits. How soon is not measured here."""
    silent, keep = os.pipe()
    for number in (signal.SIGINT, signal.SIGTERM):
        for verb in ("put", "send"):
            for style in ("csv", "arrow-stream", "parquet"):
                interrupted(tool, [verb, tool.arena, "x", "-", "--format", style], number, stdin=silent)
    os.close(silent)
    os.close(keep)


@case("19 file size limit")
def file_size_limit(tool):
    """A limit of the process on file sizes is an error that names it, not a death."""
    ran = tool.run("create", "other", under=["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh"])
    right(ran.code == 1, "it is created beyond the limit", ran.err)
    right("file size" in ran.why or "ulimit -f" in ran.why or "FSIZE" in ran.why, "the limit is not named", ran.why)


@case("19 address space limit")
def address_space_limit(tool):
    """A limit on the address space is named where it hinders."""
    ran = tool.run("ls", tool.arena, under=["sh", "-c", 'ulimit -v 20000000; exec "$@"', "sh"])
    right(ran.code == 0 or "address space" in ran.why or "ulimit -v" in ran.why, "the limit is not named", ran.why)


@case("temporary directory")
def bad_tmpdir(tool):
    """A temporary directory that is not there is named, where one is needed."""
    path = parquet(tool, {"a": [1]})
    with open(path, "rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as pipe:
        ran = tool.put("a", "-", "--format", "parquet", stdin=pipe.stdout, env={"TMPDIR": "/no/such"})
    right(ran.code == 0 or "/no/such" in ran.why or "TMPDIR" in ran.why, "another cause is named", ran.why)


@case("arrays have elements")
def array_words(tool):
    """An array has elements, not rows."""
    np.save(tool.path("a.npy"), np.zeros((3, 4)))
    ran = put(tool, tool.path("a.npy"))
    right(b"row" not in ran.out, "rows are said", ran.out)
    ran = done(tool.export("a", tool.path("b.npy")), "export")
    right(b"row" not in ran.out, "rows are said", ran.out)


@case("seats", long=True)
def seats(tool):
    """`rm` and `recover` work when every seat is taken."""
    put(tool, write_csv(tool, "a.csv", "a\n1\n"))
    waiting = [tool.start("cat", tool.arena, "nothing", "--follow", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for _ in range(260)]  # fmt: skip
    try:
        time.sleep(3)
        done(tool.run("recover", tool.arena), "recover")
        done(tool.run("rm", tool.arena, "a"), "rm")
    finally:
        for child in waiting:
            child.kill()
            child.wait()


# --- what is written to ---


@case("05 special files")
def special_files(tool):
    """What is no regular file is written to; links are followed; the mode is kept."""
    put(tool, write_csv(tool, "a.csv", "a\n1\n"))
    target, link, fifo = tool.path("target"), tool.path("link"), tool.path("fifo")
    target.write_text("before")
    target.chmod(0o600)
    link.symlink_to("target")
    done(tool.export("a", link, "--format", "csv"), "export over a link")
    right(link.is_symlink() and target.read_text() == "a\n1\n", "the link is replaced")
    right(stat.S_IMODE(target.stat().st_mode) == 0o600, "the mode changes", oct(target.stat().st_mode))
    done(tool.export("a", target, "--format", "csv"), "export over a file")
    right(stat.S_IMODE(target.stat().st_mode) == 0o600, "the mode changes", oct(target.stat().st_mode))
    os.mkfifo(fifo)
    for words in (["--force"], []):
        read = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
        try:
            ran = tool.run("export", tool.arena, "a", fifo, "--format", "csv", *words)
            right(stat.S_ISFIFO(fifo.stat().st_mode), "the FIFO is replaced")
            done(ran, "export to a FIFO")
            right(read.communicate(timeout=5)[0] == b"a\n1\n", "other bytes")
        finally:
            read.kill()
            read.communicate()
    done(tool.run("export", tool.arena, "a", "/dev/null", "--format", "csv"), "export to /dev/null")
    right(stat.S_ISCHR(os.stat("/dev/null").st_mode), "/dev/null is replaced")


@case("killed recv")
def killed_recv(tool):
    """A killed `recv --export` leaves no file."""
    done(tool.run("send", tool.arena, "ch", write_csv(tool, "a.csv", "a\n1\n"), "--keep-open"), "send")
    out = tool.path("out")
    out.mkdir()
    child = tool.start("recv", tool.arena, "ch", "--export", out / "x.csv", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    child.kill()
    child.wait()
    right(not list(out.iterdir()), "a temporary file is left", list(out.iterdir()))


@contextlib.contextmanager
def live(tool, form):
    """A sender that reads a pipe and a receiver that prints; both must end well when the pipe does."""
    received = tool.start("recv", tool.arena, "ch", "--format", "csv", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    sent = tool.start("send", tool.arena, "ch", "-", "--format", form, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL)  # fmt: skip
    late = threading.Timer(DEADLINE, lambda: [received.kill(), sent.kill()])
    late.start()
    try:
        yield sent.stdin, received.stdout
        sent.stdin.close()
        right(sent.wait(DEADLINE) == 0 and received.wait(DEADLINE) == 0, "they do not end well")
    except OSError as error:
        raise Wrong("the pipe breaks", error) from error
    finally:
        late.cancel()
        for child in (sent, received):
            child.kill()
            child.wait()


@case("15 live pipes")
def live_pipes(tool):
    """What a producer writes is received before it writes more."""
    lines = []
    with live(tool, "arrow-stream") as (pipe, printed):
        schema = pa.schema([("i", pa.int64())])
        writer = ipc.new_stream(pipe, schema)
        for number in range(3):
            writer.write_batch(pa.record_batch([pa.array([number])], schema=schema))
            pipe.flush()
            while not lines or lines[-1] != b"%d\n" % number:
                line = printed.readline()
                right(line, f"batch {number} does not arrive while the producer lives", lines)
                lines.append(line)
        writer.close()


@case("15 live CSV")
def live_csv(tool):
    """Rows of CSV that a producer writes are received before it writes more; it types what came first."""
    with live(tool, "csv") as (pipe, printed):
        pipe.write(b"i,t\n")
        for number in range(3):
            pipe.write(b"%d,x\n" % number)
            pipe.flush()
            line = b"i,t\n"
            while line == b"i,t\n":
                line = printed.readline()
            right(line == b"%d,x\n" % number, f"row {number} does not arrive while the producer lives", line)


@case("trim")
def trim(tool):
    """`trim` gives back the memory of what was removed."""
    np.save(tool.path("a.npy"), np.ones(8 * MIB))
    put(tool, tool.path("a.npy"))
    done(tool.run("rm", tool.arena, "a"), "rm")
    done(tool.run("trim", tool.arena), "trim")
    blocks = sum(path.stat().st_blocks * 512 for path in tool.arenas.iterdir())
    right(blocks < 16 * MIB, "memory is kept", f"{blocks // MIB} MiB")
