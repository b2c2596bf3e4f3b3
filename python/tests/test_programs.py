"""`python -m faretra.demo` and `python -m faretra.bench`: they run, measure what they say, and clean up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import faretra
from faretra import _plot, demo
from faretra.bench import _conversions, _measure, _multiprocessing, _report, _rivals

PATIENCE = 120


@pytest.fixture
def shm() -> Iterator[Path]:
    """Give a directory for arenas, which has to be empty in the end."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="faretra-programs-") as folder:
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []


def _start(module: str, *arguments: str, shm: Path, cwd: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(faretra.__file__).parent.parent), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, "FARETRA_DIR": str(shm), "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(module: str, *arguments: str, shm: Path, cwd: Path) -> tuple[int, str, str]:
    program = _start(module, *arguments, shm=shm, cwd=cwd)
    try:
        out, errors = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()
    return program.returncode, out, errors


def test_demo(shm: Path, tmp_path: Path) -> None:
    """Four processes share 64 MiB in the memory of one copy; a killed one changes nothing; nothing is left."""
    code, out, errors = _run("faretra.demo", "--size", "64MiB", "--json", "--no-plot", shm=shm, cwd=tmp_path)
    assert code == 0, errors
    story: dict[str, Any] = json.loads(out)
    assert story["array"] + story["table"] > 60 << 20
    # One copy, and a few MiB that the processes take for themselves; four copies would be 256 MiB.
    assert story["after"] - story["before"] < (64 + 40) << 20
    assert (story["survivors"], story["violations"], story["left"]) == (3, [], 0)
    assert list(tmp_path.iterdir()) == []


def test_demo_as_text(shm: Path, tmp_path: Path) -> None:
    """The demo prints bars and, where matplotlib is installed, writes a picture."""
    code, out, errors = _run(
        "faretra.demo", "--size", "4MiB", "--workers", "2", "--plot", "d.svg", shm=shm, cwd=tmp_path
    )
    assert code == 0, errors
    assert "before" in out and "####" in out and "SIGKILL" in out
    if _plot.have_matplotlib():
        assert (tmp_path / "d.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    else:
        assert "matplotlib is not installed" in errors


def test_demo_without_room(shm: Path, tmp_path: Path) -> None:
    """A demo that does not fit says so in words, and leaves nothing."""
    code, _, errors = _run("faretra.demo", "--size", "500GiB", "--no-plot", shm=shm, cwd=tmp_path)
    assert code == 1
    assert "no room" in errors and "--size" in errors
    assert "Traceback" not in errors


def test_demo_that_nobody_reads(shm: Path, tmp_path: Path) -> None:
    """What is printed into a pipe that was closed (`| head`) ends the demo in silence."""
    for more in ([], ["--json"]):
        program = _start(
            "faretra.demo", "--size", "1MiB", "--workers", "2", "--no-plot", *more, shm=shm, cwd=tmp_path
        )
        assert program.stdout is not None and program.stderr is not None
        try:
            program.stdout.close()
            errors = program.stderr.read()
        finally:
            program.kill()
            program.wait(PATIENCE)
            program.stderr.close()
        assert errors == ""


@pytest.mark.parametrize("arguments", [("--size", "big"), ("--size", "1KiB"), ("--workers", "1")])
def test_demo_arguments(arguments: tuple[str, str], shm: Path, tmp_path: Path) -> None:
    """Wrong arguments are told, with exit code 2."""
    code, _, errors = _run("faretra.demo", *arguments, shm=shm, cwd=tmp_path)
    assert code == 2
    assert "Traceback" not in errors


def test_demo_is_interrupted(shm: Path, tmp_path: Path) -> None:
    """Ctrl-C ends the demo in words, ends its workers, and removes its arena."""
    program = _start("faretra.demo", "--size", "256MiB", "--no-plot", shm=shm, cwd=tmp_path)
    try:
        end = time.monotonic() + 60
        while not list(shm.iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors


@pytest.mark.slow
def test_bench(shm: Path, tmp_path: Path) -> None:
    """The quick bench measures every group, beside the rivals that are there, and says what it left out."""
    plot = ["--plot", "b.png"] if _plot.have_matplotlib() else []
    code, out, errors = _run("faretra.bench", "--quick", "--json", *plot, shm=shm, cwd=tmp_path)
    assert code == 0, errors
    found = json.loads(out)
    groups = {row["group"] for row in found["rows"]}
    assert {"put of an array", "get of an array", "put into fresh memory", "hand-over of an array"} <= groups
    ways = {row["what"] for row in found["rows"] if row["group"] == "hand-over of an array"}
    assert {"faretra", "multiprocessing.Pipe", "multiprocessing.Queue", "shared_memory"} <= ways
    assert all(row["seconds"] > 0 for row in found["rows"])
    commands = {row["group"] for row in found["rows"] if row["group"].startswith("command: ")}
    ways = {
        f"command: {verb} {suffix}"
        for verb in ("put", "export")
        for suffix in ("parquet", "csv", "arrow", "npy")
    }
    assert commands == (set() if _conversions.SKIPPED in found["skipped"] else ways)
    assert "ray" in found["skipped"]
    assert not plot or (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_bench_without_room(tmp_path: Path) -> None:
    """On a tmpfs that is too small, the bench says in words what it needs, and leaves nothing. Needs to mount one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        code, out, errors = _run("faretra.bench", "--quick", shm=small, cwd=tmp_path)
        assert (code, out) == (1, ""), errors
        assert "no room" in errors and str(small) in errors and "Traceback" not in errors
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_room_is_looked_at(tmp_path: Path) -> None:
    """A copy into fresh pages that the file system has no room for is told before it is begun."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    _measure.check_room(1, str(tmp_path))
    with pytest.raises(_measure.NoRoom, match=r"no room there: .* are free"):
        _measure.check_room(free + (64 << 30), str(tmp_path))


@pytest.mark.slow
def test_bench_of_multiprocessing(shm: Path, tmp_path: Path) -> None:
    """The section measures each module in turn, and shows targets: those that are missed, too."""
    plot = ["--plot", "b.png"] if _plot.have_matplotlib() else []
    section = ["--section", "multiprocessing", "--quick", "--json"]
    code, out, errors = _run("faretra.bench", *section, *plot, shm=shm, cwd=tmp_path)
    assert code == 0, errors
    found = json.loads(out)
    taken: dict[str, set[str]] = {}
    for row in found["rows"]:
        assert row["seconds"] > 0
        taken.setdefault(row["group"], set()).add(row["what"])
    assert all(whats == {"faretra", "multiprocessing"} for whats in taken.values())
    for begin in ("Queue", "Pipe", "Pool.map", "Pool(2)", "Lock", "Semaphore", "Event", "Value", "Manager"):
        assert any(group.startswith(begin) for group in taken), begin
    assert {target["what"] for target in found["targets"]} == {
        "Queue: an array there and back, 1 KB",
        "Lock: acquire, release",
    }
    assert not plot or (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_targets_of_multiprocessing() -> None:
    """A target that is missed is shown as missed, with how many times as fast it was."""
    rows = [
        _measure.Row(_multiprocessing.QUEUE, name, "other", 64 << 20, seconds)
        for name, seconds in (("faretra", 0.5), ("multiprocessing", 10.0))
    ]
    (target,) = _report.targets(rows)
    assert (target.wanted, target.measured, target.met) == (">= 50 x as fast", "20.0 x", False)
    assert "missed" in _report.targets_table([target])
    assert _report.table(rows).splitlines()[1].split()[-2:] == ["20.0", "x"]


def test_a_checksum_that_is_wrong_is_noticed(arena: faretra.Arena) -> None:
    """The demo's check sees a single changed element."""
    demo.fill(arena, 80_000, 80_000)
    before = demo.checksum(arena)
    changed = arena["array"].copy()
    changed[3, 3] += 1
    arena["array"] = changed
    assert demo.checksum(arena) != before


def test_what_is_not_installed_is_a_row(tmp_path: Path) -> None:
    """A way that cannot be measured has a row in the report that says why, and every peer's version, or lack, is told."""
    path = tmp_path / "rows.jsonl"
    _report.tell([], {("hand-over of an array", "ray"): "ray is not installed"}, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {"section": "hand-over of an array", "what": "ray", "shown": "ray is not installed"} in rows
    versions = {row["what"]: row["shown"] for row in rows if row.get("kind") == "version"}
    assert {"python", "numpy", "pyarrow", "SharedArray", "ray", "vineyard"} <= set(versions)


def test_every_byte_is_read() -> None:
    """What the receiver of the bench sums up changes with each byte of a value, wherever that is."""
    array = np.arange(64, dtype="float64")
    before = _rivals.total(array)
    for index in range(array.nbytes):
        array.view("uint8")[index] ^= 1
        assert _rivals.total(array) != before, index
        array.view("uint8")[index] ^= 1
    assert _rivals.total({"a": array, "b": array}) == 2 * before % (1 << 64)
