"""The behaviour of every engine, as tests to inherit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import rasterio

from rvlab import Lab
from rvlab.errors import EngineError, HasEnded, SpecError
from rvlab.model import Run
from tests.conftest import TINY, Trained, predict_validation
from tests.waiting import wait_until as until

TWICE = """
from rvlab.store import Store

def get_config(runner, root_uri: str, store: str, marker: str):
    second = Store(store).exists(marker)
    raise RuntimeError("the second time" if second else "the first time")
"""

SLOW = """
import time

def get_config(runner, root_uri: str):
    time.sleep(600)
"""

TIMES = {"created", "started", "ended", "at", "beat", "host", "pid", "peak_mb", "cpu_s"}
OWN = {"run", "name", "experiment", "engine", "places", "image", "sweep", "rvlab", "user", "id"}
OWN |= {"steady_heartbeat", "commit", "dirty"}  # the checkout may change between the two
"""Fields in which two runs of one spec on two engines may differ."""


class EngineContract:
    """Inherit it and define a fixture `lab` with the engine, on the embedded S3 server."""

    engine: ClassVar[str]
    """The name of the engine, as in the entry point."""

    def test_a_run_leaves_the_same_records_as_on_the_local_engine(
        self, lab: Lab, trained: Trained
    ) -> None:
        run = lab.submit(TINY, experiment="contract", nochip=False, splits=2, epochs=2)
        assert lab.runs(run).loc[run.id, "state"] in ("queued", "running")
        spec = lab.store.get_json(run.key("spec.json"))
        assert (spec["engine"], lab.engine.name) == (self.engine, self.engine)
        assert spec["steady_heartbeat"] is lab.engine.steady_heartbeat
        row = lab.wait(run, progress=False).loc[run.id]
        assert row["state"] == "succeeded", row["error"]
        twin = trained.runs["first"]
        assert _keys(lab, run) == _keys(trained.lab, twin)
        for read in (Lab.evals, Lab.confusion, Lab.scenes):
            own, other = read(lab, run), read(trained.lab, twin)
            own, other = (one.drop(columns=["run", "name"]) for one in (own, other))
            pd.testing.assert_frame_equal(own, other)
        for name in ("spec.json", "plan.json", "claim.json", "steps/predict-1.json"):
            assert _record(lab, run, name) == _record(trained.lab, twin, name)
        for name in ("metrics", "eval_set", "eval_sets", "state", "error"):
            assert _end(lab, run)[name] == _end(trained.lab, twin)[name]

    def test_a_failure_is_recorded_with_its_step_and_can_be_retried(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        recipe, marker = tmp_path / "twice.py", "_marker/second"
        recipe.write_text(TWICE)
        run = lab.submit(recipe, experiment="contract", store=lab.store.uri, marker=marker)
        row = lab.wait(run, progress=False).loc[run.id]
        assert (row["state"], row["step"]) == ("failed", "configure")
        assert row["error"] == "RuntimeError: the first time"
        with pytest.raises(HasEnded, match=r"has ended already \(failed\)"):
            lab.cancel(run)
        assert lab.runs(run).loc[run.id, "state"] == "failed"
        lab.store.put(marker, b"")
        until(lambda: _retried(lab, run))
        until(lambda: "the second time" in str(lab.runs(run).loc[run.id, "error"]))
        assert lab.steps(run)["attempt"].tolist() == [2]
        assert "the second time" in lab.logs(run)

    def test_a_cancelled_run_ends_and_remains_cancelled(self, lab: Lab, tmp_path: Path) -> None:
        recipe = tmp_path / "slow.py"
        recipe.write_text(SLOW)
        run = lab.submit(recipe, experiment="contract")
        until(lambda: lab.steps(run)["state"].tolist() == ["running"])
        assert lab.runs(run).loc[run.id, "state"] == "running"
        lab.cancel(run)
        until(lambda: lab.steps(run)["state"].tolist() == ["cancelled"])
        assert lab.runs(run).loc[run.id, "state"] == "cancelled"
        with pytest.raises(HasEnded, match=r"has ended already \(cancelled\)"):
            lab.cancel(run)
        with pytest.raises(SpecError, match="is cancelled, so there is nothing to retry"):
            lab.retry(run)

    def test_one_invalid_point_starts_nothing(self, lab: Lab) -> None:
        with pytest.raises(SpecError, match="Did you mean 'epochs'"):
            lab.sweep(TINY, [{"lr": 0.1}, {"epoch": 1}], experiment="never")
        assert "never" not in set(lab.runs()["experiment"])


class PipelineContract(EngineContract):
    """What engines that execute the pipeline of Kubeflow must do, too."""

    def test_a_prediction_equals_that_of_the_local_engine(
        self, lab: Lab, trained: Trained, predicted: Run
    ) -> None:
        other = Lab(trained.lab.store, lab.engine)
        model = trained.runs["no chips"]
        run = predict_validation(other, model)
        stopped = predict_validation(other, model)
        other.cancel(stopped)
        row = other.wait(run, progress=False).loc[run.id]
        assert row["state"] == "succeeded", row["error"]
        assert (row["engine"], row["kind"], row["parent"]) == (self.engine, "prediction", model.id)
        assert _keys(other, run) == _keys(other, predicted)
        measured = other.runs([run, predicted]).filter(regex=r"^(metrics\.|eval_set)")
        assert "metrics.f1" in measured
        assert (measured.nunique(dropna=False) == 1).all()
        for read in (Lab.evals, Lab.confusion, Lab.scenes, Lab.objects):
            own, theirs = (
                read(other, one).drop(columns=["run", "name"]) for one in (run, predicted)
            )
            pd.testing.assert_frame_equal(own, theirs)
        own, theirs = (other.artifacts(one) for one in (run, predicted))
        for kind in ("labels", "scores", "labels_copy", "scores_copy"):
            pairs = (one.loc[one["kind"] == kind, "uri"] for one in (own, theirs))
            for ours, local_uri in zip(*pairs, strict=True):
                assert np.array_equal(_pixels(other, ours), _pixels(other, local_uri)), ours
        for name in ("spec.json", "plan.json", "claim.json", "steps/predict-1.json"):
            assert _record(other, run, name) == _record(other, predicted, name)
        assert "predict" in other.watch(run).html()
        until(lambda: "running" not in other.steps(stopped)["state"].tolist())
        assert other.runs(stopped).loc[stopped.id, "state"] == "cancelled"


def _keys(lab: Lab, run: Run) -> list[str]:
    start = len(run.prefix) + 1
    return [k[start:] for k, _ in lab.store.files(run.prefix) if k[start:] != "job.json"]


def _pixels(lab: Lab, uri: str) -> Any:
    with lab.open(uri) as file, rasterio.open(file) as raster:
        return raster.read()


def _record(lab: Lab, run: Run, name: str) -> dict[str, Any]:
    record = lab.store.get_json(run.key(*name.split("/")))
    return {key: value for key, value in record.items() if key not in TIMES | OWN}


def _end(lab: Lab, run: Run) -> dict[str, Any]:
    return lab.store.get_json(run.end_key)


def _retried(lab: Lab, run: Run) -> bool:
    """Return whether a retry succeeded; a failed run's process may take a moment to end."""
    try:
        lab.retry(run)
    except EngineError:
        return False
    return True
