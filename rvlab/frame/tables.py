"""Tables of evaluations, confusion, scenes, artifacts and history, which all join on ``run``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rvlab.cache.block import RowBlock, concat_blocks, concat_rows
from rvlab.cache.query import Query, merge_by_experiment
from rvlab.cache.row_cache import CachedTable, read_through
from rvlab.errors import KeyMissing, RecordBroken, RvlabError
from rvlab.frame.identifying_columns import read_identifying_columns
from rvlab.frame.params import PARAMS_PREFIX
from rvlab.frame.run_selector import RunsOrListings, listings_of_runs
from rvlab.frame.untrusted_parquet import broken_table_error, conform_to_schema, decode_parquet
from rvlab.model import Run
from rvlab.model.limits import LOG_CSV_BYTES, TABLE_BYTES
from rvlab.model.schema import RUN_COLUMNS, RUN_VALUES, TEXT, TableSchema
from rvlab.model.tables import (
    ARTIFACTS_TABLE,
    CONFUSION_TABLE,
    COUNTED_TABLES,
    EVALS_TABLE,
    FILE_TABLES,
    HISTORY_TABLE,
    SCENES_TABLE,
)
from rvlab.model.train_log import parse_epochs
from rvlab.store import Store
from rvlab.store.run_listing import RunListing
from rvlab.store.table_file import rows_to_arrow
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ReadRunTable = Callable[[Run, bool], "tuple[pa.Table | None, bool]"]
"""Reads the table of a run, given whether the run has ended.

Returns the table, or None if the run has none, and whether the answer is final. A missing key is
not final, since a store may be copied while it is read.
"""


RESERVED = [one.name for one in (*RUN_COLUMNS, *RUN_VALUES)]
"""Names of columns of runs, besides ``params.*``, that a column of a table cannot have as well."""


def _matches(schema: TableSchema) -> Callable[[pa.Table], bool]:
    """Return a check that cached rows have the columns of a schema, or no columns at all."""

    def check(table: pa.Table) -> bool:
        types = {one.name: str(one.type) for one in table.schema}
        wanted = schema.with_others(types) if schema.others else schema
        return types in (wanted.arrow_types, {})

    return check


# Not shared: histories and artifacts are the largest tables, and hardly compress.
CACHED_TABLES = {
    name: CachedTable(name, _matches(schema), is_shared=name not in ("artifacts", "history"))
    for name, schema in FILE_TABLES.items()
    if schema not in COUNTED_TABLES
}
"""The tables that are cached, by name."""


def evals_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return the metrics of each run in long format, with the columns of `EVALS_TABLE`.

    Runs that have not been evaluated have no rows.
    """
    return _summary_table(store, wanted, EVALS_TABLE)


def confusion_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return the confusion matrices of each run, with the columns of `CONFUSION_TABLE`."""
    return _summary_table(store, wanted, CONFUSION_TABLE)


def scene_fingerprints_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return fingerprints of the scenes of each run, with the columns of `SCENES_TABLE`.

    Fingerprints are equal where the pixels, the labels, the areas of interest or the pixel grids
    are equal.
    """
    return _summary_table(store, wanted, SCENES_TABLE)


def artifacts_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """List the files of each summarized run, with the columns of `ARTIFACT_URIS_TABLE`."""
    with Query(store) as query:
        listings = listings_of_runs(query, wanted)
    found = _summary_table(store, listings, ARTIFACTS_TABLE)
    key, uris = found["key"], {run.id: run.uri for one in listings for run in one.runs}
    # Files of an adopted run are stored elsewhere; their key is a complete URI.
    whole = key.str.match(r"/|[a-z0-9]+://")
    found["key"] = key.where(whole, found["run"].map(uris).astype(TEXT) + "/" + key)
    return found.rename(columns={"key": "uri"})


def history_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return one row per run and finished epoch, with the columns of `HISTORY_TABLE`.

    Runs that are still training are included. A series with the name of a column of the run is
    renamed to ``metric.{name}``.
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

    return _concat_runs(store, wanted, HISTORY_TABLE, find)


def _history_from_log(store: Store, run: Run) -> pa.Table | None:
    key = run.key("rv", "train", "log.csv")
    try:
        data = store.get(key, limit=LOG_CSV_BYTES)
    except KeyMissing:
        return None
    try:
        rows = parse_epochs(data.decode(errors="replace"))
    except RecordBroken as exc:
        raise RecordBroken(f"{run.prefix}: {exc}") from exc
    return rows_to_arrow(HISTORY_TABLE.with_others(rows[0] if rows else ()), rows)


def _history_from_table(store: Store, run: Run) -> pa.Table | None:
    """Read the history from the summary, which adopted runs have in place of a log."""
    key = run.key("tables", "history.parquet")
    found = _read_parquet(store, key)
    if found is None or "epoch" not in found.column_names:
        return None
    if odd := {"", "run"} & set(found.column_names):
        raise broken_table_error(key, f"it has a column {odd.pop()!r}.")
    return conform_to_schema(key, found, HISTORY_TABLE.with_others(found.column_names))


def _summary_table(store: Store, wanted: RunsOrListings, schema: TableSchema) -> pd.DataFrame:
    """Return a table that the step ``summarize`` writes."""
    import pyarrow.parquet  # noqa: F401  # import here, not in several threads at once

    def find(run: Run, _: bool) -> tuple[pa.Table | None, bool]:
        key = run.key("tables", f"{schema.name}.parquet")
        found = _read_parquet(store, key)
        if found is None:
            return None, False
        return conform_to_schema(key, found, schema).replace_schema_metadata(), True

    return _concat_runs(store, wanted, schema, find)


def _read_parquet(store: Store, key: str) -> pa.Table | None:
    """Read a parquet file; None if it does not exist."""
    try:
        data = store.get(key, limit=TABLE_BYTES)
    except KeyMissing:
        return None
    return decode_parquet(key, data)


def _concat_runs(
    store: Store, wanted: RunsOrListings, schema: TableSchema, read_table: ReadRunTable
) -> pd.DataFrame:
    """Concatenate the rows of all runs, with `IdentifyingColumns` and the dtypes of the schema."""
    import numpy as np
    import pandas as pd

    with Query(store) as query:
        listings = listings_of_runs(query, wanted)
        each = {
            n: _rows_of_experiment(query, one, CACHED_TABLES[schema.name], read_table)
            for n, one in merge_by_experiment(listings).items()
        }
        runs = read_identifying_columns(query, listings)
    some = []
    for one in listings:
        block = each[one.experiment]
        selected = block.select([id_ for id_ in one.ids if id_ in block.position])
        if len(selected.table):
            some.append((one.experiment, selected))
    rows = concat_rows([block.table for _, block in some])
    if schema.others:
        schema = schema.with_others(rows.column_names)
    table = _with_dtypes(rows, schema)
    keys = [(experiment, key) for experiment, block in some for key in block.keys]
    counts = [n for _, block in some for n in block.row_counts]
    columns = {
        "run": np.repeat(np.array([key for _, key in keys], dtype=object), counts),
        **runs.take(np.repeat(runs.positions(keys), counts)),
    }
    for name in table.columns:
        taken = name in RESERVED or str(name).startswith(PARAMS_PREFIX)
        columns[f"metric.{name}" if taken else name] = table[name]
    return pd.DataFrame(columns, copy=False)


def _rows_of_experiment(
    query: Query, listing: RunListing, cached_table: CachedTable, read_table: ReadRunTable
) -> RowBlock:
    """Return the rows of the runs of an experiment; rows of ended runs are cached."""
    store = query.store

    def read(ids: Sequence[str]) -> RowBlock:
        return _read_rows(store, listing.subset(ids), read_table)

    ended = read_through(
        query,
        cached_table,
        listing.experiment,
        listing.end_etags,
        read,
        is_complete=listing.is_complete,
        cache_keys=listing.cache_keys,
    )
    active = listing.subset(run.id for run in listing.active)
    return concat_blocks([ended, _read_rows(store, active, read_table)]) if active.ids else ended


def _read_rows(store: Store, listing: RunListing, read_table: ReadRunTable) -> RowBlock:
    import pyarrow as pa

    def table(uri: str) -> tuple[pa.Table | None, bool] | RecordBroken:
        run = Run.from_uri(uri)
        try:
            return read_table(run, run.id in listing.end_etags)
        except RecordBroken as exc:
            return exc

    runs = {run.uri: run for run in listing.runs}
    blocks = []
    for uri, answer in store.map_concurrently(table, runs).items():
        run = runs[uri]
        if isinstance(answer, RecordBroken):
            _warn_omitted(run, answer)
            continue
        rows, final = answer
        rows = rows if rows is not None else pa.table({})
        tag = listing.end_etags.get(run.id) if final else None
        blocks.append(RowBlock(rows, [run.id], [tag], [len(rows)]))
    return concat_blocks(blocks)


def _warn_omitted(run: Run, exc: RvlabError) -> None:
    """Warn that a broken file is left out of the table."""
    warn_user(f"The run {run.id} is left out of the table: {exc}")


def _with_dtypes(rows: pa.Table, schema: TableSchema) -> pd.DataFrame:
    """Convert rows to a table with the columns of a schema, in order and with their dtypes."""
    import pandas as pd

    dtypes = schema.dtypes
    if not len(rows):
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    found: pd.DataFrame = rows.select(list(dtypes)).to_pandas()
    return found.astype(dtypes)
