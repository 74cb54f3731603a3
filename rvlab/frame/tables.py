"""Tables of evaluations, confusion, scenes, artifacts and history, which all join on ``run``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.cache.block import RowBlock, concat_blocks
from rvlab.cache.query import Query, merge_listings
from rvlab.cache.row_cache import CachedTable, read_through
from rvlab.errors import KeyMissing, RecordBroken, RvlabError
from rvlab.frame.parquet import broken_table_error, conform_to_schema, read_parquet
from rvlab.frame.select import rolls_of
from rvlab.model import Run
from rvlab.model.limits import LOG_CSV_BYTES, TABLE_BYTES
from rvlab.model.train_log import parse_epochs
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

RunsOrListings = Sequence[Run] | Sequence[RunListing]
ReadRunTable = Callable[[Run, bool], "tuple[pa.Table | None, bool]"]
"""Reads the table of a run, given whether the run has ended.

Returns the table, or None if the run has none, and whether the answer is final. A missing key is
not final, since a store may be copied while it is read.
"""

EVALS_COLUMNS: dict[str, Any] = {
    "run": "object",
    "group": "string",
    "scene": "string",
    "class": "string",
    "metric": "string",
    "value": "float64",
}
CONFUSION_COLUMNS: dict[str, Any] = {
    "run": "object",
    "group": "string",
    "scene": "string",
    "truth": "string",
    "prediction": "string",
    "count": "int64",
}
ARTIFACT_COLUMNS: dict[str, Any] = {
    "run": "object",
    "step": "string",
    "kind": "string",
    "scene": "string",
    "uri": "string",
    "bytes": "int64",
}
SCENE_COLUMNS: dict[str, Any] = {
    "run": "object",
    "group": "string",
    "scene": "string",
    "image": "string",
    "labels": "string",
    "aois": "string",
    "grid": "string",
    "hashed_from": "string",
}
HISTORY_COLUMNS: dict[str, Any] = {"run": "object", "epoch": "int64"}

NEEDED = {
    "evals": ("group", "metric"),
    "confusion": ("group", "truth", "prediction"),
    "scenes": ("group", "scene"),
    "artifacts": ("key",),
}
"""Text columns without missing values."""

ADDED = {"scenes": ("grid",)}
"""Columns that tables of an earlier version do not have."""


def _has_columns(columns: Mapping[str, str]) -> Callable[[pa.Table], bool]:
    """Return a check that cached rows have these columns, or no columns at all."""
    names = {"string": "string", "int64": "int64", "float64": "double"}
    wanted = {name: names[dtype] for name, dtype in columns.items() if name != "run"}
    return lambda table: {one.name: str(one.type) for one in table.schema} in (wanted, {})


def _is_history_table(table: pa.Table) -> bool:
    types = {one.name: str(one.type) for one in table.schema}
    return not types or (types.pop("epoch", "") == "int64" and set(types.values()) <= {"double"})


_FILE_COLUMNS = {
    **{name: dtype for name, dtype in ARTIFACT_COLUMNS.items() if name != "uri"},
    "key": "string",
}

CACHED = {
    "evals": CachedTable("evals", _has_columns(EVALS_COLUMNS)),
    "confusion": CachedTable("confusion", _has_columns(CONFUSION_COLUMNS)),
    "scenes": CachedTable("scenes", _has_columns(SCENE_COLUMNS)),
    "artifacts": CachedTable("artifacts", _has_columns(_FILE_COLUMNS), is_shared=False),
    # Not shared: histories are the largest tables, and floats hardly compress.
    "history": CachedTable("history", _is_history_table, is_shared=False),
}
"""The tables that are cached, by name."""


def evals_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return the metrics of each run in long format.

    Returns:
        ``run group scene class metric value``; scene is NA for the whole group, class is NA over
        all classes. Runs that have not been evaluated have no rows.
    """
    return _apply_dtypes(_summary_table(store, wanted, "evals", EVALS_COLUMNS), EVALS_COLUMNS)


def confusion_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return the confusion matrices of each run in long format, in pixels or cells.

    Returns:
        ``run group scene truth prediction count``; scene is NA for the whole group.
    """
    return _apply_dtypes(
        _summary_table(store, wanted, "confusion", CONFUSION_COLUMNS), CONFUSION_COLUMNS
    )


def scenes_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return the fingerprints of the scenes that each run was scored on.

    Fingerprints are equal where the pixels, the labels, the areas of interest or the pixel grids
    are equal.

    Returns:
        ``run group scene image labels aois grid hashed_from``; aois is NA for a scene without areas
        of interest; grid is NA in runs of an earlier version; hashed_from is ``content``, or
        ``address`` if a file could not be read.
    """
    return _apply_dtypes(_summary_table(store, wanted, "scenes", SCENE_COLUMNS), SCENE_COLUMNS)


def artifacts_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """List the files that Raster Vision wrote in each summarized run.

    Returns:
        ``run step kind scene uri bytes``; scene is NA for a file that belongs to no scene.
    """
    with Query(store) as query:
        listings = rolls_of(query, wanted)
    found = _summary_table(store, listings, "artifacts", _FILE_COLUMNS)
    uris = {run.id: run.uri for one in listings for run in one.runs}
    if len(found):
        # Files of an adopted run are stored elsewhere; their key is a complete URI.
        whole = found["key"].str.match(r"/|[a-z0-9]+://")
        found["uri"] = found["key"].where(whole, found["run"].map(uris) + "/" + found["key"])
    return _apply_dtypes(found, ARTIFACT_COLUMNS)


def history_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return one row per run and finished epoch, also of runs that are still training.

    Returns:
        ``run epoch``, then the columns of Raster Vision's ``train/log.csv`` under its own names;
        times in seconds end in ``_s``.
    """
    import pyarrow.parquet  # noqa: F401  # import here, not in several threads at once

    def find(run: Run, ended: bool) -> tuple[pa.Table | None, bool]:
        # The summary is faster to read; an active run has only the log.
        ways = (
            (_history_from_table, _history_from_log)
            if ended
            else (_history_from_log, _history_from_table)
        )
        for way in ways:
            if (found := way(store, run)) is not None:
                return found, way is _history_from_table
        return None, False

    table = _concat_runs(store, wanted, CACHED["history"], find)
    rest = {name: "float64" for name in table.columns if name not in HISTORY_COLUMNS}
    return _apply_dtypes(table, {**HISTORY_COLUMNS, **rest})


def _history_from_log(store: Store, run: Run) -> pa.Table | None:
    import pyarrow as pa

    key = run.key("rv", "train", "log.csv")
    try:
        data = store.get(key, limit=LOG_CSV_BYTES)
    except KeyMissing:
        return None
    try:
        rows = parse_epochs(data.decode(errors="replace"))
    except RecordBroken as exc:
        raise RecordBroken(f"{run.prefix}: {exc}") from exc
    return pa.Table.from_pylist(rows, schema=_history_schema(rows[0] if rows else ["epoch"]))


def _history_from_table(store: Store, run: Run) -> pa.Table | None:
    """Read the history from the summary, which adopted runs have in place of a log."""
    key = run.key("tables", "history.parquet")
    found = _read_parquet(store, key)
    if found is None or "epoch" not in found.column_names:
        return None
    if odd := {"", "run"} & set(found.column_names):
        raise broken_table_error(key, f"it has a column {odd.pop()!r}.")
    only = {"needed": ("epoch",), "positive": ("epoch",)}
    return conform_to_schema(key, found, _history_schema(found.column_names), **only)


def _history_schema(names: Iterable[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(n, pa.int64() if n == "epoch" else pa.float64()) for n in names])


def _summary_table(
    store: Store, wanted: RunsOrListings, name: str, columns: Mapping[str, Any]
) -> pd.DataFrame:
    """Return a table that the step ``summarize`` writes."""
    import pyarrow as pa
    import pyarrow.parquet  # import here, not in several threads at once

    schema = pa.schema([(n, pa.type_for_alias(t)) for n, t in columns.items() if n != "run"])
    whole = [one.name for one in schema if pa.types.is_integer(one.type)]

    def find(run: Run, _: bool) -> tuple[pa.Table | None, bool]:
        key = run.key("tables", f"{name}.parquet")
        found = _read_parquet(store, key)
        if found is None:
            return None, False
        needed = [*whole, *NEEDED[name]]
        rows = conform_to_schema(
            key, found, schema, needed=needed, positive=whole, added=ADDED.get(name, ())
        )
        return rows.replace_schema_metadata(), True

    return _concat_runs(store, wanted, CACHED[name], find)


def _read_parquet(store: Store, key: str) -> pa.Table | None:
    """Read a parquet file; None if it does not exist."""
    try:
        data = store.get(key, limit=TABLE_BYTES)
    except KeyMissing:
        return None
    return read_parquet(key, data)


def _concat_runs(
    store: Store, wanted: RunsOrListings, kind: CachedTable, find: ReadRunTable
) -> pd.DataFrame:
    """Concatenate the rows of all runs, with the id of each run in the column ``run``."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    with Query(store) as query:
        listings = rolls_of(query, wanted)
        each = {n: _block(query, one, kind, find) for n, one in merge_listings(listings).items()}
    some = []
    for one in listings:
        block = each[one.experiment]
        selected = block.select([id_ for id_ in one.ids if id_ in block.position])
        if len(selected.table):
            some.append(selected)
    if not some:
        return pd.DataFrame()
    table: pd.DataFrame = pa.concat_tables(
        [block.table for block in some], promote_options="default"
    ).to_pandas()
    ids = np.array([key for block in some for key in block.keys], dtype=object)
    table.insert(0, "run", np.repeat(ids, [n for block in some for n in block.row_counts]))
    return table


def _block(query: Query, one: RunListing, kind: CachedTable, find: ReadRunTable) -> RowBlock:
    """Return the rows of the runs of an experiment; rows of ended runs are cached."""
    store = query.store

    def read(ids: Sequence[str]) -> RowBlock:
        return _read_rows(store, one.subset(ids), find)

    ended = read_through(
        query,
        kind,
        one.experiment,
        one.end_etags,
        read,
        complete=one.is_complete,
        listed=one.cache_keys,
    )
    active = one.subset(run.id for run in one.active)
    return concat_blocks([ended, _read_rows(store, active, find)]) if active.ids else ended


def _read_rows(store: Store, one: RunListing, find: ReadRunTable) -> RowBlock:
    import pyarrow as pa

    def table(uri: str) -> tuple[pa.Table | None, bool] | RecordBroken:
        run = Run.from_uri(uri)
        try:
            return find(run, run.id in one.end_etags)
        except RecordBroken as exc:
            return exc

    runs = {run.uri: run for run in one.runs}
    blocks = []
    for uri, answer in store.map_concurrently(table, runs).items():
        run = runs[uri]
        if isinstance(answer, RecordBroken):
            _warn_omitted(run, answer)
            continue
        rows, final = answer
        rows = rows if rows is not None else pa.table({})
        tag = one.end_etags.get(run.id) if final else None
        blocks.append(RowBlock(rows, [run.id], [tag], [len(rows)]))
    return concat_blocks(blocks)


def _warn_omitted(run: Run, exc: RvlabError) -> None:
    """Warn that a broken file is left out of the table."""
    warnings.warn(f"The run {run.id} is left out of the table: {exc}", stacklevel=7)


def _apply_dtypes(table: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    if table.empty:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    return table[list(columns)].astype(columns)
