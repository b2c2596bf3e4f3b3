"""Waits: Ctrl-C, signal handlers, other threads; descriptors and select."""

from __future__ import annotations

import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra

WAITS = [
    "rx.recv()",
    "next(iter(rx))",
    "full.send(2)",
    "full.send(np.zeros(100_000))",
    "full.send_all([2, 3])",
    "lease.send(full)",
    "sub.recv()",
    "next(sub.follow())",
    "blocked.append(2)",
    "client.call(1)",
    "server.recv()",
    "faretra.select([rx, sub])",
    "arena.receiver('nothing', wait=True)",
    "arena.subscribe('nothing', wait=True)",
]

ENDS = """
tx, rx = arena.sender('jobs'), arena.receiver('jobs')
full, other = arena.sender('full', capacity=1), arena.receiver('full')
full.send(1)
leasing = arena.sender('leasing')
leasing.send(1)
lease = arena.receiver('leasing').recv()
feed, sub = arena.feed('ticks', capacity=1), arena.subscribe('ticks')
blocked, slow = arena.feed('slow', capacity=1), arena.subscribe('slow')
blocked.append(1)
client, server = arena.client('nobody'), arena.server('serve')
"""


@pytest.fixture
def ends(arena: faretra.Arena) -> Iterator[dict[str, Any]]:
    """Give every kind of end in a state in which its call waits."""
    names: dict[str, Any] = {"arena": arena, "faretra": faretra, "np": np}
    exec(ENDS, names)
    yield names
    if not arena.closed:
        assert names["lease"].ended or names["lease"].ack() is None


def test_ctrl_c_ends_every_wait(arena: faretra.Arena) -> None:
    """SIGINT raises KeyboardInterrupt within 100 ms (here the best of three tries), and nothing is lost by that."""
    program = (
        ENDS
        + f"""
for wait in {WAITS!r}:
    for _ in range(3):
        try:
            print('waits', flush=True)
            eval(compile(wait, 'wait', 'eval'))
            print('returned', wait)
        except KeyboardInterrupt:
            print(time.monotonic())
tx.send('kept')
with rx.recv(timeout=5) as item:
    print(item.value, lease.value, len(full), sub.position, blocked.position)
"""
    )
    with Child(arena, program) as child:
        for wait in WAITS:
            took = []
            for _ in range(3):
                assert child.line() == "waits"
                time.sleep(0.06)
                begun = time.monotonic()
                child.send_signal(signal.SIGINT)
                took.append(float(child.line()) - begun)
            assert 0 < min(took) < 0.1, (wait, took)
        assert child.line() == "kept 1 1 0 1"
        assert child.end() == 0


@pytest.mark.parametrize("wait", WAITS)
def test_signal_handlers_run_during_waits(ends: dict[str, Any], wait: str) -> None:
    """A handler that returns does not end the wait; one that raises does, with its exception."""
    ran = []

    def handler(number: int, frame: FrameType | None) -> None:
        ran.append(time.monotonic())
        if len(ran) == 2:
            raise LookupError("from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(LookupError, match="from the handler"):
            eval(wait, ends)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(ran) == 2
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "wait",
    [
        "rx.recv(timeout=0.2)",
        "full.send(2, timeout=0.2)",
        "sub.recv(timeout=0.2)",
        "blocked.append(2, timeout=0.2)",
        "client.call(1, timeout=0.2)",
        "server.recv(timeout=0.2)",
        "lease.send(full, timeout=0.2)",
        "arena.receiver('nothing', timeout=0.2)",
    ],
)
def test_other_threads_run_during_waits(ends: dict[str, Any], wait: str) -> None:
    """The interpreter is free while a call waits: another thread counts."""
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    time.sleep(0.01)
    before = counted[0]
    with pytest.raises(TimeoutError):
        eval(wait, ends)
    after = counted[0]
    stop.set()
    thread.join()
    assert after - before > 20


def test_select_select_sees_items(arena: faretra.Arena) -> None:
    """A receiver is readable exactly while there are items, whichever way they are taken."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    assert select.select([rx], [], [], 0)[0] == []
    assert rx.fileno() == rx.fileno()
    tx.send_all([1, 2])
    for left in (1, 0):
        assert select.select([rx], [], [], 5)[0] == [rx]
        rx.recv(timeout=0).ack()
        assert len(rx) == left
    assert select.select([rx], [], [], 0.01)[0] == []
    later = threading.Timer(0.1, tx.send, ["here"])
    later.start()
    assert select.select([rx], [], [], 10)[0] == [rx]
    later.join()
    lease = rx.recv(timeout=0)
    assert select.select([rx], [], [], 0)[0] == []
    lease.nack()
    assert select.select([rx], [], [], 10)[0] == [rx]
    rx.recv().ack()
    tx.leave()
    assert select.select([rx], [], [], 10)[0] == [rx]
    with pytest.raises(faretra.ClosedError):
        rx.recv(timeout=0)


def test_every_end_has_a_descriptor(arena: faretra.Arena) -> None:
    """Senders, feeds, subscribers and servers are readable when they can go on, and not before."""
    tx, rx = arena.sender("x", capacity=1), arena.receiver("x")
    feed, sub = arena.feed("f", capacity=1), arena.subscribe("f")
    server, client = arena.server("s"), arena.client("s")

    def ready() -> list[Any]:
        every: list[Any] = [tx, feed, sub, server]
        return select.select(every, [], [], 0.02)[0]

    assert ready() == [tx, feed]
    tx.send(1)
    feed.append(1)
    assert ready() == [sub]
    thread = threading.Thread(target=lambda: client.call(1, timeout=20))
    thread.start()
    assert select.select([server], [], [], 10)[0] == [server]
    with server.recv(timeout=5) as request:
        request.reply(1)
    thread.join(20)
    sub.recv()
    with rx.recv():
        pass
    assert select.select([tx], [], [], 10)[0] == [tx]
    assert select.select([feed], [], [], 10)[0] == [feed]
    assert sub not in ready() and server not in ready()


def test_a_descriptor_goes_with_its_end(arena: faretra.Arena) -> None:
    """No descriptor is made before somebody asks, and each is closed when its end is left."""

    def open_descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    before = open_descriptors()
    tx, rx = arena.sender("x"), arena.receiver("x")
    sub_feed = arena.feed("f", capacity=2)
    sub = arena.subscribe("f")
    tx.send(1)
    rx.recv().ack()
    assert open_descriptors() == before
    pollable = rx.pollable()
    assert len({end.fileno() for end in (tx, rx, sub, sub_feed, pollable)}) == 5
    assert len(open_descriptors() - before) == 5
    for end in (tx, rx, sub, sub_feed):
        end.leave()
    del pollable, end
    assert open_descriptors() == before


def test_selectors_work(arena: faretra.Arena) -> None:
    """A loop over selectors serves two channels of another process until both are closed."""
    program = """
    a, b = arena.sender('a', capacity=4), arena.sender('b', capacity=4)
    print('here')
    for number in range(100):
        a.send(number)
        b.send(-number)
    a.close()
    b.close()
    time.sleep(0.05)
    """
    with Child(arena, program) as child, selectors.DefaultSelector() as selector:
        assert child.line() == "here"
        seen: dict[str, list[int]] = {"a": [], "b": []}
        for name in seen:
            selector.register(arena.receiver(name), selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(timeout=20):
                rx: Any = key.fileobj
                try:
                    with rx.recv(timeout=0) as lease:
                        seen[rx.name].append(lease.value)
                except faretra.EmptyError:
                    pass
                except faretra.ClosedError as ended:
                    assert ended.clean
                    selector.unregister(rx)
        assert seen == {"a": list(range(100)), "b": [-number for number in range(100)]}


def test_a_pollable_is_a_hint_until_it_is_armed_again(arena: faretra.Arena) -> None:
    """It stays readable until rearm; rearm says whether something is ready now."""
    tx, rx = arena.sender("x"), arena.receiver("x")
    pollable = rx.pollable()
    assert not pollable.is_ready()
    tx.send(1)
    assert select.select([pollable], [], [], 10)[0] == [pollable]
    assert pollable.rearm() and pollable.is_ready()
    rx.recv().ack()
    assert select.select([pollable], [], [], 0)[0] == [pollable]
    assert not pollable.rearm()
    assert select.select([pollable], [], [], 0)[0] == []


def test_faretra_select_waits_for_any_of_several(arena: faretra.Arena, fresh_name: Callable[[], str]) -> None:
    """Channels and feeds of two arenas in one wait; all that are ready come, in the order given; a timeout gives none."""
    with faretra.Arena.create(fresh_name(), limit="64MiB", keep=False) as other:
        tx, rx = arena.sender("x", capacity=1), arena.receiver("x")
        feed, sub = other.feed("f", capacity=1), other.subscribe("f")
        begun = time.monotonic()
        assert faretra.select([rx, sub], timeout=0.1) == []
        assert 0.09 < time.monotonic() - begun < 3
        assert faretra.select([rx, sub], timeout=0) == []
        assert faretra.select([sub, feed, rx, tx], timeout=5) == [feed, tx]
        later = threading.Timer(0.1, feed.append, ["tick"])
        later.start()
        assert faretra.select([rx, sub], timeout=20) == [sub]
        later.join()
        tx.send(1)
        assert faretra.select(iter([rx, feed, sub])) == [rx, sub]
        tx.close()
        assert faretra.select([tx, tx], timeout=5) == [tx, tx]
        wrong: list[tuple[Any, type[Exception]]] = [
            ([], faretra.InvalidError),
            ([5], TypeError),
            ([rx, arena], TypeError),
            (5, TypeError),
        ]
        for handles, kind in wrong:
            with pytest.raises(kind):
                faretra.select(handles)
        rx.leave()
        with pytest.raises(faretra.InvalidError, match="was left"):
            faretra.select([rx])
        for end in (feed, sub):
            end.leave()
