"""TIFFs that are decoded without GDAL: the same values as GDAL returns, and which are opened."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from rvlab.raster.object_file import ObjectHead, opened_object
from rvlab.raster.plain_tiff import PlainTiff, open_plain
from rvlab.store import Store
from tests.raster.samples import write
from tests.raster.test_object_file import HEIGHT, KINDS, MORE, TILED, WIDTH, made

PLAIN = {
    *("tiles", "pixel by pixel", "deflate, predictor 2", "signed bytes", "BigTIFF", "sparse"),
    *("alpha", "not a number", "overviews", "COG"),
}
"""Kinds of `test_object_file` that GDAL need not decode; its ``alpha`` is four bands of RGB."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, list[Any]]]:
    """Open a file of a folder store; yield it and the datasets that GDAL opened."""
    head = ObjectHead(Store(path.parent), path.name)
    datasets: list[Any] = []
    entered = []

    def open_dataset() -> Any:
        entered.append(opened_object(head))
        datasets.append(entered[-1].__enter__())
        return datasets[-1]

    try:
        with rasterio.Env():
            yield open_plain(head, open_dataset), datasets
    finally:
        for one in entered:
            one.__exit__(None, None, None)


def read(dataset: Any, col: int, row: int, width: int, height: int, bands: list[int]) -> Any:
    shape = (len(bands), height, width)
    return dataset.read(bands, window=Window(col, row, width, height), out_shape=shape)


@pytest.mark.parametrize("kind", [*KINDS, *MORE])
def test_header_and_windows_of_each_kind_of_tiff_are_those_of_gdal(
    kind: str, tmp_path: Path
) -> None:
    path = MORE[kind](tmp_path) if kind in MORE else made(tmp_path, kind)
    with opened(path) as (found, _), rasterio.open(path) as wanted:
        assert isinstance(found, PlainTiff) == (kind in PLAIN)
        for name in ("width", "height", "count", "dtypes", "crs", "transform", "block_shapes"):
            assert getattr(found, name) == getattr(wanted, name)
        assert found.overviews(1) == wanted.overviews(1)
        assert found.profile["driver"] == "GTiff"
        for window in ((70, 30, 60, 60), (199, 139, 31, 11), (0, 0, WIDTH, HEIGHT)):
            for bands in ([1], list(range(wanted.count, 0, -1))):
                np.testing.assert_array_equal(
                    read(found, *window, bands), read(wanted, *window, bands)
                )


@settings(max_examples=25)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    bands=st.integers(1, 4),
    tile=st.sampled_from([(16, 16), (32, 16), (16, 48), (128, 128)]),
    compress=st.sampled_from([None, "deflate"]),
    differenced=st.booleans(),
    data=st.data(),
)
def test_any_window_of_tiles_is_that_of_gdal(
    dtype: str,
    bands: int,
    tile: tuple[int, int],
    compress: str | None,
    differenced: bool,
    data: st.DataObject,
) -> None:
    col, row = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 49))
    width, height = data.draw(st.integers(1, 70 - col)), data.draw(st.integers(1, 50 - row))
    predictor = 2 if differenced and compress and dtype[0] != "f" else 1
    array = np.random.default_rng(col).integers(0, 250, (bands, 50, 70)).astype(dtype)
    profile = {"tiled": True, "blockxsize": tile[0], "blockysize": tile[1], "interleave": "pixel"}
    profile |= {"compress": compress, "predictor": predictor} if compress else {}
    profile["photometric"] = "minisblack"  # or the fourth of four bands is alpha
    with tempfile.TemporaryDirectory() as folder:
        path = Path(write(Path(folder) / "a.tif", array, **profile))
        with opened(path) as (found, _):
            assert isinstance(found, PlainTiff)
            every = list(range(1, bands + 1))
            np.testing.assert_array_equal(
                read(found, col, row, width, height, every),
                array[:, row : row + height, col : col + width],
            )


def test_gdal_opens_only_one_of_the_files_that_differ_in_tiles_and_corner(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        array = rng.integers(0, 9 + number, (HEIGHT, WIDTH), np.uint8)
        corner = Affine(0.25, 0, 7_000 + number / 3, 0, -0.25, 9_000 - number)
        tiled = {**TILED, "compress": "deflate", "blockxsize": 48}
        path = Path(write(tmp_path / f"{number}.tif", array, transform=corner, **tiled))
        with opened(path) as (found, datasets), rasterio.open(path) as wanted:
            np.testing.assert_array_equal(read(found, 9, 9, 99, 99, [1])[0], array[9:108, 9:108])
            assert found.transform == wanted.transform == corner
            assert len(datasets) == (1 if number == 0 else 0)


def test_corner_of_pixels_that_are_points_is_that_of_gdal(tmp_path: Path) -> None:
    for number in range(2):
        corner = Affine(0.25, 0, 7_000 + number, 0, -0.25, 9_000)
        path = Path(
            write(
                tmp_path / f"{number}.tif", np.ones((99, 99), np.uint8), transform=corner, **TILED
            )
        )
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT="Point")
            dataset.transform = corner
        with opened(path) as (found, _), rasterio.open(path) as wanted:
            assert found.transform == wanted.transform == corner


def test_window_of_another_size_or_beyond_the_raster_is_read_by_gdal(tmp_path: Path) -> None:
    path = made(tmp_path, "tiles")
    with opened(path) as (found, _), rasterio.open(path) as wanted:
        assert isinstance(found, PlainTiff)
        half = {"window": Window(0, 0, 100, 100), "out_shape": (3, 50, 50)}
        beyond = {"window": Window(-9, -9, 40, 40), "boundless": True}
        for how in ({}, half, beyond):
            bands = [1, 2, 3]
            np.testing.assert_array_equal(found.read(bands, **how), wanted.read(bands, **how))


def test_damaged_tile_is_an_error_of_gdal(tmp_path: Path) -> None:
    path = made(tmp_path, "deflate, predictor 2")
    with rasterio.open(path) as dataset:
        at = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1) or 0)
    data = path.read_bytes()
    path.write_bytes(data[:at] + b"damaged!" + data[at + 8 :])
    with opened(path) as (found, _):
        assert isinstance(found, PlainTiff)
        with pytest.raises(rasterio.errors.RasterioIOError):
            read(found, 0, 0, 9, 9, [1])
        assert read(found, 100, 100, 9, 9, [1]).shape == (1, 9, 9)


def test_malformed_headers_are_left_to_gdal(tmp_path: Path) -> None:
    data = made(tmp_path, "tiles").read_bytes()
    path = tmp_path / "b.tif"
    for size in (4, 9, 60, 200):
        path.write_bytes(data[:size])
        with pytest.raises(rasterio.errors.RasterioIOError), opened(path):
            pass
    endless = bytearray(data)
    entries = int.from_bytes(data[8:10], "little")
    endless[10 + 12 * entries : 14 + 12 * entries] = (8).to_bytes(4, "little")  # points to itself
    path.write_bytes(endless)
    with opened(path) as (found, _):
        assert not isinstance(found, PlainTiff)
