"""The most informative windows of runs, from counts that are stored beside each run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rvlab.cache.query import Query
from rvlab.errors import KeyMissing, NotFound, RvlabError, StoreError
from rvlab.frame import rank_windows
from rvlab.frame.align_windows import align_windows
from rvlab.frame.parquet import broken_table_error, conform_to_schema, read_parquet
from rvlab.frame.run_columns import read_run_columns
from rvlab.frame.select import RunsOrListings, listings_of
from rvlab.model import Run
from rvlab.model.limits import TABLE_BYTES
from rvlab.model.tables import WINDOWS_TABLE
from rvlab.raster.run_source import load_run_source, require_group
from rvlab.raster.scene import SCENE_GROUPS
from rvlab.raster.score_windows import score_scene
from rvlab.raster.window_counts import concat_windows
from rvlab.store import Store
from rvlab.store.table_file import encode_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

WINDOWS_KEY = ("tables", "windows.parquet")


def windows_table(
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
        listings = listings_of(query, selected)
        columns = read_run_columns(query, listings)
    wanted = [run for one in listings for run in one.runs]
    rank_windows.validate_ranking(by, [run.id for run in wanted], classes, n)
    rank_windows.require_positive_int(size=size, per_scene=per_scene)
    tables = load_window_counts(store, wanted)
    if not tables:
        raise NotFound("None of the runs has predictions.")
    if group is not None and group not in SCENE_GROUPS:
        tables = _select_group(tables, wanted, group)
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


def _select_group(
    tables: Mapping[str, pa.Table], wanted: Sequence[Run], group: str
) -> dict[str, pa.Table]:
    """Return the counts of the scenes in a group that the configs define, with its name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sources = [load_run_source(run.id, run.uri) for run in wanted if run.id in tables]
    require_group(group, sources)
    out = {}
    for one in sources:
        table = tables[one.run]
        members = pa.array([scene.id for scene in one.in_group(group)], pa.string())
        table = table.filter(pc.is_in(table["scene"], members))
        # A scene that is predicted in two groups is counted in both; use it once.
        both = table.filter(pc.equal(table["group"], "validation"))
        rest = pc.invert(pc.is_in(table["scene"], both["scene"].combine_chunks()))
        table = pa.concat_tables([both, table.filter(rest)])
        name = pa.array([group] * len(table), pa.string())
        out[one.run] = table.set_column(0, "group", name)
    return out


def load_window_counts(store: Store, wanted: Sequence[Run]) -> dict[str, pa.Table]:
    """Return the window counts of each run, by run id.

    Warns:
        UserWarning: For a run without counts; it is left out.
    """
    found = store.map_concurrently(
        lambda uri: _read_counts(store, Run.from_uri(uri)), [run.uri for run in wanted]
    )
    out = {}
    for run in wanted:
        table = found[run.uri]
        if isinstance(table, KeyMissing):
            table = _count_now(store, run)  # sequentially, since each needs much memory
        if isinstance(table, RvlabError):
            warnings.warn(f"The run {run.id} is left out: {table}", stacklevel=4)
        else:
            out[run.id] = table
    return out


def _read_counts(store: Store, run: Run) -> pa.Table | RvlabError:
    key = run.key(*WINDOWS_KEY)
    try:
        table = read_parquet(key, store.get(key, limit=TABLE_BYTES))
        table = conform_to_schema(key, table, WINDOWS_TABLE)
        _require_valid_windows(key, table)
    except RvlabError as exc:
        return exc
    return table


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


def _count_now(store: Store, run: Run) -> pa.Table | RvlabError:
    """Count the windows of a run without stored counts, and store them if allowed."""
    one = load_run_source(run.id, run.uri)
    if one.error is not None:
        return one.error
    done = [score_scene(scene, one.classes) for scene in one.scenes if scene.group != "train"]
    parts = [each.windows for each in done if each.windows is not None]
    troubles = [trouble for each in done for trouble in each.problems]
    if not parts:
        why = next(iter(troubles), "it has no scenes.")
        return NotFound(f"none of its scenes could be counted: {why}")
    for trouble in troubles:
        warnings.warn(f"The counts of the run {run.id} are incomplete. {trouble}", stacklevel=5)
    table = concat_windows(parts, one.scenes[0].task)
    # Do not store incomplete counts: an active run may still predict, and a scene that cannot be
    # read now may be readable later.
    if not troubles and store.exists(run.end_key):
        try:
            store.put(run.key(*WINDOWS_KEY), encode_table(table))
        except StoreError as exc:
            warnings.warn(f"The counts of {run.id} could not be stored: {exc}")  # noqa: B028
    return table
