"""Cloud-optimized GeoTIFF copies of predictions: compressed, tiled, with overviews and colors.

Raster Vision writes predictions in strips, uncompressed and without overviews: a picture of a
whole scene of 10,000 x 10,000 px reads 100 MB. A cloud-optimized GeoTIFF of the same scene has a
tenth of the size or less, and a picture reads only the pixels that it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError
from rvlab.raster.class_scores import SCORE_STEP
from rvlab.raster.config import Classes
from rvlab.raster.read import Grid
from rvlab.raster.window import Window

BLOCK_PX = 512

WriteBlock = Callable[[Window, NDArray[Any]], None]


@contextmanager
def labels_cog(path: Path, grid: Grid, classes: Classes) -> Iterator[WriteBlock]:
    """Write class ids, window by window, into a copy with the classes' color table.

    Overviews use nearest resampling, as rvlab's pictures of labels do.

    Args:
        path: The file to write; it exists and is complete when the context exits.
        grid: Grid of the scene.
        classes: Classes whose colors become the file's color table.

    Yields:
        A function of a window and its class ids, shape (rows, columns).

    Raises:
        RasterError: If the file cannot be written.
    """
    with _open_cog(path, grid, 1, "NEAREST") as dataset:
        colors = {i: (*rgb, 255) for i, rgb in enumerate(classes.colors)}
        dataset.write_colormap(1, colors)
        yield lambda window, ids: dataset.write(ids, 1, window=window.to_rasterio())


@contextmanager
def scores_cog(path: Path, grid: Grid, classes: Classes) -> Iterator[WriteBlock]:
    """Write scores from 0 to 1, window by window, into a copy with one band of bytes per class.

    Args:
        path: As for `labels_cog`.
        grid: Grid of the scene.
        classes: Classes whose names become the band descriptions.

    Yields:
        A function of a window and its scores, shape (classes, rows, columns).

    Raises:
        RasterError: If the file cannot be written.
    """
    with _open_cog(path, grid, len(classes), "AVERAGE") as dataset:
        dataset.scales = [SCORE_STEP] * len(classes)
        for band, name in enumerate(classes.names, start=1):
            dataset.set_band_description(band, name)

        def write(window: Window, scores: NDArray[Any]) -> None:
            steps = np.clip(np.nan_to_num(scores) / SCORE_STEP, 0, 255)
            dataset.write(np.rint(steps).astype(np.uint8), window=window.to_rasterio())

        yield write


@contextmanager
def _open_cog(path: Path, grid: Grid, bands: int, overviews: str) -> Iterator[Any]:
    """Open a temporary raster for writing; convert it to a cloud-optimized GeoTIFF on exit."""
    import rasterio
    import rasterio.shutil

    from rvlab.raster.gdal import gdal_errors, ignore_missing_georeference

    raw = path.with_suffix(".raw.tif")
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": bands,
        "dtype": "uint8",
        "tiled": True,
        "compress": "LZW",
        "photometric": "MINISBLACK",  # otherwise GDAL treats the fourth of four bands as alpha
        "bigtiff": "IF_SAFER",
    }
    if grid.has_position:
        profile |= {"crs": grid.crs, "transform": grid.transform}
    made = {"blocksize": BLOCK_PX, "compress": "DEFLATE", "overview_resampling": overviews}
    try:
        with ignore_missing_georeference(), rasterio.Env():
            with rasterio.open(raw, "w", **profile) as dataset:
                yield dataset
            rasterio.shutil.copy(raw, path, driver="COG", bigtiff="IF_SAFER", **made)
    except gdal_errors(OSError) as exc:
        if isinstance(exc, RvlabError):
            raise
        raise RasterError(f"The copy of a prediction cannot be written to {path}: {exc}") from exc
    finally:
        raw.unlink(missing_ok=True)
