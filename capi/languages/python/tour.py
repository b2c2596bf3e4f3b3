"""The tour in Python, by the standard library's ctypes alone. (Programs in Python are better off with the package `faretra`.)"""

import ctypes as c
import os
import struct

lib = c.CDLL(os.environ["FARETRA_LIBRARY"])
FOREVER = -1
DEADLINE = 60_000


class Options(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("dir", c.c_char_p),
        ("limit", c.c_uint64),
        ("capacity", c.c_uint64),
        ("writers", c.c_uint32),
        ("participants", c.c_uint32),
        ("mode", c.c_uint32),
        ("ephemeral", c.c_uint32),
        ("untrusted", c.c_uint32),
        ("trust_others", c.c_uint32),
    ]


class LastError(c.Structure):
    _fields_ = [
        ("code", c.c_int),
        ("os_error", c.c_int32),
        ("asked", c.c_uint64),
        ("found", c.c_uint64),
        ("message", c.c_char_p),
    ]


class Value(c.Structure):
    _fields_ = [
        ("kind", c.c_uint32),
        ("reserved", c.c_uint32),
        ("data", c.c_void_p),
        ("detail", c.c_void_p),
        ("len", c.c_size_t),
        ("shape", c.c_void_p),
        ("strides", c.c_void_p),
    ]


class Info(c.Structure):
    _fields_ = [
        ("kind", c.c_int),
        ("version", c.c_uint64),
        ("nbytes", c.c_uint64),
        ("rows", c.c_uint64),
        ("published_ns", c.c_uint64),
    ]


class NdArray(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("nbytes", c.c_size_t),
        ("dtype", c.c_char_p),
        ("rank", c.c_size_t),
        ("shape", c.POINTER(c.c_int64)),
        ("strides", c.POINTER(c.c_int64)),
    ]


class ArrowSchema(c.Structure):
    pass


class ArrowArray(c.Structure):
    pass


RELEASE_SCHEMA = c.CFUNCTYPE(None, c.POINTER(ArrowSchema))
RELEASE_ARRAY = c.CFUNCTYPE(None, c.POINTER(ArrowArray))
ArrowSchema._fields_ = [
    ("format", c.c_char_p),
    ("name", c.c_char_p),
    ("metadata", c.c_char_p),
    ("flags", c.c_int64),
    ("n_children", c.c_int64),
    ("children", c.POINTER(c.POINTER(ArrowSchema))),
    ("dictionary", c.POINTER(ArrowSchema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", c.c_void_p),
]
ArrowArray._fields_ = [
    ("length", c.c_int64),
    ("null_count", c.c_int64),
    ("offset", c.c_int64),
    ("n_buffers", c.c_int64),
    ("n_children", c.c_int64),
    ("buffers", c.POINTER(c.c_void_p)),
    ("children", c.POINTER(c.POINTER(ArrowArray))),
    ("dictionary", c.POINTER(ArrowArray)),
    ("release", RELEASE_ARRAY),
    ("private_data", c.c_void_p),
]

for name in ("bytes", "array", "batch"):
    getattr(lib, f"faretra_value_{name}").restype = Value
lib.faretra_code_name.restype = c.c_char_p
lib.faretra_last_error.restype = c.POINTER(LastError)
lib.faretra_lease_object.restype = c.c_void_p
lib.faretra_lease_attempts.restype = c.c_uint64
NAME = c.c_char_p
VALUE_ARGUMENTS = {
    "faretra_value_bytes": [c.c_char_p, c.c_size_t],
    "faretra_value_array": [c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p],
    "faretra_value_batch": [c.c_void_p, c.c_void_p],
    "faretra_publish": [c.c_void_p, NAME, Value, c.c_void_p],
    "faretra_send": [c.c_void_p, Value, c.c_int64],
    "faretra_recv": [c.c_void_p, c.c_int64, c.c_void_p],
    "faretra_writer_new": [c.c_void_p, c.c_int64, c.c_void_p],
    "faretra_sender_new": [c.c_void_p, NAME, c.c_size_t, c.c_uint32, c.c_void_p],
    "faretra_receiver_new": [c.c_void_p, NAME, c.c_int64, c.c_uint32, c.c_void_p],
    "faretra_lease_object": [c.c_void_p],
    "faretra_lease_attempts": [c.c_void_p],
}
for name, arguments in VALUE_ARGUMENTS.items():
    getattr(lib, name).argtypes = arguments


def check(code):
    if code != 0:
        raise OSError(lib.faretra_last_error().contents.message.decode())


def made(function, *arguments):
    """Returns the handle that a function gives out through its last parameter."""
    handle = c.c_void_p()
    check(function(*arguments, c.byref(handle)))
    return handle


def text(handle):
    data, length = c.c_void_p(), c.c_size_t()
    check(lib.faretra_object_bytes(c.c_void_p(handle) if isinstance(handle, int) else handle, c.byref(data), c.byref(length)))
    return c.string_at(data, length.value).decode()


options = Options(size=c.sizeof(Options), limit=64 << 20, capacity=256 << 20, ephemeral=1)
arena = made(lib.faretra_arena_create, b"tour", c.byref(options))
print("arena tour")

writer = made(lib.faretra_writer_new, arena, DEADLINE)
check(lib.faretra_publish(writer, b"greeting", lib.faretra_value_bytes(b"hello", 5), None))
greeting = made(lib.faretra_get, arena, b"greeting")
info = Info()
check(lib.faretra_object_info(greeting, c.byref(info)))
print("greeting", text(greeting), "version", info.version)
lib.faretra_object_free(greeting)

numbers = (c.c_double * 6)(*range(6))
shape = (c.c_int64 * 2)(2, 3)
value = lib.faretra_value_array(b"<f8", 2, c.addressof(shape), None, c.addressof(numbers))
check(lib.faretra_publish(writer, b"array", value, None))
handle = made(lib.faretra_get, arena, b"array")
array = NdArray()
check(lib.faretra_object_array(handle, c.byref(array)))
lengths = "x".join(str(array.shape[axis]) for axis in range(array.rank))
values = struct.unpack("<6d", c.string_at(array.data, array.nbytes))
print("array", array.dtype.decode(), lengths, "sum", int(sum(values)))
lib.faretra_object_free(handle)

nothing = c.c_void_p()
print("nothing", lib.faretra_code_name(lib.faretra_get(arena, b"nothing", c.byref(nothing))).decode())

sender = made(lib.faretra_sender_new, writer, b"jobs", 4, 0)
receiver = made(lib.faretra_receiver_new, arena, b"jobs", 0, 0)
for job in (b"job 0", b"job 1", b"job 2"):
    check(lib.faretra_send(sender, lib.faretra_value_bytes(job, len(job)), FOREVER))
lib.faretra_lease_nack(made(lib.faretra_recv, receiver, DEADLINE))
for _ in range(3):
    lease = made(lib.faretra_recv, receiver, DEADLINE)
    print(text(lib.faretra_lease_object(lease)), "again", lib.faretra_lease_attempts(lease))
    lib.faretra_lease_ack(lease)
check(lib.faretra_sender_close(sender))
lease = c.c_void_p()
print("jobs", lib.faretra_code_name(lib.faretra_recv(receiver, FOREVER, c.byref(lease))).decode())
lib.faretra_receiver_free(receiver)
lib.faretra_sender_free(sender)


# The library releases nothing of what goes in, and this memory is Python's: only a sign that it was not released yet is needed.
@RELEASE_SCHEMA
def keep_schema(_):
    pass


@RELEASE_ARRAY
def keep_array(_):
    pass


ids = (c.c_int64 * 1000)(*range(1000))
column_buffers = (c.c_void_p * 2)(None, c.addressof(ids))
column = ArrowArray(length=1000, n_buffers=2, buffers=column_buffers, release=keep_array)
columns = (c.POINTER(ArrowArray) * 1)(c.pointer(column))
batch = ArrowArray(
    length=1000, n_buffers=1, n_children=1, buffers=(c.c_void_p * 1)(None), children=columns, release=keep_array
)
field = ArrowSchema(format=b"l", name=b"id", release=keep_schema)
fields = (c.POINTER(ArrowSchema) * 1)(c.pointer(field))
schema = ArrowSchema(format=b"+s", name=b"", n_children=1, children=fields, release=keep_schema)
value = lib.faretra_value_batch(c.addressof(batch), c.addressof(schema))
check(lib.faretra_publish(writer, b"ids", value, None))
got, got_schema = ArrowArray(), ArrowSchema()
check(lib.faretra_get_batch(arena, b"ids", c.byref(got), c.byref(got_schema)))
total = sum(c.cast(got.children[0].contents.buffers[1], c.POINTER(c.c_int64))[: got.length])
print("ids", got.length, "rows sum", total)
got.release(c.byref(got))
got_schema.release(c.byref(got_schema))

check(lib.faretra_arena_verify(arena))
print("sound")
lib.faretra_writer_free(writer)
lib.faretra_arena_free(arena)
