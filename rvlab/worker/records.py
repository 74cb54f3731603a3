"""The records of a run that more than one writer may have to look at: its steps and its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rvlab.errors import KeyExists, RvlabError
from rvlab.model import Run, StepRecord, end_record, run_costs, run_device, utc_now
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
    """Write the end of a run, unless another has ended the run before.

    Returns:
        Whether this call ended it.
    """
    files = store.files(run.prefix)
    below = f"{run.key('steps')}/"
    steps = _steps_of(store, [key for key, _ in files if key.startswith(below)])
    record = end_record(
        spec,
        state,
        utc_now(),
        started=min((one.started for one in steps), default=None),
        step=step,
        error=mask_text(error, store) if error else error,
        metrics=metrics,
        costs={**run_costs(steps), "bytes": sum(size for _, size in files)},
        device=run_device(steps),
        eval_sets=eval_sets,
    )
    try:
        finish_run(store, run, record)
    except KeyExists:
        return False
    return True


def claim_job(store: Store, run: Run, job: str) -> bool:
    """Say which run of its engine a run is, unless another has said so before.

    Args:
        store: Where it lies.
        run: The run.
        job: What its engine calls it.

    Returns:
        Whether it is this one's, now or since before.
    """
    try:
        store.put_json(run.key(CLAIM), {"schema": 1, "id": job, "at": utc_now()}, if_absent=True)
    except KeyExists:
        return bool(store.get_json(run.key(CLAIM)).get("id") == job)
    return True


def read_step_records(store: Store, run: Run) -> list[StepRecord]:
    """The records of all steps that have started, in that order; a broken one is left out."""
    return _steps_of(store, [key for key, _ in store.files(run.key("steps"))])


def _steps_of(store: Store, keys: Sequence[str]) -> list[StepRecord]:
    found = []
    for key, data in store.get_many(keys).items():
        try:
            if isinstance(data, RvlabError):
                raise data
            found.append(StepRecord.from_record(parse_record(key, data), key))
        except RvlabError as exc:
            print(f"rvlab: {exc}", file=sys.stderr)
    return sorted(found, key=lambda r: r.started)
