"""Which runs a question is about: a table, an experiment's name, a run, or a list of runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from rvlab.errors import NotFound, SpecError, TableError, did_you_mean
from rvlab.model import Run, is_name
from rvlab.model.edit import RESERVED
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd


def experiments(store: Store) -> list[str]:
    """The names of the experiments of a store."""
    return [name for name in store.folders() if is_name(name)]


def runs_of(store: Store, experiment: str) -> list[Run]:
    """The runs of an experiment, the oldest first.

    Raises:
        NotFound: If there is no such experiment.
    """
    found = _listed(store, experiment)
    if not found:
        known = [name for name in experiments(store) if name != experiment]
        raise NotFound(
            f"There is no experiment {experiment!r} in {store.uri}. "
            f"{did_you_mean(experiment, known)}"
        )
    return found


def _listed(store: Store, experiment: str) -> list[Run]:
    names = store.folders(f"{experiment}/")
    return [
        Run(store.uri, experiment, name) for name in names if name not in RESERVED and is_name(name)
    ]


def run_named(store: Store, name: str) -> Run:
    """A run by its id, by ``experiment/id`` or by its URI.

    Raises:
        NotFound: If there is no such run.
    """
    text = name.removeprefix(f"{store.uri}/").strip("/")
    within, _, run_id = text.rpartition("/")
    if within:
        known = runs_of(store, within)
    else:
        known = [run for experiment in experiments(store) for run in _listed(store, experiment)]
    found = [run for run in known if run.id == run_id]
    if not found:
        near = did_you_mean(run_id, [run.id for run in known])
        raise NotFound(f"There is no run {name!r} in {store.uri}. {near}")
    return found[0]


def picked(
    store: Store, runs: pd.DataFrame | pd.Series | Run | str | Iterable[Run | str] | None
) -> list[Run]:
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
        return [run for name in experiments(store) for run in _listed(store, name)]
    if isinstance(runs, Run):
        return [runs]
    if isinstance(runs, str):
        if "/" not in runs and runs in experiments(store):
            return runs_of(store, runs)
        return [_run_or_experiment(store, runs)]
    if hasattr(runs, "to_dict"):  # a DataFrame or a Series, without importing pandas
        return _of_table(cast("pd.DataFrame", runs))
    if not isinstance(runs, Iterable):
        raise SpecError(f"{runs!r} names no runs. Give a table, a run, its id or an experiment.")
    return list(dict.fromkeys(run for one in runs for run in picked(store, one)))


def present(
    store: Store, runs: pd.DataFrame | pd.Series | Run | str | Iterable[Run | str] | None
) -> list[Run]:
    """The runs that are meant, of which each lies in this store; see `picked`.

    Raises:
        SpecError: If one lies in another store.
        NotFound: If one is not there, or not any more.
    """
    wanted = picked(store, runs)
    for run in wanted:
        if store.key(run.uri) != run.prefix:
            raise SpecError(f"The run {run.uri!r} does not lie directly in the store {store.uri}.")
    for experiment in dict.fromkeys(run.experiment for run in wanted):
        known = [run.id for run in runs_of(store, experiment)]
        for run in wanted:
            if run.experiment == experiment and run.id not in known:
                raise NotFound(
                    f"There is no run {run.prefix!r} in {store.uri}. {did_you_mean(run.id, known)}"
                )
    return wanted


def one_present(
    store: Store, run: pd.DataFrame | pd.Series | Run | str | Iterable[Run | str] | None, verb: str
) -> Run:
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
        ids = [run.id for name in names for run in _listed(store, name)]
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
