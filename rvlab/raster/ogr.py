"""Vector files that GDAL reads, such as GeoPackage, FlatGeobuf and shapefile.

A record may name any file, and GDAL has drivers that open other files, servers and databases. So
the format is recognized here from the content, and GDAL gets a copy of the file in a folder of its
own, with the suffix of that format.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rvlab.errors import MissingExtra, RasterError
from rvlab.model.limits import GEOJSON_BYTES, GEOJSON_VALUES
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.gdal import malformed
from rvlab.raster.sidecars import SHAPEFILE_PARTS

READABLE = "GeoJSON, newline-delimited GeoJSON, GeoPackage, FlatGeobuf, shapefile, KML and GPX"
"""Names of the formats, for messages."""

_REQUIRED_PARTS = (".shx",)
_ZIP, _SQLITE = b"PK\x03\x04", b"SQLite format 3\0"
_MAGIC = {b"fgb": ".fgb", b"\0\0\x27\x0a": ".shp", _SQLITE: ".gpkg", _ZIP: ".zip"}
_XML = {b"<kml": ".kml", b"<gpx": ".gpx"}
_XML_FORBIDDEN = (b"<!doctype", b"<!entity", b"<ogrvrt", b"<networklink")
_HEAD_BYTES = 4096


def convert_hint(uri: str) -> str:
    """Return how to convert a file to a format that is read."""
    return f"Convert it: ogr2ogr labels.gpkg {PurePosixPath(uri).name}"


def suffix_of(data: bytes) -> str | None:
    """Recognize a format from a file's content.

    Returns:
        The suffix that the format's files have; None for unknown formats.
    """
    for magic, suffix in _MAGIC.items():
        if data.startswith(magic):
            return suffix
    head = data[:_HEAD_BYTES].lower()
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        if any(word in data.lower() for word in _XML_FORBIDDEN):
            return None
        return next((suffix for tag, suffix in _XML.items() if tag in head), None)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return ".json"  # TopoJSON, ESRI JSON
    return None


def read_ogr(uri: str, data: bytes) -> tuple[list[dict[str, Any]], str]:
    """Read the first layer of a vector file, as geopandas does.

    Args:
        uri: Address of the file; the parts of a shapefile are read from beside it.
        data: Content of the file.

    Returns:
        GeoJSON-like features with shapely geometries, and the CRS of their coordinates.

    Raises:
        RasterError: If the format is unknown, the file is malformed or too large, a part of a
            shapefile is missing, or the file has no CRS.
        MissingExtra: If pyogrio is not installed.
    """
    suffix = suffix_of(data)
    if suffix is None:
        raise RasterError(
            f"{uri} is not in a vector format that is read: {READABLE}. {convert_hint(uri)}"
        )
    with tempfile.TemporaryDirectory(prefix="rvlab-vector-") as folder:
        path = Path(folder) / f"layer{suffix}"
        if suffix == ".zip":
            path = _extract(uri, data, Path(folder))
        else:
            path.write_bytes(data)
            if suffix == ".shp":
                _copy_parts(uri, path)
        if path.suffix == ".gpkg":
            _check_sqlite(uri, path)
        return _read_layer(uri, path)


def _copy_parts(uri: str, path: Path) -> None:
    stem, is_upper = uri[: -len(".shp")], uri.endswith(".SHP")
    for part in SHAPEFILE_PARTS:
        name = stem + (part.upper() if is_upper else part)
        try:
            path.with_suffix(part).write_bytes(read_bytes(name))
        except RasterError:
            if part in _REQUIRED_PARTS:
                raise


def _extract(uri: str, data: bytes, folder: Path) -> Path:
    """Extract the first vector file of a zip, with the other parts of a shapefile."""
    with malformed(uri):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                listed = [one for one in archive.infolist() if not one.is_dir()]
                if sum(one.file_size for one in listed) > GEOJSON_BYTES:
                    raise RasterError(f"{uri} has more than {GEOJSON_BYTES:,} bytes unpacked.")
                for one in listed:
                    kind = PurePosixPath(one.filename).suffix.lower()
                    with archive.open(one) as file:
                        head = file.read(_HEAD_BYTES)
                    if suffix_of(head) in (None, ".zip") or kind not in (
                        suffix_of(head),
                        ".geojson",
                    ):
                        continue
                    path = folder / f"layer{kind}"
                    path.write_bytes(archive.read(one))
                    stem = one.filename[: -len(kind)]
                    for other in listed:
                        part = other.filename[len(stem) :].lower()
                        if other.filename.startswith(stem) and part in SHAPEFILE_PARTS:
                            path.with_suffix(part).write_bytes(archive.read(other))
                    return path
        except (zipfile.BadZipFile, OSError, NotImplementedError) as exc:
            if isinstance(exc, RasterError):
                raise
            raise RasterError(f"{uri} is not a valid zip: {exc}.") from exc
    raise RasterError(f"{uri} contains no vector file that is read: {READABLE}.")


def _check_sqlite(uri: str, path: Path) -> None:
    """Reject a database with views or virtual tables, which can open other files."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except sqlite3.Error as exc:
        raise RasterError(f"{uri} is not a valid GeoPackage: {exc}.") from exc
    for kind, name, sql in rows:
        words = str(sql or "").lower().split()
        virtual = words[:2] == ["create", "virtual"] and "rtree(" not in "".join(words)
        if kind == "view" or virtual:
            raise RasterError(f"{uri} is not opened: {name!r:.60} is a view or a virtual table.")


def _read_layer(uri: str, path: Path) -> tuple[list[dict[str, Any]], str]:
    try:
        import pyogrio
        from pyogrio.errors import DataSourceError
    except ImportError as exc:
        raise MissingExtra(
            f"{uri} is a {path.suffix} file. Reading it needs pyogrio: pip install "
            "'rvlab[vectors]'; or convert it to GeoJSON."
        ) from exc
    import shapely

    with malformed(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as: more than one layer
        try:
            layer = pyogrio.list_layers(path)[0][0]
            info = pyogrio.read_info(path, layer=layer, force_feature_count=True)
            count, fields = int(info["features"]), len(info["fields"])
            if count * max(1, fields) > GEOJSON_VALUES:
                raise RasterError(
                    f"{uri} has {count:,} features with {fields:,} properties, "
                    f"{count * fields:,} values; more than {GEOJSON_VALUES:,} are not read."
                )
            meta, _, shapes, columns = pyogrio.raw.read(path, layer=layer, datetime_as_string=True)
        except (DataSourceError, OSError, RuntimeError) as exc:
            if isinstance(exc, RasterError):
                raise
            raise RasterError(f"{uri} cannot be read: {str(exc).replace(str(path), uri)}") from exc
        crs = meta["crs"]
        if crs is None:
            raise RasterError(
                f"{uri} has no CRS"
                + (": its .prj is missing." if path.suffix == ".shp" else ".")
                + " Raster Vision cannot read it either."
            )
        geometries = [] if shapes is None else shapely.from_wkb(shapes)
        names = [str(name) for name in meta["fields"]]
        rows = zip(*(_values(column) for column in columns), strict=True) if names else None
        properties: list[Mapping[str, Any]] = (
            [{} for _ in geometries]
            if rows is None
            else [dict(zip(names, row, strict=True)) for row in rows]
        )
        pairs = zip(geometries, properties, strict=True)
        return [{"properties": dict(has), "geometry": one} for one, has in pairs], str(crs)


def _values(column: Any) -> list[Any]:
    """Return the values of a column; missing ones are None, as in GeoJSON."""
    found = np.asarray(column)
    if found.dtype.kind == "f":
        return [None if np.isnan(value) else value for value in found.tolist()]
    return list(found.tolist())
