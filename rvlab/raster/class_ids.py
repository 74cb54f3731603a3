"""Pixels of a raster of labels as class ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.raster.gdal import malformed
from rvlab.raster.read import Chip
from rvlab.raster.scene import Classes, classes_from_config

ClassIds = NDArray[np.uint8]

NO_CLASS = 255
"""What stands for values that cannot be class ids."""


def class_ids(uri: str, chip: Chip, transformers: tuple[Mapping[str, Any], ...]) -> ClassIds:
    """The class ids that a raster of labels stands for.

    Args:
        uri: Named in errors.
        chip: As it was read.
        transformers: Raster Vision's settings of what is done to the pixels; before them, as there,
            pixels without data become 0.

    Raises:
        RasterError: If a transformer is not known here, or more than one band is left.
    """
    with malformed(f"The transformers of {uri}"):
        return _class_ids(uri, chip, transformers)


def _class_ids(uri: str, chip: Chip, transformers: tuple[Mapping[str, Any], ...]) -> ClassIds:
    array = np.where(chip.mask, chip.array, 0)
    for step in transformers:
        kind = step.get("type_hint")
        if kind == "rgb_class_transformer" and len(array) == 3:
            array = _from_colors(array, step["class_config"])
        elif kind == "reclass_transformer":
            array = _map_values(array, {int(k): int(v) for k, v in step["mapping"].items()})
        elif kind not in ("cast_transformer", "nan_transformer"):
            raise RasterError(
                f"The labels pass a {kind!s:.60}, which only Raster Vision can apply."
            )
    if len(array) != 1:
        raise RasterError(
            f"{uri} has {len(array)} bands. Labels have one with class ids, or colors and an "
            "rgb_class_transformer."
        )
    ids = array[0]
    if ids.dtype != np.uint8:  # 256 is no class, and not the first one either
        ids = np.where((ids >= 0) & (ids < NO_CLASS), ids, NO_CLASS)
    return np.asarray(ids, np.uint8)


def count_values(ids: ClassIds) -> NDArray[np.int64]:
    """How often each number from 0 to 255 occurs."""
    from PIL import Image

    if not ids.size:
        return np.zeros(256, np.int64)
    # np.bincount takes twice as long, and eight times the memory.
    return np.array(Image.fromarray(np.atleast_2d(ids)).histogram(), np.int64)


def _from_colors(array: NDArray[Any], config: Classes | Mapping[str, Any]) -> NDArray[Any]:
    own = config if isinstance(config, Classes) else classes_from_config(config)
    codes = array.astype(np.uint32)
    joined = (codes[0] << 16 | codes[1] << 8 | codes[2])[np.newaxis]
    ids = {r << 16 | g << 8 | b: number for number, (r, g, b) in enumerate(own.colors)}
    null = own.null_id if own.null_id is not None else len(own)
    return _map_values(joined, {0: null} | ids).astype(np.uint8)  # of other colors the blue is left


def _map_values(array: NDArray[Any], mapping: Mapping[int, int]) -> NDArray[Any]:
    """Values replaced all at once; others stay, as in Raster Vision's ReclassTransformer."""
    out = array.copy()
    for old, new in mapping.items():
        out[array == old] = new
    return out
