"""The labels and predictions of chip classification and object detection, and which are right.

Both are rectangles with a class. They are read and compared as Raster Vision 0.31 does it to score
them, without Raster Vision itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab import metrics
from rvlab.errors import RasterError, SpecError
from rvlab.raster.cells import cell_grid, cells_from_file, infer_classes
from rvlab.raster.gdal import malformed
from rvlab.raster.labels import SceneLabels
from rvlab.raster.matching import box_areas, match_by_cell, match_by_iou, overlap_areas, rectangles
from rvlab.raster.scene import BoxSource, Classes, Scene, VectorSource
from rvlab.raster.vectors import read_label_features, shapes_of_features
from rvlab.raster.window import Window

CELLS, DETECTION = "chip_classification", "object_detection"

_TRUE_PART, _GUESSED_PART = 0.8, 0.5  # of a box that must lie in the scene


@dataclass(frozen=True)
class Boxes:
    """Rectangles of a scene, in its pixels, counted as windows are: from its `bbox`'s corner.

    Args:
        bounds: Shape (n, 4): col, row, stop_col, stop_row. Cells may stand out over the edge.
        class_ids: Shape (n,).
        scores: Shape (n,), from 0 to 1, of the class named; NaN where there is none, as in truth.
        probabilities: Shape (n, classes), of predicted cells only: the softmax of the raw numbers
            that Raster Vision writes; NaN where it wrote none.
    """

    bounds: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.bounds)

    def select(self, which: NDArray[Any]) -> Boxes:
        """Some of them, by a mask or by their places."""
        chances = None if self.probabilities is None else self.probabilities[which]
        return Boxes(self.bounds[which], self.class_ids[which], self.scores[which], chances)

    def touching(self, window: Window) -> NDArray[np.bool_]:
        """Which of them share a part of a pixel with a window."""
        left, top, right, bottom = self.bounds.T
        across = (right > window.col) & (left < window.stop_col)
        return np.asarray(across & (bottom > window.row) & (top < window.stop_row))

    def intersecting(self, window: Window) -> Boxes:
        """Those that touch a window, uncut."""
        return self.select(self.touching(window))

    def centred_in(self, window: Window) -> NDArray[np.bool_]:
        """Whose centre lies in a window: of windows that tile the scene, in one each."""
        cols, rows = ((self.bounds[:, :2] + self.bounds[:, 2:]) / 2).T
        across = (cols >= window.col) & (cols < window.stop_col)
        return np.asarray(across & (rows >= window.row) & (rows < window.stop_row))


@dataclass(frozen=True)
class Outcomes:
    """Which predictions are right, and which truths were found.

    Args:
        truth_found: Shape (truths,): whether a prediction of the right class matches it.
        correct: Shape (guesses,): whether it matches a truth of its class.
        matched: Shape (guesses,): the place of the truth it matches, whatever the class; -1: none.
        iou: By more than which boxes must overlap; None for cells, which must be equal.
    """

    truth_found: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    matched: NDArray[np.int64]
    iou: float | None

    @property
    def false_positives(self) -> NDArray[np.bool_]:
        """Shape (guesses,): false alarms. A predicted cell that nobody labelled is none."""
        return ~self.correct if self.iou is not None else ~self.correct & (self.matched >= 0)

    @property
    def false_negatives(self) -> NDArray[np.bool_]:
        """Shape (truths,): misses. A labelled cell that was not predicted at all is none."""
        if self.iou is not None:
            return ~self.truth_found
        predicted = np.zeros(len(self.truth_found), bool)
        predicted[self.matched[self.matched >= 0]] = True
        return ~self.truth_found & predicted

    def confusion(self, truth: Boxes, guess: Boxes, classes: int) -> NDArray[np.int64]:
        """Counts of the pairs that match, shape (classes, classes), rows = truth."""
        pairs = self.matched >= 0
        true, said = truth.class_ids[self.matched[pairs]], guess.class_ids[pairs]
        known = (true < classes) & (said < classes)
        codes = true[known] * classes + said[known]
        return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)

    def counts(self, truth: Boxes, guess: Boxes, classes: int) -> metrics.Counts:
        """Hits, false alarms and misses of each class, as ``eval.json`` has them.

        Args:
            truth: What `match_outcomes` was given.
            guess: The same.
            classes: How many there are.
        """
        matrix = self.confusion(truth, guess, classes)
        if self.iou is None:
            return metrics.counts(matrix)
        hits = np.diagonal(matrix)
        said, true = (
            np.bincount(boxes.class_ids, minlength=classes)[:classes] for boxes in (guess, truth)
        )
        return metrics.detection_counts(hits, said - hits, true - hits)


def match_outcomes(truth: Boxes, guess: Boxes, task: str, *, iou: float = 0.5) -> Outcomes:
    """Match predictions with the truth as Raster Vision's evaluator of the task does.

    Args:
        truth: As `truth_boxes` returns them, or a part of them.
        guess: As `predicted_boxes` returns them, or a part of them.
        task: ``chip_classification`` or ``object_detection``.
        iou: Of two boxes the part of their union that both cover; they match above it. Raster
            Vision's is 0.5. Cells match where they are equal.

    Raises:
        SpecError: If `iou` is not from 0 up to 1, or the task is another.
    """
    if task not in (CELLS, DETECTION):
        raise SpecError(f"{task!r} has no boxes; {CELLS!r} and {DETECTION!r} have.")
    if not 0 <= iou < 1:
        raise SpecError(f"iou={iou} is no overlap to ask for; give one from 0 up to 1.")
    if task == CELLS:
        matched = match_by_cell(truth.bounds, guess.bounds)
    else:
        matched = match_by_iou(truth.bounds, guess.bounds, iou)
    right = matched >= 0
    right[right] = truth.class_ids[matched[right]] == guess.class_ids[right]
    found = np.zeros(len(truth), bool)
    found[matched[right]] = True
    return Outcomes(found, right, matched, None if task == CELLS else iou)


def truth_boxes(labels: SceneLabels) -> Boxes:
    """The labels of a scene that are scored: in its areas of interest, if it has some.

    Boxes are cut at the scene's edge; those less than 80 % in it are dropped. They are read once.

    Raises:
        RasterError: If the scene has no labels, or they cannot be read here.
    """
    with malformed(f"The truth of the scene {labels.scene.id}"):
        return labels.cached("boxes", lambda: _read_truth(labels))


def predicted_boxes(scene: Scene, own: Classes, labels: SceneLabels) -> Boxes:
    """What a run predicted for a scene, as far as it is scored. The file is read at each call.

    Args:
        scene: Of that run.
        own: Its classes.
        labels: Of the scene that it is put beside; they know where its pixels lie.

    Raises:
        RasterError: If there is no prediction, it cannot be read, or it is of another part of the
            image.
    """
    with malformed(f"The prediction of the scene {scene.id}"):
        return _predicted(scene, own, labels)


def _predicted(scene: Scene, own: Classes, labels: SceneLabels) -> Boxes:
    if scene.task not in (CELLS, DETECTION):
        raise RasterError(f"Predictions of {scene.task} are no boxes.")
    if scene.prediction_uri is None:
        raise RasterError(f"The scene {scene.id} has no prediction.")
    area = _area(labels)
    if _area(labels, scene) != area:
        raise RasterError(f"The prediction is of {_area(labels, scene)}, the scene has {area}.")
    source = VectorSource(uris=(scene.prediction_uri,))
    read = read_label_features(source, labels.image_grid, own)
    bounds, ids = _bounds_and_ids(read, own, scene.prediction_uri)
    if scene.task == CELLS:
        chances = _class_probabilities([f["properties"].get("scores") for f in read], own, scene)
        cells, rows = cells_from_file(bounds, area)
        ids = ids[rows]
        named = np.full(len(rows), np.nan)
        if chances is not None:
            chances = chances[rows]
            named = np.take_along_axis(chances, ids[:, None], axis=1)[:, 0]
        return _in_scored_area(Boxes(cells, ids, named, chances), labels, area)
    given_scores = [f["properties"].get("score") for f in read]
    scores = np.array([np.nan if s is None else float(s) for s in given_scores], np.float64)
    inside = _part_in(bounds, area) >= _GUESSED_PART
    return _in_scored_area(Boxes(bounds, ids, scores).select(inside), labels, area)


def _read_truth(labels: SceneLabels) -> Boxes:
    scene, source = labels.scene, labels.scene.truth
    if source is None:
        raise RasterError(f"The scene {scene.id} has no labels.")
    if not isinstance(source, BoxSource):
        raise RasterError(f"The labels of the scene {scene.id} are no boxes, but class ids.")
    if source.unsupported:
        raise RasterError(
            f"The truth of the scene {scene.id} cannot be read: {source.unsupported}."
        )
    read = read_label_features(source.shapes, labels.image_grid, labels.classes)
    bounds, ids = _bounds_and_ids(read, labels.classes, ", ".join(source.shapes.uris))
    area = _area(labels)
    if source.rule is not None:
        bounds = cell_grid(area, source.rule.size_px)
        ids = infer_classes(bounds, shapes_of_features(read), source.rule)
    elif source.is_cells:
        bounds, rows = cells_from_file(bounds, area)
        ids = ids[rows]
    else:
        inside = _part_in(bounds, area) >= _TRUE_PART
        edge = [area.col, area.row, area.stop_col, area.stop_row]
        bounds, ids = np.clip(bounds[inside], edge[:2] * 2, edge[2:] * 2), ids[inside]
    return _in_scored_area(Boxes(bounds, ids, np.full(len(ids), np.nan)), labels, area)


def _area(labels: SceneLabels, scene: Scene | None = None) -> Window:
    """The scene in pixels of the whole image; Raster Vision does not cut a `bbox` at its edge."""
    image = labels.image_grid
    return (scene or labels.scene).image.bbox or Window(0, 0, image.width, image.height)


def _in_scored_area(boxes: Boxes, labels: SceneLabels, area: Window) -> Boxes:
    """Those in an area of interest, in pixels of the scene instead of the image's."""
    corner = [area.col, area.row] * 2
    kept = boxes.select(_in_areas(boxes.bounds, labels, area))
    return Boxes(kept.bounds - corner, kept.class_ids, kept.scores, kept.probabilities)


def _in_areas(bounds: NDArray[np.float64], labels: SceneLabels, area: Window) -> NDArray[np.bool_]:
    """Which lie in one area of interest, not in two together."""
    import shapely

    aoi = labels.aoi()
    if aoi is None:
        return np.ones(len(bounds), bool)
    kinds = {shape.geom_type for shape in aoi.geometries} - {"Polygon"}
    if kinds:
        raise RasterError(
            f"{labels.scene.aoi_uris[0]} holds shapes of the kind {', '.join(sorted(kinds))}; "
            "an area of interest is a polygon."
        )
    whole = shapely.box(area.col, area.row, area.stop_col, area.stop_row)
    near = aoi.geometries[shapely.intersects(aoi.geometries, whole)]
    if not len(near):  # so Raster Vision does, which then takes it to have none
        return np.ones(len(bounds), bool)
    inside = np.zeros(len(bounds), bool)
    _, found = shapely.STRtree(rectangles(bounds)).query(near, predicate="contains")
    inside[found] = True
    return inside


def _bounds_and_ids(
    read: list[dict[str, Any]], classes: Classes, uri: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    ids = np.array([int(f["properties"]["class_id"]) for f in read], np.int64)
    odd = ids[(ids < 0) | (ids >= len(classes))]
    if len(odd):
        raise RasterError(f"{uri} has a class {odd[0]}; there are 0 to {len(classes) - 1}.")
    bounds = [f["geometry"].bounds for f in read]
    return np.array(bounds, np.float64).reshape(-1, 4), ids


def _part_in(bounds: NDArray[np.float64], area: Window) -> NDArray[np.float64]:
    """The part of each box that lies in the scene, from 0 to 1; NaN if it has no area."""
    edge = np.array([area.col, area.row, area.stop_col, area.stop_row], np.float64)
    with np.errstate(invalid="ignore"):
        return overlap_areas(bounds, edge) / box_areas(bounds)


def _class_probabilities(
    raw: list[Any], classes: Classes, scene: Scene
) -> NDArray[np.float64] | None:
    """Softmax of the scores of cells, shape (cells, classes); None if none has some."""
    if all(scores is None for scores in raw):
        return None
    lengths = {len(scores) for scores in raw if scores is not None}
    if lengths != {len(classes)}:
        raise RasterError(
            f"{scene.prediction_uri} has {min(lengths - {len(classes)})} scores a cell; "
            f"there are {len(classes)} classes."
        )
    empty = [np.nan] * len(classes)
    logits = np.array([empty if scores is None else scores for scores in raw], np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
