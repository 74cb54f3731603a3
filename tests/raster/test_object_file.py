"""TIFFs on S3: the same pixels as GDAL reads from a local file, and few requests."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning

from rvlab.errors import RasterError, StoreError
from rvlab.raster import Window, read
from rvlab.raster.gdal import share_heads
from rvlab.raster.object_file import ObjectHead
from rvlab.store import S3Access, Store, addresses, register_store
from rvlab.store.server import Server
from tests.faults.proxy import Proxy
from tests.raster.samples import write

HEIGHT, WIDTH = 150, 230

TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "plain strips": ("uint8", 1, {}),
    "one strip": ("uint16", 1, {"blockysize": HEIGHT}),
    "tiles": ("uint8", 3, TILED),
    "planar": ("int16", 4, {**TILED, "interleave": "band"}),
    "pixel by pixel": ("uint16", 4, {**TILED, "interleave": "pixel"}),
    "deflate, predictor 2": ("uint16", 2, {**TILED, "compress": "deflate", "predictor": 2}),
    "lzw, predictor 3": ("float32", 2, {**TILED, "compress": "lzw", "predictor": 3}),
    "zstd": ("int32", 1, {**TILED, "compress": "zstd"}),
    "packbits": ("uint8", 1, {"compress": "packbits"}),
    "lzma": ("uint32", 1, {**TILED, "compress": "lzma"}),
    "jpeg": ("uint8", 3, {**TILED, "compress": "jpeg", "photometric": "ycbcr"}),
    "webp": ("uint8", 3, {**TILED, "compress": "webp", "webp_lossless": True}),
    "lerc": ("float64", 1, {**TILED, "compress": "lerc"}),
    "complex": ("complex64", 1, TILED),
    "signed bytes": ("int8", 1, TILED),
    "one bit": ("uint8", 1, {**TILED, "nbits": 1, "compress": "ccittfax4"}),
    "BigTIFF": ("uint8", 1, {**TILED, "bigtiff": "yes"}),
    "big-endian": ("uint16", 2, {**TILED, "endianness": "big", "compress": "deflate"}),
    "sparse": ("uint8", 1, {**TILED, "sparse_ok": True}),
    "nodata": ("uint8", 2, {**TILED, "nodata": 7}),
    "alpha": ("uint8", 4, {**TILED, "photometric": "rgb", "alpha": "unassociated"}),
    "not a number": ("float32", 1, TILED),
}
WINDOWS = [
    *((Window(70, 30, 60, 60), None), (Window(200, 140, 90, 90), None), (None, None)),
    (Window(3, 5, 200, 130), 50),
]


def made(folder: Path, kind: str) -> Path:
    dtype, bands, profile = KINDS[kind]
    rng = np.random.default_rng(len(kind))
    pixels = rng.integers(0, 2 if "nbits" in profile else 120, (bands, HEIGHT, WIDTH))
    if kind == "sparse":
        pixels[:, :, 100:] = 0
    array = pixels.astype(dtype)
    if kind == "not a number":
        array[:, 40:50] = np.nan
    return Path(write(folder / "a.tif", array, **profile))


def with_mask(path: Path) -> Path:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.tri(HEIGHT, WIDTH, dtype=np.uint8) * 255)
    return path


def with_overviews(path: Path) -> Path:
    """Add overviews; the directories of this file are at its end."""
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    return path


def as_cog(path: Path) -> Path:
    cog = path.with_name("cog.tif")
    rasterio.shutil.copy(path, cog, driver="COG", compress="DEFLATE", blocksize=128)
    return cog


MORE = {
    "mask": lambda folder: with_mask(made(folder, "tiles")),
    "overviews": lambda folder: with_overviews(made(folder, "tiles")),
    "COG": lambda folder: as_cog(made(folder, "tiles")),
    "COG with a mask": lambda folder: as_cog(with_mask(made(folder, "tiles"))),
}


@pytest.fixture
def bucket(s3: Server, s3_access: S3Access) -> Store:
    return register_store(Store(f"s3://{s3.bucket}/object-files", s3_access))


@pytest.mark.parametrize("kind", [*KINDS, *MORE])
def test_pixels_of_a_tiff_on_s3_are_those_of_the_local_file(
    kind: str, bucket: Store, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path = MORE[kind](tmp_path) if kind in MORE else made(tmp_path, kind)
    key = f"{kind}.tif".replace(" ", "-")
    bucket.put(key, path.read_bytes())
    for window, max_px in WINDOWS:
        for how in ("nearest", "average") if max_px else ("nearest",):
            if KINDS.get(kind, ("",))[0] == "complex64" and how == "average":
                continue
            look: dict[str, Any] = {"max_px": max_px, "resampling": how}
            wanted, found = (
                read(str(path), window, **look),
                read(f"{bucket.uri}/{key}", window, **look),
            )
            np.testing.assert_array_equal(found.array, wanted.array)
            np.testing.assert_array_equal(found.mask, wanted.mask)
            assert found.array.dtype == wanted.array.dtype
            assert (found.grid, found.full_grid) == (wanted.grid, wanted.full_grid)


class Recorder(Proxy):
    """A proxy that lists the requests of a raster."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.requests: list[str] = []

    def choose(self, request: str) -> str:
        if ".tif" in request:
            self.requests.append(request)
        return super().choose(request)


@pytest.fixture
def proxy(s3: Server) -> Iterator[Recorder]:
    made = Recorder(s3.endpoint)
    with made.running():
        yield made


@pytest.fixture
def proxied(
    s3: Server, s3_access: S3Access, proxy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """A bucket behind the proxy, as the only open store."""
    monkeypatch.setattr(addresses, "_registered", {})
    access = S3Access(proxy.endpoint, s3_access.access_key, s3_access.secret_key, region=s3.region)
    return register_store(Store(f"s3://{s3.bucket}/counted-objects", access, patience_s=0))


def test_window_takes_a_request_for_the_header_and_one_for_tiles_close_together(
    proxied: Store, proxy: Recorder, tmp_path: Path
) -> None:
    path = as_cog(made(tmp_path, "tiles"))
    proxied.put("a.tif", path.read_bytes())
    uri, window = f"{proxied.uri}/a.tif", Window(100, 100, 60, 50)
    proxy.requests.clear()
    read(uri, window, alone=True)
    assert len(proxy.requests) == 2
    proxy.requests.clear()
    with ThreadPoolExecutor(4, initializer=share_heads, initargs=({},)) as pool:
        list(pool.map(lambda _: read(uri, window, alone=True), range(8)))
    assert len(proxy.requests) == 9
    proxied.put("a.tif", Path(write(tmp_path / "b.tif", np.ones((9, 9), np.uint8))).read_bytes())
    assert read(uri, alone=True).array.shape == (1, 9, 9)


def test_request_that_fails_after_opening_is_an_error_and_no_pixels(
    proxied: Store, proxy: Recorder, tmp_path: Path
) -> None:
    path = as_cog(made(tmp_path, "tiles"))
    proxied.put("a.tif", path.read_bytes())
    proxy.only = r"GET .*\.tif"
    proxy.script("passed", "denied")
    with pytest.raises(RasterError, match=r"Access to s3://.*/a\.tif was denied: check"):
        read(f"{proxied.uri}/a.tif", Window(100, 100, 60, 50), alone=True)


def test_truncated_or_empty_tiff_on_s3_is_an_error(bucket: Store, tmp_path: Path) -> None:
    data = as_cog(made(tmp_path, "tiles")).read_bytes()
    for name, part in (("cut", data[:-20_000]), ("header", data[:100]), ("empty", b"")):
        bucket.put(f"{name}.tif", part)
        with pytest.raises(
            RasterError, match=rf"{name}\.tif (cannot be|is not a raster)"
        ) as caught:
            read(f"{bucket.uri}/{name}.tif")
        assert "vsi" not in str(caught.value)
    head = ObjectHead(bucket, "cut.tif")
    assert head.read_ranges([8, 0], [4, 2]) == [data[8:12], data[:2]]
    with pytest.raises(StoreError, match=r"ends after .* bytes, before the end of its pixels"):
        head.read_ranges([20, len(data) - 30], [40, 30])
