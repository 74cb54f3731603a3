"""Cells and boxes without Raster Vision; `test_scored` compares them with it."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import RasterError, SpecError
from rvlab.raster import (
    Boxes,
    SceneLabels,
    Window,
    classes_from_config,
    match_outcomes,
    predicted_boxes,
    scenes_from_config,
    truth_boxes,
)
from tests.raster.samples import config, photo, raster_source, scene, town, write
from tests.raster.test_truth import box, feature, geojson, inference

CC, OD = "chip_classification", "object_detection"
HEIGHT, WIDTH = 96, 128


def boxes(*rows, ids=None):
    bounds = np.array(rows, np.float64).reshape(-1, 4)
    numbers = np.array([0] * len(rows) if ids is None else ids, np.int64)
    return Boxes(bounds, numbers, np.full(len(rows), np.nan))


def open_scene(folder, *, task=OD, truth=(), guess=(), image=None, **more):
    """Return a scene with labels and predictions in GeoJSON; `more` extends the label source."""
    image = image or write(folder / "image.tif", photo(town(HEIGHT, WIDTH)))
    vector = {"type_hint": "geojson_vector_source", "transformers": [inference()]}
    vector["uris"] = [geojson(folder / "truth.json", list(truth))]
    source = {"type_hint": f"{task}_label_source", "vector_source": vector} | more
    store = {"uri": geojson(folder / "guess.json", list(guess))}
    described = scene("a", image, image, None, label_source=source, label_store=store)
    whole = config([described]) | {"type_hint": task}
    found = scenes_from_config(whole)[0]
    return found, classes_from_config(whole), SceneLabels(found, classes_from_config(whole))


def test_intersecting_selects_boxes_that_overlap_a_window_with_their_scores():
    rows = [(0, 0, 10, 10), (10, 0, 20, 10), (5, 5, 15, 15)]
    found = replace(
        boxes(*rows, ids=[0, 1, 2]),
        scores=np.array([0.1, 0.2, 0.3]),
        probabilities=np.arange(9).reshape(3, 3) / 9,
    )
    part = found.intersecting(Window(10, 2, 4, 4))
    assert part.class_ids.tolist() == [1, 2]
    assert part.scores.tolist() == [0.2, 0.3]
    assert (part.probabilities == found.probabilities[1:]).all()
    assert found.centred_in(Window(10, 2, 6, 12)).tolist() == [False, True, True]
    assert len(boxes().intersecting(Window(0, 0, 4, 4))) == 0
    assert boxes().centred_in(Window(0, 0, 4, 4)).shape == (0,)


SIDES = st.tuples(
    st.integers(0, 90), st.integers(0, 90), st.integers(1, 30), st.integers(1, 30)
).map(lambda s: (s[0], s[1], s[0] + s[2], s[1] + s[3]))


@given(st.lists(SIDES, max_size=30))
def test_each_box_is_centred_in_exactly_one_tile(rows):
    found = boxes(*rows)
    tiles = [Window(col, row, 32, 32) for row in range(0, 128, 32) for col in range(0, 128, 32)]
    assert (sum(found.centred_in(tile).astype(int) for tile in tiles) == 1).all()


@given(st.lists(SIDES, max_size=12), st.lists(SIDES, max_size=12), st.sampled_from([CC, OD]))
def test_outcomes_are_consistent(true, said, task):
    truth, guess = boxes(*set(true), ids=None), boxes(*set(said))
    found = match_outcomes(truth, guess, task, iou=0.3)
    partners = found.matched[found.correct]
    assert len(set(partners.tolist())) == len(partners)
    assert found.truth_found.sum() == found.correct.sum()
    assert found.truth_found[partners].all()
    tp, fp, fn = found.counts(truth, guess, 1)
    assert (tp.sum(), fp.sum(), fn.sum()) == (
        found.correct.sum(), found.false_positives.sum(), found.false_negatives.sum()
    )  # fmt: skip
    again = match_outcomes(truth, truth, task)
    assert again.truth_found.all()
    assert again.correct.all()


def test_match_needs_equal_classes_and_iou_above_the_threshold():
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), ids=[0, 1, 2])
    guess = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 5), ids=[0, 2, 2])
    found = match_outcomes(truth, guess, OD)
    assert found.matched.tolist() == [0, 1, -1]
    assert found.correct.tolist() == found.truth_found.tolist() == [True, False, False]
    assert found.confusion(truth, guess, 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    tp, fp, fn = found.counts(truth, guess, 3)
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([1, 0, 0], [0, 0, 2], [0, 1, 1])
    assert match_outcomes(truth, guess, OD, iou=0.49).correct.tolist() == [True, False, True]


def test_label_that_loses_its_best_prediction_remains_unmatched():
    truth = boxes((0, 0, 10, 10), (0, 1, 10, 11))
    guess = boxes((0, 0, 10, 10), (0, 3, 10, 13))
    assert match_outcomes(truth, guess, OD).matched.tolist() == [0, -1]


def test_cells_without_a_counterpart_are_neither_false_negatives_nor_false_positives():
    truth = boxes((0, 0, 8, 8), (8, 0, 16, 8), (0, 8, 8, 16), ids=[0, 1, 1])
    guess = boxes((8, 0, 16, 8), (0, 8, 8, 16), (8, 8, 16, 16), ids=[0, 1, 1])
    found = match_outcomes(truth, guess, CC)
    assert found.matched.tolist() == [1, 2, -1]
    assert found.false_positives.tolist() == [True, False, False]
    assert found.false_negatives.tolist() == [False, True, False]
    tp, fp, fn = found.counts(truth, guess, 2)
    assert (tp.tolist(), fp.tolist(), fn.tolist()) == ([0, 1], [1, 0], [0, 1])


def test_match_outcomes_rejects_unknown_tasks_and_invalid_thresholds():
    with pytest.raises(SpecError, match=r"'semantic_segmentation' has no boxes"):
        match_outcomes(boxes(), boxes(), "semantic_segmentation")
    with pytest.raises(SpecError, match=r"iou must be at least 0 and less than 1, got 50"):
        match_outcomes(boxes(), boxes(), OD, iou=50)


def test_labels_and_predictions_are_in_pixels_of_the_scene(tmp_path):
    image = write(tmp_path / "i.tif", photo(town(HEIGHT, WIDTH)))
    cropped = raster_source(image, bbox=[10, 20, 90, 120])
    truth = [feature("Polygon", box(30, 40), class_id=1), feature("Polygon", box(0, 0), class_id=1)]
    guess = [feature("Polygon", box(32, 41), class_id=2, score=0.75)]
    a, own, labels = open_scene(tmp_path, truth=truth, guess=guess, image=cropped)
    assert truth_boxes(labels).bounds.tolist() == [[10, 30, 24, 39]]
    found = predicted_boxes(a, own, labels)
    assert found.bounds.tolist() == [[12, 31, 26, 40]]
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([2], [0.75])
    assert truth_boxes(labels) is truth_boxes(labels)
    other = replace(a, image=replace(a.image, bbox=Window(0, 0, 50, 50)))
    with pytest.raises(RasterError, match=r"The prediction covers 50 × 50 px at col 0, row 0, the"):
        predicted_boxes(other, own, labels)


def test_cells_without_a_shape_have_the_background_class(tmp_path):
    rule = {"infer_cells": True, "cell_sz": 50, "background_class_id": 2}
    a, own, labels = open_scene(tmp_path, task=CC, **rule)
    found = truth_boxes(labels)
    assert found.bounds[-1].tolist() == [100, 50, 150, 100]
    assert found.class_ids.tolist() == [2] * 6
    assert len(predicted_boxes(a, own, labels)) == 0


def test_a_cell_without_scores_has_no_probabilities(tmp_path):
    cells = [
        feature("Polygon", box(0, 0, 10, 10), class_id=1, scores=[0.0, 1000.0, 0.0, 0.0]),
        feature("Polygon", box(10, 0, 10, 10), class_id=0),
    ]
    found = predicted_boxes(*open_scene(tmp_path, task=CC, guess=cells))
    assert found.probabilities[0].tolist() == [0, 1, 0, 0]
    assert found.scores[0] == 1
    assert np.isnan(found.scores[1])
    bare = predicted_boxes(*open_scene(tmp_path, task=CC, guess=cells[1:]))
    assert bare.probabilities is None


def test_error_messages_name_the_unreadable_file_or_value(tmp_path):
    one = [feature("Polygon", box(5, 5), class_id=9, scores=[1.0, 2.0])]
    a, own, labels = open_scene(tmp_path, task=CC, truth=one, guess=one)
    for read in (lambda: truth_boxes(labels), lambda: predicted_boxes(a, own, labels)):
        with pytest.raises(RasterError, match=r"json has the class id 9; it must be 0 to 3"):
            read()
    one[0]["properties"]["class_id"] = 1
    a, own, labels = open_scene(tmp_path, task=CC, truth=one, guess=one)
    with pytest.raises(RasterError, match=r"has 2 scores per cell; there are 4 classes"):
        predicted_boxes(a, own, labels)
    with pytest.raises(RasterError, match=r"scene a has no prediction"):
        predicted_boxes(replace(a, prediction_uri=None), own, labels)
    with pytest.raises(RasterError, match=r"missing.json does not exist"):
        predicted_boxes(replace(a, prediction_uri=str(tmp_path / "missing.json")), own, labels)
    with pytest.raises(RasterError, match=r"Predictions of semantic_segmentation are not boxes"):
        predicted_boxes(replace(a, task="semantic_segmentation"), own, labels)
    with pytest.raises(RasterError, match=r"labels of the kind chip_classification_label_source"):
        labels.truth()
    (tmp_path / "aoi.json").write_text(json.dumps(feature("LineString", [(0, 0), (50, 50)])))
    inside = SceneLabels(replace(a, aoi_uris=(str(tmp_path / "aoi.json"),)), own)
    with pytest.raises(
        RasterError, match=r"of the kind LineString; an area of interest must be a pol"
    ):
        truth_boxes(inside)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"lazy": True}, "its labels are lazy"),
        ({"infer_cells": True}, "has no cell_sz"),
        ({"vector_source": None}, "has no vector_source"),
        ({"vector_source": {"type_hint": "tiles", "uris": "x"}}, "a tiles is not supported"),
    ],
)
def test_error_gives_the_reason_why_labels_are_not_supported(tmp_path, more, why):
    _, _, labels = open_scene(tmp_path, task=CC, **more)
    with pytest.raises(RasterError, match=why):
        truth_boxes(labels)


def test_truth_boxes_rejects_labels_of_other_kinds(tmp_path):
    image = write(tmp_path / "i.tif", photo(town(HEIGHT, WIDTH)))
    whole = config([scene("a", image, image, None), scene("b", image, image, None)])
    a, b = scenes_from_config(whole)
    with pytest.raises(RasterError, match=r"labels of the scene a are class ids, not boxes"):
        truth_boxes(SceneLabels(a, classes_from_config(whole)))
    with pytest.raises(RasterError, match=r"The scene b has no labels"):
        truth_boxes(SceneLabels(replace(b, truth=None), classes_from_config(whole)))


def test_prediction_uri_defaults_to_the_predict_folder_without_label_store():
    described = scene("a", "/i.tif", "/l.tif", None) | {"label_store": None}
    whole = config([described]) | {"type_hint": CC, "root_uri": "s3://b/run"}
    assert scenes_from_config(whole)[0].prediction_uri == "s3://b/run/predict/a.json"


def test_thousands_of_boxes_are_matched_within_two_seconds():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 1500, (4000, 2))
    truth = boxes(*np.hstack([corners, corners + rng.integers(20, 60, (4000, 2))]))
    guess = boxes(*(truth.bounds + rng.integers(-3, 4, (4000, 1))))
    begun = time.process_time()
    found = match_outcomes(truth, guess, OD)
    assert found.correct.mean() > 0.8
    assert time.process_time() - begun < 2
