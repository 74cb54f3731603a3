"""Selection of runs by a table, the name of an experiment, a run, an id, or a list of these."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from rvlab.cache.query import Query, list_experiment
from rvlab.errors import NEAR_CUTOFF, NotFound, SpecError, TableError, did_you_mean
from rvlab.model import Run, is_valid_name
from rvlab.store import Store
from rvlab.store.run_listing import MAX_LOOKUPS, RunListing, run_exists

if TYPE_CHECKING:
    import pandas as pd

RunSelector: TypeAlias = Union[
    "pd.DataFrame", "pd.Series[Any]", Run, str, Iterable[Run | str], None
]
"""A table of runs or a row of it, a run, an id, an experiment, several of these, or None (all)."""

RunsOrListings: TypeAlias = Sequence[Run] | Sequence[RunListing]
"""Runs, or listings of runs, which are not requested again."""


def list_experiments(store: Store) -> list[str]:
    """List the names of the experiments of a store."""
    return [name for name in store.folders() if is_valid_name(name)]


def runs_in_experiment(store: Store, experiment: str) -> list[Run]:
    """List the runs of an experiment, the oldest first.

    Raises:
        NotFound: If the experiment does not exist.
    """
    found = list_experiment(store, experiment)
    if found is None:
        known = [name for name in list_experiments(store) if name != experiment]
        raise NotFound(
            f"No experiment {experiment!r} in {store.uri}. {did_you_mean(experiment, known)}"
        )
    return found.runs


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
    return listings_of(query, resolve_runs(store, runs))


def listings_of(query: Query, wanted: RunsOrListings) -> list[RunListing]:
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
    return [*found, *query.look_up(runs)]


def require_in_store(store: Store, runs: Iterable[Run]) -> None:
    """Require that runs are in a store.

    Raises:
        SpecError: If a run is in another store.
    """
    for run in runs:
        if run.store != store.uri:
            raise SpecError(f"The run {run.uri!r} is not in the store {store.uri}.")


def find_run(store: Store, name: str) -> Run:
    """Find a run by its id, by ``experiment/id`` or by its URI.

    Raises:
        NotFound: If the run does not exist.
    """
    text = name.removeprefix(f"{store.uri}/").strip("/")
    within, _, run_id = text.rpartition("/")
    names = [within] if within else list_experiments(store)
    if is_valid_name(run_id):
        there = _existing(
            store, [Run(store.uri, one, run_id) for one in names if is_valid_name(one)]
        )
        if there:
            return there[0]
    every = runs_in_experiment(store, within) if within else resolve_runs(store, None)
    suggestion = did_you_mean(run_id, [run.id for run in every])
    raise NotFound(f"No run {name!r} in {store.uri}. {suggestion}")


def _existing(store: Store, runs: Iterable[Run]) -> list[Run]:
    """Return the runs that exist in the store."""
    by_uri = {run.uri: run for run in runs}
    found = store.map_concurrently(lambda uri: run_exists(store, by_uri[uri]), by_uri)
    return [run for uri, run in by_uri.items() if found[uri]]


def resolve_runs(store: Store, runs: RunSelector) -> list[Run]:
    """Resolve a selection to runs, each once.

    Args:
        store: The store of the runs.
        runs: A table with the column ``uri``, or one row of it; a run; the id of a run or the name
            of an experiment; several of these; None for all runs of the store.

    Raises:
        NotFound: If a run or experiment does not exist.
        SpecError: If `runs` is of another type.
        TableError: If a table has no column ``uri``.
    """
    if runs is None:
        return [run for one in select_listings(store, None) for run in one.runs]
    if isinstance(runs, Run):
        return [runs]
    if isinstance(runs, str):
        if "/" not in runs and (
            (one := list_experiment(store, runs)) or runs in list_experiments(store)
        ):
            return one.runs if one else runs_in_experiment(store, runs)
        return [_find_run_or_suggest(store, runs)]
    if hasattr(runs, "to_dict"):  # a DataFrame or a Series, without importing pandas
        return runs_in_table(cast("pd.DataFrame", runs))
    if not isinstance(runs, Iterable):
        raise SpecError(
            f"{runs!r} does not select runs. Pass a table, a run, its id or an experiment."
        )
    return list(dict.fromkeys(run for one in runs for run in resolve_runs(store, one)))


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
            there = _existing(store, [Run(store.uri, experiment, id_) for id_ in run_ids])
            missing = run_ids - {run.id for run in there}
        for id_ in sorted(missing):
            suggestion = did_you_mean(
                id_, [run.id for run in runs_in_experiment(store, experiment)]
            )
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


def _find_run_or_suggest(store: Store, text: str) -> Run:
    try:
        return find_run(store, text)
    except NotFound as exc:
        names = list_experiments(store)
        ids = [run.id for run in resolve_runs(store, None)]
        near = difflib.get_close_matches(text, [*names, *ids], n=1, cutoff=NEAR_CUTOFF)
        # Otherwise list the experiments: ids sort before most names and are not readable.
        known = [*names, *ids] if near else names
        hint = did_you_mean(text, known, listing="The experiments are")
        raise NotFound(f"No experiment or run {text!r} in {store.uri}. {hint}") from exc


def runs_in_table(table: pd.DataFrame | pd.Series) -> list[Run]:
    """Return the runs of a table of runs, or of one row of it, by the column ``uri``.

    Raises:
        TableError: If there is no column ``uri``.
        NotFound: If a single row has no URI.
    """
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
