"""Managers: the standard's, with large values by handle, and locks that a dead client gives back.

A manager, its server process, its proxies and their messages are the standard's. Two things are added.

**Large values.** The connection of a proxy to the server is a socket of the kernel, and authenticated, as the standard's.
Each side of it is a `Link`: a `Connection` of `faretra.multiprocessing`, which sends what is large through the arena once it
knows that the other side can take it from there:

* L1: the first message of a client has, in the place that the standard's server ignores, a *hello*: which arenas the client
  is joined to, and a name for the connection. A server of ours answers with a `_Welcome`, which says which of them it is
  joined to. From then on both sides use that arena.
* L2: a client or server of the standard's, or of another program, knows nothing of that: all goes through the socket.
* L3: a proxy that is handed to a process brings the arena along: the process joins it.

**Deaths.**

| who is killed | what becomes of it |
|---|---|
| the server | each call of a proxy raises `EOFError` or `ConnectionError` at once; `shutdown` returns |
| the server is stopped | calls wait until it goes on, or Ctrl-C; `shutdown`, and the end of the program, kill it |
| the process that started the server | the server ends within a second or so; the standard's stays for ever |
| a client that has a lock | D1 |
| a client that waits for a lock | the server's thread gets it in its turn, finds the client gone, and releases it |
| a client in `Condition.wait`, `Queue.get` | a notification or item is lost when its turn comes, as in the standard's |

* D1: the server's thread for the client ends, and releases what the client's thread had acquired of a `Lock`, `RLock`,
  `Condition`, `Semaphore` or `BoundedSemaphore`, and nobody released since. If the client ends without being killed, a lock
  that it has stays locked until somebody releases it, as in the standard's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from multiprocessing import connection as standard_connection
from multiprocessing import managers as standard
from multiprocessing import process, reduction, util
from multiprocessing.managers import Token
from typing import Any, NamedTuple

from faretra._errors import Error
from faretra.multiprocessing import _home, connection, pool, shared_memory
from faretra.multiprocessing._rebound import rebound

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]


def __getattr__(name: str) -> Any:
    # What else the standard's module has.
    return getattr(standard, name)


_getpid = os.getpid
_dumps = reduction.ForkingPickler.dumps

# --- connections ---


# The first message of a client begins with a tuple of this, the arenas that the client is joined to, and a name for the
# connection. A server without this package ignores it.
_HELLO = "faretra: hello"


class _Welcome(NamedTuple):
    """What a server of ours answers to a hello: the arena that both use, and the result of the first call."""

    arena: _home.Key | None
    result: Any


# What a client says last.
_BYE = "faretra: the client closed this connection"


class Link(connection.Connection):
    """A connection between a proxy and its server."""

    def __init__(self, handle: int, side: str, arena: _home.Key | None) -> None:
        # No arena is made for it.
        super().__init__(handle, place=(arena or ("", ""), os.urandom(6).hex(), side))
        self._both_have_it = arena is not None
        self._first = True

    def _send_in_arena(self, pieces: Any, buffers: Any) -> bool:
        return self._both_have_it and super()._send_in_arena(pieces, buffers)

    def _clear(self, sides: str) -> None:
        if self._both_have_it:
            super()._clear(sides)

    def _use(self, arena: _home.Key, pipe: str) -> None:
        """Use an arena that both sides are joined to."""
        self._place = (arena, pipe, self._place[2])
        self._both_have_it = True


def _taken(conn: Any) -> int:
    """Take the descriptor out of a connection of the standard's."""
    handle: int = conn._handle
    conn._handle = None
    return handle


class ClientLink(Link):
    """The client's side."""

    _welcome = False

    def __init__(self, handle: int, arena: _home.Key | None) -> None:
        super().__init__(handle, "a", arena)
        self._pid = _getpid()
        if _links.pid != self._pid:
            _links.begin()
        _links.open.add(self)

    def send(self, obj: Any) -> None:
        """Send a request: the first one with a hello."""
        if self._first and type(obj) is tuple and len(obj) == 4 and obj[0] is None:
            obj = ((_HELLO, tuple(_home._joined), self._place[1]), *obj[1:])
        super().send(obj)

    def recv(self) -> Any:
        """Receive an answer."""
        answer = super().recv()
        if self._first:
            self._first = False
            if type(answer) is tuple and type(answer[1]) is _Welcome:
                welcome: _Welcome = answer[1]
                self._welcome = True
                if welcome.arena is not None:
                    self._use(welcome.arena, self._place[1])
                answer = (answer[0], welcome.result)
        return answer

    def _close(self, *args: Any, **named: Any) -> None:
        # A forked child has a copy, which it closes without a word.
        if self._welcome and self._pid == _getpid():
            with contextlib.suppress(OSError):
                standard_connection.Connection._send_bytes(self, _dumps(_BYE))  # type: ignore[attr-defined]
        super()._close(*args, **named)


class _Links:
    """The connections of this process to servers: it closes them when it ends, so that they know that it was not killed."""

    def __init__(self) -> None:
        self.pid = 0
        self.open: weakref.WeakSet[ClientLink] = weakref.WeakSet()

    def begin(self) -> None:
        self.pid = _getpid()
        self.open = weakref.WeakSet()
        # After the children were joined.
        util.Finalize(None, self.close, exitpriority=-5)

    def close(self) -> None:
        for link in list(self.open):
            link.close()


_links = _Links()


class ServerLink(Link):
    """The server's side."""

    # Whether the client says it when it leaves, and has not said it yet.
    expects_bye = False

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "b", None)
        self._hello: Any = None

    def recv(self) -> Any:
        """Receive a request."""
        request = super().recv()
        if self._first:
            self._first = False
            hello = request[0] if type(request) is tuple and request else None
            if type(hello) is tuple and len(hello) == 3 and hello[0] == _HELLO:
                self._hello = hello
                self.expects_bye = True
        elif request == _BYE and self.expects_bye:
            self.expects_bye = False
            raise EOFError
        return request

    def send(self, obj: Any) -> None:
        """Send an answer: the first one with a welcome, if there was a hello."""
        hello, self._hello = self._hello, None
        if hello is None:
            return super().send(obj)
        _, arenas, pipe = hello
        arena = next((key for key in arenas if key in _home._joined), None)
        super().send((obj[0], _Welcome(arena, obj[1])))
        if arena is not None:
            self._use(arena, pipe)


def _client(address: Any, authkey: bytes | None = None) -> Any:
    """Connect to a server, as `connection.Client` does."""
    conn = standard_connection.Client(address, authkey=authkey)
    # A socket of another kind may lead to another machine, where an arena of the same name is another one.
    if standard_connection.address_type(address) != "AF_UNIX":  # type: ignore[attr-defined]
        return conn
    return ClientLink(_taken(conn), _served.get(address))


# The arenas of servers that this process has started: their clients use them from the first message on.
_served: dict[Any, _home.Key] = {}


# --- what the server has for its clients ---

_mine = threading.local()


class _Held:
    """What the threads of a server hold for their clients: which of them acquired what, and how often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by: dict[int, int] = {}

    def acquired(self, owner: Any) -> None:
        this = threading.get_ident()
        with self._lock:
            self._by[this] = self._by.get(this, 0) + 1
        _mine.__dict__.setdefault("held", {})[id(owner)] = owner

    def released(self) -> None:
        """One was released: of this thread, or else of any that has one."""
        this = threading.get_ident()
        with self._lock:
            whose = this if this in self._by else next(iter(self._by), None)
            if whose is None:
                return
            self._by[whose] -= 1
            if not self._by[whose]:
                del self._by[whose]

    def left(self) -> int:
        """How many this thread has."""
        with self._lock:
            return self._by.get(threading.get_ident(), 0)


class _Given:
    """A lock or semaphore in a server: what the thread of a dead client has of it is released."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._held = _Held()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire it, for the client whose thread this is."""
        limit = () if timeout is None else (timeout,)
        got = self._lock.acquire(blocking, *limit)
        if got:
            self._held.acquired(self)
        return bool(got)

    def release(self, *n: int) -> None:
        """Release it."""
        self._lock.release(*n)
        for _ in range(n[0] if n else 1):
            self._held.released()

    def give_back(self) -> None:
        """Release what this thread has."""
        for _ in range(self._held.left()):
            self.release()

    __enter__ = acquire

    def __exit__(self, *exc: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        # What `Condition` asks of an RLock.
        return getattr(self._lock, name)

    def __repr__(self) -> str:
        return repr(self._lock)


def Lock() -> Any:
    """Return a lock for clients."""
    return _Given(threading.Lock())


def RLock() -> Any:
    """Return a lock for clients that the thread that has it can acquire again."""
    return _Given(threading.RLock())


def Semaphore(value: int = 1) -> Any:
    """Return a semaphore for clients."""
    return _Given(threading.Semaphore(value))


def BoundedSemaphore(value: int = 1) -> Any:
    """Return a semaphore for clients that never has more than `value` permits."""
    return _Given(threading.BoundedSemaphore(value))


class Condition(threading.Condition):
    """A condition for clients."""

    def __init__(self, lock: Any = None) -> None:
        # A lock that clients made comes as a proxy: its own thread in this process holds it, and gives it back.
        super().__init__(RLock() if lock is None else lock)


class Server(standard.Server):
    """The server of a manager."""

    def handle_request(self, conn: Any) -> None:
        """Serve a connection until it ends; then give back what its client held."""
        link = None
        if isinstance(conn, standard_connection.Connection) and isinstance(self.address, str | bytes):
            conn = link = ServerLink(_taken(conn))
        try:
            super().handle_request(conn)
        finally:
            killed = link is not None and link.expects_bye
            for given in list(_mine.__dict__.get("held", {}).values()) if killed else []:
                # It may have been released by others meanwhile.
                with contextlib.suppress(RuntimeError, ValueError):
                    given.give_back()


# --- managers ---

# Over a pipe of ours, so that the server is joined to the arena.
_start = rebound(standard.BaseManager.start, connection=connection)


def _end_with_parent() -> None:
    """End the server of this process when the process that started it is gone: nobody else would."""
    parent = process.parent_process()
    if parent is not None and parent.pid is not None:
        # Not by its sentinel, which children that were forked later keep open.
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(parent.pid)
            standard_connection.wait([descriptor])
            os.close(descriptor)
        server = getattr(process.current_process(), "_manager_server", None)
        if server is not None:
            server.stop_event.set()


def _end_if_stopped(server: Any) -> None:
    """Kill a server that is stopped: it answers nobody, not who asks it to end, either."""
    if server.is_alive() and pool._is_stopped(server.pid):
        server.kill()
        server.join()


class BaseManager(standard.BaseManager):
    """A base class for managers, as the standard's.

    >>> from faretra.multiprocessing.managers import BaseManager
    >>> class Counting(BaseManager):
    ...     pass
    >>> Counting.register("Counter", dict)
    """

    _Server: Any = Server
    # What the standard's has.
    _address: Any
    _authkey: bytes
    _registry: dict[str, Any]
    _serializer: str
    _state: Any

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        **named: Any,
    ) -> None:
        if ctx is None:
            from faretra.multiprocessing.context import default

            ctx = default.get_context()
        super().__init__(address, authkey, serializer, ctx, **named)
        if serializer == "pickle":
            self._Client = _client

    def get_server(self) -> Any:
        """Return a server object with the method `serve_forever`."""
        if self._state.value != standard.State.INITIAL:  # type: ignore[attr-defined]
            # It raises.
            return super().get_server()
        return self._Server(self._registry, self._address, self._authkey, self._serializer)

    def start(self, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        """Start the server's process."""
        _start(self, initializer, initargs)
        if isinstance(self._address, str | bytes):
            _served[self._address] = _home.home().key
            util.Finalize(self, _served.pop, args=(self._address, None))
        # At the program's end before its proxies tell the server that they are gone.
        util.Finalize(self, _end_if_stopped, args=(self._process,), exitpriority=11)  # type: ignore[attr-defined]

    @staticmethod
    def _finalize_manager(server: Any, *args: Any) -> None:
        _end_if_stopped(server)
        standard.BaseManager._finalize_manager(server, *args)  # type: ignore[attr-defined]

    @classmethod
    def _run_server(cls, *args: Any, **named: Any) -> None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        super()._run_server(*args, **named)  # type: ignore[misc]

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., object] | None = None,
        proxytype: Any = None,
        exposed: Any = None,
        method_to_typeid: Any = None,
        create_method: bool = True,
    ) -> None:
        """Register a type: `callable` makes its objects in the server, and `proxytype` stands for them in clients."""
        super().register(typeid, callable, proxytype or AutoProxy, exposed, method_to_typeid, create_method)


# --- proxies ---


class BaseProxy(standard.BaseProxy):
    """A base class for proxies, as the standard's."""

    def __init__(self, token: Any, serializer: str, *args: Any, **named: Any) -> None:
        super().__init__(token, serializer, *args, **named)
        if serializer == "pickle":
            self._Client = _client

    def __reduce__(self) -> Any:
        _, (make, token, serializer, named) = super().__reduce__()
        if make is standard.AutoProxy:  # type: ignore[attr-defined]
            make = AutoProxy
        return _rebuild, (tuple(_home._joined), make, token, serializer, named)


def _rebuild(arenas: tuple[_home.Key, ...], make: Any, token: Any, serializer: str, named: Any) -> Any:
    if not _home._joined:
        for key in arenas[:1]:
            # Without it, all goes through the socket.
            with contextlib.suppress(Error, OSError):
                _home.join(key)
    return standard.RebuildProxy(make, token, serializer, named)  # type: ignore[attr-defined]


def MakeProxyType(name: str, exposed: Any, _cache: dict[Any, Any] | None = None) -> Any:
    """Return a proxy type whose methods are `exposed`."""
    cache = _proxy_types if _cache is None else _cache
    key = (name, tuple(exposed))
    if key not in cache:
        base = standard.MakeProxyType(name, exposed)  # type: ignore[attr-defined]
        cache[key] = type(name, (BaseProxy, base), {"_exposed_": tuple(exposed)})
    return cache[key]


_proxy_types: dict[Any, Any] = {}

_make_auto = rebound(standard.AutoProxy, MakeProxyType=MakeProxyType)  # type: ignore[attr-defined]


def AutoProxy(*args: Any, **named: Any) -> Any:
    """Return a proxy with the public methods of what it stands for."""
    return _make_auto(*args, **named)


def _ours(proxytype: Any) -> Any:
    """Return a proxy type of the standard's that is one of ours too."""
    named = {"__module__": __name__, "__doc__": proxytype.__doc__, "__qualname__": proxytype.__name__}
    made = type(proxytype.__name__, (BaseProxy, proxytype), named)
    return made


_PROXIES: dict[Any, Any] = {
    proxytype: _ours(proxytype)
    for _, _, _, proxytype in standard.SyncManager._registry.values()  # type: ignore[attr-defined]
    # The others have the function `AutoProxy`.
    if isinstance(proxytype, type)
}
# `ListProxy`, `DictProxy` and so on.
globals().update({proxytype.__name__: proxytype for proxytype in _PROXIES.values()})

# What is made in the server in another way than the standard's makes it.
_MADE: dict[str, Any] = {
    "Lock": Lock,
    "RLock": RLock,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Condition": Condition,
    "Pool": pool.Pool,
}


class SyncManager(BaseManager, standard.SyncManager):
    """A manager of lists, dicts, queues, locks and so on: what `multiprocessing.Manager()` returns, started.

    >>> from faretra import multiprocessing as mp
    >>> with mp.get_context("fork").Manager() as manager:
    ...     shared = manager.dict()
    ...     shared["array"] = np.arange(3)
    ...     shared["array"]
    array([0, 1, 2])
    """


for _typeid, (_make, _exposed, _types, _proxytype) in standard.SyncManager._registry.items():  # type: ignore[attr-defined]
    SyncManager.register(
        _typeid,
        _MADE.get(_typeid, _make),
        _PROXIES.get(_proxytype),
        _exposed,
        _types,
        hasattr(standard.SyncManager, _typeid),
    )


class SharedMemoryServer(Server, standard.SharedMemoryServer):
    """The server of a `SharedMemoryManager`."""


class SharedMemoryManager(BaseManager, standard.SharedMemoryManager):
    """A manager of named blocks of shared memory, which are removed when it is shut down."""

    _Server = SharedMemoryServer
    __init__ = BaseManager.__init__
    get_server = BaseManager.get_server
    SharedMemory: Any = rebound(standard.SharedMemoryManager.SharedMemory, shared_memory=shared_memory)
    ShareableList: Any = rebound(standard.SharedMemoryManager.ShareableList, shared_memory=shared_memory)
