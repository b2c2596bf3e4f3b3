"""Pi by ten children, which append to one file: a lock keeps their lines apart."""

import os
import tempfile

# from multiprocessing import Lock, Process
from faretra.multiprocessing import Lock, Process

CHILDREN, STEPS = 10, 100_000


def part(first):
    """Return every tenth strip of the integral, from this one on."""
    return sum(4 / (1 + ((i + 0.5) / STEPS) ** 2) for i in range(first, STEPS, CHILDREN)) / STEPS


def child(path, lock, first):
    """Append one part."""
    mine = part(first)
    with lock, open(path, "a") as file:
        file.write(f"{mine!r}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path, lock = os.path.join(folder, "parts.txt"), Lock()
        children = [Process(target=child, args=(path, lock, first)) for first in range(CHILDREN)]
        for process in children:
            process.start()
        for process in children:
            process.join()
        with open(path) as file:
            pi = sum(map(float, file))
    print(f"{pi:.6f}")
