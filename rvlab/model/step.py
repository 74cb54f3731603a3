"""The record of one step, and of the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rvlab.errors import RecordBroken
from rvlab.model.groups import headline_group
from rvlab.model.record import read_record, require_times

HEARTBEAT_S = 5.0
"""A running step rewrites its record this often, in seconds."""

HEARTBEAT_TIMEOUT_S = 60.0
"""A record older than this, in seconds, tells nothing any more: the engine is asked."""


STEP_STATES = ("running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class StepRecord:
    """What a step says of itself; it alone writes this record.

    Args:
        step: The step's name.
        split: Which piece of it, from 0; None for the whole.
        of: How many pieces there are.
        state: ``running``, ``succeeded``, ``failed`` or ``cancelled``.
        started: ISO 8601 in UTC.
        beat: When the record was last written.
        ended: None while it runs.
        host: The machine's name.
        pid: Its process.
        peak_mb: The most memory its process held so far, in MiB.
        cpu_s: Processor time it used so far, in seconds, its ended children included.
        device: What it computed on: ``cpu``, or ``cuda`` with the name of the GPU.
        gpu_peak_mb: The most memory of that GPU which torch held so far, in MiB.
        exit_code: None while it runs.
        error: The last line of the traceback, in one sentence.
        traceback: The last lines of the traceback.
        attempt: 1, or how often it has been started in this run.
    """

    step: str
    state: str
    started: str
    beat: str
    host: str
    pid: int
    split: int | None = None
    of: int | None = None
    ended: str | None = None
    peak_mb: float | None = None
    cpu_s: float | None = None
    device: str | None = None
    gpu_peak_mb: float | None = None
    exit_code: int | None = None
    error: str | None = None
    traceback: str | None = None
    attempt: int = 1

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> StepRecord:
        """Read a record; RecordBroken if something it needs is missing or of another type."""
        found = read_record(cls, record, key, "a step's record")
        require_times(found, key, "a step's record", "started", "beat", "ended")
        if found.state not in STEP_STATES:
            raise RecordBroken(
                f"{key} is not a step's record: state is {found.state!r:.40}, none of "
                f"{', '.join(STEP_STATES)}."
            )
        return found


def run_costs(records: Sequence[StepRecord]) -> dict[str, float]:
    """What a run cost, from what its steps say of themselves.

    Returns:
        ``{step}_s``, the time that one waited for each step, in seconds: from the start of its
        first split to the end of its last, so far if it has none; ``peak_mb`` and ``gpu_peak_mb``,
        the most memory that one process held, in MiB; ``cpu_s``, processor time of all of them, in
        seconds. What nobody has said is left out.
    """
    spans: dict[str, tuple[datetime, datetime]] = {}
    for one in records:
        span = datetime.fromisoformat(one.started), datetime.fromisoformat(one.ended or one.beat)
        if span[1] < span[0]:  # the machine's clock was set back meanwhile
            continue
        first, last = spans.get(one.step, span)
        spans[one.step] = min(first, span[0]), max(last, span[1])
    found = {
        f"{step}_s": round((last - first).total_seconds(), 3)
        for step, (first, last) in spans.items()
    }
    for name, over in (("peak_mb", max), ("gpu_peak_mb", max), ("cpu_s", sum)):
        values = [v for one in records if (v := getattr(one, name)) is not None]
        if values:
            found[name] = round(over(values), 2)
    return found


def run_device(records: Sequence[StepRecord]) -> str | None:
    """What a run computed on: the device of train, else of predict."""
    by_step = {one.step: one.device for one in records if one.device}
    return by_step.get("train") or by_step.get("predict")


def end_record(
    spec: Mapping[str, Any],
    state: str,
    ended: str,
    *,
    started: str | None = None,
    step: str | None = None,
    error: str | None = None,
    metrics: Mapping[str, float] | None = None,
    costs: Mapping[str, float] | None = None,
    device: str | None = None,
    eval_sets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A run's end: complete in itself, so that one GET makes a row of the table of runs.

    Args:
        spec: The run's spec, as its record holds it.
        state: ``succeeded``, ``failed`` or ``cancelled``.
        ended: ISO 8601 in UTC.
        started: When the first step started; None if none did.
        step: The step that failed.
        error: Why, in one sentence.
        metrics: The headline metrics, by name.
        costs: What it cost, as `costs` has it, and ``bytes``, what it wrote.
        device: What it computed on.
        eval_sets: A group of scenes -> the fingerprint of what it was scored on.
    """
    sets = dict(eval_sets or {})
    eval_set = sets.pop(headline_group(sets), None) if sets else None
    return {
        "schema": 1,
        "spec": dict(spec),
        "state": state,
        "started": started,
        "ended": ended,
        "step": step,
        "error": error,
        "metrics": dict(metrics or {}),
        "costs": dict(costs or {}),
        "device": device,
        "eval_set": eval_set,
        "eval_sets": sets,
    }
