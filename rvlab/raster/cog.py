"""Copies of predictions that are quick to look at: compressed, tiled, with overviews, coloured.

Raster Vision writes its predictions in strips, uncompressed and without overviews: a picture of a
whole scene of 10,000 x 10,000 px reads 100 MB of it. As a cloud-optimized GeoTIFF the same scene
takes a tenth or less, and a picture reads what it shows.
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
from rvlab.raster.read import Grid
from rvlab.raster.scene import Classes
from rvlab.raster.window import Window

BLOCK_PX = 512

WriteBlock = Callable[[Window, NDArray[Any]], None]


@contextmanager
def labels_cog(path: Path, grid: Grid, classes: Classes) -> Iterator[WriteBlock]:
    """Write class ids, part by part, into a copy that shows the classes' colors anywhere.

    Overviews take every n-th pixel, as the pictures of rvlab do of labels.

    Args:
        path: The file to make; it is there, whole, when the context is left.
        grid: Of the scene.
        classes: Their colors become the file's color table, their names its categories.

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
    """Write scores from 0 to 1, part by part, into a copy of a band of bytes a class.

    Args:
        path: As for `labels_cog`.
        grid: Of the scene.
        classes: They name the bands.

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
    """A raster to write into, which becomes a cloud-optimized GeoTIFF at the end."""
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
        "photometric": "MINISBLACK",  # else the fourth band of four is taken for an alpha band
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
        raise RasterError(f"No copy of a prediction could be written to {path}: {exc}") from exc
    finally:
        raw.unlink(missing_ok=True)
