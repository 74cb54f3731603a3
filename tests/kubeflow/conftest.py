"""Fixtures of a fake Kubeflow, direct or behind a check against Kubeflow's API description."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from rvlab.engines.kubeflow.client import KubeflowClient
from rvlab.settings import S3, Profile
from rvlab.store.server import Server
from tests.kubeflow.fake import Kubeflow

PRISM = "5.16.0"
DESCRIPTION = Path(__file__).parent / "kfp_api_2.17.swagger.json"
"""Kubeflow's own description of its API, as published (Apache-2.0), unchanged."""

OLDER_DESCRIPTION = Path(__file__).parent / "kfp_api_v1beta1_run.swagger.json"
"""The part of Kubeflow's description of its older API that describes a run (Apache-2.0)."""

TOKEN, TOKEN_ENV = "a-token-that-nobody-may-see", "KUBEFLOW_TOKEN_OF_THE_TESTS"


@dataclass(frozen=True)
class Cluster:
    """A fake Kubeflow, and the profile for it."""

    fake: Kubeflow
    profile: Profile

    def client(self) -> KubeflowClient:
        return KubeflowClient(self.profile)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the client's pauses and set the token."""
    monkeypatch.setattr("rvlab.engines.kubeflow.transport.RETRY_DELAY_S", 0.02)
    monkeypatch.setenv(TOKEN_ENV, TOKEN)


def profile_of(url: str, **more: Any) -> Profile:
    """Return a profile whose calls are tried as rarely as possible."""
    return Profile(**{"host": url, "token_env": TOKEN_ENV, "api_patience_s": 0, **more})


@pytest.fixture
def direct() -> Iterator[Cluster]:
    """Yield Kubeflow with nothing in between, for what prism would refuse."""
    with Kubeflow(TOKEN) as fake:
        yield Cluster(fake, profile_of(fake.url))


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kubeflow, str]]:
    """Yield one Kubeflow for all tests, and the address of prism in front of it."""
    with Kubeflow(TOKEN) as fake, _prism(fake.url, tmp_path_factory.mktemp("prism")) as url:
        yield fake, url


@pytest.fixture(params=["direct", "through prism"])
def kubeflow(request: pytest.FixtureRequest) -> Cluster:
    """Return Kubeflow, direct and with both directions checked against Kubeflow's description."""
    if request.param == "direct":
        cluster: Cluster = request.getfixturevalue("direct")
        return cluster
    fake, url = request.getfixturevalue("checked")
    fake.clear()
    return Cluster(fake, profile_of(url))


@contextlib.contextmanager
def _prism(upstream: str, folder: Path) -> Iterator[str]:
    description = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    older = json.loads(OLDER_DESCRIPTION.read_text(encoding="utf-8"))
    description["paths"] |= older["paths"]
    description["definitions"] = older["definitions"] | description["definitions"]
    # prism generates examples of the description, and fails for bytes without one.
    description["definitions"]["protobufAny"]["properties"]["value"]["example"] = "AAAA"
    spec = folder / "kfp.json"
    spec.write_text(json.dumps(description))
    process, url = _start_prism(spec, upstream)
    try:
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _start_prism(spec: Path, upstream: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start prism on a free port, and on another one if a program has taken it in the meantime."""
    path = spec.with_name("prism.log")
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [_installed(), "proxy", str(spec), upstream, "--errors", "--port", str(port)]
        with path.open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            if "Prism is listening" in path.read_text():
                return process, f"http://127.0.0.1:{port}"
            time.sleep(0.1)
        output = path.read_text()
        assert "EADDRINUSE" in output, f"prism ended: {output}"


@functools.cache
def _install() -> str | None:
    """Return why prism cannot be installed; None if it is available."""
    if not shutil.which("npm"):
        return "npm, which installs prism, is missing"
    folder = Path(platformdirs.user_cache_dir("rvlab")) / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / "node_modules/@stoplight/prism-cli/package.json"
    if package.is_file() and json.loads(package.read_text())["version"] == PRISM:
        return None
    asked = ["npm", "install", "--prefix", str(folder), f"@stoplight/prism-cli@{PRISM}"]
    try:
        subprocess.run(
            [*asked, "--no-audit", "--no-fund"], check=True, capture_output=True, timeout=240
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return f"npm cannot install prism: {exc}"
    return None


def _installed() -> str:
    trouble = _install()
    if trouble:
        pytest.skip(trouble)
    return str(Path(platformdirs.user_cache_dir("rvlab")) / "npm/node_modules/.bin/prism")


@pytest.fixture
def pods(s3: Server) -> S3:
    """Return the bucket in the form of a profile, with the name of a secret."""
    return S3(
        endpoint=s3.endpoint, cluster_endpoint="http://seaweedfs.kubeflow:9000", secret="artifacts"
    )
