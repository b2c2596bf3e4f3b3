"""A file in memory by `mmap`: read, updated in place, and sliced, by two processes."""

import mmap
import os
import tempfile

# from multiprocessing import Event, Process
from faretra.multiprocessing import Event, Process

TEXT = b"The quick brown fox jumps over the lazy dog.\n"


def update(path, updated):
    """Write into the file as if it were a bytearray."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        at = memory.find(b"brown")
        memory[at : at + 5] = b"black"
        memory[0:3] = memory[0:3].upper()
        updated.set()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fox.txt")
        with open(path, "wb") as file:
            file.write(TEXT)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            print("read:", memory.readline())
            updated = Event()
            process = Process(target=update, args=(path, updated))
            process.start()
            updated.wait()
            print("updated by the child:", memory[:19], len(memory))
            print("slices:", memory[4:9], memory[-5:-1], memory[:9:2])
            process.join()
        with open(path, "rb") as file:
            print("in the file:", file.read())
