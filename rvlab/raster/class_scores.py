"""Per-pixel class scores of a run, if its predictions include them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.raster.read import Grid, read_choosing, resolve_bands
from rvlab.raster.window import Window

NO_CLASS = 255
"""Class id of pixels without a valid class."""

SCORE_STEP = 1 / 255
"""Resolution of a score stored as a byte; sufficient for a picture and a threshold."""


def read_scores(
    uri: str,
    window: Window,
    classes: Sequence[int],
    grid: Grid,
    *,
    max_px: int | None = None,
    null_id: int | None = None,
) -> NDArray[np.float32]:
    """Read the class scores of a window.

    Args:
        uri: A raster with one band per class: floats from 0 to 1, or bytes where 255 is 1, as in
            Raster Vision's ``smooth_as_uint8`` and rvlab's copies.
        window: In pixels of the scene.
        classes: Class ids to read.
        grid: Grid of the scene; the raster must have its size.
        max_px: Longest side of the result, in pixels; larger windows are averaged.
        null_id: Id of a class that may have no band; its score is 0 then.

    Returns:
        Shape (classes, rows, columns), 0 to 1; NaN for pixels without a prediction.

    Raises:
        RasterError: If the raster cannot be read, or has another size.
        SpecError: If the raster has no band for a class.
    """
    banded: list[int] = []

    def choose(dataset: Any) -> list[int]:
        banded[:] = [i for i in classes if i != null_id or i < dataset.count]
        return resolve_bands(uri, dataset, [i + 1 for i in banded])

    chip = read_choosing(uri, window, choose, max_px=max_px, resampling="average", alone=True)
    found = chip.full_grid
    if (found.width, found.height) != (grid.width, grid.height):
        raise RasterError(
            f"The scores have {found.width} × {found.height} px, the scene "
            f"{grid.width} × {grid.height} px."
        )
    values = np.asarray(chip.array, np.float32)
    if chip.array.dtype == np.uint8:
        values = values * np.float32(SCORE_STEP)
    if len(banded) < len(classes):
        missing = next(at for at, i in enumerate(classes) if i not in banded)
        values = np.insert(values, missing, np.float32(0), axis=0)
    return values if chip.is_complete else np.where(chip.mask, values, np.float32(np.nan))


def likeliest_classes(scores: NDArray[np.float32], null_id: int | None) -> NDArray[np.uint8]:
    """Return the class with the largest score of each pixel, the first one of equal scores.

    Args:
        scores: Shape (classes, rows, columns).
        null_id: Id for pixels without scores; None gives them `NO_CLASS`.

    Returns:
        Class ids, shape (rows, columns).
    """
    missing = np.isnan(scores).all(axis=0)
    ids = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=0).astype(np.uint8)
    ids[missing] = NO_CLASS if null_id is None else null_id
    return np.asarray(ids)
