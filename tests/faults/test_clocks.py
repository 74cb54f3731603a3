"""Machines whose clocks are a day apart: live runs are running, dead ones are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from rvlab import frame
from rvlab.model import HEARTBEAT_TIMEOUT_S, Run, StepRecord, run_costs
from rvlab.store import S3Access, Store, clock
from rvlab.store.server import Server
from tests.frame.samples import Made
from tests.worker.samples import made

STEP = """
import sys, time
from datetime import UTC, datetime, timedelta
from rvlab.worker import step, step_recorder

def skewed():
    now = datetime.now(UTC) + timedelta(days={days})
    return now.isoformat(timespec="milliseconds")

def body(store, run, kind):
    time.sleep(600)

step_recorder.utc_now = skewed
step.summarize_outputs = body
step.run_step({uri!r}, "summarize", every_s=1.0)
"""


@contextmanager
def working(store: Store, run: Run, days: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a step in a process whose clock is some days ahead, and wait for a heartbeat."""
    process = subprocess.Popen([sys.executable, "-c", STEP.format(days=days, uri=run.uri)])
    try:
        key = run.step_key("summarize")
        seen: set[str] = set()
        while len(seen) < 2:
            assert process.poll() is None
            if store.exists(key):
                seen.add(str(store.get_json(key)["beat"]))
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def spec_of(store: Store, run: Run, engine: str) -> None:
    record = store.get_json(run.key("spec.json"))
    store.put_json(run.key("spec.json"), {**record, "engine": engine})
    store.put(run.active_key, b"")


@pytest.mark.parametrize("days", [-1, 1])
def test_step_with_a_wrong_clock_is_running_while_alive_and_lost_afterwards(
    tmp_path: Path, days: int
) -> None:
    store, run = made(tmp_path / "store")
    spec_of(store, run, "local")
    with working(store, run, days) as process:
        beat = datetime.fromisoformat(str(store.get_json(run.step_key("summarize"))["beat"]))
        assert abs(beat - datetime.now(UTC)) > timedelta(hours=20)
        row = frame.runs_table(store, [run]).loc[run.id]
        assert (row["state"], row["step"]) == ("running", "summarize")
        assert pd.isna(row["duration"]) or row["duration"] >= pd.Timedelta(0)
        process.send_signal(signal.SIGKILL)
        process.wait()
    old = time.time() - HEARTBEAT_TIMEOUT_S - 5
    os.utime(Path(store.uri, run.step_key("summarize")), (old, old))
    assert frame.runs_table(store, [run]).loc[run.id, "state"] == "lost"


@pytest.fixture
def on_s3(s3: Server, s3_access: S3Access, request: pytest.FixtureRequest) -> Store:
    return Store(f"s3://{s3.bucket}/{request.node.name.replace('[', '-').rstrip(']')}", s3_access)


@pytest.mark.parametrize("days", [-1, 1])
def test_age_of_a_heartbeat_on_s3_uses_the_clock_of_the_server(
    on_s3: Store, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Made(on_s3).running(beat_ago_s=-86400 * days)
    assert frame.runs_table(on_s3, [run]).loc[run.id, "state"] == "running"
    later = Store(on_s3.uri, on_s3.access)
    date = clock._read_date_header
    monkeypatch.setattr(
        clock, "_read_date_header", lambda *at: _later(date(*at), HEARTBEAT_TIMEOUT_S + 5)
    )
    assert frame.runs_table(later, [run]).loc[run.id, "state"] == "lost"


def _later(moment: datetime | None, seconds: float) -> datetime:
    assert moment is not None
    return moment + timedelta(seconds=seconds)


def test_clock_of_a_server_is_requested_once_a_minute(
    on_s3: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def date(endpoint: str, _ca_bundle: str | None) -> datetime:
        asked.append(endpoint)
        return datetime(2031, 5, 6, tzinfo=UTC)

    real = on_s3.now()
    on_s3.put("k", b"1")
    assert abs(on_s3.last_modified("k") - real) < timedelta(seconds=60)
    monkeypatch.setattr(clock, "_read_date_header", date)
    other = Store(on_s3.uri, on_s3.access)
    first, second = other.now(), other.now()
    assert datetime(2031, 5, 6, tzinfo=UTC) <= first <= second < datetime(2031, 5, 7, tzinfo=UTC)
    assert asked == [on_s3.access.endpoint]
    monkeypatch.setattr(clock, "VALID_S", -1.0)
    other.now()
    assert len(asked) == 2


def test_clock_of_this_machine_is_used_if_the_server_sends_no_date() -> None:
    store = Store("s3://bucket", S3Access("http://127.0.0.1:9"))
    assert abs(store.now() - datetime.now(UTC)) < timedelta(seconds=60)
    memory = Store("memory://clocks")
    assert abs(memory.now() - datetime.now(UTC)) < timedelta(seconds=60)


def test_duration_is_never_negative(tmp_path: Path) -> None:
    """Start and end a run on machines whose clocks are a day apart."""
    store = Store(tmp_path / "store")
    maker = Made(store)
    run = maker.ended()
    record = store.get_json(run.end_key)
    store.put_json(run.end_key, {**record, "started": record["ended"], "ended": record["started"]})
    running = maker.running(beat_ago_s=-86400)
    table = frame.runs_table(store, [run, running])
    assert table["duration"].isna().all()
    assert table["state"].tolist() == ["succeeded", "running"]


def test_costs_leave_out_a_step_that_ended_before_it_started() -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC)

    def step(name: str, start_s: float, end_s: float) -> StepRecord:
        times = [(day + timedelta(seconds=s)).isoformat() for s in (start_s, end_s, end_s)]
        return StepRecord(
            step=name,
            state="succeeded",
            started=times[0],
            beat=times[1],
            host="h",
            pid=1,
            ended=times[2],
        )

    assert run_costs([step("train", 0, 5), step("eval", 10, 3)]) == {"train_s": 5.0}
