"""The boundary IoU in the table of evaluations, from the counts of pixels near contours."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from rvlab import metrics
from rvlab.model import headline_group
from rvlab.model.tables import EVALS_TABLE
from rvlab.store.table_file import rows_to_arrow

_NAME = "boundary_iou"


def boundary_evaluations(
    boundaries: pa.Table, scenes: pa.Table, omitted: Collection[str] = ()
) -> pa.Table:
    """Return rows of `EVALS_TABLE` with the metric ``boundary_iou``.

    Args:
        boundaries: The table of boundaries.
        scenes: The table of scored scenes.
        omitted: Scored scenes that `boundaries` lacks. A group with such a scene has no rows
            over all its scenes.

    Returns:
        For each scene group, over all its scenes and for each scene: a row per class, and one over
        all classes, with class null. An undefined value is null.
    """
    rows: list[tuple[str, str | None, str | None, str, float | None]] = []
    for group in scenes["group"].unique().to_pylist():
        members = scenes.filter(pc.equal(scenes["group"], group))["scene"].combine_chunks()
        counts = boundaries.filter(pc.is_in(boundaries["scene"], members))
        if group in counts["group"].unique().to_pylist():
            counts = counts.filter(pc.equal(counts["group"], group))
        if not len(counts):
            continue
        if not set(members.to_pylist()) & set(omitted):
            rows += [(group, None, *row) for row in _rows(counts)]
        for scene in sorted(counts["scene"].unique().to_pylist()):
            scene_counts = counts.filter(pc.equal(counts["scene"], scene))
            rows += [(group, scene, *row) for row in _rows(scene_counts)]
    return rows_to_arrow(EVALS_TABLE, rows)


def headline_boundary_iou(evaluations: pa.Table, scenes: pa.Table) -> dict[str, float]:
    """Return ``boundary_iou`` over the headline scene group; empty if it is undefined.

    Args:
        evaluations: The result of `boundary_evaluations`.
        scenes: The table of scored scenes.
    """
    groups = scenes["group"].unique().to_pylist()
    if not groups:
        return {}
    overall = evaluations.filter(
        pc.and_(
            pc.equal(evaluations["group"], headline_group(groups)),
            pc.and_(pc.is_null(evaluations["scene"]), pc.is_null(evaluations["class"])),
        )
    )
    value = overall["value"][0].as_py() if len(overall) else None
    return {} if value is None else {_NAME: value}


def _rows(counts: pa.Table) -> Iterator[tuple[str | None, str, float | None]]:
    """Sum counts over scenes, and yield a class (None for all), the metric and its value."""
    sums = counts.group_by("class", use_threads=False).aggregate(
        [(f"{name}_px", "sum") for name in ("truth", "prediction", "intersection")]
    )
    truth, prediction, intersection = (
        sums[f"{name}_px_sum"].to_numpy().astype(float)
        for name in ("truth", "prediction", "intersection")
    )
    summed = metrics.Counts(intersection, prediction - intersection, truth - intersection)
    yield None, _NAME, metrics.none_if_nan(float(metrics.mean_boundary_iou(summed)))
    for name, value in zip(sums["class"].to_pylist(), metrics.boundary_iou(summed), strict=True):
        yield name, _NAME, metrics.none_if_nan(value)
