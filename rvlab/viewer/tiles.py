"""Tiles of a scene in its own pixels: which there are, and what is sent of each."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import SpecError
from rvlab.raster import Chip, Window

TILE_PX = 512

PHOTO_QUALITY = 90  # of 100: a tile of NEON's imagery has less than a quarter of a PNG's bytes

TileIds = NDArray[np.uint8]


@dataclass(frozen=True)
class TileRef:
    """A tile. At level 0 its pixels are the scene's; each level above has half as many a side."""

    level: int
    x: int
    y: int

    def window(self, width: int, height: int) -> Window:
        """Its pixels in a scene of that size.

        Raises:
            SpecError: If it is none of the scene's tiles.
        """
        side = TILE_PX << self.level if 0 <= self.level <= top_level(width, height) else 0
        across, down = (math.ceil(n / side) if side else 0 for n in (width, height))
        if not (0 <= self.x < across and 0 <= self.y < down):
            raise SpecError(
                f"There is no tile {self.x}, {self.y} at level {self.level} of a scene of "
                f"{width} × {height} px."
            )
        return Window(self.x * side, self.y * side, side, side).clip(width, height)

    def max_px(self, window: Window) -> int:
        """The longest side of what is read for it."""
        return math.ceil(max(window.width, window.height) / (1 << self.level))


@dataclass(frozen=True)
class Tile:
    """What is sent.

    Args:
        form: ``image_tile``, a picture for the browser; or ``ids``, planes of class ids, one after
            the other and deflated, which the browser colors.
        rows: Of pixels, which may be fewer than a tile's.
        cols: The same of columns.
        data: The bytes.
    """

    form: str
    rows: int
    cols: int
    data: bytes


def top_level(width: int, height: int) -> int:
    """The level at which one tile holds a whole scene."""
    return max(0, math.ceil(math.log2(max(width, height) / TILE_PX)))


def image_tile(chip: Chip) -> Tile:
    """Imagery, seen through where there is no data."""
    from PIL import Image, features

    alpha = np.where(chip.mask, 255, 0).astype(np.uint8)
    opaque = bool(chip.mask.all())
    picture = Image.fromarray(np.dstack([*chip.array, *([] if opaque else [alpha])]))
    out = BytesIO()
    how: dict[str, Any] = {"format": "PNG", "compress_level": 1}
    if features.check("webp"):
        how = {"format": "WEBP", "quality": PHOTO_QUALITY, "method": 1}
    picture.save(out, **how)
    return Tile("photo", picture.height, picture.width, out.getvalue())


def class_tile(ids: Sequence[TileIds]) -> Tile:
    """Class ids, exactly."""
    data = zlib.compress(b"".join(np.ascontiguousarray(part).tobytes() for part in ids), 1)
    rows, cols = ids[0].shape
    return Tile("ids", rows, cols, data)
