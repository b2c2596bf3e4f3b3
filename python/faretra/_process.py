"""What happens to arenas when this process forks, and when it exits."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from faretra import _native

_registered = False


def _in_child() -> None:
    """Take the child's maps from its parent's drafts, and let it leave the arenas that it opens itself."""
    _native._after_fork_in_child()
    _end_with_multiprocessing()


def _end_with_multiprocessing() -> None:
    """Leave arenas when a worker of multiprocessing ends: that is in `os._exit`, which runs no atexit."""
    global _registered
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    # A worker forgets the finalizers that it had before it began, and calls what was registered for that.
    if not _registered:
        util.register_after_fork(_native, _finalize)
        # A child has it from its parent.
        _registered = True
    _finalize(None)


def _finalize(_: object) -> None:
    from multiprocessing import util

    # The least priority: after everything else that might use an arena.
    util.Finalize(None, _native._at_exit, exitpriority=-1_000_000)


def install() -> None:
    """Register for fork and exit. Called once, when the package is imported."""
    os.register_at_fork(
        before=_native._before_fork,
        after_in_parent=_native._after_fork_in_parent,
        after_in_child=_in_child,
    )
    atexit.register(_native._at_exit)
    _end_with_multiprocessing()
