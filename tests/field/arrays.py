"""Random .npy files of every element type, rank and order: the same array comes back, or it is refused in words."""

import csv
import dataclasses
import io
import math
import struct

import numpy as np

from texts import load
from tool import Wrong

NAME = "arrays"
NUMBERS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
OTHERS = [
    "S5", "U5", "M8[us]", "M8[25s]", "M8[D]", "m8[s]", "g", "G", "V8", "i4,f8", "i4,(2,3)>f8,S3",
    [("a b", "u1"), ("größe", ">U2"), ("p", [("x", "<f4"), ("y", ">i8")], (2,))],
    {"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [3, 8], "itemsize": 24},
]
NOT_HELD = ["O", [("a", "<f4"), ("b", "O")]]


@dataclasses.dataclass
class Input:
    array: np.ndarray
    version: tuple
    fortran: bool
    held: bool

    def __str__(self):
        return f"{self.array.dtype.str} {self.array.shape} fortran={self.fortran} {self.array.tolist()!r:.2000}"


def make_input(r):
    held = r.random() < 0.95
    kind = np.dtype(r.choice(r.choice([NUMBERS, NUMBERS, OTHERS]) if held else NOT_HELD))
    if r.random() < 0.3 and held:
        kind = kind.newbyteorder(">")
    rank = r.choice([0, 1, 1, 2, 2, 3, 5, 32])
    shape = [r.choice([0, 1, 2, 3, 7]) if rank < 5 else r.choice([1, 1, 2]) for _ in range(rank)]
    if rank == 32:
        shape = [1] * 31 + [2]
    array = filled(r, kind, shape)
    if rank and r.random() < 0.3:
        # A view with strides; numpy writes what it shows.
        array = filled(r, kind, [2 * n for n in shape] if rank < 5 else shape)
        array = array[tuple(slice(None, None, r.choice([2, -2])) for _ in shape)] if rank < 5 else array
    fortran = r.random() < 0.4
    return Input(np.asfortranarray(array) if fortran and rank else array, r.choice([(1, 0), (1, 0), (2, 0), (3, 0)]), fortran, held)


def filled(r, kind, shape):
    count = math.prod(shape)
    if kind.kind == "O":
        return np.array([{"a": 1}] * max(count, 1), object)[:count].reshape(shape)
    if kind.hasobject:
        return np.zeros(shape, kind)
    if kind.kind == "b":
        return np.array([r.random() < 0.5 for _ in range(count)], bool).reshape(shape)
    if kind.kind in "fc" and kind.char not in "gG" and r.random() < 0.5:
        choices = [0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf"), 0.1, 1e-300, -1e20, 65504.0, 2.0**-24]
        with np.errstate(all="ignore"):
            part = np.array([r.choice(choices) for _ in range(count)])
            return (part + 1j * part[::-1] if kind.kind == "c" else part).astype(kind).reshape(shape)
    if kind.names:
        array = np.zeros(shape, kind)
        for name in kind.names:
            base, inner = kind[name].subdtype or (kind[name], ())
            array[name] = filled(r, base, [*shape, *inner])
        return array
    if kind.kind in "U":
        return np.array(["é" * r.randint(0, 5) for _ in range(count)], kind).reshape(shape)
    return np.frombuffer(r.randbytes(count * kind.itemsize) or b"", kind, count).reshape(shape)


def write(given, path):
    with open(path, "wb") as file:
        np.lib.format.write_array(file, given.array, version=given.version)


def check(tool, given):
    path = tool.path("in.npy")
    write(given, path)
    ran = tool.put("a", path)
    if ran.code:
        tool.refused(f"array of {given.array.dtype.kind}{given.array.dtype.itemsize}", "put npy", ran)
        if given.held:
            raise Wrong(f"put npy refuses {given.array.dtype.str}, rank {given.array.ndim}: {ran.brief}", ran.why)
        return "refused"
    if not given.held:
        raise Wrong(f"put npy takes {given.array.dtype.str}", str(given))
    with tool.noting():
        back(tool, given)
    for style in ("json", "jsonl", "csv", "table"):
        with tool.noting():
            printed(tool, style, given)
    with tool.noting():
        ran = tool.export("a", tool.path("out.parquet"))
        if ran.code == 0:
            raise Wrong("export of an array to Parquet is done", str(given))
        tool.refused("array", "export parquet", ran)
    return None


def back(tool, given):
    target = tool.path("out.npy")
    ran = tool.export("a", target)
    if ran.code:
        raise Wrong(f"export npy refuses: {ran.brief}", ran.why)
    same_array(given, np.load(target, allow_pickle=False), "npy to npy")


def values(array):
    """The bytes of all values: numpy itself does not keep what lies between the fields of records."""
    names = array.dtype.names
    return b"".join(values(array[name]) for name in names) if names else array.tobytes()


def same_array(given, found, what):
    if found.dtype != given.array.dtype or found.shape != given.array.shape or values(found) != values(given.array):
        raise Wrong(f"{what}: {given.array.dtype.str} changes", f"{given} became {found.dtype.str} {found.tolist()!r:.300}")


def same(kind, before, found):
    """Whether a number of JSON or CSV says the element. Texts, times and records: numpy has no words to compare with."""
    if kind.kind not in "biufc" or kind.char in "gG":
        return True
    if kind.kind == "c":
        part = np.dtype(f"f{kind.itemsize // 2}")
        return isinstance(found, list) and len(found) == 2 and same(part, before.real, found[0]) and same(part, before.imag, found[1])
    if kind.kind == "b":
        return found is bool(before)
    if kind.kind in "iu":
        return found == int(before) and not isinstance(found, bool)
    if not np.isfinite(before):
        return found is None or (isinstance(found, str) and struct.pack("<d", float(found))[1:] == struct.pack("<d", before)[1:])
    if found is None or isinstance(found, bool):
        return False
    with np.errstate(over="ignore"):
        value = kind.newbyteorder("=").type(str(found))
    return value.tobytes() == kind.newbyteorder("=").type(before).tobytes()


def printed(tool, style, given):
    array, kind = given.array, given.array.dtype
    ran = tool.cat("a", style)
    if ran.code:
        tool.refused("array", f"cat {style}", ran)
        if style == "csv" and array.ndim > 2:
            return
        raise Wrong(f"cat {style} refuses {kind.str}, rank {array.ndim}: {ran.brief}", ran.why)
    if style == "table":
        return
    if kind.kind not in "biufc" or kind.char in "gG":
        return
    if style == "csv":
        if array.ndim > 2:
            raise Wrong("cat csv prints an array of rank 3", str(given))
        return of_csv(ran.out.decode(), given)
    # Both styles of JSON print the array as one document, on one line.
    differs(style, kind, array, load(ran.out))


def differs(style, kind, array, found):
    if array.ndim == 0:
        if not same(kind, array[()], found):
            raise Wrong(f"cat {style}: {kind.str} changes", f"{array[()]!r} became {found!r}")
        return
    if not isinstance(found, list) or len(found) != len(array):
        raise Wrong(f"cat {style}: the shape {'x'.join(map(str, array.shape[:3]))} changes", f"{array.shape} became {found!r:.200}")
    for item, seen in zip(array, found):
        differs(style, kind, np.asarray(item), seen)


def of_csv(text, given):
    array, kind = given.array, given.array.dtype
    rows = list(csv.reader(io.StringIO(text)))
    lines = array.reshape(-1, 1) if array.ndim < 2 else array
    if array.size and len(rows) != len(lines):
        raise Wrong(f"cat csv: the shape of {kind.str} changes", f"{array.shape} became {len(rows)} rows")
    for row, cells in zip(lines, rows):
        if array.size and len(row) != len(cells):
            raise Wrong(f"cat csv: the shape of {kind.str} changes", f"{array.shape} became {cells}")
        for value, cell in zip(row, cells):
            if not same_csv(kind, value, cell):
                raise Wrong(f"cat csv: {kind.str} changes", f"{value!r} became {cell!r}")


def same_csv(kind, value, cell):
    if kind.kind == "b":
        return cell == str(bool(value)).lower()
    if kind.kind == "c":
        seen = kind.newbyteorder("=").type(complex(cell.replace("i", "j").replace("jnf", "inf")))
        return seen.real == value.real and seen.imag == value.imag or not np.isfinite(value)
    if kind.kind == "f" and not np.isfinite(value):
        return cell.lower() == str(float(value)).lower()
    return same(kind, value, int(cell) if kind.kind in "iu" else cell)


def smaller(given):
    for axis in range(given.array.ndim):
        if given.array.shape[axis] > 1:
            half = given.array.shape[axis] // 2
            first, second = np.split(given.array, [half], axis)
            yield dataclasses.replace(given, array=first)
            yield dataclasses.replace(given, array=second)
    if given.version != (1, 0):
        yield dataclasses.replace(given, version=(1, 0))


def save(given, directory):
    path = directory / "in.npy"
    write(given, path)
    (directory / "input.txt").write_text(str(given))
    return path
