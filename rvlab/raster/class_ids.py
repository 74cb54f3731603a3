"""Conversion of a label raster's pixels to class ids."""

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
"""Replacement for values that cannot be class ids."""


def class_ids(uri: str, chip: Chip, transformers: tuple[Mapping[str, Any], ...]) -> ClassIds:
    """Return the class ids of a label raster, after its transformers.

    Args:
        uri: Address of the raster, for error messages.
        chip: Pixels of the raster.
        transformers: Raster Vision's transformer settings. As in Raster Vision, pixels without data
            become 0 before they are applied.

    Raises:
        RasterError: If rvlab does not support a transformer, or more than one band is left.
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
                f"The labels have a {kind!s:.60}, which only Raster Vision can apply."
            )
    if len(array) != 1:
        raise RasterError(
            f"{uri} has {len(array)} bands. Labels must have one band with class ids, or colors "
            "and an rgb_class_transformer."
        )
    ids = array[0]
    if ids.dtype != np.uint8:  # otherwise 256 would wrap around to class 0
        ids = np.where((ids >= 0) & (ids < NO_CLASS), ids, NO_CLASS)
    return np.asarray(ids, np.uint8)


def count_values(ids: ClassIds) -> NDArray[np.int64]:
    """Count the occurrences of each value from 0 to 255."""
    from PIL import Image

    if not ids.size:
        return np.zeros(256, np.int64)
    # np.bincount takes twice the time and eight times the memory.
    return np.array(Image.fromarray(np.atleast_2d(ids)).histogram(), np.int64)


def _from_colors(array: NDArray[Any], config: Classes | Mapping[str, Any]) -> NDArray[Any]:
    own = config if isinstance(config, Classes) else classes_from_config(config)
    codes = array.astype(np.uint32)
    joined = (codes[0] << 16 | codes[1] << 8 | codes[2])[np.newaxis]
    ids = {r << 16 | g << 8 | b: number for number, (r, g, b) in enumerate(own.colors)}
    null = own.null_id if own.null_id is not None else len(own)
    return _map_values(joined, {0: null} | ids).astype(np.uint8)  # other colors keep their blue


def _map_values(array: NDArray[Any], mapping: Mapping[int, int]) -> NDArray[Any]:
    """Replace values simultaneously, as Raster Vision's ReclassTransformer does."""
    out = array.copy()
    for old, new in mapping.items():
        out[array == old] = new
    return out
