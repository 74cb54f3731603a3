"""Per-pixel class scores of a run, if its predictions include them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.raster.read import Grid, read
from rvlab.raster.window import Window

SCORE_STEP = 1 / 255
"""Resolution of a score stored as a byte; sufficient for a picture and a threshold."""


def read_scores(
    uri: str, window: Window, classes: Sequence[int], grid: Grid, *, max_px: int | None = None
) -> NDArray[np.float32]:
    """Read the class scores of a window.

    Args:
        uri: A raster with one band per class: floats from 0 to 1, or bytes where 255 is 1, as in
            Raster Vision's ``smooth_as_uint8`` and rvlab's copies.
        window: In pixels of the scene.
        classes: Class ids to read.
        grid: Grid of the scene; the raster must have its size.
        max_px: Longest side of the result, in pixels; larger windows are averaged.

    Returns:
        Shape (classes, rows, columns), 0 to 1; NaN for pixels without a prediction.

    Raises:
        RasterError: If the raster cannot be read, or has another size.
        SpecError: If the raster has no band for a class.
    """
    bands = [i + 1 for i in classes]
    chip = read(uri, window, bands=bands, max_px=max_px, resampling="average", alone=True)
    found = chip.full_grid
    if (found.width, found.height) != (grid.width, grid.height):
        raise RasterError(
            f"The scores have {found.width} × {found.height} px, the scene "
            f"{grid.width} × {grid.height} px."
        )
    values = np.asarray(chip.array, np.float32)
    if chip.array.dtype == np.uint8:
        values = values * np.float32(SCORE_STEP)
    return np.where(chip.mask, values, np.float32(np.nan))
