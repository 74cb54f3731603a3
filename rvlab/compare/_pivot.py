"""A metric per class or per scene as a wide table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rvlab.compare.metric_functions import BOUNDARY_METRIC, CLASS_METRICS
from rvlab.errors import SpecError, TableError, did_you_mean
from rvlab.frame.input_tables import RunsLike, load_long_table
from rvlab.frame.pivot_evals import PIVOT_INPUT_COLUMNS, pivot_evals
from rvlab.frame.tables import evals_table
from rvlab.model import headline_group

if TYPE_CHECKING:
    import pandas as pd

ALL_COLUMN = "all"
"""The column with the value over all classes or scenes."""


def pivot(
    runs: RunsLike,
    columns: Literal["class", "scene"] = "class",
    metric: str = "f1",
    *,
    group: str | None = None,
) -> pd.DataFrame:
    """Return a wide table of one metric with a row per run and a column per class or scene.

    >>> compare.pivot(board).join(compare.varying(board)).sort_values("road")

    Args:
        runs: Runs, whose evaluations are read; or the long table ``run group scene class metric
            value``, as ``lab.evals()`` returns it.
        columns: The columns of the result: ``class`` or ``scene``.
        metric: The metric, such as ``f1``, ``iou``, ``recall`` or ``truth_count``; over all
            classes, ``iou`` is ``mean_iou``. Per scene, ``f1.road`` is the F1 of the class
            ``road``.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.

    Returns:
        Index ``run``, so that it joins with the table of runs. First ``all``: the value over all
        classes or scenes, computed from all pixels; it is not the mean of the other columns. Then
        the classes, in their order, or the scenes, by name. A value is missing, never 0, if the
        class is neither in the truth nor predicted, or the run was not evaluated on it. The class
        ``null`` has no metric, and so no column, except for its pixel counts:
        ``metric="truth_count"``.

    Raises:
        TableError: If a column, the metric, the class or the group is missing, a cell
            has two values, or a class or scene is named ``all``.
        SpecError: If `columns` is not ``class`` or ``scene``, or `runs` is empty.
    """
    import pandas as pd

    if columns not in ("class", "scene"):
        hint = did_you_mean(str(columns), ("class", "scene"))
        raise SpecError(f"columns cannot be {columns!r}. {hint}")
    table = load_long_table(runs, evals_table, PIVOT_INPUT_COLUMNS, "table of evaluations")
    if table.empty:
        return pd.DataFrame({ALL_COLUMN: pd.Series(dtype="float64")}, pd.Index([], name="run"))
    name, class_name = metric.removeprefix("metrics."), None
    kind, _, suffix = name.partition(".")
    if columns == "scene" and suffix and kind in (*CLASS_METRICS, BOUNDARY_METRIC):
        name, class_name = kind, suffix
    chosen = group or headline_group(str(g) for g in table["group"].dropna().unique())
    found = pivot_evals(table, columns, name, chosen, class_name)
    cells = found.cells
    if ALL_COLUMN in cells:
        raise TableError(
            f"A {columns} is called {ALL_COLUMN!r}, like the column of the overall value. Rename "
            "it in the table of evaluations."
        )
    if columns == "scene":
        cells = cells[sorted(cells.columns)]
    cells.insert(0, ALL_COLUMN, found.overall)
    return cells.reindex(pd.Index(table["run"].unique(), name="run")).rename_axis(columns=None)
