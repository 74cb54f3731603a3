"""Parameters in which runs differ, by one rule for tables, tests, titles and axes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PARAMS_PREFIX = "params."

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
