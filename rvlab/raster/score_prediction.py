"""What a cell of a grid shows of a window: pixels, or why there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError
from rvlab.metrics import f1, macro_f1
from rvlab.raster.class_ids import ClassIds, count_values
from rvlab.raster.class_scores import read_scores
from rvlab.raster.labels import SceneLabels, prediction, subsample
from rvlab.raster.read import Grid
from rvlab.raster.scene import Classes, Scene
from rvlab.raster.window import Window

MAX_SCORED_PX = (
    2**23
)  # up to here a window is scored on all its pixels, above on those that are shown

_T = TypeVar("_T")


@dataclass(frozen=True)
class ScoredPrediction:
    """What a run said of a window.

    Args:
        ids: Class ids for the screen, shape (rows, columns).
        f1: In the window, from 0 to 1: macro, or of one class. None without truth, NaN where there
            are no labelled pixels, or none of that class.
        exact: Whether `f1` was counted on every pixel of the window.
    """

    ids: ClassIds
    f1: float | None
    exact: bool


def try_read(call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T | RvlabError:
    """The value of a call, or the error that says why there is none."""
    try:
        return call(*args, **kwargs)
    except RvlabError as exc:
        return exc


def truth_ids(labels: SceneLabels, window: Window, *, max_px: int) -> ClassIds:
    """Class ids of the labels, as fine as `score_prediction` compares them."""
    return labels.truth(window, max_px=_read_px(window, max_px))


def predicted_ids(
    scene: Scene, own: Classes, window: Window, labels: SceneLabels, *, max_px: int
) -> ClassIds:
    """Class ids that a run predicted in a window, as fine as they are scored.

    Args:
        scene: Of that run.
        own: Its classes.
        window: Within the scene.
        labels: Of the scene that it is put beside.
        max_px: Longest side of what is shown, in pixels.

    Raises:
        RasterError: If there is no prediction, or it lies on other pixels.
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
    """What a run predicted in a window, and how good that is.

    Args:
        ids: As `predicted_ids` returns them.
        own: The classes of the run.
        window: Within the scene.
        labels: Of the scene that it is put beside.
        known: What `truth_ids` gave for that window.
        max_px: Longest side of what is shown, in pixels.
        of_class: The id of the class that is scored; None takes the mean of all.
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
    """How sure a run was of a class, pixel by pixel.

    Args:
        scene: Of that run.
        class_id: Of its classes.
        window: Within the scene.
        grid: Of the scene that it is put beside; the scores must have its size.
        max_px: Longest side of the result, in pixels; above it, means of pixels.

    Returns:
        Shape (rows, columns), 0 to 1; NaN where nothing was predicted.

    Raises:
        RasterError: If the run kept no scores, or they lie on other pixels.
    """
    if scene.scores_uri is None:
        raise RasterError(
            "This run kept no scores. SemanticSegmentationLabelStoreConfig(smooth_output=True) "
            "keeps them."
        )
    found = read_scores(scene.scores_uri, window, [class_id], grid, max_px=max_px)
    return np.asarray(found[0])


def confusion_matrix(
    truth: ClassIds, guess: ClassIds, classes: Classes, inside: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Counts of pixels, shape (classes, classes), rows = truth, as Raster Vision counts them.

    Args:
        truth: Class ids, shape (rows, columns).
        guess: The same of a prediction.
        classes: Ids that are none of these are not counted.
        inside: Pixels outside count as without a label; None counts all.
    """
    k = len(classes)
    known = (truth < k) & (guess < k)
    if inside is not None:
        known &= inside
    if k <= 16:  # the last pair is 255
        codes = np.asarray(truth * k + guess, np.uint8)
        found = count_values(codes if known.all() else codes[known])
        return found[: k * k].reshape(k, k)
    pairs = truth[known].astype(np.int64) * k + guess[known]
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def _read_px(window: Window, max_px: int) -> int | None:
    return None if window.area <= MAX_SCORED_PX else max_px
