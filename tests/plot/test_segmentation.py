"""Scores of predictions of semantic segmentation in a window."""

from __future__ import annotations

import pytest

from rvlab.errors import RasterError
from rvlab.plot._grid import segmentation
from rvlab.plot._grid.options import GridOptions, GridRow, try_read
from rvlab.plot._grid.segmentation import read_segmentation, scene_truth_ids, score_segmentation
from rvlab.raster import SceneLabels, Window, classes_from_config, scenes_from_config
from rvlab.raster.scene import RunSource
from tests.raster.samples import config, write, write_scene
from tests.raster.test_truth import box, feature, geojson


@pytest.fixture
def one(tmp_path):
    """A scene on disk whose prediction is correct except for the first 10 rows."""
    return write_scene(tmp_path)


def row_of(described, window=None, **more):
    """Return a row of the grid: a window of a scene, or the whole scene."""
    whole = config([described], **more)
    (found,), classes = scenes_from_config(whole), classes_from_config(whole)
    return GridRow(
        found.id, window, RunSource("r", "/r", classes, (found,)), SceneLabels(found, classes)
    )


def read_scored(row, max_px=64):
    """Read and score a prediction, as the grid does for a cell."""
    options, classes = GridOptions(max_px=max_px), row.run_classes
    read = read_segmentation(row, options, row.labels.scene, classes)
    truth = try_read(scene_truth_ids, row, options)
    return score_segmentation(row, options, read.ids, classes, truth)


def test_a_prediction_is_scored_on_all_pixels_of_the_window(one):
    from sklearn.metrics import f1_score

    described, ids, guess = one
    window = Window(10, 2, 60, 50)
    found = read_scored(row_of(described, window), max_px=8)
    assert found.exact
    assert max(found.ids.shape) == 8
    cut = window.slices()
    wanted = f1_score(ids[cut].ravel(), guess[cut].ravel(), average="macro")
    assert found.f1 == pytest.approx(wanted)


def test_score_ignores_only_a_null_class_named_null(one, tmp_path):
    from sklearn.metrics import f1_score

    described, ids, guess = one
    names = {"names": ["background", "building", "road"], "colors": ["grey", "red", "blue"]}
    found = read_scored(row_of(described, classes=names | {"null_class": "background"}))
    assert found.f1 == pytest.approx(f1_score(ids.ravel(), guess.ravel(), average="macro"))

    ids[30:60] = 3  # unlabelled: predictions here are not scored
    write(tmp_path / "l.tif", ids)
    found = read_scored(row_of(described))
    known = ids < 3
    assert found.f1 == pytest.approx(f1_score(ids[known], guess[known], average="macro"))


def test_huge_window_is_scored_on_displayed_pixels_and_marked_inexact(one, monkeypatch):
    assert segmentation.MAX_SCORED_PX > 2048 * 2048
    monkeypatch.setattr(segmentation, "MAX_SCORED_PX", 100)
    found = read_scored(row_of(one[0]), max_px=16)
    assert not found.exact
    assert found.ids.shape == (12, 16)


def test_prediction_without_labels_has_no_score(one):
    row = row_of(one[0] | {"label_source": None})
    assert isinstance(try_read(row.labels.truth), RasterError)
    assert read_scored(row).f1 is None


def test_score_counts_only_the_areas_of_interest(one, tmp_path):
    area = geojson(tmp_path / "aoi.json", [feature("Polygon", box(0, 12, 120, 80))])
    row = row_of(one[0] | {"aoi_uris": [area]})
    assert row.has_pixels_outside_areas()
    assert not row_of(one[0]).has_pixels_outside_areas()
    assert read_scored(row).f1 == 1.0
