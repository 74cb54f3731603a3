"""Average precision of resampled scenes, computed for many resamples at once.

A scene that is drawn twice counts its true and predicted objects twice. So each prediction has the
weight of its scene, and the precision-recall curve consists of weighted sums, in the order of the
scores. Copies of a prediction are adjacent in this order, as predictions with equal scores remain
in the order in which they are given. The result is COCO's average precision of the objects of all
drawn scenes: `rvlab.object_metrics.average_precision`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rvlab.object_metrics import RECALLS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from rvlab.metrics import Floats

_BLOCK_VALUES = 300_000
"""Values of a curve in a batch of resamples, so that they remain in the processor's cache."""


def weighted_average_precisions(
    hits: NDArray[np.bool_], scenes: NDArray[np.intp], truths: Floats, weights: Floats
) -> Floats:
    """Return the average precisions of a class under weights of scenes, for several IoUs.

    Args:
        hits: Whether each prediction is a true positive, from the highest score, shape (IoUs, K).
        scenes: The number of the scene of each prediction, from 0.
        truths: Numbers of true objects of the n scenes, shape (n,).
        weights: How often each scene counts, shape (B, n), whole numbers.

    Returns:
        Shape (IoUs, B); NaN without true objects.
    """
    total = weights @ truths
    found = [_at_iou(each, scenes, len(truths), np.maximum(total, 1), weights) for each in hits]
    return np.where(total > 0, np.stack(found), np.nan)


def _at_iou(
    hits: NDArray[np.bool_],
    scenes: NDArray[np.intp],
    n_scenes: int,
    total: Floats,
    weights: Floats,
) -> Floats:
    """Return the average precision at one IoU, with `total` true objects, shape (B,)."""
    # A series is the predictions up to the last of consecutive hits, where precision is highest.
    ends = np.flatnonzero(hits & ~np.append(hits[1:], False))
    if not len(ends):
        return np.zeros(len(weights))
    series = np.searchsorted(ends, np.arange(ends[-1] + 1))
    hit_counts = _count_by_series(series, scenes, len(ends), n_scenes, hits)
    counts = _count_by_series(series, scenes, len(ends), n_scenes)
    step = max(32, _BLOCK_VALUES // len(ends))
    blocks = [slice(start, start + step) for start in range(0, len(weights), step)]
    means = [_mean_precision(hit_counts, counts, total[rows], weights[rows]) for rows in blocks]
    return np.concatenate(means)


def _count_by_series(
    series: NDArray[np.intp],
    scenes: NDArray[np.intp],
    n_series: int,
    n_scenes: int,
    mask: NDArray[np.bool_] | None = None,
) -> csr_array:
    """Count the predictions of each series by scene.

    Rows of zeros are added up to a square number of rows, which `_accumulate` needs.
    """
    from scipy.sparse import csr_array

    at = np.arange(len(series)) if mask is None else np.flatnonzero(mask[: len(series)])
    size = (math.isqrt(n_series - 1) + 1) ** 2
    return csr_array((np.ones(len(at)), (series[at], scenes[at])), shape=(size, n_scenes))


def _mean_precision(
    hit_counts: csr_array, counts: csr_array, total: Floats, weights: Floats
) -> Floats:
    """Return the mean of the highest precisions at `RECALLS` for a batch of weights.

    The counts are the predictions of each series by scene: the true positives, and all.
    """
    by_scene = np.ascontiguousarray(weights.T)
    hits, precision = (np.asarray(each @ by_scene) for each in (hit_counts, counts))
    for sums in (hits, precision):
        _accumulate(np.add, sums)
    np.divide(hits, np.maximum(precision, 1, out=precision), out=precision)
    _accumulate(np.maximum, precision[::-1])
    if len(hits) <= len(RECALLS):
        reached = np.searchsorted(RECALLS, hits / total, side="right")
        new = np.diff(reached, axis=0, prepend=0)
        return np.asarray((precision * new).sum(axis=0) / len(RECALLS))
    needed = _hits_at_recalls(total)
    # One sorted list for all columns: a column begins above the largest value of the one before.
    columns = np.arange(len(weights))[:, None]
    stride = max(float(needed.max()), float(hits[-1].max())) + 1
    sought = (needed + columns * stride).reshape(-1)
    place = np.searchsorted((hits.T + columns * stride).reshape(-1), sought)
    place = place.reshape(needed.shape) - columns * len(hits)
    is_reached = place < len(hits)
    values = precision[np.where(is_reached, place, 0), columns]
    return np.asarray(np.where(is_reached, values, 0.0).mean(axis=1))


def _hits_at_recalls(total: Floats) -> Floats:
    """Return the smallest number of hits whose quotient by `total` reaches each of `RECALLS`.

    The quotient as it is rounded: 7 / 20 is less than the recall 0.35, as in COCO's own code.
    """
    hits = np.ceil(RECALLS * total[:, None])
    hits -= (hits - 1) / total[:, None] >= RECALLS
    hits += hits / total[:, None] < RECALLS
    return np.asarray(hits)


def _accumulate(operation: np.ufunc, values: Floats) -> None:
    """Accumulate along the first axis in place, whose length is a square number.

    ``ufunc.accumulate`` processes one column after another, which takes several times as long.
    """
    side = math.isqrt(len(values))
    blocks = values.reshape(side, side, -1)
    for i in range(1, side):
        operation(blocks[:, i], blocks[:, i - 1], out=blocks[:, i])
    for i in range(1, side):
        operation(blocks[i], blocks[i - 1, -1], out=blocks[i])
