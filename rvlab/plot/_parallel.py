"""All parameters of many runs at once: an axis per column, a line per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.frame.params import differing_columns
from rvlab.plot import ink
from rvlab.plot.ruler import FEW, NONE, SPREAD, Ruler, apart, ruler
from rvlab.plot.table import is_number, with_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def parallel(
    runs: pd.DataFrame, columns: Sequence[str] | None = None, *, hue: str = "metrics.f1"
) -> Figure:
    """Draw an axis per column and a line per run across them, colored by a metric.

    >>> plot.parallel(lab.runs("towns"), ["params.lr", "params.width"], hue="metrics.mean_iou")

    Positive numbers that span two decades have a log axis, marked so below; what is no number has
    an axis of categories. Where many runs have one value, their lines stand a little apart, so that
    each can be followed. A run that lacks a value passes below the axis, at ``none``.

    Args:
        runs: One row per run, as ``lab.runs()`` returns it.
        columns: The axes, in this order; None takes the ``params.*`` in which the runs differ.
        hue: The column that colors the lines. A number is the last axis as well.

    Returns:
        A figure, shown once as the last value of a cell.

    Raises:
        TableError: If a column is missing.
    """
    asked = [columns] if isinstance(columns, str) else list(columns or [])
    table = with_columns(runs, [*asked, hue], "table of runs")
    if table.empty:
        return ink.noted("No runs yet: the table is empty.")
    names = asked or differing_columns(table)
    is_scale = is_number(table[hue])
    names = [n for n in names if n != hue] + [hue] if is_scale else names
    if len(names) < 2:
        return ink.noted("The runs differ in no parameter: there is nothing to put side by side.")
    if is_scale:  # the best, or at least the highest, is drawn last, above the others
        table = table.sort_values(hue, na_position="first", kind="stable")
    return _drawn(table, names, hue, is_scale=is_scale)


def _drawn(table: pd.DataFrame, names: Sequence[str], hue: str, *, is_scale: bool) -> Figure:
    # Ticks of the metric are round numbers, of a parameter the values that were tried.
    axes = [ruler(table[name], few=0 if name == hue else FEW) for name in names]
    shown = ink.hue(table[hue])
    entries = [] if is_scale else ink.legend_entries(shown)
    tick = max(len(word) for _, word in axes[-1].ticks)
    side = (
        0.25 + 0.075 * tick
        if is_scale
        else 0.75 + 0.078 * max(len(w) for w in (hue, *(e[0] for e in entries)))
    )
    left = 0.4 + 0.07 * max(len(word) for _, word in axes[0].ticks)
    longest = max(len(name) * 0.09 for name in names)
    left, side = max(left, len(names[0]) * 0.045 + 0.1), max(side, len(names[-1]) * 0.045 - 0.1)
    gap = max(1.3, min(1.9, 8.5 / (len(names) - 1)), longest + 0.1)
    width, height = left + gap * (len(names) - 1) + 0.25 + side, 4.0
    made = ink.figure(width, height)
    box = (left / width, 0.05, gap * (len(names) - 1) / width, 0.8)
    ax = made.add_axes(box, label="lines")
    ax.set_axis_off()
    ax.set_xlim(0, len(names) - 1)
    low = NONE if any(np.isnan(axis.at).any() for axis in axes) else 0.0
    ax.set_ylim(low - SPREAD, 1 + SPREAD)
    lines = np.column_stack([apart(axis.at) for axis in axes])
    colors = _colors(axes[-1]) if is_scale else [shown.style(v) for v in table[hue]]
    for points, look in zip(lines, colors, strict=True):
        ax.plot(
            np.arange(len(names)),
            points,
            linewidth=1.6 if len(lines) <= 40 else 1.0,
            alpha=0.9 if len(lines) <= 100 else 0.6,
            solid_joinstyle="round",
            clip_on=False,
            **look,
        )
    for i, (name, axis) in enumerate(zip(names, axes, strict=True)):
        # What stands at the first axis has the margin; at others it ends before the next axis.
        most = int((gap - 0.25) / 0.072) if i else None
        _ruled(ax, i, name, axis, is_last=is_scale and i == len(names) - 1, most=most)
    if is_scale:
        _strip(ax, gap * (len(names) - 1))
    else:
        ink.legend(made, shown, (1 - (side - 0.1) / width, 0.85))
    return made


def _colors(axis: Ruler) -> list[dict[str, Any]]:
    """As high as a run crosses the axis, so light is its line; grey where it does not."""
    none = {"color": "#bdbdbd", "zorder": 1}
    return [none if np.isnan(at) else {"color": _color(float(at))} for at in axis.at]


def _ruled(ax: Axes, i: int, name: str, axis: Ruler, *, is_last: bool, most: int | None) -> None:
    from matplotlib.patheffects import withStroke

    end = 0.0 if is_last else SPREAD
    ax.vlines(i, -end, 1 + end, color="#5f6368", linewidth=1.0, zorder=3, clip_on=False)
    halo = [withStroke(linewidth=3, foreground="white")]
    ticks = list(axis.ticks)
    if np.isnan(axis.at).any():
        ticks.append((NONE, "none"))
    for at, word in ticks:
        ax.annotate(
            _cut(word, most),
            (i, at),
            (18 if is_last else -5, 0),
            textcoords="offset points",
            ha="left" if is_last else "right",
            va="center",
            fontsize=ink.SMALL,
            color="#3c4043",
            path_effects=halo,
            annotation_clip=False,
            zorder=5,
            gid=name,
        )
        ax.plot([i], [at], marker="_", color="#5f6368", markersize=5, zorder=3, clip_on=False)
    title = f"{name}\n(log)" if axis.is_log else name
    ax.annotate(
        title,
        (i, 1 + SPREAD),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=ink.SMALL,
        fontweight="bold",
        linespacing=1.1,
    )


def _cut(word: str, most: int | None) -> str:
    """At most so many letters: its beginning and its end, since names often begin alike."""
    if most is None or len(word) <= most:
        return word
    head = most // 2
    return f"{word[:head]}…{word[head + 1 - most :]}"


def _strip(ax: Axes, inches: float) -> None:
    """The scale of the colors, along the last axis."""
    low, high = ax.get_ylim()
    box = (1 + 0.05 / inches, -low / (high - low), 0.12 / inches, 1 / (high - low))
    strip = ax.inset_axes(box, label="hue")
    rgba = np.asarray([_color(at) for at in np.linspace(0, 1, 128)])[:, None]
    strip.imshow(rgba, origin="lower", aspect="auto")
    strip.set_axis_off()


def _color(at: float) -> Any:
    """The scale without its last yellow, which is lost on white."""
    import matplotlib

    return matplotlib.colormaps[ink.SCALE](0.86 * at)
