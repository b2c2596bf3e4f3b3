"""The programs in the documentation: what a page says, taken out of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
# How long one program may take, in seconds.
PATIENCE = 120

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
_PACKAGE = re.compile(r"<!-- needs the package: (\w+) -->")


@dataclass(frozen=True)
class Program:
    """A block of Python of a page, and what it is to print."""

    page: str
    section: str
    index: int
    source: str
    packages: tuple[str, ...]

    @property
    def expected(self) -> list[str]:
        """The lines that it prints, among others, in this order."""
        return [line[5:] for line in self.source.splitlines() if line.startswith("# -> ")]

    @property
    def id(self) -> str:
        """What pytest calls it."""
        words = re.sub(r"[^a-z0-9]+", "-", self.section.lower()).strip("-")
        return f"{self.page}-{words}-{self.index}"


def programs(page: str) -> list[Program]:
    """Return the programs of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        packages = tuple(_PACKAGE.findall(body))
        for index, block in enumerate(_BLOCK.finditer(body)):
            found.append(Program(page.removesuffix(".md"), title, index, block[1], packages))
    return found


def run(program: Program, folder: Path, shm: str) -> str:
    """Run a program in a process of its own, with arenas of its own, and return what it printed."""
    script = folder / f"recipe{program.index}.py"
    script.write_text(program.source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)],
        cwd=folder,
        env={**os.environ, "FARETRA_DIR": shm, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{program.id} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def missing(printed: str, expected: list[str]) -> list[str]:
    """Return the expected lines that were not printed, in order, among what was printed."""
    lines = iter(line.rstrip() for line in printed.splitlines())
    return [line for line in expected if line not in lines]
