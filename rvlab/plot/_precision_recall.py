"""Precision and recall of objects over all thresholds of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from rvlab import metrics
from rvlab.frame.input_tables import RunsLike, full_metric_name, load_long_table, require_known
from rvlab.frame.objects import OBJECT_COLUMNS, objects_table, scored_object_arrays
from rvlab.frame.params import differing_columns, value_key
from rvlab.object_metrics import RECALLS, threshold_index
from rvlab.plot._style import theme
from rvlab.plot._style.figure import draw_empty, new_figure, plot_function, text_width_chars
from rvlab.plot._style.theme import ON_LIGHT, choose_theme_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _LEFT, _HEAD, _FOOT = 3.6, 0.6, 0.4, 0.75  # inches


@overload
def precision_recall(
    runs: RunsLike,
    *,
    iou: float = 0.5,
    classes: str | Sequence[str] | None = None,
    hue: str | None = None,
    label: str | None = None,
) -> Figure: ...
@overload
def precision_recall(
    runs: RunsLike,
    *,
    iou: float = 0.5,
    classes: str | Sequence[str] | None = None,
    hue: str | None = None,
    label: str | None = None,
    ax: Axes,
) -> Axes: ...
@plot_function
def precision_recall(
    runs: RunsLike,
    *,
    iou: float = 0.5,
    classes: str | Sequence[str] | None = None,
    hue: str | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw the precision of objects by their recall: a line per run.

    A line is the highest precision at each recall or a larger one, as COCO interpolates it, so its
    mean height is the average precision (AP). The legend shows it if each color is of one run. A
    run without scores has no order of its objects: a dot shows the precision and recall of all of
    them, and the legend their F1.

    >>> plot.precision_recall(lab.runs("trees"), iou=0.75)

    Args:
        runs: Runs, whose objects are read; or the table that ``lab.objects()`` returns, or some of
            its rows.
        iou: The smallest IoU of a match: 0.5, 0.55, … or 0.95.
        classes: One or more classes; None draws the mean over all classes with true objects.
        hue: The column that colors the lines, as in `curves`.
        label: The column that names the runs, which then have a color each; None uses the
            parameters in which they differ.
        ax: The axes to draw on; None creates a figure.

    Returns:
        A figure, which a notebook shows once as the last value of a cell; or `ax`.

    Raises:
        TableError: If a column or a class is missing.
        NotFound: If no run has objects.
        SpecError: If `iou` is invalid or `runs` is empty.
    """
    at = threshold_index(iou)
    needed = [name for name in (hue, label) if name]
    read = partial(objects_table, iou=iou)
    table = load_long_table(runs, read, OBJECT_COLUMNS, "table of objects", needed)
    hue = full_metric_name(table, hue) if hue else None
    if table.empty:
        return draw_empty("No objects: the table is empty.", ax)
    names = [classes] if isinstance(classes, str) else list(classes or [])
    for name in names:
        require_known(name, table["class"].unique().tolist(), "No run has objects of the class")
    if names:
        table = table[table["class"].isin(names)]
    firsts = table.drop_duplicates("run").astype({"run": str})
    if hue is None:
        apart = [] if label else differing_columns(firsts)
        hue = apart[0] if len(apart) == 1 else "run"
    hues = theme.choose_hues(firsts, hue, choose_theme_colors(ax) if ax else ON_LIGHT, label=label)
    figure = None
    if ax is None:
        words = [hues.name, *(f"{name}: AP 0.00" for name, _ in theme.legend_entries(hues))]
        letters = max(map(text_width_chars, words))
        width, height = _LEFT + _SIDE + 0.8 + 0.084 * letters, _HEAD + _SIDE + _FOOT
        figure = new_figure(width, height)
        rect = (_LEFT / width, _FOOT / height, _SIDE / width, _SIDE / height)
        ax = figure.add_axes(rect, label="precision recall")
    averages = _draw_lines(ax, table, hue, hues, at)
    values = [value_key(value) for value in firsts[hue]]
    if hues.bar is None and len({*values}) == len(values):
        of_value = dict(zip(values, (averages[run] for run in firsts["run"]), strict=True))
        named = zip(theme.legend_entries(hues), hues.styles, strict=True)
        hues = replace(hues, labels=[f"{name}: {of_value[key]}" for (name, _), key in named])
    _label_axes(ax, iou, names)
    theme.draw_axes_legend(ax, hues)
    return figure or ax


def _draw_lines(
    ax: Axes, table: pd.DataFrame, hue: str, hues: theme.HueMapping, at: int
) -> dict[str, str]:
    """Draw the runs, and return the average precision of each, or its F1 without scores."""
    averages = {}
    for run, rows in table.groupby("run", sort=False):
        look: dict[str, Any] = hues.style(rows[hue].iloc[0])
        found = scored_object_arrays(rows)
        if found.has_ranking:
            precision = found.mean_precisions(at)
            averages[str(run)] = f"AP {precision.mean():.2f}"
            ax.plot(RECALLS, precision, label=str(run), linewidth=1.7, **look)
            continue
        counts = found.counts(found.matches(at))
        point = float(metrics.macro_recall(counts)), float(metrics.macro_precision(counts))
        averages[str(run)] = f"F1 {float(metrics.macro_f1(counts)):.2f}"
        dot = {
            "color": look["color"],
            "markeredgecolor": choose_theme_colors(ax).paper,
            "markersize": 8,
        }
        ax.plot(*([value] for value in point), label=str(run), marker="o", linestyle="", **dot)
    return averages


def _label_axes(ax: Axes, iou: float, classes: Sequence[str]) -> None:
    theme.style_axes(ax)
    theme_colors = choose_theme_colors(ax)
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    look: dict[str, Any] = {"fontsize": theme.SMALL_PT, "color": theme_colors.text}
    ax.set_xlabel("recall of objects", **look)
    ax.set_ylabel("precision of objects", **look)
    what = ", ".join(classes) or "all classes"
    title: dict[str, Any] = {
        "fontsize": theme.TEXT_PT,
        "fontweight": "bold",
        "color": theme_colors.text,
    }
    ax.set_title(f"{what}, IoU ≥ {iou:g}", loc="left", **title)
