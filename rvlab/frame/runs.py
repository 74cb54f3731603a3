"""The table of runs: one row per run, parameters and metrics joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreUnreachable
from rvlab.frame.dtypes import RUNS, TEXT, guessed, typed
from rvlab.model import ENDED, SILENT_S, Run, Spec, StepRecord, is_id
from rvlab.model.edit import Edited
from rvlab.store import Store, parsed
from rvlab.store.edits import edited

if TYPE_CHECKING:
    import pandas as pd

HERE = ("local", "rehearse")
"""Engines whose runs are one process that beats, so that a minute's silence means something."""

PODS_SILENT_S = 3600.0

Ask = Callable[[Sequence[Mapping[str, Any]]], Mapping[Run, str]]

GROUPS = {"params": "params", "metrics": "metrics", "costs": "costs", "eval_sets": "eval_set"}
"""What a row holds by name, and what its columns begin with, in their order."""

_OF_SPEC = [one.name for one in fields(Spec) if one.name in RUNS]


def runs(store: Store, wanted: Sequence[Run], ask: Ask | None = None) -> pd.DataFrame:
    """One row per run, the newest last.

    Args:
        store: Where the runs lie.
        wanted: The runs.
        ask: Tells the states of runs of which the store says nothing, from their rows, which have
            the address as ``_run`` too; see `Engine.states`.

    Returns:
        Index ``run``; the columns of `rvlab.frame.dtypes.RUNS`, then ``params.*`` in the order of
        the recipe, then ``metrics.*``, ``costs.*`` and, as ``eval_set.{group}``, what groups of
        scenes beside the headline's were scored on. Times are UTC timestamps, ``duration`` is a
        timedelta: to now for a run that is running. ``tags`` are joined by ``", "``; ``archived``
        is never missing. A run whose records cannot be read is a row with the state ``broken`` and
        the reason in ``error``.

    Warns:
        UserWarning: For a tag, note or archiving that cannot be read; it is left out.

    Raises:
        StoreUnreachable: If nobody answers at the store's address: that is no run's fault.
    """
    rows = rows_of(store, wanted)
    silent = [row for row in rows if row.pop("_silent")]
    told = ask(silent) if ask and silent else {}
    added = edited(store, wanted)
    for row in rows:
        run = row.pop("_run")
        row["state"] = told.get(run, row["state"])
        row.update(_edit_columns(added.get(run, Edited())))
    return framed(rows)


def rows_of(store: Store, wanted: Sequence[Run]) -> list[dict[str, Any]]:
    """One dict per run: one GET for a run that has ended, a few for one that has not."""
    ends = store.get_many(run.key("end.json") for run in wanted)
    rows: list[dict[str, Any]] = []
    opened = [run for run in wanted if isinstance(ends[run.key("end.json")], KeyMissing)]
    unended = store.each(
        lambda uri: _unended(store, Run.from_uri(uri)), [run.uri for run in opened]
    )
    for run in wanted:
        row = unended.get(run.uri)
        if run.uri in unended and row is None:
            continue
        row = row or _ended(run, ends[run.key("end.json")])
        rows.append({**_address(run), **row, "_run": run})
    return rows


def framed(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the dtypes that are declared, empty or not."""
    import pandas as pd

    columns = {name: typed([r.get(name) for r in rows], dtype) for name, dtype in RUNS.items()}
    for group, prefix in GROUPS.items():
        names = dict.fromkeys(name for row in rows for name in row.get(group, {}))
        for name in names:
            values = [row.get(group, {}).get(name) for row in rows]
            there = [name in row.get(group, {}) for row in rows]
            if group == "params":
                columns[f"{prefix}.{name}"] = guessed(values, there)
            else:
                kind = TEXT if group == "eval_sets" else "float64"
                columns[f"{prefix}.{name}"] = typed(values, kind)
    table = pd.DataFrame(columns)
    now = pd.Timestamp.now(tz="UTC")
    until = table["ended"].where(table["state"] != "running", now)
    table["duration"] = (until - table["started"]).astype(RUNS["duration"])
    table.index = pd.Index([row["run"] for row in rows], name="run", dtype="object")
    return table


def _address(run: Run) -> dict[str, Any]:
    return {"run": run.id, "experiment": run.experiment, "uri": run.uri, "_silent": False}


def _ended(run: Run, data: bytes | RvlabError) -> dict[str, Any]:
    key = run.key("end.json")
    try:
        if isinstance(data, RvlabError):
            raise data
        record = parsed(key, data)
        spec = Spec.from_record(record.get("spec"), key)
        state = record.get("state")
        if state not in ENDED:
            raise RecordBroken(f"{key} has the state {state!r}, which no run ends with.")
        results = _results(record, key)
    except StoreUnreachable:
        raise
    except RvlabError as exc:
        return _broken(exc)
    times = {name: record.get(name) for name in ("started", "ended", "step", "error")}
    return {**_spec_columns(spec), **times, **results, "state": state}


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


def _is_ours(store: Store, run: Run) -> bool:
    """Whether a folder without a spec was a run's, and not one of somebody's data."""
    if is_id(run.id):
        return True
    known = {"steps", "logs", "tables"} & set(store.folders(f"{run.prefix}/"))
    return bool(known) or store.exists(run.key("recipe.py"))


def _unended(store: Store, run: Run) -> dict[str, Any] | None:
    """A run without an end: what its spec and its steps say; None if it is no run."""
    try:
        spec = Spec.from_record(store.get_json(run.key("spec.json")), run.key("spec.json"))
        keys = [key for key, _ in store.files(run.key("steps"))]
        found = store.get_many(keys)
    except KeyMissing:
        if not _is_ours(store, run):
            return None
        return _broken(RecordBroken(f"{run.prefix} has no spec.json: was it deleted in part?"))
    except StoreUnreachable:
        raise
    except RvlabError as exc:
        return _broken(exc)
    row = _spec_columns(spec)
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
    silent = quiet_s > SILENT_S
    # Between two pods a cluster may fetch an image, and only its engine knows better.
    gone = quiet_s > (SILENT_S if spec.engine in HERE else PODS_SILENT_S)
    return {
        **row,
        "state": "lost" if gone else "running",
        "started": min(s.started for s in steps),
        "step": latest.step,
        "_silent": silent,
    }


def _spec_columns(spec: Spec) -> dict[str, Any]:
    return {"params": spec.params, **{name: getattr(spec, name) for name in _OF_SPEC}}


def _edit_columns(edits: Edited) -> dict[str, Any]:
    tags = ", ".join(edits.tags) or None
    return {"tags": tags, "note": edits.note, "archived": edits.archived}


def _broken(exc: RvlabError) -> dict[str, Any]:
    return {"state": "broken", "error": str(exc)}
