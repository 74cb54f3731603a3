"""Metrics of objects: true and predicted components of masks, or boxes, matched one to one.

`rvlab.metrics` computes precision, recall and F1 from the counts of objects. SpaceNet's metric is
the F1 at an IoU of 0.5 (Van Etten, Lindenbaum and Bacastow, "SpaceNet: A remote sensing dataset
and challenge series", arXiv:1807.01232). Average precision is defined as in COCO (Lin et al.,
"Microsoft COCO: Common objects in context", ECCV 2014, and its evaluation code): the mean, over
101 values of recall from 0 to 1, of the highest precision at that recall or a larger one. mAP is
its mean over the IoUs 0.50, 0.55, … 0.95 and over the classes that have true objects.

**Detections per image.** COCO counts the 100 highest scores of a class in each photo. A scene of a
thousand trees would have a recall of at most 0.1, so no limit is the default here. With
``max_detections=100`` the numbers are those of COCO's evaluation code for any scenes, without it
for scenes with at most 100 predictions of a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rvlab import metrics
from rvlab.errors import SpecError

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds; bit i of the column ``matched_at`` is for the i-th."""

RECALLS = np.linspace(0, 1, 101)
"""The values of recall at which COCO averages the precision."""


@dataclass(frozen=True)
class ScoredObjects:
    """True and predicted objects, one value per object.

    Args:
        is_truth: True for objects of the labels, False for predicted objects.
        scenes: The number of the object's scene, from 0.
        class_ids: The number of its class, from 0.
        scores: The score of a predicted object; NaN sorts last.
        matched_at: Bits of the `IOU_THRESHOLDS` at which it is matched with an object of its class.
        classes: The number of classes.
    """

    is_truth: NDArray[np.bool_]
    scenes: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    matched_at: NDArray[np.int64]
    classes: int

    @property
    def has_ranking(self) -> bool:
        """Whether at least one prediction has a score, or no object is predicted."""
        scores = self.scores[~self.is_truth]
        return not len(scores) or not np.isnan(scores).all()

    def truth_counts(self) -> NDArray[np.int64]:
        """Return the number of true objects of each class."""
        return np.bincount(self.class_ids[self.is_truth], minlength=self.classes)

    def counts(self, matched: NDArray[np.bool_]) -> metrics.Counts:
        """Count true positives, false positives and false negatives of each class.

        Args:
            matched: Mask of the matched objects, as `matches` returns it.
        """
        tp, fp, fn = (
            np.bincount(self.class_ids[mask], minlength=self.classes)
            for mask in (
                ~self.is_truth & matched,
                ~self.is_truth & ~matched,
                self.is_truth & ~matched,
            )
        )
        return metrics.detection_counts(tp, fp, fn)

    def matches(self, threshold: int) -> NDArray[np.bool_]:
        """Return a mask of the objects that are matched at the i-th of `IOU_THRESHOLDS`."""
        return np.asarray(self.matched_at >> threshold & 1 == 1)

    def rank_predictions(
        self, class_id: int, max_detections: int | None = None
    ) -> NDArray[np.intp]:
        """Return the positions of the predictions of a class, from the highest score.

        Args:
            class_id: The class.
            max_detections: Number of predictions, from the highest score, that count in each
                scene; None counts all.
        """
        at = np.flatnonzero(~self.is_truth & (self.class_ids == class_id))
        at = at[np.argsort(-self.scores[at], kind="stable")]
        if max_detections is not None:
            order = np.argsort(self.scenes[at], kind="stable")
            scenes = self.scenes[at][order]
            rank = np.arange(len(at)) - np.searchsorted(scenes, scenes)
            at = at[np.sort(order[rank < max_detections])]
        return at

    def average_precisions(self, max_detections: int | None = None) -> NDArray[np.float64]:
        """Return the average precision of each class at each of `IOU_THRESHOLDS`.

        Args:
            max_detections: See `rank_predictions`.

        Returns:
            Shape (classes, thresholds); NaN for a class without true objects.
        """
        truths = self.truth_counts()
        found = np.full((self.classes, len(IOU_THRESHOLDS)), np.nan)
        for class_id in np.flatnonzero(truths):
            at = self.rank_predictions(int(class_id), max_detections)
            for i in range(len(IOU_THRESHOLDS)):
                found[class_id, i] = average_precision(self.matches(i)[at], int(truths[class_id]))
        return found

    def mean_precisions(self, threshold: int) -> NDArray[np.float64]:
        """Return the precision at `RECALLS`, averaged over the classes that have true objects.

        Its mean is the mean average precision at the i-th of `IOU_THRESHOLDS`.
        """
        matched, truths = self.matches(threshold), self.truth_counts()
        each = [
            interpolate_precision(matched[self.rank_predictions(int(i))], int(truths[i]))
            for i in np.flatnonzero(truths)
        ]
        return np.mean(each, axis=0) if each else np.full(len(RECALLS), np.nan)

    def mean_average_precisions(self, max_detections: int | None = None) -> dict[str, float]:
        """Return ``mAP``, the mean over classes and thresholds, and ``mAP50``, at IoU 0.50.

        Args:
            max_detections: See `rank_predictions`.

        Returns:
            Empty without true objects, or if predictions exist and all lack a score. With true
            objects and without predictions, both values are 0.
        """
        if not self.has_ranking:
            return {}
        found = self.average_precisions(max_detections)
        found = found[~np.isnan(found[:, 0])]
        return (
            {"mAP": float(found.mean()), "mAP50": float(found[:, 0].mean())} if len(found) else {}
        )

    def count_error(self) -> float:
        """Return `count_error` of the numbers of objects of each class in each scene."""
        code = self.scenes * self.classes + self.class_ids
        most = int(code.max()) + 1 if len(code) else 0
        predicted, true = (
            np.bincount(code[side], minlength=most) for side in (~self.is_truth, self.is_truth)
        )
        return count_error(predicted, true)


def precision_recall_points(
    hits: NDArray[np.bool_], truths: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and precision of the first n predictions, for each n from 1.

    Args:
        hits: Whether each prediction is a true positive, from the highest score.
        truths: The number of true objects, at least 1.
    """
    found = np.cumsum(hits)
    return found / truths, found / np.arange(1, len(found) + 1)


def interpolate_precision(hits: NDArray[np.bool_], truths: int) -> NDArray[np.float64]:
    """Return the highest precision at each of `RECALLS` or a larger recall; 0 if it is not reached.

    Args:
        hits: Whether each prediction is a true positive, from the highest score.
        truths: The number of true objects, at least 1.
    """
    recall, precision = precision_recall_points(hits, truths)
    highest = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return np.asarray(highest[np.searchsorted(recall, RECALLS, side="left")])


def average_precision(hits: NDArray[np.bool_], truths: int) -> float:
    """Return the average precision as COCO defines it; NaN without true objects.

    Args:
        hits: Whether each prediction is a true positive, from the highest score.
        truths: The number of true objects.
    """
    return float(interpolate_precision(hits, truths).mean()) if truths else float("nan")


def count_error(predicted: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the error of counts: the sum of ``|predicted - true|`` over the sum of ``true``.

    Errors of two scenes do not cancel out. NaN without true objects; 0 is the best value.

    Args:
        predicted: Numbers of predicted objects, such as one per scene and class.
        true: Numbers of true objects, same shape.
    """
    total = int(true.sum())
    return float(np.abs(predicted - true).sum() / total) if total else float("nan")


def threshold_index(iou: float) -> int:
    """Return the index of an IoU in `IOU_THRESHOLDS`.

    Raises:
        SpecError: If it is not one of them.
    """
    near = np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou, rtol=0, atol=1e-9))
    if not len(near):
        raise SpecError(
            f"iou must be 0.50, 0.55, … or 0.95, at which objects are matched; got {iou}."
        )
    return int(near[0])
