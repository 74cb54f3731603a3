"""Strips of a scene: complete rows of its labels and its prediction, read and counted in order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rvlab.raster.labels import ClassIds
from rvlab.raster.window import Window


class Strip(NamedTuple):
    """Labels and prediction of a strip, each of shape (rows, columns).

    Args:
        part: The strip, in pixels of the scene.
        truth: Class ids of the labels.
        guess: Class ids of the prediction.
        inside: Mask of the pixels to count; None counts all.
        score: Score of the predicted class, from 0 to 1; None if not available.
    """

    part: Window
    truth: ClassIds
    guess: ClassIds
    inside: NDArray[np.bool_] | None = None
    score: NDArray[np.floating[Any]] | None = None
