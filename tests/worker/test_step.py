"""Tests of single steps in a child process, as a pod runs them.

The steps of the longest test are forks of a process that has imported their libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rvlab.model import Run
from rvlab.recipes import find_recipe
from rvlab.store import Store
from rvlab.submission import SubmitOptions, prepare_runs
from tests.conftest import TINY, Trained

pytestmark = pytest.mark.slow


def worker(
    store: Store, *args: str, python: Path | str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "rvlab.worker", *args],
        env={**os.environ, **store.environ(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def submit_run(store: Store, **params: Any) -> Run:
    """Write the records of a run without submitting it to an engine."""
    return prepare_runs(store, find_recipe(TINY), [params], SubmitOptions("steps", "none"))[0]


def record(store: Store, run: Run, *key: str) -> dict[str, Any]:
    return dict(json.loads(store.get(run.key(*key))))


def test_eval_without_output_fails_and_retried_train_starts_clean(
    trained: Trained, python: Path
) -> None:
    store = trained.lab.store
    run = submit_run(store, epochs=2)
    for step in ("configure", "train", "predict"):
        done = worker(store, step, run.uri, python=python)
        assert done.returncode == 0, done.stderr
    weights = store.get(run.key("rv", "train", "last-model.pth"))
    labels = [k for k, _ in store.files(run.key("rv", "predict")) if k.endswith("labels.tif")]
    store.delete(labels[:1])

    done = worker(store, "eval", run.uri, python=python)  # Raster Vision itself warns, and exits 0
    assert done.returncode == 1
    end = store.get_json(run.end_key)
    assert (end["state"], end["step"]) == ("failed", "eval")
    assert end["error"].startswith("eval ended without an error but did not write s3://")
    assert "eval.json. See its log." in end["error"]

    done = worker(
        store, "train", run.uri, python=python
    )  # by itself: "Training already completed. Skipping."
    assert done.returncode == 0, done.stderr
    assert "Skipping" not in trained.lab.logs(run, "train")
    assert record(store, run, "steps", "train.json")["attempt"] == 2
    assert trained.lab.history(run)["epoch"].tolist() == [0, 1]
    assert len(store.get(run.key("rv", "train", "last-model.pth"))) == len(weights)
    assert trained.lab.runs(run)["state"].item() == "running"  # a retry deletes the end record


def test_step_of_a_succeeded_run_is_rejected(trained: Trained) -> None:
    run = trained.runs["first"]
    done = worker(trained.lab.store, "train", run.uri)
    assert done.returncode == 1
    assert f"rvlab: The run '{run.id}' has ended (succeeded)." in done.stderr
    assert record(trained.lab.store, run, "steps", "train.json")["attempt"] == 1


def test_missing_run_is_reported_without_a_traceback(trained: Trained) -> None:
    done = worker(trained.lab.store, "train", f"{trained.lab.store.uri}/steps/20200101-000000-abc")
    assert done.returncode == 1
    assert "has no key 'steps/20200101-000000-abc/spec.json'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["cook"], "invalid choice: 'cook'"),
        (["predict", "--split", "2", "2"], "--split 2 2: I counts from 0 to N - 1."),
    ],
)
def test_invalid_arguments_are_reported(trained: Trained, args: list[str], said: str) -> None:
    step, *rest = args
    done = worker(trained.lab.store, step, "s3://nowhere/a/b", *rest)
    assert done.returncode == 2
    assert said in done.stderr


def test_denied_upload_fails_the_step(trained: Trained) -> None:
    """The credentials become invalid during a run, which must not succeed."""
    from rvlab.store import S3Access

    store = trained.lab.store
    run = submit_run(store)
    wrong = Store(
        store.uri, S3Access(store.access.endpoint, store.access.access_key, "not-the-secret")
    )
    done = worker(wrong, "configure", run.uri)
    assert done.returncode == 1
    assert "refused the credentials" in done.stderr
    assert "not-the-secret" not in done.stdout + done.stderr
