"""`multiprocessing` with its data in shared memory: change the import line.

    from faretra import multiprocessing as mp

The names, signatures and meanings are those of the standard library's `multiprocessing`. What differs:

* Large arrays, tables and buffers travel without being copied: `put`, `send` and results of a pool copy them once, into
  shared memory, and who receives them maps them there. What is received is the receiver's own, and can be written to.
* A process that is killed hangs nobody: locks and permits of dead processes come back, an item that a dead reader had goes
  to another, a pool replaces its workers and says which tasks were lost.
* Nothing is left in `/dev/shm`, and no tracker process runs.

The differences in detail, each with its reason, are listed in `COMPATIBILITY.md` of the package's source.
"""

from __future__ import annotations

import typing
from importlib import import_module
from multiprocessing import (
    AuthenticationError,
    BufferTooShort,
    Process,
    ProcessError,
    TimeoutError,
    active_children,
    allow_connection_pickling,
    cpu_count,
    current_process,
    freeze_support,
    get_all_start_methods,
    get_logger,
    log_to_stderr,
    parent_process,
    set_executable,
    set_forkserver_preload,
)
from multiprocessing import dummy as dummy
from multiprocessing import process as process
from multiprocessing import reduction as reduction
from multiprocessing import resource_sharer as resource_sharer
from multiprocessing import resource_tracker as resource_tracker
from multiprocessing import spawn as spawn
from multiprocessing import util as util

from faretra.multiprocessing import (
    connection,
    context,
    heap,
    pool,
    queues,
    shared_memory,
    sharedctypes,
    synchronize,
)
from faretra.multiprocessing._home import set_limit
from faretra.multiprocessing.context import default as _default
from faretra.multiprocessing.pool import WorkerLost

if typing.TYPE_CHECKING:
    from faretra.multiprocessing import managers

SUBDEBUG = 5
SUBWARNING = 25

Array = _default.Array
Barrier = _default.Barrier
BoundedSemaphore = _default.BoundedSemaphore
Condition = _default.Condition
Event = _default.Event
JoinableQueue = _default.JoinableQueue
Lock = _default.Lock
Manager = _default.Manager
Pipe = _default.Pipe
Pool = _default.Pool
Queue = _default.Queue
RLock = _default.RLock
RawArray = _default.RawArray
RawValue = _default.RawValue
Semaphore = _default.Semaphore
SimpleQueue = _default.SimpleQueue
Value = _default.Value
get_context = _default.get_context
get_start_method = _default.get_start_method
reducer = _default.reducer
set_start_method = _default.set_start_method

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "WorkerLost",
    "active_children",
    "allow_connection_pickling",
    "connection",
    "context",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "heap",
    "log_to_stderr",
    "managers",
    "parent_process",
    "pool",
    "queues",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_limit",
    "set_start_method",
    "shared_memory",
    "sharedctypes",
    "synchronize",
]


def __getattr__(name: str) -> typing.Any:
    if name == "managers":
        return import_module("faretra.multiprocessing.managers")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
