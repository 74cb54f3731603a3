"""Metrics in the ``eval.json`` of Raster Vision 0.12 and 0.13, which has no counts.

These versions wrote a single ``eval/eval.json``, for the validation scenes. Each item has
``precision``, ``recall`` and ``f1`` beside the class, and the average has the class id null. The
metrics over all scenes are averages of the scenes' metrics, weighted by the number of labelled
pixels. Pixels whose true class is the null class are not counted. So these metrics cannot be
compared with the metrics of later versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rvlab.errors import RecordBroken
from rvlab.metrics import none_if_nan

REPORTED_METRICS = ("f1", "precision", "recall")

MetricRow = tuple[str | None, str, float | None]
"""A class, None for all classes; a metric; its value."""


def has_reported_metrics(items: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether items have metrics beside the class, as in Raster Vision 0.12 and 0.13."""
    return any("metrics" not in item and "f1" in item for item in items)


def reported_rows(
    items: Sequence[Mapping[str, Any]], names: Sequence[str], ignore: int | None, where: str
) -> Iterator[MetricRow]:
    """Yield metrics and truth counts per class, macro averages and Raster Vision's averages.

    An undefined metric of a class that occurs is 0, as in rvlab's own metrics.

    Args:
        items: One item per class, and the average.
        names: The classes of the config. The null class may have no item.
        ignore: The class of unlabelled pixels, which has no metrics.
        where: The file, for messages.

    Raises:
        RecordBroken: If an item does not have this form.
    """
    values_by_metric: dict[str, list[float]] = {metric: [] for metric in REPORTED_METRICS}
    for item in items:
        try:
            class_id, truth = item["class_id"], item.get("gt_count")
            values = {metric: none_if_nan(item[metric]) for metric in REPORTED_METRICS}
            occurs = bool(truth) or bool(item.get("count_error"))
            count = None if truth is None else float(truth)
        except (KeyError, TypeError, ValueError) as exc:
            raise RecordBroken(f"{where} has an item without usable metrics: {exc!r}.") from exc
        if class_id is None:
            yield from ((None, f"rv_average_{metric}", value) for metric, value in values.items())
            continue
        if class_id not in range(len(names)) or names[class_id] != item.get("class_name"):
            raise RecordBroken(
                f"{where} has the class {item.get('class_name')!r} with the id {class_id!r}; "
                f"pipeline-config.json has {list(names)}."
            )
        if class_id == ignore:
            continue
        for metric, value in values.items():
            defined = 0.0 if value is None and occurs else value
            yield names[class_id], metric, defined
            if defined is not None:
                values_by_metric[metric].append(defined)
        yield names[class_id], "truth_count", count
    for metric, class_values in values_by_metric.items():
        yield None, metric, sum(class_values) / len(class_values) if class_values else None
