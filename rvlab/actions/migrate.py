"""Migration of a store of layout 0, of versions before 0.1.0, to the layout of this version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from rvlab.errors import KeyExists, KeyMissing, RecordBroken, SpecError
from rvlab.frame.untrusted_parquet import conform_to_schema, decode_parquet
from rvlab.model import ANNOTATIONS_DIR, RUNS_DIR, is_valid_name, utc_now
from rvlab.model.limits import TABLE_BYTES
from rvlab.model.tables import SCENES_TABLE
from rvlab.store.layout import LAYOUT, LAYOUT_KEY, OLD_RUNS_FOLDER, layout_number, old_experiments
from rvlab.store.store import Store
from rvlab.store.table_file import encode_table

OLD_ANNOTATIONS, OLD_CACHE = "edits", "index"
"""Other folders of an experiment in layout 0."""

OLD_SCENES_COLUMN = "rests_on"
"""The name of ``hashed_from`` in the table of scenes of layout 0."""

QUIET = timedelta(minutes=10)
"""A store is migrated only if no active run has written a record for this long."""


def migrate_store(store: Store, report: Callable[[str], None] = print) -> int:
    """Convert a store of layout 0 to layout 1, in place.

    Every key is copied before any is deleted, and the layout number is written in between. So an
    interrupted migration is completed by calling it again, and loses nothing. In tables of scenes,
    the column ``rests_on`` becomes ``hashed_from``, also where an earlier migration left it. Shared
    cache blocks are deleted: readers write new ones.

    Args:
        store: The store. No run may be active in it.
        report: Called with one line per experiment.

    Returns:
        The number of experiments that were converted; 0 if there was nothing to convert.

    Raises:
        SpecError: If a run has written in the last ten minutes, or a key exists in both layouts
            with different content.
        StoreError: If the store cannot be read or written.
    """
    experiments = old_experiments(store)
    for experiment in experiments:
        _require_quiet(store, experiment)
    for experiment in experiments:
        report(f"{experiment}: {_copy(store, experiment)} keys copied")
    converted = set(experiments)
    for experiment in filter(is_valid_name, store.folders()):
        if number_of_tables := _rename_columns(store, experiment):
            report(f"{experiment}: {number_of_tables} tables of scenes converted")
            converted.add(experiment)
    store.layout_checked = False
    number = layout_number(store)
    if number is None:
        store.put_json(LAYOUT_KEY, {"schema": LAYOUT, "created": utc_now()})
    for experiment in experiments:
        # Runs last, because they identify layout 0.
        for folder in (OLD_CACHE, OLD_ANNOTATIONS, OLD_RUNS_FOLDER):
            store.delete([key for key, _ in store.files(f"{experiment}/{folder}")])
    return len(converted)


def _require_quiet(store: Store, experiment: str) -> None:
    start = f"{experiment}/{OLD_RUNS_FOLDER}/active/"
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
    new_names = {OLD_ANNOTATIONS: ANNOTATIONS_DIR, OLD_RUNS_FOLDER: RUNS_DIR}
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


def _rename_columns(store: Store, experiment: str) -> int:
    """Give the tables of scenes their present columns; return how many were converted."""
    start = f"{experiment}/{RUNS_DIR}/"
    listed = [key.rpartition("/")[2].removesuffix(".json") for key, _ in store.files(start)]
    keys = [f"{experiment}/{run}/tables/{SCENES_TABLE.name}.parquet" for run in listed]

    def convert(key: str) -> bool:
        try:
            table = decode_parquet(key, store.get(key, limit=TABLE_BYTES))
            if OLD_SCENES_COLUMN not in table.column_names:
                return False
            names = {OLD_SCENES_COLUMN: SCENES_TABLE.names[-1]}
            table = table.rename_columns([names.get(name, name) for name in table.column_names])
            table = conform_to_schema(key, table, SCENES_TABLE)
        except (KeyMissing, RecordBroken):  # a damaged table stays as it is
            return False
        store.put(key, encode_table(table))
        return True

    return sum(store.map_concurrently(convert, keys).values())
