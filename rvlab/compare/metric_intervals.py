"""Metrics of one run with confidence intervals over scenes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab.compare.metric_functions import (
    CLASS_METRICS,
    COUNT_ERROR,
    MAP_METRICS,
    NULL_NAME,
    OBJECT_METRICS,
    OVERALL_METRICS,
    metric_range,
)
from rvlab.compare.resample import Interval, bootstrap
from rvlab.compare.scene_matrices import SceneMatrices, align_scenes, load_confusion
from rvlab.compare.weighted_metric import WeightedMetric, weighted_metric
from rvlab.errors import NotFound, TableError
from rvlab.frame.confusion_rows import NO_OBJECT
from rvlab.model import Run

if TYPE_CHECKING:
    from rvlab.metrics import Floats


@dataclass(frozen=True)
class MetricInterval:
    """A metric over the scenes of a group, with its confidence interval.

    Args:
        name: The name, such as ``f1`` or ``f1.building``.
        group: The group of scenes.
        scenes: The number of scenes.
        value: The metric over all scenes; NaN where it is undefined.
        interval: The interval over scenes; NaN where it cannot be computed.
    """

    name: str
    group: str
    scenes: int
    value: float
    interval: Interval


def metric_intervals(
    run: Run, *, level: float = 0.95, resamples: int = 9999, seed: int = 0
) -> list[MetricInterval]:
    """Return the metrics of a run over the scenes of its headline group.

    These are the metrics that confusion matrices give, of pixels or cells, over all classes and per
    class; and those of objects: F1, precision and recall over all classes and per class, the count
    error, and of an object detection mAP and mAP50. The intervals are those of
    `rvlab.compare.seeds` for a single run: see `rvlab.compare.resample.bootstrap`.

    Args:
        run: The run.
        level: The level of the intervals.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        An empty list for a run without matrices per scene.
    """
    import numpy as np

    found = []
    pixels = _align(run, OVERALL_METRICS[0])
    # The table of runs has no mAP of masks, whose scores are means over pixels.
    means = MAP_METRICS if pixels is None else ()
    objects = _align(run, [*means, *OBJECT_METRICS][0])
    if pixels is not None:
        names = [*OVERALL_METRICS, *_names_by_class(pixels, CLASS_METRICS)]
        found += [(pixels, name) for name in names]
    if objects is not None:
        names = [*OBJECT_METRICS, COUNT_ERROR, *means, *_names_by_class(objects, OBJECT_METRICS)]
        found += [(objects, name) for name in names]
    intervals = []
    for matrices, name in found:
        try:
            metric = weighted_metric(matrices, name)
        except TableError:  # the mAP of predictions without scores
            continue
        n = len(matrices.names)
        value = float(metric.compute((0, np.ones((1, n))))[0])
        interval = metric_interval(metric, name, n, level=level, resamples=resamples, seed=seed)
        intervals.append(MetricInterval(name, matrices.group, n, value, interval))
    return intervals


def metric_interval(
    metric: WeightedMetric, name: str, scenes: int, *, level: float, resamples: int, seed: int
) -> Interval:
    """Return the confidence interval of a metric of the first run, by resampling its scenes.

    Args:
        metric: The metric as a function of weights of scenes.
        name: Its name.
        scenes: The number of scenes.
        level: The level of the interval.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """

    def weighted(weights: Floats) -> Floats:
        return metric.compute((0, weights))

    interval = bootstrap(weighted, scenes, level=level, resamples=resamples, seed=seed)
    return interval.clip(*metric_range(name))


def _align(run: Run, metric: str) -> SceneMatrices | None:
    """Return the results of a run; None if it was not scored, or has no objects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of runs without objects
            return align_scenes(load_confusion([run], metric), [run], None)
    except (TableError, NotFound):
        return None


def _names_by_class(found: SceneMatrices, kinds: Sequence[str]) -> list[str]:
    classes = [name for name in found.classes if name not in (NULL_NAME, NO_OBJECT)]
    return [f"{kind}.{name}" for name in classes for kind in kinds]
