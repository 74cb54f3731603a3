"""Metrics of runs as functions of weights of scenes, which tests and intervals resample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rvlab.compare.metric_functions import (
    COUNT_ERROR,
    MAP_METRICS,
    is_object_metric,
    metric_function,
    split_count_metric,
)
from rvlab.compare.scene_matrices import RankedPredictions, SceneMatrices
from rvlab.errors import TableError

if TYPE_CHECKING:
    from rvlab.compare.metric_functions import MetricFunction
    from rvlab.metrics import Floats


class WeightedMetric(Protocol):
    """A metric of runs as a function of weights: how often the results of each scene count."""

    def compute(self, *parts: tuple[int, Floats]) -> Floats:
        """Return the metric of the scenes of one run, or of several runs pooled, under weights.

        Args:
            parts: Runs, by their places, each with weights of its n scenes, shape (B, n).

        Returns:
            Shape (B,); NaN where the metric is undefined.
        """


@dataclass(frozen=True)
class CountMetric:
    """A metric of counts that are summed over scenes, such as confusion matrices.

    Attributes:
        counts: Shape (runs, scenes, …).
        metric: Computes the metric from sums of shape (B, …).
    """

    counts: Floats
    metric: MetricFunction

    def compute(self, *parts: tuple[int, Floats]) -> Floats:
        """Return the metric of the weighted sums; see `WeightedMetric`."""
        import numpy as np

        _, n, *shape = self.counts.shape
        each = [weights @ self.counts[run].reshape(n, -1) for run, weights in parts]
        return self.metric(np.sum(each, axis=0).reshape(-1, *shape))


@dataclass(frozen=True)
class MeanAveragePrecision:
    """The mean average precision of predicted objects, which is computed for each resample.

    Attributes:
        predictions: The predicted objects.
        truths: Numbers of true objects, shape (runs, scenes, classes).
        class_ids: The classes over which it is averaged, of those that have true objects.
        thresholds: Places of the IoUs in `rvlab.object_metrics.IOU_THRESHOLDS`.
    """

    predictions: RankedPredictions
    truths: Floats
    class_ids: Sequence[int]
    thresholds: Sequence[int]

    def compute(self, *parts: tuple[int, Floats]) -> Floats:
        """Return the mean average precision; see `WeightedMetric`.

        As in `rvlab.object_metrics`, it is undefined without true objects, and where there are
        predictions but none has a score.
        """
        import numpy as np

        from rvlab import metrics
        from rvlab.compare.weighted_average_precision import weighted_average_precisions

        n = self.truths.shape[1]
        weights = np.concatenate([each for _, each in parts], axis=1)
        truths = np.concatenate([self.truths[run] for run, _ in parts])
        counts = np.isin(self.predictions.class_ids, self.class_ids)
        rows = [np.flatnonzero(counts & (self.predictions.runs == run)) for run, _ in parts]
        places = [self.predictions.scenes[at] + i * n for i, at in enumerate(rows)]
        order = np.argsort(np.concatenate(rows), kind="stable")
        at, scenes = (np.concatenate(each)[order] for each in (rows, places))
        class_ids, bits = self.predictions.class_ids[at], self.predictions.matched_at[at]
        total, defined = np.zeros((2, len(weights)))
        for class_id in self.class_ids:
            own = class_ids == class_id
            hits = bits[own] >> np.array(self.thresholds)[:, None] & 1 == 1
            found = weighted_average_precisions(hits, scenes[own], truths[:, class_id], weights)
            total += np.nan_to_num(found).sum(axis=0)
            defined += (~np.isnan(found)).sum(axis=0)
        has_score = ~np.isnan(self.predictions.scores[at])
        predicted, scored = (
            weights @ np.bincount(scenes[mask], minlength=len(truths))
            for mask in (slice(None), has_score)
        )
        defined = np.where((predicted > 0) & (scored == 0), 0, defined)
        return metrics.ratio(total, defined)


def weighted_metric(found: SceneMatrices, metric: str) -> WeightedMetric:
    """Return a metric of runs as a function of weights of scenes.

    Args:
        found: The results of the runs, from the table that `load_confusion` reads for this metric.
        metric: As for `rvlab.compare.test`.

    Raises:
        TableError: If the results do not give the metric.
    """
    if is_object_metric(metric):
        kind, _, counted = split_count_metric(metric, found.classes)
        if kind == COUNT_ERROR:
            return _count_error(found, counted)
        if kind in MAP_METRICS:
            return _mean_average_precision(found, kind, counted)
    return CountMetric(found.matrices, metric_function(metric, found.classes))


def _count_error(found: SceneMatrices, counted: Sequence[int]) -> CountMetric:
    """Return the count error, whose errors do not cancel out between scenes and classes."""
    import numpy as np

    from rvlab import metrics

    tp, fp, fn = (each[..., counted] for each in metrics.counts(found.matrices))
    # The number of predictions less that of true objects is fp - fn.
    sums = np.stack([np.abs(fp - fn).sum(axis=-1), (tp + fn).sum(axis=-1)], axis=-1)

    def compute(errors_and_truths: Floats) -> Floats:
        errors, truths = np.moveaxis(errors_and_truths, -1, 0)
        return metrics.ratio(errors, truths)

    return CountMetric(sums, compute)


def _mean_average_precision(
    found: SceneMatrices, kind: str, counted: Sequence[int]
) -> MeanAveragePrecision:
    import numpy as np

    from rvlab.object_metrics import IOU_THRESHOLDS

    ranked = found.predictions
    if ranked is None:
        raise TableError(
            f"{kind} is computed from the scores of predicted objects, not from counts: omit "
            "confusion=."
        )
    for place, run in enumerate(found.runs):
        scores = ranked.scores[ranked.runs == place]
        if len(scores) and np.isnan(scores).all():
            raise TableError(
                f"The predicted objects of {run} have no scores, which {kind} needs. Use object_f1."
            )
    thresholds = range(len(IOU_THRESHOLDS)) if kind == "mAP" else range(1)
    return MeanAveragePrecision(ranked, found.matrices.sum(axis=-1), counted, thresholds)
