"""The table of runs: one row per run, with its parameters and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from rvlab.cache.annotations import read_annotations_by_run
from rvlab.cache.arrow import differing_param_columns, run_rows_to_arrow
from rvlab.cache.block import RowBlock, concat_rows
from rvlab.cache.query import Query, merge_by_experiment
from rvlab.cache.row_cache import CACHED_RUNS, read_through
from rvlab.errors import KeyMissing, RvlabError
from rvlab.frame.filter_runs import RunFilter, require_existing_experiments
from rvlab.frame.run_rows import RunRow, active_run_rows, error_row, row_from_end_record
from rvlab.frame.run_selector import RunSelector, select_listings
from rvlab.model import ReportedState, Run
from rvlab.model.annotation import RunAnnotations
from rvlab.model.schema import SPAN_S, TEXT
from rvlab.model.tables import BOOKKEEPING, COLUMNS_SHOWN, RANK_METRICS, RUNS_TABLE
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

StateQuery = Callable[[Sequence[Mapping[str, Any]]], Mapping[Run, ReportedState]]


def runs_table(
    store: Store,
    wanted: RunSelector,
    query_states: StateQuery | None = None,
    run_filter: RunFilter | None = None,
) -> pd.DataFrame:
    """Return one row per run, in the order of the selection.

    The end record of a run is read once and then cached; see `rvlab.cache`.

    Args:
        store: The store of the runs.
        wanted: The runs; see `rvlab.frame.run_selector.resolve_runs`.
        query_states: Returns the states of runs without a recent heartbeat, given their rows, which
            also have the `Run` as ``_run``; see `Engine.states`. None uses the records alone.
        run_filter: Selects some of the runs; None selects all.

    Returns:
        Index ``run``; the columns of `rvlab.model.tables.RUNS_TABLE`, in the order of
        `_order_columns`. A run whose records cannot be read is a row with the state ``broken``
        and the reason in ``error``.

    Warns:
        UserWarning: For an annotation that cannot be read; it is left out.

    Raises:
        SpecError: If a run is in another store.
        NotFound: If a run or experiment does not exist.
        StoreUnreachable: If the store does not answer.
    """
    with Query(store) as query:
        within = run_filter.experiments if run_filter else None
        found = query.list_runs(within) if wanted is None else select_listings(store, wanted, query)
        if run_filter is not None:
            require_existing_experiments(store, run_filter, found)
        return _build_table(query, found, query_states, run_filter)


def _build_table(
    query: Query,
    listings: Sequence[RunListing],
    query_states: StateQuery | None,
    run_filter: RunFilter | None,
) -> pd.DataFrame:
    import pandas  # noqa: F401  # import here, not in several threads at once

    store = query.store
    each = merge_by_experiment(listings)
    query.prefetch_annotations(each)
    tables: list[pa.Table] = []
    addresses: list[str] = []
    going: list[RunRow] = []
    for name, listing in each.items():
        block, broken, active = read_ended_rows(query, listing)
        tables.append(block.table)
        addresses += _uris(store, name, block.keys)
        going += _other_rows(store, broken, active)
    silent = [row for row in going if row["_silent"]]
    states = query_states(silent) if query_states and silent else {}
    for row in going:
        run = row["_run"]
        if run in states:
            _add_reported(row, states[run])
        addresses.append(run.uri)
    if going or not any(map(len, tables)):
        tables.append(run_rows_to_arrow(going))
    annotations: dict[str, RunAnnotations] = {}
    for name in filter(query.annotation_etags, each):
        by_run = read_annotations_by_run(query, name)
        annotations.update(zip(_uris(store, name, by_run), by_run.values(), strict=True))
    ids, names, uris, rows = _order_rows(store, listings, addresses, tables)
    columns = query.columns(rows)
    if run_filter is not None:
        found = [annotations.get(uri) for uri in uris]
        mask = run_filter.mask(names, rows.column("state").to_pylist(), found)
        rows = rows.filter(mask)
        columns = {name: values[mask] for name, values in columns.items()}
        ids, names, uris = (list(compress(values, mask)) for values in (ids, names, uris))
    added = {
        **_annotation_columns(uris, annotations),
        "experiment": _text_column(names),
        "uri": _text_column(uris),
    }
    columns = {**columns, **added}
    several = [*(["experiment"] if len(set(names)) > 1 else []), *_several_recipes(rows)]
    return _to_frame(ids, columns, _order_columns(columns, differing_param_columns(rows), several))


def _add_reported(row: RunRow, found: ReportedState) -> None:
    """Add the state that an engine reports, and its reason where the records have none."""
    # A run with a recent heartbeat that this queue does not have is in another queue.
    if found.state == "lost" and row["state"] == "running" and row["_steady"]:
        return
    row["state"] = found.state
    recorded = row.get("error") or (row.get("_failure") if found.state == "failed" else None)
    row["error"] = recorded or found.reason
    if found.step and not recorded:
        row["step"] = found.step


def _uris(store: Store, experiment: str, ids: Iterable[str]) -> list[str]:
    """Return the URIs of runs as text: ten thousand tuples would slow the garbage collector."""
    start = f"{store.uri}/{experiment}/"
    return [start + id_ for id_ in ids]


def _other_rows(
    store: Store, broken: Mapping[Run, RvlabError], active: Sequence[Run]
) -> list[RunRow]:
    """Return the rows of broken and active runs."""
    found = active_run_rows(store, active) if active else {}
    rows = {run: error_row(exc) for run, exc in broken.items()} | found
    return [{**row, "_run": run} for run, row in rows.items()]


def read_ended_rows(
    query: Query, listing: RunListing
) -> tuple[RowBlock, dict[Run, RvlabError], list[Run]]:
    """Read the rows of ended runs, through the cache.

    Returns:
        The rows; the error of each end record that cannot be read; and the runs without an end
        record, including those that were reopened or deleted since they were listed.
    """
    errors: dict[str, RvlabError] = {}

    def read(ids: Sequence[str]) -> RowBlock:
        return _read_ends(query.store, listing, ids, errors)

    block = read_through(
        query,
        CACHED_RUNS,
        listing.experiment,
        listing.end_etags,
        read,
        is_complete=listing.is_complete,
        cache_keys=listing.cache_keys,
    )
    runs = {Run(listing.store, listing.experiment, id_): exc for id_, exc in errors.items()}
    reopened = [run for run, exc in runs.items() if isinstance(exc, KeyMissing)]
    broken = {run: exc for run, exc in runs.items() if run not in reopened}
    return block, broken, [*listing.active, *reopened]


def _read_ends(
    store: Store, listing: RunListing, ids: Sequence[str], errors: dict[str, RvlabError]
) -> RowBlock:
    """Read end records, and add the error of each that cannot be read to `errors`."""
    wanted = {Run(listing.store, listing.experiment, id_).end_key: id_ for id_ in ids}
    rows: list[RunRow] = []
    keys: list[str] = []
    tags: list[str | None] = []
    for key, answer in store.read_many(wanted, row_from_end_record).items():
        if isinstance(answer, RvlabError):
            errors[wanted[key]] = answer
            continue
        row, tag = answer
        rows.append(row)
        keys.append(wanted[key])
        tags.append(tag)
    return RowBlock(run_rows_to_arrow(rows), keys, tags)


def _order_rows(
    store: Store,
    listings: Sequence[RunListing],
    row_uris: Sequence[str],
    tables: Sequence[pa.Table],
) -> tuple[list[str], list[str], list[str], pa.Table]:
    """Return the ids, experiments, URIs and rows of runs in the order of the listings."""
    rows = concat_rows(tables)
    ids = [id_ for listing in listings for id_ in listing.ids]
    names = [name for listing in listings for name in [listing.experiment] * len(listing.ids)]
    uris = [uri for listing in listings for uri in _uris(store, listing.experiment, listing.ids)]
    if uris == row_uris:
        return ids, names, uris, rows
    where = {address: i for i, address in enumerate(row_uris)}
    row_by_uri = {uri: one for uri, *one in zip(uris, ids, names, strict=True) if uri in where}
    taken = rows.take([where[uri] for uri in row_by_uri])
    return (
        [id_ for id_, _ in row_by_uri.values()],
        [name for _, name in row_by_uri.values()],
        list(row_by_uri),
        taken,
    )


def _annotation_columns(
    uris: Sequence[str], annotations: Mapping[str, RunAnnotations]
) -> dict[str, Any]:
    """Return the columns ``tags``, ``note`` and ``archived``."""
    import numpy as np

    if not annotations:
        none = _text_column([None]).take(np.zeros(len(uris), np.intp))
        return {"tags": none, "note": none.copy(), "archived": np.zeros(len(uris), bool)}
    found = [annotations.get(uri) for uri in uris]
    return {
        "tags": _text_column([", ".join(one.tags) or None if one else None for one in found]),
        "note": _text_column([one.note if one else None for one in found]),
        "archived": np.array([bool(one and one.archived) for one in found], bool),
    }


def _order_columns(
    columns: Iterable[str], differing: Sequence[str], several: Sequence[str]
) -> list[str]:
    """Order columns so that the first `COLUMNS_SHOWN` answer what a person asks first.

    Args:
        columns: The names of the columns of values.
        differing: The parameters in which the runs differ, and ``seed`` if they differ in it.
        several: Those of ``experiment`` and ``recipe`` of which the runs have several.

    Returns:
        ``name state``, `several`, up to three metrics, `differing`, ``duration age``; the other
        parameters, the other metrics, other columns, ``costs.*``, and bookkeeping. If more
        parameters differ than are shown with ``duration`` and ``age``, the rest follow these two.
    """
    groups: dict[str, list[str]] = {}
    for name in columns:
        group, dot, _ = name.partition(".")
        groups.setdefault(f"{group}." if dot else "", []).append(name)
    metrics = groups.get("metrics.", [])
    shown = [name for name in RANK_METRICS if name in metrics] or metrics[: len(RANK_METRICS)]
    first = ["name", "state", *several, *shown]
    room = max(0, COLUMNS_SHOWN - len(first) - 2)
    order = [
        *(*first, *differing[:room], "duration", "age", *differing[room:]),
        *(*groups.get("params.", []), "seed", *metrics),
        *(name for name in RUNS_TABLE.names if name not in BOOKKEEPING),
        *(*groups.get("costs.", []), *groups.get("eval_set.", []), *BOOKKEEPING),
    ]
    return list(dict.fromkeys(order))


def _several_recipes(rows: pa.Table) -> list[str]:
    """Return ``["recipe"]`` if the runs have several recipes."""
    import pyarrow.compute as pc

    return ["recipe"] if pc.count_distinct(rows.column("recipe")).as_py() > 1 else []


def _to_frame(ids: Sequence[str], columns: dict[str, Any], names: Sequence[str]) -> pd.DataFrame:
    """Return columns as a table with the dtypes of `RUNS_TABLE`, also without any row."""
    import pandas as pd

    columns |= {"duration": pd.NaT, "age": pd.NaT}
    index = pd.Index(list(ids), name="run", dtype="object")
    for column in columns.values():
        if isinstance(column, pd.Series):
            column.index = index
    table = pd.DataFrame({name: columns[name] for name in names}, index=index, copy=False)
    now = pd.Timestamp.now(tz="UTC").floor("s").as_unit("s")
    until = table["ended"].where(table["state"] != "running", now)
    for name, span in (("duration", until - table["started"]), ("age", now - table["created"])):
        # The two times can be of different clocks, and a negative duration is unknown.
        table[name] = span.where(span >= pd.Timedelta(0)).astype(SPAN_S)
    return table


def _text_column(values: Sequence[str | None]) -> Any:
    """Return a column of text."""
    import pandas as pd

    return pd.array(values, TEXT)
