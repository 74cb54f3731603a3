"""Imagery of any depth as red, green and blue that a screen can show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.raster.labels import readable
from rvlab.raster.read import Chip, plain_bands, read_chosen
from rvlab.raster.scene import Scene
from rvlab.raster.window import Window

LOW, HIGH = 2.0, 98.0  # percent of the valid pixels that the stretch cuts at


def image(scene: Scene, window: Window, *, max_px: int | None = 512) -> Chip:
    """The imagery of a window, ready for the screen.

    The first three of the scene's channels are red, green and blue; of one or two channels the
    first is grey. uint8 stays as it is; everything else is stretched, each band for itself, from
    the 2nd to the 98th percentile of the window's valid pixels.

    Args:
        scene: As `scenes` returns it.
        window: In pixels of the scene, within it.
        max_px: Longest side of the result, in pixels.

    Returns:
        A chip of shape (3, rows, columns), uint8; its mask is False where there is no data.

    Raises:
        RasterError: If the image cannot be read.
    """
    uri = readable(scene.image, "image")
    box = scene.image.bbox
    part = window.shifted(box.col, box.row) if box else window
    found = read_chosen(
        uri, part, lambda data: _shown(scene, data), max_px=max_px, resampling="average"
    )
    bands = [_stretched(band, found.mask) for band in found.array]
    array = np.stack(bands * 3 if len(bands) == 1 else bands)
    return Chip(array, found.mask, window, found.grid, found.whole)


def _shown(scene: Scene, dataset: Any) -> list[int]:
    order = scene.image.channel_order
    bands = plain_bands(dataset) if order is None else [band + 1 for band in order]
    wrong = [band for band in bands if not 1 <= band <= dataset.count]
    if wrong or not bands:
        raise RasterError(
            f"{scene.image.uris[0]} has {dataset.count} bands, and the config's channel_order is "
            f"{order}."
        )
    return bands[:3] if len(bands) >= 3 else bands[:1]


def _stretched(band: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    if band.dtype == np.uint8:
        return band.astype(np.uint8)
    valid = band[mask].astype(np.float64)
    if not valid.size:
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(valid, (LOW, HIGH))
    if high <= low:
        low, high = low - 1.0, low + 1.0  # one value only: a middle grey
    values = np.where(mask, band, low).astype(np.float64)
    return np.asarray(np.clip((values - low) * (255.0 / (high - low)), 0, 255), np.uint8)
