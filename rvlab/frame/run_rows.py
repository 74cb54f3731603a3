"""Rows of the table of runs, built from the records of each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreBusy, StoreUnreachable
from rvlab.model import (
    HEARTBEAT_S,
    HEARTBEAT_TIMEOUT_S,
    EndRecord,
    Run,
    Spec,
    StepRecord,
    step_name,
)
from rvlab.model.schema import columns_of
from rvlab.store import Store, parse_record, read_spec
from rvlab.store.specs import require_spec_of

POD_TIMEOUT_S = 3600.0
"""Seconds without a heartbeat after which a run is lost, if heartbeats pause between its steps."""

QUERY_AFTER_S = 2 * HEARTBEAT_S
"""Seconds without a heartbeat after which the local engine, which only reads files, is queried."""

RunRow = dict[str, Any]

_END_COLUMNS = [one.name for one in fields(EndRecord) if one.name != "spec"]
_SPEC_COLUMNS = [one.name for one in columns_of(Spec)]


def read_rows(store: Store, wanted: Sequence[Run]) -> list[RunRow]:
    """Read one dict per run, with one GET per ended run and a few per active run.

    A dict has the run's columns, ``run experiment uri``, the `Run` as ``_run``, and as ``_silent``
    whether the engine must be queried for the state. For an active run with a started step, it also
    has ``_steady``, whether the heartbeats have no gaps, and ``_failure``, the error of the latest
    step.
    """
    ends = store.get_many(run.end_key for run in wanted)
    going = active_run_rows(
        store, [run for run in wanted if isinstance(ends[run.end_key], KeyMissing)]
    )
    rows = []
    for run in wanted:
        answer = ends[run.end_key]
        if run in going:
            row = going[run]
        else:
            try:
                if isinstance(answer, RvlabError):
                    raise answer
                row = row_from_end_record(run.end_key, answer)
            except RvlabError as exc:
                row = error_row(exc)
        rows.append(
            {"run": run.id, "experiment": run.experiment, "uri": run.uri, **row, "_run": run}
        )
    return rows


def row_from_end_record(key: str, data: bytes) -> RunRow:
    """Build the row of an ended run from the key and the content of its end record.

    Raises:
        RecordBroken: If it is not an end record, or is the end record of another run.
    """
    end = EndRecord.from_record(parse_record(key, data), key)
    experiment, _, name = key.partition("/")
    require_spec_of(end.spec, experiment, name.rpartition("/")[2].removesuffix(".json"), key)
    return {
        **_spec_columns(end.spec),
        **{name: getattr(end, name) for name in _END_COLUMNS},
        "_silent": False,
    }


@dataclass(frozen=True)
class _ActiveRun:
    """The spec of an active run, and the time at which each of its step records was written."""

    spec: Spec
    written: Mapping[str, datetime | None]


def active_run_rows(store: Store, runs: Sequence[Run]) -> dict[Run, RunRow]:
    """Build the rows of active runs from their specs and step records.

    The records of all runs are requested together.
    """
    by_uri = {run.uri: run for run in runs}
    found = store.map_concurrently(lambda uri: _read_active_run(store, by_uri[uri]), by_uri)
    active = {run: found[uri] for uri, run in by_uri.items() if isinstance(found[uri], _ActiveRun)}
    data = store.get_many(key for one in active.values() for key in one.written)
    return {
        run: _active_run_row(store, active[run], data)
        if run in active
        else error_row(found[run.uri])
        for run in runs
    }


def _read_active_run(store: Store, run: Run) -> _ActiveRun | RvlabError:
    try:
        spec = read_spec(store, run)
        return _ActiveRun(spec, store.last_modified_by_key(run.key("steps")))
    except KeyMissing:
        return RecordBroken(f"{run.prefix} has no spec.json: was it partly deleted?")
    except RvlabError as exc:
        return exc


def spec_rows(store: Store, runs: Sequence[Run]) -> dict[Run, RunRow]:
    """Build rows with the values of the spec only; a run without a readable spec has no values."""

    def read(uri: str) -> RunRow:
        try:
            return _spec_columns(read_spec(store, by_uri[uri]))
        except RvlabError as exc:
            return {} if isinstance(exc, KeyMissing) else error_row(exc)

    by_uri = {run.uri: run for run in runs}
    found = store.map_concurrently(read, by_uri)
    return {run: found[uri] for uri, run in by_uri.items()}


def _active_run_row(
    store: Store, active: _ActiveRun, records: Mapping[str, bytes | RvlabError]
) -> RunRow:
    """Build the row of an active run from its spec and its step records."""
    spec, written = active.spec, active.written
    row = _spec_columns(spec)
    steps = []
    trouble: RunRow = {}
    for key in written:
        data = records[key]
        try:
            if isinstance(data, RvlabError):
                raise data
            step = parse_step_record(key, data)
            steps.append((written[key] or datetime.fromisoformat(step.beat), step))
        except KeyMissing:
            continue  # the step was restarted and has deleted its earlier records
        except RvlabError as exc:
            trouble = error_row(exc)
    if not steps:
        return {**row, "state": "queued", "_silent": True, **trouble}
    # Use the store's clock: the clocks of the workers and of this machine can be a day apart.
    beat, latest = max(steps, key=lambda s: s[0])
    quiet_s = (store.now() - beat).total_seconds()
    # Between two pods a cluster may pull an image, which only its engine can report.
    steady = bool(spec.steady_heartbeat)
    lost = quiet_s > (HEARTBEAT_TIMEOUT_S if steady else POD_TIMEOUT_S)
    return {
        **row,
        **trouble,
        "state": "lost" if lost else "running",
        "started": min(step.started for _, step in steps),
        "step": latest.step,
        "_silent": quiet_s > (QUERY_AFTER_S if steady else HEARTBEAT_TIMEOUT_S),
        "_steady": steady,
        "_failure": latest.error,
    }


def parse_step_record(key: str, data: bytes) -> StepRecord:
    """Parse the record of a step from its key and its content.

    Raises:
        RecordBroken: If it is not a step record, or is the record of another step.
    """
    found = StepRecord.from_record(parse_record(key, data), key)
    name = step_name(found.step, found.split)
    if key.rpartition("/")[2] != f"{name}.json":
        raise RecordBroken(f"{key} is the record of another step, {name[:100]}.")
    return found


def error_row(exc: RvlabError) -> RunRow:
    """Return the row of a run whose records cannot be read.

    Raises:
        StoreUnreachable: If the store does not answer, which says nothing about the run.
    """
    if isinstance(exc, StoreUnreachable) and not isinstance(exc, StoreBusy):
        raise exc
    return {"state": "broken", "error": str(exc), "_silent": False}


def _spec_columns(spec: Spec) -> RunRow:
    return {"params": spec.params, **{name: getattr(spec, name) for name in _SPEC_COLUMNS}}
