from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from rvlab import metrics
from rvlab.compare._seeds import student_interval
from rvlab.compare._significance import compute_test
from rvlab.compare.intervals import crossed_interval, difference_interval, seed_error
from rvlab.compare.pairing import MIN_PAIRED_SEEDS, PairedSample
from rvlab.compare.resample import bootstrap, expand_level, jackknife_error, permutation_p
from rvlab.compare.scene_matrices import RankedPredictions
from rvlab.compare.weighted_metric import CountMetric, MeanAveragePrecision
from tests.compare.samples import scene_matrices


def mean_of(values: np.ndarray):
    """Return the plain mean as a statistic of weights."""
    return lambda weights: weights @ values / weights.sum(axis=1)


def sides(
    a: np.ndarray, b: np.ndarray, metric=metrics.macro_f1, *, same_seeds=False
) -> PairedSample:
    """Return a paired sample from arrays ``(runs, scenes, K, K)``."""
    names = tuple(f"s{i}" for i in range(a.shape[1]))
    scores = CountMetric(np.concatenate([a, b]), metric)
    places = tuple(range(len(a))), tuple(range(len(a), len(a) + len(b)))
    return PairedSample(scores, *places, names, same_seeds, ("a", "b"), ())


@pytest.mark.parametrize(("n", "method"), [(40, "BCa"), (12, "percentile")])
def test_bootstrap_agrees_with_scipy(n: int, method: str) -> None:
    values = np.random.default_rng(1).lognormal(size=n)
    ours = bootstrap(mean_of(values), n, resamples=4999, seed=3)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4999, method=method, vectorized=True,
        confidence_level=expand_level(0.95, n), rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert ours.method == f"{method} bootstrap over {n} scenes"


def test_interval_of_few_scenes_is_student_t() -> None:
    values = np.array([0.1, 0.4, 0.3, 0.35])
    ours = bootstrap(mean_of(values), 4)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.method == "Student t over 4 scenes"


def test_expanded_level_converges_to_the_nominal_level() -> None:
    assert expand_level(0.95, 6) == pytest.approx(0.9951, abs=2e-4)
    assert expand_level(0.95, 100_000) == pytest.approx(0.95, abs=1e-4)


def test_jackknife_error_of_a_mean_equals_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=9)
    assert jackknife_error(mean_of(values), 9) == pytest.approx(stats.sem(values))


@pytest.mark.parametrize("n", [7, 30])
def test_permutation_test_agrees_with_scipy(n: int) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.25, 1, n), rng.normal(0, 1, n)

    def swapped(mask: np.ndarray) -> np.ndarray:
        return ((1 - 2 * mask) * (a - b)).mean(axis=1)

    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=4999, rng=np.random.default_rng(2),
    ).pvalue  # fmt: skip
    assert permutation_p(swapped, n, resamples=4999, seed=2) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 6, 8])
def test_smallest_p_value_is_two_of_all_permutations(n: int) -> None:
    p = permutation_p(lambda mask: (1 - 2 * mask).mean(axis=1), n)
    assert p == pytest.approx(2 / 2**n)


def test_interval_is_nan_for_one_scene_or_an_undefined_statistic() -> None:
    one = bootstrap(mean_of(np.ones(1)), 1)
    assert np.isnan([one.low, one.high]).all()
    assert np.isnan(bootstrap(lambda w: np.full(len(w), np.nan), 8).low)
    assert permutation_p(lambda mask: np.ones(len(mask)), 1) == 1
    assert np.isnan(permutation_p(lambda mask: np.full(len(mask), np.nan), 5))


def test_constant_statistic_has_an_interval_of_zero_width() -> None:
    assert bootstrap(mean_of(np.full(40, 0.5)), 40)[:2] == (0.5, 0.5)


def test_undefined_resamples_are_left_out_of_the_interval() -> None:
    def only_with_the_first(weights: np.ndarray) -> np.ndarray:
        values = weights @ np.linspace(0, 1, 40) / 40
        return np.where(weights[:, 0] > 0, values, np.nan)

    found = bootstrap(only_with_the_first, 40, resamples=999)
    assert 0.3 < found.low < 0.5 < found.high < 0.7
    assert found.method.startswith("percentile")


FULL = pytest.mark.extended  # the same simulation for more metrics, scenes and seeds


METRICS = {
    "f1": metrics.macro_f1,
    "mean_iou": metrics.mean_iou,
    "f1.road": lambda m: metrics.f1(m)[..., 2],
}


@pytest.mark.parametrize(
    ("metric", "n"),
    [
        *[("f1", n) for n in (3, 6, 12, 30)],
        *[("f1.road", n) for n in (5, 30)],
        *[pytest.param("f1", n, marks=FULL) for n in (2, 5, 100)],
        *[pytest.param("f1.road", n, marks=FULL) for n in (2, 3, 6, 12, 100)],
        *[pytest.param("mean_iou", n, marks=FULL) for n in (2, 3, 5, 6, 12, 30, 100)],
    ],
)
def test_a_nominal_95_percent_interval_covers_90_to_98_percent(metric: str, n: int) -> None:
    """Compare 500 evaluations of two models on n scenes with their score on 40,000 scenes."""
    skills, score = (0.8, 0.5), METRICS[metric]
    everything = scene_matrices(np.random.default_rng(0), 40_000, skills).sum(axis=1)
    truth = score(everything[0]) - score(everything[1])
    hits = 0
    for i in range(500):
        drawn = scene_matrices(np.random.default_rng(1000 + i), n, skills)
        of = sides(drawn[:1], drawn[1:], score)
        low, high, _ = bootstrap(of.weighted_difference, n, resamples=599, seed=i)
        hits += bool(low <= truth <= high)
    assert 0.90 <= hits / 500 <= 0.98


def macro_f1_of(flat: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return metrics.macro_f1((weights @ flat).reshape(-1, 3, 3))


@pytest.mark.parametrize("n", [pytest.param(6, marks=FULL), 12, pytest.param(30, marks=FULL)])
def test_interval_of_a_single_run_covers_its_level(n: int) -> None:
    truth = metrics.macro_f1(scene_matrices(np.random.default_rng(0), 40_000, (0.8,))[0].sum(0))
    hits = 0
    for i in range(500):
        flat = scene_matrices(np.random.default_rng(1000 + i), n, (0.8,))[0].reshape(n, 9)
        low, high, _ = bootstrap(partial(macro_f1_of, flat), n, resamples=599, seed=i)
        hits += bool(low <= truth <= high)
    assert 0.90 <= hits / 500 <= 0.98


def over_several_seeds(rng: np.random.Generator, n: int, seeds: int, scatter: float) -> np.ndarray:
    skills = [0.8 + scatter * rng.normal() for _ in range(seeds)]
    return scene_matrices(rng, n, [*skills, *(0.5 + scatter * rng.normal(size=seeds))])


def covered(n: int, seeds: int, scatter: float, *, paired: bool) -> float:
    """Return how often the interval covers the difference over other scenes and seeds."""
    big = over_several_seeds(np.random.default_rng(0), 300, 400, scatter)
    scores = metrics.macro_f1(big.sum(axis=1))
    truth = scores[:400].mean() - scores[400:].mean()
    hits = 0
    for i in range(500):
        drawn = over_several_seeds(np.random.default_rng(1000 + i), n, seeds, scatter)
        of = sides(drawn[:seeds], drawn[seeds:], same_seeds=paired)
        low, high, _ = crossed_interval(of, 0.95)
        hits += bool(low <= truth <= high)
    return hits / 500


@pytest.mark.parametrize(
    ("n", "seeds", "scatter", "paired"),
    [
        (6, 2, 0.2, False),
        (6, 3, 0.2, True),
        (12, 3, 0.05, False),
        *[pytest.param(*each, False, marks=FULL) for each in [(12, 2, 0.05), (30, 2, 0.2)]],
        *[pytest.param(*each, False, marks=FULL) for each in [(30, 2, 0.5), (6, 3, 0.2)]],
        *[pytest.param(12, 3, 0.05, True, marks=FULL)],
        *[pytest.param(30, 5, 0.2, paired, marks=FULL) for paired in (True, False)],
    ],
)
def test_interval_over_scenes_and_seeds_covers_its_level(
    n: int, seeds: int, scatter: float, paired: bool
) -> None:
    assert 0.90 <= covered(n, seeds, scatter, paired=paired) <= 0.98


def test_pairing_two_seeds_would_cover_too_little() -> None:
    assert covered(30, 2, 0.2, paired=True) < 0.9 <= covered(30, 2, 0.2, paired=False)
    assert MIN_PAIRED_SEEDS == 3


@pytest.mark.parametrize(
    ("n", "seeds", "paired"),
    [(2, 3, True), *[pytest.param(*each, marks=FULL) for each in [(2, 3, False), (3, 2, False)]]],
)
def test_interval_over_few_scenes_and_seeds_is_never_too_narrow(
    n: int, seeds: int, paired: bool
) -> None:
    assert 0.93 <= covered(n, seeds, 0.05, paired=paired) <= 0.995


@pytest.mark.parametrize(
    ("seeds", "skill"),
    [(2, 0.8), (3, 0.8), (5, 0.8), *[pytest.param(n, 4.5, marks=FULL) for n in (2, 3, 5)]],
    ids=lambda value: f"{value:g}",
)
def test_interval_over_seeds_covers_its_level(seeds: int, skill: float) -> None:
    """Compare 500 settings of `seeds` seeds on ten scenes with the mean of 4,000 seeds."""

    def scores(rng: np.random.Generator, many: int) -> np.ndarray:
        skills = skill + 0.2 * rng.normal(size=many)  # with a skill of 4.5, F1 is near its end, 1
        return metrics.macro_f1(scene_matrices(np.random.default_rng(5), 10, skills).sum(axis=1))

    truth = scores(np.random.default_rng(0), 4000).mean()
    hits = 0
    for i in range(500):
        drawn = scores(np.random.default_rng(1000 + i), seeds)
        n = np.array([float(seeds)])
        ends = student_interval(drawn.mean()[None], drawn.std(ddof=1)[None], n, 0.95)
        low, high = np.clip(ends, 0, 1)[:, 0]
        hits += bool(low <= truth <= high)
    assert 0.90 <= hits / 500 <= 0.98


@pytest.mark.parametrize("paired", [True, False])
def test_p_value_over_seeds_agrees_with_scipy(paired: bool) -> None:
    drawn = scene_matrices(np.random.default_rng(4), 10, (0.9, 0.7, 0.8, 0.6, 0.5, 0.55))
    of = sides(drawn[:3], drawn[3:], same_seeds=paired)
    a, b = of.metric_values()
    test = stats.ttest_rel if paired else partial(stats.ttest_ind, equal_var=False)
    assert seed_error(of)[2] == pytest.approx(test(a, b).pvalue)


def test_runs_without_spread_over_seeds_are_tested_over_scenes() -> None:
    drawn = scene_matrices(np.random.default_rng(4), 10, (0.9, 0.5))
    same = sides(drawn[[0, 0]], drawn[[1, 1]], same_seeds=True)
    alone = sides(drawn[:1], drawn[1:])
    options = SimpleNamespace(level=0.95, resamples=999, seed=0)
    many, one = (difference_interval(of, **vars(options)) for of in (same, alone))
    assert many.p_seeds == 0
    assert many.p_scenes == one.p_scenes
    assert many.effect == pytest.approx(one.effect)


@pytest.mark.parametrize(
    ("n", "seeds", "scatter"),
    [(6, 1, 0), *[pytest.param(*each, marks=FULL) for each in [(12, 3, 0.2), (30, 1, 0)]]],
)
def test_false_positive_rate_does_not_exceed_its_level(n: int, seeds: int, scatter: float) -> None:
    """At most 5 % of 300 cases are significant, within the sampling error."""
    alarms = 0
    for i in range(300):
        rng = np.random.default_rng(5000 + i)
        drawn = scene_matrices(rng, n, 0.6 + scatter * rng.normal(size=2 * seeds))
        of = sides(drawn[:seeds], drawn[seeds:], same_seeds=seeds >= MIN_PAIRED_SEEDS)
        alarms += compute_test(of, "f1", level=0.95, resamples=499, seed=i).verdict != "cannot tell"
    assert alarms / 300 <= 0.08


def object_scores(
    rng: np.random.Generator, n: int, skills: Sequence[float], thresholds: Sequence[int]
) -> MeanAveragePrecision:
    """Return the precision of models on n scenes with about 12 objects of two classes each.

    Scenes differ in size and difficulty, equally for all models. In addition, each model has a
    random effect per scene.
    """
    truths = rng.poisson(rng.uniform(2, 10, (n, 2)))
    hard = 0.7 * rng.normal(size=n)
    columns: list[np.ndarray] = []
    for model, skill in enumerate(skills):
        odds = skill + hard + 0.4 * rng.normal(size=n)
        quality = 1 / (1 + np.exp(-odds))
        said = [rng.binomial(truths[:, k], quality) for k in range(2)]
        wrong = [rng.poisson(3 * (1 - quality)) for _ in range(2)]
        for k in range(2):
            scenes = np.repeat(np.tile(np.arange(n), 2), np.concatenate([said[k], wrong[k]]))
            is_hit = np.arange(len(scenes)) < said[k].sum()
            scores = np.round(rng.normal(is_hit * 1.0, 1), 2)  # some are equal
            reached = 1 + rng.binomial(9, quality[scenes])  # of ten IoUs
            bits = np.where(is_hit, (1 << reached) - 1, 0)
            ids = np.full((2, len(scenes)), [[model], [k]])
            columns.append(np.stack([ids[0], scenes, ids[1], scores, bits]))
    runs, scenes, class_ids, scores, bits = np.concatenate(columns, axis=1)
    order = np.lexsort((scenes, -scores))
    whole = (each[order].astype(np.int64) for each in (runs, scenes, class_ids, bits))
    runs, scenes, class_ids, bits = whole
    predictions = RankedPredictions(runs, scenes, class_ids, scores[order], bits)
    return MeanAveragePrecision(
        predictions, np.tile(truths, (len(skills), 1, 1)), [0, 1], thresholds
    )


@pytest.mark.extended
@pytest.mark.parametrize(
    ("n", "seeds", "scatter", "metric"),
    [(6, 1, 0, "mAP50"), (12, 1, 0, "mAP"), (30, 1, 0, "mAP50"), (12, 3, 0.2, "mAP50")],
)
def test_tests_of_average_precision_are_honest_without_a_difference(
    n: int, seeds: int, scatter: float, metric: str
) -> None:
    """At most 5 and 20 % of 300 cases have a p-value of 0.05 and 0.2, within the sampling error.

    The interval of the difference contains 0 in at least 90 %.
    """
    p, covered = [], 0
    thresholds = range(10) if metric == "mAP" else range(1)
    names = tuple(f"s{i}" for i in range(n))
    for i in range(300):
        rng = np.random.default_rng(7000 + i)
        scores = object_scores(rng, n, 0.5 + scatter * rng.normal(size=2 * seeds), thresholds)
        places = tuple(range(seeds)), tuple(range(seeds, 2 * seeds))
        of = PairedSample(scores, *places, names, seeds >= MIN_PAIRED_SEEDS, ("a", "b"), ())
        found = compute_test(of, metric, level=0.95, resamples=199, seed=i)
        p.append(found.p)
        covered += found.low <= 0 <= found.high
    assert np.mean(np.array(p) <= 0.05) <= 0.08
    assert np.mean(np.array(p) <= 0.2) <= 0.26
    assert covered / 300 >= 0.90
