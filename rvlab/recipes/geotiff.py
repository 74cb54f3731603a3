"""Writers of small GeoTIFFs: RGB images, and labels with a colour per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_image(path: Path, image: NDArray[np.uint8], *, crs: str, transform: Any) -> None:
    """Write an RGB image.

    Args:
        path: Where to.
        image: Shape ``(height, width, 3)``.
        crs: Such as ``"EPSG:32632"``.
        transform: The affine transform from pixels to the CRS.
    """
    _write(path, np.moveaxis(image, -1, 0), crs, transform, photometric="RGB")


def write_labels(
    path: Path, labels: NDArray[np.uint8], *, crs: str, transform: Any, colors: Sequence[str]
) -> None:
    """Write class ids with a colour table, so that viewers do not show them as black.

    Args:
        path: Where to.
        labels: Class ids, shape ``(height, width)``.
        crs: Such as ``"EPSG:32632"``.
        transform: The affine transform from pixels to the CRS.
        colors: A colour per class id, as ``#rrggbb``.
    """
    table = {i: (*bytes.fromhex(color.removeprefix("#")), 255) for i, color in enumerate(colors)}
    _write(path, labels[None], crs, transform, colormap=table)


def _write(
    path: Path,
    bands: NDArray[np.uint8],
    crs: str,
    transform: Any,
    colormap: dict[int, tuple[int, ...]] | None = None,
    **options: Any,
) -> None:
    import rasterio

    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint8",
        count=count,
        height=height,
        width=width,
        crs=crs,
        transform=transform,
        compress="deflate",
        predictor=2,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        **options,
    ) as raster:
        raster.write(bands)
        if colormap is not None:
            raster.write_colormap(1, colormap)
