"""Runs as the store has them: which have ended, and with which record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from rvlab.errors import SpecError
from rvlab.frame.ahead import Ahead
from rvlab.frame.flat import is_packed
from rvlab.frame.gather import Kind, known
from rvlab.frame.part import Part
from rvlab.frame.shelf import StoreShelf
from rvlab.model import Run, is_name
from rvlab.store import Store
from rvlab.store.roll import Roll, called, roll

ENDED = Kind("runs", is_packed, single=True, listed=True)
"""The rows of runs that have ended."""


def whole(store: Store, experiment: str, ahead: Ahead | None = None) -> Roll | None:
    """All runs of an experiment; None if it has none.

    Args:
        store: Where they lie.
        experiment: Its name.
        ahead: Begins, while the store is listing, what the table of these runs will need.
    """
    if not is_name(experiment):
        return None
    kept = known(store, experiment, ENDED)
    if ahead is not None:
        ahead.named(experiment)
        ahead.kept(kept)

    def ask(index: Sequence[str]) -> list[str]:
        shelf = StoreShelf(store, experiment, ENDED.name, index)
        if ahead is not None:
            ahead.there(experiment, shelf)
        return shelf.cuts()

    found = roll(store, experiment, _ids(kept), None if kept else ask)
    return found if found.ids else None


def _ids(parts: Sequence[Part]) -> Collection[str]:
    return parts[0].tagged if len(parts) == 1 else {key for part in parts for key in part.keys}


def rolls_of(store: Store, wanted: Sequence[Run] | Sequence[Roll]) -> list[Roll]:
    """The rolls of runs that are named, whether they are there or not.

    Args:
        store: Where they lie.
        wanted: The runs; or rolls, which are taken as they are.

    Returns:
        One for each experiment, or more where the order of the runs mixes them.

    Raises:
        SpecError: If one lies in another store.
        StoreError: If the store does not answer or refuses.
    """
    rolls = [one for one in wanted if isinstance(one, Roll)]
    runs = [one for one in wanted if isinstance(one, Run)]
    in_store(store, runs)
    ids: dict[str, list[str]] = {}
    for run in runs:
        ids.setdefault(run.experiment, []).append(run.id)
    mine = {n: called(store, n, some, _ids(known(store, n, ENDED))) for n, some in ids.items()}
    together = groupby(runs, key=lambda run: run.experiment)
    return [*rolls, *(mine[name].only(run.id for run in some) for name, some in together)]


def in_store(store: Store, runs: Iterable[Run]) -> None:
    """Whether runs lie in a store.

    Raises:
        SpecError: If one does not.
    """
    for run in runs:
        if run.store != store.uri:
            raise SpecError(f"The run {run.uri!r} does not lie directly in the store {store.uri}.")


def once(rolls: Sequence[Roll]) -> dict[str, Roll]:
    """All that is asked of each experiment, in one roll."""
    found: dict[str, Roll] = {}
    for one in rolls:
        other = found.get(one.experiment)
        if other is None:
            found[one.experiment] = one
        else:
            ids = list(dict.fromkeys([*other.ids, *one.ids]))
            ends = {**other.ends, **one.ends}
            both = other.whole or one.whole
            found[one.experiment] = Roll(one.store, one.experiment, ids, ends, both, other.index)
    return found
