"""Labels and predictions of chip classification and object detection, and their comparison.

Both tasks use rectangles with a class. They are read and matched as Raster Vision 0.31 does for
its evaluation, without importing Raster Vision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab import metrics
from rvlab.errors import RasterError, SpecError
from rvlab.raster.cells import cell_grid, cells_from_file, infer_classes
from rvlab.raster.config import BoxSource, Classes, VectorSource
from rvlab.raster.gdal import malformed
from rvlab.raster.labels import SceneLabels
from rvlab.raster.matching import box_areas, match_by_cell, match_by_iou, overlap_areas, rectangles
from rvlab.raster.scene import Scene
from rvlab.raster.vectors import read_label_features, shapes_of_features
from rvlab.raster.window import Window

CELLS, DETECTION = "chip_classification", "object_detection"

BOX_TASKS = (CELLS, DETECTION)
"""Tasks whose labels and predictions are boxes; cells are the boxes of a chip classification."""

_TRUE_PART, _GUESSED_PART = 0.8, 0.5  # minimum fraction of a box inside the scene


@dataclass(frozen=True)
class Boxes:
    """Rectangles of a scene, in scene pixels: the origin is the corner of its `bbox`.

    Args:
        bounds: Shape (n, 4): col, row, stop_col, stop_row. Cells may extend beyond the edge.
        class_ids: Shape (n,).
        scores: Shape (n,), from 0 to 1, for the class in `class_ids`; NaN for boxes without a
            score, such as labels.
        probabilities: Shape (n, classes), for predicted cells only: the softmax of the raw scores
            that Raster Vision writes; NaN for cells without scores.
    """

    bounds: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.bounds)

    def select(self, which: NDArray[Any]) -> Boxes:
        """Return the boxes at a boolean mask or at integer positions."""
        chances = None if self.probabilities is None else self.probabilities[which]
        return Boxes(self.bounds[which], self.class_ids[which], self.scores[which], chances)

    def touching(self, window: Window) -> NDArray[np.bool_]:
        """Return a mask of the boxes that overlap a window, even by part of a pixel."""
        left, top, right, bottom = self.bounds.T
        across = (right > window.col) & (left < window.stop_col)
        return np.asarray(across & (bottom > window.row) & (top < window.stop_row))

    def intersecting(self, window: Window) -> Boxes:
        """Return the boxes that overlap a window, without clipping them."""
        return self.select(self.touching(window))

    def centred_in(self, window: Window) -> NDArray[np.bool_]:
        """Return a mask of the boxes whose centre is in a window.

        Each box is centred in exactly one of the windows that tile a scene.
        """
        cols, rows = ((self.bounds[:, :2] + self.bounds[:, 2:]) / 2).T
        across = (cols >= window.col) & (cols < window.stop_col)
        return np.asarray(across & (rows >= window.row) & (rows < window.stop_row))


@dataclass(frozen=True)
class Outcomes:
    """The result of matching predictions with labels.

    Args:
        truth_found: Shape (truths,): whether a prediction of the same class matches the label.
        correct: Shape (guesses,): whether the prediction matches a label of its class.
        matched: Shape (guesses,): index of the label that the prediction matches, whatever its
            class; -1 without a match.
        iou: IoU threshold for boxes; None for cells, which must be equal.
    """

    truth_found: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    matched: NDArray[np.int64]
    iou: float | None

    @property
    def false_positives(self) -> NDArray[np.bool_]:
        """Mask of false positives, shape (guesses,), except predicted cells without label."""
        return ~self.correct if self.iou is not None else ~self.correct & (self.matched >= 0)

    @property
    def false_negatives(self) -> NDArray[np.bool_]:
        """Mask of false negatives, shape (truths,), except labelled cells without prediction."""
        if self.iou is not None:
            return ~self.truth_found
        predicted = np.zeros(len(self.truth_found), bool)
        predicted[self.matched[self.matched >= 0]] = True
        return ~self.truth_found & predicted

    def confusion(self, truth: Boxes, guess: Boxes, classes: int) -> NDArray[np.int64]:
        """Count the matched pairs by class, shape (classes, classes), rows = truth."""
        pairs = self.matched >= 0
        true, predicted = truth.class_ids[self.matched[pairs]], guess.class_ids[pairs]
        known = (true < classes) & (predicted < classes)
        codes = true[known] * classes + predicted[known]
        return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)

    def counts(self, truth: Boxes, guess: Boxes, classes: int) -> metrics.Counts:
        """Count true positives, false positives and false negatives by class, as ``eval.json``.

        Args:
            truth: The labels passed to `match_outcomes`.
            guess: The predictions passed to `match_outcomes`.
            classes: Number of classes.
        """
        matrix = self.confusion(truth, guess, classes)
        if self.iou is None:
            return metrics.counts(matrix)
        hits = np.diagonal(matrix)
        predicted, true = (
            np.bincount(boxes.class_ids, minlength=classes)[:classes] for boxes in (guess, truth)
        )
        return metrics.detection_counts(hits, predicted - hits, true - hits)


def match_outcomes(truth: Boxes, guess: Boxes, task: str, *, iou: float = 0.5) -> Outcomes:
    """Match predictions with labels as Raster Vision's evaluator of the task does.

    Args:
        truth: All or some of the boxes that `truth_boxes` returns.
        guess: All or some of the boxes that `predicted_boxes` returns.
        task: ``chip_classification`` or ``object_detection``.
        iou: IoU (intersection over union) above which two boxes match; Raster Vision uses 0.5.
            Cells match if they are equal.

    Raises:
        SpecError: If `iou` is not in [0, 1), or the task has no boxes.
    """
    if task not in BOX_TASKS:
        raise SpecError(f"{task!r} has no boxes; task must be {CELLS!r} or {DETECTION!r}.")
    if not 0 <= iou < 1:
        raise SpecError(f"iou must be at least 0 and less than 1, got {iou}.")
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
    """Return the labels of a scene that are scored: those in its areas of interest, if any.

    Boxes are clipped at the scene's edge; boxes with less than 80 % inside it are dropped. The
    result is cached.

    Raises:
        RasterError: If the scene has no labels, or rvlab cannot read them.
    """
    with malformed(f"The labels of the scene {labels.scene.id}"):
        return labels.cached("boxes", lambda: _read_truth(labels))


def predicted_boxes(scene: Scene, own: Classes, labels: SceneLabels) -> Boxes:
    """Read the predictions of a run for a scene that are scored.

    The file is read at each call.

    Args:
        scene: The scene of that run.
        own: The run's classes.
        labels: Labels of the scene that the predictions are compared with; they give the grid.

    Raises:
        RasterError: If the prediction is missing, cannot be read, or it covers another window of
            the image.
    """
    with malformed(f"The prediction of the scene {scene.id}"):
        return _predicted_cells_or_boxes(scene, own, labels)


def _predicted_cells_or_boxes(scene: Scene, own: Classes, labels: SceneLabels) -> Boxes:
    if scene.task not in BOX_TASKS:
        raise RasterError(f"Predictions of {scene.task} are not boxes.")
    if scene.prediction_uri is None:
        raise RasterError(f"The scene {scene.id} has no prediction.")
    area = _area(labels)
    if _area(labels, scene) != area:
        raise RasterError(f"The prediction covers {_area(labels, scene)}, the scene {area}.")
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
        raise RasterError(f"The labels of the scene {scene.id} are class ids, not boxes.")
    if source.unsupported:
        raise RasterError(
            f"The labels of the scene {scene.id} cannot be read: {source.unsupported}."
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
    """Return the scene's window in image pixels; like Raster Vision, do not clip its `bbox`."""
    image = labels.image_grid
    return (scene or labels.scene).image.bbox or Window(0, 0, image.width, image.height)


def _in_scored_area(boxes: Boxes, labels: SceneLabels, area: Window) -> Boxes:
    """Select the boxes in an area of interest and shift them from image to scene pixels."""
    corner = [area.col, area.row] * 2
    scored = boxes.select(_in_areas(boxes.bounds, labels))
    return Boxes(scored.bounds - corner, scored.class_ids, scored.scores, scored.probabilities)


def _in_areas(bounds: NDArray[np.float64], labels: SceneLabels) -> NDArray[np.bool_]:
    """Return a mask of the boxes that one area of interest contains completely."""
    import shapely

    aoi = labels.aoi()
    if aoi is None:
        return np.ones(len(bounds), bool)
    near = aoi.geometries
    kinds = {shape.geom_type for shape in aoi.geometries} - {"Polygon"}
    if kinds:
        raise RasterError(
            f"{labels.scene.aoi_uris[0]} has shapes of the kind {', '.join(sorted(kinds))}; "
            "an area of interest must be a polygon."
        )
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
        raise RasterError(f"{uri} has the class id {odd[0]}; it must be 0 to {len(classes) - 1}.")
    bounds = [f["geometry"].bounds for f in read]
    return np.array(bounds, np.float64).reshape(-1, 4), ids


def _part_in(bounds: NDArray[np.float64], area: Window) -> NDArray[np.float64]:
    """Return the fraction of each box inside the scene, from 0 to 1; NaN for empty boxes."""
    edge = np.array([area.col, area.row, area.stop_col, area.stop_row], np.float64)
    with np.errstate(invalid="ignore"):
        return overlap_areas(bounds, edge) / box_areas(bounds)


def _class_probabilities(
    raw: list[Any], classes: Classes, scene: Scene
) -> NDArray[np.float64] | None:
    """Return the softmax of cell scores, shape (cells, classes); None if no cell has scores."""
    if all(scores is None for scores in raw):
        return None
    lengths = {len(scores) for scores in raw if scores is not None}
    if lengths != {len(classes)}:
        raise RasterError(
            f"{scene.prediction_uri} has {min(lengths - {len(classes)})} scores per cell; "
            f"there are {len(classes)} classes."
        )
    empty = [np.nan] * len(classes)
    logits = np.array([empty if scores is None else scores for scores in raw], np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
