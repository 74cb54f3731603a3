"""The training history of an MLflow run as a table of epochs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.exchange.mlflow_encoding import restore_infinity
from rvlab.model.tables import HISTORY_TABLE
from rvlab.store.table_file import columns_to_arrow

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient


def metric_history_table(
    client: MlflowClient, run_id: str, names: Iterable[str], at_one_step: Collection[str]
) -> pa.Table | None:
    """Return one row per step and one column per metric with several values.

    MLflow gives each value that is logged without a step the step 0. The values of such a metric
    are ordered by time and numbered from 0. If another metric has more values, or has steps, each
    value is placed beside the value of that metric which is nearest in time.

    Args:
        client: The client.
        run_id: MLflow's id of the run.
        names: The metrics.
        at_one_step: Metrics that belong to the history even if they have one step only.

    Returns:
        The column ``epoch``, then the metrics; None if no metric has several values.
    """
    with_steps: dict[str, list[Any]] = {}
    without_steps: dict[str, list[Any]] = {}
    for name in sorted(names):
        points = sorted(
            client.get_metric_history(run_id, name), key=lambda one: (one.step, one.timestamp)
        )
        steps = {point.step for point in points}
        if len(steps) > 1 or name in at_one_step:
            with_steps[name] = points
        elif len(points) > 1:
            without_steps[name] = points
    if not with_steps and not without_steps:
        return None
    longest = max((with_steps or without_steps).values(), key=len)
    axis = [(p.timestamp, p.step if with_steps else i) for i, p in enumerate(longest)]
    columns: dict[str, dict[int, float]] = {}
    for name, points in sorted({**with_steps, **without_steps}.items()):
        own = [p.step for p in points] if name in with_steps else _epochs_by_time(points, axis)
        restored = [restore_infinity(point.value) for point in points]
        column = f"metric.{name}" if name in {"epoch", "run"} else name
        columns[column] = dict(zip(own, restored, strict=True))
    epochs = sorted({epoch for values_of in columns.values() for epoch in values_of})
    values = [[values_of.get(epoch) for epoch in epochs] for values_of in columns.values()]
    return columns_to_arrow(HISTORY_TABLE.with_others(columns), [epochs, *values])


def _epochs_by_time(points: Sequence[Any], axis: Sequence[tuple[int, int]]) -> list[int]:
    """Return the epochs of values without a step, from times and epochs of another metric.

    Metrics with equally many values are paired in order. If two values would get the same epoch,
    all are numbered from 0, so that none is lost.
    """
    if len(points) == len(axis):
        epochs = [epoch for _, epoch in axis]
    else:
        epochs = [min(axis, key=lambda at: abs(at[0] - p.timestamp))[1] for p in points]
    return epochs if len(set(epochs)) == len(points) else list(range(len(points)))
