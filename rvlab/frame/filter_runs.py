"""Filters of the table of runs by experiment, state and tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rvlab.errors import SpecError, did_you_mean
from rvlab.frame.run_names import RunNames
from rvlab.frame.runs import StateQuery, runs_table
from rvlab.frame.select import RunSelector
from rvlab.model.annotation import validate_tag
from rvlab.model.run import STATES
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd


def filter_runs(
    store: Store,
    runs: RunSelector,
    query_states: StateQuery | None = None,
    *,
    experiment: str | Iterable[str] | None = None,
    state: str | Iterable[str] | None = None,
    tags: str | Iterable[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of `runs_table` that satisfy every filter; see `rvlab.Lab.runs`.

    Raises:
        NotFound: If a run or an experiment does not exist.
        SpecError: If there is no such state, or a tag is invalid.
    """
    experiments, states = _as_list(experiment), _as_list(state)
    wanted = [validate_tag(tag) for tag in _as_list(tags) or ()]
    for word in states or ():
        if word not in STATES:
            raise SpecError(f"A run cannot have the state {word!r}. {did_you_mean(word, STATES)}")
    if experiments:
        names = RunNames(store)
        for name in experiments:
            if name not in names.experiments:
                raise names.no_experiment(name)
    if runs is None and experiments is not None:
        runs = experiments[0] if len(experiments) == 1 else experiments
    table = runs_table(store, runs, query_states)
    if experiments is not None:
        table = table[table["experiment"].isin(experiments)]
    if states is not None:
        table = table[table["state"].isin(states)]
    for tag in wanted:
        cells = table["tags"].astype("object")
        table = table[[f", {tag}, " in f", {cell}, " for cell in cells]]
    return table


def _as_list(given: str | Iterable[str] | None) -> list[str] | None:
    if given is None:
        return None
    return [given] if isinstance(given, str) else list(given)
