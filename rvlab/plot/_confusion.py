"""What is taken for what: a confusion matrix per run, or the difference of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rvlab.errors import SpecError, did_you_mean
from rvlab.frame.asked import checked
from rvlab.model.classes import NULL_CLASS
from rvlab.plot import ink, shade
from rvlab.plot.matrices import Matrix, matrices, rows_of, shares
from rvlab.plot.names import run_names
from rvlab.plot.table import with_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("run", "group", "scene", "truth", "prediction", "count")
_WIDE, _GAP, _LETTER = 10.5, 0.25, 0.073  # inches
UNLABELLED = f"{NULL_CLASS} (unlabelled)"
_SAID = {"truth": "share of each true class", "prediction": "share of each predicted class"}


def confusion(
    confusion: pd.DataFrame,
    *,
    normalize: Literal["truth", "prediction"] | None = "truth",
    runs: Sequence[Any] | None = None,
    difference: bool = False,
    group: str = "validation",
    scene: str | None = None,
    label: str | None = None,
) -> Figure:
    """Draw the confusion matrix of each run, side by side: truth down, prediction across.

    The class ``null`` is that of pixels without a label: the row of what is truly so stands in
    grey, it is in no metric and in no sum by which other cells are divided. Its column is that of
    labelled pixels that were predicted so, which are misses. Where it has no pixel at all it is
    left out.

    Args:
        confusion: Long: ``run group scene truth prediction count``, as ``lab.confusion()`` returns
            it.
        normalize: ``truth`` divides by the row's sum, so that recall is on the diagonal;
            ``prediction`` by the column's, so that precision is; None shows counts, in colors on a
            logarithmic scale of three decades.
        runs: Ids, which and in which order; None takes all as they stand in the table.
        difference: Draw only the first run minus the second; needs two runs.
        group: The group of scenes.
        scene: One scene; None takes the whole group.
        label: The column that names the runs; None takes the ``params.*`` in which they differ,
            if they were joined, else their ids.

    Returns:
        A figure, shown once as the last value of a cell.

    Raises:
        TableError: If a column, a run, the group or the scene is missing, or two counts are given
            for one cell.
        SpecError: If `normalize` is none of these, or a difference is asked of more or fewer runs
            than two.
    """
    if normalize not in ("truth", "prediction", None):
        hint = did_you_mean(str(normalize), ("truth", "prediction"))
        raise SpecError(f"normalize cannot be {normalize!r}. {hint}")
    wanted = [*COLUMNS, *([label] if label else [])]
    table = with_columns(confusion, wanted, "table of confusion")
    if table.empty:
        return ink.noted("No confusion matrices yet: the table is empty.")
    part = rows_of(table, group, scene)
    for run in runs if runs is not None else ():
        checked(str(run), part["run"].unique().tolist(), f"There is no matrix in {group} of run")
    order = list(runs) if runs is not None else part["run"].unique().tolist()
    if difference and len(order) != 2:
        raise SpecError(f"A difference is of two runs, not of {len(order)}. Name them as runs=.")
    found, classes = matrices(part[part["run"].isin(order)], order)
    shown = {run: shares(m, classes, normalize) for run, m in found.items()}
    names = run_names(part[part["run"].isin(order)], label)
    what = f"{_SAID[normalize] if normalize else 'count'} in {scene or group}"
    if difference:
        first, second = order
        both = [*names[first], f"minus {', '.join(names[second])}"]
        gap = shown[first] - shown[second]
        return _drawn([(both, gap)], classes, f"difference in {what}", signed=True)
    return _drawn([(names[run], shown[run]) for run in order], classes, what, counts=not normalize)


def _drawn(
    panels: Sequence[tuple[Sequence[str], Matrix]],
    classes: Sequence[str],
    what: str,
    *,
    signed: bool = False,
    counts: bool = False,
) -> Figure:
    cell = min(0.5, max(0.16, 4.2 / len(classes)))
    size = 9.0 if cell >= 0.36 else 0.0  # 0 where numbers have no room
    down = [UNLABELLED if c == NULL_CLASS else c for c in classes]
    right = 0.15 if size else 0.95 if signed else 0.75  # where the color bar has its numbers
    square = len(classes) * cell
    titled = max(len(line) for lines, _ in panels for line in lines) * _LETTER * 1.08
    step = max(square, titled) + _GAP
    left, under = max(map(len, down)) * _LETTER + 0.45, max(map(len, classes)) * _LETTER + 0.35
    rows = math.ceil(len(panels) / max(1, int((_WIDE - left + _GAP) / step)))
    across = math.ceil(len(panels) / rows)
    head, foot = 0.16 * max(len(lines) for lines, _ in panels) + 0.22, 0.3
    width = max(left + across * step - _GAP + right, 0.2 + len(what) * 0.09)
    height = 0.3 + rows * (head + square) + under + foot * (NULL_CLASS in classes)
    made = ink.figure(width, height)
    made.text(0.12 / width, 1 - 0.24 / height, what, fontsize=ink.TEXT, fontweight="bold")
    norm, cmap = _scale([m for _, m in panels], signed=signed, counts=counts)
    for i, (lines, matrix) in enumerate(panels):
        row, col = divmod(i, across)
        x, y = left + col * step, height - 0.3 - (row + 1) * (head + square)
        place = (x / width, y / height, square / width, square / height)
        ax = made.add_axes(place, label="/".join(lines))
        texts = [[shade.number(v, signed=signed) for v in r] for r in matrix] if size else None
        mesh = shade.cells(ax, matrix, norm=norm, cmap=cmap, texts=texts, size=size)
        _grey(ax, classes)
        ax.set_title("\n".join(lines), loc="left", fontsize=ink.SMALL, pad=4)
        _axis_names(ax, classes, down, first=col == 0, last=i + across >= len(panels))
        if i == 0 and not size:
            shade.bar(made, mesh, (left + across * step - _GAP + 0.15, y, 0.14, min(square, 2.5)))
    if NULL_CLASS in classes:
        note = f"Grey: {NULL_CLASS}, pixels without a label, in no metric."
        made.text(0.12 / width, 0.12 / height, note, fontsize=8.5, color=ink.GREY)
    return made


def _scale(matrices: Sequence[Matrix], *, signed: bool, counts: bool) -> tuple[Any, Any]:
    from matplotlib.colors import LogNorm, Normalize

    found = np.concatenate([m[np.isfinite(m)] for m in matrices])
    most = float(np.abs(found).max()) if found.size else 1.0
    if signed:
        return Normalize(-(most or 1.0), most or 1.0), shade.diverging()
    if counts:
        return LogNorm(max(most, 1) / 1000, max(most, 1), clip=True), shade.sequential()
    return Normalize(0, 1), shade.sequential()


def _grey(ax: Axes, classes: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    if NULL_CLASS not in classes:
        return
    i = classes.index(NULL_CLASS)
    band = Rectangle((0, i), len(classes), 1, facecolor="#eeeeee", edgecolor="white", gid="null")
    ax.add_patch(band)
    for text in ax.texts:
        if text.get_position()[1] == i + 0.5:
            text.set(color=ink.GREY, zorder=4)


def _axis_names(
    ax: Axes, classes: Sequence[str], down: Sequence[str], *, first: bool, last: bool
) -> None:
    at, none = np.arange(len(classes)) + 0.5, [""] * len(classes)
    ax.set_yticks(at, down if first else none, fontsize=ink.SMALL)
    ax.set_xticks(at, classes if last else none, fontsize=ink.SMALL, rotation=90)
    ax.set_ylabel("truth" if first else "", fontsize=ink.SMALL)
    ax.set_xlabel("prediction" if last else "", fontsize=ink.SMALL)
