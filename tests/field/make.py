"""Random Arrow arrays and tables of every type that pyarrow can make.

All choices come from one `random.Random`. Children of nested arrays are slices themselves, and so are the
arrays at the top.
"""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.types as is_

ZONES = [None, None, "UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "+05:30", "-08:00", "Etc/GMT+5"]
WORDS = ["", "a", "twelve bytes", "thirteen byte", "Grüße", "日本語", "😀", 'say "hi"', "a,b", "line\nbreak", "x" * 300, "tab\tx",
         " lead", "null", "NULL", "NaN", "true", "007", "1e5", "\\", "'", "é" * 6, "\u200b", "-", "=1+1", "\r\n"]  # fmt: skip
FINEST = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# The year 9999 ends here, in seconds; beyond it and before the year 1 text has no agreed form.
FIRST, LAST = -62135596800, 253402300799


def integer(bits, signed):
    low = -(1 << bits - 1) if signed else 0
    return low, low + (1 << bits) - 1


FLAT = {
    "null": lambda r: pa.null(),
    "bool": lambda r: pa.bool_(),
    "integer": lambda r: r.choice([pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
                                   pa.uint64()]),
    "float": lambda r: r.choice([pa.float16(), pa.float32(), pa.float64()]),
    "text": lambda r: r.choice([pa.string(), pa.large_string(), pa.string_view()]),
    "binary": lambda r: r.choice([pa.binary(), pa.large_binary(), pa.binary_view()]),
    "fixed binary": lambda r: pa.binary(r.choice([1, 2, 3, 16, 40])),
    "date": lambda r: r.choice([pa.date32(), pa.date64()]),
    "time": lambda r: r.choice([pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]),
    "timestamp": lambda r: pa.timestamp(r.choice(list(FINEST)), r.choice(ZONES)),
    "duration": lambda r: pa.duration(r.choice(list(FINEST))),
    "interval": lambda r: pa.month_day_nano_interval(),
    "decimal": lambda r: decimal_type(r),
}  # fmt: skip
SHAPED = ["dictionary", "run ends", "extension"]
NESTED = ["list", "large list", "list view", "large list view", "fixed list", "struct", "map", "union"]


def decimal_type(r):
    make, widest = r.choice([(pa.decimal32, 9), (pa.decimal64, 18), (pa.decimal128, 38), (pa.decimal256, 76)])
    precision = r.choice([1, widest, r.randint(1, widest)])
    scale = r.choice([0, precision, r.randint(0, precision), -r.randint(1, 3)])
    return make(precision, scale)


def any_type(r, depth):
    """A random type of `depth` levels of nesting at most."""
    kind = r.choice(list(FLAT) * 2 + SHAPED + (NESTED * 2 if depth > 0 else []))
    if kind in FLAT:
        return FLAT[kind](r)
    if kind == "dictionary":
        index = r.choice([pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32()])
        values = r.choice(["text", "text", "integer", "date", "timestamp", "decimal", "binary", "float"])
        return pa.dictionary(index, FLAT[values](r), ordered=r.random() < 0.2)
    if kind == "run ends":
        values = r.choice(["integer", "text", "float", "date", "bool"])
        return pa.run_end_encoded(r.choice([pa.int16(), pa.int32(), pa.int64()]), FLAT[values](r))
    if kind == "extension":
        return r.choice([pa.uuid(), pa.json_(), pa.bool8(), pa.opaque(pa.string(), "geometry", "field suite"),
                         pa.fixed_shape_tensor(pa.float32(), [2, 2])])  # fmt: skip
    if kind == "union":
        fields = [pa.field(f"u{i}", FLAT[r.choice(["integer", "text", "float", "bool"])](r)) for i in range(r.randint(1, 3))]
        return r.choice([pa.sparse_union, pa.dense_union])(fields)
    if kind == "struct":
        return pa.struct([(f"f{i}", any_type(r, depth - 1)) for i in range(r.choice([0, 1, 2, 3]))])
    if kind == "map":
        return pa.map_(FLAT[r.choice(["text", "text", "integer", "date"])](r), any_type(r, depth - 1))
    child = any_type(r, depth - 1)
    if kind == "fixed list":
        return pa.list_(child, r.choice([1, 2, 3]))
    return {"list": pa.list_, "large list": pa.large_list, "list view": pa.list_view, "large list view": pa.large_list_view}[kind](child)


def array(r, kind, n, nulls, extreme):
    """An array of this type, now and then a slice of a longer one."""
    before, after = (r.randint(1, 9), r.randint(0, 9)) if r.random() < 0.4 else (0, 0)
    return whole(r, kind, before + n + after, nulls, extreme).slice(before, n)


def mask(r, n, nulls):
    return [r.random() < nulls for _ in range(n)]


def whole(r, kind, n, nulls, extreme):
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, array(r, kind.storage_type, n, nulls, extreme))
    if is_.is_dictionary(kind):
        return dictionary(r, kind, n, nulls, extreme)
    if is_.is_run_end_encoded(kind):
        return run_ends(r, kind, n, nulls, extreme)
    if is_.is_union(kind):
        return union(r, kind, n, nulls, extreme)
    if not is_.is_nested(kind):
        return flat(r, kind, n, nulls, extreme)
    none = pa.array(mask(r, n, nulls), pa.bool_()) if n else None
    if is_.is_struct(kind):
        if not kind.num_fields:
            return pa.array([None if m else {} for m in mask(r, n, nulls)], kind)
        children = [array(r, field.type, n, nulls, extreme) for field in kind]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=none)
    if is_.is_fixed_size_list(kind):
        child = array(r, kind.value_type, n * kind.list_size, nulls, extreme)
        return pa.FixedSizeListArray.from_arrays(child, type=kind, mask=none)
    lengths = [r.choice([0, 0, 1, 2, 3]) for _ in range(n)]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(int).tolist()
    if is_.is_map(kind):
        keys = distinct(r, kind.key_type, offsets[-1])
        values = array(r, kind.item_type, offsets[-1], nulls, extreme)
        valid = [None if none[i].as_py() else offsets[i] for i in range(n)] + offsets[-1:]
        return pa.MapArray.from_arrays(pa.array(valid, pa.int32()), keys, values, type=kind)
    child = array(r, kind.value_type, offsets[-1], nulls, extreme)
    if is_.is_list(kind):
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), child, type=kind, mask=none)
    if is_.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), child, type=kind, mask=none)
    # Views may lie in any order and over each other.
    spans = []
    for at, length in zip(offsets, lengths):
        spans.append((r.randint(0, offsets[-1] - length) if r.random() < 0.3 else at, length))
    made, width = (pa.ListViewArray, pa.int32()) if is_.is_list_view(kind) else (pa.LargeListViewArray, pa.int64())
    starts, sizes = pa.array([s[0] for s in spans], width), pa.array([s[1] for s in spans], width)
    return made.from_arrays(starts, sizes, child, type=kind, mask=none)


def distinct(r, kind, n):
    """Keys of maps: none twice, because JSON and DuckDB have no form for that."""
    if is_.is_integer(kind):
        return pa.array(r.sample(range(min(127, max(n, 20))), min(n, 100)) + list(range(n - min(n, 100))), kind)
    if is_.is_date(kind):
        return pa.array(r.sample(range(40000), n), pa.int32()).view(pa.date32()).cast(kind)
    return pa.array([f"{r.choice(WORDS)}{i}" for i in range(n)], kind)


def flat(r, kind, n, nulls, extreme):
    values = [None if m else one(r, kind, extreme) for m in mask(r, n, nulls)]
    if is_.is_timestamp(kind) or is_.is_duration(kind) or is_.is_date64(kind) or is_.is_time64(kind):
        return pa.array(values, pa.int64()).view(kind)
    if is_.is_date32(kind) or is_.is_time32(kind):
        return pa.array(values, pa.int32()).view(kind)
    if is_.is_decimal(kind):
        # By bytes, because the conversion from Python's decimals does not take every negative scale.
        size = kind.bit_width // 8
        held = b"".join((v or 0).to_bytes(size, "little", signed=True) for v in values)
        bits = np.packbits(np.array([v is not None for v in values], bool), bitorder="little").tobytes()
        return pa.Array.from_buffers(kind, n, [pa.py_buffer(bits), pa.py_buffer(held)])
    return pa.array(values, kind)


def one(r, kind, extreme):
    """A value of a flat type; with `extreme`, the ends of what it can hold too."""
    ends = extreme and r.random() < 0.3
    if is_.is_boolean(kind):
        return r.random() < 0.5
    if is_.is_integer(kind):
        low, high = integer(kind.bit_width, is_.is_signed_integer(kind))
        return r.choice([low, high, 0, 1, high - 1, min(high, 2**53 + 1), r.randint(low, high), r.randint(0, 100)])
    if is_.is_floating(kind):
        return real(r, kind, ends)
    if is_.is_decimal(kind):
        digits = 10**kind.precision - 1 if ends else r.randint(0, 10 ** r.randint(1, kind.precision) - 1)
        return r.choice([digits, -digits])
    if is_.is_fixed_size_binary(kind):
        return r.randbytes(kind.byte_width)
    if is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind):
        return r.randbytes(r.choice([0, 1, 11, 12, 13, 50]))
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        return r.choice(WORDS)
    if is_.is_date32(kind):
        return r.choice([-(2**31), 2**31 - 1]) if ends else r.choice([0, -1, r.randint(FIRST, LAST) // 86400])
    if is_.is_date64(kind):
        day = r.choice([-(2**31), 2**31 - 1]) if ends else r.choice([0, r.randint(FIRST, LAST) // 86400])
        return day * 86400_000
    if is_.is_time(kind):
        return r.choice([0, r.randrange(86400), 86399]) * FINEST[kind.unit] + r.randrange(FINEST[kind.unit])
    if is_.is_timestamp(kind):
        return stamp(r, FINEST[kind.unit], ends)
    if is_.is_duration(kind):
        return r.choice([2**63 - 1, -(2**63), 2**62]) if ends else r.choice([0, 1, -1, r.randint(-(10**12), 10**12)])
    if is_.is_interval(kind):
        low, high = (-(2**31), 2**31 - 1) if ends else (-1000, 1000)
        nanos = r.choice([-(2**63), 2**63 - 1]) if ends else r.choice([0, r.randint(-(10**15), 10**15)])
        return (r.randint(low, high), r.randint(low, high), nanos)
    return None


def stamp(r, per_second, ends):
    if ends:
        return r.choice([2**63 - 1, -(2**63), -(2**63) + 1, 2**62])
    low, high = (FIRST, LAST) if per_second < 10**9 else (-(2**63) // 10**9 + 1, 2**63 // 10**9 - 1)
    second = r.choice([0, -1, low, high, r.randint(low, high), r.randint(0, 2 * 10**9)])
    return second * per_second + r.choice([0, 0, per_second - 1, r.randrange(per_second)])


def real(r, kind, ends):
    code, size = {16: ("<e", 2), 32: ("<f", 4), 64: ("<d", 8)}[kind.bit_width]
    if ends:
        value = r.choice([float("nan"), float("inf"), float("-inf"), -0.0, struct.unpack(code, r.randbytes(size))[0]])
    else:
        value = r.choice([0.0, 1.0, -1.5, 0.1, 2.0**53, 1e15, 123456.789, r.uniform(-1e3, 1e3), r.uniform(-1, 1)])
    if kind.bit_width == 16:
        return np.float16(max(-65504.0, min(65504.0, value)) if value == value and abs(value) != float("inf") else value)
    return value


def dictionary(r, kind, n, nulls, extreme):
    size = r.choice([1, 3, 20])
    values = array(r, kind.value_type, size, r.choice([0, 0, nulls]), extreme)
    indices = pa.array([None if m else r.randrange(size) for m in mask(r, n, nulls)], kind.index_type)
    return pa.DictionaryArray.from_arrays(indices, values, ordered=kind.ordered)


def run_ends(r, kind, n, nulls, extreme):
    ends, at = [], 0
    while at < n:
        at = min(n, at + r.choice([1, 2, 5]))
        ends.append(at)
    values = flat(r, kind.value_type, len(ends), nulls, extreme)
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, kind.run_end_type), values)


def union(r, kind, n, nulls, extreme):
    codes = [r.randrange(kind.num_fields) for _ in range(n)]
    types, names = [field.type for field in kind], [field.name for field in kind]
    if kind.mode == "sparse":
        children = [flat(r, t, n, nulls, extreme) for t in types]
        return pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), children, names)
    children = [flat(r, t, codes.count(i), nulls, extreme) for i, t in enumerate(types)]
    offsets = [codes[:i].count(code) for i, code in enumerate(codes)]
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), children, names)


def table(r):
    """A table of up to five columns, in chunks; each chunk of a dictionary has a dictionary of its own."""
    rows = r.choice([0, 1, 2, 7, 30, 100])
    count = 0 if r.random() < 0.02 else r.choice([1, 2, 3, 5])
    chunks = [rows] if r.random() < 0.6 else [rows // 2, rows - rows // 2, r.choice([0, 3])]
    nulls, extreme = r.choice([0, 0.2, 0.2, 0.9]), r.random() < 0.35
    arrays, fields = [], []
    for i in range(count):
        kind = any_type(r, r.choice([0, 0, 1, 2, 3]))
        arrays.append(pa.chunked_array([array(r, kind, n, nulls, extreme) for n in chunks], kind))
        again = i > 0 and r.random() < 0.02
        name = "c0" if again else r.choice([f"c{i}", f"c{i}", f'Spalte {i}, "ü"'])
        fields.append(pa.field(name, kind, metadata={"unit": "m/s", "k": ""} if r.random() < 0.1 else None))
    metadata = {"made by": "field suite"} if r.random() < 0.2 else None
    if not count:
        return pa.table({"x": pa.array(range(sum(chunks)))}).select([]).replace_schema_metadata(metadata)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
