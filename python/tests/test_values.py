"""What becomes of numpy's arrays, of buffers and of bytes."""

from __future__ import annotations

import array
import ctypes
import mmap
import pickle
import subprocess
import sys
import textwrap
import warnings
from typing import Any

import numpy as np
import places
import pytest

import faretra

Array = np.ndarray[Any, Any]

PADDED = np.dtype([("flag", "i1"), ("value", "f8"), ("few", "<u2", (2, 3))], align=True)
NESTED = np.dtype([("id", "u1"), ("point", [("x", ">f4"), ("y", "<f4")]), ("name", "U5"), ("raw", "S3")])
LOOSE = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<f8"], "offsets": [4, 16], "itemsize": 40})

DTYPES = [
    *("?", "i1", "u1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<u2", ">u2", "<u4", "<u8", ">u8"),
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "longdouble", "<c8", ">c8", "<c16", ">c16", "clongdouble"),
    *("S1", "S7", "<U1", ">U4", "V5", "<M8[D]", ">M8[ns]", "<M8[25s]", "M8", "<m8[us]", "m8[Y]", "m8"),
    *(PADDED, NESTED, LOOSE),
]


def filled(dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return an array of this type whose bytes are all different, and are values of the type."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape))
    rng = np.random.default_rng(size)
    if kind.kind == "U":
        return np.array(rng.choice(["a", "bc", "déf", "\U0001f600"], size)).astype(kind).reshape(shape)
    if kind.names:
        made = np.zeros(size, kind)
        for name in kind.names:
            field = made[name]
            made[name] = filled(field.dtype, field.shape)
        return made.reshape(shape)
    if kind.kind == "?" or kind.kind == "b":
        return (rng.integers(0, 2, size) != 0).reshape(shape)
    if kind.kind in "fc":
        return rng.random(size).astype(kind).reshape(shape)
    return rng.integers(1, 100, size * kind.itemsize, dtype=np.uint8).view(kind).reshape(shape)


def same(found: Array, put: Array) -> bool:
    """Return whether two arrays have equal type, shape and bytes, but for the padding of records."""
    plain = found.dtype == put.dtype and found.shape == put.shape
    if put.dtype.names:
        return plain and all(same(found[name], put[name]) for name in put.dtype.names)
    return plain and found.tobytes() == np.asarray(put).tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_plain_dtype_comes_back(arena: faretra.Arena, dtype: Any) -> None:
    """An array of any plain element type comes back equal, zero-copy and read-only, whatever its shape."""
    for shape in [(), (1,), (7,), (3, 4), (2, 3, 2), (0,), (3, 0, 2)]:
        put = filled(dtype, shape)
        arena["x"] = put
        found = arena["x"]
        assert type(found) is np.ndarray
        assert same(found, put)
        assert not found.flags.writeable
        assert [entry.kind for entry in arena.entries()] == ["array"]
        assert put.size == 0 or places.array_lies_in(arena, found)


@pytest.mark.parametrize("dtype", ["u1", "<f8", ">i4", PADDED, "U3"], ids=str)
def test_any_strides_go_in(arena: faretra.Arena, dtype: Any) -> None:
    """Views with steps, negative and zero strides, any order of the axes: what comes back has their elements."""
    base = filled(dtype, (6, 5, 4))
    views = [
        base[::2],
        base[::-1],
        base[:, ::-2, ::-1],
        base.T,
        base.transpose(1, 0, 2),
        base[1:3, 2:4, 1],
        base[2, 3, 1],
        np.broadcast_to(base[0, 0], (6, 5, 4)),
        np.broadcast_to(base[:, :1, :1], (6, 5, 4)),
        np.asfortranarray(base),
        np.lib.stride_tricks.sliding_window_view(base[0, 0], 2),
        base[..., None],
        base[3:3],
    ]
    for view in views:
        arena["x"] = view
        assert same(arena["x"], view)
    if base.dtype.names:
        arena["x"] = base["value"]
        assert same(arena["x"], base["value"])


def test_unaligned_elements_go_in(arena: faretra.Arena) -> None:
    """Elements that lie at odd addresses come back whole, and aligned."""
    raw = np.arange(81, dtype="u1")
    put = raw[1:].view("<f8")
    assert not put.flags.aligned
    arena["x"] = put
    assert same(arena["x"], put)
    assert arena["x"].flags.aligned


def test_order_is_kept(arena: faretra.Arena) -> None:
    """C stays C and Fortran stays Fortran; what is neither becomes C."""
    base = np.arange(24.0).reshape(4, 6)
    arena["c"], arena["f"], arena["neither"] = base, np.asfortranarray(base), base[::2, ::3]
    assert arena["c"].flags.c_contiguous and not arena["c"].flags.f_contiguous
    assert arena["f"].flags.f_contiguous and not arena["f"].flags.c_contiguous
    assert arena["neither"].flags.c_contiguous
    for order, name in [("C", "c2"), ("F", "f2")]:
        with arena.draft_array(name, (4, 6), order=order) as draft:  # type: ignore[arg-type]
            draft[...] = base
        assert arena[name].flags[f"{order}_CONTIGUOUS"]
        assert (arena[name] == base).all()


def test_what_is_read_cannot_be_written(arena: faretra.Arena) -> None:
    """Each way to write to what was read raises numpy's ValueError, and changes nothing."""
    arena["x"] = np.arange(4)
    found = arena["x"]
    for view in [found, found[1:], found.reshape(2, 2), np.asarray(memoryview(found)), found.view("u1")]:
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 9
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
    with pytest.raises(TypeError, match="read-only"):
        memoryview(found)[0] = 9
    with pytest.raises(ValueError):
        found.resize(8)
    with pytest.raises((TypeError, BufferError)):
        ctypes.c_char.from_buffer(found)
    assert (arena["x"] == np.arange(4)).all()


def test_memmap_and_recarray_become_plain_arrays(arena: faretra.Arena, tmp_path: Any) -> None:
    """Two subclasses that only say where memory is, or how fields are spelled, come back as plain arrays."""
    mapped = np.memmap(tmp_path / "file", dtype="f8", mode="w+", shape=(3, 2))
    mapped[...] = np.arange(6.0).reshape(3, 2)
    records = np.rec.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    arena["mapped"], arena["records"] = mapped, records
    assert type(arena["mapped"]) is np.ndarray
    assert same(arena["mapped"], np.asarray(mapped))
    assert type(arena["records"]) is np.ndarray
    assert arena["records"].dtype.names == ("a", "b")
    again = arena["records"].view(np.recarray)
    assert again.b.tolist() == [2.5, 4.5]
    assert places.array_lies_in(arena, again)


class Tagged(np.ndarray):
    """A subclass without anything of its own to be pickled."""


def test_other_subclasses_keep_their_class(arena: faretra.Arena) -> None:
    """A matrix, a masked array and a class of one's own come back as what they were, with their memory in the arena."""
    matrix = np.arange(400.0).reshape(20, 20).view(np.matrix)
    masked = np.ma.MaskedArray(np.arange(1000), mask=np.arange(1000) % 3 == 0, fill_value=-5)
    unmasked = np.ma.MaskedArray(np.arange(1000.0), hard_mask=True)
    tagged = np.arange(500).view(Tagged)
    arena["matrix"], arena["masked"], arena["unmasked"], arena["tagged"] = matrix, masked, unmasked, tagged
    assert type(arena["matrix"]) is np.matrix
    assert (arena["matrix"] == matrix).all()
    assert places.array_lies_in(arena, arena["matrix"])
    found = arena["masked"]
    assert type(found) is np.ma.MaskedArray
    assert found.fill_value == -5
    assert found.sum() == masked.sum()
    assert (found.mask == masked.mask).all()
    assert places.array_lies_in(arena, found.data)
    assert places.array_lies_in(arena, np.asarray(found.mask))
    assert arena["unmasked"].mask is np.ma.nomask
    assert arena["unmasked"].hardmask
    assert type(arena["tagged"]) is Tagged
    assert places.array_lies_in(arena, arena["tagged"])


def test_types_of_other_libraries_are_pickled_zero_copy(arena: faretra.Arena) -> None:
    """An array of bfloat16 or float8 comes back with its type, and its memory is the arena's."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4]:
        put = np.arange(4000).reshape(40, 100).astype(dtype)
        for view in [put, put.T, put[::3, ::-1]]:
            arena["x"] = view
            assert same(arena["x"], view)
            assert places.array_lies_in(arena, arena["x"])
        arena["in a dict"] = {"w": put}
        assert places.array_lies_in(arena, arena["in a dict"]["w"])


def test_strings_of_any_length_are_pickled(arena: faretra.Arena) -> None:
    """numpy's StringDType is pointers into one process: the array comes back equal, and a warning says that it is copied."""
    put = np.array(["a", "bc" * 50, ""], dtype=np.dtypes.StringDType())
    with pytest.warns(UserWarning, match="copied"):
        arena["x"] = put
    assert arena["x"].dtype == put.dtype
    assert (arena["x"] == put).all()


def test_object_arrays_warn_once_at_each_line(arena: faretra.Arena) -> None:
    """An array of Python objects is pickled, and each line that does so is told once, with its own file and number."""
    put = np.array([1, "a", None, {"k": [2]}], dtype=object)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            arena["x"] = put
        for _ in range(3):
            arena.put_many("y", {"o": put})
    assert [str(w.filename) for w in caught] == [__file__, __file__]
    assert len({w.lineno for w in caught}) == 2
    assert arena["x"].tolist() == put.tolist()
    assert arena["y"]["o"].tolist() == put.tolist()


def test_bytes_and_buffers(arena: faretra.Arena) -> None:
    """Bytes come back as a read-only memoryview over the arena; buffers of numbers as an array."""
    mapped = mmap.mmap(-1, 4096)
    mapped[:5] = b"hello"
    buffers: list[Any]
    buffers = [b"hello", bytearray(b"hello"), memoryview(b"hello"), pickle.PickleBuffer(b"hello"), b""]
    for put in buffers:
        arena["x"] = put
        found = arena["x"]
        assert isinstance(found, memoryview)
        assert found.readonly
        assert bytes(found) == bytes(put)
    arena["x"] = mapped
    assert bytes(arena["x"])[:5] == b"hello"
    assert len(arena["x"]) == 4096
    arena["x"] = b"some bytes" * 100
    assert places.array_lies_in(arena, np.frombuffer(arena["x"], "u1"))
    arena["x"] = array.array("d", [1.0, 2.5])
    assert same(arena["x"], np.array([1.0, 2.5]))
    arena["x"] = (ctypes.c_int32 * 3)(1, 2, 3)
    assert same(arena["x"], np.array([1, 2, 3], "i4"))
    grid: Any = np.arange(6).reshape(2, 3)
    arena["x"] = memoryview(grid).toreadonly()
    assert same(arena["x"], np.arange(6).reshape(2, 3))
    arena["x"] = memoryview(b"abcdef")[::2]
    assert bytes(arena["x"]) == b"ace"


def test_scalars_stay_scalars(arena: faretra.Arena) -> None:
    """Numbers, strings, dates and numpy's scalars come back as what they were."""
    for put in [
        1,
        2.5,
        "text",
        None,
        True,
        1j,
        np.float64(2.5),
        np.int8(3),
        np.datetime64("2020-01-01"),
        np.str_("s"),
    ]:
        arena["x"] = put
        assert type(arena["x"]) is type(put)
        assert arena["x"] == put


def test_what_was_read_goes_in_again(arena: faretra.Arena) -> None:
    """An array of the arena, put under another name, is no second copy; a part of it is."""
    arena["a"] = np.arange(1_000_000)
    before = arena.stats().live
    arena["b"] = arena["a"]
    assert arena.stats().live - before < 100_000
    assert places.pins(arena) == 0
    assert (arena["b"] == arena["a"]).all()
    arena["c"] = arena["a"][::2]
    assert (arena["c"] == np.arange(0, 1_000_000, 2)).all()
    arena["a"] = np.zeros(3)
    assert arena["b"][-1] == 999_999


class Exporter:
    """Something of another library: it speaks DLPack, and nothing else that we know."""

    def __init__(self, array: Array, legacy: bool = False) -> None:
        self.array, self.legacy, self.asked = array, legacy, 0

    def __dlpack__(self, **options: Any) -> Any:
        self.asked += 1
        if self.legacy:
            options = {}
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_dlpack_in(arena: faretra.Arena) -> None:
    """What exports DLPack becomes an array, with capsules of the old and of the new kind, read-only ones too."""
    plain = np.arange(12.0).reshape(3, 4)
    locked = plain[:, ::2]
    locked.flags.writeable = False
    for put in [Exporter(plain), Exporter(plain, legacy=True), Exporter(plain.T), Exporter(locked)]:
        arena["x"] = put
        assert put.asked == 1
        assert same(arena["x"], put.array)


def test_dlpack_in_says_why_not(arena: faretra.Arena) -> None:
    """What can neither be read by DLPack nor pickled is a TypeError that has both reasons."""

    class Elsewhere(Exporter):
        def __dlpack_device__(self) -> Any:
            return (2, 0)

        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("it is on a device")

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("no pickles here")

    with pytest.raises(TypeError, match="no pickles here") as caught:
        arena["x"] = Elsewhere(np.zeros(2))
    assert any("device" in note for note in caught.value.__notes__)
    assert len(arena) == 0


def test_dlpack_out(arena: faretra.Arena) -> None:
    """Arrays go out by DLPack with the read-only flag; who cannot take it gets a BufferError, and `private` is the way."""
    arena["x"] = np.arange(12.0).reshape(3, 4)
    taken = np.from_dlpack(arena["x"])
    assert not taken.flags.writeable
    assert places.array_lies_in(arena, taken)
    assert "versioned" in repr(arena["x"].__dlpack__(max_version=(1, 0)))
    with pytest.raises(BufferError):
        arena["x"].__dlpack__()
    private = arena.private("x")
    assert "dltensor" in repr(private.__dlpack__())
    # Which older numpys take as read-only, too.
    same = np.from_dlpack(private)
    private[...] = 0
    assert (same == 0).all()
    assert (arena["x"] == taken).all()


def test_private_views(arena: faretra.Arena) -> None:
    """A private view is written by one process, and nobody else sees that; a table has none, and says so."""
    pyarrow = pytest.importorskip("pyarrow")
    arena["x"], arena["b"] = np.arange(4), b"bytes"
    mine, bytes_ = arena.private("x"), arena.private("b")
    mine[0], bytes_[0] = 9, 66
    assert arena["x"][0] == 0
    assert bytes(arena["b"]) == b"bytes"
    assert bytes(bytes_) == b"Bytes"
    arena["y"] = mine
    assert arena["y"].tolist() == [9, 1, 2, 3]
    arena["t"], arena["p"] = pyarrow.table({"a": [1]}), {"a": 1}
    for name in ["t", "p"]:
        with pytest.raises(BufferError, match="only arrays and bytes"):
            arena.private(name)


def test_without_numpy_bytes_go_through(fresh_name: Any) -> None:
    """A program that has not imported numpy puts and reads bytes and pickles without it."""
    code = f"""
        import sys, faretra
        assert "numpy" not in sys.modules
        with faretra.Arena.create({fresh_name()!r}, limit="16MiB", keep=False) as arena:
            arena["b"] = b"bytes"
            arena["p"] = [1, "two"]
            assert bytes(arena["b"]) == b"bytes" and arena["p"] == [1, "two"]
            assert "numpy" not in sys.modules
            import numpy
            arena["a"] = numpy.zeros(3)
            assert type(arena["a"]) is numpy.ndarray
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_object_arrays_in_containers_warn(arena: faretra.Arena) -> None:
    """Inside of a dict, a list or a stored list, an array of Python objects is told of as well, once for each put."""
    objects = np.array([1, "a"], dtype=object)
    puts: list[Any] = [{"o": objects, "p": objects.copy()}, [[objects]], faretra.List([objects])]
    for put in puts:
        with pytest.warns(UserWarning, match="array of Python objects") as caught:
            arena["x"] = put
        assert [w.filename for w in caught] == [__file__]
    with pytest.warns(UserWarning, match="array of Python objects"):
        arena.sender("channel").send({"o": objects})


def test_drafts_of_elements_that_are_arrays(arena: faretra.Arena) -> None:
    """An element type that has a shape adds its axes to the draft's, as in numpy.empty."""
    elements: list[Any] = ["(2,)f8", ("i4", (2, 2)), np.dtype((np.dtype("(2,)f4"), (3,)))]
    for given in elements:
        expected = np.empty((3,), given)
        with arena.draft_array("x", (3,), given) as draft:
            assert (draft.shape, draft.dtype) == (expected.shape, expected.dtype)
            draft[:] = 7
        assert arena["x"].shape == expected.shape and (arena["x"] == 7).all()
    with arena.draft_array("r", 2, [("p", "f8", (3,))]) as record:
        assert record.dtype == np.dtype([("p", "f8", (3,))]) and record.shape == (2,)


def test_a_draft_that_is_not_published_keeps_its_values(arena: faretra.Arena) -> None:
    """When publishing fails, what was written is there, and can be put."""
    arena.mutex("x")
    draft = arena.draft_array("x", 100_000)
    array = draft.value
    array[:] = 7
    with pytest.raises(faretra.MismatchError):
        draft.publish()
    assert array.sum() == 700_000
    with pytest.raises(faretra.MismatchError), arena.draft_array("x", 1000) as other:
        other[:] = 8
    assert other.sum() == 8000
    arena["y"], arena["z"] = array, other
    assert (arena["y"].sum(), arena["z"].sum()) == (700_000, 8000)
