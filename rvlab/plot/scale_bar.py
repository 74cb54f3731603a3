"""How long something is on the ground."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 8.5


def scale_bar(ax: Axes, columns: int, rows: int, px_m: float) -> None:
    """Draw a bar of a round length, about a quarter of the picture, at its lower left.

    Args:
        ax: Shows a picture in pixels.
        columns: Of the picture.
        rows: Of the picture.
        px_m: Metres that a pixel is wide.
    """
    from matplotlib.patheffects import withStroke

    metres = round_length(columns * px_m * 0.3)
    right, base = 0.04 * columns + metres / px_m, rows * 0.94
    halo = [withStroke(linewidth=3.2, foreground="black", alpha=0.75)]
    ax.plot(
        [0.04 * columns, right],
        [base, base],
        color="white",
        linewidth=2,
        solid_capstyle="butt",
        path_effects=halo,
        scalex=False,
        scaley=False,
        gid="scale bar",
    )
    ax.annotate(
        f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m",
        (0.04 * columns, base),
        (0, 4),
        textcoords="offset points",
        color="white",
        fontsize=_POINTS,
        path_effects=[withStroke(linewidth=2, foreground="black", alpha=0.75)],
    )


def round_length(longest: float) -> float:
    """The greatest of 1, 2 and 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(longest))
    return float(next(n * power for n in (5, 2, 1) if n * power <= longest * (1 + 1e-9)))
