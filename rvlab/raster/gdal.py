"""Opening of a raster by its URI: GDAL path, GDAL settings and error messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from rvlab import store
from rvlab.errors import (
    KeyMissing,
    RasterError,
    RvlabError,
    StoreError,
    StoreUnreachable,
)
from rvlab.model.limits import RASTER_BLOCK_BYTES, RASTER_CACHE_BYTES
from rvlab.raster import sidecars
from rvlab.raster.config import Files
from rvlab.store.access import is_loopback
from rvlab.store.addresses import absolute_local_path, path_exists, require_not_refused

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rvlab.raster.object_file import ObjectHead
    from rvlab.store import S3Access

# Schemes, besides local paths and s3://, that rasterio translates to GDAL paths.
_SCHEMES = ("http", "https", "gs", "az", "oss", "zip", "tar", "gzip", "zip+s3", "zip+https")

_DRIVERS = (
    *("GTiff", "COG", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "ECW", "MrSID", "PNG", "JPEG", "WEBP"),
    *("GIF", "BMP", "NITF", "HFA", "ENVI", "EHdr", "AAIGrid", "ERS", "SRTMHGT", "USGSDEM"),
)
"""Formats that contain pixels. Others (VRT, WMS, PostGIS raster) are text that redirects GDAL to
another file, server or database; `rvlab.raster.vrt` checks a VRT before it is opened."""

# EMPTY_DIR: do not list the folder of each file (see GDAL's docs of /vsicurl/), nor look for files
# beside it, which `rvlab.raster.sidecars` does. 16 KB contain the
# header of a copy of 10,000 x 10,000 px; reading more costs a small window more than its pixels.
_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 16384,
    "GDAL_HTTP_CONNECTTIMEOUT": 4,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 0.2,
    "GDAL_CACHEMAX": RASTER_CACHE_BYTES,
}

_OBJECT_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 16384,
    "GDAL_CACHEMAX": RASTER_CACHE_BYTES,
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "none",  # no URLs inside files
}


Heads: TypeAlias = "dict[str, Future[ObjectHead]]"
"""Size and first bytes of each object that was opened, by its address."""

_heads: ContextVar[Heads | None] = ContextVar("heads", default=None)


def share_heads(heads: Heads) -> None:
    """Share the heads of objects on S3 between all threads that call this with the same dict.

    Pass it as the initializer of the thread pool that reads one picture. Heads are not shared for
    longer, as a file may be written again.
    """
    _heads.set(heads)


def open_files(files: Files, *, alone: bool = False) -> AbstractContextManager[Any]:
    """Open one file as `open_raster` does, or several files as one mosaic.

    Raises:
        RasterError: If a file cannot be opened, or they do not form a mosaic.
    """
    if isinstance(files, str):
        return open_raster(files, alone=alone)
    from rvlab.raster.mosaic import open_mosaic

    return open_mosaic(files)


@contextmanager
def open_raster(uri: str, *, alone: bool = False) -> Iterator[Any]:
    """Open a raster for the calling thread, with the credentials of its store.

    Only formats that contain pixels are opened, and VRTs whose sources are local files of such
    formats.

    Files beside the raster (`rvlab.raster.sidecars`) count as in GDAL.

    Open the raster in each thread: sharing a dataset between threads crashes GDAL.

    Args:
        uri: A local path, ``s3://…``, or another URI that rasterio opens.
        alone: Whether to ignore files beside the raster, as for a prediction, which has none.

    Yields:
        rasterio's ``DatasetReader``.

    Raises:
        RasterError: If the raster cannot be opened or read, or its address is not allowed; GDAL's
            error is the cause.
    """
    from rvlab.raster.vrt import open_vrt, require_local_vrt

    require_not_refused(uri)
    is_local = urlsplit(uri).scheme in ("", "file")
    beside: tuple[str, ...] = ()
    if not alone and is_local:
        path = absolute_local_path(uri)
        if any(path_exists(path + suffix) for suffix in sidecars.PIXEL_SUFFIXES):
            sidecars.check_local_sidecars(path)
    elif not alone:
        beside = sidecars.known_sidecars(uri)
    try:
        with ignore_missing_georeference(), ExitStack() as opened:
            name = gdal_path(uri)
            if is_vrt(name):
                require_local_vrt(name)  # before the credentials of its bucket are searched
            dataset = None if is_local or beside else _open_object(uri, opened)
            if dataset is None:
                opened.enter_context(raster_environment(uri, beside, alone=alone))
                dataset = opened.enter_context(open_vrt(name) if is_vrt(name) else _plain(name))
            _check(uri, dataset)
            if not (alone or is_local or beside):
                beside = sidecars.find_sidecars(uri, sidecars.missing_in_header(dataset))
                if beside:
                    opened.close()
                    opened.enter_context(raster_environment(uri, beside))
                    dataset = opened.enter_context(_plain(name))
                    _check(uri, dataset)
            yield dataset
    except gdal_errors() as exc:
        raise RasterError(_error_text(uri, exc)) from exc
    except StoreError as exc:
        raise RasterError(_store_error_text(uri, exc)) from exc


def _open_object(uri: str, opened: ExitStack) -> Any:
    """Open a TIFF on S3 through obstore; None for another format or address."""
    if not uri.startswith("s3://"):
        return None
    import rasterio
    from rasterio.session import DummySession

    from rvlab.raster.object_file import head_of, opened_object

    head = head_of(uri, store.store_for_uri(uri), _heads.get())
    if not head.is_tiff:
        return None
    opened.enter_context(rasterio.Env(session=DummySession(), **_OBJECT_SETTINGS))
    return opened.enter_context(opened_object(head))


def gdal_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the exceptions that rasterio raises for GDAL and PROJ errors, and `more`.

    Not all of them are subclasses of RasterioError.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError, RasterioError

    return (RasterioError, CRSError, CPLE_BaseError, *more)


def _plain(name: str) -> Any:
    """Open a dataset with any of `_DRIVERS`; `rasterio.open` accepts one driver or all."""
    from rasterio._path import _parse_path, _UnparsedPath
    from rasterio.io import DatasetReader

    path = _parse_path(name) if "://" in name else _UnparsedPath(name)
    return DatasetReader(path, driver=list(_DRIVERS))


def _check(uri: str, dataset: Any) -> None:
    """Reject a raster with huge blocks or an external overview, before pixels are read."""
    from rasterio.enums import Interleaving

    if not dataset.count:
        raise RasterError(f"{uri} has no bands.")
    rows, cols = dataset.block_shapes[0]
    bands = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    size = rows * cols * bands * _bytes_of(dataset.dtypes[0])
    if size > RASTER_BLOCK_BYTES:
        raise RasterError(
            f"{uri} has blocks of {cols:,} × {rows:,} px, {size:,} bytes each; more than "
            f"{RASTER_BLOCK_BYTES:,} are not read. Copy it with smaller blocks: "
            "gdal_translate -of COG."
        )
    if "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS"):
        raise RasterError(f"{uri} is not opened: its overviews are in another file.")


def _bytes_of(dtype: str) -> int:
    import numpy as np

    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # complex integers, which numpy does not have
        return 16


def gdal_path(uri: str) -> str:
    """Return the path by which GDAL opens an address; RasterError if it cannot."""
    scheme = urlsplit(uri).scheme.lower()
    if scheme == "s3":
        return f"/vsis3/{uri[len('s3://') :]}"
    if scheme in ("", "file"):
        path = absolute_local_path(uri)
        if path.startswith("/vsi"):
            raise RasterError(f"{uri!r:.300} is not opened: use s3://, https:// or a path.")
        if path_exists(path) and not Path(path).is_file():
            raise RasterError(f"{uri} is not a regular file.")
        return path
    if scheme in _SCHEMES and "://" in uri:
        return uri
    raise RasterError(
        f"{uri!r} cannot be read: rasterio does not support {scheme}:// addresses. "
        "Copy the raster to s3://, https:// or a folder."
    )


def vsi_path(uri: str) -> str:
    """Return the path by which GDAL opens an address that another file names, such as a VRT."""
    from rasterio._path import _parse_path, _vsi_path

    name = gdal_path(uri)
    return str(_vsi_path(_parse_path(name))) if "://" in name else name


def raster_environment(uri: str, beside: Sequence[str] = (), *, alone: bool = False) -> Any:
    """Return a rasterio Env; pass the S3 credentials of the URI's store without os.environ.

    Args:
        uri: As for `open_raster`.
        beside: Remote files beside the raster that GDAL may read with it.
        alone: As for `open_raster`.
    """
    import rasterio
    from rasterio.session import DummySession

    more: dict[str, Any] = {}
    if beside:  # look for files by name, and request only those that exist
        allowed = [PurePosixPath(urlsplit(one).path).suffix for one in (uri, *beside)]
        more["GDAL_DISABLE_READDIR_ON_OPEN"] = "TRUE"
        more["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = ",".join(dict.fromkeys(allowed))
    if not uri.startswith("s3://"):
        local: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        local["GDAL_CACHEMAX"] = RASTER_CACHE_BYTES
        if urlsplit(uri).scheme in ("", "file"):
            local["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = "none"  # no URLs inside files
            if not alone:
                local["GDAL_DISABLE_READDIR_ON_OPEN"] = "TRUE"
        elif is_loopback(uri):
            local["GDAL_HTTP_PROXY"] = ""
        return rasterio.Env(session=DummySession(), **local | more)
    access = store.store_for_uri(uri).access
    # Files of a run may be written between two reads, and GDAL would cache forever that they did
    # not exist. Without this cache, GDAL discards what it read of a file when the file is closed.
    settings = _SETTINGS | {"CPL_VSIL_CURL_NON_CACHED": f"/vsis3/{urlsplit(uri).netloc}"}
    return rasterio.Env(session=_session(access), **settings | more, **access.gdal_options())


def _session(access: S3Access) -> Any:
    """Return a rasterio session with the store's keys; avoids boto3 and its 20 ms per call."""
    from rasterio.session import DummySession

    class Keys(DummySession):  # type: ignore[misc]
        def get_credential_options(self) -> dict[str, str]:
            out = {"AWS_REGION": access.region}
            out["AWS_NO_SIGN_REQUEST"] = "YES" if access.anonymous else "NO"
            if access.anonymous:
                return out
            if keys := access.keys():
                out["AWS_ACCESS_KEY_ID"], out["AWS_SECRET_ACCESS_KEY"] = str(keys[0]), str(keys[1])
                out["AWS_SESSION_TOKEN"] = str(keys[2] or "")
            return out

    return Keys()


@contextmanager
def ignore_missing_georeference() -> Iterator[None]:
    """Ignore rasterio's warning about imagery without georeference.

    ``warnings.catch_warnings`` is not thread-safe, so the filter is added once and not removed.
    """
    import warnings

    from rasterio.errors import NotGeoreferencedWarning as Ordinary

    if not any(f[0] == "ignore" and f[2] is Ordinary for f in warnings.filters):
        warnings.simplefilter("ignore", Ordinary)
    yield


def _store_error_text(uri: str, exc: StoreError) -> str:
    if isinstance(exc, KeyMissing):
        return f"{uri} does not exist."
    if isinstance(exc, StoreUnreachable):
        return f"{uri} cannot be reached: its server does not respond."
    if "refused the credentials" in str(exc):
        return f"Access to {uri} was denied: check the credentials and their permissions."
    return f"{uri} cannot be opened. {exc}"


def _error_text(uri: str, exc: Exception) -> str:
    text = " ".join(str(cause) for cause in (exc, exc.__cause__) if cause)
    low = text.lower()
    local = urlsplit(uri).scheme in ("", "file")
    if local and not path_exists(gdal_path(uri)):
        return f"{uri} does not exist."
    if any(w in low for w in ("accessdenied", "forbidden", "signature", "invalidaccesskey", "403")):
        return f"Access to {uri} was denied: check the credentials and their permissions."
    if any(w in low for w in ("could not resolve", "connect", "timed out", "timeout")):
        return f"{uri} cannot be reached: its server does not respond."
    if any(
        w in low for w in ("does not exist", "no such file", "404", "nosuchkey", "nosuchbucket")
    ):
        return f"{uri} does not exist."
    if "not recognized" in low:
        return f"{uri} is not a raster in a format that GDAL reads."
    message = str(exc.__cause__ or exc) or type(exc).__name__  # rasterio's refers to its cause
    first = message.splitlines()[0].rstrip(".")
    return f"{uri} cannot be read: {first[:200]}."


@contextmanager
def malformed(what: str) -> Iterator[None]:
    """Convert errors that Python and shapely raise for malformed values to RasterError.

    Args:
        what: The file or value, for the message.

    Raises:
        RasterError: If the block raises such an error.
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
            f"{what:.300} cannot be interpreted: {type(exc).__name__}: {exc!s:.200}."
        ) from exc


def is_vrt(name: str) -> bool:
    """Return whether a GDAL path has the suffix of a virtual raster."""
    return name.lower().endswith(".vrt")
