"""Making a shipped recipe's config, and running its steps in a process of their own."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rvlab.recipes

RECIPES = Path(rvlab.recipes.__file__).parent

# The export of Raster Vision's bundle needs onnxscript unless it is told to do without dynamo.
STEPS = """
import sys, tempfile
import torch
export = torch.onnx.export
torch.onnx.export = lambda *a, **k: export(*a, **{**k, "dynamo": False})
from rastervision.pipeline.cli import get_configs, save_pipeline_config
args = dict(a.split("=", 1) for a in sys.argv[2:])
cfg = get_configs(sys.argv[1], "inprocess", args)[0]
cfg.update()
cfg.recursive_validate_config()
save_pipeline_config(cfg, cfg.get_config_uri())
pipeline = cfg.build(tempfile.mkdtemp())
for step in pipeline.commands:
    getattr(pipeline, step)()
"""


@pytest.fixture
def config() -> Callable[..., Any]:
    """Call a shipped recipe's ``get_config`` by the recipe's name, with its parameters."""

    def made(name: str, **params: Any) -> Any:
        return runpy.run_path(str(RECIPES / f"{name}.py"))["get_config"](None, **params)

    return made


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Run all steps of a shipped recipe, the values given as text; returns its ``root_uri``."""

    def ran(name: str, **params: Any) -> Path:
        root = tmp_path / "rv"
        args = [f"{k}={v}" for k, v in {"root_uri": root, **params}.items()]
        env = {
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(RECIPES.parents[1]),
        }
        done = subprocess.run(
            [sys.executable, "-c", STEPS, str(RECIPES / f"{name}.py"), *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **env},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return root

    return ran
