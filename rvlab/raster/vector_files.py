"""Reading of labels and areas of interest from every vector format, in longitude and latitude."""

from __future__ import annotations

import json
from typing import Any

from rvlab.errors import RasterError
from rvlab.model.limits import GEOJSON_VALUES
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.gdal import malformed
from rvlab.raster.geojson import parse_geojson
from rvlab.raster.ogr import convert_hint, read_ogr
from rvlab.raster.pixel_shapes import reproject


def read_features(uri: str) -> list[dict[str, Any]]:
    """Read the features of a vector file that have a geometry, in longitude and latitude.

    GeoJSON is read without GDAL; other formats as in `rvlab.raster.ogr`. Features and properties
    are those that Raster Vision gets from ``geopandas.read_file``.

    Returns:
        Dicts with ``id``, ``properties`` and a shapely ``geometry``.

    Raises:
        RasterError: If the file cannot be read, is in an unknown format, or has features but no
            geometry.
        MissingExtra: If the format needs pyogrio, which is not installed.
    """
    if uri.rstrip("/").lower().endswith(".gdb"):
        raise RasterError(
            f"{uri} is a file geodatabase: a folder, of which nothing is read. {convert_hint(uri)}"
        )
    data = read_bytes(uri)
    found = parse_geojson(uri, data) if _is_json(data) else None
    features, crs = (_parse_shapes(uri, found[0]), found[1]) if found else read_ogr(uri, data)
    # Raster Vision reads the file as a table: each feature has the properties of all features.
    names = {name for f in features for name in f["properties"]}
    if (values := len(names) * len(features)) > GEOJSON_VALUES:
        raise RasterError(
            f"{uri} has {len(features):,} features with {len(names):,} properties, {values:,} "
            f"values; more than {GEOJSON_VALUES:,} are not read."
        )
    whole = [
        {"id": str(row), "properties": dict.fromkeys(names) | f["properties"], "geometry": shape}
        for row, f in enumerate(features)
        if (shape := f["geometry"]) is not None and not shape.is_empty
    ]
    if features and not whole:
        raise RasterError(f"{uri} has {len(features):,} features, but none has a geometry.")
    if crs is None:
        return whole
    with malformed(uri):
        moved = reproject([f["geometry"] for f in whole], crs, "EPSG:4326")
    return [f | {"geometry": shape} for f, shape in zip(whole, moved, strict=True)]


def _parse_shapes(uri: str, features: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import shapely

    with malformed(uri):
        return [
            {
                "properties": dict(f.get("properties") or {}),
                "geometry": shapely.from_geojson(json.dumps(g))
                if (g := f.get("geometry"))
                else None,
            }
            for f in features
        ]


def _is_json(data: bytes) -> bool:
    """Return whether a file starts as JSON, or as a sequence of it (RFC 8142)."""
    return data.lstrip(b"\xef\xbb\xbf\x1e \t\r\n")[:1] in (b"{", b"[", b"")
