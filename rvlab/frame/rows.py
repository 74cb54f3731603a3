"""A row of the table of runs, from the records of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from rvlab.cache.dtypes import RUNS
from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreUnreachable
from rvlab.model import ENDED, SILENT_S, Run, Spec, StepRecord
from rvlab.store import Store, parsed

HERE = ("local", "rehearse")
"""Engines whose runs are one process that beats, so that a minute's silence means something."""

PODS_SILENT_S = 3600.0

Row = dict[str, Any]

_OF_SPEC = [one.name for one in fields(Spec) if one.name in RUNS]


def rows_of(store: Store, wanted: Sequence[Run]) -> list[Row]:
    """One dict per run: one GET for a run that has ended, a few for one that has not.

    Beside the run's columns it has ``run experiment uri``, ``_run``, its address, and ``_silent``,
    whether the store does not tell what became of it.
    """
    ends = store.get_many(run.end_key for run in wanted)
    rows = []
    for run in wanted:
        answer = ends[run.end_key]
        if isinstance(answer, KeyMissing):
            row = unended(store, run)
        else:
            try:
                if isinstance(answer, RvlabError):
                    raise answer
                row = ended(run.end_key, answer)
            except RvlabError as exc:
                row = broken(exc)
        rows.append(
            {"run": run.id, "experiment": run.experiment, "uri": run.uri, **row, "_run": run}
        )
    return rows


def ended(key: str, data: bytes) -> Row:
    """The row of a run, from the key of the record that ended it and what that holds.

    Raises:
        RecordBroken: If it is no such record.
    """
    record = parsed(key, data)
    spec = Spec.from_record(record.get("spec"), key)
    state = record.get("state")
    if state not in ENDED:
        raise RecordBroken(f"{key} has the state {state!r}, which no run ends with.")
    times = {name: record.get(name) for name in ("started", "ended", "step", "error")}
    return {**_of_spec(spec), **times, **_results(record, key), "state": state, "_silent": False}


def unended(store: Store, run: Run) -> Row:
    """The row of a run without an end: what its spec and its steps say."""
    try:
        spec = Spec.from_record(store.get_json(run.key("spec.json")), run.key("spec.json"))
        found = store.get_many([key for key, _ in store.files(run.key("steps"))])
    except KeyMissing:
        return broken(RecordBroken(f"{run.prefix} has no spec.json: was it deleted in part?"))
    except StoreUnreachable:
        raise
    except RvlabError as exc:
        return broken(exc)
    row = _of_spec(spec)
    steps = []
    for key, data in found.items():
        try:
            if isinstance(data, RvlabError):
                raise data
            steps.append(StepRecord.from_record(parsed(key, data), key))
        except StoreUnreachable:
            raise
        except RvlabError as exc:
            row["error"] = str(exc)
    if not steps:
        return {**row, "state": "queued", "_silent": True}
    latest = max(steps, key=lambda s: s.beat)
    quiet_s = (datetime.now(UTC) - datetime.fromisoformat(latest.beat)).total_seconds()
    # Between two pods a cluster may fetch an image, and only its engine knows better.
    gone = quiet_s > (SILENT_S if spec.engine in HERE else PODS_SILENT_S)
    return {
        **row,
        "state": "lost" if gone else "running",
        "started": min(s.started for s in steps),
        "step": latest.step,
        "_silent": quiet_s > SILENT_S,
        "_failure": latest.error,
    }


def broken(exc: RvlabError) -> Row:
    """The row of a run whose records cannot be read.

    Raises:
        StoreUnreachable: If nobody answers at the store's address: that is no run's fault.
    """
    if isinstance(exc, StoreUnreachable):
        raise exc
    return {"state": "broken", "error": str(exc), "_silent": False}


def _of_spec(spec: Spec) -> Row:
    return {"params": spec.params, **{name: getattr(spec, name) for name in _OF_SPEC}}


def _results(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What the end says of the results; an older one does not have all of it."""
    found = {name: record.get(name) for name in ("device", "eval_set")}
    for name, value in found.items():
        if not isinstance(value, str | None):
            raise RecordBroken(f"{key} has something else than text as {name}: {value!r:.200}")
    for name, kinds, what in (
        ("metrics", int | float | None, "numbers"),
        ("costs", int | float | None, "numbers"),
        ("eval_sets", str | None, "text"),
    ):
        values = record.get(name) or {}
        if not isinstance(values, dict) or not all(isinstance(v, kinds) for v in values.values()):
            raise RecordBroken(f"{key} has {name} that are no {what}: {values!r:.200}")
        found[name] = values
    return found
