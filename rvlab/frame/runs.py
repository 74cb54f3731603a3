"""The table of runs: one row per run, parameters and metrics joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.cache.annotations import read_annotations
from rvlab.cache.arrow import to_arrow
from rvlab.cache.block import RowBlock
from rvlab.cache.dtypes import RUNS, SPAN, TEXT
from rvlab.cache.query import Query, merge_listings
from rvlab.cache.row_cache import RUNS as CACHED_RUNS
from rvlab.cache.row_cache import read_through
from rvlab.errors import KeyMissing, RvlabError
from rvlab.frame.rows import LOCAL_ENGINES, RunRow, error_row, row_from_end, row_in_progress
from rvlab.frame.select import RunSelector, select_listings
from rvlab.model import Run
from rvlab.model.annotation import RunAnnotations
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

StateQuery = Callable[[Sequence[Mapping[str, Any]]], Mapping[Run, str]]


def runs_table(store: Store, wanted: RunSelector, ask: StateQuery | None = None) -> pd.DataFrame:
    """One row per run, in the order in which they are wanted.

    The record of a run that has ended is read once, on this machine, by whoever asks for it first;
    see `rvlab.cache`.

    Args:
        store: Where the runs lie.
        wanted: Which; see `rvlab.frame.select.resolve_runs`.
        ask: Tells the states of runs of which the store says nothing, from their rows, which have
            the address as ``_run`` too; see `Engine.states`.

    Returns:
        Index ``run``; the columns of `rvlab.cache.dtypes.RUNS`, then ``params.*`` in the order of
        the recipe, then ``metrics.*``, ``costs.*`` and, as ``eval_set.{group}``, what groups of
        scenes beside the headline's were scored on. Times are UTC timestamps, ``duration`` is a
        timedelta: to now for a run that is running, missing if the clocks of its steps and of this
        machine differ so much that it would be negative. ``tags`` are joined by ``", "``;
        ``archived`` is never missing. A run whose records cannot be read is a row with the state
        ``error_row`` and the reason in ``error``.

    Warns:
        UserWarning: For a tag, note or archiving that cannot be read; it is left out.

    Raises:
        SpecError: If a run lies in another store.
        NotFound: If there is no such run or experiment.
        StoreUnreachable: If nobody answers at the store's address: that is no run's fault.
    """
    with Query(store) as query:
        found = query.list_runs() if wanted is None else select_listings(store, wanted, query)
        return _build_table(query, found, ask)


def _build_table(query: Query, rolls: Sequence[RunListing], ask: StateQuery | None) -> pd.DataFrame:
    import pandas  # noqa: F401  # here, not in several threads at once

    store = query.store
    each = merge_listings(rolls)
    query.prefetch_annotations(each)
    tables: list[pa.Table] = []
    addresses: list[str] = []
    going: list[RunRow] = []
    for name, roll in each.items():
        block, others = _rows_of_listing(query, roll)
        tables.append(block.table)
        addresses += _uris(store, name, block.keys)
        going += others
    silent = [row for row in going if row["_silent"]]
    told = ask(silent) if ask and silent else {}
    for row in going:
        run = row["_run"]
        answer = told.get(run, row["state"])
        # A queue that does not have a run which wrote its record a moment ago is not its queue.
        if not (answer == "lost" and row["state"] == "running" and row["engine"] in LOCAL_ENGINES):
            row["state"] = answer
        if row["state"] == "failed":  # which only its engine knows, and not why
            row["error"] = row.get("error") or row.get("_failure")
        addresses.append(run.uri)
    if going or not any(map(len, tables)):
        tables.append(to_arrow(going))
    edits: dict[str, RunAnnotations] = {}
    for name in filter(query.annotation_etags, each):
        mine = read_annotations(query, name)
        edits.update(zip(_uris(store, name, mine), mine.values(), strict=True))
    ids, names, uris, rows = _order_rows(store, rolls, addresses, tables)
    added = {
        **_annotation_columns(uris, edits),
        "experiment": _text_column(names),
        "uri": _text_column(uris),
    }
    return _to_frame(ids, {**query.columns(rows), **added})


def _uris(store: Store, experiment: str, ids: Iterable[str]) -> list[str]:
    """Addresses as text: as tuples, ten thousand are much for the garbage collector."""
    start = f"{store.uri}/{experiment}/"
    return [start + id_ for id_ in ids]


def _rows_of_listing(query: Query, roll: RunListing) -> tuple[RowBlock, list[RunRow]]:
    """The rows of runs that have ended, and those of the others and of broken ones."""
    store = query.store
    troubles: dict[str, RvlabError] = {}

    def read(ids: Sequence[str]) -> RowBlock:
        return _read_ends(store, roll, ids, troubles)

    block = read_through(
        query,
        CACHED_RUNS,
        roll.experiment,
        roll.end_etags,
        read,
        complete=roll.is_complete,
        listed=roll.cache_keys,
    )
    rows = [
        {**error_row(exc), "_run": Run(roll.store, roll.experiment, id_)}
        for id_, exc in troubles.items()
        if not isinstance(exc, KeyMissing)
    ]
    # One whose end is gone was reopened since it was listed, or deleted.
    gone = [id_ for id_, exc in troubles.items() if isinstance(exc, KeyMissing)]
    going = [*roll.active, *roll.subset(gone).runs]
    found = row_in_progress(store, going) if going else {}
    return block, [*rows, *({**row, "_run": run} for run, row in found.items())]


def _read_ends(
    store: Store, roll: RunListing, ids: Sequence[str], troubles: dict[str, RvlabError]
) -> RowBlock:
    """Read the records that ended runs; `troubles` takes those that cannot be read."""
    wanted = {Run(roll.store, roll.experiment, id_).end_key: id_ for id_ in ids}
    rows: list[RunRow] = []
    keys: list[str] = []
    tags: list[str | None] = []
    for key, answer in store.read_many(wanted, row_from_end).items():
        if isinstance(answer, RvlabError):
            troubles[wanted[key]] = answer
            continue
        row, tag = answer
        rows.append(row)
        keys.append(wanted[key])
        tags.append(tag)
    return RowBlock(to_arrow(rows), keys, tags)


def _order_rows(
    store: Store, rolls: Sequence[RunListing], addresses: Sequence[str], tables: Sequence[pa.Table]
) -> tuple[list[str], list[str], list[str], pa.Table]:
    """Rows in the order in which they are wanted; their ids, experiments and addresses."""
    import pyarrow as pa

    some = [table for table in tables if len(table)] or tables[-1:]
    rows = some[0] if len(some) == 1 else pa.concat_tables(some, promote_options="default")
    ids = [id_ for roll in rolls for id_ in roll.ids]
    names = [name for roll in rolls for name in [roll.experiment] * len(roll.ids)]
    uris = [uri for roll in rolls for uri in _uris(store, roll.experiment, roll.ids)]
    if uris == addresses:
        return ids, names, uris, rows
    where = {address: i for i, address in enumerate(addresses)}
    of = {uri: one for uri, *one in zip(uris, ids, names, strict=True) if uri in where}
    taken = rows.take([where[uri] for uri in of])
    return [id_ for id_, _ in of.values()], [name for _, name in of.values()], list(of), taken


def _annotation_columns(uris: Sequence[str], edits: Mapping[str, RunAnnotations]) -> dict[str, Any]:
    """The columns that people wrote."""
    import numpy as np

    if not edits:
        none = _text_column([None]).take([0] * len(uris))
        return {"tags": none, "note": none.copy(), "archived": np.zeros(len(uris), bool)}
    found = [edits.get(uri) for uri in uris]
    return {
        "tags": _text_column([", ".join(one.tags) or None if one else None for one in found]),
        "note": _text_column([one.note if one else None for one in found]),
        "archived": np.array([bool(one and one.archived) for one in found], bool),
    }


def _to_frame(ids: Sequence[str], columns: dict[str, Any]) -> pd.DataFrame:
    """Columns as a table with the dtypes that are declared, empty or not."""
    import pandas as pd

    columns["duration"] = pd.NaT
    names = [*RUNS, *(name for name in columns if name not in RUNS)]
    index = pd.Index(list(ids), name="run", dtype="object")
    for column in columns.values():
        if isinstance(column, pd.Series):
            column.index = index
    table = pd.DataFrame({name: columns[name] for name in names}, index=index, copy=False)
    until = table["ended"].where(table["state"] != "running", pd.Timestamp.now(tz="UTC"))
    took = until - table["started"]
    # Below zero where the two times are of clocks that differ: then it is not known.
    table["duration"] = took.where(took >= pd.Timedelta(0)).astype(SPAN)
    return table


def _text_column(values: Sequence[str | None]) -> Any:
    """A column of text."""
    import pandas as pd

    return pd.array(values, TEXT)
