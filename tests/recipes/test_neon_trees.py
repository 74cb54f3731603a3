"""Tests of the NEON tile: download, verification, and disjoint quarters."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rastervision.core")

import numpy as np
import rasterio

from rvlab.errors import SpecError, StoreError
from rvlab.recipes import neon

Config = Callable[..., Any]


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a cache folder with the tile, downloaded by pip."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVLAB_CACHE", str(folder))
        neon.fetch_tile_files()
    return folder


@pytest.fixture
def cache(fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a cache folder for one test and return the tile's folder in it."""
    shutil.copytree(fetched, tmp_path / "cache")
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    neon.load_tile.cache_clear()
    return tmp_path / "cache" / "deepforest-2.1.0"


@pytest.fixture
def no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Python by one whose pip has no network."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ERROR: Could not reach the index' >&2\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    neon.load_tile.cache_clear()


@pytest.mark.slow
def test_pip_fetches_the_tile_once(cache: Path, no_pip: None) -> None:
    assert sorted(p.name for p in cache.iterdir()) == ["OSBS_029.csv", "OSBS_029.tif"]
    assert neon.fetch_tile_files()["OSBS_029.tif"] == cache / "OSBS_029.tif"
    tile = neon.load_tile()
    assert (tile.image.shape, tile.crs) == ((400, 400, 3), "EPSG:32617")
    assert 0.35 < tile.crowns.mean() < 0.5


@pytest.mark.slow
def test_quarters_cover_the_tile_and_share_no_pixel(
    config: Config, cache: Path, tmp_path: Path
) -> None:
    made = config("neon_trees", root_uri=str(tmp_path / "rv"), held_out="ne")
    assert [s.id for s in made.dataset.train_scenes] == ["osbs-nw", "osbs-sw", "osbs-se"]
    assert [s.id for s in made.dataset.validation_scenes] == ["osbs-ne"]
    tile, seen = neon.load_tile(), np.zeros((400, 400), dtype=int)
    folder = tmp_path / "rv" / "data" / "osbs-029-v1"
    for name in ("nw", "ne", "sw", "se"):
        with (
            rasterio.open(folder / f"{name}.tif") as image,
            rasterio.open(folder / f"{name}-labels.tif") as labels,
        ):
            col = round((image.transform.c - tile.transform.c) / 0.1)
            row = round((tile.transform.f - image.transform.f) / 0.1)
            window = slice(row, row + 200), slice(col, col + 200)
            assert (np.moveaxis(image.read(), 0, -1) == tile.image[window]).all()
            assert ((labels.read(1) == 0) == tile.crowns[window]).all()
            assert (image.crs.to_epsg(), image.nodata) == (32617, None)
            assert labels.colormap(1)[0] == (*bytes.fromhex("7fc97f"), 255)
            seen[window] += 1
    assert (seen == 1).all()


@pytest.mark.slow
def test_tiles_in_the_store_need_no_network(
    config: Config, cache: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shared = str(tmp_path / "shared")
    config("neon_trees", root_uri=str(tmp_path / "a"), data_uri=shared)
    shutil.rmtree(cache)
    request.getfixturevalue("no_pip")
    made = config("neon_trees", root_uri=str(tmp_path / "b"), data_uri=shared, epochs="3")
    assert made.backend.solver.num_epochs == 3
    assert made.dataset.train_scenes[0].raster_source.uris[0].startswith(shared)


@pytest.mark.slow
def test_corrupted_file_is_rejected_by_its_hash(
    config: Config, cache: Path, tmp_path: Path
) -> None:
    path = cache / "OSBS_029.tif"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    message = r"OSBS_029.tif is not the file that deepforest==2.1.0 contains: its SHA-256"
    with pytest.raises(StoreError, match=message):
        config("neon_trees", root_uri=str(tmp_path / "rv"))
    assert not (tmp_path / "rv").exists()


def test_missing_network_is_reported_with_a_solution(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pip: None
) -> None:
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "empty"))
    message = (
        r"pip download deepforest==2\.1\.0 failed \(ERROR: Could not reach the index\)\. "
        r"Run the command where PyPI can be reached, or put OSBS_029\.tif and OSBS_029\.csv into"
    )
    with pytest.raises(StoreError, match=message):
        config("neon_trees", root_uri=str(tmp_path / "rv"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"held_out": "north"}, "held_out must be one of 'nw', 'ne', 'sw', 'se', got 'north'"),
        ({"chip_px": 256}, "chip_px must be at most 200, got 256"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"stride_px": 0}, "stride_px must be at least 1"),
        ({"lr": 0}, "lr must be above 0, got 0"),
    ],
)
def test_invalid_value_downloads_nothing(
    config: Config, tmp_path: Path, no_pip: None, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        config("neon_trees", root_uri=str(tmp_path / "rv"), **params)
