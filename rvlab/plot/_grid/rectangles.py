"""Rectangles over a picture: boxes of detections, with a halo that any image leaves visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rvlab.plot._style.pixel_image import AxesRect

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HALO, _POINTS = 1.2, 7.5
_DASH = (0, (2.6, 1.6))


@dataclass(frozen=True)
class Rectangles:
    """Rectangles of one kind.

    Args:
        bounds: Left, top, right and bottom in pixels of the picture, shape (n, 4).
        colors: Red, green and blue, 0 to 255, shape (n, 3).
        dashed: Whether their lines are.
        width: Of a line, in points.
        texts: Beside their upper left corners; empty for none at all.
        halo: Whether a dark line lies below, without which bright lines are lost on bright ground.
    """

    bounds: NDArray[np.float64]
    colors: NDArray[np.uint8]
    dashed: bool = False
    width: float = 1.3
    texts: Sequence[str] = field(default_factory=tuple)
    halo: bool = True


def draw_rectangles(ax: Axes, rects: Rectangles, box: AxesRect, scale: float) -> None:
    """Draw them over a picture, cut at its edge.

    Args:
        ax: Its y axis points down.
        rects: What to draw.
        box: Of the picture.
        scale: Units of the axes that a pixel of the picture is wide.
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
            # Under dashes the halo is whole, or it would have gaps of its own.
            linestyles="-" if isinstance(color, str) else style,
            alpha=alpha,
            gid="halo" if isinstance(color, str) else "boxes",
        )
        ax.add_collection(made, autolim=False)
        made.set_clip_box(frame)
    _draw_label(ax, rects, placed, box)


def _draw_label(ax: Axes, rects: Rectangles, placed: NDArray[np.float64], box: AxesRect) -> None:
    from matplotlib.patheffects import withStroke

    stroke = [withStroke(linewidth=1.8, foreground="black", alpha=0.8)]
    for (x, y, _, _), text in zip(placed, rects.texts, strict=False):
        inside = y - box.top < 0.12  # at the upper edge there is no room above a box
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
