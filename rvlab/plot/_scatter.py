"""Scatter plot of a metric against a parameter: one dot per run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rvlab.errors import SpecError, TableError
from rvlab.frame.input_tables import RunsLike, full_metric_name, load_rows, require_columns
from rvlab.frame.params import differing_columns, is_numeric_column, value_labels_of_column
from rvlab.plot._style import theme
from rvlab.plot._style.figure import (
    new_figure,
    plot_function,
    text_width_chars,
    write_text_in_empty_axes,
)
from rvlab.plot._style.theme import choose_theme_colors
from rvlab.plot.marginal_means import trends_by_hue

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_TREND_RUNS = 6
"""Minimum number of runs for a trend if `trend` is None."""

MAX_STACKED_DOTS = 1000
"""Maximum number of runs for dots in a line above a category; more are scattered around it."""

# Up to a number of runs: size, opacity and width of the edge.
_DOTS = ((100, 54.0, 0.95, 0.8), (1000, 26.0, 0.95, 0.8), (3000, 12.0, 0.6, 0.0))
_MANY_DOTS = (7.0, 0.3, 0.0)


@overload
def scatter(
    runs: RunsLike,
    x: str | None = None,
    y: str = "metrics.f1",
    *,
    hue: str | None = None,
    label: str | None = None,
    log_x: bool | None = None,
    trend: bool | None = None,
) -> Figure: ...
@overload
def scatter(
    runs: RunsLike,
    x: str | None = None,
    y: str = "metrics.f1",
    *,
    hue: str | None = None,
    label: str | None = None,
    log_x: bool | None = None,
    trend: bool | None = None,
    ax: Axes,
) -> Axes: ...
@plot_function
def scatter(
    runs: RunsLike,
    x: str | None = None,
    y: str = "metrics.f1",
    *,
    hue: str | None = None,
    label: str | None = None,
    log_x: bool | None = None,
    trend: bool | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw a dot per run, and the mean of `y` along `x`.

    The trend is a marginal mean: the mean of all runs at a value of `x`, over all their other
    parameters, ± one standard deviation. Each category, and each of up to 12 values, has its own
    mean if there are at least twice as many runs as values. Other numbers are grouped in 3 to 8
    bins with equal numbers of runs, at least 5 per bin. A note below the axes gives the kind of
    mean and the number of runs. In a full grid of parameters the trend is the effect of `x`. If
    other parameters change together with `x`, the trend includes their effect.

    Args:
        runs: The table of runs, as ``lab.runs()`` returns it, or runs.
        x: The column on the x axis: numbers, durations, times or categories. None takes the first
            parameter in which the runs differ; if they differ in two, the other one is the `hue`.
        y: The column on the y axis: numbers or durations; ``f1`` is short for ``metrics.f1``.
        hue: The column that colors the dots, also in short; numbers get a scale from dark to light,
            other values distinct colors.
        label: The column whose value is written beside each dot; None writes nothing.
        log_x: Whether `x` has a log axis; None uses one if positive numbers span two decades.
        trend: Whether to draw the trend; None draws it for 6 or more runs. No trend is drawn if
            there are too few runs for the means above. With a `hue` of up to 6 values, each value
            has its own trend if at least two of them have enough runs; dots in a category are then
            grouped by it.
        ax: The axes; None creates a figure.

    Returns:
        A figure, which a notebook shows once as the last value of a cell; or `ax`. Runs without
        `x` or `y` are counted in a note below the axes.

    Raises:
        TableError: If a column is missing, `y` is not numeric, or the runs have the same parameters
            and there is no `x`.
        SpecError: If `trend` is not True, False or None, or `runs` is empty.
    """
    if trend is not None and not isinstance(trend, bool):
        raise SpecError(f"trend must be True, False or None, got {trend!r}.")
    rows = load_rows(runs)
    y = full_metric_name(rows, y)
    hue = full_metric_name(rows, hue) if hue else None
    x, hue = (full_metric_name(rows, x), hue) if x else _default_columns(rows, hue)
    table = require_columns(rows, [x, y, *filter(None, (hue, label))], "table of runs")
    columns = (x, y, hue, label)
    if ax is not None:
        _draw(ax, table, columns, log_x=log_x, trend=trend)
        return ax
    figure = new_figure(6.4, 4.0)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    categories = _draw(figure.add_subplot(), table, columns, log_x=log_x, trend=trend)
    if categories and _labels_overlap(categories):
        # A taller figure, so that long slanted labels do not shrink the plot area.
        figure.set_figheight(4.0 + 0.036 * max(map(text_width_chars, categories)))
    return figure


def _default_columns(rows: pd.DataFrame, hue: str | None) -> tuple[str, str | None]:
    """Return `x` and `hue`: the first parameter in which the runs differ, and the other of two."""
    apart = differing_columns(rows)
    if not apart:
        raise TableError("The runs have the same parameters: name the column of the x axis, x=.")
    return apart[0], hue or (apart[1] if len(apart) == 2 else None)


def _draw(
    ax: Axes,
    table: pd.DataFrame,
    columns: tuple[str, str, str | None, str | None],
    *,
    log_x: bool | None,
    trend: bool | None,
) -> list[str] | None:
    """Draw the columns x, y, hue and label, and return the categories of x, if any."""
    x, y, hue, label = columns
    known = table[table[x].notna() & table[y].notna()]
    missing = _missing_note(table, x, y)
    if known.empty:
        write_text_in_empty_axes(ax, missing or "")
        return None
    x_values, categories = _x_positions(known[x])
    theme_colors = choose_theme_colors(ax)
    hues = theme.choose_hues(table, hue, theme_colors) if hue else None
    y_values, hue_values = _y_positions(known[y]), known[hue] if hue else None
    draws_trend = len(known) >= MIN_TREND_RUNS if trend is None else trend
    found = (
        trends_by_hue(
            x_values,
            y_values,
            hue_values,
            hues,
            is_categorical=categories is not None,
            theme_colors=theme_colors,
        )
        if draws_trend
        else None
    )
    placed = found.dot_positions(x_values, hue_values) if found else x_values
    if categories and len(known) > MAX_STACKED_DOTS:
        wide = found.slot_width() if found else 1.0
        placed = placed + np.random.default_rng(0).uniform(-0.35, 0.35, len(known)) * wide
    _draw_dots(ax, placed, y_values, hue_values, hues)
    _label_axes(ax, x_values, str(y_values.name), categories)
    if label:
        _name_dots(ax, placed, y_values, value_labels_of_column(known[label]))
    if (
        log_x
        if log_x is not None
        else is_numeric_column(known[x]) and theme.spans_decades(x_values.tolist())
    ):
        ax.set_xscale("log")
    if hues:
        theme.draw_axes_legend(ax, hues, dots=True)
    if found:
        found.draw(ax)
    caption = found.caption() if found else "No trend: too few runs per value of x."
    if lines := [line for line in (caption if found or trend else None, missing) if line]:
        theme.write_note(ax, *lines)
    return categories


def _name_dots(
    ax: Axes, x_values: pd.Series[Any], y_values: pd.Series[Any], names: Sequence[str]
) -> None:
    look: dict[str, Any] = {"fontsize": 8.5, "color": choose_theme_colors(ax).note, "gid": "name"}
    for x, y, name in zip(x_values, y_values, names, strict=True):
        ax.annotate(name, (x, y), (6, 3), textcoords="offset points", zorder=5, **look)


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
    words = pd.Series(value_labels_of_column(values), values.index)
    categories = sorted(words.unique())
    places = {word: float(i) for i, word in enumerate(categories)}
    return words.map(places).rename(str(values.name)), categories


def _y_positions(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return the y positions, named after the axis label."""
    from pandas.api.types import is_timedelta64_dtype

    if not is_numeric_column(values) and not is_timedelta64_dtype(values.dtype):
        raise TableError(
            f"{values.name!r} is not numeric. Name a numeric column such as 'metrics.f1' as y."
        )
    return _x_positions(values)[0]


def _draw_dots(
    ax: Axes,
    x_values: pd.Series[Any],
    y_values: pd.Series[Any],
    hue_values: pd.Series[Any] | None,
    hues: theme.HueMapping | None,
) -> None:
    from matplotlib.colors import to_rgba_array

    theme_colors = choose_theme_colors(ax)
    if hue_values is None or hues is None:
        colors = to_rgba_array([theme_colors.categorical[0]])
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
        edgecolors=theme_colors.paper if edge else "none",
        linewidths=edge,
        alpha=alpha,
        zorder=3,
        rasterized=not edge,
    )


def _label_axes(ax: Axes, x_values: pd.Series[Any], y: str, categories: list[str] | None) -> None:
    theme.style_axes(ax)
    theme_colors = choose_theme_colors(ax)
    ax.set_xlabel(str(x_values.name), fontsize=theme.TEXT_PT, color=theme_colors.text)
    ax.set_ylabel(y, fontsize=theme.TEXT_PT, color=theme_colors.text)
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
    return sum(map(text_width_chars, categories)) > 50


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
