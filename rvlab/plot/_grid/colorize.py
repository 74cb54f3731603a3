"""Convert class ids, errors, outlines and probabilities to RGB pixels, without matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rvlab.raster.config import RGB, Classes

Pixels = NDArray[np.uint8]

OTHER_COLOR: RGB = (255, 0, 255)
"""The color of an id that no class has, unless a class has nearly this color."""

_OTHER_COLORS: tuple[RGB, ...] = (
    OTHER_COLOR,
    (0, 255, 255),
    (255, 255, 0),
    (128, 0, 0),
    (0, 0, 128),
    (255, 153, 255),
    (0, 255, 0),
)

TRUTH_COLOR: RGB = (255, 255, 255)
"""The color of true boxes over a run's boxes, and of the lines between classified cells."""

TRUE_POSITIVE: RGB = (0, 158, 115)
FALSE_POSITIVE: RGB = (213, 94, 0)
FALSE_NEGATIVE: RGB = (0, 114, 178)
CONFUSED: RGB = (240, 228, 66)

# Okabe and Ito, "Color universal design" (2008). Deuteranopes and protanopes can also distinguish
# them on the light grey of `fade_to_grey`.
ERROR_COLORS: tuple[tuple[str, RGB], ...] = (
    ("true positive", TRUE_POSITIVE),
    ("false positive", FALSE_POSITIVE),
    ("false negative", FALSE_NEGATIVE),
    ("confused", CONFUSED),
)
"""Labels and colors of the outcomes in `color_errors`, for a legend.

"Confused" is one class of interest predicted as another: a false negative of the true class and a
false positive of the predicted class.
"""

DEFAULT_ERROR_COLORS: tuple[RGB, ...] = tuple(color for _, color in ERROR_COLORS)

UNKNOWN_COLOR: RGB = (160, 160, 160)
"""The color of a probability that is NaN."""

_DIM_FROM, _DIM_TO = 196.0, 250.0  # the grey of black and of white pixels behind errors

_OUTSIDE = 45.0, 125.0  # the same, outside the areas of interest

OUTSIDE_COLOR: RGB = (85, 85, 85)
"""The color of the legend for pixels outside the areas of interest."""

# Every 15th color of matplotlib's viridis (van der Walt and Smith, 2015). Its lightness increases
# evenly, so that it is also correct in black and white. Linear interpolation between these colors
# is off by at most 5 of 255.
_VIRIDIS = (
    "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e "
    "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
)


def choose_color_of_unknown_ids(classes: Classes) -> RGB:
    """Choose the color of an id that no class has, which differs from those of the classes."""
    shown = np.array(classes.colors, int).reshape(-1, 3)

    def room(color: RGB) -> int:
        return int(np.abs(shown - color).max(axis=1).min(initial=255))

    return next((one for one in _OTHER_COLORS if room(one) >= 64), max(_OTHER_COLORS, key=room))


def class_palette(classes: Classes) -> Pixels:
    """Return the colors of the ids 0 to 255, shape (256, 3)."""
    palette = np.full((256, 3), choose_color_of_unknown_ids(classes), np.uint8)
    palette[: len(classes)] = classes.colors
    return palette


def color_classes(ids: ArrayLike, classes: Classes) -> Pixels:
    """Color class ids with the colors of their classes.

    Args:
        ids: Class ids of any shape, 0 to 255; ids that no class has get the color of
            `choose_color_of_unknown_ids`.
        classes: The classes of a run.

    Returns:
        RGB in an additional last axis of length 3.
    """
    palette = class_palette(classes)
    found = np.asarray(ids)
    if found.ndim != 2:
        return np.take(palette, found, axis=0)
    picture = Image.fromarray(np.ascontiguousarray(found, np.uint8))  # twice as fast as np.take
    picture.putpalette(palette.tobytes())
    return np.asarray(picture.convert("RGB"))


def color_errors(
    truth: ArrayLike,
    prediction: ArrayLike,
    classes: Classes,
    class_ids: Sequence[int],
    inside: NDArray[np.bool_] | None = None,
    *,
    colors: Sequence[RGB] = DEFAULT_ERROR_COLORS,
) -> Pixels:
    """Color true positives, false positives, false negatives and confused classes.

    Args:
        truth: Class ids, shape (rows, columns).
        prediction: Predicted class ids, same shape.
        classes: The classes of the run. Pixels whose truth is the class of unlabelled pixels, or
            no class, stay transparent.
        class_ids: Ids of the classes of interest.
        inside: Mask of labelled pixels; others stay transparent. None includes all pixels.
        colors: Colors of the outcomes, in the order of `ERROR_COLORS`.

    Returns:
        Shape (rows, columns, 4): `colors` with alpha 255; black with alpha 0
        where neither truth nor prediction is a class of interest.
    """
    known, wanted = np.zeros(256, np.bool_), _class_lookup(class_ids)
    known[: len(classes)] = True
    if classes.unlabelled_id is not None:
        known[classes.unlabelled_id] = False
    true_class, predicted = (known & wanted)[:, np.newaxis], wanted[np.newaxis]
    # The palette index of each pair of a true and a predicted id; 0 is transparent.
    pairs = np.zeros((256, 256), np.uint8)
    pairs[true_class & predicted] = 4
    pairs[true_class & ~predicted] = 3
    pairs[known[:, np.newaxis] & ~wanted[:, np.newaxis] & predicted] = 2
    pairs[np.diag(true_class[:, 0] & predicted[0])] = 1
    palette = np.zeros((len(ERROR_COLORS) + 1, 4), np.uint8)
    palette[1:, :3] = colors
    palette[1:, 3] = 255
    outcome = pairs[np.asarray(truth), np.asarray(prediction)]
    if inside is not None:
        outcome[~inside] = 0
    return np.asarray(np.take(palette, outcome, axis=0))


def color_outlines(
    ids: ArrayLike, classes: Classes, *, class_ids: Sequence[int], width: int = 1
) -> Pixels:
    """Draw the outlines of each class's areas, in the class's color and within the area.

    The edge of the array is not outlined, because areas may continue beyond it, unless one class
    covers the whole array and would have no outline.

    Args:
        ids: Class ids, shape (rows, columns).
        classes: The classes of the run.
        class_ids: Ids of the classes to outline.
        width: Line width, in pixels of the array.

    Returns:
        Shape (rows, columns, 4); alpha is 255 on a line, else 0.
    """
    found = np.asarray(ids)
    edge = np.zeros(found.shape, np.bool_)
    for step in range(1, width + 1):
        down, across = found[step:] != found[:-step], found[:, step:] != found[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= across
        edge[:, :-step] |= across
    if found.size and not edge.any():
        edge[:width] = edge[-width:] = True
        edge[:, :width] = edge[:, -width:] = True
    edge &= _class_lookup(class_ids)[found]
    out = np.zeros((*found.shape, 4), np.uint8)
    out[edge, :3] = color_classes(found[edge], classes)
    out[edge, 3] = 255
    return out


def color_heat(probability: ArrayLike) -> Pixels:
    """Color probabilities on a scale from dark blue through green to yellow.

    Args:
        probability: 0 to 1, any shape; values outside are clipped, NaN becomes `UNKNOWN_COLOR`.

    Returns:
        RGB in an additional last axis of length 3.
    """
    values = np.asarray(probability, np.float64)
    known = np.isfinite(values)
    places = np.clip(np.where(known, values, 0.0) * 255.0, 0, 255)
    out: Pixels = np.take(_viridis_table(), np.rint(places).astype(np.intp), axis=0)
    out[~known] = UNKNOWN_COLOR
    return out


def blend_over(image: ArrayLike, layer: ArrayLike) -> Pixels:
    """Blend a layer over an image.

    Args:
        image: Shape (rows, columns, 3), 0 to 255.
        layer: Shape (rows, columns, 4); alpha from 0 (transparent) to 255 (opaque).

    Returns:
        Shape (rows, columns, 3).
    """
    under, top = np.asarray(image, np.uint8), np.asarray(layer)
    alpha = top[..., 3:]
    if ((alpha == 0) | (alpha == 255)).all():
        return np.where(alpha == 255, top[..., :3], under)
    share = alpha.astype(np.uint16)  # large enough for 255 * 255 + 127
    return ((top[..., :3] * share + under * (255 - share) + 127) // 255).astype(np.uint8)


def scale_alpha(layer: ArrayLike, alpha: float) -> Pixels:
    """Make a layer translucent.

    Args:
        layer: Shape (rows, columns, 3 or 4).
        alpha: Opacity by which existing alpha is multiplied, 0 to 1.

    Returns:
        Shape (rows, columns, 4).
    """
    top = np.asarray(layer)
    seen = top[..., 3] if top.shape[-1] == 4 else np.full(top.shape[:-1], 255)
    return np.dstack([top[..., :3], np.rint(seen * alpha)]).astype(np.uint8)


def shade_outside(pixels: Pixels, image: ArrayLike, inside: NDArray[np.bool_]) -> Pixels:
    """Replace pixels outside the areas of interest by the image in dark grey.

    Args:
        pixels: Shape (rows, columns, 3).
        image: The image, same shape.
        inside: Mask of the pixels in an area of interest, shape (rows, columns).
    """
    return np.where(inside[..., np.newaxis], pixels, _grey(image, *_OUTSIDE))


def fade_to_grey(image: ArrayLike) -> Pixels:
    """Convert an image to light grey, as a background on which colors are visible.

    Args:
        image: Shape (rows, columns, 3), 0 to 255.

    Returns:
        The same shape.
    """
    return _grey(image, _DIM_FROM, _DIM_TO)


def _grey(image: ArrayLike, black: float, white: float) -> Pixels:
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    grey = np.asarray(image)[..., :3] @ (weights * ((white - black) / 255.0))
    return np.repeat(np.rint(black + grey).astype(np.uint8)[..., np.newaxis], 3, axis=-1)


def _class_lookup(class_ids: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.zeros(256, np.bool_)
    mask[list(class_ids)] = True
    return mask


def _viridis_table() -> Pixels:
    stops = np.array([list(bytes.fromhex(color)) for color in _VIRIDIS.split()], np.float64)
    at = np.arange(len(stops)) * 15
    every = [np.interp(np.arange(256), at, column) for column in stops.T]
    return np.asarray(np.rint(np.stack(every, axis=1)), np.uint8)


MIN_DISTANCE = 0.12
"""The smallest difference in OKLab of two colors with different meanings; 0.02 is just visible."""

_ROOMS = (0.2, 0.16, MIN_DISTANCE)  # preferred first
_STEPS = (0, 51, 102, 153, 204, 255)
_GROUNDS = ((200, 200, 200), (225, 225, 225), (250, 250, 250))  # of `colorize.fade_to_grey`
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
