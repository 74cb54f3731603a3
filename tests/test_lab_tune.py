"""Adaptive search with Optuna over real child processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

import rvlab
from rvlab import Lab
from rvlab.engines.job_queue import JobQueue
from rvlab.errors import SpecError, WaitInterrupted
from rvlab.model import ReportedState, Run
from tests.faults.cheap_step import SOURCE, CheapEngine
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent
SPACE = {"value": rvlab.uniform(0.0, 1.0)}


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "cheap.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lab = Lab(tmp_path / "store", CheapEngine(max_parallel=3))
    yield lab
    queue = JobQueue.for_store(lab.store)
    for file, _ in queue.waiting():
        queue.remove(file)
    wait_until(lambda: not queue.running())


def tune(lab: Lab, recipe: str, trials: int, **options: Any) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=1)
    return lab.tune(
        recipe, SPACE, trials=trials, experiment="towns", sampler=sampler, progress=False, **options
    )


def test_trials_are_runs_and_a_later_call_continues_the_study(lab: Lab, recipe: str) -> None:
    study = tune(lab, recipe, 3, parallel=3)
    table = lab.runs("towns")
    assert table["sweep"].tolist() == ["tune"] * 3
    values = {t.user_attrs["run"]: (t.params["value"], t.value) for t in study.trials}
    assert values == {
        run: (row["params.value"], row["metrics.f1"]) for run, row in table.iterrows()
    }
    assert study.best_value == table["metrics.f1"].max()
    more = tune(lab, recipe, 4)
    assert len(more.trials) == 4
    assert {t.user_attrs["run"] for t in more.trials} == set(lab.runs("towns").index)


def test_interrupted_study_says_how_to_continue(lab: Lab, recipe: str) -> None:
    class Interrupting(CheapEngine):
        """An engine in whose calls the user interrupts the study after its first run."""

        def resume(self, store: Any) -> None:
            super().resume(store)
            if store.files("towns/runs/ended"):
                raise KeyboardInterrupt

    with pytest.raises(WaitInterrupted, match=r"of 3 trials\. The active runs continue"):
        tune(Lab(lab.store, Interrupting(max_parallel=3)), recipe, 3, parallel=1)
    assert len(tune(lab, recipe, 3).trials) == 3


def test_unpromising_runs_are_cancelled_with_their_epoch(
    lab: Lab, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.last_step is not None

    class Held(CheapEngine):
        """An engine whose runs wait in the queue."""

        def start(self, store: Any, runs: Any, **_: Any) -> list[Run]:
            for run in runs:
                store.put(run.key("rv/train/log.csv"), b"epoch,avg_f1\n0,0.1\n1,0.2\n")
            return list(runs)

        def states(self, store: Any, runs: Any) -> dict[Run, ReportedState]:
            return dict.fromkeys(runs, ReportedState("queued"))

    held = Lab(lab.store, Held())
    study = tune(held, recipe, 2, prune_by="avg_f1", pruner=Never())
    table = lab.runs("towns")
    assert table["state"].tolist() == ["cancelled"] * 2
    assert table["tags"].tolist() == ["pruned"] * 2
    assert table["note"].tolist() == ["Pruned after epoch 1."] * 2
    assert table["epochs"].tolist() == [2, 2], "epochs count from 0"
    assert {t.state for t in study.trials} == {optuna.trial.TrialState.PRUNED}
    again = tune(held, recipe, 2, prune_by="avg_f1", pruner=Never())
    assert {t.state for t in again.trials} == {optuna.trial.TrialState.PRUNED}


def test_lists_are_choices_with_their_values(lab: Lab, tmp_path: Path) -> None:
    source = SOURCE.replace("value: float = 0.0", "value: float = 0.0, sizes: list = (1,)")
    path = tmp_path / "listed.py"
    path.write_text(source)
    study = lab.tune(
        str(path), {"sizes": [[1, 2], [3]]}, trials=2, experiment="lists", progress=False
    )
    assert {str(s) for s in lab.runs("lists")["params.sizes"]} <= {"[1, 2]", "[3]"}
    assert len(study.trials) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "up"}, "direction must be maximize or minimize, got 'up'"),
        ({"trials": 0}, "trials must be a positive integer, got 0"),
        ({"value": 0.5}, "'value' is both searched and fixed"),
        ({"other": 0.5}, "has no parameter 'other'"),
    ],
)
def test_invalid_options_start_nothing(
    lab: Lab, recipe: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        lab.tune(recipe, SPACE, **{"trials": 1, "experiment": "towns", **options})
    assert lab.store.files() == []
