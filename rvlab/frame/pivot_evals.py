"""Pivot of one metric of the table of evaluations to one row per run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rvlab.errors import TableError
from rvlab.frame.input_tables import require_known
from rvlab.model.tables import EVALS_TABLE

if TYPE_CHECKING:
    import pandas as pd

PIVOT_INPUT_COLUMNS = ("run", *EVALS_TABLE.names)
"""The columns of a table of evaluations."""

_CLASS_TO_OVERALL = {"iou": "mean_iou"}  # metric of a class -> its name over all classes
_OVERALL_TO_CLASS = {over: one for one, over in _CLASS_TO_OVERALL.items()}


class EvalsPivot(NamedTuple):
    """A metric by run, and by class or scene.

    Attributes:
        cells: Index ``run``, one column per class or scene; runs, classes and scenes in the order
            of the table, NaN for missing values.
        overall: The value of each run over all classes or scenes, from the table; NaN for missing
            values. It is computed from all pixels and is not the mean of the cells.
        metric: The name of the metric of the cells.
    """

    cells: pd.DataFrame
    overall: pd.Series[Any]
    metric: str


def pivot_evals(
    evals: pd.DataFrame,
    columns: Literal["class", "scene"],
    metric: str,
    group: str,
    of: str | None = None,
) -> EvalsPivot:
    """Pivot a metric of the runs that have it to one column per class or scene.

    Args:
        evals: A table with the columns `PIVOT_INPUT_COLUMNS`.
        columns: ``class`` or ``scene``.
        metric: The metric. ``iou`` of a class is called ``mean_iou`` over all classes; both names
            are accepted.
        group: The scene group.
        of: The class, for one column per scene, or the scene, for one column per class; None uses
            the values over all of them.

    Raises:
        TableError: If the group, metric, class or scene does not exist, or a cell has two values.
    """
    import pandas as pd

    require_known(
        group, evals["group"].dropna().unique().tolist(), "No run was evaluated on the group"
    )
    rows = evals[evals["group"] == group]
    other = "class" if columns == "scene" else "scene"
    if of is not None:
        require_known(
            of, rows[other].dropna().unique().tolist(), f"The group {group!r} has no {other}"
        )
    rows = rows[rows[other] == of] if of is not None else rows[rows[other].isna()]
    class_metric = _OVERALL_TO_CLASS.get(metric, metric)
    overall_metric = _CLASS_TO_OVERALL.get(metric, metric)
    is_per_class = columns == "class" or of is not None  # whether a cell is about one class
    name = class_metric if is_per_class else overall_metric
    overall_name = class_metric if columns == "scene" and of else overall_metric
    cell_rows = rows[rows[columns].notna()]
    known = cell_rows["metric"].unique().tolist()
    require_known(name, known, f"In {group} no {columns} has the metric")
    cell_rows = cell_rows[cell_rows["metric"] == name]
    overall = rows[rows[columns].isna() & (rows["metric"] == overall_name)]
    if cell_rows.duplicated(["run", columns]).any() or overall.duplicated("run").any():
        raise TableError(
            "The table of evaluations has two values for one cell. Drop the duplicate rows."
        )
    cells = cell_rows.pivot(index="run", columns=columns, values="value").astype(float)
    order = pd.Index(cell_rows["run"].unique(), name="run")
    cells = cells.reindex(index=order, columns=cell_rows[columns].unique().tolist())
    cells.columns = pd.Index([str(c) for c in cells.columns], dtype=object, name=columns)
    return EvalsPivot(cells, overall.set_index("run")["value"].astype(float).reindex(order), name)
