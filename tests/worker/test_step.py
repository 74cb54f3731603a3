"""One step at a time, in a process of its own, as a pod would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from rvlab.model import Run
from rvlab.recipes import find_recipe
from rvlab.store import Store
from rvlab.submission import SubmitOptions, prepare_runs
from tests.conftest import TINY, Trained

pytestmark = pytest.mark.slow


def worker(store: Store, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rvlab.worker", *args],
        env={**os.environ, **store.environ(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def submitted(store: Store, **params: Any) -> Run:
    """A run whose records are written, and which no engine has been told of."""
    return prepare_runs(store, find_recipe(TINY), [params], SubmitOptions("steps", "none"))[0]


def record(store: Store, run: Run, *key: str) -> dict[str, Any]:
    return dict(json.loads(store.get(run.key(*key))))


def test_an_eval_that_leaves_nothing_fails_and_a_train_that_is_retried_starts_clean(
    trained: Trained,
) -> None:
    store = trained.lab.store
    run = submitted(store, epochs=2)
    for step in ("configure", "train", "predict"):
        done = worker(store, step, run.uri)
        assert done.returncode == 0, done.stderr
    weights = store.get(run.key("rv", "train", "last-model.pth"))
    labels = [k for k, _ in store.files(run.key("rv", "predict")) if k.endswith("labels.tif")]
    store.delete(labels[:1])

    done = worker(store, "eval", run.uri)  # Raster Vision itself warns, and exits 0
    assert done.returncode == 1
    end = store.get_json(run.end_key)
    assert (end["state"], end["step"]) == ("failed", "eval")
    assert end["error"].startswith("eval ended without an error, but did not leave s3://")
    assert "eval.json. Its log says why." in end["error"]

    done = worker(store, "train", run.uri)  # by itself: "Training already completed. Skipping."
    assert done.returncode == 0, done.stderr
    assert "Skipping" not in trained.lab.logs(run, "train")
    assert record(store, run, "steps", "train.json")["attempt"] == 2
    assert trained.lab.history(run)["epoch"].tolist() == [0, 1]
    assert len(store.get(run.key("rv", "train", "last-model.pth"))) == len(weights)
    assert trained.lab.runs(run)["state"].item() == "running"  # a retry takes the end back


def test_a_run_that_succeeded_is_not_touched_again(trained: Trained) -> None:
    run = trained.runs["first"]
    done = worker(trained.lab.store, "train", run.uri)
    assert done.returncode == 1
    assert f"rvlab: The run '{run.id}' is over (succeeded)." in done.stderr
    assert record(trained.lab.store, run, "steps", "train.json")["attempt"] == 1


def test_a_run_that_is_not_there_is_one_clear_line(trained: Trained) -> None:
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
def test_wrong_arguments_are_told(trained: Trained, args: list[str], said: str) -> None:
    step, *rest = args
    done = worker(trained.lab.store, step, "s3://nowhere/a/b", *rest)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_upload_that_is_refused_fails_the_step(trained: Trained) -> None:
    """The store turns read-only under a run: it must not end green."""
    from rvlab.store import S3Access

    store = trained.lab.store
    run = submitted(store)
    wrong = Store(
        store.uri, S3Access(store.access.endpoint, store.access.access_key, "not-the-secret")
    )
    done = worker(wrong, "configure", run.uri)
    assert done.returncode == 1
    assert "refused the credentials" in done.stderr
    assert "not-the-secret" not in done.stdout + done.stderr
