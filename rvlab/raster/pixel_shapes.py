"""Conversion of shapes in longitude and latitude to the pixels of a raster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.raster.gdal import gdal_errors, malformed
from rvlab.raster.read import Grid


def to_pixels(features: list[dict[str, Any]], grid: Grid) -> list[dict[str, Any]]:
    """Convert features to pixel coordinates of a raster, rounded down.

    Multi-part shapes are split, polygons repaired by ``buffer(0)``, and empty shapes dropped.

    Args:
        features: As `rvlab.raster.vector_files.read_features` returns them.
        grid: Grid of the raster; without CRS and transform, coordinates are already in pixels.
    """
    with malformed("A shape"):
        return _in_pixels(features, grid)


def _in_pixels(features: list[dict[str, Any]], grid: Grid) -> list[dict[str, Any]]:
    import shapely

    geometries = [f["geometry"] for f in features]
    if grid.crs is not None:
        geometries = reproject(geometries, "EPSG:4326", grid.crs)
    if grid.has_position:
        geometries = shapely.transform(geometries, lambda xy: _floor_pixels(xy, grid.transform))
    else:
        geometries = shapely.force_2d(geometries)
    out = []
    for f, geometry in zip(features, geometries, strict=True):
        for part in _single_parts(geometry):
            valid = part.buffer(0) if part.geom_type == "Polygon" else part
            out += [{**f, "geometry": piece} for piece in _single_parts(valid)]
    return out


def _single_parts(geometry: Any) -> list[Any]:
    """Split a multi-part shape and drop empty parts."""
    parts = [geometry]
    while any(hasattr(part, "geoms") for part in parts):
        parts = [p for part in parts for p in getattr(part, "geoms", [part])]
    return [part for part in parts if not part.is_empty]


def _floor_pixels(xy: NDArray[np.float64], transform: Any) -> NDArray[np.float64]:
    from rasterio.transform import rowcol

    if not len(xy):
        return xy
    rows, cols = rowcol(transform, xy[:, 0], xy[:, 1])
    return np.column_stack([cols, rows]).astype(float)


def reproject(geometries: Any, source: Any, target: Any) -> Any:
    """Transform shapely geometries from one CRS to another.

    Raises:
        RasterError: If a coordinate cannot be transformed.
    """
    import shapely
    from rasterio.warp import transform

    def moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(xy):
            return xy
        return np.column_stack(transform(source, target, xy[:, 0], xy[:, 1]))

    try:
        return shapely.transform(geometries, moved)
    except gdal_errors(ValueError) as exc:
        raise RasterError(
            f"Shapes cannot be transformed from {source} to {target}: {exc}. GeoJSON must be in "
            "longitude and latitude, or have a crs."
        ) from exc
