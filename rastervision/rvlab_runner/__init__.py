"""``rastervision run rvlab RECIPE -a KEY VALUE --splits N``: submit a run and return at once.

Raster Vision imports every module of its namespace at start. So this module is small, and imports
rvlab only when it is selected as the runner.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rastervision.pipeline.cli import run as rv_run
from rastervision.pipeline.runner import Runner

if TYPE_CHECKING:
    from rvlab.model import Run

RVLAB = "rvlab"
UNNAMED = "raster-vision"
"""Raster Vision's default name of a run."""

# A recipe with a saved config. URIs of outputs move to the run's folder; URIs of inputs stay.
_RECIPE = '''"""A pipeline config that Raster Vision saved."""

import json

CONFIG = json.loads(
    {text!r}
)
OUTPUTS = ("analyze", "chip", "train", "predict", "eval", "bundle")


def moved(value, root_uri):
    if isinstance(value, dict):
        return {{name: moved(one, root_uri) for name, one in value.items()}}
    if isinstance(value, list):
        return [moved(one, root_uri) for one in value]
    for name in OUTPUTS:
        old = CONFIG.get(f"{{name}}_uri")
        if old and isinstance(value, str) and f"{{value}}/".startswith(f"{{old}}/"):
            return f"{{root_uri}}/{{name}}{{value[len(old):]}}"
    return value


def get_config(runner, root_uri: str):
    from rastervision.pipeline.config import Config

    return Config.deserialize({{**moved(CONFIG, root_uri), "root_uri": root_uri}})
'''


def register_plugin(registry: Any) -> None:
    """Register the runner and the command; Raster Vision's registry calls this.

    Raster Vision calls ``get_config`` before it looks up the runner, with the text of ``-a``, and
    without a root_uri unless the user gives it. So this replaces the command ``run``: for the
    runner ``rvlab``, rvlab reads the recipe's signature instead of calling it; for other runners,
    Raster Vision's command is called.
    """
    registry.add_runner(RVLAB, RvlabRunner)
    command = copy.copy(rv_run)
    command.callback = _submit_run
    registry.add_plugin_command(command)


def _submit_run(**given: Any) -> None:
    if given["runner"] != RVLAB:
        rv_run.callback(**given)
        return
    from rvlab.errors import RvlabError

    try:
        _require_all_steps(given["commands"])
        recipe, pairs = given["cfg_module"], dict(given["arg"])
        options = (given["splits"], given["pipeline_run_name"])
        if recipe.endswith(".json"):
            run = _submit_config(recipe, pairs, *options)
        else:
            run = _submit_recipe(recipe, pairs, *options)
    except RvlabError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo("\n".join(filter(None, (run.uri, run.link))))


class RvlabRunner(Runner):  # type: ignore[misc]
    """Submits a config that Raster Vision has saved, for calls of the runner in Python.

    A saved config does not contain the recipe's parameters; use ``rastervision run rvlab`` or
    `rvlab.Lab` to record them.
    """

    def run(
        self,
        cfg_json_uri: str,
        pipeline: Any,
        commands: Sequence[str],
        num_splits: int = 1,
        pipeline_run_name: str = UNNAMED,
    ) -> None:
        """Submit a saved config as a recipe without parameters, and return at once."""
        _require_all_steps([] if list(commands) == list(pipeline.commands) else commands)
        _submit_config(cfg_json_uri, {}, num_splits, pipeline_run_name)

    def run_command(self, cmd: list[str]) -> None:
        """Raise NotImplementedError; a submission does not call this."""
        raise NotImplementedError("rvlab submits whole runs, not single commands.")


def _require_all_steps(commands: Sequence[str]) -> None:
    from rvlab.errors import SpecError

    if commands:
        raise SpecError(f"rvlab runs all steps of a config. Omit {' '.join(commands)!r}.")


def _submit_config(uri: str, pairs: dict[str, str], splits: int, name: str) -> Run:
    from rastervision.pipeline.file_system import NotReadableError, file_to_str

    from rvlab.errors import SpecError

    if pairs:
        raise SpecError(f"A saved config has no parameters. Omit {min(pairs)!r}.")
    try:
        text = json.dumps(json.loads(file_to_str(uri)))
    except (NotReadableError, ValueError) as exc:
        raise SpecError(f"{uri!r} cannot be read as a saved config: {exc}.") from exc
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved_config.py"
        path.write_text(_RECIPE.format(text=text), encoding="utf-8")
        return _submit_recipe(str(path), {}, splits, name)


def _submit_recipe(recipe: str, pairs: dict[str, str], splits: int, name: str) -> Run:
    from rvlab import Lab
    from rvlab.recipes import find_recipe

    params = find_recipe(recipe).signature.from_text(pairs)
    lab = Lab(engine=os.environ.get("RVLAB_ENGINE", "kubeflow"))
    experiment = os.environ.get("RVLAB_EXPERIMENT", "default")
    run = lab.submit(recipe, experiment=experiment, splits=splits, params=params)
    if name != UNNAMED:
        lab.note(run, name)
    return run
