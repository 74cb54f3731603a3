"""Tiles of a scene in its own pixels, and their encoding."""

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

PHOTO_QUALITY = 90  # of 100; less than a quarter of the size of a PNG for NEON's imagery

TileIds = NDArray[np.uint8]


@dataclass(frozen=True)
class TileRef:
    """Position of a tile. Level 0 has the scene's pixels; each level above halves both sides."""

    level: int
    x: int
    y: int

    def window(self, width: int, height: int) -> Window:
        """Return the tile's window in a scene of that size.

        Raises:
            SpecError: If the scene does not have the tile.
        """
        side = TILE_PX << self.level if 0 <= self.level <= top_level(width, height) else 0
        across, down = (math.ceil(n / side) if side else 0 for n in (width, height))
        if not (0 <= self.x < across and 0 <= self.y < down):
            raise SpecError(
                f"Tile {self.x}, {self.y} at level {self.level} is outside a scene of "
                f"{width} × {height} px."
            )
        return Window(self.x * side, self.y * side, side, side).clip(width, height)

    def max_px(self, window: Window) -> int:
        """Return the longest side of the pixels to read for the tile."""
        return math.ceil(max(window.width, window.height) / (1 << self.level))


@dataclass(frozen=True)
class Tile:
    """Encoded data of a tile.

    Args:
        form: ``photo``, a WebP or PNG picture; ``ids``, concatenated and deflated planes of class
            ids, which the browser colors; or ``boxes``, rows of float32.
        rows: Number of rows; may be fewer than `TILE_PX` at the scene's edge.
        cols: Number of columns.
        data: The bytes.
    """

    form: str
    rows: int
    cols: int
    data: bytes


def top_level(width: int, height: int) -> int:
    """Return the level at which one tile contains the whole scene."""
    return max(0, math.ceil(math.log2(max(width, height) / TILE_PX)))


def image_tile(chip: Chip) -> Tile:
    """Encode imagery, transparent for pixels without data."""
    from PIL import Image, features

    alpha = np.where(chip.mask, 255, 0).astype(np.uint8)
    opaque = chip.is_complete
    picture = Image.fromarray(np.dstack([*chip.array, *([] if opaque else [alpha])]))
    out = BytesIO()
    how: dict[str, Any] = {"format": "PNG", "compress_level": 1}
    if features.check("webp"):
        how = {"format": "WEBP", "quality": PHOTO_QUALITY, "method": 1}
    picture.save(out, **how)
    return Tile("photo", picture.height, picture.width, out.getvalue())


def class_tile(ids: Sequence[TileIds]) -> Tile:
    """Encode planes of class ids without loss."""
    data = zlib.compress(b"".join(np.ascontiguousarray(part).tobytes() for part in ids), 1)
    rows, cols = ids[0].shape
    return Tile("ids", rows, cols, data)
