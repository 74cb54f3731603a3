"""Pairs of runs whose order depends on the metric."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from rvlab.compare.columns import metric_column
from rvlab.errors import SpecError
from rvlab.frame.filter_runs import without_prediction_runs
from rvlab.frame.input_tables import RunsLike, eval_set_fingerprint_column, load_rows
from rvlab.model.tables import RANK_METRICS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rvlab.metrics import Floats

_BLOCK_RUNS = 64  # so that a block of 10,000 runs stays in the processor's cache


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

    runs = without_prediction_runs(load_rows(runs))
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
    names = [name for name in _select_metrics(runs, None) if name != metric]
    order = np.argsort(values, kind="stable")
    order = order[: int((~np.isnan(values)).sum())]
    # Ranks are exact in 32 bits, which are compared twice as fast; equal values have equal ranks.
    ranked = _ranks(values[order])
    others = [_ranks(_metric_values(runs, name)[order]) for name in names]
    found = np.zeros(len(order), dtype="int64")
    for start in range(0, len(order), _BLOCK_RUNS):
        block = slice(start, start + _BLOCK_RUNS)
        # Runs are sorted by the metric: those between these places may be equal in it.
        low = int(np.searchsorted(ranked, ranked[block][0], side="left"))
        high = int(np.searchsorted(ranked, ranked[block][-1], side="right"))
        for columns, sides in (
            (slice(0, low), "worse"),
            (slice(low, high), "both"),
            (slice(high, None), "better"),
        ):
            found[columns] += _count_rank_changes(ranked, others, block, columns, sides)
    counts = np.zeros(len(values), dtype="int64")
    counts[order] = found
    return pd.Series(counts, index=runs.index, dtype="int64")


def _count_rank_changes(
    ranked: Floats,
    others: Sequence[Floats],
    block: slice,
    columns: slice,
    sides: str,
) -> NDArray[np.uint8]:
    """Count for each column the runs of the block that lead by one metric and trail by another.

    Args:
        ranked: Ranks in the metric, ascending.
        others: Ranks in the other metrics.
        block: At most 255 runs.
        columns: The runs with which they are compared.
        sides: Whether all columns are ``worse`` or ``better`` than the block, or ``both`` occur.
    """
    import numpy as np

    size = (len(ranked[block]), len(ranked[columns]))
    above, below = np.zeros(size, bool), np.zeros(size, bool)
    for other in others:
        if sides != "better":
            above |= other[columns] > other[block, None]
        if sides != "worse":
            below |= other[columns] < other[block, None]
    if sides == "both":
        above &= ranked[columns] < ranked[block, None]
        below &= ranked[columns] > ranked[block, None]
        above |= below
    flips = below if sides == "better" else above
    return np.asarray(np.add.reduce(flips.view(np.uint8), axis=0, dtype=np.uint8))


def _ranks(values: Floats) -> Floats:
    """Return dense ranks in 32 bits; NaN, which leads by nothing, remains NaN."""
    import numpy as np

    _, ranks = np.unique(values, return_inverse=True)
    return np.where(np.isnan(values), np.float32("nan"), ranks.astype(np.float32))


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

    column = eval_set_fingerprint_column(runs, metric)
    if column not in runs:
        return np.ones((len(runs), len(runs)), dtype=bool)
    sets = pd.factorize(runs[column])[0]  # -1 where none is recorded
    same: NDArray[np.bool_] = sets[:, None] == sets[None, :]
    return same


def _metric_values(runs: pd.DataFrame, metric: str) -> Floats:
    return runs[metric].to_numpy(dtype=float, na_value=float("nan"))
