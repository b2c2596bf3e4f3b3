"""Pipes of `faretra.multiprocessing`: what arrives, how it goes, who dies, what is left."""

from __future__ import annotations

import array
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import connection as standard
from typing import Any

import numpy as np
import pytest

from faretra import multiprocessing as mp
from faretra._errors import ArenaNotFoundError
from faretra._native import Pinned
from faretra.multiprocessing import _home
from faretra.multiprocessing.connection import LARGE, Connection

MANY = 100_000
PATIENCE = 15
KILLS = [("fork", int(os.environ.get("FARETRA_KILLS", "40"))), ("forkserver", 8), ("spawn", 3)]


def messages() -> list[str]:
    """The names of messages in transit."""
    return [name for name in _home.home().arena if name.startswith("message-")]


def base(array: Any) -> Any:
    owner: Any = array
    while not isinstance(owner, Pinned) and owner is not None:
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner


@pytest.fixture(params=[True, False], ids=["duplex", "simplex"])
def ends(request: pytest.FixtureRequest) -> Any:
    receiver, sender = mp.Pipe(request.param)
    yield receiver, sender
    receiver.close()
    sender.close()


@pytest.mark.parametrize("count", [0, 1, 1000, LARGE // 8, MANY, 3 * MANY])
def test_an_array_arrives(ends: Any, count: int) -> None:
    """Arrays arrive equal and writable; large ones lie in the arena, and leave no name there."""
    receiver, sender = ends
    sender.send(np.arange(float(count)))
    assert receiver.poll(PATIENCE)
    got = receiver.recv()
    assert (got == np.arange(float(count))).all() and got.flags.writeable
    assert isinstance(base(got), Pinned) == (count * 8 >= LARGE)
    got[:] = 1
    assert messages() == []


def test_an_array_of_medium_size_goes_through_the_kernel() -> None:
    """Arrays that are large for the pickler, and not for the pipe, arrive in either order."""
    receiver, sender = mp.Pipe()
    for sent in (
        np.arange(16_000.0).reshape(40, -1),
        np.arange(16_000.0).reshape(40, -1).T,
        bytearray(b"x" * 100_000),
    ):
        thread = threading.Thread(target=sender.send, args=([sent, 1],))
        thread.start()
        got = receiver.recv()[0]
        thread.join(PATIENCE)
        assert type(got) is type(sent) and np.array_equal(got, sent)
        if isinstance(sent, np.ndarray):
            flags = np.asarray(got).flags
            assert flags.f_contiguous == sent.flags.f_contiguous and flags.writeable


@pytest.mark.parametrize(
    "sent", [b"x" * (1 << 20), bytearray(1 << 20), "\u00e9" * (1 << 20), [b"a" * LARGE, 5]], ids=type
)
def test_objects_arrive_as_they_were(ends: Any, sent: Any) -> None:
    """What is large and no buffer keeps its type."""
    receiver, sender = ends
    sender.send(sent)
    got = receiver.recv()
    assert type(got) is type(sent) and got == sent


@pytest.mark.parametrize("count", [0, 100, LARGE, 1 << 20])
def test_bytes_are_sent_as_bytes(ends: Any, count: int) -> None:
    """send_bytes, recv_bytes and recv_bytes_into behave as the standard's, whichever way the bytes go."""
    receiver, sender = ends
    sent = random.Random(count).randbytes(count)
    sender.send_bytes(sent)
    assert receiver.recv_bytes() == sent
    sender.send_bytes(b"--" + sent + b"-", 2, count)
    into = bytearray(count + 3)
    assert receiver.recv_bytes_into(into, 3) == count and into[3:] == sent
    numbers = array.array("d", [0.0] * (count // 8 + 1))
    sender.send_bytes(memoryview(sent)[: count // 8 * 8])
    assert receiver.recv_bytes_into(numbers) == count // 8 * 8
    sender.send_bytes(sent)
    if count:
        with pytest.raises(mp.BufferTooShort) as short:
            receiver.recv_bytes_into(bytearray(count - 1))
        assert short.value.args == (sent,)
    else:
        receiver.recv_bytes()
    sender.send_bytes(sent)
    assert receiver.recv_bytes(count) == sent
    assert messages() == []


def test_bytes_and_objects_mix(ends: Any) -> None:
    """recv_bytes of an object is its pickle, and recv of a pickle is the object, as with the standard's."""
    from multiprocessing.reduction import ForkingPickler

    receiver, sender = ends
    for sent in (5, np.arange(MANY)):
        sender.send(sent)
        loaded = ForkingPickler.loads(receiver.recv_bytes())  # pyright: ignore[reportAttributeAccessIssue]
        assert np.all(loaded == sent)
        sender.send_bytes(ForkingPickler.dumps(sent))
        assert np.all(receiver.recv() == sent)
    sender.send_bytes(b"x" * LARGE)
    with pytest.raises(OSError, match="bad message length"):
        receiver.recv_bytes(LARGE - 1)


def test_connections_are_the_standard_s(ends: Any) -> None:
    """Our connections are instances of the standard's class, and their ends close, poll and wait as those do."""
    receiver, sender = ends
    assert isinstance(receiver, standard.Connection) and isinstance(sender, Connection)
    assert not receiver.poll(0.01) and mp.connection.wait([receiver], 0.01) == []
    sender.send(np.arange(MANY))
    assert mp.connection.wait([receiver], PATIENCE) == [receiver]
    receiver.recv()
    sender.close()
    with pytest.raises(EOFError):
        receiver.recv()
    with pytest.raises(OSError, match="closed"):
        sender.send(1)


def echo(end: Any) -> None:
    with end:
        while True:
            got = end.recv()
            if isinstance(got, str):
                return
            if isinstance(got, np.ndarray):
                got[0] += 1
            end.send(got)


def test_there_and_back(ctx: Any) -> None:
    """Messages of all sizes go to another process and back; then comes the end of file."""
    mine, other = ctx.Pipe()
    child = ctx.Process(target=echo, args=(other,))
    child.start()
    other.close()
    for count in (1, 1000, LARGE // 8, MANY, MANY * 5):
        sent = np.arange(count)
        mine.send(sent)
        got = mine.recv()
        assert got[0] == 1 and (got[1:] == sent[1:]).all()
        mine.send_bytes(b"\x80\x05N.")
        assert mine.recv() is None
    mine.send("stop")
    with pytest.raises(EOFError):
        mine.recv()
    child.join(PATIENCE)
    assert child.exitcode == 0 and messages() == []


def send_and_end(end: Any) -> None:
    end.send(np.arange(MANY))
    end.send_bytes(b"z" * (1 << 20))


def test_what_was_sent_outlives_its_sender(ctx: Any) -> None:
    """A large message arrives after the process that sent it has ended."""
    receiver, sender = ctx.Pipe(duplex=False)
    child = ctx.Process(target=send_and_end, args=(sender,))
    child.start()
    sender.close()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert receiver.recv()[-1] == MANY - 1
    assert receiver.recv_bytes() == b"z" * (1 << 20)
    with pytest.raises(EOFError):
        receiver.recv()


def pass_on(end: Any) -> None:
    with end, end.recv() as other:
        other.send(np.arange(MANY))


def test_connections_go_through_connections(ctx: Any) -> None:
    """A connection can be sent through another; large messages through it arrive."""
    mine, child_s = ctx.Pipe()
    receiver, sender = ctx.Pipe(duplex=False)
    child = ctx.Process(target=pass_on, args=(child_s,))
    child.start()
    mine.send(sender)
    assert receiver.recv()[-1] == MANY - 1
    child.join(PATIENCE)
    assert child.exitcode == 0


def test_what_nobody_received_is_removed(ends: Any) -> None:
    """Messages to an end that is gone leave no memory behind: when the sender sends again, or closes."""
    receiver, sender = ends
    for _ in range(3):
        sender.send(np.arange(MANY))
    assert len(messages()) == 3
    receiver.recv()
    assert len(messages()) == 2
    receiver.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        sender.send(np.arange(MANY))
    assert messages() == []
    receiver, sender = mp.Pipe(duplex=False)
    sender.send(np.arange(MANY))
    receiver.close()
    del sender
    gc.collect()
    assert messages() == []


def test_a_full_arena_does_not_stop_a_pipe() -> None:
    """Without room in the arena, large messages go through the kernel, and arrive the same."""
    program = """if True:
        import numpy as np, threading
        from faretra import multiprocessing as mp
        mp.set_limit("16MiB")
        receiver, sender = mp.Pipe()
        kept = mp.Queue()
        kept.put(np.zeros(1_800_000))
        sent = [np.full(500_000, 7), b"b" * 3_000_000, "end"]
        thread = threading.Thread(target=sender.send, args=(sent,))
        thread.start()
        got = receiver.recv()
        assert (got[0] == 7).all() and got[1:] == sent[1:]
        got[0][0] = 1
        thread.join()
        thread = threading.Thread(target=sender.send_bytes, args=(bytes(9_000_000),))
        thread.start()
        assert receiver.recv_bytes() == bytes(9_000_000)
        print("ok")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ok\n", done.stderr


def test_a_message_of_a_program_that_is_gone_says_so() -> None:
    """Who cannot open the arena of a message is told in words."""
    receiver, sender = mp.Pipe(duplex=False)
    told = b"\0".join([b"mp-0-gone", b"/dev/shm", b"message-1"])
    os.write(sender.fileno(), b"\xff\xff\xff\xfe" + len(told).to_bytes(4, "big") + told)
    with pytest.raises(ArenaNotFoundError, match="every process of that program has ended"):
        receiver.recv()
    os.write(sender.fileno(), b"\xff\xff\xff\xfe\x7f\xff\xff\xff")
    with pytest.raises(OSError, match="none of a pipe"):
        receiver.recv()


def send_for_ever(end: Any, seed: int) -> None:
    pick = random.Random(seed)
    n = 0
    while True:
        end.send((n, np.full(pick.choice([1, 1000, 40_000]), n)))
        n += 1


@pytest.mark.parametrize(("method", "times"), KILLS)
def test_a_killed_sender_ends_the_pipe(method: str, times: int) -> None:
    """What a killed process had sent arrives whole and in order, then EOFError, or OSError in the middle of a message."""
    ctx, pick = mp.get_context(method), random.Random(5)
    for seed in range(times):
        receiver, sender = ctx.Pipe(duplex=False)
        child = ctx.Process(target=send_for_ever, args=(sender, seed), daemon=True)
        child.start()
        sender.close()
        n = 0
        for _ in range(pick.randrange(4)):
            number, payload = receiver.recv()
            assert number == n and (payload == n).all()
            n += 1
        time.sleep(pick.random() * 0.01)
        child.kill()
        try:
            while True:
                number, payload = receiver.recv()
                assert number == n and (payload == n).all()
                n += 1
        except (EOFError, OSError):
            pass
        receiver.close()
        child.join(PATIENCE)
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == []


def receive_for_ever(end: Any) -> None:
    while True:
        end.recv()


@pytest.mark.parametrize(("method", "times"), KILLS)
def test_a_killed_receiver_is_noticed(method: str, times: int) -> None:
    """Sending to a killed process raises at once, and takes back what it had not received."""
    ctx, pick = mp.get_context(method), random.Random(6)
    for _ in range(times):
        receiver, sender = ctx.Pipe(duplex=False)
        child = ctx.Process(target=receive_for_ever, args=(receiver,), daemon=True)
        child.start()
        receiver.close()
        killed = time.monotonic() + pick.random() * (0.01 if method == "fork" else 0.3)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                sender.send(np.zeros(40_000))
                if time.monotonic() > killed:
                    child.kill()
        child.join(PATIENCE)
        sender.close()
    assert messages() == []
    arena = _home.home().arena
    arena.recover()
    assert arena.verify() == []


def test_a_stopped_receiver_stops_its_sender_only() -> None:
    """A stopped process at the other end makes the sender wait, as the kernel's pipe does; others go on."""
    ctx = mp.get_context("fork")
    receiver, sender = ctx.Pipe(duplex=False)
    child = ctx.Process(target=receive_for_ever, args=(receiver,), daemon=True)
    child.start()
    os.kill(child.pid, signal.SIGSTOP)
    try:
        for _ in range(20):
            sender.send(np.zeros(MANY))
        one, other = ctx.Pipe()
        one.send(np.arange(MANY))
        assert other.recv()[-1] == MANY - 1
    finally:
        os.kill(child.pid, signal.SIGCONT)
    until = time.monotonic() + PATIENCE
    while messages() and time.monotonic() < until:
        time.sleep(0.01)
    assert messages() == []
    child.kill()
    child.join(PATIENCE)


def test_listener_and_client_are_the_standard_s() -> None:
    """Connections over sockets have the standard's class and format: the other side may be any program."""
    with (
        mp.connection.Listener() as listener,
        mp.connection.Client(listener.address) as client,
        listener.accept() as server,
    ):
        assert type(client) is standard.Connection and type(server) is standard.Connection
        client.send("hello")
        assert server.recv() == "hello"


def test_a_fork_keeps_the_pipes_apart() -> None:
    """A forked child's messages have names of their own, also without multiprocessing's Process."""
    receiver, sender = mp.Pipe(duplex=False)
    sender.send(np.zeros(MANY))
    pid = os.fork()
    if pid == 0:
        try:
            sender.send(np.ones(MANY))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    sender.send(np.full(MANY, 2))
    assert [receiver.recv()[0] for _ in range(3)] == [0, 1, 2]
