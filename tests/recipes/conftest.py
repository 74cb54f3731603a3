"""Fixtures that call a shipped recipe and run its steps in another process."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rvlab.recipes

RECIPES = Path(rvlab.recipes.__file__).parent

SERVER = """
import json, os, sys, tempfile, traceback
import torch
export = torch.onnx.export  # needs onnxscript unless dynamo is off
torch.onnx.export = lambda *a, **k: export(*a, **{**k, "dynamo": False})
import rastervision.pytorch_backend
from rastervision.pipeline.cli import get_configs, save_pipeline_config

def run(recipe, args):
    cfg = get_configs(recipe, "inprocess", args)[0]
    cfg.update()
    cfg.recursive_validate_config()
    save_pipeline_config(cfg, cfg.get_config_uri())
    pipeline = cfg.build(tempfile.mkdtemp())
    for step in pipeline.commands:
        getattr(pipeline, step)()

for line in sys.stdin:
    recipe, args, folder = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(folder)
            os.environ["TMPDIR"] = folder
            log = os.open("log", os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            run(recipe, args)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process that imports torch and Raster Vision once, and forks for each recipe that it runs."""


@pytest.fixture
def config() -> Callable[..., Any]:
    """Return a function that calls ``get_config`` of a shipped recipe by name."""

    def made(name: str, **params: Any) -> Any:
        return runpy.run_path(str(RECIPES / f"{name}.py"))["get_config"](None, **params)

    return made


@pytest.fixture(scope="session")
def steps() -> Iterator[subprocess.Popen[str]]:
    """Start the process that runs recipes."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(RECIPES.parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        yield process
        process.kill()  # it waits for the next recipe


@pytest.fixture
def run(tmp_path: Path, steps: subprocess.Popen[str]) -> Callable[..., Path]:
    """Return a function that runs all steps of a shipped recipe and returns its ``root_uri``."""

    def ran(name: str, **params: Any) -> Path:
        root = tmp_path / "rv"
        args = {key: str(value) for key, value in {"root_uri": root, **params}.items()}
        assert steps.stdin is not None
        assert steps.stdout is not None
        steps.stdin.write(json.dumps([str(RECIPES / f"{name}.py"), args, str(tmp_path)]) + "\n")
        steps.stdin.flush()
        assert steps.stdout.readline() == "0\n", (tmp_path / "log").read_text()[-3000:]
        return root

    return ran
