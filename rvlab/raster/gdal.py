"""Opening a raster by its URI: GDAL's name for it, its settings, and its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rvlab import store
from rvlab.errors import MissingExtra, RasterError, RvlabError
from rvlab.model.limits import GEOJSON_BYTES, RASTER_BLOCK_BYTES, RASTER_CACHE_BYTES
from rvlab.store.addresses import local_path, require_allowed

if TYPE_CHECKING:
    from rvlab.store import S3Access

# What rasterio opens beside local paths and s3://; it translates these to GDAL's names itself.
_SCHEMES = ("http", "https", "gs", "az", "oss", "zip", "tar", "gzip", "zip+s3", "zip+https")

_DRIVERS = (
    *("GTiff", "COG", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "ECW", "MrSID", "PNG", "JPEG", "WEBP"),
    *("GIF", "BMP", "NITF", "HFA", "ENVI", "EHdr", "AAIGrid", "ERS", "SRTMHGT", "USGSDEM"),
)
"""Formats that hold pixels themselves. Others (VRT, WMS, PostGIS raster) are texts that send GDAL
to another file, server or database; a VRT is looked through first, by `rvlab.raster.vrt`."""

# No listing of the folder beside each file: docs of /vsicurl/. 16 KB hold the header of a copy of
# 10,000 x 10,000 px; asking for more costs each small window more than its own pixels.
_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 16384,
    "GDAL_HTTP_CONNECTTIMEOUT": 4,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 0.2,
    "GDAL_CACHEMAX": RASTER_CACHE_BYTES,
}


@contextmanager
def open_raster(uri: str) -> Iterator[Any]:
    """Open a raster for the calling thread, with the credentials of the store it lies in.

    Only formats that hold pixels themselves are opened, and VRTs whose sources are such files on
    this machine.

    A dataset must not be shared between threads: GDAL crashes. Open it in each.

    Args:
        uri: A local path, ``s3://…``, or another URI that rasterio opens.

    Yields:
        rasterio's ``DatasetReader``.

    Raises:
        RasterError: If it cannot be opened or read, or must not be; one sentence, the cause
            attached.
    """
    from rvlab.raster.vrt import is_vrt, opened_vrt

    require_allowed(uri)
    try:
        with _environment(uri), ignore_missing_georeference():
            name = _gdal_path(uri)
            with opened_vrt(name) if is_vrt(name) else _plain(name) as dataset:
                _check(uri, dataset)
                yield dataset
    except gdal_errors() as exc:
        raise RasterError(_error_text(uri, exc)) from exc


def gdal_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What rasterio raises where GDAL or PROJ fails, not all of it a RasterioError; and `more`."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError, RasterioError

    return (RasterioError, CRSError, CPLE_BaseError, *more)


def _plain(name: str) -> Any:
    """A dataset of one of `_DRIVERS`; `rasterio.open` takes one driver or all."""
    from rasterio._path import _parse_path, _UnparsedPath
    from rasterio.io import DatasetReader

    path = _parse_path(name) if "://" in name else _UnparsedPath(name)
    return DatasetReader(path, driver=list(_DRIVERS))


def _check(uri: str, dataset: Any) -> None:
    """Refuse what would take much memory, or lead elsewhere, before a pixel is read."""
    from rasterio.enums import Interleaving

    if not dataset.count:
        raise RasterError(f"{uri} has no bands.")
    rows, cols = dataset.block_shapes[0]
    bands = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    size = rows * cols * bands * _bytes_of(dataset.dtypes[0])
    if size > RASTER_BLOCK_BYTES:
        raise RasterError(
            f"{uri} has blocks of {cols:,} × {rows:,} px, {size:,} bytes each; more than "
            f"{RASTER_BLOCK_BYTES:,} are not read. Copy it with smaller ones: "
            "gdal_translate -of COG."
        )
    if "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS"):
        raise RasterError(f"{uri} is not opened: its metadata name another file as overview.")


def _bytes_of(dtype: str) -> int:
    import numpy as np

    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # complex integers, which numpy does not have
        return 16


def _gdal_path(uri: str) -> str:
    scheme = urlsplit(uri).scheme.lower()
    if scheme == "s3":
        return f"/vsis3/{uri[len('s3://') :]}"
    if scheme in ("", "file"):
        path = local_path(uri)
        if path.startswith("/vsi"):
            raise RasterError(f"{uri!r:.300} is not opened: write s3://, https:// or a path.")
        if Path(path).exists() and not Path(path).is_file():
            raise RasterError(f"{uri} is no regular file.")
        return path
    if scheme in _SCHEMES and "://" in uri:
        return uri
    raise RasterError(
        f"{uri!r} cannot be read: rasterio opens no {scheme}:// address. "
        "Copy the raster to s3://, https:// or a folder."
    )


def _environment(uri: str) -> Any:
    """An Env of rasterio's; on S3 with the access of the URI's store, never through os.environ."""
    import rasterio
    from rasterio.session import DummySession

    if not uri.startswith("s3://"):
        local: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        local["GDAL_CACHEMAX"] = RASTER_CACHE_BYTES
        if urlsplit(uri).scheme in ("", "file"):
            local["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = "none"  # what it names on the net is not
        return rasterio.Env(session=DummySession(), **local)
    access = store.store_for_uri(uri).access
    # Files of a run come into being while one looks: GDAL would remember for ever that they did
    # not exist. What was read of a file is forgotten when it is closed.
    settings = _SETTINGS | {"CPL_VSIL_CURL_NON_CACHED": f"/vsis3/{urlsplit(uri).netloc}"}
    return rasterio.Env(session=_session(access), **settings, **access.gdal_options())


def _session(access: S3Access) -> Any:
    """The keys as rasterio wants them; boto3 is not needed, and 20 ms a call are saved."""
    from rasterio.session import DummySession

    class Keys(DummySession):  # type: ignore[misc]
        def get_credential_options(self) -> dict[str, str]:
            out = {"AWS_REGION": access.region}
            if access.access_key and access.secret_key:
                out["AWS_ACCESS_KEY_ID"] = access.access_key
                out["AWS_SECRET_ACCESS_KEY"] = access.secret_key
                out["AWS_SESSION_TOKEN"] = access.session_token or ""
            return out

    return Keys()


@contextmanager
def ignore_missing_georeference() -> Iterator[None]:
    """Imagery without a position is ordinary here.

    ``warnings.catch_warnings`` is not safe in threads, so the filter is added once and stays.
    """
    import warnings

    from rasterio.errors import NotGeoreferencedWarning as Ordinary

    if not any(f[0] == "ignore" and f[2] is Ordinary for f in warnings.filters):
        warnings.simplefilter("ignore", Ordinary)
    yield


def _error_text(uri: str, exc: Exception) -> str:
    text = " ".join(str(cause) for cause in (exc, exc.__cause__) if cause)
    low = text.lower()
    local = urlsplit(uri).scheme in ("", "file")
    if local and not Path(_gdal_path(uri)).exists():
        return f"{uri} does not exist."
    if any(w in low for w in ("accessdenied", "forbidden", "signature", "invalidaccesskey", "403")):
        return f"{uri} was refused: check the credentials and what they may read."
    if any(w in low for w in ("could not resolve", "connect", "timed out", "timeout")):
        return f"{uri} cannot be reached: nobody answers at its address."
    if any(
        w in low for w in ("does not exist", "no such file", "404", "nosuchkey", "nosuchbucket")
    ):
        return f"{uri} does not exist."
    if "not recognized" in low:
        return f"{uri} is no raster that GDAL knows."
    told = str(exc.__cause__ or exc) or type(exc).__name__  # rasterio's own only points to it
    first = told.splitlines()[0].rstrip(".")
    return f"{uri} cannot be read: {first[:200]}."


def read_bytes(uri: str, *, limit: int = GEOJSON_BYTES) -> bytes:
    """The bytes of a small file, such as a GeoJSON, from wherever rasters are read.

    Args:
        uri: As for `open_raster`.
        limit: How many bytes it may have.

    Raises:
        RasterError: If it cannot be read, must not be, or has more bytes.
    """
    require_allowed(uri)
    scheme = urlsplit(uri).scheme
    try:
        if scheme in ("", "file"):
            path = Path(_gdal_path(uri))
            _require_size(uri, path.stat().st_size, limit)
            with path.open("rb") as local:
                return local.read(limit + 1)[:limit]
        if scheme == "s3":
            home = store.store_for_uri(uri)
            return home.get(home.key(uri), limit=limit)
        import fsspec

        with fsspec.open(uri, "rb") as file:
            data = bytes(file.read(limit + 1))
        _require_size(uri, len(data), limit)
        return data
    except (MissingExtra, RasterError):
        raise
    except FileNotFoundError as exc:
        raise RasterError(f"{uri} does not exist.") from exc
    except (RvlabError, OSError, ValueError, ImportError) as exc:
        raise RasterError(f"{uri} cannot be read: {exc}") from exc


def _require_size(uri: str, found: int, limit: int) -> None:
    if found > limit:
        raise RasterError(f"{uri} has {found:,} bytes; more than {limit:,} are not read.")


@contextmanager
def malformed(what: str) -> Iterator[None]:
    """Translate what Python and shapely raise of values that no writer of such a file writes.

    Args:
        what: The file, for the message.

    Raises:
        RasterError: In their place.
    """
    import shapely

    try:
        yield
    except RvlabError:
        raise
    except (
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
        shapely.GEOSException,
    ) as exc:
        raise RasterError(
            f"{what:.300} is not as Raster Vision reads it: {type(exc).__name__}: {exc!s:.200}."
        ) from exc
