"""The layout of a store: its number, and the check when a store is opened.

Layout 1 is described in ``docs/records.md``. The key ``rvlab.json`` at the root of a store holds
its number. Layout 0, of versions before 0.1.0, has no such key and other folders beside the runs of
an experiment; `rvlab.actions.migrate` converts it.
"""

from __future__ import annotations

from typing import Any

from rvlab.errors import KeyExists, KeyMissing, SpecError, StoreError
from rvlab.model import is_valid_name, utc_now
from rvlab.store.store import Store

LAYOUT = 1
LAYOUT_KEY = "rvlab.json"

OLD_RUNS_FOLDER = "roll"
"""The folder of an experiment in layout 0 that lists its runs."""


def check_layout(store: Store) -> None:
    """Refuse a store whose layout this version cannot read; cached per `Store`.

    Raises:
        SpecError: If the store has an earlier or a later layout.
        StoreError: If the store does not answer or refuses.
    """
    if store.layout_checked:
        return
    number = layout_number(store)
    if number is None and old_experiments(store):
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


def write_layout_number(store: Store) -> None:
    """Check the layout of a store before runs are added, and write its number if it has none.

    Raises:
        SpecError: As for `check_layout`.
        StoreError: If the store cannot be written.
    """
    check_layout(store)
    try:
        store.put_json(LAYOUT_KEY, {"schema": LAYOUT, "created": utc_now()}, if_absent=True)
    except KeyExists:
        return
    if store.layout_recorded:  # the put replaced the number, so the storage ignores its condition
        store.forgo_conditional_puts()
    store.layout_recorded = True


def layout_number(store: Store) -> int | None:
    """Read the layout number of a store; None if it has none.

    Raises:
        StoreError: If it is invalid, or the store does not answer.
    """
    try:
        number: Any = store.get_json(LAYOUT_KEY).get("schema")
    except KeyMissing:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise StoreError(
            f"{LAYOUT_KEY} in {store.uri} has the schema {number!r}, which is not a layout number. "
            f'Restore the file: {{"schema": {LAYOUT}}}'
        )
    return number


def old_experiments(store: Store) -> list[str]:
    """List the experiments of layout 0."""
    names = [name for name in store.folders() if is_valid_name(name)]
    return [name for name in names if store.files(f"{name}/{OLD_RUNS_FOLDER}")]
