"""Pixels near the contours of the classes of runs, from tables that are stored beside each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.cache.query import Query
from rvlab.errors import NotFound
from rvlab.frame.confusion_rows import confusion_rows_from_counts
from rvlab.frame.counted_tables import load_or_count_tables, select_group
from rvlab.frame.run_selector import RunsOrListings, listings_of_runs
from rvlab.frame.untrusted_parquet import broken_table_error
from rvlab.model import Run, headline_group
from rvlab.model.tables import BOUNDARIES_TABLE
from rvlab.raster.boundaries import require_distance_px
from rvlab.raster.scene import SCENE_GROUPS
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BOUNDARY_COLUMNS = ("run", *BOUNDARIES_TABLE.names)
"""The columns of `boundary_counts_table`."""


def boundary_counts_table(
    store: Store,
    wanted: Sequence[Run],
    *,
    group: str | None = None,
    distance_px: int | None = None,
) -> pd.DataFrame:
    """Return the counts of pixels near contours of runs, with the columns `BOUNDARY_COLUMNS`.

    Args:
        store: The store of the runs.
        wanted: The runs.
        group: The group of scenes; None selects the group of the headline metrics.
        distance_px: The largest distance of a counted pixel from a contour; None uses the
            distance of the stored counts. For another distance the scenes are read again.

    Raises:
        NotFound: If no run has counts, or the group does not exist.
        SpecError: If `distance_px` is not a positive integer.
    """
    require_distance_px(distance_px)
    tables = load_boundaries(store, wanted, distance_px)
    if not tables:
        raise NotFound("None of the runs has predictions of a semantic segmentation.")
    if group is not None and group not in SCENE_GROUPS:
        tables = select_group(tables, wanted, group)
    counts = _concat(tables)
    chosen = group or headline_group(counts["group"].unique().tolist() or SCENE_GROUPS)
    return counts[counts["group"] == chosen].reset_index(drop=True)


def boundary_confusion_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return the counts of pixels near contours; see `confusion_rows_from_counts`."""
    with Query(store) as query:
        listings = listings_of_runs(query, wanted)
    tables = load_boundaries(store, [run for one in listings for run in one.runs])
    if not tables:
        raise NotFound("None of the runs has predictions of a semantic segmentation.")
    counts = _concat(tables)
    shared = counts["intersection_px"]
    of_classes = counts[["run", "group", "scene", "class"]].assign(
        tp=shared, fp=counts["prediction_px"] - shared, fn=counts["truth_px"] - shared
    )
    return confusion_rows_from_counts(store, listings, of_classes)


def load_boundaries(
    store: Store, wanted: Sequence[Run], distance_px: int | None = None
) -> dict[str, pa.Table]:
    """Return the counts of each run, by run id; see `load_or_count_tables`."""
    return load_or_count_tables(
        store, wanted, BOUNDARIES_TABLE, _require_valid_boundaries, distance_px=distance_px
    )


def _concat(tables: dict[str, pa.Table]) -> pd.DataFrame:
    import pandas as pd

    parts: list[pd.DataFrame] = [table.to_pandas().assign(run=run) for run, table in tables.items()]
    return pd.concat(parts, ignore_index=True)[list(BOUNDARY_COLUMNS)]


def _require_valid_boundaries(key: str, table: pa.Table) -> None:
    """Require that counts are not negative and that no class of a scene has two rows.

    The intersection must not be larger than the pixels of the labels or of the prediction.
    """
    counts = table.select(["truth_px", "prediction_px", "intersection_px"]).to_pandas()
    if (counts["intersection_px"] < 0).any() or counts.lt(counts["intersection_px"], axis=0).any(
        axis=None
    ):
        raise broken_table_error(key, "it has impossible counts of pixels.")
    if len(table.group_by(["group", "scene", "class"]).aggregate([])) < len(table):
        raise broken_table_error(key, "it has two rows for a class of a scene.")
