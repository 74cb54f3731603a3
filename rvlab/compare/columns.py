"""Columns of the table of runs: metrics, and the evaluation set that a metric belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.errors import TableError
from rvlab.frame.validate import suggest_column

if TYPE_CHECKING:
    import pandas as pd


def metric_column(runs: pd.DataFrame, metric: str) -> str:
    """Return the column of a metric, given as ``metrics.f1`` or ``f1`` for short.

    Raises:
        TableError: If no run has such a metric; it lists those that exist.
    """
    known = [str(c) for c in runs.columns if str(c).startswith("metrics.")]
    for name in (metric, f"metrics.{metric}"):
        if name in runs.columns and (name in known or _is_numeric(runs[name])):
            return name
    raise TableError(
        f"No run has the metric {metric!r}. {suggest_column(metric, known, metric=True)}"
    )


def eval_set_column(runs: pd.DataFrame, metric: str) -> str:
    """Return the column with the fingerprint of the evaluation set of a metric.

    Args:
        runs: The table of runs.
        metric: A metric's column: ``metrics.f1`` is of ``eval_set``, ``metrics.test.f1`` of
            ``eval_set.test``.
    """
    group = metric.removeprefix("metrics.").partition(".")[0]
    return f"eval_set.{group}" if f"eval_set.{group}" in runs else "eval_set"


def _is_numeric(values: pd.Series[Any]) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(values)) and not bool(is_bool_dtype(values))
