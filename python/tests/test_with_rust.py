"""The programs in `examples/with_rust` and those in Rust that they speak with, as they were built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent / "examples/with_rust"
# Where `cargo build --examples` puts them; `cargo xtask test` says where it built.
TARGET = Path(os.environ.get("FARETRA_TARGET", Path(__file__).parents[2] / "target/debug"))
RUST = TARGET / "examples"
PATIENCE = 120

needs_rust = pytest.mark.skipif(
    not (RUST / "consumer").exists() or not (RUST / "producer").exists(),
    reason="needs the Rust examples: cargo build --examples",
)


def speak(producer: list[str], consumer: list[str]) -> tuple[str, str]:
    """Run both, and give what each prints."""
    reading = subprocess.Popen(consumer, stdout=subprocess.PIPE, text=True)
    try:
        wrote = subprocess.run(producer, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE)
        read, _ = reading.communicate(timeout=PATIENCE)
    finally:
        reading.kill()
        reading.wait()
    assert reading.returncode == 0
    return wrote.stdout, read


def check(wrote: str, read: str) -> None:
    """Compare: the last version is what was read last; a mean tells which version it is of."""
    last = re.search(r"producer: done, the last version is (\d+)\n", wrote)
    assert last, wrote
    ended = re.search(r"consumer: saw (\d+) versions, up to (\d+)\n", read)
    assert ended and ended[2] == last[1] and int(ended[1]) >= 1, read
    means = re.findall(r"consumer: version (\d+), mean price ([\d.]+)\n", read)
    assert means and all(
        float(mean) == pytest.approx(int(version) - 1 + 0.4995, abs=0.001) for version, mean in means
    )


@needs_rust
def test_python_produces_and_rust_consumes(fresh_name: Callable[[], str]) -> None:
    """Show that Rust reads each version of a table that Python publishes."""
    pytest.importorskip("pyarrow")
    name = fresh_name()
    check(*speak([sys.executable, str(HERE / "producer.py"), name], [str(RUST / "consumer"), name]))
    assert not os.path.exists(f"/dev/shm/faretra.{name}")


@needs_rust
def test_rust_produces_and_python_consumes(fresh_name: Callable[[], str]) -> None:
    """Show that Python reads each version of a batch that Rust publishes."""
    name = fresh_name()
    check(*speak([str(RUST / "producer"), name, "20"], [sys.executable, str(HERE / "consumer.py"), name]))
    assert not os.path.exists(f"/dev/shm/faretra.{name}")
