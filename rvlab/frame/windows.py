"""The most informative windows of runs, from counts that are stored beside each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.cache.query import Query
from rvlab.errors import NotFound
from rvlab.frame import rank_windows
from rvlab.frame.aligned_windows import align_windows
from rvlab.frame.counted_tables import load_or_count_tables, select_group
from rvlab.frame.identifying_columns import read_identifying_columns
from rvlab.frame.object_windows import count_objects_in_windows
from rvlab.frame.objects import load_objects_by_run
from rvlab.frame.run_selector import RunsOrListings, listings_of_runs
from rvlab.frame.untrusted_parquet import broken_table_error
from rvlab.model import Run
from rvlab.model.tables import WINDOWS_TABLE
from rvlab.raster.scene import SCENE_GROUPS
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def ranked_windows_table(
    store: Store,
    selected: RunsOrListings,
    by: str = "error",
    *,
    n: int = 12,
    size: int | None = None,
    classes: str | Sequence[str] | None = None,
    group: str | None = None,
    scenes: str | Sequence[str] | None = None,
    per_scene: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the most informative windows of the runs' scenes; see `rvlab.Lab.windows`."""
    import numpy as np
    import pandas as pd

    with Query(store) as query:
        listings = listings_of_runs(query, selected)
        wanted = [run for one in listings for run in one.runs]
        rank_windows.validate_ranking(by, [run.id for run in wanted], classes, n)
        rank_windows.require_positive_int(size=size, per_scene=per_scene)
        columns = read_identifying_columns(query, listings)
    tables = load_window_counts(store, wanted)
    if by == rank_windows.OBJECT_ERROR and tables:
        own = [run for run in wanted if run.id in tables]
        tables = count_objects_in_windows(tables, load_objects_by_run(store, own))
    if not tables:
        what = "objects" if by == rank_windows.OBJECT_ERROR else "predictions"
        raise NotFound(f"None of the runs has {what}.")
    if group is not None and group not in SCENE_GROUPS:
        tables = select_group(tables, wanted, group)
    counts = align_windows(tables, group, scenes)
    rank_windows.validate_ranking(by, counts.runs, classes, n)  # without the runs left out
    table = rank_windows.rank_windows(
        counts, by, n=n, size=size, classes=classes, per_scene=per_scene, seed=seed
    )
    position = {id_: i for i, (_, id_) in enumerate(columns.keys)}
    taken = columns.take(np.array([position.get(run, -1) for run in table["run"]], np.intp))
    after = list(table.columns).index("run") + 1
    first, last = table.iloc[:, :after], table.iloc[:, after:]
    return pd.concat([first, pd.DataFrame(taken, index=table.index), last], axis=1)


def load_window_counts(store: Store, wanted: Sequence[Run]) -> dict[str, pa.Table]:
    """Return the window counts of each run, by run id; see `load_or_count_tables`."""
    return load_or_count_tables(store, wanted, WINDOWS_TABLE, _require_valid_windows)


def _require_valid_windows(key: str, table: pa.Table) -> None:
    """Require that no window is empty, and that each has every class at most once."""
    import pyarrow.compute as pc

    if not len(table):
        return
    if min(pc.min(table.column(side)).as_py() for side in ("width", "height")) < 1:
        raise broken_table_error(key, "it has an empty window.")
    one = ["group", "scene", "col", "row", "class"]
    if len(table.group_by(one).aggregate([])) < len(table):
        raise broken_table_error(key, "it has two rows for a class of a window.")
