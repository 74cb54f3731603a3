"""Columns of the table of runs: metrics, and columns without values."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from rvlab.errors import TableError
from rvlab.frame.input_tables import full_metric_name, suggest_column
from rvlab.frame.params import is_numeric_column

if TYPE_CHECKING:
    import pandas as pd


def metric_column(runs: pd.DataFrame, metric: str) -> str:
    """Return the column of a metric, given as ``metrics.f1`` or ``f1`` for short.

    Raises:
        TableError: If no run has such a metric; it lists those that exist.
    """
    known = [str(c) for c in runs.columns if str(c).startswith("metrics.")]
    name = full_metric_name(runs, metric)
    if name in runs.columns and (name in known or is_numeric_column(runs[name])):
        return name
    raise TableError(
        f"No run has the metric {metric!r}. {suggest_column(metric, known, metric=True)}"
    )


SCORE_NAMES = frozenset(
    [
        *("f1", "mean_iou", "iou", "accuracy", "precision", "recall", "mAP", "ap", "dice"),
        *("object_f1", "object_precision", "object_recall", "mAP50", "boundary_iou"),
    ]
)
"""Metrics whose values are between 0 and 1, by the last or first part of their names."""


def is_score(metric: str) -> bool:
    """Return whether the values of a metric are between 0 and 1, judged by its name.

    Args:
        metric: ``metrics.f1``, ``test.iou.road`` or ``rv_average_f1``, without ``metrics.`` or not.
    """
    parts = metric.removeprefix("metrics.").split(".")
    return any(part.removeprefix("rv_average_") in SCORE_NAMES for part in parts[:2])


def is_error(metric: str) -> bool:
    """Return whether the smallest value of a metric is the best, judged by its name.

    Args:
        metric: ``metrics.count_error`` or ``val_loss``, without ``metrics.`` or not.
    """
    parts = metric.removeprefix("metrics.").split(".")[:2]
    # A class may have the name forest_loss, whose F1 is a score.
    return not is_score(metric) and any(part.endswith(("count_error", "loss")) for part in parts)


def is_ascending(metric: str, ascending: bool | None) -> bool:
    """Return whether the smallest value of a metric is the best: as given, else by `is_error`.

    Args:
        metric: As for `is_error`.
        ascending: The choice of the caller; None selects by the metric.
    """
    return is_error(metric) if ascending is None else ascending


def drop_missing_columns(table: pd.DataFrame, keep: Collection[str] = ()) -> pd.DataFrame:
    """Return a table without the columns in which all values are missing; an empty table as it is.

    Args:
        table: The table.
        keep: Columns that remain in any case.
    """
    if not len(table):
        return table
    empty = table.isna().all().to_numpy(dtype=bool)
    return table.loc[:, [c in keep or not e for c, e in zip(table.columns, empty, strict=True)]]
