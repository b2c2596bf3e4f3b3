"""Bars: as text, and as a picture where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_OURS, _OTHERS, _FLOOR = "#1f6f8b", "#c9a66b", "#8a8f98"


def text_bars(rows: Sequence[tuple[str, float]], shown: Callable[[float], str], width: int = 44) -> str:
    """Return one line for each row: label, bar, and number. Bars are as long as the numbers are large.

    >>> print(text_bars([("shared", 1.0), ("copied", 4.0)], str, 8))
    shared  ##        1.0
    copied  ########  4.0
    """
    most = max((value for _, value in rows), default=0.0) or 1.0
    label = max((len(name) for name, _ in rows), default=0)
    lines = []
    for name, value in rows:
        bar = "#" * max(round(width * value / most), 1 if value > 0 else 0)
        lines.append(f"{name:<{label}}  {bar:<{width}}  {shown(value)}")
    return "\n".join(lines)


def have_matplotlib() -> bool:
    """Return whether a picture can be made."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def picture(
    path: Path,
    title: str,
    groups: Sequence[tuple[str, Sequence[tuple[str, float, str]]]],
    shown: Callable[[float], str],
    *,
    log: bool = False,
    note: str = "",
) -> None:
    """Write horizontal bars to `path` (.png or .svg): groups of (label, value, kind), kind "ours", "other" or "floor"."""
    from matplotlib.figure import Figure

    colours = {"ours": _OURS, "other": _OTHERS, "floor": _FLOOR}
    lines = [len(rows) for _, rows in groups]
    figure = Figure(
        figsize=(9.0, 1.2 + 0.36 * sum(lines) + 0.55 * len(groups)), layout="constrained", dpi=120
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    panels: Any = figure.subplots(
        len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": [n + 0.8 for n in lines]}
    )
    for panel, (name, rows) in zip(panels[:, 0], groups, strict=True):
        values = [value for _, value, _ in rows]
        bars = panel.barh(range(len(rows)), values, height=0.66, color=[colours[kind] for *_, kind in rows])
        panel.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=9)
        panel.bar_label(bars, [shown(value) for value in values], padding=4, fontsize=9)
        panel.invert_yaxis()
        panel.set_title(name, loc="left", fontsize=10)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        panel.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
        if log:
            panel.set_xscale("log")
            panel.set_xlim(min(values) / 3, max(values) * 8)
        else:
            panel.set_xlim(0, max(values, default=1.0) * 1.18)
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color="#555555")
    figure.savefig(path)
