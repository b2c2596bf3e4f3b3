"""What the documentation says is so: its programs run and print what it says they print."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest


@pytest.fixture
def shm() -> Iterator[str]:
    """Give a directory for arenas that nobody else uses, and check that a program left none there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="faretra-docs-") as folder:
        yield folder
        assert not list(Path(folder).glob("faretra.*")), "an arena was left behind"


@pytest.mark.parametrize("program", pages.programs("cookbook.md"), ids=lambda program: program.id)
def test_recipe(program: pages.Program, tmp_path: Path, shm: str) -> None:
    """A recipe runs as it stands, prints what it says, and leaves no arena behind."""
    for package in program.packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    printed = pages.run(program, tmp_path, shm)
    assert program.expected, f"{program.id} does not say what it prints"
    assert not pages.missing(printed, program.expected), printed


def _sections() -> list[tuple[str, list[pages.Program]]]:
    found: dict[str, list[pages.Program]] = {}
    for program in pages.programs("learn.md"):
        found.setdefault(program.section, []).append(program)
    return list(found.items())


@pytest.mark.parametrize(
    ("section", "blocks"), _sections(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_learn(section: str, blocks: list[pages.Program], tmp_path: Path, shm: str) -> None:
    """A section of the page runs as it is read: each block as a program of its own, one after the other."""
    for program in blocks:
        printed = pages.run(program, tmp_path, shm)
        assert not pages.missing(printed, program.expected), f"{program.id}\n{printed}"


def test_recipes_are_numbered_and_linked() -> None:
    """The list at the top of the cookbook has each recipe, under its own title."""
    text = (pages.DOCS / "cookbook.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.M)
    linked = re.findall(r"^\[([^\]]*)\]\(#([^)]*)\)", text, re.M)
    assert [title for title, _ in linked] == titles
    for number, (title, anchor) in enumerate(linked, 1):
        assert title.startswith(f"{number} ")
        assert anchor == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    assert len(titles) >= 20


def test_lines_that_are_not_printed_are_noticed() -> None:
    """The comparison of what was printed finds lines that are missing or in another order."""
    assert pages.missing("a\nb\nc\n", ["a", "c"]) == []
    assert pages.missing("a\nb\n", ["c"]) == ["c"]
    assert pages.missing("b\na\n", ["a", "b"]) == ["b"]
