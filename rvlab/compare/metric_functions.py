"""Metrics by name, as functions of confusion matrices of pixels, cells, objects or boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rvlab.errors import TableError, did_you_mean
from rvlab.frame.confusion_rows import NO_OBJECT

if TYPE_CHECKING:
    from rvlab.metrics import Floats

    MetricFunction = Callable[[Floats], Floats]

OVERALL_METRICS = ("f1", "mean_iou", "accuracy", "precision", "recall")
"""Metrics over all classes; the first and the last two are macro averages."""

CLASS_METRICS = ("f1", "iou", "precision", "recall")
"""Metrics of a class, named ``f1.building``."""

NULL_NAME = "null"
"""The class that Raster Vision adds for pixels without a label; see `rvlab.metrics`."""

OBJECT_METRICS = ("object_f1", "object_precision", "object_recall")
"""Metrics of objects: macro averages, or of a class as ``object_f1.building``."""

MAP_METRICS = ("mAP", "mAP50")
"""Mean average precisions of objects, which are computed from the scores of predictions."""

COUNT_ERROR = "count_error"
"""The error of the numbers of objects in each scene, over the number of true objects."""

ALL_OBJECT_METRICS = (*OBJECT_METRICS, *MAP_METRICS, COUNT_ERROR)

BOUNDARY_METRIC = "boundary_iou"
"""The IoU of pixels near contours: the mean over classes, or of a class, as ``iou`` is."""

_LABELS = {"f1": "macro F1", "mean_iou": "mean IoU", "precision": "macro precision"}
_LABELS |= {"recall": "macro recall", "iou": "IoU"}
_LABELS |= {
    f"object_{name}": f"macro {word} of objects"
    for name, word in (("f1", "F1"), ("precision", "precision"), ("recall", "recall"))
}
_LABELS |= {BOUNDARY_METRIC: "mean boundary IoU", COUNT_ERROR: "count error"}


def metric_function(metric: str, classes: Sequence[str]) -> MetricFunction:
    """Return the function that computes a metric from matrices ``(..., K, K)`` of these classes.

    Args:
        metric: ``f1``, ``mean_iou``, ``accuracy``, ``f1.building``, ``iou.road`` and so on; a
            leading ``metrics.``, as in column names, is ignored.
        classes: The names of the K classes.

    Returns:
        A function with results of shape ``(...)``; NaN where the metric is undefined.

    Raises:
        TableError: If the metric cannot be computed from confusion matrices of these classes.
    """
    from rvlab import metrics

    name = metric.removeprefix("metrics.")
    if is_object_metric(name) or is_boundary_metric(name):
        return _count_metric_function(name, classes)
    ignore = list(classes).index(NULL_NAME) if NULL_NAME in classes else None
    overall: dict[str, Callable[..., Floats]] = {
        "f1": metrics.macro_f1,
        "mean_iou": metrics.mean_iou,
        "accuracy": metrics.accuracy,
        "precision": metrics.macro_precision,
        "recall": metrics.macro_recall,
    }
    if name in overall:
        compute = overall[name]
        return lambda matrices: compute(matrices, ignore=ignore)
    kind, _, class_name = name.partition(".")
    if kind in CLASS_METRICS and class_name in classes and class_name != NULL_NAME:
        each: Callable[..., Floats] = getattr(metrics, kind)
        class_index = list(classes).index(class_name)
        return lambda matrices: each(matrices, ignore=ignore)[..., class_index]
    known = [
        *OVERALL_METRICS,
        *(f"{k}.{c}" for k in CLASS_METRICS for c in classes if c != NULL_NAME),
    ]
    raise TableError(
        f"No confusion matrix gives the metric {metric!r}. {did_you_mean(name, known)} "
        f"Those it gives: {', '.join(known)}."
    )


def is_object_metric(metric: str) -> bool:
    """Return whether a metric, also of a group or class, is a metric of objects."""
    return _is_one_of(metric, ALL_OBJECT_METRICS)


def is_map_metric(metric: str) -> bool:
    """Return whether a metric, also of a group or class, is a mean average precision."""
    return _is_one_of(metric, MAP_METRICS)


def is_boundary_metric(metric: str) -> bool:
    """Return whether a metric, also of a group or class, is of pixels near contours."""
    return _is_one_of(metric, (BOUNDARY_METRIC,))


def metric_range(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric."""
    return 0.0, math.inf if _is_one_of(metric, (COUNT_ERROR,)) else 1.0


def _is_one_of(metric: str, kinds: Sequence[str]) -> bool:
    return any(part in kinds for part in metric.removeprefix("metrics.").split(".")[:2])


def split_count_metric(metric: str, classes: Sequence[str]) -> tuple[str, str, list[int]]:
    """Split the name of a metric of objects or boundaries; see `rvlab.frame.confusion_rows`.

    Args:
        metric: Such as ``object_f1`` or ``mAP50.building``.
        classes: The classes of the matrices.

    Returns:
        The metric, the class or ``""``, and the places of the classes that count.

    Raises:
        TableError: If the matrices are not of these counts, or have no such class.
    """
    name = metric.removeprefix("metrics.")
    of_boundaries = is_boundary_metric(name)
    kinds = (BOUNDARY_METRIC,) if of_boundaries else ALL_OBJECT_METRICS
    kind, _, class_name = name.partition(".")
    known = [one for one in classes if one != NO_OBJECT]
    if len(known) == len(classes) or kind not in kinds or (class_name and class_name not in known):
        each = [f"{one}.{name_of_class}" for one in kinds for name_of_class in known]
        what = "boundary pixels" if of_boundaries else "objects"
        raise TableError(
            f"No counts of {what} give the metric {name!r}. {did_you_mean(name, [*kinds, *each])}"
        )
    counted = [i for i, one in enumerate(classes) if one != NO_OBJECT and class_name in ("", one)]
    return kind, class_name, counted


def _count_metric_function(name: str, classes: Sequence[str]) -> MetricFunction:
    """Return the function of a metric of objects or boundaries.

    The matrices are those of `rvlab.frame.confusion_rows.confusion_rows_from_counts`.
    """
    from rvlab import metrics

    kind, class_name, counted = split_count_metric(name, classes)
    if kind not in (*OBJECT_METRICS, BOUNDARY_METRIC):
        raise TableError(
            f"The metric {name!r} is not computed from sums of matrices; rvlab.compare.test, seeds "
            "and by_scene compute it."
        )
    if kind == BOUNDARY_METRIC:
        function = metrics.boundary_iou if class_name else metrics.mean_boundary_iou
    else:
        computed = kind.removeprefix("object_")
        function = getattr(metrics, computed if class_name else f"macro_{computed}")

    def compute(matrices: Floats) -> Floats:
        counts = metrics.Counts(*(a[..., counted] for a in metrics.counts(matrices)))
        found: Floats = function(counts)
        return found[..., 0] if class_name else found

    return compute


def metric_label(metric: str) -> str:
    """Return the label of a metric for text: ``macro F1``, ``mean IoU``, ``F1 of building``."""
    name = metric.removeprefix("metrics.")
    kind, _, class_name = name.partition(".")
    if class_name and kind == BOUNDARY_METRIC:
        return f"boundary IoU of {class_name}"
    if class_name and is_object_metric(kind):
        return f"{_LABELS.get(kind, kind).removeprefix('macro ')} of class {class_name}"
    if class_name and kind in CLASS_METRICS:
        return f"{_LABELS.get(kind, kind).removeprefix('macro ')} of {class_name}"
    return _LABELS.get(name, name)
