"""Gets an array from an arena so many times, between two calls that callgrind is told to watch for (`cargo xtask counts`)."""

import os
import sys

import numpy as np

import faretra


def get(arena: faretra.Arena, times: int) -> None:
    """Get and drop an array."""
    for _ in range(times):
        arena["array"]


def main() -> None:
    """Get, and get again between the two calls: then the interpreter has seen the loop."""
    times = int(sys.argv[1])
    name = f"counts-{os.getpid():010}"
    # Small enough for valgrind, which has little address space.
    with faretra.Arena.create(name, capacity="256MiB", limit="64MiB", keep=False) as arena:
        arena["array"] = np.ones(64)
        get(arena, 200)
        os.getppid()
        get(arena, times)
        os.getpgrp()
        assert arena["array"].sum() == 64.0


main()
