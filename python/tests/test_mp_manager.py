"""Managers of `faretra.multiprocessing`: large values by handle, and servers and clients that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import managers as standard
from typing import Any

import numpy as np
import pytest
from mp_programs import METHODS, PACKAGE, Program, alive, is_mapped, wait_until

from faretra import multiprocessing as mp
from faretra.multiprocessing import _home, managers

PATIENCE = 20
SOON = 3.0


@pytest.fixture
def manager() -> Any:
    with mp.get_context("fork").Manager() as made:
        yield made


def use(shared: Any, names: Any, jobs: Any) -> None:
    shared["from the child"] = shared["from the parent"] * 2
    names.append(os.getpid())
    jobs.put(np.arange(100_000))


def test_clients_share_what_the_server_has(ctx: Any) -> None:
    """Dicts, lists, queues and large arrays in them, from several processes."""
    with ctx.Manager() as manager:
        shared, names, jobs = manager.dict(), manager.list(), manager.Queue()
        shared["from the parent"] = np.full(300_000, 3.0)
        children = [ctx.Process(target=use, args=(shared, names, jobs)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(PATIENCE)
        assert sorted(names) == sorted(child.pid for child in children)
        assert (shared["from the child"] == 6).all()
        assert (jobs.get(timeout=PATIENCE) == np.arange(100_000)).all()
        assert type(shared).__name__ == "DictProxy"
        assert isinstance(shared, standard.DictProxy)


def test_large_values_go_by_handle(manager: Any) -> None:
    """What comes is over memory of the arena, can be written, and is the client's own; so is what a server is made with."""
    array = np.arange(500_000.0)
    shared = manager.dict(first=array)
    shared["second"] = array
    for name in ("first", "second"):
        got = shared[name]
        assert (got == array).all()
        assert is_mapped(got)
        got[0] = -1
        assert shared[name][0] == 0
    # Nothing is left in the arena but what is kept.
    del got
    names = [name for name in _home.home().arena if name.startswith("message-")]
    assert names == []


def nested(shared: Any, key: str) -> None:
    shared[key].append(5)


def test_proxies_in_proxies(ctx: Any) -> None:
    """A list in a dict of the server stays one list for all."""
    with ctx.Manager() as manager:
        shared = manager.dict()
        shared["list"] = manager.list([1])
        child = ctx.Process(target=nested, args=(shared, "list"))
        child.start()
        child.join(PATIENCE)
        assert list(shared["list"]) == [1, 5]


def hold(locks: Any, ready: Any) -> None:
    for lock in locks:
        lock.acquire()
    ready.set()
    time.sleep(PATIENCE)


def hold_and_end(lock: Any) -> None:
    lock.acquire()


@pytest.mark.parametrize("stopped", [False, True])
def test_locks_of_a_killed_client_come_back(ctx: Any, stopped: bool) -> None:
    """Each kind of lock in the server is free within a second after the client that had it was killed."""
    with ctx.Manager() as manager:
        locks = [
            manager.Lock(),
            manager.RLock(),
            manager.Semaphore(1),
            manager.BoundedSemaphore(1),
            manager.Condition(),
        ]
        ready = manager.Event()
        client = ctx.Process(target=hold, args=(locks, ready), daemon=True)
        client.start()
        assert ready.wait(PATIENCE)
        assert not locks[0].acquire(False)
        if stopped:
            os.kill(client.pid, signal.SIGSTOP)
            assert not locks[1].acquire(True, 0.1)
        os.kill(client.pid, signal.SIGKILL)
        client.join(PATIENCE)
        began = time.monotonic()
        for lock in locks[:-1]:
            assert lock.acquire(True, PATIENCE)
            lock.release()
        with locks[-1]:
            locks[-1].notify_all()
        assert time.monotonic() - began < SOON


def test_a_client_that_waited_and_was_killed_keeps_no_lock(manager: Any) -> None:
    """A lock that comes to a client that was killed while it waited goes on to the next one."""
    ctx, lock, ready = mp.get_context("fork"), manager.Lock(), manager.Event()
    lock.acquire()
    waiter = ctx.Process(target=hold, args=([lock], ready), daemon=True)
    waiter.start()
    time.sleep(0.3)
    waiter.kill()
    waiter.join(PATIENCE)
    lock.release()
    assert lock.acquire(True, PATIENCE)


def test_a_client_that_ends_keeps_its_lock(ctx: Any) -> None:
    """As in the standard's: what a process acquired and did not release before its normal end, others can release."""
    with ctx.Manager() as manager:
        lock = manager.Lock()
        client = ctx.Process(target=hold_and_end, args=(lock,))
        client.start()
        client.join(PATIENCE)
        assert not lock.acquire(True, 0.2)
        lock.release()
        assert lock.acquire(False)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_server_is_an_error_at_once(ctx: Any, stopped: bool) -> None:
    """Calls that wait, and calls after, raise EOFError or ConnectionError within a second; shutdown returns."""
    manager = ctx.Manager()
    shared, event = manager.dict(a=1), manager.Event()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            event.wait(PATIENCE)
        except BaseException as error:
            raised.append(error)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert shared["a"] == 1
    pid = manager._process.pid
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises((EOFError, ConnectionError)):
        while True:
            shared["b"] = np.zeros(100_000)
    with pytest.raises((EOFError, ConnectionError)):
        manager.list()
    waiter.join(PATIENCE)
    assert isinstance(raised[0], EOFError | ConnectionError)
    manager.shutdown()
    assert time.monotonic() - began < SOON


STOPPED = """
    import sys
    from faretra import multiprocessing as mp
    from mp_kills import STOP, hit

    if __name__ == "__main__":
        manager = mp.get_context(sys.argv[1]).Manager()
        shared = manager.dict(a=1)
        hit(manager._process.pid, STOP)
        print("stopped")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_program_ends_though_its_server_is_stopped(method: str) -> None:
    """The end of the program waits for nobody who is stopped: the server is killed."""
    with Program(STOPPED, method) as program:
        assert program.line() == "stopped"
        assert program.end(10) == 0
        assert wait_until(lambda: not program.members(), 5)
        assert program.left() == []


def test_a_killed_client_leaves_no_message(manager: Any) -> None:
    """Large values on their way to or from a client that is killed go with it."""
    ctx, shared = mp.get_context("fork"), manager.dict(a=np.zeros(200_000))

    def go_on() -> None:
        while True:
            shared["b"] = shared["a"]

    for n in range(10):
        client = ctx.Process(target=go_on, daemon=True)
        client.start()
        time.sleep(0.05 + n * 0.003)
        client.kill()
        client.join(PATIENCE)
    arena = _home.home().arena
    assert wait_until(lambda: not [name for name in arena if name.startswith("message-")])
    arena.recover()
    assert arena.verify() == []
    assert shared["a"].shape == (200_000,)


class Own(managers.BaseManager):
    pass


class Counter:
    def __init__(self, start: int = 0) -> None:
        self._n = start

    def add(self, n: Any) -> Any:
        self._n = self._n + n
        return self._n


Own.register("Counter", Counter)


def test_managers_of_ones_own(ctx: Any) -> None:
    """A type that is registered has its public methods, in whatever process."""
    with Own(ctx=ctx) as manager:
        counter = manager.Counter(5)  # type: ignore[attr-defined]
        assert counter.add(2) == 7
        assert (counter.add(np.ones(100_000)) == 8).all()


SERVES = """
import sys, multiprocessing.managers as standard

class Theirs(standard.BaseManager):
    pass

shared = {}
Theirs.register("shared", callable=lambda: shared, proxytype=standard.DictProxy)
sys.modules.pop("faretra", None)
server = Theirs(address=sys.argv[1], authkey=b"key").get_server()
print("ready", flush=True)
server.serve_forever()
"""


def test_a_server_of_the_standards(tmp_path: Any) -> None:
    """A client of ours speaks with a server that knows nothing of this package."""

    class Theirs(managers.BaseManager):
        pass

    Theirs.register("shared", proxytype=managers.DictProxy)
    address = str(tmp_path / "socket")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [sys.executable, "-I", "-c", SERVES, address], stdout=subprocess.PIPE, text=True, env=env
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            client = Theirs(address=address, authkey=b"key")
            client.connect()
            shared = client.shared()  # type: ignore[attr-defined]
            shared["a"] = b"x" * 1_000_000
            assert len(shared["a"]) == 1_000_000
            del shared
        finally:
            server.kill()


def test_a_client_of_the_standards(manager: Any) -> None:
    """A client that knows nothing of this package speaks with a server of ours."""
    program = f"""if 1:
        import sys
        from multiprocessing.managers import BaseManager, Token, DictProxy
        proxy = DictProxy(Token("dict", {manager.address!r}, sys.argv[1]), "pickle", authkey={bytes(manager._authkey)!r})
        proxy["big"] = proxy["big"] + proxy["big"]
        assert "faretra" not in sys.modules
    """
    shared = manager.dict(big=b"x" * 500_000)
    env = {**os.environ, "PYTHONPATH": PACKAGE}
    subprocess.run([sys.executable, "-c", program, shared._token.id], check=True, timeout=PATIENCE, env=env)
    assert len(shared["big"]) == 1_000_000


def test_shared_memory_manager(ctx: Any) -> None:
    """Its blocks go when it is shut down."""
    from faretra.multiprocessing import shared_memory

    with managers.SharedMemoryManager(ctx=ctx) as manager:
        block = manager.SharedMemory(4096)
        block.buf[0] = 9
        other = shared_memory.SharedMemory(block.name)
        assert other.buf[0] == 9  # type: ignore[index]
        other.close()
        items = manager.ShareableList([1, "a"])
        assert list(items) == [1, "a"]
        names = [block.name, items.shm.name]
        block.close()
        items.shm.close()
    for name in names:
        with pytest.raises(FileNotFoundError):
            shared_memory.SharedMemory(name)


USES = """
    import os, sys, time, numpy as np
    from faretra import multiprocessing as mp

    def use(shared, n):
        while True:
            shared[n] = np.full(100_000, n)

    if __name__ == "__main__":
        ctx = mp.get_context(sys.argv[1])
        manager = ctx.Manager()
        shared = manager.dict()
        children = [ctx.Process(target=use, args=(shared, n), daemon=True) for n in range(2)]
        for child in children:
            child.start()
        while len(shared) < 2:
            time.sleep(0.01)
        print(manager._process.pid, *(child.pid for child in children))
        time.sleep(60)
"""


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_the_program(method: str) -> None:
    """Ctrl-C ends the program, its children and the server, and leaves nothing."""
    with Program(USES, method) as program:
        pids = [int(pid) for pid in program.line().split()]
        program.signal_group(signal.SIGINT)
        assert program.end(15) != 0
        assert wait_until(lambda: not any(alive(pid) for pid in pids), 5)
        assert program.left() == []


@pytest.mark.parametrize("method", METHODS)
def test_the_server_ends_with_the_program(method: str) -> None:
    """A server whose program was killed ends, and with it the program's arena."""
    with Program(USES, method) as program:
        program.line()
        program.kill()
        assert wait_until(lambda: not program.members(), 10)
        program.sweep()
        assert program.left() == []
