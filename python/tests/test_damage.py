"""A damaged arena: whatever words of it have changed, Python gets errors, and never a signal or an endless wait.

`FARETRA_DAMAGED=N` looks at so many damaged copies, and `FARETRA_SEED` chooses others.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import faretra

pa = pytest.importorskip("pyarrow")

COPIES = int(os.environ.get("FARETRA_DAMAGED", "60"))
SEED = int(os.environ.get("FARETRA_SEED", "1"))
# In seconds: the calls below wait for a tenth of that at most.
PATIENCE = 20
PAGE = 4096


def fill(arena: faretra.Arena) -> None:
    """Put something of every kind."""
    arena["list"] = faretra.List([{"a": i, "b": "x" * i} for i in range(200)])
    arena["dict"] = faretra.Dict({f"k{i}": i for i in range(200)})
    arena["object"] = {"x": np.arange(500), "y": [1, 2, "z"], "t": pa.table({"q": list(range(200))})}
    arena["records"] = np.zeros(50, dtype=[("a", "i4"), ("b", "M8[s]"), ("c", "U5"), ("d", "f2", (2,))])
    columns = {"i": list(range(100)), "s": [str(i) for i in range(100)], "l": [[i] for i in range(100)]}
    arena["table"] = pa.table({**columns, "d": pa.array(["a", "b"] * 50).dictionary_encode()})
    arena["bytes"] = b"hello" * 100
    arena.put_many("bundle", {"u": np.arange(10), "v": b"x"})
    arena.mutex("mutex")
    arena.semaphore("semaphore", 2)
    sender, feed = arena.sender("channel", capacity=8), arena.feed("feed", capacity=8)
    for i in range(4):
        sender.send(i)
        feed.append(np.arange(i + 1))


def use(name: str, dir: Path, untrusted: bool) -> None:
    """Do what can be done with an arena; errors are as good as values."""
    try:
        arena = faretra.Arena.open(name, dir=dir, untrusted=untrusted, allow_pickle=True)
    except faretra.Error:
        return

    def receive() -> str:
        return repr(arena.receiver("channel").recv(timeout=0.05).value)

    calls: list[Callable[[], Any]] = [
        lambda: list(arena["list"]),
        lambda: arena["list"][5],
        lambda: list(arena["dict"].items()),
        lambda: arena["dict"]["k7"],
        lambda: repr(arena["object"]),
        lambda: repr(arena["records"]),
        lambda: arena["table"].to_pyarrow().to_pylist(),
        lambda: repr(arena["table"]),
        lambda: bytes(arena["bytes"]),
        lambda: [repr(value) for value in arena["bundle"].values()],
        arena.stats,
        arena.who,
        arena.verify,
        arena.recover,
        lambda: list(arena.entries()),
        lambda: arena.mutex("mutex").acquire(timeout=0.05),
        lambda: arena.semaphore("semaphore", 2).acquire(timeout=0.05),
        lambda: [receive() for _ in range(5)],
        lambda: repr(arena.subscribe("feed", start="oldest").recv(timeout=0.05)),
        lambda: arena.put("new", np.arange(1000)),
        lambda: arena.put("table", b"x"),
        lambda: arena.sender("channel").send(1, timeout=0.05),
        lambda: arena.feed("feed", capacity=8).append(b"x", timeout=0.05),
        lambda: arena.pop("object"),
        arena.close,
    ]
    for call in calls:
        try:
            call()
        except faretra.InternalError:
            raise
        except Exception:
            # A pickle whose bytes have changed may raise anything.
            continue


def image(path: Path) -> tuple[int, list[tuple[int, bytes]]]:
    """Return the length of a file, and the parts of it that are in memory."""
    parts: list[tuple[int, bytes]] = []
    with path.open("rb") as file:
        length, at = os.fstat(file.fileno()).st_size, 0
        while True:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return length, parts
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            parts.append((start, os.pread(file.fileno(), at - start, start)))


def damage(chance: random.Random, file: int, words: list[int]) -> list[tuple[int, int, int]]:
    """Change one to four words of a file. Return where, from what and to what."""
    changes = []
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at = chance.choice(words) + (0 if chance.random() < 0.8 else 8 * chance.randrange(-8, 9))
        old = int.from_bytes(os.pread(file, 8, at), "little")
        others = [0, -1, old + 1, old - 1, 1 << 63, (1 << 31) - 1, old << 8, old >> 8, chance.getrandbits(64)]
        new = old ^ 1 << chance.randrange(64) if chance.random() < 0.5 else chance.choice(others)
        os.pwrite(file, (new % (1 << 64)).to_bytes(8, "little"), at)
        changes.append((at, old, new))
    return changes


@pytest.mark.slow
def test_no_changed_word_ends_the_process(directory: Path) -> None:
    """Each copy is used by a child, which ends by itself: no signal, no wait without end, no panic."""
    with faretra.Arena.create("whole", dir=directory, limit="8MiB", capacity="16MiB") as arena:
        fill(arena)
        length, parts = image(arena.path)
    # The first page never changes, and a checksum says so: the arena would not be opened.
    words = [
        start + i
        for start, data in parts
        for i in range(0, len(data), 8)
        if start + i >= PAGE + 64 and data[i : i + 8] != bytes(8)
    ]
    assert len(words) > 5000
    chance = random.Random(SEED)
    for number in range(COPIES):
        path, said = directory / f"faretra.copy{number}", directory / "stderr"
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.ftruncate(file, length)
        for start, data in parts:
            os.pwrite(file, data, start)
        changes = damage(chance, file, words)
        os.close(file)
        untrusted = chance.random() < 0.5
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(PATIENCE)
                os.dup2(os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), 2)
                use(f"copy{number}", directory, untrusted)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        text = said.read_text(errors="replace")
        assert status == 0 and "panicked" not in text, (number, untrusted, changes, status, text)
        path.unlink(missing_ok=True)


@pytest.fixture
def directory() -> Any:
    """Give a directory on the tmpfs, which goes afterwards."""
    made = Path(tempfile.mkdtemp(prefix="faretra-test-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)
