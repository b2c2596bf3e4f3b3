"""Random tables of every Arrow type, put from each format and written to each: equal, or refused in words."""

import csv
import dataclasses
import io
import re
import struct

import duckdb
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pyarrow.types as is_

import make
from texts import FIRST, LAST, Repeated, inner, load, same_json, same_text
from tool import Wrong
from values import list_view, plain

NAME = "tables"
SUFFIX = {"arrow": "arrow", "stream": "arrows", "parquet": "parquet", "csv": "csv"}
csv.field_size_limit(1 << 30)


@dataclasses.dataclass
class Input:
    table: pa.Table
    source: str
    options: dict
    rows: int  # of a batch or row group

    def __str__(self):
        return f"{self.source} {self.options}, {self.table.num_rows} rows\n{self.table.schema}\n{self.table.to_string()[:3000]}"


def make_input(r):
    table = make.table(r)
    source = r.choice(["arrow", "arrow", "stream", "stream", "parquet"])
    if source == "parquet":
        options = dict(
            compression=r.choice(["none", "snappy", "gzip", "brotli", "zstd", "lz4"]),
            use_dictionary=r.random() < 0.5, data_page_version=r.choice(["1.0", "2.0"]),
            version=r.choice(["1.0", "2.4", "2.6"]), store_schema=r.random() < 0.6,
            write_page_index=r.random() < 0.3, data_page_size=r.choice([64, 1 << 20]))  # fmt: skip
    else:
        options = dict(
            compression=r.choice([None, None, "lz4", "zstd"]),
            emit_dictionary_deltas=source == "stream" and r.random() < 0.5,
            unify_dictionaries=source == "arrow" or r.random() < 0.3)  # fmt: skip
    return Input(table, source, options, r.choice([1, 10, 1000]) if source == "parquet" else r.choice([3, 1000]))


def write(given, path):
    """Writes the input; what pyarrow itself cannot write is None, else the table that the file stands for."""
    if given.source == "parquet":
        if not given.table.num_columns:
            return None
        try:
            pq.write_table(given.table, path, row_group_size=given.rows, **given.options)
            return pq.ParquetFile(path).read()
        except (pa.ArrowException, OSError):
            return None
    start = ipc.new_file if given.source == "arrow" else ipc.new_stream
    try:
        with start(str(path), given.table.schema, options=ipc.IpcWriteOptions(**given.options)) as writer:
            writer.write_table(given.table, max_chunksize=given.rows)
    except pa.ArrowException:
        return None
    # Not the table itself: the writer makes one dictionary of several, and that of half floats wrongly.
    table = (ipc.open_file if given.source == "arrow" else ipc.open_stream)(str(path)).read_all()
    return table if table.num_columns else given.table


def check(tool, given):
    source = tool.path(f"in.{SUFFIX[given.source]}")
    table = write(given, source)
    if table is None:
        return "not written by pyarrow"
    ran = tool.put("t", source)
    if ran.code:
        tool.refused("table", f"put {given.source}", ran)
        raise Wrong(f"put {given.source} refuses: {ran.brief}", ran.why)
    columns = [plain(column) for column in table.columns]
    for where in ("arrow", "stream", "parquet", "csv"):
        with tool.noting():
            exported(tool, where, table, columns, given)
    for style in ("table", "csv", "json", "jsonl"):
        with tool.noting():
            printed(tool, style, table, columns)
    if given.rows == 1000:
        with tool.noting():
            forwarded(tool, source, table, columns, given)
    return None


def exported(tool, where, table, columns, given):
    target = tool.path(f"out.{SUFFIX[where]}")
    ran = tool.export("t", target)
    if ran.code:
        refuse(tool, f"export {where}", ran, table, columns)
    elif where == "csv":
        with open(target, newline="") as file:
            same_csv(file, table, columns, "export csv")
        duck_csv(target)
    else:
        same_table(tool, target, where, table, columns, given)


def forwarded(tool, source, table, columns, given):
    """Through a channel, batch by batch, the same rows arrive."""
    ran = tool.run("send", tool.arena, "ch", source)
    if ran.code:
        raise Wrong(f"send of {given.source} refuses: {ran.brief}", ran.why)
    target = tool.path("received.arrow")
    ran = tool.run("recv", tool.arena, "ch", "--export", target)
    tool.run("rm", tool.arena, "ch")
    if ran.code:
        raise Wrong(f"recv refuses: {ran.brief}", ran.why)
    same_table(tool, target, "arrow", table, columns, given)


def printed(tool, style, table, columns):
    ran = tool.cat("t", style)
    if ran.code:
        refuse(tool, f"cat {style}", ran, table, columns)
    elif style == "csv":
        same_csv(io.StringIO(ran.out.decode(), newline=""), table, columns, "cat csv")
    elif style != "table":
        same_rows(tool, ran.out.decode(), style, table, columns)


# --- refusals ---


def walk(kind):
    yield kind
    for i in range(kind.num_fields):
        yield from walk(kind.field(i).type)
    if is_.is_dictionary(kind) or is_.is_run_end_encoded(kind):
        yield from walk(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        yield from walk(kind.storage_type)


def flat_values(value):
    if isinstance(value, (list, tuple)) and not (isinstance(value, tuple) and value and isinstance(value[0], str)):
        for item in value:
            yield from flat_values(item)
    else:
        yield value


def far(columns):
    """Whether a time is outside the years 1 to 9999, or a span is so long that text has no form for it."""
    for value in flat_values(columns):
        if isinstance(value, tuple) and value[0] in ("instant", "date") and not FIRST <= value[1] < LAST:
            return True
        if isinstance(value, tuple) and value[0] == "duration" and abs(value[1]) > 2**63 - 1:
            return True
    return False


def may_refuse(where, kind):
    """Whether a format has no form for this type; anything else that is refused is a finding."""
    for part in walk(kind):
        if where == "export parquet" and (
            is_.is_union(part) or is_.is_interval(part) or is_.is_run_end_encoded(part) or list_view(part)
            or (is_.is_struct(part) and not part.num_fields) or (is_.is_decimal(part) and part.scale < 0)
        ):  # fmt: skip
            return True
        if where.endswith("csv") and part == kind and is_.is_nested(inner(part)):
            return True
        if "json" in where and is_.is_union(part):
            return True
    return False


def refuse(tool, where, ran, table, columns):
    guilty = [f for f in table.schema if may_refuse(where, f.type)]
    tool.refused("table", where, ran)
    if guilty or (not table.num_columns and where != "export arrow") or (far(columns) and "arrow" not in where):
        return
    if len(set(table.column_names)) < table.num_columns and "json" in where:
        return
    raise Wrong(f"{where} refuses: {ran.brief}", ran.why)


# --- comparing ---


def first_difference(expected, found):
    for i, (a, b) in enumerate(zip(expected, found)):
        if a != b:
            return f"row {i}: {a!r} became {b!r}"
    return f"{len(expected)} rows became {len(found)}"


def kind_name(kind):
    """A type without what varies, to tell findings apart."""
    return re.sub(r"\d+, -?\d+|\[\d+\]", "N", str(inner(kind)).split("<")[0].split("[")[0]) + (
        " in " + type(kind).__name__.removesuffix("Type") if inner(kind) != kind else "")  # fmt: skip


def loose(kind):
    return re.sub(r"indices=\w+", "", str(kind))


def same_table(tool, path, where, table, columns, given):
    try:
        if where == "parquet":
            file = pq.ParquetFile(path)
            found = file.read()
            metadata = file.metadata.metadata
        elif where == "arrow":
            found = ipc.open_file(pa.memory_map(str(path))).read_all()
        else:
            found = ipc.open_stream(pa.memory_map(str(path))).read_all()
        metadata = metadata if where == "parquet" else found.schema.metadata
        found.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise Wrong(f"export {where}: pyarrow cannot read it: {str(error)[:50]}", str(error)) from error
    if found.column_names != table.column_names or found.num_rows != table.num_rows:
        raise Wrong(f"export {where}: other columns or rows", f"{found.schema}, {found.num_rows} rows")
    for i, (field, now, values) in enumerate(zip(table.schema, found.schema, columns)):
        seen = plain(found.column(i))
        with tool.noting():
            if seen != values and not (where == "parquet" and of_parquet(seen) == of_parquet(values)):
                raise Wrong(f"{given.source} to {where}: {kind_name(field.type)} changes", first_difference(values, seen))
            same_meaning(field, now, where, given, given.table.schema.field(i).type)
    wanted = table.schema.metadata or {}
    with tool.noting():
        if any((metadata or {}).get(k) != v for k, v in wanted.items() if not k.startswith(b"ARROW:")):
            raise Wrong(f"{given.source} to {where}: metadata is lost", f"{wanted} became {metadata}")
    if where == "parquet":
        duck_parquet(path, table, columns)


def of_parquet(value):
    """Values as pyarrow reads them from Parquet: a date64 may be a date or an instant there, an INTERVAL is bytes."""
    if isinstance(value, tuple) and len(value) == 2 and value[0] == "date":
        return ("instant", value[1])
    if isinstance(value, tuple) and value[:1] == ("interval",):
        months, days, nanos = value[1:]
        if min(months, days, nanos) >= 0 and nanos % 10**6 == 0 and nanos < 10**6 << 32:
            return struct.pack("<III", months, days, nanos // 10**6)
    if isinstance(value, (list, tuple)):
        return type(value)(map(of_parquet, value))
    return value


def same_meaning(field, now, where, given, first):
    """The type says the same as the field's; Arrow formats have it as it was, but for the width of dictionary indices.

    `first` is the type before pyarrow wrote and read it.
    """
    old, new = field.type, now.type
    if where != "parquet" and given.source != "parquet":
        if loose(old) != loose(new):
            raise Wrong(f"{given.source} to {where}: the type {kind_name(old)} changes", f"{old} became {new}")
        if (field.metadata or {}) != (now.metadata or {}) or field.nullable != now.nullable:
            raise Wrong(f"{given.source} to {where}: field metadata changes", f"{field.metadata} became {now.metadata}")
    if isinstance(old, pa.BaseExtensionType) and not isinstance(new, pa.BaseExtensionType):
        raise Wrong(f"{given.source} to {where}: extension type is lost: {old.extension_name}", f"{old} became {new}")
    # pyarrow's own Parquet reader has no zone for the values of a dictionary.
    in_dictionary = "parquet" in (where, given.source) and (is_.is_dictionary(first) or is_.is_dictionary(old))
    old, new = inner(old), inner(new)
    if is_.is_timestamp(old) and (not is_.is_timestamp(new) or (old.tz != new.tz and not in_dictionary)):
        raise Wrong(f"{given.source} to {where}: the time zone changes", f"{old} became {new}")


def cells(lines, where, delimiter=","):
    try:
        return list(csv.reader(lines, strict=True, delimiter=delimiter))
    except csv.Error as error:
        raise Wrong(f"{where}: not CSV", str(error)) from error


def same_csv(lines, table, columns, where):
    rows = cells(lines, where)
    if not table.num_columns:
        return
    if not rows or rows[0] != table.column_names:
        raise Wrong(f"{where}: the names change", f"{table.column_names} became {rows[:1]}")
    if len(rows) - 1 != table.num_rows:
        raise Wrong(f"{where}: {table.num_rows} rows become {len(rows) - 1}")
    for i, field in enumerate(table.schema):
        for row, value in zip(rows[1:], columns[i]):
            if not same_text(field.type, value, row[i]):
                raise Wrong(f"{where}: {kind_name(field.type)} changes", f"{field.type} {value!r} became {row[i]!r}")


def same_rows(tool, text, style, table, columns):
    try:
        rows = load(text) if style == "json" else [load(line) for line in text.split("\n") if line]
    except Repeated as error:
        raise Wrong(f"cat {style}: repeated keys", str(error)) from error
    except ValueError as error:
        raise Wrong(f"cat {style}: not JSON", f"{error} in {text[:300]!r}") from error
    if len(rows) != table.num_rows:
        raise Wrong(f"cat {style}: {table.num_rows} rows become {len(rows)}")
    if len(set(table.column_names)) < table.num_columns:
        return
    for field, values in zip(table.schema, columns):
        with tool.noting():
            for row, value in zip(rows, values):
                if field.name not in row:
                    raise Wrong(f"cat {style}: a column is missing", f"{field.name} in {row}")
                if not same_json(field.type, value, row[field.name]):
                    raise Wrong(f"cat {style}: {kind_name(field.type)} changes",
                                f"{field.type} {value!r} became {row[field.name]!r}")  # fmt: skip


# --- DuckDB ---

duck = duckdb.connect(config={"threads": 1})


def quoted(path):
    return "'" + str(path).replace("'", "''") + "'"


def duck_csv(path, delimiter=","):
    """DuckDB finds the same cells in the file as Python's reader does."""
    with open(path, newline="") as file:
        rows = cells(file, "csv", delimiter)
    # DuckDB takes a lone carriage return for the end of a line, quoted or not; it does not read NUL.
    if not rows or any("\r" in cell or "\0" in cell for row in rows for cell in row):
        return
    names = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(rows[0])))
    query = (f"select * from read_csv({quoted(path)}, auto_detect=false, header=false, delim='{delimiter}', quote='\"', "
             f"escape='\"', parallel=false, columns={{{names}}})")  # fmt: skip
    try:
        found = duck.sql(query).fetchall()
    except duckdb.Error as error:
        raise Wrong(f"csv: DuckDB cannot read it: {str(error)[:40]}", str(error)[:500]) from error
    expected = [tuple(cell or None for cell in row) for row in rows]
    found = [tuple(cell or None for cell in row) for row in found]
    if found != expected:
        raise Wrong("csv: DuckDB reads other cells", first_difference(expected, found))


def duck_knows(kind):
    """Types that DuckDB has, with all their values, so that what it reads can be compared."""
    if is_.is_dictionary(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType) or list_view(kind) or is_.is_union(kind):
        return False
    if is_.is_list(kind) or is_.is_large_list(kind):
        return duck_knows(kind.value_type) and not is_.is_dictionary(kind.value_type)
    if is_.is_struct(kind):
        return kind.num_fields > 0 and all(duck_knows(f.type) and not is_.is_dictionary(f.type) for f in kind)
    if is_.is_timestamp(kind):
        return not (kind.unit == "ns" and kind.tz)
    if is_.is_decimal(kind):
        return kind.precision <= 38 and kind.scale >= 0
    return (is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_float32(kind) or is_.is_float64(kind)
            or is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind) or is_.is_date(kind)
            or is_.is_time(kind) or is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind)
            or is_.is_fixed_size_binary(kind))  # fmt: skip


def untagged(value):
    if isinstance(value, tuple) and value and value[0] in ("instant", "date", "time"):
        return value[1]
    if isinstance(value, (list, tuple)):
        return [untagged(item) for item in value]
    return value


def duck_parquet(path, table, columns):
    known = [i for i, field in enumerate(table.schema) if duck_knows(field.type)]
    if not known or far(columns) or len({n.lower() for n in table.column_names}) < table.num_columns:
        return
    names = ", ".join('"' + table.column_names[i].replace('"', '""') + '"' for i in known)
    try:
        found = duck.sql(f"select {names} from read_parquet({quoted(path)})").to_arrow_table()
    except duckdb.Error as error:
        raise Wrong(f"export parquet: DuckDB cannot read it: {str(error)[:50]}", str(error)[:500]) from error
    for i, column in zip(known, found.columns):
        seen, expected = untagged(plain(column)), untagged(columns[i])
        if seen != expected:
            kind = table.schema.field(i).type
            raise Wrong(f"export parquet: DuckDB reads other values of {kind_name(kind)}",
                        f"{kind} {first_difference(expected, seen)}; DuckDB has {column.type}")  # fmt: skip


# --- smaller inputs ---


def smaller(given):
    table = given.table
    if table.num_columns > 1:
        for i in range(table.num_columns):
            yield dataclasses.replace(given, table=table.select([i]))
    if table.num_rows > 1:
        half = table.num_rows // 2
        yield dataclasses.replace(given, table=table.slice(0, half))
        yield dataclasses.replace(given, table=table.slice(half))
    if any(column.num_chunks > 1 for column in table.columns):
        for i in range(table.columns[0].num_chunks):
            chunk = [pa.chunked_array([column.chunk(i)]) for column in table.columns]
            yield dataclasses.replace(given, table=pa.Table.from_arrays(chunk, schema=table.schema))
    for i, field in enumerate(table.schema):
        if is_.is_struct(field.type) and field.type.num_fields:
            for j in range(field.type.num_fields):
                parts = pa.chunked_array([chunk.field(j) for chunk in table.column(i).chunks], field.type.field(j).type)
                yield dataclasses.replace(given, table=table.set_column(i, field.name, parts))


def save(given, directory):
    path = directory / f"in.{SUFFIX[given.source]}"
    write(given, path)
    (directory / "input.txt").write_text(str(given))
    return path
