"""Feeds: producers, subscribers, looks at a feed."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra
from faretra import ClosedError, EmptyError, FullError, InvalidError, LaggedError, MismatchError

pa = pytest.importorskip("pyarrow")


def test_every_subscriber_gets_every_item_in_order(arena: faretra.Arena) -> None:
    """Two subscribers, one of them in another process, read the same values."""
    feed = arena.feed("ticks", capacity=100)
    mine, back = arena.subscribe("ticks"), arena.sender("back")
    program = """
    print('here')
    arena.sender('back').send(list(arena.subscribe('ticks')))
    """
    with Child(arena, program) as child:
        assert child.line() == "here"
        for number in range(50):
            feed.append({"number": number})
        feed.close()
        expected = [{"number": number} for number in range(50)]
        assert list(mine) == expected
        with arena.receiver("back").recv(timeout=20) as lease:
            assert lease.value == expected
        assert child.end() == 0
    back.leave()


def test_items_are_not_copied_and_stay(arena: faretra.Arena) -> None:
    """Two subscribers get the same memory, which stays after the item left the feed."""
    feed = arena.feed("x", capacity=2, when_full="drop_oldest")
    one, two = arena.subscribe("x"), arena.subscribe("x")
    feed.append(np.arange(10_000))
    a, b = one.recv(timeout=5), two.recv(timeout=5)
    assert a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    for _ in range(5):
        feed.append(0)
    one.leave()
    two.leave()
    gc.collect()
    assert a.sum() == b.sum() == 49995000


def test_a_subscriber_starts_where_it_says(arena: faretra.Arena) -> None:
    """Oldest, newest, and positions; one that no item has yet is refused."""
    feed = arena.feed("x", capacity=10)
    for number in range(5):
        feed.append(number)
    assert feed.position == 5
    assert arena.subscribe("x").recv(timeout=0) == 0
    assert arena.subscribe("x", start=3).recv(timeout=0) == 3
    newest = arena.subscribe("x", start="newest")
    with pytest.raises(EmptyError, match="feed 'x'"):
        newest.recv(timeout=0)
    with pytest.raises(TimeoutError):
        newest.recv(timeout=0.05)
    feed.append("new")
    assert (newest.recv(timeout=5), newest.position) == ("new", 6)
    cases: list[tuple[Any, type[Exception]]] = [
        (7, InvalidError),
        (-1, ValueError),
        ("first", ValueError),
        (1.5, TypeError),
        (None, TypeError),
    ]
    for start, kind in cases:
        with pytest.raises(kind):
            arena.subscribe("x", start=start)


def test_a_slow_subscriber_holds_a_blocking_producer_up(arena: faretra.Arena) -> None:
    """when_full="block": an append waits for the slowest subscriber, raises in time, and goes on when it reads or leaves."""
    feed, sub = arena.feed("x", capacity=2), arena.subscribe("x")
    feed.append(0)
    feed.append(1)
    with pytest.raises(FullError, match="feed 'x'"):
        feed.append(2, timeout=0)
    with pytest.raises(TimeoutError):
        feed.append(2, timeout=0.05)
    assert sub.recv() == 0
    feed.append(2, timeout=5)
    later = threading.Timer(0.1, sub.leave)
    later.start()
    feed.append(3, timeout=5)
    later.join()


def test_a_killed_subscriber_holds_nobody_up(arena: faretra.Arena) -> None:
    """Kill -9 of a process that reads nothing more: a producer that waits for it goes on."""
    feed = arena.feed("x", capacity=2)
    with Child(arena, "sub = arena.subscribe('x'); print('here'); time.sleep(60)") as child:
        assert child.line() == "here"
        feed.append(0)
        feed.append(1)
        with pytest.raises(FullError):
            feed.append(2, timeout=0)
        child.send_signal(9)
        feed.append(2, timeout=10)


def test_a_killed_producer_is_told_of(arena: faretra.Arena) -> None:
    """Kill -9 of the last producer: subscribers read what there is, and are told; follow waits for the next producer."""
    program = """
    feed = arena.feed('x', capacity=1000, when_full='drop_oldest')
    print('going')
    number = 0
    while True:
        feed.append(number)
        number += 1
        time.sleep(0.001)
    """
    with Child(arena, program) as child:
        assert child.line() == "going"
        sub = arena.subscribe("x")
        time.sleep(0.05)
        child.kill()
        seen = []
        with pytest.raises(ClosedError) as ended:
            for number in sub:
                seen.append(number)
        assert not ended.value.clean
        assert seen == list(range(len(seen))) and seen
        later = threading.Timer(0.2, lambda: arena.feed("x", 1000, when_full="drop_oldest").append("back"))
        later.start()
        assert next(sub.follow(timeout=10)) == "back"
        later.join()


def test_a_lagging_subscriber_is_told_once(arena: faretra.Arena) -> None:
    """A loop raises LaggedError with the number of items, and the next loop goes on behind them."""
    feed, sub = arena.feed("x", capacity=4, when_full="drop_oldest"), arena.subscribe("x")
    for number in range(10):
        feed.append(number)
    feed.close()
    with pytest.raises(LaggedError, match="dropped before they were read") as lagged:
        next(iter(sub))
    missed = lagged.value.items
    assert missed >= 6
    assert list(sub) == list(range(missed, 10))


def test_a_subscriber_may_skip(arena: faretra.Arena) -> None:
    """on_lag="skip" reads what is there, without a word of what is not; follow does so, too."""
    feed = arena.feed("x", capacity=4, when_full="drop_oldest")
    sub, other = arena.subscribe("x", on_lag="skip"), arena.subscribe("x", on_lag="skip")
    for number in range(10):
        feed.append(number)
    feed.close()
    seen = list(sub)
    assert seen == list(range(seen[0], 10)) and seen[0] >= 6
    assert list(other.follow()) == seen
    with pytest.raises(ValueError, match="on_lag"):
        arena.subscribe("x", on_lag="?")  # type: ignore[arg-type]


def test_a_feed_may_fail(arena: faretra.Arena) -> None:
    """when_full="fail" raises FullError at once, whatever the timeout is."""
    feed, sub = arena.feed("x", capacity=2, when_full="fail"), arena.subscribe("x")
    feed.append(0)
    feed.append(1)
    begun = time.monotonic()
    with pytest.raises(FullError):
        feed.append(2, timeout=10)
    assert time.monotonic() - begun < 2
    assert (sub.recv(), feed.when_full, feed.capacity) == (0, "fail", 2)


def test_latest_and_snapshot_read_nothing(arena: faretra.Arena) -> None:
    """The newest item, and all batches as one table, without a subscriber's position changing."""
    feed = arena.feed("t", capacity=10)
    assert arena.latest("t", default="none") == "none"
    sub = arena.subscribe("t")
    for number in range(3):
        feed.append(pa.table({"x": [number, number + 1]}))
    feed.append(pa.record_batch({"x": [9]}))
    assert arena.latest("t").to_pyarrow().to_pydict() == {"x": [9]}
    assert sub.latest().num_rows == 1
    table = arena.snapshot("t").to_pyarrow()
    assert table.to_pydict() == {"x": [0, 1, 1, 2, 2, 3, 9]} == sub.snapshot().to_pyarrow().to_pydict()
    assert sub.position == 0
    feed.append("no table")
    with pytest.raises(MismatchError):
        arena.snapshot("t")
    for call in (arena.latest, arena.snapshot, arena.subscribe):
        with pytest.raises(KeyError):
            call("nothing")


def test_a_snapshot_takes_a_table_of_several_batches(arena: faretra.Arena) -> None:
    """An item that is a table of three batches is three batches of the snapshot."""
    feed = arena.feed("t", capacity=10)
    feed.append(pa.Table.from_batches([pa.record_batch({"x": [n]}) for n in range(3)]))
    feed.append(pa.record_batch({"x": [3]}))
    table = arena.snapshot("t")
    assert (table.num_batches, table.to_pyarrow().to_pydict()) == (4, {"x": [0, 1, 2, 3]})


def test_closing_a_feed_ends_its_subscribers(arena: faretra.Arena) -> None:
    """They get what is there first; a with block closes, an exception leaves."""
    with arena.feed("x", capacity=4) as feed:
        feed.append(1)
    assert feed.left
    sub = arena.subscribe("x")
    assert list(sub) == [1]
    with pytest.raises(ClosedError) as ended:
        sub.recv()
    assert ended.value.clean
    with pytest.raises(ClosedError):
        arena.feed("x", capacity=4).append(2)
    with pytest.raises(KeyError), arena.feed("y", capacity=4):
        sub = arena.subscribe("y")
        raise KeyError
    with pytest.raises(ClosedError) as ended:
        sub.recv()
    assert not ended.value.clean


def test_one_thread_at_a_time_waits_with_a_subscriber(arena: faretra.Arena) -> None:
    """A second thread is told, not hung; leaving meanwhile is possible, and the first gets what it waits for."""
    feed, sub = arena.feed("x", capacity=4), arena.subscribe("x")
    got = []
    thread = threading.Thread(target=lambda: got.append(sub.recv(timeout=20)))
    thread.start()
    time.sleep(0.1)
    for call in (lambda: sub.recv(timeout=0), sub.pollable, sub.fileno):
        with pytest.raises(InvalidError, match="another thread"):
            call()
    assert sub.position == 0
    sub.leave()
    feed.append("here")
    thread.join(20)
    assert got == ["here"] and sub.left
    with pytest.raises(InvalidError, match="was left"):
        sub.recv()


def test_a_subscriber_waits_for_its_feed(arena: faretra.Arena) -> None:
    """wait=True waits until somebody makes the feed, and no longer than the timeout."""
    with pytest.raises(TimeoutError):
        arena.subscribe("later", timeout=0.05)
    later = threading.Timer(0.1, lambda: arena.feed("later", capacity=4).append(1))
    later.start()
    assert arena.subscribe("later", wait=True).recv(timeout=5) == 1
    later.join()


def test_there_is_a_limit_of_subscribers(arena: faretra.Arena) -> None:
    """The error says how many there can be; one that is dropped makes room."""
    arena.feed("x", capacity=4).append(1)
    subs = []
    with pytest.raises(faretra.LimitError, match="subscribers"):
        for _ in range(5000):
            subs.append(arena.subscribe("x"))
    subs.pop()
    gc.collect()
    arena.subscribe("x")
