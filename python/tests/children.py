"""Processes for tests: programs given as text, which talk in lines and are killed when the test is over."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Self

import faretra

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(faretra.__file__)))
HEAD = "import sys, time, os, signal, faretra, numpy as np\narena = faretra.Arena.open(sys.argv[1])\n"


class Child:
    """A process that runs `program`, with `arena` open. What it prints is read line by line."""

    def __init__(self, arena: faretra.Arena, program: str, *arguments: object) -> None:
        env = {**os.environ, "PYTHONPATH": PACKAGE, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-c", HEAD + textwrap.dedent(program), arena.name, *map(str, arguments)]
        self._arena = arena
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def line(self, timeout: float = 20.0) -> str:
        """Return the next line that it prints."""
        return self._lines.get(timeout=timeout)

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def end(self, timeout: float = 20.0) -> int:
        """Wait until it ends, and return its exit status."""
        return self._process.wait(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()
        # What it left is taken back by somebody who looks; the test looks at once.
        if not self._arena.closed:
            self._arena.recover()
