"""Heatmap of one metric: scenes or classes as rows, runs as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rvlab.errors import SpecError, did_you_mean
from rvlab.frame.input_tables import RunsLike, load_long_table
from rvlab.frame.params import run_labels
from rvlab.frame.pivot_evals import PIVOT_INPUT_COLUMNS, EvalsPivot, pivot_evals
from rvlab.frame.tables import evals_table
from rvlab.model import headline_group
from rvlab.plot._style import heat_cells, theme
from rvlab.plot._style.figure import empty_figure, new_figure, plot_function, text_width_chars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE, _TALL, _GAP, _LETTER = 9.0, 9.0, 0.08, 0.073  # inches


@plot_function
def heatmap(
    runs: RunsLike,
    *,
    rows: Literal["scene", "class"] = "scene",
    metric: str = "f1",
    group: str | None = None,
    of: str | None = None,
    label: str | None = None,
) -> Figure:
    """Draw a heatmap of a metric, with a cell per run and scene or per run and class.

    >>> plot.heatmap(lab.runs("towns"), rows="class")

    Rows and columns are sorted by the mean of their cells, highest first. A separate row at the top
    shows the table's value over all scenes (or all classes). That value is computed from all
    pixels and is not the mean of the cells below. A cell without a value is hatched. There is no
    ``ax``, since the two blocks and their labels determine the size: save or show the figure.

    Args:
        runs: Runs, whose evaluations are read; or the long table ``run group scene class metric
            value``, as ``lab.evals()`` returns it.
        rows: What the rows are: ``scene`` or ``class``.
        metric: The metric; over all classes, ``iou`` means ``mean_iou``.
        group: The scene group. Default: validation, or test without it.
        of: The class whose metric to show per scene, or the scene to show per class; None uses
            the value over all classes or all scenes.
        label: The column that names the runs; None uses the parameters in which they differ.

    Returns:
        A figure, which a notebook shows once as the last value of a cell.

    Raises:
        TableError: If a column, the metric, the group or `of` is missing, or if a cell has two
            values.
        SpecError: If `rows` is invalid, or `runs` is empty.
    """
    if rows not in ("scene", "class"):
        raise SpecError(f"rows cannot be {rows!r}. {did_you_mean(rows, ('scene', 'class'))}")
    others = [label] if label else []
    table = load_long_table(runs, evals_table, PIVOT_INPUT_COLUMNS, "table of evaluations", others)
    if table.empty:
        return empty_figure("No evaluations yet: the table is empty.")
    if group is None:
        group = headline_group(table["group"].dropna().unique())
    found = pivot_evals(table, rows, metric.removeprefix("metrics."), group, of)
    (cells, overall), metric = _sort_cells(found), found.metric
    names = run_labels(table[table["run"].isin(cells.columns)], label)
    without = table["run"].nunique() - cells.shape[1]
    notes = [f"{without} {'run' if without == 1 else 'runs'} without values"] if without else []
    if cells.isna().any(axis=None) or (overall is not None and overall.isna().any()):
        notes.append("grey, hatched: no value")
    title = f"{metric} of {of} in {group}" if of else f"{metric} in {group}"
    over = None if overall is None else (f"all {rows}{'e' * (rows == 'class')}s", overall)
    return _draw(cells, over, [names[str(run)] for run in cells.columns], title, "; ".join(notes))


def _sort_cells(pivot: EvalsPivot) -> tuple[pd.DataFrame, pd.Series[Any] | None]:
    """Return the cells, a column per run, sorted by mean; and the overall values, if any."""
    down, across = (
        pivot.cells.mean(axis=axis).sort_values(ascending=False, kind="stable").index
        for axis in (0, 1)
    )
    overall = pivot.overall.reindex(across)
    return pivot.cells.loc[across, down].T, None if overall.isna().all() else overall


def _draw(
    cells: pd.DataFrame,
    overall: tuple[str, pd.Series[Any]] | None,
    names: Sequence[Sequence[str]],
    title: str,
    note: str,
) -> Figure:
    from matplotlib.colors import Normalize

    down, across = cells.shape
    side = [str(name) for name in cells.index]
    longest = max(text_width_chars(line) for lines in names for line in lines)
    wide = max(0.5, longest * _LETTER * 1.1 + 0.1)
    flat = wide <= 1.3 and across * wide <= _WIDE  # whether run names are horizontal
    wide = wide if flat else min(0.5, max(_WIDE / across, 0.04))
    tall = min(0.3, max(_TALL / down, 0.03))
    turned = [", ".join(lines) for lines in names]
    head = (
        0.16 * max(map(len, names)) + 0.1
        if flat
        else max(map(text_width_chars, turned)) * _LETTER + 0.2
    )
    left = 0.2 + _LETTER * max(map(text_width_chars, [*side, overall[0] if overall else ""]))
    top, foot, bar = 0.38 + head, 0.35 if note else 0.12, 0.12
    above = tall + _GAP if overall else 0.0
    numbers = wide >= 0.36 and tall >= 0.17
    width = max(
        left + across * wide + (bar if numbers else 0.95),
        left + 0.1 + text_width_chars(title) * 0.09,
    )
    height = top + above + down * tall + foot
    values = cells.to_numpy()
    known = values if overall is None else np.vstack([overall[1].to_numpy(), values])
    norm = Normalize(*_color_limits(known))
    figure = new_figure(width, height)
    figure.text(left / width, 1 - 0.25 / height, title, fontsize=theme.TEXT_PT, fontweight="bold")
    heads = names if flat else turned

    def sheet(name: str, block: Any, labels: Sequence[str], under: float) -> Axes:
        box = (left, height - top - under - len(block) * tall, across * wide, len(block) * tall)
        rect = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        ax = figure.add_axes(rect, label=name)
        texts = (
            [[heat_cells.format_cell_value(v) for v in row] for row in block] if numbers else None
        )
        mesh = heat_cells.draw_heat_cells(
            ax, block, norm=norm, cmap=heat_cells.sequential_colormap(), texts=texts
        )
        ax.set_xticks([])
        ax.set_yticks(
            np.arange(len(block)) + 0.5,
            heat_cells.drop_overlapping_labels(labels, tall),
            fontsize=theme.SMALL_PT,
        )
        if name == "cells" and not numbers:
            reach = min(box[3], 2.5)
            at = (left + across * wide + 0.15, height - top - under - reach, 0.14, reach)
            heat_cells.draw_color_bar(figure, mesh, at)
        return ax

    first = sheet("all", overall[1].to_numpy()[None], [overall[0]], 0.0) if overall else None
    body = sheet("cells", values, side, above)
    if first is not None:
        first.get_yticklabels()[0].set_fontweight("bold")
    _draw_headings(first or body, heads, wide)
    if note:
        figure.text(left / width, 0.12 / height, note, fontsize=8.5, color=theme.GREY)
    return figure


def _color_limits(values: Any) -> tuple[float, float]:
    found = values[np.isfinite(values)]
    if not found.size:
        return 0.0, 1.0
    low, high = float(found.min()), float(found.max())
    return (low, high) if high > low else (min(low, 0.0), max(high, 1.0))


def _draw_headings(ax: Axes, headings: Sequence[Any], wide: float) -> None:
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", length=0, pad=3)
    at = np.arange(len(headings)) + 0.5
    if headings and isinstance(headings[0], str):
        ax.set_xticks(
            at,
            heat_cells.drop_overlapping_labels(headings, wide),
            fontsize=theme.SMALL_PT,
            rotation=90,
        )
    else:
        ax.set_xticks(at, ["\n".join(lines) for lines in headings], fontsize=theme.SMALL_PT)
