"""Arenas with large limits: what they take is address space, and there has to be enough of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import faretra


@pytest.mark.parametrize("limit", ["72GiB", "500GiB"])
def test_a_large_limit_leaves_room_for_drafts(limit: str) -> None:
    """Drafts work in an arena whose limit is large: its maps, and those of drafts, fit into one process."""
    with faretra.Arena.create(f"pytest-{os.getpid()}-large", limit=limit, keep=False) as arena:
        with arena.draft_array("x", 1000) as x:
            x[:] = 1
        assert arena["x"].sum() == 1000


SEVERAL = """
import os
from contextlib import ExitStack

import faretra
import numpy as np

with ExitStack() as stack:
    for number in range(3):
        name = f"pytest-{os.getpid()}-large{number}"
        arena = stack.enter_context(faretra.Arena.create(name, limit="72GiB", keep=False))
        arena["x"] = np.ones(3)
        with arena.draft_array("y", 3) as y:
            y[:] = 2
        assert arena["x"].sum() + arena["y"].sum() == 9
"""


def test_a_process_can_have_several_large_arenas() -> None:
    """Three arenas with a limit of 72 GiB each are open in one process, and written."""
    # One of its own: what other tests have open takes address space, too.
    done = subprocess.run([sys.executable, "-c", SEVERAL], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
