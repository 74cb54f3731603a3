"""Metrics of objects, by run, scene or class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.frame.input_tables import RunsLike, load_long_table
from rvlab.frame.objects import OBJECT_COLUMNS, objects_table, scored_object_arrays

if TYPE_CHECKING:
    import pandas as pd


def object_scores(
    runs: RunsLike, *, by: str | Sequence[str] = "run", max_detections: int | None = None
) -> pd.DataFrame:
    """Return metrics of true and predicted objects for each run.

    >>> compare.object_scores(lab.objects(board, min_area_px=20), by=["run", "class"])

    Args:
        runs: Runs, whose objects are read; or the table that ``lab.objects()`` returns, or some of
            its rows.
        by: One or more columns of that table: a row of the result is for the objects with equal
            values.
        max_detections: How many predictions of a class in a scene count for ``mAP`` and ``mAP50``,
            those with the highest scores; COCO's limit is 100. None counts all.

    Returns:
        Index `by`; over the classes of the rows:

        * ``truth_count prediction_count``, and ``tp fp fn`` by the outcomes of the table, so at its
          IoU;
        * ``precision recall f1``: macro averages of the classes that occur;
        * ``count_error``: the absolute difference of both counts, summed over scenes and classes,
          divided by the number of true objects;
        * ``mAP mAP50``: COCO's mean average precision at the IoUs 0.50, 0.55, … 0.95 and at 0.50;
          missing without scores.

    Raises:
        TableError: If a column is missing.
        NotFound: If no run has objects.
        SpecError: If `runs` is empty.
    """
    import pandas as pd

    from rvlab import metrics

    names = [by] if isinstance(by, str) else list(by)
    table = load_long_table(runs, objects_table, OBJECT_COLUMNS, "table of objects", names)
    rows = []
    keys = []
    for key, part in table.groupby(names, sort=False, observed=True, dropna=False):
        found = scored_object_arrays(part)
        counts = found.counts((part["outcome"] == "true positive").to_numpy(dtype=bool))
        tp, fp, fn = (int(values.sum()) for values in counts)
        precisions = found.mean_average_precisions(max_detections)
        rows.append(
            {
                "truth_count": int(found.truth_counts().sum()),
                "prediction_count": tp + fp,
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "precision": float(metrics.macro_precision(counts)),
                "recall": float(metrics.macro_recall(counts)),
                "f1": float(metrics.macro_f1(counts)),
                "count_error": found.count_error(),
                "mAP": precisions.get("mAP", math.nan),
                "mAP50": precisions.get("mAP50", math.nan),
            }
        )
        keys.append(key)
    whole = pd.MultiIndex.from_frame(pd.DataFrame(keys, columns=names))
    index = whole.get_level_values(0) if len(names) == 1 else whole
    dtypes = dict.fromkeys(_COUNTS, "int64") | dict.fromkeys(_SCORES, "float64")
    return pd.DataFrame(rows, index, [*_COUNTS, *_SCORES]).astype(dtypes)


_COUNTS = ("truth_count", "prediction_count", "tp", "fp", "fn")
_SCORES = ("precision", "recall", "f1", "count_error", "mAP", "mAP50")
