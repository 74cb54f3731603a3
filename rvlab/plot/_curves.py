"""Training curves: one panel per series, one line per run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from rvlab.errors import SpecError, TableError, did_you_mean
from rvlab.frame.best_epoch import best_index
from rvlab.frame.input_tables import RunsLike, full_metric_name, load_long_table
from rvlab.frame.params import differing_columns
from rvlab.frame.tables import history_table
from rvlab.plot._style import theme
from rvlab.plot._style.figure import draw_empty, new_figure, plot_function, text_width_chars
from rvlab.plot._style.theme import ON_LIGHT, choose_theme_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEFAULT_SERIES = ("train_loss", "val_loss", "avg_f1")

_ACROSS, _PANEL_W, _PANEL_H, _HEAD, _FOOT = 3, 2.9, 2.5, 0.38, 0.55
_LEGEND_ROWS = 15


@overload
def curves(
    runs: RunsLike,
    y: str | Sequence[str] | None = None,
    *,
    hue: str | None = None,
    label: str | None = None,
    smooth: float | None = None,
    best: str | Mapping[str, str] | None = None,
) -> Figure: ...
@overload
def curves(
    runs: RunsLike,
    y: str | Sequence[str] | None = None,
    *,
    hue: str | None = None,
    label: str | None = None,
    smooth: float | None = None,
    best: str | Mapping[str, str] | None = None,
    ax: Axes,
) -> Axes: ...
@plot_function
def curves(
    runs: RunsLike,
    y: str | Sequence[str] | None = None,
    *,
    hue: str | None = None,
    label: str | None = None,
    smooth: float | None = None,
    best: str | Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw training curves over the epochs: a panel per series, a line per run.

    >>> plot.curves(lab.runs("towns"), "val_loss")

    Args:
        runs: Runs, whose history is read; or the history itself, with the columns ``run``,
            ``epoch`` and the series, as ``lab.history()`` returns it.
        y: The series to draw, such as ``building_f1``; None draws those of ``train_loss``,
            ``val_loss`` and ``avg_f1`` that the history has.
        hue: The column that colors the lines, of the history or the table of runs, with one value
            per run. Numbers get a scale from dark to light, other values distinct colors. None
            takes the parameter in which the runs differ, if it is one; else each run has its own
            color.
        label: The column that names the runs, which then have a color each; None uses the
            parameters in which they differ.
        smooth: The span, in epochs, of an exponentially weighted mean of the values up to each
            epoch, as pandas' ``ewm(span=…)``; at least 1. The raw values are drawn faintly behind
            the mean. None draws only the raw values.
        best: Mark each run's best epoch with a dot on the raw value: ``"min"`` or ``"max"`` for
            all series, or one of them by series, such as ``{"val_loss": "min"}``.
        ax: The axes to draw a single series on; None creates a figure.

    Returns:
        A figure, which a notebook shows once as the last value of a cell; or `ax`.

    Raises:
        TableError: If a column is missing.
        SpecError: If `smooth` or `best` is invalid, `runs` is empty, or `ax` is given for several
            series.
    """
    if smooth is not None and not smooth >= 1:
        raise SpecError(f"smooth must be a span of at least 1 epoch, got {smooth!r}.")
    wanted = best if isinstance(best, Mapping) else {} if best is None else {"": best}
    for word in wanted.values():
        if word not in ("min", "max"):
            raise SpecError(f"best cannot be {word!r}. {did_you_mean(str(word), ('min', 'max'))}")
    series = [y] if isinstance(y, str) else list(y or [])
    needed = [*series, *(name for name in (hue, label) if name)]
    table = load_long_table(runs, history_table, ["run", "epoch"], "history", needed)
    hue = full_metric_name(table, hue) if hue else None
    series = series or [name for name in DEFAULT_SERIES if name in table.columns]
    if table.empty:
        return draw_empty("No epochs yet: the history is empty.", ax)
    if not series:
        known = [str(c) for c in table.columns]
        raise TableError(f"Name the series to draw as y. {did_you_mean('val_loss', known)}")
    for name in set(wanted) - {"", *series}:
        raise TableError(f"best names {name!r}, which is not drawn. {did_you_mean(name, series)}")
    if ax is not None and len(series) != 1:
        raise SpecError(
            f"ax takes one series, got {', '.join(series)}: name it, such as 'val_loss'."
        )
    firsts = table.drop_duplicates("run")
    if hue is None:
        apart = [] if label else differing_columns(firsts)
        hue = apart[0] if len(apart) == 1 else "run"
    hues = theme.choose_hues(firsts, hue, choose_theme_colors(ax) if ax else ON_LIGHT, label=label)
    each = {run: rows.sort_values("epoch") for run, rows in table.groupby("run", sort=False)}
    options = _LineOptions(hue, smooth, wanted)
    if ax is None:
        return _draw(each, series, hues, options)
    _draw_panel(ax, each, series[0], hues, options)
    theme.draw_axes_legend(ax, hues)
    return ax


@dataclass(frozen=True)
class _LineOptions:
    by: str  # the column that colors the lines
    smooth: float | None
    best: Mapping[str, str]  # by series; the key "" applies to all


def _draw(
    runs: dict[Any, pd.DataFrame],
    series: Sequence[str],
    hues: theme.HueMapping,
    extras: _LineOptions,
) -> Figure:
    entries = [] if hues.bar is not None else theme.legend_entries(hues)
    longest = max((text_width_chars(label) for label, _ in entries), default=0)
    columns = math.ceil(len(entries) / _LEGEND_ROWS) if entries else 1
    side = 0.2 + columns * (0.48 + 0.084 * max(longest, text_width_chars(hues.name)))
    down, across = math.ceil(len(series) / _ACROSS), min(len(series), _ACROSS)
    panel = max(_PANEL_W, 5.2 / across)
    lines = min(len(entries), _LEGEND_ROWS) + 1
    height = max(down * (_PANEL_H + _HEAD + _FOOT), 0.45 + 0.205 * lines)
    width = across * (panel + 0.6) + side
    figure = new_figure(width, height)
    for i, name in enumerate(series):
        row, col = divmod(i, across)
        left = col * (panel + 0.6) + 0.55
        bottom = height - row * (_PANEL_H + _HEAD + _FOOT) - _HEAD - _PANEL_H
        ax = figure.add_axes(
            (left / width, bottom / height, panel / width, _PANEL_H / height), label=name
        )
        _draw_panel(ax, runs, name, hues, extras)
    _draw_legend(figure, hues, columns, across * (panel + 0.6) + 0.25)
    return figure


def _draw_panel(
    ax: Axes,
    runs: dict[Any, pd.DataFrame],
    name: str,
    hues: theme.HueMapping,
    extras: _LineOptions,
) -> None:
    from matplotlib.ticker import MaxNLocator

    theme.style_axes(ax)
    theme_colors = choose_theme_colors(ax)
    ax.set_title(
        name, loc="left", fontsize=theme.TEXT_PT, fontweight="bold", color=theme_colors.text
    )
    ax.set_xlabel("epoch", fontsize=theme.SMALL_PT, color=theme_colors.text)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
    without = 0
    for run, rows in runs.items():
        known = rows[rows[name].notna()]
        if known.empty:
            without += 1
            continue
        epochs, values, look = (
            known["epoch"],
            known[name].astype(float),
            hues.style(rows[extras.by].iloc[0]),
        )
        ax.plot(
            epochs.to_numpy(),
            (values.ewm(span=extras.smooth).mean() if extras.smooth else values).to_numpy(),
            label=str(run),
            linewidth=1.7 if len(runs) <= 12 else 1.2,
            marker="o" if len(known) == 1 else None,
            markersize=4,
            solid_capstyle="round",
            **look,
        )
        if extras.smooth:
            ax.plot(epochs, values, linewidth=0.8, alpha=0.3, zorder=1.5, gid="raw", **look)
        which = extras.best.get(name, extras.best.get(""))
        at = best_index(values, minimize=which == "min") if which else None
        if at is not None:
            style = {
                "color": look["color"],
                "markeredgecolor": theme_colors.paper,
                "markersize": 6.5,
            }
            ax.plot(epochs.iloc[[at]], values.iloc[[at]], marker="o", gid="best", zorder=4, **style)
    if without:
        many = "1 run" if without == 1 else f"{without} runs"
        ax.set_title(f"{many} without values", loc="right", fontsize=8.5, color=theme_colors.note)


def _draw_legend(
    figure: Figure,
    hues: theme.HueMapping,
    columns: int,
    left: float,
) -> None:
    """Draw one legend or color bar for all panels, at the right."""
    width, height = figure.get_size_inches()
    if hues.bar is not None:
        top = (height - _HEAD) / height
        rect = (left / width, top - _PANEL_H / height, 0.14 / width, _PANEL_H / height)
        bar = figure.colorbar(hues.bar, cax=figure.add_axes(rect, label="hue"))
        bar.ax.set_title(hues.name, loc="left", fontsize=theme.SMALL_PT, fontweight="bold")
        bar.ax.tick_params(labelsize=theme.SMALL_PT, length=3)
        bar.outline.set_visible(False)
        return
    corner = ((left - 0.08) / width, (height - _HEAD + 0.12) / height)
    theme.draw_legend(figure, hues, corner, columns=columns)
