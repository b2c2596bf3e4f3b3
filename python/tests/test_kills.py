"""SIGKILL at random moments: nothing is broken, nothing is left, and the others go on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

import faretra

KILLS = int(os.environ.get("FARETRA_TEST_KILLS", "500"))


@pytest.mark.slow
def test_processes_killed_at_random_moments(fresh_name: Callable[[], str]) -> None:
    """500 processes are killed while they put, get, draft, send, receive, load once and delete: nothing is half written, a
    peer never stands still, the arena verifies, and when its names are deleted all of its memory is free."""
    pa = pytest.importorskip("pyarrow")
    seed = random.randrange(1 << 30)
    print("seed", seed)
    arena = faretra.Arena.create(fresh_name(), limit="512MiB", keep=False)
    start = arena.stats()
    arena["seed table"] = pa.table({"x": list(range(1000))})
    victims = os.path.join(os.path.dirname(__file__), "victims.py")
    done = subprocess.run(
        [sys.executable, victims, arena.name, str(seed), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    print(done.stdout)
    arena.recover()
    assert arena.verify(deep=True) == []
    assert [holder.this_process for holder in arena.who()] == [True]
    for entry in arena.entries():
        del arena[entry.name]
    end = arena.stats()
    assert (end.live, end.objects, end.names) == (start.live, start.objects, 0)
    assert end.writers_busy == 0
    arena["x"] = b"works"
    assert bytes(arena["x"]) == b"works"
    arena.close()
