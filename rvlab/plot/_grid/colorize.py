"""Class ids, errors, outlines and probabilities as pixels of red, green and blue; no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rvlab.raster.scene import RGB, Classes

Pixels = NDArray[np.uint8]

OTHER_COLOR: RGB = (255, 0, 255)
"""The color of an id that is none of the classes."""

TRUE_POSITIVE: RGB = (0, 158, 115)
FALSE_POSITIVE: RGB = (213, 94, 0)
FALSE_NEGATIVE: RGB = (0, 114, 178)
CONFUSED: RGB = (240, 228, 66)

# Okabe and Ito, "Color universal design" (2008). On the light grey of `dim_image` each stands apart
# for the eyes of deuteranopes and protanopes, too.
ERROR_COLORS: tuple[tuple[str, RGB], ...] = (
    ("true positive", TRUE_POSITIVE),
    ("false positive", FALSE_POSITIVE),
    ("false negative", FALSE_NEGATIVE),
    ("confused", CONFUSED),
)
"""What `errors` tells apart, for a legend: true positive, false positive, false negative, and a
class of interest that was taken for another one, which is false for one and missed for the other.
"""

UNKNOWN_COLOR: RGB = (160, 160, 160)
"""The color of a probability that is NaN."""

_DIM_FROM, _DIM_TO = 196.0, 250.0  # the grey of black and of white pixels behind errors

# Every 15th color of matplotlib's viridis (van der Walt and Smith, 2015), whose lightness rises
# evenly, so that it is right in a black and white print; between them straight lines, at most 5
# of 255 off.
_VIRIDIS = (
    "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e "
    "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
)


def color_classes(ids: ArrayLike, classes: Classes) -> Pixels:
    """Class ids in the colors of their classes.

    Args:
        ids: Of any shape, 0 to 255; ids that are no class become `OTHER_COLOR`.
        classes: Of a run.

    Returns:
        That shape, and 3.
    """
    palette = np.full((256, 3), OTHER_COLOR, np.uint8)
    palette[: len(classes)] = classes.colors
    found = np.asarray(ids)
    if found.ndim != 2:
        return np.take(palette, found, axis=0)
    picture = Image.fromarray(np.ascontiguousarray(found, np.uint8))  # twice as fast as np.take
    picture.putpalette(palette.tobytes())
    return np.asarray(picture.convert("RGB"))


def color_errors(
    truth: ArrayLike,
    guess: ArrayLike,
    classes: Classes,
    of: Sequence[int],
    inside: NDArray[np.bool_] | None = None,
) -> Pixels:
    """Color true positives, false positives, false negatives and confused classes.

    Args:
        truth: Class ids, shape (rows, columns).
        guess: The same of a prediction.
        classes: Of the run; pixels whose truth is its null class, or no class, stay transparent.
        of: Ids of the classes of interest.
        inside: Pixels outside have no label and stay transparent; None takes all.

    Returns:
        Shape (rows, columns, 4): the colors of `ERROR_COLORS`, alpha 255; 0 where there is nothing
            of
        these classes, and the color is black there.
    """
    known, wanted = np.zeros(256, np.bool_), _class_mask(of)
    known[: len(classes)] = True
    if classes.unlabelled_id is not None:
        known[classes.unlabelled_id] = False
    there, said = (known & wanted)[:, np.newaxis], wanted[np.newaxis]
    # The outcome of each pair of a true and a predicted id: its place in the palette, 0 is none.
    pairs = np.zeros((256, 256), np.uint8)
    pairs[there & said] = 4
    pairs[there & ~said] = 3
    pairs[known[:, np.newaxis] & ~wanted[:, np.newaxis] & said] = 2
    pairs[np.diag(there[:, 0] & said[0])] = 1
    palette = np.zeros((len(ERROR_COLORS) + 1, 4), np.uint8)
    palette[1:, :3] = [color for _, color in ERROR_COLORS]
    palette[1:, 3] = 255
    outcome = pairs[np.asarray(truth), np.asarray(guess)]
    if inside is not None:
        outcome[~inside] = 0
    return np.asarray(np.take(palette, outcome, axis=0))


def color_outlines(
    ids: ArrayLike, classes: Classes, *, of: Sequence[int], width: int = 1
) -> Pixels:
    """The outlines of each class's areas, in the class's color and within the area.

    The edge of the array is no edge of an area: what is cut there goes on.

    Args:
        ids: Class ids, shape (rows, columns).
        classes: Of the run.
        of: Ids of the classes that are outlined.
        width: Of a line, in pixels of the array.

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
    edge &= _class_mask(of)[found]
    out = np.zeros((*found.shape, 4), np.uint8)
    out[edge, :3] = color_classes(found[edge], classes)
    out[edge, 3] = 255
    return out


def color_heat(probability: ArrayLike) -> Pixels:
    """Probabilities on a scale from dark blue over green to yellow.

    Args:
        probability: 0 to 1, any shape; values outside are cut, NaN becomes `UNKNOWN_COLOR`.

    Returns:
        That shape with a last axis of 3.
    """
    values = np.asarray(probability, np.float64)
    known = np.isfinite(values)
    places = np.clip(np.where(known, values, 0.0) * 255.0, 0, 255)
    out: Pixels = np.take(_viridis_table(), np.rint(places).astype(np.intp), axis=0)
    out[~known] = UNKNOWN_COLOR
    return out


def blend_over(image: ArrayLike, layer: ArrayLike) -> Pixels:
    """A layer laid over an image.

    Args:
        image: Shape (rows, columns, 3), 0 to 255.
        layer: Shape (rows, columns, 4); its alpha from 0 (the image shows) to 255.

    Returns:
        Shape (rows, columns, 3).
    """
    under, top = np.asarray(image, np.uint8), np.asarray(layer)
    alpha = top[..., 3:]
    if ((alpha == 0) | (alpha == 255)).all():
        return np.where(alpha == 255, top[..., :3], under)
    share = alpha.astype(np.uint16)  # holds 255 * 255 and what is added to round
    return ((top[..., :3] * share + under * (255 - share) + 127) // 255).astype(np.uint8)


def set_alpha(layer: ArrayLike, alpha: float) -> Pixels:
    """A layer that is seen through.

    Args:
        layer: Shape (rows, columns, 3 or 4).
        alpha: By how much what is seen in it covers what lies below, 0 to 1.

    Returns:
        Shape (rows, columns, 4).
    """
    top = np.asarray(layer)
    seen = top[..., 3] if top.shape[-1] == 4 else np.full(top.shape[:-1], 255)
    return np.dstack([top[..., :3], np.rint(seen * alpha)]).astype(np.uint8)


def dim_image(image: ArrayLike) -> Pixels:
    """An image in light grey, as a ground on which colors stand out.

    Args:
        image: Shape (rows, columns, 3), 0 to 255.

    Returns:
        The same shape.
    """
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    grey = np.asarray(image)[..., :3] @ (weights * ((_DIM_TO - _DIM_FROM) / 255.0))
    light = _DIM_FROM + grey
    return np.repeat(np.rint(light).astype(np.uint8)[..., np.newaxis], 3, axis=-1)


def _class_mask(of: Sequence[int]) -> NDArray[np.bool_]:
    picked = np.zeros(256, np.bool_)
    picked[list(of)] = True
    return picked


def _viridis_table() -> Pixels:
    stops = np.array([list(bytes.fromhex(color)) for color in _VIRIDIS.split()], np.float64)
    at = np.arange(len(stops)) * 15
    every = [np.interp(np.arange(256), at, column) for column in stops.T]
    return np.asarray(np.rint(np.stack(every, axis=1)), np.uint8)
