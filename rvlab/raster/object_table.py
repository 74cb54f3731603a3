"""The table of the true and predicted objects of a scene."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rvlab.model.tables import OBJECTS_TABLE
from rvlab.object_metrics import IOU_THRESHOLDS
from rvlab.raster.boxes import Boxes
from rvlab.raster.components import Components, Overlaps
from rvlab.raster.labels import SceneLabels
from rvlab.raster.matching import best_pairs, box_areas, box_overlaps, match_by_score
from rvlab.store.table_file import columns_to_arrow

Matches = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


class _Objects(NamedTuple):
    """True or predicted objects of a scene; their bounds are in pixels, within the scene."""

    class_ids: NDArray[np.int64]
    bounds: NDArray[np.int64]
    area_px: NDArray[np.float64]
    centers: NDArray[np.float64]
    scores: NDArray[np.float64]


def table_of_components(
    labels: SceneLabels, truth: Components, guess: Components, overlaps: Overlaps
) -> pa.Table:
    """Return a row per component of the labels and of the prediction, with `OBJECTS_TABLE`.

    Args:
        labels: Labels of the scene, with the scene and the classes of its run.
        truth: Components of the labels.
        guess: Components of the prediction.
        overlaps: Their overlaps.
    """
    sides = [
        _Objects(one.class_ids, one.bounds, one.area_px.astype(float), one.centers, one.scores)
        for one in (truth, guess)
    ]
    of_truth, of_guess = best_pairs(*overlaps)
    mutual = np.intersect1d(of_truth, of_guess)
    matches: Matches = []
    for threshold in IOU_THRESHOLDS:
        matched = mutual[overlaps.iou[mutual] >= threshold]
        matches.append((overlaps.truth[matched], overlaps.guess[matched]))
    return _table(labels, sides[0], sides[1], overlaps, matches)


def table_of_boxes(labels: SceneLabels, truth: Boxes, guess: Boxes) -> pa.Table:
    """Return a row per true and predicted box, with `OBJECTS_TABLE`.

    Args:
        labels: Labels of the scene, with the scene and the classes of its run.
        truth: As `rvlab.raster.boxes.truth_boxes` returns them.
        guess: As `rvlab.raster.boxes.predicted_boxes` returns them.
    """
    grid = labels.grid
    edge = np.array([grid.width, grid.height])
    sides = []
    for one in (truth, guess):
        low = np.clip(np.floor(one.bounds[:, :2]), 0, edge - 1).astype(np.int64)
        high = np.clip(np.ceil(one.bounds[:, 2:]), low + 1, edge).astype(np.int64)
        centers = (one.bounds[:, :2] + one.bounds[:, 2:]) / 2
        bounds = np.concatenate([low, high], axis=1)
        sides.append(_Objects(one.class_ids, bounds, box_areas(one.bounds), centers, one.scores))
    t, g, iou = box_overlaps(truth.bounds, guess.bounds)
    same = truth.class_ids[t] == guess.class_ids[g]
    overlaps = Overlaps(t[same], g[same], iou[same])
    matches = [match_by_score(*overlaps, guess.scores, float(one)) for one in IOU_THRESHOLDS]
    return _table(labels, sides[0], sides[1], overlaps, matches)


def _table(
    labels: SceneLabels,
    truth: _Objects,
    guess: _Objects,
    overlaps: Overlaps,
    matches: Matches,
) -> pa.Table:
    scene, grid = labels.scene, labels.grid
    counts = len(truth.class_ids), len(guess.class_ids)
    n = sum(counts)
    class_ids, bounds, area, centers, scores = (
        np.concatenate(pair) for pair in zip(truth, guess, strict=True)
    )
    best_iou, partner = np.zeros(n), np.full(n, -1)
    for own, at in zip(((0, counts[0]), (counts[0], 0)), best_pairs(*overlaps), strict=True):
        pair = (overlaps.truth[at], overlaps.guess[at])
        number, other = pair if own[0] == 0 else pair[::-1]
        best_iou[own[0] + number] = overlaps.iou[at]
        partner[own[0] + number] = own[1] + other
    matched_at = np.zeros(n, np.int64)
    for i, (t, g) in enumerate(matches):
        matched_at[t] |= 1 << i
        matched_at[counts[0] + g] |= 1 << i
    left, top, right, bottom = bounds.T
    square = grid.square_metres_per_px
    columns: list[Any] = [
        [scene.group] * n,
        [scene.id] * n,
        ["truth"] * counts[0] + ["prediction"] * counts[1],
        np.array(labels.classes.names, object)[class_ids],
        left,
        top,
        right - left,
        bottom - top,
        area,
        [None] * n if square is None else area * square,
        _null_if(np.isnan(scores), scores),
        best_iou,
        *centers.T,
        np.minimum.reduce([left, top, grid.width - right, grid.height - bottom]),
        np.arange(n),
        _null_if(partner < 0, partner),
        matched_at,
    ]
    return columns_to_arrow(OBJECTS_TABLE, columns)


def _null_if(mask: NDArray[np.bool_], values: NDArray[Any]) -> pa.Array:
    return pa.array(values, mask=mask)
