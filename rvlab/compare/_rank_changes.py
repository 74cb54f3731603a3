"""Pairs of runs whose order depends on the metric."""

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
"""Metrics that are compared by default, if the table has them."""

_BLOCK_RUNS = 500


def rank_changes(
    runs: RunsLike, metrics: Sequence[str] | None = None, *, across_sets: bool = False
) -> pd.DataFrame:
    """List the pairs of runs that two metrics rank in opposite order.

    Raster Vision's average F1 weights classes by their pixels. A model without a single correct
    road pixel can lead by it and be last by macro F1. For such pairs the choice of the metric
    decides, not the model, so choose the metric before you look at the ranks.

    Args:
        runs: The table of runs, or runs.
        metrics: Columns, with or without ``metrics.``; None selects those of `RANK_METRICS` that
            exist.
        across_sets: Include pairs of runs that were evaluated on different sets, see `board`.

    Returns:
        ``run leads_by by other leads_other_by by_other``: in the metric ``leads_by`` `run` leads
        by ``by``, and in the metric ``leads_other_by`` `other` leads by ``by_other``. One row per
        pair of runs and pair of metrics, sorted by the smaller lead, the largest first. Pairs with
        an undefined value are not listed.

    Raises:
        TableError: If no run has one of the metrics.
        SpecError: If there are fewer than two metrics.
    """
    import numpy as np
    import pandas as pd

    runs = load_rows(runs)
    names = _select_metrics(runs, metrics)
    if len(names) < 2:
        raise SpecError(f"metrics must name at least two, got {', '.join(names) or 'none'}.")
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
    """Count the runs with which each run changes places under another of `RANK_METRICS`."""
    import numpy as np
    import pandas as pd

    values = _metric_values(runs, metric)
    others = [_metric_values(runs, name) for name in _select_metrics(runs, None)]
    counts = np.zeros(len(values), dtype="int64")
    for start in range(0, len(values), _BLOCK_RUNS):  # all pairs of 10,000 runs exceed the memory
        block = slice(start, start + _BLOCK_RUNS)
        gap = values[block, None] - values[None, :]
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
    """Return which pairs of runs share an evaluation set; unrecorded sets count as one set."""
    import numpy as np
    import pandas as pd

    column = eval_set_column(runs, metric)
    if column not in runs:
        return np.ones((len(runs), len(runs)), dtype=bool)
    sets = pd.factorize(runs[column])[0]  # -1 where none is recorded
    same: NDArray[np.bool_] = sets[:, None] == sets[None, :]
    return same


def _metric_values(runs: pd.DataFrame, metric: str) -> Floats:
    return runs[metric].to_numpy(dtype=float, na_value=float("nan"))
