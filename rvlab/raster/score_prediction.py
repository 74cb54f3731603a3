"""Predicted class ids of a window and their score against the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError
from rvlab.metrics import f1, macro_f1
from rvlab.raster.class_scores import read_scores
from rvlab.raster.labels import ClassIds, SceneLabels, count_values, prediction, subsample
from rvlab.raster.read import Grid
from rvlab.raster.scene import Classes, Scene
from rvlab.raster.window import Window

MAX_SCORED_PX = 2**23  # larger windows are scored on the displayed pixels only

_T = TypeVar("_T")


@dataclass(frozen=True)
class ScoredPrediction:
    """A run's prediction of a window, with its F1 score.

    Args:
        ids: Class ids for display, shape (rows, columns).
        f1: Macro F1 of the window, or F1 of one class, from 0 to 1. None without labels; NaN if no
            pixel is labelled, or none has that class.
        exact: Whether `f1` was computed on every pixel of the window.
    """

    ids: ClassIds
    f1: float | None
    exact: bool


def try_read(call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T | RvlabError:
    """Return the value of a call, or the `RvlabError` that it raised."""
    try:
        return call(*args, **kwargs)
    except RvlabError as exc:
        return exc


def truth_ids(labels: SceneLabels, window: Window, *, max_px: int) -> ClassIds:
    """Read the labels at the resolution that `score_prediction` uses."""
    return labels.truth(window, max_px=_read_px(window, max_px))


def predicted_ids(
    scene: Scene, own: Classes, window: Window, labels: SceneLabels, *, max_px: int
) -> ClassIds:
    """Read the prediction of a window at the resolution that `score_prediction` uses.

    Args:
        scene: The scene of that run.
        own: The run's classes.
        window: Window within the scene.
        labels: Labels of the scene that the prediction is compared with.
        max_px: Longest side of the displayed picture, in pixels.

    Raises:
        RasterError: If the prediction is missing, or has another grid.
    """
    return prediction(scene, own, window, labels.grid, max_px=_read_px(window, max_px))


def score_prediction(
    ids: ClassIds,
    own: Classes,
    window: Window,
    labels: SceneLabels,
    known: ClassIds | RvlabError | None,
    *,
    max_px: int,
    of_class: int | None = None,
) -> ScoredPrediction:
    """Score the prediction of a window and resample it for display.

    Args:
        ids: As `predicted_ids` returns them.
        own: The classes of the run.
        window: Window within the scene.
        labels: Labels of the scene that the prediction is compared with.
        known: The result of `truth_ids` for that window; an error or None gives no score.
        max_px: Longest side of the displayed picture, in pixels.
        of_class: The id of the class to score; None takes the mean of all classes.
    """
    fine = _read_px(window, max_px)
    score = None
    if isinstance(known, np.ndarray):
        inside = labels.labelled(window, max_px=fine)
        matrix = confusion_matrix(known, ids, own, inside)
        if of_class is None:
            score = float(macro_f1(matrix, ignore=own.unlabelled_id))
        else:
            score = float(f1(matrix, ignore=own.unlabelled_id)[of_class])
    shown = ids if max(ids.shape) <= max_px else subsample(ids, max_px)
    return ScoredPrediction(shown, score, exact=fine is None)


def class_probability(
    scene: Scene, class_id: int, window: Window, grid: Grid, *, max_px: int
) -> NDArray[np.float32]:
    """Read a run's scores of one class in a window.

    Args:
        scene: The scene of that run.
        class_id: Class id.
        window: Window within the scene.
        grid: Grid of the scene that the scores are compared with; they must have its size.
        max_px: Longest side of the result, in pixels; larger windows are averaged.

    Returns:
        Shape (rows, columns), 0 to 1; NaN for pixels without a prediction.

    Raises:
        RasterError: If the run stored no scores, or they have another size.
    """
    if scene.scores_uri is None:
        raise RasterError(
            "This run stored no scores. SemanticSegmentationLabelStoreConfig(smooth_output=True) "
            "stores them."
        )
    found = read_scores(scene.scores_uri, window, [class_id], grid, max_px=max_px)
    return np.asarray(found[0])


def confusion_matrix(
    truth: ClassIds, guess: ClassIds, classes: Classes, inside: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Count pixels as Raster Vision does, shape (classes, classes), rows = truth.

    Args:
        truth: Class ids of the labels, shape (rows, columns).
        guess: Class ids of the prediction, same shape.
        classes: Classes; pixels with other ids are ignored.
        inside: Mask of the pixels to count; None counts all.
    """
    k = len(classes)
    known = (truth < k) & (guess < k)
    if inside is not None:
        known &= inside
    if k <= 16:  # pairs fit into a byte
        codes = np.asarray(truth * k + guess, np.uint8)
        found = count_values(codes if known.all() else codes[known])
        return found[: k * k].reshape(k, k)
    pairs = truth[known].astype(np.int64) * k + guess[known]
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def _read_px(window: Window, max_px: int) -> int | None:
    return None if window.area <= MAX_SCORED_PX else max_px
