"""The roll of an experiment: which runs it has, and which record ended each.

A run has one of two keys beside its folder: ``{experiment}/runs/active/{run}``, which is empty,
from its submission on, and ``{experiment}/runs/ended/{run}.json`` from its end on. So two listings,
whatever lies in the folders of the runs, tell all runs and, by their ETags, each end that has
changed.

Those that are active are listed before those that have ended: a run that ends meanwhile is found by
both.
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
"""Of so many runs each is asked for, rather than all of their experiment listed."""


@dataclass(frozen=True)
class RunListing:
    """Runs of one experiment.

    Args:
        store: The root URI of the store.
        experiment: The experiment's name.
        ids: The ids of the runs, the oldest first unless they were named in another order.
        end_etags: The ETag of the end record of each that has one; None where the storage has none.
        is_complete: Whether these are all runs of the experiment.
        cache_keys: The keys of the index that readers have left, if they were listed as well.
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
        """Those without an end."""
        mine = [one for one in self.ids if one not in self.end_etags]
        return [Run(self.store, self.experiment, one) for one in mine]

    def subset(self, ids: Iterable[str]) -> RunListing:
        """Some of them; one that is not on it counts as a run without an end."""
        mine = list(dict.fromkeys(ids))
        ends = {one: self.end_etags[one] for one in mine if one in self.end_etags}
        return replace(self, ids=mine, end_etags=ends, is_complete=False)


def active_prefix(experiment: str) -> str:
    """The folder of the keys of runs without an end."""
    return f"{experiment}/{RUNS_DIR}/active/"


def ended_prefix(experiment: str) -> str:
    """The folder of the records that ended runs."""
    return f"{experiment}/{RUNS_DIR}/ended/"


def list_runs(store: Store, experiment: str, near: Collection[str] = ()) -> RunListing:
    """List the runs of an experiment; one that nobody has ever made has none.

    Args:
        store: Where it lies.
        experiment: Its name.
        near: Ids of runs that had ended when they were last listed; makes the listing faster.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    active = store.etags(active_prefix(experiment))
    ended = store.etags(ended_prefix(experiment), end_keys(experiment, page_boundaries(near)))
    return from_keys(store, experiment, active, ended, near=near)


def end_keys(experiment: str, ids: Iterable[str]) -> list[str]:
    """The keys of the records that ended runs, by the ids of the runs."""
    start = ended_prefix(experiment)
    return [f"{start}{one}.json" for one in ids]


def from_keys(
    store: Store,
    experiment: str,
    active: Iterable[str],
    ended: Mapping[str, str | None],
    *,
    near: Collection[str] = (),
    index: Sequence[str] | None = None,
) -> RunListing:
    """The roll of an experiment from two listings, of which that of active runs was first.

    Args:
        store: Where it lies.
        experiment: Its name.
        active: The keys below `active_prefix`.
        ended: The ETag of each key below `ended_prefix`.
        near: Ids of runs that had ended when they were last listed; they are valid names.
        index: See `RunListing`.
    """
    start, end = active_prefix(experiment), ended_prefix(experiment)
    ends: dict[str, str | None] = {}
    for key in sorted(ended):
        one = key[len(end) : -5]
        if key.endswith(".json") and (one in near or is_valid_name(one)):
            ends[one] = ended[key]
    going = [key[len(start) :] for key in active]
    others = [one for one in going if one not in ends and is_valid_name(one)]
    ids = sorted([*ends, *others]) if others else list(ends)
    return RunListing(store.uri, experiment, ids, ends, cache_keys=index)


def lookup_runs(
    store: Store, experiment: str, ids: Sequence[str], near: Collection[str] = ()
) -> RunListing:
    """The roll of runs that are named, whether they are there or not.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    if len(ids) > MAX_LOOKUPS:
        return list_runs(store, experiment, near).subset(ids)
    keys = {Run(store.uri, experiment, one).end_key: one for one in ids}

    def tag(key: str) -> tuple[str | None] | None:
        try:
            return (store.etag(key),)
        except KeyMissing:
            return None

    found = store.map_concurrently(tag, keys)
    ends = {keys[key]: answer[0] for key, answer in found.items() if answer is not None}
    return RunListing(store.uri, experiment, list(dict.fromkeys(ids)), ends, is_complete=False)


def run_exists(store: Store, run: Run) -> bool:
    """Whether there is such a run."""
    # In this order: a run that ends between the two is found by one of them.
    return store.exists(run.active_key) or store.exists(run.end_key)


def register_runs(store: Store, runs: Iterable[Run]) -> None:
    """Put runs on the roll, once their spec is there."""
    store.map_concurrently(lambda key: store.put(key, b""), [run.active_key for run in runs])


def finish_run(store: Store, run: Run, record: Mapping[str, Any]) -> None:
    """Write the record that ends a run.

    Its ``writer`` is a random id of this call: a write that failed on the way and may have arrived
    is recognised by its bytes, and no other writer has the same.

    Raises:
        KeyExists: If another has ended it before.
        StoreError: If the store refuses.
    """
    try:
        store.put_json(run.end_key, {**record, "writer": secrets.token_hex(8)}, if_absent=True)
    except KeyExists:
        unregister_run(store, run)
        raise
    unregister_run(store, run)


def unregister_run(store: Store, run: Run) -> None:
    """Remove the active mark of a run that has ended, if the store lets it be removed."""
    with contextlib.suppress(StoreError):  # readers pass over one that is left beside an end
        store.delete([run.active_key])


def reopen_run(store: Store, run: Run) -> None:
    """Take back a run's end; it is on the roll at every moment.

    It is marked as active before and after: between the two, `delete_stale_mark` may take the first
    mark for one that was left behind.
    """
    register_runs(store, [run])
    store.delete([run.end_key])
    register_runs(store, [run])


def delete_stale_mark(store: Store, run: Run) -> None:
    """Remove the active mark of a run that has ended, although the run may be reopened meanwhile.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    store.delete([run.active_key])
    if not store.exists(run.end_key):
        register_runs(store, [run])
