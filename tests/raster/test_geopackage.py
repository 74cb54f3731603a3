"""Vectors of predictions: traced in strips as in one piece, and written with their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
import shapely.geometry
from rasterio.features import rasterize, shapes

from rvlab.raster import geopackage
from rvlab.raster.boxes import Boxes
from rvlab.raster.config import classes_from_config
from rvlab.raster.geopackage import box_polygons, trace_polygons, write_geopackage
from rvlab.raster.read import read_grid
from tests.raster.samples import CLASSES, write

OWN = classes_from_config(CLASSES)


def test_polygons_of_strips_are_those_of_the_whole_raster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (1300, 40), dtype=np.uint8).repeat(2, 1)
    ids[500:1100, 10:20] = 1  # over the borders of all strips, with a hole at one of them
    ids[505:520, 12:16] = 0
    path = Path(write(tmp_path / "ids.tif", ids))
    monkeypatch.setattr(geopackage, "TRACED_PX", 1)  # strips of 512 rows
    found = list(trace_polygons(path, {0}))
    whole = [(shapely.geometry.shape(g), int(v)) for g, v in shapes(ids, mask=ids != 0)]
    assert len(found) == len(whole)

    def keys(pairs: Any) -> list[tuple[int, str]]:
        return sorted((class_id, shapely.normalize(shape).wkt) for shape, class_id in pairs)

    assert keys(one[:2] for one in found) == keys(whole)
    burnt = rasterize(((one.shape, one.class_id) for one in found), ids.shape)
    assert np.array_equal(burnt, ids)


def test_geopackage_has_classes_areas_and_the_crs_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.zeros((8, 10), np.uint8)
    ids[2:4, 3:7] = 1
    ids[6, 0] = ids[7, 1] = 2  # neighbours at a corner are two objects
    labels = Path(write(tmp_path / "ids.tif", ids))
    monkeypatch.setattr(geopackage, "BATCH", 2)
    path = tmp_path / "out.gpkg"
    write_geopackage(path, trace_polygons(labels, {0}), read_grid(str(labels)), OWN)
    table = pyogrio.read_dataframe(path)
    assert table.crs == "EPSG:32611"
    assert list(table["class"]) == ["building", "road", "road"]
    assert list(table["area_m2"]) == [2.0, 0.25, 0.25]  # pixels of 0.5 m
    assert table["score"].isna().all()
    assert list(table.geometry[0].bounds) == [663001.5, 3998998, 663003.5, 3998999]


def test_boxes_have_scores_and_an_empty_prediction_gives_an_empty_layer(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.tif", np.zeros((8, 10), np.uint8), crs=None)
    boxes = Boxes(np.array([[1.0, 2, 4, 6], [0, 0, 1, 1]]), np.array([1, 3]), np.array([0.5, 1]))
    path = tmp_path / "boxes.gpkg"
    write_geopackage(path, box_polygons(boxes, {3}), read_grid(plain), OWN)
    info, _, shape, values = pyogrio.raw.read(path)
    assert (info["crs"], len(shape)) == (None, 1)
    assert shapely.from_wkb(shape[0]).bounds == (1, 2, 4, 6)  # pixels, without georeference
    columns = dict(zip(info["fields"], (value[0] for value in values), strict=True))
    assert columns | {"area_m2": None} == {
        **{"class": "building", "class_id": 1, "score": 0.5, "area_m2": None}
    }
    assert np.isnan(columns["area_m2"])
    none = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    write_geopackage(tmp_path / "empty.gpkg", box_polygons(none, ()), read_grid(plain), OWN)
    assert pyogrio.read_info(tmp_path / "empty.gpkg")["features"] == 0
