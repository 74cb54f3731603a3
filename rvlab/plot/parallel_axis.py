"""One axis of parallel coordinates: positions of the runs, and ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.frame.params import is_numeric_column, value_labels, value_labels_of_column
from rvlab.plot._style import theme

if TYPE_CHECKING:
    import pandas as pd

AxisPositions = NDArray[Any]

MISSING_AT = -0.13  # position of runs without a value
MAX_VALUE_TICKS = 6  # with more different values, ticks are round numbers
POINT_SPACING = 0.03  # maximum offset between lines of the same value, as a share of the axis


@dataclass(frozen=True)
class ParallelAxis:
    """Positions of runs on an axis, and its ticks.

    Args:
        at: Position of each run, from 0 (bottom) to 1 (top); NaN for a run without a value.
        ticks: Position and label of each tick.
        is_log: Whether the axis is logarithmic.
    """

    at: AxisPositions
    ticks: Sequence[tuple[float, str]]
    is_log: bool = False


def build_axis(values: pd.Series[Any], max_value_ticks: int) -> ParallelAxis:
    """Build the axis of a column: numbers to scale, other values as categories.

    Args:
        values: The column.
        max_value_ticks: Up to this many different numbers, each is a tick; otherwise ticks are
            round numbers.
    """
    import pandas as pd
    from matplotlib.ticker import LogLocator, MaxNLocator
    from pandas.api.types import is_timedelta64_dtype

    if is_timedelta64_dtype(values.dtype):
        values = values.dt.total_seconds().rename(f"{values.name} [s]")
    if not is_numeric_column(values):
        labels = value_labels_of_column(values)
        words = pd.Series([None if word == "–" else word for word in labels], values.index)
        categories = sorted(words.dropna().unique())
        positions = {w: (i + 0.5) / len(categories) for i, w in enumerate(categories)}
        return ParallelAxis(
            words.map(positions).to_numpy(dtype=float), [(v, k) for k, v in positions.items()]
        )
    numbers: AxisPositions = np.asarray(
        values.astype("float64").to_numpy(dtype=float, na_value=np.nan), np.float64
    )
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    found = np.unique(numbers[~np.isnan(numbers)])
    if not found.size:
        return ParallelAxis(numbers, [(0.5, "")])
    wide = theme.spans_decades(found.tolist())
    low, high = float(found[0]), float(found[-1])
    ticks: AxisPositions = found
    if len(found) > max_value_ticks:
        locator = LogLocator(numticks=7) if wide else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
        inside = np.asarray(locator.tick_values(low, high))
        slack = (high - low) * 1e-9
        ticks = inside[(inside >= low - slack) & (inside <= high + slack)]
        if not ticks.size:  # if the values differ only by rounding
            ticks = found[[0, -1]]

    def along(x: AxisPositions) -> AxisPositions:
        if high == low:
            return np.asarray(np.where(np.isnan(x), np.nan, 0.5), float)
        if wide:
            return np.asarray(np.log10(x / low) / np.log10(high / low), float)
        return np.asarray((x - low) / (high - low), float)

    labels = value_labels(float(tick) for tick in ticks)
    return ParallelAxis(along(numbers), list(zip(along(ticks).tolist(), labels, strict=True)), wide)


def spread_equal_points(at: AxisPositions) -> AxisPositions:
    """Offset points of the same value, in the order of the lines, unless there are many values."""
    values, which = np.unique(np.where(np.isnan(at), MISSING_AT, at), return_inverse=True)
    out = values[which]
    if len(values) > 2 * MAX_VALUE_TICKS:
        return out
    for i in range(len(values)):
        same = np.flatnonzero(which == i)
        room = min(POINT_SPACING, 0.004 * (len(same) - 1))
        out[same] += np.linspace(-room, room, len(same)) if len(same) > 1 else 0.0
    return out
