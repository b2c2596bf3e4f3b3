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
    ArrayInfo,
    Bundle,
    Draft,
    Entries,
    Entry,
    Holder,
    Pinned,
    Recovered,
    Stats,
    Table,
    TableInfo,
    arenas,
    remove,
)
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
from faretra._native import __version__

__all__ = [
    "Arena",
    "ArenaExistsError",
    "ArenaInfo",
    "ArenaNotFoundError",
    "ArrayInfo",
    "ArrowError",
    "Bundle",
    "ClosedError",
    "ConflictError",
    "DamagedError",
    "Draft",
    "EmptyError",
    "Entries",
    "Entry",
    "Error",
    "ForkedError",
    "FullError",
    "Holder",
    "InternalError",
    "InterruptedError",
    "InvalidError",
    "LaggedError",
    "LimitError",
    "MismatchError",
    "NoSpaceError",
    "NotAnArenaError",
    "NotFoundError",
    "Pinned",
    "Recovered",
    "Stats",
    "SystemError",
    "Table",
    "TableInfo",
    "TimeoutError",
    "TooLargeError",
    "UntrustedError",
    "__version__",
    "arenas",
    "remove",
]
