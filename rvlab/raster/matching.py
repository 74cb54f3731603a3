"""Matching of the objects of two sets, by the rules of Raster Vision 0.31 and of COCO.

Bounds are arrays of shape (n, 4): col, row, stop_col, stop_row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bounds = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_ROUNDING = 1e-6  # GEOS decides pairs this close to the threshold, as in Raster Vision


def rectangles(bounds: Bounds) -> NDArray[Any]:
    """Return bounds as shapely polygons."""
    import shapely

    left, top, right, bottom = bounds.reshape(-1, 4).T
    # Start at this corner: it changes the last bit of an area, which decides ties.
    cols = np.stack([left, left, right, right, left], axis=1)
    rows = np.stack([top, bottom, bottom, top, top], axis=1)
    return np.asarray(shapely.polygons(np.stack([cols, rows], axis=2)))


def overlap_areas(bounds: Bounds, area: Bounds) -> NDArray[np.float64]:
    """Return the overlap of pairs of rectangles, or of all with one rectangle, in square pixels."""
    sides = np.minimum(bounds[..., 2:], area[..., 2:]) - np.maximum(bounds[..., :2], area[..., :2])
    return np.asarray(np.prod(np.maximum(sides, 0), axis=-1))


def box_areas(bounds: Bounds) -> NDArray[np.float64]:
    """Return the area of each rectangle in square pixels."""
    return np.asarray(np.prod(bounds[..., 2:] - bounds[..., :2], axis=-1))


def match_by_iou(truth: Bounds, guess: Bounds, iou: float) -> IndexArray:
    """Return the label that each prediction overlaps by more than `iou`; -1 without a match.

    Classes are ignored. Each label is matched with its best prediction, then each prediction with
    the best of these labels: a label that loses its prediction to another label remains unmatched
    (``compute_metrics`` of Raster Vision).
    """
    import shapely

    matched = np.full(len(guess), -1, np.int64)
    if not len(truth) or not len(guess):
        return matched
    shapes, others = rectangles(truth), rectangles(guess)
    t, g = shapely.STRtree(others).query(shapes, predicate="intersects")
    shared = overlap_areas(truth[t], guess[g])
    union = box_areas(truth)[t] + box_areas(guess)[g] - shared
    near = shared > (iou - _ROUNDING) * union
    t, g = t[near], g[near]
    shared = shapely.area(shapely.intersection(shapes[t], others[g]))
    found = shared / shapely.area(shapely.union(shapes[t], others[g]))
    enough = found > iou
    t, g, found = t[enough], g[enough], found[enough]
    for name in (0, 1):
        # The default sort, twice, as pandas does: it decides which of two equal pairs remains.
        order = np.argsort(found)
        t, g, found = t[order], g[order], found[order]
        last = _last_occurrence((t, g)[name])
        t, g, found = t[last], g[last], found[last]
    matched[g] = t
    return matched


def box_overlaps(truth: Bounds, guess: Bounds) -> tuple[IndexArray, IndexArray, Bounds]:
    """Return the pairs of a label and a prediction that overlap, and their IoU.

    The IoU is computed as in COCO's evaluation code, without GEOS.
    """
    import shapely

    if not len(truth) or not len(guess):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    t, g = shapely.STRtree(rectangles(guess)).query(rectangles(truth), predicate="intersects")
    shared = overlap_areas(truth[t], guess[g])
    t, g, shared = t[shared > 0], g[shared > 0], shared[shared > 0]
    return t, g, shared / (box_areas(truth)[t] + box_areas(guess)[g] - shared)


def match_by_score(
    truth: IndexArray, guess: IndexArray, iou: Bounds, scores: Bounds, threshold: float
) -> tuple[IndexArray, IndexArray]:
    """Match predictions with labels as COCO does, from the highest score to the lowest.

    Each prediction is matched with the free label that has the highest IoU, if it is at least
    `threshold`. Predictions with equal scores are matched in their order. Of labels with equal IoUs
    the last one is chosen.

    Args:
        truth: Index of the label of each candidate pair: objects of one class that overlap.
        guess: Index of the prediction of each pair.
        iou: IoU of each pair.
        scores: Scores of all predictions; NaN sorts last.
        threshold: The smallest IoU.

    Returns:
        Indices of the matched labels, and of their predictions.
    """
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    near = np.flatnonzero(iou >= min(threshold, 1 - 1e-10))
    # The preferred label of each prediction comes first.
    near = near[np.lexsort((-truth[near], -iou[near], rank[guess[near]]))]
    chosen: dict[int, int] = {}
    matched = set()
    for t, g in zip(truth[near].tolist(), guess[near].tolist(), strict=True):
        if g not in matched and t not in chosen:
            chosen[t] = g
            matched.add(g)
    return np.array(list(chosen), np.int64), np.array(list(chosen.values()), np.int64)


def best_pairs(truth: IndexArray, guess: IndexArray, iou: Bounds) -> tuple[IndexArray, IndexArray]:
    """Return the best partner of each label, and of each prediction, as positions of pairs.

    Of equal IoUs the first partner is the best. Objects of a mask do not overlap one another, so
    an object has at most one partner with an IoU above 0.5, and the best partners are the matches
    at every threshold from there.

    Args:
        truth: Index of the label of each pair that overlaps.
        guess: Index of the prediction of each pair.
        iou: IoU of each pair.

    Returns:
        The position of the best pair of each label that has one, and of each prediction.
    """
    best = []
    for own, other in ((truth, guess), (guess, truth)):
        order = np.lexsort((other, -iou, own))
        _, first = np.unique(own[order], return_index=True)
        best.append(order[first])
    return best[0], best[1]


def match_by_cell(truth: Bounds, guess: Bounds) -> IndexArray:
    """Return the label with the same bounds as each prediction; -1 without a match."""
    both = np.concatenate([truth, guess])
    _, number = np.unique(both, axis=0, return_inverse=True)
    number = number.reshape(-1)
    place = np.full(len(both), -1, np.int64)
    place[number[: len(truth)]] = np.arange(len(truth))
    return place[number[len(truth) :]]


def _last_occurrence(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return the index of the last occurrence of each value, in the order of the array."""
    _, first = np.unique(values[::-1], return_index=True)
    return np.sort(len(values) - 1 - first)
