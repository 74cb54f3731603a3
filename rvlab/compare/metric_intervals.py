"""Metrics of one run with confidence intervals over scenes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab.compare.metric_functions import (
    CLASS_METRICS,
    NULL_NAME,
    OBJECT_METRICS,
    OVERALL_METRICS,
    metric_function,
)
from rvlab.compare.resample import Interval, bootstrap
from rvlab.compare.scene_matrices import SceneMatrices, align_scenes, load_confusion
from rvlab.errors import NotFound, TableError
from rvlab.frame.count_matrices import NO_OBJECT
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
        value: The metric of the matrices summed over the scenes; NaN where it is undefined.
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

    These are the metrics that confusion matrices give: of pixels or cells, and of objects, over all
    classes and per class. The intervals are those of `rvlab.compare.seeds` for a single run: see
    `rvlab.compare.resample.bootstrap`.

    Args:
        run: The run.
        level: The level of the intervals.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        An empty list for a run without matrices per scene.
    """
    found = []
    for kind in (OVERALL_METRICS[0], OBJECT_METRICS[0]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of runs without objects
                matrices = align_scenes(load_confusion([run], kind), [run], None)
        except (TableError, NotFound):  # not scored, or without objects
            continue
        found += [
            _interval(matrices, name, level=level, resamples=resamples, seed=seed)
            for name in _names(matrices, kind)
        ]
    return found


def _names(matrices: SceneMatrices, kind: str) -> Iterator[str]:
    is_object = kind in OBJECT_METRICS
    yield from OBJECT_METRICS if is_object else OVERALL_METRICS
    for name in matrices.classes:
        if name not in (NULL_NAME, NO_OBJECT):
            yield from (f"{one}.{name}" for one in (OBJECT_METRICS if is_object else CLASS_METRICS))


def _interval(
    of: SceneMatrices, name: str, *, level: float, resamples: int, seed: int
) -> MetricInterval:
    compute = metric_function(name, of.classes)
    _, n, k, _ = of.matrices.shape
    flat = of.matrices[0].reshape(n, k * k)

    def weighted(weights: Floats) -> Floats:
        return compute((weights @ flat).reshape(-1, k, k))

    interval = bootstrap(weighted, n, level=level, resamples=resamples, seed=seed)
    value = float(compute(of.matrices[0].sum(axis=0)))
    return MetricInterval(name, of.group, n, value, interval.clip(0, 1))
