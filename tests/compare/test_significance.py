from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.lib.pretty import pretty
from scipy import stats

from rvlab import compare, metrics
from rvlab.compare.describe import describe_test
from rvlab.errors import SpecError, TableError
from tests.compare.samples import CLASSES, confusion, scene_matrices, table
from tests.frame.samples import Made


def two(scenes: int, skills: tuple[float, float] = (1.2, 0.4), seed: int = 1):
    """Return two runs and the table of their matrices."""
    cube = scene_matrices(np.random.default_rng(seed), scenes, skills)
    return table({"a": {}, "b": {}}), confusion({"a": cube[0], "b": cube[1]}), cube


def test_sentence_reports_a_clear_difference_with_its_numbers() -> None:
    runs, matrices, cube = two(12)
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, resamples=4999)
    assert found.verdict == "better"
    assert found.value_a == pytest.approx(metrics.macro_f1(cube[0].sum(axis=0)))
    assert found.difference == pytest.approx(found.value_a - found.value_b)
    assert 0 < found.low < found.difference < found.high
    assert found.p == found.p_scenes == pytest.approx(2 / 2**12)
    assert found.better == found.scenes == 12
    assert re.match(r"a is better than b: macro F1 0\.\d{3} against 0\.\d{3}, a diff", str(found))
    assert "percentile bootstrap over 12 scenes" in found.sentence
    assert found.sentence.endswith("One run each: this says nothing about other seeds.")


def test_exchanging_the_sides_reverses_the_verdict() -> None:
    runs, matrices, _ = two(12)
    found = compare.test(runs.loc["b"], runs.loc["a"], confusion=matrices, resamples=999)
    assert found.verdict == "worse"
    assert found.high < 0


@pytest.mark.parametrize("scenes", [1, 3, 5])
def test_sentence_reports_that_few_scenes_cannot_be_significant(scenes: int) -> None:
    runs, matrices, _ = two(scenes, (3.0, -1.0))
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices)
    assert found.verdict == "cannot tell"
    assert not found.has_enough_scenes
    assert found.p_smallest == 2 / 2**scenes
    assert "this test cannot be significant: its smallest possible p-value is" in found.sentence


def test_interval_of_few_scenes_that_excludes_0_is_explained() -> None:
    """Two scenes with nearly equal differences have a narrow interval beside p = 0.5."""
    cube = np.zeros((2, 2, 3, 3))
    for scene, errors in enumerate((100, 104)):
        cube[0, scene], cube[1, scene] = np.diag([1000] * 3), np.diag([1000] * 3)
        cube[1, scene, 0, :2] = 1000 - errors, errors
    runs, matrices = table({"a": {}, "b": {}}), confusion({"a": cube[0], "b": cube[1]})
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices)
    assert found.low > 0
    assert found.p == 0.5
    assert found.verdict == "cannot tell"
    assert "The interval nevertheless excludes 0: it assumes" in found.sentence
    assert "rely on it" in found.sentence


@pytest.mark.parametrize(
    ("low", "p", "p_seeds", "reason"),
    [
        (0.01, 0.06, np.nan, "excludes 0 although p is not below 0.05"),
        (-0.01, 0.04, np.nan, "contains 0 although p is at most 0.05"),
        (0.01, 0.08, 0.08, "the larger p-value of 0.06 over scenes and 0.08 over seeds"),
        (0.01, 0.03, np.nan, ""),
        (-0.01, 0.2, np.nan, ""),
    ],
)
def test_disagreement_of_interval_and_p_value_is_explained(
    low: float, p: float, p_seeds: float, reason: str
) -> None:
    runs, matrices, _ = two(12)
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, resamples=999)
    odd = replace(found, low=low, p=p, p_scenes=min(p, 0.06), p_seeds=p_seeds)
    assert reason in odd.disagreement
    assert bool(odd.disagreement) == bool(reason)
    assert odd.disagreement in describe_test(odd)


def test_notebook_shows_no_missing_numbers() -> None:
    runs, matrices, _ = two(12)
    shown = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, resamples=999)
    assert np.isnan(shown.p_seeds)
    assert "p_scenes" in shown._repr_html_()
    assert "p_seeds" not in shown._repr_html_()
    assert "p_seeds" in shown.table()


def test_six_scenes_can_be_significant() -> None:
    runs, matrices, _ = two(6, (3.0, -1.0))
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices)
    assert found.has_enough_scenes
    assert (found.verdict, found.p) == ("better", 2 / 2**6)
    assert "cannot be significant" not in found.sentence


def test_equal_predictions_have_no_difference() -> None:
    runs, _, cube = two(8)
    matrices = confusion({"a": cube[0], "b": cube[0]})
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, resamples=999)
    assert (found.low, found.high, found.p) == (0, 0, 1)
    assert found.verdict == "cannot tell"


@pytest.mark.parametrize(
    "metric", ["f1", "mean_iou", "accuracy", "f1.road", "metrics.iou.building"]
)
def test_every_metric_is_computed_from_summed_matrices(metric: str) -> None:
    runs, matrices, cube = two(7)
    found = compare.test(runs.loc["a"], runs.loc["b"], metric, confusion=matrices, resamples=999)
    total = cube[0].sum(axis=0)
    expected = {
        "f1": metrics.macro_f1(total),
        "mean_iou": metrics.mean_iou(total),
        "accuracy": metrics.accuracy(total),
        "f1.road": metrics.f1(total)[2],
        "iou.building": metrics.iou(total)[1],
    }
    assert found.value_a == pytest.approx(expected[metric.removeprefix("metrics.")])


def test_mean_of_scene_scores_can_have_the_opposite_sign() -> None:
    """One scene has nearly all road pixels, seven scenes have a few each."""
    large = np.array([[9000, 0, 0], [0, 500, 0], [0, 0, 4000]])
    small = np.array([[9000, 0, 0], [0, 500, 0], [0, 0, 4]])
    worse_large = np.array([[9000, 0, 0], [0, 500, 0], [3000, 0, 1000]])
    worse_small = np.array([[9000, 0, 0], [0, 500, 0], [3, 0, 1]])
    a = np.stack([large, *[worse_small] * 7])
    b = np.stack([worse_large, *[small] * 7])
    runs, matrices = table({"a": {}, "b": {}}), confusion({"a": a, "b": b})
    found = compare.test(runs.loc["a"], runs.loc["b"], "f1.road", confusion=matrices)
    per_scene = metrics.f1(a)[:, 2] - metrics.f1(b)[:, 2]
    assert found.difference > 0.4
    assert per_scene.mean() < -0.4
    assert (found.better, found.worse) == (1, 7)
    # The interval shows the dependence on one scene; a mean of scene scores hides it.
    assert found.low <= 0 < found.high
    assert stats.wilcoxon(per_scene).pvalue < 0.1


def test_effect_of_a_plain_mean_equals_cohens_d_z() -> None:
    """With scenes of equal size and class ratio, accuracy is a plain mean over scenes."""
    rng = np.random.default_rng(0)
    right = rng.integers(50, 90, size=(2, 9))
    cubes = np.array([[[[r, 100 - r], [0, 0]] for r in run] for run in right])
    matrices = confusion({"a": cubes[0], "b": cubes[1]}, classes=("x", "y"))
    runs = table({"a": {}, "b": {}})
    found = compare.test(runs.loc["a"], runs.loc["b"], "accuracy", confusion=matrices)
    d = (right[0] - right[1]) / 100
    assert found.effect == pytest.approx(d.mean() / d.std(ddof=1))
    theirs = stats.permutation_test(
        (right[0] / 100, right[1] / 100), lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples", vectorized=True,
    ).pvalue  # fmt: skip
    assert found.p == pytest.approx(theirs)


def several(scatter: float, seeds_b: tuple[int, ...] = (0, 1, 2)):
    rng = np.random.default_rng(3)
    skills = [*(1.0 + scatter * rng.normal(size=3)), *(0.6 + scatter * rng.normal(size=3))]
    cube = scene_matrices(rng, 10, skills)
    ids = [f"a{i}" for i in range(3)] + [f"b{i}" for i in range(3)]
    rows = {run: {"seed": s} for run, s in zip(ids, (0, 1, 2, *seeds_b), strict=True)}
    return table(rows), confusion(dict(zip(ids, cube, strict=True)))


def test_runs_with_equal_seeds_are_paired_and_both_p_values_must_be_small() -> None:
    runs, matrices = several(0.02)
    found = compare.test(runs[:3], runs[3:], confusion=matrices, resamples=999)
    assert found.same_seeds
    assert (found.runs_a, found.runs_b) == (3, 3)
    assert found.p == max(found.p_scenes, found.p_seeds)
    assert found.verdict == "better"
    assert found.interval == "Student t over 10 scenes and 3 seeds that both have"
    assert "other seeds" not in found.sentence


def test_wide_spread_over_seeds_gives_no_verdict() -> None:
    runs, matrices = several(1.0)
    found = compare.test(runs[:3], runs[3:], confusion=matrices, resamples=999)
    assert found.p == found.p_seeds > 0.05
    assert found.verdict == "cannot tell"


def test_runs_with_different_seeds_are_not_paired() -> None:
    runs, matrices = several(0.02, (7, 8, 9))
    found = compare.test(runs[:3], runs[3:], confusion=matrices, resamples=999)
    assert not found.same_seeds
    assert found.interval.endswith("over 10 scenes and 3 seeds each")


def test_seeds_of_only_one_side_are_left_out_and_reported() -> None:
    runs, matrices = several(0.02, (1, 2, 9))
    others = runs.iloc[[0, 5]].set_axis(["a3", "b3"]).assign(seed=[9, 0])
    more = matrices.replace({"run": {"a0": "a3", "b2": "b3"}}).query("run in ('a3', 'b3')")
    both, counts = pd.concat([runs, others]), pd.concat([matrices, more])
    both["uri"] = [f"/store/towns/{run}" for run in both.index]
    sides = both.loc[["a0", "a1", "a2"]], both.loc[["b0", "b1", "b2", "b3"]]
    found = compare.test(*sides, confusion=counts, resamples=999)
    assert (found.runs_a, found.runs_b, found.same_seeds) == (3, 3, True)
    assert "Runs with the seed 9 are left out: only one side" in found.sentence


def test_two_common_seeds_are_not_paired_and_none_is_left_out() -> None:
    runs, matrices = several(0.02, (1, 2, 9))
    found = compare.test(runs[:3], runs[3:], confusion=matrices, resamples=999)
    assert (found.runs_a, found.runs_b, found.same_seeds) == (3, 3, False)
    assert "left out" not in found.sentence


def test_scenes_that_some_runs_lack_are_left_out_and_reported() -> None:
    runs, _, cube = two(8)
    names = {"a": [f"s{i}" for i in range(8)], "b": [f"s{i}" for i in range(1, 8)]}
    matrices = confusion({"a": cube[0], "b": cube[1][1:]}, names=names)
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, resamples=999)
    assert found.scenes == 7
    assert "Not all runs have these scenes, so they are left out: s0." in found.sentence


def test_error_lists_the_scenes_of_runs_without_a_common_scene() -> None:
    runs, _, cube = two(2)
    names = {"a": ["north", "south"], "b": ["east", "west"]}
    matrices = confusion({"a": cube[0], "b": cube[1]}, names=names)
    with pytest.raises(
        TableError, match=r"no scene of 'validation' in common: a has north, south; b"
    ):
        compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices)


def test_different_labels_are_refused_unless_any_truth_is_set() -> None:
    runs, _, cube = two(8)
    other = cube[1].copy()
    other[3, 0, 0] += 10
    matrices = confusion({"a": cube[0], "b": other})
    with pytest.raises(TableError, match=r"same truth in 1 of 8 scenes: s003.*any_truth=True"):
        compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices)
    compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, any_truth=True, resamples=999)


def test_unknown_metric_raises_an_error_that_lists_the_available_ones() -> None:
    runs, matrices, _ = two(2)
    with pytest.raises(TableError, match=r"'f1.raod'. Did you mean 'f1.road'.*mean_iou, accuracy"):
        compare.test(runs.loc["a"], runs.loc["b"], "f1.raod", confusion=matrices)


def test_errors_name_a_run_without_matrices_and_a_group_without_scenes() -> None:
    runs, matrices, _ = two(2)
    with pytest.raises(TableError, match=r"No confusion matrix per scene: b\. A run has them once"):
        compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices.query("run == 'a'"))
    with pytest.raises(TableError, match=r"group 'test': a, b\. Groups of these runs: validation"):
        compare.test(runs.loc["a"], runs.loc["b"], group="test", confusion=matrices)


def test_default_group_is_that_of_the_headline_metrics() -> None:
    runs, matrices, cube = two(7)
    tested = confusion({"a": cube[0], "b": cube[1]}, group="test")
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=tested, resamples=999)
    assert found.group == "test"
    both = pd.concat([tested, matrices])
    for given, expected in ((None, "validation"), ("test", "test")):
        one = compare.test(runs.loc["a"], runs.loc["b"], group=given, confusion=both, resamples=999)
        assert one.group == expected


def test_different_classes_are_refused() -> None:
    runs, matrices, cube = two(2)
    renamed = confusion({"b": cube[1]}, classes=("background", "building", "river"))
    with pytest.raises(TableError, match="A metric over different classes is not the same metric"):
        compare.test(
            runs.loc["a"],
            runs.loc["b"],
            confusion=pd.concat([matrices.query("run == 'a'"), renamed]),
        )


def test_absent_class_is_undefined_and_not_zero() -> None:
    runs, _, cube = two(7)
    cube[:, :, 2, :] = 0
    cube[:, :, :, 0] += cube[:, :, :, 2]
    cube[:, :, :, 2] = 0
    matrices = confusion({"a": cube[0], "b": cube[1]})
    found = compare.test(runs.loc["a"], runs.loc["b"], "f1.road", confusion=matrices)
    assert np.isnan([found.value_a, found.difference, found.low, found.p, found.effect]).all()
    assert found.verdict == "cannot tell"
    assert found.sentence.startswith("The F1 of road is undefined for a or b")


def test_unlabelled_pixels_are_in_no_metric() -> None:
    runs, _, cube = two(7)
    with_null = np.zeros((2, 7, 4, 4))
    with_null[:, :, :3, :3] = cube
    with_null[:, :, 3, 0] = 5000
    matrices = confusion({"a": with_null[0], "b": with_null[1]}, classes=(*CLASSES, "null"))
    found = compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, resamples=999)
    assert found.value_a == pytest.approx(metrics.macro_f1(cube[0].sum(axis=0)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"level": 95}, "level must be at least 0.5 and below 1, such as 0.95, got 95"),
        ({"level": "95%"}, "such as 0.95, got '95%'"),
        ({"level": float("nan")}, "such as 0.95, got nan"),
        ({"resamples": 5}, "resamples must be at least 99, got 5"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    runs, matrices, _ = two(2)
    with pytest.raises(SpecError, match=message):
        compare.test(runs.loc["a"], runs.loc["b"], confusion=matrices, **wrong)


def test_result_has_a_notebook_view_and_a_table_row() -> None:
    runs, matrices, _ = two(6)
    found = compare.test(
        runs.loc["a"], runs.loc["b"], confusion=matrices, labels=("<wide>", "narrow")
    )
    html = found._repr_html_()
    assert "<p>&lt;wide&gt; is better than narrow" in html
    assert 'rvlab-good">better</span>' in html
    assert html.count("<circle") == 1, "the interval is drawn"
    assert found.interval in html
    assert repr(found).startswith("Test('better', f1: difference=")
    assert len(repr(found)) < 150
    assert pretty(found) == str(found)
    unknown = replace(found, low=float("nan"))
    assert "<svg" not in unknown._repr_html_()
    row = found.table()
    assert len(row) == 1
    assert row.loc[0, "difference"] == found.difference


def test_runs_are_read_from_their_stores_by_uri(made: Made) -> None:
    matrices = scene_matrices(np.random.default_rng(1), 6, (2.0, 0.0))
    runs = [made.ended({"lr": lr}) for lr in (1, 2)]
    for run, cube in zip(runs, matrices, strict=True):
        rows = confusion({run.id: cube}).drop(columns="run").astype(object)
        made.table(run, "confusion", rows.where(rows.notna(), None).to_dict("records"))
    found = compare.test(runs[0], runs[1].uri, resamples=999)
    assert found.verdict == "better"
    assert (found.a, found.b) == ("lr=1", "lr=2")
    again = compare.test([runs[0]], [runs[1]], resamples=999)
    pd.testing.assert_frame_equal(again.table(), found.table())


def test_side_with_several_settings_is_refused() -> None:
    runs, matrices, _ = two(6)
    runs["params.width"] = [4, 8]
    with pytest.raises(SpecError, match=r"runs of a differ in more than their seed: params\.width"):
        compare.test(runs, runs.loc["b"], confusion=matrices)


def test_failed_run_does_not_replace_an_earlier_succeeded_run() -> None:
    runs, matrices, _ = two(6)
    again = runs.loc[["a"]].set_axis(["a-again"]).assign(uri="/store/towns/a-again")
    side = pd.concat([runs.loc[["a"]], again]).assign(state=["succeeded", "failed"])
    found = compare.test(side, runs.loc["b"], confusion=matrices, resamples=999)
    assert found.runs_a == 1
    assert found.sentence.endswith("Left out, as they have not succeeded: a-again.")
    with pytest.raises(TableError, match=r"No confusion matrix per scene: a-again\. A run has"):
        compare.test(side.loc[["a-again"]], runs.loc["b"], confusion=matrices)


def test_newest_run_of_a_seed_counts() -> None:
    cube = scene_matrices(np.random.default_rng(1), 6, (1.0, 0.5, 0.0))
    runs = table({"a-1": {}, "a-2": {}, "b": {}})
    matrices = confusion({"a-1": cube[0], "a-2": cube[1], "b": cube[2]})
    found = compare.test(runs[:2], runs[2:], confusion=matrices, resamples=999)
    assert found.runs_a == 1
    assert found.value_a == pytest.approx(metrics.macro_f1(cube[1].sum(axis=0)))
