"""Scatter plot of a metric against a parameter: one dot per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.errors import SpecError
from rvlab.plot._style import theme
from rvlab.plot._style.ink import choose_ink
from rvlab.plot._style.plain_text import make_texts_literal
from rvlab.plot._style.text_wrap import width_in_letters
from rvlab.plot.marginal_means import trends_by_hue
from rvlab.plot.titles import column_labels, is_numeric_column, require_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_TREND_RUNS = 6
"""Minimum number of runs for a trend if `trend` is None."""

MAX_STACKED_DOTS = 1000
"""Maximum number of runs for dots in a line above a category; more are scattered around it."""

# Up to a number of runs: size, opacity and width of the edge.
_DOTS = ((100, 54.0, 0.95, 0.8), (1000, 26.0, 0.95, 0.8), (3000, 12.0, 0.6, 0.0))
_MANY_DOTS = (7.0, 0.3, 0.0)


def scatter(
    runs: pd.DataFrame,
    x: str = "params.lr",
    y: str = "metrics.f1",
    *,
    hue: str | None = None,
    log_x: bool | None = None,
    trend: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a dot per run, and the mean of `y` along `x`.

    The trend is a marginal mean: the mean of all runs at a value of `x`, over all their other
    parameters, ± one standard deviation. Each category, and each of up to 12 values, has its own
    mean if there are at least twice as many runs as values. Other numbers are grouped in 3 to 8
    bins with equal numbers of runs, at least 5 per bin. A note below the axes gives the kind of
    mean and the number of runs. In a full grid of parameters the trend is the effect of `x`. If
    other parameters change together with `x`, the trend includes their effect.

    Args:
        runs: One row per run, as ``lab.runs()`` returns it.
        x: The column on the x axis: numbers, durations, times or categories.
        y: The column on the y axis: numbers.
        hue: The column that colors the dots; numbers get a scale from dark to light, other
            values distinct colors.
        log_x: Whether `x` has a log axis; None uses one if positive numbers span two decades.
        trend: Whether to draw the trend; None draws it for 6 or more runs. No trend is drawn if
            there are too few runs for the means above. With a `hue` of up to 6 values, each value
            has its own trend if at least two of them have enough runs; dots in a category are then
            grouped by it.
        ax: The axes; None creates a figure with pyplot, which a notebook shows by itself.

    Returns:
        The axes. Runs without `x` or `y` are counted in a note below it.

    Raises:
        TableError: If a column is missing.
        SpecError: If `trend` is not True, False or None.
    """
    if trend is not None and not isinstance(trend, bool):
        raise SpecError(f"trend must be True, False or None, got {trend!r}.")
    table = require_columns(runs, [x, y, *([hue] if hue else [])], "table of runs")
    figure = None
    if ax is None:
        figure, ax = _new_axes()
    known = table[table[x].notna() & table[y].notna()]
    missing = _missing_note(table, x, y)
    if known.empty:
        theme.show_empty_reason(ax, missing or "No runs yet: the table is empty.")
        return ax
    x_values, categories = _x_positions(known[x])
    ink = choose_ink(ax)
    hues = theme.choose_hues(table[hue], ink) if hue else None
    y_values, hue_values = known[y].astype(float), known[hue] if hue else None
    draws_trend = len(known) >= MIN_TREND_RUNS if trend is None else trend
    found = (
        trends_by_hue(
            x_values, y_values, hue_values, hues, is_categorical=categories is not None, ink=ink
        )
        if draws_trend
        else None
    )
    placed = found.dot_positions(x_values, hue_values) if found else x_values
    if categories and len(known) > MAX_STACKED_DOTS:
        wide = found.slot_width() if found else 1.0
        placed = placed + np.random.default_rng(0).uniform(-0.35, 0.35, len(known)) * wide
    _draw_dots(ax, placed, y_values, hue_values, hues)
    _label_axes(ax, x_values, y, categories)
    if figure is not None and categories and _labels_overlap(categories):
        # A taller figure, so that long slanted labels do not shrink the plot area.
        figure.set_figheight(4.0 + 0.036 * max(map(width_in_letters, categories)))
    if (
        log_x
        if log_x is not None
        else is_numeric_column(known[x]) and theme.spans_decades(x_values.tolist())
    ):
        ax.set_xscale("log")
    legend = [_draw_legend(ax, hues)] if hues else []
    if found:
        found.draw(ax)
    caption = found.caption() if found else "No trend: too few runs per value of x."
    note = _write_note(
        ax, [line for line in (caption if found or trend else None, missing) if line]
    )
    # Only text of this plot: the axes may have a title with mathematics.
    make_texts_literal(
        ax.xaxis.label, ax.yaxis.label, *legend, *note, *([ax.xaxis] if categories else [])
    )
    return ax


def _write_note(ax: Axes, lines: list[str]) -> list[Artist]:
    """Write a note below the label of the x axis."""
    if not lines:
        return []
    below: Any = ("axes fraction", ax.xaxis.label)
    return [
        ax.annotate(
            "\n".join(lines),
            (0, 0),
            (0, -5),
            xycoords=below,
            textcoords="offset points",
            fontsize=8.5,
            color=choose_ink(ax).note,
            va="top",
        )
    ]


def _new_axes() -> tuple[Figure, Axes]:
    import matplotlib.pyplot as plt

    made, ax = plt.subplots(figsize=(6.4, 4.0), dpi=100, layout="constrained")
    made.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[call-arg, union-attr]
    return made, ax


def _x_positions(values: pd.Series[Any]) -> tuple[pd.Series[Any], list[str] | None]:
    """Return the x positions, named after the axis label, and the categories, if any."""
    import pandas as pd
    from pandas.api.types import is_datetime64_any_dtype, is_timedelta64_dtype

    if is_timedelta64_dtype(values.dtype):
        seconds = values.dt.total_seconds()
        units = (("h", 3600.0), ("min", 60.0), ("s", 1.0))
        unit, size = next((u for u in units if seconds.max() >= 2 * u[1]), units[-1])
        return (seconds / size).rename(f"{values.name} [{unit}]"), None
    if is_datetime64_any_dtype(values.dtype):
        utc = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz else values
        return utc.rename(f"{values.name} (UTC)" if values.dt.tz else str(values.name)), None
    if is_numeric_column(values):
        return values.astype(float), None
    words = pd.Series(column_labels(values), values.index)
    categories = sorted(words.unique())
    places = {word: float(i) for i, word in enumerate(categories)}
    return words.map(places).rename(str(values.name)), categories


def _draw_dots(
    ax: Axes,
    x_values: pd.Series[Any],
    y_values: pd.Series[Any],
    hue_values: pd.Series[Any] | None,
    hues: theme.Hue | None,
) -> None:
    from matplotlib.colors import to_rgba_array

    ink = choose_ink(ax)
    if hue_values is None or hues is None:
        colors = to_rgba_array([ink.colors[0]])
    else:
        colors = to_rgba_array([hues.style(value)["color"] for value in hue_values])
    x, y = x_values.to_numpy(), y_values.to_numpy()
    size, alpha, edge = next((look for most, *look in _DOTS if len(y_values) <= most), _MANY_DOTS)
    if not edge and len(colors) > 1:
        # In random order, so that the last color does not cover the others.
        order = np.random.default_rng(0).permutation(len(y_values))
        x, y, colors = x[order], y[order], colors[order]
    ax.scatter(
        x,
        y,
        s=size,
        c=colors,
        edgecolors=ink.paper if edge else "none",
        linewidths=edge,
        alpha=alpha,
        zorder=3,
        rasterized=not edge,
    )


def _label_axes(ax: Axes, x_values: pd.Series[Any], y: str, categories: list[str] | None) -> None:
    theme.style_axes(ax)
    ink = choose_ink(ax)
    ax.set_xlabel(str(x_values.name), fontsize=theme.TEXT_PT, color=ink.text)
    ax.set_ylabel(y, fontsize=theme.TEXT_PT, color=ink.text)
    ax.margins(x=0.06, y=0.08)
    if categories is None:
        return
    ax.set_xlim(-0.5, len(categories) - 0.5)
    crowded = _labels_overlap(categories)
    ax.set_xticks(
        range(len(categories)),
        categories,
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
    )


def _labels_overlap(categories: Sequence[str]) -> bool:
    """Estimate whether horizontal labels would overlap."""
    return sum(map(width_in_letters, categories)) > 50


def _draw_legend(ax: Axes, hues: theme.Hue) -> Artist:
    figure = ax.get_figure()
    if hues.bar is not None and figure is not None:
        bar = figure.colorbar(hues.bar, ax=ax, pad=0.02, aspect=28)
        bar.set_label(hues.name, fontsize=theme.SMALL_PT, fontweight="bold")
        ink = choose_ink(ax)
        bar.ax.yaxis.label.set_color(ink.text)
        look: dict[str, Any] = {"color": ink.line, "labelcolor": ink.tick}
        bar.ax.tick_params(which="both", labelsize=theme.SMALL_PT, **look)
        bar.ax.tick_params(length=3)
        bar.outline.set_visible(False)
        return bar.ax
    return theme.draw_legend(ax, hues, (1.0, 1.02), dots=True)


def _missing_note(table: pd.DataFrame, x: str, y: str) -> str | None:
    """Return a note on the number of runs that lack `x` or `y`, if any."""
    lacking = {name: int(table[name].isna().sum()) for name in (x, y)}
    lacking[y] = int((table[y].isna() & table[x].notna()).sum())
    parts = [
        f"{many} {'run' if many == 1 else 'runs'} without {name} {'is' if many == 1 else 'are'}"
        for name, many in lacking.items()
        if many
    ]
    return f"{' and '.join(parts)} not shown." if parts else None
