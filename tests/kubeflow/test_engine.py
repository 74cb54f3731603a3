"""The Kubeflow engine, with records on a real S3 server."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rvlab.engines import LocalEngine
from rvlab.engines.kubeflow import engine as module
from rvlab.engines.kubeflow.engine import JOB_FILE, KubeflowEngine
from rvlab.errors import EngineError, HasEnded, SpecError, StoreUnreachable
from rvlab.model import Run
from rvlab.pipeline.compile import compile_pipeline
from rvlab.recipes import Recipe
from rvlab.settings import S3, StepResources
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from rvlab.submission import SubmitOptions, prepare_runs
from rvlab.worker.records import CLAIM
from tests.kubeflow.conftest import TOKEN, TOKEN_ENV, Cluster, profile_of
from tests.kubeflow.fake import counted

CREATE, LIST, UPLOAD = r"POST .*/runs$", r"GET .*/runs$", r"POST .*/pipelines/upload"

SOURCE = """
def get_config(runner, root_uri: str, data_uri: str | None = None, lr: float = 1e-2,
               epochs: int = 1, note: str = ""):
    raise NotImplementedError
"""

_folder = itertools.count()


@dataclass(frozen=True)
class Lab:
    """An engine, its store and the fake Kubeflow."""

    engine: KubeflowEngine
    store: Store
    cluster: Cluster

    @property
    def fake(self) -> Any:
        return self.cluster.fake

    def prepared(self, number: int = 1, *, source: str = SOURCE, **point: Any) -> list[Run]:
        """Write the records of runs without starting them."""
        points = [{"lr": 1e-3 * (i + 1), **point} for i in range(number)]
        asked = SubmitOptions("towns", "kubeflow", image=self.engine.profile.image)
        return prepare_runs(self.store, Recipe("town", source), points, asked)

    def started(self, number: int = 1, **more: Any) -> list[Run]:
        runs = self.prepared(number, **more)
        self.engine.start(self.store, runs)
        return runs

    def job(self, run: Run) -> str:
        return str(self.store.get_json(run.key(JOB_FILE))["id"])

    def state(self, run: Run) -> str:
        return self.engine.states(self.store, [run])[run]

    def has_job(self, runs: Sequence[Run]) -> list[bool]:
        return [self.store.exists(run.key(JOB_FILE)) for run in runs]


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile each pipeline once, because kfp takes a second; other tests cover compilation."""
    monkeypatch.setattr(module, "compile_pipeline", _cached)


def _cached(recipe: Recipe, profile: Any, *, store: str) -> str:
    # Compile with one store: the store's URI is an input's default, different in each test.
    text = _compiled(recipe, profile.model_dump_json(exclude={"host", "ui"}))
    return text.replace("s3://the-store", store)


@functools.cache
def _compiled(recipe: Recipe, profile: str) -> str:
    said = json.loads(profile)
    return compile_pipeline(recipe, profile_of("http://nowhere", **said), store="s3://the-store")


def lab_of(cluster: Cluster, s3: Server, access: S3Access, pods: S3, **more: Any) -> Lab:
    profile = cluster.profile.model_copy(update={"s3": pods, "max_parallel": 4, **more})
    store = Store(f"s3://{s3.bucket}/kubeflow-{next(_folder)}", access)
    return Lab(KubeflowEngine(profile), store, cluster)


@pytest.fixture
def lab(direct: Cluster, s3: Server, s3_access: S3Access, pods: S3) -> Lab:
    return lab_of(direct, s3, s3_access, pods)


@pytest.fixture
def road(kubeflow: Cluster, s3: Server, s3_access: S3Access, pods: S3) -> Lab:
    """Return a lab with a direct Kubeflow, and one through prism."""
    return lab_of(kubeflow, s3, s3_access, pods)


# The main calls.


def test_a_run_is_started_with_its_inputs_and_recorded(road: Lab) -> None:
    (run,) = road.prepared(epochs=3)
    (linked,) = road.engine.start(road.store, [run])
    (made,) = road.fake.runs.values()
    given = made.runtime_config.parameters
    assert (given["epochs"], given["lr"], given["rvlab_run"]) == (3, 1e-3, run.uri)
    assert made.display_name.endswith(run.id)
    link = f"{road.engine.client.host}/#/runs/details/{made.run_id}"
    assert road.store.get_json(run.key(JOB_FILE)) == {
        "schema": 1,
        "engine": "kubeflow",
        "id": made.run_id,
        "link": link,
    }
    assert linked.link == link


def test_a_sweep_is_one_experiment_and_one_upload(road: Lab) -> None:
    runs = road.started(12)
    assert sorted(counted(road.fake).values()) == [1] * 12
    assert all(road.has_job(runs))
    assert (len(road.fake.experiments), road.fake.asked(UPLOAD)) == (1, 1)
    assert [one.display_name for one in road.fake.experiments.values()] == ["towns"]
    road.started(1)
    assert road.fake.asked(UPLOAD) == 1
    road.started(1, source=SOURCE.replace("epochs: int = 1", "epochs: int = 2"))
    assert (road.fake.asked(UPLOAD), len(road.fake.pipelines)) == (2, 1)


def test_cancel_records_the_end_and_terminates_the_run(road: Lab) -> None:
    (run,) = road.started()
    road.engine.cancel(road.store, run)
    assert road.fake.runs[road.job(run)].state == "CANCELING"
    assert road.state(run) == "cancelled"
    assert road.store.get_json(run.end_key)["state"] == "cancelled"
    with pytest.raises(HasEnded, match="has ended already"):
        road.engine.cancel(road.store, run)


@pytest.mark.parametrize(("state", "ours"), [("FAILED", "failed"), ("SUCCEEDED", "succeeded")])
def test_cancel_does_not_replace_the_end_in_kubeflow(road: Lab, state: str, ours: str) -> None:
    (run,) = road.started()
    road.fake.to(road.job(run), state)
    with pytest.raises(HasEnded, match=rf"has ended already \({ours}\) according to Kubeflow"):
        road.engine.cancel(road.store, run)
    assert not road.store.exists(run.end_key)
    assert road.state(run) == ours
    assert road.fake.asked(":terminate") == 0


def test_a_failed_run_can_be_retried_after_its_sweep_was_cancelled(road: Lab) -> None:
    failed, running, queued = road.started(2) + road.prepared(1)
    road.fake.to(road.job(failed), "FAILED")
    road.fake.to(road.job(running), "RUNNING")
    troubles = road.engine.cancel_many(road.store, [failed, running, queued])
    assert list(troubles) == [failed]
    assert [road.store.exists(r.end_key) for r in (failed, running, queued)] == [False, True, True]
    assert road.fake.runs[road.job(running)].state == "CANCELING"
    road.engine.retry(road.store, failed)
    assert road.state(failed) == "running"


def test_a_run_retried_in_kubeflows_pages_can_be_cancelled(lab: Lab) -> None:
    """Ignore the state that the engine has cached."""
    (run,) = lab.started()
    lab.fake.to(lab.job(run), "FAILED")
    assert lab.state(run) == "failed"
    lab.fake.to(lab.job(run), "RUNNING")
    lab.engine.cancel(lab.store, run)
    assert lab.store.get_json(run.end_key)["state"] == "cancelled"
    assert lab.fake.runs[lab.job(run)].state == "CANCELING"


def test_a_run_deleted_in_kubeflow_can_be_cancelled(lab: Lab) -> None:
    (run,) = lab.started()
    del lab.fake.runs[lab.job(run)]
    lab.engine.cancel(lab.store, run)
    assert lab.store.get_json(run.end_key)["state"] == "cancelled"


@pytest.mark.parametrize("how", ["dropped", "500", "401"])
def test_nothing_is_recorded_while_kubeflow_is_unreachable(lab: Lab, how: str) -> None:
    (run,) = lab.started()
    if how == "dropped":
        lab.fake.drop("GET .*/runs/", times=99)
    else:
        lab.fake.fail("GET .*/runs/", int(how), times=99)
    with pytest.raises(
        EngineError, match=r"is not cancelled, and nothing has been recorded\. [KT]"
    ):
        lab.engine.cancel(lab.store, run)
    assert not lab.store.exists(run.end_key)
    lab.fake.troubles.clear()
    lab.engine.cancel(lab.store, run)
    assert lab.store.get_json(run.end_key)["state"] == "cancelled"


def test_a_run_of_another_engine_is_not_cancelled(lab: Lab) -> None:
    options = SubmitOptions("towns", "local")
    (run,) = prepare_runs(lab.store, Recipe("town", SOURCE), [{"lr": 0.1}], options)
    with pytest.raises(EngineError, match="belongs to the engine 'local'"):
        lab.engine.cancel(lab.store, run)
    (other,) = lab.started()
    with pytest.raises(EngineError, match="belongs to the engine 'kubeflow', which knows"):
        LocalEngine().cancel(lab.store, other)
    assert not any(lab.store.exists(one.end_key) for one in (run, other))


def test_retry_continues_at_the_failed_step(road: Lab) -> None:
    (run,) = road.started()
    road.fake.to(road.job(run), "FAILED")
    assert road.state(run) == "failed"
    road.engine.retry(road.store, run)
    assert road.state(run) == "running"
    assert len(road.fake.runs) == 1


# A sweep with errors in the middle.


@pytest.mark.parametrize("after", [False, True])
def test_a_dropped_connection_within_a_sweep_changes_nothing(lab: Lab, after: bool) -> None:
    runs = lab.prepared(12)
    lab.fake.drop(CREATE, after=after, skip=5)
    lab.engine.start(lab.store, runs)
    names = counted(lab.fake)
    assert (len(names), set(names.values())) == (12, {1})
    assert all(lab.has_job(runs))
    assert {lab.job(run) for run in runs} == set(lab.fake.runs)


@pytest.mark.parametrize("how", ["before", "after", "429", "500", "401"])
def test_an_outage_is_reported_with_the_runs_that_are_missing(lab: Lab, how: str) -> None:
    runs = lab.prepared(12)
    if how.isdigit():
        lab.fake.fail(CREATE, int(how), skip=5, times=999)
    else:
        lab.fake.drop(CREATE, after=how == "after", skip=5, times=999)
        lab.fake.drop(LIST, skip=5 + 4, times=999)
    with pytest.raises(EngineError) as caught:
        lab.engine.start(lab.store, runs)
    missing = [run for run, has in zip(runs, lab.has_job(runs), strict=True) if not has]
    assert 1 <= len(missing) <= 7
    text = str(caught.value)
    assert text.startswith(f"{len(missing)} of 12 runs were not started: ")
    assert {run.id for run in runs if run.id in text} == {run.id for run in missing}
    assert TOKEN not in text

    lab.fake.troubles.clear()
    lab.engine.start(lab.store, runs)
    names = counted(lab.fake)
    assert (len(names), set(names.values())) == (12, {1})
    assert all(lab.has_job(runs))
    asked = lab.fake.asked(CREATE)
    lab.engine.start(lab.store, runs)
    assert lab.fake.asked(CREATE) == asked


def test_a_run_whose_record_was_not_written_is_not_started_twice(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt the notebook or the store between the call and the record."""
    (run,) = lab.prepared()
    put = Store.put_json

    def broken(self: Store, key: str, *args: Any, **more: Any) -> None:
        if key.endswith(JOB_FILE):
            raise StoreUnreachable("no answer")
        put(self, key, *args, **more)

    monkeypatch.setattr(Store, "put_json", broken)
    with pytest.raises(EngineError, match=f"were not started: {run.id}.*no answer"):
        lab.engine.start(lab.store, [run])
    monkeypatch.setattr(Store, "put_json", put)
    lab.engine.retry(lab.store, run)
    assert lab.job(run) in lab.fake.runs
    assert len(lab.fake.runs) == 1


def test_two_notebooks_share_their_uploads(lab: Lab) -> None:
    runs = [lab.prepared(2) for _ in range(2)]
    engines = [KubeflowEngine(lab.engine.profile) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda e, r: e.start(lab.store, r), engines, runs))
    fake = lab.fake
    assert (len(fake.experiments), len(fake.pipelines), len(fake.versions)) == (1, 1, 1)
    assert len(fake.runs) == 4


@pytest.mark.parametrize("note", ["100% + more", 'a "quote"', "山", "x" * 300])
def test_a_run_of_any_name_is_started_once(lab: Lab, note: str) -> None:
    runs = lab.prepared(2, note=note)
    lab.fake.drop(CREATE, after=True)
    lab.engine.start(lab.store, runs)
    assert sorted(counted(lab.fake).values()) == [1, 1]


# States.


@pytest.mark.parametrize(
    ("kubeflows", "ours"),
    [
        (None, "queued"),
        ("RUNTIME_STATE_UNSPECIFIED", "queued"),
        ("PENDING", "queued"),
        ("RUNNING", "running"),
        ("PAUSED", "running"),
        ("CANCELING", "cancelled"),
        ("CANCELED", "cancelled"),
        ("SUCCEEDED", "succeeded"),
        ("SKIPPED", "succeeded"),
        ("FAILED", "failed"),
    ],
)
def test_states_of_kubeflow_are_translated(lab: Lab, kubeflows: str | None, ours: str) -> None:
    (run,) = lab.started()
    if kubeflows:
        lab.fake.to(lab.job(run), kubeflows)
    assert lab.state(run) == ours


def test_runs_that_were_never_started_are_queued_without_a_request(lab: Lab) -> None:
    runs = lab.prepared(2)
    assert list(lab.engine.states(lab.store, runs).values()) == ["queued", "queued"]
    assert lab.fake.asked() == 0


def test_runs_that_kubeflow_does_not_have_are_lost(lab: Lab) -> None:
    first, second = lab.started(2)
    del lab.fake.runs[lab.job(first)]
    found = lab.engine.states(lab.store, [first, second])
    assert (found[first], found[second]) == ("lost", "queued")
    asked = lab.fake.asked()
    assert lab.state(first) == "lost"  # without another listing
    assert lab.fake.asked() == asked


def test_a_run_started_in_kubeflows_pages_is_found_by_its_claim(lab: Lab) -> None:
    first, second = lab.started(1)[0], lab.prepared()[0]
    lab.store.put_json(second.key(CLAIM), {"schema": 1, "id": lab.job(first), "at": "now"})
    lab.fake.to(lab.job(first), "RUNNING")
    assert lab.state(second) == "running"


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_ended_runs_are_not_looked_up_again(lab: Lab, state: str) -> None:
    runs = lab.started(3)
    for run in runs:
        lab.fake.to(lab.job(run), state)
    first = lab.engine.states(lab.store, runs)
    asked = lab.fake.asked()
    assert lab.engine.states(lab.store, runs) == first
    assert lab.fake.asked() == asked


def test_a_terminated_run_that_kubeflow_reports_as_failed_is_cancelled(road: Lab) -> None:
    """Kubeflow reports the state of Argo, which only has the exit status of the pods."""
    (run,) = road.started()
    for state in ("RUNNING", "CANCELING", "FAILED"):
        road.fake.to(road.job(run), state)
    assert road.state(run) == "cancelled"
    again = KubeflowEngine(road.engine.profile)
    for state in ("RUNNING", "FAILED"):  # retried in Kubeflow's pages, it fails by itself
        road.fake.to(road.job(run), state)
    assert again.states(road.store, [run])[run] == "failed"


def test_a_canceling_run_is_looked_up_until_it_has_ended(lab: Lab) -> None:
    """Such a run may still succeed or fail."""
    (run,) = lab.started()
    lab.fake.to(lab.job(run), "CANCELING")
    assert lab.state(run) == "cancelled"
    lab.fake.to(lab.job(run), "SUCCEEDED")
    assert lab.state(run) == "succeeded"


def test_the_newest_runs_are_found_on_the_first_page(road: Lab) -> None:
    old = road.started(1)
    (template,) = road.fake.runs.values()
    (version,) = road.fake.versions.values()
    for _ in range(450):
        road.fake.add_run(template.experiment_id, version)
    new = road.started(2)
    asked = road.fake.asked(LIST)
    assert set(road.engine.states(road.store, new).values()) == {"queued"}
    assert road.fake.asked(LIST) - asked == 1
    assert road.state(old[0]) == "queued"
    assert road.fake.asked(LIST) - asked == 1 + 3


def test_an_expired_login_does_not_make_runs_lost(lab: Lab) -> None:
    (run,) = lab.started()
    lab.fake.fail("", 200, times=99, type="text/html", message="<!doctype html>Sign in")
    with pytest.raises(EngineError, match="is not Kubeflow's API"):
        lab.state(run)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_refusals_are_reported_and_change_no_record(lab: Lab, status: int) -> None:
    (run,) = lab.prepared()
    lab.fake.fail("", status, times=999)
    with pytest.raises(EngineError, match=f"answered {status}"):
        lab.engine.start(lab.store, [run])
    assert lab.has_job([run]) == [False]


def test_cancel_can_be_repeated_after_an_outage(lab: Lab) -> None:
    """Otherwise the pods continue, and nothing of rvlab can stop them."""
    (run,) = lab.started()
    lab.fake.fail(":terminate", 500)
    with pytest.raises(EngineError, match="answered 500"):
        lab.engine.cancel(lab.store, run)
    with contextlib.suppress(HasEnded):
        lab.engine.cancel(lab.store, run)
    assert lab.fake.runs[lab.job(run)].state == "CANCELING"


def test_a_folder_is_refused_before_any_request(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="write to S3, which pods can reach"):
        lab.engine.start(Store(tmp_path), [])
    assert lab.fake.asked() == 0


# Secrets.


def test_no_secret_is_sent_to_kubeflow(
    lab: Lab,
    s3: Server,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    caplog.set_level(logging.DEBUG)
    runs = lab.started(2)
    lab.state(runs[0])
    lab.engine.cancel(lab.store, runs[0])
    records = [lab.store.get(key) for key, _ in lab.store.files()]
    (version,) = lab.fake.versions.values()
    shown = [repr(lab.engine), repr(lab.engine.profile), repr(lab.engine.client), repr(lab.store)]
    shown += [*capfd.readouterr(), json.dumps(version.pipeline_spec), lab.fake.sent().decode()]
    shown += [record.decode() for record in records]
    own = [r.getMessage() for r in caplog.records if r.name.startswith(("rvlab", "kfp", "urllib3"))]
    for secret in (TOKEN, s3.secret_key):
        assert not [one for one in (*shown, *own) if secret in one]
    assert s3.access_key not in json.dumps(version.pipeline_spec)
    assert "artifacts" in json.dumps(version.pipeline_spec)  # the name of the Kubernetes secret


def test_the_settings_of_a_profile_are_passed_to_kubeflow(
    direct: Cluster, s3: Server, s3_access: S3Access, pods: S3
) -> None:
    steps = {"train": StepResources(gpu=1, shm="1Gi"), "default": StepResources(memory="2Gi")}
    lab = lab_of(direct, s3, s3_access, pods, steps=steps, service_account="trainer")
    lab.started()
    (run,) = direct.fake.runs.values()
    assert run.service_account == "trainer"
    (version,) = direct.fake.versions.values()
    assert "dshm" in json.dumps(version.pipeline_spec["platform_spec"])
    assert "http://seaweedfs.kubeflow:9000" in json.dumps(version.pipeline_spec)
    assert s3.endpoint.encode() not in direct.fake.sent()


def test_links_use_the_ui_of_the_profile(lab: Lab) -> None:
    engine = KubeflowEngine(profile_of("http://api:8888", ui="https://kubeflow.example/pipeline/"))
    assert engine.link("a-b") == "https://kubeflow.example/pipeline/#/runs/details/a-b"


def test_a_profile_without_its_token_starts_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_ENV)
    with pytest.raises(EngineError, match="which must hold the token, is not set"):
        lab.started()
    assert lab.fake.asked() == 0
