"""Pools: the standard's, over channels of the program's arena, which tell what a dead worker had.

A task goes through these states. It is in the hands of one process in each of them:

```text
given     in the parent, in `_taskqueue`
queued    in the channel of tasks
leased    with a worker: the lease is on the channel until the worker acknowledges it
answered  its answer is in the channel of answers, whole
over      the parent has the answer: of each task the first that comes, and no other
```

* T1: a worker acknowledges a task when it asks for the next one, or ends: its answer was sent by then.
* T2: a task whose worker died, or was made to end, in state *leased* is *queued* again with a count of attempts, and the
  next worker that gets it answers for it: with `WorkerLost` (`when_lost="raise"`), or by running it (`"retry"`), and with
  `WorkerLost` too after `ATTEMPTS` workers died with it.
* T3: a task can be answered twice: its worker died after it sent the answer, and before it acknowledged. The parent knows
  which tasks wait for an answer (`Traffic.waiting`), and drops what comes later.

What a death does:

| who is killed | when | what becomes of it |
|---|---|---|
| worker | waits for a task, or gets one | it is replaced; D2 |
| worker | in its initializer, or before | D1 |
| worker | has a task | T2 |
| worker | sends its answer | the answer is there whole, and T3 holds; or it is not, and T2 does |
| worker | after `maxtasksperchild` tasks | the last task is acknowledged before it ends |
| parent | | each worker ends when it asks for its next task, since nobody can send one any more |

* D1: a worker that dies (or raises) in its initializer is replaced. If many in a row do, others are started only every
  `PAUSE` seconds; when none is left, the pool is *broken*: no more workers are started, and each task is answered with
  `WorkerLost`.
* D2: the same holds, after more of them, for workers that end within `PAUSE` seconds after their initializer while no task
  is answered: those that die of what they get a task with, and not of a task.

A worker that is stopped (SIGSTOP) keeps its task until it is continued or killed. `terminate` kills workers that do not end
within `GRACE` seconds, and stopped ones at once.

An answer that cannot be unpickled is an error of its task here, as is a task that a worker cannot unpickle: in the standard
pool the one ends the thread that reads answers, and the other the worker, and the task is never answered.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing.context as standard_context
import os
import queue
import signal
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import ProcessError, parent_process, util
from multiprocessing import pool as standard
from multiprocessing.connection import wait
from multiprocessing.pool import (
    CLOSE,
    INIT,
    RUN,
    TERMINATE,
    ApplyResult,
    AsyncResult,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
    ThreadPool,
)
from typing import Any, Literal

from faretra import _native
from faretra._channels import Lease
from faretra._errors import Error, NoSpaceError
from faretra._errors import TimeoutError as LateError
from faretra.multiprocessing._channel import Channel, Ends
from faretra.multiprocessing._home import Home, attach_after_fork
from faretra.multiprocessing._payload import dumps, loads, size

__all__ = [
    "CLOSE",
    "INIT",
    "RUN",
    "TERMINATE",
    "ApplyResult",
    "AsyncResult",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "MaybeEncodingError",
    "Pool",
    "RemoteTraceback",
    "ThreadPool",
    "WorkerLost",
]

WhenLost = Literal["raise", "retry"]

# How many workers may die with a task that is run again.
ATTEMPTS = 3
# How many tasks are queued at most; and how many bytes, beyond two tasks for each worker.
AHEAD = 1024
AHEAD_BYTES = 64 << 20
# How long `terminate` waits for workers to end, in seconds.
GRACE = 5.0
# How long the pool waits before it starts workers again, in seconds, if many ended before they were ready.
PAUSE = 1.0
# How often a thread that waits for room looks whether the pool goes on, in seconds.
_LOOK = 0.05

# How long it waits for what dead workers said to be read, in seconds.
_READ = 0.5

# Before each pickle: the job and the number of the task in it, or one of the numbers below in place of the job.
_HEAD = struct.Struct("<qq")
_SENTINEL = -1
# A worker is ready, or its initializer raised what follows. The number is that of the process.
_READY = -2


MaybeEncodingError = standard.MaybeEncodingError  # type: ignore[attr-defined]
RemoteTraceback = standard.RemoteTraceback  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    # What else the standard's module has.
    return getattr(standard, name)


class WorkerLost(ProcessError):
    """A worker died, or ended, in a task of a pool. `attempts` says how many workers had the task."""

    def __init__(self, message: str, attempts: int = 0) -> None:
        super().__init__(message, attempts)
        self.attempts = attempts

    def __str__(self) -> str:
        return str(self.args[0])


class _Parcels:
    """A channel of pickles, each with the task that it belongs to."""

    def __init__(self) -> None:
        self._channel = Channel(None)

    def __getstate__(self) -> Any:
        standard_context.assert_spawning(self)
        return self._channel

    def __setstate__(self, channel: Channel) -> None:
        self._channel = channel

    def ends(self) -> Ends:
        """Return the ends of the channel in this process."""
        return self._channel.ends()

    @property
    def home(self) -> Home:
        """The arena that it is in."""
        return self._channel.ends().where

    def _send(self, job: int, i: int, obj: object, timeout: float | None = None) -> None:
        pieces, buffers = dumps(obj)
        self._channel.send([_HEAD.pack(job, i), *pieces], buffers, timeout)


def _parted(parcel: Any) -> tuple[int, int, Any]:
    """Return the job, the number and the rest of a parcel."""
    if type(parcel) is bytes:
        job, i = _HEAD.unpack_from(parcel)
        return job, i, parcel[_HEAD.size :]
    pieces, buffers = parcel
    job, i = _HEAD.unpack_from(pieces[0])
    return job, i, (pieces[1:], buffers)


class Tasks(_Parcels):
    """The channel of tasks, as workers have it."""

    _lease: Lease | None = None
    _parent = 0
    _sender: Any = None

    def __init__(self, when_lost: WhenLost, large: int) -> None:
        super().__init__()
        self.when_lost = when_lost
        self.ahead = large
        attach_after_fork(self, Tasks._forked)

    def _forked(self) -> None:
        # A child of the parent, even one of another pool, is nobody who sends tasks.
        ends = self._channel.ends()
        ends.writing = False
        ends.sender.leave()

    def __getstate__(self) -> Any:
        return (super().__getstate__(), self.when_lost)

    def __setstate__(self, state: Any) -> None:
        channel, self.when_lost = state
        super().__setstate__(channel)

    def send(self, task: tuple[Any, ...], goes_on: Callable[[], bool]) -> None:
        """Send a task when there is room. Raises `OSError` if the pool does not go on meanwhile."""
        job, i, *rest = task
        pieces, buffers = dumps(rest)
        pieces.insert(0, _HEAD.pack(job, i))
        nbytes = size(pieces, buffers)
        self._wait_for_room(max(self.ahead, min(AHEAD, AHEAD_BYTES // nbytes)), goes_on)
        ends = self._channel.ends()
        while goes_on():
            try:
                return self._channel.send(pieces, buffers, _LOOK)
            except LateError:
                pass
            except NoSpaceError:
                # Others have what it needs, or it can never be had.
                if nbytes >= ends.where.arena.limit:
                    raise
        raise OSError("the pool does not go on")

    def _wait_for_room(self, most: int, goes_on: Callable[[], bool]) -> None:
        receiver = self._channel.ends().receiver
        pause = 0.0002
        while len(receiver) >= most and goes_on():
            time.sleep(pause)
            pause = min(2 * pause, 0.005)

    def end(self) -> None:
        """Send what tells a worker to end."""
        self._send(_SENTINEL, 0, None, _LOOK)

    # In a worker.

    def read_only(self) -> None:
        """Let go of the sending end: when the parent dies, nobody can send any more."""
        self._channel.close_writer()
        self._parent = os.getppid()
        self._sender = parent_process()

    def _is_orphan(self) -> bool:
        """Whether nobody waits for answers any more."""
        if os.getppid() != self._parent:
            return True
        # The parent of one that a server forked is the server, which lives as long as its children.
        sender = self._sender
        return sender is not None and sender.pid != self._parent and not sender.is_alive()

    def get(self) -> Any:
        """Acknowledge the task before (T1), and return the next one; `None` if there are no more, or in an orphan."""
        self.done()
        lease = self._lease = self._channel.ends().receiver.recv()
        if self._is_orphan():
            self.give_back()
            return None
        job, i, rest = _parted(_native._open_parcel(lease))
        if job == _SENTINEL:
            return None
        attempts = lease.attempts
        if attempts and (self.when_lost == "raise" or attempts >= ATTEMPTS):
            workers = "a worker" if attempts == 1 else f"{attempts} workers"
            lost = WorkerLost(f"{workers} died or ended in this task, before the answer was sent", attempts)
            return (job, i, standard._helper_reraises_exception, (lost,), {})  # type: ignore[attr-defined]
        try:
            func, args, kwds = loads(rest)
        except Exception as error:
            return (job, i, _raise_as_it_is, (error,), {})
        return (job, i, func, args, kwds)

    def done(self) -> None:
        """Acknowledge the task that this worker has."""
        if self._lease is not None:
            self._lease.ack()
            self._lease = None

    def give_back(self) -> bool:
        """Give the task back that this worker has not done. Returns whether it had one."""
        lease, self._lease = self._lease, None
        if lease is None:
            return False
        lease.nack()
        return True


def _raise_as_it_is(error: Exception) -> None:
    raise error


class Answers(_Parcels):
    """The channel of answers."""

    # How many bytes came since the parent looked how full the arena is, and after how many it looks.
    _unlooked = _look_at = 0
    _full = False

    def put(self, answer: tuple[int, int, Any] | None) -> None:
        """Send an answer, or what tells the parent's thread to end."""
        if answer is None:
            self._send(_SENTINEL, 0, None)
        else:
            self._send(*answer)

    def say_ready(self, error: BaseException | None) -> None:
        """Say that this worker is ready, or that its initializer raised an error."""
        self._send(_READY, os.getpid(), None if error is None else repr(error))

    def recv(self) -> tuple[int, int, Any]:
        """Receive the job and number of a task, and what `opened` makes its answer of."""
        return _parted(self._channel.recv(None))

    def opened(self, rest: Any) -> Any:
        """Return an answer, which is an error if it cannot be unpickled."""
        if type(rest) is tuple and rest[1] and self._is_full(rest[1]):
            # The answers that are still to come need the room.
            rest = (rest[0], [_copied(buffer) for buffer in rest[1]])
        try:
            return loads(rest)
        except Exception as error:
            return (False, error)

    def _is_full(self, buffers: Any) -> bool:
        """Whether the arena was more than half full when this was looked at last, which is not long ago."""
        self._unlooked += sum(memoryview(buffer).nbytes for buffer in buffers)
        if self._unlooked >= self._look_at:
            stats = self.home.arena.stats()
            self._unlooked, self._look_at = 0, stats.limit // 64
            # Warm memory is there for whoever asks.
            self._full = stats.used - stats.warm > stats.limit // 2
        return self._full


def _copied(buffer: Any) -> bytes | bytearray:
    return bytes(buffer) if memoryview(buffer).readonly else bytearray(buffer)


def _work(
    tasks: Tasks,
    answers: Answers,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    maxtasks: int | None,
    wrap_exception: bool,
) -> None:
    """Do tasks until there are no more: in a worker."""
    tasks.read_only()
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException as error:
            answers.say_ready(error)
            raise
    answers.say_ready(None)
    try:
        standard.worker(tasks, answers, None, (), maxtasks, wrap_exception)  # type: ignore[attr-defined]
    except BaseException as error:
        if not tasks.give_back() and isinstance(error, KeyboardInterrupt):
            # It waited for a task: there is nothing to tell.
            raise SystemExit(1) from None
        raise
    tasks.done()


class Traffic:
    """What goes between a pool and its workers, as the parent's threads know it."""

    def __init__(self, tasks: Tasks, answers: Answers, processes: int, strict: bool) -> None:
        self.tasks, self.answers = tasks, answers
        # Whether an error of the initializer breaks the pool at once.
        self._strict = strict
        # The tasks that wait for an answer.
        self.waiting: dict[tuple[int, int], None] = {}
        # Why no more workers are started.
        self.broken: WorkerLost | None = None
        # The workers whose initializers are done, and since when.
        self._ready: dict[int, float] = {}
        # How many workers in a row ended before they were ready, and how many may.
        self._early, self._patience = 0, max(3, processes + 1)
        # How many in a row ended soon after they were ready, while no task was answered, and how many may. A task that is
        # run again takes `ATTEMPTS` of them, and each of the others may have one, too.
        self._useless, self._more_patience = 0, 10 + (ATTEMPTS + 1) * processes
        self._said: str | None = None
        # When the next worker may be started.
        self.not_before = 0.0
        self._deaths: collections.deque[str] = collections.deque(maxlen=4)

    def _goes_on(self) -> bool:
        return self.broken is None and getattr(threading.current_thread(), "_state", RUN) != TERMINATE

    def put(self, task: tuple[Any, ...] | None) -> None:
        """Send a task; what cannot be sent raises."""
        if task is None:
            self._send_end()
            return
        if self.broken is not None:
            raise self.broken
        key = task[:2]
        self.waiting[key] = None
        try:
            self.tasks.send(task, self._goes_on)
        except BaseException:
            self.waiting.pop(key, None)
            if self.broken is not None:
                raise self.broken from None
            raise

    def _send_end(self) -> None:
        while True:
            try:
                return self.tasks.end()
            except (LateError, NoSpaceError):
                if not self._goes_on():
                    return

    def get(self) -> tuple[int, int, Any] | None:
        """Receive the next answer that is waited for (T3)."""
        while True:
            job, i, rest = self.answers.recv()
            if job == _SENTINEL:
                return None
            if job == _READY:
                self._note_ready(i, loads(rest))
                continue
            if (job, i) not in self.waiting:
                continue
            answer = self.answers.opened(rest)
            # After that: who looks whether anything is waited for sees it until here.
            del self.waiting[job, i]
            self._useless = 0
            lost = answer[1]
            if not answer[0] and type(lost) is WorkerLost and lost.attempts and self._deaths:
                lost.args = (
                    f"{lost.args[0]}; the last deaths of workers: {', '.join(self._deaths)}",
                    lost.attempts,
                )
            return (job, i, answer)

    def _note_ready(self, pid: int, error: str | None) -> None:
        if error is None:
            self._ready[pid] = time.monotonic()
            self._early = 0
            return
        self._said = error
        if self._strict:
            self._break(f"the initializer raised {error}")

    def note_end(self, pid: int, status: int, others: int) -> None:
        """Note that a worker ended, when there are so many others."""
        if status:
            self._deaths.append(f"process {pid} {_ended(status)}")
            # What it had is for others, now.
            try:
                self.answers.home.arena.recover()
            except Error as error:
                util.info("what process %d had comes back later: %s", pid, error)
        if pid not in self._ready and self._early + 1 >= self._patience:
            # What it and others said may not have been read yet.
            self._read_on()
        since = self._ready.pop(pid, None)
        if since is None:
            self._early += 1
            many, before = self._early >= self._patience, "they were ready"
        else:
            self._useless = self._useless + 1 if time.monotonic() - since < PAUSE else 0
            many, before = self._useless >= self._more_patience, "any task was answered"
        if not many or self.broken is not None:
            return
        if others:
            # Those may be fine, or will be: the tasks are done, and there is no haste.
            self.not_before = time.monotonic() + PAUSE
        else:
            said = self._said if since is None else None
            why = f"the initializer raised {said}" if said else f"the last one {_ended(status)}"
            count = self._early if since is None else self._useless
            self._break(f"{count} workers of the pool in a row ended before {before}: {why}")

    def _read_on(self) -> None:
        """Wait until the thread that reads answers has read what is there; not for long: it may be in a callback."""
        receiver = self.answers.ends().receiver
        until = time.monotonic() + _READ
        while len(receiver) and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(0.002)

    def _break(self, why: str) -> None:
        if self.broken is None:
            self.broken = WorkerLost(f"{why}; no more workers are started")

    def give_up(self) -> None:
        """Answer all tasks that are with nobody, since there are no workers."""
        for job, i in list(self.waiting):
            self.answers.put((job, i, (False, self.broken)))


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class Bell:
    """Wakes the thread that looks after the workers: as the queue that the standard's pool has for it."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._reader = self

    def fileno(self) -> int:
        """Return a descriptor that is readable while it rings."""
        return self._fd

    def put(self, _: object) -> None:
        """Ring."""
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Stop ringing."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        _close(self._fd)


class Pool(standard.Pool):
    """A pool of worker processes, with the methods of `multiprocessing.Pool`.

    Arguments and results that are large arrays, tables or buffers are copied once, into shared memory. A worker that dies is
    replaced, and hangs nobody: its task raises `WorkerLost`, or is run again with `when_lost="retry"`. A task that was run
    again may have been run twice, in part or in whole.

    >>> from faretra import multiprocessing as mp
    >>> with mp.get_context("fork").Pool(2) as pool:
    ...     pool.map(abs, [-1, 2, -3])
    [1, 2, 3]
    """

    _wrap_exception = True
    # Whether workers are daemons: those cannot have children of their own.
    _daemon = True
    # Whether an error of the initializer breaks the pool at once, instead of after some attempts.
    _strict = False

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        when_lost: WhenLost = "raise",
    ) -> None:
        # `__del__` finds these if this raises.
        self._pool: list[Any] = []
        self._state = INIT
        if context is None:
            from faretra.multiprocessing.context import default

            context = default.get_context()
        if processes is None:
            processes = int(getattr(os, "process_cpu_count", os.cpu_count)() or 1)
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if when_lost not in ("raise", "retry"):
            raise ValueError(f"when_lost is {when_lost!r}: it has to be 'raise' or 'retry'")
        self._ctx = context
        self._processes = processes
        self._initializer, self._initargs = initializer, initargs
        self._maxtasksperchild = maxtasksperchild
        self._inqueue, self._outqueue = Tasks(when_lost, 2 * processes), Answers()
        self._traffic = Traffic(self._inqueue, self._outqueue, processes, self._strict)
        self._taskqueue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._change_notifier = Bell()
        self._cache = standard._PoolCache(notifier=self._change_notifier)  # type: ignore[attr-defined]
        try:
            self._repopulate_pool()
        except BaseException:
            for worker in self._pool:
                if worker.exitcode is None:
                    worker.terminate()
            for worker in self._pool:
                worker.join()
            raise
        self._worker_handler = self._start_thread(
            _look_after_workers,
            self._cache,
            self._taskqueue,
            self._pool,
            self._hire(),
            self._traffic,
            self._change_notifier,
        )
        self._task_handler = self._start_thread(
            standard.Pool._handle_tasks,  # type: ignore[attr-defined]
            self._taskqueue,
            self._traffic.put,
            self._outqueue,
            self._pool,
            self._cache,
        )
        self._result_handler = self._start_thread(
            standard.Pool._handle_results,  # type: ignore[attr-defined]
            self._outqueue,
            self._traffic.get,
            self._cache,
        )
        self._terminate = util.Finalize(
            self,
            _terminate,
            args=(
                self._traffic,
                self._pool,
                self._change_notifier,
                self._worker_handler,
                self._task_handler,
                self._result_handler,
            ),
            exitpriority=15,
        )
        self._state = RUN

    @staticmethod
    def _start_thread(target: Callable[..., object], *args: Any) -> Any:
        thread: Any = threading.Thread(target=target, args=args, daemon=True)
        thread._state = RUN
        thread.start()
        return thread

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)
            self._change_notifier.put(None)

    def _hire(self) -> Callable[[], None]:
        """Return what starts workers until there are as many as there should be. It does not keep the pool."""
        ctx, make, processes, pool, daemon = (
            self._ctx,
            self.Process,
            self._processes,
            self._pool,
            self._daemon,
        )
        args = (
            self._inqueue,
            self._outqueue,
            self._initializer,
            self._initargs,
            self._maxtasksperchild,
            self._wrap_exception,
        )

        def hire() -> None:
            while len(pool) < processes:
                worker = make(ctx, target=_work, args=args)
                worker.name = worker.name.replace("Process", "PoolWorker")
                worker.daemon = daemon
                worker.start()
                pool.append(worker)

        return hire

    def _repopulate_pool(self) -> None:
        self._hire()()

    def _map_async(
        self,
        func: Any,
        iterable: Any,
        mapper: Any,
        chunksize: int | None = None,
        *callbacks: Any,
        **named: Any,
    ) -> Any:
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)
        if chunksize is None:
            # By how many workers there should be: at the moment there may be none.
            chunksize = -(-len(iterable) // (self._processes * 4))
        return super()._map_async(func, iterable, mapper, chunksize, *callbacks, **named)  # type: ignore[misc]


def _look_after_workers(
    cache: Mapping[int, Any],
    taskqueue: queue.SimpleQueue[Any],
    pool: list[Any],
    hire: Callable[[], None],
    traffic: Traffic,
    bell: Bell,
) -> None:
    thread: Any = threading.current_thread()
    while thread._state == RUN or (cache and thread._state != TERMINATE):
        for worker in [worker for worker in pool if worker.exitcode is not None]:
            worker.join()
            pool.remove(worker)
            traffic.note_end(worker.pid, worker.exitcode, len(pool))
        timeout: float | None = None
        if traffic.broken is None:
            timeout = traffic.not_before - time.monotonic()
            try:
                if timeout <= 0:
                    timeout = None
                    hire()
            except Exception as error:
                # No memory, or no more processes.
                util.info("no worker could be started: %s", error)
                timeout = PAUSE
        elif not pool:
            traffic.give_up()
            timeout = _LOOK if cache else None
        wait([*(worker.sentinel for worker in pool), bell.fileno()], timeout)
        bell.clear()
    taskqueue.put(None)


def _terminate(
    traffic: Traffic, pool: list[Any], bell: Bell, worker_handler: Any, task_handler: Any, result_handler: Any
) -> None:
    """End a pool: called once."""
    worker_handler._state = TERMINATE
    task_handler._state = TERMINATE
    bell.put(None)
    this = threading.current_thread()
    # It starts no more workers then.
    if this is not worker_handler:
        worker_handler.join()
    for worker in pool:
        if worker.exitcode is None:
            worker.terminate()
    result_handler._state = TERMINATE
    while result_handler.is_alive() and this is not result_handler:
        # It may be in a callback, and the arena may be full.
        try:
            traffic.answers._send(_SENTINEL, 0, None, _LOOK)
        except (Error, OSError) as error:
            util.debug("the pool's end is not told yet: %s", error)
            continue
        result_handler.join()
    if this is not task_handler:
        task_handler.join()
    _end(pool)


def _end(pool: list[Any]) -> None:
    """End workers, by force if they do not within a while."""
    for worker in pool:
        if worker.exitcode is None:
            worker.terminate()
    until = time.monotonic() + GRACE
    while left := [worker for worker in pool if worker.exitcode is None]:
        late = time.monotonic() > until
        for worker in left:
            if late or _is_stopped(worker.pid):
                worker.kill()
        wait([worker.sentinel for worker in left], 0.1)
    for worker in pool:
        worker.join()


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False
