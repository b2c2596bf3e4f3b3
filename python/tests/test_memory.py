"""What readers cost: the array once, however many they are, and what a process needs for itself."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pytest

import faretra

MIB = 1 << 20
SIZE = int(os.environ.get("FARETRA_TEST_MEMORY_MIB", "64")) * MIB

READER = """
    import os, sys, time, numpy as np, faretra
    def pss():
        with open("/proc/self/smaps_rollup") as lines:
            return {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}["Pss:"]
    def told(what, *numbers):
        print(what, *numbers, flush=True)
        sys.stdin.readline()
    told("before", pss())
    array = faretra.Arena.open(sys.argv[1])["x"]
    total = array.sum() if sys.argv[2] == "arena" else None
    copy = np.array(array) if sys.argv[2] == "copy" else None
    told("read", pss())
    told("together", pss())
"""


def cost_of_readers(name: str, how: str, readers: int = 4) -> tuple[int, list[int]]:
    """Return what so many readers cost together, and each alone, in bytes of PSS above what they had before."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(READER), name, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(readers)
    ]

    def ask(expected: str) -> list[int]:
        numbers = []
        for reader in running:
            assert reader.stdout is not None
            what, number = reader.stdout.readline().split()
            assert what == expected
            numbers.append(int(number))
        return numbers

    def go_on() -> None:
        for reader in running:
            assert reader.stdin is not None
            reader.stdin.write("\n")
            reader.stdin.flush()

    try:
        before = ask("before")
        go_on()
        ask("read")
        go_on()
        after = ask("together")
        return sum(after) - sum(before), [end - start for start, end in zip(before, after, strict=True)]
    finally:
        for reader in running:
            reader.kill()
            reader.communicate(timeout=20)


def test_four_readers_cost_one_array(fresh_name: Callable[[], str]) -> None:
    """Four processes that read the whole of an array have a fifth of it each, beside the one that put it: the machine has it
    once. Four that copy it have it once more each, which shows that the measure can tell."""
    with faretra.Arena.create(fresh_name(), limit=SIZE * 2, keep=False) as arena:
        arena["x"] = np.ones(SIZE // 8)
        together, each = cost_of_readers(arena.name, "arena")
        copies, _ = cost_of_readers(arena.name, "copy")
        shown = [f"{cost / MIB:.1f}" for cost in each]
        print(
            f"{SIZE // MIB} MiB array: four readers cost {together / MIB:.1f} MiB of PSS together ({', '.join(shown)}); "
            f"with a copy each {copies / MIB:.1f} MiB"
        )
        assert together < 1.1 * SIZE + 4 * 4 * MIB
        assert copies > 4 * SIZE


@pytest.mark.parametrize("kind", ["array", "pickle", "bytes"])
def test_reading_takes_no_memory(fresh_name: Callable[[], str], kind: str) -> None:
    """A thousand reads, all kept, take a few hundred bytes each, whatever the size of what is read."""
    import tracemalloc

    with faretra.Arena.create(fresh_name(), limit="256MiB", keep=False) as arena:
        big = np.ones(4_000_000)
        arena["x"] = {"array": big, "pickle": {"a": big}, "bytes": big.tobytes()}[kind]
        del big
        arena["x"]
        tracemalloc.start()
        kept = [arena["x"] for _ in range(1000)]
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(f"{kind}: {taken / 1000:.0f} bytes a read")
        assert taken < 2_000_000
        assert len(kept) == 1000
