"""Pixels on a figure: small ones put together by their mean, large ones left square."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


@dataclass(frozen=True)
class AxesRect:
    """A rectangle on axes whose y axis points down.

    Args:
        left: Where it begins.
        top: Where it begins.
        width: Across.
        height: Down.
    """

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return self.top + self.height

    @property
    def corners(self) -> list[tuple[float, float]]:
        """From the upper left around."""
        left, top, right, bottom = self.left, self.top, self.right, self.bottom
        return [(left, top), (right, top), (right, bottom), (left, bottom)]


def draw_pixels(ax: Axes, pixels: NDArray[np.uint8], box: AxesRect, *, blend: bool) -> AxesImage:
    """Show pixels on axes, several times faster than `Axes.imshow` does.

    Args:
        ax: Its y axis points down.
        pixels: Shape (rows, columns, 3 or 4).
        box: Which they fill.
        blend: Whether pixels become means where the figure has fewer; else one of them is taken,
            so that no color comes up that is not there.
    """
    extent = (box.left, box.right, box.bottom, box.top)
    shown: AxesImage = _image_class()(ax, origin="upper", extent=extent)
    shown.set_data(pixels)
    shown.blend = blend  # type: ignore[attr-defined]
    ax.add_image(shown)
    return shown


@cache
def _image_class() -> Any:
    from matplotlib.image import AxesImage
    from matplotlib.transforms import Affine2D
    from PIL import Image

    class Crisp(AxesImage):
        blend = True

        # matplotlib's own copies them and looks for what is masked.
        def set_data(self, pixels: Any) -> None:
            self._A = pixels
            self.stale = True

        # matplotlib's own goes through floats and a mask, twice the pixels of the screen.
        def make_image(
            self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
        ) -> Any:
            left, right, bottom, top = self.get_extent()
            corners = self.axes.transData.transform([(left, bottom), (right, top)])
            (x0, y0), (x1, y1) = np.rint(corners * magnification).astype(int)
            size = (max(1, x1 - x0), max(1, y1 - y0))
            picture = Image.fromarray(np.asarray(self.get_array()))
            fewer = size[0] < picture.width or size[1] < picture.height
            how = Image.Resampling.BOX if self.blend and fewer else Image.Resampling.NEAREST
            made = np.asarray(picture.resize(size, how).convert("RGBA"))
            return made[::-1], x0 / magnification, y0 / magnification, Affine2D()

    return Crisp
