"""Rectangles over a picture, with a halo that makes them visible on any image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rvlab.plot._grid.layout import AxesRect

_HALO, _POINTS = 1.2, 7.5
_DASH = (0, (2.6, 1.6))


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
