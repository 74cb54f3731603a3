"""Which epoch was the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def lower_is_better(series: str) -> bool:
    """Whether a column of the history falls as a training succeeds: losses and times do."""
    return "loss" in series or series.endswith("_s")


def best_index(values: pd.Series[Any], *, least: bool) -> int | None:
    """Where the best of an epoch's values stands: the first one, where some are equal.

    Args:
        values: A number for each epoch, in their order; missing ones are passed over.
        least: Whether less is better.

    Returns:
        Its place, from 0; None if all are missing.
    """
    import numpy as np

    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    if np.isnan(numbers).all():
        return None
    return int(np.nanargmin(numbers) if least else np.nanargmax(numbers))
