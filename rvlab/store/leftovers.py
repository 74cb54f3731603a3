"""Find and remove keys that an interrupted submission or end of a run left in a store.

A submission writes ``recipe.py``, ``spec.json`` and the run's active mark, in this order. A
submission that was killed leaves a folder that no table shows. An end record is written before the
active mark is removed. If the process is killed in between, a mark remains beside the end record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from rvlab.model import RESERVED_NAMES, RUNS_DIR, Run, is_valid_name
from rvlab.store.delete import remove_empty_folder
from rvlab.store.run_listing import delete_stale_active_mark, run_exists
from rvlab.store.store import Store

UNFINISHED, STALE_MARK, UNLISTED = "unfinished submission", "stale active mark", "unlisted folder"
"""Kinds of leftovers: a run that was not submitted completely; the mark of a run that has ended; a
folder with more keys than a submission writes, such as a run whose mark was deleted by hand."""

SUBMITTED = ("recipe.py", "spec.json")
"""Names of all keys that a submission writes in the folder of a run."""

OLDER_THAN_S = 3600.0
"""Minimum age in seconds: newer keys may belong to a submission that is in progress."""


@dataclass(frozen=True)
class Leftover:
    """Keys of a run that an interruption left behind.

    Args:
        run: The run.
        kind: One of `UNFINISHED`, `STALE_MARK` and `UNLISTED`.
        keys: Its keys.
        written: When the newest of them was written, by the store's clock; None if unknown.
    """

    run: Run
    kind: str
    keys: tuple[str, ...]
    written: datetime | None


def leftovers(store: Store, *, older_than_s: float = OLDER_THAN_S) -> list[Leftover]:
    """List what interruptions left in a store.

    Args:
        store: The store.
        older_than_s: Minimum age in seconds of the last write, by the store's clock. Where the
            store records no times, only 0 finds anything.

    Returns:
        Leftovers in the order of experiments and runs. Listed runs are not included, except for an
        active mark beside their end record.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    before = store.now() - timedelta(seconds=older_than_s)

    def is_old(moment: datetime | None) -> bool:
        return older_than_s <= 0 or (moment is not None and moment <= before)

    found: list[Leftover] = []
    for experiment in filter(is_valid_name, store.folders()):
        # Active marks first, as in `list_runs`: a run that ends in between is then in both
        # listings.
        marks = _last_modified_by_id(store, f"{experiment}/{RUNS_DIR}/active/", "")
        ends = _last_modified_by_id(store, f"{experiment}/{RUNS_DIR}/ended/", ".json")
        for id_ in sorted(marks.keys() & ends.keys()):
            if is_old(marks[id_]) and is_old(ends[id_]):
                run = Run(store.uri, experiment, id_)
                found.append(Leftover(run, STALE_MARK, (run.active_key,), marks[id_]))
        hidden = _unlisted_folders(store, experiment, marks.keys() | ends.keys())
        found += [one for one in hidden if is_old(one.written)]
    return found


def _last_modified_by_id(store: Store, prefix: str, ending: str) -> dict[str, datetime | None]:
    times = store.last_modified_by_key(prefix)
    ids = {key[len(prefix) : len(key) - len(ending)]: at for key, at in times.items()}
    return {id_: at for id_, at in ids.items() if is_valid_name(id_)}


def _unlisted_folders(store: Store, experiment: str, listed: Collection[str]) -> Iterator[Leftover]:
    """Yield the folders of runs that are not listed."""
    for id_ in store.folders(f"{experiment}/"):
        if id_ in RESERVED_NAMES or id_ in listed or not is_valid_name(id_):
            continue
        run = Run(store.uri, experiment, id_)
        times = store.last_modified_by_key(run.prefix)
        if not times:  # some stores list a folder for a while after its last key is deleted
            continue
        names = {key[len(run.prefix) + 1 :] for key in times}
        known = [at for at in times.values() if at is not None]
        newest = max(known) if len(known) == len(times) else None
        kind = UNFINISHED if names <= set(SUBMITTED) else UNLISTED
        yield Leftover(run, kind, tuple(times), newest)


def remove_leftover(store: Store, leftover: Leftover) -> bool:
    """Remove a leftover, unless the folder has results or the run has been listed since.

    Returns:
        Whether it was removed.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    if leftover.kind == STALE_MARK:
        delete_stale_active_mark(store, leftover.run)
        return True
    if leftover.kind != UNFINISHED or run_exists(store, leftover.run):
        return False
    for name in reversed(SUBMITTED):  # recipe.py last, as a submission writes it first
        store.delete(key for key in leftover.keys if key == leftover.run.key(name))
    remove_empty_folder(store, leftover.run.prefix)
    return True
