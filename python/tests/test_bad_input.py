"""Bad input: every mistake is an exception in words, and leaves the arena as it was."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import places
import pytest

import faretra
from faretra import _native

Call = Callable[[Any], Any]
Kinds = type[Exception] | tuple[type[Exception], ...]

HUGE = 2**70

VALUES: dict[str, tuple[Call, Kinds, str]] = {
    "name: empty": (lambda a: a.put("", b"x"), ValueError, "name"),
    "name: too long": (lambda a: a.put("n" * 10_000, b"x"), ValueError, "10000"),
    "name: a lone surrogate": (lambda a: a.put("bad\ud800", b"x"), ValueError, r"no text that can be UTF-8"),
    "name: read with a lone surrogate": (lambda a: a["bad\ud800"], ValueError, r"no text that can be UTF-8"),
    "name: deleted with a lone surrogate": (lambda a: a.__delitem__("\udfff"), ValueError, "UTF-8"),
    "name: a number": (lambda a: a.put(5, b"x"), TypeError, "a name is a str, not int"),
    "name: bytes": (lambda a: a[b"x"], TypeError, "a name is a str, not bytes"),
    "name: None": (lambda a: None in a, TypeError, "a name is a str, not NoneType"),
    "missing": (lambda a: a["nothing"], KeyError, r"arena\.entries\(\)"),
    "missing, deleted": (lambda a: a.__delitem__("nothing"), KeyError, "nothing"),
    "missing, private": (lambda a: a.private("nothing"), KeyError, "nothing"),
    "object dtype at a draft": (lambda a: a.draft_array("d", 3, object), TypeError, "pickles it"),
    "objects in fields at a draft": (lambda a: a.draft_array("d", 3, [("a", "O")]), TypeError, "pickles it"),
    "strings of any length at a draft": (
        lambda a: a.draft_array("d", 3, np.dtypes.StringDType()),
        TypeError,
        "not|pointers",
    ),
    "no dtype at a draft": (lambda a: a.draft_array("d", 3, "nonsense"), TypeError, "nonsense"),
    "negative shape": (lambda a: a.draft_array("d", (3, -1)), ValueError, r"negative.*\(3, -1\)"),
    "huge shape": (lambda a: a.draft_array("d", HUGE), ValueError, "not a number from 0"),
    "a shape whose product is too large": (
        lambda a: a.draft_array("d", (2**40, 2**40)),
        ValueError,
        "larger than memory can be",
    ),
    "a shape that is too large": (lambda a: a.draft_array("d", 2**50), ValueError, "bytes"),
    "a shape of floats": (
        lambda a: a.draft_array("d", (2.5,)),
        (TypeError, AttributeError),
        "integer|__index__",
    ),
    "a shape of text": (
        lambda a: a.draft_array("d", "abc"),
        (TypeError, AttributeError),
        "integer|__index__",
    ),
    "an order of neither kind": (
        lambda a: a.draft_array("d", 3, order="K"),
        ValueError,
        "'C' or 'F', not \"K\"",
    ),
    "negative bytes": (lambda a: a.draft_bytes("d", -1), ValueError, "negative"),
    "huge bytes": (lambda a: a.draft_bytes("d", HUGE), ValueError, "not a number from 0"),
    "more bytes than the limit": (lambda a: a.draft_bytes("d", "1GiB"), MemoryError, "limit"),
    "more than the limit": (lambda a: a.put("d", np.zeros(2**26)), MemoryError, "limit"),
    "more than an arena can have": (
        lambda a: a.put("d", np.broadcast_to(0.0, (2**45,))),
        ValueError,
        "bytes",
    ),
    "a negative version": (lambda a: a.publish_if("v", -1, b"x"), ValueError, "-1 is not a number from 0"),
    "a huge version": (lambda a: a.publish_if("v", HUGE, b"x"), ValueError, "not a number from 0"),
    "a version of text": (lambda a: a.publish_if("v", "1", b"x"), TypeError, "int"),
    "a negative newer_than": (lambda a: a.wait_for("v", newer_than=-1, timeout=0), ValueError, "-1 is not"),
    "a huge newer_than": (
        lambda a: a.wait_for("v", newer_than=HUGE, timeout=0),
        ValueError,
        "is not a number",
    ),
    "another version": (lambda a: a.publish_if("v", 7, b"x"), faretra.ConflictError, "7"),
    "a timeout of text": (
        lambda a: a.wait_for("v", timeout="soon"),
        TypeError,
        "a timeout is a number of seconds",
    ),
    "a timeout of NaN": (lambda a: a.wait_for("v", timeout=float("nan")), ValueError, "NaN"),
    "a timeout that is over": (lambda a: a.wait_for("v", timeout=-5), TimeoutError, "timed out"),
    "a timedelta that is over": (
        lambda a: a.wait_for("v", timeout=datetime.timedelta(-1)),
        TimeoutError,
        "timed",
    ),
    "a timeout of minus a googol": (lambda a: a.wait_for("v", timeout=-(10**400)), TimeoutError, "timed out"),
    "a limit of nonsense": (lambda a: a.set_limit("lots"), ValueError, "'lots' is not a size"),
    "a negative limit": (lambda a: a.set_limit(-5), ValueError, "negative: -5"),
    "a huge limit": (lambda a: a.set_limit(HUGE), ValueError, "is not a number from 0"),
    "a limit of True": (lambda a: a.set_limit(True), TypeError, "a size is a number of bytes"),
    "a function that makes nothing callable": (lambda a: a.get_or_put("m", 5), TypeError, "callable"),
    "a bundle of nothing": (lambda a: a.put_many("m", 5), TypeError, "iterable"),
    "a bundle with a bad member": (
        lambda a: a.put_many("m", {"ok": b"x", "bad": lambda: 1}),
        TypeError,
        "pickled",
    ),
    "a bundle with a bad name": (lambda a: a.put_many("m", {"\ud800": b"x"}), ValueError, "UTF-8"),
    "a bundle with a number as name": (lambda a: a.put_many("m", {1: b"x"}), TypeError, "str"),
    "a read-only value": (lambda a: a["here"].__setitem__(0, 5), ValueError, "read-only"),
}


@pytest.mark.parametrize("case", VALUES)
def test_mistakes_are_told_in_words(arena: faretra.Arena, case: str) -> None:
    """Each mistake raises the standard exception that fits, whose text has the value or the way out; nothing changes."""
    call, kind, text = VALUES[case]
    arena["here"] = np.arange(3)
    before = (arena.entries(), arena.stats().live)
    with pytest.raises(kind, match=text) as caught:
        call(arena)
    assert not isinstance(caught.value, faretra.InternalError)
    assert str(caught.value).strip()
    after = (arena.entries(), arena.stats().live)
    assert after == before
    assert arena.stats().writers_busy == 0
    assert places.pins(arena) == 0


OPTIONS: dict[str, tuple[dict[str, Any], Kinds]] = {
    "negative limit": ({"limit": -1}, ValueError),
    "huge limit": ({"limit": HUGE}, ValueError),
    "limit of 0": ({"limit": 0}, (ValueError, MemoryError)),
    "limit of nonsense": ({"limit": "2 gigs"}, ValueError),
    "limit of float": ({"limit": 2.5}, TypeError),
    "negative writers": ({"writers": -1}, ValueError),
    "huge writers": ({"writers": 2**32}, ValueError),
    "too many writers": ({"writers": 1_000_000}, ValueError),
    "no writers": ({"writers": 0}, ValueError),
    "huge participants": ({"participants": HUGE}, ValueError),
    "too many participants": ({"participants": 1_000_000}, ValueError),
    "negative mode": ({"mode": -1}, ValueError),
    "huge capacity": ({"capacity": "1000000TiB"}, ValueError),
    "no directory": ({"dir": "/nonexistent/place"}, OSError),
    "directory of a number": ({"dir": 5}, TypeError),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_are_told_in_words(fresh_name: Callable[[], str], case: str) -> None:
    """Each option that cannot be is refused when an arena is made, and none is made."""
    options, kind = OPTIONS[case]
    name = fresh_name()
    with pytest.raises(kind) as caught:
        faretra.Arena.create(name, keep=False, **options)
    assert str(caught.value)
    assert not isinstance(caught.value, OverflowError)
    assert name not in [info.name for info in faretra.arenas()]


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".hidden", "with space", "n" * 201, "nul\0", "tab\t", "\ud800", "é" * 101]
)
def test_names_of_arenas(name: str) -> None:
    """A name that no arena can have is a ValueError for create, open and remove, and touches no file."""
    before = sorted(os.listdir("/dev/shm"))
    calls: list[Callable[[str], Any]]
    calls = [faretra.Arena.create, faretra.Arena.open, faretra.Arena.open_or_create, faretra.remove]
    for call in calls:
        with pytest.raises(ValueError, match="name"):
            call(name)
    assert [file for file in os.listdir("/dev/shm") if file not in before and str(os.getpid()) in file] == []


def test_names_may_be_any_text(arena: faretra.Arena) -> None:
    """Names of values are text without control characters: slashes, spaces, emoji and quotes come back as they were."""
    with pytest.raises(ValueError, match="no control characters"):
        arena["nul\0inside"] = b"x"
    for name in ["a/b/c", "with space", "\U0001f680", "quote'\"", "é" * 50, "..", "{}", "%s"]:
        arena[name] = b"x"
        assert name in arena
        assert bytes(arena[name]) == b"x"
        assert name in arena.keys()  # noqa: SIM118
        del arena[name]


def test_arenas_that_are_there_or_not(arena: faretra.Arena, fresh_name: Callable[[], str]) -> None:
    """Making what exists and opening what does not are the standard exceptions, and name the other call."""
    with pytest.raises(FileExistsError, match=r"Arena\.open"):
        faretra.Arena.create(arena.name)
    with pytest.raises(FileNotFoundError, match=r"Arena\.create"):
        faretra.Arena.open(fresh_name())
    with pytest.raises(FileNotFoundError):
        faretra.remove(fresh_name())


def test_files_that_are_no_arenas(fresh_name: Callable[[], str]) -> None:
    """An empty file, text, and a cut arena under an arena's name: refused with a reason, and left as they are."""
    name = fresh_name()
    path = f"/dev/shm/faretra.{name}"
    for content in [b"", b"some text" * 1000, bytes(1 << 16)]:
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o600)
        try:
            with pytest.raises(ValueError):
                faretra.Arena.open(name)
            with open(path, "rb") as file:
                assert file.read() == content
        finally:
            os.unlink(path)


def test_a_closed_arena_refuses_every_call(arena: faretra.Arena) -> None:
    """After `close`, each call is a ValueError that says how to go on; closing again is nothing."""
    arena["a"] = b"x"
    draft = arena.draft_bytes("d", 3)
    arena.close()
    calls: list[Callable[[], Any]] = [
        lambda: arena["a"],
        lambda: arena.put("a", b"x"),
        lambda: "a" in arena,
        lambda: len(arena),
        lambda: list(arena),
        lambda: arena.stats(),
        lambda: arena.who(),
        lambda: arena.draft_array("a", 3),
        lambda: arena.wait_for("a", timeout=0),
        lambda: arena.get_or_put("a", list),
        lambda: arena.private("a"),
        lambda: arena.name,
        lambda: arena.limit,
        lambda: arena.reopen(),
        lambda: arena.verify(),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"was closed: open it again"):
            call()
    assert repr(arena) == "<faretra.Arena, closed>"
    draft.value[:] = b"abc"
    assert draft.publish() == 1
    arena.close()


def test_drafts_are_ended_once(arena: faretra.Arena) -> None:
    """A draft that was ended cannot be published, and dropping it is nothing; wrong values are numpy's errors."""
    draft = arena.draft_array("d", (2, 3), "i4")
    with pytest.raises(ValueError, match="broadcast"):
        draft.value[...] = np.zeros((5, 5))
    with pytest.raises(ValueError, match="invalid literal"):
        draft.value[0, 0] = "text"
    assert draft.publish() == 1
    draft.discard()
    with pytest.raises(ValueError, match="published or dropped already"):
        draft.publish()
    other = arena.draft_array("d", 3)
    other.discard()
    with pytest.raises(ValueError, match="published or dropped already"):
        other.publish()
    assert arena["d"].shape == (2, 3)
    assert "version 1" in repr(draft)


def test_bools_that_are_none(arena: faretra.Arena) -> None:
    """A draft of bools with a byte that is neither 0 nor 1 is refused, as an array of them is."""
    with pytest.raises(ValueError, match="bool"), arena.draft_array("d", 10, bool) as draft:
        draft.view("u1")[3] = 7
    assert "d" not in arena
    with pytest.raises(ValueError, match="bool"):
        arena["d"] = np.full(10, 7, "u1").view(bool)
    assert arena.stats().writers_busy == 0


def test_other_threads_may_use_a_handle(arena: faretra.Arena) -> None:
    """A handle, a draft and views belong to no thread: each works in all of them at the same time."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(50):
                arena[f"n{number}"] = np.full(1000, step)
                assert arena[f"n{number}"][0] == step
                with arena.draft_array("shared", 10) as draft:
                    draft[:] = number
                arena.get_or_put("once", lambda: [1, 2, 3])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []
    assert arena.stats().writers_busy == 0


def test_handles_do_not_travel(arena: faretra.Arena) -> None:
    """A handle, a draft and a table cannot be pickled: another process opens the arena by its name."""
    import pickle

    for thing in [arena, arena.draft_array("d", 3)]:
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(thing)


def test_values_that_raise_while_they_are_read(arena: faretra.Arena) -> None:
    """An object whose attributes raise is the caller's exception, not ours."""

    class Odd:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"no {name}")

    with pytest.raises(RuntimeError, match="no "):
        arena["x"] = Odd()
    assert "x" not in arena


def test_makers_that_fail(arena: faretra.Arena) -> None:
    """What `make` raises arrives as it is, and the next who asks makes the value."""
    for error in [ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(3)]:

        def make(error: BaseException = error) -> Any:
            raise error

        with pytest.raises(type(error)):
            arena.get_or_put("m", make, timeout=5)
    assert arena.get_or_put("m", lambda: [5], timeout=5) == [5]
    with pytest.raises(TypeError, match="cannot be put"):
        arena.get_or_put("n", lambda: lambda: 1, timeout=5)
    assert arena.get_or_put("n", lambda: b"made", timeout=5) == b"made"


def test_makers_may_write(fresh_name: Callable[[], str]) -> None:
    """A `make` that puts, drafts and makes other values, with a single permit to write, does not wait for itself."""
    code = """
    import sys, faretra, numpy as np
    arena = faretra.Arena.create(sys.argv[1], limit="16MiB", keep=False, writers=1)
    def make():
        arena["part"] = np.arange(3)
        with arena.draft_array("drafted", 3) as draft:
            draft[:] = 1
        return {"other": arena.get_or_put("other", lambda: [arena.put("inner", b"x")]), "part": arena["part"]}
    print(arena.get_or_put("whole", make)["other"], arena.stats().writers_busy)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), fresh_name()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "[1] 0\n"), done.stderr


@pytest.mark.parametrize("waiting", [False, True])
def test_a_panic_is_an_error_that_programs_catch(arena: faretra.Arena, waiting: bool) -> None:
    """A fault inside the library is `faretra.InternalError`: `except Exception` catches it, and the process goes on."""
    with pytest.raises(faretra.InternalError, match=r"the text of the panic.*please report it") as caught:
        _native._provoke_panic(waiting, "the text of the panic")
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, Exception)
    assert caught.value.code == "panic"
    arena["x"] = b"goes on"
    assert bytes(arena["x"]) == b"goes on"


def test_a_panic_ends_no_process() -> None:
    """A program that meets a panic, and catches it, ends as it likes."""
    code = "import faretra\ntry:\n    faretra._native._provoke_panic(True, 'boom')\nexcept Exception:\n    print('caught')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "caught\n"), done.stderr


def test_an_arena_that_others_may_write() -> None:
    """It is opened and removed by who says that the others are trusted, and by nobody else."""
    name = f"pytest-others-{os.getpid()}"
    faretra.Arena.create(name, limit="16MiB", mode=0o666).close()
    try:
        with pytest.raises(
            faretra.UntrustedError, match=r"mode 666 lets others write it; .*trust_others=True"
        ):
            faretra.Arena.open(name)
        with pytest.raises(faretra.UntrustedError, match="trust_others=True"):
            faretra.remove(name)
        with faretra.Arena.open(name, trust_others=True) as arena:
            arena["x"] = np.arange(3)
        with faretra.Arena.open_or_create(name, trust_others=True) as arena:
            assert arena["x"].sum() == 3
    finally:
        faretra.remove(name, trust_others=True)
    with pytest.raises(faretra.ArenaNotFoundError):
        faretra.Arena.open(name, trust_others=True)


def test_all_seats_of_one_process() -> None:
    """Who opens an arena again and again is told that each handle counts, and can go on when some are closed."""
    name = f"pytest-seats-{os.getpid()}"
    made = faretra.Arena.create(name, limit="16MiB", participants=4, keep=False)
    handles = [made]
    with pytest.raises(faretra.LimitError, match=r"each `Arena.open` is one of them"):
        while True:
            handles.append(faretra.Arena.open(name))
    handles.pop().close()
    handles.append(faretra.Arena.open(name))
    for handle in handles:
        handle.close()
