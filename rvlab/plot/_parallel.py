"""Parallel coordinates: an axis per parameter, a line per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rvlab.frame.input_tables import RunsLike, full_metric_name, load_rows, require_columns
from rvlab.frame.params import differing_columns, is_numeric_column, value_codes
from rvlab.plot._style import theme
from rvlab.plot._style.figure import draw_empty, new_figure, plot_function, text_width_chars
from rvlab.plot._style.theme import choose_theme_colors
from rvlab.plot.parallel_axis import (
    MAX_VALUE_TICKS,
    MISSING_AT,
    POINT_SPACING,
    AxisPositions,
    ParallelAxis,
    build_axis,
    spread_equal_points,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LINES = 500
"""Maximum number of runs that are drawn; of more runs, evenly spaced ones are."""


@overload
def parallel(
    runs: RunsLike, columns: Sequence[str] | None = None, *, hue: str = "metrics.f1"
) -> Figure: ...
@overload
def parallel(
    runs: RunsLike, columns: Sequence[str] | None = None, *, hue: str = "metrics.f1", ax: Axes
) -> Axes: ...
@plot_function
def parallel(
    runs: RunsLike,
    columns: Sequence[str] | None = None,
    *,
    hue: str = "metrics.f1",
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw parallel coordinates: an axis per column, a line per run, colored by a metric.

    >>> plot.parallel(lab.runs("towns"), ["params.lr", "params.width"], hue="metrics.mean_iou")

    Positive numbers that span two decades get a logarithmic axis, marked ``(log)``. Values that
    are not numbers get an axis of categories. Lines of runs with the same value are slightly
    offset, so that each can be followed. A run without a value passes below the axis, at ``none``.
    Of more than 500 runs, 500 are drawn, evenly spaced in the order of `hue`, with the first and
    the last; a note says so. The axes span all runs.

    Args:
        runs: The table of runs, as ``lab.runs()`` returns it, or runs.
        columns: The axes, in this order; None uses the ``params.*`` in which the runs differ.
        hue: The column that colors the lines; ``f1`` is short for ``metrics.f1``. A numeric column
            is also the last axis.
        ax: The axes; None creates a figure that is wide enough for all labels.

    Returns:
        A figure, which a notebook shows once as the last value of a cell; or `ax`.

    Raises:
        TableError: If a column is missing.
        SpecError: If `runs` is empty.
    """
    rows = load_rows(runs)
    requested = [columns] if isinstance(columns, str) else list(columns or [])
    requested = [full_metric_name(rows, name) for name in requested]
    hue = full_metric_name(rows, hue)
    table = require_columns(rows, [*requested, hue], "table of runs")
    names = requested or differing_columns(table)
    is_scale = is_numeric_column(table[hue])
    names = [n for n in names if n != hue] + [hue] if is_scale else names
    if len(names) < 2:
        return draw_empty("All runs have the same parameters: there is nothing to compare.", ax)
    if is_scale:  # draw the highest value last, above the others
        table = table.sort_values(hue, na_position="first", kind="stable")
    # Ticks of the metric are round numbers; ticks of a parameter are its values.
    axes = [
        build_axis(table[name], max_value_ticks=0 if name == hue else MAX_VALUE_TICKS)
        for name in names
    ]
    if ax is not None:
        hues = theme.choose_hues(table, hue, choose_theme_colors(ax))
        gap = ax.get_window_extent().width / ax.figure.get_dpi() / (len(names) - 1)
        _draw_lines(ax, table, axes, hues, names=names, gap=gap, is_scale=is_scale)
        if not is_scale:
            theme.draw_axes_legend(ax, hues)
        return ax
    hues = theme.choose_hues(table, hue)
    return _draw(table, axes, hues, names=names, is_scale=is_scale)


def _draw(
    table: pd.DataFrame,
    axes: Sequence[ParallelAxis],
    hues: theme.HueMapping,
    *,
    names: Sequence[str],
    is_scale: bool,
) -> Figure:
    entries = [] if is_scale else theme.legend_entries(hues)
    tick = max(text_width_chars(word) for _, word in axes[-1].ticks)
    side = (
        0.25 + 0.075 * tick
        if is_scale
        else 0.75 + 0.078 * max(text_width_chars(w) for w in (hues.name, *(e[0] for e in entries)))
    )
    left = 0.4 + 0.07 * max(text_width_chars(word) for _, word in axes[0].ticks)
    longest = max(text_width_chars(name) * 0.09 for name in names)
    left, side = (
        max(left, text_width_chars(names[0]) * 0.045 + 0.1),
        max(side, text_width_chars(names[-1]) * 0.045 - 0.1),
    )
    gap = max(1.3, min(1.9, 8.5 / (len(names) - 1)), longest + 0.1)
    foot = 0.2 + 0.25 * (len(table) > MAX_LINES)  # inches, for the note
    width, height = left + gap * (len(names) - 1) + 0.25 + side, 3.8 + foot
    figure = new_figure(width, height)
    box = (left / width, foot / height, gap * (len(names) - 1) / width, 3.2 / height)
    ax = figure.add_axes(box, label="lines")
    _draw_lines(ax, table, axes, hues, names=names, gap=gap, is_scale=is_scale)
    if not is_scale:
        theme.draw_legend(figure, hues, (1 - (side - 0.1) / width, (foot + 3.2) / height))
    return figure


def _draw_lines(
    ax: Axes,
    table: pd.DataFrame,
    axes: Sequence[ParallelAxis],
    hues: theme.HueMapping,
    *,
    names: Sequence[str],
    gap: float,
    is_scale: bool,
) -> None:
    hue, drawn = hues.name, _choose_lines(table, hues.name)
    if max(text_width_chars(name) * 0.09 for name in names) > gap:  # on narrow axes of the caller
        names = [name.partition(".")[2] or name for name in names]
    ax.set_axis_off()
    ax.set_xlim(0, len(names) - 1)
    low = MISSING_AT if any(np.isnan(axis.at).any() for axis in axes) else 0.0
    ax.set_ylim(low - POINT_SPACING, 1 + POINT_SPACING)
    lines = np.column_stack([spread_equal_points(axis.at[drawn]) for axis in axes])
    colors = (
        _line_colors(axes[-1].at[drawn])
        if is_scale
        else [hues.style(v) for v in table[hue].iloc[drawn]]
    )
    for points, look in zip(lines, colors, strict=True):
        ax.plot(
            np.arange(len(names)),
            points,
            linewidth=1.6 if len(lines) <= 40 else 1.0,
            alpha=0.9 if len(lines) <= 100 else 0.6 if len(lines) < MAX_LINES else 0.35,
            solid_joinstyle="round",
            clip_on=False,
            **look,
        )
    for i, (name, axis) in enumerate(zip(names, axes, strict=True)):
        # Labels of the first axis have the margin; others must end before the previous axis.
        max_chars = int((gap - 0.25) / 0.072) if i else None
        _draw_axis(ax, i, name, axis, is_last=is_scale and i == len(names) - 1, max_chars=max_chars)
    if is_scale:
        _draw_color_scale(ax, gap * (len(names) - 1))
    if len(drawn) < len(table):
        note = f"{len(drawn):,} of {len(table):,} runs, evenly spaced by {hue}; axes span all runs."
        theme.write_note(ax, note)


def _choose_lines(table: pd.DataFrame, hue: str) -> Any:
    """Return the row numbers of the runs to draw, in drawing order."""
    order = np.arange(len(table))
    if len(table) <= MAX_LINES:
        return order
    if not is_numeric_column(table[hue]):  # a numeric one is sorted already
        order = np.argsort(value_codes(table[hue]), kind="stable")
    return np.sort(order[np.linspace(0, len(table) - 1, MAX_LINES).round().astype(int)])


def _line_colors(positions: AxisPositions) -> list[dict[str, Any]]:
    """Return a color per run by its value on the axis; grey where the value is missing."""
    none = {"color": theme.NO_VALUE_COLOR, "zorder": 1}
    colors = _scale_colors(np.nan_to_num(positions)).tolist()
    return [
        none if np.isnan(at) else {"color": tuple(color)}
        for at, color in zip(positions, colors, strict=True)
    ]


def _draw_axis(
    ax: Axes, i: int, name: str, axis: ParallelAxis, *, is_last: bool, max_chars: int | None
) -> None:
    from matplotlib.patheffects import withStroke

    end, theme_colors = 0.0 if is_last else POINT_SPACING, choose_theme_colors(ax)
    ax.vlines(i, -end, 1 + end, color=theme_colors.note, linewidth=1.0, zorder=3, clip_on=False)
    halo = [withStroke(linewidth=3, foreground=theme_colors.paper)]
    ticks = list(axis.ticks)
    if np.isnan(axis.at).any():
        ticks.append((MISSING_AT, "none"))
    for at, word in ticks:
        ax.annotate(
            _abbreviate(word, max_chars),
            (i, at),
            (18 if is_last else -5, 0),
            textcoords="offset points",
            ha="left" if is_last else "right",
            va="center",
            fontsize=theme.SMALL_PT,
            color=theme_colors.tick,
            path_effects=halo,
            annotation_clip=False,
            zorder=5,
            gid=name,
        )
        ax.plot(
            [i], [at], marker="_", color=theme_colors.note, markersize=5, zorder=3, clip_on=False
        )
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
        color=theme_colors.text,
    )


def _abbreviate(word: str, max_chars: int | None) -> str:
    """Shorten a word to its beginning and end, because names often have the same beginning."""
    if max_chars is None or len(word) <= max_chars:
        return word
    head = max_chars // 2
    return f"{word[:head]}…{word[head + 1 - max_chars :]}"


def _draw_color_scale(ax: Axes, inches: float) -> None:
    """Draw the color scale along the last axis."""
    low, high = ax.get_ylim()
    box = (1 + 0.05 / inches, -low / (high - low), 0.12 / inches, 1 / (high - low))
    strip = ax.inset_axes(box, label="hue")
    strip.imshow(_scale_colors(np.linspace(0, 1, 128))[:, None], origin="lower", aspect="auto")
    strip.set_axis_off()


def _scale_colors(positions: AxisPositions) -> Any:
    """Return colors of the scale, without its yellow end, which is not visible on white."""
    import matplotlib

    return np.asarray(matplotlib.colormaps[theme.COLORMAP](0.86 * positions))
