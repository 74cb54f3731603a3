"""One metric out of the long table of evaluations: runs down, classes or scenes across."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rvlab.errors import TableError
from rvlab.frame.validate import require_known

if TYPE_CHECKING:
    import pandas as pd

PIVOT_INPUT_COLUMNS = ("run", "group", "scene", "class", "metric", "value")
"""What a table of evaluations has."""

_CLASS_TO_OVERALL = {"iou": "mean_iou"}  # what a metric of a class is called over all of them
_OVERALL_TO_CLASS = {over: one for one, over in _CLASS_TO_OVERALL.items()}


class MetricPivot(NamedTuple):
    """A metric by run, and by class or scene.

    Attributes:
        cells: Index ``run``, a column for each class or scene; runs, classes and scenes in the
            order in which the table has them, NaN where there is no value.
        overall: The value over all classes or scenes for each of the runs, as the table has it: it
            is computed from all pixels and is no mean of the cells. NaN where there is none.
        metric: What the metric of the cells is called.
    """

    cells: pd.DataFrame
    overall: pd.Series[Any]
    metric: str


def pivot_metric(
    evals: pd.DataFrame,
    columns: Literal["class", "scene"],
    metric: str,
    group: str,
    of: str | None = None,
) -> MetricPivot:
    """Spread a metric over columns, of the runs that have it.

    Args:
        evals: Has the columns `PIVOT_INPUT_COLUMNS`.
        columns: What the columns are to be.
        metric: The metric; over all classes, ``iou`` is ``mean_iou``, and either name will do.
        group: The group of scenes.
        of: The class to take, for columns of scenes, or the scene, for columns of classes; None
            takes what was computed over all of them.

    Raises:
        TableError: If there is no such group, metric, class or scene, or two values are given for
            one cell.
    """
    import pandas as pd

    require_known(
        group, evals["group"].dropna().unique().tolist(), "No run was evaluated on the group"
    )
    part = evals[evals["group"] == group]
    other = "class" if columns == "scene" else "scene"
    if of is not None:
        require_known(of, part[other].dropna().unique().tolist(), f"In {group} there is no {other}")
    part = part[part[other] == of] if of is not None else part[part[other].isna()]
    one, over = _OVERALL_TO_CLASS.get(metric, metric), _CLASS_TO_OVERALL.get(metric, metric)
    of_class = columns == "class" or of is not None  # whether the cells are of a class
    name, above = (one if of_class else over), (one if columns == "scene" and of else over)
    each = part[part[columns].notna()]
    require_known(name, each["metric"].unique().tolist(), f"In {group} no {columns} has the metric")
    each = each[each["metric"] == name]
    all_of_them = part[part[columns].isna() & (part["metric"] == above)]
    if each.duplicated(["run", columns]).any() or all_of_them.duplicated("run").any():
        raise TableError("The table of evaluations has two values for one cell: was it put twice?")
    cells = each.pivot(index="run", columns=columns, values="value").astype(float)
    order = pd.Index(each["run"].unique(), name="run")
    cells = cells.reindex(index=order, columns=each[columns].unique().tolist())
    cells.columns = pd.Index([str(c) for c in cells.columns], dtype=object, name=columns)
    return MetricPivot(
        cells, all_of_them.set_index("run")["value"].astype(float).reindex(order), name
    )
