"""Files with bytes changed or cut: refused in one line or read, quickly, in little memory, without a panic."""

import dataclasses
import pathlib
import tempfile

import arrays
import layouts
import tables
from tool import within

NAME = "damage"
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
    path = tool.path(f"in.{given.suffix}")
    path.write_bytes(given.damaged())
    ran = tool.put("d", path, deadline=10, under=within(300))
    if ran.code:
        tool.refused(f"damaged .{given.suffix}", "put", ran)
        return "refused"
    # What is prose in a text of a damaged file is the file's; so `run`, not `cat`.
    for style in ("csv", "json", "table"):
        with tool.noting():
            tool.run("cat", tool.arena, "d", "--format", style, deadline=10, under=within(300))
    for target in ("out.parquet", "out.arrow", "out.npy"):
        with tool.noting():
            tool.export("d", tool.path(target), deadline=10, under=within(300))
    with tool.noting():
        tool.run("verify", tool.arena, deadline=10, codes=(0,))
    return "read"


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
