"""Programs for tests: they run in a process group of their own, with a directory of their own for arenas."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Self

import faretra

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(faretra.__file__)))
HERE = os.path.dirname(os.path.abspath(__file__))
METHODS = ["fork", "spawn", "forkserver"]


def wait_until(what: object, timeout: float = 20.0) -> bool:
    """Wait until `what()` is true."""
    until = time.monotonic() + timeout
    while not what():  # type: ignore[operator]
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def stop(pid: int) -> None:
    """Stop a process, and wait until none of its threads runs."""

    def stands(task: Path) -> bool:
        try:
            return task.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
        except OSError:  # a thread that ended meanwhile
            return False

    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: all(stands(task) for task in Path(f"/proc/{pid}/task").iterdir()))


def is_mapped(array: Any) -> bool:
    """Whether an array is over memory of an arena."""
    owner = array
    while owner is not None and not isinstance(owner, faretra.Pinned):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner is not None


class Program:
    """A program, given as text, that runs in a group of its own. What it prints is read line by line."""

    def __init__(self, text: str, *arguments: object, **environment: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="faretra-test-", dir="/dev/shm"))
        self._file = Path(tempfile.mkdtemp(prefix="faretra-test-")) / "program.py"
        self._file.write_text(textwrap.dedent(text))
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([PACKAGE, HERE]),
            "PYTHONUNBUFFERED": "1",
            "FARETRA_DIR": str(self.directory),
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(self._file), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    def line(self, timeout: float = 30.0) -> str:
        """Return the next line that it prints."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the program says nothing: {self.errors}") from None

    @property
    def errors(self) -> str:
        """What it said of errors."""
        return "".join(self._errors)

    def signal_group(self, number: int) -> None:
        """Send a signal to each process of the group, as the terminal does at Ctrl-C."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill the first process."""
        self.process.kill()
        self.process.wait(20)

    def end(self, timeout: float = 30.0) -> int:
        """Wait until the first process ends, and return its status."""
        return self.process.wait(timeout)

    def members(self) -> list[int]:
        """The processes of the group that run."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or not alive(int(entry)):
                continue
            with contextlib.suppress(OSError):
                if os.getsid(int(entry)) == self.process.pid:
                    found.append(int(entry))
        return found

    def left(self) -> list[str]:
        """The files in its directory."""
        return sorted(os.listdir(self.directory))

    def sweep(self) -> None:
        """Have the next process look at what killed ones left."""
        for arena in faretra.arenas(dir=str(self.directory)):
            assert arena is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self.members():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(20)
        for thread in self._threads:
            thread.join(5)
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self._file.parent, ignore_errors=True)
