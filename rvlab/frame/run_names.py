"""Lookup of runs by name: an id, the end of one, ``experiment/id`` or a URI."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property

from rvlab.cache.query import Query, list_experiment
from rvlab.errors import NEAR_CUTOFF, NotFound, SpecError, did_you_mean
from rvlab.model import Run, is_valid_name
from rvlab.model.run import is_new_id
from rvlab.store import Store
from rvlab.store.run_listing import MAX_LOOKUPS, RunListing, run_exists

MIN_SUFFIX_CHARS = 4
"""Minimum number of characters of the end of an id that identifies a run."""

MAX_CANDIDATES = 8
"""Candidates that the error of an ambiguous suffix lists."""


def list_experiments(store: Store) -> list[str]:
    """List the names of the experiments of a store."""
    return [name for name in store.folders() if is_valid_name(name)]


def existing_runs(store: Store, runs: Iterable[Run]) -> list[Run]:
    """Return the runs that exist in the store."""
    by_uri = {run.uri: run for run in runs}
    found = store.map_concurrently(lambda uri: run_exists(store, by_uri[uri]), by_uri)
    return [run for uri, run in by_uri.items() if found[uri]]


class RunNames:
    """The runs and experiments of a store by name, for the names of one selection.

    Each listing is read at most once, and only if a name needs it.

    Args:
        store: The store of the runs.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._listings: dict[str, RunListing | None] = {}
        self._lookups = 0

    @cached_property
    def experiments(self) -> list[str]:
        """The names of the experiments."""
        return list_experiments(self.store)

    @cached_property
    def all_listings(self) -> list[RunListing]:
        """The listings of all experiments."""
        with Query(self.store) as query:
            return query.list_runs(prefetch=False)

    def listing(self, experiment: str) -> RunListing | None:
        """Return the listing of an experiment; None if it has no runs."""
        if "all_listings" in self.__dict__:
            return next((one for one in self.all_listings if one.experiment == experiment), None)
        if experiment not in self._listings:
            self._listings[experiment] = list_experiment(self.store, experiment)
        return self._listings[experiment]

    def runs_in_experiment(self, experiment: str) -> list[Run]:
        """List the runs of an experiment, the oldest first.

        Raises:
            NotFound: If the experiment does not exist.
        """
        return self.require_listing(experiment).runs

    def require_listing(self, experiment: str) -> RunListing:
        """Return the listing of an experiment.

        Raises:
            NotFound: If the experiment does not exist.
        """
        found = self.listing(experiment)
        if found is None:
            raise self.missing_experiment(experiment)
        return found

    def missing_experiment(self, name: str) -> NotFound:
        """Return the error of an experiment that does not exist."""
        known = [one for one in self.experiments if one != name]
        return NotFound(f"No experiment {name!r} in {self.store.uri}. {did_you_mean(name, known)}")

    def find_runs(self, name: str) -> list[Run]:
        """Return the runs of an experiment, or the run of a name.

        The name of an experiment has priority over an id, and an exact id over the end of another.

        Raises:
            NotFound: If there is neither.
            SpecError: If several runs have the id, or ids that end with the name.
        """
        if "/" in name:
            return [self.find_run(name)]
        if name in self.experiments:
            return self.runs_in_experiment(name)
        try:
            return [self.find_run(name)]
        except NotFound as exc:
            raise self._not_found(name) from exc

    def find_run(self, name: str) -> Run:
        """Return the run with an id, with an id that ends with the text, or with a URI.

        ``experiment/`` may precede the id or its end.

        Raises:
            NotFound: If the run does not exist.
            SpecError: If several runs have the id, or ids that end with the name.
        """
        text = name.removeprefix(f"{self.store.uri}/").strip("/")
        within, _, run_id = text.rpartition("/")
        if is_new_id(run_id) and (exact := self._look_up(within, run_id)):
            return _require_one_match(exact, f"have the id {run_id!r}")
        listings = [self.require_listing(within)] if within else self.all_listings
        if exact := [
            Run(one.store, one.experiment, run_id) for one in listings if run_id in one.ids
        ]:
            return _require_one_match(exact, f"have the id {run_id!r}")
        if ending := _runs_with_suffix(listings, run_id):
            return _require_one_match(ending, f"have ids that end with {run_id!r}")
        raise NotFound(f"No run {name!r} in {self.store.uri}. {suggest_run(run_id, listings)}")

    def _look_up(self, experiment: str, run_id: str) -> list[Run]:
        """Look up a complete id, which is faster than a listing for the first few ids."""
        names = [experiment] if experiment else self.experiments
        self._lookups += len(names)
        if self._lookups > MAX_LOOKUPS:
            return []
        possible = [Run(self.store.uri, one, run_id) for one in names if is_valid_name(one)]
        return existing_runs(self.store, possible)

    def _not_found(self, name: str) -> NotFound:
        """Return the error of a name that is neither an experiment nor a run."""
        hint = suggest_run(name, self.all_listings)
        if not hint.startswith("Did") or difflib.get_close_matches(
            name, self.experiments, n=1, cutoff=NEAR_CUTOFF
        ):
            # Without a near name list the experiments: ids are not readable.
            hint = did_you_mean(name, self.experiments, listing="The experiments are")
        return NotFound(f"No experiment or run {name!r} in {self.store.uri}. {hint}")


def suggest_run(run_id: str, listings: Iterable[RunListing]) -> str:
    """Suggest the ids that are most similar to an id, or to the end of one."""
    ids = [id_ for one in listings for id_ in one.ids]
    if len(run_id) >= MIN_SUFFIX_CHARS and "-" not in run_id:
        by_end = {one.rpartition("-")[2]: one for one in ids}
        near = difflib.get_close_matches(run_id, by_end, n=3, cutoff=NEAR_CUTOFF)
        if near:
            return f"Did you mean {' or '.join(repr(by_end[end]) for end in near)}?"
    return did_you_mean(run_id, ids)


def _require_one_match(runs: Sequence[Run], what: str) -> Run:
    """Return the only run of a name.

    Raises:
        SpecError: If there are several.
    """
    if len(runs) == 1:
        return runs[0]
    shown = ", ".join(repr(run.prefix) for run in runs[:MAX_CANDIDATES])
    more = f" and {len(runs) - MAX_CANDIDATES} more" if len(runs) > MAX_CANDIDATES else ""
    raise SpecError(f"{len(runs)} runs {what}: {shown}{more}. Name one as experiment/id.")


def _runs_with_suffix(listings: Iterable[RunListing], suffix: str) -> list[Run]:
    if len(suffix) < MIN_SUFFIX_CHARS:
        return []
    return [
        Run(one.store, one.experiment, id_)
        for one in listings
        for id_ in one.ids
        if id_.endswith(suffix)
    ]
