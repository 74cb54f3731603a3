"""Is a better than b?"""

# ruff: noqa: PT028  `test` is a test of statistics, not one of pytest's.

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from rvlab.compare.describe import describe_test
from rvlab.compare.intervals import difference_interval
from rvlab.compare.pairing import PairedSample, pair_runs
from rvlab.compare.resample import check_level
from rvlab.compare.resolve import RunsLike
from rvlab.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Test:
    """What a test of a against b came to; a notebook shows the sentence and the numbers.

    Attributes:
        a: What a is called.
        b: What b is called.
        metric: The metric.
        group: The group of scenes.
        value_a: The metric of a, over all scenes; the mean over its runs.
        value_b: The same of b.
        difference: ``value_a - value_b``.
        low: Lower end of the difference's confidence interval.
        high: Its upper end.
        level: Its level, such as 0.95.
        interval: How it was made, in words.
        p: The p-value that decides: the larger one of the next two.
        p_scenes: Of the permutation test over scenes.
        p_seeds: Of Student's t over seeds; NaN with one run on a side.
        p_smallest: The smallest p-value that so few scenes can give, ``2 / 2^n``.
        effect: Cohen's d_z over scenes, by the jackknife: ``difference / (SE · sqrt(n))``.
        scenes: The number of scenes.
        better: Scenes in which a is better.
        worse: Scenes in which a is worse.
        runs_a: The number of runs of a.
        runs_b: The number of runs of b.
        same_seeds: Whether they were paired over seeds.
        verdict: Of a: ``better``, ``worse`` or ``cannot tell``.
        sentence: All of it in words.
    """

    __test__ = False  # its name is no invitation to pytest

    a: str
    b: str
    metric: str
    group: str
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    level: float
    interval: str
    p: float
    p_scenes: float
    p_seeds: float
    p_smallest: float
    effect: float
    scenes: int
    better: int
    worse: int
    runs_a: int
    runs_b: int
    same_seeds: bool
    verdict: str
    sentence: str

    @property
    def has_enough_scenes(self) -> bool:
        """Whether there are scenes enough for any verdict at this level."""
        return self.p_smallest <= 1 - self.level

    def __str__(self) -> str:
        return self.sentence

    def table(self) -> pd.DataFrame:
        """The same as a table of one row."""
        import pandas as pd

        return pd.DataFrame([asdict(self)])

    def _repr_html_(self) -> str:
        shown = self.table().drop(columns=["sentence"]).T.rename(columns={0: ""})
        return f"<p>{escape(self.sentence)}</p>{shown.to_html(float_format='{:.4g}'.format)}"


def test(
    a: RunsLike,
    b: RunsLike,
    metric: str = "f1",
    *,
    group: str | None = None,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    confusion: pd.DataFrame | None = None,
    labels: tuple[str, str] | None = None,
    any_truth: bool = False,
) -> Test:
    """Say whether a is better than b, by how much, and whether it may be chance.

    **Paired over scenes.** Some scenes are hard for everybody; what counts is the difference on the
    same scene. Both must have been scored on the same scenes, with the same truth.

    **Recomputed from summed confusion matrices.** The metric of a run is that of its matrices
    summed over scenes, and so it is in every resample: scenes are drawn (or change sides), their
    matrices are summed, and the metric is computed from the sum. A mean of the scenes' own scores
    is another number: it gives a scene with 12 pixels of road the weight of one with 12,000, a
    scene without road an F1 that is undefined, and its difference can have the other sign. An
    interval for it would not even be about the number in the table.

    **Interval.** With one run on a side, a bootstrap over scenes, BCa from 30 scenes on, see
    `rvlab.compare.resample.bootstrap`. With two or more runs on both sides, Student's t with the
    variance over scenes and that over seeds added, see
    `rvlab.compare.intervals.crossed_interval`; of three seeds in common or more, runs with the same
    seed are paired, and only those count.

    **p-value.** A paired permutation test over scenes and, with seeds on both sides, Student's t
    over seeds; `p` is the larger one, so a small p holds for other scenes and other seeds (an
    intersection-union test; Berger, Technometrics 24, 1982).

    **Worth nothing** with few scenes: with n of them the smallest two-sided p-value is 2/2^n, which
    is 0.25 for three and 0.0625 for five. Below six, no difference, however large, is
    significant at 5 %, and the sentence says so. And with a single run on a side it compares two
    trained models, not two settings: another seed may turn it round. The sentence says that, too.

    Args:
        a: One run, or several that differ only in their seed; of a seed the newest counts. Runs
            that failed beside others that succeeded are left out, which the sentence says.
        b: The same.
        metric: ``f1`` (macro), ``mean_iou``, ``accuracy``, ``precision``, ``recall``, or of a class
            ``f1.building``, ``iou.road``.
        group: The group of scenes; None takes the one that a run's row shows: ``validation``, else
            ``test``, else the first.
        level: The level of the interval; the verdict takes ``1 - level`` for p.
        resamples: How often scenes are drawn and exchanged.
        seed: Makes it repeatable.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        labels: What to call a and b.
        any_truth: Compare also where labels or areas of interest differ.

    Raises:
        TableError: If no matrix gives the metric, a run has none, a and b have no scene in common,
            other classes, or other truth.
        SpecError: If an argument is out of range, names no run, or a side has several settings.
    """
    check_test_options(level, resamples)
    of = pair_runs(
        a, b, metric, group=group, confusion=confusion, labels=labels, any_truth=any_truth
    )
    return compute_test(of, metric, level=level, resamples=resamples, seed=seed)


def check_test_options(level: float, resamples: int) -> None:
    """Raises SpecError if a test cannot be made with these."""
    check_level(level)
    if resamples < 99:
        raise SpecError(f"resamples={resamples} are too few. Give 999 or more.")


def compute_test(of: PairedSample, metric: str, *, level: float, resamples: int, seed: int) -> Test:
    """The test of two sides that stand side by side."""
    import numpy as np

    found = difference_interval(of, level=level, resamples=resamples, seed=seed)
    n = len(of.scenes)
    values = [float(v.mean()) for v in of.metric_values()]
    difference = values[0] - values[1]
    each = of.weighted_difference(np.eye(n))
    p = max([found.p_scenes, *([] if np.isnan(found.p_seeds) else [found.p_seeds])])
    low, high, how = found.interval
    clear = p <= 1 - level and (low > 0 or high < 0)
    made = Test(
        *of.labels,
        metric=metric.removeprefix("metrics."),
        group=of.group,
        value_a=values[0],
        value_b=values[1],
        difference=difference,
        low=low,
        high=high,
        level=level,
        interval=how,
        p=p,
        p_scenes=found.p_scenes,
        p_seeds=found.p_seeds,
        p_smallest=min(1.0, 2 / 2.0**n),
        effect=found.effect,
        scenes=n,
        better=int((each > 0).sum()),
        worse=int((each < 0).sum()),
        runs_a=len(of.a),
        runs_b=len(of.b),
        same_seeds=of.same_seeds,
        verdict=("better" if difference > 0 else "worse") if clear else "cannot tell",
        sentence="",
    )
    return replace(made, sentence=describe_test(made, of.notes))
