"""Training histories of other programs as tables of epochs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import pyarrow as pa

from rvlab.errors import SpecError
from rvlab.model.tables import HISTORY_TABLE
from rvlab.store.table_file import rows_to_arrow

if TYPE_CHECKING:
    import pandas as pd

StepValues: TypeAlias = dict[int, dict[str, float | None]]
"""Values by step and name."""

HistoryLike: TypeAlias = Union["pd.DataFrame", Mapping[str, Sequence[float | None]]]
"""A table, or a dict of names and lists of values."""

_NOT_METRICS = ("epoch", "step")


def history_of_steps(series: StepValues) -> pa.Table | None:
    """Return a row per epoch with the last value of each metric in it.

    A step without an epoch, as of a learning-rate monitor, belongs to the next step that has one.
    Without any epoch the steps are the rows. A metric named ``run`` becomes ``metric.run``.

    Args:
        series: Values by step.

    Returns:
        A table with the columns of `HISTORY_TABLE`; None without values.
    """
    steps = sorted(series)
    epochs = {step: series[step].get("epoch") for step in steps}
    known = [
        (s, value) for s, value in epochs.items() if value is not None and math.isfinite(value)
    ]
    known_steps = [step for step, _ in known]
    rows: dict[int, dict[str, int | float | None]] = {}
    for step in steps:
        epoch = known[min(bisect_left(known_steps, step), len(known) - 1)][1] if known else step
        row = rows.setdefault(int(epoch), {"epoch": int(epoch), "step": float(step)})
        row["step"] = float(step)
        for name, value in series[step].items():
            if name not in _NOT_METRICS and value is not None:
                row[f"metric.{name}" if name in ("run", "") else name] = float(value)
    if not rows:
        return None
    names = dict.fromkeys(name for epoch in sorted(rows) for name in rows[epoch])
    return rows_to_arrow(HISTORY_TABLE.with_others(names), [rows[epoch] for epoch in sorted(rows)])


def history_from_rows(given: HistoryLike) -> pa.Table | None:
    """Return a history that a caller gives as a table.

    Args:
        given: A column ``epoch`` or ``step`` from 0, else the rows are numbered, and a column for
            each metric.

    Raises:
        SpecError: If it is not a table of numbers.
    """
    columns: Any = given.to_dict("list") if hasattr(given, "to_dict") else given
    if not isinstance(columns, Mapping):
        raise SpecError(f"history must be a table or a dict of lists, got {given!r:.100}.")
    series: StepValues = {}
    try:
        names = [str(name) for name in columns]
        for number, row in enumerate(zip(*columns.values(), strict=True)):
            values = {
                name: float(value)
                for name, value in zip(names, row, strict=True)
                if value is not None and not math.isnan(value)
            }
            step = int(values.get("step", values.get("epoch", number)))
            series.setdefault(step, {}).update(values)
    except (TypeError, ValueError, OverflowError) as exc:
        raise SpecError(
            f"history must have a list of numbers of the same length for each name: {exc}."
        ) from exc
    history = history_of_steps(series)
    return history if history is None or "step" in names else history.drop_columns(["step"])


def count_epochs(history: pa.Table) -> int:
    """Return the number of epochs of a history that starts with epoch 0."""
    return int(max(history["epoch"].to_pylist(), default=-1)) + 1


def last_values(history: pa.Table) -> dict[str, float]:
    """Return the last finite value of each metric."""
    found: dict[str, float] = {}
    for name in history.column_names:
        values = [v for v in history[name].to_pylist() if v is not None and math.isfinite(v)]
        if values and name not in _NOT_METRICS:
            found[name] = float(values[-1])
    return found
