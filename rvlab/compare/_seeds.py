"""The spread of a metric over seeds and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rvlab.compare.columns import metric_column
from rvlab.compare.metric_functions import metric_function
from rvlab.compare.resample import bootstrap, check_level
from rvlab.compare.resolve import RunsLike, load_rows, run_addresses
from rvlab.compare.scene_matrices import align_scenes, load_confusion
from rvlab.compare.seed_groups import SETTING_COLUMNS, group_by_setting
from rvlab.errors import RvlabError, StoreUnreachable, TableError
from rvlab.frame.params import differing_columns, param_columns

if TYPE_CHECKING:
    import pandas as pd

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
    * ``scenes95``: the result of this trained model on other **scenes**. A bootstrap over scenes,
      which sums the confusion matrices of the drawn scenes and computes the metric of the sum, see
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
        One row per group, the best mean first: the columns in which groups differ, then for the
        metric f1 ``f1.mean``, ``f1.std`` (with n-1), ``n`` (seeds), ``f1.ci95_low``,
        ``f1.ci95_high``, ``f1.scenes95_low``, ``f1.scenes95_high``, ``seeds`` as text, and ``run``
        and ``uri`` of the first run. Of runs that repeat a seed the newest counts.

    Raises:
        TableError: If no run has the metric; it lists those that exist.
        SpecError: If the level is invalid.
    """
    import pandas as pd

    runs = load_rows(runs)
    column = metric_column(runs, metric)
    check_level(level)
    scored = runs[runs[column].notna()]
    groups = group_by_setting(scored, ignore)
    single = [rows for rows in groups if len(rows) == 1]
    if confusion is None and single and "uri" in scored:
        confusion = _load_confusion(pd.concat(single))
    chance = _IntervalOptions(column.removeprefix("metrics."), level, resamples, seed)
    names = [c for c in (*SETTING_COLUMNS, *param_columns(runs)) if c in runs]
    apart = [c for c in differing_columns(scored, names) if c != "params.seed" and c not in ignore]
    records = [
        {
            **{name: rows[name].iloc[0] for name in apart},
            **_seed_row(rows, column, confusion, chance),
        }
        for rows in groups
    ]
    columns = [*apart, *chance.columns, "seeds", "run", "uri"]
    table = pd.DataFrame(records, columns=columns)
    dtypes = {**runs[apart].dtypes, **chance.columns, "seeds": "string"}
    by = next(iter(chance.columns))
    return table.astype(dtypes).sort_values(by, ascending=False, kind="stable", ignore_index=True)


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


def _seed_row(
    part: pd.DataFrame, column: str, confusion: pd.DataFrame | None, chance: _IntervalOptions
) -> dict[str, Any]:
    values = part[column].astype("float64")
    over_scenes = (_NAN, _NAN)
    if len(part) == 1 and confusion is not None and "uri" in part:
        over_scenes = _scene_interval(part, confusion, chance)
    t = student_interval([float(v) for v in values], chance.level)
    numbers = (float(values.mean()), float(values.std(ddof=1)), len(part), *t, *over_scenes)
    return {
        **dict(zip(chance.columns, numbers, strict=True)),
        "seeds": ", ".join(map(str, part["seed"])) if "seed" in part else None,
        "run": part.index[0],
        "uri": part["uri"].iloc[0] if "uri" in part else None,
    }


def student_interval(values: Sequence[float], level: float) -> tuple[float, float]:
    """Return Student's t interval of a mean; NaN with fewer than two values."""
    import numpy as np
    from scipy import stats

    n = len(values)
    if n < 2:
        return _NAN, _NAN
    reach = stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / n**0.5
    mean = float(np.mean(values))
    return mean - float(reach), mean + float(reach)


def _scene_interval(
    run: pd.DataFrame, confusion: pd.DataFrame, chance: _IntervalOptions
) -> tuple[float, float]:
    try:
        group, name = _group_and_metric(chance.metric, confusion)
        found = align_scenes(confusion, run_addresses(run), group)
        compute = metric_function(name, found.classes)
    except TableError:
        return _NAN, _NAN  # no matrices, or a metric that is not computed from them
    _, n, k, _ = found.matrices.shape
    flat = found.matrices[0].reshape(n, k * k)
    interval = bootstrap(
        lambda weights: compute((weights @ flat).reshape(-1, k, k)),
        n,
        level=chance.level,
        resamples=chance.resamples,
        seed=chance.seed,
    )
    return interval.clip(0, 1)[:2]


def _group_and_metric(metric: str, confusion: pd.DataFrame) -> tuple[str | None, str]:
    """Split ``test.f1`` into group and metric; ``f1`` has the default group, None."""
    group, _, name = metric.partition(".")
    if name and group in set(confusion["group"]):
        return group, name
    return None, metric


def _load_confusion(runs: pd.DataFrame) -> pd.DataFrame | None:
    try:
        return load_confusion(run_addresses(runs))
    except StoreUnreachable:
        raise
    except RvlabError:
        return None
