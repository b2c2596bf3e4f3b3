"""Share arrays, tables and objects between processes without copying them.

An arena is named shared memory that every process on the machine can open; no daemon runs. What is read from it is not
copied, whatever its size; a process that is killed, at any moment, leaves nothing broken, locked or leaked.

>>> import faretra, numpy as np
>>> with faretra.Arena.create("doc-faretra", limit="64MiB", keep=False) as arena:
...     arena["x"] = np.arange(3)
...     faretra.Arena.open("doc-faretra")["x"]
array([0, 1, 2])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faretra._arena import (
    Arena,
    Batch,
    Bundle,
    Draft,
    Pinned,
    Selection,
    Table,
    Writable,
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
    ConnectionError,
    DamagedError,
    DeniedError,
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
    MissingError,
    NoSpaceError,
    NotAnArenaError,
    NotFoundError,
    RemoteError,
    SystemError,
    TimeoutError,
    TooLargeError,
    UntrustedError,
)
from faretra._feeds import Feed, Subscriber
from faretra._native import (
    Dict,
    Event,
    List,
    MutableArray,
    Mutex,
    MutexGuard,
    Permit,
    Ref,
    Rows,
    Semaphore,
    SharedValue,
    StoredDict,
    StoredList,
    TableDraft,
    __version__,
)
from faretra._process import install as _install
from faretra._ready import Pollable, select
from faretra._reduce import install as _install_pickling
from faretra._streamed import StreamedTable

_install()
_install_pickling()
del _install, _install_pickling

if TYPE_CHECKING:
    from faretra._executor import ProcessPoolExecutor as ProcessPoolExecutor
    from faretra._handle import Handle
    from faretra._info import ArenaInfo, ArrayInfo, Entries, Entry, Holder, Recovered, Stats, TableInfo
    from faretra._remote import RemoteArena, connect

# What most programs do not need, and takes long to import: the first that asks for it imports it.
_LATER = {
    "_executor": ["ProcessPoolExecutor"],
    "_handle": ["Handle"],
    "_info": ["ArenaInfo", "ArrayInfo", "Entries", "Entry", "Holder", "Recovered", "Stats", "TableInfo"],
    "_remote": ["RemoteArena", "connect"],
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'faretra' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"faretra.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "Arena",
    "ArenaExistsError",
    "ArenaInfo",
    "ArenaNotFoundError",
    "ArrayInfo",
    "ArrowError",
    "Batch",
    "Bundle",
    "Client",
    "ClosedError",
    "ConflictError",
    "ConnectionError",
    "DamagedError",
    "DeniedError",
    "Dict",
    "Draft",
    "EmptyError",
    "Entries",
    "Entry",
    "Error",
    "Event",
    "Feed",
    "ForkedError",
    "FullError",
    "Handle",
    "Holder",
    "InternalError",
    "InterruptedError",
    "InvalidError",
    "LaggedError",
    "Lease",
    "LimitError",
    "List",
    "MismatchError",
    "MissingError",
    "MutableArray",
    "Mutex",
    "MutexGuard",
    "NoSpaceError",
    "NotAnArenaError",
    "NotFoundError",
    "Permit",
    "Pinned",
    "Pollable",
    "Receiver",
    "Recovered",
    "Ref",
    "RemoteArena",
    "RemoteError",
    "Request",
    "Rows",
    "Selection",
    "Semaphore",
    "Sender",
    "Server",
    "SharedValue",
    "Stats",
    "StoredDict",
    "StoredList",
    "StreamedTable",
    "Subscriber",
    "SystemError",
    "Table",
    "TableDraft",
    "TableInfo",
    "TimeoutError",
    "TooLargeError",
    "UntrustedError",
    "Writable",
    "__version__",
    "arenas",
    "connect",
    "remove",
    "select",
]

# Where people find them is where they are: in tracebacks, reprs and pickles.
for _public in [globals()[name] for name in __all__ if name not in _MODULES]:
    if getattr(_public, "__module__", "").startswith("faretra._"):
        _public.__module__ = "faretra"
