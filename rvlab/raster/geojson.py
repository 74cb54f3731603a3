"""Parse GeoJSON without GDAL, so that the name of the CRS is checked before PROJ sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rvlab.errors import RasterError

_CRS = re.compile(
    r"(?:urn:ogc:def:crs:(?:OGC|EPSG):[\w.]*:\w+|(?:EPSG|OGC):\w+|"
    r"https?://www\.opengis\.net/def/crs/(?:OGC|EPSG)/[\w.]+/\w+)",
    re.IGNORECASE,
)
"""Accepted CRS names in GeoJSON. PROJ would open any other name as a file or a URL."""

_GEOMETRIES = (
    *("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"),
    "GeometryCollection",
)

_RECORD_SEPARATOR = "\x1e"  # RFC 8142


def parse_geojson(uri: str, text: bytes) -> tuple[list[dict[str, Any]], str | None] | None:
    """Return the features of a GeoJSON file and the name of its CRS.

    A file may be a collection, one feature or one geometry (RFC 7946, section 3), or a sequence of
    features or geometries, one per line or separated by RS (RFC 8142).

    Args:
        uri: Address, for error messages.
        text: Content of the file.

    Returns:
        The features, in file order, and the CRS; the CRS is None for longitude and latitude. None
        if the file is JSON of another kind, such as TopoJSON.

    Raises:
        RasterError: If it is not JSON, is malformed, or names a CRS that is not a code.
    """
    try:
        documents = _documents(text.decode("utf-8-sig"))
        if not all(isinstance(one, Mapping) for one in documents):
            raise TypeError("a GeoJSON object is expected")
        if not all(_is_geojson(one) for one in documents):
            return None
        features = [feature for one in documents for feature in _features(one)]
        crs = _crs(uri, documents[0]) if len(documents) == 1 else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        if isinstance(exc, RasterError):
            raise
        raise RasterError(f"{uri} has no GeoJSON features: {exc!s:.200}.") from exc
    return features, crs


def _documents(text: str) -> list[Any]:
    """Parse one JSON document, or a sequence of them."""
    try:
        return [json.loads(text)]
    except ValueError:
        lines = text.split(_RECORD_SEPARATOR if _RECORD_SEPARATOR in text else "\n")
        if len(parts := [line for line in lines if line.strip()]) < 2:
            raise
        return [json.loads(part) for part in parts]


def _is_geojson(document: Mapping[str, Any]) -> bool:
    kind = document.get("type")
    if kind == "FeatureCollection":
        return isinstance(document["features"], list)
    return kind == "Feature" or kind in _GEOMETRIES


def _features(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind = document["type"]
    if kind == "FeatureCollection":
        return [dict(feature) for feature in document["features"]]
    if kind == "Feature":
        return [dict(document)]
    return [{"type": "Feature", "properties": {}, "geometry": document}]


def _crs(uri: str, document: Mapping[str, Any]) -> str | None:
    """Return the CRS that a file names, in the forms of 2008 (name) and before (EPSG, OGC)."""
    member = document.get("crs")
    if member is None:
        return None
    name: Any = member
    if isinstance(member, Mapping) and isinstance(has := member.get("properties"), Mapping):
        if str(member.get("type")).upper() == "EPSG":
            name = f"EPSG:{has.get('code')}"
        else:
            name = has.get("name", has.get("urn", member))
    if not isinstance(name, str) or not _CRS.fullmatch(name):
        raise RasterError(f"{uri} has the crs {name!r:.100}; it must be a code such as EPSG:4326.")
    return name
