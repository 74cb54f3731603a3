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
        omitted: Scored scenes that `boundaries` lacks. A group with one of them has no row over all
            scenes.

    Returns:
        For each scene group, over all its scenes and for each scene: a row per class, and one over
        all classes, with class null. An undefined value is null.
    """
    rows: list[tuple[str, str | None, str | None, str, float | None]] = []
    for group in scenes["group"].unique().to_pylist():
        members = scenes.filter(pc.equal(scenes["group"], group))["scene"].combine_chunks()
        found = boundaries.filter(pc.is_in(boundaries["scene"], members))
        if group in found["group"].unique().to_pylist():
            found = found.filter(pc.equal(found["group"], group))
        if not len(found):
            continue
        if not set(members.to_pylist()) & set(omitted):
            rows += [(group, None, *row) for row in _rows(found)]
        for scene in sorted(found["scene"].unique().to_pylist()):
            part = found.filter(pc.equal(found["scene"], scene))
            rows += [(group, scene, *row) for row in _rows(part)]
    return rows_to_arrow(EVALS_TABLE, rows)


def headline_boundary_iou(evaluations: pa.Table, scenes: pa.Table) -> dict[str, float]:
    """Return ``boundary_iou`` of the group of the other headline metrics; empty if it is undefined.

    Args:
        evaluations: The result of `boundary_evaluations`.
        scenes: The table of scored scenes.
    """
    groups = scenes["group"].unique().to_pylist()
    if not groups:
        return {}
    whole = evaluations.filter(
        pc.and_(
            pc.equal(evaluations["group"], headline_group(groups)),
            pc.and_(pc.is_null(evaluations["scene"]), pc.is_null(evaluations["class"])),
        )
    )
    value = whole["value"][0].as_py() if len(whole) else None
    return {} if value is None else {_NAME: value}


def _rows(counts: pa.Table) -> Iterator[tuple[str | None, str, float | None]]:
    """Yield class, metric and value of counts that are summed over scenes."""
    sums = counts.group_by("class", use_threads=False).aggregate(
        [(f"{name}_px", "sum") for name in ("truth", "prediction", "intersection")]
    )
    truth, guess, shared = (
        sums[f"{name}_px_sum"].to_numpy().astype(float)
        for name in ("truth", "prediction", "intersection")
    )
    of = metrics.Counts(shared, guess - shared, truth - shared)
    yield None, _NAME, metrics.none_if_nan(float(metrics.mean_boundary_iou(of)))
    for name, value in zip(sums["class"].to_pylist(), metrics.boundary_iou(of), strict=True):
        yield name, _NAME, metrics.none_if_nan(value)
