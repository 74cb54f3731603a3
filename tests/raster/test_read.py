from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import warp

from rvlab.errors import RasterError, SpecError, WindowOutside
from rvlab.raster import Window, read
from rvlab.raster.read import format_megabytes
from rvlab.store import S3Access, Store, addresses, register_store
from tests.raster.samples import places, write


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    return write(tmp_path_factory.mktemp("big") / "big.tif", places(120, 200))


@settings(max_examples=40, deadline=None)
@given(st.integers(-20, 199), st.integers(-20, 119), st.integers(21, 90), st.integers(21, 90))
def test_read_returns_the_pixels_and_coordinates_of_the_window(big, col, row, width, height):
    chip = read(big, Window(col, row, width, height))
    cut = Window(col, row, width, height).clip(200, 120)
    assert chip.window == cut
    assert (chip.array[0] == places(120, 200)[cut.slices()]).all()
    x, y = chip.grid.point(0, 0)
    assert (x, y) == (663_000 + cut.col / 2, 3_999_000 - cut.row / 2)


def test_read_returns_the_whole_raster_without_a_window(big):
    chip = read(big)
    assert chip.array.shape == (1, 120, 200)
    assert chip.mask.all()
    assert chip.mask.shape == (120, 200)
    assert chip.is_complete
    assert chip.crs.to_epsg() == 32611
    assert chip.grid.metres_per_px == 0.5


def test_large_window_is_resampled_to_larger_pixels(big):
    chip = read(big, Window(100, 20, 100, 50), max_px=20, resampling="nearest")
    assert chip.array.shape == (1, 10, 20)
    assert (chip.array[0] == places(120, 200)[22:70:5, 102:200:5]).all()
    assert chip.grid.metres_per_px == pytest.approx(2.5)


def test_nodata_alpha_and_nan_are_masked(tmp_path):
    ids = np.ones((4, 6), np.uint16)
    ids[0] = 7
    assert not read(write(tmp_path / "n.tif", ids, nodata=7)).mask[0].any()
    values = np.ones((4, 6), np.float32)
    values[1, 1] = np.nan
    assert read(write(tmp_path / "f.tif", values)).mask.sum() == 23
    rgba = np.full((4, 4, 6), 255, np.uint8)
    rgba[3, :, :2] = 0
    chip = read(write(tmp_path / "a.tif", rgba, photometric="RGB", alpha="yes"))
    assert chip.array.shape == (3, 4, 6)
    assert not chip.mask[:, :2].any()
    assert chip.mask[:, 2:].all()
    assert not chip.is_complete


def test_raster_without_georeference_is_read(tmp_path):
    chip = read(write(tmp_path / "plain.tif", places(5, 5), crs=None))
    assert chip.crs is None
    assert chip.grid.metres_per_px is None
    assert not chip.grid.has_position


def test_metres_per_px_converts_feet_degrees_and_mercator(tmp_path):
    feet = read(write(tmp_path / "ft.tif", places(5, 5), crs="EPSG:2229"))
    assert feet.grid.metres_per_px == pytest.approx(0.5 * 1200 / 3937)
    side = 0.5 / 111_320  # of a pixel of half a metre at the equator, in degrees
    for latitude in (0, 36.2, -60):
        where = Affine(side, 0, -115, 0, -side, latitude)
        uri = write(tmp_path / "deg.tif", places(5, 5), crs="EPSG:4326", transform=where)
        wanted = 0.5 * math.cos(math.radians(latitude))
        assert read(uri).grid.metres_per_px == pytest.approx(wanted, rel=3e-3)
        (x,), (y,) = warp.transform("EPSG:4326", "EPSG:3857", [-115], [latitude])
        where = Affine(0.5, 0, x, 0, -0.5, y)
        uri = write(tmp_path / "merc.tif", places(5, 5), crs="EPSG:3857", transform=where)
        assert read(uri).grid.metres_per_px == pytest.approx(wanted, rel=3e-3)
    outside = Affine(0.5, 0, 663_000, 0, -0.5, 3_999_000)
    uri = write(tmp_path / "out.tif", places(5, 5), crs="EPSG:4326", transform=outside)
    assert read(uri).grid.metres_per_px is None


def test_bands_are_counted_from_one(tmp_path):
    bands = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None], (3, 2, 2))
    uri = write(tmp_path / "b.tif", bands)
    assert read(uri, bands=[3, 1]).array[:, 0, 0].tolist() == [2, 0]
    with pytest.raises(SpecError, match=r"has no band 4; its bands are 1 to 3"):
        read(uri, bands=[4])


def test_error_messages_name_the_problem_and_the_file(tmp_path, big, monkeypatch):
    with pytest.raises(RasterError, match=r"nothing.tif does not exist\.$"):
        read(str(tmp_path / "nothing.tif"))
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(
        RasterError, match=r"text.tif is not a raster in a format that GDAL reads\.$"
    ):
        read(str(tmp_path / "text.tif"))
    with pytest.raises(RasterError, match=r"rasterio does not support memory:// addresses"):
        read("memory://bucket/x.tif")
    with pytest.raises(WindowOutside, match=r"is outside the raster of 200 × 120 px"):
        read(big, Window(500, 0, 5, 5))
    monkeypatch.setattr(sys.modules["rvlab.raster.read"], "MAX_BYTES", 50_000)
    with pytest.raises(RasterError, match=r"are 0.096 MB; the limit of one read is 0.05 MB"):
        read(big, max_px=None)


def test_many_threads_read_concurrently(big):
    def sum_at(col):
        return int(read(big, Window(col, 0, 20, 120)).array.sum())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(sum_at, [c % 180 for c in range(200)]))
    wanted = [int(places(120, 200)[:, c % 180 : c % 180 + 20].sum()) for c in range(200)]
    assert found == wanted


def test_windows_are_read_from_an_s3_server(s3, big, tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    access = S3Access(s3.endpoint, s3.access_key, s3.secret_key)
    store = register_store(Store(f"s3://{s3.bucket}/rasters", access))
    uri = f"{store.uri}/big.tif"
    with pytest.raises(RasterError, match=r"big.tif does not exist\.$"):
        read(uri)
    store.put("big.tif", Path(big).read_bytes())
    with ThreadPoolExecutor(4) as pool:
        chips = list(pool.map(lambda c: read(uri, Window(c, 7, 30, 20)), (0, 50, 100, 150)))
    for chip in chips:
        assert (chip.array[0] == places(120, 200)[chip.window.slices()]).all()
    # GDAL does not cache a closed file: the new content is read.
    other = write(tmp_path / "other.tif", places(9, 9) * 2)
    store.put("big.tif", Path(other).read_bytes())
    assert read(uri).array[0, 8, 8] == 2 * 8008
    assert not [n for n in os.environ if n.startswith("AWS_")]
    with rasterio.Env():
        assert s3.secret_key not in str(rasterio.env.getenv())

    monkeypatch.setattr(addresses, "_registered", {})
    register_store(Store(store.uri, S3Access(s3.endpoint, s3.access_key, "wrong")))
    with pytest.raises(RasterError, match=r"was denied: check the credentials") as denied:
        read(uri)
    assert "wrong" not in str(denied.value)
    monkeypatch.setattr(addresses, "_registered", {})
    register_store(Store(store.uri, S3Access("http://127.0.0.1:9", "a", "b")))
    with pytest.raises(RasterError, match=r"cannot be reached: its server does not respond"):
        read(uri)


def test_format_megabytes_rounds_to_three_digits_without_exponent():
    assert [format_megabytes(n) for n in (11_234_000_000, 1_000_000_000, 96_040)] == [
        *("11,200 MB", "1,000 MB", "0.096 MB"),
    ]
