"""Share arrays, tables and objects between processes without copying them.

An arena is named shared memory that every process on the machine can open; no daemon runs. What is read from it is not
copied, whatever its size; a process that is killed, at any moment, leaves nothing broken, locked or leaked.

>>> import faretra, numpy as np
>>> with faretra.Arena.create("doc-faretra", limit="64MiB", keep=False) as arena:
...     arena["x"] = np.arange(3)
...     faretra.Arena.open("doc-faretra")["x"]
array([0, 1, 2])
"""

from faretra._arena import (
    Arena,
    ArenaInfo,
    Bundle,
    Draft,
    Entry,
    Holder,
    Pinned,
    Recovered,
    Stats,
    Table,
    arenas,
    remove,
)
from faretra._calls import Client, Request, Server
from faretra._channels import Lease, Receiver, Sender
from faretra._errors import (
    ArenaExistsError,
    ArenaNotFoundError,
    ArrowError,
    ClosedError,
    ConflictError,
    DamagedError,
    EmptyError,
    Error,
    ForkedError,
    FullError,
    InternalError,
    InterruptedError,
    InvalidError,
    LaggedError,
    LimitError,
    MismatchError,
    NoSpaceError,
    NotAnArenaError,
    NotFoundError,
    SystemError,
    TimeoutError,
    TooLargeError,
    UntrustedError,
)
from faretra._feeds import Feed, Subscriber
from faretra._native import __version__
from faretra._ready import Pollable, select

__all__ = [
    "Arena",
    "ArenaExistsError",
    "ArenaInfo",
    "ArenaNotFoundError",
    "ArrowError",
    "Bundle",
    "Client",
    "ClosedError",
    "ConflictError",
    "DamagedError",
    "Draft",
    "EmptyError",
    "Entry",
    "Error",
    "Feed",
    "ForkedError",
    "FullError",
    "Holder",
    "InternalError",
    "InterruptedError",
    "InvalidError",
    "LaggedError",
    "Lease",
    "LimitError",
    "MismatchError",
    "NoSpaceError",
    "NotAnArenaError",
    "NotFoundError",
    "Pinned",
    "Pollable",
    "Receiver",
    "Recovered",
    "Request",
    "Sender",
    "Server",
    "Stats",
    "Subscriber",
    "SystemError",
    "Table",
    "TimeoutError",
    "TooLargeError",
    "UntrustedError",
    "__version__",
    "arenas",
    "remove",
    "select",
]
