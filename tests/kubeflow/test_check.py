"""Checks of a profile before the first run, with a fake Kubeflow and a fake Kubernetes."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rvlab import Lab
from rvlab.cli import main
from rvlab.engines.kubeflow.check import CHECK_EXPERIMENT
from rvlab.engines.kubeflow.engine import KubeflowEngine
from rvlab.model.check_result import CheckResult
from rvlab.settings import S3
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.kubeflow.conftest import TOKEN, Cluster, profile_of
from tests.kubeflow.fake import Kubeflow

SECRET = "a-value-of-a-secret"


class Kubernetes(BaseHTTPRequestHandler):
    """Answers requests for secrets of one namespace as a Kubernetes API server does."""

    secrets: ClassVar[dict[str, dict[str, str]]] = {}
    is_forbidden: ClassVar[bool] = False

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        status = 403 if self.is_forbidden else 200 if name in self.secrets else 404
        if f"/api/v1/namespaces/kubeflow/secrets/{name}" != self.path:
            status = 404
        values = self.secrets.get(name, {})
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        found = {"kind": "Secret", "metadata": {"name": name}, "data": data}
        refusal = {"kind": "Status", "status": "Failure", "code": status}
        body = json.dumps(found if status == 200 else refusal).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Kubernetes]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kubernetes)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "kind-test",
        "contexts": [{"name": "kind-test", "context": {"cluster": "a", "user": "b"}}],
        "clusters": [
            {"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "b", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    # The client reads the variable when it is imported.
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )
    Kubernetes.is_forbidden = False
    Kubernetes.secrets = {"artifacts": {"accesskey": "minio", "secretkey": SECRET}}
    yield Kubernetes
    server.shutdown()
    server.server_close()


@pytest.fixture
def lab(direct: Cluster, s3: Server, s3_access: S3Access, pods: S3) -> Lab:
    return lab_of(direct, s3, s3_access, s3=pods)


def lab_of(cluster: Cluster, server: Server, access: S3Access, **changed: Any) -> Lab:
    profile = cluster.profile.model_copy(update=changed)
    return Lab(Store(f"s3://{server.bucket}/kubeflow-check", access), KubeflowEngine(profile))


def results(lab: Lab) -> dict[str, CheckResult]:
    return {one.check: one for one in lab.engine.check(lab.store)}


def test_a_working_cluster_passes_and_nothing_remains(
    lab: Lab, direct: Cluster, kubernetes: type[Kubernetes]
) -> None:
    table = lab.check()
    assert table.columns.tolist() == ["subject", "check", "state", "detail", "remedy"]
    others = table[table["check"] != "from pods"]
    assert set(others["state"]) == {"ok"}
    assert others["check"].tolist()[5:] == [
        "reach",
        "version",
        "namespace",
        "permission",
        "secret artifacts",
    ]
    assert (table["remedy"] == "").all()
    assert not direct.fake.experiments
    assert lab.store.files() == []


def test_the_checks_pass_kubeflows_own_description(
    kubeflow: Cluster, s3: Server, s3_access: S3Access
) -> None:
    found = results(lab_of(kubeflow, s3, s3_access, s3=S3(cluster_endpoint=s3.endpoint)))
    assert {one.state for name, one in found.items() if name != "from pods"} == {"ok"}


@pytest.mark.parametrize(
    ("how", "said", "remedy"),
    [
        ("401", "answered 401", "Correct `host` or `token_env`"),
        ("closed", "cannot be reached", "open the port forwarding again"),
        ("login", "is not Kubeflow's API", "Correct `host`"),
    ],
)
def test_an_unreachable_kubeflow_is_one_failure(
    lab: Lab, direct: Cluster, kubernetes: type[Kubernetes], how: str, said: str, remedy: str
) -> None:
    if how == "closed":
        profile = lab.engine.profile.model_copy(update={"host": "http://127.0.0.1:9"})  # type: ignore[attr-defined]
        lab = Lab(lab.store, KubeflowEngine(profile))
    elif how == "login":
        direct.fake.fail("", 200, times=99, type="text/html", message="<html>Sign in")
    else:
        direct.fake.fail("", int(how), times=99)
    found = results(lab)
    assert (found["reach"].state, said in found["reach"].detail) == ("failed", True)
    assert remedy in found["reach"].remedy
    assert {found[name].state for name in ("version", "namespace", "permission")} == {"not checked"}
    assert found["secret artifacts"].state == "ok"


@pytest.mark.parametrize(
    ("tag", "state"),
    [("2.17.0", "ok"), ("v2.14.1", "ok"), ("2.13.0", "failed"), ("unknown", "not checked")],
)
def test_the_version_must_be_able_to_join_splits(
    lab: Lab, direct: Cluster, tag: str, state: str
) -> None:
    direct.fake.version = tag
    found = results(lab)["version"]
    assert (found.state, tag in found.detail) == (state, True)
    assert bool(found.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("namespaces", "namespace", "state"),
    [
        (None, None, "ok"),
        (None, "team", "failed"),
        (["team"], "team", "ok"),
        (["team"], None, "failed"),
    ],
)
def test_the_namespace_must_fit_the_installation(
    s3: Server, s3_access: S3Access, namespaces: list[str] | None, namespace: str | None, state: str
) -> None:
    with Kubeflow(TOKEN, namespaces=namespaces) as fake:
        cluster = Cluster(fake, profile_of(fake.url, namespace=namespace))
        found = results(lab_of(cluster, s3, s3_access))
    assert found["namespace"].state == state
    assert ("`namespace`" in found["namespace"].remedy) == (state == "failed")
    if state == "ok":
        assert found["permission"].state == "ok"


@pytest.mark.parametrize(
    "match", ["GET .*/runs$", "POST .*/experiments$", "DELETE .*/experiments/"]
)
def test_a_missing_permission_says_which_role_to_request(
    lab: Lab, direct: Cluster, match: str
) -> None:
    direct.fake.fail(match, 403, times=99, message="no access")
    found = results(lab)["permission"]
    assert (found.state, "answered 403: no access" in found.detail) == ("failed", True)
    assert "role kubeflow-edit in the namespace 'kubeflow'" in found.remedy


def test_an_experiment_that_remained_is_used_again(lab: Lab, direct: Cluster) -> None:
    direct.fake.fail("DELETE", 500)
    assert results(lab)["permission"].state == "failed"
    assert [one.display_name for one in direct.fake.experiments.values()] == [CHECK_EXPERIMENT]
    assert results(lab)["permission"].state == "ok"
    assert not direct.fake.experiments


@pytest.mark.parametrize(
    ("values", "state", "said", "remedy"),
    [
        (
            None,
            "failed",
            "The namespace 'kubeflow' has no such secret (context 'kind-test').",
            "create secret generic artifacts --from-file=accesskey --from-file=secretkey",
        ),
        (
            {"accesskey": "a"},
            "failed",
            "It has no key 'secretkey', but accesskey.",
            "s3.secret_key",
        ),
        (
            {"accesskey": "a\n", "secretkey": SECRET},
            "failed",
            "The value of 'accesskey' starts or ends with",
            "do not end with a newline",
        ),
        ("forbidden", "not checked", "Kubernetes answered 403", "kubectl -n kubeflow get secret"),
    ],
)
def test_a_secret_that_pods_cannot_use_is_reported_without_its_values(
    lab: Lab,
    kubernetes: type[Kubernetes],
    values: Any,
    state: str,
    said: str,
    remedy: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    if values == "forbidden":
        kubernetes.is_forbidden = True
    else:
        kubernetes.secrets = {} if values is None else {"artifacts": values}
    found = results(lab)["secret artifacts"]
    assert (found.state, said in found.detail, remedy in found.remedy) == (state, True, True)
    encoded = base64.b64encode(SECRET.encode()).decode()
    assert not [one for one in (repr(found), caplog.text) if SECRET in one or encoded in one]


def test_without_access_to_kubernetes_the_secret_is_not_checked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = str(tmp_path / "no such file")
    monkeypatch.setenv("KUBECONFIG", missing)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", missing)
    found = results(lab)["secret artifacts"]
    assert (found.state, found.remedy) == (
        "not checked",
        "kubectl -n kubeflow get secret artifacts",
    )
    assert missing in found.detail


def test_the_secret_of_a_registry_is_checked(
    direct: Cluster, s3: Server, s3_access: S3Access, kubernetes: type[Kubernetes]
) -> None:
    kubernetes.secrets["registry"] = {".dockerconfigjson": "{}"}
    found = results(lab_of(direct, s3, s3_access, image_pull_secrets=("registry", "other")))
    assert (found["secret registry"].state, found["secret other"].state) == ("ok", "failed")


def test_an_endpoint_of_this_machine_fails_for_pods(
    direct: Cluster, s3: Server, s3_access: S3Access
) -> None:
    found = results(lab_of(direct, s3, s3_access))["from pods"]
    assert (found.state, "Set s3.cluster_endpoint in rvlab.toml" in found.detail) == (
        "failed",
        True,
    )


def test_doctor_prints_what_to_do_and_fails_with_status_1(
    direct: Cluster,
    s3: Server,
    s3_access: S3Access,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        **s3_access.environ(),
        "RVLAB_HOST": direct.fake.url,
        "RVLAB_API_PATIENCE_S": "0",
        "RVLAB_TOKEN_ENV": str(direct.profile.token_env),
        "RVLAB_STORE": f"s3://{s3.bucket}/kubeflow-doctor",
        "RVLAB_S3__CLUSTER_ENDPOINT": s3.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["--engine", "kubeflow", "doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "store:", "put", f"s3://{s3.bucket}/kubeflow-doctor"]
    assert any(line.split()[:3] == ["ok", "Kubeflow:", "permission"] for line in lines)
    direct.fake.version = "2.9.0"
    assert main(["--engine", "kubeflow", "doctor"]) == 1
    text = capsys.readouterr().out
    assert "failed       Kubeflow: version" in text
    assert "-> Install 2.14 or later: earlier versions cannot join splits." in text


def test_the_local_engine_checks_its_queue(tmp_path: Path) -> None:
    table = Lab(tmp_path / "store").check()
    assert table["check"].tolist()[-1] == "queue"
    assert set(table["state"]) == {"ok"}
