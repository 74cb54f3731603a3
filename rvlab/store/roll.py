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
from rvlab.model import RUNS_DIR, Run, is_name
from rvlab.store.store import Store, page_boundaries

FEW = 32
"""Of so many runs each is asked for, rather than all of their experiment listed."""


@dataclass(frozen=True)
class Roll:
    """Runs of one experiment.

    Args:
        store: The root URI of the store.
        experiment: The experiment's name.
        ids: The ids of the runs, the oldest first unless they were named in another order.
        ends: The ETag of the end record of each that has one; None where the storage has none.
        whole: Whether these are all runs of the experiment.
        index: The keys of the index that readers have left, if they were listed as well.
    """

    store: str
    experiment: str
    ids: Sequence[str]
    ends: Mapping[str, str | None]
    whole: bool = True
    index: Sequence[str] | None = None

    @property
    def runs(self) -> list[Run]:
        """The runs, in their order."""
        return [Run(self.store, self.experiment, one) for one in self.ids]

    @property
    def active(self) -> list[Run]:
        """Those without an end."""
        mine = [one for one in self.ids if one not in self.ends]
        return [Run(self.store, self.experiment, one) for one in mine]

    def only(self, ids: Iterable[str]) -> Roll:
        """Some of them; one that is not on it counts as a run without an end."""
        mine = list(dict.fromkeys(ids))
        ends = {one: self.ends[one] for one in mine if one in self.ends}
        return replace(self, ids=mine, ends=ends, whole=False)


def active_prefix(experiment: str) -> str:
    """The folder of the keys of runs without an end."""
    return f"{experiment}/{RUNS_DIR}/active/"


def ended_prefix(experiment: str) -> str:
    """The folder of the records that ended runs."""
    return f"{experiment}/{RUNS_DIR}/ended/"


def roll(store: Store, experiment: str, near: Collection[str] = ()) -> Roll:
    """List the runs of an experiment; one that nobody has ever made has none.

    Args:
        store: Where it lies.
        experiment: Its name.
        near: Ids of runs that had ended when they were last listed; makes the listing faster.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    active = store.tags(active_prefix(experiment))
    ended = store.tags(ended_prefix(experiment), end_keys(experiment, page_boundaries(near)))
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
) -> Roll:
    """The roll of an experiment from two listings, of which that of active runs was first.

    Args:
        store: Where it lies.
        experiment: Its name.
        active: The keys below `active_prefix`.
        ended: The ETag of each key below `ended_prefix`.
        near: Ids of runs that had ended when they were last listed; they are valid names.
        index: See `Roll`.
    """
    start, end = active_prefix(experiment), ended_prefix(experiment)
    ends: dict[str, str | None] = {}
    for key in sorted(ended):
        one = key[len(end) : -5]
        if key.endswith(".json") and (one in near or is_name(one)):
            ends[one] = ended[key]
    going = [key[len(start) :] for key in active]
    others = [one for one in going if one not in ends and is_name(one)]
    ids = sorted([*ends, *others]) if others else list(ends)
    return Roll(store.uri, experiment, ids, ends, index=index)


def called(store: Store, experiment: str, ids: Sequence[str], near: Collection[str] = ()) -> Roll:
    """The roll of runs that are named, whether they are there or not.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    if len(ids) > FEW:
        return roll(store, experiment, near).only(ids)
    keys = {Run(store.uri, experiment, one).end_key: one for one in ids}

    def tag(key: str) -> tuple[str | None] | None:
        try:
            return (store.tag(key),)
        except KeyMissing:
            return None

    found = store.each(tag, keys)
    ends = {keys[key]: answer[0] for key, answer in found.items() if answer is not None}
    return Roll(store.uri, experiment, list(dict.fromkeys(ids)), ends, whole=False)


def is_on(store: Store, run: Run) -> bool:
    """Whether there is such a run."""
    # In this order: a run that ends between the two is found by one of them.
    return store.exists(run.active_key) or store.exists(run.end_key)


def enter(store: Store, runs: Iterable[Run]) -> None:
    """Put runs on the roll, once their spec is there."""
    store.each(lambda key: store.put(key, b""), [run.active_key for run in runs])


def close(store: Store, run: Run, record: Mapping[str, Any]) -> None:
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
        leave(store, run)
        raise
    leave(store, run)


def leave(store: Store, run: Run) -> None:
    """Remove the active mark of a run that has ended, if the store lets it be removed."""
    with contextlib.suppress(StoreError):  # readers pass over one that is left beside an end
        store.delete([run.active_key])


def reopen(store: Store, run: Run) -> None:
    """Take back a run's end; it is on the roll at every moment.

    It is marked as active before and after: between the two, `drop_stale_mark` may take the first
    mark for one that was left behind.
    """
    enter(store, [run])
    store.delete([run.end_key])
    enter(store, [run])


def drop_stale_mark(store: Store, run: Run) -> None:
    """Remove the active mark of a run that has ended, although the run may be reopened meanwhile.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    store.delete([run.active_key])
    if not store.exists(run.end_key):
        enter(store, [run])
