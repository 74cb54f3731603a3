"""Selection of runs by a table, the name of an experiment, a run, an id, or a list of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union, cast

from rvlab.cache.query import Query, list_experiment
from rvlab.errors import NotFound, SpecError, TableError
from rvlab.frame.run_names import RunNames, existing_runs, suggest_run
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.run_listing import MAX_LOOKUPS, RunListing

if TYPE_CHECKING:
    import pandas as pd

RunSelector: TypeAlias = Union[
    "pd.DataFrame", "pd.Series[Any]", Run, str, Iterable[Run | str], None
]
"""A table of runs, a row or its column ``uri``, a run, an id or its end, an experiment; or several.

None selects all runs of the store.
"""

RunsOrListings: TypeAlias = Sequence[Run] | Sequence[RunListing]
"""Runs, or listings of runs, which are not requested again."""


def is_uri_column(runs: object) -> TypeGuard[pd.Series[Any]]:
    """Return whether a selection is the column ``uri`` of a table of runs."""
    is_series = hasattr(runs, "to_dict") and not hasattr(runs, "columns")
    return is_series and getattr(runs, "name", None) == "uri"


def select_listings(
    store: Store, runs: RunSelector, query: Query | None = None
) -> list[RunListing]:
    """Resolve a selection to run listings; see `resolve_runs`.

    Args:
        store: The store of the runs.
        runs: The selection.
        query: The query that caches the listings; None uses a query of its own.

    Returns:
        One listing for each experiment, or more where the order of the runs mixes experiments.

    Raises:
        SpecError: If a run is in another store.
        NotFound: If a run or experiment does not exist.
    """
    if query is None:
        with Query(store) as own:
            return select_listings(store, runs, own)
    if runs is None:
        return query.list_runs()
    if isinstance(runs, str) and "/" not in runs and (found := query.list_runs([runs])):
        return found
    return listings_of_runs(query, resolve_runs(store, runs))


def listings_of_runs(query: Query, wanted: RunsOrListings) -> list[RunListing]:
    """Return the listings of runs, whether the runs exist or not.

    Args:
        query: The query that caches the listings.
        wanted: The runs; or listings, which are returned unchanged.

    Returns:
        One listing for each experiment, or more where the order of the runs mixes experiments.

    Raises:
        SpecError: If a run is in another store.
        StoreError: If the store does not answer or refuses.
    """
    found = [one for one in wanted if isinstance(one, RunListing)]
    runs = [one for one in wanted if isinstance(one, Run)]
    require_in_store(query.store, runs)
    return [*found, *query.list_named_runs(runs)]


def require_in_store(store: Store, runs: Iterable[Run]) -> None:
    """Require that runs are in a store.

    Raises:
        SpecError: If a run is in another store.
    """
    for run in runs:
        if run.store != store.uri:
            raise SpecError(f"The run {run.uri!r} is not in the store {store.uri}.")


def find_run(store: Store, name: str) -> Run:
    """Find a run by its id, the end of its id, or its URI; see `RunNames.find_run`.

    Raises:
        NotFound: If the run does not exist.
        SpecError: If several ids end with the name.
    """
    return RunNames(store).find_run(name)


def resolve_runs(store: Store, runs: RunSelector, names: RunNames | None = None) -> list[Run]:
    """Resolve a selection to runs, each once.

    Args:
        store: The store of the runs.
        runs: A table with the column ``uri``, one row of it, or that column; a run; the id of a
            run, the end of an id, or the name of an experiment; several of these; None for all runs
            of the store.
        names: The names that were looked up before; None looks them up.

    Raises:
        NotFound: If a run or experiment does not exist.
        SpecError: If `runs` is of another type, or several ids end with a name.
        TableError: If a table has no column ``uri``.
    """
    if runs is None:
        return [run for one in select_listings(store, None) for run in one.runs]
    if isinstance(runs, Run):
        return [runs]
    names = names or RunNames(store)
    if isinstance(runs, str):
        return names.find_runs(runs)
    if hasattr(runs, "to_dict"):  # a DataFrame or a Series, without importing pandas
        return runs_in_table(cast("pd.DataFrame", runs))
    if not isinstance(runs, Iterable):
        raise SpecError(
            f"{runs!r} does not select runs. Pass a table, a run, its id or an experiment."
        )
    return list(dict.fromkeys(run for one in runs for run in resolve_runs(store, one, names)))


def require_existing(store: Store, runs: RunSelector) -> list[Run]:
    """Resolve a selection to runs that exist in this store; see `resolve_runs`.

    Raises:
        SpecError: If a run is in another store.
        NotFound: If a run does not exist or was deleted.
    """
    wanted = resolve_runs(store, runs)
    require_in_store(store, wanted)
    ids: dict[str, set[str]] = {}
    for run in wanted:
        ids.setdefault(run.experiment, set()).add(run.id)
    for experiment, run_ids in ids.items():
        if len(run_ids) > MAX_LOOKUPS:
            missing = run_ids - set(one.ids if (one := list_experiment(store, experiment)) else ())
        else:
            there = existing_runs(store, [Run(store.uri, experiment, id_) for id_ in run_ids])
            missing = run_ids - {run.id for run in there}
        for id_ in sorted(missing):
            suggestion = suggest_run(id_, [RunNames(store).require_listing(experiment)])
            raise NotFound(f"No run '{experiment}/{id_}' in {store.uri}. {suggestion}")
    return wanted


def require_one(store: Store, run: RunSelector, verb: str) -> Run:
    """Resolve a selection to exactly one run; see `require_existing`.

    Raises:
        SpecError: If it selects no run, or several.
    """
    found = require_existing(store, [] if run is None else run)
    if len(found) != 1:
        raise SpecError(f"{verb} needs exactly one run, got {len(found)}. Name one.")
    return found[0]


def runs_in_table(table: pd.DataFrame | pd.Series) -> list[Run]:
    """Return the runs of a table, of a row of it, or of its column ``uri``.

    Raises:
        TableError: If the table has no column ``uri``.
        NotFound: If a single row has no URI.
    """
    if is_uri_column(table):
        return [Run.from_uri(uri) for uri in table.dropna().unique()]
    if "uri" not in table:
        raise TableError(
            "The table of runs has no column 'uri': keep it when you choose columns, or pass "
            "lab.runs(…)."
        )
    if not hasattr(table, "columns"):
        if not isinstance(table["uri"], str):
            raise NotFound("The row has no 'uri': its run was deleted, or never existed.")
        return [Run.from_uri(table["uri"])]
    return [Run.from_uri(uri) for uri in table["uri"].dropna().unique()]
