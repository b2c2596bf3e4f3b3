"""The numbers as a table, as JSON, as a plot, and beside the targets."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import faretra
from faretra import _plot, _show
from faretra.bench import _conversions as command
from faretra.bench import _multiprocessing as mp
from faretra.bench._measure import GB, KB, MB, Row


@dataclass(frozen=True)
class Target:
    """What a number is to be, and what it is."""

    what: str
    wanted: str
    measured: str
    met: bool


def seconds(value: float) -> str:
    """Return a time as people read it.

    >>> seconds(1.94e-6), seconds(0.0123), seconds(2.5)
    ('1.9 us', '12.3 ms', '2.50 s')
    """
    if value < 1e-6:
        return f"{value * 1e9:.0f} ns"
    if value < 1e-3:
        return f"{value * 1e6:.1f} us"
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def size_text(nbytes: int) -> str:
    """Return a round size as people read it.

    >>> size_text(8192), size_text(1 << 30)
    ('8 KB', '1 GB')
    """
    for unit, name in ((GB, "GB"), (MB, "MB"), (KB, "KB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.4g} {name}"
    return f"{nbytes} B"


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each group, in the order of the run."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text: one block for each group, one column for each size, and ratios to what stands first."""
    blocks = []
    pairs = _pairs(rows)
    if pairs:
        blocks.append(_paired_table(pairs))
    for group, members in groups(rows).items():
        if (group, members[0].nbytes) in pairs:
            continue
        sizes = sorted({row.nbytes for row in members})
        whats = list(dict.fromkeys(row.what for row in members))
        cells = {(row.what, row.nbytes): row.seconds for row in members}
        lines = [[what, *(_cell(cells, what, whats[0], nbytes) for nbytes in sizes)] for what in whats]
        right = [False, *(True for _ in sizes)]
        blocks.append(_show.grid([group, *(size_text(size) if size else "" for size in sizes)], lines, right))
    return "\n\n".join(blocks)


def _pairs(rows: Sequence[Row]) -> dict[tuple[str, int], tuple[float, float]]:
    """Return what was measured of `multiprocessing` and of ours, by group and size."""
    taken: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        taken.setdefault((row.group, row.nbytes), {})[row.what] = row.seconds
    names = ("multiprocessing", "faretra")
    return {
        key: (times[names[0]], times[names[1]]) for key, times in taken.items() if set(times) == set(names)
    }


def _paired_table(pairs: dict[tuple[str, int], tuple[float, float]]) -> str:
    lines = []
    for (group, nbytes), times in pairs.items():
        rates = [f"{1 / each:,.0f}" if each < 0.1 else "" for each in times]
        each = [cell for time, rate in zip(times, rates, strict=True) for cell in (seconds(time), rate)]
        lines.append([group, size_text(nbytes) if nbytes else "", *each, _ratio(times[0] / times[1])])
    heads = ["", "", "multiprocessing", "a second", "faretra", "a second", "as fast"]
    return _show.grid(heads, lines, [False, *[True] * 6])


def _cell(cells: dict[tuple[str, int], float], what: str, first: str, nbytes: int) -> str:
    value = cells.get((what, nbytes))
    if value is None:
        return "-"
    base = cells.get((first, nbytes))
    ratio = "" if what == first or not base else f" ({_ratio(value / base)})"
    return seconds(value) + ratio


def _ratio(value: float) -> str:
    return f"{value:,.0f} x" if value >= 100 else f"{value:.1f} x" if value >= 10 else f"{value:.2f} x"


def _find(rows: Sequence[Row], what: str, nbytes: int | None = None) -> list[Row]:
    return [row for row in rows if row.what == what and nbytes in (None, row.nbytes)]


def targets(rows: Sequence[Row]) -> list[Target]:
    """Return the targets that were measured in this run."""
    found = []

    def add(what: str, wanted: str, value: float, limit: float, text: Callable[[float], str]) -> None:
        found.append(Target(what, wanted, text(value), value <= limit))

    for row in _find(rows, 'arena["x"]'):
        add(f'arena["x"], {size_text(row.nbytes)}', "<= 2 us", row.seconds, 2e-6, seconds)
    for row in _find(rows, "put, warm"):
        name = f"put, warm, {size_text(row.nbytes)}"
        if row.nbytes == 8 * KB:
            add(name, "<= 5 us", row.seconds, 5e-6, seconds)
        floor = _find(rows, "memcpy into touched memory", row.nbytes)
        if row.nbytes >= 64 * MB and floor:
            add(name, "<= 0.75 x memcpy", row.seconds / floor[0].seconds, 0.75, _ratio)
    for row in _find(rows, "put, fresh memory"):
        floor = _find(rows, "memcpy into fresh tmpfs pages", row.nbytes)
        if floor:
            name = f"put, fresh memory, {size_text(row.nbytes)}"
            add(name, "<= 1.0 x memcpy", row.seconds / floor[0].seconds, 1.0, _ratio)
    both, alone = _find(rows, "import numpy, faretra"), _find(rows, "import numpy")
    if both and alone:
        add("import over numpy's", "<= 30 ms", both[0].seconds - alone[0].seconds, 0.030, seconds)
    for group, members in groups(rows).items():
        times = {row.what: row.seconds for row in members}
        if group.startswith(command.GROUP) and {command.OURS, command.THEIRS} <= set(times):
            ratio = times[command.OURS] / times[command.THEIRS]
            add(group, "<= 1.0 x pyarrow", ratio, 1.0, _ratio)
    return found + _multiprocessing_targets(rows)


def _multiprocessing_targets(rows: Sequence[Row]) -> list[Target]:
    wanted = {
        (mp.QUEUE, 64 * MB): 50.0,
        (mp.QUEUE, KB): 1.0,
        (mp.LOCK, 0): 3.0,
        (mp.ARGUMENTS, mp.MANY * MB): 10.0,
        (mp.RESULTS, mp.MANY * MB): 10.0,
    }
    found = []
    for (group, nbytes), (theirs, ours) in _pairs(rows).items():
        least = wanted.get((group, nbytes))
        if least is not None:
            what = f"{group}, {size_text(nbytes)}" if nbytes else group
            found.append(
                Target(what, f">= {least:g} x as fast", _ratio(theirs / ours), theirs / ours >= least)
            )
    return found


def targets_table(all_: Sequence[Target]) -> str:
    """Return the targets as text."""
    lines = [[one.what, one.wanted, one.measured, "met" if one.met else "missed"] for one in all_]
    return _show.grid(["target", "wanted", "measured", ""], lines, [False, False, True, False])


def machine() -> dict[str, Any]:
    """Return where the numbers were measured."""
    return {
        "faretra": faretra.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def as_json(rows: Sequence[Row], skipped: dict[str, str]) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    return {
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "targets": [asdict(target) for target in targets(rows)],
        "skipped": skipped,
    }


def _versions() -> dict[str, str]:
    """Return the versions of Python, numpy and the packages that are measured beside ours, or that they are missing."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "pyarrow", "SharedArray", "ray", "vineyard"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def tell(rows: Sequence[Row], absent: dict[tuple[str, str], str], path: Path) -> None:
    """Add the rows, and what was to be reached, to a file: a JSON object a line, as the library's own benches write them."""
    lines: list[dict[str, Any]] = [
        {"kind": "version", "what": name, "shown": version} for name, version in _versions().items()
    ]
    for row in rows:
        size = row.nbytes or None
        what = f"{row.what}, {size_text(row.nbytes)}" if row.nbytes else row.what
        line = {"section": row.group, "what": what, "bytes": size, "way": row.what, "p50": row.seconds * 1e9}
        if row.more:
            use = row.more
            line |= {"p99": use.p99 * 1e9, "p999": use.p999 * 1e9, "cpu": use.cpu * 1e9}
            line |= {"minor_faults": use.minor_faults, "major_faults": use.major_faults}
            line |= {"rate": row.nbytes / row.seconds}
        lines.append(line)
    lines += [{"section": group, "what": name, "shown": why} for (group, name), why in absent.items()]
    for one in targets(rows):
        lines.append(
            {
                "section": "Python's targets",
                "what": one.what,
                "target": one.wanted,
                "shown": one.measured,
                "met": one.met,
            }
        )
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a plot: of each hand-over at its largest sizes, or of how many times as fast as `multiprocessing` ours is.

    If both were measured, the second one goes to a file of its own, whose name ends in `-multiprocessing`.
    """
    panels = []
    for group, members in groups(rows).items():
        if not group.startswith("hand-over") or group.endswith("every byte read"):
            continue
        for nbytes in sorted({row.nbytes for row in members})[-2:]:
            of_size = [row for row in members if row.nbytes == nbytes]
            panels.append(
                (f"{group}, {size_text(nbytes)}", [(row.what, row.seconds, row.kind) for row in of_size])
            )
    if panels:
        _plot.picture(
            path,
            "A value goes to another process",
            panels,
            seconds,
            log=True,
            note="Time axis is logarithmic.",
        )
    pairs = _pairs(rows)
    if not pairs:
        return
    bars = [
        (
            f"{group}, {size_text(nbytes)}" if nbytes else group,
            theirs / ours,
            "ours" if ours <= theirs else "other",
        )
        for (group, nbytes), (theirs, ours) in pairs.items()
    ]
    _plot.picture(
        path.with_stem(f"{path.stem}-multiprocessing") if panels else path,
        "faretra.multiprocessing",
        [("Times as fast as multiprocessing", bars)],
        _ratio,
        log=True,
        note="Axis is logarithmic. Light bars: multiprocessing is faster.",
    )
