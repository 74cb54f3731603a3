"""The Kubeflow engine, with records on a real S3 server."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rvlab.actions.control import start_runs
from rvlab.engines import LocalEngine
from rvlab.engines.kubeflow import engine as module
from rvlab.engines.kubeflow.client import KubeflowClient
from rvlab.engines.kubeflow.engine import KubeflowEngine
from rvlab.engines.kubeflow.jobs import JOB_FILE, NOT_SUBMITTED_FILE
from rvlab.errors import EngineError, HasEnded, SpecError, StoreUnreachable
from rvlab.model import ReportedState, Run
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
def get_config(runner, root_uri: str, data_uri: SharedFolder = None, lr: float = 1e-2,
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
        return self.engine.states(self.store, [run])[run].state

    def report(self, run: Run) -> ReportedState:
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
    assert lab.state(run) == "queued"  # found by its name
    KubeflowEngine(lab.engine.profile).retry(lab.store, run)
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
    assert list(lab.engine.states(lab.store, runs).values()) == [ReportedState("queued")] * 2
    assert lab.fake.asked() == 0


def test_runs_that_kubeflow_does_not_have_are_lost(lab: Lab) -> None:
    first, second = lab.started(2)
    del lab.fake.runs[lab.job(first)]
    found = lab.engine.states(lab.store, [first, second])
    assert (found[first].state, found[second].state) == ("lost", "queued")
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
    assert again.states(road.store, [run])[run].state == "failed"


def test_a_canceling_run_is_looked_up_until_it_has_ended(lab: Lab) -> None:
    """Such a run may still succeed or fail."""
    (run,) = lab.started()
    lab.fake.to(lab.job(run), "CANCELING")
    assert lab.state(run) == "cancelled"
    lab.fake.to(lab.job(run), "SUCCEEDED")
    assert lab.state(run) == "succeeded"


def test_a_few_old_runs_are_requested_by_id(road: Lab) -> None:
    """A listing of the whole history has pages of megabytes."""
    old = road.started(2)
    (template, _) = road.fake.runs.values()
    (version,) = road.fake.versions.values()
    for _ in range(450):
        road.fake.add_run(template.experiment_id, version)
    road.fake.to(road.job(old[0]), "SUCCEEDED")
    asked = road.fake.asked()
    found = road.engine.states(road.store, old)
    assert [found[run].state for run in old] == ["succeeded", "queued"]
    assert road.fake.asked(LIST) == 2  # the two searches of `create_run`
    assert road.fake.asked(r"GET .*v2beta1/runs/") == 2
    assert road.fake.asked() - asked == 3  # and the workflow of the run that waits


def test_many_runs_are_listed_until_a_page_has_none_of_them(
    road: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.engines.kubeflow.states.MAX_RUNS_BY_ID", 1)
    old = road.started(3)
    template = next(iter(road.fake.runs.values()))
    (version,) = road.fake.versions.values()
    for _ in range(450):
        road.fake.add_run(template.experiment_id, version)
    new = road.started(2)
    for run in (*old, *new):
        road.fake.to(road.job(run), "SUCCEEDED")
    del road.fake.runs[road.job(old[0])]
    pages, ids = road.fake.asked(LIST), road.fake.asked(r"GET .*v2beta1/runs/")
    found = road.engine.states(road.store, [*old, *new])
    assert [found[run].state for run in (*old, *new)] == ["lost", *["succeeded"] * 4]
    assert road.fake.asked(LIST) - pages == 2  # the second page has none of them
    assert road.fake.asked(r"GET .*v2beta1/runs/") - ids == 3


# Reasons.


@pytest.mark.parametrize(
    ("step", "path", "message", "reason"),
    [
        (
            "train",
            "executor",
            "main: OOMKilled (exit code 137)",
            "OOMKilled in train (exit code 137)",
        ),
        ("train", "executor", "OOMKilled (exit code 137)", "OOMKilled in train (exit code 137)"),
        ("chip", "executor", "Error (exit code 1)", "Error in chip (exit code 1)"),
        (
            "predict",
            "executor",
            "The node was low on resource: memory.",
            "predict: The node was low on resource: memory.",
        ),
        (
            "eval-driver",
            "x",
            "Error (exit code 1): driver\nfailed",
            "Error in eval (exit code 1): driver failed",
        ),
    ],
)
def test_a_failed_run_without_records_has_its_step_and_reason(
    road: Lab, step: str, path: str, message: str, reason: str
) -> None:
    (run,) = road.started()
    job = road.job(run)
    road.fake.to(job, "RUNNING")
    road.fake.add_node(job, "configure", "Succeeded")
    road.fake.fail_pod(job, step, message, path=path)
    expected = ReportedState("failed", step.removesuffix("-driver"), reason)
    assert road.engine.states(road.store, [run]) == {run: expected}
    asked = road.fake.asked()
    assert road.engine.states(road.store, [run]) == {run: expected}
    assert road.fake.asked() == asked


def test_the_first_failure_is_reported_and_not_an_attempt_that_was_repeated(lab: Lab) -> None:
    (run,) = lab.started()
    job = lab.job(run)
    lab.fake.to(job, "RUNNING")
    lab.fake.add_node(job, "chip", "Failed", "main: Error (exit code 1)", path="executor(0)")
    lab.fake.add_node(job, "chip", "Succeeded", path="executor(1)")
    lab.fake.add_node(job, "train", "Failed", "main: OOMKilled (exit code 137)")
    lab.fake.fail_pod(job, "predict", "workflow shutdown with strategy: Terminate")
    assert lab.report(run) == ReportedState("failed", "train", "OOMKilled in train (exit code 137)")


def test_without_the_older_api_a_failed_run_has_its_step(lab: Lab) -> None:
    (run,) = lab.started()
    lab.fake.add_node(lab.job(run), "configure", "Succeeded")
    lab.fake.fail_pod(lab.job(run), "train", "main: OOMKilled (exit code 137)")
    lab.fake.fail("v1beta1", 404)
    assert lab.report(run) == ReportedState("failed", "train")


def test_a_pod_that_waits_for_its_image_is_explained(road: Lab) -> None:
    (run,) = road.started()
    job = road.job(run)
    road.fake.to(job, "RUNNING")
    text = 'ImagePullBackOff: Back-off pulling image "worker:0.1"'
    road.fake.add_node(job, "configure", "Pending", text)
    reason = 'ImagePullBackOff in configure: Back-off pulling image "worker:0.1"'
    assert road.report(run) == ReportedState("running", "configure", reason)
    asked = road.fake.asked("v1beta1")
    assert road.report(run).reason == reason
    assert road.fake.asked("v1beta1") == asked


def test_only_some_waiting_runs_are_explained_per_query(lab: Lab) -> None:
    runs = lab.started(12)
    for number in (8, 12, 12):
        lab.engine.states(lab.store, runs)
        assert lab.fake.asked("v1beta1") == number


@pytest.mark.parametrize("known", ["history", "workflow"])
def test_a_run_terminated_in_kubeflows_pages_is_cancelled_whatever_is_reported_first(
    road: Lab, known: str
) -> None:
    """Kubeflow adds the termination to its history only if Argo reports it before the end."""
    (run,) = road.started()
    job = road.job(run)
    road.fake.to(job, "RUNNING")
    road.engine.client.terminate(job)
    if known == "history":
        road.fake.to(job, "CANCELING")
    road.fake.fail_pod(job, "train", "main: Error (exit code 143)")
    assert road.report(run) == ReportedState("cancelled")
    road.engine.client.retry(job)
    road.fake.fail_pod(job, "train", "main: OOMKilled (exit code 137)")
    again = KubeflowEngine(road.engine.profile).states(road.store, [run])[run]
    assert again == ReportedState("failed", "train", "OOMKilled in train (exit code 137)")


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


def test_a_second_cancel_delivers_what_an_outage_prevented(road: Lab) -> None:
    """Otherwise the pods continue, and nothing of rvlab can stop them."""
    (run,) = road.started()
    road.fake.fail(":terminate", 500)
    text = "is recorded as cancelled, but Kubeflow has not terminated its pods. Cancel it again"
    with pytest.raises(EngineError, match=text):
        road.engine.cancel(road.store, run)
    road.fake.fail("GET .*/runs/", 500)
    with pytest.raises(EngineError, match=text):
        road.engine.cancel(road.store, run)
    road.engine.cancel(road.store, run)
    assert road.fake.runs[road.job(run)].state == "CANCELING"
    with pytest.raises(HasEnded, match=r"has ended already \(cancelled\)"):
        road.engine.cancel(road.store, run)
    assert road.fake.asked(":terminate") == 2


# Runs that were not submitted.


def test_a_run_that_never_reached_kubeflow_says_so(road: Lab) -> None:
    runs = road.prepared(3)
    road.fake.fail(CREATE, 403, skip=1, times=99, message="no access")
    with pytest.raises(EngineError, match="2 of 3 runs were not started"):
        road.engine.start(road.store, runs)
    asked = road.fake.asked(LIST)
    found = road.engine.states(road.store, runs)
    assert sorted(one.state for one in found.values()) == ["not submitted"] * 2 + ["queued"]
    assert road.fake.asked(LIST) == asked
    unsent = [run for run in runs if found[run].state == "not submitted"]
    assert all("answered 403: no access" in str(found[run].reason) for run in unsent)
    road.fake.troubles.clear()
    for run in unsent:
        road.engine.retry(road.store, run)
    assert {one.state for one in road.engine.states(road.store, runs).values()} == {"queued"}
    assert not any(road.store.exists(run.key(NOT_SUBMITTED_FILE)) for run in runs)
    assert set(counted(road.fake).values()) == {1}


def test_a_failed_upload_submits_no_run(lab: Lab) -> None:
    runs = lab.prepared(2)
    lab.fake.fail(UPLOAD, 403)
    with pytest.raises(EngineError, match=r"No run was started.*recorded as not submitted"):
        lab.engine.start(lab.store, runs)
    assert {one.state for one in lab.engine.states(lab.store, runs).values()} == {"not submitted"}


def test_a_run_whose_response_was_lost_is_found_by_its_name(lab: Lab) -> None:
    (run,) = lab.prepared()
    lab.fake.drop(CREATE, after=True)
    lab.fake.drop(LIST, skip=1, times=99)
    with pytest.raises(EngineError, match="was lost"):
        lab.engine.start(lab.store, [run])
    lab.fake.troubles.clear()
    assert lab.store.get_json(run.key(NOT_SUBMITTED_FILE))["may_have_arrived"]
    assert lab.state(run) == "queued"
    (job,) = lab.fake.runs
    lab.fake.to(job, "RUNNING")
    assert lab.state(run) == "running"
    KubeflowEngine(lab.engine.profile).cancel(lab.store, run)
    assert lab.fake.runs[job].state == "CANCELING"


def test_a_refusal_after_a_lost_response_does_not_mean_that_the_run_is_missing(lab: Lab) -> None:
    """Simulate a token that expires between the two calls."""
    (run,) = lab.prepared()
    lab.fake.drop(CREATE, after=True)
    lab.fake.fail(LIST, 401, skip=1, times=99)
    with pytest.raises(EngineError, match="answered 401"):
        lab.engine.start(lab.store, [run])
    lab.fake.troubles.clear()
    assert len(lab.fake.runs) == 1
    assert lab.state(run) == "queued"


def test_a_value_that_kubeflow_would_change_submits_no_run(lab: Lab) -> None:
    options = SubmitOptions("python3-towns", "kubeflow")
    (run,) = prepare_runs(lab.store, Recipe("town", SOURCE), [{"lr": 0.1}], options)
    with pytest.raises(SpecError, match="contains 'python3'"):
        lab.engine.start(lab.store, [run])
    assert lab.report(run).state == "not submitted"
    assert "contains 'python3'" in str(lab.report(run).reason)
    assert lab.fake.asked() == 0


def test_a_run_whose_submission_was_interrupted_long_ago_is_not_submitted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, arrived = lab.prepared(2)
    lab.engine.start(lab.store, [arrived])
    lab.store.delete([arrived.key(JOB_FILE)])
    assert lab.engine.states(lab.store, [new]) == {new: ReportedState("queued")}
    monkeypatch.setattr("rvlab.engines.kubeflow.jobs.SUBMISSION_S", 0)
    engine = KubeflowEngine(lab.engine.profile)
    found = engine.states(lab.store, [new, arrived])
    assert (found[new].state, found[arrived].state) == ("not submitted", "queued")
    assert found[new].reason == "Its submission was interrupted; lab.retry starts it."
    asked = lab.fake.asked(LIST)
    engine.states(lab.store, [new, arrived])
    assert lab.fake.asked(LIST) == asked


@pytest.mark.parametrize("how", ["wrong host", "401", "403", "login page", "wrong token"])
def test_the_connection_is_checked_before_the_first_record(
    lab: Lab, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = lab.engine
    if how == "wrong host":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        engine = KubeflowEngine(
            engine.profile.model_copy(update={"host": f"http://127.0.0.1:{port}"})
        )
    elif how == "login page":
        lab.fake.fail("", 200, times=99, type="text/html", message="<!doctype html>Sign in")
    elif how == "wrong token":
        monkeypatch.setenv(TOKEN_ENV, "expired")
    else:
        lab.fake.fail("", int(how), times=99)
    recipe = Recipe("town", SOURCE)
    options = SubmitOptions("towns", "kubeflow", image=engine.image)
    with pytest.raises(
        EngineError, match=r"^Nothing was submitted\. (Kubeflow|The server) at http"
    ):
        start_runs(lab.store, engine, recipe, [{"lr": 0.1}], options)
    assert lab.store.files() == []
    assert not lab.fake.runs


def test_an_address_without_a_server_is_not_tried_for_the_whole_patience(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    profile = lab.engine.profile.model_copy(update={"host": host, "api_patience_s": 1e6})
    with pytest.raises(EngineError, match="cannot be reached"):
        KubeflowEngine(profile).client.check_access()


# Retries.


def test_a_run_that_was_deleted_in_kubeflow_starts_again(road: Lab) -> None:
    (run,) = road.started()
    first = road.job(run)
    road.store.put_json(run.key(CLAIM), {"schema": 1, "id": first, "at": "now"})
    del road.fake.runs[first]
    assert road.state(run) == "lost"
    road.engine.retry(road.store, run)
    assert road.job(run) != first
    assert list(road.fake.runs) == [road.job(run)]
    assert not road.store.exists(run.key(CLAIM))  # else the pods would create a clone
    assert road.state(run) == "queued"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "is waiting for its pods in Kubeflow, so there is nothing to retry"),
        ("PENDING", "is waiting for its pods in Kubeflow, so there is nothing to retry"),
        ("RUNNING", "is running in Kubeflow, so there is nothing to retry"),
        ("SUCCEEDED", "has succeeded according to Kubeflow"),
    ],
)
def test_retry_of_a_run_that_has_not_failed_is_one_sentence(
    lab: Lab, state: str | None, said: str
) -> None:
    (run,) = lab.started()
    if state:
        lab.fake.to(lab.job(run), state)
    with pytest.raises(EngineError, match=said):
        lab.engine.retry(lab.store, run)
    assert lab.fake.asked(":retry") == 0


def test_a_run_that_another_process_retries_meanwhile_is_one_sentence(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = lab.started()
    job = lab.job(run)
    lab.fake.to(job, "FAILED")
    retry = KubeflowClient.retry

    def late(client: KubeflowClient, run_id: str) -> None:
        lab.fake.to(run_id, "PENDING")
        retry(client, run_id)

    monkeypatch.setattr(KubeflowClient, "retry", late)
    with pytest.raises(EngineError, match="is waiting for its pods in Kubeflow"):
        lab.engine.retry(lab.store, run)


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
    with pytest.raises(EngineError, match="which must contain the token, is not set"):
        lab.started()
    assert lab.fake.asked() == 0
