"""Selection of the best epoch of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def lower_is_better(series: str) -> bool:
    """Return whether smaller values of a history column are better, as for losses and times."""
    return "loss" in series or series.endswith("_s")


def best_index(values: pd.Series[Any], *, minimize: bool) -> int | None:
    """Return the position of the best value, the first of several equal ones.

    Args:
        values: A number for each epoch, in order; missing values are skipped.
        minimize: Whether smaller values are better.

    Returns:
        The position, from 0; None if all values are missing.
    """
    import numpy as np

    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    if np.isnan(numbers).all():
        return None
    return int(np.nanargmin(numbers) if minimize else np.nanargmax(numbers))
