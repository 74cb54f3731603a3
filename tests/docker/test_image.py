"""Contents of the images, and equality of runs inside and outside of them."""

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
def test_image_runs_as_unprivileged_user_with_write_access_to_home_only(
    docker: Docker, images: Images, target: str
) -> None:
    image = getattr(images, target)
    assert docker.output("inspect", "--format", "{{.Config.User}}", image) == "1000:0"
    script = (
        "id -u; python3 -c 'import sys; print(sys.prefix)';"
        " touch ~/work/a && mkdir ~/.a && echo wrote;"
        " touch /opt/rvlab/a 2>/dev/null || echo refused"
    )
    expected = ["/opt/rvlab", "wrote", "refused"]
    assert docker.run(image, "sh", "-c", script).split() == ["1000", *expected]
    given = docker.output("run", "--rm", "--user", "98765", image, "sh", "-c", script)
    assert given.split() == ["98765", *expected]  # an arbitrary user id from the cluster


@pytest.mark.parametrize("target", ["worker", "notebook"])
def test_image_contains_no_secrets_or_build_files(
    docker: Docker, images: Images, target: str
) -> None:
    image = getattr(images, target)
    made_by = docker.output("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert SECRET not in made_by + docker.output("inspect", image)
    where = ["/etc", "/home", "/root", "/run", "/tmp", "/var", "/opt/rvlab/share"]
    looked = docker(
        "run", "--rm", "--network", "none", "--user", "0", image, "grep", "-rlF", SECRET, *where
    )
    assert (looked.returncode, looked.stdout) == (1, "")
    assert docker.run(image, "sh", "-c", "ls -A /opt/rvlab/share/*.toml /src /wheels; true").split(
        "\n"
    ) == ["/opt/rvlab/share/pyproject.toml"]


def test_code_is_in_a_small_layer(docker: Docker, images: Images) -> None:
    layers = docker.output(
        "history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", images.worker
    ).splitlines()
    own = [line for line in layers if "COPY /laid/opt/rvlab" in line]
    assert len(own) == 1
    assert int(own[0].split()[0]) < 10_000_000


def test_image_has_the_executor_of_kubeflow(docker: Docker, images: Images) -> None:
    for image in (images.worker, images.notebook):
        output = docker.run(image, "python3", "-m", "kfp.dsl.executor_main", "--help")
        assert "--component_module_path" in output


def test_run_in_the_image_writes_the_same_records_as_outside(
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

    # Variables are passed by name, since other users can read values on a command line.
    passed = [word for name in environ for word in ("--env", name)]
    worker = Docker(docker.command, {**docker.environ, **environ})
    ran = worker(
        *("run", "--rm", "--network", "host", *passed, images.worker),
        *("python3", "-m", "rvlab.worker", "run", inside.uri),
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    assert s3.secret_key not in ran.stdout + ran.stderr

    assert keys(inside, s3_access) == keys(outside, s3_access)
    one, other = read_tables(inside, s3_access), read_tables(outside, s3_access)
    torch = docker.run(images.worker, "python3", "-c", "import torch; print(torch.__version__)")
    # Another build of torch (CPU, CUDA) may round differently; the same build must not.
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
    """List the keys of a run's folder, except TensorBoard files, whose names contain times."""
    names = (key for key, _ in Store(run.store, access).files(run.key()))
    return sorted(n.removeprefix(run.key()) for n in names if "tfevents" not in n)


def read_tables(run: Run, access: S3Access) -> dict[str, pd.DataFrame]:
    """Return the tables of a run without the columns that identify it."""
    lab = Lab(Store(run.store, access))
    row = lab.runs("towns").reset_index(drop=True)
    tables = {"evals": lab.evals(run), "confusion": lab.confusion(run), "scenes": lab.scenes(run)}
    plain = {k: t.drop(columns="run", errors="ignore") for k, t in tables.items()}
    return {**plain, "row": row, "params": row.filter(like="params.")}


@contextmanager
def notebook(docker: Docker, image: str, port: int) -> Iterator[str]:
    settings = ["--env", f"JUPYTER_PORT={port}", "--env", "JUPYTER_TOKEN=evening"]
    name = docker.output("run", "--detach", "--network", "host", *settings, image)
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


def test_notebook_image_requires_the_token(docker: Docker, images: Images) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with notebook(docker, images.notebook, port) as name:
        while True:
            try:
                status, _ = answer(port, "/api", None)
                break
            except OSError:
                if docker.output("inspect", "--format", "{{.State.Running}}", name) != "true":
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
        assert docker.output("exec", name, "python3", "-c", script) == "[]"
