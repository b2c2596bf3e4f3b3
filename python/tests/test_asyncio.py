"""Channels, feeds and calls on an event loop."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra
from faretra import ClosedError, EmptyError, FullError, LaggedError

pa = pytest.importorskip("pyarrow")

try:
    uvloop: Any = importlib.import_module("uvloop")
except ImportError:
    uvloop = None

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def plain(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on asyncio's own loop."""
    return asyncio.run(asyncio.wait_for(main, 60))


def on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main, 60))


LOOPS = [
    plain,
    pytest.param(on_uvloop, marks=pytest.mark.skipif(uvloop is None, reason="uvloop is not installed")),
]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Give what runs a coroutine, with a deadline."""
    chosen: Run = request.param
    return chosen


def threads() -> int:
    """Return how many threads the process has, the watching one of the library among them."""
    return len(os.listdir("/proc/self/task"))


def counting(end: Any, method: str) -> list[int]:
    """Count how often a method of this end is called from now on."""
    calls, real = [0], getattr(end, method)

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        return real(*arguments)

    setattr(end, method, counted)
    return calls


def test_items_come_from_another_process(arena: faretra.Arena, run: Run) -> None:
    """Async for gets what another process sends, acknowledges each, and ends when the channel is closed."""
    program = """
    tx = arena.sender('x', capacity=4)
    print('here')
    for number in range(300):
        tx.send({'number': number, 'data': np.full(1000, number)})
    tx.close()
    time.sleep(0.05)
    """

    async def main() -> Any:
        return [item["number"] async for item in arena.receiver("x")]

    with Child(arena, program) as child:
        assert child.line() == "here"
        assert run(main()) == list(range(300))


def test_a_cancelled_receive_loses_nothing(arena: faretra.Arena, run: Run) -> None:
    """Receives that are cancelled at random moments: every item is received exactly once, in order."""
    program = """
    tx = arena.sender('x', capacity=2)
    print('here')
    for number in range(400):
        tx.send(number)
        if number % 7 == 0:
            time.sleep(0.002)
    tx.close()
    time.sleep(0.05)
    """
    dice = random.Random(7)

    async def main() -> Any:
        rx = arena.receiver("x")
        seen: list[int] = []
        cancelled = 0
        while True:
            try:
                async with asyncio.timeout(dice.choice([0, 0.0005, 0.001, 0.003])):
                    lease = await rx.aio.recv()
            except TimeoutError:
                cancelled += 1
                continue
            except ClosedError:
                return seen, cancelled
            assert lease.attempts == 0
            seen.append(lease.value)
            lease.ack()

    with Child(arena, program) as child:
        assert child.line() == "here"
        seen, cancelled = run(main())
    assert seen == list(range(400))
    assert cancelled > 10


def test_waiters_share_one_thread(arena: faretra.Arena, run: Run) -> None:
    """A hundred tasks that wait need no thread each; all get their item."""

    async def main() -> Any:
        tx = arena.sender("x", capacity=None)
        receivers = [arena.receiver("x") for _ in range(100)]
        await asyncio.sleep(0)
        before = threads()
        tasks = [asyncio.create_task(rx.aio.recv(timeout=30)) for rx in receivers]
        await asyncio.sleep(0.2)
        assert threads() <= before + 1
        for number in range(100):
            await tx.aio.send(number)
        leases = await asyncio.gather(*tasks)
        seen = sorted(lease.value for lease in leases)
        for lease in leases:
            lease.ack()
        return seen

    assert run(main()) == list(range(100))


def test_a_loop_that_is_left_gives_the_item_back(arena: faretra.Arena, run: Run) -> None:
    """Break and an exception in the body of async for return the item at once."""

    async def main() -> Any:
        tx, rx = arena.sender("x"), arena.receiver("x")
        tx.send_all([1, 2])
        async for _item in rx:
            break
        with pytest.raises(KeyError):
            async for _item in rx:
                raise KeyError
        with await rx.aio.recv(timeout=5) as lease:
            assert (lease.value, lease.attempts) == (1, 2)
        async for item in rx.aio:
            assert item == 2
            tx.close()

    run(main())


def test_send_waits_for_room(arena: faretra.Arena, run: Run) -> None:
    """A full channel lets the other tasks go on; a cancelled send has sent nothing; a reader of batches is not used up."""

    async def main() -> Any:
        tx, rx = arena.sender("x", capacity=1), arena.receiver("x")
        await tx.aio.send("first")
        with pytest.raises(FullError):
            await tx.aio.send("polled", timeout=0)
        with pytest.raises(TimeoutError) as late:
            await tx.aio.send("late", timeout=0.05)
        assert isinstance(late.value, faretra.Error)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await tx.aio.send("cancelled")
        batch = pa.record_batch({"x": [1, 2]})
        waiting = asyncio.create_task(
            tx.aio.send(pa.RecordBatchReader.from_batches(batch.schema, [batch, batch]))
        )
        await asyncio.sleep(0.05)
        assert not waiting.done()
        with await rx.aio.recv() as lease:
            assert lease.value == "first"
        await waiting
        with await rx.aio.recv() as lease:
            assert lease.value.to_pyarrow().to_pydict() == {"x": [1, 2, 1, 2]}
        with pytest.raises(EmptyError):
            await rx.aio.recv(timeout=0)
        with pytest.raises(TimeoutError):
            await rx.aio.recv(timeout=0.05)

    run(main())


def test_send_waits_for_memory(fresh_name: Callable[[], str], run: Run) -> None:
    """A full arena is waited for, too; what can never fit is an error at once."""

    async def main() -> Any:
        with faretra.Arena.create(fresh_name(), limit="32MiB", keep=False) as arena:
            tx, rx = arena.sender("x", capacity=None), arena.receiver("x")
            big = np.ones(20 << 20, "uint8")
            await tx.aio.send(big)
            calls = counting(tx, "_try_send")
            begun = time.monotonic()
            waiting = asyncio.create_task(tx.aio.send(big))
            await asyncio.sleep(0.3)
            while calls[0] < 2:
                await asyncio.sleep(0.05)
            assert not waiting.done() and calls[0] < 30 * (time.monotonic() - begun)
            (await rx.aio.recv()).ack()
            await waiting
            begun = time.monotonic()
            with pytest.raises((MemoryError, ValueError)):
                await tx.aio.send(np.ones(40 << 20, "uint8"), timeout=20)
            assert time.monotonic() - begun < 10

    run(main())


def test_a_stream_that_never_ends_leaves_the_others_their_turn(
    arena: faretra.Arena, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that always finds an item lets the others have their turn when its share of time is over: here at once."""
    monkeypatch.setattr("faretra._aio._SHARE", -1.0)

    async def main() -> Any:
        tx, rx = arena.sender("x", capacity=None), arena.receiver("x")
        feed = arena.feed("f", capacity=2000)
        tx.send_all(range(2000))
        for number in range(2000):
            feed.append(number)
        tx.close()
        feed.close()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        assert len([item async for item in rx]) == 2000
        assert len([item async for item in arena.subscribe("f")]) == 2000
        ticking.cancel()
        assert ticks >= 4000

    run(main())


def test_waiting_without_a_sender_costs_nothing(arena: faretra.Arena, run: Run) -> None:
    """when_deserted="block" waits on the descriptor: no loop spins, for receivers, senders and subscribers."""

    async def main() -> Any:
        tx = arena.sender("x", capacity=1, when_deserted="block")
        arena.receiver("x").leave()
        tx.send(1)
        feed = arena.feed("f", capacity=2)
        sub = arena.subscribe("f", when_deserted="block")
        follower = arena.subscribe("f")
        feed.leave()
        arena.sender("y").leave()
        rx = arena.receiver("y", when_deserted="block")
        counts = [
            counting(tx, "_try_send"),
            counting(rx, "try_recv"),
            counting(sub, "try_recv"),
            counting(follower, "_recv_patiently"),
        ]
        waits: list[asyncio.Future[Any]] = [
            asyncio.create_task(tx.aio.send(2)),
            asyncio.create_task(rx.aio.recv()),
            asyncio.create_task(sub.aio.recv()),
            asyncio.ensure_future(anext(follower.aio.follow())),
        ]
        await asyncio.sleep(0.5)
        assert all(0 < calls[0] < 5 for calls in counts), counts
        assert not any(wait.done() for wait in waits)
        arena.receiver("x").recv().ack()
        back = arena.feed("f", capacity=2)
        back.append("tick")
        arena.sender("y").send("item")
        done = await asyncio.gather(*waits)
        assert (done[0], done[1].value, done[2], done[3]) == (None, "item", "tick", "tick")
        done[1].ack()
        tx.leave()
        rx.leave()

    run(main())


def test_a_dead_sender_is_noticed(arena: faretra.Arena, run: Run) -> None:
    """Kill -9 of the last sender ends the wait of a task."""

    async def main(child: Child) -> None:
        rx = arena.receiver("x")
        waiting = asyncio.create_task(rx.aio.recv())
        await asyncio.sleep(0.05)
        child.send_signal(9)
        with pytest.raises(ClosedError) as ended:
            await waiting
        assert not ended.value.clean

    with Child(arena, "tx = arena.sender('x'); print('here'); time.sleep(60)") as child:
        assert child.line() == "here"
        run(main(child))


def test_feeds_on_a_loop(arena: faretra.Arena, run: Run) -> None:
    """Async for reads a feed to its end; append waits for a slow subscriber; lagging is told, or skipped."""

    async def main() -> Any:
        feed, sub = arena.feed("f", capacity=2), arena.subscribe("f")

        async def produce() -> None:
            for number in range(50):
                await feed.aio.append(number)
            feed.close()

        producing = asyncio.create_task(produce())
        assert [item async for item in sub] == list(range(50))
        await producing
        fast = arena.feed("g", capacity=4, when_full="drop_oldest")
        slow, skipping = arena.subscribe("g"), arena.subscribe("g", on_lag="skip")
        for number in range(10):
            await fast.aio.append(number)
        fast.close()
        with pytest.raises(LaggedError):
            async for _item in slow:
                pass
        assert [item async for item in skipping] == [item async for item in slow.aio.follow()]
        failing, reader = arena.feed("h", capacity=1, when_full="fail"), arena.subscribe("h")
        await failing.aio.append(1)
        with pytest.raises(FullError):
            await failing.aio.append(2, timeout=10)
        assert await reader.aio.recv(timeout=5) == 1
        with pytest.raises(TimeoutError):
            await reader.aio.recv(timeout=0.05)

    run(main())


def test_calls_on_a_loop(arena: faretra.Arena, run: Run) -> None:
    """Fifty calls at the same time through one client, served by a loop; each gets the reply to its own."""

    async def main() -> Any:
        server, client = arena.server("svc"), arena.client("svc")

        async def serve() -> None:
            async for request in server:
                request.reply({"number": request.value["number"] ** 2})

        serving = asyncio.create_task(serve())
        before = threads()
        calls = [client.aio.call({"number": number}, timeout=30) for number in range(50)]
        replies = await asyncio.gather(*calls)
        assert threads() <= before + 1
        assert [reply["number"] for reply in replies] == [number**2 for number in range(50)]
        client.close()
        await serving

    run(main())


def test_calls_end_in_time(arena: faretra.Arena, run: Run) -> None:
    """A call without a server times out, can be cancelled, and fails when the last server dies; later ones go on."""

    async def main(child: Child) -> None:
        client = arena.client("svc")
        for timeout in (0, 0.05):
            with pytest.raises(TimeoutError):
                await client.aio.call("late", timeout=timeout)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.aio.call("cancelled")
        with pytest.raises(ClosedError):
            await arena.client("nobody", wait=False).aio.call(1)
        impatient = arena.client("dying", wait=False)
        call = asyncio.create_task(impatient.aio.call(1))
        await asyncio.sleep(0.05)
        child.send_signal(9)
        with pytest.raises(ClosedError):
            await call
        server = arena.server("svc")
        thread = threading.Thread(target=server.serve, args=(lambda value: f"re: {value}",))
        thread.start()
        assert await client.aio.call("new", timeout=20) == "re: new"
        client.close()
        thread.join(20)

    with Child(arena, "server = arena.server('dying'); print('here'); time.sleep(60)") as child:
        assert child.line() == "here"
        run(main(child))


def test_a_request_without_a_reply_goes_back(arena: faretra.Arena, run: Run) -> None:
    """Async for over a server gives a request back when the next one is asked for; a block that raises does so at once."""

    async def main() -> Any:
        server, client = arena.server("svc"), arena.client("svc")
        call = asyncio.create_task(client.aio.call("x", timeout=20))
        with pytest.raises(KeyError), await server.aio.recv(timeout=5):
            raise KeyError
        attempts = []
        async for request in server:
            attempts.append(request.attempts)
            if len(attempts) == 2:
                request.reply("done")
                client.close()
        assert (attempts, await call) == ([1, 2], "done")
        with pytest.raises(ClosedError):
            await server.aio.recv()

    run(main())


def test_descriptors_do_not_pile_up(arena: faretra.Arena, run: Run) -> None:
    """Thousands of waits, cancelled and not, leave no descriptor open."""

    async def main() -> Any:
        tx, rx = arena.sender("x"), arena.receiver("x")
        before = 0
        for number in range(300):
            waiting = asyncio.create_task(rx.aio.recv())
            await asyncio.sleep(0)
            if number % 2:
                waiting.cancel()
                await asyncio.wait([waiting])
            else:
                tx.send(number)
                (await waiting).ack()
            del waiting
            if number == 20:
                before = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= before

    run(main())


def test_next_versions_on_a_loop(arena: faretra.Arena, run: Run) -> None:
    """`arena.aio.wait_for` and `ref.aio.wait` give what is there at once, else the next version; they time out in words."""

    async def main() -> Any:
        ref = arena.ref("x")
        for timeout in (0, 0.05):
            with pytest.raises(TimeoutError):
                await arena.aio.wait_for("x", timeout=timeout)
            with pytest.raises(TimeoutError):
                await ref.aio.wait(timeout=timeout)
        waits = [asyncio.create_task(arena.aio.wait_for("x")) for _ in range(20)]
        refs = [asyncio.create_task(ref.aio.wait()) for _ in range(20)]
        cancelled = asyncio.create_task(ref.aio.wait())
        await asyncio.sleep(0.05)
        before = threads()
        cancelled.cancel()
        with Child(arena, "arena['x'] = {'step': 1}; sys.stdin.read()") as child:
            assert await asyncio.gather(*waits, *refs) == [{"step": 1}] * 40
            assert threads() <= before + 2, "no thread for each wait"
            child.kill()
        assert ref.version == 1
        assert await arena.aio.wait_for("x", newer_than=0, timeout=0) == {"step": 1}
        later = asyncio.create_task(arena.aio.wait_for("x", newer_than=1, timeout=20))
        await asyncio.sleep(0.01)
        arena["x"] = None
        assert await later is None and await ref.aio.wait(timeout=20) is None
        assert ref.version == 2
        with pytest.raises(ValueError):
            await arena.aio.wait_for("")

    run(main())


def test_waits_for_versions_leave_nothing(arena: faretra.Arena, run: Run) -> None:
    """Descriptors of waits that ended, in time or not, are closed; another reader of the reference hides no version."""

    async def main() -> Any:
        ref = arena.ref("x")
        before = 0
        for number in range(200):
            waiting = asyncio.create_task(ref.aio.wait(timeout=20))
            await asyncio.sleep(0)
            arena["x"] = number
            if number % 2:
                assert ref.get() == number
            assert await waiting == number
            with pytest.raises(TimeoutError):
                await arena.aio.wait_for("x", newer_than=1000, timeout=0.001)
            if number == 20:
                before = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= before

    run(main())
