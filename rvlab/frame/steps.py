"""The table of steps: the duration, device, memory and result of each step of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rvlab.cache.dtypes import cast_or_missing
from rvlab.cache.query import Query
from rvlab.errors import KeyMissing, RecordBroken, RvlabError
from rvlab.frame.identifying_columns import read_identifying_columns
from rvlab.frame.run_rows import parse_step_record
from rvlab.frame.run_selector import RunsOrListings, listings_of_runs
from rvlab.model import STEPS as ORDER
from rvlab.model import Run
from rvlab.model.tables import STEPS_TABLE
from rvlab.store import Store
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd


def steps_table(store: Store, wanted: RunsOrListings) -> pd.DataFrame:
    """Return one row per step record, in the order of the runs and of the pipeline.

    Args:
        store: The store of the runs.
        wanted: The runs, or their listings.

    Returns:
        The columns of `rvlab.model.tables.STEPS_TABLE`. Runs in which no step has started have no
        rows.

    Warns:
        UserWarning: For a record that cannot be read; it is left out.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    import pandas as pd

    with Query(store) as query:
        listings = listings_of_runs(query, wanted)
        columns = read_identifying_columns(query, listings)
    each = [run for one in listings for run in one.runs]
    found = store.map_concurrently(
        lambda uri: _step_record_keys(store, uri), [run.uri for run in each]
    )
    runs = {key: run for run in each for key in found[run.uri]}
    rows: list[dict[str, Any]] = []
    for key, data in store.get_many(runs).items():
        if isinstance(data, KeyMissing):
            continue
        if isinstance(data, RvlabError) and not isinstance(data, RecordBroken):
            raise data
        try:
            if isinstance(data, RecordBroken):
                raise data
            record = parse_step_record(key, data)
        except RecordBroken as exc:
            warn_user(f"A step is left out of the table: {exc}")
            continue
        rows.append({"_run": runs[key], "run": runs[key].id, **record.record()})
    run_position = {run: i for i, run in enumerate(each)}
    rows.sort(key=lambda row: (run_position[row["_run"]], *_pipeline_order(row)))
    keys = [(row["_run"].experiment, row["_run"].id) for row in rows]
    table = {
        name: cast_or_missing([row[name] for row in rows], dtype)
        for name, dtype in STEPS_TABLE.dtypes.items()
        if name != "name"
    }
    run = table.pop("run")
    return pd.DataFrame({"run": run, **columns.take(columns.positions(keys)), **table})


def _step_record_keys(store: Store, uri: str) -> list[str]:
    return [key for key, _ in store.files(Run.from_uri(uri).key("steps"))]


def _pipeline_order(row: Mapping[str, Any]) -> tuple[int, str, int]:
    step = row["step"]
    split = -1 if row["split"] is None else row["split"]
    return (ORDER.index(step) if step in ORDER else len(ORDER), step, split)
