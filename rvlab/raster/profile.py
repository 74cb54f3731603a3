"""The profile of a raster: size, georeference, bands, type and nodata, from its header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rvlab.raster.gdal import open_files
from rvlab.raster.read import Grid, bands_without_alpha, grid_of_dataset


@dataclass(frozen=True)
class RasterProfile:
    """The size, georeference, bands, type and nodata of a raster.

    Args:
        uri: Its address.
        grid: Its size and georeference.
        bands: The number of bands without alpha.
        dtype: The type of the first band, such as ``uint8``.
        nodata: The value of pixels without data, if the header declares one.
    """

    uri: str
    grid: Grid
    bands: int
    dtype: str
    nodata: float | None

    @classmethod
    def of(cls, dataset: Any, uri: str) -> RasterProfile:
        """Return the profile of an open rasterio dataset."""
        bands = len(bands_without_alpha(dataset))
        return cls(uri, grid_of_dataset(dataset), bands, str(dataset.dtypes[0]), dataset.nodata)

    @property
    def is_float(self) -> bool:
        """Whether its values are floating-point numbers."""
        return self.dtype.startswith("float")

    @property
    def crs_name(self) -> str | None:
        """The name of its CRS, such as ``EPSG:32632``; None without one."""
        crs = self.grid.crs
        return None if crs is None else str(crs.to_string()).split("[", 1)[0]

    @property
    def size_text(self) -> str:
        """Its columns and rows, such as ``512 × 384 px``."""
        return f"{self.grid.width} × {self.grid.height} px"


def read_profile(uri: str) -> RasterProfile:
    """Read the profile of a raster.

    Raises:
        RasterError: If it cannot be opened.
    """
    with open_files(uri) as dataset:
        return RasterProfile.of(dataset, uri)
