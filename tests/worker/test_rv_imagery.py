"""Tests of each patch of imagery: first Raster Vision's behaviour without it, then with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from rastervision.aws_s3.s3_file_system import S3FileSystem
from rastervision.core.data import RasterioSourceConfig
from rastervision.core.data.raster_source import rasterio_source
from rastervision.core.data.utils import rasterio as utils
from rastervision.core.data.vector_source import geojson_vector_source
from rastervision.core.data.vector_source.geojson_vector_source import GeoJSONVectorSource
from rastervision.pipeline import rv_config_
from shapely import box

from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from rvlab.worker.bucket_clients import BucketClients
from rvlab.worker.rv_imagery import patch_mosaics, patch_sidecar_downloads
from tests.raster.samples import CORNER, UTM, write
from tests.raster.test_sidecars import SIDECARS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo every patch afterwards."""
    for module in (rasterio_source, utils, geojson_vector_source):
        monkeypatch.setattr(module, "download_if_needed", module.download_if_needed)
    monkeypatch.setattr(utils, "build_vrt", utils.build_vrt)
    before = rv_config_.tmp_dir_root
    rv_config_.set_tmp_dir_root(str(tmp_path / "cache"))
    yield
    rv_config_.tmp_dir_root = before


@pytest.fixture
def store(s3: Server, s3_access: S3Access, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder of the embedded server, which Raster Vision finds by the standard variables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # As in `patch_s3_errors`: Raster Vision makes a session for each call.
    clients = BucketClients()
    monkeypatch.setattr(S3FileSystem, "get_client", staticmethod(lambda: clients))
    return Store(f"s3://{s3.bucket}/imagery", s3_access)


def test_source_of_several_files_needs_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("gdalbuildvrt") is None
    east = CORNER @ CORNER.translation(40, 0)
    uris = [
        write(tmp_path / f"{i}.tif", np.full((3, 40, 40), i + 1, np.uint8), transform=where)
        for i, where in enumerate((CORNER, east))
    ]
    source = RasterioSourceConfig(uris=uris)
    with pytest.raises(FileNotFoundError, match="gdalbuildvrt"):
        source.build(tmp_dir=str(tmp_path))
    patch_mosaics()
    made = source.build(tmp_dir=str(tmp_path))
    assert made.shape == (40, 80, 3)
    assert made.get_chip(made.extent)[0, :, 0].tolist() == [1] * 40 + [2] * 40


@pytest.mark.parametrize("kind", ["tfw", "jgw", "CRS and position in aux.xml"])
def test_position_beside_an_image_on_s3_is_downloaded(
    kind: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    path = SIDECARS[kind](tmp_path / "made")
    for each in path.parent.iterdir():
        store.put(f"{kind}/{each.name}", each.read_bytes())
    source = RasterioSourceConfig(uris=[f"{store.uri}/{kind}/{path.name}"])
    assert source.build(tmp_dir=str(tmp_path)).crs_transformer.transform is None
    for _ in range(2):  # applied twice, as in a process that runs two steps
        patch_sidecar_downloads()
    shutil.rmtree(tmp_path / "cache")
    made: Any = source.build(tmp_dir=str(tmp_path)).crs_transformer
    assert made.transform.almost_equals(CORNER)
    assert "UTM zone 11N" in made.image_crs


def test_parts_of_a_shapefile_on_s3_are_downloaded(store: Store, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    table = gpd.GeoDataFrame({"class_id": [1]}, geometry=[box(0, 0, 9, 9)], crs=UTM)
    table.to_file(tmp_path / "made/labels.shp")
    for each in (tmp_path / "made").iterdir():
        store.put(f"labels/{each.name}", each.read_bytes())
    uri = f"{store.uri}/labels/labels.shp"
    with pytest.raises(Exception, match=r"labels\.shx"):
        GeoJSONVectorSource(uri, None)._get_geojson()
    patch_sidecar_downloads()
    (feature,) = GeoJSONVectorSource(uri, None)._get_geojson()["features"]
    assert feature["properties"] == {"class_id": 1}
