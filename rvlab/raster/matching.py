"""Matching of the rectangles of two sets, by the rules of Raster Vision 0.31.

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
    """Return the overlap of rectangles with others, row by row, or with one; in square pixels."""
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
