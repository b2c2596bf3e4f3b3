"""The command `faretra`, as it comes with the package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import faretra

HERE = Path(faretra.__file__).parent
ENVIRONMENT = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE.parent), *sys.path]))
COMMAND = [sys.executable, "-m", "faretra"]


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, cwd=cwd
    )


def test_says_its_version() -> None:
    """`python -m faretra --version` is the package's."""
    assert command("--version").stdout == f"faretra {faretra.__version__}\n"


def test_console_script() -> None:
    """An installed package has the command `faretra`, which is the same."""
    script = Path(sysconfig.get_path("scripts")) / "faretra"
    if not script.exists():
        pytest.skip("the package is not installed")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"faretra {faretra.__version__}\n")


def test_exit_codes(fresh_name: Callable[[], str]) -> None:
    """0 is done, 1 is a failure that one line explains, 2 is wrong usage."""
    assert command("ls").returncode == 0
    failed = command("stat", fresh_name())
    assert failed.returncode == 1
    assert failed.stderr.startswith("faretra: ") and failed.stderr.count("\n") == 1
    assert command("no-such-verb").returncode == 2


def test_shares_with_python(arena: faretra.Arena, tmp_path: Path) -> None:
    """What the command puts Python reads, and the other way round."""
    arena["x"] = np.arange(3.0)
    listed = json.loads(command("ls", arena.name, "--json").stdout)
    assert [entry["name"] for entry in listed] == ["x"]
    np.save(tmp_path / "y.npy", np.arange(6).reshape(2, 3))
    assert command("put", arena.name, "y", str(tmp_path / "y.npy")).returncode == 0
    assert arena["y"].tolist() == [[0, 1, 2], [3, 4, 5]]
    holders = [holder.this_process for holder in arena.who()]
    assert holders == [True]


def test_demo_starts_its_processes(tmp_path: Path) -> None:
    """The demo's processes run this package, whatever lies in the user's directory, and nothing stays of it."""
    (tmp_path / "faretra.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "signal.py").write_text("raise SystemExit('the wrong one')")
    runner = "from faretra._command import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", runner, "demo", "--size", "4MiB", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert not Path(story["arena"]).exists()


def test_interrupt_ends_it(arena: faretra.Arena) -> None:
    """Ctrl-C ends a command that waits within 100 ms, as the signal, with no Python traceback."""
    running = subprocess.Popen(
        [*COMMAND, "recv", arena.name, "nothing"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert running.stderr is not None
    try:
        assert "waiting" in running.stderr.readline()
        begun = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=10) == -signal.SIGINT
        assert time.monotonic() - begun < 1.0
        assert "Traceback" not in running.stderr.read()
    finally:
        running.kill()
        running.wait()


def test_closed_output_is_no_failure(arena: faretra.Arena) -> None:
    """`faretra cat ... | head` ends quietly when `head` does."""
    arena["x"] = np.arange(200_000)
    running = subprocess.Popen(
        [*COMMAND, "cat", arena.name, "x", "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert running.stdout is not None and running.stderr is not None
    try:
        running.stdout.readline()
        running.stdout.close()
        assert running.wait(timeout=30) == 0
        assert running.stderr.read() == b""
    finally:
        running.kill()
        running.wait()


def test_missing_descriptors_are_filled() -> None:
    """A command that is started without standard streams gets none of its files in their place."""
    code = """
import os
import faretra._native, faretra._command
faretra._native._command = lambda *arguments: sum(os.fstat(descriptor).st_nlink == 0 for descriptor in range(3))
faretra._command.main()
"""
    shell = f"{sys.executable} -c '{code}' >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", shell], timeout=60, env=ENVIRONMENT).returncode == 0


def test_demo_processes_die_of_signals() -> None:
    """In the demo's processes Ctrl-C has its default action, not Python's."""
    part = [*COMMAND, "demo-part", "pipe-in", "none", "1", "1", str(os.getpid())]
    running = subprocess.Popen(part, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        status, maps = Path(f"/proc/{running.pid}/status"), Path(f"/proc/{running.pid}/maps")
        deadline = time.monotonic() + 20
        while "_native" not in maps.read_text() or catches(status, signal.SIGINT):
            assert time.monotonic() < deadline, "Python still catches the signal"
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == -signal.SIGINT
    finally:
        running.kill()
        running.communicate()


def catches(status: Path, which: signal.Signals) -> bool:
    line = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (which - 1) & 1)
