"""Priorities in the queue of this machine, with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.actions.control import start_runs
from rvlab.engines.job_queue import JobQueue
from rvlab.errors import SpecError
from rvlab.model import END_STATES, Run, Spec
from rvlab.recipes import find_recipe
from rvlab.store import Store
from rvlab.submission import SubmitOptions
from tests.conftest import TINY
from tests.engines.quick_train import QuickLocal
from tests.frame.samples import Made
from tests.waiting import wait_until as until

LONG = 10_000


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Yield a lab that executes one run at a time, and cancel its active runs at the end."""
    lab = Lab(tmp_path / "store", QuickLocal(max_parallel=1))
    yield lab
    table = lab.runs()
    active = table[~table["state"].isin(END_STATES)]
    if len(active):
        lab.cancel(active)


def waiting(lab: Lab) -> list[Run]:
    return [job.run for _, job in JobQueue.for_store(lab.store).waiting()]


@pytest.mark.slow
def test_a_short_test_starts_before_the_waiting_runs_of_a_sweep(lab: Lab) -> None:
    first = lab.submit(TINY, epochs=LONG)
    until(lambda: lab.runs(first)["state"].item() == "running")
    sweep = lab.sweep(TINY, [{"lr": 1e-2}, {"lr": 1e-3}], epochs=LONG, priority=-1)
    ordinary = lab.submit(TINY, epochs=LONG)
    short, second = (lab.submit(TINY, epochs=1, seed=n, priority=5) for n in (0, 1))
    assert waiting(lab) == [short, second, ordinary, *sweep]
    everything = [first, *sweep, ordinary, short, second]
    assert lab.runs(everything)["priority"].tolist() == [0, -1, -1, 0, 5, 5]
    assert lab.runs(first)["state"].item() == "running", "it is not interrupted"

    lab.cancel(first)
    lab.wait([short, second], progress=False)
    until(lambda: lab.runs(ordinary)["state"].item() == "running")
    assert set(lab.runs(list(sweep))["state"]) == {"queued"}

    lab.cancel(sweep[1])
    lab.clone(sweep[1], priority=3)
    assert lab.runs(waiting(lab))["priority"].tolist() == [3, -1]


@pytest.mark.slow
def test_a_retried_run_has_its_recorded_priority(lab: Lab) -> None:
    busy = lab.submit(TINY, epochs=LONG)
    until(lambda: lab.runs(busy)["state"].item() == "running")
    waits = lab.submit(TINY, epochs=LONG)
    failed = Made(lab.store).ended({}, state="failed", experiment="default", priority=2)
    lab.store.put(failed.key("recipe.py"), find_recipe(TINY).source.encode())
    lab.retry(failed)
    assert waiting(lab) == [failed, waits]


def test_older_records_have_the_priority_0(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = Made(store)
    run = made.queued()
    record = store.get_json(run.key("spec.json"))
    del record["priority"]
    store.put_json(run.key("spec.json"), record)
    assert Spec.from_record(record, "spec.json").priority == 0
    made.end(run)
    assert "priority" in store.get_json(run.end_key)["spec"]
    end = store.get_json(run.end_key)
    del end["spec"]["priority"]
    store.put_json(run.end_key, end)
    assert Lab(tmp_path).runs()["priority"].tolist() == [0]


@pytest.mark.parametrize("value", [1001, -1001, 1.5, True, "high"])
def test_invalid_priority_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(SpecError, match=r"priority must be an integer from -1000 to 1000, got"):
        Lab(tmp_path).submit(TINY, priority=value)


def test_an_engine_without_priorities_refuses_them_before_anything_is_written(
    tmp_path: Path,
) -> None:
    class Ordered:
        name = "kubeflow"

    store = Store(tmp_path / "store")
    options = SubmitOptions("towns", "kubeflow", priority=3)
    with pytest.raises(SpecError, match=r"'kubeflow' starts runs in an order of its own\. Omit pr"):
        start_runs(store, Ordered(), find_recipe(TINY), [{}], options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
