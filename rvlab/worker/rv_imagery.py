"""Patches of how Raster Vision finds the files of its imagery and labels.

They follow the rules of `rvlab.worker.rv_patches`, which applies them.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

from rvlab.raster.sidecars import SHAPEFILE_PARTS, missing_in_header, sidecar_names


def patch_mosaics() -> None:
    """Build the mosaic of a source of several files without the program ``gdalbuildvrt``.

    rasterio's wheels do not contain the program, and Raster Vision ignores its exit status. If
    ``gdalbuildvrt`` leaves a file out, the mosaic lacks it without a message.
    """
    from rastervision.core.data.utils import rasterio as utils

    utils.build_vrt = _build_vrt


def _build_vrt(vrt_path: str, image_uris: list[str]) -> None:
    import rasterio

    from rvlab.raster.gdal import vsi_path
    from rvlab.raster.mosaic import mosaic_vrt

    Path(vrt_path).write_bytes(mosaic_vrt(image_uris, rasterio.open, vsi_path))


def patch_sidecar_downloads() -> None:
    """Download the sidecar files of a raster or shapefile together with it.

    Without streaming, Raster Vision downloads only the file that a config names. So imagery with a
    world file had no georeference, and a shapefile could not be opened.
    """
    from rastervision.core.data.raster_source import rasterio_source
    from rastervision.core.data.utils import rasterio as utils
    from rastervision.core.data.vector_source import geojson_vector_source

    for module in (rasterio_source, utils, geojson_vector_source):
        original = getattr(module.download_if_needed, "_rvlab_original", module.download_if_needed)
        module.download_if_needed = _with_sidecars(original)


def _with_sidecars(original: Any) -> Any:
    @wraps(original)
    def download(uri: str, *args: Any, **kwargs: Any) -> str:
        from rastervision.pipeline.file_system import file_exists

        path: str = original(uri, *args, **kwargs)
        if "://" in uri:
            for sidecar in _sidecar_uris(uri, path):
                if file_exists(sidecar, include_dir=False):
                    original(sidecar, *args, **kwargs)
        return path

    vars(download)["_rvlab_original"] = original
    return download


def _sidecar_uris(uri: str, path: str) -> list[str]:
    """Return the URIs of sidecar files that a raster or shapefile may need."""
    import rasterio

    from rvlab.raster.gdal import gdal_errors, ignore_missing_georeference

    if uri.lower().endswith(".shp"):
        return [uri[:-4] + part for part in SHAPEFILE_PARTS]
    if uri.lower().endswith((".json", ".geojson")):
        return []
    try:
        with ignore_missing_georeference(), rasterio.open(path) as dataset:
            return sidecar_names(uri, missing_in_header(dataset) - {"overviews"})
    except gdal_errors():
        return []
