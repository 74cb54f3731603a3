"""A significance test of two runs or settings."""

# ruff: noqa: PT028  `test` is a statistical test, not a pytest test.

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rvlab.compare.columns import is_error
from rvlab.compare.describe import describe_test
from rvlab.compare.display import comparison_html
from rvlab.compare.intervals import difference_interval
from rvlab.compare.metric_functions import metric_range
from rvlab.compare.pairing import PairedSample, pair_runs
from rvlab.compare.resample import check_level
from rvlab.compare.truth import AnyTruth
from rvlab.errors import SpecError
from rvlab.frame.input_tables import RunsLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Test:
    """The result of a test of a against b; a notebook shows the sentence and the numbers.

    Attributes:
        a: Label of a.
        b: Label of b.
        metric: The metric.
        group: The group of scenes.
        value_a: The metric of a, over all scenes; the mean over its runs.
        value_b: The same for b.
        difference: ``value_a - value_b``.
        low: Lower end of the difference's confidence interval.
        high: Its upper end.
        level: Its level, such as 0.95.
        interval: The method of the interval, in words.
        p: The p-value of the verdict: the larger one of the next two.
        p_scenes: The p-value of the permutation test over scenes.
        p_seeds: The p-value of Student's t over seeds; NaN with one run on a side.
        p_smallest: The smallest possible p-value with this number of scenes, ``2 / 2^n``.
        effect: Cohen's d_z over scenes, by the jackknife: ``difference / (SE · sqrt(n))``.
        scenes: The number of scenes.
        better: Scenes in which a is better.
        worse: Scenes in which a is worse.
        runs_a: The number of runs of a.
        runs_b: The number of runs of b.
        same_seeds: Whether runs were paired by seed.
        verdict: ``better``, ``worse`` or ``cannot tell``, of a.
        sentence: The result in words.
    """

    __test__ = False  # pytest must not collect a class of this name

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
        """Whether there are enough scenes for a verdict at this level."""
        return self.p_smallest <= 1 - self.level

    @property
    def disagreement(self) -> str:
        """Why interval and p-value disagree about the level; empty where they agree.

        The interval says how large the difference may be, and p whether there is one. They use
        different methods, so only one of them may exclude a difference of 0.
        """
        excludes, significant = self.low > 0 or self.high < 0, self.p <= 1 - self.level
        if self.low != self.low or self.p != self.p or excludes == significant:
            return ""
        if not self.has_enough_scenes:
            return (
                "The interval nevertheless excludes 0: it assumes that differences of scenes have "
                "a normal distribution, which so few scenes cannot show. The p-value assumes only "
                "that a and b could be exchanged, so rely on it."
            )
        tests = "permutations of scenes"
        if self.p_seeds == self.p_seeds:
            each = f"{self.p_scenes:.3g} over scenes and {self.p_seeds:.3g} over seeds"
            tests = f"the larger p-value of {each}"
        return (
            f"The interval {'excludes' if excludes else 'contains'} 0 although p is "
            f"{'not below' if excludes else 'at most'} {1 - self.level:.2g}: they are close to the "
            f"limit and use different methods ({self.interval}; {tests}). A verdict needs both."
        )

    def __str__(self) -> str:
        return self.sentence

    def table(self) -> pd.DataFrame:
        """Return the attributes as a table of one row."""
        import pandas as pd

        return pd.DataFrame([asdict(self)])

    def __repr__(self) -> str:
        """Return the verdict and the numbers behind it, without the rest."""
        return (
            f"Test({self.verdict!r}, {self.metric}: difference={self.difference:.4g}, "
            f"low={self.low:.4g}, high={self.high:.4g}, p={self.p:.3g}, scenes={self.scenes})"
        )

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show the sentence in a terminal."""
        printer.text(self.sentence)

    def _repr_html_(self) -> str:
        return comparison_html(self, self.sentence, self.verdict)


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
    any_truth: AnyTruth = False,
) -> Test:
    """Test whether a is better than b, with an interval and a p-value for the difference.

    **Paired over scenes.** Some scenes are hard for every model, so the test uses the difference on
    the same scene. Both sides must have been scored on the same scenes with the same truth.

    **Recomputed from summed confusion matrices.** The metric of a run is computed from its matrices
    summed over scenes, also in every resample: scenes are drawn (or exchanged), their matrices are
    summed, and the metric is computed from the sum. A mean of the scores of single scenes is a
    different number. It gives a scene with 12 pixels of road the weight of one with 12,000, is
    undefined for a scene without road, and its difference can have the opposite sign. Its interval
    would not apply to the number in the table.

    **Interval.** With one run on a side, a bootstrap over scenes, BCa from 30 scenes on, see
    `rvlab.compare.resample.bootstrap`. With two or more runs on both sides, Student's t with the
    sum of the variances over scenes and over seeds, see
    `rvlab.compare.intervals.crossed_interval`. From three seeds in common on, runs with the same
    seed are paired, and only those count.

    **p-value.** A paired permutation test over scenes and, with seeds on both sides, Student's t
    over seeds. `p` is the larger one, so a small p is valid for other scenes and other seeds (an
    intersection-union test; Berger, Technometrics 24, 1982).

    **Interval and p-value** use different methods, so one may exclude a difference of 0 and the
    other not. The verdict then is ``cannot tell``, and the sentence gives the reason.

    **Few scenes.** With n scenes the smallest two-sided p-value is 2/2^n, which is 0.25 for three
    and 0.0625 for five. With fewer than six, no difference is significant at 5 %. With a single run
    on a side, the test compares two trained models, not two settings: another seed may give the
    opposite result. The sentence reports both limits.

    Args:
        a: One run, or several that differ only in their seed; of each seed the newest run counts.
            Failed runs are left out if others succeeded, which the sentence reports.
        b: The same.
        metric: ``f1`` (macro), ``mean_iou``, ``accuracy``, ``precision``, ``recall``, or of a class
            ``f1.building``, ``iou.road``; or of objects, also of a detection: ``object_f1``,
            ``object_precision`` and ``object_recall`` at an IoU of 0.5, ``mAP``, ``mAP50`` (if
            predictions have scores), ``count_error`` (less is better), ``object_f1.building``; or
            of pixels near contours: ``boundary_iou``, ``boundary_iou.building``.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.
        level: The level of the interval; the verdict compares p with ``1 - level``.
        resamples: Number of resamples of the bootstrap and the permutation test.
        seed: Seed of the resampling.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        labels: Labels of a and b.
        any_truth: Compare also where the truth differs: True, or the names of fingerprints whose
            differences are accepted: ``labels``, ``aois`` (areas of interest), ``grid``.

    Raises:
        TableError: If the metric cannot be computed from confusion matrices, a run has none, or a
            and b have no scene in common, different classes or different truth.
        SpecError: If an argument is out of range or contains no run, or a side has several
            settings.
    """
    check_test_options(level, resamples)
    sample = pair_runs(
        a, b, metric, group=group, confusion=confusion, labels=labels, any_truth=any_truth
    )
    return compute_test(sample, metric, level=level, resamples=resamples, seed=seed)


def check_test_options(level: float, resamples: int) -> None:
    """Validate the level and the number of resamples of a test.

    Raises:
        SpecError: If one of them is out of range.
    """
    check_level(level)
    if resamples < 99:
        raise SpecError(f"resamples must be at least 99, got {resamples}. Use 999 or more.")


def compute_test(of: PairedSample, metric: str, *, level: float, resamples: int, seed: int) -> Test:
    """Compute the test of a paired sample."""
    import numpy as np

    found = difference_interval(of, level=level, resamples=resamples, seed=seed)
    n = len(of.scenes)
    values = [float(v.mean()) for v in of.metric_values()]
    difference = values[0] - values[1]
    each = of.weighted_difference(np.eye(n))
    p = max([found.p_scenes, *([] if np.isnan(found.p_seeds) else [found.p_seeds])])
    least, most = metric_range(metric)
    low, high, how = found.interval.clip(least - most, most - least)
    clear = p <= 1 - level and (low > 0 or high < 0)
    gain = -1 if is_error(metric) else 1
    result = Test(
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
        better=int((gain * each > 0).sum()),
        worse=int((gain * each < 0).sum()),
        runs_a=len(of.a),
        runs_b=len(of.b),
        same_seeds=of.same_seeds,
        verdict=("better" if gain * difference > 0 else "worse") if clear else "cannot tell",
        sentence="",
    )
    return replace(result, sentence=describe_test(result, of.notes))
