"""Read a MultiRasterSource: several rasters whose channels are joined on the primary one's grid.

Each other raster is read at the map coordinates of the window's corners, and resampled to the
pixels of the primary one, as Raster Vision 0.31 does. It may have another pixel size or CRS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from cachetools import TTLCache

from rvlab.errors import RasterError
from rvlab.raster.config import Files, RasterSource, describe_files
from rvlab.raster.gdal import gdal_errors, open_files
from rvlab.raster.read import (
    Chip,
    Grid,
    grid_of_dataset,
    read_choosing,
    require_small_source,
    source_bands,
)
from rvlab.raster.sidecars import KEEP_S
from rvlab.raster.window import Window

_headers: TTLCache[tuple[Files, tuple[int, ...] | None], _Header] = TTLCache(1024, KEEP_S)
_lock = Lock()


@dataclass(frozen=True)
class _Header:
    """Grid and used bands, from 1, of one raster."""

    grid: Grid
    bands: tuple[int, ...]


def read_joined(
    source: RasterSource,
    window: Callable[[Grid], Window],
    choose: Callable[[int], list[int]],
    *,
    max_px: int | None,
) -> Chip:
    """Read some of the joined channels of a source with parts.

    Args:
        source: The source.
        window: Function that returns the window from the grid of the primary raster.
        choose: Function that returns the channels to read, from the number of joined channels.
        max_px: Longest side of the result, in pixels.

    Returns:
        A chip on the grid of the primary raster. If the rasters have several dtypes, its array has
        the dtype that holds all their values.

    Raises:
        RasterError: If a raster of the chosen channels cannot be read.
    """
    leaves = source.leaves
    with ThreadPoolExecutor(len(leaves)) as pool:
        headers = list(pool.map(_header, leaves))
    channels = list(_join_channels(source, iter(range(len(leaves))), headers))
    primary = source.primary_part
    at = next(i for i, leaf in enumerate(leaves) if leaf is primary)
    whole = headers[at].grid
    part = window(whole).clip(whole.width, whole.height)
    chosen = [channels[number] for number in choose(len(channels))]
    shape = part.shape_within(max_px)
    used = list(dict.fromkeys(leaf for leaf, _ in chosen))

    def read_leaf(leaf: int) -> Chip:
        bands = [band for other, band in chosen if other == leaf]
        if leaf == at or _is_same(headers[leaf].grid, whole):
            return read_choosing(
                leaves[leaf].files, part, lambda _: bands, max_px=max_px, resampling="average"
            )
        return _read_resampled(
            leaves[leaf].files, headers[leaf].grid, bands, whole.crop(part), shape
        )

    with ThreadPoolExecutor(len(used)) as pool:
        chips = dict(zip(used, pool.map(read_leaf, used), strict=True))
    rows = {leaf: iter(chip.array) for leaf, chip in chips.items()}
    array = np.stack([next(rows[leaf]) for leaf, _ in chosen])
    mask = np.logical_and.reduce([chip.mask for chip in chips.values()])
    return Chip(array, mask, part, whole.crop(part).resampled(shape[1], shape[0]), whole)


def _join_channels(
    source: RasterSource, numbers: Iterator[int], headers: list[_Header]
) -> Iterator[tuple[int, int]]:
    """Yield the raster's index and band of each channel, after inner channel orders."""
    for part in source.parts:
        if not part.parts:
            leaf = next(numbers)
            yield from ((leaf, band) for band in headers[leaf].bands)
            continue
        inner = list(_join_channels(part, numbers, headers))
        order = range(len(inner)) if part.channel_order is None else part.channel_order
        if any(number >= len(inner) for number in order):
            raise RasterError(
                f"The sources of {part.name} have {len(inner)} channels, and the config's "
                f"channel_order is {part.channel_order}."
            )
        yield from (inner[number] for number in order)


def _header(leaf: RasterSource) -> _Header:
    if leaf.unsupported:
        raise RasterError(f"A part of the image cannot be read: {leaf.unsupported}.")
    key = (leaf.files, leaf.channel_order)
    with _lock:
        if key in _headers:
            return _headers[key]
    with open_files(leaf.files) as dataset:
        found = _Header(grid_of_dataset(dataset), tuple(source_bands(leaf, dataset)))
    with _lock:
        _headers[key] = found
    return found


def _is_same(one: Grid, other: Grid) -> bool:
    return (one.width, one.height, one.crs) == (
        other.width,
        other.height,
        other.crs,
    ) and one.transform.almost_equals(other.transform, 1e-6 * abs(other.transform.a))


def _read_resampled(
    files: Files, own: Grid, bands: list[int], part: Grid, shape: tuple[int, int]
) -> Chip:
    """Read the area of a window from another raster; pixels outside that raster are masked."""
    from rasterio.enums import Resampling

    there = _window_there(own, part)
    # At full resolution, the pixels are those of Raster Vision.
    how = Resampling.bilinear if shape == (part.height, part.width) else Resampling.average
    area: dict[str, Any] = {"window": there.to_rasterio(), "out_shape": (len(bands), *shape)}
    with open_files(files) as dataset:
        require_small_source(describe_files(files), dataset, there, shape, len(bands))
        array = dataset.read(bands, boundless=True, resampling=how, **area)
        mask = dataset.read_masks(bands, boundless=True, **area).all(axis=0)
    rows = there.row + (np.arange(shape[0]) + 0.5) * there.height / shape[0]
    cols = there.col + (np.arange(shape[1]) + 0.5) * there.width / shape[1]
    inside = np.outer((rows >= 0) & (rows < own.height), (cols >= 0) & (cols < own.width))
    return Chip(array, mask & inside, there, part, own)


def _window_there(own: Grid, part: Grid) -> Window:
    """Return the window of another raster between the corners of a part, as Raster Vision does."""
    from rasterio.warp import transform

    if own.has_position != part.has_position:
        raise RasterError(
            "The rasters of a scene cannot be joined: only some of them have a position."
        )
    corners = [part.point(col + 0.5, row + 0.5) for col, row in ((0, 0), (part.width, part.height))]
    if own.crs != part.crs and own.crs is not None and part.crs is not None:
        try:
            xs, ys = transform(part.crs, own.crs, *zip(*corners, strict=True))
        except gdal_errors(ValueError) as exc:
            raise RasterError(f"The rasters of a scene cannot be joined: {exc}.") from exc
        corners = list(zip(xs, ys, strict=True))
    (left, top), (right, bottom) = (own.pixel(x, y) for x, y in corners)
    left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
    return Window(left, top, max(1, right - left), max(1, bottom - top))
