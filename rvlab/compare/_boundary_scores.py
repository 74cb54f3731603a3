"""Boundary IoU of runs, by run, scene or class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rvlab.frame.boundaries import BOUNDARY_COLUMNS, boundary_counts_table
from rvlab.frame.input_tables import RunsLike, load_long_table

if TYPE_CHECKING:
    import pandas as pd


def boundary_scores(
    runs: RunsLike,
    *,
    by: str | Sequence[str] = "run",
    distance_px: int | None = None,
    group: str | None = None,
) -> pd.DataFrame:
    """Return the boundary IoU of runs: the IoU of the pixels near the contours of each class.

    It falls with every error at a contour, where the IoU of large areas hardly changes.

    >>> compare.boundary_scores(board, by=["run", "class"], distance_px=3)

    Args:
        runs: Runs of a semantic segmentation.
        by: One or more of ``run``, ``scene``, ``class``, ``name``, ``seed`` and the ``params.*`` in
            which the runs differ: pixels with equal values are summed.
        distance_px: The largest distance of a counted pixel from a contour, in rows and columns.
            None uses that of ``metrics.boundary_iou``: 2 % of the scene's diagonal, at most 15 px.
            For another distance the predictions and labels are read again.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.

    Returns:
        Index `by`; ``boundary_iou`` (the mean over the classes that occur), and the counted pixels
        over all classes: ``truth_px``, ``prediction_px``, ``intersection_px``.

    Raises:
        TableError: If a column is missing.
        NotFound: If no run has predictions of a semantic segmentation.
        SpecError: If `runs` is empty, or `distance_px` is not a positive integer.
    """
    import pandas as pd

    from rvlab import metrics

    names = [by] if isinstance(by, str) else list(by)
    read = partial(boundary_counts_table, group=group, distance_px=distance_px)
    table = load_long_table(runs, read, BOUNDARY_COLUMNS, "table of boundaries", names)
    pixels = ["truth_px", "prediction_px", "intersection_px"]
    keys = list(dict.fromkeys([*names, "class"]))
    sums = table.groupby(keys, sort=False, observed=True, dropna=False)[pixels].sum()
    shared = sums["intersection_px"].to_numpy(dtype=float)
    truth, guess = (sums[name].to_numpy(dtype=float) for name in pixels[:2])
    each = metrics.boundary_iou(metrics.Counts(shared, guess - shared, truth - shared))
    # The mean skips classes that do not occur, whose value is undefined.
    found = pd.DataFrame({"boundary_iou": each, **{name: sums[name] for name in pixels}})
    groups = found.groupby(level=names, sort=False, observed=True, dropna=False)
    return groups.agg({"boundary_iou": "mean", **dict.fromkeys(pixels, "sum")})
