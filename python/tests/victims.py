"""A program that forks workers, which use an arena as fast as they can, and kills them at random moments.

`python victims.py NAME SEED KILLS` prints what it did. It imports nothing that has threads, so that it may fork.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import traceback
from typing import Any

import numpy as np

import faretra

AT_ONCE = 3


class Rows:
    """A table of one column of numbers, as another Arrow library would hand it over."""

    def __init__(self, arena: faretra.Arena) -> None:
        self.table = arena["seed table"]

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__()


def one(arena: faretra.Arena, rng: random.Random) -> None:
    """Do one thing, and check what was read: a value is whole, whoever died while making it."""
    name, number, size = f"n{rng.randrange(8)}", rng.randrange(100), rng.choice([10, 1000, 30_000, 100_000])
    match rng.randrange(13):
        case 0 | 1:
            arena["a" + name] = np.full(size, number)
        case 2:
            found = arena.get("a" + name)
            assert found is None or (found == found[0]).all()
        case 3:
            with arena.draft_array("a" + name, size, "i8") as draft:
                draft[: size // 2] = number
                draft[size // 2 :] = number
        case 4:
            arena.draft_array("a" + name, size).discard()
        case 5:
            key = f"once{rng.randrange(3)}"
            made = arena.get_or_put(key, lambda: np.full(size, number), timeout=20)
            assert (made == made[0]).all()
            if rng.random() < 0.3 and key in arena:
                arena.remove(key)
        case 6:
            arena["p" + name] = {"w": np.full(size, number), "b": [np.full(300, number)], "n": number}
        case 7:
            found = arena.get("p" + name)
            assert found is None or ((found["w"] == found["n"]).all() and found["b"][0][-1] == found["n"])
        case 8:
            arena.put_many("m" + name, {"x": np.full(size, number), "y": bytes([number]) * size})
            both = arena.get("m" + name)
            assert both is None or both["x"][0] == both["y"][-1]
        case 9:
            version = arena.version("c")
            with contextlib.suppress(faretra.ConflictError):
                arena.publish_if("c", version, np.array([version + 1]))
        case 10:
            with contextlib.suppress(KeyError):
                mine = arena.private("a" + name)
                mine[0] = mine[-1] = -1
        case 11:
            arena["t" + name] = Rows(arena)
            assert arena["seed table"]["x"].sum() == 499_500
        case 12:
            for prefix in "apmt":
                arena.remove(prefix + name)


def work(name: str, seed: int, beats: str | None) -> None:
    """Use the arena until somebody kills us; a peer also counts what it did under a name of its own."""
    arena, rng = faretra.Arena.open(name), random.Random(seed)
    done = 0
    while True:
        one(arena, rng)
        done += 1
        if beats is not None and done % 20 == 0:
            arena[beats] = np.array([done])
            if os.getppid() == 1:
                return


def child(name: str, seed: int, beats: str | None = None) -> int:
    """Fork a worker, and return its process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work(name, seed, beats)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def main(name: str, seed: int, kills: int) -> None:
    """Kill so many workers; a peer must go on all the while."""
    rng = random.Random(seed)
    arena = faretra.Arena.open(name)
    peer = child(name, seed, "beats")
    beats, began, slowest = 0, time.monotonic(), 0.0
    workers = [child(name, rng.randrange(1 << 30)) for _ in range(AT_ONCE)]
    for kill in range(kills):
        time.sleep(rng.random() * 0.03)
        place = rng.randrange(AT_ONCE)
        os.kill(workers[place], signal.SIGKILL)
        _, status = os.waitpid(workers[place], 0)
        assert status == signal.SIGKILL, f"a worker failed: {status}"
        workers[place] = child(name, rng.randrange(1 << 30))
        if kill % 25 == 24:
            since = time.monotonic()
            while int(arena["beats"][0] if "beats" in arena else 0) <= beats:
                assert os.waitpid(peer, os.WNOHANG) == (0, 0), "the peer failed"
                assert time.monotonic() - since < 30, "the peer stands still"
                time.sleep(0.002)
            slowest = max(slowest, time.monotonic() - since)
            beats = int(arena["beats"][0])
    for pid in [*workers, peer]:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert status == signal.SIGKILL, f"a worker failed: {status}"
    seconds = time.monotonic() - began
    print(
        f"{kills} kills in {seconds:.0f} s; the peer did {beats} things; longest wait for it {slowest * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
