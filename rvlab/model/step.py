"""The record of a step, and the end record of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rvlab.errors import RecordBroken
from rvlab.model.groups import headline_group
from rvlab.model.record import read_record, require_times

HEARTBEAT_S = 5.0
"""Interval at which a running step rewrites its record, in seconds."""

HEARTBEAT_TIMEOUT_S = 60.0
"""Age of a heartbeat, in seconds, above which the engine is queried for the state."""

STEP_STATES = ("running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class StepRecord:
    """The record of a step, or of one split of it, which only that step writes.

    Args:
        step: The name of the step.
        split: The number of the split, from 0; None for a step without splits.
        of: The number of splits.
        state: ``running``, ``succeeded``, ``failed`` or ``cancelled``.
        started: ISO 8601 in UTC.
        beat: The time of the last heartbeat.
        ended: None while the step runs.
        host: The name of the machine.
        pid: The process id.
        peak_mb: Peak memory of the process so far, in MiB.
        cpu_s: CPU time so far, in seconds, including ended child processes.
        device: ``cpu``, or ``cuda`` with the name of the GPU.
        gpu_peak_mb: Peak GPU memory allocated by torch so far, in MiB.
        exit_code: None while the step runs.
        error: The last line of the traceback, in one sentence.
        traceback: The last lines of the traceback.
        attempt: How often the step has been started in this run, from 1.
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
        """Return the record as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> StepRecord:
        """Parse a record; keys that a later version added are ignored.

        Raises:
            RecordBroken: If a field is missing or has another type, or the state is unknown.
        """
        found = read_record(cls, record, key, "a step's record")
        require_times(found, key, "a step's record", "started", "beat", "ended")
        if found.state not in STEP_STATES:
            raise RecordBroken(
                f"{key} is not a step's record: state must be one of {', '.join(STEP_STATES)}, got "
                f"{found.state!r:.40}."
            )
        return found


def run_costs(records: Sequence[StepRecord]) -> dict[str, float]:
    """Compute the times and the memory of a run from its step records.

    Returns:
        ``{step}_s``, the wall time of each step in seconds, from the start of its first split to
        the end (or last heartbeat) of its last; ``peak_mb`` and ``gpu_peak_mb``, the peak memory
        of one process in MiB; ``cpu_s``, the CPU time of all processes in seconds. Values that no
        record has are left out.
    """
    spans: dict[str, tuple[datetime, datetime]] = {}
    for one in records:
        span = datetime.fromisoformat(one.started), datetime.fromisoformat(one.ended or one.beat)
        if span[1] < span[0]:  # the clock of the machine was set back during the step
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
    """Return the device of a run: that of train, else of predict."""
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
    """Build the end record of a run, which has all columns of its row in the table of runs.

    Args:
        spec: The record of the run's spec.
        state: ``succeeded``, ``failed`` or ``cancelled``.
        ended: ISO 8601 in UTC.
        started: When the first step started; None if none did.
        step: The step that failed.
        error: The reason of the failure, in one sentence.
        metrics: The headline metrics, by name.
        costs: The result of `run_costs`, and ``bytes``, the size of the run's files.
        device: The device of the run.
        eval_sets: The fingerprint of each scene group.
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
