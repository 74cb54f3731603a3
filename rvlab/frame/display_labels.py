"""Labels of runs and of values, by one rule for plots, tests, reports and widgets."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from rvlab.frame.params import PARAMS_PREFIX, differing_columns, is_missing, value_codes

if TYPE_CHECKING:
    import pandas as pd

MAX_LABEL_PARAMS = 4
"""Largest number of parameters in the label of a run."""


def is_numeric_column(values: pd.Series[Any]) -> bool:
    """Return whether a column is numeric and not boolean, as for an axis or a color scale."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(values)) and not bool(is_bool_dtype(values))


def format_param_value(value: Any) -> str:
    """Format one value for a title or legend: ``0.001``, ``resnet18``, ``–`` for a missing value.

    See `value_labels` for several values that must stay distinguishable.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()  # a numpy scalar or array
    if isinstance(value, bool):
        return str(value)
    if is_missing(value):
        return "–"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, str):
        return value if len(value) <= 28 else f"{value[:27]}…"
    try:
        return f"{value:.4g}"
    except (TypeError, ValueError):
        return format_param_value(str(value))


def value_labels(values: Iterable[Any]) -> list[str]:
    """Format values so that different values get different labels.

    Integers have all digits. Floats have 4 significant digits, or as many as make all of them
    different. Text longer than 28 characters is truncated, unless two texts would look the same.

    Args:
        values: Values, such as those of a parameter over some runs.

    Returns:
        One label per value, in the same order.
    """
    items = list(values)
    floats = {float(v) for v in items if isinstance(v, float) and math.isfinite(v)}
    digits = next(n for n in range(4, 18) if n == 17 or _count_distinct(floats, n) == len(floats))
    labels = [
        f"{v:.{digits}g}" if isinstance(v, float) and v in floats else format_param_value(v)
        for v in items
    ]
    # Long lists and dicts are truncated as text is.
    texts = [_full_text(v) for v in items]
    distinct = {text for text in texts if text is not None}
    if len({format_param_value(text) for text in distinct}) < len(distinct):
        labels = [w if text is None else text for text, w in zip(texts, labels, strict=True)]
    return labels


def column_labels(values: pd.Series[Any]) -> list[str]:
    """Return the `value_labels` of a column, formatting each different value once."""
    import numpy as np

    codes = value_codes(values)
    labels = value_labels(values.iloc[np.unique(codes, return_index=True)[1]])
    return [labels[code] for code in codes]


def _full_text(value: Any) -> str | None:
    """Return the text of a string or container; None for other values."""
    value = value.tolist() if getattr(value, "ndim", 0) else value
    return str(value) if isinstance(value, str | list | tuple | dict | set | frozenset) else None


def _count_distinct(numbers: Collection[float], digits: int) -> int:
    return len({f"{number:.{digits}g}" for number in numbers})


def run_labels(
    table: pd.DataFrame,
    label: str | None = None,
    *,
    max_params: int = MAX_LABEL_PARAMS,
    equals: str = " = ",
    short_ids: bool = True,
) -> dict[str, list[str]]:
    """Return for each run the lines that distinguish it from the other runs of the table.

    Args:
        table: A table with the column ``run``, one or more rows per run.
        label: A column to use; None uses the ``params.*`` in which the runs differ.
        max_params: Maximum number of parameter lines.
        equals: The text between a parameter and its value.
        short_ids: Whether only the last parts of ids are used.

    Returns:
        For each run, by its id as text, its lines, such as ``["lr = 0.01", "width = 8"]``. If two
        are equal, the ``seed`` is added, if the runs differ in it. If the runs differ in neither,
        the label is the ``name``; if two names are equal, too, the id.
    """
    runs = table.drop_duplicates("run")
    ids = [str(run) for run in runs["run"]]
    columns = [label] if label else differing_columns(runs)
    lines = [_value_lines(name, runs[name], equals) for name in columns[:max_params]]
    out = [list(row) for row in zip(*lines, strict=True)] if lines else [[] for _ in ids]
    if len(columns) > max_params:
        out = [[*lines, f"and {len(columns) - max_params} more"] for lines in out]
    seeds = value_labels(runs["seed"]) if "seed" in runs and not label else []
    if len(set(seeds)) > 1 and _has_duplicates(out):
        out = [[*lines, f"seed{equals}{seed}"] for lines, seed in zip(out, seeds, strict=True)]
    if _has_duplicates(out) or not all(out):
        others = _names_or_ids(runs, ids, short_ids=short_ids)
        out = [
            [*lines, other] if not lines or out.count(lines) > 1 else lines
            for lines, other in zip(out, others, strict=True)
        ]
    return dict(zip(ids, out, strict=True))


def _names_or_ids(runs: pd.DataFrame, ids: Sequence[str], *, short_ids: bool) -> list[str]:
    names = column_labels(runs["name"]) if "name" in runs and runs["name"].notna().all() else []
    if names and len(set(names)) == len(ids):
        return names
    return short_run_ids(ids) if short_ids else list(ids)


def _has_duplicates(labels: Sequence[Sequence[str]]) -> bool:
    return len({tuple(lines) for lines in labels}) < len(labels)


def _value_lines(name: str, values: pd.Series[Any], equals: str) -> list[str]:
    is_param = name.startswith(PARAMS_PREFIX)
    prefix = f"{name.removeprefix(PARAMS_PREFIX)}{equals}" if is_param else ""
    return [f"{prefix}{word}" for word in column_labels(values)]


def short_run_ids(ids: Sequence[str]) -> list[str]:
    """Return the last parts of ids if they differ, such as ``…4f2a9c``, else the ids."""
    tails = [one.rsplit("-", 1)[-1] for one in ids]
    if len(ids) == 1 or len(set(tails)) < len(ids):
        return list(ids)
    return [tail if tail == one else f"…{tail}" for tail, one in zip(tails, ids, strict=True)]
