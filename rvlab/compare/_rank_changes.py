"""Where the order of two runs depends on the metric."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from rvlab.compare.columns import eval_set_column, metric_column
from rvlab.compare.resolve import RunsLike, load_rows
from rvlab.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rvlab.metrics import Floats

RANK_METRICS = ("metrics.f1", "metrics.mean_iou", "metrics.rv_average_f1")
"""Compared by default, as far as the table has them."""

_BLOCK_RUNS = 500


def rank_changes(
    runs: RunsLike, metrics: Sequence[str] | None = None, *, across_sets: bool = False
) -> pd.DataFrame:
    """The pairs of runs of which one leads by one metric and the other by another.

    Raster Vision's average F1 weights classes by their pixels, so a model that never gets a road
    pixel right can lead by it and be last by macro F1. Where runs flip, the metric decides and
    not the model: choose the metric that is worth something to you before you look at the ranks.

    Args:
        runs: The table of runs, or runs.
        metrics: Columns, ``metrics.`` may be left out; None takes those of `RANK_METRICS` that
            exist.
        across_sets: Take also pairs of runs that were evaluated on different sets, see `board`.

    Returns:
        ``run leads_by by other leads_other_by by_other``: by the metric ``leads_by`` `run` is
        ahead by ``by``, and by the metric ``leads_other_by`` `other` is ahead by ``by_other``.
        One row per pair of runs and pair of metrics, the widest first. Undefined flips nothing.

    Raises:
        TableError: If no run has one of the metrics.
        SpecError: If there are fewer than two metrics.
    """
    import numpy as np
    import pandas as pd

    runs = load_rows(runs)
    names = _select_metrics(runs, metrics)
    if len(names) < 2:
        raise SpecError(f"A flip needs two metrics; there is {', '.join(names) or 'none'}.")
    ids = runs.index.to_numpy(dtype=object)
    parts = []
    for first, second in combinations(names, 2):
        gap, other = _differences(runs, first), _differences(runs, second)
        flipped = (gap > 0) & (other < 0)
        if not across_sets:
            flipped &= _share_eval_set(runs, first) & _share_eval_set(runs, second)
        i, j = np.nonzero(flipped)
        parts.append(
            pd.DataFrame(
                {
                    "run": ids[i],
                    "leads_by": pd.Series([first] * len(i), dtype="string"),
                    "by": gap[i, j],
                    "other": ids[j],
                    "leads_other_by": pd.Series([second] * len(i), dtype="string"),
                    "by_other": -other[i, j],
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    widest = table[["by", "by_other"]].min(axis=1).sort_values(ascending=False, kind="stable")
    return table.loc[widest.index].reset_index(drop=True)


def rank_change_counts(runs: pd.DataFrame, metric: str) -> pd.Series[int]:
    """Count with how many runs each run changes places under another of `RANK_METRICS`."""
    import numpy as np
    import pandas as pd

    mine = _metric_values(runs, metric)
    others = [_metric_values(runs, name) for name in _select_metrics(runs, None)]
    counts = np.zeros(len(mine), dtype="int64")
    for start in range(0, len(mine), _BLOCK_RUNS):  # all pairs of ten thousand runs fill the memory
        block = slice(start, start + _BLOCK_RUNS)
        gap = mine[block, None] - mine[None, :]
        flip = np.zeros(gap.shape, dtype=bool)
        for other in others:
            flip |= gap * (other[block, None] - other[None, :]) < 0
        counts[block] = flip.sum(axis=1)
    return pd.Series(counts, index=runs.index, dtype="int64")


def _select_metrics(runs: pd.DataFrame, metrics: Sequence[str] | None) -> list[str]:
    if metrics is None:
        return [name for name in RANK_METRICS if name in runs]
    return list(dict.fromkeys(metric_column(runs, name) for name in metrics))


def _differences(runs: pd.DataFrame, metric: str) -> Floats:
    values = _metric_values(runs, metric)
    gaps: Floats = values[:, None] - values[None, :]
    return gaps


def _share_eval_set(runs: pd.DataFrame, metric: str) -> NDArray[np.bool_]:
    """Which pairs of runs were evaluated on the same; those of which it is not known are alike."""
    import numpy as np
    import pandas as pd

    column = eval_set_column(runs, metric)
    if column not in runs:
        return np.ones((len(runs), len(runs)), dtype=bool)
    sets = pd.factorize(runs[column])[0]  # -1 where it is not known
    same: NDArray[np.bool_] = sets[:, None] == sets[None, :]
    return same


def _metric_values(runs: pd.DataFrame, metric: str) -> Floats:
    return runs[metric].to_numpy(dtype=float, na_value=float("nan"))
