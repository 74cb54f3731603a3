"""Confusion matrices: one per run, or the difference of two runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rvlab.errors import SpecError, did_you_mean
from rvlab.frame.input_tables import RunsLike, load_long_table
from rvlab.frame.params import run_labels
from rvlab.frame.tables import confusion_table
from rvlab.metrics import NULL_CLASS
from rvlab.model import headline_group
from rvlab.model.tables import CONFUSION_TABLE
from rvlab.plot._style import heat_cells, theme
from rvlab.plot._style.figure import empty_figure, new_figure, plot_function, text_width_chars
from rvlab.plot.confusion_matrices import (
    CountMatrix,
    build_matrices,
    normalize_counts,
    select_group_rows,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATRIX_INPUT_COLUMNS = ("run", *CONFUSION_TABLE.names)
_WIDE, _GAP, _LETTER = 10.5, 0.25, 0.073  # inches
UNLABELLED_NAME = f"{NULL_CLASS} (unlabelled)"
_SHARE_LABELS = {"truth": "row-normalised (recall)", "prediction": "column-normalised (precision)"}


@plot_function
def confusion(
    runs: RunsLike,
    *,
    normalize: Literal["truth", "prediction"] | None = "truth",
    difference: bool = False,
    group: str | None = None,
    scene: str | None = None,
    label: str | None = None,
) -> Figure:
    """Draw the confusion matrix of each run, with truth as rows and prediction as columns.

    The class ``null`` is the class of pixels without a label. Its row (truth) is grey: no metric
    and no normalising sum includes it. Its column counts labelled pixels that were predicted as
    ``null``, which are false negatives. The class is omitted where it has no pixel. There is no
    ``ax``, since each run has a panel: pass one run, and save or show its figure.

    >>> plot.confusion(board.head(2), difference=True)

    Args:
        runs: Runs, whose matrices are read, in the order of the panels; or the long table ``run
            group scene truth prediction count``, as ``lab.confusion()`` returns it.
        normalize: ``truth`` divides each row by its sum, so that the diagonal is recall.
            ``prediction`` divides each column by its sum, so that the diagonal is precision. None
            shows counts, colored on a logarithmic scale of three decades.
        difference: Draw only the first run minus the second; needs exactly two runs.
        group: The scene group. Default: validation, or test without it.
        scene: One scene; None uses the complete group.
        label: The column that names the runs; None uses the parameters in which they differ.

    Returns:
        A figure, which a notebook shows once as the last value of a cell.

    Raises:
        TableError: If a column, the group or the scene is missing, or if a cell has two counts.
        SpecError: If `runs` is empty, `normalize` is invalid, or if `difference` is True and the
            number of runs is not two.
    """
    if normalize not in ("truth", "prediction", None):
        hint = did_you_mean(str(normalize), ("truth", "prediction"))
        raise SpecError(f"normalize cannot be {normalize!r}. {hint}")
    others = [label] if label else []
    table = load_long_table(
        runs, confusion_table, MATRIX_INPUT_COLUMNS, "table of confusion", others
    )
    if table.empty:
        return empty_figure("No confusion matrices yet: the table is empty.")
    if group is None:
        group = headline_group(table["group"].dropna().unique())
    selected = select_group_rows(table, group, scene)
    order = selected["run"].unique().tolist()
    if difference and len(order) != 2:
        raise SpecError(
            "difference=True needs exactly two runs with a confusion matrix of "
            f"{scene or group!r}, got {len(order)}."
        )
    found, classes = build_matrices(selected, order)
    shown = {run: normalize_counts(m, classes, normalize) for run, m in found.items()}
    names = run_labels(selected, label)
    what = f"{_SHARE_LABELS[normalize] if normalize else 'count'} in {scene or group}"
    if difference:
        first, second = order
        both = [*names[str(first)], f"minus {', '.join(names[str(second)])}"]
        gap = shown[first] - shown[second]
        return _draw([(both, gap)], classes, f"difference in {what}", signed=True)
    panels = [(names[str(run)], shown[run]) for run in order]
    return _draw(panels, classes, what, counts=not normalize)


def _draw(
    panels: Sequence[tuple[Sequence[str], CountMatrix]],
    classes: Sequence[str],
    title: str,
    *,
    signed: bool = False,
    counts: bool = False,
) -> Figure:
    cell = min(0.5, max(0.16, 4.2 / len(classes)))
    size = 9.0 if cell >= 0.36 else 0.0  # 0: cells are too small for numbers
    down = [UNLABELLED_NAME if c == NULL_CLASS else c for c in classes]
    right = 0.15 if size else 0.95 if signed else 0.75  # room for the numbers of the color bar
    square = len(classes) * cell
    titled = max(text_width_chars(line) for lines, _ in panels for line in lines) * _LETTER * 1.08
    step = max(square, titled) + _GAP
    left, under = (
        max(map(text_width_chars, down)) * _LETTER + 0.45,
        max(map(text_width_chars, classes)) * _LETTER + 0.35,
    )
    rows = math.ceil(len(panels) / max(1, int((_WIDE - left + _GAP) / step)))
    across = math.ceil(len(panels) / rows)
    head, foot = 0.16 * max(len(lines) for lines, _ in panels) + 0.22, 0.3
    width = max(left + across * step - _GAP + right, 0.2 + text_width_chars(title) * 0.09)
    height = 0.3 + rows * (head + square) + under + foot * (NULL_CLASS in classes)
    made = new_figure(width, height)
    made.text(0.12 / width, 1 - 0.24 / height, title, fontsize=theme.TEXT_PT, fontweight="bold")
    norm, cmap = _norm_and_colormap([m for _, m in panels], signed=signed, counts=counts)
    for i, (lines, matrix) in enumerate(panels):
        row, col = divmod(i, across)
        x, y = left + col * step, height - 0.3 - (row + 1) * (head + square)
        rect = (x / width, y / height, square / width, square / height)
        ax = made.add_axes(rect, label="/".join(lines))
        texts = (
            [[heat_cells.format_cell_value(v, signed=signed) for v in r] for r in matrix]
            if size
            else None
        )
        mesh = heat_cells.draw_heat_cells(ax, matrix, norm=norm, cmap=cmap, texts=texts, size=size)
        _shade_unlabelled(ax, classes)
        ax.set_title("\n".join(lines), loc="left", fontsize=theme.SMALL_PT, pad=4)
        _label_axes(ax, classes, down, first=col == 0, last=i + across >= len(panels))
        if i == 0 and not size:
            heat_cells.draw_color_bar(
                made, mesh, (left + across * step - _GAP + 0.15, y, 0.14, min(square, 2.5))
            )
    if NULL_CLASS in classes:
        note = f"Grey: {NULL_CLASS}, pixels without a label, excluded from metrics."
        made.text(0.12 / width, 0.12 / height, note, fontsize=8.5, color=theme.GREY)
    return made


def _norm_and_colormap(
    matrices: Sequence[CountMatrix], *, signed: bool, counts: bool
) -> tuple[Any, Any]:
    from matplotlib.colors import LogNorm, Normalize

    found = np.concatenate([m[np.isfinite(m)] for m in matrices])
    most = float(np.abs(found).max()) if found.size else 1.0
    if signed:
        return Normalize(-(most or 1.0), most or 1.0), heat_cells.diverging_colormap()
    if counts:
        return LogNorm(
            max(most, 1) / 1000, max(most, 1), clip=True
        ), heat_cells.sequential_colormap()
    return Normalize(0, 1), heat_cells.sequential_colormap()


def _shade_unlabelled(ax: Axes, classes: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    if NULL_CLASS not in classes:
        return
    i = classes.index(NULL_CLASS)
    band = Rectangle((0, i), len(classes), 1, facecolor="#eeeeee", edgecolor="white", gid="null")
    ax.add_patch(band)
    for text in ax.texts:
        if text.get_position()[1] == i + 0.5:
            text.set(color=theme.GREY, zorder=4)


def _label_axes(
    ax: Axes, classes: Sequence[str], row_names: Sequence[str], *, first: bool, last: bool
) -> None:
    at, none = np.arange(len(classes)) + 0.5, [""] * len(classes)
    ax.set_yticks(at, row_names if first else none, fontsize=theme.SMALL_PT)
    ax.set_xticks(at, classes if last else none, fontsize=theme.SMALL_PT, rotation=90)
    ax.set_ylabel("truth" if first else "", fontsize=theme.SMALL_PT)
    ax.set_xlabel("prediction" if last else "", fontsize=theme.SMALL_PT)
