"""Objects of a scene: matches of masks, as shapely finds them, and areas on the ground."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from rvlab.object_metrics import IOU_THRESHOLDS
from rvlab.raster.boxes import Boxes
from rvlab.raster.components import SceneComponents
from rvlab.raster.config import Classes, RasterSource
from rvlab.raster.labels import SceneLabels
from rvlab.raster.object_table import table_of_boxes, table_of_components
from rvlab.raster.read import Grid
from rvlab.raster.scene import Scene
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window
from tests.raster.samples import UTM, write

CLASSES = Classes(("ground", "tree"), ((0, 0, 0),) * 2, "ground")


def labels_of(folder, shape, **more):
    uri = write(folder / "image.tif", np.zeros(shape, np.uint8), **more)
    return SceneLabels(Scene("a", "test", RasterSource(uris=(uri,)), None, None), CLASSES)


def rows_of(labels, truth, guess):
    """Return the table of the components of two arrays."""
    found = SceneComponents(np.array([False, True]), np.array([True, True]))
    found.add(Strip(Window(0, 0, *truth.shape[::-1]), truth, guess))
    return table_of_components(labels, *found.finish()).to_pandas()


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return labels_of(tmp_path_factory.mktemp("scene"), (40, 40))


def blobs(rng, n):
    ids = np.zeros((40, 40), np.uint8)
    for row, col, height, width in rng.integers((0, 0, 1, 1), (36, 36, 8, 8), (n, 4)):
        ids[row : row + height, col : col + width] = 1
    return ids


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 40))
def test_masks_match_as_many_objects_as_polygons_can_at_every_iou(labels, seed, n):
    rng = np.random.default_rng(seed)
    truth = blobs(rng, n)
    shift = tuple(rng.integers(-1, 2, 2))
    guess = np.where(rng.random(truth.shape) < 0.03, 1 - truth, np.roll(truth, shift, (0, 1)))
    table = rows_of(labels, truth, guess)
    polygons = [
        [shapely.geometry.shape(s) for s, value in rasterio.features.shapes(ids) if value == 1]
        for ids in (truth, guess)
    ]
    iou = np.array(
        [[t.intersection(g).area / t.union(g).area for g in polygons[1]] for t in polygons[0]]
    ).reshape(len(polygons[0]), len(polygons[1]))
    assert len(table) == sum(map(len, polygons))
    for i, threshold in enumerate(IOU_THRESHOLDS):
        near = csr_array(iou >= threshold - 1e-9)
        pairs = (maximum_bipartite_matching(near) >= 0).sum() if iou.size else 0
        matched = table[table["matched_at"].to_numpy() >> i & 1 == 1]
        assert matched["side"].tolist() == ["truth"] * pairs + ["prediction"] * pairs
    best = iou.max(axis=1, initial=0)
    assert sorted(table.loc[table["side"] == "truth", "best_iou"]) == pytest.approx(sorted(best))


def test_an_object_that_is_predicted_in_two_parts_matches_the_larger_part(labels):
    truth, guess = np.zeros((2, 40, 40), np.uint8)
    truth[0, 0:9] = 1
    guess[0, 0:3] = guess[0, 4:9] = 1
    table = rows_of(labels, truth, guess)
    assert table["best_iou"].tolist() == pytest.approx([5 / 9, 3 / 9, 5 / 9])
    assert table["partner"].tolist() == [2, 0, 0]
    assert table["matched_at"].tolist() == [0b11, 0, 0b11]  # at 0.50 and 0.55


def test_area_on_the_ground_uses_the_latitude_of_degrees(tmp_path):
    step = 1e-5
    at = Affine(step, 0, 8.0, 0, -step, 47.0)
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    labels = labels_of(tmp_path, truth.shape, crs="EPSG:4326", transform=at)
    table = rows_of(labels, truth, truth)
    west, east = 8 + 10 * step, 8 + 30 * step
    north, south = 47 - 10 * step, 47 - 30 * step
    corners = [(west, north), (west, south), (east, south), (east, north)]
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*zip(*corners, strict=True))
    assert table["area_m2"].tolist() == pytest.approx([abs(area)] * 2, rel=1e-4)
    assert table["edge_px"].tolist() == [10, 10]
    assert Grid(4, 4, Affine.identity(), None).square_metres_per_px is None
    assert Grid(4, 4, at, rasterio.crs.CRS.from_string(UTM)).square_metres_per_px == pytest.approx(
        step**2
    )


def test_windows_of_boxes_are_within_the_scene(labels):
    truth = Boxes(np.array([[-3.5, 2.2, 4.1, 45.0]]), np.array([1]), np.array([np.nan]))
    guess = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    row = table_of_boxes(labels, truth, guess).to_pylist()[0]
    assert [row[name] for name in ("col", "row", "width", "height")] == [0, 2, 5, 38]
    assert row["area_px"] == pytest.approx(7.6 * 42.8)
    assert row["partner"] is None
