"""Files beside a raster that GDAL reads with it: position, CRS, nodata, masks and overviews.

GDAL would list the whole folder of a raster to find them, which takes many requests on S3. Here
the few possible names are looked up, and only for what the header of the raster lacks: on S3 in
one page of a listing, which serves all rasters of the folder; where listing is denied, and
elsewhere, by trying each name. They are looked up again after `KEEP_S` seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from os.path import commonprefix
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from cachetools import TTLCache

from rvlab import store
from rvlab.errors import RasterError, RvlabError, StoreError, StoreUnreachable
from rvlab.store.addresses import absolute_local_path
from rvlab.store.object_storage import MAX_KEYS_PER_PAGE

KEEP_S = 300.0

OVERVIEWS_FROM_PX = 4096
"""Side of a raster without overviews from which a file of overviews is looked for."""

SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg")

PIXEL_SUFFIXES = (".ovr", ".msk", ".OVR", ".MSK")
"""Suffixes of overviews and masks, which GDAL opens with a raster."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"EHFA_HEADER_TAG")
"""Starts of the formats in which GDAL writes overviews and masks. GDAL would open any format."""

_HEAD_BYTES = 16
_IDENTITY = ("SRS", "GeoTransform", "GCPList", "NoDataValue")
_VECTORS = (".json", ".geojson", ".geojsonl", ".gpkg", ".fgb", ".kml", ".zip", ".parquet")

_found: TTLCache[str, tuple[str, ...]] = TTLCache(4096, KEEP_S)
_first_pages: TTLCache[tuple[object, ...], Future[frozenset[str] | None]] = TTLCache(256, KEEP_S)
"""First page of keys of each folder on S3, of all of them if it has fewer than a page."""

_lock = Lock()


def missing_in_header(dataset: Any) -> frozenset[str]:
    """Return what a raster's header lacks: ``position``, ``mask``, ``overviews``."""
    from rasterio.enums import MaskFlags

    lacks = set()
    if dataset.crs is None or (dataset.transform.is_identity and not dataset.gcps[0]):
        lacks.add("position")
    if all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums):
        lacks.add("mask")
    if max(dataset.width, dataset.height) >= OVERVIEWS_FROM_PX and not dataset.overviews(1):
        lacks.add("overviews")
    return frozenset(lacks)


def sidecar_names(uri: str, lacks: frozenset[str]) -> list[str]:
    """Return the names that GDAL looks for beside a raster, for what its header lacks."""
    stem, dot, suffix = uri.rpartition(".")
    if not dot or "/" in suffix:
        stem, suffix = uri, ""
    names = []
    if "position" in lacks:
        if suffix:  # world files, such as .tfw and .tifw
            names += [f"{stem}.{suffix[0]}{suffix[-1]}w", f"{stem}.{suffix}w"]
        names += [f"{stem}.wld", f"{stem}.tab"]
    if lacks & {"position", "mask"}:
        names.append(f"{uri}.aux.xml")
    if "mask" in lacks:
        names.append(f"{uri}.msk")
    if "overviews" in lacks:
        names.append(f"{uri}.ovr")
    return names


def find_sidecars(uri: str, lacks: frozenset[str]) -> tuple[str, ...]:
    """Return the files beside a remote raster that have what its header lacks.

    Raises:
        RasterError: If a mask or overviews are in a format that is not opened, or the server does
            not respond.
    """
    names = sidecar_names(uri, lacks)
    if not names:
        return ()
    with _lock:
        if uri in _found:
            return _found[uri]
    try:
        listed = _listed_names(uri, names)
    except StoreUnreachable as exc:
        raise RasterError(f"{names[0]} cannot be read: {exc}") from exc
    tried = names if listed is None else [name for name in names if name in listed]
    with ThreadPoolExecutor(len(names)) as pool:
        heads = list(pool.map(partial(first_bytes, beside=uri), tried))
    found = tuple(name for name, head in zip(tried, heads, strict=True) if head is not None)
    for name, head in zip(tried, heads, strict=True):
        if head is not None:
            _require_pixels(name, head)
    with _lock:
        _found[uri] = found
    return found


def _listed_names(uri: str, names: Sequence[str]) -> set[str] | None:
    """Return those of the names beside a raster on S3 that exist; None if it cannot be listed."""
    if not uri.startswith("s3://"):
        return None
    home = store.store_for_uri(uri)
    folder, own = uri.rpartition("/")[0], home.key(uri)
    prefix = "" if folder == home.uri else home.key(folder)
    wanted = {home.key(name): name for name in names}
    keys = _first_page(home, prefix)
    if keys is None:
        return None
    is_on_page = len(keys) < MAX_KEYS_PER_PAGE or max(keys) >= max(wanted)
    if own not in keys or not is_on_page:  # written since, or on a later page
        stem = commonprefix([own, *wanted])  # noqa: RUF071  # of characters
        keys = frozenset(home.etags_between(prefix, stem, max(wanted)))
    return {name for key, name in wanted.items() if key in keys}


def _first_page(home: store.Store, prefix: str) -> frozenset[str] | None:
    """Return the first keys of a folder, listed once for all threads; None if that is denied."""
    folder = (home.uri, prefix, home.access)
    with _lock:
        is_first = folder not in _first_pages
        page = _first_pages.setdefault(folder, Future())
    if is_first:
        try:
            page.set_result(frozenset(home.etags_between(prefix, "", "")))
        except BaseException as exc:  # noqa: BLE001  # raised by each thread that waits
            if isinstance(exc, StoreError) and not isinstance(exc, StoreUnreachable):
                page.set_result(None)
            else:
                with _lock:
                    _first_pages.pop(folder, None)
                page.set_exception(exc)
    return page.result()


def known_sidecars(uri: str) -> tuple[str, ...]:
    """Return the files beside a raster that `find_sidecars` found a short time ago."""
    with _lock:
        return _found.get(uri, ())


def check_local_sidecars(path: str) -> None:
    """Reject a mask or overviews beside a local raster in a format that redirects GDAL.

    Raises:
        RasterError: If there are such files.
    """
    for suffix in PIXEL_SUFFIXES:
        name = f"{path}{suffix}"
        head = first_bytes(name)
        if head is not None:
            _require_pixels(name, head)


def first_bytes(uri: str, *, beside: str | None = None) -> bytes | None:
    """Return the first bytes of a file; None if it does not exist or may not be read.

    Args:
        uri: The file.
        beside: A file that exists beside it, whose store is used.

    Raises:
        RasterError: If the server does not respond.
    """
    scheme = urlsplit(uri).scheme
    try:
        if scheme in ("", "file"):
            with Path(absolute_local_path(uri)).open("rb") as file:
                return file.read(_HEAD_BYTES)
        if scheme == "s3":
            home = store.store_for_uri(beside or uri)
            return home.get_range(home.key(uri), 0, _HEAD_BYTES)
        import fsspec

        files, name = fsspec.core.url_to_fs(uri)
        return bytes(files.cat_file(name, start=0, end=_HEAD_BYTES))
    except StoreUnreachable as exc:
        raise RasterError(f"{uri} cannot be read: {exc}") from exc
    except (RvlabError, OSError, ValueError, ImportError):
        return None


def sidecar_fingerprints(uri: str) -> list[str]:
    """Return hashes of the files beside a raster or shapefile that change its content.

    Overviews and statistics, which programs add when they open a raster, are not among them.
    """
    from rvlab.raster.file_bytes import read_bytes
    from rvlab.raster.gdal import open_raster

    suffix = uri.lower().rpartition(".")[2]
    if suffix == "shp":
        names = [uri[:-4] + part for part in SHAPEFILE_PARTS]
    elif f".{suffix}" in _VECTORS:
        names = []
    else:
        try:
            with open_raster(uri, alone=True) as dataset:
                names = sidecar_names(uri, missing_in_header(dataset) - {"overviews"})
        except (RvlabError, OSError):
            names = []
    out = []
    for name in names:
        if first_bytes(name) is None:
            continue
        content = read_bytes(name)
        if name.endswith(".aux.xml"):
            content = _identity(content)
        if content:
            kind = name.rpartition(".")[2]
            out.append(f"{kind} {hashlib.sha256(content).hexdigest()}")
    return out


def _require_pixels(name: str, head: bytes) -> None:
    if name.endswith(PIXEL_SUFFIXES) and not head.startswith(_MAGIC):
        raise RasterError(
            f"{name} is not opened: overviews and masks beside a raster must be a TIFF."
        )


def _identity(text: bytes) -> bytes:
    """Return the elements of an ``.aux.xml`` that change position, CRS or nodata."""
    if b"<!" in text.replace(b"<!--", b""):
        return text
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # safe: no entities without "<!"
    except ElementTree.ParseError:
        return text
    parts = [ElementTree.tostring(one).strip() for one in root.iter() if one.tag in _IDENTITY]
    return b"\n".join(parts)
