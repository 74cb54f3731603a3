"""Records of a run that several processes read or write: claim, steps and end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rvlab.errors import KeyExists, RvlabError
from rvlab.model import Run, StepRecord, end_record, run_costs, run_device, utc_now
from rvlab.model.limits import LOG_CSV_BYTES
from rvlab.model.train_log import parse_epochs
from rvlab.store import Store, parse_record
from rvlab.store.run_listing import finish_run
from rvlab.worker.masking import mask_text

SPEC, SOURCE_FILE, CLAIM, PLAN = "spec.json", "recipe.py", "claim.json", "plan.json"


def write_end(
    store: Store,
    run: Run,
    spec: Mapping[str, object],
    state: str,
    *,
    step: str | None = None,
    error: str | None = None,
    metrics: Mapping[str, float] | None = None,
    eval_sets: Mapping[str, str] | None = None,
) -> bool:
    """Write the end record of a run, unless it exists.

    Returns:
        Whether this call wrote it.
    """
    files = store.files(run.prefix)
    steps_prefix = f"{run.key('steps')}/"
    steps = _steps_of(store, [key for key, _ in files if key.startswith(steps_prefix)])
    record = end_record(
        spec,
        state,
        utc_now(),
        started=min((s.started for s in steps), default=None),
        step=step,
        error=mask_text(error, store) if error else error,
        metrics=metrics,
        costs={**run_costs(steps), "bytes": sum(size for _, size in files)},
        device=run_device(steps),
        eval_sets=eval_sets,
        epochs=_count_epochs(store, run, dict(files)),
    )
    try:
        finish_run(store, run, record)
    except KeyExists:
        return False
    return True


def _count_epochs(store: Store, run: Run, sizes: Mapping[str, int]) -> int | None:
    """Return the number of epochs in Raster Vision's log; None if the log cannot be read."""
    key = run.key("rv", "train", "log.csv")
    if not 0 < sizes.get(key, 0) <= LOG_CSV_BYTES:
        return None
    try:
        log = store.get(key, limit=LOG_CSV_BYTES).decode(errors="replace")
        return max((int(row["epoch"] or 0) for row in parse_epochs(log)), default=-1) + 1
    except RvlabError as exc:
        print(f"rvlab: {exc}", file=sys.stderr)
        return None


def claim_job(store: Store, run: Run, job: str) -> bool:
    """Record the id of a run's job in its engine, unless another job has claimed the run.

    Args:
        store: The run's store.
        run: The run.
        job: The id of the job in its engine.

    Returns:
        Whether the run is claimed by this job, by this call or an earlier one.
    """
    try:
        store.put_json(run.key(CLAIM), {"schema": 1, "id": job, "at": utc_now()}, if_absent=True)
    except KeyExists:
        return bool(store.get_json(run.key(CLAIM)).get("id") == job)
    return True


def read_step_records(store: Store, run: Run) -> list[StepRecord]:
    """Read the records of all started steps, in order of start; skip and report broken records."""
    return _steps_of(store, [key for key, _ in store.files(run.key("steps"))])


def _steps_of(store: Store, keys: Sequence[str]) -> list[StepRecord]:
    records = []
    for key, data in store.get_many(keys).items():
        try:
            if isinstance(data, RvlabError):
                raise data
            records.append(StepRecord.from_record(parse_record(key, data), key))
        except RvlabError as exc:
            print(f"rvlab: {exc}", file=sys.stderr)
    return sorted(records, key=lambda record: record.started)
