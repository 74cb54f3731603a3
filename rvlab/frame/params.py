"""Parameters in which runs differ, and the labels of runs and values.

Tables, statistical tests, titles, axes, reports and widgets all use these rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PARAMS_PREFIX = "params."

MAX_LABEL_PARAMS = 4
"""Largest number of parameters in the label of a run."""

_JSON = json.JSONEncoder(sort_keys=True, default=str)


def param_columns(runs: pd.DataFrame) -> list[str]:
    """List the columns ``params.*``, in the order of the table."""
    return [c for c in runs.columns if str(c).startswith(PARAMS_PREFIX)]


def differing_columns(runs: pd.DataFrame, columns: Iterable[str] | None = None) -> list[str]:
    """List the columns in which two runs have different values.

    Values are compared by `value_key`, never as they are printed. A missing value differs from
    every other value.

    Args:
        runs: One row per run.
        columns: The columns to compare; None compares all ``params.*``, without the runs whose
            spec cannot be read, which have no recipe.
    """
    if columns is None and "recipe" in runs:
        has_spec = runs["recipe"].notna()
        runs = runs if has_spec.all() else runs[has_spec]
    names = param_columns(runs) if columns is None else columns
    return [name for name in names if _has_two_values(runs[name])]


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: ``None``, NaN or NaT, but not a list or an array."""
    import pandas as pd

    return value is None or (bool(pd.api.types.is_scalar(value)) and bool(pd.isna(value)))


def value_key(value: Any) -> tuple[str, Any]:  # noqa: PLR0911  a kind of value per line
    """Return a hashable key that is equal for equal values.

    1 equals 1.0 but not True; lists, arrays and dicts are compared as JSON; all missing values are
    equal.
    """
    import pandas as pd

    if isinstance(value, str):
        return "str", value
    if getattr(value, "ndim", 0):  # an array, which Parquet returns for a list
        value = value.tolist()
    if isinstance(value, list | tuple | dict | set | frozenset):
        return "json", _json_text(value)
    if value is None or bool(pd.isna(value)):
        return "missing", None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", value
    try:
        hash(value)
    except TypeError:
        return type(value).__name__, repr(value)
    return type(value).__name__, value


def value_codes(values: pd.Series[Any]) -> NDArray[Any]:
    """Return a number from 0 for each value, equal for values with an equal `value_key`."""
    import pandas as pd
    from pandas.api.types import is_object_dtype

    if is_object_dtype(values.dtype):
        seen: dict[tuple[str, Any], int] = {}
        codes = [seen.setdefault(value_key(value), len(seen)) for value in values]
        return pd.Series(codes, dtype="int64").to_numpy()
    return pd.factorize(values, use_na_sentinel=False)[0]


def _json_text(value: Any) -> str:
    plain = sorted(value, key=str) if isinstance(value, set | frozenset) else value
    try:
        return _JSON.encode(plain)
    except TypeError:  # keys of several types, which cannot be sorted
        return repr(plain)


def _has_two_values(values: pd.Series[Any]) -> bool:
    from pandas.api.types import is_object_dtype

    if is_object_dtype(values.dtype):  # may mix kinds of values, and lists cannot be hashed
        keys = (value_key(value) for value in values)
        first = next(keys, None)
        return any(key != first for key in keys)
    return int(values.nunique(dropna=False)) > 1


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


def value_labels_of_column(values: pd.Series[Any]) -> list[str]:
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
        runs have equal lines, the ``seed`` is added, if the runs differ in it. To lines that are
        still equal, or empty, the ``name`` is added; if two names are equal, the id.
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
    names = (
        value_labels_of_column(runs["name"])
        if "name" in runs and runs["name"].notna().all()
        else []
    )
    if names and len(set(names)) == len(ids):
        return names
    return short_run_ids(ids) if short_ids else list(ids)


def _has_duplicates(labels: Sequence[Sequence[str]]) -> bool:
    return len({tuple(lines) for lines in labels}) < len(labels)


def _value_lines(name: str, values: pd.Series[Any], equals: str) -> list[str]:
    is_param = name.startswith(PARAMS_PREFIX)
    prefix = f"{name.removeprefix(PARAMS_PREFIX)}{equals}" if is_param else ""
    return [f"{prefix}{word}" for word in value_labels_of_column(values)]


def short_run_ids(ids: Sequence[str]) -> list[str]:
    """Return the last parts of ids if they differ, such as ``…4f2a9c``, else the ids."""
    tails = [one.rsplit("-", 1)[-1] for one in ids]
    if len(ids) == 1 or len(set(tails)) < len(ids):
        return list(ids)
    return [tail if tail == one else f"…{tail}" for tail, one in zip(tails, ids, strict=True)]
