"""Sample runs whose records are written with rvlab's own classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rvlab.model import Run, Spec, StepRecord, end_record
from rvlab.model.tables import FILE_TABLES
from rvlab.store import Store
from rvlab.store.run_listing import finish_run, list_runs, write_active_marks
from rvlab.store.table_file import encode_table, rows_to_arrow

CREATED = datetime(2026, 11, 23, 15, 42, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Made:
    """Writer of sample runs in a store, created one second apart."""

    store: Store

    def spec(
        self, params: Mapping[str, Any] | None = None, *, experiment: str = "towns", **more: Any
    ) -> Spec:
        """Write and return the spec of a queued run."""
        there = [] if "run" in more else self.store.folders()
        number = sum(len(list_runs(self.store, name).ids) for name in there)
        created = CREATED + timedelta(seconds=number)
        settings: dict[str, Any] = {
            "experiment": experiment,
            "run": f"{created:%Y%m%d-%H%M%S}-{number:06x}",
            "name": f"run {number}",
            "recipe": "synthetic_town",
            "source_sha256": "0" * 64,
            "params": dict(params or {}),
            "places": {},
            "splits": 1,
            "seed": 0,
            "engine": "local",
            "created": created.isoformat(timespec="milliseconds"),
            "user": "me@here",
            "rvlab": "0.1",
            "steady_heartbeat": more.get("engine") != "kubeflow",
        }
        spec = Spec(**{**settings, **more})
        self.store.put_json(run_of(self.store, spec).key("spec.json"), spec.record())
        write_active_marks(self.store, [run_of(self.store, spec)])
        return spec

    def queued(self, params: Mapping[str, Any] | None = None, **more: Any) -> Run:
        """Write a queued run."""
        return run_of(self.store, self.spec(params, **more))

    def running(self, *, beat_ago_s: float = 1, step: str = "train", **more: Any) -> Run:
        """Write a run with a heartbeat some seconds ago."""
        run = self.queued(**more)
        self.step(run, "configure", beat_ago_s=beat_ago_s + 20, state="succeeded")
        self.step(run, step, beat_ago_s=beat_ago_s)
        return run

    def step(self, run: Run, step: str, *, beat_ago_s: float = 1, **more: Any) -> None:
        """Write the record of a step."""
        beat = datetime.now(UTC) - timedelta(seconds=beat_ago_s)
        settings: dict[str, Any] = {
            "step": step,
            "state": "running",
            "started": (beat - timedelta(seconds=10)).isoformat(timespec="milliseconds"),
            "beat": beat.isoformat(timespec="milliseconds"),
            "host": "here",
            "pid": 1,
        }
        record = StepRecord(**{**settings, **more}).record()
        self.store.put_json(run.step_key(step), record)
        if "://" not in self.store.uri:  # readers use the modification time as heartbeat
            moment = beat.timestamp()
            os.utime(Path(self.store.uri, run.step_key(step)), (moment, moment))

    def ended(
        self,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        *,
        state: str = "succeeded",
        step: str | None = None,
        error: str | None = None,
        **more: Any,
    ) -> Run:
        """Write an ended run that started 2 s after its submission and took 30 s."""
        spec = self.spec(params, **more)
        self._end(spec, metrics, state=state, step=step, error=error)
        return run_of(self.store, spec)

    def end(
        self, run: Run, metrics: Mapping[str, float] | None = None, *, state: str = "succeeded"
    ) -> None:
        """Write the end record of an existing run."""
        key = run.key("spec.json")
        self._end(Spec.from_record(self.store.get_json(key), key), metrics, state=state)

    def _end(
        self,
        spec: Spec,
        metrics: Mapping[str, float] | None,
        *,
        state: str,
        step: str | None = None,
        error: str | None = None,
    ) -> None:
        created = datetime.fromisoformat(spec.created)
        record = end_record(
            spec.record(),
            state,
            (created + timedelta(seconds=32)).isoformat(timespec="milliseconds"),
            started=(created + timedelta(seconds=2)).isoformat(timespec="milliseconds"),
            step=step,
            error=error,
            metrics=metrics,
        )
        finish_run(self.store, run_of(self.store, spec), record)

    def table(self, run: Run, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a table in the format of ``summarize``."""
        data = encode_table(rows_to_arrow(FILE_TABLES[name], rows))
        self.store.put(run.key("tables", f"{name}.parquet"), data)


def run_of(store: Store, spec: Spec) -> Run:
    """Return the run of a spec."""
    return Run(store.uri, spec.experiment, spec.run)
