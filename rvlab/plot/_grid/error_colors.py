"""Colors of errors that differ from the colors of the classes in the same figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rvlab.plot._grid.colorize import ERROR_COLORS
from rvlab.raster.scene import RGB

MIN_DISTANCE = 0.12
"""The smallest difference in OKLab of two colors with different meanings; 0.02 is just visible."""

_ROOMS = (0.2, 0.16, MIN_DISTANCE)  # preferred first
_STEPS = (0, 51, 102, 153, 204, 255)
_GROUNDS = ((200, 200, 200), (225, 225, 225), (250, 250, 250))  # of `colorize.dim_image`
_SHARE = 0.75  # alpha of the truth's areas over the grey image

# Machado, Oliveira and Fernandes (2009), severity 1: normal vision, protanopes and deuteranopes.
_EYES = np.array(
    [
        np.eye(3),
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    ]
)


def choose_error_colors(classes: Iterable[RGB]) -> tuple[RGB, ...]:
    """Choose the colors of the outcomes in `ERROR_COLORS`, in its order.

    An outcome keeps its own color unless a class has nearly the same. Then it gets the most similar
    one that differs from all classes, also over a grey image, and from the other outcomes, also for
    colour-blind readers.

    Args:
        classes: Colors of the classes in the figure.
    """
    own = [color for _, color in ERROR_COLORS]
    pure = np.array(list(classes), float).reshape(-1, 3)
    shown = np.vstack([pure, *(_SHARE * pure + (1 - _SHARE) * np.array(g) for g in _GROUNDS)])
    found = {i: c for i, c in enumerate(own) if _min_distance([c], shown)[0] >= MIN_DISTANCE}
    pool = np.array(list(product(_STEPS, repeat=3)))
    from_classes = _min_distance(pool, np.vstack([shown, _GROUNDS]))
    for i, color in enumerate(own):
        if i in found:
            continue
        taken = [found[j] if j in found else own[j] for j in range(len(own)) if j != i]
        room = np.minimum(from_classes, _min_distance(pool, taken, colour_blind=True))
        changes = _min_distance(pool, [color])
        # The most similar color with enough room, else the one with the most room.
        fits = next((room >= most for most in _ROOMS if (room >= most).any()), room == room.max())
        best = np.argmin(np.where(fits, changes, np.inf))
        red, green, blue = pool[best].tolist()
        found[i] = (red, green, blue)
    return tuple(found[i] for i in range(len(own)))


def _min_distance(
    colors: ArrayLike, others: ArrayLike | Sequence[RGB], *, colour_blind: bool = False
) -> NDArray[np.float64]:
    """Return the distance of each color to the nearest other one; infinite without others."""
    many = np.asarray(others, float).reshape(-1, 3)
    out = np.full(len(np.asarray(colors)), np.inf)
    for eye in _EYES if colour_blind else _EYES[:1]:
        a, b = _oklab(np.asarray(colors, float), eye), _oklab(many, eye)
        for one in b:
            out = np.minimum(out, np.linalg.norm(a - one, axis=1))
    return out


def _oklab(rgb: NDArray[np.float64], eye: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB, 0 to 255, as an eye sees it, to OKLab (Ottosson 2020)."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ eye.T, 0, 1)
    lms = np.cbrt(linear @ np.array([
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ]))  # fmt: skip
    return np.asarray(lms @ np.array([
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ]))  # fmt: skip
