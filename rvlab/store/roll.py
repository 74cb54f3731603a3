"""The roll of an experiment: which runs it has, and which record ended each.

A run has one of two keys beside its folder: ``{experiment}/roll/active/{run}``, which is empty,
from its submission on, and ``{experiment}/roll/ended/{run}.json`` from its end on. So two listings,
whatever lies in the folders of the runs, tell all runs and, by their ETags, each end that has
changed.

Those that are active are listed before those that have ended: a run that ends meanwhile is found by
both.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rvlab.errors import KeyExists, KeyMissing, StoreError
from rvlab.model import INDEX, ROLL, Run, is_name
from rvlab.store.store import Store, cuts_of

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


def roll(
    store: Store,
    experiment: str,
    near: Collection[str] = (),
    ask: Callable[[Sequence[str]], Sequence[str]] | None = None,
) -> Roll:
    """List the runs of an experiment; one that nobody has ever made has none.

    Args:
        store: Where it lies.
        experiment: Its name.
        near: Ids of runs that had ended when they were last listed; makes the listing faster.
        ask: Tells, from the keys of the index, which is listed for it, ids between which there is
            about a page of ends each, sorted.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    active, end = f"{experiment}/{ROLL}/active/", f"{experiment}/{ROLL}/ended/"
    listed = store.each(store.tags, [active, f"{experiment}/{INDEX}/"] if ask else [active])
    going = [key[len(active) :] for key in listed.pop(active)]
    index = [key for keys in listed.values() for key in keys] if ask else None
    cuts = ask(index) if ask and index else cuts_of(near)
    found = store.tags(end, [f"{end}{one}.json" for one in cuts])
    ended: dict[str, str | None] = {}
    for key in sorted(found):
        one = key[len(end) : -5]
        if key.endswith(".json") and (one in near or is_name(one)):
            ended[one] = found[key]
    others = [one for one in going if one not in ended and is_name(one)]
    ids = sorted([*ended, *others]) if others else list(ended)
    return Roll(store.uri, experiment, ids, ended, index=index)


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
