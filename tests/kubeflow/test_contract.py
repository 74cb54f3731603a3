"""The contract of all engines for Kubeflow: real API, client and pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest

from rvlab import Lab
from rvlab.engines.kubeflow.engine import KubeflowEngine
from rvlab.settings import S3
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.conftest import TINY
from tests.contracts.engine import SLOW, PipelineContract
from tests.engines.test_contract import lab_on
from tests.kubeflow.conftest import TOKEN, TOKEN_ENV, profile_of
from tests.kubeflow.fake import Kubeflow
from tests.kubeflow.pods import Pods
from tests.kubeflow.wire import Request, plain
from tests.waiting import wait_until as until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, s3_access: S3Access, python: Path
) -> Iterator[Kubeflow]:
    folder = tmp_path_factory.mktemp("pods")
    environ = {**s3_access.environ(), "PYTHONHASHSEED": "0"}
    with Kubeflow(TOKEN) as fake, Pods(fake, folder, environ, python):
        yield fake


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_ENV, TOKEN)


@pytest.fixture
def lab(cluster: Kubeflow, s3: Server, s3_access: S3Access) -> Lab:
    engine = KubeflowEngine(profile_of(cluster.url, s3=S3(cluster_endpoint=s3.endpoint)))
    return lab_on(s3, s3_access, engine, "contract-kubeflow")


def clone_in_pages(kubeflow: Kubeflow, run: Any, **changed: Any) -> str:
    """Clone a run as Kubeflow's page does: same version and inputs, with changes."""
    new = api.V2beta1Run(
        display_name=f"Clone of {run.display_name}",
        experiment_id=run.experiment_id,
        pipeline_version_reference=run.pipeline_version_reference,
        runtime_config=api.V2beta1RuntimeConfig(
            parameters={**run.runtime_config.parameters, **changed}
        ),
    )
    sent = json.dumps(plain(new)).encode()
    return str(kubeflow.create_run(Request("POST", "", {}, sent)).run_id)


class TestKubeflow(PipelineContract):
    """Uses an API server that is checked against Kubeflow's description; kfp runs its pipelines."""

    engine = "kubeflow"


def test_a_run_terminated_in_kubeflows_pages_is_cancelled(
    lab: Lab, cluster: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod receives SIGTERM as an evicted one does; only Kubeflow has the reason."""
    recipe = tmp_path / "slow.py"
    recipe.write_text(SLOW)
    run = lab.submit(recipe, experiment="pages")
    until(lambda: lab.steps(run)["state"].tolist() == ["running"])
    job = lab.store.get_json(run.key("job.json"))["id"]
    cluster.terminate(Request("POST", "", {}, b""), job)
    until(lambda: lab.steps(run)["state"].tolist() == ["failed"])
    until(lambda: cluster.runs[job].state == "FAILED")
    later = datetime.now(UTC) + timedelta(minutes=10)
    monkeypatch.setattr(Store, "now", lambda _store: later)
    assert lab.runs(run).loc[run.id, "state"] == "cancelled"


def test_a_run_cloned_in_kubeflows_pages_is_a_new_run_with_its_parent(
    lab: Lab, cluster: Kubeflow
) -> None:
    run = lab.submit(TINY, experiment="clones", raises="at once")
    until(lambda: lab.runs(run).loc[run.id, "state"] == "failed")
    assert run.link
    assert run.link.startswith(cluster.url)
    job = lab.store.get_json(run.key("job.json"))["id"]
    original = cluster.runs[job]
    clone = clone_in_pages(cluster, original, raises="once more")
    until(lambda: len(lab.runs("clones")) == 2)
    until(lambda: set(lab.runs("clones")["state"]) == {"failed"})
    other = lab.runs("clones").drop(run.id).iloc[0]
    assert other["parent"] == run.id
    assert other["params.raises"] == "once more"
    assert lab.store.get_json(f"clones/{other.name}/claim.json")["id"] != job
    assert clone != job
