"""Tables in Ray: by handle, so that tasks of the same host read them where they lie.

    import ray, faretra.ray

    ray.init()
    faretra.ray.register()

Then a `faretra.Table` that is put, returned by a task or given to one is a handle of a few hundred bytes, if the cluster
has one node, and a handle with the table's bytes behind it, if it has more: nodes that cannot map the arena read these.
While handles are used, the names of their tables should not get other values. Call it in the driver; and in tasks that
return tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from faretra import _native
from faretra._handle import arrived, content, handle_of_table

__all__ = ["register"]

# Here `ray` is this module to who looks at types.
_ray: Any = import_module("ray")


def register() -> None:
    """Make this process give tables by handle.

    >>> import ray as _
    >>> import faretra.ray
    >>> faretra.ray.register()
    """
    _ray.util.register_serializer(_native.Table, serializer=_serialize, deserializer=_deserialize)


def _serialize(table: _native.Table) -> tuple[Any, Any]:
    handle = handle_of_table(table)
    alone = sum(bool(node.get("Alive")) for node in _ray.nodes()) == 1
    return handle, None if handle is not None and alone else content(table)


def _deserialize(came: tuple[Any, Any]) -> Any:
    return arrived(*came)
