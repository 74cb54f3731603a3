"""The images: what is in them, and that a run inside leaves the records of one outside."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytest

from rvlab import Lab
from rvlab.model import Run
from rvlab.recipes import find_recipe
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from rvlab.submission import SubmitOptions, prepare_runs
from tests.conftest import TINY
from tests.docker.conftest import SECRET, Docker, Images

pytestmark = [pytest.mark.docker, pytest.mark.extended, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("target", ["worker", "notebook"])
def test_it_runs_as_nobody_special_who_may_write_at_home_only(
    docker: Docker, images: Images, target: str
) -> None:
    image = getattr(images, target)
    assert docker.said("inspect", "--format", "{{.Config.User}}", image) == "1000:0"
    script = (
        "id -u; python3 -c 'import sys; print(sys.prefix)';"
        " touch ~/work/a && mkdir ~/.a && echo wrote;"
        " touch /opt/rvlab/a 2>/dev/null || echo refused"
    )
    expected = ["/opt/rvlab", "wrote", "refused"]
    assert docker.run(image, "sh", "-c", script).split() == ["1000", *expected]
    given = docker.said("run", "--rm", "--user", "98765", image, "sh", "-c", script)
    assert given.split() == ["98765", *expected]  # a number that the cluster made up


@pytest.mark.parametrize("target", ["worker", "notebook"])
def test_no_secret_and_no_stray_file_is_in_it(docker: Docker, images: Images, target: str) -> None:
    image = getattr(images, target)
    made_by = docker.said("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert SECRET not in made_by + docker.said("inspect", image)
    where = ["/etc", "/home", "/root", "/run", "/tmp", "/var", "/opt/rvlab/share"]
    looked = docker(
        "run", "--rm", "--network", "none", "--user", "0", image, "grep", "-rlF", SECRET, *where
    )
    assert (looked.returncode, looked.stdout) == (1, "")
    assert docker.run(image, "sh", "-c", "ls -A /opt/rvlab/share/*.toml /src /wheels; true").split(
        "\n"
    ) == ["/opt/rvlab/share/pyproject.toml"]


def test_a_change_of_code_is_a_small_layer(docker: Docker, images: Images) -> None:
    layers = docker.said(
        "history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", images.worker
    ).splitlines()
    own = [line for line in layers if "COPY /laid/opt/rvlab" in line]
    assert len(own) == 1
    assert int(own[0].split()[0]) < 5_000_000


def test_a_pod_of_kubeflow_finds_its_executor(docker: Docker, images: Images) -> None:
    for image in (images.worker, images.notebook):
        said = docker.run(image, "python3", "-m", "kfp.dsl.executor_main", "--help")
        assert "--component_module_path" in said


def test_a_run_inside_leaves_the_records_of_one_outside(
    docker: Docker, images: Images, s3: Server, s3_access: S3Access
) -> None:
    outside, inside = (
        prepare_runs(
            Store(f"s3://{s3.bucket}/{where}", s3_access),
            find_recipe(TINY),
            [{"epochs": 2, "nochip": False}],
            SubmitOptions("towns", "none", splits=2, seed=1),
        )[0]
        for where in ("outside", "inside")
    )
    environ = {**s3_access.environ(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "rvlab.worker", "run", outside.uri],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    # Named, not given: the values are not on a command line that others could read.
    handed = [part for name in environ for part in ("--env", name)]
    worker = Docker(docker.command, {**docker.environ, **environ})
    ran = worker(
        *("run", "--rm", "--network", "host", *handed, images.worker),
        *("python3", "-m", "rvlab.worker", "run", inside.uri),
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    assert s3.secret_key not in ran.stdout + ran.stderr

    assert keys(inside, s3_access) == keys(outside, s3_access)
    one, other = seen(inside, s3_access), seen(outside, s3_access)
    torch = docker.run(images.worker, "python3", "-c", "import torch; print(torch.__version__)")
    # Another build of torch (CPU, CUDA) may round otherwise; the same one may not.
    same = torch == __import__("torch").__version__
    tolerance: dict[str, Any] = {"check_exact": True} if same else {"atol": 0.05, "rtol": 0.1}
    for name in ("evals", "confusion", "scenes", "params"):
        exact = {"check_exact": True} if name in ("scenes", "params") else tolerance
        pd.testing.assert_frame_equal(one[name], other[name], **exact)
    metrics = one["row"].filter(like="metrics.")
    assert not metrics.empty
    pd.testing.assert_frame_equal(metrics, other["row"].filter(like="metrics."), **tolerance)
    for row in (one["row"], other["row"]):
        assert row["state"].item() == "succeeded"
    assert one["row"]["eval_set"].item() == other["row"]["eval_set"].item()
    assert set(one["row"].columns) == set(other["row"].columns)


def keys(run: Run, access: S3Access) -> list[str]:
    """The keys of a run's folder, without the times that TensorBoard and others put into names."""
    names = (key for key, _ in Store(run.store, access).files(run.key()))
    return sorted(n.removeprefix(run.key()) for n in names if "tfevents" not in n)


def seen(run: Run, access: S3Access) -> dict[str, pd.DataFrame]:
    """A run as a notebook sees it, without what says which run it is."""
    lab = Lab(Store(run.store, access))
    row = lab.runs("towns").reset_index(drop=True)
    tables = {"evals": lab.evals(run), "confusion": lab.confusion(run), "scenes": lab.scenes(run)}
    plain = {k: t.drop(columns="run", errors="ignore") for k, t in tables.items()}
    return {**plain, "row": row, "params": row.filter(like="params.")}


@contextmanager
def notebook(docker: Docker, image: str, port: int) -> Iterator[str]:
    settings = ["--env", f"JUPYTER_PORT={port}", "--env", "JUPYTER_TOKEN=evening"]
    name = docker.said("run", "--detach", "--network", "host", *settings, image)
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def answer(port: int, path: str, token: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            "GET", path, headers={"Authorization": f"token {token}"} if token else {}
        )
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_notebook_answers_on_its_port_to_who_has_the_token(
    docker: Docker, images: Images
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with notebook(docker, images.notebook, port) as name:
        while True:
            try:
                status, _ = answer(port, "/api", None)
                break
            except OSError:
                if docker.said("inspect", "--format", "{{.State.Running}}", name) != "true":
                    pytest.fail(docker("logs", name).stderr[-3000:])
                time.sleep(0.5)
        assert status == 200
        assert answer(port, "/api/kernels", None)[0] == 403
        status, body = answer(port, "/api/kernelspecs", "evening")
        assert (status, json.loads(body)["default"]) == (200, "python3")
        assert answer(port, "/lab", "evening")[0] == 200
        script = (
            "import importlib.util as i, rvlab, rvlab.plot\n"
            "print([m for m in ('torch', 'rastervision') if i.find_spec(m)])"
        )
        assert docker.said("exec", name, "python3", "-c", script) == "[]"
