"""Scale bar of a picture, in metres or kilometres."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rvlab.plot._style.pixel_image import AxesRect

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 8.5


def draw_scale_bar(ax: Axes, box: AxesRect, metres: float) -> None:
    """Draw a scale bar at the lower left, of a round length of about a quarter of the width.

    Args:
        ax: Axes whose y axis points down.
        box: The area of the picture on the axes.
        metres: Width of the picture in metres.
    """
    from matplotlib.patheffects import withStroke

    long = round_length(metres * 0.3)
    start, base = box.left + 0.04 * box.width, box.top + 0.94 * box.height
    ax.plot(
        [start, start + long / metres * box.width],
        [base, base],
        color="white",
        linewidth=2,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=3.2, foreground="black", alpha=0.75)],
        scalex=False,
        scaley=False,
        gid="scale bar",
    )
    ax.annotate(
        f"{long / 1000:g} km" if long >= 1000 else f"{long:g} m",
        (start, base),
        (0, 4),
        textcoords="offset points",
        color="white",
        fontsize=_POINTS,
        path_effects=[withStroke(linewidth=2, foreground="black", alpha=0.75)],
    )


def round_length(longest: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is at most `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return float(next(n * power for n in (5, 2, 1) if n * power <= longest * (1 + 1e-9)))
