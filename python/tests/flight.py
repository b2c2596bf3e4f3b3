"""A server of arenas, as tests start it: `faretra-flight`, which `faretra serve` runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import faretra

ROOT = Path(__file__).parent.parent.parent

# Certificates of the server's own tests: for localhost and 127.0.0.1, and one that has nothing to do with it.
TLS = ROOT / "flight" / "tests" / "tls"


def program() -> str:
    """Return the server's program: what the environment variable says, what cargo built, or what is installed."""
    said = os.environ.get("FARETRA_FLIGHT")
    built = ROOT / "target" / "debug" / "faretra-flight"
    found = shutil.which(said) if said else shutil.which(built) or shutil.which("faretra-flight")
    if found is None:
        pytest.skip("there is no server: `cargo build -p faretra-flight`, or FARETRA_FLIGHT=PATH")
    return found


class Served:
    """A server that runs."""

    def __init__(self, arenas: tuple[faretra.Arena, ...], options: tuple[str, ...]) -> None:
        command = [program(), *[arena.name for arena in arenas], "--listen", "127.0.0.1:0", *options]
        environment = dict(os.environ, FARETRA_DIR=str(arenas[0].path.parent))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.location = line.strip().rpartition(" at ")[2]
        assert self.location.startswith("grpc"), f"the server said {line!r}"

    @property
    def port(self) -> int:
        return int(self.location.rpartition(":")[2])

    def end(self) -> None:
        """Kill it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def serving(*arenas: faretra.Arena, options: tuple[str, ...] = ()) -> Iterator[Served]:
    """Serve arenas of one directory as long as the block runs."""
    server = Served(arenas, options)
    try:
        yield server
    finally:
        server.end()
        for arena in arenas:
            if not arena.closed:
                arena.recover()


@contextmanager
def served(*arenas: faretra.Arena, options: tuple[str, ...] = ()) -> Iterator[str]:
    """Serve arenas of one directory as long as the block runs, and give the location."""
    with serving(*arenas, options=options) as server:
        yield server.location
