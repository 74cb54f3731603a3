"""Conversion of GeoJSON features to the pixels of a raster."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.model.limits import GEOJSON_VALUES
from rvlab.raster.gdal import gdal_errors, malformed, read_bytes
from rvlab.raster.read import Grid

_CRS = re.compile(
    r"(?:urn:ogc:def:crs:(?:OGC|EPSG):[\w.]*:\w+|(?:EPSG|OGC):\w+|"
    r"https?://www\.opengis\.net/def/crs/(?:OGC|EPSG)/[\w.]+/\w+)",
    re.IGNORECASE,
)
"""Accepted CRS names in GeoJSON. PROJ would open any other name as a file or a URL."""


def read_features(uri: str) -> list[dict[str, Any]]:
    """Read the features of a GeoJSON file that have a geometry, in longitude and latitude.

    Returns:
        Dicts with ``id``, ``properties`` and a shapely ``geometry``.

    Raises:
        RasterError: If the file cannot be read or is not GeoJSON.
    """
    import shapely

    text = read_bytes(uri)
    try:
        data = json.loads(text)
        found = data["features"] if data.get("type") == "FeatureCollection" else [data]
        found = [f for f in found if f.get("geometry")]
        geometries = [shapely.from_geojson(json.dumps(f["geometry"])) for f in found]
        has = [dict(f.get("properties") or {}) for f in found]
        crs = ((data.get("crs") or {}).get("properties") or {}).get("name")
    except (
        *(ValueError, TypeError, KeyError, AttributeError, RecursionError),
        shapely.GEOSException,
    ) as exc:
        raise RasterError(f"{uri} has no GeoJSON features: {exc!s:.200}.") from exc
    # Raster Vision reads the file as a table: each feature has the properties of all features.
    names = {name for properties in has for name in properties}
    if (values := len(names) * len(found)) > GEOJSON_VALUES:
        raise RasterError(
            f"{uri} has {len(found):,} features with {len(names):,} properties, {values:,} values; "
            f"more than {GEOJSON_VALUES:,} are not read."
        )
    if crs is not None:
        if not isinstance(crs, str) or not _CRS.fullmatch(crs):
            raise RasterError(
                f"{uri} has the crs {crs!r:.100}; it must be a code such as EPSG:4326."
            )
        geometries = list(_reproject(geometries, crs, "EPSG:4326"))
    return [
        {
            "id": str(number),
            "properties": dict.fromkeys(names) | properties,
            "geometry": geometry,
        }
        for number, (properties, geometry) in enumerate(zip(has, geometries, strict=True))
        if not geometry.is_empty
    ]


def to_pixels(features: list[dict[str, Any]], grid: Grid) -> list[dict[str, Any]]:
    """Convert features to pixel coordinates of a raster, rounded down.

    Multi-part shapes are split, polygons repaired by ``buffer(0)``, and empty shapes dropped.

    Args:
        features: As `read_features` returns them.
        grid: Grid of the raster; without CRS and transform, coordinates are already in pixels.
    """
    with malformed("A shape"):
        return _in_pixels(features, grid)


def _in_pixels(features: list[dict[str, Any]], grid: Grid) -> list[dict[str, Any]]:
    import shapely

    geometries = [f["geometry"] for f in features]
    if grid.crs is not None:
        geometries = _reproject(geometries, "EPSG:4326", grid.crs)
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


def _reproject(geometries: Any, source: Any, target: Any) -> Any:
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
