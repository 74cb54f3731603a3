"""A retried run is started once and is no longer failed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rvlab import Lab, LocalEngine
from rvlab.engines.job_queue import JobQueue
from rvlab.errors import EngineError, SpecError
from rvlab.model import Run
from rvlab.recipes import find_recipe
from rvlab.submission import SubmitOptions, current_user, prepare_runs
from rvlab.worker.records import write_end
from tests.conftest import TINY
from tests.frame.samples import Made


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return a lab whose queue has no supervisor."""
    monkeypatch.setattr(LocalEngine, "resume", lambda *_: None)
    return Lab(tmp_path / "store")


@pytest.fixture
def failed(lab: Lab) -> Run:
    run = prepare_runs(lab.store, find_recipe(TINY), [{}], SubmitOptions("tiny", "local"))[0]
    spec = lab.store.get_json(run.key("spec.json"))
    write_end(lab.store, run, spec, "failed", step="train", error="no memory")
    return run


def test_a_retried_run_is_queued_and_can_be_cancelled(lab: Lab, failed: Run) -> None:
    assert lab.runs(failed).loc[failed.id, "state"] == "failed"
    lab.retry(failed)
    assert lab.runs(failed).loc[failed.id, "state"] == "queued"
    with pytest.raises(SpecError, match="is queued: cancel it first"):
        lab.delete(failed, confirm=failed.id)
    lab.cancel(failed)
    assert lab.runs(failed).loc[failed.id, "state"] == "cancelled"
    assert not JobQueue.for_store(lab.store).waiting()


def test_one_of_several_concurrent_retries_starts_the_run(lab: Lab, failed: Run) -> None:
    def retry(_: int) -> bool:
        try:
            lab.engine.retry(lab.store, failed)
        except EngineError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(retry, range(8))) == 1
    assert len(JobQueue.for_store(lab.store).waiting()) == 1


def test_a_run_of_a_cluster_is_not_deleted_without_asking_its_engine(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "store")
    run = Made(lab.store).running(beat_ago_s=7200, engine="kubeflow", user=current_user())
    with pytest.raises(SpecError, match=f"Only its engine can report whether the run {run.id} has"):
        lab.delete(run, confirm=run.id)
    assert lab.store.exists(run.key("spec.json"))


def test_a_broken_run_does_not_prevent_the_cancellation_of_others(lab: Lab, failed: Run) -> None:
    others = prepare_runs(lab.store, find_recipe(TINY), [{}, {}], SubmitOptions("tiny", "local"))
    lab.store.delete([others[0].key("spec.json")])
    with pytest.raises(OSError, match=r"has no key '.*spec\.json'"):
        lab.cancel(others)
    assert lab.runs(others[1]).loc[others[1].id, "state"] == "cancelled"
