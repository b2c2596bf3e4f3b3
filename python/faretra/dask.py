"""Tables between workers of Dask: those of one host get them by handle, all others as bytes of Arrow's IPC format.

    from dask.distributed import Client
    import faretra.dask

    client = Client(...)
    faretra.dask.register(client)

What a task returns and another task takes, a `faretra.Table`, is then read where it lies by a worker of the same host; a
worker of another host gets a `faretra.StreamedTable`, which is read alike. While tables are on their way, their names
should not get other values. Arguments that the client gives to tasks go through the scheduler: give an `Arena.handle` there.
"""

from __future__ import annotations

import os
from typing import Any

from distributed import WorkerPlugin
from distributed.comm.core import Comm
from distributed.protocol.serialize import dask_deserialize, dask_serialize
from distributed.scheduler import Scheduler

from faretra import _native
from faretra._handle import again, arrived, content, handle_of_table
from faretra._place import host

__all__ = ["register"]

# What a process says of itself when it connects: where it can map arenas.
_KEY = "faretra"

_registered = False


def register(client: Any = None) -> None:
    """Make this process give and take tables by handle: and all workers of `client`, also those that come later.

    Only processes that are registered are given handles, and only those of this host, this user and the same `/dev/shm`. It
    holds for connections that are made from then on.

    >>> import dask.distributed as dd
    >>> import faretra.dask
    >>> faretra.dask.register()
    """
    global _registered
    if not _registered:
        _registered = True
        said: Any = Comm.handshake_info
        # Who is at the other end of a connection is known by what it says of itself: an address can be a tunnel's.
        comm: Any = Comm
        comm.handshake_info = lambda self: {**said(self), **_self()}
        give: Any = dask_serialize
        take: Any = dask_deserialize
        give.register(_native.Table)(_serialize)
        take.register(_native.Table)(_deserialize)
    if client is not None:
        client.register_plugin(_Plugin())


class _Plugin(WorkerPlugin):
    """Registers each worker when it starts."""

    name = "faretra"

    def setup(self, worker: Any) -> None:
        """Register the worker's process."""
        register()


def _here() -> list[Any] | None:
    boot = host()
    try:
        return None if boot is None else [boot, os.stat("/dev/shm").st_dev, os.getuid()]
    except OSError:
        return None


def _self() -> dict[str, Any]:
    # A scheduler passes on what it gets, to whom nobody knows.
    here = None if len(getattr(Scheduler, "_instances", ())) else _here()
    return {} if here is None else {_KEY: here}


def _serialize(
    table: _native.Table, context: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[Any]]:
    peer = ((context or {}).get("recipient") or {}).get(_KEY)
    handle = handle_of_table(table) if peer is not None and list(peer) == _here() else None
    if handle is not None:
        return {"handle": list(handle.__reduce__()[1])}, []
    name, version, bytes_ = content(table)
    return {"name": name, "version": version}, [bytes_]


def _deserialize(header: dict[str, Any], frames: list[Any]) -> Any:
    if "handle" in header:
        return arrived(again(*header["handle"]), None)
    return arrived(None, (header["name"], header["version"], frames[0]))
