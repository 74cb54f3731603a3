"""Imagery as tiles, all with the same stretch so that seams are not visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from rvlab.raster import Chip, Scene, Window, display

SAMPLE_PX = 512  # longest side of the thumbnail that determines the stretch


@dataclass
class Imagery:
    """The imagery of a scene.

    `rvlab.raster.image` stretches each window separately, as a picture in a grid needs it. Here the
    limits come from a thumbnail of the whole scene. Neither stretches imagery of uint8.

    Args:
        scene: As `rvlab.raster.scenes_from_config` returns it.
        bands: As for `rvlab.raster.image`.
    """

    scene: Scene
    bands: Sequence[int] | None = None
    _lock: Any = field(default_factory=Lock, init=False, repr=False)
    _limits: list[display.Limits | None] | None = field(default=None, init=False, repr=False)

    def tile(self, window: Window, whole: Window, *, max_px: int) -> Chip:
        """Read a window in red, green and blue.

        Args:
            window: In pixels of the scene.
            whole: The window of the whole scene.
            max_px: Longest side of the result, in pixels.

        Raises:
            RasterError: If the imagery cannot be read.
        """
        with self._lock:
            if self._limits is None:
                found = display.picture_channels(
                    self.scene, whole, max_px=SAMPLE_PX, bands=self.bands
                )
                self._limits = [display.stretch_limits(band, found.mask) for band in found.array]
        found = display.picture_channels(self.scene, window, max_px=max_px, bands=self.bands)
        return replace(found, array=display.stretch_to_rgb(found, self._limits))
