"""Interval and p-values of the difference of two sides, over scenes and over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rvlab.compare.pairing import PairedSample
from rvlab.compare.resample import Interval, bootstrap, jackknife_error, permutation_p

if TYPE_CHECKING:
    from rvlab.metrics import Floats


class DifferenceInterval(NamedTuple):
    """The uncertainty of a difference; NaN where it cannot be computed.

    Attributes:
        interval: Its confidence interval.
        p_scenes: Permutation p-value over scenes.
        p_seeds: p-value of Student's t over seeds.
        effect: The difference in standard deviations over scenes.
    """

    interval: Interval
    p_scenes: float
    p_seeds: float
    effect: float


def difference_interval(
    of: PairedSample, *, level: float, resamples: int, seed: int
) -> DifferenceInterval:
    """Compute interval, p-values and effect size of ``a - b``; see `rvlab.compare.test`."""
    n = len(of.scenes)
    difference = _difference(of)
    error = jackknife_error(of.weighted_difference, n)
    p_scenes = permutation_p(of.swapped_difference, n, resamples=resamples, seed=seed)
    effect = difference / (error * n**0.5) if error > 0 else float("nan")
    if min(len(of.a), len(of.b)) < 2:
        interval = bootstrap(of.weighted_difference, n, level=level, resamples=resamples, seed=seed)
        return DifferenceInterval(interval, p_scenes, float("nan"), effect)
    return DifferenceInterval(crossed_interval(of, level), p_scenes, seed_error(of)[2], effect)


def seed_error(of: PairedSample) -> tuple[float, float, float]:
    """Return the standard error over seeds, its degrees of freedom and Student's t p-value.

    The paired t-test where both sides have the same seeds, else Welch's, as
    `scipy.stats.ttest_rel` and ``ttest_ind(equal_var=False)`` compute them. Where runs do not vary
    at all, the p-value is 1 without a difference and 0 with one.
    """
    import numpy as np
    from scipy import stats

    a, b = of.metric_values()
    each = [a - b] if of.same_seeds else [a, b]
    variances = [float(np.var(v, ddof=1)) / len(v) for v in each]
    total = sum(variances)
    if not total > 0:
        rest = float("nan") if np.isnan(total) else float(_difference(of) == 0)
        return total, min(len(v) for v in each) - 1.0, rest
    df = total**2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, each, strict=True))
    p = 2 * float(stats.t.sf(abs(_difference(of)) / total**0.5, df))
    return total**0.5, df, p


def crossed_interval(of: PairedSample, level: float) -> Interval:
    """Return an interval that is valid for other scenes and other seeds.

    Both sources of variance count: runs of several seeds share the effects of their scenes, and
    scores of many scenes share the effect of their seed. In a table of seeds by scenes, the
    variance of the overall mean is the variance over scenes plus the variance over seeds, minus the
    interaction of scene and seed, which both contain (two-way analysis of variance with random
    effects; Searle, Casella and McCulloch, "Variance Components", 1992, chapter 4). The result is
    at least the larger of the first two. The degrees of freedom are those of their sum,

        ``df = (V₁ + V₂)² / (V₁²/df₁ + V₂²/df₂)``

    (Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
    Bulletin 2, 1946). In simulations of 2 to 5 seeds on 6 to 30 scenes a nominal 95 % covered 91
    to 98 %, and 94 to 99 % on 3 scenes, where it is wider than necessary; an interval over scenes
    alone covered 36 to 94 %. In place of the score of a scene, the jackknife pseudo-value is used:
    the contribution of the scene to the score of the summed matrices.
    """
    import numpy as np
    from scipy import stats

    n, value = len(of.scenes), _difference(of)
    how = f"Student t over {n} scenes and {_runs_text(of)}"
    scenes = jackknife_error(of.weighted_difference, n) ** 2
    error, df_seeds, _ = seed_error(of)
    seeds = error**2
    total = max(scenes + seeds - _interaction_variance(of), scenes, seeds)
    if n < 2 or np.isnan(scenes + seeds):
        return Interval(float("nan"), float("nan"), "none")
    if total == 0:
        return Interval(value, value, how)
    df = (scenes + seeds) ** 2 / (scenes**2 / (n - 1) + seeds**2 / df_seeds)
    reach = float(stats.t.ppf((1 + level) / 2, df)) * total**0.5
    return Interval(value - reach, value + reach, how)


def _interaction_variance(of: PairedSample) -> float:
    """Return the contribution of the scene-seed interaction to the variance of the overall mean."""
    n = len(of.scenes)
    a, b = (_pseudo_values(of, side) for side in (of.a, of.b))
    total = 0.0
    for table in [a - b] if of.same_seeds else [a, b]:
        residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        freedom = max(1, (len(table) - 1) * (n - 1))
        total += float((residual**2).sum()) / freedom / table.size
    return total


def _pseudo_values(of: PairedSample, side: tuple[int, ...]) -> Floats:
    """Return the contribution of each scene to each run's score, shape ``(runs, scenes)``."""
    import numpy as np

    n = len(of.scenes)
    total = of.weighted_scores(side, np.ones((1, n)))
    out: Floats = n * total - (n - 1) * of.weighted_scores(side, 1 - np.eye(n))
    return out


def _difference(of: PairedSample) -> float:
    a, b = of.metric_values()
    return float(a.mean() - b.mean())


def _runs_text(of: PairedSample) -> str:
    if of.same_seeds:
        return f"{len(of.a)} seeds that both have"
    if len(of.a) == len(of.b):
        return f"{len(of.a)} seeds each"
    return f"{len(of.a)} and {len(of.b)} seeds"
