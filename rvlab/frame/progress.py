"""The progress of one run, read from its records with one small request at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, StoreUnreachable
from rvlab.frame.run_rows import QUERY_AFTER_S, parse_step_record, row_from_end_record
from rvlab.model import FINAL_STATES, STEPS, Run, StepRecord
from rvlab.model.limits import CONFIG_BYTES, LOG_CSV_BYTES, RECORD_BYTES
from rvlab.model.train_log import parse_epochs
from rvlab.store import Store, parse_record

TAIL_BYTES = 8_000
"""Bytes of the log's end that are read at a time."""


@dataclass(frozen=True)
class StepProgress:
    """The progress of one step.

    Args:
        name: The step, such as ``predict``.
        state: ``waiting``, ``running``, ``succeeded``, ``failed`` or ``cancelled``.
        done: Number of splits that have succeeded.
        splits: Number of splits; 1 for a step without splits.
        elapsed_s: Seconds since its first split started, up to its end; None before it starts.
    """

    name: str
    state: str
    done: int
    splits: int
    elapsed_s: float | None


@dataclass
class RunProgress:
    """The progress of a run according to the records read so far.

    Args:
        run: The run.
        state: As in the table of runs.
        steps: The steps in their order, also those to come.
        epochs_done: Epochs that training has completed.
        epochs: Epochs that training will have; None if it is unknown.
        history: One dict per epoch, as `rvlab.model.train_log.parse_epochs` returns it.
        started: When its first step started.
        elapsed_s: Seconds since then, up to its end.
        left_s: Estimate of the seconds left; None if it is unknown.
        metrics: The headline metrics of an ended run, by name.
        error: The reason of a failure.
        log: The last lines of the log.
        log_step: The step of `log`.
    """

    run: Run
    state: str = "queued"
    steps: list[StepProgress] = field(default_factory=list)
    epochs_done: int = 0
    epochs: int | None = None
    history: list[dict[str, int | float | None]] = field(default_factory=list)
    started: datetime | None = None
    elapsed_s: float | None = None
    left_s: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None
    log: str = ""
    log_step: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the run's state is final."""
        return self.state in FINAL_STATES


class ProgressReader:
    """Reads the progress of one run, in cycles of which each call of `advance` makes one part.

    A part is one request, or two for the end of a log. A cycle lists the step records and reads
    those that have changed, the training log if training runs or the run has ended, and the end of
    the step's log if `reads_log` is set or a step failed. The end record is read when no step
    record has changed or no step is running.

    Args:
        store: The store of the run.
        run: The run.
        row: Its row in the table of runs, with ``state``, ``error`` and ``metrics.*``.
        typical_s: The usual seconds of each step, to estimate the time left.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        row: Mapping[str, Any],
        *,
        typical_s: Mapping[str, float] | None = None,
    ) -> None:
        self.progress = RunProgress(run, state=str(row["state"]))
        self.typical_s = dict(typical_s or {})
        self.reads_log = False
        self.is_complete = False
        self._changed_at = time.monotonic()
        self._has_read_once = self._has_end = False
        self._etags: dict[str, str | None] = {}
        self._store, self._run = store, run
        self._records: dict[str, StepRecord] = {}
        self._planned: dict[str, int] = {}
        self._requests = self._cycle()

    @property
    def quiet_s(self) -> float:
        """Seconds since a changed record was seen."""
        return time.monotonic() - self._changed_at

    @property
    def is_silent(self) -> bool:
        """Whether the engine must be queried, since no record has changed for `QUERY_AFTER_S`."""
        is_open = not self.is_complete and not self._has_end
        return is_open and self.quiet_s > QUERY_AFTER_S

    def advance(self) -> None:
        """Make the next request and update `progress`.

        Raises:
            StoreUnreachable: If the store does not answer; the next call tries again.
        """
        try:
            next(self._requests)
        except StoreUnreachable:
            self._requests = self._cycle()
            raise
        except RvlabError as exc:
            self.progress.state, self.progress.error = "broken", str(exc)
            self.is_complete = True
        self._update()

    def read_to_end(self) -> None:
        """Make all requests for a run that has ended or was lost."""
        for _ in range(2):  # a second cycle finds what the first has not listed
            if not self.is_complete:
                for _ in self._read_all():
                    self._update()
        self.is_complete = True

    def _cycle(self) -> Iterator[None]:
        while True:
            yield from self._read_all()

    def _read_all(self) -> Iterator[None]:
        """Yield after each request; the two requests for the log are one step."""
        had_end = self._has_end
        etags = self._store.etags(f"{self._run.key('steps')}/")
        changed = [key for key, tag in etags.items() if tag is None or self._etags.get(key) != tag]
        self._records = {key: one for key, one in self._records.items() if key in etags}
        yield
        for key in changed:
            self._read_step(key)
            self._etags[key] = etags[key]
            yield
        if self._records and not self._planned:
            self._planned = self._read_plan()
            yield
        has_ended = False
        if not changed or any(one.state != "running" for one in self._records.values()):
            has_ended = self._read_end()
            yield
        training = [one.state for one in self._records.values() if one.step == "train"]
        if training and (has_ended or "running" in training or not self.progress.history):
            yield from self._read_training()
        if self.reads_log or (has_ended and self.progress.error):
            self._read_log()
            yield
        # A run that has ended since its steps were listed is listed again.
        self.is_complete = has_ended and (not changed or had_end)
        self._has_read_once = True

    def _read_step(self, key: str) -> None:
        try:
            record = parse_step_record(key, self._store.get(key, limit=RECORD_BYTES))
            if record != self._records.get(key):
                self._changed_at = time.monotonic()
                is_alive = self.progress.state == "queued" or self._has_read_once
                if is_alive and not self._has_end:
                    self.progress.state = "running"  # a heartbeat, also of a run that was lost
            self._records[key] = record
        except (KeyMissing, RecordBroken):
            self._records.pop(key, None)  # the step was restarted, or is read again later

    def _read_plan(self) -> dict[str, int]:
        """Return the number of splits of each planned step."""
        try:
            plan = self._store.get_json(self._run.key("plan.json"))
        except (KeyMissing, RecordBroken):
            return {}
        splits = plan.get("splits")
        known = splits if isinstance(splits, dict) else {}
        steps = plan.get("steps")
        names = [one for one in steps if one in STEPS] if isinstance(steps, list) else []
        return {
            name: known[name] if isinstance(known.get(name), int) else 1
            for name in ["configure", *names, "summarize"]
        }

    def _read_end(self) -> bool:
        """Read the end record; return whether it exists."""
        key = self._run.end_key
        try:
            row = row_from_end_record(key, self._store.get(key, limit=RECORD_BYTES))
        except KeyMissing:
            self._has_end = False
            return False
        self._has_end = True
        now = self.progress
        now.state, now.error, now.metrics = row["state"], row["error"], row["metrics"]
        if row["started"]:
            now.started = datetime.fromisoformat(row["started"])
            span = datetime.fromisoformat(row["ended"]) - now.started
            now.elapsed_s = max(0.0, span.total_seconds())
        return True

    def _read_training(self) -> Iterator[None]:
        if self.progress.epochs is None:
            self.progress.epochs = self._read_epochs()
            yield
        try:
            data = self._store.get(self._run.key("rv", "train", "log.csv"), limit=LOG_CSV_BYTES)
            self.progress.history = parse_epochs(data.decode(errors="replace"))
        except (KeyMissing, RecordBroken):
            self.progress.history = []  # no epoch has ended yet
        epochs = [int(row["epoch"] or 0) for row in self.progress.history]
        self.progress.epochs_done = max(epochs, default=-1) + 1
        yield

    def _read_epochs(self) -> int | None:
        """Return the number of epochs in Raster Vision's config."""
        key = self._run.key("rv", "pipeline-config.json")
        try:
            config: Any = parse_record(key, self._store.get(key, limit=CONFIG_BYTES))
        except (KeyMissing, RecordBroken):
            return None
        for name in ("backend", "solver", "num_epochs"):
            config = config.get(name) if isinstance(config, dict) else None
        return config if isinstance(config, int) and not isinstance(config, bool) else None

    def _read_log(self) -> None:
        latest = max(self._records.items(), key=lambda item: item[1].started, default=None)
        if latest is None:
            return
        key = self._run.log_key(latest[1].step, latest[1].split)
        try:
            size = self._store.size(key)
            start = max(0, size - TAIL_BYTES)
            data = self._store.get_range(key, start, size - start) if size else b""
        except KeyMissing:
            return
        text = data.decode(errors="replace")
        self.progress.log = text.partition("\n")[2] if start else text
        self.progress.log_step = latest[1].step

    def _update(self) -> None:
        """Update the steps and times of `progress` from the records that have been read."""
        now = self.progress
        now.steps = progress_by_step(self._records.values(), self._planned, self.quiet_s)
        if not self._records or now.has_ended:
            now.left_s = None
            return
        records = self._records.values()
        now.started = min(datetime.fromisoformat(one.started) for one in records)
        latest = max(datetime.fromisoformat(one.ended or one.beat) for one in records)
        # The clocks of the worker and of this machine may differ: each measures its own time.
        now.elapsed_s = max(0.0, (latest - now.started).total_seconds()) + self.quiet_s
        now.left_s = estimate_left_s(now, self.typical_s)


def progress_by_step(
    records: Iterable[StepRecord], planned: Mapping[str, int], quiet_s: float = 0.0
) -> list[StepProgress]:
    """Summarize the records of a run by step, in the order of the pipeline.

    Args:
        records: The records of the steps and of their splits.
        planned: The number of splits of each step that is planned; before ``configure`` has
            written the plan it is empty, and the usual steps are returned.
        quiet_s: Seconds since the last heartbeat, which count for running steps.
    """
    by_step: dict[str, list[StepRecord]] = {}
    for one in records:
        by_step.setdefault(one.step, []).append(one)
    planned = planned or {name: 1 for name in STEPS if name != "analyze"}
    out = []
    for name in [one for one in STEPS if one in planned or one in by_step]:
        some = by_step.get(name, [])
        splits = max([planned.get(name, 1), len(some), *(one.of or 1 for one in some)])
        done = sum(one.state == "succeeded" for one in some)
        states = {one.state for one in some}
        state = next((s for s in ("failed", "cancelled", "running") if s in states), "waiting")
        if state == "waiting" and some:
            state = "succeeded" if done == splits else "running"
        elapsed_s = None
        if some:
            end = max(datetime.fromisoformat(one.ended or one.beat) for one in some)
            start = min(datetime.fromisoformat(one.started) for one in some)
            elapsed_s = max(0.0, (end - start).total_seconds())
            elapsed_s += quiet_s if state == "running" else 0.0
        out.append(StepProgress(name, state, done, splits, elapsed_s))
    return out


def estimate_left_s(progress: RunProgress, typical_s: Mapping[str, float]) -> float | None:
    """Estimate how many seconds a running run still takes.

    Training, once an epoch has ended: the epochs left times the median time of an epoch so far.
    Other steps, and training before: the median duration in other runs, `typical_s`, less the time
    that the step has run.

    Returns:
        Seconds; None if the duration of a step that is left is unknown.
    """
    left_s = 0.0
    for step in progress.steps:
        if step.state == "succeeded":
            continue
        usual = typical_s.get(step.name)
        if step.name == "train" and progress.epochs and progress.history:
            seconds = [
                sum(float(row.get(name) or 0.0) for name in ("train_time_s", "valid_time_s"))
                for row in progress.history
            ]
            left_s += (progress.epochs - progress.epochs_done) * statistics.median(seconds)
        elif usual is not None:
            left_s += max(0.0, usual - (step.elapsed_s or 0.0))
        else:
            return None
    return left_s
