"""What a forked child has of its parent's arenas: what was read, and nothing that it could harm."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

import numpy as np
import places
import pytest

import faretra

pa = pytest.importorskip("pyarrow")


def in_child(work: Callable[[], None], timeout: float = 30) -> None:
    """Fork, run `work` in the child, and fail if it fails there."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0, "the child failed: see its stderr"
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.005)


def test_calls_of_the_child_are_refused_in_words(arena: faretra.Arena) -> None:
    """Each call on an inherited handle is a ForkedError that names `reopen`, and none hangs or crashes."""
    arena["a"] = np.arange(10)
    draft = arena.draft_array("d", 3)
    parent = os.getpid()

    def work() -> None:
        calls: list[Callable[[], object]] = [
            lambda: arena["a"],
            lambda: arena.put("b", b"x"),
            lambda: arena.__setitem__("b", {"p": 1}),
            lambda: arena.__delitem__("a"),
            lambda: "a" in arena,
            lambda: len(arena),
            lambda: list(arena),
            lambda: arena.get("a"),
            lambda: arena.publish_if("a", 1, b"x"),
            lambda: arena.put_many("m", {"a": b"x"}),
            lambda: arena.wait_for("a", timeout=1),
            lambda: arena.get_or_put("a", lambda: b"x"),
            lambda: arena.private("a"),
            lambda: arena.draft_array("e", 3),
            lambda: arena.draft_bytes("e", 3),
            lambda: draft.publish(),
            lambda: arena.stats(),
            lambda: arena.who(),
            lambda: arena.verify(),
            lambda: arena.recover(),
            lambda: arena.set_limit("1GiB"),
            lambda: arena.trim(),
        ]
        for number, call in enumerate(calls):
            try:
                call()
            except faretra.ForkedError as error:
                assert "arena.reopen()" in str(error), number
                assert str(parent) in str(error), number
            else:
                raise AssertionError(f"call {number} was not refused")
        repr(arena)
        arena.close()

    in_child(work)
    assert arena["a"][3] == 3
    assert draft.publish() == 1


def test_views_stay_readable_in_the_child(arena: faretra.Arena) -> None:
    """What the parent had read, the child reads; dropping it there changes nothing for the parent."""
    arena["a"], arena["p"], arena["b"] = np.arange(1000), {"x": np.ones(50_000)}, b"bytes"
    array, nest, text, private = arena["a"], arena["p"], arena["b"], arena.private("a")
    private[0] = 77

    def work() -> None:
        nonlocal array, nest, text
        assert array.sum() == 499_500
        assert "'a' version 1, 8000 bytes" in repr(array.base)
        assert nest["x"].sum() == 50_000
        assert bytes(text) == b"bytes"
        assert private[0] == 77
        private[1] = 88
        del array, nest, text

    in_child(work)
    assert private[1] == 1
    assert places.pins(arena) > 0
    assert array.sum() == 499_500
    assert arena.verify() == []


def test_what_a_child_inherits_stays_as_it_was(arena: faretra.Arena) -> None:
    """Whatever the parent drops and puts meanwhile; and it is free again when the child has ended."""
    arena["a"], arena["b"], arena["t"] = np.ones(100_000), b"x" * 500_000, pa.table({"x": np.ones(90_000)})
    free = arena.stats().live
    array, text, private, column = arena["a"], arena["b"], arena.private("a"), np.asarray(arena["t"]["x"])
    private[0] = 77
    go, goes = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(goes)
            assert os.read(go, 1) == b""
            assert array.sum() == 100_000
            assert private.sum() == 100_076
            assert column.sum() == 90_000
            assert bytes(text) == b"x" * 500_000
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        del array, text, private, column
        for n in range(20):
            arena["a"], arena["b"] = np.full(100_000, float(n)), bytes([n]) * 500_000
            arena["t"] = pa.table({"x": np.full(90_000, float(n))})
        assert arena.stats().live > free + 1_500_000
    finally:
        os.close(goes)
        os.close(go)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    arena["a"] = np.ones(100_000)
    assert arena.stats().live < free + 400_000
    assert arena.verify() == []


@pytest.mark.parametrize("killed", [False, True])
def test_children_of_children_inherit(arena: faretra.Arena, killed: bool) -> None:
    """What the first process had stays for the children of its child, also when that was killed."""
    arena["a"] = np.ones(100_000)
    free = arena.stats().live
    array = arena["a"]
    go, goes = os.pipe()
    says, tells = os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.close(goes)
            os.write(tells, b".")
            os.read(go, 1)
            os.write(tells, b"y" if array.sum() == 100_000 else b"n")
            os._exit(0)
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(says, 1) == b"."
    del array
    for n in range(5):
        arena["a"] = np.full(100_000, float(n))
    os.close(goes)
    assert os.read(says, 1) == b"y"
    for end in (go, says, tells):
        os.close(end)
    deadline = time.monotonic() + 30
    while arena.stats().live != free and time.monotonic() < deadline:
        arena["a"] = np.ones(100_000)
    assert arena.stats().live == free


def test_a_closed_arena_is_not_found_when_its_child_has_ended() -> None:
    """What was kept for a child goes when somebody looks, at the latest when arenas are opened."""
    name = f"pytest-closed-{os.getpid()}"
    arena = faretra.Arena.create(name, keep=False)
    arena["a"] = np.ones(10)
    array = arena["a"]
    go, goes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(goes)
        os.read(go, 1)
        os._exit(0)
    del array
    arena.close()
    os.close(goes)
    os.close(go)
    os.waitpid(child, 0)
    with pytest.raises(faretra.ArenaNotFoundError):
        faretra.Arena.open(name)


def test_an_arena_ends_with_its_block_after_a_child() -> None:
    """What was kept for a child that has ended does not keep an arena that is closed."""
    with faretra.Arena.create(f"pytest-block-{os.getpid()}", keep=False) as arena:
        arena["a"] = np.ones(10)
        array = arena["a"]
        in_child(lambda: None)
        path = arena.path
        del array
    assert not os.path.exists(path)


def test_a_table_in_the_child(arena: faretra.Arena) -> None:
    """A table that the parent read has its numbers in the child; its batches are refused in words, never just missing."""
    arena["t"] = pa.table({"x": list(range(1000))})
    table = arena["t"]

    def work() -> None:
        assert (len(table), table.num_rows, table.num_batches) == (1000, 1000, 1)
        reads: list[Callable[[], object]] = [
            lambda: table["x"],
            lambda: table.to_pyarrow(),
            lambda: table.batch(0),
            lambda: pa.table(table),
        ]
        for read in reads:
            with pytest.raises(Exception, match="fork") as caught:
                read()
            assert "reopen" in str(caught.value)
        with arena.reopen() as mine:
            assert mine["t"]["x"].sum() == 499500

    in_child(work)


def test_what_is_not_memory_belongs_to_the_parent(arena: faretra.Arena) -> None:
    """Locks, channels, references, collections and bundles that came through fork are refused, until they are got anew."""
    arena["a"], arena["l"], arena["d"] = np.arange(3), faretra.List([1, 2]), faretra.Dict({"k": 5})
    arena.put_many("b", {"x": np.arange(4)})
    stored, keyed, bundle, ref = arena["l"], arena["d"], arena["b"], arena.ref("a")
    mutex, tx, rx = arena.mutex("m"), arena.sender("c"), arena.receiver("c")

    def work() -> None:
        calls: list[Callable[[], object]] = [
            lambda: stored[0],
            lambda: keyed["k"],
            lambda: bundle["x"],
            lambda: ref.get(),
            lambda: mutex.lock(timeout=0),
            lambda: tx.send(1, timeout=0),
            lambda: rx.recv(timeout=0),
        ]
        for reopened in (False, True):
            for number, call in enumerate(calls):
                with pytest.raises(faretra.ForkedError, match=r"arena\.reopen\(\)"):
                    call()
                    raise AssertionError(f"call {number} was not refused ({reopened=})")
            arena.reopen()
        assert arena["l"][0] == 1 and arena["d"]["k"] == 5 and arena["b"]["x"].sum() == 6
        assert arena.ref("a").get().sum() == 3
        with arena.mutex("m"):
            arena.sender("c").send("from the child")

    in_child(work)
    assert rx.recv(timeout=20).value == "from the child"
    arena.recover()


def test_reopen_in_the_child(arena: faretra.Arena) -> None:
    """`reopen` makes the inherited handle the child's own, in place; the parent sees what the child puts."""
    arena["a"] = np.arange(10)
    before = arena["a"]

    def work() -> None:
        same = arena.reopen()
        assert same is arena
        assert arena["a"].tolist() == before.tolist()
        arena["from the child"] = np.arange(5)
        with arena.draft_array("drafted", 3) as draft:
            draft[:] = 4
        assert [holder.pid for holder in arena.who() if holder.this_process] == [os.getpid()]

    in_child(work)
    assert arena["from the child"].tolist() == [0, 1, 2, 3, 4]
    assert arena["drafted"].tolist() == [4.0] * 3
    arena.recover()
    assert len(arena.who()) == 1


def test_a_child_cannot_write_to_its_parents_draft(arena: faretra.Arena) -> None:
    """The child's views of an open draft are its own: they are zeros, and what it writes there stays there."""
    with arena.draft_array("d", 10_000, "i8") as array, arena.draft_bytes("b", 100) as text:
        array[:], text[:] = 5, b"p" * 100

        def work() -> None:
            assert (array == 0).all()
            array[:], text[:] = 9, b"c" * 100
            assert (array == 9).all()

        in_child(work)
        assert (array == 5).all()
    assert (arena["d"] == 5).all()
    assert bytes(arena["b"]) == b"p" * 100


def test_a_child_closes_nothing(arena: faretra.Arena) -> None:
    """Closing what a child inherited is refused in words, and closes nothing of the parent's."""
    sender, receiver, feed = arena.sender("jobs", 4), arena.receiver("jobs"), arena.feed("f", 4)
    client, server = arena.client("c"), arena.server("c")

    def work() -> None:
        for end in (sender, feed, client, server):
            with pytest.raises(faretra.ForkedError, match=r"arena\.reopen\(\)"):
                end.close()

    in_child(work)
    sender.send(1)
    assert receiver.recv(timeout=5).value == 1
    sender.close()


def test_a_child_that_raises_in_an_inherited_block(arena: faretra.Arena) -> None:
    """A child that leaves a draft's block, with or without an exception, neither publishes nor drops the parent's draft."""
    for fails in [False, True]:
        with arena.draft_array("d", 100) as array:
            array[:] = 3

            def work(fails: bool = fails, block: object = None) -> None:
                if fails:
                    raise KeyError("in the child")

            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(KeyError):
                    work()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        assert (arena["d"] == 3).all()


def test_forks_while_threads_publish(arena: faretra.Arena) -> None:
    """Two threads publish drafts while the main thread forks: no child hangs, and no draft is hurt."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def publish(name: str) -> None:
        try:
            number = 0
            while not stop.is_set():
                number += 1
                with arena.draft_array(name, 2000, "i8") as array:
                    array[:] = number
                found = arena[name]
                assert (found == number).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, args=(f"d{i}",)) for i in range(2)]
    for thread in threads:
        thread.start()

    def work() -> None:
        other = arena.reopen()
        other["child"] = np.arange(10)

    for _ in range(40):
        in_child(work)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not errors
    arena.recover()
    assert arena.stats().writers_busy == 0


def test_a_draft_forked_before_and_published_after(arena: faretra.Arena) -> None:
    """A parent goes on with its draft after a fork, while the child lives."""
    with arena.draft_array("d", 1000, "i8") as array:
        array[:500] = 1
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(reading, 1)
            array[:] = 7
            os._exit(0)
        array[500:] = 2
    os.write(writing, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(reading)
    os.close(writing)
    assert arena["d"].sum() == 1500


@pytest.mark.parametrize("children", [8])
def test_many_children_at_once(arena: faretra.Arena, children: int) -> None:
    """Children that reopen at the same time each have their own seat, and give it back."""
    arena["a"] = np.arange(10)

    def work(number: int) -> None:
        arena.reopen()
        for _ in range(20):
            arena[f"n{number}"] = arena["a"] + number

    pids = []
    for number in range(children):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert all(arena[f"n{i}"][0] == i for i in range(children))
    arena.recover()
    assert len(arena.who()) == 1
