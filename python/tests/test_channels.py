"""Channels: senders, receivers, leases."""

from __future__ import annotations

import gc
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra
from faretra import ClosedError, EmptyError, FullError, InvalidError, MismatchError

pa = pytest.importorskip("pyarrow")

Call = Callable[[], Any]


def received(rx: faretra.Receiver) -> Any:
    """Receive one item and acknowledge it."""
    with rx.recv(timeout=10) as lease:
        return lease.value


def test_every_kind_of_value_comes_out_as_it_went_in(arena: faretra.Arena) -> None:
    """Arrays, tables, bytes, nested containers and objects go through one channel, in order."""
    tx = arena.sender("any", capacity=None)
    rx = arena.receiver("any")
    table = pa.table({"x": [1, 2, 3], "s": ["a", None, "c"]})
    values = [np.arange(12.0).reshape(3, 4), b"bytes", {"a": [1, np.ones(20_000)]}, "text", None, 7, table]
    assert tx.send_all(values) == len(values)
    out = [received(rx) for _ in values]
    assert np.array_equal(out[0], values[0]) and not out[0].flags.writeable
    assert bytes(out[1]) == b"bytes"
    assert np.array_equal(out[2]["a"][1], np.ones(20_000))
    assert out[3:6] == ["text", None, 7]
    assert out[6].to_pyarrow().equals(table)


def test_an_item_is_not_copied_when_it_is_received(arena: faretra.Arena) -> None:
    """The array that a receiver gets lies in the arena; taking it twice gives the same object."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    tx.send(np.zeros(1 << 20, "uint8"))
    lease = rx.recv(timeout=5)
    value = lease.value
    assert isinstance(value.base, faretra.Pinned)
    assert lease.value is value
    lease.ack()


def test_what_lies_in_the_arena_is_sent_without_a_copy(arena: faretra.Arena) -> None:
    """Sending a table that was read from the arena uses no memory for it."""
    arena["big"] = pa.table({"x": np.zeros(1 << 20)})
    tx, rx = arena.sender("x"), arena.receiver("x")
    before = arena.stats().live
    tx.send(arena["big"])
    assert arena.stats().live - before < 1 << 20
    assert received(rx).num_rows == 1 << 20


def test_a_value_outlives_its_lease_its_receiver_and_the_arena(arena: faretra.Arena) -> None:
    """What was taken from a lease stays readable after the acknowledgement and after everything was closed."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    tx.send(np.arange(1000))
    with rx.recv(timeout=5) as lease:
        value = lease.value
    assert lease.ended
    rx.leave()
    tx.leave()
    arena.close()
    del lease, rx, tx
    gc.collect()
    assert value.sum() == 499500


def test_the_memory_of_an_item_is_free_once_it_is_acknowledged(arena: faretra.Arena) -> None:
    """A lease that ended keeps no memory, though the variable is still there."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    lease = None
    for _ in range(10):
        tx.send(np.zeros(40 << 20, "uint8"), timeout=10)
        lease = rx.recv(timeout=5)
        with lease:
            assert lease.value.nbytes == 40 << 20
    assert arena.stats().live < 40 << 20
    with pytest.raises(InvalidError, match="leased no more"):
        _ = lease and lease.value


def test_a_full_channel_says_so(arena: faretra.Arena) -> None:
    """A poll raises FullError, which is queue.Full; a wait raises TimeoutError when it is over, and not before."""
    tx, _rx = arena.sender("x", capacity=2), None
    assert (len(tx), tx.capacity, bool(tx)) == (0, 2, True)
    _rx = arena.receiver("x")
    tx.send(1)
    tx.try_send(2)
    polls: list[Call] = [lambda: tx.send(3, timeout=0), lambda: tx.try_send(3)]
    for poll in polls:
        with pytest.raises(FullError, match=r"channel 'x'.*no room") as failed:
            poll()
        assert isinstance(failed.value, queue.Full) and failed.value.code == "full"
    begun = time.monotonic()
    with pytest.raises(TimeoutError) as late:
        tx.send(3, timeout=0.2)
    assert isinstance(late.value, faretra.Error)
    assert 0.19 < time.monotonic() - begun < 2
    assert [received(_rx), received(_rx)] == [1, 2]


def test_an_empty_channel_says_so(arena: faretra.Arena) -> None:
    """A poll raises EmptyError, which is queue.Empty; a wait raises TimeoutError when it is over."""
    _tx, rx = arena.sender("x"), arena.receiver("x")
    polls: list[Call] = [lambda: rx.recv(timeout=0), rx.try_recv, lambda: rx.recv(-5)]
    for poll in polls:
        with pytest.raises(EmptyError, match="channel 'x'") as failed:
            poll()
        assert isinstance(failed.value, queue.Empty)
    with pytest.raises(TimeoutError):
        rx.recv(timeout=0.05)


def test_a_channel_without_a_bound_is_never_full(arena: faretra.Arena) -> None:
    """capacity=None takes as many items as there is memory for."""
    tx, rx = arena.sender("x", capacity=None), arena.receiver("x")
    for number in range(5000):
        tx.send(number, timeout=0)
    assert (tx.capacity, rx.capacity, len(rx)) == (None, None, 5000)
    tx.close()
    assert sum(rx) == 12497500


def test_a_loop_acknowledges_the_item_before(arena: faretra.Arena) -> None:
    """While the body has an item, it is leased; when the next one is asked for, it is done."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    tx.send_all([1, 2, 3])
    tx.close()
    seen = []
    for item in rx:
        seen.append((item, len(rx)))
    assert seen == [(1, 2), (2, 1), (3, 0)]
    with pytest.raises(ClosedError) as ended:
        rx.recv(timeout=5)
    assert ended.value.clean and isinstance(ended.value, EOFError)


@pytest.mark.parametrize("leave", ["raise", "break", "value"])
def test_a_loop_that_is_left_gives_the_item_back(arena: faretra.Arena, leave: str) -> None:
    """An exception in the body, and break, return the item to the channel at once: the next receiver gets it first."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    tx.send_all([1, 2])
    if leave == "raise":
        with pytest.raises(ZeroDivisionError):
            for item in rx:
                assert item / 0
    elif leave == "break":
        for _item in rx:
            break
    else:
        items: Any = iter(rx)
        next(items)
        items.close()
    lease = rx.recv(timeout=5)
    assert (lease.value, lease.attempts) == (1, 1)
    lease.ack()
    assert received(rx) == 2


def test_a_with_block_says_what_becomes_of_the_item(arena: faretra.Arena) -> None:
    """The end of the block acknowledges, an exception gives back, and who said it before is not overruled."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    tx.send("a")
    with pytest.raises(KeyError), rx.recv(timeout=5):
        raise KeyError
    with rx.recv(timeout=5) as lease:
        assert lease.attempts == 1
        lease.nack()
    with pytest.raises(KeyError), rx.recv(timeout=5) as lease:
        assert lease.attempts == 2
        lease.ack()
        raise KeyError
    assert len(rx) == 0
    ends: list[Call] = [lease.ack, lease.nack, lambda: lease.send(tx)]
    for again in ends:
        with pytest.raises(InvalidError, match="already"):
            again()


def test_a_lease_that_is_dropped_gives_its_item_back(arena: faretra.Arena) -> None:
    """Nobody said what becomes of it: the next receiver gets the item, also when the lease was part of a cycle."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    tx.send(["a"])
    rx.recv(timeout=5)
    lease = rx.recv(timeout=5)
    assert lease.attempts == 1
    lease.value.append(lease)
    del lease
    gc.collect()
    with rx.recv(timeout=5) as lease:
        assert (lease.value, lease.attempts) == (["a"], 2)


def test_forwarding_moves_an_item_without_a_copy(arena: faretra.Arena) -> None:
    """lease.send hands the item over: same memory, gone from here; a failure leaves the lease as it was."""
    tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    done, finished = arena.sender("done", capacity=1), arena.receiver("done")
    tx.send_all([np.arange(100_000), np.arange(3)])
    lease = rx.recv(timeout=5)
    address = lease.value.__array_interface__["data"][0]
    lease.send(done, timeout=5)
    assert lease.ended
    other = rx.recv(timeout=5)
    with pytest.raises(FullError, match="'done'"):
        other.send(done, timeout=0)
    with pytest.raises(TimeoutError):
        other.send(done, timeout=0.05)
    assert not other.ended and other.value.sum() == 3
    with finished.recv(timeout=5) as got:
        assert got.value.__array_interface__["data"][0] == address
    other.send(done)
    assert received(finished).sum() == 3
    assert len(rx) == 0


def test_forwarding_to_another_arena_copies(arena: faretra.Arena, fresh_name: Callable[[], str]) -> None:
    """lease.send works across arenas."""
    with faretra.Arena.create(fresh_name(), limit="64MiB", keep=False) as other:
        tx, rx = arena.sender("x"), arena.receiver("x")
        there = other.sender("y")
        tx.send({"a": 1})
        rx.recv(timeout=5).send(there)
        assert received(other.receiver("y")) == {"a": 1}
        there.leave()


def test_send_all_sends_the_batches_of_a_table(arena: faretra.Arena) -> None:
    """Each batch is an item; in a channel of one schema another schema is refused, and the error says how many were sent."""
    tx = arena.sender("t", mixed=False, capacity=None)
    rx = arena.receiver("t")
    batches = [pa.record_batch({"x": [n, n + 1]}) for n in range(5)]
    assert tx.send_all(pa.Table.from_batches(batches)) == 5
    with pytest.raises(MismatchError) as failed:
        tx.send_all([pa.table({"x": [1]}), pa.table({"y": ["?"]})])
    assert failed.value.sent == 1
    tx.close()
    assert [table.num_rows for table in rx] == [2, 2, 2, 2, 2, 1]


def test_send_all_says_how_many_were_sent(arena: faretra.Arena) -> None:
    """A wait that ends in the middle tells in `sent` where."""
    tx = arena.sender("x", capacity=3)
    rx = arena.receiver("x")
    with pytest.raises(FullError) as failed:
        tx.send_all(range(10), timeout=0)
    assert failed.value.sent == 3
    batches = pa.Table.from_batches([pa.record_batch({"x": [n]}) for n in range(5)])
    assert [received(rx) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(faretra.TimeoutError) as late:
        tx.send_all(batches, timeout=0.05)
    assert late.value.sent == 3 == len(rx)


def test_a_with_block_closes_and_an_exception_leaves(arena: faretra.Arena) -> None:
    """A producer that is done closes the channel; one that failed does not pretend so."""
    with arena.sender("good") as tx:
        rx = arena.receiver("good")
        tx.send(1)
    assert list(rx) == [1]
    with pytest.raises(KeyError), arena.sender("bad") as tx:
        rx = arena.receiver("bad")
        raise KeyError
    with pytest.raises(ClosedError, match="nobody is at the other end") as ended:
        rx.recv(timeout=5)
    assert not ended.value.clean and tx.left
    with pytest.raises(InvalidError, match="was left"):
        tx.send(1)


def test_a_receiver_waits_for_a_sender_if_told_so(arena: faretra.Arena) -> None:
    """when_deserted="block" bridges the time without a sender; the default says that there is none."""
    arena.sender("x").leave()
    with pytest.raises(ClosedError):
        arena.receiver("x").recv()
    rx = arena.receiver("x", when_deserted="block")
    with pytest.raises(TimeoutError):
        rx.recv(timeout=0.15)
    later = threading.Timer(0.2, lambda: arena.sender("x").send("back"))
    later.start()
    assert received(rx) == "back"
    later.join()


def test_a_receiver_waits_for_its_channel(arena: faretra.Arena) -> None:
    """wait=True and a timeout wait until somebody makes the channel; without them there is an error at once."""
    with pytest.raises(KeyError, match="nothing"):
        arena.receiver("nothing")
    with pytest.raises(TimeoutError):
        arena.receiver("nothing", timeout=0.05)
    with Child(arena, "time.sleep(0.1); tx = arena.sender('later'); tx.send('here'); time.sleep(20)"):
        assert received(arena.receiver("later", wait=True)) == "here"


def test_a_killed_receiver_leaves_its_item_to_another(arena: faretra.Arena) -> None:
    """Kill -9 of a process with a lease: another receiver gets the item, with attempts 1."""
    tx = arena.sender("jobs")
    tx.send_all(["first", "second"])
    program = "rx = arena.receiver('jobs'); lease = rx.recv(); print(lease.value); time.sleep(60)"
    with Child(arena, program) as child:
        assert child.line() == "first"
        rx = arena.receiver("jobs")
        child.kill()
        seen = []
        for _ in range(2):
            with rx.recv(timeout=10) as lease:
                seen.append((lease.value, lease.attempts))
        assert sorted(seen) == [("first", 1), ("second", 0)]


def test_a_process_that_ends_with_a_lease_gives_its_item_back(arena: faretra.Arena) -> None:
    """An exit, by any way, is no acknowledgement."""
    tx, rx = arena.sender("jobs"), arena.receiver("jobs")
    tx.send("job")
    for attempts, ending in enumerate(("sys.exit(0)", "os._exit(0)", "raise SystemExit(0)")):
        with Child(arena, f"lease = arena.receiver('jobs').recv(); print(lease.attempts)\n{ending}") as child:
            assert child.line() == str(attempts)
            assert child.end() == 0
    with rx.recv(timeout=10) as lease:
        assert lease.attempts == 3


def test_senders_killed_in_a_loop_break_nothing(arena: faretra.Arena) -> None:
    """Kill -9 of senders at random moments: what comes is whole and in order, then the receiver is told."""
    rx = None
    lease: faretra.Lease | None = None
    value = None
    program = """
    tx = arena.sender('x', capacity=8)
    print('going')
    number = 0
    while True:
        tx.send({'number': number, 'data': np.full(5000, number)})
        number += 1
    """
    dice = random.Random(4)
    for _ in range(4):
        with Child(arena, program) as child:
            assert child.line() == "going"
            rx = rx or arena.receiver("x")
            ends = time.monotonic() + dice.uniform(0.01, 0.2)
            expected = 0
            killed = False
            try:
                while True:
                    with rx.recv(timeout=10) as lease:
                        value = lease.value
                        assert value["number"] == expected and (value["data"] == expected).all()
                    expected += 1
                    if not killed and time.monotonic() > ends:
                        child.send_signal(9)
                        killed = True
            except ClosedError as ended:
                assert killed and not ended.clean
    lease = value = None
    assert arena.verify() == []


def test_each_item_goes_to_one_of_many_receivers(arena: faretra.Arena) -> None:
    """Four threads with one receiver, and two processes: nothing is lost or doubled."""
    tx, rx = arena.sender("x", capacity=32), arena.receiver("x")
    back, sums = arena.sender("sums", capacity=None), arena.receiver("sums")
    program = "arena.sender('sums', capacity=None).send(list(arena.receiver('x')))"

    def work() -> None:
        back.send(list(rx))

    threads = [threading.Thread(target=work) for _ in range(4)]
    with Child(arena, program) as first, Child(arena, program) as second:
        for thread in threads:
            thread.start()
        tx.send_all(range(4000), timeout=60)
        tx.close()
        seen = sorted(number for _ in range(6) for number in received(sums))
        assert seen == list(range(4000))
        assert first.end() == second.end() == 0
    for thread in threads:
        thread.join(10)


def test_ends_in_plenty_take_one_permit(fresh_name: Callable[[], str]) -> None:
    """An arena with two writers' permits: a process has a hundred senders and still puts."""
    with faretra.Arena.create(fresh_name(), limit="64MiB", writers=2, keep=False) as arena:
        ends = [arena.sender(f"c{number}", capacity=2) for number in range(100)]
        arena["x"] = 1
        assert arena.stats().writers_busy == 1
        other = faretra.Arena.open(arena.name)
        other["y"] = 2
        other.close()
        del ends
        gc.collect()
        assert arena.stats().writers_busy == 0


def test_a_forked_child_is_told(arena: faretra.Arena) -> None:
    """Handles that came through fork raise ForkedError; reopen gives the child its own."""
    program = """
    tx, rx = arena.sender('x'), arena.receiver('x')
    rx.fileno()
    pid = os.fork()
    if pid == 0:
        said = []
        for call in (lambda: tx.send(1), lambda: rx.recv(timeout=1), tx.pollable):
            try:
                call()
                said.append('nothing')
            except faretra.ForkedError:
                said.append('forked')
        arena.reopen()
        arena.sender('x').send('from the child')
        print(*said, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    with rx.recv(timeout=10) as lease:
        print(lease.value)
    """
    with Child(arena, program) as child:
        assert child.line() == "forked forked forked"
        assert child.line() == "from the child"
        assert child.end() == 0


def test_a_refused_pickle_stays_in_the_channel(arena: faretra.Arena) -> None:
    """A receiver that may not unpickle says so, and gives the item back for one that may."""
    tx = arena.sender("x")
    tx.send({"a": 1})
    careful = faretra.Arena.open(arena.name, allow_pickle=False)
    with pytest.raises(ValueError, match="allow_pickle"):
        next(iter(careful.receiver("x")))
    lease = arena.receiver("x").recv(timeout=5)
    assert (lease.value, lease.attempts) == ({"a": 1}, 1)
    lease.ack()
    careful.close()


def test_bad_input_is_refused_in_words(arena: faretra.Arena) -> None:
    """Wrong names, sizes and options raise errors that say what is wrong."""
    arena["value"] = 1
    tx: Any = arena.sender("x", capacity=4)
    wrong: Any = arena
    cases: list[tuple[Call, type[Exception], str]] = [
        (lambda: arena.sender("x", capacity=5), MismatchError, "4 items"),
        (lambda: arena.sender("x", 4, mixed=False), MismatchError, "any kind"),
        (lambda: arena.sender("value"), MismatchError, "value"),
        (lambda: arena.receiver("value"), MismatchError, "value"),
        (lambda: arena.sender("y", capacity=0), InvalidError, "room for 1 to"),
        (lambda: arena.sender("y", capacity=-1), InvalidError, "room for 1 to"),
        (lambda: wrong.sender("y", capacity="8"), TypeError, "capacity"),
        (lambda: wrong.sender(5), TypeError, "name is a str"),
        (lambda: arena.sender("\udc80"), ValueError, "UTF-8"),
        (lambda: wrong.sender("y", when_deserted="?"), ValueError, "when_deserted"),
        (lambda: tx.send(1, timeout="soon"), TypeError, "timeout"),
        (lambda: tx.send(1, timeout=float("nan")), ValueError, "NaN"),
        (lambda: tx.send(lambda: 0), TypeError, "pickled"),
        (lambda: tx.send_all(5), TypeError, "iterable"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()
    assert len(tx) == 0
    with pytest.raises(faretra.Error):
        tx.send(np.zeros(1 << 30, "uint8"), timeout=0.1)
    closed = arena.sender("z")
    closed.close()
    with pytest.raises(ClosedError, match="it was closed"):
        closed.send(1)
    arena.close()
    with pytest.raises(InvalidError, match="closed"):
        arena.sender("x")
