"""What arenas, tables and bundles look like at a prompt and in a notebook."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import faretra

pa = pytest.importorskip("pyarrow")

# The library takes no control characters in names; columns and values may have any.
NAME = "<script>alert('x')</script>&\""
EVIL = NAME + "\n\x1b[31m"


class Page(HTMLParser):
    """The elements and the cells of a piece of HTML; fails on what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_html_of_others_is_escaped(arena: faretra.Arena) -> None:
    """Names, columns and values become text, never elements; control characters go."""
    arena[NAME] = pa.table({EVIL: [EVIL, None], "n": [1, 2], "b": [b"<b>", b""], "l": [[EVIL], []]})
    arena.put_many("bundle", {NAME: np.zeros(2), "object": {"a": 1}})
    shown: tuple[Any, ...] = (arena, arena[NAME], arena.info(NAME), arena["bundle"], arena.entries())
    for value in shown:
        html = value._repr_html_()
        page = Page(html)
        assert page.tags <= {"table", "caption", "span", "thead", "tbody", "tr", "th", "td"}
        assert "\x1b" not in html
        assert "\x1b" not in repr(value)
    cells = Page(arena[NAME]._repr_html_()).cells
    assert any(cell.startswith("<script>alert('x')") for cell in cells)
    assert "null" in cells


def test_a_table_shows_its_first_rows(arena: faretra.Arena) -> None:
    """The head of a table of several batches is shown, and how many rows and columns are not."""
    rows = pa.table({f"c{i}": range(5) for i in range(25)})
    arena["t"] = pa.concat_tables([rows, rows, rows])
    html = arena["t"]._repr_html_()
    assert "... and 5 more rows ... and 5 more columns" in html
    cells = Page(html).cells
    assert cells.count("c19") == 1
    assert "c20" not in cells
    assert "15 rows x 25 columns" in html and "0 bytes copied" in html


def test_long_values_are_cut(arena: faretra.Arena) -> None:
    """A text of 10 million characters and a list of a million numbers become one short cell each."""
    arena["t"] = pa.table({"text": ["x" * 10_000_000], "list": [list(range(1_000_000))]})
    html = arena["t"]._repr_html_()
    assert len(html) < 4000
    assert "0, 1, 2" in html


def test_without_pyarrow_the_schema_is_shown(arena: faretra.Arena) -> None:
    """A table is shown by its schema where nothing can read its rows."""
    arena["t"] = pa.table({"id": [1, 2]})
    code = (
        "import sys; sys.modules['pyarrow'] = None; import faretra;"
        f"print(faretra.Arena.open({arena.name!r})['t']._repr_html_())"
    )
    html = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert Page(html).cells == ["column", "type", "nulls", "id", "Int64", "yes"]


def test_empty_things_are_shown(arena: faretra.Arena) -> None:
    """An empty arena, a table without rows or columns, and a closed arena are shown."""
    assert repr(arena.entries()) == "(no names)"
    Page(arena._repr_html_())
    arena["no rows"] = pa.table({"id": pa.array([], pa.int64())})
    arena["no columns"] = pa.table({})
    for name in ("no rows", "no columns"):
        Page(arena[name]._repr_html_())
        assert name in repr(arena[name])
    arena.close()
    assert "closed" in arena._repr_html_()
    assert "closed" in repr(arena)


def test_info_tells_what_a_value_is(arena: faretra.Arena) -> None:
    """Shape, dtype, order and columns are told without reading the value, and others are told by their kind."""
    arena["x"] = np.zeros((3, 4), "float32", order="F")
    arena["t"] = pa.table({"id": [1, 2], "s": ["a", None]})
    arena["o"] = {"a": 1}
    arena["b"] = b"bytes"
    x, t = arena.info("x"), arena.info("t")
    assert isinstance(x, faretra.ArrayInfo)
    assert (x.shape, x.dtype, x.order, x.copied) == ((3, 4), np.dtype("float32"), "F", 0)
    assert isinstance(t, faretra.TableInfo)
    assert (t.shape, t.batches) == ((2, 2), 1)
    assert [name for name, _, _ in t.fields] == ["id", "s"]
    assert arena.info("o").kind == "object"
    assert (arena.info("b").kind, arena.info("b").rows) == ("bytes", 5)
    with pytest.raises(KeyError):
        arena.info("nothing")


def test_many_names_are_cut(arena: faretra.Arena) -> None:
    """A listing of many names shows the first ones and how many more there are."""
    for number in range(60):
        arena[f"name{number:02}"] = b"x"
    assert repr(arena.entries()).splitlines()[-1] == "... and 10 more names"
    assert len(arena.entries()) == 60
    assert "... and 10 more names" in arena._repr_html_()


def test_wide_characters_line_up(arena: faretra.Arena) -> None:
    """Names in scripts of double width do not shift the columns."""
    arena["日本"] = b"1"
    arena["ab"] = b"1"
    lines = repr(arena.entries()).splitlines()
    assert lines[1].index("bytes") == lines[2].index("bytes") + 2
