"""Pi by ten children, through a named pipe: lines of text that any program could write."""

import os
import tempfile

# from multiprocessing import Process
from faretra.multiprocessing import Process

CHILDREN, STEPS = 10, 100_000


def part(first):
    """Return every tenth strip of the integral, from this one on."""
    return sum(4 / (1 + ((i + 0.5) / STEPS) ** 2) for i in range(first, STEPS, CHILDREN)) / STEPS


def child(path, first):
    """Write one part: a short line goes into a pipe as a whole."""
    with open(path, "w") as fifo:
        fifo.write(f"{part(first)!r}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pi")
        os.mkfifo(path)
        # Open for writing too, so that it does not end when a quick child closes it before a slow one opens it.
        with open(os.open(path, os.O_RDWR)) as fifo:
            children = [Process(target=child, args=(path, first)) for first in range(CHILDREN)]
            for process in children:
                process.start()
            pi = sum(float(fifo.readline()) for _ in children)
        for process in children:
            process.join()
    print(f"{pi:.6f}")
