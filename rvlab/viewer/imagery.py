"""Imagery as tiles: all tiles of a scene with one stretch, so that no seams are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.raster import Chip, Scene, Window, display, image
from rvlab.raster.labels import readable
from rvlab.raster.read import read_chosen

SAMPLE_PX = 512  # longest side of the thumbnail from which the stretch is taken

Limits = list[tuple[float, float]]


@dataclass
class Imagery:
    """The imagery of a scene.

    `rvlab.raster.image` stretches each window for itself, as a picture in a grid needs it. Here the
    limits are those of a thumbnail of the whole scene; uint8 stays as it is in both.

    Args:
        scene: As `rvlab.raster.scenes` returns it.
        bands: As `rvlab.raster.image` takes them.
    """

    scene: Scene
    bands: Sequence[int] | None = None
    _lock: Any = field(default_factory=Lock, init=False, repr=False)
    _limits: Limits | None = field(default=None, init=False, repr=False)

    def tile(self, window: Window, whole: Window, *, max_px: int) -> Chip:
        """A window of it in red, green and blue.

        Args:
            window: In pixels of the scene.
            whole: The window of the whole scene.
            max_px: Longest side of the result.

        Raises:
            RasterError: If it cannot be read.
        """
        with self._lock:
            if self._limits is None:
                self._limits = self._found(whole)
        if not self._limits:
            return image(self.scene, window, max_px=max_px, bands=self.bands)
        found = self._read(window, max_px)
        shown = [_between(b, *ends) for b, ends in zip(found.array, self._limits, strict=True)]
        if len(shown) == 2:
            shown.append(np.full_like(shown[0], 128))
        array = np.stack(shown * 3 if len(shown) == 1 else shown)
        return Chip(array, found.mask, window, found.grid, found.whole)

    def _found(self, whole: Window) -> Limits:
        """Of each band; none where the pixels are shown as they are."""
        chip = self._read(whole, SAMPLE_PX)
        if chip.array.dtype == np.uint8:
            return []
        return [_ends(band[chip.mask]) for band in chip.array]

    def _read(self, window: Window, max_px: int) -> Chip:
        box = self.scene.image.bbox
        part = window.shifted(box.col, box.row) if box else window

        def chosen(dataset: Any) -> list[int]:
            return display.bands_shown(self.scene, dataset, self.bands)

        uri = readable(self.scene.image, "image")
        return read_chosen(uri, part, chosen, max_px=max_px, resampling="average")


def _ends(valid: NDArray[Any]) -> tuple[float, float]:
    if not valid.size:
        return 0.0, 1.0
    ends = np.percentile(valid.astype(np.float64), (display.LOW, display.HIGH))
    low, high = float(ends[0]), float(ends[1])
    return (low, high) if high > low else (low - 1.0, low + 1.0)


def _between(band: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    values = np.nan_to_num(band.astype(np.float64), nan=low)
    return np.asarray(np.clip((values - low) * (255.0 / (high - low)), 0, 255), np.uint8)
