"""Conversion of values to the dtypes of columns, and dtypes of parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.model.schema import TEXT, TIME, TIME_S, WHOLE

if TYPE_CHECKING:
    import pandas as pd


def cast_or_missing(column: Sequence[Any], dtype: Any) -> pd.Series[Any]:
    """Convert values to a declared dtype; values that do not fit become missing."""
    import pandas as pd

    if dtype in (TIME, TIME_S):
        times = pd.Series(column, dtype="object")
        return pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601").astype(dtype)
    if dtype in (WHOLE, "float64"):
        column = [value if fits_64_bits(value, dtype) else None for value in column]
    return pd.Series(column, dtype="object").astype(dtype)


def fits_64_bits(value: Any, dtype: Any) -> bool:
    """Return whether a number is in the range of an integer of 64 bits, or of a float64."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63 if dtype == WHOLE else abs(value) < 2**1023
    return True


def is_exact_as_float64(value: Any) -> bool:
    """Return whether float64 represents a number exactly; True for None."""
    return not isinstance(value, int) or int(float(value)) == value


def as_inferred_dtype(values: Sequence[Any], present: Sequence[bool]) -> pd.Series[Any]:
    """Convert the values of a parameter to a column; numbers stay numbers if some are missing.

    Args:
        values: A value for each run.
        present: Whether the run has the parameter.

    Returns:
        int64, or Int64 if some are missing; float64 if one is a float; bool or boolean; string;
        object if text and numbers are mixed, an integer has more than 64 bits, or an integer
        beside floats is not exact as float64. Lists and dicts become JSON text, so that they can
        be grouped and compared.
    """
    import pandas as pd

    plain = [json.dumps(v) if isinstance(v, list | dict) else v for v in values]
    have = [v for v, is_there in zip(plain, present, strict=True) if is_there and v is not None]
    kinds = {type(v) for v in have}
    if any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in have):
        return pd.Series(plain, dtype="object")
    whole = len(have) == len(plain)
    if kinds == {bool}:
        return pd.Series(plain, dtype="bool" if whole else "boolean")
    if kinds == {int}:
        return pd.Series(plain, dtype="int64" if whole else "Int64")
    if kinds and kinds <= {int, float} and all(map(is_exact_as_float64, have)):
        return pd.Series([float("nan") if v is None else v for v in plain], dtype="float64")
    if kinds <= {str}:
        return cast_or_missing(plain, TEXT)
    return pd.Series(plain, dtype="object")
