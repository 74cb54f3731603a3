"""Filters of the table of runs by experiment, state and tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab.errors import SpecError, did_you_mean
from rvlab.frame.run_names import RunNames
from rvlab.model.annotation import RunAnnotations, validate_tag
from rvlab.model.run import PREDICTION, STATES
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def without_prediction_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of runs that train, or all rows of a table that has predictions only.

    A prediction has the model of another run, so among runs that train it would be ranked twice.
    """
    if "kind" not in runs:
        return runs
    trains = (runs["kind"] != PREDICTION).fillna(True).to_numpy(dtype=bool)
    return runs if trains.all() or not trains.any() else runs[trains]


def without_unscored_predictions(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows except those of predictions without labels, which have no counts."""
    if "kind" not in runs:
        return runs
    scored = (runs["kind"] != PREDICTION).fillna(True) | runs["eval_set"].notna()
    return runs[scored.to_numpy(dtype=bool)]


@dataclass(frozen=True)
class RunFilter:
    """Conditions that a run must satisfy; None accepts every run.

    Args:
        experiments: The run is in one of these.
        states: The run has one of these states.
        tags: The run has all of these tags.
    """

    experiments: Collection[str] | None
    states: Collection[str] | None
    tags: Collection[str]

    def mask(
        self,
        experiments: Sequence[str],
        states: Sequence[str | None],
        annotations: Sequence[RunAnnotations | None],
    ) -> NDArray[np.bool_]:
        """Return for each run whether it satisfies all conditions."""
        import numpy as np

        wanted = set(self.tags)
        satisfied = [
            (self.experiments is None or experiment in self.experiments)
            and (self.states is None or state in self.states)
            and wanted <= set(found.tags if found else ())
            for experiment, state, found in zip(experiments, states, annotations, strict=True)
        ]
        return np.array(satisfied, bool)


def validate_filter(
    *,
    experiment: str | Iterable[str] | None = None,
    state: str | Iterable[str] | None = None,
    tags: str | Iterable[str] | None = None,
) -> RunFilter:
    """Return the filter of these arguments of `rvlab.Lab.runs`.

    Raises:
        SpecError: If an argument is neither a text nor a list of texts, or a state or tag is
            invalid.
    """
    experiments, states = _as_list("experiment", experiment), _as_list("state", state)
    for word in states or ():
        if word not in STATES:
            raise SpecError(f"A run cannot have the state {word!r}. {did_you_mean(word, STATES)}")
    words = _as_list("tags", tags) or ()
    return RunFilter(experiments, states, [validate_tag(tag) for tag in words])


def require_existing_experiments(
    store: Store, run_filter: RunFilter, listings: Iterable[RunListing]
) -> None:
    """Require that the experiments of a filter exist; folders are listed only if one is missing.

    Args:
        store: The store of the runs.
        run_filter: The filter.
        listings: The listings of the selected runs.

    Raises:
        NotFound: If an experiment does not exist.
    """
    listed = {one.experiment for one in listings}
    names = RunNames(store)
    for name in run_filter.experiments or ():
        if name not in listed and name not in names.experiments:
            raise names.missing_experiment(name)


def _as_list(argument: str, given: object) -> list[str] | None:
    if given is None:
        return None
    words: list[str] = []
    for one in given if isinstance(given, Iterable) and not isinstance(given, str) else [given]:
        if not isinstance(one, str):
            raise SpecError(f"{argument} must be text, or a list of texts, got {one!r}.")
        words.append(one)
    return words
