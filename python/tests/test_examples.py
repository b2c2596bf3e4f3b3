"""The programs in `examples`: with the import line changed back they print the same."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import faretra

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
# Those whose processes print in any order.
FREE = {"producers_joinable"}
# What some print in any case.
PRINTS = {
    **{name: f"{math.pi:.6f}\n" for name in NAMES if name.startswith("pi_")},
    "primes_queue": "78498\n",
    "primes_pool": "78498\n",
}
PATIENCE = 120
# Processes that are spawned take long to start, all over again.
RUNS = [
    pytest.param(name, method, marks=[pytest.mark.slow] if method == "spawn" else [])
    for name in NAMES
    for method in ("fork", "spawn")
]

# The standard's line as a comment, and below it ours.
_IMPORT = re.compile(r"^# ((?:import|from) multiprocessing.*)\n(from faretra.* import .*)$", re.M)
_RUN = (
    "import multiprocessing, runpy, sys; multiprocessing.set_start_method(sys.argv[1]); "
    "runpy.run_path(sys.argv[2], run_name='__main__')"
)


@pytest.fixture
def shm() -> Iterator[str]:
    """Give a directory for arenas, which has to be empty in the end."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="faretra-examples-") as folder:
        yield folder
        assert os.listdir(folder) == []


def changed_back(source: str) -> str:
    """Return a program with the standard's import line."""
    (ours,) = _IMPORT.findall(source)
    assert ours[0] == ours[1].replace(
        "from faretra import multiprocessing", "import multiprocessing"
    ).replace("faretra.", "")
    source = _IMPORT.sub(r"\1", source)
    assert "import faretra" not in source and "from faretra" not in source
    return source


def run(path: Path, method: str, folder: Path, shm: str) -> list[str]:
    """Run a program under a start method, and return its lines."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", _RUN, method, str(path)],
        cwd=folder,
        env={
            # Unbuffered, a line and its end are written one by one, and those of others come between.
            **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            "FARETRA_DIR": shm,
            "PYTHONPATH": str(Path(faretra.__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0 and done.stderr == "", f"{done.stdout}\n{done.stderr}"
    expected = PRINTS.get(path.stem)
    assert expected is None or done.stdout == expected
    lines = done.stdout.splitlines()
    return sorted(lines) if path.stem in FREE else lines


@pytest.mark.parametrize(("name", "method"), RUNS)
def test_example(name: str, method: str, tmp_path: Path, shm: str) -> None:
    """A program prints the same with the standard's import line, and leaves nothing."""
    path = EXAMPLES / f"{name}.py"
    standard = tmp_path / path.name
    standard.write_text(changed_back(path.read_text(encoding="utf-8")), encoding="utf-8")
    ours = run(path, method, tmp_path, shm)
    assert ours and ours == run(standard, method, tmp_path, shm)


def test_there_is_each_program_of_the_list() -> None:
    """The page has a line for each program."""
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)\.py`", page, re.M)) == NAMES
