"""Metrics of resampled scenes, compared with those of the objects of all drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab import Lab
from rvlab.compare.metric_functions import metric_function
from rvlab.compare.scene_matrices import RankedPredictions, align_scenes, load_confusion
from rvlab.compare.weighted_average_precision import weighted_average_precisions
from rvlab.compare.weighted_metric import MeanAveragePrecision, weighted_metric
from rvlab.errors import TableError
from rvlab.frame.confusion_rows import NO_OBJECT
from rvlab.model import Run
from rvlab.object_metrics import average_precision
from rvlab.raster.boxes import Boxes
from tests.frame.samples import Made
from tests.test_object_metrics import box_rows, coco_average_precisions, random_boxes


@given(st.integers(0, 2**32), st.integers(0, 60), st.floats(0, 1))
def test_weighted_average_precisions_are_those_of_copies(
    seed: int, many: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    scenes, hits = rng.integers(0, n, many), rng.random(many) < share
    truths = np.bincount(scenes[hits], minlength=n) + rng.integers(0, 3, n) * rng.integers(0, 2, n)
    weights = np.concatenate([np.zeros((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=10)])
    both = np.stack([hits, ~hits & (rng.random(many) < 0.1)])
    found = weighted_average_precisions(both, scenes, truths.astype(float), weights)
    expected = [
        [average_precision(np.repeat(one, w[scenes]), int(w @ truths)) for w in weights.astype(int)]
        for one in both
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_large_batches_of_resamples_are_computed_in_parts() -> None:
    rng = np.random.default_rng(0)
    scenes, hits, truths = rng.integers(0, 9, 2000), rng.random(2000) < 0.6, np.full(9, 200.0)
    weights = rng.multinomial(9, np.full(9, 1 / 9), size=1500).astype(float)
    (found,) = weighted_average_precisions(hits[None], scenes, truths, weights)
    for row in (0, 999, 1499):
        alone = weighted_average_precisions(hits[None], scenes, truths, weights[[row]])
        assert found[row] == pytest.approx(float(alone[0, 0]), abs=1e-14)
        copies = np.repeat(hits, weights[row, scenes].astype(int))
        assert found[row] == pytest.approx(average_precision(copies, 1800), abs=1e-13)


def write_boxes(made: Made, tmp_path: Path, sides: list[tuple[Boxes, Boxes]], **more: Any) -> Run:
    """Write a run with the objects of scenes ``0``, ``1``, … and a further scene without any."""
    run = made.ended(**more)
    made.table(run, "objects", box_rows(tmp_path, sides))
    prints = {"group": "validation", "image": "i", "labels": "l", "hashed_from": "content"}
    names = [*map(str, range(len(sides))), "empty"]
    made.table(run, "scenes", [{**prints, "scene": name} for name in names])
    return run


def test_resampled_and_exchanged_scenes_have_the_precision_of_pycocotools(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth = [random_boxes(rng, 20) for _ in range(4)]
    sides = []
    for _ in range(2):
        guesses = [random_boxes(rng, 30, truth=boxes) for boxes in truth]
        # Copies of a scene are adjacent among equal scores, but not in pycocotools.
        guesses = [Boxes(g.bounds, g.class_ids, rng.random(30)) for g in guesses]
        sides.append(list(zip(truth, guesses, strict=True)))
    made = Made(Lab(tmp_path).store)
    runs = [write_boxes(made, tmp_path, each) for each in sides]
    found = align_scenes(load_confusion(runs, "mAP"), runs, None)
    assert found.names == ("0", "1", "2", "3", "empty")
    drawn = [[1, 1, 1, 1, 1], [2, 0, 3, 0, 0], [0, 1, 1, 2, 1]]
    weights = np.array(drawn, dtype=float)
    for run, each in enumerate(sides):
        expected = [
            coco_average_precisions(
                [each[i] for i, times in enumerate(row[:4]) for _ in range(times)], 100
            )
            for row in drawn
        ]
        means = weighted_metric(found, "mAP").compute((run, weights))
        np.testing.assert_allclose(means, [one.mean() for one in expected], atol=1e-12)
        of_car = weighted_metric(found, "mAP50.car").compute((run, weights))
        np.testing.assert_allclose(of_car, [one[1, 0] for one in expected], atol=1e-12)
    mask = np.array([[0.0, 1, 0, 1, 1]])
    mixed = weighted_metric(found, "mAP50").compute((0, 1 - mask), (1, mask))
    of_both = [sides[int(m)][i] for i, m in enumerate(mask[0, :4])]
    assert mixed == pytest.approx(coco_average_precisions(of_both, 100)[:, 0].mean(), abs=1e-12)
    errors = weighted_metric(found, "count_error").compute((0, weights))
    counts = [[np.bincount(boxes.class_ids, minlength=3) for boxes in pair] for pair in sides[0]]
    for row, error in zip(drawn, errors, strict=True):
        missed = sum(w * np.abs(t - g).sum() for w, (t, g) in zip(row[:4], counts, strict=True))
        assert error == pytest.approx(missed / (20 * sum(row[:4])))


def ranked(rows: list[tuple[int, float, int]]) -> RankedPredictions:
    """Return predictions of one run and one class from (scene, score, bits)."""
    scenes, scores, bits = (np.array(column) for column in zip(*rows, strict=True))
    nowhere = np.zeros(len(rows), np.intp)
    return RankedPredictions(nowhere, scenes, nowhere, scores, bits)


def test_precision_is_undefined_without_truth_and_without_scores() -> None:
    predictions = ranked([(0, 0.9, 1), (2, np.nan, 1)])
    truths = np.array([[[2.0], [0.0], [1.0], [3.0]]])  # scene 1 has no truth, 3 no prediction
    of = MeanAveragePrecision(predictions, truths, [0], [0])
    each = of.compute((0, np.eye(4)))
    assert each[[0, 3]].tolist() == pytest.approx([51 / 101, 0])
    assert np.isnan(each[[1, 2]]).all()
    both = of.compute((0, np.array([[1.0, 0, 1, 0]])))
    assert both == pytest.approx(67 / 101)  # two of three at a precision of 1


def test_metrics_that_the_results_do_not_give_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = random_boxes(rng, 5)
    made = Made(Lab(tmp_path).store)
    bare = Boxes(truth.bounds, truth.class_ids, np.full(5, np.nan))
    run = write_boxes(made, tmp_path, [(truth, bare)])
    found = align_scenes(load_confusion([run], "mAP"), [run], None)
    with pytest.raises(TableError, match=f"objects of {run.id} have no scores, which mAP50 needs"):
        weighted_metric(found, "mAP50")
    with pytest.raises(TableError, match=r"Did you mean 'mAP50\.tree'"):
        weighted_metric(found, "mAP50.tre")
    counts = align_scenes(load_confusion([run], "object_f1"), [run], None)
    assert weighted_metric(counts, "count_error").compute((0, np.ones((1, 2)))).tolist() == [0]
    with pytest.raises(TableError, match="mAP is computed from the scores of predicted objects"):
        weighted_metric(counts, "mAP")


def test_scenes_of_two_groups_count_once_in_a_group_of_the_user(tmp_path: Path) -> None:
    made = Made(Lab(tmp_path).store)
    run = made.ended()
    rng = np.random.default_rng(0)
    truth = random_boxes(rng, 9)
    rows = box_rows(tmp_path, [(truth, random_boxes(rng, 12, truth=truth))])
    made.table(
        run, "objects", [{**row, "group": g} for g in ("validation", "test") for row in rows]
    )
    prints = {"scene": "0", "image": "i", "labels": "l", "hashed_from": "content"}
    groups = ("validation", "test", "city")
    made.table(run, "scenes", [{**prints, "group": group} for group in groups])
    table = load_confusion([run], "mAP")
    found = [align_scenes(table, [run], group) for group in groups]
    assert found[0].matrices.sum() >= 12
    for other in found[1:]:
        np.testing.assert_array_equal(other.matrices, found[0].matrices)
        assert other.predictions is not None
        assert len(other.predictions.scores) == 12


@pytest.mark.parametrize("metric", ["mAP", "mAP50.building", "count_error"])
def test_metrics_that_are_not_of_sums_are_refused_as_functions_of_a_matrix(metric: str) -> None:
    with pytest.raises(TableError, match="is not computed from sums of matrices"):
        metric_function(metric, ["building", NO_OBJECT])
