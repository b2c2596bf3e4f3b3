"""How processes end: with views, waiting threads, cycles and half-written drafts. Nothing is left, and nothing hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest

import faretra

SHARED = """
    import atexit, builtins, ctypes, gc, os, sys, threading, time
    import faretra, numpy as np
    name = sys.argv[1]
    arena = faretra.Arena.{how}
    arena["a"] = np.arange(100_000)
    arena["p"] = {{"a": np.arange(100_000), "b": [np.ones(50_000)]}}
"""

CREATE = 'create(name, limit="64MiB", keep=False)'
OPEN = "open(name)"


def run(name: str, code: str, how: str = CREATE, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program that has an arena, and wait until it ended."""
    program = textwrap.dedent(SHARED.format(how=how)) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program, name],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def files(name: str) -> list[str]:
    """Return the arena's file, without opening or listing arenas, which would remove it."""
    return [file for file in os.listdir("/dev/shm") if file.endswith(name)]


EXITS = {
    "globals": "kept = arena['a']; part = arena['p']['b'][0][5:]",
    "closed, with views": "kept = arena['a']; arena.close()",
    "a view in builtins": "builtins.kept = arena['a']; builtins.arena = arena",
    "a view in a module of C": "sys.kept = memoryview(arena['a'])[3:]",
    "a cycle": "loop = [arena, arena['a']]; loop.append(loop); gc.disable(); del arena",
    "a view that is never freed": "kept = arena['a']; ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))",
    "an arena that is never freed": "ctypes.pythonapi.Py_IncRef(ctypes.py_object(arena))",
    "opened twice, never freed": """
        other = faretra.Arena.open(name)
        for kept in (arena['a'], other['a']):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    """,
    "a private view never freed": "kept = arena.private('a'); ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))",
    "a capsule never freed": """
        kept = arena['a'].__dlpack__(max_version=(1, 0))
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    """,
    "a draft in the middle": "draft = arena.draft_array('d', 1000); array = draft.value",
    "a draft never freed": """
        draft = arena.draft_array('d', 1000)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(draft.value))
    """,
    "sys.exit in a thread's time": "threading.Timer(0.2, lambda: arena['a'].sum()).start(); sys.exit(0)",
    "an atexit hook that reads": "atexit.register(lambda: print(arena['a'][5], flush=True)); kept = arena['a']",
    "a finalizer that reads": """
        class Last:
            def __init__(self): self.array = arena['a']
            def __del__(self): assert self.array[7] == 7
        builtins.last = Last()
    """,
    "a daemon that waits": "threading.Thread(target=lambda: arena.wait_for('never'), daemon=True).start(); time.sleep(0.3)",
    "ten daemons that wait": """
        for _ in range(10):
            threading.Thread(target=lambda: arena.wait_for('never', timeout=30), daemon=True).start()
        time.sleep(0.3)
    """,
    "a daemon that reads": """
        def read():
            while True:
                arena['a'].sum(); arena['p']; arena['x'] = np.zeros(100_000)
        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.3)
    """,
    "a daemon that makes": """
        threading.Thread(target=lambda: arena.get_or_put('m', lambda: time.sleep(30)), daemon=True).start()
        time.sleep(0.3)
    """,
}


@pytest.mark.parametrize("case", EXITS)
def test_exits_leave_nothing(fresh_name: Callable[[], str], case: str) -> None:
    """However a program exits, it does so at once, cleanly and in silence, and its ephemeral arena's file is gone."""
    name = fresh_name()
    began = time.monotonic()
    done = run(name, EXITS[case])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert time.monotonic() - began < 20
    assert files(name) == []
    if "hook that reads" in case:
        assert done.stdout == "5\n"


@pytest.mark.parametrize(
    "case", ["globals", "a view that is never freed", "a daemon that waits", "a daemon that reads"]
)
def test_exits_leave_the_arena_to_others(arena: faretra.Arena, case: str) -> None:
    """A program that exits leaves an arena that another process has open where it is, and nothing of its own in there."""
    done = run(arena.name, EXITS[case], OPEN)
    assert done.returncode == 0, done.stderr
    assert files(arena.name)
    assert faretra.Arena.open(arena.name)["a"][5] == 5
    arena.recover()
    assert [holder.this_process for holder in arena.who()] == [True]
    assert sum(holder.pins for holder in arena.who()) == 0


ENDS = {
    "os._exit": "kept = arena['a']; sys.stdout.flush(); os._exit(3)",
    "SIGKILL": "kept = arena['a']; os.kill(os.getpid(), 9)",
    "SIGTERM": "kept = arena['a']; os.kill(os.getpid(), 15)",
    "abort": "kept = arena['a']; faulthandler = None; import faulthandler as f; f.disable(); os.abort()",
    "in a draft": "draft = arena.draft_array('d', 1000); array = draft.value; array[:] = 1; os._exit(3)",
}


@pytest.mark.parametrize("case", ENDS)
def test_sudden_ends(arena: faretra.Arena, fresh_name: Callable[[], str], case: str) -> None:
    """A process that ends without cleaning up is recovered from; an ephemeral arena of its own goes when somebody looks."""
    live = arena.stats().live
    done = run(arena.name, ENDS[case], OPEN)
    assert done.returncode != 0
    assert arena["a"][5] == 5
    arena.recover()
    assert arena.verify() == []
    assert [holder.this_process for holder in arena.who()] == [True]
    assert arena.stats().writers_busy == 0
    for name in list(arena):
        del arena[name]
    assert arena.stats().live <= live
    name = fresh_name()
    run(name, ENDS[case])
    faretra.arenas()
    assert files(name) == []
    run(name, ENDS[case])
    with faretra.Arena.create(name, limit="16MiB", keep=False) as again:
        assert len(again) == 0
    assert files(name) == []


def test_kept_arenas_are_kept(fresh_name: Callable[[], str]) -> None:
    """An arena with keep=True stays when its program exits, with or without views."""
    name = fresh_name()
    done = run(name, EXITS["a view that is never freed"], 'create(name, limit="64MiB")')
    assert done.returncode == 0, done.stderr
    try:
        with faretra.Arena.open(name) as arena:
            assert arena["a"][5] == 5
            assert len(arena.who()) == 1
    finally:
        faretra.remove(name)


def test_ctrl_c_at_exit(fresh_name: Callable[[], str]) -> None:
    """A program that is interrupted while it waits ends as Python programs do, and leaves nothing."""
    name = fresh_name()
    program = (
        textwrap.dedent(SHARED.format(how=CREATE)) + "print('ready', flush=True); arena.wait_for('never')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert child.returncode in (-signal.SIGINT, 130)
    assert files(name) == []


def leave_in_child(name: str, how: str) -> None:
    """Do what a worker of multiprocessing does: open or inherit an arena, keep views of it, and return."""
    import builtins

    import numpy as np

    inherited: Any = globals().get("parents")
    arena = inherited.reopen() if how == "fork" else faretra.Arena.open(name)
    arena["from " + how] = np.arange(10)
    builtins.kept = [arena, arena["from " + how]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_leave(fresh_name: Callable[[], str], how: str) -> None:
    """A worker of each start method, last in an ephemeral arena, takes its name away when it ends."""
    name = fresh_name()
    program = f"""
    import multiprocessing, os, sys, time
    sys.path.insert(0, {os.path.dirname(__file__)!r})
    import test_exit
    if __name__ == "__main__":
        context = multiprocessing.get_context({how!r})
        arena = test_exit.parents = faretra.Arena.create({name!r}, limit="64MiB", keep=False)
        worker = context.Process(target=test_exit.leave_in_child, args=({name!r}, {how!r}))
        worker.start()
        worker.join(30)
        assert worker.exitcode == 0
        assert arena["from {how}"].sum() == 45
        late = context.Process(target=test_exit.leave_last, args=({name!r}, {how!r}))
        late.start()
        arena.wait_for("late", timeout=30)
        arena.close()
        late.join(30)
        assert late.exitcode == 0
    """
    code = "import faretra\n" + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert files(name) == []


def leave_last(name: str, how: str) -> None:
    """Stay in an arena until everybody else has left it, and keep views of it."""
    leave_in_child(name, how)
    import builtins

    arena = builtins.kept[0]  # type: ignore[attr-defined]
    arena["late"] = b"here"
    deadline = time.monotonic() + 30
    while len(arena.who()) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
