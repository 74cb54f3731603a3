"""Metrics of objects: values worked out by hand, and those of COCO's evaluation code."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvlab import metrics
from rvlab.errors import SpecError
from rvlab.object_metrics import (
    IOU_THRESHOLDS,
    ScoredObjects,
    average_precision,
    count_error,
    precision_recall_points,
    threshold_index,
)
from rvlab.raster.boxes import Boxes
from rvlab.raster.config import Classes, RasterSource
from rvlab.raster.labels import SceneLabels
from rvlab.raster.object_table import table_of_boxes
from rvlab.raster.scene import Scene
from tests.raster.samples import write

CLASSES = Classes(("tree", "car", "boat"), ((0, 0, 0),) * 3)


def scored(rows: list[tuple[Any, ...]]) -> ScoredObjects:
    """Return objects from (is true, scene, class, score, bits)."""
    is_truth, scenes, class_ids, scores, bits = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    return ScoredObjects(is_truth, scenes, class_ids, scores, bits, int(class_ids.max()) + 1)


def test_average_precision_is_the_mean_over_101_recalls() -> None:
    # Of two objects the first and the third prediction find one each: precision 1 up to recall
    # 0.5 (51 values), then 2/3 up to recall 1 (50 values).
    hits = np.array([True, False, True])
    recall, precision = precision_recall_points(hits, 2)
    assert recall.tolist() == [0.5, 0.5, 1]
    assert precision.tolist() == [1, 0.5, 2 / 3]
    assert average_precision(hits, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(hits[:2], 2) == pytest.approx(51 / 101)
    assert average_precision(hits[:0], 2) == 0
    assert math.isnan(average_precision(hits, 0))


def test_count_error_does_not_cancel_out_between_scenes() -> None:
    assert count_error(np.array([5, 1]), np.array([3, 3])) == pytest.approx(4 / 6)
    assert math.isnan(count_error(np.array([5]), np.array([0])))


def test_counts_and_means_leave_out_classes_without_objects() -> None:
    bit = 1
    found = scored(
        [
            (True, 0, 0, np.nan, bit),
            (True, 0, 0, np.nan, 0),
            (False, 0, 0, 0.9, bit),
            (False, 1, 2, 0.8, 0),
        ]
    )
    counts = found.counts(found.matches(0))
    assert [values.tolist() for values in counts] == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert float(metrics.macro_f1(counts)) == pytest.approx((2 / 3 + 0) / 2)
    assert found.count_error() == pytest.approx((1 + 1) / 2)
    means = found.mean_average_precisions()
    assert means["mAP50"] == pytest.approx(51 / 101)  # of class 0, the only one with truth
    assert means["mAP"] == pytest.approx(51 / 101 / 10)


def test_means_are_missing_without_scores_and_0_without_predictions() -> None:
    rows = [(True, 0, 0, np.nan, 0)]
    assert scored(rows).mean_average_precisions() == {"mAP": 0, "mAP50": 0}
    assert scored([*rows, (False, 0, 0, np.nan, 0)]).mean_average_precisions() == {}
    assert scored([(False, 0, 0, 0.5, 0)]).mean_average_precisions() == {}


def test_thresholds_are_those_of_coco() -> None:
    assert threshold_index(0.5) == 0
    assert threshold_index(0.6) == 2
    with pytest.raises(SpecError, match=r"got 0\.52"):
        threshold_index(0.52)


def random_boxes(rng: np.random.Generator, n: int, *, truth: Boxes | None = None) -> Boxes:
    """Return random boxes of which most are near true ones, many with equal scores."""
    corner, side = rng.integers(0, 150, (n, 2)), rng.integers(8, 30, (n, 2))
    bounds = np.concatenate([corner, corner + side], axis=1).astype(float)
    class_ids = rng.integers(0, 3, n)
    if truth is None:
        return Boxes(bounds, class_ids, np.full(n, np.nan))
    if len(truth):
        near = np.flatnonzero(rng.random(n) < 0.8)
        of = rng.integers(0, len(truth), len(near))
        bounds[near] = truth.bounds[of] + rng.integers(-2, 3, (len(near), 4))
        class_ids[near] = truth.class_ids[of]
    return Boxes(bounds, class_ids, np.round(rng.random(n), 2))


def to_coco(sides: list[tuple[Boxes, Boxes]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the annotations and results of COCO for the true and predicted boxes of images."""
    found: list[list[dict[str, Any]]] = [[], []]
    for image, pair in enumerate(sides):
        for boxes, into in zip(pair, found, strict=True):
            for bounds, class_id, score in zip(
                boxes.bounds, boxes.class_ids, boxes.scores, strict=True
            ):
                left, top, right, bottom = bounds.tolist()
                area = (right - left) * (bottom - top)
                into.append(
                    {
                        "id": len(into) + 1,
                        "image_id": image,
                        "category_id": int(class_id),
                        "bbox": [left, top, right - left, bottom - top],
                        "area": area,
                        "iscrowd": 0,
                    }
                )
                if not np.isnan(score):
                    into[-1]["score"] = float(score)
    images = [{"id": i} for i in range(len(sides))]
    categories = [{"id": i} for i in range(3)]
    return {"images": images, "categories": categories, "annotations": found[0]}, found[1]


def coco_average_precisions(sides: list[tuple[Boxes, Boxes]], max_detections: int) -> np.ndarray:
    """Return the average precisions of pycocotools, shape (classes, thresholds)."""
    from pycocotools import coco, cocoeval

    annotations, results = to_coco(sides)
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = coco.COCO()
        truth_set.dataset = annotations
        truth_set.createIndex()
        theirs = cocoeval.COCOeval(truth_set, truth_set.loadRes(results), "bbox")
        theirs.params.maxDets = [max_detections]
        theirs.evaluate()
        theirs.accumulate()
    # Shape: thresholds, recalls, classes, areas (the first is all), numbers of detections.
    found: np.ndarray = theirs.eval["precision"][:, :, :, 0, 0].mean(axis=1).T
    return found


def box_rows(tmp_path: Path, sides: list[tuple[Boxes, Boxes]]) -> list[dict[str, Any]]:
    """Return the rows of the table of objects for the boxes of scenes ``0``, ``1``, …"""
    uri = write(tmp_path / "image.tif", np.zeros((200, 200), np.uint8))
    rows: list[dict[str, Any]] = []
    for number, (truth, guess) in enumerate(sides):
        scene = Scene(str(number), "validation", RasterSource(uris=(uri,)), None, None)
        rows += table_of_boxes(SceneLabels(scene, CLASSES), truth, guess).to_pylist()
    return rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_detections", [4, 100])
def test_average_precisions_equal_those_of_pycocotools(
    tmp_path: Path, seed: int, max_detections: int
) -> None:
    rng = np.random.default_rng(seed)
    sides = []
    for number in range(4):
        truth = random_boxes(rng, 25 if number else 0)
        sides.append((truth, random_boxes(rng, 40 if number < 3 else 0, truth=truth)))
    found = scored(
        [
            (
                row["side"] == "truth",
                int(row["scene"]),
                CLASSES.names.index(row["class"]),
                np.nan if row["score"] is None else row["score"],
                row["matched_at"],
            )
            for row in box_rows(tmp_path, sides)
        ]
    )
    precision = coco_average_precisions(sides, max_detections)
    ours = found.average_precisions(max_detections)
    assert ours.shape == (3, len(IOU_THRESHOLDS))
    np.testing.assert_allclose(ours, precision, atol=1e-12)
    assert ours[:, 0].min() > 0.05
    assert found.mean_average_precisions(max_detections)["mAP"] == pytest.approx(precision.mean())
