"""The name of a metric, as a function of confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rvlab.errors import TableError, did_you_mean

if TYPE_CHECKING:
    from rvlab.metrics import Floats

    Score = Callable[[Floats], Floats]

OVERALL = ("f1", "mean_iou", "accuracy", "precision", "recall")
"""Metrics over all classes; the first and the last two are macro averages."""

OF_A_CLASS = ("f1", "iou", "precision", "recall")
"""Metrics of a class, named ``f1.building``."""

NULL = "null"
"""The class that Raster Vision adds for pixels without a label; see `rvlab.metrics`."""

_WORDS = {"f1": "macro F1", "mean_iou": "mean IoU", "precision": "macro precision"}
_WORDS |= {"recall": "macro recall", "iou": "IoU"}


def score(metric: str, classes: Sequence[str]) -> Score:
    """The function that computes a metric from matrices ``(..., K, K)`` of these classes.

    Args:
        metric: ``f1``, ``mean_iou``, ``accuracy``, ``f1.building``, ``iou.road`` and so on; a
            leading ``metrics.``, as the column of a table has it, is left out.
        classes: The names of the K classes.

    Returns:
        A function to shape ``(...)``; NaN where the metric is undefined.

    Raises:
        TableError: If no confusion matrix of these classes gives such a metric.
    """
    from rvlab import metrics

    name = metric.removeprefix("metrics.")
    ignore = list(classes).index(NULL) if NULL in classes else None
    overall: dict[str, Callable[..., Floats]] = {
        "f1": metrics.macro_f1,
        "mean_iou": metrics.mean_iou,
        "accuracy": metrics.accuracy,
        "precision": metrics.macro_precision,
        "recall": metrics.macro_recall,
    }
    if name in overall:
        whole = overall[name]
        return lambda matrices: whole(matrices, ignore=ignore)
    kind, _, of = name.partition(".")
    if kind in OF_A_CLASS and of in classes and of != NULL:
        each: Callable[..., Floats] = getattr(metrics, kind)
        at = list(classes).index(of)
        return lambda matrices: each(matrices, ignore=ignore)[..., at]
    known = [*OVERALL, *(f"{k}.{c}" for k in OF_A_CLASS for c in classes if c != NULL)]
    raise TableError(
        f"No confusion matrix gives the metric {metric!r}. {did_you_mean(name, known)} "
        f"Those it gives: {', '.join(known)}."
    )


def in_words(metric: str) -> str:
    """``macro F1``, ``mean IoU``, ``F1 of building``: as a sentence says it."""
    name = metric.removeprefix("metrics.")
    kind, _, of = name.partition(".")
    if of and kind in OF_A_CLASS:
        return f"{_WORDS.get(kind, kind).removeprefix('macro ')} of {of}"
    return _WORDS.get(name, name)
