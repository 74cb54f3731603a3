"""The notebook about clusters, with the API and with pipelines that are executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from rvlab.store import S3Access
from rvlab.store.server import Server
from tests.kubeflow.conftest import TOKEN, TOKEN_ENV
from tests.kubeflow.fake import Kubeflow
from tests.kubeflow.pods import Pods

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_notebook_runs_on_kubeflow(
    tmp_path: Path, s3: Server, s3_access: S3Access, python: Path
) -> None:
    pods = {**s3_access.environ(), "PYTHONHASHSEED": "0"}
    small = {"engine": "kubeflow", "cluster_epochs": 1, "cluster_splits": 1}
    with Kubeflow(TOKEN) as fake, Pods(fake, tmp_path, pods, python):
        variables = {
            "RVLAB_HOST": fake.url,
            "RVLAB_TOKEN_ENV": TOKEN_ENV,
            TOKEN_ENV: TOKEN,
            "RVLAB_STORE": f"s3://{s3.bucket}/notebook",
            "RVLAB_S3__CLUSTER_ENDPOINT": s3.endpoint,
        }
        done = subprocess.run(
            [
                *(sys.executable, str(ROOT / "notebooks" / "run.py"), "--out", str(tmp_path)),
                *("--parameters", json.dumps(small)),
                str(ROOT / "notebooks" / "05_kubeflow.ipynb"),
            ],
            env={**os.environ, **s3_access.environ(), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [run.state for run in fake.runs.values()] == ["SUCCEEDED"]
        assert len(fake.versions) == 1
    book = nbformat.read(tmp_path / "notebooks" / "05_kubeflow.ipynb", as_version=4)
    assert len(list((tmp_path / "figures").glob("*.png"))) == 2
    shown = json.dumps([cell.get("outputs", []) for cell in book.cells])
    assert any(f"/#/runs/details/{run}" in shown for run in fake.runs), (
        "a sweep starts in any order"
    )
    assert s3_access.secret_key
    for secret in (TOKEN, s3_access.secret_key):
        assert secret not in shown
