"""Which runs a question is about: a table, an experiment's name, a run, or a list of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from rvlab.cache.query import Query, list_experiment
from rvlab.errors import NotFound, SpecError, TableError, did_you_mean
from rvlab.model import Run, is_name
from rvlab.store import Store
from rvlab.store.roll import FEW, Roll, is_on

if TYPE_CHECKING:
    import pandas as pd

Picked: TypeAlias = Union["pd.DataFrame", "pd.Series[Any]", Run, str, Iterable[Run | str], None]
"""Which runs: a table or a row of it, a run, an id, an experiment, several of these, or all."""


def experiments(store: Store) -> list[str]:
    """The names of the experiments of a store."""
    return [name for name in store.folders() if is_name(name)]


def runs_of(store: Store, experiment: str) -> list[Run]:
    """The runs of an experiment, the oldest first.

    Raises:
        NotFound: If there is no such experiment.
    """
    found = list_experiment(store, experiment)
    if found is None:
        known = [name for name in experiments(store) if name != experiment]
        raise NotFound(
            f"There is no experiment {experiment!r} in {store.uri}. "
            f"{did_you_mean(experiment, known)}"
        )
    return found.runs


def rolls(store: Store, runs: Picked, query: Query | None = None) -> list[Roll]:
    """The runs that are meant, as the store has them; see `picked`.

    Args:
        store: Where they lie.
        runs: Which.
        query: The question that they are listed for.

    Returns:
        One roll for an experiment, or several where runs were named in an order that mixes them.

    Raises:
        SpecError: If one lies in another store.
        NotFound: If there is no such run or experiment.
    """
    if query is None:
        with Query(store) as own:
            return rolls(store, runs, own)
    if runs is None:
        return query.list_runs()
    if isinstance(runs, str) and "/" not in runs and (found := query.list_runs([runs])):
        return found
    return rolls_of(query, picked(store, runs))


def rolls_of(query: Query, wanted: Sequence[Run] | Sequence[Roll]) -> list[Roll]:
    """The rolls of runs that are named, whether they are there or not.

    Args:
        query: The question that they are listed for.
        wanted: The runs; or rolls, which are taken as they are.

    Returns:
        One for each experiment, or more where the order of the runs mixes them.

    Raises:
        SpecError: If one lies in another store.
        StoreError: If the store does not answer or refuses.
    """
    found = [one for one in wanted if isinstance(one, Roll)]
    runs = [one for one in wanted if isinstance(one, Run)]
    in_store(query.store, runs)
    return [*found, *query.look_up(runs)]


def in_store(store: Store, runs: Iterable[Run]) -> None:
    """Whether runs lie in a store.

    Raises:
        SpecError: If one does not.
    """
    for run in runs:
        if run.store != store.uri:
            raise SpecError(f"The run {run.uri!r} does not lie directly in the store {store.uri}.")


def run_named(store: Store, name: str) -> Run:
    """A run by its id, by ``experiment/id`` or by its URI.

    Raises:
        NotFound: If there is no such run.
    """
    text = name.removeprefix(f"{store.uri}/").strip("/")
    within, _, run_id = text.rpartition("/")
    names = [within] if within else experiments(store)
    if is_name(run_id):
        there = _there(store, [Run(store.uri, one, run_id) for one in names if is_name(one)])
        if there:
            return there[0]
    every = runs_of(store, within) if within else picked(store, None)
    near = did_you_mean(run_id, [run.id for run in every])
    raise NotFound(f"There is no run {name!r} in {store.uri}. {near}")


def _there(store: Store, runs: Iterable[Run]) -> list[Run]:
    """Of some runs, those that the store has."""
    by_uri = {run.uri: run for run in runs}
    found = store.each(lambda uri: is_on(store, by_uri[uri]), by_uri)
    return [run for uri, run in by_uri.items() if found[uri]]


def picked(store: Store, runs: Picked) -> list[Run]:
    """The runs that are meant.

    Args:
        store: Where they lie.
        runs: A table with the column ``uri``, or one row of it; a run; the id of a run or the name
            of an experiment; several of these; None for all runs of the store. A run that is named
            twice is meant once.

    Raises:
        NotFound: If there is no such run or experiment.
        TableError: If a table has no column ``uri``.
    """
    if runs is None:
        return [run for one in rolls(store, None) for run in one.runs]
    if isinstance(runs, Run):
        return [runs]
    if isinstance(runs, str):
        if "/" not in runs and (
            (one := list_experiment(store, runs)) or runs in experiments(store)
        ):
            return one.runs if one else runs_of(store, runs)
        return [_run_or_experiment(store, runs)]
    if hasattr(runs, "to_dict"):  # a DataFrame or a Series, without importing pandas
        return _of_table(cast("pd.DataFrame", runs))
    if not isinstance(runs, Iterable):
        raise SpecError(f"{runs!r} names no runs. Give a table, a run, its id or an experiment.")
    return list(dict.fromkeys(run for one in runs for run in picked(store, one)))


def present(store: Store, runs: Picked) -> list[Run]:
    """The runs that are meant, of which each lies in this store; see `picked`.

    Raises:
        SpecError: If one lies in another store.
        NotFound: If one is not there, or not any more.
    """
    wanted = picked(store, runs)
    in_store(store, wanted)
    ids: dict[str, set[str]] = {}
    for run in wanted:
        ids.setdefault(run.experiment, set()).add(run.id)
    for experiment, mine in ids.items():
        if len(mine) > FEW:
            missing = mine - set(one.ids if (one := list_experiment(store, experiment)) else ())
        else:
            there = _there(store, [Run(store.uri, experiment, id_) for id_ in mine])
            missing = mine - {run.id for run in there}
        for id_ in sorted(missing):
            near = did_you_mean(id_, [run.id for run in runs_of(store, experiment)])
            raise NotFound(f"There is no run '{experiment}/{id_}' in {store.uri}. {near}")
    return wanted


def one_present(store: Store, run: Picked, verb: str) -> Run:
    """The one run that is meant; see `present`.

    Raises:
        SpecError: If none is named, or several.
    """
    found = present(store, [] if run is None else run)
    if len(found) != 1:
        raise SpecError(f"{verb} takes one run; these are {len(found) or 'none'}. Name one.")
    return found[0]


def _run_or_experiment(store: Store, text: str) -> Run:
    try:
        return run_named(store, text)
    except NotFound as exc:
        names = experiments(store)
        ids = [run.id for run in picked(store, None)]
        raise NotFound(
            f"There is no experiment or run {text!r} in {store.uri}. "
            f"{did_you_mean(text, [*names, *ids])}"
        ) from exc


def _of_table(table: pd.DataFrame | pd.Series) -> list[Run]:
    if "uri" not in table:
        raise TableError("The table of runs has no column 'uri'. Keep it when you choose columns.")
    if not hasattr(table, "columns"):
        if not isinstance(table["uri"], str):
            raise NotFound(
                "The row has no 'uri', so it names no run: it was deleted, or never was."
            )
        return [Run.from_uri(table["uri"])]
    return [Run.from_uri(uri) for uri in table["uri"].dropna().unique()]
