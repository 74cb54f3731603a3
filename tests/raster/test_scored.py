"""Comparison of cells, boxes and their counts with Raster Vision.

Raster Vision's configs build the scenes, its label stores write the predictions, and its pipeline's
``eval`` writes eval.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rvlab.raster import (
    SceneLabels,
    classes_from_config,
    match_outcomes,
    predicted_boxes,
    scenes_from_config,
    truth_boxes,
)
from tests.raster.samples import UTM, photo, town, write
from tests.raster.test_truth import box, feature, geojson

pytest.importorskip("rastervision.core")

HEIGHT, WIDTH, CELL = 190, 250, 24
BBOX = (21, 38, 171, 229)  # top, left, bottom, right
NAMES = ("field", "house", "tower")
quirks = pytest.mark.filterwarnings("ignore")


class Town:
    """A scene on disk, built by Raster Vision and read by rvlab from the saved config."""

    def __init__(self, folder, task, source, *, crs, bbox=None, aoi=None):
        from rastervision.core.backend import BackendConfig
        from rastervision.core.data import (
            ClassConfig,
            DatasetConfig,
            RasterioSourceConfig,
            SceneConfig,
        )
        from rastervision.core.rv_pipeline import (
            ChipClassificationConfig,
            ObjectDetectionChipOptions,
            ObjectDetectionConfig,
            ObjectDetectionWindowSamplingConfig,
        )
        from rastervision.pipeline.config import save_pipeline_config

        image = write(folder / "image.tif", photo(town(HEIGHT, WIDTH)), crs=crs)
        kinds = {
            "chip_classification": ChipClassificationConfig,
            "object_detection": ObjectDetectionConfig,
        }
        sampling = ObjectDetectionWindowSamplingConfig(size=CELL)
        self.config = kinds[task](
            root_uri=str(folder),
            dataset=DatasetConfig(
                class_config=ClassConfig(names=list(NAMES), colors=["grey", "orange", "blue"]),
                train_scenes=[],
                validation_scenes=[
                    SceneConfig(
                        id="a",
                        raster_source=RasterioSourceConfig(uris=[image], bbox=bbox),
                        label_source=source,
                        aoi_uris=aoi,
                    )
                ],
            ),
            backend=BackendConfig(),
            chip_options=ObjectDetectionChipOptions(sampling=sampling),
        )
        self.config.update()
        self.pipeline = self.config.build(str(folder / "tmp"))
        own = self.config.dataset.class_config
        self.scene = self.config.dataset.validation_scenes[0].build(own, str(folder / "tmp"))
        save_pipeline_config(self.config, self.config.get_config_uri())
        written = json.loads((folder / "pipeline-config.json").read_text())
        self.classes, (self.ours,) = classes_from_config(written), scenes_from_config(written)
        self.labels = SceneLabels(self.ours, self.classes)

    @property
    def corner(self):
        """The scene's corner in the image: col, row, col, row."""
        return [self.scene.bbox.xmin, self.scene.bbox.ymin] * 2

    def scored(self, labels):
        """Return the labels that Raster Vision's evaluator compares."""
        aoi = self.scene.aoi_polygons
        return labels.filter_by_aoi(aoi) if aoi else labels

    def eval_json(self):
        """Return Raster Vision's TP, FP and FN of each class, and the confusion matrix."""
        self.pipeline.eval()
        written = Path(self.config.eval_uri) / "validation_scenes/eval.json"
        *each, average = json.loads(written.read_text())["per_scene"]["a"]
        counts = [
            (i["true_pos"], i["false_pos"], i["false_neg"])
            if "true_pos" in i
            else (i["conf_mat"][1][1], i["conf_mat"][0][1], i["conf_mat"][1][0])
            for i in each
        ]
        return counts, average.get("conf_mat")

    def ours_and_theirs(self):
        """Return the counts of rvlab and of Raster Vision, and both confusion matrices."""
        truth = truth_boxes(self.labels)
        guess = predicted_boxes(self.ours, self.classes, self.labels)
        found = match_outcomes(truth, guess, self.ours.task)
        counts = found.counts(truth, guess, len(NAMES))
        ours = [tuple(map(int, row)) for row in zip(*counts, strict=True)]
        assert [
            int(n.sum()) for n in (found.correct, found.false_positives, found.false_negatives)
        ] == [sum(row[i] for row in ours) for i in range(3)]
        theirs, confusion = self.eval_json()
        return ours, theirs, found.confusion(truth, guess, len(NAMES)).tolist(), confusion


def vectors(folder, features):
    from rastervision.core.data import GeoJSONVectorSourceConfig

    return GeoJSONVectorSourceConfig(uris=[geojson(folder / "labels.json", features)])


def spread(seed, crs, many=40, largest=40, outside=20):
    """Return rectangles and slanted shapes of all classes, some of them beyond the image."""
    rng, out = np.random.default_rng(seed), []
    for number in range(many):
        col, row = rng.integers(-outside, [WIDTH, HEIGHT]).tolist()
        width, height = rng.integers(2, largest, 2).tolist()
        points = box(col, row, width, height)
        if number % 3 == 0:
            points[0] = (points[0][0] + width // 2, points[0][1])
        name = NAMES[rng.integers(len(NAMES))]
        more = {"class_name": name} if number % 2 else {"class_id": NAMES.index(name)}
        kind = "MultiPolygon" if number % 10 == 9 else "Polygon"
        if kind == "MultiPolygon":
            points = box(col, row, 8, 6) + box(col + 11, row, 6, 8)
        out.append(feature(kind, points, crs, **more))
    return out


def areas(folder, crs, *squares):
    found = [feature("Polygon", box(*square), crs) for square in squares]
    return [geojson(folder / "aoi.json", found)]


AREAS = {
    "whole": (),
    "two": ((20, 15, 120, 100), (130, 60, 100, 120)),
    "overlapping": ((10, 10, 130, 170), (70, 10, 130, 170)),
    "elsewhere": ((WIDTH + 300, 0, 50, 50),),
}

WHERE = [
    (UTM, None, "whole"),
    (None, None, "two"),
    (UTM, BBOX, "overlapping"),
    (None, BBOX, "whole"),
    (UTM, BBOX, "elsewhere"),
    (UTM, (0, 0, 400, 90), "whole"),
]


def detection(folder, seed, crs, bbox, area, **more):
    from rastervision.core.data import ObjectDetectionLabelSourceConfig

    shapes = vectors(folder, spread(seed, crs, **more))
    aoi = areas(folder, crs, *AREAS[area]) if AREAS[area] else None
    source = ObjectDetectionLabelSourceConfig(vector_source=shapes)
    return Town(folder, "object_detection", source, crs=crs, bbox=bbox, aoi=aoi)


def classification(folder, features, crs, bbox, area, **rule):
    from rastervision.core.data import ChipClassificationLabelSourceConfig

    source = ChipClassificationLabelSourceConfig(vector_source=vectors(folder, features), **rule)
    aoi = areas(folder, crs, *AREAS[area]) if AREAS[area] else None
    return Town(folder, "chip_classification", source, crs=crs, bbox=bbox, aoi=aoi)


def detect(made, seed, *, jitter=4, extra=15):
    """Save boxes near the true ones, some twice, and random ones."""
    from rastervision.core.data import ObjectDetectionLabels

    rng = np.random.default_rng(seed)
    true = made.scene.label_source.get_labels().get_npboxes()
    near = np.concatenate([true, true[: len(true) // 2]])
    near = near + rng.integers(-jitter, jitter + 1, near.shape) * (rng.random((len(near), 1)) < 0.7)
    corner = rng.uniform(-10, [HEIGHT, WIDTH], (extra, 2))
    far = np.hstack([corner, corner + rng.uniform(3, 30, (extra, 2))])
    boxes = np.concatenate([near, far])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    ids = rng.integers(0, len(NAMES), len(boxes))
    scores = rng.random(len(boxes))
    made.scene.label_store.save(ObjectDetectionLabels(boxes.astype(float), ids, scores))


def classify(made, seed, *, skip=0.1, size=CELL):
    """Save scores of most cells of the scene."""
    from rastervision.core.data import ChipClassificationLabels

    rng = np.random.default_rng(seed)
    cells = [c for c in made.scene.extent.get_windows(size, size) if rng.random() >= skip]
    raw = rng.normal(0, 3, (len(cells), len(NAMES)))
    made.scene.label_store.save(ChipClassificationLabels.from_predictions(cells, raw))
    return raw


def same_boxes(made):
    """Assert that the true boxes equal Raster Vision's, in its order; return them."""
    theirs = made.scored(made.scene.label_source.get_labels())
    bounds = theirs.get_npboxes()[:, [1, 0, 3, 2]] - made.corner
    ours = truth_boxes(made.labels)
    assert np.array_equal(ours.bounds, bounds)
    assert ours.class_ids.tolist() == theirs.get_class_ids().astype(int).tolist()
    assert np.isnan(ours.scores).all()
    return ours


def same_cells(made):
    """Assert that the true cells equal Raster Vision's in any order; return them."""
    theirs = made.scored(made.scene.label_source.get_labels())
    expected = {
        tuple(np.subtract([c.xmin, c.ymin, c.xmax, c.ymax], made.corner).tolist()): int(
            theirs.get_cell_class_id(c)
        )
        for c in theirs.get_cells()
    }
    ours = truth_boxes(made.labels)
    pairs = zip(ours.bounds.astype(int).tolist(), ours.class_ids.tolist(), strict=True)
    assert {tuple(cell): number for cell, number in pairs} == expected
    assert len(ours) == len(expected)
    return ours


@quirks
@pytest.mark.parametrize(("crs", "bbox", "area"), WHERE)
@pytest.mark.parametrize("seed", range(4))
def test_box_counts_equal_those_of_raster_vision(tmp_path, seed, crs, bbox, area):
    made = detection(tmp_path, seed, crs, bbox, area)
    assert len(same_boxes(made)) > 3
    detect(made, seed)
    ours, theirs, _, _ = made.ours_and_theirs()
    assert ours == theirs
    assert sum(row[0] for row in ours) > 0


@quirks
@pytest.mark.parametrize("seed", range(4))
def test_ties_between_boxes_are_resolved_as_in_raster_vision(tmp_path, seed):
    made = detection(tmp_path, seed, UTM, None, "whole", many=150, largest=9)
    detect(made, seed, jitter=1, extra=0)
    ours, theirs, _, _ = made.ours_and_theirs()
    assert ours == theirs


RULES = {
    "shape": {"ioa_thresh": 0.3},
    "cell": {"ioa_thresh": 0.1, "use_intersection_over_cell": True},
    "least": {"ioa_thresh": 0.4, "pick_min_class_id": True},
    "any": {"ioa_thresh": 0.0, "pick_min_class_id": True, "use_intersection_over_cell": True},
}


@quirks
@pytest.mark.parametrize(("crs", "bbox", "area"), WHERE)
@pytest.mark.parametrize("rule", RULES)
def test_counts_of_inferred_cells_equal_those_of_raster_vision(tmp_path, rule, crs, bbox, area):
    seed = list(RULES).index(rule)
    more = RULES[rule] | {"infer_cells": True, "background_class_id": seed % 3}
    features = spread(seed, crs, many=120, largest=25)
    made = classification(tmp_path, features, crs, bbox, area, **more)
    assert len(same_cells(made)) > 3
    classify(made, seed)
    ours, theirs, confusion, expected = made.ours_and_theirs()
    assert (ours, confusion) == (theirs, expected)


@quirks
@pytest.mark.parametrize("seed", range(3))
def test_ties_between_shapes_are_resolved_as_in_raster_vision(tmp_path, seed):
    rule = {"infer_cells": True, "background_class_id": 0}
    features = spread(seed, UTM, many=300, largest=5)
    same_cells(classification(tmp_path, features, UTM, None, "whole", **rule))


def given_cells(seed, crs, *, first=0, corner=(0, 0)):
    """Return a grid of cells that starts `first` cells from the corner, with one duplicate."""
    rng = np.random.default_rng(seed)
    found = [
        feature(
            "Polygon",
            # 0.4 px right of the other features; rounded down to the same pixel.
            box(corner[0] + col * CELL + 0.4, corner[1] + row * CELL, CELL, CELL),
            crs,
            class_id=int(rng.integers(len(NAMES))),
        )
        for row in range(first, 8)
        for col in range(first, 11)
    ]
    return [*found, {**found[-1], "properties": {"class_id": 0}}]


@quirks
@pytest.mark.parametrize(("crs", "bbox", "area"), WHERE)
@pytest.mark.parametrize("first", [0, -2])
def test_counts_of_given_cells_equal_those_of_raster_vision(tmp_path, first, crs, bbox, area):
    corner = (bbox[1], bbox[0]) if bbox else (0, 0)
    features = given_cells(7, crs, first=first, corner=corner)
    made = classification(tmp_path, features, crs, bbox, area)
    assert len(same_cells(made)) > 3
    classify(made, 7)
    ours, theirs, confusion, expected = made.ours_and_theirs()
    assert (ours, confusion) == (theirs, expected)


@quirks
def test_cell_scores_are_the_softmax_of_the_written_scores(tmp_path):
    made = classification(tmp_path, given_cells(1, UTM), UTM, None, "whole")
    raw = classify(made, 1, skip=0)
    guess = predicted_boxes(made.ours, made.classes, made.labels)
    expected = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    assert np.allclose(guess.probabilities, expected)
    assert np.allclose(guess.scores, expected.max(axis=1))
    assert (guess.class_ids == raw.argmax(axis=1)).all()


@quirks
def test_box_scores_equal_the_written_scores(tmp_path):
    made = detection(tmp_path, 1, UTM, None, "whole")
    detect(made, 1)
    guess = predicted_boxes(made.ours, made.classes, made.labels)
    assert np.allclose(guess.scores, made.scene.label_store.get_labels().get_scores())
    assert guess.probabilities is None


@quirks
@pytest.mark.parametrize("crs", [UTM, None])
def test_scene_without_predicted_boxes_has_only_false_negatives(tmp_path, crs):
    from rastervision.core.data import ObjectDetectionLabels

    made = detection(tmp_path, 2, crs, None, "whole")
    made.scene.label_store.save(ObjectDetectionLabels.make_empty())
    ours, theirs, _, _ = made.ours_and_theirs()
    assert ours == theirs
    assert sum(row[2] for row in ours) == len(truth_boxes(made.labels))


@quirks
def test_scene_without_true_boxes_has_only_false_positives(tmp_path):
    made = detection(tmp_path, 2, UTM, None, "whole", many=0)
    detect(made, 2)
    ours, theirs, _, _ = made.ours_and_theirs()
    assert ours == theirs
    assert sum(row[1] for row in ours) > 0
    assert len(same_boxes(made)) == 0
