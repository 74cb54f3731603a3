"""The spread of a metric over seeds and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rvlab.compare.columns import drop_missing_columns, is_error, is_score, metric_column
from rvlab.compare.metric_functions import is_object_metric, metric_range
from rvlab.compare.metric_intervals import metric_interval
from rvlab.compare.resample import check_level
from rvlab.compare.scene_matrices import align_scenes, load_confusion
from rvlab.compare.seed_groups import SETTING_COLUMNS, setting_row_numbers
from rvlab.compare.weighted_metric import weighted_metric
from rvlab.errors import RvlabError, StoreUnreachable, TableError
from rvlab.frame.filter_runs import without_prediction_runs
from rvlab.frame.input_tables import RunsLike, load_rows, run_addresses
from rvlab.frame.params import differing_columns, param_columns
from rvlab.model import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rvlab.metrics import Floats

_NAN = float("nan")


def seeds(
    runs: RunsLike,
    metric: str = "metrics.f1",
    *,
    level: float = 0.95,
    ignore: Sequence[str] = (),
    confusion: pd.DataFrame | None = None,
    resamples: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Group runs that differ only in their seed; return mean, spread and confidence intervals.

    There are two intervals for two questions, and neither contains the other:

    * ``ci95``: the result of other **seeds** on these scenes. Student's t,
      ``mean ± t[0.975, n-1] · std / sqrt(n)``, of two or more runs. It assumes a normal
      distribution of runs; with two runs t is 12.7, so the interval is valid but very wide.
      The interval of a score, such as f1, is clipped to 0 and 1.
    * ``scenes95``: the result of this trained model on other **scenes**. A bootstrap over scenes,
      which computes the metric of all drawn scenes together, see
      `rvlab.compare.resample.bootstrap`. Only for groups of a single run, which has no spread over
      seeds.

    Args:
        runs: The table of runs, or runs. Those without the metric are not counted.
        metric: The column; ``f1`` is short for ``metrics.f1``.
        level: The level of both intervals; the column names contain it in percent.
        ignore: Columns in which runs of a group may differ, of ``experiment recipe commit image``
            and the parameters.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads those of single
            runs from their stores. A run without matrices has no interval.
        resamples: Number of resamples of the bootstrap.
        seed: Seed of the resampling.

    Returns:
        One row per group, the best mean first (of an error or a loss, the smallest): the columns in
        which groups differ, then for the metric f1 ``f1.mean``, ``f1.std`` (with n-1), ``n``
        (seeds), ``f1.ci95_low``, ``f1.ci95_high``, ``f1.scenes95_low``, ``f1.scenes95_high``,
        ``seeds`` as text, and ``run`` and ``uri`` of the first run. Of runs that repeat a seed the
        newest counts. Columns of numbers that are missing in all rows are left out, such as the
        intervals over scenes if each group has several runs.

    Raises:
        TableError: If no run has the metric; it lists those that exist.
        SpecError: If the level is invalid.
    """
    import pandas as pd

    runs = without_prediction_runs(load_rows(runs))
    column = metric_column(runs, metric)
    check_level(level)
    scored = runs[runs[column].notna()]
    groups = setting_row_numbers(scored, ignore)
    single = scored.iloc[[places[0] for places in groups if len(places) == 1]]
    if confusion is None and len(single) and "uri" in scored:
        confusion = _load_confusion(single, column)
    options = _IntervalOptions(column.removeprefix("metrics."), level, resamples, seed)
    names = [c for c in (*SETTING_COLUMNS, *param_columns(runs)) if c in runs]
    differing = [
        c for c in differing_columns(scored, names) if c != "params.seed" and c not in ignore
    ]
    firsts = scored.iloc[[places[0] for places in groups]]
    numbers = _group_numbers(scored[column].to_numpy(dtype=float, na_value=_NAN), groups, options)
    if confusion is not None and "uri" in scored:
        matrices = dict(list(confusion.groupby("run", sort=False)))
        group_and_name = _group_and_metric(options.metric, confusion)
        for row in (i for i, places in enumerate(groups) if len(places) == 1):
            if pd.isna(firsts["uri"].iloc[row]):
                continue
            run = run_addresses(firsts.iloc[[row]])
            if run[0].id in matrices:
                numbers[row, -2:] = _scene_interval(
                    run, matrices[run[0].id], group_and_name, options
                )
    table = firsts[differing].reset_index(drop=True)
    table[list(options.columns)] = numbers
    table["seeds"] = _seed_texts(scored, groups)
    table["run"] = firsts.index
    table["uri"] = firsts["uri"].to_numpy() if "uri" in firsts else None
    table = table.astype({**options.columns, "seeds": "string"})
    mean, _, n, *_ = options.columns
    order: dict[str, Any] = {"ascending": is_error(column), "kind": "stable"}
    table = table.sort_values(mean, **order, ignore_index=True)
    return drop_missing_columns(table, [*differing, mean, n, "seeds", "run", "uri"])


def _group_numbers(
    values: Floats, groups: Sequence[NDArray[np.intp]], options: _IntervalOptions
) -> Floats:
    """Return mean, standard deviation, number of runs and intervals of each group, in columns.

    The interval over scenes is missing.
    """
    import numpy as np

    n = np.array([len(places) for places in groups], dtype=float)
    out = np.full((len(groups), len(options.columns)), _NAN)
    if not len(groups):
        return out
    each = values[np.concatenate(list(groups))]
    starts = np.cumsum([0, *n[:-1]]).astype(int)
    mean = np.add.reduceat(each, starts) / n
    squares = np.add.reduceat((each - np.repeat(mean, n.astype(int))) ** 2, starts)
    out[:, 0], out[:, 2] = mean, n
    many = n > 1
    out[many, 1] = np.sqrt(squares[many] / (n[many] - 1))
    out[:, 3], out[:, 4] = student_interval(mean, out[:, 1], n, options.level)
    if is_score(options.metric) or is_object_metric(options.metric):
        out[:, 3:5] = np.clip(out[:, 3:5], *metric_range(options.metric))
    return out


def student_interval(mean: Floats, std: Floats, n: Floats, level: float) -> tuple[Floats, Floats]:
    """Return Student's t intervals of means of n values; NaN with fewer than two values."""
    import numpy as np
    from scipy import stats

    freedom = np.where(n > 1, n - 1, _NAN)
    reach = stats.t.ppf((1 + level) / 2, freedom) * std / np.sqrt(n)
    return mean - reach, mean + reach


def _seed_texts(runs: pd.DataFrame, groups: Sequence[NDArray[np.intp]]) -> list[str | None]:
    if "seed" not in runs:
        return [None] * len(groups)
    texts = [str(seed) for seed in runs["seed"]]
    return [", ".join(texts[i] for i in places) for places in groups]


class _IntervalOptions(NamedTuple):
    """The metric and the options of the intervals."""

    metric: str
    level: float
    resamples: int
    seed: int

    @property
    def columns(self) -> dict[str, str]:
        """Columns with their dtypes."""
        m, percent = self.metric, f"{100 * self.level:g}"
        ends = [f"{m}.{k}{percent}_{end}" for k in ("ci", "scenes") for end in ("low", "high")]
        return {
            f"{m}.mean": "float64",
            f"{m}.std": "float64",
            "n": "int64",
            **dict.fromkeys(ends, "float64"),
        }


def _scene_interval(
    run: Sequence[Run],
    confusion: pd.DataFrame,
    group_and_name: tuple[str | None, str],
    options: _IntervalOptions,
) -> tuple[float, float]:
    group, name = group_and_name
    try:
        found = align_scenes(confusion, run, group)
        metric = weighted_metric(found, name)
    except TableError:
        return _NAN, _NAN  # no matrices, or a metric that is not computed from them
    interval = metric_interval(
        metric,
        name,
        len(found.names),
        level=options.level,
        resamples=options.resamples,
        seed=options.seed,
    )
    return interval[:2]


def _group_and_metric(metric: str, confusion: pd.DataFrame) -> tuple[str | None, str]:
    """Split ``test.f1`` into group and metric; ``f1`` has the default group, None."""
    group, _, name = metric.partition(".")
    if name and group in set(confusion["group"]):
        return group, name
    return None, metric


def _load_confusion(runs: pd.DataFrame, metric: str) -> pd.DataFrame | None:
    try:
        return load_confusion(run_addresses(runs), metric)
    except StoreUnreachable:
        raise
    except RvlabError:
        return None
