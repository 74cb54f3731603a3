"""Bytes of a small file from any address that rasters are read from."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from rvlab import store
from rvlab.errors import MissingExtra, RasterError, RvlabError
from rvlab.model.limits import GEOJSON_BYTES
from rvlab.raster.gdal import gdal_path
from rvlab.store.addresses import require_not_refused


def read_bytes(uri: str, *, limit: int = GEOJSON_BYTES) -> bytes:
    """Read a small file, such as a GeoJSON, from any address that rasters are read from.

    Args:
        uri: As for `rvlab.raster.gdal.open_raster`.
        limit: Maximum size in bytes.

    Raises:
        RasterError: If the file cannot be read, its address is not allowed, or it is too large.
    """
    require_not_refused(uri)
    scheme = urlsplit(uri).scheme
    try:
        if scheme in ("", "file"):
            path = Path(gdal_path(uri))
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
