"""All parameters of many runs at once: an axis per column, a line per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.frame.params import differing_columns
from rvlab.plot._style import theme
from rvlab.plot.parallel_axis import (
    MAX_VALUE_TICKS,
    MISSING_AT,
    POINT_SPACING,
    ParallelAxis,
    build_axis,
    spread_points,
)
from rvlab.plot.titles import is_numeric_column, require_columns

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
    table = require_columns(runs, [*asked, hue], "table of runs")
    if table.empty:
        return theme.empty_figure("No runs yet: the table is empty.")
    names = asked or differing_columns(table)
    is_scale = is_numeric_column(table[hue])
    names = [n for n in names if n != hue] + [hue] if is_scale else names
    if len(names) < 2:
        return theme.empty_figure(
            "The runs differ in no parameter: there is nothing to put side by side."
        )
    if is_scale:  # the best, or at least the highest, is drawn last, above the others
        table = table.sort_values(hue, na_position="first", kind="stable")
    return _draw(table, names, hue, is_scale=is_scale)


def _draw(table: pd.DataFrame, names: Sequence[str], hue: str, *, is_scale: bool) -> Figure:
    # Ticks of the metric are round numbers, of a parameter the values that were tried.
    axes = [build_axis(table[name], few=0 if name == hue else MAX_VALUE_TICKS) for name in names]
    shown = theme.hue(table[hue])
    entries = [] if is_scale else theme.legend_entries(shown)
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
    made = theme.new_figure(width, height)
    box = (left / width, 0.05, gap * (len(names) - 1) / width, 0.8)
    ax = made.add_axes(box, label="lines")
    ax.set_axis_off()
    ax.set_xlim(0, len(names) - 1)
    low = MISSING_AT if any(np.isnan(axis.at).any() for axis in axes) else 0.0
    ax.set_ylim(low - POINT_SPACING, 1 + POINT_SPACING)
    lines = np.column_stack([spread_points(axis.at) for axis in axes])
    colors = _line_styles(axes[-1]) if is_scale else [shown.style(v) for v in table[hue]]
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
        _draw_axis(ax, i, name, axis, is_last=is_scale and i == len(names) - 1, most=most)
    if is_scale:
        _draw_color_scale(ax, gap * (len(names) - 1))
    else:
        theme.draw_legend(made, shown, (1 - (side - 0.1) / width, 0.85))
    return made


def _line_styles(axis: ParallelAxis) -> list[dict[str, Any]]:
    """As high as a run crosses the axis, so light is its line; grey where it does not."""
    none = {"color": "#bdbdbd", "zorder": 1}
    return [none if np.isnan(at) else {"color": _scale_color(float(at))} for at in axis.at]


def _draw_axis(
    ax: Axes, i: int, name: str, axis: ParallelAxis, *, is_last: bool, most: int | None
) -> None:
    from matplotlib.patheffects import withStroke

    end = 0.0 if is_last else POINT_SPACING
    ax.vlines(i, -end, 1 + end, color="#5f6368", linewidth=1.0, zorder=3, clip_on=False)
    halo = [withStroke(linewidth=3, foreground="white")]
    ticks = list(axis.ticks)
    if np.isnan(axis.at).any():
        ticks.append((MISSING_AT, "none"))
    for at, word in ticks:
        ax.annotate(
            _abbreviate(word, most),
            (i, at),
            (18 if is_last else -5, 0),
            textcoords="offset points",
            ha="left" if is_last else "right",
            va="center",
            fontsize=theme.SMALL_PT,
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
        (i, 1 + POINT_SPACING),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=theme.SMALL_PT,
        fontweight="bold",
        linespacing=1.1,
    )


def _abbreviate(word: str, most: int | None) -> str:
    """At most so many letters: its beginning and its end, since names often begin alike."""
    if most is None or len(word) <= most:
        return word
    head = most // 2
    return f"{word[:head]}…{word[head + 1 - most :]}"


def _draw_color_scale(ax: Axes, inches: float) -> None:
    """The scale of the colors, along the last axis."""
    low, high = ax.get_ylim()
    box = (1 + 0.05 / inches, -low / (high - low), 0.12 / inches, 1 / (high - low))
    strip = ax.inset_axes(box, label="hue")
    rgba = np.asarray([_scale_color(at) for at in np.linspace(0, 1, 128)])[:, None]
    strip.imshow(rgba, origin="lower", aspect="auto")
    strip.set_axis_off()


def _scale_color(at: float) -> Any:
    """The scale without its last yellow, which is lost on white."""
    import matplotlib

    return matplotlib.colormaps[theme.COLORMAP](0.86 * at)
