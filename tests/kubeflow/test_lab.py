"""What a user of `Lab` sees of Kubeflow: tables, waits, retries and cancellations."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.actions import wait as wait_module
from rvlab.engines.kubeflow.engine import KubeflowEngine
from rvlab.engines.kubeflow.jobs import JOB_FILE
from rvlab.errors import EngineError, HasEnded, SpecError
from rvlab.model import Run
from rvlab.settings import S3
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.kubeflow.conftest import Cluster

CREATE = r"POST .*/runs$"

SOURCE = """
def get_config(runner, root_uri: str, lr: float = 1e-2, note: str = ""):
    raise NotImplementedError
"""

_folder = itertools.count()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "town.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def lab(direct: Cluster, s3: Server, s3_access: S3Access, pods: S3) -> Lab:
    profile = direct.profile.model_copy(update={"s3": pods, "max_parallel": 4})
    store = Store(f"s3://{s3.bucket}/kubeflow-lab-{next(_folder)}", s3_access)
    return Lab(store, KubeflowEngine(profile))


@pytest.fixture
def swept(lab: Lab, recipe: Path) -> list[Run]:
    points = [{"lr": 0.1 * (i + 1)} for i in range(4)]
    return lab.sweep(recipe, points, experiment="towns")


def job(lab: Lab, run: Run) -> str:
    return str(lab.store.get_json(run.key(JOB_FILE))["id"])


def state(lab: Lab, run: Run) -> str:
    return str(lab.runs(run).loc[run.id, "state"])


# Submissions.


@pytest.mark.parametrize("status", [401, 403, 302])
def test_a_submission_that_kubeflow_refuses_leaves_no_row(
    lab: Lab, direct: Cluster, recipe: Path, status: int
) -> None:
    direct.fake.fail("", status, times=999, type="text/html", message="Sign in")
    with pytest.raises(EngineError, match="Nothing was submitted"):
        lab.submit(recipe, experiment="towns")
    assert lab.store.files() == []
    direct.fake.troubles.clear()
    assert len(lab.runs()) == 0


def test_a_run_that_was_not_submitted_is_distinguished_from_one_that_waits(
    lab: Lab, direct: Cluster, recipe: Path
) -> None:
    direct.fake.fail(CREATE, 500, skip=1, times=99, message="database is full")
    with pytest.raises(EngineError, match="1 of 2 runs were not started"):
        lab.sweep(recipe, [{"lr": 0.1}, {"lr": 0.2}], experiment="towns")
    board = lab.runs("towns")
    assert sorted(board["state"]) == ["not submitted", "queued"]
    unsent = board[board["state"] == "not submitted"]
    assert "answered 500: database is full" in unsent["error"].item()
    waiting = board[board["state"] == "queued"]
    assert waiting["error"].isna().all()
    direct.fake.troubles.clear()
    lab.retry(unsent)
    assert set(lab.runs("towns")["state"]) == {"queued"}
    assert len(direct.fake.runs) == 2


def test_a_run_that_was_not_submitted_can_be_deleted_and_cancelled(
    lab: Lab, direct: Cluster, recipe: Path
) -> None:
    direct.fake.fail(CREATE, 500, times=2)
    with pytest.raises(EngineError, match="2 of 2 runs were not started"):
        lab.sweep(recipe, [{"lr": 0.1}, {"lr": 0.2}], experiment="towns")
    first, second = (Run.from_uri(uri) for uri in lab.runs("towns")["uri"])
    lab.cancel(first)
    assert state(lab, first) == "cancelled"
    lab.delete(second, confirm=second.id)
    assert lab.runs("towns").index.tolist() == [first.id]
    assert not direct.fake.runs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": 0}, "splits must be an integer from 1 to 10000, got 0"),
        ({"splits": -1}, "splits must be an integer from 1 to 10000, got -1"),
        ({"splits": 2.0}, r"splits must be an integer from 1 to 10000, got 2\.0"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"note": "{{workflow.name}}"}, "'note' contains '{{', which Kubeflow would replace"),
    ],
)
def test_values_that_would_fail_in_a_pod_are_refused_at_submission(
    lab: Lab, direct: Cluster, recipe: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        lab.submit(recipe, experiment="towns", **options)
    assert lab.store.files() == []
    assert direct.fake.asked() == 0


def test_a_splits_of_zero_is_refused_for_sweeps_and_clones(
    lab: Lab, direct: Cluster, recipe: Path, swept: list[Run]
) -> None:
    asked = direct.fake.asked()
    with pytest.raises(SpecError, match="splits must be an integer from 1 to 10000, got 0"):
        lab.sweep(recipe, [{"lr": 0.1}], splits=0)
    with pytest.raises(SpecError, match="splits must be an integer from 1 to 10000, got 0"):
        lab.clone(swept[0], splits=0)
    assert direct.fake.asked() == asked


def test_a_store_that_kubeflow_would_change_is_refused_before_a_record_is_written(
    lab: Lab, direct: Cluster, recipe: Path, s3: Server, s3_access: S3Access
) -> None:
    store = Store(f"s3://{s3.bucket}/python3-runs-{next(_folder)}", s3_access)
    with pytest.raises(SpecError, match="'rvlab_store' contains 'python3'"):
        Lab(store, lab.engine).submit(recipe)
    assert store.files() == []


def test_files_that_pods_do_not_have_are_a_warning(lab: Lab, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "shared_parts.py").write_text("x = 1\n")
    recipe.write_text(f"import os\nfrom shared_parts import x\n{SOURCE}")
    with pytest.warns(
        UserWarning, match="town imports 'shared_parts', a file next to it, which pods"
    ):
        lab.submit(recipe, experiment="towns")
    recipe.write_text(SOURCE)
    with pytest.warns(UserWarning, match=f"'note' is '{tmp_path}', a path of this machine, which"):
        lab.submit(recipe, experiment="towns", note=str(tmp_path))
    lab.submit(recipe, experiment="towns", note="/no/such/folder")
    lab.submit(recipe, experiment="towns", note=f"/{'a' * 300}")  # too long for a file name
    assert len(lab.runs("towns")) == 4


@pytest.mark.parametrize("how", ["argument", "variable", "profile", "default"])
@pytest.mark.parametrize("address", ["embedded", "embedded:somewhere"])
def test_an_embedded_store_is_refused_for_a_cluster_however_it_is_named(
    direct: Cluster, how: str, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RVLAB_STORE", raising=False)
    if how == "variable":
        monkeypatch.setenv("RVLAB_STORE", address)
    store = address if how == "profile" else None
    engine = KubeflowEngine(direct.profile.model_copy(update={"store": store}))
    shown = "embedded" if how == "default" else address
    source = {
        "argument": "the argument",
        "variable": "$RVLAB_STORE",
        "profile": "`store` in rvlab.toml",
        "default": "the default",
    }
    text = f"need a store in a bucket, got {shown!r} ({source[how]}), a server of this machine"
    with pytest.raises(SpecError, match=re.escape(text)):
        Lab(address if how == "argument" else None, engine)
    assert not list(tmp_path.iterdir())


# Retries and cancellations of many runs.


def test_runs_are_retried_together_and_each_failure_is_named(
    lab: Lab, direct: Cluster, swept: list[Run]
) -> None:
    waiting, failed, deleted, refused = swept
    direct.fake.to(job(lab, failed), "FAILED")
    direct.fake.to(job(lab, refused), "FAILED")
    del direct.fake.runs[job(lab, deleted)]
    direct.fake.fail(f"{job(lab, refused)}:retry", 500, message="quota exceeded")
    with pytest.raises(EngineError) as caught:
        lab.retry(swept)
    text = str(caught.value)
    assert text.startswith("2 of 4 runs were not retried. ")
    assert f"{waiting.id}: The run is waiting for its pods in Kubeflow, so there is" in text
    assert f"{refused.id}: Kubeflow at {direct.fake.url} answered 500: quota exceeded." in text
    assert failed.id not in text
    assert deleted.id not in text
    assert state(lab, failed) == "running"
    assert state(lab, deleted) == "queued"
    assert job(lab, deleted) in direct.fake.runs


def test_one_reason_is_written_once_for_several_runs(
    lab: Lab, direct: Cluster, swept: list[Run]
) -> None:
    with pytest.raises(EngineError) as caught:
        lab.retry(swept)
    text = str(caught.value)
    ids = ", ".join(run.id for run in swept)
    assert text.startswith(f"4 of 4 runs were not retried. {ids}: The run is waiting")
    assert text.count("is waiting for its pods") == 1


def test_runs_are_cancelled_together_and_each_failure_is_named(
    lab: Lab, direct: Cluster, swept: list[Run]
) -> None:
    direct.fake.fail(f"{job(lab, swept[1])}:terminate", 500, message="no")
    direct.fake.fail(f"GET .*{job(lab, swept[2])}", 500, message="no")
    with pytest.raises(EngineError) as caught:
        lab.cancel(swept)
    text = str(caught.value)
    assert text.startswith("2 of 4 runs were not cancelled. ")
    assert f"{swept[1].id}: The run is recorded as cancelled, but Kubeflow has not" in text
    assert f"{swept[2].id}: The run is not cancelled, and nothing has been recorded." in text
    assert [state(lab, run) for run in swept] == ["cancelled", "cancelled", "queued", "cancelled"]
    lab.cancel(swept)
    assert {direct.fake.runs[job(lab, run)].state for run in swept} == {"CANCELING"}
    with pytest.raises(HasEnded):
        lab.cancel(swept)


# Waits.


class Bar:
    """A progress bar that records its texts, and calls a function after each."""

    texts: list[str]
    then: Callable[[int], None]

    def __init__(self, **_: Any) -> None:
        self.n = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_postfix_str(self, text: str) -> None:
        Bar.texts.append(text)
        Bar.then(len(Bar.texts))


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> type[Bar]:
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    monkeypatch.setattr(wait_module, "REMOTE_WAIT_POLL_S", 0)
    Bar.texts, Bar.then = [], lambda _: None
    return Bar


def test_a_wait_shows_how_long_kubeflow_does_not_answer(
    lab: Lab, direct: Cluster, swept: list[Run], bar: type[Bar]
) -> None:
    direct.fake.fail("", 503, times=9999)

    def then(number: int) -> None:
        if number == 3:
            direct.fake.troubles.clear()
            for run in swept:
                direct.fake.to(job(lab, run), "SUCCEEDED")

    bar.then = then
    with pytest.warns(UserWarning, match="Waiting with the states that the store has: Kubeflow"):
        table = lab.wait(swept)
    assert set(table["state"]) == {"succeeded"}
    assert all("4 queued, no states from kubeflow for " in text for text in bar.texts[:3])
    assert bar.texts[3:] == [""]


def test_a_wait_warns_of_a_short_outage_in_its_bar_only(
    lab: Lab, direct: Cluster, swept: list[Run], bar: type[Bar]
) -> None:
    patient = lab.engine.profile.model_copy(update={"api_patience_s": 1e6})  # type: ignore[attr-defined]
    silence = wait_module.EngineSilence(KubeflowEngine(patient))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silence.begin_query()
        silence.extend(EngineError("no answer"))
    assert silence.text == "no states from kubeflow for 0 s"
    silence.begin_query()
    assert silence.text == ""


def test_a_wait_shows_why_a_run_waits_and_ends_for_runs_that_were_not_submitted(
    lab: Lab, direct: Cluster, recipe: Path, bar: type[Bar]
) -> None:
    direct.fake.fail(CREATE, 500, skip=1, times=99)
    with pytest.raises(EngineError, match="1 of 2 runs were not started"):
        lab.sweep(recipe, [{"lr": 0.1}, {"lr": 0.2}], experiment="towns")
    (made,) = direct.fake.runs
    direct.fake.to(made, "RUNNING")
    direct.fake.add_node(made, "configure", "Pending", "Unschedulable: 0/1 nodes are available")

    def then(number: int) -> None:
        direct.fake.to(made, "SUCCEEDED")

    bar.then = then
    table = lab.wait("towns")
    assert sorted(table["state"]) == ["not submitted", "succeeded"]
    text = "1 running (configure): Unschedulable in configure: 0/1 nodes are available"
    assert bar.texts[0] == text
