"""The layout of a store: its number, the check when a store is opened, and the migration.

Layout 1 is described in ``docs/records.md``. The key ``rvlab.json`` at the root of a store holds
its number. Layout 0, of versions before 0.1.0, has no such key and other folders beside the runs of
an experiment.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rvlab.errors import KeyExists, KeyMissing, SpecError, StoreError
from rvlab.model import ANNOTATIONS_DIR, RUNS_DIR, is_valid_name, utc_now
from rvlab.store.store import Store

LAYOUT = 1
KEY = "rvlab.json"

OLD_RUNS, OLD_ANNOTATIONS, OLD_CACHE = "roll", "edits", "index"
"""Folders of an experiment in layout 0."""

QUIET = timedelta(minutes=10)
"""A run whose records changed later than this may still write, so its store is not migrated."""


def check_layout(store: Store) -> None:
    """Refuse a store whose layout this version cannot read; cached per `Store`.

    Raises:
        SpecError: If the store has an earlier or a later layout.
        StoreError: If the store does not answer or refuses.
    """
    if store.layout_checked:
        return
    number = _number(store)
    if number is None and _old_experiments(store):
        raise SpecError(
            f"The store {store.uri} was written by a version of rvlab before 0.1.0. "
            f"Convert it once with: rvlab migrate {store.uri}"
        )
    if number is not None and number > LAYOUT:
        raise SpecError(
            f"The store {store.uri} has layout {number}, but this version of rvlab reads layouts "
            f"up to {LAYOUT}. Install a newer rvlab."
        )
    store.layout_checked = True
    store.layout_recorded = number is not None


def record_layout(store: Store) -> None:
    """Check the layout of a store before runs are added, and write its number if it has none.

    Raises:
        SpecError: As for `check_layout`.
        StoreError: If the store cannot be written.
    """
    check_layout(store)
    try:
        store.put_json(KEY, {"schema": LAYOUT, "created": utc_now()}, if_absent=True)
    except KeyExists:
        return
    if store.layout_recorded:
        store.forgo_conditional_puts()
    store.layout_recorded = True


def migrate_store(store: Store, report: Callable[[str], None] = print) -> int:
    """Convert a store of layout 0 to layout 1, in place.

    Every key is copied before any is deleted, and the layout number is written in between. So an
    interrupted migration is completed by calling it again, and loses nothing. Shared cache blocks
    are deleted: readers write new ones.

    Args:
        store: The store. No run may be active in it.
        report: Called with one line per experiment.

    Returns:
        The number of experiments that were converted; 0 if the store has layout 1 already.

    Raises:
        SpecError: If a run has written in the last ten minutes, or a key exists in both layouts
            with different content.
        StoreError: If the store cannot be read or written.
    """
    experiments = _old_experiments(store)
    for experiment in experiments:
        _require_quiet(store, experiment)
    for experiment in experiments:
        moved = _copy(store, experiment)
        report(f"{experiment}: {moved} keys copied")
    store.layout_checked = False
    number = _number(store)
    if number is None:
        store.put_json(KEY, {"schema": LAYOUT, "created": utc_now()})
    for experiment in experiments:
        # Runs last, because they identify layout 0.
        for folder in (OLD_CACHE, OLD_ANNOTATIONS, OLD_RUNS):
            store.delete([key for key, _ in store.files(f"{experiment}/{folder}")])
    return len(experiments)


def _number(store: Store) -> int | None:
    try:
        number: Any = store.get_json(KEY).get("schema")
    except KeyMissing:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise StoreError(
            f"{KEY} in {store.uri} has the schema {number!r}, which is not a layout number. "
            f'Restore the file: {{"schema": {LAYOUT}}}'
        )
    return number


def _old_experiments(store: Store) -> list[str]:
    names = [name for name in store.folders() if is_valid_name(name)]
    return [name for name in names if store.files(f"{name}/{OLD_RUNS}")]


def _require_quiet(store: Store, experiment: str) -> None:
    start = f"{experiment}/{OLD_RUNS}/active/"
    for key, _ in store.files(start):
        records = [one for one, _ in store.files(f"{experiment}/{key[len(start) :]}/steps")]
        times = [store.last_modified(one) for one in records]
        age = store.now() - max(times) if times else None
        if age is not None and age < QUIET:
            raise SpecError(
                f"The run {key[len(start) :]} wrote {age.total_seconds():.0f} s ago. Wait until it "
                "has ended, or cancel it with the version of rvlab that started it. Nothing has "
                "been changed."
            )


def _copy(store: Store, experiment: str) -> int:
    new_names = {OLD_ANNOTATIONS: ANNOTATIONS_DIR, OLD_RUNS: RUNS_DIR}
    keys = {
        key: f"{experiment}/{new}{key[len(f'{experiment}/{old}') :]}"
        for old, new in new_names.items()
        for key, _ in store.files(f"{experiment}/{old}")
    }

    def copy(key: str) -> None:
        data = store.get(key)
        try:
            store.put(keys[key], data, if_absent=True)
        except KeyExists:
            if store.get(keys[key]) != data:
                raise SpecError(
                    f"{key} and {keys[key]} differ in {store.uri}. Was the store written by two "
                    f"versions of rvlab? Delete the one that is wrong, then migrate again."
                ) from None

    store.map_concurrently(copy, keys)
    return len(keys)
