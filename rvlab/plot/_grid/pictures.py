"""Pictures on axes, drawn fast, and rectangles over them with a halo that any image shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_HALO, _POINTS = 1.2, 7.5
_DASH = (0, (2.6, 1.6))


@dataclass(frozen=True)
class AxesRect:
    """A rectangle on axes whose y axis points down.

    Args:
        left: Left edge.
        top: Top edge.
        width: Width.
        height: Height.
    """

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Bottom edge."""
        return self.top + self.height

    @property
    def corners(self) -> list[tuple[float, float]]:
        """The four corners, from the upper left clockwise."""
        left, top, right, bottom = self.left, self.top, self.right, self.bottom
        return [(left, top), (right, top), (right, bottom), (left, bottom)]


def draw_pixels(
    ax: Axes,
    pixels: NDArray[np.uint8],
    box: AxesRect,
    *,
    blend: bool,
    palette: NDArray[np.uint8] | None = None,
) -> AxesImage:
    """Draw pixels on axes, several times faster than `Axes.imshow`.

    Args:
        ax: Axes whose y axis points down.
        pixels: Shape (rows, columns, 3 or 4), or (rows, columns) with a palette.
        box: The area to fill.
        blend: Whether to average pixels when the figure has fewer; otherwise the nearest pixel is
            used, so that only existing colors appear.
        palette: Colors of the values of `pixels`, shape (256, 3).
    """
    extent = (box.left, box.right, box.bottom, box.top)
    shown: AxesImage = _image_class()(ax, origin="upper", extent=extent)
    shown.set_data(pixels)
    shown.blend, shown.palette = blend, palette  # type: ignore[attr-defined]
    ax.add_image(shown)
    return shown


@cache
def _image_class() -> Any:
    from matplotlib.image import AxesImage
    from matplotlib.transforms import Affine2D
    from PIL import Image

    class PixelImage(AxesImage):
        blend = True
        palette: Any = None

        # The colors, as other code expects them of an image; `_A` has a third of the size.
        def get_array(self) -> Any:
            return self._A if self.palette is None else self.palette[self._A]

        # Overridden because matplotlib's method copies the array and searches for a mask.
        def set_data(self, pixels: Any) -> None:
            self._A = pixels
            self.stale = True

        # Overridden because matplotlib's method resamples floats and a mask, at twice the pixels.
        def make_image(
            self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
        ) -> Any:
            left, right, bottom, top = self.get_extent()
            corners = self.axes.transData.transform([(left, bottom), (right, top)])
            (x0, y0), (x1, y1) = np.rint(corners * magnification).astype(int)
            size = (max(1, x1 - x0), max(1, y1 - y0))
            picture = Image.fromarray(np.ascontiguousarray(self._A))
            if self.palette is not None:
                picture.putpalette(self.palette.tobytes())
            fewer = size[0] < picture.width or size[1] < picture.height
            how = Image.Resampling.BOX if self.blend and fewer else Image.Resampling.NEAREST
            made = np.asarray(picture.resize(size, how).convert("RGBA"))
            return made[::-1], x0 / magnification, y0 / magnification, Affine2D()

    return PixelImage


@dataclass(frozen=True)
class Rectangles:
    """Rectangles of one kind.

    Args:
        bounds: Left, top, right and bottom in pixels of the picture, shape (n, 4).
        colors: Red, green and blue, 0 to 255, shape (n, 3).
        dashed: Whether the lines are dashed.
        width: Line width, in points.
        texts: Text at the upper left corner of each rectangle; empty draws none.
        halo: Whether to draw a dark line below, which makes bright lines visible on bright images.
    """

    bounds: NDArray[np.float64]
    colors: NDArray[np.uint8]
    dashed: bool = False
    width: float = 1.3
    texts: Sequence[str] = field(default_factory=tuple)
    halo: bool = True


def draw_rectangles(ax: Axes, rects: Rectangles, box: AxesRect, scale: float) -> None:
    """Draw rectangles over a picture, clipped to the picture.

    Args:
        ax: Axes whose y axis points down.
        rects: The rectangles.
        box: The area of the picture on the axes.
        scale: Width of a pixel of the picture in units of the axes.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.transforms import Bbox, TransformedBbox

    if not len(rects.bounds):
        return
    placed = rects.bounds * scale + np.array([box.left, box.top] * 2)
    corners = placed[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    frame = TransformedBbox(Bbox([(box.left, box.top), (box.right, box.bottom)]), ax.transData)
    style = _DASH if rects.dashed else "-"
    drawn = [("black", rects.width + _HALO, 0.55)] if rects.halo else []
    for color, width, alpha in [*drawn, (rects.colors / 255.0, rects.width, 1.0)]:
        made = PolyCollection(
            corners,
            closed=True,
            facecolors="none",
            edgecolors=color,
            linewidths=width,
            # A dashed halo would have gaps that do not match those of the line.
            linestyles="-" if isinstance(color, str) else style,
            alpha=alpha,
            gid="halo" if isinstance(color, str) else "boxes",
        )
        ax.add_collection(made, autolim=False)
        made.set_clip_box(frame)
    _draw_labels(ax, rects, placed, box)


def _draw_labels(
    ax: Axes, rects: Rectangles, axes_bounds: NDArray[np.float64], box: AxesRect
) -> None:
    from matplotlib.patheffects import withStroke

    stroke = [withStroke(linewidth=1.8, foreground="black", alpha=0.8)]
    for (x, y, _, _), text in zip(axes_bounds, rects.texts, strict=False):
        inside = y - box.top < 0.12  # no room above the box at the upper edge
        at = (max(x, box.left) + 0.02, max(y, box.top) + (0.03 if inside else -0.02))
        if not (box.left <= at[0] < box.right and box.top <= at[1] < box.bottom):
            continue
        ax.text(
            *at,
            text,
            fontsize=_POINTS,
            color="white",
            va="top" if inside else "bottom",
            path_effects=stroke,
            gid="score",
        )
