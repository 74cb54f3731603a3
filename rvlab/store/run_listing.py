"""The run listing of an experiment: its runs, and the end record of each.

A run has one of two keys beside its folder: the empty ``{experiment}/runs/active/{run}`` from its
submission on, and ``{experiment}/runs/ended/{run}.json`` from its end on. So two listings return
all runs and, by ETag, each end record that has changed, however many keys the folders of the runs
have.

Active runs are listed before ended ones: a run that ends in between is then in both listings.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rvlab.errors import KeyExists, KeyMissing, StoreError
from rvlab.model import RUNS_DIR, Run, is_valid_name
from rvlab.store.store import Store, page_boundaries

MAX_LOOKUPS = 32
"""Maximum number of runs that are looked up one by one; for more, list the experiment."""


@dataclass(frozen=True)
class RunListing:
    """A listing of runs of one experiment.

    Args:
        store: The root URI of the store.
        experiment: The experiment's name.
        ids: The ids of the runs, the oldest first unless the caller named them in another order.
        end_etags: The ETag of each end record, by run id; None where the storage has no ETags.
        is_complete: Whether these are all runs of the experiment.
        cache_keys: The keys of shared cache blocks, if they were listed as well.
    """

    store: str
    experiment: str
    ids: Sequence[str]
    end_etags: Mapping[str, str | None]
    is_complete: bool = True
    cache_keys: Sequence[str] | None = None

    @property
    def runs(self) -> list[Run]:
        """The runs, in their order."""
        return [Run(self.store, self.experiment, one) for one in self.ids]

    @property
    def active(self) -> list[Run]:
        """The runs without an end record."""
        active = [one for one in self.ids if one not in self.end_etags]
        return [Run(self.store, self.experiment, one) for one in active]

    def subset(self, ids: Iterable[str]) -> RunListing:
        """Return a listing of some runs; an unlisted id counts as a run without an end record."""
        chosen = list(dict.fromkeys(ids))
        ends = {one: self.end_etags[one] for one in chosen if one in self.end_etags}
        return replace(self, ids=chosen, end_etags=ends, is_complete=False)


def active_prefix(experiment: str) -> str:
    """Return the prefix of the keys of active runs."""
    return f"{experiment}/{RUNS_DIR}/active/"


def ended_prefix(experiment: str) -> str:
    """Return the prefix of the end records."""
    return f"{experiment}/{RUNS_DIR}/ended/"


def list_runs(store: Store, experiment: str, known_ids: Collection[str] = ()) -> RunListing:
    """List the runs of an experiment; an experiment that does not exist has none.

    Args:
        store: The store of the experiment.
        experiment: Its name.
        known_ids: Ids of runs that had ended at the last listing; page boundaries, to list faster.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    active = store.etags(active_prefix(experiment))
    ended = store.etags(
        ended_prefix(experiment), end_record_keys(experiment, page_boundaries(known_ids))
    )
    return listing_from_keys(store, experiment, active, ended, known_ids=known_ids)


def end_record_keys(experiment: str, ids: Iterable[str]) -> list[str]:
    """Return the keys of the end records of runs, in the order of their ids."""
    start = ended_prefix(experiment)
    return [f"{start}{one}.json" for one in ids]


def listing_from_keys(
    store: Store,
    experiment: str,
    active: Iterable[str],
    ended: Mapping[str, str | None],
    *,
    known_ids: Collection[str] = (),
    cache_keys: Sequence[str] | None = None,
) -> RunListing:
    """Build the listing of an experiment from its active and its ended keys, listed in this order.

    Args:
        store: The store of the experiment.
        experiment: Its name.
        active: The keys below `active_prefix`.
        ended: The ETag of each key below `ended_prefix`.
        known_ids: Ids of runs that had ended at the last listing; their names are not validated
            again.
        cache_keys: The `cache_keys` of `RunListing`.
    """
    start, end = active_prefix(experiment), ended_prefix(experiment)
    ends: dict[str, str | None] = {}
    for key in sorted(ended):
        one = key[len(end) : -5]
        if key.endswith(".json") and (one in known_ids or is_valid_name(one)):
            ends[one] = ended[key]
    going = [key[len(start) :] for key in active]
    others = [one for one in going if one not in ends and is_valid_name(one)]
    ids = sorted([*ends, *others]) if others else list(ends)
    return RunListing(store.uri, experiment, ids, ends, cache_keys=cache_keys)


def listing_of_named_runs(
    store: Store, experiment: str, ids: Sequence[str], known_ids: Collection[str] = ()
) -> RunListing:
    """Return the listing of named runs, whether or not they exist.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    if len(ids) > MAX_LOOKUPS:
        return list_runs(store, experiment, known_ids).subset(ids)
    keys = {Run(store.uri, experiment, one).end_key: one for one in ids}

    def tag(key: str) -> tuple[str | None] | None:
        try:
            return (store.etag(key),)
        except KeyMissing:
            return None

    found = store.map_concurrently(tag, keys)
    ends = {keys[key]: answer[0] for key, answer in found.items() if answer is not None}
    return RunListing(store.uri, experiment, list(dict.fromkeys(ids)), ends, is_complete=False)


def ended_runs(store: Store, runs: Iterable[Run]) -> set[str]:
    """Return the URIs of the runs that have an end record, with few requests per experiment."""
    ids: dict[str, list[str]] = {}
    for run in runs:
        ids.setdefault(run.experiment, []).append(run.id)
    listings = [
        listing_of_named_runs(store, experiment, chosen) for experiment, chosen in ids.items()
    ]
    return {Run(store.uri, one.experiment, id_).uri for one in listings for id_ in one.end_etags}


def run_exists(store: Store, run: Run) -> bool:
    """Return whether a run exists."""
    # In this order: a run that ends between the two calls is found by the second.
    return store.exists(run.active_key) or store.exists(run.end_key)


def write_active_marks(store: Store, runs: Iterable[Run]) -> None:
    """Add active marks for runs whose spec has been written."""
    store.map_concurrently(lambda key: store.put(key, b""), [run.active_key for run in runs])


def finish_run(store: Store, run: Run, record: Mapping[str, Any]) -> None:
    """Write the end record of a run and remove its active mark.

    The record's ``writer`` is a random id of this call. So a write whose response was lost can be
    recognised by its bytes, which no other writer has.

    Raises:
        KeyExists: If another process has ended the run before.
        StoreError: If the store refuses.
    """
    try:
        store.put_json(run.end_key, {**record, "writer": secrets.token_hex(8)}, if_absent=True)
    except KeyExists:
        delete_active_mark(store, run)
        raise
    delete_active_mark(store, run)


def delete_active_mark(store: Store, run: Run) -> None:
    """Remove the active mark of a run that has ended, if the store allows it."""
    with contextlib.suppress(StoreError):  # readers ignore a mark beside an end record
        store.delete([run.active_key])


def reopen_run(store: Store, run: Run) -> None:
    """Delete a run's end record; the run is listed at every moment.

    The active mark is written before and after: in between, `delete_stale_active_mark` may delete
    the first one as stale.
    """
    write_active_marks(store, [run])
    store.delete([run.end_key])
    write_active_marks(store, [run])


def delete_stale_active_mark(store: Store, run: Run) -> None:
    """Remove the active mark of an ended run; restore it if the run is reopened meanwhile.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    store.delete([run.active_key])
    if not store.exists(run.end_key):
        write_active_marks(store, [run])
