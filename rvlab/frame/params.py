"""Parameters in which runs differ, by one rule for tables, tests, titles and axes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PARAMS_PREFIX = "params."


def param_columns(runs: pd.DataFrame) -> list[str]:
    """List the columns ``params.*``, in the order of the table."""
    return [c for c in runs.columns if str(c).startswith(PARAMS_PREFIX)]


def differing_columns(runs: pd.DataFrame, columns: Iterable[str] | None = None) -> list[str]:
    """List the columns in which two runs have different values.

    Values are compared by `value_key`, never as they are printed. A missing value differs from
    every other value.

    Args:
        runs: One row per run.
        columns: The columns to compare; None compares all ``params.*``.
    """
    names = param_columns(runs) if columns is None else columns
    return [name for name in names if _has_two_values(runs[name])]


def value_key(value: Any) -> tuple[str, Any]:
    """Return a hashable key that is equal for equal values.

    1 equals 1.0 but not True; lists and dicts are compared as JSON; all missing values are equal.
    """
    import pandas as pd

    if isinstance(value, list | tuple | dict | set | frozenset):
        plain = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return "json", json.dumps(plain, sort_keys=True, default=str)
    if value is None or bool(pd.isna(value)):
        return "missing", None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", value
    return type(value).__name__, value


def _has_two_values(values: pd.Series[Any]) -> bool:
    from pandas.api.types import is_object_dtype

    if is_object_dtype(values.dtype):  # may mix kinds of values, and lists cannot be hashed
        return len({value_key(value) for value in values}) > 1
    return int(values.nunique(dropna=False)) > 1
