"""Reading of a window of a raster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, SpecError
from rvlab.model.limits import RASTER_SOURCE_PIXELS
from rvlab.raster.config import Files, RasterSource, describe_files
from rvlab.raster.gdal import open_files
from rvlab.raster.window import Window

Resampling = Literal["nearest", "average", "bilinear", "mode"]

MAX_BYTES = 1_000_000_000  # of one chip; a picture needs a thousandth

# The ellipsoid of WGS 84; the radius in metres.
_RADIUS, _SQUARED_ECCENTRICITY = 6_378_137.0, 0.00669437999014


@dataclass(frozen=True)
class Grid:
    """Size and georeference of a raster.

    Args:
        width: Columns.
        height: Rows.
        transform: The ``affine.Affine`` from (column, row) to map coordinates.
        crs: The ``rasterio.crs.CRS``; None for imagery without georeference.
    """

    width: int
    height: int
    transform: Any
    crs: Any

    @property
    def has_position(self) -> bool:
        """Whether the pixels have map coordinates."""
        return self.crs is not None or not self.transform.is_identity

    @property
    def metres_per_px(self) -> float | None:
        """The width of a pixel on the ground in metres, in the middle; None without a CRS."""
        return _metres_per_px(self)

    @property
    def square_metres_per_px(self) -> float | None:
        """The area of a pixel on the ground in square metres, in the middle; None without a CRS."""
        side = self.metres_per_px
        if side is None or not self.crs.is_geographic:
            return None if side is None else side**2
        return side * _metres_of_latitude(self)

    def crop(self, window: Window) -> Grid:
        """Return the grid of a window."""
        t, (x, y) = self.transform, self.point(window.col, window.row)
        return Grid(window.width, window.height, type(t)(t.a, t.b, x, t.d, t.e, y), self.crs)

    def resampled(self, width: int, height: int) -> Grid:
        """Return the grid of the same area with another number of pixels."""
        t, wide, tall = self.transform, self.width / width, self.height / height
        coarse = type(t)(t.a * wide, t.b * tall, t.c, t.d * wide, t.e * tall, t.f)
        return Grid(width, height, coarse, self.crs)

    # Written out because Affine's operators differ between versions 2 (*) and 3 (@).
    def point(self, col: float, row: float) -> tuple[float, float]:
        """Return the map coordinates of a point; integers are a pixel's upper left corner."""
        t = self.transform
        return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Return the column and row of the pixel that contains a point in map coordinates."""
        t = ~self.transform
        return math.floor(t.a * x + t.b * y + t.c), math.floor(t.d * x + t.e * y + t.f)


@dataclass(frozen=True)
class Chip:
    """Pixels of a window, with mask and georeference.

    Args:
        array: Shape (bands, rows, columns), in the raster's dtype.
        mask: Shape (rows, columns); True for pixels with data. Read-only if all have data.
        window: The window that was read, in the raster's pixels, clipped at its edge.
        grid: Grid of `array`; coarser than the raster's if it was resampled.
        full_grid: Grid of the whole raster.
    """

    array: NDArray[Any]
    mask: NDArray[np.bool_]
    window: Window
    grid: Grid
    full_grid: Grid

    @property
    def is_complete(self) -> bool:
        """Whether all pixels have data."""
        # A mask of one repeated value takes no memory, and need not be searched.
        mask = self.mask if any(self.mask.strides) else self.mask[:1, :1]
        return bool(mask.all())

    @property
    def crs(self) -> Any:
        """The ``rasterio.crs.CRS``, or None."""
        return self.grid.crs

    @property
    def transform(self) -> Any:
        """The ``affine.Affine`` from (column, row) of `array` to map coordinates."""
        return self.grid.transform


def read_grid(files: Files) -> Grid:
    """Read size, transform and CRS of a raster, or of several files as one, from the header.

    Raises:
        RasterError: If the raster cannot be opened.
    """
    with open_files(files) as dataset:
        return grid_of_dataset(dataset)


def read(
    uri: str,
    window: Window | None = None,
    *,
    bands: Sequence[int] | None = None,
    max_px: int | None = 1024,
    resampling: Resampling = "average",
    alone: bool = False,
) -> Chip:
    """Read a window of a raster, from overviews if the window is larger than `max_px`.

    Args:
        uri: Local path or any URI that rasterio opens, such as ``s3://bucket/scene.tif``.
        window: Pixels to read, clipped at the raster's edge; None reads the whole raster.
        bands: Band numbers from 1; None reads all except an alpha band, which becomes the mask.
        max_px: Longest side of the result, in pixels; None reads every pixel.
        resampling: Resampling method if the window is larger than `max_px`. Labels need
            ``nearest`` or ``mode``.
        alone: As for `rvlab.raster.gdal.open_raster`.

    Returns:
        The chip; its mask is False for pixels without data (nodata, alpha 0, NaN).

    Raises:
        RasterError: If the raster cannot be read, or the result is larger than a gigabyte.
        WindowOutside: If the window does not intersect the raster.
        SpecError: If the raster does not have a band.
    """
    return read_choosing(
        uri,
        window,
        lambda found: resolve_bands(uri, found, bands),
        max_px=max_px,
        resampling=resampling,
        alone=alone,
    )


def read_choosing(
    files: Files,
    window: Window | Callable[[Grid], Window] | None,
    choose: Callable[[Any], list[int]],
    *,
    max_px: int | None,
    resampling: Resampling,
    alone: bool = False,
    shape: tuple[int, int] | None = None,
) -> Chip:
    """Read as `read`, but choose window and bands after opening the raster, to open it once.

    Args:
        files: A file, or several that form one mosaic.
        window: As for `read`, or a function that returns it from the grid of the raster.
        choose: Function that returns the band numbers of the open dataset.
        max_px: As for `read`.
        resampling: As for `read`.
        alone: As for `read`.
        shape: Rows and columns of the result; None derives them from `max_px`.
    """
    from rasterio.enums import Resampling as How

    uri = describe_files(files)
    with open_files(files, alone=alone) as dataset:
        whole = grid_of_dataset(dataset)
        given = window(whole) if callable(window) else window
        part = (given or Window(0, 0, whole.width, whole.height)).clip(whole.width, whole.height)
        numbers = choose(dataset)
        shape = shape or part.shape_within(max_px)
        bands = dataset.count if _has_mask(dataset) else len(numbers)  # a mask reads all bands
        size = bands * shape[0] * shape[1] * np.dtype(dataset.dtypes[0]).itemsize
        if size > MAX_BYTES:
            raise RasterError(
                f"{part} of {uri} are {format_megabytes(size)}; the limit of one read is "
                f"{format_megabytes(MAX_BYTES)}. Give a smaller window or max_px."
            )
        require_small_source(uri, dataset, part, shape, len(numbers))
        area = part.to_rasterio()
        array = dataset.read(
            numbers, window=area, out_shape=(len(numbers), *shape), resampling=How[resampling]
        )
        mask = _mask(dataset, area, shape)
    if array.dtype.kind == "f":
        mask = mask & np.isfinite(array).all(axis=0)
    return Chip(array, mask, part, whole.crop(part).resampled(shape[1], shape[0]), whole)


def require_small_source(
    uri: str, dataset: Any, part: Window, shape: tuple[int, int], bands: int
) -> None:
    """Raise RasterError if a read needs more than `RASTER_SOURCE_PIXELS` pixels of the file."""
    step = max(1.0, part.height / shape[0], part.width / shape[1])
    finest = max((f for f in dataset.overviews(1) if f <= step), default=1) if step > 1 else 1
    pixels = part.area * bands // finest**2
    if pixels > RASTER_SOURCE_PIXELS:
        raise RasterError(
            f"{part} of {uri} requires reading {pixels:,} pixels of its {bands} bands, more than "
            f"{RASTER_SOURCE_PIXELS:,}. Add overviews (gdaladdo), or give a smaller window."
        )


def format_megabytes(size: int) -> str:
    """Format a number of bytes to three digits: ``12,300 MB``."""
    return f"{float(f'{size / 1e6:.3g}'):,.10g} MB"


def bands_without_alpha(dataset: Any) -> list[int]:
    """Return the band numbers, from 1, except an alpha band."""
    from rasterio.enums import ColorInterp

    kinds = dataset.colorinterp
    return [i for i, kind in enumerate(kinds, start=1) if kind != ColorInterp.alpha]


def grid_of_dataset(dataset: Any) -> Grid:
    """Return the grid of an open rasterio dataset."""
    return Grid(dataset.width, dataset.height, dataset.transform, dataset.crs)


def resolve_bands(uri: str, dataset: Any, bands: Sequence[int] | None) -> list[int]:
    """Validate band numbers, from 1; None returns all except alpha."""
    if bands is None:
        return bands_without_alpha(dataset)
    wrong = [b for b in bands if not 1 <= b <= dataset.count]
    if wrong:
        raise SpecError(f"{uri} has no band {wrong[0]}; its bands are 1 to {dataset.count}.")
    return list(bands)


def _mask(dataset: Any, area: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if not _has_mask(dataset):
        return np.broadcast_to(np.True_, shape)
    return np.asarray(dataset.dataset_mask(window=area, out_shape=shape) > 0)


def _has_mask(dataset: Any) -> bool:
    from rasterio.enums import MaskFlags

    return not all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums)


def _metres_per_px(grid: Grid) -> float | None:
    crs = grid.crs
    if crs is None:
        return None
    t = grid.transform
    if crs.is_geographic:
        _, latitude = grid.point(grid.width / 2, grid.height / 2)
        radians = float(crs.units_factor[1])
        if abs(latitude * radians) > math.pi / 2:
            return None
        return _metres_per_radian(latitude * radians) * math.hypot(t.a, t.d) * radians
    if not crs.is_projected:
        return None
    side = float(np.sqrt(abs(t.determinant))) * float(crs.linear_units_factor[1])
    if crs.to_dict().get("proj") in ("merc", "webmerc"):
        return side * _mercator_scale(grid)
    return side


def _metres_of_latitude(grid: Grid) -> float:
    """Return the height of a pixel in degrees, in metres, in the middle of a grid.

    Snyder, "Map projections: a working manual" (1987), equation 4-19.
    """
    radians = float(grid.crs.units_factor[1])
    _, latitude = grid.point(grid.width / 2, grid.height / 2)
    curved = 1 - _SQUARED_ECCENTRICITY * math.sin(latitude * radians) ** 2
    per_radian: float = _RADIUS * (1 - _SQUARED_ECCENTRICITY) / curved**1.5
    return per_radian * math.hypot(grid.transform.b, grid.transform.e) * radians


def _metres_per_radian(latitude: float) -> float:
    """Return the length of a radian of longitude on the ellipsoid of WGS 84; `latitude` in radians.

    Snyder, "Map projections: a working manual" (1987), equation 4-21.
    """
    curved = math.sqrt(1 - _SQUARED_ECCENTRICITY * math.sin(latitude) ** 2)
    return _RADIUS * math.cos(latitude) / curved


def _mercator_scale(grid: Grid) -> float:
    """Return metres on the ground per metre of a Mercator map, in the middle of a grid."""
    from rasterio.warp import transform

    x, y = grid.point(grid.width / 2, grid.height / 2)
    _, (latitude,) = transform(grid.crs, "EPSG:4326", [x], [y])
    return _metres_per_radian(math.radians(latitude)) / _metres_per_radian(0.0)


def source_bands(source: RasterSource, dataset: Any) -> list[int]:
    """Return the bands, from 1, that a source uses of its open raster.

    Raises:
        RasterError: If the config names a band that the raster does not have.
    """
    order = source.channel_order
    bands = bands_without_alpha(dataset) if order is None else [band + 1 for band in order]
    wrong = [band for band in bands if not 1 <= band <= dataset.count]
    if wrong or not bands:
        raise RasterError(
            f"{source.name} has {dataset.count} bands, and the config's channel_order is {order}."
        )
    return bands
