"""Cancelling a sweep needs a few requests per run and one listing of the queue."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.engines import LocalEngine
from rvlab.engines.job_queue import JobQueue
from rvlab.engines.supervisor import Supervisor
from rvlab.errors import HasEnded
from rvlab.model import Run
from rvlab.recipes import Recipe
from rvlab.store import S3Access, Store
from rvlab.store.object_storage import ObstoreStorage
from rvlab.store.server import Server
from rvlab.submission import SubmitOptions, prepare_runs
from rvlab.worker.records import write_end
from tests.engines.test_contract import lab_on
from tests.faults.cheap import SOURCE


@pytest.fixture(autouse=True)
def unserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a queue of its own without a supervisor."""
    monkeypatch.setenv("RVLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(LocalEngine, "resume", lambda *_: None)


def queue_runs(lab: Lab, number: int) -> list[Run]:
    points = [{"seconds": float(i)} for i in range(number)]
    runs = prepare_runs(lab.store, Recipe("cheap", SOURCE), points, SubmitOptions("sweep", "local"))
    lab.engine.start(lab.store, runs)
    return runs


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the requests to the storage and to the folders of the queue, by kind."""
    found: Counter[str] = Counter()

    def count(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def call(self: Any, *args: Any, **more: Any) -> Any:
            found[name] += 1
            return method(self, *args, **more)

        monkeypatch.setattr(kind, name, call)

    for name in ("get", "put", "delete", "files", "pages", "etag"):
        count(ObstoreStorage, name)
    count(JobQueue, "_entries")
    return found


def test_cancel_needs_four_requests_per_queued_run_and_one_listing_of_the_queue(
    tmp_path: Path, counted: Counter[str]
) -> None:
    lab = Lab(tmp_path / "store")
    runs = queue_runs(lab, 100)
    counted.clear()
    lab.cancel("sweep")
    assert counted["_entries"] == 2  # queued and running jobs
    assert {name: counted[name] for name in ("get", "put", "delete", "files", "etag")} == {
        "get": 100,  # spec.json
        "put": 100,  # the end record
        "delete": 100,  # the key of an active run
        "files": 100,  # sizes and steps
        "etag": 0,
    }
    assert counted["pages"] <= 10
    assert JobQueue.for_store(lab.store).waiting() == []
    assert {lab.store.get_json(run.end_key)["state"] for run in runs} == {"cancelled"}


def test_cancel_needs_no_request_per_ended_run(tmp_path: Path, counted: Counter[str]) -> None:
    lab = Lab(tmp_path / "store")
    runs = queue_runs(lab, 60)
    lab.cancel(runs[:50])
    counted.clear()
    lab.cancel("sweep")
    assert counted["put"] == 10
    assert counted["get"] == 10
    with pytest.raises(HasEnded, match="has ended already"):
        lab.cancel("sweep")


def test_cancel_of_a_sweep_skips_ended_runs(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "store")
    runs = queue_runs(lab, 3)
    write_end(
        lab.store, runs[0], lab.store.get_json(runs[0].key("spec.json")), "failed", error="why"
    )
    lab.cancel("sweep")
    assert lab.runs()["state"].tolist() == ["failed", "cancelled", "cancelled"]


def test_no_run_is_started_during_a_cancel(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "store")
    queue_runs(lab, 2)
    queue = JobQueue.for_store(lab.store)
    with queue.lock():
        Supervisor(queue)._start_waiting()
        assert len(queue.waiting()) == 2
    with queue.lock(wait=False) as mine:
        assert mine


@pytest.mark.extended
def test_a_thousand_queued_runs_are_cancelled(
    s3: Server, s3_access: S3Access, figure: Callable[[str, object], None]
) -> None:
    lab = lab_on(s3, s3_access, LocalEngine(max_parallel=1), "cancel-scale")
    runs = queue_runs(lab, 1000)
    began = time.monotonic()
    lab.cancel("sweep")
    figure("cancel 1,000 queued runs on the embedded S3 [s]", f"{time.monotonic() - began:.1f}")
    assert JobQueue.for_store(lab.store).waiting() == []
    store = Store(lab.store.uri, s3_access)
    found = store.get_many(run.end_key for run in runs)
    assert sum(b'"cancelled"' in answer for answer in found.values()) == 1000
