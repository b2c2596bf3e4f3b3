"""Shows that another Arrow implementation reads batches in an arena where they lie, without a copy: one, and a
slice of it that shares its buffers.

Needs pyarrow, and the example `ipc_messages` in FARETRA_TARGET/examples.
"""

import ctypes
import json
import os
import struct
import subprocess

import pyarrow as pa

PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
PROT_READ, PROT_WRITE = 1, 2
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 1, 2, 0x10, 0x20, 0x4000


def mmap(at, length, prot, flags, fd=-1, offset=0):
    got = libc.mmap(at, length, prot, flags, fd, offset)
    if got in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    return got


def encapsulate(metadata):
    """The frame that a stream has around a message: a marker, the length, padding to 8 bytes."""
    metadata += bytes(-len(metadata) % 8)
    return struct.pack("<Ii", 0xFFFFFFFF, len(metadata)) + metadata


def message_before_body(message, fd, body_offset):
    """Maps the body once, read-only, with the message's metadata in the pages right before it.

    That is how an IPC reader expects them: the body follows the metadata. Nothing is copied but the
    metadata, a few hundred bytes.
    """
    body_len = os.fstat(fd).st_size - body_offset
    front = -(-len(message) // PAGE) * PAGE
    base = mmap(None, front + body_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
    mmap(base + front, body_len, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, body_offset)
    start = base + front - len(message)
    ctypes.memmove(start, message, len(message))
    return pa.foreign_buffer(start, len(message) + body_len), base + front, body_len


def read(told):
    """The batch, and its buffers, all of which lie in the arena."""
    schema = pa.ipc.read_schema(pa.py_buffer(encapsulate(bytes.fromhex(told["schema"]))))
    fd = os.open(told["path"], os.O_RDONLY)
    before = pa.total_allocated_bytes()
    message = encapsulate(bytes.fromhex(told["batch"]))
    buffer, body, body_len = message_before_body(message, fd, told["body_offset"])
    batch = pa.ipc.read_record_batch(pa.ipc.read_message(buffer), schema)
    batch.validate(full=True)
    allocated = pa.total_allocated_bytes() - before

    rows = range(told["from"], told["from"] + told["rows"])
    assert batch.num_rows == len(rows) and batch.schema.names == ["x", "n", "s"], batch.schema
    assert batch["x"].to_pylist() == [i * 0.5 for i in rows]
    assert batch["n"].to_pylist() == [i if i % 3 else None for i in rows]
    assert batch["s"].to_pylist() == [f"row {i}" for i in rows]
    seen = [b for column in batch.columns for b in column.buffers() if b is not None and b.size]
    for b in seen:
        assert body <= b.address < body + body_len, "a buffer lies outside the arena"
    assert allocated == 0, f"pyarrow allocated {allocated} bytes"
    print(f"pyarrow {pa.__version__} read {len(rows)} rows, {len(seen)} buffers, all in the arena, 0 bytes allocated")
    return [b.address - body for b in seen]


def main():
    example = os.path.join(os.environ["FARETRA_TARGET"], "examples", "ipc_messages")
    with subprocess.Popen([example], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
        whole = read(json.loads(peer.stdout.readline()))
        told = json.loads(peer.stdout.readline())
        assert read(told)[0] == whole[0] + 8 * told["from"], "the slice was copied"
        peer.stdin.close()
    assert peer.returncode == 0
    print("2 passed, 0 failed")


main()
