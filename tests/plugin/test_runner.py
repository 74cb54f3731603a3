"""``rastervision run rvlab``: Raster Vision's own command line with rvlab's runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("rastervision.core")

from click import Command
from click.testing import CliRunner, Result

from rvlab import Lab
from rvlab.model import Run, Spec
from rvlab.worker.commands import save_config
from rvlab.worker.records import SPEC
from tests.conftest import TINY

CLI = [sys.executable, "-m", "rastervision.pipeline.cli"]


def environ(store: Path) -> dict[str, str]:
    return {"RVLAB_ENGINE": "local", "RVLAB_STORE": str(store), "RVLAB_EXPERIMENT": "typed"}


@dataclass(frozen=True)
class Submitted:
    """The output of the command line, and the run that it started."""

    store: Path
    printed: list[str]
    row: pd.Series


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    store = tmp_path_factory.mktemp("typed")
    typed = ["-a", "lr", "0.02", "-a", "epochs", "1", "-a", "seed", "7", "--splits", "2"]
    done = subprocess.run(
        [*CLI, "run", "rvlab", str(TINY), *typed, "--pipeline-run-name", "by hand"],
        env={**os.environ, **environ(store)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = Lab(store).wait(progress=False)
    return Submitted(store, done.stdout.split(), table.iloc[0])


@pytest.fixture
def run_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return the command ``run`` of ``rastervision``, with an empty store."""
    from rastervision.pipeline import registry_

    for name, value in environ(tmp_path / "store").items():
        monkeypatch.setenv(name, value)
    return {command.name: command for command in registry_.get_plugin_commands()}["run"]


def typed(command: Command, *args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


@pytest.mark.slow
def test_parameters_are_columns_with_the_types_of_the_signature(submitted: Submitted) -> None:
    row = submitted.row
    assert row["state"] == "succeeded", row["error"]
    assert (row["params.lr"], row["params.epochs"], row["seed"]) == (0.02, 1, 7)
    assert isinstance(row["params.lr"], float)
    assert (row["recipe"], row["experiment"], row["engine"]) == ("tiny", "typed", "local")
    assert row["note"] == "by hand"
    assert Spec.from_record(json.loads((Path(row["uri"]) / SPEC).read_text()), SPEC).splits == 2
    assert submitted.printed == [row["uri"]]


def sorted_groups(text: str) -> dict[str, object]:
    """Return a config whose scene groups, which are sets, are sorted."""

    def sort_keys(found: dict[str, object]) -> dict[str, object]:
        if "train_scenes" in found and isinstance(found["train_scenes"], list):
            return {k: sorted(v, key=str) if isinstance(v, list) else v for k, v in found.items()}
        return found

    config: dict[str, object] = json.loads(text, object_hook=sort_keys)
    return config


@pytest.mark.slow
def test_a_saved_config_runs_with_its_outputs_in_the_run_and_its_inputs_unchanged(
    submitted: Submitted, run_command: Command, tmp_path: Path
) -> None:
    saved = Path(submitted.row["uri"]) / "rv" / "pipeline-config.json"
    before = saved.read_bytes()
    result = typed(run_command, "rvlab", saved, "--splits", 2)
    assert result.exit_code == 0, result.output
    lab = Lab(tmp_path / "store")
    lab.cancel("typed")
    run = Run.from_uri(lab.runs().iloc[0]["uri"])
    spec = Spec.from_record(lab.store.get_json(run.key(SPEC)), SPEC)
    assert (spec.recipe, spec.splits, spec.params) == ("saved_config", 2, {})

    (tmp_path / "scratch").mkdir()
    plan = save_config(lab.store, run, spec, tmp_path / "scratch")
    assert plan.steps == ("train", "predict", "eval", "bundle")
    assert plan.splits == {"predict": 2}
    old = before.decode()
    new = lab.store.get(run.key("rv", "pipeline-config.json")).decode()
    assert sorted_groups(new) == sorted_groups(old.replace(str(saved.parent), run.rv_uri))
    assert new.count(f"{submitted.store}/_data/tiny") == old.count(f"{submitted.store}/_data/tiny")
    assert saved.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((TINY, "-a", "lrr", "0.1"), "tiny has no parameter 'lrr'. Did you mean 'lr'?"),
        ((TINY, "-a", "lr", "fast"), "tiny: the parameter 'lr' is float, but 'fast' was given"),
        ((TINY, "-a", "root_uri", "/x"), "tiny: 'root_uri' is filled in by rvlab. Leave it out."),
        ((TINY, "--splits", "0"), "splits must be an integer from 1 to 10000, got 0."),
        ((TINY, "train", "predict"), "rvlab runs all steps of a config. Omit 'train predict'"),
        ((TINY.with_name("tyny.py"),), "Recipe file"),
        (("nowhere.json",), "'nowhere.json' cannot be read as a saved config"),
        (("some.json", "-a", "lr", "1"), "A saved config has no parameters. Omit 'lr'."),
    ],
)
def test_an_invalid_request_is_a_one_line_error_and_starts_nothing(
    run_command: Command, args: tuple[object, ...], said: str, tmp_path: Path
) -> None:
    result = typed(run_command, "rvlab", *args)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert said in result.output
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "store" / "typed").exists()


def test_the_default_engine_is_kubeflow(
    run_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RVLAB_ENGINE")
    monkeypatch.chdir(tmp_path)
    result = typed(run_command, "rvlab", TINY)
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert "Kubeflow" in result.output
    monkeypatch.setenv("RVLAB_ENGINE", "kubflow")
    assert "Did you mean 'kubeflow'?" in typed(run_command, "rvlab", TINY).output


def test_the_runner_is_in_raster_visions_registry(tmp_path: Path) -> None:
    from rastervision.pipeline import registry_
    from rastervision.pipeline.runner import Runner

    runner = registry_.get_runner("rvlab")()
    assert isinstance(runner, Runner)
    with pytest.raises(NotImplementedError, match="not single commands"):
        runner.run_command(["make"])


def test_the_help_is_that_of_raster_vision(run_command: Command) -> None:
    from rastervision.pipeline.cli import run as own

    assert typed(run_command, "--help").output == typed(own, "--help").output


@pytest.mark.slow
def test_raster_visions_own_runners_still_work(tmp_path: Path) -> None:
    recipe = tmp_path / "analyze_only.py"
    recipe.write_text(
        "from tests.data.tiny import get_config as tiny\n"
        "def get_config(runner, root_uri):\n"
        "    return tiny(runner, root_uri=root_uri)\n"
    )
    code = (
        "import runpy, sys\n"
        "import rastervision.pipeline\n"
        "loaded = sorted(n for n in sys.modules if n == 'rvlab' or n.startswith('rvlab.'))\n"
        "assert not loaded, loaded\n"
        "runpy.run_module('rastervision.pipeline.cli', run_name='__main__')\n"
    )
    words = ["run", "inprocess", str(recipe), "bundle", "-a", "root_uri", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    # There is no model to bundle; reaching the bundle step is sufficient.
    assert "Running bundle command" in done.stdout, done.stderr
    assert (tmp_path / "out" / "pipeline-config.json").exists()
