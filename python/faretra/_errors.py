"""What can go wrong, as exceptions: each is a `faretra.Error`, and the standard one that people catch for it."""

from __future__ import annotations

import builtins
import queue
from typing import Any


class Error(Exception):
    """Something that an arena could not do. The message says what was wrong, with the numbers, and what to do.

    `code` is a stable name of the kind of error. The numbers and names of the message are attributes too, where there are
    some: `name`, `asked`, `free`, `limit`, ... An error of `Sender.send_all` says in `sent` how many items were sent before.
    """

    code: str = "error"
    sent: int = 0

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        for key, value in details.items():
            if value is not None or key != "errno":
                setattr(self, key, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        return (_again, (type(self), self.message, dict(self.__dict__)))


def _again(cls: type[Error], message: str, state: dict[str, Any]) -> Error:
    error = cls(message)
    error.__dict__.update(state)
    return error


class NotFoundError(Error, KeyError):
    """There is nothing of this name in the arena. Also a `KeyError`."""

    name: str = ""


class ArenaNotFoundError(Error, FileNotFoundError):
    """There is no arena of this name. Also a `FileNotFoundError`."""

    name: str = ""


class ArenaExistsError(Error, FileExistsError):
    """An arena of this name exists already. Also a `FileExistsError`."""

    name: str = ""


class ConflictError(Error):
    """`publish_if` met another version than the one that it was to replace: `expected` and `found` say which."""

    name: str = ""
    expected: int = 0
    found: int = 0


class NoSpaceError(Error, MemoryError):
    """The arena's limit, the file system or a memory cgroup is exhausted. Also a `MemoryError`.

    `asked` bytes were needed, `free` were there, of `of` in all.
    """

    asked: int = 0
    free: int = 0
    of: int = 0


class TooLargeError(Error, ValueError):
    """One thing is larger than an arena can ever have it: `asked` of `most`. Also a `ValueError`."""

    asked: int = 0
    most: int = 0


class LimitError(Error):
    """All of a fixed number of things (participants, subscribers, objects) are in use; `limit` says how many."""

    limit: int = 0


class TimeoutError(Error, builtins.TimeoutError):
    """A wait ended before what it waited for came. Also the built-in `TimeoutError`."""


class InterruptedError(Error, builtins.InterruptedError):
    """A wait was interrupted. Also the built-in `InterruptedError`."""


class MismatchError(Error, TypeError):
    """The value is of another kind, dtype, shape or schema than was asked for. Also a `TypeError`."""

    name: str = ""


class InvalidError(Error, ValueError):
    """A name, size or option cannot be used. Also a `ValueError`."""


class NotAnArenaError(Error, ValueError):
    """The file is not an arena that this version can use. Also a `ValueError`."""


class DamagedError(Error):
    """Something in the arena contradicts itself. `Arena.verify` tells what else is wrong."""


class UntrustedError(Error, PermissionError):
    """The arena belongs to somebody else, or others may write it. Also a `PermissionError`."""


class ForkedError(Error, RuntimeError):
    """The handle was inherited through `fork`: `Arena.reopen` makes one for the child. Also a `RuntimeError`."""


class SystemError(Error, OSError):
    """The operating system refused; `errno` says why. Also an `OSError`."""


class DeniedError(SystemError, PermissionError):
    """The operating system denies access to the arena's file or directory, or a server its own. Also a `PermissionError`."""


class MissingError(SystemError, FileNotFoundError):
    """There is no such directory or file. Also a `FileNotFoundError`."""


class ArrowError(Error, ValueError):
    """Arrow could not make sense of a table. Also a `ValueError`."""


class ClosedError(Error, EOFError):
    """A channel, feed or service has ended. Also an `EOFError`.

    `clean` says whether somebody closed it (`True`), or nobody is at its other end any more (`False`).
    """

    clean: bool = False


class EmptyError(Error, queue.Empty):
    """There is no item now. Also a `queue.Empty`."""


class FullError(Error, queue.Full):
    """There is no room now. Also a `queue.Full`."""


class LaggedError(Error):
    """A subscriber was too slow: `items` items were dropped before it read them. It goes on with the oldest there is."""

    items: int = 0


class ConnectionError(Error, builtins.ConnectionError):
    """A server of arenas does not answer, or not in a way that can be read. Also the built-in `ConnectionError`."""

    code = "connection"


class RemoteError(Error, RuntimeError):
    """What was raised in another process, as text.

    It is the cause of the exception that `Client.call` raises for that, or is raised itself, if the other cannot be pickled.
    """

    code = "remote"


class InternalError(Error, RuntimeError):
    """A fault of Faretra itself. Please report it. Also a `RuntimeError`."""


_CLASSES: dict[str, type[Error]] = {
    "not_found": NotFoundError,
    "not_found.arena": ArenaNotFoundError,
    "already_exists": ArenaExistsError,
    "conflict": ConflictError,
    "no_space": NoSpaceError,
    "too_large": TooLargeError,
    "limit": LimitError,
    "timed_out": TimeoutError,
    "interrupted": InterruptedError,
    "mismatch": MismatchError,
    "invalid": InvalidError,
    "not_an_arena": NotAnArenaError,
    "damaged": DamagedError,
    "untrusted": UntrustedError,
    "forked": ForkedError,
    "os": SystemError,
    "os.denied": DeniedError,
    "os.missing": MissingError,
    "arrow": ArrowError,
    "closed": ClosedError,
    "empty": EmptyError,
    "full": FullError,
    "lagged": LaggedError,
    "panic": InternalError,
}

# What to do, in Python's terms, where the library says it in Rust's.
_ADVICE = {
    "not_found.arena": "make it with `Arena.create`; `faretra.arenas()` tells which there are",
    "not_found.object": "`arena.entries()` tells which there are",
    "already_exists": "open it with `Arena.open`, or remove it first with `faretra.remove`",
    "no_space.limit": "raise the limit (`arena.set_limit(...)`), or remove names; `arena.who()` tells who keeps what",
    "no_space.file_system": "remove names or files there, or use a larger tmpfs (`dir=...`; in Docker `--shm-size`)",
    "limit.participants": "close handles that are not used (each `Arena.open` is one of them), or end processes: the command"
    " `faretra who` lists them",
    "limit.subscribers": "end some; `arena.who()` tells which processes they are",
    "limit.objects": "remove some, put several values in one table or bundle, or create the arena with a larger capacity",
    "untrusted": "if you trust all who may write it, say so: `trust_others=True`",
    "os.denied": "the mode of the file or of its directory, or an access list, keeps this user out (who reads values writes"
    " to the arena's file, too)",
    "os.read_only": "who reads values writes to the arena's file, too: mount its directory read-write",
    "damaged": "`arena.verify()` tells what else is wrong",
    "forked": "call `arena.reopen()` in the child, and read or open what you need through that",
    "full": "wait with a `timeout`, or make it with a larger capacity",
    "lagged": "the next call goes on behind them; read faster, or make the feed with a larger capacity",
    "panic": "this is a fault of Faretra itself: please report it, with the message above",
}


def build(kind: str, fact: str, advice: str | None, details: dict[str, Any]) -> Error:
    """Make the exception for an error of the library. `kind` is its code, and after a point what kind of it."""
    code = kind.partition(".")[0]
    cls = _CLASSES.get(kind) or _CLASSES.get(code, Error)
    advice = _ADVICE.get(kind, advice)
    error = cls(f"{fact}; {advice}" if advice else fact, **details)
    error.code = code
    return error
