"""The progress of a run, read from records on a real S3 server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rvlab.errors import StoreUnreachable
from rvlab.frame import progress as module
from rvlab.frame.progress import ProgressReader, RunProgress, estimate_left_s, progress_by_step
from rvlab.model import Run, StepRecord
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.faults.proxy import Proxy
from tests.frame.samples import Made

LOG = "epoch,train_time,valid_time,train_loss,val_loss,avg_f1\n"
EPOCH = "{0},0:00:04,0:00:01,{1},0.9,0.5\n"


@pytest.fixture
def made(s3: Server, s3_access: S3Access, request: pytest.FixtureRequest) -> Made:
    return Made(Store(f"s3://{s3.bucket}/progress/{request.node.name}", s3_access))


def plan(made: Made, run: Run, **splits: int) -> None:
    steps = ["chip", "train", "predict", "eval"]
    made.store.put_json(run.key("plan.json"), {"schema": 1, "steps": steps, "splits": splits})
    config = {"backend": {"solver": {"num_epochs": 8}}}
    made.store.put_json(run.key("rv", "pipeline-config.json"), config)


def reader_of(made: Made, run: Run, state: str = "queued", **options: object) -> ProgressReader:
    return ProgressReader(made.store, run, {"state": state}, **options)


def read_cycle(reader: ProgressReader) -> None:
    """Make at least the requests of one cycle, with the log."""
    reader.reads_log = True
    for _ in range(12):
        if not reader.is_complete:
            reader.advance()


def test_queued_run_has_only_waiting_steps(made: Made) -> None:
    reader = reader_of(made, made.queued())
    read_cycle(reader)
    assert reader.progress.state == "queued"
    assert {step.state for step in reader.progress.steps} == {"waiting"}
    assert not reader.is_complete


def test_running_run_has_its_epoch_its_curve_and_an_estimate(made: Made) -> None:
    run = made.running()
    plan(made, run, predict=4)
    epochs = "".join(EPOCH.format(n, 1 / (n + 1)) for n in range(3))
    made.store.put(run.key("rv", "train", "log.csv"), (LOG + epochs).encode())
    made.store.put(run.log_key("train"), b"Epoch 3\nof 8\n")
    typical = {"predict": 20.0, "eval": 5.0, "summarize": 2.0}
    reader = reader_of(made, run, typical_s=typical)
    read_cycle(reader)
    found = reader.progress
    assert found.state == "running"
    assert [(step.name, step.state) for step in found.steps] == [
        *(("configure", "succeeded"), ("chip", "waiting"), ("train", "running")),
        *(("predict", "waiting"), ("eval", "waiting"), ("summarize", "waiting")),
    ]
    assert found.steps[3].splits == 4
    assert (found.epochs_done, found.epochs) == (3, 8)
    assert [row["train_loss"] for row in found.history] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert found.left_s is None, "the duration of chip is unknown"
    reader.typical_s["chip"] = 3.0
    read_cycle(reader)
    assert reader.progress.left_s == 5 * 5.0 + 3.0 + 20.0 + 5.0 + 2.0
    assert found.log == "Epoch 3\nof 8\n"
    assert (found.elapsed_s or 0) >= 10


def test_ended_run_has_its_metrics_its_duration_and_its_error(made: Made) -> None:
    run = made.ended({}, {"f1": 0.75}, state="failed", step="train", error="no memory")
    made.step(run, "train", state="failed", ended=datetime.now(UTC).isoformat())
    made.store.put(run.log_key("train"), b"Traceback\n")
    reader = reader_of(made, run, "failed")
    for _ in range(20):
        if not reader.is_complete:
            reader.advance()
    found = reader.progress
    assert reader.is_complete
    assert (found.state, found.error, found.metrics) == ("failed", "no memory", {"f1": 0.75})
    assert found.elapsed_s == 30
    assert found.log == "Traceback\n", "the log of a failed run is read without being asked for"


def test_state_of_the_end_record_is_final(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERY_AFTER_S", -1.0)
    run = made.running()
    reader = reader_of(made, run)
    read_cycle(reader)
    assert reader.is_silent
    made.end(run)
    while reader.progress.state != "succeeded":
        reader.advance()
    for number in range(6):  # heartbeats that were written before the end, but are read after it
        assert not reader.is_silent
        made.step(run, "train", beat_ago_s=number)
        reader.advance()
        assert reader.progress.state == "succeeded"


def test_each_advance_makes_at_most_one_request(
    s3: Server, s3_access: S3Access, made: Made
) -> None:
    run = made.running()
    plan(made, run)
    made.store.put(run.key("rv", "train", "log.csv"), (LOG + EPOCH.format(0, 1)).encode())
    with Proxy(s3.endpoint).running() as proxy:
        access = S3Access(proxy.endpoint, s3.access_key, s3.secret_key, region=s3.region)
        reader = ProgressReader(Store(made.store.uri, access), run, {"state": "running"})
        for number in range(1, 12):
            reader.advance()
            assert sum(proxy.seen.values()) <= number
    assert reader.progress.epochs_done == 1


def test_log_is_cut_at_the_start_of_a_line(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAIL_BYTES", 12)
    run = made.running()
    made.store.put(run.log_key("train"), b"first line\nsecond\nthird\n")
    reader = reader_of(made, run)
    read_cycle(reader)
    assert reader.progress.log == "third\n"


def test_reading_goes_on_after_an_outage(s3: Server, made: Made) -> None:
    run = made.running()
    with Proxy(s3.endpoint).running() as proxy:
        access = S3Access(proxy.endpoint, s3.access_key, s3.secret_key, region=s3.region)
        store = Store(made.store.uri, access, patience_s=0)
        reader = ProgressReader(store, run, {"state": "queued"})
        proxy.shares = {"reset": 1.0}
        with pytest.raises(StoreUnreachable):
            reader.advance()
        proxy.shares = {}
        read_cycle(reader)
    assert reader.progress.state == "running"


def test_broken_record_of_the_end_makes_the_run_broken(made: Made) -> None:
    run = made.queued()
    made.store.put(run.end_key, b"{")
    reader = reader_of(made, run)
    for _ in range(3):
        if not reader.is_complete:
            reader.advance()
    assert reader.progress.state == "broken"
    assert reader.progress.error is not None
    assert reader.is_complete


def record(step: str, state: str, *, split: int | None = None, of: int | None = None) -> StepRecord:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    beat = (start + timedelta(seconds=30)).isoformat()
    ended = None if state == "running" else beat
    return StepRecord(
        step=step,
        state=state,
        started=start.isoformat(),
        beat=beat,
        host="here",
        pid=1,
        split=split,
        of=of,
        ended=ended,
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["succeeded", "running"], "running"),
        (["succeeded", "succeeded"], "running"),
        (["succeeded", "failed", "running"], "failed"),
        (["succeeded"] * 3, "succeeded"),
        (["cancelled", "running"], "cancelled"),
    ],
)
def test_state_of_a_split_step(states: list[str], expected: str) -> None:
    records = [record("predict", state, split=n, of=3) for n, state in enumerate(states)]
    (predict,) = [one for one in progress_by_step(records, {}) if one.name == "predict"]
    assert (predict.state, predict.splits) == (expected, 3)
    assert predict.done == states.count("succeeded")


def test_running_step_counts_the_time_since_its_heartbeat() -> None:
    (chip,) = [
        one for one in progress_by_step([record("chip", "running")], {}, 7) if one.done == 0
    ][1:2]
    assert (chip.name, chip.elapsed_s) == ("chip", 37)


def test_step_that_has_run_longer_than_usual_has_no_time_left() -> None:
    steps = progress_by_step([record("eval", "running")], {"eval": 1})
    found = RunProgress(Run("/s", "e", "r"), steps=steps)
    assert estimate_left_s(found, {"eval": 10.0}) == 0
    assert estimate_left_s(found, {"eval": 40.0}) == 10
    assert estimate_left_s(found, {}) is None
