"""Request and reply: clients and servers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra
from faretra import ClosedError, EmptyError, InvalidError


def serving(server: faretra.Server, function: Callable[[Any], Any]) -> threading.Thread:
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve, args=(function,), daemon=True)
    thread.start()
    return thread


def test_any_value_is_called_with_and_replied(arena: faretra.Arena) -> None:
    """Another process serves: arrays go and come without a copy, objects as they are."""
    program = "print('here'); arena.server('twice').serve(lambda value: {'twice': 2 * value['x'], 'pid': os.getpid()})"
    with Child(arena, program) as child, arena.client("twice") as client:
        assert child.line() == "here"
        reply = client.call({"x": np.arange(100_000)}, timeout=20)
        assert reply["pid"] == child.pid
        assert np.array_equal(reply["twice"], 2 * np.arange(100_000))
        assert not reply["twice"].flags.writeable
        client.close()
        assert child.end() == 0


def test_threads_call_at_the_same_time(arena: faretra.Arena) -> None:
    """One client, eight threads, two servers: each caller gets the reply to its own call."""
    servers = [arena.server("square"), arena.server("square")]
    serve = [serving(server, lambda number: number * number) for server in servers]
    client = arena.client("square")
    wrong = []

    def work(first: int) -> None:
        for number in range(first, first + 50):
            if client.call(number, timeout=20) != number * number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    client.close()
    for thread in serve:
        thread.join(20)
        assert not thread.is_alive()
    assert wrong == []


def test_a_killed_server_leaves_its_request_to_another(arena: faretra.Arena) -> None:
    """Kill -9 of a server with a request: another one gets it with attempts 1, and the client gets one reply."""
    client = arena.client("work")
    with Child(arena, "request = arena.server('work').recv(); print(request.value); time.sleep(60)") as child:
        replies = []
        thread = threading.Thread(target=lambda: replies.append(client.call("job", timeout=30)))
        thread.start()
        assert child.line() == "job"
        server = arena.server("work")
        child.kill()
        with server.recv(timeout=20) as request:
            assert (request.value, request.attempts) == ("job", 1)
            request.reply("done")
        thread.join(20)
        assert replies == ["done"]


def test_a_client_is_told_that_nobody_serves(arena: faretra.Arena) -> None:
    """wait=False fails at once, and when the last server dies during a call; wait=True waits for a server to come."""
    client = arena.client("svc", wait=False)
    with pytest.raises(ClosedError, match="service 'svc'") as failed:
        client.call(1)
    assert not failed.value.clean
    with Child(
        arena, "server = arena.server('svc'); print('here'); server.recv(); os.kill(os.getpid(), 9)"
    ) as child:
        assert child.line() == "here"
        begun = time.monotonic()
        with pytest.raises(ClosedError):
            client.call(1, timeout=20)
        assert time.monotonic() - begun < 10
    patient = arena.client("svc")
    with pytest.raises(TimeoutError):
        patient.call(1, timeout=0.2)
    # The requests that nobody served wait for the server.
    started = []
    later = threading.Timer(0.1, lambda: started.append(serving(arena.server("svc"), lambda number: -number)))
    later.start()
    assert patient.call(5, timeout=20) == -5
    patient.close()
    later.join()
    started[0].join(20)


def test_a_late_reply_is_not_that_to_the_next_call(arena: faretra.Arena) -> None:
    """A call that timed out is served all the same, and its reply is dropped."""
    server, client = arena.server("slow"), arena.client("slow")
    with pytest.raises(TimeoutError):
        client.call("first", timeout=0.05)
    with pytest.raises(TimeoutError):
        client.call("polled", timeout=0)
    thread = serving(server, lambda text: f"reply to {text}")
    assert client.call("second", timeout=20) == "reply to second"
    client.close()
    thread.join(20)


class NotLoadedError(Exception):
    """An exception that can be pickled, and not loaded again, also where a library has changed how exceptions are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_a_client_raises_what_the_function_raised(arena: faretra.Arena) -> None:
    """The exception goes to who called, with its traceback as text; the server serves the next request."""

    def function(value: Any) -> Any:
        if value == "odd":
            raise NotLoadedError("12")
        if value == "local":

            class LocalError(Exception):
                pass

            raise LocalError("here")
        return 1 / value

    thread = serving(arena.server("svc"), function)
    client = arena.client("svc")
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        client.call(0, timeout=20)
    assert isinstance(caught.value.__cause__, faretra.RemoteError)
    assert "return 1 / value" in str(caught.value.__cause__)
    with pytest.raises(faretra.RemoteError, match="NotLoadedError: 12") as told:
        client.call("odd", timeout=20)
    assert told.value.code == "remote"
    with pytest.raises(faretra.RemoteError, match="LocalError: here"):
        client.call("local", timeout=20)

    async def call() -> Any:
        return await client.aio.call(0, timeout=20)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(call())
    assert client.call(4, timeout=20) == 0.25
    client.close()
    thread.join(20)


def test_an_interrupted_server_gives_the_request_back(arena: faretra.Arena) -> None:
    """What is no `Exception` ends `serve`, and the next server gets the request, with attempts 1."""
    server, client = arena.server("svc"), arena.client("svc")
    thread = threading.Thread(target=lambda: client.call(0, timeout=20))
    thread.start()

    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.serve(interrupted)
    with server.recv(timeout=10) as request:
        assert (request.value, request.attempts) == (0, 1)
        request.reply("infinity")
    thread.join(20)
    assert not thread.is_alive()


def test_a_loop_over_requests(arena: faretra.Arena) -> None:
    """A request without a reply is given back when the next one is asked for; the loop ends when the service is closed."""
    server, client = arena.server("svc"), arena.client("svc")
    replies = []
    thread = threading.Thread(target=lambda: replies.append(client.call("x", timeout=20)))
    thread.start()
    attempts = []
    for request in server:
        attempts.append(request.attempts)
        if request.attempts == 2:
            request.reply("third time")
            client.close()
    thread.join(20)
    assert (attempts, replies) == ([0, 1, 2], ["third time"])


def test_a_request_ends_once(arena: faretra.Arena) -> None:
    """A second reply is refused in words; a block without a reply gives the request back; what was taken stays valid."""
    server, client = arena.server("svc"), arena.client("svc")
    thread = threading.Thread(target=lambda: client.call(np.arange(5), timeout=20))
    thread.start()
    with server.recv(timeout=10) as request:
        pass
    assert request.ended
    with pytest.raises(InvalidError, match="given back"):
        _ = request.value
    request = server.recv(timeout=10)
    value = request.value
    assert request.value is value
    request.reply(None)
    calls: list[Callable[[], Any]] = [lambda: request.reply(1), request.nack]
    for again in calls:
        with pytest.raises(InvalidError, match="already"):
            again()
    thread.join(20)
    assert value.sum() == 10


def test_ends_of_a_service_are_left(arena: faretra.Arena) -> None:
    """What was left says so; a poll of a server without requests raises EmptyError; a long name is refused."""
    server, client = arena.server("svc"), arena.client("svc")
    with pytest.raises(EmptyError):
        server.try_recv()
    with pytest.raises(TimeoutError):
        server.recv(timeout=0.05)
    with server, client:
        pass
    calls: list[Callable[[], Any]] = [
        server.recv,
        lambda: client.call(1),
        server.close,
        client.close,
        server.fileno,
    ]
    for call in calls:
        with pytest.raises(InvalidError, match="was left"):
            call()
    with pytest.raises(faretra.TooLargeError):
        arena.client("x" * 180)
    arena["value"] = 1
    with pytest.raises(faretra.MismatchError):
        arena.server("value")


def test_dead_clients_leave_nothing(arena: faretra.Arena) -> None:
    """Kill -9 of clients in their calls: a server that polls serves on, and their channels go."""
    server = arena.server("svc")
    program = "client = arena.client('svc')\nwhile True: client.call((os.getpid(), np.zeros(10_000)))"
    with Child(arena, program) as one, Child(arena, program) as two:
        served: set[int] = set()
        while len(served) < 2:
            with server.recv(timeout=20) as request:
                served.add(request.value[0])
                request.reply(request.value)
        one.kill()
        two.kill()
    # This one is never replied to.
    with Child(arena, program) as three:
        while True:
            request = server.recv(timeout=20)
            if request.value[0] == three.pid:
                break
            request.reply(None)
        three.kill()
    arena.recover()
    request.reply(None)
    ends = time.monotonic() + 20
    while len(arena.entries()) > 1 and time.monotonic() < ends:
        try:
            with server.recv(timeout=0) as request:
                request.reply(None)
        except EmptyError:
            time.sleep(0.01)
    assert [entry.name for entry in arena.entries()] == ["svc"]
