"""The record of a step, and the end record of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from rvlab.errors import RecordBroken
from rvlab.model.groups import headline_group
from rvlab.model.record import read_record, require_times
from rvlab.model.schema import TIME, column_field

HEARTBEAT_S = 5.0
"""Interval at which a running step rewrites its record, in seconds."""

HEARTBEAT_TIMEOUT_S = 60.0
"""Age of a heartbeat, in seconds, above which a run may be lost.

The engine is queried for its state, if it does not write heartbeats itself."""

STEP_STATES = ("running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """The record of a step, or of one split of it, which only that step writes.

    The fields with `column_field` are columns of the table of steps, with that meaning. Times are
    ISO 8601 in UTC.

    Args:
        of: The number of splits of the step; None for a step without splits.
        pid: The process id.
        traceback: The last lines of the traceback.
    """

    step: str = field(metadata=column_field("The name of the step."))
    split: int | None = field(
        default=None,
        metadata=column_field(
            "The number of the split, from 0; missing for a step without splits."
        ),
    )
    started: str = field(metadata=column_field("When the step started.", dtype=TIME))
    ended: str | None = field(
        default=None,
        metadata=column_field(
            "When it ended; missing while it runs, or if it was killed.", dtype=TIME
        ),
    )
    state: str = field(
        metadata=column_field(
            "`running`, `succeeded`, `failed` or `cancelled`, at the last heartbeat: a step that "
            "was killed stays `running`."
        )
    )
    peak_mb: float | None = field(
        default=None, metadata=column_field("The peak memory of the process so far.", unit="MiB")
    )
    cpu_s: float | None = field(
        default=None,
        metadata=column_field("The CPU time so far, with ended child processes.", unit="s"),
    )
    device: str | None = field(
        default=None, metadata=column_field("`cpu`, or `cuda` with the name of the GPU.")
    )
    gpu_peak_mb: float | None = field(
        default=None,
        metadata=column_field("The peak GPU memory that torch has allocated so far.", unit="MiB"),
    )
    exit_code: int | None = field(
        default=None, metadata=column_field("The exit status; missing while the step runs.")
    )
    error: str | None = field(
        default=None, metadata=column_field("The last line of the traceback, in one sentence.")
    )
    host: str = field(metadata=column_field("The name of the machine."))
    attempt: int = field(
        default=1,
        metadata=column_field("How often the step has been started in this run, from 1."),
    )
    beat: str = field(metadata=column_field("The time of the last heartbeat.", dtype=TIME))
    of: int | None = None
    pid: int
    traceback: str | None = None

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
    """Return the device of the step train; if it has none, the device of predict."""
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
    epochs: int | None = None,
) -> dict[str, Any]:
    """Build the end record of a run, with all recorded columns of its row in the table of runs.

    Args:
        spec: The record of the run's spec.
        state: ``succeeded``, ``failed`` or ``cancelled``.
        ended: ISO 8601 in UTC.
        started: When the first step started; None if none did.
        step: The step that failed.
        error: The reason of the failure, in one sentence.
        metrics: The headline metrics by name.
        costs: The result of `run_costs`, and ``bytes``, the size of the run's files.
        device: The device of the run.
        eval_sets: The fingerprint of each scene group.
        epochs: The number of epochs that training completed.
    """
    sets = dict(eval_sets or {})
    eval_set = sets.pop(headline_group(sets), None) if sets else None
    return {
        "schema": 1,
        "spec": dict(spec),
        "state": state,
        "epochs": epochs,
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
