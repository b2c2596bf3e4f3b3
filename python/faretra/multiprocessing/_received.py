"""Received arrays, and forked children: what a child inherits stays as it was.

What a process has received is a copy-on-write map: the pages that nobody wrote to are the arena's, and are kept by a pin of
this process. A forked child inherits the map, and not the pin. So the process that forks keeps what it had received by then
until the child has ended, whether or not it drops it itself.

* R1: what is held for a child is held from before the fork on, so that no moment is without a pin.
* R2: the child has the writing end of a pipe for as long as it lives, and so have the children that it forks. The reading
  end says when the last of them is gone.
* R3: when this process ends before its child, the pin goes. What `multiprocessing` forks is joined before.
"""

from __future__ import annotations

import os
import select
import threading
from typing import Any

from faretra import _native

# What is held for each child, with the reading end of its pipe.
_held: list[tuple[int, Any]] = []
# What could not be told when to let go of: there were no descriptors left.
_for_ever: list[Any] = []
# The pipes of forks that are under way, by thread.
_forking: dict[int, tuple[int, int, Any]] = {}
# The writing ends that this process inherited. Never closed.
_mine: list[int] = []


def let_go() -> None:
    """Let go of what was held for children that have ended."""
    if not _held:
        return
    poll = select.poll()
    for end, _ in _held:
        poll.register(end, 0)
    gone = {end for end, _ in poll.poll(0)}
    for entry in [entry for entry in _held if entry[0] in gone]:
        _held.remove(entry)
        os.close(entry[0])


def _before_fork() -> None:
    let_go()
    received = _native._hold_received()
    if received is None:
        return
    try:
        _forking[threading.get_ident()] = (*os.pipe(), received)
    except OSError:
        _for_ever.append(received)


def _after_fork_in_parent() -> None:
    fork = _forking.pop(threading.get_ident(), None)
    if fork is not None:
        reading, writing, received = fork
        os.close(writing)
        _held.append((reading, received))


def _after_fork_in_child() -> None:
    fork = _forking.pop(threading.get_ident(), None)
    for end, _ in _held:
        os.close(end)
    _held.clear()
    if fork is not None:
        os.close(fork[0])
        _mine.append(fork[1])
    # Forks that other threads of the parent had under way.
    for reading, writing, _ in _forking.values():
        os.close(reading)
        os.close(writing)
    _forking.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
